#include <oriel/trace.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void read_whole(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, size - 1, f);
    text[n] = '\0';
    fclose(f);
}

static void temp_name(char *path)
{
    strcpy(path, "/tmp/oriel-trace-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static void one_line_per_event(void **state)
{
    (void)state;
    char path[64], text[4096];
    temp_name(path);
    struct oriel_trace *trace = NULL;
    assert_int_equal(oriel_trace_open(path, &trace), 0);
    ORIEL_TRACE(trace, "first %d", 1);
    ORIEL_TRACE(trace, "second %s", "a\nforged line\x1b");
    oriel_trace_close(trace);
    read_whole(path, text, sizeof(text));
    unlink(path);
    assert_non_null(strstr(text, "] first 1\n"));
    assert_non_null(strstr(text, "] second a?forged line?\n"));
}

static void long_lines_are_cut_and_still_end(void **state)
{
    (void)state;
    char path[64], text[4096], big[3000];
    temp_name(path);
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    struct oriel_trace *trace = NULL;
    assert_int_equal(oriel_trace_open(path, &trace), 0);
    ORIEL_TRACE(trace, "%s", big);
    oriel_trace_close(trace);
    read_whole(path, text, sizeof(text));
    unlink(path);
    assert_true(strlen(text) <= 1000);
    assert_int_equal(text[strlen(text) - 1], '\n');
}

static int evaluated(int *count)
{
    return ++*count;
}

static void off_evaluates_nothing(void **state)
{
    (void)state;
    struct oriel_trace *trace = NULL;
    int count = 0;
    ORIEL_TRACE(trace, "%d", evaluated(&count));
    assert_int_equal(count, 0);
}

static void bad_targets_are_refused(void **state)
{
    (void)state;
    struct oriel_trace *trace = NULL;
    assert_int_equal(oriel_trace_open("", &trace), -EINVAL);
    assert_int_equal(oriel_trace_open(NULL, &trace), -EINVAL);
    assert_int_equal(oriel_trace_open("/nonexistent-folder/x", &trace), -ENOENT);
    assert_null(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_per_event),
        cmocka_unit_test(long_lines_are_cut_and_still_end),
        cmocka_unit_test(off_evaluates_nothing),
        cmocka_unit_test(bad_targets_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
