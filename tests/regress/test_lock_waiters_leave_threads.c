/*
 * With a small --thread-pool-size those who waited for file locks took every thread of the pool (without one: of the
 * queue), and whoever held the lock could neither fsync, read from the disk nor unlock: all hung for good.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/checked.h"
#include "cli/serve_options.h"

static struct serve_options parse(const char *locks, const char *pool)
{
    const char *argv[] = {"oriel", "--socket-path=/nowhere", "--shared-dir=/", locks, pool};
    struct serve_options options;
    assert_true(serve_options_parse(&options, ARRAY_LEN(argv), (char **)(uintptr_t)argv));
    return options;
}

static void waiters_leave_threads_to_others(void **state)
{
    (void)state;
    static const char *const locks[] = {"--posix-lock", "--flock"};
    static const char *const sizes[] = {"--thread-pool-size=0", "--thread-pool-size=1",
                                        "--thread-pool-size=3", "--thread-pool-size=64"};
    for (size_t i = 0; i < ARRAY_LEN(locks) * ARRAY_LEN(sizes); i++) {
        struct serve_options options = parse(locks[i % 2], sizes[i / 2]);
        assert_true(options.lock_waiters > 0 && options.lock_waiters < options.pool_size);
    }
}

static void without_locks_the_size_is_what_was_asked_for(void **state)
{
    (void)state;
    struct serve_options options = parse("--readonly", "--thread-pool-size=0");
    assert_int_equal(options.pool_size, 0);
    assert_int_equal(options.lock_waiters, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(waiters_leave_threads_to_others),
                                              cmocka_unit_test(without_locks_the_size_is_what_was_asked_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
