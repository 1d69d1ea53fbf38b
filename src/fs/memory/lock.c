#include "fs/memory/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/checked.h"

/* Records of one owner and kind never overlap, and never touch where they have one type. */
struct memfs_lock {
    struct memfs_lock *next;
    struct oriel_fs_lock lock;
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

static const struct memfs_lock *find_conflict(const struct memfs_inode *inode,
                                              const struct oriel_fs_lock *lock)
{
    for (const struct memfs_lock *held = inode->locks; held != NULL; held = held->next) {
        bool exclusive = held->lock.type == F_WRLCK || lock->type == F_WRLCK;
        if (held->lock.flock == lock->flock && held->lock.owner != lock->owner && exclusive &&
            overlap(&held->lock, lock))
            return held;
    }
    return NULL;
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

int memfs_setlk(void *opaque_fs, void *opaque, void *handle, const struct oriel_fs_lock *lock)
{
    (void)handle;
    struct memfs *fs = opaque_fs;
    struct memfs_inode *inode = opaque;
    if (lock->start > lock->end || lock->start > INT64_MAX ||
        (lock->type != F_RDLCK && lock->type != F_WRLCK && lock->type != F_UNLCK))
        return -EINVAL;
    struct oriel_fs_lock range = *lock;
    range.end = min_u64(range.end, INT64_MAX);
    struct memfs_lock *spare = NULL;
    struct memfs_lock *record = NULL;
    int error = 0;
    pthread_rwlock_wrlock(&inode->lock);
    if (lock->type == F_UNLCK && !holds_anything(inode, lock))
        goto out;
    if (lock->type != F_UNLCK && find_conflict(inode, lock) != NULL) {
        error = -EAGAIN;
        goto out;
    }
    spare = make_record(fs);
    record = lock->type == F_UNLCK ? NULL : make_record(fs);
    /* To unlock everything needs no record, so that it works when there are none left. */
    bool whole = lock->start == 0 && lock->end >= INT64_MAX;
    if ((spare == NULL && !(lock->type == F_UNLCK && whole)) || (record == NULL && lock->type != F_UNLCK)) {
        error = -ENOLCK;
        goto out;
    }
    clear_range(fs, inode, &range, &spare);
    if (record != NULL) {
        record->lock = range;
        push(inode, record);
        record = NULL;
    }
out:
    free_record(fs, spare);
    free_record(fs, record);
    pthread_rwlock_unlock(&inode->lock);
    return error;
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
