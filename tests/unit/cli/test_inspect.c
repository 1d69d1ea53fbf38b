#include "cli/inspect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <oriel/dax.h>

#include "base/le.h"

#define MIB (UINT64_C(1) << 20)

static size_t section(unsigned char *blob)
{
    const uint64_t entries[3][5] = {
        {0, 2 * MIB, 7, 4 * MIB, 1}, {2 * MIB, 2 * MIB, 8, 0, 3}, {62 * MIB, 2 * MIB, 7, 0, 1}};
    memcpy(blob, "DAXS", 4);
    le32_store(blob + 4, 1);
    le64_store(blob + 8, UINT64_C(1) << 32);
    le64_store(blob + 16, 64 * MIB);
    le64_store(blob + 24, 32 * MIB);
    le64_store(blob + 32, 6 * MIB);
    le64_store(blob + 40, 3);
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 5; k++)
            le64_store(blob + ORIEL_DAXS_HEADER + i * ORIEL_DAXS_ENTRY + k * 8, entries[i][k]);
    }
    return ORIEL_DAXS_HEADER + 3 * ORIEL_DAXS_ENTRY;
}

static void prints_a_table_and_a_map(void **state)
{
    (void)state;
    unsigned char blob[256];
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_int_equal(inspect_section(out, blob, section(blob)), 0);
    fclose(out);
    assert_non_null(strstr(text, "DAX window of 64 MiB at 0x100000000, cap 32 MiB, 6 MiB mapped in 3 slots"));
    assert_non_null(
        strstr(text, "0x200000        2 MiB                    8                  0  read, write"));
    assert_non_null(strstr(
        text, " hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIII\n")); /* 64 KiB each */
    assert_non_null(strstr(text, "................................hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh\n"));
    free(text);
}

static void strange_entries_are_shown_and_harm_nothing(void **state)
{
    (void)state;
    unsigned char blob[256];
    char *text = NULL;
    size_t len = 0, size = section(blob);
    FILE *out = open_memstream(&text, &len);
    le64_store(blob + ORIEL_DAXS_HEADER, UINT64_MAX - 5);
    le64_store(blob + ORIEL_DAXS_HEADER + ORIEL_DAXS_ENTRY + 8, 0);
    assert_int_equal(inspect_section(out, blob, size), 0);
    le64_store(blob + 16, UINT64_MAX);
    assert_int_equal(inspect_section(out, blob, size), 0);
    le64_store(blob + 16, 1);
    assert_int_equal(inspect_section(out, blob, size), 0);
    le64_store(blob + 16, 0);
    assert_int_equal(inspect_section(out, blob, size), 0);
    assert_int_equal(inspect_section(out, blob, size - 1), -EMSGSIZE);
    assert_int_equal(inspect_section(out, "nothing of the kind", 19), -ENOMSG);
    fclose(out);
    assert_non_null(strstr(text, "0xfffffffffffffffa"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_a_table_and_a_map),
        cmocka_unit_test(strange_entries_are_shown_and_harm_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
