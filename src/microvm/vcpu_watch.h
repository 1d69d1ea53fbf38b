/*
 * Notices a virtual processor that KVM keeps to itself: it faults on a page that never comes, and KVM waits
 * and retries without ever returning from KVM_RUN.
 *
 * That happens past the end of a file the host has truncated. The mapping is still there, so KVM takes the
 * page for one that is being read in (asynchronous page faults, virt/kvm/async_pf.c), stops the processor for
 * a moment, and tries again; EFAULT comes only while the guest has interrupts off. KVM counts the faults, and
 * who takes many is looked at.
 */
#ifndef ORIEL_MICROVM_VCPU_WATCH_H
#define ORIEL_MICROVM_VCPU_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* How often to look. */
#define VCPU_WATCH_INTERVAL_MS 250

struct vcpu_watch {
    int fd;          /* KVM's statistics of the processor, or -1 where it has none */
    uint64_t offset; /* of the number of page faults in it */
    uint64_t last;
};

void vcpu_watch_init(struct vcpu_watch *watch, int vcpu_fd);
void vcpu_watch_destroy(struct vcpu_watch *watch);

/* True when the processor took so many page faults since the last call that it is worth a look; always where
 * that is not known. */
bool vcpu_watch_is_suspect(struct vcpu_watch *watch);

/* Finds the counter `name` in a statistics file (KVM_GET_STATS_FD). False when it is not there or the file is
 * malformed. */
bool vcpu_watch_find_counter(int stats_fd, const char *name, uint64_t *offset);

#endif
