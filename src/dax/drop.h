/* Dropping every slot. The caller has closed the gate. */
#ifndef ORIEL_DAX_DROP_H
#define ORIEL_DAX_DROP_H

#include "dax/session.h"

/*
 * Unmaps all that is shown; the slots stay, SAVED. What the mapper refuses to unmap stays bound; the others are done
 * all the same, and the first error is returned.
 */
int dax_unmap_all(struct oriel_dax *dax);

/*
 * Forgets all slots; those that are still bound only with what_is_shown_too. Their bytes and slots go back to the
 * caps, which then provide for the new ones that the caller is about to publish (within the caps).
 */
void dax_forget_all(struct oriel_dax *dax, bool what_is_shown_too, uint64_t new_bytes, uint64_t new_slots);

#endif
