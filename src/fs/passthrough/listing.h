/* The part of a folder's handle that listing it needs. */
#ifndef ORIEL_FS_PASSTHROUGH_LISTING_H
#define ORIEL_FS_PASSTHROUGH_LISTING_H

#include "fs/passthrough/share.h"

struct pt_listing;

struct pt_listing *listing_new(void);
void listing_free(struct passthrough *pt, struct pt_listing *listing);

#endif
