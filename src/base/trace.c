#include <oriel/trace.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define TRACE_LINE_MAX 1000

struct oriel_trace {
    int fd;
    bool owns_fd;
    struct timespec opened;
};

int oriel_trace_open(const char *target, struct oriel_trace **out)
{
    if (target == NULL || target[0] == '\0')
        return -EINVAL;
    struct oriel_trace *trace = calloc(1, sizeof(*trace));
    if (trace == NULL)
        return -ENOMEM;
    trace->owns_fd = strcmp(target, "stderr") != 0;
    trace->fd = STDERR_FILENO;
    if (trace->owns_fd)
        trace->fd = open(target, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    if (trace->fd < 0) {
        int err = -errno;
        free(trace);
        return err;
    }
    clock_gettime(CLOCK_MONOTONIC, &trace->opened);
    *out = trace;
    return 0;
}

int oriel_trace_from_env(struct oriel_trace **out)
{
    const char *target = getenv("ORIEL_TRACE");
    *out = NULL;
    if (target == NULL || target[0] == '\0')
        return 0;
    return oriel_trace_open(target, out);
}

void oriel_trace_close(struct oriel_trace *trace)
{
    if (trace == NULL)
        return;
    if (trace->owns_fd)
        close(trace->fd);
    free(trace);
}

static size_t write_prefix(const struct oriel_trace *trace, char *line)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ns =
        (now.tv_sec - trace->opened.tv_sec) * INT64_C(1000000000) + (now.tv_nsec - trace->opened.tv_nsec);
    int n = snprintf(line, TRACE_LINE_MAX, "%lld.%06lld [%d] ", (long long)(ns / 1000000000),
                     (long long)(ns % 1000000000 / 1000), (int)gettid());
    return (size_t)n;
}

static void mask_control_characters(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
    }
}

void oriel_trace_line(struct oriel_trace *trace, const char *format, ...)
{
    char line[TRACE_LINE_MAX];
    int saved_errno = errno;
    size_t used = write_prefix(trace, line);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + used, sizeof(line) - used, format, args);
    va_end(args);
    if (n < 0)
        n = 0;
    size_t text_len = (size_t)n < sizeof(line) - used - 1 ? (size_t)n : sizeof(line) - used - 1;
    mask_control_characters(line + used, text_len);
    line[used + text_len] = '\n';
    ssize_t ignored = write(trace->fd, line, used + text_len + 1);
    (void)ignored;
    errno = saved_errno;
}
