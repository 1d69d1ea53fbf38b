/* For the descriptor walk, which asks for many places in the same region. */
#ifndef ORIEL_VIRTIO_MEMORY_REGION_H
#define ORIEL_VIRTIO_MEMORY_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include <oriel/guest_memory.h>

/* The ordinary region (neither guarded nor to be prepared) that holds gpa, or NULL. Lives as long as the map. */
const struct oriel_memory_region *memory_ordinary_region(const struct oriel_memory *memory, uint64_t gpa);

/* True when all of [gpa, gpa + len) lies in the region. */
static inline bool memory_region_holds(const struct oriel_memory_region *region, uint64_t gpa, uint64_t len)
{
    uint64_t inside = gpa - region->gpa; /* wraps below the region */
    return inside < region->len && len <= region->len - inside;
}

#endif
