/* Extended attributes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "fuse/ops.h"
#include "fuse/xattr_names.h"

#define VALUE_MAX 65536 /* XATTR_SIZE_MAX and XATTR_LIST_MAX of Linux */
#define SMALL     4096

/* The attribute that the request names, as the host calls it: *name points into the request or into `place`. */
static int take_name(struct request *r, char place[ORIEL_XATTR_NAME_SIZE], const char **name)
{
    size_t len;
    const char *told = request_string(r, &len);
    if (told == NULL || len == 0)
        return request_bad(r, -EINVAL);
    if (len > FUSE_NAME_MAX)
        return request_bad(r, -ENAMETOOLONG);
    return xattr_host_name(r->server, told, place, name);
}

/* ---- requests ---- */

int op_setxattr(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    if (!r->server->options.xattr)
        return -ENOSYS;
    size_t len =
        session_has(r->server, FUSE_SETXATTR_EXT) ? sizeof(struct wire_setxattr_in) : WIRE_SETXATTR_IN_SHORT;
    if (r->args_left < len)
        return request_bad(r, -EINVAL);
    struct wire_setxattr_in in = {0};
    memcpy(&in, request_args(r, len), len);
    char place[ORIEL_XATTR_NAME_SIZE];
    const char *name;
    int rc = take_name(r, place, &name);
    if (rc != 0)
        return rc;
    if (in.size > VALUE_MAX)
        return request_bad(r, -E2BIG);
    if (in.size > r->args_left)
        return request_bad(r, -EINVAL);
    const void *value = request_args(r, in.size);
    return fs->ops->setxattr(fs->fs, &r->caller, r->node->inode, name, value, in.size, in.flags,
                             (in.setxattr_flags & FUSE_XATTR_KILL_SGID) != 0);
}

static int reply_size(struct request *r, ssize_t size)
{
    struct wire_getxattr_out out = {.size = (uint32_t)size};
    return reply_data(r, &out, sizeof(out));
}

/* A place for at most `size` bytes: the small one, or one of fixed size from the heap. */
static void *place_for(size_t size, void *small, void **heap)
{
    if (size <= SMALL)
        return small;
    *heap = malloc(VALUE_MAX);
    return *heap;
}

int op_getxattr(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_getxattr_in *in = request_args(r, sizeof(*in));
    if (!r->server->options.xattr)
        return -ENOSYS;
    char place[ORIEL_XATTR_NAME_SIZE];
    const char *name;
    int rc = take_name(r, place, &name);
    if (rc == -EPERM) /* what a guest may not have is not there: `ls -l` would complain of each file else */
        return -ENODATA;
    if (rc != 0)
        return rc;
    char small[SMALL];
    cleanup_free void *heap = NULL;
    size_t size = min_u64(in->size, VALUE_MAX);
    void *value = size == 0 ? NULL : place_for(size, small, &heap);
    if (size != 0 && value == NULL)
        return -ENOMEM;
    ssize_t n = fs->ops->getxattr(fs->fs, &r->caller, r->node->inode, name, value, size);
    if (n < 0)
        return (int)n;
    return size == 0 ? reply_size(r, n) : reply_data(r, value, (size_t)n);
}

/* Makes the host's list the guest's, where it is: each name becomes its end, or goes. Returns what is left. */
static size_t filter(const struct oriel_fuse_server *server, char *names, size_t len)
{
    size_t kept = 0;
    for (size_t at = 0; at < len;) {
        size_t n = strnlen(names + at, len - at);
        if (n == len - at)
            break;
        const char *shown = xattr_guest_name(server, names + at);
        at += n + 1;
        if (shown == NULL)
            continue;
        size_t shown_len = (size_t)(names + at - shown);
        memmove(names + kept, shown, shown_len);
        kept += shown_len;
    }
    return kept;
}

/* The whole list is fetched in any case: how long it is shows only when it is filtered. */
int op_listxattr(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_getxattr_in *in = request_args(r, sizeof(*in));
    if (!r->server->options.xattr)
        return -ENOSYS;
    char small[SMALL];
    cleanup_free void *heap = NULL;
    char *names = small;
    ssize_t n = fs->ops->listxattr(fs->fs, &r->caller, r->node->inode, names, SMALL);
    if (n == -ERANGE) {
        names = place_for(VALUE_MAX, small, &heap);
        if (names == NULL)
            return -ENOMEM;
        n = fs->ops->listxattr(fs->fs, &r->caller, r->node->inode, names, VALUE_MAX);
    }
    if (n < 0)
        return (int)n;
    size_t len = filter(r->server, names, (size_t)n);
    if (in->size == 0)
        return reply_size(r, (ssize_t)len);
    return len > in->size ? -ERANGE : reply_data(r, names, len);
}

int op_removexattr(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    if (!r->server->options.xattr)
        return -ENOSYS;
    char place[ORIEL_XATTR_NAME_SIZE];
    const char *name;
    int rc = take_name(r, place, &name);
    return rc != 0 ? rc : fs->ops->removexattr(fs->fs, &r->caller, r->node->inode, name);
}
