/* From a back-end's attributes to the wire. */
#ifndef ORIEL_FUSE_ATTR_H
#define ORIEL_FUSE_ATTR_H

#include "fuse/server.h"
#include "fuse/wire.h"

void attr_to_wire(const struct oriel_fuse_server *server, const struct oriel_fs_attr *attr,
                  struct wire_attr *out);
void attr_to_statx(const struct oriel_fs_attr *attr, struct wire_statx *out);
void attr_to_entry(const struct oriel_fuse_server *server, uint64_t nodeid, const struct oriel_fs_attr *attr,
                   struct wire_entry_out *out);

#endif
