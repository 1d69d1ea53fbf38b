/* Bad messages about guest memory: its table, single regions, the log of what was written. */
#include "bad_messages.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static struct fe_region region(uint64_t gpa, uint64_t size, uint64_t user, uint64_t offset)
{
    return (struct fe_region){.gpa = gpa, .size = size, .user = user, .offset = offset};
}

#define GPA2  UINT64_C(0x80000000)
#define USER2 UINT64_C(0x700000000000)

static void put_add(struct bad *bad, struct fe_region r, int fd)
{
    struct {
        uint64_t padding;
        struct fe_region region;
    } payload = {.region = r};
    bad_put(bad, FE_ADD_MEM_REG, &payload, sizeof(payload));
    if (fd >= 0)
        bad_add_fd(bad, fd);
}

static void put_table(struct bad *bad, unsigned count, const struct fe_region *regions, size_t file_len)
{
    struct fe_mem_table table = {.count = count};
    for (unsigned i = 0; i < count && i < 16; i++) {
        table.regions[i] = regions[i];
        bad_add_fd(bad, bad_new_memory(file_len));
    }
    bad_put(bad, FE_SET_MEM_TABLE, &table, 8 + count * sizeof(struct fe_region));
}

static void table_too_short(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    uint32_t count = 1;
    bad_put(bad, FE_SET_MEM_TABLE, &count, sizeof(count));
}

static void table_count_too_large(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    struct fe_mem_table table = {.count = 9};
    bad_put(bad, FE_SET_MEM_TABLE, &table, 8 + 8 * sizeof(struct fe_region));
}

static void table_count_huge(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    struct fe_mem_table table = {.count = UINT32_MAX};
    bad_put(bad, FE_SET_MEM_TABLE, &table, 8 + 8 * sizeof(struct fe_region));
}

static void table_shorter_than_its_count(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    struct fe_region r[2] = {region(GPA2, 65536, USER2, 0), region(GPA2 + 65536, 65536, USER2 + 65536, 0)};
    put_table(bad, 2, r, 65536);
    bad->len -= 1;
}

static void table_longer_than_its_count(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    struct fe_region r = region(GPA2, 65536, USER2, 0);
    put_table(bad, 1, &r, 65536);
    bad->len += sizeof(struct fe_region);
}

static void table_without_fds(struct frontend *fe, struct bad *bad)
{
    struct fe_mem_table table = {.count = 1};
    table.regions[0] = region(FE_GPA, fe->memory_len, fe_user(fe, fe->memory), 0);
    bad_put(bad, FE_SET_MEM_TABLE, &table, 8 + sizeof(struct fe_region));
}

static void table_with_an_fd_too_many(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    struct fe_region r = region(GPA2, 65536, USER2, 0);
    put_table(bad, 1, &r, 65536);
    bad_add_fd(bad, bad_new_memory(65536));
}

static void table_regions_overlap(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    struct fe_region r[2] = {region(GPA2, 65536, USER2, 0),
                             region(GPA2 + 61440, 65536, USER2 + (1 << 20), 0)};
    put_table(bad, 2, r, 65536);
}

static void table_user_addresses_overlap(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    struct fe_region r[2] = {region(GPA2, 65536, USER2, 0), region(GPA2 + (1 << 20), 65536, USER2 + 4096, 0)};
    put_table(bad, 2, r, 65536);
}

static void region_empty(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 0, USER2, 0), bad_new_memory(65536));
}

static void region_wraps_in_guest(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(UINT64_MAX - 4095, 65536, USER2, 0), bad_new_memory(65536));
}

static void region_wraps_in_user(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 65536, UINT64_MAX - 4095, 0), bad_new_memory(65536));
}

static void region_wraps_in_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 65536, USER2, UINT64_MAX - 4095), bad_new_memory(65536));
}

static void region_longer_than_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 131072, USER2, 0), bad_new_memory(65536));
}

static void region_behind_end_of_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 65536, USER2, 4096), bad_new_memory(65536));
}

static void region_unaligned(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2 + 16, 4096, USER2 + 16, 0), bad_new_memory(65536));
}

static void region_of_odd_size(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 5000, USER2, 0), bad_new_memory(65536));
}

static void region_offset_unaligned(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 4096, USER2, 100), bad_new_memory(65536));
}

static void region_overlaps_another(struct frontend *fe, struct bad *bad)
{
    put_add(bad, region(FE_GPA + fe->memory_len - 4096, 65536, USER2, 0), bad_new_memory(65536));
}

static void region_of_a_pipe(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == 0)
        close(ends[1]);
    put_add(bad, region(GPA2, 4096, USER2, 0), ends[0]);
}

static void region_of_a_device(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 4096, USER2, 0), open("/dev/zero", O_RDWR | O_CLOEXEC));
}

static void region_read_only(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    char path[64];
    int fd = bad_new_memory(65536);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    put_add(bad, region(GPA2, 65536, USER2, 0), open(path, O_RDONLY | O_CLOEXEC));
    close(fd);
}

static void region_without_fd(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 65536, USER2, 0), -1);
}

static void region_short_payload(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 65536, USER2, 0), bad_new_memory(65536));
    bad->len = 8;
}

static void removal_of_an_unknown_region(struct frontend *fe, struct bad *bad)
{
    put_add(bad, region(FE_GPA, fe->memory_len - 4096, fe_user(fe, fe->memory), 0), -1);
    bad->request = FE_REM_MEM_REG;
}

static void put_log(struct bad *bad, uint64_t size, uint64_t offset, int fd)
{
    uint64_t payload[2] = {size, offset};
    bad_put(bad, FE_SET_LOG_BASE, payload, sizeof(payload));
    if (fd >= 0)
        bad_add_fd(bad, fd);
}

static void log_without_fd(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_log(bad, 1 << 20, 0, -1);
}

static void log_empty(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_log(bad, 0, 0, bad_new_memory(4096));
}

static void log_longer_than_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_log(bad, 1 << 20, 0, bad_new_memory(4096));
}

static void log_wraps(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_log(bad, UINT64_MAX, 4096, bad_new_memory(4096));
}

static void log_too_small_for_memory(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_log(bad, 4096, 0, bad_new_memory(4096));
}

static const struct bad_case cases[] = {
    {"SET_MEM_TABLE too short for its count", table_too_short, false},
    {"SET_MEM_TABLE with nine regions", table_count_too_large, false},
    {"SET_MEM_TABLE with four billion regions", table_count_huge, false},
    {"SET_MEM_TABLE shorter than its count says", table_shorter_than_its_count, false},
    {"SET_MEM_TABLE longer than its count says", table_longer_than_its_count, false},
    {"SET_MEM_TABLE without descriptors", table_without_fds, false},
    {"SET_MEM_TABLE with a descriptor too many", table_with_an_fd_too_many, false},
    {"SET_MEM_TABLE with overlapping regions", table_regions_overlap, false},
    {"SET_MEM_TABLE with overlapping user addresses", table_user_addresses_overlap, false},
    {"region of length 0", region_empty, false},
    {"region that wraps in guest addresses", region_wraps_in_guest, false},
    {"region that wraps in user addresses", region_wraps_in_user, false},
    {"region that wraps in its file", region_wraps_in_file, false},
    {"region longer than its file", region_longer_than_file, false},
    {"region that ends behind its file", region_behind_end_of_file, false},
    {"region at an unaligned address", region_unaligned, false},
    {"region of no whole pages", region_of_odd_size, false},
    {"region at an unaligned file offset", region_offset_unaligned, false},
    {"region over another one", region_overlaps_another, false},
    {"region of a pipe", region_of_a_pipe, false},
    {"region of a device", region_of_a_device, false},
    {"region of a file opened for reading", region_read_only, false},
    {"ADD_MEM_REG without a descriptor", region_without_fd, false},
    {"ADD_MEM_REG too short", region_short_payload, false},
    {"REM_MEM_REG of a region that is not there", removal_of_an_unknown_region, false},
    {"SET_LOG_BASE without a descriptor", log_without_fd, true},
    {"SET_LOG_BASE of length 0", log_empty, true},
    {"SET_LOG_BASE longer than its file", log_longer_than_file, true},
    {"SET_LOG_BASE that wraps", log_wraps, true},
    {"SET_LOG_BASE too small for guest memory", log_too_small_for_memory, true},
};

const struct bad_kind bad_memory_messages = {cases, sizeof(cases) / sizeof(cases[0])};
