/* Extended attributes by name: which of them a guest may use, and what the host calls them. */
#ifndef ORIEL_FUSE_XATTR_NAMES_H
#define ORIEL_FUSE_XATTR_NAMES_H

#include <oriel/xattr_map.h>

#include "fuse/server.h"

/* Settles what the server's map means for ACLs and capabilities. -EINVAL: a map that does not go with posix_acl. */
int xattr_names_init(struct oriel_fuse_server *server);

/*
 * What the host calls the guest's attribute `name`: *out is name itself, or points into `place`.
 * -EOPNOTSUPP, -EPERM, -ENAMETOOLONG: the guest may not have it.
 */
int xattr_host_name(const struct oriel_fuse_server *server, const char *name,
                    char place[ORIEL_XATTR_NAME_SIZE], const char **out);

/* The name under which the guest sees the host's attribute: name or its end. NULL: not at all. */
const char *xattr_guest_name(const struct oriel_fuse_server *server, const char *name);

#endif
