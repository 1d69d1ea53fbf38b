#include "fs/memory/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/memory/acl.h"
#include "fs/memory/xattr.h"

/* Fills the entry of an inode that was found and got a reference while its folder was locked. */
static int found(struct memfs *fs, struct memfs_inode *inode, struct oriel_fs_entry *out)
{
    pthread_rwlock_rdlock(&inode->lock);
    memfs_entry_fill(inode, out);
    pthread_rwlock_unlock(&inode->lock);
    memfs_inode_unref(fs, inode);
    return 0;
}

int memfs_lookup(void *opaque, const oriel_fs_caller *caller, void *opaque_parent, const char *name,
                 struct oriel_fs_entry *out)
{
    (void)caller;
    struct memfs *fs = opaque;
    struct memfs_inode *parent = opaque_parent;
    if (!memfs_is_folder(parent))
        return -ENOTDIR;
    pthread_rwlock_rdlock(&parent->lock);
    const struct memfs_dirent *entry = memfs_folder_find(&parent->folder, &fs->hash_key, name);
    struct memfs_inode *inode = entry == NULL ? NULL : entry->inode;
    if (inode != NULL)
        memfs_inode_ref(inode);
    pthread_rwlock_unlock(&parent->lock);
    return inode == NULL ? -ENOENT : found(fs, inode, out);
}

int memfs_lookup_parent(void *fs, const oriel_fs_caller *caller, void *opaque, struct oriel_fs_entry *out)
{
    (void)caller;
    struct memfs_inode *inode = opaque;
    if (!memfs_is_folder(inode))
        return -ENOTDIR;
    pthread_rwlock_rdlock(&inode->lock);
    struct memfs_inode *parent = inode->parent;
    memfs_inode_ref(parent);
    pthread_rwlock_unlock(&inode->lock);
    return found(fs, parent, out);
}

/* ---- making ---- */

/* The group of a new file, and what becomes of its sgid bit (inode(7)). */
static void inherit_group(const oriel_fs_caller *caller, const struct memfs_inode *parent,
                          struct memfs_new_inode *args)
{
    args->gid = caller->gid;
    if ((parent->mode & S_ISGID) == 0)
        return;
    args->gid = parent->gid;
    if (S_ISDIR(args->mode))
        args->mode |= S_ISGID;
    else if ((args->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
             !memfs_caller_in_group(caller, parent->gid))
        args->mode &= ~(uint32_t)S_ISGID;
}

/* The folder's default list takes the place of the umask (acl(5)). */
static int inherit_acl(struct memfs *fs, const struct memfs_inode *parent, struct memfs_inode *inode,
                       uint32_t umask)
{
    if (memfs_is_symlink(inode))
        return 0;
    size_t size;
    const void *list = memfs_xattr_find(parent, MEMFS_ACL_DEFAULT, &size);
    if (list == NULL) {
        inode->mode &= ~(umask & 0777);
        return 0;
    }
    void *own = malloc(size);
    if (own == NULL)
        return -ENOSPC;
    memcpy(own, list, size);
    inode->mode = (inode->mode & ~UINT32_C(0777)) | memfs_acl_inherit(own, size, inode->mode & 0777);
    int error = memfs_acl_is_plain(size) ? 0 : memfs_xattr_put(fs, inode, MEMFS_ACL_ACCESS, own, size, 0);
    if (error == 0 && memfs_is_folder(inode))
        error = memfs_xattr_put(fs, inode, MEMFS_ACL_DEFAULT, list, size, 0);
    free(own);
    return error;
}

int memfs_make_child(struct memfs *fs, const oriel_fs_caller *caller, const struct memfs_inode *parent,
                     struct memfs_new_inode args, uint32_t umask, struct memfs_inode **out)
{
    args.uid = caller->uid;
    inherit_group(caller, parent, &args);
    struct memfs_inode *inode;
    int error = memfs_inode_create(fs, &args, &inode);
    if (error != 0)
        return error;
    error = inherit_acl(fs, parent, inode, umask);
    if (error == 0)
        error = memfs_xattr_label(fs, inode, caller);
    if (error != 0) {
        memfs_inode_unref(fs, inode);
        return error;
    }
    *out = inode;
    return 0;
}

/* Enters the inode under the name, counts its link, and stamps the parent. Room was reserved. */
static void enter(struct memfs *fs, struct memfs_inode *parent, struct memfs_dirent *entry)
{
    struct memfs_inode *inode = entry->inode;
    memfs_inode_ref(inode);
    if (memfs_is_folder(inode)) {
        inode->nlink = 2;
        inode->parent = parent;
        memfs_inode_ref(parent);
        parent->nlink++;
    }
    memfs_folder_insert(&parent->folder, &fs->hash_key, entry);
    parent->mtime = parent->ctime = memfs_now();
}

/* Whether `name` may be entered in the parent. */
static int check_enter(struct memfs *fs, struct memfs_inode *parent, const char *name, bool folder)
{
    if (!memfs_is_folder(parent))
        return -ENOTDIR;
    if (parent->nlink == 0)
        return -ENOENT;
    if (memfs_folder_find(&parent->folder, &fs->hash_key, name) != NULL)
        return -EEXIST;
    if (folder && parent->nlink >= MEMFS_LINK_MAX)
        return -EMLINK;
    return memfs_folder_reserve(&parent->folder);
}

int memfs_make_named(struct memfs *fs, const oriel_fs_caller *caller, struct memfs_inode *parent,
                     const char *name, struct memfs_new_inode args, uint32_t umask, struct memfs_inode **out)
{
    int error = check_enter(fs, parent, name, S_ISDIR(args.mode));
    if (error != 0)
        return error;
    struct memfs_inode *inode;
    error = memfs_make_child(fs, caller, parent, args, umask, &inode);
    if (error != 0)
        return error;
    struct memfs_dirent *entry = memfs_dirent_create(name, inode);
    if (entry == NULL) {
        memfs_inode_unref(fs, inode);
        return -ENOSPC;
    }
    inode->nlink = 1;
    enter(fs, parent, entry);
    *out = inode;
    return 0;
}

static int make(struct memfs *fs, const oriel_fs_caller *caller, struct memfs_inode *parent, const char *name,
                struct memfs_new_inode args, uint32_t umask, struct oriel_fs_entry *out)
{
    struct memfs_inode *inode = NULL;
    pthread_rwlock_wrlock(&parent->lock);
    int error = memfs_make_named(fs, caller, parent, name, args, umask, &inode);
    if (error == 0)
        memfs_entry_fill(inode, out); /* nobody finds it before the parent is unlocked */
    pthread_rwlock_unlock(&parent->lock);
    if (error == 0)
        memfs_inode_unref(fs, inode);
    return error;
}

int memfs_mknod(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                uint32_t rdev, uint32_t umask, struct oriel_fs_entry *out)
{
    if ((mode & S_IFMT) == 0)
        mode |= S_IFREG;
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
        rdev = 0;
        break;
    case S_IFCHR:
    case S_IFBLK:
        break;
    default:
        return S_ISDIR(mode) ? -EPERM : -EINVAL;
    }
    struct memfs_new_inode args = {.mode = mode & (S_IFMT | 07777), .rdev = rdev};
    return make(fs, caller, parent, name, args, umask, out);
}

int memfs_mkdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                uint32_t umask, struct oriel_fs_entry *out)
{
    /* mkdir(2): of the bits above 0777 only the sticky one counts; sgid is inherited. */
    struct memfs_new_inode args = {.mode = S_IFDIR | (mode & 01777)};
    return make(fs, caller, parent, name, args, umask, out);
}

int memfs_symlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, const char *target,
                  struct oriel_fs_entry *out)
{
    size_t len = strlen(target);
    if (len == 0 || len > MEMFS_SYMLINK_MAX)
        return len == 0 ? -ENOENT : -ENAMETOOLONG;
    struct memfs_new_inode args = {.mode = S_IFLNK | 0777, .target = target};
    return make(fs, caller, parent, name, args, 0, out);
}

/* Both are locked. */
static int link_locked(struct memfs *fs, struct memfs_inode *inode, struct memfs_inode *parent,
                       const char *name)
{
    int error = check_enter(fs, parent, name, false);
    if (error != 0)
        return error;
    if (inode->nlink == 0 && !inode->linkable)
        return -ENOENT;
    struct memfs_dirent *entry = memfs_dirent_create(name, inode);
    if (entry == NULL)
        return -ENOSPC;
    error = memfs_inode_add_link(fs, inode);
    if (error != 0) {
        free(entry);
        return error;
    }
    inode->linkable = false;
    enter(fs, parent, entry);
    inode->ctime = parent->ctime;
    return 0;
}

int memfs_link(void *opaque, const oriel_fs_caller *caller, void *opaque_inode, void *opaque_parent,
               const char *name, struct oriel_fs_entry *out)
{
    (void)caller;
    struct memfs *fs = opaque;
    struct memfs_inode *inode = opaque_inode;
    struct memfs_inode *parent = opaque_parent;
    if (memfs_is_folder(inode))
        return -EPERM;
    pthread_rwlock_wrlock(&parent->lock);
    pthread_rwlock_wrlock(&inode->lock);
    int error = link_locked(fs, inode, parent, name);
    if (error == 0)
        memfs_entry_fill(inode, out);
    pthread_rwlock_unlock(&inode->lock);
    pthread_rwlock_unlock(&parent->lock);
    return error;
}

/* ---- removing ---- */

static int check_remove(const struct memfs_inode *inode, bool folder)
{
    if (!folder)
        return memfs_is_folder(inode) ? -EISDIR : 0;
    if (!memfs_is_folder(inode))
        return -ENOTDIR;
    return inode->folder.live > 0 ? -ENOTEMPTY : 0;
}

static int remove_name(struct memfs *fs, struct memfs_inode *parent, const char *name, bool folder)
{
    if (!memfs_is_folder(parent))
        return -ENOTDIR;
    pthread_rwlock_wrlock(&parent->lock);
    struct memfs_dirent *entry = memfs_folder_find(&parent->folder, &fs->hash_key, name);
    if (entry == NULL) {
        pthread_rwlock_unlock(&parent->lock);
        return -ENOENT;
    }
    struct memfs_inode *inode = entry->inode;
    pthread_rwlock_wrlock(&inode->lock);
    int error = check_remove(inode, folder);
    if (error == 0) {
        parent->mtime = parent->ctime = memfs_now();
        memfs_inode_drop_link(fs, inode, parent->ctime);
        if (folder)
            parent->nlink--;
        memfs_folder_remove(&parent->folder, &fs->hash_key, entry);
    }
    pthread_rwlock_unlock(&inode->lock);
    pthread_rwlock_unlock(&parent->lock);
    if (error == 0)
        memfs_inode_unref(fs, inode);
    return error;
}

int memfs_unlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name)
{
    (void)caller;
    return remove_name(fs, parent, name, false);
}

int memfs_rmdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name)
{
    (void)caller;
    return remove_name(fs, parent, name, true);
}
