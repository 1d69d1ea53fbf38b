/* READLINK of what is no link gave back a descriptor that it had never taken: whatever number the stack held. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../unit/fs/rig.h"

/* What a descriptor reference that was never filled is then made of: an "owned" one, again and again. */
__attribute__((noinline)) static void leave_numbers_on_the_stack(void)
{
    volatile uint32_t words[4096];
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        words[i] = 4;
}

static void the_guest_hears_einval_and_nothing_is_closed(void **state)
{
    struct rig *rig = *state;
    char target[16];
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    unsigned before = open_descriptors();
    leave_numbers_on_the_stack();
    assert_int_equal(rig->fs.ops->readlink(rig->fs.fs, &as_root, file, target, sizeof(target)), -EINVAL);
    leave_numbers_on_the_stack();
    assert_int_equal(rig->fs.ops->access(rig->fs.fs, &as_root, file, 0x80), -EINVAL);
    assert_int_equal(open_descriptors(), before);
    rig_close(rig, file);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
        the_guest_hears_einval_and_nothing_is_closed, rig_setup, rig_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
