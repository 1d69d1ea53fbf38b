/* statx(2): attributes, and which file a name or descriptor is. */
#ifndef ORIEL_FS_PASSTHROUGH_IDENTITY_H
#define ORIEL_FS_PASSTHROUGH_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/passthrough/share.h"

#define HANDLE_BYTES_MAX 128 /* MAX_HANDLE_SZ of the kernel */

/* struct file_handle with room. */
struct handle_buffer {
    uint32_t bytes;
    int32_t type;
    unsigned char data[HANDLE_BYTES_MAX];
};

/* Never follows a link or triggers an automount. name "" = dir_fd itself. */
int identity_statx(int dir_fd, const char *name, struct statx *out);

/* True when a and b are the same file, as far as statx tells; generation_of b is not compared where it needs
 * the handle. */
bool identity_matches(const struct pt_inode *inode, const struct statx *stx);

void identity_of_statx(const struct statx *stx, struct oriel_fs_identity *out);
uint64_t identity_of_handle(const struct handle_buffer *handle);
void attr_of_statx(const struct statx *stx, struct oriel_fs_attr *out);

/* The file handle of a name in a folder, or of the descriptor itself (name ""). *mount_id is that of its
 * mount. -EOPNOTSUPP where the file system has none. */
int handle_of_name(int dir_fd, const char *name, struct handle_buffer *out, uint64_t *mount_id);

/* True: the handle has this inode number where the usual file systems put it: first, or behind the generation. */
bool handle_has_number(const struct handle_buffer *handle, uint64_t ino);

/* A file system where the birth time is that of the inode and never changes. */
bool filesystem_has_stable_birth_time(int fd);
/* A mount with `nodev`. */
bool mount_has_no_devices(int fd);
/* A file system that reports write errors at close. */
bool filesystem_flushes_on_close(int fd);

#endif
