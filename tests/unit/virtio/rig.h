/* What the tests of several queues and of the transports share: a device before the stub server, with guest
 * memory. Nothing is returned: what fails, fails the test. */
#ifndef TEST_VIRTIO_RIG_H
#define TEST_VIRTIO_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <oriel/virtio_fs.h>

#include "driver_ring.h"
#include "stub_server.h"

#define RIG_RAM_GPA   UINT64_C(0x100000)
#define RIG_RING_SIZE 16

struct rig {
    struct oriel_fuse_server server;
    struct oriel_virtio_fs *device;
    struct oriel_worker_pool *pool; /* NULL: requests are served in line */
    struct oriel_memory *memory;
    unsigned char *ram; /* guest memory [RIG_RAM_GPA, RIG_RAM_GPA + ram_len), zeroes at first */
    uint64_t ram_len;
};

/* The size, tag and server of the options need not be filled in; their pool is the rig's from now on. */
void rig_start(struct rig *rig, const struct oriel_virtio_fs_options *options, uint64_t ram_len);
/* A transport is destroyed before this, and after a reset: until then the device calls it. */
void rig_stop(struct rig *rig);

/* Another memory map with the same memory takes the place of the one before. */
void rig_change_map(struct rig *rig);

/* Lays a ring of RIG_RING_SIZE out, `offset` behind the start of guest memory. */
void rig_ring_init(const struct rig *rig, struct driver_ring *ring, uint64_t offset);

/* Offers a request with room for a header as reply, in the descriptors `first` and first + 1. */
void rig_offer(struct driver_ring *ring, uint16_t first, uint32_t opcode);
/* A whole plain request; the driver wants an interrupt for it. */
void rig_request(struct rig *rig, struct driver_ring *ring, uint16_t queue);

#endif
