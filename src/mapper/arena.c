/* The arena: one reservation of address space whose pages are exchanged under the hypervisor's region. */
#include <oriel/mapper.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <oriel/dax.h>

#include "base/checked.h"
#include "mapper/arena.h"

#define LARGE_PAGE (UINT64_C(2) << 20)

static int reserve(void *at, size_t len, int flags)
{
    void *got = mmap(at, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
    return got == MAP_FAILED ? -errno : 0;
}

/*
 * Newer kernels put the old mapping back when a replacement fails late; older ones leave a hole, which must
 * not stay: the next mmap() of anybody in the process would land in the guest's window.
 */
static enum oriel_range_left repair(struct oriel_arena *arena, char *at, size_t len)
{
    if (msync(at, len, MS_ASYNC) == 0 || errno != ENOMEM)
        return ORIEL_RANGE_KEPT;
    int err = reserve(at, len, MAP_FIXED);
    ORIEL_TRACE(arena->trace, "arena hole at %p len=%#zx closed: %d", (void *)at, len, err);
    return ORIEL_RANGE_LOST;
}

static int error_of_mmap(int err)
{
    switch (err) {
    case ENOMEM:
    case EAGAIN:
    case ENFILE:
        return -ENOSPC;
    case EACCES:
    case EPERM:
        return -EACCES;
    case ENODEV:
        return -ENODEV;
    default:
        return -EIO;
    }
}

static int arena_map(void *opaque, uint64_t offset, int fd, uint64_t file_offset, uint64_t len, uint32_t prot,
                     enum oriel_range_left *left)
{
    struct oriel_arena *arena = opaque;
    char *at = arena->base + offset;
    int rights = PROT_READ | (prot & ORIEL_DAX_WRITE ? PROT_WRITE : 0);
    *left = ORIEL_RANGE_KEPT;
    if (!map_count_allows(&arena->map_count, false))
        return -ENOSPC;
    if (mmap(at, len, rights, arena->map_flags, fd, (off_t)file_offset) != MAP_FAILED) {
        map_count_done(&arena->map_count, offset, len, false);
        return 0;
    }
    int err = errno;
    *left = repair(arena, at, len);
    return error_of_mmap(err);
}

static int arena_unmap(void *opaque, uint64_t offset, uint64_t len, enum oriel_range_left *left)
{
    struct oriel_arena *arena = opaque;
    *left = ORIEL_RANGE_KEPT;
    if (!map_count_allows(&arena->map_count, true))
        return -ENOSPC;
    int err = reserve(arena->base + offset, len, MAP_FIXED);
    if (err == 0) {
        map_count_done(&arena->map_count, offset, len, true);
        return 0;
    }
    *left = repair(arena, arena->base + offset, len);
    return err == -ENOMEM ? -ENOSPC : -EIO;
}

/* Reserves the window, congruent with its guest address modulo a large page. */
static int reserve_window(struct oriel_arena *arena, uint64_t window_gpa)
{
    uint64_t total;
    if (!checked_add_u64(arena->window_len, LARGE_PAGE, &total) || total > SIZE_MAX)
        return -ENOMEM;
    char *start = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED)
        return -ENOMEM;
    uint64_t skew = (window_gpa - (uintptr_t)start) & (LARGE_PAGE - 1);
    arena->reservation = start;
    arena->reservation_len = total;
    arena->base = start + skew;
    /* Core dumps and forks have no business with the guest's files. */
    madvise(start, total, MADV_DONTDUMP);
    madvise(start, total, MADV_DONTFORK);
    return 0;
}

int oriel_arena_create(const struct oriel_arena_options *options, struct oriel_arena **out)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end;
    if (options->size < sizeof(*options) || options->window_len == 0 ||
        !is_aligned(options->window_gpa | options->window_len, page) ||
        !checked_add_u64(options->window_gpa, options->window_len, &end))
        return -EINVAL;
    struct oriel_arena *arena = calloc(1, sizeof(*arena));
    if (arena == NULL)
        return -ENOMEM;
    arena->window_len = options->window_len;
    arena->map_flags = MAP_SHARED | MAP_FIXED | (options->prefault ? MAP_POPULATE : 0);
    arena->trace = options->trace;
    int err = map_count_init(&arena->map_count, arena->window_len, options->cap_mappings);
    if (err == 0 && (err = reserve_window(arena, options->window_gpa)) != 0)
        map_count_destroy(&arena->map_count);
    if (err != 0) {
        free(arena);
        return err;
    }
    arena->mapper = (struct oriel_dax_mapper){
        .size = sizeof(arena->mapper),
        .opaque = arena,
        .map = arena_map,
        .unmap = arena_unmap,
        .host_base = arena->base,
        .min_granule = page,
    };
    *out = arena;
    return 0;
}

void oriel_arena_destroy(struct oriel_arena *arena)
{
    if (arena == NULL)
        return;
    munmap(arena->reservation, arena->reservation_len);
    map_count_destroy(&arena->map_count);
    free(arena);
}

void *oriel_arena_base(const struct oriel_arena *arena)
{
    return arena->base;
}

int arena_arm(struct oriel_arena *arena, uint64_t offset, uint64_t len)
{
    void *at = arena->base + offset;
    if (!map_count_allows(&arena->map_count, false))
        return -ENOSPC;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    if (mmap(at, len, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) {
        return errno == ENOMEM ? -ENOSPC : -EIO;
    }
    map_count_done(&arena->map_count, offset, len, false);
    return 0;
}

int arena_disarm(struct oriel_arena *arena, uint64_t offset, uint64_t len)
{
    enum oriel_range_left left;
    return arena_unmap(arena, offset, len, &left);
}

const struct oriel_dax_mapper *oriel_arena_mapper(struct oriel_arena *arena)
{
    return &arena->mapper;
}
