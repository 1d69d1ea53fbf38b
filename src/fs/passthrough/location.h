/*
 * Where inodes without a file handle are: a name in a folder that the guest knows too.
 *
 * Such an inode is opened again by walking down from the nearest folder that has a descriptor, comparing each
 * step with the identity that is known: anything else found there is -ESTALE. Names that the guest removes
 * are pinned by a descriptor first.
 */
#ifndef ORIEL_FS_PASSTHROUGH_LOCATION_H
#define ORIEL_FS_PASSTHROUGH_LOCATION_H

#include <sys/stat.h>

#include "fs/passthrough/inode.h"
#include "fs/passthrough/share.h"

/* Gives a new inode its location and enters it where location_moved() finds it. -ENOMEM. */
int location_set(struct passthrough *pt, struct pt_inode *inode, struct pt_inode *parent, const char *name);

/* The server forgets the inode. It may stay as somebody's parent. */
void location_forget(struct passthrough *pt, struct pt_inode *inode);
/* With the inode's memory. Returns the parent, of which one user has to go; or NULL. */
struct pt_inode *location_free(struct pt_inode *inode);

void location_table_free(struct passthrough *pt);

/* This file was seen at this name: an inode that has another location gets this one. */
void location_seen(struct passthrough *pt, struct pt_inode *parent, const char *name,
                   const struct oriel_fs_identity *identity);

/* The inode's descriptor, by walking down. -ESTALE. */
int location_open(struct passthrough *pt, struct pt_inode *inode, struct fd_ref *ref);

/* A name is about to be removed or replaced: holds on to the inode that is known by it, if any. */
void location_pin(struct passthrough *pt, struct pt_inode *parent, int dir_fd, const char *name);

#endif
