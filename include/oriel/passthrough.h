/*
 * The passthrough back-end: shares a host folder.
 *
 * Every host access is a directory descriptor and one checked component, never a path; symbolic links are
 * never followed; only regular files and folders are ever opened.
 */
#ifndef ORIEL_PASSTHROUGH_H
#define ORIEL_PASSTHROUGH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <oriel/fs.h>
#include <oriel/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

enum oriel_file_handles {
    ORIEL_FILE_HANDLES_PREFER =
        0, /* name_to_handle_at where the file system and our rights allow, else descriptors */
    ORIEL_FILE_HANDLES_NEVER = 1,
    ORIEL_FILE_HANDLES_MANDATORY = 2, /* fail (at create, or for that submount) where there are none */
};

struct oriel_passthrough_options {
    size_t size; /* sizeof(struct oriel_passthrough_options) */
    const char
        *dir;   /* the folder; opened once, at create; a symbolic link in the last component is refused */
    int dir_fd; /* used instead of dir when dir is NULL; stays the caller's */
    bool read_only;
    bool xattr; /* offer extended attributes */
    bool posix_acl;
    bool submounts; /* cross mount points and announce them; else they appear empty as the covered folder's
                       own content */
    bool switch_credentials; /* act as the caller (needs CAP_SETUID, CAP_SETGID); else as the process */
    enum oriel_file_handles file_handles;
    uint64_t fd_budget; /* descriptors this back-end may hold, at most; 0 = from RLIMIT_NOFILE, leaving a
                           reserve */
    struct oriel_trace *trace;
};

/*
 * Errors: -EINVAL (options), -ENOENT, -ENOTDIR, -ELOOP (dir is a symbolic link), -EACCES, -EOPNOTSUPP
 * (handles mandatory but not to be had), -ENOMEM, -EMFILE. The caller owns out until a server takes it over.
 */
int oriel_passthrough_create(const struct oriel_passthrough_options *options, struct oriel_fs *out);

#ifdef __cplusplus
}
#endif

#endif
