/* Data of regular files. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/locks.h"
#include "fs/passthrough/operations.h"
#include "fs/passthrough/rights.h"

#define FALLOCATE_MODES                                                                                      \
    (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_ZERO_RANGE |          \
     FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE)

#define PAGE 4096 /* or a larger multiple: then a few calls more than needed */

typedef ssize_t (*transfer_fn)(int fd, const struct iovec *iov, int count, uint64_t offset, int flags);

static ssize_t transfer_in(int fd, const struct iovec *iov, int count, uint64_t offset, int flags)
{
    (void)flags;
    return preadv(fd, iov, count, (off_t)offset);
}

static ssize_t transfer_in_cached(int fd, const struct iovec *iov, int count, uint64_t offset, int flags)
{
    return preadv2(fd, iov, count, (off_t)offset, flags | RWF_NOWAIT);
}

static ssize_t transfer_out(int fd, const struct iovec *iov, int count, uint64_t offset, int flags)
{
    if (flags == 0)
        return pwritev(fd, iov, count, (off_t)offset);
    return pwritev2(fd, iov, count, (off_t)offset, flags);
}

/* A place in a vector of memory. */
struct cursor {
    const struct iovec *iov;
    int count;
    size_t done; /* of the first element */
};

static void advance(struct cursor *at, size_t n)
{
    while (at->count > 0 && n >= at->iov->iov_len - at->done) {
        n -= at->iov->iov_len - at->done;
        at->iov++;
        at->count--;
        at->done = 0;
    }
    at->done += n;
}

/* What one system call is asked to move: the vector, or the rest of a partly used element. */
static int next_piece(const struct cursor *at, struct iovec *rest, const struct iovec **piece)
{
    if (at->done == 0) {
        *piece = at->iov;
        return at->count < IOV_MAX ? at->count : IOV_MAX;
    }
    *rest = (struct iovec){(char *)at->iov->iov_base + at->done, at->iov->iov_len - at->done};
    *piece = rest;
    return 1;
}

/*
 * A read of a regular file that moves less than asked has met the end of the file, unless the memory behind
 * the next byte can't be written: that starts with a page. So only there it takes a second call to tell.
 */
static bool met_end_of_file(const struct cursor *before, const struct cursor *after, ssize_t moved)
{
    struct iovec rest;
    const struct iovec *piece;
    int count = next_piece(before, &rest, &piece);
    size_t asked = 0;
    for (int i = 0; i < count; i++)
        asked += piece[i].iov_len;
    uintptr_t next_byte = (uintptr_t)after->iov->iov_base + after->done;
    return (size_t)moved < asked && next_byte % PAGE != 0;
}

/* Until everything is moved, the file ends, or an error: *err tells it, the result is what was moved. */
static uint64_t transfer_all(int fd, const struct iovec *iov, int count, uint64_t offset, int flags,
                             transfer_fn transfer, int *err)
{
    struct cursor at = {iov, count, 0};
    uint64_t moved = 0;
    *err = 0;
    advance(&at, 0);
    while (at.count > 0) {
        struct iovec rest;
        const struct iovec *piece;
        int pieces = next_piece(&at, &rest, &piece);
        ssize_t n = transfer(fd, piece, pieces, offset + moved, flags);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            *err = -errno;
        if (n <= 0)
            break;
        const struct cursor before = at;
        moved += (uint64_t)n;
        advance(&at, (size_t)n);
        if (at.count > 0 && transfer == transfer_in && met_end_of_file(&before, &at, n))
            break;
    }
    return moved;
}

/* A short reply means the end of the file to the guest, so an error counts even after some data. */
ssize_t pt_read(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt, uint64_t offset)
{
    (void)fs;
    (void)inode;
    int err;
    const struct pt_handle *file = handle;
    uint64_t moved = transfer_all(file->fd, iov, iovcnt, offset, 0, transfer_in, &err);
    return err != 0 ? err : (ssize_t)moved;
}

/* File systems without RWF_NOWAIT say so at the first try. tmpfs is one: it has no disk to wait for. */
ssize_t pt_read_nowait(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt,
                       uint64_t offset)
{
    struct pt_mount *mount = ((struct pt_inode *)inode)->mount;
    const struct pt_handle *file = handle;
    if (!atomic_load_explicit(&mount->no_nowait, memory_order_relaxed)) {
        int err;
        uint64_t moved = transfer_all(file->fd, iov, iovcnt, offset, 0, transfer_in_cached, &err);
        if (err != -EOPNOTSUPP)
            return err != 0 ? err : (ssize_t)moved;
        atomic_store_explicit(&mount->no_nowait, true, memory_order_relaxed);
    }
    return pt_read(fs, inode, handle, iov, iovcnt, offset);
}

ssize_t pt_write(void *fs, const oriel_fs_caller *caller, void *inode, void *handle, const struct iovec *iov,
                 int iovcnt, uint64_t offset, uint32_t kill)
{
    (void)caller;
    (void)inode;
    struct passthrough *pt = fs;
    const struct pt_handle *file = handle;
    if (!file->writable)
        return -EBADF;
    /* The caller's rights were checked at open. Only whether suid and sgid survive depends on the thread's.
     */
    struct passthrough *scope cleanup_rights = pt;
    int err = rights_begin(pt, NULL, kill & ORIEL_FS_KILL_SUIDGID ? CREDS_KILL : CREDS_OWN);
    if (err != 0)
        return err;
    uint64_t moved = transfer_all(file->fd, iov, iovcnt, offset, kill & ORIEL_FS_APPEND ? RWF_APPEND : 0,
                                  transfer_out, &err);
    return moved == 0 && err != 0 ? err : (ssize_t)moved;
}

int pt_flush(void *fs, void *inode, void *handle, uint64_t lock_owner)
{
    const struct pt_handle *file = handle;
    locks_drop_owner(fs, inode, lock_owner);
    if (!((struct pt_inode *)inode)->mount->flush_on_close)
        return 0;
    /* Closing a duplicate is how a file system is asked for its write errors. Out of descriptors: they show
     * at fsync. */
    int copy = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return errno == EMFILE ? 0 : -errno;
    return close(copy) == 0 ? 0 : -errno;
}

static int sync_fd(int fd, bool datasync)
{
    int result = datasync ? fdatasync(fd) : fsync(fd);
    return result == 0 ? 0 : -errno;
}

int pt_fsync(void *fs, void *inode, void *handle, bool datasync)
{
    struct passthrough *pt = fs;
    const struct pt_handle *file = handle;
    if (file != NULL && file->fd >= 0)
        return sync_fd(file->fd, datasync);
    if (!inode_is(inode, S_IFREG) && !inode_is(inode, S_IFDIR))
        return -EINVAL;
    cleanup_fd int fd = open_for_call(pt, inode, O_RDONLY);
    return fd < 0 ? fd : sync_fd(fd, datasync);
}

/* Neither fallocate nor copy_file_range comes with the caller's rights: suid and sgid end whoever asks. */
static int begin_changing_data(struct passthrough *pt)
{
    return rights_begin(pt, NULL, CREDS_KILL);
}

int pt_fallocate(void *fs, void *inode, void *handle, uint64_t offset, uint64_t len, uint32_t mode)
{
    (void)inode;
    struct passthrough *pt = fs;
    const struct pt_handle *file = handle;
    if (mode & ~(uint32_t)FALLOCATE_MODES)
        return -EOPNOTSUPP;
    if (!file->writable)
        return -EBADF;
    struct passthrough *scope cleanup_rights = pt;
    int err = begin_changing_data(pt);
    if (err != 0)
        return err;
    return fallocate(file->fd, (int)mode, (off_t)offset, (off_t)len) == 0 ? 0 : -errno;
}

int64_t pt_lseek(void *fs, void *inode, void *handle, uint64_t offset, uint32_t whence)
{
    (void)fs;
    (void)inode;
    const struct pt_handle *file = handle;
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    off_t at = lseek(file->fd, (off_t)offset, (int)whence);
    return at >= 0 ? at : -errno;
}

/* Who asks for more asks again; a reset does not wait longer than for this. */
#define COPY_MAX (UINT64_C(64) << 20)

ssize_t pt_copy_file_range(void *fs, void *in_inode, void *in_handle, uint64_t in_offset, void *out_inode,
                           void *out_handle, uint64_t out_offset, uint64_t len, uint32_t flags)
{
    (void)in_inode;
    (void)out_inode;
    struct passthrough *pt = fs;
    const struct pt_handle *in = in_handle, *out = out_handle;
    if (flags != 0)
        return -EINVAL;
    if (!out->writable)
        return -EBADF;
    struct passthrough *scope cleanup_rights = pt;
    int err = begin_changing_data(pt);
    if (err != 0)
        return err;
    off_t from = (off_t)in_offset, to = (off_t)out_offset;
    ssize_t n = copy_file_range(in->fd, &from, out->fd, &to, (size_t)min_u64(len, COPY_MAX), 0);
    return n >= 0 ? n : -errno;
}
