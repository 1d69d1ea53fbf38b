/* Replies that make a node known to the guest. */
#ifndef ORIEL_FUSE_REPLY_ENTRY_H
#define ORIEL_FUSE_REPLY_ENTRY_H

#include "fuse/request.h"

/*
 * Answers with the node of an entry that the back-end found or made, counting one lookup; consumes the entry
 * in any case. parent and name as inode_open() wants them. When the reply can't be written the lookup is taken
 * back. 0 or a negative errno.
 */
int reply_entry(struct request *r, void *parent, const char *name, struct oriel_fs_entry *entry);

#endif
