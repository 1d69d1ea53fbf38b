#include "dax/picture.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/le.h"

#define BATCH 64

/* ---- what those do who change blocks meanwhile ---- */

void picture_keep(struct oriel_dax *dax, uint64_t block, uint64_t phase)
{
    uint64_t epoch = phase / PHASE_EPOCH_ONE;
    /* Not by a look into undo_of: this picture may be over by now, and what it had put aside freed. */
    if (atomic_load_explicit(&dax->kept_epoch[block], memory_order_relaxed) == epoch)
        return;
    atomic_store_explicit(&dax->kept_epoch[block], epoch, memory_order_relaxed);
    struct undo *undo = malloc(sizeof(*undo));
    if (undo == NULL) {
        atomic_store(&dax->undo_failed, epoch);
        return;
    }
    uint64_t word = claimed_word(dax, block);
    struct record *record = block_record(dax, block, word);
    undo->epoch = epoch;
    undo->block = block;
    undo->word = word;
    undo->nodeid = atomic_load_explicit(&record->nodeid, memory_order_relaxed);
    undo->foffset = atomic_load_explicit(&record->foffset, memory_order_relaxed);
    /* First here, then in the list: whoever finds it in the list can take it out of here. */
    atomic_store(&dax->undo_of[block], undo);
    undo->next = atomic_load(&dax->undo_list);
    while (!atomic_compare_exchange_weak(&dax->undo_list, &undo->next, undo)) {
    }
}

void picture_retire(struct oriel_dax *dax, struct fine *fine)
{
    /* Not SAVING after the change was published: a later picture finds the new array only. */
    if (__builtin_expect(!(atomic_load(&dax->phase) & PHASE_SAVING), 1)) {
        free(fine);
        return;
    }
    fine->next_retired = atomic_load(&dax->retired);
    while (!atomic_compare_exchange_weak(&dax->retired, &fine->next_retired, fine)) {
    }
}

static void drop_undo(struct oriel_dax *dax)
{
    struct undo *undo = atomic_exchange(&dax->undo_list, NULL);
    while (undo != NULL) {
        struct undo *next = undo->next, *expected = undo;
        atomic_compare_exchange_strong(&dax->undo_of[undo->block], &expected, NULL);
        free(undo);
        undo = next;
    }
}

static void drop_retired(struct oriel_dax *dax)
{
    struct fine *fine = atomic_exchange(&dax->retired, NULL);
    while (fine != NULL) {
        struct fine *next = fine->next_retired;
        free(fine);
        fine = next;
    }
}

void picture_cleanup(struct oriel_dax *dax)
{
    drop_undo(dax);
    drop_retired(dax);
}

/* ---- writing entries ---- */

static inline unsigned char *entry_at(const struct picture *picture, size_t i)
{
    return picture->out + i * PICTURE_ENTRY;
}

static inline void put_entry(unsigned char *at, uint64_t moffset, uint64_t len, uint64_t nodeid,
                             uint64_t foffset, uint64_t prot_and_bound)
{
    le64_store(at, moffset);
    le64_store(at + 8, len);
    le64_store(at + 16, nodeid);
    le64_store(at + 24, foffset);
    le64_store(at + 32, prot_and_bound);
}

static inline uint64_t prot_and_bound(bool writable, bool bound)
{
    return ORIEL_DAX_READ | (writable ? ORIEL_DAX_WRITE : 0) | (uint64_t)bound << 32;
}

/* Adds a piece: a slot of its own, or the next part of the last one. */
static void add_piece(struct picture *picture, uint64_t moffset, const struct piece *piece, bool continues)
{
    uint32_t flags = atomic_load_explicit(&piece->flags, memory_order_relaxed);
    picture->bytes += piece->length;
    if (continues) {
        if (picture->count <= picture->room) {
            unsigned char *last = entry_at(picture, picture->count - 1);
            le64_store(last + 8, le64_load(last + 8) + piece->length);
        }
        return;
    }
    if (picture->count < picture->room)
        put_entry(entry_at(picture, picture->count), moffset, piece->length, piece->nodeid, piece->foffset,
                  prot_and_bound(flags & PIECE_WRITE, picture->with_bound && (flags & PIECE_BOUND)));
    picture->bound += (flags & PIECE_BOUND) != 0;
    picture->count++;
}

static void add_block(struct oriel_dax *dax, struct picture *picture, uint64_t block, uint64_t word,
                      uint64_t nodeid, uint64_t foffset)
{
    if (word_kind(word) == WORD_ONE) {
        const struct piece piece = {
            .nodeid = nodeid,
            .foffset = foffset,
            .offset = (uint32_t)word_offset(word, dax->granule_shift),
            .length = (uint32_t)word_length(word, dax->granule_shift),
            .flags = (word & WORD_BOUND ? PIECE_BOUND : 0) | (word & WORD_WRITE ? PIECE_WRITE : 0),
        };
        add_piece(picture, block_start(block) + piece.offset, &piece, (word & WORD_CONT) != 0);
    } else if (word_kind(word) == WORD_FINE) {
        const struct fine *fine = (const struct fine *)(uintptr_t)nodeid;
        for (uint32_t i = 0; i < fine->count; i++)
            add_piece(picture, block_start(block) + fine->piece[i].offset, &fine->piece[i],
                      i == 0 && (word & WORD_CONT));
    }
}

/* ---- one block with care ---- */

static void take_block(struct oriel_dax *dax, struct picture *picture, uint64_t block, uint64_t epoch)
{
    for (;;) {
        uint64_t word = atomic_load(&dax->words[block]);
        struct record *record = block_record(dax, block, word);
        uint64_t nodeid = atomic_load_explicit(&record->nodeid, memory_order_acquire);
        uint64_t foffset = atomic_load_explicit(&record->foffset, memory_order_acquire);
        uint64_t again = atomic_load(&dax->words[block]);
        const struct undo *undo = atomic_load(&dax->undo_of[block]);
        if (undo != NULL && undo->epoch == epoch) {
            add_block(dax, picture, block, undo->word, undo->nodeid, undo->foffset);
            return;
        }
        if (!((word | again) & WORD_COMMIT) && word_same_content(word, again)) {
            add_block(dax, picture, block, word, nodeid, foffset);
            return;
        }
        sched_yield();
    }
}

/* ---- many blocks at once, for the common case: one piece each, nobody at work ---- */

/*
 * Adds the blocks [block, block + count). False, with *picture as before, when one of them needs care. What was
 * put aside shows in undo_list before the change shows in a word.
 */
static bool take_batch(struct oriel_dax *dax, struct picture *picture, uint64_t block, uint64_t count)
{
    uint64_t words[BATCH], bytes = 0, bound = 0, differs = 0;
    unsigned char *out = entry_at(picture, picture->count);
    const unsigned shift = dax->granule_shift;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t word = atomic_load_explicit(&dax->words[block + i], memory_order_acquire);
        words[i] = word;
        uint64_t kind = word & (WORD_KIND | WORD_CONT | WORD_COMMIT);
        if (kind == WORD_NONE)
            continue;
        if (kind != WORD_ONE)
            return false;
        const struct record *record = block_record(dax, block + i, word);
        uint64_t length = word_length(word, shift);
        put_entry(out, block_start(block + i) + word_offset(word, shift), length,
                  atomic_load_explicit(&record->nodeid, memory_order_acquire),
                  atomic_load_explicit(&record->foffset, memory_order_acquire),
                  prot_and_bound(word & WORD_WRITE, picture->with_bound && (word & WORD_BOUND)));
        out += PICTURE_ENTRY;
        bytes += length;
        bound += (word & WORD_BOUND) != 0;
    }
    for (uint64_t i = 0; i < count; i++)
        differs |= words[i] ^ atomic_load_explicit(&dax->words[block + i], memory_order_relaxed);
    if (!word_same_content(differs, 0) || atomic_load(&dax->undo_list) != NULL)
        return false;
    picture->count = (size_t)(out - picture->out) / PICTURE_ENTRY;
    picture->bytes += bytes;
    picture->bound += bound;
    return true;
}

/*
 * The same for blocks that all show one slot of the same shape: nothing to decide for each, which is what makes a
 * save of a Linux guest's window about as fast as a copy.
 */
static bool take_uniform(struct oriel_dax *dax, struct picture *picture, uint64_t block, uint64_t count)
{
    const uint64_t shape = ~(WORD_GENERATION | WORD_CLAIMED | WORD_WAITERS);
    uint64_t words[BATCH], first, differs = 0;
    first = words[0] = atomic_load_explicit(&dax->words[block], memory_order_acquire);
    if ((first & (WORD_KIND | WORD_CONT | WORD_COMMIT)) != WORD_ONE)
        return false;
    for (uint64_t i = 1; i < count; i++) {
        words[i] = atomic_load_explicit(&dax->words[block + i], memory_order_acquire);
        differs |= words[i] ^ first;
    }
    if (differs & shape)
        return false;
    const uint64_t length = word_length(first, dax->granule_shift);
    const uint64_t prot = prot_and_bound(first & WORD_WRITE, picture->with_bound && (first & WORD_BOUND));
    const struct record *record = block_record(dax, block, first);
    uint64_t at = block_start(block) + word_offset(first, dax->granule_shift);
    unsigned char *out = entry_at(picture, picture->count);
    for (uint64_t i = 0; i < count; i++, out += PICTURE_ENTRY, at += BLOCK_SIZE)
        put_entry(out, at, length, atomic_load_explicit(&record[i].nodeid, memory_order_acquire),
                  atomic_load_explicit(&record[i].foffset, memory_order_acquire), prot);
    differs = 0;
    for (uint64_t i = 0; i < count; i++)
        differs |= words[i] ^ atomic_load_explicit(&dax->words[block + i], memory_order_relaxed);
    if (!word_same_content(differs, 0) || atomic_load(&dax->undo_list) != NULL)
        return false;
    picture->count += count;
    picture->bytes += count * length;
    picture->bound += first & WORD_BOUND ? count : 0;
    return true;
}

static void take_all(struct oriel_dax *dax, struct picture *picture, uint64_t epoch)
{
    for (uint64_t block = 0, next; block < dax->block_count; block = next) {
        next = min_u64(block + BATCH, dax->block_count);
        if (!atomic_load(&dax->chunk_used[block >> CHUNK_SHIFT])) {
            next = ((block >> CHUNK_SHIFT) + 1) << CHUNK_SHIFT;
            continue;
        }
        if (picture->count + BATCH <= picture->room && (take_uniform(dax, picture, block, next - block) ||
                                                        take_batch(dax, picture, block, next - block)))
            continue;
        for (; block < next; block++)
            take_block(dax, picture, block, epoch);
    }
}

int picture_take(struct oriel_dax *dax, struct picture *picture)
{
    drop_undo(dax);
    uint64_t phase = (atomic_load(&dax->phase) + PHASE_EPOCH_ONE) | PHASE_SAVING;
    uint64_t epoch = phase / PHASE_EPOCH_ONE;
    picture->count = picture->bound = 0;
    picture->bytes = 0;
    atomic_store(&dax->phase, phase); /* the moment */
    take_all(dax, picture, epoch);
    atomic_fetch_and(&dax->phase, ~PHASE_SAVING);
    int err = atomic_load(&dax->undo_failed) == epoch ? -ENOMEM : 0;
    drop_undo(dax);
    drop_retired(dax);
    return err;
}
