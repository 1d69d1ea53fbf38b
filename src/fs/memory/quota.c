#include "fs/memory/quota.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/checked.h"

struct memfs_user {
    uint32_t uid;
    uint64_t bytes, inodes; /* both 0: the place is free */
};

void memfs_quota_init(struct memfs_quota *quota, uint64_t max_bytes, uint64_t max_inodes, uint64_t user_bytes,
                      uint64_t user_inodes)
{
    *quota = (struct memfs_quota){.max_bytes = max_bytes,
                                  .max_inodes = max_inodes,
                                  .user_bytes = user_bytes,
                                  .user_inodes = user_inodes};
    pthread_mutex_init(&quota->users_lock, NULL);
}

void memfs_quota_destroy(struct memfs_quota *quota)
{
    pthread_mutex_destroy(&quota->users_lock);
    free(quota->users);
}

static bool take_from(_Atomic uint64_t *used, uint64_t max, uint64_t amount)
{
    uint64_t now = atomic_load_explicit(used, memory_order_relaxed);
    do {
        if (!range_within(now, amount, max))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(used, &now, now + amount, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static bool is_free(const struct memfs_user *user)
{
    return user->bytes == 0 && user->inodes == 0;
}

static size_t users_home(const struct memfs_quota *quota, uint32_t uid)
{
    return (size_t)((uid * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (quota->users_capacity - 1);
}

/* The owner's place, or the free place where it belongs. */
static struct memfs_user *users_find(const struct memfs_quota *quota, uint32_t uid)
{
    size_t at = users_home(quota, uid);
    while (!is_free(&quota->users[at]) && quota->users[at].uid != uid)
        at = (at + 1) & (quota->users_capacity - 1);
    return &quota->users[at];
}

/* Room for one more owner, with at most half of the places taken. */
static int users_reserve(struct memfs_quota *quota)
{
    if ((quota->users_count + 1) * 2 <= quota->users_capacity)
        return 0;
    struct memfs_user *old = quota->users;
    size_t old_capacity = quota->users_capacity;
    size_t capacity = old_capacity == 0 ? 64 : old_capacity * 2;
    struct memfs_user *users = calloc(capacity, sizeof(*users));
    if (users == NULL)
        return -ENOSPC;
    quota->users = users;
    quota->users_capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++)
        if (!is_free(&old[i]))
            *users_find(quota, old[i].uid) = old[i];
    free(old);
    return 0;
}

/* Frees a place and moves up what probed past it. */
static void users_vacate(struct memfs_quota *quota, struct memfs_user *user)
{
    size_t mask = quota->users_capacity - 1;
    size_t hole = (size_t)(user - quota->users);
    for (size_t at = (hole + 1) & mask; !is_free(&quota->users[at]); at = (at + 1) & mask) {
        size_t home = users_home(quota, quota->users[at].uid);
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        quota->users[hole] = quota->users[at];
        hole = at;
    }
    quota->users[hole] = (struct memfs_user){0};
    quota->users_count--;
}

static bool counts_users(const struct memfs_quota *quota)
{
    return quota->user_bytes != 0 || quota->user_inodes != 0;
}

static uint64_t user_room(uint64_t bound, uint64_t used)
{
    return bound == 0 ? UINT64_MAX : bound - min_u64(bound, used);
}

/* users_lock is held. */
static int user_take(struct memfs_quota *quota, uint32_t uid, uint64_t bytes, uint64_t inodes)
{
    if (bytes == 0 && inodes == 0)
        return 0;
    int error = users_reserve(quota);
    if (error != 0)
        return error;
    struct memfs_user *user = users_find(quota, uid);
    if (bytes > user_room(quota->user_bytes, user->bytes) ||
        inodes > user_room(quota->user_inodes, user->inodes))
        return -EDQUOT;
    if (is_free(user))
        quota->users_count++;
    user->uid = uid;
    user->bytes += bytes;
    user->inodes += inodes;
    return 0;
}

static void user_give(struct memfs_quota *quota, uint32_t uid, uint64_t bytes, uint64_t inodes)
{
    if (bytes == 0 && inodes == 0)
        return;
    struct memfs_user *user = users_find(quota, uid);
    user->bytes -= bytes;
    user->inodes -= inodes;
    if (is_free(user))
        users_vacate(quota, user);
}

int memfs_quota_take(struct memfs_quota *quota, uint32_t uid, uint64_t bytes, uint64_t inodes)
{
    if (!take_from(&quota->bytes, quota->max_bytes, bytes))
        return -ENOSPC;
    if (!take_from(&quota->inodes, quota->max_inodes, inodes)) {
        atomic_fetch_sub_explicit(&quota->bytes, bytes, memory_order_relaxed);
        return -ENOSPC;
    }
    int error = 0;
    if (counts_users(quota)) {
        pthread_mutex_lock(&quota->users_lock);
        error = user_take(quota, uid, bytes, inodes);
        pthread_mutex_unlock(&quota->users_lock);
    }
    if (error != 0) {
        atomic_fetch_sub_explicit(&quota->bytes, bytes, memory_order_relaxed);
        atomic_fetch_sub_explicit(&quota->inodes, inodes, memory_order_relaxed);
    }
    return error;
}

void memfs_quota_give(struct memfs_quota *quota, uint32_t uid, uint64_t bytes, uint64_t inodes)
{
    if (counts_users(quota)) {
        pthread_mutex_lock(&quota->users_lock);
        user_give(quota, uid, bytes, inodes);
        pthread_mutex_unlock(&quota->users_lock);
    }
    atomic_fetch_sub_explicit(&quota->bytes, bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&quota->inodes, inodes, memory_order_relaxed);
}

static uint64_t room_now(struct memfs_quota *quota, uint32_t uid)
{
    uint64_t used = atomic_load_explicit(&quota->bytes, memory_order_relaxed);
    uint64_t room = quota->max_bytes - min_u64(quota->max_bytes, used);
    if (quota->user_bytes == 0)
        return room;
    pthread_mutex_lock(&quota->users_lock);
    uint64_t user = quota->users_capacity == 0 ? 0 : users_find(quota, uid)->bytes;
    pthread_mutex_unlock(&quota->users_lock);
    return min_u64(room, user_room(quota->user_bytes, user));
}

int64_t memfs_quota_take_some(struct memfs_quota *quota, uint32_t uid, uint64_t unit_bytes, uint64_t count)
{
    for (;;) {
        int error = memfs_quota_take(quota, uid, count * unit_bytes, 0);
        if (error == 0)
            return (int64_t)count;
        uint64_t fits = room_now(quota, uid) / unit_bytes;
        if (count <= 1 || fits == 0)
            return error;
        /* Fewer each time round, so this ends even while others give and take. */
        count = min_u64(fits, count - 1);
    }
}

int memfs_quota_move(struct memfs_quota *quota, uint32_t from, uint32_t to, uint64_t bytes, uint64_t inodes)
{
    if (from == to || !counts_users(quota))
        return 0;
    pthread_mutex_lock(&quota->users_lock);
    int error = user_take(quota, to, bytes, inodes);
    if (error == 0)
        user_give(quota, from, bytes, inodes);
    pthread_mutex_unlock(&quota->users_lock);
    return error;
}
