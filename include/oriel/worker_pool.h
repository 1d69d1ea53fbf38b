/*
 * A pool of threads for requests that may block for long (SETLKW, FSYNC, …), so that they do not hold up
 * their queue. The embedder makes it, owns it and decides whether there is one: the library starts no thread
 * by itself.
 *
 * A few threads stay; more are started while all are busy, up to a bound, and go again after some idle
 * seconds: a request that waits for a lock keeps its thread until the holder lets go, and the holder may need
 * another thread to get there.
 */
#ifndef ORIEL_WORKER_POOL_H
#define ORIEL_WORKER_POOL_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct oriel_worker_pool;

struct oriel_worker_pool_options {
    size_t size;          /* sizeof(struct oriel_worker_pool_options) */
    unsigned threads;     /* that stay, 1 to 64; 0 = 2 */
    unsigned max_threads; /* at the busiest, threads to 1,024; 0 = 128 */
};

/*
 * Starts the threads that stay. They have all signals blocked. One pool may serve many devices.
 * options may be NULL: all by default. Errors: -EINVAL (options), -ENOMEM, -EAGAIN (no thread could be
 * started).
 */
int oriel_worker_pool_create(const struct oriel_worker_pool_options *options, struct oriel_worker_pool **out);

/* Everything that uses the pool must be gone. Waits for the threads to end. NULL is allowed. */
void oriel_worker_pool_destroy(struct oriel_worker_pool *pool);

struct oriel_worker_pool_stats {
    unsigned threads;    /* now */
    unsigned idle;       /* of these */
    unsigned waiting;    /* tasks that wait for a thread */
    unsigned long tasks; /* ever handed over */
};
/* Any thread. */
void oriel_worker_pool_stats(struct oriel_worker_pool *pool, struct oriel_worker_pool_stats *out);

#ifdef __cplusplus
}
#endif

#endif
