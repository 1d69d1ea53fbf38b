/*
 * A guest that resets its device again and again while requests are served, interrupts are raised, vectors are masked
 * and another processor reads registers: nothing deadlocks, nothing races, and the device works after each reset.
 */
#include <oriel/virtio_pci.h>

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>

#include "rig.h"

#define RAM_LEN  UINT64_C(0x10000)
#define CONTROL  ORIEL_VIRTIO_PCI_BAR_CONTROL
#define MSIX_BAR ORIEL_VIRTIO_PCI_BAR_MSIX
#define BOOTS    150

struct fixture {
    struct rig rig;
    struct oriel_virtio_pci *pci;
    atomic_bool done;
    atomic_uint fired, intx, kicked;
};

static void on_fire(void *opaque, uint16_t vector)
{
    (void)vector;
    atomic_fetch_add(&((struct fixture *)opaque)->fired, 1);
}

static void on_intx(void *opaque, bool asserted)
{
    if (asserted)
        atomic_fetch_add(&((struct fixture *)opaque)->intx, 1);
}

static void on_kick(void *opaque, uint16_t queue)
{
    (void)queue;
    atomic_fetch_add(&((struct fixture *)opaque)->kicked, 1);
}

static void on_notify(void *opaque, uint16_t queue)
{
    oriel_virtio_pci_queue_interrupt(((struct fixture *)opaque)->pci, queue);
}

static void on_broken(void *opaque)
{
    oriel_virtio_pci_needs_reset(((struct fixture *)opaque)->pci);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    struct oriel_virtio_fs_options fs = {
        .num_request_queues = 1, .queue_size = 16, .notify = on_notify, .broken = on_broken, .opaque = f};
    assert_int_equal(oriel_worker_pool_create(NULL, &fs.pool), 0);
    rig_start(&f->rig, &fs, RAM_LEN);
    stub_release(&f->rig.server);
    struct oriel_virtio_pci_options options = {.size = sizeof(options),
                                               .device = f->rig.device,
                                               .msix_fire = on_fire,
                                               .intx = on_intx,
                                               .queue_kicked = on_kick,
                                               .opaque = f};
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

static void put(struct fixture *f, unsigned bar, uint64_t offset, size_t len, uint64_t value)
{
    unsigned char data[8];
    le64_store(data, value);
    oriel_virtio_pci_bar_write(f->pci, bar, offset, data, len);
}

static uint64_t get(struct fixture *f, unsigned bar, uint64_t offset, size_t len)
{
    unsigned char data[8] = {0};
    oriel_virtio_pci_bar_read(f->pci, bar, offset, data, len);
    return le64_load(data);
}

/* A queue's thread, which polls. */
static void *serve(void *opaque)
{
    struct fixture *f = opaque;
    while (!atomic_load(&f->done))
        if (oriel_virtio_fs_process(f->rig.device, 1) <= 0)
            sched_yield();
    return NULL;
}

/* Another processor of the guest: looks around and plays with the masks. */
static void *meddle(void *opaque)
{
    struct fixture *f = opaque;
    for (unsigned i = 0; !atomic_load(&f->done); i++) {
        (void)get(f, CONTROL, 0x1000, 1); /* takes the ISR */
        (void)get(f, CONTROL, 0x14, 1);
        put(f, MSIX_BAR, 16 + 12, 4, i % 2);
        oriel_virtio_pci_config_write(f->pci, 0x42, 2, i % 16 < 8 ? 0x8000 : 0);
        put(f, CONTROL, oriel_virtio_pci_doorbell(f->pci, 1), 2, 1);
        (void)oriel_virtio_pci_config_read(f->pci, 0x04, 4);
        sched_yield();
    }
    return NULL;
}

static void boot(struct fixture *f, struct driver_ring *ring)
{
    put(f, CONTROL, 0x14, 1, 0);
    rig_ring_init(&f->rig, ring, 0);
    put(f, CONTROL, 0x14, 1, 3);
    put(f, CONTROL, 0x08, 4, 0);
    put(f, CONTROL, 0x0c, 4, 0);
    put(f, CONTROL, 0x08, 4, 1);
    put(f, CONTROL, 0x0c, 4, 1);
    put(f, CONTROL, 0x14, 1, 11);
    put(f, CONTROL, 0x16, 2, 1);
    put(f, CONTROL, 0x18, 2, RIG_RING_SIZE);
    put(f, CONTROL, 0x1a, 2, 1);
    put(f, CONTROL, 0x20, 8, ring->desc);
    put(f, CONTROL, 0x28, 8, ring->avail);
    put(f, CONTROL, 0x30, 8, ring->used);
    put(f, CONTROL, 0x1c, 2, 1);
    put(f, CONTROL, 0x14, 1, 15);
    assert_int_equal(get(f, CONTROL, 0x14, 1), 15);
}

static void wait_for_first_reply(struct driver_ring *ring)
{
    while (driver_used_index(ring) == 0)
        sched_yield();
}

static void resets_under_load(void **state)
{
    static const uint32_t opcodes[] = {STUB_PLAIN, STUB_BLOCK, STUB_LOCK};
    struct fixture *f = *state;
    pthread_t server, meddler;
    struct driver_ring ring;
    assert_int_equal(pthread_create(&server, NULL, serve, f), 0);
    assert_int_equal(pthread_create(&meddler, NULL, meddle, f), 0);
    for (unsigned i = 0; i < BOOTS; i++) {
        boot(f, &ring);
        for (uint16_t slot = 0; slot < 8; slot++)
            rig_offer(&ring, (uint16_t)(2 * slot), opcodes[slot % ARRAY_LEN(opcodes)]);
        wait_for_first_reply(&ring);
        if (i % 4 == 0) /* the queue breaks besides */
            driver_set_avail_index(&ring, 999);
    }
    put(f, CONTROL, 0x14, 1, 0);
    atomic_store(&f->done, true);
    pthread_join(server, NULL);
    pthread_join(meddler, NULL);
    assert_true(atomic_load(&f->fired) + atomic_load(&f->intx) > 0);
    assert_true(atomic_load(&f->kicked) > 0);
    assert_true(atomic_load(&f->rig.server.resets) >= BOOTS);
    assert_int_equal(atomic_load(&f->rig.server.waiting), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(resets_under_load, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
