/* Open files and folders, and the list of them that an inode has. */
#ifndef ORIEL_FS_PASSTHROUGH_HANDLE_H
#define ORIEL_FS_PASSTHROUGH_HANDLE_H

#include <stdbool.h>

#include "fs/passthrough/share.h"

/* A handle with one descriptor that has taken from the budget (fd -1: none yet). NULL: out of memory. */
struct pt_handle *handle_new(int fd, bool writable);

/* Lets operations on the inode borrow the handle's descriptor, if it has one. Once only. */
void handle_attach(struct passthrough *pt, struct pt_handle *handle, struct pt_inode *inode);

/* The inode goes: handles that are still on its list belong to none. Only a file that was created while
 * another thread looked it up has one then: the other's inode is the file's. */
void handles_leave(struct passthrough *pt, struct pt_inode *inode);

/* A handle of the inode, whose descriptor stays open until handle_unborrow(); or NULL. */
struct pt_handle *handle_borrow(struct passthrough *pt, struct pt_inode *inode);
void handle_unborrow(struct passthrough *pt, struct pt_handle *handle);

/* The owner is done with it. */
void handle_release(struct passthrough *pt, struct pt_handle *handle);

#endif
