/* The ordinary work of each operation. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"

#define RIG(state) ((struct rig *)*(state))

static int setup_descriptors(void **state)
{
    const struct oriel_passthrough_options options = {.file_handles = ORIEL_FILE_HANDLES_NEVER};
    *state = rig_new_in(NULL, &options);
    return 0;
}

static void *make_file(struct rig *rig, void *parent, const char *name, uint32_t mode, uint32_t flags,
                       void **handle)
{
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    assert_int_equal(
        rig->fs.ops->create(rig->fs.fs, &as_root, parent, name, mode, flags, 022, 0, &entry, &opened), 0);
    *handle = opened.handle;
    return rig_entry_inode(rig, parent, name, &entry);
}

static void *make_folder(struct rig *rig, void *parent, const char *name, uint32_t mode)
{
    struct oriel_fs_entry entry;
    assert_int_equal(rig->fs.ops->mkdir(rig->fs.fs, &as_root, parent, name, mode, 022, &entry), 0);
    return rig_entry_inode(rig, parent, name, &entry);
}

static void what_is_written_is_on_the_host(void **state)
{
    struct rig *rig = RIG(state);
    char text[64] = {0};
    void *handle, *file = make_file(rig, rig->root, "file", 0666, O_RDWR, &handle);
    char one[] = "one ", two[] = "two";
    struct iovec iov[3] = {{one, 4}, {NULL, 0}, {two, 3}};
    assert_int_equal(rig->fs.ops->write(rig->fs.fs, &as_root, file, handle, iov, 3, 0, 0), 7);
    assert_int_equal(rig_write(rig, file, handle, "!", 1, 7, 0), 1);
    host_content(rig, "file", text, sizeof(text));
    assert_string_equal(text, "one two!");
    memset(text, 0, sizeof(text));
    struct iovec into[2] = {{text, 3}, {text + 10, 20}};
    assert_int_equal(rig->fs.ops->read(rig->fs.fs, file, handle, into, 2, 4), 4);
    assert_string_equal(text, "two");
    assert_string_equal(text + 10, "!");
    assert_int_equal(rig_read(rig, file, handle, text, sizeof(text), 8), 0);
    struct stat st;
    assert_int_equal(stat(on_host(rig, "file"), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0644);
    assert_int_equal(rig->fs.ops->flush(rig->fs.fs, file, handle, 1), 0);
    assert_int_equal(rig->fs.ops->fsync(rig->fs.fs, file, handle, false), 0);
    assert_int_equal(rig->fs.ops->fsync(rig->fs.fs, file, handle, true), 0);
    rig_release(rig, file, handle);
    rig_close(rig, file);
}

static void a_handle_reads_or_writes_as_it_was_opened(void **state)
{
    struct rig *rig = RIG(state);
    char text[8];
    host_file(rig, "file", "content");
    void *file = rig_lookup(rig, rig->root, "file");
    void *reader = rig_open(rig, file, O_RDONLY), *writer = rig_open(rig, file, O_WRONLY);
    assert_int_equal(rig_write(rig, file, reader, "x", 1, 0, 0), -EBADF);
    assert_int_equal(rig_read(rig, file, writer, text, 1, 0), -EBADF);
    void *handle;
    assert_int_equal(rig_try_open(rig, file, O_ACCMODE, &handle), -EINVAL);
    assert_int_equal(rig_try_open(rig, file, O_WRONLY | O_TRUNC, &handle), 0);
    struct oriel_fs_attr attr;
    assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, NULL, &attr), 0);
    assert_int_equal(attr.size, 0);
    rig_release(rig, file, handle);
    rig_release(rig, file, reader);
    rig_release(rig, file, writer);
    rig_close(rig, file);
}

static ssize_t read_nowait(struct rig *rig, void *inode, void *handle, void *data, size_t size,
                           uint64_t offset)
{
    struct iovec iov = {data, size};
    return rig->fs.ops->read_nowait(rig->fs.fs, inode, handle, &iov, 1, offset);
}

/* True when the host's memory holds nothing of the file any more. */
static bool evict(const char *path)
{
    char byte;
    struct iovec iov = {&byte, 1};
    int fd = open(path, O_RDONLY);
    bool gone = fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0 &&
                preadv2(fd, &iov, 1, 0, RWF_NOWAIT) < 0 && errno == EAGAIN;
    close(fd);
    return gone;
}

/* The kernel may say EAGAIN of data in memory too, while something else (writeback, another reader) holds a page. */
static ssize_t read_nowait_patiently(struct rig *rig, void *inode, void *handle, void *data, size_t size,
                                     uint64_t offset)
{
    ssize_t n = -EAGAIN;
    for (int i = 0; i < 2000 && n == -EAGAIN; i++) {
        n = read_nowait(rig, inode, handle, data, size, offset);
        if (n == -EAGAIN)
            usleep(1000);
    }
    return n;
}

static void a_read_without_waiting_gives_all_or_says_so(void **state)
{
    struct rig *rig = RIG(state);
    char text[64];
    host_file(rig, "file", "content");
    void *file = rig_lookup(rig, rig->root, "file");
    void *handle = rig_open(rig, file, O_RDONLY);
    assert_int_equal(rig_read(rig, file, handle, text, sizeof(text), 0), 7);
    for (int i = 0; i < 2;
         i++) { /* in memory; the second time it is known whether the file system can tell */
        assert_int_equal(read_nowait_patiently(rig, file, handle, text, sizeof(text), 0), 7);
        assert_memory_equal(text, "content", 7);
    }
    assert_int_equal(read_nowait_patiently(rig, file, handle, text, sizeof(text), 7), 0);
    /* Looking whether it is gone makes the kernel read it again, and it may be faster than we are. */
    ssize_t n = 7;
    bool told = true;
    for (int i = 0; i < 50 && told && n == 7; i++) {
        told = evict(on_host(rig, "file"));
        n = told ? read_nowait(rig, file, handle, text, sizeof(text), 0) : n;
    }
    if (told)
        assert_int_equal(n, -EAGAIN);
    else
        print_message("# this file system does not tell what is in memory\n");
    assert_int_equal(rig_read(rig, file, handle, text, sizeof(text), 0), 7);
    rig_release(rig, file, handle);
    rig_close(rig, file);
}

static void writes_of_many_vectors_are_whole(void **state)
{
    struct rig *rig = RIG(state);
    enum { COUNT = 3000 };
    static char data[COUNT * 3], back[COUNT * 3];
    static struct iovec iov[COUNT];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 7);
    for (size_t i = 0; i < COUNT; i++)
        iov[i] = (struct iovec){data + i * 3, 3};
    void *handle, *file = make_file(rig, rig->root, "file", 0644, O_RDWR, &handle);
    assert_int_equal(rig->fs.ops->write(rig->fs.fs, &as_root, file, handle, iov, COUNT, 5, 0), sizeof(data));
    for (size_t i = 0; i < COUNT; i++)
        iov[i].iov_base = back + i * 3;
    assert_int_equal(rig->fs.ops->read(rig->fs.fs, file, handle, iov, COUNT, 5), sizeof(data));
    assert_memory_equal(data, back, sizeof(data));
    rig_release(rig, file, handle);
    rig_close(rig, file);
}

static void an_append_goes_to_the_end_whatever_its_offset(void **state)
{
    struct rig *rig = RIG(state);
    char text[64];
    host_file(rig, "log", "first\n");
    void *file = rig_lookup(rig, rig->root, "log"), *handle = rig_open(rig, file, O_WRONLY | O_APPEND);
    assert_int_equal(rig_write(rig, file, handle, "third\n", 6, 0, ORIEL_FS_APPEND), 6);
    assert_int_equal(rig_write(rig, file, handle, "F", 1, 0, 0), 1);
    host_content(rig, "log", text, sizeof(text));
    assert_string_equal(text, "First\nthird\n");
    rig_release(rig, file, handle);
    rig_close(rig, file);
}

static void the_same_file_has_one_identity(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_entry a, b, c;
    host_file(rig, "a", "x");
    host_file(rig, "c", "x");
    assert_int_equal(link(on_host(rig, "a"), on_host(rig, "b")), 0);
    assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "a", &a), 0);
    assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "b", &b), 0);
    assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "c", &c), 0);
    assert_memory_equal(&a.identity, &b.identity, sizeof(a.identity));
    assert_memory_not_equal(&a.identity, &c.identity, sizeof(a.identity));
    assert_int_equal(a.attr.nlink, 2);
    rig->fs.ops->entry_drop(rig->fs.fs, &a);
}

/* Inode numbers are reused at once on many file systems. */
static void a_new_file_with_an_old_inode_number_has_another_identity(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_entry before, after;
    unsigned reused = 0;
    for (int i = 0; i < 50; i++) {
        host_file(rig, "file", "x");
        assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "file", &before), 0);
        assert_int_equal(unlink(on_host(rig, "file")), 0);
        host_file(rig, "file", "y");
        assert_int_equal(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "file", &after), 0);
        assert_memory_not_equal(&before.identity, &after.identity, sizeof(before.identity));
        reused += before.identity.ino == after.identity.ino;
        unlink(on_host(rig, "file"));
    }
    print_message("# %u of 50 inode numbers reused\n", reused);
}

static void a_file_replaced_on_the_host_is_stale_not_another(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_attr attr;
    void *handle;
    host_file(rig, "file", "old");
    void *file = rig_lookup(rig, rig->root, "file");
    host_file(rig, "new", "new");
    assert_int_equal(rename(on_host(rig, "new"), on_host(rig, "file")), 0);
    int err = rig_try_open(rig, file, O_RDONLY, &handle);
    if (err == 0) { /* a descriptor kept the old file alive */
        char text[8] = {0};
        assert_int_equal(rig_read(rig, file, handle, text, sizeof(text), 0), 3);
        assert_string_equal(text, "old");
        rig_release(rig, file, handle);
        assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, NULL, &attr), 0);
    } else {
        assert_int_equal(err, -ESTALE);
        assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, NULL, &attr), -ESTALE);
    }
    rig_close(rig, file);
}

static void an_unlinked_file_that_is_open_works_in_full(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_attr attr = {.size = 3, .mode = 0600}, out;
    bool writable;
    char text[8] = {0};
    void *handle, *second, *file = make_file(rig, rig->root, "file", 0644, O_RDWR, &handle);
    assert_int_equal(rig_write(rig, file, handle, "content", 7, 0, 0), 7);
    assert_int_equal(rig->fs.ops->unlink(rig->fs.fs, &as_root, rig->root, "file"), 0);
    assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, NULL, &out), 0);
    assert_int_equal(out.nlink, 0);
    assert_int_equal(rig->fs.ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr,
                                          ORIEL_FS_SET_SIZE | ORIEL_FS_SET_MODE, &out),
                     0);
    assert_int_equal(out.size, 3);
    assert_int_equal(out.mode & 07777, 0600);
    int fd = rig->fs.ops->map_open(rig->fs.fs, file, true, &writable);
    assert_true(fd >= 0);
    assert_true(writable);
    assert_int_equal(pread(fd, text, 8, 0), 3);
    assert_string_equal(text, "con");
    close(fd);
    second = rig_open(rig, file, O_RDONLY);
    rig_release(rig, file, handle);
    assert_int_equal(rig_read(rig, file, second, text, 8, 0), 3);
    rig_release(rig, file, second);
    rig_close(rig, file);
}

/* A guest opens a FIFO without telling, so no handle keeps it. */
static void a_fifo_works_when_its_name_is_gone(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_attr attr = {.mode = 0600}, out;
    assert_int_equal(mkfifo(on_host(rig, "fifo"), 0644), 0);
    void *fifo = rig_lookup(rig, rig->root, "fifo");
    assert_int_equal(rig->fs.ops->unlink(rig->fs.fs, &as_root, rig->root, "fifo"), 0);
    assert_int_equal(rig->fs.ops->setattr(rig->fs.fs, &as_root, fifo, NULL, &attr, ORIEL_FS_SET_MODE, &out),
                     0);
    assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, fifo, NULL, &out), 0);
    assert_int_equal(out.nlink, 0);
    assert_int_equal(out.mode, S_IFIFO | 0600);
    rig_close(rig, fifo);
}

static bool uses_file_handles(const struct rig *rig)
{
    struct oriel_passthrough_options options = rig->options;
    struct oriel_fs fs;
    bool never = options.file_handles == ORIEL_FILE_HANDLES_NEVER;
    options.file_handles = ORIEL_FILE_HANDLES_MANDATORY;
    if (never || oriel_passthrough_create(&options, &fs) != 0)
        return false;
    fs.ops->destroy(fs.fs);
    return true;
}

/* Found by its name, a file that the host has renamed is not gone. */
static void times_of_a_file_with_another_name_are_stale(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_attr attr = {.mtime = {5, 6}, .ctime = {7, 8}};
    struct oriel_fs_attr out;
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    assert_int_equal(rename(on_host(rig, "file"), on_host(rig, "other")), 0);
    assert_int_equal(rig->fs.ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr,
                                          ORIEL_FS_SET_MTIME | ORIEL_FS_SET_CTIME, &out),
                     -ESTALE);
    rig_close(rig, file);
}

/* Only a guest with a write-back cache sets ctime: it sends times on its own account, and reports an error of it. */
static void times_of_a_file_that_is_gone_are_no_error(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    const struct oriel_fs_attr attr = {.mtime = {5, 6}, .ctime = {7, 8}};
    const uint32_t times = ORIEL_FS_SET_MTIME | ORIEL_FS_SET_CTIME;
    struct oriel_fs_attr out;
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    assert_int_equal(unlink(on_host(rig, "file")), 0);
    int err = ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, times, &out);
    if (!uses_file_handles(rig)) {
        assert_int_equal(err, -ESTALE);
        rig_close(rig, file);
        return;
    }
    assert_int_equal(err, 0);
    assert_int_equal(out.mode & S_IFMT, S_IFREG);
    assert_int_equal(out.nlink, 0);
    if (ops->getattr(rig->fs.fs, &as_root, file, NULL, &out) != 0) { /* no descriptor keeps it alive */
        assert_int_equal(ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_MTIME, &out),
                         -ESTALE);
        assert_int_equal(
            ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, times | ORIEL_FS_SET_MODE, &out), -ESTALE);
    }
    rig_close(rig, file);
}

static void names_come_and_go(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_entry entry;
    int err;
    void *sub = make_folder(rig, rig->root, "sub", 0777);
    struct stat st;
    assert_int_equal(stat(on_host(rig, "sub"), &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0755);
    assert_int_equal(ops->mkdir(rig->fs.fs, &as_root, rig->root, "sub", 0755, 0, &entry), -EEXIST);
    void *handle, *file = make_file(rig, sub, "file", 0644, O_RDWR, &handle);
    rig_release(rig, file, handle);
    assert_int_equal(ops->rmdir(rig->fs.fs, &as_root, rig->root, "sub"), -ENOTEMPTY);
    assert_int_equal(ops->unlink(rig->fs.fs, &as_root, rig->root, "sub"), -EISDIR);
    assert_int_equal(ops->rmdir(rig->fs.fs, &as_root, sub, "file"), -ENOTDIR);
    assert_int_equal(ops->link(rig->fs.fs, &as_root, file, rig->root, "hard", &entry), 0);
    assert_int_equal(entry.attr.nlink, 2);
    ops->entry_drop(rig->fs.fs, &entry);
    assert_int_equal(ops->link(rig->fs.fs, &as_root, file, rig->root, "hard", &entry), -EEXIST);
    assert_int_equal(ops->link(rig->fs.fs, &as_root, sub, rig->root, "folder", &entry), -EPERM);
    assert_int_equal(ops->unlink(rig->fs.fs, &as_root, sub, "file"), 0);
    assert_int_equal(ops->unlink(rig->fs.fs, &as_root, sub, "file"), -ENOENT);
    assert_null(rig_try_lookup(rig, sub, "file", &err));
    assert_int_equal(err, -ENOENT);
    assert_null(rig_try_lookup(rig, file, "x", &err));
    assert_int_equal(err, -ENOTDIR);
    assert_int_equal(ops->symlink(rig->fs.fs, &as_root, rig->root, "link", "/no/where", &entry), 0);
    void *link = rig_entry_inode(rig, rig->root, "link", &entry);
    assert_int_equal(ops->link(rig->fs.fs, &as_root, link, rig->root, "link2", &entry), 0);
    assert_true(S_ISLNK(entry.attr.mode));
    ops->entry_drop(rig->fs.fs, &entry);
    assert_int_equal(ops->mknod(rig->fs.fs, &as_root, rig->root, "fifo", S_IFIFO | 0666, 0, 022, &entry), 0);
    assert_int_equal(entry.attr.mode, S_IFIFO | 0644);
    assert_int_equal(ops->mknod(rig->fs.fs, &as_root, rig->root, "socket", S_IFSOCK | 0666, 0, 0, &entry), 0);
    assert_int_equal(ops->mknod(rig->fs.fs, &as_root, rig->root, "plain", S_IFREG | 0640, 0, 0, &entry), 0);
    assert_int_equal(entry.attr.mode, S_IFREG | 0640);
    assert_int_equal(ops->rmdir(rig->fs.fs, &as_root, rig->root, "sub"), 0);
    rig_close(rig, link);
    rig_close(rig, file);
    rig_close(rig, sub);
}

static void rename_and_its_flags(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    char text[8];
    host_file(rig, "a", "a");
    host_file(rig, "b", "b");
    void *sub = make_folder(rig, rig->root, "sub", 0755), *a = rig_lookup(rig, rig->root, "a");
    assert_int_equal(ops->rename(rig->fs.fs, &as_root, rig->root, "a", rig->root, "b", RENAME_NOREPLACE),
                     -EEXIST);
    assert_int_equal(ops->rename(rig->fs.fs, &as_root, rig->root, "a", rig->root, "b", RENAME_EXCHANGE), 0);
    host_content(rig, "a", text, sizeof(text));
    assert_string_equal(text, "b");
    assert_int_equal(ops->rename(rig->fs.fs, &as_root, rig->root, "b", sub, "c", 0), 0);
    host_content(rig, "sub/c", text, sizeof(text));
    assert_string_equal(text, "a");
    void *handle = rig_open(rig, a, O_RDONLY);
    assert_int_equal(rig_read(rig, a, handle, text, 1, 0), 1);
    assert_int_equal(ops->rename(rig->fs.fs, &as_root, rig->root, "a", sub, "c", 0), 0);
    struct oriel_fs_attr attr;
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, a, handle, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(ops->rename(rig->fs.fs, &as_root, rig->root, "sub", sub, "x", 0), -EINVAL);
    assert_int_equal(ops->rename(rig->fs.fs, &as_root, rig->root, "sub", rig->root, "y", 1u << 8), -EINVAL);
    assert_int_equal(ops->rename(rig->fs.fs, &as_root, rig->root, "none", rig->root, "y", 0), -ENOENT);
    rig_release(rig, a, handle);
    rig_close(rig, a);
    rig_close(rig, sub);
}

static void create_opens_what_is_there_unless_exclusive(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    char text[8] = {0};
    host_file(rig, "file", "content");
    assert_int_equal(
        ops->create(rig->fs.fs, &as_root, rig->root, "file", 0644, O_RDWR | O_EXCL, 0, 0, &entry, &opened),
        -EEXIST);
    assert_int_equal(
        ops->create(rig->fs.fs, &as_root, rig->root, "file", 0644, O_RDWR, 0, 0, &entry, &opened), 0);
    void *file = rig_entry_inode(rig, rig->root, "file", &entry);
    assert_int_equal(rig_read(rig, file, opened.handle, text, 7, 0), 7);
    assert_string_equal(text, "content");
    rig_release(rig, file, opened.handle);
    assert_int_equal(
        ops->create(rig->fs.fs, &as_root, rig->root, "file", 0644, O_RDWR | O_TRUNC, 0, 0, &entry, &opened),
        0);
    assert_int_equal(entry.attr.size, 0);
    ops->entry_drop(rig->fs.fs, &entry);
    rig_release(rig, file, opened.handle);
    assert_int_equal(mkdir(on_host(rig, "sub"), 0755), 0);
    assert_int_equal(ops->create(rig->fs.fs, &as_root, rig->root, "sub", 0644, O_RDWR, 0, 0, &entry, &opened),
                     -EISDIR);
    /* Somebody else's file, of which the guest's kernel knew nothing: it shall look again. */
    const oriel_fs_caller user = {.uid = geteuid() + 1, .gid = getegid() + 1};
    assert_int_equal(chmod(on_host(rig, "file"), 0600), 0);
    assert_int_equal(ops->create(rig->fs.fs, &user, rig->root, "file", 0644, O_RDWR, 0, 0, &entry, &opened),
                     -ESTALE);
    /* Open to others, but not to its group, and that the caller may be in. */
    assert_int_equal(chmod(on_host(rig, "file"), 0606), 0);
    assert_int_equal(ops->create(rig->fs.fs, &user, rig->root, "file", 0644, O_RDWR, 0, 0, &entry, &opened),
                     -ESTALE);
    rig_close(rig, file);
}

static void a_failed_create_leaves_no_descriptor(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    host_file(rig, "file", "x");
    assert_int_equal(
        ops->create(rig->fs.fs, &as_root, rig->root, "file", 0644, O_RDWR | O_EXCL, 0, 0, &entry, &opened),
        -EEXIST);
    unsigned before = open_descriptors();
    for (int i = 0; i < 50; i++)
        assert_int_equal(ops->create(rig->fs.fs, &as_root, rig->root, "file", 0644, O_RDWR | O_EXCL, 0, 0,
                                     &entry, &opened),
                         -EEXIST);
    /* As the server does when inode_open fails: the name vanished meanwhile. */
    assert_int_equal(ops->create(rig->fs.fs, &as_root, rig->root, "new", 0644, O_RDWR, 0, 0, &entry, &opened),
                     0);
    ops->entry_drop(rig->fs.fs, &entry);
    ops->release(rig->fs.fs, NULL, opened.handle, 0, false);
    assert_int_equal(open_descriptors(), before);
}

static void setattr_changes_what_it_is_told_and_nothing_else(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    host_file(rig, "file", "content");
    void *file = rig_lookup(rig, rig->root, "file");
    struct oriel_fs_attr attr = {.mode = 0751, .size = 1234, .atime = {100, 5}, .mtime = {-7, 999999999}},
                         out;
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_MODE, &out), 0);
    assert_int_equal(out.mode, S_IFREG | 0751);
    assert_int_equal(out.size, 7);
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_SIZE, &out), 0);
    assert_int_equal(out.size, 1234);
    assert_int_equal(
        ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_ATIME | ORIEL_FS_SET_MTIME, &out),
        0);
    assert_true(out.atime.sec == 100 && out.atime.nsec == 5);
    assert_true(out.mtime.sec == -7 && out.mtime.nsec == 999999999);
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_MTIME_NOW, &out), 0);
    assert_true(out.atime.sec == 100);
    assert_true(out.mtime.sec > 1000000);
    attr.atime.nsec = UTIME_NOW;
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_ATIME, &out),
                     -EINVAL);
    attr.uid = UINT32_MAX;
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_UID, &out), -EINVAL);
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, rig->root, NULL, &attr, ORIEL_FS_SET_SIZE, &out),
                     -EISDIR);
    void *handle = rig_open(rig, file, O_RDWR);
    attr.size = 3;
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, file, handle, &attr, ORIEL_FS_SET_SIZE, &out), 0);
    assert_int_equal(out.size, 3);
    rig_release(rig, file, handle);
    handle = rig_open(rig, file, O_RDONLY);
    attr.size = 5;
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, file, handle, &attr, ORIEL_FS_SET_SIZE, &out), 0);
    rig_release(rig, file, handle);
    rig_close(rig, file);
}

static void attributes_of_links_and_special_files_can_be_changed(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_attr attr = {.mtime = {12345, 6}, .mode = 0600, .uid = 12, .gid = 34}, out;
    assert_int_equal(symlink("nowhere", on_host(rig, "link")), 0);
    assert_int_equal(mkfifo(on_host(rig, "fifo"), 0644), 0);
    void *link = rig_lookup(rig, rig->root, "link"), *fifo = rig_lookup(rig, rig->root, "fifo");
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, link, NULL, &attr, ORIEL_FS_SET_MTIME, &out), 0);
    assert_true(S_ISLNK(out.mode) && out.mtime.sec == 12345);
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, link, NULL, &attr, ORIEL_FS_SET_MODE, &out),
                     -EOPNOTSUPP);
    assert_int_equal(
        ops->setattr(rig->fs.fs, &as_root, fifo, NULL, &attr, ORIEL_FS_SET_MTIME | ORIEL_FS_SET_MODE, &out),
        0);
    assert_true(out.mode == (S_IFIFO | 0600) && out.mtime.sec == 12345);
    if (geteuid() == 0) {
        assert_int_equal(
            ops->setattr(rig->fs.fs, &as_root, link, NULL, &attr, ORIEL_FS_SET_UID | ORIEL_FS_SET_GID, &out),
            0);
        assert_true(out.uid == 12 && out.gid == 34);
    }
    rig_close(rig, link);
    rig_close(rig, fifo);
}

static void map_open_gives_what_the_file_and_the_share_allow(void **state)
{
    struct rig *rig = RIG(state);
    bool writable = false;
    host_file(rig, "file", "content");
    assert_int_equal(chmod(on_host(rig, "file"), geteuid() == 0 ? 0200 : 0600), 0);
    void *file = rig_lookup(rig, rig->root, "file");
    int fd = rig->fs.ops->map_open(rig->fs.fs, file, true, &writable);
    assert_true(fd >= 0);
    assert_true(writable);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    assert_int_equal(rig->fs.ops->map_open(rig->fs.fs, rig->root, false, &writable), -EOPNOTSUPP);
    rig_close(rig, file);
}

static void holes_and_ranges(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_attr attr;
    char text[8192];
    memset(text, 'x', sizeof(text));
    void *handle, *file = make_file(rig, rig->root, "file", 0644, O_RDWR, &handle);
    assert_int_equal(rig_write(rig, file, handle, text, sizeof(text), 0, 0), sizeof(text));
    assert_int_equal(ops->fallocate(rig->fs.fs, file, handle, 0, 1 << 20, 0), 0);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, file, handle, &attr), 0);
    assert_int_equal(attr.size, 1 << 20);
    assert_int_equal(
        ops->fallocate(rig->fs.fs, file, handle, 4096, 1 << 19, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
        0);
    assert_int_equal(rig_read(rig, file, handle, text, 8192, 0), 8192);
    assert_int_equal(text[4095], 'x');
    assert_int_equal(text[4096], 0);
    assert_int_equal(ops->lseek(rig->fs.fs, file, handle, 0, SEEK_HOLE), 4096);
    assert_int_equal(ops->lseek(rig->fs.fs, file, handle, 0, SEEK_SET), -EINVAL);
    assert_int_equal(ops->lseek(rig->fs.fs, file, handle, 2 << 20, SEEK_DATA), -ENXIO);
    assert_int_equal(ops->fallocate(rig->fs.fs, file, handle, 0, 4096, 1u << 30), -EOPNOTSUPP);
    void *copy_handle, *copy = make_file(rig, rig->root, "copy", 0644, O_RDWR, &copy_handle);
    assert_int_equal(ops->copy_file_range(rig->fs.fs, file, handle, 0, copy, copy_handle, 10, 100, 0), 100);
    assert_int_equal(ops->copy_file_range(rig->fs.fs, file, handle, 0, copy, copy_handle, 0, 1, 1), -EINVAL);
    assert_int_equal(rig_read(rig, copy, copy_handle, text, 200, 0), 110);
    assert_int_equal(text[10], 'x');
    rig_release(rig, copy, copy_handle);
    rig_close(rig, copy);
    rig_release(rig, file, handle);
    rig_close(rig, file);
}

static void a_temporary_file_has_no_name_until_linked(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    char text[8];
    int err = ops->tmpfile(rig->fs.fs, &as_root, rig->root, 0666, O_RDWR, 022, &entry, &opened);
    if (err == -EOPNOTSUPP) {
        print_message("no O_TMPFILE on this file system\n");
        skip();
    }
    assert_int_equal(err, 0);
    assert_int_equal(entry.attr.mode, S_IFREG | 0644);
    assert_int_equal(entry.attr.nlink, 0);
    void *file = rig_entry_inode(rig, rig->root, NULL, &entry);
    assert_int_equal(rig_write(rig, file, opened.handle, "content", 7, 0, 0), 7);
    assert_int_equal(ops->link(rig->fs.fs, &as_root, file, rig->root, "named", &entry), 0);
    host_content(rig, "named", text, sizeof(text));
    assert_string_equal(text, "content");
    ops->entry_drop(rig->fs.fs, &entry);
    rig_release(rig, file, opened.handle);
    rig_close(rig, file);
}

static void statfs_tells_the_file_system(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_statfs st;
    assert_int_equal(rig->fs.ops->statfs(rig->fs.fs, rig->root, &st), 0);
    assert_true(st.bsize > 0 && st.blocks >= st.bfree && st.namelen >= 255);
    assert_int_equal(rig->fs.ops->syncfs(rig->fs.fs, rig->root), 0);
}

static void access_answers_for_the_process(void **state)
{
    struct rig *rig = RIG(state);
    host_file(rig, "file", "x");
    void *file = rig_lookup(rig, rig->root, "file");
    assert_int_equal(rig->fs.ops->access(rig->fs.fs, &as_root, file, R_OK | W_OK), 0);
    assert_int_equal(rig->fs.ops->access(rig->fs.fs, &as_root, file, X_OK), -EACCES);
    assert_int_equal(rig->fs.ops->access(rig->fs.fs, &as_root, file, 8), -EINVAL);
    rig_close(rig, file);
}

static void bad_options_are_refused(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs fs;
    struct {
        struct oriel_passthrough_options options;
        uint64_t newer;
    } big = {.options = {.size = sizeof(big), .dir = rig->share}};
    struct oriel_passthrough_options options = {.size = sizeof(options), .dir = "/nonexistent-folder"};
    assert_int_equal(oriel_passthrough_create(NULL, &fs), -EINVAL);
    assert_int_equal(oriel_passthrough_create(&options, &fs), -ENOENT);
    options.dir = "/dev/null";
    assert_int_equal(oriel_passthrough_create(&options, &fs), -ENOTDIR);
    options = (struct oriel_passthrough_options){.size = 8, .dir = rig->share};
    assert_int_equal(oriel_passthrough_create(&options, &fs), -EINVAL);
    options = (struct oriel_passthrough_options){.size = sizeof(options), .dir_fd = -1};
    assert_int_equal(oriel_passthrough_create(&options, &fs), -EINVAL);
    options =
        (struct oriel_passthrough_options){.size = sizeof(options), .dir = rig->share, .file_handles = 7};
    assert_int_equal(oriel_passthrough_create(&options, &fs), -EINVAL);
    options = (struct oriel_passthrough_options){
        .size = sizeof(options), .dir = rig->share, .enforce_credentials = true};
    assert_int_equal(oriel_passthrough_create(&options, &fs), -EINVAL);
    assert_int_equal(oriel_passthrough_create(&big.options, &fs), 0);
    fs.ops->destroy(fs.fs);
    big.newer = 1;
    assert_int_equal(oriel_passthrough_create(&big.options, &fs), -EINVAL);
    int fd = open(rig->share, O_RDONLY | O_DIRECTORY);
    options = (struct oriel_passthrough_options){.size = sizeof(options), .dir_fd = fd};
    assert_int_equal(oriel_passthrough_create(&options, &fs), 0);
    fs.ops->destroy(fs.fs);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    close(fd);
}

#define ALL(f)                                                                                               \
    cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown),                                             \
        {#f " (tmpfs)", f, rig_setup_shm, rig_teardown, NULL},                                               \
    {                                                                                                        \
#f " (descriptors)", f, setup_descriptors, rig_teardown, NULL                                        \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(what_is_written_is_on_the_host),
        ALL(a_handle_reads_or_writes_as_it_was_opened),
        ALL(a_read_without_waiting_gives_all_or_says_so),
        ALL(writes_of_many_vectors_are_whole),
        ALL(an_append_goes_to_the_end_whatever_its_offset),
        ALL(the_same_file_has_one_identity),
        ALL(a_new_file_with_an_old_inode_number_has_another_identity),
        ALL(a_file_replaced_on_the_host_is_stale_not_another),
        ALL(an_unlinked_file_that_is_open_works_in_full),
        ALL(a_fifo_works_when_its_name_is_gone),
        ALL(times_of_a_file_that_is_gone_are_no_error),
        cmocka_unit_test_setup_teardown(times_of_a_file_with_another_name_are_stale, setup_descriptors,
                                        rig_teardown),
        ALL(names_come_and_go),
        ALL(rename_and_its_flags),
        ALL(create_opens_what_is_there_unless_exclusive),
        ALL(a_failed_create_leaves_no_descriptor),
        ALL(setattr_changes_what_it_is_told_and_nothing_else),
        ALL(attributes_of_links_and_special_files_can_be_changed),
        ALL(map_open_gives_what_the_file_and_the_share_allow),
        ALL(holes_and_ranges),
        ALL(a_temporary_file_has_no_name_until_linked),
        ALL(statfs_tells_the_file_system),
        ALL(access_answers_for_the_process),
        ALL(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
