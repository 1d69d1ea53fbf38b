#include "fs/memory/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/checked.h"

/* Records of one owner and kind never overlap, and never touch where they have one type. */
struct memfs_lock {
    struct memfs_lock *next;
    struct oriel_fs_lock lock;
    const void *handle; /* through which it was set */
};

static bool same_owner(const struct oriel_fs_lock *a, const struct oriel_fs_lock *b)
{
    return a->flock == b->flock && a->owner == b->owner;
}

static bool overlap(const struct oriel_fs_lock *a, const struct oriel_fs_lock *b)
{
    return a->start <= b->end && b->start <= a->end;
}

static bool touch(const struct oriel_fs_lock *a, const struct oriel_fs_lock *b)
{
    return overlap(a, b) || a->end + 1 == b->start || b->end + 1 == a->start;
}

/* The conflicting lock that begins first, as F_GETLK wants it. */
static const struct memfs_lock *find_conflict(const struct memfs_inode *inode,
                                              const struct oriel_fs_lock *lock)
{
    const struct memfs_lock *first = NULL;
    for (const struct memfs_lock *held = inode->locks; held != NULL; held = held->next) {
        bool exclusive = held->lock.type == F_WRLCK || lock->type == F_WRLCK;
        if (held->lock.flock == lock->flock && held->lock.owner != lock->owner && exclusive &&
            overlap(&held->lock, lock) && (first == NULL || held->lock.start < first->lock.start))
            first = held;
    }
    return first;
}

static struct memfs_lock *make_record(struct memfs *fs)
{
    if (atomic_fetch_add_explicit(&fs->lock_count, 1, memory_order_relaxed) < MEMFS_LOCKS_MAX) {
        struct memfs_lock *record = malloc(sizeof(*record));
        if (record != NULL)
            return record;
    }
    atomic_fetch_sub_explicit(&fs->lock_count, 1, memory_order_relaxed);
    return NULL;
}

static void free_record(struct memfs *fs, struct memfs_lock *record)
{
    if (record == NULL)
        return;
    free(record);
    atomic_fetch_sub_explicit(&fs->lock_count, 1, memory_order_relaxed);
}

static void push(struct memfs_inode *inode, struct memfs_lock *record)
{
    record->next = inode->locks;
    inode->locks = record;
}

/* Takes [range->start, range->end] out of a record. False: nothing is left of it. *spare is used if it is
 * split. */
static bool cut(struct memfs_inode *inode, struct memfs_lock *record, const struct oriel_fs_lock *range,
                struct memfs_lock **spare)
{
    bool head = record->lock.start < range->start;
    bool tail = record->lock.end > range->end;
    if (head && tail) {
        struct memfs_lock *rest = *spare;
        *spare = NULL;
        rest->lock = record->lock;
        rest->handle = record->handle;
        rest->lock.start = range->end + 1;
        push(inode, rest);
    }
    if (head)
        record->lock.end = range->start - 1;
    else if (tail)
        record->lock.start = range->end + 1;
    return head || tail;
}

/*
 * Makes room for `range` among the owner's records: what it covers goes, and what has its type and touches it
 * becomes part of it.
 */
static void clear_range(struct memfs *fs, struct memfs_inode *inode, struct oriel_fs_lock *range,
                        struct memfs_lock **spare)
{
    struct oriel_fs_lock covered = *range;
    struct memfs_lock **link = &inode->locks;
    while (*link != NULL) {
        struct memfs_lock *record = *link;
        bool keep = true;
        if (same_owner(&record->lock, &covered)) {
            if (record->lock.type == covered.type && touch(&record->lock, &covered)) {
                range->start = record->lock.start < range->start ? record->lock.start : range->start;
                range->end = record->lock.end > range->end ? record->lock.end : range->end;
                keep = false;
            } else if (overlap(&record->lock, &covered)) {
                keep = cut(inode, record, &covered, spare);
            }
        }
        if (keep) {
            link = &record->next;
            continue;
        }
        *link = record->next;
        free_record(fs, record);
    }
}

static bool holds_anything(const struct memfs_inode *inode, const struct oriel_fs_lock *lock)
{
    for (const struct memfs_lock *held = inode->locks; held != NULL; held = held->next)
        if (same_owner(&held->lock, lock))
            return true;
    return false;
}

int memfs_getlk(void *fs, void *opaque, void *handle, struct oriel_fs_lock *lock)
{
    (void)fs;
    (void)handle;
    struct memfs_inode *inode = opaque;
    pthread_rwlock_rdlock(&inode->lock);
    const struct memfs_lock *conflict = find_conflict(inode, lock);
    if (conflict != NULL)
        *lock = conflict->lock;
    else
        lock->type = F_UNLCK;
    pthread_rwlock_unlock(&inode->lock);
    return 0;
}

/* flock(2): turning a lock into another kind gives the old one up first, whatever comes of it. */
static void give_up_other_kind(struct memfs *fs, struct memfs_inode *inode, const struct oriel_fs_lock *lock)
{
    for (struct memfs_lock **link = &inode->locks; *link != NULL; link = &(*link)->next) {
        struct memfs_lock *record = *link;
        if (!same_owner(&record->lock, lock) || record->lock.type == lock->type)
            continue;
        *link = record->next;
        free_record(fs, record);
        return; /* there is one at most */
    }
}

/* The inode is locked for writing, and nobody else is in the way. */
static int set_locked(struct memfs *fs, struct memfs_inode *inode, const void *handle,
                      const struct oriel_fs_lock *lock)
{
    struct oriel_fs_lock range = *lock;
    bool unlock = lock->type == F_UNLCK;
    struct memfs_lock *spare = make_record(fs);
    struct memfs_lock *record = unlock ? NULL : make_record(fs);
    /* To unlock everything needs no record, so that it works when there are none left. */
    bool whole = lock->start == 0 && lock->end == INT64_MAX;
    int error = 0;
    if ((spare == NULL && !(unlock && whole)) || (record == NULL && !unlock)) {
        error = -ENOLCK;
    } else {
        clear_range(fs, inode, &range, &spare);
        if (record != NULL) {
            record->lock = range;
            record->handle = handle;
            push(inode, record);
            record = NULL;
        }
    }
    free_record(fs, spare);
    free_record(fs, record);
    return error;
}

int memfs_setlk(void *fs, void *opaque, void *handle, const struct oriel_fs_lock *given)
{
    struct memfs_inode *inode = opaque;
    struct oriel_fs_lock lock = *given;
    lock.end = min_u64(lock.end, INT64_MAX);
    if (lock.start > lock.end || (lock.type != F_RDLCK && lock.type != F_WRLCK && lock.type != F_UNLCK))
        return -EINVAL;
    int error = 0;
    pthread_rwlock_wrlock(&inode->lock);
    if (lock.flock)
        give_up_other_kind(fs, inode, &lock);
    if (lock.type != F_UNLCK && find_conflict(inode, &lock) != NULL)
        error = -EAGAIN;
    else if (lock.type != F_UNLCK || holds_anything(inode, &lock))
        error = set_locked(fs, inode, handle, &lock);
    pthread_rwlock_unlock(&inode->lock);
    return error;
}

/*
 * The last descriptor of an open file is closed. A client tells so of flock locks; those by open file description
 * (F_OFD_SETLK) it forgets, and all others that were set through this handle have lost their owner before.
 */
void memfs_lock_drop_handle(struct memfs *fs, struct memfs_inode *inode, const void *handle)
{
    pthread_rwlock_wrlock(&inode->lock);
    struct memfs_lock **link = &inode->locks;
    while (*link != NULL) {
        struct memfs_lock *record = *link;
        if (record->handle != handle) {
            link = &record->next;
            continue;
        }
        *link = record->next;
        free_record(fs, record);
    }
    pthread_rwlock_unlock(&inode->lock);
}

void memfs_lock_drop_owner(struct memfs *fs, struct memfs_inode *inode, uint64_t owner, bool flock)
{
    struct oriel_fs_lock all = {.end = INT64_MAX, .type = F_UNLCK, .owner = owner, .flock = flock};
    (void)memfs_setlk(fs, inode, NULL, &all);
}

void memfs_lock_clear(struct memfs *fs, struct memfs_inode *inode)
{
    while (inode->locks != NULL) {
        struct memfs_lock *record = inode->locks;
        inode->locks = record->next;
        free_record(fs, record);
    }
}
