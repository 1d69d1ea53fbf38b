#include "dax/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_limit_is_exact_over_all_shards(void **state)
{
    (void)state;
    struct budget b;
    assert_int_equal(budget_init(&b, 100, 4), 0);
    for (unsigned i = 0; i < 100; i++)
        assert_true(budget_take(&b, i % 4, 1));
    for (unsigned i = 0; i < 4; i++)
        assert_false(budget_take(&b, i, 1));
    assert_true(budget_take(&b, 2, 0));
    assert_int_equal(budget_used(&b), 100);
    budget_give(&b, 1, 30, 1);
    budget_give(&b, 3, 30, 1);
    assert_false(budget_take(&b, 0, 61));
    assert_true(budget_take(&b, 0, 60)); /* gathered from two shards that are not its own */
    assert_false(budget_take(&b, 1, 1));
    budget_untake(&b, 0, 60);
    assert_int_equal(budget_used(&b), 40);
    assert_true(budget_take(&b, 3, 60));
    budget_destroy(&b);
}

static void calls_are_counted(void **state)
{
    (void)state;
    struct budget b;
    uint64_t takes, gives;
    assert_int_equal(budget_init(&b, 1000, 2), 0);
    for (int i = 0; i < 7; i++)
        assert_true(budget_take(&b, i & 1, 10));
    assert_false(budget_take(&b, 0, 1000)); /* not counted */
    budget_untake(&b, 0, 10);               /* nor is this one any more */
    budget_give(&b, 1, 20, 1);
    budget_give(&b, 1, 20, 5);
    budget_give(&b, 0, 0, 0);
    budget_counts(&b, &takes, &gives);
    assert_int_equal(takes, 6);
    assert_int_equal(gives, 6);
    assert_int_equal(budget_used(&b), 20);
    budget_destroy(&b);
}

/* The count beside the units has 24 bits. */
static void many_calls_do_not_spill_into_the_units(void **state)
{
    (void)state;
    const uint64_t pairs = (UINT64_C(1) << 24) + 12345;
    struct budget b;
    uint64_t takes, gives;
    assert_int_equal(budget_init(&b, 8, 1), 0);
    for (uint64_t i = 0; i < pairs; i++) {
        if (!budget_take(&b, 0, 3))
            fail();
        budget_give(&b, 0, 3, 1);
    }
    budget_counts(&b, &takes, &gives);
    assert_int_equal(takes, pairs);
    assert_int_equal(gives, pairs);
    assert_int_equal(budget_used(&b), 0);
    assert_true(budget_take(&b, 0, 8));
    assert_false(budget_take(&b, 0, 1));
    budget_destroy(&b);
}

static void an_exchange_gathers_what_it_wants(void **state)
{
    (void)state;
    struct budget b;
    uint64_t takes, gives;
    assert_int_equal(budget_init(&b, 10, 2), 0);
    assert_true(budget_take(&b, 0, 7));
    budget_give(&b, 1, 2, 1);
    budget_exchange(&b, 5, 9);
    assert_int_equal(budget_used(&b), 9);
    assert_true(budget_take(&b, 1, 1));
    assert_false(budget_take(&b, 1, 1));
    budget_exchange(&b, 10, 0);
    assert_int_equal(budget_used(&b), 0);
    budget_counts(&b, &takes, &gives);
    assert_int_equal(takes, 2);
    assert_int_equal(gives, 1);
    budget_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_is_exact_over_all_shards),
        cmocka_unit_test(calls_are_counted),
        cmocka_unit_test(many_calls_do_not_spill_into_the_units),
        cmocka_unit_test(an_exchange_gathers_what_it_wants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
