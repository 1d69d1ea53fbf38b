/* Builds a cpio archive (newc) in memory: the guest's initial file system. */
#ifndef ORIEL_MICROVM_INITRAMFS_H
#define ORIEL_MICROVM_INITRAMFS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct archive;

struct initramfs {
    struct archive *archive;
    uint8_t *bytes; /* the archive, complete after initramfs_finish() */
    size_t len, capacity;
};

/* All return 0, -ENOMEM, or -EIO when the archive library refuses something. After an error only destroy is
 * useful. */
int initramfs_create(struct initramfs *fs);
void initramfs_destroy(struct initramfs *fs);

/* Paths have no leading slash; a folder comes before what is in it. */
int initramfs_add_folder(struct initramfs *fs, const char *path, mode_t mode);
int initramfs_add_file(struct initramfs *fs, const char *path, mode_t mode, const void *data, size_t len);
int initramfs_add_link(struct initramfs *fs, const char *path, const char *target);
int initramfs_add_char_device(struct initramfs *fs, const char *path, mode_t mode, unsigned major,
                              unsigned minor);

int initramfs_finish(struct initramfs *fs);

#endif
