/*
 * The guest memory map: which guest-physical ranges are where in the host process.
 *
 * A map is immutable and counted: a device holds a reference for as long as it works with addresses from it,
 * so a changed map is a new map that is handed to the device (oriel_virtio_fs_set_memory()) and the old one
 * lives until the last request that uses it is done. Where a map is asked for an address, NULL is an empty
 * map.
 */
#ifndef ORIEL_GUEST_MEMORY_H
#define ORIEL_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ORIEL_MEMORY_READ  UINT32_C(1) /* the device reads */
#define ORIEL_MEMORY_WRITE UINT32_C(2) /* the device writes */

struct oriel_memory_region {
    uint64_t gpa;
    uint64_t len; /* > 0, gpa + len does not wrap */
    void *host;   /* where the region begins in this process, not NULL; its mapping outlives the map */
    bool guarded; /* touching it may fault (the DAX window): data is moved by system calls only */
    /*
     * Called before a buffer in the region is used, or NULL: binds what is not bound yet. Returns 0 or a
     * negative errno, which becomes -EFAULT of the translation. For the window: oriel_dax_bind().
     */
    int (*prepare)(void *opaque, uint64_t gpa, uint64_t len, uint32_t access);
    void *opaque;
};

struct oriel_memory;

/*
 * regions: any order; copied. Errors: -EINVAL (an empty, wrapping or overlapping region), -E2BIG (over 4,096
 * regions), -ENOMEM. The caller owns one reference.
 */
int oriel_memory_create(const struct oriel_memory_region *regions, size_t count, struct oriel_memory **out);
struct oriel_memory *oriel_memory_ref(struct oriel_memory *memory); /* returns memory; NULL is allowed */
void oriel_memory_unref(struct oriel_memory *memory);

/*
 * released(opaque) is called once, by whoever drops the last reference: from then on nobody holds an address
 * from this map, and what it described may be unmapped. Before the map is handed to anybody.
 */
void oriel_memory_on_release(struct oriel_memory *memory, void (*released)(void *opaque), void *opaque);

/*
 * Translates [gpa, gpa + len) into at most `max` vectors; a range may span adjacent regions.
 * Returns the number of vectors (0 for len 0) and sets *guarded (never clears it) when one lies in a guarded
 * region. Errors:
 *   -EFAULT   a byte is in no region, the range wraps, or prepare() refused it
 *   -ENOBUFS  more than max vectors are needed
 */
int oriel_memory_translate(const struct oriel_memory *memory, uint64_t gpa, uint64_t len, uint32_t access,
                           struct iovec *iov, size_t max, bool *guarded);

/*
 * The host address of a range that must lie in one ordinary region (rings: never in a guarded one), aligned
 * in the host as asked (power of two), or NULL.
 */
void *oriel_memory_at(const struct oriel_memory *memory, uint64_t gpa, uint64_t len, uint64_t alignment);

/*
 * The other way round: the guest-physical address of a host address that a translation gave, and in *len how
 * many bytes go on from there in the same region. False: it lies in no region.
 */
bool oriel_memory_gpa_of(const struct oriel_memory *memory, const void *host, uint64_t *gpa, uint64_t *len);

#ifdef __cplusplus
}
#endif

#endif
