#include <oriel/virtio_pci.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define WINDOW   (UINT64_C(1) << 30)
#define RAM_LEN  UINT64_C(0x20000)
#define CONTROL  ORIEL_VIRTIO_PCI_BAR_CONTROL
#define MSIX_BAR ORIEL_VIRTIO_PCI_BAR_MSIX

enum { ISR_AT = 0x1000, DEVICE_AT = 0x2000, PBA_AT = 0x800 };

/* What the function told its owner. */
struct events {
    unsigned bar_calls, msix_calls, fired[4], fires, queue_calls, kicks;
    bool bar_enabled[6], intx, running[3], masked[4];
    uint64_t bar_address[6], msix_address[4];
    uint32_t msix_data[4];
    uint16_t kicked;
};

struct fixture {
    struct rig rig;
    struct oriel_virtio_pci *pci;
    struct events events;
};

static void on_bar(void *opaque, unsigned bar, bool enabled, uint64_t address, uint64_t len)
{
    struct events *events = &((struct fixture *)opaque)->events;
    (void)len;
    events->bar_calls++;
    events->bar_enabled[bar] = enabled;
    events->bar_address[bar] = address;
}

static void on_msix(void *opaque, uint16_t vector, uint64_t address, uint32_t data, bool masked)
{
    struct events *events = &((struct fixture *)opaque)->events;
    events->msix_calls++;
    events->msix_address[vector] = address;
    events->msix_data[vector] = data;
    events->masked[vector] = masked;
}

static void on_fire(void *opaque, uint16_t vector)
{
    struct events *events = &((struct fixture *)opaque)->events;
    events->fires++;
    events->fired[vector]++;
}

static void on_intx(void *opaque, bool asserted)
{
    ((struct fixture *)opaque)->events.intx = asserted;
}

static void on_queue(void *opaque, uint16_t queue, bool running)
{
    struct events *events = &((struct fixture *)opaque)->events;
    events->queue_calls++;
    events->running[queue] = running;
}

static void on_kick(void *opaque, uint16_t queue)
{
    struct events *events = &((struct fixture *)opaque)->events;
    events->kicks++;
    events->kicked = queue;
}

static void on_notify(void *opaque, uint16_t queue)
{
    oriel_virtio_pci_queue_interrupt(((struct fixture *)opaque)->pci, queue);
}

static void on_broken(void *opaque)
{
    oriel_virtio_pci_needs_reset(((struct fixture *)opaque)->pci);
}

static struct oriel_virtio_pci_options pci_options(struct fixture *f, uint64_t window_len)
{
    return (struct oriel_virtio_pci_options){.size = sizeof(struct oriel_virtio_pci_options),
                                             .device = f->rig.device,
                                             .window_len = window_len,
                                             .bar_changed = on_bar,
                                             .msix_changed = on_msix,
                                             .intx = on_intx,
                                             .msix_fire = on_fire,
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
    struct oriel_virtio_pci_options options = pci_options(f, WINDOW);
    assert_int_equal(oriel_virtio_pci_create(&options, &f->pci), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    oriel_virtio_fs_reset(f->rig.device);
    oriel_virtio_pci_destroy(f->pci);
    rig_stop(&f->rig);
    free(f);
    return 0;
}

static uint64_t bar_get(struct fixture *f, unsigned bar, uint64_t offset, size_t len)
{
    unsigned char data[8] = {0};
    oriel_virtio_pci_bar_read(f->pci, bar, offset, data, len);
    return le64_load(data);
}

static void bar_put(struct fixture *f, unsigned bar, uint64_t offset, size_t len, uint64_t value)
{
    unsigned char data[8];
    le64_store(data, value);
    oriel_virtio_pci_bar_write(f->pci, bar, offset, data, len);
}

static uint32_t config_get(struct fixture *f, uint32_t offset, uint32_t size)
{
    return oriel_virtio_pci_config_read(f->pci, offset, size);
}

static void config_put(struct fixture *f, uint32_t offset, uint32_t size, uint32_t value)
{
    oriel_virtio_pci_config_write(f->pci, offset, size, value);
}

static unsigned status(struct fixture *f)
{
    return (unsigned)bar_get(f, CONTROL, 0x14, 1);
}

static void put_status(struct fixture *f, unsigned value)
{
    bar_put(f, CONTROL, 0x14, 1, value);
}

static void accept_features(struct fixture *f, uint64_t features)
{
    for (uint32_t half = 0; half < 2; half++) {
        bar_put(f, CONTROL, 0x08, 4, half);
        bar_put(f, CONTROL, 0x0c, 4, (uint32_t)(features >> (32 * half)));
    }
}

/* Up to and with FEATURES_OK, as a driver does it. */
static void negotiate(struct fixture *f)
{
    put_status(f, 0);
    put_status(f, 1);
    put_status(f, 3);
    accept_features(f, DRIVER_F_VERSION_1 | DRIVER_F_INDIRECT | DRIVER_F_EVENT_IDX);
    put_status(f, 11);
    assert_int_equal(status(f), 11);
}

static void place_queue(struct fixture *f, uint16_t queue, const struct driver_ring *ring)
{
    bar_put(f, CONTROL, 0x16, 2, queue);
    bar_put(f, CONTROL, 0x18, 2, ring->size);
    bar_put(f, CONTROL, 0x20, 4, (uint32_t)ring->desc);
    bar_put(f, CONTROL, 0x24, 4, ring->desc >> 32);
    bar_put(f, CONTROL, 0x28, 8, ring->avail);
    bar_put(f, CONTROL, 0x30, 4, (uint32_t)ring->used);
    bar_put(f, CONTROL, 0x34, 4, ring->used >> 32);
    bar_put(f, CONTROL, 0x1c, 2, 1);
}

static void boot(struct fixture *f, struct driver_ring *ring, uint16_t queue)
{
    negotiate(f);
    rig_ring_init(&f->rig, ring, 0);
    place_queue(f, queue, ring);
    put_status(f, 15);
    assert_int_equal(status(f), 15);
}

static void enable_msix(struct fixture *f)
{
    config_put(f, 0x42, 2, 0x8000);
}

static void unmask(struct fixture *f, unsigned vector, uint64_t address, uint32_t data)
{
    bar_put(f, MSIX_BAR, 16 * vector, 4, (uint32_t)address);
    bar_put(f, MSIX_BAR, 16 * vector + 4, 4, address >> 32);
    bar_put(f, MSIX_BAR, 16 * vector + 8, 4, data);
    bar_put(f, MSIX_BAR, 16 * vector + 12, 4, 0);
}

/* ---- configuration space ---- */

static const uint8_t golden[256] = {
#include "config_space.golden"
};

static void the_config_space_is_as_on_file(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[256];
    for (uint32_t i = 0; i < 256; i++)
        bytes[i] = (uint8_t)config_get(f, i, 1);
    for (uint32_t i = 0; i < 256; i += 16)
        if (memcmp(bytes + i, golden + i, 16) != 0) {
            printf("# 0x%02x:", i);
            for (uint32_t k = 0; k < 16; k++)
                printf(" 0x%02x,", bytes[i + k]);
            printf("\n");
        }
    assert_memory_equal(bytes, golden, sizeof(golden));
}

static void a_function_without_window_has_no_bar_4(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_pci *plain = NULL;
    struct oriel_virtio_pci_options options = pci_options(f, 0);
    assert_int_equal(oriel_virtio_pci_create(&options, &plain), 0);
    assert_int_equal(oriel_virtio_pci_bar_len(plain, 4), 0);
    uint32_t at = oriel_virtio_pci_config_read(plain, 0x34, 1);
    unsigned capabilities = 0;
    for (; at != 0 && capabilities < 20; capabilities++) {
        assert_int_not_equal(oriel_virtio_pci_config_read(plain, at + 3, 1), 8);
        at = oriel_virtio_pci_config_read(plain, at + 1, 1);
    }
    assert_int_equal(capabilities, 6);
    oriel_virtio_pci_config_write(plain, 0x20, 4, UINT32_MAX);
    assert_int_equal(oriel_virtio_pci_config_read(plain, 0x20, 4), 0);
    oriel_virtio_pci_destroy(plain);
}

static void bad_options_are_refused(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_pci *pci = NULL;
    struct oriel_virtio_pci_options options = pci_options(f, 3 * (UINT64_C(1) << 20));
    assert_int_equal(oriel_virtio_pci_create(&options, &pci), -EINVAL);
    options = pci_options(f, UINT64_C(1) << 20);
    assert_int_equal(oriel_virtio_pci_create(&options, &pci), -EINVAL);
    options = pci_options(f, 0);
    options.device = NULL;
    assert_int_equal(oriel_virtio_pci_create(&options, &pci), -EINVAL);
    assert_int_equal(oriel_virtio_pci_create(NULL, &pci), -EINVAL);
    oriel_virtio_pci_destroy(NULL);
}

static void bars_tell_their_size(void **state)
{
    struct fixture *f = *state;
    for (uint32_t at = 0x10; at < 0x28; at += 4)
        config_put(f, at, 4, UINT32_MAX);
    assert_int_equal(config_get(f, 0x10, 4), 0xffffc004);
    assert_int_equal(config_get(f, 0x14, 4), 0xffffffff);
    assert_int_equal(config_get(f, 0x18, 4), 0xfffff004);
    assert_int_equal(config_get(f, 0x20, 4), 0xc000000c);
    assert_int_equal(config_get(f, 0x24, 4), 0xffffffff);
    assert_int_equal(f->events.bar_calls, 0);
    assert_int_equal(oriel_virtio_pci_bar_len(f->pci, 0), 0x4000);
    assert_int_equal(oriel_virtio_pci_bar_len(f->pci, 4), WINDOW);
    assert_int_equal(oriel_virtio_pci_bar_len(f->pci, 6), 0);
}

static void bars_are_told_when_they_are_enabled_moved_and_disabled(void **state)
{
    struct fixture *f = *state;
    config_put(f, 0x10, 4, 0xfe000000);
    config_put(f, 0x20, 4, 0x40000000);
    config_put(f, 0x24, 4, 0x12);
    assert_int_equal(f->events.bar_calls, 0);
    config_put(f, 0x04, 2, 2);
    assert_true(f->events.bar_enabled[0]);
    assert_int_equal(f->events.bar_address[0], 0xfe000000);
    assert_false(f->events.bar_enabled[2]); /* no address yet */
    assert_true(f->events.bar_enabled[4]);
    assert_int_equal(f->events.bar_address[4], UINT64_C(0x1240000000));
    config_put(f, 0x10, 4, 0xfd000000);
    assert_int_equal(f->events.bar_address[0], 0xfd000000);
    config_put(f, 0x24, 4, UINT32_MAX);
    config_put(f, 0x20, 4, UINT32_MAX); /* would wrap: nobody is told of such a place */
    assert_false(f->events.bar_enabled[4]);
    config_put(f, 0x04, 2, 0);
    assert_false(f->events.bar_enabled[0]);
}

static void read_only_bytes_stay(void **state)
{
    struct fixture *f = *state;
    for (uint32_t at = 0; at < 256; at += 4)
        if (at != 0x04 && (at < 0x10 || at >= 0x28) && at != 0x40 && at != 0x94 && (at < 0x98 || at > 0xa0))
            config_put(f, at, 4, UINT32_MAX);
    for (uint32_t i = 0; i < 256; i++)
        if (i != 0x3c && (i < 0x94 || i >= 0xa4))
            assert_int_equal(config_get(f, i, 1), golden[i]);
    assert_int_equal(config_get(f, 0x3c, 1), 0xff); /* the interrupt line is the firmware's note */
}

static void odd_config_accesses_read_all_ones_and_change_nothing(void **state)
{
    struct fixture *f = *state;
    static const uint32_t bad[][2] = {{0, 3}, {0, 0},   {0, 8},          {1, 4},
                                      {3, 2}, {256, 1}, {UINT32_MAX, 4}, {254, 4}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(config_get(f, bad[i][0], bad[i][1]), UINT32_MAX);
        config_put(f, bad[i][0], bad[i][1], UINT32_MAX);
    }
    assert_int_equal(config_get(f, 0, 4), 0x105a1af4);
}

/* ---- common configuration and the state machine ---- */

static void features_are_read_in_halves(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bar_get(f, CONTROL, 0x04, 4), 0x30000000);
    bar_put(f, CONTROL, 0x00, 4, 1);
    assert_int_equal(bar_get(f, CONTROL, 0x04, 4), 1);
    bar_put(f, CONTROL, 0x00, 4, 2);
    assert_int_equal(bar_get(f, CONTROL, 0x04, 4), 0);
    bar_put(f, CONTROL, 0x00, 4, UINT32_MAX);
    assert_int_equal(bar_get(f, CONTROL, 0x04, 4), 0);
    accept_features(f, 0x1122334455667788);
    assert_int_equal(bar_get(f, CONTROL, 0x0c, 4), 0x11223344);
    bar_put(f, CONTROL, 0x08, 4, 7);
    bar_put(f, CONTROL, 0x0c, 4, 1);
    assert_int_equal(bar_get(f, CONTROL, 0x0c, 4), 0);
}

static void features_not_offered_are_refused(void **state)
{
    struct fixture *f = *state;
    put_status(f, 3);
    accept_features(f, DRIVER_F_VERSION_1 | 1);
    put_status(f, 11);
    assert_int_equal(status(f), 3);
    accept_features(f, DRIVER_F_INDIRECT); /* no VERSION_1 */
    put_status(f, 11);
    assert_int_equal(status(f), 3);
    put_status(f, 15); /* DRIVER_OK without FEATURES_OK */
    assert_int_equal(status(f), 3);
    accept_features(f, DRIVER_F_VERSION_1);
    put_status(f, 11);
    assert_int_equal(status(f), 11);
    accept_features(f, 0); /* too late */
    bar_put(f, CONTROL, 0x08, 4, 1);
    assert_int_equal(bar_get(f, CONTROL, 0x0c, 4), 1);
}

static void status_bits_go_only_with_a_reset(void **state)
{
    struct fixture *f = *state;
    negotiate(f);
    put_status(f, 1);
    assert_int_equal(status(f), 11);
    put_status(f, 64); /* the device's own bit */
    assert_int_equal(status(f), 11);
    put_status(f, 128);
    assert_int_equal(status(f), 139);
    put_status(f, 0);
    assert_int_equal(status(f), 0);
    assert_true(atomic_load(&f->rig.server.resets) >= 2);
}

static void queues_start_with_driver_ok_and_stop_with_reset(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    negotiate(f);
    rig_ring_init(&f->rig, &ring, 0);
    place_queue(f, 1, &ring);
    assert_int_equal(bar_get(f, CONTROL, 0x1c, 2), 1);
    assert_int_equal(f->events.queue_calls, 0);
    assert_int_equal(oriel_virtio_fs_process(f->rig.device, 1), -ENXIO);
    put_status(f, 15);
    assert_true(f->events.running[1]);
    assert_int_equal(f->events.queue_calls, 1);
    rig_request(&f->rig, &ring, 1);
    put_status(f, 0);
    assert_false(f->events.running[1]);
    assert_int_equal(f->events.queue_calls, 2);
    assert_int_equal(bar_get(f, CONTROL, 0x1c, 2), 0);
    assert_int_equal(oriel_virtio_fs_process(f->rig.device, 1), -ENXIO);
}

static void a_queue_may_be_enabled_late(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    negotiate(f);
    put_status(f, 15);
    rig_ring_init(&f->rig, &ring, 0);
    place_queue(f, 2, &ring);
    assert_true(f->events.running[2]);
    rig_request(&f->rig, &ring, 2);
}

static void a_queue_at_an_impossible_place_needs_a_reset(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    negotiate(f);
    rig_ring_init(&f->rig, &ring, 0);
    ring.used = UINT64_MAX - 3;
    place_queue(f, 1, &ring);
    put_status(f, 15);
    assert_int_equal(status(f), 79);
    assert_true(f->events.intx);
    assert_int_equal(bar_get(f, CONTROL, ISR_AT, 1), 2);
    assert_false(f->events.intx);
}

static void a_broken_queue_needs_a_reset_and_works_after_it(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    boot(f, &ring, 1);
    driver_offer(&ring, 16);
    assert_int_equal(oriel_virtio_fs_process(f->rig.device, 1), -EIO);
    assert_int_equal(status(f), 79);
    assert_int_equal(bar_get(f, CONTROL, ISR_AT, 1), 2);
    boot(f, &ring, 1);
    rig_request(&f->rig, &ring, 1);
}

static void enabled_queues_do_not_move(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    boot(f, &ring, 1);
    bar_put(f, CONTROL, 0x18, 2, 64);
    bar_put(f, CONTROL, 0x20, 4, 0x1234);
    bar_put(f, CONTROL, 0x28, 8, 0x1234);
    assert_int_equal(bar_get(f, CONTROL, 0x18, 2), 16);
    assert_int_equal(bar_get(f, CONTROL, 0x20, 8), ring.desc);
    assert_int_equal(bar_get(f, CONTROL, 0x28, 8), ring.avail);
}

static void bad_queue_sizes_are_ignored(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bar_get(f, CONTROL, 0x18, 2), 128);
    bar_put(f, CONTROL, 0x18, 2, 0);
    bar_put(f, CONTROL, 0x18, 2, 24);
    bar_put(f, CONTROL, 0x18, 2, 256);
    assert_int_equal(bar_get(f, CONTROL, 0x18, 2), 128);
    bar_put(f, CONTROL, 0x18, 2, 32);
    assert_int_equal(bar_get(f, CONTROL, 0x18, 2), 32);
}

static void queues_that_are_none_read_zero(void **state)
{
    struct fixture *f = *state;
    bar_put(f, CONTROL, 0x16, 2, 3);
    assert_int_equal(bar_get(f, CONTROL, 0x18, 2), 0);
    bar_put(f, CONTROL, 0x18, 2, 16);
    bar_put(f, CONTROL, 0x1a, 2, 0);
    bar_put(f, CONTROL, 0x1c, 2, 1);
    bar_put(f, CONTROL, 0x20, 8, 1);
    assert_int_equal(bar_get(f, CONTROL, 0x18, 2), 0);
    assert_int_equal(bar_get(f, CONTROL, 0x1a, 2), 0xffff);
    assert_int_equal(bar_get(f, CONTROL, 0x1c, 2), 0);
    assert_int_equal(bar_get(f, CONTROL, 0x12, 2), 3);
}

static void the_device_config_is_reached(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(bar_get(f, CONTROL, DEVICE_AT, 8), UINT64_C(0x6572616873)); /* "share" */
    assert_int_equal(bar_get(f, CONTROL, DEVICE_AT + 36, 4), 2);
    assert_int_equal(bar_get(f, CONTROL, DEVICE_AT + 36, 8), 2);
    bar_put(f, CONTROL, DEVICE_AT, 4, 0);
    assert_int_equal(bar_get(f, CONTROL, DEVICE_AT, 1), 's');
}

static void doorbells_reach_their_queue(void **state)
{
    struct fixture *f = *state;
    bar_put(f, CONTROL, oriel_virtio_pci_doorbell(f->pci, 2), 2, 2);
    assert_int_equal(f->events.kicks, 1);
    assert_int_equal(f->events.kicked, 2);
    bar_put(f, CONTROL, oriel_virtio_pci_doorbell(f->pci, 1), 4, 1);
    assert_int_equal(f->events.kicked, 1);
    bar_put(f, CONTROL, oriel_virtio_pci_doorbell(f->pci, 3), 2, 3);
    bar_put(f, CONTROL, oriel_virtio_pci_doorbell(f->pci, 1) + 2, 2, 1);
    assert_int_equal(f->events.kicks, 2);
}

/* ---- interrupts ---- */

static void intx_follows_the_isr(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    boot(f, &ring, 1);
    rig_request(&f->rig, &ring, 1);
    assert_true(f->events.intx);
    assert_int_equal(config_get(f, 0x06, 2) & 8, 8);
    assert_int_equal(bar_get(f, CONTROL, ISR_AT, 1), 1);
    assert_false(f->events.intx);
    assert_int_equal(bar_get(f, CONTROL, ISR_AT, 1), 0);
    assert_int_equal(config_get(f, 0x06, 2) & 8, 0);
    config_put(f, 0x04, 2, 0x400);
    rig_request(&f->rig, &ring, 1);
    assert_false(f->events.intx);
    config_put(f, 0x04, 2, 0);
    assert_true(f->events.intx);
    put_status(f, 0);
    assert_false(f->events.intx);
    assert_int_equal(f->events.fires, 0);
}

static void msix_fires_the_vector_of_the_queue(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    enable_msix(f);
    unmask(f, 2, UINT64_C(0x1fee00000), 0x4041);
    assert_int_equal(f->events.msix_address[2], UINT64_C(0x1fee00000));
    assert_int_equal(f->events.msix_data[2], 0x4041);
    assert_false(f->events.masked[2]);
    boot(f, &ring, 1);
    bar_put(f, CONTROL, 0x1a, 2, 2);
    assert_int_equal(bar_get(f, CONTROL, 0x1a, 2), 2);
    rig_request(&f->rig, &ring, 1);
    assert_int_equal(f->events.fired[2], 1);
    assert_false(f->events.intx);
    assert_int_equal(bar_get(f, CONTROL, ISR_AT, 1), 0);
}

static void a_vector_that_is_none_is_refused(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    enable_msix(f);
    boot(f, &ring, 1);
    assert_int_equal(oriel_virtio_pci_vectors(f->pci), 4);
    bar_put(f, CONTROL, 0x1a, 2, 4);
    bar_put(f, CONTROL, 0x10, 2, 0x1234);
    assert_int_equal(bar_get(f, CONTROL, 0x1a, 2), 0xffff);
    assert_int_equal(bar_get(f, CONTROL, 0x10, 2), 0xffff);
    rig_request(&f->rig, &ring, 1);
    assert_int_equal(f->events.fires, 0);
}

static void a_masked_vector_waits(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    enable_msix(f);
    boot(f, &ring, 1);
    bar_put(f, CONTROL, 0x1a, 2, 1);
    rig_request(&f->rig, &ring, 1);
    rig_request(&f->rig, &ring, 1);
    assert_int_equal(f->events.fires, 0);
    assert_int_equal(bar_get(f, MSIX_BAR, PBA_AT, 8), 2);
    unmask(f, 1, 0xfee00000, 0x31);
    assert_int_equal(f->events.fired[1], 1);
    assert_int_equal(bar_get(f, MSIX_BAR, PBA_AT, 8), 0);
    config_put(f, 0x42, 2, 0xc000); /* the whole function */
    assert_true(f->events.masked[1]);
    rig_request(&f->rig, &ring, 1);
    assert_int_equal(f->events.fired[1], 1);
    config_put(f, 0x42, 2, 0x8000);
    assert_false(f->events.masked[1]);
    assert_int_equal(f->events.fired[1], 2);
    config_put(f, 0x42, 2, 0);
    assert_true(f->events.masked[1]);
}

static void needs_reset_uses_the_config_vector(void **state)
{
    struct fixture *f = *state;
    struct driver_ring ring;
    enable_msix(f);
    unmask(f, 0, 0xfee00000, 0x30);
    boot(f, &ring, 1);
    bar_put(f, CONTROL, 0x10, 2, 0);
    oriel_virtio_pci_needs_reset(f->pci);
    assert_int_equal(f->events.fired[0], 1);
    assert_int_equal(status(f), 79);
}

static void before_driver_ok_needs_reset_is_silent(void **state)
{
    struct fixture *f = *state;
    negotiate(f);
    oriel_virtio_pci_needs_reset(f->pci);
    assert_false(f->events.intx);
    assert_int_equal(status(f), 75);
}

static void the_msix_table_reads_back(void **state)
{
    struct fixture *f = *state;
    bar_put(f, MSIX_BAR, 16, 8, UINT64_C(0x1122334455667788));
    bar_put(f, MSIX_BAR, 24, 8, UINT64_C(0x0000000199aabbcc));
    assert_int_equal(bar_get(f, MSIX_BAR, 16, 8), UINT64_C(0x1122334455667788));
    assert_int_equal(bar_get(f, MSIX_BAR, 24, 4), 0x99aabbcc);
    assert_int_equal(bar_get(f, MSIX_BAR, 28, 4), 1);
    bar_put(f, MSIX_BAR, 16, 2, 0); /* too narrow */
    bar_put(f, MSIX_BAR, 18, 4, 0); /* unaligned */
    bar_put(f, MSIX_BAR, 64, 4, 7); /* behind the last vector */
    bar_put(f, MSIX_BAR, PBA_AT, 8, UINT64_MAX);
    assert_int_equal(bar_get(f, MSIX_BAR, 16, 8), UINT64_C(0x1122334455667788));
    assert_int_equal(bar_get(f, MSIX_BAR, 64, 4), 0);
    assert_int_equal(bar_get(f, MSIX_BAR, PBA_AT, 8), 0);
    assert_int_equal(f->events.msix_calls, 0);
}

/* ---- access through configuration space (4.1.4.9) ---- */

static void window_capability(struct fixture *f, uint32_t bar, uint32_t offset, uint32_t len)
{
    config_put(f, 0x94, 1, bar);
    config_put(f, 0x98, 4, offset);
    config_put(f, 0x9c, 4, len);
}

static void bars_are_reached_through_the_config_space(void **state)
{
    struct fixture *f = *state;
    window_capability(f, CONTROL, 0x14, 1);
    config_put(f, 0xa0, 1, 1);
    assert_int_equal(status(f), 1);
    assert_int_equal(config_get(f, 0xa0, 1), 1);
    window_capability(f, CONTROL, DEVICE_AT, 4);
    assert_int_equal(config_get(f, 0xa0, 4), 0x72616873);
    window_capability(f, CONTROL, (uint32_t)oriel_virtio_pci_doorbell(f->pci, 1), 2);
    config_put(f, 0xa0, 2, 1);
    assert_int_equal(f->events.kicks, 1);
}

static void bad_accesses_through_the_config_space_do_nothing(void **state)
{
    struct fixture *f = *state;
    static const uint32_t bad[][3] = {
        {CONTROL, 0x14, 0}, {CONTROL, 0x14, 3},       {CONTROL, 0x14, UINT32_MAX},
        {CONTROL, 0x15, 2}, {CONTROL, UINT32_MAX, 1}, {4, 0, 4},
        {3, 0, 4},          {255, 0x14, 1},           {CONTROL, 0x4000, 4}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        window_capability(f, bad[i][0], bad[i][1], bad[i][2]);
        config_put(f, 0xa0, 4, UINT32_MAX);
        (void)config_get(f, 0xa0, 4);
        assert_int_equal(status(f), 0);
    }
}

/* ---- anything anywhere ---- */

static void random_accesses_lead_nowhere_bad(void **state)
{
    struct fixture *f = *state;
    const char *given = getenv("ORIEL_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)(uintptr_t)&given;
    static const size_t lens[] = {1, 2, 4, 8, 3, 0, 16};
    printf("# ORIEL_TEST_SEED=%u\n", seed);
    for (int i = 0; i < 100000; i++) {
        unsigned char data[16];
        unsigned bar = (unsigned)rand_r(&seed) % 7;
        uint64_t offset = (unsigned)rand_r(&seed) % 4 == 0 ? (unsigned)rand_r(&seed) % 0x5000
                                                           : (unsigned)rand_r(&seed) % 0x50;
        if ((unsigned)rand_r(&seed) % 50 == 0)
            offset = UINT64_MAX - (unsigned)rand_r(&seed) % 16;
        size_t len = lens[(unsigned)rand_r(&seed) % 7];
        for (size_t k = 0; k < sizeof(data); k++)
            data[k] = (unsigned char)((unsigned)rand_r(&seed) % 2 != 0 ? 0 : rand_r(&seed));
        switch ((unsigned)rand_r(&seed) % 4) {
        case 0:
            oriel_virtio_pci_bar_write(f->pci, bar, offset, data, len);
            break;
        case 1:
            oriel_virtio_pci_bar_read(f->pci, bar, offset, data, len);
            break;
        case 2:
            config_put(f, (uint32_t)offset, (uint32_t)len, le32_load(data));
            break;
        default:
            (void)config_get(f, (uint32_t)offset, (uint32_t)len);
            break;
        }
    }
    struct driver_ring ring;
    config_put(f, 0x42, 2, 0);
    boot(f, &ring, 1);
    rig_request(&f->rig, &ring, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_config_space_is_as_on_file),
        CASE(a_function_without_window_has_no_bar_4),
        CASE(bad_options_are_refused),
        CASE(bars_tell_their_size),
        CASE(bars_are_told_when_they_are_enabled_moved_and_disabled),
        CASE(read_only_bytes_stay),
        CASE(odd_config_accesses_read_all_ones_and_change_nothing),
        CASE(features_are_read_in_halves),
        CASE(features_not_offered_are_refused),
        CASE(status_bits_go_only_with_a_reset),
        CASE(queues_start_with_driver_ok_and_stop_with_reset),
        CASE(a_queue_may_be_enabled_late),
        CASE(a_queue_at_an_impossible_place_needs_a_reset),
        CASE(a_broken_queue_needs_a_reset_and_works_after_it),
        CASE(enabled_queues_do_not_move),
        CASE(bad_queue_sizes_are_ignored),
        CASE(queues_that_are_none_read_zero),
        CASE(the_device_config_is_reached),
        CASE(doorbells_reach_their_queue),
        CASE(intx_follows_the_isr),
        CASE(msix_fires_the_vector_of_the_queue),
        CASE(a_vector_that_is_none_is_refused),
        CASE(a_masked_vector_waits),
        CASE(needs_reset_uses_the_config_vector),
        CASE(before_driver_ok_needs_reset_is_silent),
        CASE(the_msix_table_reads_back),
        CASE(bars_are_reached_through_the_config_space),
        CASE(bad_accesses_through_the_config_space_do_nothing),
        CASE(random_accesses_lead_nowhere_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
