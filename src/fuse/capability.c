#include "fuse/capability.h"

#include <errno.h>

static bool is_absent(ssize_t rc)
{
    return rc == -ENODATA || rc == -EOPNOTSUPP;
}

int capability_remove(struct request *r, void *inode)
{
    const struct oriel_fs *fs = &r->server->fs;
    const char *name = r->server->moved_capability;
    if (fs->ops->getxattr == NULL || fs->ops->removexattr == NULL)
        return 0;
    if (is_absent(fs->ops->getxattr(fs->fs, &r->caller, inode, name, NULL, 0)))
        return 0;
    /* It is there, or may not be read (user.* of a file that is for writing only). */
    int rc = fs->ops->removexattr(fs->fs, &r->caller, inode, name);
    return is_absent(rc) ? 0 : rc;
}
