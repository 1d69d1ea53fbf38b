#include "vhost_user/memory_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"

struct mapped_region {
    atomic_uint references;
    struct mapped_ranges *ranges;
    struct vhost_user_region wire;
    void *host;
    uint64_t mapped_len; /* huge pages can make it longer than the region */
};

/* The regions that one oriel_memory keeps alive. */
struct region_set {
    size_t count;
    struct mapped_region *regions[];
};

/* ---- one region ---- */

static bool wire_region_is_sound(const struct vhost_user_region *r, const char **fault)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), sum;
    if (r->size == 0)
        *fault = "empty region";
    else if (!is_aligned(r->gpa | r->size | r->user_address | r->mmap_offset, page))
        *fault = "region is not made of whole pages";
    else if (!checked_add_u64(r->gpa, r->size, &sum))
        *fault = "region wraps in guest addresses";
    else if (!checked_add_u64(r->user_address, r->size, &sum))
        *fault = "region wraps in user addresses";
    else if (!checked_add_u64(r->mmap_offset, r->size, &sum) || sum > INT64_MAX)
        *fault = "region wraps in its file";
    else
        return true;
    return false;
}

static bool regions_collide(const struct vhost_user_region *a, const struct vhost_user_region *b)
{
    return ranges_overlap(a->gpa, a->size, b->gpa, b->size) ||
           ranges_overlap(a->user_address, a->size, b->user_address, b->size);
}

/* The file must hold the whole region now: a page past its end is a SIGBUS at first use. */
static bool file_holds(int fd, const struct vhost_user_region *r, const char **fault)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        *fault = "memory is not a regular file";
    else if (!range_within(r->mmap_offset, r->size, (uint64_t)st.st_size))
        *fault = "file is shorter than the region";
    else
        return true;
    return false;
}

static void region_unref(struct mapped_region *region)
{
    if (atomic_fetch_sub_explicit(&region->references, 1, memory_order_acq_rel) != 1)
        return;
    mapped_ranges_remove(region->ranges, (uintptr_t)region->host);
    munmap(region->host, region->mapped_len);
    free(region);
}

static int region_map(struct mapped_ranges *ranges, const struct vhost_user_region *wire, int fd,
                      const char **fault, struct mapped_region **out)
{
    if (!wire_region_is_sound(wire, fault) || !file_holds(fd, wire, fault))
        return -EINVAL;
    struct mapped_region *region = malloc(sizeof(*region));
    if (region == NULL)
        return -ENOMEM;
    atomic_init(&region->references, 1);
    region->ranges = ranges;
    region->wire = *wire;
    region->mapped_len = mapped_ranges_whole_pages(fd, wire->size);
    region->host = mmap(NULL, region->mapped_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                        (off_t)wire->mmap_offset);
    if (region->host == MAP_FAILED) {
        int err = -errno;
        *fault = "memory cannot be mapped";
        free(region);
        return err;
    }
    if (!mapped_ranges_insert(ranges, (uintptr_t)region->host, region->mapped_len)) {
        *fault = "too many regions are still in use";
        munmap(region->host, region->mapped_len);
        free(region);
        return -ENOSPC;
    }
    /* A core dump of the daemon must not hold the guest's memory. Refused for some kinds of file: no matter.
     */
    madvise(region->host, region->mapped_len, MADV_DONTDUMP);
    *out = region;
    return 0;
}

/* ---- the map for the device ---- */

static void release_set(void *opaque)
{
    struct region_set *set = opaque;
    for (size_t i = 0; i < set->count; i++)
        region_unref(set->regions[i]);
    free(set);
}

static int make_map(struct mapped_region *const *regions, size_t count, struct oriel_memory **out)
{
    if (count == 0) /* a map all the same, so that the device lets go of the old one */
        return oriel_memory_create(NULL, 0, out);
    struct region_set *set = malloc(sizeof(*set) + count * sizeof(set->regions[0]));
    struct oriel_memory_region *described = calloc(count, sizeof(*described));
    int r = -ENOMEM;
    if (set == NULL || described == NULL)
        goto fail;
    set->count = count;
    for (size_t i = 0; i < count; i++) {
        described[i].gpa = regions[i]->wire.gpa;
        described[i].len = regions[i]->wire.size;
        described[i].host = regions[i]->host;
        set->regions[i] = regions[i];
    }
    r = oriel_memory_create(described, count, out);
    if (r != 0)
        goto fail;
    for (size_t i = 0; i < count; i++)
        atomic_fetch_add_explicit(&regions[i]->references, 1, memory_order_relaxed);
    oriel_memory_on_release(*out, release_set, set);
    free(described);
    return 0;
fail:
    free(set);
    free(described);
    return r;
}

/* ---- the table ---- */

void memory_table_init(struct memory_table *table, struct mapped_ranges *ranges)
{
    *table = (struct memory_table){.ranges = ranges};
}

static void drop_regions(struct mapped_region **regions, size_t count)
{
    for (size_t i = 0; i < count; i++)
        region_unref(regions[i]);
}

/* Puts `regions` in force; the table takes them over. On an error they stay the caller's. */
static int install(struct memory_table *table, struct mapped_region *const *regions, size_t count)
{
    struct oriel_memory *map;
    int r = make_map(regions, count, &map);
    if (r != 0)
        return r;
    oriel_memory_unref(table->map);
    table->map = map;
    memmove(table->regions, regions, count * sizeof(table->regions[0]));
    table->count = count;
    return 0;
}

static bool collides(struct memory_table *table, const struct vhost_user_region *new_region,
                     const struct vhost_user_region *other)
{
    if (!regions_collide(new_region, other))
        return false;
    table->fault = "regions overlap";
    return true;
}

int memory_table_set(struct memory_table *table, const struct vhost_user_region *regions, const int *fds,
                     size_t count)
{
    struct mapped_region *mapped[VHOST_USER_MEM_TABLE_REGIONS] = {NULL};
    size_t done = 0;
    int r = count <= VHOST_USER_MEM_TABLE_REGIONS ? 0 : -ENOSPC;
    for (size_t i = 0; r == 0 && i < count; i++) {
        for (size_t j = 0; r == 0 && j < i; j++)
            r = collides(table, &regions[i], &regions[j]) ? -EINVAL : 0;
        if (r == 0)
            r = region_map(table->ranges, &regions[i], fds[i], &table->fault, &mapped[i]);
        if (r == 0)
            done++;
    }
    struct mapped_region *old[VHOST_USER_MEM_SLOTS];
    size_t old_count = table->count;
    memcpy(old, table->regions, old_count * sizeof(old[0]));
    if (r == 0)
        r = install(table, mapped, count);
    if (r == 0)
        drop_regions(old, old_count);
    else
        drop_regions(mapped, done);
    return r;
}

int memory_table_add(struct memory_table *table, const struct vhost_user_region *region, int fd)
{
    struct mapped_region *regions[VHOST_USER_MEM_SLOTS];
    if (table->count == VHOST_USER_MEM_SLOTS) {
        table->fault = "all memory slots are in use";
        return -ENOSPC;
    }
    for (size_t i = 0; i < table->count; i++) {
        if (collides(table, region, &table->regions[i]->wire))
            return -EINVAL;
    }
    memcpy(regions, table->regions, table->count * sizeof(regions[0]));
    int r = region_map(table->ranges, region, fd, &table->fault, &regions[table->count]);
    if (r != 0)
        return r;
    struct mapped_region *added = regions[table->count];
    r = install(table, regions, table->count + 1);
    if (r != 0)
        region_unref(added);
    return r;
}

static bool is_region(const struct vhost_user_region *a, const struct vhost_user_region *b)
{
    return a->gpa == b->gpa && a->size == b->size && a->user_address == b->user_address;
}

int memory_table_remove(struct memory_table *table, const struct vhost_user_region *region)
{
    struct mapped_region *rest[VHOST_USER_MEM_SLOTS], *removed = NULL;
    size_t count = 0;
    for (size_t i = 0; i < table->count; i++) {
        if (removed == NULL && is_region(&table->regions[i]->wire, region))
            removed = table->regions[i];
        else
            rest[count++] = table->regions[i];
    }
    if (removed == NULL) {
        table->fault = "no such region";
        return -ENOENT;
    }
    int r = install(table, rest, count);
    if (r == 0)
        region_unref(removed);
    return r;
}

void memory_table_clear(struct memory_table *table)
{
    oriel_memory_unref(table->map);
    table->map = NULL;
    drop_regions(table->regions, table->count);
    table->count = 0;
}

bool memory_table_user_to_gpa(const struct memory_table *table, uint64_t user_address, uint64_t len,
                              uint64_t *gpa)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct vhost_user_region *r = &table->regions[i]->wire;
        if (user_address >= r->user_address && range_within(user_address - r->user_address, len, r->size)) {
            *gpa = r->gpa + (user_address - r->user_address);
            return true;
        }
    }
    return false;
}

uint64_t memory_table_gpa_end(const struct memory_table *table)
{
    uint64_t end = 0;
    for (size_t i = 0; i < table->count; i++)
        end = max_u64(end, table->regions[i]->wire.gpa + table->regions[i]->wire.size);
    return end;
}
