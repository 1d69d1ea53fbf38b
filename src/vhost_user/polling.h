/*
 * How long to poll a queue before sleeping: pure bookkeeping, no clock and no system calls.
 *
 * A poll pays when the next request comes within it: it saves the sleep here and the wake-up there. It costs
 * processor time when none comes, and where client and server share a core it keeps the very request from
 * being made that it waits for. So AUTO polls only while polls succeed; and it finds out whether they would
 * by trying, ever more rarely while that fails. Short sleeps alone prove nothing: on a shared core every
 * sleep is short.
 */
#ifndef ORIEL_VHOST_USER_POLLING_H
#define ORIEL_VHOST_USER_POLLING_H

#include <stdint.h>

#include <oriel/vhost_user.h>

struct polling {
    enum oriel_poll_mode mode;
    uint32_t max_ns;
    uint32_t credit;      /* AUTO: polls that may still fail before it is given up */
    uint64_t slept_ns;    /* AUTO: spent in short sleeps since polling was given up … */
    uint64_t patience_ns; /* … and how much of that goes by before it is tried again */
};

void polling_init(struct polling *polling, enum oriel_poll_mode mode, uint32_t max_ns);

/* How long to poll now, 0 = sleep at once. */
uint32_t polling_budget(const struct polling *polling);

/* A poll of polling_budget() caught a request, or did not. */
void polling_hit(struct polling *polling);
void polling_miss(struct polling *polling);

/* The thread slept until a kick came, so many times; one of these sleeps took ns. (The clock is not read for every
 * request.) */
void polling_slept(struct polling *polling, uint32_t count, uint64_t ns);

#endif
