/* Operations on regular files. */
#ifndef ORIEL_FS_MEMORY_FILE_H
#define ORIEL_FS_MEMORY_FILE_H

#include "fs/memory/memory.h"

int memfs_open(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags, uint32_t kill,
               struct oriel_fs_opened *out);
int memfs_create(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                 uint32_t flags, uint32_t umask, uint32_t kill, struct oriel_fs_entry *out,
                 struct oriel_fs_opened *opened);
int memfs_tmpfile(void *fs, const oriel_fs_caller *caller, void *parent, uint32_t mode, uint32_t flags,
                  uint32_t umask, struct oriel_fs_entry *out, struct oriel_fs_opened *opened);
ssize_t memfs_read(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt, uint64_t offset);
ssize_t memfs_write(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                    const struct iovec *iov, int iovcnt, uint64_t offset, uint32_t flags);
int memfs_flush(void *fs, void *inode, void *handle, uint64_t lock_owner);
int memfs_fsync(void *fs, void *inode, void *handle, bool datasync);
void memfs_release(void *fs, void *inode, void *handle, uint64_t lock_owner, bool flock_unlock);
int memfs_fallocate(void *fs, void *inode, void *handle, uint64_t offset, uint64_t len, uint32_t mode);
int64_t memfs_lseek(void *fs, void *inode, void *handle, uint64_t offset, uint32_t whence);
ssize_t memfs_copy_file_range(void *fs, void *in_inode, void *in_handle, uint64_t in_offset, void *out_inode,
                              void *out_handle, uint64_t out_offset, uint64_t len, uint32_t flags);
int memfs_map_open(void *fs, void *inode, bool need_write, bool *writable);

#endif
