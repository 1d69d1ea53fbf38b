/*
 * What the way through a virtqueue costs: a driver in the same thread offers requests, the device takes them, has
 * them served, and gives them back. The server behind it only writes a reply header. The floor is the driver's own
 * work on the rings and the same server called with vectors that are ready.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <oriel/virtio_fs.h>

#include "../tests/unit/virtio/driver_ring.h"
#include "bench.h"

#define RAM_GPA  UINT64_C(0x100000)
#define RAM_LEN  (UINT64_C(32) << 20)
#define SIZE     1024
#define REQUESTS 20000u
#define DATA_LEN 4096u

struct oriel_fuse_server {
    uint64_t served;
};

size_t oriel_fuse_server_handle(struct oriel_fuse_server *server, const struct oriel_fuse_request *request)
{
    unsigned char header[40];
    memcpy(header, request->in[0].iov_base, sizeof(header));
    memcpy(request->out[0].iov_base, header, 16);
    server->served++;
    return 16;
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

struct shape {
    const char *name;
    unsigned depth;       /* requests offered before the device looks */
    unsigned data_pieces; /* writable buffers of a page behind the reply header */
    bool indirect;
};

struct run {
    struct shape shape;
    struct oriel_fuse_server server;
    struct oriel_virtio_fs *device;
    struct driver_ring ring;
    struct driver_part parts[SIZE];
    struct iovec iov[SIZE];
    struct oriel_memory *memory;
    unsigned char *ram;
};

static void on_notify(void *opaque, uint16_t queue)
{
    (void)opaque;
    (void)queue;
}

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "bench-queue: %s\n", what);
        exit(1);
    }
}

/* Header, arguments, reply header, then pages: as a Linux guest lays a READ out. */
static unsigned make_parts(struct run *run)
{
    unsigned count = 0;
    run->parts[count++] = (struct driver_part){driver_alloc(&run->ring, 40, 64), 40, false};
    run->parts[count++] = (struct driver_part){driver_alloc(&run->ring, 40, 64), 40, false};
    run->parts[count++] = (struct driver_part){driver_alloc(&run->ring, 16, 64), 16, true};
    for (unsigned i = 0; i < run->shape.data_pieces; i++)
        run->parts[count++] =
            (struct driver_part){driver_alloc(&run->ring, 2 * DATA_LEN, DATA_LEN), DATA_LEN, true};
    for (unsigned i = 0; i < count; i++)
        run->iov[i] = (struct iovec){driver_host(&run->ring, run->parts[i].addr), run->parts[i].len};
    return count;
}

static void write_chains(struct run *run, unsigned count)
{
    if (!run->shape.indirect) {
        for (unsigned i = 0; i < run->shape.depth; i++)
            driver_write_chain(&run->ring, run->ring.desc, i * count, run->parts, count);
        return;
    }
    for (unsigned i = 0; i < run->shape.depth; i++)
        driver_write_indirect(&run->ring, i * count, run->parts, count);
}

static void start(struct run *run)
{
    struct oriel_virtio_fs_options options = {.size = sizeof(options),
                                              .tag = "bench",
                                              .num_request_queues = 1,
                                              .server = &run->server,
                                              .notify = on_notify};
    run->ram = aligned_alloc(4096, RAM_LEN);
    must(run->ram != NULL, "no memory");
    memset(run->ram, 0, RAM_LEN);
    struct oriel_memory_region regions[] = {{.gpa = 0, .len = 0xa0000, .host = run->ram},
                                            {.gpa = RAM_GPA, .len = RAM_LEN, .host = run->ram},
                                            {.gpa = UINT64_C(1) << 32, .len = RAM_LEN, .host = run->ram}};
    must(oriel_memory_create(regions, 3, &run->memory) == 0, "no memory map");
    must(oriel_virtio_fs_create(&options, &run->device) == 0, "no device");
    oriel_virtio_fs_set_memory(run->device, run->memory);
    must(oriel_virtio_fs_set_features(run->device,
                                      DRIVER_F_VERSION_1 | DRIVER_F_INDIRECT | DRIVER_F_EVENT_IDX) == 0,
         "no features");
    driver_ring_init(&run->ring, run->ram, RAM_GPA, RAM_LEN, RAM_GPA, SIZE);
    struct oriel_virtio_queue_setup setup = driver_setup(&run->ring);
    must(oriel_virtio_fs_queue_start(run->device, 1, &setup) == 0, "queue does not start");
    write_chains(run, make_parts(run));
}

static void stop(struct run *run)
{
    oriel_virtio_fs_reset(run->device);
    oriel_virtio_fs_destroy(run->device);
    oriel_memory_unref(run->memory);
    free(run->ram);
}

static unsigned chain_len(const struct run *run)
{
    return 3 + run->shape.data_pieces;
}

static void take_back(struct run *run)
{
    uint32_t id, len;
    for (unsigned i = 0; i < run->shape.depth; i++)
        must(driver_take_used(&run->ring, &id, &len) && len == 16, "a request is missing");
}

static double through_the_queue(void *opaque)
{
    struct run *run = opaque;
    uint64_t begun = bench_now();
    for (unsigned done = 0; done < REQUESTS; done += run->shape.depth) {
        for (unsigned i = 0; i < run->shape.depth; i++)
            driver_offer(&run->ring, (uint16_t)(i * chain_len(run)));
        must(oriel_virtio_fs_process(run->device, 1) == (int)run->shape.depth, "not all were taken");
        take_back(run);
    }
    return (double)(bench_now() - begun) / REQUESTS;
}

/* The driver's entries are written, the used entries as if by hand, the server is called with its vectors. */
static double without_the_device(void *opaque)
{
    struct run *run = opaque;
    struct oriel_fuse_request request = {
        .in = run->iov, .in_count = 2, .out = run->iov + 2, .out_count = 1u + run->shape.data_pieces};
    struct driver_ring ring = run->ring;
    uint64_t begun = bench_now();
    for (unsigned done = 0; done < REQUESTS; done += run->shape.depth) {
        for (unsigned i = 0; i < run->shape.depth; i++)
            driver_offer(&ring, (uint16_t)(i * chain_len(run)));
        for (unsigned i = 0; i < run->shape.depth; i++) {
            uint16_t used = (uint16_t)(ring.next_used + i);
            size_t len = oriel_fuse_server_handle(&run->server, &request);
            unsigned char *entry = driver_host(&ring, ring.used + 4 + 8u * (uint64_t)(used & (SIZE - 1u)));
            le32_store(entry, i);
            le32_store(entry + 4, (uint32_t)len);
        }
        __atomic_store_n(driver_u16(&ring, ring.used + 2), (uint16_t)(ring.next_used + run->shape.depth),
                         __ATOMIC_SEQ_CST);
        uint32_t id, len;
        for (unsigned i = 0; i < run->shape.depth; i++)
            must(driver_take_used(&ring, &id, &len), "a request is missing");
    }
    double each = (double)(bench_now() - begun) / REQUESTS;
    /* Leave the shared rings as the device knows them. */
    driver_set_avail_index(&run->ring, run->ring.next_avail);
    __atomic_store_n(driver_u16(&run->ring, run->ring.used + 2), run->ring.next_used, __ATOMIC_SEQ_CST);
    return each;
}

int main(void)
{
    static const struct shape shapes[] = {
        {"metadata (3 descriptors), depth 1", 1, 0, false},
        {"metadata, depth 16", 16, 0, false},
        {"metadata, depth 64", 64, 0, false},
        {"metadata, indirect table, depth 1", 1, 0, true},
        {"metadata, indirect table, depth 16", 16, 0, true},
        {"READ of 32 pages, indirect table, depth 1", 1, 32, true},
        {"READ of 256 pages, indirect table, depth 1", 1, 256, true},
    };
    bench_title("a request through the virtqueue, driver and device in one thread");
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct run *run = calloc(1, sizeof(*run));
        double ours, floor;
        must(run != NULL, "no memory");
        run->shape = shapes[i];
        start(run);
        bench_against(through_the_queue, run, without_the_device, run, &ours, &floor);
        bench_row(shapes[i].name, ours, floor, "ns", "");
        stop(run);
        free(run);
    }
    return 0;
}
