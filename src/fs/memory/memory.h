/*
 * The memory back-end's inodes and the rules of their locks.
 *
 * Each inode has one lock for all that it holds: attributes, entries, data, xattrs, locks. Operations on
 * different files and folders thus run in parallel. Order: a folder before what is in it; two folders of a
 * rename by memfs_rename's rule; files last, by address. A thread that holds a file's lock takes no folder's
 * lock.
 *
 * References: one for each entry that names the inode, each subfolder's parent pointer, each inode or entry
 * that the server holds. The last one frees it.
 */
#ifndef ORIEL_FS_MEMORY_MEMORY_H
#define ORIEL_FS_MEMORY_MEMORY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <oriel/fs.h>
#include <oriel/trace.h>

#include "fs/memory/content.h"
#include "fs/memory/folder.h"
#include "fs/memory/pool.h"
#include "fs/memory/quota.h"

#define MEMFS_NAME_MAX    255
#define MEMFS_LINK_MAX    UINT32_C(0x7fffffff)
#define MEMFS_SYMLINK_MAX 4095
#define MEMFS_DAX_MIN_SIZE                                                                                   \
    (UINT64_C(128) << 10) /* below it a read costs less than a mapping and a descriptor */

struct memfs {
    struct memfs_quota quota;
    struct memfs_pool pool;
    struct memfs_hash_key hash_key;
    _Atomic uint64_t next_ino;
    _Atomic uint64_t lock_count; /* file lock records in all inodes */
    pthread_mutex_t move_lock;   /* held while a folder may change its parent */
    struct memfs_inode *root;
    struct oriel_trace *trace;
};

struct memfs_xattr;
struct memfs_lock;

struct memfs_xattrs {
    struct memfs_xattr *first;
    uint64_t names_len; /* what listxattr gives */
    uint64_t charged;   /* bytes of quota */
};

struct memfs_inode {
    _Atomic uint64_t refs;
    pthread_rwlock_t lock;
    uint64_t ino;  /* never changes, is never used again */
    uint32_t mode; /* its type never changes */
    uint32_t type; /* of mode, to be read without the lock */
    uint32_t uid, gid, nlink, rdev;
    bool linkable; /* O_TMPFILE without O_EXCL: link() may give it its first name */
    struct oriel_fs_time atime, mtime, ctime, btime;
    struct memfs_xattrs xattrs;
    struct memfs_lock *locks;
    union {
        struct memfs_content content; /* regular file */
        struct {
            struct memfs_folder folder;
            struct memfs_inode
                *parent; /* root: itself, without a reference; changes under move_lock and lock */
        };
        struct {
            char *target; /* symbolic link; never changes */
            size_t target_len;
        };
    };
};

struct memfs_handle {
    uint32_t flags;              /* O_* */
    _Atomic uint64_t end_cookie; /* folder: entries from here on were made after the scan began */
};

/* What makes an inode. */
struct memfs_new_inode {
    uint32_t mode, rdev;
    uint32_t uid, gid;
    const char *target; /* symbolic link */
};

struct oriel_fs_time memfs_now(void);
struct memfs_store memfs_store_of(struct memfs *fs, const struct memfs_inode *inode);

/* An inode with one reference and no link. -ENOSPC, -EDQUOT. */
int memfs_inode_create(struct memfs *fs, const struct memfs_new_inode *args, struct memfs_inode **out);
void memfs_inode_ref(struct memfs_inode *inode);
void memfs_inode_unref(struct memfs *fs, struct memfs_inode *inode);

/* The inode's lock is held. */
void memfs_inode_attr(const struct memfs_inode *inode, struct oriel_fs_attr *out);
/* Fills an entry and takes a reference for it; the inode's lock is held, or nobody else can reach it. */
void memfs_entry_fill(struct memfs_inode *inode, struct oriel_fs_entry *out);
/* One name more or less; charges the quota for further links. The inode's lock is held for writing. */
int memfs_inode_add_link(struct memfs *fs, struct memfs_inode *inode);
void memfs_inode_drop_link(struct memfs *fs, struct memfs_inode *inode, struct oriel_fs_time now);
/* Drops suid, sgid where the group may execute, and security.capability. Held for writing. */
void memfs_inode_kill_privileges(struct memfs *fs, struct memfs_inode *inode);
/* The relatime rule of mount(8): whether a read is to move atime on. The inode's lock is held. */
bool memfs_atime_is_old(const struct memfs_inode *inode, const struct memfs_handle *handle);
/* Takes the lock itself. */
void memfs_touch_atime(struct memfs_inode *inode);

static inline bool memfs_is_folder(const struct memfs_inode *inode)
{
    return inode->type == 0040000;
}

static inline bool memfs_is_regular(const struct memfs_inode *inode)
{
    return inode->type == 0100000;
}

static inline bool memfs_is_symlink(const struct memfs_inode *inode)
{
    return inode->type == 0120000;
}

/* True when the caller is the superuser, or has gid among its groups. */
bool memfs_caller_in_group(const oriel_fs_caller *caller, uint32_t gid);

#endif
