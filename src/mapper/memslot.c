/* One KVM memory slot for each mapping. */
#include <oriel/mapper.h>

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/checked.h"
#include "mapper/exact.h"

struct oriel_memslot {
    struct exact exact;
    int vm_fd;
    uint64_t window_gpa;
    uint32_t first_slot, slot_count;
    bool *used; /* by number */
    uint32_t hint;
    struct oriel_dax_mapper mapper;
};

static int set_region(struct oriel_memslot *m, const struct exact_piece *piece, void *host, uint64_t len)
{
    struct kvm_userspace_memory_region region = {
        .slot = piece->id,
        .flags = piece->prot & 2 ? 0 : KVM_MEM_READONLY,
        .guest_phys_addr = m->window_gpa + piece->offset,
        .memory_size = len,
        .userspace_addr = (uintptr_t)host,
    };
    if (ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0)
        return 0;
    return errno == ENOMEM || errno == ENOSPC || errno == EINVAL ? -ENOSPC : -EIO;
}

static int map_slot(void *opaque, struct exact_piece *piece, void *host)
{
    struct oriel_memslot *m = opaque;
    for (uint32_t i = 0; i < m->slot_count; i++) {
        uint32_t slot = (m->hint + i) % m->slot_count;
        if (m->used[slot])
            continue;
        piece->id = m->first_slot + slot;
        int err = set_region(m, piece, host, piece->len);
        if (err == 0) {
            m->used[slot] = true;
            m->hint = slot + 1;
        }
        return err;
    }
    return -ENOSPC;
}

static int unmap_slot(void *opaque, const struct exact_piece *piece)
{
    struct oriel_memslot *m = opaque;
    int err = set_region(m, piece, m->exact.base + piece->offset, 0);
    if (err == 0)
        m->used[piece->id - m->first_slot] = false;
    return err;
}

static int memslot_map(void *opaque, uint64_t offset, int fd, uint64_t file_offset, uint64_t len,
                       uint32_t prot, enum oriel_range_left *left)
{
    struct oriel_memslot *m = opaque;
    return exact_map(&m->exact, offset, fd, file_offset, len, prot, left);
}

static int memslot_unmap(void *opaque, uint64_t offset, uint64_t len, enum oriel_range_left *left)
{
    struct oriel_memslot *m = opaque;
    return exact_unmap(&m->exact, offset, len, left);
}

int oriel_memslot_create(const struct oriel_memslot_options *options, struct oriel_memslot **out)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end;
    if (options->size < sizeof(*options) || options->window_len == 0 || options->slot_count == 0 ||
        options->slot_count > 32764 || !is_aligned(options->window_gpa | options->window_len, page) ||
        !checked_add_u64(options->window_gpa, options->window_len, &end))
        return -EINVAL;
    struct oriel_memslot *m = calloc(1, sizeof(*m));
    bool *used = calloc(options->slot_count, sizeof(*used));
    if (m == NULL || used == NULL) {
        free(m);
        free(used);
        return -ENOMEM;
    }
    const struct exact_hypervisor hypervisor = {.opaque = m, .map = map_slot, .unmap = unmap_slot};
    int err = exact_init(&m->exact, options->window_len, &hypervisor, options->trace);
    if (err != 0) {
        free(m);
        free(used);
        return err;
    }
    m->vm_fd = options->vm_fd;
    m->window_gpa = options->window_gpa;
    m->first_slot = options->first_slot;
    m->slot_count = options->slot_count;
    m->used = used;
    m->mapper = (struct oriel_dax_mapper){.size = sizeof(m->mapper),
                                          .opaque = m,
                                          .map = memslot_map,
                                          .unmap = memslot_unmap,
                                          .host_base = m->exact.base,
                                          .min_granule = page};
    *out = m;
    return 0;
}

void oriel_memslot_destroy(struct oriel_memslot *m)
{
    if (m == NULL)
        return;
    exact_destroy(&m->exact);
    free(m->used);
    free(m);
}

const struct oriel_dax_mapper *oriel_memslot_mapper(struct oriel_memslot *m)
{
    return &m->mapper;
}
