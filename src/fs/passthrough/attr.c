/* Attributes of inodes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/passthrough/beneath.h"
#include "fs/passthrough/ids.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/operations.h"
#include "fs/passthrough/rights.h"

#define NO_ID UINT32_C(0xffffffff)

static int attributes(struct passthrough *pt, struct pt_inode *inode, const struct pt_handle *handle,
                      struct oriel_fs_attr *out)
{
    struct statx stx;
    int err = handle != NULL && handle->fd >= 0 ? identity_statx(handle->fd, "", &stx)
                                                : inode_statx(pt, inode, &stx);
    if (err != 0)
        return err;
    attr_of_statx(&stx, out);
    attr_to_guest(pt, out);
    return 0;
}

/* fstat(2) asks for no permission, so the caller's rights don't matter. */
int pt_getattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle, struct oriel_fs_attr *out)
{
    (void)caller;
    struct passthrough *pt = fs;
    struct passthrough *scope cleanup_rights = pt;
    return attributes(pt, inode, handle, out);
}

/* ---- setattr ---- */

struct change {
    struct passthrough *pt;
    const oriel_fs_caller *caller;
    struct pt_inode *inode;
    struct pt_handle *handle;
    const struct oriel_fs_attr *attr;
    uint32_t set;
    int fd;                  /* of the inode; may be O_PATH */
    char name[FD_NAME_SIZE]; /* of fd in /proc/self/fd */
};

static int begin(const struct change *change)
{
    return rights_begin(change->pt, change->caller,
                        change->set & ORIEL_FS_SET_KILL_SUIDGID ? CREDS_KILL : CREDS_OWN);
}

static int change_owner(const struct change *change)
{
    uid_t uid = change->set & ORIEL_FS_SET_UID ? change->attr->uid : NO_ID;
    gid_t gid = change->set & ORIEL_FS_SET_GID ? change->attr->gid : NO_ID;
    /* -1 would mean "leave it", which the guest did not ask for. */
    if ((change->set & ORIEL_FS_SET_UID && uid == NO_ID) || (change->set & ORIEL_FS_SET_GID && gid == NO_ID))
        return -EINVAL;
    int err = uid_to_host(change->pt, uid, &uid);
    if (err == 0)
        err = gid_to_host(change->pt, gid, &gid);
    if (err == 0)
        err = begin(change);
    if (err == 0 && fchownat(change->fd, "", uid, gid, AT_EMPTY_PATH) != 0)
        err = -errno;
    return err;
}

static int change_mode(const struct change *change)
{
    if (inode_is(change->inode, S_IFLNK))
        return -EOPNOTSUPP;
    int err = rights_begin(change->pt, change->caller, CREDS_OWN);
    if (err == 0 && fchmodat(change->pt->proc_fd, change->name, change->attr->mode & 07777, 0) != 0)
        err = -errno;
    return err;
}

static int truncate_handle(const struct change *change)
{
    int err = begin(change);
    if (err == 0 && ftruncate(change->handle->fd, (off_t)change->attr->size) != 0)
        err = -errno;
    return err;
}

static int truncate_inode(const struct change *change)
{
    if (inode_is(change->inode, S_IFDIR))
        return -EISDIR;
    if (!inode_is(change->inode, S_IFREG))
        return -EINVAL;
    cleanup_fd int fd = open_regular(change->pt, change->inode, change->caller, O_WRONLY, CREDS_ANY);
    if (fd < 0)
        return fd;
    int err = begin(change);
    if (err == 0 && ftruncate(fd, (off_t)change->attr->size) != 0)
        err = -errno;
    return err;
}

static int change_size(const struct change *change)
{
    if (change->handle != NULL && change->handle->writable)
        return truncate_handle(change);
    return truncate_inode(change);
}

static struct timespec time_to_set(const struct change *change, uint32_t given, uint32_t now,
                                   const struct oriel_fs_time *time)
{
    if (change->set & now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    if (change->set & given)
        return (struct timespec){.tv_sec = time->sec, .tv_nsec = (long)time->nsec};
    return (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int change_times(const struct change *change)
{
    const struct timespec times[2] = {
        time_to_set(change, ORIEL_FS_SET_ATIME, ORIEL_FS_SET_ATIME_NOW, &change->attr->atime),
        time_to_set(change, ORIEL_FS_SET_MTIME, ORIEL_FS_SET_MTIME_NOW, &change->attr->mtime),
    };
    /* Larger ones are UTIME_NOW and UTIME_OMIT to the kernel. */
    if (change->attr->atime.nsec > 999999999 && times[0].tv_nsec == (long)change->attr->atime.nsec)
        return -EINVAL;
    if (change->attr->mtime.nsec > 999999999 && times[1].tv_nsec == (long)change->attr->mtime.nsec)
        return -EINVAL;
    int err = rights_begin(change->pt, change->caller, CREDS_OWN);
    if (err == 0 && utimensat(change->pt->proc_fd, change->name, times, 0) != 0)
        err = -errno;
    return err;
}

#define SET_TIMES (ORIEL_FS_SET_ATIME | ORIEL_FS_SET_MTIME | ORIEL_FS_SET_ATIME_NOW | ORIEL_FS_SET_MTIME_NOW)

/* Owner first: changing it drops suid and sgid, which a mode given with it says last. */
static int apply(const struct change *change)
{
    int err = 0;
    if (change->set & (ORIEL_FS_SET_UID | ORIEL_FS_SET_GID))
        err = change_owner(change);
    if (err == 0 && change->set & ORIEL_FS_SET_MODE)
        err = change_mode(change);
    if (err == 0 && change->set & ORIEL_FS_SET_SIZE)
        err = change_size(change);
    if (err == 0 && change->set & SET_TIMES)
        err = change_times(change);
    return err;
}

/*
 * A guest with a write-back cache, which alone sets ctime, sends a file's times also after its last name has gone. Nobody
 * can see them any more, but of an error its next syncfs(2) would tell. Only where a file handle says that the file is
 * gone: one that is found by its name may just have another name now.
 *
 * The same request comes of utimensat(2) for mtime alone, and may mean the file that the host has put in the place of this
 * one: that is not to be told apart, and succeeds without effect for as long as the guest trusts the name.
 */
static bool comes_too_late(const struct change *change, int err)
{
    return err == -ESTALE && change->inode->handle_bytes > 0 && (change->set & ORIEL_FS_SET_CTIME) != 0 &&
           (change->set & ~(ORIEL_FS_SET_CTIME | ORIEL_FS_SET_MTIME)) == 0;
}

static int report_gone(const struct change *change, struct oriel_fs_attr *out)
{
    *out = (struct oriel_fs_attr){
        .ino = change->inode->ino,
        .mode = (uint32_t)change->inode->type << 12,
        .mtime = change->attr->mtime,
        .ctime = change->attr->ctime,
    };
    return 0;
}

int pt_setattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
               const struct oriel_fs_attr *attr, uint32_t set, struct oriel_fs_attr *out)
{
    struct passthrough *pt = fs;
    struct pt_handle *open_handle = handle;
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    struct change change = {.pt = pt, .caller = caller, .inode = inode, .attr = attr, .set = set};
    if (pt->options.read_only)
        return -EROFS;
    if (open_handle != NULL && open_handle->fd >= 0) {
        change.handle = open_handle;
        change.fd = open_handle->fd;
    } else {
        int err = inode_fd(pt, inode, &ref);
        if (comes_too_late(&change, err))
            return report_gone(&change, out);
        if (err != 0)
            return err;
        change.fd = ref.fd;
    }
    fd_name(change.fd, change.name);
    int err = apply(&change);
    if (err != 0)
        return err;
    struct statx stx;
    err = identity_statx(change.fd, "", &stx);
    if (err != 0)
        return err;
    attr_of_statx(&stx, out);
    attr_to_guest(pt, out);
    return 0;
}

/* ---- others ---- */

/* As the caller even where the share does not enforce credentials: what it may do is the question. */
int pt_access(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t mask)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    if (mask & ~(uint32_t)(R_OK | W_OK | X_OK))
        return -EINVAL;
    if (mask & W_OK && pt->options.read_only)
        return -EROFS;
    int err = inode_fd(pt, inode, &ref);
    if (err == 0)
        err = rights_begin(pt, caller, CREDS_CALLER);
    if (err != 0)
        return err;
    char name[FD_NAME_SIZE];
    fd_name(ref.fd, name);
    return faccessat(pt->proc_fd, name, (int)mask, AT_EACCESS) == 0 ? 0 : -errno;
}

int pt_statfs(void *fs, void *inode, struct oriel_fs_statfs *out)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    int err = inode_fd(pt, inode, &ref);
    if (err != 0)
        return err;
    struct statfs st;
    if (fstatfs(ref.fd, &st) != 0)
        return -errno;
    *out = (struct oriel_fs_statfs){
        .blocks = st.f_blocks,
        .bfree = st.f_bfree,
        .bavail = st.f_bavail,
        .files = st.f_files,
        .ffree = st.f_ffree,
        .bsize = (uint32_t)st.f_bsize,
        .namelen = (uint32_t)st.f_namelen,
        .frsize = (uint32_t)st.f_frsize,
    };
    return 0;
}

ssize_t pt_readlink(void *fs, const oriel_fs_caller *caller, void *inode, char *target, size_t size)
{
    (void)caller;
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    if (!inode_is(inode, S_IFLNK))
        return -EINVAL;
    int err = inode_fd(pt, inode, &ref);
    if (err != 0)
        return err;
    ssize_t len = readlinkat(ref.fd, "", target, size);
    return len >= 0 ? len : -errno;
}
