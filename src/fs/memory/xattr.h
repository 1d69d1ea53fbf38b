/* Extended attributes of one inode, with its lock held (for writing where something changes). */
#ifndef ORIEL_FS_MEMORY_XATTR_H
#define ORIEL_FS_MEMORY_XATTR_H

#include "fs/memory/memory.h"

/* NULL: none. The value lives until it is changed. */
void *memfs_xattr_find(const struct memfs_inode *inode, const char *name, size_t *size);

/* flags: XATTR_CREATE (-EEXIST), XATTR_REPLACE (-ENODATA). -ENOSPC, -EDQUOT. Knows nothing of lists and
 * rights. */
int memfs_xattr_put(struct memfs *fs, struct memfs_inode *inode, const char *name, const void *value,
                    size_t size, uint32_t flags);
/* -ENODATA. */
int memfs_xattr_drop(struct memfs *fs, struct memfs_inode *inode, const char *name);
void memfs_xattr_clear(struct memfs *fs, struct memfs_inode *inode);
/* Gives a new inode the label that its caller asks for, if any. -EINVAL (the name is no label's), or as put. */
int memfs_xattr_label(struct memfs *fs, struct memfs_inode *inode, const oriel_fs_caller *caller);

/* The operations of fs.h; they take the lock. */
int memfs_setxattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name, const void *value,
                   size_t size, uint32_t flags, bool acl_kill_sgid);
ssize_t memfs_getxattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name, void *value,
                       size_t size);
ssize_t memfs_listxattr(void *fs, const oriel_fs_caller *caller, void *inode, char *names, size_t size);
int memfs_removexattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name);

#endif
