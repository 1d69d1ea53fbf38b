/*
 * The first process of the emulated machine that scripts/nested starts: loads modules, makes the host's file
 * tree its root, runs one command and hands back its output and status. Static and single-threaded: under
 * emulation a fork of even a shell costs 20 ms. Run with another process id than 1 it measures the host's TSC
 * instead, which the machine needs to know (see scripts/nested).
 *
 * What to do comes as /job: NUL-terminated records, each a letter and a text.
 *   M path             load this module            W tag:path   mount the virtio-fs or 9p share `tag` on
 * path, writable A argument         of the command              E NAME=VALUE of its environment C folder to
 * run it in                T rows cols  give it a terminal K 9p|virtiofs      kind of the writable shares
 * Ports: `in`, `out`, `err` carry the standard streams, `status` gets "exit N" or "error TEXT".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define MAX_RECORDS 4096
#define EXIT_PORT   0xf4 /* QEMU's isa-debug-exit: a write ends the machine */

struct job {
    char *module[64], *share[64], *argument[MAX_RECORDS], *environment[MAX_RECORDS];
    int modules, shares, arguments, environments;
    const char *folder, *kind;
    bool terminal;
    struct winsize size;
};

static int status_port = -1;

__attribute__((noreturn)) static void machine_off(void)
{
    sync();
    if (ioperm(EXIT_PORT, 1, 1) == 0)
        outb(0, EXIT_PORT);
    reboot(RB_AUTOBOOT);
    for (;;)
        pause();
}

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(const char *format, ...)
{
    char text[512];
    int saved = errno;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    dprintf(status_port >= 0 ? status_port : 2, "error %s: %s\n", text, strerror(saved));
    machine_off();
}

static char *read_file(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        give_up("%s", path);
    char *data = malloc((size_t)st.st_size + 1);
    if (data == NULL || read(fd, data, (size_t)st.st_size) != st.st_size)
        give_up("%s", path);
    close(fd);
    data[st.st_size] = '\0';
    *len = (size_t)st.st_size;
    return data;
}

static void append(char **list, int *count, int max, char *text)
{
    if (*count + 1 >= max) {
        errno = E2BIG;
        give_up("the job");
    }
    list[(*count)++] = text;
}

static void read_job(struct job *job)
{
    size_t len;
    char *data = read_file("/job", &len);
    for (char *at = data; at < data + len; at += strlen(at) + 1) {
        char *text = at + 1;
        switch (at[0]) {
        case 'M':
            append(job->module, &job->modules, 64, text);
            break;
        case 'W':
            append(job->share, &job->shares, 64, text);
            break;
        case 'A':
            append(job->argument, &job->arguments, MAX_RECORDS, text);
            break;
        case 'E':
            append(job->environment, &job->environments, MAX_RECORDS, text);
            break;
        case 'C':
            job->folder = text;
            break;
        case 'K':
            job->kind = text;
            break;
        case 'T':
            job->terminal = sscanf(text, "%hu %hu", &job->size.ws_row, &job->size.ws_col) == 2;
            break;
        default:
            errno = EINVAL;
            give_up("the job's record '%c'", at[0]);
        }
    }
}

static void must_mount(const char *source, const char *target, const char *type, unsigned long flags,
                       const char *data)
{
    if (mount(source, target, type, flags, data) != 0)
        give_up("mount of %s (%s) on %s", source, type, target);
}

static void load_module(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST))
        give_up("module %s", path);
    close(fd);
}

/* Opens the virtio-serial port of that name. Ports come up a moment after their driver. */
static int open_port(const char *name, int flags)
{
    for (int tries = 0; tries < 5000; tries++) {
        DIR *ports = opendir("/sys/class/virtio-ports");
        for (struct dirent *entry; ports && (entry = readdir(ports)) != NULL;) {
            char path[320], found[64] = "";
            snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                continue;
            ssize_t len = read(fd, found, sizeof found - 1);
            close(fd);
            if (len > 0 && found[len - 1] == '\n')
                found[len - 1] = '\0';
            if (strcmp(found, name) != 0)
                continue;
            snprintf(path, sizeof path, "/dev/%s", entry->d_name);
            fd = open(path, flags | O_CLOEXEC);
            if (fd >= 0) {
                closedir(ports);
                return fd;
            }
        }
        if (ports)
            closedir(ports);
        usleep(1000);
    }
    give_up("the port %s", name);
}

static void make_folders(const char *path)
{
    char part[4096];
    snprintf(part, sizeof part, "%s", path);
    for (char *at = part + 1; *at; at++)
        if (*at == '/') {
            *at = '\0';
            mkdir(part, 0755);
            *at = '/';
        }
    mkdir(part, 0755);
}

/* The host's root, read-only, under a layer of RAM; then the writable shares on top, at their host paths. */
static void mount_root(const struct job *job)
{
    mkdir("/host", 0755);
    mkdir("/ram", 0755);
    mkdir("/root", 0755);
    must_mount("root", "/host", "9p", MS_RDONLY,
               "trans=virtio,version=9p2000.L,cache=loose,msize=512000,posixacl=0");
    must_mount("ram", "/ram", "tmpfs", 0, NULL);
    mkdir("/ram/upper", 0755);
    mkdir("/ram/work", 0755);
    must_mount("root", "/root", "overlay", 0, "lowerdir=/host,upperdir=/ram/upper,workdir=/ram/work");
    for (int i = 0; i < job->shares; i++) {
        char target[4200], *path = strchr(job->share[i], ':');
        *path++ = '\0';
        snprintf(target, sizeof target, "/root%s", path);
        make_folders(target);
        if (strcmp(job->kind, "virtiofs") == 0)
            must_mount(job->share[i], target, "virtiofs", 0, NULL);
        else
            must_mount(job->share[i], target, "9p", 0,
                       "trans=virtio,version=9p2000.L,cache=mmap,msize=512000");
    }
}

static void enter_root(void)
{
    static const char *const moved[] = {"/proc", "/sys", "/dev"};
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
        char target[64];
        snprintf(target, sizeof target, "/root%s", moved[i]);
        must_mount(moved[i], target, NULL, MS_MOVE, NULL);
    }
    if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 ||
        chdir("/") != 0)
        give_up("the new root");
    must_mount("run", "/run", "tmpfs", 0, NULL);
    mkdir("/dev/pts", 0755);
    mkdir("/dev/shm", 01777);
    must_mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666");
    must_mount("shm", "/dev/shm", "tmpfs", 0, NULL);
    chmod("/dev/ptmx", 0666);
    symlink("/proc/self/fd", "/dev/fd");
    symlink("/proc/self/fd/0", "/dev/stdin");
    symlink("/proc/self/fd/1", "/dev/stdout");
    symlink("/proc/self/fd/2", "/dev/stderr");
}

/*
 * One direction of the relay: what was read from `from` and not yet written to `to`. Input comes in frames: a
 * length (4 bytes, little-endian) and so many bytes; length 0 is the end of the input.
 */
struct stream {
    int from, to;
    size_t start, end;
    uint32_t frame; /* bytes still to come of this frame */
    char data[65536];
};

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

/* Moves what is there from the command to the host. False at the end of the stream or when nothing is left.
 */
static bool pump_out(struct stream *s)
{
    ssize_t n = read(s->from, s->data, sizeof s->data);
    if (n > 0) {
        write_all(s->to, s->data, (size_t)n);
        return true;
    }
    if (n == 0 || errno != EAGAIN) /* a terminal whose processes are gone says EIO */
        s->from = -1;
    return false;
}

static void end_input(struct stream *s, bool terminal)
{
    if (terminal) {
        write_all(s->to, "\004", 1); /* as if it had been typed; the terminal itself stays */
    } else {
        close(s->to);
    }
    s->from = s->to = -1;
}

/* Moves input towards the command, which may be slow or not read at all. */
static void pump_in(struct stream *s, bool terminal)
{
    if (s->start == s->end) {
        bool head = s->frame == 0;
        size_t want = head ? sizeof s->frame : s->frame < sizeof s->data ? s->frame : sizeof s->data;
        ssize_t n = read(s->from, head ? (char *)&s->frame : s->data, want);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (head && n > 0)
            for (ssize_t more = 0; n<(ssize_t)sizeof s->frame; n += more> 0 ? more : 0)
                more = read(s->from, (char *)&s->frame + n, sizeof s->frame - (size_t)n);
        if (n <= 0 || s->frame == 0) {
            end_input(s, terminal);
            return;
        }
        if (head)
            return;
        s->frame -= (uint32_t)n;
        s->start = 0;
        s->end = (size_t)n;
    }
    ssize_t n = write(s->to, s->data + s->start, s->end - s->start);
    if (n > 0) {
        s->start += (size_t)n;
    } else if (errno != EAGAIN && errno != EINTR) {
        close(s->to);
        s->from = s->to = -1;
        s->start = s->end = 0;
    }
}

__attribute__((noreturn)) static void become_command(const struct job *job, int in, int out, int err)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (job->terminal)
        ioctl(in, TIOCSCTTY, 0);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    if (chdir(job->folder) != 0) {
        dprintf(2, "scripts/nested: %s: %s\n", job->folder, strerror(errno));
        _exit(126);
    }
    clearenv();
    for (int i = 0; i < job->environments; i++)
        putenv(job->environment[i]);
    execvp(job->argument[0], job->argument);
    dprintf(2, "scripts/nested: %s: %s\n", job->argument[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

static int open_terminal(const struct job *job, int *theirs)
{
    int ours = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    char name[64];
    if (ours < 0 || unlockpt(ours) != 0 || ptsname_r(ours, name, sizeof name) != 0 ||
        (*theirs = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0)
        give_up("a terminal");
    ioctl(ours, TIOCSWINSZ, &job->size);
    return ours;
}

/* Runs the command, moving its streams, until it ends. Returns what a shell would call its status. */
static int run_command(const struct job *job, int in_port, int out_port, int err_port)
{
    static struct stream in, out, err;
    int theirs[3];
    in.from = in_port;
    out.to = out_port;
    err.to = err_port;
    if (job->terminal) {
        out.from = open_terminal(job, &theirs[0]);
        in.to = out.from;
        theirs[1] = theirs[2] = theirs[0];
        err.from = -1;
    } else {
        int pipes[3][2];
        for (int i = 0; i < 3; i++)
            if (pipe2(pipes[i], O_CLOEXEC) != 0)
                give_up("a pipe");
        theirs[0] = pipes[0][0];
        theirs[1] = pipes[1][1];
        theirs[2] = pipes[2][1];
        in.to = pipes[0][1];
        out.from = pipes[1][0];
        err.from = pipes[2][0];
        fcntl(err.from, F_SETFL, O_NONBLOCK);
        fcntl(in.to, F_SETFL, O_NONBLOCK);
    }
    fcntl(out.from, F_SETFL, O_NONBLOCK);

    sigset_t watched;
    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    sigprocmask(SIG_BLOCK, &watched, NULL);
    signal(SIGPIPE, SIG_IGN);
    int children = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGPIPE, SIG_DFL);
        become_command(job, theirs[0], theirs[1], theirs[2]);
    }
    if (child < 0 || children < 0)
        give_up("the command's process");
    for (int i = 0; i < (job->terminal ? 1 : 3); i++)
        close(theirs[i]);

    int status = -1;
    while (status < 0) {
        bool holding = in.start < in.end;
        struct pollfd polls[] = {{children, POLLIN, 0},
                                 {out.from, POLLIN, 0},
                                 {err.from, POLLIN, 0},
                                 {holding ? -1 : in.from, POLLIN, 0},
                                 {holding ? in.to : -1, POLLOUT, 0}};
        poll(polls, 5, -1);
        if (polls[1].revents)
            pump_out(&out);
        if (polls[2].revents)
            pump_out(&err);
        if (polls[3].revents || polls[4].revents)
            pump_in(&in, job->terminal);
        if (polls[0].revents) {
            struct signalfd_siginfo info;
            while (read(children, &info, sizeof info) > 0)
                ;
            int raw;
            for (pid_t pid; (pid = waitpid(-1, &raw, WNOHANG)) > 0;)
                if (pid == child)
                    status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
        }
    }
    while (out.from >= 0 && pump_out(&out))
        ;
    while (err.from >= 0 && pump_out(&err))
        ;
    return status;
}

/* What the command wrote through mappings has to be on the host before anybody hears that it ended. */
static void flush_shares(const struct job *job)
{
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    sync();
    if (chdir("/") != 0)
        give_up("/");
    for (int i = job->shares - 1; i >= 0; i--) {
        const char *path = job->share[i] + strlen(job->share[i]) + 1;
        if (umount2(path, 0) != 0)
            give_up("unmount of %s", path);
    }
}

static int print_tsc_khz(void)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC_RAW, &start);
    unsigned long long ticks = __rdtsc();
    double seconds;
    do {
        clock_gettime(CLOCK_MONOTONIC_RAW, &now);
        seconds = (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9;
    } while (seconds < 0.03);
    printf("%.0f\n", (double)(__rdtsc() - ticks) / seconds / 1000);
    return 0;
}

int main(void)
{
    if (getpid() != 1)
        return print_tsc_khz();

    static struct job job;
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    must_mount("proc", "/proc", "proc", 0, NULL);
    must_mount("sys", "/sys", "sysfs", 0, NULL);
    must_mount("dev", "/dev", "devtmpfs", 0, NULL);
    int console = open("/dev/console", O_RDWR);
    for (int fd = 0; console >= 0 && fd < 3; fd++)
        dup2(console, fd);
    read_job(&job);
    for (int i = 0; i < job.modules; i++)
        load_module(job.module[i]);
    status_port = open_port("status", O_WRONLY);
    int in_port = open_port("in", O_RDONLY | O_NONBLOCK);
    int out_port = open_port("out", O_WRONLY);
    int err_port = open_port("err", O_WRONLY);
    mount_root(&job);
    enter_root();
    sethostname("nested", 6);
    int status = run_command(&job, in_port, out_port, err_port);
    flush_shares(&job);
    dprintf(status_port, "exit %d\n", status);
    machine_off();
}
