#include "fs/passthrough/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/passthrough/beneath.h"
#include "fs/passthrough/identity.h"
#include "fs/passthrough/rights.h"

static bool handles_can_be_opened(int fd)
{
    struct handle_buffer handle;
    uint64_t mount_id;
    if (handle_of_name(fd, "", &handle, &mount_id) != 0)
        return false;
    cleanup_fd int probe = (int)syscall(SYS_open_by_handle_at, fd, &handle, O_PATH | O_CLOEXEC);
    return probe >= 0;
}

/* open_by_handle_at takes no O_PATH descriptor for the mount. */
static int open_anchor(struct passthrough *pt, int path_fd, uint32_t type)
{
    if (type == S_IFDIR)
        return reopen_fd(pt, path_fd, O_RDONLY | O_DIRECTORY);
    return type == S_IFREG ? reopen_fd(pt, path_fd, O_RDONLY) : -EOPNOTSUPP;
}

static int mount_fill(struct passthrough *pt, struct pt_mount *mount, int path_fd)
{
    struct statx stx;
    struct oriel_fs_identity identity;
    int err = identity_statx(path_fd, "", &stx);
    if (err != 0)
        return err;
    identity_of_statx(&stx, &identity);
    *mount = (struct pt_mount){.id = identity.mount, .dev = identity.dev, .fd = -1};
    mount->birth_time = filesystem_has_stable_birth_time(path_fd);
    mount->no_devices = mount_has_no_devices(path_fd);
    mount->flush_on_close = filesystem_flushes_on_close(path_fd);
    if (pt->options.file_handles == ORIEL_FILE_HANDLES_NEVER)
        return 0;
    if (rights_any(pt) == 0 && creds_can_open_handles()) {
        int fd = open_anchor(pt, path_fd, stx.stx_mode & S_IFMT);
        mount->file_handles = fd >= 0 && handles_can_be_opened(fd);
        if (mount->file_handles)
            mount->fd = fd;
        else if (fd >= 0)
            close(fd);
    }
    if (!mount->file_handles && pt->options.file_handles == ORIEL_FILE_HANDLES_MANDATORY)
        return -EOPNOTSUPP;
    if (mount->fd >= 0)
        budget_take_over_limit(&pt->budget);
    return 0;
}

int mount_init_root(struct passthrough *pt, int path_fd)
{
    return mount_fill(pt, &pt->root_mount, path_fd);
}

static struct pt_mount *find_locked(struct passthrough *pt, uint64_t id)
{
    struct pt_mount *mount = &pt->root_mount;
    while (mount != NULL && mount->id != id)
        mount = mount->next;
    return mount;
}

bool mount_known(struct passthrough *pt, uint64_t id)
{
    if (id == pt->root_mount.id)
        return true;
    pthread_mutex_lock(&pt->mounts_lock);
    bool known = find_locked(pt, id) != NULL;
    pthread_mutex_unlock(&pt->mounts_lock);
    return known;
}

static void mount_free(struct passthrough *pt, struct pt_mount *mount)
{
    if (mount->fd >= 0) {
        close(mount->fd);
        budget_put(&pt->budget);
    }
    free(mount);
}

static int add_mount(struct passthrough *pt, uint64_t id, int path_fd, struct pt_mount **out)
{
    cleanup_free struct pt_mount *mount = malloc(sizeof(*mount));
    if (mount == NULL)
        return -ENOMEM;
    int err = mount_fill(pt, mount, path_fd);
    if (err != 0)
        return err;
    if (mount->id != id) {
        mount_free(pt, take_ptr(&mount));
        return -ESTALE;
    }
    mount->next = pt->root_mount.next;
    pt->root_mount.next = mount;
    *out = take_ptr(&mount);
    return 0;
}

int mount_get(struct passthrough *pt, const struct oriel_fs_identity *identity, int path_fd,
              struct pt_mount **out)
{
    if (identity->mount == pt->root_mount.id) {
        *out = &pt->root_mount;
        return 0;
    }
    if (!pt->options.submounts)
        return -EXDEV;
    int err = 0;
    pthread_mutex_lock(&pt->mounts_lock);
    struct pt_mount *mount = find_locked(pt, identity->mount);
    if (mount == NULL)
        err = path_fd >= 0 ? add_mount(pt, identity->mount, path_fd, &mount) : -EXDEV;
    if (err == 0)
        mount->inodes++;
    pthread_mutex_unlock(&pt->mounts_lock);
    *out = mount;
    return err;
}

static void unlink_locked(struct passthrough *pt, struct pt_mount *mount)
{
    for (struct pt_mount *m = &pt->root_mount; m->next != NULL; m = m->next) {
        if (m->next == mount) {
            m->next = mount->next;
            return;
        }
    }
}

/* A submount that no inode is on any more keeps nothing open, so that the host can unmount it. */
void mount_put(struct passthrough *pt, struct pt_mount *mount)
{
    if (mount == &pt->root_mount)
        return;
    pthread_mutex_lock(&pt->mounts_lock);
    bool last = --mount->inodes == 0;
    if (last)
        unlink_locked(pt, mount);
    pthread_mutex_unlock(&pt->mounts_lock);
    if (last)
        mount_free(pt, mount);
}

/* A mount of its own that shows what fd does, in no place: `..` ends there. Negative: not permitted. */
static int clone_mount(int fd)
{
#ifdef SYS_open_tree
    return (int)syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
#else
    (void)fd;
    return -1;
#endif
}

int mount_open_proc_fds(const struct passthrough *pt)
{
    cleanup_fd int opened = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0)
        return -errno;
    int alone = pt->options.no_fence ? -1 : clone_mount(opened);
    return alone >= 0 ? alone : take_fd(&opened);
}

void mount_fence(struct passthrough *pt, int *path_fd)
{
#if defined(SYS_open_tree) && defined(SYS_mount_setattr)
    if (pt->options.no_fence || pt->options.submounts)
        return;
    cleanup_fd int tree = clone_mount(*path_fd);
    if (tree < 0)
        return;
    struct mount_attr attr = {
        .attr_set =
            MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSYMFOLLOW | (pt->options.read_only ? MOUNT_ATTR_RDONLY : 0),
        .propagation = MS_PRIVATE,
    };
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) != 0)
        return;
    close(*path_fd);
    *path_fd = take_fd(&tree);
    pt->fenced = true;
#else
    (void)pt;
    (void)path_fd;
#endif
}
