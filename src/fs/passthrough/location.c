#include "fs/passthrough/location.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fs/passthrough/beneath.h"
#include "fs/passthrough/identity.h"

#define BUCKETS   16384
#define DEPTH_MAX 4096 /* of a walk; deeper is -ESTALE */

struct pt_location {
    struct pt_inode *parent;
    struct pt_inode *next; /* in its bucket */
    bool entered;
    char *name;
};

struct pt_location_table {
    struct pt_inode *buckets[BUCKETS];
};

static struct pt_inode **bucket_of(struct passthrough *pt, uint64_t dev, uint64_t ino)
{
    uint64_t hash = (ino ^ dev << 32) * UINT64_C(0x9e3779b97f4a7c15);
    return &pt->locations->buckets[hash >> 50];
}

static struct pt_inode *find_locked(struct passthrough *pt, const struct oriel_fs_identity *identity)
{
    if (pt->locations == NULL)
        return NULL;
    struct pt_inode *inode = *bucket_of(pt, identity->dev, identity->ino);
    while (inode != NULL &&
           (inode->ino != identity->ino || inode->dev != identity->dev ||
            inode->generation != identity->generation || inode->mount->id != identity->mount))
        inode = inode->location->next;
    return inode;
}

static bool is_at(const struct pt_location *location, const struct pt_inode *parent, const char *name)
{
    return location->parent == parent && strcmp(location->name, name) == 0;
}

int location_set(struct passthrough *pt, struct pt_inode *inode, struct pt_inode *parent, const char *name)
{
    cleanup_free struct pt_location *location = calloc(1, sizeof(*location));
    cleanup_free char *copy = strdup(name);
    if (location == NULL || copy == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&pt->locations_lock);
    if (pt->locations == NULL)
        pt->locations = calloc(1, sizeof(*pt->locations));
    bool ok = pt->locations != NULL;
    if (ok) {
        struct pt_inode **bucket = bucket_of(pt, inode->dev, inode->ino);
        atomic_fetch_add_explicit(&parent->users, 1, memory_order_relaxed);
        *location = (struct pt_location){parent, *bucket, true, take_ptr(&copy)};
        inode->location = take_ptr(&location);
        *bucket = inode;
    }
    pthread_mutex_unlock(&pt->locations_lock);
    return ok ? 0 : -ENOMEM;
}

void location_forget(struct passthrough *pt, struct pt_inode *inode)
{
    if (inode->location == NULL)
        return;
    pthread_mutex_lock(&pt->locations_lock);
    struct pt_inode **link = bucket_of(pt, inode->dev, inode->ino);
    while (*link != inode)
        link = &(*link)->location->next;
    *link = inode->location->next;
    inode->location->entered = false;
    pthread_mutex_unlock(&pt->locations_lock);
}

struct pt_inode *location_free(struct pt_inode *inode)
{
    if (inode->location == NULL)
        return NULL;
    struct pt_inode *parent = inode->location->parent;
    free(inode->location->name);
    free(inode->location);
    return parent;
}

void location_table_free(struct passthrough *pt)
{
    free(pt->locations);
}

/* Locations may be out of date, so one that would lie below its own inode is possible: that is not taken. */
static bool is_above_locked(const struct pt_inode *inode, const struct pt_inode *below)
{
    for (size_t depth = 0; below != NULL && depth < DEPTH_MAX; depth++) {
        if (below == inode)
            return true;
        below = below->location != NULL ? below->location->parent : NULL;
    }
    return below != NULL;
}

void location_seen(struct passthrough *pt, struct pt_inode *parent, const char *name,
                   const struct oriel_fs_identity *identity)
{
    struct pt_inode *unused_parent = NULL;
    cleanup_free char *copy = NULL;
    pthread_mutex_lock(&pt->locations_lock);
    struct pt_inode *inode = find_locked(pt, identity);
    if (inode != NULL && !is_at(inode->location, parent, name) && !is_above_locked(inode, parent))
        copy = strdup(name);
    if (copy != NULL) {
        unused_parent = inode->location->parent;
        atomic_fetch_add_explicit(&parent->users, 1, memory_order_relaxed);
        inode->location->parent = parent;
        char *old = inode->location->name;
        inode->location->name = take_ptr(&copy);
        copy = old;
    }
    pthread_mutex_unlock(&pt->locations_lock);
    if (unused_parent != NULL)
        inode_put(pt, unused_parent);
}

/* ---- opening ---- */

struct walk {
    struct pt_inode *steps[DEPTH_MAX]; /* from the inode up; each has one user more */
    size_t count;
    struct fd_ref from; /* of the folder that the last step is in */
};

/* Finds the way up to a folder with a descriptor. */
static int plan(struct passthrough *pt, struct pt_inode *inode, struct walk *walk)
{
    int err = 0;
    pthread_mutex_lock(&pt->locations_lock);
    for (;;) {
        if (inode->location == NULL || walk->count == DEPTH_MAX) {
            err = -ESTALE;
            break;
        }
        atomic_fetch_add_explicit(&inode->users, 1, memory_order_relaxed);
        walk->steps[walk->count++] = inode;
        inode = inode->location->parent;
        if (inode_fd_at_hand(pt, inode, &walk->from))
            break;
        if (inode->handle_bytes > 0) { /* another mount, which has file handles: below a submount */
            err = inode_fd(pt, inode, &walk->from);
            break;
        }
    }
    pthread_mutex_unlock(&pt->locations_lock);
    return err;
}

static int step_name(struct passthrough *pt, const struct pt_inode *step, char name[NAME_MAX + 1])
{
    pthread_mutex_lock(&pt->locations_lock);
    size_t len = strlen(step->location->name);
    if (len <= NAME_MAX)
        memcpy(name, step->location->name, len + 1);
    pthread_mutex_unlock(&pt->locations_lock);
    return len <= NAME_MAX ? 0 : -ESTALE;
}

/* From the folder in *ref to one below it. */
static int descend(struct passthrough *pt, struct pt_inode *step, struct fd_ref *ref)
{
    char name[NAME_MAX + 1];
    struct fd_ref next = {.pt = pt, .fd = -1, .kind = FD_REF_NONE};
    int err = step_name(pt, step, name);
    if (err != 0)
        return err;
    if (descriptor_take(pt) != 0)
        budget_take_over_limit(&pt->budget);
    int fd = open_component(pt, ref->fd, name, O_PATH, 0);
    if (fd == -EMFILE && fd_cache_shrink(&pt->cache))
        fd = open_component(pt, ref->fd, name, O_PATH, 0);
    err = fd < 0 ? fd : inode_check(step, fd);
    if (err != 0) {
        if (fd >= 0)
            close(fd);
        budget_put(&pt->budget);
        return err == -EMFILE ? -ENFILE : err == -ENOENT || err == -ENOTDIR ? -ESTALE : err;
    }
    fd_ref_adopt(&next, step, fd);
    fd_ref_put(ref);
    *ref = next;
    return 0;
}

int location_open(struct passthrough *pt, struct pt_inode *inode, struct fd_ref *ref)
{
    cleanup_free struct walk *walk = malloc(sizeof(*walk));
    if (walk == NULL)
        return -ENOMEM;
    walk->count = 0;
    walk->from = (struct fd_ref){.pt = pt, .fd = -1, .kind = FD_REF_NONE};
    int err = plan(pt, inode, walk);
    for (size_t i = walk->count; err == 0 && i-- > 0;)
        err = descend(pt, walk->steps[i], &walk->from);
    for (size_t i = 0; i < walk->count; i++)
        inode_put(pt, walk->steps[i]);
    if (err == 0)
        *ref = walk->from;
    else
        fd_ref_put(&walk->from);
    return err;
}

/* ---- pinning ---- */

static struct pt_inode *known_at(struct passthrough *pt, const struct pt_inode *parent,
                                 const struct oriel_fs_identity *identity, const char *name)
{
    pthread_mutex_lock(&pt->locations_lock);
    struct pt_inode *inode = find_locked(pt, identity);
    if (inode != NULL && (inode->pinned_fd >= 0 || !is_at(inode->location, parent, name)))
        inode = NULL;
    if (inode != NULL)
        atomic_fetch_add_explicit(&inode->users, 1, memory_order_relaxed);
    pthread_mutex_unlock(&pt->locations_lock);
    return inode;
}

void location_pin(struct passthrough *pt, struct pt_inode *parent, int dir_fd, const char *name)
{
    struct statx stx;
    struct oriel_fs_entry entry;
    if (pt->locations == NULL || identity_statx(dir_fd, name, &stx) != 0 ||
        entry_fill(pt, parent, dir_fd, name, &stx, &entry) != 0)
        return;
    struct pt_inode *inode = known_at(pt, parent, &entry.identity, name);
    if (inode == NULL)
        return;
    int fd = open_component(pt, dir_fd, name, O_PATH, 0);
    if (fd >= 0 && inode_check(inode, fd) == 0)
        inode_pin(pt, inode, fd);
    else if (fd >= 0)
        close(fd);
    inode_put(pt, inode);
}
