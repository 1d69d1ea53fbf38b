/* The tree of the fake back-end: identity, attributes and names. */
#include "fake_fs_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the tree; under the lock ---- */

struct fake_inode *fake_new_inode(struct fake_fs *fake, uint32_t mode)
{
    struct fake_inode *inode = calloc(1, sizeof(*inode));
    assert(inode != NULL);
    inode->attr.ino = ++fake->next_ino;
    inode->attr.mode = mode;
    inode->attr.blksize = 4096;
    inode->lock_type = F_UNLCK;
    inode->attr.has_btime = true;
    inode->attr.btime.sec = 1234;
    inode->memfd = S_ISREG(mode) ? memfd_create("fake", MFD_CLOEXEC) : -1;
    inode->all = fake->all;
    fake->all = inode;
    return inode;
}

static struct fake_name **find_name(struct fake_inode *folder, const char *name)
{
    struct fake_name **link = &folder->names;
    while (*link != NULL && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

struct fake_inode *fake_must_find(struct fake_inode *folder, const char *name)
{
    struct fake_name *found = *find_name(folder, name);
    if (found == NULL)
        abort();
    return found->inode;
}

static void add_name(struct fake_fs *fake, struct fake_inode *folder, const char *name,
                     struct fake_inode *inode)
{
    struct fake_name *n = calloc(1, sizeof(*n)), **link = &folder->names;
    assert(n != NULL);
    snprintf(n->name, sizeof(n->name), "%s", name);
    n->inode = inode;
    n->cookie = ++fake->next_cookie;
    while (*link != NULL)
        link = &(*link)->next;
    *link = n;
    inode->attr.nlink++;
    inode->parent = folder;
}

static void remove_name(struct fake_name **link)
{
    struct fake_name *n = *link;
    if (n == NULL)
        return;
    *link = n->next;
    n->inode->attr.nlink--;
    free(n);
}

static void fill_attr(const struct fake_inode *inode, struct oriel_fs_attr *out)
{
    struct stat st;
    *out = inode->attr;
    if (inode->memfd >= 0 && fstat(inode->memfd, &st) == 0)
        out->size = (uint64_t)st.st_size;
}

int fake_fill_entry(struct fake_fs *fake, struct fake_inode *inode, struct oriel_fs_entry *out)
{
    out->identity = (struct oriel_fs_identity){.mount = 1, .dev = 2, .ino = inode->attr.ino};
    fill_attr(inode, &out->attr);
    out->hold = (intptr_t)inode;
    atomic_fetch_add(&fake->holds, 1);
    return 0;
}

void fake_free_inode(struct fake_inode *inode)
{
    while (inode->names != NULL) {
        struct fake_name *n = inode->names;
        inode->names = n->next;
        free(n);
    }
    for (int i = 0; i < MAX_XATTRS; i++)
        free(inode->xattrs[i].value);
    if (inode->memfd >= 0)
        close(inode->memfd);
    free(inode->target);
    free(inode);
}

/* ---- identity ---- */

static int fake_root(void *fs, struct oriel_fs_entry *out, void **inode)
{
    struct fake_fs *fake = fs;
    fake_fill_entry(fake, fake->root, out);
    atomic_fetch_sub(&fake->holds, 1);
    atomic_fetch_add(&fake->inodes, 1);
    *inode = fake->root;
    return 0;
}

static int fake_lookup(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                       struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    int rc = fake_called(fake, FAKE_LOOKUP);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    struct fake_inode *folder = parent;
    if (!S_ISDIR(folder->attr.mode))
        return fake_unlock(fake, -ENOTDIR);
    struct fake_name *n = *find_name(folder, name);
    return fake_unlock(fake, n == NULL ? -ENOENT : fake_fill_entry(fake, n->inode, out));
}

static int fake_lookup_parent(void *fs, const oriel_fs_caller *caller, void *inode,
                              struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    (void)caller;
    int rc = fake_called(fake, FAKE_LOOKUP_PARENT);
    if (rc != 0)
        return rc;
    struct fake_inode *i = inode;
    fake_lock(fake);
    return fake_unlock(fake, S_ISDIR(i->attr.mode) ? fake_fill_entry(fake, i->parent, out) : -ENOTDIR);
}

static int fake_inode_open(void *fs, void *parent, const char *name, struct oriel_fs_entry *entry,
                           void **inode)
{
    struct fake_fs *fake = fs;
    (void)parent;
    (void)name;
    atomic_fetch_sub(&fake->holds, 1);
    int rc = fake_called(fake, FAKE_INODE_OPEN);
    if (rc != 0)
        return rc;
    atomic_fetch_add(&fake->inodes, 1);
    *inode = (void *)entry->hold;
    return 0;
}

static void fake_entry_drop(void *fs, struct oriel_fs_entry *entry)
{
    struct fake_fs *fake = fs;
    (void)entry;
    (void)fake_called(fake, FAKE_ENTRY_DROP);
    atomic_fetch_sub(&fake->holds, 1);
}

static void fake_inode_close(void *fs, void *inode)
{
    struct fake_fs *fake = fs;
    (void)inode;
    (void)fake_called(fake, FAKE_INODE_CLOSE);
    atomic_fetch_sub(&fake->inodes, 1);
}

/* ---- attributes ---- */

static int fake_getattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                        struct oriel_fs_attr *out)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    int rc = fake_called(fake, FAKE_GETATTR);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    fake_seen_by(fake)->with_handle = handle != NULL;
    fill_attr(inode, out);
    return fake_unlock(fake, 0);
}

static int fake_setattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                        const struct oriel_fs_attr *attr, uint32_t set, struct oriel_fs_attr *out)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    int rc = fake_called(fake, FAKE_SETATTR);
    if (rc != 0)
        return rc;
    struct fake_inode *i = inode;
    fake_lock(fake);
    fake_seen_by(fake)->with_handle = handle != NULL;
    fake_seen_by(fake)->attr = *attr;
    fake_seen_by(fake)->set = set;
    if ((set & ORIEL_FS_SET_MODE) != 0)
        i->attr.mode = (i->attr.mode & S_IFMT) | attr->mode;
    if ((set & ORIEL_FS_SET_SIZE) != 0 && ftruncate(i->memfd, (off_t)attr->size) != 0)
        rc = -errno;
    fill_attr(i, out);
    return fake_unlock(fake, rc);
}

static int fake_access(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t mask)
{
    struct fake_fs *fake = fs;
    (void)inode;
    (void)mask;
    fake_see_caller(fake, caller);
    return fake_called(fake, FAKE_ACCESS);
}

static int fake_statfs(void *fs, void *inode, struct oriel_fs_statfs *out)
{
    struct fake_fs *fake = fs;
    (void)inode;
    *out =
        (struct oriel_fs_statfs){.blocks = 1000, .bfree = 500, .bsize = 4096, .frsize = 4096, .namelen = 255};
    return fake_called(fake, FAKE_STATFS);
}

static ssize_t fake_readlink(void *fs, const oriel_fs_caller *caller, void *inode, char *target, size_t size)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    (void)caller;
    int rc = fake_called(fake, FAKE_READLINK);
    if (rc != 0)
        return rc;
    if (i->target == NULL)
        return -EINVAL;
    size_t len = strlen(i->target) < size ? strlen(i->target) : size;
    memcpy(target, i->target, len);
    return (ssize_t)len;
}

/* ---- names ---- */

int fake_make(struct fake_fs *fake, void *parent, const char *name, uint32_t mode, const char *target,
              struct oriel_fs_entry *out)
{
    fake_lock(fake);
    if (*find_name(parent, name) != NULL)
        return fake_unlock(fake, -EEXIST);
    struct fake_inode *inode = fake_new_inode(fake, mode);
    inode->target = target == NULL ? NULL : strdup(target);
    add_name(fake, parent, name, inode);
    return fake_unlock(fake, fake_fill_entry(fake, inode, out));
}

static int fake_mknod(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                      uint32_t rdev, uint32_t umask, struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    fake_seen_by(fake)->rdev = rdev;
    fake_seen_by(fake)->mode = mode;
    fake_seen_by(fake)->umask = umask;
    int rc = fake_called(fake, FAKE_MKNOD);
    return rc != 0 ? rc : fake_make(fake, parent, name, mode & ~umask, NULL, out);
}

static int fake_mkdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                      uint32_t umask, struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    fake_seen_by(fake)->mode = mode;
    fake_seen_by(fake)->umask = umask;
    int rc = fake_called(fake, FAKE_MKDIR);
    return rc != 0 ? rc : fake_make(fake, parent, name, S_IFDIR | (mode & ~umask), NULL, out);
}

static int fake_symlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                        const char *target, struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    int rc = fake_called(fake, FAKE_SYMLINK);
    return rc != 0 ? rc : fake_make(fake, parent, name, S_IFLNK | 0777, target, out);
}

static int fake_link(void *fs, const oriel_fs_caller *caller, void *inode, void *new_parent,
                     const char *new_name, struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    int rc = fake_called(fake, FAKE_LINK);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    if (*find_name(new_parent, new_name) != NULL)
        return fake_unlock(fake, -EEXIST);
    add_name(fake, new_parent, new_name, inode);
    return fake_unlock(fake, fake_fill_entry(fake, inode, out));
}

static int drop_name(struct fake_fs *fake, void *parent, const char *name, bool folder)
{
    fake_lock(fake);
    struct fake_name **link = find_name(parent, name);
    if (*link == NULL)
        return fake_unlock(fake, -ENOENT);
    if (S_ISDIR((*link)->inode->attr.mode) != folder)
        return fake_unlock(fake, folder ? -ENOTDIR : -EISDIR);
    if (folder && (*link)->inode->names != NULL)
        return fake_unlock(fake, -ENOTEMPTY);
    remove_name(link);
    return fake_unlock(fake, 0);
}

static int fake_unlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name)
{
    fake_see_caller(fs, caller);
    int rc = fake_called(fs, FAKE_UNLINK);
    return rc != 0 ? rc : drop_name(fs, parent, name, false);
}

static int fake_rmdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name)
{
    fake_see_caller(fs, caller);
    int rc = fake_called(fs, FAKE_RMDIR);
    return rc != 0 ? rc : drop_name(fs, parent, name, true);
}

static int fake_rename(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                       void *new_parent, const char *new_name, uint32_t flags)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    fake_seen_by(fake)->flags = flags;
    int rc = fake_called(fake, FAKE_RENAME);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    struct fake_name **from = find_name(parent, name), **to = find_name(new_parent, new_name);
    if (*from == NULL)
        return fake_unlock(fake, -ENOENT);
    if (*to != NULL && (flags & RENAME_NOREPLACE) != 0)
        return fake_unlock(fake, -EEXIST);
    struct fake_inode *inode = (*from)->inode;
    if (*to != NULL)
        remove_name(to);
    remove_name(find_name(parent, name));
    add_name(fake, new_parent, new_name, inode);
    return fake_unlock(fake, 0);
}

/* ---- as the host does it ---- */

uint64_t fake_fs_add_file(struct fake_fs *fake, const char *name, const void *data, size_t len)
{
    fake_lock(fake);
    struct fake_inode *inode = fake_new_inode(fake, S_IFREG | 0644);
    add_name(fake, fake->root, name, inode);
    if (len > 0 && pwrite(inode->memfd, data, len, 0) != (ssize_t)len)
        abort();
    fake_unlock(fake, 0);
    return inode->attr.ino;
}

uint64_t fake_fs_add_folder(struct fake_fs *fake, const char *name)
{
    fake_lock(fake);
    struct fake_inode *inode = fake_new_inode(fake, S_IFDIR | 0755);
    add_name(fake, fake->root, name, inode);
    fake_unlock(fake, 0);
    return inode->attr.ino;
}

void fake_fs_set_attr_flags(struct fake_fs *fake, uint32_t flags)
{
    fake_lock(fake);
    for (struct fake_name *n = fake->root->names; n != NULL; n = n->next)
        n->inode->attr.flags = flags;
    fake_unlock(fake, 0);
}

void fake_set_tree_ops(struct oriel_fs_ops *ops)
{
    ops->root = fake_root;
    ops->lookup = fake_lookup;
    ops->lookup_parent = fake_lookup_parent;
    ops->inode_open = fake_inode_open;
    ops->entry_drop = fake_entry_drop;
    ops->inode_close = fake_inode_close;
    ops->getattr = fake_getattr;
    ops->setattr = fake_setattr;
    ops->access = fake_access;
    ops->statfs = fake_statfs;
    ops->readlink = fake_readlink;
    ops->mknod = fake_mknod;
    ops->mkdir = fake_mkdir;
    ops->symlink = fake_symlink;
    ops->link = fake_link;
    ops->unlink = fake_unlink;
    ops->rmdir = fake_rmdir;
    ops->rename = fake_rename;
}
