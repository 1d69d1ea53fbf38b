#include <oriel/fuse_dev.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "virtio/worker_pool.h"

#define DEFAULT_THREADS 2
#define MAX_THREADS     64
/* The kernel wants room for the largest WRITE in every read, and a READ's reply is as large. */
#define BUFFER_SIZE    ((size_t)(1 << 20) + 65536)
#define TASK_ROOM      4096  /* for the reply of a request that may block: none carries data */
#define TASK_MAX_BYTES 65536 /* a longer request is no ordinary one, and is served where it came */

struct worker {
    struct oriel_fuse_dev *dev;
    pthread_t thread;
    int fd;
    bool own_fd;
    void *in, *out;
};

struct oriel_fuse_dev {
    struct oriel_fuse_server *server;
    struct oriel_worker_pool *pool;
    struct oriel_trace *trace;
    int fd;
    int done_fd;
    unsigned worker_count;
    struct worker workers[MAX_THREADS];
    _Atomic unsigned running; /* workers */
    pthread_mutex_t lock;
    pthread_cond_t drained;
    unsigned tasks; /* in the pool */
    _Atomic bool stopping;
};

/* A request in the pool: a copy, as the worker goes on with its buffers. */
struct blocking_task {
    struct worker_task task;
    struct oriel_fuse_dev *dev;
    int fd;
    size_t len;
    char reply[TASK_ROOM];
    char request[];
};

/* ---- serving ---- */

static void complain_about_reply(struct oriel_fuse_dev *dev, int fd, const void *request, int error)
{
    struct fuse_in_header in;
    memcpy(&in, request, sizeof(in));
    ORIEL_TRACE(dev->trace, "fuse_dev reply to opcode %u refused by the kernel: %s", in.opcode,
                strerror(error));
    /* The caller would wait for ever. */
    struct fuse_out_header out = {.len = sizeof(out), .error = -EIO, .unique = in.unique};
    (void)!write(fd, &out, sizeof(out));
}

static void send_reply(struct oriel_fuse_dev *dev, int fd, const void *request, const void *reply, size_t len)
{
    if (len == 0)
        return;
    ssize_t n;
    do
        n = write(fd, reply, len);
    while (n < 0 && errno == EINTR);
    /* ENOENT: interrupted meanwhile, nobody wants the answer. ENODEV, EPERM: the connection has ended. */
    if (n < 0 && errno != ENOENT && errno != ENODEV && errno != EPERM)
        complain_about_reply(dev, fd, request, errno);
}

static struct oriel_fuse_request request_of(const struct iovec *in, const struct iovec *out)
{
    return (struct oriel_fuse_request){.in = in, .in_count = 1, .out = out, .out_count = 1};
}

static void serve_here(struct oriel_fuse_dev *dev, int fd, struct iovec in, struct iovec out)
{
    struct oriel_fuse_request request = request_of(&in, &out);
    size_t len = oriel_fuse_server_handle(dev->server, &request);
    send_reply(dev, fd, in.iov_base, out.iov_base, len);
}

static void task_done(struct oriel_fuse_dev *dev)
{
    pthread_mutex_lock(&dev->lock);
    if (--dev->tasks == 0)
        pthread_cond_broadcast(&dev->drained);
    pthread_mutex_unlock(&dev->lock);
}

static void run_task(struct worker_task *task)
{
    struct blocking_task *blocking = (struct blocking_task *)task; /* its first member */
    struct oriel_fuse_dev *dev = blocking->dev;
    struct iovec in = {blocking->request, blocking->len};
    struct iovec out = {blocking->reply, sizeof(blocking->reply)};
    struct oriel_fuse_request request = request_of(&in, &out);
    size_t len = oriel_fuse_server_handle(dev->server, &request);
    /* A wait that we end ourselves gets no answer: the kernel takes EINTR for a signal to the caller, who
     * would see ERESTARTSYS. The end of the connection tells it better. */
    if (!atomic_load(&dev->stopping))
        send_reply(dev, blocking->fd, blocking->request, blocking->reply, len);
    free(blocking);
    task_done(dev);
}

/* False: it has to be served here. */
static bool hand_over(struct worker *worker, size_t len)
{
    struct oriel_fuse_dev *dev = worker->dev;
    struct blocking_task *blocking = len > TASK_MAX_BYTES ? NULL : malloc(sizeof(*blocking) + len);
    if (blocking == NULL)
        return false;
    blocking->task = (struct worker_task){.run = run_task};
    blocking->dev = dev;
    blocking->fd = worker->fd;
    blocking->len = len;
    memcpy(blocking->request, worker->in, len);
    pthread_mutex_lock(&dev->lock);
    dev->tasks++;
    pthread_mutex_unlock(&dev->lock);
    worker_pool_submit(dev->pool, &blocking->task);
    return true;
}

static void serve(struct worker *worker, size_t len)
{
    struct oriel_fuse_dev *dev = worker->dev;
    struct iovec in = {worker->in, len};
    struct iovec out = {worker->out, BUFFER_SIZE};
    struct oriel_fuse_request request = request_of(&in, &out);
    if (dev->pool != NULL && oriel_fuse_server_weight(dev->server, &request) == ORIEL_FUSE_MAY_BLOCK &&
        hand_over(worker, len))
        return;
    serve_here(dev, worker->fd, in, out);
}

/*
 * The next request; 0: the connection has ended. The only place where a worker can be cancelled, so that
 * stopping needs no signal of ours and no second system call for each request.
 */
static size_t next_request(struct worker *worker)
{
    for (;;) {
        int state;
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
        ssize_t n = read(worker->fd, worker->in, BUFFER_SIZE);
        int error = errno;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
        if (n >= (ssize_t)sizeof(struct fuse_in_header))
            return (size_t)n;
        /* ENOENT: the request was interrupted before we had it. */
        if (n < 0 && (error == EINTR || error == ENOENT || error == EAGAIN))
            continue;
        if (n < 0 && error != ENODEV)
            ORIEL_TRACE(worker->dev->trace, "fuse_dev read: %s", strerror(error));
        return 0;
    }
}

static void worker_ended(void *arg)
{
    struct worker *worker = arg;
    struct oriel_fuse_dev *dev = worker->dev;
    if (atomic_fetch_sub(&dev->running, 1) == 1)
        (void)eventfd_write(dev->done_fd, 1);
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    int state;
    pthread_cleanup_push(worker_ended, worker);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state); /* but for next_request() */
    size_t len;
    while ((len = next_request(worker)) > 0)
        serve(worker, len);
    pthread_cleanup_pop(1);
    return NULL;
}

/* ---- start and stop ---- */

/* A clone has its own queue of requests in work; without one the threads share. */
static void clone_fd(struct oriel_fuse_dev *dev, struct worker *worker)
{
    worker->fd = dev->fd;
    cleanup_fd int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    uint32_t master = (uint32_t)dev->fd;
    if (clone < 0 || ioctl(clone, FUSE_DEV_IOC_CLONE, &master) != 0)
        return;
    worker->fd = take_fd(&clone);
    worker->own_fd = true;
}

static void *map_buffer(void)
{
    void *buffer = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return buffer == MAP_FAILED ? NULL : buffer;
}

static void free_worker(struct worker *worker)
{
    if (worker->in != NULL)
        munmap(worker->in, BUFFER_SIZE);
    if (worker->out != NULL)
        munmap(worker->out, BUFFER_SIZE);
    if (worker->own_fd)
        close(worker->fd);
}

static int start_worker(struct oriel_fuse_dev *dev, bool first)
{
    struct worker *worker = &dev->workers[dev->worker_count];
    *worker = (struct worker){.dev = dev, .fd = dev->fd, .in = map_buffer(), .out = map_buffer()};
    if (worker->in == NULL || worker->out == NULL) {
        free_worker(worker);
        return -ENOMEM;
    }
    if (!first)
        clone_fd(dev, worker);
    atomic_fetch_add(&dev->running, 1);
    int error = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (error != 0) {
        atomic_fetch_sub(&dev->running, 1);
        free_worker(worker);
        return -EAGAIN;
    }
    dev->worker_count++;
    return 0;
}

/* One thread at least; more as far as they can be had. */
static int start_workers(struct oriel_fuse_dev *dev, unsigned threads)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = 0;
    for (unsigned i = 0; i < threads && error == 0; i++)
        error = start_worker(dev, i == 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return dev->worker_count > 0 ? 0 : error;
}

static void free_dev(struct oriel_fuse_dev *dev)
{
    if (dev->done_fd >= 0)
        close(dev->done_fd);
    pthread_cond_destroy(&dev->drained);
    pthread_mutex_destroy(&dev->lock);
    free(dev);
}

int oriel_fuse_dev_start(const struct oriel_fuse_dev_options *options, struct oriel_fuse_dev **out)
{
    if (options == NULL || options->size < sizeof(*options) || options->server == NULL || options->fd < 0 ||
        options->threads > MAX_THREADS)
        return -EINVAL;
    struct oriel_fuse_dev *dev = calloc(1, sizeof(*dev));
    if (dev == NULL)
        return -ENOMEM;
    dev->server = options->server;
    dev->pool = options->pool;
    dev->trace = options->trace;
    dev->fd = options->fd;
    pthread_mutex_init(&dev->lock, NULL);
    pthread_cond_init(&dev->drained, NULL);
    dev->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = dev->done_fd < 0 ? -ENOMEM : 0;
    if (error == 0)
        error = start_workers(dev, options->threads != 0 ? options->threads : DEFAULT_THREADS);
    if (error != 0) {
        free_dev(dev);
        return error;
    }
    *out = dev;
    return 0;
}

int oriel_fuse_dev_done_fd(const struct oriel_fuse_dev *dev)
{
    return dev->done_fd;
}

/* Whoever begins to wait for a lock after an interrupt is met by the next one. */
static void drain_tasks(struct oriel_fuse_dev *dev)
{
    pthread_mutex_lock(&dev->lock);
    while (dev->tasks > 0) {
        oriel_fuse_server_interrupt(dev->server);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 20000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        pthread_cond_timedwait(&dev->drained, &dev->lock, &until);
    }
    pthread_mutex_unlock(&dev->lock);
}

void oriel_fuse_dev_stop(struct oriel_fuse_dev *dev)
{
    if (dev == NULL)
        return;
    atomic_store(&dev->stopping, true);
    for (unsigned i = 0; i < dev->worker_count; i++)
        pthread_cancel(dev->workers[i].thread);
    oriel_fuse_server_interrupt(dev->server); /* without a pool a worker itself may wait */
    for (unsigned i = 0; i < dev->worker_count; i++)
        pthread_join(dev->workers[i].thread, NULL);
    drain_tasks(dev);
    for (unsigned i = 0; i < dev->worker_count; i++)
        free_worker(&dev->workers[i]);
    close(dev->fd);
    free_dev(dev);
}
