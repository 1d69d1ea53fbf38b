/* The driver's side: many requests in flight, one kick for all that were added, sleeps like a guest's
 * processor. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "bench_serve.h"

#define REPLY_ROOM  4096
#define GUEST_BYTES ((size_t)DEPTH_MAX * (DATA_MAX + 16384) + (8u << 20))
#define QUEUE_SIZE  512 /* four descriptors for each slot, and room for FORGET */

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t random_u64(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

int driver_call(struct driver *driver, uint32_t opcode, uint64_t nodeid, const void *arg, size_t len,
                void *out, size_t room)
{
    return fe_fuse(&driver->fe, 1, opcode, nodeid, arg, len, out, &room);
}

static uint64_t look_up(struct driver *driver, uint64_t parent, const char *name)
{
    struct fuse_entry_out entry;
    return driver_call(driver, FUSE_LOOKUP, parent, name, strlen(name) + 1, &entry, sizeof(entry)) == 0
               ? entry.nodeid
               : 0;
}

static bool learn_tree(struct driver *driver)
{
    struct fuse_open_in in = {.flags = 2}; /* O_RDWR */
    struct fuse_open_out out;
    driver->small_dir = look_up(driver, FUSE_ROOT_ID, "small");
    driver->link = look_up(driver, FUSE_ROOT_ID, "link");
    driver->big = look_up(driver, FUSE_ROOT_ID, "big");
    driver->file = look_up(driver, FUSE_ROOT_ID, "file");
    driver->dir = look_up(driver, FUSE_ROOT_ID, "work");
    if (driver->small_dir == 0 || driver->link == 0 || driver->big == 0 || driver->file == 0 ||
        driver->dir == 0)
        return false;
    if (driver_call(driver, FUSE_OPEN, driver->big, &in, sizeof(in), &out, sizeof(out)) != 0)
        return false;
    driver->big_fh = out.fh;
    in.flags = 0;
    if (driver_call(driver, FUSE_OPENDIR, driver->small_dir, &in, sizeof(in), &out, sizeof(out)) != 0)
        return false;
    driver->dir_fh = out.fh;
    return true;
}

static void driver_init(struct driver *driver)
{
    memset(driver, 0, sizeof(*driver));
    driver->seed = 88172645463325252u;
    driver->queue = 1;
}

static void make_slots(struct driver *driver)
{
    for (unsigned i = 0; i < DEPTH_MAX; i++) {
        struct slot *slot = &driver->slots[i];
        slot->number = i;
        slot->in = fe_alloc(&driver->fe, 4096, 64);
        slot->out = fe_alloc(&driver->fe, sizeof(*slot->out) + REPLY_ROOM, 64);
        slot->reply = (char *)(slot->out + 1);
        slot->data = fe_alloc(&driver->fe, DATA_MAX, 4096);
        memset(slot->data, 'd', DATA_MAX);
    }
}

bool driver_connect(struct driver *driver, const char *socket, unsigned queues)
{
    driver_init(driver);
    if (fe_connect(&driver->fe, socket, 5000) != 0 ||
        fe_set_up(&driver->fe, GUEST_BYTES * queues, queues + 1, QUEUE_SIZE) != 0 ||
        fe_fuse_init(&driver->fe, 1) != 0)
        return false;
    make_slots(driver);
    return learn_tree(driver);
}

bool driver_second(struct driver *second, struct driver *first)
{
    *second = *first;
    if (first->fe.queue_count < 3)
        return false;
    second->queue = 2;
    second->mark++;
    second->seed ^= 0x9e3779b97f4a7c15u;
    make_slots(second);
    first->fe.memory_used = second->fe.memory_used;
    return true;
}

bool driver_connect_to_echo(struct driver *driver)
{
    driver_init(driver);
    fe_use_socket(&driver->fe, -1);
    driver->fe.features = FE_F_EVENT_IDX;
    if (fe_make_memory(&driver->fe, GUEST_BYTES) != 0 || fe_make_queue(&driver->fe, 1, QUEUE_SIZE) != 0)
        return false;
    make_slots(driver);
    return true;
}

static void set_desc(struct vring_desc *desc, uint64_t gpa, size_t len, uint16_t flags, uint16_t next)
{
    desc->addr = gpa;
    desc->len = (uint32_t)len;
    desc->flags = flags;
    desc->next = next;
}

/* Puts the slot's request into the available ring: descriptors 4n … 4n + 3 are the slot's. */
static void submit(struct driver *driver, struct slot *slot, const struct request *request)
{
    struct fe_queue *queue = &driver->fe.queues[driver->queue];
    uint16_t head = (uint16_t)(slot->number * 4), at = head;
    bool data_in = request->data_len != 0 && !request->data_out;
    *slot->in = (struct fuse_in_header){
        .len = (uint32_t)(sizeof(*slot->in) + request->in_len + (data_in ? request->data_len : 0)),
        .opcode = request->opcode,
        .unique = ++driver->fe.unique,
        .nodeid = request->nodeid};
    set_desc(&queue->desc[at], fe_gpa(&driver->fe, slot->in), sizeof(*slot->in) + request->in_len,
             VRING_DESC_F_NEXT, (uint16_t)(at + 1));
    at++;
    if (data_in) {
        set_desc(&queue->desc[at], fe_gpa(&driver->fe, slot->data), request->data_len, VRING_DESC_F_NEXT,
                 (uint16_t)(at + 1));
        at++;
    }
    set_desc(&queue->desc[at], fe_gpa(&driver->fe, slot->out), sizeof(*slot->out) + request->reply_len,
             (uint16_t)(VRING_DESC_F_WRITE | (request->data_out ? VRING_DESC_F_NEXT : 0)),
             (uint16_t)(at + 1));
    if (request->data_out)
        set_desc(&queue->desc[at + 1], fe_gpa(&driver->fe, slot->data), request->data_len, VRING_DESC_F_WRITE,
                 0);
    queue->avail->ring[queue->avail_index % queue->size] = head;
    queue->avail_index++;
}

/* On the hiprio queue, as Linux does: no reply, only the descriptor comes back. */
void driver_forget(struct driver *driver, uint64_t nodeid, uint64_t count)
{
    struct fe_queue *queue = &driver->fe.queues[0];
    static struct {
        struct fuse_in_header header;
        struct fuse_forget_in in;
    } * requests;
    static struct driver *owner;
    struct vring_used_elem used;
    if (owner != driver || requests == NULL) {
        requests = fe_alloc(&driver->fe, sizeof(*requests) * QUEUE_SIZE, 64);
        owner = driver;
    }
    while (fe_take_used(queue, &used))
        ;
    while ((uint16_t)(queue->avail_index - queue->used_index) >= QUEUE_SIZE) {
        if (fe_wait_used(queue, &used, FE_TIMEOUT_MS) != 1)
            return;
    }
    unsigned at = queue->avail_index % QUEUE_SIZE;
    requests[at].header = (struct fuse_in_header){
        .len = sizeof(requests[at]), .opcode = FUSE_FORGET, .unique = ++driver->fe.unique, .nodeid = nodeid};
    requests[at].in.nlookup = count;
    struct fe_buffer buffer = {.gpa = fe_gpa(&driver->fe, &requests[at]), .len = sizeof(requests[at])};
    fe_add(&driver->fe, queue, &buffer, 1);
    if (fe_publish(queue))
        fe_kick(queue);
}

/* The slot's next request; completed operations are counted on the way. */
static void go_on(struct driver *driver, struct slot *slot)
{
    struct request request = {0};
    for (;;) {
        memset(&request, 0, sizeof(request));
        if (driver->workload->next(driver, slot, &request))
            break;
        driver->operations++;
        slot->step = 0;
        if (!driver->running)
            return;
    }
    slot->step++;
    submit(driver, slot, &request);
}

static bool is_in_flight(const struct fe_queue *queue)
{
    return queue->avail_index != queue->used_index;
}

static bool run(struct driver *driver, uint64_t ns)
{
    struct fe_queue *queue = &driver->fe.queues[driver->queue];
    uint64_t end = now_ns() + ns;
    struct vring_used_elem used;
    unsigned since_clock = 0;
    while (is_in_flight(queue)) {
        if (fe_wait_used(queue, &used, FE_TIMEOUT_MS) != 1)
            return false;
        do {
            struct slot *slot = &driver->slots[used.id / 4];
            if (slot->out->error != 0 && slot->out->error != -2 && slot->out->error != -61)
                driver->errors++;
            go_on(driver, slot);
        } while (fe_take_used(queue, &used));
        if (fe_publish(queue))
            fe_kick(queue);
        if (++since_clock % 4 == 0 && now_ns() >= end)
            driver->running = false;
    }
    return true;
}

double driver_run(struct driver *driver, const struct workload *workload, unsigned depth, uint64_t ns)
{
    struct fe_queue *queue = &driver->fe.queues[driver->queue];
    driver->workload = workload;
    driver->operations = driver->errors = 0;
    driver->running = true;
    if (workload->prepare != NULL && !workload->prepare(driver))
        return 0;
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < depth; i++) {
        driver->slots[i].step = 0;
        go_on(driver, &driver->slots[i]);
    }
    if (fe_publish(queue))
        fe_kick(queue);
    if (!run(driver, ns) || driver->operations == 0)
        return 0;
    if (driver->errors != 0)
        fprintf(stderr, "bench_serve: %s: %llu errors\n", workload->name, (unsigned long long)driver->errors);
    return (double)(now_ns() - begin) / (double)driver->operations;
}
