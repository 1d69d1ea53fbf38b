/*
 * MSI-X of a PCI function (PCI Local Bus 3.0, 6.8.2): table, pending bits, masking.
 *
 * Raising a vector takes no lock: mask and pending bits are atomic, and both sides look again after they
 * changed theirs, so an interrupt that meets an unmask is delivered by one of the two. Everything else: one
 * thread at a time.
 */
#ifndef ORIEL_VIRTIO_MSIX_H
#define ORIEL_VIRTIO_MSIX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/virtio_fs.h>

#define MSIX_MAX_VECTORS (ORIEL_VIRTIO_FS_MAX_QUEUES + 1)
#define MSIX_PBA_WORDS   ((MSIX_MAX_VECTORS + 63) / 64)
#define MSIX_ENTRY_LEN   16u

/* Of the message control word in the capability. */
#define MSIX_CONTROL_ENABLE UINT16_C(0x8000)
#define MSIX_CONTROL_MASK   UINT16_C(0x4000)

struct msix_entry {
    uint64_t address;
    uint32_t data;
    atomic_bool masked; /* the driver's bit */
    /* What the owner was told last. */
    bool told_masked;
    uint64_t told_address;
    uint32_t told_data;
};

struct msix {
    uint16_t vectors;
    atomic_bool enabled, function_masked;
    struct msix_entry entries[MSIX_MAX_VECTORS];
    _Atomic uint64_t pending[MSIX_PBA_WORDS];
    void (*changed)(void *opaque, uint16_t vector, uint64_t address, uint32_t data, bool masked);
    void (*fire)(void *opaque, uint16_t vector);
    void *opaque;
};

/* Both callbacks may be NULL. */
void msix_init(struct msix *msix, uint16_t vectors,
               void (*changed)(void *opaque, uint16_t vector, uint64_t address, uint32_t data, bool masked),
               void (*fire)(void *opaque, uint16_t vector), void *opaque);

/* The message control word was written. */
void msix_set_control(struct msix *msix, uint16_t control);

/* Any thread. */
bool msix_is_enabled(struct msix *msix);
/* Fires, or leaves the pending bit. A vector that is none is ignored. Any thread. */
void msix_raise(struct msix *msix, uint16_t vector);

/* Accesses to table and pending bits; offsets are relative to each. Writes: aligned, 4 or 8 bytes, else
 * ignored. */
void msix_table_read(struct msix *msix, uint64_t offset, void *data, size_t len);
void msix_table_write(struct msix *msix, uint64_t offset, const void *data, size_t len);
void msix_pba_read(struct msix *msix, uint64_t offset, void *data, size_t len);

#endif
