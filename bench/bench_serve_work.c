/* The workloads: what is asked for, and the fewest system calls that do the same. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "bench_serve.h"

/* ---- the tree ---- */

static void make_file(int dir, const char *name, size_t len)
{
    static char block[65536];
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    memset(block, 'x', sizeof(block));
    for (size_t done = 0; fd >= 0 && done < len;) {
        size_t n = len - done < sizeof(block) ? len - done : sizeof(block);
        if (write(fd, block, n) != (ssize_t)n)
            break;
        done += n;
    }
    close(fd);
}

void make_tree(const char *folder)
{
    char name[32];
    int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (mkdirat(root, "small", 0755) != 0 || mkdirat(root, "work", 0755) != 0 ||
        symlinkat("small/f0", root, "link") != 0)
        exit(1);
    int small = openat(root, "small", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned i = 0; i < TREE_FILES; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        make_file(small, name, TREE_FILE_LEN);
    }
    make_file(root, "file", TREE_FILE_LEN);
    make_file(root, "big", TREE_BIG_LEN);
    close(small);
    close(root);
}

static int floor_big, floor_small, floor_work, floor_file;
static char *floor_data;

int floor_open(const char *folder)
{
    int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    floor_big = openat(root, "big", O_RDWR | O_CLOEXEC);
    floor_small = openat(root, "small", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    floor_work = openat(root, "work", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    floor_file = openat(root, "file", O_RDONLY | O_CLOEXEC);
    floor_data = malloc((size_t)DATA_MAX * DEPTH_MAX);
    memset(floor_data, 'd', (size_t)DATA_MAX * DEPTH_MAX);
    return root;
}

static void *arguments(struct slot *slot)
{
    return slot->in + 1;
}

/* A request whose argument is a name. */
static void ask_name(struct slot *slot, struct request *request, uint32_t opcode, uint64_t parent,
                     const char *name, size_t reply)
{
    size_t len = strlen(name) + 1;
    memcpy(arguments(slot), name, len);
    *request = (struct request){.opcode = opcode, .nodeid = parent, .in_len = len, .reply_len = reply};
}

static void ask(struct request *request, uint32_t opcode, uint64_t nodeid, size_t in_len, size_t reply)
{
    *request = (struct request){.opcode = opcode, .nodeid = nodeid, .in_len = in_len, .reply_len = reply};
}

/* ---- one request each ---- */

static bool getattr_next(struct driver *d, struct slot *s, struct request *r)
{
    memset(arguments(s), 0, sizeof(struct fuse_getattr_in));
    ask(r, FUSE_GETATTR, d->file, sizeof(struct fuse_getattr_in), sizeof(struct fuse_attr_out));
    return s->step == 0;
}

static void getattr_floor(int tree, uint64_t i)
{
    struct stat st;
    (void)tree;
    (void)i;
    fstatat(floor_file, "", &st, AT_EMPTY_PATH);
}

static bool statfs_next(struct driver *d, struct slot *s, struct request *r)
{
    (void)d;
    ask(r, FUSE_STATFS, FUSE_ROOT_ID, 0, sizeof(struct fuse_statfs_out));
    return s->step == 0;
}

static void statfs_floor(int tree, uint64_t i)
{
    struct statfs st;
    (void)i;
    fstatfs(tree, &st);
}

static bool lookup_known_next(struct driver *d, struct slot *s, struct request *r)
{
    (void)d;
    ask_name(s, r, FUSE_LOOKUP, FUSE_ROOT_ID, "file", sizeof(struct fuse_entry_out));
    return s->step == 0;
}

static void lookup_floor(int tree, uint64_t i)
{
    struct statx st;
    (void)i;
    statx(tree, "file", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st);
}

static bool lookup_missing_next(struct driver *d, struct slot *s, struct request *r)
{
    (void)d;
    ask_name(s, r, FUSE_LOOKUP, FUSE_ROOT_ID, "no-such-file", sizeof(struct fuse_entry_out));
    return s->step == 0;
}

static void lookup_missing_floor(int tree, uint64_t i)
{
    struct statx st;
    (void)i;
    statx(tree, "no-such-file", AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st);
}

static bool readlink_next(struct driver *d, struct slot *s, struct request *r)
{
    ask(r, FUSE_READLINK, d->link, 0, 4096);
    return s->step == 0;
}

static void readlink_floor(int tree, uint64_t i)
{
    char target[4096];
    (void)i;
    if (readlinkat(tree, "link", target, sizeof(target)) < 0)
        abort();
}

static bool xattr_next(struct driver *d, struct slot *s, struct request *r)
{
    static const char name[] = "user.missing";
    struct fuse_getxattr_in in = {.size = 256};
    memcpy(arguments(s), &in, sizeof(in));
    memcpy((char *)arguments(s) + sizeof(in), name, sizeof(name));
    ask(r, FUSE_GETXATTR, d->file, sizeof(in) + sizeof(name), 256);
    return s->step == 0;
}

static void xattr_floor(int tree, uint64_t i)
{
    char value[256];
    (void)tree;
    (void)i;
    fgetxattr(floor_file, "user.missing", value, sizeof(value));
}

/* ---- names come and go ---- */

static void pick_small(struct driver *d, struct slot *s)
{
    /* Slots work on different files. */
    unsigned per_slot = TREE_FILES / DEPTH_MAX;
    snprintf(s->name, sizeof(s->name), "f%u",
             s->number * per_slot + (unsigned)(random_u64(&d->seed) % per_slot));
}

static void take_entry(struct slot *s)
{
    struct fuse_entry_out entry;
    memcpy(&entry, s->reply, sizeof(entry));
    s->nodeid = entry.nodeid;
}

static bool lookup_new_next(struct driver *d, struct slot *s, struct request *r)
{
    if (s->step == 0) {
        pick_small(d, s);
        ask_name(s, r, FUSE_LOOKUP, d->small_dir, s->name, sizeof(struct fuse_entry_out));
        return true;
    }
    take_entry(s);
    driver_forget(d, s->nodeid, 1);
    return false;
}

static void lookup_new_floor(int tree, uint64_t i)
{
    char name[32];
    struct statx st;
    (void)tree;
    snprintf(name, sizeof(name), "f%u", (unsigned)(i * 7919 % TREE_FILES));
    statx(floor_small, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st);
}

static void ask_open(struct slot *s, struct request *r, uint64_t nodeid, uint32_t flags)
{
    struct fuse_open_in in = {.flags = flags};
    memcpy(arguments(s), &in, sizeof(in));
    ask(r, FUSE_OPEN, nodeid, sizeof(in), sizeof(struct fuse_open_out));
}

static void ask_read(struct slot *s, struct request *r, uint64_t nodeid, uint64_t fh, uint64_t offset,
                     uint32_t len)
{
    struct fuse_read_in in = {.fh = fh, .offset = offset, .size = len};
    memcpy(arguments(s), &in, sizeof(in));
    *r = (struct request){
        .opcode = FUSE_READ, .nodeid = nodeid, .in_len = sizeof(in), .data_len = len, .data_out = true};
}

static void ask_write(struct slot *s, struct request *r, uint64_t nodeid, uint64_t fh, uint64_t offset,
                      uint32_t len)
{
    struct fuse_write_in in = {.fh = fh, .offset = offset, .size = len};
    memcpy(arguments(s), &in, sizeof(in));
    *r = (struct request){.opcode = FUSE_WRITE,
                          .nodeid = nodeid,
                          .in_len = sizeof(in),
                          .data_len = len,
                          .reply_len = sizeof(struct fuse_write_out)};
}

static void ask_release(struct slot *s, struct request *r, uint64_t nodeid, uint64_t fh)
{
    struct fuse_release_in in = {.fh = fh};
    memcpy(arguments(s), &in, sizeof(in));
    ask(r, FUSE_RELEASE, nodeid, sizeof(in), 0);
}

static bool small_read_next(struct driver *d, struct slot *s, struct request *r)
{
    struct fuse_open_out opened;
    switch (s->step) {
    case 0:
        pick_small(d, s);
        ask_name(s, r, FUSE_LOOKUP, d->small_dir, s->name, sizeof(struct fuse_entry_out));
        return true;
    case 1:
        take_entry(s);
        ask_open(s, r, s->nodeid, 0);
        return true;
    case 2:
        memcpy(&opened, s->reply, sizeof(opened));
        s->fh = opened.fh;
        ask_read(s, r, s->nodeid, s->fh, 0, TREE_FILE_LEN);
        return true;
    case 3:
        ask_release(s, r, s->nodeid, s->fh);
        return true;
    default:
        driver_forget(d, s->nodeid, 1);
        return false;
    }
}

static void small_read_floor(int tree, uint64_t i)
{
    char name[32];
    (void)tree;
    snprintf(name, sizeof(name), "f%u", (unsigned)(i * 7919 % TREE_FILES));
    int fd = openat(floor_small, name, O_RDONLY | O_CLOEXEC);
    if (pread(fd, floor_data, TREE_FILE_LEN, 0) < 0)
        abort();
    close(fd);
}

static bool create_next(struct driver *d, struct slot *s, struct request *r)
{
    struct fuse_create_in in = {.flags = O_RDWR | O_CREAT | O_EXCL, .mode = S_IFREG | 0644};
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out opened;
    } out;
    switch (s->step) {
    case 0:
        snprintf(s->name, sizeof(s->name), "c%u-%llu", s->number, (unsigned long long)s->count++);
        memcpy(arguments(s), &in, sizeof(in));
        strcpy((char *)arguments(s) + sizeof(in), s->name);
        ask(r, FUSE_CREATE, d->dir, sizeof(in) + strlen(s->name) + 1, sizeof(out));
        return true;
    case 1:
        memcpy(&out, s->reply, sizeof(out));
        s->nodeid = out.entry.nodeid;
        s->fh = out.opened.fh;
        ask_write(s, r, s->nodeid, s->fh, 0, TREE_FILE_LEN);
        return true;
    case 2:
        ask_release(s, r, s->nodeid, s->fh);
        return true;
    case 3:
        ask_name(s, r, FUSE_UNLINK, d->dir, s->name, 0);
        return true;
    default:
        driver_forget(d, s->nodeid, 1);
        return false;
    }
}

static void create_floor(int tree, uint64_t i)
{
    char name[32];
    (void)tree;
    snprintf(name, sizeof(name), "floor%llu", (unsigned long long)i);
    int fd = openat(floor_work, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (pwrite(fd, floor_data, TREE_FILE_LEN, 0) < 0)
        abort();
    close(fd);
    unlinkat(floor_work, name, 0);
}

static bool symlink_next(struct driver *d, struct slot *s, struct request *r)
{
    static const char target[] = "some/where/else";
    switch (s->step) {
    case 0: {
        snprintf(s->name, sizeof(s->name), "l%u-%llu", s->number, (unsigned long long)s->count++);
        size_t len = strlen(s->name) + 1;
        memcpy(arguments(s), s->name, len);
        memcpy((char *)arguments(s) + len, target, sizeof(target));
        ask(r, FUSE_SYMLINK, d->dir, len + sizeof(target), sizeof(struct fuse_entry_out));
        return true;
    }
    case 1:
        take_entry(s);
        ask_name(s, r, FUSE_UNLINK, d->dir, s->name, 0);
        return true;
    default:
        driver_forget(d, s->nodeid, 1);
        return false;
    }
}

static void symlink_floor(int tree, uint64_t i)
{
    char name[32];
    (void)tree;
    snprintf(name, sizeof(name), "floor%llu", (unsigned long long)i);
    if (symlinkat("some/where/else", floor_work, name) != 0 || unlinkat(floor_work, name, 0) != 0)
        abort();
}

/* Each slot moves a file of its own to and fro; the control knows no files that others made. */
static bool rename_prepare(struct driver *d)
{
    struct fuse_mknod_in in = {.mode = S_IFREG | 0644};
    for (unsigned i = 0; i < DEPTH_MAX; i++) {
        char arg[64], name[16];
        struct fuse_entry_out entry;
        snprintf(name, sizeof(name), "r%c%u", d->mark, i);
        memcpy(arg, &in, sizeof(in));
        strcpy(arg + sizeof(in), name);
        driver_call(d, FUSE_UNLINK, d->dir, name, strlen(name) + 1, NULL, 0);
        snprintf(name, sizeof(name), "q%c%u", d->mark, i);
        driver_call(d, FUSE_UNLINK, d->dir, name, strlen(name) + 1, NULL, 0);
        snprintf(name, sizeof(name), "r%c%u", d->mark, i);
        if (driver_call(d, FUSE_MKNOD, d->dir, arg, sizeof(in) + strlen(name) + 1, &entry, sizeof(entry)) !=
            0)
            return false;
        d->slots[i].count = 0;
    }
    return true;
}

static bool rename_next(struct driver *d, struct slot *s, struct request *r)
{
    struct fuse_rename_in in = {.newdir = d->dir};
    char *at = arguments(s);
    memcpy(at, &in, sizeof(in));
    bool there = s->count % 2 == 0;
    int first = sprintf(at + sizeof(in), there ? "r%c%u" : "q%c%u", d->mark, s->number) + 1;
    int second = sprintf(at + sizeof(in) + first, there ? "q%c%u" : "r%c%u", d->mark, s->number) + 1;
    if (s->step != 0)
        return false;
    s->count++;
    ask(r, FUSE_RENAME, d->dir, sizeof(in) + (size_t)(first + second), 0);
    return true;
}

static void rename_floor(int tree, uint64_t i)
{
    static bool made;
    (void)tree;
    if (!made)
        make_file(floor_work, "floor-a", 0);
    made = true;
    renameat(floor_work, i % 2 == 0 ? "floor-a" : "floor-b", floor_work, i % 2 == 0 ? "floor-b" : "floor-a");
}

/* ---- data ---- */

static uint64_t random_offset(struct driver *d, uint32_t len)
{
    return random_u64(&d->seed) % (TREE_BIG_LEN / len) * len;
}

#define READ_AND_WRITE(suffix, bytes)                                                                        \
    static bool read_##suffix(struct driver *d, struct slot *s, struct request *r)                           \
    {                                                                                                        \
        ask_read(s, r, d->big, d->big_fh, random_offset(d, bytes), bytes);                                   \
        return s->step == 0;                                                                                 \
    }                                                                                                        \
    static bool write_##suffix(struct driver *d, struct slot *s, struct request *r)                          \
    {                                                                                                        \
        ask_write(s, r, d->big, d->big_fh, random_offset(d, bytes), bytes);                                  \
        return s->step == 0;                                                                                 \
    }                                                                                                        \
    static void read_##suffix##_floor(int tree, uint64_t i)                                                  \
    {                                                                                                        \
        (void)tree;                                                                                          \
        if (pread(floor_big, floor_data + i % DEPTH_MAX * DATA_MAX, bytes,                                   \
                  (off_t)(i * 7919 % (TREE_BIG_LEN / bytes) * bytes)) < 0)                                   \
            abort();                                                                                         \
    }                                                                                                        \
    static void write_##suffix##_floor(int tree, uint64_t i)                                                 \
    {                                                                                                        \
        (void)tree;                                                                                          \
        if (pwrite(floor_big, floor_data + i % DEPTH_MAX * DATA_MAX, bytes,                                  \
                   (off_t)(i * 7919 % (TREE_BIG_LEN / bytes) * bytes)) < 0)                                  \
            abort();                                                                                         \
    }

READ_AND_WRITE(4k, 4096u)
READ_AND_WRITE(128k, 131072u)
READ_AND_WRITE(1m, 1048576u)

/* ---- a walk: per entry ---- */

static bool readdirplus_next(struct driver *d, struct slot *s, struct request *r)
{
    struct fuse_read_in in = {.fh = s->fh, .size = 32768};
    struct fuse_open_in open_in = {0};
    if (s->step == 0) {
        memcpy(arguments(s), &open_in, sizeof(open_in));
        ask(r, FUSE_OPENDIR, d->small_dir, sizeof(open_in), sizeof(struct fuse_open_out));
        s->count = 0;
        return true;
    }
    if (s->step == 1) {
        struct fuse_open_out opened;
        memcpy(&opened, s->reply, sizeof(opened));
        s->fh = in.fh = opened.fh;
    } else {
        if (s->step == UINT32_MAX)
            return false;
        size_t len = s->out->len - sizeof(*s->out);
        for (size_t at = 0; at < len;) {
            struct fuse_direntplus *entry = (struct fuse_direntplus *)(void *)(s->data + at);
            s->count = entry->dirent.off;
            d->operations++;
            if (entry->entry_out.nodeid != 0)
                driver_forget(d, entry->entry_out.nodeid, 1);
            at += FUSE_DIRENTPLUS_SIZE(entry);
        }
        if (len == 0) {
            d->operations--; /* the walk itself is none */
            struct fuse_release_in release = {.fh = s->fh};
            memcpy(arguments(s), &release, sizeof(release));
            ask(r, FUSE_RELEASEDIR, d->small_dir, sizeof(release), 0);
            s->step = UINT32_MAX - 1;
            return true;
        }
    }
    in.offset = s->count;
    memcpy(arguments(s), &in, sizeof(in));
    *r = (struct request){.opcode = FUSE_READDIRPLUS,
                          .nodeid = d->small_dir,
                          .in_len = sizeof(in),
                          .data_len = 32768,
                          .data_out = true};
    return true;
}

static void readdirplus_floor(int tree, uint64_t i)
{
    static DIR *dir;
    struct statx st;
    (void)tree;
    (void)i;
    if (dir == NULL)
        dir = fdopendir(openat(floor_small, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *entry = readdir(dir);
    if (entry == NULL) {
        rewinddir(dir);
        entry = readdir(dir);
    }
    statx(floor_small, entry->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st);
}

const struct workload workloads[] = {
    {"GETATTR", "request", getattr_next, getattr_floor, NULL, 1.5},
    {"STATFS", "request", statfs_next, statfs_floor, NULL, 1.5},
    {"LOOKUP known", "request", lookup_known_next, lookup_floor, NULL, 1.5},
    {"LOOKUP new + FORGET", "pair", lookup_new_next, lookup_new_floor, NULL, 1.5},
    {"LOOKUP missing", "request", lookup_missing_next, lookup_missing_floor, NULL, 1.5},
    {"READLINK", "request", readlink_next, readlink_floor, NULL, 1.5},
    {"GETXATTR missing", "request", xattr_next, xattr_floor, NULL, 1.5},
    {"LOOKUP+OPEN+READ+RELEASE+FORGET", "file", small_read_next, small_read_floor, NULL, 1.5},
    {"CREATE+WRITE+RELEASE+UNLINK", "file", create_next, create_floor, NULL, 1.5},
    {"SYMLINK+UNLINK", "link", symlink_next, symlink_floor, NULL, 1.5},
    {"RENAME", "request", rename_next, rename_floor, rename_prepare, 1.5},
    {"READDIRPLUS walk", "entry", readdirplus_next, readdirplus_floor, NULL, 1.7},
    {"READ 4 KiB", "request", read_4k, read_4k_floor, NULL, 1.25},
    {"WRITE 4 KiB", "request", write_4k, write_4k_floor, NULL, 1.25},
    {"READ 128 KiB", "request", read_128k, read_128k_floor, NULL, 1.05},
    {"WRITE 128 KiB", "request", write_128k, write_128k_floor, NULL, 1.05},
    {"READ 1 MiB", "request", read_1m, read_1m_floor, NULL, 1.05},
    {"WRITE 1 MiB", "request", write_1m, write_1m_floor, NULL, 1.05},
};
const size_t workload_count = sizeof(workloads) / sizeof(workloads[0]);
