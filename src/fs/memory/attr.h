/* Operations on attributes. */
#ifndef ORIEL_FS_MEMORY_ATTR_H
#define ORIEL_FS_MEMORY_ATTR_H

#include "fs/memory/memory.h"

int memfs_getattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                  struct oriel_fs_attr *out);
int memfs_setattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                  const struct oriel_fs_attr *attr, uint32_t set, struct oriel_fs_attr *out);
int memfs_access(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t mask);
int memfs_statfs(void *fs, void *inode, struct oriel_fs_statfs *out);
ssize_t memfs_readlink(void *fs, const oriel_fs_caller *caller, void *inode, char *target, size_t size);

#endif
