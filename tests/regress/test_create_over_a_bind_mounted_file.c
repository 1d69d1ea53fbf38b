/* CREATE over a file that is mounted into the share truncates nothing, also where there is no openat2. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "fs/passthrough/share.h"

#include "../unit/fs/rig.h"

static void it_is_refused_and_keeps_its_content(void **state)
{
    (void)state;
    SKIP_UNLESS_ROOT();
    char outside[300], text[20];
    struct rig *rig = rig_new_in(NULL, &(struct oriel_passthrough_options){.no_fence = true});
    ((struct passthrough *)rig->fs.fs)->has_openat2 = false;
    host_file(rig, "file", "");
    host_file(rig, "../outside", "content");
    snprintf(outside, sizeof(outside), "%s/outside", rig->base);
    if (mount(outside, on_host(rig, "file"), NULL, MS_BIND, NULL) != 0) {
        rig_free(rig);
        print_message("mount is not permitted here\n");
        skip();
    }
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    int err = rig->fs.ops->create(rig->fs.fs, &as_root, rig->root, "file", 0644, O_RDWR | O_TRUNC, 0, 0,
                                  &entry, &opened);
    host_content(rig, "file", text, sizeof(text));
    umount2(on_host(rig, "file"), MNT_DETACH);
    rig_free(rig);
    assert_int_equal(err, -EXDEV);
    assert_string_equal(text, "content");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_is_refused_and_keeps_its_content)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
