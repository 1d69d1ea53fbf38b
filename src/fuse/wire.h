/*
 * The FUSE wire format, 7.45 (Linux include/uapi/linux/fuse.h): little-endian, natural alignment, no holes.
 * Our own definitions, so that the library builds where no Linux headers are and numbers never depend on them.
 */
#ifndef ORIEL_FUSE_WIRE_H
#define ORIEL_FUSE_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire structs are used as they lie in memory");

#define FUSE_MAJOR     7
#define FUSE_MINOR     45
#define FUSE_MINOR_MIN 27
#define FUSE_ROOT_ID   1
#define FUSE_NAME_MAX  255

enum fuse_opcode {
    FUSE_LOOKUP = 1,
    FUSE_FORGET = 2,
    FUSE_GETATTR = 3,
    FUSE_SETATTR = 4,
    FUSE_READLINK = 5,
    FUSE_SYMLINK = 6,
    FUSE_MKNOD = 8,
    FUSE_MKDIR = 9,
    FUSE_UNLINK = 10,
    FUSE_RMDIR = 11,
    FUSE_RENAME = 12,
    FUSE_LINK = 13,
    FUSE_OPEN = 14,
    FUSE_READ = 15,
    FUSE_WRITE = 16,
    FUSE_STATFS = 17,
    FUSE_RELEASE = 18,
    FUSE_FSYNC = 20,
    FUSE_SETXATTR = 21,
    FUSE_GETXATTR = 22,
    FUSE_LISTXATTR = 23,
    FUSE_REMOVEXATTR = 24,
    FUSE_FLUSH = 25,
    FUSE_INIT = 26,
    FUSE_OPENDIR = 27,
    FUSE_READDIR = 28,
    FUSE_RELEASEDIR = 29,
    FUSE_FSYNCDIR = 30,
    FUSE_GETLK = 31,
    FUSE_SETLK = 32,
    FUSE_SETLKW = 33,
    FUSE_ACCESS = 34,
    FUSE_CREATE = 35,
    FUSE_INTERRUPT = 36,
    FUSE_BMAP = 37,
    FUSE_DESTROY = 38,
    FUSE_IOCTL = 39,
    FUSE_POLL = 40,
    FUSE_NOTIFY_REPLY = 41,
    FUSE_BATCH_FORGET = 42,
    FUSE_FALLOCATE = 43,
    FUSE_READDIRPLUS = 44,
    FUSE_RENAME2 = 45,
    FUSE_LSEEK = 46,
    FUSE_COPY_FILE_RANGE = 47,
    FUSE_SETUPMAPPING = 48,
    FUSE_REMOVEMAPPING = 49,
    FUSE_SYNCFS = 50,
    FUSE_TMPFILE = 51,
    FUSE_STATX = 52,
    FUSE_COPY_FILE_RANGE_64 = 53,
    FUSE_OPCODE_END = 54,
};
#define FUSE_INIT_OTHER_ENDIAN UINT32_C(0x1a000000)

/* INIT flags; bits 32 and up travel in flags2. */
#define FUSE_BIT(n)               (UINT64_C(1) << (n))
#define FUSE_ASYNC_READ           FUSE_BIT(0)
#define FUSE_POSIX_LOCKS          FUSE_BIT(1)
#define FUSE_ATOMIC_O_TRUNC       FUSE_BIT(3)
#define FUSE_EXPORT_SUPPORT       FUSE_BIT(4)
#define FUSE_BIG_WRITES           FUSE_BIT(5)
#define FUSE_DONT_MASK            FUSE_BIT(6)
#define FUSE_FLOCK_LOCKS          FUSE_BIT(10)
#define FUSE_HAS_IOCTL_DIR        FUSE_BIT(11)
#define FUSE_AUTO_INVAL_DATA      FUSE_BIT(12)
#define FUSE_DO_READDIRPLUS       FUSE_BIT(13)
#define FUSE_READDIRPLUS_AUTO     FUSE_BIT(14)
#define FUSE_ASYNC_DIO            FUSE_BIT(15)
#define FUSE_WRITEBACK_CACHE      FUSE_BIT(16)
#define FUSE_NO_OPEN_SUPPORT      FUSE_BIT(17)
#define FUSE_PARALLEL_DIROPS      FUSE_BIT(18)
#define FUSE_HANDLE_KILLPRIV      FUSE_BIT(19)
#define FUSE_POSIX_ACL            FUSE_BIT(20)
#define FUSE_ABORT_ERROR          FUSE_BIT(21)
#define FUSE_MAX_PAGES            FUSE_BIT(22)
#define FUSE_CACHE_SYMLINKS       FUSE_BIT(23)
#define FUSE_NO_OPENDIR_SUPPORT   FUSE_BIT(24)
#define FUSE_EXPLICIT_INVAL_DATA  FUSE_BIT(25)
#define FUSE_MAP_ALIGNMENT        FUSE_BIT(26)
#define FUSE_SUBMOUNTS            FUSE_BIT(27)
#define FUSE_HANDLE_KILLPRIV_V2   FUSE_BIT(28)
#define FUSE_SETXATTR_EXT         FUSE_BIT(29)
#define FUSE_INIT_EXT             FUSE_BIT(30)
#define FUSE_SECURITY_CTX         FUSE_BIT(32)
#define FUSE_HAS_INODE_DAX        FUSE_BIT(33)
#define FUSE_CREATE_SUPP_GROUP    FUSE_BIT(34)
#define FUSE_DIRECT_IO_ALLOW_MMAP FUSE_BIT(36)
#define FUSE_ALLOW_IDMAP          FUSE_BIT(40)

#define FUSE_ATTR_SUBMOUNT UINT32_C(1)
#define FUSE_ATTR_DAX      UINT32_C(2)

#define FUSE_GETATTR_FH      UINT32_C(1)
#define FUSE_OPEN_KILL_SUID  UINT32_C(1)
#define FUSE_RELEASE_FLUSH   UINT32_C(1)
#define FUSE_RELEASE_UNFLOCK UINT32_C(2)
#define FUSE_WRITE_CACHE     UINT32_C(1)
#define FUSE_WRITE_KILL_SUID UINT32_C(4)
#define FUSE_FSYNC_DATASYNC  UINT32_C(1)
#define FUSE_XATTR_KILL_SGID UINT32_C(1)
#define FUSE_LOCK_FLOCK      UINT32_C(1)
#define FUSE_IOCTL_DIR       UINT32_C(16)

/* The IOCTLs that are served, as Linux numbers them for 64-bit and 32-bit programs. */
#define FUSE_IOC_GETFLAGS   UINT32_C(0x80086601)
#define FUSE_IOC_SETFLAGS   UINT32_C(0x40086602)
#define FUSE_IOC32_GETFLAGS UINT32_C(0x80046601)
#define FUSE_IOC32_SETFLAGS UINT32_C(0x40046602)
#define FUSE_IOC_FSGETXATTR UINT32_C(0x801c581f)
#define FUSE_IOC_FSSETXATTR UINT32_C(0x401c5820)
#define FUSE_FSXATTR_SIZE   28

/* Modes of FALLOCATE: KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE, UNSHARE_RANGE. */
#define FUSE_FALLOCATE_MODES UINT32_C(0x7b)

#define FUSE_SETUP_WRITE UINT64_C(1)
#define FUSE_SETUP_READ  UINT64_C(2)

#define FUSE_FOPEN_DIRECT_IO              UINT32_C(1)
#define FUSE_FOPEN_KEEP_CACHE             UINT32_C(2)
#define FUSE_FOPEN_CACHE_DIR              UINT32_C(8)
#define FUSE_FOPEN_NOFLUSH                UINT32_C(32)
#define FUSE_FOPEN_PARALLEL_DIRECT_WRITES UINT32_C(64)

/* Bits of setattr_in.valid */
#define FUSE_SET_MODE         UINT32_C(0x001)
#define FUSE_SET_UID          UINT32_C(0x002)
#define FUSE_SET_GID          UINT32_C(0x004)
#define FUSE_SET_SIZE         UINT32_C(0x008)
#define FUSE_SET_ATIME        UINT32_C(0x010)
#define FUSE_SET_MTIME        UINT32_C(0x020)
#define FUSE_SET_FH           UINT32_C(0x040)
#define FUSE_SET_ATIME_NOW    UINT32_C(0x080)
#define FUSE_SET_MTIME_NOW    UINT32_C(0x100)
#define FUSE_SET_LOCKOWNER    UINT32_C(0x200)
#define FUSE_SET_CTIME        UINT32_C(0x400)
#define FUSE_SET_KILL_SUIDGID UINT32_C(0x800)

#define WIRE_SIZE(type, bytes)                                                                               \
    static_assert(sizeof(struct type) == (bytes), #type " has its size on the wire")

struct wire_in_header {
    uint32_t len, opcode;
    uint64_t unique, nodeid;
    uint32_t uid, gid, pid;
    uint16_t total_extlen; /* units of 8 bytes */
    uint16_t padding;
};
WIRE_SIZE(wire_in_header, 40);

struct wire_out_header {
    uint32_t len;
    int32_t error;
    uint64_t unique;
};
WIRE_SIZE(wire_out_header, 16);

struct wire_init_in {
    uint32_t major, minor, max_readahead, flags, flags2, unused[11];
};
WIRE_SIZE(wire_init_in, 64);

struct wire_init_out {
    uint32_t major, minor, max_readahead, flags;
    uint16_t max_background, congestion_threshold;
    uint32_t max_write, time_gran;
    uint16_t max_pages, map_alignment;
    uint32_t flags2, max_stack_depth;
    uint16_t request_timeout, unused[11];
};
WIRE_SIZE(wire_init_out, 64);

struct wire_attr {
    uint64_t ino, size, blocks, atime, mtime, ctime;
    uint32_t atimensec, mtimensec, ctimensec, mode, nlink, uid, gid, rdev, blksize, flags;
};
WIRE_SIZE(wire_attr, 88);

struct wire_entry_out {
    uint64_t nodeid, generation, entry_valid, attr_valid;
    uint32_t entry_valid_nsec, attr_valid_nsec;
    struct wire_attr attr;
};
WIRE_SIZE(wire_entry_out, 128);

struct wire_attr_out {
    uint64_t attr_valid;
    uint32_t attr_valid_nsec, dummy;
    struct wire_attr attr;
};
WIRE_SIZE(wire_attr_out, 104);

struct wire_forget_in {
    uint64_t nlookup;
};
WIRE_SIZE(wire_forget_in, 8);

struct wire_forget_one {
    uint64_t nodeid, nlookup;
};
WIRE_SIZE(wire_forget_one, 16);

struct wire_batch_forget_in {
    uint32_t count, dummy;
};
WIRE_SIZE(wire_batch_forget_in, 8);

struct wire_getattr_in {
    uint32_t getattr_flags, dummy;
    uint64_t fh;
};
WIRE_SIZE(wire_getattr_in, 16);

struct wire_setattr_in {
    uint32_t valid, padding;
    uint64_t fh, size, lock_owner, atime, mtime, ctime;
    uint32_t atimensec, mtimensec, ctimensec, mode, unused4, uid, gid, unused5;
};
WIRE_SIZE(wire_setattr_in, 88);

struct wire_mknod_in {
    uint32_t mode, rdev, umask, padding;
};
WIRE_SIZE(wire_mknod_in, 16);

struct wire_mkdir_in {
    uint32_t mode, umask;
};
WIRE_SIZE(wire_mkdir_in, 8);

struct wire_rename_in {
    uint64_t newdir;
};
WIRE_SIZE(wire_rename_in, 8);

struct wire_rename2_in {
    uint64_t newdir;
    uint32_t flags, padding;
};
WIRE_SIZE(wire_rename2_in, 16);

struct wire_link_in {
    uint64_t oldnodeid;
};
WIRE_SIZE(wire_link_in, 8);

struct wire_open_in {
    uint32_t flags, open_flags;
};
WIRE_SIZE(wire_open_in, 8);

struct wire_create_in {
    uint32_t flags, mode, umask, open_flags;
};
WIRE_SIZE(wire_create_in, 16);

struct wire_open_out {
    uint64_t fh;
    uint32_t open_flags;
    int32_t backing_id;
};
WIRE_SIZE(wire_open_out, 16);

struct wire_create_out {
    struct wire_entry_out entry;
    struct wire_open_out open;
};
WIRE_SIZE(wire_create_out, 144);

struct wire_release_in {
    uint64_t fh;
    uint32_t flags, release_flags;
    uint64_t lock_owner;
};
WIRE_SIZE(wire_release_in, 24);

struct wire_flush_in {
    uint64_t fh;
    uint32_t unused, padding;
    uint64_t lock_owner;
};
WIRE_SIZE(wire_flush_in, 24);

struct wire_read_in {
    uint64_t fh, offset;
    uint32_t size, read_flags;
    uint64_t lock_owner;
    uint32_t flags, padding;
};
WIRE_SIZE(wire_read_in, 40);

struct wire_write_in {
    uint64_t fh, offset;
    uint32_t size, write_flags;
    uint64_t lock_owner;
    uint32_t flags, padding;
};
WIRE_SIZE(wire_write_in, 40);

struct wire_write_out {
    uint32_t size, padding;
};
WIRE_SIZE(wire_write_out, 8);

struct wire_statfs_out {
    uint64_t blocks, bfree, bavail, files, ffree;
    uint32_t bsize, namelen, frsize, padding, spare[6];
};
WIRE_SIZE(wire_statfs_out, 80);

struct wire_fsync_in {
    uint64_t fh;
    uint32_t fsync_flags, padding;
};
WIRE_SIZE(wire_fsync_in, 16);

struct wire_setxattr_in {
    uint32_t size, flags;
    uint32_t setxattr_flags, padding; /* only with FUSE_SETXATTR_EXT */
};
WIRE_SIZE(wire_setxattr_in, 16);
#define WIRE_SETXATTR_IN_SHORT 8

struct wire_getxattr_in {
    uint32_t size, padding;
};
WIRE_SIZE(wire_getxattr_in, 8);

struct wire_getxattr_out {
    uint32_t size, padding;
};
WIRE_SIZE(wire_getxattr_out, 8);

struct wire_lock {
    uint64_t start, end;
    uint32_t type, pid;
};
WIRE_SIZE(wire_lock, 24);

struct wire_lk_in {
    uint64_t fh, owner;
    struct wire_lock lock;
    uint32_t lk_flags, padding;
};
WIRE_SIZE(wire_lk_in, 48);

struct wire_access_in {
    uint32_t mask, padding;
};
WIRE_SIZE(wire_access_in, 8);

struct wire_interrupt_in {
    uint64_t unique;
};
WIRE_SIZE(wire_interrupt_in, 8);

struct wire_ioctl_in {
    uint64_t fh;
    uint32_t flags, cmd;
    uint64_t arg;
    uint32_t in_size, out_size;
};
WIRE_SIZE(wire_ioctl_in, 32);

struct wire_ioctl_out {
    int32_t result;
    uint32_t flags, in_iovs, out_iovs;
};
WIRE_SIZE(wire_ioctl_out, 16);

struct wire_fallocate_in {
    uint64_t fh, offset, length;
    uint32_t mode, padding;
};
WIRE_SIZE(wire_fallocate_in, 32);

struct wire_lseek_in {
    uint64_t fh, offset;
    uint32_t whence, padding;
};
WIRE_SIZE(wire_lseek_in, 24);

struct wire_lseek_out {
    uint64_t offset;
};
WIRE_SIZE(wire_lseek_out, 8);

struct wire_copy_file_range_in {
    uint64_t fh_in, off_in, nodeid_out, fh_out, off_out, len, flags;
};
WIRE_SIZE(wire_copy_file_range_in, 56);

struct wire_copy_file_range_out {
    uint64_t bytes_copied;
};
WIRE_SIZE(wire_copy_file_range_out, 8);

struct wire_setupmapping_in {
    uint64_t fh, foffset, len, flags, moffset;
};
WIRE_SIZE(wire_setupmapping_in, 40);

struct wire_removemapping_in {
    uint32_t count;
};
WIRE_SIZE(wire_removemapping_in, 4);

struct wire_removemapping_one {
    uint64_t moffset, len;
};
WIRE_SIZE(wire_removemapping_one, 16);

struct wire_syncfs_in {
    uint64_t padding;
};
WIRE_SIZE(wire_syncfs_in, 8);

struct wire_statx_in {
    uint32_t getattr_flags, reserved;
    uint64_t fh;
    uint32_t sx_flags, sx_mask;
};
WIRE_SIZE(wire_statx_in, 24);

struct wire_statx_time {
    int64_t sec;
    uint32_t nsec;
    int32_t reserved;
};
WIRE_SIZE(wire_statx_time, 16);

struct wire_statx {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare0;
    uint64_t ino, size, blocks, attributes_mask;
    struct wire_statx_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t spare2[14];
};
WIRE_SIZE(wire_statx, 256);

struct wire_statx_out {
    uint64_t attr_valid;
    uint32_t attr_valid_nsec, flags;
    uint64_t spare[2];
    struct wire_statx stat;
};
WIRE_SIZE(wire_statx_out, 288);

struct wire_dirent {
    uint64_t ino, off;
    uint32_t namelen, type;
};
WIRE_SIZE(wire_dirent, 24);

struct wire_direntplus {
    struct wire_entry_out entry;
    struct wire_dirent dirent;
};
WIRE_SIZE(wire_direntplus, 152);

/* Extensions of the requests that create: blocks, each padded to 8 bytes, after the names. */
#define WIRE_EXT_GROUPS 32 /* smaller "types" are the nr_secctx of a security block */
struct wire_ext_header {
    uint32_t size, type;
};
WIRE_SIZE(wire_ext_header, 8);

struct wire_secctx {
    uint32_t size, padding; /* of the value; then name\0, then the value */
};
WIRE_SIZE(wire_secctx, 8);

#endif
