/*
 * One share: a host folder behind a virtio-fs PCI function, with its DAX window, interrupts, doorbells and
 * queue threads.
 *
 * This is how the library is put together by a VMM: back-end, FUSE server, arena and DAX session, device, PCI
 * function.
 */
#ifndef ORIEL_MICROVM_FS_DEVICE_H
#define ORIEL_MICROVM_FS_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <oriel/dax.h>
#include <oriel/fuse_server.h>
#include <oriel/mapper.h>
#include <oriel/trace.h>
#include <oriel/virtio_fs.h>
#include <oriel/virtio_pci.h>
#include <oriel/worker_pool.h>

#include "microvm/vm.h"
#include "microvm/window_meter.h"

#define FS_DEVICE_REQUEST_QUEUES_MAX 8
#define FS_DEVICE_QUEUES_MAX         (FS_DEVICE_REQUEST_QUEUES_MAX + 1)

struct fs_device_options {
    const char *dir;
    const char *tag;
    uint64_t window_len; /* a power of two of at least 2 MiB, or 0 for none */
    bool read_only;
    struct oriel_worker_pool *pool; /* for requests that may block; may be NULL */
    struct oriel_trace *trace;      /* may be NULL */
};

struct fs_device;

struct fs_queue {
    struct fs_device *device;
    uint16_t index;
    int kick_fd; /* eventfd: the guest rang the doorbell */
    bool running;
    uint64_t doorbell_offset; /* in the control BAR */
    uint64_t doorbell;        /* guest-physical, while KVM watches it; else 0 */
    pthread_t thread;
    bool thread_started;
};

struct fs_device {
    struct vm *vm;
    unsigned slot;
    struct oriel_arena *arena;
    struct window_meter meter;
    struct oriel_fuse_server *server;
    struct oriel_dax *dax;
    struct oriel_virtio_fs *virtio;
    struct oriel_virtio_pci *pci;
    uint64_t window_gpa, window_len;
    struct irq_vector vectors[FS_DEVICE_QUEUES_MAX + 1];
    uint16_t vector_count;
    pthread_mutex_t lock; /* over what follows */
    bool intx, warned;
    bool control_enabled;
    uint64_t control_address;
    struct fs_queue queues[FS_DEVICE_QUEUES_MAX];
    uint16_t queue_count;
};

/* Plugs a share into a machine that does not run yet. *device is the caller's memory and stays
 * where it is. */
int fs_device_create(const struct fs_device_options *options, struct vm *vm, struct fs_device *device,
                     struct vm_error *error);

/* Tells all devices where guest memory is: RAM, and the windows of all of them. Once, after the last one was
 * made. */
int fs_devices_connect_memory(struct fs_device *devices, size_t count, const struct vm *vm,
                              struct vm_error *error);

/* Starts the queue threads, before the vCPUs. They end by themselves when the machine stops. */
int fs_device_start(struct fs_device *device, struct vm_error *error);

/* Waits for the requests in flight and the queue threads. The machine is stopping or was never started, its
 * vCPUs are gone. */
void fs_device_join(struct fs_device *device);

/* The vCPUs and the queue threads are gone; the machine's memory slots are, too (vm_destroy()). */
void fs_device_destroy(struct fs_device *device);

#endif
