/* How the queues hand a task to an embedder's pool. */
#ifndef ORIEL_VIRTIO_WORKER_POOL_H
#define ORIEL_VIRTIO_WORKER_POOL_H

#include <oriel/worker_pool.h>

/* Lives in the caller's own object, from submission until run() takes it over. */
struct worker_task {
    struct worker_task *next;
    void (*run)(struct worker_task *task);
};

/* Any thread; never blocks for long, never fails. Tasks are begun in the order they came. */
void worker_pool_submit(struct oriel_worker_pool *pool, struct worker_task *task);

#endif
