/*
 * `oriel serve`: a vhost-user daemon. Checks what it was asked for, walls itself in, then serves: this thread
 * handles messages, one thread for each queue that a front-end uses handles requests.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <oriel/fuse_server.h>
#include <oriel/passthrough.h>
#include <oriel/vhost_user.h>
#include <oriel/worker_pool.h>

#include "base/checked.h"
#include "cli/command.h"
#include "cli/sandbox.h"
#include "cli/serve_log.h"
#include "cli/serve_options.h"
#include "cli/serve_socket.h"

#define WANTED_FDS  1000000
#define LEAST_FDS   512 /* queues, guest memory, and a few for the guest's files */
#define RESERVE_FDS 256

struct service {
    const struct serve_options *options;
    struct serve_socket socket;
    struct oriel_trace *trace;
    struct oriel_fs fs;
    struct oriel_fuse_server *server;
    struct oriel_worker_pool *pool;
    struct oriel_vhost_user *vu;
    int signals; /* signalfd */
    pthread_t threads[ORIEL_VIRTIO_FS_MAX_QUEUES];
    bool has_thread[ORIEL_VIRTIO_FS_MAX_QUEUES];
};

/* ---- before anything is started ---- */

static int complain(const char *what, int err)
{
    fprintf(stderr, "oriel serve: %s: %s\n", what, strerror(err));
    return CLI_USAGE;
}

/* virtiofsd's default: a million, or what the system allows; never less than before. */
static bool raise_fd_limit(const struct serve_options *options)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t wanted = options->rlimit_set ? (rlim_t)options->rlimit_nofile : WANTED_FDS;
    if (options->rlimit_set && wanted != 0) {
        struct rlimit exact = {.rlim_cur = wanted,
                               .rlim_max = limit.rlim_max > wanted ? limit.rlim_max : wanted};
        if (setrlimit(RLIMIT_NOFILE, &exact) != 0) {
            fprintf(stderr, "oriel serve: --rlimit-nofile %llu: %s (the limit of the process is %llu)\n",
                    (unsigned long long)wanted, strerror(errno), (unsigned long long)limit.rlim_max);
            return false;
        }
    } else if (wanted > limit.rlim_cur) {
        struct rlimit most = {.rlim_cur = wanted,
                              .rlim_max = limit.rlim_max > wanted ? limit.rlim_max : wanted};
        if (setrlimit(RLIMIT_NOFILE, &most) != 0) {
            most = (struct rlimit){.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
            setrlimit(RLIMIT_NOFILE, &most);
        }
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= LEAST_FDS)
        return true;
    fprintf(stderr, "oriel serve: a descriptor limit of %llu is too low, %d are needed (--rlimit-nofile)\n",
            (unsigned long long)limit.rlim_cur, LEAST_FDS);
    return false;
}

static int open_share(const char *path)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        fprintf(stderr, "oriel serve: shared folder %s: %s\n", path, strerror(errno));
    return fd;
}

static bool open_socket(struct service *service)
{
    const struct serve_options *options = service->options;
    return options->socket_path != NULL
               ? serve_socket_listen(&service->socket, options->socket_path, options->socket_group)
               : serve_socket_adopt(&service->socket, options->fd);
}

/* ---- the back-end, made before the walls close ---- */

static int create_fs(struct service *service, int share_fd)
{
    const struct serve_options *options = service->options;
    bool switches = oriel_passthrough_can_switch_credentials();
    struct oriel_passthrough_options passthrough = {
        .size = sizeof(passthrough),
        .dir_fd = share_fd,
        .read_only = options->read_only,
        .xattr = options->xattr,
        /* As virtiofsd. A file capability is no more than the set-user-id bit, which a guest can set anyway. */
        .security_xattr = options->xattr,
        .trusted_xattr = options->xattrmap.map != NULL, /* the map decides, in the server */
        .posix_acl = options->posix_acl,
        .submounts = options->announce_submounts,
        .switch_credentials = switches,
        .keep_credentials = true, /* the queues' threads do nothing else */
        .file_handles = options->file_handles,
        .device_nodes = options->sandbox.device_nodes,
        .trace = service->trace,
        .uid_rules = options->uid_rules.rules,
        .uid_rule_count = options->uid_rules.count,
        .gid_rules = options->gid_rules.rules,
        .gid_rule_count = options->gid_rules.count,
    };
    return oriel_passthrough_create(&passthrough, &service->fs);
}

static int create_server(struct service *service)
{
    const struct serve_options *options = service->options;
    struct oriel_fuse_server_options server = {
        .size = sizeof(server),
        .fs = service->fs,
        .cache = options->cache,
        .read_only = options->read_only,
        .writeback = options->writeback,
        .no_readdirplus = options->no_readdirplus,
        .posix_locks = options->posix_lock,
        .flock_locks = options->flock,
        .max_lock_waiters = options->lock_waiters,
        .xattr = options->xattr,
        .posix_acl = options->posix_acl,
        .security_label = options->security_label,
        .security_xattr = options->xattr,
        .announce_submounts = options->announce_submounts,
        .allow_direct_io_mmap = options->allow_mmap,
        .trace = service->trace,
        .xattr_map = options->xattrmap.map,
        .no_killpriv_v2 = options->no_killpriv_v2,
    };
    if (options->timeout_set) {
        /* All 0 would mean "by cache mode". */
        server.entry_timeout_ns = server.attr_timeout_ns = options->timeout_ns == 0 ? 1 : options->timeout_ns;
    }
    int r = oriel_fuse_server_create(&server, &service->server);
    if (r != 0)
        service->fs.ops->destroy(service->fs.fs);
    return r;
}

/* Without switching, new files are the daemon's whoever makes them. */
static bool can_forbid(const struct serve_options *options)
{
    bool forbids = id_rules_forbid(&options->uid_rules) || id_rules_forbid(&options->gid_rules);
    return !forbids || oriel_passthrough_can_switch_credentials();
}

static int create_back_end(struct service *service, int share_fd)
{
    if (!can_forbid(service->options))
        return complain("forbid-guest of --translate-uid or --translate-gid needs CAP_SETUID and CAP_SETGID",
                        EPERM);
    int r = create_fs(service, share_fd);
    if (r == -EOPNOTSUPP)
        return complain("--inode-file-handles=mandatory: the file system has no file handles, or "
                        "CAP_DAC_READ_SEARCH is missing",
                        EOPNOTSUPP);
    if (r != 0)
        return complain("the folder cannot be shared", -r);
    r = create_server(service);
    return r == 0 ? CLI_OK : complain("the server cannot be made", -r);
}

/* ---- threads ---- */

static void *serve_queue(void *argument)
{
    struct {
        struct service *service;
        uint16_t queue;
    } *start = argument;
    struct service *service = start->service;
    uint16_t queue = start->queue;
    char name[16];
    free(start);
    snprintf(name, sizeof(name), queue == 0 ? "hiprio" : "queue %u", queue);
    prctl(PR_SET_NAME, name);
    oriel_vhost_user_queue_run(service->vu, queue);
    oriel_passthrough_restore_thread();
    return NULL;
}

static void on_queue_wanted(void *opaque, uint16_t queue)
{
    struct service *service = opaque;
    struct {
        struct service *service;
        uint16_t queue;
    } *start = malloc(sizeof(*start));
    if (start != NULL) {
        start->service = service;
        start->queue = queue;
        if (pthread_create(&service->threads[queue], NULL, serve_queue, start) == 0) {
            service->has_thread[queue] = true;
            return;
        }
    }
    free(start);
    serve_log(SERVE_LOG_ERROR, "no thread can be started for queue %u: it is not served", queue);
}

static void on_log(void *opaque, enum oriel_vhost_user_level level, const char *line)
{
    (void)opaque;
    serve_log(level == ORIEL_VHOST_USER_ERROR     ? SERVE_LOG_ERROR
              : level == ORIEL_VHOST_USER_WARNING ? SERVE_LOG_WARNING
                                                  : SERVE_LOG_INFO,
              "%s", line);
}

static int create_pool(struct service *service)
{
    const struct serve_options *options = service->options;
    struct oriel_worker_pool_options pool = {.size = sizeof(pool)};
    if (options->pool_set && options->pool_size == 0)
        return 0;
    if (options->pool_set) {
        pool.max_threads = options->pool_size;
        pool.threads = options->pool_size < 2 ? options->pool_size : 2;
    }
    return oriel_worker_pool_create(&pool, &service->pool);
}

static int create_vhost_user(struct service *service)
{
    struct oriel_vhost_user_options vu = {
        .size = sizeof(vu),
        .server = service->server,
        .tag = service->options->tag,
        .num_request_queues = service->options->queues,
        .poll = service->options->poll,
        .pool = service->pool,
        .queue_wanted = on_queue_wanted,
        .log = on_log,
        .opaque = service,
        .trace = service->trace,
    };
    return oriel_vhost_user_create(&vu, &service->vu);
}

static struct oriel_vhost_user *guarded; /* by the handler below; written before it is set */

/* The front-end cut the file behind its guest's memory. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (guarded == NULL || !oriel_vhost_user_repair(guarded, info->si_addr)) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

static void catch_bus_errors(struct service *service)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    guarded = service->vu;
    sigaction(SIGBUS, &action, NULL);
}

/* ---- serving ---- */

/* A second request to end means it: something in flight does not. */
static void on_impatience(int number)
{
    (void)number;
    _exit(CLI_FAILED);
}

static bool was_told_to_end(struct service *service)
{
    struct signalfd_siginfo info;
    sigset_t set;
    if (read(service->signals, &info, sizeof(info)) != sizeof(info))
        return false;
    serve_log(SERVE_LOG_INFO, "signal %u: finishing what is in flight", info.ssi_signo);
    signal(SIGTERM, on_impatience);
    signal(SIGINT, on_impatience);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return true;
}

/* Waits for input. False: the daemon is to end. */
static bool wait_for(struct service *service, int fd)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = service->signals, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    return !(fds[1].revents != 0 && was_told_to_end(service));
}

/* Serves one front-end to its end. False: the daemon is to end. */
static bool serve_connection(struct service *service, int connection)
{
    int r = oriel_vhost_user_attach(service->vu, connection);
    if (r != 0) {
        serve_log(SERVE_LOG_ERROR, "the socket cannot be served: %s", strerror(-r));
        close(connection);
        return true;
    }
    serve_log(SERVE_LOG_INFO, "a front-end connected");
    while (wait_for(service, oriel_vhost_user_fd(service->vu))) {
        if (oriel_vhost_user_run(service->vu) < 0)
            return true;
    }
    oriel_vhost_user_detach(service->vu);
    return false;
}

static void serve_all(struct service *service)
{
    bool once = !service->options->persist;
    if (!service->socket.listening) {
        serve_connection(service, service->socket.fd);
        return;
    }
    /* Kata's runtime in Rust starts no machine before it has read these words, which are virtiofsd's. */
    serve_log(SERVE_LOG_INFO, "Waiting for vhost-user socket connection...");
    while (wait_for(service, service->socket.fd)) {
        int connection = accept4(service->socket.fd, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            continue;
        if (once) {
            close(service->socket.fd);
            service->socket.fd = -1;
        }
        if (!serve_connection(service, connection) || once)
            return;
    }
}

static void block_signals(struct service *service)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    service->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a guest's write over RLIMIT_FSIZE is EFBIG */
}

static void finish(struct service *service)
{
    oriel_vhost_user_stop(service->vu);
    for (size_t i = 0; i < ARRAY_LEN(service->threads); i++) {
        if (service->has_thread[i])
            pthread_join(service->threads[i], NULL);
    }
    guarded = NULL;
    oriel_vhost_user_destroy(service->vu);
    oriel_fuse_server_destroy(service->server);
    oriel_worker_pool_destroy(service->pool);
}

/* Whoever started the daemon may have left folders of the host open. */
static void close_inherited(const struct service *service)
{
    unsigned kept = service->options->fd >= 0 ? (unsigned)service->options->fd : STDERR_FILENO;
    if (kept > STDERR_FILENO + 1)
        syscall(SYS_close_range, STDERR_FILENO + 1, kept - 1, 0);
    syscall(SYS_close_range, (kept > STDERR_FILENO ? kept : STDERR_FILENO) + 1, UINT_MAX, 0);
}

static void close_share(int *share_fd)
{
    if (*share_fd >= 0)
        close(*share_fd);
    *share_fd = -1;
}

/* Inside the walls. */
static int serve_inside(struct service *service, int *share_fd)
{
    /* Groups of whoever started the daemon are no guest's (CVE-2022-0358); modes are the guest's as they are.
     */
    if (oriel_passthrough_can_switch_credentials())
        setgroups(0, NULL);
    umask(0);
    int status = create_back_end(service, *share_fd);
    if (status != CLI_OK)
        return status;
    bool confined = sandbox_confine(&service->options->sandbox, *share_fd);
    close_share(share_fd); /* its `..` leads out of a chroot; the back-end has its own */
    if (!confined) {
        oriel_fuse_server_destroy(service->server);
        return CLI_USAGE;
    }
    int r = create_pool(service);
    if (r == 0)
        r = create_vhost_user(service);
    if (r != 0) {
        oriel_fuse_server_destroy(service->server);
        oriel_worker_pool_destroy(service->pool);
        return complain("the service cannot be started", -r);
    }
    catch_bus_errors(service);
    serve_all(service);
    finish(service);
    return CLI_OK;
}

static int serve(const struct serve_options *options)
{
    struct service service = {.options = options, .socket.fd = -1};
    int status = CLI_USAGE;
    close_inherited(&service);
    if (!raise_fd_limit(options))
        return CLI_USAGE;
    int share_fd = open_share(options->shared_dir);
    if (share_fd < 0)
        return CLI_USAGE;
    int r = options->log_level == SERVE_LOG_DEBUG ? oriel_trace_open("stderr", &service.trace)
                                                  : oriel_trace_from_env(&service.trace);
    if (r != 0)
        return complain("ORIEL_TRACE", -r);
    serve_log_open(options->log_level, options->syslog);
    /* Before anybody can see the socket and ask for an end. */
    block_signals(&service);
    if (open_socket(&service)) {
        /* In namespace mode the child goes on, and leaves by exit(): only the parent cleans up outside. */
        pid_t outside = getpid();
        if (sandbox_enter(&options->sandbox, options->shared_dir, &share_fd, &status))
            status = serve_inside(&service, &share_fd);
        if (getpid() == outside)
            serve_socket_unlink(&service.socket);
    }
    close_share(&share_fd);
    oriel_trace_close(service.trace);
    return status;
}

static int serve_or_tell(const struct serve_options *options)
{
    if (options->help) {
        serve_print_help();
        return CLI_OK;
    }
    if (options->version) {
        printf("oriel %s\n", ORIEL_VERSION);
        return CLI_OK;
    }
    if (options->print_capabilities) {
        printf("{\n  \"type\": \"fs\",\n  \"features\": [\n    \"separate-options\"\n  ]\n}\n");
        return CLI_OK;
    }
    return serve(options);
}

int cmd_serve(int argc, char **argv)
{
    struct serve_options options;
    if (!serve_options_parse(&options, argc, argv))
        return CLI_USAGE;
    int status = serve_or_tell(&options);
    serve_options_destroy(&options);
    return status;
}
