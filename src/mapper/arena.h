/* Inside the arena: what its userfaultfd driver needs. */
#ifndef ORIEL_MAPPER_ARENA_H
#define ORIEL_MAPPER_ARENA_H

#include <oriel/mapper.h>

#include "mapper/map_count.h"

struct oriel_arena {
    char *base;
    uint64_t window_len;
    void *reservation;
    size_t reservation_len;
    int map_flags;
    struct map_count map_count;
    struct oriel_trace *trace;
    struct oriel_dax_mapper mapper;
};

/*
 * Puts empty anonymous memory in a range that shows nothing, so that userfaultfd can report who touches it; and back
 * to nothing. -ENOSPC, -EIO. The caller has the range for itself.
 */
int arena_arm(struct oriel_arena *arena, uint64_t offset, uint64_t len);
int arena_disarm(struct oriel_arena *arena, uint64_t offset, uint64_t len);

#endif
