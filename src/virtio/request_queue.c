#include "virtio/request_queue.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "virtio/fault_reply.h"
#include "virtio/worker_pool.h"

/*
 * Replies are shown to the driver after so many requests or bytes at the latest: its side wakes up and works
 * while ours goes on.
 */
#define BATCH_REQUESTS 64
#define BATCH_BYTES    (64 * 1024)
/* Who polls has the driver on another core, and a wake-up takes it longer than us a request: the first replies wake it, and
 * it takes them and makes new requests while we go on. */
#define BATCH_POLLED 4

/* A request in the pool costs its vectors; a hostile guest may post many. Over this they are served inline.
 */
#define MAX_HANDED_OFF 256

#define STOP_POLL_NS 10000000 /* how long stop() waits before it interrupts requests that wait for a lock */

/* A request on its way through the pool. */
struct handed_off_request {
    struct worker_task task;
    struct request_queue *queue;
    struct oriel_memory *memory;
    uint16_t head, in_count, out_count;
    bool guarded;
    struct iovec iov[];
};

/* The only writer at this moment, so no read-modify-write is needed. */
static void count(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* ---- the used ring: ours alone until a request is in the pool ---- */

static bool lock_used(struct request_queue *queue)
{
    /* Only we hand off, so 0 stays 0; acquire: what the last worker did to the ring is seen. */
    if (atomic_load_explicit(&queue->handed_off, memory_order_acquire) == 0)
        return false;
    pthread_mutex_lock(&queue->used_lock);
    return true;
}

static void unlock_used(struct request_queue *queue, bool locked)
{
    if (locked)
        pthread_mutex_unlock(&queue->used_lock);
}

static void notify(struct request_queue *queue)
{
    queue->options->notify(queue->options->opaque, queue->number);
}

static void publish_batch(struct request_queue *queue)
{
    bool locked = lock_used(queue);
    bool wanted = split_queue_publish(&queue->ring);
    if (wanted)
        count(&queue->counters.notifications);
    unlock_used(queue, locked);
    queue->batch_requests = 0;
    queue->batch_bytes = 0;
    if (wanted)
        notify(queue);
}

static void tell_written(struct request_queue *queue, const struct oriel_memory *memory,
                         const struct iovec *out, size_t count)
{
    if (queue->options->wrote != NULL && count != 0)
        queue->options->wrote(queue->options->opaque, memory, out, count);
}

/* The request of queue->chain is done. */
static void complete(struct request_queue *queue, size_t len)
{
    const struct split_queue_chain *chain = &queue->chain;
    tell_written(queue, queue->memory, chain->iov + chain->in_count, chain->out_count);
    bool locked = lock_used(queue);
    split_queue_push(&queue->ring, chain->head, (uint32_t)len);
    unlock_used(queue, locked);
    queue->batch_requests++;
    queue->batch_bytes += len + chain->in_bytes;
    if (queue->batch_requests >= queue->batch_limit || queue->batch_bytes >= BATCH_BYTES)
        publish_batch(queue);
}

/* ---- one request ---- */

static struct oriel_fuse_request request_of(const struct request_queue *queue, const struct iovec *iov,
                                            size_t in_count, size_t out_count, bool guarded)
{
    return (struct oriel_fuse_request){
        .in = iov,
        .in_count = in_count,
        .out = iov + in_count,
        .out_count = out_count,
        .flags = (queue->number == 0 ? ORIEL_FUSE_HIPRIO : 0) | (guarded ? ORIEL_FUSE_GUARDED : 0),
    };
}

static void finish_handed_off(struct handed_off_request *request, size_t len)
{
    struct request_queue *queue = request->queue;
    tell_written(queue, request->memory, request->iov + request->in_count, request->out_count);
    pthread_mutex_lock(&queue->used_lock);
    split_queue_push(&queue->ring, request->head, (uint32_t)len);
    bool wanted = split_queue_publish(&queue->ring);
    if (wanted)
        count(&queue->counters.notifications);
    pthread_mutex_unlock(&queue->used_lock);
    if (wanted)
        notify(queue);
    oriel_memory_unref(request->memory);
    free(request);
    /* Last: stop() lets the queue go when it sees the count fall, so it is counted down under its lock. */
    pthread_mutex_lock(&queue->wait_lock);
    atomic_fetch_sub_explicit(&queue->handed_off, 1, memory_order_release);
    pthread_cond_broadcast(&queue->quiet);
    pthread_mutex_unlock(&queue->wait_lock);
}

static void run_handed_off(struct worker_task *task)
{
    struct handed_off_request *request = (struct handed_off_request *)(void *)task;
    struct oriel_fuse_request fuse =
        request_of(request->queue, request->iov, request->in_count, request->out_count, request->guarded);
    finish_handed_off(request, oriel_fuse_server_handle(request->queue->options->server, &fuse));
}

/* False: it could not be handed off and is still the caller's. */
static bool hand_off(struct request_queue *queue)
{
    const struct split_queue_chain *chain = &queue->chain;
    size_t vectors = (size_t)chain->in_count + chain->out_count;
    if (atomic_load_explicit(&queue->handed_off, memory_order_relaxed) >= MAX_HANDED_OFF)
        return false;
    struct handed_off_request *request = malloc(sizeof(*request) + vectors * sizeof(request->iov[0]));
    if (request == NULL)
        return false;
    request->task.run = run_handed_off;
    request->queue = queue;
    request->memory = oriel_memory_ref(queue->memory);
    request->head = chain->head;
    request->in_count = chain->in_count;
    request->out_count = chain->out_count;
    request->guarded = chain->guarded;
    memcpy(request->iov, chain->iov, vectors * sizeof(request->iov[0]));
    /* What waits unpublished must not wait for this one. */
    publish_batch(queue);
    atomic_fetch_add_explicit(&queue->handed_off, 1, memory_order_relaxed);
    count(&queue->counters.handed_off);
    worker_pool_submit(queue->options->pool, &request->task);
    return true;
}

/* Without a pool everything is served here. With one, what would wait for long is served there. */
static size_t serve_inline(struct request_queue *queue, struct oriel_fuse_request *request)
{
    struct oriel_fuse_server *server = queue->options->server;
    if (queue->options->pool == NULL)
        return oriel_fuse_server_handle(server, request);
    request->flags |= ORIEL_FUSE_NOWAIT;
    if (oriel_fuse_server_weight(server, request) == ORIEL_FUSE_INLINE) {
        size_t len = oriel_fuse_server_handle(server, request);
        if (len != ORIEL_FUSE_WOULD_BLOCK)
            return len;
    }
    if (hand_off(queue))
        return ORIEL_FUSE_WOULD_BLOCK;
    request->flags &= ~ORIEL_FUSE_NOWAIT;
    return oriel_fuse_server_handle(server, request);
}

static void serve_good(struct request_queue *queue)
{
    const struct split_queue_chain *chain = &queue->chain;
    struct oriel_fuse_request request =
        request_of(queue, chain->iov, chain->in_count, chain->out_count, chain->guarded);
    size_t len = serve_inline(queue, &request);
    if (len != ORIEL_FUSE_WOULD_BLOCK)
        complete(queue, len);
}

static void serve(struct request_queue *queue)
{
    const struct split_queue_chain *chain = &queue->chain;
    count(&queue->counters.requests);
    if (__builtin_expect(chain->verdict == SPLIT_QUEUE_GOOD, 1)) {
        serve_good(queue);
        return;
    }
    count(&queue->counters.dropped);
    ORIEL_TRACE(queue->options->trace, "virtio queue %u: head %u dropped: %s", queue->number, chain->head,
                chain->verdict == SPLIT_QUEUE_FAULT ? "bad address" : "bad order or length");
    complete(queue, chain->verdict == SPLIT_QUEUE_FAULT ? fault_reply(chain) : 0);
}

/* ---- run state ---- */

/* Makes an idle queue `wanted`. Returns the state met: IDLE means done. */
static enum request_queue_state claim(struct request_queue *queue, enum request_queue_state wanted)
{
    for (;;) {
        unsigned state = REQUEST_QUEUE_IDLE;
        if (atomic_compare_exchange_strong(&queue->state, &state, wanted))
            return REQUEST_QUEUE_IDLE;
        if (state != REQUEST_QUEUE_HELD)
            return state;
        sched_yield();
    }
}

static void release_busy(struct request_queue *queue)
{
    atomic_store(&queue->state, REQUEST_QUEUE_IDLE);
    /* Ordered with stop(): it sets the flag, then looks at the state. */
    if (atomic_load(&queue->stop_wanted)) {
        pthread_mutex_lock(&queue->wait_lock);
        pthread_cond_broadcast(&queue->quiet);
        pthread_mutex_unlock(&queue->wait_lock);
    }
}

static void tell_broken(struct request_queue *queue)
{
    if (queue->broken_told)
        return;
    queue->broken_told = true;
    count(&queue->counters.breaks);
    ORIEL_TRACE(queue->options->trace, "virtio queue %u broken: %s", queue->number, queue->ring.broken);
    if (queue->options->broken != NULL)
        queue->options->broken(queue->options->opaque);
}

/* Takes over a changed memory map. The caller owns the queue. The old map is handed back to be let go. */
static struct oriel_memory *take_over_memory(struct request_queue *queue)
{
    struct oriel_memory *old = queue->memory;
    pthread_mutex_lock(&queue->map->lock);
    queue->memory = oriel_memory_ref(queue->map->current);
    queue->memory_generation = atomic_load(&queue->map->generation);
    pthread_mutex_unlock(&queue->map->lock);
    /* A worker may be pushing: the rings' addresses change under its lock. */
    bool locked = lock_used(queue);
    (void)split_queue_move(&queue->ring, queue->memory);
    unlock_used(queue, locked);
    return old;
}

static void refresh_memory(struct request_queue *queue)
{
    if (atomic_load_explicit(&queue->map->generation, memory_order_acquire) != queue->memory_generation)
        oriel_memory_unref(take_over_memory(queue));
}

void request_queue_refresh_memory(struct request_queue *queue)
{
    if (claim(queue, REQUEST_QUEUE_HELD) != REQUEST_QUEUE_IDLE)
        return;
    struct oriel_memory *old = take_over_memory(queue);
    if (queue->ring.broken != NULL)
        tell_broken(queue);
    atomic_store(&queue->state, REQUEST_QUEUE_IDLE);
    oriel_memory_unref(old);
}

/* Serves until the ring is empty, the queue breaks or somebody wants it to stop. */
static int serve_available(struct request_queue *queue, bool ask_for_kick)
{
    int taken = 0;
    queue->batch_limit = ask_for_kick ? BATCH_REQUESTS : BATCH_POLLED;
    split_queue_disable_kicks(&queue->ring);
    do {
        refresh_memory(queue);
        while (!atomic_load_explicit(&queue->stop_wanted, memory_order_relaxed)) {
            int r = split_queue_pop(&queue->ring, queue->memory, &queue->chain);
            if (r <= 0)
                break;
            taken++;
            serve(queue);
            if (queue->batch_requests == 0)
                refresh_memory(queue);
        }
        publish_batch(queue);
    } while (queue->ring.broken == NULL && !atomic_load_explicit(&queue->stop_wanted, memory_order_relaxed) &&
             ask_for_kick && split_queue_enable_kicks(&queue->ring));
    return taken;
}

int request_queue_process(struct request_queue *queue, bool ask_for_kick)
{
    enum request_queue_state met = claim(queue, REQUEST_QUEUE_BUSY);
    if (met != REQUEST_QUEUE_IDLE)
        return met == REQUEST_QUEUE_STOPPED ? -ENXIO : -EBUSY;
    if (ask_for_kick)
        count(&queue->counters.kicks);
    int taken = queue->ring.broken == NULL ? serve_available(queue, ask_for_kick) : 0;
    bool broken = queue->ring.broken != NULL;
    if (broken)
        tell_broken(queue);
    release_busy(queue);
    return broken ? -EIO : taken;
}

int request_queue_start(struct request_queue *queue, const struct oriel_virtio_queue_setup *setup,
                        uint64_t features)
{
    if (atomic_load(&queue->state) != REQUEST_QUEUE_STOPPED)
        return -EBUSY;
    pthread_mutex_lock(&queue->map->lock);
    queue->memory = oriel_memory_ref(queue->map->current);
    queue->memory_generation = atomic_load(&queue->map->generation);
    pthread_mutex_unlock(&queue->map->lock);
    int r = queue->memory == NULL ? -ENXIO : split_queue_start(&queue->ring, setup, features, queue->memory);
    if (r != 0) {
        oriel_memory_unref(queue->memory);
        queue->memory = NULL;
        return r;
    }
    queue->broken_told = false;
    queue->batch_requests = 0;
    queue->batch_bytes = 0;
    atomic_store(&queue->state, REQUEST_QUEUE_IDLE);
    return 0;
}

/* Waits a short while under wait_lock. Whoever is not done then may wait for a lock, and is made to give up.
 */
static void wait_for_quiet(struct request_queue *queue)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += STOP_POLL_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    if (pthread_cond_timedwait(&queue->quiet, &queue->wait_lock, &until) == ETIMEDOUT)
        oriel_fuse_server_interrupt(queue->options->server);
}

void request_queue_stop(struct request_queue *queue, struct oriel_virtio_queue_setup *state)
{
    if (state != NULL)
        *state = (struct oriel_virtio_queue_setup){0};
    if (atomic_load(&queue->state) == REQUEST_QUEUE_STOPPED)
        return;
    pthread_mutex_lock(&queue->wait_lock);
    atomic_store(&queue->stop_wanted, true);
    while (claim(queue, REQUEST_QUEUE_STOPPED) == REQUEST_QUEUE_BUSY)
        wait_for_quiet(queue);
    while (atomic_load_explicit(&queue->handed_off, memory_order_acquire) != 0)
        wait_for_quiet(queue);
    atomic_store(&queue->stop_wanted, false);
    pthread_mutex_unlock(&queue->wait_lock);
    /* Whoever goes on with the ring needs kicks; it may have been stopped while they were switched off. */
    if (queue->ring.broken == NULL)
        (void)split_queue_enable_kicks(&queue->ring);
    if (state != NULL)
        split_queue_state(&queue->ring, state);
    oriel_memory_unref(queue->memory);
    queue->memory = NULL;
}

int request_queue_init(struct request_queue *queue, uint16_t number,
                       const struct oriel_virtio_fs_options *options, struct shared_memory_map *map)
{
    pthread_condattr_t monotonic;
    memset(queue, 0, sizeof(*queue));
    queue->number = number;
    queue->options = options;
    queue->map = map;
    if (pthread_condattr_init(&monotonic) != 0)
        return -ENOMEM;
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int r = pthread_cond_init(&queue->quiet, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (r != 0)
        return -ENOMEM;
    pthread_mutex_init(&queue->used_lock, NULL);
    pthread_mutex_init(&queue->wait_lock, NULL);
    return 0;
}

void request_queue_destroy(struct request_queue *queue)
{
    pthread_mutex_destroy(&queue->wait_lock);
    pthread_mutex_destroy(&queue->used_lock);
    pthread_cond_destroy(&queue->quiet);
}
