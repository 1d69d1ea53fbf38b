/* A request with the ids -1 acted as the process: its new files were root's whatever the id rules said, and
 * enforce_credentials enforced nothing. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/fs/rig.h"

static const oriel_fs_caller hidden_user = {.uid = UINT32_MAX, .gid = 1000, .pid = 1};
static const oriel_fs_caller hidden_group = {.uid = 1000, .gid = UINT32_MAX, .pid = 1};

static void assert_makes_nothing(struct rig *rig, const oriel_fs_caller *caller)
{
    const struct oriel_fs_ops *ops = rig->fs.ops;
    void *fs = rig->fs.fs;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    assert_int_equal(ops->mkdir(fs, caller, rig->root, "d", 0755, 0, &entry), -EPERM);
    assert_int_equal(ops->mknod(fs, caller, rig->root, "n", S_IFREG | 04755, 0, 0, &entry), -EPERM);
    assert_int_equal(ops->symlink(fs, caller, rig->root, "l", "x", &entry), -EPERM);
    assert_int_equal(ops->create(fs, caller, rig->root, "c", 04755, O_RDWR, 0, 0, &entry, &opened), -EPERM);
    assert_int_equal(ops->tmpfile(fs, caller, rig->root, 04755, O_RDWR, 0, &entry, &opened), -EPERM);
}

static void who_makes_a_file_has_to_be_told(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = *state;
    static const struct oriel_id_rule squash[] = {
        {.kind = ORIEL_ID_SQUASH_GUEST, .guest = 0, .host = 4321, .count = 65536}};
    rig_reopen(rig, &(struct oriel_passthrough_options){
                        .switch_credentials = true, .uid_rules = squash, .uid_rule_count = 1});
    assert_makes_nothing(rig, &hidden_user);
    assert_makes_nothing(rig, &hidden_group);
}

static void who_asks_has_to_be_told_where_the_host_checks(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = *state;
    struct oriel_fs_opened opened;
    rig_reopen(rig,
               &(struct oriel_passthrough_options){.switch_credentials = true, .enforce_credentials = true});
    host_file(rig, "secret", "x");
    assert_int_equal(chmod(on_host(rig, "secret"), 0600), 0);
    void *secret = rig_lookup(rig, rig->root, "secret");
    assert_int_equal(rig->fs.ops->open(rig->fs.fs, &hidden_user, secret, O_RDWR, 0, &opened), -EPERM);
    assert_int_equal(rig->fs.ops->unlink(rig->fs.fs, &hidden_user, rig->root, "secret"), -EPERM);
    rig_close(rig, secret);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_makes_a_file_has_to_be_told, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(who_asks_has_to_be_told_where_the_host_checks, rig_setup,
                                        rig_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
