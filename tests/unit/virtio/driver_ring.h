/*
 * The driver's side of a split virtqueue in a buffer that plays guest memory: enough to build good chains,
 * and to write any bytes where a bad driver would. No errors: a test that asks for the impossible fails an
 * assertion.
 */
#ifndef DRIVER_RING_H
#define DRIVER_RING_H

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <oriel/guest_memory.h>
#include <oriel/virtio_fs.h>

#include "base/checked.h"
#include "base/le.h"

#define DRIVER_NEXT     1u
#define DRIVER_WRITE    2u
#define DRIVER_INDIRECT 4u

#define DRIVER_F_INDIRECT  (UINT64_C(1) << 28)
#define DRIVER_F_EVENT_IDX (UINT64_C(1) << 29)
#define DRIVER_F_VERSION_1 (UINT64_C(1) << 32)

struct driver_ring {
    unsigned char *ram; /* guest memory [ram_gpa, ram_gpa + ram_len) */
    uint64_t ram_gpa, ram_len;
    uint16_t size;
    uint64_t desc, avail, used; /* guest-physical */
    uint64_t free_gpa;          /* from here on nothing is used yet */
    uint16_t next_avail, next_used;
};

/* One part of a chain. */
struct driver_part {
    uint64_t addr;
    uint32_t len;
    bool writable;
};

static inline unsigned char *driver_host(const struct driver_ring *ring, uint64_t gpa)
{
    assert(gpa >= ring->ram_gpa && gpa - ring->ram_gpa < ring->ram_len);
    return ring->ram + (gpa - ring->ram_gpa);
}

static inline uint16_t *driver_u16(const struct driver_ring *ring, uint64_t gpa)
{
    return (uint16_t *)(void *)driver_host(ring, gpa);
}

static inline uint64_t driver_alloc(struct driver_ring *ring, uint64_t len, uint64_t alignment)
{
    uint64_t at = align_up(ring->free_gpa, alignment);
    assert(at + len <= ring->ram_gpa + ring->ram_len);
    ring->free_gpa = at + len;
    return at;
}

/* Lays the rings out from first_gpa on and zeroes them; what follows is free for buffers. */
static inline void driver_ring_init(struct driver_ring *ring, void *ram, uint64_t ram_gpa, uint64_t ram_len,
                                    uint64_t first_gpa, uint16_t size)
{
    *ring = (struct driver_ring){.ram = ram, .ram_gpa = ram_gpa, .ram_len = ram_len, .size = size};
    ring->free_gpa = first_gpa;
    ring->desc = driver_alloc(ring, 16u * (uint64_t)size, 16);
    ring->avail = driver_alloc(ring, 6u + 2u * (uint64_t)size, 2);
    ring->used = driver_alloc(ring, 6u + 8u * (uint64_t)size, 4);
    memset(driver_host(ring, ring->desc), 0, ring->free_gpa - ring->desc);
}

static inline struct oriel_virtio_queue_setup driver_setup(const struct driver_ring *ring)
{
    return (struct oriel_virtio_queue_setup){
        .size = ring->size, .desc = ring->desc, .avail = ring->avail, .used = ring->used};
}

/* Writes descriptor `index` of the table at `table`, whatever the values. */
static inline void driver_write_desc(const struct driver_ring *ring, uint64_t table, unsigned index,
                                     uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    unsigned char *at = driver_host(ring, table + 16u * (uint64_t)index);
    le64_store(at, addr);
    le32_store(at + 8, len);
    le16_store(at + 12, flags);
    le16_store(at + 14, next);
}

/* Writes a chain into consecutive entries of a table, starting at `first`. */
static inline void driver_write_chain(const struct driver_ring *ring, uint64_t table, unsigned first,
                                      const struct driver_part *parts, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned flags = (parts[i].writable ? DRIVER_WRITE : 0) | (i + 1 < count ? DRIVER_NEXT : 0);
        driver_write_desc(ring, table, first + i, parts[i].addr, parts[i].len, (uint16_t)flags,
                          (uint16_t)(first + i + 1));
    }
}

/* Writes an indirect table for the parts and points descriptor `index` to it. Returns the table's address. */
static inline uint64_t driver_write_indirect(struct driver_ring *ring, unsigned index,
                                             const struct driver_part *parts, unsigned count)
{
    uint64_t table = driver_alloc(ring, 16u * (uint64_t)count, 16);
    driver_write_chain(ring, table, 0, parts, count);
    driver_write_desc(ring, ring->desc, index, table, 16u * count, DRIVER_INDIRECT, 0);
    return table;
}

/* The available index, whatever the value. */
static inline void driver_set_avail_index(struct driver_ring *ring, uint16_t index)
{
    __atomic_store_n(driver_u16(ring, ring->avail + 2), htole16(index), __ATOMIC_SEQ_CST);
    ring->next_avail = index;
}

/* Makes a chain available; visible at once. */
static inline void driver_offer(struct driver_ring *ring, uint16_t head)
{
    uint64_t entry = ring->avail + 4 + 2u * (uint64_t)(ring->next_avail & (ring->size - 1u));
    __atomic_store_n(driver_u16(ring, entry), htole16(head), __ATOMIC_RELAXED);
    driver_set_avail_index(ring, (uint16_t)(ring->next_avail + 1));
}

static inline uint16_t driver_used_index(const struct driver_ring *ring)
{
    return le16toh(__atomic_load_n(driver_u16(ring, ring->used + 2), __ATOMIC_ACQUIRE));
}

/* Takes the next used entry, if there is one. */
static inline bool driver_take_used(struct driver_ring *ring, uint32_t *id, uint32_t *len)
{
    if (driver_used_index(ring) == ring->next_used)
        return false;
    uint64_t entry = ring->used + 4 + 8u * (uint64_t)(ring->next_used & (ring->size - 1u));
    *id = le32_load(driver_host(ring, entry));
    *len = le32_load(driver_host(ring, entry + 4));
    ring->next_used++;
    return true;
}

/* Asks for a notification once the used index passes `index` (event index feature). */
static inline void driver_set_used_event(const struct driver_ring *ring, uint16_t index)
{
    __atomic_store_n(driver_u16(ring, ring->avail + 4 + 2u * (uint64_t)ring->size), htole16(index),
                     __ATOMIC_SEQ_CST);
}

/* The device's wish for kicks (event index feature). */
static inline uint16_t driver_avail_event(const struct driver_ring *ring)
{
    return le16toh(
        __atomic_load_n(driver_u16(ring, ring->used + 4 + 8u * (uint64_t)ring->size), __ATOMIC_SEQ_CST));
}

/* A kick is wanted for what was offered since the available index was `before`. */
static inline bool driver_must_kick(const struct driver_ring *ring, uint16_t before)
{
    return (uint16_t)(ring->next_avail - driver_avail_event(ring) - 1) <
           (uint16_t)(ring->next_avail - before);
}

/* A request of two parts: `in` is copied to guest memory, out_len bytes are left for the reply. */
static inline void driver_offer_request(struct driver_ring *ring, uint16_t first, const void *in,
                                        uint32_t in_len, uint32_t out_len, uint64_t *out_gpa)
{
    uint64_t in_gpa = driver_alloc(ring, in_len, 8);
    *out_gpa = driver_alloc(ring, out_len, 8);
    memcpy(driver_host(ring, in_gpa), in, in_len);
    struct driver_part parts[] = {{in_gpa, in_len, false}, {*out_gpa, out_len, true}};
    driver_write_chain(ring, ring->desc, first, parts, out_len != 0 ? 2 : 1);
    driver_offer(ring, first);
}

#endif
