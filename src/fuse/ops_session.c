/* INIT, DESTROY, INTERRUPT. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "fuse/ops.h"

#define INIT_IN_OLD 16 /* up to 7.35: without flags2 */
#define INIT_IN_EXT 20 /* as much as is needed of the long form */
#define PAGE        4096

/* Serving these needs no choice of the embedder. */
#define ALWAYS                                                                                               \
    (FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_HAS_IOCTL_DIR |         \
     FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_SETXATTR_EXT | FUSE_INIT_EXT |            \
     FUSE_CREATE_SUPP_GROUP)

#define NO_OPENS (FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT)

/* Elsewhere data is not cached, and sizes that only the guest knows would hide what the host does to a file. */
static bool may_write_back(const struct oriel_fuse_server_options *options)
{
    return options->writeback && !options->read_only &&
           (options->cache == ORIEL_CACHE_AUTO || options->cache == ORIEL_CACHE_ALWAYS);
}

static uint64_t supported(const struct oriel_fuse_server *server)
{
    const struct oriel_fuse_server_options *options = &server->options;
    uint64_t flags = ALWAYS;
    if (server->fs.ops->lookup_parent != NULL)
        flags |= FUSE_EXPORT_SUPPORT;
    if (options->cache != ORIEL_CACHE_ALWAYS)
        flags |= FUSE_AUTO_INVAL_DATA;
    if (options->cache != ORIEL_CACHE_NEVER)
        flags |= FUSE_CACHE_SYMLINKS;
    if (!options->no_killpriv_v2) /* HANDLE_KILLPRIV, the older sort, is left out for it */
        flags |= FUSE_HANDLE_KILLPRIV_V2;
    if (!options->no_readdirplus)
        flags |= FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO;
    if (may_write_back(options))
        flags |= FUSE_WRITEBACK_CACHE;
    if (options->posix_locks)
        flags |= FUSE_POSIX_LOCKS;
    if (options->flock_locks)
        flags |= FUSE_FLOCK_LOCKS;
    if (options->xattr && options->posix_acl)
        flags |= FUSE_POSIX_ACL | FUSE_ALLOW_IDMAP;
    if (options->xattr && options->security_label)
        flags |= FUSE_SECURITY_CTX;
    if (options->announce_submounts)
        flags |= FUSE_SUBMOUNTS;
    if (options->allow_direct_io_mmap)
        flags |= FUSE_DIRECT_IO_ALLOW_MMAP;
    if (server->dax != NULL)
        flags |= FUSE_MAP_ALIGNMENT | FUSE_HAS_INODE_DAX;
    return flags;
}

/* A guest without OPEN has no handle to lock with, and nothing may change that it has open. */
static bool is_implicit(const struct oriel_fuse_server *server, uint64_t offered)
{
    const struct oriel_fuse_server_options *options = &server->options;
    return options->no_open && options->read_only && options->cache == ORIEL_CACHE_ALWAYS &&
           (offered & NO_OPENS) == NO_OPENS;
}

static uint64_t without_if_missing(uint64_t flags, uint64_t needed, uint64_t dependent)
{
    return (flags & needed) == needed ? flags : flags & ~dependent;
}

/* What both know, without what makes no sense alone. */
static uint64_t agree(const struct oriel_fuse_server *server, uint64_t offered)
{
    uint64_t flags = offered & supported(server);
    flags = without_if_missing(flags, FUSE_INIT_EXT, ~UINT64_C(0xffffffff));
    flags = without_if_missing(flags, FUSE_DO_READDIRPLUS, FUSE_READDIRPLUS_AUTO);
    /* A guest that maps owners by itself wants to check permissions itself, which POSIX_ACL switches on. */
    flags = without_if_missing(flags, FUSE_POSIX_ACL, FUSE_ALLOW_IDMAP);
    return flags;
}

static uint64_t offered_flags(const struct wire_init_in *in, size_t len)
{
    uint64_t flags = in->flags;
    if ((flags & FUSE_INIT_EXT) == 0)
        return flags;
    /* The announced second word may be missing; then nothing of it was offered. */
    return len < INIT_IN_EXT ? flags & ~FUSE_INIT_EXT : flags | (uint64_t)in->flags2 << 32;
}

static void fill_reply(const struct oriel_fuse_server *server, const struct wire_init_in *in,
                       struct wire_init_out *out)
{
    const struct session *session = &server->session;
    out->minor = session->minor;
    out->max_readahead = in->max_readahead;
    out->flags = (uint32_t)session->flags;
    out->flags2 = (uint32_t)(session->flags >> 32);
    out->max_background = UINT16_MAX;
    out->congestion_threshold = UINT16_MAX / 4 * 3;
    out->max_write = server->max_write;
    out->time_gran = 1;
    if (session_has(server, FUSE_MAX_PAGES))
        out->max_pages = (uint16_t)((server->max_write + PAGE - 1) / PAGE);
    if (session_has(server, FUSE_MAP_ALIGNMENT))
        out->map_alignment = (uint16_t)oriel_dax_granule_shift(server->dax);
}

int op_init(struct request *r)
{
    struct oriel_fuse_server *server = r->server;
    struct wire_init_in in = {0};
    size_t len = min_u64(r->args_left, sizeof(in));
    memcpy(&in, request_args(r, len), len);
    struct wire_init_out out = {.major = FUSE_MAJOR, .minor = FUSE_MINOR};
    if (in.major > FUSE_MAJOR)
        return reply_data(r, &out, sizeof(out)); /* the client starts again with our major */
    server_end_session(server);
    if (in.major < FUSE_MAJOR || in.minor < FUSE_MINOR_MIN || len < INIT_IN_OLD)
        return -EPROTO;
    server->session.minor = in.minor < FUSE_MINOR ? in.minor : FUSE_MINOR;
    uint64_t offered = offered_flags(&in, len);
    server->session.flags = agree(server, offered);
    server->session.implicit = is_implicit(server, offered);
    if (server->session.implicit)
        server->session.flags = (server->session.flags & ~(FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS)) | NO_OPENS;
    fill_reply(server, &in, &out);
    int rc = reply_data(r, &out, sizeof(out));
    server->session.ready = rc == 0;
    return rc;
}

int op_destroy(struct request *r)
{
    server_end_session(r->server);
    return 0;
}

int op_interrupt(struct request *r)
{
    const struct wire_interrupt_in *in = request_args(r, sizeof(*in));
    lock_wait_interrupt(&r->server->locks, in->unique);
    return 0;
}
