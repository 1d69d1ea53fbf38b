#include "fs/memory/page_set.h"

#include <errno.h>
#include <stdlib.h>

#include "base/checked.h"

#define LEAF_BITS  12 /* 4096 pages = 16 MiB of file */
#define LEAF_WORDS (1 << (LEAF_BITS - 6))
#define FANOUT     256
#define MID_BITS   (LEAF_BITS + 8)

struct leaf {
    uint64_t words[LEAF_WORDS];
    uint32_t used;
};

struct memfs_page_mid {
    struct leaf *leaves[FANOUT];
    uint32_t used; /* leaves */
};

static struct leaf *find_leaf(const struct memfs_page_set *set, uint64_t page)
{
    if (set->top == NULL)
        return NULL;
    struct memfs_page_mid *mid = set->top[page >> MID_BITS];
    return mid == NULL ? NULL : mid->leaves[(page >> LEAF_BITS) % FANOUT];
}

static int make_leaf(struct memfs_page_set *set, uint64_t page)
{
    if (set->top == NULL && (set->top = calloc(FANOUT, sizeof(struct memfs_page_mid *))) == NULL)
        return -ENOMEM;
    struct memfs_page_mid **mid = &set->top[page >> MID_BITS];
    if (*mid == NULL && (*mid = calloc(1, sizeof(**mid))) == NULL)
        return -ENOMEM;
    struct leaf **leaf = &(*mid)->leaves[(page >> LEAF_BITS) % FANOUT];
    if (*leaf != NULL)
        return 0;
    *leaf = calloc(1, sizeof(**leaf));
    if (*leaf == NULL)
        return -ENOMEM;
    (*mid)->used++;
    return 0;
}

static void drop_leaf_if_empty(struct memfs_page_set *set, uint64_t page)
{
    struct leaf *leaf = find_leaf(set, page);
    if (leaf == NULL || leaf->used != 0)
        return;
    struct memfs_page_mid *mid = set->top[page >> MID_BITS];
    free(leaf);
    mid->leaves[(page >> LEAF_BITS) % FANOUT] = NULL;
    if (--mid->used == 0) {
        free(mid);
        set->top[page >> MID_BITS] = NULL;
    }
}

/* The word that holds `page`; NULL where no page of its leaf is in the set. */
static uint64_t *find_word(struct memfs_page_set *set, uint64_t page, struct leaf **leaf)
{
    *leaf = NULL;
    if (page < MEMFS_PAGE_HEAD)
        return &set->head;
    *leaf = find_leaf(set, page);
    return *leaf == NULL ? NULL : &(*leaf)->words[(page >> 6) % LEAF_WORDS];
}

/* The bits of [first, end) in the word that starts at page first & ~63. */
static uint64_t word_mask(uint64_t first, uint64_t end)
{
    uint64_t from = first % 64;
    uint64_t count = min_u64(end - first, 64 - from);
    return (count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1) << from;
}

static uint64_t next_word(uint64_t page)
{
    return (page | 63) + 1;
}

/* Where to go on when `page` has no leaf: past everything that is absent with it. */
static uint64_t skip_absent(const struct memfs_page_set *set, uint64_t page)
{
    if (set->top == NULL)
        return MEMFS_PAGES_MAX;
    unsigned shift = set->top[page >> MID_BITS] == NULL ? MID_BITS : LEAF_BITS;
    return ((page >> shift) + 1) << shift;
}

int memfs_page_set_prepare(struct memfs_page_set *set, uint64_t first, uint64_t end)
{
    if (end <= MEMFS_PAGE_HEAD)
        return 0;
    uint64_t page = max_u64(first, MEMFS_PAGE_HEAD);
    while (page < end) {
        int error = make_leaf(set, page);
        if (error != 0)
            return error;
        page = ((page >> LEAF_BITS) + 1) << LEAF_BITS;
    }
    return 0;
}

void memfs_page_set_trim(struct memfs_page_set *set, uint64_t first, uint64_t end)
{
    uint64_t page = max_u64(first, MEMFS_PAGE_HEAD);
    while (page < end) {
        drop_leaf_if_empty(set, page);
        page = find_leaf(set, page) == NULL ? skip_absent(set, page) : ((page >> LEAF_BITS) + 1) << LEAF_BITS;
    }
}

uint64_t memfs_page_set_add(struct memfs_page_set *set, uint64_t first, uint64_t end)
{
    uint64_t added = 0;
    for (uint64_t page = first; page < end; page = next_word(page)) {
        struct leaf *leaf;
        uint64_t *word = find_word(set, page, &leaf);
        uint64_t fresh = word_mask(page, end) & ~*word;
        unsigned n = (unsigned)__builtin_popcountll(fresh);
        *word |= fresh;
        if (leaf != NULL)
            leaf->used += n;
        added += n;
    }
    set->count += added;
    return added;
}

uint64_t memfs_page_set_remove(struct memfs_page_set *set, uint64_t first, uint64_t end)
{
    uint64_t removed = 0;
    uint64_t page = first;
    while (page < end) {
        struct leaf *leaf;
        uint64_t *word = find_word(set, page, &leaf);
        if (word == NULL) {
            page = skip_absent(set, page);
            continue;
        }
        uint64_t gone = word_mask(page, end) & *word;
        unsigned n = (unsigned)__builtin_popcountll(gone);
        *word &= ~gone;
        removed += n;
        uint64_t next = next_word(page);
        if (leaf != NULL) {
            leaf->used -= n;
            if (leaf->used == 0 || next >= end || next >> LEAF_BITS != page >> LEAF_BITS)
                drop_leaf_if_empty(set, page);
        }
        page = next;
    }
    set->count -= removed;
    return removed;
}

uint64_t memfs_page_set_count(const struct memfs_page_set *set, uint64_t first, uint64_t end)
{
    uint64_t count = 0;
    uint64_t page = first;
    while (page < end) {
        struct leaf *leaf;
        const uint64_t *word = find_word((struct memfs_page_set *)(uintptr_t)set, page, &leaf);
        if (word == NULL) {
            page = skip_absent(set, page);
            continue;
        }
        count += (unsigned)__builtin_popcountll(word_mask(page, end) & *word);
        page = next_word(page);
    }
    return count;
}

bool memfs_page_set_has(const struct memfs_page_set *set, uint64_t page)
{
    return memfs_page_set_count(set, page, page + 1) == 1;
}

uint64_t memfs_page_set_next(const struct memfs_page_set *set, uint64_t from, bool present)
{
    uint64_t page = from;
    while (page < MEMFS_PAGES_MAX) {
        struct leaf *leaf;
        const uint64_t *word = find_word((struct memfs_page_set *)(uintptr_t)set, page, &leaf);
        if (word == NULL) {
            if (!present)
                return page;
            page = skip_absent(set, page);
            continue;
        }
        uint64_t bits = (present ? *word : ~*word) & word_mask(page, MEMFS_PAGES_MAX);
        if (bits != 0)
            return (page & ~UINT64_C(63)) + (unsigned)__builtin_ctzll(bits);
        page = next_word(page);
    }
    return MEMFS_PAGES_MAX;
}

void memfs_page_set_clear(struct memfs_page_set *set)
{
    for (size_t i = 0; set->top != NULL && i < FANOUT; i++) {
        struct memfs_page_mid *mid = set->top[i];
        if (mid == NULL)
            continue;
        for (size_t j = 0; j < FANOUT; j++)
            free(mid->leaves[j]);
        free(mid);
    }
    free(set->top);
    *set = (struct memfs_page_set){0};
}
