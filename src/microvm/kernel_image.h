/*
 * A guest kernel file and how it is brought into guest memory.
 *
 * Two kinds are taken: a bzImage (what distributions install as vmlinuz; entered by the 64-bit boot protocol)
 * and an uncompressed ELF vmlinux with a PVH note (entered without any decompression). Both start with the
 * same things in memory: command line, initial file system, memory map.
 */
#ifndef ORIEL_MICROVM_KERNEL_IMAGE_H
#define ORIEL_MICROVM_KERNEL_IMAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "microvm/ram.h"
#include "microvm/vm_error.h"

enum kernel_kind {
    KERNEL_BZIMAGE,
    KERNEL_PVH,
};

struct kernel_image {
    const char *path; /* the caller's, for messages */
    int fd;
    uint64_t len;
    enum kernel_kind kind;
    char version[128]; /* release, as `uname -r` says it; empty when the file does not tell */
};

/* What the processor is to start with. */
struct boot_entry {
    enum kernel_kind kind;
    uint64_t rip;
    uint64_t info; /* address of boot_params (RSI) or of the PVH start info (RBX) */
};

struct boot_payload {
    const char *cmdline;
    const void *initramfs;
    uint64_t initramfs_len;
};

/* Opens and recognizes the file. -EINVAL, or what open(2) says; the line in error names the file. */
int kernel_image_open(const char *path, struct kernel_image *image, struct vm_error *error);
void kernel_image_close(struct kernel_image *image);

/* Copies kernel, command line and initial file system into RAM and writes the boot information. */
int kernel_image_load(const struct kernel_image *image, const struct ram *ram,
                      const struct boot_payload *payload, struct boot_entry *entry, struct vm_error *error);

/* ---- between the parts of the loader ---- */

/* Reads exactly len bytes at offset; -EINVAL with a line when the file is shorter. */
int kernel_image_read(const struct kernel_image *image, uint64_t offset, void *to, uint64_t len,
                      struct vm_error *error);

int bzimage_recognize(struct kernel_image *image, struct vm_error *error);
int bzimage_load(const struct kernel_image *image, const struct ram *ram, const struct boot_payload *payload,
                 struct boot_entry *entry, struct vm_error *error);
int pvh_recognize(struct kernel_image *image, struct vm_error *error);
int pvh_load(const struct kernel_image *image, const struct ram *ram, const struct boot_payload *payload,
             struct boot_entry *entry, struct vm_error *error);

/* Puts the initial file system as high as it goes below `limit`, above `kernel_end`; its address goes to
 * *gpa. */
int place_initramfs(const struct ram *ram, const struct boot_payload *payload, uint64_t kernel_end,
                    uint64_t limit, uint64_t *gpa, struct vm_error *error);
int place_cmdline(const struct ram *ram, const char *cmdline, struct vm_error *error);

#endif
