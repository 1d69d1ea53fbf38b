/* A guest that mounts without a dax option uses the window for the files that the server marks; none was marked. */
#include "../unit/fs/rig.h"

static uint32_t flags_of(struct rig *rig, const char *name)
{
    struct oriel_fs_entry entry;
    assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, name, &entry), 0);
    rig->fs.ops->entry_drop(rig->fs.fs, &entry);
    return entry.attr.flags;
}

static void regular_files_are_marked_and_nothing_else(void **state)
{
    struct rig *rig = rig_new();
    struct oriel_fs_entry folder;
    (void)state;
    host_file(rig, "file", "x");
    assert_int_equal(rig->fs.ops->mkdir(rig->fs.fs, &as_root, rig->root, "folder", 0755, 0, &folder), 0);
    rig->fs.ops->entry_drop(rig->fs.fs, &folder);
    assert_int_equal(flags_of(rig, "file"), ORIEL_FS_ATTR_DAX);
    assert_int_equal(flags_of(rig, "folder"), 0);
    rig_free(rig);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(regular_files_are_marked_and_nothing_else)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
