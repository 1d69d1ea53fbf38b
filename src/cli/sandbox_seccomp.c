#include "cli/sandbox.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>

/*
 * Everything the daemon may call, grouped by what for. Names that this libseccomp does not know are left out:
 * the call then does not exist for it either, except those with a number.
 */
static const char *const allowed[] = {
    /* memory; malloc's per-thread arenas */
    "brk",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "getrandom",
    /* threads, as glibc names, joins and ends them; it starts them by clone, see allow_threads() */
    "exit",
    "exit_group",
    "futex",
    "futex_waitv",
    "get_robust_list",
    "getcpu",
    "getpid",
    "gettid",
    "membarrier",
    "prctl",
    "prlimit64",
    "rseq",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_setscheduler",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "sysinfo",
    "tgkill",
    "ugetrlimit",
    "getrlimit",
    /* signals */
    "restart_syscall",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "sigreturn",
    "signalfd4",
    /* time */
    "clock_getres",
    "clock_gettime",
    "clock_gettime64",
    "clock_nanosleep",
    "clock_nanosleep_time64",
    "gettimeofday",
    "nanosleep",
    "time",
    /* the front-end's socket, kicks and calls, the log */
    "accept",
    "accept4",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd2",
    "getpeername",
    "getsockname",
    "getsockopt",
    "poll",
    "ppoll",
    "ppoll_time64",
    "recvfrom",
    "recvmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    /* descriptors */
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "fcntl64",
    "lseek",
    "_llseek",
    "pread64",
    "preadv",
    "preadv2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readv",
    "write",
    "writev",
    /* files and folders, by descriptor and one name */
    "copy_file_range",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fadvise64_64",
    "fallocate",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchown32",
    "fchownat",
    "fdatasync",
    "flock",
    "fstat",
    "fstat64",
    "fstatat64",
    "fstatfs",
    "fstatfs64",
    "fsync",
    "ftruncate",
    "ftruncate64",
    "getcwd",
    "getdents",
    "getdents64",
    "linkat",
    "mkdirat",
    "mknodat",
    "name_to_handle_at",
    "newfstatat",
    "open_by_handle_at",
    "openat",
    "openat2",
    "readlinkat",
    "renameat",
    "renameat2",
    "statx",
    "symlinkat",
    "sync_file_range",
    "syncfs",
    "unlinkat",
    "utimensat",
    "utimensat_time64",
    /* files by name: below /proc/self/fd only, as a name of a descriptor; the root is the share by now */
    "access",
    "chmod",
    "chown",
    "open",
    "readlink",
    "stat",
    "lstat",
    "statfs",
    "statfs64",
    "truncate",
    "truncate64",
    "unlink",
    /* extended attributes */
    "fgetxattr",
    "flistxattr",
    "fremovexattr",
    "fsetxattr",
    "getxattr",
    "getxattrat",
    "lgetxattr",
    "listxattr",
    "listxattrat",
    "llistxattr",
    "lremovexattr",
    "lsetxattr",
    "removexattr",
    "removexattrat",
    "setxattr",
    "setxattrat",
    /* acting as the caller */
    "capget",
    "capset",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getresgid",
    "getresuid",
    "getuid",
    "setfsgid",
    "setfsgid32",
    "setfsuid",
    "setfsuid32",
    "setgroups",
    "setgroups32",
    "setregid",
    "setresgid",
    "setresgid32",
    "setresuid",
    "setresuid32",
    "setreuid",
    "umask",
    /* FS_IOC_GETFLAGS and its like; the server lets no others through */
    "ioctl",
};

static uint32_t action_of(enum sandbox_seccomp action)
{
    switch (action) {
    case SECCOMP_LOG:
        return SCMP_ACT_LOG;
    case SECCOMP_TRAP:
        return SCMP_ACT_TRAP;
    case SECCOMP_KILL:
    case SECCOMP_NONE:
        break;
    }
    return SCMP_ACT_KILL_PROCESS;
}

/* A thread takes a umask of its own; nothing else may be unshared. */
static int allow_own_umask(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(unshare), 1, SCMP_A0(SCMP_CMP_EQ, CLONE_FS));
}

#define NEW_NAMESPACES                                                                                       \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |            \
     CLONE_NEWNET)

/* clone(2): where the flags are. */
#if defined(__s390__)
#define CLONE_FLAGS_ARGUMENT 1
#else
#define CLONE_FLAGS_ARGUMENT 0
#endif

/*
 * A new namespace of users would give its maker all capabilities there. The flags of clone3 are in memory, where a
 * filter cannot look: glibc starts threads by clone where there is no clone3.
 */
static int allow_threads(scmp_filter_ctx filter)
{
    int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                             SCMP_CMP(CLONE_FLAGS_ARGUMENT, SCMP_CMP_MASKED_EQ, NEW_NAMESPACES, 0));
    return r != 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static int fill(scmp_filter_ctx filter)
{
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        int number = seccomp_syscall_resolve_name(allowed[i]);
        if (number == __NR_SCMP_ERROR)
            continue;
        int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
        if (r != 0 && r != -EDOM)
            return r;
    }
    int r = allow_threads(filter);
    return r != 0 ? r : allow_own_umask(filter);
}

bool sandbox_seccomp(enum sandbox_seccomp action)
{
    if (action == SECCOMP_NONE)
        return true;
    scmp_filter_ctx filter = seccomp_init(action_of(action));
    int r = filter == NULL ? -ENOMEM : fill(filter);
    /* The list is long and the daemon's system calls are its work: search it as a tree. */
    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r == 0)
        r = seccomp_load(filter);
    if (filter != NULL)
        seccomp_release(filter);
    if (r != 0)
        fprintf(stderr, "oriel serve: sandbox: seccomp: %s\n", strerror(-r));
    return r == 0;
}
