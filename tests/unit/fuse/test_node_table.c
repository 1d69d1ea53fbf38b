#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "fuse/node_table.h"

/* A back-end of which the table needs four functions; its inodes are numbers. */
struct counts {
    int opened, closed, dropped, fail;
};

static int count_root(void *fs, struct oriel_fs_entry *out, void **inode)
{
    struct counts *counts = fs;
    counts->opened++;
    out->identity.ino = 1;
    *inode = (void *)1;
    return 0;
}

static int count_open(void *fs, void *parent, const char *name, struct oriel_fs_entry *entry, void **inode)
{
    struct counts *counts = fs;
    (void)parent;
    (void)name;
    if (counts->fail != 0)
        return counts->fail;
    counts->opened++;
    *inode = (void *)(uintptr_t)entry->identity.ino;
    return 0;
}

static void count_drop(void *fs, struct oriel_fs_entry *entry)
{
    (void)entry;
    ((struct counts *)fs)->dropped++;
}

static void count_close(void *fs, void *inode)
{
    (void)inode;
    ((struct counts *)fs)->closed++;
}

static const struct oriel_fs_ops count_ops = {.size = sizeof(count_ops),
                                              .root = count_root,
                                              .inode_open = count_open,
                                              .entry_drop = count_drop,
                                              .inode_close = count_close};

struct fixture {
    struct counts counts;
    struct node_table *table;
};

static void start(struct fixture *f, uint32_t max_nodes)
{
    memset(f, 0, sizeof(*f));
    struct oriel_fs fs = {.ops = &count_ops, .fs = &f->counts};
    f->table = aligned_alloc(64, sizeof(*f->table));
    assert_non_null(f->table);
    memset(f->table, 0, sizeof(*f->table));
    assert_int_equal(fuse_node_table_init(f->table, &fs, max_nodes), 0);
}

static void stop(struct fixture *f)
{
    fuse_node_table_destroy(f->table);
    assert_int_equal(f->counts.opened, f->counts.closed);
    free(f->table);
}

static uint64_t intern_as(struct fixture *f, struct oriel_fs_identity identity)
{
    struct oriel_fs_entry entry = {.identity = identity};
    struct node *node;
    assert_int_equal(fuse_node_intern(f->table, (void *)1, "name", &entry, &node), 0);
    uint64_t id = fuse_node_id(node);
    fuse_node_put(f->table, node);
    return id;
}

static uint64_t intern(struct fixture *f, uint64_t ino)
{
    return intern_as(f, (struct oriel_fs_identity){.ino = ino});
}

static void identity_is_all_four_numbers(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 100);
    uint64_t ids[5] = {
        intern_as(&f, (struct oriel_fs_identity){.ino = 7}),
        intern_as(&f, (struct oriel_fs_identity){.ino = 7, .dev = 1}),
        intern_as(&f, (struct oriel_fs_identity){.ino = 7, .mount = 1}),
        intern_as(&f, (struct oriel_fs_identity){.ino = 7, .generation = 1}),
        intern_as(&f, (struct oriel_fs_identity){.ino = 8}),
    };
    for (int i = 0; i < 5; i++) {
        for (int k = i + 1; k < 5; k++)
            assert_int_not_equal(ids[i], ids[k]);
    }
    assert_int_equal(intern(&f, 7), ids[0]);
    assert_int_equal(f.counts.dropped, 1); /* the one that was known */
    assert_int_equal(intern(&f, 1), 1);    /* the root, by its identity */
    stop(&f);
}

static void counts_are_kept_and_saturate(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t nodes, lookups;
    start(&f, 100);
    uint64_t id = intern(&f, 5);
    intern(&f, 5);
    assert_true(fuse_node_forget(f.table, id, 1));
    assert_non_null(fuse_node_get(f.table, id));
    fuse_node_put(f.table, fuse_node_get(f.table, id));
    struct node *pinned = fuse_node_get(f.table, id);
    assert_false(fuse_node_forget(f.table, id, 2)); /* one was left */
    assert_null(fuse_node_get(f.table, id));
    assert_int_equal(f.counts.closed, 0); /* pinned, twice by now */
    fuse_node_table_count(f.table, &nodes, &lookups);
    assert_int_equal(nodes, 1);
    assert_int_equal(lookups, 0);
    fuse_node_put(f.table, pinned);
    fuse_node_put(f.table, pinned);
    assert_int_equal(f.counts.closed, 1);
    assert_false(fuse_node_forget(f.table, id, 1));
    assert_int_equal(fuse_node_missing(f.table, id), -ESTALE);
    assert_int_equal(fuse_node_missing(f.table, 4711), -ENOENT);
    assert_true(fuse_node_forget(f.table, 1, UINT64_MAX)); /* the root is never counted */
    stop(&f);
}

static void a_full_table_and_a_failing_backend(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 3); /* with the root */
    struct oriel_fs_entry entry = {.identity = {.ino = 50}};
    struct node *node;
    uint64_t id = intern(&f, 10);
    intern(&f, 11);
    assert_int_equal(fuse_node_intern(f.table, NULL, "x", &entry, &node), -ENFILE);
    assert_int_equal(f.counts.dropped, 1);
    fuse_node_forget(f.table, id, 1);
    f.counts.fail = -EMFILE;
    assert_int_equal(fuse_node_intern(f.table, NULL, "x", &entry, &node), -EMFILE);
    f.counts.fail = 0;
    intern(&f, 50);
    stop(&f);
}

/* The goal is 200 bytes for a known inode, half of it the server's; shards grow and everything stays findable. */
static void many_nodes_take_little_memory(void **state)
{
    (void)state;
    enum { NODES = 300000 };
    struct fixture f;
    start(&f, NODES + 10);
    uint64_t *ids = calloc(NODES, sizeof(*ids));
    assert_non_null(ids);
    struct mallinfo2 before = mallinfo2();
    for (uint64_t i = 0; i < NODES; i++)
        ids[i] = intern(&f, i + 100);
    struct mallinfo2 after = mallinfo2();
    size_t used = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    print_message("# %zu bytes a node\n", used / NODES);
    if (after.uordblks != 0) /* sanitizers have an allocator of their own, which does not tell */
        assert_in_range(used / NODES, 60, 104);
    for (uint64_t i = 0; i < NODES; i += 7)
        assert_int_equal(intern(&f, i + 100), ids[i]);
    fuse_node_table_clear(f.table);
    assert_int_equal(f.counts.closed, NODES);
    assert_null(fuse_node_get(f.table, ids[0]));
    intern(&f, 100);
    free(ids);
    stop(&f);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_is_all_four_numbers),
        cmocka_unit_test(counts_are_kept_and_saturate),
        cmocka_unit_test(a_full_table_and_a_failing_backend),
        cmocka_unit_test(many_nodes_take_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
