/* A daemon under test: started on a folder and a socket of its own, watched, ended. And TAP. */
#ifndef ORIEL_TESTS_DAEMON_H
#define ORIEL_TESTS_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum daemon_kind {
    DAEMON_ORIEL,     /* `oriel serve` */
    DAEMON_VIRTIOFSD, /* the C daemon of QEMU, as a control */
};

struct daemon {
    enum daemon_kind kind;
    const char *binary;
    int binary_fd;
    char folder[256]; /* a temporary folder: the share and the socket are in it */
    char share[300], socket[300], log[300];
    const char *extra[24]; /* further arguments, ended by NULL */
    int socket_fd;         /* -1: it makes its own socket */
    int starts;
    pid_t pid; /* 0: not running */
};

/*
 * Takes the daemon from the command line (`oriel PATH [arguments]` or `virtiofsd PATH [arguments]`) and makes
 * the temporary folder, with an empty folder to share. Ends the program when that fails.
 */
void daemon_init(struct daemon *daemon, int argc, char **argv);
/* Ends it and removes its folder. */
void daemon_finish(struct daemon *daemon);

/* Whether a sanitizer's runtime is in it, by its command line: such a build is tested without seccomp. */
bool daemon_is_sanitized(const struct daemon *daemon);

/* Starts it and waits for its socket. persist: it outlives its front-ends, where it can. False: it ended. */
bool daemon_start(struct daemon *daemon, bool persist);
/* Starts it with --fd, and waits for nothing. */
void daemon_start_on(struct daemon *daemon, int socket_fd);
bool daemon_is_running(struct daemon *daemon);
/* Waits for its end: the status of waitpid(), or -1 when it still runs. */
int daemon_wait(struct daemon *daemon, int timeout_ms);
void daemon_kill(struct daemon *daemon);
/* How many descriptors it has open. */
int daemon_open_fds(const struct daemon *daemon);

/* ---- TAP ---- */

void tap_plan(int count);
void tap_ok(bool ok, const char *name);
void tap_skip(const char *name, const char *reason);
void tap_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* In a case that returns whether it passed: says what did not hold, and ends it. */
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            tap_note("%s:%d: %s", __func__, __LINE__, #condition);                                           \
            return false;                                                                                    \
        }                                                                                                    \
    } while (0)
/* The exit status of the program: 1 when a case failed. */
int tap_status(void);

#endif
