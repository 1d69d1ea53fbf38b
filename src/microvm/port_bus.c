#include "microvm/port_bus.h"

#include <assert.h>

#include "base/checked.h"

void port_bus_add(struct port_bus *bus, uint16_t first, uint16_t count, const struct port_ops *ops,
                  void *opaque)
{
    assert(bus->count < PORT_RANGES_MAX);
    bus->ranges[bus->count++] = (struct port_range){first, count, ops, opaque};
}

static const struct port_range *find(const struct port_bus *bus, uint16_t port, uint32_t len)
{
    for (size_t i = 0; i < bus->count; i++) {
        const struct port_range *range = &bus->ranges[i];
        if (port >= range->first && range_within(port - range->first, len, range->count))
            return range;
    }
    return NULL;
}

uint32_t port_bus_read(const struct port_bus *bus, uint16_t port, uint32_t len)
{
    const struct port_range *range = find(bus, port, len);
    if (range == NULL)
        return all_ones(len);
    return range->ops->read(range->opaque, (uint32_t)(port - range->first), len) & all_ones(len);
}

void port_bus_write(const struct port_bus *bus, uint16_t port, uint32_t len, uint32_t value)
{
    const struct port_range *range = find(bus, port, len);
    if (range != NULL)
        range->ops->write(range->opaque, (uint32_t)(port - range->first), len, value);
}
