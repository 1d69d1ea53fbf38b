#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "cmocka_all.h"
#include "rig.h"

static int set_xattr(struct client *c, uint64_t nodeid, const char *name, const void *value, uint32_t len)
{
    struct wire_setxattr_in in = {.size = len, .flags = XATTR_CREATE, .setxattr_flags = FUSE_XATTR_KILL_SGID};
    struct part parts[] = {{&in, sizeof(in)}, {name, strlen(name) + 1}, {value, len}};
    return client_send(c, FUSE_SETXATTR, nodeid, parts, 3);
}

static int get_xattr(struct client *c, uint64_t nodeid, const char *name, uint32_t size)
{
    struct wire_getxattr_in in = {.size = size};
    return client_call_name(c, FUSE_GETXATTR, nodeid, &in, sizeof(in), name);
}

static int list_xattr(struct client *c, uint64_t nodeid, uint32_t size)
{
    struct wire_getxattr_in in = {.size = size};
    return client_call(c, FUSE_LISTXATTR, nodeid, &in, sizeof(in));
}

static uint32_t told_size(const struct client *c)
{
    assert_int_equal(c->payload_len, sizeof(struct wire_getxattr_out));
    return ((const struct wire_getxattr_out *)c->reply)->size;
}

static void set_get_list_remove(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    assert_int_equal(set_xattr(c, rig->file, "user.a", "value", 5), 0);
    assert_int_equal(fake_fs_seen(rig->fake)->flags, XATTR_CREATE);
    assert_true(fake_fs_seen(rig->fake)->kill);
    assert_int_equal(get_xattr(c, rig->file, "user.a", 0), 0);
    assert_int_equal(told_size(c), 5);
    assert_int_equal(get_xattr(c, rig->file, "user.a", 100), 0);
    assert_int_equal(c->payload_len, 5);
    assert_memory_equal(c->reply, "value", 5);
    assert_int_equal(get_xattr(c, rig->file, "user.a", 4), -ERANGE);
    assert_int_equal(get_xattr(c, rig->file, "user.b", 4), -ENODATA);
    assert_int_equal(set_xattr(c, rig->file, "user.b", "", 0), 0);
    assert_int_equal(list_xattr(c, rig->file, 0), 0);
    assert_int_equal(told_size(c), 14);
    assert_int_equal(list_xattr(c, rig->file, 14), 0);
    assert_memory_equal(c->reply, "user.a\0user.b", 14);
    assert_int_equal(list_xattr(c, rig->file, 13), -ERANGE);
    assert_int_equal(client_call_name(c, FUSE_REMOVEXATTR, rig->file, NULL, 0, "user.a"), 0);
    assert_int_equal(client_call_name(c, FUSE_REMOVEXATTR, rig->file, NULL, 0, "user.a"), -ENODATA);
}

static void the_largest_value(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    static char value[65537];
    memset(value, 'v', sizeof(value));
    assert_int_equal(set_xattr(c, rig->file, "user.big", value, 65536), 0);
    assert_int_equal(get_xattr(c, rig->file, "user.big", 65536), 0);
    assert_int_equal(c->payload_len, 65536);
    assert_memory_equal(c->reply, value, 65536);
    assert_int_equal(get_xattr(c, rig->file, "user.big", UINT32_MAX), 0); /* cut to the most there is */
    assert_int_equal(c->payload_len, 65536);
    assert_int_equal(set_xattr(c, rig->file, "user.big", value, 65537), -E2BIG);
}

static void the_short_form_of_setxattr(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    client_init_with(c, FUSE_ASYNC_READ);
    rig->file = client_find(c, "file");
    uint32_t in[2] = {5, 0};
    struct part parts[] = {{in, 8}, {"user.a", 7}, {"value", 5}};
    assert_int_equal(client_send(c, FUSE_SETXATTR, rig->file, parts, 3), 0);
    assert_int_equal(get_xattr(c, rig->file, "user.a", 10), 0);
    assert_memory_equal(c->reply, "value", 5);
}

static void sizes_and_names_that_lie(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_setxattr_in in = {.size = 100};
    struct part parts[] = {{&in, sizeof(in)}, {"user.a", 7}, {"value", 5}};
    assert_int_equal(client_send(c, FUSE_SETXATTR, rig->file, parts, 3), -EINVAL);
    in.size = UINT32_MAX;
    assert_int_equal(client_send(c, FUSE_SETXATTR, rig->file, parts, 3), -E2BIG);
    in.size = 0;
    parts[1] = (struct part){"user.a", 6}; /* no NUL */
    assert_int_equal(client_send(c, FUSE_SETXATTR, rig->file, parts, 2), -EINVAL);
    assert_int_equal(client_send(c, FUSE_SETXATTR, rig->file, parts, 1), -EINVAL);
    parts[0].len = 12;
    assert_int_equal(client_send(c, FUSE_SETXATTR, rig->file, parts, 1), -EINVAL);
    assert_int_equal(get_xattr(c, rig->file, "", 4), -EINVAL);
    char name[300];
    memset(name, 'n', sizeof(name));
    memcpy(name, "user.", 5);
    name[256] = '\0';
    assert_int_equal(get_xattr(c, rig->file, name, 4), -ENAMETOOLONG);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_SETXATTR), 0);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_GETXATTR), 0);
}

/* The reply has less room than the size asked for. */
static void a_value_without_room(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    assert_int_equal(set_xattr(c, rig->file, "user.a", "value", 5), 0);
    c->room = 16 + 3;
    assert_int_equal(get_xattr(c, rig->file, "user.a", 100), -EIO);
    assert_int_equal(list_xattr(c, rig->file, 100), -EIO);
    assert_int_equal(get_xattr(c, rig->file, "user.a", 0), -EIO);
    c->room = CLIENT_BUFFER;
}

static void no_xattrs_where_none_are_offered(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = rig_options();
    options.xattr = false;
    struct rig *rig = rig_new(&options, true);
    struct client *c = &rig->client;
    assert_int_equal(set_xattr(c, rig->file, "user.a", "v", 1), -ENOSYS);
    assert_int_equal(get_xattr(c, rig->file, "user.a", 1), -ENOSYS);
    assert_int_equal(list_xattr(c, rig->file, 1), -ENOSYS);
    assert_int_equal(client_call_name(c, FUSE_REMOVEXATTR, rig->file, NULL, 0, "user.a"), -ENOSYS);
    rig_free(rig);
}

/* ---- with a map ---- */

static struct oriel_xattr_map *map_of(const char *rules)
{
    struct oriel_xattr_map *map = NULL;
    assert_int_equal(oriel_xattr_map_create(rules, &map, NULL, 0), 0);
    return map;
}

static struct rig *rig_with(const struct oriel_xattr_map *map)
{
    struct oriel_fuse_server_options options = rig_options();
    options.posix_acl = options.security_label = false;
    options.xattr_map = map;
    return rig_new(&options, true);
}

static int remove_xattr(struct client *c, uint64_t nodeid, const char *name)
{
    return client_call_name(c, FUSE_REMOVEXATTR, nodeid, NULL, 0, name);
}

static void a_map_changes_names_on_the_way(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of("/map/trusted./user.virtiofs./");
    struct rig *rig = rig_with(map);
    struct client *c = &rig->client;
    const struct fake_seen *seen = fake_fs_seen(rig->fake);
    assert_int_equal(set_xattr(c, rig->file, "trusted.a", "value", 5), 0);
    assert_string_equal(seen->xattr_name, "user.virtiofs.trusted.a");
    assert_int_equal(set_xattr(c, rig->file, "security.b", "v", 1), 0);
    assert_string_equal(seen->xattr_name, "security.b");
    assert_int_equal(get_xattr(c, rig->file, "trusted.a", 10), 0);
    assert_memory_equal(c->reply, "value", 5);
    assert_int_equal(list_xattr(c, rig->file, 0), 0);
    assert_int_equal(told_size(c), 21);
    assert_int_equal(list_xattr(c, rig->file, 20), -ERANGE);
    assert_int_equal(list_xattr(c, rig->file, 21), 0);
    assert_memory_equal(c->reply, "trusted.a\0security.b", 21);
    assert_int_equal(remove_xattr(c, rig->file, "trusted.a"), 0);
    assert_string_equal(seen->xattr_name, "user.virtiofs.trusted.a");
    assert_int_equal(get_xattr(c, rig->file, "trusted.a", 10), -ENODATA);
    rig_free(rig);
    oriel_xattr_map_destroy(map);
}

static void what_a_map_forbids_never_reaches_the_back_end(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of(":bad:all:user.bad.:user.bad.: :unsupported:all:user.un.:user.un.: "
                                         ":prefix:all:user.p.:user.: :ok:all:::");
    struct rig *rig = rig_with(map);
    struct client *c = &rig->client;
    char name[256];
    memset(name, 'n', sizeof(name));
    memcpy(name, "user.p.", 7);
    name[251] = '\0'; /* with "user." a byte too long */
    const struct {
        const char *name;
        int change, read;
    } cases[] = {{"user.bad.x", -EPERM, -ENODATA},
                 {"user.un.x", -EOPNOTSUPP, -EOPNOTSUPP},
                 {name, -ENAMETOOLONG, -ENAMETOOLONG}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(set_xattr(c, rig->file, cases[i].name, "v", 1), cases[i].change);
        assert_int_equal(remove_xattr(c, rig->file, cases[i].name), cases[i].change);
        assert_int_equal(get_xattr(c, rig->file, cases[i].name, 1), cases[i].read);
        assert_int_equal(get_xattr(c, rig->file, cases[i].name, 0), cases[i].read);
    }
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_SETXATTR), 0);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_GETXATTR), 0);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_REMOVEXATTR), 0);
    name[250] = '\0';
    assert_int_equal(set_xattr(c, rig->file, name, "v", 1), 0);
    assert_int_equal(strlen(fake_fs_seen(rig->fake)->xattr_name), 255);
    rig_free(rig);
    oriel_xattr_map_destroy(map);
}

/* The options that name spaces have without a map neither allow nor forbid anything then. */
static void a_map_alone_decides(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of(":bad:all:security.:security.: :ok:all:::");
    struct oriel_fuse_server_options options = rig_options();
    options.security_label = options.security_xattr = options.posix_acl = true;
    options.xattr_map = map;
    struct rig *rig = rig_new(&options, true);
    struct client *c = &rig->client;
    assert_int_equal(set_xattr(c, rig->file, "security.a", "v", 1), -EPERM);
    assert_int_equal(set_xattr(c, rig->file, "trusted.a", "v", 1), 0);
    assert_int_equal(set_xattr(c, rig->file, "anything", "v", 1), 0);
    assert_int_equal(set_xattr(c, rig->file, "system.posix_acl_access", "v", 1), 0);
    assert_int_equal(list_xattr(c, rig->file, 100), 0);
    assert_memory_equal(c->reply, "trusted.a\0anything\0system.posix_acl_access", 43);
    rig_free(rig);
    oriel_xattr_map_destroy(map);
}

static void access_lists_need_their_option_and_their_names(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of(":map::user.virtiofs.:");
    struct rig *rig = rig_with(map);
    struct client *c = &rig->client;
    assert_int_equal(set_xattr(c, rig->file, "system.posix_acl_access", "v", 1), -EOPNOTSUPP);
    assert_int_equal(get_xattr(c, rig->file, "system.posix_acl_default", 1), -EOPNOTSUPP);
    assert_int_equal(remove_xattr(c, rig->file, "system.posix_acl_access"), -EOPNOTSUPP);
    struct oriel_fuse_server_options options = rig_options();
    options.xattr_map = map;
    options.fs = fake_fs_backend(rig->fake);
    struct oriel_fuse_server *server = NULL;
    assert_int_equal(oriel_fuse_server_create(&options, &server), -EINVAL);
    rig_free(rig);
    options.xattr = false; /* no attributes, no map */
    rig = rig_new(&options, true);
    assert_int_equal(set_xattr(&rig->client, rig->file, "user.a", "v", 1), -ENOSYS);
    rig_free(rig);
    oriel_xattr_map_destroy(map);
}

static void names_that_lead_elsewhere_are_not_listed(void **state)
{
    (void)state;
    struct oriel_xattr_map *map = map_of("/map/trusted./user.virtiofs./");
    struct rig *rig = rig_with(map);
    struct client *c = &rig->client;
    static const char *const names[] = {"user.virtiofs.user.x", "user.virtiofs.trusted.x", "user.virtiofs.",
                                        "trusted.x", "system.posix_acl_access"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        fake_fs_set_host_xattr(rig->fake, "file", names[i]);
    assert_int_equal(list_xattr(c, rig->file, 100), 0);
    assert_int_equal(c->payload_len, 10);
    assert_memory_equal(c->reply, "trusted.x", 10);
    rig_free(rig);
    oriel_xattr_map_destroy(map);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(set_get_list_remove, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(the_largest_value, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(the_short_form_of_setxattr, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(sizes_and_names_that_lie, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_value_without_room, rig_setup, rig_teardown),
        cmocka_unit_test(no_xattrs_where_none_are_offered),
        cmocka_unit_test(a_map_changes_names_on_the_way),
        cmocka_unit_test(what_a_map_forbids_never_reaches_the_back_end),
        cmocka_unit_test(a_map_alone_decides),
        cmocka_unit_test(access_lists_need_their_option_and_their_names),
        cmocka_unit_test(names_that_lead_elsewhere_are_not_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
