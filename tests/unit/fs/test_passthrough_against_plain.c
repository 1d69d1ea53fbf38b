/*
 * The same random operations on a shared folder and, by plain system calls, on an ordinary one: every result,
 * and in the end every name and attribute, must be the same. The seed is printed; ORIEL_TEST_SEED replays it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "rig.h"

#define STEPS 6000
#define NAMES 5

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static void seed(void)
{
    const char *given = getenv("ORIEL_TEST_SEED");
    random_state =
        given != NULL ? (uint32_t)strtoul(given, NULL, 0) : (uint32_t)time(NULL) ^ (uint32_t)getpid() << 16;
    print_message("# ORIEL_TEST_SEED=%u\n", random_state);
}

/* A folder and a name in it, on both sides. */
struct place {
    int fd;       /* plain; -1 when there is none */
    void *folder; /* of the back-end; NULL when there is none */
    char name[8];
};

struct pair {
    struct rig *rig;
    int plain;
};

static int status_of(int result)
{
    return result == 0 ? 0 : -errno;
}

static void pick(const struct pair *pair, struct place *place)
{
    int err = 0;
    char folder[8];
    snprintf(place->name, sizeof(place->name), "n%u", random_below(NAMES));
    snprintf(folder, sizeof(folder), "n%u", random_below(NAMES));
    if (random_below(2) == 0) {
        place->fd = dup(pair->plain);
        place->folder = pair->rig->root;
        return;
    }
    place->fd = openat(pair->plain, folder, O_PATH | O_NOFOLLOW);
    place->folder = rig_try_lookup(pair->rig, pair->rig->root, folder, &err);
    assert_int_equal(place->fd >= 0, place->folder != NULL);
}

static void drop(const struct pair *pair, const struct place *place)
{
    if (place->fd >= 0)
        close(place->fd);
    if (place->folder != NULL && place->folder != pair->rig->root)
        rig_close(pair->rig, place->folder);
}

static bool is_folder(const struct place *place)
{
    struct stat st;
    return fstatat(place->fd, place->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* ---- names ---- */

static int drop_entry(const struct rig *rig, int err, struct oriel_fs_entry *entry)
{
    if (err == 0)
        rig->fs.ops->entry_drop(rig->fs.fs, entry);
    return err;
}

static void make(const struct pair *pair, const struct place *at, int *plain, int *ours)
{
    const struct oriel_fs_ops *ops = pair->rig->fs.ops;
    void *fs = pair->rig->fs.fs;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    uint32_t mode = random_below(010000), kind = random_below(4);
    switch (kind) {
    case 0: {
        int fd = openat(at->fd, at->name, O_RDWR | O_CREAT | O_EXCL, mode);
        *plain = fd >= 0 ? 0 : -errno;
        if (fd >= 0)
            close(fd);
        *ours = ops->create(fs, &as_root, at->folder, at->name, mode, O_RDWR | O_EXCL, 0, 0, &entry, &opened);
        if (*ours == 0) {
            ops->entry_drop(fs, &entry);
            ops->release(fs, NULL, opened.handle, 0, false);
        }
        return;
    }
    case 1:
        *plain = status_of(mkdirat(at->fd, at->name, mode));
        *ours = ops->mkdir(fs, &as_root, at->folder, at->name, mode, 0, &entry);
        break;
    case 2:
        *plain = status_of(symlinkat("target/of/link", at->fd, at->name));
        *ours = ops->symlink(fs, &as_root, at->folder, at->name, "target/of/link", &entry);
        break;
    default:
        *plain = status_of(mknodat(at->fd, at->name, S_IFIFO | mode, 0));
        *ours = ops->mknod(fs, &as_root, at->folder, at->name, S_IFIFO | mode, 0, 0, &entry);
        break;
    }
    drop_entry(pair->rig, *ours, &entry);
}

static void take_away(const struct pair *pair, const struct place *at, int *plain, int *ours)
{
    const struct oriel_fs_ops *ops = pair->rig->fs.ops;
    bool folder = random_below(2) == 0;
    *plain = status_of(unlinkat(at->fd, at->name, folder ? AT_REMOVEDIR : 0));
    *ours = (folder ? ops->rmdir : ops->unlink)(pair->rig->fs.fs, &as_root, at->folder, at->name);
}

static void move(const struct pair *pair, const struct place *from, const struct place *to, int *plain,
                 int *ours)
{
    const uint32_t flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, 1u << 20};
    uint32_t flag = flags[random_below(6)];
    *plain = status_of(renameat2(from->fd, from->name, to->fd, to->name, flag));
    *ours = pair->rig->fs.ops->rename(pair->rig->fs.fs, &as_root, from->folder, from->name, to->folder,
                                      to->name, flag);
}

static void make_link(const struct pair *pair, const struct place *from, const struct place *to, int *plain,
                      int *ours)
{
    struct oriel_fs_entry entry;
    if (is_folder(from))
        return; /* EPERM; which of several errors comes first is the guest's kernel's to say */
    void *inode = rig_try_lookup(pair->rig, from->folder, from->name, ours);
    *plain = status_of(linkat(from->fd, from->name, to->fd, to->name, 0));
    if (inode == NULL)
        return;
    *ours = drop_entry(
        pair->rig, pair->rig->fs.ops->link(pair->rig->fs.fs, &as_root, inode, to->folder, to->name, &entry),
        &entry);
    rig_close(pair->rig, inode);
}

/* ---- attributes and data ---- */

static int plain_attributes(const struct place *at, uint32_t which, uint32_t number)
{
    const struct timespec times[2] = {{number, 5}, {number + 1, 6}};
    switch (which) {
    case 0:
        return status_of(fchownat(at->fd, at->name, number, number + 1, AT_SYMLINK_NOFOLLOW));
    case 1:
        return status_of(utimensat(at->fd, at->name, times, AT_SYMLINK_NOFOLLOW));
    default: {
        struct stat st;
        if (fstatat(at->fd, at->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            return -errno;
        return S_ISLNK(st.st_mode) ? -EOPNOTSUPP : status_of(fchmodat(at->fd, at->name, number & 07777, 0));
    }
    }
}

static void change_attributes(const struct pair *pair, const struct place *at, int *plain, int *ours)
{
    const uint32_t sets[] = {ORIEL_FS_SET_UID | ORIEL_FS_SET_GID, ORIEL_FS_SET_ATIME | ORIEL_FS_SET_MTIME,
                             ORIEL_FS_SET_MODE};
    uint32_t which = random_below(3), number = random_below(100000);
    struct oriel_fs_attr attr = {.uid = number,
                                 .gid = number + 1,
                                 .mode = number,
                                 .atime = {number, 5},
                                 .mtime = {number + 1, 6}},
                         out;
    *plain = plain_attributes(at, which, number);
    void *inode = rig_try_lookup(pair->rig, at->folder, at->name, ours);
    if (inode == NULL)
        return;
    *ours = pair->rig->fs.ops->setattr(pair->rig->fs.fs, &as_root, inode, NULL, &attr, sets[which], &out);
    rig_close(pair->rig, inode);
}

static int plain_data(int fd, uint32_t which, uint32_t offset, uint32_t len, char *data)
{
    switch (which) {
    case 0:
        return (int)pwrite(fd, data, len, offset);
    case 1:
        return (int)pread(fd, data, len, offset);
    case 2:
        return status_of(ftruncate(fd, offset));
    default: {
        int result = status_of(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len));
        return result;
    }
    }
}

static int our_data(const struct pair *pair, void *inode, void *handle, uint32_t which, uint32_t offset,
                    uint32_t len, char *data)
{
    const struct oriel_fs_ops *ops = pair->rig->fs.ops;
    struct oriel_fs_attr attr = {.size = offset}, out;
    switch (which) {
    case 0:
        return (int)rig_write(pair->rig, inode, handle, data, len, offset, 0);
    case 1:
        return (int)rig_read(pair->rig, inode, handle, data, len, offset);
    case 2:
        return ops->setattr(pair->rig->fs.fs, &as_root, inode, handle, &attr, ORIEL_FS_SET_SIZE, &out);
    default:
        return ops->fallocate(pair->rig->fs.fs, inode, handle, offset, len,
                              FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    }
}

/* What fallocate makes of suid and sgid differs for root: docs/operations.md. */
static void end_suid_and_sgid(const struct pair *pair, int fd, void *inode, mode_t mode)
{
    struct oriel_fs_attr attr = {.mode = mode & 01777}, out;
    assert_int_equal(fchmod(fd, mode & 01777), 0);
    assert_int_equal(
        pair->rig->fs.ops->setattr(pair->rig->fs.fs, &as_root, inode, NULL, &attr, ORIEL_FS_SET_MODE, &out),
        0);
}

static void change_data(const struct pair *pair, const struct place *at, int *plain, int *ours)
{
    struct stat st;
    static char a[20000], b[20000];
    uint32_t which = random_below(4), offset = random_below(30000), len = 1 + random_below(sizeof(a) - 1);
    if (fstatat(at->fd, at->name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return;
    memset(a, 0, sizeof(a));
    memset(b, 0, sizeof(b));
    for (uint32_t i = 0; which == 0 && i < len; i++)
        a[i] = b[i] = (char)(i * 31 + offset);
    void *inode = rig_lookup(pair->rig, at->folder, at->name), *handle = rig_open(pair->rig, inode, O_RDWR);
    int fd = openat(at->fd, at->name, O_RDWR | O_NOFOLLOW);
    assert_true(fd >= 0);
    if (which == 3)
        end_suid_and_sgid(pair, fd, inode, st.st_mode);
    *plain = plain_data(fd, which, offset, len, a);
    *ours = our_data(pair, inode, handle, which, offset, len, b);
    assert_memory_equal(a, b, sizeof(a));
    close(fd);
    rig_release(pair->rig, inode, handle);
    rig_close(pair->rig, inode);
}

/* ---- comparison ---- */

static void check_name(const struct pair *pair, const struct place *at)
{
    struct stat st;
    struct oriel_fs_entry entry;
    /* In a removed folder all names are gone: ENOENT, or ESTALE when nothing held on to the folder. */
    if (fstat(at->fd, &st) == 0 && S_ISDIR(st.st_mode) && st.st_nlink == 0)
        return;
    int plain = status_of(fstatat(at->fd, at->name, &st, AT_SYMLINK_NOFOLLOW));
    int ours = pair->rig->fs.ops->lookup(pair->rig->fs.fs, &as_root, at->folder, at->name, &entry);
    assert_int_equal(ours, plain);
    if (ours != 0)
        return;
    assert_int_equal(entry.attr.mode, st.st_mode);
    assert_int_equal(entry.attr.nlink, st.st_nlink);
    assert_int_equal(entry.attr.uid, st.st_uid);
    assert_int_equal(entry.attr.gid, st.st_gid);
    if (!S_ISDIR(st.st_mode)) {
        assert_int_equal(entry.attr.size, st.st_size);
        assert_int_equal(entry.attr.blocks, st.st_blocks);
    }
    pair->rig->fs.ops->entry_drop(pair->rig->fs.fs, &entry);
}

struct names {
    unsigned count;
    char seen[NAMES];
};

static bool note(void *arg, const struct oriel_fs_dirent *entry)
{
    struct names *names = arg;
    names->count++;
    if (entry->name[0] == 'n')
        names->seen[entry->name[1] - '0'] = 1;
    return true;
}

static void check_folder(const struct pair *pair, int plain, void *folder)
{
    struct names ours = {0}, theirs = {0};
    struct oriel_fs_opened opened;
    assert_int_equal(pair->rig->fs.ops->opendir(pair->rig->fs.fs, &as_root, folder, 0, &opened), 0);
    assert_int_equal(pair->rig->fs.ops->readdir(pair->rig->fs.fs, folder, opened.handle, 0, note, &ours), 0);
    pair->rig->fs.ops->releasedir(pair->rig->fs.fs, folder, opened.handle);
    DIR *dir = fdopendir(openat(plain, ".", O_RDONLY | O_DIRECTORY));
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct oriel_fs_dirent same = {.name = entry->d_name};
        note(&theirs, &same);
    }
    closedir(dir);
    assert_memory_equal(&ours, &theirs, sizeof(ours));
}

static void check_trees(const struct pair *pair)
{
    check_folder(pair, pair->plain, pair->rig->root);
    for (unsigned i = 0; i < NAMES; i++) {
        struct place at = {.fd = pair->plain, .folder = pair->rig->root};
        snprintf(at.name, sizeof(at.name), "n%u", i);
        check_name(pair, &at);
        if (!is_folder(&at))
            continue;
        struct place below = {.fd = openat(pair->plain, at.name, O_PATH)};
        below.folder = rig_lookup(pair->rig, pair->rig->root, at.name);
        check_folder(pair, below.fd, below.folder);
        for (unsigned j = 0; j < NAMES; j++) {
            snprintf(below.name, sizeof(below.name), "n%u", j);
            check_name(pair, &below);
        }
        close(below.fd);
        rig_close(pair->rig, below.folder);
    }
}

static void step(const struct pair *pair, unsigned number)
{
    struct place a, b;
    int plain = 0, ours = 0;
    pick(pair, &a);
    pick(pair, &b);
    uint32_t op = random_below(8);
    if (a.folder != NULL && b.folder != NULL) {
        if (op < 3)
            make(pair, &a, &plain, &ours);
        else if (op == 3)
            take_away(pair, &a, &plain, &ours);
        else if (op == 4)
            move(pair, &a, &b, &plain, &ours);
        else if (op == 5)
            make_link(pair, &a, &b, &plain, &ours);
        else if (op == 6)
            change_attributes(pair, &a, &plain, &ours);
        else
            change_data(pair, &a, &plain, &ours);
        if (plain != ours)
            print_message("# step %u, operation %u on %s: %d, plain %d\n", number, op, a.name, ours, plain);
        assert_int_equal(ours, plain);
        check_name(pair, &a);
        check_name(pair, &b);
    }
    drop(pair, &a);
    drop(pair, &b);
}

static void same_as_plain(const char *dir, const struct oriel_passthrough_options *options)
{
    SKIP_UNLESS_ROOT(); /* whoever may not read what it makes tests little */
    struct rig *rig = rig_new_in(dir, options);
    char plain[300];
    mode_t mask = umask(0);
    snprintf(plain, sizeof(plain), "%s/plain", rig->base);
    assert_int_equal(mkdir(plain, 0755), 0);
    struct pair pair = {rig, open(plain, O_PATH | O_DIRECTORY)};
    seed();
    for (unsigned i = 0; i < STEPS; i++)
        step(&pair, i);
    check_trees(&pair);
    close(pair.plain);
    umask(mask);
    rig_free(rig);
}

static void with_file_handles(void **state)
{
    (void)state;
    same_as_plain(NULL, NULL);
}

static void without_file_handles(void **state)
{
    (void)state;
    same_as_plain(
        NULL, &(struct oriel_passthrough_options){.file_handles = ORIEL_FILE_HANDLES_NEVER, .fd_budget = 20});
}

static void on_tmpfs(void **state)
{
    (void)state;
    same_as_plain("/dev/shm", NULL);
}

static void with_switched_credentials(void **state)
{
    (void)state;
    if (!oriel_passthrough_can_switch_credentials()) {
        print_message("needs CAP_SETUID and CAP_SETGID\n");
        skip();
    }
    same_as_plain(NULL, &(struct oriel_passthrough_options){.switch_credentials = true,
                                                            .enforce_credentials = true,
                                                            .keep_credentials = true});
    oriel_passthrough_restore_thread();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_file_handles),
        cmocka_unit_test(without_file_handles),
        cmocka_unit_test(on_tmpfs),
        cmocka_unit_test(with_switched_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
