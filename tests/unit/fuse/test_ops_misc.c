#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/fs.h>

#include "cmocka_all.h"
#include "rig.h"

static void statfs_and_syncfs(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    assert_int_equal(client_call(c, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), 0);
    assert_int_equal(c->payload_len, 80);
    assert_int_equal(((const struct wire_statfs_out *)c->reply)->bfree, 500);
    struct wire_syncfs_in in = {0};
    assert_int_equal(client_call(c, FUSE_SYNCFS, FUSE_ROOT_ID, &in, sizeof(in)), 0);
    fake_fs_fail(rig->fake, FAKE_SYNCFS, -EIO, 1);
    assert_int_equal(client_call(c, FUSE_SYNCFS, FUSE_ROOT_ID, &in, sizeof(in)), -EIO);
}

static int ioctl_call(struct client *c, uint64_t nodeid, uint64_t fh, uint32_t cmd, const void *data,
                      uint32_t in_size, uint32_t out_size)
{
    struct wire_ioctl_in in = {.fh = fh,
                               .flags = nodeid == FUSE_ROOT_ID ? FUSE_IOCTL_DIR : 0,
                               .cmd = cmd,
                               .in_size = in_size,
                               .out_size = out_size};
    struct part parts[] = {{&in, sizeof(in)}, {data, data == NULL ? 0 : in_size}};
    return client_send(c, FUSE_IOCTL, nodeid, parts, 2);
}

static void ioctl_allows_four(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    uint32_t flags = 0x10;
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    assert_int_equal(ioctl_call(c, rig->file, fh, FS_IOC_SETFLAGS, &flags, 4, 0), 0);
    assert_int_equal(c->payload_len, 16);
    assert_int_equal(ioctl_call(c, rig->file, fh, FS_IOC_GETFLAGS, NULL, 0, 4), 0);
    assert_int_equal(c->payload_len, 20);
    assert_memory_equal((const char *)c->reply + 16, &flags, 4);
    assert_int_equal(ioctl_call(c, rig->file, fh, FS_IOC32_GETFLAGS, NULL, 0, 4), 0);
    struct fsxattr attr = {0};
    assert_int_equal(ioctl_call(c, rig->file, fh, FS_IOC_FSSETXATTR, &attr, sizeof(attr), 0), 0);
    assert_int_equal(ioctl_call(c, rig->file, fh, FS_IOC_FSGETXATTR, NULL, 0, sizeof(attr)), 0);
    assert_int_equal(c->payload_len, 16 + sizeof(attr));
    /* On a folder, with its handle. */
    uint64_t folder_fh;
    assert_int_equal(client_opendir(c, FUSE_ROOT_ID, &folder_fh), 0);
    assert_int_equal(ioctl_call(c, FUSE_ROOT_ID, folder_fh, FS_IOC_GETFLAGS, NULL, 0, 4), 0);
    client_releasedir(c, FUSE_ROOT_ID, folder_fh);
    client_release(c, rig->file, fh);
}

static void other_ioctls_are_enotty(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    static const uint32_t cmds[] = {0, 0x5401 /* TCGETS */, FIFREEZE, FITRIM, FS_IOC_GETVERSION, UINT32_MAX};
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    for (size_t i = 0; i < sizeof(cmds) / sizeof(cmds[0]); i++)
        assert_int_equal(ioctl_call(c, rig->file, fh, cmds[i], NULL, 0, 64), -ENOTTY);
    assert_int_equal(ioctl_call(c, rig->file, fh, FS_IOC_SETFLAGS, NULL, 4, 0), -EINVAL); /* data missing */
    assert_int_equal(ioctl_call(c, rig->file, fh, FS_IOC_GETFLAGS, NULL, 0, 3), -EINVAL);
    assert_int_equal(ioctl_call(c, rig->file, 4711, FS_IOC_GETFLAGS, NULL, 0, 4), -EBADF);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_IOCTL), 0);
    client_release(c, rig->file, fh);
}

static void what_nobody_needs_is_enosys(void **state)
{
    struct rig *rig = *state;
    static const uint32_t opcodes[] = {FUSE_POLL, FUSE_BMAP, FUSE_NOTIFY_REPLY, 0, 7, 19,
                                       54,        4096,      UINT32_MAX};
    for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++)
        assert_int_equal(client_call(&rig->client, opcodes[i], rig->file, NULL, 0), -ENOSYS);
    struct oriel_fuse_stats stats;
    oriel_fuse_server_stats(rig->server, &stats);
    assert_int_equal(stats.ops[0].count, 6);
    assert_int_equal(stats.ops[FUSE_POLL].errors, 1);
}

static void trace_tells_all_numbers(void **state)
{
    (void)state;
    char path[] = "/tmp/oriel-fuse-trace-XXXXXX", text[16384];
    int fd = mkstemp(path);
    struct oriel_fuse_server_options options = rig_options();
    assert_true(fd >= 0);
    assert_int_equal(oriel_trace_open(path, &options.trace), 0);
    struct rig *rig = rig_new(&options, true);
    uint64_t fh;
    client_open(&rig->client, rig->file, O_RDONLY, &fh);
    client_read(&rig->client, rig->file, fh, 0x123, 77);
    client_lookup(&rig->client, FUSE_ROOT_ID, "no\nsuch", NULL);
    client_call(&rig->client, 777, 1, NULL, 0);
    rig_free(rig);
    oriel_trace_close(options.trace);
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    close(fd);
    unlink(path);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(
        strstr(text, "fuse > LOOKUP unique=2 node=0x1 len=45 uid=1000 gid=1000 pid=77 ext=0 \"file\""));
    assert_non_null(strstr(text, "fuse < LOOKUP unique=2 node=0x1 error=0 len=144 us="));
    assert_null(strstr(text, " xsize=")); /* the letter of the format is not part of the name */
    assert_non_null(strstr(text, " offset=0x123 size=0x4d "));
    assert_non_null(strstr(text, "\"no?such\""));
    assert_non_null(strstr(text, "error=-2 len=16"));
    assert_non_null(strstr(text, "fuse > UNKNOWN"));
    assert_non_null(strstr(text, " opcode=777"));
    assert_non_null(strstr(text, "max_write=0x100000"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(statfs_and_syncfs, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(ioctl_allows_four, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(other_ioctls_are_enotty, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(what_nobody_needs_is_enosys, rig_setup, rig_teardown),
        cmocka_unit_test(trace_tells_all_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
