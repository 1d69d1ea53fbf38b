/* What is open in the fake back-end: files, folders, locks. */
#include "fake_fs_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct fake_handle {
    struct fake_inode *inode;
    bool folder;
};

/* ---- files ---- */

static struct fake_handle *new_handle(struct fake_fs *fake, struct fake_inode *inode, bool folder)
{
    struct fake_handle *handle = calloc(1, sizeof(*handle));
    assert(handle != NULL);
    handle->inode = inode;
    handle->folder = folder;
    atomic_fetch_add(&fake->handles, 1);
    return handle;
}

static void check_handle(void *inode, void *handle, bool folder)
{
    struct fake_handle *h = handle;
    assert(h->inode == inode && h->folder == folder);
    (void)inode;
    (void)folder;
    (void)h;
}

static int fake_open(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags, uint32_t kill,
                     struct oriel_fs_opened *out)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    fake_see_caller(fake, caller);
    fake_seen_by(fake)->flags = flags;
    fake_seen_by(fake)->kill = kill;
    int rc = fake_called(fake, FAKE_OPEN);
    if (rc != 0)
        return rc;
    if (!S_ISREG(i->attr.mode))
        return -EBADF;
    out->handle = new_handle(fake, inode, false);
    return 0;
}

static int open_existing(struct fake_fs *fake, void *parent, const char *name, struct oriel_fs_entry *out)
{
    fake_lock(fake);
    struct fake_inode *inode = fake_must_find(parent, name);
    return fake_unlock(fake, S_ISREG(inode->attr.mode) ? fake_fill_entry(fake, inode, out) : -EBADF);
}

static int fake_create(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                       uint32_t flags, uint32_t umask, uint32_t kill, struct oriel_fs_entry *out,
                       struct oriel_fs_opened *opened)
{
    struct fake_fs *fake = fs;
    fake_see_caller(fake, caller);
    fake_seen_by(fake)->flags = flags;
    fake_seen_by(fake)->mode = mode;
    fake_seen_by(fake)->umask = umask;
    fake_seen_by(fake)->kill = kill;
    int rc = fake_called(fake, FAKE_CREATE);
    if (rc == 0)
        rc = fake_make(fake, parent, name, S_IFREG | (mode & ~umask), NULL, out);
    if (rc == -EEXIST && (flags & O_EXCL) == 0)
        rc = open_existing(fake, parent, name, out);
    else
        out->made = rc == 0;
    if (rc == 0)
        opened->handle = new_handle(fake, (struct fake_inode *)out->hold, false);
    return rc;
}

static int fake_tmpfile(void *fs, const oriel_fs_caller *caller, void *parent, uint32_t mode, uint32_t flags,
                        uint32_t umask, struct oriel_fs_entry *out, struct oriel_fs_opened *opened)
{
    struct fake_fs *fake = fs;
    (void)parent;
    fake_see_caller(fake, caller);
    fake_seen_by(fake)->flags = flags;
    fake_seen_by(fake)->mode = mode;
    int rc = fake_called(fake, FAKE_TMPFILE);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    struct fake_inode *inode = fake_new_inode(fake, S_IFREG | (mode & ~umask));
    fake_fill_entry(fake, inode, out);
    fake_unlock(fake, 0);
    opened->handle = new_handle(fake, inode, false);
    return 0;
}

static ssize_t claim(const struct iovec *iov, int iovcnt)
{
    ssize_t n = 0;
    for (int i = 0; i < iovcnt; i++)
        n += (ssize_t)iov[i].iov_len;
    return n;
}

static ssize_t fake_read(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt,
                         uint64_t offset)
{
    struct fake_fs *fake = fs;
    check_handle(inode, handle, false);
    if (fake->read_hook != NULL)
        fake->read_hook(fake->read_hook_arg);
    int rc = fake_called(fake, FAKE_READ);
    if (rc != 0)
        return rc;
    if (fake->claims_reads)
        return claim(iov, iovcnt);
    ssize_t n = preadv(((struct fake_inode *)inode)->memfd, iov, iovcnt, (off_t)offset);
    return n < 0 ? -errno : n;
}

static ssize_t fake_read_nowait(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt,
                                uint64_t offset)
{
    int rc = fake_called(fs, FAKE_READ_NOWAIT);
    return rc != 0 ? rc : fake_read(fs, inode, handle, iov, iovcnt, offset);
}

static ssize_t fake_write(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                          const struct iovec *iov, int iovcnt, uint64_t offset, uint32_t kill)
{
    struct fake_fs *fake = fs;
    check_handle(inode, handle, false);
    fake_see_caller(fake, caller);
    fake_lock(fake);
    fake_seen_by(fake)->kill = kill;
    fake_seen_by(fake)->offset = offset;
    fake_unlock(fake, 0);
    int rc = fake_called(fake, FAKE_WRITE);
    if (rc != 0)
        return rc;
    int fd = ((struct fake_inode *)inode)->memfd;
    ssize_t n = pwritev2(fd, iov, iovcnt, (off_t)offset, (kill & ORIEL_FS_APPEND) != 0 ? RWF_APPEND : 0);
    return n < 0 ? -errno : n;
}

static int fake_flush(void *fs, void *inode, void *handle, uint64_t lock_owner)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    check_handle(inode, handle, false);
    int rc = fake_called(fake, FAKE_FLUSH);
    fake_lock(fake);
    if (i->lock_owner == lock_owner)
        i->lock_type = F_UNLCK;
    fake_seen_by(fake)->lock_owner = lock_owner;
    return fake_unlock(fake, rc);
}

static int fake_fsync(void *fs, void *inode, void *handle, bool datasync)
{
    (void)datasync;
    check_handle(inode, handle, false);
    return fake_called(fs, FAKE_FSYNC);
}

static void fake_release(void *fs, void *inode, void *handle, uint64_t lock_owner, bool flock_unlock)
{
    struct fake_fs *fake = fs;
    if (inode != NULL)
        check_handle(inode, handle, false);
    (void)fake_called(fake, FAKE_RELEASE);
    fake_lock(fake);
    fake_seen_by(fake)->lock_owner = lock_owner;
    fake_seen_by(fake)->flock_unlock = flock_unlock;
    fake_seen_by(fake)->with_inode = inode != NULL;
    fake_unlock(fake, 0);
    atomic_fetch_sub(&fake->handles, 1);
    free(handle);
}

static int fake_fallocate(void *fs, void *inode, void *handle, uint64_t offset, uint64_t len, uint32_t mode)
{
    (void)mode;
    check_handle(inode, handle, false);
    int rc = fake_called(fs, FAKE_FALLOCATE);
    if (rc != 0)
        return rc;
    return ftruncate(((struct fake_inode *)inode)->memfd, (off_t)(offset + len)) == 0 ? 0 : -errno;
}

static int64_t fake_lseek(void *fs, void *inode, void *handle, uint64_t offset, uint32_t whence)
{
    check_handle(inode, handle, false);
    int rc = fake_called(fs, FAKE_LSEEK);
    if (rc != 0)
        return rc;
    off_t at = lseek(((struct fake_inode *)inode)->memfd, (off_t)offset, (int)whence);
    return at < 0 ? -errno : at;
}

static ssize_t fake_copy(void *fs, void *in_inode, void *in_handle, uint64_t in_offset, void *out_inode,
                         void *out_handle, uint64_t out_offset, uint64_t len, uint32_t flags)
{
    struct fake_fs *fake = fs;
    (void)flags;
    check_handle(in_inode, in_handle, false);
    check_handle(out_inode, out_handle, false);
    int rc = fake_called(fake, FAKE_COPY);
    if (rc != 0)
        return rc;
    fake_seen_by(fake)->len = len;
    char data[4096];
    struct fake_inode *from = in_inode, *to = out_inode;
    ssize_t n = pread(from->memfd, data, len < sizeof(data) ? len : sizeof(data), (off_t)in_offset);
    return n < 0 ? -errno : pwrite(to->memfd, data, (size_t)n, (off_t)out_offset);
}

static int fake_map_open(void *fs, void *inode, bool need_write, bool *writable)
{
    struct fake_inode *i = inode;
    (void)need_write;
    int rc = fake_called(fs, FAKE_MAP_OPEN);
    if (rc != 0)
        return rc;
    if (i->memfd < 0)
        return -EINVAL;
    *writable = true;
    return fcntl(i->memfd, F_DUPFD_CLOEXEC, 0);
}

/* ---- folders ---- */

static int fake_opendir(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags,
                        struct oriel_fs_opened *out)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    fake_see_caller(fake, caller);
    fake_seen_by(fake)->flags = flags;
    int rc = fake_called(fake, FAKE_OPENDIR);
    if (rc != 0)
        return rc;
    if (!S_ISDIR(i->attr.mode))
        return -ENOTDIR;
    out->handle = new_handle(fake, inode, true);
    return 0;
}

static bool emit_one(const char *name, const struct fake_inode *inode, uint64_t next, oriel_fs_emit_fn emit,
                     void *arg)
{
    struct oriel_fs_dirent entry = {.name = name,
                                    .name_len = strlen(name),
                                    .ino = inode->attr.ino,
                                    .next = next,
                                    .type = (inode->attr.mode & S_IFMT) >> 12};
    return emit(arg, &entry);
}

/* Cookies 1 and 2 are "." and ".."; emit() runs under the lock, as back-ends may do it. */
static int fake_readdir(void *fs, void *inode, void *handle, uint64_t offset, oriel_fs_emit_fn emit,
                        void *arg)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    check_handle(inode, handle, true);
    int rc = fake_called(fake, FAKE_READDIR);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    if (offset < 1 && !emit_one(".", i, 1, emit, arg))
        return fake_unlock(fake, 0);
    if (offset < 2 && !emit_one("..", i->parent, 2, emit, arg))
        return fake_unlock(fake, 0);
    for (struct fake_name *n = i->names; n != NULL; n = n->next) {
        if (n->cookie > offset && !emit_one(n->name, n->inode, n->cookie, emit, arg))
            break;
    }
    return fake_unlock(fake, 0);
}

static int fake_fsyncdir(void *fs, void *inode, void *handle, bool datasync)
{
    (void)datasync;
    check_handle(inode, handle, true);
    return fake_called(fs, FAKE_FSYNCDIR);
}

static void fake_releasedir(void *fs, void *inode, void *handle)
{
    struct fake_fs *fake = fs;
    check_handle(inode, handle, true);
    (void)fake_called(fake, FAKE_RELEASEDIR);
    atomic_fetch_sub(&fake->handles, 1);
    free(handle);
}

static int fake_syncfs(void *fs, void *inode)
{
    (void)inode;
    return fake_called(fs, FAKE_SYNCFS);
}

/* ---- locks, ioctl ---- */

static int fake_getlk(void *fs, void *inode, void *handle, struct oriel_fs_lock *lk)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    check_handle(inode, handle, false);
    int rc = fake_called(fake, FAKE_GETLK);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    if (i->lock_type == F_UNLCK || i->lock_owner == lk->owner)
        lk->type = F_UNLCK;
    else
        lk->type = i->lock_type;
    return fake_unlock(fake, 0);
}

static int fake_setlk(void *fs, void *inode, void *handle, const struct oriel_fs_lock *lk)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    check_handle(inode, handle, false);
    int rc = fake_called(fake, FAKE_SETLK);
    if (rc != 0)
        return rc;
    fake_lock(fake);
    if (i->lock_type != F_UNLCK && i->lock_owner != lk->owner)
        return fake_unlock(fake, lk->type == F_UNLCK ? 0 : -EAGAIN);
    i->lock_type = lk->type;
    i->lock_owner = lk->owner;
    return fake_unlock(fake, 0);
}

static int fake_ioctl(void *fs, const oriel_fs_caller *caller, void *inode, void *handle, uint32_t cmd,
                      const void *arg_in, size_t in_size, void *arg_out, size_t *out_size)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    (void)handle;
    (void)cmd;
    fake_see_caller(fake, caller);
    int rc = fake_called(fake, FAKE_IOCTL);
    if (rc != 0)
        return rc;
    if (in_size >= sizeof(i->flags))
        memcpy(&i->flags, arg_in, sizeof(i->flags));
    if (*out_size >= sizeof(i->flags))
        memcpy(arg_out, &i->flags, sizeof(i->flags));
    return 0;
}

void fake_set_file_ops(struct oriel_fs_ops *ops)
{
    ops->open = fake_open;
    ops->create = fake_create;
    ops->tmpfile = fake_tmpfile;
    ops->read = fake_read;
    ops->write = fake_write;
    ops->flush = fake_flush;
    ops->fsync = fake_fsync;
    ops->release = fake_release;
    ops->fallocate = fake_fallocate;
    ops->lseek = fake_lseek;
    ops->copy_file_range = fake_copy;
    ops->map_open = fake_map_open;
    ops->opendir = fake_opendir;
    ops->readdir = fake_readdir;
    ops->fsyncdir = fake_fsyncdir;
    ops->releasedir = fake_releasedir;
    ops->syncfs = fake_syncfs;
    ops->getlk = fake_getlk;
    ops->setlk = fake_setlk;
    ops->ioctl = fake_ioctl;
    ops->read_nowait = fake_read_nowait;
}
