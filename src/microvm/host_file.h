/* Whole files of the host, as the parts of a guest's initial file system need them. */
#ifndef ORIEL_MICROVM_HOST_FILE_H
#define ORIEL_MICROVM_HOST_FILE_H

#include <stddef.h>

/* Reads a regular file of at most 64 MiB; *bytes is NUL-terminated behind its end and the caller's. len may
 * be NULL. Returns 0, -EFBIG, -ENOMEM, -EINVAL (not a regular file), or what open(2) and read(2) say. */
int host_file_read(const char *path, char **bytes, size_t *len);

/* modules.order says NAME.ko also where the file is NAME.ko.xz: *path (allocated) becomes the one that
 * exists. -ENOENT, -ENOMEM. */
int host_file_with_suffix(char **path);

#endif
