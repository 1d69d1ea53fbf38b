/* The DAX window: SETUPMAPPING, REMOVEMAPPING, and the files for the session's mappings. */
#include "fuse/ops_dax.h"

#include <errno.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/le.h"
#include "fuse/ops.h"

#define REMOVE_CHUNK 256
#define REMOVE_MAX   4096 /* FUSE_REMOVEMAPPING_MAX_ENTRY of a guest with pages of 64 KiB: nobody sends more */

/* ---- where the session gets its files ---- */

/* The few errors that a source may say (dax.h). */
static int source_error(int rc)
{
    switch (rc) {
    case -ENOENT:
    case -ESTALE:
    case -EINVAL:
    case -EACCES:
    case -EROFS:
        return rc;
    case -EPERM:
        return -EACCES;
    case -EBADF:
    case -EISDIR:
    case -ELOOP:
    case -EOPNOTSUPP:
        return -EINVAL; /* not a regular file */
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
        return -ENFILE;
    default:
        return -EIO;
    }
}

/* Runs inside a SETUPMAPPING, or on a thread that met a fault: so it must not wait at the gate. The node's pin
 * is all the safety it needs, and only until the file is open. */
static int acquire(void *opaque, uint64_t nodeid, uint32_t prot, struct oriel_dax_file *out)
{
    struct oriel_fuse_server *server = opaque;
    bool need_write = (prot & ORIEL_DAX_WRITE) != 0, writable = false;
    if (server->fs.ops->map_open == NULL)
        return -EINVAL;
    if (need_write && server->options.read_only)
        return -EROFS;
    struct node *node = fuse_node_get(&server->nodes, nodeid);
    if (node == NULL)
        return fuse_node_missing(&server->nodes, nodeid);
    int fd = server->fs.ops->map_open(server->fs.fs, node->inode, need_write, &writable);
    fuse_node_put(&server->nodes, node);
    if (fd < 0)
        return source_error(fd);
    writable = writable && !server->options.read_only;
    *out = (struct oriel_dax_file){.fd = fd,
                                   .max_prot = ORIEL_DAX_READ | (writable ? ORIEL_DAX_WRITE : UINT32_C(0))};
    return 0;
}

static void release(void *opaque, const struct oriel_dax_file *file)
{
    (void)opaque;
    close(file->fd);
}

struct oriel_dax_source ops_dax_source(struct oriel_fuse_server *server)
{
    return (struct oriel_dax_source){
        .size = sizeof(struct oriel_dax_source), .opaque = server, .acquire = acquire, .release = release};
}

/* ---- requests ---- */

/* EAGAIN makes the guest's fault path spin, ENOMEM goes through its out-of-memory killer (fs/fuse/dax.c). */
static int mapping_error(int rc)
{
    switch (rc) {
    case -EAGAIN:
        return -EIO;
    case -ENOMEM:
    case -ENFILE:
    case -EMFILE:
        return -ENOSPC;
    default:
        return rc;
    }
}

int op_setupmapping(struct request *r)
{
    const struct wire_setupmapping_in *in = request_args(r, sizeof(*in));
    if (r->server->dax == NULL)
        return -ENOSYS;
    if ((in->flags & ~(FUSE_SETUP_READ | FUSE_SETUP_WRITE)) != 0)
        return request_bad(r, -EINVAL);
    bool writes = (in->flags & FUSE_SETUP_WRITE) != 0;
    if (writes && r->server->options.read_only)
        return -EROFS;
    uint32_t prot = ORIEL_DAX_READ | (writes ? ORIEL_DAX_WRITE : UINT32_C(0));
    return mapping_error(
        oriel_dax_setup(r->server->dax, r->header.nodeid, in->foffset, in->len, in->moffset, prot));
}

/* One chunk of entries; they lie unaligned in the message, after 4 bytes of count. */
static int remove_chunk(struct request *r, size_t count)
{
    uint8_t bytes[REMOVE_CHUNK * sizeof(struct wire_removemapping_one)];
    struct oriel_dax_range ranges[REMOVE_CHUNK];
    if (iov_pull(&r->in, bytes, count * sizeof(struct wire_removemapping_one)) != 0)
        return -EFAULT;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *entry = bytes + i * sizeof(struct wire_removemapping_one);
        ranges[i] = (struct oriel_dax_range){.moffset = le64_load(entry), .len = le64_load(entry + 8)};
    }
    return mapping_error(oriel_dax_remove(r->server->dax, ranges, count));
}

/* All entries are worked through, whatever one of them says; the first error is told. */
int op_removemapping(struct request *r)
{
    const struct wire_removemapping_in *in = request_args(r, sizeof(*in));
    if (r->server->dax == NULL)
        return -ENOSYS;
    uint64_t left = in->count;
    if (left > REMOVE_MAX || left > r->in.left / sizeof(struct wire_removemapping_one))
        return request_bad(r, -EINVAL);
    int first = 0;
    while (left > 0) {
        uint64_t n = min_u64(left, REMOVE_CHUNK);
        int rc = remove_chunk(r, n);
        if (rc == -EFAULT)
            return rc;
        if (first == 0)
            first = rc;
        left -= n;
    }
    return first;
}
