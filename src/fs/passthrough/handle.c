#include "fs/passthrough/handle.h"

#include <stdlib.h>
#include <unistd.h>

#include "fs/passthrough/listing.h"

struct pt_handle *handle_new(int fd, bool writable)
{
    struct pt_handle *handle = calloc(1, sizeof(*handle));
    if (handle == NULL)
        return NULL;
    handle->fd = fd;
    handle->writable = writable;
    atomic_init(&handle->users, 1);
    return handle;
}

void handle_attach(struct passthrough *pt, struct pt_handle *handle, struct pt_inode *inode)
{
    if (handle->fd < 0)
        return;
    pthread_mutex_t *lock = inode_lock(pt, inode);
    pthread_mutex_lock(lock);
    struct pt_handle *first = inode->handles;
    handle->inode = inode;
    handle->next = first;
    if (first != NULL)
        first->previous = handle;
    inode->handles = handle;
    pthread_mutex_unlock(lock);
}

static void detach(struct passthrough *pt, struct pt_handle *handle)
{
    struct pt_inode *inode = handle->inode;
    if (inode == NULL)
        return;
    pthread_mutex_t *lock = inode_lock(pt, inode);
    pthread_mutex_lock(lock);
    if (handle->inode != inode) { /* handles_leave() was faster; the inode may be gone */
        pthread_mutex_unlock(lock);
        return;
    }
    if (handle->next != NULL)
        handle->next->previous = handle->previous;
    if (handle->previous != NULL)
        handle->previous->next = handle->next;
    else
        inode->handles = handle->next;
    handle->inode = NULL;
    pthread_mutex_unlock(lock);
}

void handles_leave(struct passthrough *pt, struct pt_inode *inode)
{
    if (inode->handles == NULL)
        return;
    pthread_mutex_t *lock = inode_lock(pt, inode);
    pthread_mutex_lock(lock);
    struct pt_handle *handle = inode->handles;
    inode->handles = NULL;
    while (handle != NULL) {
        struct pt_handle *next = handle->next;
        handle->inode = NULL;
        handle->next = handle->previous = NULL;
        handle = next;
    }
    pthread_mutex_unlock(lock);
}

struct pt_handle *handle_borrow(struct passthrough *pt, struct pt_inode *inode)
{
    if (inode->handles == NULL)
        return NULL;
    pthread_mutex_t *lock = inode_lock(pt, inode);
    pthread_mutex_lock(lock);
    struct pt_handle *handle = inode->handles;
    if (handle != NULL)
        atomic_fetch_add_explicit(&handle->users, 1, memory_order_relaxed);
    pthread_mutex_unlock(lock);
    return handle;
}

void handle_unborrow(struct passthrough *pt, struct pt_handle *handle)
{
    if (atomic_fetch_sub_explicit(&handle->users, 1, memory_order_acq_rel) != 1)
        return;
    if (handle->fd >= 0) {
        close(handle->fd);
        budget_put(&pt->budget);
    }
    listing_free(pt, handle->listing);
    free(handle);
}

void handle_release(struct passthrough *pt, struct pt_handle *handle)
{
    detach(pt, handle);
    handle_unborrow(pt, handle);
}
