/*
 * The pages of a file that have memory: what its quota pays for.
 *
 * The first 64 pages are one word, so a small file needs no allocation here; the others are in a tree of
 * bitmaps whose leaves exist only where there are pages. No locking: the file's lock protects its set.
 */
#ifndef ORIEL_FS_MEMORY_PAGE_SET_H
#define ORIEL_FS_MEMORY_PAGE_SET_H

#include <stdbool.h>
#include <stdint.h>

#define MEMFS_PAGE_SHIFT 12
#define MEMFS_PAGE_SIZE  (UINT64_C(1) << MEMFS_PAGE_SHIFT)
#define MEMFS_PAGES_MAX  (UINT64_C(1) << 28) /* 1 TiB of file */
#define MEMFS_PAGE_HEAD  64                  /* pages in the inline word */

struct memfs_page_set {
    uint64_t head;
    struct memfs_page_mid **top; /* NULL while all pages are in head */
    uint64_t count;
};

/* Makes sure that memfs_page_set_add of [first, end) cannot fail. -ENOMEM. */
int memfs_page_set_prepare(struct memfs_page_set *set, uint64_t first, uint64_t end);
/* Drops what was prepared in [first, end) and not used. */
void memfs_page_set_trim(struct memfs_page_set *set, uint64_t first, uint64_t end);

/* Both return how many pages were not (add) or were (remove) in the set before. */
uint64_t memfs_page_set_add(struct memfs_page_set *set, uint64_t first, uint64_t end);
uint64_t memfs_page_set_remove(struct memfs_page_set *set, uint64_t first, uint64_t end);

uint64_t memfs_page_set_count(const struct memfs_page_set *set, uint64_t first, uint64_t end);
bool memfs_page_set_has(const struct memfs_page_set *set, uint64_t page);

/* The first page at or after `from` that is (or with present == false: is not) in the set; MEMFS_PAGES_MAX
 * when there is none. */
uint64_t memfs_page_set_next(const struct memfs_page_set *set, uint64_t from, bool present);

void memfs_page_set_clear(struct memfs_page_set *set);

#endif
