/* Apple's Hypervisor.framework: one hv_vm_map() for each mapping. */
#include <oriel/mapper.h>

#include <Hypervisor/Hypervisor.h>
#include <errno.h>
#include <stdlib.h>

#include <oriel/dax.h>

#include "base/checked.h"
#include "mapper/exact.h"

#define HVF_PAGE UINT64_C(16384) /* of the host; the framework takes nothing finer */

struct oriel_hvf {
    struct exact exact;
    uint64_t window_gpa;
    struct oriel_dax_mapper mapper;
};

static int error_of(hv_return_t result)
{
    switch (result) {
    case HV_SUCCESS:
        return 0;
    case HV_NO_RESOURCES:
        return -ENOSPC;
    case HV_DENIED:
        return -EACCES;
    default:
        return -EIO;
    }
}

/* The guest may run programs from the window: EXEC always. */
static hv_memory_flags_t rights(uint32_t prot)
{
    return HV_MEMORY_READ | HV_MEMORY_EXEC | (prot & ORIEL_DAX_WRITE ? HV_MEMORY_WRITE : 0);
}

static int map_piece(void *opaque, struct exact_piece *piece, void *host)
{
    const struct oriel_hvf *h = opaque;
    return error_of(hv_vm_map(host, h->window_gpa + piece->offset, piece->len, rights(piece->prot)));
}

static int unmap_piece(void *opaque, const struct exact_piece *piece)
{
    const struct oriel_hvf *h = opaque;
    return error_of(hv_vm_unmap(h->window_gpa + piece->offset, piece->len));
}

static int protect_piece(void *opaque, const struct exact_piece *piece, uint32_t prot)
{
    const struct oriel_hvf *h = opaque;
    return error_of(hv_vm_protect(h->window_gpa + piece->offset, piece->len, rights(prot)));
}

static int hvf_map(void *opaque, uint64_t offset, int fd, uint64_t file_offset, uint64_t len, uint32_t prot,
                   enum oriel_range_left *left)
{
    struct oriel_hvf *h = opaque;
    return exact_map(&h->exact, offset, fd, file_offset, len, prot, left);
}

static int hvf_unmap(void *opaque, uint64_t offset, uint64_t len, enum oriel_range_left *left)
{
    struct oriel_hvf *h = opaque;
    return exact_unmap(&h->exact, offset, len, left);
}

int oriel_hvf_create(const struct oriel_hvf_options *options, struct oriel_hvf **out)
{
    uint64_t end;
    if (options->size < sizeof(*options) || options->window_len == 0 ||
        !is_aligned(options->window_gpa | options->window_len, HVF_PAGE) ||
        !checked_add_u64(options->window_gpa, options->window_len, &end))
        return -EINVAL;
    struct oriel_hvf *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return -ENOMEM;
    const struct exact_hypervisor hypervisor = {
        .opaque = h, .map = map_piece, .unmap = unmap_piece, .protect = protect_piece};
    int err = exact_init(&h->exact, options->window_len, &hypervisor, options->trace);
    if (err != 0) {
        free(h);
        return err;
    }
    h->window_gpa = options->window_gpa;
    h->mapper = (struct oriel_dax_mapper){.size = sizeof(h->mapper),
                                          .opaque = h,
                                          .map = hvf_map,
                                          .unmap = hvf_unmap,
                                          .host_base = h->exact.base,
                                          .min_granule = HVF_PAGE};
    *out = h;
    return 0;
}

void oriel_hvf_destroy(struct oriel_hvf *h)
{
    if (h == NULL)
        return;
    exact_destroy(&h->exact);
    free(h);
}

const struct oriel_dax_mapper *oriel_hvf_mapper(struct oriel_hvf *h)
{
    return &h->mapper;
}
