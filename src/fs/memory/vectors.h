/* Walks a list of vectors piece by piece. */
#ifndef ORIEL_FS_MEMORY_VECTORS_H
#define ORIEL_FS_MEMORY_VECTORS_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/checked.h"

struct memfs_vectors {
    const struct iovec *iov;
    int left;    /* vectors from iov on */
    size_t skip; /* bytes of the first that are done */
};

static inline uint64_t memfs_vectors_total(const struct iovec *iov, int count)
{
    uint64_t total = 0;
    for (int i = 0; i < count; i++)
        if (!checked_add_u64(total, iov[i].iov_len, &total))
            return UINT64_MAX;
    return total;
}

/* Fills part with the next at most `len` bytes; returns how many vectors that are. Nothing is consumed. */
static inline int memfs_vectors_slice(const struct memfs_vectors *vectors, uint64_t len, struct iovec *part,
                                      int max)
{
    int n = 0;
    size_t skip = vectors->skip;
    for (int i = 0; i < vectors->left && n < max && len > 0; i++) {
        uint64_t here = min_u64(vectors->iov[i].iov_len - skip, len);
        if (here > 0)
            part[n++] = (struct iovec){(char *)vectors->iov[i].iov_base + skip, (size_t)here};
        len -= here;
        skip = 0;
    }
    return n;
}

static inline void memfs_vectors_consume(struct memfs_vectors *vectors, uint64_t len)
{
    while (vectors->left > 0 && len >= vectors->iov->iov_len - vectors->skip) {
        len -= vectors->iov->iov_len - vectors->skip;
        vectors->iov++;
        vectors->left--;
        vectors->skip = 0;
    }
    if (vectors->left > 0)
        vectors->skip += (size_t)len;
}

#endif
