/* The handlers of the op table, one file for each family. 0, or a negative errno for the reply. */
#ifndef ORIEL_FUSE_OPS_H
#define ORIEL_FUSE_OPS_H

#include "fuse/request.h"

/* ops_session.c */
int op_init(struct request *r);
int op_destroy(struct request *r);
int op_interrupt(struct request *r);

/* ops_node.c */
int op_lookup(struct request *r);
int op_forget(struct request *r);
int op_batch_forget(struct request *r);
int op_getattr(struct request *r);
int op_setattr(struct request *r);
int op_statx(struct request *r);
int op_access(struct request *r);
int op_readlink(struct request *r);

/* ops_names.c */
int op_mknod(struct request *r);
int op_mkdir(struct request *r);
int op_symlink(struct request *r);
int op_link(struct request *r);
int op_unlink(struct request *r);
int op_rmdir(struct request *r);
int op_rename(struct request *r);
int op_rename2(struct request *r);

/* ops_open.c */
int op_open(struct request *r);
int op_create(struct request *r);
int op_tmpfile(struct request *r);
int op_opendir(struct request *r);
int op_release(struct request *r);
int op_releasedir(struct request *r);

/* ops_file.c */
int op_read(struct request *r);
int op_write(struct request *r);
int op_flush(struct request *r);
int op_fsync(struct request *r);
int op_fallocate(struct request *r);
int op_lseek(struct request *r);
int op_copy_file_range(struct request *r);
int op_copy_file_range_64(struct request *r);

/* ops_dir.c */
int op_readdir(struct request *r);
int op_readdirplus(struct request *r);
int op_fsyncdir(struct request *r);

/* ops_dax.c */
int op_setupmapping(struct request *r);
int op_removemapping(struct request *r);

/* ops_xattr.c */
int op_setxattr(struct request *r);
int op_getxattr(struct request *r);
int op_listxattr(struct request *r);
int op_removexattr(struct request *r);

/* ops_lock.c */
int op_getlk(struct request *r);
int op_setlk(struct request *r);
int op_setlkw(struct request *r);

/* ops_misc.c */
int op_statfs(struct request *r);
int op_syncfs(struct request *r);
int op_ioctl(struct request *r);

#endif
