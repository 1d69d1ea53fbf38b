/* `oriel mount`: a folder or a RAM file system through /dev/fuse. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <oriel/fuse_dev.h>
#include <oriel/memory_fs.h>
#include <oriel/passthrough.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/mount_options.h"

#define DEFAULT_THREADS_MAX 4
#define FUSE_CONF           "/etc/fuse.conf" /* fusermount3's */

struct mounted {
    const struct mount_options *options;
    char mountpoint[PATH_MAX]; /* absolute: the working folder changes */
    struct oriel_trace *trace;
    struct oriel_fs fs;
    struct oriel_fuse_server *server;
    struct oriel_worker_pool *pool;
    struct oriel_fuse_dev *dev;
    int fd; /* of /dev/fuse until the transport has it */
    int signals;
    int ready_fd; /* where a daemon tells its parent; -1: not a daemon */
};

static int refuse(const char *what, int error)
{
    fprintf(stderr, "oriel mount: %s: %s\n", what, strerror(error));
    return CLI_USAGE;
}

/* ---- what is checked before anything begins ---- */

static bool is_below(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    return strncmp(path, folder, len) == 0 && (path[len] == '/' || (len == 1 && path[len] != '\0'));
}

static int refuse_mountpoint(const char *mountpoint, int error)
{
    if (error != ENOTCONN)
        return refuse(mountpoint, error);
    fprintf(stderr, "oriel mount: %s is a mount whose server is gone; take it away first: %s %s\n",
            mountpoint, geteuid() == 0 ? "umount" : "fusermount3 -u", mountpoint);
    return CLI_USAGE;
}

/* The server would wait for itself when it comes to a mount of its own. */
static int check_paths(struct mounted *m)
{
    const struct mount_options *options = m->options;
    if (realpath(options->mountpoint, m->mountpoint) == NULL)
        return refuse_mountpoint(options->mountpoint, errno);
    if (options->dir == NULL)
        return CLI_OK;
    char dir[PATH_MAX];
    if (realpath(options->dir, dir) == NULL)
        return refuse(options->dir, errno);
    if (!is_below(m->mountpoint, dir))
        return CLI_OK;
    fprintf(stderr, "oriel mount: %s lies inside %s: choose a mount point outside of it\n",
            options->mountpoint, options->dir);
    return CLI_USAGE;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- setting up ---- */

static bool translates(const struct mount_options *options)
{
    return options->uid_rules.count != 0 || options->gid_rules.count != 0;
}

/* Access lists hold ids and have names: both have to be the host's. */
static bool offers_acls(const struct mount_options *options)
{
    return !translates(options) && xattr_option_keeps_acls(&options->xattrmap);
}

/* Without switching, new files are the process's whoever makes them. */
static bool can_forbid(const struct mount_options *options)
{
    bool forbids = id_rules_forbid(&options->uid_rules) || id_rules_forbid(&options->gid_rules);
    return !forbids || oriel_passthrough_can_switch_credentials();
}

static int open_trace(struct mounted *m)
{
    const char *target = m->options->trace;
    int error = target != NULL ? oriel_trace_open(target, &m->trace) : oriel_trace_from_env(&m->trace);
    return error != 0 ? refuse(target != NULL ? target : "ORIEL_TRACE", -error) : CLI_OK;
}

static int create_fs(struct mounted *m)
{
    const struct mount_options *options = m->options;
    if (options->memory) {
        struct oriel_memory_fs_options memory = {
            .size = sizeof(memory),
            .max_bytes = options->max_bytes,
            .max_inodes = options->max_inodes,
            .user_bytes = options->user_bytes,
            .user_inodes = options->user_inodes,
            .root_uid = getuid(),
            .root_gid = getgid(),
            .trace = m->trace,
        };
        int error = oriel_memory_fs_create(&memory, &m->fs);
        return error != 0 ? refuse("--memory", -error) : CLI_OK;
    }
    if (!can_forbid(options))
        return refuse("forbid-guest of --translate-uid or --translate-gid needs CAP_SETUID and CAP_SETGID",
                      EPERM);
    bool switches = oriel_passthrough_can_switch_credentials();
    struct oriel_passthrough_options passthrough = {
        .size = sizeof(passthrough),
        .dir = options->dir,
        .read_only = options->read_only,
        .xattr = true,
        .security_xattr = options->xattrmap.map != NULL, /* the map decides, in the server */
        .trusted_xattr = options->xattrmap.map != NULL,
        .posix_acl = offers_acls(options),
        .submounts = options->submounts,
        .switch_credentials = switches,
        .keep_credentials = switches,
        .device_nodes = true,
        .trace = m->trace,
        .uid_rules = options->uid_rules.rules,
        .uid_rule_count = options->uid_rules.count,
        .gid_rules = options->gid_rules.rules,
        .gid_rule_count = options->gid_rules.count,
    };
    int error = oriel_passthrough_create(&passthrough, &m->fs);
    return error != 0 ? refuse(options->dir, -error) : CLI_OK;
}

static int create_server(struct mounted *m)
{
    const struct mount_options *options = m->options;
    struct oriel_fuse_server_options server = {
        .size = sizeof(server),
        .fs = m->fs,
        .cache = options->cache,
        .read_only = options->read_only,
        .writeback = options->writeback,
        .allow_direct_io_mmap = true, /* programs map files in every cache mode */
        .posix_locks = true,
        .flock_locks = true,
        .xattr = true,
        .posix_acl = offers_acls(options),
        .trace = m->trace,
        .xattr_map = options->xattrmap.map,
    };
    int error = oriel_fuse_server_create(&server, &m->server);
    if (error == 0)
        m->fs.ops = NULL; /* the server's now */
    return error != 0 ? refuse("cannot start", -error) : CLI_OK;
}

/* As fusermount3 reads it: a line of its own, which may be behind blanks and before a comment. */
static bool users_may_allow_others(void)
{
    cleanup_free char *line = NULL;
    size_t room = 0;
    bool may = false;
    FILE *f = fopen(FUSE_CONF, "re");
    while (f != NULL && !may && getline(&line, &room, f) > 0) {
        line[strcspn(line, "#")] = '\0';
        char *rest, *word = strtok_r(line, " \t\n", &rest);
        may = word != NULL && strcmp(word, "user_allow_other") == 0;
    }
    if (f != NULL)
        fclose(f);
    return may;
}

static int refuse_mount(const struct mount_options *options, int error)
{
    if (error != EPERM || !options->allow_other || geteuid() == 0 || users_may_allow_others())
        return refuse_mountpoint(options->mountpoint, error);
    fprintf(stderr,
            "oriel mount: --allow-other is not permitted to users: leave it out, or have root add the line "
            "user_allow_other to " FUSE_CONF "\n");
    return CLI_USAGE;
}

static int mount_it(struct mounted *m)
{
    struct oriel_fuse_mount_options mount = {
        .size = sizeof(mount),
        .mountpoint = m->mountpoint,
        .source = m->options->memory ? "oriel-memory" : "oriel",
        .read_only = m->options->read_only,
        .allow_other = m->options->allow_other,
    };
    m->fd = oriel_fuse_mount(&mount);
    return m->fd < 0 ? refuse_mount(m->options, -m->fd) : CLI_OK;
}

static unsigned default_threads(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return processors < 1 ? 1 : (unsigned)min_u64((uint64_t)processors, DEFAULT_THREADS_MAX);
}

static int start_serving(struct mounted *m)
{
    int error = oriel_worker_pool_create(NULL, &m->pool);
    if (error == 0) {
        struct oriel_fuse_dev_options dev = {
            .size = sizeof(dev),
            .server = m->server,
            .fd = m->fd,
            .threads = m->options->threads != 0 ? m->options->threads : default_threads(),
            .pool = m->pool,
            .trace = m->trace,
        };
        error = oriel_fuse_dev_start(&dev, &m->dev);
    }
    if (error != 0) {
        oriel_fuse_unmount(m->mountpoint, true);
        return refuse("cannot start", -error);
    }
    m->fd = -1;
    return CLI_OK;
}

static int set_up(struct mounted *m)
{
    int (*const steps[])(struct mounted *) = {check_paths,   open_trace, create_fs,
                                              create_server, mount_it,   start_serving};
    raise_descriptor_limit();
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int status = steps[i](m);
        if (status != CLI_OK)
            return status;
    }
    return CLI_OK;
}

static void tear_down(struct mounted *m)
{
    oriel_fuse_dev_stop(m->dev);
    if (m->fd >= 0)
        close(m->fd);
    oriel_worker_pool_destroy(m->pool);
    oriel_fuse_server_destroy(m->server);
    if (m->fs.ops != NULL)
        m->fs.ops->destroy(m->fs.fs);
    oriel_trace_close(m->trace);
}

/* ---- running ---- */

static int open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* A daemon lets go of what it was started from once it serves. */
static void tell_ready(struct mounted *m)
{
    struct statfs st;
    (void)statfs(m->mountpoint, &st); /* answered only after the session has begun */
    if (m->ready_fd < 0)
        return;
    cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0)
        for (int fd = 0; fd <= 2; fd++)
            dup2(null, fd);
    (void)!chdir("/");
    (void)!write(m->ready_fd, "", 1);
    close(m->ready_fd);
    m->ready_fd = -1;
}

/* Until the signal or the end of the mount. */
static void serve_until_end(struct mounted *m)
{
    struct pollfd fds[] = {{.fd = m->signals, .events = POLLIN},
                           {.fd = oriel_fuse_dev_done_fd(m->dev), .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    if (fds[1].revents != 0)
        return;
    if (oriel_fuse_unmount(m->mountpoint, false) != -EBUSY)
        return;
    fprintf(stderr, "oriel mount: %s is in use; its users will find it gone\n", m->options->mountpoint);
    oriel_fuse_unmount(m->mountpoint, true);
}

static int serve_mount(const struct mount_options *options, int ready_fd)
{
    struct mounted m = {.options = options, .fd = -1, .ready_fd = ready_fd};
    m.signals = open_signals();
    if (m.signals < 0)
        return refuse("cannot start", errno);
    int status = set_up(&m);
    if (status == CLI_OK) {
        tell_ready(&m);
        serve_until_end(&m);
    }
    tear_down(&m);
    close(m.signals);
    return status;
}

/* The child serves; the parent stays until it is mounted, or has failed and said why. */
static int serve_in_background(const struct mount_options *options)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0)
        return refuse("--daemon", errno);
    pid_t child = fork();
    if (child < 0)
        return refuse("--daemon", errno);
    if (child == 0) {
        close(ready[0]);
        setsid();
        _exit(serve_mount(options, ready[1]));
    }
    close(ready[1]);
    char byte;
    ssize_t n;
    while ((n = read(ready[0], &byte, 1)) < 0 && errno == EINTR)
        ;
    close(ready[0]);
    if (n == 1)
        return CLI_OK;
    int status;
    if (waitpid(child, &status, 0) == child && WIFEXITED(status))
        return WEXITSTATUS(status);
    return CLI_FAILED;
}

int cmd_mount(int argc, char **argv)
{
    struct mount_options options;
    if (!mount_options_parse(&options, argc, argv))
        return CLI_USAGE;
    int status = CLI_OK;
    if (options.help)
        fputs(mount_usage, stdout);
    else
        status = options.daemon ? serve_in_background(&options) : serve_mount(&options, -1);
    mount_options_destroy(&options);
    return status;
}
