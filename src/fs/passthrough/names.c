/* Names in folders. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/passthrough/beneath.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/location.h"
#include "fs/passthrough/operations.h"
#include "fs/passthrough/rights.h"

#define RENAME_FLAGS (RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)

/* The kernel's new_decode_dev(). */
static dev_t decode_rdev(uint32_t rdev)
{
    return makedev((rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xfff00));
}

static int stat_name(struct passthrough *pt, struct pt_inode *parent, int dir_fd, const char *name,
                     struct oriel_fs_entry *out)
{
    struct statx stx;
    int err = identity_statx(dir_fd, name, &stx);
    if (err == 0)
        err = entry_fill(pt, parent, dir_fd, name, &stx, out);
    if (err == 0 && pt->locations != NULL && name[0] != '\0')
        location_seen(pt, parent, name, &out->identity);
    return err;
}

/* The label and the entry of a name that has just been made; it goes again when it can't have the label. */
static int finish_new(struct passthrough *pt, const oriel_fs_caller *caller, struct pt_inode *parent,
                      int dir_fd, const char *name, int unlink_flags, struct oriel_fs_entry *out)
{
    int err = label_name(pt, caller, dir_fd, name);
    if (err == 0)
        return stat_name(pt, parent, dir_fd, name, out);
    unlinkat(dir_fd, name, unlink_flags);
    return err;
}

int pt_lookup(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
              struct oriel_fs_entry *out)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref folder = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    int err = check_component(name);
    if (err == 0)
        err = folder_fd(pt, parent, &folder);
    if (err == 0)
        err = rights_begin(pt, caller, CREDS_ANY);
    return err != 0 ? err : stat_name(pt, parent, folder.fd, name, out);
}

/* The listing's own descriptor is at hand, so nothing has to be found and held for each name. */
int pt_lookup_listed(void *fs, const oriel_fs_caller *caller, void *parent, void *handle, const char *name,
                     struct oriel_fs_entry *out)
{
    struct passthrough *pt = fs;
    const struct pt_handle *folder = handle;
    struct passthrough *scope cleanup_rights = pt;
    if (folder->fd < 0)
        return pt_lookup(fs, caller, parent, name, out);
    int err = check_component(name);
    if (err == 0)
        err = rights_begin(pt, caller, CREDS_ANY);
    return err != 0 ? err : stat_name(pt, parent, folder->fd, name, out);
}

/* True when the folder `fd`, or one above it, is the shared folder. Each step is one "..": a folder has only
 * one parent, so this ends at the root of the host at the latest. */
static int is_below_root(struct passthrough *pt, int fd, bool *below)
{
    cleanup_fd int at = openat(fd, ".", O_PATH | O_CLOEXEC);
    for (int depth = 0; at >= 0 && depth < PATH_MAX / 2; depth++) {
        struct statx here, above;
        int err = identity_statx(at, "", &here);
        if (err != 0)
            return err;
        *below = identity_matches(pt->root, &here);
        if (*below)
            return 0;
        int up = openat(at, "..", O_PATH | O_CLOEXEC);
        close(at);
        at = up;
        if (at >= 0 && identity_statx(at, "", &above) == 0 && above.stx_ino == here.stx_ino &&
            above.stx_mnt_id == here.stx_mnt_id)
            return 0;
    }
    /* ENOENT: the kernel leads no way up from a place outside of the mount's own tree. */
    return at >= 0 || errno == ENOENT ? 0 : -errno;
}

/* A folder that the host has moved out of the share has no parent to show: the root stands for it. The parent
 * is checked and looked at through one descriptor, so that it can't be moved in between. */
int pt_lookup_parent(void *fs, const oriel_fs_caller *caller, void *inode, struct oriel_fs_entry *out)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref folder = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    bool below = false;
    void *root;
    int err = folder_fd(pt, inode, &folder);
    if (err == 0)
        err = rights_begin(pt, caller, CREDS_ANY);
    if (err != 0)
        return err;
    if (inode == pt->root)
        return pt_root(pt, out, &root);
    cleanup_fd int parent = openat(folder.fd, "..", O_PATH | O_CLOEXEC);
    if (parent < 0 && errno != ENOENT)
        return -errno;
    if (parent >= 0)
        err = is_below_root(pt, parent, &below);
    if (err != 0)
        return err;
    err = below ? stat_name(pt, inode, parent, "", out) : pt_root(pt, out, &root);
    if (err == 0)
        out->attr.flags &= ~(uint32_t)ORIEL_FS_ATTR_SUBMOUNT; /* the way out of a mount leads into none */
    return err;
}

/* What every change of a name in a folder starts with. */
static int begin_change(struct passthrough *pt, const oriel_fs_caller *caller, void *parent, const char *name,
                        enum creds_rights rights, struct fd_ref *folder)
{
    if (pt->options.read_only)
        return -EROFS;
    int err = check_component(name);
    if (err == 0)
        err = folder_fd(pt, parent, folder);
    if (err == 0)
        err = rights_begin(pt, caller, rights);
    return err;
}

int pt_mkdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
             uint32_t umask, struct oriel_fs_entry *out)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref folder = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    int err = begin_change(pt, caller, parent, name, CREDS_OWNER, &folder);
    if (err != 0)
        return err;
    creds_set_umask(umask & 0777);
    if (mkdirat(folder.fd, name, mode & 07777) != 0)
        return -errno;
    return finish_new(pt, caller, parent, folder.fd, name, AT_REMOVEDIR, out);
}

static int check_special(const struct passthrough *pt, uint32_t mode, uint32_t rdev)
{
    switch (mode & S_IFMT) {
    case 0:
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
        return 0;
    case S_IFCHR:
        /* 0:0 is a whiteout of overlayfs: no device. */
        return pt->options.device_nodes || rdev == 0 ? 0 : -EPERM;
    case S_IFBLK:
        return pt->options.device_nodes ? 0 : -EPERM;
    default:
        return -EINVAL;
    }
}

int pt_mknod(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
             uint32_t rdev, uint32_t umask, struct oriel_fs_entry *out)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref folder = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    int err = check_special(pt, mode, rdev);
    if (err == 0)
        err = begin_change(pt, caller, parent, name, CREDS_OWNER, &folder);
    if (err != 0)
        return err;
    creds_set_umask(umask & 0777);
    if (mknodat(folder.fd, name, mode & (S_IFMT | 07777), decode_rdev(rdev)) != 0)
        return -errno;
    return finish_new(pt, caller, parent, folder.fd, name, 0, out);
}

int pt_symlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, const char *target,
               struct oriel_fs_entry *out)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref folder = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    int err = begin_change(pt, caller, parent, name, CREDS_OWNER, &folder);
    if (err != 0)
        return err;
    /* The target is data: it is never followed here. */
    if (symlinkat(target, folder.fd, name) != 0)
        return -errno;
    return finish_new(pt, caller, parent, folder.fd, name, 0, out);
}

int pt_link(void *fs, const oriel_fs_caller *caller, void *inode, void *new_parent, const char *new_name,
            struct oriel_fs_entry *out)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref folder = {.kind = FD_REF_NONE}, file = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    if (inode_is(inode, S_IFDIR))
        return -EPERM;
    int err = inode_fd(pt, inode, &file);
    if (err == 0)
        err = begin_change(pt, caller, new_parent, new_name, CREDS_OWN, &folder);
    if (err != 0)
        return err;
    /* Through /proc, as AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH. It leads to the inode itself, a symbolic
     * link too. */
    char source[FD_NAME_SIZE];
    fd_name(file.fd, source);
    if (linkat(pt->proc_fd, source, folder.fd, new_name, AT_SYMLINK_FOLLOW) != 0)
        return -errno;
    return stat_name(pt, new_parent, folder.fd, new_name, out);
}

static int remove_name(struct passthrough *pt, const oriel_fs_caller *caller, void *parent, const char *name,
                       int flags)
{
    cleanup_fd_ref struct fd_ref folder = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    int err = begin_change(pt, caller, parent, name, CREDS_OWN, &folder);
    if (err != 0)
        return err;
    location_pin(pt, parent, folder.fd, name);
    return unlinkat(folder.fd, name, flags) == 0 ? 0 : -errno;
}

int pt_unlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name)
{
    return remove_name(fs, caller, parent, name, 0);
}

int pt_rmdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name)
{
    return remove_name(fs, caller, parent, name, AT_REMOVEDIR);
}

int pt_rename(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, void *new_parent,
              const char *new_name, uint32_t flags)
{
    struct passthrough *pt = fs;
    cleanup_fd_ref struct fd_ref from = {.kind = FD_REF_NONE}, to = {.kind = FD_REF_NONE};
    struct passthrough *scope cleanup_rights = pt;
    if (flags & ~(uint32_t)RENAME_FLAGS)
        return -EINVAL;
    int err = check_component(new_name);
    if (err == 0)
        err = folder_fd(pt, new_parent, &to);
    if (err == 0)
        err = begin_change(pt, caller, parent, name, CREDS_OWN, &from);
    if (err != 0)
        return err;
    if (!(flags & (RENAME_EXCHANGE | RENAME_NOREPLACE)))
        location_pin(pt, new_parent, to.fd, new_name);
    if (renameat2(from.fd, name, to.fd, new_name, flags) != 0)
        return -errno;
    if (pt->locations != NULL) {
        struct oriel_fs_entry entry;
        (void)stat_name(pt, new_parent, to.fd, new_name, &entry);
        if (flags & RENAME_EXCHANGE)
            (void)stat_name(pt, parent, from.fd, name, &entry);
    }
    return 0;
}
