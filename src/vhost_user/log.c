#include "vhost_user/log.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"

int dirty_log_init(struct dirty_log *log, struct mapped_ranges *ranges)
{
    atomic_init(&log->on, false);
    log->ranges = ranges;
    log->bits = NULL;
    log->size = 0;
    log->event_fd = -1;
    return -pthread_rwlock_init(&log->lock, NULL);
}

void dirty_log_destroy(struct dirty_log *log)
{
    dirty_log_clear(log);
    pthread_rwlock_destroy(&log->lock);
}

/* The front-end can cut the file at any time: see mapped_ranges.h. */
static int map_bits(struct dirty_log *log, const struct vhost_user_log *wire, int fd, const char **fault,
                    uint8_t **out, uint64_t *out_len)
{
    uint64_t len = mapped_ranges_whole_pages(fd, wire->size);
    void *bits = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)wire->offset);
    if (bits == MAP_FAILED) {
        *fault = "log cannot be mapped";
        return -errno;
    }
    if (!mapped_ranges_insert(log->ranges, (uintptr_t)bits, len)) {
        *fault = "too many regions are still in use";
        munmap(bits, len);
        return -ENOSPC;
    }
    *out = bits;
    *out_len = len;
    return 0;
}

static void unmap_bits(struct dirty_log *log, uint8_t *bits, uint64_t len)
{
    if (bits == NULL)
        return;
    mapped_ranges_remove(log->ranges, (uintptr_t)bits);
    munmap(bits, len);
}

int dirty_log_set(struct dirty_log *log, const struct vhost_user_log *wire, int fd, const char **fault)
{
    struct stat st;
    uint64_t end;
    if (wire->size == 0 || !is_aligned(wire->offset, (uint64_t)sysconf(_SC_PAGESIZE)) ||
        !checked_add_u64(wire->offset, wire->size, &end)) {
        *fault = "log is empty, wraps or does not begin at a page";
        return -EINVAL;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || end > (uint64_t)st.st_size) {
        *fault = "log is no regular file or shorter than it says";
        return -EINVAL;
    }
    uint8_t *bits = NULL;
    uint64_t len = 0;
    int r = map_bits(log, wire, fd, fault, &bits, &len);
    if (r != 0)
        return r;
    pthread_rwlock_wrlock(&log->lock);
    uint8_t *old = log->bits;
    uint64_t old_len = log->mapped_len;
    log->bits = bits;
    log->size = wire->size;
    log->mapped_len = len;
    pthread_rwlock_unlock(&log->lock);
    unmap_bits(log, old, old_len);
    return 0;
}

void dirty_log_set_event(struct dirty_log *log, int event_fd)
{
    pthread_rwlock_wrlock(&log->lock);
    int old = log->event_fd;
    log->event_fd = event_fd;
    pthread_rwlock_unlock(&log->lock);
    if (old >= 0)
        close(old);
}

void dirty_log_enable(struct dirty_log *log, bool on)
{
    atomic_store(&log->on, on);
}

void dirty_log_clear(struct dirty_log *log)
{
    atomic_store(&log->on, false);
    dirty_log_set_event(log, -1);
    pthread_rwlock_wrlock(&log->lock);
    unmap_bits(log, log->bits, log->mapped_len);
    log->bits = NULL;
    log->size = 0;
    pthread_rwlock_unlock(&log->lock);
}

static bool has_page(const struct dirty_log *log, uint64_t page)
{
    return page / 8 < log->size;
}

bool dirty_log_covers(struct dirty_log *log, uint64_t end)
{
    pthread_rwlock_rdlock(&log->lock);
    bool covers = log->bits != NULL && (end == 0 || has_page(log, (end - 1) / DIRTY_LOG_PAGE));
    pthread_rwlock_unlock(&log->lock);
    return covers;
}

static void mark_page(struct dirty_log *log, uint64_t page)
{
    /* The front-end clears bits at the same time. */
    __atomic_fetch_or(&log->bits[page / 8], (uint8_t)(1U << (page % 8)), __ATOMIC_SEQ_CST);
}

void dirty_log_mark(struct dirty_log *log, uint64_t address, uint64_t len)
{
    uint64_t last;
    if (len == 0 || !atomic_load_explicit(&log->on, memory_order_acquire) ||
        !checked_add_u64(address, len - 1, &last))
        return;
    pthread_rwlock_rdlock(&log->lock);
    if (log->bits != NULL) {
        for (uint64_t page = address / DIRTY_LOG_PAGE; page <= last / DIRTY_LOG_PAGE && has_page(log, page);
             page++)
            mark_page(log, page);
        if (log->event_fd >= 0)
            eventfd_write(log->event_fd, 1);
    }
    pthread_rwlock_unlock(&log->lock);
}
