/* FUSE_REMOVEMAPPING. */
#include <oriel/dax.h>

#include <errno.h>

#include "base/checked.h"
#include "dax/change.h"

/* A Linux guest with 4 KiB pages sends at most this many entries in one request. */
#define BATCH 256

static bool shows_nothing(struct oriel_dax *dax, uint64_t start, uint64_t end)
{
    uint64_t block = start >> BLOCK_SHIFT;
    if (block != (end - 1) >> BLOCK_SHIFT)
        return false;
    return (atomic_load(&dax->words[block]) & (WORD_CLAIMED | WORD_KIND)) == WORD_NONE;
}

/*
 * The common case: the range is one slot that lies in one block. False when it is not; else *err is the answer.
 */
static bool try_single(struct oriel_dax *dax, uint64_t start, uint64_t end, int *err)
{
    uint64_t block = start >> BLOCK_SHIFT, offset = start - block_start(block), len = end - start;
    uint64_t seen = atomic_load_explicit(&dax->words[block], memory_order_relaxed);
    if ((seen & (WORD_CLAIMED | WORD_KIND | WORD_CONT)) != WORD_ONE ||
        word_offset(seen, dax->granule_shift) != offset || word_length(seen, dax->granule_shift) != len ||
        !claim_try(dax, block, seen))
        return false;
    if (offset + len == BLOCK_SIZE && block_continues(dax, block + 1)) {
        claim_end(dax, block, seen);
        return false;
    }
    *err = dax_unmap(dax, start, len);
    if (*err != 0) {
        dax_count(dax, COUNT_UNMAPS, 1);
        claim_end(dax, block, seen);
        return true;
    }
    block_publish_none(dax, block, seen);
    unsigned shard = dax_shard(dax);
    budget_give(&dax->bytes, shard, len >> dax->granule_shift, 1);
    if (dax->limit_slots)
        budget_give(&dax->slots, shard, 1, 1);
    return true;
}

/* Removes what [start, end) shows, with one call of the mapper; `entries` of the guest's list lie in it. */
static int remove_run(struct oriel_dax *dax, uint64_t start, uint64_t end, uint64_t entries)
{
    static const struct content nothing = {.nothing = true};
    struct change change;
    if (shows_nothing(dax, start, end)) {
        dax_count(dax, COUNT_REMOVES_WITHOUT_UNMAP, entries);
        return 0;
    }
    int err;
    if (entries == 1 && try_single(dax, start, end, &err))
        return err;
    change_start(dax, start, end, &nothing, &change);
    if (change.overlap == 0) {
        change_give_up(dax, &change, false);
        dax_count(dax, COUNT_REMOVES_WITHOUT_UNMAP, entries);
        return 0;
    }
    unsigned shard = dax_shard(dax);
    int64_t more_slots = change_slots(&change);
    if (dax->limit_slots && more_slots > 0 && !budget_take(&dax->slots, shard, (uint64_t)more_slots)) {
        change_give_up(dax, &change, false);
        return -ENOSPC;
    }
    err = change_plan(dax, &change);
    if (err == 0) {
        err = dax_unmap(dax, change.shown_from, change.shown_to - change.shown_from);
        if (err != 0)
            dax_count(dax, COUNT_UNMAPS, 1);
    }
    if (err != 0) {
        if (dax->limit_slots && more_slots > 0)
            budget_untake(&dax->slots, shard, (uint64_t)more_slots);
        change_give_up(dax, &change, false);
        return err;
    }
    change_publish(dax, &change);
    budget_give(&dax->bytes, shard, change.overlap >> dax->granule_shift, 1);
    if (entries > 1)
        dax_count(dax, COUNT_REMOVES_WITHOUT_UNMAP, entries - 1);
    if (dax->limit_slots && more_slots < 0)
        budget_give(&dax->slots, shard, (uint64_t)-more_slots, 1);
    if (change_splits(&change) > 0)
        dax_count(dax, COUNT_SPLITS, change_splits(&change));
    return 0;
}

static bool is_valid(const struct oriel_dax *dax, const struct oriel_dax_range *range)
{
    return range->len != 0 && is_aligned(range->moffset | range->len, dax->granule) &&
           range_within(range->moffset, range->len, dax->window_len);
}

static int remove_one(struct oriel_dax *dax, const struct oriel_dax_range *range)
{
    int err = remove_run(dax, range->moffset, range->moffset + range->len, 1);
    if (err != 0)
        dax_count(dax, COUNT_REMOVE_ERRORS, 1);
    return err;
}

/* Insertion sort: the lists are short and, from a Linux guest, runs that go up or down. */
static void sort_ranges(struct oriel_dax_range *ranges, size_t count)
{
    bool falling = count > 1 && ranges[0].moffset > ranges[count - 1].moffset;
    for (size_t i = 0; falling && i < count / 2; i++) {
        struct oriel_dax_range swapped = ranges[i];
        ranges[i] = ranges[count - 1 - i];
        ranges[count - 1 - i] = swapped;
    }
    for (size_t i = 1; i < count; i++) {
        struct oriel_dax_range range = ranges[i];
        size_t k = i;
        for (; k > 0 && ranges[k - 1].moffset > range.moffset; k--)
            ranges[k] = ranges[k - 1];
        ranges[k] = range;
    }
}

/* Removes sorted valid ranges, those that touch each other together; one by one where that fails. */
static int remove_sorted(struct oriel_dax *dax, const struct oriel_dax_range *ranges, size_t count)
{
    int first_err = 0;
    for (size_t i = 0, next; i < count; i = next) {
        uint64_t end = ranges[i].moffset + ranges[i].len;
        for (next = i + 1; next < count && ranges[next].moffset <= end; next++)
            end = max_u64(end, ranges[next].moffset + ranges[next].len);
        if (next > i + 1 && remove_run(dax, ranges[i].moffset, end, next - i) == 0)
            continue;
        for (size_t k = i; k < next; k++) {
            int err = remove_one(dax, &ranges[k]);
            if (first_err == 0)
                first_err = err;
        }
    }
    return first_err;
}

int oriel_dax_remove(struct oriel_dax *dax, const struct oriel_dax_range *ranges, size_t count)
{
    int first_err = 0;
    if (count == 1 && is_valid(dax, ranges)) {
        first_err = remove_one(dax, ranges);
        ORIEL_TRACE(dax->trace, "dax remove moffset=%#llx len=%#llx -> %d",
                    (unsigned long long)ranges->moffset, (unsigned long long)ranges->len, first_err);
        return first_err;
    }
    for (size_t done = 0; done < count;) {
        struct oriel_dax_range batch[BATCH];
        size_t used = 0;
        for (; done < count && used < BATCH; done++) {
            struct oriel_dax_range range = ranges[done];
            ORIEL_TRACE(dax->trace, "dax remove moffset=%#llx len=%#llx", (unsigned long long)range.moffset,
                        (unsigned long long)range.len);
            if (is_valid(dax, &range)) {
                batch[used++] = range;
                continue;
            }
            dax_count(dax, COUNT_REMOVE_ERRORS, 1);
            first_err = first_err != 0 ? first_err : -EINVAL;
        }
        sort_ranges(batch, used);
        int err = remove_sorted(dax, batch, used);
        first_err = first_err != 0 ? first_err : err;
    }
    ORIEL_TRACE(dax->trace, "dax remove count=%zu -> %d", count, first_err);
    return first_err;
}
