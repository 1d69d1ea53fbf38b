/* Guest RAM: one memfd, shared so that another process can be given it, mapped once. */
#ifndef ORIEL_MICROVM_RAM_H
#define ORIEL_MICROVM_RAM_H

#include <stddef.h>
#include <stdint.h>

#include "microvm/vm_error.h"

struct ram_region {
    uint64_t gpa;
    uint64_t len;
    uint64_t offset; /* in the memfd */
    uint8_t *host;
};

struct ram {
    int fd;
    uint8_t *host;
    uint64_t size;
    struct ram_region regions[2]; /* below and above the hole under 4 GiB */
    size_t region_count;
};

/* size: LAYOUT_RAM_MIN to LAYOUT_RAM_MAX, rounded up to 2 MiB. Pages are taken from the host as they are
 * touched. */
int ram_create(uint64_t size, struct ram *ram, struct vm_error *error);
void ram_destroy(struct ram *ram);

/* Host address of a guest-physical range that lies in one region, or NULL. */
void *ram_at(const struct ram *ram, uint64_t gpa, uint64_t len);

/* Copies into RAM; -EFAULT when the range is not all RAM. */
int ram_write(const struct ram *ram, uint64_t gpa, const void *data, uint64_t len);

/* First address after all RAM. */
uint64_t ram_end(const struct ram *ram);

#endif
