/* Opening regular files: open, create, tmpfile, release, and descriptors for DAX. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/passthrough/beneath.h"
#include "fs/passthrough/handle.h"
#include "fs/passthrough/ids.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/locks.h"
#include "fs/passthrough/operations.h"
#include "fs/passthrough/rights.h"

/* What of a guest's flags reaches the host. O_APPEND does not (each write says so itself), O_DIRECT does not
 * (a guest's vectors have any alignment), O_PATH, O_DIRECTORY and O_TMPFILE would change what is opened. */
#define FLAGS_PASSED (O_ACCMODE | O_TRUNC | O_NOATIME | O_SYNC | O_DSYNC | O_EXCL)

static int check_flags(const struct passthrough *pt, uint32_t flags)
{
    if ((flags & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    if (pt->options.read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
        return -EROFS;
    return 0;
}

static bool is_writable(uint32_t flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

static enum creds_rights rights_to_open(uint32_t flags, uint32_t kill)
{
    if (!(flags & O_TRUNC))
        return CREDS_ANY;
    return kill & ORIEL_FS_KILL_SUIDGID ? CREDS_KILL : CREDS_OWN;
}

static int open_by_handle(struct passthrough *pt, struct pt_inode *inode, int flags)
{
    int fd = inode_open_checked(pt, inode, flags | O_NOCTTY | O_NONBLOCK);
    return fd == -EWOULDBLOCK ? inode_open_checked(pt, inode, flags | O_NOCTTY) : fd;
}

static int open_with(struct passthrough *pt, struct pt_inode *inode, const oriel_fs_caller *caller, int flags,
                     enum creds_rights rights)
{
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    bool as_process = !pt->options.enforce_credentials || caller == NULL;
    bool at_hand = inode_fd_at_hand(pt, inode, &ref);
    bool direct = !at_hand && as_process && inode_may_open(inode, flags);
    int err = at_hand || direct ? 0 : inode_fd(pt, inode, &ref);
    struct passthrough *scope cleanup_rights = pt;
    if (err == 0)
        err = rights_begin(pt, caller, rights);
    if (err != 0)
        return err;
    return direct ? open_by_handle(pt, inode, flags) : reopen_fd(pt, ref.fd, flags);
}

int open_regular(struct passthrough *pt, struct pt_inode *inode, const oriel_fs_caller *caller, int flags,
                 enum creds_rights rights)
{
    if (!inode_is(inode, S_IFREG))
        return -EBADF;
    int fd = open_with(pt, inode, caller, flags, rights);
    /* Only the owner may ask for it (open(2)); for the guest's kernel the caller was. */
    if (fd == -EPERM && (flags & O_NOATIME))
        fd = open_with(pt, inode, caller, flags & ~O_NOATIME, rights);
    return fd == -EMFILE ? -ENFILE : fd;
}

int open_for_call(struct passthrough *pt, struct pt_inode *inode, int flags)
{
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    int err = inode_fd(pt, inode, &ref);
    if (err == 0)
        err = rights_begin(pt, NULL, CREDS_ANY);
    int fd = err != 0 ? err : reopen_fd(pt, ref.fd, flags);
    return fd == -EMFILE ? -ENFILE : fd;
}

/* Consumes fd, which has taken from the budget. */
static int make_handle(struct passthrough *pt, int fd, uint32_t flags, struct pt_handle **out)
{
    *out = handle_new(fd, is_writable(flags));
    if (*out != NULL)
        return 0;
    close(fd);
    budget_put(&pt->budget);
    return -ENOMEM;
}

int pt_open(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags, uint32_t kill,
            struct oriel_fs_opened *out)
{
    struct passthrough *pt = fs;
    struct pt_handle *handle = NULL;
    int err = check_flags(pt, flags);
    if (err == 0)
        err = descriptor_take(pt);
    if (err != 0)
        return err;
    int passed = (int)(flags & FLAGS_PASSED & ~(uint32_t)O_EXCL);
    int fd = open_regular(pt, inode, caller, passed, rights_to_open(flags, kill));
    if (fd < 0) {
        budget_put(&pt->budget);
        return fd;
    }
    err = make_handle(pt, fd, flags, &handle);
    if (err != 0)
        return err;
    handle_attach(pt, handle, inode);
    *out = (struct oriel_fs_opened){.handle = handle};
    return 0;
}

/* The owner's bits, as the guest's kernel would have applied them had it known the file. What others may is not in the
 * mode alone: their groups and an access list may say less. */
static bool mode_grants(struct passthrough *pt, const struct statx *stx, const oriel_fs_caller *caller,
                        uint32_t flags)
{
    if (caller == NULL || caller->uid == 0 || caller->uid == (uint32_t)-1)
        return true;
    struct oriel_fs_attr attr;
    attr_of_statx(stx, &attr);
    attr_to_guest(pt, &attr);
    uint32_t wanted =
        ((flags & O_ACCMODE) != O_WRONLY ? 4u : 0) | (is_writable(flags) || (flags & O_TRUNC) ? 2u : 0);
    return caller->uid == attr.uid && (attr.mode >> 6 & wanted) == wanted;
}

/* openat2 has refused it where there is one. */
static bool is_out_of_reach(const struct passthrough *pt, const struct pt_inode *parent,
                            const struct statx *stx)
{
    struct oriel_fs_identity identity;
    identity_of_statx(stx, &identity);
    return !pt->options.submounts && identity.mount != parent->mount->id;
}

/*
 * CREATE without O_EXCL found the name taken: somebody was faster than the guest's lookup. Its kernel has
 * checked nothing about that file, so where the permission is not plain the answer is ESTALE: Linux then
 * looks the name up again and opens what is there in the ordinary way.
 */
static int open_existing(struct passthrough *pt, const oriel_fs_caller *caller, const struct pt_inode *parent,
                         int dir_fd, const char *name, uint32_t flags, uint32_t kill)
{
    struct statx stx;
    cleanup_fd int path_fd = open_component(pt, dir_fd, name, O_PATH, 0);
    if (path_fd < 0)
        return path_fd;
    int err = identity_statx(path_fd, "", &stx);
    if (err == 0 && is_out_of_reach(pt, parent, &stx))
        err = -EXDEV; /* before O_TRUNC */
    if (err != 0)
        return err;
    switch (stx.stx_mode & S_IFMT) {
    case S_IFREG:
        break;
    case S_IFLNK:
        return -ELOOP;
    case S_IFDIR:
        return -EISDIR;
    default:
        return -EBADF;
    }
    if (!mode_grants(pt, &stx, caller, flags))
        return -ESTALE;
    struct passthrough *scope cleanup_rights = pt;
    err = rights_begin(pt, caller, rights_to_open(flags, kill));
    return err != 0 ? err : reopen_fd(pt, path_fd, (int)(flags & FLAGS_PASSED & ~(uint32_t)O_EXCL));
}

static int create_new(struct passthrough *pt, const oriel_fs_caller *caller, int dir_fd, const char *name,
                      uint32_t mode, uint32_t flags, uint32_t umask)
{
    struct passthrough *scope cleanup_rights = pt;
    int err = rights_begin(pt, caller, CREDS_OWNER);
    if (err != 0)
        return err;
    creds_set_umask(umask & 0777);
    int passed = (int)(flags & FLAGS_PASSED & ~(uint32_t)O_TRUNC);
    int fd = open_component(pt, dir_fd, name, passed | O_CREAT | O_EXCL, mode & 07777);
    if (fd < 0)
        return fd;
    err = label_descriptor(pt, caller, fd);
    if (err == 0)
        return fd;
    close(fd);
    unlinkat(dir_fd, name, 0);
    return err;
}

/* The entry and handle of a descriptor that has just been made; consumes fd, which has taken from the budget.
 */
static int finish_create(struct passthrough *pt, const struct pt_inode *parent, int fd, uint32_t flags,
                         struct oriel_fs_entry *out, struct oriel_fs_opened *opened)
{
    struct statx stx;
    struct pt_handle *handle = NULL;
    int err = make_handle(pt, fd, flags, &handle);
    if (err != 0)
        return err;
    err = identity_statx(fd, "", &stx);
    if (err == 0)
        err = entry_fill(pt, parent, fd, "", &stx, out);
    if (err != 0) {
        handle_release(pt, handle);
        return err;
    }
    out->hold = (intptr_t)handle;
    *opened = (struct oriel_fs_opened){.handle = handle};
    return 0;
}

int pt_create(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
              uint32_t flags, uint32_t umask, uint32_t kill, struct oriel_fs_entry *out,
              struct oriel_fs_opened *opened)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref folder = {.kind = FD_REF_NONE};
    if (pt->options.read_only)
        return -EROFS;
    int err = check_flags(pt, flags);
    if (err == 0)
        err = folder_fd(pt, parent, &folder);
    if (err == 0)
        err = descriptor_take(pt);
    if (err != 0)
        return err;
    int fd = create_new(pt, caller, folder.fd, name, mode, flags, umask);
    bool made = fd >= 0;
    if (fd == -EEXIST && !(flags & O_EXCL))
        fd = open_existing(pt, caller, parent, folder.fd, name, flags, kill);
    if (fd < 0) {
        budget_put(&pt->budget);
        return fd == -EMFILE ? -ENFILE : fd;
    }
    err = finish_create(pt, parent, fd, flags, out, opened);
    out->made = made;
    return err;
}

int pt_tmpfile(void *fs, const oriel_fs_caller *caller, void *parent, uint32_t mode, uint32_t flags,
               uint32_t umask, struct oriel_fs_entry *out, struct oriel_fs_opened *opened)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref folder = {.kind = FD_REF_NONE};
    if (pt->options.read_only)
        return -EROFS;
    int err = check_flags(pt, flags);
    if (err == 0)
        err = folder_fd(pt, parent, &folder);
    if (err == 0)
        err = descriptor_take(pt);
    if (err != 0)
        return err;
    struct passthrough *scope cleanup_rights = pt;
    int fd = rights_begin(pt, caller, CREDS_OWNER);
    if (fd == 0) {
        creds_set_umask(umask & 0777);
        int passed = (int)(flags & FLAGS_PASSED & ~(uint32_t)O_TRUNC);
        fd = openat(folder.fd, ".", passed | O_TMPFILE | O_CLOEXEC, mode & 07777);
        if (fd < 0)
            fd = errno == EMFILE ? -ENFILE : -errno;
    }
    err = fd >= 0 ? label_descriptor(pt, caller, fd) : 0;
    if (err != 0) {
        close(fd);
        fd = err;
    }
    if (fd < 0) {
        budget_put(&pt->budget);
        return fd;
    }
    return finish_create(pt, parent, fd, flags, out, opened);
}

void pt_release(void *fs, void *inode, void *handle, uint64_t lock_owner, bool flock_unlock)
{
    (void)flock_unlock; /* closing the descriptor ends its flock */
    if (inode != NULL) {
        locks_drop_owner(fs, inode, lock_owner);
        locks_drop_handle(fs, inode, handle);
    }
    handle_release(fs, handle);
}

/* With the rights of the process: the guest maps for whoever touches a page first, and a writable mapping
 * needs O_RDWR even of a file of mode 0200 (facts: fs/fuse/dax.c). */
int pt_map_open(void *fs, void *inode, bool need_write, bool *writable)
{
    struct passthrough *pt = fs;
    struct pt_inode *file = inode;
    if (!inode_is(file, S_IFREG))
        return -EOPNOTSUPP;
    if (pt->options.read_only && need_write)
        return -EROFS;
    int fd = -EROFS;
    if (!pt->options.read_only)
        fd = open_regular(pt, file, NULL, O_RDWR, CREDS_ANY);
    *writable = fd >= 0;
    if (fd == -EACCES || fd == -EPERM || fd == -EROFS || fd == -ETXTBSY)
        return need_write ? fd : open_regular(pt, file, NULL, O_RDONLY, CREDS_ANY);
    return fd;
}
