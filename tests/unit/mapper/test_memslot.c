/* One KVM slot for each mapping, with a real guest. */
#include <oriel/dax.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiny_guest.h"

#define SLOT   (UINT64_C(2) << 20)
#define WINDOW (16 * SLOT)

static int file;

static int acquire(void *opaque, uint64_t nodeid, uint32_t prot, struct oriel_dax_file *out)
{
    (void)opaque, (void)nodeid, (void)prot;
    out->fd = file;
    out->max_prot = ORIEL_DAX_READ | ORIEL_DAX_WRITE;
    return 0;
}

static void release(void *opaque, const struct oriel_dax_file *released)
{
    (void)opaque, (void)released;
}

static void a_guest_reads_and_writes_through_single_slots(void **state)
{
    (void)state;
    struct tiny_guest guest;
    int err = guest_open(&guest, NULL, WINDOW);
    if (err != 0) {
        print_message("# no guest on /dev/kvm here: %d\n", err);
        guest_close(&guest);
        skip();
    }
    const struct oriel_memslot_options slots = {.size = sizeof(slots),
                                                .vm_fd = guest.vm,
                                                .window_gpa = GUEST_WINDOW,
                                                .window_len = WINDOW,
                                                .first_slot = 1,
                                                .slot_count = 4};
    const struct oriel_dax_source source = {.size = sizeof(source), .acquire = acquire, .release = release};
    struct oriel_memslot *memslot = NULL;
    struct oriel_dax *dax = NULL;
    uint64_t value = 0;
    file = memfd_create("memslot", MFD_CLOEXEC);
    assert_int_equal(ftruncate(file, (off_t)WINDOW), 0);
    for (uint64_t i = 0; i < 16; i++) {
        uint64_t word = 1000 + i;
        assert_int_equal(pwrite(file, &word, 8, (off_t)(i * SLOT)), 8);
    }
    assert_int_equal(oriel_memslot_create(&slots, &memslot), 0);
    const struct oriel_dax_options options = {.size = sizeof(options),
                                              .window_gpa = GUEST_WINDOW,
                                              .window_len = WINDOW,
                                              .source = &source,
                                              .mapper = oriel_memslot_mapper(memslot)};
    assert_int_equal(oriel_dax_create(&options, &dax), 0);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(oriel_dax_setup(dax, 1, i * SLOT, SLOT, 2 * i * SLOT, 1), i < 4 ? 0 : -ENOSPC);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(guest_access(&guest, GUEST_LOAD, GUEST_WINDOW + 2 * i * SLOT, &value), 0);
        assert_int_equal(value, 1000 + i);
    }
    assert_int_equal(oriel_dax_setup(dax, 1, 7 * SLOT, SLOT, 2 * SLOT, 3), 0); /* replaced, and writable */
    assert_int_equal(guest_access(&guest, GUEST_LOAD, GUEST_WINDOW + 2 * SLOT, &value), 0);
    assert_int_equal(value, 1007);
    value = 42;
    assert_int_equal(guest_access(&guest, GUEST_STORE, GUEST_WINDOW + 2 * SLOT + 8, &value), 0);
    assert_int_equal(pread(file, &value, 8, (off_t)(7 * SLOT + 8)), 8);
    assert_int_equal(value, 42);
    const struct oriel_dax_range range = {0, SLOT};
    assert_int_equal(oriel_dax_remove(dax, &range, 1), 0);
    assert_int_equal(oriel_dax_setup(dax, 1, 9 * SLOT, SLOT, 8 * SLOT, 1), 0); /* its number is free again */
    assert_int_equal(guest_access(&guest, GUEST_LOAD, GUEST_WINDOW + 8 * SLOT, &value), 0);
    assert_int_equal(value, 1009);
    oriel_dax_destroy(dax);
    oriel_memslot_destroy(memslot);
    guest_close(&guest);
    close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_guest_reads_and_writes_through_single_slots)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
