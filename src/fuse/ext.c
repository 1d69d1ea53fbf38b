/* The extensions behind the names of a creating request: supplementary groups, security label. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/le.h"
#include "fuse/op_table.h"
#include "fuse/request.h"
#include "fuse/xattr_names.h"

#define GROUPS_OFFSET (sizeof(struct wire_ext_header) + sizeof(uint32_t))

static int parse_groups(struct request *r, const uint8_t *block, size_t size)
{
    if (size < GROUPS_OFFSET || r->caller.groups != NULL)
        return -EINVAL;
    uint32_t count = le32_load(block + sizeof(struct wire_ext_header));
    if (count > REQUEST_GROUPS_MAX || count > (size - GROUPS_OFFSET) / sizeof(uint32_t))
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++)
        r->groups[i] = le32_load(block + GROUPS_OFFSET + i * sizeof(uint32_t));
    r->caller.groups = r->groups;
    r->caller.group_count = count;
    return 0;
}

static bool names_a_label(const char *name)
{
    static const char space[] = "security.";
    return strncmp(name, space, sizeof(space) - 1) == 0 && name[sizeof(space) - 1] != '\0';
}

/* One label: size of the value, name, value. Only the first one counts; more are checked and left. */
static int parse_label(struct request *r, const uint8_t **at, size_t *left)
{
    if (*left < sizeof(struct wire_secctx))
        return -EINVAL;
    size_t value_len = le32_load(*at);
    const uint8_t *name = *at + sizeof(struct wire_secctx);
    size_t rest = *left - sizeof(struct wire_secctx);
    size_t name_len = strnlen((const char *)name, rest);
    if (name_len == 0 || name_len > FUSE_NAME_MAX || name_len == rest || value_len > rest - name_len - 1)
        return -EINVAL;
    if (!names_a_label((const char *)name)) /* any other attribute has rules of its own, and SETXATTR */
        return -EINVAL;
    if (r->caller.security_name == NULL) {
        r->caller.security_name = (const char *)name;
        r->caller.security_value = name + name_len + 1;
        r->caller.security_len = value_len;
    }
    size_t used = min_u64(align_up(sizeof(struct wire_secctx) + name_len + 1 + value_len, 8), *left);
    *at += used;
    *left -= used;
    return 0;
}

static int parse_labels(struct request *r, const uint8_t *block, size_t size, uint32_t count)
{
    const uint8_t *at = block + sizeof(struct wire_ext_header);
    size_t left = size - sizeof(struct wire_ext_header);
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = parse_label(r, &at, &left);
    return rc;
}

static int parse_block(struct request *r, const uint8_t *block, size_t size, uint32_t type)
{
    if (type == WIRE_EXT_GROUPS)
        return parse_groups(r, block, size);
    if (type < WIRE_EXT_GROUPS)
        return parse_labels(r, block, size, type);
    return 0; /* of a kind that we don't know */
}

static int parse_blocks(struct request *r, const uint8_t *at, size_t left)
{
    while (left >= sizeof(struct wire_ext_header)) {
        uint32_t size = le32_load(at), type = le32_load(at + 4);
        if (size < sizeof(struct wire_ext_header) || size > left)
            return -EINVAL;
        int rc = parse_block(r, at, size, type);
        if (rc != 0)
            return rc;
        size_t used = min_u64(align_up(size, 8), left);
        at += used;
        left -= used;
    }
    return 0;
}

/* A label is an attribute too, so its name follows the map. One that the map does not support is not set. */
static int map_label(struct request *r)
{
    if (r->caller.security_name == NULL || r->server->options.xattr_map == NULL)
        return 0;
    int rc = xattr_host_name(r->server, r->caller.security_name, r->label, &r->caller.security_name);
    if (rc == -EOPNOTSUPP)
        r->caller.security_name = NULL;
    return rc == -EOPNOTSUPP ? 0 : rc;
}

int request_extensions(struct request *r)
{
    size_t told = (size_t)r->header.total_extlen * 8;
    if (told > r->args_left)
        return request_bad(r, -EINVAL);
    if (!session_has(r->server, FUSE_SECURITY_CTX | FUSE_CREATE_SUPP_GROUP))
        return 0;
    /* Before 7.38 nothing tells the length: the label simply follows the names. */
    size_t len = told != 0 ? told : r->args_left;
    int rc = parse_blocks(r, r->args + r->args_left - len, len);
    if (!session_has(r->server, FUSE_CREATE_SUPP_GROUP)) {
        r->caller.groups = NULL;
        r->caller.group_count = 0;
    }
    if (!session_has(r->server, FUSE_SECURITY_CTX))
        r->caller.security_name = NULL;
    return rc == 0 ? map_label(r) : request_bad(r, rc);
}
