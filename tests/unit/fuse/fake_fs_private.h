/* What the parts of the fake back-end share: the tree, and how calls are counted, failed and noted. */
#ifndef FAKE_FS_PRIVATE_H
#define FAKE_FS_PRIVATE_H

#include "fake_fs.h"

#include <pthread.h>

#define MAX_XATTRS 8

struct fake_xattr {
    char name[256];
    char *value;
    size_t len;
};

struct fake_name {
    char name[256];
    struct fake_inode *inode;
    uint64_t cookie;
    struct fake_name *next;
};

struct fake_inode {
    struct fake_inode *all; /* every inode, for freeing */
    struct fake_inode *parent;
    struct oriel_fs_attr attr;
    struct fake_name *names; /* of a folder, in order of cookies */
    char *target;
    int memfd;
    struct fake_xattr xattrs[MAX_XATTRS];
    uint64_t lock_owner; /* one lock a file is enough here */
    uint32_t lock_type;
    uint32_t flags;
};

struct fake_fs {
    struct oriel_fs_ops ops;
    pthread_mutex_t lock;
    struct fake_inode *all, *root;
    uint64_t next_ino, next_cookie;
    _Atomic unsigned calls[FAKE_OP_COUNT];
    _Atomic int fail_error[FAKE_OP_COUNT], fail_count[FAKE_OP_COUNT];
    _Atomic int inodes, handles, holds;
    struct fake_seen seen;
    bool quiet, claims_reads;
    struct fake_account *account;
    void (*read_hook)(void *);
    void *read_hook_arg;
};

/* Counts the call; the errno it shall fail with, or 0. */
int fake_called(struct fake_fs *fake, enum fake_op op);
void fake_lock(struct fake_fs *fake);
/* Returns rc. */
int fake_unlock(struct fake_fs *fake, int rc);
/* Where the call's arguments are noted; threads that run against each other each note for themselves. */
struct fake_seen *fake_seen_by(struct fake_fs *fake);
/* Notes the caller, and forgets the call before. */
struct fake_seen *fake_see_caller(struct fake_fs *fake, const oriel_fs_caller *caller);

/* ---- the tree; under the lock, but for fake_make() ---- */

struct fake_inode *fake_new_inode(struct fake_fs *fake, uint32_t mode);
void fake_free_inode(struct fake_inode *inode);
/* Aborts when there is none. */
struct fake_inode *fake_must_find(struct fake_inode *folder, const char *name);
/* Counts a hold. Returns 0. */
int fake_fill_entry(struct fake_fs *fake, struct fake_inode *inode, struct oriel_fs_entry *out);
/* A new inode with its name. target: of a symbolic link, else NULL. 0 or -EEXIST. */
int fake_make(struct fake_fs *fake, void *parent, const char *name, uint32_t mode, const char *target,
              struct oriel_fs_entry *out);

/* ---- each part's functions of the back-end ---- */

void fake_set_tree_ops(struct oriel_fs_ops *ops);
void fake_set_file_ops(struct oriel_fs_ops *ops);
void fake_set_xattr_ops(struct oriel_fs_ops *ops);

#endif
