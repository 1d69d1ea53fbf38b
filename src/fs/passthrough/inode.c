#include "fs/passthrough/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/passthrough/beneath.h"
#include "fs/passthrough/handle.h"
#include "fs/passthrough/ids.h"
#include "fs/passthrough/location.h"
#include "fs/passthrough/locks.h"
#include "fs/passthrough/mount.h"
#include "fs/passthrough/rights.h"

int descriptor_take(struct passthrough *pt)
{
    while (!budget_take(&pt->budget)) {
        if (!fd_cache_shrink(&pt->cache))
            return -ENFILE;
    }
    return 0;
}

/* ---- descriptors of inodes ---- */

bool inode_fd_at_hand(struct passthrough *pt, struct pt_inode *inode, struct fd_ref *ref)
{
    *ref = (struct fd_ref){.pt = pt, .fd = -1, .kind = FD_REF_NONE};
    if (inode->pinned_fd >= 0) {
        ref->fd = inode->pinned_fd;
        ref->kind = FD_REF_PINNED;
        return true;
    }
    ref->fd = fd_cache_get(&pt->cache, &inode->cached, &ref->slot);
    if (ref->fd >= 0) {
        ref->kind = FD_REF_CACHED;
        return true;
    }
    ref->handle = handle_borrow(pt, inode);
    if (ref->handle != NULL) {
        ref->fd = ref->handle->fd;
        ref->kind = FD_REF_HANDLE;
        return true;
    }
    return false;
}

void fd_ref_put(struct fd_ref *ref)
{
    switch (ref->kind) {
    case FD_REF_CACHED:
        fd_cache_put(&ref->pt->cache, ref->slot);
        break;
    case FD_REF_HANDLE:
        handle_unborrow(ref->pt, ref->handle);
        break;
    case FD_REF_OWNED:
        close(ref->fd);
        budget_put(&ref->pt->budget);
        break;
    case FD_REF_NONE:
    case FD_REF_PINNED:
        break;
    }
    ref->kind = FD_REF_NONE;
    ref->fd = -1;
}

static int open_handle_once(const struct pt_inode *inode, int flags)
{
    struct handle_buffer handle = {.bytes = inode->handle_bytes, .type = inode->handle_type};
    memcpy(handle.data, inode->handle, inode->handle_bytes);
    int fd = (int)syscall(SYS_open_by_handle_at, inode->mount->fd, &handle, flags | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

int inode_open_handle(struct passthrough *pt, const struct pt_inode *inode, int flags)
{
    int fd = rights_any(pt);
    if (fd == 0)
        fd = open_handle_once(inode, flags);
    /* The process itself may have used up RLIMIT_NOFILE. */
    if (fd == -EMFILE && fd_cache_shrink(&pt->cache))
        fd = open_handle_once(inode, flags);
    return fd == -EMFILE ? -ENFILE : fd;
}

/*
 * The handle came from the name that statx had just seen; between the two another file may have taken the
 * name. So the first descriptor is compared with what statx saw, before anything is done to the file.
 */
static int verify(struct pt_inode *inode, int path_fd, struct statx *stx)
{
    int err = identity_statx(path_fd, "", stx);
    if (err != 0)
        return err;
    if (!identity_matches(inode, stx))
        return -ESTALE;
    atomic_store_explicit(&inode->verified, true, memory_order_relaxed);
    return 0;
}

int inode_check(struct pt_inode *inode, int path_fd)
{
    struct statx stx;
    return verify(inode, path_fd, &stx);
}

/* Why a file that is not the inode's may refuse to be opened. */
static bool may_be_of_another_file(int err)
{
    return err == -ENXIO || err == -EACCES || err == -ENOTDIR || err == -EISDIR || err == -ELOOP;
}

/* The error of opening an inode's handle that nobody has compared: -ESTALE if it is another file's. */
static int error_of_unverified(struct passthrough *pt, struct pt_inode *inode, int err)
{
    if (!may_be_of_another_file(err))
        return err;
    cleanup_fd int path_fd = inode_open_handle(pt, inode, O_PATH);
    return path_fd >= 0 && inode_check(inode, path_fd) == -ESTALE ? -ESTALE : err;
}

int inode_open_checked(struct passthrough *pt, struct pt_inode *inode, int flags)
{
    int fd = inode_open_handle(pt, inode, flags);
    if (atomic_load_explicit(&inode->verified, memory_order_relaxed))
        return fd;
    if (fd < 0)
        return error_of_unverified(pt, inode, fd);
    int err = inode_check(inode, fd);
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

void fd_ref_adopt(struct fd_ref *ref, struct pt_inode *inode, int fd)
{
    struct passthrough *pt = ref->pt;
    ref->fd = fd;
    ref->kind = fd_cache_insert(&pt->cache, &inode->cached, fd, &ref->slot) ? FD_REF_CACHED : FD_REF_OWNED;
}

static int open_by_handle(struct passthrough *pt, struct pt_inode *inode, struct fd_ref *ref,
                          struct statx *stx)
{
    struct statx unasked;
    if (descriptor_take(pt) != 0)
        budget_take_over_limit(&pt->budget);
    int fd = inode_open_handle(pt, inode, O_PATH);
    int err = fd < 0 ? fd : 0;
    if (err == 0 && (stx != NULL || !atomic_load_explicit(&inode->verified, memory_order_relaxed)))
        err = verify(inode, fd, stx != NULL ? stx : &unasked);
    if (err != 0) {
        if (fd >= 0)
            close(fd);
        budget_put(&pt->budget);
        return err;
    }
    fd_ref_adopt(ref, inode, fd);
    return 0;
}

/* Opens the inode and keeps it in the cache if there is room. stx is filled when it is not NULL. */
static int open_path(struct passthrough *pt, struct pt_inode *inode, struct fd_ref *ref, struct statx *stx)
{
    if (inode->handle_bytes > 0)
        return open_by_handle(pt, inode, ref, stx);
    int err = rights_any(pt);
    if (err == 0)
        err = location_open(pt, inode, ref);
    if (err == 0 && stx != NULL)
        err = identity_statx(ref->fd, "", stx);
    return err;
}

int inode_fd(struct passthrough *pt, struct pt_inode *inode, struct fd_ref *ref)
{
    return inode_fd_at_hand(pt, inode, ref) ? 0 : open_path(pt, inode, ref, NULL);
}

int inode_statx(struct passthrough *pt, struct pt_inode *inode, struct statx *out)
{
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    if (inode_fd_at_hand(pt, inode, &ref))
        return identity_statx(ref.fd, "", out);
    return open_path(pt, inode, &ref, out);
}

int folder_fd(struct passthrough *pt, struct pt_inode *inode, struct fd_ref *ref)
{
    *ref = (struct fd_ref){.pt = pt, .fd = -1, .kind = FD_REF_NONE};
    return inode_is(inode, S_IFDIR) ? inode_fd(pt, inode, ref) : -ENOTDIR;
}

void inode_pin(struct passthrough *pt, struct pt_inode *inode, int path_fd)
{
    pthread_mutex_lock(&pt->locations_lock);
    bool keeps = inode->pinned_fd < 0 && pt->pins < pt->budget.limit / 4 && descriptor_take(pt) == 0;
    if (keeps) {
        inode->pinned_fd = path_fd;
        inode->counted_pin = true;
        pt->pins++;
    }
    pthread_mutex_unlock(&pt->locations_lock);
    if (!keeps)
        close(path_fd);
}

/* ---- entries and inodes ---- */

/*
 * With its number, an inode of another device could be taken for one of the parent's. Btrfs gives each subvolume a device
 * number of its own in one mount: for the guest it is another file system then, but it is no other mount.
 */
static bool is_other_device(const struct pt_inode *parent, const struct oriel_fs_entry *entry)
{
    return parent != NULL && (entry->attr.mode & S_IFMT) == S_IFDIR && entry->identity.dev != parent->dev;
}

int entry_fill(struct passthrough *pt, const struct pt_inode *parent, int dir_fd, const char *name,
               const struct statx *stx, struct oriel_fs_entry *out)
{
    *out = (struct oriel_fs_entry){.hold = HOLD_NONE};
    identity_of_statx(stx, &out->identity);
    attr_of_statx(stx, &out->attr);
    attr_to_guest(pt, &out->attr);
    const struct pt_mount *mount = parent != NULL ? parent->mount : &pt->root_mount;
    bool crosses = out->identity.mount != mount->id;
    if (crosses && !pt->options.submounts)
        return -EXDEV;
    if (crosses || is_other_device(parent, out))
        out->attr.flags |= ORIEL_FS_ATTR_SUBMOUNT;
    if (out->identity.generation != 0 && (crosses || mount->birth_time))
        return 0;
    /* No birth time to go by: the file handle has the inode's generation in it. */
    struct handle_buffer handle;
    uint64_t mount_id;
    int err = handle_of_name(dir_fd, name, &handle, &mount_id);
    if (err != 0 && err != -EOPNOTSUPP)
        return err;
    out->identity.generation = err == 0 ? identity_of_handle(&handle) : 0;
    return 0;
}

static struct pt_inode *inode_new(const struct oriel_fs_entry *entry, const struct handle_buffer *handle)
{
    uint32_t bytes = handle != NULL ? handle->bytes : 0;
    struct pt_inode *inode = malloc(sizeof(*inode) + bytes);
    if (inode == NULL)
        return NULL;
    *inode = (struct pt_inode){
        .dev = entry->identity.dev,
        .ino = entry->identity.ino,
        .generation = entry->identity.generation,
        .pinned_fd = -1,
        .users = 1,
        .type = (uint8_t)(entry->attr.mode >> 12),
        .handle_bytes = (uint16_t)bytes,
        .handle_type = handle != NULL ? handle->type : 0,
    };
    if (bytes > 0)
        memcpy(inode->handle, handle->data, bytes);
    return inode;
}

int inode_make_root(struct passthrough *pt, int path_fd)
{
    struct statx stx;
    struct oriel_fs_entry entry;
    int err = identity_statx(path_fd, "", &stx);
    if (err == 0)
        err = entry_fill(pt, NULL, path_fd, "", &stx, &entry);
    if (err == 0)
        pt->root = inode_new(&entry, NULL);
    if (err != 0 || pt->root == NULL) {
        close(path_fd);
        return err != 0 ? err : -ENOMEM;
    }
    pt->root->mount = &pt->root_mount;
    pt->root->verified = true;
    pt->root->pinned_fd = path_fd;
    budget_take_over_limit(&pt->budget);
    return 0;
}

int pt_root(void *fs, struct oriel_fs_entry *out, void **inode)
{
    struct passthrough *pt = fs;
    struct statx stx;
    int err = identity_statx(pt->root->pinned_fd, "", &stx);
    if (err == 0)
        err = entry_fill(pt, NULL, pt->root->pinned_fd, "", &stx, out);
    if (err == 0)
        *inode = pt->root;
    return err;
}

/* Where a new inode is found: a name in a folder, or the descriptor itself ("") where the entry came with
 * one. */
struct place {
    int fd;
    const char *name;
};

static int open_place(struct passthrough *pt, const struct place *place)
{
    if (place->name[0] == '\0')
        return reopen_fd(pt, place->fd, O_PATH);
    if (strcmp(place->name, "..") == 0) { /* lookup_parent: compared with what it found */
        int fd = openat(place->fd, "..", O_PATH | O_CLOEXEC);
        return fd >= 0 ? fd : -errno;
    }
    return open_component(pt, place->fd, place->name, O_PATH, 0);
}

/* An inode that keeps an O_PATH descriptor: it has neither a file handle nor a name. */
static int make_pinned(struct passthrough *pt, const struct place *place, const struct oriel_fs_entry *entry,
                       struct pt_mount *mount, struct pt_inode **out)
{
    int err = descriptor_take(pt);
    if (err != 0)
        return err;
    int fd = open_place(pt, place);
    struct pt_inode *inode = fd >= 0 ? inode_new(entry, NULL) : NULL;
    err = fd < 0 ? fd : inode == NULL ? -ENOMEM : 0;
    struct statx stx;
    if (err == 0) {
        inode->mount = mount;
        err = verify(inode, fd, &stx);
    }
    if (err != 0) {
        free(inode);
        if (fd >= 0)
            close(fd);
        budget_put(&pt->budget);
        return err;
    }
    inode->pinned_fd = fd;
    *out = inode;
    return 0;
}

static int make_by_handle(const struct place *place, const struct oriel_fs_entry *entry,
                          struct pt_mount *mount, struct pt_inode **out)
{
    struct handle_buffer handle;
    uint64_t mount_id = 0;
    int err = handle_of_name(place->fd, place->name, &handle, &mount_id);
    if (err != 0)
        return err;
    /* Linux before 5.8 does not tell it with statx. */
    if (entry->identity.mount != 0 && mount_id != entry->identity.mount)
        return -ESTALE;
    struct pt_inode *inode = inode_new(entry, &handle);
    if (inode == NULL)
        return -ENOMEM;
    inode->mount = mount;
    /* A descriptor can't change under us; a name can. */
    inode->verified = place->name[0] == '\0';
    inode->numbered = mount->no_devices && handle_has_number(&handle, entry->identity.ino);
    *out = inode;
    return 0;
}

/* On file systems without file handles, or without the right to open them. */
static int make_by_location(struct passthrough *pt, struct pt_inode *parent, const char *name,
                            const struct oriel_fs_entry *entry, struct pt_mount *mount, struct pt_inode **out)
{
    struct pt_inode *inode = inode_new(entry, NULL);
    if (inode == NULL)
        return -ENOMEM;
    inode->mount = mount;
    int err = location_set(pt, inode, parent, name);
    if (err == 0)
        *out = inode;
    else
        free(inode);
    return err;
}

/*
 * FIFOs, sockets and devices are opened by the guest's kernel, which does not tell. So no handle of ours would keep one
 * that loses its last name while it is open there.
 */
static bool opens_untold(const struct pt_inode *inode)
{
    return !inode_is(inode, S_IFREG) && !inode_is(inode, S_IFDIR) && !inode_is(inode, S_IFLNK);
}

/* By the handle: what is compared here counts as looked at from now on. The name may lead to another file again. */
static void pin_by_handle(struct passthrough *pt, struct pt_inode *inode)
{
    int fd = inode_open_handle(pt, inode, O_PATH);
    if (fd >= 0 && inode_check(inode, fd) == 0)
        inode_pin(pt, inode, fd);
    else if (fd >= 0)
        close(fd);
}

static int get_mount(struct passthrough *pt, const struct place *place,
                     const struct oriel_fs_identity *identity, struct pt_mount **mount)
{
    cleanup_fd int path_fd = -1;
    if (!mount_known(pt, identity->mount)) {
        path_fd = open_place(pt, place);
        if (path_fd < 0)
            return path_fd;
    }
    return mount_get(pt, identity, path_fd, mount);
}

static int make_inode(struct passthrough *pt, struct pt_inode *parent, const char *name,
                      const struct place *place, const struct oriel_fs_entry *entry, struct pt_inode **out)
{
    struct pt_mount *mount = NULL;
    bool has_name = name != NULL && strcmp(name, "..") != 0;
    int err = get_mount(pt, place, &entry->identity, &mount);
    if (err != 0)
        return err;
    err = mount->file_handles ? make_by_handle(place, entry, mount, out) : -EOPNOTSUPP;
    if (err == -EOPNOTSUPP && pt->options.file_handles != ORIEL_FILE_HANDLES_MANDATORY)
        err = has_name ? make_by_location(pt, parent, name, entry, mount, out)
                       : make_pinned(pt, place, entry, mount, out);
    if (err != 0)
        mount_put(pt, mount);
    else if ((*out)->handle_bytes > 0 && opens_untold(*out))
        pin_by_handle(pt, *out);
    return err;
}

int pt_inode_open(void *fs, void *parent, const char *name, struct oriel_fs_entry *entry, void **inode)
{
    struct passthrough *pt = fs;
    struct pt_handle *opened = (struct pt_handle *)entry->hold;
    struct pt_inode *made = NULL;
    cleanup_fd_ref struct fd_ref folder = {.kind = FD_REF_NONE};
    struct place place = {.name = ""};
    entry->hold = HOLD_NONE;
    int err = rights_any(pt);
    if (err != 0)
        return err;
    if (opened != NULL) {
        place.fd = opened->fd;
    } else {
        err = folder_fd(pt, parent, &folder);
        place = (struct place){folder.fd, name};
    }
    if (err == 0)
        err = make_inode(pt, parent, name, &place, entry, &made);
    if (err != 0)
        return err;
    if (opened != NULL)
        handle_attach(pt, opened, made);
    *inode = made;
    return 0;
}

void pt_entry_drop(void *fs, struct oriel_fs_entry *entry)
{
    (void)fs;
    entry->hold = HOLD_NONE;
}

static void inode_free(struct passthrough *pt, struct pt_inode *inode)
{
    fd_cache_forget(&pt->cache, &inode->cached);
    if (inode->pinned_fd >= 0) {
        close(inode->pinned_fd);
        budget_put(&pt->budget);
    }
    if (inode->counted_pin) {
        pthread_mutex_lock(&pt->locations_lock);
        pt->pins--;
        pthread_mutex_unlock(&pt->locations_lock);
    }
    mount_put(pt, inode->mount);
    free(inode);
}

void inode_put(struct passthrough *pt, struct pt_inode *inode)
{
    while (inode != NULL && inode != pt->root &&
           atomic_fetch_sub_explicit(&inode->users, 1, memory_order_acq_rel) == 1) {
        struct pt_inode *parent = location_free(inode);
        inode_free(pt, inode);
        inode = parent;
    }
}

void pt_inode_close(void *fs, void *inode_arg)
{
    struct passthrough *pt = fs;
    struct pt_inode *inode = inode_arg;
    if (inode == pt->root)
        return;
    handles_leave(pt, inode);
    locks_drop_inode(pt, inode);
    location_forget(pt, inode);
    inode_put(pt, inode);
}
