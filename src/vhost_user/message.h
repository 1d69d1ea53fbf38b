/* Framing: one vhost-user message with its descriptors, to and from a stream socket. */
#ifndef ORIEL_VHOST_USER_MESSAGE_H
#define ORIEL_VHOST_USER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "vhost_user/protocol.h"

struct message {
    struct vhost_user_header header;
    union vhost_user_payload payload;
    int fds[VHOST_USER_FDS_MAX]; /* owned by the message; -1 once a handler took it */
    unsigned fd_count;
};

/* Hands a descriptor out of a message; the caller closes it. */
int message_take_fd(struct message *message, unsigned index);

/* Closes every descriptor that nobody took. */
void message_close_fds(struct message *message);

/* A message that arrives piece by piece. All zero is a receiver at the start of a message. */
struct receiver {
    struct message message;
    size_t have;       /* bytes of header and payload */
    const char *fault; /* what was wrong, after -EPROTO */
};

/*
 * Takes what has arrived, at most to the end of one message. Returns 1 (receiver->message is complete; the
 * caller uses it and calls receiver_reset()) or
 *   -EAGAIN      nothing more has arrived
 *   -ECONNRESET  the peer closed the connection
 *   -EPROTO      no sense can be made of the stream any more: version, size, descriptors; see fault
 */
int receiver_read(struct receiver *receiver, int socket);

/* Closes descriptors and begins with the next message. */
void receiver_reset(struct receiver *receiver);

/*
 * Sends a reply without descriptors; never waits. Errors: -EPROTO (the peer reads nothing: its receive buffer
 * is full), -ECONNRESET and what sendmsg(2) says else.
 */
int message_send(int socket, const struct message *message);

#endif
