/* One row for each message: what it looks like, what has to be negotiated for it, who handles it. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "vhost_user/backend.h"

/* Handles a request; fills reply->payload and its size if the row says that it has a reply of its own. 0 or a
 * negative errno, noted with vhost_user_refuse(). */
typedef int (*handler_fn)(struct oriel_vhost_user *vu, struct message *request, struct message *reply);

enum answer {
    ANSWER_ACK, /* only where the front-end asks for it */
    ANSWER_U64, /* the reply's payload is a u64 */
    ANSWER_OWN, /* the handler sets the size of the reply */
};

struct row {
    const char *name;
    uint16_t size_min, size_max;
    uint8_t fds_min, fds_max;
    uint64_t needs; /* protocol features that must be negotiated */
    enum answer answer;
    handler_fn handle;
};

int vhost_user_refuse(struct oriel_vhost_user *vu, int err, const char *fault)
{
    vu->fault = fault;
    return err;
}

bool vhost_user_has(const struct oriel_vhost_user *vu, uint64_t protocol_feature)
{
    return (vu->protocol_features & protocol_feature) == protocol_feature;
}

uint64_t vhost_user_offered_protocol_features(const struct oriel_vhost_user *vu)
{
    uint64_t offered = VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_LOG_SHMFD |
                       VHOST_USER_PROTOCOL_F_REPLY_ACK | VHOST_USER_PROTOCOL_F_RESET_DEVICE |
                       VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS | VHOST_USER_PROTOCOL_F_STATUS;
    if (vu->options.tag != NULL)
        offered |= VHOST_USER_PROTOCOL_F_CONFIG;
    return offered;
}

/* ---- features and device state ---- */

static uint64_t offered_features(const struct oriel_vhost_user *vu)
{
    return oriel_virtio_fs_features(vu->device) | VHOST_F_LOG_ALL | VHOST_USER_F_PROTOCOL_FEATURES;
}

static int get_features(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)request;
    reply->payload.u64 = offered_features(vu);
    return 0;
}

static bool any_ring_runs(const struct oriel_vhost_user *vu)
{
    for (uint16_t i = 0; i < vu->ring_count; i++) {
        if (atomic_load(&vu->rings[i].running))
            return true;
    }
    return false;
}

/* Logging is switched while rings run; the virtio bits are not. */
static int set_features(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    uint64_t features = request->payload.u64;
    uint64_t vhost_bits = VHOST_F_LOG_ALL | VHOST_USER_F_PROTOCOL_FEATURES;
    if (features & ~offered_features(vu))
        return vhost_user_refuse(vu, -EINVAL, "a feature that was not offered");
    if ((features & VHOST_F_LOG_ALL) && !vhost_user_has(vu, VHOST_USER_PROTOCOL_F_LOG_SHMFD))
        return vhost_user_refuse(vu, -EINVAL, "logging without LOG_SHMFD");
    if (!vu->features_set || ((features ^ vu->features) & ~vhost_bits) != 0) {
        if (any_ring_runs(vu))
            return vhost_user_refuse(vu, -EBUSY, "features change while rings run");
        /* A front-end may acknowledge its own bits before the driver has chosen: rings wait for VERSION_1. */
        vu->features_set = oriel_virtio_fs_set_features(vu->device, features & ~vhost_bits) == 0;
    }
    vu->features = features;
    dirty_log_enable(&vu->log, (features & VHOST_F_LOG_ALL) != 0);
    rings_update(vu);
    return 0;
}

static int get_protocol_features(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)request;
    reply->payload.u64 = vhost_user_offered_protocol_features(vu);
    return 0;
}

static int set_protocol_features(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    if (request->payload.u64 & ~vhost_user_offered_protocol_features(vu))
        return vhost_user_refuse(vu, -EINVAL, "a protocol feature that was not offered");
    vu->protocol_features = request->payload.u64;
    return 0;
}

static int set_owner(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)vu;
    (void)request;
    (void)reply;
    return 0;
}

/* Deprecated, and recommended to be ignored. */
static int reset_owner(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    return set_owner(vu, request, reply);
}

static int get_queue_num(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)request;
    reply->payload.u64 = vu->ring_count;
    return 0;
}

static int reset_device(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)request;
    (void)reply;
    vhost_user_reset_device(vu, true);
    return 0;
}

/*
 * Status 0 stops the rings but ends no FUSE session: QEMU before 8.1 sends it when a guest is merely paused,
 * and asks for the ring positions afterwards. A driver that really begins anew sends FUSE_INIT, and a
 * front-end that resets the device says so with RESET_DEVICE.
 */
static int set_status(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    if (request->payload.u64 > UINT8_MAX)
        return vhost_user_refuse(vu, -EINVAL, "device status has more than 8 bits");
    vu->status = request->payload.u64;
    if (vu->status == 0) {
        rings_suspend(vu);
        atomic_store(&vu->needs_reset, false);
    }
    return 0;
}

static int get_status(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    const uint64_t device_needs_reset = 0x40;
    (void)request;
    reply->payload.u64 = vu->status | (atomic_load(&vu->needs_reset) ? device_needs_reset : 0);
    return 0;
}

/* ---- memory ---- */

/* A changed table reaches the device, then the rings. */
static int memory_changed(struct oriel_vhost_user *vu, int r)
{
    if (r != 0)
        return vhost_user_refuse(vu, r, vu->memory.fault != NULL ? vu->memory.fault : "out of memory");
    oriel_virtio_fs_set_memory(vu->device, vu->memory.map);
    rings_update(vu);
    return 0;
}

static int set_mem_table(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    const struct vhost_user_mem_table *table = &request->payload.mem_table;
    if (table->count > VHOST_USER_MEM_TABLE_REGIONS)
        return vhost_user_refuse(vu, -EINVAL, "too many regions");
    size_t size = offsetof(struct vhost_user_mem_table, regions) + table->count * sizeof(table->regions[0]);
    if (request->header.size != size)
        return vhost_user_refuse(vu, -EINVAL, "payload does not match the number of regions");
    if (request->fd_count != table->count)
        return vhost_user_refuse(vu, -EINVAL, "not one descriptor for each region");
    vu->memory.fault = NULL;
    return memory_changed(vu, memory_table_set(&vu->memory, table->regions, request->fds, table->count));
}

static int get_max_mem_slots(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)vu;
    (void)request;
    reply->payload.u64 = VHOST_USER_MEM_SLOTS;
    return 0;
}

static int add_mem_reg(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    vu->memory.fault = NULL;
    return memory_changed(
        vu, memory_table_add(&vu->memory, &request->payload.mem_region.region, request->fds[0]));
}

static int rem_mem_reg(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    vu->memory.fault = NULL;
    return memory_changed(vu, memory_table_remove(&vu->memory, &request->payload.mem_region.region));
}

static int set_log_base(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    const char *fault = NULL;
    reply->payload.u64 = 0;
    int r = dirty_log_set(&vu->log, &request->payload.log, request->fds[0], &fault);
    if (r != 0)
        return vhost_user_refuse(vu, r, fault);
    if (!dirty_log_covers(&vu->log, memory_table_gpa_end(&vu->memory)))
        return vhost_user_refuse(vu, -EINVAL, "log does not cover guest memory");
    return 0;
}

static int set_log_fd(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    dirty_log_set_event(&vu->log, message_take_fd(request, 0));
    return 0;
}

/* ---- rings ---- */

static struct ring *ring_at(struct oriel_vhost_user *vu, uint64_t index)
{
    if (index < vu->ring_count)
        return &vu->rings[index];
    vhost_user_refuse(vu, -EINVAL, "no such ring");
    return NULL;
}

static int set_vring_num(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    const struct vhost_user_vring_state *state = &request->payload.vring_state;
    struct ring *ring = ring_at(vu, state->index);
    return ring == NULL ? -EINVAL : ring_set_size(vu, ring, state->num);
}

static int set_vring_base(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    const struct vhost_user_vring_state *state = &request->payload.vring_state;
    struct ring *ring = ring_at(vu, state->index);
    return ring == NULL ? -EINVAL : ring_set_base(vu, ring, state->num);
}

static int get_vring_base(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    uint32_t index = request->payload.vring_state.index;
    struct ring *ring = ring_at(vu, index);
    if (ring == NULL)
        return -EINVAL;
    reply->payload.vring_state = (struct vhost_user_vring_state){.index = index, .num = ring_stop(vu, ring)};
    reply->header.size = sizeof(reply->payload.vring_state);
    return 0;
}

static int set_vring_addr(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    struct ring *ring = ring_at(vu, request->payload.vring_addr.index);
    return ring == NULL ? -EINVAL : ring_set_address(vu, ring, &request->payload.vring_addr);
}

static int set_vring_enable(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    const struct vhost_user_vring_state *state = &request->payload.vring_state;
    struct ring *ring = ring_at(vu, state->index);
    if (ring == NULL)
        return -EINVAL;
    if (state->num > 1)
        return vhost_user_refuse(vu, -EINVAL, "neither enable nor disable");
    return ring_set_enabled(vu, ring, state->num == 1);
}

/* The three messages that give a ring an event descriptor, or take it away. */
static int set_vring_fd(struct oriel_vhost_user *vu, struct message *request,
                        int (*set)(struct oriel_vhost_user *, struct ring *, int))
{
    uint64_t value = request->payload.u64;
    unsigned expected = (value & VHOST_USER_VRING_NO_FD) ? 0 : 1;
    if (value & ~(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NO_FD))
        return vhost_user_refuse(vu, -EINVAL, "unknown bits beside the ring index");
    if (request->fd_count != expected)
        return vhost_user_refuse(vu, -EINVAL, "descriptor missing, or one too many");
    struct ring *ring = ring_at(vu, value & VHOST_USER_VRING_INDEX_MASK);
    if (ring == NULL)
        return -EINVAL;
    int fd = expected == 1 ? request->fds[0] : -1;
    int r = set(vu, ring, fd);
    if (r == 0 && fd >= 0)
        message_take_fd(request, 0);
    return r;
}

static int set_vring_kick(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    return set_vring_fd(vu, request, ring_set_kick);
}

static int set_vring_call(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    return set_vring_fd(vu, request, ring_set_call);
}

static int set_vring_err(struct oriel_vhost_user *vu, struct message *request, struct message *reply)
{
    (void)reply;
    return set_vring_fd(vu, request, ring_set_err);
}

/* ---- the table ---- */

#define U64    sizeof(uint64_t), sizeof(uint64_t)
#define STATE  sizeof(struct vhost_user_vring_state), sizeof(struct vhost_user_vring_state)
#define ADDR   sizeof(struct vhost_user_vring_addr), sizeof(struct vhost_user_vring_addr)
#define REGION sizeof(struct vhost_user_mem_region), sizeof(struct vhost_user_mem_region)
#define LOG    sizeof(struct vhost_user_log), sizeof(struct vhost_user_log)
#define TABLE  8, sizeof(struct vhost_user_mem_table)
#define CONFIG 12, sizeof(struct vhost_user_config)

/* clang-format off */
static const struct row rows[] = {
    /*                                    name                     size    fds   needs   answer     handler */
    [VHOST_USER_GET_FEATURES] =          {"GET_FEATURES",          0, 0,   0, 0, 0, ANSWER_U64, get_features},
    [VHOST_USER_SET_FEATURES] =          {"SET_FEATURES",          U64,    0, 0, 0, ANSWER_ACK, set_features},
    [VHOST_USER_SET_OWNER] =             {"SET_OWNER",             0, 0,   0, 0, 0, ANSWER_ACK, set_owner},
    [VHOST_USER_RESET_OWNER] =           {"RESET_OWNER",           0, 0,   0, 0, 0, ANSWER_ACK, reset_owner},
    [VHOST_USER_SET_MEM_TABLE] =         {"SET_MEM_TABLE",         TABLE,  0, 8, 0, ANSWER_ACK, set_mem_table},
    [VHOST_USER_SET_LOG_BASE] =          {"SET_LOG_BASE",          LOG,    1, 1, VHOST_USER_PROTOCOL_F_LOG_SHMFD, ANSWER_U64, set_log_base},
    [VHOST_USER_SET_LOG_FD] =            {"SET_LOG_FD",            0, 8,   1, 1, VHOST_USER_PROTOCOL_F_LOG_SHMFD, ANSWER_ACK, set_log_fd},
    [VHOST_USER_SET_VRING_NUM] =         {"SET_VRING_NUM",         STATE,  0, 0, 0, ANSWER_ACK, set_vring_num},
    [VHOST_USER_SET_VRING_ADDR] =        {"SET_VRING_ADDR",        ADDR,   0, 0, 0, ANSWER_ACK, set_vring_addr},
    [VHOST_USER_SET_VRING_BASE] =        {"SET_VRING_BASE",        STATE,  0, 0, 0, ANSWER_ACK, set_vring_base},
    [VHOST_USER_GET_VRING_BASE] =        {"GET_VRING_BASE",        STATE,  0, 0, 0, ANSWER_OWN, get_vring_base},
    [VHOST_USER_SET_VRING_KICK] =        {"SET_VRING_KICK",        U64,    0, 1, 0, ANSWER_ACK, set_vring_kick},
    [VHOST_USER_SET_VRING_CALL] =        {"SET_VRING_CALL",        U64,    0, 1, 0, ANSWER_ACK, set_vring_call},
    [VHOST_USER_SET_VRING_ERR] =         {"SET_VRING_ERR",         U64,    0, 1, 0, ANSWER_ACK, set_vring_err},
    [VHOST_USER_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", 0, 0,   0, 0, 0, ANSWER_U64, get_protocol_features},
    [VHOST_USER_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", U64,    0, 0, 0, ANSWER_ACK, set_protocol_features},
    [VHOST_USER_GET_QUEUE_NUM] =         {"GET_QUEUE_NUM",         0, 0,   0, 0, VHOST_USER_PROTOCOL_F_MQ, ANSWER_U64, get_queue_num},
    [VHOST_USER_SET_VRING_ENABLE] =      {"SET_VRING_ENABLE",      STATE,  0, 0, 0, ANSWER_ACK, set_vring_enable},
    [VHOST_USER_GET_CONFIG] =            {"GET_CONFIG",            CONFIG, 0, 0, VHOST_USER_PROTOCOL_F_CONFIG, ANSWER_OWN, vhost_user_get_config},
    [VHOST_USER_SET_CONFIG] =            {"SET_CONFIG",            CONFIG, 0, 0, VHOST_USER_PROTOCOL_F_CONFIG, ANSWER_ACK, vhost_user_set_config},
    [VHOST_USER_RESET_DEVICE] =          {"RESET_DEVICE",          0, 0,   0, 0, VHOST_USER_PROTOCOL_F_RESET_DEVICE, ANSWER_ACK, reset_device},
    [VHOST_USER_GET_MAX_MEM_SLOTS] =     {"GET_MAX_MEM_SLOTS",     0, 0,   0, 0, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS, ANSWER_U64, get_max_mem_slots},
    [VHOST_USER_ADD_MEM_REG] =           {"ADD_MEM_REG",           REGION, 1, 1, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS, ANSWER_ACK, add_mem_reg},
    /* Some front-ends send a descriptor that the specification forbids and that is to be ignored. */
    [VHOST_USER_REM_MEM_REG] =           {"REM_MEM_REG",           REGION, 0, 1, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS, ANSWER_ACK, rem_mem_reg},
    [VHOST_USER_SET_STATUS] =            {"SET_STATUS",            U64,    0, 0, VHOST_USER_PROTOCOL_F_STATUS, ANSWER_ACK, set_status},
    [VHOST_USER_GET_STATUS] =            {"GET_STATUS",            0, 0,   0, 0, VHOST_USER_PROTOCOL_F_STATUS, ANSWER_U64, get_status},
};
/* clang-format on */

static const struct row *row_of(uint32_t request)
{
    return request < ARRAY_LEN(rows) && rows[request].handle != NULL ? &rows[request] : NULL;
}

/* What the table can tell of a request without knowing its meaning. */
static int check_form(struct oriel_vhost_user *vu, const struct row *row, const struct message *request)
{
    if (row == NULL)
        return vhost_user_refuse(vu, -EOPNOTSUPP, "unknown message");
    if (!vhost_user_has(vu, row->needs))
        return vhost_user_refuse(vu, -EOPNOTSUPP, "its protocol feature was not negotiated");
    if (request->header.size < row->size_min || request->header.size > row->size_max)
        return vhost_user_refuse(vu, -EINVAL, "payload has the wrong length");
    if (request->fd_count < row->fds_min || request->fd_count > row->fds_max)
        return vhost_user_refuse(vu, -EINVAL, "wrong number of descriptors");
    return 0;
}

static bool wants_ack(const struct oriel_vhost_user *vu, const struct message *request)
{
    return (request->header.flags & VHOST_USER_FLAG_NEED_ACK) &&
           vhost_user_has(vu, VHOST_USER_PROTOCOL_F_REPLY_ACK);
}

static void trace_request(const struct oriel_vhost_user *vu, const struct row *row,
                          const struct message *request, int result)
{
    ORIEL_TRACE(vu->options.trace, "vhost-user: %s (%u) flags 0x%x size %u fds %u payload %llx %llx: %d%s%s",
                row != NULL ? row->name : "?", request->header.request, request->header.flags,
                request->header.size, request->fd_count,
                (unsigned long long)request->payload.mem_region.padding,
                (unsigned long long)request->payload.mem_region.region.gpa, result,
                vu->fault != NULL ? " " : "", vu->fault != NULL ? vu->fault : "");
}

static int refused(struct oriel_vhost_user *vu, const struct row *row, const struct message *request)
{
    atomic_fetch_add_explicit(&vu->refused, 1, memory_order_relaxed);
    vhost_user_log(vu, ORIEL_VHOST_USER_WARNING, "refused message %s (%u, %u bytes, %u descriptors): %s",
                   row != NULL ? row->name : "?", request->header.request, request->header.size,
                   request->fd_count, vu->fault);
    return -EPROTO;
}

int vhost_user_dispatch(struct oriel_vhost_user *vu, struct message *request)
{
    const struct row *row = row_of(request->header.request);
    struct message reply = {
        .header = {.request = request->header.request, .flags = VHOST_USER_VERSION | VHOST_USER_FLAG_REPLY}};
    vu->fault = NULL;
    atomic_fetch_add_explicit(&vu->messages, 1, memory_order_relaxed);
    int r = check_form(vu, row, request);
    if (r == 0)
        r = row->handle(vu, request, &reply);
    trace_request(vu, row, request, r);
    bool has_reply = r == 0 && row->answer != ANSWER_ACK;
    if (r != 0) {
        int fatal = refused(vu, row, request);
        /* Whoever waits for a reply of another form cannot be told. */
        if (!wants_ack(vu, request) || (row != NULL && row->answer != ANSWER_ACK))
            return fatal;
    }
    if (!has_reply && !wants_ack(vu, request))
        return 0;
    if (!has_reply)
        reply.payload.u64 = (uint64_t)-r;
    if (!has_reply || row->answer == ANSWER_U64)
        reply.header.size = sizeof(reply.payload.u64);
    return message_send(vu->socket, &reply);
}
