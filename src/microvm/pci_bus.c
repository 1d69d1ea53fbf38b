#include "microvm/pci_bus.h"

#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "microvm/layout.h"
#include "microvm/pci_host_bridge.h"

#define ADDRESS_ENABLE UINT32_C(0x80000000)
#define DATA_OFFSET    4 /* 0xcfc counted from 0xcf8 */
#define CONFIG_BAR0    0x10

/* ---- configuration mechanism 1 ---- */

struct config_target {
    const struct pci_function *function; /* NULL: nobody answers */
    uint32_t offset;
};

static struct config_target decode_address(struct pci_bus *bus, uint32_t data_offset)
{
    uint32_t address = atomic_load_explicit(&bus->address, memory_order_relaxed);
    unsigned bus_number = address >> 16 & 0xff;
    unsigned slot = address >> 11 & 0x1f;
    unsigned function = address >> 8 & 0x7;
    struct config_target target = {.offset = (address & 0xfc) + data_offset};
    if ((address & ADDRESS_ENABLE) && bus_number == 0 && function == 0 && slot < bus->count)
        target.function = &bus->functions[slot];
    return target;
}

static bool inside_dword(uint32_t offset, uint32_t len)
{
    return (offset & 3) + len <= 4;
}

static uint32_t port_read(void *opaque, uint32_t offset, uint32_t len)
{
    struct pci_bus *bus = opaque;
    if (offset == 0 && len == 4)
        return atomic_load_explicit(&bus->address, memory_order_relaxed);
    if (offset < DATA_OFFSET || !inside_dword(offset, len))
        return all_ones(len);
    struct config_target target = decode_address(bus, offset - DATA_OFFSET);
    if (target.function == NULL)
        return all_ones(len);
    return target.function->ops->config_read(target.function->opaque, target.offset, len);
}

static void port_write(void *opaque, uint32_t offset, uint32_t len, uint32_t value)
{
    struct pci_bus *bus = opaque;
    if (offset == 0 && len == 4)
        atomic_store_explicit(&bus->address, value, memory_order_relaxed);
    if (offset < DATA_OFFSET || !inside_dword(offset, len))
        return;
    struct config_target target = decode_address(bus, offset - DATA_OFFSET);
    if (target.function != NULL)
        target.function->ops->config_write(target.function->opaque, target.offset, len,
                                           value & all_ones(len));
}

const struct port_ops pci_bus_port_ops = {.read = port_read, .write = port_write};

/* ---- placing ---- */

static int aperture_take(struct pci_aperture *aperture, uint64_t len, uint64_t *address)
{
    uint64_t end;
    if (len > aperture->end || !checked_add_u64(aperture->next, len - 1, &end))
        return -ENOSPC;
    uint64_t start = align_up(aperture->next, len);
    if (start > aperture->end - len)
        return -ENOSPC;
    aperture->next = start + len;
    *address = start;
    return 0;
}

int pci_bus_reserve_window(struct pci_bus *bus, uint64_t len, uint64_t *address)
{
    return aperture_take(&bus->mmio64, len, address);
}

static void write_bar(const struct pci_function *function, unsigned bar, uint64_t address)
{
    uint32_t offset = CONFIG_BAR0 + 4 * bar;
    function->ops->config_write(function->opaque, offset, 4, (uint32_t)address);
    function->ops->config_write(function->opaque, offset + 4, 4, (uint32_t)(address >> 32));
}

static int place_bars(struct pci_bus *bus, struct pci_function *function)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &function->bars[i];
        if (bar->kind == PCI_BAR_NONE)
            continue;
        int err = 0;
        if (bar->address == 0)
            err = aperture_take(bar->kind == PCI_BAR_WINDOW ? &bus->mmio64 : &bus->mmio32, bar->len,
                                &bar->address);
        if (err != 0)
            return err;
        write_bar(function, i, bar->address);
    }
    return 0;
}

int pci_bus_add(struct pci_bus *bus, const struct pci_function *function)
{
    if (bus->count == PCI_BUS_SLOTS)
        return -ENOSPC;
    struct pci_function *slot = &bus->functions[bus->count];
    *slot = *function;
    int err = place_bars(bus, slot);
    if (err != 0)
        return err;
    return (int)bus->count++;
}

void pci_bus_init(struct pci_bus *bus, uint64_t ram_end, unsigned address_bits)
{
    *bus = (struct pci_bus){0};
    pthread_rwlock_init(&bus->lock, NULL);
    bus->mmio32 = (struct pci_aperture){.next = LAYOUT_MMIO32, .end = LAYOUT_MMIO32_END};
    bus->mmio64 = (struct pci_aperture){.next = max_u64(align_up(ram_end, LAYOUT_GIB), LAYOUT_HIGH_RAM),
                                        .end = UINT64_C(1) << address_bits};
    pci_bus_add(bus, &pci_host_bridge);
}

void pci_bus_destroy(struct pci_bus *bus)
{
    pthread_rwlock_destroy(&bus->lock);
}

/* ---- memory accesses ---- */

void pci_bus_bar_changed(struct pci_bus *bus, unsigned slot, unsigned bar, bool enabled, uint64_t address,
                         uint64_t len)
{
    pthread_rwlock_wrlock(&bus->lock);
    bus->decode[slot][bar] = (struct pci_decode){.enabled = enabled, .address = address, .len = len};
    pthread_rwlock_unlock(&bus->lock);
}

struct mmio_target {
    const struct pci_function *function; /* NULL: nobody answers */
    unsigned bar;
    uint64_t offset;
};

static struct mmio_target find_bar(struct pci_bus *bus, uint64_t address, size_t len)
{
    struct mmio_target target = {0};
    pthread_rwlock_rdlock(&bus->lock);
    for (unsigned i = 0; i < bus->count * PCI_BARS && target.function == NULL; i++) {
        const struct pci_function *function = &bus->functions[i / PCI_BARS];
        const struct pci_decode *decode = &bus->decode[i / PCI_BARS][i % PCI_BARS];
        if (decode->enabled && function->bars[i % PCI_BARS].kind == PCI_BAR_MMIO &&
            address >= decode->address && range_within(address - decode->address, len, decode->len))
            target = (struct mmio_target){
                .function = function, .bar = i % PCI_BARS, .offset = address - decode->address};
    }
    pthread_rwlock_unlock(&bus->lock);
    return target;
}

void pci_bus_mmio_read(struct pci_bus *bus, uint64_t address, void *data, size_t len)
{
    struct mmio_target target = find_bar(bus, address, len);
    if (target.function == NULL)
        memset(data, 0xff, len);
    else
        target.function->ops->bar_read(target.function->opaque, target.bar, target.offset, data, len);
}

void pci_bus_mmio_write(struct pci_bus *bus, uint64_t address, const void *data, size_t len)
{
    struct mmio_target target = find_bar(bus, address, len);
    if (target.function != NULL)
        target.function->ops->bar_write(target.function->opaque, target.bar, target.offset, data, len);
}
