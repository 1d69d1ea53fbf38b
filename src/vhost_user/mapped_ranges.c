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

bool mapped_ranges_find(const struct mapped_ranges *ranges, uintptr_t address)
{
    for (size_t i = 0; i < ARRAY_LEN(ranges->range); i++) {
        if (atomic_load(&ranges->range[i].start) <= address && address < atomic_load(&ranges->range[i].end))
            return true;
    }
    return false;
}
