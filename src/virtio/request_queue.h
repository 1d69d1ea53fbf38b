/*
 * One queue of the virtio-fs device: a split queue, its run state, and the loop that serves requests from it.
 *
 * Run state. The thread that serves the queue moves it IDLE -> BUSY -> IDLE, and everything in the queue
 * belongs to whoever made it BUSY. Others never take a lock that the serving thread holds for long: they make
 * an idle queue BUSY themselves for a moment, or ask a busy one to stop and wait.
 */
#ifndef ORIEL_VIRTIO_REQUEST_QUEUE_H
#define ORIEL_VIRTIO_REQUEST_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <oriel/guest_memory.h>
#include <oriel/virtio_fs.h>

#include "virtio/split_queue.h"

/* The map that all queues of a device use; it changes as one. */
struct shared_memory_map {
    pthread_mutex_t lock;
    struct oriel_memory *current; /* NULL before the first one */
    atomic_uint generation;       /* counts the changes, so that a batch looks without the lock */
};

enum request_queue_state {
    REQUEST_QUEUE_STOPPED,
    REQUEST_QUEUE_IDLE,
    REQUEST_QUEUE_BUSY, /* serving */
    REQUEST_QUEUE_HELD, /* someone else has it for a moment */
};

/* Written by one thread at a time, read by any. */
struct request_queue_counters {
    _Atomic uint64_t kicks, requests, notifications, breaks, dropped, handed_off;
};

struct request_queue {
    _Alignas(64) atomic_uint state;
    atomic_bool stop_wanted;
    uint16_t number;
    const struct oriel_virtio_fs_options *options; /* the device's */
    struct shared_memory_map *map;
    struct oriel_memory *memory; /* a reference, as of memory_generation */
    unsigned memory_generation;
    struct split_queue ring;
    bool broken_told;
    struct request_queue_counters counters;
    unsigned batch_limit;    /* requests that are published together at most */
    unsigned batch_requests; /* served since the last publication */
    uint64_t batch_bytes;

    /* Requests in the pool. While there is one the used ring belongs to whoever holds the lock. */
    atomic_uint handed_off;
    pthread_mutex_t used_lock;

    pthread_mutex_t wait_lock; /* stop() waits here */
    pthread_cond_t quiet;      /* not BUSY any more, or a handed-off request is done */

    struct split_queue_chain chain; /* the one being served */
};

int request_queue_init(struct request_queue *queue, uint16_t number,
                       const struct oriel_virtio_fs_options *options, struct shared_memory_map *map);
void request_queue_destroy(struct request_queue *queue);

/* As the functions of oriel_virtio_fs. Start and stop of one queue: one thread at a time. */
int request_queue_start(struct request_queue *queue, const struct oriel_virtio_queue_setup *setup,
                        uint64_t features);
void request_queue_stop(struct request_queue *queue, struct oriel_virtio_queue_setup *state);
/* ask_for_kick: before it returns with an empty queue. */
int request_queue_process(struct request_queue *queue, bool ask_for_kick);

/* The map changed: an idle queue takes it over now. */
void request_queue_refresh_memory(struct request_queue *queue);

#endif
