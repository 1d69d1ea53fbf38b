/* Attributes, access lists, xattrs. */
#include "memory_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/le.h"

static int set_xattr(struct mem *mem, void *inode, const char *name, const void *value, size_t size,
                     int flags)
{
    return mem->ops->setxattr(mem->p, &mem->caller, inode, name, value, size, (uint32_t)flags, false);
}

static void times_are_kept_to_the_nanosecond(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    struct oriel_fs_attr change = {.atime = {-5, 123456789}, .mtime = {INT64_C(9000000000), 1}};
    assert_int_equal(mem_set(mem, file, ORIEL_FS_SET_ATIME | ORIEL_FS_SET_MTIME, &change), 0);
    struct oriel_fs_attr attr = mem_attr(mem, file);
    assert_int_equal(attr.atime.sec, -5);
    assert_int_equal(attr.atime.nsec, 123456789);
    assert_int_equal(attr.mtime.sec, INT64_C(9000000000));
    assert_int_equal(attr.mtime.nsec, 1);
    assert_true(attr.has_btime && attr.btime.sec > 1600000000);
    struct oriel_fs_time before = attr.ctime;
    assert_int_equal(mem_set_size(mem, file, 0), 0); /* the size that it has: nothing is stamped */
    assert_int_equal(mem_attr(mem, file).ctime.sec, before.sec);
    assert_int_equal(mem_attr(mem, file).ctime.nsec, before.nsec);
    assert_int_equal(mem_attr(mem, file).mtime.nsec, 1);
    assert_int_equal(mem_set_size(mem, file, 1), 0);
    assert_true(mem_attr(mem, file).mtime.sec != INT64_C(9000000000));
    mem_close(mem, file);
    mem_free(mem);
}

static void reading_moves_atime_as_relatime_does(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    char byte;
    assert_int_equal(mem_write(mem, file, "x", 1, 0), 1);
    assert_int_equal(mem_read(mem, file, &byte, 1, 0), 1);
    struct oriel_fs_attr first = mem_attr(mem, file);
    assert_true(first.atime.sec > first.mtime.sec ||
                (first.atime.sec == first.mtime.sec && first.atime.nsec > first.mtime.nsec));
    assert_int_equal(mem_read(mem, file, &byte, 1, 0), 1);
    struct oriel_fs_attr second = mem_attr(mem, file);
    assert_int_equal(second.atime.nsec, first.atime.nsec);
    mem_close(mem, file);
    mem_free(mem);
}

static void writing_and_chown_end_privileges(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 06755, NULL);
    assert_int_equal(set_xattr(mem, file, "security.capability", "cap", 3, 0), 0);
    struct iovec iov = {(void *)(uintptr_t) "x", 1};
    assert_int_equal(mem->ops->write(mem->p, &mem->caller, file, NULL, &iov, 1, 0, 0), 1);
    assert_int_equal(mem_attr(mem, file).mode & 07777, 06755); /* the guest's kernel said to leave them */
    assert_int_equal(mem->ops->write(mem->p, &mem->caller, file, NULL, &iov, 1, 0, ORIEL_FS_KILL_SUIDGID), 1);
    assert_int_equal(mem_attr(mem, file).mode & 07777, 0755);
    assert_int_equal(mem->ops->getxattr(mem->p, &mem->caller, file, "security.capability", NULL, 0),
                     -ENODATA);
    struct oriel_fs_attr change = {.mode = 06755, .uid = 5};
    assert_int_equal(mem_set(mem, file, ORIEL_FS_SET_MODE, &change), 0);
    assert_int_equal(mem_set(mem, file, ORIEL_FS_SET_UID, &change), 0);
    assert_int_equal(mem_attr(mem, file).mode & 07777, 0755);
    change.mode = 02644; /* without execution by the group sgid means locking, and stays */
    assert_int_equal(mem_set(mem, file, ORIEL_FS_SET_MODE, &change), 0);
    assert_int_equal(mem->ops->write(mem->p, &mem->caller, file, NULL, &iov, 1, 0, ORIEL_FS_KILL_SUIDGID), 1);
    assert_int_equal(mem_attr(mem, file).mode & 07777, 02644);
    mem_close(mem, file);
    mem_free(mem);
}

static void xattrs_are_set_listed_and_removed(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    char buffer[64];
    assert_int_equal(set_xattr(mem, file, "user.a", "1", 1, XATTR_REPLACE), -ENODATA);
    assert_int_equal(set_xattr(mem, file, "user.a", "1", 1, XATTR_CREATE), 0);
    assert_int_equal(set_xattr(mem, file, "user.a", "1", 1, XATTR_CREATE), -EEXIST);
    assert_int_equal(set_xattr(mem, file, "user.a", "longer", 6, 0), 0);
    assert_int_equal(set_xattr(mem, file, "user.empty", NULL, 0, 0), 0);
    assert_int_equal(set_xattr(mem, file, "trusted.t", "x", 1, 0), 0);
    assert_int_equal(set_xattr(mem, file, "strange", "x", 1, 0), -EOPNOTSUPP);
    assert_int_equal(mem->ops->getxattr(mem->p, &mem->caller, file, "user.a", NULL, 0), 6);
    assert_int_equal(mem->ops->getxattr(mem->p, &mem->caller, file, "user.a", buffer, 5), -ERANGE);
    assert_int_equal(mem->ops->getxattr(mem->p, &mem->caller, file, "user.a", buffer, 64), 6);
    assert_memory_equal(buffer, "longer", 6);
    assert_int_equal(mem->ops->getxattr(mem->p, &mem->caller, file, "user.empty", buffer, 64), 0);
    assert_int_equal(mem->ops->listxattr(mem->p, &mem->caller, file, NULL, 0), 28);
    assert_int_equal(mem->ops->listxattr(mem->p, &mem->caller, file, buffer, 27), -ERANGE);
    assert_int_equal(mem->ops->listxattr(mem->p, &mem->caller, file, buffer, 64), 28);
    mem->caller.uid = 99;
    assert_int_equal(mem->ops->listxattr(mem->p, &mem->caller, file, NULL, 0), 18); /* trusted.* is root's */
    mem->caller.uid = 0;
    assert_int_equal(mem->ops->removexattr(mem->p, &mem->caller, file, "user.a"), 0);
    assert_int_equal(mem->ops->removexattr(mem->p, &mem->caller, file, "user.a"), -ENODATA);
    mem_close(mem, file);
    mem_free(mem);
}

static void xattrs_are_bounded_and_counted(void **state)
{
    (void)state;
    struct mem *mem = mem_new(&(struct oriel_memory_fs_options){.max_bytes = 1 << 20});
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    static char value[65537];
    assert_int_equal(set_xattr(mem, file, "user.a", value, 65537, 0), -E2BIG);
    int error = 0;
    int count = 0;
    for (; error == 0 && count < 100; count++) {
        char name[16];
        snprintf(name, sizeof(name), "user.%d", count);
        error = set_xattr(mem, file, name, value, 65536, 0);
    }
    assert_int_equal(error, -ENOSPC);
    assert_int_equal(count, 16);
    assert_int_equal(mem_unlink(mem, mem->root, "f"), 0);
    mem_close(mem, file);
    assert_int_equal(mem_used_bytes(mem), 0);

    file = mem_file(mem, mem->root, "f", 0644, NULL);
    char name[256];
    for (error = 0, count = 0; error == 0 && count < 1000; count++) {
        snprintf(name, sizeof(name), "user.%0240d", count);
        error = set_xattr(mem, file, name, "", 0, 0);
    }
    assert_int_equal(error, -ENOSPC); /* what listxattr(2) can carry */
    assert_int_equal(count, 65536 / 246 + 1);
    mem_close(mem, file);
    mem_free(mem);
}

/* ---- access lists ---- */

struct acl {
    unsigned char bytes[128];
    size_t size;
};

static void acl_begin(struct acl *acl)
{
    le32_store(acl->bytes, 2);
    acl->size = 4;
}

static void acl_add(struct acl *acl, uint16_t tag, uint16_t perm, uint32_t id)
{
    le16_store(acl->bytes + acl->size, tag);
    le16_store(acl->bytes + acl->size + 2, perm);
    le32_store(acl->bytes + acl->size + 4, id);
    acl->size += 8;
}

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };
#define ACCESS  "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

/* u::rwx,u:1000:rw-,g::r-x,m::rw-,o::--- */
static struct acl sample(void)
{
    struct acl acl;
    acl_begin(&acl);
    acl_add(&acl, USER_OBJ, 7, UINT32_MAX);
    acl_add(&acl, USER, 6, 1000);
    acl_add(&acl, GROUP_OBJ, 5, UINT32_MAX);
    acl_add(&acl, MASK, 6, UINT32_MAX);
    acl_add(&acl, OTHER, 0, UINT32_MAX);
    return acl;
}

static void a_list_and_the_mode_stay_in_step(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    struct acl acl = sample();
    assert_int_equal(set_xattr(mem, file, ACCESS, acl.bytes, acl.size, 0), 0);
    assert_int_equal(mem_attr(mem, file).mode & 0777, 0760);
    assert_int_equal(mem_set(mem, file, ORIEL_FS_SET_MODE, &(struct oriel_fs_attr){.mode = 0741}), 0);
    unsigned char back[128];
    assert_int_equal(mem->ops->getxattr(mem->p, &mem->caller, file, ACCESS, back, sizeof(back)), acl.size);
    assert_int_equal(le16_load(back + 4 + 3 * 8 + 2), 4); /* the mask took the group bits */
    assert_int_equal(le16_load(back + 4 + 2 * 8 + 2), 5); /* the group kept its own */
    assert_int_equal(le16_load(back + 4 + 4 * 8 + 2), 1);
    /* A list that the mode can say is not kept. */
    acl_begin(&acl);
    acl_add(&acl, USER_OBJ, 6, UINT32_MAX);
    acl_add(&acl, GROUP_OBJ, 4, UINT32_MAX);
    acl_add(&acl, OTHER, 0, UINT32_MAX);
    assert_int_equal(set_xattr(mem, file, ACCESS, acl.bytes, acl.size, 0), 0);
    assert_int_equal(mem_attr(mem, file).mode & 0777, 0640);
    assert_int_equal(mem->ops->getxattr(mem->p, &mem->caller, file, ACCESS, NULL, 0), -ENODATA);
    assert_int_equal(mem->ops->removexattr(mem->p, &mem->caller, file, ACCESS), 0); /* as ext4 has it */
    assert_int_equal(set_xattr(mem, file, DEFAULT, acl.bytes, acl.size, 0), -EACCES);
    mem_close(mem, file);
    mem_free(mem);
}

static void a_default_list_is_inherited_instead_of_the_umask(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    struct acl acl = sample();
    assert_int_equal(set_xattr(mem, mem->root, DEFAULT, acl.bytes, acl.size, 0), 0);
    mem->umask = 077;
    void *file = mem_file(mem, mem->root, "f", 0664, NULL);
    void *folder = mem_folder(mem, mem->root, "d", 0777, NULL);
    assert_int_equal(mem_attr(mem, file).mode & 0777, 0660);
    assert_int_equal(mem_attr(mem, folder).mode & 0777, 0760);
    assert_int_equal(mem->ops->getxattr(mem->p, &mem->caller, file, ACCESS, NULL, 0), acl.size);
    assert_int_equal(mem->ops->getxattr(mem->p, &mem->caller, file, DEFAULT, NULL, 0), -ENODATA);
    assert_int_equal(mem->ops->getxattr(mem->p, &mem->caller, folder, DEFAULT, NULL, 0), acl.size);
    mem_close(mem, file);
    mem_close(mem, folder);
    mem_free(mem);
}

static void malformed_lists_are_refused(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    struct acl acl = sample();
    for (size_t size = 1; size < acl.size; size++)
        assert_int_equal(set_xattr(mem, mem->root, ACCESS, acl.bytes, size, 0), size == 4 ? 0 : -EINVAL);
    const struct {
        uint16_t tags[5], perm;
    } bad[] = {
        {{USER_OBJ, GROUP_OBJ}, 7},              /* incomplete */
        {{USER_OBJ, USER, GROUP_OBJ, OTHER}, 7}, /* a user, but no mask */
        {{GROUP_OBJ, USER_OBJ, OTHER}, 7},       /* order */
        {{USER_OBJ, USER_OBJ, GROUP_OBJ, OTHER}, 7},
        {{USER_OBJ, GROUP_OBJ, MASK, MASK, OTHER}, 7},
        {{USER_OBJ, GROUP_OBJ, OTHER, 64}, 7},
        {{USER_OBJ, GROUP_OBJ, 3, OTHER}, 7},
        {{USER_OBJ, GROUP_OBJ, OTHER}, 8},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        acl_begin(&acl);
        for (size_t j = 0; j < 5 && bad[i].tags[j] != 0; j++)
            acl_add(&acl, bad[i].tags[j], bad[i].perm, 1);
        assert_int_equal(set_xattr(mem, mem->root, ACCESS, acl.bytes, acl.size, 0), -EINVAL);
    }
    mem_free(mem);
}

static void access_looks_at_the_bits(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0640, NULL);
    struct oriel_fs_attr owner = {.uid = 10, .gid = 20};
    assert_int_equal(mem_set(mem, file, ORIEL_FS_SET_UID | ORIEL_FS_SET_GID, &owner), 0);
    assert_int_equal(mem->ops->access(mem->p, &mem->caller, file, R_OK | W_OK), 0);
    assert_int_equal(mem->ops->access(mem->p, &mem->caller, file, X_OK),
                     -EACCES); /* root, but nobody's to run */
    mem->caller = (oriel_fs_caller){.uid = 10, .gid = 1};
    assert_int_equal(mem->ops->access(mem->p, &mem->caller, file, R_OK | W_OK), 0);
    mem->caller = (oriel_fs_caller){.uid = 11, .gid = 20};
    assert_int_equal(mem->ops->access(mem->p, &mem->caller, file, R_OK), 0);
    assert_int_equal(mem->ops->access(mem->p, &mem->caller, file, W_OK), -EACCES);
    mem->caller = (oriel_fs_caller){.uid = 11, .gid = 21};
    assert_int_equal(mem->ops->access(mem->p, &mem->caller, file, R_OK), -EACCES);
    assert_int_equal(mem->ops->access(mem->p, &mem->caller, file, F_OK), 0);
    mem_close(mem, file);
    mem_free(mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_kept_to_the_nanosecond),
        cmocka_unit_test(reading_moves_atime_as_relatime_does),
        cmocka_unit_test(writing_and_chown_end_privileges),
        cmocka_unit_test(xattrs_are_set_listed_and_removed),
        cmocka_unit_test(xattrs_are_bounded_and_counted),
        cmocka_unit_test(a_list_and_the_mode_stay_in_step),
        cmocka_unit_test(a_default_list_is_inherited_instead_of_the_umask),
        cmocka_unit_test(malformed_lists_are_refused),
        cmocka_unit_test(access_looks_at_the_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
