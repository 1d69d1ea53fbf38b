#include "microvm/cpu_state.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "microvm/layout.h"

/* ---- CPUID ---- */

#define CPUID_ENTRIES            256
#define CPUID_1_ECX_TSC_DEADLINE (UINT32_C(1) << 24)
#define CPUID_1_ECX_HYPERVISOR   (UINT32_C(1) << 31)
#define CPUID_1_EDX_HTT          (UINT32_C(1) << 28)

static void add_tsc_deadline(struct kvm_cpuid2 *cpuid)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        if (cpuid->entries[i].function == 1)
            cpuid->entries[i].ecx |= CPUID_1_ECX_TSC_DEADLINE;
    }
}

int cpu_supported_cpuid(int kvm_fd, struct kvm_cpuid2 **out, struct vm_error *error)
{
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
    if (cpuid == NULL)
        return vm_fail(error, -ENOMEM, "out of memory");
    cpuid->nent = CPUID_ENTRIES;
    if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) != 0) {
        int err = -errno;
        free(cpuid);
        return vm_fail(error, err, "KVM does not tell which processor features it has: %s", strerror(-err));
    }
    /* The in-kernel APIC has this timer; the list of supported features leaves it to us to say so. */
    if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
        add_tsc_deadline(cpuid);
    *out = cpuid;
    return 0;
}

unsigned cpu_address_bits(const struct kvm_cpuid2 *cpuid)
{
    unsigned bits = 36;
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
        if (entry->function != 0x80000008)
            continue;
        unsigned physical = entry->eax & 0xff, guest = entry->eax >> 16 & 0xff;
        bits = guest != 0 && guest < physical ? guest : physical;
    }
    return (unsigned)max_u64(36, min_u64(52, bits));
}

/* Bits that a number below n needs. */
static unsigned width_below(unsigned n)
{
    unsigned width = 0;
    while (1U << width < n)
        width++;
    return width;
}

static void personalize_topology(struct kvm_cpuid_entry2 *entry, unsigned index, unsigned cpus)
{
    enum { LEVEL_NONE = 0, LEVEL_THREAD = 1, LEVEL_CORE = 2 };
    entry->edx = index; /* x2APIC id */
    switch (entry->index) {
    case 0:
        entry->eax = 0;
        entry->ebx = 1;
        entry->ecx = LEVEL_THREAD << 8;
        break;
    case 1:
        entry->eax = width_below(cpus);
        entry->ebx = cpus;
        entry->ecx = 1 | LEVEL_CORE << 8;
        break;
    default:
        entry->eax = 0;
        entry->ebx = 0;
        entry->ecx = entry->index | LEVEL_NONE << 8;
        break;
    }
}

static void personalize_entry(struct kvm_cpuid_entry2 *entry, unsigned index, unsigned cpus)
{
    switch (entry->function) {
    case 0x1: /* APIC id, processors in the package, hyperthreading flag, hypervisor flag */
        entry->ebx = (entry->ebx & 0x0000ffff) | index << 24 | cpus << 16;
        entry->ecx |= CPUID_1_ECX_HYPERVISOR;
        if (cpus > 1)
            entry->edx |= CPUID_1_EDX_HTT;
        break;
    case 0x4: /* cores in the package; each cache belongs to one processor */
        if ((entry->eax & 0x1f) != 0)
            entry->eax = (entry->eax & 0x00003fff) | ((1U << width_below(cpus)) - 1) << 26;
        break;
    case 0xb:
    case 0x1f:
        personalize_topology(entry, index, cpus);
        break;
    case 0x80000008: /* cores in the package, width of the core id */
        entry->ecx = (entry->ecx & ~UINT32_C(0xf0ff)) | (cpus - 1) | width_below(cpus) << 12;
        break;
    case 0x8000001e: /* extended APIC id, core id, one node */
        entry->eax = index;
        entry->ebx = index;
        entry->ecx = 0;
        break;
    case KVM_CPUID_FEATURES:
        /*
         * A guest that takes asynchronous page faults is told "the page is coming" for a page that never
         * comes (past the end of a file that the host truncated) and puts the task to sleep, again and again.
         * Without them the processor stays at the instruction, where vcpu_watch.h finds it.
         */
        entry->eax &= ~(UINT32_C(1) << KVM_FEATURE_ASYNC_PF | UINT32_C(1) << KVM_FEATURE_ASYNC_PF_VMEXIT |
                        UINT32_C(1) << KVM_FEATURE_ASYNC_PF_INT);
        break;
    default:
        break;
    }
}

void cpu_personalize_cpuid(struct kvm_cpuid2 *cpuid, unsigned index, unsigned cpus)
{
    for (uint32_t i = 0; i < cpuid->nent; i++)
        personalize_entry(&cpuid->entries[i], index, cpus);
}

/* ---- tables in RAM ---- */

#define PAGE_PRESENT UINT64_C(0x01)
#define PAGE_WRITE   UINT64_C(0x02)
#define PAGE_LARGE   UINT64_C(0x80)
#define PAGE_ENTRIES 512

static const uint64_t boot_gdt[] = {
    0, 0, UINT64_C(0x00af9b000000ffff), /* 0x10: __BOOT_CS, 64-bit code */
    UINT64_C(0x00cf93000000ffff),       /* 0x18: __BOOT_DS, flat data */
};

/* The first 4 GiB mapped onto themselves with 2 MiB pages. */
static int write_page_tables(const struct ram *ram)
{
    uint64_t(*tables)[PAGE_ENTRIES] = ram_at(ram, LAYOUT_PAGE_TABLES, 6 * sizeof(*tables));
    if (tables == NULL)
        return -EFAULT;
    memset(tables, 0, 6 * sizeof(*tables));
    tables[0][0] = (LAYOUT_PAGE_TABLES + 4096) | PAGE_PRESENT | PAGE_WRITE;
    for (uint64_t i = 0; i < 4; i++)
        tables[1][i] = (LAYOUT_PAGE_TABLES + (2 + i) * 4096) | PAGE_PRESENT | PAGE_WRITE;
    for (uint64_t i = 0; i < 4 * (uint64_t)PAGE_ENTRIES; i++)
        tables[2 + i / PAGE_ENTRIES][i % PAGE_ENTRIES] = i << 21 | PAGE_PRESENT | PAGE_WRITE | PAGE_LARGE;
    return 0;
}

int cpu_write_boot_tables(const struct ram *ram)
{
    int err = ram_write(ram, LAYOUT_GDT, boot_gdt, sizeof(boot_gdt));
    return err != 0 ? err : write_page_tables(ram);
}

/* ---- registers ---- */

#define CR0_PE   UINT64_C(0x00000001)
#define CR0_ET   UINT64_C(0x00000010)
#define CR0_NE   UINT64_C(0x00000020)
#define CR0_PG   UINT64_C(0x80000000)
#define CR4_PAE  UINT64_C(0x20)
#define EFER_LME UINT64_C(0x100)
#define EFER_LMA UINT64_C(0x400)

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18
#define SELECTOR_TASK 0x20

static void set_segments(struct kvm_sregs *sregs, bool long_mode)
{
    struct kvm_segment code = {.limit = UINT32_MAX,
                               .selector = SELECTOR_CODE,
                               .type = 0xb, /* execute, read, accessed */
                               .present = 1,
                               .s = 1,
                               .l = long_mode,
                               .db = !long_mode,
                               .g = 1};
    struct kvm_segment data = code;
    data.selector = SELECTOR_DATA;
    data.type = 0x3; /* read, write, accessed */
    data.l = 0;
    data.db = 1;
    sregs->cs = code;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->tr = (struct kvm_segment){.limit = 0x67, .selector = SELECTOR_TASK, .type = 0xb, .present = 1};
    sregs->gdt = (struct kvm_dtable){.base = LAYOUT_GDT, .limit = sizeof(boot_gdt) - 1};
    sregs->idt = (struct kvm_dtable){0};
}

static void set_control_registers(struct kvm_sregs *sregs, bool long_mode)
{
    sregs->cr0 = CR0_PE | CR0_ET;
    sregs->cr4 = 0;
    sregs->efer = 0;
    if (!long_mode)
        return;
    sregs->cr0 |= CR0_NE | CR0_PG;
    sregs->cr3 = LAYOUT_PAGE_TABLES;
    sregs->cr4 = CR4_PAE;
    sregs->efer = EFER_LME | EFER_LMA;
}

int cpu_set_boot_state(int vcpu_fd, const struct boot_entry *entry, struct vm_error *error)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {
        .rip = entry->rip, .rflags = 0x2, .rsp = LAYOUT_BOOT_STACK, .rbp = LAYOUT_BOOT_STACK};
    bool long_mode = entry->kind == KERNEL_BZIMAGE;
    if (long_mode)
        regs.rsi = entry->info;
    else
        regs.rbx = entry->info;
    if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) != 0)
        return vm_fail(error, -errno, "cannot read processor registers: %s", strerror(errno));
    set_segments(&sregs, long_mode);
    set_control_registers(&sregs, long_mode);
    if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) != 0 || ioctl(vcpu_fd, KVM_SET_REGS, &regs) != 0)
        return vm_fail(error, -errno, "cannot set processor registers: %s", strerror(errno));
    return 0;
}

#define APIC_LVT_LINT0   0x350
#define APIC_LVT_LINT1   0x360
#define APIC_MODE_MASK   UINT32_C(0x700)
#define APIC_MODE_NMI    UINT32_C(0x400)
#define APIC_MODE_EXTINT UINT32_C(0x700)

#define MSR_MISC_ENABLE    0x1a0
#define MISC_FAST_STRING   UINT64_C(0x1)
#define MSR_MTRR_DEFAULT   0x2ff
#define MTRR_ON_WRITE_BACK UINT64_C(0x806)

static void set_local_vector(struct kvm_lapic_state *apic, unsigned reg, uint32_t mode)
{
    uint32_t value;
    memcpy(&value, apic->regs + reg, sizeof(value));
    value = (value & ~APIC_MODE_MASK) | mode;
    memcpy(apic->regs + reg, &value, sizeof(value));
}

struct one_msr {
    struct kvm_msrs head;
    struct kvm_msr_entry entry;
};

static void set_msr_bits(int vcpu_fd, uint32_t index, uint64_t bits)
{
    struct one_msr msr = {.head = {.nmsrs = 1}, .entry = {.index = index}};
    /* A processor model without the register refuses it, and does not need it either. */
    if (ioctl(vcpu_fd, KVM_GET_MSRS, &msr) != 1)
        return;
    msr.entry.data |= bits;
    ioctl(vcpu_fd, KVM_SET_MSRS, &msr);
}

int cpu_set_common_state(int vcpu_fd, struct vm_error *error)
{
    struct kvm_lapic_state apic;
    if (ioctl(vcpu_fd, KVM_GET_LAPIC, &apic) != 0)
        return vm_fail(error, -errno, "cannot read the local APIC: %s", strerror(errno));
    set_local_vector(&apic, APIC_LVT_LINT0, APIC_MODE_EXTINT);
    set_local_vector(&apic, APIC_LVT_LINT1, APIC_MODE_NMI);
    if (ioctl(vcpu_fd, KVM_SET_LAPIC, &apic) != 0)
        return vm_fail(error, -errno, "cannot set the local APIC: %s", strerror(errno));
    set_msr_bits(vcpu_fd, MSR_MISC_ENABLE, MISC_FAST_STRING);
    set_msr_bits(vcpu_fd, MSR_MTRR_DEFAULT, MTRR_ON_WRITE_BACK);
    return 0;
}
