/* The DAXS section: saving, loading, reading. */
#include <oriel/dax.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/le.h"
#include "dax/drop.h"
#include "dax/picture.h"

static const char magic[4] = {'D', 'A', 'X', 'S'};

/* ---- save ---- */

static int take(struct oriel_dax *dax, struct picture *picture)
{
    pthread_mutex_lock(&dax->maintenance);
    int err = picture_take(dax, picture);
    pthread_mutex_unlock(&dax->maintenance);
    return err;
}

size_t oriel_dax_save_size(struct oriel_dax *dax)
{
    struct picture picture = {0};
    (void)take(dax, &picture); /* without room there is nothing to put right if memory was out */
    return ORIEL_DAXS_HEADER + picture.count * ORIEL_DAXS_ENTRY;
}

static void put_header(const struct oriel_dax *dax, unsigned char *at, const struct picture *picture)
{
    memcpy(at, magic, sizeof(magic));
    le32_store(at + 4, ORIEL_DAXS_VERSION);
    le64_store(at + 8, dax->window_gpa);
    le64_store(at + 16, dax->window_len);
    le64_store(at + 24, dax->cap_bytes);
    le64_store(at + 32, picture->bytes);
    le64_store(at + 40, picture->count);
}

int oriel_dax_save(struct oriel_dax *dax, void *buffer, size_t size, size_t *written)
{
    unsigned char *out = buffer;
    struct picture picture = {0};
    if (size >= ORIEL_DAXS_HEADER) {
        picture.out = out + ORIEL_DAXS_HEADER;
        picture.room = (size - ORIEL_DAXS_HEADER) / ORIEL_DAXS_ENTRY;
    }
    int err = take(dax, &picture);
    if (err == 0) {
        *written = ORIEL_DAXS_HEADER + picture.count * ORIEL_DAXS_ENTRY;
        if (*written > size)
            err = -ENOBUFS;
        else
            put_header(dax, out, &picture);
    }
    ORIEL_TRACE(dax->trace, "dax save %zu slots, %llu bytes mapped -> %d", picture.count,
                (unsigned long long)picture.bytes, err);
    return err;
}

/* ---- reading ---- */

int oriel_daxs_open(const void *blob, size_t size, struct oriel_daxs *out)
{
    const unsigned char *at = blob;
    if (size < sizeof(magic) || memcmp(at, magic, sizeof(magic)) != 0)
        return -ENOMSG;
    if (size < 8)
        return -EMSGSIZE;
    if (le32_load(at + 4) != ORIEL_DAXS_VERSION)
        return -EPROTONOSUPPORT;
    if (size < ORIEL_DAXS_HEADER)
        return -EMSGSIZE;
    *out = (struct oriel_daxs){
        .window_gpa = le64_load(at + 8),
        .window_len = le64_load(at + 16),
        .cap_bytes = le64_load(at + 24),
        .mapped_bytes = le64_load(at + 32),
        .entry_count = le64_load(at + 40),
    };
    uint64_t bytes = size - ORIEL_DAXS_HEADER, entries = bytes / ORIEL_DAXS_ENTRY;
    if (out->entry_count > entries)
        return -EMSGSIZE;
    return bytes != out->entry_count * ORIEL_DAXS_ENTRY ? -E2BIG : 0;
}

static const unsigned char *entry_at(const void *blob, uint64_t i)
{
    return (const unsigned char *)blob + ORIEL_DAXS_HEADER + i * ORIEL_DAXS_ENTRY;
}

static inline struct oriel_dax_slot entry(const void *blob, uint64_t i)
{
    const unsigned char *at = entry_at(blob, i);
    return (struct oriel_dax_slot){
        .moffset = le64_load(at),
        .len = le64_load(at + 8),
        .nodeid = le64_load(at + 16),
        .foffset = le64_load(at + 24),
        .prot = le32_load(at + 32),
    };
}

struct oriel_dax_slot oriel_daxs_entry(const void *blob, uint64_t i)
{
    return entry(blob, i);
}

int oriel_dax_each_slot(struct oriel_dax *dax, int (*each)(void *opaque, const struct oriel_dax_slot *slot),
                        void *opaque)
{
    struct picture picture = {.with_bound = true};
    for (;;) {
        int err = take(dax, &picture);
        if (err != 0 || picture.count <= picture.room) {
            if (err != 0)
                free(picture.out);
            if (err != 0)
                return err;
            break;
        }
        free(picture.out);
        picture.room = picture.count + picture.count / 8 + 64;
        picture.out = malloc(picture.room * PICTURE_ENTRY);
        if (picture.out == NULL)
            return -ENOMEM;
    }
    int result = 0;
    for (size_t i = 0; i < picture.count && result == 0; i++) {
        const unsigned char *at = picture.out + i * PICTURE_ENTRY;
        const struct oriel_dax_slot slot = {
            .moffset = le64_load(at),
            .len = le64_load(at + 8),
            .nodeid = le64_load(at + 16),
            .foffset = le64_load(at + 24),
            .prot = le32_load(at + 32),
            .bound = le32_load(at + 36) != 0,
        };
        result = each(opaque, &slot);
    }
    free(picture.out);
    return result;
}

/* ---- load: checks ---- */

/* Why an entry is refused; the caller has found that something is wrong with it. */
static inline int entry_error(const struct oriel_dax *dax, const struct oriel_dax_slot *slot,
                              uint64_t before_start, uint64_t before_end, uint32_t reserved)
{
    uint64_t end;
    if (slot->len == 0)
        return -ENODATA;
    if (!is_aligned(slot->moffset | slot->len | slot->foffset, dax->granule))
        return -EINVAL;
    if (!range_within(slot->moffset, slot->len, dax->window_len))
        return -ERANGE;
    if (!checked_add_u64(slot->foffset, slot->len, &end) || end > INT64_MAX)
        return -EOVERFLOW;
    if (slot->moffset < before_end)
        return slot->moffset < before_start ? -EILSEQ : -EEXIST;
    if (slot->prot == 0 || (slot->prot & ~(ORIEL_DAX_READ | ORIEL_DAX_WRITE)) != 0)
        return -EPROTO;
    if (reserved != 0)
        return -EBADMSG;
    return dax->read_only && (slot->prot & ORIEL_DAX_WRITE) ? -EROFS : 0;
}

/*
 * All entries one after the other; *bad is the first that is refused. *simple: each starts a block and fits in it, as
 * a Linux guest's do.
 */
static int check_entries(const struct oriel_dax *dax, const void *blob, uint64_t count, uint64_t *sum,
                         uint64_t *bad, bool *simple)
{
    uint64_t before_start = 0, before_end = 0, bytes = 0, other_shape = 0;
    for (uint64_t i = 0; i < count; i++) {
        const struct oriel_dax_slot slot = entry(blob, i);
        int err = entry_error(dax, &slot, before_start, before_end, le32_load(entry_at(blob, i) + 36));
        if (err != 0) {
            *bad = i;
            return err;
        }
        before_start = slot.moffset;
        before_end = slot.moffset + slot.len;
        other_shape |= slot.len > BLOCK_SIZE || (slot.moffset & (BLOCK_SIZE - 1)) != 0;
        bytes += slot.len; /* cannot wrap: the entries lie side by side in the window */
    }
    *sum = bytes;
    *simple = other_shape == 0;
    return 0;
}

static int check(const struct oriel_dax *dax, const void *blob, size_t size, struct oriel_daxs *head,
                 bool *simple)
{
    uint64_t sum = 0, bad = UINT64_MAX;
    const char *why = "head";
    int err = oriel_daxs_open(blob, size, head);
    if (err == 0 && (head->window_gpa != dax->window_gpa || head->window_len != dax->window_len)) {
        why = "another window";
        err = -EXDEV;
    }
    if (err == 0) {
        why = "entry";
        err = check_entries(dax, blob, head->entry_count, &sum, &bad, simple);
    }
    if (err == 0 && sum != head->mapped_bytes) {
        why = "mapped_bytes is not the sum of the lengths";
        err = -EBADMSG;
    }
    if (err == 0 && (sum > dax->cap_bytes || (dax->limit_slots && head->entry_count > dax->slots.limit))) {
        why = "over the cap";
        err = -ENOSPC;
    }
    if (err != 0)
        ORIEL_TRACE(dax->trace, "dax load refused: %s (entry %lld of %zu bytes): %d", why, (long long)bad,
                    size, err);
    return err;
}

/* ---- load: publishing ---- */

static uint64_t first_block(const struct oriel_dax_slot *slot)
{
    return slot->moffset >> BLOCK_SHIFT;
}

static uint64_t last_block(const struct oriel_dax_slot *slot)
{
    return (slot->moffset + slot->len - 1) >> BLOCK_SHIFT;
}

/* How many entries from i on have a piece in this block. */
static uint64_t pieces_in(const void *blob, uint64_t count, uint64_t i, uint64_t block)
{
    uint64_t n = 1; /* entry i itself has one: it starts there or before */
    while (i + n < count && le64_load(entry_at(blob, i + n)) >> BLOCK_SHIFT <= block)
        n++;
    return n;
}

static struct piece piece_in(const struct oriel_dax *dax, const struct oriel_dax_slot *slot, uint64_t block)
{
    uint64_t start = max_u64(block_start(block), slot->moffset);
    uint64_t end = min_u64(block_start(block) + block_length(dax, block), slot->moffset + slot->len);
    return (struct piece){
        .nodeid = slot->nodeid,
        .foffset = slot->foffset + (start - slot->moffset),
        .offset = (uint32_t)(start - block_start(block)),
        .length = (uint32_t)(end - start),
        .flags = slot->prot & ORIEL_DAX_WRITE ? PIECE_WRITE : 0,
    };
}

/* What each block of the blob gets, in rising order. Arrays are made before anything changes. */
struct loader {
    struct oriel_dax *dax;
    const void *blob;
    uint64_t count;
    bool simple;                           /* one entry, one block */
    struct fine *prepared, **prepared_end; /* a list through next_retired */
};

static int prepare_array(struct loader *l, uint64_t i, uint64_t block, uint64_t pieces)
{
    struct fine *fine = malloc(sizeof(*fine) + pieces * sizeof(struct piece));
    if (fine == NULL)
        return -ENOMEM;
    fine->next_retired = NULL;
    fine->count = (uint32_t)pieces;
    fine->reserved = 0;
    for (uint64_t k = 0; k < pieces; k++) {
        const struct oriel_dax_slot slot = entry(l->blob, i + k);
        fine->piece[k] = piece_in(l->dax, &slot, block);
    }
    *l->prepared_end = fine;
    l->prepared_end = &fine->next_retired;
    return 0;
}

static inline void publish_block(struct loader *l, const struct oriel_dax_slot *first, uint64_t block,
                                 uint64_t pieces)
{
    struct oriel_dax *dax = l->dax;
    const struct oriel_dax_slot slot = *first;
    uint64_t word = claimed_word(dax, block);
    struct record *record = block_record(dax, block, word);
    uint64_t fresh = (word & WORD_VERSION) | ((word & WORD_GENERATION) + WORD_GENERATION_ONE);
    fresh |= slot.moffset < block_start(block) ? WORD_CONT : 0;
    if (pieces == 1) {
        struct piece piece = piece_in(dax, &slot, block);
        atomic_store_explicit(&record->nodeid, piece.nodeid, memory_order_relaxed);
        atomic_store_explicit(&record->foffset, piece.foffset, memory_order_relaxed);
        fresh |= WORD_ONE | word_extent(piece.offset, piece.length, dax->granule_shift) |
                 (slot.prot & ORIEL_DAX_WRITE ? WORD_WRITE : 0);
    } else {
        struct fine *fine = l->prepared;
        l->prepared = fine->next_retired;
        atomic_store_explicit(&record->nodeid, (uintptr_t)fine, memory_order_relaxed);
        fresh |= WORD_FINE;
    }
    if (!atomic_load_explicit(&dax->chunk_used[block >> CHUNK_SHIFT], memory_order_relaxed))
        atomic_store(&dax->chunk_used[block >> CHUNK_SHIFT], 1);
    atomic_store_explicit(&dax->words[block], fresh, memory_order_release);
}

/* Walks the blocks that the blob covers: prepares the arrays, or publishes. */
static int walk_blocks(struct loader *l, bool publish)
{
    for (uint64_t i = 0; l->simple && publish && i < l->count; i++) {
        const struct oriel_dax_slot slot = entry(l->blob, i);
        publish_block(l, &slot, first_block(&slot), 1);
    }
    if (l->simple)
        return 0;
    for (uint64_t i = 0, next_block = 0; i < l->count;) {
        const struct oriel_dax_slot slot = entry(l->blob, i);
        uint64_t block = max_u64(first_block(&slot), next_block);
        uint64_t pieces = pieces_in(l->blob, l->count, i, block);
        if (publish)
            publish_block(l, &slot, block, pieces);
        else if (pieces > 1 && prepare_array(l, i, block, pieces) != 0)
            return -ENOMEM;
        /* The last slot of this block may go on in the next one. */
        const struct oriel_dax_slot end = pieces == 1 ? slot : entry(l->blob, i + pieces - 1);
        i += last_block(&end) > block ? pieces - 1 : pieces;
        next_block = block + 1;
    }
    return 0;
}

static void drop_prepared(struct loader *l)
{
    while (l->prepared != NULL) {
        struct fine *next = l->prepared->next_retired;
        free(l->prepared);
        l->prepared = next;
    }
}

/* The gate is closed and all checks are done. */
static int replace_all(struct loader *l, const struct oriel_daxs *head)
{
    struct oriel_dax *dax = l->dax;
    int err = dax_unmap_all(dax);
    if (err != 0)
        return err;
    dax_forget_all(dax, true, head->mapped_bytes, head->entry_count);
    walk_blocks(l, true);
    return 0;
}

int oriel_dax_load(struct oriel_dax *dax, const void *blob, size_t size)
{
    struct oriel_daxs head;
    bool simple = false;
    int err = check(dax, blob, size, &head, &simple);
    if (err != 0)
        return err;
    struct loader loader = {.dax = dax, .blob = blob, .count = head.entry_count, .simple = simple};
    loader.prepared_end = &loader.prepared;
    err = walk_blocks(&loader, false);
    if (err == 0) {
        pthread_mutex_lock(&dax->maintenance);
        gate_close(dax);
        err = replace_all(&loader, &head);
        gate_open(dax);
        pthread_mutex_unlock(&dax->maintenance);
    }
    drop_prepared(&loader);
    ORIEL_TRACE(dax->trace, "dax load %llu slots, %llu bytes -> %d", (unsigned long long)head.entry_count,
                (unsigned long long)head.mapped_bytes, err);
    return err;
}
