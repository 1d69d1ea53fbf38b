/* The attacks of a hostile guest, or of a hostile user of the shared folder, that concern names and kinds of
 * files: one test each. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "rig.h"

#define RIG(state) ((struct rig *)*(state))

/* Without the private mount and without file handles: what our own checks promise alone. */
static int setup_bare(void **state)
{
    const struct oriel_passthrough_options options = {.no_fence = true,
                                                      .file_handles = ORIEL_FILE_HANDLES_NEVER};
    *state = rig_new_in(NULL, &options);
    return 0;
}

static const char *const bad_names[] = {"",          ".",           "..",     "/", "a/b",
                                        "../secret", "/etc/passwd", "sub/..", "a/"};

static int with_name(struct rig *rig, unsigned op, void *file, const char *name)
{
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    void *fs = rig->fs.fs, *root = rig->root;
    switch (op) {
    case 0:
        return ops->lookup(fs, &as_root, root, name, &entry);
    case 1:
        return ops->mknod(fs, &as_root, root, name, S_IFREG | 0644, 0, 0, &entry);
    case 2:
        return ops->mkdir(fs, &as_root, root, name, 0755, 0, &entry);
    case 3:
        return ops->symlink(fs, &as_root, root, name, "target", &entry);
    case 4:
        return ops->link(fs, &as_root, file, root, name, &entry);
    case 5:
        return ops->unlink(fs, &as_root, root, name);
    case 6:
        return ops->rmdir(fs, &as_root, root, name);
    case 7:
        return ops->rename(fs, &as_root, root, name, root, "fine", 0);
    case 8:
        return ops->rename(fs, &as_root, root, "file", root, name, 0);
    case 9:
        return ops->create(fs, &as_root, root, name, 0644, O_RDWR, 0, 0, &entry, &opened);
    default:
        return 1;
    }
}

static void a_name_that_is_no_component_is_refused_by_every_operation(void **state)
{
    struct rig *rig = RIG(state);
    char long_name[300];
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    host_file(rig, "file", "content");
    assert_int_equal(mkdir(on_host(rig, "sub"), 0755), 0);
    assert_int_equal(mkdir(on_host(rig, "a"), 0755), 0);
    void *file = rig_lookup(rig, rig->root, "file");
    for (unsigned op = 0; op < 10; op++) {
        for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++)
            assert_int_equal(with_name(rig, op, file, bad_names[i]), -EINVAL);
        assert_int_equal(with_name(rig, op, file, long_name), -ENAMETOOLONG);
    }
    rig_close(rig, file);
}

static void a_symbolic_link_is_an_inode_of_its_own_and_leads_nowhere(void **state)
{
    struct rig *rig = RIG(state);
    char secret[300], target[16] = {0};
    snprintf(secret, sizeof(secret), "%s/secret", rig->base);
    assert_int_equal(mkdir(secret, 0755), 0);
    assert_int_equal(symlink("../secret", on_host(rig, "way-out")), 0);
    struct oriel_fs_entry entry;
    assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "way-out", &entry), 0);
    assert_true(S_ISLNK(entry.attr.mode));
    void *link = rig_entry_inode(rig, rig->root, "way-out", &entry), *handle;
    struct oriel_fs_opened opened;
    int err;
    assert_int_equal(rig_try_open(rig, link, O_RDONLY, &handle), -EBADF);
    assert_int_equal(rig->fs.ops->opendir(rig->fs.fs, &as_root, link, 0, &opened), -ENOTDIR);
    assert_null(rig_try_lookup(rig, link, "x", &err));
    assert_int_equal(err, -ENOTDIR);
    assert_int_equal(
        rig->fs.ops->create(rig->fs.fs, &as_root, link, "x", 0644, O_RDWR, 0, 0, &entry, &opened), -ENOTDIR);
    assert_int_equal(rig->fs.ops->mkdir(rig->fs.fs, &as_root, link, "x", 0755, 0, &entry), -ENOTDIR);
    assert_int_equal(rig->fs.ops->readlink(rig->fs.fs, &as_root, link, target, sizeof(target)), 9);
    assert_string_equal(target, "../secret");
    rig_close(rig, link);
}

static void create_over_a_symbolic_link_does_not_follow_it(void **state)
{
    struct rig *rig = RIG(state);
    char victim[300];
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    struct stat st;
    snprintf(victim, sizeof(victim), "%s/victim", rig->base);
    assert_int_equal(symlink("../victim", on_host(rig, "planted")), 0);
    assert_int_equal(rig->fs.ops->create(rig->fs.fs, &as_root, rig->root, "planted", 0644, O_RDWR | O_TRUNC,
                                         0, 0, &entry, &opened),
                     -ELOOP);
    assert_int_equal(rig->fs.ops->create(rig->fs.fs, &as_root, rig->root, "planted", 0644, O_RDWR | O_EXCL, 0,
                                         0, &entry, &opened),
                     -EEXIST);
    assert_int_equal(stat(victim, &st), -1);
}

static void a_symbolic_link_swapped_in_for_a_looked_up_folder_is_not_followed(void **state)
{
    struct rig *rig = RIG(state);
    char secret[300];
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    struct stat st;
    snprintf(secret, sizeof(secret), "%s/secret", rig->base);
    assert_int_equal(mkdir(secret, 0755), 0);
    assert_int_equal(mkdir(on_host(rig, "folder"), 0755), 0);
    void *folder = rig_lookup(rig, rig->root, "folder");
    assert_int_equal(rename(on_host(rig, "folder"), on_host(rig, "moved")), 0);
    assert_int_equal(symlink("../secret", on_host(rig, "folder")), 0);
    int err = rig->fs.ops->create(rig->fs.fs, &as_root, folder, "x", 0644, O_RDWR, 0, 0, &entry, &opened);
    if (rig->options.file_handles == ORIEL_FILE_HANDLES_NEVER || geteuid() != 0) {
        assert_int_equal(err, -ESTALE); /* known by its name only, which leads elsewhere now */
    } else {
        assert_int_equal(err, 0);
        void *made = rig_entry_inode(rig, folder, "x", &entry);
        rig_release(rig, made, opened.handle);
        rig_close(rig, made);
        assert_int_equal(stat(on_host(rig, "moved/x"), &st), 0);
    }
    strcat(secret, "/x");
    assert_int_equal(stat(secret, &st), -1);
    rig_close(rig, folder);
}

static void open_of_a_fifo_is_refused_and_never_blocks(void **state)
{
    struct rig *rig = RIG(state);
    void *handle;
    bool writable;
    struct oriel_fs_attr attr = {.size = 0}, out;
    assert_int_equal(mkfifo(on_host(rig, "fifo"), 0666), 0);
    void *fifo = rig_lookup(rig, rig->root, "fifo");
    alarm(20);
    assert_int_equal(rig_try_open(rig, fifo, O_RDONLY, &handle), -EBADF);
    assert_int_equal(rig_try_open(rig, fifo, O_WRONLY, &handle), -EBADF);
    assert_int_equal(rig_try_open(rig, fifo, O_RDWR, &handle), -EBADF);
    assert_int_equal(rig->fs.ops->map_open(rig->fs.fs, fifo, false, &writable), -EOPNOTSUPP);
    assert_int_equal(rig->fs.ops->setattr(rig->fs.fs, &as_root, fifo, NULL, &attr, ORIEL_FS_SET_SIZE, &out),
                     -EINVAL);
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    assert_int_equal(
        rig->fs.ops->create(rig->fs.fs, &as_root, rig->root, "fifo", 0644, O_RDWR, 0, 0, &entry, &opened),
        -EBADF);
    alarm(0);
    rig_close(rig, fifo);
}

static void open_of_a_socket_is_refused(void **state)
{
    struct rig *rig = RIG(state);
    void *handle;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(s >= 0);
    assert_true(strlen(on_host(rig, "socket")) < sizeof(address.sun_path));
    strncpy(address.sun_path, on_host(rig, "socket"), sizeof(address.sun_path) - 1);
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof(address)), 0);
    void *inode = rig_lookup(rig, rig->root, "socket");
    assert_int_equal(rig_try_open(rig, inode, O_RDWR, &handle), -EBADF);
    rig_close(rig, inode);
    close(s);
}

static void open_of_a_device_is_refused(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    void *handle;
    bool writable;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    if (mknod(on_host(rig, "zero"), S_IFCHR | 0666, makedev(1, 5)) != 0) {
        print_message("mknod of a device is not permitted here\n");
        skip();
    }
    void *inode = rig_lookup(rig, rig->root, "zero");
    assert_int_equal(rig_try_open(rig, inode, O_RDONLY, &handle), -EBADF);
    assert_int_equal(rig->fs.ops->map_open(rig->fs.fs, inode, true, &writable), -EOPNOTSUPP);
    assert_int_equal(
        rig->fs.ops->create(rig->fs.fs, &as_root, rig->root, "zero", 0644, O_RDWR, 0, 0, &entry, &opened),
        -EBADF);
    rig_close(rig, inode);
}

static void a_guest_makes_no_device_unless_it_may(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    struct stat st;
    assert_int_equal(
        rig->fs.ops->mknod(rig->fs.fs, &as_root, rig->root, "disk", S_IFBLK | 0666, 0x800, 0, &entry),
        -EPERM);
    assert_int_equal(
        rig->fs.ops->mknod(rig->fs.fs, &as_root, rig->root, "zero", S_IFCHR | 0666, 0x105, 0, &entry),
        -EPERM);
    assert_int_equal(
        rig->fs.ops->mknod(rig->fs.fs, &as_root, rig->root, "folder", S_IFDIR | 0755, 0, 0, &entry), -EINVAL);
    assert_int_equal(lstat(on_host(rig, "disk"), &st), -1);
    assert_int_equal(lstat(on_host(rig, "zero"), &st), -1);
}

static void a_file_swapped_for_a_fifo_after_lookup_is_not_opened(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    void *inode, *handle;
    host_file(rig, "file", "content");
    assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "file", &entry), 0);
    /* Between the two steps of a lookup, where the name is used a second time. */
    assert_int_equal(unlink(on_host(rig, "file")), 0);
    assert_int_equal(mkfifo(on_host(rig, "file"), 0666), 0);
    int err = rig->fs.ops->inode_open(rig->fs.fs, rig->root, "file", &entry, &inode);
    if (err == 0) {
        alarm(20);
        assert_int_equal(rig_try_open(rig, inode, O_RDWR, &handle), -ESTALE);
        alarm(0);
        rig_close(rig, inode);
    } else {
        assert_int_equal(err, -ESTALE);
    }
}

/* On ext4 the second file has the inode number of the first. */
static void a_file_swapped_for_another_after_lookup_is_stale_and_not_truncated(void **state)
{
    struct rig *rig = RIG(state);
    const int flags[] = {O_RDWR, O_RDWR | O_TRUNC};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        struct oriel_fs_entry entry;
        struct stat st;
        void *inode, *handle;
        host_file(rig, "file", "content");
        assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "file", &entry), 0);
        usleep(20000); /* birth times move in clock ticks */
        assert_int_equal(unlink(on_host(rig, "file")), 0);
        host_file(rig, "file", "another");
        int err = rig->fs.ops->inode_open(rig->fs.fs, rig->root, "file", &entry, &inode);
        if (err == 0) {
            assert_int_equal(rig_try_open(rig, inode, flags[i], &handle), -ESTALE);
            rig_close(rig, inode);
        } else {
            assert_int_equal(err, -ESTALE);
        }
        assert_int_equal(stat(on_host(rig, "file"), &st), 0);
        assert_int_equal(st.st_size, strlen("another"));
    }
}

static void a_folder_swapped_for_a_link_after_lookup_is_not_followed(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry, below;
    void *inode;
    assert_int_equal(mkdir(on_host(rig, "folder"), 0755), 0);
    assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "folder", &entry), 0);
    assert_int_equal(rmdir(on_host(rig, "folder")), 0);
    assert_int_equal(symlink("/etc", on_host(rig, "folder")), 0);
    int err = rig->fs.ops->inode_open(rig->fs.fs, rig->root, "folder", &entry, &inode);
    if (err == 0) {
        assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, inode, "passwd", &below), -ESTALE);
        rig_close(rig, inode);
    } else {
        assert_int_equal(err, -ESTALE);
    }
}

/* ESTALE, for which the guest looks the name up again, and not what the other file says to being opened. */
static void a_folder_swapped_for_a_file_after_lookup_is_stale(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    void *inode;
    assert_int_equal(mkdir(on_host(rig, "folder"), 0755), 0);
    assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "folder", &entry), 0);
    assert_int_equal(rmdir(on_host(rig, "folder")), 0);
    host_file(rig, "folder", "no longer");
    int err = rig->fs.ops->inode_open(rig->fs.fs, rig->root, "folder", &entry, &inode);
    if (err == 0) {
        assert_int_equal(rig->fs.ops->opendir(rig->fs.fs, &as_root, inode, 0, &opened), -ESTALE);
        rig_close(rig, inode);
    } else {
        assert_int_equal(err, -ESTALE);
    }
}

struct swapper {
    const struct rig *rig;
    atomic_bool stop;
};

/* Keeps the name changing between a file, a FIFO and a link that leads out. */
static void *swap(void *arg)
{
    struct swapper *swapper = arg;
    while (!atomic_load(&swapper->stop)) {
        rename(on_host(swapper->rig, "a-file"), on_host(swapper->rig, "name"));
        rename(on_host(swapper->rig, "name"), on_host(swapper->rig, "a-file"));
        rename(on_host(swapper->rig, "a-fifo"), on_host(swapper->rig, "name"));
        rename(on_host(swapper->rig, "name"), on_host(swapper->rig, "a-fifo"));
        rename(on_host(swapper->rig, "a-link"), on_host(swapper->rig, "name"));
        rename(on_host(swapper->rig, "name"), on_host(swapper->rig, "a-link"));
    }
    return NULL;
}

static void a_name_that_keeps_changing_only_ever_opens_the_regular_file(void **state)
{
    struct rig *rig = RIG(state);
    struct swapper swapper = {.rig = rig};
    char secret[300];
    unsigned opened = 0, tried = 0;
    pthread_t thread;
    snprintf(secret, sizeof(secret), "%s/secret", rig->base);
    int fd = open(secret, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, "secret!", 7), 7);
    close(fd);
    host_file(rig, "a-file", "content");
    assert_int_equal(mkfifo(on_host(rig, "a-fifo"), 0666), 0);
    assert_int_equal(symlink("../secret", on_host(rig, "a-link")), 0);
    assert_int_equal(pthread_create(&thread, NULL, swap, &swapper), 0);
    alarm(60);
    time_t end = time(NULL) + 2;
    while (time(NULL) < end) {
        int err;
        void *handle;
        void *inode = rig_try_lookup(rig, rig->root, "name", &err);
        tried++;
        if (inode == NULL)
            continue;
        if (rig_try_open(rig, inode, O_RDWR, &handle) == 0) {
            char text[8] = {0};
            assert_int_equal(rig_read(rig, inode, handle, text, 7, 0), 7);
            assert_string_equal(text, "content");
            rig_release(rig, inode, handle);
            opened++;
        }
        rig_close(rig, inode);
    }
    alarm(0);
    atomic_store(&swapper.stop, true);
    pthread_join(thread, NULL);
    print_message("# %u lookups, %u opens\n", tried, opened);
    assert_true(tried > 0);
}

static void a_shared_folder_that_is_a_symbolic_link_is_refused(void **state)
{
    struct rig *rig = RIG(state);
    char planted[300], slashes[310];
    struct oriel_fs fs;
    snprintf(planted, sizeof(planted), "%s/planted", rig->base);
    assert_int_equal(symlink("/etc", planted), 0);
    snprintf(slashes, sizeof(slashes), "%s///", planted);
    struct oriel_passthrough_options options = {.size = sizeof(options), .dir = planted};
    assert_int_equal(oriel_passthrough_create(&options, &fs), -ELOOP);
    options.dir = slashes;
    assert_int_equal(oriel_passthrough_create(&options, &fs), -ELOOP);
}

static void a_folder_moved_out_of_the_share_opens_no_way_up(void **state)
{
    struct rig *rig = RIG(state);
    char outside[300];
    struct oriel_fs_entry entry;
    assert_int_equal(mkdir(on_host(rig, "folder"), 0755), 0);
    void *folder = rig_lookup(rig, rig->root, "folder");
    snprintf(outside, sizeof(outside), "%s/folder", rig->base);
    assert_int_equal(rename(on_host(rig, "folder"), outside), 0);
    assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, folder, "..", &entry), -EINVAL);
    rig_close(rig, folder);
}

static void a_read_only_share_changes_nothing(void **state)
{
    struct rig *rig = RIG(state);
    host_file(rig, "file", "content");
    assert_int_equal(mkdir(on_host(rig, "sub"), 0755), 0);
    rig_reopen(rig,
               &(struct oriel_passthrough_options){.read_only = true, .no_fence = rig->options.no_fence});
    const struct oriel_fs_ops *ops = rig->fs.ops;
    void *fs = rig->fs.fs, *root = rig->root, *file = rig_lookup(rig, root, "file"), *handle;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    struct oriel_fs_attr attr = {0}, out;
    bool writable = true;
    char text[16] = {0};
    assert_int_equal(rig_try_open(rig, file, O_RDWR, &handle), -EROFS);
    assert_int_equal(rig_try_open(rig, file, O_WRONLY, &handle), -EROFS);
    assert_int_equal(rig_try_open(rig, file, O_RDONLY | O_TRUNC, &handle), -EROFS);
    assert_int_equal(ops->create(fs, &as_root, root, "new", 0644, O_RDONLY, 0, 0, &entry, &opened), -EROFS);
    assert_int_equal(ops->tmpfile(fs, &as_root, root, 0644, O_RDWR, 0, &entry, &opened), -EROFS);
    assert_int_equal(ops->mkdir(fs, &as_root, root, "new", 0755, 0, &entry), -EROFS);
    assert_int_equal(ops->mknod(fs, &as_root, root, "new", S_IFREG | 0644, 0, 0, &entry), -EROFS);
    assert_int_equal(ops->symlink(fs, &as_root, root, "new", "x", &entry), -EROFS);
    assert_int_equal(ops->link(fs, &as_root, file, root, "new", &entry), -EROFS);
    assert_int_equal(ops->unlink(fs, &as_root, root, "file"), -EROFS);
    assert_int_equal(ops->rmdir(fs, &as_root, root, "sub"), -EROFS);
    assert_int_equal(ops->rename(fs, &as_root, root, "file", root, "new", 0), -EROFS);
    assert_int_equal(ops->setattr(fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_SIZE, &out), -EROFS);
    assert_int_equal(ops->setattr(fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_MODE, &out), -EROFS);
    assert_int_equal(ops->map_open(fs, file, true, &writable), -EROFS);
    int fd = ops->map_open(fs, file, false, &writable);
    assert_true(fd >= 0);
    assert_false(writable);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    close(fd);
    handle = rig_open(rig, file, O_RDONLY);
    assert_int_equal(rig_write(rig, file, handle, "x", 1, 0, 0), -EBADF);
    assert_int_equal(ops->fallocate(fs, file, handle, 0, 10, 0), -EBADF);
    rig_release(rig, file, handle);
    host_content(rig, "file", text, sizeof(text));
    assert_string_equal(text, "content");
    rig_close(rig, file);
}

static void a_mount_point_is_out_of_reach_without_submounts(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    assert_int_equal(mkdir(on_host(rig, "mnt"), 0755), 0);
    if (mount("oriel-test", on_host(rig, "mnt"), "tmpfs", 0, "size=64k") != 0) {
        print_message("mount is not permitted here\n");
        skip();
    }
    host_file(rig, "mnt/inside", "x");
    int err = rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "mnt", &entry);
    int inside = 0;
    if (err == 0) {
        void *mnt = rig_entry_inode(rig, rig->root, "mnt", &entry);
        inside = rig->fs.ops->lookup(rig->fs.fs, &as_root, mnt, "inside", &entry);
        rig_close(rig, mnt);
    }
    umount2(on_host(rig, "mnt"), MNT_DETACH);
    if (err == 0)
        assert_int_equal(inside, -ENOENT); /* the folder below the mount point */
    else
        assert_int_equal(err, -EXDEV);
}

#define BOTH(f)                                                                                              \
    cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown),                                             \
    {                                                                                                        \
#f " (bare)", f, setup_bare, rig_teardown, NULL                                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_name_that_is_no_component_is_refused_by_every_operation),
        BOTH(a_symbolic_link_is_an_inode_of_its_own_and_leads_nowhere),
        BOTH(create_over_a_symbolic_link_does_not_follow_it),
        BOTH(a_symbolic_link_swapped_in_for_a_looked_up_folder_is_not_followed),
        BOTH(open_of_a_fifo_is_refused_and_never_blocks),
        BOTH(open_of_a_socket_is_refused),
        BOTH(open_of_a_device_is_refused),
        BOTH(a_guest_makes_no_device_unless_it_may),
        BOTH(a_file_swapped_for_a_fifo_after_lookup_is_not_opened),
        BOTH(a_file_swapped_for_another_after_lookup_is_stale_and_not_truncated),
        BOTH(a_folder_swapped_for_a_link_after_lookup_is_not_followed),
        BOTH(a_folder_swapped_for_a_file_after_lookup_is_stale),
        BOTH(a_name_that_keeps_changing_only_ever_opens_the_regular_file),
        BOTH(a_shared_folder_that_is_a_symbolic_link_is_refused),
        BOTH(a_folder_moved_out_of_the_share_opens_no_way_up),
        BOTH(a_read_only_share_changes_nothing),
        BOTH(a_mount_point_is_out_of_reach_without_submounts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
