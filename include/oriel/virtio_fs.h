/*
 * The virtio-fs device (virtio 1.3, 5.11): queues in, FUSE requests out. It stands behind every transport:
 * PCI (virtio_pci.h), MMIO, vhost-user.
 *
 * Queue 0 is hiprio, 1 … num_request_queues are request queues. Split rings, indirect descriptors, event
 * index. The device has no threads: the transport's owner calls oriel_virtio_fs_process() for a queue, from
 * one thread at a time for each queue, different queues in parallel.
 */
#ifndef ORIEL_VIRTIO_FS_H
#define ORIEL_VIRTIO_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/fuse_server.h>
#include <oriel/guest_memory.h>
#include <oriel/trace.h>
#include <oriel/worker_pool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ORIEL_VIRTIO_FS_TAG_MAX         36 /* bytes; no terminator when all are used */
#define ORIEL_VIRTIO_FS_DEVICE_ID       26
#define ORIEL_VIRTIO_FS_MAX_QUEUES      65    /* hiprio + 64 request queues */
#define ORIEL_VIRTIO_QUEUE_SIZE_MAX     32768 /* virtio 1.3, 2.7 */
#define ORIEL_VIRTIO_QUEUE_SIZE_DEFAULT 1024

struct oriel_virtio_fs_options {
    size_t size;                      /* sizeof(struct oriel_virtio_fs_options) */
    const char *tag;                  /* 1 to 36 bytes, no newline */
    uint16_t num_request_queues;      /* 1 to 64 */
    uint16_t queue_size;              /* what the device offers: a power of two, 8 to 32,768; 0 = 1,024 */
    struct oriel_fuse_server *server; /* must outlive the device */
    /*
     * A queue has used buffers the driver wants to hear of: raise the queue's interrupt. Called from the
     * thread that processes the queue, or from a worker that finished a handed-off request; must not block.
     */
    void (*notify)(void *opaque, uint16_t queue);
    /* The device entered a state that needs a reset (DEVICE_NEEDS_RESET): raise the configuration interrupt.
     * May be NULL. */
    void (*broken)(void *opaque);
    void *opaque;
    struct oriel_trace *trace;
    /* Serves requests that may block for long (FSYNC, SETLKW, …) or turn out to (a READ of what is not in the
     * host's memory), so that their queue goes on; must outlive the device. NULL: every request is served on
     * its queue's thread. */
    struct oriel_worker_pool *pool;
    /*
     * The device may have written anywhere into these buffers (addresses from `memory`); called after that
     * and before the driver is told, from the thread that served the request. For a log of dirty pages, which
     * has to note the used rings by itself. NULL: nobody wants to know.
     */
    void (*wrote)(void *opaque, const struct oriel_memory *memory, const struct iovec *iov, size_t count);
};

struct oriel_virtio_fs;

/* Errors: -EINVAL (options), -ENOMEM. */
int oriel_virtio_fs_create(const struct oriel_virtio_fs_options *options, struct oriel_virtio_fs **out);

/* Queues must be stopped. NULL is allowed. */
void oriel_virtio_fs_destroy(struct oriel_virtio_fs *device);

uint16_t oriel_virtio_fs_queue_count(const struct oriel_virtio_fs *device); /* request queues + 1 */
uint16_t oriel_virtio_fs_queue_size_max(const struct oriel_virtio_fs *device);

/* VIRTIO_F_VERSION_1, RING_INDIRECT_DESC, RING_EVENT_IDX (bits 32, 28, 29). */
uint64_t oriel_virtio_fs_features(const struct oriel_virtio_fs *device);
/* -EINVAL: a bit that was not offered, or VERSION_1 missing; nothing is changed then. */
int oriel_virtio_fs_set_features(struct oriel_virtio_fs *device, uint64_t features);

/* Copies [offset, offset + len) of the configuration space (tag[36], le32 num_request_queues); zeroes past
 * its end. */
void oriel_virtio_fs_config_read(const struct oriel_virtio_fs *device, uint64_t offset, void *data,
                                 size_t len);

/*
 * Takes its own reference. Idle queues take the new map over at once, busy ones at their next batch; a
 * request that was handed off keeps the old one until it is done (oriel_memory_on_release() tells when the
 * old map is gone). A queue whose rings are not in the new map breaks.
 */
void oriel_virtio_fs_set_memory(struct oriel_virtio_fs *device, struct oriel_memory *memory);

struct oriel_virtio_queue_setup {
    uint16_t size;                    /* a power of two, at most the device's */
    uint64_t desc, avail, used;       /* guest-physical */
    uint16_t avail_index, used_index; /* where to go on: 0 for a fresh queue */
};

/*
 * Starts a queue. Call oriel_virtio_fs_process() once after it: no kick may come for what is available already.
 * Errors:
 *   -EINVAL  number; size not a power of two or over the device's; a ring that is not aligned (desc 16,
 *            avail 2, used 4)
 *   -EFAULT  a ring is not in ordinary guest memory
 *   -EBUSY   it runs already
 *   -ENXIO   no memory map or no features were set
 */
int oriel_virtio_fs_queue_start(struct oriel_virtio_fs *device, uint16_t queue,
                                const struct oriel_virtio_queue_setup *setup);

/*
 * Stops a queue: waits until process() and handed-off requests of this queue are done, then tells where it
 * stood (state may be NULL). Requests that wait for a lock are made to give up (EINTR): they could wait for
 * ever. Stopping a stopped queue is fine: *state is then all zeroes. Not from the notify callback.
 */
void oriel_virtio_fs_queue_stop(struct oriel_virtio_fs *device, uint16_t queue,
                                struct oriel_virtio_queue_setup *state);

/*
 * Serves what is available in the queue until it is empty or being stopped, and asks for a kick before it
 * returns: call it once for each kick. Replies are published and notified in batches, one notification each
 * at most. Returns the number of requests taken (0: nothing to do). Errors: -EIO    the queue is broken
 * (loop, index out of range, indirect table malformed, ring unreadable …; the whole list is in
 * src/virtio/split_queue.h) and stays so until reset; other queues go on -ENXIO  not running -EBUSY  another
 * thread is in this call for the same queue
 */
int oriel_virtio_fs_process(struct oriel_virtio_fs *device, uint16_t queue);

/*
 * As process(), but leaves kicks switched off when the queue is empty: for a thread that looks again by
 * itself, and calls process() once more before it sleeps.
 */
int oriel_virtio_fs_poll(struct oriel_virtio_fs *device, uint16_t queue);

/*
 * Status 0 written by the driver: stops all queues, forgets features, resets the FUSE session and the window.
 * Not from the notify callback.
 */
void oriel_virtio_fs_reset(struct oriel_virtio_fs *device);

struct oriel_virtio_fs_stats {
    uint64_t kicks;          /* calls of process() on a running queue; poll() does not count */
    uint64_t requests;       /* chains taken */
    uint64_t notifications;  /* calls of notify */
    uint64_t broken_queues;  /* how often one broke */
    uint64_t dropped_chains; /* completed without being served: length 0, or EFAULT */
    uint64_t handed_off;     /* requests that the pool served */
};
void oriel_virtio_fs_stats(const struct oriel_virtio_fs *device, struct oriel_virtio_fs_stats *out);

#ifdef __cplusplus
}
#endif

#endif
