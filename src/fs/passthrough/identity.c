#include "fs/passthrough/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define STATX_WANTED (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)

int identity_statx(int dir_fd, const char *name, struct statx *out)
{
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name[0] == '\0' ? AT_EMPTY_PATH : 0);
    return statx(dir_fd, name, flags, STATX_WANTED, out) == 0 ? 0 : -errno;
}

static uint64_t dev_of(const struct statx *stx)
{
    return makedev(stx->stx_dev_major, stx->stx_dev_minor);
}

/* The birth time in nanoseconds, with the type mixed in: a file never changes its type. Never 0. */
static uint64_t generation_of(const struct statx *stx)
{
    if (!(stx->stx_mask & STATX_BTIME))
        return 0;
    uint64_t ns = (uint64_t)stx->stx_btime.tv_sec * UINT64_C(1000000000) + stx->stx_btime.tv_nsec;
    uint64_t mixed = ns ^ (uint64_t)(stx->stx_mode & S_IFMT) << 48;
    return mixed != 0 ? mixed : 1;
}

void identity_of_statx(const struct statx *stx, struct oriel_fs_identity *out)
{
    out->mount = stx->stx_mask & STATX_MNT_ID ? stx->stx_mnt_id : 0;
    out->dev = dev_of(stx);
    out->ino = stx->stx_ino;
    out->generation = generation_of(stx);
}

/* FNV-1a; never 0. */
uint64_t identity_of_handle(const struct handle_buffer *handle)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ (uint32_t)handle->type;
    for (uint32_t i = 0; i < handle->bytes && i < sizeof(handle->data); i++)
        hash = (hash ^ handle->data[i]) * UINT64_C(0x100000001b3);
    return hash != 0 ? hash : 1;
}

bool identity_matches(const struct pt_inode *inode, const struct statx *stx)
{
    if (inode->ino != stx->stx_ino || inode->dev != dev_of(stx) || !inode_is(inode, stx->stx_mode & S_IFMT))
        return false;
    return !inode->mount->birth_time || inode->generation == generation_of(stx);
}

static struct oriel_fs_time time_of(const struct statx_timestamp *t)
{
    return (struct oriel_fs_time){.sec = t->tv_sec, .nsec = t->tv_nsec};
}

/* The kernel's new_encode_dev(). */
static uint32_t encode_rdev(uint32_t major, uint32_t minor)
{
    return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~UINT32_C(0xff)) << 12;
}

void attr_of_statx(const struct statx *stx, struct oriel_fs_attr *out)
{
    *out = (struct oriel_fs_attr){
        .ino = stx->stx_ino,
        .size = stx->stx_size,
        .blocks = stx->stx_blocks,
        .atime = time_of(&stx->stx_atime),
        .mtime = time_of(&stx->stx_mtime),
        .ctime = time_of(&stx->stx_ctime),
        .btime = time_of(&stx->stx_btime),
        .mode = stx->stx_mode,
        .nlink = stx->stx_nlink,
        .uid = stx->stx_uid,
        .gid = stx->stx_gid,
        .rdev = encode_rdev(stx->stx_rdev_major, stx->stx_rdev_minor),
        .blksize = stx->stx_blksize,
        /* A window costs nothing that a small file would save: which files are mapped is the guest's choice. */
        .flags = S_ISREG(stx->stx_mode) ? ORIEL_FS_ATTR_DAX : 0,
        .has_btime = (stx->stx_mask & STATX_BTIME) != 0,
        .statx_attributes = stx->stx_attributes & ~(uint64_t)STATX_ATTR_MOUNT_ROOT,
        .statx_attributes_mask = stx->stx_attributes_mask & ~(uint64_t)STATX_ATTR_MOUNT_ROOT,
        .dev_major = stx->stx_dev_major,
        .dev_minor = stx->stx_dev_minor,
    };
}

int handle_of_name(int dir_fd, const char *name, struct handle_buffer *out, uint64_t *mount_id)
{
    int id = 0;
    out->bytes = sizeof(out->data);
    if (syscall(SYS_name_to_handle_at, dir_fd, name, out, &id, name[0] == '\0' ? AT_EMPTY_PATH : 0) != 0)
        return errno == EOVERFLOW ? -EOPNOTSUPP : -errno;
    *mount_id = (uint64_t)(unsigned int)id;
    return 0;
}

bool handle_has_number(const struct handle_buffer *handle, uint64_t ino)
{
    uint32_t words[2];
    if (handle->bytes < sizeof(words))
        return false;
    memcpy(words, handle->data, sizeof(words));
    return words[0] == (uint32_t)ino || words[1] == (uint32_t)ino;
}

bool filesystem_has_stable_birth_time(int fd)
{
    struct statfs st;
    struct statx stx;
    if (fstatfs(fd, &st) != 0 || identity_statx(fd, "", &stx) != 0)
        return false;
    /* overlayfs shows that of the copied-up file once there is one. */
    return (stx.stx_mask & STATX_BTIME) != 0 && (uint64_t)st.f_type != OVERLAYFS_SUPER_MAGIC;
}

bool mount_has_no_devices(int fd)
{
    struct statvfs st;
    return fstatvfs(fd, &st) == 0 && (st.f_flag & ST_NODEV) != 0;
}

bool filesystem_flushes_on_close(int fd)
{
    struct statfs st;
    if (fstatfs(fd, &st) != 0)
        return true;
    switch ((uint32_t)st.f_type) {
    case NFS_SUPER_MAGIC:
    case FUSE_SUPER_MAGIC:
    case V9FS_MAGIC:
    case AFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case CEPH_SUPER_MAGIC:
        return true;
    default:
        return false;
    }
}
