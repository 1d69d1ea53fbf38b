/* The one way to open a name: a folder's descriptor and one checked component. */
#ifndef ORIEL_FS_PASSTHROUGH_BENEATH_H
#define ORIEL_FS_PASSTHROUGH_BENEATH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/passthrough/share.h"

/* 0, -EINVAL (empty, ".", "..", or a '/' in it) or -ENAMETOOLONG. The server checks the same before; this
 * holds without it. */
int check_component(const char *name);

/* Opens name in dir_fd. Never follows a symbolic link; O_CLOEXEC, O_NOCTTY and O_NONBLOCK are added. Leaves
 * the mount of dir_fd only if the share has submounts. A symbolic link: -ELOOP, unless O_PATH is asked for.
 */
int open_component(const struct passthrough *pt, int dir_fd, const char *name, int flags, mode_t mode);

/* A new descriptor of what fd shows, with other flags; O_PATH descriptors can be opened so. The caller knows
 * that it is a regular file or a folder. */
int reopen_fd(const struct passthrough *pt, int fd, int flags);

/* "17" for 17: a name in /proc/self/fd. */
#define FD_NAME_SIZE 12
void fd_name(int fd, char name[FD_NAME_SIZE]);

#endif
