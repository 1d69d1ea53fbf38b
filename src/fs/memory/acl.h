/*
 * POSIX access control lists as they stand in the xattrs system.posix_acl_access and
 * system.posix_acl_default: u32 version 2, then entries {u16 tag, u16 perm, u32 id}, little-endian (Linux
 * include/uapi/linux/posix_acl_xattr.h). The guest's kernel decides by them; the server keeps them and the
 * permission bits in step (acl(5)).
 */
#ifndef ORIEL_FS_MEMORY_ACL_H
#define ORIEL_FS_MEMORY_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMFS_ACL_ACCESS  "system.posix_acl_access"
#define MEMFS_ACL_DEFAULT "system.posix_acl_default"

/* -EINVAL: not a valid list. *entries: 0 for an empty one, which stands for no list. */
int memfs_acl_check(const void *acl, size_t size, size_t *entries);
/* True when the permission bits can say all of it. */
bool memfs_acl_is_plain(size_t size);
/* The permission bits (0777) that a valid list gives. */
uint32_t memfs_acl_mode(const void *acl, size_t size);
/* chmod: brings a valid list in step with the permission bits. */
void memfs_acl_set_mode(void *acl, size_t size, uint32_t mode);
/* A file is made with permission bits `mode` where `acl` is a copy of the folder's default list: turns the
 * copy into the file's own list and returns its permission bits. */
uint32_t memfs_acl_inherit(void *acl, size_t size, uint32_t mode);

#endif
