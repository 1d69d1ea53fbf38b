#include "unit/microvm/unit.h"

#include <sys/mman.h>

#include "microvm/window_meter.h"

#define GRANULE UINT64_C(4096)
#define LEN     (1000 * GRANULE)

struct fixture {
    struct oriel_recorder *recorder;
    struct window_meter meter;
    int fd;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (oriel_recorder_create(LEN, GRANULE, &f->recorder) != 0 ||
        window_meter_init(&f->meter, oriel_recorder_mapper(f->recorder), LEN) != 0)
        return -1;
    f->fd = memfd_create("file", MFD_CLOEXEC);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    window_meter_destroy(&f->meter);
    oriel_recorder_destroy(f->recorder);
    close(f->fd);
    free(f);
    return 0;
}

static int map(struct fixture *f, uint64_t first, uint64_t count)
{
    enum oriel_range_left left;
    const struct oriel_dax_mapper *m = &f->meter.mapper;
    return m->map(m->opaque, first * GRANULE, f->fd, 0, count * GRANULE, 1, &left);
}

static int unmap(struct fixture *f, uint64_t first, uint64_t count)
{
    enum oriel_range_left left;
    const struct oriel_dax_mapper *m = &f->meter.mapper;
    return m->unmap(m->opaque, first * GRANULE, count * GRANULE, &left);
}

static void check(struct fixture *f, uint64_t now, uint64_t peak, uint64_t total)
{
    assert_int_equal(atomic_load(&f->meter.bytes_now), now * GRANULE);
    assert_int_equal(atomic_load(&f->meter.bytes_peak), peak * GRANULE);
    assert_int_equal(atomic_load(&f->meter.bytes_total), total * GRANULE);
    assert_int_equal(oriel_recorder_counts(f->recorder).mapped_bytes,
                     now * GRANULE); /* and it was passed on */
}

static void what_shows_is_counted_once(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(map(f, 0, 10), 0);
    check(f, 10, 10, 10);
    assert_int_equal(map(f, 5, 200), 0); /* replaces five */
    check(f, 205, 205, 210);
    assert_int_equal(unmap(f, 60, 70), 0);
    check(f, 135, 205, 210);
    assert_int_equal(unmap(f, 0, 1000), 0); /* most of it shows nothing */
    check(f, 0, 205, 210);
    assert_int_equal(map(f, 0, 1000), 0);
    check(f, 1000, 1000, 1210);
}

static void failures_count_for_what_they_leave(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(map(f, 63, 66), 0);
    oriel_recorder_fail_at(f->recorder, 1, -ENOSPC, ORIEL_RANGE_KEPT);
    assert_int_equal(map(f, 0, 100), -ENOSPC);
    check(f, 66, 66, 66);
    oriel_recorder_fail_at(f->recorder, 1, -EIO, ORIEL_RANGE_LOST);
    assert_int_equal(map(f, 64, 64), -EIO);
    check(f, 2, 66, 66);
    oriel_recorder_fail_at(f->recorder, 1, -EIO, ORIEL_RANGE_LOST);
    assert_int_equal(unmap(f, 0, 64), -EIO);
    check(f, 1, 66, 66);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_shows_is_counted_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_count_for_what_they_leave, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
