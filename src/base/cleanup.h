/* Scope-bound release of plain resources, by the compiler's cleanup attribute. */
#ifndef ORIEL_BASE_CLEANUP_H
#define ORIEL_BASE_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_fn(void *p)
{
    free(*(void **)p);
}

/* Keeps errno: a close on the way out of a failed function must not replace the reason. */
static inline void cleanup_fd_fn(const int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}

#define cleanup_free __attribute__((cleanup(cleanup_free_fn)))
#define cleanup_fd   __attribute__((cleanup(cleanup_fd_fn)))

/* Hands a descriptor out of a cleanup_fd variable. */
static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

static inline void *take_ptr_(void **p)
{
    void *taken = *p;
    *p = NULL;
    return taken;
}

/* Hands a pointer out of a cleanup_free variable. */
#define take_ptr(p) ((__typeof__(*(p)))take_ptr_((void **)(p)))

#endif
