/* A real guest on SAVED slots: loads, stores, instruction fetches. */
#include <oriel/dax.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiny_guest.h"

#define SLOT   (UINT64_C(2) << 20)
#define SLOTS  16
#define WINDOW (SLOTS * SLOT)

struct rig {
    struct tiny_guest guest;
    struct oriel_arena *arena;
    struct oriel_dax *dax;
    struct oriel_arena_uffd *uffd;
    int fd;
};

static int acquire(void *opaque, uint64_t nodeid, uint32_t prot, struct oriel_dax_file *out)
{
    struct rig *rig = opaque;
    if (nodeid == 2 && (prot & ORIEL_DAX_WRITE))
        return -EACCES;
    if (nodeid == 3)
        return -ESTALE;
    out->fd = rig->fd;
    out->max_prot = nodeid == 2 ? ORIEL_DAX_READ : ORIEL_DAX_READ | ORIEL_DAX_WRITE;
    return 0;
}

static void release(void *opaque, const struct oriel_dax_file *file)
{
    (void)opaque, (void)file;
}

/* The first bytes of slot i of the file: mov eax, 1000 + i; ret. */
static uint64_t content(uint64_t i)
{
    return 0xb8 | (1000 + i) << 8 | UINT64_C(0xc3) << 40;
}

static int start(struct rig *rig, uint64_t nodeid_of_odd)
{
    *rig = (struct rig){0};
    const struct oriel_arena_options arena = {
        .size = sizeof(arena), .window_gpa = GUEST_WINDOW, .window_len = WINDOW};
    const struct oriel_dax_source source = {
        .size = sizeof(source), .opaque = rig, .acquire = acquire, .release = release};
    rig->fd = memfd_create("window", MFD_CLOEXEC);
    assert_int_equal(ftruncate(rig->fd, (off_t)WINDOW), 0);
    for (uint64_t i = 0; i < SLOTS; i++) {
        uint64_t bytes = content(i);
        assert_int_equal(pwrite(rig->fd, &bytes, sizeof(bytes), (off_t)(i * SLOT)), sizeof(bytes));
    }
    assert_int_equal(oriel_arena_create(&arena, &rig->arena), 0);
    const struct oriel_dax_options options = {.size = sizeof(options),
                                              .window_gpa = GUEST_WINDOW,
                                              .window_len = WINDOW,
                                              .source = &source,
                                              .mapper = oriel_arena_mapper(rig->arena)};
    assert_int_equal(oriel_dax_create(&options, &rig->dax), 0);
    for (uint64_t i = 0; i < SLOTS; i++) {
        uint64_t node = i % 2 == 1 ? nodeid_of_odd : 1;
        int err = oriel_dax_setup(rig->dax, node, i * SLOT, SLOT, i * SLOT, node == 1 && i % 4 ? 3 : 1);
        assert_true(err == 0 || (err == -ESTALE && node == 3));
    }
    return guest_open(&rig->guest, oriel_arena_base(rig->arena), WINDOW);
}

/* Makes every slot SAVED, as after a restore. Node 3 gets the odd slots if it is to fail. */
static void restore(struct rig *rig, bool stale)
{
    unsigned char blob[ORIEL_DAXS_HEADER + SLOTS * ORIEL_DAXS_ENTRY];
    size_t size;
    assert_int_equal(oriel_dax_save(rig->dax, blob, sizeof(blob), &size), 0);
    for (uint64_t i = 1; stale && i < SLOTS; i += 2)
        blob[ORIEL_DAXS_HEADER + i * ORIEL_DAXS_ENTRY + 16] = 3;
    assert_int_equal(oriel_dax_load(rig->dax, blob, size), 0);
}

static bool start_uffd(struct rig *rig, bool on_touch_only)
{
    const struct oriel_arena_uffd_options options = {.size = sizeof(options),
                                                     .arena = rig->arena,
                                                     .dax = rig->dax,
                                                     .ahead_bytes = 1,
                                                     .on_touch_only = on_touch_only};
    int err = oriel_arena_uffd_start(&options, &rig->uffd);
    if (err != 0) {
        print_message("# userfaultfd is not to be had here: %d\n", err);
        return false;
    }
    assert_int_equal(oriel_arena_uffd_arm(rig->uffd), SLOTS);
    return true;
}

static void stop(struct rig *rig)
{
    oriel_arena_uffd_stop(rig->uffd);
    guest_close(&rig->guest);
    oriel_dax_destroy(rig->dax);
    oriel_arena_destroy(rig->arena);
    close(rig->fd);
}

static bool ready(struct rig *rig, uint64_t nodeid_of_odd)
{
    int err = start(rig, nodeid_of_odd);
    if (err == 0)
        return true;
    print_message("# no guest on /dev/kvm here: %d\n", err);
    stop(rig);
    return false;
}

/* Ready, with every slot SAVED until the guest touches it. */
static bool ready_to_touch(struct rig *rig, uint64_t nodeid_of_odd, bool stale)
{
    if (!ready(rig, nodeid_of_odd))
        return false;
    restore(rig, stale);
    if (start_uffd(rig, true))
        return true;
    stop(rig);
    return false;
}

static uint64_t gva(uint64_t slot, uint64_t inside)
{
    return GUEST_WINDOW + slot * SLOT + inside;
}

static void loads_stores_and_fetches_bind_each_slot_once(void **state)
{
    (void)state;
    struct rig rig;
    if (!ready_to_touch(&rig, 1, false))
        skip();
    for (uint64_t i = 0; i < SLOTS; i++) {
        static const uint64_t codes[] = {GUEST_LOAD, GUEST_STORE, GUEST_CALL};
        uint64_t code = codes[i % 3], value = 0x1234567890 + i;
        uint64_t at = gva(i, code == GUEST_STORE ? SLOT / 2 : 0), seen;
        assert_int_equal(guest_access(&rig.guest, code, at, &value), 0);
        if (code == GUEST_LOAD)
            assert_int_equal(value, content(i));
        else if (code == GUEST_CALL)
            assert_int_equal(value, 1000 + i);
        else
            assert_int_equal(pread(rig.fd, &seen, sizeof(seen), (off_t)(i * SLOT + SLOT / 2)), sizeof(seen));
        assert_true(code != GUEST_STORE || seen == 0x1234567890 + i);
        value = 0; /* a second touch, and the last bytes */
        assert_int_equal(guest_access(&rig.guest, GUEST_LOAD, gva(i, SLOT - 8), &value), 0);
    }
    struct oriel_arena_uffd_stats uffd;
    struct oriel_dax_stats stats;
    oriel_arena_uffd_stats(rig.uffd, &uffd);
    oriel_dax_stats(rig.dax, &stats);
    assert_int_equal(stats.fault_binds, SLOTS);
    assert_int_equal(uffd.binds, SLOTS);
    assert_int_equal(uffd.errors, 0);
    assert_int_equal(stats.bound, SLOTS);
    stop(&rig);
}

static void the_first_touch_brings_everything_back(void **state)
{
    (void)state;
    struct rig rig;
    if (!ready(&rig, 1))
        skip();
    for (int round = 0; round < 3; round++) { /* armed again after each load */
        uint64_t value = 0;
        restore(&rig, false);
        if (rig.uffd == NULL && !start_uffd(&rig, false)) {
            stop(&rig);
            skip();
        }
        if (round > 0)
            assert_int_equal(oriel_arena_uffd_arm(rig.uffd), SLOTS);
        assert_int_equal(guest_access(&rig.guest, GUEST_LOAD, gva(7, 0), &value), 0);
        assert_int_equal(value, content(7));
        for (int i = 0; i < 10000; i++) {
            struct oriel_dax_stats stats;
            oriel_dax_stats(rig.dax, &stats);
            if (stats.bound == SLOTS)
                break;
            usleep(1000);
            assert_int_not_equal(i, 9999);
        }
        for (uint64_t i = 0; i < SLOTS; i++) {
            assert_int_equal(guest_access(&rig.guest, GUEST_LOAD, gva(i, 0), &value), 0);
            assert_int_equal(value, content(i));
        }
    }
    stop(&rig);
}

static void what_cannot_be_bound_is_an_error_and_no_loop(void **state)
{
    (void)state;
    struct rig rig;
    uint64_t value = 0;
    if (!ready_to_touch(&rig, 2, true))
        skip();
    assert_int_equal(guest_access(&rig.guest, GUEST_LOAD, gva(1, 0), &value), -EFAULT); /* stale node */
    assert_int_equal(guest_access(&rig.guest, GUEST_LOAD, gva(2, 0), &value), 0);
    assert_int_equal(ftruncate(rig.fd, 3 * (off_t)SLOT), 0);
    assert_int_equal(guest_access(&rig.guest, GUEST_LOAD, gva(4, 0), &value), -EFAULT); /* past the end */
    assert_int_equal(guest_access(&rig.guest, GUEST_LOAD, gva(2, SLOT - 8), &value), 0);
    assert_int_equal(ftruncate(rig.fd, (off_t)WINDOW), 0);
    assert_int_equal(guest_access(&rig.guest, GUEST_LOAD, gva(4, 0), &value),
                     0); /* the file has grown again */
    struct oriel_arena_uffd_stats uffd;
    oriel_arena_uffd_stats(rig.uffd, &uffd);
    assert_int_equal(uffd.errors, 1);
    /* A removed slot shows nothing, no zeroes. */
    const struct oriel_dax_range range = {6 * SLOT, SLOT};
    assert_int_equal(oriel_dax_remove(rig.dax, &range, 1), 0);
    assert_int_equal(guest_access(&rig.guest, GUEST_LOAD, gva(6, 0), &value), -EFAULT);
    /* Nor does what is left when the driver goes. */
    oriel_arena_uffd_stop(rig.uffd);
    rig.uffd = NULL;
    assert_int_equal(guest_access(&rig.guest, GUEST_LOAD, gva(8, 0), &value), -EFAULT);
    stop(&rig);
}

static void without_userfaultfd_binding_all_and_running_again_does(void **state)
{
    (void)state;
    struct rig rig;
    uint64_t value = 0;
    if (!ready(&rig, 1))
        skip();
    restore(&rig, false);
    guest_set(&rig.guest, GUEST_LOAD, gva(5, 0), 0, 1, 0);
    assert_int_equal(guest_run(&rig.guest, &value), -EFAULT);
    assert_int_equal(oriel_dax_bind_all(rig.dax), SLOTS);
    assert_int_equal(guest_run(&rig.guest, &value), 0);
    assert_int_equal(value, content(5));
    stop(&rig);
}

static void a_write_to_a_read_slot_is_upgraded_when_it_was_saved(void **state)
{
    (void)state;
    struct rig rig;
    uint64_t value = 77;
    if (!ready_to_touch(&rig, 1, false))
        skip();
    /* Slot 0 is READ; the store is the first touch. */
    assert_int_equal(guest_access(&rig.guest, GUEST_STORE, gva(0, 64), &value), 0);
    assert_int_equal(pread(rig.fd, &value, sizeof(value), 64), sizeof(value));
    assert_int_equal(value, 77);
    struct oriel_dax_stats stats;
    oriel_dax_stats(rig.dax, &stats);
    assert_int_equal(stats.fault_upgrades, 1);
    stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_stores_and_fetches_bind_each_slot_once),
        cmocka_unit_test(the_first_touch_brings_everything_back),
        cmocka_unit_test(what_cannot_be_bound_is_an_error_and_no_loop),
        cmocka_unit_test(without_userfaultfd_binding_all_and_running_again_does),
        cmocka_unit_test(a_write_to_a_read_slot_is_upgraded_when_it_was_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
