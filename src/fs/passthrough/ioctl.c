/* The ioctls of the server's allow-list: inode flags and project attributes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/operations.h"
#include "fs/passthrough/rights.h"

static int get_flags(int fd, void *arg_out, size_t *out_size)
{
    int flags = 0;
    if (*out_size < sizeof(flags))
        return -EINVAL;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
        return -errno;
    memcpy(arg_out, &flags, sizeof(flags));
    *out_size = sizeof(flags);
    return 0;
}

/* As set_attributes(): whether new files take over the project is the host's to say. */
static int set_flags(int fd, const void *arg_in, size_t in_size)
{
    int flags, now = 0;
    if (in_size < sizeof(flags))
        return -EINVAL;
    memcpy(&flags, arg_in, sizeof(flags));
    if (ioctl(fd, FS_IOC_GETFLAGS, &now) != 0)
        return -errno;
    if ((flags ^ now) & FS_PROJINHERIT_FL)
        return -EPERM;
    return ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0 ? 0 : -errno;
}

static int get_attributes(int fd, void *arg_out, size_t *out_size)
{
    struct fsxattr attributes;
    if (*out_size < sizeof(attributes))
        return -EINVAL;
    memset(&attributes, 0, sizeof(attributes));
    if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) != 0)
        return -errno;
    memcpy(arg_out, &attributes, sizeof(attributes));
    *out_size = sizeof(attributes);
    return 0;
}

/* The project is what a quota on the shared folder counts by: it stays as the host has set it. */
static int set_attributes(int fd, const void *arg_in, size_t in_size)
{
    struct fsxattr wanted, now;
    if (in_size < sizeof(wanted))
        return -EINVAL;
    memcpy(&wanted, arg_in, sizeof(wanted));
    if (ioctl(fd, FS_IOC_FSGETXATTR, &now) != 0)
        return -errno;
    if (wanted.fsx_projid != now.fsx_projid || (wanted.fsx_xflags ^ now.fsx_xflags) & FS_XFLAG_PROJINHERIT)
        return -EPERM;
    return ioctl(fd, FS_IOC_FSSETXATTR, &wanted) == 0 ? 0 : -errno;
}

static bool changes(uint32_t cmd)
{
    return cmd == (uint32_t)FS_IOC_SETFLAGS || cmd == (uint32_t)FS_IOC_FSSETXATTR;
}

static int perform(int fd, uint32_t cmd, const void *arg_in, size_t in_size, void *arg_out, size_t *out_size)
{
    switch (cmd) {
    case (uint32_t)FS_IOC_GETFLAGS:
        return get_flags(fd, arg_out, out_size);
    case (uint32_t)FS_IOC_FSGETXATTR:
        return get_attributes(fd, arg_out, out_size);
    case (uint32_t)FS_IOC_SETFLAGS:
        *out_size = 0;
        return set_flags(fd, arg_in, in_size);
    case (uint32_t)FS_IOC_FSSETXATTR:
        *out_size = 0;
        return set_attributes(fd, arg_in, in_size);
    default:
        return -ENOTTY;
    }
}

int pt_ioctl(void *fs, const oriel_fs_caller *caller, void *inode, void *handle, uint32_t cmd,
             const void *arg_in, size_t in_size, void *arg_out, size_t *out_size)
{
    struct passthrough *pt = fs;
    const struct pt_handle *open_handle = handle;
    cleanup_fd int opened = -1;
    if (!inode_is(inode, S_IFREG) && !inode_is(inode, S_IFDIR))
        return -ENOTTY;
    if (changes(cmd) && pt->options.read_only)
        return -EROFS;
    int fd = open_handle != NULL ? open_handle->fd : -1;
    if (fd < 0)
        fd = opened = open_for_call(pt, inode, O_RDONLY);
    if (fd < 0)
        return fd;
    struct passthrough *scope cleanup_rights = pt;
    int err = rights_begin(pt, caller, CREDS_OWN);
    return err != 0 ? err : perform(fd, cmd, arg_in, in_size, arg_out, out_size);
}
