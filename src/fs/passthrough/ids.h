/* User and group ids of the guest and of the host. */
#ifndef ORIEL_FS_PASSTHROUGH_IDS_H
#define ORIEL_FS_PASSTHROUGH_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/passthrough/share.h"

/* Copies and checks the rules of the options. -EINVAL, -ENOMEM. */
int ids_init(struct passthrough *pt);
void ids_destroy(struct passthrough *pt);

/* True when the share has rules at all. */
bool ids_translate(const struct passthrough *pt);

/* -EPERM: the guest may not use this id. (uint32_t)-1 stays what it is. */
int uid_to_host(const struct passthrough *pt, uint32_t guest, uint32_t *host);
int gid_to_host(const struct passthrough *pt, uint32_t guest, uint32_t *host);

/* Owner and group as the guest sees them. */
void attr_to_guest(const struct passthrough *pt, struct oriel_fs_attr *attr);

/* The ids in a POSIX ACL (the value of system.posix_acl_*). -EINVAL: it is none. -EPERM. */
int acl_to_host(const struct passthrough *pt, void *acl, size_t size);
void acl_to_guest(const struct passthrough *pt, void *acl, size_t size);

#endif
