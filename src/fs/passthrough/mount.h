/* The mounts that the guest's inodes are on. */
#ifndef ORIEL_FS_PASSTHROUGH_MOUNT_H
#define ORIEL_FS_PASSTHROUGH_MOUNT_H

#include <stdint.h>
#include <sys/stat.h>

#include "fs/passthrough/share.h"

/* The mount of the shared folder; path_fd is the folder. -EOPNOTSUPP: handles are mandatory and there are
 * none. */
int mount_init_root(struct passthrough *pt, int path_fd);

/* The mount that a new inode is on, with the inode counted; path_fd is a descriptor of the inode's file,
 * needed only for a mount seen the first time (-1: -EXDEV then). */
int mount_get(struct passthrough *pt, const struct oriel_fs_identity *identity, int path_fd,
              struct pt_mount **out);

/* True when a mount with this id is known: mount_get() needs no descriptor. */
bool mount_known(struct passthrough *pt, uint64_t id);

void mount_put(struct passthrough *pt, struct pt_mount *mount);

/*
 * Opens /proc/self/fd: a descriptor or -errno. From it nothing else of /proc can be reached, where a private mount
 * is permitted: whoever takes over the process would find /proc/sys there.
 */
int mount_open_proc_fds(const struct passthrough *pt);

/* A private copy of the mount at *path_fd that nothing of the host shows up in; replaces *path_fd. Leaves it
 * alone where that is not permitted. */
void mount_fence(struct passthrough *pt, int *path_fd);

#endif
