/*
 * A small vhost-user front-end and virtio driver, by hand: it says exactly what a test tells it to, right or
 * wrong. It shares no code or header with what it tests; its constants come from the kernel's headers.
 *
 * Guest memory is one memfd, mapped once; its guest-physical address is FE_GPA and its user address is where
 * it lies in this process, as QEMU does it. Memory for rings and buffers is handed out from the bottom and
 * never given back.
 */
#ifndef ORIEL_TESTS_FRONTEND_H
#define ORIEL_TESTS_FRONTEND_H

#include <linux/fuse.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FE_GPA        UINT64_C(0x40000000)
#define FE_QUEUES_MAX 65
#define FE_TIMEOUT_MS 5000

/* Messages, by the numbers of the vhost-user specification. */
enum fe_message {
    FE_GET_FEATURES = 1,
    FE_SET_FEATURES = 2,
    FE_SET_OWNER = 3,
    FE_RESET_OWNER = 4,
    FE_SET_MEM_TABLE = 5,
    FE_SET_LOG_BASE = 6,
    FE_SET_LOG_FD = 7,
    FE_SET_VRING_NUM = 8,
    FE_SET_VRING_ADDR = 9,
    FE_SET_VRING_BASE = 10,
    FE_GET_VRING_BASE = 11,
    FE_SET_VRING_KICK = 12,
    FE_SET_VRING_CALL = 13,
    FE_SET_VRING_ERR = 14,
    FE_GET_PROTOCOL_FEATURES = 15,
    FE_SET_PROTOCOL_FEATURES = 16,
    FE_GET_QUEUE_NUM = 17,
    FE_SET_VRING_ENABLE = 18,
    FE_GET_CONFIG = 24,
    FE_SET_CONFIG = 25,
    FE_RESET_DEVICE = 34,
    FE_GET_MAX_MEM_SLOTS = 36,
    FE_ADD_MEM_REG = 37,
    FE_REM_MEM_REG = 38,
    FE_SET_STATUS = 39,
    FE_GET_STATUS = 40,
};

#define FE_VERSION    1u
#define FE_REPLY      4u
#define FE_NEED_REPLY 8u

#define FE_F_LOG_ALL           (UINT64_C(1) << 26)
#define FE_F_INDIRECT          (UINT64_C(1) << 28)
#define FE_F_EVENT_IDX         (UINT64_C(1) << 29)
#define FE_F_PROTOCOL_FEATURES (UINT64_C(1) << 30)
#define FE_F_VERSION_1         (UINT64_C(1) << 32)

#define FE_PF_MQ        (UINT64_C(1) << 0)
#define FE_PF_LOG_SHMFD (UINT64_C(1) << 1)
#define FE_PF_REPLY_ACK (UINT64_C(1) << 3)
#define FE_PF_CONFIG    (UINT64_C(1) << 9)
#define FE_PF_RESET     (UINT64_C(1) << 13)
#define FE_PF_MEM_SLOTS (UINT64_C(1) << 15)
#define FE_PF_STATUS    (UINT64_C(1) << 16)

struct fe_header {
    uint32_t request, flags, size;
};

struct fe_region {
    uint64_t gpa, size, user, offset;
};

struct fe_mem_table {
    uint32_t count, padding;
    struct fe_region regions[16]; /* twice what is allowed */
};

struct fe_state {
    uint32_t index, num;
};

struct fe_addr {
    uint32_t index, flags;
    uint64_t desc, used, avail, log;
};

struct fe_queue {
    unsigned index, size;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    int kick, call, err; /* eventfds */
    bool event_idx;
    uint16_t avail_index, used_index; /* the driver's */
    uint16_t next_desc;               /* the next descriptor to hand out; wraps, nobody checks */
};

struct frontend {
    int socket;
    int memory_fd;
    char *memory;
    size_t memory_len, memory_used;
    bool huge_pages; /* to make the memory of */
    uint64_t features, protocol_features;
    struct fe_queue queues[FE_QUEUES_MAX];
    unsigned queue_count;
    uint64_t unique;
    uint32_t uid, gid; /* of the process in the guest that asks */
};

/* ---- connection and messages ---- */

/* Connects to the socket, trying for up to timeout_ms until somebody listens. 0 or -errno. */
int fe_connect(struct frontend *fe, const char *path, int timeout_ms);
/* Uses a connected socket. */
void fe_use_socket(struct frontend *fe, int socket);
/* Closes the connection and frees everything. */
void fe_close(struct frontend *fe);

/* Sends bytes as they are, with descriptors. 0 or -errno. */
int fe_send_raw(struct frontend *fe, const void *data, size_t len, const int *fds, unsigned fd_count);
int fe_send(struct frontend *fe, uint32_t request, uint32_t flags, const void *payload, size_t len,
            const int *fds, unsigned fd_count);
/* Receives a reply: its payload length, or -ECONNRESET (closed), -ETIMEDOUT, -EPROTO (not a reply to
 * request). */
ssize_t fe_receive(struct frontend *fe, uint32_t request, void *payload, size_t len, int timeout_ms);

int fe_set_u64(struct frontend *fe, uint32_t request, uint64_t value);
int fe_get_u64(struct frontend *fe, uint32_t request, uint64_t *value);
int fe_set_state(struct frontend *fe, uint32_t request, uint32_t index, uint32_t num);
int fe_get_state(struct frontend *fe, uint32_t request, uint32_t index, uint32_t *num);
/* A message with NEED_REPLY: the u64 answered, or a negative errno as of fe_receive(). */
int64_t fe_acked(struct frontend *fe, uint32_t request, const void *payload, size_t len, const int *fds,
                 unsigned fd_count);
/* True when the peer closes the connection within the time. Anything it sends before is dropped. */
bool fe_is_closed(struct frontend *fe, int timeout_ms);

/* ---- device set-up ---- */

/* Makes the guest memory. */
int fe_make_memory(struct frontend *fe, size_t len);
void *fe_alloc(struct frontend *fe, size_t len, size_t alignment);
uint64_t fe_gpa(const struct frontend *fe, const void *pointer);
uint64_t fe_user(const struct frontend *fe, const void *pointer);

/* Negotiates: acknowledges all of `protocol` and `features` that the back-end offers. 0 or -errno. */
int fe_negotiate(struct frontend *fe, uint64_t features, uint64_t protocol);
int fe_send_memory(struct frontend *fe);
/* Makes rings and descriptors of queue `index`, and tells the back-end all of it but the enabling. */
int fe_make_queue(struct frontend *fe, unsigned index, unsigned size);
int fe_tell_queue(struct frontend *fe, struct fe_queue *queue, uint16_t base);
int fe_tell_kick(struct frontend *fe, struct fe_queue *queue);
int fe_enable_queue(struct frontend *fe, unsigned index, bool enable);

/* All of the above for a device that is ready: memory, negotiation, `queues` queues of `size`, enabled. */
int fe_set_up(struct frontend *fe, size_t memory, unsigned queues, unsigned size);

/* ---- driver ---- */

struct fe_buffer {
    uint64_t gpa;
    uint32_t len;
    bool write;
};

/* Puts a chain of buffers into the available ring; not visible until fe_publish(). Returns its head. */
uint16_t fe_add(struct frontend *fe, struct fe_queue *queue, const struct fe_buffer *buffers, unsigned count);
/* Shows what was added; true when the device wants a kick. */
bool fe_publish(struct fe_queue *queue);
void fe_kick(struct fe_queue *queue);
/* Waits for one used element: 1, or 0 when none came in time. */
int fe_wait_used(struct fe_queue *queue, struct vring_used_elem *element, int timeout_ms);
/* Takes a used element that is there already: 1 or 0. */
int fe_take_used(struct fe_queue *queue, struct vring_used_elem *element);

/* ---- FUSE ---- */

#define FE_NO_ANSWER (-9999)

/*
 * One request there and back. Returns 0 or the negative errno of the reply, FE_NO_ANSWER when none came in
 * time. out gets the reply behind its header, *out_len its length (in: room).
 */
int fe_fuse(struct frontend *fe, unsigned queue, uint32_t opcode, uint64_t nodeid, const void *arg,
            size_t arg_len, void *out, size_t *out_len);
int fe_fuse_init(struct frontend *fe, unsigned queue);
int fe_fuse_getattr_root(struct frontend *fe, unsigned queue);

#endif
