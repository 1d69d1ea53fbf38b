#include "cli/serve_options.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"

/*
 * One row for each option: as a long option (virtiofsd 1.x), after -o (the C daemon), or both. `value` is NULL for
 * a switch. A setter returns NULL, or what is wrong with the value.
 */
enum form {
    FORM_LONG = 1,
    FORM_COMPAT = 2,
    FORM_BOTH = 3,
};

struct option_row {
    const char *name;
    enum form form;
    bool takes_value;
    const char *(*set)(struct serve_options *options, const char *value);
    const char *help; /* of the long form; NULL: not listed */
};

/* ---- values ---- */

static bool parse_u64(const char *text, uint64_t max, uint64_t *value)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *value <= max;
}

struct word {
    const char *text;
    int value;
};

static bool choose(const struct word *words, size_t count, const char *text, int *value)
{
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(words[i].text, text) == 0) {
            *value = words[i].value;
            return true;
        }
    }
    return false;
}

/* ":inside:outside:count:", the colons at the ends may be any character that the inner ones are too. */
static const char *add_id_map(struct sandbox_id_map *maps, size_t *count, const char *text)
{
    uint64_t field[3];
    const char *at = text;
    char separator = text[0];
    if (*count == SANDBOX_ID_MAPS)
        return "too many maps";
    if (separator == '\0' || (separator >= '0' && separator <= '9'))
        return "must be :inside:outside:count:";
    for (int i = 0; i < 3; i++) {
        char *end;
        if (*at++ != separator || *at < '0' || *at > '9')
            return "must be :inside:outside:count:";
        errno = 0;
        field[i] = strtoull(at, &end, 10);
        if (errno != 0 || field[i] > UINT32_MAX)
            return "a number has more than 32 bits";
        at = end;
    }
    if (at[0] != separator || at[1] != '\0')
        return "must be :inside:outside:count:";
    if (field[2] == 0 || field[0] + field[2] > UINT32_MAX || field[1] + field[2] > UINT32_MAX)
        return "the range is empty or too long";
    for (size_t i = 0; i < *count; i++) {
        if (ranges_overlap(maps[i].inside, maps[i].count, field[0], field[2]) ||
            ranges_overlap(maps[i].outside, maps[i].count, field[1], field[2]))
            return "maps overlap";
    }
    maps[(*count)++] = (struct sandbox_id_map){
        .inside = (uint32_t)field[0], .outside = (uint32_t)field[1], .count = (uint32_t)field[2]};
    return NULL;
}

/* ---- setters ---- */

static const char *set_socket_path(struct serve_options *o, const char *v)
{
    o->socket_path = v;
    return v[0] == '\0' ? "empty" : NULL;
}

static const char *set_socket_group(struct serve_options *o, const char *v)
{
    o->socket_group = v;
    return NULL;
}

static const char *set_fd(struct serve_options *o, const char *v)
{
    uint64_t fd;
    if (!parse_u64(v, INT32_MAX, &fd))
        return "not a descriptor number";
    o->fd = (int)fd;
    return NULL;
}

static const char *set_shared_dir(struct serve_options *o, const char *v)
{
    o->shared_dir = v;
    return v[0] == '\0' ? "empty" : NULL;
}

static const char *set_tag(struct serve_options *o, const char *v)
{
    o->tag = v;
    if (v[0] == '\0' || strlen(v) > ORIEL_VIRTIO_FS_TAG_MAX || strchr(v, '\n') != NULL)
        return "must be 1 to 36 bytes on one line";
    return NULL;
}

static const char *set_persist(struct serve_options *o, const char *v)
{
    (void)v;
    o->persist = true;
    return NULL;
}

static const char *set_sandbox(struct serve_options *o, const char *v)
{
    static const struct word words[] = {
        {"namespace", SANDBOX_NAMESPACE}, {"chroot", SANDBOX_CHROOT}, {"none", SANDBOX_NONE}};
    int mode;
    if (!choose(words, ARRAY_LEN(words), v, &mode))
        return "must be namespace, chroot or none";
    o->sandbox.mode = (enum sandbox_mode)mode;
    return NULL;
}

static const char *set_seccomp(struct serve_options *o, const char *v)
{
    static const struct word words[] = {
        {"kill", SECCOMP_KILL}, {"log", SECCOMP_LOG}, {"trap", SECCOMP_TRAP}, {"none", SECCOMP_NONE}};
    int action;
    if (!choose(words, ARRAY_LEN(words), v, &action))
        return "must be kill, log, trap or none";
    o->sandbox.seccomp = (enum sandbox_seccomp)action;
    return NULL;
}

static const char *set_cache(struct serve_options *o, const char *v)
{
    static const struct word words[] = {{"auto", ORIEL_CACHE_AUTO},
                                        {"never", ORIEL_CACHE_NEVER},
                                        {"none", ORIEL_CACHE_NEVER},
                                        {"metadata", ORIEL_CACHE_METADATA},
                                        {"always", ORIEL_CACHE_ALWAYS}};
    int mode;
    if (!choose(words, ARRAY_LEN(words), v, &mode))
        return "must be auto, never, metadata or always";
    o->cache = (enum oriel_cache_mode)mode;
    return NULL;
}

static const char *set_file_handles(struct serve_options *o, const char *v)
{
    static const struct word words[] = {{"never", ORIEL_FILE_HANDLES_NEVER},
                                        {"prefer", ORIEL_FILE_HANDLES_PREFER},
                                        {"fallback", ORIEL_FILE_HANDLES_PREFER},
                                        {"mandatory", ORIEL_FILE_HANDLES_MANDATORY}};
    int mode;
    if (!choose(words, ARRAY_LEN(words), v, &mode))
        return "must be never, prefer or mandatory";
    o->file_handles = (enum oriel_file_handles)mode;
    return NULL;
}

static const char *set_timeout(struct serve_options *o, const char *v)
{
    char *end;
    double seconds = strtod(v, &end);
    if (end == v || *end != '\0' || !(seconds >= 0) || seconds > 1e6)
        return "must be seconds";
    o->timeout_set = true;
    o->timeout_ns = (uint64_t)(seconds * 1e9);
    return NULL;
}

static const char *set_writeback(struct serve_options *o, const char *v)
{
    (void)v;
    o->writeback = true;
    return NULL;
}

static const char *set_no_writeback(struct serve_options *o, const char *v)
{
    (void)v;
    o->writeback = false;
    return NULL;
}

static const char *set_xattr(struct serve_options *o, const char *v)
{
    (void)v;
    o->xattr = true;
    return NULL;
}

static const char *set_no_xattr(struct serve_options *o, const char *v)
{
    (void)v;
    o->xattr = false;
    return NULL;
}

static const char *set_xattrmap(struct serve_options *o, const char *v)
{
    return xattr_option_set(&o->xattrmap, v);
}

static const char *set_posix_acl(struct serve_options *o, const char *v)
{
    (void)v;
    o->posix_acl = o->xattr = true;
    return NULL;
}

static const char *set_no_posix_acl(struct serve_options *o, const char *v)
{
    (void)v;
    o->posix_acl = false;
    return NULL;
}

static const char *set_security_label(struct serve_options *o, const char *v)
{
    (void)v;
    o->security_label = o->xattr = true;
    return NULL;
}

static const char *set_no_security_label(struct serve_options *o, const char *v)
{
    (void)v;
    o->security_label = false;
    return NULL;
}

static const char *set_announce_submounts(struct serve_options *o, const char *v)
{
    (void)v;
    o->announce_submounts = true;
    return NULL;
}

static const char *set_no_announce_submounts(struct serve_options *o, const char *v)
{
    (void)v;
    o->announce_submounts = false;
    return NULL;
}

static const char *set_readonly(struct serve_options *o, const char *v)
{
    (void)v;
    o->read_only = o->sandbox.read_only = true;
    return NULL;
}

static const char *set_no_device_nodes(struct serve_options *o, const char *v)
{
    (void)v;
    o->sandbox.device_nodes = false;
    return NULL;
}

static const char *set_allow_mmap(struct serve_options *o, const char *v)
{
    (void)v;
    o->allow_mmap = true;
    return NULL;
}

static const char *set_readdirplus(struct serve_options *o, const char *v)
{
    (void)v;
    o->no_readdirplus = false;
    return NULL;
}

static const char *set_no_readdirplus(struct serve_options *o, const char *v)
{
    (void)v;
    o->no_readdirplus = true;
    return NULL;
}

static const char *set_killpriv_v2(struct serve_options *o, const char *v)
{
    (void)v;
    o->no_killpriv_v2 = false;
    return NULL;
}

static const char *set_no_killpriv_v2(struct serve_options *o, const char *v)
{
    (void)v;
    o->no_killpriv_v2 = true;
    return NULL;
}

static const char *set_posix_lock(struct serve_options *o, const char *v)
{
    (void)v;
    o->posix_lock = true;
    return NULL;
}

static const char *set_no_posix_lock(struct serve_options *o, const char *v)
{
    (void)v;
    o->posix_lock = false;
    return NULL;
}

static const char *set_flock(struct serve_options *o, const char *v)
{
    (void)v;
    o->flock = true;
    return NULL;
}

static const char *set_no_flock(struct serve_options *o, const char *v)
{
    (void)v;
    o->flock = false;
    return NULL;
}

static const char *set_pool(struct serve_options *o, const char *v)
{
    uint64_t size;
    if (!parse_u64(v, 1024, &size))
        return "must be 0 to 1024";
    o->pool_set = true;
    o->pool_size = (unsigned)size;
    return NULL;
}

static const char *set_queues(struct serve_options *o, const char *v)
{
    uint64_t queues;
    if (!parse_u64(v, 64, &queues) || queues == 0)
        return "must be 1 to 64";
    o->queues = (uint16_t)queues;
    return NULL;
}

static const char *set_poll(struct serve_options *o, const char *v)
{
    static const struct word words[] = {
        {"auto", ORIEL_POLL_AUTO}, {"off", ORIEL_POLL_OFF}, {"on", ORIEL_POLL_ON}};
    int mode;
    if (!choose(words, ARRAY_LEN(words), v, &mode))
        return "must be auto, off or on";
    o->poll = (enum oriel_poll_mode)mode;
    return NULL;
}

static const char *set_uid_map(struct serve_options *o, const char *v)
{
    return add_id_map(o->sandbox.uid_map, &o->sandbox.uid_maps, v);
}

static const char *set_gid_map(struct serve_options *o, const char *v)
{
    return add_id_map(o->sandbox.gid_map, &o->sandbox.gid_maps, v);
}

static const char *add_uid_rule(struct serve_options *o, const char *v)
{
    return id_rules_add(&o->uid_rules, v);
}

static const char *add_gid_rule(struct serve_options *o, const char *v)
{
    return id_rules_add(&o->gid_rules, v);
}

static const char *set_modcaps(struct serve_options *o, const char *v)
{
    o->sandbox.modcaps = v;
    return sandbox_check_modcaps(v) ? NULL : "must be +NAME or -NAME, joined by colons, of capabilities";
}

static const char *set_rlimit(struct serve_options *o, const char *v)
{
    if (!parse_u64(v, UINT64_C(1) << 30, &o->rlimit_nofile))
        return "not a number of descriptors";
    o->rlimit_set = true;
    return NULL;
}

static const char *set_log_level(struct serve_options *o, const char *v)
{
    static const struct word words[] = {{"off", SERVE_LOG_OFF},    {"error", SERVE_LOG_ERROR},
                                        {"err", SERVE_LOG_ERROR},  {"warn", SERVE_LOG_WARNING},
                                        {"info", SERVE_LOG_INFO},  {"debug", SERVE_LOG_DEBUG},
                                        {"trace", SERVE_LOG_DEBUG}};
    int level;
    if (!choose(words, ARRAY_LEN(words), v, &level))
        return "must be off, error, warn, info, debug or trace";
    o->log_level = (enum serve_log_level)level;
    return NULL;
}

static const char *set_debug(struct serve_options *o, const char *v)
{
    (void)v;
    o->log_level = SERVE_LOG_DEBUG;
    return NULL;
}

static const char *set_syslog(struct serve_options *o, const char *v)
{
    (void)v;
    o->syslog = true;
    return NULL;
}

static const char *set_print_capabilities(struct serve_options *o, const char *v)
{
    (void)v;
    o->print_capabilities = true;
    return NULL;
}

static const char *set_help(struct serve_options *o, const char *v)
{
    (void)v;
    o->help = true;
    return NULL;
}

static const char *set_version(struct serve_options *o, const char *v)
{
    (void)v;
    o->version = true;
    return NULL;
}

/* What is asked for is so anyway. */
static const char *accept(struct serve_options *o, const char *v)
{
    (void)o;
    (void)v;
    return NULL;
}

/* Known, and not to be had here: never silently ignored. */
static const char *refuse(struct serve_options *o, const char *v)
{
    (void)o;
    (void)v;
    return "is not supported by oriel";
}

/* clang-format off */
static const struct option_row rows[] = {
    {"socket-path",          FORM_LONG,   true,  set_socket_path,          "PATH       listen on this socket"},
    {"socket",               FORM_LONG,   true,  set_socket_path,          NULL},
    {"vhost_user_socket",    FORM_COMPAT, true,  set_socket_path,          NULL},
    {"fd",                   FORM_LONG,   true,  set_fd,                   "NUMBER     use this socket: a listening or a connected one"},
    {"socket-group",         FORM_LONG,   true,  set_socket_group,         "GROUP      let this group connect"},
    {"shared-dir",           FORM_LONG,   true,  set_shared_dir,           "FOLDER     what to share"},
    {"source",               FORM_COMPAT, true,  set_shared_dir,           NULL},
    {"tag",                  FORM_LONG,   true,  set_tag,                  "NAME       offer the configuration space with this tag (not with QEMU 7.1 to 8.0)"},
    {"persist",              FORM_LONG,   false, set_persist,              "           wait for another front-end when one has gone"},
    {"sandbox",              FORM_BOTH,   true,  set_sandbox,              "MODE       namespace (default), chroot, none"},
    {"seccomp",              FORM_BOTH,   true,  set_seccomp,              "ACTION     on a forbidden system call: kill (default), log, trap, none"},
    {"cache",                FORM_BOTH,   true,  set_cache,                "MODE       auto (default), never, metadata, always"},
    {"timeout",              FORM_COMPAT, true,  set_timeout,              NULL},
    {"writeback",            FORM_BOTH,   false, set_writeback,            "           the guest may keep written data back"},
    {"no_writeback",         FORM_COMPAT, false, set_no_writeback,         NULL},
    {"xattr",                FORM_BOTH,   false, set_xattr,                "           extended attributes: user.* and security.*"},
    {"no_xattr",             FORM_COMPAT, false, set_no_xattr,             NULL},
    {"xattrmap",             FORM_BOTH,   true,  set_xattrmap,             "RULES      names of attributes: :TYPE:SCOPE:KEY:PREPEND: … or :map:KEY:PREPEND:; implies --xattr"},
    {"posix-acl",            FORM_LONG,   false, set_posix_acl,            "           access control lists, with --xattr"},
    {"posix_acl",            FORM_COMPAT, false, set_posix_acl,            NULL},
    {"no_posix_acl",         FORM_COMPAT, false, set_no_posix_acl,         NULL},
    {"security-label",       FORM_LONG,   false, set_security_label,       "           security labels, with --xattr"},
    {"security_label",       FORM_COMPAT, false, set_security_label,       NULL},
    {"no_security_label",    FORM_COMPAT, false, set_no_security_label,    NULL},
    {"announce-submounts",   FORM_LONG,   false, set_announce_submounts,   NULL},
    {"no-announce-submounts", FORM_LONG,  false, set_no_announce_submounts, "          leave out what is mounted below the folder (else shown as mounts of their own)"},
    {"announce_submounts",   FORM_COMPAT, false, set_announce_submounts,   NULL},
    {"inode-file-handles",   FORM_LONG,   true,  set_file_handles,         "MODE       prefer (default), never, mandatory"},
    {"inode_file_handles",   FORM_COMPAT, true,  set_file_handles,         NULL},
    {"thread-pool-size",     FORM_LONG,   true,  set_pool,                 "NUMBER     threads for requests that may block, at most (128); 0: none"},
    {"num-request-queues",   FORM_LONG,   true,  set_queues,               "NUMBER     queues to recommend to a front-end that asks (one for each core)"},
    {"poll",                 FORM_LONG,   true,  set_poll,                 "MODE       look for requests before sleeping: auto (default), off, on"},
    {"readonly",             FORM_LONG,   false, set_readonly,             "           refuse every change"},
    {"no-device-nodes",      FORM_LONG,   false, set_no_device_nodes,      "           refuse to make device nodes"},
    {"allow-mmap",           FORM_LONG,   false, set_allow_mmap,           "           shared mappings with --cache never or metadata"},
    {"readdirplus",          FORM_COMPAT, false, set_readdirplus,          NULL},
    {"no-readdirplus",       FORM_LONG,   false, set_no_readdirplus,       "           no READDIRPLUS"},
    {"no_readdirplus",       FORM_COMPAT, false, set_no_readdirplus,       NULL},
    {"killpriv-v2",          FORM_LONG,   false, set_killpriv_v2,          NULL},
    {"killpriv_v2",          FORM_COMPAT, false, set_killpriv_v2,          NULL},
    {"no-killpriv-v2",       FORM_LONG,   false, set_no_killpriv_v2,       "           the guest takes suid and sgid away itself (for NFS)"},
    {"no_killpriv_v2",       FORM_COMPAT, false, set_no_killpriv_v2,       NULL},
    {"posix-lock",           FORM_LONG,   false, set_posix_lock,           "           fcntl locks hold between guests and host"},
    {"posix_lock",           FORM_COMPAT, false, set_posix_lock,           NULL},
    {"no_posix_lock",        FORM_COMPAT, false, set_no_posix_lock,        NULL},
    {"flock",                FORM_BOTH,   false, set_flock,                "           flock locks hold between guests and host"},
    {"no_flock",             FORM_COMPAT, false, set_no_flock,             NULL},
    {"uid-map",              FORM_LONG,   true,  set_uid_map,              ":IN:OUT:COUNT:   user ids of the user namespace"},
    {"gid-map",              FORM_LONG,   true,  set_gid_map,              ":IN:OUT:COUNT:   group ids of the user namespace"},
    {"translate-uid",        FORM_LONG,   true,  add_uid_rule,             "TYPE:SOURCE:TARGET:COUNT   map user ids: map, guest, host, squash-guest, squash-host, forbid-guest"},
    {"translate-gid",        FORM_LONG,   true,  add_gid_rule,             "TYPE:SOURCE:TARGET:COUNT   map group ids"},
    {"modcaps",              FORM_BOTH,   true,  set_modcaps,              "LIST       change the capabilities kept: +NAME:-NAME"},
    {"rlimit-nofile",        FORM_LONG,   true,  set_rlimit,               "NUMBER     descriptor limit; 0: leave it"},
    {"log-level",            FORM_LONG,   true,  set_log_level,            "LEVEL      off, error, warn, info (default), debug"},
    {"log_level",            FORM_COMPAT, true,  set_log_level,            NULL},
    {"loglevel",             FORM_COMPAT, true,  set_log_level,            NULL},
    {"debug",                FORM_COMPAT, false, set_debug,                NULL},
    {"syslog",               FORM_LONG,   false, set_syslog,               "           log to syslog"},
    {"print-capabilities",   FORM_LONG,   false, set_print_capabilities,   "           say as JSON what this back-end can, and exit"},
    {"help",                 FORM_LONG,   false, set_help,                 "           print this"},
    {"version",              FORM_LONG,   false, set_version,              "           print the version"},
    {"no_allow_direct_io",   FORM_COMPAT, false, accept,                   NULL},
    {"allow-direct-io",      FORM_LONG,   false, refuse,                   NULL},
    {"allow_direct_io",      FORM_COMPAT, false, refuse,                   NULL},
    {"allow_root",           FORM_COMPAT, false, refuse,                   NULL},
    {"max_idle_threads",     FORM_COMPAT, true,  refuse,                   NULL},
    {"norace",               FORM_COMPAT, false, refuse,                   NULL},
    {"daemonize",            FORM_LONG,   false, refuse,                   NULL},
    {"preserve-noatime",     FORM_LONG,   false, accept,                   NULL},
    {"migration-mode",       FORM_LONG,   true,  refuse,                   NULL},
    {"migration-on-error",   FORM_LONG,   true,  refuse,                   NULL},
    {"migration-verify-handles", FORM_LONG, false, refuse,                 NULL},
    {"migration-confirm-paths",  FORM_LONG, false, refuse,                 NULL},
};
/* clang-format on */

void serve_print_help(void)
{
    printf("usage: oriel serve --shared-dir FOLDER (--socket-path PATH | --fd NUMBER) [OPTION...]\n\n"
           "Shares a folder with a guest over vhost-user. Takes the options of virtiofsd, also as -o "
           "NAME[=VALUE].\n\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].help != NULL)
            printf("  --%-20s %s\n", rows[i].name, rows[i].help);
    }
}

/* ---- the command line ---- */

static bool complain(const char *prefix, const char *name, size_t name_len, const char *what)
{
    fprintf(stderr, "oriel serve: %s%.*s %s\n", prefix, (int)name_len, name, what);
    return false;
}

/* name is not terminated. value NULL: none given. */
static bool apply(struct serve_options *options, enum form form, const char *name, size_t len,
                  const char *value)
{
    const char *prefix = form == FORM_LONG ? "--" : "-o ";
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct option_row *row = &rows[i];
        if (!(row->form & form) || strlen(row->name) != len || memcmp(row->name, name, len) != 0)
            continue;
        if (row->set == refuse)
            return complain(prefix, name, len, refuse(options, NULL));
        if (row->takes_value && value == NULL)
            return complain(prefix, name, len, "needs a value");
        if (!row->takes_value && value != NULL)
            return complain(prefix, name, len, "takes no value");
        const char *wrong = row->set(options, value);
        return wrong == NULL || complain(prefix, name, len, wrong);
    }
    return complain(prefix, name, len, "is unknown; `oriel serve --help` lists the options");
}

static bool needs_value(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if ((rows[i].form & FORM_LONG) && strcmp(rows[i].name, name) == 0)
            return rows[i].takes_value && rows[i].set != refuse;
    }
    return false;
}

/*
 * Cuts the first word off a list that commas join, in place; NULL: there is none. Two commas are one that belongs
 * to the word, which is how libvirt writes a path.
 */
static char *next_word(char **list)
{
    char *word = *list, *from = word, *to = word;
    if (word == NULL)
        return NULL;
    while (*from != '\0' && (from[0] != ',' || from[1] == ',')) {
        from += *from == ',';
        *to++ = *from++;
    }
    *list = *from == ',' ? from + 1 : NULL;
    *to = '\0';
    return word;
}

static bool apply_compat(struct serve_options *options, char *list)
{
    char *rest = list;
    for (char *word = next_word(&rest); word != NULL; word = next_word(&rest)) {
        char *equals = strchr(word, '=');
        size_t len = equals != NULL ? (size_t)(equals - word) : strlen(word);
        if (!apply(options, FORM_COMPAT, word, len, equals != NULL ? equals + 1 : NULL))
            return false;
    }
    return true;
}

/* One argument, and the next if it is its value. */
static bool apply_argument(struct serve_options *options, char **argv, int *at)
{
    char *argument = argv[*at];
    if (strncmp(argument, "--", 2) == 0 && argument[2] != '\0') {
        const char *name = argument + 2, *equals = strchr(name, '=');
        if (equals != NULL)
            return apply(options, FORM_LONG, name, (size_t)(equals - name), equals + 1);
        const char *value = needs_value(name) ? argv[*at + 1] : NULL;
        if (value != NULL)
            ++*at;
        return apply(options, FORM_LONG, name, strlen(name), value);
    }
    if (strncmp(argument, "-o", 2) == 0) {
        char *list = argument[2] != '\0' ? argument + 2 : argv[++*at];
        if (list == NULL)
            return complain("", "-o", 2, "needs a value");
        return apply_compat(options, list);
    }
    if (strcmp(argument, "-d") == 0)
        return apply(options, FORM_COMPAT, "debug", 5, NULL);
    if (strcmp(argument, "-h") == 0)
        return apply(options, FORM_LONG, "help", 4, NULL);
    if (strcmp(argument, "-V") == 0)
        return apply(options, FORM_LONG, "version", 7, NULL);
    if (strcmp(argument, "-f") == 0) /* stay in the foreground: always */
        return true;
    return complain("", argument, strlen(argument), "is no option");
}

static bool check(struct serve_options *o)
{
    const char *wrong = NULL;
    if (o->help || o->version || o->print_capabilities)
        return true;
    if (o->shared_dir == NULL)
        wrong = "--shared-dir is missing";
    else if ((o->socket_path == NULL) == (o->fd < 0))
        wrong = "give either --socket-path or --fd";
    else if (o->socket_group != NULL && o->socket_path == NULL)
        wrong = "--socket-group goes with --socket-path";
    else if ((o->sandbox.uid_maps != 0 || o->sandbox.gid_maps != 0) && o->sandbox.mode != SANDBOX_NAMESPACE)
        wrong = "--uid-map and --gid-map go with --sandbox namespace";
    else if ((o->uid_rules.count != 0 || o->gid_rules.count != 0) && o->posix_acl)
        wrong = "--translate-uid and --translate-gid do not go with --posix-acl";
    else if ((o->posix_acl || o->security_label) && !o->xattr)
        wrong = "-o no_xattr takes away what posix_acl and security_label need";
    else if (o->posix_acl && !xattr_option_keeps_acls(&o->xattrmap))
        wrong = "--posix-acl goes only with an --xattrmap that leaves system.posix_acl_access and "
                "system.posix_acl_default as they are";
    if (wrong != NULL)
        fprintf(stderr, "oriel serve: %s\n", wrong);
    return wrong == NULL;
}

static uint16_t cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    int count = CPU_COUNT(&set);
    return (uint16_t)(count < 1 ? 1 : count > 64 ? 64 : count);
}

/*
 * Who waits for a lock keeps a thread, and who holds it may need another one (fsync, a read from the disk) to get
 * to the end of what it locks. So half of the threads at most wait, and with locks there are two.
 */
static void share_out_pool(struct serve_options *o)
{
    if (!o->pool_set || (!o->posix_lock && !o->flock))
        return;
    if (o->pool_size < 2)
        o->pool_size = 2;
    o->lock_waiters = o->pool_size / 2;
}

bool serve_options_parse(struct serve_options *options, int argc, char **argv)
{
    bool right = true;
    *options = (struct serve_options){
        .fd = -1, .sandbox = {.device_nodes = true}, .log_level = SERVE_LOG_INFO, .announce_submounts = true};
    for (int i = 1; i < argc && right; i++)
        right = apply_argument(options, argv, &i);
    if (options->queues == 0)
        options->queues = cores();
    share_out_pool(options);
    options->sandbox.file_handles = options->file_handles != ORIEL_FILE_HANDLES_NEVER;
    if (options->xattrmap.map != NULL)
        options->xattr = true;
    if (right && check(options))
        return true;
    serve_options_destroy(options);
    return false;
}

void serve_options_destroy(struct serve_options *options)
{
    xattr_option_destroy(&options->xattrmap);
}
