#include "mapper/exact.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <oriel/dax.h>

#include "base/checked.h"

int exact_init(struct exact *e, uint64_t window_len, const struct exact_hypervisor *hypervisor,
               struct oriel_trace *trace)
{
    *e = (struct exact){.hypervisor = *hypervisor, .trace = trace, .window_len = window_len};
    e->base = mmap(NULL, window_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (e->base == MAP_FAILED)
        return -ENOMEM;
    pthread_mutex_init(&e->lock, NULL);
    return 0;
}

void exact_destroy(struct exact *e)
{
    for (size_t i = 0; i < e->count; i++)
        e->hypervisor.unmap(e->hypervisor.opaque, &e->pieces[i]);
    munmap(e->base, e->window_len);
    pthread_mutex_destroy(&e->lock);
    free(e->pieces);
}

/* ---- the list ---- */

static uint64_t piece_end(const struct exact_piece *piece)
{
    return piece->offset + piece->len;
}

/* The first piece that ends behind offset. */
static size_t find(const struct exact *e, uint64_t offset)
{
    size_t low = 0, high = e->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (piece_end(&e->pieces[middle]) <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A change takes at most two pieces more than there were. */
static int make_room(struct exact *e)
{
    if (e->count + 2 <= e->room)
        return 0;
    size_t room = 2 * e->room + 16;
    struct exact_piece *pieces = realloc(e->pieces, room * sizeof(*pieces));
    if (pieces == NULL)
        return -ENOSPC;
    e->pieces = pieces;
    e->room = room;
    return 0;
}

static void list_replace(struct exact *e, size_t at, size_t old_count, const struct exact_piece *fresh,
                         size_t count)
{
    memmove(&e->pieces[at + count], &e->pieces[at + old_count], (e->count - at - old_count) * sizeof(*fresh));
    if (count > 0)
        memcpy(&e->pieces[at], fresh, count * sizeof(*fresh));
    e->count += count - old_count;
}

/* ---- the hypervisor ---- */

static int hv_map(struct exact *e, struct exact_piece *piece)
{
    return e->hypervisor.map(e->hypervisor.opaque, piece, e->base + piece->offset);
}

/* Takes the pieces away; if one refuses, puts those back that are gone already. */
static int hv_unmap_all(struct exact *e, size_t at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int err = e->hypervisor.unmap(e->hypervisor.opaque, &e->pieces[at + i]);
        if (err == 0)
            continue;
        while (i-- > 0)
            (void)hv_map(e, &e->pieces[at + i]);
        return err;
    }
    return 0;
}

/* Puts all the pieces back, or none. */
static bool hv_map_all(struct exact *e, size_t at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (hv_map(e, &e->pieces[at + i]) == 0)
            continue;
        while (i-- > 0)
            (void)e->hypervisor.unmap(e->hypervisor.opaque, &e->pieces[at + i]);
        return false;
    }
    return true;
}

/* The parts of the old pieces outside [offset, end). */
static size_t outside_parts(const struct exact *e, size_t at, size_t count, uint64_t offset, uint64_t end,
                            struct exact_piece parts[2], bool is_left[2])
{
    size_t n = 0;
    if (count == 0)
        return 0;
    const struct exact_piece *first = &e->pieces[at], *last = &e->pieces[at + count - 1];
    if (first->offset < offset) {
        is_left[n] = true;
        parts[n] = *first;
        parts[n++].len = offset - first->offset;
    }
    if (piece_end(last) > end) {
        is_left[n] = false;
        parts[n] = *last;
        parts[n].file_offset += end - last->offset;
        parts[n].len = piece_end(last) - end;
        parts[n++].offset = end;
    }
    return n;
}

/* ---- host side ---- */

static int host_map(struct exact *e, struct exact_piece *piece, int fd)
{
    void *at = e->base + piece->offset;
    const int flags = MAP_SHARED | MAP_FIXED;
    off_t from = (off_t)piece->file_offset;
    /* Writable wherever the descriptor is, so that an upgrade needs other rights and no other mapping. */
    piece->host_writable = mmap(at, piece->len, PROT_READ | PROT_WRITE, flags, fd, from) != MAP_FAILED;
    if (piece->host_writable)
        return 0;
    if (!(piece->prot & ORIEL_DAX_WRITE) && mmap(at, piece->len, PROT_READ, flags, fd, from) != MAP_FAILED)
        return 0;
    switch (errno) {
    case EACCES:
    case EPERM:
        return -EACCES;
    case ENODEV:
        return -ENODEV;
    case ENOMEM:
        return -ENOSPC;
    default:
        return -EIO;
    }
}

static void host_unmap(struct exact *e, uint64_t offset, uint64_t len)
{
    void *at = mmap(e->base + offset, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                    -1, 0);
    if (at == MAP_FAILED)
        ORIEL_TRACE(e->trace, "host mapping at window offset %#llx stays until it is replaced",
                    (unsigned long long)offset);
}

/* ---- changes ---- */

/* True when the range is one mapping of this content and only lacks the right to write. */
static bool is_upgrade(const struct exact *e, const struct exact_piece *old, size_t count,
                       const struct exact_piece *fresh)
{
    return e->hypervisor.protect != NULL && count == 1 && old->offset == fresh->offset &&
           old->len == fresh->len && old->dev == fresh->dev && old->ino == fresh->ino &&
           old->file_offset == fresh->file_offset && old->host_writable && (fresh->prot & ORIEL_DAX_WRITE) &&
           !(old->prot & ORIEL_DAX_WRITE);
}

/*
 * With the lock. Replaces [offset, end) by `fresh` (from fd), or by nothing. The outside parts of the old pieces are
 * in place again whatever comes.
 */
static int change(struct exact *e, uint64_t offset, uint64_t end, const struct exact_piece *fresh, int fd,
                  enum oriel_range_left *left)
{
    struct exact_piece parts[2], list[3];
    bool is_left[2];
    size_t at = find(e, offset), count = 0, listed = 0;
    while (at + count < e->count && e->pieces[at + count].offset < end)
        count++;
    int err = make_room(e);
    if (err == 0)
        err = hv_unmap_all(e, at, count);
    if (err != 0)
        return err;
    size_t part_count = outside_parts(e, at, count, offset, end, parts, is_left);
    struct exact_piece wanted = {0};
    if (fresh != NULL) {
        wanted = *fresh;
        err = host_map(e, &wanted, fd);
        if (err != 0 && hv_map_all(e, at, count))
            return err; /* the host side is as it was, and so is the guest's */
    }
    *left = ORIEL_RANGE_LOST; /* what the range showed is gone from here on */
    if (err == 0 && fresh != NULL)
        err = hv_map(e, &wanted);
    bool shown = fresh != NULL && err == 0;
    for (size_t i = 0; i < part_count; i++) {
        if (!is_left[i] && shown)
            list[listed++] = wanted;
        shown = shown && is_left[i];
        if (hv_map(e, &parts[i]) == 0)
            list[listed++] = parts[i];
        else
            ORIEL_TRACE(e->trace, "mapping at window offset %#llx lost", (unsigned long long)parts[i].offset);
    }
    if (shown)
        list[listed++] = wanted;
    list_replace(e, at, count, list, listed);
    if (fresh == NULL || err != 0)
        host_unmap(e, offset, end - offset);
    return err;
}

int exact_map(struct exact *e, uint64_t offset, int fd, uint64_t file_offset, uint64_t len, uint32_t prot,
              enum oriel_range_left *left)
{
    struct stat st;
    *left = ORIEL_RANGE_KEPT;
    if (fstat(fd, &st) != 0)
        return -EIO;
    const struct exact_piece fresh = {.offset = offset,
                                      .len = len,
                                      .prot = prot,
                                      .dev = st.st_dev,
                                      .ino = st.st_ino,
                                      .file_offset = file_offset};
    pthread_mutex_lock(&e->lock);
    size_t at = find(e, offset);
    int err = -EAGAIN;
    if (at < e->count && is_upgrade(e, &e->pieces[at], 1, &fresh)) {
        err = e->hypervisor.protect(e->hypervisor.opaque, &e->pieces[at], prot);
        if (err == 0)
            e->pieces[at].prot = prot;
    }
    if (err != 0)
        err = change(e, offset, offset + len, &fresh, fd, left);
    pthread_mutex_unlock(&e->lock);
    return err;
}

int exact_unmap(struct exact *e, uint64_t offset, uint64_t len, enum oriel_range_left *left)
{
    *left = ORIEL_RANGE_KEPT;
    pthread_mutex_lock(&e->lock);
    int err = change(e, offset, offset + len, NULL, -1, left);
    pthread_mutex_unlock(&e->lock);
    return err;
}
