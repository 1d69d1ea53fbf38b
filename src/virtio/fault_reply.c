#include "virtio/fault_reply.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/uio.h>
#endif

#include "base/checked.h"
#include "base/le.h"

/* fuse_in_header: le32 len, le32 opcode, le64 unique, …; fuse_out_header: le32 len, le32 error, le64 unique.
 */
#define IN_PREFIX  16u
#define OUT_HEADER 16u

#define FUSE_FORGET       2u
#define FUSE_BATCH_FORGET 42u

/* Moves len bytes between plain memory and vectors that may fault. Only a system call survives those. */
static bool copy_guarded(const struct iovec *vectors, size_t count, void *plain, size_t len, bool to_vectors)
{
#ifdef __linux__
    struct iovec local = {.iov_base = plain, .iov_len = len};
    ssize_t n = to_vectors ? process_vm_writev(getpid(), &local, 1, vectors, count, 0)
                           : process_vm_readv(getpid(), &local, 1, vectors, count, 0);
    return n == (ssize_t)len;
#else
    (void)vectors, (void)count, (void)plain, (void)len, (void)to_vectors;
    return false;
#endif
}

static bool copy_direct(const struct iovec *vectors, size_t count, void *plain, size_t len, bool to_vectors)
{
    size_t done = 0;
    for (size_t i = 0; i < count && done < len; i++) {
        size_t piece = (size_t)min_u64(vectors[i].iov_len, len - done);
        if (to_vectors)
            memcpy(vectors[i].iov_base, (char *)plain + done, piece);
        else
            memcpy((char *)plain + done, vectors[i].iov_base, piece);
        done += piece;
    }
    return done == len;
}

static size_t count_for(const struct iovec *vectors, size_t count, size_t len)
{
    size_t have = 0, i = 0;
    while (i < count && have < len)
        have += vectors[i++].iov_len;
    return have >= len ? i : 0;
}

static bool copy(const struct split_queue_chain *chain, bool to_guest, void *plain, size_t len)
{
    const struct iovec *vectors = to_guest ? &chain->iov[chain->in_count] : chain->iov;
    size_t count = count_for(vectors, to_guest ? chain->out_count : chain->in_count, len);
    if (count == 0)
        return false;
    return chain->guarded ? copy_guarded(vectors, count, plain, len, to_guest)
                          : copy_direct(vectors, count, plain, len, to_guest);
}

uint32_t fault_reply(const struct split_queue_chain *chain)
{
    unsigned char in[IN_PREFIX], out[OUT_HEADER];
    if (!copy(chain, false, in, sizeof(in)))
        return 0;
    uint32_t opcode = le32_load(in + 4);
    if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET)
        return 0;
    le32_store(out, OUT_HEADER);
    le32_store(out + 4, (uint32_t)-EFAULT);
    le64_store(out + 8, le64_load(in + 8));
    return copy(chain, true, out, sizeof(out)) ? OUT_HEADER : 0;
}
