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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(set_get_list_remove, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(the_largest_value, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(the_short_form_of_setxattr, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(sizes_and_names_that_lie, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_value_without_room, rig_setup, rig_teardown),
        cmocka_unit_test(no_xattrs_where_none_are_offered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
