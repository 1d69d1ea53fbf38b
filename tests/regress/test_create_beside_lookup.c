/*
 * CREATE in one thread and LOOKUP of the same name in another: where the lookup's node came first, the created
 * inode was closed while the open file still stood on its list, and RELEASE wrote into freed memory.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/fs/rig.h"

#define BLOCKS 64

static void the_open_file_outlives_its_first_inode(void **state)
{
    struct rig *rig = *state;
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    void *mine = NULL;
    assert_int_equal(ops->create(rig->fs.fs, &as_root, rig->root, "new", 0644, O_RDWR, 0, 0, &entry, &opened),
                     0);
    void *theirs = rig_lookup(rig, rig->root, "new");
    assert_int_equal(ops->inode_open(rig->fs.fs, rig->root, "new", &entry, &mine), 0);
    ops->inode_close(rig->fs.fs, mine);
    /* The freed inode's memory is given out again: it is among these. */
    unsigned char *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(64 + i);
        assert_non_null(blocks[i]);
        memset(blocks[i], 0x5a, 64 + i);
    }
    assert_int_equal(rig_write(rig, theirs, opened.handle, "text", 4, 0, 0), 4);
    rig_release(rig, theirs, opened.handle);
    for (size_t i = 0; i < BLOCKS; i++) {
        for (size_t at = 0; at < 64 + i; at++)
            assert_int_equal(blocks[i][at], 0x5a);
        free(blocks[i]);
    }
    rig_close(rig, theirs);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_open_file_outlives_its_first_inode, rig_setup, rig_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
