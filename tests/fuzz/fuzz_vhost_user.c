/*
 * Messages of any content and order from a front-end, with the rings and memory that they set up: the back-end must
 * survive them, keep no descriptor, and touch nothing but the memory it was given.
 *
 * Input: steps, each begun by a byte.
 *   0  message: le8 request, le8 flags, le8 descriptors (low 4 bits: how many; high: what kind), le8 length, payload
 *   1  bytes onto the socket: le8 length, bytes
 *   2  guest memory: le16 offset, le8 length, bytes
 *   3  kick of all rings, and service
 *   4  the front-end goes away, another one comes
 * Memory is one file of MEMORY_LEN bytes; the seeds put it at user address 0x100000 and guest address 0.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <oriel/vhost_user.h>

#include "../vhost_user/send_fds.h"
#include "vhost_user/protocol.h"

#define MEMORY_LEN 65536u
#define QUEUES     2u
#define STEPS_MAX  100

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the server behind it: touches every byte it is given ---- */

struct oriel_fuse_server {
    uint64_t sum;
};

size_t oriel_fuse_server_handle(struct oriel_fuse_server *server, const struct oriel_fuse_request *request)
{
    size_t room = 0;
    for (size_t i = 0; i < request->in_count; i++) {
        const unsigned char *bytes = request->in[i].iov_base;
        for (size_t k = 0; k < request->in[i].iov_len; k++)
            server->sum += bytes[k];
    }
    for (size_t i = 0; i < request->out_count; i++) {
        memset(request->out[i].iov_base, 0x5a, request->out[i].iov_len);
        room += request->out[i].iov_len;
    }
    return room;
}

enum oriel_fuse_weight oriel_fuse_server_weight(struct oriel_fuse_server *server,
                                                const struct oriel_fuse_request *request)
{
    (void)server;
    (void)request;
    return ORIEL_FUSE_INLINE;
}

void oriel_fuse_server_interrupt(struct oriel_fuse_server *server)
{
    (void)server;
}

void oriel_fuse_server_reset(struct oriel_fuse_server *server)
{
    (void)server;
}

/* ---- the front-end ---- */

struct input {
    const uint8_t *at;
    size_t left;
};

struct front_end {
    struct oriel_vhost_user *vu;
    int socket, memory, event;
    uint8_t *mapped;
};

static uint8_t take_byte(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static const uint8_t *take(struct input *input, size_t *len)
{
    const uint8_t *at = input->at;
    if (*len > input->left)
        *len = input->left;
    input->at += *len;
    input->left -= *len;
    return at;
}

static int descriptor(const struct front_end *fe, unsigned kind)
{
    switch (kind) {
    case 0:
        return fe->event;
    case 1:
        return fe->memory;
    case 2:
        return fe->socket;
    default:
        return STDIN_FILENO;
    }
}

static void send_bytes(struct front_end *fe, const void *data, size_t len, unsigned fd_count,
                       unsigned fd_kind)
{
    int fds[16] = {0};
    for (unsigned i = 0; i < fd_count; i++)
        fds[i] = descriptor(fe, fd_kind);
    ssize_t ignored = send_with_fds(fe->socket, data, len, fds, fd_count, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
}

static void send_message(struct front_end *fe, struct input *input)
{
    struct {
        struct vhost_user_header header;
        uint8_t payload[256];
    } message = {.header.request = take_byte(input)};
    message.header.flags = VHOST_USER_VERSION ^ take_byte(input);
    uint8_t fds = take_byte(input);
    size_t len = take_byte(input);
    const uint8_t *payload = take(input, &len);
    message.header.size = (uint32_t)len;
    if (len != 0)
        memcpy(message.payload, payload, len);
    send_bytes(fe, &message, sizeof(message.header) + len, fds & 15, fds >> 4 & 3);
}

static void poke(struct front_end *fe, struct input *input)
{
    size_t offset = take_byte(input);
    offset |= (size_t)take_byte(input) << 8;
    size_t len = take_byte(input);
    const uint8_t *bytes = take(input, &len);
    if (len <= MEMORY_LEN - offset && len != 0)
        memcpy(fe->mapped + offset, bytes, len);
}

static void kick(struct front_end *fe)
{
    eventfd_write(fe->event, 1);
    for (uint16_t i = 0; i <= QUEUES; i++)
        oriel_vhost_user_queue_serve(fe->vu, i);
}

static void drain(struct front_end *fe)
{
    char bytes[4096];
    while (recv(fe->socket, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
}

static void connect_front_end(struct front_end *fe)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        abort();
    fe->socket = ends[0];
    if (oriel_vhost_user_attach(fe->vu, ends[1]) != 0)
        abort();
}

/* After an error there is no front-end, and a new one is served. */
static void run(struct front_end *fe)
{
    if (oriel_vhost_user_run(fe->vu) < 0) {
        if (oriel_vhost_user_fd(fe->vu) >= 0)
            abort();
        close(fe->socket);
        connect_front_end(fe);
    }
}

static void step(struct front_end *fe, struct input *input)
{
    size_t len;
    const uint8_t *bytes;
    switch (take_byte(input)) {
    case 0:
        send_message(fe, input);
        break;
    case 1:
        len = take_byte(input);
        bytes = take(input, &len);
        send_bytes(fe, bytes, len, 0, 0);
        break;
    case 2:
        poke(fe, input);
        break;
    case 3:
        kick(fe);
        break;
    case 4:
        close(fe->socket);
        oriel_vhost_user_run(fe->vu);
        if (oriel_vhost_user_fd(fe->vu) >= 0)
            abort();
        connect_front_end(fe);
        break;
    default:
        break;
    }
    run(fe);
    drain(fe);
}

/* Every descriptor that was received is closed again: the next one has the same number. */
static int next_fd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct oriel_fuse_server server = {0};
    struct front_end fe = {.socket = -1};
    struct input input = {data, size};
    struct oriel_vhost_user_options options = {
        .size = sizeof(options), .server = &server, .tag = "fuzz", .max_request_queues = QUEUES};
    int before = next_fd();
    fe.memory = memfd_create("guest", MFD_CLOEXEC);
    fe.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ftruncate(fe.memory, MEMORY_LEN) != 0 || oriel_vhost_user_create(&options, &fe.vu) != 0)
        abort();
    fe.mapped = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fe.memory, 0);
    connect_front_end(&fe);
    for (int i = 0; i < STEPS_MAX && input.left > 0; i++)
        step(&fe, &input);
    close(fe.socket);
    oriel_vhost_user_destroy(fe.vu);
    munmap(fe.mapped, MEMORY_LEN);
    close(fe.event);
    close(fe.memory);
    if (next_fd() != before)
        abort();
    return 0;
}
