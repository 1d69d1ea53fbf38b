#include "dax/slots.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/checked.h"
#include "dax/picture.h"

/* ---- looking ---- */

void block_view(struct oriel_dax *dax, uint64_t block, struct block_view *view)
{
    uint64_t word = claimed_word(dax, block);
    struct record *record = block_record(dax, block, word);
    view->word = word;
    view->count = 0;
    view->pieces = &view->one;
    if (word_kind(word) == WORD_ONE) {
        view->count = 1;
        view->one.offset = (uint32_t)word_offset(word, dax->granule_shift);
        view->one.length = (uint32_t)word_length(word, dax->granule_shift);
        view->one.nodeid = atomic_load_explicit(&record->nodeid, memory_order_relaxed);
        view->one.foffset = atomic_load_explicit(&record->foffset, memory_order_relaxed);
        atomic_init(&view->one.flags,
                    (word & WORD_BOUND ? PIECE_BOUND : 0) | (word & WORD_WRITE ? PIECE_WRITE : 0));
    } else if (word_kind(word) == WORD_FINE) {
        struct fine *fine = record_fine(record);
        view->count = fine->count;
        view->pieces = fine->piece;
    }
}

static uint64_t piece_end(const struct piece *piece)
{
    return (uint64_t)piece->offset + piece->length;
}

int view_find(const struct block_view *view, uint64_t offset)
{
    uint32_t low = 0, high = view->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (offset < view->pieces[middle].offset)
            high = middle;
        else if (offset >= piece_end(&view->pieces[middle]))
            low = middle + 1;
        else
            return (int)middle;
    }
    return -1;
}

/* ---- bound or saved ---- */

void block_set_bound(struct oriel_dax *dax, uint64_t block, struct block_view *view, uint32_t i, bool bound)
{
    struct piece *piece = &view->pieces[i];
    if (bound)
        atomic_fetch_or_explicit(&piece->flags, PIECE_BOUND, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&piece->flags, ~PIECE_BOUND, memory_order_relaxed);
    if (word_kind(view->word) != WORD_ONE)
        return;
    if (bound)
        atomic_fetch_or(&dax->words[block], WORD_BOUND);
    else
        atomic_fetch_and(&dax->words[block], ~WORD_BOUND);
}

void block_mark_saved(struct oriel_dax *dax, uint64_t block, uint64_t from, uint64_t to)
{
    struct block_view view;
    block_view(dax, block, &view);
    for (uint32_t i = 0; i < view.count; i++) {
        if (view.pieces[i].offset < to && piece_end(&view.pieces[i]) > from && view_is_bound(&view, i))
            block_set_bound(dax, block, &view, i, false);
    }
}

/* ---- planning ---- */

/* A cursor that collects pieces: the first stays in next->one, from the second on they are in next->fine. */
static void plan_add(struct block_next *next, uint32_t *count, uint64_t nodeid, uint64_t foffset,
                     uint64_t offset, uint64_t length, uint32_t flags)
{
    struct piece *piece = next->fine != NULL ? &next->fine->piece[*count] : &next->one;
    piece->nodeid = nodeid;
    piece->foffset = foffset;
    piece->offset = (uint32_t)offset;
    piece->length = (uint32_t)length;
    piece->reserved = 0;
    atomic_init(&piece->flags, flags);
    ++*count;
}

static void plan_add_part(struct block_next *next, uint32_t *count, const struct piece *piece, uint64_t from,
                          uint64_t to)
{
    plan_add(next, count, piece->nodeid, piece->foffset + (from - piece->offset), from, to - from,
             atomic_load_explicit(&piece->flags, memory_order_relaxed));
}

static uint32_t count_after(const struct block_view *view, uint64_t from, uint64_t to, bool insert)
{
    uint32_t count = insert ? 1 : 0;
    for (uint32_t i = 0; i < view->count; i++) {
        const struct piece *piece = &view->pieces[i];
        bool outside = piece_end(piece) <= from || piece->offset >= to;
        count += outside ? 1 : (uint32_t)(piece->offset < from) + (uint32_t)(piece_end(piece) > to);
    }
    return count;
}

static struct fine *fine_new(uint32_t count)
{
    struct fine *fine = malloc(sizeof(*fine) + count * sizeof(struct piece));
    if (fine != NULL) {
        fine->next_retired = NULL;
        fine->count = count;
        fine->reserved = 0;
    }
    return fine;
}

static int plan_for(struct block_next *next, uint32_t count)
{
    next->fine = NULL;
    next->kind = count == 0 ? WORD_NONE : count == 1 ? WORD_ONE : WORD_FINE;
    if (count > 1 && (next->fine = fine_new(count)) == NULL)
        return -ENOSPC;
    return 0;
}

int block_plan(const struct block_view *view, uint64_t from, uint64_t to, const struct piece *insert,
               bool cont, struct block_next *next)
{
    uint32_t expected = count_after(view, from, to, insert != NULL), count = 0;
    int err = plan_for(next, expected);
    if (err != 0)
        return err;
    /* The first piece still continues the block before when the change begins behind its start. */
    next->cont = from > 0 ? (view->word & WORD_CONT) != 0 : insert != NULL && cont;
    for (uint32_t i = 0; i < view->count && view->pieces[i].offset < from; i++)
        plan_add_part(next, &count, &view->pieces[i], view->pieces[i].offset,
                      min_u64(piece_end(&view->pieces[i]), from));
    if (insert != NULL)
        plan_add_part(next, &count, insert, insert->offset, piece_end(insert));
    for (uint32_t i = 0; i < view->count; i++) {
        if (piece_end(&view->pieces[i]) > to)
            plan_add_part(next, &count, &view->pieces[i], max_u64(view->pieces[i].offset, to),
                          piece_end(&view->pieces[i]));
    }
    assert(count == expected);
    return 0;
}

int block_plan_upgrade(const struct block_view *view, uint32_t i, struct block_next *next)
{
    int err = plan_for(next, view->count);
    if (err != 0)
        return err;
    uint32_t count = 0;
    for (uint32_t k = 0; k < view->count; k++)
        plan_add_part(next, &count, &view->pieces[k], view->pieces[k].offset, piece_end(&view->pieces[k]));
    struct piece *piece = next->fine != NULL ? &next->fine->piece[i] : &next->one;
    atomic_fetch_or_explicit(&piece->flags, PIECE_BOUND | PIECE_WRITE, memory_order_relaxed);
    next->cont = (view->word & WORD_CONT) != 0;
    return 0;
}

void block_plan_drop(struct block_next *next)
{
    free(next->fine);
    next->fine = NULL;
}

/* ---- publishing ---- */

void change_begin(struct oriel_dax *dax, const struct claim *claim)
{
    uint64_t last = claim->last + (claim->tail ? 1 : 0);
    /* Several blocks change as one: a picture must not see some before and some after. */
    for (uint64_t block = claim->first; last != claim->first && block <= last; block++)
        atomic_fetch_or(&dax->words[block], WORD_COMMIT);
    uint64_t phase = atomic_load(&dax->phase);
    for (uint64_t block = claim->first; (phase & PHASE_SAVING) && block <= last; block++)
        picture_keep(dax, block, phase);
}

static void keep_one(struct oriel_dax *dax, uint64_t block)
{
    uint64_t phase = atomic_load(&dax->phase);
    if (__builtin_expect((phase & PHASE_SAVING) != 0, 0))
        picture_keep(dax, block, phase);
}

/*
 * Release, so that who takes a picture and sees a part of it also sees that the word has changed since.
 */
static void record_set(struct record *record, uint64_t nodeid, uint64_t foffset)
{
    atomic_store_explicit(&record->nodeid, nodeid, memory_order_release);
    atomic_store_explicit(&record->foffset, foffset, memory_order_release);
}

static uint64_t next_word(struct oriel_dax *dax, uint64_t word, const struct block_next *next)
{
    uint64_t fresh = (word & WORD_GENERATION) + WORD_GENERATION_ONE;
    fresh |= (word & WORD_VERSION) | next->kind | (next->cont ? WORD_CONT : 0);
    if (next->kind == WORD_ONE) {
        uint32_t flags = atomic_load_explicit(&next->one.flags, memory_order_relaxed);
        fresh |= word_extent(next->one.offset, next->one.length, dax->granule_shift);
        fresh |= (flags & PIECE_BOUND ? WORD_BOUND : 0) | (flags & PIECE_WRITE ? WORD_WRITE : 0);
    }
    /* The valid record stays untouched, for a reader that takes a picture; an empty block has none. */
    if (word_kind(word) != WORD_NONE && next->kind != WORD_NONE)
        fresh ^= WORD_VERSION;
    return fresh;
}

void block_publish(struct oriel_dax *dax, uint64_t block, struct block_next *next)
{
    uint64_t word = claimed_word(dax, block), fresh = next_word(dax, word, next);
    struct fine *old = word_kind(word) == WORD_FINE ? record_fine(block_record(dax, block, word)) : NULL;
    if (next->kind == WORD_ONE)
        record_set(block_record(dax, block, fresh), next->one.nodeid, next->one.foffset);
    else if (next->kind == WORD_FINE)
        record_set(block_record(dax, block, fresh), (uintptr_t)next->fine, 0);
    next->fine = NULL;
    claim_end(dax, block, fresh);
    if (__builtin_expect(old != NULL, 0))
        picture_retire(dax, old);
}

void block_publish_one(struct oriel_dax *dax, uint64_t block, uint64_t word, uint64_t offset, uint64_t length,
                       uint64_t nodeid, uint64_t foffset, bool writable)
{
    keep_one(dax, block);
    record_set(block_record(dax, block, word), nodeid, foffset);
    claim_end(dax, block,
              ((word & (WORD_GENERATION | WORD_VERSION)) + WORD_GENERATION_ONE) | WORD_ONE | WORD_BOUND |
                  (writable ? WORD_WRITE : 0) | word_extent(offset, length, dax->granule_shift));
}

void block_publish_none(struct oriel_dax *dax, uint64_t block, uint64_t word)
{
    keep_one(dax, block);
    claim_end(dax, block, ((word & (WORD_GENERATION | WORD_VERSION)) + WORD_GENERATION_ONE) | WORD_NONE);
}

void block_publish_cut(struct oriel_dax *dax, uint64_t block)
{
    uint64_t word = claimed_word(dax, block);
    claim_end(dax, block, (word & ~WORD_CONT) + WORD_GENERATION_ONE);
}

/* ---- whole slots ---- */

/* The first block that the chain through `block` can begin in. Exact while the chain is claimed. */
static uint64_t chain_first(struct oriel_dax *dax, uint64_t block)
{
    while (block_continues(dax, block)) {
        block--;
        uint64_t word = atomic_load_explicit(&dax->words[block], memory_order_relaxed);
        if (word_kind(word) != WORD_ONE || word_offset(word, dax->granule_shift) != 0)
            break;
    }
    return block;
}

static uint64_t chain_last(struct oriel_dax *dax, uint64_t block)
{
    while (block_continues(dax, block + 1)) {
        block++;
        uint64_t word = atomic_load_explicit(&dax->words[block], memory_order_relaxed);
        if (word_kind(word) != WORD_ONE || word_length(word, dax->granule_shift) != block_length(dax, block))
            break;
    }
    return block;
}

static void claim_chain(struct oriel_dax *dax, uint64_t block, struct claim *claim)
{
    for (;;) {
        claim->first = chain_first(dax, block);
        claim->last = chain_last(dax, block);
        claim->tail = false;
        claim_first(dax, claim->first);
        for (uint64_t b = claim->first + 1; b <= claim->last; b++)
            claim_further(dax, b);
        if (chain_first(dax, block) >= claim->first && chain_last(dax, block) <= claim->last)
            return;
        claim_release(dax, claim);
    }
}

/* Gives the claimed blocks that turned out not to belong to the slot back. */
static void claim_shrink(struct oriel_dax *dax, struct claim *claim, uint64_t first, uint64_t last)
{
    for (uint64_t b = claim->first; b <= claim->last; b++) {
        if (b < first || b > last)
            claim_end(dax, b, claimed_word(dax, b));
    }
    claim->first = first;
    claim->last = last;
}

bool slot_claim(struct oriel_dax *dax, uint64_t at, struct slot *slot)
{
    uint64_t block = at >> BLOCK_SHIFT, offset = at - block_start(block);
    struct block_view view;
    claim_chain(dax, block, &slot->claim);
    block_view(dax, block, &view);
    int i = view_find(&view, offset);
    if (i < 0) {
        claim_release(dax, &slot->claim);
        return false;
    }
    const struct piece *piece = &view.pieces[i];
    uint64_t first = block, last = block;
    slot->nodeid = piece->nodeid;
    slot->foffset = piece->foffset;
    slot->writable = view_is_writable(&view, (uint32_t)i);
    slot->start = block_start(block) + piece->offset;
    slot->end = slot->start + piece->length;
    while (slot->start == block_start(first) && block_continues(dax, first)) {
        block_view(dax, --first, &view);
        assert(view.count > 0);
        piece = &view.pieces[view.count - 1];
        slot->start -= piece->length;
        slot->foffset = piece->foffset;
    }
    while (slot->end == block_start(last) + BLOCK_SIZE && block_continues(dax, last + 1)) {
        block_view(dax, ++last, &view);
        assert(view.count > 0);
        slot->end += view.pieces[0].length;
    }
    claim_shrink(dax, &slot->claim, first, last);
    slot->claim.start = slot->start;
    slot->claim.end = slot->end;
    return true;
}
