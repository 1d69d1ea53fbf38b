/*
 * Where file data lives: a few memfds, each a large sparse address space that files get regions of.
 *
 * A descriptor per file would run into RLIMIT_NOFILE with some thousand files. A memfd's offsets go to 2^63
 * and only pages that were written have memory, so any number of files fits into one: a small file gets 256
 * KiB of offsets (just what one node of the kernel's page tree holds, so small files are packed tight), a
 * larger one 1 TiB. Several memfds, because the kernel lets one writer at a time into each.
 *
 * A file that is mapped gets a memfd of its own: what the mapper hands to a hypervisor must show one file
 * only, and must end where the file ends. Those are bounded by own_max.
 */
#ifndef ORIEL_FS_MEMORY_POOL_H
#define ORIEL_FS_MEMORY_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MEMFS_POOL_FILES   8
#define MEMFS_SMALL_REGION (UINT64_C(1) << 18)
#define MEMFS_LARGE_REGION (UINT64_C(1) << 40) /* also the largest file there can be */

struct memfs_region_list {
    uint64_t base, region_len;
    uint32_t next, limit; /* regions below next were given out at some time */
    uint32_t *free;       /* those that came back; room for all that were given out */
    uint32_t free_count, free_capacity;
};

struct memfs_pool_file {
    int fd;
    pthread_mutex_t lock; /* of the lists */
    struct memfs_region_list small, large;
};

struct memfs_pool {
    struct memfs_pool_file files[MEMFS_POOL_FILES];
    uint64_t own_max;
    _Atomic uint64_t own_count;
};

/* Errors: -ENOMEM, -EMFILE, -ENFILE, -EFBIG (RLIMIT_FSIZE is set). */
int memfs_pool_init(struct memfs_pool *pool, uint64_t own_max);
void memfs_pool_destroy(struct memfs_pool *pool);

/* A region that reads as zeroes. `key` spreads files over the memfds. -ENOSPC. */
int memfs_pool_take(struct memfs_pool *pool, uint64_t key, uint64_t region_len, int *fd, uint64_t *base);
/* The region must have been emptied. */
void memfs_pool_give(struct memfs_pool *pool, uint64_t key, uint64_t region_len, uint64_t base);

/* Where reading gives zeroes for MEMFS_LARGE_REGION bytes: for files without pages. */
void memfs_pool_zeroes(const struct memfs_pool *pool, uint64_t key, int *fd, uint64_t *base);

/* A memfd for one file. -ENFILE: own_max are in use, or the process is out of descriptors; -ENOSPC. */
int memfs_pool_own_open(struct memfs_pool *pool);
void memfs_pool_own_close(struct memfs_pool *pool, int fd);

#endif
