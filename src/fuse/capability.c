#include "fuse/capability.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define LIST_MAX 65536 /* XATTR_LIST_MAX of Linux */

static bool is_absent(ssize_t rc)
{
    return rc == -ENODATA || rc == -EOPNOTSUPP;
}

/* The list, which unlike the value may be had of any file (user.* of one that is for writing only). */
static bool is_listed(struct request *r, void *inode, const char *name)
{
    const struct oriel_fs *fs = &r->server->fs;
    cleanup_free char *names = fs->ops->listxattr != NULL ? malloc(LIST_MAX) : NULL;
    ssize_t len = names != NULL ? fs->ops->listxattr(fs->fs, &r->caller, inode, names, LIST_MAX) : -ENOMEM;
    if (len < 0)
        return !is_absent(len);
    for (size_t at = 0; at < (size_t)len; at += strnlen(names + at, (size_t)len - at) + 1) {
        if (strncmp(names + at, name, (size_t)len - at) == 0)
            return true;
    }
    return false;
}

static bool may_be_there(struct request *r, void *inode, const char *name)
{
    const struct oriel_fs *fs = &r->server->fs;
    ssize_t rc = fs->ops->getxattr(fs->fs, &r->caller, inode, name, NULL, 0);
    if (rc == -EACCES || rc == -EPERM)
        return is_listed(r, inode, name);
    return !is_absent(rc);
}

int capability_remove(struct request *r, void *inode)
{
    const struct oriel_fs *fs = &r->server->fs;
    const char *name = r->server->moved_capability;
    if (fs->ops->getxattr == NULL || fs->ops->removexattr == NULL)
        return 0;
    if (!may_be_there(r, inode, name))
        return 0;
    int rc = fs->ops->removexattr(fs->fs, &r->caller, inode, name);
    return is_absent(rc) ? 0 : rc;
}
