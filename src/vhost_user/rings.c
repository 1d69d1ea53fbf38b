#include "vhost_user/rings.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/le.h"
#include "vhost_user/backend.h"

#define DESC_SIZE(n)  (16 * (uint64_t)(n))
#define AVAIL_SIZE(n) (6 + 2 * (uint64_t)(n)) /* with used_event */
#define USED_SIZE(n)  (6 + 8 * (uint64_t)(n)) /* with avail_event */
#define USED_INDEX    2                       /* where the index lies in the used ring */

static uint16_t ring_index(const struct oriel_vhost_user *vu, const struct ring *ring)
{
    return (uint16_t)(ring - vu->rings);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int ring_init(struct ring *ring, enum oriel_poll_mode mode, uint32_t poll_ns)
{
    memset(ring, 0, sizeof(*ring));
    ring->kick_fd = ring->call_fd = ring->err_fd = -1;
    polling_init(&ring->polling, mode, poll_ns);
    pthread_mutex_init(&ring->lock, NULL);
    pthread_mutex_init(&ring->signal_lock, NULL);
    ring->wake_fd = epoll_create1(EPOLL_CLOEXEC);
    ring->control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0};
    if (ring->wake_fd >= 0 && ring->control_fd >= 0 &&
        epoll_ctl(ring->wake_fd, EPOLL_CTL_ADD, ring->control_fd, &event) == 0)
        return 0;
    int err = -errno;
    ring_destroy(ring);
    return err;
}

void ring_destroy(struct ring *ring)
{
    close_fd(&ring->wake_fd);
    close_fd(&ring->control_fd);
    close_fd(&ring->kick_fd);
    close_fd(&ring->call_fd);
    close_fd(&ring->err_fd);
    pthread_mutex_destroy(&ring->lock);
    pthread_mutex_destroy(&ring->signal_lock);
}

/* Makes the queue's thread look at the ring. Edge-triggered, so nobody has to read the counter. */
static void wake(const struct ring *ring)
{
    eventfd_write(ring->control_fd, 1);
}

/* ---- start and stop; with ring->lock held ---- */

/*
 * The ring's place is where the front-end says for the available ring, and what the ring itself says for the
 * used one, which nobody but us writes.
 */
static bool prepare(struct oriel_vhost_user *vu, struct ring *ring)
{
    struct oriel_virtio_queue_setup *setup = &ring->setup;
    const struct vhost_user_vring_addr *address = &ring->address;
    ring->ready = false;
    if (ring->size == 0 || !ring->has_address || !vu->features_set || vu->memory.map == NULL)
        return false;
    if (!memory_table_user_to_gpa(&vu->memory, address->desc, DESC_SIZE(ring->size), &setup->desc) ||
        !memory_table_user_to_gpa(&vu->memory, address->avail, AVAIL_SIZE(ring->size), &setup->avail) ||
        !memory_table_user_to_gpa(&vu->memory, address->used, USED_SIZE(ring->size), &setup->used))
        return false;
    const char *used = oriel_memory_at(vu->memory.map, setup->used, USED_SIZE(ring->size), 4);
    if (used == NULL)
        return false;
    setup->size = (uint16_t)ring->size;
    setup->used_index = le16_load(used + USED_INDEX);
    ring->ready = true;
    return true;
}

static void signal_error(struct ring *ring)
{
    pthread_mutex_lock(&ring->signal_lock);
    if (ring->err_fd >= 0)
        eventfd_write(ring->err_fd, 1);
    pthread_mutex_unlock(&ring->signal_lock);
}

static bool should_run(const struct ring *ring)
{
    return ring->ready && ring->enabled && ring->started && (ring->kick_fd >= 0 || ring->polled);
}

static void start(struct oriel_vhost_user *vu, struct ring *ring)
{
    uint16_t index = ring_index(vu, ring);
    int r = oriel_virtio_fs_queue_start(vu->device, index, &ring->setup);
    ORIEL_TRACE(
        vu->options.trace,
        "vhost-user: ring %u starts at avail %u used %u, size %u, desc 0x%llx avail 0x%llx used 0x%llx: %d",
        index, ring->setup.avail_index, ring->setup.used_index, ring->setup.size,
        (unsigned long long)ring->setup.desc, (unsigned long long)ring->setup.avail,
        (unsigned long long)ring->setup.used, r);
    if (r != 0) {
        ring->started = false;
        /* Told once: a guest can kick as often as it likes. */
        if (!atomic_exchange(&ring->broken, true)) {
            vhost_user_log(vu, ORIEL_VHOST_USER_WARNING, "ring %u cannot be started: %s", index,
                           strerror(-r));
            signal_error(ring);
        }
        return;
    }
    atomic_store(&ring->broken, false);
    atomic_store_explicit(&ring->running, true, memory_order_release);
}

/*
 * The used ring goes into the dirty log as a whole: after each batch, and after the last one when the ring
 * stops, which the front-end waits for before it looks at the log for the last time.
 */
void ring_log_used(struct oriel_vhost_user *vu, struct ring *ring)
{
    if (atomic_load_explicit(&ring->log_used, memory_order_relaxed))
        dirty_log_mark(&vu->log, atomic_load(&ring->log_address), USED_SIZE(ring->setup.size));
}

/* Waits for what is in flight. The ring keeps its place. */
static void stop(struct oriel_vhost_user *vu, struct ring *ring)
{
    uint16_t index = ring_index(vu, ring);
    struct oriel_virtio_queue_setup place;
    if (!atomic_load(&ring->running))
        return;
    atomic_store(&ring->running, false);
    oriel_virtio_fs_queue_stop(vu->device, index, &place);
    ring->setup.avail_index = place.avail_index;
    ring->setup.used_index = place.used_index;
    ring_log_used(vu, ring);
    ORIEL_TRACE(vu->options.trace, "vhost-user: ring %u stopped at avail %u used %u", index,
                place.avail_index, place.used_index);
}

/* Runs the ring or not, as its configuration says now. */
static void update(struct oriel_vhost_user *vu, struct ring *ring)
{
    if (ring->taken_up || ring->polled)
        ring->started |= ring->ready && ring->enabled && (ring->kick_fd >= 0 || ring->polled);
    bool runs = atomic_load(&ring->running), should = should_run(ring);
    if (runs && !should) {
        stop(vu, ring);
    } else if (!runs && should) {
        start(vu, ring);
        wake(ring); /* what is in it already has no kick to come */
    }
}

/* ---- from the queue's thread ---- */

void ring_kicked(struct oriel_vhost_user *vu, struct ring *ring, uint32_t turn)
{
    pthread_mutex_lock(&ring->lock);
    if (turn == ring->kick_turn && !ring->started) {
        ring->started = true;
        if (should_run(ring) && !atomic_load(&ring->running))
            start(vu, ring);
    }
    pthread_mutex_unlock(&ring->lock);
}

void ring_tell_broken(struct oriel_vhost_user *vu, struct ring *ring)
{
    vhost_user_log(vu, ORIEL_VHOST_USER_WARNING, "ring %u is broken: the driver has to reset the device",
                   ring_index(vu, ring));
    signal_error(ring);
}

/* ---- messages ---- */

static int refuse_while_running(struct oriel_vhost_user *vu, const struct ring *ring)
{
    if (!atomic_load(&ring->running))
        return 0;
    return vhost_user_refuse(vu, -EBUSY, "the ring is running");
}

int ring_set_size(struct oriel_vhost_user *vu, struct ring *ring, uint32_t size)
{
    if (!is_power_of_two(size) || size > oriel_virtio_fs_queue_size_max(vu->device))
        return vhost_user_refuse(vu, -EINVAL, "ring size is no power of two, or too large");
    pthread_mutex_lock(&ring->lock);
    int r = refuse_while_running(vu, ring);
    if (r == 0) {
        ring->size = size;
        prepare(vu, ring);
        update(vu, ring);
    }
    pthread_mutex_unlock(&ring->lock);
    return r;
}

int ring_set_base(struct oriel_vhost_user *vu, struct ring *ring, uint32_t base)
{
    if (base > UINT16_MAX)
        return vhost_user_refuse(vu, -EINVAL, "ring base has more than 16 bits");
    pthread_mutex_lock(&ring->lock);
    int r = refuse_while_running(vu, ring);
    if (r == 0) {
        ring->setup.avail_index = (uint16_t)base;
        if (base != 0)
            ring->taken_up = true;
        update(vu, ring);
    }
    pthread_mutex_unlock(&ring->lock);
    return r;
}

static int check_address(struct oriel_vhost_user *vu, const struct ring *ring,
                         const struct vhost_user_vring_addr *address)
{
    uint64_t gpa;
    if (address->flags & ~VHOST_VRING_F_LOG)
        return vhost_user_refuse(vu, -EINVAL, "unknown ring flags");
    if (!is_aligned(address->desc, 16) || !is_aligned(address->avail, 2) || !is_aligned(address->used, 4))
        return vhost_user_refuse(vu, -EINVAL, "ring address is not aligned");
    if (ring->size == 0 || vu->memory.map == NULL)
        return 0; /* checked when they come */
    if (!memory_table_user_to_gpa(&vu->memory, address->desc, DESC_SIZE(ring->size), &gpa) ||
        !memory_table_user_to_gpa(&vu->memory, address->avail, AVAIL_SIZE(ring->size), &gpa) ||
        !memory_table_user_to_gpa(&vu->memory, address->used, USED_SIZE(ring->size), &gpa))
        return vhost_user_refuse(vu, -EFAULT, "ring is not in guest memory");
    return 0;
}

static bool same_place(const struct vhost_user_vring_addr *a, const struct vhost_user_vring_addr *b)
{
    return a->desc == b->desc && a->used == b->used && a->avail == b->avail;
}

int ring_set_address(struct oriel_vhost_user *vu, struct ring *ring,
                     const struct vhost_user_vring_addr *address)
{
    int r = check_address(vu, ring, address);
    if (r != 0)
        return r;
    pthread_mutex_lock(&ring->lock);
    /* A running ring is told its address again when logging is switched. */
    if (!ring->has_address || !same_place(&ring->address, address))
        r = refuse_while_running(vu, ring);
    if (r == 0) {
        bool moved = !ring->has_address || !same_place(&ring->address, address);
        ring->address = *address;
        ring->has_address = true;
        atomic_store(&ring->log_address, address->log);
        atomic_store(&ring->log_used, (address->flags & VHOST_VRING_F_LOG) != 0);
        if (moved || !atomic_load(&ring->running)) {
            prepare(vu, ring);
            update(vu, ring);
        }
    }
    pthread_mutex_unlock(&ring->lock);
    return r;
}

/*
 * An event descriptor has no file type, as all anonymous inodes. Anything else (a pipe, a socket, a file) is
 * refused: writing to it could block, raise SIGPIPE, or change a file.
 */
static bool is_event_fd(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0;
}

/* Called with ring->lock held. */
static void drop_kick(struct ring *ring)
{
    if (ring->kick_fd >= 0)
        epoll_ctl(ring->wake_fd, EPOLL_CTL_DEL, ring->kick_fd, NULL);
    close_fd(&ring->kick_fd);
    ring->polled = false;
    ring->kick_turn++;
}

static uint64_t kick_event(uint32_t turn)
{
    return (uint64_t)turn << 1 | 1;
}

int ring_set_kick(struct oriel_vhost_user *vu, struct ring *ring, int fd)
{
    if (fd >= 0 && !is_event_fd(fd))
        return vhost_user_refuse(vu, -EINVAL, "kick is no event descriptor");
    pthread_mutex_lock(&ring->lock);
    drop_kick(ring);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = kick_event(ring->kick_turn)};
    if (fd >= 0 && epoll_ctl(ring->wake_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        int err = -errno;
        update(vu, ring);
        pthread_mutex_unlock(&ring->lock);
        return vhost_user_refuse(vu, err, "kick cannot be waited for");
    }
    ring->kick_fd = fd;
    ring->polled = fd < 0;
    if (ring->polled)
        wake(ring); /* its thread may sleep for good */
    bool wanted = !ring->wanted;
    ring->wanted = true;
    update(vu, ring);
    pthread_mutex_unlock(&ring->lock);
    if (wanted && vu->options.queue_wanted != NULL)
        vu->options.queue_wanted(vu->options.opaque, ring_index(vu, ring));
    return 0;
}

int ring_set_call(struct oriel_vhost_user *vu, struct ring *ring, int fd)
{
    if (fd >= 0 && !is_event_fd(fd))
        return vhost_user_refuse(vu, -EINVAL, "call is no event descriptor");
    bool may_block = fd >= 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
    pthread_mutex_lock(&ring->signal_lock);
    close_fd(&ring->call_fd);
    ring->call_fd = fd;
    ring->call_may_block = may_block;
    pthread_mutex_unlock(&ring->signal_lock);
    /* A notification may have gone to the old descriptor after the front-end last looked at it. */
    if (atomic_load(&ring->running))
        ring_notify(ring);
    return 0;
}

int ring_set_err(struct oriel_vhost_user *vu, struct ring *ring, int fd)
{
    if (fd >= 0 && !is_event_fd(fd))
        return vhost_user_refuse(vu, -EINVAL, "err is no event descriptor");
    pthread_mutex_lock(&ring->signal_lock);
    close_fd(&ring->err_fd);
    ring->err_fd = fd;
    pthread_mutex_unlock(&ring->signal_lock);
    return 0;
}

int ring_set_enabled(struct oriel_vhost_user *vu, struct ring *ring, bool enabled)
{
    pthread_mutex_lock(&ring->lock);
    ring->enabled = enabled;
    update(vu, ring);
    pthread_mutex_unlock(&ring->lock);
    return 0;
}

uint16_t ring_stop(struct oriel_vhost_user *vu, struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    stop(vu, ring);
    drop_kick(ring);
    ring->started = false;
    ring->taken_up = true;
    uint16_t base = ring->setup.avail_index;
    pthread_mutex_unlock(&ring->lock);
    return base;
}

void rings_update(struct oriel_vhost_user *vu)
{
    bool all_enabled = (vu->features & VHOST_USER_F_PROTOCOL_FEATURES) == 0 && vu->features_set;
    for (uint16_t i = 0; i < vu->ring_count; i++) {
        struct ring *ring = &vu->rings[i];
        pthread_mutex_lock(&ring->lock);
        ring->enabled |= all_enabled;
        if (!atomic_load(&ring->running)) {
            prepare(vu, ring);
            update(vu, ring);
        }
        pthread_mutex_unlock(&ring->lock);
    }
}

void rings_suspend(struct oriel_vhost_user *vu)
{
    for (uint16_t i = 0; i < vu->ring_count; i++)
        ring_stop(vu, &vu->rings[i]);
}

void rings_reset(struct oriel_vhost_user *vu, bool keep_signals)
{
    for (uint16_t i = 0; i < vu->ring_count; i++) {
        struct ring *ring = &vu->rings[i];
        pthread_mutex_lock(&ring->lock);
        stop(vu, ring);
        drop_kick(ring);
        ring->size = 0;
        ring->has_address = ring->ready = ring->enabled = ring->started = ring->taken_up = false;
        memset(&ring->setup, 0, sizeof(ring->setup));
        atomic_store(&ring->log_used, false);
        pthread_mutex_unlock(&ring->lock);
        if (!keep_signals) {
            pthread_mutex_lock(&ring->signal_lock);
            close_fd(&ring->call_fd);
            close_fd(&ring->err_fd);
            pthread_mutex_unlock(&ring->signal_lock);
        }
    }
}
