/* The MultiProcessor table (Intel MultiProcessor Specification 1.4): how a kernel finds processors without
 * ACPI. */
#ifndef ORIEL_MICROVM_MPTABLE_H
#define ORIEL_MICROVM_MPTABLE_H

#include <stddef.h>

#include "microvm/ram.h"

/*
 * Writes floating pointer and table for `cpus` processors (1 to LAYOUT_CPUS_MAX, APIC id = number), one I/O
 * APIC, an ISA and a PCI bus, the 16 ISA lines and INTA of the 32 PCI slots. Returns 0 or -EFAULT (no RAM
 * there).
 */
int mptable_write(const struct ram *ram, unsigned cpus);

#endif
