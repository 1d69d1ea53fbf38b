#include "fs/memory/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "fs/memory/lock.h"
#include "fs/memory/names.h"

#define COPY_MAX (UINT64_C(16) << 20) /* in one call, as both files are locked meanwhile; callers go on */

static struct memfs_handle *make_handle(uint32_t flags)
{
    struct memfs_handle *handle = calloc(1, sizeof(*handle));
    if (handle != NULL)
        handle->flags = flags;
    return handle;
}

static void stamp_change(struct memfs_inode *inode)
{
    inode->mtime = inode->ctime = memfs_now();
}

/* ---- opening ---- */

/* The inode is locked for writing. O_TRUNC stamps the times even when the file was empty. */
static int open_locked(struct memfs *fs, struct memfs_inode *inode, uint32_t flags, uint32_t kill)
{
    if ((flags & O_TRUNC) == 0)
        return 0;
    struct memfs_store store = memfs_store_of(fs, inode);
    int error = memfs_content_resize(&inode->content, &store, 0);
    if (error != 0)
        return error;
    if ((kill & ORIEL_FS_KILL_SUIDGID) != 0)
        memfs_inode_kill_privileges(fs, inode);
    stamp_change(inode);
    return 0;
}

int memfs_open(void *fs, const oriel_fs_caller *caller, void *opaque, uint32_t flags, uint32_t kill,
               struct oriel_fs_opened *out)
{
    (void)caller;
    struct memfs_inode *inode = opaque;
    if (!memfs_is_regular(inode))
        return -EBADF;
    struct memfs_handle *handle = make_handle(flags);
    if (handle == NULL)
        return -ENFILE;
    int error = 0;
    if ((flags & O_TRUNC) != 0) {
        pthread_rwlock_wrlock(&inode->lock);
        error = open_locked(fs, inode, flags, kill);
        pthread_rwlock_unlock(&inode->lock);
    }
    if (error != 0) {
        free(handle);
        return error;
    }
    *out = (struct oriel_fs_opened){.handle = handle};
    return 0;
}

/* create() met a name that exists: opens it. The parent is locked. */
static int open_existing(struct memfs *fs, struct memfs_inode *inode, uint32_t flags, uint32_t kill,
                         struct oriel_fs_entry *out)
{
    if ((flags & O_EXCL) != 0)
        return -EEXIST;
    if (memfs_is_folder(inode))
        return -EISDIR;
    if (memfs_is_symlink(inode))
        return -ELOOP;
    if (!memfs_is_regular(inode))
        return -EBADF;
    pthread_rwlock_wrlock(&inode->lock);
    int error = open_locked(fs, inode, flags, kill);
    if (error == 0)
        memfs_entry_fill(inode, out);
    pthread_rwlock_unlock(&inode->lock);
    return error;
}

/* The parent is locked for writing. */
static int create_locked(struct memfs *fs, const oriel_fs_caller *caller, struct memfs_inode *parent,
                         const char *name, uint32_t mode, uint32_t flags, uint32_t umask, uint32_t kill,
                         struct oriel_fs_entry *out)
{
    const struct memfs_dirent *entry = memfs_folder_find(&parent->folder, &fs->hash_key, name);
    if (entry != NULL)
        return open_existing(fs, entry->inode, flags, kill, out);
    struct memfs_inode *inode;
    struct memfs_new_inode args = {.mode = S_IFREG | (mode & 07777)};
    int error = memfs_make_named(fs, caller, parent, name, args, umask, &inode);
    if (error != 0)
        return error;
    memfs_entry_fill(inode, out);
    memfs_inode_unref(fs, inode);
    return 0;
}

int memfs_create(void *fs, const oriel_fs_caller *caller, void *opaque, const char *name, uint32_t mode,
                 uint32_t flags, uint32_t umask, uint32_t kill, struct oriel_fs_entry *out,
                 struct oriel_fs_opened *opened)
{
    struct memfs_inode *parent = opaque;
    if (!memfs_is_folder(parent))
        return -ENOTDIR;
    struct memfs_handle *handle = make_handle(flags);
    if (handle == NULL)
        return -ENFILE;
    pthread_rwlock_wrlock(&parent->lock);
    int error = create_locked(fs, caller, parent, name, mode, flags, umask, kill, out);
    pthread_rwlock_unlock(&parent->lock);
    if (error != 0) {
        free(handle);
        return error;
    }
    *opened = (struct oriel_fs_opened){.handle = handle};
    return 0;
}

int memfs_tmpfile(void *fs, const oriel_fs_caller *caller, void *opaque, uint32_t mode, uint32_t flags,
                  uint32_t umask, struct oriel_fs_entry *out, struct oriel_fs_opened *opened)
{
    struct memfs_inode *parent = opaque;
    if (!memfs_is_folder(parent))
        return -ENOTDIR;
    struct memfs_handle *handle = make_handle(flags);
    if (handle == NULL)
        return -ENFILE;
    struct memfs_inode *inode;
    struct memfs_new_inode args = {.mode = S_IFREG | (mode & 07777)};
    pthread_rwlock_rdlock(&parent->lock);
    int error = parent->nlink == 0 ? -ENOENT : memfs_make_child(fs, caller, parent, args, umask, &inode);
    pthread_rwlock_unlock(&parent->lock);
    if (error != 0) {
        free(handle);
        return error;
    }
    inode->linkable = (flags & O_EXCL) == 0;
    memfs_entry_fill(inode, out);
    memfs_inode_unref(fs, inode);
    *opened = (struct oriel_fs_opened){.handle = handle};
    return 0;
}

/* Closing any descriptor of a file ends the closer's record locks (fcntl(2)). */
int memfs_flush(void *fs, void *inode, void *handle, uint64_t lock_owner)
{
    (void)handle;
    memfs_lock_drop_owner(fs, inode, lock_owner, false);
    return 0;
}

void memfs_release(void *fs, void *inode, void *handle, uint64_t lock_owner, bool flock_unlock)
{
    if (flock_unlock && inode != NULL)
        memfs_lock_drop_owner(fs, inode, lock_owner, true);
    if (inode != NULL)
        memfs_lock_drop_handle(fs, inode, handle);
    free(handle);
}

int memfs_fsync(void *fs, void *inode, void *handle, bool datasync)
{
    (void)fs;
    (void)inode;
    (void)handle;
    (void)datasync;
    return 0;
}

/* ---- data ---- */

ssize_t memfs_read(void *fs, void *opaque, void *handle, const struct iovec *iov, int iovcnt, uint64_t offset)
{
    struct memfs_inode *inode = opaque;
    if (!memfs_is_regular(inode))
        return -EBADF;
    pthread_rwlock_rdlock(&inode->lock);
    struct memfs_store store = memfs_store_of(fs, inode);
    ssize_t n = memfs_content_read(&inode->content, &store, iov, iovcnt, offset);
    bool old = memfs_atime_is_old(inode, handle);
    pthread_rwlock_unlock(&inode->lock);
    if (n >= 0 && old)
        memfs_touch_atime(inode);
    return n;
}

static bool may_write(const struct memfs_inode *inode, const struct memfs_handle *handle)
{
    return memfs_is_regular(inode) && (handle == NULL || (handle->flags & O_ACCMODE) != O_RDONLY);
}

ssize_t memfs_write(void *fs, const oriel_fs_caller *caller, void *opaque, void *opaque_handle,
                    const struct iovec *iov, int iovcnt, uint64_t offset, uint32_t flags)
{
    (void)caller;
    struct memfs_inode *inode = opaque;
    const struct memfs_handle *handle = opaque_handle;
    if (!may_write(inode, handle))
        return -EBADF;
    pthread_rwlock_wrlock(&inode->lock);
    if ((flags & ORIEL_FS_APPEND) != 0)
        offset = inode->content.size;
    struct memfs_store store = memfs_store_of(fs, inode);
    ssize_t n = memfs_content_write(&inode->content, &store, iov, iovcnt, offset);
    if (n > 0) {
        if ((flags & ORIEL_FS_KILL_SUIDGID) != 0)
            memfs_inode_kill_privileges(fs, inode);
        stamp_change(inode);
    }
    pthread_rwlock_unlock(&inode->lock);
    return n;
}

/* The inode is locked for writing. */
static int fallocate_locked(struct memfs *fs, struct memfs_inode *inode, uint64_t offset, uint64_t len,
                            uint32_t mode)
{
    struct memfs_store store = memfs_store_of(fs, inode);
    bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    switch (mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE) {
    case 0:
        return memfs_content_allocate(&inode->content, &store, offset, len, keep_size);
    case FALLOC_FL_PUNCH_HOLE:
        return keep_size ? memfs_content_punch(&inode->content, &store, offset, len) : -EOPNOTSUPP;
    case FALLOC_FL_ZERO_RANGE: {
        /* Room first: a failed call must not have emptied anything. */
        int error = memfs_content_allocate(&inode->content, &store, offset, len, keep_size);
        if (error == 0)
            error = memfs_content_punch(&inode->content, &store, offset, len);
        return error == 0 ? memfs_content_allocate(&inode->content, &store, offset, len, keep_size) : error;
    }
    default:
        return -EOPNOTSUPP;
    }
}

int memfs_fallocate(void *fs, void *opaque, void *handle, uint64_t offset, uint64_t len, uint32_t mode)
{
    struct memfs_inode *inode = opaque;
    if (!may_write(inode, handle))
        return -EBADF;
    if (len == 0)
        return -EINVAL;
    pthread_rwlock_wrlock(&inode->lock);
    int error = fallocate_locked(fs, inode, offset, len, mode);
    if (error == 0) {
        /* A client leaves it to us (FUSE_HANDLE_KILLPRIV_V2) and does not say whether the caller might keep them. */
        memfs_inode_kill_privileges(fs, inode);
        stamp_change(inode);
    }
    pthread_rwlock_unlock(&inode->lock);
    return error;
}

int64_t memfs_lseek(void *fs, void *opaque, void *handle, uint64_t offset, uint32_t whence)
{
    (void)fs;
    (void)handle;
    struct memfs_inode *inode = opaque;
    if (!memfs_is_regular(inode))
        return -EBADF;
    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -EINVAL;
    pthread_rwlock_rdlock(&inode->lock);
    int64_t found = memfs_content_seek(&inode->content, offset, (int)whence);
    pthread_rwlock_unlock(&inode->lock);
    return found;
}

static void lock_two(struct memfs_inode *a, struct memfs_inode *b)
{
    pthread_rwlock_wrlock(a < b ? &a->lock : &b->lock);
    if (a != b)
        pthread_rwlock_wrlock(a < b ? &b->lock : &a->lock);
}

static void unlock_two(struct memfs_inode *a, struct memfs_inode *b)
{
    pthread_rwlock_unlock(&a->lock);
    if (a != b)
        pthread_rwlock_unlock(&b->lock);
}

ssize_t memfs_copy_file_range(void *fs, void *in_inode, void *in_handle, uint64_t in_offset, void *out_inode,
                              void *out_handle, uint64_t out_offset, uint64_t len, uint32_t flags)
{
    (void)in_handle;
    struct memfs_inode *in = in_inode;
    struct memfs_inode *out = out_inode;
    if (flags != 0)
        return -EINVAL;
    if (!memfs_is_regular(in) || !may_write(out, out_handle))
        return -EBADF;
    lock_two(in, out);
    /* What is there to copy decides about an overlap, not what was asked for (copy_file_range(2)). */
    uint64_t there = in->content.size - min_u64(in->content.size, in_offset);
    len = min_u64(min_u64(len, there), COPY_MAX);
    ssize_t n = -EINVAL;
    if (in != out || !ranges_overlap(in_offset, len, out_offset, len)) {
        struct memfs_store store = memfs_store_of(fs, out);
        n = memfs_content_copy(&in->content, in_offset, &out->content, &store, out_offset, len);
    }
    if (n > 0) {
        memfs_inode_kill_privileges(fs, out); /* as fallocate */
        stamp_change(out);
    }
    unlock_two(in, out);
    return n;
}

int memfs_map_open(void *fs, void *opaque, bool need_write, bool *writable)
{
    (void)need_write; /* a RAM file can always be written */
    struct memfs_inode *inode = opaque;
    if (!memfs_is_regular(inode))
        return -EINVAL;
    *writable = true;
    pthread_rwlock_wrlock(&inode->lock);
    struct memfs_store store = memfs_store_of(fs, inode);
    int result = memfs_content_own(&inode->content, &store);
    if (result == 0) {
        result = fcntl(inode->content.fd, F_DUPFD_CLOEXEC, 0);
        result = result < 0 ? -ENFILE : result;
    }
    pthread_rwlock_unlock(&inode->lock);
    return result;
}
