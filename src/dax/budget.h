/*
 * A bound on a sum that many threads add to and take from: window bytes, or slots.
 *
 * Each processor has a shard, so that two threads do not meet in one cache line. What is free lies in the
 * pool, in what a shard may still take, and in what was given back to a shard; a take that finds too little
 * in its own shard gathers from everywhere, one thread at a time. It fails only after it has seen that at one
 * moment all of it together was too little: the bound is exact, never "about".
 *
 * The words of a shard hold the free amount in their low 40 bits and count the calls above: the count tells
 * the gatherer that a word has changed meanwhile, and doubles as the statistics of setups and removals.
 */
#ifndef ORIEL_DAX_BUDGET_H
#define ORIEL_DAX_BUDGET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BUDGET_UNITS_SHIFT 40
#define BUDGET_UNITS_MASK  ((UINT64_C(1) << BUDGET_UNITS_SHIFT) - 1)

struct budget_shard {
    _Alignas(64) _Atomic uint64_t may_take;
    _Atomic uint64_t given;
    _Atomic uint64_t takes, gives; /* counts that no longer fit above */
    _Atomic uint64_t untakes;
    _Atomic uint64_t moving; /* threads that hold units on their way from given to may_take */
};

struct budget {
    uint64_t limit; /* units; at most BUDGET_UNITS_MASK */
    uint64_t lease; /* how much a shard fetches ahead */
    _Atomic uint64_t pool;
    struct budget_shard *shards;
    unsigned shard_count;
    pthread_mutex_t gather;
};

/* -ENOMEM; the limit must fit. */
int budget_init(struct budget *budget, uint64_t limit, unsigned shard_count);
void budget_destroy(struct budget *budget);

/* Takes units (0 is allowed and counted), or returns false with nothing taken. */
bool budget_take(struct budget *budget, unsigned shard, uint64_t units);
/* Takes back a take: neither is counted. */
void budget_untake(struct budget *budget, unsigned shard, uint64_t units);
/* Gives units back and counts `calls` removals. */
void budget_give(struct budget *budget, unsigned shard, uint64_t units, uint64_t calls);

uint64_t budget_used(struct budget *budget);
void budget_counts(struct budget *budget, uint64_t *takes, uint64_t *gives);

/*
 * Gives `back` and takes `wanted`, uncounted. Nobody else may be taking; some may still be about to give what they have
 * removed, which is why there is no way to set what is in use: it waits until there is enough, so there must be.
 */
void budget_exchange(struct budget *budget, uint64_t back, uint64_t wanted);

#endif
