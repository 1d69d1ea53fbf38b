#include "microvm/window_meter.h"

#include <errno.h>
#include <stdlib.h>

#include "base/checked.h"

#define BITS 64

/* The bits of word `word` that lie in [first, end). */
static uint64_t mask_of(uint64_t word, uint64_t first, uint64_t end)
{
    uint64_t from = max_u64(first, word * BITS) - word * BITS;
    uint64_t to = min_u64(end, (word + 1) * BITS) - word * BITS;
    return (to - from == BITS ? UINT64_MAX : (UINT64_C(1) << (to - from)) - 1) << from;
}

static void raise_peak(struct window_meter *meter, uint64_t bytes)
{
    uint64_t peak = atomic_load_explicit(&meter->bytes_peak, memory_order_relaxed);
    while (bytes > peak && !atomic_compare_exchange_weak_explicit(&meter->bytes_peak, &peak, bytes,
                                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* The session never works on overlapping ranges at once, so only words at the edges are shared between
 * threads. */
static void mark(struct window_meter *meter, uint64_t offset, uint64_t len, bool shown)
{
    uint64_t first = offset / meter->granule, end = (offset + len) / meter->granule, changed = 0;
    for (uint64_t word = first / BITS; word * BITS < end; word++) {
        uint64_t mask = mask_of(word, first, end);
        uint64_t before = shown ? __atomic_fetch_or(&meter->shown[word], mask, __ATOMIC_RELAXED)
                                : __atomic_fetch_and(&meter->shown[word], ~mask, __ATOMIC_RELAXED);
        changed += (uint64_t)__builtin_popcountll(mask & (shown ? ~before : before));
    }
    uint64_t bytes = changed * meter->granule;
    if (shown)
        raise_peak(meter, atomic_fetch_add_explicit(&meter->bytes_now, bytes, memory_order_relaxed) + bytes);
    else
        atomic_fetch_sub_explicit(&meter->bytes_now, bytes, memory_order_relaxed);
}

static int meter_map(void *opaque, uint64_t offset, int fd, uint64_t file_offset, uint64_t len, uint32_t prot,
                     enum oriel_range_left *left)
{
    struct window_meter *meter = opaque;
    int err = meter->next->map(meter->next->opaque, offset, fd, file_offset, len, prot, left);
    if (err == 0) {
        atomic_fetch_add_explicit(&meter->bytes_total, len, memory_order_relaxed);
        mark(meter, offset, len, true);
    } else if (*left == ORIEL_RANGE_LOST) {
        mark(meter, offset, len, false);
    }
    return err;
}

static int meter_unmap(void *opaque, uint64_t offset, uint64_t len, enum oriel_range_left *left)
{
    struct window_meter *meter = opaque;
    int err = meter->next->unmap(meter->next->opaque, offset, len, left);
    if (err == 0 || *left == ORIEL_RANGE_LOST)
        mark(meter, offset, len, false);
    return err;
}

int window_meter_init(struct window_meter *meter, const struct oriel_dax_mapper *next, uint64_t window_len)
{
    *meter = (struct window_meter){.mapper = *next, .next = next, .granule = next->min_granule};
    meter->mapper.opaque = meter;
    meter->mapper.map = meter_map;
    meter->mapper.unmap = meter_unmap;
    meter->words = (size_t)(window_len / meter->granule / BITS + 1);
    meter->shown = calloc(meter->words, sizeof(meter->shown[0]));
    return meter->shown == NULL ? -ENOMEM : 0;
}

void window_meter_destroy(struct window_meter *meter)
{
    free(meter->shown);
    meter->shown = NULL;
}
