/*
 * A file that is moved to another folder while it is opened by its name: the kernel (openat2, RESOLVE_BENEATH) then
 * says that it lies beyond the folder. The guest's open(2) failed with EXDEV.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../unit/fs/rig.h"

#define TRIES 30000

struct mover {
    char here[300], there[300];
    atomic_bool done;
};

static void *move_to_and_fro(void *opaque)
{
    struct mover *mover = opaque;
    while (!atomic_load(&mover->done)) {
        (void)!rename(mover->here, mover->there);
        (void)!rename(mover->there, mover->here);
    }
    return NULL;
}

static void it_is_there_or_it_is_not(void **state)
{
    struct rig *rig = *state;
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct mover mover = {0};
    pthread_t thread;
    assert_int_equal(mkdir(on_host(rig, "a"), 0755), 0);
    assert_int_equal(mkdir(on_host(rig, "b"), 0755), 0);
    snprintf(mover.here, sizeof(mover.here), "%s", on_host(rig, "a/f"));
    snprintf(mover.there, sizeof(mover.there), "%s", on_host(rig, "b/f"));
    void *folder = rig_lookup(rig, rig->root, "a");
    assert_int_equal(pthread_create(&thread, NULL, move_to_and_fro, &mover), 0);
    int odd = 0;
    for (int i = 0; i < TRIES && odd == 0; i++) {
        struct oriel_fs_entry entry;
        struct oriel_fs_opened opened;
        int err = ops->create(rig->fs.fs, &as_root, folder, "f", 0644, O_RDWR, 0, 0, &entry, &opened);
        if (err == 0) {
            ops->entry_drop(rig->fs.fs, &entry);
            ops->release(rig->fs.fs, NULL, opened.handle, 0, false);
        }
        if (err != 0 && err != -ENOENT && err != -ESTALE)
            odd = err;
    }
    atomic_store(&mover.done, true);
    pthread_join(thread, NULL);
    rig_close(rig, folder);
    assert_int_equal(odd, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_there_or_it_is_not, rig_setup, rig_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
