/*
 * One PCI root bus behind configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2): ports 0xcf8 to 0xcff.
 *
 * The bus plays firmware: it places every BAR before the guest starts. Functions tell it when the guest moves
 * or switches them.
 */
#ifndef ORIEL_MICROVM_PCI_BUS_H
#define ORIEL_MICROVM_PCI_BUS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "microvm/pci_function.h"
#include "microvm/port_bus.h"

#define PCI_BUS_SLOTS 32
#define PCI_BUS_PORTS 8

struct pci_aperture {
    uint64_t next, end;
};

/* Where a BAR answers at the moment. */
struct pci_decode {
    bool enabled;
    uint64_t address, len;
};

struct pci_bus {
    struct pci_function functions[PCI_BUS_SLOTS];
    unsigned count;
    _Atomic uint32_t address; /* the last dword written to 0xcf8 */
    struct pci_aperture mmio32, mmio64;
    pthread_rwlock_t lock; /* over decode */
    struct pci_decode decode[PCI_BUS_SLOTS][PCI_BARS];
};

extern const struct port_ops pci_bus_port_ops; /* opaque: the struct pci_bus */

/* ram_end: first address above RAM; address_bits: width of guest-physical addresses. Plugs in the host
 * bridge. */
void pci_bus_init(struct pci_bus *bus, uint64_t ram_end, unsigned address_bits);
void pci_bus_destroy(struct pci_bus *bus);

/* Sets aside a naturally aligned place for a window of len (a power of two) bytes: 0 and *address, or
 * -ENOSPC. */
int pci_bus_reserve_window(struct pci_bus *bus, uint64_t len, uint64_t *address);

/* Plugs a function into the next free slot and places its BARs. Returns the slot, or -ENOSPC. Before the
 * guest runs. */
int pci_bus_add(struct pci_bus *bus, const struct pci_function *function);

/* The function in `slot` says where its BAR answers now. */
void pci_bus_bar_changed(struct pci_bus *bus, unsigned slot, unsigned bar, bool enabled, uint64_t address,
                         uint64_t len);

/* Memory accesses of the guest that hit no RAM and no window. What no BAR answers reads as all ones. */
void pci_bus_mmio_read(struct pci_bus *bus, uint64_t address, void *data, size_t len);
void pci_bus_mmio_write(struct pci_bus *bus, uint64_t address, const void *data, size_t len);

#endif
