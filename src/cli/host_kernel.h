/* Which kernel to boot when none is named, and where a kernel's modules are. */
#ifndef ORIEL_CLI_HOST_KERNEL_H
#define ORIEL_CLI_HOST_KERNEL_H

#include "microvm/kernel_image.h"
#include "microvm/vm_error.h"

/* The newest vmlinuz-VERSION in `folder`; *path is the caller's. */
int newest_kernel(const char *folder, char **path, struct vm_error *error);

/*
 * The modules folder of a kernel: lib/modules/VERSION or usr/lib/modules/VERSION beside the folder the kernel
 * is in, `modules` in that folder, or the host's own. *path is the caller's.
 */
int find_modules(const struct kernel_image *kernel, char **path, struct vm_error *error);

#endif
