/* The walls around the daemon, looked at from outside: /proc of the process that serves. And what its options change. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "daemon.h"
#include "frontend.h"

#define MEMORY   (8u << 20)
#define CAP(cap) (UINT64_C(1) << (cap))
#define KEPT                                                                                                 \
    (CAP(CAP_CHOWN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_FOWNER) | CAP(CAP_FSETID) | CAP(CAP_SETGID) |          \
     CAP(CAP_SETUID) | CAP(CAP_SETFCAP) | CAP(CAP_MKNOD))

static struct daemon daemon_;
static struct frontend fe;

/* ---- the daemon, and the process of it that serves ---- */

static bool serve(const char *const *arguments)
{
    int n = 0;
    for (; arguments[n] != NULL; n++)
        daemon_.extra[n] = arguments[n];
    daemon_.extra[n] = NULL;
    return daemon_start(&daemon_, false) && fe_connect(&fe, daemon_.socket, 2000) == 0 &&
           fe_set_up(&fe, MEMORY, 3, 64) == 0 && fe_fuse_init(&fe, 1) == 0 &&
           fe_fuse_getattr_root(&fe, 2) == 0;
}

#define SERVE(...) serve((const char *const[]){__VA_ARGS__, NULL})

/* With namespaces it is the only child of the one that was started. */
static pid_t server(void)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)daemon_.pid, (int)daemon_.pid);
    FILE *f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%d", &child) != 1)
        child = (int)daemon_.pid;
    if (f != NULL)
        fclose(f);
    return child;
}

static const char *of_server(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)server(), name);
    return path;
}

/* A line of a thread's status behind its name, or "". */
static const char *status_of(const char *thread, const char *name)
{
    static char line[512];
    char path[128];
    size_t len = strlen(name);
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)server(), thread);
    FILE *f = fopen(path, "r");
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
        found = strncmp(line, name, len) == 0 && line[len] == ':';
    if (f != NULL)
        fclose(f);
    return found ? line + len + 1 + strspn(line + len + 1, " \t") : "";
}

/* Calls check for every thread of the server. */
static bool each_thread(bool (*check)(const char *thread, uint64_t wanted), uint64_t wanted)
{
    unsigned count = 0;
    bool ok = true;
    DIR *dir = opendir(of_server("task"));
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        if (e->d_name[0] == '.')
            continue;
        count++;
        ok = check(e->d_name, wanted) && ok;
    }
    if (dir != NULL)
        closedir(dir);
    return ok && count >= 3; /* two queues at least */
}

/* ---- what is visible ---- */

static bool is_share(const char *path)
{
    struct stat st, share;
    return stat(daemon_.share, &share) == 0 && stat(path, &st) == 0 && st.st_dev == share.st_dev &&
           st.st_ino == share.st_ino;
}

static unsigned count_lines(const char *path)
{
    unsigned lines = 0;
    FILE *f = fopen(path, "r");
    for (int c = 0; f != NULL && (c = fgetc(f)) != EOF;)
        lines += c == '\n';
    if (f != NULL)
        fclose(f);
    return lines;
}

static bool same_namespace(const char *kind)
{
    struct stat theirs, ours;
    char own[64], name[32];
    snprintf(own, sizeof(own), "/proc/self/ns/%s", kind);
    snprintf(name, sizeof(name), "ns/%s", kind);
    return stat(own, &ours) == 0 && stat(of_server(name), &theirs) == 0 && ours.st_ino == theirs.st_ino;
}

/* A folder among its descriptors from which `..` leads anywhere. */
static bool leads_out(const char *number)
{
    char path[300];
    struct stat here, above;
    snprintf(path, sizeof(path), "%s/%s/.", of_server("fd"), number);
    if (stat(path, &here) != 0)
        return false; /* no folder */
    strcat(path, "./../../../../../..");
    if (stat(path, &above) == 0 && above.st_dev == here.st_dev && above.st_ino == here.st_ino)
        return false;
    tap_note("from descriptor %s", number);
    return true;
}

static bool no_descriptor_leads_out(void)
{
    bool ok = true;
    unsigned count = 0;
    DIR *dir = opendir(of_server("fd"));
    for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
        count++;
        if (e->d_name[0] != '.' && leads_out(e->d_name))
            ok = false;
    }
    if (dir != NULL)
        closedir(dir);
    return ok && count > 5;
}

static bool namespaces_show_the_share_alone(void)
{
    CHECK(SERVE("--sandbox=namespace"));
    CHECK(is_share(of_server("root")) && is_share(of_server("cwd")));
    CHECK(count_lines(of_server("mountinfo")) == 1);
    CHECK(!same_namespace("mnt") && !same_namespace("pid"));
    return no_descriptor_leads_out();
}

static bool first_line_has(const char *path, const char *word)
{
    char line[1024] = "";
    FILE *f = fopen(path, "r");
    if (f == NULL || fgets(line, sizeof(line), f) == NULL)
        line[0] = '\0';
    if (f != NULL)
        fclose(f);
    return strstr(line, word) != NULL;
}

static bool namespaces_leave_no_devices_and_links(void)
{
    CHECK(SERVE("--sandbox=namespace"));
    CHECK(first_line_has(of_server("mountinfo"), "nodev"));
    CHECK(first_line_has(of_server("mountinfo"), "nosuid"));
    return first_line_has(of_server("mountinfo"), "nosymfollow");
}

static bool namespaces_write_nothing_of_a_read_only_share(void)
{
    CHECK(SERVE("--sandbox=namespace"));
    CHECK(first_line_has(of_server("mountinfo"), " / rw,"));
    fe_close(&fe);
    CHECK(daemon_wait(&daemon_, 10000) == 0);
    CHECK(SERVE("--sandbox=namespace", "--readonly"));
    return first_line_has(of_server("mountinfo"), " / ro,");
}

static const char *lacks_mount_flags(void)
{
#if defined(SYS_mount_setattr) && defined(MOUNT_ATTR_NOSYMFOLLOW)
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSYMFOLLOW};
    if (syscall(SYS_mount_setattr, -1, "", AT_EMPTY_PATH, &attr, sizeof(attr)) != 0 && errno == EBADF)
        return NULL;
#endif
    return "nosymfollow is set by mount_setattr of Linux 5.14";
}

static bool namespaces_have_no_network(void)
{
    CHECK(SERVE("--sandbox=namespace"));
    CHECK(!same_namespace("net"));
    return count_lines(of_server("net/dev")) == 3; /* a heading of two lines, and lo */
}

static bool chroot_shows_the_share_alone(void)
{
    CHECK(SERVE("--sandbox=chroot", "--no-announce-submounts"));
    CHECK(is_share(of_server("root")) && is_share(of_server("cwd")));
    return no_descriptor_leads_out();
}

static bool no_sandbox_is_none(void)
{
    CHECK(SERVE("--sandbox=none"));
    CHECK(!is_share(of_server("root")));
    return same_namespace("mnt") && same_namespace("pid") && same_namespace("net");
}

static bool inherited_descriptors_are_closed(void)
{
    int folder = open(daemon_.folder, O_PATH | O_DIRECTORY); /* left open on purpose */
    bool ok = folder >= 0 && SERVE("--sandbox=namespace") && no_descriptor_leads_out();
    close(folder);
    return ok;
}

static bool serve_on(int socket_fd, int front_end)
{
    daemon_.extra[0] = NULL;
    daemon_start_on(&daemon_, socket_fd);
    fe_use_socket(&fe, front_end);
    return fe_set_up(&fe, MEMORY, 3, 64) == 0 && fe_fuse_init(&fe, 1) == 0 &&
           fe_fuse_getattr_root(&fe, 2) == 0;
}

static bool inherited_descriptors_around_the_socket_are_closed(void)
{
    int ends[2];
    int folder = open(daemon_.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(folder >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    int below = fcntl(folder, F_DUPFD, 40), socket_fd = fcntl(ends[1], F_DUPFD, 50);
    int above = fcntl(folder, F_DUPFD, 60);
    close(folder);
    close(ends[1]);
    bool served = serve_on(socket_fd, ends[0]);
    close(below);
    close(socket_fd);
    close(above);
    CHECK(served);
    return no_descriptor_leads_out();
}

/* ---- capabilities and what else binds the process ---- */

static bool has_capabilities(const char *thread, uint64_t wanted)
{
    CHECK(strtoull(status_of(thread, "CapEff"), NULL, 16) == wanted);
    CHECK(strtoull(status_of(thread, "CapPrm"), NULL, 16) == wanted);
    CHECK((strtoull(status_of(thread, "CapBnd"), NULL, 16) & ~wanted) == 0);
    CHECK(strtoull(status_of(thread, "CapInh"), NULL, 16) == 0);
    return strtoull(status_of(thread, "CapAmb"), NULL, 16) == 0;
}

static bool capabilities_are_those_listed(void)
{
    CHECK(SERVE("--sandbox=namespace"));
    return each_thread(has_capabilities, KEPT | CAP(CAP_DAC_READ_SEARCH));
}

static bool capabilities_are_those_listed_without_sandbox(void)
{
    CHECK(SERVE("--sandbox=none", "--inode-file-handles=never"));
    return each_thread(has_capabilities, KEPT);
}

static bool modcaps_changes_capabilities(void)
{
    CHECK(SERVE("--modcaps=-mknod:+sys_nice:-SETFCAP", "--inode-file-handles=never"));
    return each_thread(has_capabilities, (KEPT | CAP(CAP_SYS_NICE)) & ~CAP(CAP_MKNOD) & ~CAP(CAP_SETFCAP));
}

static int make_node(const char *name, uint32_t mode, uint32_t rdev)
{
    struct {
        struct fuse_mknod_in in;
        char name[16];
    } mknod_ = {.in = {.mode = mode, .rdev = rdev}};
    struct fuse_entry_out entry;
    size_t len = sizeof(entry), name_len = strlen(name) + 1;
    memcpy(mknod_.name, name, name_len);
    return fe_fuse(&fe, 1, FUSE_MKNOD, 1, &mknod_, sizeof(mknod_.in) + name_len, &entry, &len);
}

static bool device_nodes_are_made(void)
{
    CHECK(SERVE("--sandbox=namespace"));
    CHECK(make_node("null", S_IFCHR | 0600, 0x103) == 0);
    return make_node("disk", S_IFBLK | 0600, 0x700) == 0;
}

static bool device_nodes_are_refused(void)
{
    CHECK(SERVE("--no-device-nodes", "--inode-file-handles=never"));
    CHECK(make_node("zero", S_IFCHR | 0600, 0x105) == -EPERM);
    CHECK(make_node("loop", S_IFBLK | 0600, 0x700) == -EPERM);
    CHECK(make_node("fifo", S_IFIFO | 0600, 0) == 0);
    CHECK(make_node("whiteout", S_IFCHR, 0) == 0);
    return each_thread(has_capabilities, KEPT & ~CAP(CAP_MKNOD));
}

/* security.capability of the folder's file, as cap_net_raw=ep. The guest's result. */
static int set_file_capability(void)
{
    static const uint32_t value[5] = {0x02000001, CAP(CAP_NET_RAW)};
    struct {
        uint32_t size, flags;
        char name[20];
        uint32_t value[5];
    } set = {.size = sizeof(value), .name = "security.capability"};
    struct fuse_entry_out entry;
    size_t len = sizeof(entry);
    memcpy(set.value, value, sizeof(value));
    int r = make_node("capable", S_IFREG | 0755, 0);
    if (r == 0)
        r = fe_fuse(&fe, 1, FUSE_LOOKUP, 1, "capable", 8, &entry, &len);
    return r != 0 ? r : fe_fuse(&fe, 1, FUSE_SETXATTR, entry.nodeid, &set, sizeof(set), NULL, NULL);
}

static bool file_capability_is_on_host(void)
{
    char path[340], value[64];
    snprintf(path, sizeof(path), "%s/capable", daemon_.share);
    bool has = getxattr(path, "security.capability", value, sizeof(value)) == 20;
    unlink(path);
    return has;
}

static bool xattr_has_file_capabilities(void)
{
    CHECK(SERVE("--sandbox=namespace", "--xattr"));
    CHECK(set_file_capability() == 0);
    return file_capability_is_on_host();
}

static bool file_capabilities_need_xattr(void)
{
    CHECK(SERVE("--sandbox=namespace"));
    int r = set_file_capability();
    CHECK(r == -ENOSYS || r == -EOPNOTSUPP);
    return !file_capability_is_on_host();
}

static bool is_bound(const char *thread, uint64_t seccomp)
{
    CHECK(strtoull(status_of(thread, "Seccomp"), NULL, 10) == seccomp);
    return strtoull(status_of(thread, "NoNewPrivs"), NULL, 10) == 1;
}

static bool seccomp_filters_every_thread(void)
{
    CHECK(SERVE("--sandbox=none"));
    return each_thread(is_bound, 2);
}

static bool no_seccomp_is_none(void)
{
    char pid[16];
    CHECK(SERVE("--seccomp=none"));
    snprintf(pid, sizeof(pid), "%d", (int)server());
    return strtoull(status_of(pid, "Seccomp"), NULL, 10) == 0;
}

static bool groups_of_the_caller_are_dropped(void)
{
    char pid[16];
    const gid_t groups[] = {4, 20};
    gid_t before[64];
    int count = getgroups(64, before);
    CHECK(count >= 0 && setgroups(2, groups) == 0);
    bool served = SERVE("--sandbox=none");
    setgroups((size_t)count, before);
    CHECK(served);
    snprintf(pid, sizeof(pid), "%d", (int)server());
    return status_of(pid, "Groups")[0] == '\n';
}

/* ---- options ---- */

static bool rlimit_nofile_is_the_limit(void)
{
    char line[256] = "";
    unsigned long soft = 0;
    CHECK(SERVE("--rlimit-nofile=1234"));
    FILE *f = fopen(of_server("limits"), "r");
    CHECK(f != NULL);
    while (soft == 0 && fgets(line, sizeof(line), f) != NULL)
        (void)sscanf(line, "Max open files %lu", &soft);
    fclose(f);
    return soft == 1234;
}

/* From within the folder: those above may be closed to others. 0 or an errno. */
static int connect_as(uid_t uid, gid_t gid)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(daemon_.folder) != 0 || setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 ||
            setresuid(uid, uid, uid) != 0)
            _exit(255);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", strrchr(daemon_.socket, '/') + 1);
        int s = socket(AF_UNIX, SOCK_STREAM, 0);
        _exit(connect(s, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno);
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The test's folder is closed to others, so it is opened for this. */
static bool socket_group_may_connect(void)
{
    struct stat st;
    struct group *group = getgrgid(65534);
    char argument[128];
    CHECK(group != NULL);
    snprintf(argument, sizeof(argument), "--socket-group=%s", group->gr_name);
    daemon_.extra[0] = argument;
    daemon_.extra[1] = "--persist";
    daemon_.extra[2] = NULL;
    CHECK(daemon_start(&daemon_, false) && chmod(daemon_.folder, 0755) == 0);
    CHECK(fe_connect(&fe, daemon_.socket, 2000) == 0); /* it listens, so the group has it */
    fe_close(&fe);
    CHECK(stat(daemon_.socket, &st) == 0 && st.st_gid == 65534 && (st.st_mode & 07) == 0);
    CHECK(connect_as(12345, 12345) == EACCES);
    return connect_as(12345, 65534) == 0;
}

static bool a_listening_descriptor_is_served(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(daemon_.socket, sizeof(daemon_.socket), "%s/listening", daemon_.folder);
    snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", daemon_.socket);
    CHECK(bind(s, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(s, 1) == 0);
    daemon_.extra[0] = NULL;
    daemon_start_on(&daemon_, s);
    close(s);
    CHECK(fe_connect(&fe, daemon_.socket, 2000) == 0 && fe_set_up(&fe, MEMORY, 3, 64) == 0);
    CHECK(fe_fuse_init(&fe, 1) == 0 && fe_fuse_getattr_root(&fe, 1) == 0);
    fe_close(&fe);
    CHECK(daemon_wait(&daemon_, 10000) == 0);
    return unlink(daemon_.socket) == 0; /* it was not the daemon's to remove */
}

static bool capabilities_are_printed(void)
{
    char command[512], text[512] = "";
    snprintf(command, sizeof(command), "'%s' serve --print-capabilities", daemon_.binary);
    FILE *f = popen(command, "r");
    CHECK(f != NULL);
    size_t len = fread(text, 1, sizeof(text) - 1, f);
    CHECK(pclose(f) == 0);
    /* As QEMU's docs/interop/vhost-user.json has it. */
    CHECK(len > 2 && text[0] == '{' && strcmp(text + len - 2, "}\n") == 0);
    return strstr(text, "\"type\": \"fs\"") != NULL && strstr(text, "\"separate-options\"") != NULL;
}

/* ---- */

static const struct {
    const char *name;
    bool (*run)(void);
    const char *(*lacks)(void); /* what is missing here, or NULL */
} cases[] = {
    {"namespaces show the share alone", namespaces_show_the_share_alone},
    {"namespaces leave no devices and links", namespaces_leave_no_devices_and_links, lacks_mount_flags},
    {"namespaces write nothing of a read-only share", namespaces_write_nothing_of_a_read_only_share,
     lacks_mount_flags},
    {"namespaces have no network", namespaces_have_no_network},
    {"chroot shows the share alone", chroot_shows_the_share_alone},
    {"--sandbox none is none", no_sandbox_is_none},
    {"inherited descriptors are closed", inherited_descriptors_are_closed},
    {"inherited descriptors below and above --fd are closed",
     inherited_descriptors_around_the_socket_are_closed},
    {"capabilities are those listed", capabilities_are_those_listed},
    {"capabilities are those listed without sandbox", capabilities_are_those_listed_without_sandbox},
    {"--modcaps changes capabilities", modcaps_changes_capabilities},
    {"device nodes are made", device_nodes_are_made},
    {"--no-device-nodes refuses them", device_nodes_are_refused},
    {"--xattr has file capabilities", xattr_has_file_capabilities},
    {"file capabilities need --xattr", file_capabilities_need_xattr},
    {"seccomp filters every thread", seccomp_filters_every_thread},
    {"--seccomp none is none", no_seccomp_is_none},
    {"groups of the caller are dropped", groups_of_the_caller_are_dropped},
    {"--rlimit-nofile is the limit", rlimit_nofile_is_the_limit},
    {"--socket-group may connect", socket_group_may_connect},
    {"--fd with a listening socket", a_listening_descriptor_is_served},
    {"--print-capabilities", capabilities_are_printed},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

int main(int argc, char **argv)
{
    daemon_init(&daemon_, argc, argv);
    fe_use_socket(&fe, -1);
    tap_plan((int)CASES);
    for (size_t i = 0; i < CASES; i++) {
        const char *reason = cases[i].lacks != NULL ? cases[i].lacks() : NULL;
        if (geteuid() != 0)
            reason = "only root may look at the daemon, and has capabilities to give up";
        if (reason != NULL) {
            tap_skip(cases[i].name, reason);
            continue;
        }
        bool ok = cases[i].run();
        fe_close(&fe);
        daemon_kill(&daemon_);
        tap_ok(ok, cases[i].name);
    }
    daemon_finish(&daemon_);
    return tap_status();
}
