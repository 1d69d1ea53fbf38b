/* data, holes, times, and what several processes do to one file. */
#include "log.h"

#include <linux/falloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

void topic_data(void)
{
    char buffer[64] = "";
    int fd = FD(open("f", O_RDWR | O_CREAT, 0644));
    T(write(fd, "0123456789", 10));
    T(pread(fd, buffer, 64, 5));
    T(pread(fd, buffer, 64, 10));
    T(pread(fd, buffer, 64, 1000));
    T(pread(fd, buffer, 64, -1));
    T(pwrite(fd, "x", 1, 20));
    show_content("f");
    T(ftruncate(fd, 5));
    T(ftruncate(fd, 15));
    show_content("f");
    T(ftruncate(fd, -1));
    T(truncate("missing", 1));
    T(truncate(".", 1));
    T(write(fd, "", 0));
    struct iovec iov[3] = {{(void *)(uintptr_t) "one", 3}, {NULL, 0}, {(void *)(uintptr_t) "three", 5}};
    T(pwritev(fd, iov, 3, 2));
    T(pwritev2(fd, iov, 1, 0, RWF_APPEND));
    T(pwritev2(fd, iov, 1, 0, RWF_DSYNC));
    T(preadv2(fd, &(struct iovec){buffer, 4}, 1, 0, 0));
    show_content("f");
    T(fsync(fd));
    T(fdatasync(fd));
    T(sync_file_range(fd, 0, 10, SYNC_FILE_RANGE_WRITE));
    T(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    show_content("f");
    /* Large and odd pieces. */
    static char big[300001];
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)('a' + i / 1000 % 26);
    T(pwrite(fd, big, sizeof(big), 12345));
    T(pwrite(fd, big, 70000, 100));
    show_content("f");
    /* copy_file_range */
    int out = FD(open("copy", O_RDWR | O_CREAT, 0644));
    off_t in_at = 10, out_at = 3;
    T(copy_file_range(fd, &in_at, out, &out_at, 100000, 0));
    T(in_at);
    T(out_at);
    show_content("copy");
    in_at = 0;
    out_at = 50;
    T(copy_file_range(fd, &in_at, fd, &out_at, 100, 0)); /* overlapping */
    in_at = 1 << 30;
    T(copy_file_range(fd, &in_at, out, NULL, 100, 0));
    T(copy_file_range(fd, NULL, out, NULL, 100, 1));
    close(out);
    /* As far as a file can go: the limits differ by design, but not what lies well below them. */
    T(pwrite(fd, "far", 3, (off_t)1 << 35));
    T(pread(fd, buffer, 10, ((off_t)1 << 35) - 3));
    T(ftruncate(fd, 0));
    show("f");
    close(fd);
}

static void log_map(int fd)
{
    struct stat st;
    fstat(fd, &st);
    for (off_t at = 0; at < st.st_size;) {
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0) {
            log_line("  no data from %ld: %s", (long)at, strerrorname_np(errno));
            break;
        }
        off_t hole = lseek(fd, data, SEEK_HOLE);
        log_line("  data %ld to %ld", (long)data, (long)hole);
        at = hole;
    }
    log_line("  size %ld, blocks %s", (long)st.st_size, st.st_blocks == 0 ? "none" : "some");
}

static void punch(int fd, const char *text, int mode, off_t at, off_t len)
{
    errno = 0;
    log_result(text, fallocate(fd, mode, at, len));
    log_map(fd);
}

#define FALLOCATE(fd, mode, at, len) punch(fd, "fallocate(" #mode ", " #at ", " #len ")", mode, at, len)

void topic_holes(void)
{
    static char data[1 << 16];
    memset(data, 'd', sizeof(data));
    int fd = FD(open("f", O_RDWR | O_CREAT, 0644));
    T(lseek(fd, 0, SEEK_DATA));
    T(lseek(fd, 0, SEEK_HOLE));
    T(ftruncate(fd, 1 << 20));
    log_map(fd);
    T(lseek(fd, 100, SEEK_HOLE));
    T(lseek(fd, 1 << 20, SEEK_HOLE));
    T(lseek(fd, 1 << 21, SEEK_DATA));
    T(lseek(fd, -1, SEEK_DATA));
    T(pwrite(fd, data, sizeof(data), 1 << 18));
    T(pwrite(fd, data, 100, (1 << 19) + 17));
    fsync(fd);
    log_map(fd);
    FALLOCATE(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (1 << 18) + 4096, 8192);
    FALLOCATE(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (1 << 18) + 1000, 100);
    FALLOCATE(fd, FALLOC_FL_PUNCH_HOLE, 0, 100);
    FALLOCATE(fd, FALLOC_FL_KEEP_SIZE, 2 << 20, 4096);
    FALLOCATE(fd, 0, (1 << 20) - 100, 5000);
    FALLOCATE(fd, 0, 0, 0);
    FALLOCATE(fd, 0, -1, 100);
    FALLOCATE(fd, 0, 0, -1);
    FALLOCATE(fd, 0x1000, 0, 100);
    show_content("f");
    T(fallocate(fd, FALLOC_FL_ZERO_RANGE, (1 << 18) + 16384, 4096));
    T(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
    T(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, 4096));
    close(fd);
    fd = FD(open("f", O_RDONLY));
    T(fallocate(fd, 0, 0, 100));
    close(fd);
    fd = FD(open(".", O_RDONLY));
    T(fallocate(fd, 0, 0, 100));
    T(lseek(fd, 0, SEEK_HOLE) >= -1);
    close(fd);
    T(posix_fallocate(-1, 0, 100));
}

/* ---- times ---- */

#define WATCH(path, action)                                                                                  \
    do {                                                                                                     \
        struct times before_ = times_before(path);                                                           \
        (void)!(action);                                                                                     \
        times_after(#action, path, &before_);                                                                \
    } while (0)

static void set_times(const char *what, const char *path, struct timespec a, struct timespec m, int flags)
{
    struct timespec both[2] = {a, m};
    struct times before = times_before(path);
    errno = 0;
    log_result(what, utimensat(AT_FDCWD, path, both, flags));
    times_after(what, path, &before);
    struct stat st;
    if (fstatat(AT_FDCWD, path, &st, flags & AT_SYMLINK_NOFOLLOW) != 0)
        return;
    if (a.tv_nsec != UTIME_NOW && a.tv_nsec != UTIME_OMIT)
        log_line("  atime %ld.%09ld", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec);
    if (m.tv_nsec != UTIME_NOW && m.tv_nsec != UTIME_OMIT)
        log_line("  mtime %ld.%09ld", (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

void topic_times(void)
{
    struct timespec now = {0, UTIME_NOW}, omit = {0, UTIME_OMIT};
    put("f", "content", 0644);
    mkdir("d", 0755);
    symlink("f", "s");
    set_times("set both", "f", (struct timespec){1000000001, 123456789},
              (struct timespec){1500000000, 999999999}, 0);
    set_times("only atime", "f", (struct timespec){5, 1}, omit, 0);
    set_times("only mtime", "f", omit, (struct timespec){6, 2}, 0);
    set_times("neither", "f", omit, omit, 0);
    set_times("both now", "f", now, now, 0);
    set_times("atime now", "f", now, (struct timespec){7, 3}, 0);
    set_times("before 1970", "f", (struct timespec){-100, 5}, (struct timespec){-1, 999999999}, 0);
    set_times("after 2038", "f", (struct timespec){0x80000000L, 1}, (struct timespec){0x100000001L, 7}, 0);
    set_times("bad nanoseconds", "f", (struct timespec){0, 1000000000}, now, 0);
    set_times("a folder", "d", (struct timespec){8, 4}, (struct timespec){9, 5}, 0);
    set_times("a link itself", "s", (struct timespec){10, 6}, (struct timespec){11, 7}, AT_SYMLINK_NOFOLLOW);
    set_times("through a link", "s", (struct timespec){12, 8}, (struct timespec){13, 9}, 0);
    struct stat st;
    T(stat("f", &st));
    T(st.st_mtim.tv_nsec);

    int fd = open("f", O_RDWR);
    WATCH("f", pwrite(fd, "x", 1, 0));
    WATCH("f", pwrite(fd, "", 0, 0));
    WATCH("f", ftruncate(fd, 3));
    WATCH("f", ftruncate(fd, 3));
    WATCH("f", truncate("f", 10));
    WATCH("f", close(open("f", O_WRONLY | O_TRUNC)));
    WATCH("f", close(open("f", O_WRONLY | O_TRUNC)));
    WATCH("f", fallocate(fd, 0, 0, 100));
    WATCH("f", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 100));
    WATCH("f", fchmod(fd, 0600));
    WATCH("f", chown("f", (uid_t)-1, (gid_t)-1));
    WATCH("f", chown("f", getuid(), (gid_t)-1));
    WATCH("f", link("f", "g"));
    WATCH("f", rename("g", "h"));
    WATCH("f", unlink("h"));
    WATCH("f", fsync(fd));
    WATCH("f", close(open("f", O_RDONLY)));
    WATCH("f", link("f", "d/f"));
    close(fd);
    WATCH("d", close(open("d/new", O_CREAT | O_WRONLY, 0644)));
    WATCH("d", close(open("d/new", O_CREAT | O_WRONLY, 0644)));
    WATCH("d", rename("d/new", "d/newer"));
    WATCH("d", mkdir("d/sub", 0755));
    WATCH("d", rmdir("d/sub"));
    WATCH("d", symlink("x", "d/s"));
    WATCH("d", unlink("d/s"));
    WATCH("d", rename("d/newer", "out"));
    WATCH("out", rename("out", "in"));
    WATCH("d", chmod("d", 0700));
    WATCH("d", unlink("d/missing"));
    WATCH("d", mkfifo("d/fifo", 0600));
    /* Reading: the first read after a change moves atime (relatime), the next one does not. */
    char buffer[4];
    put("r", "data", 0644);
    fd = open("r", O_RDONLY);
    WATCH("r", pread(fd, buffer, 4, 0));
    WATCH("r", pread(fd, buffer, 4, 0));
    close(fd);
    /* A mapping that is written to. */
    fd = open("f", O_RDWR);
    (void)!ftruncate(fd, 4096);
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) {
        volatile char *first = map;
        (void)*first; /* read before, as that may move atime */
        struct times before = times_before("f");
        *first = 'm';
        msync(map, 4096, MS_SYNC);
        munmap(map, 4096);
        times_after("store to a mapping and msync", "f", &before);
    }
    close(fd);
    T(utimensat(AT_FDCWD, "missing", NULL, 0));
    T(utimensat(AT_FDCWD, "f", NULL, 0x4000));
}

/* ---- processes ---- */

#define APPENDERS 4
#define RECORDS   300
#define RECORD    64

static void append_records(void *arg)
{
    char record[RECORD];
    memset(record, 'a' + (int)(intptr_t)arg, sizeof(record));
    int fd = open("log", O_WRONLY | O_APPEND | O_CREAT, 0644);
    for (int i = 0; i < RECORDS; i++)
        if (write(fd, record, sizeof(record)) != sizeof(record))
            _exit(1);
    close(fd);
}

static void check_records(void)
{
    FILE *file = fopen("log", "r");
    char record[RECORD];
    int whole = 0, torn = 0;
    int counts[APPENDERS] = {0};
    while (file != NULL && fread(record, sizeof(record), 1, file) == 1) {
        bool same = true;
        for (size_t i = 1; i < sizeof(record); i++)
            same = same && record[i] == record[0];
        whole += same;
        torn += !same;
        if (record[0] >= 'a' && record[0] < 'a' + APPENDERS)
            counts[record[0] - 'a']++;
    }
    if (file != NULL)
        fclose(file);
    log_line("records: %d whole, %d torn; %d %d %d %d", whole, torn, counts[0], counts[1], counts[2],
             counts[3]);
}

static void add_to_counter(void *arg)
{
    (void)arg;
    int fd = open("shared", O_RDWR);
    volatile uint64_t *counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (counter == MAP_FAILED)
        _exit(1);
    for (int i = 0; i < 10000; i++)
        __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static void create_exclusively(void *arg)
{
    int won = 0;
    for (int i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof(name), "race/%d", i);
        int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
        if (fd >= 0) {
            won++;
            close(fd);
        }
    }
    int fd = open((const char *)arg, O_CREAT | O_WRONLY, 0644);
    (void)!write(fd, &won, sizeof(won));
    close(fd);
}

static void replace_for_ever(void *arg)
{
    (void)arg;
    for (int i = 0; i < 300; i++) {
        put("next", i % 2 == 0 ? "even" : "odd", 0644);
        rename("next", "current");
    }
}

void topic_processes(void)
{
    pid_t children[APPENDERS];
    for (intptr_t i = 0; i < APPENDERS; i++)
        children[i] = start(append_records, (void *)i);
    for (int i = 0; i < APPENDERS; i++)
        join("appender", children[i]);
    check_records();

    put("shared", "", 0644);
    T(truncate("shared", 4096));
    for (int i = 0; i < 3; i++)
        children[i] = start(add_to_counter, NULL);
    for (int i = 0; i < 3; i++)
        join("adder", children[i]);
    int fd = open("shared", O_RDONLY);
    uint64_t total = 0;
    T(pread(fd, &total, 8, 0));
    T(total);
    close(fd);

    /* A mapping and calls in one process see each other. */
    fd = FD(open("map", O_RDWR | O_CREAT, 0644));
    T(ftruncate(fd, 8192));
    char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        log_line("mmap: %s", strerrorname_np(errno));
    } else {
        memcpy(map + 100, "stored", 7);
        char text[8] = "";
        T(pread(fd, text, 7, 100));
        log_line("read: %s", text);
        T(pwrite(fd, "written", 8, 5000));
        log_line("mapped: %s", map + 5000);
        T(ftruncate(fd, 5003));
        log_line("cut: %s", map + 5000);
        munmap(map, 8192);
    }
    map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (map != MAP_FAILED) {
        map[100] = 'X';
        char byte = 0;
        T(pread(fd, &byte, 1, 100));
        T(byte);
        munmap(map, 4096);
    }
    close(fd);
    fd = open("map", O_RDONLY);
    T(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    close(fd);

    /* O_EXCL: one winner for each name. */
    mkdir("race", 0755);
    children[0] = start(create_exclusively, (void *)(uintptr_t) "won0");
    children[1] = start(create_exclusively, (void *)(uintptr_t) "won1");
    join("racer", children[0]);
    join("racer", children[1]);
    int won[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        fd = open(i == 0 ? "won0" : "won1", O_RDONLY);
        (void)!read(fd, &won[i], sizeof(int));
        close(fd);
    }
    T(won[0] + won[1]);

    /* A name that is replaced all the time is never missing. */
    put("current", "even", 0644);
    children[0] = start(replace_for_ever, NULL);
    int missing = 0;
    int stale = 0;
    int status;
    while (waitpid(children[0], &status, WNOHANG) == 0) {
        int seen = open("current", O_RDONLY);
        missing += seen < 0 && errno != ESTALE;
        stale += seen < 0 && errno == ESTALE;
        if (seen >= 0)
            close(seen);
    }
    T(missing);
    if (stale > 0)
        log_line("a file was gone before it was opened: ESTALE");
}
