#include "microvm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/checked.h"
#include "microvm/cpu_state.h"
#include "microvm/mptable.h"
#include "microvm/vcpu.h"

#define KVM_DEVICE "/dev/kvm"

/* ---- stopping ---- */

bool vm_stopping(struct vm *vm)
{
    return atomic_load_explicit(&vm->stopping, memory_order_acquire);
}

void vm_stop(struct vm *vm, enum vm_outcome outcome, uint8_t status, const char *reason)
{
    pthread_mutex_lock(&vm->stop_lock);
    if (vm->result.outcome == VM_RUNNING) {
        vm->result = (struct vm_result){.outcome = outcome, .status = status};
        if (reason != NULL)
            vm_fail(&vm->result.reason, 0, "%s", reason);
        atomic_store_explicit(&vm->stopping, true, memory_order_release);
        eventfd_write(vm->stop_fd, 1);
    }
    pthread_mutex_unlock(&vm->stop_lock);
}

static void on_reset(void *opaque)
{
    vm_stop(opaque, VM_RESET, 0, NULL);
}

static void on_exit_status(void *opaque, uint8_t status)
{
    vm_stop(opaque, VM_EXITED, status, NULL);
}

static void on_input_ready(void *opaque)
{
    struct vm *vm = opaque;
    serial_open_input(&vm->serial);
}

void vm_warn(struct vm *vm, const char *format, ...)
{
    struct vm_error line;
    va_list args;
    va_start(args, format);
    vsnprintf(line.text, sizeof(line.text), format, args);
    va_end(args);
    if (vm->options.warn != NULL)
        vm->options.warn(vm->options.opaque, line.text);
}

/* ---- console ---- */

static void on_serial_output(void *opaque, const uint8_t *data, size_t len)
{
    struct vm *vm = opaque;
    vm->options.console_output(vm->options.opaque, data, len);
}

static void on_serial_interrupt(void *opaque, bool level)
{
    struct vm *vm = opaque;
    irq_set_line(&vm->irqs, LAYOUT_IRQ_SERIAL, level);
}

static void on_serial_ready(void *opaque)
{
    struct vm *vm = opaque;
    vm->options.console_ready(vm->options.opaque);
}

/* ---- making ---- */

static int open_kvm(struct vm *vm, struct vm_error *error)
{
    vm->kvm_fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
    if (vm->kvm_fd < 0 && errno == ENOENT)
        return vm_fail(error, -ENOENT,
                       "there is no " KVM_DEVICE
                       ": load the kvm module, or use a machine with virtualization");
    if (vm->kvm_fd < 0 && errno == EACCES)
        return vm_fail(error, -EACCES, "no access to " KVM_DEVICE ": join the group kvm, or run as root");
    if (vm->kvm_fd < 0)
        return vm_fail(error, -errno, "cannot open " KVM_DEVICE ": %s", strerror(errno));
    if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return vm_fail(error, -ENOTSUP, KVM_DEVICE " speaks another version than %d", KVM_API_VERSION);
    return 0;
}

static int require_capabilities(struct vm *vm, struct vm_error *error)
{
    static const struct {
        int number;
        const char *name;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "user memory"},
        {KVM_CAP_IRQCHIP, "interrupt controllers"},
        {KVM_CAP_PIT2, "timer"},
        {KVM_CAP_IRQFD, "irqfd"},
        {KVM_CAP_IRQ_ROUTING, "irq routing"},
        {KVM_CAP_IOEVENTFD, "ioeventfd"},
        {KVM_CAP_SYNC_MMU, "mmu notifiers"},
        {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
        {KVM_CAP_VCPU_EVENTS, "vcpu events"},
    };
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, needed[i].number) <= 0)
            return vm_fail(error, -ENOTSUP, "this host's KVM lacks what is needed: %s", needed[i].name);
    }
    int cpus = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    if (cpus > 0 && vm->options.cpus > (unsigned)cpus)
        return vm_fail(error, -EINVAL, "this host's KVM gives a guest %d processors at most", cpus);
    return 0;
}

static int create_machine(struct vm *vm, struct vm_error *error)
{
    uint64_t identity_map = LAYOUT_KVM_IDENTITY_MAP;
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
    if (vm->fd < 0)
        return vm_fail(error, -errno, "KVM gives no virtual machine: %s", strerror(errno));
    if (ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_KVM_TSS) != 0 ||
        ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) != 0)
        return vm_fail(error, -errno, "KVM refuses its place in guest memory: %s", strerror(errno));
    if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) != 0 || ioctl(vm->fd, KVM_CREATE_PIT2, &pit) != 0)
        return vm_fail(error, -errno, "KVM gives no interrupt controllers: %s", strerror(errno));
    return 0;
}

static int add_memory_slot(struct vm *vm, uint64_t gpa, uint64_t len, void *host)
{
    struct kvm_userspace_memory_region region = {.slot = vm->slot_count,
                                                 .guest_phys_addr = gpa,
                                                 .memory_size = len,
                                                 .userspace_addr = (uintptr_t)host};
    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) != 0)
        return -errno;
    vm->slot_count++;
    return 0;
}

static int create_ram(struct vm *vm, struct vm_error *error)
{
    int err = ram_create(vm->options.ram_size, &vm->ram, error);
    for (size_t i = 0; err == 0 && i < vm->ram.region_count; i++) {
        const struct ram_region *region = &vm->ram.regions[i];
        err = add_memory_slot(vm, region->gpa, region->len, region->host);
        if (err != 0)
            vm_fail(error, err, "KVM refuses the guest memory: %s", strerror(-err));
    }
    return err;
}

static void create_devices(struct vm *vm)
{
    struct serial_options serial = {
        .output = on_serial_output, .interrupt = on_serial_interrupt, .ready = on_serial_ready, .opaque = vm};
    struct machine_events events = {
        .reset = on_reset, .exit_status = on_exit_status, .input_ready = on_input_ready, .opaque = vm};
    vm->address_bits = cpu_address_bits(vm->cpuid);
    serial_init(&vm->serial, &serial);
    port_bus_add(&vm->ports, LAYOUT_PORT_SERIAL, SERIAL_PORTS, &serial_port_ops, &vm->serial);
    legacy_ports_add(&vm->legacy, &events, &vm->ports);
    pci_bus_init(&vm->pci, ram_end(&vm->ram), vm->address_bits);
    port_bus_add(&vm->ports, LAYOUT_PORT_PCI, PCI_BUS_PORTS, &pci_bus_port_ops, &vm->pci);
}

static int create_cpus(struct vm *vm, struct vm_error *error)
{
    for (unsigned i = 0; i < vm->options.cpus; i++) {
        vm->cpu_count = i + 1; /* vcpu_destroy() takes a half-made one */
        int err = vcpu_create(vm, i, error);
        if (err != 0)
            return err;
    }
    return 0;
}

static int create_parts(struct vm *vm, struct vm_error *error)
{
    int err = open_kvm(vm, error);
    if (err == 0)
        err = require_capabilities(vm, error);
    if (err == 0)
        err = create_machine(vm, error);
    if (err == 0)
        err = cpu_supported_cpuid(vm->kvm_fd, &vm->cpuid, error);
    if (err == 0)
        err = irq_router_init(&vm->irqs, vm->fd, error);
    if (err == 0)
        err = create_ram(vm, error);
    if (err == 0)
        err = create_cpus(vm, error);
    if (err == 0)
        create_devices(vm);
    return err;
}

int vm_create(const struct vm_options *options, struct vm *vm, struct vm_error *error)
{
    *vm = (struct vm){.options = *options, .kvm_fd = -1, .fd = -1, .ram.fd = -1};
    pthread_mutex_init(&vm->stop_lock, NULL);
    vm->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int err = vm->stop_fd < 0 ? vm_fail(error, -errno, "cannot create an eventfd: %s", strerror(errno))
                              : create_parts(vm, error);
    if (err != 0)
        vm_destroy(vm);
    return err;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void vm_destroy(struct vm *vm)
{
    for (unsigned i = 0; i < vm->cpu_count; i++)
        vcpu_destroy(&vm->cpus[i]);
    close_fd(&vm->fd);
    close_fd(&vm->kvm_fd);
    close_fd(&vm->stop_fd);
    ram_destroy(&vm->ram);
    free(vm->cpuid);
    vm->cpuid = NULL;
    vm->cpu_count = 0;
}

int vm_add_window(struct vm *vm, const struct vm_window *window, struct vm_error *error)
{
    if (vm->window_count == VM_WINDOWS_MAX)
        return vm_fail(error, -ENOSPC, "at most %d windows are possible", VM_WINDOWS_MAX);
    int err = add_memory_slot(vm, window->gpa, window->len, window->host);
    if (err != 0)
        return vm_fail(error, err, "KVM refuses a window of %llu MiB: %s",
                       (unsigned long long)(window->len / LAYOUT_MIB), strerror(-err));
    vm->windows[vm->window_count++] = *window;
    return 0;
}

/* ---- running ---- */

int vm_load(struct vm *vm, const struct kernel_image *kernel, const struct boot_payload *payload,
            struct vm_error *error)
{
    struct boot_entry entry;
    int err = kernel_image_load(kernel, &vm->ram, payload, &entry, error);
    if (err != 0)
        return err;
    err = mptable_write(&vm->ram, vm->cpu_count);
    if (err == 0)
        err = cpu_write_boot_tables(&vm->ram);
    if (err != 0)
        return vm_fail(error, err, "cannot write the boot tables: %s", strerror(-err));
    return cpu_set_boot_state(vm->cpus[0].fd, &entry, error);
}

int vm_start(struct vm *vm, struct vm_error *error)
{
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        int err = vcpu_start(&vm->cpus[i], error);
        if (err != 0) {
            vm_stop(vm, VM_FAILED, 0, error->text);
            vm_join(vm);
            return err;
        }
    }
    return 0;
}

void vm_watch(struct vm *vm)
{
    for (unsigned i = 0; vm->window_count > 0 && i < vm->cpu_count; i++) {
        if (vcpu_watch_is_suspect(&vm->cpus[i].watch))
            vcpu_look(&vm->cpus[i]);
    }
}

const struct vm_result *vm_join(struct vm *vm)
{
    for (unsigned i = 0; i < vm->cpu_count; i++)
        vcpu_join(&vm->cpus[i]);
    serial_flush(&vm->serial);
    return &vm->result;
}

uint64_t vm_exits(struct vm *vm)
{
    uint64_t exits = 0;
    for (unsigned i = 0; i < vm->cpu_count; i++)
        exits += atomic_load_explicit(&vm->cpus[i].exits, memory_order_relaxed);
    return exits;
}
