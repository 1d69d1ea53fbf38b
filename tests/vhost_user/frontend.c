#include "frontend.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "send_fds.h"

/* ---- connection and messages ---- */

void fe_use_socket(struct frontend *fe, int socket)
{
    memset(fe, 0, sizeof(*fe));
    fe->socket = socket;
    fe->memory_fd = -1;
    for (unsigned i = 0; i < FE_QUEUES_MAX; i++)
        fe->queues[i].kick = fe->queues[i].call = fe->queues[i].err = -1;
}

int fe_connect(struct frontend *fe, const char *path, int timeout_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    for (int waited = 0;; waited += 10) {
        int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (s < 0)
            return -errno;
        if (connect(s, (struct sockaddr *)&address, sizeof(address)) == 0) {
            fe_use_socket(fe, s);
            return 0;
        }
        int err = -errno;
        close(s);
        if (waited >= timeout_ms)
            return err;
        usleep(10000);
    }
}

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void fe_close(struct frontend *fe)
{
    close_if_open(&fe->socket);
    close_if_open(&fe->memory_fd);
    for (unsigned i = 0; i < FE_QUEUES_MAX; i++) {
        close_if_open(&fe->queues[i].kick);
        close_if_open(&fe->queues[i].call);
        close_if_open(&fe->queues[i].err);
    }
    if (fe->memory != NULL)
        munmap(fe->memory, fe->memory_len);
    fe->memory = NULL;
}

int fe_send_raw(struct frontend *fe, const void *data, size_t len, const int *fds, unsigned fd_count)
{
    ssize_t n = send_with_fds(fe->socket, data, len, fds, fd_count, MSG_NOSIGNAL);
    return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EIO;
}

int fe_send(struct frontend *fe, uint32_t request, uint32_t flags, const void *payload, size_t len,
            const int *fds, unsigned fd_count)
{
    char data[sizeof(struct fe_header) + 1024];
    struct fe_header header = {.request = request, .flags = FE_VERSION | flags, .size = (uint32_t)len};
    memcpy(data, &header, sizeof(header));
    if (len > 0)
        memcpy(data + sizeof(header), payload, len);
    return fe_send_raw(fe, data, sizeof(header) + len, fds, fd_count);
}

static int readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    do {
        n = poll(&p, 1, timeout_ms);
    } while (n < 0 && errno == EINTR);
    return n;
}

static int receive_all(struct frontend *fe, void *data, size_t len, int timeout_ms)
{
    size_t have = 0;
    while (have < len) {
        if (readable(fe->socket, timeout_ms) != 1)
            return -ETIMEDOUT;
        ssize_t n = recv(fe->socket, (char *)data + have, len - have, 0);
        if (n <= 0)
            return -ECONNRESET;
        have += (size_t)n;
    }
    return 0;
}

ssize_t fe_receive(struct frontend *fe, uint32_t request, void *payload, size_t len, int timeout_ms)
{
    struct fe_header header;
    char data[1024];
    int r = receive_all(fe, &header, sizeof(header), timeout_ms);
    if (r != 0)
        return r;
    if (header.request != request || header.flags != (FE_VERSION | FE_REPLY) || header.size > sizeof(data))
        return -EPROTO;
    r = receive_all(fe, data, header.size, timeout_ms);
    if (r != 0)
        return r;
    if (payload != NULL)
        memcpy(payload, data, header.size < len ? header.size : len);
    return (ssize_t)header.size;
}

int fe_set_u64(struct frontend *fe, uint32_t request, uint64_t value)
{
    return fe_send(fe, request, 0, &value, sizeof(value), NULL, 0);
}

int fe_get_u64(struct frontend *fe, uint32_t request, uint64_t *value)
{
    int r = fe_send(fe, request, 0, NULL, 0, NULL, 0);
    if (r != 0)
        return r;
    ssize_t n = fe_receive(fe, request, value, sizeof(*value), FE_TIMEOUT_MS);
    return n == sizeof(*value) ? 0 : n < 0 ? (int)n : -EPROTO;
}

int fe_set_state(struct frontend *fe, uint32_t request, uint32_t index, uint32_t num)
{
    struct fe_state state = {.index = index, .num = num};
    return fe_send(fe, request, 0, &state, sizeof(state), NULL, 0);
}

int fe_get_state(struct frontend *fe, uint32_t request, uint32_t index, uint32_t *num)
{
    struct fe_state state = {.index = index};
    int r = fe_send(fe, request, 0, &state, sizeof(state), NULL, 0);
    if (r != 0)
        return r;
    ssize_t n = fe_receive(fe, request, &state, sizeof(state), FE_TIMEOUT_MS);
    if (n != sizeof(state) || state.index != index)
        return n < 0 ? (int)n : -EPROTO;
    *num = state.num;
    return 0;
}

int64_t fe_acked(struct frontend *fe, uint32_t request, const void *payload, size_t len, const int *fds,
                 unsigned fd_count)
{
    uint64_t answer;
    int r = fe_send(fe, request, FE_NEED_REPLY, payload, len, fds, fd_count);
    if (r != 0)
        return r;
    ssize_t n = fe_receive(fe, request, &answer, sizeof(answer), FE_TIMEOUT_MS);
    if (n != sizeof(answer))
        return n < 0 ? n : -EPROTO;
    return answer > INT32_MAX ? INT32_MAX : (int64_t)answer;
}

bool fe_is_closed(struct frontend *fe, int timeout_ms)
{
    char data[256];
    for (;;) {
        if (readable(fe->socket, timeout_ms) != 1)
            return false;
        if (recv(fe->socket, data, sizeof(data), 0) <= 0)
            return true;
    }
}

/* ---- device set-up ---- */

int fe_make_memory(struct frontend *fe, size_t len)
{
    fe->memory_fd = memfd_create("guest", MFD_CLOEXEC | (fe->huge_pages ? MFD_HUGETLB : 0));
    if (fe->memory_fd < 0 || ftruncate(fe->memory_fd, (off_t)len) != 0)
        return -errno;
    fe->memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fe->memory_fd, 0);
    if (fe->memory == MAP_FAILED) {
        fe->memory = NULL;
        return -errno;
    }
    fe->memory_len = len;
    return 0;
}

void *fe_alloc(struct frontend *fe, size_t len, size_t alignment)
{
    size_t at = (fe->memory_used + alignment - 1) & ~(alignment - 1);
    if (at + len > fe->memory_len)
        abort(); /* the test gave itself too little */
    fe->memory_used = at + len;
    return fe->memory + at;
}

uint64_t fe_gpa(const struct frontend *fe, const void *pointer)
{
    return FE_GPA + (uint64_t)((const char *)pointer - fe->memory);
}

uint64_t fe_user(const struct frontend *fe, const void *pointer)
{
    (void)fe;
    return (uint64_t)(uintptr_t)pointer;
}

int fe_negotiate(struct frontend *fe, uint64_t features, uint64_t protocol)
{
    uint64_t offered, offered_protocol;
    int r = fe_get_u64(fe, FE_GET_FEATURES, &offered);
    if (r != 0)
        return r;
    fe->features = offered & (features | FE_F_PROTOCOL_FEATURES);
    if (fe->features & FE_F_PROTOCOL_FEATURES) {
        r = fe_get_u64(fe, FE_GET_PROTOCOL_FEATURES, &offered_protocol);
        if (r != 0)
            return r;
        fe->protocol_features = offered_protocol & protocol;
        r = fe_set_u64(fe, FE_SET_PROTOCOL_FEATURES, fe->protocol_features);
        if (r != 0)
            return r;
    }
    r = fe_send(fe, FE_SET_OWNER, 0, NULL, 0, NULL, 0);
    return r != 0 ? r : fe_set_u64(fe, FE_SET_FEATURES, fe->features);
}

int fe_send_memory(struct frontend *fe)
{
    struct fe_mem_table table = {.count = 1};
    table.regions[0] = (struct fe_region){
        .gpa = FE_GPA, .size = fe->memory_len, .user = fe_user(fe, fe->memory), .offset = 0};
    return fe_send(fe, FE_SET_MEM_TABLE, 0, &table, 8 + sizeof(struct fe_region), &fe->memory_fd, 1);
}

int fe_make_queue(struct frontend *fe, unsigned index, unsigned size)
{
    struct fe_queue *queue = &fe->queues[index];
    queue->index = index;
    queue->size = size;
    queue->desc = fe_alloc(fe, size * sizeof(struct vring_desc), 16);
    queue->avail = fe_alloc(fe, 6 + size * 2, 2);
    queue->used = fe_alloc(fe, 6 + size * sizeof(struct vring_used_elem), 4);
    queue->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    queue->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    queue->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    queue->event_idx = (fe->features & FE_F_EVENT_IDX) != 0;
    queue->avail_index = queue->used_index = queue->next_desc = 0;
    if (index >= fe->queue_count)
        fe->queue_count = index + 1;
    return queue->kick < 0 || queue->call < 0 || queue->err < 0 ? -errno : 0;
}

int fe_tell_queue(struct frontend *fe, struct fe_queue *queue, uint16_t base)
{
    struct fe_addr addr = {.index = queue->index,
                           .desc = fe_user(fe, queue->desc),
                           .used = fe_user(fe, queue->used),
                           .avail = fe_user(fe, queue->avail)};
    uint64_t index = queue->index;
    int r = fe_set_state(fe, FE_SET_VRING_NUM, queue->index, queue->size);
    if (r == 0)
        r = fe_set_state(fe, FE_SET_VRING_BASE, queue->index, base);
    if (r == 0)
        r = fe_send(fe, FE_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0);
    if (r == 0)
        r = fe_send(fe, FE_SET_VRING_CALL, 0, &index, sizeof(index), &queue->call, 1);
    if (r == 0)
        r = fe_send(fe, FE_SET_VRING_ERR, 0, &index, sizeof(index), &queue->err, 1);
    return r;
}

int fe_tell_kick(struct frontend *fe, struct fe_queue *queue)
{
    uint64_t index = queue->index;
    return fe_send(fe, FE_SET_VRING_KICK, 0, &index, sizeof(index), &queue->kick, 1);
}

int fe_enable_queue(struct frontend *fe, unsigned index, bool enable)
{
    return fe_set_state(fe, FE_SET_VRING_ENABLE, index, enable);
}

int fe_set_up(struct frontend *fe, size_t memory, unsigned queues, unsigned size)
{
    int r = fe_make_memory(fe, memory);
    if (r == 0)
        r = fe_negotiate(fe, FE_F_VERSION_1 | FE_F_EVENT_IDX | FE_F_INDIRECT,
                         FE_PF_MQ | FE_PF_REPLY_ACK | FE_PF_LOG_SHMFD | FE_PF_RESET | FE_PF_MEM_SLOTS |
                             FE_PF_STATUS | FE_PF_CONFIG);
    if (r == 0)
        r = fe_send_memory(fe);
    for (unsigned i = 0; r == 0 && i < queues; i++) {
        r = fe_make_queue(fe, i, size);
        if (r == 0)
            r = fe_tell_queue(fe, &fe->queues[i], 0);
        if (r == 0)
            r = fe_tell_kick(fe, &fe->queues[i]);
        if (r == 0)
            r = fe_enable_queue(fe, i, true);
    }
    return r;
}

/* ---- driver ---- */

uint16_t fe_add(struct frontend *fe, struct fe_queue *queue, const struct fe_buffer *buffers, unsigned count)
{
    (void)fe;
    uint16_t head = (uint16_t)(queue->next_desc % queue->size);
    for (unsigned i = 0; i < count; i++) {
        uint16_t at = (uint16_t)(queue->next_desc % queue->size);
        struct vring_desc *desc = &queue->desc[at];
        queue->next_desc++;
        desc->addr = buffers[i].gpa;
        desc->len = buffers[i].len;
        desc->flags =
            (uint16_t)((buffers[i].write ? VRING_DESC_F_WRITE : 0) | (i + 1 < count ? VRING_DESC_F_NEXT : 0));
        desc->next = (uint16_t)(queue->next_desc % queue->size);
    }
    queue->avail->ring[queue->avail_index % queue->size] = head;
    queue->avail_index++;
    return head;
}

static uint16_t *avail_event(const struct fe_queue *queue)
{
    return (uint16_t *)&queue->used->ring[queue->size];
}

static uint16_t *used_event(const struct fe_queue *queue)
{
    return &queue->avail->ring[queue->size];
}

bool fe_publish(struct fe_queue *queue)
{
    uint16_t old = __atomic_load_n(&queue->avail->idx, __ATOMIC_RELAXED);
    __atomic_store_n(&queue->avail->idx, queue->avail_index, __ATOMIC_SEQ_CST);
    if (queue->event_idx) {
        uint16_t event = __atomic_load_n(avail_event(queue), __ATOMIC_SEQ_CST);
        return (uint16_t)(queue->avail_index - event - 1) < (uint16_t)(queue->avail_index - old);
    }
    return (__atomic_load_n(&queue->used->flags, __ATOMIC_SEQ_CST) & VRING_USED_F_NO_NOTIFY) == 0;
}

void fe_kick(struct fe_queue *queue)
{
    eventfd_write(queue->kick, 1);
}

int fe_take_used(struct fe_queue *queue, struct vring_used_elem *element)
{
    if (__atomic_load_n(&queue->used->idx, __ATOMIC_SEQ_CST) == queue->used_index)
        return 0;
    *element = queue->used->ring[queue->used_index % queue->size];
    queue->used_index++;
    return 1;
}

int fe_wait_used(struct fe_queue *queue, struct vring_used_elem *element, int timeout_ms)
{
    for (;;) {
        eventfd_t ignored;
        if (fe_take_used(queue, element))
            return 1;
        __atomic_store_n(used_event(queue), queue->used_index, __ATOMIC_SEQ_CST);
        if (fe_take_used(queue, element))
            return 1;
        if (readable(queue->call, timeout_ms) != 1)
            return fe_take_used(queue, element);
        eventfd_read(queue->call, &ignored);
    }
}

/* ---- FUSE ---- */

int fe_fuse(struct frontend *fe, unsigned queue_index, uint32_t opcode, uint64_t nodeid, const void *arg,
            size_t arg_len, void *out, size_t *out_len)
{
    struct fe_queue *queue = &fe->queues[queue_index];
    size_t used_before = fe->memory_used, room = out_len != NULL ? *out_len : 0;
    struct fuse_in_header *in = fe_alloc(fe, sizeof(*in) + arg_len, 8);
    struct fuse_out_header *reply = fe_alloc(fe, sizeof(*reply) + room, 8);
    *in = (struct fuse_in_header){.len = (uint32_t)(sizeof(*in) + arg_len),
                                  .opcode = opcode,
                                  .unique = ++fe->unique,
                                  .nodeid = nodeid,
                                  .uid = fe->uid,
                                  .gid = fe->gid,
                                  .pid = (uint32_t)getpid()};
    if (arg_len > 0)
        memcpy(in + 1, arg, arg_len);
    memset(reply, 0, sizeof(*reply));
    struct fe_buffer buffers[2] = {
        {.gpa = fe_gpa(fe, in), .len = (uint32_t)(sizeof(*in) + arg_len)},
        {.gpa = fe_gpa(fe, reply), .len = (uint32_t)(sizeof(*reply) + room), .write = true},
    };
    struct vring_used_elem element;
    uint16_t head = fe_add(fe, queue, buffers, 2);
    if (fe_publish(queue))
        fe_kick(queue);
    int answered = fe_wait_used(queue, &element, FE_TIMEOUT_MS);
    int result = FE_NO_ANSWER;
    if (answered && element.id == head && element.len == reply->len && reply->unique == in->unique &&
        reply->len >= sizeof(*reply) && reply->len <= sizeof(*reply) + room) {
        result = reply->error;
        if (out_len != NULL) {
            *out_len = reply->len - sizeof(*reply);
            memcpy(out, reply + 1, *out_len);
        }
    }
    if (answered) /* else the device may still write there */
        fe->memory_used = used_before;
    return result;
}

int fe_fuse_init(struct frontend *fe, unsigned queue)
{
    struct fuse_init_in in = {
        .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_readahead = 131072};
    struct fuse_init_out out;
    size_t len = sizeof(out);
    in.flags =
        FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS;
    return fe_fuse(fe, queue, FUSE_INIT, 0, &in, sizeof(in), &out, &len);
}

int fe_fuse_getattr_root(struct frontend *fe, unsigned queue)
{
    struct fuse_getattr_in in = {0};
    struct fuse_attr_out out;
    size_t len = sizeof(out);
    return fe_fuse(fe, queue, FUSE_GETATTR, FUSE_ROOT_ID, &in, sizeof(in), &out, &len);
}
