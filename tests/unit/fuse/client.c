#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VECTORS 4096

/* Also called from threads, where cmocka's assertions must not be used. */
static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "client: %s\n", what);
        abort();
    }
}

void client_start(struct client *c, struct oriel_fuse_server *server)
{
    *c = (struct client){.server = server, .uid = 1000, .gid = 1000, .pid = 77, .room = CLIENT_BUFFER};
    c->in = malloc(CLIENT_BUFFER);
    c->out = malloc(CLIENT_BUFFER);
    must(c->in != NULL && c->out != NULL, "memory");
}

void client_stop(struct client *c)
{
    free(c->in);
    free(c->out);
}

static size_t vectors(struct iovec *iov, uint8_t *bytes, size_t len, size_t split)
{
    size_t count = 0, piece = split == 0 ? len : split;
    for (size_t at = 0; at < len; at += piece) {
        must(count < MAX_VECTORS, "too many vectors");
        iov[count++] = (struct iovec){bytes + at, len - at < piece ? len - at : piece};
    }
    return count;
}

size_t client_raw(struct client *c, const void *request, size_t len)
{
    static _Thread_local struct iovec in[MAX_VECTORS], out[MAX_VECTORS];
    must(len <= CLIENT_BUFFER, "request too long");
    memmove(c->in, request, len);
    memset(c->out, 0xee, c->room < 4096 ? c->room : 4096);
    struct oriel_fuse_request r = {.in = in, .out = out, .flags = c->flags};
    r.in_count = vectors(in, c->in, len, c->split);
    r.out_count = vectors(out, c->out, c->room, c->split);
    c->reply_len = oriel_fuse_server_handle(c->server, &r);
    c->would_block = c->reply_len == ORIEL_FUSE_WOULD_BLOCK;
    must(!c->would_block || (c->flags & ORIEL_FUSE_NOWAIT) != 0, "put off unasked");
    if (c->would_block)
        c->reply_len = 0;
    must(c->reply_len <= c->room, "reply longer than its place");
    c->reply = c->out + sizeof(struct wire_out_header);
    c->payload_len =
        c->reply_len >= sizeof(struct wire_out_header) ? c->reply_len - sizeof(struct wire_out_header) : 0;
    return c->reply_len;
}

static int check_reply(const struct client *c)
{
    if (c->reply_len == 0)
        return 0;
    struct wire_out_header header;
    must(c->reply_len >= sizeof(header), "reply shorter than a header");
    memcpy(&header, c->out, sizeof(header));
    must(header.len == c->reply_len, "length of the reply");
    must(header.unique == c->unique, "number of the reply");
    must(header.error <= 0 && header.error > -512, "error in range");
    must(header.error == 0 || header.len == sizeof(header), "an error has no payload");
    return header.error;
}

int client_send(struct client *c, uint32_t opcode, uint64_t nodeid, const struct part *parts, size_t count)
{
    struct wire_in_header header = {.opcode = opcode,
                                    .unique = ++c->unique,
                                    .nodeid = nodeid,
                                    .uid = c->uid,
                                    .gid = c->gid,
                                    .pid = c->pid,
                                    .total_extlen = c->extlen};
    size_t len = sizeof(header);
    for (size_t i = 0; i < count; i++) {
        must(len + parts[i].len <= CLIENT_BUFFER, "request too long");
        if (parts[i].len > 0)
            memcpy(c->in + len, parts[i].data, parts[i].len);
        len += parts[i].len;
    }
    header.len = (uint32_t)len;
    memcpy(c->in, &header, sizeof(header));
    client_raw(c, c->in, len);
    return check_reply(c);
}

int client_call(struct client *c, uint32_t opcode, uint64_t nodeid, const void *args, size_t len)
{
    struct part part = {args, len};
    return client_send(c, opcode, nodeid, &part, 1);
}

int client_call_name(struct client *c, uint32_t opcode, uint64_t nodeid, const void *args, size_t len,
                     const char *name)
{
    struct part parts[] = {{args, len}, {name, strlen(name) + 1}};
    return client_send(c, opcode, nodeid, parts, 2);
}

struct wire_init_out client_init_with(struct client *c, uint64_t flags)
{
    struct wire_init_in in = {.major = FUSE_MAJOR,
                              .minor = FUSE_MINOR,
                              .max_readahead = 1 << 17,
                              .flags = (uint32_t)flags,
                              .flags2 = (uint32_t)(flags >> 32)};
    struct wire_init_out out = {0};
    must(client_call(c, FUSE_INIT, 0, &in, sizeof(in)) == 0, "INIT");
    must(c->payload_len == sizeof(out), "length of INIT's reply");
    memcpy(&out, c->reply, sizeof(out));
    return out;
}

struct wire_init_out client_init(struct client *c)
{
    return client_init_with(c, CLIENT_ALL_FLAGS);
}

int client_lookup(struct client *c, uint64_t parent, const char *name, struct wire_entry_out *out)
{
    int rc = client_call_name(c, FUSE_LOOKUP, parent, NULL, 0, name);
    if (rc == 0 && out != NULL) {
        must(c->payload_len == sizeof(*out), "length of an entry");
        memcpy(out, c->reply, sizeof(*out));
    }
    return rc;
}

uint64_t client_find(struct client *c, const char *name)
{
    struct wire_entry_out entry;
    must(client_lookup(c, FUSE_ROOT_ID, name, &entry) == 0, "find");
    return entry.nodeid;
}

int client_forget(struct client *c, uint64_t nodeid, uint64_t count)
{
    struct wire_forget_in in = {.nlookup = count};
    int rc = client_call(c, FUSE_FORGET, nodeid, &in, sizeof(in));
    must(c->reply_len == 0, "FORGET has no reply");
    return rc;
}

static int open_any(struct client *c, uint32_t opcode, uint64_t nodeid, uint32_t flags, uint64_t *fh)
{
    struct wire_open_in in = {.flags = flags};
    struct wire_open_out out;
    int rc = client_call(c, opcode, nodeid, &in, sizeof(in));
    if (rc == 0) {
        must(c->payload_len == sizeof(out), "length of open_out");
        memcpy(&out, c->reply, sizeof(out));
        *fh = out.fh;
    }
    return rc;
}

int client_open(struct client *c, uint64_t nodeid, uint32_t flags, uint64_t *fh)
{
    return open_any(c, FUSE_OPEN, nodeid, flags, fh);
}

int client_opendir(struct client *c, uint64_t nodeid, uint64_t *fh)
{
    return open_any(c, FUSE_OPENDIR, nodeid, 0, fh);
}

int client_release(struct client *c, uint64_t nodeid, uint64_t fh)
{
    struct wire_release_in in = {.fh = fh};
    return client_call(c, FUSE_RELEASE, nodeid, &in, sizeof(in));
}

int client_releasedir(struct client *c, uint64_t nodeid, uint64_t fh)
{
    struct wire_release_in in = {.fh = fh};
    return client_call(c, FUSE_RELEASEDIR, nodeid, &in, sizeof(in));
}

int client_read(struct client *c, uint64_t nodeid, uint64_t fh, uint64_t offset, uint32_t size)
{
    struct wire_read_in in = {.fh = fh, .offset = offset, .size = size};
    return client_call(c, FUSE_READ, nodeid, &in, sizeof(in));
}

int client_write(struct client *c, uint64_t nodeid, uint64_t fh, uint64_t offset, const void *data,
                 uint32_t size, uint32_t *written)
{
    struct wire_write_in in = {.fh = fh, .offset = offset, .size = size};
    struct part parts[] = {{&in, sizeof(in)}, {data, size}};
    struct wire_write_out out = {0};
    int rc = client_send(c, FUSE_WRITE, nodeid, parts, 2);
    if (rc == 0)
        memcpy(&out, c->reply, sizeof(out));
    if (written != NULL)
        *written = out.size;
    return rc;
}

int client_getattr(struct client *c, uint64_t nodeid, struct wire_attr_out *out)
{
    struct wire_getattr_in in = {0};
    int rc = client_call(c, FUSE_GETATTR, nodeid, &in, sizeof(in));
    if (rc == 0 && out != NULL)
        memcpy(out, c->reply, sizeof(*out));
    return rc;
}
