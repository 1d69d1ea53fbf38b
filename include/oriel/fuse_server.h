/*
 * The FUSE server: decodes and checks requests, owns node and handle tables, drives a back-end (fs.h) and a
 * DAX session (dax.h).
 *
 * It knows no transport: the virtio-fs device, vhost-user, /dev/fuse and the tests hand it requests as
 * vectors of memory. Protocol: Linux include/uapi/linux/fuse.h, 7.27 to 7.45, either byte order of the
 * guest's choosing is detected at INIT (only little-endian is served; others are refused with EIO).
 */
#ifndef ORIEL_FUSE_SERVER_H
#define ORIEL_FUSE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <oriel/dax.h>
#include <oriel/fs.h>
#include <oriel/trace.h>
#include <oriel/xattr_map.h>

#ifdef __cplusplus
extern "C" {
#endif

enum oriel_cache_mode {
    ORIEL_CACHE_AUTO = 0,
    ORIEL_CACHE_NEVER,
    ORIEL_CACHE_METADATA, /* metadata cached, data not (FOPEN_DIRECT_IO) */
    ORIEL_CACHE_ALWAYS,
};

struct oriel_fuse_server_options {
    size_t size;        /* sizeof(struct oriel_fuse_server_options) */
    struct oriel_fs fs; /* taken over: the server destroys it */
    enum oriel_cache_mode cache;
    uint64_t entry_timeout_ns, attr_timeout_ns, negative_timeout_ns; /* all 0 = by cache mode */
    uint32_t max_write;                                              /* bytes, 4 KiB to 1 MiB; 0 = 1 MiB */
    bool read_only; /* refuse every modifying operation with EROFS, whatever the back-end would do */
    /* Offer FUSE_WRITEBACK_CACHE: the guest keeps written data, sizes and times back, and places appends itself. For
     * files that nobody else writes. A name that is missing is then cached for 10 ms where negative_timeout_ns is 0, or
     * Linux could lose data of processes that append to a file which one of them has just created. Takes effect with
     * ORIEL_CACHE_AUTO and ORIEL_CACHE_ALWAYS. */
    bool writeback;
    bool no_readdirplus;
    bool posix_locks, flock_locks;
    bool xattr, posix_acl, security_label;
    bool announce_submounts;
    bool allow_direct_io_mmap;
    uint64_t max_nodes;   /* bound on nodes a guest may hold; 0 = 16,777,216 */
    uint32_t max_handles; /* bound on open handles; 0 = 1,048,576 */
    struct oriel_trace *trace;
    bool timing; /* measure each request: total_ns and histogram of the statistics */
    /*
     * Let the guest open files and folders without asking (it is told ENOSYS once): no OPEN, RELEASE, OPENDIR,
     * RELEASEDIR any more. Takes effect only with read_only and ORIEL_CACHE_ALWAYS, where nothing can go wrong
     * with it, and with a guest that offers FUSE_NO_OPEN_SUPPORT and FUSE_NO_OPENDIR_SUPPORT.
     */
    bool no_open;
    /* With xattr: name spaces beyond user.* that the guest may use, if the back-end lets it too; ACLs go with
     * posix_acl. security_label implies security_xattr. All others are EOPNOTSUPP and not listed. */
    bool security_xattr, trusted_xattr;
    uint32_t max_lock_waiters; /* SETLKW requests that may wait at once, further ones get ENOLCK; 0 = 64 */
    /*
     * With xattr: the map alone says which names a guest may use, and what the back-end is asked for; security_xattr,
     * trusted_xattr and the name of a new file's label no longer count. The back-end has to offer the names that the map yields.
     * ACLs go with posix_acl still, and posix_acl only with a map that keeps both their names (else -EINVAL): the host's
     * kernel obeys them under no other name.
     * Under another name security.capability is no more than data to the host's kernel. So where the map moves it the server
     * removes it, by its name on the host, before whatever would end capabilities (WRITE, FALLOCATE, COPY_FILE_RANGE, a new
     * size or owner, O_TRUNC), and that operation fails where it cannot. Stores through a mapping end none, as on any file
     * system. With the back-end's enforce_credentials it acts as the guest's caller: then don't map it to trusted.*.
     * The caller's; lives longer than the server. NULL: none.
     */
    const struct oriel_xattr_map *xattr_map;
    /* Do not offer FUSE_HANDLE_KILLPRIV_V2: the guest then takes suid, sgid and file capabilities away itself, a
     * SETATTR or REMOVEXATTR before a write, truncation or change of owner. For folders on NFS, whose server decides by
     * itself whether a write does. */
    bool no_killpriv_v2;
};

struct oriel_fuse_server;

/* Errors: -EINVAL, -ENOMEM, or what the back-end's root() says. On failure fs is still the caller's. */
int oriel_fuse_server_create(const struct oriel_fuse_server_options *options, struct oriel_fuse_server **out);

/* No request may be running. Releases all handles and nodes, and the back-end. NULL is allowed. */
void oriel_fuse_server_destroy(struct oriel_fuse_server *server);

/* Where a DAX session gets its files: for oriel_dax_options.source. Lives as long as the server. */
const struct oriel_dax_source *oriel_fuse_server_dax_source(struct oriel_fuse_server *server);

/* Connects the session that SETUPMAPPING and REMOVEMAPPING go to; NULL takes it away. Before the first
 * request. */
void oriel_fuse_server_attach_dax(struct oriel_fuse_server *server, struct oriel_dax *dax);

#define ORIEL_FUSE_HIPRIO UINT32_C(1) /* from the hiprio queue */
#define ORIEL_FUSE_NOWAIT UINT32_C(4) /* answer ORIEL_FUSE_WOULD_BLOCK rather than wait for a disk */
#define ORIEL_FUSE_GUARDED                                                                                   \
    UINT32_C(2) /* some of the memory may fault (DAX window): copy by system calls only */

struct oriel_fuse_request {
    const struct iovec *in; /* device-readable: in_header, arguments, data; split anywhere */
    size_t in_count;
    const struct iovec *out; /* device-writable: out_header, reply, data; split anywhere */
    size_t out_count;
    uint32_t flags; /* ORIEL_FUSE_* */
};

/*
 * Serves one request from start to end and writes the reply, if the operation has one. Header and arguments
 * are copied once and only the copy is parsed; READ and WRITE data goes straight between the file and the
 * vectors. Returns the number of bytes written into `out` = the reply's out_header.len = the virtqueue's used
 * length; 0 when there is no reply (FORGET, BATCH_FORGET, a request too short for a header, no room for a
 * reply header). Any thread, several at once. May block as long as the back-end's system calls do.
 *
 * With ORIEL_FUSE_NOWAIT a READ whose data is not in the host's memory returns ORIEL_FUSE_WOULD_BLOCK: nothing
 * was replied or counted, and the transport serves the request again without the flag, where waiting hurts less.
 */
#define ORIEL_FUSE_WOULD_BLOCK SIZE_MAX
size_t oriel_fuse_server_handle(struct oriel_fuse_server *server, const struct oriel_fuse_request *request);

enum oriel_fuse_weight {
    ORIEL_FUSE_INLINE = 0, /* quick or ordinary: serve on the queue's thread */
    ORIEL_FUSE_MAY_BLOCK =
        1 /* may block for long (SETLKW, FSYNC, SYNCFS, …): a transport with a pool hands it off */
};

/* Peeks at the opcode only; never fails. */
enum oriel_fuse_weight oriel_fuse_server_weight(struct oriel_fuse_server *server,
                                                const struct oriel_fuse_request *request);

/* Makes every request that waits for a lock return EINTR now: before stopping queues. One that begins to wait
 * later is not affected: a caller that waits for its queues calls again until they are empty. */
void oriel_fuse_server_interrupt(struct oriel_fuse_server *server);

/* Device reset, end of the connection: as FUSE_DESTROY. Waits for running requests. */
void oriel_fuse_server_reset(struct oriel_fuse_server *server);

#define ORIEL_FUSE_OPCODES 54

struct oriel_fuse_op_stats {
    uint64_t count, errors;
    uint64_t total_ns;      /* 0 while timing is off */
    uint64_t histogram[32]; /* bucket i: requests of [2^i, 2^(i+1)) ns; all 0 while timing is off */
};

struct oriel_fuse_stats {
    uint64_t requests, errors, bad_requests; /* bad: malformed, forged, or out of protocol */
    uint64_t read_bytes, write_bytes;        /* moved by READ and WRITE */
    uint64_t nodes, handles, lookups;
    struct oriel_fuse_op_stats ops[ORIEL_FUSE_OPCODES]; /* by opcode; 0 collects the unknown ones */
};
void oriel_fuse_server_stats(struct oriel_fuse_server *server, struct oriel_fuse_stats *out);

/* "LOOKUP" for 1; "UNKNOWN" for numbers that are none. */
const char *oriel_fuse_opcode_name(uint32_t opcode);

#ifdef __cplusplus
}
#endif

#endif
