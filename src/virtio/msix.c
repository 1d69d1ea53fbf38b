#include "virtio/msix.h"

#include <string.h>

#include "base/checked.h"
#include "base/le.h"

void msix_init(struct msix *msix, uint16_t vectors,
               void (*changed)(void *opaque, uint16_t vector, uint64_t address, uint32_t data, bool masked),
               void (*fire)(void *opaque, uint16_t vector), void *opaque)
{
    memset(msix, 0, sizeof(*msix));
    msix->vectors = vectors;
    msix->changed = changed;
    msix->fire = fire;
    msix->opaque = opaque;
    for (uint16_t i = 0; i < MSIX_MAX_VECTORS; i++) {
        atomic_init(&msix->entries[i].masked, true); /* the state after reset */
        msix->entries[i].told_masked = true;
    }
}

bool msix_is_enabled(struct msix *msix)
{
    return atomic_load(&msix->enabled);
}

static bool is_deliverable(struct msix *msix, uint16_t vector)
{
    return atomic_load(&msix->enabled) && !atomic_load(&msix->function_masked) &&
           !atomic_load(&msix->entries[vector].masked);
}

/* Fires a vector that is pending, once however many threads see that it may be. */
static void deliver_pending(struct msix *msix, uint16_t vector)
{
    uint64_t bit = UINT64_C(1) << (vector % 64);
    if (!is_deliverable(msix, vector) || (atomic_load(&msix->pending[vector / 64]) & bit) == 0)
        return;
    if ((atomic_fetch_and(&msix->pending[vector / 64], ~bit) & bit) != 0 && msix->fire != NULL)
        msix->fire(msix->opaque, vector);
}

void msix_raise(struct msix *msix, uint16_t vector)
{
    if (vector >= msix->vectors)
        return;
    if (is_deliverable(msix, vector)) {
        if (msix->fire != NULL)
            msix->fire(msix->opaque, vector);
        return;
    }
    atomic_fetch_or(&msix->pending[vector / 64], UINT64_C(1) << (vector % 64));
    deliver_pending(msix, vector);
}

/* Tells the owner what a vector is now, if that differs from what it knows. The message of a masked one is
 * idle. */
static void tell(struct msix *msix, uint16_t vector, bool masked)
{
    struct msix_entry *entry = &msix->entries[vector];
    bool same_message = entry->told_address == entry->address && entry->told_data == entry->data;
    if (masked ? entry->told_masked : !entry->told_masked && same_message)
        return;
    entry->told_masked = masked;
    if (!masked) {
        entry->told_address = entry->address;
        entry->told_data = entry->data;
    }
    if (msix->changed != NULL)
        msix->changed(msix->opaque, vector, entry->told_address, entry->told_data, masked);
}

/* The owner learns of a message before the first interrupt that uses it, and of a mask after the last one. */
static void set_masked(struct msix *msix, uint16_t vector, bool masked)
{
    struct msix_entry *entry = &msix->entries[vector];
    bool reachable = atomic_load(&msix->enabled) && !atomic_load(&msix->function_masked);
    if (masked || !reachable) {
        atomic_store(&entry->masked, masked);
        tell(msix, vector, true);
        return;
    }
    tell(msix, vector, false);
    atomic_store(&entry->masked, false);
    deliver_pending(msix, vector);
}

void msix_set_control(struct msix *msix, uint16_t control)
{
    bool enabled = (control & MSIX_CONTROL_ENABLE) != 0, masked = (control & MSIX_CONTROL_MASK) != 0;
    if (!enabled || masked) {
        atomic_store(&msix->enabled, enabled);
        atomic_store(&msix->function_masked, masked);
        for (uint16_t i = 0; i < msix->vectors; i++)
            tell(msix, i, true);
        return;
    }
    for (uint16_t i = 0; i < msix->vectors; i++)
        tell(msix, i, atomic_load(&msix->entries[i].masked));
    atomic_store(&msix->function_masked, false);
    atomic_store(&msix->enabled, true);
    for (uint16_t i = 0; i < msix->vectors; i++)
        deliver_pending(msix, i);
}

static void copy_out(const unsigned char *image, size_t image_len, uint64_t offset, void *data, size_t len)
{
    size_t inside = offset < image_len ? (size_t)min_u64(len, image_len - offset) : 0;
    memset(data, 0, len);
    if (inside != 0)
        memcpy(data, image + offset, inside);
}

void msix_table_read(struct msix *msix, uint64_t offset, void *data, size_t len)
{
    unsigned char image[MSIX_MAX_VECTORS * MSIX_ENTRY_LEN];
    for (uint16_t i = 0; i < msix->vectors; i++) {
        unsigned char *at = image + i * (size_t)MSIX_ENTRY_LEN;
        le64_store(at, msix->entries[i].address);
        le32_store(at + 8, msix->entries[i].data);
        le32_store(at + 12, atomic_load(&msix->entries[i].masked) ? 1 : 0);
    }
    copy_out(image, msix->vectors * (size_t)MSIX_ENTRY_LEN, offset, data, len);
}

static void write_dword(struct msix *msix, uint64_t offset, uint32_t value)
{
    uint16_t vector = (uint16_t)(offset / MSIX_ENTRY_LEN);
    struct msix_entry *entry = &msix->entries[vector];
    bool masked = atomic_load(&entry->masked);
    switch (offset % MSIX_ENTRY_LEN) {
    case 0:
        entry->address = (entry->address & ~UINT64_C(0xffffffff)) | (value & ~UINT32_C(3));
        break;
    case 4:
        entry->address = (entry->address & UINT64_C(0xffffffff)) | (uint64_t)value << 32;
        break;
    case 8:
        entry->data = value;
        break;
    default:
        masked = (value & 1) != 0;
        break;
    }
    set_masked(msix, vector, masked);
}

void msix_table_write(struct msix *msix, uint64_t offset, const void *data, size_t len)
{
    if ((len != 4 && len != 8) || !is_aligned(offset, len) ||
        !range_within(offset, len, msix->vectors * (uint64_t)MSIX_ENTRY_LEN))
        return;
    write_dword(msix, offset, le32_load(data));
    if (len == 8)
        write_dword(msix, offset + 4, le32_load((const char *)data + 4));
}

void msix_pba_read(struct msix *msix, uint64_t offset, void *data, size_t len)
{
    unsigned char image[MSIX_PBA_WORDS * 8];
    for (size_t i = 0; i < MSIX_PBA_WORDS; i++)
        le64_store(image + 8 * i, atomic_load(&msix->pending[i]));
    copy_out(image, sizeof(image), offset, data, len);
}
