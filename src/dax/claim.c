#include "dax/claim.h"

#include <assert.h>

#include "dax/wait.h"

/* A mapping takes two microseconds, sleeping and waking forty: look a few times before going to sleep. */
#define LOOKS_BEFORE_SLEEP 32

static void wait_for_gate(struct oriel_dax *dax)
{
    uint64_t phase;
    while ((phase = atomic_load(&dax->phase)) & PHASE_GATE)
        wait_while(&dax->phase, phase);
}

static bool settles_soon(_Atomic uint64_t *word)
{
    for (int i = 0; i < LOOKS_BEFORE_SLEEP; i++) {
        if (!(atomic_load_explicit(word, memory_order_relaxed) & WORD_CLAIMED))
            return true;
        wait_pause();
    }
    return false;
}

/*
 * Sleeps until the claim that is in `seen` ends. A first claimer must not sleep here once the gate is closed:
 * who has the gate writes words without looking for waiters.
 */
static void wait_for_block(struct oriel_dax *dax, _Atomic uint64_t *word, uint64_t seen, bool first)
{
    if (settles_soon(word))
        return;
    dax_count(dax, COUNT_WAITS, 1);
    if (!(seen & WORD_WAITERS) && !atomic_compare_exchange_strong(word, &seen, seen | WORD_WAITERS))
        return;
    if (first && (atomic_load(&dax->phase) & PHASE_GATE))
        return;
    wait_while(word, seen | WORD_WAITERS);
}

/*
 * Before the claim, so that who closes the gate either finds the flag or has closed it in time for us to see.
 */
static void mark_chunk_used(struct oriel_dax *dax, uint64_t block)
{
    _Atomic uint8_t *used = &dax->chunk_used[block >> CHUNK_SHIFT];
    if (__builtin_expect(!atomic_load_explicit(used, memory_order_relaxed), 0))
        atomic_store(used, 1);
}

static bool try_claim(_Atomic uint64_t *word, uint64_t *seen)
{
    *seen = atomic_load_explicit(word, memory_order_relaxed);
    return !(*seen & WORD_CLAIMED) && atomic_compare_exchange_strong(word, seen, *seen | WORD_CLAIMED);
}

/* The gate closed before we had the claim: undo it, unless the word was rewritten meanwhile. */
static void back_off(_Atomic uint64_t *word, uint64_t claimed)
{
    uint64_t expected = claimed;
    if (atomic_compare_exchange_strong(word, &expected, claimed & ~WORD_CLAIMED))
        return;
    if (expected == (claimed | WORD_WAITERS)) {
        if (atomic_compare_exchange_strong(word, &expected, claimed & ~WORD_CLAIMED))
            wake_all(word);
    }
}

/*
 * After a claim was won: the gate has been open all the time since `before` was read. If it was closed and opened
 * again, the word may have been rewritten under our claim, which then is none.
 */
static inline bool gate_stayed_open(struct oriel_dax *dax, uint64_t before)
{
    return __builtin_expect(((atomic_load(&dax->phase) ^ before) & ~PHASE_SAVING) == 0, 1);
}

void claim_first(struct oriel_dax *dax, uint64_t block)
{
    _Atomic uint64_t *word = &dax->words[block];
    mark_chunk_used(dax, block);
    for (;;) {
        uint64_t seen, phase = atomic_load(&dax->phase);
        if (phase & PHASE_GATE) {
            wait_for_gate(dax);
            continue;
        }
        if (!try_claim(word, &seen)) {
            if (seen & WORD_CLAIMED)
                wait_for_block(dax, word, seen, true);
            continue;
        }
        if (gate_stayed_open(dax, phase))
            return;
        back_off(word, seen | WORD_CLAIMED);
    }
}

bool claim_try(struct oriel_dax *dax, uint64_t block, uint64_t seen)
{
    uint64_t phase = atomic_load(&dax->phase);
    mark_chunk_used(dax, block);
    if ((phase & PHASE_GATE) ||
        !atomic_compare_exchange_strong(&dax->words[block], &seen, seen | WORD_CLAIMED))
        return false;
    if (gate_stayed_open(dax, phase))
        return true;
    back_off(&dax->words[block], seen | WORD_CLAIMED);
    return false;
}

void claim_further(struct oriel_dax *dax, uint64_t block)
{
    _Atomic uint64_t *word = &dax->words[block];
    uint64_t seen;
    mark_chunk_used(dax, block);
    while (!try_claim(word, &seen)) {
        if (seen & WORD_CLAIMED)
            wait_for_block(dax, word, seen, false);
    }
}

void claim_end(struct oriel_dax *dax, uint64_t block, uint64_t word)
{
    uint64_t before =
        atomic_exchange(&dax->words[block], word & ~(WORD_CLAIMED | WORD_WAITERS | WORD_COMMIT));
    assert(before & WORD_CLAIMED);
    if (__builtin_expect((before & WORD_WAITERS) != 0, 0))
        wake_all(&dax->words[block]);
}

void claim_range(struct oriel_dax *dax, uint64_t start, uint64_t end, struct claim *claim)
{
    claim->start = start;
    claim->end = end;
    claim->first = start >> BLOCK_SHIFT;
    claim->last = (end - 1) >> BLOCK_SHIFT;
    claim->tail = false;
    claim_first(dax, claim->first);
    for (uint64_t block = claim->first + 1; block <= claim->last; block++)
        claim_further(dax, block);
    /* CONT of the next block is set only by who holds the last one, so it cannot appear behind our back. */
    uint64_t next = claim->last + 1;
    if ((end & (BLOCK_SIZE - 1)) != 0 || next >= dax->block_count ||
        !(atomic_load_explicit(&dax->words[next], memory_order_relaxed) & WORD_CONT))
        return;
    claim_further(dax, next);
    if (claimed_word(dax, next) & WORD_CONT)
        claim->tail = true;
    else
        claim_end(dax, next, claimed_word(dax, next));
}

void claim_release(struct oriel_dax *dax, const struct claim *claim)
{
    for (uint64_t block = claim->first; block <= claim->last + (claim->tail ? 1 : 0); block++)
        claim_end(dax, block, claimed_word(dax, block));
}

void gate_close(struct oriel_dax *dax)
{
    atomic_fetch_or(&dax->phase, PHASE_GATE);
    /* Rising, as operations claim: one that got its first block before the gate closed has got all of its
     * blocks when that first one is seen free. */
    for (uint64_t chunk = 0; chunk << CHUNK_SHIFT < dax->block_count; chunk++) {
        if (!atomic_load(&dax->chunk_used[chunk]))
            continue;
        uint64_t block = chunk << CHUNK_SHIFT;
        uint64_t end = block + (UINT64_C(1) << CHUNK_SHIFT);
        for (; block < end && block < dax->block_count; block++) {
            uint64_t seen;
            while ((seen = atomic_load(&dax->words[block])) & WORD_CLAIMED)
                wait_for_block(dax, &dax->words[block], seen, false);
        }
    }
}

void gate_open(struct oriel_dax *dax)
{
    /* GATE off and one epoch on, in one step: nobody else changes the word while we have the maintenance lock. */
    atomic_fetch_add(&dax->phase, PHASE_EPOCH_ONE - PHASE_GATE);
    wake_all(&dax->phase);
}
