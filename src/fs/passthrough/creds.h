/*
 * Acting as the caller: effective ids, supplementary groups, capabilities and umask of the calling thread.
 *
 * Linux keeps these per thread (credentials(7)); the C library's wrappers change all threads, so the raw
 * system calls are used. What the thread has is remembered per thread, and only differences are changed.
 * The umask is made the thread's own with unshare(CLONE_FS).
 */
#ifndef ORIEL_FS_PASSTHROUGH_CREDS_H
#define ORIEL_FS_PASSTHROUGH_CREDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Whose rights an operation needs. */
enum creds_rights {
    CREDS_ANY,    /* only descriptors and our own checks decide: whatever the thread has, unless ENFORCED */
    CREDS_OWN,    /* those of the process */
    CREDS_KILL,   /* those of the process without CAP_FSETID: the kernel drops suid and sgid */
    CREDS_OWNER,  /* the caller's ids with the capabilities of the process except CAP_FSETID */
    CREDS_CALLER, /* the caller's ids and no capability */
};

#define CREDS_GROUPS_KEPT 64 /* longer lists of callers are set anew each time */

/* What a thread holds. */
struct creds_held {
    uint32_t uid, gid;
    uint64_t effective;
    size_t group_count; /* SIZE_MAX = not remembered */
    uint32_t groups[CREDS_GROUPS_KEPT];
};

/* The own rights of the calling thread: for creds_enter() on others. */
int creds_record(struct creds_held *out);

struct creds_caller {
    uint32_t uid, gid;
    const uint32_t *groups;
    size_t group_count;
};

/* Makes the thread's rights what is asked for; caller only for OWNER and CALLER. `process` is what a thread that
 * was never switched takes for its own, less the capabilities that were given up since: a thread that is started
 * by a switched one begins as that one's caller. NULL: no thread stays switched, each has what it comes with.
 * -EPERM, -EINVAL (an id that is none), -EAGAIN; the thread then has its own rights. */
int creds_enter(enum creds_rights rights, const struct creds_caller *caller,
                const struct creds_held *process);

/* Makes `mask` the umask of this thread only. */
void creds_set_umask(mode_t mask);

/* Makes dir_fd the working folder of this thread only; owner tells whose it is. */
bool creds_work_in(int dir_fd, const void *owner);

/* Gives the thread back what it came with. Does nothing on one that never switched. */
void creds_restore(void);

bool creds_can_switch(void);
/* CAP_FSETID: writes leave suid and sgid alone, which CREDS_KILL has to end. */
bool creds_can_keep_sgid(void);
/* CAP_DAC_READ_SEARCH, for open_by_handle_at. */
bool creds_can_open_handles(void);

#endif
