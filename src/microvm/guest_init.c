/*
 * The guest's first process: loads modules, mounts the shares, runs one command on the console, reports its
 * exit status. Static and alone: it uses nothing else of this project but the names in boot_config.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "microvm/boot_config.h"

#define CONSOLE     "/dev/ttyS0"
#define HOST_NAME   "oriel"
#define ARGS_MAX    4096
#define ENV_MAX     256
#define SHARES_MAX  32
#define REAP_ROUNDS 200

struct plan {
    char *argv[ARGS_MAX + 1];
    size_t argc;
    char *env[ENV_MAX + 1];
    size_t env_count;
    const char *mounts[SHARES_MAX];
    size_t mount_count;
    const char *directory, *stdin_kind;
    struct winsize size;
    /* the mount being described */
    const char *tag, *options;
    bool read_only;
};

static void tell_host(unsigned short port, unsigned char value)
{
    if (ioperm(port, 1, 1) == 0)
        outb(value, port);
}

static _Noreturn void power_off(unsigned status)
{
    tcdrain(STDOUT_FILENO);
    tell_host(BOOT_STATUS_PORT, (unsigned char)status);
    reboot(RB_AUTOBOOT); /* where the port did not end it: the host sees a reset without a status */
    for (;;)
        pause();
}

static _Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    dprintf(STDERR_FILENO, "oriel guest: ");
    vdprintf(STDERR_FILENO, format, args);
    dprintf(STDERR_FILENO, "\n");
    va_end(args);
    power_off(BOOT_STATUS_SETUP_FAILED);
}

/* ---- the system around the command ---- */

static void mount_system(void)
{
    static const struct {
        const char *type, *path, *options;
        unsigned long flags;
    } mounts[] = {
        {"devtmpfs", "/dev", "mode=0755", MS_NOSUID},
        {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"devpts", "/dev/pts", "mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC},
        {"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV},
        {"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
        {"tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV},
    };
    for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
        mkdir(mounts[i].path, 0755);
        if (mount(mounts[i].type, mounts[i].path, mounts[i].type, mounts[i].flags, mounts[i].options) != 0 &&
            errno != EBUSY)
            give_up("cannot mount %s: %s", mounts[i].path, strerror(errno));
    }
    if (symlink("/proc/self/fd", "/dev/fd") != 0 && errno != EEXIST)
        give_up("cannot make /dev/fd: %s", strerror(errno));
}

static void load_module(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST))
        give_up("cannot load module %s: %s", path, strerror(errno));
    close(fd);
}

static void make_folders(const char *path)
{
    char part[4096];
    for (const char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        size_t len = slash != NULL ? (size_t)(slash - path) : strlen(path);
        if (len >= sizeof(part))
            return;
        memcpy(part, path, len);
        part[len] = '\0';
        mkdir(part, 0755);
        if (slash == NULL)
            return;
    }
}

static void mount_share(struct plan *plan, const char *path)
{
    make_folders(path);
    if (plan->mount_count == SHARES_MAX)
        give_up("too many shares");
    if (mount(plan->tag, path, "virtiofs", plan->read_only ? MS_RDONLY : 0, plan->options) != 0)
        give_up("cannot mount share '%s' at %s%s%s: %s", plan->tag, path, plan->options[0] ? " with " : "",
                plan->options, strerror(errno));
    plan->mounts[plan->mount_count++] = path;
}

/* ---- the plan ---- */

static void follow(struct plan *plan, const char *key, char *value)
{
    if (strcmp(key, BOOT_KEY_MODULE) == 0) {
        load_module(value);
    } else if (strcmp(key, BOOT_KEY_TAG) == 0) {
        plan->tag = value;
        plan->options = "";
        plan->read_only = false;
    } else if (strcmp(key, BOOT_KEY_OPTIONS) == 0) {
        plan->options = value;
    } else if (strcmp(key, BOOT_KEY_READ_ONLY) == 0) {
        plan->read_only = value[0] == '1';
    } else if (strcmp(key, BOOT_KEY_MOUNT) == 0) {
        mount_share(plan, value);
    } else if (strcmp(key, BOOT_KEY_DIRECTORY) == 0) {
        plan->directory = value;
    } else if (strcmp(key, BOOT_KEY_STDIN) == 0) {
        plan->stdin_kind = value;
    } else if (strcmp(key, BOOT_KEY_ROWS) == 0) {
        plan->size.ws_row = (unsigned short)atoi(value);
    } else if (strcmp(key, BOOT_KEY_COLUMNS) == 0) {
        plan->size.ws_col = (unsigned short)atoi(value);
    } else if (strcmp(key, BOOT_KEY_ENV) == 0 && plan->env_count < ENV_MAX) {
        plan->env[plan->env_count++] = value;
    } else if (strcmp(key, BOOT_KEY_ARG) == 0 && plan->argc < ARGS_MAX) {
        plan->argv[plan->argc++] = value;
    } else {
        give_up("does not understand '%s'", key);
    }
}

static char *read_config(size_t *len)
{
    struct stat st;
    int fd = open(BOOT_CONFIG_PATH, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        give_up("cannot read " BOOT_CONFIG_PATH ": %s", strerror(errno));
    char *text = malloc((size_t)st.st_size + 1);
    if (text == NULL || read(fd, text, (size_t)st.st_size) != st.st_size)
        give_up("cannot read " BOOT_CONFIG_PATH);
    text[st.st_size] = '\0';
    close(fd);
    *len = (size_t)st.st_size;
    return text;
}

static void follow_config(struct plan *plan)
{
    size_t len;
    char *text = read_config(&len); /* kept: the plan points into it */
    char *end = text + len;
    for (char *key = text; key < end;) {
        char *value = key + strlen(key) + 1;
        if (value > end)
            give_up("finds " BOOT_CONFIG_PATH " damaged");
        follow(plan, key, value);
        key = value + strlen(value) + 1;
    }
}

/* ---- the command ---- */

static void set_terminal(const struct plan *plan)
{
    struct termios t;
    if (tcgetattr(STDIN_FILENO, &t) != 0)
        return;
    cfsetspeed(&t, B115200);
    t.c_cflag |= CRTSCTS | CREAD | CS8; /* the host holds input back while the line is full */
    if (strcmp(plan->stdin_kind, BOOT_STDIN_TERMINAL) != 0) {
        t.c_iflag = 0;
        t.c_oflag = 0;
        t.c_lflag = ICANON | IEXTEN;
        for (size_t i = 0; i < NCCS; i++)
            t.c_cc[i] = _POSIX_VDISABLE;
        t.c_cc[VEOF] = BOOT_STREAM_END;
        t.c_cc[VLNEXT] = BOOT_STREAM_QUOTE;
    }
    tcsetattr(STDIN_FILENO, TCSANOW, &t);
    if (plan->size.ws_row != 0 && plan->size.ws_col != 0)
        ioctl(STDIN_FILENO, TIOCSWINSZ, &plan->size);
}

static void use_console(int flags)
{
    int fd = open(CONSOLE, O_RDWR | flags);
    if (fd < 0)
        give_up("cannot open " CONSOLE ": %s", strerror(errno));
    for (int i = 0; i <= STDERR_FILENO; i++)
        dup2(fd, i);
    if (fd > STDERR_FILENO)
        close(fd);
}

static _Noreturn void run_command(struct plan *plan)
{
    static char shell_name[] = "sh";
    static char *const shell[] = {shell_name, NULL};
    /* A session of its own with the console as controlling terminal: job control and ^C work. */
    setsid();
    use_console(0);
    ioctl(STDIN_FILENO, TIOCSCTTY, 0);
    if (strcmp(plan->stdin_kind, BOOT_STDIN_NULL) == 0) {
        int null = open("/dev/null", O_RDONLY);
        dup2(null, STDIN_FILENO);
        close(null);
    }
    if (plan->directory != NULL && chdir(plan->directory) != 0)
        dprintf(STDERR_FILENO, "oriel guest: cannot enter %s: %s\n", plan->directory, strerror(errno));
    char *const *argv = plan->argc > 0 ? plan->argv : shell;
    environ = plan->env;
    execvp(argv[0], argv);
    int err = errno;
    dprintf(STDERR_FILENO, "oriel guest: cannot run '%s': %s\n", argv[0], strerror(err));
    _exit(err == ENOENT ? BOOT_STATUS_NOT_FOUND : BOOT_STATUS_NOT_RUNNABLE);
}

/* What halt, poweroff and reboot send to the first process. */
static volatile sig_atomic_t asked_to_end;

static void on_end(int signal)
{
    (void)signal;
    asked_to_end = 1;
}

static void take_end_signals(void)
{
    struct sigaction action = {.sa_handler = on_end};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Also takes in the orphans that become ours. */
static unsigned wait_for(pid_t command)
{
    for (;;) {
        int status;
        pid_t pid = wait(&status);
        if (asked_to_end)
            return 0;
        if (pid < 0 && errno != EINTR)
            give_up("lost the command: %s", strerror(errno));
        if (pid != command)
            continue;
        if (WIFEXITED(status))
            return (unsigned)WEXITSTATUS(status);
        if (WIFSIGNALED(status))
            return BOOT_STATUS_SIGNAL_BASE + (unsigned)WTERMSIG(status);
    }
}

static void end_processes(void)
{
    kill(-1, SIGKILL);
    for (int i = 0; i < REAP_ROUNDS; i++) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0)
            return;
        if (pid == 0)
            usleep(1000);
    }
}

static void unmount_shares(const struct plan *plan)
{
    for (size_t i = plan->mount_count; i > 0; i--) {
        if (umount2(plan->mounts[i - 1], 0) != 0)
            umount2(plan->mounts[i - 1], MNT_DETACH);
    }
}

int main(void)
{
    static struct plan plan = {.stdin_kind = BOOT_STDIN_NULL, .tag = "", .options = ""};
    umask(022);
    sethostname(HOST_NAME, strlen(HOST_NAME));
    mount_system();
    use_console(O_NOCTTY);
    follow_config(&plan);
    set_terminal(&plan);
    tell_host(BOOT_INPUT_PORT, 0);
    pid_t command = fork();
    if (command < 0)
        give_up("cannot fork: %s", strerror(errno));
    if (command == 0)
        run_command(&plan);
    take_end_signals();
    unsigned status = wait_for(command);
    end_processes();
    unmount_shares(&plan);
    power_off(status);
}
