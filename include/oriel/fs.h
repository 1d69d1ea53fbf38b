/*
 * Back-ends: what the FUSE server (fuse_server.h) needs of a file system.
 *
 * The server owns nodeids, lookup counts, handles' numbers, request parsing, name checks and replies; a
 * back-end sees its own inode and handle pointers and decoded, checked arguments only:
 *   - a name is one component: not empty, no '/', not "." or "..", at most 255 bytes, NUL-terminated;
 *   - an inode pointer came from inode_open() or root() and inode_close() was not called on it yet; a handle
 * pointer came from open/create/opendir/tmpfile and belongs to that inode and kind;
 *   - offsets and lengths are at most INT64_MAX and do not wrap when added.
 *
 * All functions may be called from several threads at once. All return 0 (or a count, or a value as said) or
 * a negative Linux errno. A NULL function means -ENOSYS.
 */
#ifndef ORIEL_FS_H
#define ORIEL_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which file this is, for as long as anyone knows it. Two entries are the same file if and only if all four
 * are equal. */
struct oriel_fs_identity {
    uint64_t mount; /* mount id, so that bind mounts and submounts stay apart */
    uint64_t dev;
    uint64_t ino;
    uint64_t generation; /* tells a reused inode number from the old file: birth time, or the file handle's
                            generation; else 0 */
};

struct oriel_fs_time {
    int64_t sec;
    uint32_t nsec;
};

/* Of a folder: a mount point below the shared one, or where another device number begins, as with a subvolume of Btrfs
 * (FUSE_ATTR_SUBMOUNT). */
#define ORIEL_FS_ATTR_SUBMOUNT UINT32_C(1)
#define ORIEL_FS_ATTR_DAX      UINT32_C(2) /* per-inode DAX (FUSE_ATTR_DAX) */

struct oriel_fs_attr {
    uint64_t ino, size, blocks; /* blocks of 512 bytes */
    struct oriel_fs_time atime, mtime, ctime, btime;
    uint32_t mode, nlink, uid, gid, rdev, blksize; /* rdev in the Linux 32-bit encoding */
    uint32_t flags;                                /* ORIEL_FS_ATTR_* */
    bool has_btime;
    uint64_t statx_attributes, statx_attributes_mask; /* STATX_ATTR_*; 0 where unknown */
    uint32_t dev_major, dev_minor;
};

/* What lookup and the creating operations find. The server answers each success with exactly one inode_open()
 * or entry_drop(). */
struct oriel_fs_entry {
    struct oriel_fs_identity identity;
    struct oriel_fs_attr attr;
    intptr_t hold; /* the back-end's own, e.g. a descriptor; valid until inode_open() or entry_drop() */
    /* Made by this very call, so no file known before can be it, even if the identity says so (inode number and
     * clock tick used again). create() sets it where it made the file; elsewhere the server knows. */
    bool made;
};

/* Who asks. */
struct oriel_fs_caller {
    uint32_t uid, gid, pid; /* (uint32_t)-1 = not told (FUSE_ALLOW_IDMAP): act with the server's own rights,
                               but never to make a file that belongs to the server */
    const uint32_t *groups; /* supplementary groups sent with the request; NULL when none were sent */
    size_t group_count;
    const char *security_name; /* label for a new inode (FUSE_SECURITY_CTX), or NULL */
    const void *security_value;
    size_t security_len;
};

/* Which fields setattr changes. */
#define ORIEL_FS_SET_MODE         UINT32_C(0x001)
#define ORIEL_FS_SET_UID          UINT32_C(0x002)
#define ORIEL_FS_SET_GID          UINT32_C(0x004)
#define ORIEL_FS_SET_SIZE         UINT32_C(0x008)
#define ORIEL_FS_SET_ATIME        UINT32_C(0x010)
#define ORIEL_FS_SET_MTIME        UINT32_C(0x020)
#define ORIEL_FS_SET_ATIME_NOW    UINT32_C(0x080)
#define ORIEL_FS_SET_MTIME_NOW    UINT32_C(0x100)
#define ORIEL_FS_SET_CTIME        UINT32_C(0x400)
#define ORIEL_FS_SET_KILL_SUIDGID UINT32_C(0x800)

/* Flags of open, create, write (their argument `kill`). */
#define ORIEL_FS_KILL_SUIDGID                                                                                \
    UINT32_C(1) /* drop suid, sgid and security.capability (FUSE_HANDLE_KILLPRIV_V2) */
/*
 * write only: to the end of the file in one step, whatever the offset says (pwritev2 with RWF_APPEND). Files
 * are never opened with O_APPEND: the guest writes pages of a shared mapping back through any handle that can
 * write, and those must land at their offset (FUSE_WRITE_CACHE, fs/fuse/file.c). Not asked for on behalf of a
 * guest with a write-back cache: it alone knows where the file ends.
 */
#define ORIEL_FS_APPEND UINT32_C(2)

/* What open tells beside the handle; the FOPEN_* bits of the FUSE reply. */
struct oriel_fs_opened {
    void *handle;
    uint32_t fopen_flags;
};

struct oriel_fs_dirent {
    const char *name;
    size_t name_len;
    uint64_t ino;
    uint64_t next; /* cookie that continues after this entry */
    uint32_t type; /* DT_* */
};

/* Takes one entry; false = no room: the entry is not consumed and readdir returns. It never calls the
 * back-end, so readdir may hold its locks. */
typedef bool (*oriel_fs_emit_fn)(void *arg, const struct oriel_fs_dirent *entry);

struct oriel_fs_statfs {
    uint64_t blocks, bfree, bavail, files, ffree;
    uint32_t bsize, namelen, frsize;
};

struct oriel_fs_lock {
    uint64_t start, end; /* inclusive; end INT64_MAX = to the end of the file */
    uint32_t type;       /* F_RDLCK, F_WRLCK, F_UNLCK */
    uint32_t pid;
    uint64_t owner;
    bool flock;
};

typedef struct oriel_fs_caller oriel_fs_caller;

struct oriel_fs_ops {
    size_t size; /* sizeof(struct oriel_fs_ops) as the back-end compiled it */

    /* ---- identity ---- */
    int (*root)(void *fs, struct oriel_fs_entry *out, void **inode);
    /* Looks a name up below a folder, without following a symbolic link. -ENOENT, -ENOTDIR, -EACCES, … */
    int (*lookup)(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                  struct oriel_fs_entry *out);
    /* The folder that holds the folder `inode` (for NFS export: LOOKUP ".."); never called for the root; a
     * parent that is the root or outside the share must come out as the root. NULL = no FUSE_EXPORT_SUPPORT.
     */
    int (*lookup_parent)(void *fs, const oriel_fs_caller *caller, void *inode, struct oriel_fs_entry *out);
    /* Makes an inode of an entry that the server does not know yet; consumes entry->hold in any case. parent
     * and name are those of the call that gave the entry (name NULL: tmpfile; "..": lookup_parent, parent is
     * its inode). */
    int (*inode_open)(void *fs, void *parent, const char *name, struct oriel_fs_entry *entry, void **inode);
    void (*entry_drop)(void *fs, struct oriel_fs_entry *entry);
    /* The last reference of guest and server is gone; no handle of it is open. */
    void (*inode_close)(void *fs, void *inode);

    /* ---- attributes; handle may be NULL ---- */
    int (*getattr)(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                   struct oriel_fs_attr *out);
    int (*setattr)(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                   const struct oriel_fs_attr *attr, uint32_t set, struct oriel_fs_attr *out);
    int (*access)(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t mask);
    int (*statfs)(void *fs, void *inode, struct oriel_fs_statfs *out);
    /* Returns the length, at most size; the target is not NUL-terminated. */
    ssize_t (*readlink)(void *fs, const oriel_fs_caller *caller, void *inode, char *target, size_t size);

    /* ---- names ---- */
    int (*mknod)(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                 uint32_t rdev, uint32_t umask, struct oriel_fs_entry *out);
    int (*mkdir)(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                 uint32_t umask, struct oriel_fs_entry *out);
    int (*symlink)(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                   const char *target, struct oriel_fs_entry *out);
    int (*link)(void *fs, const oriel_fs_caller *caller, void *inode, void *new_parent, const char *new_name,
                struct oriel_fs_entry *out);
    int (*unlink)(void *fs, const oriel_fs_caller *caller, void *parent, const char *name);
    int (*rmdir)(void *fs, const oriel_fs_caller *caller, void *parent, const char *name);
    /* flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT; others -EINVAL. */
    int (*rename)(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, void *new_parent,
                  const char *new_name, uint32_t flags);

    /* ---- regular files ---- */
    /* flags: of Linux, only O_ACCMODE, O_TRUNC, O_NOATIME, O_SYNC, O_DSYNC. Anything but a regular file:
     * -EBADF, never opened. */
    int (*open)(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags, uint32_t kill,
                struct oriel_fs_opened *out);
    /* Creates (or opens, without O_EXCL) and opens. flags: as open, and O_EXCL. When inode_open() of the
     * entry fails, release() is called with inode NULL. */
    int (*create)(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                  uint32_t flags, uint32_t umask, uint32_t kill, struct oriel_fs_entry *out,
                  struct oriel_fs_opened *opened);
    int (*tmpfile)(void *fs, const oriel_fs_caller *caller, void *parent, uint32_t mode, uint32_t flags,
                   uint32_t umask, struct oriel_fs_entry *out, struct oriel_fs_opened *opened);
    /* Data goes straight between the file and the vectors (guest memory). Short only at the end of the file.
     */
    ssize_t (*read)(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt,
                    uint64_t offset);
    ssize_t (*write)(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                     const struct iovec *iov, int iovcnt, uint64_t offset, uint32_t kill);
    int (*flush)(void *fs, void *inode, void *handle, uint64_t lock_owner);
    int (*fsync)(void *fs, void *inode, void *handle, bool datasync);
    void (*release)(void *fs, void *inode, void *handle, uint64_t lock_owner, bool flock_unlock);
    /* fallocate and copy_file_range end suid and sgid of the file that they change: that the caller may keep
     * them is not said. */
    int (*fallocate)(void *fs, void *inode, void *handle, uint64_t offset, uint64_t len, uint32_t mode);
    /* whence is SEEK_DATA or SEEK_HOLE. Returns the offset. */
    int64_t (*lseek)(void *fs, void *inode, void *handle, uint64_t offset, uint32_t whence);
    ssize_t (*copy_file_range)(void *fs, void *in_inode, void *in_handle, uint64_t in_offset, void *out_inode,
                               void *out_handle, uint64_t out_offset, uint64_t len, uint32_t flags);
    /* Opens for a DAX mapping: a new descriptor that the caller closes; *writable tells what it allows.
     * O_RDWR is tried first where the share allows writing; need_write makes failing it an error. */
    int (*map_open)(void *fs, void *inode, bool need_write, bool *writable);

    /* ---- folders ---- */
    int (*opendir)(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags,
                   struct oriel_fs_opened *out);
    /* Emits entries from the cookie `offset` (0 = start) until the end or emit says no. "." and ".."
     * included. */
    int (*readdir)(void *fs, void *inode, void *handle, uint64_t offset, oriel_fs_emit_fn emit, void *arg);
    int (*fsyncdir)(void *fs, void *inode, void *handle, bool datasync);
    void (*releasedir)(void *fs, void *inode, void *handle);
    int (*syncfs)(void *fs, void *inode);

    /* ---- extended attributes: size 0 asks for the length ---- */
    int (*setxattr)(void *fs, const oriel_fs_caller *caller, void *inode, const char *name, const void *value,
                    size_t size, uint32_t flags, bool acl_kill_sgid);
    ssize_t (*getxattr)(void *fs, const oriel_fs_caller *caller, void *inode, const char *name, void *value,
                        size_t size);
    ssize_t (*listxattr)(void *fs, const oriel_fs_caller *caller, void *inode, char *names, size_t size);
    int (*removexattr)(void *fs, const oriel_fs_caller *caller, void *inode, const char *name);

    /* ---- locks, ioctl ---- */
    int (*getlk)(void *fs, void *inode, void *handle, struct oriel_fs_lock *lock);
    /* Never blocks: -EAGAIN when held by another; the server does the waiting. */
    int (*setlk)(void *fs, void *inode, void *handle, const struct oriel_fs_lock *lock);
    /* cmd is one of the server's allow-list (FS_IOC_GETFLAGS, SETFLAGS, FSGETXATTR, FSSETXATTR in their
     * 64-bit numbers); arg_in/arg_out are bounded copies. handle is a file's or a folder's, as the inode is,
     * or NULL. */
    int (*ioctl)(void *fs, const oriel_fs_caller *caller, void *inode, void *handle, uint32_t cmd,
                 const void *arg_in, size_t in_size, void *arg_out, size_t *out_size);

    /* Frees the back-end; every inode and handle was closed before. */
    void (*destroy)(void *fs);

    /* As read, but -EAGAIN where it would wait for a disk (data may be in some of the vectors all the same).
     * NULL = read is always quick, or nobody can tell. */
    ssize_t (*read_nowait)(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt,
                           uint64_t offset);
    /* As lookup, below a folder that is open as `handle`: for each entry of a listing with attributes. NULL = as
     * lookup. */
    int (*lookup_listed)(void *fs, const oriel_fs_caller *caller, void *parent, void *handle,
                         const char *name, struct oriel_fs_entry *out);
};

/* A back-end: made by e.g. oriel_passthrough_create(); owned by whoever made it until it is handed to a
 * server. */
struct oriel_fs {
    const struct oriel_fs_ops *ops;
    void *fs;
};

#ifdef __cplusplus
}
#endif

#endif
