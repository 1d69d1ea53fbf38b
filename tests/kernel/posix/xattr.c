/* xattr, acl */
#include "log.h"

#include <sys/xattr.h>

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names in order; what the system adds by itself (security labels) is left out. */
static void list(const char *path)
{
    static char names[65536];
    errno = 0;
    ssize_t n = llistxattr(path, names, sizeof(names));
    if (n < 0) {
        log_line("list %s: %s", path, strerrorname_np(errno));
        return;
    }
    const char *sorted[200];
    size_t count = 0;
    for (const char *name = names; name < names + n && count < 200; name += strlen(name) + 1)
        if (strcmp(name, "security.selinux") != 0)
            sorted[count++] = name;
    qsort(sorted, count, sizeof(sorted[0]), compare_names);
    log_line("list %s:", path);
    for (size_t i = 0; i < count; i++)
        log_line("  %s has %s", path, sorted[i]);
}

static void each_kind(const char *path)
{
    log_line("-- %s", path);
    T(lsetxattr(path, "user.a", "1", 1, 0));
    T(lsetxattr(path, "trusted.a", "2", 1, 0));
    T(lgetxattr(path, "user.a", NULL, 0));
    T(lgetxattr(path, "trusted.a", NULL, 0));
    T(lgetxattr(path, "security.nothing", NULL, 0));
    T(lgetxattr(path, "nonsense", NULL, 0));
    T(lsetxattr(path, "nonsense.a", "2", 1, 0));
    T(lsetxattr(path, "user.", "2", 1, 0));
    T(lsetxattr(path, "system.nothing", "2", 1, 0));
    list(path);
    T(lremovexattr(path, "user.a"));
    T(lremovexattr(path, "user.a"));
    T(lremovexattr(path, "trusted.a"));
    list(path);
}

void topic_xattr(void)
{
    put("file", "x", 0644);
    mkdir("folder", 0755);
    symlink("file", "link");
    mkfifo("fifo", 0644);
    each_kind("file");
    each_kind("folder");
    each_kind("link");
    each_kind("fifo");
    T(setxattr("file", "user.one", "first", 5, XATTR_REPLACE));
    T(setxattr("file", "user.one", "first", 5, XATTR_CREATE));
    T(setxattr("file", "user.one", "again", 5, XATTR_CREATE));
    T(setxattr("file", "user.one", "second!", 7, XATTR_REPLACE));
    T(setxattr("file", "user.one", "x", 1, 99));
    T(setxattr("file", "user.empty", "", 0, 0));
    char value[20] = "";
    T(getxattr("file", "user.one", value, sizeof(value)));
    log_line("value %s", value);
    T(getxattr("file", "user.one", value, 3));
    T(getxattr("file", "user.one", value, 7));
    T(getxattr("file", "user.one", NULL, 0));
    T(getxattr("file", "user.empty", value, sizeof(value)));
    T(listxattr("file", value, 5));
    /* Names: 255 bytes; values: up to what the file system takes. */
    char name[300] = "user.";
    memset(name + 5, 'n', sizeof(name) - 5);
    for (size_t len = 254; len <= 256; len++) {
        name[len] = '\0';
        T(setxattr("file", name, "v", 1, 0));
        T(removexattr("file", name));
        name[len] = 'n';
    }
    T(setxattr("file", "", "v", 1, 0));
    static char big[70000];
    memset(big, 'v', sizeof(big));
    T(setxattr("file", "user.big", big, 2000, 0));
    T(getxattr("file", "user.big", big, sizeof(big)));
    T(setxattr("file", "user.big", big, 65537, 0));
    T(setxattr("missing", "user.a", "v", 1, 0));
    T(setxattr("link", "user.through", "v", 1, 0));
    list("file");
    /* They stay with the file. */
    T(rename("file", "renamed"));
    T(link("renamed", "second-name"));
    list("second-name");
    struct stat st;
    struct times before = times_before("renamed");
    T(setxattr("renamed", "user.t", "v", 1, 0));
    times_after("setxattr", "renamed", &before);
    before = times_before("renamed");
    T(removexattr("renamed", "user.t"));
    times_after("removexattr", "renamed", &before);
    T(chmod("renamed", 0444));
    T(stat("renamed", &st));
    int fd = FD(open("renamed", O_RDONLY));
    T(fgetxattr(fd, "user.one", value, sizeof(value)));
    T(fsetxattr(fd, "user.fd", "v", 1, 0));
    T(unlink("renamed") + unlink("second-name"));
    T(fgetxattr(fd, "user.one", value, sizeof(value)));
    T(fremovexattr(fd, "user.one"));
    T(fgetxattr(fd, "user.one", value, sizeof(value)));
    close(fd);
}

/* ---- access lists ---- */

#define ACCESS  "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

struct acl {
    uint32_t version;
    struct {
        uint16_t tag, perm;
        uint32_t id;
    } entries[8];
};

#define ACL_SIZE(count) (4 + 8 * (size_t)(count))

/* u::rwx,u:1000:rw-,g::r-x,m::rw-,o::--- */
static const struct acl sample = {
    2, {{1, 7, UINT32_MAX}, {2, 6, 1000}, {4, 5, UINT32_MAX}, {16, 6, UINT32_MAX}, {32, 0, UINT32_MAX}}};
static const struct acl plain = {2, {{1, 6, UINT32_MAX}, {4, 4, UINT32_MAX}, {32, 0, UINT32_MAX}}};
static const struct acl bad = {2, {{1, 6, UINT32_MAX}, {4, 4, UINT32_MAX}}};

static void show_acl(const char *path, const char *name)
{
    struct acl acl;
    errno = 0;
    ssize_t n = getxattr(path, name, &acl, sizeof(acl));
    if (n < 0) {
        log_line("%s %s: %s", path, name, strerrorname_np(errno));
        return;
    }
    log_line("%s %s: %zd bytes", path, name, n);
    for (ssize_t i = 0; ACL_SIZE(i + 1) <= (size_t)n; i++)
        log_line("  %u %u %u", acl.entries[i].tag, acl.entries[i].perm, acl.entries[i].id);
}

static void use_list(void)
{
    char text[8];
    int fd = FD(open("f", O_RDWR));
    T(read(fd, text, 1));
    close(fd);
    T(access("f", X_OK));
    T(setxattr("f", ACCESS, &plain, ACL_SIZE(3), 0));
    T(close(open("d/mine", O_CREAT | O_WRONLY, 0666)));
    show_acl("d/mine", ACCESS);
}

void topic_acl(void)
{
    put("f", "x", 0644);
    mkdir("d", 0755);
    T(setxattr("f", ACCESS, &sample, ACL_SIZE(5), 0));
    show("f");
    show_acl("f", ACCESS);
    T(chmod("f", 0741));
    show_acl("f", ACCESS);
    T(chmod("f", 0760));
    T(setxattr("f", DEFAULT, &sample, ACL_SIZE(5), 0));
    T(setxattr("f", ACCESS, &bad, ACL_SIZE(2), 0));
    T(setxattr("f", ACCESS, &sample, 7, 0));
    T(setxattr("d", DEFAULT, &sample, ACL_SIZE(5), 0));
    T(setxattr("d", ACCESS, &sample, ACL_SIZE(5), 0));
    T(chmod("d", 0777));
    umask(077);
    put("d/file", "x", 0664);
    T(close(open("d/created", O_CREAT | O_WRONLY, 0666)));
    T(mkdir("d/sub", 0777));
    T(mkfifo("d/fifo", 0640));
    T(symlink("x", "d/link"));
    umask(0);
    show("d/created");
    show_acl("d/created", ACCESS);
    show_acl("d/created", DEFAULT);
    show("d/sub");
    show_acl("d/sub", ACCESS);
    show_acl("d/sub", DEFAULT);
    show("d/fifo");
    show_acl("d/fifo", ACCESS);
    show("d/link");
    T(lgetxattr("d/link", ACCESS, NULL, 0));
    if (suite_is_root) {
        T(chmod(".", 0777));
        as_user(1000, 1000, NULL, 0, use_list);
        as_user(1001, 1001, NULL, 0, use_list);
    }
    T(setxattr("f", ACCESS, &plain, ACL_SIZE(3), 0));
    show("f");
    show_acl("f", ACCESS);
    T(removexattr("d", DEFAULT));
    T(removexattr("d", DEFAULT));
    T(removexattr("d", ACCESS));
    show("d");
    show_acl("d", DEFAULT);
}
