#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/memory/lock.h"
#include "fs/memory/memory.h"
#include "fs/memory/xattr.h"

#define DAY_SECONDS      86400
#define EMPTY_FOLDER_LEN 40 /* bytes that a folder says it has, and for each entry: what tmpfs says */
#define ENTRY_LEN        20

struct oriel_fs_time memfs_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (struct oriel_fs_time){now.tv_sec, (uint32_t)now.tv_nsec};
}

struct memfs_store memfs_store_of(struct memfs *fs, const struct memfs_inode *inode)
{
    return (struct memfs_store){&fs->pool, &fs->quota, inode->uid};
}

static int set_target(struct memfs *fs, struct memfs_inode *inode, const char *target)
{
    size_t len = strlen(target);
    int error = memfs_quota_take(&fs->quota, inode->uid, len, 0);
    if (error != 0)
        return error;
    inode->target = strdup(target);
    if (inode->target == NULL) {
        memfs_quota_give(&fs->quota, inode->uid, len, 0);
        return -ENOSPC;
    }
    inode->target_len = len;
    return 0;
}

static void init_inode(struct memfs *fs, struct memfs_inode *inode, const struct memfs_new_inode *args)
{
    atomic_init(&inode->refs, 1);
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    /* No lock is taken twice by one thread, so writers need not starve. */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&inode->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    inode->ino = atomic_fetch_add_explicit(&fs->next_ino, 1, memory_order_relaxed);
    inode->mode = args->mode;
    inode->type = args->mode & S_IFMT;
    inode->uid = args->uid;
    inode->gid = args->gid;
    inode->rdev = args->rdev;
    inode->atime = inode->mtime = inode->ctime = inode->btime = memfs_now();
}

int memfs_inode_create(struct memfs *fs, const struct memfs_new_inode *args, struct memfs_inode **out)
{
    int error = memfs_quota_take(&fs->quota, args->uid, 0, 1);
    if (error != 0)
        return error;
    struct memfs_inode *inode = calloc(1, sizeof(*inode));
    if (inode == NULL) {
        memfs_quota_give(&fs->quota, args->uid, 0, 1);
        return -ENOSPC;
    }
    init_inode(fs, inode, args);
    if (memfs_is_regular(inode))
        memfs_content_init(&inode->content, inode->ino);
    else if (memfs_is_folder(inode))
        memfs_folder_init(&inode->folder);
    else if (memfs_is_symlink(inode))
        error = set_target(fs, inode, args->target);
    if (error != 0) {
        memfs_inode_unref(fs, inode);
        return error;
    }
    *out = inode;
    return 0;
}

static void free_inode(struct memfs *fs, struct memfs_inode *inode)
{
    if (memfs_is_regular(inode)) {
        struct memfs_store store = memfs_store_of(fs, inode);
        memfs_content_destroy(&inode->content, &store);
    } else if (memfs_is_folder(inode)) {
        memfs_folder_destroy(&inode->folder);
    } else if (memfs_is_symlink(inode)) {
        memfs_quota_give(&fs->quota, inode->uid, inode->target_len, 0);
        free(inode->target);
    }
    memfs_xattr_clear(fs, inode);
    memfs_lock_clear(fs, inode);
    memfs_quota_give(&fs->quota, inode->uid, 0, 1);
    pthread_rwlock_destroy(&inode->lock);
    free(inode);
}

void memfs_inode_ref(struct memfs_inode *inode)
{
    atomic_fetch_add_explicit(&inode->refs, 1, memory_order_relaxed);
}

/* A folder holds its parent, so the end of one may be the end of a whole chain. */
void memfs_inode_unref(struct memfs *fs, struct memfs_inode *inode)
{
    while (inode != NULL && atomic_fetch_sub_explicit(&inode->refs, 1, memory_order_acq_rel) == 1) {
        struct memfs_inode *parent = NULL;
        if (memfs_is_folder(inode) && inode->parent != inode)
            parent = inode->parent;
        free_inode(fs, inode);
        inode = parent;
    }
}

static uint64_t size_of(const struct memfs_inode *inode)
{
    if (memfs_is_regular(inode))
        return inode->content.size;
    if (memfs_is_folder(inode))
        return EMPTY_FOLDER_LEN + (uint64_t)ENTRY_LEN * inode->folder.live;
    return memfs_is_symlink(inode) ? inode->target_len : 0;
}

void memfs_inode_attr(const struct memfs_inode *inode, struct oriel_fs_attr *out)
{
    *out = (struct oriel_fs_attr){
        .ino = inode->ino,
        .size = size_of(inode),
        .blocks = memfs_is_regular(inode) ? memfs_content_blocks(&inode->content) : 0,
        .atime = inode->atime,
        .mtime = inode->mtime,
        .ctime = inode->ctime,
        .btime = inode->btime,
        .mode = inode->mode,
        .nlink = inode->nlink,
        .uid = inode->uid,
        .gid = inode->gid,
        .rdev = inode->rdev,
        .blksize = MEMFS_PAGE_SIZE,
        .flags = memfs_is_regular(inode) && inode->content.size >= MEMFS_DAX_MIN_SIZE ? ORIEL_FS_ATTR_DAX : 0,
        .has_btime = true,
    };
}

void memfs_entry_fill(struct memfs_inode *inode, struct oriel_fs_entry *out)
{
    memfs_inode_ref(inode);
    *out = (struct oriel_fs_entry){.identity = {.ino = inode->ino}, .hold = (intptr_t)inode};
    memfs_inode_attr(inode, &out->attr);
}

int memfs_inode_add_link(struct memfs *fs, struct memfs_inode *inode)
{
    if (inode->nlink >= MEMFS_LINK_MAX)
        return -EMLINK;
    /* Each further name needs memory of its own, so it counts as an inode (as on tmpfs). */
    int error = inode->nlink == 0 ? 0 : memfs_quota_take(&fs->quota, inode->uid, 0, 1);
    if (error == 0)
        inode->nlink++;
    return error;
}

void memfs_inode_drop_link(struct memfs *fs, struct memfs_inode *inode, struct oriel_fs_time now)
{
    if (memfs_is_folder(inode))
        inode->nlink = 0; /* its "." goes with its name */
    else if (--inode->nlink > 0)
        memfs_quota_give(&fs->quota, inode->uid, 0, 1);
    inode->ctime = now;
}

void memfs_inode_kill_privileges(struct memfs *fs, struct memfs_inode *inode)
{
    if (!memfs_is_regular(inode))
        return;
    inode->mode &= ~(uint32_t)S_ISUID;
    if ((inode->mode & S_IXGRP) != 0)
        inode->mode &= ~(uint32_t)S_ISGID;
    (void)memfs_xattr_drop(fs, inode, "security.capability");
}

static bool later(struct oriel_fs_time a, struct oriel_fs_time b)
{
    return a.sec > b.sec || (a.sec == b.sec && a.nsec > b.nsec);
}

bool memfs_atime_is_old(const struct memfs_inode *inode, const struct memfs_handle *handle)
{
    if (handle != NULL && (handle->flags & (uint32_t)O_NOATIME) != 0)
        return false;
    if (!later(inode->atime, inode->mtime) || !later(inode->atime, inode->ctime))
        return true;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec - inode->atime.sec >= DAY_SECONDS;
}

void memfs_touch_atime(struct memfs_inode *inode)
{
    pthread_rwlock_wrlock(&inode->lock);
    inode->atime = memfs_now();
    pthread_rwlock_unlock(&inode->lock);
}

bool memfs_caller_in_group(const oriel_fs_caller *caller, uint32_t gid)
{
    if (caller->uid == 0 || caller->gid == gid)
        return true;
    for (size_t i = 0; i < caller->group_count; i++)
        if (caller->groups[i] == gid)
            return true;
    return false;
}
