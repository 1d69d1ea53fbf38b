#include "microvm/mptable.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "microvm/layout.h"

#define SPEC_REV     4 /* 1.4 */
#define APIC_VERSION 0x14
#define BUS_PCI      0 /* the PCI bus must have its own PCI number */
#define BUS_ISA      1
#define ISA_LINES    16
#define PCI_SLOTS    32

enum entry_type {
    ENTRY_PROCESSOR = 0,
    ENTRY_BUS = 1,
    ENTRY_IO_APIC = 2,
    ENTRY_IO_INTERRUPT = 3,
    ENTRY_LOCAL_INTERRUPT = 4,
};

enum interrupt_type {
    INTERRUPT_VECTORED = 0,
    INTERRUPT_NMI = 1,
    INTERRUPT_EXTINT = 3,
};

#define FLAGS_CONFORMING       0x0
#define FLAGS_ACTIVE_LOW_LEVEL 0xf

#define PROCESSOR_ENABLED 0x1
#define PROCESSOR_BOOT    0x2
#define PROCESSOR_FAMILY  0x600 /* signature and features are not used where CPUID tells more */
#define PROCESSOR_FPU     0x001
#define PROCESSOR_APIC    0x200

struct floating_pointer {
    char signature[4];
    uint32_t table;
    uint8_t length, spec_rev, checksum, feature[5];
} __attribute__((packed));

struct table_header {
    char signature[4];
    uint16_t length;
    uint8_t spec_rev, checksum;
    char oem[8], product[12];
    uint32_t oem_table;
    uint16_t oem_size, entries;
    uint32_t local_apic;
    uint16_t extended_length;
    uint8_t extended_checksum, reserved;
} __attribute__((packed));

struct processor {
    uint8_t type, apic_id, apic_version, flags;
    uint32_t signature, features, reserved[2];
} __attribute__((packed));

struct bus {
    uint8_t type, id;
    char name[6];
} __attribute__((packed));

struct io_apic {
    uint8_t type, id, version, flags;
    uint32_t address;
} __attribute__((packed));

struct interrupt {
    uint8_t type, kind;
    uint16_t flags;
    uint8_t bus, bus_irq, apic, pin;
} __attribute__((packed));

_Static_assert(sizeof(struct floating_pointer) == 16, "spec 4.1");
_Static_assert(sizeof(struct table_header) == 44, "spec 4.2");
_Static_assert(sizeof(struct processor) == 20, "spec 4.3.1");
_Static_assert(sizeof(struct interrupt) == 8, "spec 4.3.4");

#define TABLE_MAX                                                                                            \
    (sizeof(struct table_header) + LAYOUT_CPUS_MAX * sizeof(struct processor) + 2 * sizeof(struct bus) +     \
     sizeof(struct io_apic) + (ISA_LINES + PCI_SLOTS + 2) * sizeof(struct interrupt))

struct builder {
    uint8_t bytes[TABLE_MAX];
    size_t len;
    uint16_t entries;
};

static uint8_t checksum(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint8_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + p[i]);
    return (uint8_t)-sum;
}

static void append(struct builder *table, const void *entry, size_t size)
{
    memcpy(table->bytes + table->len, entry, size);
    table->len += size;
    table->entries++;
}

static void append_processors(struct builder *table, unsigned cpus)
{
    for (unsigned i = 0; i < cpus; i++) {
        struct processor cpu = {.type = ENTRY_PROCESSOR,
                                .apic_id = (uint8_t)i,
                                .apic_version = APIC_VERSION,
                                .flags = PROCESSOR_ENABLED,
                                .signature = PROCESSOR_FAMILY,
                                .features = PROCESSOR_FPU | PROCESSOR_APIC};
        if (i == 0)
            cpu.flags |= PROCESSOR_BOOT;
        append(table, &cpu, sizeof(cpu));
    }
}

static void append_buses(struct builder *table)
{
    struct bus pci = {.type = ENTRY_BUS, .id = BUS_PCI, .name = {'P', 'C', 'I', ' ', ' ', ' '}};
    struct bus isa = {.type = ENTRY_BUS, .id = BUS_ISA, .name = {'I', 'S', 'A', ' ', ' ', ' '}};
    append(table, &pci, sizeof(pci));
    append(table, &isa, sizeof(isa));
}

static void append_interrupts(struct builder *table, uint8_t io_apic_id)
{
    for (unsigned line = 0; line < ISA_LINES; line++) {
        if (line == 2)
            continue; /* the cascade of the two 8259s */
        struct interrupt isa = {.type = ENTRY_IO_INTERRUPT,
                                .kind = INTERRUPT_VECTORED,
                                .flags = FLAGS_CONFORMING,
                                .bus = BUS_ISA,
                                .bus_irq = (uint8_t)line,
                                .apic = io_apic_id,
                                .pin = (uint8_t)line};
        append(table, &isa, sizeof(isa));
    }
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        struct interrupt pci = {.type = ENTRY_IO_INTERRUPT,
                                .kind = INTERRUPT_VECTORED,
                                .flags = FLAGS_ACTIVE_LOW_LEVEL,
                                .bus = BUS_PCI,
                                .bus_irq = (uint8_t)(slot << 2),
                                .apic = io_apic_id,
                                .pin = (uint8_t)(LAYOUT_IRQ_PCI + slot % LAYOUT_IRQ_PCI_LINES)};
        append(table, &pci, sizeof(pci));
    }
}

static void append_local_interrupts(struct builder *table)
{
    struct interrupt extint = {.type = ENTRY_LOCAL_INTERRUPT,
                               .kind = INTERRUPT_EXTINT,
                               .flags = FLAGS_CONFORMING,
                               .bus = BUS_ISA,
                               .apic = 0,
                               .pin = 0};
    struct interrupt nmi = {.type = ENTRY_LOCAL_INTERRUPT,
                            .kind = INTERRUPT_NMI,
                            .flags = FLAGS_CONFORMING,
                            .bus = BUS_ISA,
                            .apic = 0xff,
                            .pin = 1};
    append(table, &extint, sizeof(extint));
    append(table, &nmi, sizeof(nmi));
}

static void finish_header(struct builder *table)
{
    struct table_header header = {.signature = {'P', 'C', 'M', 'P'},
                                  .length = (uint16_t)table->len,
                                  .spec_rev = SPEC_REV,
                                  .oem = {'O', 'R', 'I', 'E', 'L', ' ', ' ', ' '},
                                  .product = {'M', 'I', 'C', 'R', 'O', 'V', 'M', ' ', ' ', ' ', ' ', ' '},
                                  .entries = table->entries,
                                  .local_apic = (uint32_t)LAYOUT_LOCAL_APIC};
    memcpy(table->bytes, &header, sizeof(header));
    header.checksum = checksum(table->bytes, table->len);
    memcpy(table->bytes, &header, sizeof(header));
}

int mptable_write(const struct ram *ram, unsigned cpus)
{
    struct builder table = {.len = sizeof(struct table_header)};
    struct io_apic io_apic = {.type = ENTRY_IO_APIC,
                              .id = (uint8_t)cpus,
                              .version = APIC_VERSION,
                              .flags = 1,
                              .address = (uint32_t)LAYOUT_IO_APIC};
    append_processors(&table, cpus);
    append_buses(&table);
    append(&table, &io_apic, sizeof(io_apic));
    append_interrupts(&table, io_apic.id);
    append_local_interrupts(&table);
    finish_header(&table);

    struct floating_pointer pointer = {.signature = {'_', 'M', 'P', '_'},
                                       .table = (uint32_t)(LAYOUT_MP_TABLE + sizeof(pointer)),
                                       .length = 1,
                                       .spec_rev = SPEC_REV};
    pointer.checksum = checksum(&pointer, sizeof(pointer));
    int err = ram_write(ram, LAYOUT_MP_TABLE, &pointer, sizeof(pointer));
    if (err == 0)
        err = ram_write(ram, LAYOUT_MP_TABLE + sizeof(pointer), table.bytes, table.len);
    return err;
}
