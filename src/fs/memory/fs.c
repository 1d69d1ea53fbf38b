#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <oriel/memory_fs.h>

#include "base/checked.h"
#include "fs/memory/attr.h"
#include "fs/memory/file.h"
#include "fs/memory/listing.h"
#include "fs/memory/lock.h"
#include "fs/memory/memory.h"
#include "fs/memory/names.h"
#include "fs/memory/xattr.h"

#define DEFAULT_BYTES  (UINT64_C(64) << 20)
#define DEFAULT_INODES 65536
#define RESERVED_FDS   64 /* of the process's descriptors, beside ours */

/* ---- identity ---- */

static int fs_root(void *opaque, struct oriel_fs_entry *out, void **inode)
{
    struct memfs *fs = opaque;
    pthread_rwlock_rdlock(&fs->root->lock);
    memfs_entry_fill(fs->root, out);
    pthread_rwlock_unlock(&fs->root->lock);
    *inode = fs->root; /* with the reference of the entry */
    return 0;
}

static int fs_inode_open(void *fs, void *parent, const char *name, struct oriel_fs_entry *entry, void **inode)
{
    (void)fs;
    (void)parent;
    (void)name;
    *inode = (void *)entry->hold;
    entry->hold = 0;
    return 0;
}

static void fs_entry_drop(void *fs, struct oriel_fs_entry *entry)
{
    memfs_inode_unref(fs, (struct memfs_inode *)entry->hold);
    entry->hold = 0;
}

static void fs_inode_close(void *fs, void *inode)
{
    memfs_inode_unref(fs, inode);
}

/* ---- the end ---- */

/* Takes the tree apart from its leaves, without recursion: a guest decides how deep it is. */
static void remove_tree(struct memfs *fs)
{
    struct memfs_inode *at = fs->root;
    for (;;) {
        uint64_t cookie;
        uint32_t position = 0;
        const struct memfs_dirent *entry = memfs_folder_next(&at->folder, 0, &position, &cookie);
        if (entry == NULL && at == fs->root)
            return;
        if (entry == NULL) {
            at = at->parent; /* whose first entry it is */
            continue;
        }
        struct memfs_inode *inode = entry->inode;
        if (memfs_is_folder(inode) && inode->folder.live > 0) {
            at = inode;
            continue;
        }
        memfs_folder_remove(&at->folder, &fs->hash_key,
                            memfs_folder_find(&at->folder, &fs->hash_key, entry->name));
        memfs_inode_unref(fs, inode);
    }
}

static void free_fs(struct memfs *fs)
{
    memfs_pool_destroy(&fs->pool);
    memfs_quota_destroy(&fs->quota);
    pthread_mutex_destroy(&fs->move_lock);
    free(fs);
}

static void fs_destroy(void *opaque)
{
    struct memfs *fs = opaque;
    remove_tree(fs);
    memfs_inode_unref(fs, fs->root);
    free_fs(fs);
}

static const struct oriel_fs_ops memory_ops = {
    .size = sizeof(struct oriel_fs_ops),
    .root = fs_root,
    .lookup = memfs_lookup,
    .lookup_parent = memfs_lookup_parent,
    .inode_open = fs_inode_open,
    .entry_drop = fs_entry_drop,
    .inode_close = fs_inode_close,
    .getattr = memfs_getattr,
    .setattr = memfs_setattr,
    .access = memfs_access,
    .statfs = memfs_statfs,
    .readlink = memfs_readlink,
    .mknod = memfs_mknod,
    .mkdir = memfs_mkdir,
    .symlink = memfs_symlink,
    .link = memfs_link,
    .unlink = memfs_unlink,
    .rmdir = memfs_rmdir,
    .rename = memfs_rename,
    .open = memfs_open,
    .create = memfs_create,
    .tmpfile = memfs_tmpfile,
    .read = memfs_read,
    .write = memfs_write,
    .flush = memfs_flush,
    .fsync = memfs_fsync,
    .release = memfs_release,
    .fallocate = memfs_fallocate,
    .lseek = memfs_lseek,
    .copy_file_range = memfs_copy_file_range,
    .map_open = memfs_map_open,
    .opendir = memfs_opendir,
    .readdir = memfs_readdir,
    .fsyncdir = memfs_fsyncdir,
    .releasedir = memfs_releasedir,
    .syncfs = memfs_syncfs,
    .setxattr = memfs_setxattr,
    .getxattr = memfs_getxattr,
    .listxattr = memfs_listxattr,
    .removexattr = memfs_removexattr,
    .getlk = memfs_getlk,
    .setlk = memfs_setlk,
    .destroy = fs_destroy,
};

/* ---- the beginning ---- */

/* Half of what the process may open: the rest is for whatever else it does. */
static uint64_t default_mapped_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= RESERVED_FDS)
        return 1;
    return (limit.rlim_cur - RESERVED_FDS) / 2;
}

static int check_options(const struct oriel_memory_fs_options *options)
{
    if (options == NULL || options->size < offsetof(struct oriel_memory_fs_options, max_mapped_files) ||
        (options->root_mode & ~UINT32_C(07777)) != 0 || options->max_bytes > INT64_MAX ||
        options->max_inodes > INT64_MAX)
        return -EINVAL;
    return 0;
}

static int make_root(struct memfs *fs, const struct oriel_memory_fs_options *options)
{
    struct memfs_new_inode args = {
        .mode = S_IFDIR | (options->root_mode != 0 ? options->root_mode : 0755),
        .uid = options->root_uid,
        .gid = options->root_gid,
    };
    int error = memfs_inode_create(fs, &args, &fs->root);
    if (error != 0)
        return -ENOMEM;
    fs->root->nlink = 2;
    fs->root->parent = fs->root;
    return 0;
}

int oriel_memory_fs_create(const struct oriel_memory_fs_options *given, struct oriel_fs *out)
{
    int error = check_options(given);
    if (error != 0)
        return error;
    struct oriel_memory_fs_options options = {0};
    memcpy(&options, given, min_u64(given->size, sizeof(options)));
    struct memfs *fs = calloc(1, sizeof(*fs));
    if (fs == NULL)
        return -ENOMEM;
    if (getrandom(&fs->hash_key, sizeof(fs->hash_key), GRND_NONBLOCK) != sizeof(fs->hash_key))
        fs->hash_key.k0 = (uint64_t)memfs_now().nsec; /* too early in a boot for better */
    memfs_quota_init(&fs->quota, options.max_bytes != 0 ? options.max_bytes : DEFAULT_BYTES,
                     options.max_inodes != 0 ? options.max_inodes : DEFAULT_INODES, options.user_bytes,
                     options.user_inodes);
    pthread_mutex_init(&fs->move_lock, NULL);
    fs->trace = options.trace;
    fs->next_ino = 1;
    error = memfs_pool_init(&fs->pool, options.max_mapped_files != 0 ? options.max_mapped_files
                                                                     : default_mapped_files());
    if (error != 0) {
        memfs_quota_destroy(&fs->quota);
        pthread_mutex_destroy(&fs->move_lock);
        free(fs);
        return error;
    }
    error = make_root(fs, &options);
    if (error != 0) {
        free_fs(fs);
        return error;
    }
    *out = (struct oriel_fs){.ops = &memory_ops, .fs = fs};
    return 0;
}
