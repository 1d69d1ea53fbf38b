#include "unit/microvm/unit.h"

#include <stdio.h>
#include <string.h>

#include "cli/id_rules.h"

static void assert_parses_to(const char *text, struct oriel_id_rule wanted)
{
    struct id_rules rules = {.count = 0};
    assert_null(id_rules_add(&rules, text));
    assert_int_equal(rules.count, 1);
    assert_int_equal(rules.rules[0].kind, wanted.kind);
    assert_int_equal(rules.rules[0].guest, wanted.guest);
    assert_int_equal(rules.rules[0].host, wanted.host);
    assert_int_equal(rules.rules[0].count, wanted.count);
}

static void each_type_is_understood(void **state)
{
    (void)state;
    assert_parses_to("map:1:20:3", (struct oriel_id_rule){ORIEL_ID_MAP, 1, 20, 3});
    assert_parses_to("guest:1:20:3", (struct oriel_id_rule){ORIEL_ID_GUEST, 1, 20, 3});
    assert_parses_to("host:1:20:3", (struct oriel_id_rule){ORIEL_ID_HOST, 20, 1, 3});
    assert_parses_to("squash-guest:1:20:3", (struct oriel_id_rule){ORIEL_ID_SQUASH_GUEST, 1, 20, 3});
    assert_parses_to("squash-host:1:20:3", (struct oriel_id_rule){ORIEL_ID_SQUASH_HOST, 20, 1, 3});
    assert_parses_to("forbid-guest:1:3", (struct oriel_id_rule){ORIEL_ID_FORBID_GUEST, 1, 0, 3});
}

static void a_count_left_out_is_one(void **state)
{
    (void)state;
    assert_parses_to("map:1:20", (struct oriel_id_rule){ORIEL_ID_MAP, 1, 20, 1});
    assert_parses_to("forbid-guest:7", (struct oriel_id_rule){ORIEL_ID_FORBID_GUEST, 7, 0, 1});
}

static void a_range_reaches_the_last_id(void **state)
{
    (void)state;
    assert_parses_to("squash-guest:0:1000:4294967295",
                     (struct oriel_id_rule){ORIEL_ID_SQUASH_GUEST, 0, 1000, 4294967295});
    assert_parses_to("map:4294967294:0:1", (struct oriel_id_rule){ORIEL_ID_MAP, 4294967294, 0, 1});
}

static void malformed_maps_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "must begin with"},
        {":", "must begin with"},
        {"map", "SOURCE:TARGET"},
        {"map:", "empty field"},
        {"map:1", "SOURCE:TARGET"},
        {"map:1:", "empty field"},
        {"map:1:2:", "empty field"},
        {"map::2:3", "empty field"},
        {"map:1:2:3:4", "more than"},
        {"map:1:2:3:", "more than"},
        {"mapp:1:2:3", "must begin with"},
        {"ma:1:2:3", "must begin with"},
        {"1:2:3", "must begin with"},
        {"forbid-guest", "forbid-guest:SOURCE"},
        {"forbid-guest:1:2:3", "more than SOURCE:COUNT"},
        {"forbid-host:1:2", "must begin with"},
        {"map:-1:2:3", "not a number"},
        {"map: 1:2:3", "not a number"},
        {"map:1:0x2:3", "not a number"},
        {"map:1,2,3", "not a number"},
        {"map:4294967296:0:1", "32 bits"},
        {"map:0:0:18446744073709551617", "32 bits"},
        {"map:0:0:000000000000000000000000000000000001", "32 bits"},
        {"map:0:0:0", "empty range"},
        {"forbid-guest:0:0", "empty range"},
        {"map:4294967295:0:1", "does not end before"},
        {"map:0:4294967295:1", "does not end before"},
        {"map:1:0:4294967295", "does not end before"},
        {"guest:0:4294967290:6", "does not end before"},
        {"host:4294967290:0:6", "does not end before"},
        {"squash-host:4294967290:0:6", "does not end before"},
        {"squash-guest:0:4294967295:1", "does not end before"},
        {"forbid-guest:2001:4294967295", "does not end before"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct id_rules rules = {.count = 0};
        const char *wrong = id_rules_add(&rules, bad[i].text);
        if (wrong == NULL || strstr(wrong, bad[i].says) == NULL)
            fail_msg("%s: %s", bad[i].text, wrong == NULL ? "taken" : wrong);
        assert_null(strchr(wrong, '\n'));
        assert_int_equal(rules.count, 0);
    }
}

static void overlaps_are_refused_in_each_direction(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second;
        bool good;
    } pairs[] = {
        {"map:0:100:10", "map:9:200:1", false},
        {"map:0:100:10", "map:50:109:5", false},
        {"map:0:100:10", "map:10:110:10", true},
        {"map:0:100:10", "guest:5:500:1", false},
        {"map:0:100:10", "host:105:500:1", false},
        {"map:0:100:10", "guest:500:105:1", true}, /* two guest ids may be one host id */
        {"map:0:100:10", "host:500:5:1", true},
        {"guest:0:100:10", "host:0:100:10", true},
        {"squash-guest:0:1000:4294967295", "host:1000:0:1", true},
        {"squash-guest:0:1000:10", "squash-guest:9:1:1", false},
        {"squash-guest:0:1000:10", "squash-guest:10:1000:1", true},
        {"squash-host:0:7:10", "squash-host:10:7:10", true},
        {"squash-host:0:7:10", "host:3:7:1", false},
        {"forbid-guest:0:1000", "map:1000:1000:1", true},
        {"forbid-guest:0:1001", "map:1000:1000:1", false},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct id_rules rules = {.count = 0};
        assert_null(id_rules_add(&rules, pairs[i].first));
        const char *wrong = id_rules_add(&rules, pairs[i].second);
        if ((wrong == NULL) != pairs[i].good)
            fail_msg("%s, then %s: %s", pairs[i].first, pairs[i].second, wrong == NULL ? "taken" : wrong);
        assert_int_equal(rules.count, pairs[i].good ? 2 : 1);
    }
}

static void there_is_an_end_to_repeating(void **state)
{
    (void)state;
    struct id_rules rules = {.count = 0};
    char text[64];
    for (unsigned i = 0; i < ID_RULES_MAX; i++) {
        snprintf(text, sizeof(text), "map:%u:%u", i, i + 1000);
        assert_null(id_rules_add(&rules, text));
    }
    assert_non_null(id_rules_add(&rules, "map:5000:5000"));
    assert_int_equal(rules.count, ID_RULES_MAX);
}

static void forbidding_is_told(void **state)
{
    (void)state;
    struct id_rules rules = {.count = 0};
    assert_false(id_rules_forbid(&rules));
    assert_null(id_rules_add(&rules, "map:1:2"));
    assert_false(id_rules_forbid(&rules));
    assert_null(id_rules_add(&rules, "forbid-guest:5:5"));
    assert_true(id_rules_forbid(&rules));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_is_understood),
        cmocka_unit_test(a_count_left_out_is_one),
        cmocka_unit_test(a_range_reaches_the_last_id),
        cmocka_unit_test(malformed_maps_are_refused),
        cmocka_unit_test(overlaps_are_refused_in_each_direction),
        cmocka_unit_test(there_is_an_end_to_repeating),
        cmocka_unit_test(forbidding_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
