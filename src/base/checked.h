/* Checked arithmetic for numbers that come from a guest, a front-end or a file. */
#ifndef ORIEL_BASE_CHECKED_H
#define ORIEL_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False when the result does not fit; *sum is then unspecified. */
static inline bool checked_add_u64(uint64_t a, uint64_t b, uint64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static inline bool checked_mul_u64(uint64_t a, uint64_t b, uint64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

/* True when [start, start + len) lies inside [0, limit); an empty range is inside up to and including limit.
 */
static inline bool range_within(uint64_t start, uint64_t len, uint64_t limit)
{
    return len <= limit && start <= limit - len;
}

/* True when [a, a + alen) and [b, b + blen) share a byte. Both ranges must not wrap. */
static inline bool ranges_overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
    return alen != 0 && blen != 0 && a < b + blen && b < a + alen;
}

static inline bool is_power_of_two(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

/* alignment is a power of two. */
static inline bool is_aligned(uint64_t v, uint64_t alignment)
{
    return (v & (alignment - 1)) == 0;
}

static inline uint64_t align_down(uint64_t v, uint64_t alignment)
{
    return v & ~(alignment - 1);
}

/* The caller knows that the result fits. */
static inline uint64_t align_up(uint64_t v, uint64_t alignment)
{
    return (v + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
