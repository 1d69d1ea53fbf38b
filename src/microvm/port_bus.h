/* The I/O port space: which device answers which ports. Set up before the guest runs, then only read. */
#ifndef ORIEL_MICROVM_PORT_BUS_H
#define ORIEL_MICROVM_PORT_BUS_H

#include <stddef.h>
#include <stdint.h>

/* A device's registers. offset counts from the first port of the range; len is 1, 2 or 4 and stays inside the
 * range. */
struct port_ops {
    uint32_t (*read)(void *opaque, uint32_t offset, uint32_t len);
    void (*write)(void *opaque, uint32_t offset, uint32_t len, uint32_t value);
};

#define PORT_RANGES_MAX 16

struct port_range {
    uint16_t first, count;
    const struct port_ops *ops;
    void *opaque;
};

struct port_bus {
    struct port_range ranges[PORT_RANGES_MAX];
    size_t count;
};

/* The ranges must not overlap and there is room for PORT_RANGES_MAX of them. */
void port_bus_add(struct port_bus *bus, uint16_t first, uint16_t count, const struct port_ops *ops,
                  void *opaque);

/* Accesses that no device answers read as all ones and are ignored. */
uint32_t port_bus_read(const struct port_bus *bus, uint16_t port, uint32_t len);
void port_bus_write(const struct port_bus *bus, uint16_t port, uint32_t len, uint32_t value);

/* All ones of an access of len bytes. */
static inline uint32_t all_ones(uint32_t len)
{
    return len >= 4 ? UINT32_MAX : (UINT32_C(1) << (len * 8)) - 1;
}

#endif
