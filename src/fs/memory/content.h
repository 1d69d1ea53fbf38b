/*
 * The data of one regular file. The caller holds the file's lock: for reading in the functions that take a
 * const content, else for writing.
 *
 * Data moves between memfd and vectors by preadv and pwritev only: a vector may be guest memory that faults,
 * and then the answer is -EFAULT or a short count, never a signal.
 */
#ifndef ORIEL_FS_MEMORY_CONTENT_H
#define ORIEL_FS_MEMORY_CONTENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "fs/memory/page_set.h"
#include "fs/memory/pool.h"
#include "fs/memory/quota.h"

enum memfs_place {
    MEMFS_NOWHERE = 0, /* no page at all */
    MEMFS_SMALL,       /* a small region of the pool */
    MEMFS_LARGE,       /* a large region of the pool */
    MEMFS_OWN,         /* its own memfd, because it was mapped; stays so */
};

struct memfs_content {
    uint64_t size;
    uint64_t key;                /* of the pool */
    uint64_t base;               /* offset of the file's first byte in fd */
    struct memfs_page_set pages; /* not OWN */
    uint64_t charged; /* pages paid for; OWN: all up to the end, as stores to a mapping ask nobody */
    int fd;           /* of the pool, or our own */
    enum memfs_place place;
    bool preallocated; /* there may be pages that were never written */
};

/* What a content needs of its file system; uid: who pays. */
struct memfs_store {
    struct memfs_pool *pool;
    struct memfs_quota *quota;
    uint32_t uid;
};

void memfs_content_init(struct memfs_content *content, uint64_t key);
void memfs_content_destroy(struct memfs_content *content, const struct memfs_store *store);

/* Returns the count; short only at the end of the file or when a vector faults midway. -EFAULT, -EIO. */
ssize_t memfs_content_read(const struct memfs_content *content, const struct memfs_store *store,
                           const struct iovec *iov, int iovcnt, uint64_t offset);
/* Returns the count; short when the quota ends or a vector faults midway. -ENOSPC, -EDQUOT, -EFBIG, -EFAULT.
 */
ssize_t memfs_content_write(struct memfs_content *content, const struct memfs_store *store,
                            const struct iovec *iov, int iovcnt, uint64_t offset);

/* -EFBIG, -ENOSPC, -EDQUOT (the latter two: growing a file that is mapped). */
int memfs_content_resize(struct memfs_content *content, const struct memfs_store *store, uint64_t size);
/* Gives every page of [offset, offset + len) memory. -EFBIG, -ENOSPC, -EDQUOT. */
int memfs_content_allocate(struct memfs_content *content, const struct memfs_store *store, uint64_t offset,
                           uint64_t len, bool keep_size);
/* Makes [offset, offset + len) read as zeroes; whole pages lose their memory. */
int memfs_content_punch(struct memfs_content *content, const struct memfs_store *store, uint64_t offset,
                        uint64_t len);
/* whence: SEEK_DATA or SEEK_HOLE. -ENXIO: offset is at or past the end, or no data follows. */
int64_t memfs_content_seek(const struct memfs_content *content, uint64_t offset, int whence);

/* Copies within the kernel; the two may be the same. Returns the count, at most len; in_size was looked at.
 */
ssize_t memfs_content_copy(const struct memfs_content *in, uint64_t in_offset, struct memfs_content *out,
                           const struct memfs_store *out_store, uint64_t out_offset, uint64_t len);

/* Moves the data into a memfd of its own. -ENFILE, -ENOSPC, -EDQUOT. */
int memfs_content_own(struct memfs_content *content, const struct memfs_store *store);

/* Memory in units of 512 bytes. */
uint64_t memfs_content_blocks(const struct memfs_content *content);

#endif
