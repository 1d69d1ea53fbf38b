/*
 * What the FUSE server costs, without a transport: requests as vectors straight into oriel_fuse_server_handle().
 *
 * First over a back-end that does nothing (the server's own time; the floor is filling in the request), then over
 * the passthrough back-end, beside the fewest system calls that do the same work in a plain loop. System calls per
 * request are counted by tracing a child, in a run of its own because that changes the times.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <oriel/fuse_server.h>
#include <oriel/passthrough.h>

#include "bench.h"
#include "fuse/wire.h"

#define REPEATS 20000
#define FILES   1000

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

/* ---- the client ---- */

struct message {
    struct wire_in_header header;
    uint8_t args[512];
};

struct link {
    struct oriel_fuse_server *server;
    uint64_t unique;
    uint8_t out[1 << 17];
    uint8_t data[1 << 20];
};

static int call(struct link *link, uint32_t opcode, uint64_t nodeid, const void *args, size_t len,
                const void *more, size_t more_len, size_t data_len)
{
    struct message m = {.header = {.opcode = opcode, .unique = ++link->unique, .nodeid = nodeid}};
    bool reads = opcode == FUSE_READ;
    if (len > 0)
        memcpy(m.args, args, len);
    if (more_len > 0)
        memcpy(m.args + len, more, more_len);
    size_t size = sizeof(m.header) + len + more_len;
    m.header.len = (uint32_t)(size + (reads ? 0 : data_len));
    struct iovec in[2] = {{&m, size}, {link->data, data_len}};
    struct iovec out[2] = {{link->out, reads ? 16 : sizeof(link->out)}, {link->data, data_len}};
    struct oriel_fuse_request r = {
        .in = in, .in_count = data_len != 0 && !reads ? 2 : 1, .out = out, .out_count = reads ? 2 : 1};
    size_t n = oriel_fuse_server_handle(link->server, &r);
    struct wire_out_header header = {0};
    if (n >= sizeof(header))
        memcpy(&header, link->out, sizeof(header));
    return header.error;
}

static void init(struct link *link, const struct oriel_fs *fs)
{
    struct oriel_fuse_server_options options = {.size = sizeof(options), .fs = *fs, .xattr = true};
    struct wire_init_in in = {.major = 7, .minor = 41, .flags = UINT32_MAX, .flags2 = UINT32_MAX};
    must(oriel_fuse_server_create(&options, &link->server) == 0, "server");
    must(call(link, FUSE_INIT, 0, &in, sizeof(in), NULL, 0, 0) == 0, "INIT");
}

static uint64_t lookup(struct link *link, uint64_t parent, const char *name)
{
    struct wire_entry_out entry;
    if (call(link, FUSE_LOOKUP, parent, NULL, 0, name, strlen(name) + 1, 0) != 0)
        return 0;
    memcpy(&entry, link->out + 16, sizeof(entry));
    return entry.nodeid;
}

static void forget(struct link *link, uint64_t nodeid)
{
    struct wire_forget_in in = {1};
    call(link, FUSE_FORGET, nodeid, &in, sizeof(in), NULL, 0, 0);
}

static uint64_t open_file(struct link *link, uint64_t nodeid, uint32_t flags)
{
    struct wire_open_in in = {.flags = flags};
    struct wire_open_out out;
    must(call(link, FUSE_OPEN, nodeid, &in, sizeof(in), NULL, 0, 0) == 0, "OPEN");
    memcpy(&out, link->out + 16, sizeof(out));
    return out.fh;
}

static void release(struct link *link, uint64_t nodeid, uint64_t fh)
{
    struct wire_release_in in = {.fh = fh};
    call(link, FUSE_RELEASE, nodeid, &in, sizeof(in), NULL, 0, 0);
}

/* ---- a back-end that does nothing ---- */

static const struct oriel_fs_attr null_attr = {.ino = 1, .mode = S_IFREG | 0644, .size = 1 << 20, .nlink = 1};
static char null_inode;

static int null_root(void *fs, struct oriel_fs_entry *out, void **inode)
{
    (void)fs;
    *out = (struct oriel_fs_entry){.identity = {.ino = 1}, .attr = null_attr};
    *inode = &null_inode;
    return 0;
}

static int null_lookup(void *fs, const oriel_fs_caller *caller, void *parent, const char *name,
                       struct oriel_fs_entry *out)
{
    (void)fs;
    (void)caller;
    (void)parent;
    *out = (struct oriel_fs_entry){.identity = {.ino = strtoul(name, NULL, 10)}, .attr = null_attr};
    return 0;
}

static int null_inode_open(void *fs, void *parent, const char *name, struct oriel_fs_entry *entry,
                           void **inode)
{
    (void)fs;
    (void)parent;
    (void)name;
    (void)entry;
    *inode = &null_inode;
    return 0;
}

static void null_entry_drop(void *fs, struct oriel_fs_entry *entry)
{
    (void)fs;
    (void)entry;
}

static void null_inode_close(void *fs, void *inode)
{
    (void)fs;
    (void)inode;
}

static int null_getattr(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                        struct oriel_fs_attr *out)
{
    (void)fs;
    (void)caller;
    (void)inode;
    (void)handle;
    *out = null_attr;
    return 0;
}

static int null_open(void *fs, const oriel_fs_caller *caller, void *inode, uint32_t flags, uint32_t kill,
                     struct oriel_fs_opened *out)
{
    (void)fs;
    (void)caller;
    (void)inode;
    (void)flags;
    (void)kill;
    out->handle = &null_inode;
    return 0;
}

static void null_release(void *fs, void *inode, void *handle, uint64_t lock_owner, bool flock_unlock)
{
    (void)fs;
    (void)inode;
    (void)handle;
    (void)lock_owner;
    (void)flock_unlock;
}

static ssize_t null_read(void *fs, void *inode, void *handle, const struct iovec *iov, int iovcnt,
                         uint64_t offset)
{
    (void)fs;
    (void)inode;
    (void)handle;
    (void)offset;
    ssize_t n = 0;
    for (int i = 0; i < iovcnt; i++)
        n += (ssize_t)iov[i].iov_len;
    return n;
}

static ssize_t null_write(void *fs, const oriel_fs_caller *caller, void *inode, void *handle,
                          const struct iovec *iov, int iovcnt, uint64_t offset, uint32_t kill)
{
    (void)caller;
    (void)kill;
    return null_read(fs, inode, handle, iov, iovcnt, offset);
}

static const struct oriel_fs_ops null_ops = {
    .size = sizeof(null_ops),
    .root = null_root,
    .lookup = null_lookup,
    .inode_open = null_inode_open,
    .entry_drop = null_entry_drop,
    .inode_close = null_inode_close,
    .getattr = null_getattr,
    .open = null_open,
    .release = null_release,
    .read = null_read,
    .write = null_write,
};

/* ---- what is measured: each does `n` requests ---- */

struct work {
    struct link *link;
    uint64_t nodeid, fh;
    int fd, dir; /* for the floor */
    size_t size;
    const char *name;
    const char *root;
};

static void do_lookup(struct work *w, int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t nodeid = lookup(w->link, FUSE_ROOT_ID, w->name);
        (void)nodeid;
    }
}

static void do_lookup_new(struct work *w, int n)
{
    for (int i = 0; i < n; i++)
        forget(w->link, lookup(w->link, FUSE_ROOT_ID, w->name));
}

static void do_getattr(struct work *w, int n)
{
    struct wire_getattr_in in = {0};
    for (int i = 0; i < n; i++)
        call(w->link, FUSE_GETATTR, w->nodeid, &in, sizeof(in), NULL, 0, 0);
}

static void do_read(struct work *w, int n)
{
    struct wire_read_in in = {.fh = w->fh, .size = (uint32_t)w->size};
    for (int i = 0; i < n; i++)
        call(w->link, FUSE_READ, w->nodeid, &in, sizeof(in), NULL, 0, w->size);
}

static void do_write(struct work *w, int n)
{
    struct wire_write_in in = {.fh = w->fh, .size = (uint32_t)w->size};
    for (int i = 0; i < n; i++)
        call(w->link, FUSE_WRITE, w->nodeid, &in, sizeof(in), NULL, 0, w->size);
}

static void do_small_file(struct work *w, int n)
{
    for (int i = 0; i < n; i++) {
        w->fh = open_file(w->link, w->nodeid, O_RDONLY);
        do_read(w, 1);
        release(w->link, w->nodeid, w->fh);
    }
}

static void do_readdirplus(struct work *w, int n)
{
    struct wire_open_in open_in = {0};
    struct wire_open_out out;
    int listed = 0;
    while (listed < n) {
        must(call(w->link, FUSE_OPENDIR, w->nodeid, &open_in, sizeof(open_in), NULL, 0, 0) == 0, "OPENDIR");
        memcpy(&out, w->link->out + 16, sizeof(out));
        struct wire_read_in in = {.fh = out.fh, .size = 65536};
        for (;;) {
            struct wire_out_header header;
            call(w->link, FUSE_READDIRPLUS, w->nodeid, &in, sizeof(in), NULL, 0, 0);
            memcpy(&header, w->link->out, sizeof(header));
            if (header.len == sizeof(header))
                break;
            for (size_t at = 16; at < header.len;) {
                struct wire_direntplus entry;
                memcpy(&entry, w->link->out + at, sizeof(entry));
                in.offset = entry.dirent.off;
                at += (sizeof(entry) + entry.dirent.namelen + 7) & ~(size_t)7;
                listed++;
            }
        }
        struct wire_release_in rel = {.fh = out.fh};
        call(w->link, FUSE_RELEASEDIR, w->nodeid, &rel, sizeof(rel), NULL, 0, 0);
    }
}

static void do_create_unlink(struct work *w, int n)
{
    struct wire_create_in in = {.flags = O_RDWR | O_CREAT | O_EXCL, .mode = S_IFREG | 0644};
    for (int i = 0; i < n; i++) {
        struct wire_create_out out;
        must(call(w->link, FUSE_CREATE, FUSE_ROOT_ID, &in, sizeof(in), "new", 4, 0) == 0, "CREATE");
        memcpy(&out, w->link->out + 16, sizeof(out));
        release(w->link, out.entry.nodeid, out.open.fh);
        call(w->link, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "new", 4, 0);
        forget(w->link, out.entry.nodeid);
    }
}

static void do_rename(struct work *w, int n)
{
    struct wire_rename_in in = {.newdir = FUSE_ROOT_ID};
    for (int i = 0; i < n; i++)
        call(w->link, FUSE_RENAME, FUSE_ROOT_ID, &in, sizeof(in),
             i % 2 == 0 ? "moving\0moved1" : "moved1\0moving", 14, 0);
}

static void do_getxattr(struct work *w, int n)
{
    struct wire_getxattr_in in = {.size = 100};
    for (int i = 0; i < n; i++)
        call(w->link, FUSE_GETXATTR, w->nodeid, &in, sizeof(in), "user.x", 7, 0);
}

/* ---- the floors ---- */

static void floor_message(struct work *w, int n)
{
    for (int i = 0; i < n; i++) {
        struct message m = {.header = {.opcode = FUSE_READ, .unique = ++w->link->unique}};
        memset(m.args, 0, 40);
        BENCH_KEEP(&m);
    }
}

static void floor_stat(struct work *w, int n)
{
    struct statx st;
    for (int i = 0; i < n; i++)
        statx(w->dir, w->name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st);
}

static void floor_stat_open(struct work *w, int n)
{
    struct statx st;
    struct {
        struct file_handle handle;
        char bytes[128];
    } h;
    int mount;
    for (int i = 0; i < n; i++) {
        statx(w->dir, w->name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st);
        h.handle.handle_bytes = 128;
        name_to_handle_at(w->dir, w->name, &h.handle, &mount, 0);
    }
}

static void floor_fstat(struct work *w, int n)
{
    struct statx st;
    for (int i = 0; i < n; i++)
        statx(w->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st);
}

static void floor_pread(struct work *w, int n)
{
    struct iovec iov = {w->link->data, w->size};
    for (int i = 0; i < n; i++)
        must(preadv(w->fd, &iov, 1, 0) >= 0, "preadv");
}

static void floor_pwrite(struct work *w, int n)
{
    struct iovec iov = {w->link->data, w->size};
    for (int i = 0; i < n; i++)
        must(pwritev(w->fd, &iov, 1, 0) >= 0, "pwritev");
}

static void floor_small_file(struct work *w, int n)
{
    for (int i = 0; i < n; i++) {
        int fd = openat(w->dir, w->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        must(pread(fd, w->link->data, w->size, 0) >= 0, "pread");
        close(fd);
    }
}

static void floor_readdirplus(struct work *w, int n)
{
    static char buffer[65536];
    struct statx st;
    int listed = 0;
    while (listed < n) {
        int fd = openat(w->dir, "many", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        long len;
        while ((len = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0) {
            for (long at = 0; at < len;) {
                unsigned short record;
                memcpy(&record, buffer + at + 16, 2);
                statx(fd, buffer + at + 19, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st);
                at += record;
                listed++;
            }
        }
        close(fd);
    }
}

static void floor_create_unlink(struct work *w, int n)
{
    struct statx st;
    for (int i = 0; i < n; i++) {
        int fd = openat(w->dir, "new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st);
        close(fd);
        unlinkat(w->dir, "new", 0);
    }
}

static void floor_rename(struct work *w, int n)
{
    for (int i = 0; i < n; i++)
        renameat(w->dir, i % 2 == 0 ? "moving" : "moved1", w->dir, i % 2 == 0 ? "moved1" : "moving");
}

static void floor_getxattr(struct work *w, int n)
{
    char value[100];
    for (int i = 0; i < n; i++)
        fgetxattr(w->fd, "user.x", value, sizeof(value));
}

/* ---- running ---- */

struct measured {
    void (*run)(struct work *w, int n);
    struct work *work;
    int n;
};

static double ns_each(void *arg)
{
    struct measured *m = arg;
    uint64_t start = bench_now();
    m->run(m->work, m->n);
    return (double)(bench_now() - start) / m->n;
}

static void against(const char *what, struct work *w, void (*ours)(struct work *, int),
                    void (*floor)(struct work *, int), int n, const char *goal)
{
    struct measured a = {ours, w, n}, b = {floor, w, n};
    double x, y;
    bench_against(ns_each, &a, ns_each, &b, &x, &y);
    char with_rate[128];
    snprintf(with_rate, sizeof(with_rate), "%s (%.0f/s)", what, 1e9 / x);
    bench_row(with_rate, x, y, "ns", goal);
}

/* System calls of `n` requests, counted by a tracer: the child stops around what is counted. */
static double count_calls(struct work *w, void (*run)(struct work *, int), int n)
{
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        run(w, 2); /* what is done once only */
        raise(SIGSTOP);
        run(w, n);
        raise(SIGSTOP);
        _exit(0);
    }
    int status, calls = 0, entries = 0;
    waitpid(child, &status, 0);
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(long)PTRACE_O_TRACESYSGOOD) != 0)
        return -1;
    for (;;) {
        ptrace(PTRACE_SYSCALL, child, NULL, NULL);
        if (waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status) || WSTOPSIG(status) == SIGSTOP)
            break;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            calls = ++entries / 2;
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    /* The second raise() ends what is counted with calls of its own. */
    int own = 3;
    return (double)(calls > own ? calls - own : 0) / n;
}

static void calls_row(const char *what, struct work *w, void (*ours)(struct work *, int),
                      void (*floor)(struct work *, int), const char *goal)
{
    bench_row(what, count_calls(w, ours, 200), count_calls(w, floor, 200), "  ", goal);
}

/* ---- two threads at once, each with files of its own or with the same ones ---- */

struct pair {
    struct measured measured[2];
    pthread_barrier_t start;
    double ns[2];
};

struct runner {
    struct pair *pair;
    int which;
};

/* Processor time, so that a machine with other work does not show; waiting for a lock would not either, so a
 * mutex that is fought over shows as the system calls it makes. */
static double cpu_ns_each(void *arg)
{
    struct measured *m = arg;
    struct timespec before, after;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    m->run(m->work, m->n);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    return ((double)(after.tv_sec - before.tv_sec) * 1e9 + (double)(after.tv_nsec - before.tv_nsec)) / m->n;
}

static void *run_one(void *arg)
{
    struct runner *runner = arg;
    pthread_barrier_wait(&runner->pair->start);
    runner->pair->ns[runner->which] = cpu_ns_each(&runner->pair->measured[runner->which]);
    return NULL;
}

static double both_ns_each(void *arg)
{
    struct pair *pair = arg;
    struct runner runners[2] = {{pair, 0}, {pair, 1}};
    pthread_t threads[2];
    pthread_barrier_init(&pair->start, NULL, 2);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, run_one, &runners[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&pair->start);
    return pair->ns[0] > pair->ns[1] ? pair->ns[0] : pair->ns[1];
}

static void two_threads(const char *what, struct work *a, struct work *b, void (*run)(struct work *, int))
{
    struct pair pair = {.measured = {{run, a, REPEATS}, {run, b, REPEATS}}};
    struct measured alone = {run, a, REPEATS};
    double both, one;
    bench_against(both_ns_each, &pair, cpu_ns_each, &alone, &both, &one);
    bench_row(what, both, one, "ns", "1.5x");
}

static void bench_threads(struct work *w)
{
    static struct link other;
    struct work b = *w, own = *w;
    b.link = own.link = &other;
    other.server = w->link->server;
    own.name = "78";
    own.nodeid = lookup(&other, FUSE_ROOT_ID, "78");
    own.fh = open_file(&other, own.nodeid, O_RDWR);
    bench_title("two threads, processor time of each; floor: one of them alone");
    two_threads("READ, each its own file", w, &own, do_read);
    two_threads("READ, the same handle", w, &b, do_read);
    two_threads("LOOKUP, each its own file", w, &own, do_lookup);
    two_threads("LOOKUP, the same file", w, &b, do_lookup);
}

static void bench_server_alone(void)
{
    static struct link link;
    struct oriel_fs fs = {.ops = &null_ops};
    init(&link, &fs);
    struct work w = {.link = &link, .name = "77", .size = 4096};
    w.nodeid = lookup(&link, FUSE_ROOT_ID, "77");
    w.fh = open_file(&link, w.nodeid, O_RDWR);
    bench_title("the server over a back-end that does nothing; floor: filling in the request");
    against("LOOKUP of a known name", &w, do_lookup, floor_message, REPEATS, "< 500 ns");
    against("LOOKUP of a new name + FORGET", &w, do_lookup_new, floor_message, REPEATS, "< 1000 ns");
    against("GETATTR", &w, do_getattr, floor_message, REPEATS, "< 500 ns");
    against("READ 4 KiB", &w, do_read, floor_message, REPEATS, "< 500 ns");
    against("WRITE 4 KiB", &w, do_write, floor_message, REPEATS, "< 500 ns");
    bench_threads(&w);
    oriel_fuse_server_destroy(link.server);
}

static void make_tree(const char *root)
{
    char path[300];
    static char mega[1 << 20];
    snprintf(path, sizeof(path), "%s/file", root);
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    must(fd >= 0 && write(fd, mega, sizeof(mega)) == sizeof(mega), "file");
    fsetxattr(fd, "user.x", "value", 5, 0);
    close(fd);
    snprintf(path, sizeof(path), "%s/moving", root);
    close(open(path, O_RDWR | O_CREAT, 0644));
    snprintf(path, sizeof(path), "%s/many", root);
    mkdir(path, 0755);
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof(path), "%s/many/entry-%05d", root, i);
        close(open(path, O_RDWR | O_CREAT, 0644));
    }
}

static void bench_over_passthrough(const char *root)
{
    static struct link link;
    struct oriel_fs fs;
    struct oriel_passthrough_options options = {
        .size = sizeof(options), .dir = root, .dir_fd = -1, .xattr = true};
    must(oriel_passthrough_create(&options, &fs) == 0, "passthrough");
    init(&link, &fs);
    struct work w = {.link = &link, .name = "file", .size = 4096, .root = root};
    w.dir = open(root, O_RDONLY | O_DIRECTORY);
    w.fd = openat(w.dir, "file", O_RDWR);
    w.nodeid = lookup(&link, FUSE_ROOT_ID, "file");
    w.fh = open_file(&link, w.nodeid, O_RDWR);
    struct work missing = w, gone = w, many = w, small = w;
    missing.name = "not there";
    gone.name = "moving";
    many.nodeid = lookup(&link, FUSE_ROOT_ID, "many");
    small.size = 512;
    bench_title("over the passthrough back-end; floor: the fewest system calls");
    against("LOOKUP of a known name", &w, do_lookup, floor_stat, REPEATS, "+ 500 ns");
    against("LOOKUP of a new name + FORGET", &gone, do_lookup_new, floor_stat_open, REPEATS, "+ 1000 ns");
    against("LOOKUP of a missing name", &missing, do_lookup, floor_stat, REPEATS, "+ 500 ns");
    against("GETATTR", &w, do_getattr, floor_fstat, REPEATS, "+ 500 ns");
    against("OPEN + READ + RELEASE, 512 bytes", &small, do_small_file, floor_small_file, REPEATS,
            "+ 1500 ns");
    against("READDIRPLUS, an entry", &many, do_readdirplus, floor_readdirplus, 5 * FILES, "+ 500 ns");
    against("CREATE + RELEASE + UNLINK + FORGET", &w, do_create_unlink, floor_create_unlink, REPEATS / 4,
            "+ 2000 ns");
    against("RENAME", &w, do_rename, floor_rename, REPEATS, "+ 500 ns");
    against("GETXATTR", &w, do_getxattr, floor_getxattr, REPEATS, "+ 500 ns");
    static const size_t sizes[] = {4096, 131072, 1 << 20};
    for (size_t i = 0; i < 3; i++) {
        char what[64];
        int n = sizes[i] > 100000 ? REPEATS / 40 : REPEATS;
        w.size = sizes[i];
        snprintf(what, sizeof(what), "READ %zu KiB", sizes[i] / 1024);
        against(what, &w, do_read, floor_pread, n, "+ 500 ns");
        snprintf(what, sizeof(what), "WRITE %zu KiB", sizes[i] / 1024);
        against(what, &w, do_write, floor_pwrite, n, "+ 500 ns");
    }
    bench_title("system calls a request (counted); floor: the same loop as above");
    w.size = 4096;
    calls_row("LOOKUP of a known name", &w, do_lookup, floor_stat, "1");
    calls_row("LOOKUP of a new name + FORGET", &gone, do_lookup_new, floor_stat_open, "2");
    calls_row("LOOKUP of a missing name", &missing, do_lookup, floor_stat, "1");
    calls_row("GETATTR", &w, do_getattr, floor_fstat, "1");
    calls_row("READ", &w, do_read, floor_pread, "1");
    calls_row("WRITE", &w, do_write, floor_pwrite, "1");
    calls_row("OPEN + READ + RELEASE", &small, do_small_file, floor_small_file, "3 to 4");
    calls_row("CREATE + RELEASE + UNLINK + FORGET", &w, do_create_unlink, floor_create_unlink, "");
    calls_row("RENAME", &w, do_rename, floor_rename, "1");
    calls_row("GETXATTR", &w, do_getxattr, floor_getxattr, "1");
    oriel_fuse_server_destroy(link.server);
    close(w.fd);
    close(w.dir);
}

static void remove_tree(const char *root)
{
    char path[300];
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof(path), "%s/many/entry-%05d", root, i);
        unlink(path);
    }
    static const char *const names[] = {"file", "moving", "moved1", "new"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/%s", root, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/many", root);
    rmdir(path);
    rmdir(root);
}

int main(void)
{
    char root[256];
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof(root), "%s/oriel-bench-XXXXXX", tmp != NULL ? tmp : "/dev/shm");
    must(mkdtemp(root) != NULL, "mkdtemp");
    make_tree(root);
    bench_server_alone();
    bench_over_passthrough(root);
    remove_tree(root);
    return 0;
}
