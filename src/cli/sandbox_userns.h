/* A user namespace, for a daemon that is not root or wants other ids than the host's. */
#ifndef ORIEL_CLI_SANDBOX_USERNS_H
#define ORIEL_CLI_SANDBOX_USERNS_H

#include "cli/sandbox.h"

/* Moves this process into a new user namespace with the maps asked for, or with its own ids as 0. False: one
 * line on stderr said why not. */
bool sandbox_enter_user_namespace(const struct sandbox_options *options);

#endif
