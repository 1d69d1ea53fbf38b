#include "fs/memory/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/checked.h"

/* Lower half: small regions. Upper half: large ones, of which the first stays empty for zeroes. */
#define LARGE_START  (UINT64_C(1) << 62)
#define SMALL_LIMIT  UINT32_MAX
#define LARGE_LIMIT  ((uint32_t)(LARGE_START / MEMFS_LARGE_REGION) - 1)
#define ADDRESS_SIZE ((INT64_MAX >> 12) << 12)

/* File data must not end up in a program that a guest could make us run, hence no exec; unknown before Linux
 * 6.3. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static int make_memfd(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_file(struct memfs_pool_file *file)
{
    file->fd = make_memfd("oriel-memory");
    if (file->fd < 0)
        return file->fd;
    if (ftruncate(file->fd, ADDRESS_SIZE) != 0) {
        int error = -errno;
        close(file->fd);
        return error;
    }
    pthread_mutex_init(&file->lock, NULL);
    file->small = (struct memfs_region_list){.region_len = MEMFS_SMALL_REGION, .limit = SMALL_LIMIT};
    file->large = (struct memfs_region_list){
        .base = LARGE_START, .region_len = MEMFS_LARGE_REGION, .next = 1, .limit = LARGE_LIMIT};
    return 0;
}

static void close_file(struct memfs_pool_file *file)
{
    close(file->fd);
    pthread_mutex_destroy(&file->lock);
    free(file->small.free);
    free(file->large.free);
}

int memfs_pool_init(struct memfs_pool *pool, uint64_t own_max)
{
    /* Under a file size limit the first write at a high offset would kill the process with SIGXFSZ. */
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        return -EFBIG;
    *pool = (struct memfs_pool){.own_max = own_max};
    for (size_t i = 0; i < MEMFS_POOL_FILES; i++) {
        int error = open_file(&pool->files[i]);
        if (error != 0) {
            while (i-- > 0)
                close_file(&pool->files[i]);
            return error;
        }
    }
    return 0;
}

void memfs_pool_destroy(struct memfs_pool *pool)
{
    for (size_t i = 0; i < MEMFS_POOL_FILES; i++)
        close_file(&pool->files[i]);
}

static struct memfs_region_list *list_of(struct memfs_pool_file *file, uint64_t region_len)
{
    return region_len == MEMFS_SMALL_REGION ? &file->small : &file->large;
}

/* Giving back must never fail, so the room for it is made here. */
static int reserve_free_place(struct memfs_region_list *list)
{
    if (list->next < list->free_capacity)
        return 0;
    uint32_t capacity = list->free_capacity == 0 ? 64 : list->free_capacity * 2;
    if (capacity <= list->free_capacity)
        return -ENOSPC;
    uint32_t *places = realloc(list->free, capacity * sizeof(*places));
    if (places == NULL)
        return -ENOSPC;
    list->free = places;
    list->free_capacity = capacity;
    return 0;
}

static int list_take(struct memfs_region_list *list, uint64_t *base)
{
    uint32_t index;
    if (list->free_count > 0) {
        index = list->free[--list->free_count];
    } else {
        if (list->next >= list->limit)
            return -ENOSPC;
        int error = reserve_free_place(list);
        if (error != 0)
            return error;
        index = list->next++;
    }
    *base = list->base + index * list->region_len;
    return 0;
}

int memfs_pool_take(struct memfs_pool *pool, uint64_t key, uint64_t region_len, int *fd, uint64_t *base)
{
    struct memfs_pool_file *file = &pool->files[key % MEMFS_POOL_FILES];
    pthread_mutex_lock(&file->lock);
    int error = list_take(list_of(file, region_len), base);
    pthread_mutex_unlock(&file->lock);
    *fd = file->fd;
    return error;
}

void memfs_pool_give(struct memfs_pool *pool, uint64_t key, uint64_t region_len, uint64_t base)
{
    struct memfs_pool_file *file = &pool->files[key % MEMFS_POOL_FILES];
    pthread_mutex_lock(&file->lock);
    struct memfs_region_list *list = list_of(file, region_len);
    list->free[list->free_count++] = (uint32_t)((base - list->base) / list->region_len);
    pthread_mutex_unlock(&file->lock);
}

void memfs_pool_zeroes(const struct memfs_pool *pool, uint64_t key, int *fd, uint64_t *base)
{
    *fd = pool->files[key % MEMFS_POOL_FILES].fd;
    *base = LARGE_START;
}

int memfs_pool_own_open(struct memfs_pool *pool)
{
    if (atomic_fetch_add_explicit(&pool->own_count, 1, memory_order_relaxed) < pool->own_max) {
        int fd = make_memfd("oriel-mapped");
        if (fd >= 0)
            return fd;
        atomic_fetch_sub_explicit(&pool->own_count, 1, memory_order_relaxed);
        return fd == -ENOMEM ? -ENOSPC : -ENFILE;
    }
    atomic_fetch_sub_explicit(&pool->own_count, 1, memory_order_relaxed);
    return -ENFILE;
}

void memfs_pool_own_close(struct memfs_pool *pool, int fd)
{
    close(fd);
    atomic_fetch_sub_explicit(&pool->own_count, 1, memory_order_relaxed);
}
