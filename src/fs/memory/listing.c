#include "fs/memory/listing.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

int memfs_opendir(void *fs, const oriel_fs_caller *caller, void *opaque, uint32_t flags,
                  struct oriel_fs_opened *out)
{
    (void)fs;
    (void)caller;
    struct memfs_inode *inode = opaque;
    if (!memfs_is_folder(inode))
        return -ENOTDIR;
    struct memfs_handle *handle = calloc(1, sizeof(*handle));
    if (handle == NULL)
        return -ENFILE;
    handle->flags = flags;
    pthread_rwlock_rdlock(&inode->lock);
    atomic_init(&handle->end_cookie, inode->folder.next_cookie);
    pthread_rwlock_unlock(&inode->lock);
    *out = (struct oriel_fs_opened){.handle = handle};
    return 0;
}

static bool emit_dots(const struct memfs_inode *inode, uint64_t offset, oriel_fs_emit_fn emit, void *arg)
{
    struct oriel_fs_dirent self = {".", 1, inode->ino, MEMFS_COOKIE_SELF, DT_DIR};
    struct oriel_fs_dirent parent = {"..", 2, inode->parent->ino, MEMFS_COOKIE_PARENT, DT_DIR};
    return (offset >= MEMFS_COOKIE_SELF || emit(arg, &self)) &&
           (offset >= MEMFS_COOKIE_PARENT || emit(arg, &parent));
}

/* The folder is locked. */
static void emit_entries(const struct memfs_inode *inode, uint64_t offset, uint64_t end,
                         oriel_fs_emit_fn emit, void *arg)
{
    if (inode->nlink == 0 || !emit_dots(inode, offset, emit, arg))
        return;
    uint32_t position = 0;
    uint64_t cookie = offset;
    const struct memfs_dirent *entry;
    while ((entry = memfs_folder_next(&inode->folder, cookie, &position, &cookie)) != NULL && cookie < end) {
        struct oriel_fs_dirent out = {entry->name, entry->name_len, entry->inode->ino, cookie, entry->type};
        if (!emit(arg, &out))
            return;
    }
}

/*
 * A scan ends at the entries that were made after it began (with the call at offset 0): else a program that
 * renames each file it reads would never come to an end.
 */
int memfs_readdir(void *fs, void *opaque, void *opaque_handle, uint64_t offset, oriel_fs_emit_fn emit,
                  void *arg)
{
    (void)fs;
    struct memfs_inode *inode = opaque;
    struct memfs_handle *handle = opaque_handle;
    if (!memfs_is_folder(inode))
        return -ENOTDIR;
    pthread_rwlock_rdlock(&inode->lock);
    if (handle != NULL && offset == 0)
        atomic_store_explicit(&handle->end_cookie, inode->folder.next_cookie, memory_order_relaxed);
    uint64_t end =
        handle == NULL ? UINT64_MAX : atomic_load_explicit(&handle->end_cookie, memory_order_relaxed);
    emit_entries(inode, offset, end, emit, arg);
    bool old = memfs_atime_is_old(inode, handle);
    pthread_rwlock_unlock(&inode->lock);
    if (old)
        memfs_touch_atime(inode);
    return 0;
}

int memfs_fsyncdir(void *fs, void *inode, void *handle, bool datasync)
{
    (void)fs;
    (void)inode;
    (void)handle;
    (void)datasync;
    return 0;
}

void memfs_releasedir(void *fs, void *inode, void *handle)
{
    (void)fs;
    (void)inode;
    free(handle);
}

int memfs_syncfs(void *fs, void *inode)
{
    (void)fs;
    (void)inode;
    return 0;
}
