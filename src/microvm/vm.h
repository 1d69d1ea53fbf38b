/*
 * The virtual machine: a small KVM machine for x86-64 without ACPI.
 *
 * Made in this order: vm_create(), devices (vm_add_window(), pci_bus_add() on vm->pci, …), vm_load(),
 * vm_run(), vm_destroy(). One thread a vCPU; devices bring their own threads and stop them when vm_run() has
 * returned.
 */
#ifndef ORIEL_MICROVM_VM_H
#define ORIEL_MICROVM_VM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "microvm/irq.h"
#include "microvm/kernel_image.h"
#include "microvm/layout.h"
#include "microvm/legacy_ports.h"
#include "microvm/pci_bus.h"
#include "microvm/port_bus.h"
#include "microvm/ram.h"
#include "microvm/serial.h"
#include "microvm/vcpu_watch.h"
#include "microvm/vm_error.h"

#define VM_WINDOWS_MAX 30

enum vm_outcome {
    VM_RUNNING = 0,
    VM_EXITED,      /* the guest's init reported a status */
    VM_RESET,       /* the guest asked for a reset without reporting one: a panic, a reboot */
    VM_INTERRUPTED, /* vm_stop() */
    VM_FAILED,      /* the guest cannot go on: the line in reason says why */
};

struct vm_result {
    enum vm_outcome outcome;
    uint8_t status; /* VM_EXITED */
    struct vm_error reason;
};

/* A range of guest-physical memory above RAM whose host pages come and go (a DAX window). */
struct vm_window {
    uint64_t gpa, len;
    void *host;
    /* As oriel_dax_fault() and oriel_dax_bind_all(). */
    int (*fault)(void *opaque, uint64_t gpa, uint32_t access);
    int64_t (*bind_all)(void *opaque);
    void *opaque;
};

struct vm;

/* A fault that KVM could not serve and what was tried about it (vcpu_fault.c). */
struct vcpu_fault {
    uint64_t rip, gpa;
    unsigned tries;
    int64_t last_ns;
};

struct vcpu {
    struct vm *vm;
    unsigned index;
    int fd;
    struct kvm_run *run;
    size_t run_len;
    pthread_t thread;
    bool started;
    _Atomic uint64_t exits;
    struct vcpu_fault fault;
    struct vcpu_watch watch;
    atomic_bool look; /* the watch wants the thread to see where the guest is */
};

struct vm_options {
    uint64_t ram_size;
    unsigned cpus; /* 1 to LAYOUT_CPUS_MAX */
    /* Console. */
    void (*console_output)(void *opaque, const uint8_t *data, size_t len);
    void (*console_ready)(void *opaque);
    /* Something the person at the terminal should know; one line, no newline. */
    void (*warn)(void *opaque, const char *line);
    void *opaque;
};

struct vm {
    struct vm_options options;
    int kvm_fd, fd;
    unsigned address_bits;
    struct kvm_cpuid2 *cpuid;
    struct ram ram;
    struct port_bus ports;
    struct pci_bus pci;
    struct irq_router irqs;
    struct serial serial;
    struct legacy_ports legacy;
    unsigned slot_count;
    struct vm_window windows[VM_WINDOWS_MAX];
    size_t window_count;
    struct vcpu cpus[LAYOUT_CPUS_MAX];
    unsigned cpu_count;
    _Atomic unsigned faults_injected;
    /* The first of several reasons to stop wins. */
    pthread_mutex_t stop_lock;
    atomic_bool stopping;
    int stop_fd; /* eventfd: readable when the machine stops */
    struct vm_result result;
};

/* *vm is the caller's memory. On failure there is nothing to destroy. */
int vm_create(const struct vm_options *options, struct vm *vm, struct vm_error *error);
void vm_destroy(struct vm *vm);

/* Gives the guest one memory slot over window->host, for good. */
int vm_add_window(struct vm *vm, const struct vm_window *window, struct vm_error *error);

/* Brings the kernel into memory and the processors into their first state. */
int vm_load(struct vm *vm, const struct kernel_image *kernel, const struct boot_payload *payload,
            struct vm_error *error);

/* Starts the vCPU threads. On failure none runs. */
int vm_start(struct vm *vm, struct vm_error *error);

/* Asks the machine to stop; any thread, any number of times. */
void vm_stop(struct vm *vm, enum vm_outcome outcome, uint8_t status, const char *reason);

/* To be called every VCPU_WATCH_INTERVAL_MS while the machine runs and has windows: finds processors that
 * hang in a fault. */
void vm_watch(struct vm *vm);

/* Waits for the vCPU threads after vm_stop() by anyone (poll vm->stop_fd to learn of it). */
const struct vm_result *vm_join(struct vm *vm);

bool vm_stopping(struct vm *vm);
uint64_t vm_exits(struct vm *vm);
void vm_warn(struct vm *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
