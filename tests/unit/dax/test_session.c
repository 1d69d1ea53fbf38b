#include "dax_fixture.h"

static int create(struct fixture *f, struct oriel_dax_options options)
{
    struct oriel_dax *dax = NULL;
    int err = oriel_dax_create(&options, &dax);
    if (err == 0)
        oriel_dax_destroy(dax);
    (void)f;
    return err;
}

static void options_are_checked(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, 64 * MIB);
    const struct oriel_dax_options good = fixture_options(&f, 64 * MIB);
    struct oriel_dax_options o;
    assert_int_equal(create(&f, good), 0);
#define REFUSED(change)                                                                                      \
    do {                                                                                                     \
        o = good;                                                                                            \
        change;                                                                                              \
        assert_int_equal(create(&f, o), -EINVAL);                                                            \
    } while (0)
    REFUSED(o.size = 0);
    REFUSED(o.size = sizeof(o) - 1);
    REFUSED(o.window_len = 0);
    REFUSED(o.window_len += 4096);
    REFUSED(o.window_gpa += 4096);
    REFUSED(o.window_gpa = UINT64_MAX - G + 1);
    REFUSED((o.window_gpa = G, o.window_len = UINT64_MAX - G + 1));
    REFUSED(o.granule = 2048);
    REFUSED(o.granule = 128 * KIB);
    REFUSED(o.granule = G + 1);
    REFUSED(o.granule = 3 * 4096);
    REFUSED(o.source = NULL);
    REFUSED(o.mapper = NULL);
    REFUSED(o.overlap = 2);
    struct oriel_dax_source source = f.source;
    REFUSED((source.acquire = NULL, o.source = &source));
    struct oriel_dax_mapper mapper = *good.mapper;
    REFUSED((mapper.unmap = NULL, o.mapper = &mapper));
    mapper = *good.mapper;
    mapper.min_granule = 2 * G;
    REFUSED(o.mapper = &mapper);
    o = good;
    o.window_len = UINT64_C(1) << 62;
    assert_int_equal(create(&f, o), -EINVAL);
    oriel_recorder_destroy(f.recorder);
    for (int i = 1; i <= NODES; i++)
        close(f.fds[i]);
}

static void defaults(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, 64 * MIB);
    struct oriel_dax_options options = fixture_options(&f, 64 * MIB);
    options.granule = 0;
    assert_int_equal(oriel_dax_create(&options, &f.dax), 0);
    assert_int_equal(oriel_dax_granule_shift(f.dax), 14);
    assert_int_equal(oriel_dax_window_gpa(f.dax), GPA);
    assert_int_equal(oriel_dax_window_len(f.dax), 64 * MIB);
    assert_int_equal(fixture_stats(&f).cap_bytes, 64 * MIB);
    fixture_stop(&f);
    oriel_dax_destroy(NULL);
}

static void every_granule_works(void **state)
{
    (void)state;
    for (uint64_t granule = 4096; granule <= 65536; granule *= 2) {
        struct fixture f;
        fixture_start_with(&f, (struct oriel_dax_options){.window_len = 8 * MIB, .granule = granule});
        for (uint64_t i = 0; i < 8 * MIB / granule; i += 2)
            assert_int_equal(oriel_dax_setup(f.dax, 1, i * granule, granule, i * granule, R), 0);
        assert_int_equal(oriel_dax_setup(f.dax, 1, 0, granule / 2, 0, R), -EINVAL);
        for (uint64_t i = 0; i < 8 * MIB / granule; i++)
            assert_int_equal(oriel_dax_fault(f.dax, GPA + i * granule + 5, R),
                             i % 2 == 0 ? ORIEL_FAULT_RESUME : ORIEL_FAULT_UNMAPPED);
        assert_int_equal(fixture_stats(&f).slots, 4 * MIB / granule);
        fixture_stop(&f);
    }
}

static void destroy_unmaps(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, G, 10 * SLOT + G, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, G, 10 * SLOT + 3 * G, R), 0);
    fixture_stop(&f); /* looks */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_granule_works),
        cmocka_unit_test(destroy_unmaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
