#include "fuse/attr.h"

#include <sys/stat.h>

static uint32_t wire_flags(const struct oriel_fuse_server *server, uint32_t flags)
{
    uint32_t out = 0;
    if ((flags & ORIEL_FS_ATTR_SUBMOUNT) != 0 && session_has(server, FUSE_SUBMOUNTS))
        out |= FUSE_ATTR_SUBMOUNT;
    if ((flags & ORIEL_FS_ATTR_DAX) != 0 && session_has(server, FUSE_HAS_INODE_DAX))
        out |= FUSE_ATTR_DAX;
    return out;
}

uint64_t attr_ino_salt(const struct oriel_fuse_server *server, const struct node *node)
{
    uint64_t dev = node->identity.dev;
    if (dev == server->nodes.root->identity.dev || session_has(server, FUSE_SUBMOUNTS))
        return 0;
    return (dev + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

void attr_to_wire(const struct oriel_fuse_server *server, const struct node *node,
                  const struct oriel_fs_attr *attr, struct wire_attr *out)
{
    *out = (struct wire_attr){
        .ino = attr->ino ^ attr_ino_salt(server, node),
        .size = attr->size,
        .blocks = attr->blocks,
        .atime = (uint64_t)attr->atime.sec,
        .mtime = (uint64_t)attr->mtime.sec,
        .ctime = (uint64_t)attr->ctime.sec,
        .atimensec = attr->atime.nsec,
        .mtimensec = attr->mtime.nsec,
        .ctimensec = attr->ctime.nsec,
        .mode = attr->mode,
        .nlink = attr->nlink,
        .uid = attr->uid,
        .gid = attr->gid,
        .rdev = attr->rdev,
        .blksize = attr->blksize,
        .flags = wire_flags(server, attr->flags),
    };
}

static struct wire_statx_time statx_time(const struct oriel_fs_time *time)
{
    return (struct wire_statx_time){.sec = time->sec, .nsec = time->nsec};
}

void attr_to_statx(const struct oriel_fuse_server *server, const struct node *node,
                   const struct oriel_fs_attr *attr, struct wire_statx *out)
{
    *out = (struct wire_statx){
        .mask = STATX_BASIC_STATS | (attr->has_btime ? STATX_BTIME : 0),
        .blksize = attr->blksize,
        .attributes = attr->statx_attributes,
        .nlink = attr->nlink,
        .uid = attr->uid,
        .gid = attr->gid,
        .mode = (uint16_t)attr->mode,
        .ino = attr->ino ^ attr_ino_salt(server, node),
        .size = attr->size,
        .blocks = attr->blocks,
        .attributes_mask = attr->statx_attributes_mask,
        .atime = statx_time(&attr->atime),
        .ctime = statx_time(&attr->ctime),
        .mtime = statx_time(&attr->mtime),
        .rdev_major = (attr->rdev >> 8) & 0xfff,
        .rdev_minor = (attr->rdev & 0xff) | ((attr->rdev >> 12) & 0xfff00),
        .dev_major = attr->dev_major,
        .dev_minor = attr->dev_minor,
    };
    if (attr->has_btime)
        out->btime = statx_time(&attr->btime);
}

void attr_to_entry(const struct oriel_fuse_server *server, const struct node *node,
                   const struct oriel_fs_attr *attr, struct wire_entry_out *out)
{
    *out = (struct wire_entry_out){
        .nodeid = fuse_node_id(node),
        .entry_valid = server->entry_timeout.sec,
        .entry_valid_nsec = server->entry_timeout.nsec,
        .attr_valid = server->attr_timeout.sec,
        .attr_valid_nsec = server->attr_timeout.nsec,
    };
    attr_to_wire(server, node, attr, &out->attr);
}
