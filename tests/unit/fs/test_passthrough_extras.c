/* Extended attributes, locks, ioctls, submounts. */
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "rig.h"

#define RIG(state) ((struct rig *)*(state))

static int setup(void **state)
{
    const struct oriel_passthrough_options options = {.xattr = true, .posix_acl = true};
    *state = rig_new_in(NULL, &options);
    return 0;
}

static int setup_kept(void **state)
{
    const struct oriel_passthrough_options options = {
        .xattr = true, .posix_acl = true, .keep_credentials = true};
    *state = rig_new_in(NULL, &options);
    return 0;
}

static int teardown(void **state)
{
    rig_free(*state);
    oriel_passthrough_restore_thread();
    return 0;
}

static int set(struct rig *rig, void *inode, const char *name, const char *value)
{
    return rig->fs.ops->setxattr(rig->fs.fs, &as_root, inode, name, value, strlen(value), 0, false);
}

static void user_attributes_are_those_of_the_host(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    char value[64] = {0};
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    int err = set(rig, file, "user.a", "one");
    if (err == -EOPNOTSUPP) {
        print_message("no user attributes on this file system\n");
        skip();
    }
    assert_int_equal(err, 0);
    assert_int_equal(getxattr(on_host(rig, "file"), "user.a", value, sizeof(value)), 3);
    assert_string_equal(value, "one");
    assert_int_equal(ops->getxattr(rig->fs.fs, &as_root, file, "user.a", NULL, 0), 3);
    assert_int_equal(ops->getxattr(rig->fs.fs, &as_root, file, "user.a", value, 2), -ERANGE);
    assert_int_equal(ops->getxattr(rig->fs.fs, &as_root, file, "user.a", value, SIZE_MAX), 3);
    assert_int_equal(ops->getxattr(rig->fs.fs, &as_root, file, "user.none", value, 9), -ENODATA);
    assert_int_equal(ops->setxattr(rig->fs.fs, &as_root, file, "user.a", "two", 3, XATTR_CREATE, false),
                     -EEXIST);
    assert_int_equal(ops->setxattr(rig->fs.fs, &as_root, file, "user.b", "two", 3, XATTR_REPLACE, false),
                     -ENODATA);
    assert_int_equal(ops->setxattr(rig->fs.fs, &as_root, file, "user.b", "", 0, 0, false), 0);
    assert_int_equal(ops->setxattr(rig->fs.fs, &as_root, file, "user.b", "", 0, 77, false), -EINVAL);
    static char big[65537];
    assert_int_equal(ops->setxattr(rig->fs.fs, &as_root, file, "user.big", big, sizeof(big), 0, false),
                     -E2BIG);
    assert_int_equal(ops->listxattr(rig->fs.fs, &as_root, file, NULL, 0), 14);
    assert_int_equal(ops->listxattr(rig->fs.fs, &as_root, file, value, 13), -ERANGE);
    assert_int_equal(ops->listxattr(rig->fs.fs, &as_root, file, value, sizeof(value)), 14);
    assert_int_equal(ops->removexattr(rig->fs.fs, &as_root, file, "user.a"), 0);
    assert_int_equal(ops->removexattr(rig->fs.fs, &as_root, file, "user.a"), -ENODATA);
    assert_int_equal(ops->listxattr(rig->fs.fs, &as_root, file, value, sizeof(value)), 7);
    assert_string_equal(value, "user.b");
    /* Through an open handle, of whatever access. */
    void *handle = rig_open(rig, file, O_WRONLY);
    assert_int_equal(ops->getxattr(rig->fs.fs, &as_root, file, "user.b", value, 9), 0);
    assert_int_equal(set(rig, file, "user.c", "three"), 0);
    assert_int_equal(ops->listxattr(rig->fs.fs, &as_root, file, value, sizeof(value)), 14);
    assert_int_equal(ops->removexattr(rig->fs.fs, &as_root, file, "user.c"), 0);
    rig_release(rig, file, handle);
    assert_int_equal(mkdir(on_host(rig, "sub"), 0755), 0);
    void *sub = rig_lookup(rig, rig->root, "sub");
    assert_int_equal(set(rig, sub, "user.a", "folder"), 0);
    rig_close(rig, sub);
    rig_close(rig, file);
}

static void attributes_that_count_on_the_host_need_an_option(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    char names[256], long_name[300] = "user.";
    host_file(rig, "file", "x");
    assert_int_equal(symlink("x", on_host(rig, "link")), 0);
    assert_int_equal(setxattr(on_host(rig, "file"), "trusted.t", "1", 1, 0), 0);
    void *file = rig_lookup(rig, rig->root, "file"), *link = rig_lookup(rig, rig->root, "link");
    const char *const refused[] = {
        "trusted.t", "security.capability", "security.selinux", "system.other", "odd", "user"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_int_equal(set(rig, file, refused[i], "x"), -EOPNOTSUPP);
        assert_int_equal(ops->getxattr(rig->fs.fs, &as_root, file, refused[i], names, 9), -EOPNOTSUPP);
        assert_int_equal(ops->removexattr(rig->fs.fs, &as_root, file, refused[i]), -EOPNOTSUPP);
    }
    assert_int_equal(ops->listxattr(rig->fs.fs, &as_root, file, names, sizeof(names)), 0);
    memset(long_name + 5, 'x', sizeof(long_name) - 6);
    assert_int_equal(set(rig, file, long_name, "x"), -ERANGE);
    assert_int_equal(set(rig, file, "", "x"), -ERANGE);
    assert_int_equal(set(rig, link, "user.a", "x"), -EPERM); /* as the host says it */
    rig_close(rig, file);
    rig_close(rig, link);
    rig_reopen(rig, &(struct oriel_passthrough_options){.xattr = true, .trusted_xattr = true});
    file = rig_lookup(rig, rig->root, "file");
    link = rig_lookup(rig, rig->root, "link");
    assert_int_equal(ops->getxattr(rig->fs.fs, &as_root, file, "trusted.t", names, 9), 1);
    assert_int_equal(set(rig, link, "trusted.t", "of the link"), 0);
    assert_int_equal(lgetxattr(on_host(rig, "link"), "trusted.t", names, sizeof(names)), 11);
    rig_close(rig, file);
    rig_close(rig, link);
    rig_reopen(rig, NULL);
    file = rig_lookup(rig, rig->root, "file");
    assert_int_equal(set(rig, file, "user.a", "x"), -EOPNOTSUPP);
    rig_close(rig, file);
}

static void an_acl_set_by_an_outsider_takes_sgid_away(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    /* u::rwx g::rwx o::--- */
    const unsigned char acl[] = {2, 0, 0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 4,   0,
                                 7, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};
    struct oriel_fs_attr attr;
    host_file(rig, "file", "x");
    assert_int_equal(chmod(on_host(rig, "file"), 02755), 0);
    void *file = rig_lookup(rig, rig->root, "file");
    int err = rig->fs.ops->setxattr(rig->fs.fs, &as_root, file, "system.posix_acl_access", acl, sizeof(acl),
                                    0, false);
    if (err == -EOPNOTSUPP) {
        print_message("no ACLs on this file system\n");
        skip();
    }
    assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, NULL, &attr), 0);
    assert_int_equal(attr.mode & 07777, 02770);
    assert_int_equal(rig->fs.ops->setxattr(rig->fs.fs, &as_root, file, "system.posix_acl_access", acl,
                                           sizeof(acl), 0, true),
                     0);
    assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, NULL, &attr), 0);
    assert_int_equal(attr.mode & 07777, 0770);
    rig_close(rig, file);
}

static int lock(struct rig *rig, void *file, uint64_t owner, uint32_t type, uint64_t start, uint64_t end)
{
    const struct oriel_fs_lock wanted = {
        .start = start, .end = end, .type = type, .pid = (uint32_t)owner + 1000, .owner = owner};
    return rig->fs.ops->setlk(rig->fs.fs, file, NULL, &wanted);
}

static void posix_locks_belong_to_their_owners(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    host_file(rig, "file", "x");
    unsigned at_first = open_descriptors();
    void *file = rig_lookup(rig, rig->root, "file"), *handle = rig_open(rig, file, O_RDWR);
    unsigned before = open_descriptors();
    assert_int_equal(lock(rig, file, 1, F_WRLCK, 0, 99), 0);
    assert_int_equal(lock(rig, file, 2, F_WRLCK, 50, 60), -EAGAIN);
    assert_int_equal(lock(rig, file, 2, F_RDLCK, 99, 99), -EAGAIN);
    assert_int_equal(lock(rig, file, 2, F_WRLCK, 100, INT64_MAX), 0);
    assert_int_equal(lock(rig, file, 1, F_RDLCK, 0, 99), 0);
    assert_int_equal(lock(rig, file, 3, F_RDLCK, 10, 20), 0);
    struct oriel_fs_lock probe = {.start = 0, .end = INT64_MAX, .type = F_WRLCK, .owner = 2};
    assert_int_equal(lock(rig, file, 3, F_UNLCK, 0, INT64_MAX), 0);
    assert_int_equal(ops->getlk(rig->fs.fs, file, handle, &probe), 0);
    assert_true(probe.type == F_RDLCK && probe.start == 0 && probe.end == 99);
    probe = (struct oriel_fs_lock){.start = 100, .end = 100, .type = F_RDLCK, .owner = 99};
    assert_int_equal(ops->getlk(rig->fs.fs, file, handle, &probe), 0);
    assert_true(probe.type == F_WRLCK && probe.start == 100 && probe.end == INT64_MAX);
    /* Closing any of its descriptors drops an owner's locks (FLUSH). */
    assert_int_equal(ops->flush(rig->fs.fs, file, handle, 2), 0);
    assert_int_equal(ops->getlk(rig->fs.fs, file, handle, &probe), 0);
    assert_int_equal(probe.type, F_UNLCK);
    assert_int_equal(ops->flush(rig->fs.fs, file, handle, 1), 0);
    assert_int_equal(ops->flush(rig->fs.fs, file, handle, 3), 0);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(lock(rig, file, 1, F_WRLCK, 5, 4), -EINVAL);
    assert_int_equal(lock(rig, file, 1, 17, 0, 4), -EINVAL);
    assert_int_equal(lock(rig, rig->root, 1, F_WRLCK, 0, 4), -EBADF);
    assert_int_equal(lock(rig, file, 4, F_WRLCK, 0, 4), 0);
    rig_release(rig, file, handle);
    rig_close(rig, file); /* with owner 4 still there */
    assert_int_equal(open_descriptors(), at_first);
}

/* F_OFD_SETLK: the owner is the open file, and no FLUSH comes for it. */
static void a_lock_by_open_file_ends_with_its_handle(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    void *a = rig_open(rig, file, O_RDWR), *b = rig_open(rig, file, O_RDWR);
    const struct oriel_fs_lock wanted = {.end = 9, .type = F_WRLCK, .pid = 1, .owner = 77};
    assert_int_equal(ops->setlk(rig->fs.fs, file, a, &wanted), 0);
    rig_release(rig, file, b);
    assert_int_equal(lock(rig, file, 2, F_WRLCK, 0, 9), -EAGAIN);
    rig_release(rig, file, a);
    assert_int_equal(lock(rig, file, 2, F_WRLCK, 0, 9), 0);
    rig_close(rig, file);
}

static uint32_t holder_of(struct rig *rig, void *file, uint64_t start, uint64_t end)
{
    struct oriel_fs_lock probe = {.start = start, .end = end, .type = F_WRLCK, .owner = 99};
    assert_int_equal(rig->fs.ops->getlk(rig->fs.fs, file, NULL, &probe), 0);
    assert_int_not_equal(probe.type, F_UNLCK);
    return probe.pid;
}

static void the_process_that_holds_a_lock_is_named(void **state)
{
    struct rig *rig = RIG(state);
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    for (uint64_t owner = 1; owner <= 3; owner++)
        assert_int_equal(lock(rig, file, owner, owner == 3 ? F_RDLCK : F_WRLCK, owner * 10, owner * 10 + 9),
                         0);
    /* A client names no process with an unlock. */
    const struct oriel_fs_lock unlock = {.start = 25, .end = 29, .type = F_UNLCK, .owner = 2};
    assert_int_equal(rig->fs.ops->setlk(rig->fs.fs, file, NULL, &unlock), 0);
    assert_int_equal(holder_of(rig, file, 10, 19), 1001);
    assert_int_equal(holder_of(rig, file, 20, 29), 1002);
    assert_int_equal(holder_of(rig, file, 30, 39), 1003);
    assert_int_equal(lock(rig, file, 1, F_RDLCK, 30, 39), 0);
    assert_int_equal(holder_of(rig, file, 30, 39), 0); /* two have the very same */
    rig_close(rig, file);
}

static void nobody_is_named_for_a_lock_of_another_process(void **state)
{
    struct rig *rig = RIG(state);
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    assert_int_equal(lock(rig, file, 1, F_WRLCK, 10, 19), 0);
    int fd = open(on_host(rig, "file"), O_RDWR);
    struct flock wanted = {.l_type = F_WRLCK, .l_start = 20, .l_len = 10};
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &wanted), 0);
    assert_int_equal(holder_of(rig, file, 20, 29), 0);
    assert_int_equal(holder_of(rig, file, 10, 19), 1001);
    /* A lock that the one who asks shares is still the other one's. */
    assert_int_equal(lock(rig, file, 1, F_RDLCK, 40, 49), 0);
    assert_int_equal(lock(rig, file, 99, F_RDLCK, 40, 49), 0);
    struct flock own = {.l_type = F_UNLCK};
    bool answers = fcntl(fd, F_OFD_GETLK, &own) == 0; /* Linux 6.5 */
    assert_int_equal(holder_of(rig, file, 40, 49), answers ? 1001 : 0);
    close(fd);
    rig_close(rig, file);
}

static void locks_hold_against_processes_of_the_host(void **state)
{
    struct rig *rig = RIG(state);
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    assert_int_equal(lock(rig, file, 1, F_WRLCK, 0, 10), 0);
    fflush(NULL);
    if (fork() == 0) {
        int fd = open(on_host(rig, "file"), O_RDWR);
        struct flock wanted = {.l_type = F_WRLCK, .l_len = 5};
        CHILD_CHECK(fd >= 0 && fcntl(fd, F_SETLK, &wanted) == -1 && (errno == EAGAIN || errno == EACCES));
        _exit(0);
    }
    int status = 0;
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
    rig_close(rig, file);
}

static void flocks_belong_to_handles(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    void *a = rig_open(rig, file, O_RDWR), *b = rig_open(rig, file, O_RDWR);
    const struct oriel_fs_lock exclusive = {.type = F_WRLCK, .flock = true, .end = INT64_MAX};
    const struct oriel_fs_lock shared = {.type = F_RDLCK, .flock = true, .end = INT64_MAX};
    const struct oriel_fs_lock none = {.type = F_UNLCK, .flock = true, .end = INT64_MAX};
    assert_int_equal(ops->setlk(rig->fs.fs, file, a, &exclusive), 0);
    assert_int_equal(ops->setlk(rig->fs.fs, file, b, &shared), -EAGAIN);
    assert_int_equal(ops->setlk(rig->fs.fs, file, a, &shared), 0);
    assert_int_equal(ops->setlk(rig->fs.fs, file, b, &shared), 0);
    assert_int_equal(ops->setlk(rig->fs.fs, file, b, &exclusive), -EAGAIN);
    assert_int_equal(ops->setlk(rig->fs.fs, file, a, &none), 0);
    assert_int_equal(ops->setlk(rig->fs.fs, file, b, &exclusive), 0);
    rig_release(rig, file, b);
    assert_int_equal(ops->setlk(rig->fs.fs, file, a, &exclusive), 0);
    rig_release(rig, file, a);
    rig_close(rig, file);
}

static void ioctls_of_the_list_work_and_no_others(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct fsxattr attributes;
    int flags = 0;
    size_t size = sizeof(flags);
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    int err = ops->ioctl(rig->fs.fs, &as_root, file, NULL, FS_IOC_GETFLAGS, NULL, 0, &flags, &size);
    if (err == -ENOTTY) {
        print_message("no inode flags on this file system\n");
        skip();
    }
    assert_int_equal(err, 0);
    flags |= FS_NOATIME_FL;
    assert_int_equal(
        ops->ioctl(rig->fs.fs, &as_root, file, NULL, FS_IOC_SETFLAGS, &flags, sizeof(flags), NULL, &size), 0);
    size = sizeof(flags);
    flags = 0;
    assert_int_equal(ops->ioctl(rig->fs.fs, &as_root, file, NULL, FS_IOC_GETFLAGS, NULL, 0, &flags, &size),
                     0);
    assert_true(flags & FS_NOATIME_FL);
    size = 2;
    assert_int_equal(ops->ioctl(rig->fs.fs, &as_root, file, NULL, FS_IOC_GETFLAGS, NULL, 0, &flags, &size),
                     -EINVAL);
    assert_int_equal(ops->ioctl(rig->fs.fs, &as_root, file, NULL, FS_IOC_SETFLAGS, &flags, 2, NULL, &size),
                     -EINVAL);
    size = sizeof(attributes);
    assert_int_equal(
        ops->ioctl(rig->fs.fs, &as_root, file, NULL, FS_IOC_FSGETXATTR, NULL, 0, &attributes, &size), 0);
    attributes.fsx_projid += 7;
    assert_int_equal(ops->ioctl(rig->fs.fs, &as_root, file, NULL, FS_IOC_FSSETXATTR, &attributes,
                                sizeof(attributes), NULL, &size),
                     -EPERM);
    size = sizeof(flags);
    assert_int_equal(ops->ioctl(rig->fs.fs, &as_root, file, NULL, FIONREAD, NULL, 0, &flags, &size), -ENOTTY);
    assert_int_equal(ops->ioctl(rig->fs.fs, &as_root, file, NULL, TCGETS, NULL, 0, &flags, &size), -ENOTTY);
    rig_close(rig, file);
}

static void submounts_are_announced_and_kept_apart(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    struct oriel_fs_attr attr;
    assert_int_equal(mkdir(on_host(rig, "mnt"), 0755), 0);
    if (mount("oriel-test", on_host(rig, "mnt"), "tmpfs", 0, "size=64k") != 0) {
        print_message("mount is not permitted here\n");
        skip();
    }
    host_file(rig, "mnt/inside", "content");
    for (int handles = 0; handles < 2; handles++) {
        rig_reopen(rig, &(struct oriel_passthrough_options){.submounts = true,
                                                            .file_handles = handles == 0
                                                                                ? ORIEL_FILE_HANDLES_PREFER
                                                                                : ORIEL_FILE_HANDLES_NEVER});
        assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "mnt", &entry), 0);
        assert_int_equal(entry.attr.flags & ORIEL_FS_ATTR_SUBMOUNT, ORIEL_FS_ATTR_SUBMOUNT);
        assert_true(entry.identity.mount != rig->root_entry.identity.mount);
        void *mnt = rig_entry_inode(rig, rig->root, "mnt", &entry);
        assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, mnt, "inside", &entry), 0);
        assert_int_equal(entry.attr.flags & ORIEL_FS_ATTR_SUBMOUNT, 0);
        void *inside = rig_entry_inode(rig, mnt, "inside", &entry), *handle = rig_open(rig, inside, O_RDWR);
        char text[8] = {0};
        assert_int_equal(rig_read(rig, inside, handle, text, 7, 0), 7);
        assert_string_equal(text, "content");
        assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, mnt, NULL, &attr), 0);
        assert_int_equal(rig->fs.ops->syncfs(rig->fs.fs, mnt), 0);
        rig_release(rig, inside, handle);
        rig_close(rig, inside);
        rig_close(rig, mnt);
    }
    /* Nothing of it is held when the guest has forgotten it. */
    assert_int_equal(umount(on_host(rig, "mnt")), 0);
}

static void the_way_out_of_a_submount_announces_none(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    assert_int_equal(mkdir(on_host(rig, "above"), 0755), 0);
    assert_int_equal(mkdir(on_host(rig, "above/mnt"), 0755), 0);
    if (mount("oriel-test", on_host(rig, "above/mnt"), "tmpfs", 0, "size=64k") != 0) {
        print_message("mount is not permitted here\n");
        skip();
    }
    rig_reopen(rig, &(struct oriel_passthrough_options){.submounts = true});
    void *above = rig_lookup(rig, rig->root, "above"), *mnt = rig_lookup(rig, above, "mnt");
    assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "above", &entry), 0);
    struct oriel_fs_identity expected = entry.identity;
    assert_int_equal(rig->fs.ops->lookup_parent(rig->fs.fs, &as_root, mnt, &entry), 0);
    assert_memory_equal(&entry.identity, &expected, sizeof(expected));
    assert_int_equal(entry.attr.flags & ORIEL_FS_ATTR_SUBMOUNT, 0);
    rig_close(rig, mnt);
    rig_close(rig, above);
    assert_int_equal(umount(on_host(rig, "above/mnt")), 0);
}

static bool mount_btrfs(const struct rig *rig, const char *name)
{
    char command[800];
    snprintf(command, sizeof(command),
             "truncate -s 128M %s/image && mkfs.btrfs -q %s/image >/dev/null 2>&1 && "
             "mount -o loop %s/image %s 2>/dev/null",
             rig->base, rig->base, rig->base, on_host(rig, name));
    return system(command) == 0;
}

static void make_subvolume(const char *folder, const char *name)
{
    struct btrfs_ioctl_vol_args args = {0};
    snprintf(args.name, sizeof(args.name), "%s", name);
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, BTRFS_IOC_SUBVOL_CREATE, &args), 0);
    close(fd);
}

/* They have inode numbers of their own under a device number of their own, but are in the mount of the folder. */
static void subvolumes_are_announced_like_submounts(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    assert_int_equal(mkdir(on_host(rig, "b"), 0755), 0);
    if (!mount_btrfs(rig, "b")) {
        print_message("needs mkfs.btrfs and a kernel that mounts its file system from a file\n");
        skip();
    }
    make_subvolume(on_host(rig, "b"), "sub");
    assert_int_equal(mkdir(on_host(rig, "b/sub/inner"), 0755), 0);
    rig_reopen(rig, &(struct oriel_passthrough_options){.submounts = true});
    void *top = rig_lookup(rig, rig->root, "b"), *sub = rig_lookup(rig, top, "sub");
    int err = rig->fs.ops->lookup(rig->fs.fs, &as_root, top, "sub", &entry);
    uint32_t flags = entry.attr.flags;
    if (err == 0)
        err = rig->fs.ops->lookup(rig->fs.fs, &as_root, sub, "inner", &entry);
    rig_close(rig, sub);
    rig_close(rig, top);
    assert_int_equal(umount(on_host(rig, "b")), 0);
    assert_int_equal(err, 0);
    assert_int_equal(flags & ORIEL_FS_ATTR_SUBMOUNT, ORIEL_FS_ATTR_SUBMOUNT);
    assert_int_equal(entry.attr.flags & ORIEL_FS_ATTR_SUBMOUNT, 0);
}

/* No file handles without its nfs_export option, and a birth time that changes when a file is copied up. */
static void an_overlay_can_be_shared(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    char options[900], merged[300], text[16] = {0};
    const char *const folders[] = {"lower", "upper", "work", "merged"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(mkdir(on_host(rig, folders[i]), 0755), 0);
    host_file(rig, "lower/file", "below");
    snprintf(options, sizeof(options), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", rig->share,
             rig->share, rig->share);
    snprintf(merged, sizeof(merged), "%s/merged", rig->share);
    if (mount("oriel-test", merged, "overlay", 0, options) != 0) {
        print_message("overlay mounts are not permitted here\n");
        skip();
    }
    struct oriel_fs fs;
    struct oriel_passthrough_options share = {.size = sizeof(share), .dir = merged};
    int err = oriel_passthrough_create(&share, &fs);
    if (err == 0) {
        struct rig over = {.fs = fs};
        struct oriel_fs_entry entry, again;
        assert_int_equal(fs.ops->root(fs.fs, &entry, &over.root), 0);
        assert_int_equal(fs.ops->lookup(fs.fs, &as_root, over.root, "file", &entry), 0);
        void *file = rig_entry_inode(&over, over.root, "file", &entry),
             *handle = rig_open(&over, file, O_RDWR);
        assert_int_equal(rig_write(&over, file, handle, "above", 5, 0, 0), 5);
        assert_int_equal(fs.ops->lookup(fs.fs, &as_root, over.root, "file", &again), 0);
        assert_memory_equal(&entry.identity, &again.identity, sizeof(entry.identity));
        rig_release(&over, file, handle);
        struct oriel_fs_attr attr;
        assert_int_equal(fs.ops->getattr(fs.fs, &as_root, file, NULL, &attr), 0);
        handle = rig_open(&over, file, O_RDONLY);
        assert_int_equal(rig_read(&over, file, handle, text, 5, 0), 5);
        assert_string_equal(text, "above");
        rig_release(&over, file, handle);
        rig_close(&over, file);
        fs.ops->destroy(fs.fs);
    }
    umount2(merged, MNT_DETACH);
    assert_int_equal(err, 0);
}

static void a_label_that_cannot_be_had_leaves_no_file(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    struct stat st;
    const oriel_fs_caller labelled = {
        .security_name = "system.posix_acl_access", .security_value = "x", .security_len = 1};
    assert_int_equal(
        rig->fs.ops->create(rig->fs.fs, &labelled, rig->root, "file", 0644, O_RDWR, 0, 0, &entry, &opened),
        -EINVAL);
    assert_int_equal(rig->fs.ops->mkdir(rig->fs.fs, &labelled, rig->root, "folder", 0755, 0, &entry),
                     -EINVAL);
    assert_int_equal(stat(on_host(rig, "file"), &st), -1);
    assert_int_equal(stat(on_host(rig, "folder"), &st), -1);
    const oriel_fs_caller fine = {
        .security_name = "security.oriel", .security_value = "label", .security_len = 5};
    char value[16] = {0};
    int err = rig->fs.ops->create(rig->fs.fs, &fine, rig->root, "file", 0644, O_RDWR, 0, 0, &entry, &opened);
    assert_int_equal(err, 0);
    if (getxattr(on_host(rig, "file"), "security.oriel", value, sizeof(value)) > 0)
        assert_string_equal(value, "label");
    rig->fs.ops->release(rig->fs.fs, NULL, opened.handle, 0, false);
}

#define BOTH(f)                                                                                              \
    cmocka_unit_test_setup_teardown(f, setup, teardown),                                                     \
    {                                                                                                        \
#f " (kept)", f, setup_kept, teardown, NULL                                                          \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(user_attributes_are_those_of_the_host),
        BOTH(attributes_that_count_on_the_host_need_an_option),
        BOTH(an_acl_set_by_an_outsider_takes_sgid_away),
        BOTH(posix_locks_belong_to_their_owners),
        BOTH(a_lock_by_open_file_ends_with_its_handle),
        BOTH(the_process_that_holds_a_lock_is_named),
        BOTH(nobody_is_named_for_a_lock_of_another_process),
        BOTH(locks_hold_against_processes_of_the_host),
        BOTH(flocks_belong_to_handles),
        BOTH(ioctls_of_the_list_work_and_no_others),
        BOTH(submounts_are_announced_and_kept_apart),
        BOTH(the_way_out_of_a_submount_announces_none),
        cmocka_unit_test_setup_teardown(subvolumes_are_announced_like_submounts, setup, teardown),
        BOTH(an_overlay_can_be_shared),
        BOTH(a_label_that_cannot_be_had_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
