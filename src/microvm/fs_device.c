#include "microvm/fs_device.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <oriel/passthrough.h>

#include "base/checked.h"
#include "base/cleanup.h"

/* ---- doorbells: KVM watches a queue's doorbell while the queue runs and the control BAR answers ---- */

static int watch(struct fs_queue *queue, uint64_t address, bool on)
{
    struct kvm_ioeventfd doorbell = {.addr = address,
                                     .len = sizeof(uint16_t),
                                     .fd = queue->kick_fd,
                                     .flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN};
    return ioctl(queue->device->vm->fd, KVM_IOEVENTFD, &doorbell) != 0 ? -errno : 0;
}

static void update_doorbell(struct fs_queue *queue)
{
    struct fs_device *device = queue->device;
    uint64_t wanted = 0;
    if (queue->running && device->control_enabled)
        wanted = device->control_address + queue->doorbell_offset;
    if (wanted == queue->doorbell)
        return;
    if (queue->doorbell != 0)
        watch(queue, queue->doorbell, false);
    /* Refused (another device lies there): the write then comes as an exit and
     * rings through queue_kicked(). */
    queue->doorbell = wanted != 0 && watch(queue, wanted, true) == 0 ? wanted : 0;
}

static void on_queue_changed(void *opaque, uint16_t index, bool running)
{
    struct fs_device *device = opaque;
    pthread_mutex_lock(&device->lock);
    device->queues[index].running = running;
    update_doorbell(&device->queues[index]);
    pthread_mutex_unlock(&device->lock);
}

static void on_queue_kicked(void *opaque, uint16_t index)
{
    struct fs_device *device = opaque;
    eventfd_write(device->queues[index].kick_fd, 1);
}

/* ---- BARs ---- */

/*
 * The window stays where it was placed: its address is fixed in the DAX session and in every device's memory
 * map. A guest that moves the BAR finds nothing at the new place.
 */
static void check_window_place(struct fs_device *device, uint64_t address)
{
    if (address == device->window_gpa || device->warned)
        return;
    device->warned = true;
    vm_warn(
        device->vm,
        "the guest moved the DAX window from %#llx to %#llx, which is not possible: it finds nothing there",
        (unsigned long long)device->window_gpa, (unsigned long long)address);
}

static void on_bar_changed(void *opaque, unsigned bar, bool enabled, uint64_t address, uint64_t len)
{
    struct fs_device *device = opaque;
    pthread_mutex_lock(&device->lock);
    if (bar == ORIEL_VIRTIO_PCI_BAR_WINDOW && enabled)
        check_window_place(device, address);
    if (bar == ORIEL_VIRTIO_PCI_BAR_CONTROL) {
        device->control_enabled = enabled;
        device->control_address = address;
        for (uint16_t i = 0; i < device->queue_count; i++)
            update_doorbell(&device->queues[i]);
    }
    pthread_mutex_unlock(&device->lock);
    if (bar != ORIEL_VIRTIO_PCI_BAR_WINDOW)
        pci_bus_bar_changed(&device->vm->pci, device->slot, bar, enabled, address, len);
}

static uint32_t config_read(void *opaque, uint32_t offset, uint32_t size)
{
    struct fs_device *device = opaque;
    return oriel_virtio_pci_config_read(device->pci, offset, size);
}

static void config_write(void *opaque, uint32_t offset, uint32_t size, uint32_t value)
{
    struct fs_device *device = opaque;
    oriel_virtio_pci_config_write(device->pci, offset, size, value);
}

static void bar_read(void *opaque, unsigned bar, uint64_t offset, void *data, size_t len)
{
    struct fs_device *device = opaque;
    oriel_virtio_pci_bar_read(device->pci, bar, offset, data, len);
}

static void bar_write(void *opaque, unsigned bar, uint64_t offset, const void *data, size_t len)
{
    struct fs_device *device = opaque;
    oriel_virtio_pci_bar_write(device->pci, bar, offset, data, len);
}

static const struct pci_function_ops function_ops = {
    .config_read = config_read, .config_write = config_write, .bar_read = bar_read, .bar_write = bar_write};

/* ---- interrupts ---- */

static void on_msix_changed(void *opaque, uint16_t vector, uint64_t address, uint32_t data, bool masked)
{
    struct fs_device *device = opaque;
    if (masked || vector >= device->vector_count)
        return;
    int err = irq_vector_route(&device->vm->irqs, &device->vectors[vector], address, data);
    if (err != 0)
        vm_warn(device->vm, "the hypervisor refuses an interrupt of the guest: %s", strerror(-err));
}

static void on_msix_fire(void *opaque, uint16_t vector)
{
    struct fs_device *device = opaque;
    if (vector < device->vector_count)
        irq_vector_fire(&device->vectors[vector]);
}

static void on_intx(void *opaque, bool asserted)
{
    struct fs_device *device = opaque;
    pthread_mutex_lock(&device->lock);
    if (device->intx != asserted) {
        device->intx = asserted;
        irq_share_line(&device->vm->irqs, LAYOUT_IRQ_PCI + device->slot % LAYOUT_IRQ_PCI_LINES, asserted);
    }
    pthread_mutex_unlock(&device->lock);
}

static void on_notify(void *opaque, uint16_t queue)
{
    struct fs_device *device = opaque;
    oriel_virtio_pci_queue_interrupt(device->pci, queue);
}

static void on_broken(void *opaque)
{
    struct fs_device *device = opaque;
    oriel_virtio_pci_needs_reset(device->pci);
}

/* ---- queue threads ---- */

static void *queue_thread(void *opaque)
{
    struct fs_queue *queue = opaque;
    struct vm *vm = queue->device->vm;
    char name[16];
    snprintf(name, sizeof(name), "fs%u queue %u", queue->device->slot % PCI_BUS_SLOTS, queue->index % 100U);
    pthread_setname_np(pthread_self(), name);
    for (;;) {
        struct pollfd fds[2] = {{.fd = queue->kick_fd, .events = POLLIN},
                                {.fd = vm->stop_fd, .events = POLLIN}};
        poll(fds, 2, -1);
        if (vm_stopping(vm))
            return NULL;
        eventfd_t ignored;
        eventfd_read(queue->kick_fd, &ignored);
        /* A broken queue has told the driver by itself, a stopped one is none of our business. */
        oriel_virtio_fs_process(queue->device->virtio, queue->index);
    }
}

int fs_device_start(struct fs_device *device, struct vm_error *error)
{
    for (uint16_t i = 0; i < device->queue_count; i++) {
        struct fs_queue *queue = &device->queues[i];
        int err = pthread_create(&queue->thread, NULL, queue_thread, queue);
        if (err != 0)
            return vm_fail(error, -err, "cannot start a thread: %s", strerror(err));
        queue->thread_started = true;
    }
    return 0;
}

void fs_device_join(struct fs_device *device)
{
    /* What a queue has handed to the pool works on the queue and on guest memory until it is done. */
    for (uint16_t i = 0; i < device->queue_count; i++)
        oriel_virtio_fs_queue_stop(device->virtio, i, NULL);
    for (uint16_t i = 0; i < device->queue_count; i++) {
        if (device->queues[i].thread_started)
            pthread_join(device->queues[i].thread, NULL);
        device->queues[i].thread_started = false;
    }
}

/* ---- making ---- */

static int create_server(const struct fs_device_options *options, struct fs_device *device,
                         struct vm_error *error)
{
    struct oriel_passthrough_options passthrough = {.size = sizeof(passthrough),
                                                    .dir = options->dir,
                                                    .read_only = options->read_only,
                                                    .switch_credentials =
                                                        oriel_passthrough_can_switch_credentials(),
                                                    /* the queues' threads do nothing else */
                                                    .keep_credentials = true,
                                                    .trace = options->trace};
    struct oriel_fuse_server_options server = {
        .size = sizeof(server), .read_only = options->read_only, .trace = options->trace};
    int err = oriel_passthrough_create(&passthrough, &server.fs);
    if (err != 0)
        return vm_fail(error, err, "cannot share the folder '%s': %s", options->dir, strerror(-err));
    err = oriel_fuse_server_create(&server, &device->server);
    if (err != 0) {
        server.fs.ops->destroy(server.fs.fs);
        return vm_fail(error, err, "cannot serve the folder '%s': %s", options->dir, strerror(-err));
    }
    return 0;
}

static int window_fault(void *opaque, uint64_t gpa, uint32_t access)
{
    return oriel_dax_fault(opaque, gpa, access);
}

static int64_t window_bind_all(void *opaque)
{
    return oriel_dax_bind_all(opaque);
}

static int create_session(const struct fs_device_options *options, struct fs_device *device)
{
    struct oriel_arena_options arena = {.size = sizeof(arena),
                                        .window_gpa = device->window_gpa,
                                        .window_len = device->window_len,
                                        .trace = options->trace};
    int err = oriel_arena_create(&arena, &device->arena);
    if (err == 0)
        err = window_meter_init(&device->meter, oriel_arena_mapper(device->arena), device->window_len);
    if (err != 0)
        return err;
    struct oriel_dax_options dax = {.size = sizeof(dax),
                                    .window_gpa = device->window_gpa,
                                    .window_len = device->window_len,
                                    .read_only = options->read_only,
                                    .source = oriel_fuse_server_dax_source(device->server),
                                    .mapper = &device->meter.mapper,
                                    .trace = options->trace};
    err = oriel_dax_create(&dax, &device->dax);
    if (err == 0)
        oriel_fuse_server_attach_dax(device->server, device->dax);
    return err;
}

static int create_window(const struct fs_device_options *options, struct fs_device *device,
                         struct vm_error *error)
{
    if (options->window_len == 0)
        return 0;
    device->window_len = options->window_len;
    int err = pci_bus_reserve_window(&device->vm->pci, options->window_len, &device->window_gpa);
    if (err != 0)
        return vm_fail(
            error, err,
            "a window of %llu MiB does not fit into the guest's %u-bit addresses; take a smaller dax=",
            (unsigned long long)(options->window_len / LAYOUT_MIB), device->vm->address_bits);
    err = create_session(options, device);
    if (err != 0)
        return vm_fail(error, err, "cannot make a window of %llu MiB: %s",
                       (unsigned long long)(options->window_len / LAYOUT_MIB), strerror(-err));
    struct vm_window window = {.gpa = device->window_gpa,
                               .len = device->window_len,
                               .host = oriel_arena_base(device->arena),
                               .fault = window_fault,
                               .bind_all = window_bind_all,
                               .opaque = device->dax};
    return vm_add_window(device->vm, &window, error);
}

static int create_virtio(const struct fs_device_options *options, struct fs_device *device,
                         struct vm_error *error)
{
    uint16_t queues = (uint16_t)min_u64(device->vm->options.cpus, FS_DEVICE_REQUEST_QUEUES_MAX);
    struct oriel_virtio_fs_options virtio = {.size = sizeof(virtio),
                                             .tag = options->tag,
                                             .num_request_queues = queues,
                                             .server = device->server,
                                             .notify = on_notify,
                                             .broken = on_broken,
                                             .opaque = device,
                                             .trace = options->trace,
                                             .pool = options->pool};
    int err = oriel_virtio_fs_create(&virtio, &device->virtio);
    if (err != 0)
        return vm_fail(error, err, "cannot make the virtio-fs device '%s': %s", options->tag, strerror(-err));
    struct oriel_virtio_pci_options pci = {.size = sizeof(pci),
                                           .device = device->virtio,
                                           .window_len = device->window_len,
                                           .bar_changed = on_bar_changed,
                                           .msix_changed = on_msix_changed,
                                           .intx = on_intx,
                                           .msix_fire = on_msix_fire,
                                           .queue_changed = on_queue_changed,
                                           .queue_kicked = on_queue_kicked,
                                           .opaque = device,
                                           .trace = options->trace};
    err = oriel_virtio_pci_create(&pci, &device->pci);
    if (err != 0)
        return vm_fail(error, err, "cannot make the PCI function of '%s': %s", options->tag, strerror(-err));
    return 0;
}

static int create_queues_and_vectors(struct fs_device *device, struct vm_error *error)
{
    device->queue_count = oriel_virtio_fs_queue_count(device->virtio);
    for (uint16_t i = 0; i < device->queue_count; i++) {
        device->queues[i] = (struct fs_queue){.device = device,
                                              .index = i,
                                              .kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                              .doorbell_offset = oriel_virtio_pci_doorbell(device->pci, i)};
        if (device->queues[i].kick_fd < 0) {
            device->queue_count = i;
            return vm_fail(error, -errno, "cannot create an eventfd: %s", strerror(errno));
        }
    }
    uint16_t vectors = oriel_virtio_pci_vectors(device->pci);
    while (device->vector_count < vectors && device->vector_count < ARRAY_LEN(device->vectors)) {
        int err = irq_vector_create(&device->vm->irqs, &device->vectors[device->vector_count]);
        if (err != 0)
            return vm_fail(error, err, "cannot make an interrupt: %s", strerror(-err));
        device->vector_count++;
    }
    return 0;
}

static int plug_in(struct fs_device *device, struct vm_error *error)
{
    struct pci_function function = {.ops = &function_ops, .opaque = device};
    function.bars[ORIEL_VIRTIO_PCI_BAR_CONTROL] = (struct pci_bar){
        .kind = PCI_BAR_MMIO, .len = oriel_virtio_pci_bar_len(device->pci, ORIEL_VIRTIO_PCI_BAR_CONTROL)};
    function.bars[ORIEL_VIRTIO_PCI_BAR_MSIX] = (struct pci_bar){
        .kind = PCI_BAR_MMIO, .len = oriel_virtio_pci_bar_len(device->pci, ORIEL_VIRTIO_PCI_BAR_MSIX)};
    if (device->window_len != 0)
        function.bars[ORIEL_VIRTIO_PCI_BAR_WINDOW] = (struct pci_bar){
            .kind = PCI_BAR_WINDOW, .len = device->window_len, .address = device->window_gpa};
    device->slot = device->vm->pci.count;
    int slot = pci_bus_add(&device->vm->pci, &function);
    if (slot < 0)
        return vm_fail(error, slot, "no room for another device on the guest's PCI bus");
    return 0;
}

int fs_device_create(const struct fs_device_options *options, struct vm *vm, struct fs_device *device,
                     struct vm_error *error)
{
    *device = (struct fs_device){.vm = vm};
    pthread_mutex_init(&device->lock, NULL);
    int err = create_server(options, device, error);
    if (err == 0)
        err = create_window(options, device, error);
    if (err == 0)
        err = create_virtio(options, device, error);
    if (err == 0)
        err = create_queues_and_vectors(device, error);
    if (err == 0)
        err = plug_in(device, error);
    return err;
}

void fs_device_destroy(struct fs_device *device)
{
    for (uint16_t i = 0; i < device->queue_count; i++)
        close(device->queues[i].kick_fd);
    for (uint16_t i = 0; i < device->vector_count; i++)
        close(device->vectors[i].fd);
    if (device->pci != NULL)
        oriel_virtio_pci_destroy(device->pci);
    oriel_virtio_fs_destroy(device->virtio);
    if (device->server != NULL)
        oriel_fuse_server_attach_dax(device->server, NULL);
    oriel_dax_destroy(device->dax);
    oriel_fuse_server_destroy(device->server);
    window_meter_destroy(&device->meter);
    oriel_arena_destroy(device->arena);
    pthread_mutex_destroy(&device->lock);
}

/* ---- guest memory ---- */

static int prepare_window(void *opaque, uint64_t gpa, uint64_t len, uint32_t access)
{
    uint32_t prot = 0;
    if (access & ORIEL_MEMORY_READ)
        prot |= ORIEL_DAX_READ;
    if (access & ORIEL_MEMORY_WRITE)
        prot |= ORIEL_DAX_WRITE;
    return oriel_dax_bind(opaque, gpa, len, prot);
}

int fs_devices_connect_memory(struct fs_device *devices, size_t count, const struct vm *vm,
                              struct vm_error *error)
{
    struct oriel_memory_region regions[ARRAY_LEN(vm->ram.regions) + VM_WINDOWS_MAX];
    struct oriel_memory *memory;
    size_t n = 0;
    for (size_t i = 0; i < vm->ram.region_count; i++)
        regions[n++] = (struct oriel_memory_region){
            .gpa = vm->ram.regions[i].gpa, .len = vm->ram.regions[i].len, .host = vm->ram.regions[i].host};
    for (size_t i = 0; i < vm->window_count; i++)
        regions[n++] = (struct oriel_memory_region){.gpa = vm->windows[i].gpa,
                                                    .len = vm->windows[i].len,
                                                    .host = vm->windows[i].host,
                                                    .guarded = true,
                                                    .prepare = prepare_window,
                                                    .opaque = vm->windows[i].opaque};
    int err = oriel_memory_create(regions, n, &memory);
    if (err != 0)
        return vm_fail(error, err, "cannot describe the guest's memory: %s", strerror(-err));
    for (size_t i = 0; i < count; i++)
        oriel_virtio_fs_set_memory(devices[i].virtio, memory);
    oriel_memory_unref(memory);
    return 0;
}
