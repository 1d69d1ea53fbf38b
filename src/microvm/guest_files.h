/* The guest's initial file system: busybox, our init, the modules, and the plan for this run. */
#ifndef ORIEL_MICROVM_GUEST_FILES_H
#define ORIEL_MICROVM_GUEST_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "microvm/initramfs.h"
#include "microvm/vm_error.h"

struct guest_mount {
    const char *tag;
    const char *path; /* absolute */
    bool dax, read_only;
};

struct guest_plan {
    const char *modules_dir; /* lib/modules/VERSION of the kernel; NULL: load none */
    const struct guest_mount *mounts;
    size_t mount_count;
    const char *directory;  /* of the command, or NULL */
    char *const *argv;      /* NULL-terminated; empty: a shell */
    const char *stdin_kind; /* BOOT_STDIN_* */
    const char *term;       /* TERM of the command, or NULL */
    unsigned rows, columns; /* 0: not known */
};

/* The caller destroys *fs after a success. */
int guest_files_build(const struct guest_plan *plan, struct initramfs *fs, struct vm_error *error);

/* The init program as it was built in. */
extern const unsigned char guest_init_start[], guest_init_end[];

#endif
