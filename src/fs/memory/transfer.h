/* Moves bytes into, out of and between memfds. Offsets are those of the memfd. */
#ifndef ORIEL_FS_MEMORY_TRANSFER_H
#define ORIEL_FS_MEMORY_TRANSFER_H

#include <stdint.h>
#include <sys/types.h>

#include "fs/memory/vectors.h"

/* Where written bytes come from: vectors, or a descriptor when vectors is NULL. */
struct transfer_source {
    struct memfs_vectors *vectors;
    int fd;
    uint64_t offset; /* moves on as bytes are taken */
};

/* Errors of all: -ENOSPC (also: no memory), -EFAULT, -EFBIG, -EIO. */

/* Return the count; short when a vector faults midway. Consume what was moved. */
ssize_t transfer_read(int fd, uint64_t offset, struct memfs_vectors *to, uint64_t len);
ssize_t transfer_write(int fd, uint64_t offset, struct memfs_vectors *from, uint64_t len);

/* Copies len bytes, or fewer after an error midway. */
ssize_t transfer_copy(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t len);
/* Copies all of [from, from + len) but leaves out holes. */
int transfer_copy_data(int from_fd, uint64_t from, int to_fd, uint64_t to, uint64_t len);

int transfer_punch(int fd, uint64_t offset, uint64_t len);
int transfer_allocate(int fd, uint64_t offset, uint64_t len);
int transfer_allocate_mode(int fd, uint64_t offset, uint64_t len, int mode);
int transfer_resize(int fd, uint64_t size);

#endif
