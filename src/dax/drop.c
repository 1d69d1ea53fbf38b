#include "dax/drop.h"

#include <stdlib.h>

#include "base/checked.h"
#include "dax/slots.h"

/* The blocks of a chunk from the first to the last that show something. False when none does. */
static bool shown_blocks(struct oriel_dax *dax, uint64_t chunk, uint64_t *first, uint64_t *last)
{
    uint64_t begin = chunk << CHUNK_SHIFT;
    uint64_t end = min_u64(begin + (UINT64_C(1) << CHUNK_SHIFT), dax->block_count);
    bool found = false;
    if (!atomic_load(&dax->chunk_used[chunk]))
        return false;
    for (uint64_t block = begin; block < end; block++) {
        if (word_kind(claimed_word(dax, block)) == WORD_NONE)
            continue;
        *first = found ? *first : block;
        *last = block;
        found = true;
    }
    return found;
}

static void mark_block_saved(struct oriel_dax *dax, uint64_t block)
{
    uint64_t word = claimed_word(dax, block);
    if (word_kind(word) == WORD_FINE)
        block_mark_saved(dax, block, 0, BLOCK_SIZE);
    else if (word & WORD_BOUND)
        atomic_store_explicit(&dax->words[block], word & ~WORD_BOUND, memory_order_release);
}

static int unmap_blocks(struct oriel_dax *dax, uint64_t first, uint64_t last)
{
    uint64_t start = block_start(first), end = block_start(last) + block_length(dax, last);
    dax_count(dax, COUNT_UNMAPS, 1);
    int err = dax_unmap(dax, start, end - start);
    for (uint64_t block = first; err == 0 && block <= last; block++)
        mark_block_saved(dax, block);
    return err;
}

/* All at once, or where that fails block by block, so that as little as can be stays in the guest's sight. */
static int unmap_chunk(struct oriel_dax *dax, uint64_t first, uint64_t last)
{
    int first_err = 0;
    if (unmap_blocks(dax, first, last) == 0)
        return 0;
    for (uint64_t block = first; block <= last; block++) {
        int err = word_kind(claimed_word(dax, block)) == WORD_NONE ? 0 : unmap_blocks(dax, block, block);
        first_err = first_err != 0 ? first_err : err;
    }
    return first_err;
}

int dax_unmap_all(struct oriel_dax *dax)
{
    int first_err = 0;
    for (uint64_t chunk = 0; chunk << CHUNK_SHIFT < dax->block_count; chunk++) {
        uint64_t first = 0, last = 0;
        int err = shown_blocks(dax, chunk, &first, &last) ? unmap_chunk(dax, first, last) : 0;
        first_err = first_err != 0 ? first_err : err;
    }
    return first_err;
}

/* What goes, and what the mapper still shows and therefore stays. */
struct forgotten {
    uint64_t bytes, slots;
    uint64_t kept_slots;
    uint64_t next_block; /* the one behind the last that was kept */
};

static void forget_block(struct oriel_dax *dax, uint64_t block, uint64_t word, struct forgotten *gone)
{
    if (word_kind(word) == WORD_FINE) {
        struct fine *fine = record_fine(block_record(dax, block, word));
        for (uint32_t i = 0; i < fine->count; i++)
            gone->bytes += fine->piece[i].length;
        gone->slots += fine->count;
        free(fine);
    } else {
        gone->bytes += word_length(word, dax->granule_shift);
        gone->slots++;
    }
    gone->slots -= (word & WORD_CONT) != 0;
    /* Opening the gate makes it known to all. */
    atomic_store_explicit(&dax->words[block],
                          (word & WORD_VERSION) | ((word & WORD_GENERATION) + WORD_GENERATION_ONE),
                          memory_order_release);
}

/* The pieces stay; the slot begins here if what was before is forgotten. */
static void keep_block(struct oriel_dax *dax, uint64_t block, const struct block_view *view,
                       struct forgotten *gone)
{
    uint64_t word = view->word;
    gone->slots += view->count - ((word & WORD_CONT) != 0);
    if ((word & WORD_CONT) && block != gone->next_block) {
        word = (word & ~WORD_CONT) + WORD_GENERATION_ONE;
        atomic_store(&dax->words[block], word);
    }
    gone->kept_slots += view->count - ((word & WORD_CONT) != 0);
    gone->next_block = block + 1;
}

static bool any_bound(const struct block_view *view)
{
    for (uint32_t i = 0; i < view->count; i++) {
        if (view_is_bound(view, i))
            return true;
    }
    return false;
}

static void forget_chunk(struct oriel_dax *dax, uint64_t first, uint64_t last, bool what_is_shown_too,
                         struct forgotten *gone)
{
    for (uint64_t block = first; block <= last; block++) {
        uint64_t word = claimed_word(dax, block);
        struct block_view view;
        if (word_kind(word) == WORD_NONE)
            continue;
        if (!what_is_shown_too) {
            block_view(dax, block, &view);
            if (any_bound(&view)) {
                keep_block(dax, block, &view, gone);
                continue;
            }
        }
        forget_block(dax, block, word, gone);
    }
}

void dax_forget_all(struct oriel_dax *dax, bool what_is_shown_too, uint64_t new_bytes, uint64_t new_slots)
{
    struct forgotten gone = {.next_block = UINT64_MAX};
    for (uint64_t chunk = 0; chunk << CHUNK_SHIFT < dax->block_count; chunk++) {
        uint64_t first = 0, last = 0;
        if (shown_blocks(dax, chunk, &first, &last))
            forget_chunk(dax, first, last, what_is_shown_too, &gone);
    }
    budget_exchange(&dax->bytes, gone.bytes >> dax->granule_shift, new_bytes >> dax->granule_shift);
    /* Parts of one slot that was kept count as one: there need not be room for more. */
    uint64_t kept = min_u64(gone.kept_slots, gone.slots);
    if (dax->limit_slots)
        budget_exchange(&dax->slots, gone.slots - kept, new_slots);
}

void oriel_dax_reset(struct oriel_dax *dax)
{
    pthread_mutex_lock(&dax->maintenance);
    gate_close(dax);
    int err = dax_unmap_all(dax);
    dax_forget_all(dax, false, 0, 0);
    gate_open(dax);
    pthread_mutex_unlock(&dax->maintenance);
    ORIEL_TRACE(dax->trace, "dax reset, unmap %d", err);
}
