#include "virtio/worker_pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_THREADS     2
#define DEFAULT_MAX_THREADS 128
#define THREADS_LIMIT       64
#define MAX_THREADS_LIMIT   1024
#define IDLE_SECONDS        10
#define STACK_BYTES         (256 * 1024)

struct oriel_worker_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;  /* a task came, or the end */
    pthread_cond_t ended; /* a thread ended */
    struct worker_task *first, **last;
    unsigned keep, max;
    unsigned threads, idle, waiting;
    unsigned long tasks;
    pthread_t last_ended; /* not joined yet */
    bool has_ended;
    bool stopping;
};

static struct worker_task *take_task(struct oriel_worker_pool *pool)
{
    struct worker_task *task = pool->first;
    pool->first = task->next;
    if (pool->first == NULL)
        pool->last = &pool->first;
    pool->waiting--;
    return task;
}

/* Waits for a task under the lock. False: this thread shall end. */
static bool wait_for_task(struct oriel_worker_pool *pool)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    while (pool->first == NULL) {
        if (pool->stopping)
            return false;
        pool->idle++;
        int r = pthread_cond_timedwait(&pool->work, &pool->lock, &until);
        pool->idle--;
        if (r == ETIMEDOUT && pool->first == NULL) {
            if (pool->threads > pool->keep)
                return false;
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_sec += IDLE_SECONDS;
        }
    }
    return true;
}

/*
 * Ends this thread, under the lock that it gives up. Each thread that ends joins the one that ended before
 * it, so there is at most one to join, and destroy() has them all when it has the last.
 */
static void leave(struct oriel_worker_pool *pool)
{
    pthread_t before = pool->last_ended;
    bool has_before = pool->has_ended;
    pool->last_ended = pthread_self();
    pool->has_ended = true;
    pool->threads--;
    pthread_cond_signal(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
    if (has_before)
        pthread_join(before, NULL);
}

static void *worker(void *opaque)
{
    struct oriel_worker_pool *pool = opaque;
    pthread_mutex_lock(&pool->lock);
    while (wait_for_task(pool)) {
        struct worker_task *task = take_task(pool);
        pthread_mutex_unlock(&pool->lock);
        task->run(task);
        pthread_mutex_lock(&pool->lock);
    }
    leave(pool);
    return NULL;
}

/* Under the lock. The new thread inherits a full signal mask. */
static int start_thread(struct oriel_worker_pool *pool)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int r = pthread_attr_init(&attr);
    if (r != 0)
        return -ENOMEM;
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&thread, &attr, worker, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (r != 0)
        return -EAGAIN;
    pool->threads++;
    return 0;
}

static void init_synchronization(struct oriel_worker_pool *pool)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, &monotonic);
    pthread_cond_init(&pool->ended, NULL);
    pthread_condattr_destroy(&monotonic);
}

int oriel_worker_pool_create(const struct oriel_worker_pool_options *options, struct oriel_worker_pool **out)
{
    struct oriel_worker_pool_options given = {0};
    if (out == NULL || (options != NULL && (options->size < sizeof(size_t) || options->size > sizeof(given))))
        return -EINVAL;
    if (options != NULL)
        memcpy(&given, options, options->size);
    unsigned keep = given.threads != 0 ? given.threads : DEFAULT_THREADS;
    unsigned max = given.max_threads != 0 ? given.max_threads : DEFAULT_MAX_THREADS;
    if (keep > THREADS_LIMIT || max > MAX_THREADS_LIMIT || max < keep)
        return -EINVAL;
    struct oriel_worker_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return -ENOMEM;
    init_synchronization(pool);
    pool->last = &pool->first;
    pool->keep = keep;
    pool->max = max;
    int r = 0;
    pthread_mutex_lock(&pool->lock);
    while (r == 0 && pool->threads < keep)
        r = start_thread(pool);
    pthread_mutex_unlock(&pool->lock);
    if (r != 0) {
        oriel_worker_pool_destroy(pool);
        return r;
    }
    *out = pool;
    return 0;
}

void oriel_worker_pool_destroy(struct oriel_worker_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    while (pool->threads != 0)
        pthread_cond_wait(&pool->ended, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    if (pool->has_ended)
        pthread_join(pool->last_ended, NULL);
    pthread_cond_destroy(&pool->ended);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void worker_pool_submit(struct oriel_worker_pool *pool, struct worker_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&pool->lock);
    *pool->last = task;
    pool->last = &task->next;
    pool->waiting++;
    pool->tasks++;
    /* Without a further thread the task waits its turn: there is always one thread that stays. */
    if (pool->waiting > pool->idle && pool->threads < pool->max)
        (void)start_thread(pool);
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

void oriel_worker_pool_stats(struct oriel_worker_pool *pool, struct oriel_worker_pool_stats *out)
{
    pthread_mutex_lock(&pool->lock);
    *out = (struct oriel_worker_pool_stats){
        .threads = pool->threads, .idle = pool->idle, .waiting = pool->waiting, .tasks = pool->tasks};
    pthread_mutex_unlock(&pool->lock);
}
