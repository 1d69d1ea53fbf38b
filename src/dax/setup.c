/* FUSE_SETUPMAPPING. */
#include <oriel/dax.h>

#include <errno.h>

#include "base/checked.h"
#include "dax/change.h"

struct request {
    uint64_t nodeid, foffset, len, moffset;
    uint32_t prot;
};

static int check_request(const struct oriel_dax *dax, struct request *request)
{
    uint64_t ignored = request->moffset | request->len | request->foffset, end;
    if (request->len == 0 || !is_aligned(ignored, dax->granule))
        return -EINVAL;
    if (!range_within(request->moffset, request->len, dax->window_len))
        return -EINVAL;
    if (!checked_add_u64(request->foffset, request->len, &end) || end > INT64_MAX)
        return -EINVAL;
    if (request->prot == 0 || (request->prot & ~(ORIEL_DAX_READ | ORIEL_DAX_WRITE)) != 0)
        return -EINVAL;
    if (request->prot & ORIEL_DAX_WRITE) {
        if (dax->read_only)
            return -EROFS;
        request->prot |= ORIEL_DAX_READ;
    }
    return 0;
}

/* Reserves what the change adds to bytes and slots. What it frees is given back once it is published. */
static int reserve(struct oriel_dax *dax, const struct change *change, unsigned shard)
{
    uint64_t len = change->claim.end - change->claim.start;
    if (!budget_take(&dax->bytes, shard, (len - change->overlap) >> dax->granule_shift))
        return -ENOSPC;
    int64_t more_slots = change_slots(change);
    if (dax->limit_slots && more_slots > 0 && !budget_take(&dax->slots, shard, (uint64_t)more_slots)) {
        budget_untake(&dax->bytes, shard, (len - change->overlap) >> dax->granule_shift);
        return -ENOSPC;
    }
    return 0;
}

static void unreserve(struct oriel_dax *dax, const struct change *change, unsigned shard)
{
    uint64_t len = change->claim.end - change->claim.start;
    budget_untake(&dax->bytes, shard, (len - change->overlap) >> dax->granule_shift);
    if (dax->limit_slots && change_slots(change) > 0)
        budget_untake(&dax->slots, shard, (uint64_t)change_slots(change));
}

static void count_replaced(struct oriel_dax *dax, const struct change *change, unsigned shard)
{
    int64_t more_slots = change_slots(change);
    dax_count(dax, COUNT_REPLACED, change->touched);
    dax_count(dax, COUNT_SPLITS, change_splits(change));
    if (change->upgrade)
        dax_count(dax, COUNT_UPGRADES, 1);
    if (dax->limit_slots && more_slots < 0)
        budget_give(&dax->slots, shard, (uint64_t)-more_slots, 1);
}

static int map_content(struct oriel_dax *dax, const struct request *request, bool *lost)
{
    const struct dax_mapping mapping = {
        .moffset = request->moffset,
        .len = request->len,
        .nodeid = request->nodeid,
        .foffset = request->foffset,
        .prot = request->prot,
        .is_setup = true,
    };
    enum oriel_range_left left;
    int err = dax_map(dax, &mapping, &left);
    *lost = err != 0 && left == ORIEL_RANGE_LOST;
    return err;
}

/* ---- the common case: a range inside one block that shows nothing ---- */

static int map_fresh(struct oriel_dax *dax, const struct request *request, unsigned shard)
{
    uint64_t granules = request->len >> dax->granule_shift;
    bool lost;
    if (!budget_take(&dax->bytes, shard, granules))
        return -ENOSPC;
    int err = 0;
    if (dax->limit_slots && !budget_take(&dax->slots, shard, 1)) {
        budget_untake(&dax->bytes, shard, granules);
        return -ENOSPC;
    }
    err = map_content(dax, request, &lost);
    if (err != 0) {
        budget_untake(&dax->bytes, shard, granules);
        if (dax->limit_slots)
            budget_untake(&dax->slots, shard, 1);
    }
    return err;
}

/* False when the range is not such a case; else *err is the answer. */
static bool try_fresh(struct oriel_dax *dax, const struct request *request, int *err)
{
    uint64_t block = request->moffset >> BLOCK_SHIFT;
    if (block != (request->moffset + request->len - 1) >> BLOCK_SHIFT)
        return false;
    uint64_t seen = atomic_load_explicit(&dax->words[block], memory_order_relaxed);
    if ((seen & (WORD_CLAIMED | WORD_KIND)) != WORD_NONE || !claim_try(dax, block, seen))
        return false;
    *err = map_fresh(dax, request, dax_shard(dax));
    if (*err != 0) {
        claim_end(dax, block, seen);
        return true;
    }
    block_publish_one(dax, block, seen, request->moffset - block_start(block), request->len, request->nodeid,
                      request->foffset, (request->prot & ORIEL_DAX_WRITE) != 0);
    return true;
}

/* ---- any range ---- */

static int replace_range(struct oriel_dax *dax, const struct request *request)
{
    const struct content content = {
        .nodeid = request->nodeid,
        .foffset = request->foffset,
        .writable = (request->prot & ORIEL_DAX_WRITE) != 0,
    };
    struct change change;
    unsigned shard = dax_shard(dax);
    bool lost = false, reserved = false;
    change_start(dax, request->moffset, request->moffset + request->len, &content, &change);
    int err = change.overlap > 0 && dax->overlap == ORIEL_DAX_REJECT ? -EEXIST : 0;
    if (err == 0) {
        err = reserve(dax, &change, shard);
        reserved = err == 0;
    }
    if (err == 0)
        err = change_plan(dax, &change);
    if (err == 0)
        err = map_content(dax, request, &lost);
    if (err == 0) {
        change_publish(dax, &change);
        if (change.touched > 0)
            count_replaced(dax, &change, shard);
        return 0;
    }
    if (reserved)
        unreserve(dax, &change, shard);
    change_give_up(dax, &change, lost);
    return err;
}

int oriel_dax_setup(struct oriel_dax *dax, uint64_t nodeid, uint64_t foffset, uint64_t len, uint64_t moffset,
                    uint32_t prot)
{
    struct request request = {nodeid, foffset, len, moffset, prot};
    int err = check_request(dax, &request);
    if (err == 0 && !try_fresh(dax, &request, &err))
        err = replace_range(dax, &request);
    if (err != 0)
        dax_count(dax, COUNT_SETUP_ERRORS, 1);
    ORIEL_TRACE(dax->trace, "dax setup node=%llu foffset=%#llx len=%#llx moffset=%#llx prot=%u -> %d",
                (unsigned long long)nodeid, (unsigned long long)foffset, (unsigned long long)len,
                (unsigned long long)moffset, prot, err);
    return err;
}
