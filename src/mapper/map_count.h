/*
 * How many kernel mappings (VMAs) the arena's window is cut into, so that the process never runs into
 * vm.max_map_count by surprise: at that limit even an unmap would fail.
 *
 * Two bits a page: whether it shows a file, and whether a mapping starts there. The count is an upper bound: the
 * kernel may have joined neighbours.
 */
#ifndef ORIEL_MAPPER_MAP_COUNT_H
#define ORIEL_MAPPER_MAP_COUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct map_count {
    _Atomic uint64_t *shown, *edges;
    uint64_t pages;
    unsigned page_shift;
    uint64_t limit; /* edges that map() may reach; unmap() may go over it a little */
    _Atomic uint64_t count;
    void *table;
    uint64_t table_size;
};

/* -ENOMEM. limit 0: three quarters of what the kernel allows a process. */
int map_count_init(struct map_count *c, uint64_t window_len, uint64_t limit);
void map_count_destroy(struct map_count *c);

/* Before a change of a range: false when it could lead over the limit. */
bool map_count_allows(struct map_count *c, bool is_unmap);
/* The range is one mapping now; is_unmap: one that shows nothing and joins neighbours that show nothing. */
void map_count_done(struct map_count *c, uint64_t offset, uint64_t len, bool is_unmap);

#endif
