/*
 * What memslot and hvf have in common: hypervisors that know mappings one by one. None may overlap another, none can
 * be cut or replaced: a change takes the old ones away, one call each, and puts the new one and what is left of the
 * old ones in their place. The guest may fault in the gap and then waits in oriel_dax_fault().
 *
 * The host side is one reservation of the window's length, so a mapping's host address is known from its offset.
 */
#ifndef ORIEL_MAPPER_EXACT_H
#define ORIEL_MAPPER_EXACT_H

#include <oriel/mapper.h>

#include <pthread.h>
#include <sys/types.h>

struct exact_piece {
    uint64_t offset, len;
    uint32_t prot;
    bool host_writable; /* the host side is mapped with PROT_WRITE */
    uint32_t id;        /* the hypervisor's number for it, if it has any */
    dev_t dev;
    ino_t ino;
    uint64_t file_offset;
};

/* The hypervisor's calls, 0 or a negative errno. */
struct exact_hypervisor {
    void *opaque;
    int (*map)(void *opaque, struct exact_piece *piece, void *host);
    int (*unmap)(void *opaque, const struct exact_piece *piece);
    /* Other rights for a mapping as it is; NULL where there is no such call. */
    int (*protect)(void *opaque, const struct exact_piece *piece, uint32_t prot);
};

struct exact {
    struct exact_hypervisor hypervisor;
    struct oriel_trace *trace;
    char *base;
    uint64_t window_len;
    pthread_mutex_t lock;       /* held over the hypervisor's calls: they take one of its own anyway */
    struct exact_piece *pieces; /* sorted by offset */
    size_t count, room;
};

int exact_init(struct exact *e, uint64_t window_len, const struct exact_hypervisor *hypervisor,
               struct oriel_trace *trace);
/* Unmaps everything. */
void exact_destroy(struct exact *e);

/* As the calls of struct oriel_dax_mapper. */
int exact_map(struct exact *e, uint64_t offset, int fd, uint64_t file_offset, uint64_t len, uint32_t prot,
              enum oriel_range_left *left);
int exact_unmap(struct exact *e, uint64_t offset, uint64_t len, enum oriel_range_left *left);

#endif
