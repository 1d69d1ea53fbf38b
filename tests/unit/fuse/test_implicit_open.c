#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cmocka_all.h"
#include "rig.h"

static struct oriel_fuse_server_options implicit_options(void)
{
    struct oriel_fuse_server_options options = rig_options();
    options.read_only = true;
    options.cache = ORIEL_CACHE_ALWAYS;
    options.no_open = true;
    return options;
}

static int setup(void **state)
{
    struct oriel_fuse_server_options options = implicit_options();
    *state = rig_new(&options, true);
    return 0;
}

static int list(struct client *c, uint64_t nodeid)
{
    struct wire_read_in in = {.size = 4096};
    return client_call(c, FUSE_READDIRPLUS, nodeid, &in, sizeof(in));
}

static void files_are_used_without_open(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDONLY, &fh), -ENOSYS);
    assert_int_equal(client_opendir(c, rig->folder, &fh), -ENOSYS);
    assert_int_equal(fake_fs_handles(rig->fake), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(client_read(c, rig->file, 0, 1, 100), 0);
        assert_memory_equal(c->reply, "ello", 4);
        assert_int_equal(list(c, FUSE_ROOT_ID), 0);
        assert_true(c->payload_len > 4 * sizeof(struct wire_direntplus));
    }
    assert_int_equal(fake_fs_handles(rig->fake), 2); /* kept for the next read */
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_OPEN), 1);
    assert_int_equal(fake_fs_seen(rig->fake)->uid, 1000); /* of the lookups; the open was the server's own */
    struct wire_flush_in flush = {0};
    struct wire_fsync_in sync = {0};
    struct wire_getattr_in getattr = {.getattr_flags = FUSE_GETATTR_FH};
    assert_int_equal(client_call(c, FUSE_FLUSH, rig->file, &flush, sizeof(flush)), 0);
    assert_int_equal(client_call(c, FUSE_FSYNC, rig->file, &sync, sizeof(sync)), 0);
    assert_int_equal(client_call(c, FUSE_FSYNCDIR, rig->folder, &sync, sizeof(sync)), 0);
    assert_int_equal(client_call(c, FUSE_GETATTR, rig->file, &getattr, sizeof(getattr)), 0);
    assert_int_equal(client_write(c, rig->file, 0, 0, "x", 1, NULL), -EROFS);
}

static void nonsense_is_refused_as_ever(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    assert_int_equal(client_read(c, 4711, 0, 0, 10), -ENOENT);
    assert_int_equal(client_read(c, rig->file, 99, 0, 10), -EBADF);
    assert_int_equal(client_read(c, rig->folder, 0, 0, 10), -EBADF);
    assert_int_equal(list(c, rig->file), -ENOTDIR);
    fake_fs_fail(rig->fake, FAKE_OPEN, -EMFILE, 1);
    assert_int_equal(client_read(c, rig->file, 0, 0, 10), -EMFILE);
    assert_int_equal(client_read(c, rig->file, 0, 0, 10), 0);
    assert_int_equal(client_release(c, rig->file, 0), -EBADF);
}

static void only_so_many_stay_open(void **state)
{
    struct rig *rig = *state;
    enum { FILES = 2000 };
    for (int i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%d", i);
        fake_fs_add_file(rig->fake, name, name, strlen(name));
        uint64_t nodeid = client_find(&rig->client, name);
        assert_int_equal(client_read(&rig->client, nodeid, 0, 0, 16), 0);
        assert_memory_equal(rig->client.reply, name, strlen(name));
        client_forget(&rig->client, nodeid, 1);
    }
    assert_true(fake_fs_handles(rig->fake) <= 256);
    assert_int_equal(client_call(&rig->client, FUSE_DESTROY, 0, NULL, 0), 0);
    assert_int_equal(fake_fs_handles(rig->fake), 0);
    client_init(&rig->client);
    rig->file = client_find(&rig->client, "file");
    assert_int_equal(client_read(&rig->client, rig->file, 0, 0, 5), 0);
}

static void only_where_it_is_safe(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct oriel_fuse_server_options options = implicit_options();
        uint64_t fh, flags = CLIENT_ALL_FLAGS;
        if (i == 0)
            options.read_only = false;
        if (i == 1)
            options.cache = ORIEL_CACHE_AUTO;
        if (i == 2)
            options.no_open = false;
        if (i == 3)
            flags &= ~FUSE_NO_OPEN_SUPPORT;
        struct rig *rig = rig_new(&options, false);
        client_init_with(&rig->client, flags);
        rig->file = client_find(&rig->client, "file");
        assert_int_equal(client_open(&rig->client, rig->file, O_RDONLY, &fh), 0);
        assert_int_equal(client_read(&rig->client, rig->file, 0, 0, 5), -EBADF);
        rig_free(rig);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_are_used_without_open, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(nonsense_is_refused_as_ever, setup, rig_teardown),
        cmocka_unit_test_setup_teardown(only_so_many_stay_open, setup, rig_teardown),
        cmocka_unit_test(only_where_it_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
