/*
 * The MMIO transport (virtio 1.3, 4.2, version 2) around a virtio-fs device: one page of registers with the
 * shared-memory registers of the DAX window, one level-triggered interrupt. For machines without PCI. The VMM
 * owns the bus: it routes accesses to the page here.
 *
 * Any thread may call any function here, but for create and destroy. What a guest writes, wherever it writes
 * it, leads to a defined state of the device and to nothing else.
 */
#ifndef ORIEL_VIRTIO_MMIO_H
#define ORIEL_VIRTIO_MMIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/trace.h>
#include <oriel/virtio_fs.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ORIEL_VIRTIO_MMIO_LEN      0x1000 /* bytes of guest-physical address space */
#define ORIEL_VIRTIO_MMIO_DOORBELL 0x50 /* a 32-bit write of the queue number, for ioeventfds that match it */

struct oriel_virtio_mmio_options {
    size_t size;                    /* sizeof(struct oriel_virtio_mmio_options) */
    struct oriel_virtio_fs *device; /* must outlive the transport */
    /* Shared memory id 0: the window, 2 MiB aligned in place and length; length 0 for none. */
    uint64_t window_gpa, window_len;

    /* The callbacks must not call back into this transport; any may be NULL. */
    /* Level of the interrupt. From the thread that did the access or raised the interrupt. */
    void (*interrupt)(void *opaque, bool asserted);
    /*
     * A queue was started or stopped: connect or disconnect its doorbell and its thread. Called after start,
     * before stop; must not wait for a running oriel_virtio_fs_process(): that is waited for afterwards, and
     * a later call of it says -ENXIO.
     */
    void (*queue_changed)(void *opaque, uint16_t queue, bool running);
    /* The doorbell was written through oriel_virtio_mmio_write() (no ioeventfd took it). Whether or not the
     * queue runs. */
    void (*queue_kicked)(void *opaque, uint16_t queue);
    void *opaque;
    struct oriel_trace *trace;
};

struct oriel_virtio_mmio;

/* Errors: -EINVAL (options; a window that is unaligned or wraps), -ENOMEM. */
int oriel_virtio_mmio_create(const struct oriel_virtio_mmio_options *options, struct oriel_virtio_mmio **out);
/* The device's queues must be stopped. NULL is allowed. */
void oriel_virtio_mmio_destroy(struct oriel_virtio_mmio *mmio);

/* What the device's notify callback must be wired to: raises the interrupt. Any thread. */
void oriel_virtio_mmio_queue_interrupt(struct oriel_virtio_mmio *mmio, uint16_t queue);
/* What the device's broken callback must be wired to: sets DEVICE_NEEDS_RESET and raises the interrupt. */
void oriel_virtio_mmio_needs_reset(struct oriel_virtio_mmio *mmio);

/*
 * Accesses to the page. Registers take aligned accesses of 4 bytes, the device configuration (from 0x100 on)
 * any of 1, 2, 4 or 8; everything else reads as zeroes and is ignored.
 */
void oriel_virtio_mmio_read(struct oriel_virtio_mmio *mmio, uint64_t offset, void *data, size_t len);
void oriel_virtio_mmio_write(struct oriel_virtio_mmio *mmio, uint64_t offset, const void *data, size_t len);

#ifdef __cplusplus
}
#endif

#endif
