/*
 * random_ops DIR_A DIR_B STEPS SECONDS: a random program, each step on both folders. Errno and result of every step
 * must be the same, and every few hundred steps names, contents and metadata of both trees. Prints TAP.
 *
 * ORIEL_TEST_SEED chooses the program (default 1); a failure prints the seed, the step and what it did.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/fs.h>

#define SIDES       2
#define HELD        8
#define CHECK_EVERY 100
#define IO_MAX      70000
#define OFFSET_MAX  400000

static uint64_t random_state;
static uint64_t step;
static int roots[SIDES]; /* descriptors of the two folders */
static int held[HELD][SIDES];
static char what[600]; /* the step in words */
static char io[SIDES][IO_MAX];
static bool failed;
static bool is_root;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

static unsigned below(unsigned n)
{
    return (unsigned)(next_random() % n);
}

__attribute__((format(printf, 1, 2))) static void fail(const char *format, ...)
{
    if (failed)
        return;
    failed = true;
    va_list args;
    va_start(args, format);
    printf("# step %llu: %s\n# ", (unsigned long long)step, what);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

/* ---- paths: few names and little depth, so that they meet often ---- */

static void pick_path(char *path)
{
    unsigned depth = below(3) + 1;
    size_t len = 0;
    for (unsigned i = 0; i < depth; i++)
        len += (size_t)sprintf(path + len, "%s%c", i > 0 ? "/" : "", 'a' + (int)below(i == 0 ? 6 : 4));
}

/* sgid only with execution by the group: what a write makes of it without is a known deviation (deviations.txt). */
static unsigned odd_mode(void)
{
    unsigned mode = below(010000);
    return (mode & 02000) != 0 ? mode | 010 : mode;
}

static uint64_t pick_offset(void)
{
    uint64_t offset = below(OFFSET_MAX);
    return below(3) == 0 ? offset & ~UINT64_C(4095) : below(4) == 0 ? offset % 100 : offset;
}

/* ---- comparing ---- */

static long results[SIDES];
static int errors[SIDES];

#define BOTH(side, expr)                                                                                     \
    do {                                                                                                     \
        for (int side = 0; side < SIDES; side++) {                                                           \
            errno = 0;                                                                                       \
            results[side] = (long)(expr);                                                                    \
            errors[side] = results[side] < 0 ? errno : 0;                                                    \
        }                                                                                                    \
        compare_results();                                                                                   \
    } while (0)

static void compare_results(void)
{
    if (results[0] != results[1] || errors[0] != errors[1])
        fail("first: %ld %s, second: %ld %s", results[0], strerrorname_np(errors[0]), results[1],
             strerrorname_np(errors[1]));
}

static void compare_stats(const char *path, const struct stat *a, const struct stat *b)
{
    bool sized = S_ISREG(a->st_mode) || S_ISLNK(a->st_mode);
    if (a->st_mode != b->st_mode || a->st_nlink != b->st_nlink || a->st_uid != b->st_uid ||
        a->st_gid != b->st_gid || a->st_rdev != b->st_rdev || (sized && a->st_size != b->st_size))
        fail("%s: mode %o %o links %lu %lu uid %u %u gid %u %u size %ld %ld", path, a->st_mode, b->st_mode,
             (unsigned long)a->st_nlink, (unsigned long)b->st_nlink, a->st_uid, b->st_uid, a->st_gid,
             b->st_gid, (long)a->st_size, (long)b->st_size);
}

static void compare_contents(const char *path, const int fds[SIDES], off_t size)
{
    for (off_t at = 0; at <= size && !failed;) {
        ssize_t a = pread(fds[0], io[0], IO_MAX, at);
        ssize_t b = pread(fds[1], io[1], IO_MAX, at);
        if (a != b || (a > 0 && memcmp(io[0], io[1], (size_t)a) != 0))
            fail("%s: contents differ at %ld (%zd and %zd bytes)", path, (long)at, a, b);
        if (a <= 0)
            break;
        at += a;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

#define NAMES_MAX 32

/* The entries of a folder in order; -1: it cannot be opened. */
static int list(int dirfd, const char *path, char names[NAMES_MAX][16])
{
    int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL)
        return -1;
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL && count < NAMES_MAX;)
        snprintf(names[count++], 16, "%.15s", entry->d_name);
    closedir(dir);
    qsort(names, (size_t)count, 16, compare_names);
    return count;
}

static void compare_xattrs(const char *path, const int fds[SIDES])
{
    for (char c = 'x'; c <= 'z'; c++) {
        char name[] = {'u', 's', 'e', 'r', '.', c, 0};
        ssize_t a = fgetxattr(fds[0], name, io[0], IO_MAX);
        ssize_t b = fgetxattr(fds[1], name, io[1], IO_MAX);
        if (a != b || (a > 0 && memcmp(io[0], io[1], (size_t)a) != 0))
            fail("%s: xattr %s differs (%zd and %zd bytes)", path, name, a, b);
    }
}

/* path has room for PATH_MAX bytes; what lies deeper than it can say is left out. */
static void compare_tree(char *path, unsigned depth)
{
    struct stat st[SIDES];
    BOTH(side, fstatat(roots[side], path, &st[side], AT_SYMLINK_NOFOLLOW));
    /* EACCES: the folder above can be listed but not searched. */
    if (results[0] != 0 && (is_root || errors[0] != EACCES))
        fail("%s: %s", path, strerrorname_np(errors[0]));
    if (failed || results[0] != 0)
        return;
    if (depth > 0)
        compare_stats(path, &st[0], &st[1]);
    if (S_ISLNK(st[0].st_mode)) {
        ssize_t a = readlinkat(roots[0], path, io[0], IO_MAX);
        ssize_t b = readlinkat(roots[1], path, io[1], IO_MAX);
        if (a != b || a < 0 || memcmp(io[0], io[1], (size_t)a) != 0)
            fail("%s: targets differ", path);
    }
    if (S_ISREG(st[0].st_mode) || S_ISDIR(st[0].st_mode)) {
        int fds[SIDES] = {openat(roots[0], path, O_RDONLY | O_NOFOLLOW),
                          openat(roots[1], path, O_RDONLY | O_NOFOLLOW)};
        if ((fds[0] < 0) != (fds[1] < 0))
            fail("%s of mode %o: one cannot be opened", path, st[0].st_mode);
        if (S_ISREG(st[0].st_mode) && fds[0] >= 0)
            compare_contents(path, fds, st[0].st_size);
        if (fds[0] >= 0)
            compare_xattrs(path, fds);
        close(fds[0]);
        close(fds[1]);
    }
    if (!S_ISDIR(st[0].st_mode) || failed)
        return;
    char names[SIDES][NAMES_MAX][16];
    int counts[SIDES];
    for (int side = 0; side < SIDES; side++)
        counts[side] = list(roots[side], path, names[side]);
    if (counts[0] != counts[1])
        fail("%s: %d and %d entries", path, counts[0], counts[1]);
    for (int i = 0; i < counts[0] && !failed; i++) {
        if (strcmp(names[0][i], names[1][i]) != 0)
            fail("%s: entries %s and %s", path, names[0][i], names[1][i]);
        size_t len = strlen(path);
        if (names[0][i][0] == '.' || len + sizeof(names[0][i]) >= PATH_MAX)
            continue;
        snprintf(path + len, PATH_MAX - len, "/%s", names[0][i]);
        compare_tree(path, depth + 1);
        path[len] = '\0';
    }
}

static void compare_whole_tree(void)
{
    char path[PATH_MAX] = ".";
    compare_tree(path, 0);
}

static void compare_held(void)
{
    for (int i = 0; i < HELD && !failed; i++) {
        struct stat st[SIDES];
        if (held[i][0] < 0)
            continue;
        if (fstat(held[i][0], &st[0]) != 0 || fstat(held[i][1], &st[1]) != 0) {
            fail("held %d: fstat: %s", i, strerrorname_np(errno));
            return;
        }
        compare_stats("held", &st[0], &st[1]);
        bool readable = (fcntl(held[i][0], F_GETFL) & O_ACCMODE) != O_WRONLY;
        if (S_ISREG(st[0].st_mode) && readable)
            compare_contents("held", held[i], st[0].st_size);
    }
}

/* ---- the steps ---- */

/* Some steps are an ordinary user's. */
static void become(uid_t uid)
{
    if (!is_root || geteuid() == uid)
        return;
    if (seteuid(0) != 0 || setegid(uid) != 0 || seteuid(uid) != 0)
        fail("seteuid: %s", strerrorname_np(errno));
}

#define SAY(...) snprintf(what, sizeof(what), __VA_ARGS__)

static void do_open(void)
{
    static const int flag_sets[] = {O_RDONLY,
                                    O_RDWR,
                                    O_RDWR | O_CREAT,
                                    O_RDWR | O_CREAT,
                                    O_RDWR | O_CREAT | O_EXCL,
                                    O_RDWR | O_CREAT | O_TRUNC,
                                    O_WRONLY | O_TRUNC,
                                    O_WRONLY | O_APPEND | O_CREAT,
                                    O_RDONLY | O_DIRECTORY,
                                    O_RDWR | O_TMPFILE,
                                    O_RDWR | O_CREAT | O_NOFOLLOW};
    char path[64];
    pick_path(path);
    int flags = flag_sets[below(sizeof(flag_sets) / sizeof(flag_sets[0]))] | O_NONBLOCK;
    unsigned mode = below(8) == 0 ? odd_mode() : 0644;
    unsigned slot = below(HELD);
    SAY("open(%s, %#x, %o) into %u", path, flags, mode, slot);
    int fds[SIDES];
    for (int side = 0; side < SIDES; side++) {
        errno = 0;
        fds[side] = openat(roots[side], path, flags, mode);
        results[side] = fds[side] < 0 ? -1 : 0;
        errors[side] = fds[side] < 0 ? errno : 0;
    }
    compare_results();
    for (int side = 0; side < SIDES; side++) {
        if (results[side] != 0)
            continue;
        if (held[slot][side] >= 0)
            close(held[slot][side]);
        held[slot][side] = fds[side];
    }
}

static void do_close(void)
{
    unsigned slot = below(HELD);
    SAY("close %u", slot);
    if (held[slot][0] < 0)
        return;
    BOTH(side, close(held[slot][side]));
    held[slot][0] = held[slot][1] = -1;
}

static bool held_is_regular(unsigned slot)
{
    struct stat st;
    return held[slot][0] >= 0 && fstat(held[slot][0], &st) == 0 && S_ISREG(st.st_mode);
}

static void do_write(void)
{
    unsigned slot = below(HELD);
    if (!held_is_regular(slot))
        return;
    uint64_t offset = pick_offset();
    size_t len = below(5) == 0 ? below(IO_MAX) : below(3000);
    SAY("pwrite(%u, %zu, %llu)", slot, len, (unsigned long long)offset);
    memset(io[0], (int)below(256), len);
    BOTH(side, pwrite(held[slot][side], io[0], len, (off_t)offset));
}

static void do_read(void)
{
    unsigned slot = below(HELD);
    if (!held_is_regular(slot))
        return;
    uint64_t offset = pick_offset();
    size_t len = below(IO_MAX);
    SAY("pread(%u, %zu, %llu)", slot, len, (unsigned long long)offset);
    BOTH(side, pread(held[slot][side], io[side], len, (off_t)offset));
    if (results[0] > 0 && memcmp(io[0], io[1], (size_t)results[0]) != 0)
        fail("different bytes");
}

static void do_held(void)
{
    unsigned slot = below(HELD);
    if (!held_is_regular(slot))
        return;
    uint64_t offset = pick_offset();
    uint64_t len = pick_offset() + 1;
    unsigned other = below(HELD);
    struct timespec times[2] = {{(time_t)below(1u << 31), below(1000000000)}, {(time_t)below(1u << 31), 5}};
    unsigned choice = below(8);
    /* What root's fallocate and copy_file_range make of suid and sgid is a known deviation. */
    if (geteuid() == 0 && (choice == 1 || choice == 2 || choice == 5)) {
        int *fds = held[choice == 5 ? other : slot];
        SAY("fchmod before %u", choice);
        BOTH(side, fchmod(fds[side], 0644));
    }
    switch (choice) {
    case 0:
        SAY("ftruncate(%u, %llu)", slot, (unsigned long long)offset);
        BOTH(side, ftruncate(held[slot][side], (off_t)offset));
        break;
    case 1:
        SAY("fallocate(%u, 0, %llu, %llu)", slot, (unsigned long long)offset, (unsigned long long)len);
        BOTH(side, fallocate(held[slot][side], 0, (off_t)offset, (off_t)len));
        break;
    case 2:
        SAY("punch(%u, %llu, %llu)", slot, (unsigned long long)offset, (unsigned long long)len);
        BOTH(side, fallocate(held[slot][side], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                             (off_t)len));
        break;
    case 3:
        SAY("futimens(%u)", slot);
        BOTH(side, futimens(held[slot][side], times));
        for (int side = 0; side < SIDES && results[0] == 0; side++) {
            struct stat st;
            if (fstat(held[slot][side], &st) != 0 || st.st_mtim.tv_sec != times[1].tv_sec ||
                st.st_mtim.tv_nsec != 5)
                fail("side %d: mtime did not take", side);
        }
        break;
    case 4:
        SAY("fchmod(%u)", slot);
        {
            mode_t mode = odd_mode();
            BOTH(side, fchmod(held[slot][side], mode));
        }
        break;
    case 5:
        if (!held_is_regular(other))
            return;
        SAY("copy_file_range(%u, %llu, %u, %llu, %llu)", slot, (unsigned long long)offset, other,
            (unsigned long long)len, (unsigned long long)(len / 3));
        for (int side = 0; side < SIDES; side++) { /* how much one call copies is not said */
            off_t in = (off_t)offset, out = (off_t)len;
            uint64_t left = len / 3;
            errno = 0;
            results[side] = 0;
            while (left > 0) {
                ssize_t n = copy_file_range(held[slot][side], &in, held[other][side], &out, left, 0);
                if (n <= 0) {
                    results[side] = n < 0 ? -1 : results[side];
                    break;
                }
                left -= (uint64_t)n;
                results[side] += n;
            }
            errors[side] = results[side] < 0 ? errno : 0;
        }
        compare_results();
        break;
    case 6:
        SAY("fsync(%u)", slot);
        BOTH(side, fsync(held[slot][side]));
        break;
    default:
        SAY("append to %u", slot);
        BOTH(side, lseek(held[slot][side], 0, SEEK_END));
        BOTH(side, write(held[slot][side], "appended", 8));
    }
}

static void do_names(void)
{
    static const unsigned rename_flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    char path[64], other[64];
    pick_path(path);
    pick_path(other);
    unsigned flags = rename_flags[below(5)];
    mode_t mode = below(4) == 0 ? odd_mode() : 0755;
    switch (below(9)) {
    case 0:
    case 1:
        SAY("mkdir(%s, %o)", path, mode);
        BOTH(side, mkdirat(roots[side], path, mode));
        break;
    case 2:
        SAY("unlink(%s)", path);
        BOTH(side, unlinkat(roots[side], path, 0));
        break;
    case 3:
        SAY("rmdir(%s)", path);
        BOTH(side, unlinkat(roots[side], path, AT_REMOVEDIR));
        break;
    case 4:
    case 5:
        SAY("rename(%s, %s, %u)", path, other, flags);
        BOTH(side, syscall(SYS_renameat2, roots[side], path, roots[side], other, flags));
        break;
    case 6:
        SAY("link(%s, %s)", path, other);
        BOTH(side, linkat(roots[side], path, roots[side], other, 0));
        break;
    case 7:
        SAY("symlink(%s, %s)", other, path);
        BOTH(side, symlinkat(other, roots[side], path));
        break;
    default:
        SAY("mkfifo(%s, %o)", path, mode);
        BOTH(side, mkfifoat(roots[side], path, mode));
    }
}

static void do_attributes(void)
{
    char path[64];
    pick_path(path);
    mode_t mode = below(3) == 0 ? odd_mode() : below(2) == 0 ? 0755 : 0777;
    uid_t uid = below(3) == 0 ? (uid_t)-1 : 1000 + below(2);
    gid_t gid = below(3) == 0 ? (gid_t)-1 : 1000 + below(2);
    struct stat st[SIDES];
    struct timespec times[2] = {{(time_t)below(1u << 30), 7}, {0, below(2) == 0 ? UTIME_NOW : UTIME_OMIT}};
    switch (below(6)) {
    case 0:
        SAY("chmod(%s, %o)", path, mode);
        BOTH(side, fchmodat(roots[side], path, mode, 0));
        break;
    case 1:
        if (uid == (uid_t)-1 && gid == (gid_t)-1) /* a known deviation */
            uid = 1000;
        SAY("chown(%s, %d, %d)", path, (int)uid, (int)gid);
        BOTH(side, fchownat(roots[side], path, uid, gid, AT_SYMLINK_NOFOLLOW));
        break;
    case 2:
        SAY("utimensat(%s)", path);
        BOTH(side, utimensat(roots[side], path, times, AT_SYMLINK_NOFOLLOW));
        break;
    case 3:
        SAY("access(%s)", path);
        BOTH(side, faccessat(roots[side], path, (int)(mode & 7), AT_EACCESS));
        break;
    default:
        SAY("stat(%s)", path);
        BOTH(side, fstatat(roots[side], path, &st[side], AT_SYMLINK_NOFOLLOW));
        if (results[0] == 0)
            compare_stats(path, &st[0], &st[1]);
    }
}

static void do_folder(void)
{
    char path[64];
    pick_path(path);
    char names[SIDES][NAMES_MAX][16];
    SAY("list(%s)", path);
    BOTH(side, list(roots[side], path, names[side]));
    for (int i = 0; i < results[0] && !failed; i++)
        if (strcmp(names[0][i], names[1][i]) != 0)
            fail("entries %s and %s", names[0][i], names[1][i]);
}

static void do_xattr(void)
{
    char path[64], full[SIDES][100];
    pick_path(path);
    char name[] = {'u', 's', 'e', 'r', '.', (char)('x' + (int)below(3)), 0};
    size_t size = below(4) == 0 ? below(1000) : below(20); /* ext4 has one block for all of a file's */
    unsigned flags = below(4) == 0 ? XATTR_CREATE : below(4) == 0 ? XATTR_REPLACE : 0;
    memset(io[0], (int)below(256), size);
    for (int side = 0; side < SIDES; side++)
        snprintf(full[side], sizeof(full[0]), "/proc/self/fd/%d/%s", roots[side], path);
    switch (below(4)) {
    case 0:
    case 1:
        SAY("setxattr(%s, %s, %zu, %u)", path, name, size, flags);
        BOTH(side, lsetxattr(full[side], name, io[0], size, (int)flags));
        break;
    case 2:
        SAY("removexattr(%s, %s)", path, name);
        BOTH(side, lremovexattr(full[side], name));
        break;
    default:
        SAY("getxattr(%s, %s)", path, name);
        BOTH(side, lgetxattr(full[side], name, io[side], 500));
        if (results[0] > 0 && memcmp(io[0], io[1], (size_t)results[0]) != 0)
            fail("different values");
    }
}

static void one_step(void)
{
    become(below(5) == 0 ? 1000 + below(2) : 0);
    unsigned choice = below(100);
    if (choice < 14)
        do_open();
    else if (choice < 18)
        do_close();
    else if (choice < 32)
        do_write();
    else if (choice < 42)
        do_read();
    else if (choice < 54)
        do_held();
    else if (choice < 76)
        do_names();
    else if (choice < 88)
        do_attributes();
    else if (choice < 93)
        do_folder();
    else
        do_xattr();
    if (step % CHECK_EVERY == 0 && !failed) {
        become(0);
        char last[sizeof(what)];
        snprintf(last, sizeof(last), "%s", what);
        SAY("comparison after %.500s", last);
        compare_whole_tree();
        compare_held();
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: random_ops DIR_A DIR_B STEPS SECONDS\n");
        return 2;
    }
    const char *seed = getenv("ORIEL_TEST_SEED");
    uint64_t number = seed != NULL ? strtoull(seed, NULL, 0) : 1;
    random_state = number * UINT64_C(0x9e3779b97f4a7c15) + 1;
    is_root = geteuid() == 0;
    umask(0);
    for (int side = 0; side < SIDES; side++) {
        roots[side] = open(argv[1 + side], O_RDONLY | O_DIRECTORY);
        if (roots[side] < 0 || fchmod(roots[side], 0777) != 0) {
            perror(argv[1 + side]);
            return 2;
        }
    }
    memset(held, -1, sizeof(held));
    uint64_t steps = strtoull(argv[3], NULL, 0);
    time_t end = time(NULL) + atoi(argv[4]);
    printf("# ORIEL_TEST_SEED=%llu\n", (unsigned long long)number);
    for (step = 1; step <= steps && !failed && (step % 64 != 0 || time(NULL) < end); step++)
        one_step();
    become(0);
    if (!failed)
        compare_whole_tree();
    printf("# %llu steps\n", (unsigned long long)step - 1);
    printf("%s 1 - both folders did the same\n1..1\n", failed ? "not ok" : "ok");
    return failed;
}
