/* Claims: the right to change blocks of the window. */
#ifndef ORIEL_DAX_CLAIM_H
#define ORIEL_DAX_CLAIM_H

#include "dax/session.h"

/* The blocks [first, last] and, where a slot reaches over the end of the range, the first block after it. */
struct claim {
    uint64_t first, last;
    uint64_t start, end; /* the range, bytes of the window */
    bool tail;           /* block last + 1 is claimed too: its CONT is to be cut */
};

/* Claims every block of the non-empty range [start, end), in rising order, waiting where others are at work.
 */
void claim_range(struct oriel_dax *dax, uint64_t start, uint64_t end, struct claim *claim);

/* Gives all back with nothing changed. */
void claim_release(struct oriel_dax *dax, const struct claim *claim);

/* Claims one block as the first of an operation, or as a further one (higher than all that are held). */
void claim_first(struct oriel_dax *dax, uint64_t block);
void claim_further(struct oriel_dax *dax, uint64_t block);

/* Claims one block as the first if its word is still `seen` (not claimed) and the gate is open. */
bool claim_try(struct oriel_dax *dax, uint64_t block, uint64_t seen);

/* Ends the claim of one block with this word (CLAIMED and WAITERS are ignored in it) and wakes who waits. */
void claim_end(struct oriel_dax *dax, uint64_t block, uint64_t word);

/*
 * The word of a block that the caller has claimed: nobody else changes more than WAITERS in it.
 */
static inline uint64_t claimed_word(struct oriel_dax *dax, uint64_t block)
{
    return atomic_load_explicit(&dax->words[block], memory_order_relaxed);
}

/* Keeps everybody from claiming and waits until no claim is left; the caller has the maintenance lock. */
void gate_close(struct oriel_dax *dax);
void gate_open(struct oriel_dax *dax);

#endif
