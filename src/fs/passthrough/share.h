/* What the parts of the passthrough back-end share: the back-end, its mounts, inodes and handles. */
#ifndef ORIEL_FS_PASSTHROUGH_SHARE_H
#define ORIEL_FS_PASSTHROUGH_SHARE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/fs.h>
#include <oriel/passthrough.h>

#include "fs/passthrough/budget.h"
#include "fs/passthrough/creds.h"
#include "fs/passthrough/fd_cache.h"

/* A mounted file system below the shared folder. */
struct pt_mount {
    uint64_t id;
    uint64_t dev;
    int fd;                 /* for open_by_handle_at; -1 = none */
    bool file_handles;      /* inodes on it are file handles */
    bool birth_time;        /* the birth time tells a reused inode number from the old file */
    bool no_devices;        /* none can be opened on it */
    bool flush_on_close;    /* errors of written data show at close(2), as on NFS */
    _Atomic bool no_nowait; /* it was seen that RWF_NOWAIT is refused */
    uint64_t inodes;        /* that are on it; under mounts_lock. The root's mount stays */
    struct pt_mount *next;
};

/*
 * A file that the guest knows. Without a descriptor of its own: `handle` (handle_bytes of it) is what the
 * kernel opens it by, or else `location`. 72 bytes and the handle, 8 to 24 bytes on the usual file systems.
 */
struct pt_inode {
    uint64_t dev, ino, generation;
    struct pt_mount *mount;
    struct pt_handle *_Atomic handles; /* open ones; changed under the inode's lock */
    struct pt_location *location;      /* where there is no file handle; else NULL */
    _Atomic int pinned_fd;             /* O_PATH descriptor held for good (the root, a FIFO, a removed file
                                          without handle); else -1; never changes once set */
    _Atomic uint32_t users;            /* the server, and each inode whose location is below it */
    fd_cache_word cached;
    _Atomic bool verified; /* the handle is known to be this identity's */
    bool numbered;         /* the handle has the inode's number in it, in a mount without devices */
    bool counted_pin;      /* pinned_fd counts in `pins` */
    uint8_t type;          /* S_IFMT bits >> 12 */
    uint16_t handle_bytes; /* 0 = no file handle */
    int32_t handle_type;   /* as name_to_handle_at gave it */
    unsigned char handle[];
};

_Static_assert(sizeof(struct pt_inode) <= 80, "a million of them are known at once");

/* An open file or folder. */
struct pt_handle {
    int fd;
    bool writable;
    _Atomic uint32_t users;         /* its owner, and each operation that borrows fd */
    struct pt_inode *_Atomic inode; /* on whose list it is; NULL = none; changed under the inode's lock */
    struct pt_handle *next, *previous;
    struct pt_listing *listing; /* folders */
};

#define PT_LOCKS 64

struct passthrough {
    struct oriel_passthrough_options options;
    struct oriel_trace *trace;
    struct fd_budget budget;
    struct fd_cache cache;
    struct pt_mount root_mount;
    struct pt_inode *root;
    bool fenced;
    struct creds_held process; /* whose rights are the process's, on any thread (keep_credentials) */
    bool can_keep_sgid;        /* the process: CREDS_KILL differs from CREDS_OWN */
    bool has_openat2;
    int proc_fd; /* /proc/self/fd */
    pthread_mutex_t mounts_lock;
    pthread_mutex_t locks[PT_LOCKS];             /* of inodes, by address */
    _Atomic uint32_t listings;                   /* that hold a buffer */
    struct pt_location_table *_Atomic locations; /* NULL until an inode has one */
    pthread_mutex_t locations_lock;
    uint64_t pins; /* under locations_lock: descriptors held for removed files, FIFOs and the like */
    pthread_mutex_t lock_owners_lock;
    _Atomic uint32_t lock_owner_count;
    struct pt_lock_owner *lock_owners[PT_LOCKS]; /* by inode */
};

static inline bool inode_is(const struct pt_inode *inode, uint32_t s_ifmt)
{
    return (uint32_t)inode->type << 12 == s_ifmt;
}

static inline pthread_mutex_t *inode_lock(struct passthrough *pt, const struct pt_inode *inode)
{
    uintptr_t address = (uintptr_t)inode;
    return &pt->locks[(address >> 6 ^ address >> 12) % PT_LOCKS];
}

#endif
