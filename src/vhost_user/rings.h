/*
 * The rings of a connection: what the front-end configured, when each runs, and how it is woken.
 *
 * A ring runs (its device queue is started) while it is complete (size, addresses, kick, features, memory),
 * enabled, and started. It is started by its first kick. One that is taken up in the middle (its base is not
 * 0, or it was stopped before on this connection) is started without: its kick may have been spent on whoever
 * served it before.
 *
 * Threads: configuration comes from the connection's thread; the queue's thread starts the ring at the first
 * kick and serves it. Both hold `lock` to change anything but the descriptors to signal, which have their
 * own.
 */
#ifndef ORIEL_VHOST_USER_RINGS_H
#define ORIEL_VHOST_USER_RINGS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <oriel/virtio_fs.h>

#include "vhost_user/polling.h"
#include "vhost_user/protocol.h"

struct oriel_vhost_user;

struct ring {
    /* Read by the queue's thread for each batch. */
    _Alignas(64) atomic_bool running;
    int wake_fd;    /* epoll: the kick and the control descriptor, both edge-triggered */
    int control_fd; /* eventfd: the ring was started or stopped, or the object is to stop */
    struct polling polling;
    _Atomic uint64_t wakeups, poll_hits, poll_misses; /* written by the queue's thread, read by any */

    pthread_mutex_t lock;
    int kick_fd;        /* -1: none */
    uint32_t kick_turn; /* counts the kick descriptors, so that a late event of an old one is known */
    atomic_bool polled; /* the front-end sends no kicks */
    bool wanted;        /* queue_wanted() was called */
    uint32_t size;      /* 0: not set */
    bool has_address;
    struct vhost_user_vring_addr address;
    struct oriel_virtio_queue_setup
        setup;    /* what the device is started with; its indices are the ring's place */
    bool ready;   /* setup is complete: size, addresses, features, memory */
    bool enabled; /* SET_VRING_ENABLE, or protocol features not acknowledged */
    bool started; /* kicked, or taken up */
    bool taken_up;
    atomic_bool broken; /* told to the front-end */

    pthread_mutex_t signal_lock;
    int call_fd, err_fd; /* -1: none */
    bool call_may_block; /* the front-end's descriptor is not O_NONBLOCK */
    atomic_bool log_used;
    _Atomic uint64_t log_address;
};

int ring_init(struct ring *ring, enum oriel_poll_mode mode, uint32_t poll_ns);
void ring_destroy(struct ring *ring);

/* ---- messages; from the connection's thread; negative errno and *fault when refused ---- */

int ring_set_size(struct oriel_vhost_user *vu, struct ring *ring, uint32_t size);
int ring_set_base(struct oriel_vhost_user *vu, struct ring *ring, uint32_t base);
int ring_set_address(struct oriel_vhost_user *vu, struct ring *ring,
                     const struct vhost_user_vring_addr *address);
/* fd -1: none. On success the ring owns fd. */
int ring_set_kick(struct oriel_vhost_user *vu, struct ring *ring, int fd);
int ring_set_call(struct oriel_vhost_user *vu, struct ring *ring, int fd);
int ring_set_err(struct oriel_vhost_user *vu, struct ring *ring, int fd);
int ring_set_enabled(struct oriel_vhost_user *vu, struct ring *ring, bool enabled);
/* GET_VRING_BASE: stops the ring after what is in flight, and tells where it stands. */
uint16_t ring_stop(struct oriel_vhost_user *vu, struct ring *ring);

/* Features or memory came or went: finds out anew which rings can run, and starts those that wait for it. */
void rings_update(struct oriel_vhost_user *vu);
/* Stops all rings; each keeps its place. */
void rings_suspend(struct oriel_vhost_user *vu);
/* Stops all rings and forgets their configuration; keep_signals: but not where to signal. */
void rings_reset(struct oriel_vhost_user *vu, bool keep_signals);

/* ---- from the queue's thread ---- */

/* The kick descriptor of that turn fired: starts the ring if that was its first kick. */
void ring_kicked(struct oriel_vhost_user *vu, struct ring *ring, uint32_t turn);
/* Marks the used ring in the dirty log, if the front-end wants that. */
void ring_log_used(struct oriel_vhost_user *vu, struct ring *ring);
/* The device says that the ring is broken. */
void ring_tell_broken(struct oriel_vhost_user *vu, struct ring *ring);

int ring_serve(struct oriel_vhost_user *vu, struct ring *ring);
void ring_run(struct oriel_vhost_user *vu, struct ring *ring);

/* ---- from the device ---- */

void ring_notify(struct ring *ring);

#endif
