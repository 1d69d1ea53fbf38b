#include "fake_fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_XATTRS 8

struct fake_xattr {
    char name[256];
    char *value;
    size_t len;
};

struct fake_name {
    char name[256];
    struct fake_inode *inode;
    uint64_t cookie;
    struct fake_name *next;
};

struct fake_inode {
    struct fake_inode *all; /* every inode, for freeing */
    struct fake_inode *parent;
    struct oriel_fs_attr attr;
    struct fake_name *names; /* of a folder, in order of cookies */
    char *target;
    int memfd;
    struct fake_xattr xattrs[MAX_XATTRS];
    uint64_t lock_owner; /* one lock a file is enough here */
    uint32_t lock_type;
    uint32_t flags;
};

struct fake_handle {
    struct fake_inode *inode;
    bool folder;
};

struct fake_fs {
    struct oriel_fs_ops ops;
    pthread_mutex_t lock;
    struct fake_inode *all, *root;
    uint64_t next_ino, next_cookie;
    _Atomic unsigned calls[FAKE_OP_COUNT];
    _Atomic int fail_error[FAKE_OP_COUNT], fail_count[FAKE_OP_COUNT];
    _Atomic int inodes, handles, holds;
    struct fake_seen seen;
    bool quiet, claims_reads;
    struct fake_account *account;
    void (*read_hook)(void *);
    void *read_hook_arg;
};

/* Counts the call; the errno it shall fail with, or 0. */
static int called(struct fake_fs *fake, enum fake_op op)
{
    atomic_fetch_add(&fake->calls[op], 1);
    int left = atomic_load(&fake->fail_count[op]);
    if (left == 0)
        return 0;
    if (left > 0)
        atomic_fetch_sub(&fake->fail_count[op], 1);
    return atomic_load(&fake->fail_error[op]);
}

static void lock(struct fake_fs *fake)
{
    pthread_mutex_lock(&fake->lock);
}

static int unlock(struct fake_fs *fake, int rc)
{
    pthread_mutex_unlock(&fake->lock);
    return rc;
}

/* Where the call's arguments are noted; threads that run against each other each note for themselves. */
static struct fake_seen *seen_by(struct fake_fs *fake)
{
    static _Thread_local struct fake_seen unseen;
    return fake->quiet ? &unseen : &fake->seen;
}

static struct fake_seen *see_caller(struct fake_fs *fake, const oriel_fs_caller *caller)
{
    struct fake_seen *seen = seen_by(fake);
    *seen = (struct fake_seen){.uid = caller->uid, .gid = caller->gid, .pid = caller->pid};
    seen->group_count = caller->group_count;
    for (size_t i = 0; i < caller->group_count; i++)
        seen->groups[i] = caller->groups[i];
    if (caller->security_name != NULL) {
        snprintf(seen->security_name, sizeof(seen->security_name), "%s", caller->security_name);
        seen->security_len = caller->security_len;
        if (caller->security_len <= sizeof(seen->security_value))
            memcpy(seen->security_value, caller->security_value, caller->security_len);
    }
    return seen;
}

/* ---- the tree; under the lock ---- */

static struct fake_inode *new_inode(struct fake_fs *fake, uint32_t mode)
{
    struct fake_inode *inode = calloc(1, sizeof(*inode));
    assert(inode != NULL);
    inode->attr.ino = ++fake->next_ino;
    inode->attr.mode = mode;
    inode->attr.blksize = 4096;
    inode->lock_type = F_UNLCK;
    inode->attr.has_btime = true;
    inode->attr.btime.sec = 1234;
    inode->memfd = S_ISREG(mode) ? memfd_create("fake", MFD_CLOEXEC) : -1;
    inode->all = fake->all;
    fake->all = inode;
    return inode;
}

static struct fake_name **find_name(struct fake_inode *folder, const char *name)
{
    struct fake_name **link = &folder->names;
    while (*link != NULL && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

static struct fake_inode *must_find(struct fake_inode *folder, const char *name)
{
    struct fake_name *found = *find_name(folder, name);
    if (found == NULL)
        abort();
    return found->inode;
}

static void add_name(struct fake_fs *fake, struct fake_inode *folder, const char *name,
                     struct fake_inode *inode)
{
    struct fake_name *n = calloc(1, sizeof(*n)), **link = &folder->names;
    assert(n != NULL);
    snprintf(n->name, sizeof(n->name), "%s", name);
    n->inode = inode;
    n->cookie = ++fake->next_cookie;
    while (*link != NULL)
        link = &(*link)->next;
    *link = n;
    inode->attr.nlink++;
    inode->parent = folder;
}

static void remove_name(struct fake_name **link)
{
    struct fake_name *n = *link;
    if (n == NULL)
        return;
    *link = n->next;
    n->inode->attr.nlink--;
    free(n);
}

static void fill_attr(const struct fake_inode *inode, struct oriel_fs_attr *out)
{
    struct stat st;
    *out = inode->attr;
    if (inode->memfd >= 0 && fstat(inode->memfd, &st) == 0)
        out->size = (uint64_t)st.st_size;
}

static int fill_entry(struct fake_fs *fake, struct fake_inode *inode, struct oriel_fs_entry *out)
{
    out->identity = (struct oriel_fs_identity){.mount = 1, .dev = 2, .ino = inode->attr.ino};
    fill_attr(inode, &out->attr);
    out->hold = (intptr_t)inode;
    atomic_fetch_add(&fake->holds, 1);
    return 0;
}

/* ---- identity ---- */

static int fake_root(void *fs, struct oriel_fs_entry *out, void **inode)
{
    struct fake_fs *fake = fs;
    fill_entry(fake, fake->root, out);
    atomic_fetch_sub(&fake->holds, 1);
    atomic_fetch_add(&fake->inodes, 1);
    *inode = fake->root;
    return 0;
}

static int fake_lookup(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                       struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    int rc = called(fake, FAKE_LOOKUP);
    if (rc != 0)
        return rc;
    lock(fake);
    struct fake_inode *folder = parent;
    if (!S_ISDIR(folder->attr.mode))
        return unlock(fake, -ENOTDIR);
    struct fake_name *n = *find_name(folder, name);
    return unlock(fake, n == NULL ? -ENOENT : fill_entry(fake, n->inode, out));
}

static int fake_lookup_parent(void *fs, const oriel_fs_caller *caller, void *inode,
                              struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    (void)caller;
    int rc = called(fake, FAKE_LOOKUP_PARENT);
    if (rc != 0)
        return rc;
    struct fake_inode *i = inode;
    lock(fake);
    return unlock(fake, S_ISDIR(i->attr.mode) ? fill_entry(fake, i->parent, out) : -ENOTDIR);
}

static int fake_inode_open(void *fs, void *parent, const char *name, struct oriel_fs_entry *entry,
                           void **inode)
{
    struct fake_fs *fake = fs;
    (void)parent;
    (void)name;
    atomic_fetch_sub(&fake->holds, 1);
    int rc = called(fake, FAKE_INODE_OPEN);
    if (rc != 0)
        return rc;
    atomic_fetch_add(&fake->inodes, 1);
    *inode = (void *)entry->hold;
    return 0;
}

static void fake_entry_drop(void *fs, struct oriel_fs_entry *entry)
{
    struct fake_fs *fake = fs;
    (void)entry;
    (void)called(fake, FAKE_ENTRY_DROP);
    atomic_fetch_sub(&fake->holds, 1);
}

static void fake_inode_close(void *fs, void *inode)
{
    struct fake_fs *fake = fs;
    (void)inode;
    (void)called(fake, FAKE_INODE_CLOSE);
    atomic_fetch_sub(&fake->inodes, 1);
}

/* ---- attributes ---- */

static int fake_getattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                        struct oriel_fs_attr *out)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    int rc = called(fake, FAKE_GETATTR);
    if (rc != 0)
        return rc;
    lock(fake);
    seen_by(fake)->with_handle = handle != NULL;
    fill_attr(inode, out);
    return unlock(fake, 0);
}

static int fake_setattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                        const struct oriel_fs_attr *attr, uint32_t set, struct oriel_fs_attr *out)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    int rc = called(fake, FAKE_SETATTR);
    if (rc != 0)
        return rc;
    struct fake_inode *i = inode;
    lock(fake);
    seen_by(fake)->with_handle = handle != NULL;
    seen_by(fake)->attr = *attr;
    seen_by(fake)->set = set;
    if ((set & ORIEL_FS_SET_MODE) != 0)
        i->attr.mode = (i->attr.mode & S_IFMT) | attr->mode;
    if ((set & ORIEL_FS_SET_SIZE) != 0 && ftruncate(i->memfd, (off_t)attr->size) != 0)
        rc = -errno;
    fill_attr(i, out);
    return unlock(fake, rc);
}

static int fake_access(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t mask)
{
    struct fake_fs *fake = fs;
    (void)inode;
    (void)mask;
    see_caller(fake, caller);
    return called(fake, FAKE_ACCESS);
}

static int fake_statfs(void *fs, void *inode, struct oriel_fs_statfs *out)
{
    struct fake_fs *fake = fs;
    (void)inode;
    *out =
        (struct oriel_fs_statfs){.blocks = 1000, .bfree = 500, .bsize = 4096, .frsize = 4096, .namelen = 255};
    return called(fake, FAKE_STATFS);
}

static ssize_t fake_readlink(void *fs, const oriel_fs_caller *caller, void *inode, char *target, size_t size)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    (void)caller;
    int rc = called(fake, FAKE_READLINK);
    if (rc != 0)
        return rc;
    if (i->target == NULL)
        return -EINVAL;
    size_t len = strlen(i->target) < size ? strlen(i->target) : size;
    memcpy(target, i->target, len);
    return (ssize_t)len;
}

/* ---- names ---- */

static int make(struct fake_fs *fake, void *parent, const char *name, uint32_t mode, const char *target,
                struct oriel_fs_entry *out)
{
    lock(fake);
    if (*find_name(parent, name) != NULL)
        return unlock(fake, -EEXIST);
    struct fake_inode *inode = new_inode(fake, mode);
    inode->target = target == NULL ? NULL : strdup(target);
    add_name(fake, parent, name, inode);
    return unlock(fake, fill_entry(fake, inode, out));
}

static int fake_mknod(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                      uint32_t rdev, uint32_t umask, struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    seen_by(fake)->rdev = rdev;
    seen_by(fake)->mode = mode;
    seen_by(fake)->umask = umask;
    int rc = called(fake, FAKE_MKNOD);
    return rc != 0 ? rc : make(fake, parent, name, mode & ~umask, NULL, out);
}

static int fake_mkdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                      uint32_t umask, struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    seen_by(fake)->mode = mode;
    seen_by(fake)->umask = umask;
    int rc = called(fake, FAKE_MKDIR);
    return rc != 0 ? rc : make(fake, parent, name, S_IFDIR | (mode & ~umask), NULL, out);
}

static int fake_symlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                        const char *target, struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    int rc = called(fake, FAKE_SYMLINK);
    return rc != 0 ? rc : make(fake, parent, name, S_IFLNK | 0777, target, out);
}

static int fake_link(void *fs, const oriel_fs_caller *caller, void *inode, void *new_parent,
                     const char *new_name, struct oriel_fs_entry *out)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    int rc = called(fake, FAKE_LINK);
    if (rc != 0)
        return rc;
    lock(fake);
    if (*find_name(new_parent, new_name) != NULL)
        return unlock(fake, -EEXIST);
    add_name(fake, new_parent, new_name, inode);
    return unlock(fake, fill_entry(fake, inode, out));
}

static int drop_name(struct fake_fs *fake, void *parent, const char *name, bool folder)
{
    lock(fake);
    struct fake_name **link = find_name(parent, name);
    if (*link == NULL)
        return unlock(fake, -ENOENT);
    if (S_ISDIR((*link)->inode->attr.mode) != folder)
        return unlock(fake, folder ? -ENOTDIR : -EISDIR);
    if (folder && (*link)->inode->names != NULL)
        return unlock(fake, -ENOTEMPTY);
    remove_name(link);
    return unlock(fake, 0);
}

static int fake_unlink(void *fs, const oriel_fs_caller *caller, void *parent, const char *name)
{
    see_caller(fs, caller);
    int rc = called(fs, FAKE_UNLINK);
    return rc != 0 ? rc : drop_name(fs, parent, name, false);
}

static int fake_rmdir(void *fs, const oriel_fs_caller *caller, void *parent, const char *name)
{
    see_caller(fs, caller);
    int rc = called(fs, FAKE_RMDIR);
    return rc != 0 ? rc : drop_name(fs, parent, name, true);
}

static int fake_rename(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                       void *new_parent, const char *new_name, uint32_t flags)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    seen_by(fake)->flags = flags;
    int rc = called(fake, FAKE_RENAME);
    if (rc != 0)
        return rc;
    lock(fake);
    struct fake_name **from = find_name(parent, name), **to = find_name(new_parent, new_name);
    if (*from == NULL)
        return unlock(fake, -ENOENT);
    if (*to != NULL && (flags & RENAME_NOREPLACE) != 0)
        return unlock(fake, -EEXIST);
    struct fake_inode *inode = (*from)->inode;
    if (*to != NULL)
        remove_name(to);
    remove_name(find_name(parent, name));
    add_name(fake, new_parent, new_name, inode);
    return unlock(fake, 0);
}

/* ---- files ---- */

static struct fake_handle *new_handle(struct fake_fs *fake, struct fake_inode *inode, bool folder)
{
    struct fake_handle *handle = calloc(1, sizeof(*handle));
    assert(handle != NULL);
    handle->inode = inode;
    handle->folder = folder;
    atomic_fetch_add(&fake->handles, 1);
    return handle;
}

static void check_handle(void *inode, void *handle, bool folder)
{
    struct fake_handle *h = handle;
    assert(h->inode == inode && h->folder == folder);
    (void)inode;
    (void)folder;
    (void)h;
}

static int fake_open(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags, uint32_t kill,
                     struct oriel_fs_opened *out)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    see_caller(fake, caller);
    seen_by(fake)->flags = flags;
    seen_by(fake)->kill = kill;
    int rc = called(fake, FAKE_OPEN);
    if (rc != 0)
        return rc;
    if (!S_ISREG(i->attr.mode))
        return -EBADF;
    out->handle = new_handle(fake, inode, false);
    return 0;
}

static int open_existing(struct fake_fs *fake, void *parent, const char *name, struct oriel_fs_entry *out)
{
    lock(fake);
    struct fake_inode *inode = must_find(parent, name);
    return unlock(fake, S_ISREG(inode->attr.mode) ? fill_entry(fake, inode, out) : -EBADF);
}

static int fake_create(void *fs, const oriel_fs_caller *caller, void *parent, const char *name, uint32_t mode,
                       uint32_t flags, uint32_t umask, uint32_t kill, struct oriel_fs_entry *out,
                       struct oriel_fs_opened *opened)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    seen_by(fake)->flags = flags;
    seen_by(fake)->mode = mode;
    seen_by(fake)->umask = umask;
    seen_by(fake)->kill = kill;
    int rc = called(fake, FAKE_CREATE);
    if (rc == 0)
        rc = make(fake, parent, name, S_IFREG | (mode & ~umask), NULL, out);
    if (rc == -EEXIST && (flags & O_EXCL) == 0)
        rc = open_existing(fake, parent, name, out);
    else
        out->made = rc == 0;
    if (rc == 0)
        opened->handle = new_handle(fake, (struct fake_inode *)out->hold, false);
    return rc;
}

static int fake_tmpfile(void *fs, const oriel_fs_caller *caller, void *parent, uint32_t mode, uint32_t flags,
                        uint32_t umask, struct oriel_fs_entry *out, struct oriel_fs_opened *opened)
{
    struct fake_fs *fake = fs;
    (void)parent;
    see_caller(fake, caller);
    seen_by(fake)->flags = flags;
    seen_by(fake)->mode = mode;
    int rc = called(fake, FAKE_TMPFILE);
    if (rc != 0)
        return rc;
    lock(fake);
    struct fake_inode *inode = new_inode(fake, S_IFREG | (mode & ~umask));
    fill_entry(fake, inode, out);
    unlock(fake, 0);
    opened->handle = new_handle(fake, inode, false);
    return 0;
}

static ssize_t claim(const struct iovec *iov, int iovcnt)
{
    ssize_t n = 0;
    for (int i = 0; i < iovcnt; i++)
        n += (ssize_t)iov[i].iov_len;
    return n;
}

static ssize_t fake_read(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt,
                         uint64_t offset)
{
    struct fake_fs *fake = fs;
    check_handle(inode, handle, false);
    if (fake->read_hook != NULL)
        fake->read_hook(fake->read_hook_arg);
    int rc = called(fake, FAKE_READ);
    if (rc != 0)
        return rc;
    if (fake->claims_reads)
        return claim(iov, iovcnt);
    ssize_t n = preadv(((struct fake_inode *)inode)->memfd, iov, iovcnt, (off_t)offset);
    return n < 0 ? -errno : n;
}

static ssize_t fake_read_nowait(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt,
                                uint64_t offset)
{
    int rc = called(fs, FAKE_READ_NOWAIT);
    return rc != 0 ? rc : fake_read(fs, inode, handle, iov, iovcnt, offset);
}

static ssize_t fake_write(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                          const struct iovec *iov, int iovcnt, uint64_t offset, uint32_t kill)
{
    struct fake_fs *fake = fs;
    check_handle(inode, handle, false);
    see_caller(fake, caller);
    lock(fake);
    seen_by(fake)->kill = kill;
    seen_by(fake)->offset = offset;
    unlock(fake, 0);
    int rc = called(fake, FAKE_WRITE);
    if (rc != 0)
        return rc;
    int fd = ((struct fake_inode *)inode)->memfd;
    ssize_t n = pwritev2(fd, iov, iovcnt, (off_t)offset, (kill & ORIEL_FS_APPEND) != 0 ? RWF_APPEND : 0);
    return n < 0 ? -errno : n;
}

static int fake_flush(void *fs, void *inode, void *handle, uint64_t lock_owner)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    check_handle(inode, handle, false);
    int rc = called(fake, FAKE_FLUSH);
    lock(fake);
    if (i->lock_owner == lock_owner)
        i->lock_type = F_UNLCK;
    seen_by(fake)->lock_owner = lock_owner;
    return unlock(fake, rc);
}

static int fake_fsync(void *fs, void *inode, void *handle, bool datasync)
{
    (void)datasync;
    check_handle(inode, handle, false);
    return called(fs, FAKE_FSYNC);
}

static void fake_release(void *fs, void *inode, void *handle, uint64_t lock_owner, bool flock_unlock)
{
    struct fake_fs *fake = fs;
    if (inode != NULL)
        check_handle(inode, handle, false);
    (void)called(fake, FAKE_RELEASE);
    lock(fake);
    seen_by(fake)->lock_owner = lock_owner;
    seen_by(fake)->flock_unlock = flock_unlock;
    seen_by(fake)->with_inode = inode != NULL;
    unlock(fake, 0);
    atomic_fetch_sub(&fake->handles, 1);
    free(handle);
}

static int fake_fallocate(void *fs, void *inode, void *handle, uint64_t offset, uint64_t len, uint32_t mode)
{
    (void)mode;
    check_handle(inode, handle, false);
    int rc = called(fs, FAKE_FALLOCATE);
    if (rc != 0)
        return rc;
    return ftruncate(((struct fake_inode *)inode)->memfd, (off_t)(offset + len)) == 0 ? 0 : -errno;
}

static int64_t fake_lseek(void *fs, void *inode, void *handle, uint64_t offset, uint32_t whence)
{
    check_handle(inode, handle, false);
    int rc = called(fs, FAKE_LSEEK);
    if (rc != 0)
        return rc;
    off_t at = lseek(((struct fake_inode *)inode)->memfd, (off_t)offset, (int)whence);
    return at < 0 ? -errno : at;
}

static ssize_t fake_copy(void *fs, void *in_inode, void *in_handle, uint64_t in_offset, void *out_inode,
                         void *out_handle, uint64_t out_offset, uint64_t len, uint32_t flags)
{
    struct fake_fs *fake = fs;
    (void)flags;
    check_handle(in_inode, in_handle, false);
    check_handle(out_inode, out_handle, false);
    int rc = called(fake, FAKE_COPY);
    if (rc != 0)
        return rc;
    seen_by(fake)->len = len;
    char data[4096];
    struct fake_inode *from = in_inode, *to = out_inode;
    ssize_t n = pread(from->memfd, data, len < sizeof(data) ? len : sizeof(data), (off_t)in_offset);
    return n < 0 ? -errno : pwrite(to->memfd, data, (size_t)n, (off_t)out_offset);
}

static int fake_map_open(void *fs, void *inode, bool need_write, bool *writable)
{
    struct fake_inode *i = inode;
    (void)need_write;
    int rc = called(fs, FAKE_MAP_OPEN);
    if (rc != 0)
        return rc;
    if (i->memfd < 0)
        return -EINVAL;
    *writable = true;
    return fcntl(i->memfd, F_DUPFD_CLOEXEC, 0);
}

/* ---- folders ---- */

static int fake_opendir(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags,
                        struct oriel_fs_opened *out)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    see_caller(fake, caller);
    seen_by(fake)->flags = flags;
    int rc = called(fake, FAKE_OPENDIR);
    if (rc != 0)
        return rc;
    if (!S_ISDIR(i->attr.mode))
        return -ENOTDIR;
    out->handle = new_handle(fake, inode, true);
    return 0;
}

static bool emit_one(const char *name, const struct fake_inode *inode, uint64_t next, oriel_fs_emit_fn emit,
                     void *arg)
{
    struct oriel_fs_dirent entry = {.name = name,
                                    .name_len = strlen(name),
                                    .ino = inode->attr.ino,
                                    .next = next,
                                    .type = (inode->attr.mode & S_IFMT) >> 12};
    return emit(arg, &entry);
}

/* Cookies 1 and 2 are "." and ".."; emit() runs under the lock, as back-ends may do it. */
static int fake_readdir(void *fs, void *inode, void *handle, uint64_t offset, oriel_fs_emit_fn emit,
                        void *arg)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    check_handle(inode, handle, true);
    int rc = called(fake, FAKE_READDIR);
    if (rc != 0)
        return rc;
    lock(fake);
    if (offset < 1 && !emit_one(".", i, 1, emit, arg))
        return unlock(fake, 0);
    if (offset < 2 && !emit_one("..", i->parent, 2, emit, arg))
        return unlock(fake, 0);
    for (struct fake_name *n = i->names; n != NULL; n = n->next) {
        if (n->cookie > offset && !emit_one(n->name, n->inode, n->cookie, emit, arg))
            break;
    }
    return unlock(fake, 0);
}

static int fake_fsyncdir(void *fs, void *inode, void *handle, bool datasync)
{
    (void)datasync;
    check_handle(inode, handle, true);
    return called(fs, FAKE_FSYNCDIR);
}

static void fake_releasedir(void *fs, void *inode, void *handle)
{
    struct fake_fs *fake = fs;
    check_handle(inode, handle, true);
    (void)called(fake, FAKE_RELEASEDIR);
    atomic_fetch_sub(&fake->handles, 1);
    free(handle);
}

static int fake_syncfs(void *fs, void *inode)
{
    (void)inode;
    return called(fs, FAKE_SYNCFS);
}

/* ---- extended attributes ---- */

static struct fake_xattr *find_xattr(struct fake_inode *inode, const char *name)
{
    for (int i = 0; i < MAX_XATTRS; i++) {
        if (strcmp(inode->xattrs[i].name, name) == 0)
            return &inode->xattrs[i];
    }
    return NULL;
}

static void see_xattr(struct fake_fs *fake, const char *name)
{
    struct fake_seen *seen = seen_by(fake);
    snprintf(seen->xattr_name, sizeof(seen->xattr_name), "%s", name);
}

static int put_xattr(struct fake_inode *inode, const char *name, const void *value, size_t size)
{
    struct fake_xattr *x = find_xattr(inode, name);
    if (x == NULL)
        x = find_xattr(inode, "");
    if (x == NULL)
        return -ENOSPC;
    snprintf(x->name, sizeof(x->name), "%s", name);
    free(x->value);
    x->value = malloc(size + 1);
    assert(x->value != NULL);
    memcpy(x->value, value, size);
    x->len = size;
    return 0;
}

static int fake_setxattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name,
                         const void *value, size_t size, uint32_t flags, bool acl_kill_sgid)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    seen_by(fake)->flags = flags;
    seen_by(fake)->kill = acl_kill_sgid;
    see_xattr(fake, name);
    int rc = called(fake, FAKE_SETXATTR);
    if (rc != 0)
        return rc;
    lock(fake);
    return unlock(fake, put_xattr(inode, name, value, size));
}

static ssize_t fake_getxattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name,
                             void *value, size_t size)
{
    struct fake_fs *fake = fs;
    see_caller(fake, caller);
    see_xattr(fake, name);
    int rc = called(fake, FAKE_GETXATTR);
    if (rc != 0)
        return rc;
    lock(fake);
    struct fake_xattr *x = find_xattr(inode, name);
    if (x == NULL)
        return unlock(fake, -ENODATA);
    if (size != 0 && size < x->len)
        return unlock(fake, -ERANGE);
    if (size != 0)
        memcpy(value, x->value, x->len);
    return unlock(fake, (int)x->len);
}

static ssize_t fake_listxattr(void *fs, const oriel_fs_caller *caller, void *inode, char *names, size_t size)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    (void)caller;
    int rc = called(fake, FAKE_LISTXATTR);
    if (rc != 0)
        return rc;
    size_t used = 0;
    lock(fake);
    for (int k = 0; k < MAX_XATTRS; k++) {
        size_t len = strlen(i->xattrs[k].name) + 1;
        if (len == 1)
            continue;
        if (size != 0 && used + len > size)
            return unlock(fake, -ERANGE);
        if (size != 0)
            memcpy(names + used, i->xattrs[k].name, len);
        used += len;
    }
    return unlock(fake, (int)used);
}

static int fake_removexattr(void *fs, const oriel_fs_caller *caller, void *inode, const char *name)
{
    struct fake_fs *fake = fs;
    (void)caller;
    see_xattr(fake, name);
    int rc = called(fake, FAKE_REMOVEXATTR);
    if (rc != 0)
        return rc;
    lock(fake);
    struct fake_xattr *x = find_xattr(inode, name);
    if (x == NULL)
        return unlock(fake, -ENODATA);
    x->name[0] = '\0';
    return unlock(fake, 0);
}

/* ---- locks, ioctl ---- */

static int fake_getlk(void *fs, void *inode, void *handle, struct oriel_fs_lock *lk)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    check_handle(inode, handle, false);
    int rc = called(fake, FAKE_GETLK);
    if (rc != 0)
        return rc;
    lock(fake);
    if (i->lock_type == F_UNLCK || i->lock_owner == lk->owner)
        lk->type = F_UNLCK;
    else
        lk->type = i->lock_type;
    return unlock(fake, 0);
}

static int fake_setlk(void *fs, void *inode, void *handle, const struct oriel_fs_lock *lk)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    check_handle(inode, handle, false);
    int rc = called(fake, FAKE_SETLK);
    if (rc != 0)
        return rc;
    lock(fake);
    if (i->lock_type != F_UNLCK && i->lock_owner != lk->owner)
        return unlock(fake, lk->type == F_UNLCK ? 0 : -EAGAIN);
    i->lock_type = lk->type;
    i->lock_owner = lk->owner;
    return unlock(fake, 0);
}

static int fake_ioctl(void *fs, const oriel_fs_caller *caller, void *inode, void *handle, uint32_t cmd,
                      const void *arg_in, size_t in_size, void *arg_out, size_t *out_size)
{
    struct fake_fs *fake = fs;
    struct fake_inode *i = inode;
    (void)handle;
    (void)cmd;
    see_caller(fake, caller);
    int rc = called(fake, FAKE_IOCTL);
    if (rc != 0)
        return rc;
    if (in_size >= sizeof(i->flags))
        memcpy(&i->flags, arg_in, sizeof(i->flags));
    if (*out_size >= sizeof(i->flags))
        memcpy(arg_out, &i->flags, sizeof(i->flags));
    return 0;
}

/* ---- making and freeing ---- */

static void free_inode(struct fake_inode *inode)
{
    while (inode->names != NULL) {
        struct fake_name *n = inode->names;
        inode->names = n->next;
        free(n);
    }
    for (int i = 0; i < MAX_XATTRS; i++)
        free(inode->xattrs[i].value);
    if (inode->memfd >= 0)
        close(inode->memfd);
    free(inode->target);
    free(inode);
}

void fake_fs_free(struct fake_fs *fake)
{
    while (fake->all != NULL) {
        struct fake_inode *inode = fake->all;
        fake->all = inode->all;
        free_inode(inode);
    }
    pthread_mutex_destroy(&fake->lock);
    free(fake);
}

static void fake_destroy(void *fs)
{
    struct fake_fs *fake = fs;
    if (fake->account != NULL)
        *fake->account = (struct fake_account){
            .inodes = fake->inodes, .handles = fake->handles, .holds = fake->holds, .destroyed = true};
    fake_fs_free(fake);
}

static const struct oriel_fs_ops fake_ops = {
    .size = sizeof(struct oriel_fs_ops),
    .root = fake_root,
    .lookup = fake_lookup,
    .lookup_parent = fake_lookup_parent,
    .inode_open = fake_inode_open,
    .entry_drop = fake_entry_drop,
    .inode_close = fake_inode_close,
    .getattr = fake_getattr,
    .setattr = fake_setattr,
    .access = fake_access,
    .statfs = fake_statfs,
    .readlink = fake_readlink,
    .mknod = fake_mknod,
    .mkdir = fake_mkdir,
    .symlink = fake_symlink,
    .link = fake_link,
    .unlink = fake_unlink,
    .rmdir = fake_rmdir,
    .rename = fake_rename,
    .open = fake_open,
    .create = fake_create,
    .tmpfile = fake_tmpfile,
    .read = fake_read,
    .write = fake_write,
    .flush = fake_flush,
    .fsync = fake_fsync,
    .release = fake_release,
    .fallocate = fake_fallocate,
    .lseek = fake_lseek,
    .copy_file_range = fake_copy,
    .map_open = fake_map_open,
    .opendir = fake_opendir,
    .readdir = fake_readdir,
    .fsyncdir = fake_fsyncdir,
    .releasedir = fake_releasedir,
    .syncfs = fake_syncfs,
    .setxattr = fake_setxattr,
    .getxattr = fake_getxattr,
    .listxattr = fake_listxattr,
    .removexattr = fake_removexattr,
    .getlk = fake_getlk,
    .setlk = fake_setlk,
    .ioctl = fake_ioctl,
    .destroy = fake_destroy,
    .read_nowait = fake_read_nowait,
};

struct fake_fs *fake_fs_new(void)
{
    struct fake_fs *fake = calloc(1, sizeof(*fake));
    assert(fake != NULL);
    fake->ops = fake_ops;
    fake->next_cookie = 2;
    pthread_mutex_init(&fake->lock, NULL);
    fake->root = new_inode(fake, S_IFDIR | 0755);
    fake->root->parent = fake->root;
    return fake;
}

struct oriel_fs fake_fs_backend(struct fake_fs *fake)
{
    return (struct oriel_fs){.ops = &fake->ops, .fs = fake};
}

struct oriel_fs_ops *fake_fs_ops(struct fake_fs *fake)
{
    return &fake->ops;
}

void fake_fs_fail(struct fake_fs *fake, enum fake_op op, int error, int count)
{
    atomic_store(&fake->fail_error[op], error);
    atomic_store(&fake->fail_count[op], count);
}

unsigned fake_fs_calls(struct fake_fs *fake, enum fake_op op)
{
    return atomic_load(&fake->calls[op]);
}

const struct fake_seen *fake_fs_seen(struct fake_fs *fake)
{
    return &fake->seen;
}

void fake_fs_on_read(struct fake_fs *fake, void (*hook)(void *arg), void *arg)
{
    fake->read_hook = hook;
    fake->read_hook_arg = arg;
}

void fake_fs_claim_reads(struct fake_fs *fake)
{
    fake->claims_reads = true;
}

void fake_fs_quiet(struct fake_fs *fake)
{
    fake->quiet = true;
}

int fake_fs_inodes(struct fake_fs *fake)
{
    return atomic_load(&fake->inodes);
}

int fake_fs_handles(struct fake_fs *fake)
{
    return atomic_load(&fake->handles);
}

int fake_fs_holds(struct fake_fs *fake)
{
    return atomic_load(&fake->holds);
}

void fake_fs_report_to(struct fake_fs *fake, struct fake_account *account)
{
    fake->account = account;
}

void fake_fs_set_attr_flags(struct fake_fs *fake, uint32_t flags)
{
    lock(fake);
    for (struct fake_name *n = fake->root->names; n != NULL; n = n->next)
        n->inode->attr.flags = flags;
    unlock(fake, 0);
}

uint64_t fake_fs_add_file(struct fake_fs *fake, const char *name, const void *data, size_t len)
{
    lock(fake);
    struct fake_inode *inode = new_inode(fake, S_IFREG | 0644);
    add_name(fake, fake->root, name, inode);
    if (len > 0 && pwrite(inode->memfd, data, len, 0) != (ssize_t)len)
        abort();
    unlock(fake, 0);
    return inode->attr.ino;
}

uint64_t fake_fs_add_folder(struct fake_fs *fake, const char *name)
{
    lock(fake);
    struct fake_inode *inode = new_inode(fake, S_IFDIR | 0755);
    add_name(fake, fake->root, name, inode);
    unlock(fake, 0);
    return inode->attr.ino;
}

void fake_fs_set_host_xattr(struct fake_fs *fake, const char *file, const char *name)
{
    lock(fake);
    if (put_xattr(must_find(fake->root, file), name, "host", 4) != 0)
        abort();
    unlock(fake, 0);
}

bool fake_fs_has_host_xattr(struct fake_fs *fake, const char *file, const char *name)
{
    lock(fake);
    bool has = find_xattr(must_find(fake->root, file), name) != NULL;
    unlock(fake, 0);
    return has;
}
