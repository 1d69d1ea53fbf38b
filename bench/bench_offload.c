/*
 * Where a request is served: on its queue's thread, by a pool, or by io_uring. Three questions decide it: what a
 * hand-over costs a request that would not have blocked, what a request that blocks costs the others of its queue,
 * and what the kernel's own asynchronous path costs against plain calls for data in the page cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <oriel/virtio_fs.h>

#include "../tests/unit/virtio/driver_ring.h"
#include "bench.h"

#define RAM_GPA  UINT64_C(0x100000)
#define RAM_LEN  (UINT64_C(1) << 20)
#define SIZE     256
#define REQUESTS 5000u
#define SLOW_NS  2000000 /* a request that waits for a disk */
#define FILE_LEN (UINT64_C(64) << 20)
#define READS    20000u

enum { QUICK = 1, SLOW = 2, QUICK_HANDED_OVER = 3 };

struct oriel_fuse_server {
    int fd; /* what a request reads 4 KiB of */
};

size_t oriel_fuse_server_handle(struct oriel_fuse_server *server, const struct oriel_fuse_request *request)
{
    char data[4096];
    unsigned char header[16];
    memcpy(header, request->in[0].iov_base, sizeof(header));
    if (le32_load(header + 4) == SLOW) {
        struct timespec wait = {.tv_nsec = SLOW_NS};
        nanosleep(&wait, NULL);
    } else if (pread(server->fd, data, sizeof(data), 0) != (ssize_t)sizeof(data)) {
        return 0;
    }
    memcpy(request->out[0].iov_base, header, 16);
    return 16;
}

enum oriel_fuse_weight oriel_fuse_server_weight(struct oriel_fuse_server *server,
                                                const struct oriel_fuse_request *request)
{
    (void)server;
    uint32_t kind = le32_load((const char *)request->in[0].iov_base + 4);
    return kind == QUICK ? ORIEL_FUSE_INLINE : ORIEL_FUSE_MAY_BLOCK;
}

void oriel_fuse_server_interrupt(struct oriel_fuse_server *server)
{
    (void)server;
}

void oriel_fuse_server_reset(struct oriel_fuse_server *server)
{
    (void)server;
}

struct run {
    struct oriel_fuse_server server;
    struct oriel_worker_pool *pool;
    struct oriel_virtio_fs *device;
    struct oriel_memory *memory;
    unsigned char *ram;
    struct driver_ring ring;
    uint32_t kind; /* of the quick requests */
    unsigned depth;
    bool with_slow; /* one slow request is always under way besides */
    int event;      /* notifications */
};

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "bench-offload: %s\n", what);
        exit(1);
    }
}

static void on_notify(void *opaque, uint16_t queue)
{
    (void)queue;
    must(eventfd_write(((struct run *)opaque)->event, 1) == 0, "eventfd");
}

static void write_request(struct run *run, unsigned slot, uint32_t kind)
{
    uint64_t in = driver_alloc(&run->ring, 40, 64), out = driver_alloc(&run->ring, 16, 64);
    struct driver_part parts[] = {{in, 40, false}, {out, 16, true}};
    le32_store(driver_host(&run->ring, in) + 4, kind);
    driver_write_chain(&run->ring, run->ring.desc, 2 * slot, parts, 2);
}

static void start(struct run *run, bool with_pool)
{
    run->ram = aligned_alloc(4096, RAM_LEN);
    run->event = eventfd(0, EFD_CLOEXEC);
    must(run->ram != NULL && run->event >= 0, "no memory");
    memset(run->ram, 0, RAM_LEN);
    must(!with_pool || oriel_worker_pool_create(NULL, &run->pool) == 0, "no pool");
    struct oriel_memory_region region = {.gpa = RAM_GPA, .len = RAM_LEN, .host = run->ram};
    must(oriel_memory_create(&region, 1, &run->memory) == 0, "no memory map");
    struct oriel_virtio_fs_options options = {.size = sizeof(options),
                                              .tag = "bench",
                                              .num_request_queues = 1,
                                              .server = &run->server,
                                              .notify = on_notify,
                                              .opaque = run,
                                              .pool = run->pool};
    must(oriel_virtio_fs_create(&options, &run->device) == 0, "no device");
    oriel_virtio_fs_set_memory(run->device, run->memory);
    must(oriel_virtio_fs_set_features(run->device, DRIVER_F_VERSION_1 | DRIVER_F_EVENT_IDX) == 0,
         "no features");
    driver_ring_init(&run->ring, run->ram, RAM_GPA, RAM_LEN, RAM_GPA, SIZE);
    struct oriel_virtio_queue_setup setup = driver_setup(&run->ring);
    must(oriel_virtio_fs_queue_start(run->device, 1, &setup) == 0, "queue does not start");
    for (unsigned i = 0; i < run->depth; i++)
        write_request(run, i, run->kind);
    write_request(run, run->depth, SLOW);
}

static void stop(struct run *run)
{
    oriel_virtio_fs_reset(run->device);
    oriel_virtio_fs_destroy(run->device);
    oriel_worker_pool_destroy(run->pool);
    oriel_memory_unref(run->memory);
    close(run->event);
    free(run->ram);
}

/* Offers what came back again, until REQUESTS quick ones are done; then lets all come back. */
static double round_trips(void *opaque)
{
    struct run *run = opaque;
    unsigned done = 0, in_flight = 0, offered = 0;
    bool slow_in_flight = false, slot_free[SIZE];
    memset(slot_free, true, sizeof(slot_free));
    uint64_t begun = bench_now(), ended = 0;
    while (done < REQUESTS || in_flight != 0) {
        uint32_t id, len;
        if (run->with_slow && !slow_in_flight && done < REQUESTS) {
            driver_offer(&run->ring, (uint16_t)(2 * run->depth));
            slow_in_flight = true;
            in_flight++;
        }
        for (unsigned i = 0; i < run->depth && offered < REQUESTS; i++) {
            if (!slot_free[i])
                continue;
            driver_offer(&run->ring, (uint16_t)(2 * i));
            slot_free[i] = false;
            in_flight++;
            offered++;
        }
        must(oriel_virtio_fs_process(run->device, 1) >= 0, "the queue broke");
        driver_set_used_event(&run->ring, run->ring.next_used);
        if (driver_used_index(&run->ring) == run->ring.next_used) {
            eventfd_t count;
            must(eventfd_read(run->event, &count) == 0, "eventfd");
        }
        while (driver_take_used(&run->ring, &id, &len)) {
            in_flight--;
            if (id / 2 == run->depth) {
                slow_in_flight = false;
            } else {
                slot_free[id / 2] = true;
                if (++done == REQUESTS)
                    ended = bench_now();
            }
        }
    }
    return (double)(ended - begun) / REQUESTS;
}

static double pool_or_inline(int fd, bool with_pool, uint32_t kind, unsigned depth, bool with_slow)
{
    struct run run = {.server.fd = fd, .kind = kind, .depth = depth, .with_slow = with_slow};
    start(&run, with_pool);
    double each = bench_rounds(round_trips, &run);
    stop(&run);
    return each;
}

static void measure_pool(int fd)
{
    static const unsigned depths[] = {1, 16, 64};
    char name[64];
    bench_title("4 KiB reads through a queue: handed over to the pool, against served in line (floor)");
    for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
        snprintf(name, sizeof(name), "every request handed over, depth %u", depths[i]);
        bench_row(name, pool_or_inline(fd, true, QUICK_HANDED_OVER, depths[i], false),
                  pool_or_inline(fd, false, QUICK, depths[i], false), "ns", "");
    }
    bench_title("the same reads beside one request that always waits 2 ms: floor is without that one");
    for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
        double floor = pool_or_inline(fd, false, QUICK, depths[i], false);
        snprintf(name, sizeof(name), "the slow one in the pool, depth %u", depths[i]);
        bench_row(name, pool_or_inline(fd, true, QUICK, depths[i], true), floor, "ns", "");
        if (depths[i] == 1)
            continue; /* 2 ms for each read: minutes to learn nothing */
        snprintf(name, sizeof(name), "the slow one in line, depth %u", depths[i]);
        bench_row(name, pool_or_inline(fd, false, QUICK, depths[i], true), floor, "ns", "");
    }
}

struct uring_run {
    struct io_uring ring;
    int fd;
    unsigned batch;
    size_t len;
    char *data;
};

static uint64_t place(unsigned i, size_t len)
{
    return (uint64_t)i * UINT64_C(2654435761) % (FILE_LEN / len) * len;
}

static double plain_reads(void *opaque)
{
    struct uring_run *run = opaque;
    unsigned reads = READS * 4096 / (unsigned)run->len;
    uint64_t begun = bench_now();
    for (unsigned i = 0; i < reads; i++)
        must(pread(run->fd, run->data, run->len, (off_t)place(i, run->len)) == (ssize_t)run->len, "pread");
    return (double)(bench_now() - begun) / reads;
}

static double uring_reads(void *opaque)
{
    struct uring_run *run = opaque;
    unsigned reads = READS * 4096 / (unsigned)run->len;
    uint64_t begun = bench_now();
    for (unsigned done = 0; done < reads; done += run->batch) {
        for (unsigned i = 0; i < run->batch; i++) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&run->ring);
            if (sqe == NULL)
                abort(); /* the ring has room for every batch */
            io_uring_prep_read(sqe, run->fd, run->data, (unsigned)run->len, place(done + i, run->len));
        }
        must(io_uring_submit_and_wait(&run->ring, run->batch) == (int)run->batch, "submit");
        for (unsigned i = 0; i < run->batch; i++) {
            struct io_uring_cqe *cqe;
            must(io_uring_wait_cqe(&run->ring, &cqe) == 0 && cqe->res == (int)run->len, "completion");
            io_uring_cqe_seen(&run->ring, cqe);
        }
    }
    return (double)(bench_now() - begun) / reads;
}

static void measure_uring(int fd)
{
    static const struct {
        size_t len;
        unsigned batch;
    } shapes[] = {{4096, 1}, {4096, 16}, {4096, 64}, {131072, 1}, {131072, 16}};
    struct uring_run run = {.fd = fd, .data = malloc(131072)};
    int r = io_uring_queue_init(64, &run.ring, 0);
    must(run.data != NULL, "no memory");
    bench_title("reads from the page cache: io_uring, against pread (floor)");
    if (r != 0) {
        printf("(not possible here: %s)\n", strerror(-r));
        free(run.data);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        char name[64];
        double ours, floor;
        run.len = shapes[i].len;
        run.batch = shapes[i].batch;
        snprintf(name, sizeof(name), "%zu KiB, %u in one submission", run.len / 1024, run.batch);
        bench_against(uring_reads, &run, plain_reads, &run, &ours, &floor);
        bench_row(name, ours, floor, "ns", "");
    }
    io_uring_queue_exit(&run.ring);
    free(run.data);
}

static double nowait_reads(void *opaque)
{
    struct uring_run *run = opaque;
    struct iovec iov = {run->data, run->len};
    unsigned reads = READS * 4096 / (unsigned)run->len;
    uint64_t begun = bench_now();
    for (unsigned i = 0; i < reads; i++)
        must(preadv2(run->fd, &iov, 1, (off_t)place(i, run->len), RWF_NOWAIT) == (ssize_t)run->len,
             "preadv2");
    return (double)(bench_now() - begun) / reads;
}

/* What it costs to ask that a read shall not wait, when it does not have to. */
static void measure_nowait(int fd)
{
    static const size_t lens[] = {4096, 131072};
    struct uring_run run = {.fd = fd, .data = malloc(131072)};
    must(run.data != NULL, "no memory");
    bench_title("reads from the page cache that shall not wait (RWF_NOWAIT), against pread (floor)");
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        char name[64];
        double ours, floor;
        run.len = lens[i];
        snprintf(name, sizeof(name), "%zu KiB", run.len / 1024);
        struct iovec iov = {run.data, 1};
        if (preadv2(fd, &iov, 1, 0, RWF_NOWAIT) < 0) {
            printf("(not possible here: %s)\n", strerror(errno));
            break;
        }
        bench_against(nowait_reads, &run, plain_reads, &run, &ours, &floor);
        bench_row(name, ours, floor, "ns", "");
    }
    free(run.data);
}

static int fill(int fd)
{
    char block[65536];
    memset(block, 0x5a, sizeof(block));
    for (uint64_t at = 0; fd >= 0 && at < FILE_LEN; at += sizeof(block))
        must(pwrite(fd, block, sizeof(block), (off_t)at) == (ssize_t)sizeof(block), "pwrite");
    must(fd >= 0, "no file");
    return fd;
}

int main(void)
{
    const char *folder = getenv("TMPDIR");
    int memory = fill(memfd_create("bench", MFD_CLOEXEC));
    measure_pool(memory);
    measure_uring(memory);
    int disk = fill(open(folder != NULL ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    measure_nowait(disk);
    close(disk);
    close(memory);
    return 0;
}
