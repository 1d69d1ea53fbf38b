/* The page set against a plain array of flags. */
#include "memory_rig.h"

#include <stdlib.h>

#include "fs/memory/page_set.h"

static void counts_adds_and_removes(void **state)
{
    (void)state;
    struct memfs_page_set set = {0};
    assert_int_equal(memfs_page_set_prepare(&set, 10, 5000), 0);
    assert_int_equal(memfs_page_set_add(&set, 10, 5000), 4990);
    assert_int_equal(memfs_page_set_add(&set, 0, 100), 10 + 0);
    assert_int_equal(set.count, 5000);
    assert_int_equal(memfs_page_set_remove(&set, 63, 65), 2);
    assert_false(memfs_page_set_has(&set, 64));
    assert_true(memfs_page_set_has(&set, 65));
    assert_int_equal(memfs_page_set_next(&set, 0, false), 63);
    assert_int_equal(memfs_page_set_next(&set, 63, true), 65);
    assert_int_equal(memfs_page_set_next(&set, 65, false), 5000);
    assert_int_equal(memfs_page_set_next(&set, 5000, true), MEMFS_PAGES_MAX);
    assert_int_equal(memfs_page_set_remove(&set, 0, MEMFS_PAGES_MAX), 4998);
    assert_int_equal(set.count, 0);
    memfs_page_set_clear(&set);
}

static void far_pages_cost_little(void **state)
{
    (void)state;
    struct memfs_page_set set = {0};
    uint64_t last = MEMFS_PAGES_MAX - 1;
    assert_int_equal(memfs_page_set_prepare(&set, last, last + 1), 0);
    assert_int_equal(memfs_page_set_add(&set, last, last + 1), 1);
    assert_int_equal(memfs_page_set_next(&set, 0, true), last);
    assert_int_equal(memfs_page_set_count(&set, 0, MEMFS_PAGES_MAX), 1);
    assert_int_equal(memfs_page_set_next(&set, last, false), MEMFS_PAGES_MAX);
    assert_int_equal(memfs_page_set_remove(&set, 0, MEMFS_PAGES_MAX), 1);
    assert_null(set.top[last >> 20]); /* what was empty is gone */
    memfs_page_set_clear(&set);
}

static void trim_drops_what_was_prepared_in_vain(void **state)
{
    (void)state;
    struct memfs_page_set set = {0};
    assert_int_equal(memfs_page_set_prepare(&set, 0, 1 << 21), 0);
    memfs_page_set_add(&set, 4096, 4097);
    memfs_page_set_trim(&set, 0, 1 << 21);
    assert_null(set.top[1]);
    assert_non_null(set.top[0]);
    assert_true(memfs_page_set_has(&set, 4096));
    memfs_page_set_clear(&set);
}

#define MODEL_PAGES 20000

static void random_ranges_agree_with_flags(void **state)
{
    (void)state;
    static unsigned char flags[MODEL_PAGES];
    const char *given = getenv("ORIEL_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 12345;
    print_message("ORIEL_TEST_SEED=%u\n", seed);
    struct memfs_page_set set = {0};
    for (int step = 0; step < 3000; step++) {
        uint64_t first = (uint64_t)rand_r(&seed) % MODEL_PAGES;
        uint64_t len = (uint64_t)rand_r(&seed) % (step % 3 == 0 ? MODEL_PAGES : 100);
        uint64_t end = first + len > MODEL_PAGES ? MODEL_PAGES : first + len;
        bool add = rand_r(&seed) % 2 == 0;
        uint64_t expected = 0;
        uint64_t there = 0;
        for (uint64_t i = first; i < end; i++) {
            there += flags[i];
            expected += flags[i] != add;
            flags[i] = add;
        }
        assert_int_equal(memfs_page_set_count(&set, first, end), there);
        assert_int_equal(memfs_page_set_prepare(&set, first, add ? end : first), 0);
        assert_int_equal(add ? memfs_page_set_add(&set, first, end) : memfs_page_set_remove(&set, first, end),
                         expected);
        uint64_t from = (uint64_t)rand_r(&seed) % MODEL_PAGES;
        uint64_t next = from;
        while (next < MODEL_PAGES && flags[next] != add)
            next++;
        uint64_t found = memfs_page_set_next(&set, from, add);
        assert_int_equal(found, next < MODEL_PAGES ? next : add ? MEMFS_PAGES_MAX : MODEL_PAGES);
    }
    memfs_page_set_clear(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_adds_and_removes),
        cmocka_unit_test(far_pages_cost_little),
        cmocka_unit_test(trim_drops_what_was_prepared_in_vain),
        cmocka_unit_test(random_ranges_agree_with_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
