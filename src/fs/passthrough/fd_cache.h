/*
 * A bounded cache of descriptors with a lock-free hit.
 *
 * Each owner (an inode) has a word that names its slot; each slot counts who uses its descriptor right now.
 * A descriptor is closed only by whoever has claimed the slot, and a slot is claimed only while nobody uses
 * it, so a descriptor number can never be closed and reused under a running system call.
 */
#ifndef ORIEL_FS_PASSTHROUGH_FD_CACHE_H
#define ORIEL_FS_PASSTHROUGH_FD_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/passthrough/budget.h"

typedef _Atomic uint32_t fd_cache_word; /* 0 = not cached, else slot + 1 */

struct fd_slot {
    _Atomic uint32_t users; /* FD_SLOT_CLAIMED = being filled or emptied */
    _Atomic bool hot;       /* used since the clock hand last came by */
    int fd;                 /* -1 = empty; owned by users and the claimer */
    fd_cache_word *_Atomic owner;
};

struct fd_cache {
    struct fd_slot *slots;
    uint32_t count;
    _Atomic uint32_t hand;
    struct fd_budget *budget; /* each cached descriptor has taken one */
};

/* -ENOMEM. */
int fd_cache_init(struct fd_cache *cache, uint32_t slots, struct fd_budget *budget);
void fd_cache_destroy(struct fd_cache *cache);

/* The descriptor of this owner and its slot, in use until fd_cache_put(); -1 when it is not cached. */
int fd_cache_get(struct fd_cache *cache, fd_cache_word *word, uint32_t *slot);
void fd_cache_put(struct fd_cache *cache, uint32_t slot);

/* Gives the cache a descriptor that has taken from the budget; it is then in use by the caller. False: no
 * room, or another thread was faster; the descriptor stays the caller's. */
bool fd_cache_insert(struct fd_cache *cache, fd_cache_word *word, int fd, uint32_t *slot);

/* Closes one descriptor that nobody uses. False: there is none. */
bool fd_cache_shrink(struct fd_cache *cache);

/* Closes this owner's descriptor; the owner's memory may go afterwards. Nobody may use or add it meanwhile.
 */
void fd_cache_forget(struct fd_cache *cache, fd_cache_word *word);

#endif
