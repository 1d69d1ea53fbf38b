#include "unit/microvm/unit.h"

#include "microvm/layout.h"
#include "microvm/memory_map.h"
#include "microvm/ram.h"

static void small_ram_is_one_region(void **state)
{
    (void)state;
    struct ram ram;
    struct vm_error error;
    assert_int_equal(ram_create(256 * LAYOUT_MIB + 1, &ram, &error), 0);
    assert_int_equal(ram.size, 258 * LAYOUT_MIB); /* rounded up to 2 MiB */
    assert_int_equal(ram.region_count, 1);
    assert_int_equal(ram_end(&ram), ram.size);
    assert_ptr_equal(ram_at(&ram, 4096, 1), ram.host + 4096);
    assert_ptr_equal(ram_at(&ram, 0, ram.size), ram.host);
    assert_null(ram_at(&ram, 0, ram.size + 1));
    assert_null(ram_at(&ram, ram.size, 1));
    assert_null(ram_at(&ram, UINT64_MAX, 2));
    assert_int_equal(ram_write(&ram, ram.size - 4, "abcd", 4), 0);
    assert_int_equal(ram_write(&ram, ram.size - 3, "abcd", 4), -EFAULT);
    ram_destroy(&ram);
}

static void large_ram_leaves_the_hole_free(void **state)
{
    (void)state;
    struct ram ram;
    struct vm_error error;
    assert_int_equal(ram_create(5 * LAYOUT_GIB, &ram, &error), 0);
    assert_int_equal(ram.region_count, 2);
    assert_int_equal(ram.regions[0].len, 3 * LAYOUT_GIB);
    assert_int_equal(ram.regions[1].gpa, 4 * LAYOUT_GIB);
    assert_int_equal(ram.regions[1].len, 2 * LAYOUT_GIB);
    assert_int_equal(ram_end(&ram), 6 * LAYOUT_GIB);
    assert_null(ram_at(&ram, 3 * LAYOUT_GIB, 1));
    assert_null(ram_at(&ram, 3 * LAYOUT_GIB - 1, 2));
    assert_null(ram_at(&ram, 4 * LAYOUT_GIB - 1, 2));
    assert_ptr_equal(ram_at(&ram, 4 * LAYOUT_GIB, 1), ram.host + 3 * LAYOUT_GIB);
    ram_destroy(&ram);
}

static void sizes_out_of_range_are_refused(void **state)
{
    (void)state;
    struct ram ram;
    struct vm_error error;
    assert_int_equal(ram_create(LAYOUT_RAM_MIN - 1, &ram, &error), -EINVAL);
    assert_int_equal(ram_create(LAYOUT_RAM_MAX + 1, &ram, &error), -EINVAL);
    assert_int_equal(ram_create(UINT64_MAX, &ram, &error), -EINVAL);
    assert_non_null(strstr(error.text, "128M"));
}

static uint64_t check_map(const struct memory_map_entry *map, size_t n)
{
    uint64_t usable = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(map[i].len > 0);
        if (i > 0)
            assert_true(map[i].addr >= map[i - 1].addr + map[i - 1].len);
        if (map[i].type == MEMORY_MAP_RAM)
            usable += map[i].len;
    }
    return usable;
}

static void the_map_covers_ram_and_nothing_else(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {128 * LAYOUT_MIB, 3 * LAYOUT_GIB, 3 * LAYOUT_GIB + 2 * LAYOUT_MIB,
                                     9 * LAYOUT_GIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct ram ram;
        struct vm_error error;
        struct memory_map_entry map[MEMORY_MAP_MAX];
        assert_int_equal(ram_create(sizes[i], &ram, &error), 0);
        size_t n = memory_map_build(&ram, map);
        assert_int_equal(n, sizes[i] > 3 * LAYOUT_GIB ? 5 : 4);
        /* All but what lies between the end of conventional memory and 1 MiB. */
        assert_int_equal(check_map(map, n), sizes[i] - (LAYOUT_HIGH_MEMORY - LAYOUT_EBDA));
        assert_int_equal(map[n - 1].addr + map[n - 1].len, ram_end(&ram));
        ram_destroy(&ram);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_ram_is_one_region),
        cmocka_unit_test(large_ram_leaves_the_hole_free),
        cmocka_unit_test(sizes_out_of_range_are_refused),
        cmocka_unit_test(the_map_covers_ram_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
