/* What a virtual processor looks like when it starts: CPUID, registers, descriptor and page tables. */
#ifndef ORIEL_MICROVM_CPU_STATE_H
#define ORIEL_MICROVM_CPU_STATE_H

#include <linux/kvm.h>
#include <stdint.h>

#include "microvm/kernel_image.h"
#include "microvm/ram.h"
#include "microvm/vm_error.h"

/* Everything KVM can give a guest. The caller frees it. */
int cpu_supported_cpuid(int kvm_fd, struct kvm_cpuid2 **out, struct vm_error *error);

/* Width of guest-physical addresses, from that table: 36 to 52. */
unsigned cpu_address_bits(const struct kvm_cpuid2 *cpuid);

/* Makes the table that of processor `index` of `cpus`: APIC id and topology (one package, one
 * thread a core). */
void cpu_personalize_cpuid(struct kvm_cpuid2 *cpuid, unsigned index, unsigned cpus);

/* Tables in RAM that the boot processor starts with. */
int cpu_write_boot_tables(const struct ram *ram);

/* Registers of the boot processor at the kernel's entry. */
int cpu_set_boot_state(int vcpu_fd, const struct boot_entry *entry, struct vm_error *error);

/* What firmware leaves on every processor: local interrupt pins, memory types. */
int cpu_set_common_state(int vcpu_fd, struct vm_error *error);

#endif
