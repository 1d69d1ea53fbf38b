#include "virtio/pci_config.h"

#include <string.h>

#include <oriel/virtio_pci.h>

#include "base/checked.h"
#include "base/le.h"
#include "virtio/msix.h"

/* Type 0 header (PCI Local Bus 3.0, 6.1) */
#define REG_VENDOR        0x00u
#define REG_DEVICE        0x02u
#define REG_COMMAND       0x04u
#define REG_STATUS        0x06u
#define REG_REVISION      0x08u
#define REG_CLASS         0x0au
#define REG_BAR           0x10u
#define REG_SUB_VENDOR    0x2cu
#define REG_SUB_DEVICE    0x2eu
#define REG_CAPABILITIES  0x34u
#define REG_INTERRUPT     0x3cu
#define REG_INTERRUPT_PIN 0x3du

#define COMMAND_MEMORY       0x0002u
#define COMMAND_BUS_MASTER   0x0004u
#define COMMAND_INTX_DISABLE 0x0400u
#define STATUS_INTX          0x0008u
#define STATUS_CAPABILITIES  0x0010u

#define BAR_64BIT        0x4u
#define BAR_PREFETCHABLE 0x8u

#define VENDOR_VIRTIO  0x1af4u
#define DEVICE_ID      (0x1040u + ORIEL_VIRTIO_FS_DEVICE_ID)
#define CLASS_STORAGE  0x0180u /* mass storage, other */
#define MODERN_DEVICE  1u      /* revision; 4.1.2.1: at least 1 */
#define INTERRUPT_PINA 1u

#define CAP_ID_VENDOR 0x09u
#define CAP_ID_MSIX   0x11u

/* cfg_type of virtio_pci_cap (4.1.4) */
#define CAP_COMMON        1u
#define CAP_NOTIFY        2u
#define CAP_ISR           3u
#define CAP_DEVICE        4u
#define CAP_PCI_ACCESS    5u
#define CAP_SHARED_MEMORY 8u

/* Where the capabilities are. */
#define AT_MSIX   0x40u
#define AT_COMMON 0x4cu
#define AT_NOTIFY 0x5cu
#define AT_ISR    0x70u
#define AT_DEVICE 0x80u
#define AT_ACCESS 0x90u
#define AT_WINDOW 0xa4u

#define CAP_LEN        16u
#define CAP_NOTIFY_LEN 20u
#define CAP_ACCESS_LEN 20u
#define CAP_WINDOW_LEN 24u
#define ACCESS_BAR     (AT_ACCESS + 4)
#define ACCESS_OFFSET  (AT_ACCESS + 8)
#define ACCESS_LENGTH  (AT_ACCESS + 12)
#define ACCESS_DATA    (AT_ACCESS + 16)

#define COMMON_LEN     0x40u
#define DEVICE_LEN     40u
#define WINDOW_SHMID   0u
#define MSIX_CAP_FLAGS 2u

static void put16(struct pci_config *config, uint32_t at, uint32_t value)
{
    le16_store(config->bytes + at, (uint16_t)value);
}

static void allow(struct pci_config *config, uint32_t at, uint32_t len)
{
    memset(config->writable + at, 0xff, len);
}

static void add_bar(struct pci_config *config, unsigned bar, uint64_t len, uint8_t flags)
{
    uint32_t at = REG_BAR + 4 * bar;
    config->bar_len[bar] = len;
    config->bytes[at] = flags;
    le64_store(config->writable + at, ~(len - 1));
}

/* A capability that says: the structure `type` is at `offset` of `bar`. */
static void add_capability(struct pci_config *config, uint32_t at, uint32_t next, uint8_t len, uint8_t type,
                           uint8_t bar, uint32_t offset, uint32_t length)
{
    uint8_t *cap = config->bytes + at;
    cap[0] = CAP_ID_VENDOR;
    cap[1] = (uint8_t)next;
    cap[2] = len;
    cap[3] = type;
    cap[4] = bar;
    le32_store(cap + 8, offset);
    le32_store(cap + 12, length);
}

static void add_msix(struct pci_config *config, uint16_t vectors)
{
    uint8_t *cap = config->bytes + AT_MSIX;
    cap[0] = CAP_ID_MSIX;
    cap[1] = AT_COMMON;
    le16_store(cap + MSIX_CAP_FLAGS, (uint16_t)(vectors - 1));
    le32_store(cap + 4, MSIX_TABLE_AT | ORIEL_VIRTIO_PCI_BAR_MSIX);
    le32_store(cap + 8, MSIX_PBA_AT | ORIEL_VIRTIO_PCI_BAR_MSIX);
    le16_store(config->writable + AT_MSIX + MSIX_CAP_FLAGS, MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK);
}

/* virtio_pci_cap64: the id sits behind the bar, the upper halves behind the lower ones. */
static void add_window(struct pci_config *config, uint64_t window_len)
{
    uint8_t *cap = config->bytes + AT_WINDOW;
    add_capability(config, AT_WINDOW, 0, CAP_WINDOW_LEN, CAP_SHARED_MEMORY, ORIEL_VIRTIO_PCI_BAR_WINDOW, 0,
                   (uint32_t)window_len);
    cap[5] = WINDOW_SHMID;
    le32_store(cap + 20, (uint32_t)(window_len >> 32));
}

static void add_capabilities(struct pci_config *config, uint16_t queues, uint16_t vectors,
                             uint64_t window_len)
{
    const uint8_t control = ORIEL_VIRTIO_PCI_BAR_CONTROL;
    config->bytes[REG_CAPABILITIES] = AT_MSIX;
    add_msix(config, vectors);
    add_capability(config, AT_COMMON, AT_NOTIFY, CAP_LEN, CAP_COMMON, control, CONTROL_COMMON, COMMON_LEN);
    add_capability(config, AT_NOTIFY, AT_ISR, CAP_NOTIFY_LEN, CAP_NOTIFY, control, CONTROL_NOTIFY,
                   NOTIFY_STRIDE * queues);
    le32_store(config->bytes + AT_NOTIFY + 16, NOTIFY_STRIDE);
    add_capability(config, AT_ISR, AT_DEVICE, CAP_LEN, CAP_ISR, control, CONTROL_ISR, 1);
    add_capability(config, AT_DEVICE, AT_ACCESS, CAP_LEN, CAP_DEVICE, control, CONTROL_DEVICE, DEVICE_LEN);
    add_capability(config, AT_ACCESS, window_len != 0 ? AT_WINDOW : 0, CAP_ACCESS_LEN, CAP_PCI_ACCESS, 0, 0,
                   0);
    allow(config, ACCESS_BAR, 1);
    allow(config, ACCESS_OFFSET, 12);
    if (window_len != 0)
        add_window(config, window_len);
}

void pci_config_init(struct pci_config *config, uint16_t queues, uint16_t vectors, uint64_t window_len)
{
    memset(config, 0, sizeof(*config));
    put16(config, REG_VENDOR, VENDOR_VIRTIO);
    put16(config, REG_DEVICE, DEVICE_ID);
    put16(config, REG_STATUS, STATUS_CAPABILITIES);
    config->bytes[REG_REVISION] = MODERN_DEVICE;
    put16(config, REG_CLASS, CLASS_STORAGE);
    put16(config, REG_SUB_VENDOR, VENDOR_VIRTIO);
    put16(config, REG_SUB_DEVICE, DEVICE_ID);
    config->bytes[REG_INTERRUPT_PIN] = INTERRUPT_PINA;
    allow(config, REG_INTERRUPT, 1);
    le16_store(config->writable + REG_COMMAND, COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_INTX_DISABLE);
    add_bar(config, ORIEL_VIRTIO_PCI_BAR_CONTROL, CONTROL_LEN, BAR_64BIT);
    add_bar(config, ORIEL_VIRTIO_PCI_BAR_MSIX, MSIX_BAR_LEN, BAR_64BIT);
    if (window_len != 0)
        add_bar(config, ORIEL_VIRTIO_PCI_BAR_WINDOW, window_len, BAR_64BIT | BAR_PREFETCHABLE);
    add_capabilities(config, queues, vectors, window_len);
}

static bool is_access(uint32_t offset, uint32_t size)
{
    return (size == 1 || size == 2 || size == 4) && offset < PCI_CONFIG_LEN && offset % 4 + size <= 4;
}

uint32_t pci_config_read(const struct pci_config *config, uint32_t offset, uint32_t size)
{
    uint32_t value = 0;
    if (!is_access(offset, size))
        return UINT32_MAX;
    for (uint32_t i = 0; i < size; i++)
        value |= (uint32_t)config->bytes[offset + i] << (8 * i);
    return value;
}

bool pci_config_write(struct pci_config *config, uint32_t offset, uint32_t size, uint32_t value)
{
    if (!is_access(offset, size))
        return false;
    for (uint32_t i = 0; i < size; i++) {
        uint8_t *byte = &config->bytes[offset + i];
        uint8_t mask = config->writable[offset + i];
        *byte = (uint8_t)((*byte & ~mask) | ((value >> (8 * i)) & mask));
    }
    return true;
}

bool pci_config_memory_enabled(const struct pci_config *config)
{
    return (le16_load(config->bytes + REG_COMMAND) & COMMAND_MEMORY) != 0;
}

bool pci_config_intx_disabled(const struct pci_config *config)
{
    return (le16_load(config->bytes + REG_COMMAND) & COMMAND_INTX_DISABLE) != 0;
}

void pci_config_set_intx_status(struct pci_config *config, bool asserted)
{
    put16(config, REG_STATUS, STATUS_CAPABILITIES | (asserted ? STATUS_INTX : 0));
}

uint64_t pci_config_bar_address(const struct pci_config *config, unsigned bar)
{
    return le64_load(config->bytes + REG_BAR + 4 * bar) & ~UINT64_C(0xf);
}

uint16_t pci_config_msix_control(const struct pci_config *config)
{
    return le16_load(config->bytes + AT_MSIX + MSIX_CAP_FLAGS);
}

bool pci_config_is_window_data(uint32_t offset, uint32_t size)
{
    return is_access(offset, size) && ranges_overlap(offset, size, ACCESS_DATA, 4);
}

bool pci_config_window_access(const struct pci_config *config, struct pci_window_access *access)
{
    access->bar = config->bytes[ACCESS_BAR];
    access->offset = le32_load(config->bytes + ACCESS_OFFSET);
    access->len = le32_load(config->bytes + ACCESS_LENGTH);
    return (access->len == 1 || access->len == 2 || access->len == 4) &&
           is_aligned(access->offset, access->len);
}

uint8_t *pci_config_window_data(struct pci_config *config)
{
    return config->bytes + ACCESS_DATA;
}
