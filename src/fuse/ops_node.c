/* What concerns one node: finding and forgetting it, its attributes. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "fuse/attr.h"
#include "fuse/capability.h"
#include "fuse/names.h"
#include "fuse/ops.h"
#include "fuse/reply_entry.h"

#define FORGET_CHUNK 64
/* Linux sends as many as its buffer for requests has room for: 69,629 in one of 1 MiB + 64 KiB (fuse_dev.c). A chain
 * of descriptors could hold 2^28. */
#define FORGET_MAX   131072
#define LINK_MAX_LEN 4096
#define NSEC_MAX     999999999
/* Longer than a CREATE takes. */
#define WRITEBACK_NEGATIVE_NS 10000000

/* ---- LOOKUP ---- */

/*
 * With a write-back cache a "no" is never without any validity. Linux drops an invalid negative entry, also one that
 * another process has a CREATE under way for, and asks for the name again. When the file's writer closes it before the
 * answer is looked at, the client forgets the file and its size, and then believes the size of the answer, from
 * before the write: appends begin there. (fs/fuse/dir.c fuse_dentry_revalidate(), inode.c fuse_get_cache_mask().)
 */
static struct timeout negative_timeout(const struct oriel_fuse_server *server)
{
    struct timeout timeout = server->negative_timeout;
    if (timeout.sec == 0 && timeout.nsec == 0 && session_has(server, FUSE_WRITEBACK_CACHE))
        timeout.nsec = WRITEBACK_NEGATIVE_NS;
    return timeout;
}

/* "This name is not there" may be cached by the guest for a while. */
static int reply_negative(struct request *r)
{
    struct timeout timeout = negative_timeout(r->server);
    if (timeout.sec == 0 && timeout.nsec == 0)
        return -ENOENT;
    struct wire_entry_out out = {.entry_valid = timeout.sec, .entry_valid_nsec = timeout.nsec};
    return reply_data(r, &out, sizeof(out));
}

/* Answers with a node that is known, counting one lookup more. */
static int reply_known(struct request *r, struct node *node)
{
    const struct oriel_fs *fs = &r->server->fs;
    struct oriel_fs_attr attr;
    int rc = fs->ops->getattr(fs->fs, &r->caller, node->inode, NULL, &attr);
    if (rc != 0)
        return rc;
    struct wire_entry_out out;
    attr_to_entry(r->server, node, &attr, &out);
    fuse_node_count(&r->server->nodes, node);
    rc = reply_data(r, &out, sizeof(out));
    if (rc != 0)
        fuse_node_uncount(&r->server->nodes, node, 1);
    return rc;
}

/* "." and "..": only with EXPORT_SUPPORT, where the guest finds nodes again for an NFS server of its own. */
static int lookup_dots(struct request *r, const char *name)
{
    const struct oriel_fs *fs = &r->server->fs;
    if (!session_has(r->server, FUSE_EXPORT_SUPPORT))
        return request_bad(r, -EINVAL);
    if (name[1] == '\0' || r->node == r->server->nodes.root)
        return reply_known(r, r->node);
    struct oriel_fs_entry entry = {0};
    int rc = fs->ops->lookup_parent(fs->fs, &r->caller, r->node->inode, &entry);
    return rc != 0 ? rc : reply_entry(r, r->node->inode, "..", &entry);
}

int op_lookup(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    size_t len;
    const char *name = request_string(r, &len);
    if (name == NULL)
        return request_bad(r, -EINVAL);
    if (name_is_dots(name))
        return lookup_dots(r, name);
    int rc = name_check(name, len);
    if (rc != 0)
        return request_bad_name(r, rc);
    struct oriel_fs_entry entry = {0};
    rc = fs->ops->lookup(fs->fs, &r->caller, r->node->inode, name, &entry);
    if (rc == -ENOENT)
        return reply_negative(r);
    return rc != 0 ? rc : reply_entry(r, r->node->inode, name, &entry);
}

/* ---- FORGET ---- */

static void forget(struct request *r, uint64_t nodeid, uint64_t count)
{
    if (!fuse_node_forget(&r->server->nodes, nodeid, count))
        r->bad = true;
}

int op_forget(struct request *r)
{
    const struct wire_forget_in *in = request_args(r, sizeof(*in));
    forget(r, r->header.nodeid, in->nlookup);
    return 0;
}

/* Works through what is there, up to FORGET_MAX, whatever the count says. */
int op_batch_forget(struct request *r)
{
    const struct wire_batch_forget_in *in = request_args(r, sizeof(*in));
    struct wire_forget_one chunk[FORGET_CHUNK];
    uint64_t there = min_u64(r->in.left / sizeof(chunk[0]), FORGET_MAX);
    if (in->count > there)
        r->bad = true;
    uint64_t left = min_u64(in->count, there);
    while (left > 0) {
        uint64_t n = min_u64(left, FORGET_CHUNK);
        if (iov_pull(&r->in, chunk, n * sizeof(chunk[0])) != 0)
            return request_bad(r, -EFAULT);
        for (uint64_t i = 0; i < n; i++)
            forget(r, chunk[i].nodeid, chunk[i].nlookup);
        left -= n;
    }
    return 0;
}

/* ---- attributes ---- */

/* The handle that a request names beside its node. Folders are asked by inode: handles are for files. */
static int optional_handle(struct request *r, bool given, uint64_t fh, struct handle **out)
{
    *out = NULL;
    if (!given || request_is_implicit(r, fh))
        return 0;
    *out = fuse_handle_get_any(&r->server->handles, fh, r->header.nodeid);
    return *out != NULL ? 0 : request_bad(r, -EBADF);
}

static void *file_handle(const struct handle *handle)
{
    return handle != NULL && handle->kind == HANDLE_FILE ? handle->fs_handle : NULL;
}

static void put_optional(struct request *r, struct handle *handle)
{
    if (handle != NULL)
        request_put_handle(r, handle);
}

static int get_attr(struct request *r, bool by_handle, uint64_t fh, struct oriel_fs_attr *attr)
{
    const struct oriel_fs *fs = &r->server->fs;
    struct handle *handle;
    int rc = optional_handle(r, by_handle, fh, &handle);
    if (rc != 0)
        return rc;
    memset(attr, 0, sizeof(*attr));
    rc = fs->ops->getattr(fs->fs, &r->caller, r->node->inode, file_handle(handle), attr);
    put_optional(r, handle);
    return rc;
}

static int reply_attr_for(struct request *r, const struct oriel_fs_attr *attr, struct timeout timeout)
{
    struct wire_attr_out out = {.attr_valid = timeout.sec, .attr_valid_nsec = timeout.nsec};
    attr_to_wire(r->server, r->node, attr, &out.attr);
    return reply_data(r, &out, sizeof(out));
}

static int reply_attr(struct request *r, const struct oriel_fs_attr *attr)
{
    return reply_attr_for(r, attr, r->server->attr_timeout);
}

/* Of a file that has no name any more a back-end may know little, and that it is gone shows when it is asked again. */
static int reply_set_attr(struct request *r, const struct oriel_fs_attr *attr)
{
    return attr->nlink == 0 ? reply_attr_for(r, attr, (struct timeout){0}) : reply_attr(r, attr);
}

int op_getattr(struct request *r)
{
    const struct wire_getattr_in *in = request_args(r, sizeof(*in));
    struct oriel_fs_attr attr;
    int rc = get_attr(r, (in->getattr_flags & FUSE_GETATTR_FH) != 0, in->fh, &attr);
    return rc != 0 ? rc : reply_attr(r, &attr);
}

int op_statx(struct request *r)
{
    const struct wire_statx_in *in = request_args(r, sizeof(*in));
    struct oriel_fs_attr attr;
    int rc = get_attr(r, (in->getattr_flags & FUSE_GETATTR_FH) != 0, in->fh, &attr);
    if (rc != 0)
        return rc;
    const struct timeout *timeout = &r->server->attr_timeout;
    struct wire_statx_out out = {.attr_valid = timeout->sec, .attr_valid_nsec = timeout->nsec};
    attr_to_statx(r->server, r->node, &attr, &out.stat);
    return reply_data(r, &out, sizeof(out));
}

#define KNOWN_SETATTR                                                                                        \
    (FUSE_SET_MODE | FUSE_SET_UID | FUSE_SET_GID | FUSE_SET_SIZE | FUSE_SET_ATIME | FUSE_SET_MTIME |         \
     FUSE_SET_ATIME_NOW | FUSE_SET_MTIME_NOW | FUSE_SET_CTIME | FUSE_SET_KILL_SUIDGID)

/* The bits have the same values on the wire and in fs.h. */
static_assert(ORIEL_FS_SET_MODE == FUSE_SET_MODE && ORIEL_FS_SET_UID == FUSE_SET_UID &&
                  ORIEL_FS_SET_GID == FUSE_SET_GID && ORIEL_FS_SET_SIZE == FUSE_SET_SIZE &&
                  ORIEL_FS_SET_ATIME == FUSE_SET_ATIME && ORIEL_FS_SET_MTIME == FUSE_SET_MTIME &&
                  ORIEL_FS_SET_ATIME_NOW == FUSE_SET_ATIME_NOW &&
                  ORIEL_FS_SET_MTIME_NOW == FUSE_SET_MTIME_NOW && ORIEL_FS_SET_CTIME == FUSE_SET_CTIME &&
                  ORIEL_FS_SET_KILL_SUIDGID == FUSE_SET_KILL_SUIDGID,
              "setattr bits pass through");

static bool bad_time(uint32_t set, uint32_t bit, uint32_t nsec)
{
    return (set & bit) != 0 && nsec > NSEC_MAX;
}

static int check_setattr(const struct wire_setattr_in *in)
{
    uint32_t set = in->valid;
    if (bad_time(set, FUSE_SET_ATIME, in->atimensec) || bad_time(set, FUSE_SET_MTIME, in->mtimensec) ||
        bad_time(set, FUSE_SET_CTIME, in->ctimensec))
        return -EINVAL;
    /* For chown(2) -1 means "leave it": a guest that sets it to that is confused. */
    if (((set & FUSE_SET_UID) != 0 && in->uid == UINT32_MAX) ||
        ((set & FUSE_SET_GID) != 0 && in->gid == UINT32_MAX))
        return -EINVAL;
    return (set & FUSE_SET_SIZE) != 0 && in->size > INT64_MAX ? -EFBIG : 0;
}

static void wanted_attr(const struct wire_setattr_in *in, struct oriel_fs_attr *attr)
{
    *attr = (struct oriel_fs_attr){
        .size = in->size,
        .mode = in->mode & 07777,
        .uid = in->uid,
        .gid = in->gid,
        .atime = {.sec = (int64_t)in->atime, .nsec = in->atimensec},
        .mtime = {.sec = (int64_t)in->mtime, .nsec = in->mtimensec},
        .ctime = {.sec = (int64_t)in->ctime, .nsec = in->ctimensec},
    };
}

static int set_attr(struct request *r, const struct wire_setattr_in *in, struct handle *handle,
                    struct oriel_fs_attr *attr)
{
    const struct oriel_fs *fs = &r->server->fs;
    struct oriel_fs_attr wanted;
    wanted_attr(in, &wanted);
    bool ends = (in->valid & (FUSE_SET_SIZE | FUSE_SET_UID | FUSE_SET_GID)) != 0;
    int rc = ends ? capability_end(r, r->node->inode) : 0;
    return rc != 0 ? rc
                   : fs->ops->setattr(fs->fs, &r->caller, r->node->inode, file_handle(handle), &wanted,
                                      in->valid & KNOWN_SETATTR, attr);
}

int op_setattr(struct request *r)
{
    const struct wire_setattr_in *in = request_args(r, sizeof(*in));
    int rc = check_setattr(in);
    if (rc != 0)
        return request_bad(r, rc);
    struct handle *handle;
    rc = optional_handle(r, (in->valid & FUSE_SET_FH) != 0, in->fh, &handle);
    if (rc != 0)
        return rc;
    struct oriel_fs_attr attr = {0};
    rc = set_attr(r, in, handle, &attr);
    put_optional(r, handle);
    return rc != 0 ? rc : reply_set_attr(r, &attr);
}

int op_access(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_access_in *in = request_args(r, sizeof(*in));
    if ((in->mask & ~(uint32_t)(R_OK | W_OK | X_OK)) != 0)
        return request_bad(r, -EINVAL);
    if (r->server->options.read_only && (in->mask & W_OK) != 0)
        return -EROFS;
    return fs->ops->access(fs->fs, &r->caller, r->node->inode, in->mask);
}

int op_readlink(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    char target[LINK_MAX_LEN];
    ssize_t len = fs->ops->readlink(fs->fs, &r->caller, r->node->inode, target, sizeof(target));
    return len < 0 ? (int)len : reply_data(r, target, (size_t)len);
}
