/*
 * The guest-physical address space of the microVM.
 *
 *   0x00000000  RAM                       boot structures below 0x9fc00, MP table at 0xf0000
 *   0xc0000000  hole: no RAM up to 4 GiB
 *   0xd0000000    32-bit PCI memory aperture (control BARs)
 *   0xfec00000    I/O APIC, 0xfee00000 local APICs, KVM's own pages below 0xfffc0000
 *   0x100000000 RAM above 3 GiB, if any
 *   above RAM   64-bit PCI memory aperture (DAX windows)
 */
#ifndef ORIEL_MICROVM_LAYOUT_H
#define ORIEL_MICROVM_LAYOUT_H

#include <stdint.h>

#define LAYOUT_KIB UINT64_C(1024)
#define LAYOUT_MIB (UINT64_C(1) << 20)
#define LAYOUT_GIB (UINT64_C(1) << 30)

#define LAYOUT_RAM_MIN      (128 * LAYOUT_MIB)
#define LAYOUT_RAM_MAX      (UINT64_C(1) << 40)
#define LAYOUT_LOW_RAM_MAX  (3 * LAYOUT_GIB)
#define LAYOUT_HIGH_RAM     (4 * LAYOUT_GIB)
#define LAYOUT_CPUS_MAX     64
#define LAYOUT_CMDLINE_SIZE 2048 /* with its NUL; what stock x86 kernels take */

/* Boot structures in low RAM, each in its own page or pages; the kernel copies what it needs early. */
#define LAYOUT_GDT            UINT64_C(0x00500)
#define LAYOUT_BOOT_STACK     UINT64_C(0x08ff0)
#define LAYOUT_PVH_START_INFO UINT64_C(0x06000)
#define LAYOUT_BOOT_PARAMS    UINT64_C(0x07000)
#define LAYOUT_PAGE_TABLES    UINT64_C(0x09000) /* 6 pages: one PML4, one PDPT, four PDs */
#define LAYOUT_CMDLINE        UINT64_C(0x20000)

#define LAYOUT_EBDA          UINT64_C(0x09fc00) /* end of conventional memory */
#define LAYOUT_VGA_HOLE      UINT64_C(0x0a0000)
#define LAYOUT_MP_TABLE      UINT64_C(0x0f0000)
#define LAYOUT_MP_TABLE_SIZE UINT64_C(0x10000)
#define LAYOUT_HIGH_MEMORY   UINT64_C(0x100000)

#define LAYOUT_MMIO32     UINT64_C(0xd0000000)
#define LAYOUT_MMIO32_END UINT64_C(0xfec00000)
#define LAYOUT_IO_APIC    UINT64_C(0xfec00000)
#define LAYOUT_LOCAL_APIC UINT64_C(0xfee00000)
/* 3 pages, needed on processors without unrestricted guests. */
#define LAYOUT_KVM_TSS          UINT64_C(0xfffbd000)
#define LAYOUT_KVM_IDENTITY_MAP UINT64_C(0xfffbc000)

/* Ports. */
#define LAYOUT_PORT_SERIAL 0x3f8
#define LAYOUT_PORT_CMOS   0x70
#define LAYOUT_PORT_PCI    0xcf8

/* Interrupt lines. */
#define LAYOUT_IRQ_SERIAL    4
#define LAYOUT_IRQ_PCI       16 /* 16 to 23: INTA of PCI slots, slot modulo 8 */
#define LAYOUT_IRQ_PCI_LINES 8
#define LAYOUT_IO_APIC_PINS  24

#endif
