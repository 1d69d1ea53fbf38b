#include "base/slab.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SHIFT 9
#define CHUNK_ITEMS (UINT32_C(1) << CHUNK_SHIFT)

/* The word: generation in the upper half, the live mark in bit 31, the references below it. */
#define LIVE      UINT64_C(0x80000000)
#define REFS_MASK UINT64_C(0x7fffffff)

static inline struct slab_item *item_of(void *object)
{
    return object;
}

static inline uint64_t word_of(const void *object)
{
    const struct slab_item *item = object;
    return atomic_load_explicit(&item->word, memory_order_acquire);
}

int slab_init(struct slab *slab, size_t item_size, uint32_t capacity)
{
    assert(item_size >= sizeof(struct slab_item) && capacity < UINT32_MAX - CHUNK_ITEMS);
    memset(slab, 0, sizeof(*slab));
    slab->item_size = item_size;
    slab->capacity = capacity;
    size_t chunks = ((size_t)capacity + 1 + CHUNK_ITEMS - 1) / CHUNK_ITEMS;
    slab->chunks = calloc(chunks, sizeof(slab->chunks[0]));
    if (slab->chunks == NULL)
        return -ENOMEM;
    pthread_mutex_init(&slab->grow, NULL);
    atomic_init(&slab->fresh, 1); /* index 0 is nobody's, so that id 0 never names anything */
    return 0;
}

void slab_destroy(struct slab *slab)
{
    if (slab->chunks == NULL)
        return;
    size_t chunks = ((size_t)slab->capacity + 1 + CHUNK_ITEMS - 1) / CHUNK_ITEMS;
    for (size_t i = 0; i < chunks; i++)
        free(atomic_load(&slab->chunks[i]));
    free((void *)(uintptr_t)slab->chunks);
    slab->chunks = NULL;
    pthread_mutex_destroy(&slab->grow);
}

static void *slot(struct slab *slab, uint32_t index)
{
    char *chunk = atomic_load_explicit(&slab->chunks[index >> CHUNK_SHIFT], memory_order_acquire);
    return chunk == NULL ? NULL : chunk + (size_t)(index & (CHUNK_ITEMS - 1)) * slab->item_size;
}

static void *new_chunk(struct slab *slab)
{
    size_t bytes = (slab->item_size * CHUNK_ITEMS + 63) & ~(size_t)63;
    void *chunk = aligned_alloc(64, bytes);
    if (chunk != NULL)
        memset(chunk, 0, bytes);
    return chunk;
}

static void *slot_with_memory(struct slab *slab, uint32_t index)
{
    void *object = slot(slab, index);
    if (object != NULL)
        return object;
    pthread_mutex_lock(&slab->grow);
    if (atomic_load(&slab->chunks[index >> CHUNK_SHIFT]) == NULL)
        atomic_store_explicit(&slab->chunks[index >> CHUNK_SHIFT], new_chunk(slab), memory_order_release);
    pthread_mutex_unlock(&slab->grow);
    return slot(slab, index);
}

static void push_free(struct slab *slab, struct slab_item *item)
{
    uint64_t head = atomic_load_explicit(&slab->free_head, memory_order_relaxed), next;
    do {
        atomic_store_explicit(&item->link, (uint32_t)head, memory_order_relaxed);
        next = ((head >> 32) + 1) << 32 | item->index;
    } while (!atomic_compare_exchange_weak_explicit(&slab->free_head, &head, next, memory_order_release,
                                                    memory_order_relaxed));
}

/* The tag in the head's upper half tells a head that was popped and pushed again from one that stayed. */
static struct slab_item *pop_free(struct slab *slab)
{
    uint64_t head = atomic_load_explicit(&slab->free_head, memory_order_acquire);
    while ((uint32_t)head != 0) {
        struct slab_item *item = slot(slab, (uint32_t)head);
        assert(item != NULL); /* what is free was in use, so it has memory */
        uint64_t next = ((head >> 32) + 1) << 32 | atomic_load_explicit(&item->link, memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&slab->free_head, &head, next, memory_order_acquire,
                                                  memory_order_acquire))
            return item;
    }
    return NULL;
}

static struct slab_item *fresh_slot(struct slab *slab)
{
    uint32_t index = atomic_load_explicit(&slab->fresh, memory_order_relaxed);
    do {
        if (index > slab->capacity)
            return NULL;
    } while (!atomic_compare_exchange_weak(&slab->fresh, &index, index + 1));
    struct slab_item *item = slot_with_memory(slab, index);
    if (item != NULL)
        item->index = index;
    return item; /* without memory the index is lost, which is the least of the troubles then */
}

void *slab_take(struct slab *slab)
{
    struct slab_item *item = pop_free(slab);
    if (item == NULL)
        item = fresh_slot(slab);
    if (item == NULL)
        return NULL;
    atomic_fetch_add_explicit(&slab->in_use, 1, memory_order_relaxed);
    memset((char *)item + sizeof(*item), 0, slab->item_size - sizeof(*item));
    return item;
}

void slab_retire(struct slab *slab, void *object)
{
    struct slab_item *item = item_of(object);
    uint64_t word = atomic_load_explicit(&item->word, memory_order_relaxed);
    assert((word & (LIVE | REFS_MASK)) == 0);
    uint32_t generation = (uint32_t)(word >> 32) + 1;
    atomic_fetch_sub_explicit(&slab->in_use, 1, memory_order_relaxed);
    if (generation == 0)
        return; /* all generations used up: an old id must never become good again */
    atomic_store_explicit(&item->word, (uint64_t)generation << 32, memory_order_release);
    push_free(slab, item);
}

void slab_publish(void *object)
{
    struct slab_item *item = item_of(object);
    uint64_t word = atomic_load_explicit(&item->word, memory_order_relaxed);
    assert((word & (LIVE | REFS_MASK)) == 0);
    atomic_store_explicit(&item->word, word | LIVE | 1, memory_order_release);
}

uint64_t slab_id(const void *object)
{
    const struct slab_item *item = object;
    return (word_of(object) & ~(LIVE | REFS_MASK)) | item->index;
}

void *slab_get(struct slab *slab, uint64_t id)
{
    uint32_t index = (uint32_t)id;
    if (index == 0 || index >= atomic_load_explicit(&slab->fresh, memory_order_acquire))
        return NULL;
    struct slab_item *item = slot(slab, index);
    if (item == NULL)
        return NULL;
    uint64_t word = word_of(item);
    do {
        if (word >> 32 != id >> 32 || (word & LIVE) == 0)
            return NULL;
    } while (!atomic_compare_exchange_weak_explicit(&item->word, &word, word + 1, memory_order_acquire,
                                                    memory_order_acquire));
    return item;
}

void slab_ref(void *object)
{
    uint64_t word = atomic_fetch_add_explicit(&item_of(object)->word, 1, memory_order_relaxed);
    assert((word & REFS_MASK) != 0);
    (void)word;
}

bool slab_put(void *object)
{
    uint64_t word = atomic_fetch_sub_explicit(&item_of(object)->word, 1, memory_order_acq_rel);
    assert((word & REFS_MASK) != 0);
    return (word & (LIVE | REFS_MASK)) == 1;
}

enum slab_kill_result slab_kill(void *object)
{
    struct slab_item *item = item_of(object);
    uint64_t word = word_of(object);
    do {
        if ((word & LIVE) == 0)
            return SLAB_NOT_LIVE;
    } while (!atomic_compare_exchange_weak_explicit(&item->word, &word, (word & ~LIVE) - 1,
                                                    memory_order_acq_rel, memory_order_acquire));
    return (word & REFS_MASK) == 1 ? SLAB_LAST : SLAB_KILLED;
}

void slab_revive(void *object)
{
    uint64_t word = atomic_fetch_add_explicit(&item_of(object)->word, LIVE + 1, memory_order_acq_rel);
    assert((word & LIVE) == 0);
    (void)word;
}

bool slab_is_dead(const void *object)
{
    return (word_of(object) & (LIVE | REFS_MASK)) == 0;
}

bool slab_is_live(const void *object)
{
    return (word_of(object) & LIVE) != 0;
}

uint32_t slab_generation(const void *object)
{
    return (uint32_t)(word_of(object) >> 32);
}

void *slab_at(struct slab *slab, uint32_t index)
{
    return index == 0 || index >= slab_end(slab) ? NULL : slot(slab, index);
}

uint32_t slab_end(struct slab *slab)
{
    return atomic_load_explicit(&slab->fresh, memory_order_acquire);
}
