/*
 * Files without OPEN: a guest that was told so (ENOSYS) uses files and folders with handle 0, and they are opened
 * here when they are first read. A bounded number stays open, in handles that no guest was given.
 *
 * Only for shares where nothing can go wrong with that (session.implicit): read-only, so that no file that is open
 * in the guest can lose its last name through it, and cached always, so that the guest wants no word at each open.
 */
#ifndef ORIEL_FUSE_IMPLICIT_OPEN_H
#define ORIEL_FUSE_IMPLICIT_OPEN_H

#include <stdatomic.h>
#include <stdint.h>

#include "fuse/handle_table.h"

#define IMPLICIT_SLOTS 256

/* The fh that is open for one of the nodes that share a slot; 0 = none. Taken without a lock: a handle that was
 * released meanwhile is simply not found any more. */
struct implicit_open {
    _Atomic uint64_t slots[IMPLICIT_SLOTS];
};

struct request;

/* The node's handle, in use until fuse_handle_put(). -ENFILE, or what opening says. */
int implicit_handle(struct request *r, enum handle_kind kind, struct handle **out);

#endif
