/*
 * Interrupts of the guest: lines of the in-kernel controllers, and messages (MSI-X) that are each one eventfd
 * bound to a GSI (KVM_IRQFD) whose message is in the routing table (KVM_SET_GSI_ROUTING).
 */
#ifndef ORIEL_MICROVM_IRQ_H
#define ORIEL_MICROVM_IRQ_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "microvm/layout.h"
#include "microvm/vm_error.h"

#define IRQ_MESSAGES_MAX 1024

struct irq_message {
    bool used;
    uint64_t address;
    uint32_t data;
};

struct irq_router {
    int vm_fd;
    pthread_mutex_t lock; /* over messages and the table in the kernel */
    unsigned message_count;
    struct irq_message messages[IRQ_MESSAGES_MAX];
    unsigned raised[LAYOUT_IO_APIC_PINS]; /* how many devices hold a shared line up */
};

/* One message interrupt. fd is written to fire it. */
struct irq_vector {
    uint32_t index; /* in messages */
    int fd;
};

/* vm_fd has its interrupt controllers already. */
int irq_router_init(struct irq_router *router, int vm_fd, struct vm_error *error);
void irq_router_destroy(struct irq_router *router);

/* Level of a line (0 to LAYOUT_IO_APIC_PINS - 1) that belongs to one device. */
void irq_set_line(struct irq_router *router, unsigned line, bool level);
/* One of the devices that share a line raises or lowers it; each calls only when its own wish changes. */
void irq_share_line(struct irq_router *router, unsigned line, bool raised);

/* 0, -ENOSPC, or what KVM or eventfd(2) say. The vector lives until the VM is gone; its owner closes fd. */
int irq_vector_create(struct irq_router *router, struct irq_vector *vector);
/* Sets the message; the kernel is told only when it differs from the last one. */
int irq_vector_route(struct irq_router *router, const struct irq_vector *vector, uint64_t address,
                     uint32_t data);
void irq_vector_fire(const struct irq_vector *vector);

#endif
