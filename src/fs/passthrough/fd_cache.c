#include "fs/passthrough/fd_cache.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define FD_SLOT_CLAIMED UINT32_C(0x80000000)

int fd_cache_init(struct fd_cache *cache, uint32_t slots, struct fd_budget *budget)
{
    cache->slots = calloc(slots, sizeof(*cache->slots));
    if (cache->slots == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < slots; i++)
        cache->slots[i].fd = -1;
    cache->count = slots;
    cache->budget = budget;
    atomic_init(&cache->hand, 0);
    return 0;
}

void fd_cache_destroy(struct fd_cache *cache)
{
    for (uint32_t i = 0; cache->slots != NULL && i < cache->count; i++) {
        if (cache->slots[i].fd >= 0) {
            close(cache->slots[i].fd);
            budget_put(cache->budget);
        }
    }
    free(cache->slots);
    cache->slots = NULL;
}

static bool claim(struct fd_slot *slot)
{
    uint32_t idle = 0;
    return atomic_compare_exchange_strong_explicit(&slot->users, &idle, FD_SLOT_CLAIMED, memory_order_acquire,
                                                   memory_order_relaxed);
}

static void unclaim(struct fd_slot *slot, uint32_t users)
{
    atomic_store_explicit(&slot->users, users, memory_order_release);
}

int fd_cache_get(struct fd_cache *cache, fd_cache_word *word, uint32_t *slot_out)
{
    uint32_t index = atomic_load_explicit(word, memory_order_acquire);
    if (index == 0)
        return -1;
    struct fd_slot *slot = &cache->slots[index - 1];
    uint32_t users = atomic_load_explicit(&slot->users, memory_order_relaxed);
    do {
        if (users & FD_SLOT_CLAIMED)
            return -1;
    } while (!atomic_compare_exchange_weak_explicit(&slot->users, &users, users + 1, memory_order_acquire,
                                                    memory_order_relaxed));
    /* The slot may have been given to another owner since the word was read. */
    if (atomic_load_explicit(&slot->owner, memory_order_relaxed) != word) {
        fd_cache_put(cache, index - 1);
        return -1;
    }
    if (!atomic_load_explicit(&slot->hot, memory_order_relaxed))
        atomic_store_explicit(&slot->hot, true, memory_order_relaxed);
    *slot_out = index - 1;
    return slot->fd;
}

void fd_cache_put(struct fd_cache *cache, uint32_t slot)
{
    atomic_fetch_sub_explicit(&cache->slots[slot].users, 1, memory_order_release);
}

/* Takes the descriptor out of a claimed slot. The store to the owner's word is the last touch of the owner:
 * fd_cache_forget() waits for it. */
static int empty_claimed(struct fd_slot *slot)
{
    int fd = slot->fd;
    slot->fd = -1;
    fd_cache_word *owner = atomic_exchange_explicit(&slot->owner, NULL, memory_order_relaxed);
    if (owner != NULL)
        atomic_store_explicit(owner, 0, memory_order_release);
    return fd;
}

/* The clock algorithm: an idle slot that was not used since the hand passed. Claimed on return; -1 = all are
 * in use. */
static int64_t claim_victim(struct fd_cache *cache, bool only_filled)
{
    for (uint64_t tries = 0; tries < 2 * (uint64_t)cache->count; tries++) {
        uint32_t i = atomic_fetch_add_explicit(&cache->hand, 1, memory_order_relaxed) % cache->count;
        struct fd_slot *slot = &cache->slots[i];
        if (atomic_load_explicit(&slot->users, memory_order_relaxed) != 0)
            continue;
        if (atomic_exchange_explicit(&slot->hot, false, memory_order_relaxed))
            continue;
        if (!claim(slot))
            continue;
        if (slot->fd < 0 && only_filled) {
            unclaim(slot, 0);
            continue;
        }
        return i;
    }
    return -1;
}

static void close_evicted(struct fd_cache *cache, int fd)
{
    if (fd < 0)
        return;
    close(fd);
    budget_put(cache->budget);
}

bool fd_cache_insert(struct fd_cache *cache, fd_cache_word *word, int fd, uint32_t *slot_out)
{
    int64_t index = claim_victim(cache, false);
    if (index < 0)
        return false;
    struct fd_slot *slot = &cache->slots[index];
    int evicted = empty_claimed(slot);
    uint32_t none = 0;
    bool first = atomic_compare_exchange_strong_explicit(word, &none, (uint32_t)index + 1,
                                                         memory_order_acq_rel, memory_order_relaxed);
    if (first) {
        slot->fd = fd;
        atomic_store_explicit(&slot->owner, word, memory_order_relaxed);
        atomic_store_explicit(&slot->hot, true, memory_order_relaxed);
        *slot_out = (uint32_t)index;
    }
    unclaim(slot, first ? 1 : 0);
    close_evicted(cache, evicted);
    return first;
}

bool fd_cache_shrink(struct fd_cache *cache)
{
    int64_t index = claim_victim(cache, true);
    if (index < 0)
        return false;
    int fd = empty_claimed(&cache->slots[index]);
    unclaim(&cache->slots[index], 0);
    close_evicted(cache, fd);
    return true;
}

void fd_cache_forget(struct fd_cache *cache, fd_cache_word *word)
{
    uint32_t index;
    while ((index = atomic_load_explicit(word, memory_order_acquire)) != 0) {
        struct fd_slot *slot = &cache->slots[index - 1];
        if (!claim(slot)) {
            /* An evictor is about to clear the word, or a stale reader about to step back. */
            sched_yield();
            continue;
        }
        if (atomic_load_explicit(&slot->owner, memory_order_relaxed) != word) {
            unclaim(slot, 0);
            continue;
        }
        int fd = empty_claimed(slot);
        unclaim(slot, 0);
        close_evicted(cache, fd);
    }
}
