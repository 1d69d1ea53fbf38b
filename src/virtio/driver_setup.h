/*
 * What the driver set up of the device, whatever the transport: the status byte (virtio 1.3, 2.1), the
 * features it accepted, size and place of its queues. The transports translate their registers into these
 * calls.
 *
 * One thread at a time, but for driver_setup_status() and driver_setup_needs_reset(): any thread.
 */
#ifndef ORIEL_VIRTIO_DRIVER_SETUP_H
#define ORIEL_VIRTIO_DRIVER_SETUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <oriel/virtio_fs.h>

#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER      2u
#define STATUS_DRIVER_OK   4u
#define STATUS_FEATURES_OK 8u
#define STATUS_NEEDS_RESET 64u
#define STATUS_FAILED      128u

struct driver_queue {
    uint16_t size;
    bool enabled, running;
    uint64_t desc, avail, used;
};

struct driver_setup {
    struct oriel_virtio_fs *device;
    /* A queue was started, or is about to be stopped. */
    void (*queue_changed)(void *opaque, uint16_t queue, bool running);
    void *opaque;
    atomic_uint status;
    uint32_t device_features_select, driver_features_select;
    uint64_t driver_features;
    uint16_t queue_select, queue_count;
    struct driver_queue queues[ORIEL_VIRTIO_FS_MAX_QUEUES];
};

void driver_setup_init(struct driver_setup *setup, struct oriel_virtio_fs *device,
                       void (*queue_changed)(void *opaque, uint16_t queue, bool running), void *opaque);

uint8_t driver_setup_status(struct driver_setup *setup);

/*
 * The driver wrote the status byte. 0 resets the device and waits for its queues. Bits are only ever added;
 * FEATURES_OK is not when the features are refused, DRIVER_OK starts the enabled queues.
 * False: the device could not follow (NEEDS_RESET is set now).
 */
bool driver_setup_write_status(struct driver_setup *setup, uint8_t value);

/* Sets NEEDS_RESET. True: the driver is to be told by a configuration interrupt. */
bool driver_setup_needs_reset(struct driver_setup *setup);

uint32_t driver_setup_device_features(const struct driver_setup *setup); /* the selected half */
uint32_t driver_setup_driver_features(const struct driver_setup *setup);
void driver_setup_write_features(struct driver_setup *setup, uint32_t half);

/* The selected queue, or NULL. */
struct driver_queue *driver_setup_queue(struct driver_setup *setup);
/* The selected queue if its size and place may still be changed, or NULL. */
struct driver_queue *driver_setup_open_queue(struct driver_setup *setup);
void driver_setup_write_queue_size(struct driver_setup *setup, uint32_t size);
/* False: the queue could not be started (NEEDS_RESET is set now). */
bool driver_setup_enable_queue(struct driver_setup *setup);
/* MMIO only: QueueReady 0. */
void driver_setup_disable_queue(struct driver_setup *setup);

#endif
