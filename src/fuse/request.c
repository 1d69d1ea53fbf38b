#include "fuse/request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "fuse/names.h"
#include "fuse/op_table.h"

/* What one preadv() moves at most; with it the reply's length always fits its 32 bits. */
#define PAYLOAD_MAX UINT64_C(0x7ffff000)

static bool begin_reply(struct request *r, const struct oriel_fuse_request *transport, bool guarded)
{
    if (!iov_cursor_init(&r->reply, transport->out, transport->out_count, guarded))
        return false;
    r->header_place = r->reply;
    iov_skip(&r->reply, min_u64(r->reply.left, sizeof(struct wire_out_header)));
    r->room = min_u64(r->reply.left, PAYLOAD_MAX);
    return true;
}

bool request_begin(struct request *r, struct oriel_fuse_server *server,
                   const struct oriel_fuse_request *transport)
{
    bool guarded = (transport->flags & ORIEL_FUSE_GUARDED) != 0;
    r->server = server;
    r->op = op_row_unknown();
    r->reply_len = 0;
    r->args = r->small;
    r->args_left = 0;
    r->args_heap = NULL;
    r->node = NULL;
    r->bad = false;
    r->nowait = (transport->flags & ORIEL_FUSE_NOWAIT) != 0;
    r->would_block = false;
    if (!iov_cursor_init(&r->in, transport->in, transport->in_count, guarded) ||
        !begin_reply(r, transport, guarded) || r->in.left < sizeof(r->header) ||
        iov_pull(&r->in, &r->header, sizeof(r->header)) != 0)
        return false;
    r->op = op_row_of(r->header.opcode);
    r->caller = (struct oriel_fs_caller){.uid = r->header.uid, .gid = r->header.gid, .pid = r->header.pid};
    return true;
}

int request_load_args(struct request *r)
{
    size_t there = r->in.left;
    if (r->header.len != sizeof(r->header) + there || there < r->op->min_args || there > r->op->max_args)
        return request_bad(r, -EINVAL);
    size_t copied = r->op->flags & OP_DATA ? r->op->min_args : there;
    if (copied > sizeof(r->small)) {
        r->args_heap = malloc(copied);
        if (r->args_heap == NULL)
            return -ENOMEM;
        r->args = r->args_heap;
    }
    if (iov_pull(&r->in, (uint8_t *)(uintptr_t)r->args, copied) != 0)
        return -EFAULT;
    r->args_left = copied;
    return 0;
}

void request_end(struct request *r)
{
    if (r->node != NULL)
        fuse_node_put(&r->server->nodes, r->node);
    free(r->args_heap);
}

const void *request_args(struct request *r, size_t size)
{
    assert(size <= r->args_left);
    const void *args = r->args;
    r->args += size;
    r->args_left -= size;
    return args;
}

const char *request_string(struct request *r, size_t *len)
{
    const uint8_t *nul = memchr(r->args, '\0', r->args_left);
    if (nul == NULL)
        return NULL;
    *len = (size_t)(nul - r->args);
    return request_args(r, *len + 1);
}

int request_name(struct request *r, const char **name)
{
    size_t len;
    *name = request_string(r, &len);
    int rc = *name == NULL ? -EINVAL : name_check(*name, len);
    return rc == 0 ? 0 : request_bad_name(r, rc);
}

int request_bad_name(struct request *r, int rc)
{
    return rc == -ENAMETOOLONG ? rc : request_bad(r, rc);
}

int request_node(struct request *r, uint64_t nodeid, struct node **out)
{
    *out = fuse_node_get(&r->server->nodes, nodeid);
    return *out != NULL ? 0 : request_bad(r, fuse_node_missing(&r->server->nodes, nodeid));
}

int request_handle(struct request *r, uint64_t fh, enum handle_kind kind, struct handle **out)
{
    if (request_is_implicit(r, fh))
        return implicit_handle(r, kind, out);
    *out = fuse_handle_get(&r->server->handles, fh, r->header.nodeid, kind);
    return *out != NULL ? 0 : request_bad(r, -EBADF);
}

/* ---- reply ---- */

int reply_data(struct request *r, const void *data, size_t size)
{
    if (size > r->room - r->reply_len)
        return request_bad(r, -EIO);
    if (r->server->options.trace != NULL && r->reply_len < sizeof(r->reply_start))
        memcpy(r->reply_start + r->reply_len, data, min_u64(size, sizeof(r->reply_start) - r->reply_len));
    int rc = iov_push(&r->reply, data, size);
    if (rc == 0)
        r->reply_len += size;
    return rc;
}

void reply_placed(struct request *r, size_t size)
{
    assert(size <= r->room - r->reply_len);
    r->reply_len += size;
}

/* The protocol knows errors of -511 to 0 only; the guest's kernel refuses a reply with any other. */
static int32_t wire_error(int rc)
{
    return rc <= 0 && rc > -512 ? rc : -EIO;
}

size_t reply_finish(struct request *r, int rc)
{
    size_t len = sizeof(struct wire_out_header) + (rc == 0 ? r->reply_len : 0);
    struct wire_out_header header = {
        .len = (uint32_t)len, .error = wire_error(rc), .unique = r->header.unique};
    if (r->header_place.left < sizeof(header) || iov_push(&r->header_place, &header, sizeof(header)) != 0)
        return 0;
    return len;
}

size_t reply_error_other_endian(struct request *r, int rc)
{
    struct wire_out_header header = {.len = __builtin_bswap32(sizeof(header)),
                                     .error = (int32_t)__builtin_bswap32((uint32_t)wire_error(rc)),
                                     .unique = r->header.unique};
    if (r->header_place.left < sizeof(header) || iov_push(&r->header_place, &header, sizeof(header)) != 0)
        return 0;
    return sizeof(header);
}
