#include "microvm/ram.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "microvm/layout.h"

static void lay_out(struct ram *ram)
{
    uint64_t low = min_u64(ram->size, LAYOUT_LOW_RAM_MAX);
    ram->regions[0] = (struct ram_region){.gpa = 0, .len = low, .offset = 0, .host = ram->host};
    ram->region_count = 1;
    if (ram->size > low) {
        ram->regions[1] = (struct ram_region){
            .gpa = LAYOUT_HIGH_RAM, .len = ram->size - low, .offset = low, .host = ram->host + low};
        ram->region_count = 2;
    }
}

int ram_create(uint64_t size, struct ram *ram, struct vm_error *error)
{
    *ram = (struct ram){.fd = -1};
    if (size < LAYOUT_RAM_MIN || size > LAYOUT_RAM_MAX)
        return vm_fail(error, -EINVAL, "guest memory must be 128M to 1T");
    ram->size = align_up(size, 2 * LAYOUT_MIB);
    ram->fd = memfd_create("oriel-ram", MFD_CLOEXEC);
    if (ram->fd < 0 || ftruncate(ram->fd, (off_t)ram->size) != 0) {
        int err = -errno;
        ram_destroy(ram);
        return vm_fail(error, err, "cannot create guest memory: %s", strerror(-err));
    }
    void *host = mmap(NULL, ram->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, ram->fd, 0);
    if (host == MAP_FAILED) {
        int err = -errno;
        ram_destroy(ram);
        return vm_fail(error, err, "cannot map guest memory: %s", strerror(-err));
    }
    ram->host = host;
    /* Both are wishes: a host that does not know them serves the guest all the same. */
    madvise(host, ram->size, MADV_HUGEPAGE);
    madvise(host, ram->size, MADV_DONTDUMP);
    lay_out(ram);
    return 0;
}

void ram_destroy(struct ram *ram)
{
    if (ram->host != NULL)
        munmap(ram->host, ram->size);
    if (ram->fd >= 0)
        close(ram->fd);
    *ram = (struct ram){.fd = -1};
}

void *ram_at(const struct ram *ram, uint64_t gpa, uint64_t len)
{
    for (size_t i = 0; i < ram->region_count; i++) {
        const struct ram_region *region = &ram->regions[i];
        if (gpa >= region->gpa && range_within(gpa - region->gpa, len, region->len))
            return region->host + (gpa - region->gpa);
    }
    return NULL;
}

int ram_write(const struct ram *ram, uint64_t gpa, const void *data, uint64_t len)
{
    void *to = ram_at(ram, gpa, len);
    if (to == NULL)
        return -EFAULT;
    if (len > 0) /* data may be NULL for nothing */
        memcpy(to, data, len);
    return 0;
}

uint64_t ram_end(const struct ram *ram)
{
    const struct ram_region *last = &ram->regions[ram->region_count - 1];
    return last->gpa + last->len;
}
