/*
 * The /dev/fuse transport: the FUSE server as a mount of this host's kernel.
 *
 * oriel_fuse_mount() makes the mount and gives the descriptor that its requests come from,
 * oriel_fuse_dev_start() serves them. The transport owns its threads: they start and end with it.
 */
#ifndef ORIEL_FUSE_DEV_H
#define ORIEL_FUSE_DEV_H

#include <stdbool.h>
#include <stddef.h>

#include <oriel/fuse_server.h>
#include <oriel/trace.h>
#include <oriel/worker_pool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct oriel_fuse_mount_options {
    size_t size;            /* sizeof(struct oriel_fuse_mount_options) */
    const char *mountpoint; /* an existing folder */
    const char *source;     /* what /proc/mounts shows as the device; NULL = "oriel" */
    bool read_only;
    bool allow_other; /* users other than the one that mounts may look in */
};

/*
 * Mounts: by mount(2) where the caller may (CAP_SYS_ADMIN), else by fusermount3. Always nosuid, nodev,
 * default_permissions (the kernel checks permissions), of type fuse.oriel. Returns the descriptor (CLOEXEC,
 * the caller's), or -ENOENT, -ENOTDIR, -EACCES, -EPERM (fusermount3 refused; it said why on stderr),
 * -ENOTCONN (a mount whose server is gone is in the way), -ENODEV (no /dev/fuse), -EINVAL (options), or what
 * mount(2) says. Not thread safe where fusermount3 is used: it forks.
 */
int oriel_fuse_mount(const struct oriel_fuse_mount_options *options);

/*
 * Unmounts. lazy: takes the mount away from sight even while it is used; else -EBUSY then. Returns 0, -EBUSY,
 * -EINVAL (nothing is mounted there), -EPERM. The transport must be serving, as the kernel sends its last
 * requests.
 */
int oriel_fuse_unmount(const char *mountpoint, bool lazy);

struct oriel_fuse_dev_options {
    size_t size;                      /* sizeof(struct oriel_fuse_dev_options) */
    struct oriel_fuse_server *server; /* must outlive the transport */
    int fd;                           /* of /dev/fuse, mounted; taken over by success */
    unsigned threads;                 /* that serve, 1 to 64; 0 = 2 */
    /* Where requests go that may block for long (a wait for a lock, FSYNC), so that they do not hold up the
     * others; must outlive the transport. NULL: they are served where they come. */
    struct oriel_worker_pool *pool;
    struct oriel_trace *trace;
};

struct oriel_fuse_dev;

/*
 * Starts the threads, each with all signals blocked and where the kernel allows with its own clone of the
 * descriptor (FUSE_DEV_IOC_CLONE). Errors: -EINVAL, -ENOMEM, -EAGAIN (no thread could be started); nothing
 * has begun then.
 */
int oriel_fuse_dev_start(const struct oriel_fuse_dev_options *options, struct oriel_fuse_dev **out);

/* Becomes readable when the connection has ended: unmounted, or aborted. Lives as long as the transport. */
int oriel_fuse_dev_done_fd(const struct oriel_fuse_dev *dev);

/*
 * Ends the threads, makes what waits for a lock return, and closes the descriptors; if it is still mounted,
 * its users get ENOTCONN from then on. NULL is allowed.
 */
void oriel_fuse_dev_stop(struct oriel_fuse_dev *dev);

#ifdef __cplusplus
}
#endif

#endif
