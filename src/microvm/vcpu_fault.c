/*
 * What happens when the host cannot give a page the guest touches (KVM_RUN fails with EFAULT and no address).
 *
 * Ordinary causes: a window slot that is not bound yet (after a restore, where userfaultfd is not permitted),
 * and a store to a slot bound for reading (a Linux guest has a race that does it). Both end with the window
 * binding the range, and the instruction runs again. What remains (past the end of a file that the host
 * truncated, no slot at all, a read-only share) becomes a general protection exception: user programs get
 * SIGSEGV, the kernel's copy routines an error. A machine check would be the nearer equivalent, but stock
 * kernels mark the page poisoned for ever or panic. The same fault at the same place is tried a bounded
 * number of times, so it never spins.
 *
 * Where KVM does not even return (vcpu_watch.h), the processor is interrupted and its place is judged in the
 * same way.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <oriel/dax.h>

#include "base/checked.h"
#include "microvm/access_address.h"
#include "microvm/page_walk.h"
#include "microvm/vcpu.h"

#define TRIES_MAX          16
#define TRIES_WITHOUT_SLOT 3
#define SAME_FAULT_NS      1000000000
#define VECTOR_GP          13
#define WARNINGS_MAX       10
#define PAGE_SIZE          UINT64_C(4096)

struct suspects {
    uint64_t gpa[ACCESS_ADDRESSES_MAX]; /* those inside a window */
    const struct vm_window *window[ACCESS_ADDRESSES_MAX];
    size_t count;
    uint64_t rip;
};

static const struct vm_window *window_at(const struct vm *vm, uint64_t gpa)
{
    for (size_t i = 0; i < vm->window_count; i++) {
        if (gpa >= vm->windows[i].gpa && gpa - vm->windows[i].gpa < vm->windows[i].len)
            return &vm->windows[i];
    }
    return NULL;
}

static const uint8_t *host_address(const struct vm *vm, uint64_t gpa)
{
    const struct vm_window *window = window_at(vm, gpa);
    if (window != NULL)
        return (const uint8_t *)window->host + (gpa - window->gpa);
    return ram_at(&vm->ram, gpa, 1);
}

/* The host's page may be missing, where a plain load raises SIGBUS: the system call says EFAULT instead. */
static size_t read_host(const uint8_t *host, void *to, size_t len)
{
    struct iovec local = {.iov_base = to, .iov_len = len};
    struct iovec remote = {.iov_base = (void *)(uintptr_t)host, .iov_len = len};
    ssize_t n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    return n > 0 ? (size_t)n : 0;
}

static size_t read_page_part(const struct vm *vm, const struct kvm_sregs *sregs, uint64_t linear, uint8_t *to,
                             size_t len)
{
    uint64_t gpa;
    if (!page_walk(&vm->ram, sregs, linear, &gpa))
        return 0;
    const uint8_t *host = host_address(vm, gpa);
    return host != NULL ? read_host(host, to, len) : 0;
}

static size_t read_code(const struct vm *vm, const struct kvm_sregs *sregs, uint64_t linear, uint8_t *code)
{
    size_t first = (size_t)min_u64(ACCESS_CODE_MAX, PAGE_SIZE - linear % PAGE_SIZE);
    size_t n = read_page_part(vm, sregs, linear, code, first);
    if (n == first && n < ACCESS_CODE_MAX)
        n += read_page_part(vm, sregs, linear + n, code + n, ACCESS_CODE_MAX - n);
    return n;
}

static bool find_suspects(struct vcpu *cpu, struct suspects *suspects)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    uint8_t code[ACCESS_CODE_MAX];
    uint64_t linear[ACCESS_ADDRESSES_MAX], gpa;
    *suspects = (struct suspects){0};
    if (ioctl(cpu->fd, KVM_GET_REGS, &regs) != 0 || ioctl(cpu->fd, KVM_GET_SREGS, &sregs) != 0)
        return false;
    suspects->rip = regs.rip;
    size_t len = read_code(cpu->vm, &sregs, regs.rip + (sregs.cs.l ? 0 : sregs.cs.base), code);
    size_t n = access_addresses(&regs, &sregs, code, len, linear);
    for (size_t i = 0; i < n; i++) {
        if (!page_walk(&cpu->vm->ram, &sregs, linear[i], &gpa))
            continue;
        const struct vm_window *window = window_at(cpu->vm, gpa);
        if (window == NULL)
            continue;
        suspects->gpa[suspects->count] = gpa;
        suspects->window[suspects->count++] = window;
    }
    return true;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* How often this very fault was met in a row. */
static unsigned count_try(struct vcpu *cpu, const struct suspects *suspects)
{
    struct vcpu_fault *fault = &cpu->fault;
    uint64_t gpa = suspects->count > 0 ? suspects->gpa[0] : 0;
    int64_t now = now_ns();
    bool same = fault->rip == suspects->rip && fault->gpa == gpa && now - fault->last_ns < SAME_FAULT_NS;
    *fault = (struct vcpu_fault){
        .rip = suspects->rip, .gpa = gpa, .tries = same ? fault->tries + 1 : 0, .last_ns = now};
    return fault->tries;
}

/* Whether it was a load or a store is not known: reading is tried first, and taken to its
 * end, then writing. */
static uint32_t access_of(unsigned try)
{
    if (try == 0)
        return ORIEL_DAX_READ;
    return (try % 2 == 1 ? ORIEL_DAX_READ : ORIEL_DAX_WRITE) | ORIEL_DAX_AGAIN;
}

/* True when the guest may run again. */
static bool bind_suspects(const struct suspects *suspects, unsigned try)
{
    uint32_t access = access_of(try);
    bool served = false, refused = false;
    for (size_t i = 0; i < suspects->count; i++) {
        int result = suspects->window[i]->fault(suspects->window[i]->opaque, suspects->gpa[i], access);
        served |= result == ORIEL_FAULT_RESUME;
        refused |= result != ORIEL_FAULT_RESUME;
    }
    /* One place that can't even be read is the cause; one that can't be written may be the source
     * of a copy. */
    return access & ORIEL_DAX_READ ? !refused : served;
}

static bool bind_everything(struct vm *vm)
{
    int64_t bound = 0;
    for (size_t i = 0; i < vm->window_count; i++)
        bound |= vm->windows[i].bind_all(vm->windows[i].opaque);
    return bound >= 0;
}

static void report(struct vcpu *cpu, const struct suspects *suspects)
{
    unsigned n = atomic_fetch_add(&cpu->vm->faults_injected, 1);
    if (n >= WARNINGS_MAX)
        return;
    const char *more = n == WARNINGS_MAX - 1 ? "; no further ones are reported" : "";
    if (suspects->count > 0)
        vm_warn(
            cpu->vm,
            "the guest touched window offset %#llx (processor %u, RIP %#llx), which shows no file data (file "
            "shorter now, nothing mapped, or read-only); it gets an exception%s",
            (unsigned long long)(suspects->gpa[0] - suspects->window[0]->gpa), cpu->index,
            (unsigned long long)suspects->rip, more);
    else
        vm_warn(cpu->vm,
                "the host has no page for the guest (processor %u, RIP %#llx); it gets an exception%s",
                cpu->index, (unsigned long long)suspects->rip, more);
}

static bool inject(struct vcpu *cpu, const struct suspects *suspects)
{
    struct kvm_vcpu_events events;
    int err = ioctl(cpu->fd, KVM_GET_VCPU_EVENTS, &events);
    if (err == 0 && events.exception.injected) {
        vm_stop(cpu->vm, VM_FAILED, 0, "the guest stopped: memory is missing where it handles an exception");
        return false;
    }
    events.exception.injected = 1;
    events.exception.nr = VECTOR_GP;
    events.exception.has_error_code = 1;
    events.exception.error_code = 0;
    if (err != 0 || ioctl(cpu->fd, KVM_SET_VCPU_EVENTS, &events) != 0) {
        vm_stop(cpu->vm, VM_FAILED, 0, "the guest stopped: the hypervisor takes no exception for it");
        return false;
    }
    report(cpu, suspects);
    return true;
}

bool vcpu_resolve_fault(struct vcpu *cpu)
{
    struct suspects suspects;
    if (!find_suspects(cpu, &suspects)) {
        vm_stop(cpu->vm, VM_FAILED, 0, "the guest stopped: the hypervisor does not tell its registers");
        return false;
    }
    unsigned try = count_try(cpu, &suspects);
    if (suspects.count > 0 && try < TRIES_MAX && bind_suspects(&suspects, try))
        return true;
    if (suspects.count == 0 && try < TRIES_WITHOUT_SLOT && bind_everything(cpu->vm))
        return true;
    return inject(cpu, &suspects);
}

/* Leaves only those places that the host cannot read. */
static void keep_missing(const struct vm *vm, struct suspects *suspects)
{
    size_t kept = 0;
    for (size_t i = 0; i < suspects->count; i++) {
        uint8_t byte;
        if (read_host(host_address(vm, suspects->gpa[i]), &byte, 1) == 1)
            continue;
        suspects->gpa[kept] = suspects->gpa[i];
        suspects->window[kept++] = suspects->window[i];
    }
    suspects->count = kept;
}

void vcpu_look_at_fault(struct vcpu *cpu)
{
    struct suspects suspects;
    if (!find_suspects(cpu, &suspects))
        return;
    keep_missing(cpu->vm, &suspects);
    if (suspects.count == 0)
        return;
    /* Standing here once may be chance (the instruction may only compute the address): the first try never
     * injects. */
    unsigned try = count_try(cpu, &suspects);
    if (!bind_suspects(&suspects, try) && try > 0)
        inject(cpu, &suspects);
}
