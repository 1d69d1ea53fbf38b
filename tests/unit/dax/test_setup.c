#include "dax_fixture.h"

static void maps_the_whole_length_even_past_the_end_of_the_file(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 63 * MIB, SLOT, 4 * MIB, R), 0);
    assert_shows(&f, 4 * MIB, SLOT, 3, 63 * MIB, R);
    assert_int_equal(fixture_stats(&f).mapped_bytes, SLOT);
    assert_int_equal(fixture_stats(&f).slots, 1);
    assert_int_equal(fixture_stats(&f).bound, 1);
    fixture_stop(&f);
}

static void bad_arguments_touch_nothing(void **state)
{
    (void)state;
    struct fixture f;
    const uint64_t window = 64 * MIB, last = (UINT64_C(1) << 63) - G;
    const struct {
        uint64_t foffset, len, moffset;
        uint32_t prot;
    } bad[] = {
        {0, 0, 0, R},
        {1, G, 0, R},
        {0, G + 1, 0, R},
        {0, G, 4096, R},
        {0, window + G, 0, R},
        {0, G, window, R},
        {0, 2 * G, window - G, R},
        {0, G, UINT64_MAX - G + 1, R},     /* moffset + len wraps to 0 */
        {0, UINT64_MAX - G + 1, 2 * G, R}, /* and so does this */
        {last, G, 0, R},                   /* foffset + len is 2^63 */
        {UINT64_MAX - G + 1, G, 0, R},
        {UINT64_MAX - G + 1, 2 * G, 0, R},
        {0, G, 0, 0},
        {0, G, 0, 4},
        {0, G, 0, R | 4},
        {0, G, 0, UINT32_C(0x80000001)},
    };
    fixture_start(&f, window);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(oriel_dax_setup(f.dax, 1, bad[i].foffset, bad[i].len, bad[i].moffset, bad[i].prot),
                         -EINVAL);
    assert_int_equal(f.acquires, 0);
    assert_int_equal(oriel_recorder_counts(f.recorder).maps, 0);
    assert_int_equal(fixture_stats(&f).setup_errors, sizeof(bad) / sizeof(bad[0]));
    assert_int_equal(oriel_dax_setup(f.dax, 1, last - G, G, window - G, R), 0); /* the last that is allowed */
    fixture_stop(&f);
}

static void write_alone_is_read_and_write(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, ORIEL_DAX_WRITE), 0);
    assert_shows(&f, 0, SLOT, 1, 0, RW);
    fixture_stop(&f);
}

static void upgrade_in_place_keeps_the_old_mapping_on_failure(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, SLOT, SLOT, SLOT, R), 0);
    f.fail_acquire = -EACCES;
    assert_int_equal(oriel_dax_setup(f.dax, 1, SLOT, SLOT, SLOT, RW), -EACCES);
    f.fail_acquire = 0;
    oriel_recorder_fail_at(f.recorder, 1, -EIO, ORIEL_RANGE_KEPT);
    assert_int_equal(oriel_dax_setup(f.dax, 1, SLOT, SLOT, SLOT, RW), -EIO);
    assert_shows(&f, SLOT, SLOT, 1, SLOT, R);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + SLOT, R), ORIEL_FAULT_RESUME);
    assert_int_equal(fixture_stats(&f).bound, 1);

    /* A mapper that had to let go: the slot is in force, and a fault brings it back. */
    oriel_recorder_fail_at(f.recorder, 1, -EIO, ORIEL_RANGE_LOST);
    assert_int_equal(oriel_dax_setup(f.dax, 1, SLOT, SLOT, SLOT, RW), -EIO);
    assert_shows_nothing(&f, SLOT, SLOT);
    assert_int_equal(fixture_stats(&f).saved, 1);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 2 * SLOT - 1, R), ORIEL_FAULT_RESUME);
    assert_shows(&f, SLOT, SLOT, 1, SLOT, R);

    assert_int_equal(oriel_dax_setup(f.dax, 1, SLOT, SLOT, SLOT, RW), 0);
    assert_shows(&f, SLOT, SLOT, 1, SLOT, RW);
    struct oriel_dax_stats stats = fixture_stats(&f);
    assert_int_equal(stats.upgrades, 1);
    assert_int_equal(stats.setups, 2);
    assert_int_equal(stats.setup_errors, 3);
    assert_int_equal(stats.mapped_bytes, SLOT);
    assert_int_equal(oriel_recorder_counts(f.recorder).unmaps, 0);
    fixture_stop(&f);
}

static void setup_over_a_live_slot_never_unmaps_what_it_does_not_replace(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 3 * SLOT, 0, RW), 0);
    for (int round = 0; round < 3; round++) {
        if (round < 2)
            oriel_recorder_fail_at(f.recorder, 1, -EIO, round == 0 ? ORIEL_RANGE_KEPT : ORIEL_RANGE_LOST);
        assert_int_equal(oriel_dax_setup(f.dax, 2, 0, SLOT, SLOT, R), round < 2 ? -EIO : 0);
        assert_shows(&f, 0, SLOT, 1, 0, RW);
        assert_shows(&f, 2 * SLOT, SLOT, 1, 2 * SLOT, RW);
    }
    assert_shows(&f, SLOT, SLOT, 2, 0, R);
    assert_int_equal(oriel_recorder_counts(f.recorder).unmaps, 0);
    assert_int_equal(fixture_stats(&f).slots, 3);
    fixture_stop(&f);
}

/* All ways in which a new slot can lie over an old one of 10 granules that starts at granule 5. */
static void partial_overlap_keeps_both_outside_parts_at_the_right_file_offset(void **state)
{
    (void)state;
    const uint64_t base[] = {0, SLOT - 5 * G, SLOT - 10 * G, SLOT - 15 * G, 5 * SLOT};
    for (size_t b = 0; b < sizeof(base) / sizeof(base[0]); b++) {
        for (uint64_t from = 0; from < 20; from++) {
            for (uint64_t to = from + 1; to <= 20; to++) {
                struct fixture f;
                fixture_start(&f, 12 * MIB);
                uint64_t start = base[b];
                assert_int_equal(oriel_dax_setup(f.dax, 1, 30 * G, 10 * G, start + 5 * G, R), 0);
                assert_int_equal(oriel_dax_setup(f.dax, 2, 7 * G, (to - from) * G, start + from * G, RW), 0);
                uint64_t bytes = (to - from) * G;
                for (uint64_t g = 0; g < 20; g++) {
                    bool in_new = g >= from && g < to, in_old = g >= 5 && g < 15;
                    if (in_new)
                        assert_shows(&f, start + g * G, G, 2, (7 + g - from) * G, RW);
                    else if (in_old)
                        assert_shows(&f, start + g * G, G, 1, (30 + g - 5) * G, R);
                    else
                        assert_shows_nothing(&f, start + g * G, G);
                    bytes += !in_new && in_old ? G : 0;
                    int want = in_new || in_old ? ORIEL_FAULT_RESUME : ORIEL_FAULT_UNMAPPED;
                    assert_int_equal(oriel_dax_fault(f.dax, GPA + start + g * G, R), want);
                }
                struct oriel_dax_stats stats = fixture_stats(&f);
                uint64_t parts = (from > 5 && from < 15) + (to > 5 && to < 15);
                uint64_t outside = from >= 15 || to <= 5;
                assert_int_equal(stats.mapped_bytes, bytes);
                assert_int_equal(stats.slots, 1 + parts * !outside + outside);
                assert_int_equal(stats.splits, parts != 0 && !outside);
                assert_int_equal(oriel_recorder_counts(f.recorder).unmaps, 0);
                fixture_stop(&f);
            }
        }
    }
}

static void a_window_range_is_reused_for_another_file(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    for (uint64_t node = 1; node <= 5; node++) {
        assert_int_equal(oriel_dax_setup(f.dax, node, SLOT * node, SLOT, 0, R), 0);
        assert_shows(&f, 0, SLOT, node, SLOT * node, R);
    }
    assert_int_equal(fixture_stats(&f).mapped_bytes, SLOT);
    assert_int_equal(fixture_stats(&f).replaced, 4);
    assert_int_equal(fixture_stats(&f).upgrades, 0);
    fixture_stop(&f);
}

static void cap_credits_what_a_call_replaces(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = 64 * MIB, .cap_bytes = 3 * SLOT});
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 3 * SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, G, 3 * SLOT, R), -ENOSPC);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, SLOT, 2 * SLOT + G, R), -ENOSPC);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, SLOT, 2 * SLOT, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 0, 3 * SLOT, 0, RW), 0);
    assert_int_equal(fixture_stats(&f).mapped_bytes, 3 * SLOT);
    assert_int_equal(remove_range(&f, SLOT, G), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 2 * G, 8 * SLOT, R), -ENOSPC);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, G, 8 * SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, G, 9 * SLOT, R), -ENOSPC);
    fixture_stop(&f);
}

static void cap_of_slots_counts_splits(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = 64 * MIB, .cap_slots = 3});
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, G, G, R), -ENOSPC); /* would be four */
    assert_int_equal(remove_range(&f, G, G), 0);                      /* three */
    assert_int_equal(remove_range(&f, SLOT + G, G), -ENOSPC);
    assert_int_equal(remove_range(&f, SLOT, G), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 0, SLOT, 0, R), 0); /* two become one: two in all */
    assert_int_equal(oriel_dax_setup(f.dax, 3, 0, SLOT, 4 * SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 0, SLOT, 6 * SLOT, R), -ENOSPC);
    assert_int_equal(fixture_stats(&f).slots, 3);
    oriel_dax_reset(f.dax);
    for (int i = 0; i < 4; i++)
        assert_int_equal(oriel_dax_setup(f.dax, 3, 0, G, 2 * i * G, R), i < 3 ? 0 : -ENOSPC);
    fixture_stop(&f);
}

static void cap_is_exact_after_every_failure(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = 64 * MIB, .cap_bytes = 2 * SLOT});
    for (int round = 0; round < 100; round++) {
        f.fail_acquire = -ENOENT;
        assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 2 * SLOT, 0, R), -ENOENT);
        f.fail_acquire = 0;
        oriel_recorder_fail_at(f.recorder, 1, -EIO, round % 2 == 0 ? ORIEL_RANGE_KEPT : ORIEL_RANGE_LOST);
        assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 2 * SLOT, 0, R), -EIO);
        assert_int_equal(fixture_stats(&f).mapped_bytes, 0);
        assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 2 * SLOT, 0, R), 0);
        assert_int_equal(oriel_dax_setup(f.dax, 1, 0, G, 2 * SLOT, R), -ENOSPC);
        assert_int_equal(remove_range(&f, 0, 2 * SLOT), 0);
    }
    fixture_stop(&f);
}

static void reject_touches_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = 64 * MIB, .overlap = ORIEL_DAX_REJECT});
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, SLOT, RW), -EEXIST);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, SLOT, G, RW), -EEXIST);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, G, 2 * SLOT - G, RW), -EEXIST);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, SLOT, 2 * SLOT, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, SLOT, 0, RW), 0);
    assert_shows(&f, SLOT, SLOT, 1, 0, R);
    assert_int_equal(oriel_recorder_counts(f.recorder).maps, 3);
    fixture_stop(&f);
}

static void read_only_session_refuses_write(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = 64 * MIB, .read_only = true});
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, RW), -EROFS);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, ORIEL_DAX_WRITE), -EROFS);
    assert_int_equal(f.acquires, 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_fault(f.dax, GPA, ORIEL_DAX_WRITE), -EACCES);
    fixture_stop(&f);
}

static void eagain_and_enomem_are_never_returned_to_the_guest(void **state)
{
    (void)state;
    struct fixture f;
    const int strange[] = {-EAGAIN, -ENOMEM, -EINTR, -EMFILE, -ENFILE, -EBADF, -4095, 5, -EBUSY};
    const int closed[] = {-EINVAL, -ENOSPC, -EEXIST, -EROFS, -ENOENT, -ESTALE, -EACCES, -ENODEV, -EIO};
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, SLOT, R), 0);
    for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
        for (int in_mapper = 0; in_mapper <= 1; in_mapper++) {
            if (in_mapper)
                oriel_recorder_fail_at(f.recorder, 1, strange[i], ORIEL_RANGE_KEPT);
            f.fail_acquire = in_mapper ? 0 : strange[i];
            int err = oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R);
            bool found = false;
            for (size_t k = 0; k < sizeof(closed) / sizeof(closed[0]); k++)
                found = found || err == closed[k];
            assert_true(found);
            f.fail_acquire = 0;
        }
        oriel_recorder_fail_at(f.recorder, 1, strange[i], ORIEL_RANGE_KEPT);
        int err = remove_range(&f, SLOT, SLOT);
        assert_true(err == -ENOSPC || err == -EIO);
    }
    f.fail_acquire = -ENOMEM;
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), -ENOSPC);
    f.fail_acquire = -EAGAIN;
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), -EIO);
    f.fail_acquire = 0;
    fixture_stop(&f);
}

static void a_source_that_gives_less_than_asked_for_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, READ_ONLY_NODE, 0, SLOT, 0, RW), -EACCES);
    assert_int_equal(oriel_dax_setup(f.dax, READ_ONLY_NODE, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 99, 0, SLOT, 0, R), -ENOENT);
    assert_shows(&f, 0, SLOT, READ_ONLY_NODE, 0, R);
    fixture_stop(&f);
}

static void one_slot_may_fill_a_window_that_ends_inside_a_block(void **state)
{
    (void)state;
    struct fixture f;
    const uint64_t window = 5 * MIB + 3 * G;
    fixture_start(&f, window);
    assert_int_equal(oriel_dax_setup(f.dax, 1, G, window, 0, RW), 0);
    assert_shows(&f, 0, window, 1, G, RW);
    assert_int_equal(fixture_stats(&f).slots, 1);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, G, window - G, R), 0);
    assert_int_equal(fixture_stats(&f).slots, 2);
    assert_int_equal(fixture_stats(&f).mapped_bytes, window);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_the_whole_length_even_past_the_end_of_the_file),
        cmocka_unit_test(bad_arguments_touch_nothing),
        cmocka_unit_test(write_alone_is_read_and_write),
        cmocka_unit_test(upgrade_in_place_keeps_the_old_mapping_on_failure),
        cmocka_unit_test(setup_over_a_live_slot_never_unmaps_what_it_does_not_replace),
        cmocka_unit_test(partial_overlap_keeps_both_outside_parts_at_the_right_file_offset),
        cmocka_unit_test(a_window_range_is_reused_for_another_file),
        cmocka_unit_test(cap_credits_what_a_call_replaces),
        cmocka_unit_test(cap_of_slots_counts_splits),
        cmocka_unit_test(cap_is_exact_after_every_failure),
        cmocka_unit_test(reject_touches_nothing),
        cmocka_unit_test(read_only_session_refuses_write),
        cmocka_unit_test(eagain_and_enomem_are_never_returned_to_the_guest),
        cmocka_unit_test(a_source_that_gives_less_than_asked_for_is_refused),
        cmocka_unit_test(one_slot_may_fill_a_window_that_ends_inside_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
