/* The few PC devices a kernel without ACPI expects to find: keyboard controller (for reset), CMOS
 * clock; and the two ports of our own init (boot_config.h). */
#ifndef ORIEL_MICROVM_LEGACY_PORTS_H
#define ORIEL_MICROVM_LEGACY_PORTS_H

#include <stdatomic.h>
#include <stdint.h>

#include "microvm/port_bus.h"

/* What the guest asks of the machine as a whole. Runs on the vCPU thread that did the access. */
struct machine_events {
    void (*reset)(void *opaque);                       /* reset through the keyboard controller */
    void (*exit_status)(void *opaque, uint8_t status); /* the guest's init is done */
    void (*input_ready)(void *opaque);                 /* the guest's init takes input on the console */
    void *opaque;
};

struct legacy_ports {
    struct machine_events events;
    _Atomic uint8_t cmos_index;
};

/* Adds ports 0x60, 0x64, 0x70, 0x71, BOOT_STATUS_PORT and BOOT_INPUT_PORT. */
void legacy_ports_add(struct legacy_ports *ports, const struct machine_events *events, struct port_bus *bus);

#endif
