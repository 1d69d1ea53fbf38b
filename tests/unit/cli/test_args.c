#include "unit/microvm/unit.h"

#include "cli/args.h"

static void sizes_have_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"7", 7},
                {"4K", 4096},
                {"4k", 4096},
                {"512M", 512 << 20},
                {"1G", UINT64_C(1) << 30},
                {"2t", UINT64_C(2) << 40},
                {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {"",          "K",  "1KB",  "1 G",  " 1",
                                      "-1",        "+1", "0x10", "1.5G", "18446744073709551616",
                                      "16777216T", "1`", "1@",   "1P",   "1\n"};
    uint64_t bytes;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(parse_size(good[i].text, 1, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(parse_size(bad[i], 1, &bytes));
    assert_true(parse_size("512", 1 << 20, &bytes));
    assert_int_equal(bytes, 512 << 20);
    assert_false(parse_size("18446744073709551615", 2, &bytes));
}

static void numbers_have_bounds(void **state)
{
    (void)state;
    uint64_t n;
    assert_true(parse_number("64", 1, 64, &n));
    assert_int_equal(n, 64);
    assert_true(parse_number("007", 1, 64, &n));
    assert_false(parse_number("0", 1, 64, &n));
    assert_false(parse_number("65", 1, 64, &n));
    assert_false(parse_number("", 0, 64, &n));
    assert_false(parse_number("4x", 1, 64, &n));
    assert_false(parse_number("-1", 0, UINT64_MAX, &n));
    assert_false(parse_number("99999999999999999999", 0, UINT64_MAX, &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes_have_units),
                                       cmocka_unit_test(numbers_have_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
