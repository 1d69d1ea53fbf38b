/* One row for each opcode: everything that is known of it before its handler runs. */
#ifndef ORIEL_FUSE_OP_TABLE_H
#define ORIEL_FUSE_OP_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "fuse/request.h"

#define OP_EARLY     UINT32_C(0x01)  /* allowed before INIT */
#define OP_ALONE     UINT32_C(0x02)  /* runs with the gate closed: nothing else does meanwhile */
#define OP_MAY_BLOCK UINT32_C(0x04)  /* may take long; a transport with a pool hands it off */
#define OP_MODIFIES  UINT32_C(0x08)  /* refused with EROFS on a read-only share */
#define OP_NO_REPLY  UINT32_C(0x10)  /* never answered */
#define OP_NODE      UINT32_C(0x20)  /* header.nodeid must be known; pinned in request.node */
#define OP_DATA      UINT32_C(0x40)  /* only min_args are arguments, the rest stays in the vectors */
#define OP_CREATES   UINT32_C(0x80)  /* may carry extensions behind its names */
#define OP_NAMED     UINT32_C(0x100) /* about something in the folder request.node: an error may be of that */

struct op_row {
    const char *name;
    uint32_t flags;
    size_t min_args, max_args; /* bytes after the in-header */
    size_t min_room;           /* bytes after the out-header that a success needs */
    size_t needs; /* offset in struct oriel_fs_ops of the function it cannot do without; 0 = none */
    int (*handler)(struct request *r); /* 0 or a negative errno; NULL = -ENOSYS */
    /* Names of the numbers in arguments and reply for the trace: 'x' = 64 bits, 'd' = 32 bits before each. */
    const char *args_format, *reply_format;
};

const struct op_row *op_row_of(uint32_t opcode);
const struct op_row *op_row_unknown(void);
/* The opcode; 0 for the unknown ones. */
unsigned op_row_index(const struct op_row *row);

#endif
