#include "log.h"

#include <ctype.h>
#include <grp.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>

bool suite_is_root;

static void write_line(const char *line)
{
    size_t len = strlen(line);
    while (len > 0) { /* one write a line: children share the log */
        ssize_t n = write(STDOUT_FILENO, line, len);
        if (n <= 0)
            _exit(3);
        line += n;
        len -= (size_t)n;
    }
}

void log_line(const char *format, ...)
{
    char line[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    n = n < (int)sizeof(line) - 2 ? n : (int)sizeof(line) - 2;
    line[n] = '\n';
    line[n + 1] = '\0';
    write_line(line);
}

static const char *error_name(int error)
{
    const char *name = strerrorname_np(error);
    return name != NULL ? name : "?";
}

long log_result(const char *text, long value)
{
    int error = errno;
    if (value == -1)
        log_line("%s = -1 %s", text, error_name(error));
    else
        log_line("%s = %ld", text, value);
    errno = error;
    return value;
}

int log_fd(const char *text, int fd)
{
    int error = errno;
    log_line(fd < 0 ? "%s = -1 %s" : "%s = fd", text, error_name(error));
    return fd;
}

void show(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        log_line("%s: %s", path, error_name(errno));
        return;
    }
    bool sized = S_ISREG(st.st_mode) || S_ISLNK(st.st_mode);
    bool device = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode);
    log_line("%s: mode %o links %lu owner %u:%u size %ld rdev %lx", path, st.st_mode,
             (unsigned long)st.st_nlink, st.st_uid, st.st_gid, sized ? (long)st.st_size : 0,
             device ? (unsigned long)st.st_rdev : 0);
}

void show_content(const char *path)
{
    static unsigned char data[1 << 20];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof(data));
    if (n < 0) {
        log_line("%s: %s", path, error_name(errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    close(fd);
    char line[1800];
    size_t len = 0;
    for (ssize_t i = 0; i < n && len + 40 < sizeof(line);) {
        ssize_t run = 1;
        while (i + run < n && data[i + run] == data[i])
            run++;
        len += (size_t)snprintf(line + len, sizeof(line) - len, isgraph(data[i]) ? "%c" : "<%u>", data[i]);
        if (run > 3)
            len += (size_t)snprintf(line + len, sizeof(line) - len, "*%zd ", run);
        i += run > 3 ? run : 1;
    }
    line[len] = '\0';
    log_line("%s: %zd bytes: %s", path, n, line);
}

void put(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fchmod(fd, mode) != 0)
        log_line("cannot make %s: %s", path, error_name(errno));
    if (fd >= 0)
        close(fd);
}

struct times times_before(const char *path)
{
    struct timespec nap = {0, 15000000}; /* more than a tick of any kernel */
    nanosleep(&nap, NULL);
    struct stat st = {0};
    (void)lstat(path, &st);
    nanosleep(&nap, NULL);
    return (struct times){st.st_atim, st.st_mtim, st.st_ctim};
}

static char moved(struct timespec a, struct timespec b)
{
    long diff = a.tv_sec != b.tv_sec ? (long)(b.tv_sec - a.tv_sec) : b.tv_nsec - a.tv_nsec;
    return diff == 0 ? '=' : diff > 0 ? '+' : '-';
}

void times_after(const char *what, const char *path, const struct times *before)
{
    struct stat st = {0};
    (void)lstat(path, &st);
    log_line("%s: %s: atime%c mtime%c ctime%c", what, path, moved(before->atime, st.st_atim),
             moved(before->mtime, st.st_mtim), moved(before->ctime, st.st_ctim));
}

void join(const char *what, pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    log_line("%s: ended with %s %d", what, WIFSIGNALED(status) ? "signal" : "status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

void as_user(uid_t uid, gid_t gid, const gid_t *groups, size_t count, void (*body)(void))
{
    log_line("-- as %u:%u", uid, gid);
    pid_t child = fork();
    if (child == 0) {
        if (setgroups(count, groups) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
            _exit(99);
        body();
        _exit(0);
    }
    join("--", child);
}

pid_t start(void (*body)(void *), void *arg)
{
    pid_t child = fork();
    if (child == 0) {
        body(arg);
        _exit(0);
    }
    return child;
}
