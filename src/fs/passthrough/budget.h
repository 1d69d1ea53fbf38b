/* How many descriptors the back-end may hold. Taken before a descriptor is opened, so that a guest meets
 * -ENFILE here and never uses up RLIMIT_NOFILE of the process. */
#ifndef ORIEL_FS_PASSTHROUGH_BUDGET_H
#define ORIEL_FS_PASSTHROUGH_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct fd_budget {
    _Atomic uint64_t used;
    uint64_t limit;
};

static inline bool budget_take(struct fd_budget *budget)
{
    if (atomic_fetch_add_explicit(&budget->used, 1, memory_order_relaxed) < budget->limit)
        return true;
    atomic_fetch_sub_explicit(&budget->used, 1, memory_order_relaxed);
    return false;
}

/* For descriptors that live for one call only: the number of threads bounds them, the reserve that the limit
 * leaves under RLIMIT_NOFILE covers them. */
static inline void budget_take_over_limit(struct fd_budget *budget)
{
    atomic_fetch_add_explicit(&budget->used, 1, memory_order_relaxed);
}

static inline void budget_put(struct fd_budget *budget)
{
    atomic_fetch_sub_explicit(&budget->used, 1, memory_order_relaxed);
}

#endif
