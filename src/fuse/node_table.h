/*
 * The node table: which files the guest knows, under which nodeid, and how often it was told.
 *
 * A node lives while the guest's lookup count is above zero or the server holds it (a running request, an open
 * handle). A nodeid names it only while the count is above zero. Two entries with the same identity are one
 * node, so hard links and files found twice share nodeid, locks and DAX mappings. The root is never forgotten.
 * An identity can come back for another file while the guest still knows the old one: birth times move in clock ticks,
 * and ext4 gives a free inode number out again at once. So the node of a file that is known to be gone is
 * no longer found by identity: when an entry was just made, and when the back-end says ESTALE of it.
 *
 * Locks: fuse_node_get() and fuse_node_put() take none, unless the put ends the node. Counting and finding by identity
 * take the lock of one of 256 shards; no back-end call is made under it (but for fuse_node_table_clear()).
 */
#ifndef ORIEL_FUSE_NODE_TABLE_H
#define ORIEL_FUSE_NODE_TABLE_H

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <oriel/fs.h>

#include "base/slab.h"

struct node {
    struct slab_item item; /* link: the next node in the bucket */
    struct oriel_fs_identity identity;
    void *inode; /* the back-end's */
    /* Under the shard's lock. */
    uint64_t lookups : 63; /* how often the guest was told */
    uint64_t stale : 1;    /* its file is gone: an entry of the same identity is another file */
};
static_assert(sizeof(struct node) == 64, "one cache line a node");

struct node_shard {
    _Alignas(64) pthread_mutex_t lock;
    uint32_t *buckets; /* indexes of slots, 0 = empty */
    uint32_t bucket_count, nodes;
    uint64_t lookups;
};

#define NODE_SHARDS 256

struct node_table {
    struct slab slab;
    struct oriel_fs fs;
    uint64_t seed;
    struct node *root;
    struct node_shard shards[NODE_SHARDS];
};

/* Opens the back-end's root as nodeid 1. -ENOMEM, or what root() says; the table needs no destroy then. */
int fuse_node_table_init(struct node_table *table, const struct oriel_fs *fs, uint32_t max_nodes);
/* Nothing may be pinned any more. Closes every inode; the back-end stays. */
void fuse_node_table_destroy(struct node_table *table);

/* The node with this id, pinned, or NULL: never given out, forgotten, or of an earlier session. */
struct node *fuse_node_get(struct node_table *table, uint64_t nodeid);
void fuse_node_put(struct node_table *table, struct node *node);
/* Why there is none: -ESTALE for an id that may have been ours once, -ENOENT for one that never was. */
int fuse_node_missing(struct node_table *table, uint64_t nodeid);

static inline uint64_t fuse_node_id(const struct node *node)
{
    return slab_id(node);
}

/*
 * The node of an entry that lookup or a creating operation found: counts one lookup and pins it. Consumes the
 * entry in any case. parent and name as inode_open() wants them. -ENFILE (table full), or what inode_open()
 * says.
 */
int fuse_node_intern(struct node_table *table, void *parent, const char *name, struct oriel_fs_entry *entry,
                     struct node **out);

/* The file of this node is gone: entries of its identity make a new node from now on. Not for the root. */
void fuse_node_mark_stale(struct node_table *table, struct node *node);

/* Counts one lookup more of a node that is pinned. */
void fuse_node_count(struct node_table *table, struct node *node);
/* Takes back count lookups of a pinned node; false when the guest never had as many (all are gone then). */
bool fuse_node_uncount(struct node_table *table, struct node *node, uint64_t count);
/* FORGET. False: no such node, or underflow. */
bool fuse_node_forget(struct node_table *table, uint64_t nodeid, uint64_t count);

/* The guest knows nothing but the root any more. Nodes that are pinned end with their last put. */
void fuse_node_table_clear(struct node_table *table);

/* Outstanding nodes and lookups, without the root. */
void fuse_node_table_count(struct node_table *table, uint64_t *nodes, uint64_t *lookups);

#endif
