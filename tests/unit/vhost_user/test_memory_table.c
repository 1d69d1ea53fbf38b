#include "vhost_user/backend.h"
#include "vhost_user/memory_table.h"

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

#define PAGE 4096
#define GPA  UINT64_C(0x100000)
#define USER UINT64_C(0x7f0000000000)

static struct mapped_ranges ranges;
static struct memory_table table;
static int file; /* 64 pages */

static int set_up(void **state)
{
    (void)state;
    file = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(file, 64 * PAGE), 0);
    memory_table_init(&table, &ranges);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    memory_table_clear(&table);
    close(file);
    for (size_t i = 0; i < 2 * VHOST_USER_MEM_SLOTS; i++)
        assert_int_equal(ranges.range[i].start, 0); /* nothing stays mapped */
    return 0;
}

/* Region number n: four pages, well apart from the others in every address. */
static struct vhost_user_region region(unsigned n)
{
    return (struct vhost_user_region){.gpa = GPA + n * 16 * PAGE,
                                      .size = 4 * PAGE,
                                      .user_address = USER + n * 32 * PAGE,
                                      .mmap_offset = n * 4 * PAGE};
}

static char *at(uint64_t gpa)
{
    return oriel_memory_at(table.map, gpa, 1, 1);
}

static bool is_mapped(const void *address)
{
    uintptr_t start, len;
    return mapped_ranges_find(&ranges, (uintptr_t)address, &start, &len);
}

static void a_region_shows_its_file(void **state)
{
    (void)state;
    struct vhost_user_region r = region(3);
    char c = 0;
    assert_int_equal(memory_table_set(&table, &r, &file, 1), 0);
    at(r.gpa + 5)[0] = 'x';
    assert_int_equal(pread(file, &c, 1, (off_t)r.mmap_offset + 5), 1);
    assert_int_equal(c, 'x');
    assert_null(at(r.gpa - 1));
    assert_null(at(r.gpa + r.size));
}

static void user_addresses_translate_within_one_region(void **state)
{
    (void)state;
    struct vhost_user_region r[2] = {region(0), region(1)};
    int fds[2] = {file, file};
    uint64_t gpa = 0;
    assert_int_equal(memory_table_set(&table, r, fds, 2), 0);
    assert_true(memory_table_user_to_gpa(&table, r[1].user_address + 7, 10, &gpa));
    assert_int_equal(gpa, r[1].gpa + 7);
    assert_true(memory_table_user_to_gpa(&table, r[0].user_address, r[0].size, &gpa));
    assert_false(memory_table_user_to_gpa(&table, r[0].user_address, r[0].size + 1, &gpa));
    assert_false(memory_table_user_to_gpa(&table, r[0].user_address - 1, 2, &gpa));
    assert_false(memory_table_user_to_gpa(&table, UINT64_MAX, 2, &gpa));
    assert_false(memory_table_user_to_gpa(&table, r[0].user_address + 8, UINT64_MAX, &gpa));
    assert_int_equal(memory_table_gpa_end(&table), r[1].gpa + r[1].size);
}

static void bad_regions_are_refused(void **state)
{
    (void)state;
    struct vhost_user_region good = region(0);
    assert_int_equal(memory_table_set(&table, &good, &file, 1), 0);
    struct vhost_user_region bad[10];
    for (unsigned i = 0; i < 10; i++)
        bad[i] = region(2);
    bad[0].size = 0;
    bad[1].size = 100;
    bad[2].gpa += 8;
    bad[3].user_address += 8;
    bad[4].mmap_offset += 8;
    bad[5].gpa = UINT64_MAX - PAGE + 1;
    bad[6].user_address = UINT64_MAX - PAGE + 1;
    bad[7].mmap_offset = UINT64_MAX - PAGE + 1;
    bad[8].size = 64 * PAGE;
    bad[9].mmap_offset = 64 * PAGE;
    for (unsigned i = 0; i < 10; i++) {
        table.fault = NULL;
        assert_int_equal(memory_table_add(&table, &bad[i], file), -EINVAL);
        assert_non_null(table.fault);
        table.fault = NULL;
        assert_int_equal(memory_table_set(&table, &bad[i], &file, 1), -EINVAL);
        assert_non_null(table.fault);
    }
    /* The good one is still there. */
    assert_int_equal(table.count, 1);
    assert_non_null(at(good.gpa));
}

static void overlap_is_refused_in_both_addresses(void **state)
{
    (void)state;
    struct vhost_user_region r[3] = {region(0), region(1), region(2)};
    int fds[3] = {file, file, file};
    r[1].gpa = r[0].gpa + r[0].size - PAGE;
    assert_int_equal(memory_table_set(&table, r, fds, 3), -EINVAL);
    r[1] = region(1);
    r[1].user_address = r[0].user_address - r[1].size + PAGE;
    assert_int_equal(memory_table_set(&table, r, fds, 3), -EINVAL);
    r[1] = region(1);
    assert_int_equal(memory_table_set(&table, r, fds, 3), 0);
    struct vhost_user_region same = region(2);
    assert_int_equal(memory_table_add(&table, &same, file), -EINVAL);
    /* Neighbours do not overlap. */
    struct vhost_user_region next = region(2);
    next.gpa += next.size;
    next.user_address += next.size;
    assert_int_equal(memory_table_add(&table, &next, file), 0);
}

static void what_cannot_be_written_is_refused(void **state)
{
    (void)state;
    char path[64];
    struct vhost_user_region r = region(0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    int read_only = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(memory_table_add(&table, &r, read_only), -EACCES);
    close(read_only);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(memory_table_add(&table, &r, ends[0]), -EINVAL);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(memory_table_add(&table, &r, -1), -EINVAL);
    int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
    assert_int_equal(memory_table_add(&table, &r, zero), -EINVAL);
    close(zero);
    assert_int_equal(table.count, 0);
}

static void regions_are_removed_by_their_addresses(void **state)
{
    (void)state;
    struct vhost_user_region a = region(0), b = region(1), other = region(0);
    assert_int_equal(memory_table_add(&table, &a, file), 0);
    assert_int_equal(memory_table_add(&table, &b, file), 0);
    other.size -= PAGE;
    assert_int_equal(memory_table_remove(&table, &other), -ENOENT);
    a.mmap_offset = 12345; /* ignored, says the protocol */
    assert_int_equal(memory_table_remove(&table, &a), 0);
    assert_int_equal(memory_table_remove(&table, &a), -ENOENT);
    assert_null(at(a.gpa));
    assert_non_null(at(b.gpa));
    assert_int_equal(memory_table_remove(&table, &b), 0);
    assert_int_equal(table.count, 0);
    assert_non_null(table.map);
}

static void the_table_ends_at_its_last_slot(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VHOST_USER_MEM_SLOTS; i++) {
        struct vhost_user_region r = region(i);
        r.mmap_offset = 0;
        assert_int_equal(memory_table_add(&table, &r, file), 0);
    }
    struct vhost_user_region r = region(VHOST_USER_MEM_SLOTS);
    r.mmap_offset = 0;
    assert_int_equal(memory_table_add(&table, &r, file), -ENOSPC);
}

/* A request in flight holds the map: its memory must not go with the region. */
static void memory_lives_as_long_as_a_map_that_shows_it(void **state)
{
    (void)state;
    struct vhost_user_region r = region(0);
    assert_int_equal(memory_table_add(&table, &r, file), 0);
    struct oriel_memory *held = oriel_memory_ref(table.map);
    char *host = at(r.gpa);
    assert_int_equal(memory_table_remove(&table, &r), 0);
    assert_true(is_mapped(host));
    host[0] = 'y';
    char c = 0;
    assert_int_equal(pread(file, &c, 1, (off_t)r.mmap_offset), 1);
    assert_int_equal(c, 'y');
    oriel_memory_unref(held);
    assert_false(is_mapped(host));
}

/* A process may not have as many mappings as guest memory has pages. */
static void memory_cut_short_is_replaced_as_a_whole(void **state)
{
    (void)state;
    static struct oriel_vhost_user vu = {.socket = -1};
    memory_table_init(&table, &vu.ranges);
    struct vhost_user_region r = region(0);
    assert_int_equal(memory_table_add(&table, &r, file), 0);
    char *host = at(r.gpa), *last = host + r.size - 1;
    host[0] = *last = 'x';
    assert_true(oriel_vhost_user_repair(&vu, host + r.size / 2));
    assert_true(atomic_load(&vu.memory_lost));
    assert_int_equal(host[0], 0);
    assert_int_equal(*last, 0);
    assert_false(oriel_vhost_user_repair(&vu, &vu));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_region_shows_its_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(user_addresses_translate_within_one_region, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_regions_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(overlap_is_refused_in_both_addresses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(regions_are_removed_by_their_addresses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_table_ends_at_its_last_slot, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_lives_as_long_as_a_map_that_shows_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_cut_short_is_replaced_as_a_whole, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
