#include "fuse/gate.h"

#include <assert.h>

static_assert(GATE_SHARDS == 1 << (64 - 59), "fuse_gate_shard_of_thread() gives as many bits");

void fuse_gate_init(struct gate *gate)
{
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
}

void fuse_gate_destroy(struct gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

/* Order matters: count first, look then. The closer closes first and counts then, so one sees the other. */
unsigned fuse_gate_enter(struct gate *gate)
{
    unsigned shard = fuse_gate_shard_of_thread();
    for (;;) {
        atomic_fetch_add(&gate->shards[shard].inside, 1);
        if (!fuse_gate_is_closed(gate))
            return shard;
        fuse_gate_leave(gate, shard);
        pthread_mutex_lock(&gate->lock);
        while (fuse_gate_is_closed(gate))
            pthread_cond_wait(&gate->changed, &gate->lock);
        pthread_mutex_unlock(&gate->lock);
    }
}

void fuse_gate_leave(struct gate *gate, unsigned shard)
{
    atomic_fetch_sub(&gate->shards[shard].inside, 1);
    if (fuse_gate_is_closed(gate)) {
        pthread_mutex_lock(&gate->lock);
        pthread_cond_broadcast(&gate->changed);
        pthread_mutex_unlock(&gate->lock);
    }
}

static bool anyone_inside(struct gate *gate)
{
    for (unsigned i = 0; i < GATE_SHARDS; i++) {
        if (atomic_load(&gate->shards[i].inside) != 0)
            return true;
    }
    return false;
}

void fuse_gate_shut(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (fuse_gate_is_closed(gate))
        pthread_cond_wait(&gate->changed, &gate->lock);
    atomic_store(&gate->closed, true);
    pthread_mutex_unlock(&gate->lock);
}

void fuse_gate_drain(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (anyone_inside(gate))
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

void fuse_gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    atomic_store(&gate->closed, false);
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}
