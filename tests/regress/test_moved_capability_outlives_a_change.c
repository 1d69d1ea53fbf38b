/*
 * CVE-2021-20263: with a map that moves security.capability to another name the host's kernel does not take it away when
 * the file is changed, so whoever may write to a program gets its capabilities. The server has to, wherever a kernel would.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "../unit/fuse/cmocka_all.h"
#include "../unit/fuse/rig.h"

#define GUEST "security.capability"
#define HOST  "user.virtiofs.security.capability"

struct moved {
    struct oriel_xattr_map *map;
    struct rig *rig;
    uint64_t fh; /* of "file", for reading and writing */
};

static int set_up_with(void **state, const char *rules)
{
    struct moved *m = test_calloc(1, sizeof(*m));
    struct oriel_fuse_server_options options = rig_options();
    options.posix_acl = false;
    if (rules != NULL)
        assert_int_equal(oriel_xattr_map_create(rules, &m->map, NULL, 0), 0);
    options.xattr_map = m->map;
    m->rig = rig_new(&options, true);
    assert_int_equal(client_open(&m->rig->client, m->rig->file, O_RDWR, &m->fh), 0);
    *state = m;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, ":map::user.virtiofs.:");
}

static int set_up_unmoved(void **state)
{
    return set_up_with(state, ":ok:all:::");
}

static int set_up_without(void **state)
{
    return set_up_with(state, NULL);
}

static int tear_down(void **state)
{
    struct moved *m = *state;
    client_release(&m->rig->client, m->rig->file, m->fh);
    rig_free(m->rig);
    oriel_xattr_map_destroy(m->map);
    test_free(m);
    return 0;
}

/* ---- what changes a file ---- */

static int write_it(struct moved *m)
{
    uint32_t written;
    return client_write(&m->rig->client, m->rig->file, m->fh, 0, "new", 3, &written);
}

static int set_attr(struct moved *m, uint32_t valid)
{
    struct wire_setattr_in in = {.valid = valid, .size = 1, .uid = 5, .gid = 6, .mode = 0755};
    return client_call(&m->rig->client, FUSE_SETATTR, m->rig->file, &in, sizeof(in));
}

static int cut_it(struct moved *m)
{
    return set_attr(m, FUSE_SET_SIZE);
}

static int give_it_to_another(struct moved *m)
{
    return set_attr(m, FUSE_SET_UID);
}

static int give_it_to_another_group(struct moved *m)
{
    return set_attr(m, FUSE_SET_GID);
}

static int open_and_cut(struct moved *m)
{
    uint64_t fh;
    int rc = client_open(&m->rig->client, m->rig->file, O_RDWR | O_TRUNC, &fh);
    return rc != 0 ? rc : client_release(&m->rig->client, m->rig->file, fh);
}

/* The guest knew of no such file, and so creates it; the host had it all the same. */
static int create_over_it(struct moved *m)
{
    struct client *c = &m->rig->client;
    struct wire_create_in in = {.flags = O_RDWR | O_CREAT | O_TRUNC, .mode = 0644};
    int rc = client_call_name(c, FUSE_CREATE, FUSE_ROOT_ID, &in, sizeof(in), "file");
    if (rc != 0)
        return rc;
    struct wire_create_out out;
    memcpy(&out, c->reply, sizeof(out));
    assert_int_equal(out.entry.nodeid, m->rig->file);
    return client_release(c, out.entry.nodeid, out.open.fh);
}

static int allocate(struct moved *m)
{
    struct wire_fallocate_in in = {.fh = m->fh, .length = 4096};
    return client_call(&m->rig->client, FUSE_FALLOCATE, m->rig->file, &in, sizeof(in));
}

static int copy_into_it(struct moved *m)
{
    struct client *c = &m->rig->client;
    uint64_t other = client_find(c, "other"), fh;
    assert_int_equal(client_open(c, other, O_RDONLY, &fh), 0);
    struct wire_copy_file_range_in in = {.fh_in = fh, .fh_out = m->fh, .nodeid_out = m->rig->file, .len = 3};
    int rc = client_call(c, FUSE_COPY_FILE_RANGE, other, &in, sizeof(in));
    assert_int_equal(client_release(c, other, fh), 0);
    return rc;
}

static int (*const changes[])(struct moved *) = {write_it,     cut_it,         give_it_to_another,
                                                 open_and_cut, create_over_it, give_it_to_another_group,
                                                 allocate,     copy_into_it};
#define CHANGES (sizeof(changes) / sizeof(changes[0]))

/* ---- tests ---- */

static void each_change_ends_the_capability(void **state)
{
    struct moved *m = *state;
    fake_fs_add_file(m->rig->fake, "other", "other", 5);
    for (size_t i = 0; i < CHANGES; i++) {
        /* Set behind the server's back: another guest may do that at any time. */
        fake_fs_set_host_xattr(m->rig->fake, "file", HOST);
        assert_int_equal(changes[i](m), 0);
        if (fake_fs_has_host_xattr(m->rig->fake, "file", HOST))
            fail_msg("change %zu leaves it", i);
        assert_int_equal(changes[i](m), 0); /* with none there, too */
    }
}

static void a_change_fails_where_the_capability_cannot_be_ended(void **state)
{
    struct moved *m = *state;
    fake_fs_add_file(m->rig->fake, "other", "other", 5);
    fake_fs_set_host_xattr(m->rig->fake, "file", HOST);
    for (size_t i = 0; i < CHANGES; i++) {
        fake_fs_fail(m->rig->fake, FAKE_REMOVEXATTR, -EACCES, 1);
        assert_int_equal(changes[i](m), -EACCES);
    }
    assert_int_equal(fake_fs_calls(m->rig->fake, FAKE_WRITE), 0);
    assert_int_equal(fake_fs_calls(m->rig->fake, FAKE_SETATTR), 0);
    assert_int_equal(fake_fs_calls(m->rig->fake, FAKE_FALLOCATE), 0);
    assert_int_equal(fake_fs_calls(m->rig->fake, FAKE_COPY), 0);
    assert_int_equal(fake_fs_handles(m->rig->fake), 1);
    /* One that may not be read may be there. */
    fake_fs_fail(m->rig->fake, FAKE_GETXATTR, -EACCES, 1);
    assert_int_equal(write_it(m), 0);
    assert_false(fake_fs_has_host_xattr(m->rig->fake, "file", HOST));
    /* The list tells that without reading it. */
    fake_fs_fail(m->rig->fake, FAKE_GETXATTR, -EACCES, 1);
    fake_fs_fail(m->rig->fake, FAKE_REMOVEXATTR, -EACCES, 1);
    assert_int_equal(write_it(m), 0);
    fake_fs_fail(m->rig->fake, FAKE_REMOVEXATTR, 0, 0);
    /* A file system without attributes has none. */
    fake_fs_fail(m->rig->fake, FAKE_GETXATTR, -EOPNOTSUPP, 1);
    assert_int_equal(write_it(m), 0);
}

static void nothing_else_ends_it(void **state)
{
    struct moved *m = *state;
    uint64_t fh;
    uint32_t written;
    struct client *c = &m->rig->client;
    fake_fs_set_host_xattr(m->rig->fake, "file", HOST);
    assert_int_equal(set_attr(m, FUSE_SET_MODE), 0);
    assert_int_equal(client_read(c, m->rig->file, m->fh, 0, 5), 0);
    assert_int_equal(client_open(c, m->rig->file, O_RDWR, &fh), 0);
    assert_int_equal(client_release(c, m->rig->file, fh), 0);
    assert_int_equal(client_write(c, m->rig->file, m->fh, 0, "", 0, &written), 0);
    assert_int_equal(client_open(c, m->rig->file, O_RDONLY, &fh), 0);
    assert_int_equal(client_write(c, m->rig->file, fh, 0, "x", 1, &written), -EBADF);
    assert_int_equal(client_release(c, m->rig->file, fh), 0);
    assert_true(fake_fs_has_host_xattr(m->rig->fake, "file", HOST));
}

/* Under its own name it is the back-end's, and nothing is asked. */
static void it_costs_nothing_where_nothing_is_moved(void **state)
{
    struct moved *m = *state;
    fake_fs_add_file(m->rig->fake, "other", "other", 5);
    fake_fs_set_host_xattr(m->rig->fake, "file", GUEST);
    for (size_t i = 0; i < CHANGES; i++)
        assert_int_equal(changes[i](m), 0);
    assert_int_equal(fake_fs_calls(m->rig->fake, FAKE_GETXATTR), 0);
    assert_int_equal(fake_fs_calls(m->rig->fake, FAKE_REMOVEXATTR), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_change_ends_the_capability, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_change_fails_where_the_capability_cannot_be_ended, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nothing_else_ends_it, set_up, tear_down),
        {"it_costs_nothing_with_a_map_that_keeps_it", it_costs_nothing_where_nothing_is_moved, set_up_unmoved,
         tear_down, NULL},
        {"it_costs_nothing_without_a_map", it_costs_nothing_where_nothing_is_moved, set_up_without, tear_down,
         NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
