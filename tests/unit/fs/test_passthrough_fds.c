/* Descriptors: what an inode costs, and what happens when they run out. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"

#define RIG(state) ((struct rig *)*(state))

static unsigned inodes_to_hold(void)
{
    const char *text = getenv("ORIEL_TEST_INODES");
    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : 6000;
}

/* Empty files in folders of 1,000. */
static void make_tree(const struct rig *rig, unsigned count)
{
    char name[64];
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "d%u", i / 1000);
        if (i % 1000 == 0)
            assert_int_equal(mkdir(on_host(rig, name), 0755), 0);
        snprintf(name, sizeof(name), "d%u/f%u", i / 1000, i);
        assert_int_equal(mknod(on_host(rig, name), S_IFREG | 0644, 0), 0);
    }
}

static void check_file(struct rig *rig, void *inode, unsigned i)
{
    struct oriel_fs_attr attr = {.mode = 0600}, out;
    void *handle;
    assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, inode, NULL, &out), 0);
    assert_int_equal(out.nlink, 1);
    if (i % 16 != 0)
        return;
    assert_int_equal(rig_try_open(rig, inode, O_RDWR, &handle), 0);
    rig_release(rig, inode, handle);
    assert_int_equal(rig->fs.ops->setattr(rig->fs.fs, &as_root, inode, NULL, &attr, ORIEL_FS_SET_MODE, &out),
                     0);
}

static void many_more_inodes_than_descriptors(struct rig *rig,
                                              const struct oriel_passthrough_options *options, unsigned count,
                                              rlim_t descriptors)
{
    struct rlimit before, low;
    char name[64];
    unsigned folders = (count + 999) / 1000;
    void **inodes = calloc(count, sizeof(*inodes)), **dirs = calloc(folders, sizeof(*dirs));
    assert_non_null(inodes);
    assert_non_null(dirs);
    make_tree(rig, count);
    getrlimit(RLIMIT_NOFILE, &before);
    low = (struct rlimit){descriptors, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    rig_reopen(rig, options);
    for (unsigned i = 0; i < count; i++) {
        if (i % 1000 == 0) {
            snprintf(name, sizeof(name), "d%u", i / 1000);
            dirs[i / 1000] = rig_lookup(rig, rig->root, name);
        }
        snprintf(name, sizeof(name), "f%u", i);
        inodes[i] = rig_lookup(rig, dirs[i / 1000], name);
    }
    assert_true(open_descriptors() < descriptors);
    for (unsigned i = 0; i < count; i++)
        check_file(rig, inodes[i], i);
    for (unsigned i = count; i-- > 0;)
        check_file(rig, inodes[(uint64_t)i * 7919 % count], i);
    assert_true(open_descriptors() < descriptors);
    for (unsigned i = 0; i < count; i++)
        rig_close(rig, inodes[i]);
    for (unsigned i = 0; i < folders; i++)
        rig_close(rig, dirs[i]);
    setrlimit(RLIMIT_NOFILE, &before);
    free(inodes);
    free(dirs);
}

static void an_inode_costs_no_descriptor(void **state)
{
    many_more_inodes_than_descriptors(RIG(state), NULL, inodes_to_hold(),
                                      inodes_to_hold() > 100000 ? 1024 : 256);
}

static void an_inode_costs_no_descriptor_without_file_handles_either(void **state)
{
    const struct oriel_passthrough_options options = {.file_handles = ORIEL_FILE_HANDLES_NEVER};
    many_more_inodes_than_descriptors(RIG(state), &options, inodes_to_hold(),
                                      inodes_to_hold() > 100000 ? 1024 : 256);
}

static void descriptors_come_back(void **state)
{
    struct rig *rig = RIG(state);
    host_file(rig, "file", "x");
    assert_int_equal(mkdir(on_host(rig, "sub"), 0755), 0);
    unsigned before = open_descriptors();
    struct oriel_passthrough_stats stats_before, stats;
    assert_int_equal(oriel_passthrough_get_stats(&rig->fs, &stats_before), 0);
    for (int i = 0; i < 100; i++) {
        void *file = rig_lookup(rig, rig->root, "file"), *sub = rig_lookup(rig, rig->root, "sub");
        void *a = rig_open(rig, file, O_RDONLY), *b = rig_open(rig, file, O_RDWR);
        struct oriel_fs_opened opened;
        struct oriel_fs_attr attr;
        assert_int_equal(rig->fs.ops->opendir(rig->fs.fs, &as_root, sub, 0, &opened), 0);
        assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, sub, NULL, &attr), 0);
        rig->fs.ops->releasedir(rig->fs.fs, sub, opened.handle);
        rig_release(rig, file, a);
        assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, NULL, &attr), 0);
        rig_release(rig, file, b);
        assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, NULL, &attr), 0);
        rig_close(rig, file);
        rig_close(rig, sub);
    }
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(oriel_passthrough_get_stats(&rig->fs, &stats), 0);
    assert_int_equal(stats.descriptors, stats_before.descriptors);
}

static void a_used_up_budget_is_enfile_and_gives_way(void **state)
{
    struct rig *rig = RIG(state);
    void *handles[64], *handle;
    unsigned opened = 0;
    char name[16];
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        host_file(rig, name, name);
    }
    rig_reopen(rig, &(struct oriel_passthrough_options){.fd_budget = 24});
    void *file = rig_lookup(rig, rig->root, "f0");
    int err = 0;
    while (opened < 64 && (err = rig_try_open(rig, file, O_RDONLY, &handle)) == 0)
        handles[opened++] = handle;
    assert_int_equal(err, -ENFILE);
    assert_true(opened >= 12 && opened < 24);
    struct oriel_passthrough_stats stats;
    assert_int_equal(oriel_passthrough_get_stats(&rig->fs, &stats), 0);
    assert_true(stats.descriptors == 24 && stats.descriptor_limit == 24 && stats.lock_owners == 0);
    struct oriel_fs_entry entry;
    struct oriel_fs_opened created;
    struct stat st;
    assert_int_equal(
        rig->fs.ops->create(rig->fs.fs, &as_root, rig->root, "new", 0644, O_RDWR, 0, 0, &entry, &created),
        -ENFILE);
    assert_int_equal(stat(on_host(rig, "new"), &st), -1);
    /* All else works meanwhile. */
    for (unsigned i = 1; i < 40; i++) {
        struct oriel_fs_attr attr;
        snprintf(name, sizeof(name), "f%u", i);
        void *other = rig_lookup(rig, rig->root, name);
        assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, other, NULL, &attr), 0);
        assert_int_equal(attr.size, strlen(name));
        rig_close(rig, other);
    }
    assert_int_equal(rig->fs.ops->flush(rig->fs.fs, file, handles[0], 0), 0);
    rig_release(rig, file, handles[--opened]);
    assert_int_equal(rig_try_open(rig, file, O_RDONLY, &handles[opened]), 0);
    opened++;
    while (opened > 0)
        rig_release(rig, file, handles[--opened]);
    rig_close(rig, file);
}

/* Without file handles an inode is a name below a folder; what the guest itself does to names is followed. */
static void locations_follow_the_guest(void **state)
{
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_attr attr;
    char path[64] = "", name[16];
    void *dirs[30], *filler[40];
    for (unsigned i = 0; i < 30; i++) {
        snprintf(path + strlen(path), sizeof(path) - strlen(path), "%sd", i == 0 ? "" : "/");
        assert_int_equal(mkdir(on_host(rig, path), 0755), 0);
    }
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        host_file(rig, name, name);
    }
    rig_reopen(
        rig, &(struct oriel_passthrough_options){.file_handles = ORIEL_FILE_HANDLES_NEVER, .fd_budget = 16});
    ops = rig->fs.ops;
    for (unsigned i = 0; i < 30; i++)
        dirs[i] = rig_lookup(rig, i == 0 ? rig->root : dirs[i - 1], "d");
    void *moved = rig_lookup(rig, rig->root, "f0"), *removed = rig_lookup(rig, rig->root, "f1");
    void *replaced = rig_lookup(rig, rig->root, "f2");
    assert_int_equal(ops->rename(rig->fs.fs, &as_root, rig->root, "f0", dirs[29], "new-name", 0), 0);
    assert_int_equal(ops->rename(rig->fs.fs, &as_root, rig->root, "d", rig->root, "other", 0), 0);
    assert_int_equal(ops->rename(rig->fs.fs, &as_root, rig->root, "f3", rig->root, "f2", 0), 0);
    assert_int_equal(ops->unlink(rig->fs.fs, &as_root, rig->root, "f1"), 0);
    /* Others take all the descriptors of the cache. */
    for (unsigned i = 4; i < 40; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        filler[i] = rig_lookup(rig, rig->root, name);
        assert_int_equal(ops->getattr(rig->fs.fs, &as_root, filler[i], NULL, &attr), 0);
    }
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, moved, NULL, &attr), 0);
    assert_true(attr.size == 2 && attr.nlink == 1);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, removed, NULL, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, replaced, NULL, &attr), 0);
    assert_int_equal(attr.nlink, 0);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, dirs[15], NULL, &attr), 0);
    /* What the host moves is found again by the guest's next lookup. */
    assert_int_equal(rename(on_host(rig, "f10"), on_host(rig, "host-moved")), 0);
    for (unsigned i = 11; i < 40; i++)
        assert_int_equal(ops->getattr(rig->fs.fs, &as_root, filler[i], NULL, &attr), 0);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, filler[10], NULL, &attr), -ESTALE);
    struct oriel_fs_entry entry;
    assert_int_equal(ops->lookup(rig->fs.fs, &as_root, rig->root, "host-moved", &entry), 0);
    ops->entry_drop(rig->fs.fs, &entry);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, filler[10], NULL, &attr), 0);
    /* Parents may be forgotten before what is below them. */
    for (unsigned i = 0; i < 29; i++)
        rig_close(rig, dirs[i]);
    for (unsigned i = 11; i < 40; i++)
        assert_int_equal(ops->getattr(rig->fs.fs, &as_root, filler[i], NULL, &attr), 0);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, dirs[29], NULL, &attr), 0);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, moved, NULL, &attr), 0);
    rig_close(rig, dirs[29]);
    rig_close(rig, moved);
    rig_close(rig, removed);
    rig_close(rig, replaced);
    for (unsigned i = 4; i < 40; i++)
        rig_close(rig, filler[i]);
}

struct worker {
    struct rig *rig;
    unsigned seed;
};

/* Few descriptors, many files, several threads: evictions race with uses and closes all the time. Each file
 * holds its own name, so a descriptor of the wrong file shows. */
static void *work(void *arg)
{
    const struct worker *worker = arg;
    struct rig *rig = worker->rig;
    unsigned seed = worker->seed;
    for (int i = 0; i < 3000; i++) {
        char name[16], text[16] = {0};
        struct oriel_fs_attr attr;
        snprintf(name, sizeof(name), "f%u", (unsigned)rand_r(&seed) % 64);
        void *file = rig_lookup(rig, rig->root, name);
        assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, NULL, &attr), 0);
        assert_int_equal(attr.size, strlen(name));
        void *handle = NULL;
        int err = rig_try_open(rig, file, O_RDONLY, &handle);
        if (err == 0) {
            assert_int_equal(rig_read(rig, file, handle, text, sizeof(text), 0), strlen(name));
            assert_string_equal(text, name);
            rig_release(rig, file, handle);
        } else {
            assert_int_equal(err, -ENFILE);
        }
        rig_close(rig, file);
    }
    return NULL;
}

static void threads_never_see_the_descriptor_of_another_file(void **state)
{
    struct rig *rig = RIG(state);
    pthread_t threads[4];
    struct worker workers[4];
    char name[16];
    for (unsigned i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        host_file(rig, name, name);
    }
    rig_reopen(rig, &(struct oriel_passthrough_options){.fd_budget = 18});
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){rig, i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

struct sharer {
    struct rig *rig;
    void **files;
    unsigned seed;
};

/* Inodes that all threads share, more of them than the cache holds. */
static void *share_inodes(void *arg)
{
    const struct sharer *sharer = arg;
    unsigned seed = sharer->seed;
    for (int i = 0; i < 5000; i++) {
        unsigned n = (unsigned)rand_r(&seed) % 64;
        char name[16];
        struct oriel_fs_attr attr;
        snprintf(name, sizeof(name), "f%u", n);
        assert_int_equal(
            sharer->rig->fs.ops->getattr(sharer->rig->fs.fs, &as_root, sharer->files[n], NULL, &attr), 0);
        assert_int_equal(attr.size, strlen(name) + n);
    }
    return NULL;
}

static void share_between_threads(struct rig *rig, enum oriel_file_handles file_handles)
{
    pthread_t threads[4];
    struct sharer sharers[4];
    void *files[64];
    char name[16], text[128];
    for (unsigned i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        memset(text, 'x', sizeof(text));
        text[strlen(name) + i] = '\0';
        host_file(rig, name, text);
    }
    rig_reopen(rig, &(struct oriel_passthrough_options){.fd_budget = 16, .file_handles = file_handles});
    for (unsigned i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        files[i] = rig_lookup(rig, rig->root, name);
    }
    for (unsigned i = 0; i < 4; i++) {
        sharers[i] = (struct sharer){rig, files, i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, share_inodes, &sharers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 64; i++)
        rig_close(rig, files[i]);
}

static void threads_share_inodes_beyond_the_cache(void **state)
{
    share_between_threads(RIG(state), ORIEL_FILE_HANDLES_PREFER);
}

static void threads_share_inodes_without_file_handles(void **state)
{
    share_between_threads(RIG(state), ORIEL_FILE_HANDLES_NEVER);
}

struct changer {
    struct rig *rig;
    void *folders[2];
    unsigned seed;
};

static bool is_expected(int err)
{
    return err == 0 || err == -ENOENT || err == -EEXIST || err == -ESTALE || err == -ENOTEMPTY ||
           err == -EISDIR || err == -ENOTDIR || err == -ENFILE || err == -EBADF;
}

static int change_once(struct rig *rig, void *folder, const char *name, void *other, const char *other_name,
                       unsigned op)
{
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    struct oriel_fs_attr attr;
    void *inode = NULL;
    int err;
    switch (op) {
    case 0:
        return ops->unlink(rig->fs.fs, &as_root, folder, name);
    case 1:
        return ops->rename(rig->fs.fs, &as_root, folder, name, other, other_name, 0);
    case 2:
        err = ops->create(rig->fs.fs, &as_root, folder, name, 0644, O_RDWR, 022, 0, &entry, &opened);
        if (err != 0)
            return err;
        err = ops->inode_open(rig->fs.fs, folder, name, &entry, &inode);
        ops->release(rig->fs.fs, inode, opened.handle, 0, false);
        break;
    case 3:
        err = ops->mkdir(rig->fs.fs, &as_root, folder, name, 0755, 022, &entry);
        ops->rmdir(rig->fs.fs, &as_root, folder, name);
        return err;
    default:
        inode = rig_try_lookup(rig, folder, name, &err);
        if (err == 0)
            err = ops->getattr(rig->fs.fs, &as_root, inode, NULL, &attr);
        if (err == 0 && ops->open(rig->fs.fs, &as_root, inode, O_RDWR, 0, &opened) == 0)
            ops->release(rig->fs.fs, inode, opened.handle, 0, false);
        break;
    }
    if (inode != NULL)
        rig_close(rig, inode);
    return err;
}

static void *change_names(void *arg)
{
    const struct changer *changer = arg;
    unsigned seed = changer->seed;
    for (int i = 0; i < 2000; i++) {
        char name[8], other[8];
        snprintf(name, sizeof(name), "n%d", rand_r(&seed) % 12);
        snprintf(other, sizeof(other), "n%d", rand_r(&seed) % 12);
        unsigned op = (unsigned)rand_r(&seed) % 8;
        int err = change_once(changer->rig, changer->folders[rand_r(&seed) % 2], name,
                              changer->folders[rand_r(&seed) % 2], other, op);
        if (!is_expected(err))
            print_message("# op %u: %d\n", op, err);
        assert_true(is_expected(err));
    }
    return NULL;
}

static void change_between_threads(struct rig *rig, enum oriel_file_handles file_handles)
{
    pthread_t threads[4];
    struct changer changers[4];
    assert_int_equal(mkdir(on_host(rig, "a"), 0755), 0);
    assert_int_equal(mkdir(on_host(rig, "b"), 0755), 0);
    rig_reopen(rig, &(struct oriel_passthrough_options){.fd_budget = 20, .file_handles = file_handles});
    unsigned before = open_descriptors();
    void *a = rig_lookup(rig, rig->root, "a"), *b = rig_lookup(rig, rig->root, "b");
    for (unsigned i = 0; i < 4; i++) {
        changers[i] = (struct changer){rig, {a, b}, i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, change_names, &changers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    rig_close(rig, a);
    rig_close(rig, b);
    assert_int_equal(open_descriptors(), before);
}

static void threads_change_names_under_each_other(void **state)
{
    change_between_threads(RIG(state), ORIEL_FILE_HANDLES_PREFER);
}

static void threads_change_names_without_file_handles(void **state)
{
    change_between_threads(RIG(state), ORIEL_FILE_HANDLES_NEVER);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_inode_costs_no_descriptor),
        TEST(an_inode_costs_no_descriptor_without_file_handles_either),
        TEST(locations_follow_the_guest),
        TEST(descriptors_come_back),
        TEST(a_used_up_budget_is_enfile_and_gives_way),
        TEST(threads_never_see_the_descriptor_of_another_file),
        TEST(threads_share_inodes_beyond_the_cache),
        TEST(threads_share_inodes_without_file_handles),
        TEST(threads_change_names_under_each_other),
        TEST(threads_change_names_without_file_handles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
