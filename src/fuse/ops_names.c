/* Names: making, linking, removing, renaming. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fuse/ops.h"
#include "fuse/reply_entry.h"

#define TARGET_MAX 4095
#define UMASK_BITS 0777
#define MODE_BITS  07777

static bool is_node_type(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
        return true;
    default:
        return false;
    }
}

int op_mknod(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_mknod_in *in = request_args(r, sizeof(*in));
    const char *name;
    int rc = request_name(r, &name);
    if (rc == 0)
        rc = request_extensions(r);
    if (rc != 0)
        return rc;
    uint32_t mode = (in->mode & S_IFMT) == 0 ? in->mode | S_IFREG : in->mode;
    if (!is_node_type(mode))
        return request_bad(r, -EINVAL);
    struct oriel_fs_entry entry = {0};
    rc = fs->ops->mknod(fs->fs, &r->caller, r->node->inode, name, mode & (S_IFMT | MODE_BITS), in->rdev,
                        in->umask & UMASK_BITS, &entry);
    entry.made = true;
    return rc != 0 ? rc : reply_entry(r, r->node->inode, name, &entry);
}

int op_mkdir(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_mkdir_in *in = request_args(r, sizeof(*in));
    const char *name;
    int rc = request_name(r, &name);
    if (rc == 0)
        rc = request_extensions(r);
    if (rc != 0)
        return rc;
    struct oriel_fs_entry entry = {0};
    rc = fs->ops->mkdir(fs->fs, &r->caller, r->node->inode, name, in->mode & MODE_BITS,
                        in->umask & UMASK_BITS, &entry);
    entry.made = true;
    return rc != 0 ? rc : reply_entry(r, r->node->inode, name, &entry);
}

/* The target of a symbolic link is any text: the guest walks it, we never do. */
static int take_target(struct request *r, const char **target)
{
    size_t len;
    *target = request_string(r, &len);
    if (*target == NULL || len == 0)
        return request_bad(r, -EINVAL);
    return len > TARGET_MAX ? request_bad(r, -ENAMETOOLONG) : 0;
}

int op_symlink(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const char *name, *target;
    int rc = request_name(r, &name);
    if (rc == 0)
        rc = take_target(r, &target);
    if (rc == 0)
        rc = request_extensions(r);
    if (rc != 0)
        return rc;
    struct oriel_fs_entry entry = {0};
    rc = fs->ops->symlink(fs->fs, &r->caller, r->node->inode, name, target, &entry);
    entry.made = true;
    return rc != 0 ? rc : reply_entry(r, r->node->inode, name, &entry);
}

int op_link(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_link_in *in = request_args(r, sizeof(*in));
    const char *name;
    struct node *node;
    int rc = request_name(r, &name);
    if (rc == 0)
        rc = request_node(r, in->oldnodeid, &node);
    if (rc != 0)
        return rc;
    struct oriel_fs_entry entry = {0};
    rc = fs->ops->link(fs->fs, &r->caller, node->inode, r->node->inode, name, &entry);
    if (rc == 0)
        rc = reply_entry(r, r->node->inode, name, &entry);
    fuse_node_put(&r->server->nodes, node);
    return rc;
}

int op_unlink(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const char *name;
    int rc = request_name(r, &name);
    return rc != 0 ? rc : fs->ops->unlink(fs->fs, &r->caller, r->node->inode, name);
}

int op_rmdir(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const char *name;
    int rc = request_name(r, &name);
    return rc != 0 ? rc : fs->ops->rmdir(fs->fs, &r->caller, r->node->inode, name);
}

static int do_rename(struct request *r, uint64_t newdir, uint32_t flags)
{
    const struct oriel_fs *fs = &r->server->fs;
    const char *name, *new_name;
    struct node *new_parent;
    int rc = request_name(r, &name);
    if (rc == 0)
        rc = request_name(r, &new_name);
    if (rc == 0)
        rc = request_node(r, newdir, &new_parent);
    if (rc != 0)
        return rc;
    rc = fs->ops->rename(fs->fs, &r->caller, r->node->inode, name, new_parent->inode, new_name, flags);
    fuse_node_put(&r->server->nodes, new_parent);
    return rc;
}

int op_rename(struct request *r)
{
    const struct wire_rename_in *in = request_args(r, sizeof(*in));
    return do_rename(r, in->newdir, 0);
}

int op_rename2(struct request *r)
{
    const struct wire_rename2_in *in = request_args(r, sizeof(*in));
    if ((in->flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) != 0)
        return request_bad(r, -EINVAL);
    return do_rename(r, in->newdir, in->flags);
}
