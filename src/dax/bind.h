/* Binding from inside the library: what the arena's userfaultfd driver needs beyond oriel_dax_fault(). */
#ifndef ORIEL_DAX_BIND_H
#define ORIEL_DAX_BIND_H

#include <oriel/dax.h>

/*
 * Binds the SAVED part of the slot at window byte `at`, and with the same call of the mapper what goes on from it
 * behind, in window and file, until `limit` bytes. Returns how many slots that were; 0: nothing is SAVED there. Errors
 * as oriel_dax_fault(); -ENODATA only with eof_check.
 */
int64_t dax_bind_ahead(struct oriel_dax *dax, uint64_t at, bool eof_check, uint64_t limit);

/* The first window byte at or behind *at that a SAVED slot shows. False when there is none. */
bool dax_next_saved(struct oriel_dax *dax, uint64_t *at);

/*
 * Calls `call` for the SAVED part of the slot at window byte `at` and, with `behind`, the SAVED slots right behind
 * it, while nobody else can change them, and returns what it returns; 0 when nothing is SAVED there. *end is where that ends.
 */
int dax_with_saved(struct oriel_dax *dax, uint64_t at,
                   int (*call)(void *opaque, uint64_t moffset, uint64_t len), void *opaque, bool behind,
                   uint64_t *end);

#endif
