/*
 * One request on its way through the server: decoding, and the reply.
 *
 * Header and arguments are copied out of guest memory once; everything is read from that copy. Data (WRITE,
 * and the long lists of BATCH_FORGET and REMOVEMAPPING) stays where it is and is walked with `in`.
 */
#ifndef ORIEL_FUSE_REQUEST_H
#define ORIEL_FUSE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuse/iov.h"
#include "fuse/server.h"
#include "fuse/wire.h"

#define REQUEST_ARGS_INLINE 1024
#define REQUEST_GROUPS_MAX  32

struct op_row;

struct request {
    struct oriel_fuse_server *server;
    const struct op_row *op;
    struct wire_in_header header;
    unsigned shard;                        /* of the gate and the counters */
    struct iov_cursor in;                  /* what was not copied */
    struct iov_cursor header_place, reply; /* where the reply's header and the rest of its payload go */
    size_t room;                           /* for the payload of the reply */
    size_t reply_len;                      /* payload written so far */
    const uint8_t *args;                   /* the copy, and how much of it is not parsed yet */
    size_t args_left;
    uint8_t *args_heap; /* args where they did not fit below, or NULL */
    struct node *node;  /* of header.nodeid, pinned, where the op's row asks for it */
    struct oriel_fs_caller caller;
    uint32_t groups[REQUEST_GROUPS_MAX];
    char label[ORIEL_XATTR_NAME_SIZE];                   /* caller.security_name where a map has changed it */
    bool bad;                                            /* malformed or forged: counted as such */
    bool nowait;                                         /* the transport asked: ORIEL_FUSE_NOWAIT */
    bool would_block;                                    /* and it comes again without: no reply now */
    uint8_t reply_start[sizeof(struct wire_create_out)]; /* for the trace, while it is on */
    _Alignas(8) uint8_t small[REQUEST_ARGS_INLINE];      /* last: only as much of it is touched as needed */
};

/* ---- decoding ---- */

/*
 * Takes the vectors and the header. False: there is no complete header, so no reply is possible. Only `in`,
 * `reply`, `room`, `header` are valid then on.
 */
bool request_begin(struct request *r, struct oriel_fuse_server *server,
                   const struct oriel_fuse_request *transport);
/* Checks the length against the op's row and copies the arguments. -EINVAL, -EFAULT, -ENOMEM. */
int request_load_args(struct request *r);
void request_end(struct request *r);

/* Marks the request as malformed or forged and passes rc on. */
static inline int request_bad(struct request *r, int rc)
{
    r->bad = true;
    return rc;
}

/* The next `size` bytes of the arguments; the row's min_args makes sure that they are there. Aligned to 8 at
 * the start. */
const void *request_args(struct request *r, size_t size);

/* The next string, with its NUL inside the arguments. NULL: there is none. */
const char *request_string(struct request *r, size_t *len);

/* The next string as the name of a folder's entry: -EINVAL, -ENAMETOOLONG (names.h). */
int request_name(struct request *r, const char **name);

/*
 * request_bad() for what name_check() says. A long name is no bad request: any program of a guest may try one, the
 * others no kernel sends.
 */
int request_bad_name(struct request *r, int rc);

/* What follows the last argument: the supplementary groups and the security label of the caller. -EINVAL */
int request_extensions(struct request *r);

/* Another node than the header's; -ENOENT or -ESTALE. */
int request_node(struct request *r, uint64_t nodeid, struct node **out);

/* A handle of header.nodeid, in use until request_put_handle(). -EBADF; or what opening says, where there is no OPEN. */
int request_handle(struct request *r, uint64_t fh, enum handle_kind kind, struct handle **out);

/* The guest has no handles and this is none: what FLUSH and FSYNC of a read-only share are done with. */
static inline bool request_is_implicit(const struct request *r, uint64_t fh)
{
    return fh == 0 && r->server->session.implicit;
}

static inline void request_put_handle(struct request *r, struct handle *handle)
{
    fuse_handle_put(&r->server->handles, handle);
}

/* ---- reply ---- */

/* Appends to the payload; -EIO when there is no room, -EFAULT. */
int reply_data(struct request *r, const void *data, size_t size);
/* The payload is in its place already, e.g. by preadv(). */
void reply_placed(struct request *r, size_t size);

/* Writes the header; returns the reply's length, 0 when even that is impossible. rc: 0 or a negative errno. */
size_t reply_finish(struct request *r, int rc);
size_t reply_error_other_endian(struct request *r, int rc);

#endif
