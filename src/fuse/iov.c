#include "fuse/iov.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"

bool iov_cursor_init(struct iov_cursor *cursor, const struct iovec *iov, size_t count, bool guarded)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        if (__builtin_add_overflow(total, iov[i].iov_len, &total) || total > SSIZE_MAX)
            return false;
    }
    *cursor = (struct iov_cursor){.iov = iov, .count = count, .left = total, .guarded = guarded};
    return true;
}

static void step(struct iov_cursor *cursor, size_t n)
{
    cursor->skip += n;
    cursor->left -= n;
    if (cursor->skip == cursor->iov->iov_len) {
        cursor->iov++;
        cursor->count--;
        cursor->skip = 0;
    }
}

/* The next run of bytes that lie together, at most n; steps over empty vectors. */
static char *run(struct iov_cursor *cursor, size_t n, size_t *len)
{
    while (cursor->skip == cursor->iov->iov_len)
        step(cursor, 0);
    *len = min_u64(n, cursor->iov->iov_len - cursor->skip);
    return (char *)cursor->iov->iov_base + cursor->skip;
}

/* A page that is gone ends a system call with EFAULT where our own access would die with SIGBUS. */
static int copy_guarded(char *guest, char *local, size_t n, bool to_guest)
{
#ifdef __linux__
    struct iovec local_iov = {local, n}, guest_iov = {guest, n};
    ssize_t done = to_guest ? process_vm_writev(getpid(), &local_iov, 1, &guest_iov, 1, 0)
                            : process_vm_readv(getpid(), &local_iov, 1, &guest_iov, 1, 0);
    return done == (ssize_t)n ? 0 : -EFAULT;
#else
    (void)guest, (void)local, (void)n, (void)to_guest;
    return -EFAULT;
#endif
}

static int copy_guest_memory(struct iov_cursor *cursor, char *local, size_t n, bool to_guest)
{
    assert(n <= cursor->left);
    while (n > 0) {
        size_t len;
        char *guest = run(cursor, n, &len);
        if (cursor->guarded) {
            if (copy_guarded(guest, local, len, to_guest) != 0)
                return -EFAULT;
        } else if (to_guest) {
            memcpy(guest, local, len);
        } else {
            memcpy(local, guest, len);
        }
        step(cursor, len);
        local += len;
        n -= len;
    }
    return 0;
}

int iov_pull(struct iov_cursor *cursor, void *data, size_t n)
{
    return copy_guest_memory(cursor, data, n, false);
}

int iov_push(struct iov_cursor *cursor, const void *data, size_t n)
{
    return copy_guest_memory(cursor, (char *)(uintptr_t)data, n, true);
}

void iov_skip(struct iov_cursor *cursor, size_t n)
{
    assert(n <= cursor->left);
    while (n > 0) {
        size_t len;
        run(cursor, n, &len);
        step(cursor, len);
        n -= len;
    }
}

/* All that is left, untouched: what the usual framing (header, arguments and data in vectors of their own)
 * gives. */
static bool fits_as_it_is(const struct iov_cursor *cursor, size_t n)
{
    return cursor->skip == 0 && cursor->left == n && cursor->count <= IOV_BATCH;
}

int iov_slice(struct iov_cursor *cursor, size_t n, struct iovec *scratch, const struct iovec **out,
              size_t *bytes)
{
    assert(n <= cursor->left);
    if (fits_as_it_is(cursor, n)) {
        size_t count = cursor->count;
        *out = cursor->iov;
        *bytes = n;
        *cursor = (struct iov_cursor){.iov = cursor->iov + count, .guarded = cursor->guarded};
        return (int)count;
    }
    int count = 0;
    *bytes = 0;
    while (*bytes < n && count < IOV_BATCH) {
        size_t len;
        char *guest = run(cursor, n - *bytes, &len);
        scratch[count++] = (struct iovec){guest, len};
        *bytes += len;
        step(cursor, len);
    }
    *out = scratch;
    return count;
}
