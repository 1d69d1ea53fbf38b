#include "fs/passthrough/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OPEN_TRIES 8

int check_component(const char *name)
{
    size_t len = strnlen(name, NAME_MAX + 1);
    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    if (len == 0 || memchr(name, '/', len) != NULL)
        return -EINVAL;
    if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
        return -EINVAL;
    return 0;
}

/* openat2 resolves beneath dir_fd whatever the name holds: a second belt, as check_component has made sure of
 * it already. Linux before 5.6, and seccomp filters that don't know it: openat. */
int open_component(const struct passthrough *pt, int dir_fd, const char *name, int flags, mode_t mode)
{
    int err = check_component(name);
    if (err != 0)
        return err;
    flags |= O_NOFOLLOW | O_CLOEXEC;
    if (!(flags & O_PATH))
        flags |= O_NOCTTY | O_NONBLOCK;
    struct open_how how = {
        .flags = (uint64_t)(unsigned int)flags,
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    if (!pt->options.submounts)
        how.resolve |= RESOLVE_NO_XDEV;
    /* EAGAIN: a rename elsewhere on the system made the kernel unsure about "..", which is not in our names. EXDEV: the
     * file was moved to another folder meanwhile, or it is what is mounted there, and stays so. */
    for (int tries = 0; pt->has_openat2 && tries < OPEN_TRIES; tries++) {
        int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
        if (fd >= 0)
            return fd;
        err = -errno;
        if (err != -EAGAIN && err != -EXDEV)
            return err;
    }
    if (err == -EXDEV)
        return err;
    int fd = openat(dir_fd, name, flags, mode);
    return fd >= 0 ? fd : -errno;
}

void fd_name(int fd, char name[FD_NAME_SIZE])
{
    snprintf(name, FD_NAME_SIZE, "%d", fd);
}

int reopen_fd(const struct passthrough *pt, int fd, int flags)
{
    char name[FD_NAME_SIZE];
    fd_name(fd, name);
    flags |= O_CLOEXEC;
    if (!(flags & O_PATH))
        flags |= O_NOCTTY | O_NONBLOCK;
    int opened = openat(pt->proc_fd, name, flags);
    /* Somebody holds a lease on the file (fcntl(2), F_SETLEASE): wait for it, as open(2) of a guest does. */
    if (opened < 0 && errno == EWOULDBLOCK)
        opened = openat(pt->proc_fd, name, flags & ~O_NONBLOCK);
    return opened >= 0 ? opened : -errno;
}
