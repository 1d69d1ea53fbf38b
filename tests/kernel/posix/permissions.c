/* permissions and owners: as root and as ordinary users. */
#include "log.h"

#include <grp.h>

#define OWNER 1000
#define GROUP 2000
#define OTHER 1001

static void compact(const char *what, const char *path, int (*call)(const char *))
{
    errno = 0;
    int result = call(path);
    log_line("%s %s: %s", what, path, result >= 0 ? "ok" : strerrorname_np(errno));
}

static const unsigned modes[] = {0,    0400, 0200, 0100, 0040, 0020, 0010,
                                 0004, 0002, 0001, 0640, 0755, 0077, 0707};

struct attempt {
    const char *what;
    int (*call)(const char *path);
};

/* Kind 'f' or 'd': the files or the folders that topic_permissions() made. */
static void try_on_each_mode(char kind, const struct attempt *attempts, size_t count)
{
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        char path[32];
        snprintf(path, sizeof(path), "%c%03o", kind, modes[i]);
        for (size_t k = 0; k < count; k++)
            compact(attempts[k].what, path, attempts[k].call);
    }
}

static int open_close(const char *path, int flags)
{
    int fd = open(path, flags, 0644);
    if (fd >= 0)
        close(fd);
    return fd;
}

static int try_read(const char *path)
{
    return open_close(path, O_RDONLY);
}

static int try_write(const char *path)
{
    return open_close(path, O_WRONLY);
}

static int try_execute(const char *path)
{
    return access(path, X_OK);
}

static int try_chmod(const char *path)
{
    struct stat st;
    return stat(path, &st) != 0 ? -1 : chmod(path, st.st_mode & 07777);
}

static int try_utime_now(const char *path)
{
    return utimensat(AT_FDCWD, path, NULL, 0);
}

static int try_utime_set(const char *path)
{
    struct timespec times[2] = {{1, 0}, {2, 0}};
    return utimensat(AT_FDCWD, path, times, 0);
}

static int try_truncate(const char *path)
{
    return truncate(path, 3);
}

static void use_files(void)
{
    static const struct attempt attempts[] = {
        {"read", try_read},         {"write", try_write},         {"execute", try_execute},
        {"truncate", try_truncate}, {"utime now", try_utime_now}, {"utime set", try_utime_set},
        {"chmod", try_chmod},
    };
    try_on_each_mode('f', attempts, sizeof(attempts) / sizeof(attempts[0]));
}

static int try_list(const char *path)
{
    return open_close(path, O_RDONLY | O_DIRECTORY);
}

static int try_search(const char *path)
{
    char inside[64];
    snprintf(inside, sizeof(inside), "%s/inside", path);
    struct stat st;
    return stat(inside, &st);
}

static int try_make(const char *path)
{
    char inside[64];
    snprintf(inside, sizeof(inside), "%s/made-%d", path, (int)getuid());
    int fd = open(inside, O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (fd >= 0)
        close(fd);
    return fd;
}

static int try_remove(const char *path)
{
    char inside[64];
    snprintf(inside, sizeof(inside), "%s/made-%d", path, (int)getuid());
    return unlink(inside);
}

static int try_mkdir(const char *path)
{
    char inside[64];
    snprintf(inside, sizeof(inside), "%s/dir-%d", path, (int)getuid());
    return mkdir(inside, 0755) != 0 ? -1 : rmdir(inside);
}

static int try_rename_in(const char *path)
{
    char from[64], to[64];
    snprintf(from, sizeof(from), "%s/inside", path);
    snprintf(to, sizeof(to), "%s/renamed", path);
    return rename(from, to) != 0 ? -1 : rename(to, from);
}

static int try_link_in(const char *path)
{
    char from[64], to[64];
    snprintf(from, sizeof(from), "%s/inside", path);
    snprintf(to, sizeof(to), "%s/linked", path);
    return link(from, to) != 0 ? -1 : unlink(to);
}

static void use_folders(void)
{
    static const struct attempt attempts[] = {
        {"list", try_list},        {"search", try_search},  {"make in", try_make},
        {"remove in", try_remove}, {"mkdir in", try_mkdir}, {"rename in", try_rename_in},
        {"link in", try_link_in},
    };
    try_on_each_mode('d', attempts, sizeof(attempts) / sizeof(attempts[0]));
}

static void use_sticky(void)
{
    T(unlink("sticky/of-owner"));
    T(rename("sticky/of-owner", "sticky/x"));
    T(rename("sticky/of-other", "sticky/of-owner"));
    T(rmdir("sticky/folder-of-owner"));
    T(link("sticky/of-owner", "sticky/l"));
    T(unlink("sticky/of-other"));
    T(rename("plain/of-owner", "plain/x"));
    T(rename("plain/x", "plain/of-owner"));
}

static void groups_count(void)
{
    compact("read", "f040", try_read);
    compact("write", "f020", try_write);
    compact("make in", "dgroup", try_make);
    compact("remove in", "dgroup", try_remove);
}

void topic_permissions(void)
{
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        char path[40], inside[64];
        snprintf(path, sizeof(path), "f%03o", modes[i]);
        put(path, "text", 0600);
        if (chown(path, OWNER, GROUP) != 0 || chmod(path, modes[i]) != 0)
            log_line("%s: %s", path, strerrorname_np(errno));
        snprintf(path, sizeof(path), "d%03o", modes[i]);
        snprintf(inside, sizeof(inside), "%s/inside", path);
        mkdir(path, 0755);
        put(inside, "x", 0666);
        if (chown(inside, OWNER, GROUP) != 0 || chown(path, OWNER, GROUP) != 0 || chmod(path, modes[i]) != 0)
            log_line("%s: %s", path, strerrorname_np(errno));
    }
    mkdir("dgroup", 0755);
    T(chown("dgroup", 0, GROUP) + chmod("dgroup", 0770));
    T(chmod(".", 0777));
    as_user(OWNER, OWNER, NULL, 0, use_files);
    as_user(OTHER, GROUP, NULL, 0, use_files);
    as_user(OTHER, OTHER, NULL, 0, use_files);
    as_user(OWNER, OWNER, NULL, 0, use_folders);
    as_user(OTHER, GROUP, NULL, 0, use_folders);
    as_user(OTHER, OTHER, NULL, 0, use_folders);
    gid_t groups[] = {5, GROUP, 7};
    as_user(OTHER, OTHER, groups, 3, groups_count);
    as_user(OTHER, OTHER, groups, 1, groups_count);
    log_line("-- as root");
    use_files();
    use_folders();

    mkdir("sticky", 01777);
    mkdir("plain", 0777);
    T(chmod("sticky", 01777) + chmod("plain", 0777));
    const char *const names[] = {"sticky/of-owner", "plain/of-owner"};
    for (size_t i = 0; i < 2; i++) {
        put(names[i], "x", 0644);
        T(chown(names[i], OWNER, OWNER));
    }
    put("sticky/of-other", "x", 0644);
    T(chown("sticky/of-other", OTHER, OTHER));
    T(mkdir("sticky/folder-of-owner", 0755));
    T(chown("sticky/folder-of-owner", OWNER, OWNER));
    as_user(OTHER, OTHER, NULL, 0, use_sticky);
    as_user(OWNER, OWNER, NULL, 0, use_sticky);
    show("sticky");
}

/* ---- owners: who may change them, what is inherited, what becomes of suid and sgid ---- */

static void make_in_shared(void)
{
    umask(027);
    put("shared/file", "x", 0640);
    T(close(open("shared/created", O_CREAT | O_WRONLY, 0666)));
    T(close(open("shared/sgid-program", O_CREAT | O_WRONLY, 02777)));
    T(mkdir("shared/folder", 0777));
    T(mkdir("shared/sticky", 01777));
    T(mkfifo("shared/fifo", 0666));
    T(symlink("x", "shared/link"));
    show("shared/file");
    show("shared/created");
    show("shared/sgid-program");
    show("shared/folder");
    show("shared/sticky");
    show("shared/fifo");
    show("shared/link");
    T(mkdir("own", 0755));
    T(close(open("own/created", O_CREAT | O_WRONLY, 04755)));
    show("own/created");
    int fd = open("own", O_TMPFILE | O_RDWR, 0666);
    struct stat st;
    if (fd >= 0 && fstat(fd, &st) == 0)
        log_line("tmpfile mode %o owner %u:%u", st.st_mode, st.st_uid, st.st_gid);
    close(fd);
    umask(0);
}

static void change_owner(void)
{
    T(chown("of-owner", OTHER, (gid_t)-1));
    T(chown("of-owner", (uid_t)-1, OTHER));
    T(chown("of-owner", (uid_t)-1, GROUP));
    T(chown("of-owner", getuid(), (gid_t)-1));
    T(chown("of-owner", (uid_t)-1, (gid_t)-1));
    T(lchown("link", (uid_t)-1, GROUP));
    T(chmod("of-owner", 02755));
    show("of-owner");
    T(chmod("of-root", 0777));
    T(chown("of-root", getuid(), (gid_t)-1));
}

static void write_privileged(void)
{
    int fd = FD(open("privileged", O_RDWR));
    T(write(fd, "x", 1));
    show("privileged");
    close(fd);
    T(truncate("privileged2", 1));
    show("privileged2");
    T(close(open("privileged3", O_WRONLY | O_TRUNC)));
    show("privileged3");
    fd = FD(open("privileged4", O_RDWR));
    T(write(fd, "x", 1));
    T(fallocate(fd, 0, 0, 100));
    show("privileged4");
    off_t end = geteuid() == 0 ? 200 : 100, last = end - 1; /* the deviation is of root's only */
    int other = FD(open("privileged5", O_RDWR));
    T(fallocate(other, 0, 0, end));
    show("privileged5");
    close(other);
    other = FD(open("privileged6", O_RDWR));
    T(copy_file_range(fd, NULL, other, &last, 1, 0));
    show("privileged6");
    close(other);
    close(fd);
}

static void make_privileged(void)
{
    static const char *const names[] = {"privileged",  "privileged2", "privileged3",
                                        "privileged4", "privileged5", "privileged6"};
    const mode_t mode[] = {06777, 06777, 06777, 02666, 06777, 06777};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        put(names[i], "xx", 0666);
        T(chmod(names[i], mode[i]));
        show(names[i]);
    }
}

static int appended_fd;

static void append_to_privileged(void)
{
    T(write(appended_fd, "behind", 6));
}

/* The append ends suid, so a write-back cache sends it at once, and what was written before it later. */
static void append_behind_written(void)
{
    static char page[4096];
    memset(page, 'p', sizeof(page));
    appended_fd = FD(open("appended", O_WRONLY | O_CREAT | O_APPEND, 04777));
    T(write(appended_fd, page, sizeof(page)));
    as_user(OTHER, OTHER, NULL, 0, append_to_privileged);
    close(appended_fd);
    show("appended");
    show_content("appended");
}

void topic_owners(void)
{
    T(chmod(".", 0777));
    T(mkdir("shared", 0777));
    T(chown("shared", 0, GROUP));
    T(chmod("shared", 02777));
    as_user(OWNER, OWNER, NULL, 0, make_in_shared);
    gid_t groups[] = {GROUP};
    T(rename("shared", "shared-1"));
    T(rename("own", "own-1"));
    T(mkdir("shared", 0777));
    T(chown("shared", 0, GROUP));
    T(chmod("shared", 02777));
    as_user(OWNER, OWNER, groups, 1, make_in_shared);
    put("of-owner", "x", 0644);
    put("of-root", "x", 0666);
    T(chown("of-owner", OWNER, OWNER));
    symlink("of-owner", "link");
    T(lchown("link", OWNER, OWNER));
    as_user(OWNER, OWNER, NULL, 0, change_owner);
    as_user(OWNER, OWNER, groups, 1, change_owner);
    log_line("-- as root");
    change_owner();
    show("link");
    make_privileged();
    as_user(OTHER, OTHER, NULL, 0, write_privileged);
    make_privileged();
    log_line("-- as root");
    write_privileged();
    append_behind_written();
    T(chmod("privileged", 06755));
    T(chown("privileged", 1, (gid_t)-1));
    show("privileged");
    T(chmod("privileged", 06755));
    T(chown("privileged", (uid_t)-1, 1));
    show("privileged");
    T(chmod("privileged", 06644));
    T(chown("privileged", 2, 2));
    show("privileged");
    T(chmod("shared", 07777));
    T(chown("shared", 3, 3));
    show("shared");
    T(chown("of-owner", 0xfffffffe, 0xfffffffe));
    show("of-owner");
}
