/* Making and ending the mount: mount(2) for who may, else fusermount3, whose protocol is one descriptor over
 * a socket that _FUSE_COMMFD names (libfuse: fusermount3(1)). */
#include <oriel/fuse_dev.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FUSERMOUNT "fusermount3"
#define COMMFD     "_FUSE_COMMFD"

extern char **environ;

static const char *source_of(const struct oriel_fuse_mount_options *options)
{
    return options->source != NULL ? options->source : "oriel";
}

static int check_mountpoint(const char *mountpoint, uint32_t *mode)
{
    struct stat st;
    struct statfs fs;
    /* ENOTCONN: a mount whose server has died. The kernel may still know the attributes, but it asks for statfs. */
    if (stat(mountpoint, &st) != 0 || statfs(mountpoint, &fs) != 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    *mode = st.st_mode & S_IFMT;
    return 0;
}

/* ---- mount(2) ---- */

static int mount_directly(const struct oriel_fuse_mount_options *options, uint32_t mode)
{
    cleanup_fd int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
    char data[200];
    snprintf(data, sizeof(data), "fd=%d,rootmode=%o,user_id=%u,group_id=%u,default_permissions%s", fd, mode,
             (unsigned)getuid(), (unsigned)getgid(), options->allow_other ? ",allow_other" : "");
    unsigned long flags = MS_NOSUID | MS_NODEV | (options->read_only ? MS_RDONLY : 0);
    if (mount(source_of(options), options->mountpoint, "fuse.oriel", flags, data) != 0)
        return -errno;
    return take_fd(&fd);
}

/* ---- fusermount3 ---- */

/* Returns the exit status, or -errno. */
static int run_and_wait(char *const *argv, char *const *env)
{
    pid_t pid;
    int error = posix_spawnp(&pid, FUSERMOUNT, NULL, NULL, argv, env);
    if (error != 0)
        return -error;
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

static int receive_fd(int socket)
{
    char byte;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t n;
    do
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    const struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header == NULL || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int)))
        return -EPERM;
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
}

/* The environment with one more variable; the caller frees the array. */
static char **environment_with(char *variable)
{
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **copy = calloc(count + 2, sizeof(*copy));
    if (copy == NULL)
        return NULL;
    memcpy(copy, environ, count * sizeof(*copy));
    copy[count] = variable;
    return copy;
}

static int mount_by_helper(const struct oriel_fuse_mount_options *options)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        return -errno;
    cleanup_fd int ours = pair[0];
    cleanup_fd int theirs = pair[1];
    fcntl(ours, F_SETFD, FD_CLOEXEC);
    char variable[40], words[400], point[PATH_MAX];
    snprintf(variable, sizeof(variable), COMMFD "=%d", theirs);
    snprintf(words, sizeof(words), "default_permissions,subtype=oriel,fsname=%s%s%s", source_of(options),
             options->read_only ? ",ro" : "", options->allow_other ? ",allow_other" : "");
    snprintf(point, sizeof(point), "%s", options->mountpoint);
    char name[] = FUSERMOUNT, dash_o[] = "-o", dashes[] = "--";
    char *argv[] = {name, dash_o, words, dashes, point, NULL};
    cleanup_free char **env = environment_with(variable);
    if (env == NULL)
        return -ENOMEM;
    int status = run_and_wait(argv, env);
    if (status != 0)
        return status < 0 ? status : -EPERM;
    return receive_fd(ours);
}

int oriel_fuse_mount(const struct oriel_fuse_mount_options *options)
{
    if (options == NULL || options->size < sizeof(*options) || options->mountpoint == NULL)
        return -EINVAL;
    uint32_t mode = 0;
    int error = check_mountpoint(options->mountpoint, &mode);
    if (error != 0)
        return error;
    int fd = mount_directly(options, mode);
    return geteuid() != 0 && (fd == -EPERM || fd == -EACCES) ? mount_by_helper(options) : fd;
}

int oriel_fuse_unmount(const char *mountpoint, bool lazy)
{
    if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
        return 0;
    if (geteuid() == 0 || errno != EPERM)
        return -errno;
    char point[PATH_MAX];
    snprintf(point, sizeof(point), "%s", mountpoint);
    char name[] = FUSERMOUNT, dash_u[] = "-u", dash_q[] = "-q", dash_z[] = "-z", dashes[] = "--";
    char *quick[] = {name, dash_u, dash_q, dashes, point, NULL};
    char *detach[] = {name, dash_u, dash_q, dash_z, dashes, point, NULL};
    int status = run_and_wait(lazy ? detach : quick, environ);
    return status > 0 ? -EBUSY : status;
}
