/* The table `oriel run` prints at the end and on SIGUSR1. */
#ifndef ORIEL_CLI_STATS_TABLE_H
#define ORIEL_CLI_STATS_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Sums over all shares. */
struct run_stats {
    uint64_t requests, request_errors, bad_requests;
    uint64_t setupmappings, setup_errors, removemappings, remove_errors;
    uint64_t upgrades, replaced, fault_binds;
    uint64_t read_requests, write_requests;
    uint64_t read_bytes, write_bytes;
    uint64_t mapped_now, mapped_peak,
        mapped_total; /* bytes of files the window shows, showed at once, was given */
    uint64_t exits, kicks, notifications, faults_injected;
};

/* One "name value [unit]" line each, aligned; line_end is "\n" or, on a raw terminal, "\r\n". */
void stats_table_print(FILE *to, const struct run_stats *stats, const char *line_end);

#endif
