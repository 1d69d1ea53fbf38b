#include "unit/microvm/unit.h"

#include "cli/run_options.h"

#define WORDS_MAX 80

struct parsed {
    struct run_options options;
    struct vm_error error;
    char *argv[WORDS_MAX];
    int argc;
};

/* Words separated by '|', so that one may be empty or have spaces. */
static int parse(struct parsed *p, const char *line)
{
    char *text = strdup(line), *rest = text;
    *p = (struct parsed){0};
    p->argv[p->argc++] = strdup("run");
    while (rest != NULL && line[0] != '\0')
        p->argv[p->argc++] = strdup(strsep(&rest, "|"));
    free(text);
    return run_options_parse(p->argc, p->argv, &p->options, &p->error);
}

static void drop(struct parsed *p)
{
    run_options_destroy(&p->options);
    for (int i = 0; i < p->argc; i++)
        free(p->argv[i]);
}

static void nothing_asked_gives_defaults(void **state)
{
    (void)state;
    struct parsed p;
    assert_int_equal(parse(&p, ""), 0);
    assert_int_equal(p.options.share_count, 0);
    assert_int_equal(p.options.mem, UINT64_C(1) << 30);
    assert_int_equal(p.options.cpus, 1);
    assert_null(p.options.kernel);
    assert_null(p.options.command[0]);
    assert_false(p.options.no_stats);
    drop(&p);
}

static void every_option_is_taken(void **state)
{
    (void)state;
    struct parsed p;
    assert_int_equal(parse(&p, "--share|/tmp:a,ro|--share=/tmp:b|--kernel|k|--modules|m|--mem|512|--cpus|4|"
                               "--cmdline-extra|x=1 y|--trace|t|--stats=s|ls|-l|--|--mem"),
                     0);
    assert_int_equal(p.options.share_count, 2);
    assert_true(p.options.shares[0].read_only);
    assert_string_equal(p.options.shares[1].tag, "b");
    assert_string_equal(p.options.kernel, "k");
    assert_string_equal(p.options.modules, "m");
    assert_int_equal(p.options.mem, 512 << 20);
    assert_int_equal(p.options.cpus, 4);
    assert_string_equal(p.options.cmdline_extra, "x=1 y");
    assert_string_equal(p.options.trace, "t");
    assert_string_equal(p.options.stats_file, "s");
    /* What follows the first word of the command is the command's. */
    assert_string_equal(p.options.command[0], "ls");
    assert_string_equal(p.options.command[1], "-l");
    assert_string_equal(p.options.command[2], "--");
    assert_string_equal(p.options.command[3], "--mem");
    assert_null(p.options.command[4]);
    drop(&p);
}

static void a_window_may_take_half_the_memory(void **state)
{
    (void)state;
    struct parsed p;
    assert_int_equal(parse(&p, "--share|/tmp:a,dax=32G"), 0);
    drop(&p);
    assert_int_equal(parse(&p, "--mem|2G|--share|/tmp:a,dax=64G"), 0);
    drop(&p);
}

static void a_command_may_look_like_an_option(void **state)
{
    (void)state;
    struct parsed p;
    assert_int_equal(parse(&p, "--cpus|2|--|--version||a b"), 0);
    assert_string_equal(p.options.command[0], "--version");
    assert_string_equal(p.options.command[1], "");
    assert_string_equal(p.options.command[2], "a b");
    drop(&p);
}

static void refuse(const char *line, const char *words)
{
    struct parsed p;
    int err = parse(&p, line);
    if (err >= 0 || strstr(p.error.text, words) == NULL || strchr(p.error.text, '\n') != NULL)
        fail_msg("'%s' gave %d: %s", line, err, p.error.text);
    drop(&p);
}

static void bad_options_are_refused_with_advice(void **state)
{
    (void)state;
    refuse("--bogus", "--bogus");
    refuse("-x", "-x");
    refuse("--mem", "needs a value");
    refuse("--mem|", "128M");
    refuse("--mem|127", "128M");
    refuse("--mem|x", "128M");
    refuse("--mem|2T", "128M to 1T");
    refuse("--mem|99999999999999999999", "128M");
    refuse("--cpus|0", "1 to 64");
    refuse("--cpus|65", "1 to 64");
    refuse("--cpus|two", "1 to 64");
    refuse("--kernel|", "--kernel needs");
    refuse("--modules|", "--modules needs");
    refuse("--trace|", "--trace needs");
    refuse("--share|/tmp", "DIR:TAG");
    refuse("--share|/tmp:a|--share|/:a", "'a'");
    refuse("--help=1", "--help=1");
    refuse("--share|/tmp:a,dax=64G", "1024 MiB of the guest's 1024 MiB");
    refuse("--share|/tmp:a,dax=16G|--share|/:b,dax=32G", "--mem");
}

static void shares_have_a_bound(void **state)
{
    (void)state;
    char line[2048] = "";
    size_t n = 0;
    for (int i = 0; i <= RUN_SHARES_MAX; i++)
        n += (size_t)snprintf(line + n, sizeof(line) - n, "%s--share|/tmp:t%d", i > 0 ? "|" : "", i);
    refuse(line, "24");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_asked_gives_defaults),
        cmocka_unit_test(every_option_is_taken),
        cmocka_unit_test(a_command_may_look_like_an_option),
        cmocka_unit_test(bad_options_are_refused_with_advice),
        cmocka_unit_test(shares_have_a_bound),
        cmocka_unit_test(a_window_may_take_half_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
