#include "cli/sandbox.h"

#include <errno.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the kernel headers of the oldest supported build; the numbers are the kernel's ABI. */
#define ACCESS_REFER     (UINT64_C(1) << 13) /* since version 2 */
#define ACCESS_TRUNCATE  (UINT64_C(1) << 14) /* since version 3 */
#define ACCESS_VERSION_1 ((UINT64_C(1) << 13) - 1)
#define ACCESS_EXECUTE   UINT64_C(1)

/* All the rights this version knows, none of them granted anywhere but beneath the share; execute not even
 * there. */
static uint64_t handled_rights(long version)
{
    uint64_t rights = ACCESS_VERSION_1;
    if (version >= 2)
        rights |= ACCESS_REFER;
    if (version >= 3)
        rights |= ACCESS_TRUNCATE;
    return rights;
}

static bool restrict_to(int ruleset, int share_fd, uint64_t rights)
{
    struct landlock_path_beneath_attr beneath = {.allowed_access = rights, .parent_fd = share_fd};
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0 &&
           prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
}

bool sandbox_landlock(int share_fd)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    /* Before version 2 nothing could be moved or linked between folders. */
    if (version < 2)
        return true;
    struct landlock_ruleset_attr attr = {.handled_access_fs = handled_rights(version)};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    bool ok = ruleset >= 0 && restrict_to(ruleset, share_fd, handled_rights(version) & ~ACCESS_EXECUTE);
    if (!ok)
        fprintf(stderr, "oriel serve: sandbox: Landlock: %s\n", strerror(errno));
    if (ruleset >= 0)
        close(ruleset);
    return ok;
}
