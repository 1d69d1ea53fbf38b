#include "microvm/irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "microvm/layout.h"

#define PIC_PINS      8
#define FIXED_ENTRIES (2 * PIC_PINS + LAYOUT_IO_APIC_PINS)
#define FIRST_MSI_GSI LAYOUT_IO_APIC_PINS

static struct kvm_irq_routing_entry pin_route(unsigned gsi, unsigned chip, unsigned pin)
{
    return (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = chip, .pin = pin}};
}

static struct kvm_irq_routing_entry message_route(unsigned gsi, const struct irq_message *message)
{
    return (struct kvm_irq_routing_entry){.gsi = gsi,
                                          .type = KVM_IRQ_ROUTING_MSI,
                                          .u.msi = {.address_lo = (uint32_t)message->address,
                                                    .address_hi = (uint32_t)(message->address >> 32),
                                                    .data = message->data}};
}

/* The kernel takes the table as a whole. */
static int push_table(struct irq_router *router)
{
    size_t entries = FIXED_ENTRIES + router->message_count;
    cleanup_free struct kvm_irq_routing *table =
        calloc(1, sizeof(*table) + entries * sizeof(table->entries[0]));
    if (table == NULL)
        return -ENOMEM;
    for (unsigned gsi = 0; gsi < LAYOUT_IO_APIC_PINS; gsi++)
        table->entries[table->nr++] = pin_route(gsi, KVM_IRQCHIP_IOAPIC, gsi);
    for (unsigned gsi = 0; gsi < 2 * PIC_PINS; gsi++)
        table->entries[table->nr++] =
            pin_route(gsi, gsi < PIC_PINS ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % PIC_PINS);
    for (unsigned i = 0; i < router->message_count; i++) {
        if (router->messages[i].used)
            table->entries[table->nr++] = message_route(FIRST_MSI_GSI + i, &router->messages[i]);
    }
    return ioctl(router->vm_fd, KVM_SET_GSI_ROUTING, table) != 0 ? -errno : 0;
}

int irq_router_init(struct irq_router *router, int vm_fd, struct vm_error *error)
{
    *router = (struct irq_router){.vm_fd = vm_fd};
    pthread_mutex_init(&router->lock, NULL);
    int err = push_table(router);
    if (err != 0)
        return vm_fail(error, err, "KVM refuses the interrupt routing: %s", strerror(-err));
    return 0;
}

void irq_router_destroy(struct irq_router *router)
{
    pthread_mutex_destroy(&router->lock);
}

void irq_set_line(struct irq_router *router, unsigned line, bool level)
{
    struct kvm_irq_level irq = {.irq = line, .level = level};
    ioctl(router->vm_fd, KVM_IRQ_LINE, &irq);
}

void irq_share_line(struct irq_router *router, unsigned line, bool raised)
{
    pthread_mutex_lock(&router->lock);
    router->raised[line] += raised ? 1U : -1U;
    if (router->raised[line] == (raised ? 1U : 0U))
        irq_set_line(router, line, raised);
    pthread_mutex_unlock(&router->lock);
}

static int bind_eventfd(struct irq_router *router, int fd, uint32_t gsi)
{
    struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = gsi};
    return ioctl(router->vm_fd, KVM_IRQFD, &irqfd) != 0 ? -errno : 0;
}

int irq_vector_create(struct irq_router *router, struct irq_vector *vector)
{
    cleanup_fd int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    pthread_mutex_lock(&router->lock);
    int err = router->message_count == IRQ_MESSAGES_MAX
                  ? -ENOSPC
                  : bind_eventfd(router, fd, FIRST_MSI_GSI + router->message_count);
    if (err == 0)
        *vector = (struct irq_vector){.index = router->message_count++, .fd = take_fd(&fd)};
    pthread_mutex_unlock(&router->lock);
    return err;
}

int irq_vector_route(struct irq_router *router, const struct irq_vector *vector, uint64_t address,
                     uint32_t data)
{
    int err = 0;
    pthread_mutex_lock(&router->lock);
    struct irq_message *message = &router->messages[vector->index];
    if (!message->used || message->address != address || message->data != data) {
        const struct irq_message before = *message;
        *message = (struct irq_message){.used = true, .address = address, .data = data};
        err = push_table(router);
        if (err != 0)
            *message = before; /* as KVM still has it */
    }
    pthread_mutex_unlock(&router->lock);
    return err;
}

void irq_vector_fire(const struct irq_vector *vector)
{
    /* Fails only when 2^64 - 2 interrupts are waiting. */
    eventfd_write(vector->fd, 1);
}
