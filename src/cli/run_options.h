/* What `oriel run` was asked for. */
#ifndef ORIEL_CLI_RUN_OPTIONS_H
#define ORIEL_CLI_RUN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/share_spec.h"
#include "microvm/vm_error.h"

#define RUN_SHARES_MAX  24
#define RUN_MEM_DEFAULT (UINT64_C(1) << 30)

struct run_options {
    struct share_spec shares[RUN_SHARES_MAX];
    size_t share_count;
    const char *kernel;  /* NULL: the newest in /boot */
    const char *modules; /* NULL: found from the kernel; "none": load none */
    uint64_t mem;
    unsigned cpus;
    const char *cmdline_extra; /* NULL: nothing */
    const char *trace;         /* NULL: as ORIEL_TRACE says */
    bool no_stats, help;
    const char *stats_file; /* NULL: standard error */
    char **command;         /* NULL-terminated; empty: a shell */
};

/* Returns 0 or a negative errno with the line in error. argv must outlive *options. */
int run_options_parse(int argc, char **argv, struct run_options *options, struct vm_error *error);
void run_options_destroy(struct run_options *options);

extern const char run_usage[];

#endif
