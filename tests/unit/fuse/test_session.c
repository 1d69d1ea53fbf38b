#include <errno.h>
#include <string.h>

#include "cmocka_all.h"
#include "rig.h"

/* INIT, with as many bytes of the arguments as told. */
static int init(struct client *c, const struct wire_init_in *in, size_t len, struct wire_init_out *out)
{
    int rc = client_call(c, FUSE_INIT, 0, in, len);
    if (rc == 0)
        memcpy(out, c->reply, sizeof(*out));
    return rc;
}

static struct rig *fresh(void)
{
    struct oriel_fuse_server_options options = rig_options();
    return rig_new(&options, false);
}

static uint64_t flags_of(const struct wire_init_out *out)
{
    return out->flags | (uint64_t)out->flags2 << 32;
}

static void init_tells_sizes_and_flags(void **state)
{
    (void)state;
    struct rig *rig = fresh();
    struct wire_init_out out = client_init(&rig->client);
    assert_int_equal(out.major, 7);
    assert_int_equal(out.minor, FUSE_MINOR);
    assert_int_equal(out.max_write, 1 << 20);
    assert_int_equal(out.max_pages, 256);
    assert_int_equal(out.time_gran, 1);
    assert_int_equal(out.max_readahead, 1 << 17);
    assert_int_equal(out.map_alignment, 0);
    uint64_t flags = flags_of(&out);
    uint64_t wanted = FUSE_INIT_EXT | FUSE_MAX_PAGES | FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC |
                      FUSE_PARALLEL_DIROPS | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |
                      FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_POSIX_ACL | FUSE_ALLOW_IDMAP |
                      FUSE_SECURITY_CTX | FUSE_CREATE_SUPP_GROUP | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS |
                      FUSE_SUBMOUNTS | FUSE_EXPORT_SUPPORT;
    assert_int_equal(flags & wanted, wanted);
    assert_int_equal(flags & (FUSE_WRITEBACK_CACHE | FUSE_HANDLE_KILLPRIV | FUSE_MAP_ALIGNMENT), 0);
    rig_free(rig);
}

/* Whatever one guest offers, nothing else comes back. */
static void only_what_was_offered_comes_back(void **state)
{
    (void)state;
    struct rig *rig = fresh();
    for (unsigned bit = 0; bit < 64; bit++) {
        struct wire_init_out out = client_init_with(&rig->client, FUSE_BIT(bit));
        assert_int_equal(flags_of(&out) & ~FUSE_BIT(bit), 0);
    }
    rig_free(rig);
}

static void the_set_is_consistent(void **state)
{
    (void)state;
    struct rig *rig = fresh();
    struct wire_init_out out = client_init_with(&rig->client, CLIENT_ALL_FLAGS & ~FUSE_INIT_EXT);
    assert_int_equal(out.flags2, 0);
    out = client_init_with(&rig->client, CLIENT_ALL_FLAGS & ~FUSE_DO_READDIRPLUS);
    assert_int_equal(out.flags & FUSE_READDIRPLUS_AUTO, 0);
    /* Without POSIX_ACL the guest's kernel refuses the mount when ids are mapped. */
    out = client_init_with(&rig->client, CLIENT_ALL_FLAGS & ~FUSE_POSIX_ACL);
    assert_int_equal(flags_of(&out) & FUSE_ALLOW_IDMAP, 0);
    out = client_init_with(&rig->client, CLIENT_ALL_FLAGS & ~FUSE_MAX_PAGES);
    assert_int_equal(out.max_pages, 0);
    rig_free(rig);
}

static void options_take_flags_away(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = {.size = sizeof(options),
                                                .no_readdirplus = true,
                                                .no_killpriv_v2 = true,
                                                .read_only = true,
                                                .writeback = true,
                                                .max_write = 65536,
                                                .cache = ORIEL_CACHE_NEVER};
    struct rig *rig = rig_new(&options, false);
    struct wire_init_out out = client_init(&rig->client);
    assert_int_equal(flags_of(&out) & (FUSE_DO_READDIRPLUS | FUSE_WRITEBACK_CACHE | FUSE_POSIX_ACL |
                                       FUSE_SECURITY_CTX | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS |
                                       FUSE_SUBMOUNTS | FUSE_CACHE_SYMLINKS | FUSE_HANDLE_KILLPRIV_V2),
                     0);
    assert_int_equal(out.max_write, 65536);
    assert_int_equal(out.max_pages, 16);
    rig_free(rig);
}

static bool writes_back(enum oriel_cache_mode cache)
{
    struct oriel_fuse_server_options options = {.size = sizeof(options), .writeback = true, .cache = cache};
    struct rig *rig = rig_new(&options, false);
    struct wire_init_out out = client_init(&rig->client);
    rig_free(rig);
    return (out.flags & FUSE_WRITEBACK_CACHE) != 0;
}

static void only_cached_files_are_written_back(void **state)
{
    (void)state;
    assert_true(writes_back(ORIEL_CACHE_AUTO));
    assert_true(writes_back(ORIEL_CACHE_ALWAYS));
    assert_false(writes_back(ORIEL_CACHE_NEVER));
    assert_false(writes_back(ORIEL_CACHE_METADATA));
}

static void without_parents_no_export(void **state)
{
    (void)state;
    struct fake_fs *fake = fake_fs_new();
    fake_fs_ops(fake)->lookup_parent = NULL;
    struct oriel_fuse_server_options options = {.size = sizeof(options), .fs = fake_fs_backend(fake)};
    struct oriel_fuse_server *server;
    struct client c;
    assert_int_equal(oriel_fuse_server_create(&options, &server), 0);
    client_start(&c, server);
    assert_int_equal(client_init(&c).flags & FUSE_EXPORT_SUPPORT, 0);
    assert_int_equal(client_lookup(&c, FUSE_ROOT_ID, ".", NULL), -EINVAL);
    client_stop(&c);
    oriel_fuse_server_destroy(server);
}

static void old_and_long_init(void **state)
{
    (void)state;
    struct rig *rig = fresh();
    struct {
        struct wire_init_in in;
        char more[100];
    } args = {.in = {.major = 7, .minor = 31, .flags = FUSE_INIT_EXT | FUSE_ASYNC_READ, .flags2 = ~0u}};
    struct wire_init_out out;
    /* 16 bytes, before 7.36: the second word is not there, whatever the flag says. */
    assert_int_equal(init(&rig->client, &args.in, 16, &out), 0);
    assert_int_equal(out.minor, 31);
    assert_int_equal(flags_of(&out), FUSE_ASYNC_READ);
    assert_int_equal(init(&rig->client, &args.in, sizeof(args), &out), 0);
    assert_int_not_equal(out.flags2, 0);
    args.in.minor = 99;
    assert_int_equal(init(&rig->client, &args.in, 64, &out), 0);
    assert_int_equal(out.minor, FUSE_MINOR);
    rig_free(rig);
}

static void other_versions(void **state)
{
    (void)state;
    struct rig *rig = fresh();
    struct wire_init_in in = {.major = 8};
    struct wire_init_out out;
    assert_int_equal(init(&rig->client, &in, 8, &out), 0);
    assert_int_equal(out.major, 7);
    assert_int_equal(client_getattr(&rig->client, FUSE_ROOT_ID, NULL), -EIO); /* not begun yet */
    in.major = 6;
    assert_int_equal(init(&rig->client, &in, 64, &out), -EPROTO);
    in = (struct wire_init_in){.major = 7, .minor = 26};
    assert_int_equal(init(&rig->client, &in, 64, &out), -EPROTO);
    in.minor = 27;
    assert_int_equal(init(&rig->client, &in, 7, &out), -EINVAL);
    assert_int_equal(init(&rig->client, &in, 16, &out), 0);
    rig_free(rig);
}

static void big_endian_guests_hear_eio(void **state)
{
    (void)state;
    struct rig *rig = fresh();
    struct wire_in_header header = {
        .len = __builtin_bswap32(104), .opcode = FUSE_INIT_OTHER_ENDIAN, .unique = 0x0102030405060708};
    uint8_t request[104] = {0};
    memcpy(request, &header, sizeof(header));
    assert_int_equal(client_raw(&rig->client, request, sizeof(request)), 16);
    struct wire_out_header reply;
    memcpy(&reply, rig->client.out, sizeof(reply));
    assert_int_equal(__builtin_bswap32(reply.len), 16);
    assert_int_equal((int32_t)__builtin_bswap32((uint32_t)reply.error), -EIO);
    assert_int_equal(reply.unique, header.unique);
    rig_free(rig);
}

static void nothing_before_init_or_after_destroy(void **state)
{
    (void)state;
    struct rig *rig = fresh();
    struct client *c = &rig->client;
    for (uint32_t op = 1; op < FUSE_OPCODE_END; op++) {
        if (op == FUSE_INIT || op == FUSE_DESTROY)
            continue;
        int rc = client_call(c, op, FUSE_ROOT_ID, "\0\0\0\0\0\0\0\0", 8);
        if (op == FUSE_FORGET || op == FUSE_BATCH_FORGET || op == FUSE_INTERRUPT)
            assert_int_equal(c->reply_len, 0);
        else
            assert_int_equal(rc, -EIO);
    }
    assert_int_equal(client_call(c, FUSE_DESTROY, 0, NULL, 0), 0);
    client_init(c);
    assert_int_equal(client_getattr(c, FUSE_ROOT_ID, NULL), 0);
    assert_int_equal(client_call(c, FUSE_DESTROY, 0, NULL, 0), 0);
    assert_int_equal(c->reply_len, 16);
    assert_int_equal(client_getattr(c, FUSE_ROOT_ID, NULL), -EIO);
    rig_free(rig);
}

static void check_everything_is_gone(struct rig *rig, uint64_t fh)
{
    struct client *c = &rig->client;
    assert_int_equal(client_getattr(c, rig->file, NULL), -ESTALE);
    assert_int_equal(client_read(c, rig->file, fh, 0, 1), -EBADF);
    assert_int_equal(fake_fs_handles(rig->fake), 0);
    assert_int_equal(fake_fs_inodes(rig->fake), 1);
    struct oriel_fuse_stats stats;
    oriel_fuse_server_stats(rig->server, &stats);
    assert_int_equal(stats.nodes, 0);
    assert_int_equal(stats.lookups, 0);
    assert_int_equal(stats.handles, 0);
    rig->file = client_find(c, "file");
}

static void a_new_session_starts_with_nothing(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, 0, &fh), 0);
    client_init(c);
    check_everything_is_gone(rig, fh);
    assert_int_equal(client_open(c, rig->file, 0, &fh), 0);
    assert_int_equal(client_call(c, FUSE_DESTROY, 0, NULL, 0), 0);
    client_init(c);
    check_everything_is_gone(rig, fh);
    assert_int_equal(client_open(c, rig->file, 0, &fh), 0);
    oriel_fuse_server_reset(rig->server);
    assert_int_equal(client_getattr(c, FUSE_ROOT_ID, NULL), -EIO);
    client_init(c);
    check_everything_is_gone(rig, fh);
}

static void options_are_checked(void **state)
{
    (void)state;
    struct fake_fs *fake = fake_fs_new();
    struct oriel_fuse_server_options good = rig_options(), options;
    good.fs = fake_fs_backend(fake);
    struct oriel_fuse_server *server;
    options = good;
    options.size = 4;
    assert_int_equal(oriel_fuse_server_create(&options, &server), -EINVAL);
    options = good;
    options.max_write = 100;
    assert_int_equal(oriel_fuse_server_create(&options, &server), -EINVAL);
    options.max_write = 2 << 20;
    assert_int_equal(oriel_fuse_server_create(&options, &server), -EINVAL);
    options = good;
    options.cache = 17;
    assert_int_equal(oriel_fuse_server_create(&options, &server), -EINVAL);
    options = good;
    fake_fs_ops(fake)->inode_close = NULL;
    assert_int_equal(oriel_fuse_server_create(&options, &server), -EINVAL);
    options.fs.ops = NULL;
    assert_int_equal(oriel_fuse_server_create(&options, &server), -EINVAL);
    fake_fs_free(fake);
    oriel_fuse_server_destroy(NULL);
}

/* A back-end without a function: the guest learns it once. */
static void missing_functions_are_enosys(void **state)
{
    (void)state;
    struct fake_fs *fake = fake_fs_new();
    fake_fs_add_file(fake, "file", "x", 1);
    fake_fs_ops(fake)->size = offsetof(struct oriel_fs_ops, open); /* built against an older header */
    struct oriel_fuse_server_options options = {.size = sizeof(options), .fs = fake_fs_backend(fake)};
    struct oriel_fuse_server *server;
    struct client c;
    uint64_t fh;
    assert_int_equal(oriel_fuse_server_create(&options, &server), 0);
    client_start(&c, server);
    client_init(&c);
    uint64_t file = client_find(&c, "file");
    assert_int_equal(client_open(&c, file, 0, &fh), -ENOSYS);
    assert_int_equal(client_opendir(&c, FUSE_ROOT_ID, &fh), -ENOSYS);
    client_stop(&c);
    oriel_fuse_server_destroy(server);
    fake_fs_free(fake); /* destroy() was past the end as well */
}

static void names_of_opcodes(void **state)
{
    (void)state;
    assert_string_equal(oriel_fuse_opcode_name(1), "LOOKUP");
    assert_string_equal(oriel_fuse_opcode_name(53), "COPY_FILE_RANGE_64");
    assert_string_equal(oriel_fuse_opcode_name(0), "UNKNOWN");
    assert_string_equal(oriel_fuse_opcode_name(7), "UNKNOWN");
    assert_string_equal(oriel_fuse_opcode_name(4096), "UNKNOWN");
}

static enum oriel_fuse_weight weigh(struct oriel_fuse_server *server, uint32_t opcode, size_t len)
{
    struct wire_in_header header = {.len = sizeof(header), .opcode = opcode};
    struct iovec in = {&header, len};
    struct oriel_fuse_request r = {.in = &in, .in_count = 1};
    return oriel_fuse_server_weight(server, &r);
}

static void weights(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(weigh(rig->server, FUSE_READ, 40), ORIEL_FUSE_INLINE);
    assert_int_equal(weigh(rig->server, FUSE_SETLKW, 40), ORIEL_FUSE_MAY_BLOCK);
    assert_int_equal(weigh(rig->server, FUSE_SYNCFS, 8), ORIEL_FUSE_MAY_BLOCK);
    assert_int_equal(weigh(rig->server, FUSE_SYNCFS, 7), ORIEL_FUSE_INLINE);
    assert_int_equal(weigh(rig->server, 12345, 40), ORIEL_FUSE_INLINE);
}

static void timing_fills_histograms(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = rig_options();
    options.timing = true;
    struct rig *rig = rig_new(&options, true);
    for (int i = 0; i < 9; i++)
        client_getattr(&rig->client, rig->file, NULL);
    client_getattr(&rig->client, 0xdead, NULL);
    struct oriel_fuse_stats stats;
    oriel_fuse_server_stats(rig->server, &stats);
    const struct oriel_fuse_op_stats *op = &stats.ops[FUSE_GETATTR];
    uint64_t sum = 0;
    for (int i = 0; i < 32; i++)
        sum += op->histogram[i];
    assert_int_equal(op->count, 10);
    assert_int_equal(op->errors, 1);
    assert_int_equal(sum, 10);
    assert_true(op->total_ns > 0);
    assert_int_equal(stats.bad_requests, 1);
    assert_int_equal(stats.nodes, 2);
    assert_int_equal(stats.lookups, 2);
    rig_free(rig);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_tells_sizes_and_flags),
        cmocka_unit_test(only_what_was_offered_comes_back),
        cmocka_unit_test(the_set_is_consistent),
        cmocka_unit_test(options_take_flags_away),
        cmocka_unit_test(only_cached_files_are_written_back),
        cmocka_unit_test(without_parents_no_export),
        cmocka_unit_test(old_and_long_init),
        cmocka_unit_test(other_versions),
        cmocka_unit_test(big_endian_guests_hear_eio),
        cmocka_unit_test(nothing_before_init_or_after_destroy),
        cmocka_unit_test_setup_teardown(a_new_session_starts_with_nothing, rig_setup, rig_teardown),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(missing_functions_are_enosys),
        cmocka_unit_test(names_of_opcodes),
        cmocka_unit_test_setup_teardown(weights, rig_setup, rig_teardown),
        cmocka_unit_test(timing_fills_histograms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
