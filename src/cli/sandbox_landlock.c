#include "cli/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the kernel headers of the oldest supported build; the numbers are the kernel's ABI. */
#define ACCESS_EXECUTE   UINT64_C(1)
#define ACCESS_VERSION_1 ((UINT64_C(1) << 13) - 1)
#define ACCESS_REFER     (UINT64_C(1) << 13) /* since version 2 */
#define ACCESS_TRUNCATE  (UINT64_C(1) << 14) /* since version 3 */
#define NET_TCP          UINT64_C(3)         /* bind and connect; since version 4 */
#define SCOPE_ALL        UINT64_C(3)         /* abstract sockets and signals; since version 6 */
#define ASK_VERSION      1U
#define ASK_ERRATA       2U
#define ERRATUM_3_FIXED  (1L << 2) /* files in the cache under no name are placed at the root of their mount */

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

/* Of the kernel: a version or a set of errata that it does not have any more. Negative: no Landlock. */
static long ask(unsigned what)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, what);
}

static bool is_root_of_a_mount(int fd)
{
    struct statx st;
    return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) == 0 && (st.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/*
 * A file opened by its handle may be in the kernel's cache under no name, and nowhere beneath a folder then. Kernels
 * with erratum 3 have nothing to grant it rights by. The others take the root of its mount instead; but not for what a
 * hard link must not gain, so rights that the share grants to files cannot be handled.
 */
static uint64_t rights_with_file_handles(long version, int share_fd)
{
    if (version < 2) /* it has no right to move and link between folders, and forbids it then */
        return 0;
    long errata = ask(ASK_ERRATA);
    bool has_place = errata > 0 && (errata & ERRATUM_3_FIXED) && is_root_of_a_mount(share_fd);
    return has_place ? ACCESS_EXECUTE | ACCESS_REFER : 0;
}

static uint64_t rights_of_version(long version)
{
    uint64_t rights = ACCESS_VERSION_1;
    if (version < 2) /* nothing could be moved or linked between folders */
        return 0;
    rights |= ACCESS_REFER;
    if (version >= 3)
        rights |= ACCESS_TRUNCATE;
    return rights;
}

/* All rights but execution are granted beneath the share, and nothing anywhere else. */
static bool restrict_to(int ruleset, int share_fd, uint64_t rights)
{
    struct landlock_path_beneath_attr beneath = {.allowed_access = rights & ~ACCESS_EXECUTE,
                                                 .parent_fd = share_fd};
    return (rights == 0 ||
            syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0) &&
           prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
}

bool sandbox_landlock(int share_fd, bool file_handles)
{
    long version = ask(ASK_VERSION);
    struct ruleset_attr attr = {
        .fs = file_handles ? rights_with_file_handles(version, share_fd) : rights_of_version(version),
        .net = version >= 4 ? NET_TCP : 0,
        .scoped = version >= 6 ? SCOPE_ALL : 0,
    };
    if (attr.fs == 0 && attr.net == 0)
        return true;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    bool ok = ruleset >= 0 && restrict_to(ruleset, share_fd, attr.fs);
    if (!ok)
        fprintf(stderr, "oriel serve: sandbox: Landlock: %s\n", strerror(errno));
    if (ruleset >= 0)
        close(ruleset);
    return ok;
}
