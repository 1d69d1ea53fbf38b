/* The command line of `oriel serve`: that of virtiofsd, in both its spellings. */
#ifndef ORIEL_CLI_SERVE_OPTIONS_H
#define ORIEL_CLI_SERVE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <oriel/fuse_server.h>
#include <oriel/passthrough.h>
#include <oriel/vhost_user.h>

#include "cli/id_rules.h"
#include "cli/sandbox.h"
#include "cli/xattr_option.h"

enum serve_log_level {
    SERVE_LOG_OFF,
    SERVE_LOG_ERROR,
    SERVE_LOG_WARNING,
    SERVE_LOG_INFO,
    SERVE_LOG_DEBUG, /* and more: the trace goes to stderr */
};

struct serve_options {
    const char *socket_path, *socket_group;
    int fd; /* -1: none */
    const char *shared_dir, *tag;
    bool persist;
    struct sandbox_options sandbox;
    enum oriel_cache_mode cache;
    bool timeout_set;
    uint64_t timeout_ns;
    bool writeback, xattr, posix_acl, security_label, announce_submounts, read_only, allow_mmap,
        no_readdirplus, no_killpriv_v2;
    bool posix_lock, flock;
    struct id_rules uid_rules, gid_rules;
    struct xattr_option xattrmap; /* implies xattr */
    enum oriel_file_handles file_handles;
    bool pool_set;
    unsigned pool_size;
    uint32_t lock_waiters; /* 0: the server's default */
    uint16_t queues;
    enum oriel_poll_mode poll;
    bool rlimit_set;
    uint64_t rlimit_nofile;
    enum serve_log_level log_level;
    bool syslog;
    /* Asked for instead of serving. */
    bool help, version, print_capabilities;
};

/* False: one line on stderr said what is wrong; nothing to destroy then. Strings point into argv. */
bool serve_options_parse(struct serve_options *options, int argc, char **argv);
void serve_options_destroy(struct serve_options *options);

void serve_print_help(void);

#endif
