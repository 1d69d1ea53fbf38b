/*
 * A small back-end for tests: a real tree in memory with files on memfds, that counts calls, keeps account of
 * what the server has open, and fails on demand.
 */
#ifndef FAKE_FS_H
#define FAKE_FS_H

#include <oriel/fs.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct fake_fs;
struct fake_inode;

enum fake_op {
    FAKE_LOOKUP,
    FAKE_LOOKUP_PARENT,
    FAKE_INODE_OPEN,
    FAKE_INODE_CLOSE,
    FAKE_ENTRY_DROP,
    FAKE_GETATTR,
    FAKE_SETATTR,
    FAKE_ACCESS,
    FAKE_STATFS,
    FAKE_READLINK,
    FAKE_MKNOD,
    FAKE_MKDIR,
    FAKE_SYMLINK,
    FAKE_LINK,
    FAKE_UNLINK,
    FAKE_RMDIR,
    FAKE_RENAME,
    FAKE_OPEN,
    FAKE_CREATE,
    FAKE_TMPFILE,
    FAKE_READ,
    FAKE_READ_NOWAIT,
    FAKE_WRITE,
    FAKE_FLUSH,
    FAKE_FSYNC,
    FAKE_RELEASE,
    FAKE_FALLOCATE,
    FAKE_LSEEK,
    FAKE_COPY,
    FAKE_MAP_OPEN,
    FAKE_OPENDIR,
    FAKE_READDIR,
    FAKE_FSYNCDIR,
    FAKE_RELEASEDIR,
    FAKE_SYNCFS,
    FAKE_SETXATTR,
    FAKE_GETXATTR,
    FAKE_LISTXATTR,
    FAKE_REMOVEXATTR,
    FAKE_GETLK,
    FAKE_SETLK,
    FAKE_IOCTL,
    FAKE_OP_COUNT,
};

/* What the last call of a kind was given; for looking at, not for threads. */
struct fake_seen {
    uint32_t uid, gid, pid, flags, kill, mode, umask, rdev, set;
    uint32_t groups[32];
    size_t group_count;
    char security_name[256], security_value[256];
    char xattr_name[256];
    size_t security_len;
    struct oriel_fs_attr attr;
    uint64_t offset, len, lock_owner;
    bool with_handle, flock_unlock, with_inode;
};

struct fake_fs *fake_fs_new(void);
struct oriel_fs fake_fs_backend(struct fake_fs *fake);
/* Freed by the server through destroy(); this frees one that no server took. */
void fake_fs_free(struct fake_fs *fake);

/* The next `count` calls of op fail with the (negative) errno. count -1 = for ever; 0 = no more. */
void fake_fs_fail(struct fake_fs *fake, enum fake_op op, int error, int count);
unsigned fake_fs_calls(struct fake_fs *fake, enum fake_op op);
const struct fake_seen *fake_fs_seen(struct fake_fs *fake);
/* Don't note arguments: for tests with threads. */
void fake_fs_quiet(struct fake_fs *fake);
/* Called in each read() before it reads; for tests with threads. */
void fake_fs_on_read(struct fake_fs *fake, void (*hook)(void *arg), void *arg);

/* From now on read() says that it filled whatever it was given, and does nothing. */
void fake_fs_claim_reads(struct fake_fs *fake);

/* What the server holds now: inodes (with the root), handles, entries neither opened nor dropped. */
int fake_fs_inodes(struct fake_fs *fake);
int fake_fs_handles(struct fake_fs *fake);
int fake_fs_holds(struct fake_fs *fake);
/* Outlives the server, unlike the calls above: where the counts are when it destroys the back-end. */
struct fake_account {
    int inodes, handles, holds;
    bool destroyed;
};
void fake_fs_report_to(struct fake_fs *fake, struct fake_account *account);

/* Adds to the tree as the host would, without the server. Returns the inode number. */
uint64_t fake_fs_add_file(struct fake_fs *fake, const char *name, const void *data, size_t len);
uint64_t fake_fs_add_folder(struct fake_fs *fake, const char *name);
/* An attribute of a file in the root, as the host names it: set, and asked for. */
void fake_fs_set_host_xattr(struct fake_fs *fake, const char *file, const char *name);
bool fake_fs_has_host_xattr(struct fake_fs *fake, const char *file, const char *name);
/* ORIEL_FS_ATTR_* of the root's children from now on. */
void fake_fs_set_attr_flags(struct fake_fs *fake, uint32_t flags);
/* Functions that a test takes away or changes, before the server is made. */
struct oriel_fs_ops *fake_fs_ops(struct fake_fs *fake);

#endif
