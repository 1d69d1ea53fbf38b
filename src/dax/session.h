/*
 * Inside the DAX session.
 *
 * The window is cut into blocks of 2 MiB. Each block has a state word (word.h) and two records, of which the
 * word names the valid one; all lie in flat tables whose pages the kernel gives when they are first written.
 * What a block shows is a list of pieces: none; one, held in word and record (the Linux guest's case: 24
 * bytes a slot, no allocation); or several, in an array that is never changed once published, only replaced
 * (slots.h). A slot over several blocks is a chain of pieces tied together by CONT.
 *
 * Who changes a block holds its claim (claim.h) from before it looks until the change is published, over the
 * calls of source and mapper. Claims of several blocks are taken in rising order. Nothing is locked.
 */
#ifndef ORIEL_DAX_SESSION_H
#define ORIEL_DAX_SESSION_H

#include <oriel/dax.h>

#include <pthread.h>
#include <stdatomic.h>

#include "dax/budget.h"
#include "dax/word.h"

/* What a piece of kind ONE shows (offset and length are in the word); for FINE nodeid is the array. */
struct record {
    _Atomic uint64_t nodeid;
    _Atomic uint64_t foffset;
};

struct undo;
struct fine;

/* Rare events, counted in a shard each processor. What happens on every setup is counted by the budget. */
enum counter {
    COUNT_SETUP_ERRORS,
    COUNT_REMOVES_WITHOUT_UNMAP, /* entries that needed no call of the mapper of their own */
    COUNT_REMOVE_ERRORS,
    COUNT_REPLACED,
    COUNT_SPLITS,
    COUNT_UPGRADES,
    COUNT_FAULTS,
    COUNT_FAULT_BINDS,
    COUNT_FAULT_UPGRADES,
    COUNT_FAULT_ERRORS,
    COUNT_WAITS,
    COUNT_MAPS,   /* beyond one for each setup */
    COUNT_UNMAPS, /* beyond one for each removed entry */
    COUNTERS
};

struct counter_shard {
    _Alignas(64) _Atomic uint64_t count[COUNTERS];
};

/* The phase word: what concerns the whole window. */
#define PHASE_GATE      (UINT64_C(1) << 0) /* one thread has the window for itself: claim nothing */
#define PHASE_SAVING    (UINT64_C(1) << 1) /* a picture is being taken: keep what you change */
#define PHASE_EPOCH_ONE (UINT64_C(1) << 2) /* counts the pictures and the times the gate was opened */

/* Blocks share a flag that says whether one of them was ever used, so that walks skip empty parts. */
#define CHUNK_SHIFT 9

struct oriel_dax {
    /* What a fault reads: one cache line that hardly ever changes. */
    uint64_t window_gpa;
    uint64_t window_len;
    _Atomic uint64_t *words;
    _Atomic uint64_t phase;
    unsigned granule_shift;
    unsigned shard_mask;
    struct record *records[2];
    struct undo *_Atomic *undo_of; /* by block: what it showed at the moment of a picture (picture.h) */
    _Atomic uint64_t *kept_epoch;  /* by block: the last picture for which it was put aside */
    struct undo *_Atomic undo_list;
    struct fine *_Atomic retired;
    _Atomic uint64_t undo_failed; /* the picture for which memory was out */

    _Atomic uint8_t *chunk_used;
    uint64_t block_count;
    uint64_t granule;
    uint64_t host_page;
    uint64_t cap_bytes;
    bool limit_slots;
    struct budget bytes; /* in granules; its counts are the statistics of setups and removals */
    struct budget slots;
    struct counter_shard *counters;
    pthread_mutex_t maintenance; /* reset, load and pictures: one at a time */

    enum oriel_dax_overlap overlap;
    bool read_only;
    struct oriel_dax_source source;
    struct oriel_dax_mapper mapper;
    struct oriel_trace *trace;
    void *table;
    size_t table_size;
};

/* The shard of the processor that we run on. */
unsigned dax_shard(const struct oriel_dax *dax);

static inline void dax_count(struct oriel_dax *dax, enum counter counter, uint64_t n)
{
    atomic_fetch_add_explicit(&dax->counters[dax_shard(dax)].count[counter], n, memory_order_relaxed);
}

static inline uint64_t block_start(uint64_t block)
{
    return block << BLOCK_SHIFT;
}

/* The last block may be short. */
static inline uint64_t block_length(const struct oriel_dax *dax, uint64_t block)
{
    uint64_t rest = dax->window_len - block_start(block);
    return rest < BLOCK_SIZE ? rest : BLOCK_SIZE;
}

/* An errno of a source or a mapper as a guest may see it: from the closed set, never EAGAIN or ENOMEM. */
int dax_guest_error(int err);

/* One call of the source and one of the mapper. */
struct dax_mapping {
    uint64_t moffset, len;
    uint64_t nodeid, foffset;
    uint32_t prot;
    bool is_setup;     /* counted as a setup, not as a further call of the mapper */
    bool eof_check;    /* the page of the file at eof_page must lie inside it, else -ENODATA */
    bool check_only;   /* nothing is mapped */
    uint64_t eof_page; /* file offset of a page */
};

/*
 * Gets the file from the source, maps it and lets it go. *left says what a failure left in the range. Errors:
 * those of oriel_dax_setup() and -ENODATA.
 */
int dax_map(struct oriel_dax *dax, const struct dax_mapping *mapping, enum oriel_range_left *left);

/* Unmaps; an error that leaves the range empty is success. -ENOSPC, -EIO: the range shows what it showed. */
int dax_unmap(struct oriel_dax *dax, uint64_t moffset, uint64_t len);

#endif
