/*
 * Locks on behalf of the guest's processes.
 *
 * POSIX locks belong to a process, so all of ours would be one owner's. Each lock owner of the guest
 * therefore gets an open file description of its own, with open-file-description locks (F_OFD_SETLK); closing
 * it drops all that the owner holds. flock(2) belongs to an open file description already: that of the
 * handle.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/passthrough/inode.h"
#include "fs/passthrough/locks.h"
#include "fs/passthrough/operations.h"

#define PROBES_MAX 64 /* of one F_GETLK: each walks all locks of the file */

struct pt_lock_owner {
    struct pt_lock_owner *next;
    const struct pt_inode *inode;
    const struct pt_handle *handle; /* through which it last locked; only to compare */
    uint64_t owner;
    uint32_t pid;
    int fd;
};

static struct pt_lock_owner **find_locked(struct passthrough *pt, const struct pt_inode *inode,
                                          uint64_t owner)
{
    struct pt_lock_owner **link = &pt->lock_owners[((uintptr_t)inode >> 6) % PT_LOCKS];
    while (*link != NULL && ((*link)->inode != inode || (*link)->owner != owner))
        link = &(*link)->next;
    return link;
}

static int open_to_lock(struct passthrough *pt, struct pt_inode *inode)
{
    int fd = -EROFS;
    if (!pt->options.read_only)
        fd = open_regular(pt, inode, NULL, O_RDWR, CREDS_ANY);
    if (fd == -EROFS || fd == -EACCES || fd == -EPERM || fd == -ETXTBSY)
        fd = open_regular(pt, inode, NULL, O_RDONLY, CREDS_ANY);
    return fd;
}

/* Nothing may be locked: opening waits for whoever has a lease on the file. */
static int new_owner(struct passthrough *pt, struct pt_inode *inode, uint64_t owner,
                     struct pt_lock_owner **out)
{
    struct pt_lock_owner *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return -ENOMEM;
    int err = descriptor_take(pt);
    if (err == 0) {
        made->fd = open_to_lock(pt, inode);
        err = made->fd < 0 ? made->fd : 0;
        if (err != 0)
            budget_put(&pt->budget);
    }
    if (err != 0) {
        free(made);
        /* "No locks available", as fcntl(2) says it. */
        return err == -ENFILE ? -ENOLCK : err;
    }
    made->inode = inode;
    made->owner = owner;
    *out = made;
    return 0;
}

static void free_owner(struct passthrough *pt, struct pt_lock_owner *owner)
{
    if (owner == NULL)
        return;
    close(owner->fd);
    budget_put(&pt->budget);
    free(owner);
}

static void remove_locked(struct passthrough *pt, struct pt_lock_owner **link)
{
    struct pt_lock_owner *removed = *link;
    *link = removed->next;
    free_owner(pt, removed);
    atomic_fetch_sub_explicit(&pt->lock_owner_count, 1, memory_order_relaxed);
}

static int to_flock(const struct oriel_fs_lock *lock, struct flock *out)
{
    if (lock->start > INT64_MAX || lock->end > INT64_MAX || lock->end < lock->start)
        return -EINVAL;
    if (lock->type != F_RDLCK && lock->type != F_WRLCK && lock->type != F_UNLCK)
        return -EINVAL;
    *out = (struct flock){
        .l_type = (short)lock->type,
        .l_whence = SEEK_SET,
        .l_start = (off_t)lock->start,
        .l_len = lock->end == INT64_MAX ? 0 : (off_t)(lock->end - lock->start + 1),
    };
    return 0;
}

static int lock_owner(struct pt_lock_owner *owner, const struct pt_handle *handle,
                      const struct oriel_fs_lock *lock, struct flock *wanted)
{
    if (lock->type != F_UNLCK) { /* an unlock names no process */
        owner->pid = lock->pid;
        owner->handle = handle;
    }
    if (fcntl(owner->fd, F_OFD_SETLK, wanted) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

static int set_posix(struct passthrough *pt, struct pt_inode *inode, const struct pt_handle *handle,
                     const struct oriel_fs_lock *lock)
{
    struct flock wanted;
    int err = to_flock(lock, &wanted);
    if (err != 0)
        return err;
    struct pt_lock_owner *made = NULL;
    pthread_mutex_lock(&pt->lock_owners_lock);
    struct pt_lock_owner **link = find_locked(pt, inode, lock->owner);
    if (*link == NULL && lock->type != F_UNLCK) {
        pthread_mutex_unlock(&pt->lock_owners_lock);
        err = new_owner(pt, inode, lock->owner, &made);
        pthread_mutex_lock(&pt->lock_owners_lock);
        link = find_locked(pt, inode, lock->owner);
        if (*link == NULL && made != NULL) { /* else another request of it was faster */
            *link = made;
            made = NULL;
            atomic_fetch_add_explicit(&pt->lock_owner_count, 1, memory_order_relaxed);
        }
    }
    if (err == 0 && *link != NULL)
        err = lock_owner(*link, handle, lock, &wanted);
    pthread_mutex_unlock(&pt->lock_owners_lock);
    free_owner(pt, made);
    return err;
}

static int set_flock(const struct pt_handle *handle, const struct oriel_fs_lock *lock)
{
    int operation = lock->type == F_UNLCK ? LOCK_UN : lock->type == F_RDLCK ? LOCK_SH : LOCK_EX;
    return flock(handle->fd, operation | LOCK_NB) == 0 ? 0 : -errno;
}

int pt_setlk(void *fs, void *inode, void *handle, const struct oriel_fs_lock *lock)
{
    const struct pt_handle *open_handle = handle;
    if (lock->flock)
        return open_handle != NULL && open_handle->fd >= 0 ? set_flock(handle, lock) : -EBADF;
    return inode_is(inode, S_IFREG) ? set_posix(fs, inode, handle, lock) : -EBADF;
}

/* With a lock of its own in the range the owner meets nobody else's there: what was found is its. */
static bool is_alone_in(const struct pt_lock_owner *owner, const struct flock *found)
{
    struct flock probe = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = found->l_start, .l_len = found->l_len};
    return fcntl(owner->fd, F_OFD_GETLK, &probe) == 0 && probe.l_type == F_UNLCK;
}

/* Linux before 6.5 has no answer to this. */
static bool has_lock_in(const struct pt_lock_owner *owner, const struct flock *found)
{
    struct flock own = {
        .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = found->l_start, .l_len = found->l_len};
    return fcntl(owner->fd, F_OFD_GETLK, &own) == 0 && own.l_type != F_UNLCK;
}

/* The kernel names no process for such locks. 0: several share the range, too many lock the file, or it is another
 * process's. */
static uint32_t holder_locked(const struct passthrough *pt, const struct pt_inode *inode, uint64_t asking,
                              const struct flock *found)
{
    const struct pt_lock_owner *holder = NULL;
    const struct pt_lock_owner *each = pt->lock_owners[((uintptr_t)inode >> 6) % PT_LOCKS];
    unsigned others = 0, holders = 0;
    for (; each != NULL; each = each->next) {
        if (each->inode != inode || each->owner == asking)
            continue;
        if (others++ == PROBES_MAX)
            return 0;
        if (is_alone_in(each, found))
            return each->pid;
        if (has_lock_in(each, found)) {
            holder = each;
            holders++;
        }
    }
    return holders == 1 ? holder->pid : 0;
}

/* Of an owner that has no descriptor. fd: or a negative errno. */
static struct fd_ref open_for_one_question(struct passthrough *pt, struct pt_inode *inode)
{
    budget_take_over_limit(&pt->budget);
    struct fd_ref ref = {.pt = pt, .fd = open_to_lock(pt, inode), .kind = FD_REF_OWNED};
    if (ref.fd < 0) {
        budget_put(&pt->budget);
        ref.kind = FD_REF_NONE;
    }
    return ref;
}

int pt_getlk(void *fs, void *inode, void *handle, struct oriel_fs_lock *lock)
{
    (void)handle;
    struct passthrough *pt = fs;
    struct flock found;
    cleanup_fd_ref struct fd_ref temporary = {.kind = FD_REF_NONE, .fd = -1};
    if (lock->flock)
        return -EINVAL;
    if (!inode_is(inode, S_IFREG))
        return -EBADF;
    int err = to_flock(lock, &found);
    if (err != 0)
        return err;
    pthread_mutex_lock(&pt->lock_owners_lock);
    const struct pt_lock_owner *owner = *find_locked(pt, inode, lock->owner);
    if (owner == NULL) {
        pthread_mutex_unlock(&pt->lock_owners_lock);
        temporary = open_for_one_question(pt, inode);
        pthread_mutex_lock(&pt->lock_owners_lock);
        owner = *find_locked(pt, inode, lock->owner);
    }
    int fd = owner != NULL ? owner->fd : temporary.fd;
    if (fd < 0)
        err = fd;
    else if (fcntl(fd, F_OFD_GETLK, &found) != 0)
        err = -errno;
    uint32_t pid = err == 0 && found.l_type != F_UNLCK ? holder_locked(pt, inode, lock->owner, &found) : 0;
    pthread_mutex_unlock(&pt->lock_owners_lock);
    if (err != 0)
        return err;
    lock->type = (uint32_t)(unsigned short)found.l_type;
    if (lock->type == F_UNLCK)
        return 0;
    lock->start = (uint64_t)found.l_start;
    lock->end = found.l_len == 0 ? INT64_MAX : (uint64_t)(found.l_start + found.l_len - 1);
    lock->pid = found.l_pid > 0 ? (uint32_t)found.l_pid : pid;
    return 0;
}

void locks_drop_owner(struct passthrough *pt, const struct pt_inode *inode, uint64_t owner)
{
    if (atomic_load_explicit(&pt->lock_owner_count, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&pt->lock_owners_lock);
    struct pt_lock_owner **link = find_locked(pt, inode, owner);
    if (*link != NULL)
        remove_locked(pt, link);
    pthread_mutex_unlock(&pt->lock_owners_lock);
}

static void drop_all(struct passthrough *pt, const struct pt_inode *inode, const struct pt_handle *handle)
{
    if (atomic_load_explicit(&pt->lock_owner_count, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&pt->lock_owners_lock);
    struct pt_lock_owner **link = &pt->lock_owners[((uintptr_t)inode >> 6) % PT_LOCKS];
    while (*link != NULL) {
        if ((*link)->inode == inode && (handle == NULL || (*link)->handle == handle))
            remove_locked(pt, link);
        else
            link = &(*link)->next;
    }
    pthread_mutex_unlock(&pt->lock_owners_lock);
}

/* A process that locked through the handle has closed it, and been dropped by that. What is left is of the open file
 * itself (F_OFD_SETLK), which is the owner then, and of whose end the client says no more than this. */
void locks_drop_handle(struct passthrough *pt, const struct pt_inode *inode, const struct pt_handle *handle)
{
    drop_all(pt, inode, handle);
}

void locks_drop_inode(struct passthrough *pt, const struct pt_inode *inode)
{
    drop_all(pt, inode, NULL);
}
