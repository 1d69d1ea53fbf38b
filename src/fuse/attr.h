/* From a back-end's attributes to the wire. */
#ifndef ORIEL_FUSE_ATTR_H
#define ORIEL_FUSE_ATTR_H

#include "fuse/server.h"
#include "fuse/wire.h"

/* What the inode numbers of the node's file system are XORed with: 0, unless it is another one than the root's and the
 * guest shows both as one, because it knows no submounts. Programs that meet a folder's number again below it take that
 * for a loop, and roots of file systems tend to have the same one. */
uint64_t attr_ino_salt(const struct oriel_fuse_server *server, const struct node *node);

void attr_to_wire(const struct oriel_fuse_server *server, const struct node *node,
                  const struct oriel_fs_attr *attr, struct wire_attr *out);
void attr_to_statx(const struct oriel_fuse_server *server, const struct node *node,
                   const struct oriel_fs_attr *attr, struct wire_statx *out);
/* node: the entry's own. */
void attr_to_entry(const struct oriel_fuse_server *server, const struct node *node,
                   const struct oriel_fs_attr *attr, struct wire_entry_out *out);

#endif
