#include "microvm/pci_host_bridge.h"

#include "base/checked.h"
#include "base/le.h"

/* Vendor 1b36, device 0008 is the generic host bridge for virtual machines; class 06 00 00. */
static const uint8_t config[64] = {
    0x36, 0x1b, 0x08, 0x00, /* vendor, device */
    0x00, 0x00, 0x00, 0x00, /* command, status */
    0x00, 0x00, 0x00, 0x06, /* revision, class */
};

static uint32_t config_read(void *opaque, uint32_t offset, uint32_t size)
{
    (void)opaque;
    uint8_t bytes[4] = {0};
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = offset + i < ARRAY_LEN(config) ? config[offset + i] : 0;
    return le32_load(bytes);
}

static void config_write(void *opaque, uint32_t offset, uint32_t size, uint32_t value)
{
    (void)opaque;
    (void)offset;
    (void)size;
    (void)value;
}

static const struct pci_function_ops ops = {.config_read = config_read, .config_write = config_write};

const struct pci_function pci_host_bridge = {.ops = &ops};
