/* Messages whose form is wrong, by what they are about, and what they are made with. */
#ifndef ORIEL_TESTS_BAD_MESSAGES_H
#define ORIEL_TESTS_BAD_MESSAGES_H

#include "frontend.h"

#define QUEUES 3 /* the rings that run; the next one is free for bad messages */

/* A message about to be sent; descriptors in `fds` are closed after it. */
struct bad {
    uint32_t request;
    char payload[1024];
    size_t len;
    int fds[64];
    unsigned fd_count;
};

struct bad_case {
    const char *name;
    void (*build)(struct frontend *fe, struct bad *bad);
    bool asks; /* the message has a reply of its own: an error can only end the connection */
};

struct bad_kind {
    const struct bad_case *cases;
    size_t count;
};

extern const struct bad_kind bad_device_messages, bad_memory_messages, bad_ring_messages;

/* ---- building blocks ---- */

void bad_put(struct bad *bad, uint32_t request, const void *payload, size_t len);
void bad_put_u64(struct bad *bad, uint32_t request, uint64_t value);
void bad_put_state(struct bad *bad, uint32_t request, uint32_t index, uint32_t num);
/* Takes the descriptor. */
void bad_add_fd(struct bad *bad, int fd);
/* A file to be guest memory: its descriptor, or -1. */
int bad_new_memory(size_t len);

#endif
