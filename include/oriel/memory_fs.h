/*
 * The memory back-end: a RAM file system with all operations of fs.h.
 *
 * Data lives in memfds, so that files can be mapped through the DAX window. No file costs a descriptor until
 * it is mapped: a handful of memfds hold the data of all, each file in a range of offsets of its own. A file
 * that is mapped (map_open) gets a memfd for itself and keeps it for as long as it exists.
 *
 * What is counted against max_bytes: memory of file data by whole pages of 4 KiB (holes are free), names and
 * values of xattrs, targets of symbolic links. A mapped file is counted up to its end, holes too, because
 * stores to a mapping ask nobody. Against max_inodes: files of every kind, and each further hard link.
 *
 * Limits: a file is at most 1 TiB (-EFBIG); xattr values 64 KiB, names of one file 64 KiB together; 65,536
 * file lock records (-ENOLCK). Permissions are the guest kernel's business (default_permissions); owners,
 * groups, modes, sgid folders, umask and POSIX ACLs are kept as on any other file system.
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
    uint64_t max_bytes;               /* over it: -ENOSPC; 0 = 64 MiB */
    uint64_t max_inodes;              /* over it: -ENOSPC; 0 = 65,536 */
    uint64_t user_bytes, user_inodes; /* per owner uid; over it: -EDQUOT; 0 = no such bound */
    uint32_t root_mode;               /* permission bits of the root folder; 0 = 0755 */
    uint32_t root_uid, root_gid;
    struct oriel_trace *trace;
    uint64_t max_mapped_files; /* files that were ever mapped and still exist, one descriptor each; over it a
                                  mapping fails with -ENFILE; 0 = half of RLIMIT_NOFILE as it is now */
};

/*
 * Errors: -EINVAL, -ENOMEM, -EMFILE, -ENFILE, -EFBIG (the process has a file size limit, RLIMIT_FSIZE). The
 * caller owns out until a server takes it over.
 */
int oriel_memory_fs_create(const struct oriel_memory_fs_options *options, struct oriel_fs *out);

#ifdef __cplusplus
}
#endif

#endif
