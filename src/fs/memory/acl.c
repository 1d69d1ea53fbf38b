#include "fs/memory/acl.h"

#include <errno.h>

#include "base/le.h"

#define VERSION     2
#define HEADER_SIZE 4
#define ENTRY_SIZE  8

enum { USER_OBJ = 0x01, USER = 0x02, GROUP_OBJ = 0x04, GROUP = 0x08, MASK = 0x10, OTHER = 0x20 };

static size_t entry_count(size_t size)
{
    return (size - HEADER_SIZE) / ENTRY_SIZE;
}

static uint8_t *entry_at(const void *acl, size_t i)
{
    return (uint8_t *)(uintptr_t)acl + HEADER_SIZE + i * ENTRY_SIZE;
}

static uint32_t tag_of(const uint8_t *entry)
{
    return le16_load(entry);
}

static uint32_t perm_of(const uint8_t *entry)
{
    return le16_load(entry + 2);
}

/* In a valid list the owner comes first, everybody else last, and before that the mask, or where there is
 * none (then there are three entries) the group: what the group permission bits stand for. */
static uint8_t *owner_entry(const void *acl)
{
    return entry_at(acl, 0);
}

static uint8_t *group_class(const void *acl, size_t size)
{
    return entry_at(acl, entry_count(size) - 2);
}

static uint8_t *other_entry(const void *acl, size_t size)
{
    return entry_at(acl, entry_count(size) - 1);
}

/* Entries come in the order of their tags; users and groups as often as one likes, the others at most once.
 */
int memfs_acl_check(const void *acl, size_t size, size_t *entries)
{
    *entries = 0;
    if (size == 0)
        return 0;
    if (size < HEADER_SIZE || (size - HEADER_SIZE) % ENTRY_SIZE != 0 || le32_load(acl) != VERSION)
        return -EINVAL;
    uint32_t seen = 0;
    for (size_t i = 0; i < entry_count(size); i++) {
        uint32_t tag = tag_of(entry_at(acl, i));
        bool known = tag != 0 && (tag & (tag - 1)) == 0 && tag <= OTHER;
        bool repeats = (tag == USER || tag == GROUP) && (seen >> 1) < tag;
        if (!known || perm_of(entry_at(acl, i)) > 7 || (seen >= tag && !repeats))
            return -EINVAL;
        seen |= tag;
    }
    *entries = entry_count(size);
    uint32_t required = USER_OBJ | GROUP_OBJ | OTHER | ((seen & (USER | GROUP)) != 0 ? MASK : 0);
    return *entries == 0 || (seen & required) == required ? 0 : -EINVAL;
}

bool memfs_acl_is_plain(size_t size)
{
    return entry_count(size) == 3;
}

uint32_t memfs_acl_mode(const void *acl, size_t size)
{
    return perm_of(owner_entry(acl)) << 6 | perm_of(group_class(acl, size)) << 3 |
           perm_of(other_entry(acl, size));
}

void memfs_acl_set_mode(void *acl, size_t size, uint32_t mode)
{
    le16_store(owner_entry(acl) + 2, mode >> 6 & 7);
    le16_store(group_class(acl, size) + 2, mode >> 3 & 7);
    le16_store(other_entry(acl, size) + 2, mode & 7);
}

uint32_t memfs_acl_inherit(void *acl, size_t size, uint32_t mode)
{
    uint32_t both = mode & memfs_acl_mode(acl, size);
    memfs_acl_set_mode(acl, size, both);
    return both;
}
