#include "virtio/worker_pool.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#define TASKS 100

struct counted_task {
    struct worker_task task;
    pthread_mutex_t *gate; /* held by the test: the task waits */
    atomic_uint *begun, *done;
};

static void run_counted(struct worker_task *task)
{
    struct counted_task *counted = (struct counted_task *)(void *)task;
    atomic_fetch_add(counted->begun, 1);
    pthread_mutex_lock(counted->gate);
    pthread_mutex_unlock(counted->gate);
    atomic_fetch_add(counted->done, 1);
}

static void wait_until(const atomic_uint *value, unsigned wanted)
{
    for (int i = 0; i < 5000 && atomic_load(value) < wanted; i++)
        usleep(1000);
    assert_int_equal(atomic_load(value), wanted);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    struct oriel_worker_pool *pool = NULL;
    struct oriel_worker_pool_options options = {.size = sizeof(options), .threads = 65, .max_threads = 100};
    assert_int_equal(oriel_worker_pool_create(&options, &pool), -EINVAL);
    options.threads = 4, options.max_threads = 3;
    assert_int_equal(oriel_worker_pool_create(&options, &pool), -EINVAL);
    options.max_threads = 1025;
    assert_int_equal(oriel_worker_pool_create(&options, &pool), -EINVAL);
    options.max_threads = 0, options.size = 0;
    assert_int_equal(oriel_worker_pool_create(&options, &pool), -EINVAL);
    assert_int_equal(oriel_worker_pool_create(NULL, NULL), -EINVAL);
    oriel_worker_pool_destroy(NULL);
}

static void it_grows_to_its_bound_and_serves_all(void **state)
{
    (void)state;
    struct oriel_worker_pool *pool = NULL;
    struct oriel_worker_pool_options options = {.size = sizeof(options), .threads = 1, .max_threads = 3};
    struct oriel_worker_pool_stats stats;
    static struct counted_task tasks[TASKS];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    atomic_uint begun = 0, done = 0;
    assert_int_equal(oriel_worker_pool_create(&options, &pool), 0);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < TASKS; i++) {
        tasks[i] =
            (struct counted_task){.task.run = run_counted, .gate = &gate, .begun = &begun, .done = &done};
        worker_pool_submit(pool, &tasks[i].task);
    }
    wait_until(&begun, 3);
    oriel_worker_pool_stats(pool, &stats);
    assert_int_equal(stats.threads, 3);
    assert_int_equal(stats.waiting, TASKS - 3);
    assert_int_equal(stats.tasks, TASKS);
    pthread_mutex_unlock(&gate);
    oriel_worker_pool_destroy(pool); /* what was handed over is done before it goes */
    assert_int_equal(done, TASKS);
}

static void an_idle_thread_is_used_before_a_new_one(void **state)
{
    (void)state;
    struct oriel_worker_pool *pool = NULL;
    struct oriel_worker_pool_stats stats = {0};
    struct counted_task task;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    atomic_uint begun = 0, done = 0;
    assert_int_equal(oriel_worker_pool_create(NULL, &pool), 0);
    for (unsigned i = 1; i <= 20; i++) {
        for (int k = 0; k < 5000 && stats.idle != 2; k++) {
            usleep(1000);
            oriel_worker_pool_stats(pool, &stats);
        }
        task = (struct counted_task){.task.run = run_counted, .gate = &gate, .begun = &begun, .done = &done};
        worker_pool_submit(pool, &task.task);
        wait_until(&done, i);
        stats.idle = 0;
    }
    oriel_worker_pool_stats(pool, &stats);
    assert_int_equal(stats.threads, 2);
    oriel_worker_pool_destroy(pool);
}

struct mask_task {
    struct worker_task task;
    atomic_uint done;
    int blocked;
};

static void look_at_mask(struct worker_task *task)
{
    struct mask_task *look = (struct mask_task *)(void *)task;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    look->blocked = sigismember(&mask, SIGTERM);
    atomic_store(&look->done, 1);
}

static void signals_stay_with_the_embedder(void **state)
{
    (void)state;
    struct oriel_worker_pool *pool = NULL;
    struct mask_task look = {.task.run = look_at_mask};
    sigset_t mask;
    assert_int_equal(oriel_worker_pool_create(NULL, &pool), 0);
    worker_pool_submit(pool, &look.task);
    wait_until(&look.done, 1);
    assert_int_equal(look.blocked, 1);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
    oriel_worker_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(it_grows_to_its_bound_and_serves_all),
        cmocka_unit_test(an_idle_thread_is_used_before_a_new_one),
        cmocka_unit_test(signals_stay_with_the_embedder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
