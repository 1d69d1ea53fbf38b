#include "stub_server.h"

#include <errno.h>
#include <string.h>

#include "base/le.h"

void stub_server_init(struct oriel_fuse_server *server)
{
    memset(server, 0, sizeof(*server));
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
}

void stub_server_destroy(struct oriel_fuse_server *server)
{
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
}

void stub_release(struct oriel_fuse_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->released = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

/* Copies bytes out of the front of a vector. False: it is too short. */
static bool stub_gather(const struct iovec *iov, size_t count, unsigned char *to, size_t len)
{
    for (size_t i = 0; i < count && len != 0; i++) {
        size_t piece = iov[i].iov_len < len ? iov[i].iov_len : len;
        memcpy(to, iov[i].iov_base, piece);
        to += piece;
        len -= piece;
    }
    return len == 0;
}

static bool stub_scatter(const struct iovec *iov, size_t count, const unsigned char *from, size_t len)
{
    for (size_t i = 0; i < count && len != 0; i++) {
        size_t piece = iov[i].iov_len < len ? iov[i].iov_len : len;
        memcpy(iov[i].iov_base, from, piece);
        from += piece;
        len -= piece;
    }
    return len == 0;
}

static void stub_wait(struct oriel_fuse_server *server, bool for_interrupt)
{
    pthread_mutex_lock(&server->lock);
    atomic_fetch_add(&server->waiting, 1);
    unsigned interrupts = server->interrupts;
    while (for_interrupt ? server->interrupts == interrupts : !server->released)
        pthread_cond_wait(&server->changed, &server->lock);
    atomic_fetch_sub(&server->waiting, 1);
    pthread_mutex_unlock(&server->lock);
}

size_t oriel_fuse_server_handle(struct oriel_fuse_server *server, const struct oriel_fuse_request *request)
{
    unsigned char in[16], out[16] = {0};
    atomic_fetch_add(&server->served, 1);
    if ((request->flags & ORIEL_FUSE_GUARDED) != 0)
        atomic_fetch_add(&server->guarded, 1);
    if ((request->flags & ORIEL_FUSE_HIPRIO) != 0)
        atomic_fetch_add(&server->hiprio, 1);
    if (!stub_gather(request->in, request->in_count, in, sizeof(in)))
        return 0;
    uint32_t opcode = le32_load(in + 4);
    if (opcode == STUB_COLD && (request->flags & ORIEL_FUSE_NOWAIT) != 0)
        return ORIEL_FUSE_WOULD_BLOCK;
    if (opcode == STUB_BLOCK || opcode == STUB_COLD || opcode == STUB_LOCK)
        stub_wait(server, opcode == STUB_LOCK);
    if (opcode == STUB_FORGET)
        return 0;
    le32_store(out, sizeof(out));
    le32_store(out + 4, opcode == STUB_LOCK ? (uint32_t)-EINTR : 0);
    memcpy(out + 8, in + 8, 8);
    return stub_scatter(request->out, request->out_count, out, sizeof(out)) ? sizeof(out) : 0;
}

enum oriel_fuse_weight oriel_fuse_server_weight(struct oriel_fuse_server *server,
                                                const struct oriel_fuse_request *request)
{
    unsigned char in[8];
    (void)server;
    if (!stub_gather(request->in, request->in_count, in, sizeof(in)))
        return ORIEL_FUSE_INLINE;
    uint32_t opcode = le32_load(in + 4);
    return opcode == STUB_BLOCK || opcode == STUB_LOCK ? ORIEL_FUSE_MAY_BLOCK : ORIEL_FUSE_INLINE;
}

void oriel_fuse_server_interrupt(struct oriel_fuse_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->interrupts++;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

void oriel_fuse_server_reset(struct oriel_fuse_server *server)
{
    atomic_fetch_add(&server->resets, 1);
}
