/* POSIX record locks and flock locks (fcntl(2), flock(2)): owners are the guest's numbers. */
#ifndef ORIEL_FS_MEMORY_LOCK_H
#define ORIEL_FS_MEMORY_LOCK_H

#include "fs/memory/memory.h"

#define MEMFS_LOCKS_MAX 65536 /* records in one file system: over it -ENOLCK */

/* Forgets all locks of an inode that nobody reaches any more. */
void memfs_lock_clear(struct memfs *fs, struct memfs_inode *inode);
/* The locks of one owner end; takes the inode's lock. */
void memfs_lock_drop_owner(struct memfs *fs, struct memfs_inode *inode, uint64_t owner, bool flock);
void memfs_lock_drop_handle(struct memfs *fs, struct memfs_inode *inode, const void *handle);

int memfs_getlk(void *fs, void *inode, void *handle, struct oriel_fs_lock *lock);
int memfs_setlk(void *fs, void *inode, void *handle, const struct oriel_fs_lock *lock);

#endif
