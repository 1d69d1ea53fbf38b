/*
 * Queue memory of any content: rings, tables and buffers are the input, the device must survive it and stay inside
 * the memory map. The server behind it touches every byte that it was given, so a wrong vector is seen.
 *
 * Input: le8 features (bit 0 indirect, bit 1 event index) | le8 log2 of the queue size, modulo 5 | le16 first
 * available index | le8 rounds, modulo 4 | le8 … le8 steps of the available index (3) | guest memory from MEMORY_GPA.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <oriel/virtio_fs.h>

#include "base/checked.h"
#include "base/le.h"

#define HEADER_LEN 8u
#define MEMORY_GPA UINT64_C(0x1000)
#define MEMORY_LEN UINT64_C(0x1000)
#define SECOND_GPA (MEMORY_GPA + MEMORY_LEN) /* adjacent in the guest, apart in the host */
#define SECOND_LEN UINT64_C(0x100)
#define WINDOW_GPA UINT64_C(0x10000)
#define WINDOW_LEN UINT64_C(0x1000)

#define DESC_GPA  MEMORY_GPA
#define AVAIL_GPA (MEMORY_GPA + 0x100)
#define USED_GPA  (MEMORY_GPA + 0x140)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct oriel_fuse_server {
    uint64_t sum;
};

/* Moderate pieces, so that 4 GiB descriptors in the window do not take for ever. */
static void touch(struct oriel_fuse_server *server, const struct iovec *iov, size_t count, bool write)
{
    for (size_t i = 0; i < count; i++) {
        unsigned char *bytes = iov[i].iov_base;
        if (iov[i].iov_len == 0)
            abort(); /* an empty vector is never handed on */
        for (size_t k = 0; k < iov[i].iov_len; k++) {
            server->sum += bytes[k];
            if (write)
                bytes[k] = (unsigned char)k;
        }
    }
}

size_t oriel_fuse_server_handle(struct oriel_fuse_server *server, const struct oriel_fuse_request *request)
{
    size_t room = 0;
    touch(server, request->in, request->in_count, false);
    touch(server, request->out, request->out_count, true);
    for (size_t i = 0; i < request->out_count; i++)
        room += request->out[i].iov_len;
    return room;
}

enum oriel_fuse_weight oriel_fuse_server_weight(struct oriel_fuse_server *server,
                                                const struct oriel_fuse_request *request)
{
    touch(server, request->in, request->in_count, false);
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

static void on_notify(void *opaque, uint16_t queue)
{
    (void)opaque;
    (void)queue;
}

/* Only the first half of the window shows something. */
static int bind_window(void *opaque, uint64_t gpa, uint64_t len, uint32_t access)
{
    (void)opaque;
    (void)access;
    return range_within(gpa - WINDOW_GPA, len, WINDOW_LEN / 2) ? 0 : -1;
}

/* The guest's memory, each region allocated alone so that a step past its end is seen. */
struct guest {
    unsigned char *memory, *second, *window;
    struct oriel_memory *map;
};

static void make_guest(struct guest *guest, const uint8_t *content, size_t len)
{
    guest->memory = calloc(1, MEMORY_LEN);
    guest->second = calloc(1, SECOND_LEN);
    guest->window = calloc(1, WINDOW_LEN);
    struct oriel_memory_region regions[] = {{.gpa = MEMORY_GPA, .len = MEMORY_LEN, .host = guest->memory},
                                            {.gpa = SECOND_GPA, .len = SECOND_LEN, .host = guest->second},
                                            {.gpa = WINDOW_GPA,
                                             .len = WINDOW_LEN,
                                             .host = guest->window,
                                             .guarded = true,
                                             .prepare = bind_window}};
    if (guest->memory == NULL || guest->second == NULL || guest->window == NULL ||
        oriel_memory_create(regions, ARRAY_LEN(regions), &guest->map) != 0)
        abort();
    memcpy(guest->memory, content, len < MEMORY_LEN ? len : MEMORY_LEN);
}

static void free_guest(struct guest *guest)
{
    oriel_memory_unref(guest->map);
    free(guest->memory);
    free(guest->second);
    free(guest->window);
}

static void serve(struct oriel_virtio_fs *device, struct guest *guest, const uint8_t *header)
{
    struct oriel_virtio_queue_setup setup = {.size = (uint16_t)(1u << (header[1] % 5)),
                                             .desc = DESC_GPA,
                                             .avail = AVAIL_GPA,
                                             .used = USED_GPA,
                                             .avail_index = le16_load(header + 2),
                                             .used_index = le16_load(header + 2)};
    if (oriel_virtio_fs_queue_start(device, 1, &setup) != 0)
        abort();
    unsigned char *index = guest->memory + (AVAIL_GPA - MEMORY_GPA) + 2;
    for (unsigned round = 0; round < header[4] % 4u; round++) {
        le16_store(index, (uint16_t)(le16_load(index) + header[5 + round]));
        if (oriel_virtio_fs_process(device, 1) < 0)
            break;
    }
    oriel_virtio_fs_queue_stop(device, 1, &setup);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct oriel_fuse_server server = {0};
    struct oriel_virtio_fs *device = NULL;
    struct guest guest;
    struct oriel_virtio_fs_options options = {
        .size = sizeof(options), .tag = "f", .num_request_queues = 1, .server = &server, .notify = on_notify};
    if (size < HEADER_LEN)
        return 0;
    make_guest(&guest, data + HEADER_LEN, size - HEADER_LEN);
    if (oriel_virtio_fs_create(&options, &device) != 0)
        abort();
    oriel_virtio_fs_set_memory(device, guest.map);
    if (oriel_virtio_fs_set_features(device, UINT64_C(1) << 32 | (uint64_t)(data[0] & 3) << 28) != 0)
        abort();
    serve(device, &guest, data);
    oriel_virtio_fs_destroy(device);
    free_guest(&guest);
    return 0;
}
