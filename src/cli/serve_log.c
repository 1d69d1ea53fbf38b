#include "cli/serve_log.h"

#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

static enum serve_log_level least = SERVE_LOG_INFO;
static bool use_syslog;

void serve_log_open(enum serve_log_level level, bool to_syslog)
{
    least = level;
    use_syslog = to_syslog;
    if (to_syslog) /* now: there is no /dev/log in the sandbox */
        openlog("oriel-serve", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

static int priority_of(enum serve_log_level level)
{
    return level == SERVE_LOG_ERROR     ? LOG_ERR
           : level == SERVE_LOG_WARNING ? LOG_WARNING
           : level == SERVE_LOG_INFO    ? LOG_INFO
                                        : LOG_DEBUG;
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
    if (use_syslog)
        syslog(priority_of(level), "%s", line);
    else
        dprintf(2, "oriel serve: %s\n", line);
}
