/* Finds the modules a guest kernel needs for a share, with what they depend on, in loading order. */
#ifndef ORIEL_MICROVM_KERNEL_MODULES_H
#define ORIEL_MICROVM_KERNEL_MODULES_H

#include <stddef.h>
#include <stdint.h>

#include "microvm/vm_error.h"

#define KERNEL_MODULES_MAX 64

struct kernel_module {
    char name[64];  /* with '_' for '-' */
    uint8_t *bytes; /* an uncompressed ELF object */
    size_t len;
};

struct kernel_modules {
    struct kernel_module loaded[KERNEL_MODULES_MAX];
    size_t count;
};

/*
 * dir is a modules folder (lib/modules/VERSION): modules.builtin and modules.order in it tell what there is.
 * Dependencies are read from the modules themselves, so no depmod run is needed. Modules that are built in
 * are left out. The caller destroys.
 */
int kernel_modules_collect(const char *dir, const char *const *wanted, size_t count,
                           struct kernel_modules *modules, struct vm_error *error);
void kernel_modules_destroy(struct kernel_modules *modules);

/* The value of a key in the .modinfo section of a module, or NULL. Any bytes may be given. */
const char *kernel_module_info(const uint8_t *bytes, size_t len, const char *key);

#endif
