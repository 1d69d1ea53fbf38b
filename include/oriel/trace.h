/*
 * Trace: one line per FUSE and DAX event, with all its numbers.
 *
 * A trace is an object that the caller makes and hands to sessions, servers and devices in their options;
 * there is no global trace. NULL means "off" and costs each event one predictable branch.
 */
#ifndef ORIEL_TRACE_H
#define ORIEL_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct oriel_trace;

/*
 * Opens a trace that writes to `target`: "stderr", or a file name (created with mode 0600, appended to,
 * O_CLOEXEC, never through a symbolic link). The caller owns *out and closes it after everything that uses it
 * is gone. Errors: -EINVAL (target NULL or empty), -ENOMEM, or what open(2) says of the file.
 */
int oriel_trace_open(const char *target, struct oriel_trace **out);

/*
 * As oriel_trace_open, with the target from the environment variable ORIEL_TRACE.
 * Returns 0 with *out == NULL when the variable is unset or empty. Errors: as oriel_trace_open.
 */
int oriel_trace_from_env(struct oriel_trace **out);

/* Closes the trace. NULL is allowed. No other call on it may be running. */
void oriel_trace_close(struct oriel_trace *trace);

/*
 * Writes one line: seconds since the trace was opened, the thread id, then the formatted text; at most 1,000
 * bytes, one write(2) a line, so lines of several threads never mix. Control characters in the text are
 * written as '?', so names from a guest can't forge lines. Errors of the write are ignored: tracing never
 * changes what is traced. Any thread. trace must not be NULL; use ORIEL_TRACE() to test it first.
 */
void oriel_trace_line(struct oriel_trace *trace, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/* Emits a line if the trace is on. The arguments are not evaluated when it is off. */
#define ORIEL_TRACE(trace, ...)                                                                              \
    do {                                                                                                     \
        if (__builtin_expect((trace) != NULL, 0))                                                            \
            oriel_trace_line((trace), __VA_ARGS__);                                                          \
    } while (0)

#ifdef __cplusplus
}
#endif

#endif
