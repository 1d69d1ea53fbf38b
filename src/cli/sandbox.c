#include "cli/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cap-ng.h>

#include "cli/command.h"
#include "cli/sandbox_userns.h"
#include "cli/serve_log.h"

static bool complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Always false: for the caller to return. */
static bool complain(const char *format, ...)
{
    int err = errno;
    va_list args;
    fprintf(stderr, "oriel serve: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, ": %s\n", strerror(err));
    return false;
}

/* ---- the parent: it only waits ---- */

static volatile sig_atomic_t child_pid;

static void forward(int signal_number)
{
    if (child_pid > 0)
        kill((pid_t)child_pid, signal_number);
}

static int wait_for_child(pid_t child)
{
    const int forwarded[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction action = {.sa_handler = forward};
    sigset_t none;
    int status;
    child_pid = (sig_atomic_t)child;
    for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
        sigaction(forwarded[i], &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return CLI_FAILED;
    }
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    fprintf(stderr, "oriel serve: the daemon was ended by signal %d (%s)%s\n", WTERMSIG(status),
            strsignal(WTERMSIG(status)),
            WTERMSIG(status) == SIGSYS ? ": a system call that seccomp does not allow" : "");
    return 128 + WTERMSIG(status);
}

/* ---- the child ---- */

/* The descriptor is of the old namespace's mount: finds the same folder in this one. */
static int reopen_share(const char *path, int share_fd)
{
    struct stat before, now;
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(share_fd, &before) == 0 && fstat(fd, &now) == 0 && before.st_dev == now.st_dev &&
        before.st_ino == now.st_ino)
        return fd;
    close(fd);
    errno = ESTALE;
    return -1;
}

/*
 * One more wall where Linux has it (5.14): nothing below the share can be a device, a program with suid, or a way
 * elsewhere, nor be written to where the share is read-only. What the host mounts there later has the flags that the
 * host gives it.
 */
static void restrict_tree(int tree, bool read_only)
{
#if defined(SYS_mount_setattr) && defined(MOUNT_ATTR_NOSYMFOLLOW)
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOSYMFOLLOW};
    if (read_only)
        attr.attr_set |= MOUNT_ATTR_RDONLY;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) != 0)
        serve_log(SERVE_LOG_DEBUG, "sandbox: the share's mount has no flags of its own: mount_setattr: %s",
                  strerror(errno));
#else
    (void)tree;
    (void)read_only;
#endif
}

/* Makes the share a mount of its own, over itself. Returns a descriptor of it, or -1. */
static int bind_share(const char *path, int share_fd, bool read_only)
{
    const unsigned clone_tree = 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE;
    const unsigned empty_paths = 0x04 | 0x40; /* MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH */
    int here = reopen_share(path, share_fd);
    if (here < 0)
        return -1;
    int tree = (int)syscall(SYS_open_tree, here, "", clone_tree);
    if (tree >= 0)
        restrict_tree(tree, read_only);
    if (tree >= 0 && syscall(SYS_move_mount, tree, "", here, "", empty_paths) != 0) {
        int err = errno;
        close(tree);
        tree = -1;
        errno = err;
    }
    int err = errno;
    close(here);
    errno = err;
    return tree;
}

/* A file system with nothing of the host's processes, and the share as a mount of its own. */
static bool prepare_mounts(const char *path, int *share_fd, bool read_only)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
        return complain("sandbox: mounts cannot be made private");
    if (mount("proc", "/proc", "proc", MS_NODEV | MS_NOEXEC | MS_NOSUID | MS_RELATIME, NULL) != 0)
        return complain("sandbox: /proc cannot be mounted (try --sandbox chroot or none)");
    int tree = bind_share(path, *share_fd, read_only);
    if (tree < 0)
        return complain("sandbox: the shared folder cannot be bind-mounted");
    close(*share_fd);
    *share_fd = tree;
    return true;
}

static bool begin_child(const char *path, int *share_fd, bool read_only)
{
    /* Not left behind when the parent is killed. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Not before the fork: pivot_root() moves the root of every process of the namespace. */
    if (unshare(CLONE_NEWNS) != 0)
        return complain("sandbox: a mount namespace is not permitted here (try --sandbox chroot or none)");
    return prepare_mounts(path, share_fd, read_only);
}

static bool may_make_namespaces(void)
{
    capng_get_caps_process();
    return capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN) == 1;
}

bool sandbox_enter(const struct sandbox_options *options, const char *path, int *share_fd, int *status)
{
    *status = CLI_USAGE;
    if (options->mode != SANDBOX_NAMESPACE)
        return true;
    bool user_namespace = !may_make_namespaces() || options->uid_maps != 0 || options->gid_maps != 0;
    if (user_namespace && !sandbox_enter_user_namespace(options))
        return false;
    if (unshare(CLONE_NEWPID | CLONE_NEWNET) != 0)
        return complain("sandbox: namespaces are not permitted here (try --sandbox chroot or none)");
    pid_t child = fork();
    if (child < 0)
        return complain("sandbox: fork");
    if (child > 0) {
        *status = wait_for_child(child);
        return false;
    }
    if (!begin_child(path, share_fd, options->read_only))
        exit(CLI_USAGE);
    return true;
}

/* The share becomes all there is. */
static bool pivot_into(int share_fd)
{
    if (fchdir(share_fd) != 0 || syscall(SYS_pivot_root, ".", ".") != 0)
        return complain("sandbox: pivot_root");
    /* The old root lies over the new one now. */
    if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
        return complain("sandbox: the old root cannot be left");
    return true;
}

static bool chroot_into(int share_fd)
{
    if (fchdir(share_fd) != 0 || chroot(".") != 0 || chdir("/") != 0)
        return complain("sandbox: chroot (needs CAP_SYS_CHROOT; try --sandbox none)");
    return true;
}

static bool may_open_by_handle(void)
{
    capng_get_caps_process();
    return capng_have_capability(CAPNG_EFFECTIVE, CAP_DAC_READ_SEARCH) == 1;
}

bool sandbox_confine(const struct sandbox_options *options, int share_fd)
{
    if (options->mode == SANDBOX_NAMESPACE && !pivot_into(share_fd))
        return false;
    if (options->mode == SANDBOX_CHROOT && !chroot_into(share_fd))
        return false;
    if (!sandbox_drop_capabilities(options))
        return false;
    if (!sandbox_landlock(share_fd, options->file_handles && may_open_by_handle()))
        return false;
    return sandbox_seccomp(options->seccomp);
}
