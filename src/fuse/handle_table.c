#include "fuse/handle_table.h"

int fuse_handle_table_init(struct handle_table *table, struct node_table *nodes, uint32_t max_handles)
{
    table->nodes = nodes;
    return slab_init(&table->slab, sizeof(struct handle), max_handles);
}

void fuse_handle_table_destroy(struct handle_table *table)
{
    fuse_handle_table_clear(table);
    slab_destroy(&table->slab);
}

struct handle *fuse_handle_reserve(struct handle_table *table)
{
    return slab_take(&table->slab);
}

void fuse_handle_unreserve(struct handle_table *table, struct handle *handle)
{
    slab_retire(&table->slab, handle);
}

uint64_t fuse_handle_publish(struct handle *handle, enum handle_kind kind, struct node *node, void *fs_handle)
{
    handle->nodeid = fuse_node_id(node);
    handle->node = node;
    handle->inode = node->inode;
    handle->fs_handle = fs_handle;
    handle->kind = kind;
    uint64_t fh = slab_id(handle);
    slab_publish(handle);
    return fh;
}

struct handle *fuse_handle_get_any(struct handle_table *table, uint64_t fh, uint64_t nodeid)
{
    struct handle *handle = slab_get(&table->slab, fh);
    if (handle != NULL && handle->nodeid != nodeid) {
        fuse_handle_put(table, handle);
        return NULL;
    }
    return handle;
}

struct handle *fuse_handle_get(struct handle_table *table, uint64_t fh, uint64_t nodeid,
                               enum handle_kind kind)
{
    struct handle *handle = fuse_handle_get_any(table, fh, nodeid);
    if (handle != NULL && handle->kind != (uint32_t)kind) {
        fuse_handle_put(table, handle);
        return NULL;
    }
    return handle;
}

static void end(struct handle_table *table, struct handle *handle)
{
    const struct oriel_fs *fs = &table->nodes->fs;
    if (handle->kind == HANDLE_FOLDER)
        fs->ops->releasedir(fs->fs, handle->inode, handle->fs_handle);
    else
        fs->ops->release(fs->fs, handle->inode, handle->fs_handle, handle->lock_owner, handle->flock_unlock);
    struct node *node = handle->node;
    slab_retire(&table->slab, handle);
    fuse_node_put(table->nodes, node);
}

void fuse_handle_put(struct handle_table *table, struct handle *handle)
{
    if (slab_put(handle))
        end(table, handle);
}

bool fuse_handle_release(struct handle_table *table, uint64_t fh, uint64_t nodeid, enum handle_kind kind,
                         uint64_t lock_owner, bool flock_unlock)
{
    struct handle *handle = fuse_handle_get(table, fh, nodeid, kind);
    if (handle == NULL)
        return false;
    /* Only one RELEASE gets past the kill; what it says is written before its own put, which the one that
     * ends the handle comes after. */
    bool first = slab_kill(handle) != SLAB_NOT_LIVE;
    if (first) {
        handle->lock_owner = lock_owner;
        handle->flock_unlock = flock_unlock;
    }
    fuse_handle_put(table, handle);
    return first;
}

void fuse_handle_table_clear(struct handle_table *table)
{
    for (uint32_t i = 1; i < slab_end(&table->slab); i++) {
        struct handle *handle = slab_at(&table->slab, i);
        if (handle != NULL && slab_kill(handle) == SLAB_LAST)
            end(table, handle);
    }
}
