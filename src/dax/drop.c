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

static int unmap_blocks(struct oriel_dax *dax, uint64_t first, uint64_t last)
{
    uint64_t start = block_start(first), end = block_start(last) + block_length(dax, last);
    dax_count(dax, COUNT_UNMAPS, 1);
    int err = dax_unmap(dax, start, end - start);
    for (uint64_t block = first; err == 0 && block <= last; block++)
        block_mark_saved(dax, block, 0, BLOCK_SIZE);
    return err;
}

int dax_unmap_all(struct oriel_dax *dax)
{
    int first_err = 0;
    for (uint64_t chunk = 0; chunk << CHUNK_SHIFT < dax->block_count; chunk++) {
        uint64_t first = 0, last = 0;
        int err = shown_blocks(dax, chunk, &first, &last) ? unmap_blocks(dax, first, last) : 0;
        first_err = first_err != 0 ? first_err : err;
    }
    return first_err;
}

static void forget_block(struct oriel_dax *dax, uint64_t block)
{
    uint64_t word = claimed_word(dax, block);
    if (word_kind(word) == WORD_FINE)
        free(record_fine(block_record(dax, block, word)));
    if (word_kind(word) != WORD_NONE)
        atomic_store(&dax->words[block],
                     (word & WORD_VERSION) | ((word & WORD_GENERATION) + WORD_GENERATION_ONE));
}

void dax_forget_all(struct oriel_dax *dax)
{
    for (uint64_t chunk = 0; chunk << CHUNK_SHIFT < dax->block_count; chunk++) {
        uint64_t first = 0, last = 0;
        if (!shown_blocks(dax, chunk, &first, &last))
            continue;
        for (uint64_t block = first; block <= last; block++)
            forget_block(dax, block);
    }
    budget_set_used(&dax->bytes, 0);
    if (dax->limit_slots)
        budget_set_used(&dax->slots, 0);
}

void oriel_dax_reset(struct oriel_dax *dax)
{
    pthread_mutex_lock(&dax->maintenance);
    gate_close(dax);
    /* What the mapper could not unmap is gone for the guest all the same; the next setup there replaces it. */
    int err = dax_unmap_all(dax);
    dax_forget_all(dax);
    gate_open(dax);
    pthread_mutex_unlock(&dax->maintenance);
    ORIEL_TRACE(dax->trace, "dax reset, unmap %d", err);
}
