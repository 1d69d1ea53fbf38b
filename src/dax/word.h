/*
 * The state word of one 2 MiB block of the window: who may change the block, what it shows, and how often
 * that has changed. One 64-bit atomic; all that a fault on a bound slot needs to read.
 *
 *   bit   0      CLAIMED     a thread is changing the block; everybody else waits until it is done
 *   bit   1      WAITERS     somebody sleeps on the word: wake all when the claim ends
 *   bit   2      VERSION     which of the two records of the block is the valid one (kind ONE and FINE)
 *   bits  3-4    kind        NONE, ONE (a single piece, described here and in the record), FINE (an array)
 *   bit   5      BOUND       kind ONE: the mapper shows the piece
 *   bit   6      WRITE       kind ONE: READ | WRITE, else READ
 *   bit   7      CONT        the first piece goes on where the last piece of the block before ended: one slot
 *   bits  8-16   offset      kind ONE: start of the piece in the block, in granules
 *   bits 17-25   length - 1  kind ONE: in granules
 *   bit  27      COMMIT      a change of several blocks is being published: not a moment to look
 *   bits 28-63   generation  counts the changes of what the block shows
 */
#ifndef ORIEL_DAX_WORD_H
#define ORIEL_DAX_WORD_H

#include <stdbool.h>
#include <stdint.h>

#define BLOCK_SHIFT 21
#define BLOCK_SIZE  (UINT64_C(1) << BLOCK_SHIFT)

#define WORD_CLAIMED        (UINT64_C(1) << 0)
#define WORD_WAITERS        (UINT64_C(1) << 1)
#define WORD_VERSION        (UINT64_C(1) << 2)
#define WORD_KIND           (UINT64_C(3) << 3)
#define WORD_NONE           (UINT64_C(0) << 3)
#define WORD_ONE            (UINT64_C(1) << 3)
#define WORD_FINE           (UINT64_C(2) << 3)
#define WORD_BOUND          (UINT64_C(1) << 5)
#define WORD_WRITE          (UINT64_C(1) << 6)
#define WORD_CONT           (UINT64_C(1) << 7)
#define WORD_COMMIT         (UINT64_C(1) << 27)
#define WORD_GENERATION     (~UINT64_C(0) << 28)
#define WORD_GENERATION_ONE (UINT64_C(1) << 28)

#define WORD_OFFSET_SHIFT 8
#define WORD_LENGTH_SHIFT 17
#define WORD_FIELD_MASK   UINT64_C(0x1ff)

static inline uint64_t word_kind(uint64_t word)
{
    return word & WORD_KIND;
}

static inline uint64_t word_offset(uint64_t word, unsigned granule_shift)
{
    return ((word >> WORD_OFFSET_SHIFT) & WORD_FIELD_MASK) << granule_shift;
}

static inline uint64_t word_length(uint64_t word, unsigned granule_shift)
{
    return (((word >> WORD_LENGTH_SHIFT) & WORD_FIELD_MASK) + 1) << granule_shift;
}

static inline uint64_t word_extent(uint64_t offset, uint64_t length, unsigned granule_shift)
{
    return (offset >> granule_shift) << WORD_OFFSET_SHIFT | ((length >> granule_shift) - 1)
                                                                << WORD_LENGTH_SHIFT;
}

/* What stays true of a word while others queue up for it or bind what it shows. */
static inline bool word_same_content(uint64_t a, uint64_t b)
{
    return ((a ^ b) & ~(WORD_CLAIMED | WORD_WAITERS | WORD_BOUND)) == 0;
}

#endif
