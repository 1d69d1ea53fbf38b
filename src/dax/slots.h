/*
 * What a block shows, as a list of pieces, and how a claimed block changes from one list to the next.
 */
#ifndef ORIEL_DAX_SLOTS_H
#define ORIEL_DAX_SLOTS_H

#include "dax/claim.h"
#include "dax/session.h"

#define PIECE_BOUND UINT32_C(1)
#define PIECE_WRITE UINT32_C(2)

struct piece {
    uint64_t nodeid, foffset;
    uint32_t offset, length; /* bytes, inside the block */
    _Atomic uint32_t flags;  /* WRITE is fixed once published; BOUND changes under the claim */
    uint32_t reserved;
};

/* At least two pieces, sorted. Published in a record; readers without a claim see it only while the session's
 * phase is SAVING, and it is freed after that. */
struct fine {
    struct fine *next_retired;
    uint32_t count;
    uint32_t reserved;
    struct piece piece[];
};

/* The pieces of a claimed block. */
struct block_view {
    uint64_t word;
    uint32_t count;
    struct piece *pieces;
    struct piece one;
};
void block_view(struct oriel_dax *dax, uint64_t block, struct block_view *view);

static inline bool view_is_bound(const struct block_view *view, uint32_t i)
{
    return atomic_load_explicit(&view->pieces[i].flags, memory_order_relaxed) & PIECE_BOUND;
}

static inline bool view_is_writable(const struct block_view *view, uint32_t i)
{
    return atomic_load_explicit(&view->pieces[i].flags, memory_order_relaxed) & PIECE_WRITE;
}

/* The piece that shows this byte of the block, or -1. */
int view_find(const struct block_view *view, uint64_t offset);

/* Sets or clears BOUND of one piece of a claimed block. */
void block_set_bound(struct oriel_dax *dax, uint64_t block, struct block_view *view, uint32_t i, bool bound);

/* Marks every piece that touches [from, to) of the claimed block SAVED. */
void block_mark_saved(struct oriel_dax *dax, uint64_t block, uint64_t from, uint64_t to);

/* What a claimed block is to show next. */
struct block_next {
    uint64_t kind; /* WORD_NONE, WORD_ONE, WORD_FINE */
    bool cont;
    struct piece one;
    struct fine *fine; /* owned until published */
};

/*
 * Plans the block without [from, to), which then shows `insert` (whose offset is from) or nothing. The parts
 * of pieces outside keep their file offsets. cont says that insert goes on from the block before. -ENOSPC
 * when memory is out; nothing is changed before block_publish().
 */
int block_plan(const struct block_view *view, uint64_t from, uint64_t to, const struct piece *insert,
               bool cont, struct block_next *next);
void block_plan_drop(struct block_next *next);

/* Plans the same pieces with WRITE and BOUND set on piece i. */
int block_plan_upgrade(const struct block_view *view, uint32_t i, struct block_next *next);

/*
 * A change of the blocks of a claim is: change_begin(), then block_publish() for each block from the last to
 * the first, each of which ends the claim of its block.
 */
void change_begin(struct oriel_dax *dax, const struct claim *claim);
void block_publish(struct oriel_dax *dax, uint64_t block, struct block_next *next);
/* The same for the common cases, one block on its own whose claimed word is known: empty and now one bound piece,
 * or one piece and now empty. */
void block_publish_one(struct oriel_dax *dax, uint64_t block, uint64_t word, uint64_t offset, uint64_t length,
                       uint64_t nodeid, uint64_t foffset, bool writable);
void block_publish_none(struct oriel_dax *dax, uint64_t block, uint64_t word);

/* The block keeps what it shows and no longer continues the one before. */
void block_publish_cut(struct oriel_dax *dax, uint64_t block);

static inline bool block_continues(struct oriel_dax *dax, uint64_t block)
{
    return block < dax->block_count &&
           (atomic_load_explicit(&dax->words[block], memory_order_relaxed) & WORD_CONT);
}

static inline struct fine *record_fine(const struct record *record)
{
    return (struct fine *)(uintptr_t)atomic_load_explicit(&record->nodeid, memory_order_relaxed);
}

static inline struct record *block_record(struct oriel_dax *dax, uint64_t block, uint64_t word)
{
    return &dax->records[(word & WORD_VERSION) != 0][block];
}

/* The slot that shows a byte of the window, all of whose blocks the caller has claimed. */
struct slot {
    uint64_t start, end; /* bytes of the window */
    uint64_t nodeid, foffset;
    bool writable;
    struct claim claim; /* of every block that [start, end) touches */
};

/*
 * Claims the whole slot that shows window byte `at`. False, with nothing claimed, when nothing is shown
 * there.
 */
bool slot_claim(struct oriel_dax *dax, uint64_t at, struct slot *slot);

#endif
