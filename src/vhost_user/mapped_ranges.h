/*
 * Where memory that front-ends share is mapped now. A SIGBUS handler looks here whether the address that failed
 * is such memory, while other threads change it.
 */
#ifndef ORIEL_VHOST_USER_MAPPED_RANGES_H
#define ORIEL_VHOST_USER_MAPPED_RANGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vhost_user/protocol.h"

struct mapped_ranges {
    struct {
        atomic_uintptr_t start, end;   /* start 0: free */
    } range[2 * VHOST_USER_MEM_SLOTS]; /* twice: mappings of an old table may live on in requests */
};

/* How much of the address space size bytes of the file take: whole pages, which are huge on hugetlbfs. */
uint64_t mapped_ranges_whole_pages(int fd, uint64_t size);

/* False: there is no room. The range, of whole pages, must not be touched before it is in here. */
bool mapped_ranges_insert(struct mapped_ranges *ranges, uintptr_t start, uintptr_t len);

/* Before the range is unmapped. */
void mapped_ranges_remove(struct mapped_ranges *ranges, uintptr_t start);

/* Async-signal-safe: whether address lies in a range, and which one that is. */
bool mapped_ranges_find(const struct mapped_ranges *ranges, uintptr_t address, uintptr_t *start,
                        uintptr_t *len);

#endif
