/*
 * The 256 bytes of PCI configuration space of a virtio-fs function: identity, base address registers, and the
 * capabilities that tell a driver where in the BARs everything is (virtio 1.3, 4.1.4).
 *
 * The space is an array of bytes with a mask of the bits that the guest may change; what a change means is
 * read back from the bytes. One thread at a time.
 */
#ifndef ORIEL_VIRTIO_PCI_CONFIG_H
#define ORIEL_VIRTIO_PCI_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_CONFIG_LEN 256u
#define PCI_BARS       6u

/* BAR 0: a page for each structure, so that a VMM may treat them apart. */
#define CONTROL_COMMON   0x0000u
#define CONTROL_ISR      0x1000u
#define CONTROL_DEVICE   0x2000u
#define CONTROL_NOTIFY   0x3000u
#define CONTROL_AREA_LEN 0x1000u
#define CONTROL_LEN      0x4000u
#define NOTIFY_STRIDE    4u

/* BAR 2 */
#define MSIX_TABLE_AT 0x0000u
#define MSIX_PBA_AT   0x0800u
#define MSIX_BAR_LEN  0x1000u

struct pci_config {
    uint8_t bytes[PCI_CONFIG_LEN];
    uint8_t writable[PCI_CONFIG_LEN];
    uint64_t bar_len[PCI_BARS]; /* 0: not there */
};

/* An access through the capability of 4.1.4.9: this much at that place of a BAR. */
struct pci_window_access {
    uint8_t bar;
    uint32_t offset, len;
};

/* window_len: BAR 4, 0 for none. */
void pci_config_init(struct pci_config *config, uint16_t queues, uint16_t vectors, uint64_t window_len);

uint32_t pci_config_read(const struct pci_config *config, uint32_t offset, uint32_t size);
/* False: no such access, nothing was changed. */
bool pci_config_write(struct pci_config *config, uint32_t offset, uint32_t size, uint32_t value);

bool pci_config_memory_enabled(const struct pci_config *config);
bool pci_config_intx_disabled(const struct pci_config *config);
void pci_config_set_intx_status(struct pci_config *config, bool asserted);
uint64_t pci_config_bar_address(const struct pci_config *config, unsigned bar);
uint16_t pci_config_msix_control(const struct pci_config *config);

/* True: an access to [offset, offset + size) of the space reaches the data bytes of the access capability. */
bool pci_config_is_window_data(uint32_t offset, uint32_t size);
/* False: what the guest wrote there names no access that is allowed. */
bool pci_config_window_access(const struct pci_config *config, struct pci_window_access *access);
uint8_t *pci_config_window_data(struct pci_config *config); /* 4 bytes */

#endif
