#include "fs/memory/attr.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "fs/memory/acl.h"
#include "fs/memory/xattr.h"

int memfs_getattr(void *fs, const oriel_fs_caller *caller, void *opaque, void *handle,
                  struct oriel_fs_attr *out)
{
    (void)fs;
    (void)caller;
    (void)handle;
    struct memfs_inode *inode = opaque;
    pthread_rwlock_rdlock(&inode->lock);
    memfs_inode_attr(inode, out);
    pthread_rwlock_unlock(&inode->lock);
    return 0;
}

/* ---- setattr; the inode is locked for writing ---- */

static uint64_t bytes_of(const struct memfs_inode *inode)
{
    uint64_t bytes = inode->xattrs.charged;
    if (memfs_is_regular(inode))
        bytes += inode->content.charged << MEMFS_PAGE_SHIFT;
    else if (memfs_is_symlink(inode))
        bytes += inode->target_len;
    return bytes;
}

static uint64_t inodes_of(const struct memfs_inode *inode)
{
    return memfs_is_folder(inode) ? 1 : max_u64(inode->nlink, 1);
}

static int set_size(struct memfs *fs, struct memfs_inode *inode, uint64_t size, bool stamp,
                    struct oriel_fs_time now)
{
    if (memfs_is_folder(inode))
        return -EISDIR;
    if (!memfs_is_regular(inode))
        return -EINVAL;
    struct memfs_store store = memfs_store_of(fs, inode);
    int error = memfs_content_resize(&inode->content, &store, size);
    if (error == 0 && stamp)
        inode->mtime = now;
    return error;
}

/* A new owner or group ends suid and sgid, whoever asks (chown(2)). */
static int set_owner(struct memfs *fs, const oriel_fs_caller *caller, struct memfs_inode *inode,
                     const struct oriel_fs_attr *attr, uint32_t set)
{
    if ((set & ORIEL_FS_SET_UID) != 0) {
        int error = memfs_quota_move(&fs->quota, inode->uid, attr->uid, bytes_of(inode), inodes_of(inode));
        if (error != 0)
            return error;
        inode->uid = attr->uid;
    }
    if (!memfs_is_folder(inode)) {
        bool sgid_stays = (inode->mode & S_IXGRP) == 0 && memfs_caller_in_group(caller, inode->gid);
        inode->mode &= ~(uint32_t)(S_ISUID | (sgid_stays ? 0 : S_ISGID));
        (void)memfs_xattr_drop(fs, inode, "security.capability");
    }
    if ((set & ORIEL_FS_SET_GID) != 0)
        inode->gid = attr->gid;
    return 0;
}

static void set_mode(struct memfs_inode *inode, uint32_t mode)
{
    inode->mode = (inode->mode & S_IFMT) | (mode & 07777);
    size_t size;
    void *list = memfs_xattr_find(inode, MEMFS_ACL_ACCESS, &size);
    if (list != NULL)
        memfs_acl_set_mode(list, size, mode & 0777);
}

static void set_times(struct memfs_inode *inode, const struct oriel_fs_attr *attr, uint32_t set,
                      struct oriel_fs_time now)
{
    if ((set & (ORIEL_FS_SET_ATIME | ORIEL_FS_SET_ATIME_NOW)) != 0)
        inode->atime = (set & ORIEL_FS_SET_ATIME_NOW) != 0 ? now : attr->atime;
    if ((set & (ORIEL_FS_SET_MTIME | ORIEL_FS_SET_MTIME_NOW)) != 0)
        inode->mtime = (set & ORIEL_FS_SET_MTIME_NOW) != 0 ? now : attr->mtime;
}

static int set_all(struct memfs *fs, const oriel_fs_caller *caller, struct memfs_inode *inode, bool by_handle,
                   const struct oriel_fs_attr *attr, uint32_t set)
{
    struct oriel_fs_time now = memfs_now();
    bool only_size = (set & ~(ORIEL_FS_SET_SIZE | ORIEL_FS_SET_KILL_SUIDGID)) == 0;
    if ((set & ORIEL_FS_SET_SIZE) != 0) {
        /* truncate(2) to the size that it has stamps nothing; ftruncate(2) always does, and leaves it to us. */
        bool stamp = by_handle || (memfs_is_regular(inode) && attr->size != inode->content.size);
        int error = set_size(fs, inode, attr->size, stamp, now);
        if (error != 0)
            return error;
        only_size = only_size && !stamp;
    }
    if ((set & (ORIEL_FS_SET_UID | ORIEL_FS_SET_GID)) != 0) {
        int error = set_owner(fs, caller, inode, attr, set);
        if (error != 0)
            return error;
    }
    if ((set & ORIEL_FS_SET_KILL_SUIDGID) != 0)
        memfs_inode_kill_privileges(fs, inode);
    if ((set & ORIEL_FS_SET_MODE) != 0)
        set_mode(inode, attr->mode);
    set_times(inode, attr, set, now);
    if ((set & ORIEL_FS_SET_CTIME) != 0)
        inode->ctime = attr->ctime;
    else if (!only_size)
        inode->ctime = now;
    return 0;
}

int memfs_setattr(void *fs, const oriel_fs_caller *caller, void *opaque, void *handle,
                  const struct oriel_fs_attr *attr, uint32_t set, struct oriel_fs_attr *out)
{
    struct memfs_inode *inode = opaque;
    pthread_rwlock_wrlock(&inode->lock);
    int error = set_all(fs, caller, inode, handle != NULL, attr, set);
    if (error == 0)
        memfs_inode_attr(inode, out);
    pthread_rwlock_unlock(&inode->lock);
    return error;
}

/* ---- access, statfs, readlink ---- */

/* By the permission bits alone: a guest that uses lists checks them itself. */
int memfs_access(void *fs, const oriel_fs_caller *caller, void *opaque, uint32_t mask)
{
    (void)fs;
    struct memfs_inode *inode = opaque;
    if ((mask & ~UINT32_C(7)) != 0)
        return -EINVAL;
    pthread_rwlock_rdlock(&inode->lock);
    uint32_t mode = inode->mode;
    uint32_t uid = inode->uid;
    uint32_t gid = inode->gid;
    pthread_rwlock_unlock(&inode->lock);
    if (caller->uid == 0 || caller->uid == UINT32_MAX)
        return (mask & X_OK) != 0 && !S_ISDIR(mode) && (mode & 0111) == 0 ? -EACCES : 0;
    unsigned shift = caller->uid == uid ? 6 : memfs_caller_in_group(caller, gid) ? 3 : 0;
    return (mask & ~(mode >> shift) & 7) == 0 ? 0 : -EACCES;
}

int memfs_statfs(void *opaque, void *inode, struct oriel_fs_statfs *out)
{
    (void)inode;
    struct memfs *fs = opaque;
    const struct memfs_quota *quota = &fs->quota;
    uint64_t bytes = quota->max_bytes - min_u64(atomic_load(&quota->bytes), quota->max_bytes);
    uint64_t inodes = quota->max_inodes - min_u64(atomic_load(&quota->inodes), quota->max_inodes);
    *out = (struct oriel_fs_statfs){
        .blocks = quota->max_bytes >> MEMFS_PAGE_SHIFT,
        .bfree = bytes >> MEMFS_PAGE_SHIFT,
        .bavail = bytes >> MEMFS_PAGE_SHIFT,
        .files = quota->max_inodes,
        .ffree = inodes,
        .bsize = MEMFS_PAGE_SIZE,
        .frsize = MEMFS_PAGE_SIZE,
        .namelen = MEMFS_NAME_MAX,
    };
    return 0;
}

ssize_t memfs_readlink(void *fs, const oriel_fs_caller *caller, void *opaque, char *target, size_t size)
{
    (void)fs;
    (void)caller;
    struct memfs_inode *inode = opaque;
    if (!memfs_is_symlink(inode))
        return -EINVAL;
    pthread_rwlock_rdlock(&inode->lock);
    bool old = memfs_atime_is_old(inode, NULL);
    pthread_rwlock_unlock(&inode->lock);
    if (old)
        memfs_touch_atime(inode);
    size_t len = min_u64(inode->target_len, size);
    memcpy(target, inode->target, len);
    return (ssize_t)len;
}
