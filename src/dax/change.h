/*
 * One change of a window range: claim it, see what it shows, plan what comes next, then publish or give up.
 */
#ifndef ORIEL_DAX_CHANGE_H
#define ORIEL_DAX_CHANGE_H

#include "dax/slots.h"

/* What the range is to show: a file, or nothing. */
struct content {
    bool nothing;
    uint64_t nodeid, foffset; /* at the start of the range */
    bool writable;
};

struct change {
    struct claim claim;
    struct content content;

    /* What the range shows now. */
    uint64_t overlap;              /* bytes of it that show something */
    uint64_t touched;              /* slots that reach into it */
    uint64_t shown_from, shown_to; /* the bytes from the first to the last that show something */
    bool left, right;              /* a slot goes on outside, before the start or behind the end */
    bool upgrade;                  /* the content is what the range shows already, now writable */

    /* The plan of the two ends; the blocks between are covered whole. */
    struct block_next first, last;
};

/* Claims [start, end) and looks at it. */
void change_start(struct oriel_dax *dax, uint64_t start, uint64_t end, const struct content *content,
                  struct change *change);

/* Gets all that publishing will need: 0 or -ENOSPC. After that publishing cannot fail. */
int change_plan(struct oriel_dax *dax, struct change *change);

/* The range shows the content from now on; all claims end. */
void change_publish(struct oriel_dax *dax, struct change *change);

/* The range stays as it is; what has lost its mapping meanwhile is SAVED. All claims end. */
void change_give_up(struct oriel_dax *dax, struct change *change, bool lost);

/* How the number of slots changes. */
static inline int64_t change_slots(const struct change *change)
{
    return (int64_t)change->left + change->right + !change->content.nothing - (int64_t)change->touched;
}

/* Slots that the change cuts and that keep a part. */
static inline uint64_t change_splits(const struct change *change)
{
    return (uint64_t)change->left + change->right - (change->left && change->right && change->touched == 1);
}

#endif
