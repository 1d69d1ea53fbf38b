#include "mapper/map_count.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"

#define EDGES_A_CHANGE  2
#define ROOM_FOR_UNMAPS 1024
#define KERNEL_DEFAULT  UINT64_C(65530)
#define BITS            64

static uint64_t kernel_limit(void)
{
    unsigned long long limit = KERNEL_DEFAULT;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    if (f != NULL) {
        if (fscanf(f, "%llu", &limit) != 1)
            limit = KERNEL_DEFAULT;
        fclose(f);
    }
    return limit;
}

int map_count_init(struct map_count *c, uint64_t window_len, uint64_t limit)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    c->page_shift = (unsigned)__builtin_ctzll(page);
    c->pages = window_len >> c->page_shift;
    uint64_t words = c->pages / BITS + 1, bytes = align_up(words * sizeof(uint64_t), page);
    c->table_size = 2 * bytes;
    c->table =
        mmap(NULL, c->table_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (c->table == MAP_FAILED)
        return -ENOMEM;
    c->shown = c->table;
    c->edges = (void *)((char *)c->table + bytes);
    c->limit = limit != 0 ? limit : kernel_limit() / 4 * 3;
    return 0;
}

void map_count_destroy(struct map_count *c)
{
    munmap(c->table, c->table_size);
}

/* Only a look: threads that look at once may go over by a little, and the limit leaves room for that. */
bool map_count_allows(struct map_count *c, bool is_unmap)
{
    uint64_t limit = c->limit + (is_unmap ? ROOM_FOR_UNMAPS : 0);
    return atomic_load_explicit(&c->count, memory_order_relaxed) + EDGES_A_CHANGE <= limit;
}

static bool bit_at(_Atomic uint64_t *words, uint64_t i)
{
    return atomic_load_explicit(&words[i / BITS], memory_order_relaxed) >> (i % BITS) & 1;
}

/* Sets the bits [from, to) to `value`; returns how many were set before. */
static uint64_t fill(_Atomic uint64_t *words, uint64_t from, uint64_t to, bool value)
{
    uint64_t were_set = 0;
    for (uint64_t at = from, next; at < to; at = next) {
        next = min_u64(to, at - at % BITS + BITS);
        uint64_t mask = (next - at == BITS ? ~UINT64_C(0) : ((UINT64_C(1) << (next - at)) - 1))
                        << (at % BITS);
        uint64_t seen = atomic_load_explicit(&words[at / BITS], memory_order_relaxed);
        if ((seen & mask) == (value ? mask : 0)) {
            were_set += value ? (uint64_t)__builtin_popcountll(mask) : 0;
            continue;
        }
        if (mask == ~UINT64_C(0)) { /* the whole word lies in the range, which is ours alone */
            atomic_store_explicit(&words[at / BITS], value ? mask : 0, memory_order_relaxed);
            were_set += (uint64_t)__builtin_popcountll(seen);
            continue;
        }
        seen = value ? atomic_fetch_or(&words[at / BITS], mask) : atomic_fetch_and(&words[at / BITS], ~mask);
        were_set += (uint64_t)__builtin_popcountll(seen & mask);
    }
    return were_set;
}

void map_count_done(struct map_count *c, uint64_t offset, uint64_t len, bool is_unmap)
{
    uint64_t from = offset >> c->page_shift, to = (offset + len) >> c->page_shift;
    uint64_t edges_before = 0, edges_after = 0;
    fill(c->shown, from, to, !is_unmap);
    /* An edge at either end, unless an empty range meets empty space there. */
    bool left = from > 0 && (!is_unmap || bit_at(c->shown, from - 1));
    bool right = to < c->pages && (!is_unmap || bit_at(c->shown, to));
    if (from > 0) {
        edges_before += fill(c->edges, from, from + 1, left);
        edges_after += left;
    }
    edges_before += fill(c->edges, from + 1, to, false);
    if (to < c->pages) {
        edges_before += fill(c->edges, to, to + 1, right);
        edges_after += right;
    }
    if (edges_after != edges_before)
        atomic_fetch_add(&c->count, edges_after - edges_before);
}
