/*
 * A guest opens FIFOs and sockets without asking its server. When such a file lost its last name while it was open there,
 * nothing on the host held on to it, and fstat(2) in the guest was ESTALE.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit/fs/rig.h"

static void its_attributes_can_still_be_had(void **state)
{
    struct rig *rig = *state;
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_attr attr;
    assert_int_equal(mkfifo(on_host(rig, "fifo"), 0600), 0);
    void *fifo = rig_lookup(rig, rig->root, "fifo");
    assert_int_equal(ops->unlink(rig->fs.fs, &as_root, rig->root, "fifo"), 0);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, fifo, NULL, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    rig_close(rig, fifo);
}

static void a_descriptor_is_not_kept_for_it_longer(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(mkfifo(on_host(rig, "fifo"), 0600), 0);
    unsigned before = open_descriptors();
    rig_close(rig, rig_lookup(rig, rig->root, "fifo"));
    assert_int_equal(open_descriptors(), before);
}

/* A quarter of the budget at most: other files want descriptors too. */
static void many_of_them_leave_descriptors_for_others(void **state)
{
    struct rig *rig = *state;
    enum { MANY = 200 };
    void *fifos[MANY];
    char name[32];
    rig_reopen(rig, &(struct oriel_passthrough_options){.fd_budget = 64});
    unsigned before = open_descriptors();
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "fifo%d", i);
        assert_int_equal(mkfifo(on_host(rig, name), 0600), 0);
        fifos[i] = rig_lookup(rig, rig->root, name);
    }
    assert_true(open_descriptors() <= before + 16);
    for (int i = 0; i < MANY; i++)
        rig_close(rig, fifos[i]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(its_attributes_can_still_be_had, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_descriptor_is_not_kept_for_it_longer, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(many_of_them_leave_descriptors_for_others, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
