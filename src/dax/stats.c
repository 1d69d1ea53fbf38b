#include <oriel/dax.h>

#include "base/checked.h"
#include "dax/slots.h"

static uint64_t counted(struct oriel_dax *dax, enum counter counter)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i <= dax->shard_mask; i++)
        sum += atomic_load_explicit(&dax->counters[i].count[counter], memory_order_relaxed);
    return sum;
}

static void count_events(struct oriel_dax *dax, struct oriel_dax_stats *out)
{
    uint64_t setups, removals;
    budget_counts(&dax->bytes, &setups, &removals);
    out->setups = setups;
    out->setup_errors = counted(dax, COUNT_SETUP_ERRORS);
    out->removes = removals + counted(dax, COUNT_REMOVES_WITHOUT_UNMAP);
    out->remove_errors = counted(dax, COUNT_REMOVE_ERRORS);
    out->replaced = counted(dax, COUNT_REPLACED);
    out->splits = counted(dax, COUNT_SPLITS);
    out->upgrades = counted(dax, COUNT_UPGRADES);
    out->faults = counted(dax, COUNT_FAULTS);
    out->fault_binds = counted(dax, COUNT_FAULT_BINDS);
    out->fault_upgrades = counted(dax, COUNT_FAULT_UPGRADES);
    out->fault_errors = counted(dax, COUNT_FAULT_ERRORS);
    out->waits = counted(dax, COUNT_WAITS);
    out->maps = setups + counted(dax, COUNT_MAPS);
    out->unmaps = removals + counted(dax, COUNT_UNMAPS);
    out->mapped_bytes = budget_used(&dax->bytes) << dax->granule_shift;
    out->cap_bytes = dax->cap_bytes;
}

/* Adds what one block shows; *open tells whether a part of the slot that goes on from before was SAVED. */
static void count_block(struct oriel_dax *dax, uint64_t block, struct oriel_dax_stats *out)
{
    uint64_t word = atomic_load(&dax->words[block]);
    if (!(word & WORD_CLAIMED) && word_kind(word) != WORD_FINE) {
        if (word_kind(word) == WORD_ONE && !(word & WORD_CONT)) {
            out->slots++;
            out->bound += (word & WORD_BOUND) != 0;
        }
        return;
    }
    struct block_view view;
    claim_first(dax, block);
    block_view(dax, block, &view);
    for (uint32_t i = (view.word & WORD_CONT) != 0; i < view.count; i++) {
        out->slots++;
        out->bound += view_is_bound(&view, i);
    }
    claim_end(dax, block, claimed_word(dax, block));
}

void oriel_dax_stats(struct oriel_dax *dax, struct oriel_dax_stats *out)
{
    *out = (struct oriel_dax_stats){0};
    count_events(dax, out);
    for (uint64_t block = 0; block < dax->block_count; block++) {
        if (!atomic_load(&dax->chunk_used[block >> CHUNK_SHIFT]))
            block |= (UINT64_C(1) << CHUNK_SHIFT) - 1;
        else
            count_block(dax, block, out);
    }
    out->saved = out->slots - out->bound;
}
