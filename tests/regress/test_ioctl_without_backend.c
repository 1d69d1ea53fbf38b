/* A back-end without ioctl() got the allowed IOCTLs all the same, through a null pointer. */
#include <errno.h>

#include "../unit/fuse/cmocka_all.h"
#include "../unit/fuse/rig.h"

static void the_guest_hears_enotty(void **state)
{
    (void)state;
    struct fake_fs *fake = fake_fs_new();
    fake_fs_ops(fake)->ioctl = NULL;
    fake_fs_add_file(fake, "file", "", 0);
    struct oriel_fuse_server_options options = {.size = sizeof(options), .fs = fake_fs_backend(fake)};
    struct oriel_fuse_server *server;
    struct client c;
    assert_int_equal(oriel_fuse_server_create(&options, &server), 0);
    client_start(&c, server);
    client_init(&c);
    uint64_t file = client_find(&c, "file");
    struct wire_ioctl_in in = {.cmd = 0x80086601, .out_size = 8};
    assert_int_equal(client_open(&c, file, 0, &in.fh), 0);
    assert_int_equal(client_call(&c, FUSE_IOCTL, file, &in, sizeof(in)), -ENOTTY);
    client_stop(&c);
    oriel_fuse_server_destroy(server);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(the_guest_hears_enotty)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
