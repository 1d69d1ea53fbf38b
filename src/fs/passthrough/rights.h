/* Whose rights an operation of this share runs with. */
#ifndef ORIEL_FS_PASSTHROUGH_RIGHTS_H
#define ORIEL_FS_PASSTHROUGH_RIGHTS_H

#include "fs/passthrough/creds.h"
#include "fs/passthrough/share.h"

/* Acts with `rights` until rights_end(), with the ids of the caller where the share's options say so. Take
 * descriptors of inodes before: opening by file handle needs the rights of the process. -EPERM, -EINVAL. */
int rights_begin(struct passthrough *pt, const oriel_fs_caller *caller, enum creds_rights rights);
/* CREDS_ANY for code below an operation, which may run inside its rights or before them. */
int rights_any(const struct passthrough *pt);
void rights_end(struct passthrough *const *pt);

/* Ends the rights with the scope: struct passthrough *scope cleanup_rights = pt; */
#define cleanup_rights __attribute__((cleanup(rights_end), unused))

#endif
