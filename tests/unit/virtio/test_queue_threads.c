/*
 * Several queues at once, each with a driver thread and a serving thread, while the memory map changes under them
 * and queues are stopped and started again. Under ThreadSanitizer it shows that queues share nothing unguarded.
 */
#include <oriel/virtio_fs.h>

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define RING_LEN UINT64_C(0x10000)
#define QUEUES   4
#define SIZE     RIG_RING_SIZE
#define REQUESTS 3000u
#define FEATURES (DRIVER_F_VERSION_1 | DRIVER_F_INDIRECT | DRIVER_F_EVENT_IDX)

struct fixture;

struct queue_side {
    struct fixture *f;
    uint16_t number;
    struct driver_ring ring;
    pthread_t driver, server;
    atomic_uint notified, completed;
};

struct fixture {
    struct rig rig;
    struct queue_side sides[QUEUES];
    atomic_bool stop;
};

static void on_notify(void *opaque, uint16_t queue)
{
    atomic_fetch_add(&((struct fixture *)opaque)->sides[queue].notified, 1);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    struct oriel_virtio_fs_options options = {
        .num_request_queues = QUEUES - 1, .notify = on_notify, .opaque = f};
    assert_int_equal(oriel_worker_pool_create(NULL, &options.pool), 0);
    rig_start(&f->rig, &options, QUEUES * RING_LEN);
    stub_release(&f->rig.server);
    assert_int_equal(oriel_virtio_fs_set_features(f->rig.device, FEATURES), 0);
    for (uint16_t i = 0; i < QUEUES; i++) {
        struct queue_side *side = &f->sides[i];
        side->f = f;
        side->number = i;
        rig_ring_init(&f->rig, &side->ring, i * RING_LEN);
        struct oriel_virtio_queue_setup setup = driver_setup(&side->ring);
        assert_int_equal(oriel_virtio_fs_queue_start(f->rig.device, i, &setup), 0);
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    rig_stop(&f->rig);
    free(f);
    return 0;
}

/* Polls instead of waiting for kicks: what is under test is the queue, not a wake-up. */
static void *serve(void *opaque)
{
    struct queue_side *side = opaque;
    while (!atomic_load(&side->f->stop))
        if (oriel_virtio_fs_process(side->f->rig.device, side->number) <= 0)
            sched_yield();
    return NULL;
}

/* Every fifth request blocks and comes back out of order; its unique tells whose reply is where. */
static void *drive(void *opaque)
{
    struct queue_side *side = opaque;
    struct driver_ring *ring = &side->ring;
    unsigned in_flight = 0, sent = 0, done = 0;
    bool busy[SIZE / 2] = {false};
    uint64_t unique[SIZE / 2], in[SIZE / 2], out[SIZE / 2];
    for (unsigned i = 0; i < SIZE / 2; i++) {
        in[i] = driver_alloc(ring, 40, 8);
        out[i] = driver_alloc(ring, 16, 8);
        struct driver_part parts[] = {{in[i], 40, false}, {out[i], 16, true}};
        driver_write_chain(ring, ring->desc, 2 * i, parts, 2);
    }
    while (done < REQUESTS) {
        uint32_t id, len;
        for (unsigned i = 0; i < SIZE / 2 && sent < REQUESTS; i++) {
            if (busy[i])
                continue;
            busy[i] = true;
            unique[i] = ((uint64_t)side->number << 32) + sent++;
            unsigned char *header = driver_host(ring, in[i]);
            memset(header, 0, 40);
            le32_store(header, 40);
            le32_store(header + 4, sent % 5 == 0 ? STUB_BLOCK : STUB_PLAIN);
            le64_store(header + 8, unique[i]);
            driver_offer(ring, (uint16_t)(2 * i));
            in_flight++;
        }
        while (driver_take_used(ring, &id, &len)) {
            assert(id < SIZE && id % 2 == 0 && busy[id / 2] && len == 16);
            assert(le64_load(driver_host(ring, out[id / 2]) + 8) == unique[id / 2]);
            busy[id / 2] = false;
            in_flight--;
            done++;
        }
        sched_yield();
    }
    atomic_store(&side->completed, done);
    return NULL;
}

static bool all_done(struct fixture *f)
{
    for (unsigned i = 0; i < QUEUES; i++)
        if (atomic_load(&f->sides[i].completed) != REQUESTS)
            return false;
    return true;
}

static void start_threads(struct fixture *f)
{
    for (unsigned i = 0; i < QUEUES; i++) {
        assert_int_equal(pthread_create(&f->sides[i].server, NULL, serve, &f->sides[i]), 0);
        assert_int_equal(pthread_create(&f->sides[i].driver, NULL, drive, &f->sides[i]), 0);
    }
}

static void join_threads(struct fixture *f)
{
    for (unsigned i = 0; i < QUEUES; i++)
        pthread_join(f->sides[i].driver, NULL);
    atomic_store(&f->stop, true);
    for (unsigned i = 0; i < QUEUES; i++)
        pthread_join(f->sides[i].server, NULL);
    assert_true(all_done(f));
    assert_int_equal(atomic_load(&f->rig.server.served), QUEUES * REQUESTS);
}

static void queues_run_side_by_side(void **state)
{
    struct fixture *f = *state;
    start_threads(f);
    join_threads(f);
}

static void the_memory_map_changes_under_running_queues(void **state)
{
    struct fixture *f = *state;
    start_threads(f);
    for (int i = 0; i < 200 && !all_done(f); i++) {
        rig_change_map(&f->rig);
        sched_yield();
    }
    join_threads(f);
}

static void queues_stop_and_go_on_under_load(void **state)
{
    struct fixture *f = *state;
    start_threads(f);
    for (unsigned i = 0; i < 200 && !all_done(f); i++) {
        struct oriel_virtio_queue_setup where;
        uint16_t queue = (uint16_t)(i % QUEUES);
        oriel_virtio_fs_queue_stop(f->rig.device, queue, &where);
        assert_int_equal(where.size, SIZE);
        assert_int_equal(where.avail_index, where.used_index); /* nothing is left in between */
        assert_int_equal(oriel_virtio_fs_queue_start(f->rig.device, queue, &where), 0);
        sched_yield();
    }
    join_threads(f);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(queues_run_side_by_side),
        CASE(the_memory_map_changes_under_running_queues),
        CASE(queues_stop_and_go_on_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
