/*
 * Every way a ring can be wrong, one named case each, on queue 1 of a device that works. A queue that breaks
 * must be told (the err descriptor), must not take the process or other queues with it, and must work again
 * after the driver set it up anew. A bad request alone costs that request. What leads to which is in
 * src/virtio/split_queue.h.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "frontend.h"

#define MEMORY (8u << 20)
#define SIZE   64u

enum outcome {
    BREAKS,   /* the queue stops; others go on */
    DROPPED,  /* used length 0 */
    ANSWERED, /* with an error, or as if nothing was wrong */
};

struct ring_case {
    const char *name;
    enum outcome outcome;
    void (*spoil)(struct frontend *fe, struct fe_queue *queue);
};

/* ---- building blocks ---- */

/* A GETATTR of the root: header and argument, and room for a reply. */
static struct fuse_in_header *new_request(struct frontend *fe)
{
    size_t len = sizeof(struct fuse_in_header) + sizeof(struct fuse_getattr_in);
    struct fuse_in_header *in = fe_alloc(fe, len, 64);
    memset(in, 0, len);
    *in = (struct fuse_in_header){
        .len = (uint32_t)len, .opcode = FUSE_GETATTR, .unique = ++fe->unique, .nodeid = FUSE_ROOT_ID};
    return in;
}

#define IN_LEN  (sizeof(struct fuse_in_header) + sizeof(struct fuse_getattr_in))
#define OUT_LEN (sizeof(struct fuse_out_header) + sizeof(struct fuse_attr_out))

static struct fe_buffer readable(struct frontend *fe)
{
    return (struct fe_buffer){.gpa = fe_gpa(fe, new_request(fe)), .len = IN_LEN};
}

static struct fe_buffer writable(struct frontend *fe)
{
    return (struct fe_buffer){.gpa = fe_gpa(fe, fe_alloc(fe, OUT_LEN, 64)), .len = OUT_LEN, .write = true};
}

/* A good chain; the caller spoils its descriptors before they are published. Returns the first of two. */
static struct vring_desc *good_chain(struct frontend *fe, struct fe_queue *queue)
{
    struct fe_buffer buffers[2] = {readable(fe), writable(fe)};
    return &queue->desc[fe_add(fe, queue, buffers, 2)];
}

static void publish(struct fe_queue *queue)
{
    fe_publish(queue);
    fe_kick(queue);
}

static void set(struct vring_desc *desc, uint64_t gpa, size_t len, unsigned flags, unsigned next)
{
    *desc = (struct vring_desc){
        .addr = gpa, .len = (uint32_t)len, .flags = (uint16_t)flags, .next = (uint16_t)next};
}

/* An indirect table of n entries that is a good request in its first two, and a chain that consists of it. */
static struct vring_desc *good_table(struct frontend *fe, struct fe_queue *queue, size_t n)
{
    struct vring_desc *table = fe_alloc(fe, n * sizeof(*table), 16);
    struct fe_buffer in = readable(fe), out = writable(fe);
    memset(table, 0, n * sizeof(*table));
    set(&table[0], in.gpa, in.len, VRING_DESC_F_NEXT, 1);
    set(&table[1], out.gpa, out.len, VRING_DESC_F_WRITE, 0);
    struct fe_buffer whole = {.gpa = fe_gpa(fe, table), .len = (uint32_t)(n * sizeof(*table))};
    queue->desc[fe_add(fe, queue, &whole, 1)].flags = VRING_DESC_F_INDIRECT;
    return table;
}

/* ---- the ring itself ---- */

static void index_jumps(struct frontend *fe, struct fe_queue *queue)
{
    good_chain(fe, queue);
    queue->avail_index = (uint16_t)(queue->avail_index + SIZE + 1);
    publish(queue);
}

static void index_goes_back(struct frontend *fe, struct fe_queue *queue)
{
    (void)fe;
    queue->avail_index = (uint16_t)(queue->avail_index - 1);
    publish(queue);
}

static void head_out_of_range(struct frontend *fe, struct fe_queue *queue)
{
    uint16_t at = queue->avail_index;
    good_chain(fe, queue);
    queue->avail->ring[at % SIZE] = SIZE;
    publish(queue);
}

static void head_far_out_of_range(struct frontend *fe, struct fe_queue *queue)
{
    uint16_t at = queue->avail_index;
    good_chain(fe, queue);
    queue->avail->ring[at % SIZE] = 0xffff;
    publish(queue);
}

static void next_out_of_range(struct frontend *fe, struct fe_queue *queue)
{
    good_chain(fe, queue)->next = SIZE;
    publish(queue);
}

static void loop_to_itself(struct frontend *fe, struct fe_queue *queue)
{
    struct vring_desc *desc = good_chain(fe, queue);
    desc->next = (uint16_t)(desc - queue->desc);
    publish(queue);
}

static void loop_over_two(struct frontend *fe, struct fe_queue *queue)
{
    struct vring_desc *desc = good_chain(fe, queue);
    desc[1].flags |= VRING_DESC_F_NEXT;
    desc[1].next = (uint16_t)(desc - queue->desc);
    publish(queue);
}

/* ---- indirect tables ---- */

static void table_of_odd_length(struct frontend *fe, struct fe_queue *queue)
{
    good_table(fe, queue, 2);
    queue->desc[(queue->next_desc - 1u) % SIZE].len = 24;
    publish(queue);
}

static void table_empty(struct frontend *fe, struct fe_queue *queue)
{
    good_table(fe, queue, 2);
    queue->desc[(queue->next_desc - 1u) % SIZE].len = 0;
    publish(queue);
}

static void table_too_long(struct frontend *fe, struct fe_queue *queue)
{
    good_table(fe, queue, SIZE + 1);
    publish(queue);
}

static void table_of_four_gigabytes(struct frontend *fe, struct fe_queue *queue)
{
    good_table(fe, queue, 2);
    queue->desc[(queue->next_desc - 1u) % SIZE].len = 0xfffffff0;
    publish(queue);
}

static void table_outside_memory(struct frontend *fe, struct fe_queue *queue)
{
    good_table(fe, queue, 2);
    queue->desc[(queue->next_desc - 1u) % SIZE].addr = 0x1000;
    publish(queue);
}

static void table_in_a_table(struct frontend *fe, struct fe_queue *queue)
{
    struct vring_desc *table = good_table(fe, queue, 2);
    table[0].flags = VRING_DESC_F_INDIRECT;
    publish(queue);
}

static void table_next_out_of_range(struct frontend *fe, struct fe_queue *queue)
{
    good_table(fe, queue, 2)[0].next = 2;
    publish(queue);
}

static void table_loops(struct frontend *fe, struct fe_queue *queue)
{
    struct vring_desc *table = good_table(fe, queue, 2);
    table[1].flags |= VRING_DESC_F_NEXT;
    publish(queue);
}

static void table_and_next(struct frontend *fe, struct fe_queue *queue)
{
    good_table(fe, queue, 2);
    queue->desc[(queue->next_desc - 1u) % SIZE].flags |= VRING_DESC_F_NEXT;
    publish(queue);
}

/* ---- one request ---- */

static void writable_before_readable(struct frontend *fe, struct fe_queue *queue)
{
    struct fe_buffer buffers[2] = {writable(fe), readable(fe)};
    fe_add(fe, queue, buffers, 2);
    publish(queue);
}

static void longer_than_four_gigabytes(struct frontend *fe, struct fe_queue *queue)
{
    struct fe_buffer buffers[34];
    buffers[0] = readable(fe);
    for (unsigned i = 1; i < 34; i++)
        buffers[i] = (struct fe_buffer){.gpa = FE_GPA, .len = 0x8000000, .write = true};
    fe_add(fe, queue, buffers, 34);
    publish(queue);
}

static void no_writable_part(struct frontend *fe, struct fe_queue *queue)
{
    struct fe_buffer buffer = readable(fe);
    fe_add(fe, queue, &buffer, 1);
    publish(queue);
}

static void no_readable_part(struct frontend *fe, struct fe_queue *queue)
{
    struct fe_buffer buffer = writable(fe);
    fe_add(fe, queue, &buffer, 1);
    publish(queue);
}

static void shorter_than_a_header(struct frontend *fe, struct fe_queue *queue)
{
    good_chain(fe, queue)->len = sizeof(struct fuse_in_header) - 1;
    publish(queue);
}

static void no_room_for_a_reply_header(struct frontend *fe, struct fe_queue *queue)
{
    good_chain(fe, queue)[1].len = sizeof(struct fuse_out_header) - 1;
    publish(queue);
}

static void all_of_length_0(struct frontend *fe, struct fe_queue *queue)
{
    struct vring_desc *desc = good_chain(fe, queue);
    desc[0].len = desc[1].len = 0;
    publish(queue);
}

static void parts_of_length_0_between(struct frontend *fe, struct fe_queue *queue)
{
    struct fe_buffer in = readable(fe), out = writable(fe);
    struct fe_buffer buffers[5] = {{.gpa = in.gpa}, in, {.gpa = 1}, {.gpa = out.gpa, .write = true}, out};
    fe_add(fe, queue, buffers, 5);
    publish(queue);
}

static void reply_buffer_outside_memory(struct frontend *fe, struct fe_queue *queue)
{
    good_chain(fe, queue)[1].addr = 0x1000;
    publish(queue);
}

static void request_outside_memory(struct frontend *fe, struct fe_queue *queue)
{
    good_chain(fe, queue)->addr = UINT64_MAX - 7;
    publish(queue);
}

static void request_over_the_end_of_memory(struct frontend *fe, struct fe_queue *queue)
{
    good_chain(fe, queue)->addr = FE_GPA + MEMORY - 8;
    publish(queue);
}

static void one_byte_each(struct frontend *fe, struct fe_queue *queue)
{
    struct fe_buffer in = readable(fe), out = writable(fe), buffers[IN_LEN + 1];
    for (unsigned i = 0; i < IN_LEN; i++)
        buffers[i] = (struct fe_buffer){.gpa = in.gpa + i, .len = 1};
    buffers[IN_LEN] = out;
    fe_add(fe, queue, buffers, IN_LEN + 1);
    publish(queue);
}

static const struct ring_case cases[] = {
    {"available index more than a queue ahead", BREAKS, index_jumps},
    {"available index goes back", BREAKS, index_goes_back},
    {"head out of range", BREAKS, head_out_of_range},
    {"head 65535", BREAKS, head_far_out_of_range},
    {"next out of range", BREAKS, next_out_of_range},
    {"descriptor that continues with itself", BREAKS, loop_to_itself},
    {"loop over two descriptors", BREAKS, loop_over_two},
    {"indirect table of no whole entries", BREAKS, table_of_odd_length},
    {"indirect table of length 0", BREAKS, table_empty},
    {"indirect table longer than the queue", BREAKS, table_too_long},
    {"indirect table of four gigabytes", BREAKS, table_of_four_gigabytes},
    {"indirect table outside guest memory", BREAKS, table_outside_memory},
    {"indirect table in an indirect table", BREAKS, table_in_a_table},
    {"indirect table with next out of range", BREAKS, table_next_out_of_range},
    {"indirect table with a loop", BREAKS, table_loops},
    {"indirect descriptor that goes on", BREAKS, table_and_next},
    {"writable before readable", DROPPED, writable_before_readable},
    {"parts of more than four gigabytes", DROPPED, longer_than_four_gigabytes},
    {"no writable part", DROPPED, no_writable_part},
    {"no readable part", DROPPED, no_readable_part},
    {"request shorter than its header", DROPPED, shorter_than_a_header},
    {"no room for the reply header", DROPPED, no_room_for_a_reply_header},
    {"parts all of length 0", DROPPED, all_of_length_0},
    {"parts of length 0 in between", ANSWERED, parts_of_length_0_between},
    {"reply buffer outside guest memory", DROPPED, reply_buffer_outside_memory},
    {"request outside guest memory", DROPPED, request_outside_memory},
    {"request over the end of guest memory", DROPPED, request_over_the_end_of_memory},
    {"a buffer for each byte", ANSWERED, one_byte_each},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

/* ---- running them ---- */

static bool begin(struct daemon *daemon, struct frontend *fe)
{
    unsigned queues = daemon->kind == DAEMON_ORIEL ? 3 : 2;
    if (!daemon_is_running(daemon) && !daemon_start(daemon, true))
        return false;
    return fe_connect(fe, daemon->socket, 2000) == 0 && fe_set_up(fe, MEMORY, queues, SIZE) == 0 &&
           fe_fuse_init(fe, queues - 1) == 0 && fe_fuse_getattr_root(fe, 1) == 0;
}

static bool is_signalled(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

/* The driver gives the queue up and makes it anew. */
static bool works_again(struct frontend *fe, struct fe_queue *queue)
{
    uint32_t base;
    if (fe_get_state(fe, FE_GET_VRING_BASE, queue->index, &base) != 0)
        return false;
    memset(queue->avail, 0, 6 + SIZE * 2);
    memset(queue->used, 0, 6 + SIZE * 8);
    queue->avail_index = queue->used_index = queue->next_desc = 0;
    return fe_tell_queue(fe, queue, 0) == 0 && fe_tell_kick(fe, queue) == 0 &&
           fe_enable_queue(fe, queue->index, true) == 0 && fe_fuse_getattr_root(fe, queue->index) == 0;
}

static bool breaks(struct frontend *fe, struct fe_queue *queue)
{
    struct vring_used_elem used;
    bool told = is_signalled(queue->err, FE_TIMEOUT_MS);
    bool served = fe_take_used(queue, &used) == 1;
    if (!told || served)
        tap_note("err %s, %s", told ? "signalled" : "not signalled",
                 served ? "request used" : "request not used");
    return told && !served && fe_fuse_getattr_root(fe, 2) == 0 && works_again(fe, queue);
}

static bool costs_one_request(struct frontend *fe, struct fe_queue *queue, enum outcome outcome)
{
    struct vring_used_elem used;
    if (fe_wait_used(queue, &used, FE_TIMEOUT_MS) != 1) {
        tap_note("not used");
        return false;
    }
    bool ok = outcome == DROPPED ? used.len == 0 : used.len >= sizeof(struct fuse_out_header);
    if (!ok)
        tap_note("used length %u", used.len);
    return ok && fe_fuse_getattr_root(fe, 1) == 0;
}

static void test_oriel(struct daemon *daemon)
{
    for (size_t i = 0; i < CASES; i++) {
        struct frontend fe;
        bool ok = begin(daemon, &fe);
        if (ok) {
            struct fe_queue *queue = &fe.queues[1];
            cases[i].spoil(&fe, queue);
            ok = cases[i].outcome == BREAKS ? breaks(&fe, queue)
                                            : costs_one_request(&fe, queue, cases[i].outcome);
            ok = ok && fe_fuse_getattr_root(&fe, 1) == 0 && fe_fuse_getattr_root(&fe, 2) == 0;
        }
        fe_close(&fe);
        tap_ok(ok && daemon_is_running(daemon), cases[i].name);
    }
}

static const char *observed(struct daemon *daemon, struct frontend *fe)
{
    struct vring_used_elem used;
    struct fe_queue *queue = &fe->queues[1];
    int answered = fe_wait_used(queue, &used, 300);
    int status = daemon_wait(daemon, 100);
    if (status != -1)
        return WIFSIGNALED(status) ? "process died of a signal" : "process ended";
    if (answered != 1)
        return "process lives, queue silent";
    return used.len == 0 ? "request dropped, queue goes on" : "request answered, queue goes on";
}

static void test_control(struct daemon *daemon)
{
    size_t driven = 0;
    for (size_t i = 0; i < CASES; i++) {
        struct frontend fe;
        driven += begin(daemon, &fe);
        cases[i].spoil(&fe, &fe.queues[1]);
        tap_note("%-45s %s", cases[i].name, observed(daemon, &fe));
        daemon_kill(daemon);
        fe_close(&fe);
    }
    tap_ok(driven == CASES, "the control was driven through every case, with the results above");
}

int main(int argc, char **argv)
{
    struct daemon daemon;
    daemon_init(&daemon, argc, argv);
    bool control = daemon.kind == DAEMON_VIRTIOFSD;
    tap_plan(control ? 1 : (int)CASES);
    if (control)
        test_control(&daemon);
    else
        test_oriel(&daemon);
    daemon_finish(&daemon);
    return tap_status();
}
