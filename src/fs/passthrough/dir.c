/*
 * Folders: opendir, readdir, releasedir.
 *
 * The cookie of an entry is the kernel's d_off. A handle keeps what the last getdents64 gave beyond what the
 * reply had room for, so that a listing costs one system call per buffer and not one per reply. When the
 * descriptor budget is used up, a folder is opened for each call instead of once: listing always works.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/passthrough/beneath.h"
#include "fs/passthrough/handle.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/listing.h"
#include "fs/passthrough/operations.h"
#include "fs/passthrough/rights.h"

#define BUFFER_SIZE  (32 * 1024)
#define BUFFERS_KEPT 256 /* of all handles together; the others ask the kernel anew in each call */

struct kernel_dirent {
    uint64_t ino;
    int64_t next;
    uint16_t record_len;
    uint8_t type;
    char name[];
};

struct pt_listing {
    pthread_mutex_t lock;
    uint64_t at; /* cookie of the entry at `used`; where the descriptor's next getdents64 goes on when
                    used == filled */
    uint32_t used, filled;
    bool fresh;   /* the descriptor is where it was opened: at the start */
    char *buffer; /* NULL = not kept */
};

struct pt_listing *listing_new(void)
{
    struct pt_listing *listing = calloc(1, sizeof(*listing));
    if (listing == NULL)
        return NULL;
    pthread_mutex_init(&listing->lock, NULL);
    listing->fresh = true;
    return listing;
}

void listing_free(struct passthrough *pt, struct pt_listing *listing)
{
    if (listing == NULL)
        return;
    if (listing->buffer != NULL)
        atomic_fetch_sub_explicit(&pt->listings, 1, memory_order_relaxed);
    free(listing->buffer);
    pthread_mutex_destroy(&listing->lock);
    free(listing);
}

static int open_folder(struct passthrough *pt, struct pt_inode *inode, const oriel_fs_caller *caller)
{
    cleanup_fd_ref struct fd_ref ref = {.kind = FD_REF_NONE};
    bool as_process = !pt->options.enforce_credentials || caller == NULL;
    bool at_hand = inode_fd_at_hand(pt, inode, &ref);
    bool direct = !at_hand && as_process && inode->handle_bytes > 0;
    int err = at_hand || direct ? 0 : folder_fd(pt, inode, &ref);
    struct passthrough *scope cleanup_rights = pt;
    if (err == 0)
        err = rights_begin(pt, caller, CREDS_ANY);
    if (err != 0)
        return err;
    if (direct)
        return inode_open_checked(pt, inode, O_RDONLY | O_DIRECTORY);
    int fd = openat(ref.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        fd = -errno;
    /* "." is searched for, and a folder that one may only list is no less open to list. */
    if (fd == -EACCES)
        fd = reopen_fd(pt, ref.fd, O_RDONLY | O_DIRECTORY);
    return fd == -EMFILE ? -ENFILE : fd;
}

/* With a descriptor of the budget: -ENFILE. */
static int open_to_keep(struct passthrough *pt, struct pt_inode *inode, const oriel_fs_caller *caller)
{
    int err = descriptor_take(pt);
    if (err != 0)
        return err;
    int fd = open_folder(pt, inode, caller);
    if (fd < 0)
        budget_put(&pt->budget);
    return fd;
}

static int open_for_one_call(struct passthrough *pt, struct pt_inode *inode, const oriel_fs_caller *caller)
{
    budget_take_over_limit(&pt->budget);
    int fd = open_folder(pt, inode, caller);
    budget_put(&pt->budget);
    return fd;
}

/* Without a descriptor each call opens the folder with the rights of the process, so the caller's are asked here. */
static int may_list(struct passthrough *pt, struct pt_inode *inode, const oriel_fs_caller *caller)
{
    if (!pt->options.enforce_credentials)
        return 0;
    cleanup_fd int fd = open_for_one_call(pt, inode, caller);
    return fd < 0 ? fd : 0;
}

int pt_opendir(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags,
               struct oriel_fs_opened *out)
{
    (void)flags;
    struct passthrough *pt = fs;
    if (!inode_is(inode, S_IFDIR))
        return -ENOTDIR;
    struct pt_handle *handle = handle_new(-1, false);
    if (handle == NULL)
        return -ENOMEM;
    handle->listing = listing_new();
    if (handle->listing == NULL) {
        handle_release(pt, handle);
        return -ENOMEM;
    }
    int fd = open_to_keep(pt, inode, caller);
    int err = fd == -ENFILE ? may_list(pt, inode, caller) : fd < 0 ? fd : 0;
    if (err != 0) {
        handle_release(pt, handle);
        return err;
    }
    handle->fd = fd < 0 ? -1 : fd;
    handle_attach(pt, handle, inode);
    *out = (struct oriel_fs_opened){.handle = handle};
    return 0;
}

void pt_releasedir(void *fs, void *inode, void *handle)
{
    (void)inode;
    handle_release(fs, handle);
}

static bool is_dot_dot(const struct kernel_dirent *record)
{
    return record->name[0] == '.' && record->name[1] == '.' && record->name[2] == '\0';
}

/* Some file systems leave the type to stat(2). */
static uint32_t type_by_stat(int fd, const char *name)
{
    struct statx stx;
    if (identity_statx(fd, name, &stx) != 0)
        return 0;
    return (uint32_t)(stx.stx_mode & S_IFMT) >> 12; /* DT_* are the S_IFMT numbers */
}

static bool emit_record(struct passthrough *pt, const struct pt_inode *inode, int fd,
                        const struct kernel_dirent *record, oriel_fs_emit_fn emit, void *arg)
{
    struct oriel_fs_dirent entry = {
        .name = record->name,
        .name_len = strlen(record->name),
        .ino = record->ino,
        .next = (uint64_t)record->next,
        .type = record->type,
    };
    /* What lies above the shared folder is nobody's business. */
    if (inode == pt->root && is_dot_dot(record))
        entry.ino = pt->root->ino;
    if (entry.type == 0)
        entry.type = type_by_stat(fd, record->name);
    return emit(arg, &entry);
}

/* Places the descriptor where the cookie says. A forged cookie is the file system's to refuse or to take as
 * the place nearest to it. */
static int seek_to(int fd, uint64_t offset)
{
    return lseek(fd, (off_t)offset, SEEK_SET) >= 0 ? 0 : -errno;
}

/* Emits what buffer has from `used`. True: all of it. */
static bool emit_buffered(struct passthrough *pt, const struct pt_inode *inode, int fd, char *buffer,
                          struct pt_listing *at, oriel_fs_emit_fn emit, void *arg)
{
    while (at->used < at->filled) {
        const struct kernel_dirent *record = (const void *)(buffer + at->used);
        if (!emit_record(pt, inode, fd, record, emit, arg))
            return false;
        at->used += record->record_len;
        at->at = (uint64_t)record->next;
    }
    return true;
}

static int list_from(struct passthrough *pt, const struct pt_inode *inode, int fd, uint64_t offset,
                     char *buffer, struct pt_listing *at, oriel_fs_emit_fn emit, void *arg)
{
    if ((offset == 0 && !at->fresh) || offset != at->at) {
        at->used = at->filled = 0;
        at->at = UINT64_MAX; /* whatever was in the buffer has to be sought again */
        int err = seek_to(fd, offset);
        if (err != 0)
            return err;
        at->at = offset;
    }
    at->fresh = false;
    while (emit_buffered(pt, inode, fd, buffer, at, emit, arg)) {
        at->used = at->filled = 0;
        long n = syscall(SYS_getdents64, fd, buffer, BUFFER_SIZE);
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        at->filled = (uint32_t)n;
    }
    return 0;
}

/* The handle's own buffer, if it may have one. */
static char *kept_buffer(struct passthrough *pt, struct pt_listing *listing)
{
    if (listing->buffer != NULL)
        return listing->buffer;
    if (atomic_fetch_add_explicit(&pt->listings, 1, memory_order_relaxed) < BUFFERS_KEPT)
        listing->buffer = malloc(BUFFER_SIZE);
    if (listing->buffer == NULL)
        atomic_fetch_sub_explicit(&pt->listings, 1, memory_order_relaxed);
    return listing->buffer;
}

static int list_unbuffered(struct passthrough *pt, const struct pt_inode *inode, int fd, uint64_t offset,
                           oriel_fs_emit_fn emit, void *arg)
{
    alignas(struct kernel_dirent) char buffer[BUFFER_SIZE];
    struct pt_listing at = {.at = UINT64_MAX};
    return list_from(pt, inode, fd, offset, buffer, &at, emit, arg);
}

static int list_handle(struct passthrough *pt, const struct pt_inode *inode, const struct pt_handle *handle,
                       uint64_t offset, oriel_fs_emit_fn emit, void *arg)
{
    struct pt_listing *listing = handle->listing;
    int err;
    pthread_mutex_lock(&listing->lock);
    char *buffer = kept_buffer(pt, listing);
    if (buffer != NULL) {
        err = list_from(pt, inode, handle->fd, offset, buffer, listing, emit, arg);
    } else {
        listing->fresh = false;
        err = list_unbuffered(pt, inode, handle->fd, offset, emit, arg);
    }
    pthread_mutex_unlock(&listing->lock);
    return err;
}

int pt_readdir(void *fs, void *inode, void *handle, uint64_t offset, oriel_fs_emit_fn emit, void *arg)
{
    struct passthrough *pt = fs;
    const struct pt_handle *folder = handle;
    if (folder->fd >= 0)
        return list_handle(pt, inode, folder, offset, emit, arg);
    cleanup_fd int fd = open_for_one_call(pt, inode, NULL);
    return fd < 0 ? fd : list_unbuffered(pt, inode, fd, offset, emit, arg);
}

int pt_fsyncdir(void *fs, void *inode, void *handle, bool datasync)
{
    return pt_fsync(fs, inode, handle, datasync);
}

int pt_syncfs(void *fs, void *inode)
{
    struct passthrough *pt = fs;
    struct pt_inode *any = inode;
    if (any->mount->fd >= 0)
        return syncfs(any->mount->fd) == 0 ? 0 : -errno;
    if (!inode_is(any, S_IFDIR) && !inode_is(any, S_IFREG))
        any = pt->root;
    cleanup_fd int fd = open_for_call(pt, any, O_RDONLY);
    if (fd < 0)
        return fd;
    return syncfs(fd) == 0 ? 0 : -errno;
}
