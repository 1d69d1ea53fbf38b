#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "rig.h"

static void read_gives_the_file(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDONLY, &fh), 0);
    assert_int_equal(client_read(c, rig->file, fh, 0, 100), 0);
    assert_int_equal(c->payload_len, 5);
    assert_memory_equal(c->reply, "hello", 5);
    assert_int_equal(client_read(c, rig->file, fh, 2, 2), 0);
    assert_memory_equal(c->reply, "ll", 2);
    assert_int_equal(client_read(c, rig->file, fh, 5, 10), 0);
    assert_int_equal(c->payload_len, 0);
    assert_int_equal(client_release(c, rig->file, fh), 0);
    struct oriel_fuse_stats stats;
    oriel_fuse_server_stats(rig->server, &stats);
    assert_int_equal(stats.read_bytes, 7);
    assert_int_equal(stats.ops[FUSE_READ].count, 3);
    assert_int_equal(stats.handles, 0);
}

static void a_read_that_would_wait_is_put_off(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct oriel_fuse_stats before, after;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDONLY, &fh), 0);
    oriel_fuse_server_stats(rig->server, &before);
    fake_fs_fail(rig->fake, FAKE_READ_NOWAIT, -EAGAIN, 1);
    c->flags = ORIEL_FUSE_NOWAIT;
    client_read(c, rig->file, fh, 0, 100);
    assert_true(c->would_block);
    oriel_fuse_server_stats(rig->server, &after);
    assert_int_equal(after.requests, before.requests);
    assert_int_equal(client_read(c, rig->file, fh, 0, 100), 0);
    assert_false(c->would_block);
    assert_memory_equal(c->reply, "hello", 5);
    fake_fs_fail(rig->fake, FAKE_READ_NOWAIT, -EAGAIN, 1);
    c->flags = 0; /* who did not ask is not told */
    assert_int_equal(client_read(c, rig->file, fh, 0, 100), 0);
    assert_int_equal(c->payload_len, 5);
    fake_fs_fail(rig->fake, FAKE_READ_NOWAIT, -EIO, 1);
    c->flags = ORIEL_FUSE_NOWAIT;
    assert_int_equal(client_read(c, rig->file, fh, 0, 100), -EIO);
    c->flags = 0;
    client_release(c, rig->file, fh);
}

static void read_is_cut_to_the_room(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDONLY, &fh), 0);
    c->room = sizeof(struct wire_out_header) + 3;
    assert_int_equal(client_read(c, rig->file, fh, 0, 100), 0);
    assert_int_equal(c->payload_len, 3);
    c->room = CLIENT_BUFFER;
    client_release(c, rig->file, fh);
}

static void requests_may_be_split_anywhere(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    static const size_t splits[] = {1, 2, 3, 7, 16, 39, 41, 64};
    for (size_t i = 0; i < sizeof(splits) / sizeof(splits[0]); i++) {
        c->split = splits[i];
        c->room = 200; /* 4,096 vectors at most */
        uint64_t fh;
        uint32_t written;
        char text[8] = "abcdefg";
        text[0] = (char)('A' + i);
        assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
        assert_int_equal(client_write(c, rig->file, fh, 1, text, 7, &written), 0);
        assert_int_equal(written, 7);
        assert_int_equal(client_read(c, rig->file, fh, 0, 100), 0);
        assert_int_equal(c->payload_len, 8);
        assert_memory_equal((const char *)c->reply + 1, text, 7);
        assert_int_equal(client_release(c, rig->file, fh), 0);
    }
    c->split = 0;
    c->room = CLIENT_BUFFER;
}

/* More vectors than one preadv() takes. */
static void more_vectors_than_one_call_takes(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    uint32_t written;
    char data[3000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 7);
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    c->split = 1;
    c->room = 16 + sizeof(data);
    assert_int_equal(client_write(c, rig->file, fh, 0, data, sizeof(data), &written), 0);
    assert_int_equal(written, sizeof(data));
    assert_int_equal(client_read(c, rig->file, fh, 0, sizeof(data)), 0);
    assert_int_equal(c->payload_len, sizeof(data));
    assert_memory_equal(c->reply, data, sizeof(data));
    c->split = 0;
    c->room = CLIENT_BUFFER;
    client_release(c, rig->file, fh);
}

static void write_tells_how_much_and_where(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    uint32_t written;
    assert_int_equal(client_open(c, rig->file, O_WRONLY, &fh), 0);
    assert_int_equal(client_write(c, rig->file, fh, 10, "xyz", 3, &written), 0);
    assert_int_equal(written, 3);
    assert_int_equal(fake_fs_seen(rig->fake)->offset, 10);
    assert_int_equal(fake_fs_seen(rig->fake)->uid, 1000);
    assert_int_equal(client_read(c, rig->file, fh, 0, 3), -EBADF);
    client_release(c, rig->file, fh);
    assert_int_equal(client_open(c, rig->file, O_RDONLY, &fh), 0);
    assert_int_equal(client_write(c, rig->file, fh, 0, "a", 1, NULL), -EBADF);
    client_release(c, rig->file, fh);
}

static uint32_t kill_of_write(struct rig *rig, uint64_t fh, uint32_t write_flags, uint32_t flags)
{
    struct wire_write_in in = {.fh = fh, .size = 1, .write_flags = write_flags, .flags = flags};
    struct part parts[] = {{&in, sizeof(in)}, {"z", 1}};
    assert_int_equal(client_send(&rig->client, FUSE_WRITE, rig->file, parts, 2), 0);
    return fake_fs_seen(rig->fake)->kill;
}

/* A page of a shared mapping must land at its offset though the handle that carries it was opened O_APPEND. */
static void appending_is_said_with_each_write(void **state)
{
    struct rig *rig = *state;
    uint64_t fh;
    assert_int_equal(client_open(&rig->client, rig->file, O_RDWR | O_APPEND, &fh), 0);
    assert_int_equal(fake_fs_seen(rig->fake)->flags & O_APPEND, 0);
    assert_int_equal(kill_of_write(rig, fh, 0, O_APPEND), ORIEL_FS_APPEND);
    assert_int_equal(kill_of_write(rig, fh, FUSE_WRITE_CACHE, O_APPEND), 0);
    assert_int_equal(kill_of_write(rig, fh, FUSE_WRITE_KILL_SUID, 0), ORIEL_FS_KILL_SUIDGID);
    assert_int_equal(client_read(&rig->client, rig->file, fh, 0, 100), 0);
    assert_int_equal(rig->client.payload_len, 6);
    assert_memory_equal(rig->client.reply, "zelloz", 6);
    client_release(&rig->client, rig->file, fh);
}

/* What lies before an append may be in the guest's cache only: then the file ends elsewhere than here. */
static void a_write_back_cache_places_its_appends(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = rig_options();
    options.writeback = true;
    struct rig *rig = rig_new(&options, true);
    uint64_t fh;
    assert_int_equal(client_open(&rig->client, rig->file, O_RDWR | O_APPEND, &fh), 0);
    assert_int_equal(kill_of_write(rig, fh, 0, O_APPEND), 0);
    assert_int_equal(kill_of_write(rig, fh, FUSE_WRITE_KILL_SUID, O_APPEND), ORIEL_FS_KILL_SUIDGID);
    client_release(&rig->client, rig->file, fh);
    rig_free(rig);
}

static void write_needs_its_data(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    struct wire_write_in in = {.fh = fh, .size = 100};
    struct part parts[] = {{&in, sizeof(in)}, {"short", 5}};
    assert_int_equal(client_send(c, FUSE_WRITE, rig->file, parts, 2), -EINVAL);
    in.size = (1 << 20) + 1; /* over max_write */
    assert_int_equal(client_send(c, FUSE_WRITE, rig->file, parts, 2), -EINVAL);
    in.size = 1;
    in.offset = INT64_MAX;
    assert_int_equal(client_send(c, FUSE_WRITE, rig->file, parts, 2), -EINVAL);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_WRITE), 0);
    client_release(c, rig->file, fh);
}

/* Memory whose second page is not there, as a DAX window's may be. */
static char *half_mapped(void)
{
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + 4096, 4096, PROT_NONE), 0);
    return p;
}

static int32_t error_of(const void *reply)
{
    struct wire_out_header header;
    memcpy(&header, reply, sizeof(header));
    return header.error;
}

/* A guest's buffers may lie in the DAX window, over a page that is gone: EFAULT for it, no SIGBUS for us. */
static void memory_that_faults_gives_efault(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    char *bad = half_mapped();
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    struct {
        struct wire_in_header header;
        struct wire_read_in args;
    } read = {.header = {.len = 80, .opcode = FUSE_READ, .unique = 5, .nodeid = rig->file},
              .args = {.fh = fh, .size = 8}};
    struct wire_out_header reply;
    struct iovec in[] = {{&read, sizeof(read)}}, out[] = {{&reply, sizeof(reply)}, {bad + 4092, 8}};
    struct oriel_fuse_request r = {
        .in = in, .in_count = 1, .out = out, .out_count = 2, .flags = ORIEL_FUSE_GUARDED};
    assert_int_equal(oriel_fuse_server_handle(rig->server, &r), sizeof(reply));
    assert_int_equal(error_of(&reply), -EFAULT);
    /* The header of the reply itself can't be written: nothing can be told. */
    out[0].iov_base = bad + 4096;
    assert_int_equal(oriel_fuse_server_handle(rig->server, &r), 0);
    /* Arguments that can't be read. */
    memcpy(bad + 4096 - 40, &read.header, 40);
    in[0] = (struct iovec){bad + 4096 - 40, 80};
    out[0].iov_base = &reply;
    assert_int_equal(oriel_fuse_server_handle(rig->server, &r), sizeof(reply));
    assert_int_equal(error_of(&reply), -EFAULT);
    munmap(bad, 8192);
    client_release(c, rig->file, fh);
}

/* The end of the file inside guarded memory is no fault. */
static void guarded_reads_end_with_the_file(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDONLY, &fh), 0);
    c->flags = ORIEL_FUSE_GUARDED;
    assert_int_equal(client_read(c, rig->file, fh, 1, 100), 0);
    assert_int_equal(c->payload_len, 4);
    assert_memory_equal(c->reply, "ello", 4);
    c->flags = 0;
    client_release(c, rig->file, fh);
}

static void copy_file_range_forms(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    fake_fs_add_file(rig->fake, "other", "", 0);
    uint64_t other = client_find(c, "other"), from, to;
    assert_int_equal(client_open(c, rig->file, O_RDONLY, &from), 0);
    assert_int_equal(client_open(c, other, O_RDWR, &to), 0);
    struct wire_copy_file_range_in in = {.fh_in = from, .nodeid_out = other, .fh_out = to, .len = UINT64_MAX};
    assert_int_equal(client_call(c, FUSE_COPY_FILE_RANGE, rig->file, &in, sizeof(in)), 0);
    assert_int_equal(((const struct wire_write_out *)c->reply)->size, 5);
    assert_int_equal(fake_fs_seen(rig->fake)->len, 0x7ffff000);
    assert_int_equal(client_call(c, FUSE_COPY_FILE_RANGE_64, rig->file, &in, sizeof(in)), 0);
    assert_int_equal(c->payload_len, 8);
    assert_int_equal(((const struct wire_copy_file_range_out *)c->reply)->bytes_copied, 5);
    in.flags = 1;
    assert_int_equal(client_call(c, FUSE_COPY_FILE_RANGE, rig->file, &in, sizeof(in)), -EINVAL);
    in.flags = 0;
    in.nodeid_out = rig->file; /* the handle is of the other node */
    assert_int_equal(client_call(c, FUSE_COPY_FILE_RANGE, rig->file, &in, sizeof(in)), -EBADF);
    client_release(c, rig->file, from);
    client_release(c, other, to);
    client_forget(c, other, 1);
}

static void the_rest_checks_its_numbers(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    struct wire_fallocate_in fa = {.fh = fh, .length = 100};
    assert_int_equal(client_call(c, FUSE_FALLOCATE, rig->file, &fa, sizeof(fa)), 0);
    fa.mode = 0x8000;
    assert_int_equal(client_call(c, FUSE_FALLOCATE, rig->file, &fa, sizeof(fa)), -EOPNOTSUPP);
    fa = (struct wire_fallocate_in){.fh = fh};
    assert_int_equal(client_call(c, FUSE_FALLOCATE, rig->file, &fa, sizeof(fa)), -EINVAL);
    fa = (struct wire_fallocate_in){.fh = fh, .offset = INT64_MAX, .length = 1};
    assert_int_equal(client_call(c, FUSE_FALLOCATE, rig->file, &fa, sizeof(fa)), -EFBIG);
    struct wire_lseek_in seek = {.fh = fh, .whence = SEEK_HOLE};
    assert_int_equal(client_call(c, FUSE_LSEEK, rig->file, &seek, sizeof(seek)), 0);
    seek.whence = SEEK_SET;
    assert_int_equal(client_call(c, FUSE_LSEEK, rig->file, &seek, sizeof(seek)), -EINVAL);
    seek = (struct wire_lseek_in){.fh = fh, .whence = SEEK_DATA, .offset = 1 << 20};
    assert_int_equal(client_call(c, FUSE_LSEEK, rig->file, &seek, sizeof(seek)), -ENXIO);
    struct wire_flush_in flush = {.fh = fh, .lock_owner = 99};
    assert_int_equal(client_call(c, FUSE_FLUSH, rig->file, &flush, sizeof(flush)), 0);
    assert_int_equal(fake_fs_seen(rig->fake)->lock_owner, 99);
    struct wire_fsync_in sync = {.fh = fh};
    assert_int_equal(client_call(c, FUSE_FSYNC, rig->file, &sync, sizeof(sync)), 0);
    fake_fs_fail(rig->fake, FAKE_FSYNC, -EIO, 1);
    assert_int_equal(client_call(c, FUSE_FSYNC, rig->file, &sync, sizeof(sync)), -EIO);
    client_release(c, rig->file, fh);
}

/* What a back-end says is not what the guest may hear. */
static void errors_out_of_range_become_eio(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    fake_fs_fail(rig->fake, FAKE_READ, -4095, 1);
    assert_int_equal(client_read(c, rig->file, fh, 0, 5), -EIO);
    fake_fs_fail(rig->fake, FAKE_FSYNC, 5, 1);
    struct wire_fsync_in sync = {.fh = fh};
    assert_int_equal(client_call(c, FUSE_FSYNC, rig->file, &sync, sizeof(sync)), -EIO);
    client_release(c, rig->file, fh);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(read_gives_the_file, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_read_that_would_wait_is_put_off, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(read_is_cut_to_the_room, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(requests_may_be_split_anywhere, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(more_vectors_than_one_call_takes, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(write_tells_how_much_and_where, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(appending_is_said_with_each_write, rig_setup, rig_teardown),
        cmocka_unit_test(a_write_back_cache_places_its_appends),
        cmocka_unit_test_setup_teardown(write_needs_its_data, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(memory_that_faults_gives_efault, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(guarded_reads_end_with_the_file, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(copy_file_range_forms, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(the_rest_checks_its_numbers, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(errors_out_of_range_become_eio, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
