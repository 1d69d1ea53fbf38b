/* Locks of the guest's processes. */
#ifndef ORIEL_FS_PASSTHROUGH_LOCKS_H
#define ORIEL_FS_PASSTHROUGH_LOCKS_H

#include "fs/passthrough/share.h"

/* One lock owner closed the file, or the file itself goes: what it held is released. */
void locks_drop_owner(struct passthrough *pt, const struct pt_inode *inode, uint64_t owner);
/* The last descriptor of an open file is closed. */
void locks_drop_handle(struct passthrough *pt, const struct pt_inode *inode, const struct pt_handle *handle);
void locks_drop_inode(struct passthrough *pt, const struct pt_inode *inode);

#endif
