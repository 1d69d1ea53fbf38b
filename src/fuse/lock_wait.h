/*
 * Waiting for file locks (SETLKW). Back-ends never block, so the waiting is here: a waiter tries again when a
 * lock of this server was given up, and else with a growing pause, because other processes hold locks too. It
 * leaves when its request is interrupted, or the server wants to be empty.
 */
#ifndef ORIEL_FUSE_LOCK_WAIT_H
#define ORIEL_FUSE_LOCK_WAIT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fuse/gate.h"

#define LOCK_WAIT_EARLY 16

struct lock_waiter;

struct lock_wait {
    struct gate *gate;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct lock_waiter *waiters;
    uint32_t waiting, max_waiting;
    _Atomic uint32_t waiting_hint;   /* = waiting, for a look without the lock */
    uint64_t released;               /* counts locks given up */
    uint64_t early[LOCK_WAIT_EARLY]; /* INTERRUPTs that came before their request began to wait */
    unsigned early_next;
};

void lock_wait_init(struct lock_wait *wait, struct gate *gate, uint32_t max_waiting);
void lock_wait_destroy(struct lock_wait *wait);

/*
 * Calls attempt() until it says something else than -EAGAIN, and returns that; or -EINTR (interrupted, or the
 * gate was closed), or -ENOLCK (too many wait already). The caller is inside the gate.
 */
int lock_wait_for(struct lock_wait *wait, uint64_t unique, int (*attempt)(void *arg), void *arg);

/* A lock may have been given up. */
void lock_wait_released(struct lock_wait *wait);
/* INTERRUPT for one request. */
void lock_wait_interrupt(struct lock_wait *wait, uint64_t unique);
/* All who wait now leave; with the gate closed also those to come. */
void lock_wait_interrupt_all(struct lock_wait *wait);
/* A new session: request numbers begin anew. */
void lock_wait_reset(struct lock_wait *wait);

#endif
