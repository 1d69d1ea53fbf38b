/* Names: making, linking, removing, renaming. */
#include "memory_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <linux/fs.h>

static void link_counts_follow(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    struct oriel_fs_entry entry;
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    void *folder = mem_folder(mem, mem->root, "d", 0755, NULL);
    assert_int_equal(mem_attr(mem, file).nlink, 1);
    assert_int_equal(mem_attr(mem, folder).nlink, 2);
    assert_int_equal(mem_attr(mem, mem->root).nlink, 3);
    assert_int_equal(mem->ops->link(mem->p, &mem->caller, file, folder, "l", &entry), 0);
    assert_int_equal(entry.attr.nlink, 2);
    mem->ops->entry_drop(mem->p, &entry);
    assert_int_equal(mem_used_inodes(mem), 4); /* a further link counts */
    assert_int_equal(mem->ops->link(mem->p, &mem->caller, file, folder, "l", &entry), -EEXIST);
    assert_int_equal(mem->ops->link(mem->p, &mem->caller, folder, mem->root, "x", &entry), -EPERM);
    assert_int_equal(mem->ops->rmdir(mem->p, &mem->caller, mem->root, "d"), -ENOTEMPTY);
    assert_int_equal(mem->ops->rmdir(mem->p, &mem->caller, mem->root, "f"), -ENOTDIR);
    assert_int_equal(mem_unlink(mem, mem->root, "d"), -EISDIR);
    assert_int_equal(mem_unlink(mem, folder, "l"), 0);
    assert_int_equal(mem->ops->rmdir(mem->p, &mem->caller, mem->root, "d"), 0);
    assert_int_equal(mem_attr(mem, folder).nlink, 0);
    assert_int_equal(mem_attr(mem, mem->root).nlink, 2);
    int error;
    assert_null(mem_file(mem, folder, "in a removed folder", 0644, &error));
    assert_int_equal(error, -ENOENT);
    assert_int_equal(mem_unlink(mem, mem->root, "f"), 0);
    assert_int_equal(mem_attr(mem, file).nlink, 0);
    assert_int_equal(mem->ops->link(mem->p, &mem->caller, file, mem->root, "again", &entry), -ENOENT);
    mem_close(mem, file);
    mem_close(mem, folder);
    assert_int_equal(mem_used_inodes(mem), 1);
    mem_free(mem);
}

static void a_tmpfile_gets_its_name_later(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    for (int exclusive = 0; exclusive < 2; exclusive++) {
        struct oriel_fs_entry entry, linked;
        struct oriel_fs_opened opened;
        void *inode;
        assert_int_equal(mem->ops->tmpfile(mem->p, &mem->caller, mem->root, 0600,
                                           O_RDWR | (exclusive ? (uint32_t)O_EXCL : 0), 0, &entry, &opened),
                         0);
        assert_int_equal(entry.attr.nlink, 0);
        assert_int_equal(mem->ops->inode_open(mem->p, mem->root, NULL, &entry, &inode), 0);
        int error = mem->ops->link(mem->p, &mem->caller, inode, mem->root, "named", &linked);
        assert_int_equal(error, exclusive ? -ENOENT : 0);
        if (error == 0) {
            assert_int_equal(linked.attr.nlink, 1);
            mem->ops->entry_drop(mem->p, &linked);
            assert_int_equal(mem_unlink(mem, mem->root, "named"), 0);
        }
        mem->ops->release(mem->p, inode, opened.handle, 0, false);
        mem_close(mem, inode);
    }
    assert_int_equal(mem_used_inodes(mem), 1);
    mem_free(mem);
}

static void modes_groups_and_umask(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    mem->umask = 027;
    void *plain = mem_file(mem, mem->root, "plain", 0666, NULL);
    assert_int_equal(mem_attr(mem, plain).mode, S_IFREG | 0640);
    void *shared = mem_folder(mem, mem->root, "shared", 0777, NULL);
    struct oriel_fs_attr change = {.mode = 02775, .gid = 300};
    assert_int_equal(mem_set(mem, shared, ORIEL_FS_SET_GID, &change), 0);
    assert_int_equal(mem_set(mem, shared, ORIEL_FS_SET_MODE, &change), 0);
    mem->caller = (oriel_fs_caller){.uid = 100, .gid = 200};
    void *file = mem_file(mem, shared, "f", 02755, NULL);
    void *folder = mem_folder(mem, shared, "d", 0777, NULL);
    assert_int_equal(mem_attr(mem, file).gid, 300);
    assert_int_equal(mem_attr(mem, file).mode,
                     S_IFREG | 0750); /* not of the group: no sgid program in its name */
    assert_int_equal(mem_attr(mem, folder).gid, 300);
    assert_int_equal(mem_attr(mem, folder).mode, S_IFDIR | 02750);
    uint32_t groups[] = {7, 300};
    mem->caller.groups = groups;
    mem->caller.group_count = 2;
    void *member = mem_file(mem, shared, "g", 02755, NULL);
    assert_int_equal(mem_attr(mem, member).mode, S_IFREG | 02750);
    mem_close(mem, plain);
    mem_close(mem, shared);
    mem_close(mem, file);
    mem_close(mem, folder);
    mem_close(mem, member);
    mem_free(mem);
}

static void special_files_and_links(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    assert_int_equal(
        mem->ops->mknod(mem->p, &mem->caller, mem->root, "tty", S_IFCHR | 0600, 0x0501, 0, &entry), 0);
    assert_int_equal(entry.attr.rdev, 0x0501);
    void *device;
    assert_int_equal(mem->ops->inode_open(mem->p, mem->root, "tty", &entry, &device), 0);
    assert_int_equal(mem->ops->open(mem->p, &mem->caller, device, O_RDWR, 0, &opened), -EBADF);
    mem_close(mem, device);
    assert_int_equal(mem->ops->mknod(mem->p, &mem->caller, mem->root, "d", S_IFDIR | 0600, 0, 0, &entry),
                     -EPERM);
    assert_int_equal(mem->ops->symlink(mem->p, &mem->caller, mem->root, "l", "to/there", &entry), 0);
    assert_int_equal(entry.attr.size, 8);
    assert_int_equal(entry.attr.mode, S_IFLNK | 0777);
    void *symlink;
    assert_int_equal(mem->ops->inode_open(mem->p, mem->root, "l", &entry, &symlink), 0);
    char target[5];
    assert_int_equal(mem->ops->readlink(mem->p, &mem->caller, symlink, target, sizeof(target)), 5);
    assert_memory_equal(target, "to/th", 5);
    char far[5000];
    memset(far, 'x', sizeof(far) - 1);
    far[sizeof(far) - 1] = '\0';
    assert_int_equal(mem->ops->symlink(mem->p, &mem->caller, mem->root, "m", far, &entry), -ENAMETOOLONG);
    mem_close(mem, symlink);
    mem_free(mem);
}

static void create_opens_what_is_there(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    assert_int_equal(mem_write(mem, file, "data", 4, 0), 4);
    assert_int_equal(
        mem->ops->create(mem->p, &mem->caller, mem->root, "f", 0600, O_RDWR | O_EXCL, 0, 0, &entry, &opened),
        -EEXIST);
    assert_int_equal(
        mem->ops->create(mem->p, &mem->caller, mem->root, "f", 0600, O_RDWR | O_TRUNC, 0, 0, &entry, &opened),
        0);
    assert_int_equal(entry.attr.mode, S_IFREG | 0644);
    assert_int_equal(entry.attr.size, 0);
    mem->ops->release(mem->p, NULL, opened.handle, 0, false);
    mem->ops->entry_drop(mem->p, &entry);
    mem_close(mem, mem_folder(mem, mem->root, "d", 0755, NULL));
    assert_int_equal(
        mem->ops->create(mem->p, &mem->caller, mem->root, "d", 0600, O_RDWR, 0, 0, &entry, &opened), -EISDIR);
    mem_close(mem, file);
    mem_free(mem);
}

/* ---- rename ---- */

enum kind { NONE, FILE_A, FILE_B, EMPTY, FULL };

static void make_kind(struct mem *mem, const char *name, enum kind kind)
{
    if (kind == FILE_A || kind == FILE_B)
        mem_close(mem, mem_file(mem, mem->root, name, 0644, NULL));
    if (kind == EMPTY || kind == FULL) {
        void *folder = mem_folder(mem, mem->root, name, 0755, NULL);
        if (kind == FULL)
            mem_close(mem, mem_file(mem, folder, "inside", 0644, NULL));
        mem_close(mem, folder);
    }
}

static void what_may_replace_what(void **state)
{
    (void)state;
    const struct {
        enum kind from, to;
        uint32_t flags;
        int error;
    } rows[] = {
        {NONE, NONE, 0, -ENOENT},
        {NONE, FILE_B, 0, -ENOENT},
        {FILE_A, NONE, 0, 0},
        {FILE_A, FILE_B, 0, 0},
        {FILE_A, EMPTY, 0, -EISDIR},
        {FILE_A, FULL, 0, -EISDIR},
        {EMPTY, FILE_B, 0, -ENOTDIR},
        {EMPTY, EMPTY, 0, 0},
        {FULL, EMPTY, 0, 0},
        {EMPTY, FULL, 0, -ENOTEMPTY},
        {FILE_A, FILE_B, RENAME_NOREPLACE, -EEXIST},
        {FILE_A, NONE, RENAME_NOREPLACE, 0},
        {FILE_A, NONE, RENAME_EXCHANGE, -ENOENT},
        {FILE_A, FULL, RENAME_EXCHANGE, 0},
        {FULL, EMPTY, RENAME_EXCHANGE, 0},
        {FILE_A, FILE_B, RENAME_WHITEOUT, 0},
        {FILE_A, NONE, RENAME_WHITEOUT, 0},
        {FILE_A, FILE_B, RENAME_EXCHANGE | RENAME_NOREPLACE, -EINVAL},
        {FILE_A, FILE_B, RENAME_EXCHANGE | RENAME_WHITEOUT, -EINVAL},
        {FILE_A, NONE, 8, -EINVAL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mem *mem = mem_new(NULL);
        make_kind(mem, "from", rows[i].from);
        make_kind(mem, "to", rows[i].to);
        int error;
        void *moved = mem_find(mem, mem->root, "from", &error);
        uint64_t ino = moved == NULL ? 0 : mem_attr(mem, moved).ino;
        uint32_t links = mem_attr(mem, mem->root).nlink;
        uint32_t lost = rows[i].to == EMPTY && rows[i].flags == 0 && rows[i].error == 0;
        assert_int_equal(mem_rename(mem, mem->root, "from", mem->root, "to", rows[i].flags), rows[i].error);
        assert_int_equal(mem_attr(mem, mem->root).nlink, links - lost);
        if (rows[i].error == 0) {
            void *there = mem_find(mem, mem->root, "to", NULL);
            assert_int_equal(mem_attr(mem, there).ino, ino);
            mem_close(mem, there);
            void *left = mem_find(mem, mem->root, "from", &error);
            assert_int_equal(
                error, rows[i].flags == RENAME_EXCHANGE || rows[i].flags == RENAME_WHITEOUT ? 0 : -ENOENT);
            if (rows[i].flags == RENAME_WHITEOUT)
                assert_int_equal(mem_attr(mem, left).mode & S_IFMT, S_IFCHR);
            if (left != NULL)
                mem_close(mem, left);
        }
        if (moved != NULL)
            mem_close(mem, moved);
        mem_free(mem);
    }
}

static void folders_move_with_their_links(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    struct oriel_fs_entry entry;
    void *a = mem_folder(mem, mem->root, "a", 0755, NULL);
    void *b = mem_folder(mem, mem->root, "b", 0755, NULL);
    void *sub = mem_folder(mem, a, "sub", 0755, NULL);
    assert_int_equal(mem_rename(mem, a, "sub", b, "moved", 0), 0);
    assert_int_equal(mem_attr(mem, a).nlink, 2);
    assert_int_equal(mem_attr(mem, b).nlink, 3);
    assert_int_equal(mem->ops->lookup_parent(mem->p, &mem->caller, sub, &entry), 0);
    assert_int_equal(entry.attr.ino, mem_attr(mem, b).ino);
    mem->ops->entry_drop(mem->p, &entry);
    /* Below itself, and over a folder above it. */
    assert_int_equal(mem_rename(mem, mem->root, "b", sub, "x", 0), -EINVAL);
    assert_int_equal(mem_rename(mem, mem->root, "b", b, "x", 0), -EINVAL);
    assert_int_equal(mem_rename(mem, b, "moved", mem->root, "b", 0), -ENOTEMPTY);
    assert_int_equal(mem_rename(mem, b, "moved", mem->root, "b", RENAME_EXCHANGE), -EINVAL);
    /* A file and a folder change places between folders. */
    void *file = mem_file(mem, a, "f", 0644, NULL);
    assert_int_equal(mem_rename(mem, a, "f", b, "moved", RENAME_EXCHANGE), 0);
    assert_int_equal(mem_attr(mem, a).nlink, 3);
    assert_int_equal(mem_attr(mem, b).nlink, 2);
    mem_close(mem, file);
    mem_close(mem, sub);
    mem_close(mem, a);
    mem_close(mem, b);
    mem_free(mem);
}

static void two_names_of_one_file_both_stay(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    struct oriel_fs_entry entry;
    void *file = mem_file(mem, mem->root, "a", 0644, NULL);
    assert_int_equal(mem->ops->link(mem->p, &mem->caller, file, mem->root, "b", &entry), 0);
    mem->ops->entry_drop(mem->p, &entry);
    assert_int_equal(mem_rename(mem, mem->root, "a", mem->root, "b", 0), 0);
    assert_string_equal(mem_list(mem, mem->root), "a,b,");
    assert_int_equal(mem_attr(mem, file).nlink, 2);
    mem_close(mem, file);
    mem_free(mem);
}

static void an_open_file_outlives_its_name(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *old = mem_file(mem, mem->root, "old", 0644, NULL);
    mem_close(mem, mem_file(mem, mem->root, "new", 0644, NULL));
    assert_int_equal(mem_write(mem, old, "still here", 10, 0), 10);
    assert_int_equal(mem_rename(mem, mem->root, "new", mem->root, "old", 0), 0);
    char text[11] = {0};
    assert_int_equal(mem_read(mem, old, text, 10, 0), 10);
    assert_string_equal(text, "still here");
    assert_int_equal(mem_attr(mem, old).nlink, 0);
    mem_close(mem, old);
    mem_free(mem);
}

/* The end of the back-end takes a deep tree apart without recursion. */
static void a_deep_tree_is_freed(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *at = mem->root;
    for (int i = 0; i < 50000; i++) {
        void *below = mem_folder(mem, at, "d", 0755, NULL);
        if (at != mem->root)
            mem_close(mem, at);
        at = below;
    }
    mem_close(mem, at);
    mem_free(mem);
}

/* A chain of removed folders, held by the lowest only. */
static void removed_folders_hold_their_parents(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *a = mem_folder(mem, mem->root, "a", 0755, NULL);
    void *b = mem_folder(mem, a, "b", 0755, NULL);
    assert_int_equal(mem->ops->rmdir(mem->p, &mem->caller, a, "b"), 0);
    assert_int_equal(mem->ops->rmdir(mem->p, &mem->caller, mem->root, "a"), 0);
    mem_close(mem, a);
    assert_int_equal(mem_rename(mem, mem->root, "x", b, "y", 0), -ENOENT);
    mem_close(mem, b);
    assert_int_equal(mem_used_inodes(mem), 1);
    mem_free(mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_counts_follow),
        cmocka_unit_test(a_tmpfile_gets_its_name_later),
        cmocka_unit_test(modes_groups_and_umask),
        cmocka_unit_test(special_files_and_links),
        cmocka_unit_test(create_opens_what_is_there),
        cmocka_unit_test(what_may_replace_what),
        cmocka_unit_test(folders_move_with_their_links),
        cmocka_unit_test(two_names_of_one_file_both_stay),
        cmocka_unit_test(an_open_file_outlives_its_name),
        cmocka_unit_test(a_deep_tree_is_freed),
        cmocka_unit_test(removed_folders_hold_their_parents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
