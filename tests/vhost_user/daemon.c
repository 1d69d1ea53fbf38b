#include "daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_TIMEOUT_MS 10000

/* ---- TAP ---- */

static int cases, failures;

void tap_plan(int count)
{
    printf("1..%d\n", count);
    fflush(stdout);
}

void tap_ok(bool ok, const char *name)
{
    cases++;
    failures += ok ? 0 : 1;
    printf("%s %d - %s\n", ok ? "ok" : "not ok", cases, name);
    fflush(stdout);
}

void tap_skip(const char *name, const char *reason)
{
    cases++;
    printf("ok %d - %s # SKIP %s\n", cases, name, reason);
    fflush(stdout);
}

void tap_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("# ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
}

int tap_status(void)
{
    return failures == 0 ? 0 : 1;
}

/* ---- the daemon ---- */

static void die(const char *what)
{
    printf("Bail out! %s: %s\n", what, strerror(errno));
    exit(1);
}

void daemon_init(struct daemon *daemon, int argc, char **argv)
{
    memset(daemon, 0, sizeof(*daemon));
    if (argc < 3 || (strcmp(argv[1], "oriel") != 0 && strcmp(argv[1], "virtiofsd") != 0)) {
        fprintf(stderr, "usage: %s oriel|virtiofsd BINARY [argument...]\n", argv[0]);
        exit(2);
    }
    daemon->kind = strcmp(argv[1], "oriel") == 0 ? DAEMON_ORIEL : DAEMON_VIRTIOFSD;
    daemon->binary = argv[2];
    /* Who starts it later may be somebody to whom a folder above it is closed. */
    daemon->binary_fd = open(daemon->binary, O_PATH | O_CLOEXEC);
    if (daemon->binary_fd < 0)
        die(daemon->binary);
    daemon->socket_fd = -1;
    for (int i = 3; i < argc && i - 3 < 20; i++)
        daemon->extra[i - 3] = argv[i];
    const char *base = getenv("TMPDIR");
    snprintf(daemon->folder, sizeof(daemon->folder), "%s/vhost-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(daemon->folder) == NULL)
        die(daemon->folder);
    snprintf(daemon->share, sizeof(daemon->share), "%s/share", daemon->folder);
    snprintf(daemon->log, sizeof(daemon->log), "%s/log", daemon->folder);
    if (mkdir(daemon->share, 0755) != 0)
        die(daemon->share);
    signal(SIGPIPE, SIG_IGN);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void daemon_finish(struct daemon *daemon)
{
    daemon_kill(daemon);
    nftw(daemon->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static bool has_argument(const struct daemon *daemon, const char *argument)
{
    for (int i = 0; daemon->extra[i] != NULL; i++) {
        if (strcmp(daemon->extra[i], argument) == 0)
            return true;
    }
    return false;
}

/* A root of its own has no /proc, and Landlock does not let it be read. */
static bool can_read_proc(const struct daemon *daemon)
{
    bool can = true;
    for (int i = 0; daemon->extra[i] != NULL; i++) {
        if (strstr(daemon->extra[i], "sandbox=") != NULL)
            can = strstr(daemon->extra[i], "sandbox=none") != NULL;
    }
    return can && !has_argument(daemon, "--inode-file-handles=never");
}

/* LeakSanitizer reads /proc when the daemon ends, and fails without. */
static void look_for_leaks_where_possible(const struct daemon *daemon)
{
    char options[512];
    const char *given = getenv("ASAN_OPTIONS");
    snprintf(options, sizeof(options), "%s:detect_leaks=0", given != NULL ? given : "");
    if (!can_read_proc(daemon))
        setenv("ASAN_OPTIONS", options, 1);
}

bool daemon_is_sanitized(const struct daemon *daemon)
{
    return has_argument(daemon, "--seccomp=none");
}

static void exec_daemon(const struct daemon *daemon, bool persist)
{
    char source[320], socket[320];
    const char *argv[64];
    int n = 0;
    argv[n++] = daemon->binary;
    if (daemon->socket_fd >= 0)
        snprintf(socket, sizeof(socket), "--fd=%d", daemon->socket_fd);
    else
        snprintf(socket, sizeof(socket), "--socket-path=%s", daemon->socket);
    if (daemon->kind == DAEMON_ORIEL) {
        snprintf(source, sizeof(source), "--shared-dir=%s", daemon->share);
        argv[n++] = "serve";
        argv[n++] = source;
        if (persist)
            argv[n++] = "--persist";
    } else {
        snprintf(source, sizeof(source), "source=%s", daemon->share);
        argv[n++] = "-f";
        argv[n++] = "-o";
        argv[n++] = source;
    }
    argv[n++] = socket;
    for (int i = 0; daemon->extra[i] != NULL; i++)
        argv[n++] = daemon->extra[i];
    argv[n] = NULL;
    int log = open(daemon->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(log, STDERR_FILENO);
    dup2(log, STDOUT_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    look_for_leaks_where_possible(daemon);
    fexecve(daemon->binary_fd, (char **)(uintptr_t)argv, environ);
    _exit(127);
}

void daemon_start_on(struct daemon *daemon, int socket_fd)
{
    daemon->socket_fd = socket_fd;
    daemon->pid = fork();
    if (daemon->pid < 0)
        die("fork");
    if (daemon->pid == 0)
        exec_daemon(daemon, false);
    daemon->socket_fd = -1;
}

bool daemon_start(struct daemon *daemon, bool persist)
{
    /* A new name each time: the control holds on to its lock for a while after it was killed. */
    snprintf(daemon->socket, sizeof(daemon->socket), "%s/s%d", daemon->folder, ++daemon->starts);
    daemon->pid = fork();
    if (daemon->pid < 0)
        die("fork");
    if (daemon->pid == 0)
        exec_daemon(daemon, persist);
    for (int waited = 0; waited < START_TIMEOUT_MS; waited += 5) {
        struct stat st;
        if (stat(daemon->socket, &st) == 0)
            return true;
        if (!daemon_is_running(daemon))
            return false;
        usleep(5000);
    }
    return false;
}

int daemon_wait(struct daemon *daemon, int timeout_ms)
{
    int status;
    for (int waited = 0;; waited += 5) {
        pid_t r = waitpid(daemon->pid, &status, WNOHANG);
        if (r == daemon->pid) {
            daemon->pid = 0;
            return status;
        }
        if (waited >= timeout_ms)
            return -1;
        usleep(5000);
    }
}

bool daemon_is_running(struct daemon *daemon)
{
    return daemon->pid != 0 && daemon_wait(daemon, 0) == -1;
}

void daemon_kill(struct daemon *daemon)
{
    if (daemon->pid == 0)
        return;
    kill(daemon->pid, SIGKILL);
    waitpid(daemon->pid, NULL, 0);
    daemon->pid = 0;
}

int daemon_open_fds(const struct daemon *daemon)
{
    char path[64];
    int count = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)daemon->pid);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return -1;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        count += e->d_name[0] != '.';
    closedir(dir);
    return count;
}
