#include "vhost_user/mapped_ranges.h"

#include <linux/magic.h>
#include <stddef.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/checked.h"

uint64_t mapped_ranges_whole_pages(int fd, uint64_t size)
{
    struct statfs st;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (fstatfs(fd, &st) == 0 && st.f_type == HUGETLBFS_MAGIC)
        page = (uint64_t)st.f_bsize;
    return align_up(size, page);
}

bool mapped_ranges_insert(struct mapped_ranges *ranges, uintptr_t start, uintptr_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(ranges->range); i++) {
        uintptr_t free_slot = 0;
        if (atomic_compare_exchange_strong(&ranges->range[i].start, &free_slot, start)) {
            atomic_store(&ranges->range[i].end, start + len);
            return true;
        }
    }
    return false;
}

void mapped_ranges_remove(struct mapped_ranges *ranges, uintptr_t start)
{
    for (size_t i = 0; i < ARRAY_LEN(ranges->range); i++) {
        if (atomic_load(&ranges->range[i].start) == start) {
            atomic_store(&ranges->range[i].end, 0);
            atomic_store(&ranges->range[i].start, 0);
            return;
        }
    }
}

/* A slot that changes meanwhile is not the address's: that one stays as long as the memory is in use. */
static bool read_slot(const atomic_uintptr_t *slot_start, const atomic_uintptr_t *slot_end, uintptr_t *start,
                      uintptr_t *end)
{
    *start = atomic_load(slot_start);
    *end = atomic_load(slot_end);
    return *start != 0 && atomic_load(slot_start) == *start;
}

bool mapped_ranges_find(const struct mapped_ranges *ranges, uintptr_t address, uintptr_t *start,
                        uintptr_t *len)
{
    for (size_t i = 0; i < ARRAY_LEN(ranges->range); i++) {
        uintptr_t end;
        if (read_slot(&ranges->range[i].start, &ranges->range[i].end, start, &end) && *start <= address &&
            address < end) {
            *len = end - *start;
            return true;
        }
    }
    return false;
}
