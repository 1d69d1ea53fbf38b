/* Operations on open folders. */
#ifndef ORIEL_FS_MEMORY_LISTING_H
#define ORIEL_FS_MEMORY_LISTING_H

#include "fs/memory/memory.h"

int memfs_opendir(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags,
                  struct oriel_fs_opened *out);
int memfs_readdir(void *fs, void *inode, void *handle, uint64_t offset, oriel_fs_emit_fn emit, void *arg);
int memfs_fsyncdir(void *fs, void *inode, void *handle, bool datasync);
void memfs_releasedir(void *fs, void *inode, void *handle);
int memfs_syncfs(void *fs, void *inode);

#endif
