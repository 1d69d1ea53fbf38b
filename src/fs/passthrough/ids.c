#include "fs/passthrough/ids.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"

#define NO_ID UINT32_C(0xffffffff)

/* linux/posix_acl_xattr.h: a header with the version, then entries. */
#define ACL_VERSION     2
#define ACL_HEADER_SIZE 4
#define ACL_ENTRY_SIZE  8
#define ACL_TAG_USER    0x02
#define ACL_TAG_GROUP   0x08

static bool rule_is_valid(const struct oriel_id_rule *rule)
{
    if (rule->count == 0 || (unsigned int)rule->kind > ORIEL_ID_FORBID_GUEST)
        return false;
    bool guest_range = rule->kind != ORIEL_ID_SQUASH_HOST;
    bool host_range = rule->kind != ORIEL_ID_SQUASH_GUEST && rule->kind != ORIEL_ID_FORBID_GUEST;
    /* The last id of a range is at most NO_ID - 1; a range from 0 of all 2^32 - 1 ids is as long as any. */
    if (rule->guest == NO_ID || rule->host == NO_ID)
        return false;
    return (!guest_range || rule->count <= NO_ID - rule->guest) &&
           (!host_range || rule->count <= NO_ID - rule->host);
}

static int copy_rules(const struct oriel_id_rule **rules, size_t count)
{
    if (count == 0) {
        *rules = NULL;
        return 0;
    }
    if (*rules == NULL || count > 1024)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (!rule_is_valid(&(*rules)[i]))
            return -EINVAL;
    }
    struct oriel_id_rule *copy = malloc(count * sizeof(*copy));
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, *rules, count * sizeof(*copy));
    *rules = copy;
    return 0;
}

int ids_init(struct passthrough *pt)
{
    const struct oriel_id_rule *uids = pt->options.uid_rules, *gids = pt->options.gid_rules;
    pt->options.uid_rules = pt->options.gid_rules = NULL;
    int err = copy_rules(&uids, pt->options.uid_rule_count);
    if (err != 0)
        return err;
    pt->options.uid_rules = uids;
    err = copy_rules(&gids, pt->options.gid_rule_count);
    if (err == 0)
        pt->options.gid_rules = gids;
    return err;
}

void ids_destroy(struct passthrough *pt)
{
    free((void *)(uintptr_t)pt->options.uid_rules);
    free((void *)(uintptr_t)pt->options.gid_rules);
}

bool ids_translate(const struct passthrough *pt)
{
    return pt->options.uid_rules != NULL || pt->options.gid_rules != NULL;
}

/* The first rule that speaks of the id counts. */
static int to_host(const struct oriel_id_rule *rules, size_t count, uint32_t id, uint32_t *out)
{
    *out = id;
    if (id == NO_ID)
        return 0;
    for (size_t i = 0; rules != NULL && i < count; i++) {
        const struct oriel_id_rule *rule = &rules[i];
        if (id < rule->guest || id - rule->guest >= rule->count)
            continue;
        switch (rule->kind) {
        case ORIEL_ID_MAP:
        case ORIEL_ID_GUEST:
            *out = rule->host + (id - rule->guest);
            return 0;
        case ORIEL_ID_SQUASH_GUEST:
            *out = rule->host;
            return 0;
        case ORIEL_ID_FORBID_GUEST:
            return -EPERM;
        case ORIEL_ID_HOST:
        case ORIEL_ID_SQUASH_HOST:
            break;
        }
    }
    return 0;
}

static uint32_t to_guest(const struct oriel_id_rule *rules, size_t count, uint32_t id)
{
    for (size_t i = 0; rules != NULL && i < count; i++) {
        const struct oriel_id_rule *rule = &rules[i];
        if (id < rule->host || id - rule->host >= rule->count)
            continue;
        switch (rule->kind) {
        case ORIEL_ID_MAP:
        case ORIEL_ID_HOST:
            return rule->guest + (id - rule->host);
        case ORIEL_ID_SQUASH_HOST:
            return rule->guest;
        case ORIEL_ID_GUEST:
        case ORIEL_ID_SQUASH_GUEST:
        case ORIEL_ID_FORBID_GUEST:
            break;
        }
    }
    return id;
}

int uid_to_host(const struct passthrough *pt, uint32_t guest, uint32_t *host)
{
    return to_host(pt->options.uid_rules, pt->options.uid_rule_count, guest, host);
}

int gid_to_host(const struct passthrough *pt, uint32_t guest, uint32_t *host)
{
    return to_host(pt->options.gid_rules, pt->options.gid_rule_count, guest, host);
}

static uint32_t uid_to_guest(const struct passthrough *pt, uint32_t host)
{
    return to_guest(pt->options.uid_rules, pt->options.uid_rule_count, host);
}

static uint32_t gid_to_guest(const struct passthrough *pt, uint32_t host)
{
    return to_guest(pt->options.gid_rules, pt->options.gid_rule_count, host);
}

void attr_to_guest(const struct passthrough *pt, struct oriel_fs_attr *attr)
{
    if (!ids_translate(pt))
        return;
    attr->uid = uid_to_guest(pt, attr->uid);
    attr->gid = gid_to_guest(pt, attr->gid);
}

int acl_to_host(const struct passthrough *pt, void *acl, size_t size)
{
    unsigned char *bytes = acl;
    if (!ids_translate(pt))
        return 0;
    if (size < ACL_HEADER_SIZE || (size - ACL_HEADER_SIZE) % ACL_ENTRY_SIZE != 0 ||
        le32_load(bytes) != ACL_VERSION)
        return -EINVAL;
    for (size_t at = ACL_HEADER_SIZE; at < size; at += ACL_ENTRY_SIZE) {
        uint16_t tag = le16_load(bytes + at);
        uint32_t id = le32_load(bytes + at + 4);
        int err = tag == ACL_TAG_USER    ? uid_to_host(pt, id, &id)
                  : tag == ACL_TAG_GROUP ? gid_to_host(pt, id, &id)
                                         : 0;
        if (err != 0)
            return err;
        le32_store(bytes + at + 4, id);
    }
    return 0;
}

void acl_to_guest(const struct passthrough *pt, void *acl, size_t size)
{
    unsigned char *bytes = acl;
    if (!ids_translate(pt) || size < ACL_HEADER_SIZE)
        return;
    for (size_t at = ACL_HEADER_SIZE; at + ACL_ENTRY_SIZE <= size; at += ACL_ENTRY_SIZE) {
        uint16_t tag = le16_load(bytes + at);
        uint32_t id = le32_load(bytes + at + 4);
        if (tag == ACL_TAG_USER)
            id = uid_to_guest(pt, id);
        else if (tag == ACL_TAG_GROUP)
            id = gid_to_guest(pt, id);
        le32_store(bytes + at + 4, id);
    }
}
