#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cmocka_all.h"
#include "rig.h"

static const struct wire_entry_out *entry_of(const struct client *c)
{
    assert_true(c->payload_len >= sizeof(struct wire_entry_out));
    return c->reply;
}

static void mkdir_mknod_symlink_link(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_mkdir_in mkdir_in = {.mode = S_IFDIR | 01777, .umask = 022};
    assert_int_equal(client_call_name(c, FUSE_MKDIR, rig->folder, &mkdir_in, sizeof(mkdir_in), "sub"), 0);
    assert_int_equal(entry_of(c)->attr.mode, S_IFDIR | 01755);
    assert_int_equal(fake_fs_seen(rig->fake)->mode, 01777);
    assert_int_equal(fake_fs_seen(rig->fake)->umask, 022);
    assert_int_equal(client_call_name(c, FUSE_MKDIR, rig->folder, &mkdir_in, sizeof(mkdir_in), "sub"),
                     -EEXIST);
    struct wire_mknod_in mknod_in = {.mode = 0640};
    assert_int_equal(client_call_name(c, FUSE_MKNOD, rig->folder, &mknod_in, sizeof(mknod_in), "f"), 0);
    assert_int_equal(entry_of(c)->attr.mode, S_IFREG | 0640);
    mknod_in = (struct wire_mknod_in){.mode = S_IFCHR | 0600, .rdev = 0x103};
    assert_int_equal(client_call_name(c, FUSE_MKNOD, rig->folder, &mknod_in, sizeof(mknod_in), "c"), 0);
    assert_int_equal(fake_fs_seen(rig->fake)->rdev, 0x103);
    mknod_in.mode = S_IFDIR | 0700;
    assert_int_equal(client_call_name(c, FUSE_MKNOD, rig->folder, &mknod_in, sizeof(mknod_in), "d"), -EINVAL);
    mknod_in.mode = S_IFLNK | 0700;
    assert_int_equal(client_call_name(c, FUSE_MKNOD, rig->folder, &mknod_in, sizeof(mknod_in), "l"), -EINVAL);
    struct wire_link_in link_in = {.oldnodeid = rig->file};
    assert_int_equal(client_call_name(c, FUSE_LINK, rig->folder, &link_in, sizeof(link_in), "hard"), 0);
    assert_int_equal(entry_of(c)->nodeid, rig->file); /* hard links are one node */
    assert_int_equal(entry_of(c)->attr.nlink, 2);
    link_in.oldnodeid = 99999;
    assert_int_equal(client_call_name(c, FUSE_LINK, rig->folder, &link_in, sizeof(link_in), "x"), -ENOENT);
}

static void symlink_target_is_any_text(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct part parts[] = {{"ln", 3}, {"/etc/../../passwd", 18}};
    assert_int_equal(client_send(c, FUSE_SYMLINK, FUSE_ROOT_ID, parts, 2), 0);
    parts[0] = (struct part){"l2", 3};
    parts[1] = (struct part){"", 1};
    assert_int_equal(client_send(c, FUSE_SYMLINK, FUSE_ROOT_ID, parts, 2), -EINVAL);
    static char longest[4097];
    memset(longest, 'x', 4096);
    parts[1] = (struct part){longest, 4097};
    assert_int_equal(client_send(c, FUSE_SYMLINK, FUSE_ROOT_ID, parts, 2), -ENAMETOOLONG);
    parts[1] = (struct part){longest + 1, 4096};
    assert_int_equal(client_send(c, FUSE_SYMLINK, FUSE_ROOT_ID, parts, 2), 0);
}

static void unlink_and_rmdir(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    assert_int_equal(client_call_name(c, FUSE_RMDIR, FUSE_ROOT_ID, NULL, 0, "file"), -ENOTDIR);
    assert_int_equal(client_call_name(c, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "folder"), -EISDIR);
    assert_int_equal(client_call_name(c, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "file"), 0);
    assert_int_equal(client_call_name(c, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "file"), -ENOENT);
    assert_int_equal(client_call_name(c, FUSE_RMDIR, FUSE_ROOT_ID, NULL, 0, "folder"), 0);
    assert_int_equal(client_getattr(c, rig->file, NULL), 0); /* the guest knows it still */
}

static int rename2(struct client *c, uint64_t newdir, uint32_t flags, const char *names, size_t len)
{
    struct wire_rename2_in in = {.newdir = newdir, .flags = flags};
    struct part parts[] = {{&in, sizeof(in)}, {names, len}};
    return client_send(c, FUSE_RENAME2, FUSE_ROOT_ID, parts, 2);
}

static void renames(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_rename_in in = {.newdir = rig->folder};
    struct part parts[] = {{&in, sizeof(in)}, {"file\0moved", 11}};
    assert_int_equal(client_send(c, FUSE_RENAME, FUSE_ROOT_ID, parts, 2), 0);
    struct wire_entry_out entry;
    assert_int_equal(client_lookup(c, rig->folder, "moved", &entry), 0);
    assert_int_equal(entry.nodeid, rig->file);
    fake_fs_add_file(rig->fake, "a", "", 0);
    assert_int_equal(rename2(c, rig->folder, RENAME_NOREPLACE, "a\0moved", 8), -EEXIST);
    assert_int_equal(fake_fs_seen(rig->fake)->flags, RENAME_NOREPLACE);
    assert_int_equal(rename2(c, rig->folder, RENAME_EXCHANGE, "a\0moved", 8), 0);
    assert_int_equal(rename2(c, rig->folder, 8, "a\0moved", 8), -EINVAL);
    assert_int_equal(rename2(c, 4711, 0, "a\0b", 4), -ENOENT);
    assert_int_equal(rename2(c, rig->folder, 0, "a", 2), -EINVAL);
    assert_int_equal(rename2(c, rig->folder, 0, "a\0b", 3), -EINVAL);
}

static void create_makes_node_and_handle(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_create_in in = {.flags = O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_APPEND,
                                .mode = S_IFREG | 0666,
                                .umask = 022,
                                .open_flags = 1};
    assert_int_equal(client_call_name(c, FUSE_CREATE, rig->folder, &in, sizeof(in), "new"), 0);
    assert_int_equal(c->payload_len, 144);
    struct wire_create_out out;
    memcpy(&out, c->reply, sizeof(out));
    const struct fake_seen *seen = fake_fs_seen(rig->fake);
    assert_int_equal(seen->flags, O_RDWR | O_EXCL);
    assert_int_equal(seen->mode, 0666);
    assert_int_equal(seen->kill, ORIEL_FS_KILL_SUIDGID);
    uint32_t written;
    assert_int_equal(client_write(c, out.entry.nodeid, out.open.fh, 0, "data", 4, &written), 0);
    assert_int_equal(client_release(c, out.entry.nodeid, out.open.fh), 0);
    client_forget(c, out.entry.nodeid, 1);
    assert_int_equal(client_getattr(c, out.entry.nodeid, NULL), -ESTALE);
}

/* The ESTALE of a CREATE is of the file that it met as a rule: its folder is still the guest's folder. */
static void estale_of_a_name_is_not_of_its_folder(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_create_in in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0666};
    struct wire_entry_out entry;
    fake_fs_fail(rig->fake, FAKE_CREATE, -ESTALE, 2);
    assert_int_equal(client_call_name(c, FUSE_CREATE, rig->folder, &in, sizeof(in), "new"), -ESTALE);
    assert_int_equal(client_lookup(c, FUSE_ROOT_ID, "folder", &entry), 0);
    assert_int_equal(entry.nodeid, rig->folder);
    /* Of one that is gone itself the name leads to another node. */
    fake_fs_fail(rig->fake, FAKE_GETATTR, -ESTALE, 1);
    assert_int_equal(client_call_name(c, FUSE_CREATE, rig->folder, &in, sizeof(in), "new"), -ESTALE);
    assert_int_equal(client_lookup(c, FUSE_ROOT_ID, "folder", &entry), 0);
    assert_int_not_equal(entry.nodeid, rig->folder);
}

static void tmpfile_ignores_its_name(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_create_in in = {.flags = O_RDWR, .mode = S_IFREG | 0600};
    assert_int_equal(client_call_name(c, FUSE_TMPFILE, FUSE_ROOT_ID, &in, sizeof(in), "/"), 0);
    struct wire_create_out out;
    memcpy(&out, c->reply, sizeof(out));
    assert_int_equal(client_release(c, out.entry.nodeid, out.open.fh), 0);
}

static void create_that_goes_wrong_leaves_nothing(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_create_in in = {.flags = O_RDWR, .mode = S_IFREG | 0600};
    fake_fs_fail(rig->fake, FAKE_INODE_OPEN, -ENFILE, 1);
    assert_int_equal(client_call_name(c, FUSE_CREATE, FUSE_ROOT_ID, &in, sizeof(in), "n1"), -ENFILE);
    assert_false(fake_fs_seen(rig->fake)->with_inode);
    assert_int_equal(fake_fs_handles(rig->fake), 0);
    fake_fs_fail(rig->fake, FAKE_CREATE, -EDQUOT, 1);
    assert_int_equal(client_call_name(c, FUSE_CREATE, FUSE_ROOT_ID, &in, sizeof(in), "n2"), -EDQUOT);
    struct oriel_fuse_stats stats;
    oriel_fuse_server_stats(rig->server, &stats);
    assert_int_equal(stats.handles, 0);
    assert_int_equal(stats.nodes, 2);
}

/* Handles are set aside first: no file is made that could not be handed out. */
static void no_file_is_made_without_a_handle(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = rig_options();
    options.max_handles = 1;
    struct rig *rig = rig_new(&options, true);
    struct client *c = &rig->client;
    struct wire_create_in in = {.flags = O_RDWR, .mode = S_IFREG | 0600};
    uint64_t fh, other;
    assert_int_equal(client_open(c, rig->file, 0, &fh), 0);
    assert_int_equal(client_open(c, rig->file, 0, &other), -ENFILE);
    assert_int_equal(client_opendir(c, rig->folder, &other), -ENFILE);
    assert_int_equal(client_call_name(c, FUSE_CREATE, FUSE_ROOT_ID, &in, sizeof(in), "n"), -ENFILE);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_CREATE), 0);
    assert_int_equal(client_release(c, rig->file, fh), 0);
    assert_int_equal(client_open(c, rig->file, 0, &fh), 0);
    rig_free(rig);
}

/* ---- extensions ---- */

static size_t put_groups(uint8_t *at, uint32_t told, const uint32_t *groups, uint32_t count)
{
    uint32_t header[3] = {(uint32_t)(12 + 4 * count), WIRE_EXT_GROUPS, told};
    memcpy(at, header, 12);
    memcpy(at + 12, groups, 4 * (size_t)count);
    return (12 + 4 * (size_t)count + 7) & ~(size_t)7;
}

static size_t put_label(uint8_t *at, const char *name, const char *value, uint32_t value_len)
{
    size_t len = (8 + strlen(name) + 1 + value_len + 7) & ~(size_t)7;
    uint32_t header[4] = {(uint32_t)(8 + len), 1, value_len, 0};
    memset(at, 0, 8 + len);
    memcpy(at, header, 16);
    memcpy(at + 16, name, strlen(name) + 1);
    memcpy(at + 16 + strlen(name) + 1, value, value_len);
    return 8 + len;
}

static int mkdir_with(struct client *c, const char *name, const uint8_t *ext, size_t len, bool told)
{
    struct wire_mkdir_in in = {.mode = 0755};
    struct part parts[] = {{&in, sizeof(in)}, {name, strlen(name) + 1}, {ext, len}};
    c->extlen = told ? (uint16_t)(len / 8) : 0;
    int rc = client_send(c, FUSE_MKDIR, FUSE_ROOT_ID, parts, 3);
    c->extlen = 0;
    return rc;
}

static void extensions_reach_the_backend(void **state)
{
    struct rig *rig = *state;
    const struct fake_seen *seen = fake_fs_seen(rig->fake);
    _Alignas(8) uint8_t ext[512];
    uint32_t groups[] = {4, 5};
    size_t len = put_label(ext, "security.selinux", "ctx:a", 5);
    len += put_groups(ext + len, 2, groups, 2);
    assert_int_equal(mkdir_with(&rig->client, "d1", ext, len, true), 0);
    assert_int_equal(seen->group_count, 2);
    assert_int_equal(seen->groups[1], 5);
    assert_string_equal(seen->security_name, "security.selinux");
    assert_int_equal(seen->security_len, 5);
    assert_memory_equal(seen->security_value, "ctx:a", 5);
    /* Before 7.38 the length is not told. */
    len = put_label(ext, "security.selinux", "b", 1);
    assert_int_equal(mkdir_with(&rig->client, "d2", ext, len, false), 0);
    assert_memory_equal(seen->security_value, "b", 1);
    assert_int_equal(mkdir_with(&rig->client, "d3", ext, 0, false), 0);
    assert_int_equal(seen->group_count, 0);
    assert_string_equal(seen->security_name, "");
    /* An empty block: labels negotiated, none for this one. */
    uint32_t none[2] = {8, 0};
    assert_int_equal(mkdir_with(&rig->client, "d4", (const uint8_t *)none, 8, true), 0);
}

static void a_label_follows_the_map(void **state)
{
    (void)state;
    static const struct {
        const char *rules;
        int result;
        const char *seen;
    } cases[] = {{":map::user.virtiofs.:", 0, "user.virtiofs.security.selinux"},
                 {":bad:all:security.:security.: :ok:all:::", -EPERM, NULL},
                 {":unsupported:all:security.:security.: :ok:all:::", 0, ""},
                 {":ok:all:::", 0, "security.selinux"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct oriel_xattr_map *map = NULL;
        assert_int_equal(oriel_xattr_map_create(cases[i].rules, &map, NULL, 0), 0);
        struct oriel_fuse_server_options options = rig_options();
        options.posix_acl = false;
        options.xattr_map = map;
        struct rig *rig = rig_new(&options, true);
        _Alignas(8) uint8_t ext[64];
        size_t len = put_label(ext, "security.selinux", "ctx:a", 5);
        assert_int_equal(mkdir_with(&rig->client, "d", ext, len, true), cases[i].result);
        if (cases[i].seen != NULL)
            assert_string_equal(fake_fs_seen(rig->fake)->security_name, cases[i].seen);
        assert_int_equal(fake_fs_calls(rig->fake, FAKE_MKDIR), cases[i].result == 0);
        rig_free(rig);
        oriel_xattr_map_destroy(map);
    }
}

static void extensions_not_agreed_on_are_ignored(void **state)
{
    struct rig *rig = *state;
    client_init_with(&rig->client, FUSE_INIT_EXT);
    uint8_t ext[64];
    uint32_t groups[] = {0};
    size_t len = put_groups(ext, 1, groups, 1);
    assert_int_equal(mkdir_with(&rig->client, "d1", ext, len, true), 0);
    assert_int_equal(fake_fs_seen(rig->fake)->group_count, 0);
}

static void false_extensions_are_refused(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint8_t ext[1024] = {0};
    uint32_t groups[40] = {0};
    size_t len = put_groups(ext, 33, groups, 33); /* more than we take */
    assert_int_equal(mkdir_with(c, "e", ext, len, true), -EINVAL);
    len = put_groups(ext, 0x40000001, groups, 1); /* count says more than is there */
    assert_int_equal(mkdir_with(c, "e", ext, len, true), -EINVAL);
    len = put_groups(ext, 1, groups, 1);
    len += put_groups(ext + len, 1, groups, 1); /* twice */
    assert_int_equal(mkdir_with(c, "e", ext, len, true), -EINVAL);
    len = put_label(ext, "security.x", "v", 1);
    ext[8] = 0xff; /* size of the value */
    assert_int_equal(mkdir_with(c, "e", ext, len, true), -EINVAL);
    len = put_label(ext, "security.x", "v", 1);
    ext[0] = 4; /* block shorter than its header */
    assert_int_equal(mkdir_with(c, "e", ext, len, true), -EINVAL);
    len = put_label(ext, "security.x", "v", 1);
    ext[1] = 0x10; /* block longer than the request */
    assert_int_equal(mkdir_with(c, "e", ext, len, true), -EINVAL);
    memset(ext, 'x', 64); /* a name without end */
    uint32_t header[4] = {40, 1, 0, 0};
    memcpy(ext, header, 16);
    assert_int_equal(mkdir_with(c, "e", ext, 40, true), -EINVAL);
    c->extlen = 100; /* says more than the request has */
    assert_int_equal(client_call_name(c, FUSE_MKDIR, FUSE_ROOT_ID, header, 8, "e"), -EINVAL);
    c->extlen = 0;
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_MKDIR), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mkdir_mknod_symlink_link, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(symlink_target_is_any_text, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(unlink_and_rmdir, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(renames, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(create_makes_node_and_handle, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(estale_of_a_name_is_not_of_its_folder, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(tmpfile_ignores_its_name, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(create_that_goes_wrong_leaves_nothing, rig_setup, rig_teardown),
        cmocka_unit_test(no_file_is_made_without_a_handle),
        cmocka_unit_test_setup_teardown(extensions_reach_the_backend, rig_setup, rig_teardown),
        cmocka_unit_test(a_label_follows_the_map),
        cmocka_unit_test_setup_teardown(extensions_not_agreed_on_are_ignored, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(false_extensions_are_refused, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
