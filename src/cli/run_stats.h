/* Gathers the numbers of the table from the machine and its shares. */
#ifndef ORIEL_CLI_RUN_STATS_H
#define ORIEL_CLI_RUN_STATS_H

#include "cli/stats_table.h"
#include "microvm/fs_device.h"
#include "microvm/vm.h"

void run_stats_collect(struct vm *vm, struct fs_device *shares, size_t count, struct run_stats *stats);

#endif
