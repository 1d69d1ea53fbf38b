/*
 * ext4 gives the inode number of a deleted file out again at once, and birth times move in clock ticks: a file made in the
 * same tick has the identity of the old one. The guest was given the old nodeid for it, and ESTALE for ever.
 */
#include <errno.h>

#include "../unit/fuse/cmocka_all.h"
#include "../unit/fuse/rig.h"

static uint64_t entry_node(const struct client *c)
{
    const struct wire_entry_out *entry = c->reply;
    return entry->nodeid;
}

static int (*original_lookup)(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                              struct oriel_fs_entry *out);

/* Makes a file that has the identity of "file". */
static int make_the_same(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                         uint32_t mode, uint32_t rdev, uint32_t umask, struct oriel_fs_entry *out)
{
    (void)name;
    (void)mode;
    (void)rdev;
    (void)umask;
    return original_lookup(fs, caller, parent, "file", out);
}

/* A rig whose back-end makes the same file again and again. */
static struct rig rig_of_sameness(void)
{
    struct rig rig = {.fake = fake_fs_new()};
    struct oriel_fuse_server_options options = rig_options();
    fake_fs_add_file(rig.fake, "file", "hello", 5);
    original_lookup = fake_fs_ops(rig.fake)->lookup;
    fake_fs_ops(rig.fake)->mknod = make_the_same;
    options.fs = fake_fs_backend(rig.fake);
    assert_int_equal(oriel_fuse_server_create(&options, &rig.server), 0);
    client_start(&rig.client, rig.server);
    client_init(&rig.client);
    rig.file = client_find(&rig.client, "file");
    return rig;
}

static void a_made_file_is_never_an_old_node(void **state)
{
    (void)state;
    struct rig rig = rig_of_sameness();
    const struct wire_mknod_in in = {.mode = 0100644};
    assert_int_equal(client_call_name(&rig.client, FUSE_MKNOD, FUSE_ROOT_ID, &in, sizeof(in), "again"), 0);
    uint64_t made = entry_node(&rig.client);
    assert_int_not_equal(made, rig.file);
    assert_int_equal(client_find(&rig.client, "file"), made);
    oriel_fuse_server_destroy(rig.server);
    client_stop(&rig.client);
}

static void a_stale_node_is_not_found_again(void **state)
{
    struct rig *rig = *state;
    const struct wire_getattr_in in = {0};
    fake_fs_fail(rig->fake, FAKE_GETATTR, -ESTALE, 1);
    assert_int_equal(client_call(&rig->client, FUSE_GETATTR, rig->file, &in, sizeof(in)), -ESTALE);
    assert_int_not_equal(client_find(&rig->client, "file"), rig->file);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_made_file_is_never_an_old_node),
        cmocka_unit_test_setup_teardown(a_stale_node_is_not_found_again, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
