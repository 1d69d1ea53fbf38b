#include "dax/session.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "dax/claim.h"
#include "dax/drop.h"
#include "dax/picture.h"

#define GRANULE_MIN     UINT64_C(4096)
#define GRANULE_MAX     UINT64_C(65536)
#define GRANULE_DEFAULT UINT64_C(16384)
#define SHARDS_MAX      64

unsigned dax_shard(const struct oriel_dax *dax)
{
#if defined(__linux__)
    return (unsigned)sched_getcpu() & dax->shard_mask;
#else
    return (unsigned)((uintptr_t)pthread_self() >> 12) & dax->shard_mask;
#endif
}

static unsigned shard_count_for_host(void)
{
    long processors = sysconf(_SC_NPROCESSORS_CONF);
    unsigned count = 1;
    while (count < SHARDS_MAX && (long)count < processors)
        count *= 2;
    return count;
}

static int check_window(const struct oriel_dax_options *options, uint64_t granule)
{
    uint64_t end;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (!is_power_of_two(granule) || granule < GRANULE_MIN || granule > GRANULE_MAX || granule < page ||
        granule < options->mapper->min_granule)
        return -EINVAL;
    if (options->window_len == 0 || !is_aligned(options->window_gpa | options->window_len, granule) ||
        !checked_add_u64(options->window_gpa, options->window_len, &end) ||
        options->window_len / granule > BUDGET_UNITS_MASK)
        return -EINVAL;
    return 0;
}

static int check_options(const struct oriel_dax_options *options, uint64_t granule)
{
    if (options->size < sizeof(*options) || options->source == NULL || options->mapper == NULL)
        return -EINVAL;
    if (options->source->size < sizeof(struct oriel_dax_source) || options->source->acquire == NULL ||
        options->source->release == NULL)
        return -EINVAL;
    if (options->mapper->size < sizeof(struct oriel_dax_mapper) || options->mapper->map == NULL ||
        options->mapper->unmap == NULL)
        return -EINVAL;
    if (options->overlap != ORIEL_DAX_REPLACE && options->overlap != ORIEL_DAX_REJECT)
        return -EINVAL;
    return check_window(options, granule);
}

/* One reservation for all tables; the kernel gives pages to those parts that are written. */
static int reserve_tables(struct oriel_dax *dax)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), blocks = dax->block_count;
    uint64_t words = align_up(blocks * sizeof(uint64_t), page);
    uint64_t records = align_up(blocks * sizeof(struct record), page);
    uint64_t chunks = align_up((blocks >> CHUNK_SHIFT) + 1, page);
    uint64_t undo = align_up(blocks * sizeof(*dax->undo_of), page);
    dax->table_size = (size_t)(2 * words + 2 * records + chunks + undo);
    dax->table = mmap(NULL, dax->table_size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (dax->table == MAP_FAILED) {
        dax->table = NULL;
        return -ENOMEM;
    }
    char *at = dax->table;
    dax->words = (void *)at;
    dax->records[0] = (void *)(at + words);
    dax->records[1] = (void *)(at + words + records);
    dax->chunk_used = (void *)(at + words + 2 * records);
    dax->undo_of = (void *)(at + words + 2 * records + chunks);
    dax->kept_epoch = (void *)(at + words + 2 * records + chunks + undo);
    return 0;
}

static int init_counters(struct oriel_dax *dax, uint64_t cap_slots)
{
    unsigned shards = shard_count_for_host();
    uint64_t granules = min_u64(dax->cap_bytes, dax->window_len) >> dax->granule_shift;
    dax->shard_mask = shards - 1;
    dax->counters = aligned_alloc(64, shards * sizeof(struct counter_shard));
    if (dax->counters == NULL)
        return -ENOMEM;
    memset(dax->counters, 0, shards * sizeof(struct counter_shard));
    int err = budget_init(&dax->bytes, granules, shards);
    if (err != 0)
        return err;
    dax->limit_slots = cap_slots != 0 && cap_slots < granules;
    return dax->limit_slots ? budget_init(&dax->slots, cap_slots, shards) : 0;
}

static void free_session(struct oriel_dax *dax)
{
    budget_destroy(&dax->bytes);
    budget_destroy(&dax->slots);
    free(dax->counters);
    if (dax->table != NULL)
        munmap(dax->table, dax->table_size);
    pthread_mutex_destroy(&dax->maintenance);
    free(dax);
}

int oriel_dax_create(const struct oriel_dax_options *options, struct oriel_dax **out)
{
    uint64_t granule = options->granule != 0 ? options->granule : GRANULE_DEFAULT;
    int err = check_options(options, granule);
    if (err != 0)
        return err;
    struct oriel_dax *dax = aligned_alloc(64, align_up(sizeof(*dax), 64));
    if (dax == NULL)
        return -ENOMEM;
    memset(dax, 0, sizeof(*dax));
    dax->window_gpa = options->window_gpa;
    dax->window_len = options->window_len;
    dax->granule = granule;
    dax->granule_shift = (unsigned)__builtin_ctzll(granule);
    dax->host_page = (uint64_t)sysconf(_SC_PAGESIZE);
    dax->block_count = (dax->window_len + BLOCK_SIZE - 1) >> BLOCK_SHIFT;
    dax->cap_bytes = options->cap_bytes != 0 ? options->cap_bytes : options->window_len;
    dax->overlap = options->overlap;
    dax->read_only = options->read_only;
    dax->source = *options->source;
    dax->mapper = *options->mapper;
    dax->trace = options->trace;
    pthread_mutex_init(&dax->maintenance, NULL);
    err = reserve_tables(dax);
    if (err == 0)
        err = init_counters(dax, options->cap_slots);
    if (err != 0) {
        free_session(dax);
        return err;
    }
    *out = dax;
    return 0;
}

void oriel_dax_destroy(struct oriel_dax *dax)
{
    if (dax == NULL)
        return;
    (void)dax_unmap_all(dax);
    dax_forget_all(dax, true, 0, 0);
    picture_cleanup(dax);
    free_session(dax);
}

unsigned oriel_dax_granule_shift(const struct oriel_dax *dax)
{
    return dax->granule_shift;
}

uint64_t oriel_dax_window_gpa(const struct oriel_dax *dax)
{
    return dax->window_gpa;
}

uint64_t oriel_dax_window_len(const struct oriel_dax *dax)
{
    return dax->window_len;
}
