/* Listing folders. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "fuse/attr.h"
#include "fuse/names.h"
#include "fuse/ops.h"

#define BATCH_BYTES 16384

/*
 * The back-end emits entries into a batch here, and the batch is worked through when it has returned: it may
 * hold its locks while it lists, and looking entries up for READDIRPLUS needs them. An entry's record in the
 * reply has a size that its name alone decides, so a batch never holds more than the reply can take.
 */
struct batch {
    size_t room;   /* of the reply, for records */
    size_t header; /* of one record: the wire's dirent or direntplus */
    size_t used;
    uint64_t ino_salt;
    bool full; /* the batch, while the reply has room left */
    bool reply_full;
    _Alignas(8) char records[BATCH_BYTES]; /* wire_dirent, name, NUL, padding */
};

static size_t record_size(size_t header, size_t name_len)
{
    return align_up(header + name_len, 8);
}

static size_t batch_size(size_t name_len)
{
    return align_up(sizeof(struct wire_dirent) + name_len + 1, 8);
}

/* Names that could not be sent back in a request are not shown. */
static bool is_presentable(const struct oriel_fs_dirent *entry)
{
    return entry->name_len > 0 && entry->name_len <= FUSE_NAME_MAX &&
           memchr(entry->name, '/', entry->name_len) == NULL;
}

static bool collect(void *arg, const struct oriel_fs_dirent *entry)
{
    struct batch *batch = arg;
    if (!is_presentable(entry))
        return true;
    size_t record = record_size(batch->header, entry->name_len), size = batch_size(entry->name_len);
    if (record > batch->room || size > BATCH_BYTES - batch->used) {
        batch->reply_full = record > batch->room;
        batch->full = !batch->reply_full;
        return false;
    }
    struct wire_dirent dirent = {.ino = entry->ino ^ batch->ino_salt,
                                 .off = entry->next,
                                 .namelen = (uint32_t)entry->name_len,
                                 .type = entry->type};
    char *at = batch->records + batch->used;
    memcpy(at, &dirent, sizeof(dirent));
    memcpy(at + sizeof(dirent), entry->name, entry->name_len);
    memset(at + sizeof(dirent) + entry->name_len, 0, size - sizeof(dirent) - entry->name_len);
    batch->used += size;
    batch->room -= record;
    return true;
}

static int reply_dirent(struct request *r, const struct handle *handle, const struct wire_dirent *dirent,
                        const char *name)
{
    (void)handle;
    /* The batch's record is the wire's, with padding that covers the record's. */
    (void)name;
    return reply_data(r, dirent, record_size(sizeof(*dirent), dirent->namelen));
}

static int look_up(struct request *r, const struct handle *handle, const char *name,
                   struct oriel_fs_entry *entry)
{
    const struct oriel_fs *fs = &r->server->fs;
    if (fs->ops->lookup_listed != NULL)
        return fs->ops->lookup_listed(fs->fs, &r->caller, handle->inode, handle->fs_handle, name, entry);
    return fs->ops->lookup(fs->fs, &r->caller, handle->inode, name, entry);
}

/* Makes the entry's node known, or leaves `out` empty: an entry that can't be looked up is listed all the
 * same. The node is pinned until the record is delivered. */
static struct node *entry_node(struct request *r, const struct handle *handle, const char *name,
                               struct wire_entry_out *out)
{
    struct oriel_fs_entry entry = {0};
    struct node *node;
    if (name_is_dots(name) || look_up(r, handle, name, &entry) != 0 ||
        fuse_node_intern(&r->server->nodes, handle->inode, name, &entry, &node) != 0)
        return NULL;
    attr_to_entry(r->server, node, &entry.attr, out);
    return node;
}

static int reply_direntplus(struct request *r, const struct handle *handle, const struct wire_dirent *dirent,
                            const char *name)
{
    struct {
        struct wire_direntplus plus;
        char name[FUSE_NAME_MAX + 1];
    } record;
    struct node *node = entry_node(r, handle, name, &record.plus.entry);
    record.plus.dirent = *dirent;
    if (node != NULL)
        record.plus.dirent.ino = record.plus.entry.attr.ino;
    else
        memset(&record.plus.entry, 0, sizeof(record.plus.entry));
    memset(record.name + (dirent->namelen & ~UINT32_C(7)), 0, 8); /* the padding */
    memcpy(record.name, name, dirent->namelen);
    int rc = reply_data(r, &record, record_size(sizeof(record.plus), dirent->namelen));
    if (node == NULL)
        return rc;
    if (rc != 0)
        fuse_node_uncount(&r->server->nodes, node, 1);
    fuse_node_put(&r->server->nodes, node);
    return rc;
}

typedef int (*reply_fn)(struct request *r, const struct handle *handle, const struct wire_dirent *dirent,
                        const char *name);

/* Delivers a batch; *next is then where the listing goes on. */
static int deliver(struct request *r, const struct handle *handle, const struct batch *batch, reply_fn reply,
                   uint64_t *next)
{
    for (size_t at = 0; at < batch->used;) {
        const struct wire_dirent *dirent = (const void *)(batch->records + at);
        int rc = reply(r, handle, dirent, (const char *)(dirent + 1));
        if (rc != 0)
            return rc;
        *next = dirent->off;
        at += batch_size(dirent->namelen);
    }
    return 0;
}

static int list(struct request *r, const struct handle *handle, uint64_t offset, size_t size, size_t header,
                reply_fn reply)
{
    const struct oriel_fs *fs = &r->server->fs;
    struct batch batch;
    batch.header = header;
    batch.ino_salt = attr_ino_salt(r->server, handle->node);
    batch.room = min_u64(size, r->room);
    do {
        batch.used = 0;
        batch.full = batch.reply_full = false;
        int rc = fs->ops->readdir(fs->fs, handle->inode, handle->fs_handle, offset, collect, &batch);
        if (rc == 0 && batch.used == 0 && batch.reply_full)
            rc = -EINVAL; /* no room for even one entry must not look like the end */
        if (rc == 0 || batch.used > 0)
            rc = deliver(r, handle, &batch, reply, &offset);
        /* What was listed before an error is good; the guest asks again and meets the error then. */
        if (rc != 0)
            return r->reply_len > 0 ? 0 : rc;
    } while (batch.full);
    return 0;
}

static int list_folder(struct request *r, size_t header, reply_fn reply)
{
    const struct wire_read_in *in = request_args(r, sizeof(*in));
    if (in->offset > INT64_MAX)
        return request_bad(r, -EINVAL);
    struct handle *handle;
    int got = request_handle(r, in->fh, HANDLE_FOLDER, &handle);
    if (got != 0)
        return got;
    int rc = list(r, handle, in->offset, in->size, header, reply);
    request_put_handle(r, handle);
    return rc;
}

int op_readdir(struct request *r)
{
    return list_folder(r, sizeof(struct wire_dirent), reply_dirent);
}

int op_readdirplus(struct request *r)
{
    if (r->server->options.no_readdirplus)
        return -ENOSYS;
    return list_folder(r, sizeof(struct wire_direntplus), reply_direntplus);
}

int op_fsyncdir(struct request *r)
{
    const struct oriel_fs *fs = &r->server->fs;
    const struct wire_fsync_in *in = request_args(r, sizeof(*in));
    if (request_is_implicit(r, in->fh))
        return 0;
    struct handle *handle;
    int got = request_handle(r, in->fh, HANDLE_FOLDER, &handle);
    if (got != 0)
        return got;
    bool datasync = (in->fsync_flags & FUSE_FSYNC_DATASYNC) != 0;
    int rc = fs->ops->fsyncdir(fs->fs, handle->inode, handle->fs_handle, datasync);
    request_put_handle(r, handle);
    return rc;
}
