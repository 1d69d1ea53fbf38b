/* The answer to a request of which a buffer can't be used. */
#ifndef ORIEL_VIRTIO_FAULT_REPLY_H
#define ORIEL_VIRTIO_FAULT_REPLY_H

#include <stdint.h>

#include "virtio/split_queue.h"

/*
 * Writes a FUSE reply with EFAULT into a chain with SPLIT_QUEUE_FAULT. Returns its length for the used ring:
 * 0 when the request's header or the reply's can't be reached, or the operation has no reply.
 */
uint32_t fault_reply(const struct split_queue_chain *chain);

#endif
