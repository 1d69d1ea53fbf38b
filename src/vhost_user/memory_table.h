/*
 * The front-end's guest memory: regions mapped from descriptors it sent, and the map the device works with.
 *
 * A region's mapping is counted: by the table while it is in force, and by every oriel_memory made while it
 * was, so that a request in flight never loses the memory under it.
 */
#ifndef ORIEL_VHOST_USER_MEMORY_TABLE_H
#define ORIEL_VHOST_USER_MEMORY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/guest_memory.h>

#include "vhost_user/mapped_ranges.h"
#include "vhost_user/protocol.h"

struct mapped_region;

struct memory_table {
    struct mapped_ranges *ranges;
    size_t count;
    struct mapped_region *regions[VHOST_USER_MEM_SLOTS];
    struct oriel_memory *map; /* NULL before the first regions */
    const char *fault;        /* what was wrong with the last regions that were refused */
};

void memory_table_init(struct memory_table *table, struct mapped_ranges *ranges);

/*
 * Puts new regions in force instead of all others; fds[i] belongs to regions[i] and stays the caller's.
 * On an error the table is as it was. Errors:
 *   -EINVAL  a region is empty, wraps, is not made of whole pages, overlaps another in guest or user
 * addresses, or the descriptor is no regular file or shorter than the region says -ENOSPC  more regions than
 * slots -ENOMEM, and what mmap(2) says (-EACCES: opened or sealed against writing)
 */
int memory_table_set(struct memory_table *table, const struct vhost_user_region *regions, const int *fds,
                     size_t count);

/* Adds one region; errors as memory_table_set(). */
int memory_table_add(struct memory_table *table, const struct vhost_user_region *region, int fd);

/* Takes away the region with these addresses and size. -ENOENT: there is none; -ENOMEM. */
int memory_table_remove(struct memory_table *table, const struct vhost_user_region *region);

void memory_table_clear(struct memory_table *table);

/* Translates a range of front-end addresses that lies in one region. */
bool memory_table_user_to_gpa(const struct memory_table *table, uint64_t user_address, uint64_t len,
                              uint64_t *gpa);

/* The end of the highest region; 0 when there are none. */
uint64_t memory_table_gpa_end(const struct memory_table *table);

#endif
