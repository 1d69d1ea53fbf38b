#include "rig.h"

#include <stdlib.h>
#include <string.h>

void rig_start(struct rig *rig, const struct oriel_virtio_fs_options *options, uint64_t ram_len)
{
    struct oriel_virtio_fs_options own = *options;
    *rig = (struct rig){.pool = options->pool, .ram_len = ram_len};
    stub_server_init(&rig->server);
    own.size = sizeof(own);
    own.tag = "share";
    own.server = &rig->server;
    assert_int_equal(oriel_virtio_fs_create(&own, &rig->device), 0);
    rig->ram = aligned_alloc(4096, ram_len);
    assert_non_null(rig->ram);
    memset(rig->ram, 0, ram_len);
    rig_change_map(rig);
}

void rig_stop(struct rig *rig)
{
    oriel_virtio_fs_reset(rig->device);
    oriel_virtio_fs_destroy(rig->device);
    oriel_worker_pool_destroy(rig->pool);
    oriel_memory_unref(rig->memory);
    stub_server_destroy(&rig->server);
    free(rig->ram);
}

void rig_change_map(struct rig *rig)
{
    struct oriel_memory_region region = {.gpa = RIG_RAM_GPA, .len = rig->ram_len, .host = rig->ram};
    struct oriel_memory *before = rig->memory;
    assert_int_equal(oriel_memory_create(&region, 1, &rig->memory), 0);
    oriel_virtio_fs_set_memory(rig->device, rig->memory);
    oriel_memory_unref(before);
}

void rig_ring_init(const struct rig *rig, struct driver_ring *ring, uint64_t offset)
{
    driver_ring_init(ring, rig->ram, RIG_RAM_GPA, rig->ram_len, RIG_RAM_GPA + offset, RIG_RING_SIZE);
}

void rig_offer(struct driver_ring *ring, uint16_t first, uint32_t opcode)
{
    unsigned char in[40] = {0};
    uint64_t out;
    le32_store(in, sizeof(in));
    le32_store(in + 4, opcode);
    driver_offer_request(ring, first, in, sizeof(in), 16, &out);
}

void rig_request(struct rig *rig, struct driver_ring *ring, uint16_t queue)
{
    uint32_t id, len;
    rig_offer(ring, 0, STUB_PLAIN);
    driver_set_used_event(ring, ring->next_used);
    assert_int_equal(oriel_virtio_fs_process(rig->device, queue), 1);
    assert_true(driver_take_used(ring, &id, &len));
    assert_int_equal(len, 16);
}
