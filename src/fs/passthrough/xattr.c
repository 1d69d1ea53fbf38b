/*
 * Extended attributes, of any kind of file, through /proc/self/fd.
 *
 * user.* always; ACLs, trusted.* and security.* only where the share's options say so: a file capability or a
 * label that a guest sets counts on the host too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/limits.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "fs/passthrough/beneath.h"
#include "fs/passthrough/ids.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/operations.h"
#include "fs/passthrough/rights.h"

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

struct proc_path {
    char text[32];
};

/*
 * There are no calls relative to a folder before Linux 6.13. A thread that is ours works in /proc/self/fd; an
 * embedder's thread keeps its working folder and takes the absolute path. A process that changes its root
 * (and might find a /proc there that a guest has made) has to use threads of the first kind.
 */
static struct proc_path proc_path(const struct passthrough *pt, int fd)
{
    struct proc_path path;
    bool inside = pt->options.keep_credentials && creds_work_in(pt->proc_fd, pt);
    snprintf(path.text, sizeof(path.text), "%s%d", inside ? "" : "/proc/self/fd/", fd);
    return path;
}

/* O_PATH descriptors are no good for the calls by descriptor, which are several times as fast. */
static bool is_real(const struct fd_ref *ref)
{
    return ref->kind == FD_REF_HANDLE;
}

static int set_of(const struct fd_ref *ref, const char *name, const void *value, size_t size, int flags)
{
    int result = is_real(ref) ? fsetxattr(ref->fd, name, value, size, flags)
                              : setxattr(proc_path(ref->pt, ref->fd).text, name, value, size, flags);
    return result == 0 ? 0 : -errno;
}

static ssize_t get_of(const struct fd_ref *ref, const char *name, void *value, size_t size)
{
    ssize_t n = is_real(ref) ? fgetxattr(ref->fd, name, value, size)
                             : getxattr(proc_path(ref->pt, ref->fd).text, name, value, size);
    return n >= 0 ? n : -errno;
}

static ssize_t list_of(const struct fd_ref *ref, char *names, size_t size)
{
    ssize_t n = is_real(ref) ? flistxattr(ref->fd, names, size)
                             : listxattr(proc_path(ref->pt, ref->fd).text, names, size);
    return n >= 0 ? n : -errno;
}

static int remove_of(const struct fd_ref *ref, const char *name)
{
    int result =
        is_real(ref) ? fremovexattr(ref->fd, name) : removexattr(proc_path(ref->pt, ref->fd).text, name);
    return result == 0 ? 0 : -errno;
}

static bool starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool is_acl(const char *name)
{
    return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
}

static bool is_offered(const struct passthrough *pt, const char *name)
{
    if (is_acl(name))
        return pt->options.posix_acl;
    if (starts_with(name, "trusted."))
        return pt->options.trusted_xattr;
    if (starts_with(name, "security."))
        return pt->options.security_xattr;
    return starts_with(name, "user.");
}

static int check_name(const struct passthrough *pt, const char *name)
{
    if (!pt->options.xattr)
        return -EOPNOTSUPP;
    size_t len = strnlen(name, XATTR_NAME_MAX + 1);
    if (len == 0 || len > XATTR_NAME_MAX)
        return -ERANGE;
    return is_offered(pt, name) ? 0 : -EOPNOTSUPP;
}

static void clear_sgid(struct passthrough *pt, int fd)
{
    struct statx stx;
    char name[FD_NAME_SIZE];
    fd_name(fd, name);
    if (identity_statx(fd, "", &stx) == 0 && stx.stx_mode & S_ISGID)
        (void)fchmodat(pt->proc_fd, name, stx.stx_mode & 07777 & ~S_ISGID, 0);
}

int pt_setxattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name, const void *value,
                size_t size, uint32_t flags, bool acl_kill_sgid)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    cleanup_free void *mapped = NULL;
    if (pt->options.read_only)
        return -EROFS;
    if (flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    int err = check_name(pt, name);
    if (err == 0 && size > XATTR_SIZE_MAX)
        err = -E2BIG;
    if (err == 0 && is_acl(name) && ids_translate(pt) && size > 0) {
        mapped = malloc(size);
        if (mapped == NULL)
            return -ENOMEM;
        memcpy(mapped, value, size);
        err = acl_to_host(pt, mapped, size);
        value = mapped;
    }
    if (err == 0)
        err = inode_fd(pt, inode, &ref);
    if (err == 0)
        err = rights_begin(pt, caller, CREDS_OWN);
    if (err != 0)
        return err;
    err = set_of(&ref, name, value, size, (int)flags);
    if (err != 0)
        return err;
    /* The guest's kernel found the caller outside of the file's group; ours can't know. */
    if (acl_kill_sgid && strcmp(name, ACL_ACCESS) == 0)
        clear_sgid(pt, ref.fd);
    return 0;
}

ssize_t pt_getxattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name, void *value,
                    size_t size)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    int err = check_name(pt, name);
    if (err == 0)
        err = inode_fd(pt, inode, &ref);
    if (err == 0)
        err = rights_begin(pt, caller, CREDS_ANY);
    if (err != 0)
        return err;
    ssize_t n = get_of(&ref, name, value, min_u64(size, XATTR_SIZE_MAX));
    if (n > 0 && size > 0 && is_acl(name))
        acl_to_guest(pt, value, (size_t)n);
    return n;
}

/* Leaves out of the list what is not offered; returns what remains. */
static size_t filter_names(const struct passthrough *pt, char *names, size_t len)
{
    size_t kept = 0;
    for (size_t at = 0; at < len;) {
        size_t name_len = strnlen(names + at, len - at) + 1;
        if (at + name_len > len)
            break;
        if (is_offered(pt, names + at)) {
            memmove(names + kept, names + at, name_len);
            kept += name_len;
        }
        at += name_len;
    }
    return kept;
}

ssize_t pt_listxattr(void *fs, const oriel_fs_caller *caller, void *inode, char *names, size_t size)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    if (!pt->options.xattr)
        return -EOPNOTSUPP;
    int err = inode_fd(pt, inode, &ref);
    if (err == 0)
        err = rights_begin(pt, caller, CREDS_ANY);
    if (err != 0)
        return err;
    cleanup_free char *all = malloc(XATTR_LIST_MAX);
    if (all == NULL)
        return -ENOMEM;
    ssize_t n = list_of(&ref, all, XATTR_LIST_MAX);
    if (n < 0)
        return n;
    size_t kept = filter_names(pt, all, (size_t)n);
    if (size == 0)
        return (ssize_t)kept;
    if (kept > size)
        return -ERANGE;
    memcpy(names, all, kept);
    return (ssize_t)kept;
}

int pt_removexattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    if (pt->options.read_only)
        return -EROFS;
    int err = check_name(pt, name);
    if (err == 0)
        err = inode_fd(pt, inode, &ref);
    if (err == 0)
        err = rights_begin(pt, caller, CREDS_OWN);
    if (err != 0)
        return err;
    return remove_of(&ref, name);
}

/* What a request's label (FUSE_SECURITY_CTX) may be: the server's map may have moved it. True: there is one to set. */
static bool has_label(const struct passthrough *pt, const oriel_fs_caller *caller, int *err)
{
    *err = 0;
    if (caller == NULL || caller->security_name == NULL || caller->security_len == 0)
        return false;
    const char *name = caller->security_name;
    if (!starts_with(name, "security.") && (is_acl(name) || check_name(pt, name) != 0))
        *err = -EINVAL;
    return *err == 0;
}

/* A file system without labels is no reason to refuse the file. */
static int label_result(int err)
{
    return err == -EOPNOTSUPP ? 0 : err;
}

/* A new file, by an O_PATH descriptor or one that is really open. */
struct labelled {
    const struct passthrough *pt;
    const oriel_fs_caller *caller;
    int fd;
    bool is_real;
};

static int set_label_once(const struct labelled *file)
{
    const oriel_fs_caller *caller = file->caller;
    const void *value = caller->security_value;
    size_t size = caller->security_len;
    int result = file->is_real
                     ? fsetxattr(file->fd, caller->security_name, value, size, 0)
                     : setxattr(proc_path(file->pt, file->fd).text, caller->security_name, value, size, 0);
    return result == 0 ? 0 : -errno;
}

/*
 * A map may have moved the label to user.*, which takes the right to write (xattr(7)). The mode of a new file may not
 * give that to its owner: then it does so for as long as this takes.
 */
static int set_label(const struct labelled *file)
{
    struct statx stx;
    char name[FD_NAME_SIZE];
    int err = set_label_once(file);
    if (err != -EACCES || identity_statx(file->fd, "", &stx) != 0)
        return err;
    fd_name(file->fd, name);
    if (fchmodat(file->pt->proc_fd, name, (stx.stx_mode & 07777) | S_IWUSR, 0) != 0)
        return err;
    err = set_label_once(file);
    if (fchmodat(file->pt->proc_fd, name, stx.stx_mode & 07777, 0) != 0 && err == 0)
        err = -errno;
    return err;
}

int label_descriptor(const struct passthrough *pt, const oriel_fs_caller *caller, int fd)
{
    int err;
    if (!has_label(pt, caller, &err))
        return err;
    const struct labelled file = {.pt = pt, .caller = caller, .fd = fd, .is_real = true};
    return label_result(set_label(&file));
}

int label_name(const struct passthrough *pt, const oriel_fs_caller *caller, int dir_fd, const char *name)
{
    int err;
    if (!has_label(pt, caller, &err))
        return err;
    cleanup_fd int fd = open_component(pt, dir_fd, name, O_PATH, 0);
    if (fd < 0)
        return fd;
    const struct labelled file = {.pt = pt, .caller = caller, .fd = fd};
    err = set_label(&file);
    /* Symbolic links and devices cannot have user.*, where a map may have moved the label. */
    if (err == -EPERM && starts_with(caller->security_name, "user."))
        return 0;
    return label_result(err);
}
