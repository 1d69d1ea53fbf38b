/* The command line of `oriel mount`. */
#ifndef ORIEL_CLI_MOUNT_OPTIONS_H
#define ORIEL_CLI_MOUNT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <oriel/fuse_server.h>

#include "cli/id_rules.h"
#include "cli/xattr_option.h"

struct mount_options {
    const char *dir; /* NULL: memory */
    const char *mountpoint;
    bool memory;
    uint64_t max_bytes, max_inodes, user_bytes, user_inodes; /* of --memory; 0 = the back-end's default */
    enum oriel_cache_mode cache;
    unsigned threads;
    bool daemon, read_only, allow_other, submounts, writeback, help;
    const char *trace;
    struct id_rules uid_rules, gid_rules;
    struct xattr_option xattrmap;
};

/* False: one line on stderr said what is wrong; nothing to destroy then. Strings point into argv. */
bool mount_options_parse(struct mount_options *options, int argc, char **argv);
void mount_options_destroy(struct mount_options *options);

extern const char mount_usage[];

#endif
