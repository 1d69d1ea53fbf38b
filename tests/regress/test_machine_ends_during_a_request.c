/*
 * A guest that sent a slow request and switched itself off: the machine's devices and memory went away while a
 * thread of the pool still worked on them.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/virtio/driver_ring.h"
#include "../unit/virtio/stub_server.h"
#include "microvm/fs_device.h"

#define RAM_GPA UINT64_C(0x100000)
#define RAM_LEN UINT64_C(0x10000)

/* The rest of what a device asks of a server: not in this test. */
int oriel_fuse_server_create(const struct oriel_fuse_server_options *options, struct oriel_fuse_server **out)
{
    (void)options;
    (void)out;
    return -ENOSYS;
}

void oriel_fuse_server_destroy(struct oriel_fuse_server *server)
{
    (void)server;
}

const struct oriel_dax_source *oriel_fuse_server_dax_source(struct oriel_fuse_server *server)
{
    (void)server;
    return NULL;
}

void oriel_fuse_server_attach_dax(struct oriel_fuse_server *server, struct oriel_dax *dax)
{
    (void)server;
    (void)dax;
}

void oriel_fuse_server_stats(struct oriel_fuse_server *server, struct oriel_fuse_stats *out)
{
    (void)server;
    memset(out, 0, sizeof(*out));
}

static void on_notify(void *opaque, uint16_t queue)
{
    (void)opaque;
    (void)queue;
}

static void *release_later(void *server)
{
    usleep(30000);
    stub_release(server);
    return NULL;
}

static void joining_a_device_waits_for_its_requests(void **state)
{
    (void)state;
    struct oriel_fuse_server server;
    struct oriel_worker_pool *pool = NULL;
    struct oriel_memory *memory = NULL;
    struct driver_ring ring;
    unsigned char *ram = aligned_alloc(4096, RAM_LEN), in[40] = {0};
    struct fs_device *device = calloc(1, sizeof(*device));
    uint64_t out;
    pthread_t releaser;
    assert_true(ram != NULL && device != NULL);
    stub_server_init(&server);
    assert_int_equal(oriel_worker_pool_create(NULL, &pool), 0);
    struct oriel_virtio_fs_options options = {.size = sizeof(options),
                                              .tag = "share",
                                              .num_request_queues = 1,
                                              .server = &server,
                                              .notify = on_notify,
                                              .pool = pool};
    assert_int_equal(oriel_virtio_fs_create(&options, &device->virtio), 0);
    device->server = &server;
    device->queue_count = 2;
    struct oriel_memory_region region = {.gpa = RAM_GPA, .len = RAM_LEN, .host = ram};
    assert_int_equal(oriel_memory_create(&region, 1, &memory), 0);
    oriel_virtio_fs_set_memory(device->virtio, memory);
    assert_int_equal(oriel_virtio_fs_set_features(device->virtio, DRIVER_F_VERSION_1), 0);
    driver_ring_init(&ring, ram, RAM_GPA, RAM_LEN, RAM_GPA, 16);
    struct oriel_virtio_queue_setup setup = driver_setup(&ring);
    assert_int_equal(oriel_virtio_fs_queue_start(device->virtio, 1, &setup), 0);

    le32_store(in, sizeof(in));
    le32_store(in + 4, STUB_BLOCK);
    driver_offer_request(&ring, 0, in, sizeof(in), 16, &out);
    assert_int_equal(oriel_virtio_fs_process(device->virtio, 1), 1);
    assert_int_equal(driver_used_index(&ring), 0);
    assert_int_equal(pthread_create(&releaser, NULL, release_later, &server), 0);
    fs_device_join(device);
    assert_int_equal(driver_used_index(&ring), 1);

    pthread_join(releaser, NULL);
    oriel_virtio_fs_destroy(device->virtio);
    oriel_worker_pool_destroy(pool);
    oriel_memory_unref(memory);
    stub_server_destroy(&server);
    free(device);
    free(ram);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(joining_a_device_waits_for_its_requests)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
