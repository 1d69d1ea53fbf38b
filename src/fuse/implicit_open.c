#include "fuse/implicit_open.h"

#include <errno.h>
#include <fcntl.h>

#include "fuse/request.h"

static _Atomic uint64_t *slot_of(struct request *r)
{
    uint64_t hash = r->header.nodeid * UINT64_C(0x9e3779b97f4a7c15);
    return &r->server->implicit.slots[hash >> 56];
}

static_assert(IMPLICIT_SLOTS == 1 << (64 - 56), "slot_of() gives as many bits");

static int open_node(struct request *r, enum handle_kind kind, struct node *node, void **fs_handle)
{
    const struct oriel_fs *fs = &r->server->fs;
    /* The guest's kernel let somebody open the file; who reads it now need not be the same. */
    const struct oriel_fs_caller server_itself = {.uid = UINT32_MAX, .gid = UINT32_MAX};
    struct oriel_fs_opened opened = {0};
    int rc;
    if (kind == HANDLE_FOLDER)
        rc = fs->ops->opendir(fs->fs, &server_itself, node->inode, 0, &opened);
    else
        rc = fs->ops->open(fs->fs, &server_itself, node->inode, O_RDONLY, 0, &opened);
    *fs_handle = opened.handle;
    return rc;
}

static int open_new(struct request *r, enum handle_kind kind, struct node *node, uint64_t *fh)
{
    struct handle *handle = fuse_handle_reserve(&r->server->handles);
    void *fs_handle;
    if (handle == NULL)
        return -ENFILE;
    int rc = open_node(r, kind, node, &fs_handle);
    if (rc != 0) {
        fuse_handle_unreserve(&r->server->handles, handle);
        return rc;
    }
    handle->readable = true;
    slab_ref(node);
    *fh = fuse_handle_publish(handle, kind, node, fs_handle);
    return 0;
}

/* The one that had the slot is closed, now or when its last user is done. */
static void close_old(struct request *r, uint64_t fh)
{
    struct handle *handle = fh == 0 ? NULL : slab_get(&r->server->handles.slab, fh);
    if (handle == NULL)
        return;
    fuse_handle_release(&r->server->handles, fh, handle->nodeid, (enum handle_kind)handle->kind, 0, false);
    fuse_handle_put(&r->server->handles, handle);
}

int implicit_handle(struct request *r, enum handle_kind kind, struct handle **out)
{
    struct handle_table *handles = &r->server->handles;
    uint64_t fh = atomic_load(slot_of(r));
    *out = fuse_handle_get(handles, fh, r->header.nodeid, kind);
    if (*out != NULL)
        return 0;
    struct node *node;
    int rc = request_node(r, r->header.nodeid, &node);
    if (rc != 0)
        return rc;
    rc = open_new(r, kind, node, &fh);
    fuse_node_put(&r->server->nodes, node);
    if (rc != 0)
        return rc;
    *out = fuse_handle_get(handles, fh, r->header.nodeid, kind);
    close_old(r, atomic_exchange(slot_of(r), fh));
    return *out != NULL ? 0 : -EBADF; /* a guest that guessed the number released it at once */
}
