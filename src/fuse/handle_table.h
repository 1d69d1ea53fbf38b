/*
 * The handle table: open files and folders under the fh numbers that the guest has.
 *
 * A handle belongs to one node and one kind, pins its node, and lives until it was released and the last
 * request that uses it has ended: a RELEASE that meets a READ in another thread is safe, the back-end hears of
 * it after the READ. Finding and leaving a handle take no lock.
 */
#ifndef ORIEL_FUSE_HANDLE_TABLE_H
#define ORIEL_FUSE_HANDLE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "fuse/node_table.h"

enum handle_kind {
    HANDLE_FILE,
    HANDLE_FOLDER,
};

struct handle {
    struct slab_item item;
    uint64_t nodeid;
    struct node *node; /* NULL: creating it went wrong half-way */
    void *inode;
    void *fs_handle;     /* the back-end's */
    uint64_t lock_owner; /* what RELEASE told */
    uint32_t kind;
    bool flock_unlock, readable, writable;
};

struct handle_table {
    struct slab slab;
    struct node_table *nodes;
};

int fuse_handle_table_init(struct handle_table *table, struct node_table *nodes, uint32_t max_handles);
/* No request may be running. */
void fuse_handle_table_destroy(struct handle_table *table);

/* Sets a place aside, so that nothing is opened that cannot be handed out; NULL = all are taken. */
struct handle *fuse_handle_reserve(struct handle_table *table);
void fuse_handle_unreserve(struct handle_table *table, struct handle *handle);
/* Fills a reserved place; takes over the caller's pin of node and the back-end's handle. Returns the fh.
 * readable and writable are the caller's to set before. */
uint64_t fuse_handle_publish(struct handle *handle, enum handle_kind kind, struct node *node,
                             void *fs_handle);

/* The handle, in use until fuse_handle_put(); NULL: no such handle, or of another node or kind. */
struct handle *fuse_handle_get(struct handle_table *table, uint64_t fh, uint64_t nodeid,
                               enum handle_kind kind);
/* As above, of any kind. */
struct handle *fuse_handle_get_any(struct handle_table *table, uint64_t fh, uint64_t nodeid);
void fuse_handle_put(struct handle_table *table, struct handle *handle);

/* RELEASE, RELEASEDIR. False: no such handle. */
bool fuse_handle_release(struct handle_table *table, uint64_t fh, uint64_t nodeid, enum handle_kind kind,
                         uint64_t lock_owner, bool flock_unlock);

/* Releases all. Nobody may be using one. */
void fuse_handle_table_clear(struct handle_table *table);

static inline uint32_t fuse_handle_table_count(struct handle_table *table)
{
    return slab_in_use(&table->slab);
}

#endif
