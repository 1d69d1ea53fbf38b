/* folders, special */
#include "log.h"

#include <dirent.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#define KEPT 3000

struct seen {
    unsigned char times[KEPT];
    unsigned others;
};

static void count(struct seen *seen, const struct dirent *entry)
{
    if (strncmp(entry->d_name, "kept", 4) == 0)
        seen->times[atoi(entry->d_name + 4) % KEPT]++;
    else
        seen->others++;
}

static void log_seen(const char *what, const struct seen *seen)
{
    int lost = 0, doubled = 0;
    for (int i = 0; i < KEPT; i++) {
        lost += seen->times[i] == 0;
        doubled += seen->times[i] > 1;
    }
    log_line("%s: of those that were there all along %d were lost and %d came twice", what, lost, doubled);
}

static void touch(const char *prefix, int number)
{
    char name[64];
    snprintf(name, sizeof(name), "%s%d", prefix, number);
    int fd = open(name, O_CREAT | O_WRONLY, 0644);
    if (fd < 0)
        log_line("%s: %s", name, strerrorname_np(errno));
    else
        close(fd);
}

/* What stays in a folder is listed exactly once, whatever else comes and goes meanwhile. */
static void list_while_it_changes(void)
{
    T(mkdir("busy", 0755));
    for (int i = 0; i < KEPT; i++) {
        touch("busy/kept", i);
        touch("busy/gone", i);
    }
    static struct seen seen;
    DIR *dir = opendir("busy");
    int step = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL && step < 100000; step++) {
        count(&seen, entry);
        char from[64], to[64];
        if (step % 3 == 0) {
            snprintf(from, sizeof(from), "busy/gone%d", step % KEPT);
            unlink(from);
            touch("busy/new", step);
        }
        if (step % 7 == 0) {
            snprintf(from, sizeof(from), "busy/new%d", step - step % 3);
            snprintf(to, sizeof(to), "busy/moved%d", step);
            rename(from, to);
        }
    }
    T(step < 100000);
    log_seen("while names come and go", &seen);
    closedir(dir);
    /* rm -r: what is read is removed. */
    dir = opendir("busy");
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[300];
        snprintf(path, sizeof(path), "busy/%s", entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(dir);
    log_line("removed while listing: all but %s", rmdir("busy") == 0 ? "none" : strerrorname_np(errno));
}

static void seek_and_rewind(void)
{
    T(mkdir("seek", 0755));
    for (int i = 0; i < 500; i++)
        touch("seek/kept", i);
    DIR *dir = opendir("seek");
    long places[502];
    char names[502][32];
    int n = 0;
    for (;;) {
        long place = telldir(dir);
        const struct dirent *entry = readdir(dir);
        if (entry == NULL || n == 502)
            break;
        places[n] = place;
        snprintf(names[n++], sizeof(names[0]), "%.31s", entry->d_name);
    }
    T(n);
    int wrong = 0;
    for (int i = n - 1; i >= 0; i -= 13) {
        seekdir(dir, places[i]);
        const struct dirent *entry = readdir(dir);
        wrong += entry == NULL || strcmp(entry->d_name, names[i]) != 0;
    }
    T(wrong);
    touch("seek/later", 1);
    rewinddir(dir);
    int all = 0;
    bool later = false;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL; all++)
        later = later || strcmp(entry->d_name, "later1") == 0;
    T(all);
    T(later);
    closedir(dir);
}

static void types_and_numbers(void)
{
    T(mkdir("kinds", 0755));
    put("kinds/file", "", 0644);
    mkdir("kinds/folder", 0755);
    symlink("x", "kinds/link");
    mkfifo("kinds/fifo", 0644);
    mknod("kinds/socket", S_IFSOCK | 0644, 0);
    DIR *dir = opendir("kinds");
    int entries = 0, wrong_type = 0, wrong_number = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL; entries++) {
        char path[300];
        struct stat st;
        snprintf(path, sizeof(path), "kinds/%s", entry->d_name);
        if (lstat(path, &st) != 0)
            continue;
        wrong_type += entry->d_type != IFTODT(st.st_mode);
        wrong_number += strcmp(entry->d_name, "..") != 0 && entry->d_ino != st.st_ino;
    }
    closedir(dir);
    log_line("entries %d, wrong types %d, wrong numbers %d", entries, wrong_type, wrong_number);
}

void topic_folders(void)
{
    list_while_it_changes();
    seek_and_rewind();
    types_and_numbers();
    T(mkdir("removed", 0755));
    DIR *dir = opendir("removed");
    T(rmdir("removed"));
    errno = 0;
    T(readdir(dir) == NULL);
    closedir(dir);
    int fd = FD(open("kinds", O_RDONLY | O_DIRECTORY));
    T(faccessat(fd, "file", F_OK, 0));
    T(rename("kinds", "kinds2"));
    T(faccessat(fd, "file", F_OK, 0));
    T(mkdirat(fd, "new", 0755));
    T(unlinkat(fd, "new", AT_REMOVEDIR));
    T(unlinkat(fd, "folder", 0));
    T(fsync(fd));
    T(fchdir(fd));
    T(chdir(".."));
    char byte;
    T(read(fd, &byte, 1));
    close(fd);
}

/* ---- special ---- */

static void show_statx(const char *path)
{
    struct statx stx = {0};
    T(statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &stx));
    bool basic = (stx.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS;
    log_line("%s: basic %d mode %o links %u size %llu", path, basic, stx.stx_mode, stx.stx_nlink,
             S_ISREG(stx.stx_mode) ? (unsigned long long)stx.stx_size : 0);
    bool born = (stx.stx_mask & STATX_BTIME) != 0;
    log_line("%s: birth time %s", path,
             !born                               ? "unknown"
             : stx.stx_btime.tv_sec > 1000000000 ? "known"
                                                 : "odd");
}

static void talk_over_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "sock"};
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    T(bind(server, (struct sockaddr *)&address, sizeof(address)));
    T(listen(server, 1));
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    T(connect(client, (struct sockaddr *)&address, sizeof(address)));
    T(bind(client, (struct sockaddr *)&address, sizeof(address)));
    close(client);
    close(server);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    T(connect(client, (struct sockaddr *)&address, sizeof(address)));
    close(client);
    show("sock");
}

static void pass_through_fifo(void *arg)
{
    (void)arg;
    int fd = open("fifo", O_WRONLY);
    (void)!write(fd, "through", 7);
}

void topic_special(void)
{
    T(mkfifo("fifo", 0640));
    T(mkfifo("fifo", 0640));
    pid_t writer = start(pass_through_fifo, NULL);
    int fd = FD(open("fifo", O_RDONLY));
    char text[8] = "";
    T(read(fd, text, 7));
    log_line("fifo: %s", text);
    close(fd);
    join("writer", writer);
    T(mknod("regular", S_IFREG | 0604, 0));
    T(mknod("folder", S_IFDIR | 0755, 0));
    if (suite_is_root) {
        T(mknod("char", S_IFCHR | 0600, makedev(1, 3)));
        T(mknod("block", S_IFBLK | 0600, makedev(259, 0x12345)));
        show("char");
        show("block");
    }
    show("fifo");
    show("regular");
    talk_over_socket();
    put("f", "four", 0644);
    show_statx("f");
    show_statx(".");
    show_statx("fifo");
    struct statfs st;
    T(statfs(".", &st));
    T(st.f_namelen);
    T(st.f_blocks > 0 && st.f_bfree <= st.f_blocks && st.f_bavail <= st.f_bfree && st.f_ffree <= st.f_files);
    fd = FD(open("f", O_RDONLY));
    int flags = 0;
    T(ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 || errno == ENOTTY);
    T(ioctl(fd, 0x1234, &flags));
    T(fstatfs(fd, &st));
    T(syncfs(fd));
    T(readahead(fd, 0, 4096));
    close(fd);
    T(access("f", R_OK));
    T(access("f", X_OK));
    T(faccessat(AT_FDCWD, "f", W_OK, AT_EACCESS));
    T(pathconf("f", _PC_NAME_MAX));
    T(pathconf("f", _PC_LINK_MAX) > 1);
    T(truncate("fifo", 0));
    T(chmod("missing", 0));
    T(chown("missing", 0, 0));
    T(chroot("f") == 0 ? 0 : errno == ENOTDIR || errno == EPERM);
}
