/* The dirty log: a bitmap shared with the front-end, one bit for each 4 KiB page of guest memory we wrote. */
#ifndef ORIEL_VHOST_USER_LOG_H
#define ORIEL_VHOST_USER_LOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vhost_user/mapped_ranges.h"
#include "vhost_user/protocol.h"

#define DIRTY_LOG_PAGE UINT64_C(4096)

struct dirty_log {
    atomic_bool on;               /* the front-end acknowledged VHOST_F_LOG_ALL */
    pthread_rwlock_t lock;        /* of what is below; readers mark pages */
    struct mapped_ranges *ranges; /* the log is one of them while it is mapped */
    uint8_t *bits;                /* NULL: no log */
    uint64_t size;                /* bytes of bits */
    uint64_t mapped_len;          /* in whole pages of the file */
    int event_fd;                 /* signalled after pages were marked, or -1 */
};

int dirty_log_init(struct dirty_log *log, struct mapped_ranges *ranges);
void dirty_log_destroy(struct dirty_log *log);

/*
 * Maps the log from fd (which stays the caller's) instead of an earlier one. Errors: -EINVAL (empty, wraps,
 * offset not at a page, file shorter than it says or no regular file), -ENOSPC (too much is mapped), and what
 * mmap(2) says. *fault tells why.
 */
int dirty_log_set(struct dirty_log *log, const struct vhost_user_log *wire, int fd, const char **fault);

/* Takes event_fd over; -1 takes it away. */
void dirty_log_set_event(struct dirty_log *log, int event_fd);

void dirty_log_enable(struct dirty_log *log, bool on);
void dirty_log_clear(struct dirty_log *log);

/* True when a log is mapped whose last bit is that of page (end - 1) or later. */
bool dirty_log_covers(struct dirty_log *log, uint64_t end);

/* Marks the pages of [address, address + len); those beyond the log are left out. Any thread. */
void dirty_log_mark(struct dirty_log *log, uint64_t address, uint64_t len);

#endif
