/* What every test of the VMM includes, in the order cmocka needs it. */
#ifndef ORIEL_TESTS_UNIT_MICROVM_UNIT_H
#define ORIEL_TESTS_UNIT_MICROVM_UNIT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A file in /tmp with these bytes; the caller unlinks and frees the name. */
static inline char *temp_file(const void *bytes, size_t len)
{
    char *path = strdup("/tmp/oriel-unit-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
    return path;
}

static inline void drop_file(char *path)
{
    unlink(path);
    free(path);
}

#endif
