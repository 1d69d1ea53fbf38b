#include <oriel/virtio_fs.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "driver_ring.h"
#include "stub_server.h"

#define RAM_GPA    UINT64_C(0x100000)
#define RAM_LEN    UINT64_C(0x80000)
#define WINDOW_GPA UINT64_C(0x80000000)
#define WINDOW_LEN UINT64_C(0x2000)
#define FEATURES   (DRIVER_F_VERSION_1 | DRIVER_F_INDIRECT | DRIVER_F_EVENT_IDX)
#define QUEUES     3

struct fixture {
    struct oriel_fuse_server server;
    struct oriel_worker_pool *pool;
    struct oriel_virtio_fs *device;
    struct oriel_memory *memory;
    unsigned char *ram, *window;
    struct driver_ring rings[QUEUES];
    atomic_uint notified[QUEUES], broken;
    uint64_t out; /* where the reply of the last request goes */
    bool rearm;   /* the driver asks for the next notification in the last one */
};

static void on_notify(void *opaque, uint16_t queue)
{
    struct fixture *f = opaque;
    atomic_fetch_add(&f->notified[queue], 1);
    if (f->rearm)
        driver_set_used_event(&f->rings[queue], driver_used_index(&f->rings[queue]));
}

static void on_broken(void *opaque)
{
    atomic_fetch_add(&((struct fixture *)opaque)->broken, 1);
}

/* The window shows one page and then nothing. */
static int bind_window(void *opaque, uint64_t gpa, uint64_t len, uint32_t access)
{
    (void)opaque;
    (void)access;
    return gpa + len <= WINDOW_GPA + 0x1000 ? 0 : -ENOENT;
}

static struct oriel_virtio_fs_options device_options(struct fixture *f)
{
    return (struct oriel_virtio_fs_options){.size = sizeof(struct oriel_virtio_fs_options),
                                            .tag = "share",
                                            .num_request_queues = QUEUES - 1,
                                            .queue_size = 64,
                                            .server = &f->server,
                                            .notify = on_notify,
                                            .broken = on_broken,
                                            .opaque = f,
                                            .pool = f->pool};
}

static void start_queue(struct fixture *f, uint16_t queue)
{
    struct oriel_virtio_queue_setup setup = driver_setup(&f->rings[queue]);
    assert_int_equal(oriel_virtio_fs_queue_start(f->device, queue, &setup), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    stub_server_init(&f->server);
    struct oriel_worker_pool_options pool = {.size = sizeof(pool), .threads = 1, .max_threads = 4};
    assert_int_equal(oriel_worker_pool_create(&pool, &f->pool), 0);
    struct oriel_virtio_fs_options options = device_options(f);
    assert_int_equal(oriel_virtio_fs_create(&options, &f->device), 0);
    f->ram = aligned_alloc(4096, RAM_LEN);
    assert_non_null(f->ram);
    f->window = mmap(NULL, WINDOW_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f->window != MAP_FAILED);
    struct oriel_memory_region regions[] = {
        {.gpa = RAM_GPA, .len = RAM_LEN, .host = f->ram},
        {.gpa = WINDOW_GPA, .len = WINDOW_LEN, .host = f->window, .guarded = true, .prepare = bind_window}};
    assert_int_equal(oriel_memory_create(regions, 2, &f->memory), 0);
    oriel_virtio_fs_set_memory(f->device, f->memory);
    assert_int_equal(oriel_virtio_fs_set_features(f->device, FEATURES), 0);
    for (uint16_t i = 0; i < QUEUES; i++) {
        driver_ring_init(&f->rings[i], f->ram, RAM_GPA, RAM_LEN, RAM_GPA + i * UINT64_C(0x20000), 16);
        start_queue(f, i);
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    stub_release(&f->server);
    oriel_virtio_fs_reset(f->device);
    oriel_virtio_fs_destroy(f->device);
    oriel_worker_pool_destroy(f->pool);
    oriel_memory_unref(f->memory);
    stub_server_destroy(&f->server);
    munmap(f->window, WINDOW_LEN);
    free(f->ram);
    free(f);
    return 0;
}

static void write_header(unsigned char *in, uint32_t opcode, uint64_t unique)
{
    memset(in, 0, 40);
    le32_store(in, 40);
    le32_store(in + 4, opcode);
    le64_store(in + 8, unique);
}

/* Offers a request whose chain begins at descriptor `first`. */
static void offer(struct fixture *f, uint16_t queue, uint16_t first, uint32_t opcode, uint64_t unique)
{
    unsigned char in[40];
    write_header(in, opcode, unique);
    driver_offer_request(&f->rings[queue], first, in, sizeof(in), opcode == STUB_FORGET ? 0 : 32, &f->out);
}

static void assert_used(struct fixture *f, uint16_t queue, uint32_t want_id, uint32_t want_len)
{
    uint32_t id = 0, len = 0;
    assert_true(driver_take_used(&f->rings[queue], &id, &len));
    assert_int_equal(id, want_id);
    assert_int_equal(len, want_len);
}

static void assert_none_used(struct fixture *f, uint16_t queue)
{
    uint32_t id, len;
    assert_false(driver_take_used(&f->rings[queue], &id, &len));
}

static void wait_until(const atomic_uint *value, unsigned wanted)
{
    for (int i = 0; i < 5000 && atomic_load(value) < wanted; i++)
        usleep(1000);
    assert_true(atomic_load(value) >= wanted);
}

static void wait_for_used(struct fixture *f, uint16_t queue)
{
    for (int i = 0; i < 5000 && driver_used_index(&f->rings[queue]) == f->rings[queue].next_used; i++)
        usleep(1000);
}

static struct oriel_virtio_fs_stats stats(struct fixture *f)
{
    struct oriel_virtio_fs_stats stats;
    oriel_virtio_fs_stats(f->device, &stats);
    return stats;
}

/* ---- making it ---- */

static void bad_options_are_refused(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_fs *device = NULL;
    struct oriel_virtio_fs_options good = device_options(f), bad;
    static const char *const tags[] = {NULL, "", "a\nb", "0123456789012345678901234567890123456"};
    for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
        bad = good, bad.tag = tags[i];
        assert_int_equal(oriel_virtio_fs_create(&bad, &device), -EINVAL);
    }
    static const uint16_t queues[] = {0, 65}, sizes[] = {4, 24, 32768 + 8};
    for (size_t i = 0; i < ARRAY_LEN(queues); i++) {
        bad = good, bad.num_request_queues = queues[i];
        assert_int_equal(oriel_virtio_fs_create(&bad, &device), -EINVAL);
    }
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        bad = good, bad.queue_size = sizes[i];
        assert_int_equal(oriel_virtio_fs_create(&bad, &device), -EINVAL);
    }
    bad = good, bad.server = NULL;
    assert_int_equal(oriel_virtio_fs_create(&bad, &device), -EINVAL);
    bad = good, bad.notify = NULL;
    assert_int_equal(oriel_virtio_fs_create(&bad, &device), -EINVAL);
    bad = good, bad.size += 8;
    assert_int_equal(oriel_virtio_fs_create(&bad, &device), -EINVAL);
    assert_int_equal(oriel_virtio_fs_create(NULL, &device), -EINVAL);
    oriel_virtio_fs_destroy(NULL);
}

static void a_tag_of_36_bytes_has_no_terminator(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_fs *device = NULL;
    struct oriel_virtio_fs_options options = device_options(f);
    char config[48];
    options.tag = "012345678901234567890123456789012345";
    options.num_request_queues = 64;
    options.queue_size = 0;
    assert_int_equal(oriel_virtio_fs_create(&options, &device), 0);
    assert_int_equal(oriel_virtio_fs_queue_size_max(device), 1024);
    assert_int_equal(oriel_virtio_fs_queue_count(device), 65);
    memset(config, 0x55, sizeof(config));
    oriel_virtio_fs_config_read(device, 0, config, sizeof(config));
    assert_memory_equal(config, options.tag, 36);
    assert_int_equal(le32_load(config + 36), 64);
    assert_int_equal(le64_load(config + 40), 0);
    oriel_virtio_fs_config_read(device, 35, config, 2);
    assert_int_equal(config[0], '5');
    assert_int_equal(config[1], 64);
    oriel_virtio_fs_config_read(device, UINT64_MAX, config, 8);
    assert_int_equal(le64_load(config), 0);
    oriel_virtio_fs_destroy(device);
}

static void queues_start_only_when_they_can(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_queue_setup setup = driver_setup(&f->rings[1]);
    assert_int_equal(oriel_virtio_fs_queue_start(f->device, 1, &setup), -EBUSY);
    assert_int_equal(oriel_virtio_fs_queue_start(f->device, QUEUES, &setup), -EINVAL);
    oriel_virtio_fs_queue_stop(f->device, 1, NULL);
    setup.size = 128;
    assert_int_equal(oriel_virtio_fs_queue_start(f->device, 1, &setup), -EINVAL);
    setup.size = 16;
    setup.used = 0x10;
    assert_int_equal(oriel_virtio_fs_queue_start(f->device, 1, &setup), -EFAULT);
    setup.used = WINDOW_GPA; /* never a ring in the window */
    assert_int_equal(oriel_virtio_fs_queue_start(f->device, 1, &setup), -EFAULT);
    oriel_virtio_fs_reset(f->device);
    setup = driver_setup(&f->rings[1]);
    assert_int_equal(oriel_virtio_fs_queue_start(f->device, 1, &setup), -ENXIO);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), -ENXIO);
    assert_int_equal(oriel_virtio_fs_process(f->device, 99), -ENXIO);
}

/* ---- serving ---- */

static void requests_are_answered_with_their_exact_length(void **state)
{
    struct fixture *f = *state;
    offer(f, 1, 0, STUB_PLAIN, 77);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_used(f, 1, 0, 16);
    assert_int_equal(le32_load(driver_host(&f->rings[1], f->out)), 16);
    assert_int_equal(le64_load(driver_host(&f->rings[1], f->out) + 8), 77);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 0);
    assert_int_equal(atomic_load(&f->server.hiprio), 0);
}

static void hiprio_requests_say_so(void **state)
{
    struct fixture *f = *state;
    offer(f, 0, 3, STUB_FORGET, 1);
    assert_int_equal(oriel_virtio_fs_process(f->device, 0), 1);
    assert_used(f, 0, 3, 0);
    assert_int_equal(atomic_load(&f->server.hiprio), 1);
}

static void a_batch_is_notified_once(void **state)
{
    struct fixture *f = *state;
    driver_set_used_event(&f->rings[1], 2);
    for (uint16_t i = 0; i < 8; i++)
        offer(f, 1, (uint16_t)(2 * i), STUB_PLAIN, i);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 8);
    assert_int_equal(atomic_load(&f->notified[1]), 1);
    for (uint16_t i = 0; i < 8; i++)
        assert_used(f, 1, 2u * i, 16);
    offer(f, 1, 0, STUB_PLAIN, 9); /* nothing asked for since */
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_int_equal(atomic_load(&f->notified[1]), 1);
    assert_int_equal(stats(f).requests, 9);
    assert_int_equal(stats(f).notifications, 1);
    assert_int_equal(stats(f).kicks, 2);
}

/* It is likely on another core, and works there while we go on. */
static void who_polls_wakes_the_driver_early(void **state)
{
    struct fixture *f = *state;
    for (uint16_t i = 0; i < 8; i++)
        offer(f, 1, (uint16_t)(2 * i), STUB_PLAIN, i);
    f->rearm = true;
    assert_int_equal(oriel_virtio_fs_poll(f->device, 1), 8);
    assert_int_equal(atomic_load(&f->notified[1]), 2);
    for (uint16_t i = 0; i < 8; i++)
        assert_used(f, 1, 2u * i, 16);
}

/* While the next long WRITE is served the driver works already on the reply to the last one. */
static void much_data_ends_a_batch(void **state)
{
    struct fixture *f = *state;
    struct driver_ring *ring = &f->rings[1];
    uint64_t data = driver_alloc(ring, 0x10000, 8), out = driver_alloc(ring, 16, 8);
    write_header(driver_host(ring, data), STUB_PLAIN, 1);
    struct driver_part parts[] = {{data, 0x10000, false}, {out, 16, true}};
    for (uint16_t i = 0; i < 3; i++) {
        driver_write_chain(ring, ring->desc, 2u * i, parts, 2);
        driver_offer(ring, (uint16_t)(2 * i));
    }
    f->rearm = true;
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 3);
    assert_int_equal(atomic_load(&f->notified[1]), 3);
}

static void polling_leaves_kicks_off(void **state)
{
    struct fixture *f = *state;
    offer(f, 1, 0, STUB_PLAIN, 1);
    assert_int_equal(oriel_virtio_fs_poll(f->device, 1), 1);
    assert_false(driver_must_kick(&f->rings[1], 1));
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 0);
    uint16_t before = f->rings[1].next_avail;
    offer(f, 1, 0, STUB_PLAIN, 2);
    assert_true(driver_must_kick(&f->rings[1], before));
    assert_int_equal(stats(f).kicks, 1);
}

static void a_stopped_queue_asks_for_kicks(void **state)
{
    struct fixture *f = *state;
    offer(f, 1, 0, STUB_PLAIN, 1);
    assert_int_equal(oriel_virtio_fs_poll(f->device, 1), 1);
    oriel_virtio_fs_queue_stop(f->device, 1, NULL);
    uint16_t before = f->rings[1].next_avail;
    offer(f, 1, 0, STUB_PLAIN, 2);
    assert_true(driver_must_kick(&f->rings[1], before));
}

static void a_queue_goes_on_where_it_stood(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_queue_setup where;
    for (uint16_t i = 0; i < 5; i++)
        offer(f, 1, 0, STUB_PLAIN, i);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 5);
    oriel_virtio_fs_queue_stop(f->device, 1, &where);
    assert_int_equal(where.avail_index, 5);
    assert_int_equal(where.used_index, 5);
    assert_int_equal(where.size, 16);
    offer(f, 1, 4, STUB_PLAIN, 6);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), -ENXIO);
    assert_int_equal(oriel_virtio_fs_queue_start(f->device, 1, &where), 0);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    f->rings[1].next_used = 5;
    assert_used(f, 1, 4, 16);
    oriel_virtio_fs_queue_stop(f->device, 1, NULL);
    oriel_virtio_fs_queue_stop(f->device, 1, &where);
    assert_int_equal(where.size, 0);
}

/* ---- what goes wrong ---- */

static void a_broken_queue_leaves_the_others_alone(void **state)
{
    struct fixture *f = *state;
    driver_set_avail_index(&f->rings[1], 999);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), -EIO);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), -EIO);
    assert_int_equal(atomic_load(&f->broken), 1);
    assert_int_equal(stats(f).broken_queues, 1);
    offer(f, 2, 0, STUB_PLAIN, 1);
    assert_int_equal(oriel_virtio_fs_process(f->device, 2), 1);
    offer(f, 0, 0, STUB_FORGET, 1);
    assert_int_equal(oriel_virtio_fs_process(f->device, 0), 1);
}

static void what_was_served_before_the_break_is_told(void **state)
{
    struct fixture *f = *state;
    offer(f, 1, 0, STUB_PLAIN, 1);
    driver_offer(&f->rings[1], 999);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), -EIO);
    assert_used(f, 1, 0, 16);
    assert_int_equal(atomic_load(&f->notified[1]), 1);
}

/* A request with one bad data buffer at `addr`. */
static void offer_with_buffer(struct fixture *f, uint64_t addr, uint32_t len, bool writable, uint32_t opcode)
{
    struct driver_ring *ring = &f->rings[1];
    uint64_t in = driver_alloc(ring, 40, 8);
    f->out = driver_alloc(ring, 16, 8);
    write_header(driver_host(ring, in), opcode, 4711);
    struct driver_part parts[] = {{in, 40, false}, {f->out, 16, true}, {addr, len, true}};
    if (!writable) {
        parts[2] = parts[1];
        parts[1] = (struct driver_part){addr, len, false};
    }
    driver_write_chain(ring, ring->desc, 0, parts, 3);
    driver_offer(ring, 0);
}

static void assert_fault_reply(struct fixture *f)
{
    const unsigned char *out = driver_host(&f->rings[1], f->out);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_used(f, 1, 0, 16);
    assert_int_equal(le32_load(out), 16);
    assert_int_equal((int32_t)le32_load(out + 4), -EFAULT);
    assert_int_equal(le64_load(out + 8), 4711);
    assert_int_equal(atomic_load(&f->server.served), 0);
    assert_int_equal(stats(f).dropped_chains, 1);
    offer(f, 1, 4, STUB_PLAIN, 1);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_used(f, 1, 4, 16);
}

static void a_buffer_outside_memory_is_answered_with_efault(void **state)
{
    offer_with_buffer(*state, 0x10, 64, false, STUB_PLAIN);
    assert_fault_reply(*state);
}

static void a_reply_buffer_outside_memory_is_answered_with_efault(void **state)
{
    offer_with_buffer(*state, RAM_GPA + RAM_LEN - 8, 64, true, STUB_PLAIN);
    assert_fault_reply(*state);
}

static void a_buffer_in_an_empty_part_of_the_window_is_answered_with_efault(void **state)
{
    offer_with_buffer(*state, WINDOW_GPA + 0xff0, 64, true, STUB_PLAIN);
    assert_fault_reply(*state);
}

static void a_buffer_in_the_window_is_served_and_marked(void **state)
{
    struct fixture *f = *state;
    offer_with_buffer(f, WINDOW_GPA, 64, false, STUB_PLAIN);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_used(f, 1, 0, 16);
    assert_int_equal(atomic_load(&f->server.guarded), 1);
}

static void a_forget_with_a_bad_buffer_has_no_reply(void **state)
{
    struct fixture *f = *state;
    offer_with_buffer(f, 0x10, 64, false, STUB_FORGET);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_used(f, 1, 0, 0);
}

/* The reply header lies in the window, where a page was taken away after the translation. */
static void an_efault_reply_into_a_page_that_vanished_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct driver_ring *ring = &f->rings[1];
    uint64_t in = driver_alloc(ring, 40, 8);
    write_header(driver_host(ring, in), STUB_PLAIN, 1);
    struct driver_part parts[] = {{in, 40, false}, {0x10, 8, false}, {WINDOW_GPA, 16, true}};
    driver_write_chain(ring, ring->desc, 0, parts, 3);
    driver_offer(ring, 0);
    assert_int_equal(mprotect(f->window, WINDOW_LEN, PROT_NONE), 0);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_used(f, 1, 0, 0);
    assert_int_equal(mprotect(f->window, WINDOW_LEN, PROT_READ | PROT_WRITE), 0);
    driver_offer(ring, 0);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_used(f, 1, 0, 16);
    assert_int_equal((int32_t)le32_load(f->window + 4), -EFAULT);
}

static void headers_in_pieces_get_their_efault_too(void **state)
{
    struct fixture *f = *state;
    struct driver_ring *ring = &f->rings[1];
    uint64_t in = driver_alloc(ring, 40, 8), out = driver_alloc(ring, 16, 8);
    write_header(driver_host(ring, in), STUB_PLAIN, 0x1122334455667788);
    struct driver_part parts[] = {{in, 3, false}, {in + 3, 7, false}, {in + 10, 30, false}, {0x10, 1, false},
                                  {out, 1, true}, {out + 1, 6, true}, {out + 7, 9, true}};
    driver_write_chain(ring, ring->desc, 0, parts, 7);
    driver_offer(ring, 0);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_used(f, 1, 0, 16);
    assert_int_equal((int32_t)le32_load(driver_host(ring, out) + 4), -EFAULT);
    assert_int_equal(le64_load(driver_host(ring, out) + 8), 0x1122334455667788);
}

static void no_room_for_an_efault_means_length_zero(void **state)
{
    struct fixture *f = *state;
    struct driver_ring *ring = &f->rings[1];
    uint64_t in = driver_alloc(ring, 40, 8), out = driver_alloc(ring, 16, 8);
    struct driver_part parts[] = {{in, 40, false}, {0x10, 1, false}, {out, 15, true}};
    driver_write_chain(ring, ring->desc, 0, parts, 3);
    driver_offer(ring, 0);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_used(f, 1, 0, 0);
}

/* ---- requests that block ---- */

static void a_blocking_request_does_not_hold_up_its_queue(void **state)
{
    struct fixture *f = *state;
    offer(f, 1, 0, STUB_PLAIN, 1);
    offer(f, 1, 2, STUB_BLOCK, 2);
    offer(f, 1, 4, STUB_PLAIN, 3);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 3);
    assert_used(f, 1, 0, 16);
    assert_used(f, 1, 4, 16);
    assert_none_used(f, 1);
    stub_release(&f->server);
    wait_for_used(f, 1);
    assert_used(f, 1, 2, 16);
    assert_int_equal(stats(f).handed_off, 1);
}

static void a_request_that_turns_out_to_block_is_handed_off(void **state)
{
    struct fixture *f = *state;
    offer(f, 1, 0, STUB_COLD, 1);
    offer(f, 1, 2, STUB_PLAIN, 2);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 2);
    assert_used(f, 1, 2, 16);
    assert_none_used(f, 1);
    stub_release(&f->server);
    wait_for_used(f, 1);
    assert_used(f, 1, 0, 16);
    assert_int_equal(stats(f).handed_off, 1);
    assert_int_equal(stats(f).requests, 2);
}

static void more_requests_block_than_threads_stay(void **state)
{
    struct fixture *f = *state;
    for (uint16_t i = 0; i < 3; i++)
        offer(f, 1, (uint16_t)(2 * i), STUB_BLOCK, i);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 3);
    wait_until(&f->server.waiting, 3); /* on threads of their own */
    stub_release(&f->server);
    oriel_virtio_fs_queue_stop(f->device, 1, NULL);
    assert_int_equal(driver_used_index(&f->rings[1]), 3);
}

static void without_a_pool_they_are_served_in_line(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_fs_options options = device_options(f);
    struct oriel_virtio_fs *device = NULL;
    struct oriel_virtio_queue_setup setup = driver_setup(&f->rings[1]);
    options.pool = NULL;
    assert_int_equal(oriel_virtio_fs_create(&options, &device), 0);
    oriel_virtio_fs_set_memory(device, f->memory);
    assert_int_equal(oriel_virtio_fs_set_features(device, FEATURES), 0);
    assert_int_equal(oriel_virtio_fs_queue_start(device, 1, &setup), 0);
    stub_release(&f->server);
    offer(f, 1, 0, STUB_BLOCK, 1);
    offer(f, 1, 2, STUB_COLD, 2);
    offer(f, 1, 4, STUB_PLAIN, 3);
    assert_int_equal(oriel_virtio_fs_process(device, 1), 3);
    assert_used(f, 1, 0, 16);
    assert_used(f, 1, 2, 16);
    assert_used(f, 1, 4, 16);
    oriel_virtio_fs_reset(device);
    oriel_virtio_fs_destroy(device);
}

static void *stop_queue_1(void *opaque)
{
    struct fixture *f = opaque;
    oriel_virtio_fs_queue_stop(f->device, 1, NULL);
    return NULL;
}

static void stopping_waits_for_what_was_handed_off(void **state)
{
    struct fixture *f = *state;
    pthread_t stopper;
    offer(f, 1, 0, STUB_BLOCK, 1);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    wait_until(&f->server.waiting, 1);
    assert_int_equal(pthread_create(&stopper, NULL, stop_queue_1, f), 0);
    usleep(30000);
    assert_none_used(f, 1);
    stub_release(&f->server);
    pthread_join(stopper, NULL);
    assert_used(f, 1, 0, 16);
}

static void a_reset_makes_lock_waiters_give_up(void **state)
{
    struct fixture *f = *state;
    offer(f, 1, 0, STUB_LOCK, 1);
    offer(f, 1, 2, STUB_LOCK, 2);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 2);
    wait_until(&f->server.waiting, 2);
    oriel_virtio_fs_reset(f->device);
    assert_int_equal(driver_used_index(&f->rings[1]), 2);
    assert_int_equal(atomic_load(&f->server.resets), 1);
}

/* ---- a changed memory map ---- */

static void set_flag(void *opaque)
{
    *(bool *)opaque = true;
}

static void an_idle_queue_lets_the_old_map_go_at_once(void **state)
{
    struct fixture *f = *state;
    bool released = false;
    unsigned char *moved = aligned_alloc(4096, RAM_LEN);
    assert_non_null(moved);
    memcpy(moved, f->ram, RAM_LEN);
    struct oriel_memory_region region = {.gpa = RAM_GPA, .len = RAM_LEN, .host = moved};
    struct oriel_memory *map = NULL;
    assert_int_equal(oriel_memory_create(&region, 1, &map), 0);
    oriel_memory_on_release(f->memory, set_flag, &released);
    oriel_memory_unref(f->memory);
    f->memory = map;
    oriel_virtio_fs_set_memory(f->device, map);
    assert_true(released);
    memset(f->ram, 0xff, RAM_LEN);
    f->rings[1].ram = moved;
    offer(f, 1, 0, STUB_PLAIN, 1);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    assert_used(f, 1, 0, 16);
    oriel_virtio_fs_reset(f->device);
    oriel_virtio_fs_set_memory(f->device, NULL);
    free(f->ram);
    f->ram = moved;
}

static void a_handed_off_request_keeps_its_map(void **state)
{
    struct fixture *f = *state;
    bool released = false;
    struct oriel_memory_region region = {.gpa = RAM_GPA, .len = RAM_LEN, .host = f->ram};
    struct oriel_memory *map = NULL;
    offer(f, 1, 0, STUB_BLOCK, 1);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    wait_until(&f->server.waiting, 1);
    assert_int_equal(oriel_memory_create(&region, 1, &map), 0);
    oriel_memory_on_release(f->memory, set_flag, &released);
    oriel_memory_unref(f->memory);
    f->memory = map;
    oriel_virtio_fs_set_memory(f->device, map);
    assert_false(released);
    stub_release(&f->server);
    oriel_virtio_fs_queue_stop(f->device, 1, NULL);
    assert_true(released);
    assert_used(f, 1, 0, 16);
}

static void a_map_without_the_rings_breaks_the_queues(void **state)
{
    struct fixture *f = *state;
    struct oriel_memory_region region = {.gpa = 0, .len = 0x1000, .host = f->ram};
    struct oriel_memory *map = NULL;
    offer(f, 1, 0, STUB_BLOCK, 1);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), 1);
    wait_until(&f->server.waiting, 1);
    assert_int_equal(oriel_memory_create(&region, 1, &map), 0);
    oriel_virtio_fs_set_memory(f->device, map);
    oriel_memory_unref(map);
    assert_int_equal(atomic_load(&f->broken), QUEUES);
    assert_int_equal(oriel_virtio_fs_process(f->device, 1), -EIO);
    stub_release(&f->server); /* its completion has nowhere to go */
    oriel_virtio_fs_queue_stop(f->device, 1, NULL);
    assert_none_used(f, 1);
    oriel_virtio_fs_set_memory(f->device, NULL);
}

struct written {
    const struct oriel_memory *memory;
    struct iovec iov;
    unsigned calls;
};

static void on_wrote(void *opaque, const struct oriel_memory *memory, const struct iovec *iov, size_t count)
{
    struct written *written = opaque;
    assert_int_equal(count, 1);
    written->memory = memory;
    written->iov = iov[0];
    written->calls++;
}

static void ignore_notify(void *opaque, uint16_t queue)
{
    (void)opaque;
    (void)queue;
}

static void what_was_written_is_told(void **state)
{
    struct fixture *f = *state;
    struct written written = {0};
    struct oriel_virtio_fs_options options = device_options(f);
    struct oriel_virtio_fs *device = NULL;
    struct oriel_virtio_queue_setup setup = driver_setup(&f->rings[1]);
    options.notify = ignore_notify;
    options.broken = NULL;
    options.wrote = on_wrote;
    options.opaque = &written;
    assert_int_equal(oriel_virtio_fs_create(&options, &device), 0);
    oriel_virtio_fs_set_memory(device, f->memory);
    assert_int_equal(oriel_virtio_fs_set_features(device, FEATURES), 0);
    assert_int_equal(oriel_virtio_fs_queue_start(device, 1, &setup), 0);
    offer(f, 1, 0, STUB_PLAIN, 1);
    assert_int_equal(oriel_virtio_fs_process(device, 1), 1);
    assert_int_equal(written.calls, 1);
    assert_ptr_equal(written.memory, f->memory);
    assert_ptr_equal(written.iov.iov_base, driver_host(&f->rings[1], f->out));
    offer(f, 1, 0, STUB_FORGET, 1);
    assert_int_equal(oriel_virtio_fs_process(device, 1), 1);
    assert_int_equal(written.calls, 1);
    oriel_virtio_fs_reset(device);
    oriel_virtio_fs_destroy(device);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(bad_options_are_refused),
        CASE(a_tag_of_36_bytes_has_no_terminator),
        CASE(queues_start_only_when_they_can),
        CASE(requests_are_answered_with_their_exact_length),
        CASE(hiprio_requests_say_so),
        CASE(a_batch_is_notified_once),
        CASE(who_polls_wakes_the_driver_early),
        CASE(much_data_ends_a_batch),
        CASE(polling_leaves_kicks_off),
        CASE(a_stopped_queue_asks_for_kicks),
        CASE(a_queue_goes_on_where_it_stood),
        CASE(a_broken_queue_leaves_the_others_alone),
        CASE(what_was_served_before_the_break_is_told),
        CASE(a_buffer_outside_memory_is_answered_with_efault),
        CASE(a_reply_buffer_outside_memory_is_answered_with_efault),
        CASE(a_buffer_in_an_empty_part_of_the_window_is_answered_with_efault),
        CASE(a_buffer_in_the_window_is_served_and_marked),
        CASE(a_forget_with_a_bad_buffer_has_no_reply),
        CASE(an_efault_reply_into_a_page_that_vanished_is_dropped),
        CASE(headers_in_pieces_get_their_efault_too),
        CASE(no_room_for_an_efault_means_length_zero),
        CASE(a_blocking_request_does_not_hold_up_its_queue),
        CASE(a_request_that_turns_out_to_block_is_handed_off),
        CASE(more_requests_block_than_threads_stay),
        CASE(without_a_pool_they_are_served_in_line),
        CASE(stopping_waits_for_what_was_handed_off),
        CASE(a_reset_makes_lock_waiters_give_up),
        CASE(an_idle_queue_lets_the_old_map_go_at_once),
        CASE(a_handed_off_request_keeps_its_map),
        CASE(a_map_without_the_rings_breaks_the_queues),
        CASE(what_was_written_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
