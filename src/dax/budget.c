#include "dax/budget.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define COUNT_ONE  (UINT64_C(1) << BUDGET_UNITS_SHIFT)
#define COUNT_HIGH (UINT64_C(1) << 63) /* half of the count's range: time to fold it away */

static uint64_t units_of(uint64_t word)
{
    return word & BUDGET_UNITS_MASK;
}

static uint64_t count_of(uint64_t word)
{
    return word >> BUDGET_UNITS_SHIFT;
}

int budget_init(struct budget *budget, uint64_t limit, unsigned shard_count)
{
    assert(limit <= BUDGET_UNITS_MASK && shard_count > 0);
    memset(budget, 0, sizeof(*budget));
    budget->shards = aligned_alloc(64, shard_count * sizeof(struct budget_shard));
    if (budget->shards == NULL)
        return -ENOMEM;
    memset(budget->shards, 0, shard_count * sizeof(struct budget_shard));
    budget->limit = limit;
    budget->lease = limit / (4 * (uint64_t)shard_count);
    budget->shard_count = shard_count;
    atomic_init(&budget->pool, limit);
    pthread_mutex_init(&budget->gather, NULL);
    return 0;
}

void budget_destroy(struct budget *budget)
{
    if (budget->shards == NULL)
        return;
    pthread_mutex_destroy(&budget->gather);
    free(budget->shards);
    budget->shards = NULL;
}

/* The count lives in the top 24 bits: before they wrap, half of their range moves to the wide counter. */
static void fold_count(_Atomic uint64_t *word, _Atomic uint64_t *wide)
{
    uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
    while (seen & COUNT_HIGH) {
        if (atomic_compare_exchange_weak(word, &seen, seen & ~COUNT_HIGH)) {
            atomic_fetch_add(wide, count_of(COUNT_HIGH));
            return;
        }
    }
}

static uint64_t grab(_Atomic uint64_t *word)
{
    uint64_t seen = atomic_load(word);
    while (units_of(seen) != 0 && !atomic_compare_exchange_weak(word, &seen, seen - units_of(seen))) {
    }
    return units_of(seen);
}

static uint64_t grab_up_to(_Atomic uint64_t *pool, uint64_t most)
{
    uint64_t seen = atomic_load(pool);
    uint64_t taken = min_u64(seen, most);
    while (taken != 0 && !atomic_compare_exchange_weak(pool, &seen, seen - taken))
        taken = min_u64(seen, most);
    return taken;
}

/*
 * Grabs all that the shards have; *calls is the number of calls seen so far, which grows with any change. False in
 * *still when somebody is moving units, which are then nowhere to be seen.
 */
static uint64_t sweep(struct budget *budget, uint64_t *calls, bool *still)
{
    uint64_t hand = 0;
    *still = true;
    *calls = 0;
    for (unsigned i = 0; i < budget->shard_count; i++) {
        struct budget_shard *shard = &budget->shards[i];
        hand += grab(&shard->may_take) + grab(&shard->given);
        *calls += atomic_load(&shard->takes) + atomic_load(&shard->gives) +
                  count_of(atomic_load(&shard->may_take)) + count_of(atomic_load(&shard->given));
        *still = *still && atomic_load(&shard->moving) == 0;
    }
    return hand;
}

/*
 * With the gather lock: everything that is free is in the pool, in the shards or in our hand. Two sweeps
 * after one another that find nothing and between which nobody took or gave prove that there was a moment at
 * which the hand held all.
 */
static uint64_t gather_all(struct budget *budget, uint64_t hand, uint64_t units)
{
    uint64_t before, calls;
    bool still_before, still;
    hand += grab_up_to(&budget->pool, UINT64_MAX) + sweep(budget, &calls, &still);
    while (hand < units) {
        before = calls;
        still_before = still;
        uint64_t found = sweep(budget, &calls, &still);
        hand += found;
        if (found == 0 && calls == before && still_before && still)
            break;
        if (found == 0)
            sched_yield();
    }
    return hand;
}

/* What a shard keeps of what it has got beyond its need: little enough that others do not come for it at once. */
static uint64_t fair_part(const struct budget *budget, uint64_t spare)
{
    return min_u64(budget->lease, spare / (2 * (uint64_t)budget->shard_count));
}

static bool take_slowly(struct budget *budget, struct budget_shard *own, uint64_t units)
{
    pthread_mutex_lock(&budget->gather);
    uint64_t hand = grab(&own->may_take) + grab(&own->given);
    uint64_t want = units + fair_part(budget, atomic_load(&budget->pool));
    if (hand < want)
        hand += grab_up_to(&budget->pool, want - hand);
    if (hand < units)
        hand = gather_all(budget, hand, units);
    bool enough = hand >= units;
    uint64_t keep =
        enough ? min_u64(hand - units, max_u64(want - units, fair_part(budget, hand - units))) : 0;
    atomic_fetch_add(&budget->pool, hand - keep - (enough ? units : 0));
    if (enough)
        atomic_fetch_add(&own->may_take, keep + COUNT_ONE);
    fold_count(&own->may_take, &own->takes);
    pthread_mutex_unlock(&budget->gather);
    return enough;
}

/*
 * What was given back to the own shard will do as well; all of it moves over, so that the next takes are fast
 * again. `moving` tells a gatherer that there is something which it cannot see.
 */
static bool take_given(struct budget_shard *own, uint64_t units)
{
    if (units_of(atomic_load_explicit(&own->given, memory_order_relaxed)) < units)
        return false;
    atomic_fetch_add(&own->moving, 1);
    uint64_t hand = grab(&own->given);
    bool enough = hand >= units;
    atomic_fetch_add(&own->may_take, enough ? hand - units + COUNT_ONE : hand);
    atomic_fetch_sub(&own->moving, 1);
    fold_count(&own->may_take, &own->takes);
    return enough;
}

bool budget_take(struct budget *budget, unsigned shard, uint64_t units)
{
    struct budget_shard *own = &budget->shards[shard];
    uint64_t seen = atomic_load_explicit(&own->may_take, memory_order_relaxed);
    do {
        if (units_of(seen) < units)
            return take_given(own, units) || take_slowly(budget, own, units);
    } while (!atomic_compare_exchange_weak(&own->may_take, &seen, seen - units + COUNT_ONE));
    if (seen & COUNT_HIGH)
        fold_count(&own->may_take, &own->takes);
    return true;
}

void budget_untake(struct budget *budget, unsigned shard, uint64_t units)
{
    struct budget_shard *own = &budget->shards[shard];
    atomic_fetch_add(&own->untakes, 1);
    /* Counted as one more call, so that a gatherer notices; budget_counts() subtracts both. */
    atomic_fetch_add(&own->may_take, units + COUNT_ONE);
    fold_count(&own->may_take, &own->takes);
}

void budget_give(struct budget *budget, unsigned shard, uint64_t units, uint64_t calls)
{
    struct budget_shard *own = &budget->shards[shard];
    if (calls > 1)
        atomic_fetch_add(&own->gives, calls - 1);
    uint64_t seen = atomic_fetch_add(&own->given, units + COUNT_ONE);
    if (seen & COUNT_HIGH)
        fold_count(&own->given, &own->gives);
    if (calls == 0)
        atomic_fetch_sub(&own->gives, 1);
}

uint64_t budget_used(struct budget *budget)
{
    pthread_mutex_lock(&budget->gather);
    uint64_t available = atomic_load(&budget->pool);
    for (unsigned i = 0; i < budget->shard_count; i++)
        available += units_of(atomic_load(&budget->shards[i].may_take)) +
                     units_of(atomic_load(&budget->shards[i].given));
    pthread_mutex_unlock(&budget->gather);
    /* While others take and give, units can be seen twice. */
    return budget->limit - min_u64(available, budget->limit);
}

void budget_counts(struct budget *budget, uint64_t *takes, uint64_t *gives)
{
    *takes = *gives = 0;
    for (unsigned i = 0; i < budget->shard_count; i++) {
        struct budget_shard *shard = &budget->shards[i];
        *takes += atomic_load(&shard->takes) + count_of(atomic_load(&shard->may_take)) -
                  2 * atomic_load(&shard->untakes);
        *gives += atomic_load(&shard->gives) + count_of(atomic_load(&shard->given));
    }
}

void budget_exchange(struct budget *budget, uint64_t back, uint64_t wanted)
{
    pthread_mutex_lock(&budget->gather);
    atomic_fetch_add(&budget->pool, back);
    uint64_t hand = 0;
    while (hand < wanted) {
        uint64_t calls;
        bool still;
        hand += grab_up_to(&budget->pool, wanted - hand);
        if (hand < wanted)
            hand += sweep(budget, &calls, &still);
        if (hand < wanted)
            sched_yield();
    }
    atomic_fetch_add(&budget->pool, hand - wanted);
    pthread_mutex_unlock(&budget->gather);
}
