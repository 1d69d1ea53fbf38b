#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmocka_all.h"
#include "rig.h"

#define FILES 500

static int read_dir(struct client *c, uint32_t opcode, uint64_t nodeid, uint64_t fh, uint64_t offset,
                    uint32_t size)
{
    struct wire_read_in in = {.fh = fh, .offset = offset, .size = size};
    return client_call(c, opcode, nodeid, &in, sizeof(in));
}

static void add_files(struct rig *rig, int count)
{
    for (int i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "%0*d", 1 + i % 40, i);
        fake_fs_add_file(rig->fake, name, "", 0);
    }
}

/* Lists the root with replies of `size` bytes; returns the number of entries. */
static int list(struct rig *rig, uint32_t opcode, uint32_t size, int *with_node)
{
    struct client *c = &rig->client;
    size_t header = opcode == FUSE_READDIR ? 0 : sizeof(struct wire_entry_out);
    uint64_t fh, offset = 0;
    int entries = 0;
    *with_node = 0;
    assert_int_equal(client_opendir(c, FUSE_ROOT_ID, &fh), 0);
    for (;;) {
        assert_int_equal(read_dir(c, opcode, FUSE_ROOT_ID, fh, offset, size), 0);
        assert_true(c->payload_len <= size);
        if (c->payload_len == 0)
            break;
        for (size_t at = 0; at < c->payload_len;) {
            const char *record = (const char *)c->reply + at;
            struct wire_dirent dirent;
            struct wire_entry_out entry = {0};
            memcpy(&entry, record, header);
            memcpy(&dirent, record + header, sizeof(dirent));
            assert_true(dirent.namelen > 0 && dirent.namelen <= 255);
            assert_true(dirent.off > offset);
            offset = dirent.off;
            entries++;
            if (entry.nodeid != 0) {
                (*with_node)++;
                assert_int_equal(entry.attr.ino, dirent.ino);
            }
            at += (header + sizeof(dirent) + dirent.namelen + 7) & ~(size_t)7;
            assert_true(at <= c->payload_len);
        }
    }
    assert_int_equal(client_releasedir(c, FUSE_ROOT_ID, fh), 0);
    return entries;
}

static void listing_gives_each_entry_once(void **state)
{
    struct rig *rig = *state;
    int nodes;
    add_files(rig, FILES);
    static const uint32_t sizes[] = {300, 512, 4096, 16384, 65536, 131072};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(list(rig, FUSE_READDIR, sizes[i], &nodes), FILES + 4);
        assert_int_equal(nodes, 0);
    }
}

/* Each delivered entry is one lookup, but "." and ".." are none. */
static void readdirplus_counts_what_it_delivers(void **state)
{
    struct rig *rig = *state;
    struct oriel_fuse_stats stats;
    int nodes;
    add_files(rig, FILES);
    static const uint32_t sizes[] = {300, 512, 4096, 65536};
    for (uint64_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(list(rig, FUSE_READDIRPLUS, sizes[i], &nodes), FILES + 4);
        assert_int_equal(nodes, FILES + 2);
        oriel_fuse_server_stats(rig->server, &stats);
        assert_int_equal(stats.lookups, 2 + (i + 1) * (FILES + 2));
        assert_int_equal(stats.nodes, FILES + 2);
    }
}

static void room_for_no_entry_is_not_the_end(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_opendir(c, FUSE_ROOT_ID, &fh), 0);
    assert_int_equal(read_dir(c, FUSE_READDIR, FUSE_ROOT_ID, fh, 0, 24), -EINVAL);
    assert_int_equal(read_dir(c, FUSE_READDIR, FUSE_ROOT_ID, fh, 0, 32), 0);
    assert_int_equal(c->payload_len, 32);
    assert_int_equal(read_dir(c, FUSE_READDIR, FUSE_ROOT_ID, fh, UINT64_MAX, 4096), -EINVAL);
    client_releasedir(c, FUSE_ROOT_ID, fh);
}

/* Out of nodes or descriptors: names must not vanish from listings. */
static void entries_without_a_node_are_listed_all_the_same(void **state)
{
    struct rig *rig = *state;
    int nodes;
    add_files(rig, 20);
    fake_fs_fail(rig->fake, FAKE_INODE_OPEN, -EMFILE, -1);
    assert_int_equal(list(rig, FUSE_READDIRPLUS, 65536, &nodes), 24);
    assert_int_equal(nodes, 2); /* those that were known */
    fake_fs_fail(rig->fake, FAKE_LOOKUP, -ENOENT, -1);
    assert_int_equal(list(rig, FUSE_READDIRPLUS, 65536, &nodes), 24);
    assert_int_equal(nodes, 0);
}

static void handles_have_a_kind_and_a_node(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t file_fh, folder_fh;
    assert_int_equal(client_opendir(c, rig->file, &folder_fh), -ENOTDIR);
    assert_int_equal(client_open(c, rig->folder, 0, &file_fh), -EBADF);
    assert_int_equal(client_open(c, rig->file, 0, &file_fh), 0);
    assert_int_equal(client_opendir(c, rig->folder, &folder_fh), 0);
    assert_int_equal(read_dir(c, FUSE_READDIR, rig->file, file_fh, 0, 4096), -EBADF);
    assert_int_equal(client_read(c, rig->folder, folder_fh, 0, 10), -EBADF);
    assert_int_equal(read_dir(c, FUSE_READDIR, FUSE_ROOT_ID, folder_fh, 0, 4096), -EBADF);
    assert_int_equal(client_releasedir(c, rig->file, file_fh), -EBADF);
    assert_int_equal(client_release(c, rig->folder, folder_fh), -EBADF);
    struct wire_fsync_in sync = {.fh = folder_fh};
    assert_int_equal(client_call(c, FUSE_FSYNCDIR, rig->folder, &sync, sizeof(sync)), 0);
    assert_int_equal(client_release(c, rig->file, file_fh), 0);
    assert_int_equal(client_release(c, rig->file, file_fh), -EBADF);
    assert_int_equal(client_releasedir(c, rig->folder, folder_fh), 0);
}

static void cache_mode_decides_what_opens_allow(void **state)
{
    (void)state;
    static const struct {
        enum oriel_cache_mode mode;
        uint32_t file, folder;
    } expected[] = {
        {ORIEL_CACHE_NEVER, FUSE_FOPEN_DIRECT_IO | FUSE_FOPEN_PARALLEL_DIRECT_WRITES, 0},
        {ORIEL_CACHE_AUTO, 0, 0},
        {ORIEL_CACHE_METADATA, FUSE_FOPEN_DIRECT_IO | FUSE_FOPEN_PARALLEL_DIRECT_WRITES,
         FUSE_FOPEN_CACHE_DIR | FUSE_FOPEN_KEEP_CACHE},
        {ORIEL_CACHE_ALWAYS, FUSE_FOPEN_KEEP_CACHE, FUSE_FOPEN_CACHE_DIR | FUSE_FOPEN_KEEP_CACHE},
    };
    for (size_t i = 0; i < 4; i++) {
        struct oriel_fuse_server_options options = rig_options();
        options.cache = expected[i].mode;
        struct rig *rig = rig_new(&options, true);
        uint64_t fh;
        assert_int_equal(client_open(&rig->client, rig->file, 0, &fh), 0);
        assert_int_equal(((const struct wire_open_out *)rig->client.reply)->open_flags, expected[i].file);
        assert_int_equal(client_opendir(&rig->client, rig->folder, &fh), 0);
        assert_int_equal(((const struct wire_open_out *)rig->client.reply)->open_flags, expected[i].folder);
        rig_free(rig); /* what is open is released by the server */
    }
}

static uint32_t opened_with(struct client *c, uint64_t nodeid, uint32_t flags)
{
    uint64_t fh;
    assert_int_equal(client_open(c, nodeid, flags, &fh), 0);
    uint32_t open_flags = ((const struct wire_open_out *)c->reply)->open_flags;
    client_release(c, nodeid, fh);
    return open_flags;
}

/* close() waits for FLUSH: where there is nothing to flush, the guest need not send it. */
static void files_open_for_reading_need_no_flush(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    assert_int_equal(opened_with(c, rig->file, 0) & FUSE_FOPEN_NOFLUSH, 0); /* POSIX locks go with it */
    client_init_with(c, CLIENT_ALL_FLAGS & ~FUSE_POSIX_LOCKS);
    rig->file = client_find(c, "file");
    assert_int_equal(opened_with(c, rig->file, 0) & FUSE_FOPEN_NOFLUSH, FUSE_FOPEN_NOFLUSH);
    assert_int_equal(opened_with(c, rig->file, 1) & FUSE_FOPEN_NOFLUSH, 0);
    assert_int_equal(opened_with(c, rig->file, 2) & FUSE_FOPEN_NOFLUSH, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(listing_gives_each_entry_once, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(readdirplus_counts_what_it_delivers, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(room_for_no_entry_is_not_the_end, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(entries_without_a_node_are_listed_all_the_same, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(handles_have_a_kind_and_a_node, rig_setup, rig_teardown),
        cmocka_unit_test(cache_mode_decides_what_opens_allow),
        cmocka_unit_test_setup_teardown(files_open_for_reading_need_no_flush, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
