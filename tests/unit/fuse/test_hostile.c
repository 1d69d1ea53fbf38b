/* What a hostile guest may send to the server: one test for each row of the attack table that is the server's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cmocka_all.h"
#include "rig.h"

static uint64_t bad_requests(struct rig *rig)
{
    struct oriel_fuse_stats stats;
    oriel_fuse_server_stats(rig->server, &stats);
    return stats.bad_requests;
}

/* The server is alive and nothing is lost or left over. */
static void check_alive(struct rig *rig)
{
    struct wire_attr_out out;
    assert_int_equal(client_getattr(&rig->client, rig->file, &out), 0);
    assert_int_equal(fake_fs_holds(rig->fake), 0);
}

static void chain_shorter_than_a_header(void **state)
{
    struct rig *rig = *state;
    uint8_t bytes[40] = {0};
    uint64_t before = bad_requests(rig);
    for (size_t len = 0; len < 40; len++)
        assert_int_equal(client_raw(&rig->client, bytes, len), 0);
    assert_int_equal(bad_requests(rig), before + 40);
    struct oriel_fuse_request nothing = {0};
    assert_int_equal(oriel_fuse_server_handle(rig->server, &nothing), 0);
    check_alive(rig);
}

static void header_length_that_lies(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    static const uint32_t lengths[] = {0, 1, 39, 40, 44, 46, 1000, 0x7fffffff, 0x80000000, UINT32_MAX};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct {
            struct wire_in_header header;
            char name[5];
        } r = {.header = {.len = lengths[i], .opcode = FUSE_LOOKUP, .unique = 42, .nodeid = FUSE_ROOT_ID},
               .name = "file"};
        struct wire_out_header reply;
        assert_int_equal(client_raw(c, &r, 45), 16);
        memcpy(&reply, c->out, sizeof(reply));
        assert_int_equal(reply.error, -EINVAL);
        assert_int_equal(reply.unique, 42);
    }
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_LOOKUP), 2); /* the rig's own */
    check_alive(rig);
}

static void reply_without_room(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    for (c->room = 0; c->room < 16; c->room++) {
        assert_int_equal(client_call_name(c, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "file"), 0);
        assert_int_equal(c->reply_len, 0);
    }
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_UNLINK), 0); /* what can't be answered is not done */
    c->room = 16;
    struct wire_mkdir_in in = {.mode = 0755};
    assert_int_equal(client_call_name(c, FUSE_MKDIR, FUSE_ROOT_ID, &in, sizeof(in), "d"), -EINVAL);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_MKDIR), 0);
    c->room = CLIENT_BUFFER;
    check_alive(rig);
}

/* Every opcode with every length of arguments, from nothing to more than it takes. */
static void arguments_of_any_length(void **state)
{
    struct rig *rig = *state;
    uint8_t args[160];
    memset(args, 0x41, sizeof(args));
    for (uint32_t op = 0; op <= 60; op++) {
        if (op == FUSE_INIT || op == FUSE_DESTROY)
            continue;
        for (size_t len = 0; len <= sizeof(args); len++)
            client_call(&rig->client, op, rig->folder, args, len);
    }
    check_alive(rig);
}

/* ---- names ---- */

struct bad_name {
    const char *bytes;
    size_t len;
    int error;
};

static char too_long[4098];

static const struct bad_name bad_names[] = {
    {"", 1, -EINVAL},
    {".", 2, -EINVAL},
    {"..", 3, -EINVAL},
    {"a/b", 4, -EINVAL},
    {"/", 2, -EINVAL},
    {"/etc", 5, -EINVAL},
    {"../x", 5, -EINVAL},
    {"x/", 3, -EINVAL},
    {"nonul", 5, -EINVAL},
    {too_long, 257, -ENAMETOOLONG},
    {too_long, 4097, -ENAMETOOLONG},
};

static void fill_long_name(size_t len)
{
    memset(too_long, 'n', sizeof(too_long));
    too_long[len - 1] = '\0';
}

/* A request of one name after `args`. */
static void refuses_bad_names(struct rig *rig, uint32_t opcode, const void *args, size_t args_len,
                              const void *after, size_t after_len)
{
    for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++) {
        const struct bad_name *bad = &bad_names[i];
        bool open_end = bad->bytes[bad->len - 1] != '\0' && bad->bytes != too_long;
        fill_long_name(bad->len);
        struct part parts[] = {{args, args_len}, {bad->bytes, bad->len}, {after, open_end ? 0 : after_len}};
        int rc = client_send(&rig->client, opcode, FUSE_ROOT_ID, parts, 3);
        if (rc != bad->error)
            fail_msg("opcode %u, name %zu: %d instead of %d", opcode, i, rc, bad->error);
    }
}

static void names_that_are_no_names(void **state)
{
    struct rig *rig = *state;
    static const struct wire_mknod_in mknod_in = {.mode = S_IFREG};
    static const struct wire_mkdir_in mkdir_in = {.mode = 0755};
    static const struct wire_create_in create_in = {.flags = O_RDWR};
    struct wire_rename_in rename_in = {.newdir = rig->folder};
    struct wire_rename2_in rename2_in = {.newdir = rig->folder};
    struct wire_link_in link_in = {.oldnodeid = rig->file};
    refuses_bad_names(rig, FUSE_MKNOD, &mknod_in, sizeof(mknod_in), NULL, 0);
    refuses_bad_names(rig, FUSE_MKDIR, &mkdir_in, sizeof(mkdir_in), NULL, 0);
    refuses_bad_names(rig, FUSE_CREATE, &create_in, sizeof(create_in), NULL, 0);
    refuses_bad_names(rig, FUSE_SYMLINK, NULL, 0, "target", 7);
    refuses_bad_names(rig, FUSE_UNLINK, NULL, 0, NULL, 0);
    refuses_bad_names(rig, FUSE_RMDIR, NULL, 0, NULL, 0);
    refuses_bad_names(rig, FUSE_LINK, &link_in, sizeof(link_in), NULL, 0);
    refuses_bad_names(rig, FUSE_RENAME, &rename_in, sizeof(rename_in), "new", 4);
    refuses_bad_names(rig, FUSE_RENAME2, &rename2_in, sizeof(rename2_in), "new", 4);
    /* and as the second name */
    char old_name[sizeof(rename2_in) + 5];
    memcpy(old_name, &rename2_in, sizeof(rename2_in));
    memcpy(old_name + sizeof(rename2_in), "file", 5);
    refuses_bad_names(rig, FUSE_RENAME2, old_name, sizeof(old_name), NULL, 0);
    for (int op = FAKE_MKNOD; op <= FAKE_TMPFILE; op++)
        assert_int_equal(fake_fs_calls(rig->fake, op), 0);
    check_alive(rig);
}

static void lookup_of_names_that_are_no_names(void **state)
{
    struct rig *rig = *state;
    for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++) {
        fill_long_name(bad_names[i].len);
        if (bad_names[i].bytes[0] == '.' && strchr(bad_names[i].bytes, '/') == NULL)
            continue; /* "." and ".." are for NFS export: below the root they stay at the root */
        struct part part = {bad_names[i].bytes, bad_names[i].len};
        assert_int_equal(client_send(&rig->client, FUSE_LOOKUP, FUSE_ROOT_ID, &part, 1), bad_names[i].error);
    }
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_LOOKUP), 2);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_LOOKUP_PARENT), 0);
}

/* ---- ids ---- */

static void forged_and_stale_nodeids(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    static const uint64_t forged[] = {0,           4,           100,        0xffffffff,
                                      0x100000001, 0x100000002, UINT64_MAX, 0x7fff00000002};
    static const uint32_t by_node[] = {FUSE_GETATTR, FUSE_OPEN,     FUSE_OPENDIR,
                                       FUSE_STATFS,  FUSE_READLINK, FUSE_ACCESS};
    uint8_t args[16] = {0};
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        for (size_t k = 0; k < sizeof(by_node) / sizeof(by_node[0]); k++) {
            int rc = client_call(c, by_node[k], forged[i], args, sizeof(args));
            assert_true(rc == -ENOENT || rc == -ESTALE);
        }
        assert_true(client_lookup(c, forged[i], "file", NULL) < 0);
        client_forget(c, forged[i], 1);
    }
    client_forget(c, rig->file, 1);
    uint64_t again = client_find(c, "file");
    assert_int_equal((uint32_t)again, (uint32_t)rig->file); /* the slot is used again */
    assert_int_equal(client_getattr(c, rig->file, NULL), -ESTALE);
    rig->file = again;
    check_alive(rig);
}

static void forged_handles(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    const uint64_t forged[] = {0, fh + 1, fh | UINT64_C(1) << 32, UINT64_MAX, 0xffffffff};
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        assert_int_equal(client_read(c, rig->file, forged[i], 0, 1), -EBADF);
        assert_int_equal(client_write(c, rig->file, forged[i], 0, "x", 1, NULL), -EBADF);
        assert_int_equal(client_release(c, rig->file, forged[i]), -EBADF);
    }
    /* Of another inode. */
    assert_int_equal(client_read(c, rig->folder, fh, 0, 1), -EBADF);
    assert_int_equal(client_read(c, FUSE_ROOT_ID, fh, 0, 1), -EBADF);
    assert_int_equal(client_release(c, rig->folder, fh), -EBADF);
    assert_int_equal(client_release(c, rig->file, fh), 0);
    assert_int_equal(client_read(c, rig->file, fh, 0, 1), -EBADF);
    uint64_t next;
    assert_int_equal(client_open(c, rig->file, O_RDWR, &next), 0);
    assert_int_equal((uint32_t)next, (uint32_t)fh);
    assert_int_equal(client_read(c, rig->file, fh, 0, 1), -EBADF);
    client_release(c, rig->file, next);
}

static void forget_more_than_was_ever_looked_up(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t before = bad_requests(rig);
    client_forget(c, rig->file, UINT64_MAX);
    client_forget(c, rig->file, 1);
    client_forget(c, FUSE_ROOT_ID, UINT64_MAX);
    client_forget(c, rig->folder, 0);
    assert_int_equal(bad_requests(rig), before + 2);
    assert_int_equal(client_getattr(c, rig->file, NULL), -ESTALE);
    assert_int_equal(client_getattr(c, FUSE_ROOT_ID, NULL), 0);
    assert_int_equal(client_getattr(c, rig->folder, NULL), 0);
    struct oriel_fuse_stats stats;
    oriel_fuse_server_stats(rig->server, &stats);
    assert_int_equal(stats.lookups, 1);
    rig->file = client_find(c, "file");
    check_alive(rig);
}

static void batch_forget_whose_count_lies(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_batch_forget_in in = {.count = UINT32_MAX};
    struct wire_forget_one list[] = {{rig->file, 1}, {4711, 1}, {rig->folder, 1}};
    struct part parts[] = {{&in, sizeof(in)}, {list, sizeof(list) + 0}};
    c->room = 0; /* as on the hiprio queue: nothing to answer into */
    client_send(c, FUSE_BATCH_FORGET, 0, parts, 2);
    assert_int_equal(c->reply_len, 0);
    c->room = CLIENT_BUFFER;
    assert_int_equal(client_getattr(c, rig->file, NULL), -ESTALE);
    assert_int_equal(client_getattr(c, rig->folder, NULL), -ESTALE);
    in.count = 0;
    client_send(c, FUSE_BATCH_FORGET, 0, parts, 2);
    parts[1].len = 7;
    in.count = 1;
    client_send(c, FUSE_BATCH_FORGET, 0, parts, 2);
    assert_int_equal(c->reply_len, 0);
}

/* One piece of memory as often as a chain may have it: seven seconds of work, which a reset would wait for. */
static void a_batch_forget_longer_than_any_guest_sends(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    enum { PIECE = 4 << 20, PIECES = 1000, ENTRIES = PIECE / sizeof(struct wire_forget_one) };
    struct wire_forget_one *list = calloc(ENTRIES, sizeof(*list)), last = {rig->folder, 1};
    assert_non_null(list);
    for (size_t i = 1; i < ENTRIES; i++)
        list[i] = (struct wire_forget_one){rig->folder, 0};
    list[0] = (struct wire_forget_one){rig->file, 1};
    struct {
        struct wire_in_header header;
        struct wire_batch_forget_in in;
    } head = {.header = {.opcode = FUSE_BATCH_FORGET, .unique = 4711}, .in = {.count = PIECES * ENTRIES + 1}};
    static struct iovec iov[PIECES + 2];
    iov[0] = (struct iovec){&head, sizeof(head)};
    for (size_t i = 1; i <= PIECES; i++)
        iov[i] = (struct iovec){list, PIECE};
    iov[PIECES + 1] = (struct iovec){&last, sizeof(last)};
    head.header.len = (uint32_t)(sizeof(head) + (uint64_t)PIECES * PIECE + sizeof(last));
    const struct oriel_fuse_request request = {.in = iov, .in_count = PIECES + 2};
    assert_int_equal(oriel_fuse_server_handle(c->server, &request), 0);
    free(list);
    assert_true(bad_requests(rig) > 0);
    assert_int_equal(client_getattr(c, rig->file, NULL), -ESTALE);
    assert_int_equal(client_getattr(c, rig->folder, NULL), 0); /* too far back in the list */
}

/* ---- numbers ---- */

static void offsets_and_sizes_at_the_edge(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    static const uint64_t offsets[] = {INT64_MAX, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 4095};
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        assert_int_equal(client_read(c, rig->file, fh, offsets[i], UINT32_MAX), -EINVAL);
        assert_int_equal(client_write(c, rig->file, fh, offsets[i], "x", 1, NULL), -EINVAL);
    }
    assert_int_equal(client_read(c, rig->file, fh, 0, UINT32_MAX), 0); /* cut to the room */
    assert_int_equal(c->payload_len, 5);
    client_release(c, rig->file, fh);
}

/* Room for more than the 32 bits of the reply's length can say: the vectors name the same memory many times. */
static void a_reply_of_more_than_its_length_can_say(void **state)
{
    struct rig *rig = *state;
    enum { VECTORS = 80 };
    size_t piece = (size_t)64 << 20;
    char *memory =
        mmap(NULL, piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(memory != MAP_FAILED);
    struct {
        struct wire_in_header header;
        struct wire_read_in args;
    } read = {.header = {.len = 80, .opcode = FUSE_READ, .unique = 5, .nodeid = rig->file},
              .args = {.size = UINT32_MAX}};
    struct wire_out_header reply;
    struct iovec in = {&read, sizeof(read)}, out[1 + VECTORS] = {{&reply, sizeof(reply)}};
    for (int i = 1; i <= VECTORS; i++)
        out[i] = (struct iovec){memory, piece};
    struct oriel_fuse_request r = {.in = &in, .in_count = 1, .out = out, .out_count = 1 + VECTORS};
    assert_int_equal(client_open(&rig->client, rig->file, O_RDONLY, &read.args.fh), 0);
    assert_int_equal(oriel_fuse_server_handle(rig->server, &r), sizeof(reply) + 5);
    fake_fs_claim_reads(rig->fake);
    size_t len = oriel_fuse_server_handle(rig->server, &r);
    memcpy(&reply, out[0].iov_base, sizeof(reply));
    assert_int_equal(reply.len, len);
    assert_true(len <= INT32_MAX);
    munmap(memory, piece);
}

/* ---- read-only shares ---- */

static int call_ro(struct rig *rig, uint32_t opcode, uint64_t nodeid, const void *args, size_t len,
                   const char *names, size_t names_len)
{
    struct part parts[] = {{args, len}, {names, names_len}};
    return client_send(&rig->client, opcode, nodeid, parts, 2);
}

static void read_only_refuses_every_change(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = rig_options();
    options.read_only = true;
    struct rig *rig = rig_new(&options, true);
    struct client *c = &rig->client;
    uint64_t root = FUSE_ROOT_ID, fh, folder_fh;
    uint8_t zero[88] = {0};
    assert_int_equal(client_open(c, rig->file, O_RDONLY, &fh), 0);
    assert_int_equal(client_opendir(c, rig->folder, &folder_fh), 0);
    struct wire_rename_in rename_in = {.newdir = rig->folder};
    struct wire_rename2_in rename2_in = {.newdir = rig->folder};
    struct wire_link_in link_in = {.oldnodeid = rig->file};
    assert_int_equal(call_ro(rig, FUSE_SETATTR, rig->file, zero, 88, NULL, 0), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_SYMLINK, root, NULL, 0, "a\0b", 4), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_MKNOD, root, zero, 16, "a", 2), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_MKDIR, root, zero, 8, "a", 2), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_UNLINK, root, NULL, 0, "file", 5), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_RMDIR, root, NULL, 0, "folder", 7), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_RENAME, root, &rename_in, 8, "file\0x", 7), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_RENAME2, root, &rename2_in, 16, "file\0x", 7), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_LINK, root, &link_in, 8, "x", 2), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_CREATE, root, zero, 16, "x", 2), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_TMPFILE, root, zero, 16, "/", 2), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_SETXATTR, rig->file, zero, 16, "user.a", 7), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_REMOVEXATTR, rig->file, NULL, 0, "user.a", 7), -EROFS);
    assert_int_equal(client_write(c, rig->file, fh, 0, "x", 1, NULL), -EROFS);
    struct wire_fallocate_in fa = {.fh = fh, .length = 1};
    assert_int_equal(call_ro(rig, FUSE_FALLOCATE, rig->file, &fa, sizeof(fa), NULL, 0), -EROFS);
    struct wire_copy_file_range_in copy = {.fh_in = fh, .fh_out = fh, .nodeid_out = rig->file, .len = 1};
    assert_int_equal(call_ro(rig, FUSE_COPY_FILE_RANGE, rig->file, &copy, sizeof(copy), NULL, 0), -EROFS);
    assert_int_equal(call_ro(rig, FUSE_COPY_FILE_RANGE_64, rig->file, &copy, sizeof(copy), NULL, 0), -EROFS);
    static const uint32_t flags[] = {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC};
    for (size_t i = 0; i < 3; i++) {
        uint64_t other;
        assert_int_equal(client_open(c, rig->file, flags[i], &other), -EROFS);
    }
    struct wire_access_in access_in = {.mask = 2};
    assert_int_equal(call_ro(rig, FUSE_ACCESS, rig->file, &access_in, sizeof(access_in), NULL, 0), -EROFS);
    struct wire_ioctl_in ioctl_in = {.fh = fh, .cmd = 0x40086602, .in_size = 4};
    assert_int_equal(call_ro(rig, FUSE_IOCTL, rig->file, &ioctl_in, sizeof(ioctl_in), "\0\0\0", 4), -EROFS);
    static const enum fake_op never[] = {FAKE_SETATTR, FAKE_MKNOD,    FAKE_MKDIR,       FAKE_SYMLINK,
                                         FAKE_LINK,    FAKE_UNLINK,   FAKE_RMDIR,       FAKE_RENAME,
                                         FAKE_CREATE,  FAKE_TMPFILE,  FAKE_WRITE,       FAKE_FALLOCATE,
                                         FAKE_COPY,    FAKE_SETXATTR, FAKE_REMOVEXATTR, FAKE_IOCTL};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        assert_int_equal(fake_fs_calls(rig->fake, never[i]), 0);
    /* Reading goes on. */
    assert_int_equal(client_read(c, rig->file, fh, 0, 5), 0);
    assert_int_equal(client_release(c, rig->file, fh), 0);
    assert_int_equal(client_releasedir(c, rig->folder, folder_fh), 0);
    rig_free(rig);
}

/* ---- attributes of the host ---- */

static int try_xattr(struct rig *rig, const char *name)
{
    struct wire_getxattr_in in = {.size = 10};
    return client_call_name(&rig->client, FUSE_GETXATTR, rig->file, &in, sizeof(in), name);
}

static void xattrs_of_the_host_are_not_the_guests(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = {.size = sizeof(options), .xattr = true};
    struct rig *rig = rig_new(&options, true);
    static const char *denied[] = {"trusted.overlay.opaque",
                                   "security.capability",
                                   "security.selinux",
                                   "system.posix_acl_access",
                                   "system.nfs4_acl",
                                   "os2.x",
                                   "user",
                                   "user."};
    for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++) {
        assert_int_equal(try_xattr(rig, denied[i]), -EOPNOTSUPP);
        struct wire_setxattr_in in = {0};
        assert_int_equal(client_call_name(&rig->client, FUSE_SETXATTR, rig->file, &in, sizeof(in), denied[i]),
                         -EOPNOTSUPP);
        assert_int_equal(client_call_name(&rig->client, FUSE_REMOVEXATTR, rig->file, NULL, 0, denied[i]),
                         -EOPNOTSUPP);
    }
    assert_int_equal(try_xattr(rig, "user.x"), -ENODATA);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_SETXATTR), 0);
    rig_free(rig);
}

static void xattrs_of_the_host_where_options_say_so(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = {
        .size = sizeof(options), .xattr = true, .security_xattr = true};
    struct rig *rig = rig_new(&options, true);
    assert_int_equal(try_xattr(rig, "security.capability"), -ENODATA);
    assert_int_equal(try_xattr(rig, "trusted.x"), -EOPNOTSUPP);
    rig_free(rig);
    options.security_xattr = false;
    options.trusted_xattr = true;
    rig = rig_new(&options, true);
    assert_int_equal(try_xattr(rig, "security.capability"), -EOPNOTSUPP);
    assert_int_equal(try_xattr(rig, "trusted.x"), -ENODATA);
    rig_free(rig);
}

static void lists_hide_the_hosts_xattrs(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_setxattr_in set = {0};
    assert_int_equal(client_call_name(c, FUSE_SETXATTR, rig->file, &set, sizeof(set), "security.selinux"), 0);
    assert_int_equal(client_call_name(c, FUSE_SETXATTR, rig->file, &set, sizeof(set), "user.mine"), 0);
    struct wire_getxattr_in in = {.size = 100};
    assert_int_equal(client_call(c, FUSE_LISTXATTR, rig->file, &in, sizeof(in)), 0);
    assert_int_equal(c->payload_len, 27);
    /* The same tree without labels for the guest. */
    struct oriel_fuse_server_options options = {.size = sizeof(options), .xattr = true};
    struct fake_fs *fake = rig->fake;
    options.fs = fake_fs_backend(fake);
    struct oriel_fs_ops *ops = fake_fs_ops(fake);
    void (*destroy)(void *) = ops->destroy;
    ops->destroy = NULL;
    struct oriel_fuse_server *other;
    struct client oc;
    assert_int_equal(oriel_fuse_server_create(&options, &other), 0);
    ops->destroy = destroy;
    client_start(&oc, other);
    client_init(&oc);
    uint64_t nodeid = client_find(&oc, "file");
    assert_int_equal(client_call(&oc, FUSE_LISTXATTR, nodeid, &in, sizeof(in)), 0);
    assert_int_equal(oc.payload_len, 10);
    assert_memory_equal(oc.reply, "user.mine", 10);
    in.size = 0;
    assert_int_equal(client_call(&oc, FUSE_LISTXATTR, nodeid, &in, sizeof(in)), 0);
    assert_int_equal(((const struct wire_getxattr_out *)oc.reply)->size, 10);
    client_stop(&oc);
    oriel_fuse_server_destroy(other);
}

/* Random bytes behind a header that looks right. */
static void noise(void **state)
{
    struct rig *rig = *state;
    const char *given = getenv("ORIEL_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 20261123;
    print_message("# seed %u\n", seed);
    static uint8_t args[600];
    for (int i = 0; i < 20000; i++) {
        size_t len = (size_t)rand_r(&seed) % sizeof(args);
        for (size_t k = 0; k < len; k++)
            args[k] = (uint8_t)(rand_r(&seed) % 7 == 0 ? rand_r(&seed) : 0);
        uint32_t op = (uint32_t)rand_r(&seed) % 56;
        if (op == FUSE_DESTROY || op == FUSE_INIT || op == FUSE_SETLKW)
            continue;
        rig->client.room = rand_r(&seed) % 4 == 0 ? (size_t)rand_r(&seed) % 400 : 4000;
        rig->client.split = rand_r(&seed) % 4 == 0 ? 1 + (size_t)rand_r(&seed) % 50 : 0;
        client_call(&rig->client, op, (uint64_t)rand_r(&seed) % 5, args, len);
    }
    rig->client.room = CLIENT_BUFFER;
    rig->client.split = 0;
    assert_int_equal(client_getattr(&rig->client, FUSE_ROOT_ID, NULL), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chain_shorter_than_a_header, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(header_length_that_lies, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(reply_without_room, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(arguments_of_any_length, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(names_that_are_no_names, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(lookup_of_names_that_are_no_names, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(forged_and_stale_nodeids, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(forged_handles, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(forget_more_than_was_ever_looked_up, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(batch_forget_whose_count_lies, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_batch_forget_longer_than_any_guest_sends, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(offsets_and_sizes_at_the_edge, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_reply_of_more_than_its_length_can_say, rig_setup, rig_teardown),
        cmocka_unit_test(read_only_refuses_every_change),
        cmocka_unit_test(xattrs_of_the_host_are_not_the_guests),
        cmocka_unit_test(xattrs_of_the_host_where_options_say_so),
        cmocka_unit_test_setup_teardown(lists_hide_the_hosts_xattrs, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(noise, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
