#include "microvm/page_walk.h"

#include <string.h>

#define CR0_PG      UINT64_C(0x80000000)
#define CR4_LA57    UINT64_C(0x1000)
#define EFER_LMA    UINT64_C(0x400)
#define PRESENT     UINT64_C(0x1)
#define LARGE       UINT64_C(0x80)
#define ADDRESS     UINT64_C(0x000ffffffffff000)
#define LEVEL_BITS  9
#define PAGE_BITS   12
#define LEVEL_LARGE 3 /* up to 1 GiB a leaf is possible */

bool page_walk(const struct ram *ram, const struct kvm_sregs *sregs, uint64_t linear, uint64_t *gpa)
{
    if ((sregs->cr0 & CR0_PG) == 0) {
        *gpa = linear;
        return true;
    }
    if ((sregs->efer & EFER_LMA) == 0)
        return false;
    uint64_t table = sregs->cr3 & ADDRESS;
    for (unsigned level = sregs->cr4 & CR4_LA57 ? 5 : 4; level > 0; level--) {
        unsigned shift = PAGE_BITS + (level - 1) * LEVEL_BITS;
        uint64_t index = linear >> shift & ((1U << LEVEL_BITS) - 1), entry;
        const uint8_t *at = ram_at(ram, table + index * sizeof(entry), sizeof(entry));
        if (at == NULL)
            return false;
        memcpy(&entry, at, sizeof(entry));
        if ((entry & PRESENT) == 0)
            return false;
        if (level == 1 || (level <= LEVEL_LARGE && (entry & LARGE) != 0)) {
            uint64_t offset = (UINT64_C(1) << shift) - 1;
            *gpa = (entry & ADDRESS & ~offset) | (linear & offset);
            return true;
        }
        table = entry & ADDRESS;
    }
    return false;
}
