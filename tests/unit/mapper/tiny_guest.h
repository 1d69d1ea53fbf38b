/*
 * A guest of three instructions on /dev/kvm, in 64-bit user mode (CPL 3, IOPL 3) entered through the registers alone:
 * such code runs natively and is re-executed after a fault even where KVM has no hardware help. One memory slot is
 * its code and page tables, another the DAX window.
 */
#ifndef TINY_GUEST_H
#define TINY_GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_RAM    (UINT64_C(2) << 20)
#define GUEST_WINDOW (UINT64_C(1) << 30) /* guest-physical and, mapped one to one, guest-virtual */

#define GUEST_LOAD  0x1000
#define GUEST_STORE 0x1100
#define GUEST_CALL  0x1200
#define GUEST_SPIN  0x1300 /* loads from [rbx] rcx times */
#define GUEST_WALK  0x1400 /* loads from rcx places, rdx bytes apart */

struct tiny_guest {
    int kvm, vm, vcpu;
    uint8_t *ram;
    struct kvm_run *run;
    size_t run_size;
};

static inline void guest_write(struct tiny_guest *g, uint64_t at, const void *bytes, size_t len)
{
    memcpy(g->ram + at, bytes, len);
}

/* One to one: 2 MiB of RAM, and the window as 2 MiB pages of one GiB (or several) from GUEST_WINDOW on. */
static inline void guest_page_tables(struct tiny_guest *g, uint64_t window_len)
{
    const uint64_t table = 7, large = 0x87; /* present, writable, user */
    uint64_t *pml4 = (uint64_t *)(void *)(g->ram + 0x10000), *pdpt = (uint64_t *)(void *)(g->ram + 0x11000);
    pml4[0] = 0x11000 | table;
    pdpt[0] = 0x12000 | table;
    ((uint64_t *)(void *)(g->ram + 0x12000))[0] = large;
    for (uint64_t i = 0; i < window_len >> 21; i++) {
        uint64_t gib = i >> 9;
        pdpt[1 + gib] = (0x20000 + (gib << 12)) | table;
        ((uint64_t *)(void *)(g->ram + 0x20000 + (gib << 12)))[i & 511] = (GUEST_WINDOW + (i << 21)) | large;
    }
}

static inline struct kvm_segment guest_segment(bool code)
{
    return (struct kvm_segment){.limit = 0xffffffff,
                                .selector = code ? 0x33 : 0x2b,
                                .type = code ? 11 : 3,
                                .present = 1,
                                .dpl = 3,
                                .db = !code,
                                .s = 1,
                                .l = code,
                                .g = 1};
}

/* Without it the processor has no long mode, and the registers that turn it on are refused (AMD). */
static inline int guest_all_cpuid(struct tiny_guest *g)
{
    enum { ENTRIES = 256 };
    struct kvm_cpuid2 *all = calloc(1, sizeof(*all) + ENTRIES * sizeof(all->entries[0]));
    if (all == NULL)
        return -ENOMEM;
    all->nent = ENTRIES;
    int err = ioctl(g->kvm, KVM_GET_SUPPORTED_CPUID, all) == 0 && ioctl(g->vcpu, KVM_SET_CPUID2, all) == 0
                  ? 0
                  : -errno;
    free(all);
    return err;
}

static inline int guest_enter_user_mode(struct tiny_guest *g)
{
    struct kvm_sregs s;
    if (ioctl(g->vcpu, KVM_GET_SREGS, &s) != 0)
        return -errno;
    s.cr3 = 0x10000;
    s.cr4 = 0x20;       /* PAE */
    s.cr0 = 0x80000011; /* PG, ET, PE */
    s.efer = 0x500;     /* LMA, LME */
    s.cs = guest_segment(true);
    s.ds = s.es = s.fs = s.gs = s.ss = guest_segment(false);
    return ioctl(g->vcpu, KVM_SET_SREGS, &s) == 0 ? 0 : -errno;
}

static inline int guest_slot(struct tiny_guest *g, uint32_t slot, uint64_t gpa, uint64_t len, void *host)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot, .guest_phys_addr = gpa, .memory_size = len, .userspace_addr = (uintptr_t)host};
    return ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0 ? 0 : -errno;
}

/* window may be NULL: then the caller makes its own memory slots, from number 1 on. */
static inline int guest_open(struct tiny_guest *g, void *window, uint64_t window_len)
{
    static const uint8_t load[] = {0x48, 0x8b, 0x03, 0xe6, 0x10};  /* mov rax, [rbx]; out 0x10, al */
    static const uint8_t store[] = {0x48, 0x89, 0x03, 0xe6, 0x10}; /* mov [rbx], rax; out */
    static const uint8_t call[] = {0xff, 0xd3, 0xe6, 0x10};        /* call rbx; out */
    static const uint8_t spin[] = {0x48, 0x8b, 0x03, 0x48, 0xff, 0xc9, 0x75, 0xf8, 0xe6, 0x10};
    static const uint8_t walk[] = {0x48, 0x8b, 0x03, 0x48, 0x01, 0xd3, 0x48,
                                   0xff, 0xc9, 0x75, 0xf5, 0xe6, 0x10};
    int err;
    *g = (struct tiny_guest){.kvm = -1, .vm = -1, .vcpu = -1};
    g->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (g->kvm < 0)
        return -errno;
    g->vm = ioctl(g->kvm, KVM_CREATE_VM, 0);
    if (g->vm < 0)
        return -errno;
    g->ram = mmap(NULL, GUEST_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->ram == MAP_FAILED)
        return -ENOMEM;
    guest_write(g, GUEST_LOAD, load, sizeof(load));
    guest_write(g, GUEST_STORE, store, sizeof(store));
    guest_write(g, GUEST_CALL, call, sizeof(call));
    guest_write(g, GUEST_SPIN, spin, sizeof(spin));
    guest_write(g, GUEST_WALK, walk, sizeof(walk));
    guest_page_tables(g, window_len);
    err = guest_slot(g, 0, 0, GUEST_RAM, g->ram);
    if (err == 0 && window != NULL)
        err = guest_slot(g, 1, GUEST_WINDOW, window_len, window);
    if (err != 0)
        return err;
    g->vcpu = ioctl(g->vm, KVM_CREATE_VCPU, 0);
    g->run_size = (size_t)ioctl(g->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (g->vcpu < 0)
        return -errno;
    g->run = mmap(NULL, g->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu, 0);
    if (g->run == MAP_FAILED)
        return -ENOMEM;
    err = guest_all_cpuid(g);
    return err != 0 ? err : guest_enter_user_mode(g);
}

static inline void guest_close(struct tiny_guest *g)
{
    if (g->run != NULL && g->run != MAP_FAILED)
        munmap(g->run, g->run_size);
    if (g->ram != NULL && g->ram != MAP_FAILED)
        munmap(g->ram, GUEST_RAM);
    if (g->vcpu >= 0)
        close(g->vcpu);
    if (g->vm >= 0)
        close(g->vm);
    if (g->kvm >= 0)
        close(g->kvm);
}

/* Puts the registers in place; guest_run() then runs up to the `out`. */
static inline void guest_set(struct tiny_guest *g, uint64_t code, uint64_t address, uint64_t value,
                             uint64_t count, uint64_t step)
{
    struct kvm_regs r = {.rip = code,
                         .rax = value,
                         .rbx = address,
                         .rcx = count,
                         .rdx = step,
                         .rsp = 0x8000,
                         .rflags = 0x3002}; /* IOPL 3 */
    ioctl(g->vcpu, KVM_SET_REGS, &r);
}

/* 0 with rax in *value, -EFAULT as KVM says it, or -EIO for any other exit. */
static inline int guest_run(struct tiny_guest *g, uint64_t *value)
{
    struct kvm_regs r;
    while (ioctl(g->vcpu, KVM_RUN, 0) != 0) {
        if (errno != EINTR)
            return -errno;
    }
    if (g->run->exit_reason != KVM_EXIT_IO || ioctl(g->vcpu, KVM_GET_REGS, &r) != 0)
        return -EIO;
    *value = r.rax;
    return 0;
}

static inline int guest_access(struct tiny_guest *g, uint64_t code, uint64_t address, uint64_t *value)
{
    guest_set(g, code, address, *value, 1, 0);
    return guest_run(g, value);
}

#endif
