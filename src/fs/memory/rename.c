#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <linux/fs.h>

#include "fs/memory/names.h"

/* One rename while its parents are locked. */
struct move {
    struct memfs *fs;
    struct memfs_inode *from, *to; /* parents */
    const char *to_name;
    uint32_t flags;
    struct memfs_dirent *source, *target; /* entries; target NULL: the new name is free */
    struct memfs_dirent *fresh;           /* the entry for a free name */
    struct memfs_inode *whiteout;
    struct memfs_inode *unref[2]; /* whose reference ends when nothing is locked any more */
};

/* True when `above` is `inode` or one of the folders over it. move_lock is held, or both are in one folder.
 */
static bool is_above(const struct memfs_inode *above, const struct memfs_inode *inode)
{
    while (inode != above && inode->parent != inode)
        inode = inode->parent;
    return inode == above;
}

/*
 * Two folders: the upper one first; where neither is above the other, by address.
 *
 * No deadlock: every other operation takes locks downwards only (a folder, then what is in it), and so does
 * this one but for its two parents, which move_lock lets only one thread hold at a time. Whoever waits for a
 * lock thus waits for a thread that is further down, or for the one with two parents, and that one never
 * waits for a folder above its first. Who is above whom changes under move_lock only.
 */
static void lock_parents(struct move *m)
{
    if (m->from == m->to) {
        pthread_rwlock_wrlock(&m->from->lock);
        return;
    }
    pthread_mutex_lock(&m->fs->move_lock);
    bool from_first = is_above(m->from, m->to) || (!is_above(m->to, m->from) && m->from < m->to);
    pthread_rwlock_wrlock(from_first ? &m->from->lock : &m->to->lock);
    pthread_rwlock_wrlock(from_first ? &m->to->lock : &m->from->lock);
}

static void unlock_parents(struct move *m)
{
    pthread_rwlock_unlock(&m->from->lock);
    if (m->from == m->to)
        return;
    pthread_rwlock_unlock(&m->to->lock);
    pthread_mutex_unlock(&m->fs->move_lock);
}

/* The two that are moved: folders before files, because a holder of a folder may wait for a file in it. */
static void lock_moved(struct memfs_inode *source, struct memfs_inode *target)
{
    struct memfs_inode *first = source;
    struct memfs_inode *second = target;
    if (target != NULL &&
        (memfs_is_folder(target) != memfs_is_folder(source) ? memfs_is_folder(target) : target < source)) {
        first = target;
        second = source;
    }
    pthread_rwlock_wrlock(&first->lock);
    if (second != NULL)
        pthread_rwlock_wrlock(&second->lock);
}

static void unlock_moved(struct memfs_inode *source, struct memfs_inode *target)
{
    pthread_rwlock_unlock(&source->lock);
    if (target != NULL)
        pthread_rwlock_unlock(&target->lock);
}

static int check_flags(uint32_t flags)
{
    if ((flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) != 0)
        return -EINVAL;
    return (flags & RENAME_EXCHANGE) != 0 && flags != RENAME_EXCHANGE ? -EINVAL : 0;
}

/* A folder must not come below itself, and nothing may take the place of a folder above it. */
static int check_loops(const struct move *m)
{
    if (m->from == m->to)
        return 0;
    if (memfs_is_folder(m->source->inode) && is_above(m->source->inode, m->to))
        return -EINVAL;
    if (m->target != NULL && memfs_is_folder(m->target->inode) && is_above(m->target->inode, m->from))
        return (m->flags & RENAME_EXCHANGE) != 0 ? -EINVAL : -ENOTEMPTY;
    return 0;
}

static int check_names(const struct move *m)
{
    if (m->source == NULL || m->from->nlink == 0 || m->to->nlink == 0)
        return -ENOENT;
    if (m->target == NULL)
        return (m->flags & RENAME_EXCHANGE) != 0 ? -ENOENT : 0;
    return (m->flags & RENAME_NOREPLACE) != 0 ? -EEXIST : 0;
}

/* What may replace what (rename(2)); the two are locked. */
static int check_kinds(const struct move *m)
{
    if ((m->flags & RENAME_EXCHANGE) != 0 || m->target == NULL)
        return 0;
    const struct memfs_inode *source = m->source->inode;
    const struct memfs_inode *target = m->target->inode;
    if (memfs_is_folder(source) && !memfs_is_folder(target))
        return -ENOTDIR;
    if (!memfs_is_folder(source) && memfs_is_folder(target))
        return -EISDIR;
    return memfs_is_folder(target) && target->folder.live > 0 ? -ENOTEMPTY : 0;
}

/* All that can fail. */
static int prepare(struct move *m, const oriel_fs_caller *caller)
{
    if (m->target == NULL) {
        if (memfs_is_folder(m->source->inode) && m->to->nlink >= MEMFS_LINK_MAX)
            return -EMLINK;
        int error = memfs_folder_reserve(&m->to->folder);
        if (error != 0)
            return error;
        m->fresh = memfs_dirent_create(m->to_name, m->source->inode);
        if (m->fresh == NULL)
            return -ENOSPC;
    }
    if ((m->flags & RENAME_WHITEOUT) == 0)
        return 0;
    struct memfs_new_inode args = {.mode = S_IFCHR};
    return memfs_make_child(m->fs, caller, m->from, args, 0, &m->whiteout);
}

static void set_parent(struct move *m, struct memfs_inode *inode, struct memfs_inode *parent, unsigned slot)
{
    if (!memfs_is_folder(inode) || inode->parent == parent)
        return;
    inode->parent->nlink--;
    m->unref[slot] = inode->parent;
    inode->parent = parent;
    parent->nlink++;
    memfs_inode_ref(parent);
}

static void point(struct memfs_dirent *entry, struct memfs_inode *inode)
{
    entry->inode = inode;
    entry->type = (uint8_t)IFTODT(inode->type);
}

static void exchange(struct move *m, struct oriel_fs_time now)
{
    struct memfs_inode *source = m->source->inode;
    struct memfs_inode *target = m->target->inode;
    point(m->source, target);
    point(m->target, source);
    set_parent(m, source, m->to, 0);
    set_parent(m, target, m->from, 1);
    source->ctime = target->ctime = now;
}

/* The new name keeps its place in a listing when it existed before: it was there all along. */
static void move_entry(struct move *m, struct oriel_fs_time now)
{
    struct memfs_inode *source = m->source->inode;
    if (m->target != NULL) {
        struct memfs_inode *gone = m->target->inode;
        point(m->target, source);
        memfs_inode_drop_link(m->fs, gone, now);
        if (memfs_is_folder(gone))
            m->to->nlink--;
        m->unref[1] = gone;
    } else {
        memfs_folder_insert(&m->to->folder, &m->fs->hash_key, m->fresh);
        m->fresh = NULL;
    }
    set_parent(m, source, m->to, 0);
    source->ctime = now;
    if (m->whiteout != NULL) {
        m->whiteout->nlink = 1;
        point(m->source, m->whiteout);
        m->whiteout = NULL;
    } else {
        memfs_folder_remove(&m->from->folder, &m->fs->hash_key, m->source);
    }
}

static int rename_locked(struct move *m, const oriel_fs_caller *caller, const char *from_name)
{
    m->source = memfs_folder_find(&m->from->folder, &m->fs->hash_key, from_name);
    m->target = memfs_folder_find(&m->to->folder, &m->fs->hash_key, m->to_name);
    int error = check_names(m);
    if (error == 0)
        error = check_loops(m);
    if (error != 0)
        return error;
    struct memfs_inode *source = m->source->inode;
    struct memfs_inode *target = m->target == NULL ? NULL : m->target->inode;
    if (source == target)
        return 0; /* two names of one file: rename(2) leaves both */
    error = prepare(m, caller);
    if (error != 0)
        return error;
    lock_moved(source, target);
    error = check_kinds(m);
    if (error == 0) {
        struct oriel_fs_time now = memfs_now();
        if ((m->flags & RENAME_EXCHANGE) != 0)
            exchange(m, now);
        else
            move_entry(m, now);
        m->from->mtime = m->from->ctime = m->to->mtime = m->to->ctime = now;
    }
    unlock_moved(source, target);
    return error;
}

int memfs_rename(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, void *new_parent,
                 const char *new_name, uint32_t flags)
{
    struct move m = {.fs = fs, .from = parent, .to = new_parent, .to_name = new_name, .flags = flags};
    int error = check_flags(flags);
    if (error != 0)
        return error;
    if (!memfs_is_folder(m.from) || !memfs_is_folder(m.to))
        return -ENOTDIR;
    lock_parents(&m);
    error = rename_locked(&m, caller, name);
    unlock_parents(&m);
    free(m.fresh);
    memfs_inode_unref(fs, m.whiteout);
    for (size_t i = 0; i < 2; i++)
        memfs_inode_unref(fs, m.unref[i]);
    return error;
}
