/* What a front-end may rely on: negotiation, ring states, memory slots, the dirty log, a front-end that comes
 * again. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "frontend.h"

#define MEMORY (8u << 20)
#define SIZE   64u

static struct daemon daemon_;
static struct frontend fe;

static bool connect_only(void)
{
    return (daemon_is_running(&daemon_) || daemon_start(&daemon_, true)) &&
           fe_connect(&fe, daemon_.socket, 2000) == 0;
}

static bool set_up(unsigned queues)
{
    return connect_only() && fe_set_up(&fe, MEMORY, queues, SIZE) == 0 && fe_fuse_init(&fe, 1) == 0;
}

static bool is_signalled(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

/* A GETATTR is put into the queue, and not waited for. */
static void post_getattr(struct fe_queue *queue)
{
    size_t len = sizeof(struct fuse_in_header) + sizeof(struct fuse_getattr_in);
    struct fuse_in_header *in = fe_alloc(&fe, len, 64);
    void *out = fe_alloc(&fe, 256, 64);
    memset(in, 0, len);
    *in = (struct fuse_in_header){
        .len = (uint32_t)len, .opcode = FUSE_GETATTR, .unique = ++fe.unique, .nodeid = 1};
    struct fe_buffer buffers[2] = {{.gpa = fe_gpa(&fe, in), .len = (uint32_t)len},
                                   {.gpa = fe_gpa(&fe, out), .len = 256, .write = true}};
    fe_add(&fe, queue, buffers, 2);
    fe_publish(queue);
}

/* Everything goes through the message thread in order: after this answer, what was sent before was handled.
 */
static bool settle(void)
{
    uint64_t ignored;
    return fe_get_u64(&fe, FE_GET_FEATURES, &ignored) == 0;
}

static bool features_are_those_promised(void)
{
    uint64_t features, protocol, number;
    CHECK(connect_only());
    CHECK(fe_get_u64(&fe, FE_GET_FEATURES, &features) == 0);
    CHECK(features ==
          (FE_F_VERSION_1 | FE_F_INDIRECT | FE_F_EVENT_IDX | FE_F_PROTOCOL_FEATURES | FE_F_LOG_ALL));
    CHECK(fe_get_u64(&fe, FE_GET_PROTOCOL_FEATURES, &protocol) == 0);
    CHECK(protocol ==
          (FE_PF_MQ | FE_PF_LOG_SHMFD | FE_PF_REPLY_ACK | FE_PF_RESET | FE_PF_MEM_SLOTS | FE_PF_STATUS));
    CHECK(fe_set_u64(&fe, FE_SET_PROTOCOL_FEATURES, protocol) == 0);
    CHECK(fe_get_u64(&fe, FE_GET_QUEUE_NUM, &number) == 0 && number == 65);
    CHECK(fe_get_u64(&fe, FE_GET_MAX_MEM_SLOTS, &number) == 0 && number == 509);
    CHECK(fe_send(&fe, FE_RESET_OWNER, 0, NULL, 0, NULL, 0) == 0 && settle());
    return true;
}

static bool acks_come_only_when_asked_for(void)
{
    CHECK(connect_only());
    CHECK(fe_set_u64(&fe, FE_SET_PROTOCOL_FEATURES, FE_PF_REPLY_ACK) == 0);
    CHECK(fe_acked(&fe, FE_SET_OWNER, NULL, 0, NULL, 0) == 0);
    CHECK(fe_send(&fe, FE_SET_OWNER, 0, NULL, 0, NULL, 0) == 0);
    CHECK(!is_signalled(fe.socket, 50));
    return settle();
}

static bool the_first_kick_starts_a_ring(void)
{
    struct vring_used_elem used;
    CHECK(connect_only());
    CHECK(fe_make_memory(&fe, MEMORY) == 0);
    CHECK(fe_negotiate(&fe, FE_F_VERSION_1 | FE_F_EVENT_IDX, FE_PF_MQ) == 0 && fe_send_memory(&fe) == 0);
    CHECK(fe_make_queue(&fe, 1, SIZE) == 0);
    post_getattr(&fe.queues[1]);
    CHECK(fe_tell_queue(&fe, &fe.queues[1], 0) == 0 && fe_tell_kick(&fe, &fe.queues[1]) == 0);
    CHECK(fe_enable_queue(&fe, 1, true) == 0 && settle());
    CHECK(!is_signalled(fe.queues[1].call, 50));
    CHECK(fe_take_used(&fe.queues[1], &used) == 0);
    fe_kick(&fe.queues[1]);
    CHECK(fe_wait_used(&fe.queues[1], &used, FE_TIMEOUT_MS) == 1);
    return true;
}

static bool a_kick_before_enabling_counts(void)
{
    struct vring_used_elem used;
    CHECK(connect_only());
    CHECK(fe_make_memory(&fe, MEMORY) == 0);
    CHECK(fe_negotiate(&fe, FE_F_VERSION_1 | FE_F_EVENT_IDX, FE_PF_MQ) == 0 && fe_send_memory(&fe) == 0);
    CHECK(fe_make_queue(&fe, 1, SIZE) == 0);
    CHECK(fe_tell_queue(&fe, &fe.queues[1], 0) == 0 && fe_tell_kick(&fe, &fe.queues[1]) == 0 && settle());
    post_getattr(&fe.queues[1]);
    fe_kick(&fe.queues[1]);
    CHECK(!is_signalled(fe.queues[1].call, 50));
    CHECK(fe_enable_queue(&fe, 1, true) == 0);
    CHECK(fe_wait_used(&fe.queues[1], &used, FE_TIMEOUT_MS) == 1);
    return true;
}

static bool a_disabled_ring_waits(void)
{
    struct vring_used_elem used;
    CHECK(set_up(3));
    CHECK(fe_enable_queue(&fe, 1, false) == 0 && settle());
    post_getattr(&fe.queues[1]);
    fe_kick(&fe.queues[1]);
    CHECK(fe_fuse_getattr_root(&fe, 2) == 0);
    CHECK(fe_take_used(&fe.queues[1], &used) == 0);
    CHECK(fe_enable_queue(&fe, 1, true) == 0);
    CHECK(fe_wait_used(&fe.queues[1], &used, FE_TIMEOUT_MS) == 1);
    return fe_fuse_getattr_root(&fe, 1) == 0;
}

/* What was in the ring when it stopped needs no new kick when it goes on. */
static bool a_stopped_ring_goes_on_where_it_stood(void)
{
    struct vring_used_elem used;
    uint32_t base = 99;
    CHECK(set_up(3));
    for (int i = 0; i < 5; i++)
        CHECK(fe_fuse_getattr_root(&fe, 1) == 0);
    CHECK(fe_get_state(&fe, FE_GET_VRING_BASE, 1, &base) == 0);
    CHECK(base == 6); /* INIT too */
    post_getattr(&fe.queues[1]);
    fe_kick(&fe.queues[1]); /* lost: nobody listens */
    CHECK(fe_fuse_getattr_root(&fe, 2) == 0);
    CHECK(fe_take_used(&fe.queues[1], &used) == 0);
    eventfd_t ignored;
    eventfd_read(fe.queues[1].kick, &ignored);
    CHECK(fe_tell_queue(&fe, &fe.queues[1], (uint16_t)base) == 0 && fe_tell_kick(&fe, &fe.queues[1]) == 0);
    CHECK(fe_wait_used(&fe.queues[1], &used, FE_TIMEOUT_MS) == 1);
    return fe_fuse_getattr_root(&fe, 1) == 0;
}

static bool indices_wrap(void)
{
    CHECK(set_up(3));
    for (int i = 0; i < 70000; i++) {
        if (fe_fuse_getattr_root(&fe, 1) != 0) {
            tap_note("request %d", i);
            return false;
        }
    }
    uint32_t base;
    CHECK(fe_get_state(&fe, FE_GET_VRING_BASE, 1, &base) == 0);
    CHECK(base == (70001 & 0xffff));
    return true;
}

static bool the_call_descriptor_can_change(void)
{
    uint64_t index = 1;
    CHECK(set_up(3));
    int fresh = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(fe_send(&fe, FE_SET_VRING_CALL, 0, &index, sizeof(index), &fresh, 1) == 0 && settle());
    close(fe.queues[1].call);
    fe.queues[1].call = fresh;
    CHECK(is_signalled(fresh, 1000)); /* what went to the old one may have been missed */
    CHECK(fe_fuse_getattr_root(&fe, 1) == 0);
    uint64_t none = 1 | 0x100;
    CHECK(fe_send(&fe, FE_SET_VRING_CALL, 0, &none, sizeof(none), NULL, 0) == 0 && settle());
    post_getattr(&fe.queues[1]);
    fe_kick(&fe.queues[1]);
    struct vring_used_elem used;
    int got = 0;
    for (int i = 0; i < 500 && got == 0; i++, usleep(1000))
        got = fe_take_used(&fe.queues[1], &used);
    return got == 1;
}

static bool a_ring_without_kicks_is_polled(void)
{
    struct vring_used_elem used;
    uint64_t none = 1 | 0x100;
    CHECK(set_up(3));
    CHECK(fe_send(&fe, FE_SET_VRING_KICK, 0, &none, sizeof(none), NULL, 0) == 0 && settle());
    post_getattr(&fe.queues[1]);
    CHECK(fe_wait_used(&fe.queues[1], &used, FE_TIMEOUT_MS) == 1);
    return true;
}

/* A front-end that fills the counter of its own blocking descriptor stops nobody. */
static bool a_full_call_counter_stops_nobody(void)
{
    uint64_t index = 1;
    CHECK(set_up(3));
    int full = eventfd(0, EFD_CLOEXEC);
    CHECK(eventfd_write(full, UINT64_MAX - 1) == 0);
    CHECK(fe_send(&fe, FE_SET_VRING_CALL, 0, &index, sizeof(index), &full, 1) == 0 && settle());
    struct vring_used_elem used;
    post_getattr(&fe.queues[1]);
    fe_kick(&fe.queues[1]);
    int got = 0;
    for (int i = 0; i < 500 && got == 0; i++, usleep(1000))
        got = fe_take_used(&fe.queues[1], &used);
    close(full);
    uint32_t base;
    return got == 1 && fe_get_state(&fe, FE_GET_VRING_BASE, 1, &base) == 0;
}

static int64_t memory_region(uint32_t request, uint64_t gpa, uint64_t size, uint64_t user, int fd)
{
    struct {
        uint64_t padding;
        struct fe_region region;
    } payload = {.region = {.gpa = gpa, .size = size, .user = user}};
    return fe_acked(&fe, request, &payload, sizeof(payload), &fd, fd >= 0 ? 1 : 0);
}

/* Memory that is plugged while rings run can hold a reply; unplugged, a request into it is refused, not
 * fatal. */
static bool memory_can_be_plugged_and_unplugged(void)
{
    const uint64_t gpa = 0x200000000;
    CHECK(set_up(3));
    int fd = memfd_create("hotplug", MFD_CLOEXEC);
    CHECK(ftruncate(fd, 1 << 20) == 0);
    struct fuse_out_header *there = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(memory_region(FE_ADD_MEM_REG, gpa, 1 << 20, 0x10000000000, fd) == 0);
    size_t len = sizeof(struct fuse_in_header) + sizeof(struct fuse_getattr_in);
    struct fuse_in_header *in = fe_alloc(&fe, len, 64);
    struct vring_used_elem used;
    memset(in, 0, len);
    *in = (struct fuse_in_header){.len = (uint32_t)len, .opcode = FUSE_GETATTR, .unique = 4711, .nodeid = 1};
    struct fe_buffer buffers[2] = {{.gpa = fe_gpa(&fe, in), .len = (uint32_t)len},
                                   {.gpa = gpa, .len = 256, .write = true}};
    fe_add(&fe, &fe.queues[1], buffers, 2);
    fe_publish(&fe.queues[1]);
    fe_kick(&fe.queues[1]);
    CHECK(fe_wait_used(&fe.queues[1], &used, FE_TIMEOUT_MS) == 1);
    CHECK(there->unique == 4711 && there->error == 0);
    CHECK(memory_region(FE_REM_MEM_REG, gpa, 1 << 20, 0x10000000000, fd) ==
          0); /* QEMU sends a descriptor here */
    there->unique = 0;
    fe_add(&fe, &fe.queues[1], buffers, 2);
    fe_publish(&fe.queues[1]);
    fe_kick(&fe.queues[1]);
    CHECK(fe_wait_used(&fe.queues[1], &used, FE_TIMEOUT_MS) == 1);
    CHECK(used.len == 0 && there->unique == 0);
    munmap(there, 1 << 20);
    close(fd);
    return fe_fuse_getattr_root(&fe, 1) == 0;
}

static bool page_is_dirty(const uint8_t *log, uint64_t gpa)
{
    uint64_t page = gpa / 4096;
    return log[page / 8] >> (page % 8) & 1;
}

/* A bit for each page up to the end of the guest's memory. */
#define LOG_LEN ((FE_GPA + MEMORY) / 4096 / 8)

/* Gives the daemon a dirty log in *fd, nothing logged so far. */
static bool give_log(int *fd)
{
    uint64_t payload[2] = {LOG_LEN, 0}, answer = 1;
    *fd = memfd_create("log", MFD_CLOEXEC);
    CHECK(ftruncate(*fd, (off_t)LOG_LEN) == 0);
    CHECK(fe_send(&fe, FE_SET_LOG_BASE, 0, payload, sizeof(payload), fd, 1) == 0);
    return fe_receive(&fe, FE_SET_LOG_BASE, &answer, sizeof(answer), FE_TIMEOUT_MS) == 8 && answer == 0;
}

/* As QEMU begins a migration: features first, then each running ring's address again, with the flag. */
static bool begin_logging(void)
{
    const struct fe_queue *queue = &fe.queues[1];
    struct fe_addr addr = {.index = 1,
                           .flags = 1,
                           .desc = fe_user(&fe, queue->desc),
                           .used = fe_user(&fe, queue->used),
                           .avail = fe_user(&fe, queue->avail),
                           .log = fe_gpa(&fe, queue->used)};
    CHECK(fe_set_u64(&fe, FE_SET_FEATURES, fe.features | FE_F_LOG_ALL) == 0);
    return fe_acked(&fe, FE_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0) == 0;
}

static bool writes_go_into_the_dirty_log(void)
{
    int fd;
    CHECK(set_up(3) && give_log(&fd));
    const uint8_t *log = mmap(NULL, LOG_LEN, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(fe_fuse_getattr_root(&fe, 1) == 0);
    for (size_t i = 0; i < LOG_LEN; i++)
        CHECK(log[i] == 0);
    CHECK(begin_logging());
    char *aside = fe_alloc(&fe, 4096, 4096);
    uint64_t reply = fe_gpa(&fe, fe.memory + fe.memory_used) & ~(uint64_t)4095;
    CHECK(fe_fuse_getattr_root(&fe, 1) == 0);
    CHECK(page_is_dirty(log, reply));
    CHECK(!page_is_dirty(log, fe_gpa(&fe, aside)));
    uint32_t base;
    CHECK(fe_get_state(&fe, FE_GET_VRING_BASE, 1, &base) == 0);
    CHECK(page_is_dirty(log, fe_gpa(&fe, fe.queues[1].used)));
    munmap((void *)(uintptr_t)log, LOG_LEN);
    close(fd);
    return true;
}

static bool status_is_kept_and_zero_keeps_the_session(void)
{
    uint64_t status;
    CHECK(set_up(3));
    CHECK(fe_set_u64(&fe, FE_SET_STATUS, 15) == 0);
    CHECK(fe_get_u64(&fe, FE_GET_STATUS, &status) == 0 && status == 15);
    /* What QEMU 7.2 does when a guest is paused and goes on. */
    uint32_t base[3];
    CHECK(fe_set_u64(&fe, FE_SET_STATUS, 0) == 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK(fe_get_state(&fe, FE_GET_VRING_BASE, i, &base[i]) == 0);
    CHECK(base[1] == 1);
    for (unsigned i = 0; i < 3; i++)
        CHECK(fe_tell_queue(&fe, &fe.queues[i], (uint16_t)base[i]) == 0 &&
              fe_tell_kick(&fe, &fe.queues[i]) == 0);
    return fe_fuse_getattr_root(&fe, 1) == 0; /* no INIT again */
}

static bool reset_device_ends_the_session(void)
{
    CHECK(set_up(3));
    CHECK(fe_acked(&fe, FE_RESET_DEVICE, NULL, 0, NULL, 0) == 0);
    CHECK(fe_set_u64(&fe, FE_SET_FEATURES, fe.features) == 0);
    for (unsigned i = 0; i < 3; i++) {
        struct fe_queue *queue = &fe.queues[i];
        memset(queue->avail, 0, 6 + SIZE * 2);
        memset(queue->used, 0, 6 + SIZE * 8);
        queue->avail_index = queue->used_index = queue->next_desc = 0;
        CHECK(fe_tell_queue(&fe, queue, 0) == 0 && fe_tell_kick(&fe, queue) == 0 &&
              fe_enable_queue(&fe, i, true) == 0);
    }
    CHECK(fe_fuse_getattr_root(&fe, 1) != 0); /* before INIT */
    CHECK(fe_fuse_init(&fe, 1) == 0);
    return fe_fuse_getattr_root(&fe, 1) == 0;
}

static bool a_broken_device_says_so(void)
{
    uint64_t status;
    CHECK(set_up(3));
    fe.queues[1].avail->ring[fe.queues[1].avail_index % SIZE] = 999;
    fe.queues[1].avail_index++;
    fe_publish(&fe.queues[1]);
    fe_kick(&fe.queues[1]);
    CHECK(is_signalled(fe.queues[1].err, FE_TIMEOUT_MS));
    CHECK(fe_get_u64(&fe, FE_GET_STATUS, &status) == 0 && (status & 0x40));
    return fe_fuse_getattr_root(&fe, 2) == 0;
}

static bool sixty_four_request_queues_serve(void)
{
    CHECK(connect_only() && fe_set_up(&fe, MEMORY, 65, SIZE) == 0 && fe_fuse_init(&fe, 64) == 0);
    for (unsigned i = 1; i < 65; i++)
        CHECK(fe_fuse_getattr_root(&fe, i) == 0);
    return true;
}

/* The same process, with another front-end. */
static bool serves_another(void)
{
    fe_close(&fe);
    CHECK(fe_connect(&fe, daemon_.socket, 2000) == 0 && fe_set_up(&fe, MEMORY, 3, SIZE) == 0);
    return fe_fuse_init(&fe, 1) == 0 && fe_fuse_getattr_root(&fe, 2) == 0;
}

/* crosvm's, if it is not told otherwise. */
static bool the_largest_ring_serves(void)
{
    CHECK(connect_only());
    CHECK(fe_make_memory(&fe, 4 * MEMORY) == 0);
    CHECK(fe_negotiate(&fe, FE_F_VERSION_1 | FE_F_EVENT_IDX, FE_PF_MQ) == 0 && fe_send_memory(&fe) == 0);
    CHECK(fe_make_queue(&fe, 1, 32768) == 0 && fe_tell_queue(&fe, &fe.queues[1], 0) == 0);
    CHECK(fe_tell_kick(&fe, &fe.queues[1]) == 0 && fe_enable_queue(&fe, 1, true) == 0);
    CHECK(fe_fuse_init(&fe, 1) == 0);
    for (int i = 0; i < 40000; i++)
        CHECK(fe_fuse_getattr_root(&fe, 1) == 0);
    return true;
}

/* The file behind guest memory is cut: SIGBUS at the next touch of the ring. */
static bool cut_memory_ends_the_connection_only(void)
{
    CHECK(set_up(3));
    CHECK(ftruncate(fe.memory_fd, 0) == 0);
    fe_kick(&fe.queues[1]);
    fe_kick(&fe.queues[2]);
    CHECK(fe_is_closed(&fe, FE_TIMEOUT_MS)); /* without a further message */
    return serves_another();
}

/* Huge pages that are reserved for the test; of all tests at once, one has them. */
static int huge_pages_fd = -1;
static unsigned long huge_pages_before;

static unsigned long count_huge_pages(void)
{
    char text[32] = "";
    ssize_t len = pread(huge_pages_fd, text, sizeof(text) - 1, 0);
    return len > 0 ? strtoul(text, NULL, 10) : 0;
}

static void reserve_huge_pages(unsigned long count)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%lu", count);
    int fd = open("/proc/sys/vm/nr_hugepages", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)!write(fd, text, (size_t)len);
    close(fd);
}

static void give_huge_pages_back(void)
{
    if (huge_pages_before != count_huge_pages())
        reserve_huge_pages(huge_pages_before);
    close(huge_pages_fd);
}

/* Whether enough of them are free; how many that is. */
static bool maps_huge_pages(unsigned long *needed)
{
    struct statfs fs;
    int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
    *needed = fd >= 0 && fstatfs(fd, &fs) == 0 ? (MEMORY - 1) / (unsigned long)fs.f_bsize + 1 : 0;
    void *there = fd < 0 ? MAP_FAILED : mmap(NULL, MEMORY, PROT_READ, MAP_SHARED, fd, 0);
    if (there != MAP_FAILED)
        munmap(there, MEMORY);
    close(fd);
    return there != MAP_FAILED;
}

static const char *lacks_huge_pages(void)
{
    unsigned long needed;
    huge_pages_fd = open("/proc/sys/vm/nr_hugepages", O_RDONLY | O_CLOEXEC);
    if (huge_pages_fd < 0 || flock(huge_pages_fd, LOCK_EX) != 0)
        return "this kernel has no huge pages";
    huge_pages_before = count_huge_pages();
    if (!maps_huge_pages(&needed))
        reserve_huge_pages(huge_pages_before + needed);
    if (maps_huge_pages(&needed))
        return NULL;
    give_huge_pages_back();
    return "no huge pages are free (vm.nr_hugepages), and none can be reserved";
}

static bool cut_huge_pages(void)
{
    CHECK(connect_only());
    fe.huge_pages = true;
    CHECK(fe_set_up(&fe, MEMORY, 3, SIZE) == 0 && fe_fuse_init(&fe, 1) == 0);
    CHECK(ftruncate(fe.memory_fd, 0) == 0);
    fe_kick(&fe.queues[1]);
    CHECK(fe_is_closed(&fe, FE_TIMEOUT_MS));
    return serves_another();
}

/* A huge page is replaced as a whole, and nothing of it stays mapped later. */
static bool cut_huge_pages_end_the_connection_only(void)
{
    bool ok = cut_huge_pages();
    give_huge_pages_back();
    return ok;
}

/* The file behind the dirty log is cut: SIGBUS when the answer to a request is logged. */
static bool a_cut_dirty_log_ends_the_connection_only(void)
{
    int fd;
    CHECK(set_up(3) && give_log(&fd) && begin_logging());
    CHECK(ftruncate(fd, 0) == 0);
    close(fd);
    fe_fuse_getattr_root(&fe, 1);
    CHECK(fe_is_closed(&fe, FE_TIMEOUT_MS));
    return serves_another();
}

static bool a_second_front_end_waits_for_the_first(void)
{
    struct frontend second;
    uint64_t features;
    CHECK(set_up(3));
    CHECK(fe_connect(&second, daemon_.socket, 2000) == 0);
    CHECK(fe_send(&second, FE_GET_FEATURES, 0, NULL, 0, NULL, 0) == 0);
    CHECK(!is_signalled(second.socket, 50));
    CHECK(fe_fuse_getattr_root(&fe, 1) == 0);
    shutdown(fe.socket, 2);
    CHECK(fe_receive(&second, FE_GET_FEATURES, &features, sizeof(features), FE_TIMEOUT_MS) == 8);
    fe_close(&second);
    return true;
}

static bool many_front_ends_leave_nothing_behind(void)
{
    int before = 0;
    for (int i = 0; i < 50; i++) {
        CHECK(set_up(3));
        CHECK(fe_fuse_getattr_root(&fe, 1 + (unsigned)i % 2) == 0);
        if (i == 5)
            before = daemon_open_fds(&daemon_);
        if (i < 49)
            fe_close(&fe);
    }
    CHECK(daemon_open_fds(&daemon_) == before);
    return true;
}

static const struct {
    const char *name;
    bool (*run)(void);
    const char *(*lacks)(void); /* what is missing here, or NULL */
} cases[] = {
    {"the features are those promised", features_are_those_promised},
    {"acknowledgements come only when asked for", acks_come_only_when_asked_for},
    {"the first kick starts a ring", the_first_kick_starts_a_ring},
    {"a kick before enabling counts", a_kick_before_enabling_counts},
    {"a disabled ring waits", a_disabled_ring_waits},
    {"a stopped ring goes on where it stood", a_stopped_ring_goes_on_where_it_stood},
    {"ring indices wrap", indices_wrap},
    {"the call descriptor can change", the_call_descriptor_can_change},
    {"a ring without kicks is polled", a_ring_without_kicks_is_polled},
    {"a full call counter stops nobody", a_full_call_counter_stops_nobody},
    {"memory can be plugged and unplugged", memory_can_be_plugged_and_unplugged},
    {"writes go into the dirty log", writes_go_into_the_dirty_log},
    {"status 0 keeps the session", status_is_kept_and_zero_keeps_the_session},
    {"RESET_DEVICE ends the session", reset_device_ends_the_session},
    {"a broken device says so in its status", a_broken_device_says_so},
    {"sixty-four request queues serve", sixty_four_request_queues_serve},
    {"a ring of 32,768 entries serves", the_largest_ring_serves},
    {"cut guest memory ends the connection only", cut_memory_ends_the_connection_only},
    {"cut huge pages end the connection only", cut_huge_pages_end_the_connection_only, lacks_huge_pages},
    {"a cut dirty log ends the connection only", a_cut_dirty_log_ends_the_connection_only},
    {"a second front-end waits for the first", a_second_front_end_waits_for_the_first},
    {"many front-ends leave nothing behind", many_front_ends_leave_nothing_behind},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

int main(int argc, char **argv)
{
    daemon_init(&daemon_, argc, argv);
    tap_plan((int)CASES);
    for (size_t i = 0; i < CASES; i++) {
        const char *reason = cases[i].lacks != NULL ? cases[i].lacks() : NULL;
        if (reason != NULL) {
            tap_skip(cases[i].name, reason);
            continue;
        }
        bool ok = cases[i].run();
        fe_close(&fe);
        tap_ok(ok && daemon_is_running(&daemon_), cases[i].name);
    }
    daemon_finish(&daemon_);
    return tap_status();
}
