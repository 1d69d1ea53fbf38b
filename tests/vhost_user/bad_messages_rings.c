/* Bad messages about rings: size, base, addresses, descriptors, enabling. */
#include "bad_messages.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void ring_num_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_state(bad, FE_SET_VRING_NUM, 1000, 64);
}

static void ring_num_zero(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_state(bad, FE_SET_VRING_NUM, QUEUES, 0);
}

static void ring_num_no_power_of_two(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_state(bad, FE_SET_VRING_NUM, QUEUES, 100);
}

static void ring_num_too_large(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_state(bad, FE_SET_VRING_NUM, QUEUES, 65536);
}

static void ring_num_while_running(struct frontend *fe, struct bad *bad)
{
    bad_put_state(bad, FE_SET_VRING_NUM, 1, fe->queues[1].size / 2);
}

static void ring_base_too_large(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_state(bad, FE_SET_VRING_BASE, QUEUES, 65536);
}

static void ring_base_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_state(bad, FE_SET_VRING_BASE, 0x80000000, 0);
}

static void put_addr(struct bad *bad, struct frontend *fe, uint32_t index, uint64_t desc, uint64_t avail,
                     uint64_t used)
{
    (void)fe;
    struct fe_addr addr = {.index = index, .desc = desc, .avail = avail, .used = used};
    bad_put(bad, FE_SET_VRING_ADDR, &addr, sizeof(addr));
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
    bad_put(bad, FE_SET_VRING_ADDR, &addr, sizeof(addr));
}

static void base_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_state(bad, FE_GET_VRING_BASE, 255, 0);
}

static void base_with_short_payload(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_state(bad, FE_GET_VRING_BASE, 1, 0);
    bad->len = 4;
}

static void kick_without_fd(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_u64(bad, FE_SET_VRING_KICK, QUEUES);
}

static void kick_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_u64(bad, FE_SET_VRING_KICK, 200);
    bad_add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void kick_with_two_fds(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_u64(bad, FE_SET_VRING_KICK, QUEUES);
    bad_add_fd(bad, eventfd(0, EFD_CLOEXEC));
    bad_add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void kick_says_no_fd_and_sends_one(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_u64(bad, FE_SET_VRING_KICK, QUEUES | 0x100);
    bad_add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void kick_with_unknown_bits(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_u64(bad, FE_SET_VRING_KICK, QUEUES | UINT64_C(1) << 40);
    bad_add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void kick_is_a_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_u64(bad, FE_SET_VRING_KICK, QUEUES);
    bad_add_fd(bad, bad_new_memory(4096));
}

static void call_is_a_file(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_u64(bad, FE_SET_VRING_CALL, 1);
    bad_add_fd(bad, bad_new_memory(4096));
}

static void call_is_a_pipe(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == 0)
        close(ends[0]);
    bad_put_u64(bad, FE_SET_VRING_CALL, 1);
    bad_add_fd(bad, ends[1]);
}

static void err_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_u64(bad, FE_SET_VRING_ERR, 254);
    bad_add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void enable_of_no_ring(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_state(bad, FE_SET_VRING_ENABLE, 77, 1);
}

static void enable_with_two(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_state(bad, FE_SET_VRING_ENABLE, 1, 2);
}

static const struct bad_case cases[] = {
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
};

const struct bad_kind bad_ring_messages = {cases, sizeof(cases) / sizeof(cases[0])};
