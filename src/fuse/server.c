/* A request's way through the server, and the server's life. */
#include "fuse/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "fuse/op_table.h"
#include "fuse/ops_dax.h"
#include "fuse/request.h"
#include "fuse/request_trace.h"
#include "fuse/xattr_names.h"

#define DEFAULT_NODES        (UINT32_C(1) << 24)
#define MOST_NODES           (UINT32_C(1) << 30)
#define DEFAULT_HANDLES      (UINT32_C(1) << 20)
#define DEFAULT_LOCK_WAITERS 64
#define MAX_WRITE            (UINT32_C(1) << 20)
#define MIN_WRITE            UINT32_C(4096)
#define SECOND               UINT64_C(1000000000)

/* ---- serving ---- */

static bool function_missing(const struct oriel_fuse_server *server, size_t offset)
{
    void (*function)(void);
    memcpy(&function, (const char *)server->fs.ops + offset, sizeof(function));
    return offset != 0 && function == NULL;
}

/* What every operation has to pass, in the order in which a refusal says most. */
static int admit(struct request *r)
{
    const struct op_row *op = r->op;
    if (!r->server->session.ready && (op->flags & OP_EARLY) == 0)
        return request_bad(r, -EIO);
    if (op->handler == NULL || function_missing(r->server, op->needs))
        return -ENOSYS;
    int rc = request_load_args(r);
    if (rc != 0)
        return rc;
    if (r->room < op->min_room)
        return request_bad(r, -EINVAL);
    if (r->server->options.read_only && (op->flags & OP_MODIFIES) != 0)
        return -EROFS;
    if ((op->flags & OP_NODE) != 0)
        return request_node(r, r->header.nodeid, &r->node);
    return 0;
}

static int run(struct request *r)
{
    int rc = admit(r);
    request_trace_begin(r);
    return rc == 0 ? r->op->handler(r) : rc;
}

/* Opened while nobody else is inside: INIT and DESTROY. */
static int run_alone(struct request *r)
{
    r->shard = fuse_gate_shard_of_thread();
    server_quiesce(r->server);
    int rc = run(r);
    fuse_gate_open(&r->server->gate);
    return rc;
}

static uint64_t now_ns(const struct oriel_fuse_server *server)
{
    if (server->stats.histograms == NULL && server->options.trace == NULL)
        return 0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void count(struct request *r, int rc, uint64_t ns)
{
    struct stats *stats = &r->server->stats;
    fuse_stats_request(stats, r->shard, op_row_index(r->op), rc != 0, ns);
    if (r->bad)
        fuse_stats_add(&stats->shards[r->shard].bad, 1);
}

static size_t put_off(struct request *r)
{
    request_trace_end(r, -EAGAIN, 0, 0);
    request_end(r);
    return ORIEL_FUSE_WOULD_BLOCK;
}

/* ESTALE of an operation in a folder may be of what was to be found or made there: then the folder is asked. */
static bool node_is_gone(struct request *r)
{
    if ((r->op->flags & OP_NAMED) == 0)
        return true;
    const struct oriel_fs *fs = &r->server->fs;
    struct oriel_fs_attr attr;
    return fs->ops->getattr(fs->fs, &r->caller, r->node->inode, NULL, &attr) == -ESTALE;
}

static size_t finish(struct request *r, int rc, uint64_t started)
{
    if (__builtin_expect(r->would_block, 0))
        return put_off(r);
    bool silent = (r->op->flags & OP_NO_REPLY) != 0;
    size_t len = silent ? 0 : reply_finish(r, rc);
    uint64_t ns = now_ns(r->server) - started;
    if (__builtin_expect(rc == -ESTALE, 0) && r->node != NULL && node_is_gone(r))
        fuse_node_mark_stale(&r->server->nodes, r->node);
    request_trace_end(r, rc, len, ns);
    request_end(r);
    count(r, rc, ns);
    return len;
}

static size_t refuse_without_reply(struct oriel_fuse_server *server)
{
    fuse_stats_add(&server->stats.shards[fuse_gate_shard_of_thread()].bad, 1);
    ORIEL_TRACE(server->options.trace, "fuse ! request without room for a header");
    return 0;
}

size_t oriel_fuse_server_handle(struct oriel_fuse_server *server, const struct oriel_fuse_request *transport)
{
    struct request r;
    if (!request_begin(&r, server, transport))
        return refuse_without_reply(server);
    if ((r.op->flags & OP_NO_REPLY) == 0 && r.header_place.left < sizeof(struct wire_out_header))
        return refuse_without_reply(server);
    if (r.header.opcode == FUSE_INIT_OTHER_ENDIAN)
        return reply_error_other_endian(&r, -EIO);
    uint64_t started = now_ns(server);
    if ((r.op->flags & OP_ALONE) != 0)
        return finish(&r, run_alone(&r), started);
    r.shard = fuse_gate_enter(&server->gate);
    size_t len = finish(&r, run(&r), started);
    fuse_gate_leave(&server->gate, r.shard);
    return len;
}

enum oriel_fuse_weight oriel_fuse_server_weight(struct oriel_fuse_server *server,
                                                const struct oriel_fuse_request *transport)
{
    (void)server;
    struct iov_cursor in;
    uint32_t start[2]; /* len, opcode */
    bool guarded = (transport->flags & ORIEL_FUSE_GUARDED) != 0;
    if (!iov_cursor_init(&in, transport->in, transport->in_count, guarded) || in.left < sizeof(start) ||
        iov_pull(&in, start, sizeof(start)) != 0)
        return ORIEL_FUSE_INLINE;
    return (op_row_of(start[1])->flags & OP_MAY_BLOCK) != 0 ? ORIEL_FUSE_MAY_BLOCK : ORIEL_FUSE_INLINE;
}

/* ---- ending sessions ---- */

void server_quiesce(struct oriel_fuse_server *server)
{
    fuse_gate_shut(&server->gate);
    lock_wait_interrupt_all(&server->locks);
    fuse_gate_drain(&server->gate);
}

void server_end_session(struct oriel_fuse_server *server)
{
    server->session = (struct session){0};
    if (server->dax != NULL)
        oriel_dax_reset(server->dax);
    fuse_handle_table_clear(&server->handles);
    fuse_node_table_clear(&server->nodes);
    lock_wait_reset(&server->locks);
}

void oriel_fuse_server_reset(struct oriel_fuse_server *server)
{
    server_quiesce(server);
    server_end_session(server);
    fuse_gate_open(&server->gate);
}

void oriel_fuse_server_interrupt(struct oriel_fuse_server *server)
{
    lock_wait_interrupt_all(&server->locks);
}

/* ---- making and freeing ---- */

static int take_options(struct oriel_fuse_server *server, const struct oriel_fuse_server_options *options)
{
    if (options->size < offsetof(struct oriel_fuse_server_options, cache))
        return -EINVAL;
    memcpy(&server->options, options, min_u64(options->size, sizeof(*options)));
    struct oriel_fuse_server_options *own = &server->options;
    server->max_write = own->max_write == 0 ? MAX_WRITE : own->max_write;
    if (server->max_write < MIN_WRITE || server->max_write > MAX_WRITE || own->cache > ORIEL_CACHE_ALWAYS ||
        own->max_nodes > MOST_NODES)
        return -EINVAL;
    if (own->max_nodes == 0)
        own->max_nodes = DEFAULT_NODES;
    if (own->max_handles == 0)
        own->max_handles = DEFAULT_HANDLES;
    if (own->max_lock_waiters == 0)
        own->max_lock_waiters = DEFAULT_LOCK_WAITERS;
    return own->max_handles > MOST_NODES ? -EINVAL : 0;
}

/* Back-ends built against an older header have fewer functions: those they don't know are NULL for us. */
static int take_backend(struct oriel_fuse_server *server)
{
    const struct oriel_fs_ops *ops = server->options.fs.ops;
    if (ops == NULL || ops->size > sizeof(server->ops))
        return -EINVAL;
    memcpy(&server->ops, ops, ops->size);
    server->fs = (struct oriel_fs){.ops = &server->ops, .fs = server->options.fs.fs};
    ops = &server->ops;
    bool opens = ops->open != NULL || ops->create != NULL || ops->tmpfile != NULL;
    if (ops->root == NULL || ops->lookup == NULL || ops->inode_open == NULL || ops->entry_drop == NULL ||
        ops->inode_close == NULL || ops->getattr == NULL || (opens && ops->release == NULL) ||
        (ops->opendir != NULL && ops->releasedir == NULL))
        return -EINVAL;
    return 0;
}

static struct timeout timeout_of(uint64_t ns)
{
    return (struct timeout){.sec = ns / SECOND, .nsec = (uint32_t)(ns % SECOND)};
}

static void choose_timeouts(struct oriel_fuse_server *server)
{
    static const uint64_t by_mode[] = {
        [ORIEL_CACHE_AUTO] = SECOND,
        [ORIEL_CACHE_NEVER] = 0,
        [ORIEL_CACHE_METADATA] = 86400 * SECOND,
        [ORIEL_CACHE_ALWAYS] = 86400 * SECOND,
    };
    const struct oriel_fuse_server_options *o = &server->options;
    bool chosen = o->entry_timeout_ns != 0 || o->attr_timeout_ns != 0 || o->negative_timeout_ns != 0;
    server->entry_timeout = timeout_of(chosen ? o->entry_timeout_ns : by_mode[o->cache]);
    server->attr_timeout = timeout_of(chosen ? o->attr_timeout_ns : by_mode[o->cache]);
    server->negative_timeout = timeout_of(o->negative_timeout_ns);
}

static int make_tables(struct oriel_fuse_server *server)
{
    const struct oriel_fuse_server_options *options = &server->options;
    int rc = fuse_stats_init(&server->stats, options->timing);
    if (rc != 0)
        return rc;
    rc = fuse_handle_table_init(&server->handles, &server->nodes, options->max_handles);
    if (rc != 0)
        goto no_handles;
    rc = fuse_node_table_init(&server->nodes, &server->fs, (uint32_t)options->max_nodes + 1);
    if (rc == 0)
        return 0;
    fuse_handle_table_destroy(&server->handles);
no_handles:
    fuse_stats_destroy(&server->stats);
    return rc;
}

int oriel_fuse_server_create(const struct oriel_fuse_server_options *options, struct oriel_fuse_server **out)
{
    struct oriel_fuse_server *server = aligned_alloc(64, align_up(sizeof(*server), 64));
    if (server == NULL)
        return -ENOMEM;
    memset(server, 0, sizeof(*server));
    int rc = take_options(server, options);
    if (rc == 0)
        rc = xattr_names_init(server);
    if (rc == 0)
        rc = take_backend(server);
    if (rc == 0)
        rc = make_tables(server);
    if (rc != 0) {
        free(server);
        return rc;
    }
    choose_timeouts(server);
    fuse_gate_init(&server->gate);
    lock_wait_init(&server->locks, &server->gate, server->options.max_lock_waiters);
    server->dax_source = ops_dax_source(server);
    *out = server;
    return 0;
}

void oriel_fuse_server_destroy(struct oriel_fuse_server *server)
{
    if (server == NULL)
        return;
    fuse_handle_table_destroy(&server->handles);
    fuse_node_table_destroy(&server->nodes);
    if (server->ops.destroy != NULL)
        server->ops.destroy(server->fs.fs);
    lock_wait_destroy(&server->locks);
    fuse_gate_destroy(&server->gate);
    fuse_stats_destroy(&server->stats);
    free(server);
}

const struct oriel_dax_source *oriel_fuse_server_dax_source(struct oriel_fuse_server *server)
{
    return &server->dax_source;
}

void oriel_fuse_server_attach_dax(struct oriel_fuse_server *server, struct oriel_dax *dax)
{
    server->dax = dax;
}

void oriel_fuse_server_stats(struct oriel_fuse_server *server, struct oriel_fuse_stats *out)
{
    memset(out, 0, sizeof(*out));
    fuse_stats_sum(&server->stats, out);
    fuse_node_table_count(&server->nodes, &out->nodes, &out->lookups);
    out->handles = fuse_handle_table_count(&server->handles);
}
