/* FS_IOC_SETFLAGS could switch off what FS_IOC_FSSETXATTR was not allowed to: a folder's project inheritance. */
#include <errno.h>
#include <linux/fs.h>

#include "../unit/fs/rig.h"

static void the_flags_of_projects_stay(void **state)
{
    struct rig *rig = *state;
    const struct oriel_fs_ops *ops = rig->fs.ops;
    int flags = 0;
    size_t size = sizeof(flags), none = 0;
    int err = ops->ioctl(rig->fs.fs, &as_root, rig->root, NULL, FS_IOC_GETFLAGS, NULL, 0, &flags, &size);
    if (err != 0) {
        print_message("the file system has no flags\n");
        skip();
    }
    flags ^= FS_PROJINHERIT_FL;
    assert_int_equal(ops->ioctl(rig->fs.fs, &as_root, rig->root, NULL, FS_IOC_SETFLAGS, &flags, sizeof(flags),
                                NULL, &none),
                     -EPERM);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_flags_of_projects_stay, rig_setup, rig_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
