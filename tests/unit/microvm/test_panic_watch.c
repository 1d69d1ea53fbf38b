#include "unit/microvm/unit.h"

#include "microvm/panic_watch.h"

static void feed(struct panic_watch *watch, const char *text)
{
    panic_watch_feed(watch, (const uint8_t *)text, strlen(text));
}

static void the_first_panic_is_noticed(void **state)
{
    (void)state;
    struct panic_watch watch = {0};
    feed(&watch, "[    1.0] Kernel pan");
    feed(&watch, "ic - not syncing: Attempted to kill init! exitcode=0x00000100\r");
    assert_false(watch.seen);
    feed(&watch, "\n[    1.1] Kernel panic - not syncing: another\r\n");
    assert_true(watch.seen);
    assert_string_equal(watch.reason, "Attempted to kill init! exitcode=0x00000100");
}

static void other_output_is_no_panic(void **state)
{
    (void)state;
    struct panic_watch watch = {0};
    feed(&watch, "kernel panic\nKernel panic\nnot syncing\n\x1b[0m\n");
    for (int i = 0; i < 1000; i++)
        feed(&watch, "a long line ");
    feed(&watch, "Kernel panic - not syncing: too far right\n");
    assert_false(watch.seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_panic_is_noticed),
        cmocka_unit_test(other_output_is_no_panic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
