#include "dax_fixture.h"

static void remove_unmaps_and_is_idempotent(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(remove_range(&f, 0, SLOT), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, RW), 0);
    assert_int_equal(remove_range(&f, 0, SLOT), 0);
    assert_shows_nothing(&f, 0, SLOT);
    assert_int_equal(remove_range(&f, 0, SLOT), 0);
    assert_int_equal(remove_range(&f, 0, 64 * MIB), 0);
    struct oriel_dax_stats stats = fixture_stats(&f);
    assert_int_equal(stats.removes, 4);
    assert_int_equal(stats.remove_errors, 0);
    assert_int_equal(stats.unmaps, 1);
    assert_int_equal(stats.slots, 0);
    assert_int_equal(stats.mapped_bytes, 0);
    assert_int_equal(oriel_recorder_counts(f.recorder).unmaps, 1);
    fixture_stop(&f);
}

static void remove_continues_after_a_bad_entry(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    const struct oriel_dax_range list[] = {
        {SLOT, 0},                   /* empty */
        {0, SLOT},                   /* fine */
        {4 * SLOT + 1, SLOT},        /* unaligned */
        {UINT64_MAX - G + 1, 2 * G}, /* wraps */
        {2 * SLOT, SLOT},            /* fine */
        {64 * MIB, SLOT},            /* outside */
        {5 * SLOT, SLOT},            /* fine, shows nothing */
    };
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(oriel_dax_setup(f.dax, 1, i * SLOT, SLOT, i * SLOT, R), 0);
    assert_int_equal(oriel_dax_remove(f.dax, list, 7), -EINVAL);
    assert_shows_nothing(&f, 0, SLOT);
    assert_shows(&f, SLOT, SLOT, 1, SLOT, R);
    assert_shows_nothing(&f, 2 * SLOT, SLOT);
    assert_shows(&f, 3 * SLOT, SLOT, 1, 3 * SLOT, R);
    assert_int_equal(fixture_stats(&f).remove_errors, 4);
    assert_int_equal(fixture_stats(&f).removes, 3);
    assert_int_equal(oriel_dax_remove(f.dax, NULL, 0), 0);
    fixture_stop(&f);
}

static void adjacent_ranges_become_one_unmap(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    struct oriel_dax_range list[8];
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(oriel_dax_setup(f.dax, 1 + i % 3, 0, SLOT, i * SLOT, R), 0);
        list[i] = (struct oriel_dax_range){(7 - i) * SLOT, SLOT}; /* downwards, as a Linux guest sends them */
    }
    assert_int_equal(oriel_dax_remove(f.dax, list, 8), 0);
    assert_int_equal(oriel_recorder_counts(f.recorder).unmaps, 1);
    assert_int_equal(fixture_stats(&f).removes, 8);
    assert_int_equal(fixture_stats(&f).unmaps, 1);
    assert_shows_nothing(&f, 0, 8 * SLOT);
    fixture_stop(&f);
}

static void a_long_list_in_any_order_is_worked_through(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    struct oriel_dax_range *list = malloc(COUNT * sizeof(*list));
    assert_non_null(list);
    for (uint64_t i = 0; i < COUNT; i++)
        list[i] = (struct oriel_dax_range){(i * 617 % COUNT) * 4 * G, 2 * G};
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 4 * COUNT * G, 0, R), 0);
    assert_int_equal(oriel_dax_remove(f.dax, list, COUNT), 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_shows_nothing(&f, 4 * i * G, 2 * G);
        assert_shows(&f, (4 * i + 2) * G, 2 * G, 1, (4 * i + 2) * G, R);
    }
    assert_int_equal(fixture_stats(&f).slots, COUNT);
    assert_int_equal(fixture_stats(&f).removes, COUNT);
    free(list);
    fixture_stop(&f);
}

static void overlapping_entries_are_success(void **state)
{
    (void)state;
    struct fixture f;
    const struct oriel_dax_range list[] = {{0, 4 * G}, {2 * G, 6 * G}, {2 * G, G}, {0, 4 * G}};
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_remove(f.dax, list, 4), 0);
    assert_shows_nothing(&f, 0, 8 * G);
    assert_shows(&f, 8 * G, SLOT - 8 * G, 1, 8 * G, R);
    fixture_stop(&f);
}

static void a_part_of_a_slot_splits_it(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 4, SLOT, 6 * SLOT, SLOT, RW), 0);
    assert_int_equal(fixture_stats(&f).slots, 1);
    assert_int_equal(remove_range(&f, 2 * SLOT, SLOT), 0); /* a whole block inside */
    assert_int_equal(fixture_stats(&f).slots, 2);
    assert_int_equal(remove_range(&f, 4 * SLOT + G, 2 * G), 0); /* a part of a block */
    assert_int_equal(fixture_stats(&f).slots, 3);
    assert_int_equal(remove_range(&f, 6 * SLOT - G, SLOT), 0); /* over a border of blocks */
    assert_int_equal(fixture_stats(&f).slots, 4);
    assert_int_equal(fixture_stats(&f).splits, 3);
    assert_shows(&f, SLOT, SLOT, 4, SLOT, RW);
    assert_shows_nothing(&f, 2 * SLOT, SLOT);
    assert_shows(&f, 3 * SLOT, SLOT + G, 4, 3 * SLOT, RW);
    assert_shows_nothing(&f, 4 * SLOT + G, 2 * G);
    assert_shows(&f, 4 * SLOT + 3 * G, 2 * SLOT - 4 * G, 4, 4 * SLOT + 3 * G, RW);
    assert_shows_nothing(&f, 6 * SLOT - G, SLOT);
    assert_shows(&f, 7 * SLOT - G, G, 4, 7 * SLOT - G, RW);
    assert_int_equal(fixture_stats(&f).mapped_bytes, 4 * SLOT - 2 * G);
    fixture_stop(&f);
}

static void only_what_the_table_says_is_unmapped(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 4, 0, G, 4 * SLOT, RW), 0);
    assert_int_equal(remove_range(&f, 0, 64 * MIB), 0);
    assert_int_equal(oriel_recorder_counts(f.recorder).mapped_bytes, 0);
    assert_int_equal(oriel_recorder_counts(f.recorder).unmaps, 1);
    fixture_stop(&f);
}

static void a_slot_that_the_mapper_cannot_unmap_is_still_in_force(void **state)
{
    (void)state;
    struct fixture f;
    const struct oriel_dax_range list[] = {{0, SLOT}, {4 * SLOT, SLOT}};
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, SLOT, 4 * SLOT, RW), 0);
    oriel_recorder_fail_at(f.recorder, 1, -ENOSPC, ORIEL_RANGE_KEPT);
    assert_int_equal(oriel_dax_remove(f.dax, list, 2), -ENOSPC);
    assert_shows(&f, 0, SLOT, 1, 0, RW);
    assert_shows_nothing(&f, 4 * SLOT, SLOT);
    assert_int_equal(fixture_stats(&f).mapped_bytes, SLOT);
    assert_int_equal(fixture_stats(&f).slots, 1);
    assert_int_equal(remove_range(&f, 0, SLOT), 0);
    assert_int_equal(fixture_stats(&f).mapped_bytes, 0);
    fixture_stop(&f);
}

static void a_joined_unmap_that_fails_is_tried_entry_by_entry(void **state)
{
    (void)state;
    struct fixture f;
    const struct oriel_dax_range list[] = {{0, SLOT}, {SLOT, SLOT}, {2 * SLOT, SLOT}};
    fixture_start(&f, 64 * MIB);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, i * SLOT, RW), 0);
    oriel_recorder_fail_at(f.recorder, 1, -EIO, ORIEL_RANGE_KEPT);
    assert_int_equal(oriel_dax_remove(f.dax, list, 3), 0);
    assert_int_equal(oriel_recorder_counts(f.recorder).mapped_bytes, 0);
    assert_int_equal(fixture_stats(&f).removes, 3);
    assert_int_equal(fixture_stats(&f).unmaps, 4);
    assert_int_equal(oriel_recorder_counts(f.recorder).unmaps, 4);
    fixture_stop(&f);
}

static void an_unmap_that_fails_and_loses_is_done(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, RW), 0);
    oriel_recorder_fail_at(f.recorder, 1, -EIO, ORIEL_RANGE_LOST);
    assert_int_equal(remove_range(&f, 0, SLOT), 0);
    assert_int_equal(fixture_stats(&f).slots, 0);
    fixture_stop(&f);
}

static void reset_drops_every_slot(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 4 * GIB);
    oriel_dax_reset(f.dax);
    assert_int_equal(oriel_recorder_counts(f.recorder).unmaps, 0);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(oriel_dax_setup(f.dax, 1 + i % 5, 0, i % 2 == 0 ? SLOT : G, i * 17 * SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 3 * SLOT, 17 * SLOT + G, R), 0);
    oriel_dax_reset(f.dax);
    struct oriel_dax_stats stats = fixture_stats(&f);
    assert_int_equal(oriel_recorder_counts(f.recorder).mapped_bytes, 0);
    assert_int_equal(stats.mapped_bytes, 0);
    assert_int_equal(stats.slots, 0);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 17 * SLOT + G, R), ORIEL_FAULT_UNMAPPED);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, SLOT, 17 * SLOT, R), 0);
    assert_int_equal(fixture_stats(&f).slots, 1);
    fixture_stop(&f);
}

/* The wrong thing would be to forget a slot that the guest still sees. */
static void reset_tries_each_block_and_keeps_what_it_cannot_unmap(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 4 * SLOT, G, R), 0);
    oriel_recorder_fail_at(f.recorder, 1, -EIO, ORIEL_RANGE_KEPT);
    oriel_dax_reset(f.dax);
    assert_int_equal(oriel_recorder_counts(f.recorder).mapped_bytes, 0);
    assert_int_equal(fixture_stats(&f).slots, 0);

    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 4 * SLOT, G, R), 0);
    f.mapper_refuses_from = SLOT;
    f.mapper_refuses_to = 2 * SLOT;
    oriel_dax_reset(f.dax);
    assert_shows(&f, SLOT, SLOT, 1, SLOT - G, R);
    assert_int_equal(oriel_recorder_counts(f.recorder).mapped_bytes, SLOT);
    assert_int_equal(fixture_stats(&f).slots, 1);
    assert_int_equal(fixture_stats(&f).mapped_bytes, SLOT);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + SLOT, R), ORIEL_FAULT_RESUME);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 2 * SLOT, R), ORIEL_FAULT_UNMAPPED);
    f.mapper_refuses_to = 0;
    oriel_dax_reset(f.dax);
    assert_int_equal(fixture_stats(&f).slots, 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remove_unmaps_and_is_idempotent),
        cmocka_unit_test(remove_continues_after_a_bad_entry),
        cmocka_unit_test(adjacent_ranges_become_one_unmap),
        cmocka_unit_test(a_long_list_in_any_order_is_worked_through),
        cmocka_unit_test(overlapping_entries_are_success),
        cmocka_unit_test(a_part_of_a_slot_splits_it),
        cmocka_unit_test(only_what_the_table_says_is_unmapped),
        cmocka_unit_test(a_slot_that_the_mapper_cannot_unmap_is_still_in_force),
        cmocka_unit_test(a_joined_unmap_that_fails_is_tried_entry_by_entry),
        cmocka_unit_test(an_unmap_that_fails_and_loses_is_done),
        cmocka_unit_test(reset_drops_every_slot),
        cmocka_unit_test(reset_tries_each_block_and_keeps_what_it_cannot_unmap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
