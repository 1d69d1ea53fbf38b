#include "fuse/xattr_names.h"

#include <errno.h>
#include <string.h>

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define CAPABILITY  "security.capability"

static bool has_prefix(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0 && name[strlen(prefix)] != '\0';
}

static bool is_acl(const char *name)
{
    return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
}

/* Without a map. The host's own name spaces are not the guest's, unless the options say so. */
static bool is_allowed(const struct oriel_fuse_server *server, const char *name)
{
    if (has_prefix(name, "user."))
        return true;
    if (has_prefix(name, "security."))
        return server->options.security_xattr || server->options.security_label;
    if (has_prefix(name, "trusted."))
        return server->options.trusted_xattr;
    return server->options.posix_acl && is_acl(name);
}

/* With or without a map: a list that is kept and not obeyed would promise what does not hold. */
static bool is_idle_acl(const struct oriel_fuse_server *server, const char *name)
{
    return !server->options.posix_acl && is_acl(name);
}

int xattr_names_init(struct oriel_fuse_server *server)
{
    const struct oriel_xattr_map *map = server->options.xattr_map;
    char *moved = server->moved_capability;
    if (map == NULL || !server->options.xattr)
        return 0;
    if (server->options.posix_acl &&
        (!oriel_xattr_map_keeps(map, ACL_ACCESS) || !oriel_xattr_map_keeps(map, ACL_DEFAULT)))
        return -EINVAL;
    if (oriel_xattr_map_to_host(map, CAPABILITY, moved) != 0 || strcmp(moved, CAPABILITY) == 0)
        moved[0] = '\0';
    return 0;
}

int xattr_host_name(const struct oriel_fuse_server *server, const char *name,
                    char place[ORIEL_XATTR_NAME_SIZE], const char **out)
{
    const struct oriel_xattr_map *map = server->options.xattr_map;
    *out = map == NULL ? name : place;
    if (map == NULL)
        return is_allowed(server, name) ? 0 : -EOPNOTSUPP;
    if (is_idle_acl(server, name))
        return -EOPNOTSUPP;
    return oriel_xattr_map_to_host(map, name, place);
}

const char *xattr_guest_name(const struct oriel_fuse_server *server, const char *name)
{
    const struct oriel_xattr_map *map = server->options.xattr_map;
    const char *guest;
    if (map == NULL)
        return is_allowed(server, name) ? name : NULL;
    if (oriel_xattr_map_to_guest(map, name, &guest) != 0 || is_idle_acl(server, guest))
        return NULL;
    return guest;
}
