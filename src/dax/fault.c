/* Stage-2 faults, and binding of what a restore left SAVED. */
#include <oriel/dax.h>

#include <errno.h>
#include <unistd.h>

#include "base/checked.h"
#include "dax/bind.h"
#include "dax/slots.h"

/* As much as one call of the mapper binds when all is bound: claims of that length are held over the call. */
#define BIND_ALL_LIMIT (UINT64_C(1) << 30)

/* What a fault wants of the slot. */
struct wish {
    bool write;
    bool eof_check; /* the address itself must lie inside the file */
    bool again;     /* bound is not good enough: the same access has failed on it before */
};

/* The bytes around `at` that a bind maps: those pieces of the slot that hang together and are not bound. */
static void saved_run(struct oriel_dax *dax, const struct slot *slot, uint64_t at, uint64_t *start,
                      uint64_t *end)
{
    bool found = false;
    *start = slot->start;
    *end = slot->end;
    for (uint64_t block = slot->claim.first; block <= slot->claim.last; block++) {
        struct block_view view;
        block_view(dax, block, &view);
        uint64_t from = max_u64(block_start(block), slot->start);
        uint64_t to = min_u64(block_start(block) + BLOCK_SIZE, slot->end);
        bool bound = view_is_bound(&view, (uint32_t)view_find(&view, from - block_start(block)));
        if (from <= at && at < to)
            found = true;
        if (!bound)
            continue;
        if (found) {
            *end = from;
            return;
        }
        *start = to;
    }
}

static void set_bound(struct oriel_dax *dax, const struct slot *slot, uint64_t start, uint64_t end,
                      bool bound)
{
    for (uint64_t block = start >> BLOCK_SHIFT; block <= (end - 1) >> BLOCK_SHIFT; block++) {
        struct block_view view;
        block_view(dax, block, &view);
        uint64_t from = max_u64(block_start(block), slot->start) - block_start(block);
        block_set_bound(dax, block, &view, (uint32_t)view_find(&view, from), bound);
    }
}

static uint64_t eof_page(const struct oriel_dax *dax, const struct slot *slot, uint64_t at)
{
    return align_down(slot->foffset + (at - slot->start), dax->host_page);
}

/* The claimed block goes on from the run: its first piece is SAVED, with the same file and rights at the next offset. */
static bool goes_on(const struct slot *slot, uint64_t block, const struct block_view *view)
{
    return view->count > 0 && view->pieces[0].offset == 0 && !view_is_bound(view, 0) &&
           view->pieces[0].nodeid == slot->nodeid && view_is_writable(view, 0) == slot->writable &&
           view->pieces[0].foffset == slot->foffset + (block_start(block) - slot->start);
}

/*
 * Claims the blocks behind the slot that go on from it, up to `limit` bytes in all; *slots counts the slots that
 * begin there. Returns where the run ends then.
 */
static uint64_t claim_ahead(struct oriel_dax *dax, const struct slot *slot, uint64_t end, uint64_t limit,
                            int64_t *slots)
{
    uint64_t block = end >> BLOCK_SHIFT;
    while (end == block_start(block) && block < dax->block_count && end - slot->start < limit) {
        struct block_view view;
        claim_further(dax, block);
        block_view(dax, block, &view);
        if (!goes_on(slot, block, &view)) {
            claim_end(dax, block, view.word);
            break;
        }
        *slots += !(view.word & WORD_CONT);
        end += view.pieces[0].length;
        block++;
    }
    return end;
}

static void end_ahead(struct oriel_dax *dax, const struct slot *slot, uint64_t end, bool bound)
{
    for (uint64_t block = slot->claim.last + 1; block_start(block) < end; block++) {
        struct block_view view;
        block_view(dax, block, &view);
        if (bound)
            block_set_bound(dax, block, &view, 0, true);
        claim_end(dax, block, claimed_word(dax, block));
    }
}

/*
 * Binds the SAVED part of the claimed slot around `at`, and what goes on behind it up to `limit` bytes: one call of
 * the mapper. *slots is how many slots that are.
 */
static int bind_slot(struct oriel_dax *dax, const struct slot *slot, uint64_t at, const struct wish *wish,
                     uint64_t limit, int64_t *slots)
{
    uint64_t start, end, ahead;
    saved_run(dax, slot, at, &start, &end);
    *slots = 1;
    ahead = end == slot->end ? claim_ahead(dax, slot, end, limit, slots) : end;
    const struct dax_mapping mapping = {
        .moffset = start,
        .len = ahead - start,
        .nodeid = slot->nodeid,
        .foffset = slot->foffset + (start - slot->start),
        .prot = ORIEL_DAX_READ | (slot->writable ? ORIEL_DAX_WRITE : 0),
        .eof_check = wish->eof_check,
        .eof_page = eof_page(dax, slot, at),
    };
    enum oriel_range_left left;
    int err = dax_map(dax, &mapping, &left);
    end_ahead(dax, slot, ahead, err == 0);
    if (err == 0) {
        set_bound(dax, slot, start, end, true);
        dax_count(dax, COUNT_FAULT_BINDS, 1);
    }
    claim_release(dax, &slot->claim);
    return err;
}

/* The plans for the blocks of a slot that becomes writable; only its two end blocks can need memory. */
struct upgrade {
    struct block_next first, last;
};

static int plan_block_upgrade(struct oriel_dax *dax, const struct slot *slot, uint64_t block,
                              struct block_next *next)
{
    struct block_view view;
    block_view(dax, block, &view);
    uint64_t from = max_u64(block_start(block), slot->start) - block_start(block);
    return block_plan_upgrade(&view, (uint32_t)view_find(&view, from), next);
}

static int plan_upgrade(struct oriel_dax *dax, const struct slot *slot, struct upgrade *plan)
{
    int err = plan_block_upgrade(dax, slot, slot->claim.first, &plan->first);
    plan->last.fine = NULL;
    if (err == 0 && slot->claim.last != slot->claim.first) {
        err = plan_block_upgrade(dax, slot, slot->claim.last, &plan->last);
        if (err != 0)
            block_plan_drop(&plan->first);
    }
    return err;
}

static void publish_upgrade(struct oriel_dax *dax, const struct slot *slot, struct upgrade *plan)
{
    const struct claim *claim = &slot->claim;
    change_begin(dax, claim);
    if (claim->last != claim->first)
        block_publish(dax, claim->last, &plan->last);
    for (uint64_t block = claim->last; block > claim->first + 1; block--) {
        struct block_next next;
        int err = plan_block_upgrade(dax, slot, block - 1, &next);
        (void)err; /* a block between the ends has one piece and needs no memory */
        block_publish(dax, block - 1, &next);
    }
    block_publish(dax, claim->first, &plan->first);
}

/* Maps the whole claimed slot writable. */
static int upgrade_slot(struct oriel_dax *dax, const struct slot *slot, uint64_t at, const struct wish *wish)
{
    struct upgrade plan;
    enum oriel_range_left left = ORIEL_RANGE_KEPT;
    const struct dax_mapping mapping = {
        .moffset = slot->start,
        .len = slot->end - slot->start,
        .nodeid = slot->nodeid,
        .foffset = slot->foffset,
        .prot = ORIEL_DAX_READ | ORIEL_DAX_WRITE,
        .eof_check = wish->eof_check,
        .eof_page = eof_page(dax, slot, at),
    };
    int err = dax->read_only ? -EACCES : plan_upgrade(dax, slot, &plan);
    if (err == 0) {
        err = dax_map(dax, &mapping, &left);
        if (err == 0) {
            publish_upgrade(dax, slot, &plan);
            dax_count(dax, COUNT_FAULT_UPGRADES, 1);
            return 0;
        }
        block_plan_drop(&plan.first);
        block_plan_drop(&plan.last);
    }
    if (left == ORIEL_RANGE_LOST)
        set_bound(dax, slot, slot->start, slot->end, false);
    claim_release(dax, &slot->claim);
    return err == -EROFS ? -EACCES : err;
}

/* The slot is bound and allows the access, yet the guest faults on it: is the page still in the file? */
static int look_closer(struct oriel_dax *dax, const struct slot *slot, uint64_t at)
{
    const struct dax_mapping mapping = {
        .nodeid = slot->nodeid,
        .prot = ORIEL_DAX_READ,
        .eof_check = true,
        .check_only = true,
        .eof_page = eof_page(dax, slot, at),
    };
    enum oriel_range_left left;
    int err = dax_map(dax, &mapping, &left);
    claim_release(dax, &slot->claim);
    return err;
}

static bool is_bound_at(struct oriel_dax *dax, uint64_t at)
{
    struct block_view view;
    uint64_t block = at >> BLOCK_SHIFT;
    block_view(dax, block, &view);
    return view_is_bound(&view, (uint32_t)view_find(&view, at - block_start(block)));
}

/*
 * Makes the slot at window byte `at` fit the wish. *end is up to where that holds: the end of the slot or of the
 * block; parts of the slot in other blocks may be in another state.
 */
static int serve(struct oriel_dax *dax, uint64_t at, const struct wish *wish, uint64_t *end)
{
    struct slot slot;
    if (!slot_claim(dax, at, &slot))
        return ORIEL_FAULT_UNMAPPED;
    *end = min_u64(slot.end, align_down(at, BLOCK_SIZE) + BLOCK_SIZE);
    if (wish->write && !slot.writable)
        return upgrade_slot(dax, &slot, at, wish);
    if (!is_bound_at(dax, at)) {
        int64_t slots;
        return bind_slot(dax, &slot, at, wish, 0, &slots);
    }
    if (wish->again)
        return look_closer(dax, &slot, at);
    claim_release(dax, &slot.claim);
    return ORIEL_FAULT_RESUME;
}

/*
 * The word of the block when the byte is shown, bound and allows the access, and nobody is changing it; else
 * 0.
 */
static inline uint64_t ready_word(struct oriel_dax *dax, uint64_t at, uint64_t need)
{
    uint64_t word = atomic_load_explicit(&dax->words[at >> BLOCK_SHIFT], memory_order_acquire);
    uint64_t granule = (at & (BLOCK_SIZE - 1)) >> dax->granule_shift;
    uint64_t start = (word >> WORD_OFFSET_SHIFT) & WORD_FIELD_MASK;
    uint64_t last = (word >> WORD_LENGTH_SHIFT) & WORD_FIELD_MASK;
    bool ready = (word & (WORD_CLAIMED | WORD_KIND | need)) == (WORD_ONE | need) && granule - start <= last &&
                 !(atomic_load_explicit(&dax->phase, memory_order_relaxed) & PHASE_GATE);
    return ready ? word : 0;
}

static uint64_t bits_for(uint32_t access)
{
    return access == ORIEL_DAX_WRITE ? WORD_BOUND | WORD_WRITE : WORD_BOUND;
}

/* An empty block that nobody works on: no need to claim it. */
static bool shows_nothing(struct oriel_dax *dax, uint64_t at)
{
    uint64_t word = atomic_load(&dax->words[at >> BLOCK_SHIFT]);
    return (word & (WORD_CLAIMED | WORD_KIND)) == WORD_NONE && !(atomic_load(&dax->phase) & PHASE_GATE);
}

static __attribute__((noinline)) int fault_slowly(struct oriel_dax *dax, uint64_t at, uint32_t access)
{
    uint32_t kind = access & ~ORIEL_DAX_AGAIN;
    if (kind != ORIEL_DAX_READ && kind != ORIEL_DAX_WRITE)
        return -EINVAL;
    const struct wish wish = {
        .write = kind == ORIEL_DAX_WRITE,
        .eof_check = true,
        .again = (access & ORIEL_DAX_AGAIN) != 0,
    };
    uint64_t end;
    int result = shows_nothing(dax, at) ? ORIEL_FAULT_UNMAPPED : serve(dax, at, &wish, &end);
    dax_count(dax, COUNT_FAULTS, 1);
    if (result < 0)
        dax_count(dax, COUNT_FAULT_ERRORS, 1);
    ORIEL_TRACE(dax->trace, "dax fault moffset=%#llx access=%u -> %d", (unsigned long long)at, access,
                result);
    return result;
}

int oriel_dax_fault(struct oriel_dax *dax, uint64_t gpa, uint32_t access)
{
    uint64_t at = gpa - dax->window_gpa;
    if (at >= dax->window_len)
        return ORIEL_FAULT_OUTSIDE;
    if (__builtin_expect(access == ORIEL_DAX_READ || access == ORIEL_DAX_WRITE, 1) &&
        __builtin_expect(ready_word(dax, at, bits_for(access)) != 0, 1))
        return ORIEL_FAULT_RESUME;
    return fault_slowly(dax, at, access);
}

int oriel_dax_bind(struct oriel_dax *dax, uint64_t gpa, uint64_t len, uint32_t access)
{
    uint64_t at = gpa - dax->window_gpa;
    if (access != ORIEL_DAX_READ && access != ORIEL_DAX_WRITE)
        return -EINVAL;
    if (gpa < dax->window_gpa || !range_within(at, len, dax->window_len))
        return -EFAULT;
    /* No check against the end of the file: the system call that uses the buffer tells. */
    const struct wish wish = {.write = access == ORIEL_DAX_WRITE};
    for (uint64_t end = at + len, next; at < end; at = next) {
        uint64_t word = ready_word(dax, at, bits_for(access));
        if (word != 0) {
            next = block_start(at >> BLOCK_SHIFT) + word_offset(word, dax->granule_shift) +
                   word_length(word, dax->granule_shift);
            continue;
        }
        int result = serve(dax, at, &wish, &next);
        if (result == ORIEL_FAULT_UNMAPPED || result == -EACCES)
            return -EFAULT;
        if (result < 0)
            return result;
    }
    return 0;
}

/* The first byte at or behind *at, in its block, that a SAVED piece shows. False when there is none. */
static bool next_saved(struct oriel_dax *dax, uint64_t block, uint64_t *at)
{
    uint64_t word = atomic_load(&dax->words[block]);
    if (!(word & WORD_CLAIMED) &&
        (word_kind(word) == WORD_NONE || (word_kind(word) == WORD_ONE && (word & WORD_BOUND))))
        return false;
    struct block_view view;
    bool found = false;
    claim_first(dax, block);
    block_view(dax, block, &view);
    for (uint32_t i = 0; i < view.count && !found; i++) {
        uint64_t start = block_start(block) + view.pieces[i].offset;
        if (start + view.pieces[i].length > *at && !view_is_bound(&view, i)) {
            *at = max_u64(*at, start);
            found = true;
        }
    }
    claim_end(dax, block, claimed_word(dax, block));
    return found;
}

int64_t dax_bind_ahead(struct oriel_dax *dax, uint64_t at, bool eof_check, uint64_t limit)
{
    struct slot slot;
    int64_t slots = 0;
    const struct wish wish = {.eof_check = eof_check};
    if (!slot_claim(dax, at, &slot))
        return 0;
    if (is_bound_at(dax, at)) {
        claim_release(dax, &slot.claim);
        return 0;
    }
    int err = bind_slot(dax, &slot, at, &wish, limit, &slots);
    return err != 0 ? err : slots;
}

/* Claims the blocks behind a run that are SAVED from their start on, whatever they show. */
static uint64_t claim_saved_behind(struct oriel_dax *dax, uint64_t end)
{
    uint64_t block = end >> BLOCK_SHIFT;
    while (end == block_start(block) && block < dax->block_count) {
        claim_further(dax, block);
        uint64_t word = claimed_word(dax, block);
        if ((word & (WORD_KIND | WORD_BOUND)) != WORD_ONE || word_offset(word, dax->granule_shift) != 0) {
            claim_end(dax, block, word);
            break;
        }
        end += word_length(word, dax->granule_shift);
        block++;
    }
    return end;
}

int dax_with_saved(struct oriel_dax *dax, uint64_t at,
                   int (*call)(void *opaque, uint64_t moffset, uint64_t len), void *opaque, bool behind,
                   uint64_t *end)
{
    struct slot slot;
    uint64_t start, slot_part_end;
    int result = 0;
    *end = align_down(at, dax->granule) + dax->granule;
    if (!slot_claim(dax, at, &slot))
        return 0;
    if (!is_bound_at(dax, at)) {
        saved_run(dax, &slot, at, &start, &slot_part_end);
        *end = behind && slot_part_end == slot.end ? claim_saved_behind(dax, slot_part_end) : slot_part_end;
        result = call(opaque, start, *end - start);
        end_ahead(dax, &slot, *end, false);
    }
    claim_release(dax, &slot.claim);
    return result;
}

bool dax_next_saved(struct oriel_dax *dax, uint64_t *at)
{
    for (uint64_t block = *at >> BLOCK_SHIFT; block < dax->block_count; block++) {
        if (!atomic_load(&dax->chunk_used[block >> CHUNK_SHIFT])) {
            block |= (UINT64_C(1) << CHUNK_SHIFT) - 1;
            continue;
        }
        *at = max_u64(*at, block_start(block));
        if (next_saved(dax, block, at))
            return true;
    }
    return false;
}

static int64_t bind_block(struct oriel_dax *dax, uint64_t block, int *first_err)
{
    static const struct wish any = {0};
    int64_t bound = 0;
    uint64_t end = block_start(block) + block_length(dax, block);
    for (uint64_t at = block_start(block), next; at < end && next_saved(dax, block, &at); at = next) {
        next = at + dax->granule;
        /* Many at once; what fails is tried one by one, so that one bad slot spoils no other. */
        int64_t many = dax_bind_ahead(dax, at, false, BIND_ALL_LIMIT);
        if (many > 0) {
            bound += many;
            continue;
        }
        int result = serve(dax, at, &any, &next);
        if (result == ORIEL_FAULT_RESUME)
            bound++;
        else if (result < 0 && *first_err == 0)
            *first_err = result;
    }
    return bound;
}

int64_t oriel_dax_bind_all(struct oriel_dax *dax)
{
    int64_t bound = 0;
    int first_err = 0;
    for (uint64_t block = 0; block < dax->block_count; block++) {
        if (!atomic_load(&dax->chunk_used[block >> CHUNK_SHIFT])) {
            block |= (UINT64_C(1) << CHUNK_SHIFT) - 1;
            continue;
        }
        bound += bind_block(dax, block, &first_err);
    }
    ORIEL_TRACE(dax->trace, "dax bind_all -> %lld bound, error %d", (long long)bound, first_err);
    return first_err != 0 ? first_err : bound;
}
