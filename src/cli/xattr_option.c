#include "cli/xattr_option.h"

#include <errno.h>
#include <stddef.h>

const char *xattr_option_set(struct xattr_option *option, const char *text)
{
    struct oriel_xattr_map *map;
    int r = oriel_xattr_map_create(text, &map, option->wrong, sizeof(option->wrong));
    if (r == -ENOMEM)
        return "there is no memory for it";
    if (r != 0)
        return option->wrong;
    oriel_xattr_map_destroy(option->map);
    option->map = map;
    return NULL;
}

void xattr_option_destroy(struct xattr_option *option)
{
    oriel_xattr_map_destroy(option->map);
    option->map = NULL;
}

bool xattr_option_keeps_acls(const struct xattr_option *option)
{
    return option->map == NULL || (oriel_xattr_map_keeps(option->map, "system.posix_acl_access") &&
                                   oriel_xattr_map_keeps(option->map, "system.posix_acl_default"));
}
