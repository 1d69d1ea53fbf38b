#include "rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const oriel_fs_caller as_root = {.uid = 0, .gid = 0, .pid = 1};

static void start(struct rig *rig, const struct oriel_passthrough_options *options)
{
    rig->options = options != NULL ? *options : (struct oriel_passthrough_options){0};
    rig->options.size = sizeof(rig->options);
    rig->options.dir = rig->share;
    assert_int_equal(oriel_passthrough_create(&rig->options, &rig->fs), 0);
    assert_int_equal(rig->fs.ops->root(rig->fs.fs, &rig->root_entry, &rig->root), 0);
}

struct rig *rig_new_in(const char *dir, const struct oriel_passthrough_options *options)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    if (dir == NULL)
        dir = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    snprintf(rig->base, sizeof(rig->base), "%s/oriel-pt-XXXXXX", dir);
    assert_non_null(mkdtemp(rig->base));
    assert_int_equal(chmod(rig->base, 0755), 0);
    snprintf(rig->share, sizeof(rig->share), "%s/share", rig->base);
    assert_int_equal(mkdir(rig->share, 0755), 0);
    start(rig, options);
    return rig;
}

struct rig *rig_new(void)
{
    return rig_new_in(NULL, NULL);
}

void rig_reopen(struct rig *rig, const struct oriel_passthrough_options *options)
{
    rig->fs.ops->destroy(rig->fs.fs);
    start(rig, options);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void rig_free(struct rig *rig)
{
    rig->fs.ops->destroy(rig->fs.fs);
    nftw(rig->base, remove_one, 64, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    free(rig);
}

int rig_setup(void **state)
{
    *state = rig_new();
    return 0;
}

int rig_setup_shm(void **state)
{
    *state = rig_new_in("/dev/shm", NULL);
    return 0;
}

int rig_teardown(void **state)
{
    rig_free(*state);
    return 0;
}

const char *on_host(const struct rig *rig, const char *name)
{
    static char paths[4][600];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", rig->share, name);
    return path;
}

void host_file(const struct rig *rig, const char *name, const char *content)
{
    int fd = open(on_host(rig, name), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    close(fd);
}

void host_content(const struct rig *rig, const char *name, char *text, size_t size)
{
    int fd = open(on_host(rig, name), O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, text, size - 1);
    assert_true(n >= 0);
    text[n] = '\0';
    close(fd);
}

void *rig_try_lookup(struct rig *rig, void *parent, const char *name, int *err)
{
    struct oriel_fs_entry entry;
    void *inode = NULL;
    *err = rig->fs.ops->lookup(rig->fs.fs, &as_root, parent, name, &entry);
    if (*err == 0)
        *err = rig->fs.ops->inode_open(rig->fs.fs, parent, name, &entry, &inode);
    return *err == 0 ? inode : NULL;
}

void *rig_lookup(struct rig *rig, void *parent, const char *name)
{
    int err;
    void *inode = rig_try_lookup(rig, parent, name, &err);
    assert_int_equal(err, 0);
    return inode;
}

void *rig_entry_inode(struct rig *rig, void *parent, const char *name, struct oriel_fs_entry *entry)
{
    void *inode = NULL;
    assert_int_equal(rig->fs.ops->inode_open(rig->fs.fs, parent, name, entry, &inode), 0);
    return inode;
}

void rig_close(struct rig *rig, void *inode)
{
    rig->fs.ops->inode_close(rig->fs.fs, inode);
}

int rig_try_open(struct rig *rig, void *inode, uint32_t flags, void **handle)
{
    struct oriel_fs_opened opened = {0};
    int err = rig->fs.ops->open(rig->fs.fs, &as_root, inode, flags, 0, &opened);
    *handle = opened.handle;
    return err;
}

void *rig_open(struct rig *rig, void *inode, uint32_t flags)
{
    void *handle;
    assert_int_equal(rig_try_open(rig, inode, flags, &handle), 0);
    return handle;
}

void rig_release(struct rig *rig, void *inode, void *handle)
{
    rig->fs.ops->release(rig->fs.fs, inode, handle, 0, false);
}

ssize_t rig_read(struct rig *rig, void *inode, void *handle, void *data, size_t size, uint64_t offset)
{
    struct iovec iov = {data, size};
    return rig->fs.ops->read(rig->fs.fs, inode, handle, &iov, 1, offset);
}

ssize_t rig_write(struct rig *rig, void *inode, void *handle, const void *data, size_t size, uint64_t offset,
                  uint32_t kill)
{
    struct iovec iov = {(void *)(uintptr_t)data, size};
    return rig->fs.ops->write(rig->fs.fs, &as_root, inode, handle, &iov, 1, offset, kill);
}

void in_child(child_fn body, void *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body(arg);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    unsigned count = 0;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}
