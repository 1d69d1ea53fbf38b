#include "cli/serve_log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

static enum serve_log_level least = SERVE_LOG_INFO;
static int syslog_socket = -1;
static int own_pid;

/*
 * Not by syslog(3), which makes a new socket when the old one fails: seccomp ends the process for that. In the sandbox
 * there is no /dev/log either, so what is not connected by then never will be.
 */
static int connect_to_syslog(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    fprintf(stderr, "oriel serve: --syslog: /dev/log: %s; the log goes here\n", strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

void serve_log_open(enum serve_log_level level, bool to_syslog)
{
    least = level;
    own_pid = (int)getpid(); /* in its namespace it is another */
    if (to_syslog)
        syslog_socket = connect_to_syslog();
}

static int priority_of(enum serve_log_level level)
{
    return level == SERVE_LOG_ERROR     ? LOG_ERR
           : level == SERVE_LOG_WARNING ? LOG_WARNING
           : level == SERVE_LOG_INFO    ? LOG_INFO
                                        : LOG_DEBUG;
}

/*
 * Neither syslog nor stderr is waited for: a log that nobody reads stops no guest. (The lines for each request, of
 * --log-level debug, are written elsewhere and do wait.)
 */
static bool send_to_syslog(enum serve_log_level level, const char *line)
{
    char message[600];
    int len = snprintf(message, sizeof(message), "<%d>oriel-serve[%d]: %s", LOG_DAEMON | priority_of(level),
                       own_pid, line);
    return syslog_socket >= 0 && send(syslog_socket, message, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/* For one line: a pipe has a whole page free then, a socket more than a line. */
static bool has_room(void)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&fd, 1, 0) > 0;
}

static bool put_on_stderr(const char *line)
{
    char text[600];
    int len = snprintf(text, sizeof(text), "oriel serve: %s\n", line);
    return has_room() && write(STDERR_FILENO, text, (size_t)len) >= 0;
}

static void send_to_stderr(const char *line)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the room that was seen is this thread's */
    static unsigned long lost;
    char told[80];
    pthread_mutex_lock(&lock);
    snprintf(told, sizeof(told), "lines lost, as nobody read this log: %lu", lost);
    if (lost != 0 && put_on_stderr(told))
        lost = 0;
    if (!put_on_stderr(line))
        lost++;
    pthread_mutex_unlock(&lock);
}

void serve_log(enum serve_log_level level, const char *format, ...)
{
    char line[512];
    va_list args;
    if (level > least)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (!send_to_syslog(level, line))
        send_to_stderr(line);
}
