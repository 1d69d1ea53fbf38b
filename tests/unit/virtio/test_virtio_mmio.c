#include <oriel/virtio_mmio.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define WINDOW_GPA UINT64_C(0x1240000000)
#define WINDOW_LEN (UINT64_C(5) << 30)
#define RAM_LEN    UINT64_C(0x20000)

struct fixture {
    struct rig rig;
    struct oriel_virtio_mmio *mmio;
    bool asserted, running[3];
    unsigned kicks, queue_calls;
    uint16_t kicked;
};

static void on_interrupt(void *opaque, bool asserted)
{
    struct fixture *f = opaque;
    assert_int_not_equal(f->asserted, asserted); /* only changes are told */
    f->asserted = asserted;
}

static void on_queue(void *opaque, uint16_t queue, bool running)
{
    struct fixture *f = opaque;
    f->queue_calls++;
    f->running[queue] = running;
}

static void on_kick(void *opaque, uint16_t queue)
{
    struct fixture *f = opaque;
    f->kicks++;
    f->kicked = queue;
}

static void on_notify(void *opaque, uint16_t queue)
{
    oriel_virtio_mmio_queue_interrupt(((struct fixture *)opaque)->mmio, queue);
}

static void on_broken(void *opaque)
{
    oriel_virtio_mmio_needs_reset(((struct fixture *)opaque)->mmio);
}

static struct oriel_virtio_mmio_options mmio_options(struct fixture *f)
{
    return (struct oriel_virtio_mmio_options){.size = sizeof(struct oriel_virtio_mmio_options),
                                              .device = f->rig.device,
                                              .window_gpa = WINDOW_GPA,
                                              .window_len = WINDOW_LEN,
                                              .interrupt = on_interrupt,
                                              .queue_changed = on_queue,
                                              .queue_kicked = on_kick,
                                              .opaque = f};
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    struct oriel_virtio_fs_options fs = {
        .num_request_queues = 2, .queue_size = 128, .notify = on_notify, .broken = on_broken, .opaque = f};
    rig_start(&f->rig, &fs, RAM_LEN);
    struct oriel_virtio_mmio_options options = mmio_options(f);
    assert_int_equal(oriel_virtio_mmio_create(&options, &f->mmio), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    oriel_virtio_fs_reset(f->rig.device);
    oriel_virtio_mmio_destroy(f->mmio);
    rig_stop(&f->rig);
    free(f);
    return 0;
}

static uint32_t get(struct fixture *f, uint64_t offset)
{
    unsigned char data[4];
    oriel_virtio_mmio_read(f->mmio, offset, data, 4);
    return le32_load(data);
}

static void put(struct fixture *f, uint64_t offset, uint32_t value)
{
    unsigned char data[4];
    le32_store(data, value);
    oriel_virtio_mmio_write(f->mmio, offset, data, 4);
}

static void put_address(struct fixture *f, uint64_t offset, uint64_t address)
{
    put(f, offset, (uint32_t)address);
    put(f, offset + 4, (uint32_t)(address >> 32));
}

static void boot(struct fixture *f, struct driver_ring *ring, uint32_t queue)
{
    put(f, 0x70, 0);
    put(f, 0x70, 3);
    put(f, 0x24, 0);
    put(f, 0x20, (uint32_t)DRIVER_F_EVENT_IDX);
    put(f, 0x24, 1);
    put(f, 0x20, 1);
    put(f, 0x70, 11);
    assert_int_equal(get(f, 0x70), 11);
    rig_ring_init(&f->rig, ring, 0);
    put(f, 0x30, queue);
    put(f, 0x38, RIG_RING_SIZE);
    put_address(f, 0x80, ring->desc);
    put_address(f, 0x90, ring->avail);
    put_address(f, 0xa0, ring->used);
    put(f, 0x44, 1);
    assert_int_equal(get(f, 0x44), 1);
    put(f, 0x70, 15);
}

static void bad_options_are_refused(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_mmio *mmio = NULL;
    struct oriel_virtio_mmio_options good = mmio_options(f), bad;
    bad = good, bad.window_gpa += 4096;
    assert_int_equal(oriel_virtio_mmio_create(&bad, &mmio), -EINVAL);
    bad = good, bad.window_len += 4096;
    assert_int_equal(oriel_virtio_mmio_create(&bad, &mmio), -EINVAL);
    bad = good, bad.window_gpa = UINT64_MAX - (UINT64_C(2) << 20) + 1;
    assert_int_equal(oriel_virtio_mmio_create(&bad, &mmio), -EINVAL);
    bad = good, bad.device = NULL;
    assert_int_equal(oriel_virtio_mmio_create(&bad, &mmio), -EINVAL);
    oriel_virtio_mmio_destroy(NULL);
}

static void it_says_what_it_is(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, 0x00), 0x74726976);
    assert_int_equal(get(f, 0x04), 2);
    assert_int_equal(get(f, 0x08), 26);
    assert_int_equal(get(f, 0x10), 0x30000000);
    put(f, 0x14, 1);
    assert_int_equal(get(f, 0x10), 1);
    assert_int_equal(get(f, 0xfc), 0);
}

static void the_window_is_shared_memory_0(void **state)
{
    struct fixture *f = *state;
    put(f, 0xac, 0);
    assert_int_equal(get(f, 0xb0) | (uint64_t)get(f, 0xb4) << 32, WINDOW_LEN);
    assert_int_equal(get(f, 0xb8) | (uint64_t)get(f, 0xbc) << 32, WINDOW_GPA);
    put(f, 0xac, 1);
    for (uint64_t at = 0xb0; at < 0xc0; at += 4)
        assert_int_equal(get(f, at), UINT32_MAX);
}

static void without_a_window_there_is_no_shared_memory(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_mmio_options options = mmio_options(f);
    oriel_virtio_mmio_destroy(f->mmio);
    options.window_len = 0;
    assert_int_equal(oriel_virtio_mmio_create(&options, &f->mmio), 0);
    for (uint64_t at = 0xb0; at < 0xc0; at += 4)
        assert_int_equal(get(f, at), UINT32_MAX);
}

static void a_driver_boots_and_is_served(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    boot(f, &ring, 1);
    assert_int_equal(get(f, 0x70), 15);
    assert_true(f->running[1]);
    rig_request(&f->rig, &ring, 1);
    assert_true(f->asserted);
    assert_int_equal(get(f, 0x60), 1);
    put(f, 0x64, 1);
    assert_int_equal(get(f, 0x60), 0);
    assert_false(f->asserted);
    put(f, 0x50, 1);
    assert_int_equal(f->kicks, 1);
    assert_int_equal(f->kicked, 1);
    put(f, 0x50, 3);
    put(f, 0x50, 0x10001);
    assert_int_equal(f->kicks, 1);
}

static void reset_stops_and_clears(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    boot(f, &ring, 1);
    rig_request(&f->rig, &ring, 1);
    assert_true(f->asserted);
    put(f, 0x70, 0);
    assert_false(f->asserted);
    assert_false(f->running[1]);
    assert_int_equal(get(f, 0x70), 0);
    assert_int_equal(get(f, 0x44), 0);
    boot(f, &ring, 1);
    rig_request(&f->rig, &ring, 1);
}

static void a_queue_can_be_stopped_alone(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    boot(f, &ring, 2);
    put(f, 0x44, 0);
    assert_false(f->running[2]);
    assert_int_equal(get(f, 0x44), 0);
    assert_int_equal(oriel_virtio_fs_process(f->rig.device, 2), -ENXIO);
    put(f, 0x44, 1); /* from the start again */
    assert_true(f->running[2]);
    rig_ring_init(&f->rig, &ring, 0);
    rig_request(&f->rig, &ring, 2);
}

static void a_broken_queue_interrupts(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    boot(f, &ring, 1);
    driver_set_avail_index(&ring, 999);
    assert_int_equal(oriel_virtio_fs_process(f->rig.device, 1), -EIO);
    assert_int_equal(get(f, 0x70), 79);
    assert_int_equal(get(f, 0x60), 2);
}

static void queues_that_are_none_read_zero(void **state)
{
    struct fixture *f = *state;
    static const uint32_t none[] = {3, 65, 0xffff, 0x10000, 0x10001, UINT32_MAX};
    put(f, 0x30, 1);
    assert_int_equal(get(f, 0x34), 128);
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        put(f, 0x30, none[i]);
        assert_int_equal(get(f, 0x34), 0);
        put(f, 0x44, 1);
        assert_int_equal(get(f, 0x44), 0);
    }
}

static void the_device_config_is_reached(void **state)
{
    struct fixture *f = *state;
    unsigned char data[8];
    assert_int_equal(get(f, 0x100), 0x72616873);
    assert_int_equal(get(f, 0x124), 2);
    oriel_virtio_mmio_read(f->mmio, 0x103, data, 2);
    assert_int_equal(data[0], 'r');
    assert_int_equal(data[1], 'e');
    oriel_virtio_mmio_read(f->mmio, UINT64_MAX, data, 8);
    assert_int_equal(le64_load(data), 0);
}

static void odd_accesses_do_nothing(void **state)
{
    struct fixture *f = *state;
    unsigned char data[8];
    static const size_t lens[] = {1, 2, 8};
    memset(data, 0xff, sizeof(data));
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        oriel_virtio_mmio_write(f->mmio, 0x70, data, lens[i]);
        oriel_virtio_mmio_read(f->mmio, 0x00, data, lens[i]);
        assert_int_equal(data[0], 0);
    }
    put(f, 0x71, 1);
    put(f, 0x100, 0);
    assert_int_equal(get(f, 0x70), 0);
    assert_int_equal(get(f, 0x01), 0);
    assert_int_equal(get(f, 0x100), 0x72616873);
}

static void random_accesses_lead_nowhere_bad(void **state)
{
    struct fixture *f = *state;
    const char *given = getenv("ORIEL_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)(uintptr_t)&given;
    printf("# ORIEL_TEST_SEED=%u\n", seed);
    for (int i = 0; i < 100000; i++) {
        uint64_t offset = (unsigned)rand_r(&seed) % 0x50 * 4;
        if ((unsigned)rand_r(&seed) % 2 != 0)
            (void)get(f, offset);
        else
            put(f, offset,
                (unsigned)rand_r(&seed) % 2 != 0 ? (unsigned)rand_r(&seed) % 20 : (unsigned)rand_r(&seed));
    }
    struct driver_ring ring;
    boot(f, &ring, 1);
    rig_request(&f->rig, &ring, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(bad_options_are_refused),        CASE(it_says_what_it_is),
        CASE(the_window_is_shared_memory_0),  CASE(without_a_window_there_is_no_shared_memory),
        CASE(a_driver_boots_and_is_served),   CASE(reset_stops_and_clears),
        CASE(a_queue_can_be_stopped_alone),   CASE(a_broken_queue_interrupts),
        CASE(queues_that_are_none_read_zero), CASE(the_device_config_is_reached),
        CASE(odd_accesses_do_nothing),        CASE(random_accesses_lead_nowhere_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
