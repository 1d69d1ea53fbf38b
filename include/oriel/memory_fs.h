/* The memory back-end: a RAM file system on memfds, so that its files can be mapped through the DAX window.
 */
#ifndef ORIEL_MEMORY_FS_H
#define ORIEL_MEMORY_FS_H

#include <stddef.h>
#include <stdint.h>

#include <oriel/fs.h>
#include <oriel/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

struct oriel_memory_fs_options {
    size_t size;                      /* sizeof(struct oriel_memory_fs_options) */
    uint64_t max_bytes;               /* file data; over it: -ENOSPC; 0 = 64 MiB */
    uint64_t max_inodes;              /* over it: -ENOSPC; 0 = 65,536 */
    uint64_t user_bytes, user_inodes; /* per owner uid; over it: -EDQUOT; 0 = no such bound */
    uint32_t root_mode;               /* permission bits of the root folder; 0 = 0755 */
    uint32_t root_uid, root_gid;
    struct oriel_trace *trace;
};

/* Errors: -EINVAL, -ENOMEM. The caller owns out until a server takes it over. */
int oriel_memory_fs_create(const struct oriel_memory_fs_options *options, struct oriel_fs *out);

#ifdef __cplusplus
}
#endif

#endif
