#include "fs/memory/content.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "fs/memory/transfer.h"

#define CHUNK_PAGES 256 /* of one write: bounds how much is charged before it is known to be used */

static uint64_t pages_up_to(uint64_t size)
{
    return align_up(size, MEMFS_PAGE_SIZE) >> MEMFS_PAGE_SHIFT;
}

static uint64_t region_len(enum memfs_place place)
{
    return place == MEMFS_SMALL ? MEMFS_SMALL_REGION : MEMFS_LARGE_REGION;
}

static int take_pages(struct memfs_content *content, const struct memfs_store *store, uint64_t pages)
{
    int error = memfs_quota_take(store->quota, store->uid, pages << MEMFS_PAGE_SHIFT, 0);
    if (error == 0)
        content->charged += pages;
    return error;
}

static void give_pages(struct memfs_content *content, const struct memfs_store *store, uint64_t pages)
{
    memfs_quota_give(store->quota, store->uid, pages << MEMFS_PAGE_SHIFT, 0);
    content->charged -= pages;
}

void memfs_content_init(struct memfs_content *content, uint64_t key)
{
    *content = (struct memfs_content){.key = key, .fd = -1};
}

/* ---- places ---- */

/* Gives the memory of the whole region back; the region itself is lost if the kernel refuses. */
static void leave_region(struct memfs_content *content, const struct memfs_store *store)
{
    bool empty = content->pages.count == 0 ||
                 transfer_punch(content->fd, content->base, region_len(content->place)) == 0;
    if (empty)
        memfs_pool_give(store->pool, content->key, region_len(content->place), content->base);
    memfs_page_set_clear(&content->pages);
    content->place = MEMFS_NOWHERE;
    content->preallocated = false;
    content->fd = -1;
}

void memfs_content_destroy(struct memfs_content *content, const struct memfs_store *store)
{
    if (content->place == MEMFS_OWN)
        memfs_pool_own_close(store->pool, content->fd);
    else if (content->place != MEMFS_NOWHERE)
        leave_region(content, store);
    give_pages(content, store, content->charged);
    memfs_page_set_clear(&content->pages);
}

/* Copies what was written; holes stay holes. */
static int copy_data(const struct memfs_content *content, int to_fd, uint64_t to_base)
{
    uint64_t page = 0;
    while ((page = memfs_page_set_next(&content->pages, page, true)) < MEMFS_PAGES_MAX) {
        uint64_t end = memfs_page_set_next(&content->pages, page, false);
        uint64_t at = page << MEMFS_PAGE_SHIFT;
        int error = transfer_copy_data(content->fd, content->base + at, to_fd, to_base + at,
                                       (end - page) << MEMFS_PAGE_SHIFT);
        if (error != 0)
            return error;
        page = end;
    }
    return 0;
}

/* Pages that were allocated ahead keep their memory when the file moves. */
static int copy_allocation(const struct memfs_content *content, int to_fd, uint64_t to_base)
{
    if (!content->preallocated)
        return 0;
    uint64_t page = 0;
    while ((page = memfs_page_set_next(&content->pages, page, true)) < MEMFS_PAGES_MAX) {
        uint64_t end = memfs_page_set_next(&content->pages, page, false);
        int error =
            transfer_allocate(to_fd, to_base + (page << MEMFS_PAGE_SHIFT), (end - page) << MEMFS_PAGE_SHIFT);
        if (error != 0)
            return error;
        page = end;
    }
    return 0;
}

static int move_to_large(struct memfs_content *content, const struct memfs_store *store)
{
    int fd;
    uint64_t base;
    int error = memfs_pool_take(store->pool, content->key, MEMFS_LARGE_REGION, &fd, &base);
    if (error != 0)
        return error;
    error = copy_allocation(content, fd, base);
    if (error == 0)
        error = copy_data(content, fd, base);
    if (error != 0) {
        if (transfer_punch(fd, base, MEMFS_SMALL_REGION) == 0)
            memfs_pool_give(store->pool, content->key, MEMFS_LARGE_REGION, base);
        return error;
    }
    struct memfs_page_set pages = content->pages;
    bool preallocated = content->preallocated;
    content->pages = (struct memfs_page_set){.count = pages.count};
    leave_region(content, store);
    content->pages = pages;
    content->preallocated = preallocated;
    content->place = MEMFS_LARGE;
    content->fd = fd;
    content->base = base;
    return 0;
}

/* Makes room for pages up to byte `end`. */
static int settle(struct memfs_content *content, const struct memfs_store *store, uint64_t end)
{
    bool small = max_u64(end, content->size) <= MEMFS_SMALL_REGION;
    if (content->place == MEMFS_SMALL && !small)
        return move_to_large(content, store);
    if (content->place != MEMFS_NOWHERE)
        return 0;
    enum memfs_place place = small ? MEMFS_SMALL : MEMFS_LARGE;
    int error = memfs_pool_take(store->pool, content->key, region_len(place), &content->fd, &content->base);
    if (error == 0)
        content->place = place;
    return error;
}

static void leave_if_empty(struct memfs_content *content, const struct memfs_store *store)
{
    if (content->pages.count == 0 && (content->place == MEMFS_SMALL || content->place == MEMFS_LARGE))
        leave_region(content, store);
}

int memfs_content_own(struct memfs_content *content, const struct memfs_store *store)
{
    if (content->place == MEMFS_OWN)
        return 0;
    int fd = memfs_pool_own_open(store->pool);
    if (fd < 0)
        return fd;
    /* What lies past the end stays behind, so the pages up to the end are all there is to pay for. */
    uint64_t need = pages_up_to(content->size);
    uint64_t had = content->charged;
    int error = need > had ? take_pages(content, store, need - had) : 0;
    if (error == 0)
        error = transfer_resize(fd, content->size);
    if (error == 0)
        error = copy_data(content, fd, 0);
    if (error == 0)
        error = transfer_resize(fd, content->size);
    if (error != 0) {
        memfs_pool_own_close(store->pool, fd);
        give_pages(content, store, content->charged - had);
        return error;
    }
    if (content->place != MEMFS_NOWHERE)
        leave_region(content, store);
    give_pages(content, store, content->charged - need);
    content->place = MEMFS_OWN;
    content->fd = fd;
    content->base = 0;
    return 0;
}

/* ---- reading and writing ---- */

ssize_t memfs_content_read(const struct memfs_content *content, const struct memfs_store *store,
                           const struct iovec *iov, int iovcnt, uint64_t offset)
{
    if (offset >= content->size)
        return 0;
    int fd = content->fd;
    uint64_t base = content->base;
    if (content->place == MEMFS_NOWHERE)
        memfs_pool_zeroes(store->pool, content->key, &fd, &base);
    struct memfs_vectors to = {iov, iovcnt, 0};
    uint64_t len = min_u64(memfs_vectors_total(iov, iovcnt), content->size - offset);
    return transfer_read(fd, base + offset, &to, len);
}

/* Moves up to len bytes from where they come from to fd. */
static ssize_t put(struct transfer_source *from, int fd, uint64_t at, uint64_t len)
{
    ssize_t n = from->vectors != NULL ? transfer_write(fd, at, from->vectors, len)
                                      : transfer_copy(from->fd, from->offset, fd, at, len);
    if (n > 0)
        from->offset += (uint64_t)n;
    return n;
}

/* How far [offset, offset + len) may go when only `pages` of its missing pages are paid for. */
static uint64_t len_within(const struct memfs_content *content, uint64_t offset, uint64_t len, uint64_t pages)
{
    uint64_t page = offset >> MEMFS_PAGE_SHIFT;
    uint64_t end = pages_up_to(offset + len);
    for (; page < end; page++) {
        if (memfs_page_set_has(&content->pages, page))
            continue;
        if (pages == 0)
            return (page << MEMFS_PAGE_SHIFT) - offset;
        pages--;
    }
    return len;
}

/* Enters the pages that a write reached, and gets rid of one that a failed copy may have left after them. */
static uint64_t enter_pages(struct memfs_content *content, uint64_t first, uint64_t reached, uint64_t end)
{
    uint64_t added = memfs_page_set_add(&content->pages, first, reached);
    if (reached < end && !memfs_page_set_has(&content->pages, reached))
        (void)transfer_punch(content->fd, content->base + (reached << MEMFS_PAGE_SHIFT), MEMFS_PAGE_SIZE);
    memfs_page_set_trim(&content->pages, reached, end);
    return added;
}

/* At most CHUNK_PAGES pages in a region of the pool. */
static ssize_t write_region(struct memfs_content *content, const struct memfs_store *store,
                            struct transfer_source *from, uint64_t offset, uint64_t len)
{
    uint64_t first = offset >> MEMFS_PAGE_SHIFT;
    uint64_t end = pages_up_to(offset + len);
    uint64_t missing = end - first - memfs_page_set_count(&content->pages, first, end);
    if (missing == 0)
        return put(from, content->fd, content->base + offset, len);

    int64_t paid = memfs_quota_take_some(store->quota, store->uid, MEMFS_PAGE_SIZE, missing);
    len = len_within(content, offset, len, paid > 0 ? (uint64_t)paid : 0);
    if (paid < 0)
        return len == 0 ? paid : put(from, content->fd, content->base + offset, len);
    content->charged += (uint64_t)paid;
    end = pages_up_to(offset + len);
    ssize_t n = -ENOSPC;
    if (memfs_page_set_prepare(&content->pages, first, end) == 0)
        n = put(from, content->fd, content->base + offset, len);
    uint64_t reached = n > 0 ? pages_up_to(offset + (uint64_t)n) : first;
    give_pages(content, store, (uint64_t)paid - enter_pages(content, first, reached, end));
    return n;
}

/* A file of its own pays up to its end. */
static ssize_t write_own(struct memfs_content *content, const struct memfs_store *store,
                         struct transfer_source *from, uint64_t offset, uint64_t len)
{
    uint64_t need = pages_up_to(offset + len);
    uint64_t had = content->charged;
    if (need > had) {
        int64_t paid = memfs_quota_take_some(store->quota, store->uid, MEMFS_PAGE_SIZE, need - had);
        uint64_t room = (had + (paid > 0 ? (uint64_t)paid : 0)) << MEMFS_PAGE_SHIFT;
        content->charged += paid > 0 ? (uint64_t)paid : 0;
        if (room <= offset) {
            give_pages(content, store, content->charged - had);
            return paid < 0 ? paid : -ENOSPC;
        }
        len = min_u64(len, room - offset);
    }
    ssize_t n = put(from, content->fd, offset, len);
    uint64_t size = max_u64(content->size, n > 0 ? offset + (uint64_t)n : 0);
    give_pages(content, store, content->charged - max_u64(had, pages_up_to(size)));
    return n;
}

static ssize_t write_from(struct memfs_content *content, const struct memfs_store *store,
                          struct transfer_source *from, uint64_t offset, uint64_t len)
{
    if (len == 0)
        return 0;
    if (offset >= MEMFS_LARGE_REGION)
        return -EFBIG;
    len = min_u64(len, MEMFS_LARGE_REGION - offset);
    int error = settle(content, store, offset + len);
    if (error != 0)
        return error;
    uint64_t done = 0;
    ssize_t n = 0;
    while (done < len) {
        uint64_t chunk_end = (((offset + done) >> MEMFS_PAGE_SHIFT) + CHUNK_PAGES) << MEMFS_PAGE_SHIFT;
        uint64_t want = min_u64(len - done, chunk_end - (offset + done));
        n = content->place == MEMFS_OWN ? write_own(content, store, from, offset + done, want)
                                        : write_region(content, store, from, offset + done, want);
        if (n <= 0)
            break;
        done += (uint64_t)n;
        content->size = max_u64(content->size, offset + done);
        if ((uint64_t)n < want)
            break;
    }
    leave_if_empty(content, store);
    return done > 0 ? (ssize_t)done : n;
}

ssize_t memfs_content_write(struct memfs_content *content, const struct memfs_store *store,
                            const struct iovec *iov, int iovcnt, uint64_t offset)
{
    struct memfs_vectors vectors = {iov, iovcnt, 0};
    struct transfer_source from = {.vectors = &vectors};
    return write_from(content, store, &from, offset, memfs_vectors_total(iov, iovcnt));
}

ssize_t memfs_content_copy(const struct memfs_content *in, uint64_t in_offset, struct memfs_content *out,
                           const struct memfs_store *out_store, uint64_t out_offset, uint64_t len)
{
    if (in_offset >= in->size)
        return 0;
    len = min_u64(len, in->size - in_offset);
    /* Settled first: when both are the same file this may move what is read. */
    if (len == 0 || out_offset >= MEMFS_LARGE_REGION)
        return len == 0 ? 0 : -EFBIG;
    int error = settle(out, out_store, min_u64(out_offset + len, MEMFS_LARGE_REGION));
    if (error != 0)
        return error;
    struct transfer_source from = {.fd = in->fd, .offset = in->base + in_offset};
    if (in->place == MEMFS_NOWHERE) {
        uint64_t base;
        memfs_pool_zeroes(out_store->pool, in->key, &from.fd, &base);
        from.offset = base + in_offset;
    }
    return write_from(out, out_store, &from, out_offset, len);
}

/* ---- size and holes ---- */

/* [from, to) of a file in the pool reads as zeroes; whole pages give their memory back. */
static int empty_range(struct memfs_content *content, const struct memfs_store *store, uint64_t from,
                       uint64_t to)
{
    if (content->place == MEMFS_NOWHERE)
        return 0;
    to = min_u64(to, region_len(content->place));
    if (from >= to || memfs_page_set_count(&content->pages, from >> MEMFS_PAGE_SHIFT, pages_up_to(to)) == 0)
        return 0;
    int error = transfer_punch(content->fd, content->base + from, to - from);
    if (error != 0)
        return error;
    uint64_t first = pages_up_to(from);
    uint64_t end = to >> MEMFS_PAGE_SHIFT;
    if (first < end)
        give_pages(content, store, memfs_page_set_remove(&content->pages, first, end));
    leave_if_empty(content, store);
    return 0;
}

static int resize_own(struct memfs_content *content, const struct memfs_store *store, uint64_t size)
{
    uint64_t need = pages_up_to(size);
    uint64_t had = content->charged;
    int error = need > had ? take_pages(content, store, need - had) : 0;
    if (error != 0)
        return error;
    error = transfer_resize(content->fd, size);
    if (error != 0) {
        give_pages(content, store, content->charged - had);
        return error;
    }
    if (size <= content->size)
        give_pages(content, store, content->charged - need);
    content->size = size;
    return 0;
}

int memfs_content_resize(struct memfs_content *content, const struct memfs_store *store, uint64_t size)
{
    if (size > MEMFS_LARGE_REGION)
        return -EFBIG;
    if (content->place == MEMFS_OWN)
        return resize_own(content, store, size);
    int error = 0;
    if (size <= content->size)
        error = empty_range(content, store, size, MEMFS_LARGE_REGION);
    else if (content->place == MEMFS_SMALL && size > MEMFS_SMALL_REGION)
        error = move_to_large(content, store);
    if (error == 0)
        content->size = size;
    return error;
}

static int allocate_own(struct memfs_content *content, const struct memfs_store *store, uint64_t offset,
                        uint64_t len, bool keep_size)
{
    uint64_t need = pages_up_to(offset + len);
    uint64_t had = content->charged;
    int error = need > had ? take_pages(content, store, need - had) : 0;
    if (error != 0)
        return error;
    error = transfer_allocate_mode(content->fd, offset, len, keep_size ? FALLOC_FL_KEEP_SIZE : 0);
    if (error != 0)
        give_pages(content, store, content->charged - had);
    return error;
}

static int allocate_region(struct memfs_content *content, const struct memfs_store *store, uint64_t offset,
                           uint64_t len)
{
    uint64_t first = offset >> MEMFS_PAGE_SHIFT;
    uint64_t end = pages_up_to(offset + len);
    uint64_t missing = end - first - memfs_page_set_count(&content->pages, first, end);
    int error = take_pages(content, store, missing); /* first: it bounds what follows */
    if (error != 0)
        return error;
    error = memfs_page_set_prepare(&content->pages, first, end) != 0 ? -ENOSPC : 0;
    if (error == 0)
        error = transfer_allocate(content->fd, content->base + offset, len);
    if (error != 0) {
        memfs_page_set_trim(&content->pages, first, end);
        give_pages(content, store, missing);
        return error;
    }
    memfs_page_set_add(&content->pages, first, end);
    content->preallocated = true;
    return 0;
}

int memfs_content_allocate(struct memfs_content *content, const struct memfs_store *store, uint64_t offset,
                           uint64_t len, bool keep_size)
{
    uint64_t end;
    if (!checked_add_u64(offset, len, &end) || end > MEMFS_LARGE_REGION)
        return -EFBIG;
    int error;
    if (content->place == MEMFS_OWN) {
        error = allocate_own(content, store, offset, len, keep_size);
    } else {
        error = settle(content, store, end);
        if (error == 0)
            error = allocate_region(content, store, offset, len);
        leave_if_empty(content, store);
    }
    if (error == 0 && !keep_size)
        content->size = max_u64(content->size, end);
    return error;
}

int memfs_content_punch(struct memfs_content *content, const struct memfs_store *store, uint64_t offset,
                        uint64_t len)
{
    uint64_t end;
    if (!checked_add_u64(offset, len, &end))
        end = MEMFS_LARGE_REGION;
    if (content->place == MEMFS_OWN)
        return transfer_punch(content->fd, offset,
                              min_u64(end, MEMFS_LARGE_REGION) - min_u64(offset, MEMFS_LARGE_REGION));
    return empty_range(content, store, offset, end);
}

int64_t memfs_content_seek(const struct memfs_content *content, uint64_t offset, int whence)
{
    if (offset >= content->size)
        return -ENXIO;
    if (content->place == MEMFS_NOWHERE)
        return whence == SEEK_HOLE ? (int64_t)offset : -ENXIO;
    /* The position of the descriptor changes by this, but nothing uses it. */
    off_t found = lseek(content->fd, (off_t)(content->base + offset), whence);
    if (found < 0)
        return errno == ENXIO ? -ENXIO : -EIO;
    uint64_t at = (uint64_t)found - content->base;
    if (at < content->size)
        return (int64_t)at;
    return whence == SEEK_HOLE ? (int64_t)content->size : -ENXIO;
}

uint64_t memfs_content_blocks(const struct memfs_content *content)
{
    struct stat st;
    if (content->place == MEMFS_OWN && fstat(content->fd, &st) == 0)
        return (uint64_t)st.st_blocks;
    return content->charged << (MEMFS_PAGE_SHIFT - 9);
}
