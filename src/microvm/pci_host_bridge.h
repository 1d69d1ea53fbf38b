/* The host bridge in slot 0: nothing to configure, but a kernel without ACPI looks for one before it trusts
 * the bus. */
#ifndef ORIEL_MICROVM_PCI_HOST_BRIDGE_H
#define ORIEL_MICROVM_PCI_HOST_BRIDGE_H

#include "microvm/pci_function.h"

extern const struct pci_function pci_host_bridge;

#endif
