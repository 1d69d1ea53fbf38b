/* The server as the place where a DAX session gets its files. */
#ifndef ORIEL_FUSE_OPS_DAX_H
#define ORIEL_FUSE_OPS_DAX_H

#include "fuse/server.h"

struct oriel_dax_source ops_dax_source(struct oriel_fuse_server *server);

#endif
