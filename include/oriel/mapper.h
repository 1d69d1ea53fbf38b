/*
 * Mappers: how a range of the DAX window gets to show pages of a file.
 *
 * The DAX session (dax.h) decides what the window shows; a mapper makes it so on one kind of hypervisor. An
 * embedder uses one of the mappers below or writes its own: fill a struct oriel_dax_mapper and hand it to
 * oriel_dax_create().
 *
 * Promises of the session to a mapper
 *   - offset, file_offset and len are multiples of the granule, len > 0, and the range lies inside the
 * window;
 *   - two calls never work on overlapping ranges at the same time; calls on disjoint ranges may come from
 * several threads at once;
 *   - no lock of the session is held during a call;
 *   - the descriptor stays open during the call only: a mapper that needs it longer duplicates it.
 */
#ifndef ORIEL_MAPPER_H
#define ORIEL_MAPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a failed map() or unmap() left in the range. */
enum oriel_range_left {
    ORIEL_RANGE_KEPT = 0, /* the range shows what it showed before the call */
    ORIEL_RANGE_LOST = 1, /* the range shows nothing any more; the session marks what it had there SAVED */
};

struct oriel_dax_mapper {
    size_t size;  /* sizeof(struct oriel_dax_mapper) as the embedder compiled it */
    void *opaque; /* handed back in each call; owned by the embedder; must outlive the session */

    /*
     * Makes [offset, offset + len) of the window show the file behind fd from file_offset, shared with all
     * other users of the file, with prot = ORIEL_DAX_READ, or ORIEL_DAX_READ | ORIEL_DAX_WRITE; replaces
     * whatever the range showed. A guest that runs meanwhile sees the old or the new content and no moment of
     * neither, where the hypervisor can do that (arena: yes; hvf and memslot: no, the guest's fault then
     * waits in oriel_dax_fault() until the range has settled). The range may end past the end of the file.
     * Returns 0 or a negative errno with *left set: -ENOSPC (out of mappings, memory or slots), -EACCES (the
     * file or mapper refuses this prot), -ENODEV (the file cannot be mapped), -EIO (anything else).
     */
    int (*map)(void *opaque, uint64_t offset, int fd, uint64_t file_offset, uint64_t len, uint32_t prot,
               enum oriel_range_left *left);

    /*
     * Makes [offset, offset + len) show nothing. The range may cover several mappings, parts of some, and
     * parts that show nothing. Returns 0 or a negative errno with *left set: -ENOSPC (splitting needs a
     * mapping that the host does not give), -EIO. LOST after an error means that the range shows nothing all
     * the same.
     */
    int (*unmap)(void *opaque, uint64_t offset, uint64_t len, enum oriel_range_left *left);

    /*
     * Host address at which the embedder's own process reaches the byte `0` of the window, or NULL where it
     * doesn't (then virtqueue buffers inside the window are refused with EFAULT). Constant for the mapper's
     * life.
     */
    void *host_base;

    /* The smallest granule this mapper can serve, bytes, a power of two; oriel_dax_create() refuses a smaller
     * one. */
    uint64_t min_granule;
};

/*
 * ---- arena: one reservation of address space, pages changed under it with mmap(MAP_FIXED) ----
 *
 * The embedder gives the hypervisor ONE memory region over [oriel_arena_base(), + window_len) (KVM: one
 * memory slot), once. Unmapped ranges are PROT_NONE reservations, never holes. Replacing is one mmap call, so
 * running vCPUs see no gap.
 */
struct oriel_arena;

struct oriel_arena_options {
    size_t size;         /* sizeof(struct oriel_arena_options) */
    uint64_t window_gpa; /* the reservation is congruent with it modulo 2 MiB, so that 2 MiB stage-2 leaves
                            are possible */
    uint64_t window_len; /* bytes, multiple of the host page */
    bool prefault; /* MAP_POPULATE each mapping; helps the VMM's own accesses, not the guest's (dax-costs) */
    struct oriel_trace *trace; /* may be NULL; must outlive the arena */
    uint64_t
        cap_mappings; /* bound on the kernel mappings that the window is cut into: map() says -ENOSPC there;
                                  0 = three quarters of vm.max_map_count, the rest is for the process */
};

/* Errors: -EINVAL (options), -ENOMEM (address space). The caller owns *out. */
int oriel_arena_create(const struct oriel_arena_options *options, struct oriel_arena **out);

/* Unmaps everything. The session that used the mapper must be gone, and the hypervisor's region removed. NULL
 * is allowed. */
void oriel_arena_destroy(struct oriel_arena *arena);

/* The host address of window offset 0; 2 MiB aligned when window_gpa is. */
void *oriel_arena_base(const struct oriel_arena *arena);

/* The mapper interface of the arena; lives as long as the arena. */
const struct oriel_dax_mapper *oriel_arena_mapper(struct oriel_arena *arena);

/*
 * ---- arena, first touch after a restore: userfaultfd ----
 *
 * After oriel_dax_load() every slot is SAVED and the window shows nothing. With this driver the guest's first touch
 * of a slot (load, store or instruction fetch; also the VMM's own, and the kernel's on its behalf) sleeps in the
 * kernel until the driver's thread has bound it: no exit, and the address is known. Where the process may not use
 * userfaultfd for faults of the kernel (it takes CAP_SYS_PTRACE, vm.unprivileged_userfaultfd = 1 or access to
 * /dev/userfaultfd), KVM_RUN fails with EFAULT and no address instead: call oriel_dax_bind_all() and run again.
 */
struct oriel_dax;
struct oriel_arena_uffd;

struct oriel_arena_uffd_options {
    size_t size;               /* sizeof(struct oriel_arena_uffd_options) */
    struct oriel_arena *arena; /* must outlive the driver */
    struct oriel_dax *dax;     /* the session that uses the arena; must outlive the driver */
    uint64_t
        ahead_bytes; /* how much of what continues the touched slot, in window and file, is bound with it in
                                  one call of the mapper; 0 = 64 MiB */
    bool on_touch_only; /* false: after the first touch the thread goes on to bind all other slots, while no
                                  fault waits */
    struct oriel_trace *trace; /* may be NULL */
};

/*
 * Opens userfaultfd and starts one thread, the only one that the library ever starts. Errors: -EINVAL, -ENOMEM,
 * -EPERM (not permitted; a line of trace says so), -ENOSYS (the kernel has none), -EIO. The caller owns *out.
 */
int oriel_arena_uffd_start(const struct oriel_arena_uffd_options *options, struct oriel_arena_uffd **out);

/*
 * Arms every range that is SAVED now: after oriel_dax_load(), before a vCPU runs. May be called again after each
 * load. Returns the number of slots, or -ENOSPC, -ENOMEM, -EIO (then call oriel_dax_bind_all()).
 */
int64_t oriel_arena_uffd_arm(struct oriel_arena_uffd *uffd);

struct oriel_arena_uffd_stats {
    uint64_t faults; /* messages of the kernel */
    uint64_t binds;  /* calls that bound something, each with one mapping */
    uint64_t slots;  /* slots bound by them */
    uint64_t errors; /* faults that could not be served: the access fails with EFAULT */
};
void oriel_arena_uffd_stats(struct oriel_arena_uffd *uffd, struct oriel_arena_uffd_stats *out);

/* Ends the thread. Ranges that are still armed show nothing from then on. NULL is allowed. */
void oriel_arena_uffd_stop(struct oriel_arena_uffd *uffd);

/*
 * ---- memslot: one KVM memory slot for each mapping ----
 *
 * For comparison, and for VMMs that cannot give up one region. A replacement is a removal and an addition: the guest
 * sees a gap (an MMIO exit), and each removal may cost it all its shadow pages. READ mappings are read-only slots.
 */
struct oriel_memslot;

struct oriel_memslot_options {
    size_t size; /* sizeof(struct oriel_memslot_options) */
    int vm_fd;   /* of KVM_CREATE_VM; stays the embedder's, must outlive the mapper */
    uint64_t window_gpa, window_len;
    uint32_t first_slot, slot_count; /* slot numbers that are the mapper's, at most 32,764; beyond: -ENOSPC */
    struct oriel_trace *trace;       /* may be NULL */
};

/* Errors: -EINVAL, -ENOMEM. The caller owns *out; the session that uses it must be gone before it is destroyed. */
int oriel_memslot_create(const struct oriel_memslot_options *options, struct oriel_memslot **out);
void oriel_memslot_destroy(struct oriel_memslot *memslot);
const struct oriel_dax_mapper *oriel_memslot_mapper(struct oriel_memslot *memslot);

/*
 * ---- hvf: Apple's Hypervisor.framework, on macOS only ----
 *
 * One hv_vm_map() for each mapping, 16 KiB granule. The framework can neither replace nor cut a mapping, so both have a
 * gap: the data-abort exit that the guest takes there goes to oriel_dax_fault(), which waits. An upgrade from READ to
 * READ | WRITE of a file that is open for writing is one hv_vm_protect(), without a gap.
 */
#if defined(__APPLE__) || defined(ORIEL_FAKE_HVF)
struct oriel_hvf;

struct oriel_hvf_options {
    size_t size; /* sizeof(struct oriel_hvf_options) */
    uint64_t window_gpa, window_len;
    struct oriel_trace *trace; /* may be NULL */
};

/* Errors: -EINVAL, -ENOMEM. The VM of the process must exist. The caller owns *out. */
int oriel_hvf_create(const struct oriel_hvf_options *options, struct oriel_hvf **out);
void oriel_hvf_destroy(struct oriel_hvf *hvf);
const struct oriel_dax_mapper *oriel_hvf_mapper(struct oriel_hvf *hvf);
#endif

/* ---- recording: keeps a model of what is mapped and fails on demand; for tests of sessions and of embedders
 * ---- */
struct oriel_recorder;

/* Errors: -EINVAL, -ENOMEM. */
int oriel_recorder_create(uint64_t window_len, uint64_t granule, struct oriel_recorder **out);
void oriel_recorder_destroy(struct oriel_recorder *recorder);
const struct oriel_dax_mapper *oriel_recorder_mapper(struct oriel_recorder *recorder);

/* The n-th call from now on (1 = the next one) fails with err (negative) and leaves `left`. 0 takes the order
 * back. */
void oriel_recorder_fail_at(struct oriel_recorder *recorder, uint64_t n, int err, enum oriel_range_left left);

/* What one granule of the window shows. */
struct oriel_recorded {
    bool mapped;
    uint64_t dev, ino; /* of the file */
    uint64_t file_offset;
    uint32_t prot;
};
struct oriel_recorded oriel_recorder_at(struct oriel_recorder *recorder, uint64_t offset);

struct oriel_recorder_counts {
    uint64_t maps, unmaps, failures; /* calls, and how many of them failed on demand */
    uint64_t mapped_bytes;
    uint64_t
        violations; /* calls that broke a promise of the session: unaligned, outside the window, empty, no
                       open descriptor, or overlapping a call that was still running. They fail with EIO. */
};
struct oriel_recorder_counts oriel_recorder_counts(struct oriel_recorder *recorder);

#ifdef __cplusplus
}
#endif

#endif
