/* First touch of SAVED slots through userfaultfd. */
#include <oriel/dax.h>
#include <oriel/mapper.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dax/bind.h"
#include "mapper/arena.h"

#define AHEAD_DEFAULT (UINT64_C(64) << 20)
#define SKIP          (UINT64_C(2) << 20) /* over a slot that cannot be bound */
#define MESSAGES      16

struct oriel_arena_uffd {
    struct oriel_arena *arena;
    struct oriel_dax *dax;
    struct oriel_trace *trace;
    uint64_t ahead_bytes;
    bool on_touch_only;
    int fd, stop_fd;
    pthread_t thread;
    uint64_t page;
    /* The thread's own: where it goes on binding while nothing else is to do. */
    bool behind;
    uint64_t cursor;
    _Atomic uint64_t faults, binds, slots, errors;
};

/* ---- opening ---- */

static int new_uffd(void)
{
#ifdef USERFAULTFD_IOC_NEW
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device >= 0) {
        int fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        close(device);
        if (fd >= 0)
            return fd;
    }
#endif
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 ? fd : -errno;
}

static int open_uffd(struct oriel_trace *trace)
{
    cleanup_fd int fd = new_uffd();
    struct uffdio_api api = {.api = UFFD_API};
    if (fd < 0) {
        ORIEL_TRACE(trace,
                    "userfaultfd is not to be had (%d): call oriel_dax_bind_all() when KVM_RUN says EFAULT",
                    fd);
        return fd == -EPERM || fd == -ENOSYS || fd == -ENOMEM ? fd : -EIO;
    }
    if (ioctl(fd, UFFDIO_API, &api) != 0)
        return -ENOSYS;
    return take_fd(&fd);
}

/* ---- the thread ---- */

static void count_bind(struct oriel_arena_uffd *uffd, int64_t slots)
{
    if (slots > 0) {
        uffd->binds++;
        uffd->slots += (uint64_t)slots;
    }
}

static int disarm_range(void *opaque, uint64_t moffset, uint64_t len)
{
    struct oriel_arena_uffd *uffd = opaque;
    return arena_disarm(uffd->arena, moffset, len);
}

/*
 * Whatever comes of it, the toucher is woken: it goes on, or gets the EFAULT of what the range shows then. Past the
 * end of the file is not looked at: the mapping itself says so, for that page alone.
 */
static void serve_fault(struct oriel_arena_uffd *uffd, uint64_t offset, bool write)
{
    uint64_t end;
    uffd->faults++;
    int64_t result = dax_bind_ahead(uffd->dax, offset, false, uffd->ahead_bytes);
    count_bind(uffd, result);
    if (result >= 0 && write)
        result = oriel_dax_fault(uffd->dax, oriel_dax_window_gpa(uffd->dax) + offset, ORIEL_DAX_WRITE);
    if (result < 0) {
        uffd->errors++;
        ORIEL_TRACE(uffd->trace, "arena fault at moffset %#llx, %s: %lld", (unsigned long long)offset,
                    write ? "write" : "read", (long long)result);
        (void)dax_with_saved(uffd->dax, offset, disarm_range, uffd, false, &end);
    }
    if (!uffd->on_touch_only && !uffd->behind) {
        uffd->behind = true;
        uffd->cursor = offset;
    }
}

static void read_faults(struct oriel_arena_uffd *uffd)
{
    struct uffd_msg messages[MESSAGES];
    ssize_t got = read(uffd->fd, messages, sizeof(messages));
    for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(messages[0]); i++) {
        if (messages[i].event != UFFD_EVENT_PAGEFAULT)
            continue;
        uint64_t address = messages[i].arg.pagefault.address & ~(uffd->page - 1);
        serve_fault(uffd, address - (uintptr_t)uffd->arena->base,
                    (messages[i].arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0);
        struct uffdio_range range = {.start = address, .len = uffd->page};
        ioctl(uffd->fd, UFFDIO_WAKE, &range);
    }
}

/* Binds one more run of what the guest has not touched yet; from the first touch to the end, then from the start. */
static void bind_one_behind(struct oriel_arena_uffd *uffd)
{
    if (!dax_next_saved(uffd->dax, &uffd->cursor)) {
        uint64_t first = 0;
        uffd->behind = uffd->cursor != 0 && dax_next_saved(uffd->dax, &first) && first < uffd->cursor;
        uffd->cursor = 0;
        return;
    }
    int64_t result = dax_bind_ahead(uffd->dax, uffd->cursor, false, uffd->ahead_bytes);
    count_bind(uffd, result);
    if (result < 0)
        uffd->cursor += SKIP;
}

static void *serve(void *arg)
{
    struct oriel_arena_uffd *uffd = arg;
    struct pollfd fds[2] = {{.fd = uffd->fd, .events = POLLIN}, {.fd = uffd->stop_fd, .events = POLLIN}};
    for (;;) {
        int ready = poll(fds, 2, uffd->behind ? 0 : -1);
        if (ready < 0 && errno != EINTR)
            return NULL;
        if (ready > 0 && fds[1].revents != 0)
            return NULL;
        if (ready > 0 && fds[0].revents != 0)
            read_faults(uffd);
        else if (ready == 0)
            bind_one_behind(uffd);
    }
}

static int start_thread(struct oriel_arena_uffd *uffd)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&uffd->thread, NULL, serve, uffd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err == 0 ? 0 : -ENOMEM;
}

int oriel_arena_uffd_start(const struct oriel_arena_uffd_options *options, struct oriel_arena_uffd **out)
{
    if (options->size < sizeof(*options) || options->arena == NULL || options->dax == NULL)
        return -EINVAL;
    cleanup_fd int fd = open_uffd(options->trace);
    if (fd < 0)
        return fd;
    cleanup_fd int stop_fd = eventfd(0, EFD_CLOEXEC);
    struct oriel_arena_uffd *uffd = calloc(1, sizeof(*uffd));
    if (stop_fd < 0 || uffd == NULL) {
        free(uffd);
        return -ENOMEM;
    }
    uffd->arena = options->arena;
    uffd->dax = options->dax;
    uffd->trace = options->trace;
    uffd->ahead_bytes = options->ahead_bytes != 0 ? options->ahead_bytes : AHEAD_DEFAULT;
    uffd->on_touch_only = options->on_touch_only;
    uffd->page = (uint64_t)sysconf(_SC_PAGESIZE);
    uffd->fd = fd;
    uffd->stop_fd = stop_fd;
    int err = start_thread(uffd);
    if (err != 0) {
        free(uffd);
        return err;
    }
    take_fd(&fd);
    take_fd(&stop_fd);
    *out = uffd;
    return 0;
}

/* ---- arming ---- */

static int arm_range(void *opaque, uint64_t moffset, uint64_t len)
{
    struct oriel_arena_uffd *uffd = opaque;
    int err = arena_arm(uffd->arena, moffset, len);
    if (err != 0)
        return err;
    struct uffdio_register range = {
        .range = {.start = (uintptr_t)uffd->arena->base + moffset, .len = len},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    if (ioctl(uffd->fd, UFFDIO_REGISTER, &range) == 0)
        return 0;
    err = errno == ENOMEM ? -ENOMEM : -EIO;
    (void)arena_disarm(uffd->arena, moffset, len);
    return err;
}

int64_t oriel_arena_uffd_arm(struct oriel_arena_uffd *uffd)
{
    struct oriel_dax_stats stats;
    uint64_t at = 0, end;
    while (dax_next_saved(uffd->dax, &at)) {
        int err = dax_with_saved(uffd->dax, at, arm_range, uffd, true, &end);
        if (err != 0)
            return err;
        at = end;
    }
    oriel_dax_stats(uffd->dax, &stats);
    ORIEL_TRACE(uffd->trace, "arena armed %llu slots", (unsigned long long)stats.saved);
    return (int64_t)stats.saved;
}

void oriel_arena_uffd_stats(struct oriel_arena_uffd *uffd, struct oriel_arena_uffd_stats *out)
{
    *out = (struct oriel_arena_uffd_stats){uffd->faults, uffd->binds, uffd->slots, uffd->errors};
}

void oriel_arena_uffd_stop(struct oriel_arena_uffd *uffd)
{
    uint64_t one = 1, at = 0, end;
    if (uffd == NULL)
        return;
    ssize_t ignored = write(uffd->stop_fd, &one, sizeof(one));
    (void)ignored;
    pthread_join(uffd->thread, NULL);
    /* Without the descriptor, armed memory would show zeroes. */
    while (dax_next_saved(uffd->dax, &at)) {
        (void)dax_with_saved(uffd->dax, at, disarm_range, uffd, true, &end);
        at = end;
    }
    close(uffd->fd);
    close(uffd->stop_fd);
    free(uffd);
}
