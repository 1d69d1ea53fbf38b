/*
 * The gate: requests go through it in any number at once, and INIT, DESTROY and reset close it and have the
 * session for themselves.
 *
 * Each thread counts itself in a shard of its own, so passing the gate costs two additions on a cache line
 * that is not shared.
 */
#ifndef ORIEL_FUSE_GATE_H
#define ORIEL_FUSE_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define GATE_SHARDS 32

struct gate_shard {
    _Alignas(64) _Atomic uint64_t inside;
};

struct gate {
    struct gate_shard shards[GATE_SHARDS];
    _Alignas(64) _Atomic bool closed;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

void fuse_gate_init(struct gate *gate);
void fuse_gate_destroy(struct gate *gate);

/* The calling thread's shard, 0 … GATE_SHARDS - 1: for anything that counts per thread. */
static inline unsigned fuse_gate_shard_of_thread(void)
{
    return (unsigned)((uint64_t)pthread_self() * UINT64_C(0x9e3779b97f4a7c15) >> 59);
}

/* Waits while the gate is closed. Leave with the shard that was given. */
unsigned fuse_gate_enter(struct gate *gate);
void fuse_gate_leave(struct gate *gate, unsigned shard);

/* Closes the gate and waits until nobody is inside; one closer at a time. fuse_gate_shut() is the first half: from
 * then on fuse_gate_is_closed(), so whoever waits inside for something else can be told to leave. */
void fuse_gate_shut(struct gate *gate);
void fuse_gate_drain(struct gate *gate);
void fuse_gate_open(struct gate *gate);

static inline bool fuse_gate_is_closed(struct gate *gate)
{
    return atomic_load(&gate->closed);
}

#endif
