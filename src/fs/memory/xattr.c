#include "fs/memory/xattr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fs/memory/acl.h"

#define VALUE_MAX 65536 /* XATTR_SIZE_MAX, XATTR_LIST_MAX: what the system calls carry */
#define LIST_MAX  65536

struct memfs_xattr {
    struct memfs_xattr *next;
    uint32_t value_len;
    uint32_t name_len;
    char data[]; /* name, NUL, value */
};

static uint64_t cost(const struct memfs_xattr *xattr)
{
    return sizeof(*xattr) + xattr->name_len + 1 + xattr->value_len;
}

static char *value_of(struct memfs_xattr *xattr)
{
    return xattr->data + xattr->name_len + 1;
}

/* The pointer that leads to the attribute, or to where a new one goes. */
static struct memfs_xattr **find_link(struct memfs_inode *inode, const char *name)
{
    struct memfs_xattr **link = &inode->xattrs.first;
    while (*link != NULL && strcmp((*link)->data, name) != 0)
        link = &(*link)->next;
    return link;
}

void *memfs_xattr_find(const struct memfs_inode *inode, const char *name, size_t *size)
{
    for (struct memfs_xattr *xattr = inode->xattrs.first; xattr != NULL; xattr = xattr->next) {
        if (strcmp(xattr->data, name) == 0) {
            *size = xattr->value_len;
            return value_of(xattr);
        }
    }
    return NULL;
}

static struct memfs_xattr *make_xattr(const char *name, const void *value, size_t size)
{
    size_t name_len = strlen(name);
    struct memfs_xattr *xattr = malloc(sizeof(*xattr) + name_len + 1 + size);
    if (xattr == NULL)
        return NULL;
    xattr->value_len = (uint32_t)size;
    xattr->name_len = (uint32_t)name_len;
    memcpy(xattr->data, name, name_len + 1);
    if (size > 0)
        memcpy(value_of(xattr), value, size);
    return xattr;
}

static void unlink_xattr(struct memfs *fs, struct memfs_inode *inode, struct memfs_xattr **link)
{
    struct memfs_xattr *xattr = *link;
    *link = xattr->next;
    inode->xattrs.names_len -= xattr->name_len + 1;
    inode->xattrs.charged -= cost(xattr);
    memfs_quota_give(&fs->quota, inode->uid, cost(xattr), 0);
    free(xattr);
}

int memfs_xattr_put(struct memfs *fs, struct memfs_inode *inode, const char *name, const void *value,
                    size_t size, uint32_t flags)
{
    struct memfs_xattr **link = find_link(inode, name);
    if (*link == NULL && (flags & XATTR_REPLACE) != 0)
        return -ENODATA;
    if (*link != NULL && (flags & XATTR_CREATE) != 0)
        return -EEXIST;
    if (*link == NULL && inode->xattrs.names_len + strlen(name) + 1 > LIST_MAX)
        return -ENOSPC;
    struct memfs_xattr *xattr = make_xattr(name, value, size);
    if (xattr == NULL)
        return -ENOSPC;
    int error = memfs_quota_take(&fs->quota, inode->uid, cost(xattr), 0);
    if (error != 0) {
        free(xattr);
        return error;
    }
    if (*link != NULL)
        unlink_xattr(fs, inode, link);
    xattr->next = *link;
    *link = xattr;
    inode->xattrs.names_len += xattr->name_len + 1;
    inode->xattrs.charged += cost(xattr);
    return 0;
}

int memfs_xattr_drop(struct memfs *fs, struct memfs_inode *inode, const char *name)
{
    struct memfs_xattr **link = find_link(inode, name);
    if (*link == NULL)
        return -ENODATA;
    unlink_xattr(fs, inode, link);
    return 0;
}

void memfs_xattr_clear(struct memfs *fs, struct memfs_inode *inode)
{
    while (inode->xattrs.first != NULL)
        unlink_xattr(fs, inode, &inode->xattrs.first);
}

/* ---- operations ---- */

static bool starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool is_acl(const char *name)
{
    return strcmp(name, MEMFS_ACL_ACCESS) == 0 || strcmp(name, MEMFS_ACL_DEFAULT) == 0;
}

/* The name spaces of xattr(7); what a kind of file cannot have as the kernel's own check says. */
static int check_name(const struct memfs_inode *inode, const char *name, bool writes)
{
    if (is_acl(name))
        return memfs_is_symlink(inode) ? -EOPNOTSUPP : 0;
    if (starts_with(name, "user.")) {
        if (!memfs_is_regular(inode) && !memfs_is_folder(inode))
            return writes ? -EPERM : -ENODATA;
        return name[5] == '\0' ? -EINVAL : 0;
    }
    return starts_with(name, "security.") || starts_with(name, "trusted.") ? 0 : -EOPNOTSUPP;
}

/* Never a list: those are checked before they are kept. What a kind of file cannot have is no reason to refuse it. */
int memfs_xattr_label(struct memfs *fs, struct memfs_inode *inode, const oriel_fs_caller *caller)
{
    const char *name = caller->security_name;
    if (name == NULL)
        return 0;
    int error = is_acl(name) ? -EINVAL : check_name(inode, name, true);
    if (error == -EPERM)
        return 0;
    if (error != 0)
        return -EINVAL;
    return memfs_xattr_put(fs, inode, name, caller->security_value, caller->security_len, 0);
}

/* An access list also sets the permission bits, and is not kept when they say all of it. */
static int set_acl(struct memfs *fs, struct memfs_inode *inode, const char *name, const void *value,
                   size_t size, bool kill_sgid)
{
    size_t entries;
    int error = memfs_acl_check(value, size, &entries);
    if (error != 0)
        return error;
    bool access = strcmp(name, MEMFS_ACL_ACCESS) == 0;
    if (!access && !memfs_is_folder(inode))
        return entries == 0 ? 0 : -EACCES;
    if (entries == 0 || (access && memfs_acl_is_plain(size)))
        (void)memfs_xattr_drop(fs, inode, name);
    else
        error = memfs_xattr_put(fs, inode, name, value, size, 0);
    if (error == 0 && access && entries > 0) {
        inode->mode = (inode->mode & ~UINT32_C(0777)) | memfs_acl_mode(value, size);
        if (kill_sgid)
            inode->mode &= ~(uint32_t)S_ISGID;
    }
    return error;
}

int memfs_setxattr(void *fs, const oriel_fs_caller *caller, void *opaque, const char *name, const void *value,
                   size_t size, uint32_t flags, bool acl_kill_sgid)
{
    (void)caller;
    struct memfs_inode *inode = opaque;
    int error = check_name(inode, name, true);
    if (error != 0)
        return error;
    if (size > VALUE_MAX)
        return -E2BIG;
    if ((flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)) != 0)
        return -EINVAL;
    pthread_rwlock_wrlock(&inode->lock);
    error = is_acl(name) ? set_acl(fs, inode, name, value, size, acl_kill_sgid)
                         : memfs_xattr_put(fs, inode, name, value, size, flags);
    if (error == 0)
        inode->ctime = memfs_now();
    pthread_rwlock_unlock(&inode->lock);
    return error;
}

ssize_t memfs_getxattr(void *fs, const oriel_fs_caller *caller, void *opaque, const char *name, void *value,
                       size_t size)
{
    (void)fs;
    (void)caller;
    struct memfs_inode *inode = opaque;
    int error = check_name(inode, name, false);
    if (error != 0)
        return error;
    pthread_rwlock_rdlock(&inode->lock);
    size_t found_size = 0;
    const void *found = memfs_xattr_find(inode, name, &found_size);
    ssize_t result = (ssize_t)found_size;
    if (found == NULL)
        result = -ENODATA;
    else if (size != 0 && size < found_size)
        result = -ERANGE;
    else if (size != 0 && found_size != 0)
        memcpy(value, found, found_size);
    pthread_rwlock_unlock(&inode->lock);
    return result;
}

ssize_t memfs_listxattr(void *fs, const oriel_fs_caller *caller, void *opaque, char *names, size_t size)
{
    (void)fs;
    struct memfs_inode *inode = opaque;
    size_t done = 0;
    pthread_rwlock_rdlock(&inode->lock);
    for (const struct memfs_xattr *xattr = inode->xattrs.first; xattr != NULL; xattr = xattr->next) {
        if (starts_with(xattr->data, "trusted.") && caller->uid != 0 && caller->uid != UINT32_MAX)
            continue; /* others are not to know that it is there */
        if (size != 0 && xattr->name_len + 1 <= size - done)
            memcpy(names + done, xattr->data, xattr->name_len + 1);
        else if (size != 0) {
            pthread_rwlock_unlock(&inode->lock);
            return -ERANGE;
        }
        done += xattr->name_len + 1;
    }
    pthread_rwlock_unlock(&inode->lock);
    return (ssize_t)done;
}

int memfs_removexattr(void *fs, const oriel_fs_caller *caller, void *opaque, const char *name)
{
    (void)caller;
    struct memfs_inode *inode = opaque;
    int error = check_name(inode, name, true);
    if (error != 0)
        return error;
    pthread_rwlock_wrlock(&inode->lock);
    error = memfs_xattr_drop(fs, inode, name);
    if (error == 0)
        inode->ctime = memfs_now();
    pthread_rwlock_unlock(&inode->lock);
    return error == -ENODATA && is_acl(name) ? 0 : error;
}
