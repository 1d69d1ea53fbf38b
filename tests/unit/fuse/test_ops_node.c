#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "rig.h"

static uint64_t count_nodes(struct rig *rig, uint64_t *lookups)
{
    struct oriel_fuse_stats stats;
    oriel_fuse_server_stats(rig->server, &stats);
    *lookups = stats.lookups;
    return stats.nodes;
}

static void lookups_are_counted_exactly(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_entry_out entry;
    uint64_t lookups;
    for (int i = 0; i < 9; i++) {
        assert_int_equal(client_lookup(c, FUSE_ROOT_ID, "file", &entry), 0);
        assert_int_equal(entry.nodeid, rig->file);
        assert_int_equal(entry.attr.size, 5);
    }
    assert_int_equal(count_nodes(rig, &lookups), 2);
    assert_int_equal(lookups, 11);
    client_forget(c, rig->file, 9);
    assert_int_equal(client_getattr(c, rig->file, NULL), 0);
    client_forget(c, rig->file, 1);
    assert_int_equal(client_getattr(c, rig->file, NULL), -ESTALE);
    assert_int_equal(count_nodes(rig, &lookups), 1);
    assert_int_equal(lookups, 1);
    assert_int_equal(fake_fs_inodes(rig->fake), 2);
    assert_int_equal(client_lookup(c, FUSE_ROOT_ID, "file", &entry), 0);
    assert_int_not_equal(entry.nodeid, rig->file); /* another generation */
}

static void a_handle_keeps_its_file_when_the_guest_forgets_it(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    struct wire_entry_out entry;
    assert_int_equal(client_open(c, rig->file, 0, &fh), 0);
    client_forget(c, rig->file, 1);
    assert_int_equal(client_getattr(c, rig->file, NULL), -ESTALE);
    assert_int_equal(client_read(c, rig->file, fh, 0, 5), 0);
    /* Found again it is the same node, not a second one. */
    assert_int_equal(client_lookup(c, FUSE_ROOT_ID, "file", &entry), 0);
    assert_int_equal(entry.nodeid, rig->file);
    client_forget(c, rig->file, 1);
    assert_int_equal(client_release(c, rig->file, fh), 0);
    assert_int_equal(fake_fs_inodes(rig->fake), 2);
}

static void a_lookup_whose_reply_fails_does_not_count(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t lookups;
    c->room = 16 + 127;
    assert_int_equal(client_lookup(c, FUSE_ROOT_ID, "file", NULL), -EINVAL);
    c->room = CLIENT_BUFFER;
    count_nodes(rig, &lookups);
    assert_int_equal(lookups, 2);
}

static void failures_of_the_backend_leave_nothing(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    fake_fs_add_file(rig->fake, "new", "", 0);
    fake_fs_fail(rig->fake, FAKE_INODE_OPEN, -EMFILE, 1);
    assert_int_equal(client_lookup(c, FUSE_ROOT_ID, "new", NULL), -EMFILE);
    fake_fs_fail(rig->fake, FAKE_LOOKUP, -EACCES, 1);
    assert_int_equal(client_lookup(c, FUSE_ROOT_ID, "new", NULL), -EACCES);
    assert_int_equal(fake_fs_holds(rig->fake), 0);
    assert_int_equal(client_lookup(c, FUSE_ROOT_ID, "new", NULL), 0);
}

static void the_guest_can_hold_only_so_many_nodes(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = rig_options();
    options.max_nodes = 2;
    struct rig *rig = rig_new(&options, true);
    fake_fs_add_file(rig->fake, "third", "", 0);
    assert_int_equal(client_lookup(&rig->client, FUSE_ROOT_ID, "third", NULL), -ENFILE);
    client_forget(&rig->client, rig->file, 1);
    assert_int_equal(client_lookup(&rig->client, FUSE_ROOT_ID, "third", NULL), 0);
    rig_free(rig);
}

static void names_that_are_not_there(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(client_lookup(&rig->client, FUSE_ROOT_ID, "nope", NULL), -ENOENT);
    struct oriel_fuse_server_options options = rig_options();
    options.negative_timeout_ns = 1500000000;
    struct rig *negative = rig_new(&options, true);
    struct wire_entry_out entry;
    assert_int_equal(client_lookup(&negative->client, FUSE_ROOT_ID, "nope", &entry), 0);
    assert_int_equal(entry.nodeid, 0);
    assert_int_equal(entry.entry_valid, 1);
    assert_int_equal(entry.entry_valid_nsec, 500000000);
    assert_int_equal(client_lookup(&negative->client, FUSE_ROOT_ID, "file", &entry), 0);
    assert_int_equal(entry.entry_valid, 0); /* one timeout given: the others are what they say */
    rig_free(negative);
}

/* Else Linux drops the entry under a CREATE, and two processes that append to the new file can lose data. */
static void a_missing_name_stays_missing_for_a_moment_with_write_back(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = rig_options();
    options.writeback = true;
    struct rig *rig = rig_new(&options, true);
    struct wire_entry_out entry;
    assert_int_equal(client_lookup(&rig->client, FUSE_ROOT_ID, "nope", &entry), 0);
    assert_int_equal(entry.nodeid, 0);
    assert_int_equal(entry.entry_valid, 0);
    assert_int_equal(entry.entry_valid_nsec, 10000000);
    rig_free(rig);
}

static void timeouts_follow_the_cache_mode(void **state)
{
    (void)state;
    static const struct {
        enum oriel_cache_mode mode;
        uint64_t seconds;
    } expected[] = {{ORIEL_CACHE_NEVER, 0},
                    {ORIEL_CACHE_AUTO, 1},
                    {ORIEL_CACHE_METADATA, 86400},
                    {ORIEL_CACHE_ALWAYS, 86400}};
    for (size_t i = 0; i < 4; i++) {
        struct oriel_fuse_server_options options = rig_options();
        options.cache = expected[i].mode;
        struct rig *rig = rig_new(&options, true);
        struct wire_entry_out entry;
        struct wire_attr_out attr;
        assert_int_equal(client_lookup(&rig->client, FUSE_ROOT_ID, "file", &entry), 0);
        assert_int_equal(entry.entry_valid, expected[i].seconds);
        assert_int_equal(entry.attr_valid, expected[i].seconds);
        assert_int_equal(client_getattr(&rig->client, rig->file, &attr), 0);
        assert_int_equal(attr.attr_valid, expected[i].seconds);
        rig_free(rig);
    }
}

/* An NFS server in the guest finds nodes again by "." and walks up by "..". */
static void dots_find_nodes_again(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_entry_out entry;
    uint64_t lookups;
    assert_int_equal(client_lookup(c, rig->file, ".", &entry), 0);
    assert_int_equal(entry.nodeid, rig->file);
    assert_int_equal(client_lookup(c, rig->folder, "..", &entry), 0);
    assert_int_equal(entry.nodeid, FUSE_ROOT_ID);
    assert_int_equal(client_lookup(c, FUSE_ROOT_ID, "..", &entry), 0);
    assert_int_equal(entry.nodeid, FUSE_ROOT_ID);
    assert_int_equal(client_lookup(c, rig->file, "..", &entry), -ENOTDIR);
    count_nodes(rig, &lookups);
    assert_int_equal(lookups, 3); /* the root's are not counted */
    client_forget(c, rig->file, 1);
    assert_int_equal(client_getattr(c, rig->file, NULL), 0);
}

static void batch_forget_works_through_its_list(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    enum { FILES = 300 };
    struct wire_forget_one list[FILES];
    for (int i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%d", i);
        fake_fs_add_file(rig->fake, name, "", 0);
        list[i] = (struct wire_forget_one){.nodeid = client_find(c, name), .nlookup = 1};
    }
    struct wire_batch_forget_in in = {.count = FILES};
    struct part parts[] = {{&in, sizeof(in)}, {list, sizeof(list)}};
    client_send(c, FUSE_BATCH_FORGET, 0, parts, 2);
    assert_int_equal(c->reply_len, 0);
    uint64_t lookups;
    assert_int_equal(count_nodes(rig, &lookups), 2);
}

static void statx_tells_the_birth_time(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_statx_in in = {.sx_mask = STATX_BTIME};
    assert_int_equal(client_call(c, FUSE_STATX, rig->file, &in, sizeof(in)), 0);
    assert_int_equal(c->payload_len, 288);
    const struct wire_statx_out *out = c->reply;
    assert_int_equal(out->stat.mask, STATX_BASIC_STATS | STATX_BTIME);
    assert_int_equal(out->stat.btime.sec, 1234);
    assert_int_equal(out->stat.size, 5);
    assert_int_equal(out->stat.mode, S_IFREG | 0644);
}

static void getattr_by_handle(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_getattr_in in = {.getattr_flags = FUSE_GETATTR_FH};
    assert_int_equal(client_open(c, rig->file, 0, &in.fh), 0);
    assert_int_equal(client_call(c, FUSE_GETATTR, rig->file, &in, sizeof(in)), 0);
    assert_true(fake_fs_seen(rig->fake)->with_handle);
    uint64_t fh = in.fh, folder_fh;
    in.fh = 12345;
    assert_int_equal(client_call(c, FUSE_GETATTR, rig->file, &in, sizeof(in)), -EBADF);
    assert_int_equal(client_opendir(c, rig->folder, &folder_fh), 0);
    in.fh = folder_fh;
    assert_int_equal(client_call(c, FUSE_GETATTR, rig->folder, &in, sizeof(in)), 0);
    assert_false(fake_fs_seen(rig->fake)->with_handle);
    client_release(c, rig->file, fh);
    client_releasedir(c, rig->folder, folder_fh);
}

static void what_setattr_tells_of_a_file_without_a_name_is_not_cached(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_setattr_in in = {.valid = FUSE_SET_MTIME | FUSE_SET_CTIME, .mtime = 5};
    const struct wire_attr_out *out;
    assert_int_equal(client_call(c, FUSE_SETATTR, rig->file, &in, sizeof(in)), 0);
    out = c->reply;
    assert_int_equal(out->attr_valid, 1);
    assert_int_equal(client_call_name(c, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "file"), 0);
    assert_int_equal(client_call(c, FUSE_SETATTR, rig->file, &in, sizeof(in)), 0);
    out = c->reply;
    assert_int_equal(out->attr_valid, 0);
}

static void setattr_is_checked_and_passed_on(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_setattr_in in = {.valid = FUSE_SET_MODE | FUSE_SET_ATIME | FUSE_SET_LOCKOWNER | FUSE_SET_SIZE,
                                 .mode = S_IFDIR | 0600,
                                 .atime = 5,
                                 .atimensec = 6,
                                 .size = 3};
    assert_int_equal(client_call(c, FUSE_SETATTR, rig->file, &in, sizeof(in)), 0);
    const struct wire_attr_out *out = c->reply;
    assert_int_equal(out->attr.mode, S_IFREG | 0600);
    assert_int_equal(out->attr.size, 3);
    assert_int_equal(fake_fs_seen(rig->fake)->set,
                     ORIEL_FS_SET_MODE | ORIEL_FS_SET_ATIME | ORIEL_FS_SET_SIZE);
    assert_int_equal(fake_fs_seen(rig->fake)->attr.mode, 0600);
    assert_int_equal(fake_fs_seen(rig->fake)->attr.atime.nsec, 6);
    in = (struct wire_setattr_in){.valid = FUSE_SET_MTIME, .mtimensec = 1000000000};
    assert_int_equal(client_call(c, FUSE_SETATTR, rig->file, &in, sizeof(in)), -EINVAL);
    in = (struct wire_setattr_in){.valid = FUSE_SET_SIZE, .size = UINT64_C(1) << 63};
    assert_int_equal(client_call(c, FUSE_SETATTR, rig->file, &in, sizeof(in)), -EFBIG);
    in = (struct wire_setattr_in){.valid = FUSE_SET_UID, .uid = UINT32_MAX};
    assert_int_equal(client_call(c, FUSE_SETATTR, rig->file, &in, sizeof(in)), -EINVAL);
    in = (struct wire_setattr_in){.valid = FUSE_SET_FH, .fh = 77};
    assert_int_equal(client_call(c, FUSE_SETATTR, rig->file, &in, sizeof(in)), -EBADF);
}

static void readlink_gives_the_text(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct part parts[] = {{"ln", 3}, {"../some where", 14}};
    assert_int_equal(client_send(c, FUSE_SYMLINK, FUSE_ROOT_ID, parts, 2), 0);
    uint64_t nodeid = ((const struct wire_entry_out *)c->reply)->nodeid;
    assert_int_equal(client_call(c, FUSE_READLINK, nodeid, NULL, 0), 0);
    assert_int_equal(c->payload_len, 13);
    assert_memory_equal(c->reply, "../some where", 13);
    c->room = 20;
    assert_int_equal(client_call(c, FUSE_READLINK, nodeid, NULL, 0), -EIO);
    c->room = CLIENT_BUFFER;
    assert_int_equal(client_call(c, FUSE_READLINK, rig->file, NULL, 0), -EINVAL);
}

static void access_masks(void **state)
{
    struct rig *rig = *state;
    struct wire_access_in in = {.mask = R_OK | X_OK};
    assert_int_equal(client_call(&rig->client, FUSE_ACCESS, rig->file, &in, sizeof(in)), 0);
    in.mask = 8;
    assert_int_equal(client_call(&rig->client, FUSE_ACCESS, rig->file, &in, sizeof(in)), -EINVAL);
    fake_fs_fail(rig->fake, FAKE_ACCESS, -EACCES, 1);
    in.mask = R_OK;
    assert_int_equal(client_call(&rig->client, FUSE_ACCESS, rig->file, &in, sizeof(in)), -EACCES);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lookups_are_counted_exactly, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_handle_keeps_its_file_when_the_guest_forgets_it, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(a_lookup_whose_reply_fails_does_not_count, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(failures_of_the_backend_leave_nothing, rig_setup, rig_teardown),
        cmocka_unit_test(the_guest_can_hold_only_so_many_nodes),
        cmocka_unit_test_setup_teardown(names_that_are_not_there, rig_setup, rig_teardown),
        cmocka_unit_test(a_missing_name_stays_missing_for_a_moment_with_write_back),
        cmocka_unit_test(timeouts_follow_the_cache_mode),
        cmocka_unit_test_setup_teardown(dots_find_nodes_again, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(batch_forget_works_through_its_list, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(statx_tells_the_birth_time, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(getattr_by_handle, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(what_setattr_tells_of_a_file_without_a_name_is_not_cached, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(setattr_is_checked_and_passed_on, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(readlink_gives_the_text, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(access_masks, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
