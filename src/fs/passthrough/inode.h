/* Inodes, and how an operation gets a descriptor of one. */
#ifndef ORIEL_FS_PASSTHROUGH_INODE_H
#define ORIEL_FS_PASSTHROUGH_INODE_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/passthrough/identity.h"
#include "fs/passthrough/share.h"

/* What entry->hold refers to: nothing, or an open handle that the entry was made with. */
#define HOLD_NONE ((intptr_t)0)

/* A descriptor of an inode for the length of one operation. O_PATH or real: good for *at calls, fstat and
 * /proc/self/fd. */
struct fd_ref {
    struct passthrough *pt;
    int fd;
    enum { FD_REF_NONE, FD_REF_PINNED, FD_REF_CACHED, FD_REF_HANDLE, FD_REF_OWNED } kind;
    uint32_t slot;
    struct pt_handle *handle;
};

#define cleanup_fd_ref __attribute__((cleanup(fd_ref_put)))
void fd_ref_put(struct fd_ref *ref);

/* -ESTALE: the file is gone, or it is not the one that it was. -ENFILE, -ENOMEM. */
int inode_fd(struct passthrough *pt, struct pt_inode *inode, struct fd_ref *ref);
/* Only what is at hand without opening anything; false = nothing is. */
bool inode_fd_at_hand(struct passthrough *pt, struct pt_inode *inode, struct fd_ref *ref);

/* Gives ref a descriptor that has taken from the budget, and the cache if that has room. */
void fd_ref_adopt(struct fd_ref *ref, struct pt_inode *inode, int fd);

/* 0 when the O_PATH descriptor shows the inode's file; else -ESTALE. */
int inode_check(struct pt_inode *inode, int path_fd);

/* Keeps the O_PATH descriptor of the inode for good, within a quarter of the budget; else closes it. */
void inode_pin(struct passthrough *pt, struct pt_inode *inode, int path_fd);

/* One user less; the last one frees it, and then its parent has one less. */
void inode_put(struct passthrough *pt, struct pt_inode *inode);

/* The attributes now, with as few system calls as that takes. */
int inode_statx(struct passthrough *pt, struct pt_inode *inode, struct statx *out);

/* Opens by the file handle, which the inode must have. Whether it is the inode's file is not looked at. */
int inode_open_handle(struct passthrough *pt, const struct pt_inode *inode, int flags);

/*
 * The same without O_PATH, compared with the identity if that has not been done: -ESTALE. What may be opened before
 * it is compared: anything with O_DIRECTORY; else see inode_may_open().
 */
int inode_open_checked(struct passthrough *pt, struct pt_inode *inode, int flags);

/*
 * Whether opening by the file handle can do nothing but open the inode's own file. The handle was taken from a name that
 * may have changed hands after statx(2) had seen it. With the right inode number in it the other file is one that
 * was made in that very moment, with the number of the one that went: nobody waits on it if it is a FIFO. A
 * device can't be opened on a mount with nodev.
 */
static inline bool inode_may_open(const struct pt_inode *inode, int flags)
{
    return inode->handle_bytes > 0 && (inode->verified || (inode->numbered && !(flags & O_TRUNC)));
}

/* As inode_fd, of an inode that has to be a folder: -ENOTDIR. */
int folder_fd(struct passthrough *pt, struct pt_inode *inode, struct fd_ref *ref);

/* Makes the entry of a statx result below parent (NULL: of the root); hold is HOLD_NONE or a handle. -EXDEV.
 */
int entry_fill(struct passthrough *pt, const struct pt_inode *parent, int dir_fd, const char *name,
               const struct statx *stx, struct oriel_fs_entry *out);

int pt_root(void *fs, struct oriel_fs_entry *out, void **inode);
int pt_inode_open(void *fs, void *parent, const char *name, struct oriel_fs_entry *entry, void **inode);
void pt_entry_drop(void *fs, struct oriel_fs_entry *entry);
void pt_inode_close(void *fs, void *inode);

/* Makes the inode of the shared folder; consumes path_fd. */
int inode_make_root(struct passthrough *pt, int path_fd);

/* Takes one descriptor from the budget, at the cost of cached ones if need be. -ENFILE. */
int descriptor_take(struct passthrough *pt);

#endif
