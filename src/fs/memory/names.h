/* Operations on names. */
#ifndef ORIEL_FS_MEMORY_NAMES_H
#define ORIEL_FS_MEMORY_NAMES_H

#include "fs/memory/memory.h"

int memfs_lookup(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                 struct oriel_fs_entry *out);
int memfs_lookup_parent(void *fs, const oriel_fs_caller *caller, void *inode, struct oriel_fs_entry *out);
int memfs_mknod(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                uint32_t rdev, uint32_t umask, struct oriel_fs_entry *out);
int memfs_mkdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                uint32_t umask, struct oriel_fs_entry *out);
int memfs_symlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, const char *target,
                  struct oriel_fs_entry *out);
int memfs_link(void *fs, const oriel_fs_caller *caller, void *inode, void *new_parent, const char *new_name,
               struct oriel_fs_entry *out);
int memfs_unlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name);
int memfs_rmdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name);
int memfs_rename(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, void *new_parent,
                 const char *new_name, uint32_t flags);

/*
 * A new inode as a child of `parent` (locked), with rights, group and xattrs as inherited, but without a
 * name. args: mode, rdev, target; the others are filled in here. umask as the caller's.
 */
int memfs_make_child(struct memfs *fs, const oriel_fs_caller *caller, const struct memfs_inode *parent,
                     struct memfs_new_inode args, uint32_t umask, struct memfs_inode **out);
/* As that, and gives it its name in the parent, which is locked for writing. -ENOENT: the parent was removed.
 */
int memfs_make_named(struct memfs *fs, const oriel_fs_caller *caller, struct memfs_inode *parent,
                     const char *name, struct memfs_new_inode args, uint32_t umask, struct memfs_inode **out);

#endif
