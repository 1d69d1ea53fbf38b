#include "microvm/memory_map.h"

#include "microvm/layout.h"

size_t memory_map_build(const struct ram *ram, struct memory_map_entry *entries)
{
    size_t n = 0;
    entries[n++] = (struct memory_map_entry){0, LAYOUT_EBDA, MEMORY_MAP_RAM};
    entries[n++] = (struct memory_map_entry){LAYOUT_EBDA, LAYOUT_VGA_HOLE - LAYOUT_EBDA, MEMORY_MAP_RESERVED};
    /* The MP table lives here; reserved so that the kernel keeps its hands off until it has read it. */
    entries[n++] = (struct memory_map_entry){LAYOUT_MP_TABLE, LAYOUT_MP_TABLE_SIZE, MEMORY_MAP_RESERVED};
    entries[n++] = (struct memory_map_entry){LAYOUT_HIGH_MEMORY, ram->regions[0].len - LAYOUT_HIGH_MEMORY,
                                             MEMORY_MAP_RAM};
    if (ram->region_count > 1)
        entries[n++] = (struct memory_map_entry){ram->regions[1].gpa, ram->regions[1].len, MEMORY_MAP_RAM};
    return n;
}
