#include "microvm/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "microvm/cpu_state.h"

#define KICK_SIGNAL      SIGRTMIN
#define KICK_INTERVAL_NS 10000000

int vcpu_create(struct vm *vm, unsigned index, struct vm_error *error)
{
    struct vcpu *cpu = &vm->cpus[index];
    *cpu = (struct vcpu){.vm = vm, .index = index, .fd = -1, .watch.fd = -1};
    int run_len = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    cpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (run_len < (int)sizeof(struct kvm_run) || cpu->fd < 0)
        return vm_fail(error, -errno, "KVM gives no virtual processor %u: %s", index, strerror(errno));
    void *run = mmap(NULL, (size_t)run_len, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (run == MAP_FAILED)
        return vm_fail(error, -errno, "cannot map virtual processor %u: %s", index, strerror(errno));
    cpu->run = run;
    cpu->run_len = (size_t)run_len;
    vcpu_watch_init(&cpu->watch, cpu->fd);
    cpu_personalize_cpuid(vm->cpuid, index, vm->options.cpus);
    if (ioctl(cpu->fd, KVM_SET_CPUID2, vm->cpuid) != 0)
        return vm_fail(error, -errno, "KVM refuses the processor features: %s", strerror(errno));
    return cpu_set_common_state(cpu->fd, error);
}

void vcpu_destroy(struct vcpu *cpu)
{
    vcpu_watch_destroy(&cpu->watch);
    if (cpu->run != NULL)
        munmap(cpu->run, cpu->run_len);
    if (cpu->fd >= 0)
        close(cpu->fd);
    cpu->run = NULL;
    cpu->fd = -1;
}

/* ---- exits ---- */

static void serve_port(struct vcpu *cpu)
{
    struct kvm_run *run = cpu->run;
    struct port_bus *ports = &cpu->vm->ports;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        uint32_t value = 0;
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            memcpy(&value, data, run->io.size);
            port_bus_write(ports, run->io.port, run->io.size, value);
        } else {
            value = port_bus_read(ports, run->io.port, run->io.size);
            memcpy(data, &value, run->io.size);
        }
    }
}

static void serve_mmio(struct vcpu *cpu)
{
    struct kvm_run *run = cpu->run;
    if (run->mmio.is_write)
        pci_bus_mmio_write(&cpu->vm->pci, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
    else
        pci_bus_mmio_read(&cpu->vm->pci, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

static void fail(struct vcpu *cpu, const char *what)
{
    struct kvm_regs regs = {0};
    struct vm_error line;
    ioctl(cpu->fd, KVM_GET_REGS, &regs);
    vm_fail(&line, 0, "%s (processor %u, RIP %#llx)", what, cpu->index, (unsigned long long)regs.rip);
    vm_stop(cpu->vm, VM_FAILED, 0, line.text);
}

static void fail_number(struct vcpu *cpu, const char *what, unsigned long long number)
{
    struct vm_error line;
    vm_fail(&line, 0, "%s %#llx", what, number);
    fail(cpu, line.text);
}

static void serve_exit(struct vcpu *cpu)
{
    struct kvm_run *run = cpu->run;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        serve_port(cpu);
        break;
    case KVM_EXIT_MMIO:
        serve_mmio(cpu);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        break;
    case KVM_EXIT_SHUTDOWN:
        fail(cpu, "the guest stopped: triple fault");
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        fail_number(cpu, "the guest stopped: the hypervisor cannot run its code, suberror",
                    run->internal.suberror);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        fail_number(cpu, "the guest stopped: the processor refuses its state, reason",
                    run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        vm_stop(cpu->vm, VM_RESET, 0, NULL);
        break;
    default:
        fail_number(cpu, "the guest stopped: unknown exit", run->exit_reason);
        break;
    }
}

static void serve_error(struct vcpu *cpu, int err)
{
    if (err == EINTR || err == EAGAIN) {
        if (atomic_exchange_explicit(&cpu->look, false, memory_order_acquire))
            vcpu_look_at_fault(cpu);
        return;
    }
    if (err == EFAULT) {
        vcpu_resolve_fault(cpu);
        return;
    }
    struct vm_error line;
    vm_fail(&line, 0, "the guest stopped: the hypervisor says: %s", strerror(err));
    fail(cpu, line.text);
}

static void *run_thread(void *opaque)
{
    struct vcpu *cpu = opaque;
    while (!vm_stopping(cpu->vm)) {
        int ret = ioctl(cpu->fd, KVM_RUN, 0);
        atomic_store_explicit(&cpu->exits, atomic_load_explicit(&cpu->exits, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        if (ret == 0)
            serve_exit(cpu);
        else
            serve_error(cpu, errno);
    }
    return NULL;
}

/* ---- thread ---- */

static void on_kick(int signal)
{
    (void)signal;
}

static void unblock_kick(void)
{
    /* Without SA_RESTART: a blocked write to the console ends as well. */
    struct sigaction action = {.sa_handler = on_kick};
    sigset_t kick;
    sigaction(KICK_SIGNAL, &action, NULL);
    sigemptyset(&kick);
    sigaddset(&kick, KICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
}

static void *thread_entry(void *opaque)
{
    struct vcpu *cpu = opaque;
    char name[16];
    snprintf(name, sizeof(name), "vcpu %u", cpu->index);
    pthread_setname_np(pthread_self(), name);
    unblock_kick();
    return run_thread(cpu);
}

int vcpu_start(struct vcpu *cpu, struct vm_error *error)
{
    int err = pthread_create(&cpu->thread, NULL, thread_entry, cpu);
    if (err != 0)
        return vm_fail(error, -err, "cannot start a thread: %s", strerror(err));
    cpu->started = true;
    return 0;
}

void vcpu_look(struct vcpu *cpu)
{
    /* A kick that comes while the thread is not in the guest is lost; there will be another. */
    atomic_store_explicit(&cpu->look, true, memory_order_release);
    pthread_kill(cpu->thread, KICK_SIGNAL);
}

static void deadline_after(struct timespec *deadline, long ns)
{
    clock_gettime(CLOCK_REALTIME, deadline);
    deadline->tv_nsec += ns;
    if (deadline->tv_nsec >= 1000000000) {
        deadline->tv_nsec -= 1000000000;
        deadline->tv_sec++;
    }
}

void vcpu_join(struct vcpu *cpu)
{
    if (!cpu->started)
        return;
    cpu->run->immediate_exit = 1;
    /* A kick that lands just before a blocking call is lost, hence again and again. */
    struct timespec deadline;
    do {
        pthread_kill(cpu->thread, KICK_SIGNAL);
        deadline_after(&deadline, KICK_INTERVAL_NS);
    } while (pthread_timedjoin_np(cpu->thread, NULL, &deadline) == ETIMEDOUT);
    cpu->started = false;
}
