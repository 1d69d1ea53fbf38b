/*
 * A split virtqueue (virtio 1.3, 2.7) seen from the device: takes descriptor chains out of the available
 * ring, turns them into vectors of host memory, puts them back through the used ring.
 *
 * Rings and tables are the guest's and may change under us at any moment. Each index, ring entry and
 * descriptor is therefore read once into a local copy, and only the copy is checked and used.
 *
 * What a bad ring leads to. BROKEN: split_queue_pop() returns -EIO now and for ever after
 * (DEVICE_NEEDS_RESET, virtio 2.1.1); nothing more is taken from this queue, other queues go on. DROP: this
 * one request is completed with used length 0, the rest of the queue goes on. FAULT: as DROP, but answered
 * with EFAULT where the reply header can be written.
 *
 *   available index more than the queue size ahead                    BROKEN  2.7.13.3: indices only count up by one
 *   head in the available ring >= queue size                          BROKEN  no such descriptor
 *   next >= queue size (in an indirect table: >= its entries)         BROKEN  2.7.5: no such descriptor
 *   loop, chain longer than the queue size (table included)           BROKEN  2.7.5.2: driver MUST NOT
 *   INDIRECT without the feature, inside a table, or with NEXT        BROKEN  2.7.5.3.1: driver MUST NOT
 *   table length 0, no multiple of 16, more entries than the queue    BROKEN  2.7.5.3.1, 2.7.5.2
 *   table not in ordinary guest memory                                BROKEN  nothing of the chain is known
 *   writable before readable                                          DROP    2.7.4.2: driver MUST NOT
 *   parts add up to more than 4 GiB                                   DROP    2.7.5.2: driver MUST NOT
 *   buffer in no region, wrapping, or not bindable in the window      FAULT   happens to honest guests, see
 *                                                                             oriel_memory_region.prepare
 *   buffer over more than 32 regions, chain of more than 1,056 vectors FAULT  our bounds
 *   buffer of length 0                                                skipped says nothing, costs nothing
 *   no writable part, no readable part                                allowed FORGET has none; the server decides
 *
 * BROKEN is what damages the ring itself: which descriptors are whose is no longer known. The WRITE flag of a
 * descriptor that points to an indirect table is ignored (2.7.5.3.2).
 *
 * One thread at a time may pop, one thread at a time push.
 */
#ifndef ORIEL_VIRTIO_SPLIT_QUEUE_H
#define ORIEL_VIRTIO_SPLIT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <oriel/guest_memory.h>
#include <oriel/virtio_fs.h>

#define SPLIT_QUEUE_FEATURE_INDIRECT  (UINT64_C(1) << 28)
#define SPLIT_QUEUE_FEATURE_EVENT_IDX (UINT64_C(1) << 29)

/*
 * Vectors of one chain: four times what a guest's largest request has (1 MiB in pages of 4 KiB, headers), and a reserve for
 * buffers that span regions. Larger queues hold more requests, not longer ones.
 */
#define SPLIT_QUEUE_MAX_VECTORS (1024 + 32)

enum split_queue_verdict {
    SPLIT_QUEUE_GOOD,
    SPLIT_QUEUE_DROP,
    SPLIT_QUEUE_FAULT,
};

struct split_queue_chain {
    uint16_t head; /* what split_queue_push() returns it by */
    enum split_queue_verdict verdict;
    bool guarded;       /* a vector lies in a guarded region */
    uint64_t in_bytes;  /* that the driver says are device-readable, at most 4 GiB */
    uint16_t in_count;  /* device-readable vectors: iov[0 … in_count) */
    uint16_t out_count; /* device-writable vectors behind them; with FAULT both stop before the bad buffer */
    struct iovec iov[SPLIT_QUEUE_MAX_VECTORS];
};

struct split_queue {
    void *desc, *avail, *used; /* the rings in this process; NULL where the memory map lost them */
    uint64_t desc_gpa, avail_gpa, used_gpa;
    uint16_t size;
    bool indirect, event_idx;

    uint16_t next_avail; /* the next available entry to take */
    uint16_t seen_avail; /* the driver's index when it was last read */
    const char *broken;  /* what broke the queue, or NULL */

    uint16_t next_used;      /* the next used entry to fill */
    uint16_t published_used; /* the index that the driver was told */
    uint16_t signalled_used; /* the index at the last decision to notify */
    bool signalled_known;    /* false until the first decision */
    bool kicks_off;          /* the driver was told so by the flag; who polls does not write it each time */
};

/* setup and errors as of oriel_virtio_fs_queue_start(). */
int split_queue_start(struct split_queue *queue, const struct oriel_virtio_queue_setup *setup,
                      uint64_t features, const struct oriel_memory *memory);

/*
 * Finds the rings again in a changed memory map. -EFAULT: they are not there; the queue is broken then, and
 * what is still pushed goes nowhere.
 */
int split_queue_move(struct split_queue *queue, const struct oriel_memory *memory);

void split_queue_state(const struct split_queue *queue, struct oriel_virtio_queue_setup *state);

/* 1: *chain was taken. 0: the ring is empty. -EIO: the queue is broken. */
int split_queue_pop(struct split_queue *queue, const struct oriel_memory *memory,
                    struct split_queue_chain *chain);

/* Fills the next used entry; the driver sees it with split_queue_publish(). */
void split_queue_push(struct split_queue *queue, uint16_t head, uint32_t len);

/* Shows the driver all that was pushed. True: it wants to be notified of that. */
bool split_queue_publish(struct split_queue *queue);

/* Asks the driver for no kicks. With the event index a hint that needs no action. */
void split_queue_disable_kicks(struct split_queue *queue);

/* Asks for a kick at the next available entry. True: one came meanwhile (or the index is bad), so pop again.
 */
bool split_queue_enable_kicks(struct split_queue *queue);

#endif
