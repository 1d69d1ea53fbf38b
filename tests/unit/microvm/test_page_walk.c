#include "unit/microvm/unit.h"

#include "microvm/cpu_state.h"
#include "microvm/layout.h"
#include "microvm/page_walk.h"

#define TABLES    UINT64_C(0x200000)
#define USER      UINT64_C(0x7)
#define LARGE     UINT64_C(0x80)
#define NX        (UINT64_C(1) << 63)
#define LONG_MODE .cr0 = 0x80000001, .efer = 0x500

static struct ram ram;

static int set_up(void **state)
{
    (void)state;
    struct vm_error error;
    return ram_create(LAYOUT_RAM_MIN, &ram, &error);
}

static int tear_down(void **state)
{
    (void)state;
    ram_destroy(&ram);
    return 0;
}

static void put(uint64_t table, uint64_t index, uint64_t entry)
{
    assert_int_equal(ram_write(&ram, TABLES + table * 4096 + index * 8, &entry, 8), 0);
}

static uint64_t walk(const struct kvm_sregs *sregs, uint64_t linear)
{
    uint64_t gpa;
    return page_walk(&ram, sregs, linear, &gpa) ? gpa : UINT64_MAX;
}

static void pages_of_every_size_are_found(void **state)
{
    (void)state;
    struct kvm_sregs sregs = {LONG_MODE, .cr3 = TABLES | 0x18};
    put(0, 1, (TABLES + 0x1000) | USER);
    put(1, 2, (TABLES + 0x2000) | USER | NX);
    put(2, 3, (TABLES + 0x3000) | USER);
    put(3, 4, UINT64_C(0x123456000) | USER | NX);
    put(2, 5, UINT64_C(0x10abe00000) | USER | LARGE);
    put(1, 6, UINT64_C(0x2000000000) | USER | LARGE);
    uint64_t base = UINT64_C(1) << 39;
    assert_int_equal(walk(&sregs, base | 2ULL << 30 | 3 << 21 | 4 << 12 | 0x789), 0x123456789);
    assert_int_equal(walk(&sregs, base | 2ULL << 30 | 5 << 21 | 0x12345), UINT64_C(0x10abe12345));
    assert_int_equal(walk(&sregs, base | 6ULL << 30 | 0x3456789), UINT64_C(0x2003456789));
    assert_int_equal(walk(&sregs, base | 2ULL << 30 | 3 << 21 | 5 << 12), UINT64_MAX); /* not present */
    assert_int_equal(walk(&sregs, 0), UINT64_MAX);
}

static void five_levels_are_walked(void **state)
{
    (void)state;
    struct kvm_sregs sregs = {LONG_MODE, .cr3 = TABLES, .cr4 = 0x1000};
    put(0, 7, (TABLES + 0x1000) | USER);
    put(1, 1, (TABLES + 0x2000) | USER);
    put(2, 0, UINT64_C(0x40000000) | USER | LARGE);
    assert_int_equal(walk(&sregs, 7ULL << 48 | 1ULL << 39 | 0x1234), 0x40001234);
}

static void tables_outside_ram_end_the_walk(void **state)
{
    (void)state;
    struct kvm_sregs sregs = {LONG_MODE, .cr3 = UINT64_C(0xffffffffff000)};
    assert_int_equal(walk(&sregs, 0), UINT64_MAX);
    sregs.cr3 = TABLES;
    put(0, 0, UINT64_C(0x000ffffffffff000) | USER);
    assert_int_equal(walk(&sregs, 0), UINT64_MAX);
}

static void without_paging_addresses_are_physical(void **state)
{
    (void)state;
    struct kvm_sregs sregs = {.cr0 = 1};
    assert_int_equal(walk(&sregs, 0x12345), 0x12345);
    sregs.cr0 = 0x80000001; /* 32-bit paging is not walked */
    assert_int_equal(walk(&sregs, 0x12345), UINT64_MAX);
}

static void our_boot_tables_are_walked(void **state)
{
    (void)state;
    struct kvm_sregs sregs = {LONG_MODE, .cr3 = LAYOUT_PAGE_TABLES};
    assert_int_equal(cpu_write_boot_tables(&ram), 0);
    assert_int_equal(walk(&sregs, 0xfee00123), 0xfee00123);
    assert_int_equal(walk(&sregs, LAYOUT_HIGH_RAM), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_of_every_size_are_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(five_levels_are_walked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tables_outside_ram_end_the_walk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_paging_addresses_are_physical, set_up, tear_down),
        cmocka_unit_test_setup_teardown(our_boot_tables_are_walked, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
