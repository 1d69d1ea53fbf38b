#include "dax_fixture.h"

/* Leaves what [moffset, moffset + len) shows SAVED, as a mapper does that loses the range. */
static void lose(struct fixture *f, uint64_t moffset, uint64_t len)
{
    oriel_recorder_fail_at(f->recorder, 1, -EIO, ORIEL_RANGE_LOST);
    assert_int_equal(oriel_dax_setup(f->dax, 1, 0, len, moffset, R), -EIO);
    assert_shows_nothing(f, moffset, len);
}

static void first_and_last_byte_of_slot_and_window(void **state)
{
    (void)state;
    struct fixture f;
    const uint64_t window = 64 * MIB, gpas[] = {GPA, UINT64_C(0) - 64 * MIB - G};
    for (int i = 0; i < 2; i++) {
        const uint64_t gpa = gpas[i];
        fixture_start_with(&f, (struct oriel_dax_options){.window_gpa = gpa, .window_len = window});
        assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
        assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 3 * G, window - 3 * G, R), 0);
        assert_int_equal(oriel_dax_fault(f.dax, gpa - 1, R), ORIEL_FAULT_OUTSIDE);
        assert_int_equal(oriel_dax_fault(f.dax, gpa, R), ORIEL_FAULT_RESUME);
        assert_int_equal(oriel_dax_fault(f.dax, gpa + SLOT - 1, R), ORIEL_FAULT_RESUME);
        assert_int_equal(oriel_dax_fault(f.dax, gpa + SLOT, R), ORIEL_FAULT_UNMAPPED);
        assert_int_equal(oriel_dax_fault(f.dax, gpa + window - 3 * G - 1, R), ORIEL_FAULT_UNMAPPED);
        assert_int_equal(oriel_dax_fault(f.dax, gpa + window - 3 * G, R), ORIEL_FAULT_RESUME);
        assert_int_equal(oriel_dax_fault(f.dax, gpa + window - 1, R), ORIEL_FAULT_RESUME);
        assert_int_equal(oriel_dax_fault(f.dax, gpa + window, R), ORIEL_FAULT_OUTSIDE);
        assert_int_equal(oriel_dax_fault(f.dax, 0, R), ORIEL_FAULT_OUTSIDE);
        assert_int_equal(oriel_dax_fault(f.dax, UINT64_MAX, R), ORIEL_FAULT_OUTSIDE);
        fixture_stop(&f);
    }
}

static void access_must_be_read_or_write(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_fault(f.dax, GPA, 0), -EINVAL);
    assert_int_equal(oriel_dax_fault(f.dax, GPA, RW), -EINVAL);
    assert_int_equal(oriel_dax_fault(f.dax, GPA, ORIEL_DAX_AGAIN), -EINVAL);
    assert_int_equal(oriel_dax_bind(f.dax, GPA, G, 0), -EINVAL);
    fixture_stop(&f);
}

static void a_saved_slot_is_bound_once_and_whole(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 2, SLOT, 5 * SLOT, 3 * G, RW), 0);
    lose(&f, 0, 6 * SLOT);
    assert_int_equal(fixture_stats(&f).saved, 1);
    uint64_t maps = oriel_recorder_counts(f.recorder).maps;
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 3 * SLOT + 77, R), ORIEL_FAULT_RESUME);
    assert_shows(&f, 3 * G, 5 * SLOT, 2, SLOT, RW);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 3 * G, ORIEL_DAX_WRITE), ORIEL_FAULT_RESUME);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 3 * G + 5 * SLOT - 1, R), ORIEL_FAULT_RESUME);
    assert_int_equal(oriel_recorder_counts(f.recorder).maps, maps + 1);
    assert_int_equal(fixture_stats(&f).fault_binds, 1);
    assert_int_equal(fixture_stats(&f).bound, 1);
    fixture_stop(&f);
}

static void only_the_lost_part_is_bound_again(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, 6 * SLOT, 0, RW), 0);
    lose(&f, SLOT, SLOT);
    lose(&f, 3 * SLOT, 2 * SLOT);
    uint64_t maps = oriel_recorder_counts(f.recorder).maps;
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 4 * SLOT, R), ORIEL_FAULT_RESUME);
    assert_shows_nothing(&f, SLOT, SLOT);
    assert_shows(&f, 2 * SLOT, 4 * SLOT, 2, 2 * SLOT, RW);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 3 * SLOT, R), ORIEL_FAULT_RESUME);
    assert_int_equal(oriel_recorder_counts(f.recorder).maps, maps + 1);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + SLOT, ORIEL_DAX_WRITE), ORIEL_FAULT_RESUME);
    assert_shows(&f, 0, 6 * SLOT, 2, 0, RW);
    assert_int_equal(fixture_stats(&f).slots, 1);
    fixture_stop(&f);
}

static void write_fault_on_a_read_slot_is_an_upgrade_or_an_error(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, READ_ONLY_NODE, 0, SLOT, SLOT, R), 0);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + SLOT, ORIEL_DAX_WRITE), -EACCES);
    assert_shows(&f, SLOT, SLOT, READ_ONLY_NODE, 0, R);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + SLOT, R), ORIEL_FAULT_RESUME);
    f.fail_acquire = -EROFS;
    assert_int_equal(oriel_dax_fault(f.dax, GPA, ORIEL_DAX_WRITE), -EACCES);
    f.fail_acquire = 0;
    assert_int_equal(oriel_dax_fault(f.dax, GPA, ORIEL_DAX_WRITE), ORIEL_FAULT_RESUME);
    assert_shows(&f, 0, SLOT, 1, 0, RW);
    uint64_t maps = oriel_recorder_counts(f.recorder).maps;
    assert_int_equal(oriel_dax_fault(f.dax, GPA, ORIEL_DAX_WRITE), ORIEL_FAULT_RESUME);
    assert_int_equal(oriel_recorder_counts(f.recorder).maps, maps);
    assert_int_equal(fixture_stats(&f).fault_upgrades, 1);
    assert_int_equal(fixture_stats(&f).fault_errors, 2);
    fixture_stop(&f);
}

static void an_implicit_upgrade_covers_the_whole_slot(void **state)
{
    (void)state;
    const uint64_t at[] = {2 * G, SLOT, 3 * SLOT - 2 * G, 3 * SLOT, 3 * SLOT + 3 * G};
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        struct fixture f;
        fixture_start(&f, 64 * MIB);
        assert_int_equal(oriel_dax_setup(f.dax, 2, 0, 2 * G, 0, R), 0);
        assert_int_equal(oriel_dax_setup(f.dax, 1, SLOT, 3 * SLOT + 2 * G, 2 * G, R), 0);
        assert_int_equal(oriel_dax_setup(f.dax, 3, 0, 2 * G, 3 * SLOT + 4 * G, R), 0);
        if (i % 2 == 0)
            lose(&f, SLOT, SLOT);
        oriel_recorder_fail_at(f.recorder, 1, -EIO, i % 2 == 0 ? ORIEL_RANGE_KEPT : ORIEL_RANGE_LOST);
        assert_int_equal(oriel_dax_fault(f.dax, GPA + at[i], ORIEL_DAX_WRITE), -EIO);
        assert_int_equal(oriel_dax_fault(f.dax, GPA + at[i], ORIEL_DAX_WRITE), ORIEL_FAULT_RESUME);
        assert_shows(&f, 0, 2 * G, 2, 0, R);
        assert_shows(&f, 2 * G, 3 * SLOT + 2 * G, 1, SLOT, RW);
        assert_shows(&f, 3 * SLOT + 4 * G, 2 * G, 3, 0, R);
        assert_int_equal(fixture_stats(&f).slots, 3);
        assert_int_equal(fixture_stats(&f).bound, 3);
        fixture_stop(&f);
    }
}

static void past_the_end_of_the_file_is_enodata_and_never_a_loop(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, SLOT, SLOT, R), 0);
    lose(&f, 0, SLOT);
    assert_int_equal(ftruncate(f.fds[1], 4097), 0);
    assert_int_equal(ftruncate(f.fds[2], 0), 0);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 8192, R), -ENODATA);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 8192, ORIEL_DAX_WRITE), -ENODATA);
    assert_int_equal(fixture_stats(&f).saved, 1);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 8191, R), ORIEL_FAULT_RESUME);

    /* Bound before it was truncated: told when the vCPU faults at the same place again. */
    assert_int_equal(oriel_dax_fault(f.dax, GPA + SLOT, R), ORIEL_FAULT_RESUME);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + SLOT, R | ORIEL_DAX_AGAIN), -ENODATA);
    assert_int_equal(ftruncate(f.fds[2], 1), 0);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + SLOT, R | ORIEL_DAX_AGAIN), ORIEL_FAULT_RESUME);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + SLOT + 4096, R | ORIEL_DAX_AGAIN), -ENODATA);
    fixture_stop(&f);
}

static void a_fault_that_fails_leaves_the_slot_saved(void **state)
{
    (void)state;
    struct fixture f;
    const int errors[] = {-ENOENT, -ESTALE, -ENODEV, -EIO, -ENOSPC};
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    lose(&f, 0, SLOT);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        f.fail_acquire = errors[i];
        assert_int_equal(oriel_dax_fault(f.dax, GPA, R), errors[i]);
        f.fail_acquire = 0;
        oriel_recorder_fail_at(f.recorder, 1, errors[i], ORIEL_RANGE_LOST);
        assert_int_equal(oriel_dax_fault(f.dax, GPA, R), errors[i]);
        assert_int_equal(fixture_stats(&f).saved, 1);
    }
    assert_int_equal(oriel_dax_fault(f.dax, GPA, R), ORIEL_FAULT_RESUME);
    assert_shows(&f, 0, SLOT, 1, 0, R);
    fixture_stop(&f);
}

static void setup_over_saved_slots(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    lose(&f, 0, SLOT);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, 4 * G, 4 * G, RW), 0);
    assert_shows_nothing(&f, 0, 4 * G);
    assert_shows(&f, 4 * G, 4 * G, 2, 0, RW);
    assert_int_equal(fixture_stats(&f).slots, 3);
    assert_int_equal(fixture_stats(&f).saved, 2);
    assert_int_equal(oriel_dax_fault(f.dax, GPA + 8 * G, R), ORIEL_FAULT_RESUME);
    assert_shows(&f, 8 * G, SLOT - 8 * G, 1, 8 * G, R);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, RW), 0);
    assert_shows(&f, 0, SLOT, 1, 0, RW);
    assert_int_equal(fixture_stats(&f).saved, 0);
    fixture_stop(&f);
}

static void remove_of_a_saved_slot_drops_it(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    lose(&f, 0, SLOT);
    assert_int_equal(remove_range(&f, 0, SLOT), 0);
    assert_int_equal(oriel_dax_fault(f.dax, GPA, R), ORIEL_FAULT_UNMAPPED);
    assert_int_equal(fixture_stats(&f).mapped_bytes, 0);
    fixture_stop(&f);
}

static void bind_covers_buffers_over_several_slots(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, 4 * G, SLOT, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 0, SLOT, SLOT + 4 * G, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, READ_ONLY_NODE, 0, SLOT, 4 * SLOT, R), 0);
    lose(&f, 0, 3 * SLOT);
    assert_int_equal(oriel_dax_bind(f.dax, GPA + 100, 0, R), 0);
    assert_int_equal(fixture_stats(&f).bound, 1);
    assert_int_equal(oriel_dax_bind(f.dax, GPA + 1, 2 * SLOT + 4 * G - 1, R), 0);
    assert_int_equal(fixture_stats(&f).bound, 4);
    assert_int_equal(oriel_dax_bind(f.dax, GPA + 1, 2 * SLOT + 4 * G, R), -EFAULT);
    assert_int_equal(oriel_dax_bind(f.dax, GPA + SLOT - 1, 2, ORIEL_DAX_WRITE), 0);
    assert_shows(&f, 0, SLOT, 1, 0, RW);
    assert_int_equal(oriel_dax_bind(f.dax, GPA + 4 * SLOT, 1, ORIEL_DAX_WRITE), -EFAULT);
    assert_int_equal(oriel_dax_bind(f.dax, GPA - 1, 2, R), -EFAULT);
    assert_int_equal(oriel_dax_bind(f.dax, GPA, 64 * MIB + 1, R), -EFAULT);
    assert_int_equal(oriel_dax_bind(f.dax, GPA, UINT64_MAX, R), -EFAULT);
    assert_int_equal(oriel_dax_bind(f.dax, GPA + 64 * MIB - 1, 2, R), -EFAULT);
    fixture_stop(&f);
}

static void bind_all_binds_every_saved_slot(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 3 * GIB);
    assert_int_equal(oriel_dax_bind_all(f.dax), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, G, SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, SLOT, G, SLOT + 4 * G, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 0, 3 * SLOT, 2 * GIB + G, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 4, 0, SLOT, 3 * GIB - SLOT, R), 0);
    lose(&f, 0, 3 * GIB);
    assert_int_equal(oriel_dax_bind_all(f.dax), 5);
    assert_int_equal(fixture_stats(&f).bound, 5);
    assert_shows(&f, 2 * GIB + G, 3 * SLOT, 3, 0, RW);
    assert_int_equal(oriel_dax_bind_all(f.dax), 0);
    lose(&f, 0, 3 * GIB);
    f.fail_acquire = -EIO;
    assert_int_equal(oriel_dax_bind_all(f.dax), -EIO);
    assert_int_equal(fixture_stats(&f).bound, 0);
    f.fail_acquire = 0;
    oriel_recorder_fail_at(f.recorder, 2, -EIO, ORIEL_RANGE_LOST);
    assert_int_equal(oriel_dax_bind_all(f.dax), 5); /* a call that fails is tried once more, for one slot */
    fixture_stop(&f);
}

static void bind_all_binds_what_hangs_together_in_one_call(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(oriel_dax_setup(f.dax, 1, i * SLOT, SLOT, i * SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 8 * SLOT, SLOT, 8 * SLOT, RW), 0);  /* other rights */
    assert_int_equal(oriel_dax_setup(f.dax, 1, 8 * SLOT, SLOT, 9 * SLOT, RW), 0);  /* another place */
    assert_int_equal(oriel_dax_setup(f.dax, 2, 9 * SLOT, SLOT, 10 * SLOT, RW), 0); /* another file */
    assert_int_equal(oriel_dax_setup(f.dax, 2, 10 * SLOT, 2 * SLOT + G, 11 * SLOT, RW), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 12 * SLOT + G, G, 13 * SLOT + G, RW), 0);
    lose(&f, 0, 14 * SLOT);
    uint64_t maps = oriel_recorder_counts(f.recorder).maps;
    assert_int_equal(oriel_dax_bind_all(f.dax), 13);
    assert_int_equal(oriel_recorder_counts(f.recorder).maps, maps + 5);
    assert_shows(&f, 0, 8 * SLOT, 1, 0, R);
    assert_shows(&f, 8 * SLOT, SLOT, 1, 8 * SLOT, RW);
    assert_shows(&f, 9 * SLOT, SLOT, 1, 8 * SLOT, RW);
    assert_shows(&f, 10 * SLOT, 3 * SLOT + 2 * G, 2, 9 * SLOT, RW);
    assert_int_equal(fixture_stats(&f).bound, 13);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_and_last_byte_of_slot_and_window),
        cmocka_unit_test(access_must_be_read_or_write),
        cmocka_unit_test(a_saved_slot_is_bound_once_and_whole),
        cmocka_unit_test(only_the_lost_part_is_bound_again),
        cmocka_unit_test(write_fault_on_a_read_slot_is_an_upgrade_or_an_error),
        cmocka_unit_test(an_implicit_upgrade_covers_the_whole_slot),
        cmocka_unit_test(past_the_end_of_the_file_is_enodata_and_never_a_loop),
        cmocka_unit_test(a_fault_that_fails_leaves_the_slot_saved),
        cmocka_unit_test(setup_over_saved_slots),
        cmocka_unit_test(remove_of_a_saved_slot_drops_it),
        cmocka_unit_test(bind_covers_buffers_over_several_slots),
        cmocka_unit_test(bind_all_binds_every_saved_slot),
        cmocka_unit_test(bind_all_binds_what_hangs_together_in_one_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
