/* What the PCI bus needs of a function that is plugged into it. */
#ifndef ORIEL_MICROVM_PCI_FUNCTION_H
#define ORIEL_MICROVM_PCI_FUNCTION_H

#include <stddef.h>
#include <stdint.h>

#define PCI_BARS 6

enum pci_bar_kind {
    PCI_BAR_NONE = 0,
    PCI_BAR_MMIO,   /* 64-bit memory, placed under 4 GiB; accesses are routed to bar_read and bar_write */
    PCI_BAR_WINDOW, /* 64-bit prefetchable memory above RAM, backed by host pages: accesses never come to the
                       bus */
};

struct pci_bar {
    enum pci_bar_kind kind;
    uint64_t len;     /* a power of two */
    uint64_t address; /* where it is to lie; 0: the bus chooses */
};

struct pci_function_ops {
    /* Configuration space: offset 0 to 255; size 1, 2 or 4, not crossing a dword. */
    uint32_t (*config_read)(void *opaque, uint32_t offset, uint32_t size);
    void (*config_write)(void *opaque, uint32_t offset, uint32_t size, uint32_t value);
    /* Accesses to a PCI_BAR_MMIO, inside its length. NULL when there is none. */
    void (*bar_read)(void *opaque, unsigned bar, uint64_t offset, void *data, size_t len);
    void (*bar_write)(void *opaque, unsigned bar, uint64_t offset, const void *data, size_t len);
};

struct pci_function {
    const struct pci_function_ops *ops;
    void *opaque;
    struct pci_bar bars[PCI_BARS]; /* a 64-bit BAR takes two: the second is NONE */
};

#endif
