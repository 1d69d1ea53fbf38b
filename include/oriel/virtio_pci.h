/*
 * A modern virtio PCI function (virtio 1.3, 4.1) around a virtio-fs device: configuration space,
 * capabilities, MSI-X, and the shared-memory capability of the DAX window. The VMM owns the bus: it routes
 * configuration and BAR accesses here.
 *
 *   BAR 0  64-bit memory: common configuration, ISR, device configuration, notifications (a 4-byte doorbell
 *          for each queue)
 *   BAR 2  64-bit memory: MSI-X table and PBA
 *   BAR 4  64-bit prefetchable: the DAX window (shared memory id 0); absent without one. Accesses to it never
 *          come here: the VMM gives the hypervisor a memory region over the mapper's pages.
 *
 * Any thread may call any function here, but for create and destroy. What a guest writes, wherever it writes
 * it, leads to a defined state of the device and to nothing else. The bus-master bit is kept and not acted
 * upon.
 */
#ifndef ORIEL_VIRTIO_PCI_H
#define ORIEL_VIRTIO_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/trace.h>
#include <oriel/virtio_fs.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ORIEL_VIRTIO_PCI_BAR_CONTROL 0
#define ORIEL_VIRTIO_PCI_BAR_MSIX    2
#define ORIEL_VIRTIO_PCI_BAR_WINDOW  4

struct oriel_virtio_pci_options {
    size_t size;                    /* sizeof(struct oriel_virtio_pci_options) */
    struct oriel_virtio_fs *device; /* must outlive the function */
    uint64_t window_len;            /* BAR 4: a power of two >= 2 MiB, or 0 for no window */

    /*
     * The callbacks run on the thread that did the access (msix_fire and intx also on those that raise an
     * interrupt); any may be NULL. They must not call back into this function of the bus.
     */
    /* The guest enabled, moved or disabled BAR decoding: address is meaningful while enabled. */
    void (*bar_changed)(void *opaque, unsigned bar, bool enabled, uint64_t address, uint64_t len);
    /* The message of an MSI-X vector changed, or it was masked/unmasked (masked: address and data are the
     * last known). */
    void (*msix_changed)(void *opaque, uint16_t vector, uint64_t address, uint32_t data, bool masked);
    /* Level of INTx, for guests that did not enable MSI-X. */
    void (*intx)(void *opaque, bool asserted);
    /* Fires vector `vector`. The function calls this only when the vector is enabled and unmasked; else it
     * sets the pending bit. */
    void (*msix_fire)(void *opaque, uint16_t vector);
    /*
     * A queue was started or stopped: connect or disconnect its doorbell and its thread. Called after start,
     * before stop; must not wait for a running oriel_virtio_fs_process(): that is waited for afterwards, and
     * a later call of it says -ENXIO.
     */
    void (*queue_changed)(void *opaque, uint16_t queue, bool running);
    /* The doorbell was written through bar_write (no ioeventfd took it). Whether or not the queue runs. */
    void (*queue_kicked)(void *opaque, uint16_t queue);
    void *opaque;
    struct oriel_trace *trace;
};

struct oriel_virtio_pci;

/* Errors: -EINVAL, -ENOMEM. */
int oriel_virtio_pci_create(const struct oriel_virtio_pci_options *options, struct oriel_virtio_pci **out);
void oriel_virtio_pci_destroy(struct oriel_virtio_pci *pci);

/* What the device's notify callback must be wired to: raises the interrupt of a queue. Any thread. */
void oriel_virtio_pci_queue_interrupt(struct oriel_virtio_pci *pci, uint16_t queue);
/* What the device's broken callback must be wired to: sets DEVICE_NEEDS_RESET and raises the configuration
 * interrupt. */
void oriel_virtio_pci_needs_reset(struct oriel_virtio_pci *pci);

/* Configuration space, offset 0 to 255, size 1, 2 or 4, not crossing a dword; anything else reads as all ones
 * and is ignored. */
uint32_t oriel_virtio_pci_config_read(struct oriel_virtio_pci *pci, uint32_t offset, uint32_t size);
void oriel_virtio_pci_config_write(struct oriel_virtio_pci *pci, uint32_t offset, uint32_t size,
                                   uint32_t value);

/* BAR accesses of 1, 2, 4 or 8 bytes; others, and places that are nothing, read as zeroes and are ignored. */
void oriel_virtio_pci_bar_read(struct oriel_virtio_pci *pci, unsigned bar, uint64_t offset, void *data,
                               size_t len);
void oriel_virtio_pci_bar_write(struct oriel_virtio_pci *pci, unsigned bar, uint64_t offset, const void *data,
                                size_t len);

/* Size of a BAR in bytes (0: not there). */
uint64_t oriel_virtio_pci_bar_len(const struct oriel_virtio_pci *pci, unsigned bar);
/* Offset in BAR 0 of a queue's doorbell: a 16-bit write of the queue number, for an ioeventfd. */
uint64_t oriel_virtio_pci_doorbell(const struct oriel_virtio_pci *pci, uint16_t queue);
uint16_t oriel_virtio_pci_vectors(const struct oriel_virtio_pci *pci); /* queues + 1 */

#ifdef __cplusplus
}
#endif

#endif
