/*
 * The DAX session: the table of what the window shows, and the rules by which it changes.
 *
 * The window is the guest-physical range [window_gpa, window_gpa + window_len). A slot is one mapping: a
 * window range [moffset, moffset + len) that shows the file `nodeid` from `foffset` with protection `prot`. A
 * session takes FUSE_SETUPMAPPING and FUSE_REMOVEMAPPING (virtio 1.3, 5.11.6.4), stage-2 faults, resets and
 * saved state, and drives a mapper (mapper.h).
 *
 * Threads: every call may come from any thread at any time unless its comment says otherwise. No lock is held
 * across a call of the source or the mapper, and different ranges do not wait for each other.
 */
#ifndef ORIEL_DAX_H
#define ORIEL_DAX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <oriel/mapper.h>
#include <oriel/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Protection of a slot and kind of an access. A slot has READ or READ | WRITE. */
#define ORIEL_DAX_READ  UINT32_C(1)
#define ORIEL_DAX_WRITE UINT32_C(2)

/* With an access: see oriel_dax_fault(). */
#define ORIEL_DAX_AGAIN UINT32_C(4)

/* A file to be mapped, as the source hands it out. */
struct oriel_dax_file {
    int fd;            /* open for reading, and for writing where max_prot says so */
    uint32_t max_prot; /* what a mapping of fd may have; a superset of the prot asked for */
    void *cookie;      /* the source's own */
};

/* Where files come from: the FUSE server over a back-end implements this (oriel_fuse_server_dax_source()). */
struct oriel_dax_source {
    size_t size;  /* sizeof(struct oriel_dax_source) */
    void *opaque; /* handed back in each call */

    /*
     * Opens the file of a node for a shared mapping with prot. Needs no open handle of the guest and works
     * for a file that is unlinked but still known (Linux sends fh = ~0 with each SETUPMAPPING:
     * fs/fuse/dax.c). Returns 0, or: -ENOENT (no such node), -ESTALE (known but gone or changed), -EINVAL
     * (not a regular file), -EACCES (WRITE on a file or share that refuses it), -EROFS, -EIO, -ENFILE (out of
     * descriptors).
     */
    int (*acquire)(void *opaque, uint64_t nodeid, uint32_t prot, struct oriel_dax_file *out);

    /* Ends the use of what acquire gave; called once for each success, from the same thread, soon after. */
    void (*release)(void *opaque, const struct oriel_dax_file *file);
};

enum oriel_dax_overlap {
    ORIEL_DAX_REPLACE = 0, /* the FUSE rule: replace what is exactly covered, split what is partly covered */
    ORIEL_DAX_REJECT = 1,  /* -EEXIST and nothing touched; breaks the Linux guest's read-to-write upgrade */
};

struct oriel_dax_options {
    size_t size;         /* sizeof(struct oriel_dax_options) */
    uint64_t window_gpa; /* multiple of the granule */
    uint64_t window_len; /* multiple of the granule, > 0, window_gpa + window_len does not wrap */
    uint64_t granule; /* power of two, 4 KiB to 64 KiB, at least the host page and mapper->min_granule; 0 = 16
                         KiB */
    uint64_t cap_bytes; /* bound on the sum of slot lengths; 0 = window_len */
    uint64_t cap_slots; /* bound on the number of slots, exact as cap_bytes; 0 = what cap_bytes and the
                           granule allow */
    enum oriel_dax_overlap overlap;
    bool read_only;                        /* refuse WRITE with -EROFS */
    const struct oriel_dax_source *source; /* copied; its opaque must outlive the session */
    const struct oriel_dax_mapper *mapper; /* copied; its opaque must outlive the session */
    struct oriel_trace *trace;             /* may be NULL; must outlive the session */
};

struct oriel_dax;

/* Errors: -EINVAL (an option breaks the rule beside it), -ENOMEM. The caller owns *out. */
int oriel_dax_create(const struct oriel_dax_options *options, struct oriel_dax **out);

/* Unmaps every slot and frees the session. No other call on it may be running or come later. NULL is allowed.
 */
void oriel_dax_destroy(struct oriel_dax *dax);

/* log2 of the granule: what FUSE_INIT reports as map_alignment. */
unsigned oriel_dax_granule_shift(const struct oriel_dax *dax);
uint64_t oriel_dax_window_gpa(const struct oriel_dax *dax);
uint64_t oriel_dax_window_len(const struct oriel_dax *dax);

/*
 * FUSE_SETUPMAPPING: makes [moffset, moffset + len) show node `nodeid` from foffset with prot. Checks come
 * first and touch nothing. What the range showed is replaced in one step; a slot that is covered in part is
 * split and keeps its outside parts with the right file offset. The whole length is mapped even past the end
 * of the file (it may grow). When the source or the mapper refuses, the old slots are in force again. Returns
 * 0, or -EINVAL  len 0, unaligned, wraps around, outside the window, foffset + len past INT64_MAX, prot
 * without READ and WRITE or with an unknown bit, or the source says so. WRITE alone is taken as READ | WRITE.
 *   -ENOSPC  over the cap (bytes that the call replaces are credited), or host resources are out (never
 * -ENOMEM, never -EAGAIN: a Linux guest would retry for ever; fs/fuse/dax.c) -EEXIST  overlap with
 * ORIEL_DAX_REJECT -EROFS   WRITE on a read-only session -ENOENT, -ESTALE, -EACCES, -ENODEV, -EIO   from
 * source or mapper
 */
int oriel_dax_setup(struct oriel_dax *dax, uint64_t nodeid, uint64_t foffset, uint64_t len, uint64_t moffset,
                    uint32_t prot);

struct oriel_dax_range {
    uint64_t moffset;
    uint64_t len;
};

/*
 * FUSE_REMOVEMAPPING: all entries are worked through, whatever one of them says; adjacent entries become one
 * unmap. An entry that covers part of a slot splits it; one that shows nothing is success (a Linux guest
 * recycles ranges after errors). Returns 0, or the first error met: -EINVAL (an entry is empty, unaligned or
 * outside the window; the others are done), -ENOSPC or -EIO (the mapper could not; that slot is still in
 * force).
 */
int oriel_dax_remove(struct oriel_dax *dax, const struct oriel_dax_range *ranges, size_t count);

enum oriel_dax_fault_result {
    ORIEL_FAULT_RESUME = 0,   /* the range is bound and allows the access: run the vCPU again */
    ORIEL_FAULT_OUTSIDE = 1,  /* not this window: the caller tries its next device */
    ORIEL_FAULT_UNMAPPED = 2, /* in the window but no slot: the caller injects an abort */
};

/*
 * A stage-2 fault at guest-physical address gpa; access is ORIEL_DAX_READ or ORIEL_DAX_WRITE (an instruction
 * fetch is READ). ORIEL_DAX_AGAIN is added when the vCPU faults at the address at which its last fault was
 * answered RESUME: the session then also looks whether the page is still inside the file, so that a guest on
 * a truncated file gets its abort instead of faulting for ever. Binds a SAVED slot; turns a READ slot into
 * READ | WRITE for a write where share and file allow (the Linux guest has a race that needs it); waits while
 * another thread changes the range. Single flight: one map call per slot however many threads fault. Returns
 * an oriel_dax_fault_result (>= 0), or -EACCES   a write that share or file refuse: inject an abort, do not
 * re-run -ENODATA  past the end of the file (truncated on the host): inject an abort, do not re-run -EINVAL
 * access is neither READ nor WRITE -ENOSPC, -ENOENT, -ESTALE, -ENODEV, -EIO   the slot stays SAVED; a retry
 * may work
 */
int oriel_dax_fault(struct oriel_dax *dax, uint64_t gpa, uint32_t access);

/*
 * Binds every SAVED slot that [gpa, gpa + len) touches and checks that the range is wholly covered by slots
 * that allow access: for virtqueue buffers inside the window. Returns 0, -EFAULT (outside the window, a part
 * shows nothing, or access refused), or as oriel_dax_fault.
 */
int oriel_dax_bind(struct oriel_dax *dax, uint64_t gpa, uint64_t len, uint32_t access);

/* Binds every SAVED slot: the answer to a fault whose address is not known. Returns how many were bound, or
 * the first error (the others are tried all the same). */
int64_t oriel_dax_bind_all(struct oriel_dax *dax);

/*
 * Drops every slot: device reset, FUSE_DESTROY, a further FUSE_INIT. A range that the mapper refuses to unmap, all at
 * once and 2 MiB by 2 MiB, stays a slot, so that it is known that the guest still sees it; a line of trace says so.
 */
void oriel_dax_reset(struct oriel_dax *dax);

/*
 * ---- saved state ----
 *
 * The DAXS section, version 1, little-endian:
 *   "DAXS" | u32 version | u64 window_gpa | u64 window_len | u64 cap_bytes | u64 mapped_bytes | u64 entry_count
 *   entry: u64 moffset | u64 len | u64 nodeid | u64 foffset | u32 prot | u32 reserved = 0, sorted by moffset
 */
#define ORIEL_DAXS_VERSION 1
#define ORIEL_DAXS_HEADER  48 /* bytes */
#define ORIEL_DAXS_ENTRY   40

/* How many bytes oriel_dax_save() would write at this moment. */
size_t oriel_dax_save_size(struct oriel_dax *dax);

/*
 * Writes all slots as they are at one moment, while other threads may go on with every other call; none of them
 * waits for it. A mapping that is being made or removed is in or out as a whole. Makes no system call but for
 * memory, and calls neither source nor mapper. *written is the length of the section. Returns 0, or -ENOBUFS (size
 * is too small: nothing of use was written, *written is what would have been needed), -ENOMEM.
 */
int oriel_dax_save(struct oriel_dax *dax, void *buffer, size_t size, size_t *written);

/*
 * Replaces all slots by those of a section that oriel_dax_save() wrote, in this process or another. They are SAVED:
 * the first fault binds each (or oriel_dax_bind_all()). Checks everything first; then unmaps what is bound, then
 * publishes in one step. Other calls wait meanwhile. The blob is read, not kept; it must not change during the
 * call. Doing it twice is the same as once. Errors, with nothing changed, and a line of trace that says why:
 *   -ENOMSG      no DAXS section             -EPROTONOSUPPORT  another version
 *   -EMSGSIZE    truncated                   -E2BIG            bytes behind the last entry
 *   -EXDEV       another window              -ERANGE           an entry outside the window
 *   -EINVAL      an entry that is not aligned to the granule
 *   -ENODATA     an empty entry              -EEXIST           entries that overlap
 *   -EILSEQ      entries out of order        -EPROTO           a prot without any or with unknown bits
 *   -EOVERFLOW   foffset + len past INT64_MAX
 *   -EBADMSG     reserved is not 0, or mapped_bytes is not the sum of the lengths
 *   -ENOSPC      over this session's cap of bytes or slots, or the mapper could not unmap what was bound
 *   -EROFS       a writable entry in a read-only session
 *   -ENOMEM; -EIO (the mapper could not unmap; slots that it did unmap are SAVED)
 */
int oriel_dax_load(struct oriel_dax *dax, const void *blob, size_t size);

/* One slot, as a section or a session has it. */
struct oriel_dax_slot {
    uint64_t moffset, len;
    uint64_t nodeid, foffset;
    uint32_t prot;
    bool bound; /* false in a section */
};

/* The head of a section. */
struct oriel_daxs {
    uint64_t window_gpa, window_len;
    uint64_t cap_bytes, mapped_bytes;
    uint64_t entry_count; /* agrees with the size of the blob */
};

/* Reads the head: -ENOMSG, -EPROTONOSUPPORT, -EMSGSIZE, -E2BIG as oriel_dax_load(). */
int oriel_daxs_open(const void *blob, size_t size, struct oriel_daxs *out);

/* Entry i (below entry_count) of a blob that oriel_daxs_open() accepted. Its values are not checked. */
struct oriel_dax_slot oriel_daxs_entry(const void *blob, uint64_t i);

/*
 * Calls each() for every slot, sorted by moffset, all of one moment; ends when it returns non-zero, and returns
 * that. -ENOMEM. each() is called without any lock and may call the session.
 */
int oriel_dax_each_slot(struct oriel_dax *dax, int (*each)(void *opaque, const struct oriel_dax_slot *slot),
                        void *opaque);

/*
 * Counters since the session was made. Each is exact once the calls it counts have returned; together they
 * are no picture of one moment. Walks the table to count the slots: microseconds for a window of some GiB.
 */
struct oriel_dax_stats {
    uint64_t setups, setup_errors;
    uint64_t removes, remove_errors; /* removes counts entries */
    uint64_t replaced, splits, upgrades;
    uint64_t faults; /* those that found the slot not ready; one that finds it bound costs nothing, not even a
                        count */
    uint64_t fault_binds, fault_upgrades, fault_errors;
    uint64_t waits;        /* times a call slept until another one had finished with the same range */
    uint64_t maps, unmaps; /* mapper calls */
    uint64_t mapped_bytes, cap_bytes;
    uint64_t slots, bound, saved; /* a slot is bound when its first byte is */
};
void oriel_dax_stats(struct oriel_dax *dax, struct oriel_dax_stats *out);

#ifdef __cplusplus
}
#endif

#endif
