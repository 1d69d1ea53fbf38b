/* Folders: large ones, and listings while they change. */
#include "memory_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/memory/siphash.h"

static void many_names_are_found_again(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    struct mem *mem = mem_new(&(struct oriel_memory_fs_options){.max_inodes = COUNT + 1});
    char name[32];
    int error;
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "entry-%d", i);
        mem_close(mem, mem_file(mem, mem->root, name, 0644, NULL));
    }
    assert_null(mem_file(mem, mem->root, "one too many", 0644, &error));
    assert_int_equal(error, -ENOSPC);
    assert_null(mem_file(mem, mem->root, "entry-77", 0644, &error));
    assert_int_equal(error, -EEXIST);
    for (int i = 0; i < COUNT; i += 3) {
        snprintf(name, sizeof(name), "entry-%d", i);
        assert_int_equal(mem_unlink(mem, mem->root, name), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "entry-%d", i);
        void *inode = mem_find(mem, mem->root, name, &error);
        assert_int_equal(error, i % 3 == 0 ? -ENOENT : 0);
        if (inode != NULL)
            mem_close(mem, inode);
    }
    for (int i = COUNT - 1; i >= 0; i--) {
        snprintf(name, sizeof(name), "entry-%d", i);
        assert_int_equal(mem_unlink(mem, mem->root, name), i % 3 == 0 ? -ENOENT : 0);
    }
    assert_string_equal(mem_list(mem, mem->root), "");
    assert_int_equal(mem_used_inodes(mem), 1);
    mem_free(mem);
}

struct scan {
    struct mem *mem;
    void *handle;
    uint64_t offset;
    int room;            /* entries that the next call may give */
    unsigned seen[1000]; /* by the number in the name */
    unsigned others;
};

static bool see(void *arg, const struct oriel_fs_dirent *entry)
{
    struct scan *scan = arg;
    if (scan->room-- <= 0)
        return false;
    scan->offset = entry->next;
    if (strncmp(entry->name, "kept", 4) == 0)
        scan->seen[atoi(entry->name + 4)]++;
    else
        scan->others++;
    return true;
}

/* Returns false at the end of the folder. */
static bool scan_some(struct scan *scan, int entries)
{
    uint64_t before = scan->offset;
    scan->room = entries;
    assert_int_equal(
        scan->mem->ops->readdir(scan->mem->p, scan->mem->root, scan->handle, scan->offset, see, scan), 0);
    return scan->offset != before;
}

static struct scan *scan_new(struct mem *mem)
{
    struct scan *scan = calloc(1, sizeof(*scan));
    assert_non_null(scan);
    scan->mem = mem;
    struct oriel_fs_opened opened;
    assert_int_equal(mem->ops->opendir(mem->p, &mem->caller, mem->root, 0, &opened), 0);
    scan->handle = opened.handle;
    return scan;
}

static void scan_free(struct scan *scan)
{
    scan->mem->ops->releasedir(scan->mem->p, scan->mem->root, scan->handle);
    free(scan);
}

/* Between the pieces of a listing names come and go and are replaced; what stays all along comes exactly
 * once. */
static void what_stays_is_listed_once(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    char name[32], other[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "kept%d", i);
        mem_close(mem, mem_file(mem, mem->root, name, 0644, NULL));
        snprintf(name, sizeof(name), "gone%d", i);
        mem_close(mem, mem_file(mem, mem->root, name, 0644, NULL));
    }
    struct scan *scan = scan_new(mem);
    for (int round = 0; scan_some(scan, 7); round++) {
        for (int i = 0; i < 5; i++) {
            snprintf(name, sizeof(name), "gone%d", (round * 5 + i) * 37 % 1000);
            (void)mem_unlink(mem, mem->root, name);
            snprintf(name, sizeof(name), "new%d-%d", round, i);
            mem_close(mem, mem_file(mem, mem->root, name, 0644, NULL));
        }
        /* A new file takes the place of an old name: the name was there all along. */
        snprintf(other, sizeof(other), "kept%d", round * 13 % 1000);
        assert_int_equal(mem_rename(mem, mem->root, name, mem->root, other, 0), 0);
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(scan->seen[i], 1);
    scan_free(scan);
    mem_free(mem);
}

/* mv of each file that a listing gives must come to an end. */
static void a_scan_ends_while_each_entry_is_renamed(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    char name[32], renamed[32];
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        mem_close(mem, mem_file(mem, mem->root, name, 0644, NULL));
    }
    struct scan *scan = scan_new(mem);
    int calls = 0;
    while (scan_some(scan, 1)) {
        assert_true(calls < 502);
        if (calls >= 2) {
            snprintf(name, sizeof(name), "n%d", calls - 2);
            snprintf(renamed, sizeof(renamed), "r%d", calls - 2);
            assert_int_equal(mem_rename(mem, mem->root, name, mem->root, renamed, 0), 0);
        }
        calls++;
    }
    assert_int_equal(calls, 502);
    scan->offset = 0; /* rewinddir: the new names too */
    scan->others = 0;
    while (scan_some(scan, 100))
        ;
    assert_int_equal(scan->others, 502);
    scan_free(scan);
    mem_free(mem);
}

static void the_cookie_of_the_last_entry_gives_the_end(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    mem_close(mem, mem_file(mem, mem->root, "a", 0644, NULL));
    struct scan *scan = scan_new(mem);
    assert_true(scan_some(scan, 100));
    assert_int_equal(scan->others, 3);
    assert_false(scan_some(scan, 100));
    scan->offset = UINT64_C(1) << 62;
    assert_false(scan_some(scan, 100));
    scan_free(scan);
    mem_free(mem);
}

/* From the reference implementation's test of SipHash-1-3: key 00…0f, message of `len` bytes 00, 01, … */
static void siphash_is_siphash(void **state)
{
    (void)state;
    uint64_t k0 = UINT64_C(0x0706050403020100), k1 = UINT64_C(0x0f0e0d0c0b0a0908);
    unsigned char message[64];
    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (unsigned char)i;
    assert_int_equal(memfs_siphash(k0, k1, message, 0), UINT64_C(0xabac0158050fc4dc));
    assert_int_not_equal(memfs_siphash(k0, k1, message, 7), memfs_siphash(k0, k1, message, 8));
    assert_int_not_equal(memfs_siphash(k0, k1, message, 8), memfs_siphash(k0 + 1, k1, message, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_names_are_found_again),
        cmocka_unit_test(what_stays_is_listed_once),
        cmocka_unit_test(a_scan_ends_while_each_entry_is_renamed),
        cmocka_unit_test(the_cookie_of_the_last_entry_gives_the_end),
        cmocka_unit_test(siphash_is_siphash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
