#include "cli/mount_options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "cli/args.h"

const char mount_usage[] =
    "usage: oriel mount [OPTION…] DIR MOUNTPOINT\n"
    "       oriel mount --memory [OPTION…] MOUNTPOINT\n"
    "\n"
    "Mounts the folder DIR, or a new RAM file system, at MOUNTPOINT through /dev/fuse, and serves it until "
    "it is\n"
    "unmounted or a SIGINT, SIGTERM or SIGHUP comes, which unmounts it.\n"
    "\n"
    "  --memory          a RAM file system instead of a folder; it is gone when it is unmounted\n"
    "  --size SIZE       of the RAM file system's data (64M)\n"
    "  --inodes N        files it may have (65536)\n"
    "  --user-size SIZE, --user-inodes N   the same for each owner (not bounded)\n"
    "  --daemon          go to the background as soon as it is mounted\n"
    "  --threads N       threads that serve, 1 to 64 (as many as processors, at most 4)\n"
    "  --cache MODE      never, metadata, auto or always (auto)\n"
    "  --read-only       refuse whatever changes something\n"
    "  --allow-other     let other users in\n"
    "  --submounts       show what is mounted below DIR too\n"
    "  --writeback       let the kernel hold written data back\n"
    "  --translate-uid TYPE:SOURCE:TARGET[:COUNT], --translate-gid …   map ids: map, guest, host, "
    "squash-guest,\n"
    "                    squash-host, forbid-guest (here the guest is the mount); no access lists then\n"
    "  --xattrmap RULES  names of extended attributes: :TYPE:SCOPE:KEY:PREPEND: … or :map:KEY:PREPEND:\n"
    "  --trace FILE      write a line for every request (ORIEL_TRACE does too)\n";

enum option_code {
    OPTION_MEMORY = 256,
    OPTION_SIZE,
    OPTION_INODES,
    OPTION_USER_SIZE,
    OPTION_USER_INODES,
    OPTION_DAEMON,
    OPTION_THREADS,
    OPTION_CACHE,
    OPTION_READ_ONLY,
    OPTION_ALLOW_OTHER,
    OPTION_SUBMOUNTS,
    OPTION_WRITEBACK,
    OPTION_TRACE,
    OPTION_TRANSLATE_UID,
    OPTION_TRANSLATE_GID,
    OPTION_XATTRMAP,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"memory", no_argument, NULL, OPTION_MEMORY},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"inodes", required_argument, NULL, OPTION_INODES},
    {"user-size", required_argument, NULL, OPTION_USER_SIZE},
    {"user-inodes", required_argument, NULL, OPTION_USER_INODES},
    {"daemon", no_argument, NULL, OPTION_DAEMON},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"cache", required_argument, NULL, OPTION_CACHE},
    {"read-only", no_argument, NULL, OPTION_READ_ONLY},
    {"allow-other", no_argument, NULL, OPTION_ALLOW_OTHER},
    {"submounts", no_argument, NULL, OPTION_SUBMOUNTS},
    {"writeback", no_argument, NULL, OPTION_WRITEBACK},
    {"trace", required_argument, NULL, OPTION_TRACE},
    {"translate-uid", required_argument, NULL, OPTION_TRANSLATE_UID},
    {"translate-gid", required_argument, NULL, OPTION_TRANSLATE_GID},
    {"xattrmap", required_argument, NULL, OPTION_XATTRMAP},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static bool bad(const char *option, const char *text, const char *wanted)
{
    fprintf(stderr, "oriel mount: %s %s: %s\n", option, text, wanted);
    return false;
}

static bool take_size(const char *option, const char *text, uint64_t *bytes)
{
    if (parse_size(text, 1, bytes) && *bytes >= 4096 && *bytes <= INT64_MAX)
        return true;
    return bad(option, text, "must be a size of 4K or more, for example 256M");
}

static bool take_number(const char *option, const char *text, uint64_t max, uint64_t *number)
{
    if (parse_number(text, 1, max, number))
        return true;
    char wanted[60];
    snprintf(wanted, sizeof(wanted), "must be a number from 1 to %llu", (unsigned long long)max);
    return bad(option, text, wanted);
}

static bool take_cache(const char *text, enum oriel_cache_mode *mode)
{
    static const struct {
        const char *name;
        enum oriel_cache_mode mode;
    } modes[] = {
        {"auto", ORIEL_CACHE_AUTO},
        {"never", ORIEL_CACHE_NEVER},
        {"metadata", ORIEL_CACHE_METADATA},
        {"always", ORIEL_CACHE_ALWAYS},
    };
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcmp(text, modes[i].name) == 0) {
            *mode = modes[i].mode;
            return true;
        }
    }
    return bad("--cache", text, "must be never, metadata, auto or always");
}

static bool take_rule(const char *option, const char *text, struct id_rules *rules)
{
    const char *wrong = id_rules_add(rules, text);
    return wrong == NULL || bad(option, text, wrong);
}

static bool take_xattrmap(const char *text, struct xattr_option *option)
{
    const char *wrong = xattr_option_set(option, text);
    if (wrong != NULL) /* it names the rule; all of them would be too long */
        fprintf(stderr, "oriel mount: --xattrmap %s\n", wrong);
    return wrong == NULL;
}

static bool take_option(int code, const char *text, struct mount_options *options)
{
    uint64_t number;
    switch (code) {
    case OPTION_MEMORY:
        return options->memory = true;
    case OPTION_SIZE:
        return take_size("--size", text, &options->max_bytes);
    case OPTION_INODES:
        return take_number("--inodes", text, UINT32_MAX, &options->max_inodes);
    case OPTION_USER_SIZE:
        return take_size("--user-size", text, &options->user_bytes);
    case OPTION_USER_INODES:
        return take_number("--user-inodes", text, UINT32_MAX, &options->user_inodes);
    case OPTION_DAEMON:
        return options->daemon = true;
    case OPTION_THREADS:
        if (!take_number("--threads", text, 64, &number))
            return false;
        options->threads = (unsigned)number;
        return true;
    case OPTION_CACHE:
        return take_cache(text, &options->cache);
    case OPTION_READ_ONLY:
        return options->read_only = true;
    case OPTION_ALLOW_OTHER:
        return options->allow_other = true;
    case OPTION_SUBMOUNTS:
        return options->submounts = true;
    case OPTION_WRITEBACK:
        return options->writeback = true;
    case OPTION_TRACE:
        options->trace = text;
        return true;
    case OPTION_TRANSLATE_UID:
        return take_rule("--translate-uid", text, &options->uid_rules);
    case OPTION_TRANSLATE_GID:
        return take_rule("--translate-gid", text, &options->gid_rules);
    case OPTION_XATTRMAP:
        return take_xattrmap(text, &options->xattrmap);
    case OPTION_HELP:
        return options->help = true;
    default:
        return false; /* getopt has said why */
    }
}

static bool take_paths(struct mount_options *options, int count, char **paths)
{
    int wanted = options->memory ? 1 : 2;
    if (count != wanted) {
        fprintf(stderr, "oriel mount: %s; `oriel mount --help` tells more\n",
                options->memory ? "--memory wants one folder: MOUNTPOINT"
                                : "two folders are wanted: DIR MOUNTPOINT");
        return false;
    }
    options->dir = options->memory ? NULL : paths[0];
    options->mountpoint = paths[count - 1];
    bool sized = options->max_bytes != 0 || options->max_inodes != 0 || options->user_bytes != 0 ||
                 options->user_inodes != 0;
    if (sized && !options->memory) {
        fprintf(stderr, "oriel mount: --size, --inodes and --user-… are for --memory only\n");
        return false;
    }
    if (options->memory && (options->uid_rules.count != 0 || options->gid_rules.count != 0)) {
        fprintf(stderr, "oriel mount: --translate-uid and --translate-gid are not for --memory\n");
        return false;
    }
    return true;
}

static bool take_all(struct mount_options *options, int argc, char **argv)
{
    int code;
    while ((code = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        if (!take_option(code == 'h' ? OPTION_HELP : code, optarg, options))
            return false;
        if (options->help)
            return true;
    }
    return take_paths(options, argc - optind, argv + optind);
}

bool mount_options_parse(struct mount_options *options, int argc, char **argv)
{
    *options = (struct mount_options){.cache = ORIEL_CACHE_AUTO};
    static char name[] = "oriel mount"; /* getopt's complaints begin with it */
    argv[0] = name;
    optind = 0;
    bool right = take_all(options, argc, argv);
    if (!right)
        mount_options_destroy(options);
    return right;
}

void mount_options_destroy(struct mount_options *options)
{
    xattr_option_destroy(&options->xattrmap);
}
