/* Open files: data and what surrounds it. READ and WRITE allocate nothing and take no lock. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/checked.h"
#include "fuse/capability.h"
#include "fuse/ops.h"

/* ---- READ, WRITE ---- */

struct transfer {
    const struct handle *handle;
    uint64_t offset;
    size_t left;
    uint32_t flags; /* ORIEL_FS_* of a write */
    bool writes;
};

static ssize_t read_once(struct request *r, const struct transfer *t, const struct iovec *iov, int count)
{
    const struct oriel_fs *fs = &r->server->fs;
    return fs->ops->read(fs->fs, t->handle->inode, t->handle->fs_handle, iov, count, t->offset);
}

/* What data is there already must not be told as all there is: anything missing makes the whole READ wait. */
static ssize_t read_once_nowait(struct request *r, const struct transfer *t, const struct iovec *iov,
                                int count)
{
    const struct oriel_fs *fs = &r->server->fs;
    ssize_t n = fs->ops->read_nowait(fs->fs, t->handle->inode, t->handle->fs_handle, iov, count, t->offset);
    if (n == -EAGAIN)
        r->would_block = true;
    return n;
}

static ssize_t write_once(struct request *r, const struct transfer *t, const struct iovec *iov, int count)
{
    const struct oriel_fs *fs = &r->server->fs;
    return fs->ops->write(fs->fs, &r->caller, t->handle->inode, t->handle->fs_handle, iov, count, t->offset,
                          t->flags);
}

typedef ssize_t (*once_fn)(struct request *r, const struct transfer *t, const struct iovec *iov, int count);

/*
 * Moves t->left bytes between the file and the place of the cursor, in as many calls as the kernel's limit of
 * vectors wants: one, nearly always. A short count ends it, but for memory that may fault: there the call
 * stops short at a bad page too, and only the next one tells that from the end of the file. Returns the bytes
 * moved, or a negative errno when there are none.
 */
static ssize_t transfer(struct request *r, struct transfer *t, struct iov_cursor *place, once_fn once)
{
    struct iovec scratch[IOV_BATCH];
    size_t moved = 0;
    while (t->left > 0) {
        const struct iovec *iov;
        size_t batch;
        struct iov_cursor at = *place;
        int count = iov_slice(&at, t->left, scratch, &iov, &batch);
        ssize_t n = once(r, t, iov, count);
        if (n < 0) /* a short read would look like the end of the file */
            return moved > 0 && (t->writes || !place->guarded) ? (ssize_t)moved : n;
        n = (ssize_t)min_u64((uint64_t)n, batch);
        if ((size_t)n == batch)
            *place = at;
        else
            iov_skip(place, (size_t)n);
        moved += (size_t)n;
        t->offset += (size_t)n;
        t->left -= (size_t)n;
        if (n == 0 || ((size_t)n < batch && !place->guarded))
            break;
    }
    return (ssize_t)moved;
}

static int check_range(struct request *r, uint64_t offset, uint64_t len)
{
    return range_within(offset, len, INT64_MAX) ? 0 : request_bad(r, -EINVAL);
}

int op_read(struct request *r)
{
    const struct wire_read_in *in = request_args(r, sizeof(*in));
    size_t size = min_u64(in->size, r->room);
    int rc = check_range(r, in->offset, size);
    if (rc != 0)
        return rc;
    struct handle *handle;
    int got = request_handle(r, in->fh, HANDLE_FILE, &handle);
    if (got != 0)
        return got;
    struct transfer t = {.handle = handle, .offset = in->offset, .left = size};
    once_fn once = r->nowait && r->server->fs.ops->read_nowait != NULL ? read_once_nowait : read_once;
    ssize_t n = handle->readable ? transfer(r, &t, &r->reply, once) : -EBADF;
    request_put_handle(r, handle);
    if (r->would_block)
        return -EAGAIN;
    if (n < 0)
        return (int)n;
    reply_placed(r, (size_t)n);
    fuse_stats_add(&r->server->stats.shards[r->shard].read_bytes, (uint64_t)n);
    return 0;
}

/*
 * Whether the end of the file is for us to find. Pages from the guest's cache go where they belong, whoever's handle
 * carries them. A guest with a write-back cache sends some appends at once (those of O_DIRECT, and those that end
 * suid) while what lies before them is still only in its cache: it alone knows where the file ends.
 */
static bool appends(const struct oriel_fuse_server *server, const struct wire_write_in *in)
{
    return (in->flags & O_APPEND) != 0 && (in->write_flags & FUSE_WRITE_CACHE) == 0 &&
           !session_has(server, FUSE_WRITEBACK_CACHE);
}

static uint32_t write_flags(const struct oriel_fuse_server *server, const struct wire_write_in *in)
{
    uint32_t flags = (in->write_flags & FUSE_WRITE_KILL_SUID) != 0 ? ORIEL_FS_KILL_SUIDGID : 0;
    return appends(server, in) ? flags | ORIEL_FS_APPEND : flags;
}

static ssize_t write_all(struct request *r, struct transfer *t)
{
    if (!t->handle->writable)
        return -EBADF;
    int rc = t->left == 0 ? 0 : capability_end(r, t->handle->inode);
    return rc != 0 ? rc : transfer(r, t, &r->in, write_once);
}

int op_write(struct request *r)
{
    const struct wire_write_in *in = request_args(r, sizeof(*in));
    if (in->size > r->server->max_write || in->size > r->in.left)
        return request_bad(r, -EINVAL);
    int rc = check_range(r, in->offset, in->size);
    if (rc != 0)
        return rc;
    struct handle *handle;
    int got = request_handle(r, in->fh, HANDLE_FILE, &handle);
    if (got != 0)
        return got;
    struct transfer t = {.handle = handle,
                         .offset = in->offset,
                         .left = in->size,
                         .flags = write_flags(r->server, in),
                         .writes = true};
    ssize_t n = write_all(r, &t);
    request_put_handle(r, handle);
    if (n < 0)
        return (int)n;
    fuse_stats_add(&r->server->stats.shards[r->shard].write_bytes, (uint64_t)n);
    struct wire_write_out out = {.size = (uint32_t)n};
    return reply_data(r, &out, sizeof(out));
}

/* ---- the rest ---- */

int op_flush(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_flush_in *in = request_args(r, sizeof(*in));
    if (request_is_implicit(r, in->fh))
        return 0;
    struct handle *handle;
    int got = request_handle(r, in->fh, HANDLE_FILE, &handle);
    if (got != 0)
        return got;
    int rc = fs->ops->flush(fs->fs, handle->inode, handle->fs_handle, in->lock_owner);
    request_put_handle(r, handle);
    lock_wait_released(&r->server->locks);
    return rc;
}

int op_fsync(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_fsync_in *in = request_args(r, sizeof(*in));
    if (request_is_implicit(r, in->fh))
        return 0;
    struct handle *handle;
    int got = request_handle(r, in->fh, HANDLE_FILE, &handle);
    if (got != 0)
        return got;
    bool datasync = (in->fsync_flags & FUSE_FSYNC_DATASYNC) != 0;
    int rc = fs->ops->fsync(fs->fs, handle->inode, handle->fs_handle, datasync);
    request_put_handle(r, handle);
    return rc;
}

static int allocate(struct request *r, const struct wire_fallocate_in *in, const struct handle *handle)
{
    const struct oriel_fs *fs = &r->server->fs;
    if (!handle->writable)
        return -EBADF;
    int rc = capability_end(r, handle->inode);
    return rc != 0 ? rc
                   : fs->ops->fallocate(fs->fs, handle->inode, handle->fs_handle, in->offset, in->length,
                                        in->mode);
}

int op_fallocate(struct request *r)
{
    const struct wire_fallocate_in *in = request_args(r, sizeof(*in));
    if ((in->mode & ~FUSE_FALLOCATE_MODES) != 0)
        return -EOPNOTSUPP;
    if (in->length == 0)
        return request_bad(r, -EINVAL);
    if (!range_within(in->offset, in->length, INT64_MAX))
        return request_bad(r, -EFBIG);
    struct handle *handle;
    int got = request_handle(r, in->fh, HANDLE_FILE, &handle);
    if (got != 0)
        return got;
    int rc = allocate(r, in, handle);
    request_put_handle(r, handle);
    return rc;
}

int op_lseek(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_lseek_in *in = request_args(r, sizeof(*in));
    if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE)
        return request_bad(r, -EINVAL);
    if (in->offset > INT64_MAX)
        return -ENXIO; /* a client's negative offset: lseek(2) says it lies outside the file */
    struct handle *handle;
    int got = request_handle(r, in->fh, HANDLE_FILE, &handle);
    if (got != 0)
        return got;
    int64_t offset = fs->ops->lseek(fs->fs, handle->inode, handle->fs_handle, in->offset, in->whence);
    request_put_handle(r, handle);
    if (offset < 0)
        return (int)offset;
    struct wire_lseek_out out = {.offset = (uint64_t)offset};
    return reply_data(r, &out, sizeof(out));
}

static ssize_t copy_between(struct request *r, const struct wire_copy_file_range_in *in, uint64_t len,
                            const struct handle *from, const struct handle *to)
{
    const struct oriel_fs *fs = &r->server->fs;
    if (!from->readable || !to->writable)
        return -EBADF;
    int rc = len == 0 ? 0 : capability_end(r, to->inode);
    if (rc != 0)
        return rc;
    return fs->ops->copy_file_range(fs->fs, from->inode, from->fs_handle, in->off_in, to->inode,
                                    to->fs_handle, in->off_out, len, 0);
}

/* Copies at most `most` bytes: what the reply can say. */
static ssize_t copy_file_range_at_most(struct request *r, uint64_t most)
{
    const struct wire_copy_file_range_in *in = request_args(r, sizeof(*in));
    uint64_t farthest = max_u64(in->off_in, in->off_out);
    if (in->flags != 0 || farthest > INT64_MAX)
        return request_bad(r, -EINVAL);
    uint64_t len = min_u64(min_u64(in->len, most), INT64_MAX - farthest);
    struct handle *from;
    int got = request_handle(r, in->fh_in, HANDLE_FILE, &from);
    if (got != 0)
        return got;
    struct handle *to = fuse_handle_get(&r->server->handles, in->fh_out, in->nodeid_out, HANDLE_FILE);
    ssize_t n = to == NULL ? request_bad(r, -EBADF) : copy_between(r, in, len, from, to);
    if (to != NULL)
        request_put_handle(r, to);
    request_put_handle(r, from);
    return n;
}

int op_copy_file_range(struct request *r)
{
    ssize_t n = copy_file_range_at_most(r, UINT32_C(0x7ffff000));
    struct wire_write_out out = {.size = (uint32_t)n};
    return n < 0 ? (int)n : reply_data(r, &out, sizeof(out));
}

int op_copy_file_range_64(struct request *r)
{
    ssize_t n = copy_file_range_at_most(r, UINT64_C(0x7ffffffffffff000));
    struct wire_copy_file_range_out out = {.bytes_copied = (uint64_t)n};
    return n < 0 ? (int)n : reply_data(r, &out, sizeof(out));
}
