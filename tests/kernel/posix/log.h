/*
 * The POSIX suite's log: one line for each call with what came of it, the same for every file system that behaves the
 * same. tests/kernel/test_posix.py compares the logs of a mount and of a plain folder.
 *
 * Topics are written from the manual pages of the calls (man 2, man 7: inode, path_resolution, symlink, xattr; man 5:
 * acl). What they do is compared, not judged: the plain folder says what is right.
 */
#ifndef TESTS_KERNEL_POSIX_LOG_H
#define TESTS_KERNEL_POSIX_LOG_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* "text = value" or "text = -1 ENOENT". */
long log_result(const char *text, long value);
/* The same for calls whose value differs from run to run: descriptors, addresses. */
int log_fd(const char *text, int fd);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define T(expr)  log_result(#expr, (errno = 0, (long)(expr)))
#define FD(expr) log_fd(#expr, (errno = 0, (expr)))

/* Type, mode, links, owner, and for files the size. */
void show(const char *path);
/* The content as text, control characters as numbers, long runs counted. */
void show_content(const char *path);

/* A file with this text. Not logged. */
void put(const char *path, const char *text, mode_t mode);

/* Which of a file's times an action moved on. */
struct times {
    struct timespec atime, mtime, ctime;
};
struct times times_before(const char *path); /* waits until the clock of the file system has moved on */
void times_after(const char *what, const char *path, const struct times *before);

/* Runs body in a child as this user, with these supplementary groups, and waits. Only as root. */
void as_user(uid_t uid, gid_t gid, const gid_t *groups, size_t count, void (*body)(void));
/* Runs body in a child, not waited for; join() waits and logs its exit status. */
pid_t start(void (*body)(void *), void *arg);
void join(const char *what, pid_t child);

extern bool suite_is_root;

void topic_open(void);
void topic_names(void);
void topic_links(void);
void topic_permissions(void);
void topic_owners(void);
void topic_rename(void);
void topic_times(void);
void topic_data(void);
void topic_holes(void);
void topic_processes(void);
void topic_locks(void);
void topic_xattr(void);
void topic_acl(void);
void topic_folders(void);
void topic_special(void);

#endif
