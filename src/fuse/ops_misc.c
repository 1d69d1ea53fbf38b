/* STATFS, SYNCFS, IOCTL. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "fuse/ops.h"

int op_statfs(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    struct oriel_fs_statfs st = {0};
    int rc = fs->ops->statfs(fs->fs, r->node->inode, &st);
    if (rc != 0)
        return rc;
    struct wire_statfs_out out = {
        .blocks = st.blocks,
        .bfree = st.bfree,
        .bavail = st.bavail,
        .files = st.files,
        .ffree = st.ffree,
        .bsize = st.bsize,
        .namelen = st.namelen,
        .frsize = st.frsize,
    };
    return reply_data(r, &out, sizeof(out));
}

int op_syncfs(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    return fs->ops->syncfs(fs->fs, r->node->inode);
}

/* ---- IOCTL: an allow-list, with our sizes, never the guest's pointers ---- */

#define IOCTL_DATA_MAX 32

struct ioctl_rule {
    uint32_t wire; /* as guests of 64 and 32 bits send it */
    uint32_t wire32;
    uint32_t cmd;     /* as the back-end gets it */
    uint32_t in, out; /* bytes that count; the FLAGS ones are an int, whatever their number says */
    bool modifies;
};

static const struct ioctl_rule ioctl_rules[] = {
    {FUSE_IOC_GETFLAGS, FUSE_IOC32_GETFLAGS, FUSE_IOC_GETFLAGS, 0, 4, false},
    {FUSE_IOC_SETFLAGS, FUSE_IOC32_SETFLAGS, FUSE_IOC_SETFLAGS, 4, 0, true},
    {FUSE_IOC_FSGETXATTR, FUSE_IOC_FSGETXATTR, FUSE_IOC_FSGETXATTR, 0, FUSE_FSXATTR_SIZE, false},
    {FUSE_IOC_FSSETXATTR, FUSE_IOC_FSSETXATTR, FUSE_IOC_FSSETXATTR, FUSE_FSXATTR_SIZE, 0, true},
};

static const struct ioctl_rule *find_rule(uint32_t cmd)
{
    for (size_t i = 0; i < ARRAY_LEN(ioctl_rules); i++) {
        if (ioctl_rules[i].wire == cmd || ioctl_rules[i].wire32 == cmd)
            return &ioctl_rules[i];
    }
    return NULL;
}

static int check_ioctl(struct request *r, const struct wire_ioctl_in *in, const struct ioctl_rule *rule)
{
    if (rule == NULL || r->server->fs.ops->ioctl == NULL)
        return -ENOTTY;
    if (rule->modifies && r->server->options.read_only)
        return -EROFS;
    if (in->in_size < rule->in || in->out_size < rule->out || in->in_size > r->in.left)
        return request_bad(r, -EINVAL);
    return 0;
}

static int reply_ioctl(struct request *r, const void *data, size_t len)
{
    struct wire_ioctl_out out = {.result = 0};
    int rc = reply_data(r, &out, sizeof(out));
    return rc != 0 ? rc : reply_data(r, data, len);
}

int op_ioctl(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_ioctl_in *in = request_args(r, sizeof(*in));
    const struct ioctl_rule *rule = find_rule(in->cmd);
    int rc = check_ioctl(r, in, rule);
    if (rc != 0)
        return rc;
    char data_in[IOCTL_DATA_MAX], data_out[IOCTL_DATA_MAX] = {0};
    if (iov_pull(&r->in, data_in, rule->in) != 0)
        return -EFAULT;
    struct handle *handle;
    rc = request_handle(r, in->fh, (in->flags & FUSE_IOCTL_DIR) != 0 ? HANDLE_FOLDER : HANDLE_FILE, &handle);
    if (rc != 0)
        return rc;
    size_t out_size = rule->out;
    rc = fs->ops->ioctl(fs->fs, &r->caller, handle->inode, handle->fs_handle, rule->cmd, data_in, rule->in,
                        data_out, &out_size);
    request_put_handle(r, handle);
    return rc != 0 ? rc : reply_ioctl(r, data_out, min_u64(out_size, rule->out));
}
