/*
 * How the daemon begins and ends: bad command lines, front-ends that vanish, a socket or a share that goes
 * away, SIGTERM with requests in flight; in each sandbox.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "daemon.h"
#include "frontend.h"

#define MEMORY (8u << 20)

static struct daemon daemon_;
static struct frontend fe;

static bool exits_with(int wanted)
{
    int status = daemon_wait(&daemon_, 10000);
    if (status == -1)
        tap_note("still runs");
    else if (WIFSIGNALED(status))
        tap_note("died of signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) != wanted)
        tap_note("status %d", WEXITSTATUS(status));
    return status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == wanted;
}

static bool serve(bool persist)
{
    return daemon_start(&daemon_, persist) && fe_connect(&fe, daemon_.socket, 10000) == 0 &&
           fe_set_up(&fe, MEMORY, 3, 64) == 0 && fe_fuse_init(&fe, 1) == 0 &&
           fe_fuse_getattr_root(&fe, 2) == 0;
}

/* ---- bad command lines: one line, status 2 ---- */

struct refusal {
    const char *name;
    const char *arguments[6];
    const char *says;
};

static const struct refusal refusals[] = {
    {"no shared folder", {"--socket-path=/tmp/x", NULL}, "--shared-dir"},
    {"no socket", {"--shared-dir=/tmp", NULL}, "--socket-path or --fd"},
    {"socket and descriptor",
     {"--shared-dir=/tmp", "--socket-path=/tmp/x", "--fd=3", NULL},
     "--socket-path or --fd"},
    {"a shared folder that is missing",
     {"--shared-dir=/nonexistent", "--socket-path=/tmp/x", NULL},
     "/nonexistent"},
    {"a shared folder that is a file",
     {"--shared-dir=/etc/passwd", "--socket-path=/tmp/x", NULL},
     "/etc/passwd"},
    {"an unknown option", {"--frobnicate", NULL}, "--frobnicate"},
    {"an unknown -o name", {"-o", "frobnicate", NULL}, "frobnicate"},
    {"an unsupported option", {"--migration-mode=find-paths", NULL}, "--migration-mode"},
    {"a malformed id rule", {"--translate-uid=map:0:zero:1", NULL}, "--translate-uid"},
    {"an id rule of an unknown type", {"--translate-gid", "forbid-host:0:1", NULL}, "--translate-gid"},
    {"id rules that overlap",
     {"--translate-uid=map:0:1000:10", "--translate-uid=squash-guest:9:0:1", NULL},
     "--translate-uid"},
    {"id rules with ACLs",
     {"--shared-dir=/tmp", "--socket-path=/tmp/x", "--translate-uid=map:0:1000:10", "--posix-acl", NULL},
     "--posix-acl"},
    {"an unsupported -o name", {"-o", "norace", NULL}, "norace"},
    {"attribute rules with a fault",
     {"--xattrmap=:bad:all:a:a::ok:sever:::", NULL},
     "--xattrmap rule 2 (:ok:sever:::): the scope must be client, server or all"},
    {"attribute rules with a fault, after -o", {"-o", "xattrmap=:map:user.", NULL}, "-o xattrmap rule 1"},
    {"attribute rules without an end", {"--xattrmap", ":ok:client:::", NULL}, "names of the host"},
    {"attribute rules that move ACLs",
     {"--shared-dir=/tmp", "--socket-path=/tmp/x", "--xattrmap=:map::user.virtiofs.:", "--posix-acl", NULL},
     "--posix-acl goes only with"},
    {"a value that is missing", {"--shared-dir", NULL}, "--shared-dir"},
    {"a value too many", {"--writeback=yes", NULL}, "--writeback"},
    {"an unknown cache mode", {"--cache=sometimes", NULL}, "--cache"},
    {"an unknown sandbox", {"-o", "sandbox=jail", NULL}, "sandbox"},
    {"a malformed map", {"--uid-map=0:0:1", NULL}, "--uid-map"},
    {"a map of length 0", {"--uid-map=:0:0:0:", NULL}, "--uid-map"},
    {"maps that overlap", {"--gid-map=:0:0:10:", "--gid-map=:5:100:10:", NULL}, "--gid-map"},
    {"a descriptor limit that is too low",
     {"--shared-dir=/tmp", "--socket-path=/tmp/x", "--rlimit-nofile=64", NULL},
     "64"},
    {"a descriptor that is no socket", {"--shared-dir=/tmp", "--fd=0", NULL}, "--fd"},
    {"a capability that does not exist", {"--modcaps=+everything", NULL}, "--modcaps"},
    {"a tag that is too long", {"--tag=0123456789012345678901234567890123456789", NULL}, "--tag"},
    {"a socket in a missing folder",
     {"--shared-dir=/tmp", "--socket-path=/nonexistent/s", NULL},
     "/nonexistent/s"},
    {"a socket path that is a file", {"--shared-dir=/tmp", "--socket-path=/etc/passwd", NULL}, "/etc/passwd"},
    {"an unknown group",
     {"--shared-dir=/tmp", "--socket-path=/tmp/oriel-x", "--socket-group=nobodys", NULL},
     "nobodys"},
};
#define REFUSALS (sizeof(refusals) / sizeof(refusals[0]))

/* Runs the daemon's binary to its end. Returns its status; its stderr in text. */
static int run_to_end(const char *const *arguments, char *text, size_t size)
{
    const char *argv[16] = {daemon_.binary, "serve"};
    int out[2], status = -1, n = 2;
    for (; *arguments != NULL; arguments++)
        argv[n++] = *arguments;
    argv[n] = NULL;
    if (pipe(out) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(out[1], 2);
        close(out[0]);
        close(out[1]);
        alarm(20);
        execv(daemon_.binary, (char **)(uintptr_t)argv);
        _exit(127);
    }
    close(out[1]);
    size_t have = 0;
    ssize_t got;
    while (have + 1 < size && (got = read(out[0], text + have, size - 1 - have)) > 0)
        have += (size_t)got;
    text[have] = '\0';
    close(out[0]);
    waitpid(pid, &status, 0);
    return status;
}

static unsigned lines(const char *text)
{
    unsigned n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static bool refuses(const struct refusal *refusal)
{
    char text[4096];
    int status = run_to_end(refusal->arguments, text, sizeof(text));
    bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 2 && lines(text) == 1 &&
              strstr(text, refusal->says) != NULL;
    if (!ok)
        tap_note("status 0x%x: %s", status, text);
    return ok;
}

static bool refuses_socket(const char *path)
{
    char shared[320], socket[340], text[4096];
    snprintf(shared, sizeof(shared), "--shared-dir=%s", daemon_.share);
    snprintf(socket, sizeof(socket), "--socket-path=%s", path);
    const char *arguments[] = {shared, socket, "--sandbox=none", NULL};
    int status = run_to_end(arguments, text, sizeof(text));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2 && lines(text) == 1 &&
          strstr(text, "in use") != NULL);
    return true;
}

static bool socket_in_use(void)
{
    return daemon_start(&daemon_, true) && refuses_socket(daemon_.socket) && daemon_is_running(&daemon_);
}

/* Between its bind() and its listen() a daemon looks as if it had been killed. */
static bool socket_about_to_listen(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int begun = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), status = -1;
    snprintf(address.sun_path, sizeof(address.sun_path), "%.80s/begun", daemon_.folder);
    CHECK(begun >= 0 && bind(begun, (struct sockaddr *)&address, sizeof(address)) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        usleep(60000);
        _exit(listen(begun, 1) == 0 ? 0 : 1);
    }
    bool refused = refuses_socket(address.sun_path);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    close(begun);
    return refused;
}

/* ---- ends ---- */

static bool front_end_closes(void)
{
    struct stat st;
    CHECK(serve(false));
    fe_close(&fe);
    CHECK(exits_with(0));
    CHECK(stat(daemon_.socket, &st) != 0);
    return true;
}

/* A process of its own connects, posts requests and is killed. */
static bool front_end_is_killed(void)
{
    CHECK(daemon_start(&daemon_, false));
    pid_t pid = fork();
    if (pid == 0) {
        if (fe_connect(&fe, daemon_.socket, 2000) != 0 || fe_set_up(&fe, MEMORY, 3, 64) != 0 ||
            fe_fuse_init(&fe, 1) != 0)
            _exit(1);
        for (;;)
            fe_fuse_getattr_root(&fe, 1);
    }
    usleep(200000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return exits_with(0);
}

static bool persists(void)
{
    for (int i = 0; i < 3; i++) {
        if (i == 0)
            CHECK(serve(true));
        else
            CHECK(fe_connect(&fe, daemon_.socket, 2000) == 0 && fe_set_up(&fe, MEMORY, 3, 64) == 0 &&
                  fe_fuse_init(&fe, 1) == 0);
        fe_close(&fe);
        CHECK(daemon_is_running(&daemon_));
    }
    kill(daemon_.pid, SIGTERM);
    return exits_with(0);
}

static bool terminated_while_waiting(void)
{
    CHECK(daemon_start(&daemon_, false));
    kill(daemon_.pid, SIGTERM);
    return exits_with(0);
}

static atomic_bool loading;

static void *load(void *queue)
{
    struct fe_queue *q = queue;
    struct vring_used_elem used;
    size_t len = sizeof(struct fuse_in_header) + sizeof(struct fuse_getattr_in);
    while (loading) {
        struct fe_buffer buffers[2] = {
            {.gpa = FE_GPA + MEMORY - 8192 * q->index, .len = (uint32_t)len},
            {.gpa = FE_GPA + MEMORY - 8192 * q->index + 4096, .len = 256, .write = true}};
        while ((uint16_t)(q->avail_index - q->used_index) < 32)
            fe_add(&fe, q, buffers, 2);
        fe_publish(q);
        fe_kick(q);
        fe_wait_used(q, &used, 20);
        while (fe_take_used(q, &used))
            ;
    }
    return NULL;
}

/* Two queues under load; a request that was taken is answered. */
static bool terminated_under_load(void)
{
    pthread_t threads[2];
    CHECK(serve(false));
    for (unsigned i = 1; i < 3; i++) {
        struct fuse_in_header *in = (struct fuse_in_header *)(void *)(fe.memory + MEMORY - 8192 * i);
        memset(in, 0, 128);
        *in = (struct fuse_in_header){.len = 56, .opcode = FUSE_GETATTR, .unique = i, .nodeid = 1};
    }
    loading = true;
    for (unsigned i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, load, &fe.queues[i + 1]) == 0);
    usleep(200000);
    kill(daemon_.pid, SIGTERM);
    bool ended = exits_with(0);
    loading = false;
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK(ended);
    uint16_t used = fe.queues[1].used->idx;
    CHECK(used != 0 && (uint16_t)(fe.queues[1].avail_index - used) <= 32);
    return fe_is_closed(&fe, 1000);
}

static bool socket_file_removed(void)
{
    CHECK(serve(false));
    unlink(daemon_.socket);
    CHECK(fe_fuse_getattr_root(&fe, 1) == 0);
    fe_close(&fe);
    return exits_with(0);
}

/* The share is a mount that goes away underneath. */
static bool share_unmounted(void)
{
    if (mount("tmpfs", daemon_.share, "tmpfs", 0, NULL) != 0) {
        tap_note("not permitted to mount: served without");
        return false;
    }
    bool served = serve(false);
    umount2(daemon_.share, MNT_DETACH);
    CHECK(served);
    CHECK(fe_fuse_getattr_root(&fe, 1) != FE_NO_ANSWER); /* an answer, whatever it is */
    CHECK(fe_fuse_getattr_root(&fe, 2) != FE_NO_ANSWER);
    fe_close(&fe);
    return exits_with(0);
}

/* A descriptor that is handed over, listening or connected. */
static bool connected_descriptor(void)
{
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    daemon_start_on(&daemon_, ends[1]);
    close(ends[1]);
    fe_use_socket(&fe, ends[0]);
    CHECK(fe_set_up(&fe, MEMORY, 3, 64) == 0 && fe_fuse_init(&fe, 1) == 0 &&
          fe_fuse_getattr_root(&fe, 1) == 0);
    fe_close(&fe);
    return exits_with(0);
}

/* ---- sandboxes ---- */

/* Creates, writes, reads back, renames and removes a file: what the walls must let through. */
static bool works_on_files(void)
{
    struct {
        struct fuse_create_in in;
        char name[8];
    } create = {.in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0600}, .name = "f"};
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out opened;
    } created;
    struct {
        struct fuse_write_in in;
        char data[8];
    } write_ = {.in = {.size = 8}, .data = "content"};
    struct fuse_write_out wrote;
    struct fuse_read_in read_ = {.size = 8};
    char data[8];
    size_t len = sizeof(created);
    CHECK(fe_fuse(&fe, 1, FUSE_CREATE, 1, &create, sizeof(create.in) + 2, &created, &len) == 0);
    write_.in.fh = read_.fh = created.opened.fh;
    len = sizeof(wrote);
    CHECK(fe_fuse(&fe, 2, FUSE_WRITE, created.entry.nodeid, &write_, sizeof(write_), &wrote, &len) == 0 &&
          wrote.size == 8);
    len = sizeof(data);
    CHECK(fe_fuse(&fe, 1, FUSE_READ, created.entry.nodeid, &read_, sizeof(read_), data, &len) == 0);
    CHECK(len == 8 && memcmp(data, "content", 8) == 0);
    struct fuse_fsync_in fsync_ = {.fh = created.opened.fh};
    CHECK(fe_fuse(&fe, 1, FUSE_FSYNC, created.entry.nodeid, &fsync_, sizeof(fsync_), NULL, NULL) == 0);
    struct fuse_release_in release = {.fh = created.opened.fh};
    CHECK(fe_fuse(&fe, 1, FUSE_RELEASE, created.entry.nodeid, &release, sizeof(release), NULL, NULL) == 0);
    struct {
        uint64_t newdir;
        char names[8];
    } rename_ = {.newdir = 1, .names = "f\0g"};
    CHECK(fe_fuse(&fe, 1, FUSE_RENAME, 1, &rename_, 8 + 4, NULL, NULL) == 0);
    return fe_fuse(&fe, 1, FUSE_UNLINK, 1, "g", 2, NULL, NULL) == 0;
}

/* The kernel knows files by their handles alone then. */
static bool kernel_forgets_names(void)
{
    sync();
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, "2", 1) == 1;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Landlock must not refuse a file that the kernel's cache has under no name. */
static bool works_on_forgotten_files(void)
{
    struct fuse_entry_out entry;
    struct {
        uint64_t nodeid;
        char name[8];
    } link_ = {.name = "link"};
    struct fuse_open_in open_ = {.flags = O_RDWR};
    struct fuse_open_out opened;
    char path[340];
    size_t len = sizeof(entry);
    CHECK(serve(false));
    snprintf(path, sizeof(path), "%s/forgotten", daemon_.share);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    CHECK(fe_fuse(&fe, 1, FUSE_LOOKUP, 1, "forgotten", 10, &entry, &len) == 0);
    CHECK(kernel_forgets_names());
    link_.nodeid = entry.nodeid;
    len = sizeof(entry);
    CHECK(fe_fuse(&fe, 1, FUSE_LINK, 1, &link_, 8 + 5, &entry, &len) == 0);
    CHECK(kernel_forgets_names());
    len = sizeof(opened);
    CHECK(fe_fuse(&fe, 1, FUSE_OPEN, entry.nodeid, &open_, sizeof(open_), &opened, &len) == 0);
    CHECK(fe_fuse(&fe, 1, FUSE_UNLINK, 1, "link", 5, NULL, NULL) == 0);
    CHECK(fe_fuse(&fe, 1, FUSE_UNLINK, 1, "forgotten", 10, NULL, NULL) == 0);
    fe_close(&fe);
    return exits_with(0);
}

static const char *cannot_forget(void)
{
    struct statfs fs;
    if (statfs(daemon_.share, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
        return "a tmpfs forgets no file, and TMPDIR is on one";
    if (geteuid() != 0 || access("/proc/sys/vm/drop_caches", W_OK) != 0)
        return "the kernel's cache cannot be dropped here";
    return NULL;
}

/* These arguments come after those of the command line, which put up no walls for a sanitizer's build. */
static bool serve_with(const char *const *arguments)
{
    struct daemon as_given = daemon_;
    int n = 0;
    while (daemon_.extra[n] != NULL)
        n++;
    for (int i = 0; arguments[i] != NULL && n < 23; i++)
        daemon_.extra[n++] = arguments[i];
    daemon_.extra[n] = NULL;
    bool ok = serve(false);
    memcpy(daemon_.extra, as_given.extra, sizeof(daemon_.extra));
    return ok;
}

static bool in_sandbox(const char *const *arguments)
{
    if (!serve_with(arguments) || !works_on_files())
        return false;
    fe_close(&fe);
    return exits_with(0);
}

static const struct {
    const char *name;
    const char *arguments[5]; /* ended by NULL */
    bool has_seccomp;
} sandboxes[] = {
    {"namespaces", {"--sandbox=namespace"}},
    {"chroot", {"--sandbox=chroot"}},
    {"no sandbox", {"--sandbox=none"}},
    {"no file handles, so Landlock", {"--sandbox=namespace", "--inode-file-handles=never"}},
    {"no sandbox but Landlock", {"--sandbox=none", "--inode-file-handles=never"}},
    {"seccomp trap", {"--sandbox=namespace", "--seccomp=trap"}, true},
    {"a user namespace with ranges",
     {"--sandbox=namespace", "--uid-map=:0:0:65536:", "--gid-map=:0:0:65536:"}},
    {"no pool", {"--thread-pool-size=0"}},
    {"the C daemon's spellings",
     {"-f", "-o", "sandbox=chroot,cache=none,xattr,no_posix_lock,log_level=warn"}},
};
#define SANDBOXES (sizeof(sandboxes) / sizeof(sandboxes[0]))

/* In a folder of its own, entered as root and named from within: those above it are closed to others. */
static bool enter_folder_as_user(const char *folder)
{
    strcpy(daemon_.folder, ".");
    strcpy(daemon_.share, "./share");
    strcpy(daemon_.log, "./log");
    return chdir(folder) == 0 && mkdir(daemon_.share, 0755) == 0 && chown(daemon_.share, 65534, 65534) == 0 &&
           chown(".", 65534, 65534) == 0 && setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 &&
           setresuid(65534, 65534, 65534) == 0;
}

/* As an ordinary user: user namespace, its own id as root. In a child, so that the test keeps its own rights. */
static bool as_ordinary_user(bool (*work)(void))
{
    int status;
    char folder[280], command[640];
    snprintf(folder, sizeof(folder), "%s/user-XXXXXX", daemon_.folder);
    CHECK(mkdtemp(folder) != NULL);
    pid_t pid = fork();
    if (pid == 0) {
        bool ok = enter_folder_as_user(folder) && work();
        fe_close(&fe);
        ok = ok && exits_with(0);
        daemon_kill(&daemon_);
        _exit(ok ? 0 : 1);
    }
    bool ok = waitpid(pid, &status, 0) == pid && status == 0;
    snprintf(command, sizeof(command), "sed 's/^/# /' '%s/log'; rm -rf '%s'", folder, folder);
    fflush(stdout);
    return system(command) == 0 && ok;
}

/* ---- id rules ---- */

static int make_folder(uint32_t uid, uint32_t gid, const char *name, struct fuse_attr *attr)
{
    struct {
        struct fuse_mkdir_in in;
        char name[16];
    } mkdir_ = {.in = {.mode = 0755}};
    struct fuse_entry_out entry;
    size_t len = sizeof(entry), name_len = strlen(name) + 1;
    memcpy(mkdir_.name, name, name_len);
    fe.uid = uid;
    fe.gid = gid;
    int r = fe_fuse(&fe, 1, FUSE_MKDIR, 1, &mkdir_, sizeof(mkdir_.in) + name_len, &entry, &len);
    if (r == 0)
        *attr = entry.attr;
    return r;
}

static bool is_on_host(const char *name, uid_t uid, gid_t gid)
{
    char path[340];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", daemon_.share, name);
    bool ok = stat(path, &st) == 0 && st.st_uid == uid && st.st_gid == gid;
    if (!ok)
        tap_note("%s is %u:%u", name, st.st_uid, st.st_gid);
    rmdir(path);
    return ok;
}

static bool ids_are_translated(void)
{
    static const char *const arguments[] = {"--translate-uid=map:1000:2000:10",
                                            "--translate-uid=squash-guest:5000:3000:10",
                                            "--translate-uid",
                                            "forbid-guest:0:1",
                                            "--translate-uid=squash-host:3000:77:1",
                                            "--translate-gid=map:0:4000:10",
                                            NULL};
    struct fuse_attr attr = {0};
    CHECK(serve_with(arguments));
    CHECK(make_folder(1003, 1, "mapped", &attr) == 0);
    CHECK(attr.uid == 1003 && attr.gid == 1);
    CHECK(is_on_host("mapped", 2003, 4001));
    CHECK(make_folder(5009, 50, "squashed", &attr) == 0);
    CHECK(attr.uid == 77 && attr.gid == 50);
    CHECK(is_on_host("squashed", 3000, 50));
    CHECK(make_folder(0, 0, "forbidden", &attr) == -EPERM);
    CHECK(make_folder(60, 60, "plain", &attr) == 0);
    CHECK(is_on_host("plain", 60, 60));
    fe_close(&fe);
    return exits_with(0);
}

/* In its user namespace an ordinary user is 0; the guest's 1000 is to be that. */
static bool user_translates(void)
{
    static const char *const arguments[] = {"--sandbox=namespace", "--translate-uid=map:1000:0:1",
                                            "--translate-gid=map:1000:0:1", NULL};
    struct fuse_attr attr = {0};
    CHECK(serve_with(arguments));
    CHECK(make_folder(1000, 1000, "mine", &attr) == 0);
    CHECK(attr.uid == 1000 && attr.gid == 1000);
    CHECK(is_on_host("mine", 65534, 65534));
    return true;
}

/* libvirt says so for a user who has no range of ids; newgidmap(1) is not needed for that, nor would it help. */
static bool user_maps_itself(void)
{
    static const char *const arguments[] = {"--sandbox=namespace",
                                            "--uid-map=:0:65534:1:", "--gid-map=:0:65534:1:", NULL};
    CHECK(serve_with(arguments));
    return works_on_files();
}

static bool user_works(void)
{
    static const char *const arguments[] = {"--sandbox=namespace", NULL};
    return serve_with(arguments) && works_on_files();
}

static bool ordinary_user_works(void)
{
    return as_ordinary_user(user_works);
}

static bool ordinary_user_maps_itself(void)
{
    return as_ordinary_user(user_maps_itself);
}

static bool ordinary_user_translates(void)
{
    return as_ordinary_user(user_translates);
}

/* ---- limits ---- */

/* Linux sends SIGXFSZ for it, which ends a process that has not said otherwise. */
static bool outlives_its_file_size_limit(void)
{
    static const char *const arguments[] = {"--sandbox=none", NULL};
    const struct rlimit limit = {1 << 20, 1 << 20};
    struct {
        struct fuse_create_in in;
        char name[8];
    } create = {.in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0600}, .name = "big"};
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out opened;
    } created;
    struct {
        struct fuse_write_in in;
        char data[8];
    } write_ = {.in = {.size = 8, .offset = 2 << 20}};
    struct fuse_write_out wrote;
    size_t len = sizeof(created);
    CHECK(serve_with(arguments));
    CHECK(prlimit(daemon_.pid, RLIMIT_FSIZE, &limit, NULL) == 0);
    CHECK(fe_fuse(&fe, 1, FUSE_CREATE, 1, &create, sizeof(create.in) + 4, &created, &len) == 0);
    write_.in.fh = created.opened.fh;
    len = sizeof(wrote);
    CHECK(fe_fuse(&fe, 1, FUSE_WRITE, created.entry.nodeid, &write_, sizeof(write_), &wrote, &len) == -EFBIG);
    CHECK(fe_fuse(&fe, 1, FUSE_UNLINK, 1, "big", 4, NULL, NULL) == 0);
    fe_close(&fe);
    return exits_with(0);
}

/* ---- attribute rules ---- */

/* Of the shared folder itself. The form of SETXATTR before FUSE_SETXATTR_EXT. */
static int set_xattr(const char *name, const char *value)
{
    struct {
        uint32_t size, flags;
        char text[64];
    } set = {.size = (uint32_t)strlen(value)};
    size_t name_len = strlen(name) + 1;
    memcpy(set.text, name, name_len);
    memcpy(set.text + name_len, value, set.size);
    return fe_fuse(&fe, 1, FUSE_SETXATTR, 1, &set, 8 + name_len + set.size, NULL, NULL);
}

static bool host_has_xattr(const char *name, const char *value)
{
    char got[64];
    ssize_t len = getxattr(daemon_.share, name, got, sizeof(got));
    removexattr(daemon_.share, name);
    return len == (ssize_t)strlen(value) && memcmp(got, value, (size_t)len) == 0;
}

static bool lists_only(const char *name)
{
    struct fuse_getxattr_in in = {.size = 256};
    char names[256];
    size_t len = sizeof(names);
    CHECK(fe_fuse(&fe, 1, FUSE_LISTXATTR, 1, &in, sizeof(in), names, &len) == 0);
    return len == strlen(name) + 1 && memcmp(names, name, len) == 0;
}

static bool attributes_are_mapped(void)
{
    static const char *const arguments[] = {"--xattrmap=/map/security./trusted.virtiofs./",
                                            "--modcaps=+sys_admin", NULL};
    CHECK(serve_with(arguments));
    CHECK(set_xattr("trusted.virtiofs.security.x", "v") == -EPERM);
    CHECK(set_xattr("security.x", "value") == 0);
    CHECK(lists_only("security.x"));
    CHECK(host_has_xattr("trusted.virtiofs.security.x", "value"));
    fe_close(&fe);
    return exits_with(0);
}

/* CAP_SYS_ADMIN is not kept unless it is asked for. */
static bool trusted_needs_a_capability(void)
{
    static const char *const arguments[] = {"-o", "xattrmap=/map/security./trusted.virtiofs./", NULL};
    CHECK(serve_with(arguments));
    CHECK(set_xattr("security.x", "value") == -EPERM);
    fe_close(&fe);
    return exits_with(0);
}

static const struct {
    const char *name;
    bool (*run)(void);
    const char *(*lacks)(void); /* what is missing here, or NULL */
} cases[] = {
    {"a socket in use is refused", socket_in_use},
    {"a socket that will be in use is refused", socket_about_to_listen},
    {"files that the kernel's cache forgot", works_on_forgotten_files, cannot_forget},
    {"ends with its front-end", front_end_closes},
    {"ends with a front-end that is killed", front_end_is_killed},
    {"--persist waits for the next front-end", persists},
    {"SIGTERM while waiting", terminated_while_waiting},
    {"SIGTERM under load", terminated_under_load},
    {"the socket file is removed", socket_file_removed},
    {"the share is unmounted", share_unmounted},
    {"a connected descriptor is served", connected_descriptor},
    {"as an ordinary user, in a user namespace", ordinary_user_works},
    {"an ordinary user's maps of itself", ordinary_user_maps_itself},
    {"--translate-uid and --translate-gid", ids_are_translated},
    {"--translate-uid and --translate-gid as an ordinary user", ordinary_user_translates},
    {"outlives its file size limit", outlives_its_file_size_limit},
    {"--xattrmap, to trusted.* with CAP_SYS_ADMIN", attributes_are_mapped},
    {"--xattrmap, to trusted.* without", trusted_needs_a_capability},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static void show_log(void)
{
    char line[512];
    FILE *f = fopen(daemon_.log, "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        tap_note("log: %s", line);
    }
    if (f != NULL)
        fclose(f);
}

static void report(bool ok, const char *name)
{
    fe_close(&fe);
    daemon_kill(&daemon_);
    if (!ok)
        show_log();
    unlink(daemon_.log);
    tap_ok(ok, name);
}

int main(int argc, char **argv)
{
    char name[128];
    daemon_init(&daemon_, argc, argv);
    fe_use_socket(&fe, -1);
    tap_plan((int)(REFUSALS + CASES + SANDBOXES));
    for (size_t i = 0; i < REFUSALS; i++) {
        snprintf(name, sizeof(name), "refused: %s", refusals[i].name);
        tap_ok(refuses(&refusals[i]), name);
    }
    for (size_t i = 0; i < SANDBOXES; i++) {
        snprintf(name, sizeof(name), "serves with %s", sandboxes[i].name);
        if (sandboxes[i].has_seccomp && daemon_is_sanitized(&daemon_))
            tap_skip(name, "a sanitizer's runtime makes system calls that seccomp does not allow");
        else
            report(in_sandbox(sandboxes[i].arguments), name);
    }
    for (size_t i = 0; i < CASES; i++) {
        const char *reason = cases[i].lacks != NULL ? cases[i].lacks() : NULL;
        if (reason != NULL)
            tap_skip(cases[i].name, reason);
        else
            report(cases[i].run(), cases[i].name);
    }
    daemon_finish(&daemon_);
    return tap_status();
}
