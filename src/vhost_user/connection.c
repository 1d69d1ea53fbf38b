/* The object: made and destroyed, a front-end that comes and goes, messages that arrive. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/checked.h"
#include "vhost_user/backend.h"

/* As KVM polls for a halted processor: two wake-ups of another core fit in, also in a virtual machine. */
#define DEFAULT_POLL_NS 200000
#define DEFAULT_TAG     "oriel" /* of the device; no front-end is told */
#define LOG_LINE_MAX    256
#define LARGEST_PAGE    ((uintptr_t)1 << 30)

void vhost_user_log(const struct oriel_vhost_user *vu, enum oriel_vhost_user_level level, const char *format,
                    ...)
{
    char line[LOG_LINE_MAX];
    if (vu->options.log == NULL)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    vu->options.log(vu->options.opaque, level, line);
}

/* ---- what the device tells ---- */

static void on_notify(void *opaque, uint16_t queue)
{
    struct oriel_vhost_user *vu = opaque;
    ring_notify(&vu->rings[queue]);
}

static void on_broken(void *opaque)
{
    struct oriel_vhost_user *vu = opaque;
    atomic_store(&vu->needs_reset, true);
}

/* Guest memory was written: into the dirty log, while there is one. */
static void on_wrote(void *opaque, const struct oriel_memory *memory, const struct iovec *iov, size_t count)
{
    struct oriel_vhost_user *vu = opaque;
    if (__builtin_expect(!atomic_load_explicit(&vu->log.on, memory_order_acquire), 1))
        return;
    for (size_t i = 0; i < count; i++) {
        const char *at = iov[i].iov_base;
        uint64_t gpa, there;
        for (uint64_t left = iov[i].iov_len; left != 0 && oriel_memory_gpa_of(memory, at, &gpa, &there);) {
            uint64_t taken = min_u64(left, there);
            dirty_log_mark(&vu->log, gpa, taken);
            at += taken;
            left -= taken;
        }
    }
}

/* ---- life ---- */

static bool options_are_sound(const struct oriel_vhost_user_options *options)
{
    return options != NULL && options->size == sizeof(*options) && options->server != NULL &&
           options->num_request_queues < ORIEL_VIRTIO_FS_MAX_QUEUES &&
           options->max_request_queues < ORIEL_VIRTIO_FS_MAX_QUEUES && options->poll <= ORIEL_POLL_ON;
}

static void fill_defaults(struct oriel_vhost_user_options *options)
{
    if (options->num_request_queues == 0)
        options->num_request_queues = 1;
    if (options->max_request_queues == 0)
        options->max_request_queues = ORIEL_VIRTIO_FS_MAX_QUEUES - 1;
    if (options->poll_ns == 0)
        options->poll_ns = DEFAULT_POLL_NS;
}

static int create_device(struct oriel_vhost_user *vu)
{
    struct oriel_virtio_fs_options device = {
        .size = sizeof(device),
        .tag = vu->options.tag != NULL ? vu->options.tag : DEFAULT_TAG,
        .num_request_queues = vu->options.max_request_queues,
        .queue_size = vu->options.queue_size != 0 ? vu->options.queue_size : ORIEL_VIRTIO_QUEUE_SIZE_MAX,
        .server = vu->options.server,
        .notify = on_notify,
        .broken = on_broken,
        .opaque = vu,
        .trace = vu->options.trace,
        .pool = vu->options.pool,
        .wrote = on_wrote,
    };
    return oriel_virtio_fs_create(&device, &vu->device);
}

/* Nobody waits for an answer to what comes by hiprio. */
static enum oriel_poll_mode mode_of_ring(const struct oriel_vhost_user *vu, uint16_t index)
{
    enum oriel_poll_mode mode = vu->options.poll;
    return index == 0 && mode == ORIEL_POLL_AUTO ? ORIEL_POLL_OFF : mode;
}

static int init_rings(struct oriel_vhost_user *vu)
{
    uint16_t count = oriel_virtio_fs_queue_count(vu->device);
    for (uint16_t i = 0; i < count; i++) {
        int r = ring_init(&vu->rings[i], mode_of_ring(vu, i), vu->options.poll_ns);
        if (r != 0)
            return r;
        vu->ring_count++;
    }
    return 0;
}

int oriel_vhost_user_create(const struct oriel_vhost_user_options *options, struct oriel_vhost_user **out)
{
    if (!options_are_sound(options) || out == NULL)
        return -EINVAL;
    struct oriel_vhost_user *vu = aligned_alloc(_Alignof(struct oriel_vhost_user), sizeof(*vu));
    if (vu == NULL)
        return -ENOMEM;
    memset(vu, 0, sizeof(*vu));
    vu->options = *options;
    vu->socket = -1;
    fill_defaults(&vu->options);
    memory_table_init(&vu->memory, &vu->ranges);
    int r = dirty_log_init(&vu->log, &vu->ranges);
    if (r != 0) {
        free(vu);
        return r;
    }
    r = create_device(vu);
    if (r == 0)
        r = init_rings(vu);
    if (r != 0) {
        oriel_vhost_user_destroy(vu);
        return r;
    }
    *out = vu;
    return 0;
}

void oriel_vhost_user_destroy(struct oriel_vhost_user *vu)
{
    if (vu == NULL)
        return;
    oriel_vhost_user_detach(vu);
    oriel_virtio_fs_destroy(vu->device);
    for (uint16_t i = 0; i < vu->ring_count; i++)
        ring_destroy(&vu->rings[i]);
    dirty_log_destroy(&vu->log);
    free(vu);
}

/* ---- a front-end comes and goes ---- */

static bool is_connected_unix_stream(int socket)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    int type;
    socklen_t type_len = sizeof(type);
    return getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_STREAM &&
           getpeername(socket, (struct sockaddr *)&peer, &len) == 0 && peer.ss_family == AF_UNIX;
}

int oriel_vhost_user_attach(struct oriel_vhost_user *vu, int socket)
{
    int type;
    socklen_t len = sizeof(type);
    if (vu->socket >= 0)
        return -EBUSY;
    if (getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &len) != 0)
        return errno == ENOTSOCK ? -ENOTSOCK : -EINVAL;
    if (!is_connected_unix_stream(socket))
        return -EINVAL;
    vu->socket = socket;
    atomic_fetch_add_explicit(&vu->connections, 1, memory_order_relaxed);
    ORIEL_TRACE(vu->options.trace, "vhost-user: front-end attached, socket %d", socket);
    return 0;
}

void vhost_user_reset_device(struct oriel_vhost_user *vu, bool keep_signals)
{
    rings_reset(vu, keep_signals);
    oriel_virtio_fs_reset(vu->device);
    vu->features = 0;
    vu->features_set = false;
    vu->status = 0;
    atomic_store(&vu->needs_reset, false);
}

void oriel_vhost_user_detach(struct oriel_vhost_user *vu)
{
    if (vu->socket < 0)
        return;
    vhost_user_reset_device(vu, false);
    oriel_virtio_fs_set_memory(vu->device, NULL);
    memory_table_clear(&vu->memory);
    dirty_log_clear(&vu->log);
    receiver_reset(&vu->receiver);
    vu->protocol_features = 0;
    atomic_store(&vu->memory_lost, false);
    ORIEL_TRACE(vu->options.trace, "vhost-user: front-end detached, socket %d", vu->socket);
    close(vu->socket);
    vu->socket = -1;
}

int oriel_vhost_user_fd(const struct oriel_vhost_user *vu)
{
    return vu->socket;
}

/* ---- messages ---- */

static int end_connection(struct oriel_vhost_user *vu, int err, const char *why)
{
    if (err == -ECONNRESET)
        vhost_user_log(vu, ORIEL_VHOST_USER_INFO, "the front-end closed the connection");
    else
        vhost_user_log(vu, ORIEL_VHOST_USER_WARNING, "connection ended: %s", why);
    ORIEL_TRACE(vu->options.trace, "vhost-user: connection ends: %s", why);
    oriel_vhost_user_detach(vu);
    return err == -ECONNRESET ? err : -EPROTO;
}

int oriel_vhost_user_run(struct oriel_vhost_user *vu)
{
    if (vu->socket < 0)
        return -ENOTCONN;
    for (int handled = 0;; handled++) {
        if (atomic_load(&vu->memory_lost))
            return end_connection(vu, -EPROTO, "the front-end cut memory short that it shares");
        int r = receiver_read(&vu->receiver, vu->socket);
        if (r == -EAGAIN)
            return handled;
        if (r < 0)
            return end_connection(
                vu, r, vu->receiver.fault != NULL ? vu->receiver.fault : "closed by the front-end");
        r = vhost_user_dispatch(vu, &vu->receiver.message);
        receiver_reset(&vu->receiver);
        if (r != 0)
            return end_connection(vu, r, vu->fault != NULL ? vu->fault : "an answer could not be sent");
    }
}

/* ---- queues ---- */

uint16_t oriel_vhost_user_queue_count(const struct oriel_vhost_user *vu)
{
    return vu->ring_count;
}

int oriel_vhost_user_queue_fd(const struct oriel_vhost_user *vu, uint16_t queue)
{
    return queue < vu->ring_count ? vu->rings[queue].wake_fd : -1;
}

int oriel_vhost_user_queue_serve(struct oriel_vhost_user *vu, uint16_t queue)
{
    return queue < vu->ring_count ? ring_serve(vu, &vu->rings[queue]) : 0;
}

void oriel_vhost_user_queue_run(struct oriel_vhost_user *vu, uint16_t queue)
{
    if (queue < vu->ring_count)
        ring_run(vu, &vu->rings[queue]);
}

void oriel_vhost_user_stop(struct oriel_vhost_user *vu)
{
    atomic_store(&vu->stopping, true);
    for (uint16_t i = 0; i < vu->ring_count; i++) {
        uint64_t one = 1;
        ssize_t ignored = write(vu->rings[i].control_fd, &one, sizeof(one));
        (void)ignored;
    }
}

/*
 * The page at address, as large as its mapping has them: a part of a huge page cannot be replaced, and is refused
 * before anything is touched.
 */
static bool put_zero_page(uintptr_t address)
{
    const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    for (uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE); size <= LARGEST_PAGE; size *= 2) {
        void *page = (void *)(address & ~(size - 1));
        if (mmap(page, size, PROT_READ | PROT_WRITE, fixed, -1, 0) != MAP_FAILED)
            return true;
        if (errno != EINVAL)
            return false;
    }
    return false;
}

/*
 * All of the range at once: page by page, memory that many threads touch would become more mappings than a process may
 * have (vm.max_map_count). But where memory is not to be overcommitted there may be no more than a page.
 */
static bool put_zero_pages(uintptr_t start, uintptr_t len, uintptr_t address)
{
    void *at = (void *)start;
    const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    return mmap(at, len, PROT_READ | PROT_WRITE, fixed, -1, 0) != MAP_FAILED || put_zero_page(address);
}

bool oriel_vhost_user_repair(struct oriel_vhost_user *vu, const void *address)
{
    uintptr_t start, len;
    if (!mapped_ranges_find(&vu->ranges, (uintptr_t)address, &start, &len))
        return false;
    int err = errno;
    /* Wakes whoever waits for messages. The socket is still open: detaching waits for users of the memory. */
    if (!atomic_exchange(&vu->memory_lost, true))
        shutdown(vu->socket, SHUT_RDWR);
    bool repaired = put_zero_pages(start, len, (uintptr_t)address);
    errno = err;
    return repaired;
}

void oriel_vhost_user_stats(const struct oriel_vhost_user *vu, struct oriel_vhost_user_stats *out)
{
    *out = (struct oriel_vhost_user_stats){
        .connections = vu->connections, .messages = vu->messages, .refused_messages = vu->refused};
    for (uint16_t i = 0; i < vu->ring_count; i++) {
        out->wakeups += vu->rings[i].wakeups;
        out->poll_hits += vu->rings[i].poll_hits;
        out->poll_misses += vu->rings[i].poll_misses;
    }
    oriel_virtio_fs_stats(vu->device, &out->device);
}
