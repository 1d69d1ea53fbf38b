/* Mapping what is no regular file was an I/O error to the guest over the passthrough back-end, which says EOPNOTSUPP. */
#include <errno.h>

#include "../unit/fuse/cmocka_all.h"
#include "../unit/fuse/rig.h"

static int no_regular_file(void *fs, void *inode, bool need_write, bool *writable)
{
    (void)fs;
    (void)inode;
    (void)need_write;
    (void)writable;
    return -EOPNOTSUPP;
}

static void the_source_says_einval(void **state)
{
    (void)state;
    struct fake_fs *fake = fake_fs_new();
    fake_fs_ops(fake)->map_open = no_regular_file;
    struct oriel_fuse_server_options options = {.size = sizeof(options), .fs = fake_fs_backend(fake)};
    struct oriel_fuse_server *server;
    struct oriel_dax_file file;
    assert_int_equal(oriel_fuse_server_create(&options, &server), 0);
    const struct oriel_dax_source *source = oriel_fuse_server_dax_source(server);
    assert_int_equal(source->acquire(source->opaque, FUSE_ROOT_ID, ORIEL_DAX_READ, &file), -EINVAL);
    oriel_fuse_server_destroy(server);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(the_source_says_einval)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
