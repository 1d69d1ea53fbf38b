/*
 * A FUSE client for tests: builds requests, hands them to a server as vectors, and checks that each reply is
 * well-formed (exact length, the request's number, an error of -511 to 0).
 */
#ifndef TEST_FUSE_CLIENT_H
#define TEST_FUSE_CLIENT_H

#include <oriel/fuse_server.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fuse/wire.h"

#define CLIENT_BUFFER (1 << 18)

struct client {
    struct oriel_fuse_server *server;
    uint64_t unique;
    uint32_t uid, gid, pid;
    uint32_t flags;    /* ORIEL_FUSE_* */
    size_t room;       /* of the reply, with its header */
    uint16_t extlen;   /* of the next request, in units of 8 bytes */
    size_t split;      /* cut request and reply into vectors of this many bytes; 0 = one each */
    bool would_block;  /* the last request was put off: ORIEL_FUSE_NOWAIT */
    size_t reply_len;  /* of the last reply, with its header; 0 = there was none */
    const void *reply; /* its payload */
    size_t payload_len;
    uint8_t *in, *out;
};

void client_start(struct client *c, struct oriel_fuse_server *server);
void client_stop(struct client *c);

/* INIT with all flags a kernel has; returns the reply's. */
struct wire_init_out client_init(struct client *c);
struct wire_init_out client_init_with(struct client *c, uint64_t flags);
#define CLIENT_ALL_FLAGS (~UINT64_C(0) & ~FUSE_BIT(31))

struct part {
    const void *data;
    size_t len;
};

/* Sends header and parts; returns the reply's error. The client's reply fields tell the rest. */
int client_send(struct client *c, uint32_t opcode, uint64_t nodeid, const struct part *parts, size_t count);
int client_call(struct client *c, uint32_t opcode, uint64_t nodeid, const void *args, size_t len);
/* Arguments and a name with its NUL. */
int client_call_name(struct client *c, uint32_t opcode, uint64_t nodeid, const void *args, size_t len,
                     const char *name);
/* Bytes as they are, for requests that are wrong. */
size_t client_raw(struct client *c, const void *request, size_t len);

/* What nearly every test needs; each returns the error. */
int client_lookup(struct client *c, uint64_t parent, const char *name, struct wire_entry_out *out);
uint64_t client_find(struct client *c, const char *name); /* in the root; must be there */
int client_forget(struct client *c, uint64_t nodeid, uint64_t count);
int client_open(struct client *c, uint64_t nodeid, uint32_t flags, uint64_t *fh);
int client_opendir(struct client *c, uint64_t nodeid, uint64_t *fh);
int client_release(struct client *c, uint64_t nodeid, uint64_t fh);
int client_releasedir(struct client *c, uint64_t nodeid, uint64_t fh);
/* The bytes read are the payload. */
int client_read(struct client *c, uint64_t nodeid, uint64_t fh, uint64_t offset, uint32_t size);
int client_write(struct client *c, uint64_t nodeid, uint64_t fh, uint64_t offset, const void *data,
                 uint32_t size, uint32_t *written);
int client_getattr(struct client *c, uint64_t nodeid, struct wire_attr_out *out);

#endif
