/*
 * The vhost-user back-end: serves a virtio-fs device to a VMM in another process (QEMU, Cloud Hypervisor,
 * crosvm …) over a Unix socket. Protocol: QEMU docs/interop/vhost-user.rst; facts section 4.
 *
 * The object makes and owns the virtio-fs device. It has no threads:
 *   - one thread at a time calls oriel_vhost_user_run() when the socket is readable: it handles messages;
 *   - for each queue, one thread at a time calls oriel_vhost_user_queue_run() (sleeps on the queue's kick,
 *     serves it, until told to stop) or, in an event loop of its own, oriel_vhost_user_queue_serve() when
 *     oriel_vhost_user_queue_fd() is readable.
 *
 * A bad message is answered with an error where the front-end asked for an answer (REPLY_ACK), else it ends
 * the connection; either way the device and the share live on and another front-end may be attached.
 */
#ifndef ORIEL_VHOST_USER_H
#define ORIEL_VHOST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/fuse_server.h>
#include <oriel/trace.h>
#include <oriel/virtio_fs.h>
#include <oriel/worker_pool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a thread in oriel_vhost_user_queue_run() does between two kicks. */
enum oriel_poll_mode {
    ORIEL_POLL_AUTO =
        0, /* polls for as long as that has been catching requests lately, at most poll_ns; hiprio never */
    ORIEL_POLL_OFF, /* sleeps at once: least processor time */
    ORIEL_POLL_ON,  /* polls poll_ns each time: least delay, where each queue has a core to itself */
};

enum oriel_vhost_user_level {
    ORIEL_VHOST_USER_ERROR = 0,
    ORIEL_VHOST_USER_WARNING,
    ORIEL_VHOST_USER_INFO,
};

struct oriel_vhost_user_options {
    size_t size;                      /* sizeof(struct oriel_vhost_user_options) */
    struct oriel_fuse_server *server; /* must outlive the object; serves one front-end at a time */
    /*
     * 1 to 36 bytes: the protocol feature CONFIG is offered and tells the tag. NULL: it is not offered and
     * the front-end names the device (QEMU always does; QEMU 7.1 to 8.0 crash where CONFIG is offered).
     */
    const char *tag;
    uint16_t num_request_queues; /* what the configuration space recommends: 1 to 64; 0 = 1 */
    uint16_t max_request_queues; /* how many a front-end may use: 1 to 64; 0 = 64 */
    uint16_t queue_size;         /* largest queue accepted: a power of two, 8 to 32,768; 0 = 32,768 */
    enum oriel_poll_mode poll;
    uint32_t poll_ns; /* longest poll; 0 = 200,000 */
    struct oriel_worker_pool
        *pool; /* for requests that may block; NULL: they are served on the queue's thread */
    /*
     * A ring got its first kick descriptor: from now on somebody has to serve the queue. Called once for each
     * queue in the object's life, from oriel_vhost_user_run(). May be NULL (all queues are served anyway).
     */
    void (*queue_wanted)(void *opaque, uint16_t queue);
    /* Something a person should read: connections that end, messages refused. May be NULL. Any thread. */
    void (*log)(void *opaque, enum oriel_vhost_user_level level, const char *line);
    void *opaque;
    struct oriel_trace *trace; /* may be NULL: one line per message and per ring event */
};

struct oriel_vhost_user;

/* Errors: -EINVAL (options), -ENOMEM, -EMFILE, -ENFILE. */
int oriel_vhost_user_create(const struct oriel_vhost_user_options *options, struct oriel_vhost_user **out);

/* Detaches. No other call may be running. NULL is allowed. */
void oriel_vhost_user_destroy(struct oriel_vhost_user *vu);

/*
 * Begins to serve the front-end at the other end of a connected stream socket. On success the socket belongs
 * to the object. Errors: -EBUSY (there is a front-end), -ENOTSOCK, -EINVAL (not a connected Unix stream
 * socket).
 */
int oriel_vhost_user_attach(struct oriel_vhost_user *vu, int socket);

/* Ends the connection: stops all rings after what is in flight, drops guest memory, ends the FUSE session.
 * From the thread that calls oriel_vhost_user_run(). */
void oriel_vhost_user_detach(struct oriel_vhost_user *vu);

/* The socket, to wait for input on; -1 while there is no front-end. */
int oriel_vhost_user_fd(const struct oriel_vhost_user *vu);

/*
 * Handles the messages that have arrived; never waits for the front-end. Returns how many were handled.
 * Errors, after each of which the front-end is detached: -ECONNRESET (it closed the connection), -EPROTO (it
 * sent something that cannot be answered), -ENOTCONN (there is none).
 */
int oriel_vhost_user_run(struct oriel_vhost_user *vu);

/* How many queues there are: hiprio is 0, request queues follow. */
uint16_t oriel_vhost_user_queue_count(const struct oriel_vhost_user *vu);

/* A descriptor that is readable when the queue wants oriel_vhost_user_queue_serve(); the same for the
 * object's life. */
int oriel_vhost_user_queue_fd(const struct oriel_vhost_user *vu, uint16_t queue);

/*
 * Takes the pending kick and serves what is available. Never sleeps, but lasts as long as the requests do.
 * Returns the number of requests served (0: nothing to do, or the ring is not running), or -EIO: the ring is
 * broken and stays so until the driver resets the device.
 */
int oriel_vhost_user_queue_serve(struct oriel_vhost_user *vu, uint16_t queue);

/* The body of a queue's thread: serves, polls, sleeps, until oriel_vhost_user_stop(). */
void oriel_vhost_user_queue_run(struct oriel_vhost_user *vu, uint16_t queue);

/* Lets every oriel_vhost_user_queue_run(), now and later, return after the request it works on. Any thread,
 * and from a signal handler. */
void oriel_vhost_user_stop(struct oriel_vhost_user *vu);

/*
 * For a SIGBUS handler: a front-end can cut the file behind its guest's memory, or behind the dirty log, short,
 * and the next access is this signal. If address lies in such memory of this object, zero pages replace all of that region,
 * the front-end is marked to be detached (oriel_vhost_user_run() then answers -EPROTO) and true is returned:
 * the handler returns and the access goes on. Async-signal-safe.
 */
bool oriel_vhost_user_repair(struct oriel_vhost_user *vu, const void *address);

struct oriel_vhost_user_stats {
    uint64_t connections, messages, refused_messages;
    uint64_t wakeups;                /* a queue's thread slept and was kicked */
    uint64_t poll_hits, poll_misses; /* polls that caught a request, that did not */
    struct oriel_virtio_fs_stats device;
};
void oriel_vhost_user_stats(const struct oriel_vhost_user *vu, struct oriel_vhost_user_stats *out);

#ifdef __cplusplus
}
#endif

#endif
