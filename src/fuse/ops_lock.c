/* File locks: POSIX record locks and flock. Back-ends never block; waiting is lock_wait.h's. */
#include <errno.h>
#include <fcntl.h>

#include "fuse/ops.h"

static bool is_enabled(const struct request *r, const struct wire_lk_in *in)
{
    return session_has(r->server,
                       (in->lk_flags & FUSE_LOCK_FLOCK) != 0 ? FUSE_FLOCK_LOCKS : FUSE_POSIX_LOCKS);
}

static int check_lock(const struct wire_lk_in *in)
{
    const struct wire_lock *lock = &in->lock;
    if (lock->type != F_RDLCK && lock->type != F_WRLCK && lock->type != F_UNLCK)
        return -EINVAL;
    return lock->start > lock->end || lock->end > INT64_MAX ? -EINVAL : 0;
}

static struct oriel_fs_lock lock_from_wire(const struct wire_lk_in *in)
{
    return (struct oriel_fs_lock){.start = in->lock.start,
                                  .end = in->lock.end,
                                  .type = in->lock.type,
                                  .pid = in->lock.pid,
                                  .owner = in->owner,
                                  .flock = (in->lk_flags & FUSE_LOCK_FLOCK) != 0};
}

/* What the lock requests have in common: the checks, and the handle in use. */
static int begin(struct request *r, const struct wire_lk_in **in, struct handle **handle)
{
    *in = request_args(r, sizeof(**in));
    if (!is_enabled(r, *in))
        return -ENOSYS;
    int rc = check_lock(*in);
    if (rc != 0)
        return request_bad(r, rc);
    return request_handle(r, (*in)->fh, HANDLE_FILE, handle);
}

int op_getlk(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_lk_in *in;
    struct handle *handle;
    int rc = begin(r, &in, &handle);
    if (rc != 0)
        return rc;
    struct oriel_fs_lock lock = lock_from_wire(in);
    rc = fs->ops->getlk(fs->fs, handle->inode, handle->fs_handle, &lock);
    request_put_handle(r, handle);
    struct wire_lock out = {.start = lock.start, .end = lock.end, .type = lock.type, .pid = lock.pid};
    return rc != 0 ? rc : reply_data(r, &out, sizeof(out));
}

struct attempt {
    const struct oriel_fs *fs;
    const struct handle *handle;
    struct oriel_fs_lock lock;
};

static int try_lock(void *arg)
{
    const struct attempt *a = arg;
    return a->fs->ops->setlk(a->fs->fs, a->handle->inode, a->handle->fs_handle, &a->lock);
}

static int set_lock(struct request *r, bool wait)
{
    const struct wire_lk_in *in;
    struct attempt attempt = {.fs = &r->server->fs};
    struct handle *handle;
    int rc = begin(r, &in, &handle);
    if (rc != 0)
        return rc;
    attempt.handle = handle;
    attempt.lock = lock_from_wire(in);
    if (wait && attempt.lock.type != F_UNLCK)
        rc = lock_wait_for(&r->server->locks, r->header.unique, try_lock, &attempt);
    else
        rc = try_lock(&attempt);
    request_put_handle(r, handle);
    /* An unlock frees a range, and so may a lock that takes the place of a stronger one. */
    if (rc == 0)
        lock_wait_released(&r->server->locks);
    return rc;
}

int op_setlk(struct request *r)
{
    return set_lock(r, false);
}

int op_setlkw(struct request *r)
{
    return set_lock(r, true);
}
