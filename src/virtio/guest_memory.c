#include <oriel/guest_memory.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "virtio/memory_region.h"

#define MAX_REGIONS 4096

struct oriel_memory {
    atomic_uint references;
    void (*released)(void *opaque);
    void *released_opaque;
    size_t count;
    struct oriel_memory_region regions[]; /* sorted by gpa, disjoint */
};

static int by_gpa(const void *a, const void *b)
{
    const struct oriel_memory_region *left = a, *right = b;
    return left->gpa < right->gpa ? -1 : left->gpa > right->gpa;
}

/* Sorted regions: each is not empty, does not wrap, and ends before the next begins. */
static bool regions_are_sound(const struct oriel_memory_region *regions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t last;
        if (regions[i].len == 0 || regions[i].host == NULL ||
            !checked_add_u64(regions[i].gpa, regions[i].len - 1, &last))
            return false;
        if (i + 1 < count && last >= regions[i + 1].gpa)
            return false;
    }
    return true;
}

int oriel_memory_create(const struct oriel_memory_region *regions, size_t count, struct oriel_memory **out)
{
    if (out == NULL || (regions == NULL && count != 0))
        return -EINVAL;
    if (count > MAX_REGIONS)
        return -E2BIG;
    struct oriel_memory *memory = malloc(sizeof(*memory) + count * sizeof(memory->regions[0]));
    if (memory == NULL)
        return -ENOMEM;
    atomic_init(&memory->references, 1);
    memory->released = NULL;
    memory->released_opaque = NULL;
    memory->count = count;
    if (count != 0) {
        memcpy(memory->regions, regions, count * sizeof(memory->regions[0]));
        qsort(memory->regions, count, sizeof(memory->regions[0]), by_gpa);
    }
    if (!regions_are_sound(memory->regions, count)) {
        free(memory);
        return -EINVAL;
    }
    *out = memory;
    return 0;
}

void oriel_memory_on_release(struct oriel_memory *memory, void (*released)(void *opaque), void *opaque)
{
    memory->released = released;
    memory->released_opaque = opaque;
}

struct oriel_memory *oriel_memory_ref(struct oriel_memory *memory)
{
    if (memory != NULL)
        atomic_fetch_add_explicit(&memory->references, 1, memory_order_relaxed);
    return memory;
}

void oriel_memory_unref(struct oriel_memory *memory)
{
    if (memory == NULL)
        return;
    /* acq_rel: what others did with the map happened before it is freed. */
    if (atomic_fetch_sub_explicit(&memory->references, 1, memory_order_acq_rel) != 1)
        return;
    if (memory->released != NULL)
        memory->released(memory->released_opaque);
    free(memory);
}

/* The region that holds gpa, or NULL. */
static const struct oriel_memory_region *find_region(const struct oriel_memory *memory, uint64_t gpa)
{
    size_t low = 0, high = memory != NULL ? memory->count : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct oriel_memory_region *region = &memory->regions[middle];
        if (gpa < region->gpa)
            high = middle;
        else if (gpa - region->gpa >= region->len)
            low = middle + 1;
        else
            return region;
    }
    return NULL;
}

const struct oriel_memory_region *memory_ordinary_region(const struct oriel_memory *memory, uint64_t gpa)
{
    const struct oriel_memory_region *region = find_region(memory, gpa);
    return region == NULL || region->guarded || region->prepare != NULL ? NULL : region;
}

/* Translates what of [gpa, gpa + len) lies in one region; *taken says how much that is. */
static int translate_piece(const struct oriel_memory_region *region, uint64_t gpa, uint64_t len,
                           uint32_t access, struct iovec *piece, bool *guarded)
{
    uint64_t inside = gpa - region->gpa;
    uint64_t taken = min_u64(len, region->len - inside);
    if (region->prepare != NULL && region->prepare(region->opaque, gpa, taken, access) != 0)
        return -EFAULT;
    if (region->guarded)
        *guarded = true;
    piece->iov_base = (char *)region->host + inside;
    piece->iov_len = taken;
    return 0;
}

static bool continues(const struct iovec *before, const struct iovec *piece)
{
    return (char *)before->iov_base + before->iov_len == piece->iov_base;
}

int oriel_memory_translate(const struct oriel_memory *memory, uint64_t gpa, uint64_t len, uint32_t access,
                           struct iovec *iov, size_t max, bool *guarded)
{
    int count = 0;
    uint64_t last;
    if (len == 0)
        return 0;
    if (!checked_add_u64(gpa, len - 1, &last))
        return -EFAULT;
    for (;;) {
        const struct oriel_memory_region *region = find_region(memory, gpa);
        struct iovec piece;
        if (region == NULL)
            return -EFAULT;
        int r = translate_piece(region, gpa, len, access, &piece, guarded);
        if (r != 0)
            return r;
        if (count > 0 && continues(&iov[count - 1], &piece)) {
            iov[count - 1].iov_len += piece.iov_len;
        } else {
            if ((size_t)count == max)
                return -ENOBUFS;
            iov[count++] = piece;
        }
        len -= piece.iov_len;
        if (len == 0)
            return count;
        gpa += piece.iov_len;
    }
}

void *oriel_memory_at(const struct oriel_memory *memory, uint64_t gpa, uint64_t len, uint64_t alignment)
{
    assert(is_power_of_two(alignment));
    const struct oriel_memory_region *region = memory_ordinary_region(memory, gpa);
    if (region == NULL || !memory_region_holds(region, gpa, len))
        return NULL;
    char *host = (char *)region->host + (gpa - region->gpa);
    return is_aligned((uintptr_t)host, alignment) ? host : NULL;
}

bool oriel_memory_gpa_of(const struct oriel_memory *memory, const void *host, uint64_t *gpa, uint64_t *len)
{
    for (size_t i = 0; i < memory->count; i++) {
        const struct oriel_memory_region *region = &memory->regions[i];
        uint64_t inside = (uint64_t)((uintptr_t)host - (uintptr_t)region->host); /* wraps below the region */
        if (inside < region->len) {
            *gpa = region->gpa + inside;
            *len = region->len - inside;
            return true;
        }
    }
    return false;
}
