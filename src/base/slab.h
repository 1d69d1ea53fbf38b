/*
 * A slab: a growing table of counted objects that are named by ids from outside.
 *
 * id = index | generation << 32. Each use of a slot has its own generation, so an id that was never given out
 * or is of an earlier use finds nothing. Finding an object takes no lock: chunks never move or go away before
 * the slab does, and one atomic word per slot holds generation, references and the "live" mark together.
 *
 * Life of a slot: slab_take() -> fill it -> slab_publish() (live, one reference) -> slab_get()/slab_put() …
 * -> slab_kill() (not live: slab_get() fails; its reference is gone) -> the last slab_put() or slab_kill() says
 * so -> slab_retire(). The owner of the table decides what the live reference stands for.
 */
#ifndef ORIEL_BASE_SLAB_H
#define ORIEL_BASE_SLAB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* First member of every object in a slab. `link` is the owner's while the slot is in use. */
struct slab_item {
    _Atomic uint64_t word;
    _Atomic uint32_t link;
    uint32_t index;
};

struct slab {
    size_t item_size;
    uint32_t capacity;
    void *_Atomic *chunks;
    pthread_mutex_t grow;
    _Atomic uint64_t free_head; /* index | tag << 32 */
    _Atomic uint32_t fresh;     /* slots from here on were never used */
    _Atomic uint32_t in_use;
};

/* item_size includes the struct slab_item. -ENOMEM. */
int slab_init(struct slab *slab, size_t item_size, uint32_t capacity);
/* Frees the memory; nothing is called for the objects. */
void slab_destroy(struct slab *slab);

/* A zeroed (but for its slab_item) slot that no id finds yet; NULL = capacity or memory used up. */
void *slab_take(struct slab *slab);
/* Gives a slot back: one that was taken and not published, or is dead without references. */
void slab_retire(struct slab *slab, void *object);

void slab_publish(void *object);
uint64_t slab_id(const void *object);

/* The live object with this id with one more reference, or NULL. */
void *slab_get(struct slab *slab, uint64_t id);
/* One more reference for one who has one. */
void slab_ref(void *object);
/* True: that was the last reference and the object is not live; the caller retires it. */
bool slab_put(void *object);

enum slab_kill_result {
    SLAB_NOT_LIVE, /* someone else did it */
    SLAB_KILLED,   /* others still hold references; the last slab_put() tells */
    SLAB_LAST,     /* nobody holds one; the caller retires it */
};
enum slab_kill_result slab_kill(void *object);

/* Makes a dead object live again, with its reference. The owner makes sure that nobody retires it meanwhile. */
void slab_revive(void *object);
/* True: dead, unreferenced. Only meaningful while the owner keeps slab_revive() away. */
bool slab_is_dead(const void *object);
bool slab_is_live(const void *object);
uint32_t slab_generation(const void *object);

/* The object of a slot that was used at least once, whatever its state; NULL past the last one. For walks. */
void *slab_at(struct slab *slab, uint32_t index);
/* Slots [1, this) were used at least once. */
uint32_t slab_end(struct slab *slab);

static inline uint32_t slab_in_use(struct slab *slab)
{
    return atomic_load_explicit(&slab->in_use, memory_order_relaxed);
}

#endif
