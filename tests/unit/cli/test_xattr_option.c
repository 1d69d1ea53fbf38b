#include "unit/microvm/unit.h"

#include "base/checked.h"
#include "cli/mount_options.h"
#include "cli/serve_options.h"

#define MAP_ALL "--xattrmap=:map::user.virtiofs.:"

static bool serve(struct serve_options *options, const char *a, const char *b)
{
    const char *argv[] = {"oriel", "--socket-path=/nowhere", "--shared-dir=/", a, b, NULL};
    return serve_options_parse(options, b == NULL ? 4 : 5, (char **)(uintptr_t)argv);
}

static void assert_maps(const struct xattr_option *option, const char *guest, const char *wanted)
{
    char host[ORIEL_XATTR_NAME_SIZE];
    assert_non_null(option->map);
    assert_int_equal(oriel_xattr_map_to_host(option->map, guest, host), 0);
    assert_string_equal(host, wanted);
}

static void serve_takes_both_spellings(void **state)
{
    (void)state;
    struct serve_options options;
    char compat[] = "no_xattr,xattrmap=/map/trusted./user.x=y./,writeback"; /* is cut apart in place */
    char doubled[] = "xattrmap=/map/trusted./user.x,,y./,writeback";
    assert_true(serve(&options, MAP_ALL, NULL));
    assert_true(options.xattr);
    assert_maps(&options.xattrmap, "user.a", "user.virtiofs.user.a");
    serve_options_destroy(&options);
    assert_true(serve(&options, "--xattrmap", ":map::trusted.virtiofs.:"));
    assert_maps(&options.xattrmap, "user.a", "trusted.virtiofs.user.a");
    serve_options_destroy(&options);
    assert_true(serve(&options, "-o", compat));
    assert_maps(&options.xattrmap, "trusted.a", "user.x=y.trusted.a");
    assert_true(options.xattr && options.writeback); /* rules imply attributes, as in virtiofsd */
    serve_options_destroy(&options);
    assert_true(serve(&options, "-o", doubled)); /* two commas are one */
    assert_maps(&options.xattrmap, "trusted.a", "user.x,y.trusted.a");
    assert_true(options.writeback);
    serve_options_destroy(&options);
    assert_true(serve(&options, "--xattr", NULL));
    assert_null(options.xattrmap.map);
    serve_options_destroy(&options);
}

static void the_last_rules_count(void **state)
{
    (void)state;
    struct serve_options options;
    assert_true(serve(&options, "--xattrmap=:ok:all:::", MAP_ALL));
    assert_maps(&options.xattrmap, "user.a", "user.virtiofs.user.a");
    serve_options_destroy(&options);
}

static void serve_refuses_rules_with_a_fault(void **state)
{
    (void)state;
    struct serve_options options;
    assert_false(serve(&options, "--xattrmap=:map::user.", NULL));
    assert_false(serve(&options, MAP_ALL, "--xattrmap=:ok:client:::"));
    assert_false(serve(&options, "--xattrmap=", NULL));
    assert_false(serve(&options, MAP_ALL, "--xattrmap"));
    assert_null(options.xattrmap.map);
}

static void access_lists_go_with_rules_that_keep_them(void **state)
{
    (void)state;
    struct serve_options options;
    assert_false(serve(&options, MAP_ALL, "--posix-acl"));
    assert_false(serve(&options, "--posix-acl", MAP_ALL));
    assert_false(
        serve(&options, "--posix-acl", "--xattrmap=:bad:client:system.posix_acl_default:: :ok:all:::"));
    assert_true(serve(&options, "--posix-acl", "--xattrmap=/map/trusted./user.virtiofs./"));
    serve_options_destroy(&options);
}

static void mount_takes_it_too(void **state)
{
    (void)state;
    struct mount_options options;
    const char *right[] = {"mount", MAP_ALL, "/a", "/b", NULL},
               *wrong[] = {"mount", "--xattrmap", ":ok:", "/a", "/b", NULL},
               *help[] = {"mount", MAP_ALL, "--help", NULL};
    assert_true(mount_options_parse(&options, ARRAY_LEN(right) - 1, (char **)(uintptr_t)right));
    assert_maps(&options.xattrmap, "user.a", "user.virtiofs.user.a");
    assert_false(xattr_option_keeps_acls(&options.xattrmap));
    mount_options_destroy(&options);
    assert_false(mount_options_parse(&options, ARRAY_LEN(wrong) - 1, (char **)(uintptr_t)wrong));
    assert_true(mount_options_parse(&options, ARRAY_LEN(help) - 1, (char **)(uintptr_t)help));
    mount_options_destroy(&options);
    assert_true(xattr_option_keeps_acls(&options.xattrmap));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(serve_takes_both_spellings),
        cmocka_unit_test(the_last_rules_count),
        cmocka_unit_test(serve_refuses_rules_with_a_fault),
        cmocka_unit_test(access_lists_go_with_rules_that_keep_them),
        cmocka_unit_test(mount_takes_it_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
