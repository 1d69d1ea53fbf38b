/* What may be a name: the one place that decides it. */
#ifndef ORIEL_FUSE_NAMES_H
#define ORIEL_FUSE_NAMES_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "fuse/wire.h"

static inline bool name_is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/*
 * A name of a folder's entry is one component: not empty, no '/', not "." or "..", at most 255 bytes. name is
 * NUL-terminated at len. 0, -EINVAL or -ENAMETOOLONG.
 */
static inline int name_check(const char *name, size_t len)
{
    if (len > FUSE_NAME_MAX)
        return -ENAMETOOLONG;
    if (len == 0 || name_is_dots(name) || memchr(name, '/', len) != NULL)
        return -EINVAL;
    return 0;
}

#endif
