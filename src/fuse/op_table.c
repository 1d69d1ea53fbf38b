#include "fuse/op_table.h"

#include "fuse/ops.h"

/* Trailing bytes after the known arguments are ignored up to here: later minors may append fields. */
#define SLACK 1024
/* Names longer than allowed are still copied, so that they get ENAMETOOLONG; up to here. */
#define NAMES 8192
/* The most that extensions can be: groups, and one security label with the largest value of an xattr. */
#define EXTENSIONS (65536 + SLACK)

#define ARGS(type)       .min_args = sizeof(struct type), .max_args = sizeof(struct type) + SLACK
#define ARGS_NAMES(type) .min_args = sizeof(struct type), .max_args = sizeof(struct type) + NAMES
#define ARGS_CREATES(type)                                                                                   \
    .min_args = sizeof(struct type), .max_args = sizeof(struct type) + NAMES + EXTENSIONS
#define ARGS_DATA(type) .min_args = sizeof(struct type), .max_args = SIZE_MAX
#define NO_ARGS         .min_args = 0, .max_args = SLACK
#define ONLY_NAMES      .min_args = 1, .max_args = NAMES
#define ROOM(type)      .min_room = sizeof(struct type)
#define NEEDS(member)   .needs = offsetof(struct oriel_fs_ops, member)

#define TRACE_ENTRY                                                                                          \
    "xnodeid xgeneration xentry_valid xattr_valid dentry_ns dattr_ns xino xsize xblocks xatime xmtime "      \
    "xctime datimensec dmtimensec dctimensec dmode dnlink duid dgid drdev dblksize dflags"
#define TRACE_ATTR                                                                                           \
    "xattr_valid dattr_ns ddummy xino xsize xblocks xatime xmtime xctime datimensec dmtimensec "             \
    "dctimensec dmode dnlink duid dgid drdev dblksize dflags"
#define TRACE_OPEN    "xfh dopen_flags dbacking"
#define TRACE_RW      "xfh xoffset dsize drw_flags xlock_owner dflags"
#define TRACE_LOCK    "xfh xowner xstart xend dtype dpid dlk_flags"
#define TRACE_COPY    "xfh_in xoff_in xnodeid_out xfh_out xoff_out xlen xflags"
#define TRACE_RELEASE "xfh dflags drelease_flags xlock_owner"
#define TRACE_CREATE  "dflags dmode dumask dopen_flags"

static const struct op_row unknown = {.name = "UNKNOWN", .max_args = SIZE_MAX};

static const struct op_row rows[FUSE_OPCODE_END] = {
    /* ---- session ---- */
    [FUSE_INIT] = {.name = "INIT",
                   .handler = op_init,
                   .flags = OP_EARLY | OP_ALONE,
                   .min_args = 8,
                   .max_args = SLACK,
                   ROOM(wire_init_out),
                   .args_format = "dmajor dminor dmax_readahead dflags dflags2",
                   .reply_format = "dmajor dminor dmax_readahead dflags dbackground dmax_write dtime_gran "
                                   "dmax_pages_map_alignment dflags2"},
    [FUSE_DESTROY] = {.name = "DESTROY", .handler = op_destroy, .flags = OP_EARLY | OP_ALONE, NO_ARGS},
    [FUSE_INTERRUPT] = {.name = "INTERRUPT",
                        .handler = op_interrupt,
                        .flags = OP_EARLY | OP_NO_REPLY,
                        ARGS(wire_interrupt_in),
                        .args_format = "xunique"},

    /* ---- nodes ---- */
    [FUSE_LOOKUP] = {.name = "LOOKUP",
                     .handler = op_lookup,
                     .flags = OP_NODE | OP_NAMED,
                     ONLY_NAMES,
                     ROOM(wire_entry_out),
                     NEEDS(lookup),
                     .reply_format = TRACE_ENTRY},
    [FUSE_FORGET] = {.name = "FORGET",
                     .handler = op_forget,
                     .flags = OP_NO_REPLY,
                     ARGS(wire_forget_in),
                     .args_format = "xnlookup"},
    [FUSE_BATCH_FORGET] = {.name = "BATCH_FORGET",
                           .handler = op_batch_forget,
                           .flags = OP_NO_REPLY | OP_DATA,
                           ARGS_DATA(wire_batch_forget_in),
                           .args_format = "dcount"},
    [FUSE_GETATTR] = {.name = "GETATTR",
                      .handler = op_getattr,
                      .flags = OP_NODE,
                      ARGS(wire_getattr_in),
                      ROOM(wire_attr_out),
                      NEEDS(getattr),
                      .args_format = "dgetattr_flags ddummy xfh",
                      .reply_format = TRACE_ATTR},
    [FUSE_SETATTR] = {.name = "SETATTR",
                      .handler = op_setattr,
                      .flags = OP_NODE | OP_MODIFIES,
                      ARGS(wire_setattr_in),
                      ROOM(wire_attr_out),
                      NEEDS(setattr),
                      .args_format = "dvalid dpadding xfh xsize xlock_owner xatime xmtime xctime datimensec "
                                     "dmtimensec dctimensec dmode dunused duid dgid",
                      .reply_format = TRACE_ATTR},
    [FUSE_STATX] = {.name = "STATX",
                    .handler = op_statx,
                    .flags = OP_NODE,
                    ARGS(wire_statx_in),
                    ROOM(wire_statx_out),
                    NEEDS(getattr),
                    .args_format = "dgetattr_flags dreserved xfh dsx_flags dsx_mask",
                    .reply_format =
                        "xattr_valid dattr_ns dflags xspare xspare dmask dblksize xattributes dnlink "
                        "duid dgid dmode xino xsize xblocks"},
    [FUSE_ACCESS] = {.name = "ACCESS",
                     .handler = op_access,
                     .flags = OP_NODE,
                     ARGS(wire_access_in),
                     NEEDS(access),
                     .args_format = "dmask"},
    [FUSE_READLINK] =
        {.name = "READLINK", .handler = op_readlink, .flags = OP_NODE, NO_ARGS, NEEDS(readlink)},

    /* ---- names ---- */
    [FUSE_MKNOD] = {.name = "MKNOD",
                    .handler = op_mknod,
                    .flags = OP_NODE | OP_NAMED | OP_MODIFIES | OP_CREATES,
                    ARGS_CREATES(wire_mknod_in),
                    ROOM(wire_entry_out),
                    NEEDS(mknod),
                    .args_format = "dmode drdev dumask dpadding",
                    .reply_format = TRACE_ENTRY},
    [FUSE_MKDIR] = {.name = "MKDIR",
                    .handler = op_mkdir,
                    .flags = OP_NODE | OP_NAMED | OP_MODIFIES | OP_CREATES,
                    ARGS_CREATES(wire_mkdir_in),
                    ROOM(wire_entry_out),
                    NEEDS(mkdir),
                    .args_format = "dmode dumask",
                    .reply_format = TRACE_ENTRY},
    [FUSE_SYMLINK] = {.name = "SYMLINK",
                      .handler = op_symlink,
                      .flags = OP_NODE | OP_NAMED | OP_MODIFIES | OP_CREATES,
                      .min_args = 2,
                      .max_args = NAMES + EXTENSIONS,
                      ROOM(wire_entry_out),
                      NEEDS(symlink),
                      .reply_format = TRACE_ENTRY},
    [FUSE_LINK] = {.name = "LINK",
                   .handler = op_link,
                   .flags = OP_NODE | OP_NAMED | OP_MODIFIES,
                   ARGS_NAMES(wire_link_in),
                   ROOM(wire_entry_out),
                   NEEDS(link),
                   .args_format = "xoldnodeid",
                   .reply_format = TRACE_ENTRY},
    [FUSE_UNLINK] = {.name = "UNLINK",
                     .handler = op_unlink,
                     .flags = OP_NODE | OP_NAMED | OP_MODIFIES,
                     ONLY_NAMES,
                     NEEDS(unlink)},
    [FUSE_RMDIR] = {.name = "RMDIR",
                    .handler = op_rmdir,
                    .flags = OP_NODE | OP_NAMED | OP_MODIFIES,
                    ONLY_NAMES,
                    NEEDS(rmdir)},
    [FUSE_RENAME] = {.name = "RENAME",
                     .handler = op_rename,
                     .flags = OP_NODE | OP_NAMED | OP_MODIFIES,
                     ARGS_NAMES(wire_rename_in),
                     NEEDS(rename),
                     .args_format = "xnewdir"},
    [FUSE_RENAME2] = {.name = "RENAME2",
                      .handler = op_rename2,
                      .flags = OP_NODE | OP_NAMED | OP_MODIFIES,
                      ARGS_NAMES(wire_rename2_in),
                      NEEDS(rename),
                      .args_format = "xnewdir dflags dpadding"},

    /* ---- opening ---- */
    [FUSE_OPEN] = {.name = "OPEN",
                   .handler = op_open,
                   .flags = OP_NODE,
                   ARGS(wire_open_in),
                   ROOM(wire_open_out),
                   NEEDS(open),
                   .args_format = "dflags dopen_flags",
                   .reply_format = TRACE_OPEN},
    [FUSE_CREATE] = {.name = "CREATE",
                     .handler = op_create,
                     .flags = OP_NODE | OP_NAMED | OP_MODIFIES | OP_CREATES,
                     ARGS_CREATES(wire_create_in),
                     ROOM(wire_create_out),
                     NEEDS(create),
                     .args_format = TRACE_CREATE,
                     .reply_format = TRACE_ENTRY " " TRACE_OPEN},
    [FUSE_TMPFILE] = {.name = "TMPFILE",
                      .handler = op_tmpfile,
                      .flags = OP_NODE | OP_NAMED | OP_MODIFIES | OP_CREATES,
                      ARGS_CREATES(wire_create_in),
                      ROOM(wire_create_out),
                      NEEDS(tmpfile),
                      .args_format = TRACE_CREATE,
                      .reply_format = TRACE_ENTRY " " TRACE_OPEN},
    [FUSE_OPENDIR] = {.name = "OPENDIR",
                      .handler = op_opendir,
                      .flags = OP_NODE,
                      ARGS(wire_open_in),
                      ROOM(wire_open_out),
                      NEEDS(opendir),
                      .args_format = "dflags dopen_flags",
                      .reply_format = TRACE_OPEN},
    [FUSE_RELEASE] = {.name = "RELEASE",
                      .handler = op_release,
                      ARGS(wire_release_in),
                      .args_format = TRACE_RELEASE},
    [FUSE_RELEASEDIR] = {.name = "RELEASEDIR",
                         .handler = op_releasedir,
                         ARGS(wire_release_in),
                         .args_format = TRACE_RELEASE},

    /* ---- files ---- */
    [FUSE_READ] =
        {.name = "READ", .handler = op_read, ARGS(wire_read_in), NEEDS(read), .args_format = TRACE_RW},
    [FUSE_WRITE] = {.name = "WRITE",
                    .handler = op_write,
                    .flags = OP_MODIFIES | OP_DATA,
                    ARGS_DATA(wire_write_in),
                    ROOM(wire_write_out),
                    NEEDS(write),
                    .args_format = TRACE_RW,
                    .reply_format = "dsize"},
    [FUSE_FLUSH] = {.name = "FLUSH",
                    .handler = op_flush,
                    ARGS(wire_flush_in),
                    NEEDS(flush),
                    .args_format = "xfh dunused dpadding xlock_owner"},
    [FUSE_FSYNC] = {.name = "FSYNC",
                    .handler = op_fsync,
                    .flags = OP_MAY_BLOCK,
                    ARGS(wire_fsync_in),
                    NEEDS(fsync),
                    .args_format = "xfh dfsync_flags"},
    [FUSE_FALLOCATE] = {.name = "FALLOCATE",
                        .handler = op_fallocate,
                        .flags = OP_MAY_BLOCK | OP_MODIFIES,
                        ARGS(wire_fallocate_in),
                        NEEDS(fallocate),
                        .args_format = "xfh xoffset xlength dmode"},
    [FUSE_LSEEK] = {.name = "LSEEK",
                    .handler = op_lseek,
                    ARGS(wire_lseek_in),
                    ROOM(wire_lseek_out),
                    NEEDS(lseek),
                    .args_format = "xfh xoffset dwhence",
                    .reply_format = "xoffset"},
    [FUSE_COPY_FILE_RANGE] = {.name = "COPY_FILE_RANGE",
                              .handler = op_copy_file_range,
                              .flags = OP_MAY_BLOCK | OP_MODIFIES,
                              ARGS(wire_copy_file_range_in),
                              ROOM(wire_write_out),
                              NEEDS(copy_file_range),
                              .args_format = TRACE_COPY,
                              .reply_format = "dsize"},
    [FUSE_COPY_FILE_RANGE_64] = {.name = "COPY_FILE_RANGE_64",
                                 .handler = op_copy_file_range_64,
                                 .flags = OP_MAY_BLOCK | OP_MODIFIES,
                                 ARGS(wire_copy_file_range_in),
                                 ROOM(wire_copy_file_range_out),
                                 NEEDS(copy_file_range),
                                 .args_format = TRACE_COPY,
                                 .reply_format = "xbytes_copied"},

    /* ---- folders ---- */
    [FUSE_READDIR] = {.name = "READDIR",
                      .handler = op_readdir,
                      ARGS(wire_read_in),
                      NEEDS(readdir),
                      .args_format = TRACE_RW},
    [FUSE_READDIRPLUS] = {.name = "READDIRPLUS",
                          .handler = op_readdirplus,
                          ARGS(wire_read_in),
                          NEEDS(readdir),
                          .args_format = TRACE_RW},
    [FUSE_FSYNCDIR] = {.name = "FSYNCDIR",
                       .handler = op_fsyncdir,
                       .flags = OP_MAY_BLOCK,
                       ARGS(wire_fsync_in),
                       NEEDS(fsyncdir),
                       .args_format = "xfh dfsync_flags"},

    /* ---- the DAX window ---- */
    [FUSE_SETUPMAPPING] = {.name = "SETUPMAPPING",
                           .handler = op_setupmapping,
                           .flags = OP_NODE,
                           ARGS(wire_setupmapping_in),
                           NEEDS(map_open),
                           .args_format = "xfh xfoffset xlen xflags xmoffset"},
    [FUSE_REMOVEMAPPING] = {.name = "REMOVEMAPPING",
                            .handler = op_removemapping,
                            .flags = OP_DATA,
                            ARGS_DATA(wire_removemapping_in),
                            .args_format = "dcount"},

    /* ---- extended attributes ---- */
    [FUSE_SETXATTR] = {.name = "SETXATTR",
                       .handler = op_setxattr,
                       .flags = OP_NODE | OP_MODIFIES,
                       .min_args = WIRE_SETXATTR_IN_SHORT,
                       .max_args = EXTENSIONS + NAMES,
                       NEEDS(setxattr),
                       .args_format = "dsize dflags"},
    [FUSE_GETXATTR] = {.name = "GETXATTR",
                       .handler = op_getxattr,
                       .flags = OP_NODE,
                       ARGS_NAMES(wire_getxattr_in),
                       NEEDS(getxattr),
                       .args_format = "dsize dpadding"},
    [FUSE_LISTXATTR] = {.name = "LISTXATTR",
                        .handler = op_listxattr,
                        .flags = OP_NODE,
                        ARGS(wire_getxattr_in),
                        NEEDS(listxattr),
                        .args_format = "dsize"},
    [FUSE_REMOVEXATTR] = {.name = "REMOVEXATTR",
                          .handler = op_removexattr,
                          .flags = OP_NODE | OP_MODIFIES,
                          ONLY_NAMES,
                          NEEDS(removexattr)},

    /* ---- locks ---- */
    [FUSE_GETLK] = {.name = "GETLK",
                    .handler = op_getlk,
                    ARGS(wire_lk_in),
                    ROOM(wire_lock),
                    NEEDS(getlk),
                    .args_format = TRACE_LOCK,
                    .reply_format = "xstart xend dtype dpid"},
    [FUSE_SETLK] =
        {.name = "SETLK", .handler = op_setlk, ARGS(wire_lk_in), NEEDS(setlk), .args_format = TRACE_LOCK},
    [FUSE_SETLKW] = {.name = "SETLKW",
                     .handler = op_setlkw,
                     .flags = OP_MAY_BLOCK,
                     ARGS(wire_lk_in),
                     NEEDS(setlk),
                     .args_format = TRACE_LOCK},

    /* ---- the rest ---- */
    [FUSE_STATFS] = {.name = "STATFS",
                     .handler = op_statfs,
                     .flags = OP_NODE,
                     NO_ARGS,
                     ROOM(wire_statfs_out),
                     NEEDS(statfs),
                     .reply_format = "xblocks xbfree xbavail xfiles xffree dbsize dnamelen dfrsize"},
    [FUSE_SYNCFS] = {.name = "SYNCFS",
                     .handler = op_syncfs,
                     .flags = OP_NODE | OP_MAY_BLOCK,
                     ARGS(wire_syncfs_in),
                     NEEDS(syncfs)},
    [FUSE_IOCTL] = {.name = "IOCTL",
                    .handler = op_ioctl,
                    .flags = OP_DATA,
                    ARGS_DATA(wire_ioctl_in),
                    .args_format = "xfh dflags dcmd xarg din_size dout_size",
                    .reply_format = "dresult dflags din_iovs dout_iovs"},
    [FUSE_BMAP] = {.name = "BMAP"},
    [FUSE_POLL] = {.name = "POLL"},
    [FUSE_NOTIFY_REPLY] = {.name = "NOTIFY_REPLY"},
};

const struct op_row *op_row_unknown(void)
{
    return &unknown;
}

const struct op_row *op_row_of(uint32_t opcode)
{
    return opcode < FUSE_OPCODE_END && rows[opcode].name != NULL ? &rows[opcode] : &unknown;
}

unsigned op_row_index(const struct op_row *row)
{
    return row == &unknown ? 0 : (unsigned)(row - rows);
}

const char *oriel_fuse_opcode_name(uint32_t opcode)
{
    return op_row_of(opcode)->name;
}
