/* Opening and releasing files and folders. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fuse/attr.h"
#include "fuse/capability.h"
#include "fuse/ops.h"

#define UMASK_BITS 0777
#define MODE_BITS  07777

/* The flags that mean something here; O_APPEND is said with each write, O_DIRECT is the guest's business. */
#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_NOATIME | O_SYNC | O_DSYNC)

static uint32_t backend_flags(const struct oriel_fuse_server *server, uint32_t flags, uint32_t more)
{
    uint32_t out = flags & ((uint32_t)OPEN_FLAGS | more);
    /* With a write-back cache the guest reads the page that it writes a part of. */
    if (session_has(server, FUSE_WRITEBACK_CACHE) && (out & O_ACCMODE) == O_WRONLY)
        out = (out & ~(uint32_t)O_ACCMODE) | O_RDWR;
    return out;
}

static bool wants_change(uint32_t flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
}

static int check_flags(struct request *r, uint32_t flags)
{
    if ((flags & O_ACCMODE) == O_ACCMODE)
        return request_bad(r, -EINVAL);
    return r->server->options.read_only && wants_change(flags) ? -EROFS : 0;
}

static uint32_t backend_kill(uint32_t open_flags)
{
    return (open_flags & FUSE_OPEN_KILL_SUID) != 0 ? ORIEL_FS_KILL_SUIDGID : 0;
}

/*
 * close() of a file that is open for reading only has nothing to tell: no page is dirty through it, and locks are
 * the guest's own unless it was agreed otherwise. So it needs no FLUSH, for which the guest would wait.
 */
static uint32_t flush_flags(const struct oriel_fuse_server *server, const struct handle *handle)
{
    return handle->writable || session_has(server, FUSE_POSIX_LOCKS) ? 0 : FUSE_FOPEN_NOFLUSH;
}

/* What the guest may cache of an open file, by cache mode. */
static uint32_t file_cache_flags(const struct oriel_fuse_server *server)
{
    switch (server->options.cache) {
    case ORIEL_CACHE_NEVER:
    case ORIEL_CACHE_METADATA:
        return FUSE_FOPEN_DIRECT_IO | FUSE_FOPEN_PARALLEL_DIRECT_WRITES;
    case ORIEL_CACHE_ALWAYS:
        return FUSE_FOPEN_KEEP_CACHE;
    case ORIEL_CACHE_AUTO:
        break;
    }
    return 0;
}

static uint32_t folder_cache_flags(const struct oriel_fuse_server *server)
{
    switch (server->options.cache) {
    case ORIEL_CACHE_METADATA:
    case ORIEL_CACHE_ALWAYS:
        return FUSE_FOPEN_CACHE_DIR | FUSE_FOPEN_KEEP_CACHE;
    case ORIEL_CACHE_NEVER:
    case ORIEL_CACHE_AUTO:
        break;
    }
    return 0;
}

/* Publishes a handle of a node that is pinned (the pin stays the caller's) and writes `reply`, whose end is
 * the open_out to fill. */
static int reply_handle(struct request *r, struct handle *handle, enum handle_kind kind, struct node *node,
                        const struct oriel_fs_opened *opened, uint32_t cache_flags, void *reply, size_t size)
{
    struct wire_open_out *out = (void *)((char *)reply + size - sizeof(*out));
    slab_ref(node);
    uint64_t nodeid = fuse_node_id(node);
    *out = (struct wire_open_out){.open_flags = opened->fopen_flags | cache_flags};
    out->fh = fuse_handle_publish(handle, kind, node, opened->handle);
    int rc = reply_data(r, reply, size);
    if (rc != 0)
        fuse_handle_release(&r->server->handles, out->fh, nodeid, kind, 0, false);
    return rc;
}

/* A place for a handle that will be opened with these flags. */
static struct handle *reserve(struct request *r, uint32_t flags)
{
    struct handle *handle = fuse_handle_reserve(&r->server->handles);
    if (handle != NULL) {
        handle->readable = (flags & O_ACCMODE) != O_WRONLY;
        handle->writable = (flags & O_ACCMODE) != O_RDONLY;
    }
    return handle;
}

/* ---- OPEN, OPENDIR ---- */

/* With ENOSYS the guest opens by itself from now on, and uses handle 0. */
int op_open(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_open_in *in = request_args(r, sizeof(*in));
    if (r->server->session.implicit)
        return -ENOSYS;
    int rc = check_flags(r, in->flags);
    if (rc != 0)
        return rc;
    uint32_t flags = backend_flags(r->server, in->flags, 0);
    rc = (flags & O_TRUNC) != 0 ? capability_end(r, r->node->inode) : 0;
    if (rc != 0)
        return rc;
    struct handle *handle = reserve(r, flags);
    if (handle == NULL)
        return -ENFILE;
    struct oriel_fs_opened opened = {0};
    rc = fs->ops->open(fs->fs, &r->caller, r->node->inode, flags, backend_kill(in->open_flags), &opened);
    if (rc != 0) {
        fuse_handle_unreserve(&r->server->handles, handle);
        return rc;
    }
    struct wire_open_out out;
    uint32_t cache_flags = file_cache_flags(r->server) | flush_flags(r->server, handle);
    return reply_handle(r, handle, HANDLE_FILE, r->node, &opened, cache_flags, &out, sizeof(out));
}

int op_opendir(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_open_in *in = request_args(r, sizeof(*in));
    if (r->server->session.implicit)
        return -ENOSYS;
    int rc = check_flags(r, in->flags);
    if (rc != 0)
        return rc;
    struct handle *handle = reserve(r, in->flags);
    if (handle == NULL)
        return -ENFILE;
    struct oriel_fs_opened opened = {0};
    rc = fs->ops->opendir(fs->fs, &r->caller, r->node->inode, in->flags & O_NOATIME, &opened);
    if (rc != 0) {
        fuse_handle_unreserve(&r->server->handles, handle);
        return rc;
    }
    struct wire_open_out out;
    return reply_handle(r, handle, HANDLE_FOLDER, r->node, &opened, folder_cache_flags(r->server), &out,
                        sizeof(out));
}

/* ---- CREATE, TMPFILE ---- */

/* Ends what was opened for a handle that nobody is going to get. */
static void drop_opened(struct request *r, struct handle *handle, void *inode,
                        const struct oriel_fs_opened *opened)
{
    const struct oriel_fs *fs = &r->server->fs;
    fs->ops->release(fs->fs, inode, opened->handle, 0, false);
    fuse_handle_unreserve(&r->server->handles, handle);
}

/* The file is made (or was there, and has been cut) and open: name it to the guest by node and handle. */
static int reply_created(struct request *r, struct handle *handle, const char *name, bool cut,
                         struct oriel_fs_entry *entry, const struct oriel_fs_opened *opened)
{
    struct node_table *nodes = &r->server->nodes;
    struct node *node;
    int rc = fuse_node_intern(nodes, r->node->inode, name, entry, &node);
    if (rc != 0) {
        drop_opened(r, handle, NULL, opened);
        return rc;
    }
    struct wire_create_out out;
    attr_to_entry(r->server, node, &entry->attr, &out.entry);
    rc = cut ? capability_end(r, node->inode) : 0;
    if (rc != 0)
        drop_opened(r, handle, node->inode, opened);
    else
        rc = reply_handle(r, handle, HANDLE_FILE, node, opened, file_cache_flags(r->server), &out,
                          sizeof(out));
    if (rc != 0)
        fuse_node_uncount(nodes, node, 1);
    fuse_node_put(nodes, node);
    return rc;
}

static int create_file(struct request *r, const struct wire_create_in *in, const char *name)
{
    const struct oriel_fs *fs = &r->server->fs;
    int rc = check_flags(r, in->flags);
    if (rc != 0)
        return rc;
    uint32_t flags = backend_flags(r->server, in->flags, O_EXCL);
    struct handle *handle = reserve(r, flags);
    if (handle == NULL)
        return -ENFILE;
    struct oriel_fs_entry entry = {0};
    struct oriel_fs_opened opened = {0};
    uint32_t mode = in->mode & MODE_BITS, umask = in->umask & UMASK_BITS;
    void *parent = r->node->inode;
    if (name != NULL)
        rc = fs->ops->create(fs->fs, &r->caller, parent, name, mode, flags, umask,
                             backend_kill(in->open_flags), &entry, &opened);
    else
        rc = fs->ops->tmpfile(fs->fs, &r->caller, parent, mode, flags, umask, &entry, &opened);
    entry.made = entry.made || name == NULL;
    bool cut = (flags & O_TRUNC) != 0 && !entry.made;
    if (rc == 0)
        return reply_created(r, handle, name, cut, &entry, &opened);
    fuse_handle_unreserve(&r->server->handles, handle);
    return rc;
}

int op_create(struct request *r)
{
    const struct wire_create_in *in = request_args(r, sizeof(*in));
    const char *name;
    int rc = request_name(r, &name);
    if (rc == 0)
        rc = request_extensions(r);
    return rc != 0 ? rc : create_file(r, in, name);
}

/* The name is a placeholder ("/" from Linux) and means nothing. */
int op_tmpfile(struct request *r)
{
    const struct wire_create_in *in = request_args(r, sizeof(*in));
    size_t len;
    if (request_string(r, &len) == NULL)
        return request_bad(r, -EINVAL);
    int rc = request_extensions(r);
    return rc != 0 ? rc : create_file(r, in, NULL);
}

/* ---- RELEASE, RELEASEDIR ---- */

static int release(struct request *r, enum handle_kind kind)
{
    const struct wire_release_in *in = request_args(r, sizeof(*in));
    bool unflock = (in->release_flags & FUSE_RELEASE_UNFLOCK) != 0;
    if (!fuse_handle_release(&r->server->handles, in->fh, r->header.nodeid, kind, in->lock_owner, unflock))
        return request_bad(r, -EBADF);
    lock_wait_released(&r->server->locks);
    return 0;
}

int op_release(struct request *r)
{
    return release(r, HANDLE_FILE);
}

int op_releasedir(struct request *r)
{
    return release(r, HANDLE_FOLDER);
}
