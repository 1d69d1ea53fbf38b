/* Lines for people: to syslog if that was asked for and can be had, else to stderr; those of the level asked for and
 * above. */
#ifndef ORIEL_CLI_SERVE_LOG_H
#define ORIEL_CLI_SERVE_LOG_H

#include <stdbool.h>

#include "cli/serve_options.h"

void serve_log_open(enum serve_log_level level, bool to_syslog);
void serve_log(enum serve_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
