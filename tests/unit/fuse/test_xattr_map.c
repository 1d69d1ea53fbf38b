#include <oriel/xattr_map.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"

static struct oriel_xattr_map *map_of(const char *text)
{
    struct oriel_xattr_map *map = NULL;
    char why[200];
    int rc = oriel_xattr_map_create(text, &map, why, sizeof(why));
    if (rc != 0)
        fail_msg("%s: %s", text, why);
    return map;
}

static void assert_refused(const char *text, const char *says)
{
    struct oriel_xattr_map *map = NULL;
    char why[200] = "";
    assert_int_equal(oriel_xattr_map_create(text, &map, why, sizeof(why)), -EINVAL);
    assert_null(map);
    if (strstr(why, says) == NULL || strchr(why, '\n') != NULL)
        fail_msg("%s: says \"%s\", not \"%s\"", text, why, says);
}

static void assert_to_host(const struct oriel_xattr_map *map, const char *guest, const char *wanted)
{
    char host[ORIEL_XATTR_NAME_SIZE];
    assert_int_equal(oriel_xattr_map_to_host(map, guest, host), 0);
    assert_string_equal(host, wanted);
}

static void assert_no_host(const struct oriel_xattr_map *map, const char *guest, int error)
{
    char host[ORIEL_XATTR_NAME_SIZE];
    assert_int_equal(oriel_xattr_map_to_host(map, guest, host), error);
}

static void assert_to_guest(const struct oriel_xattr_map *map, const char *host, const char *wanted)
{
    const char *guest;
    assert_int_equal(oriel_xattr_map_to_guest(map, host, &guest), 0);
    assert_string_equal(guest, wanted);
    assert_ptr_equal(guest, host + strlen(host) - strlen(wanted));
}

static void assert_hidden(const struct oriel_xattr_map *map, const char *host)
{
    const char *guest;
    assert_int_equal(oriel_xattr_map_to_guest(map, host, &guest), -ENODATA);
}

/* ---- reading ---- */

static void each_type_and_scope_is_understood(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of(":prefix:client:a.:user.p.::prefix:server::user.p.:"
                                         ":ok:all:b.:b.::bad:all:c.:c.::unsupported:all:d.:d.:"
                                         ":bad:client::::bad:server:::");
    assert_to_host(map, "a.x", "user.p.a.x");
    assert_to_guest(map, "user.p.a.x", "a.x");
    assert_to_host(map, "b.x", "b.x");
    assert_to_guest(map, "b.x", "b.x");
    assert_no_host(map, "c.x", -EPERM);
    assert_hidden(map, "c.x");
    assert_no_host(map, "d.x", -EOPNOTSUPP);
    assert_hidden(map, "d.x");
    assert_no_host(map, "else", -EPERM);
    assert_hidden(map, "else");
    oriel_xattr_map_destroy(map);
}

static void each_rule_has_its_own_separator(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of("\n /prefix/all/a:/user./\t;bad;all;b/;b/;\r\n:ok:all::: \n");
    assert_to_host(map, "a:x", "user.a:x");
    assert_no_host(map, "b/x", -EPERM);
    assert_to_host(map, "c x", "c x");
    oriel_xattr_map_destroy(map);
}

static void malformed_rules_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "there is no rule"},
        {" \n\t", "there is no rule"},
        {":", "rule 1 (:): must be :type:scope:key:prepend:"},
        {":bad", "rule 1 (:bad): must be"},
        {":bad:all::", "rule 1 (:bad:all::): must be"},
        {":bad:all:", "rule 1 (:bad:all:): must be"},
        {":map::user.", "rule 1 (:map::user.): must be"},
        {":good:all:::", "rule 1 (:good:all:::): the type"},
        {"::all:::", "the type"},
        {":OK:all:::", "the type"},
        {":bad:both:::", "the scope"},
        {":bad::::", "the scope"},
        {"/ok/all/a/a/ /ok/sever///", "rule 2 (/ok/sever///): the scope"},
        {":map:a:b::ok:all:::", "rule 1 (:map:a:b::ok:all:::): a map rule must be the last"},
        {":map:a:b: :map:a:b:", "a map rule must be the last"},
        {":ok:client:::", "other names of the host"},
        {":ok:server:::", "other names of the guest"},
        {":prefix:all::user.:", "other names of the host"},
        {":ok:all:user.::", "other names of the guest"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(bad[i][0], bad[i][1]);
}

static void a_message_is_one_printable_line(void **state)
{
    (void)state;
    struct oriel_xattr_map *map;
    char why[200];
    assert_refused(":b\n\033d:all:::", "rule 1 (:b??d:all:::): the type");
    assert_int_equal(oriel_xattr_map_create("!", &map, why, 12), -EINVAL);
    assert_string_equal(why, "rule 1 (!):");
    assert_int_equal(oriel_xattr_map_create("!", &map, NULL, 0), -EINVAL);
    char text[300];
    memset(text, 'x', sizeof(text));
    text[299] = '\0';
    assert_int_equal(oriel_xattr_map_create(text, &map, why, sizeof(why)), -EINVAL);
    assert_true(strlen(why) < sizeof(why) - 1);
}

static char *repeated(const char *rule, size_t count, const char *end)
{
    size_t len = strlen(rule);
    char *text = malloc(len * count + strlen(end) + 1);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * len, rule, len);
    memcpy(text + len * count, end, strlen(end) + 1);
    return text;
}

static void rules_fields_and_text_are_bounded(void **state)
{
    (void)state;
    char *text = repeated(":bad:all:a:a:", 255, ":ok:all:::");
    struct oriel_xattr_map *map = map_of(text);
    assert_to_host(map, "user.x", "user.x");
    oriel_xattr_map_destroy(map);
    free(text);
    text = repeated(":bad:all:a:a:", 256, ":ok:all:::");
    assert_refused(text, "rule 257 (:ok:all:::): there are more than 256");
    free(text);
    text = repeated(":bad:all:a:a:", 254, ":map:b:c:");
    assert_refused(text, "rule 255 (:map:b:c:): there are more than 256");
    free(text);
    text = repeated(" ", 65526, ":ok:all:::");
    oriel_xattr_map_destroy(map_of(text));
    free(text);
    text = repeated(" ", 65527, ":ok:all:::");
    assert_refused(text, "longer than 65536 bytes");
    free(text);
    char *key = repeated("k", 255, "");
    char rule[600];
    snprintf(rule, sizeof(rule), ":bad:client:%s:: :ok:all:::", key);
    oriel_xattr_map_destroy(map_of(rule));
    snprintf(rule, sizeof(rule), ":bad:client:%s+:: :ok:all:::", key);
    assert_refused(rule, "longer than 255 bytes");
    free(key);
}

/* ---- finding ---- */

static void the_first_rule_that_matches_counts(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of(":ok:all:user.open.:user.open.::bad:all:user.:user.::unsupported:"
                                         "all:user.open.:user.open.::ok:all:::");
    assert_to_host(map, "user.open.x", "user.open.x");
    assert_to_guest(map, "user.open.x", "user.open.x");
    assert_no_host(map, "user.x", -EPERM);
    assert_hidden(map, "user.x");
    assert_to_host(map, "security.x", "security.x");
    oriel_xattr_map_destroy(map);
}

static void a_rule_of_one_side_is_not_for_the_other(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of(":bad:client:user.::  :bad:server::trusted.: :ok:all:::");
    assert_no_host(map, "user.x", -EPERM);
    assert_to_host(map, "trusted.x", "trusted.x");
    assert_hidden(map, "trusted.x");
    assert_to_guest(map, "security.x", "security.x");
    oriel_xattr_map_destroy(map);
}

/* The two examples of virtiofsd's documentation that are equivalent to each other, and a third. */
static void map_of_everything(void **state)
{
    (void)state;
    static const char *const texts[] = {":prefix:all::user.virtiofs.::bad:all:::", ":map::user.virtiofs.:"};
    for (size_t i = 0; i < 2; i++) {
        struct oriel_xattr_map *map = map_of(texts[i]);
        assert_to_host(map, "security.capability", "user.virtiofs.security.capability");
        assert_to_host(map, "user.x", "user.virtiofs.user.x");
        assert_to_host(map, "user.virtiofs.x", "user.virtiofs.user.virtiofs.x");
        assert_to_guest(map, "user.virtiofs.trusted.x", "trusted.x");
        assert_hidden(map, "trusted.x");
        assert_hidden(map, "user.x");
        assert_hidden(map, "user.virtiofs."); /* nothing would be left */
        oriel_xattr_map_destroy(map);
    }
}

static void map_of_some(void **state)
{
    (void)state;
    static const char *const texts[] = {"/prefix/all/trusted./user.virtiofs./\n/bad/server//trusted./\n/bad/"
                                        "client/user.virtiofs.//\n/ok/all///",
                                        "/map/trusted./user.virtiofs./"};
    for (size_t i = 0; i < 2; i++) {
        struct oriel_xattr_map *map = map_of(texts[i]);
        assert_to_host(map, "trusted.x", "user.virtiofs.trusted.x");
        assert_to_guest(map, "user.virtiofs.trusted.x", "trusted.x");
        assert_hidden(map, "trusted.x");
        assert_no_host(map, "user.virtiofs.trusted.x", -EPERM);
        assert_to_host(map, "user.x", "user.x");
        assert_to_guest(map, "user.x", "user.x");
        /* Cut, it would be the name of another attribute. */
        assert_hidden(map, "user.virtiofs.user.x");
        oriel_xattr_map_destroy(map);
    }
}

static void a_name_is_listed_only_if_it_leads_back(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of(":prefix:server::user.virtiofs.: :ok:all:::");
    assert_hidden(map, "user.virtiofs.user.x"); /* user.x is another attribute */
    assert_to_guest(map, "user.x", "user.x");
    oriel_xattr_map_destroy(map);
    map = map_of(":bad:client:user.hidden.:: :ok:all:::");
    assert_hidden(map, "user.hidden.x"); /* cannot be read */
    oriel_xattr_map_destroy(map);
}

static void names_are_bounded(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of(":map::user.virtiofs.:");
    char *name = repeated("n", 255 - 14, "");
    char host[ORIEL_XATTR_NAME_SIZE + 100], wanted[ORIEL_XATTR_NAME_SIZE];
    snprintf(wanted, sizeof(wanted), "user.virtiofs.%s", name);
    assert_to_host(map, name, wanted);
    assert_to_guest(map, wanted, name);
    free(name);
    name = repeated("n", 255 - 13, "");
    assert_no_host(map, name, -ENAMETOOLONG);
    free(name);
    name = repeated("n", 300, "");
    assert_no_host(map, name, -ENAMETOOLONG);
    snprintf(host, sizeof(host), "user.virtiofs.%s", name);
    assert_hidden(map, host);
    free(name);
    assert_to_host(map, "", "user.virtiofs.");
    oriel_xattr_map_destroy(map);
}

static void what_a_map_keeps(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of("/map/security./user.virtiofs./");
    assert_true(oriel_xattr_map_keeps(map, "system.posix_acl_access"));
    assert_false(oriel_xattr_map_keeps(map, "security.capability"));
    assert_false(oriel_xattr_map_keeps(map, "user.virtiofs.x"));
    oriel_xattr_map_destroy(map);
    map = map_of(":prefix:all:::");
    assert_true(oriel_xattr_map_keeps(map, "security.capability"));
    oriel_xattr_map_destroy(map);
    oriel_xattr_map_destroy(NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_and_scope_is_understood),
        cmocka_unit_test(each_rule_has_its_own_separator),
        cmocka_unit_test(malformed_rules_are_refused),
        cmocka_unit_test(a_message_is_one_printable_line),
        cmocka_unit_test(rules_fields_and_text_are_bounded),
        cmocka_unit_test(the_first_rule_that_matches_counts),
        cmocka_unit_test(a_rule_of_one_side_is_not_for_the_other),
        cmocka_unit_test(map_of_everything),
        cmocka_unit_test(map_of_some),
        cmocka_unit_test(a_name_is_listed_only_if_it_leads_back),
        cmocka_unit_test(names_are_bounded),
        cmocka_unit_test(what_a_map_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
