#include "fs/memory/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "base/checked.h"

#define PARTS       64
#define BOUNCE_SIZE 16384

static int transfer_error(int error)
{
    switch (error) {
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
        return -ENOSPC;
    case EFAULT:
        return -EFAULT;
    case EFBIG:
        return -EFBIG;
    default:
        return -EIO;
    }
}

typedef ssize_t (*vector_call)(int fd, const struct iovec *iov, int count, off_t offset);

static ssize_t move(vector_call call, int fd, uint64_t offset, struct memfs_vectors *vectors, uint64_t len)
{
    struct iovec part[PARTS];
    uint64_t done = 0;
    while (done < len) {
        int count = memfs_vectors_slice(vectors, len - done, part, PARTS);
        if (count == 0)
            break;
        ssize_t n = call(fd, part, count, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && done == 0)
            return transfer_error(errno);
        if (n <= 0)
            break;
        memfs_vectors_consume(vectors, (uint64_t)n);
        done += (uint64_t)n;
    }
    return (ssize_t)done;
}

ssize_t transfer_read(int fd, uint64_t offset, struct memfs_vectors *to, uint64_t len)
{
    return move(preadv, fd, offset, to, len);
}

ssize_t transfer_write(int fd, uint64_t offset, struct memfs_vectors *from, uint64_t len)
{
    return move(pwritev, fd, offset, from, len);
}

/* Where the kernel does not copy between these files itself. */
static ssize_t bounce(int from_fd, off_t from, int to_fd, off_t to, uint64_t len)
{
    char buffer[BOUNCE_SIZE];
    ssize_t n = pread(from_fd, buffer, (size_t)min_u64(len, sizeof(buffer)), from);
    return n <= 0 ? n : pwrite(to_fd, buffer, (size_t)n, to);
}

ssize_t transfer_copy(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t len)
{
    uint64_t done = 0;
    bool by_kernel = len > BOUNCE_SIZE; /* below that, two plain calls are cheaper */
    while (done < len) {
        off_t in = (off_t)(from + done);
        off_t out = (off_t)(to + done);
        ssize_t n = by_kernel ? copy_file_range(from_fd, &in, to_fd, &out, (size_t)(len - done), 0)
                              : bounce(from_fd, in, to_fd, out, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 && by_kernel) {
            by_kernel = false;
            continue;
        }
        if (n < 0 && done == 0)
            return transfer_error(errno);
        if (n <= 0)
            break;
        done += (uint64_t)n;
    }
    return (ssize_t)done;
}

int transfer_copy_data(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t len)
{
    uint64_t at = from;
    uint64_t limit = from + len;
    while (at < limit) {
        off_t data = lseek(from_fd, (off_t)at, SEEK_DATA);
        if (data < 0)
            return errno == ENXIO ? 0 : -EIO;
        if ((uint64_t)data >= limit)
            return 0;
        off_t hole = lseek(from_fd, data, SEEK_HOLE);
        if (hole < 0)
            return -EIO;
        uint64_t want = min_u64((uint64_t)hole, limit) - (uint64_t)data;
        ssize_t n = transfer_copy(from_fd, (uint64_t)data, to_fd, to + ((uint64_t)data - from), want);
        if (n < 0 || (uint64_t)n < want)
            return n < 0 ? (int)n : -ENOSPC;
        at = (uint64_t)data + want;
    }
    return 0;
}

int transfer_allocate_mode(int fd, uint64_t offset, uint64_t len, int mode)
{
    int result;
    do
        result = fallocate(fd, mode, (off_t)offset, (off_t)len);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : transfer_error(errno);
}

int transfer_punch(int fd, uint64_t offset, uint64_t len)
{
    return len == 0 ? 0 : transfer_allocate_mode(fd, offset, len, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

int transfer_allocate(int fd, uint64_t offset, uint64_t len)
{
    return transfer_allocate_mode(fd, offset, len, FALLOC_FL_KEEP_SIZE);
}

int transfer_resize(int fd, uint64_t size)
{
    int result;
    do
        result = ftruncate(fd, (off_t)size);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : transfer_error(errno);
}
