/* What the guest is told about its memory: the e820 table both boot protocols hand over. */
#ifndef ORIEL_MICROVM_MEMORY_MAP_H
#define ORIEL_MICROVM_MEMORY_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "microvm/ram.h"

#define MEMORY_MAP_RAM      UINT32_C(1)
#define MEMORY_MAP_RESERVED UINT32_C(2)
#define MEMORY_MAP_MAX      6

struct memory_map_entry {
    uint64_t addr;
    uint64_t len;
    uint32_t type; /* MEMORY_MAP_* */
};

/* Fills in at most MEMORY_MAP_MAX entries in ascending order and returns their number. */
size_t memory_map_build(const struct ram *ram, struct memory_map_entry *entries);

#endif
