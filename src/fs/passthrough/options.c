/* Making and freeing the back-end. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "fs/passthrough/ids.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/location.h"
#include "fs/passthrough/mount.h"
#include "fs/passthrough/operations.h"

#define BUDGET_MIN     16
#define CACHE_MIN      4
#define CACHE_MAX      8192
#define RESERVE_MIN    32 /* left under RLIMIT_NOFILE: descriptors of one call, and the rest of the process */
#define RESERVE_MAX    1024
#define BUDGET_DEFAULT 65536

static int copy_options(const struct oriel_passthrough_options *given, struct oriel_passthrough_options *out)
{
    const size_t oldest = offsetof(struct oriel_passthrough_options, trace) + sizeof(given->trace);
    if (given == NULL || given->size < oldest)
        return -EINVAL;
    const char *bytes = (const char *)given;
    for (size_t i = sizeof(*out); i < given->size; i++) {
        if (bytes[i] != 0)
            return -EINVAL; /* an option that this version does not know */
    }
    memset(out, 0, sizeof(*out));
    memcpy(out, given, min_u64(given->size, sizeof(*out)));
    if (out->file_handles > ORIEL_FILE_HANDLES_MANDATORY || (out->dir == NULL && out->dir_fd < 0))
        return -EINVAL;
    if (out->enforce_credentials && !out->switch_credentials)
        return -EINVAL;
    if (out->switch_credentials && !creds_can_switch())
        return -EPERM;
    return 0;
}

/* The name without slashes at its end, which would make open(2) follow a link in spite of O_NOFOLLOW. */
static char *without_trailing_slashes(const char *dir)
{
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    return strndup(dir, len);
}

static int check_folder(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return -ELOOP;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* The host's administrator chose this one name; it is the only path the back-end ever opens. */
static int open_shared_folder(const struct oriel_passthrough_options *options, int *out)
{
    cleanup_fd int fd = -1;
    if (options->dir != NULL) {
        cleanup_free char *dir = without_trailing_slashes(options->dir);
        if (dir == NULL)
            return -ENOMEM;
        fd = open(dir, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    } else {
        fd = openat(options->dir_fd, ".", O_PATH | O_CLOEXEC);
    }
    if (fd < 0)
        return -errno;
    int err = check_folder(fd);
    if (err == 0)
        *out = take_fd(&fd);
    return err;
}

static uint64_t default_budget(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return BUDGET_DEFAULT;
    uint64_t reserve = min_u64(max_u64(limit.rlim_cur / 4, RESERVE_MIN), RESERVE_MAX);
    return limit.rlim_cur > reserve ? limit.rlim_cur - reserve : 0;
}

/* Half of the budget at most: the rest is for what the guest opens. */
static int make_budget(struct passthrough *pt)
{
    pt->budget.limit =
        max_u64(pt->options.fd_budget != 0 ? pt->options.fd_budget : default_budget(), BUDGET_MIN);
    uint64_t slots = min_u64(max_u64(pt->budget.limit / 2, CACHE_MIN), CACHE_MAX);
    return fd_cache_init(&pt->cache, (uint32_t)slots, &pt->budget);
}

static bool probe_openat2(int dir_fd)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    cleanup_fd int fd = (int)syscall(SYS_openat2, dir_fd, ".", &how, sizeof(how));
    return fd >= 0;
}

static void passthrough_free(struct passthrough *pt)
{
    if (pt->root != NULL)
        close(pt->root->pinned_fd);
    free(pt->root);
    if (pt->root_mount.fd >= 0)
        close(pt->root_mount.fd);
    if (pt->proc_fd >= 0)
        close(pt->proc_fd);
    fd_cache_destroy(&pt->cache);
    for (size_t i = 0; i < PT_LOCKS; i++)
        pthread_mutex_destroy(&pt->locks[i]);
    pthread_mutex_destroy(&pt->mounts_lock);
    pthread_mutex_destroy(&pt->locations_lock);
    pthread_mutex_destroy(&pt->lock_owners_lock);
    location_table_free(pt);
    ids_destroy(pt);
    free(pt);
}

static struct passthrough *passthrough_new(void)
{
    struct passthrough *pt = calloc(1, sizeof(*pt));
    if (pt == NULL)
        return NULL;
    pt->root_mount.fd = -1;
    pt->proc_fd = -1;
    pthread_mutex_init(&pt->mounts_lock, NULL);
    pthread_mutex_init(&pt->locations_lock, NULL);
    pthread_mutex_init(&pt->lock_owners_lock, NULL);
    for (size_t i = 0; i < PT_LOCKS; i++)
        pthread_mutex_init(&pt->locks[i], NULL);
    return pt;
}

static int set_up(struct passthrough *pt)
{
    int folder = -1;
    int err = creds_record(&pt->process);
    if (err == 0)
        err = make_budget(pt);
    if (err == 0)
        err = open_shared_folder(&pt->options, &folder);
    if (err != 0)
        return err;
    pt->can_keep_sgid = creds_can_keep_sgid();
    pt->has_openat2 = probe_openat2(folder);
    mount_fence(pt, &folder);
    pt->proc_fd = mount_open_proc_fds(pt);
    if (pt->proc_fd < 0) {
        close(folder);
        return pt->proc_fd;
    }
    err = mount_init_root(pt, folder);
    if (err != 0) {
        close(folder);
        return err;
    }
    return inode_make_root(pt, folder);
}

static void pt_destroy(void *fs)
{
    passthrough_free(fs);
}

static const struct oriel_fs_ops passthrough_ops = {
    .size = sizeof(passthrough_ops),
    .root = pt_root,
    .lookup = pt_lookup,
    .lookup_parent = pt_lookup_parent,
    .lookup_listed = pt_lookup_listed,
    .inode_open = pt_inode_open,
    .entry_drop = pt_entry_drop,
    .inode_close = pt_inode_close,
    .getattr = pt_getattr,
    .setattr = pt_setattr,
    .access = pt_access,
    .statfs = pt_statfs,
    .readlink = pt_readlink,
    .mknod = pt_mknod,
    .mkdir = pt_mkdir,
    .symlink = pt_symlink,
    .link = pt_link,
    .unlink = pt_unlink,
    .rmdir = pt_rmdir,
    .rename = pt_rename,
    .open = pt_open,
    .create = pt_create,
    .tmpfile = pt_tmpfile,
    .read = pt_read,
    .read_nowait = pt_read_nowait,
    .write = pt_write,
    .flush = pt_flush,
    .fsync = pt_fsync,
    .release = pt_release,
    .fallocate = pt_fallocate,
    .lseek = pt_lseek,
    .copy_file_range = pt_copy_file_range,
    .map_open = pt_map_open,
    .opendir = pt_opendir,
    .readdir = pt_readdir,
    .fsyncdir = pt_fsyncdir,
    .releasedir = pt_releasedir,
    .syncfs = pt_syncfs,
    .setxattr = pt_setxattr,
    .getxattr = pt_getxattr,
    .listxattr = pt_listxattr,
    .removexattr = pt_removexattr,
    .getlk = pt_getlk,
    .setlk = pt_setlk,
    .ioctl = pt_ioctl,
    .destroy = pt_destroy,
};

int oriel_passthrough_create(const struct oriel_passthrough_options *options, struct oriel_fs *out)
{
    struct oriel_passthrough_options checked;
    int err = copy_options(options, &checked);
    if (err != 0)
        return err;
    struct passthrough *pt = passthrough_new();
    if (pt == NULL)
        return -ENOMEM;
    pt->options = checked;
    pt->trace = checked.trace;
    err = ids_init(pt);
    if (err == 0)
        err = set_up(pt);
    pt->options.dir = NULL; /* the caller's, for the length of this call */
    if (err != 0) {
        passthrough_free(pt);
        return err;
    }
    ORIEL_TRACE(pt->trace, "passthrough budget %llu handles %d fence %d openat2 %d",
                (unsigned long long)pt->budget.limit, pt->root_mount.file_handles, pt->fenced,
                pt->has_openat2);
    *out = (struct oriel_fs){.ops = &passthrough_ops, .fs = pt};
    return 0;
}

int oriel_passthrough_get_stats(const struct oriel_fs *fs, struct oriel_passthrough_stats *out)
{
    if (fs->ops != &passthrough_ops)
        return -EINVAL;
    struct passthrough *pt = fs->fs;
    *out = (struct oriel_passthrough_stats){
        .descriptors = pt->budget.used,
        .descriptor_limit = pt->budget.limit,
        .lock_owners = pt->lock_owner_count,
        .file_handles = pt->root_mount.file_handles,
        .fenced = pt->fenced,
    };
    return 0;
}

bool oriel_passthrough_can_switch_credentials(void)
{
    return creds_can_switch();
}

void oriel_passthrough_restore_thread(void)
{
    creds_restore();
}
