#include "cli/stats_table.h"

#include <inttypes.h>

struct row {
    const char *name;
    uint64_t value;
    const char *unit;
};

void stats_table_print(FILE *to, const struct run_stats *stats, const char *line_end)
{
    const struct row rows[] = {
        {"FUSE requests", stats->requests, ""},
        {"  answered with an error", stats->request_errors, ""},
        {"  malformed", stats->bad_requests, ""},
        {"  READ", stats->read_requests, ""},
        {"  WRITE", stats->write_requests, ""},
        {"  SETUPMAPPING", stats->setupmappings, ""},
        {"  REMOVEMAPPING ranges", stats->removemappings, ""},
        {"bytes moved by READ", stats->read_bytes, " B"},
        {"bytes moved by WRITE", stats->write_bytes, " B"},
        {"bytes shown by the window", stats->mapped_total, " B"},
        {"  at once, at most", stats->mapped_peak, " B"},
        {"  at the end", stats->mapped_now, " B"},
        {"mappings replaced", stats->replaced, ""},
        {"mappings bound by a fault", stats->fault_binds, ""},
        {"accesses without a page", stats->faults_injected, ""},
        {"queue kicks", stats->kicks, ""},
        {"queue interrupts", stats->notifications, ""},
        {"VM exits", stats->exits, ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        fprintf(to, "%-28s %14" PRIu64 "%s%s", rows[i].name, rows[i].value, rows[i].unit, line_end);
    fflush(to);
}
