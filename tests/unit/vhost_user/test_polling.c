#include "vhost_user/polling.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MAX_NS 50000

static void off_never_polls(void **state)
{
    (void)state;
    struct polling p;
    polling_init(&p, ORIEL_POLL_OFF, MAX_NS);
    for (int i = 0; i < 100000; i++) {
        polling_slept(&p, 1, 100);
        assert_int_equal(polling_budget(&p), 0);
    }
}

static void on_always_polls(void **state)
{
    (void)state;
    struct polling p;
    polling_init(&p, ORIEL_POLL_ON, MAX_NS);
    for (int i = 0; i < 1000; i++) {
        polling_miss(&p);
        assert_int_equal(polling_budget(&p), MAX_NS);
    }
}

static void auto_begins_after_short_sleeps(void **state)
{
    (void)state;
    struct polling p;
    polling_init(&p, ORIEL_POLL_AUTO, MAX_NS);
    assert_int_equal(polling_budget(&p), 0);
    int sleeps = 0;
    while (polling_budget(&p) == 0 && sleeps < 1000) {
        polling_slept(&p, 1, MAX_NS);
        sleeps++;
    }
    assert_true(sleeps > 1 && sleeps < 100);
}

static void auto_stays_asleep_after_long_sleeps(void **state)
{
    (void)state;
    struct polling p;
    polling_init(&p, ORIEL_POLL_AUTO, MAX_NS);
    for (int i = 0; i < 100000; i++) {
        polling_slept(&p, 1, MAX_NS + 1);
        assert_int_equal(polling_budget(&p), 0);
    }
}

/* A core shared with the client: sleeps are short, polls never succeed. */
static void auto_gives_up_where_polls_fail(void **state)
{
    (void)state;
    struct polling p;
    polling_init(&p, ORIEL_POLL_AUTO, MAX_NS);
    unsigned polls = 0, requests = 1000000;
    for (unsigned i = 0; i < requests; i++) {
        if (polling_budget(&p) > 0) {
            polling_miss(&p);
            polls++;
        }
        polling_slept(&p, 1, 2000);
    }
    assert_true(polls > 0);
    assert_true(polls < requests / 1000);
}

static void auto_keeps_polling_while_that_succeeds(void **state)
{
    (void)state;
    struct polling p;
    polling_init(&p, ORIEL_POLL_AUTO, MAX_NS);
    while (polling_budget(&p) == 0)
        polling_slept(&p, 1, 1000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(polling_budget(&p), MAX_NS);
        polling_hit(&p);
        if (i > 20 && i % 10 == 0)
            polling_miss(&p);
    }
    /* The stream ends: a few polls later it sleeps. */
    int misses = 0;
    while (polling_budget(&p) != 0 && misses < 100) {
        polling_miss(&p);
        misses++;
    }
    assert_true(misses < 20);
}

/* A stream that pauses now and then is soon polled again, whatever failed long ago. */
static void success_restores_patience(void **state)
{
    (void)state;
    struct polling p;
    polling_init(&p, ORIEL_POLL_AUTO, MAX_NS);
    for (int i = 0; i < 100000; i++) {
        if (polling_budget(&p) > 0)
            polling_miss(&p);
        polling_slept(&p, 1, 1000);
    }
    while (polling_budget(&p) == 0)
        polling_slept(&p, 1, 1000);
    for (int i = 0; i < 100; i++)
        polling_hit(&p);
    while (polling_budget(&p) != 0)
        polling_miss(&p);
    int sleeps = 0;
    while (polling_budget(&p) == 0 && sleeps < 100000) {
        polling_slept(&p, 1, 1000);
        sleeps++;
    }
    assert_true(sleeps < 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(off_never_polls),
        cmocka_unit_test(on_always_polls),
        cmocka_unit_test(auto_begins_after_short_sleeps),
        cmocka_unit_test(auto_stays_asleep_after_long_sleeps),
        cmocka_unit_test(auto_gives_up_where_polls_fail),
        cmocka_unit_test(auto_keeps_polling_while_that_succeeds),
        cmocka_unit_test(success_restores_patience),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
