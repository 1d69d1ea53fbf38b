/* Numbers and sizes on the command line. */
#ifndef ORIEL_CLI_ARGS_H
#define ORIEL_CLI_ARGS_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes: digits with K, M, G or T (powers of 1,024, either case) behind them, or alone and then in units of
 * `unit` bytes. */
bool parse_size(const char *text, uint64_t unit, uint64_t *bytes);

/* A decimal number from min to max, digits only. */
bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *number);

#endif
