#include <oriel/mapper.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define P UINT64_C(4096)

static int map(struct oriel_recorder *r, uint64_t at, int fd, uint64_t from, uint64_t len)
{
    enum oriel_range_left left;
    const struct oriel_dax_mapper *m = oriel_recorder_mapper(r);
    return m->map(m->opaque, at, fd, from, len, 1, &left);
}

static void models_what_is_mapped(void **state)
{
    (void)state;
    struct oriel_recorder *r = NULL;
    enum oriel_range_left left;
    int fd = memfd_create("x", MFD_CLOEXEC);
    struct stat st;
    fstat(fd, &st);
    assert_int_equal(oriel_recorder_create(16 * P, P, &r), 0);
    const struct oriel_dax_mapper *m = oriel_recorder_mapper(r);
    assert_int_equal(map(r, 2 * P, fd, 10 * P, 4 * P), 0);
    assert_int_equal(m->unmap(m->opaque, 3 * P, P, &left), 0);
    assert_false(oriel_recorder_at(r, P).mapped);
    assert_true(oriel_recorder_at(r, 2 * P).mapped);
    assert_int_equal(oriel_recorder_at(r, 2 * P).ino, st.st_ino);
    assert_false(oriel_recorder_at(r, 3 * P).mapped);
    assert_int_equal(oriel_recorder_at(r, 5 * P + 7).file_offset, 13 * P + 7);
    assert_false(oriel_recorder_at(r, 100 * P).mapped);
    struct oriel_recorder_counts counts = oriel_recorder_counts(r);
    assert_int_equal(counts.maps, 1);
    assert_int_equal(counts.unmaps, 1);
    assert_int_equal(counts.mapped_bytes, 3 * P);
    assert_int_equal(counts.violations, 0);
    oriel_recorder_destroy(r);
    close(fd);
}

static void fails_at_the_nth_call(void **state)
{
    (void)state;
    struct oriel_recorder *r = NULL;
    enum oriel_range_left left = ORIEL_RANGE_KEPT;
    int fd = memfd_create("x", MFD_CLOEXEC);
    assert_int_equal(oriel_recorder_create(16 * P, P, &r), 0);
    const struct oriel_dax_mapper *m = oriel_recorder_mapper(r);
    oriel_recorder_fail_at(r, 3, -ENOSPC, ORIEL_RANGE_LOST);
    assert_int_equal(map(r, 0, fd, 0, 4 * P), 0);
    assert_int_equal(map(r, 8 * P, fd, 0, P), 0);
    assert_int_equal(m->map(m->opaque, P, fd, 0, 2 * P, 3, &left), -ENOSPC);
    assert_int_equal(left, ORIEL_RANGE_LOST);
    assert_true(oriel_recorder_at(r, 0).mapped);
    assert_false(oriel_recorder_at(r, P).mapped);
    assert_true(oriel_recorder_at(r, 3 * P).mapped);
    assert_int_equal(map(r, P, fd, 0, P), 0);
    oriel_recorder_fail_at(r, 1, -EIO, ORIEL_RANGE_KEPT);
    oriel_recorder_fail_at(r, 0, 0, ORIEL_RANGE_KEPT);
    assert_int_equal(map(r, P, fd, 0, P), 0);
    assert_int_equal(oriel_recorder_counts(r).failures, 1);
    oriel_recorder_destroy(r);
    close(fd);
}

static void counts_broken_promises(void **state)
{
    (void)state;
    struct oriel_recorder *r = NULL;
    enum oriel_range_left left;
    int fd = memfd_create("x", MFD_CLOEXEC);
    assert_int_equal(oriel_recorder_create(16 * P, P, &r), 0);
    const struct oriel_dax_mapper *m = oriel_recorder_mapper(r);
    assert_int_equal(map(r, 0, fd, 0, 0), -EIO);
    assert_int_equal(map(r, 1, fd, 0, P), -EIO);
    assert_int_equal(map(r, 0, fd, 1, P), -EIO);
    assert_int_equal(map(r, 0, -1, 0, P), -EIO);
    assert_int_equal(map(r, 16 * P, fd, 0, P), -EIO);
    assert_int_equal(m->unmap(m->opaque, 15 * P, 2 * P, &left), -EIO);
    assert_int_equal(oriel_recorder_counts(r).violations, 6);
    oriel_recorder_destroy(r);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_what_is_mapped),
        cmocka_unit_test(fails_at_the_nth_call),
        cmocka_unit_test(counts_broken_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
