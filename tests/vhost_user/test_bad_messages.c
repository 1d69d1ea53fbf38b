/*
 * Every way a message can be wrong, one named case each. A message whose form is wrong is sent twice: with
 * NEED_REPLY it has to be answered with an error on a connection that goes on, without it has to end the
 * connection. After each case a request is served: by the same connection, or by a new one to the same
 * process.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "frontend.h"

#define MEMORY (4u << 20)
#define QUEUES 3 /* the rings that run; the next one is free for bad messages */

/* A message about to be sent; descriptors in `fds` are closed after it. */
struct bad {
    uint32_t request;
    char payload[1024];
    size_t len;
    int fds[64];
    unsigned fd_count;
};

struct bad_case {
    const char *name;
    void (*build)(struct frontend *fe, struct bad *bad);
    bool asks; /* the message has a reply of its own: an error can only end the connection */
};

/* ---- building blocks ---- */

static void put(struct bad *bad, uint32_t request, const void *payload, size_t len)
{
    bad->request = request;
    bad->len = len;
    if (len > 0)
        memcpy(bad->payload, payload, len);
}

static void put_u64(struct bad *bad, uint32_t request, uint64_t value)
{
    put(bad, request, &value, sizeof(value));
}

static void put_state(struct bad *bad, uint32_t request, uint32_t index, uint32_t num)
{
    struct fe_state state = {.index = index, .num = num};
    put(bad, request, &state, sizeof(state));
}

static void add_fd(struct bad *bad, int fd)
{
    bad->fds[bad->fd_count++] = fd;
}

static int new_memory(size_t len)
{
    int fd = memfd_create("extra", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, (off_t)len) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

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
    put(bad, FE_ADD_MEM_REG, &payload, sizeof(payload));
    if (fd >= 0)
        add_fd(bad, fd);
}

static void put_table(struct bad *bad, unsigned count, const struct fe_region *regions, size_t file_len)
{
    struct fe_mem_table table = {.count = count};
    for (unsigned i = 0; i < count && i < 16; i++) {
        table.regions[i] = regions[i];
        add_fd(bad, new_memory(file_len));
    }
    put(bad, FE_SET_MEM_TABLE, &table, 8 + count * sizeof(struct fe_region));
}

/* ---- the cases ---- */

static void unknown_id(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put(bad, 200, NULL, 0);
}

static void id_zero(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put(bad, 0, NULL, 0);
}

static void id_of_another_device(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_u64(bad, 20, 1500); /* NET_SET_MTU */
}

static void not_negotiated(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    int fd = eventfd(0, EFD_CLOEXEC);
    put(bad, 21, NULL, 0); /* SET_BACKEND_REQ_FD */
    add_fd(bad, fd);
}

static void features_short(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    uint32_t value = 0;
    put(bad, FE_SET_FEATURES, &value, sizeof(value));
}

static void features_long(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    uint64_t value[2] = {0};
    put(bad, FE_SET_FEATURES, value, sizeof(value));
}

static void features_not_offered(struct frontend *fe, struct bad *bad)
{
    put_u64(bad, FE_SET_FEATURES, fe->features | UINT64_C(1) << 60);
}

static void features_with_fd(struct frontend *fe, struct bad *bad)
{
    put_u64(bad, FE_SET_FEATURES, fe->features);
    add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void features_while_running(struct frontend *fe, struct bad *bad)
{
    put_u64(bad, FE_SET_FEATURES, fe->features & ~FE_F_EVENT_IDX);
}

static void protocol_features_not_offered(struct frontend *fe, struct bad *bad)
{
    put_u64(bad, FE_SET_PROTOCOL_FEATURES, fe->protocol_features | UINT64_C(1) << 40);
}

static void table_too_short(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    uint32_t count = 1;
    put(bad, FE_SET_MEM_TABLE, &count, sizeof(count));
}

static void table_count_too_large(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    struct fe_mem_table table = {.count = 9};
    put(bad, FE_SET_MEM_TABLE, &table, 8 + 8 * sizeof(struct fe_region));
}

static void table_count_huge(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    struct fe_mem_table table = {.count = UINT32_MAX};
    put(bad, FE_SET_MEM_TABLE, &table, 8 + 8 * sizeof(struct fe_region));
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
    put(bad, FE_SET_MEM_TABLE, &table, 8 + sizeof(struct fe_region));
}

static void table_with_an_fd_too_many(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    struct fe_region r = region(GPA2, 65536, USER2, 0);
    put_table(bad, 1, &r, 65536);
    add_fd(bad, new_memory(65536));
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
    put_add(bad, region(GPA2, 0, USER2, 0), new_memory(65536));
}

static void region_wraps_in_guest(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(UINT64_MAX - 4095, 65536, USER2, 0), new_memory(65536));
}

static void region_wraps_in_user(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 65536, UINT64_MAX - 4095, 0), new_memory(65536));
}

static void region_wraps_in_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 65536, USER2, UINT64_MAX - 4095), new_memory(65536));
}

static void region_longer_than_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 131072, USER2, 0), new_memory(65536));
}

static void region_behind_end_of_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 65536, USER2, 4096), new_memory(65536));
}

static void region_unaligned(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2 + 16, 4096, USER2 + 16, 0), new_memory(65536));
}

static void region_of_odd_size(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 5000, USER2, 0), new_memory(65536));
}

static void region_offset_unaligned(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_add(bad, region(GPA2, 4096, USER2, 100), new_memory(65536));
}

static void region_overlaps_another(struct frontend *fe, struct bad *bad)
{
    put_add(bad, region(FE_GPA + fe->memory_len - 4096, 65536, USER2, 0), new_memory(65536));
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
    int fd = new_memory(65536);
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
    put_add(bad, region(GPA2, 65536, USER2, 0), new_memory(65536));
    bad->len = 8;
}

static void removal_of_an_unknown_region(struct frontend *fe, struct bad *bad)
{
    put_add(bad, region(FE_GPA, fe->memory_len - 4096, fe_user(fe, fe->memory), 0), -1);
    bad->request = FE_REM_MEM_REG;
}

static void ring_num_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_state(bad, FE_SET_VRING_NUM, 1000, 64);
}

static void ring_num_zero(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_state(bad, FE_SET_VRING_NUM, QUEUES, 0);
}

static void ring_num_no_power_of_two(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_state(bad, FE_SET_VRING_NUM, QUEUES, 100);
}

static void ring_num_too_large(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_state(bad, FE_SET_VRING_NUM, QUEUES, 65536);
}

static void ring_num_while_running(struct frontend *fe, struct bad *bad)
{
    put_state(bad, FE_SET_VRING_NUM, 1, fe->queues[1].size / 2);
}

static void ring_base_too_large(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_state(bad, FE_SET_VRING_BASE, QUEUES, 65536);
}

static void ring_base_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_state(bad, FE_SET_VRING_BASE, 0x80000000, 0);
}

static void put_addr(struct bad *bad, struct frontend *fe, uint32_t index, uint64_t desc, uint64_t avail,
                     uint64_t used)
{
    (void)fe;
    struct fe_addr addr = {.index = index, .desc = desc, .avail = avail, .used = used};
    put(bad, FE_SET_VRING_ADDR, &addr, sizeof(addr));
}

/* The next ring: it has a size, no address. */
static void size_next_ring(struct frontend *fe)
{
    fe_set_state(fe, FE_SET_VRING_NUM, QUEUES, 64);
}

static void ring_addr_of_no_ring(struct frontend *fe, struct bad *bad)
{
    uint64_t base = fe_user(fe, fe->memory);
    put_addr(bad, fe, 65, base, base + 4096, base + 8192);
}

static void ring_addr_outside_memory(struct frontend *fe, struct bad *bad)
{
    uint64_t base = fe_user(fe, fe->memory);
    size_next_ring(fe);
    put_addr(bad, fe, QUEUES, base, base + 4096, base + fe->memory_len + 4096);
}

static void ring_addr_over_the_end(struct frontend *fe, struct bad *bad)
{
    uint64_t base = fe_user(fe, fe->memory);
    size_next_ring(fe);
    put_addr(bad, fe, QUEUES, base + fe->memory_len - 16, base + 4096, base + 8192);
}

static void ring_addr_wraps(struct frontend *fe, struct bad *bad)
{
    uint64_t base = fe_user(fe, fe->memory);
    size_next_ring(fe);
    put_addr(bad, fe, QUEUES, UINT64_MAX - 15, base + 4096, base + 8192);
}

static void ring_desc_unaligned(struct frontend *fe, struct bad *bad)
{
    uint64_t base = fe_user(fe, fe->memory);
    size_next_ring(fe);
    put_addr(bad, fe, QUEUES, base + 8, base + 4096, base + 8192);
}

static void ring_used_unaligned(struct frontend *fe, struct bad *bad)
{
    uint64_t base = fe_user(fe, fe->memory);
    size_next_ring(fe);
    put_addr(bad, fe, QUEUES, base, base + 4096, base + 8194);
}

static void ring_avail_unaligned(struct frontend *fe, struct bad *bad)
{
    uint64_t base = fe_user(fe, fe->memory);
    size_next_ring(fe);
    put_addr(bad, fe, QUEUES, base, base + 4097, base + 8192);
}

static void ring_addr_while_running(struct frontend *fe, struct bad *bad)
{
    uint64_t base = fe_user(fe, fe->memory);
    put_addr(bad, fe, 1, base, base + 4096, base + 8192);
}

static void ring_flags_unknown(struct frontend *fe, struct bad *bad)
{
    uint64_t base = fe_user(fe, fe->memory);
    struct fe_addr addr = {
        .index = QUEUES, .flags = 0x80, .desc = base, .avail = base + 4096, .used = base + 8192};
    put(bad, FE_SET_VRING_ADDR, &addr, sizeof(addr));
}

static void base_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_state(bad, FE_GET_VRING_BASE, 255, 0);
}

static void base_with_short_payload(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_state(bad, FE_GET_VRING_BASE, 1, 0);
    bad->len = 4;
}

static void kick_without_fd(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_u64(bad, FE_SET_VRING_KICK, QUEUES);
}

static void kick_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_u64(bad, FE_SET_VRING_KICK, 200);
    add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void kick_with_two_fds(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_u64(bad, FE_SET_VRING_KICK, QUEUES);
    add_fd(bad, eventfd(0, EFD_CLOEXEC));
    add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void kick_says_no_fd_and_sends_one(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_u64(bad, FE_SET_VRING_KICK, QUEUES | 0x100);
    add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void kick_with_unknown_bits(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_u64(bad, FE_SET_VRING_KICK, QUEUES | UINT64_C(1) << 40);
    add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void kick_is_a_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_u64(bad, FE_SET_VRING_KICK, QUEUES);
    add_fd(bad, new_memory(4096));
}

static void call_is_a_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_u64(bad, FE_SET_VRING_CALL, 1);
    add_fd(bad, new_memory(4096));
}

static void call_is_a_pipe(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == 0)
        close(ends[0]);
    put_u64(bad, FE_SET_VRING_CALL, 1);
    add_fd(bad, ends[1]);
}

static void err_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_u64(bad, FE_SET_VRING_ERR, 254);
    add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void enable_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_state(bad, FE_SET_VRING_ENABLE, 77, 1);
}

static void enable_with_two(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_state(bad, FE_SET_VRING_ENABLE, 1, 2);
}

static void put_log(struct bad *bad, uint64_t size, uint64_t offset, int fd)
{
    uint64_t payload[2] = {size, offset};
    put(bad, FE_SET_LOG_BASE, payload, sizeof(payload));
    if (fd >= 0)
        add_fd(bad, fd);
}

static void log_without_fd(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_log(bad, 1 << 20, 0, -1);
}

static void log_empty(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_log(bad, 0, 0, new_memory(4096));
}

static void log_longer_than_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_log(bad, 1 << 20, 0, new_memory(4096));
}

static void log_wraps(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_log(bad, UINT64_MAX, 4096, new_memory(4096));
}

static void log_too_small_for_memory(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_log(bad, 4096, 0, new_memory(4096));
}

static void status_too_large(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    put_u64(bad, FE_SET_STATUS, 256);
}

static const struct bad_case bad_cases[] = {
    {"unknown message id", unknown_id, false},
    {"message id 0", id_zero, false},
    {"message of another kind of device", id_of_another_device, false},
    {"message whose protocol feature was not negotiated", not_negotiated, false},
    {"SET_FEATURES too short", features_short, false},
    {"SET_FEATURES too long", features_long, false},
    {"SET_FEATURES with a bit that was not offered", features_not_offered, false},
    {"SET_FEATURES with a descriptor", features_with_fd, false},
    {"SET_FEATURES that differ while rings run", features_while_running, false},
    {"SET_PROTOCOL_FEATURES with a bit that was not offered", protocol_features_not_offered, false},
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
    {"SET_VRING_NUM of a ring that does not exist", ring_num_of_no_ring, false},
    {"SET_VRING_NUM 0", ring_num_zero, false},
    {"SET_VRING_NUM that is no power of two", ring_num_no_power_of_two, false},
    {"SET_VRING_NUM too large", ring_num_too_large, false},
    {"SET_VRING_NUM while the ring runs", ring_num_while_running, false},
    {"SET_VRING_BASE above 65535", ring_base_too_large, false},
    {"SET_VRING_BASE of a ring that does not exist", ring_base_of_no_ring, false},
    {"SET_VRING_ADDR of a ring that does not exist", ring_addr_of_no_ring, false},
    {"SET_VRING_ADDR outside guest memory", ring_addr_outside_memory, false},
    {"SET_VRING_ADDR over the end of guest memory", ring_addr_over_the_end, false},
    {"SET_VRING_ADDR that wraps", ring_addr_wraps, false},
    {"SET_VRING_ADDR with an unaligned descriptor table", ring_desc_unaligned, false},
    {"SET_VRING_ADDR with an unaligned used ring", ring_used_unaligned, false},
    {"SET_VRING_ADDR with an unaligned available ring", ring_avail_unaligned, false},
    {"SET_VRING_ADDR that moves a running ring", ring_addr_while_running, false},
    {"SET_VRING_ADDR with unknown flags", ring_flags_unknown, false},
    {"GET_VRING_BASE of a ring that does not exist", base_of_no_ring, true},
    {"GET_VRING_BASE too short", base_with_short_payload, true},
    {"SET_VRING_KICK without a descriptor", kick_without_fd, false},
    {"SET_VRING_KICK of a ring that does not exist", kick_of_no_ring, false},
    {"SET_VRING_KICK with two descriptors", kick_with_two_fds, false},
    {"SET_VRING_KICK that says there is none and sends one", kick_says_no_fd_and_sends_one, false},
    {"SET_VRING_KICK with unknown bits", kick_with_unknown_bits, false},
    {"SET_VRING_KICK with a file", kick_is_a_file, false},
    {"SET_VRING_CALL with a file", call_is_a_file, false},
    {"SET_VRING_CALL with a pipe", call_is_a_pipe, false},
    {"SET_VRING_ERR of a ring that does not exist", err_of_no_ring, false},
    {"SET_VRING_ENABLE of a ring that does not exist", enable_of_no_ring, false},
    {"SET_VRING_ENABLE with 2", enable_with_two, false},
    {"SET_LOG_BASE without a descriptor", log_without_fd, true},
    {"SET_LOG_BASE of length 0", log_empty, true},
    {"SET_LOG_BASE longer than its file", log_longer_than_file, true},
    {"SET_LOG_BASE that wraps", log_wraps, true},
    {"SET_LOG_BASE too small for guest memory", log_too_small_for_memory, true},
    {"SET_STATUS above 255", status_too_large, false},
};

/* ---- messages whose framing is wrong: the connection ends ---- */

static void send_header(struct frontend *fe, uint32_t request, uint32_t flags, uint32_t size)
{
    struct fe_header header = {.request = request, .flags = flags, .size = size};
    fe_send_raw(fe, &header, sizeof(header), NULL, 0);
}

static void bad_version(struct frontend *fe)
{
    send_header(fe, FE_GET_FEATURES, 2 | FE_NEED_REPLY, 0);
}

static void reply_flag(struct frontend *fe)
{
    send_header(fe, FE_GET_FEATURES, FE_VERSION | FE_REPLY, 0);
}

static void unknown_flags(struct frontend *fe)
{
    send_header(fe, FE_GET_FEATURES, FE_VERSION | 0x100, 0);
}

static void payload_of_four_gigabytes(struct frontend *fe)
{
    send_header(fe, FE_SET_MEM_TABLE, FE_VERSION, UINT32_MAX);
}

static void payload_too_long(struct frontend *fe)
{
    send_header(fe, FE_SET_CONFIG, FE_VERSION, 4096);
}

static void half_a_header(struct frontend *fe)
{
    uint32_t request = FE_GET_FEATURES;
    fe_send_raw(fe, &request, sizeof(request), NULL, 0);
    shutdown(fe->socket, SHUT_WR);
}

static void half_a_payload(struct frontend *fe)
{
    send_header(fe, FE_SET_FEATURES, FE_VERSION, 8);
    fe_send_raw(fe, "abcd", 4, NULL, 0);
    shutdown(fe->socket, SHUT_WR);
}

static void many_descriptors(struct frontend *fe, unsigned count)
{
    int fds[64];
    struct fe_header header = {.request = FE_SET_OWNER, .flags = FE_VERSION | FE_NEED_REPLY};
    for (unsigned i = 0; i < count; i++)
        fds[i] = fe->queues[0].kick;
    fe_send_raw(fe, &header, sizeof(header), fds, count);
}

static void nine_descriptors(struct frontend *fe)
{
    many_descriptors(fe, 9);
}

static void sixty_descriptors(struct frontend *fe)
{
    many_descriptors(fe, 60);
}

static void noise(struct frontend *fe)
{
    char bytes[64];
    memset(bytes, 0xa5, sizeof(bytes));
    fe_send_raw(fe, bytes, sizeof(bytes), NULL, 0);
}

static const struct {
    const char *name;
    void (*send)(struct frontend *fe);
} framing_cases[] = {
    {"unknown version", bad_version},
    {"reply where a request is due", reply_flag},
    {"unknown header flags", unknown_flags},
    {"payload of four gigabytes", payload_of_four_gigabytes},
    {"payload longer than any message", payload_too_long},
    {"end in the middle of a header", half_a_header},
    {"end in the middle of a payload", half_a_payload},
    {"nine descriptors", nine_descriptors},
    {"sixty descriptors", sixty_descriptors},
    {"noise", noise},
};

/* ---- running them ---- */

static bool connect_and_serve(struct daemon *daemon, struct frontend *fe)
{
    if (!daemon_is_running(daemon) && !daemon_start(daemon, true))
        return false;
    if (fe_connect(fe, daemon->socket, 2000) != 0)
        return false;
    /* The control has two queues. */
    unsigned queues = daemon->kind == DAEMON_ORIEL ? QUEUES : 2;
    return fe_set_up(fe, MEMORY, queues, 128) == 0 && fe_fuse_init(fe, 1) == 0 &&
           fe_fuse_getattr_root(fe, queues - 1) == 0;
}

/* How many descriptors the daemon has while it serves one front-end: a case that leaks one shows here. */
static int served_fds;

static bool lives_on(struct daemon *daemon)
{
    struct frontend fe;
    bool alive = daemon_is_running(daemon) && connect_and_serve(daemon, &fe);
    if (!alive)
        return false;
    int fds = daemon_open_fds(daemon);
    if (served_fds == 0)
        served_fds = fds;
    fe_close(&fe);
    if (fds != served_fds)
        tap_note("%d descriptors open, %d before", fds, served_fds);
    return fds == served_fds;
}

static void build(struct frontend *fe, const struct bad_case *c, struct bad *bad)
{
    memset(bad, 0, sizeof(*bad));
    c->build(fe, bad);
}

static void close_fds(struct bad *bad)
{
    for (unsigned i = 0; i < bad->fd_count; i++)
        close(bad->fds[i]);
}

/* The message with NEED_REPLY: an error, and the connection serves on. */
static bool is_answered(struct daemon *daemon, const struct bad_case *c)
{
    struct frontend fe;
    struct bad bad;
    if (!connect_and_serve(daemon, &fe))
        return false;
    build(&fe, c, &bad);
    int64_t answer = fe_acked(&fe, bad.request, bad.payload, bad.len, bad.fds, bad.fd_count);
    close_fds(&bad);
    bool ok = answer > 0 && fe_fuse_getattr_root(&fe, 1) == 0 && fe_fuse_getattr_root(&fe, 2) == 0;
    if (!ok)
        tap_note("with NEED_REPLY: answer %lld", (long long)answer);
    fe_close(&fe);
    return ok;
}

/* The message without: the connection ends. */
static bool is_closed(struct daemon *daemon, const struct bad_case *c)
{
    struct frontend fe;
    struct bad bad;
    if (!connect_and_serve(daemon, &fe))
        return false;
    build(&fe, c, &bad);
    fe_send(&fe, bad.request, 0, bad.payload, bad.len, bad.fds, bad.fd_count);
    close_fds(&bad);
    bool closed = fe_is_closed(&fe, FE_TIMEOUT_MS);
    if (!closed)
        tap_note("without NEED_REPLY: the connection goes on");
    fe_close(&fe);
    return closed;
}

static void test_oriel(struct daemon *daemon)
{
    for (size_t i = 0; i < sizeof(bad_cases) / sizeof(bad_cases[0]); i++) {
        const struct bad_case *c = &bad_cases[i];
        bool ok = (c->asks || is_answered(daemon, c)) && is_closed(daemon, c) && lives_on(daemon);
        tap_ok(ok, c->name);
    }
    for (size_t i = 0; i < sizeof(framing_cases) / sizeof(framing_cases[0]); i++) {
        struct frontend fe;
        bool ok = connect_and_serve(daemon, &fe);
        framing_cases[i].send(&fe);
        ok = ok && fe_is_closed(&fe, FE_TIMEOUT_MS);
        fe_close(&fe);
        tap_ok(ok && lives_on(daemon), framing_cases[i].name);
    }
}

/* What the control does is not ours to judge: it is written down. */
static void record(struct daemon *daemon, struct frontend *fe, const char *name)
{
    int status = daemon_wait(daemon, 200);
    const char *what = "goes on and serves";
    if (status != -1)
        what = WIFSIGNALED(status) ? "process died of a signal" : "process ended";
    else if (fe_fuse_getattr_root(fe, 1) != 0)
        what = "process lives, requests are not served any more";
    tap_note("%-60s %s", name, what);
    daemon_kill(daemon);
}

static void test_control(struct daemon *daemon)
{
    size_t served = 0;
    for (size_t i = 0; i < sizeof(bad_cases) / sizeof(bad_cases[0]); i++) {
        struct frontend fe;
        struct bad bad;
        served += connect_and_serve(daemon, &fe);
        build(&fe, &bad_cases[i], &bad);
        fe_send(&fe, bad.request, 0, bad.payload, bad.len, bad.fds, bad.fd_count);
        close_fds(&bad);
        record(daemon, &fe, bad_cases[i].name);
        fe_close(&fe);
    }
    for (size_t i = 0; i < sizeof(framing_cases) / sizeof(framing_cases[0]); i++) {
        struct frontend fe;
        served += connect_and_serve(daemon, &fe);
        framing_cases[i].send(&fe);
        record(daemon, &fe, framing_cases[i].name);
        fe_close(&fe);
    }
    tap_ok(served ==
               sizeof(bad_cases) / sizeof(bad_cases[0]) + sizeof(framing_cases) / sizeof(framing_cases[0]),
           "the control was driven through every case, with the results above");
}

int main(int argc, char **argv)
{
    struct daemon daemon;
    daemon_init(&daemon, argc, argv);
    bool control = daemon.kind == DAEMON_VIRTIOFSD;
    tap_plan(control ? 1
                     : (int)(sizeof(bad_cases) / sizeof(bad_cases[0]) +
                             sizeof(framing_cases) / sizeof(framing_cases[0])));
    if (control)
        test_control(&daemon);
    else
        test_oriel(&daemon);
    daemon_finish(&daemon);
    return tap_status();
}
