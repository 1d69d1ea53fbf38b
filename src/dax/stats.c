#include <oriel/dax.h>

#include "dax/picture.h"

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

void oriel_dax_stats(struct oriel_dax *dax, struct oriel_dax_stats *out)
{
    struct picture picture = {.with_bound = true};
    *out = (struct oriel_dax_stats){0};
    count_events(dax, out);
    pthread_mutex_lock(&dax->maintenance);
    (void)picture_take(dax, &picture); /* memory that was out makes the numbers a little less of one moment */
    pthread_mutex_unlock(&dax->maintenance);
    out->slots = picture.count;
    out->bound = picture.bound;
    out->saved = picture.count - picture.bound;
}
