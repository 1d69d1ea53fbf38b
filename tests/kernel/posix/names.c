/* open, names, links, rename: what stands in folders. */
#include "log.h"

#include <linux/fs.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

static void try_open(const char *path, int flags, const char *text)
{
    char line[200];
    snprintf(line, sizeof(line), "open(%s, %s)", path, text);
    errno = 0;
    int fd = open(path, flags, 0640);
    log_fd(line, fd);
    if (fd >= 0) {
        struct stat st;
        snprintf(line, sizeof(line), "  O_ACCMODE %d size", fcntl(fd, F_GETFL) & O_ACCMODE);
        log_result(line, fstat(fd, &st) == 0 ? (long)st.st_size : -1);
        close(fd);
    }
}

#define OPEN(path, flags) try_open(path, flags, #flags)

static void open_each(const char *path)
{
    OPEN(path, O_RDONLY);
    OPEN(path, O_WRONLY | O_NONBLOCK);
    OPEN(path, O_RDWR | O_NONBLOCK);
    OPEN(path, O_RDONLY | O_CREAT | O_NONBLOCK);
    OPEN(path, O_RDONLY | O_CREAT | O_EXCL);
    OPEN(path, O_RDONLY | O_DIRECTORY);
    OPEN(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    OPEN(path, O_PATH | O_NOFOLLOW);
    OPEN(path, O_WRONLY | O_TRUNC | O_NONBLOCK);
    OPEN(path, O_RDONLY | O_NOATIME | O_NONBLOCK);
}

void topic_open(void)
{
    put("file", "content", 0644);
    mkdir("folder", 0755);
    put("folder/inside", "x", 0644);
    symlink("file", "to-file");
    symlink("folder", "to-folder");
    symlink("nothing", "dangling");
    symlink("loop", "loop");
    T(mkfifo("fifo", 0644));
    T(mknod("socket", S_IFSOCK | 0644, 0));
    const char *all[] = {"file",   "folder",  "to-file",    "to-folder", "dangling", "loop",
                         "socket", "missing", "file/below", "folder/",   "file/",    "folder/../file"};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        open_each(all[i]);
    OPEN("fifo", O_RDONLY | O_NONBLOCK);
    OPEN("fifo", O_WRONLY | O_NONBLOCK);
    OPEN("fifo", O_RDWR | O_NONBLOCK);
    show("nothing"); /* made through the dangling link */

    int fd = FD(open("file", O_RDONLY));
    T(write(fd, "x", 1));
    T(ftruncate(fd, 1));
    close(fd);
    fd = FD(open("file", O_WRONLY | O_APPEND));
    char byte;
    T(read(fd, &byte, 1));
    T(pwrite(fd, "AB", 2, 0)); /* appends on Linux */
    T(lseek(fd, 0, SEEK_CUR));
    T(write(fd, "CD", 2));
    T(lseek(fd, 0, SEEK_CUR));
    T(lseek(fd, -100, SEEK_SET));
    close(fd);
    show_content("file");

    fd = FD(open(".", O_RDWR | O_TMPFILE, 0600));
    if (fd >= 0) {
        T(write(fd, "temporary", 9));
        char proc[64];
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
        struct stat st;
        T(fstat(fd, &st));
        T(st.st_nlink);
        T(linkat(AT_FDCWD, proc, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
        close(fd);
        show("named");
        show_content("named");
    }
    fd = FD(open(".", O_RDWR | O_TMPFILE | O_EXCL, 0600));
    if (fd >= 0) {
        char proc[64];
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
        T(linkat(AT_FDCWD, proc, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
        close(fd);
    }
    /* A second open by O_CREAT leaves mode and content; O_TRUNC empties also read-only opens on Linux. */
    T(close(open("file", O_CREAT | O_RDWR, 0777)));
    show("file");
    /* The descriptor goes on after chmod 0. */
    fd = FD(open("file", O_RDWR));
    T(fchmod(fd, 0));
    T(pwrite(fd, "z", 1, 0));
    T(pread(fd, &byte, 1, 0));
    close(fd);
    /* And after unlink, for all kinds of calls on it. */
    fd = FD(open("named", O_RDWR));
    T(unlink("named"));
    struct stat st;
    T(fstat(fd, &st));
    T(st.st_nlink);
    T(st.st_size);
    T(pwrite(fd, "gone", 4, 20));
    T(ftruncate(fd, 22));
    T(fchmod(fd, 0644));
    T(futimens(fd, NULL));
    T(fsync(fd));
    T(fstat(fd, &st));
    T(st.st_size);
    T(st.st_mode);
    close(fd);
    show("named");
}

void topic_names(void)
{
    char name[300], path[5000];
    memset(name, 'n', sizeof(name));
    for (size_t len = 254; len <= 257; len++) {
        name[len] = '\0';
        int fd = open(name, O_CREAT | O_WRONLY, 0644);
        log_fd("create a long name", fd);
        if (fd >= 0)
            close(fd);
        T(mkdir(name, 0755));
        T(access(name, F_OK));
        T(unlink(name));
        T(mkdir(name, 0755));
        T(rename("nothing", name));
        T(symlink("x", name));
        T(rmdir(name));
        name[len] = 'n';
    }
    /* Every byte but '/' and NUL may stand in a name. */
    for (int c = 1; c < 256; c++) {
        char odd[4] = {'x', (char)c, 'y', 0};
        if (c == '/')
            continue;
        int fd = open(odd, O_CREAT | O_EXCL | O_WRONLY, 0644);
        if (fd < 0 || close(fd) != 0 || unlink(odd) != 0)
            log_line("byte %d in a name: %s", c, strerrorname_np(errno));
    }
    T(mkdir("", 0755));
    T(mkdir(".", 0755));
    T(mkdir("..", 0755));
    T(mkdir("/", 0755));
    T(rmdir("."));
    T(rmdir(".."));
    T(rmdir("d/."));
    T(mkdir("d/", 0755));
    T(rmdir("d/.."));
    T(rmdir("d/."));
    T(unlink("d"));
    T(unlink("d/"));
    T(rmdir("d/"));
    T(close(open("f/", O_CREAT | O_WRONLY, 0644)));
    put("f", "", 0644);
    T(rename("f", "g/"));
    T(rename("f/", "g"));
    T(link("f", "g/"));
    T(unlink("f/"));
    T(chdir("f"));
    T(rename(".", "x"));
    T(rename("f", "."));
    T(rename("f", ".."));
    /* Paths: as long as PATH_MAX says, through folders with long names. */
    size_t depth = 0;
    name[200] = '\0';
    while (depth < 30 && mkdir(name, 0755) == 0 && chdir(name) == 0)
        depth++;
    log_line("depth %zu", depth);
    T(getcwd(path, sizeof(path)) != NULL);
    for (; depth > 0; depth--)
        if (chdir("..") != 0 || rmdir(name) != 0)
            log_line("back: %s", strerrorname_np(errno));
    memset(path, '.', sizeof(path));
    for (size_t i = 1; i < sizeof(path); i += 2)
        path[i] = '/';
    path[4094] = '\0';
    T(access(path, F_OK));
    path[4094] = '.';
    path[4096] = '\0';
    T(access(path, F_OK));
    /* Chains of symbolic links: 40 are followed. */
    put("end", "", 0644);
    T(symlink("end", "s0"));
    for (int i = 1; i <= 41; i++) {
        char from[8], to[8];
        snprintf(from, sizeof(from), "s%d", i - 1);
        snprintf(to, sizeof(to), "s%d", i);
        symlink(from, to);
    }
    T(access("s39", F_OK));
    T(access("s40", F_OK));
    /* Targets: any text, to PATH_MAX. */
    memset(path, 't', sizeof(path));
    path[4095] = '\0';
    T(symlink(path, "long"));
    T(readlink("long", path, sizeof(path)));
    T(readlink("long", path, 10));
    path[4095] = 't';
    path[4096] = '\0';
    T(symlink(path, "longer"));
    T(symlink("", "empty"));
    T(symlink("a//b/../c ", "odd"));
    T(readlink("odd", path, sizeof(path)));
    T(readlink("end", path, sizeof(path)));
    show("odd");
    show("long");
    /* 200 levels. */
    int deep = 0;
    while (deep < 200 && mkdir("l", 0755) == 0 && chdir("l") == 0)
        deep++;
    log_line("levels %d", deep);
    put("bottom", "down here", 0644);
    show_content("bottom");
    T(unlink("bottom"));
    for (; deep > 0; deep--)
        if (chdir("..") != 0 || rmdir("l") != 0)
            log_line("up: %s", strerrorname_np(errno));
    /* A folder removed under the feet. */
    T(mkdir("gone", 0755));
    T(chdir("gone"));
    T(rmdir("../gone"));
    T(close(open("x", O_CREAT | O_WRONLY, 0644)));
    T(mkdir("x", 0755));
    T(access("..", F_OK));
    T(access(".", F_OK));
    T(rename("../end", "end"));
}

void topic_links(void)
{
    put("a", "shared", 0644);
    T(link("a", "b"));
    T(link("a", "b"));
    T(link("missing", "c"));
    T(link("a", "missing/c"));
    T(mkdir("d", 0755));
    T(link("d", "e"));
    T(link("a", "d/a"));
    show("a");
    T(symlink("a", "s"));
    T(linkat(AT_FDCWD, "s", AT_FDCWD, "s2", 0));
    T(linkat(AT_FDCWD, "s", AT_FDCWD, "s3", AT_SYMLINK_FOLLOW));
    show("s2");
    show("s3");
    T(unlink("a"));
    show("b");
    show_content("d/a");
    struct stat b, c;
    T(stat("b", &b) + stat("d/a", &c));
    T(b.st_ino == c.st_ino);
    /* Folders count their subfolders. */
    show("d");
    T(mkdir("d/1", 0755));
    T(mkdir("d/2", 0755));
    show("d");
    T(rmdir("d"));
    T(rename("d/2", "two"));
    show("d");
    T(rmdir("d/1"));
    T(rmdir("d/a"));
    T(unlink("d/1"));
    T(unlink("two"));
    T(rmdir("two"));
    T(rmdir("two"));
    T(unlink("two"));
    show("d");
    T(mkfifo("fifo", 0600));
    T(link("fifo", "fifo2"));
    show("fifo");
    /* Many names of one file. */
    int made = 0;
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof(name), "l%d", i);
        made += link("b", name) == 0;
    }
    log_line("made %d", made);
    show("b");
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof(name), "l%d", i);
        made -= unlink(name) == 0;
    }
    log_line("left %d", made);
    show("b");
}

/* ---- rename: every kind over every kind, with every flag, in one folder and between two ---- */

static const char *const kinds[] = {"missing", "file",    "other-file", "empty",
                                    "full",    "symlink", "fifo",       "same-file"};

static void make_kind(const char *path, const char *kind)
{
    char inside[64];
    snprintf(inside, sizeof(inside), "%s/inside", path);
    if (strstr(kind, "file") != NULL)
        put(path, kind, 0644);
    else if (strcmp(kind, "empty") == 0 || strcmp(kind, "full") == 0)
        mkdir(path, 0755);
    else if (strcmp(kind, "symlink") == 0)
        symlink("target", path);
    else if (strcmp(kind, "fifo") == 0)
        mkfifo(path, 0644);
    if (strcmp(kind, "full") == 0)
        put(inside, "inside", 0644);
}

static void clean(const char *path)
{
    char inside[64];
    snprintf(inside, sizeof(inside), "%s/inside", path);
    unlink(inside);
    if (unlink(path) != 0)
        rmdir(path);
}

static void describe(const char *path, char *out, size_t size)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        snprintf(out, size, "none");
    else
        snprintf(out, size, "%o/%lu", st.st_mode & S_IFMT, (unsigned long)st.st_nlink);
}

static void one_rename(const char *from, const char *to, const char *from_kind, const char *to_kind,
                       unsigned flags)
{
    make_kind(from, from_kind);
    if (strcmp(to_kind, "same-file") == 0)
        (void)!link(from, to);
    else
        make_kind(to, to_kind);
    errno = 0;
    long result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
    int error = errno;
    char a[32], b[32], folder_1[32], folder_2[32];
    describe(from, a, sizeof(a));
    describe(to, b, sizeof(b));
    describe("1", folder_1, sizeof(folder_1));
    describe("2", folder_2, sizeof(folder_2));
    log_line("rename %s %s to %s %s flags %u = %s: now %s and %s, folders %s %s", from_kind, from, to_kind,
             to, flags, result == 0 ? "0" : strerrorname_np(error), a, b, folder_1, folder_2);
    clean(from);
    clean(to);
}

void topic_rename(void)
{
    mkdir("1", 0755);
    mkdir("2", 0755);
    const unsigned flags[] = {0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE | RENAME_NOREPLACE, 8};
    for (size_t f = 0; f < sizeof(flags) / sizeof(flags[0]); f++)
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) - 1; i++)
            for (size_t j = 0; j < sizeof(kinds) / sizeof(kinds[0]); j++) {
                one_rename("1/from", "1/to", kinds[i], kinds[j], flags[f]);
                one_rename("1/from", "2/to", kinds[i], kinds[j], flags[f]);
            }
    if (suite_is_root) {
        one_rename("1/from", "1/to", "file", "missing", RENAME_WHITEOUT);
        one_rename("1/from", "2/to", "file", "other-file", RENAME_WHITEOUT);
        one_rename("1/from", "2/to", "file", "other-file", RENAME_WHITEOUT | RENAME_EXCHANGE);
    }
    /* Below itself, over what is above. */
    T(mkdir("1/a", 0755) + mkdir("1/a/b", 0755));
    T(rename("1", "1/a/x"));
    T(rename("1/a", "1/a/b"));
    T(rename("1/a/b", "1/a"));
    T(rename("1/a/b", "1"));
    T(syscall(SYS_renameat2, AT_FDCWD, "1/a/b", AT_FDCWD, "1", RENAME_EXCHANGE));
    T(syscall(SYS_renameat2, AT_FDCWD, "1", AT_FDCWD, "1/a/b", RENAME_EXCHANGE));
    T(rename("1/a", "1/a"));
    T(rename("1/a/.", "1/x"));
    T(rename("1/a/b/..", "1/x"));
    /* ".." follows. */
    T(rename("1/a/b", "2/b"));
    struct stat up, two;
    T(stat("2/b/..", &up) + stat("2", &two));
    T(up.st_ino == two.st_ino);
    /* An open file, and the one that it replaces, go on. */
    put("old", "old", 0644);
    put("new", "new", 0644);
    int old_fd = FD(open("old", O_RDWR));
    int new_fd = FD(open("new", O_RDWR));
    T(rename("new", "old"));
    char text[4] = "";
    T(pread(old_fd, text, 3, 0));
    log_line("replaced: %s", text);
    T(pread(new_fd, text, 3, 0));
    log_line("moved: %s", text);
    struct stat st;
    T(fstat(old_fd, &st));
    T(st.st_nlink);
    close(old_fd);
    close(new_fd);
    show_content("old");
}
