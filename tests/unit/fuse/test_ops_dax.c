#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <oriel/mapper.h>

#include "cmocka_all.h"
#include "rig.h"

#define MIB    (UINT64_C(1) << 20)
#define WINDOW (64 * MIB)
#define RANGE  (2 * MIB)

struct dax_rig {
    struct rig *rig;
    struct oriel_recorder *recorder;
    struct oriel_dax *dax;
};

static struct dax_rig *dax_rig_new(bool read_only)
{
    static struct dax_rig d;
    struct oriel_fuse_server_options options = rig_options();
    options.read_only = read_only;
    d.rig = rig_new(&options, false);
    assert_int_equal(oriel_recorder_create(WINDOW, 16384, &d.recorder), 0);
    struct oriel_dax_options dax = {.size = sizeof(dax),
                                    .window_gpa = UINT64_C(1) << 32,
                                    .window_len = WINDOW,
                                    .read_only = read_only,
                                    .source = oriel_fuse_server_dax_source(d.rig->server),
                                    .mapper = oriel_recorder_mapper(d.recorder)};
    assert_int_equal(oriel_dax_create(&dax, &d.dax), 0);
    oriel_fuse_server_attach_dax(d.rig->server, d.dax);
    client_init(&d.rig->client);
    d.rig->file = client_find(&d.rig->client, "file");
    d.rig->folder = client_find(&d.rig->client, "folder");
    return &d;
}

static int setup(void **state)
{
    *state = dax_rig_new(false);
    return 0;
}

static int teardown(void **state)
{
    struct dax_rig *d = *state;
    assert_int_equal(oriel_recorder_counts(d->recorder).violations, 0);
    oriel_dax_destroy(d->dax);
    oriel_recorder_destroy(d->recorder);
    rig_free(d->rig);
    return 0;
}

static int map(struct dax_rig *d, uint64_t nodeid, uint64_t moffset, uint64_t flags)
{
    struct wire_setupmapping_in in = {.fh = ~UINT64_C(0), .len = RANGE, .flags = flags, .moffset = moffset};
    return client_call(&d->rig->client, FUSE_SETUPMAPPING, nodeid, &in, sizeof(in));
}

static int unmap(struct dax_rig *d, uint32_t told, const struct wire_removemapping_one *entries, size_t count)
{
    struct wire_removemapping_in in = {.count = told};
    struct part parts[] = {{&in, sizeof(in)}, {entries, count * sizeof(entries[0])}};
    return client_send(&d->rig->client, FUSE_REMOVEMAPPING, d->rig->file, parts, 2);
}

static void the_window_is_announced(void **state)
{
    struct dax_rig *d = *state;
    struct wire_init_out out = client_init(&d->rig->client);
    assert_int_equal(out.map_alignment, 14);
    assert_true((out.flags & FUSE_MAP_ALIGNMENT) != 0);
    out = client_init_with(&d->rig->client, CLIENT_ALL_FLAGS & ~FUSE_MAP_ALIGNMENT);
    assert_int_equal(out.map_alignment, 0);
}

static void a_file_is_mapped_without_a_handle(void **state)
{
    struct dax_rig *d = *state;
    assert_int_equal(map(d, d->rig->file, RANGE, FUSE_SETUP_READ), 0);
    assert_int_equal(d->rig->client.reply_len, 16);
    struct oriel_recorded at = oriel_recorder_at(d->recorder, RANGE);
    assert_true(at.mapped);
    assert_int_equal(at.prot, ORIEL_DAX_READ);
    /* The upgrade: the same range again, writable; nothing was removed before. */
    assert_int_equal(map(d, d->rig->file, RANGE, FUSE_SETUP_READ | FUSE_SETUP_WRITE), 0);
    assert_int_equal(oriel_recorder_at(d->recorder, RANGE).prot, ORIEL_DAX_READ | ORIEL_DAX_WRITE);
    /* An unlinked file that the guest knows is mapped too. */
    assert_int_equal(client_call_name(&d->rig->client, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "file"), 0);
    assert_int_equal(map(d, d->rig->file, 2 * RANGE, FUSE_SETUP_READ), 0);
    assert_int_equal(fake_fs_inodes(d->rig->fake), 3);
}

static void mappings_that_make_no_sense(void **state)
{
    struct dax_rig *d = *state;
    assert_int_equal(map(d, d->rig->folder, 0, FUSE_SETUP_READ), -EINVAL);
    assert_int_equal(map(d, 4711, 0, FUSE_SETUP_READ), -ENOENT);
    assert_int_equal(map(d, d->rig->file, WINDOW, FUSE_SETUP_READ), -EINVAL);
    assert_int_equal(map(d, d->rig->file, 1, FUSE_SETUP_READ), -EINVAL);
    assert_int_equal(map(d, d->rig->file, UINT64_MAX - 16383, FUSE_SETUP_READ), -EINVAL);
    assert_int_equal(map(d, d->rig->file, 0, 4), -EINVAL);
    struct wire_setupmapping_in in = {.moffset = 0};
    assert_int_equal(client_call(&d->rig->client, FUSE_SETUPMAPPING, d->rig->file, &in, sizeof(in)), -EINVAL);
    in.len = UINT64_MAX & ~(RANGE - 1);
    assert_int_equal(client_call(&d->rig->client, FUSE_SETUPMAPPING, d->rig->file, &in, sizeof(in)), -EINVAL);
    assert_int_equal(client_call(&d->rig->client, FUSE_SETUPMAPPING, d->rig->file, &in, 39), -EINVAL);
    assert_int_equal(oriel_recorder_counts(d->recorder).maps, 0);
}

/* A Linux guest spins on EAGAIN and calls its OOM killer on ENOMEM. */
static void shortage_is_enospc(void **state)
{
    struct dax_rig *d = *state;
    static const struct {
        int backend, guest;
    } cases[] = {{-EMFILE, -ENOSPC}, {-ENFILE, -ENOSPC}, {-ENOMEM, -ENOSPC},
                 {-EAGAIN, -EIO},    {-EINTR, -EIO},     {-EACCES, -EACCES},
                 {-EPERM, -EACCES},  {-ESTALE, -ESTALE}, {-EISDIR, -EINVAL}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fake_fs_fail(d->rig->fake, FAKE_MAP_OPEN, cases[i].backend, 1);
        assert_int_equal(map(d, d->rig->file, 0, FUSE_SETUP_READ), cases[i].guest);
    }
}

static void all_entries_of_a_removal_are_done(void **state)
{
    struct dax_rig *d = *state;
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(map(d, d->rig->file, i * RANGE, FUSE_SETUP_READ), 0);
    struct wire_removemapping_one entries[] = {{0, RANGE},         {WINDOW, RANGE},     {RANGE + 1, RANGE},
                                               {2 * RANGE, RANGE}, {10 * RANGE, RANGE}, {3 * RANGE, RANGE}};
    assert_int_equal(unmap(d, 6, entries, 6), -EINVAL);
    assert_false(oriel_recorder_at(d->recorder, 0).mapped);
    assert_true(oriel_recorder_at(d->recorder, RANGE).mapped);
    assert_false(oriel_recorder_at(d->recorder, 2 * RANGE).mapped);
    assert_false(oriel_recorder_at(d->recorder, 3 * RANGE).mapped);
    assert_int_equal(unmap(d, 1, entries, 1), 0); /* nothing there any more: success */
    assert_int_equal(unmap(d, 0, entries, 0), 0);
}

/* 64 KiB guests send 4,096 entries at once; they lie unaligned in any number of vectors. */
static void the_longest_removal(void **state)
{
    struct dax_rig *d = *state;
    static struct wire_removemapping_one entries[4096];
    for (uint64_t i = 0; i < 4096; i++)
        entries[i] = (struct wire_removemapping_one){(4095 - i) * 16384, 16384};
    assert_int_equal(map(d, d->rig->file, 0, FUSE_SETUP_READ), 0);
    assert_int_equal(map(d, d->rig->file, WINDOW - RANGE, FUSE_SETUP_READ), 0);
    d->rig->client.split = 1003;
    assert_int_equal(unmap(d, 4096, entries, 4096), 0);
    d->rig->client.split = 0;
    assert_int_equal(oriel_recorder_counts(d->recorder).mapped_bytes, 0);
}

static void a_removal_longer_than_any_guest_sends(void **state)
{
    struct dax_rig *d = *state;
    static struct wire_removemapping_one entries[4097];
    for (size_t i = 0; i < 4097; i++)
        entries[i] = (struct wire_removemapping_one){0, RANGE};
    assert_int_equal(map(d, d->rig->file, 0, FUSE_SETUP_READ), 0);
    uint64_t mapped = oriel_recorder_counts(d->recorder).mapped_bytes;
    assert_true(mapped > 0);
    assert_int_equal(unmap(d, 4097, entries, 4097), -EINVAL);
    assert_int_equal(oriel_recorder_counts(d->recorder).mapped_bytes, mapped);
}

static void a_removal_whose_count_lies(void **state)
{
    struct dax_rig *d = *state;
    struct wire_removemapping_one entry = {0, RANGE};
    assert_int_equal(unmap(d, UINT32_MAX, &entry, 1), -EINVAL);
    assert_int_equal(unmap(d, 2, &entry, 1), -EINVAL);
}

static void a_session_ends_with_its_mappings(void **state)
{
    struct dax_rig *d = *state;
    struct client *c = &d->rig->client;
    assert_int_equal(map(d, d->rig->file, 0, FUSE_SETUP_READ), 0);
    assert_int_equal(client_call(c, FUSE_DESTROY, 0, NULL, 0), 0);
    assert_int_equal(oriel_recorder_counts(d->recorder).mapped_bytes, 0);
    client_init(c);
    d->rig->file = client_find(c, "file");
    assert_int_equal(map(d, d->rig->file, 0, FUSE_SETUP_READ), 0);
    client_init(c);
    assert_int_equal(oriel_recorder_counts(d->recorder).mapped_bytes, 0);
    d->rig->file = client_find(c, "file");
    assert_int_equal(map(d, d->rig->file, 0, FUSE_SETUP_READ), 0);
    oriel_fuse_server_reset(d->rig->server);
    assert_int_equal(oriel_recorder_counts(d->recorder).mapped_bytes, 0);
}

static void a_read_only_share_is_never_mapped_writable(void **state)
{
    (void)state;
    struct dax_rig *d = dax_rig_new(true);
    assert_int_equal(map(d, d->rig->file, 0, FUSE_SETUP_READ | FUSE_SETUP_WRITE), -EROFS);
    assert_int_equal(map(d, d->rig->file, 0, FUSE_SETUP_READ), 0);
    const struct oriel_dax_source *source = oriel_fuse_server_dax_source(d->rig->server);
    struct oriel_dax_file file;
    assert_int_equal(source->acquire(source->opaque, d->rig->file, ORIEL_DAX_WRITE, &file), -EROFS);
    assert_int_equal(source->acquire(source->opaque, d->rig->file, ORIEL_DAX_READ, &file), 0);
    assert_int_equal(file.max_prot, ORIEL_DAX_READ);
    source->release(source->opaque, &file);
    void *as_state = d;
    teardown(&as_state);
}

static void without_a_window(void **state)
{
    struct rig *rig = *state;
    struct wire_setupmapping_in in = {.len = RANGE};
    struct wire_removemapping_in none = {0};
    assert_int_equal(client_call(&rig->client, FUSE_SETUPMAPPING, rig->file, &in, sizeof(in)), -ENOSYS);
    assert_int_equal(client_call(&rig->client, FUSE_REMOVEMAPPING, rig->file, &none, sizeof(none)), -ENOSYS);
}

static uint32_t attr_flags(struct rig *rig)
{
    struct wire_entry_out entry;
    assert_int_equal(client_lookup(&rig->client, FUSE_ROOT_ID, "file", &entry), 0);
    return entry.attr.flags;
}

/* "Use DAX for this file" and "a mount begins here" are said to guests that agreed to hear it only. */
static void attributes_carry_what_was_agreed_on(void **state)
{
    struct dax_rig *d = *state;
    struct rig *rig = d->rig;
    fake_fs_set_attr_flags(rig->fake, ORIEL_FS_ATTR_SUBMOUNT | ORIEL_FS_ATTR_DAX);
    assert_int_equal(attr_flags(rig), FUSE_ATTR_SUBMOUNT | FUSE_ATTR_DAX);
    client_init_with(&rig->client, CLIENT_ALL_FLAGS & ~FUSE_SUBMOUNTS);
    assert_int_equal(attr_flags(rig), FUSE_ATTR_DAX);
    client_init_with(&rig->client, CLIENT_ALL_FLAGS & ~FUSE_HAS_INODE_DAX);
    assert_int_equal(attr_flags(rig), FUSE_ATTR_SUBMOUNT);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_window_is_announced, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_is_mapped_without_a_handle, setup, teardown),
        cmocka_unit_test_setup_teardown(mappings_that_make_no_sense, setup, teardown),
        cmocka_unit_test_setup_teardown(shortage_is_enospc, setup, teardown),
        cmocka_unit_test_setup_teardown(all_entries_of_a_removal_are_done, setup, teardown),
        cmocka_unit_test_setup_teardown(the_longest_removal, setup, teardown),
        cmocka_unit_test_setup_teardown(a_removal_longer_than_any_guest_sends, setup, teardown),
        cmocka_unit_test_setup_teardown(a_removal_whose_count_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(a_session_ends_with_its_mappings, setup, teardown),
        cmocka_unit_test_setup_teardown(attributes_carry_what_was_agreed_on, setup, teardown),
        cmocka_unit_test(a_read_only_share_is_never_mapped_writable),
        cmocka_unit_test_setup_teardown(without_a_window, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
