#include "vhost_user/log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define LOG_LEN 4096 /* bits for 128 MiB */

struct fixture {
    struct mapped_ranges ranges;
    struct dirty_log log;
    int fd;
    uint8_t *bits; /* as the front-end sees them */
};

static int set_up(void **state)
{
    static struct fixture f;
    f.fd = memfd_create("log", MFD_CLOEXEC);
    assert_int_equal(ftruncate(f.fd, 2 * LOG_LEN), 0);
    f.bits = mmap(NULL, 2 * LOG_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0);
    assert_ptr_not_equal(f.bits, MAP_FAILED);
    assert_int_equal(dirty_log_init(&f.log, &f.ranges), 0);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    dirty_log_destroy(&f->log);
    for (unsigned i = 0; i < 2 * VHOST_USER_MEM_SLOTS; i++)
        assert_int_equal(f->ranges.range[i].start, 0); /* nothing stays mapped */
    munmap(f->bits, 2 * LOG_LEN);
    close(f->fd);
    return 0;
}

static bool is_marked(const uint8_t *bits, uint64_t page)
{
    return bits[page / 8] >> (page % 8) & 1;
}

static unsigned count_marked(const uint8_t *bits)
{
    unsigned n = 0;
    for (unsigned page = 0; page < LOG_LEN * 8; page++)
        n += is_marked(bits, page);
    return n;
}

static void install(struct fixture *f, uint64_t offset)
{
    const char *fault = NULL;
    struct vhost_user_log wire = {.size = LOG_LEN, .offset = offset};
    assert_int_equal(dirty_log_set(&f->log, &wire, f->fd, &fault), 0);
}

static void pages_of_a_range_are_marked(void **state)
{
    struct fixture *f = *state;
    install(f, 0);
    dirty_log_enable(&f->log, true);
    dirty_log_mark(&f->log, 4096 * 10 + 5, 1);
    dirty_log_mark(&f->log, 4096 * 20 - 1, 2);
    dirty_log_mark(&f->log, 4096 * 30, 4096 * 3);
    dirty_log_mark(&f->log, 4096 * 50, 0);
    assert_int_equal(count_marked(f->bits), 6);
    const unsigned pages[] = {10, 19, 20, 30, 31, 32};
    for (unsigned i = 0; i < 6; i++)
        assert_true(is_marked(f->bits, pages[i]));
}

static void nothing_is_marked_while_off(void **state)
{
    struct fixture *f = *state;
    dirty_log_mark(&f->log, 4096, 1);
    install(f, 0);
    dirty_log_mark(&f->log, 4096, 1);
    dirty_log_enable(&f->log, true);
    dirty_log_enable(&f->log, false);
    dirty_log_mark(&f->log, 4096, 1);
    assert_int_equal(count_marked(f->bits), 0);
}

static void the_log_begins_at_its_offset(void **state)
{
    struct fixture *f = *state;
    install(f, LOG_LEN);
    dirty_log_enable(&f->log, true);
    dirty_log_mark(&f->log, 0, 1);
    assert_int_equal(count_marked(f->bits), 0);
    assert_int_equal(f->bits[LOG_LEN], 1);
}

static void pages_beyond_the_log_are_left_out(void **state)
{
    struct fixture *f = *state;
    install(f, 0);
    dirty_log_enable(&f->log, true);
    uint64_t end = (uint64_t)LOG_LEN * 8 * 4096;
    dirty_log_mark(&f->log, end - 1, 4096 * 100);
    dirty_log_mark(&f->log, end, 4096);
    dirty_log_mark(&f->log, UINT64_MAX - 10, 100);
    dirty_log_mark(&f->log, UINT64_MAX - 10, 5);
    assert_int_equal(count_marked(f->bits), 1);
    assert_int_equal(f->bits[LOG_LEN], 0);
}

static void coverage_counts_the_last_page(void **state)
{
    struct fixture *f = *state;
    uint64_t end = (uint64_t)LOG_LEN * 8 * 4096;
    assert_false(dirty_log_covers(&f->log, 0));
    install(f, 0);
    assert_true(dirty_log_covers(&f->log, 0));
    assert_true(dirty_log_covers(&f->log, end));
    assert_false(dirty_log_covers(&f->log, end + 1));
}

static void refused_logs_leave_the_old_one(void **state)
{
    struct fixture *f = *state;
    const struct vhost_user_log bad[] = {
        {.size = 0, .offset = 0},
        {.size = LOG_LEN, .offset = 100},
        {.size = 3 * LOG_LEN, .offset = 0},
        {.size = LOG_LEN, .offset = 2 * LOG_LEN},
        {.size = UINT64_MAX, .offset = 4096},
        {.size = UINT64_MAX - 4095, .offset = 4096},
    };
    install(f, 0);
    dirty_log_enable(&f->log, true);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *fault = NULL;
        assert_int_equal(dirty_log_set(&f->log, &bad[i], f->fd, &fault), -EINVAL);
        assert_non_null(fault);
    }
    int event = eventfd(0, EFD_CLOEXEC);
    const char *fault = NULL;
    struct vhost_user_log wire = {.size = 4096};
    assert_int_equal(dirty_log_set(&f->log, &wire, event, &fault), -EINVAL);
    close(event);
    dirty_log_mark(&f->log, 0, 1);
    assert_int_equal(count_marked(f->bits), 1);
}

static void marking_signals_the_event(void **state)
{
    struct fixture *f = *state;
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    eventfd_t value;
    install(f, 0);
    dirty_log_set_event(&f->log, dup(event));
    dirty_log_mark(&f->log, 0, 1);
    assert_int_equal(eventfd_read(event, &value), -1);
    dirty_log_enable(&f->log, true);
    dirty_log_mark(&f->log, 0, 1);
    assert_int_equal(eventfd_read(event, &value), 0);
    close(event);
}

static bool is_mapped(const struct mapped_ranges *ranges, const void *address)
{
    uintptr_t start, len;
    return mapped_ranges_find(ranges, (uintptr_t)address, &start, &len);
}

/* A SIGBUS handler has to know it: the front-end can cut the file. */
static void the_log_is_a_mapped_range_while_it_is_there(void **state)
{
    struct fixture *f = *state;
    install(f, 0);
    const uint8_t *first = f->log.bits;
    assert_true(is_mapped(&f->ranges, first));
    assert_true(is_mapped(&f->ranges, first + LOG_LEN - 1));
    install(f, LOG_LEN);
    const uint8_t *second = f->log.bits;
    assert_false(is_mapped(&f->ranges, first));
    assert_true(is_mapped(&f->ranges, second));
    dirty_log_clear(&f->log);
    assert_false(is_mapped(&f->ranges, second));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_of_a_range_are_marked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_marked_while_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_log_begins_at_its_offset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pages_beyond_the_log_are_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(coverage_counts_the_last_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused_logs_leave_the_old_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_log_is_a_mapped_range_while_it_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(marking_signals_the_event, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
