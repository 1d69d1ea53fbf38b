/* Extended attributes of the fake back-end. */
#include "fake_fs_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fake_xattr *find_xattr(struct fake_inode *inode, const char *name)
{
    for (int i = 0; i < MAX_XATTRS; i++) {
        if (strcmp(inode->xattrs[i].name, name) == 0)
            return &inode->xattrs[i];
    }
    return NULL;
}

static void see_xattr(struct fake_fs *fake, const char *name)
{
    struct fake_seen *seen = fake_seen_by(fake);
    snprintf(seen->xattr_name, sizeof(seen->xattr_name), "%s", name);
}

static int put_xattr(struct fake_inode *inode, const char *name, const void *value, size_t size)
{
    struct fake_xattr *x = find_xattr(inode, name);
    if (x == NULL)
        x = find_xattr(inode, "");
    if (x == NULL)
        return -ENOSPC;
    snprintf(x->name, sizeof(x->name), "%s", name);
    free(x->value);
    x->value = malloc(size + 1);
    assert(x->value != NULL);
    memcpy(x->value, value, size);
    x->len = size;
    return 0;
}

static int fake_setxattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name,
                         const void *value, size_t size, uint32_t flags, bool acl_kill_sgid)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    fake_seen_by(fake)->flags = flags;
    fake_seen_by(fake)->kill = acl_kill_sgid;
    see_xattr(fake, name);
    int rc = fake_called(fake, FAKE_SETXATTR);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    return fake_unlock(fake, put_xattr(inode, name, value, size));
}

static ssize_t fake_getxattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name,
                             void *value, size_t size)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    see_xattr(fake, name);
    int rc = fake_called(fake, FAKE_GETXATTR);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    struct fake_xattr *x = find_xattr(inode, name);
    if (x == NULL)
        return fake_unlock(fake, -ENODATA);
    if (size != 0 && size < x->len)
        return fake_unlock(fake, -ERANGE);
    if (size != 0)
        memcpy(value, x->value, x->len);
    return fake_unlock(fake, (int)x->len);
}

static ssize_t fake_listxattr(void *fs, const oriel_fs_caller *caller, void *inode, char *names, size_t size)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    (void)caller;
    int rc = fake_called(fake, FAKE_LISTXATTR);
    if (rc != 0)
        return rc;
    size_t used = 0;
    fake_lock(fake);
    for (int k = 0; k < MAX_XATTRS; k++) {
        size_t len = strlen(i->xattrs[k].name) + 1;
        if (len == 1)
            continue;
        if (size != 0 && used + len > size)
            return fake_unlock(fake, -ERANGE);
        if (size != 0)
            memcpy(names + used, i->xattrs[k].name, len);
        used += len;
    }
    return fake_unlock(fake, (int)used);
}

static int fake_removexattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name)
{
    struct fake_fs *fake = fs;
    (void)caller;
    see_xattr(fake, name);
    int rc = fake_called(fake, FAKE_REMOVEXATTR);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    struct fake_xattr *x = find_xattr(inode, name);
    if (x == NULL)
        return fake_unlock(fake, -ENODATA);
    x->name[0] = '\0';
    return fake_unlock(fake, 0);
}

void fake_fs_set_host_xattr(struct fake_fs *fake, const char *file, const char *name)
{
    fake_lock(fake);
    if (put_xattr(fake_must_find(fake->root, file), name, "host", 4) != 0)
        abort();
    fake_unlock(fake, 0);
}

bool fake_fs_has_host_xattr(struct fake_fs *fake, const char *file, const char *name)
{
    fake_lock(fake);
    bool has = find_xattr(fake_must_find(fake->root, file), name) != NULL;
    fake_unlock(fake, 0);
    return has;
}

void fake_set_xattr_ops(struct oriel_fs_ops *ops)
{
    ops->setxattr = fake_setxattr;
    ops->getxattr = fake_getxattr;
    ops->listxattr = fake_listxattr;
    ops->removexattr = fake_removexattr;
}
