/* The queue's thread: waits for kicks, serves the ring, polls in between; and the way back to the guest. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "vhost_user/backend.h"
#include "vhost_user/rings.h"

#define UNKICKED_POLL_MS 1  /* how often a ring without a kick descriptor is looked at while it is idle */
#define LOOKS_PER_CLOCK  16 /* looks at the ring for one at the clock, while polling */
#define SLEEPS_PER_CLOCK 16

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* The only writer, so no read-modify-write is needed. */
static uint64_t count(_Atomic uint64_t *counter)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed) + 1;
    atomic_store_explicit(counter, value, memory_order_relaxed);
    return value;
}

/* Waits for a kick or a word from another thread. Returns the turn of the kick descriptor that fired, as the
 * event has it, or 0. */
static uint64_t take_events(const struct ring *ring, int timeout_ms)
{
    struct epoll_event events[2];
    int n = epoll_wait(ring->wake_fd, events, 2, timeout_ms);
    uint64_t kick = 0;
    for (int i = 0; i < n; i++)
        kick |= events[i].data.u64;
    return kick;
}

static uint32_t kick_turn(uint64_t event)
{
    return (uint32_t)(event >> 1);
}

static int broke(struct oriel_vhost_user *vu, struct ring *ring)
{
    if (!atomic_exchange(&ring->broken, true))
        ring_tell_broken(vu, ring);
    return -EIO;
}

/* One pass over the ring, which may turn out not to run. ask_for_kick: when it is empty at the end. */
static int serve(struct oriel_vhost_user *vu, struct ring *ring, bool ask_for_kick)
{
    uint16_t index = (uint16_t)(ring - vu->rings);
    int n =
        ask_for_kick ? oriel_virtio_fs_process(vu->device, index) : oriel_virtio_fs_poll(vu->device, index);
    if (n == -EIO)
        return broke(vu, ring);
    if (n <= 0)
        return 0;
    ring_log_used(vu, ring);
    return n;
}

static bool runs(const struct ring *ring)
{
    return atomic_load_explicit(&ring->running, memory_order_acquire);
}

/* Serves what a kick announced, and starts the ring if it was the first. */
static int serve_kick(struct oriel_vhost_user *vu, struct ring *ring, uint64_t kick)
{
    if (!runs(ring) && kick != 0)
        ring_kicked(vu, ring, kick_turn(kick));
    return runs(ring) ? serve(vu, ring, true) : 0;
}

int ring_serve(struct oriel_vhost_user *vu, struct ring *ring)
{
    return serve_kick(vu, ring, take_events(ring, 0));
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Looks at the ring for up to budget_ns. Returns the number of requests that came and were served. */
static int poll_ring(struct oriel_vhost_user *vu, struct ring *ring, uint32_t budget_ns)
{
    uint64_t end = now_ns() + budget_ns;
    do {
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            int n = serve(vu, ring, false);
            if (n != 0)
                return n;
            relax();
        }
    } while (now_ns() < end && runs(ring) && !atomic_load_explicit(&vu->stopping, memory_order_relaxed));
    return 0;
}

/* Polls for as long as that catches requests. Kicks are switched off meanwhile, and on again after it. */
static void poll_between(struct oriel_vhost_user *vu, struct ring *ring)
{
    for (;;) {
        uint32_t budget = polling_budget(&ring->polling);
        if (budget == 0 || !runs(ring) || atomic_load_explicit(&vu->stopping, memory_order_relaxed))
            return;
        int n = poll_ring(vu, ring, budget);
        if (n < 0)
            return;
        if (n > 0) {
            polling_hit(&ring->polling);
            count(&ring->poll_hits);
            continue;
        }
        polling_miss(&ring->polling);
        count(&ring->poll_misses);
        if (serve(vu, ring, true) <= 0)
            return;
    }
}

/*
 * The clock costs as much as a small part of a request, so one sleep stands for so many. Of its own length, without the
 * serving in between: how long a batch takes says nothing of how soon the next request comes.
 */
static uint64_t sleep_for_kick(struct ring *ring)
{
    bool is_polled = atomic_load_explicit(&ring->polled, memory_order_relaxed);
    int timeout_ms = is_polled ? UNKICKED_POLL_MS : -1;
    bool is_sample = count(&ring->wakeups) % SLEEPS_PER_CLOCK == 0 && ring->polling.mode == ORIEL_POLL_AUTO;
    if (!is_sample)
        return take_events(ring, timeout_ms);
    uint64_t before = now_ns();
    uint64_t kick = take_events(ring, timeout_ms);
    polling_slept(&ring->polling, SLEEPS_PER_CLOCK, now_ns() - before);
    return kick;
}

void ring_run(struct oriel_vhost_user *vu, struct ring *ring)
{
    uint64_t kick = take_events(ring, 0);
    while (!atomic_load(&vu->stopping)) {
        serve_kick(vu, ring, kick);
        poll_between(vu, ring);
        kick = atomic_load(&vu->stopping) ? 0 : sleep_for_kick(ring);
    }
}

/* An event counter that is full blocks its writer unless it is O_NONBLOCK; a front-end that fills its own
 * must not stop us. */
static bool would_block(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    return poll(&poll_fd, 1, 0) != 1;
}

void ring_notify(struct ring *ring)
{
    pthread_mutex_lock(&ring->signal_lock);
    if (ring->call_fd >= 0 && !(ring->call_may_block && would_block(ring->call_fd)))
        eventfd_write(ring->call_fd, 1);
    pthread_mutex_unlock(&ring->signal_lock);
}
