#include "dax/change.h"

#include "base/checked.h"

/* The part of the range that lies in a block, as offsets in the block. */
struct part {
    uint64_t from, to;
};

static struct part part_of(const struct oriel_dax *dax, const struct claim *claim, uint64_t block)
{
    uint64_t start = block_start(block), end = start + block_length(dax, block);
    return (struct part){max_u64(claim->start, start) - start, min_u64(claim->end, end) - start};
}

static void survey_piece(struct change *change, uint64_t block, const struct block_view *view, uint32_t i,
                         struct part part)
{
    const struct piece *piece = &view->pieces[i];
    uint64_t from = max_u64(piece->offset, part.from);
    uint64_t to = min_u64((uint64_t)piece->offset + piece->length, part.to);
    if (from >= to)
        return;
    bool continues = i == 0 && (view->word & WORD_CONT);
    if (!continues || block == change->claim.first)
        change->touched++;
    if (change->overlap == 0)
        change->shown_from = block_start(block) + from;
    change->shown_to = block_start(block) + to;
    change->overlap += to - from;
    if (block == change->claim.first &&
        (piece->offset < part.from || (part.from == 0 && piece->offset == 0 && continues)))
        change->left = true;
    if (block == change->claim.last && (uint64_t)piece->offset + piece->length > part.to)
        change->right = true;
    /* Only looked at when the whole range turns out to be one slot. */
    change->upgrade = !view_is_writable(view, i) && change->content.writable &&
                      piece->nodeid == change->content.nodeid &&
                      piece->foffset - piece->offset + part.from ==
                          change->content.foffset + (block_start(block) + part.from - change->claim.start);
}

static void survey(struct oriel_dax *dax, struct change *change)
{
    const struct claim *claim = &change->claim;
    for (uint64_t block = claim->first; block <= claim->last; block++) {
        if (word_kind(claimed_word(dax, block)) == WORD_NONE)
            continue;
        struct block_view view;
        block_view(dax, block, &view);
        struct part part = part_of(dax, claim, block);
        for (uint32_t i = 0; i < view.count; i++)
            survey_piece(change, block, &view, i, part);
    }
    if (claim->tail)
        change->right = true;
    if (change->touched != 1 || change->left || change->right || change->content.nothing)
        change->upgrade = false;
}

void change_start(struct oriel_dax *dax, uint64_t start, uint64_t end, const struct content *content,
                  struct change *change)
{
    *change = (struct change){.content = *content};
    claim_range(dax, start, end, &change->claim);
    survey(dax, change);
}

static struct piece piece_for(const struct oriel_dax *dax, const struct change *change, uint64_t block)
{
    struct part part = part_of(dax, &change->claim, block);
    uint64_t behind_start = block_start(block) + part.from - change->claim.start;
    return (struct piece){
        .nodeid = change->content.nodeid,
        .foffset = change->content.foffset + behind_start,
        .offset = (uint32_t)part.from,
        .length = (uint32_t)(part.to - part.from),
        .flags = PIECE_BOUND | (change->content.writable ? PIECE_WRITE : 0),
    };
}

/* A block whose every byte the range covers needs no memory and no look at what it shows. */
static void plan_whole(const struct oriel_dax *dax, const struct change *change, uint64_t block,
                       struct block_next *next)
{
    next->fine = NULL;
    next->cont = !change->content.nothing && block > change->claim.first;
    next->kind = change->content.nothing ? WORD_NONE : WORD_ONE;
    if (!change->content.nothing)
        next->one = piece_for(dax, change, block);
}

static int plan_end(struct oriel_dax *dax, const struct change *change, uint64_t block,
                    struct block_next *next)
{
    struct part part = part_of(dax, &change->claim, block);
    if (part.from == 0 && part.to == block_length(dax, block)) {
        plan_whole(dax, change, block, next);
        return 0;
    }
    struct block_view view;
    block_view(dax, block, &view);
    struct piece piece = piece_for(dax, change, block);
    return block_plan(&view, part.from, part.to, change->content.nothing ? NULL : &piece,
                      block > change->claim.first, next);
}

int change_plan(struct oriel_dax *dax, struct change *change)
{
    const struct claim *claim = &change->claim;
    int err = plan_end(dax, change, claim->first, &change->first);
    if (err == 0 && claim->last != claim->first) {
        err = plan_end(dax, change, claim->last, &change->last);
        if (err != 0)
            block_plan_drop(&change->first);
    }
    return err;
}

/*
 * Downwards: a block whose CONT points to the one before is never seen with that one free and not yet
 * changed.
 */
void change_publish(struct oriel_dax *dax, struct change *change)
{
    const struct claim *claim = &change->claim;
    change_begin(dax, claim);
    if (claim->tail)
        block_publish_cut(dax, claim->last + 1);
    if (claim->last != claim->first)
        block_publish(dax, claim->last, &change->last);
    for (uint64_t block = claim->last; block > claim->first + 1; block--) {
        struct block_next next;
        plan_whole(dax, change, block - 1, &next);
        block_publish(dax, block - 1, &next);
    }
    block_publish(dax, claim->first, &change->first);
}

void change_give_up(struct oriel_dax *dax, struct change *change, bool lost)
{
    const struct claim *claim = &change->claim;
    block_plan_drop(&change->first);
    block_plan_drop(&change->last);
    for (uint64_t block = claim->first; lost && change->overlap > 0 && block <= claim->last; block++) {
        struct part part = part_of(dax, claim, block);
        block_mark_saved(dax, block, part.from, part.to);
    }
    claim_release(dax, claim);
}
