/* The hvf mapper under a real session, over a fake of the framework. */
#include <oriel/dax.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_hvf.h"

#define G      UINT64_C(16384)
#define SLOT   (UINT64_C(2) << 20)
#define WINDOW (16 * SLOT)
#define GPA    (UINT64_C(1) << 35)
#define RWX    UINT64_C(7)
#define RX     UINT64_C(5)

struct rig {
    struct oriel_hvf *hvf;
    struct oriel_dax *dax;
    int fd[2], read_only_fd;
};

static int acquire(void *opaque, uint64_t nodeid, uint32_t prot, struct oriel_dax_file *out)
{
    struct rig *rig = opaque;
    (void)prot;
    out->fd = nodeid == 3 ? rig->read_only_fd : rig->fd[nodeid - 1];
    out->max_prot = ORIEL_DAX_READ | ORIEL_DAX_WRITE;
    return 0;
}

static void release(void *opaque, const struct oriel_dax_file *file)
{
    (void)opaque, (void)file;
}

/* Granule g of file n starts with the bytes n, g. */
static int make_file(char n)
{
    int fd = memfd_create("hvf", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)(64 * G)), 0);
    for (int g = 0; g < 64; g++) {
        char bytes[2] = {n, (char)g};
        assert_int_equal(pwrite(fd, bytes, 2, (off_t)g * (off_t)G), 2);
    }
    return fd;
}

static void start(struct rig *rig)
{
    const struct oriel_hvf_options hvf = {.size = sizeof(hvf), .window_gpa = GPA, .window_len = WINDOW};
    const struct oriel_dax_source source = {
        .size = sizeof(source), .opaque = rig, .acquire = acquire, .release = release};
    char path[64];
    fake_hvf_reset();
    rig->fd[0] = make_file(1);
    rig->fd[1] = make_file(2);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", rig->fd[0]);
    rig->read_only_fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(rig->read_only_fd >= 0);
    assert_int_equal(oriel_hvf_create(&hvf, &rig->hvf), 0);
    const struct oriel_dax_options options = {.size = sizeof(options),
                                              .window_gpa = GPA,
                                              .window_len = WINDOW,
                                              .source = &source,
                                              .mapper = oriel_hvf_mapper(rig->hvf)};
    assert_int_equal(oriel_dax_create(&options, &rig->dax), 0);
}

static void stop(struct rig *rig)
{
    oriel_dax_destroy(rig->dax);
    oriel_hvf_destroy(rig->hvf);
    assert_int_equal(fake_hvf.mappings, 0);
    assert_int_equal(fake_hvf.refused, 0);
    close(rig->fd[0]);
    close(rig->fd[1]);
    close(rig->read_only_fd);
}

static void shows(uint64_t moffset, char file, char granule, uint64_t flags)
{
    uint64_t got;
    const char *host = fake_hvf_at(GPA + moffset, &got);
    assert_non_null(host);
    assert_int_equal(host[0], file);
    assert_int_equal(host[1], granule);
    assert_int_equal(got, flags);
}

static void nothing(uint64_t moffset)
{
    uint64_t got;
    assert_null(fake_hvf_at(GPA + moffset, &got));
}

static void replaces_and_splits_with_exact_calls(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    assert_int_equal(oriel_dax_setup(rig.dax, 1, 0, 10 * G, 0, 1), 0);
    shows(0, 1, 0, RX);
    assert_int_equal(oriel_dax_setup(rig.dax, 2, 30 * G, 2 * G, 4 * G, 3), 0);
    shows(3 * G, 1, 3, RX);
    shows(4 * G, 2, 30, RWX);
    shows(6 * G, 1, 6, RX);
    assert_int_equal(fake_hvf.mappings, 3);
    assert_int_equal(oriel_dax_setup(rig.dax, 2, 0, 4 * G, 8 * G, 1), 0);
    shows(8 * G, 2, 0, RX);
    shows(7 * G, 1, 7, RX);
    const struct oriel_dax_range ranges[] = {{G, G}, {5 * G, 4 * G}};
    assert_int_equal(oriel_dax_remove(rig.dax, ranges, 2), 0);
    shows(0, 1, 0, RX);
    nothing(G);
    shows(2 * G, 1, 2, RX);
    shows(4 * G, 2, 30, RWX);
    nothing(5 * G);
    nothing(8 * G);
    shows(9 * G, 2, 1, RX);
    oriel_dax_reset(rig.dax);
    assert_int_equal(fake_hvf.mappings, 0);
    stop(&rig);
}

static void an_upgrade_is_one_protect_where_the_file_allows(void **state)
{
    (void)state;
    struct rig rig;
    start(&rig);
    assert_int_equal(oriel_dax_setup(rig.dax, 1, 0, SLOT, 0, 1), 0);
    shows(0, 1, 0, RX);
    assert_int_equal(oriel_dax_setup(rig.dax, 1, 0, SLOT, 0, 3), 0);
    shows(0, 1, 0, RWX);
    assert_int_equal(fake_hvf.protects, 1);
    assert_int_equal(fake_hvf.unmaps, 0);
    /* A descriptor that is open for reading only cannot be upgraded that way, or at all. */
    assert_int_equal(oriel_dax_setup(rig.dax, 3, 0, SLOT, SLOT, 1), 0);
    shows(SLOT, 1, 0, RX);
    assert_int_equal(oriel_dax_setup(rig.dax, 3, 0, SLOT, SLOT, 3), -EACCES);
    shows(SLOT, 1, 0, RX);
    stop(&rig);
}

/* Every call of the framework fails once, at each place of a change that cuts a slot in two. */
static void a_failure_leaves_the_old_mapping_or_none_and_the_session_knows(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 6; n++) {
        struct rig rig;
        struct oriel_dax_stats stats;
        start(&rig);
        assert_int_equal(oriel_dax_setup(rig.dax, 1, 0, 10 * G, 0, 1), 0);
        fake_hvf.fail_in = n;
        int err = oriel_dax_setup(rig.dax, 2, 0, 2 * G, 4 * G, 1);
        fake_hvf.fail_in = 0;
        oriel_dax_stats(rig.dax, &stats);
        assert_int_equal(stats.mapped_bytes, 10 * G);
        if (err == 0) {
            assert_int_equal(stats.slots, 3);
        } else {
            assert_int_equal(err, -ENOSPC);
            assert_int_equal(stats.slots, 1);
            assert_true(oriel_dax_bind_all(rig.dax) >= 0);
            shows(4 * G, 1, 4, RX);
        }
        stop(&rig);
    }
}

static void the_granule_must_be_16_kib(void **state)
{
    (void)state;
    struct rig rig;
    struct oriel_hvf *hvf = NULL;
    struct oriel_dax *dax = NULL;
    struct oriel_hvf_options bad = {.size = sizeof(bad), .window_gpa = GPA + 4096, .window_len = WINDOW};
    assert_int_equal(oriel_hvf_create(&bad, &hvf), -EINVAL);
    start(&rig);
    const struct oriel_dax_source source = {
        .size = sizeof(source), .opaque = &rig, .acquire = acquire, .release = release};
    const struct oriel_dax_options options = {.size = sizeof(options),
                                              .window_gpa = GPA,
                                              .window_len = WINDOW,
                                              .granule = 4096,
                                              .source = &source,
                                              .mapper = oriel_hvf_mapper(rig.hvf)};
    assert_int_equal(oriel_dax_create(&options, &dax), -EINVAL);
    stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_and_splits_with_exact_calls),
        cmocka_unit_test(an_upgrade_is_one_protect_where_the_file_allows),
        cmocka_unit_test(a_failure_leaves_the_old_mapping_or_none_and_the_session_knows),
        cmocka_unit_test(the_granule_must_be_16_kib),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
