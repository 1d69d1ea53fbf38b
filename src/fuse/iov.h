/* Walks over vectors of guest memory. */
#ifndef ORIEL_FUSE_IOV_H
#define ORIEL_FUSE_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/* What the kernel takes in one preadv() or pwritev(). */
#define IOV_BATCH 1024

struct iov_cursor {
    const struct iovec *iov; /* the vector that holds the next byte */
    size_t count;            /* vectors from there on */
    size_t skip;             /* bytes of iov[0] that are behind */
    size_t left;             /* bytes to the end */
    bool guarded;            /* touching the memory may fault: copy by system calls only */
};

/* False: the lengths add up to more than SSIZE_MAX. */
bool iov_cursor_init(struct iov_cursor *cursor, const struct iovec *iov, size_t count, bool guarded);

/* Copies the next n bytes and moves past them. n <= left. 0, or -EFAULT (the cursor is then spent). */
int iov_pull(struct iov_cursor *cursor, void *data, size_t n);
int iov_push(struct iov_cursor *cursor, const void *data, size_t n);

/* Moves past the next n <= left bytes. */
void iov_skip(struct iov_cursor *cursor, size_t n);

/*
 * Gives vectors for the next bytes, in place: as many as IOV_BATCH vectors hold, at most n, and moves past
 * them. *out points into the walked vectors where they fit as they are, else into scratch (IOV_BATCH
 * entries). Returns the number of vectors; *bytes is their sum.
 */
int iov_slice(struct iov_cursor *cursor, size_t n, struct iovec *scratch, const struct iovec **out,
              size_t *bytes);

#endif
