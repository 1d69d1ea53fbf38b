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

static void forget_block(struct oriel_dax *dax, uint64_t block)
{
    uint64_t word = claimed_word(dax, block);
    if (word_kind(word) == WORD_FINE)
        free(record_fine(block_record(dax, block, word)));
    atomic_store(&dax->words[block],
                 (word & WORD_VERSION) | ((word & WORD_GENERATION) + WORD_GENERATION_ONE));
}

/* A block that the mapper still shows: its pieces stay. The slot now begins here if what was before is forgotten. */
struct kept {
    uint64_t bytes, slots;
    uint64_t next_block;
};

static void keep_block(struct oriel_dax *dax, uint64_t block, const struct block_view *view,
                       struct kept *kept)
{
    uint64_t word = view->word;
    if ((word & WORD_CONT) && block != kept->next_block) {
        word = (word & ~WORD_CONT) + WORD_GENERATION_ONE;
        atomic_store(&dax->words[block], word);
    }
    for (uint32_t i = 0; i < view->count; i++)
        kept->bytes += view->pieces[i].length;
    kept->slots += view->count - ((word & WORD_CONT) != 0);
    kept->next_block = block + 1;
}

static bool any_bound(const struct block_view *view)
{
    for (uint32_t i = 0; i < view->count; i++) {
        if (view_is_bound(view, i))
            return true;
    }
    return false;
}

void dax_forget_all(struct oriel_dax *dax, bool what_is_shown_too)
{
    struct kept kept = {.next_block = UINT64_MAX};
    for (uint64_t chunk = 0; chunk << CHUNK_SHIFT < dax->block_count; chunk++) {
        uint64_t first = 0, last = 0;
        if (!shown_blocks(dax, chunk, &first, &last))
            continue;
        for (uint64_t block = first; block <= last; block++) {
            uint64_t word = claimed_word(dax, block);
            struct block_view view;
            if (word_kind(word) == WORD_NONE)
                continue;
            if (word_kind(word) == WORD_ONE && (!(word & WORD_BOUND) || what_is_shown_too)) {
                forget_block(dax, block);
                continue;
            }
            block_view(dax, block, &view);
            if (any_bound(&view) && !what_is_shown_too)
                keep_block(dax, block, &view, &kept);
            else if (view.count > 0)
                forget_block(dax, block);
        }
    }
    budget_set_used(&dax->bytes, kept.bytes >> dax->granule_shift);
    if (dax->limit_slots)
        budget_set_used(&dax->slots, kept.slots < dax->slots.limit ? kept.slots : dax->slots.limit);
}

void oriel_dax_reset(struct oriel_dax *dax)
{
    pthread_mutex_lock(&dax->maintenance);
    gate_close(dax);
    int err = dax_unmap_all(dax);
    dax_forget_all(dax, false);
    gate_open(dax);
    pthread_mutex_unlock(&dax->maintenance);
    ORIEL_TRACE(dax->trace, "dax reset, unmap %d", err);
}
