/* DIR:TAG[,dax=SIZE][,ro]: a folder that a guest is to see. */
#ifndef ORIEL_CLI_SHARE_SPEC_H
#define ORIEL_CLI_SHARE_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "microvm/vm_error.h"

#define SHARE_DAX_DEFAULT (UINT64_C(1) << 30)
#define SHARE_DAX_MIN     (UINT64_C(32) << 20)

struct share_spec {
    char *dir;
    char tag[37];
    char mount[48];      /* where the guest mounts it: /mnt/TAG */
    uint64_t window_len; /* 0: no DAX */
    bool read_only;
};

/* Checks the form and that the folder is there. The line in error says what to do. Returns 0, -EINVAL,
 * -ENOMEM or why stat failed. */
int share_spec_parse(const char *text, struct share_spec *spec, struct vm_error *error);
void share_spec_destroy(struct share_spec *spec);

#endif
