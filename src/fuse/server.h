/* The server's own state, for the files of this folder. */
#ifndef ORIEL_FUSE_SERVER_PRIVATE_H
#define ORIEL_FUSE_SERVER_PRIVATE_H

#include <oriel/fuse_server.h>

#include "fuse/gate.h"
#include "fuse/handle_table.h"
#include "fuse/implicit_open.h"
#include "fuse/lock_wait.h"
#include "fuse/node_table.h"
#include "fuse/stats.h"

/* What INIT agreed on. Written while the gate is closed, so that requests read it without a lock. */
struct session {
    bool ready;
    bool implicit; /* files and folders are used without OPEN and OPENDIR (implicit_open.h) */
    uint32_t minor;
    uint64_t flags;
};

struct timeout {
    uint64_t sec;
    uint32_t nsec;
};

struct oriel_fuse_server {
    struct oriel_fuse_server_options options;
    struct oriel_fs_ops ops; /* the back-end's, completed with NULLs */
    struct oriel_fs fs;      /* its ops are the ones above */
    struct timeout entry_timeout, attr_timeout, negative_timeout;
    uint32_t max_write;
    /* The host's name of the guest's security.capability, where the map has another one for it; else "". */
    char moved_capability[ORIEL_XATTR_NAME_SIZE];
    struct oriel_dax *dax;
    struct oriel_dax_source dax_source;
    struct session session;
    struct gate gate;
    struct node_table nodes;
    struct handle_table handles;
    struct implicit_open implicit;
    struct lock_wait locks;
    struct stats stats;
};

/* Ends the session: drops DAX slots, handles and nodes. The gate is closed by the caller. */
void server_end_session(struct oriel_fuse_server *server);
/* Closes the gate, sends waiters home and waits until the server is empty; fuse_gate_open() ends it. */
void server_quiesce(struct oriel_fuse_server *server);

static inline bool session_has(const struct oriel_fuse_server *server, uint64_t flag)
{
    return (server->session.flags & flag) != 0;
}

#endif
