#include "vhost_user/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Room for more descriptors than a message may carry, so that one too many is told from many lost. */
#define FDS_RECEIVED_MAX 16

int message_take_fd(struct message *message, unsigned index)
{
    int fd = message->fds[index];
    message->fds[index] = -1;
    return fd;
}

void message_close_fds(struct message *message)
{
    for (unsigned i = 0; i < message->fd_count; i++) {
        if (message->fds[i] >= 0)
            close(message->fds[i]);
    }
    message->fd_count = 0;
}

void receiver_reset(struct receiver *receiver)
{
    message_close_fds(&receiver->message);
    memset(&receiver->message.header, 0, sizeof(receiver->message.header));
    /* A short payload must not be read as the rest of an earlier one. */
    memset(&receiver->message.payload, 0, sizeof(receiver->message.payload));
    receiver->have = 0;
    receiver->fault = NULL;
}

static int broken(struct receiver *receiver, const char *fault)
{
    receiver->fault = fault;
    return -EPROTO;
}

/* Keeps the descriptors of one SCM_RIGHTS message; closes those beyond the limit. */
static bool keep_fds(struct message *message, const struct cmsghdr *control)
{
    size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    bool all = true;
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
        if (message->fd_count < VHOST_USER_FDS_MAX) {
            message->fds[message->fd_count++] = fd;
        } else {
            close(fd);
            all = false;
        }
    }
    return all;
}

/* Receives at most `len` bytes and any descriptors that come with them. */
static ssize_t receive(struct receiver *receiver, int socket, void *data, size_t len)
{
    union {
        char bytes[CMSG_SPACE(FDS_RECEIVED_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = data, .iov_len = len};
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t n;
    do {
        n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? -EAGAIN : -ECONNRESET;
    bool all_kept = true;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            all_kept &= keep_fds(&receiver->message, c);
    }
    if (header.msg_flags & MSG_CTRUNC)
        return broken(receiver, "descriptors were lost: too many, or our limit is reached");
    if (!all_kept)
        return broken(receiver, "more descriptors than any message has");
    return n == 0 ? -ECONNRESET : n;
}

static int check_header(struct receiver *receiver)
{
    const struct vhost_user_header *header = &receiver->message.header;
    if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
        return broken(receiver, "unknown version");
    if (header->flags & VHOST_USER_FLAG_REPLY)
        return broken(receiver, "a reply, where a request is due");
    if (header->flags & ~VHOST_USER_FLAGS_KNOWN)
        return broken(receiver, "unknown flags");
    if (header->size > sizeof(receiver->message.payload))
        return broken(receiver, "payload longer than any message has");
    return 0;
}

int receiver_read(struct receiver *receiver, int socket)
{
    struct message *message = &receiver->message;
    for (;;) {
        size_t header_len = sizeof(message->header);
        bool in_header = receiver->have < header_len;
        size_t end = in_header ? header_len : header_len + message->header.size;
        if (!in_header && receiver->have == end)
            return 1;
        char *into = in_header ? (char *)&message->header + receiver->have
                               : (char *)&message->payload + (receiver->have - header_len);
        ssize_t n = receive(receiver, socket, into, end - receiver->have);
        if (n < 0)
            return (int)n;
        receiver->have += (size_t)n;
        if (in_header && receiver->have == header_len) {
            int r = check_header(receiver);
            if (r != 0)
                return r;
        }
    }
}

int message_send(int socket, const struct message *message)
{
    struct iovec iov[2] = {
        {.iov_base = (void *)(uintptr_t)&message->header, .iov_len = sizeof(message->header)},
        {.iov_base = (void *)(uintptr_t)&message->payload, .iov_len = message->header.size},
    };
    struct msghdr header = {.msg_iov = iov, .msg_iovlen = 2};
    size_t len = iov[0].iov_len + iov[1].iov_len;
    ssize_t n;
    do {
        n = sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)len)
        return 0;
    if (n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK)
        return -EPROTO;
    return errno == EPIPE ? -ECONNRESET : -errno;
}
