#include "unit/microvm/unit.h"

#include <sys/stat.h>

#include "cli/share_spec.h"

static void the_parts_are_taken_apart(void **state)
{
    (void)state;
    struct share_spec spec;
    struct vm_error error;
    assert_int_equal(share_spec_parse("/tmp:work", &spec, &error), 0);
    assert_string_equal(spec.dir, "/tmp");
    assert_string_equal(spec.tag, "work");
    assert_string_equal(spec.mount, "/mnt/work");
    assert_int_equal(spec.window_len, UINT64_C(1) << 30);
    assert_false(spec.read_only);
    share_spec_destroy(&spec);

    assert_int_equal(share_spec_parse("/tmp:t,ro,dax=64M", &spec, &error), 0);
    assert_true(spec.read_only);
    assert_int_equal(spec.window_len, 64 << 20);
    share_spec_destroy(&spec);

    assert_int_equal(share_spec_parse("/tmp:t,dax=0", &spec, &error), 0);
    assert_int_equal(spec.window_len, 0);
    share_spec_destroy(&spec);
}

static void a_folder_may_have_colons_and_commas(void **state)
{
    (void)state;
    struct share_spec spec;
    struct vm_error error;
    char folder[] = "/tmp/oriel:a,ro-XXXXXX", text[64];
    assert_non_null(mkdtemp(folder));
    snprintf(text, sizeof(text), "%s:t", folder);
    assert_int_equal(share_spec_parse(text, &spec, &error), 0);
    assert_string_equal(spec.dir, folder);
    assert_false(spec.read_only);
    share_spec_destroy(&spec);
    rmdir(folder);
}

static void refuse(const char *text, int err, const char *words)
{
    struct share_spec spec;
    struct vm_error error;
    int got = share_spec_parse(text, &spec, &error);
    if (got != err || strstr(error.text, words) == NULL || strchr(error.text, '\n') != NULL)
        fail_msg("'%s' gave %d: %s", text, got, error.text);
}

static void bad_shares_are_refused_with_advice(void **state)
{
    (void)state;
    refuse("", -EINVAL, "DIR:TAG");
    refuse("/tmp", -EINVAL, "DIR:TAG");
    refuse(":t", -EINVAL, "DIR:TAG");
    refuse("/tmp:", -EINVAL, "DIR:TAG");
    refuse("/tmp:,ro", -EINVAL, "DIR:TAG");
    refuse("/nonexistent:t", -ENOENT, "create it");
    refuse("/etc/passwd:t", -ENOTDIR, "not a folder");
    refuse("/tmp:1234567890123456789012345678901234567", -EINVAL, "37 bytes");
    refuse("/tmp:a\nb", -EINVAL, "newline");
    refuse("/tmp:a/b", -EINVAL, "/mnt/TAG");
    refuse("/tmp:..", -EINVAL, "/mnt/TAG");
    refuse("/tmp:.", -EINVAL, "/mnt/TAG");
    refuse("/tmp:t,rw", -EINVAL, "'rw'");
    refuse("/tmp:t,", -EINVAL, "''");
    refuse("/tmp:t,dax", -EINVAL, "'dax'");
    refuse("/tmp:t,dax=", -EINVAL, "no size");
    refuse("/tmp:t,dax=big", -EINVAL, "no size");
    refuse("/tmp:t,dax=-1", -EINVAL, "no size");
    refuse("/tmp:t,dax=16M", -EINVAL, "32M");
    refuse("/tmp:t,dax=1", -EINVAL, "32M");
    refuse("/tmp:t,dax=48M", -EINVAL, "power of two");
    refuse("/tmp:t,dax=33554433", -EINVAL, "power of two");
}

static void a_tag_of_36_bytes_is_the_longest(void **state)
{
    (void)state;
    struct share_spec spec;
    struct vm_error error;
    assert_int_equal(share_spec_parse("/tmp:123456789012345678901234567890123456", &spec, &error), 0);
    assert_int_equal(strlen(spec.tag), 36);
    assert_string_equal(spec.mount, "/mnt/123456789012345678901234567890123456");
    share_spec_destroy(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parts_are_taken_apart),
        cmocka_unit_test(a_folder_may_have_colons_and_commas),
        cmocka_unit_test(bad_shares_are_refused_with_advice),
        cmocka_unit_test(a_tag_of_36_bytes_is_the_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
