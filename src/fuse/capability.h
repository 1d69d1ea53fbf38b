/*
 * File capabilities under another name (CVE-2021-20263).
 *
 * A kernel takes security.capability away when a file's content or owner changes, or anybody who may write to
 * a program could put his own code under its capabilities. The guest's leaves that to the server
 * (FUSE_HANDLE_KILLPRIV_V2), the host's knows the attribute by that one name only. So where the server's map moves it, the
 * server itself removes it, before the change is made.
 *
 * Not remembered from one write to the next: another guest that shares the folder, or the host, may set the attribute at any
 * time without this server, and a write that then spared it would be just what must not be. So each costs a
 * GETXATTR of the back-end, and a REMOVEXATTR where there is something to remove; that alone would take the inode's lock.
 * A guest's kernel lets nobody set the attribute while it writes. Two guests are not kept apart like that: what one sets in
 * the moment between the other one's removal and its write stays, as if it had been set after it.
 *
 * What a guest stores through the DAX window does not come by here: its kernel asks for REMOVEXATTR before a write() that
 * goes there, and stores to a mapping end no capabilities on any file system.
 */
#ifndef ORIEL_FUSE_CAPABILITY_H
#define ORIEL_FUSE_CAPABILITY_H

#include "fuse/request.h"

/* Removes the attribute whatever it takes. A negative errno: it may still be there. */
int capability_remove(struct request *r, void *inode);

/* To be called before content or owner of the back-end's inode change; not 0: they must not. */
static inline int capability_end(struct request *r, void *inode)
{
    return __builtin_expect(r->server->moved_capability[0] == '\0', 1) ? 0 : capability_remove(r, inode);
}

#endif
