#include "fs/passthrough/creds.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/checked.h"

#define NO_ID      UINT32_C(0xffffffff)
#define CAP_BIT(c) (UINT64_C(1) << (c))

/* Credentials belong to the thread, so what is known of them does too. */
struct thread_creds {
    bool known;
    bool own_umask_known;
    bool fs_unshared;
    mode_t own_umask, umask;
    const void *folder_owner;
    uint64_t permitted;
    struct creds_held own, now;
};

static _Thread_local struct thread_creds thread;

static int read_capabilities(uint64_t *effective, uint64_t *permitted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &header, data) != 0)
        return -errno;
    *effective = data[0].effective | (uint64_t)data[1].effective << 32;
    *permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    return 0;
}

static int write_effective(uint64_t effective)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)effective, .permitted = (uint32_t)thread.permitted},
        {.effective = (uint32_t)(effective >> 32), .permitted = (uint32_t)(thread.permitted >> 32)},
    };
    if (syscall(SYS_capset, &header, data) != 0)
        return -errno;
    thread.now.effective = effective;
    return 0;
}

static int read_held(struct creds_held *held, uint64_t *permitted)
{
    int err = read_capabilities(&held->effective, permitted);
    if (err != 0)
        return err;
    held->uid = (uint32_t)geteuid();
    held->gid = (uint32_t)getegid();
    int n = getgroups(CREDS_GROUPS_KEPT, (gid_t *)held->groups);
    held->group_count = n >= 0 ? (size_t)n : SIZE_MAX;
    return 0;
}

static int learn_thread(const struct creds_held *process)
{
    if (thread.known)
        return 0;
    int err = read_held(&thread.now, &thread.permitted);
    if (err != 0)
        return err;
    if (process == NULL && thread.now.group_count == SIZE_MAX)
        return -EPERM;
    thread.own = process != NULL ? *process : thread.now;
    thread.own.effective &= thread.permitted;
    thread.known = true;
    return 0;
}

int creds_record(struct creds_held *out)
{
    uint64_t permitted;
    if (!thread.known)
        return read_held(out, &permitted);
    *out = thread.own;
    return 0;
}

static bool same_groups(const struct creds_held *have, const uint32_t *groups, size_t count)
{
    return have->group_count == count && (count == 0 || memcmp(have->groups, groups, count * 4) == 0);
}

static int set_groups(const uint32_t *groups, size_t count)
{
    if (same_groups(&thread.now, groups, count))
        return 0;
    thread.now.group_count = SIZE_MAX;
    if (syscall(SYS_setgroups, count, groups) != 0)
        return -errno;
    if (count <= CREDS_GROUPS_KEPT) {
        if (count > 0)
            memcpy(thread.now.groups, groups, count * 4);
        thread.now.group_count = count;
    }
    return 0;
}

static int set_gid(uint32_t gid)
{
    if (thread.now.gid == gid)
        return 0;
    if (syscall(SYS_setresgid, -1, gid, -1) != 0)
        return -errno;
    thread.now.gid = gid;
    return 0;
}

/* The kernel drops all effective capabilities when the effective uid leaves 0, and makes all permitted ones
 * effective when it returns (capabilities(7)). */
static int set_uid(uint32_t uid)
{
    if (thread.now.uid == uid)
        return 0;
    if (syscall(SYS_setresuid, -1, uid, -1) != 0)
        return -errno;
    if (thread.now.uid == 0)
        thread.now.effective = 0;
    else if (uid == 0)
        thread.now.effective = thread.permitted;
    thread.now.uid = uid;
    return 0;
}

static int set_effective(uint64_t effective)
{
    return thread.now.effective == effective ? 0 : write_effective(effective);
}

/* Own uid first: it may bring back the capabilities that the other steps need. */
static int become_own(uint64_t effective)
{
    const struct creds_held *own = &thread.own;
    int err = set_uid(own->uid);
    if (err == 0)
        err = set_effective(effective | (own->effective & (CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETUID))));
    if (err == 0)
        err = set_gid(own->gid);
    if (err == 0 && own->group_count != SIZE_MAX) /* else they are too many to switch, so they never were */
        err = set_groups(own->groups, own->group_count);
    if (err == 0)
        err = set_effective(effective);
    return err;
}

static int become_caller(const struct creds_caller *caller, uint64_t effective)
{
    if (caller->uid == NO_ID || caller->gid == NO_ID)
        return -EINVAL;
    const uint64_t switching = CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETUID);
    int err = 0;
    if ((thread.now.effective & switching) != switching)
        err = become_own(thread.own.effective);
    if (err == 0)
        err = set_groups(caller->groups, caller->group_count);
    if (err == 0)
        err = set_gid(caller->gid);
    if (err == 0)
        err = set_uid(caller->uid);
    if (err == 0)
        err = set_effective(effective);
    return err;
}

/* Both sets keep SETUID and SETGID, which say nothing about files, so that the next switch is direct. */
static uint64_t capabilities_of(enum creds_rights rights, const struct creds_caller *caller)
{
    const uint64_t own = thread.own.effective;
    const uint64_t switching = own & (CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETUID));
    switch (rights) {
    case CREDS_KILL:
        return own & ~CAP_BIT(CAP_FSETID);
    case CREDS_OWNER:
        return caller->uid == thread.own.uid ? own : own & ~CAP_BIT(CAP_FSETID);
    case CREDS_CALLER:
        return caller->uid == thread.own.uid ? own : switching;
    case CREDS_ANY:
    case CREDS_OWN:
        break;
    }
    return own;
}

/* As far as the process itself may. One with none of these capabilities reaches what its own ids do. */
static bool may_reach_every_file(void)
{
    const uint64_t reach = thread.own.effective &
                           (CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_DAC_READ_SEARCH) | CAP_BIT(CAP_FOWNER));
    return reach != 0 && (thread.now.effective & reach) == reach;
}

int creds_enter(enum creds_rights rights, const struct creds_caller *caller, const struct creds_held *process)
{
    if ((rights == CREDS_ANY || rights == CREDS_OWN) && !thread.known && process == NULL)
        return 0;
    int err = learn_thread(process);
    if (err != 0)
        return err;
    if (rights == CREDS_ANY && (thread.now.uid == thread.own.uid || may_reach_every_file()))
        return 0;
    uint64_t effective = capabilities_of(rights, caller);
    if (rights != CREDS_OWNER && rights != CREDS_CALLER)
        return become_own(effective);
    err = become_caller(caller, effective);
    if (err != 0)
        creds_restore();
    return err;
}

/* Without it umask and working folder would change under every thread of the process. */
static bool unshare_fs(void)
{
    if (!thread.fs_unshared)
        thread.fs_unshared = unshare(CLONE_FS) == 0;
    return thread.fs_unshared;
}

void creds_set_umask(mode_t mask)
{
    if (thread.own_umask_known && thread.umask == mask)
        return;
    if (!unshare_fs())
        return;
    mode_t before = umask(mask);
    if (!thread.own_umask_known)
        thread.own_umask = before;
    thread.own_umask_known = true;
    thread.umask = mask;
}

bool creds_work_in(int dir_fd, const void *owner)
{
    if (thread.folder_owner != owner && unshare_fs() && fchdir(dir_fd) == 0)
        thread.folder_owner = owner;
    return thread.folder_owner == owner;
}

/*
 * A thread that can't get its own rights back must not go on: it would do the process's work as the guest's
 * user, or the guest's next request with rights it does not have. Going back to the saved ids needs no
 * capability, so this does not happen by anything a guest does.
 */
void creds_restore(void)
{
    if (thread.known && become_own(thread.own.effective) != 0)
        abort();
    /* What a thread's own rights are is its business until the next call. */
    thread.known = false;
    if (thread.own_umask_known && thread.umask != thread.own_umask)
        umask(thread.own_umask);
    thread.own_umask_known = false;
}

static uint64_t effective_capabilities(void)
{
    uint64_t effective = 0, permitted = 0;
    if (thread.known)
        return thread.own.effective;
    return read_capabilities(&effective, &permitted) == 0 ? effective : 0;
}

bool creds_can_switch(void)
{
    const uint64_t needed = CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID);
    return (effective_capabilities() & needed) == needed && getgroups(0, NULL) <= CREDS_GROUPS_KEPT;
}

bool creds_can_keep_sgid(void)
{
    return (effective_capabilities() & CAP_BIT(CAP_FSETID)) != 0;
}

bool creds_can_open_handles(void)
{
    return (effective_capabilities() & CAP_BIT(CAP_DAC_READ_SEARCH)) != 0;
}
