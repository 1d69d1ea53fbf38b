/*
 * A new file's label (FUSE_SECURITY_CTX) could have any name. The memory back-end kept one named as an access list without
 * looking at it, and a chmod then wrote outside of its few bytes.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <oriel/memory_fs.h>

#include "../unit/fuse/client.h"
#include "../unit/fuse/cmocka_all.h"

#define ACL "system.posix_acl_access"

static struct oriel_fs memory_fs(void)
{
    struct oriel_memory_fs_options options = {.size = sizeof(options)};
    struct oriel_fs fs;
    assert_int_equal(oriel_memory_fs_create(&options, &fs), 0);
    return fs;
}

static size_t put_label(uint8_t *at, const char *name, const char *value, uint32_t value_len)
{
    size_t len = (8 + strlen(name) + 1 + value_len + 7) & ~(size_t)7;
    uint32_t header[4] = {(uint32_t)(8 + len), 1, value_len, 0};
    memset(at, 0, 8 + len);
    memcpy(at, header, 16);
    memcpy(at + 16, name, strlen(name) + 1);
    memcpy(at + 16 + strlen(name) + 1, value, value_len);
    return 8 + len;
}

static int make_labelled(struct client *c, const char *file, const char *label)
{
    _Alignas(8) uint8_t ext[128];
    size_t len = put_label(ext, label, "x", 1);
    struct wire_mknod_in in = {.mode = S_IFREG | 0600};
    struct part parts[] = {{&in, sizeof(in)}, {file, strlen(file) + 1}, {ext, len}};
    c->extlen = (uint16_t)(len / 8);
    int rc = client_send(c, FUSE_MKNOD, FUSE_ROOT_ID, parts, 3);
    c->extlen = 0;
    return rc;
}

static void the_server_refuses_it(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = {
        .size = sizeof(options), .fs = memory_fs(), .xattr = true, .security_label = true};
    struct client c;
    struct oriel_fuse_server *server;
    assert_int_equal(oriel_fuse_server_create(&options, &server), 0);
    client_start(&c, server);
    client_init(&c);
    assert_int_equal(make_labelled(&c, "a", ACL), -EINVAL);
    assert_int_equal(make_labelled(&c, "b", "user.x"), -EINVAL);
    assert_int_equal(make_labelled(&c, "c", "security."), -EINVAL);
    assert_int_equal(make_labelled(&c, "d", "security.selinux"), 0);
    oriel_fuse_server_destroy(server);
    client_stop(&c);
}

static void the_memory_back_end_refuses_it(void **state)
{
    (void)state;
    struct oriel_fs fs = memory_fs();
    struct oriel_fs_entry entry;
    void *root;
    oriel_fs_caller caller = {.security_name = ACL, .security_value = "x", .security_len = 1};
    assert_int_equal(fs.ops->root(fs.fs, &entry, &root), 0);
    assert_int_equal(fs.ops->mknod(fs.fs, &caller, root, "a", S_IFREG | 0600, 0, 0, &entry), -EINVAL);
    caller.security_name = "nothing.known";
    assert_int_equal(fs.ops->mknod(fs.fs, &caller, root, "a", S_IFREG | 0600, 0, 0, &entry), -EINVAL);
    /* A symbolic link cannot have it, and is made all the same. */
    caller.security_name = "user.security.selinux";
    assert_int_equal(fs.ops->symlink(fs.fs, &caller, root, "link", "target", &entry), 0);
    fs.ops->entry_drop(fs.fs, &entry);
    fs.ops->inode_close(fs.fs, root);
    fs.ops->destroy(fs.fs);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_server_refuses_it),
        cmocka_unit_test(the_memory_back_end_refuses_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
