/* Dropping every slot. */
#ifndef ORIEL_DAX_DROP_H
#define ORIEL_DAX_DROP_H

#include "dax/session.h"

/* Unmaps and forgets all; the caller has closed the gate. */
void dax_drop_all(struct oriel_dax *dax);

#endif
