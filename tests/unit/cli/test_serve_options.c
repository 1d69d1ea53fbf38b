/*
 * Every option and spelling of virtiofsd 1.10 to 1.13 and of the C daemon that was part of QEMU: taken with the same
 * meaning, or refused in one line that names it. And whole command lines as front-ends build them.
 */
#include "unit/microvm/unit.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "cli/serve_options.h"

#define WORDS_MAX 32

/* What differs from the defaults, in words. */
struct description {
    char text[1024];
    size_t len;
};

static void say(struct description *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct description *d, const char *format, ...)
{
    va_list args;
    if (d->len != 0)
        d->text[d->len++] = ' ';
    va_start(args, format);
    d->len += (size_t)vsnprintf(d->text + d->len, sizeof(d->text) - d->len, format, args);
    va_end(args);
    assert_true(d->len < sizeof(d->text) - 1);
}

static void say_if(struct description *d, bool condition, const char *word)
{
    if (condition)
        say(d, "%s", word);
}

static void say_string(struct description *d, const char *name, const char *value)
{
    if (value != NULL)
        say(d, "%s=%s", name, value);
}

static void say_word(struct description *d, const char *const *words, int value)
{
    if (value != 0)
        say(d, "%s", words[value]);
}

static void say_maps(struct description *d, const char *name, const struct sandbox_id_map *maps, size_t count)
{
    for (size_t i = 0; i < count; i++)
        say(d, "%s=%u:%u:%u", name, maps[i].inside, maps[i].outside, maps[i].count);
}

static void say_rules(struct description *d, const char *name, const struct id_rules *rules)
{
    static const char *const kinds[] = {"map",          "guest",       "host",
                                        "squash-guest", "squash-host", "forbid-guest"};
    for (size_t i = 0; i < rules->count; i++) {
        const struct oriel_id_rule *r = &rules->rules[i];
        say(d, "%s=%s,%u,%u,%u", name, kinds[r->kind], r->guest, r->host, r->count);
    }
}

static void say_walls(struct description *d, const struct serve_options *o)
{
    static const char *const modes[] = {"namespace", "chroot", "unwalled"};
    static const char *const actions[] = {"kill", "seccomp-log", "seccomp-trap", "seccomp-none"};
    say_word(d, modes, (int)o->sandbox.mode);
    say_word(d, actions, (int)o->sandbox.seccomp);
    say_maps(d, "uid", o->sandbox.uid_map, o->sandbox.uid_maps);
    say_maps(d, "gid", o->sandbox.gid_map, o->sandbox.gid_maps);
    say_string(d, "modcaps", o->sandbox.modcaps);
    say_if(d, !o->sandbox.device_nodes, "no-nodes");
}

static void say_semantics(struct description *d, const struct serve_options *o)
{
    static const char *const caches[] = {"auto", "never", "metadata", "always"};
    static const char *const handles[] = {"prefer", "no-handles", "mandatory"};
    assert_int_equal(ORIEL_FILE_HANDLES_PREFER, 0);
    say_word(d, caches, (int)o->cache);
    say_word(d, handles, (int)o->file_handles);
    if (o->timeout_set)
        say(d, "timeout=%llu", (unsigned long long)o->timeout_ns);
    say_if(d, o->writeback, "writeback");
    say_if(d, o->xattr, "xattr");
    say_if(d, o->posix_acl, "acl");
    say_if(d, o->security_label, "label");
    say_if(d, !o->announce_submounts, "no-submounts");
    say_if(d, o->read_only, "readonly");
    say_if(d, o->allow_mmap, "mmap");
    say_if(d, o->no_readdirplus, "no-plus");
    say_if(d, o->no_killpriv_v2, "no-killpriv");
    say_if(d, o->posix_lock, "posix-lock");
    say_if(d, o->flock, "flock");
    say_rules(d, "translate-uid", &o->uid_rules);
    say_rules(d, "translate-gid", &o->gid_rules);
}

/* One for each core that the process may run on. */
static uint16_t default_queues(void)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    return (uint16_t)min_u64((uint64_t)CPU_COUNT(&set), 64);
}

static void say_rest(struct description *d, const struct serve_options *o)
{
    static const char *const levels[] = {"off", "error", "warn", "info", "debug"};
    static const char *const polls[] = {"poll-auto", "poll-off", "poll-on"};
    assert_int_equal(ORIEL_POLL_AUTO, 0);
    say_string(d, "group", o->socket_group);
    say_string(d, "tag", o->tag);
    say_if(d, o->persist, "persist");
    if (o->pool_set)
        say(d, "pool=%u", o->pool_size);
    if (o->queues != default_queues())
        say(d, "queues=%u", o->queues);
    say_word(d, polls, (int)o->poll);
    if (o->rlimit_set)
        say(d, "rlimit=%llu", (unsigned long long)o->rlimit_nofile);
    if (o->log_level != SERVE_LOG_INFO)
        say(d, "log-%s", levels[o->log_level]);
    say_if(d, o->syslog, "syslog");
    say_if(d, o->help, "help");
    say_if(d, o->version, "version");
    say_if(d, o->print_capabilities, "capabilities");
}

static void describe(struct description *d, const struct serve_options *o)
{
    *d = (struct description){0};
    say_walls(d, o);
    say_semantics(d, o);
    say_rest(d, o);
}

/* ---- parsing, with what goes to stderr ---- */

struct parsed {
    struct serve_options options;
    bool good;
    char complaint[512];
    char *text;
    char *argv[WORDS_MAX];
};

static int words_of(char *argv[], char *text)
{
    int argc = 0;
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(argc < WORDS_MAX - 1);
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    return argc;
}

static void parse_words(struct parsed *p, int argc)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stderr);
    int before = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    p->good = serve_options_parse(&p->options, argc, p->argv);
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    ssize_t len = pread(fileno(file), p->complaint, sizeof(p->complaint) - 1, 0);
    assert_true(len >= 0);
    p->complaint[len] = '\0';
    fclose(file);
}

/* prefix and line are words separated by blanks. */
static void parse(struct parsed *p, const char *prefix, const char *line)
{
    *p = (struct parsed){0};
    assert_true(asprintf(&p->text, "%s %s", prefix, line) >= 0);
    parse_words(p, words_of(p->argv, p->text));
}

static void drop(struct parsed *p)
{
    free(p->text);
}

struct taken {
    const char *line, *means;
};

static void take_all(const char *prefix, const struct taken *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct parsed p;
        struct description d;
        parse(&p, prefix, rows[i].line);
        if (!p.good || p.complaint[0] != '\0')
            fail_msg("%s: refused: %s", rows[i].line, p.complaint);
        describe(&d, &p.options);
        if (strcmp(d.text, rows[i].means) != 0)
            fail_msg("%s: means '%s' and not '%s'", rows[i].line, d.text, rows[i].means);
        drop(&p);
    }
}

/* ---- options one by one ---- */

static const struct taken rust_options[] = {
    {"", ""},
    {"--socket-group kvm", "group=kvm"},
    {"--tag=share", "tag=share"},
    {"--tag share", "tag=share"},
    {"--thread-pool-size=0", "pool=0"},
    {"--thread-pool-size 8", "pool=8"},
    {"--xattr", "xattr"},
    {"--posix-acl", "xattr acl"},
    {"--security-label", "xattr label"},
    {"--sandbox=namespace", ""},
    {"--sandbox chroot", "chroot"},
    {"--sandbox=none", "unwalled"},
    {"--seccomp=kill", ""},
    {"--seccomp log", "seccomp-log"},
    {"--seccomp=trap", "seccomp-trap"},
    {"--seccomp=none", "seccomp-none"},
    {"--readonly", "readonly"},
    {"--announce-submounts", ""},
    {"--no-announce-submounts", "no-submounts"},
    {"--announce-submounts --no-announce-submounts", "no-submounts"},
    {"--inode-file-handles=never", "no-handles"},
    {"--inode-file-handles=prefer", ""},
    {"--inode-file-handles=fallback", ""},
    {"--inode-file-handles=mandatory", "mandatory"},
    {"--cache=auto", ""},
    {"--cache always", "always"},
    {"--cache=never", "never"},
    {"--cache=metadata", "metadata"},
    {"--cache=always --cache=never", "never"},
    {"--allow-mmap", "mmap"},
    {"--no-readdirplus", "no-plus"},
    {"--writeback", "writeback"},
    {"--modcaps=+sys_admin:-chown", "modcaps=+sys_admin:-chown"},
    {"--modcaps=-mknod", "modcaps=-mknod"},
    {"--log-level=off", "log-off"},
    {"--log-level error", "log-error"},
    {"--log-level=warn", "log-warn"},
    {"--log-level=info", ""},
    {"--log-level=DEBUG", "log-debug"},
    {"--log-level=trace", "log-debug"},
    {"--syslog", "syslog"},
    {"--rlimit-nofile=0", "rlimit=0"},
    {"--rlimit-nofile 4096", "rlimit=4096"},
    {"-d", "log-debug"},
    {"-f", ""},
    {"--killpriv-v2", ""},
    {"--no-killpriv-v2", "no-killpriv"},
    {"--no-killpriv-v2 --killpriv-v2", ""},
    {"--preserve-noatime", ""},
    {"--uid-map=:0:100000:65536:", "uid=0:100000:65536"},
    {"--uid-map :0:1000:1: --uid-map :1:100000:65536:", "uid=0:1000:1 uid=1:100000:65536"},
    {"--gid-map=:0:1000:1:", "gid=0:1000:1"},
    {"--translate-uid=map:1000:0:1", "translate-uid=map,1000,0,1"},
    {"--translate-uid squash-guest:0:1001:4294967295 --translate-uid host:1001:1000:1",
     "translate-uid=squash-guest,0,1001,4294967295 translate-uid=host,1000,1001,1"},
    {"--translate-gid=forbid-guest:5:2", "translate-gid=forbid-guest,5,0,2"},
    {"-V", "version"},
    {"--version", "version"},
    {"-h", "help"},
    {"--help", "help"},
    {"--print-capabilities", "capabilities"},
    /* Its -o form. */
    {"-o cache=none", "never"},
    {"-o loglevel=err", "log-error"},
    {"-o loglevel=debug", "log-debug"},
};

static void options_of_the_rust_daemon(void **state)
{
    (void)state;
    take_all("serve --shared-dir /srv --socket-path=/s", rust_options, ARRAY_LEN(rust_options));
}

static const struct taken c_options[] = {
    {"", ""},
    {"-o cache=auto", ""},
    {"-o cache=none", "never"},
    {"-ocache=always", "always"},
    {"-o flock,posix_lock", "posix-lock flock"},
    {"-o flock,posix_lock,no_flock,no_posix_lock", ""},
    {"-o log_level=debug", "log-debug"},
    {"-o log_level=info", ""},
    {"-o log_level=warn", "log-warn"},
    {"-o log_level=err", "log-error"},
    {"-o debug", "log-debug"},
    {"-d", "log-debug"},
    {"-f --syslog", "syslog"},
    {"-o no_readdirplus", "no-plus"},
    {"-o no_readdirplus -o readdirplus", ""},
    {"-o sandbox=namespace", ""},
    {"-o sandbox=chroot", "chroot"},
    {"-o timeout=2.5", "timeout=2500000000"},
    {"-o writeback", "writeback"},
    {"-o writeback,no_writeback", ""},
    {"-o xattr", "xattr"},
    {"-o xattr,no_xattr", ""},
    {"-o modcaps=+sys_admin:-chown", "modcaps=+sys_admin:-chown"},
    {"--rlimit-nofile=1024", "rlimit=1024"},
    {"-o no_allow_direct_io", ""},
    {"-o announce_submounts", ""},
    {"-o posix_acl", "xattr acl"},
    {"-o posix_acl,no_posix_acl", "xattr"},
    {"-o security_label", "xattr label"},
    {"-o security_label,no_security_label", "xattr"},
    {"-o killpriv_v2", ""},
    {"-o no_killpriv_v2", "no-killpriv"},
    {"-o killpriv_v2,no_killpriv_v2", "no-killpriv"},
    {"-o no_killpriv_v2,killpriv_v2", ""},
    {"-o no_xattr,posix_acl", "xattr acl"},
    {"-o posix_acl,no_posix_acl,no_xattr", ""},
    {"--socket-group=kvm", "group=kvm"},
    {"--thread-pool-size=64", "pool=64"},
    {"--print-capabilities", "capabilities"},
    {"-h", "help"},
    {"-V", "version"},
};

static void options_of_the_c_daemon(void **state)
{
    (void)state;
    take_all("serve -o source=/srv --socket-path=/s", c_options, ARRAY_LEN(c_options));
}

static const struct taken own_options[] = {
    {"--persist", "persist"},
    {"--posix-lock --flock", "posix-lock flock"},
    {"--num-request-queues=63", "queues=63"},
    {"--num-request-queues 61 --poll=off", "queues=61 poll-off"},
    {"--poll=on", "poll-on"},
    {"--poll on --poll auto", ""},
    {"--no-device-nodes", "no-nodes"},
};

static void options_that_are_our_own(void **state)
{
    (void)state;
    take_all("serve --shared-dir=/srv --fd=3", own_options, ARRAY_LEN(own_options));
}

/* ---- where and what ---- */

static void expect_place(const char *line, const char *folder, const char *socket, int fd)
{
    struct parsed p;
    parse(&p, "serve", line);
    if (!p.good)
        fail_msg("%s: refused: %s", line, p.complaint);
    assert_string_equal(p.options.shared_dir, folder);
    if (socket == NULL)
        assert_null(p.options.socket_path);
    else
        assert_string_equal(p.options.socket_path, socket);
    assert_int_equal(p.options.fd, fd);
    drop(&p);
}

static void folder_and_socket_in_every_spelling(void **state)
{
    (void)state;
    expect_place("--shared-dir=/srv --socket-path=/s", "/srv", "/s", -1);
    expect_place("--shared-dir /srv --socket-path /s", "/srv", "/s", -1);
    expect_place("--shared-dir /srv --socket /s", "/srv", "/s", -1);
    expect_place("--shared-dir /srv --fd=7", "/srv", NULL, 7);
    expect_place("--fd 7 -o source=/srv", "/srv", NULL, 7);
    expect_place("-o vhost_user_socket=/s,source=/srv", "/srv", "/s", -1);
    expect_place("--fd=7 -o source=/srv/a=b,cache=none", "/srv/a=b", NULL, 7);
}

static void libvirt_doubles_the_commas_of_a_path(void **state)
{
    (void)state;
    expect_place("--fd=7 -o source=/srv/a,,b,cache=none,xattr", "/srv/a,b", NULL, 7);
    expect_place("--fd=7 -o source=/srv/,,,,b", "/srv/,,b", NULL, 7);
    expect_place("--fd=7 -o source=/srv/b,,", "/srv/b,", NULL, 7);
    expect_place("--fd=7 -o xattr,source=/srv/b,,,cache=none", "/srv/b,", NULL, 7);
}

/* ---- refused ---- */

static const struct {
    const char *line, *says;
} refusals[] = {
    /* Known, and not to be had here. */
    {"--allow-direct-io", "--allow-direct-io is not supported"},
    {"-o allow_direct_io", "-o allow_direct_io is not supported"},
    {"-o allow_root", "-o allow_root is not supported"},
    {"-o max_idle_threads=10", "-o max_idle_threads is not supported"},
    {"-o norace", "-o norace is not supported"},
    {"--daemonize", "--daemonize is not supported"},
    {"--migration-mode=find-paths", "--migration-mode is not supported"},
    {"--migration-mode file-handles", "--migration-mode is not supported"},
    {"--migration-on-error=guest-error", "--migration-on-error is not supported"},
    {"--migration-verify-handles", "--migration-verify-handles is not supported"},
    {"--migration-confirm-paths", "--migration-confirm-paths is not supported"},
    /* No option of either. */
    {"--cachee=auto", "--cachee is unknown"},
    {"-o cachee=auto", "-o cachee is unknown"},
    {"-o cache=none,", "-o  is unknown"},
    {"-x", "-x is no option"},
    {"--", "-- is no option"},
    {"folder", "folder is no option"},
    /* Values. */
    {"--cache", "--cache needs a value"},
    {"-o cache", "-o cache needs a value"},
    {"-o", "-o needs a value"},
    {"--xattr=on", "--xattr takes no value"},
    {"-o xattr=on", "-o xattr takes no value"},
    {"--cache=sometimes", "--cache must be auto"},
    {"--sandbox=jail", "--sandbox must be namespace"},
    {"--seccomp=warn", "--seccomp must be kill"},
    {"--inode-file-handles=maybe", "--inode-file-handles must be never"},
    {"--log-level=loud", "--log-level must be off"},
    {"--thread-pool-size=-1", "--thread-pool-size must be 0 to 1024"},
    {"--rlimit-nofile=many", "--rlimit-nofile not a number"},
    {"--modcaps=chown", "--modcaps must be"},
    {"--uid-map=0:1000:1", "--uid-map must be"},
    {"--uid-map=", "--uid-map must be"},
    {"--uid-map= 0 1000 1 ", "--uid-map must be"}, /* what comes behind an empty value is no part of it */
    {"--uid-map=:", "--uid-map must be"},
    {"--uid-map=:0:1000:", "--uid-map must be"},
    {"--uid-map=00100010", "--uid-map must be"},
    {"--gid-map= 0 1000 1 ", "--gid-map must be"},
    {"--gid-map=0:1000:1:", "--gid-map must be"},
    {"--translate-uid=0:1000:1", "--translate-uid"},
    {"--translate-uid=", "--translate-uid"},
    {"--translate-uid=map", "--translate-uid"},
    {"--translate-gid=", "--translate-gid"},
    {"--translate-gid=map:", "--translate-gid"},
    {"--tag=", "--tag must be"},
    {"--num-request-queues=0", "--num-request-queues must be 1 to 64"},
    {"--num-request-queues=65", "--num-request-queues must be 1 to 64"},
    {"--poll=sometimes", "--poll must be auto"},
    {"-o timeout=never", "-o timeout must be seconds"},
    /* Together. */
    {"--fd=4", "either --socket-path or --fd"},
    {"--posix-acl --translate-uid=map:0:1:1", "do not go with --posix-acl"},
    {"-o posix_acl,no_xattr", "no_xattr takes away"},
    {"--posix-acl -o no_xattr", "no_xattr takes away"},
    {"-o security_label,no_xattr", "no_xattr takes away"},
    {"--uid-map=:0:1:1: --sandbox=none", "go with --sandbox namespace"},
};

static void what_is_refused_is_named_in_one_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct parsed p;
        parse(&p, "serve --shared-dir=/srv --socket-path=/s", refusals[i].line);
        const char *newline = strchr(p.complaint, '\n');
        if (p.good || strstr(p.complaint, refusals[i].says) == NULL || newline == NULL || newline[1] != '\0')
            fail_msg("%s: %s, says: %s", refusals[i].line, p.good ? "taken" : "refused", p.complaint);
        drop(&p);
    }
}

/* ---- whole command lines ---- */

static const struct taken front_ends[] = {
    /* libvirt, for a daemon without the feature separate-options, and any before it asked for features. */
    {"--fd=29 -o source=/srv", ""},
    {"--fd=29 -o source=/srv,cache=always,sandbox=namespace,xattr", "always xattr"},
    {"--fd=29 -o source=/srv,cache=none,sandbox=chroot,no_xattr,flock,posix_lock --thread-pool-size=16 -d",
     "chroot never posix-lock flock pool=16 log-debug"},
    {"--fd=29 -o source=/srv,no_flock,no_posix_lock --thread-pool-size=0 --rlimit-nofile=4096",
     "pool=0 rlimit=4096"},
    /* libvirt with it, as root and as an ordinary user. */
    {"--fd=29 --shared-dir /srv", ""},
    {"--fd=29 --shared-dir /srv --cache never --sandbox chroot --xattr --thread-pool-size=1 "
     "--rlimit-nofile=4096 "
     "--log-level debug",
     "chroot never xattr pool=1 rlimit=4096 log-debug"},
    {"--fd=29 --shared-dir /srv --readonly --uid-map=:0:1000:1: --uid-map=:1:100000:65536: "
     "--gid-map=:0:1000:1: "
     "--gid-map=:1:100000:65536:",
     "uid=0:1000:1 uid=1:100000:65536 gid=0:1000:1 gid=1:100000:65536 readonly"},
    /* Kata, the runtime in Go. */
    {"--syslog --cache=auto --shared-dir=/run/kata-containers/shared/sandboxes/x/shared --fd=3 "
     "--inode-file-handles=prefer --thread-pool-size=1 --announce-submounts",
     "pool=1 syslog"},
    {"--syslog -o cache=auto -o no_posix_lock -o source=/run/kata-containers/shared/sandboxes/x/shared "
     "--fd=3 -f "
     "--thread-pool-size=1 -o announce_submounts -d",
     "pool=1 log-debug syslog"},
    /* Kata, the runtime in Rust. */
    {"--socket-path /run/kata/x/root/virtiofsd.sock --shared-dir /run/kata-containers/shared/sandboxes/x/ro "
     "--cache never --sandbox none --seccomp none --thread-pool-size=1 --announce-submounts --xattr",
     "unwalled seccomp-none never xattr pool=1"},
    /* Cloud Hypervisor's page. */
    {"--log-level debug --socket-path=/tmp/virtiofs --shared-dir=/tmp/shared_dir --cache=never",
     "never log-debug"},
    {"--socket-path=/tmp/root.socket -o source=/srv -o cache=none", "never"},
    /* virtiofsd's own page. */
    {"--socket-path=/tmp/vfsd.sock --shared-dir /mnt --announce-submounts --inode-file-handles=mandatory",
     "mandatory"},
    {"--socket-path=/tmp/vfsd.sock --shared-dir /mnt --announce-submounts --sandbox chroot", "chroot"},
};

static void command_lines_of_front_ends(void **state)
{
    (void)state;
    take_all("oriel-virtiofsd", front_ends, ARRAY_LEN(front_ends));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_of_the_rust_daemon),
        cmocka_unit_test(options_of_the_c_daemon),
        cmocka_unit_test(options_that_are_our_own),
        cmocka_unit_test(folder_and_socket_in_every_spelling),
        cmocka_unit_test(libvirt_doubles_the_commas_of_a_path),
        cmocka_unit_test(what_is_refused_is_named_in_one_line),
        cmocka_unit_test(command_lines_of_front_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
