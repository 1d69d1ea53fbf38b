/* Listing folders. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rig.h"

#define RIG(state) ((struct rig *)*(state))
#define NAMES      3000

struct listing {
    unsigned room; /* entries that still fit */
    unsigned total, dots;
    uint64_t next;
    unsigned seen[NAMES];
    uint64_t dot_dot_ino;
    uint32_t type_of_first;
};

static bool collect(void *arg, const struct oriel_fs_dirent *entry)
{
    struct listing *listing = arg;
    unsigned number;
    if (listing->room == 0)
        return false;
    listing->room--;
    listing->total++;
    listing->next = entry->next;
    if (sscanf(entry->name, "name-%u", &number) == 1 && number < NAMES)
        listing->seen[number]++;
    else if (entry->name[0] == '.')
        listing->dots++;
    if (entry->name_len == 2 && memcmp(entry->name, "..", 2) == 0)
        listing->dot_dot_ino = entry->ino;
    if (strcmp(entry->name, "name-0") == 0)
        listing->type_of_first = entry->type;
    return true;
}

static void *open_dir(struct rig *rig, void *inode)
{
    struct oriel_fs_opened opened;
    assert_int_equal(rig->fs.ops->opendir(rig->fs.fs, &as_root, inode, 0, &opened), 0);
    return opened.handle;
}

/* Replies of `step` entries each until the end. */
static void list_all(struct rig *rig, void *inode, void *handle, unsigned step, struct listing *listing)
{
    memset(listing, 0, sizeof(*listing));
    for (unsigned before = UINT32_MAX; before != listing->total;) {
        before = listing->total;
        listing->room = step;
        assert_int_equal(rig->fs.ops->readdir(rig->fs.fs, inode, handle, listing->next, collect, listing), 0);
    }
}

static void make_names(const struct rig *rig, unsigned from, unsigned to)
{
    char name[32];
    for (unsigned i = from; i < to; i++) {
        snprintf(name, sizeof(name), "name-%u", i);
        host_file(rig, name, "");
    }
}

static void check_each_once(const struct listing *listing, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        assert_int_equal(listing->seen[i], 1);
}

static void every_name_comes_once_whatever_fits_a_reply(void **state)
{
    struct rig *rig = RIG(state);
    static struct listing listing;
    make_names(rig, 0, NAMES);
    void *handle = open_dir(rig, rig->root);
    const unsigned steps[] = {1, 7, 1000, 100000};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        list_all(rig, rig->root, handle, steps[i], &listing);
        check_each_once(&listing, 0, NAMES);
        assert_int_equal(listing.dots, 2);
        assert_int_equal(listing.total, NAMES + 2);
        assert_int_equal(listing.type_of_first, DT_REG);
    }
    rig->fs.ops->releasedir(rig->fs.fs, rig->root, handle);
}

static void dot_dot_of_the_root_is_the_root(void **state)
{
    struct rig *rig = RIG(state);
    static struct listing listing;
    struct stat st;
    assert_int_equal(stat(rig->share, &st), 0);
    void *handle = open_dir(rig, rig->root);
    list_all(rig, rig->root, handle, 100, &listing);
    assert_int_equal(listing.dot_dot_ino, st.st_ino);
    rig->fs.ops->releasedir(rig->fs.fs, rig->root, handle);
    struct oriel_fs_entry entry;
    assert_int_equal(rig->fs.ops->lookup_parent(rig->fs.fs, &as_root, rig->root, &entry), 0);
    assert_int_equal(entry.identity.ino, st.st_ino);
}

static void names_that_stay_come_once_while_others_come_and_go(void **state)
{
    struct rig *rig = RIG(state);
    static struct listing listing;
    char name[32];
    make_names(rig, 0, 1000);
    void *handle = open_dir(rig, rig->root);
    memset(&listing, 0, sizeof(listing));
    unsigned changed = 1000;
    for (unsigned before = UINT32_MAX; before != listing.total;) {
        before = listing.total;
        listing.room = 10;
        assert_int_equal(rig->fs.ops->readdir(rig->fs.fs, rig->root, handle, listing.next, collect, &listing),
                         0);
        snprintf(name, sizeof(name), "name-%u", changed);
        if (changed % 2 == 0)
            host_file(rig, name, "");
        else if (changed > 1000)
            unlink(on_host(rig, (snprintf(name, sizeof(name), "name-%u", changed - 1), name)));
        changed = changed + 1 < 2000 ? changed + 1 : 1000;
    }
    check_each_once(&listing, 0, 1000);
    rig->fs.ops->releasedir(rig->fs.fs, rig->root, handle);
}

static void a_listing_from_the_start_shows_what_is_new(void **state)
{
    struct rig *rig = RIG(state);
    static struct listing listing;
    make_names(rig, 0, 10);
    void *handle = open_dir(rig, rig->root);
    list_all(rig, rig->root, handle, 5, &listing);
    make_names(rig, 10, 20);
    list_all(rig, rig->root, handle, 5, &listing);
    check_each_once(&listing, 0, 20);
    rig->fs.ops->releasedir(rig->fs.fs, rig->root, handle);
}

static void forged_cookies_give_an_error_or_a_listing(void **state)
{
    struct rig *rig = RIG(state);
    static struct listing listing;
    make_names(rig, 0, 100);
    void *handle = open_dir(rig, rig->root);
    const uint64_t cookies[] = {1, 2, 3, 12345, UINT32_MAX, INT64_MAX, INT64_MAX - 1, UINT64_MAX, 1ull << 63};
    for (size_t i = 0; i < sizeof(cookies) / sizeof(cookies[0]); i++) {
        memset(&listing, 0, sizeof(listing));
        listing.room = 1000;
        int err = rig->fs.ops->readdir(rig->fs.fs, rig->root, handle, cookies[i], collect, &listing);
        assert_true(err <= 0);
        assert_true(listing.total <= 102);
    }
    list_all(rig, rig->root, handle, 9, &listing);
    check_each_once(&listing, 0, 100);
    rig->fs.ops->releasedir(rig->fs.fs, rig->root, handle);
}

static void a_refused_cookie_loses_no_entry(void **state)
{
    struct rig *rig = RIG(state);
    static struct listing listing;
    make_names(rig, 0, 100);
    void *handle = open_dir(rig, rig->root);
    listing = (struct listing){.room = 5};
    assert_int_equal(rig->fs.ops->readdir(rig->fs.fs, rig->root, handle, 0, collect, &listing), 0);
    uint64_t next = listing.next;
    int err = rig->fs.ops->readdir(rig->fs.fs, rig->root, handle, UINT64_C(1) << 63, collect, &listing);
    assert_int_equal(err, -EINVAL);
    assert_int_equal(listing.total, 5);
    listing.room = 1000;
    assert_int_equal(rig->fs.ops->readdir(rig->fs.fs, rig->root, handle, next, collect, &listing), 0);
    check_each_once(&listing, 0, 100);
    rig->fs.ops->releasedir(rig->fs.fs, rig->root, handle);
}

static void a_listing_needs_no_descriptor_of_the_budget(void **state)
{
    struct rig *rig = RIG(state);
    static struct listing listing;
    void *file, *handles[16], *dirs[40];
    make_names(rig, 0, 200);
    rig_reopen(rig, &(struct oriel_passthrough_options){.fd_budget = 16});
    file = rig_lookup(rig, rig->root, "name-0");
    unsigned opened = 0;
    while (opened < 16 && rig_try_open(rig, file, O_RDONLY, &handles[opened]) == 0)
        opened++;
    assert_true(opened > 4 && opened < 16);
    for (unsigned i = 0; i < 40; i++) {
        dirs[i] = open_dir(rig, rig->root);
        list_all(rig, rig->root, dirs[i], 50, &listing);
        check_each_once(&listing, 0, 200);
    }
    assert_int_equal(rig->fs.ops->fsyncdir(rig->fs.fs, rig->root, dirs[39], false), 0);
    assert_int_equal(rig->fs.ops->flush(rig->fs.fs, file, handles[0], 7), 0);
    struct oriel_fs_attr attr;
    assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, rig->root, dirs[39], &attr), 0);
    for (unsigned i = 0; i < 40; i++)
        rig->fs.ops->releasedir(rig->fs.fs, rig->root, dirs[i]);
    while (opened > 0)
        rig_release(rig, file, handles[--opened]);
    rig_close(rig, file);
}

struct reader {
    struct rig *rig;
    void *handle;
};

static void *read_along(void *arg)
{
    const struct reader *reader = arg;
    struct rig *rig = reader->rig;
    struct listing *listing = malloc(sizeof(*listing));
    for (int i = 0; i < 20; i++) {
        list_all(rig, rig->root, reader->handle, 100, listing);
        check_each_once(listing, 0, 500);
    }
    free(listing);
    return NULL;
}

static void threads_can_share_a_folder_handle(void **state)
{
    struct rig *rig = RIG(state);
    pthread_t threads[4];
    make_names(rig, 0, 500);
    struct reader reader = {rig, open_dir(rig, rig->root)};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_along, &reader), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    rig->fs.ops->releasedir(rig->fs.fs, rig->root, reader.handle);
}

static void a_removed_folder_that_is_open_lists_nothing(void **state)
{
    struct rig *rig = RIG(state);
    static struct listing listing;
    assert_int_equal(mkdir(on_host(rig, "sub"), 0755), 0);
    void *sub = rig_lookup(rig, rig->root, "sub"), *handle = open_dir(rig, sub);
    assert_int_equal(rig->fs.ops->rmdir(rig->fs.fs, &as_root, rig->root, "sub"), 0);
    listing = (struct listing){.room = 10};
    int err = rig->fs.ops->readdir(rig->fs.fs, sub, handle, 0, collect, &listing);
    assert_true(err == 0 || err == -ENOENT);
    assert_true(listing.total <= 2);
    struct oriel_fs_entry entry;
    assert_int_equal(rig->fs.ops->mkdir(rig->fs.fs, &as_root, sub, "x", 0755, 0, &entry), -ENOENT);
    rig->fs.ops->releasedir(rig->fs.fs, sub, handle);
    rig_close(rig, sub);
}

static void the_parent_of_a_folder_ends_at_the_root(void **state)
{
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    char outside[300];
    assert_int_equal(mkdir(on_host(rig, "a"), 0755), 0);
    assert_int_equal(mkdir(on_host(rig, "a/b"), 0755), 0);
    for (int fence = 0; fence < 2; fence++) {
        rig_reopen(rig, &(struct oriel_passthrough_options){.no_fence = fence == 0});
        void *a = rig_lookup(rig, rig->root, "a"), *b = rig_lookup(rig, a, "b");
        assert_int_equal(rig->fs.ops->lookup_parent(rig->fs.fs, &as_root, b, &entry), 0);
        void *again = rig_entry_inode(rig, b, "..", &entry);
        struct oriel_fs_attr attr;
        assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, again, NULL, &attr), 0);
        assert_int_equal(attr.ino, entry.attr.ino);
        rig_close(rig, again);
        assert_int_equal(rig->fs.ops->lookup_parent(rig->fs.fs, &as_root, a, &entry), 0);
        assert_memory_equal(&entry.identity, &rig->root_entry.identity, sizeof(entry.identity));
        snprintf(outside, sizeof(outside), "%s/outside", rig->base);
        assert_int_equal(rename(on_host(rig, "a"), outside), 0);
        assert_int_equal(rig->fs.ops->lookup_parent(rig->fs.fs, &as_root, a, &entry), 0);
        assert_memory_equal(&entry.identity, &rig->root_entry.identity, sizeof(entry.identity));
        assert_int_equal(rename(outside, on_host(rig, "a")), 0);
        rig_close(rig, b);
        rig_close(rig, a);
    }
}

#define BOTH(f)                                                                                              \
    cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown),                                             \
    {                                                                                                        \
#f " (tmpfs)", f, rig_setup_shm, rig_teardown, NULL                                                  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(every_name_comes_once_whatever_fits_a_reply),
        BOTH(dot_dot_of_the_root_is_the_root),
        BOTH(names_that_stay_come_once_while_others_come_and_go),
        BOTH(a_listing_from_the_start_shows_what_is_new),
        BOTH(forged_cookies_give_an_error_or_a_listing),
        BOTH(a_refused_cookie_loses_no_entry),
        BOTH(a_listing_needs_no_descriptor_of_the_budget),
        BOTH(threads_can_share_a_folder_handle),
        BOTH(a_removed_folder_that_is_open_lists_nothing),
        BOTH(the_parent_of_a_folder_ends_at_the_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
