/* What the memory back-end may use: bytes and inodes, over all and per owner. Any thread. */
#ifndef ORIEL_FS_MEMORY_QUOTA_H
#define ORIEL_FS_MEMORY_QUOTA_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct memfs_user;

struct memfs_quota {
    uint64_t max_bytes, max_inodes;
    uint64_t user_bytes, user_inodes; /* 0: owners are not counted */
    _Atomic uint64_t bytes, inodes;
    pthread_mutex_t users_lock;
    struct memfs_user *users; /* open addressing; only owners that use something are in it */
    size_t users_capacity, users_count;
};

void memfs_quota_init(struct memfs_quota *quota, uint64_t max_bytes, uint64_t max_inodes, uint64_t user_bytes,
                      uint64_t user_inodes);
void memfs_quota_destroy(struct memfs_quota *quota);

/* Takes bytes and inodes for an owner. -ENOSPC or -EDQUOT: nothing was taken; -ENOSPC also when our own
 * memory is out. */
int memfs_quota_take(struct memfs_quota *quota, uint32_t uid, uint64_t bytes, uint64_t inodes);
void memfs_quota_give(struct memfs_quota *quota, uint32_t uid, uint64_t bytes, uint64_t inodes);

/* Takes as many of `count` units of unit_bytes as there are; returns how many, or the error when not even
 * one. */
int64_t memfs_quota_take_some(struct memfs_quota *quota, uint32_t uid, uint64_t unit_bytes, uint64_t count);

/* A file changes its owner. -EDQUOT: the new owner may not have that much. */
int memfs_quota_move(struct memfs_quota *quota, uint32_t from, uint32_t to, uint64_t bytes, uint64_t inodes);

#endif
