/*
 * The guest suite: checks that run inside a guest, on a mounted share that is the working folder, and print
 * TAP.
 *
 * Every check runs in a process of its own: it passes by returning, and fails by require(), a signal, or by
 * taking too long. Files that a check leaves for the host are named with publish(): the host compares its own
 * hash of them.
 */
#ifndef SUITE_H
#define SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KIB   ((size_t)1024)
#define MIB   ((size_t)1024 * 1024)
#define RANGE (2 * MIB) /* what the Linux guest maps at a time */

struct check {
    const char *group, *name;
    void (*run)(void);
};
extern const struct check file_checks[], mapping_checks[], name_checks[], window_checks[], share_checks[];

/* Ends the check as failed, with the reason, unless `good`. */
void require(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the check as skipped, with the reason. */
void skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A line for the host in the output: "# KEY ...". */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Tells the host the hash of a file as this side reads it. */
void publish(const char *name);

/* Looks a name up that is not there: a line in the host's trace that says which step begins. */
void mark(const char *step);

/* Test data: byte `offset` of the stream `seed`. Whole words are quick where offset and length allow. */
void fill(void *to, size_t len, uint64_t seed, uint64_t offset);
void require_filled(const void *data, size_t len, uint64_t seed, uint64_t offset, const char *what);

/* Calls that end the check when they fail. */
int must_open(const char *name, int flags);
void must_pread(int fd, void *to, size_t len, off_t offset);
void must_pwrite(int fd, const void *from, size_t len, off_t offset);
void must_truncate(int fd, size_t len);
char *must_map(int fd, size_t len, int prot);
off_t must_size(int fd);

/* A new file of that length and stream, made with write(2). */
int new_file(const char *name, size_t len, uint64_t seed);

/* Reads (or writes) one byte; false where that raises SIGBUS. */
bool can_read(const volatile char *at);
bool can_write(volatile char *at);

/* Lower-case hex SHA-256 of the rest of the open file. */
void sha256_of(int fd, char hex[65]);

#endif
