/* The operations of fs.h, by the file that has them. */
#ifndef ORIEL_FS_PASSTHROUGH_OPERATIONS_H
#define ORIEL_FS_PASSTHROUGH_OPERATIONS_H

#include <oriel/fs.h>

#include "fs/passthrough/creds.h"
#include "fs/passthrough/share.h"

/* open.c */
/* A new descriptor of a regular file; anything else is -EBADF and not opened. caller NULL: the process. */
int open_regular(struct passthrough *pt, struct pt_inode *inode, const oriel_fs_caller *caller, int flags,
                 enum creds_rights rights);
/* A descriptor of a regular file or a folder for the length of one call, with the rights of the process. */
int open_for_call(struct passthrough *pt, struct pt_inode *inode, int flags);
int pt_open(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags, uint32_t kill,
            struct oriel_fs_opened *out);
int pt_create(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
              uint32_t flags, uint32_t umask, uint32_t kill, struct oriel_fs_entry *out,
              struct oriel_fs_opened *opened);
int pt_tmpfile(void *fs, const oriel_fs_caller *caller, void *parent, uint32_t mode, uint32_t flags,
               uint32_t umask, struct oriel_fs_entry *out, struct oriel_fs_opened *opened);
void pt_release(void *fs, void *inode, void *handle, uint64_t lock_owner, bool flock_unlock);
int pt_map_open(void *fs, void *inode, bool need_write, bool *writable);

/* io.c */
ssize_t pt_read(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt, uint64_t offset);
ssize_t pt_read_nowait(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt,
                       uint64_t offset);
ssize_t pt_write(void *fs, const oriel_fs_caller *caller, void *inode, void *handle, const struct iovec *iov,
                 int iovcnt, uint64_t offset, uint32_t kill);
int pt_flush(void *fs, void *inode, void *handle, uint64_t lock_owner);
int pt_fsync(void *fs, void *inode, void *handle, bool datasync);
int pt_fallocate(void *fs, void *inode, void *handle, uint64_t offset, uint64_t len, uint32_t mode);
int64_t pt_lseek(void *fs, void *inode, void *handle, uint64_t offset, uint32_t whence);
ssize_t pt_copy_file_range(void *fs, void *in_inode, void *in_handle, uint64_t in_offset, void *out_inode,
                           void *out_handle, uint64_t out_offset, uint64_t len, uint32_t flags);

/* attr.c */
int pt_getattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle, struct oriel_fs_attr *out);
int pt_setattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
               const struct oriel_fs_attr *attr, uint32_t set, struct oriel_fs_attr *out);
int pt_access(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t mask);
int pt_statfs(void *fs, void *inode, struct oriel_fs_statfs *out);
ssize_t pt_readlink(void *fs, const oriel_fs_caller *caller, void *inode, char *target, size_t size);

/* names.c */
int pt_lookup(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
              struct oriel_fs_entry *out);
int pt_lookup_listed(void *fs, const oriel_fs_caller *caller, void *parent, void *handle, const char *name,
                     struct oriel_fs_entry *out);
int pt_lookup_parent(void *fs, const oriel_fs_caller *caller, void *inode, struct oriel_fs_entry *out);
int pt_mknod(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
             uint32_t rdev, uint32_t umask, struct oriel_fs_entry *out);
int pt_mkdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
             uint32_t umask, struct oriel_fs_entry *out);
int pt_symlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, const char *target,
               struct oriel_fs_entry *out);
int pt_link(void *fs, const oriel_fs_caller *caller, void *inode, void *new_parent, const char *new_name,
            struct oriel_fs_entry *out);
int pt_unlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name);
int pt_rmdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name);
int pt_rename(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, void *new_parent,
              const char *new_name, uint32_t flags);

/* xattr.c */
/* Gives a file that has just been made the label that came with the request, if any. */
int label_descriptor(const struct passthrough *pt, const oriel_fs_caller *caller, int fd);
int label_name(const struct passthrough *pt, const oriel_fs_caller *caller, int dir_fd, const char *name);
int pt_setxattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name, const void *value,
                size_t size, uint32_t flags, bool acl_kill_sgid);
ssize_t pt_getxattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name, void *value,
                    size_t size);
ssize_t pt_listxattr(void *fs, const oriel_fs_caller *caller, void *inode, char *names, size_t size);
int pt_removexattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name);

/* locks.c */
int pt_getlk(void *fs, void *inode, void *handle, struct oriel_fs_lock *lock);
int pt_setlk(void *fs, void *inode, void *handle, const struct oriel_fs_lock *lock);

/* ioctl.c */
int pt_ioctl(void *fs, const oriel_fs_caller *caller, void *inode, void *handle, uint32_t cmd,
             const void *arg_in, size_t in_size, void *arg_out, size_t *out_size);

/* dir.c */
int pt_opendir(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags,
               struct oriel_fs_opened *out);
int pt_readdir(void *fs, void *inode, void *handle, uint64_t offset, oriel_fs_emit_fn emit, void *arg);
int pt_fsyncdir(void *fs, void *inode, void *handle, bool datasync);
void pt_releasedir(void *fs, void *inode, void *handle);
int pt_syncfs(void *fs, void *inode);

#endif
