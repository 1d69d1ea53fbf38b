/*
 * A buffer over a slot whose parts are SAVED, bound, SAVED: oriel_dax_bind() once took the slot for done after it
 * had bound the first part.
 */
#include "../unit/dax/dax_fixture.h"

static void every_saved_part_is_bound(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 3 * SLOT, 0, R), 0);
    for (uint64_t block = 0; block <= 2; block += 2) {
        oriel_recorder_fail_at(f.recorder, 1, -EIO, ORIEL_RANGE_LOST);
        assert_int_equal(oriel_dax_setup(f.dax, 2, 0, SLOT, block * SLOT, R), -EIO);
    }
    assert_int_equal(oriel_dax_bind(f.dax, GPA, 3 * SLOT, R), 0);
    assert_shows(&f, 0, 3 * SLOT, 1, 0, R);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_saved_part_is_bound)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
