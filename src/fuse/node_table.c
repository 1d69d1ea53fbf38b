#include "fuse/node_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "fuse/wire.h"

#define FIRST_BUCKETS 16

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9fb21c651e98df25);
    return hash ^ hash >> 32;
}

static uint64_t hash_of(const struct node_table *table, const struct oriel_fs_identity *identity)
{
    uint64_t hash = mix(table->seed, identity->ino);
    hash = mix(hash, identity->dev);
    hash = mix(hash, identity->mount);
    return mix(hash, identity->generation);
}

static bool same_identity(const struct oriel_fs_identity *a, const struct oriel_fs_identity *b)
{
    return a->ino == b->ino && a->dev == b->dev && a->mount == b->mount && a->generation == b->generation;
}

static struct node_shard *shard_of(struct node_table *table, uint64_t hash)
{
    return &table->shards[hash >> 56];
}

static struct node *next_in_bucket(struct node_table *table, const struct node *node)
{
    uint32_t link = atomic_load_explicit(&node->item.link, memory_order_relaxed);
    return link == 0 ? NULL : slab_at(&table->slab, link);
}

/* ---- the hash table of a shard; all under its lock ---- */

static uint32_t *bucket_of(const struct node_shard *shard, uint64_t hash)
{
    return &shard->buckets[hash & (shard->bucket_count - 1)];
}

static struct node *find(struct node_table *table, struct node_shard *shard, uint64_t hash,
                         const struct oriel_fs_identity *identity)
{
    if (shard->buckets == NULL)
        return NULL;
    uint32_t first = *bucket_of(shard, hash);
    struct node *node = first == 0 ? NULL : slab_at(&table->slab, first);
    while (node != NULL && (node->stale || !same_identity(&node->identity, identity)))
        node = next_in_bucket(table, node);
    return node;
}

static void chain(struct node_shard *shard, uint64_t hash, struct node *node)
{
    uint32_t *bucket = bucket_of(shard, hash);
    atomic_store_explicit(&node->item.link, *bucket, memory_order_relaxed);
    *bucket = node->item.index;
}

static int resize(struct node_table *table, struct node_shard *shard, uint32_t bucket_count)
{
    uint32_t *old = shard->buckets, old_count = old == NULL ? 0 : shard->bucket_count;
    uint32_t *buckets = calloc(bucket_count, sizeof(buckets[0]));
    if (buckets == NULL)
        return -ENOMEM;
    shard->buckets = buckets;
    shard->bucket_count = bucket_count;
    for (uint32_t i = 0; i < old_count; i++) {
        struct node *node = old[i] == 0 ? NULL : slab_at(&table->slab, old[i]);
        while (node != NULL) {
            struct node *next = next_in_bucket(table, node);
            chain(shard, hash_of(table, &node->identity), node);
            node = next;
        }
    }
    free(old);
    return 0;
}

/* Without memory to grow, chains get longer; only the first buckets are needed. */
static int make_room(struct node_table *table, struct node_shard *shard)
{
    if (shard->buckets == NULL)
        return resize(table, shard, FIRST_BUCKETS);
    if (shard->nodes >= shard->bucket_count && shard->bucket_count < UINT32_C(1) << 31)
        (void)resize(table, shard, shard->bucket_count * 2);
    return 0;
}

static void insert(struct node_shard *shard, uint64_t hash, struct node *node)
{
    chain(shard, hash, node);
    shard->nodes++;
}

static void take_out(struct node_table *table, struct node_shard *shard, uint64_t hash, struct node *node)
{
    uint32_t *bucket = bucket_of(shard, hash), next = atomic_load(&node->item.link);
    shard->nodes--;
    if (*bucket == node->item.index) {
        *bucket = next;
        return;
    }
    struct node *before = slab_at(&table->slab, *bucket);
    while (atomic_load(&before->item.link) != node->item.index)
        before = next_in_bucket(table, before);
    atomic_store(&before->item.link, next);
}

/* ---- life of a node ---- */

static int add_root(struct node_table *table)
{
    struct oriel_fs_entry entry = {0};
    void *inode = NULL;
    int rc = table->fs.ops->root(table->fs.fs, &entry, &inode);
    if (rc != 0)
        return rc;
    struct node *root = slab_take(&table->slab);
    uint64_t hash = hash_of(table, &entry.identity);
    struct node_shard *shard = shard_of(table, hash);
    if (root == NULL || make_room(table, shard) != 0) {
        table->fs.ops->inode_close(table->fs.fs, inode);
        return -ENOMEM;
    }
    root->identity = entry.identity;
    root->inode = inode;
    slab_publish(root);
    insert(shard, hash, root);
    assert(slab_id(root) == FUSE_ROOT_ID);
    table->root = root;
    return 0;
}

static uint64_t random_seed(void)
{
    uint64_t seed;
    if (getentropy(&seed, sizeof(seed)) != 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        seed = (uint64_t)now.tv_nsec << 20 ^ (uint64_t)now.tv_sec;
    }
    return seed;
}

static void free_shards(struct node_table *table)
{
    for (int i = 0; i < NODE_SHARDS; i++) {
        free(table->shards[i].buckets);
        pthread_mutex_destroy(&table->shards[i].lock);
    }
    slab_destroy(&table->slab);
}

int fuse_node_table_init(struct node_table *table, const struct oriel_fs *fs, uint32_t max_nodes)
{
    table->fs = *fs;
    table->seed = random_seed();
    int rc = slab_init(&table->slab, sizeof(struct node), max_nodes);
    if (rc != 0)
        return rc;
    for (int i = 0; i < NODE_SHARDS; i++)
        pthread_mutex_init(&table->shards[i].lock, NULL);
    rc = add_root(table);
    if (rc != 0)
        free_shards(table);
    return rc;
}

void fuse_node_table_destroy(struct node_table *table)
{
    fuse_node_table_clear(table);
    table->fs.ops->inode_close(table->fs.fs, table->root->inode);
    free_shards(table);
}

struct node *fuse_node_get(struct node_table *table, uint64_t nodeid)
{
    return slab_get(&table->slab, nodeid);
}

int fuse_node_missing(struct node_table *table, uint64_t nodeid)
{
    void *slot = slab_at(&table->slab, (uint32_t)nodeid);
    return slot != NULL && nodeid >> 32 <= slab_generation(slot) ? -ESTALE : -ENOENT;
}

/* A dead node that nobody pins leaves the table. Returns the back-end's inode, to be closed without the lock. */
static void *end_locked(struct node_table *table, struct node_shard *shard, uint64_t hash, struct node *node)
{
    void *inode = node->inode;
    take_out(table, shard, hash, node);
    slab_retire(&table->slab, node);
    return inode;
}

/*
 * Ends a node that seemed dead. Between the put that said so and the lock it may have been found again, or
 * ended by another: the generation and a second look under the lock tell.
 */
static void end_if_dead(struct node_table *table, struct node *node, uint64_t hash, uint32_t generation)
{
    struct node_shard *shard = shard_of(table, hash);
    pthread_mutex_lock(&shard->lock);
    bool end = slab_generation(node) == generation && slab_is_dead(node);
    void *inode = end ? end_locked(table, shard, hash, node) : NULL;
    pthread_mutex_unlock(&shard->lock);
    if (end)
        table->fs.ops->inode_close(table->fs.fs, inode);
}

void fuse_node_put(struct node_table *table, struct node *node)
{
    uint64_t hash = hash_of(table, &node->identity);
    uint32_t generation = slab_generation(node);
    if (slab_put(node))
        end_if_dead(table, node, hash, generation);
}

static void count_locked(struct node_table *table, struct node_shard *shard, struct node *node)
{
    if (node == table->root)
        return;
    if (node->lookups++ == 0)
        slab_revive(node);
    shard->lookups++;
}

/* Finds the node and pins and counts it; NULL when there is none. Under the lock. */
static struct node *find_and_count(struct node_table *table, struct node_shard *shard, uint64_t hash,
                                   const struct oriel_fs_identity *identity)
{
    struct node *node = find(table, shard, hash, identity);
    if (node != NULL) {
        count_locked(table, shard, node);
        slab_ref(node);
    }
    return node;
}

/* Puts a node that nobody knows yet into the table; gives the other one where somebody was faster. */
static int add_or_find(struct node_table *table, uint64_t hash, struct node *node, struct node **out)
{
    struct node_shard *shard = shard_of(table, hash);
    pthread_mutex_lock(&shard->lock);
    *out = find_and_count(table, shard, hash, &node->identity);
    int rc = *out != NULL ? 0 : make_room(table, shard);
    if (rc == 0 && *out == NULL) {
        insert(shard, hash, node);
        slab_publish(node);
        slab_ref(node);
        node->lookups = 1;
        shard->lookups++;
        *out = node;
    }
    pthread_mutex_unlock(&shard->lock);
    return rc;
}

static int open_new(struct node_table *table, void *parent, const char *name, struct oriel_fs_entry *entry,
                    uint64_t hash, struct node **out)
{
    const struct oriel_fs_ops *ops = table->fs.ops;
    struct node *node = slab_take(&table->slab);
    if (node == NULL) {
        ops->entry_drop(table->fs.fs, entry);
        return -ENFILE;
    }
    node->identity = entry->identity;
    int rc = ops->inode_open(table->fs.fs, parent, name, entry, &node->inode);
    if (rc == 0) {
        rc = add_or_find(table, hash, node, out);
        if (rc == 0 && *out == node)
            return 0;
        ops->inode_close(table->fs.fs, node->inode);
    }
    slab_retire(&table->slab, node);
    return rc;
}

/* A node that has the identity of a file just made is of one that had it before. Under the lock. */
static void part_with_old(struct node_table *table, struct node_shard *shard, uint64_t hash,
                          const struct oriel_fs_identity *identity)
{
    struct node *old = find(table, shard, hash, identity);
    if (old != NULL && old != table->root)
        old->stale = true;
}

void fuse_node_mark_stale(struct node_table *table, struct node *node)
{
    if (node == table->root)
        return;
    struct node_shard *shard = shard_of(table, hash_of(table, &node->identity));
    pthread_mutex_lock(&shard->lock);
    node->stale = true;
    pthread_mutex_unlock(&shard->lock);
}

int fuse_node_intern(struct node_table *table, void *parent, const char *name, struct oriel_fs_entry *entry,
                     struct node **out)
{
    uint64_t hash = hash_of(table, &entry->identity);
    struct node_shard *shard = shard_of(table, hash);
    pthread_mutex_lock(&shard->lock);
    if (entry->made)
        part_with_old(table, shard, hash, &entry->identity);
    *out = find_and_count(table, shard, hash, &entry->identity);
    pthread_mutex_unlock(&shard->lock);
    if (*out == NULL)
        return open_new(table, parent, name, entry, hash, out);
    table->fs.ops->entry_drop(table->fs.fs, entry);
    return 0;
}

void fuse_node_count(struct node_table *table, struct node *node)
{
    struct node_shard *shard = shard_of(table, hash_of(table, &node->identity));
    pthread_mutex_lock(&shard->lock);
    count_locked(table, shard, node);
    pthread_mutex_unlock(&shard->lock);
}

/* Of a pinned node; false when there were fewer. Under the lock. */
static bool uncount_locked(struct node_shard *shard, struct node *node, uint64_t count)
{
    uint64_t taken = min_u64(count, node->lookups);
    node->lookups -= taken;
    shard->lookups -= taken;
    if (node->lookups == 0 && taken > 0)
        slab_kill(node); /* the caller's pin is left */
    return taken == count;
}

bool fuse_node_uncount(struct node_table *table, struct node *node, uint64_t count)
{
    if (node == table->root || count == 0)
        return true;
    struct node_shard *shard = shard_of(table, hash_of(table, &node->identity));
    pthread_mutex_lock(&shard->lock);
    bool exact = uncount_locked(shard, node, count);
    pthread_mutex_unlock(&shard->lock);
    return exact;
}

/* Under one lock from the count to the end: nobody can find the node in between. */
static bool forget_pinned(struct node_table *table, struct node *node, uint64_t count)
{
    uint64_t hash = hash_of(table, &node->identity);
    struct node_shard *shard = shard_of(table, hash);
    pthread_mutex_lock(&shard->lock);
    bool exact = uncount_locked(shard, node, count);
    bool end = slab_put(node);
    void *inode = end ? end_locked(table, shard, hash, node) : NULL;
    pthread_mutex_unlock(&shard->lock);
    if (end)
        table->fs.ops->inode_close(table->fs.fs, inode);
    return exact;
}

bool fuse_node_forget(struct node_table *table, uint64_t nodeid, uint64_t count)
{
    struct node *node = fuse_node_get(table, nodeid);
    if (node == NULL)
        return false;
    if (node != table->root && count != 0)
        return forget_pinned(table, node, count);
    fuse_node_put(table, node);
    return true;
}

/* Forgets a node and ends it unless it is pinned. Under the lock. */
static void drop_locked(struct node_table *table, struct node_shard *shard, struct node *node)
{
    shard->lookups -= node->lookups;
    node->lookups = 0;
    slab_kill(node);
    if (!slab_is_dead(node))
        return;
    table->fs.ops->inode_close(table->fs.fs, end_locked(table, shard, hash_of(table, &node->identity), node));
}

static void clear_shard(struct node_table *table, struct node_shard *shard)
{
    pthread_mutex_lock(&shard->lock);
    for (uint32_t i = 0; shard->buckets != NULL && i < shard->bucket_count; i++) {
        struct node *node = shard->buckets[i] == 0 ? NULL : slab_at(&table->slab, shard->buckets[i]);
        while (node != NULL) {
            struct node *next = next_in_bucket(table, node);
            if (node != table->root)
                drop_locked(table, shard, node);
            node = next;
        }
    }
    pthread_mutex_unlock(&shard->lock);
}

void fuse_node_table_clear(struct node_table *table)
{
    for (int i = 0; i < NODE_SHARDS; i++)
        clear_shard(table, &table->shards[i]);
}

void fuse_node_table_count(struct node_table *table, uint64_t *nodes, uint64_t *lookups)
{
    *nodes = slab_in_use(&table->slab) - 1;
    *lookups = 0;
    for (int i = 0; i < NODE_SHARDS; i++) {
        pthread_mutex_lock(&table->shards[i].lock);
        *lookups += table->shards[i].lookups;
        pthread_mutex_unlock(&table->shards[i].lock);
    }
}
