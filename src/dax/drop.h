/* Dropping every slot. The caller has closed the gate. */
#ifndef ORIEL_DAX_DROP_H
#define ORIEL_DAX_DROP_H

#include "dax/session.h"

/* Unmaps all that is shown; the slots stay, SAVED. With an error of the mapper it goes on and returns the first. */
int dax_unmap_all(struct oriel_dax *dax);

/* Forgets all slots. */
void dax_forget_all(struct oriel_dax *dax);

#endif
