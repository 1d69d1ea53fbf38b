#include "microvm/legacy_ports.h"

#include <time.h>

#include "microvm/boot_config.h"
#include "microvm/layout.h"

/* ---- i8042 ---- */

#define I8042_DATA_PORT    0x60
#define I8042_COMMAND_PORT 0x64
#define I8042_RESET        0xfe
/*
 * Input buffer empty, so that a reset command is sent at once; output buffer always full, so that the
 * driver's first flush finds no end and it gives the controller up instead of waiting for answers that never
 * come.
 */
#define I8042_STATUS 0x01

static uint32_t i8042_data_read(void *opaque, uint32_t offset, uint32_t len)
{
    (void)opaque;
    (void)offset;
    (void)len;
    return 0;
}

static void i8042_data_write(void *opaque, uint32_t offset, uint32_t len, uint32_t value)
{
    (void)opaque;
    (void)offset;
    (void)len;
    (void)value;
}

static uint32_t i8042_status_read(void *opaque, uint32_t offset, uint32_t len)
{
    (void)opaque;
    (void)offset;
    (void)len;
    return I8042_STATUS;
}

static void i8042_command_write(void *opaque, uint32_t offset, uint32_t len, uint32_t value)
{
    struct legacy_ports *ports = opaque;
    (void)offset;
    (void)len;
    if (value == I8042_RESET)
        ports->events.reset(ports->events.opaque);
}

static const struct port_ops i8042_data_ops = {.read = i8042_data_read, .write = i8042_data_write};
static const struct port_ops i8042_command_ops = {.read = i8042_status_read, .write = i8042_command_write};

/* ---- MC146818 clock: the host's time in UTC, read-only ---- */

#define CMOS_INDEX_MASK 0x7f /* the top bit masks NMIs */
#define CMOS_REG_B_24H  0x02
#define CMOS_REG_A_32K  0x26
#define CMOS_REG_D_OK   0x80

static uint8_t bcd(int value)
{
    return (uint8_t)((value / 10 % 10) << 4 | value % 10);
}

static uint8_t cmos_register(uint8_t index)
{
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    switch (index) {
    case 0x00:
        return bcd(tm.tm_sec);
    case 0x02:
        return bcd(tm.tm_min);
    case 0x04:
        return bcd(tm.tm_hour);
    case 0x06:
        return bcd(tm.tm_wday + 1);
    case 0x07:
        return bcd(tm.tm_mday);
    case 0x08:
        return bcd(tm.tm_mon + 1);
    case 0x09:
        return bcd(tm.tm_year % 100);
    case 0x0a:
        return CMOS_REG_A_32K;
    case 0x0b:
        return CMOS_REG_B_24H;
    case 0x0d:
        return CMOS_REG_D_OK;
    case 0x32:
        return bcd(19 + tm.tm_year / 100);
    default:
        return 0;
    }
}

static uint32_t cmos_read(void *opaque, uint32_t offset, uint32_t len)
{
    struct legacy_ports *ports = opaque;
    if (offset != 1 || len != 1)
        return all_ones(len);
    return cmos_register(atomic_load_explicit(&ports->cmos_index, memory_order_relaxed));
}

static void cmos_write(void *opaque, uint32_t offset, uint32_t len, uint32_t value)
{
    struct legacy_ports *ports = opaque;
    if (offset == 0 && len == 1)
        atomic_store_explicit(&ports->cmos_index, value & CMOS_INDEX_MASK, memory_order_relaxed);
}

static const struct port_ops cmos_ops = {.read = cmos_read, .write = cmos_write};

/* ---- the init's ports ---- */

static uint32_t init_read(void *opaque, uint32_t offset, uint32_t len)
{
    (void)opaque;
    (void)offset;
    return all_ones(len);
}

static void status_write(void *opaque, uint32_t offset, uint32_t len, uint32_t value)
{
    struct legacy_ports *ports = opaque;
    (void)offset;
    (void)len;
    ports->events.exit_status(ports->events.opaque, (uint8_t)value);
}

static void input_write(void *opaque, uint32_t offset, uint32_t len, uint32_t value)
{
    struct legacy_ports *ports = opaque;
    (void)offset;
    (void)len;
    (void)value;
    ports->events.input_ready(ports->events.opaque);
}

static const struct port_ops status_ops = {.read = init_read, .write = status_write};
static const struct port_ops input_ops = {.read = init_read, .write = input_write};

void legacy_ports_add(struct legacy_ports *ports, const struct machine_events *events, struct port_bus *bus)
{
    *ports = (struct legacy_ports){.events = *events};
    port_bus_add(bus, I8042_DATA_PORT, 1, &i8042_data_ops, ports);
    port_bus_add(bus, I8042_COMMAND_PORT, 1, &i8042_command_ops, ports);
    port_bus_add(bus, LAYOUT_PORT_CMOS, 2, &cmos_ops, ports);
    port_bus_add(bus, BOOT_STATUS_PORT, 1, &status_ops, ports);
    port_bus_add(bus, BOOT_INPUT_PORT, 1, &input_ops, ports);
}
