/*
 * What front-ends do that are not at hand here: the command lines by which Kata Containers starts a daemon and what it
 * waits for, and the order in which Cloud Hypervisor, crosvm and Kata's Dragonball speak, from their sources.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "frontend.h"

#define MEMORY   (8u << 20)
#define SIZE     64u
#define QUEUES   2u /* hiprio and one for requests, as all of them have by default */
#define WRITABLE 1u

static struct daemon daemon_;
static struct frontend fe;
static char alias[320]; /* the daemon under the name that needs no subcommand */

/* ---- a daemon by its whole command line ---- */

/* In a /dev of our own, which holds nothing but the socket that syslog listens on. */
static bool be_syslog(int fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("dev", "/dev", "tmpfs", 0, NULL) == 0 &&
           bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

/* stderr becomes err, descriptor 3 listener, and /dev/log log, unless they are -1. */
static pid_t spawn(const char *const *arguments, int listener, int err, int log)
{
    const char *argv[24] = {alias};
    for (int n = 1; *arguments != NULL; n++)
        argv[n] = *arguments++;
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (err >= 0)
        dup2(err, STDERR_FILENO);
    if (log >= 0 && !be_syslog(log))
        _exit(126);
    if (listener >= 0)
        dup2(listener, 3);
    execv(alias, (char **)(uintptr_t)argv);
    _exit(127);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 1) != 0) {
        close(fd);
        return -1;
    }
    /* Out of the way of what spawn() does. */
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    close(fd);
    return high;
}

/* Reads until the text is there; false: the time is over, or the other end is closed. */
static bool hears(int fd, const char *wanted)
{
    char text[4096] = "";
    size_t have = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (have + 1 < sizeof(text) && poll(&p, 1, FE_TIMEOUT_MS) == 1) {
        ssize_t got = read(fd, text + have, sizeof(text) - 1 - have);
        if (got <= 0)
            break;
        have += (size_t)got;
        text[have] = '\0';
        if (strstr(text, wanted) != NULL)
            return true;
    }
    tap_note("heard: %s", text);
    return false;
}

static bool serves(void)
{
    return fe_connect(&fe, daemon_.socket, 5000) == 0 && fe_set_up(&fe, MEMORY, QUEUES, SIZE) == 0 &&
           fe_fuse_init(&fe, 1) == 0 && fe_fuse_getattr_root(&fe, 1) == 0;
}

/* Kata kills the process it started, and nothing else. */
static bool dies_whole(pid_t pid)
{
    kill(pid, SIGKILL);
    return waitpid(pid, NULL, 0) == pid && fe_is_closed(&fe, FE_TIMEOUT_MS);
}

/* The runtime in Go opens the socket itself and does not wait. */
static pid_t start_as_kata_in_go(int err, int log)
{
    char shared[320];
    snprintf(shared, sizeof(shared), "--shared-dir=%s", daemon_.share);
    const char *arguments[] = {"--syslog",
                               "--cache=auto",
                               shared,
                               "--fd=3",
                               "--inode-file-handles=prefer",
                               "--thread-pool-size=1",
                               "--announce-submounts",
                               NULL};
    int listener = listen_at(daemon_.socket);
    if (listener < 0)
        return -1;
    pid_t pid = spawn(arguments, listener, err, log);
    close(listener);
    return pid;
}

/* It goes on when there is no syslog any more: within the walls there is no way to connect to it again. */
static bool kata_in_go(void)
{
    int log = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), wanted_len;
    char wanted[64];
    pid_t pid = start_as_kata_in_go(-1, log);
    CHECK(pid > 0);
    wanted_len = snprintf(wanted, sizeof(wanted), "<30>oriel-serve[%d]: Waiting", (int)pid);
    bool heard = wanted_len > 0 && hears(log, wanted);
    close(log);
    bool served = serves();
    CHECK(dies_whole(pid));
    CHECK(heard);
    return served;
}

static bool without_syslog(void)
{
    int err[2];
    CHECK(pipe2(err, O_CLOEXEC) == 0);
    int log = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    pid_t pid = start_as_kata_in_go(err[1], log);
    close(err[1]);
    close(log); /* a socket file that nobody listens on */
    CHECK(pid > 0);
    bool heard = hears(err[0], "Waiting"), served = serves();
    close(err[0]);
    CHECK(dies_whole(pid));
    CHECK(heard);
    return served;
}

/* The runtime in Rust starts no machine before it has read this line. */
static bool kata_in_rust(void)
{
    const char *arguments[] = {"--socket-path",
                               daemon_.socket,
                               "--shared-dir",
                               daemon_.share,
                               "--cache",
                               "auto",
                               "--sandbox",
                               "none",
                               "--seccomp",
                               "none",
                               "--thread-pool-size=1",
                               "--announce-submounts",
                               "--xattr",
                               NULL};
    int err[2];
    CHECK(pipe2(err, O_CLOEXEC) == 0);
    pid_t pid = spawn(arguments, -1, err[1], -1);
    close(err[1]);
    bool heard = hears(err[0], "Waiting for vhost-user socket connection..."), served = serves();
    bool died = dies_whole(pid);
    close(err[0]);
    CHECK(heard);
    CHECK(served);
    return died;
}

/* ---- mounts below the folder ---- */

static int look_up(uint64_t parent, const char *name, uint64_t *nodeid)
{
    struct fuse_entry_out entry;
    size_t len = sizeof(entry);
    int r = fe_fuse(&fe, 1, FUSE_LOOKUP, parent, name, strlen(name) + 1, &entry, &len);
    *nodeid = r == 0 ? entry.nodeid : 0;
    return r;
}

static bool mounts_a_marked_one(const char *name)
{
    char path[320], marker[330];
    snprintf(path, sizeof(path), "%s/%s", daemon_.share, name);
    snprintf(marker, sizeof(marker), "%s/marker", path);
    return mkdir(path, 0755) == 0 && mount("tmpfs", path, "tmpfs", 0, NULL) == 0 && mkdir(marker, 0755) == 0;
}

static bool is_marked(const char *name)
{
    uint64_t folder, marker;
    return look_up(FUSE_ROOT_ID, name, &folder) == 0 && look_up(folder, "marker", &marker) == 0;
}

/* virtiofsd shows them without being asked to, and Kata mounts a container's files after it has started it. */
static bool mounts_below(void)
{
    CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(mount("tmpfs", daemon_.share, "tmpfs", 0, NULL) == 0);
    CHECK(mount(NULL, daemon_.share, NULL, MS_SHARED, NULL) == 0);
    bool before = mounts_a_marked_one("before");
    bool served = before && daemon_start(&daemon_, false) && serves();
    bool late = served && mounts_a_marked_one("late");
    bool both = late && is_marked("before") && is_marked("late");
    umount2(daemon_.share, MNT_DETACH);
    CHECK(served);
    CHECK(late);
    return both;
}

/* ---- messages ---- */

static bool has_reply_ack(void)
{
    return (fe.protocol_features & FE_PF_REPLY_ACK) != 0;
}

/* rust-vmm's front-end asks for a reply to everything once it may. */
static bool tell(uint32_t request, const void *payload, size_t len, int fd)
{
    unsigned fds = fd >= 0 ? 1 : 0;
    if (has_reply_ack())
        return fe_acked(&fe, request, payload, len, &fd, fds) == 0;
    return fe_send(&fe, request, 0, payload, len, &fd, fds) == 0;
}

static bool tell_u64(uint32_t request, uint64_t value)
{
    return tell(request, &value, sizeof(value), -1);
}

static bool tell_state(uint32_t request, uint32_t index, uint32_t num)
{
    struct fe_state state = {.index = index, .num = num};
    return tell(request, &state, sizeof(state), -1);
}

static bool tell_fd(uint32_t request, uint64_t index, int fd)
{
    return tell(request, &index, sizeof(index), fd);
}

static bool tell_address(const struct fe_queue *q)
{
    struct fe_addr addr = {.index = q->index,
                           .desc = fe_user(&fe, q->desc),
                           .used = fe_user(&fe, q->used),
                           .avail = fe_user(&fe, q->avail)};
    return tell(FE_SET_VRING_ADDR, &addr, sizeof(addr), -1);
}

static bool tell_memory(void)
{
    struct fe_mem_table table = {.count = 1};
    table.regions[0] =
        (struct fe_region){.gpa = FE_GPA, .size = fe.memory_len, .user = fe_user(&fe, fe.memory)};
    return tell(FE_SET_MEM_TABLE, &table, 8 + sizeof(struct fe_region), fe.memory_fd);
}

/* With the flags that a message has which is not to be acknowledged too. */
static bool ask(uint32_t request, const void *payload, size_t len, void *answer, size_t answer_len)
{
    return fe_send(&fe, request, has_reply_ack() ? FE_NEED_REPLY : 0, payload, len, NULL, 0) == 0 &&
           fe_receive(&fe, request, answer, answer_len, FE_TIMEOUT_MS) == (ssize_t)answer_len;
}

static bool stops(uint32_t index)
{
    struct fe_state state = {.index = index}, answer;
    return tell_state(FE_SET_VRING_ENABLE, index, 0) &&
           ask(FE_GET_VRING_BASE, &state, sizeof(state), &answer, sizeof(answer)) && answer.index == index;
}

static bool negotiate_protocol(uint64_t wanted)
{
    uint64_t offered;
    CHECK(ask(FE_GET_PROTOCOL_FEATURES, NULL, 0, &offered, sizeof(offered)));
    uint64_t chosen = offered & wanted;
    CHECK(fe_set_u64(&fe, FE_SET_PROTOCOL_FEATURES, chosen) == 0);
    fe.protocol_features = chosen;
    return true;
}

static bool has_queues(uint64_t wanted, uint64_t *count)
{
    CHECK(ask(FE_GET_QUEUE_NUM, NULL, 0, count, sizeof(*count)));
    return *count >= wanted;
}

static bool begin(void)
{
    return daemon_start(&daemon_, false) && fe_connect(&fe, daemon_.socket, 2000) == 0 &&
           fe_make_memory(&fe, MEMORY) == 0;
}

static bool make_queues(void)
{
    fe.features = FE_F_VERSION_1 | FE_F_INDIRECT | FE_F_EVENT_IDX | FE_F_PROTOCOL_FEATURES;
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(fe_make_queue(&fe, i, SIZE) == 0);
    return true;
}

static bool works(void)
{
    return fe_fuse_init(&fe, 1) == 0 && fe_fuse_getattr_root(&fe, 1) == 0;
}

/* The driver's part of a reset: empty rings. */
static void renew_rings(void)
{
    for (unsigned i = 0; i < QUEUES; i++) {
        struct fe_queue *q = &fe.queues[i];
        memset(q->desc, 0, q->size * sizeof(struct vring_desc));
        memset(q->avail, 0, 6 + q->size * 2);
        memset(q->used, 0, 6 + q->size * sizeof(struct vring_used_elem));
        q->avail_index = q->used_index = q->next_desc = 0;
    }
}

/* ---- Cloud Hypervisor ---- */

static bool cloud_hypervisor_activates(void)
{
    CHECK(tell_u64(FE_SET_FEATURES, fe.features));
    CHECK(tell_memory());
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(tell_state(FE_SET_VRING_NUM, i, SIZE));
    for (unsigned i = 0; i < QUEUES; i++) {
        CHECK(tell_address(&fe.queues[i]));
        CHECK(tell_state(FE_SET_VRING_BASE, i, fe.queues[i].avail->idx));
        CHECK(tell_fd(FE_SET_VRING_CALL, i, fe.queues[i].call));
        CHECK(tell_fd(FE_SET_VRING_KICK, i, fe.queues[i].kick));
    }
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(tell_state(FE_SET_VRING_ENABLE, i, 1));
    return true;
}

static bool cloud_hypervisor(void)
{
    uint64_t features, count;
    CHECK(begin());
    CHECK(fe_send(&fe, FE_SET_OWNER, 0, NULL, 0, NULL, 0) == 0);
    CHECK(ask(FE_GET_FEATURES, NULL, 0, &features, sizeof(features)));
    /* Before SET_FEATURES. It would like INFLIGHT_SHMFD (bit 12) and DEVICE_STATE (19) too, and does without. */
    CHECK(negotiate_protocol(FE_PF_MQ | FE_PF_MEM_SLOTS | FE_PF_REPLY_ACK | FE_PF_LOG_SHMFD | 1u << 12 |
                             1u << 19));
    CHECK(fe.protocol_features == (FE_PF_MQ | FE_PF_MEM_SLOTS | FE_PF_REPLY_ACK | FE_PF_LOG_SHMFD));
    CHECK(has_queues(QUEUES, &count));
    CHECK(make_queues());
    CHECK(cloud_hypervisor_activates());
    CHECK(works());
    /* Pause and resume. */
    for (unsigned i = 0; i < 2 * QUEUES; i++)
        CHECK(tell_state(FE_SET_VRING_ENABLE, i % QUEUES, i / QUEUES));
    CHECK(fe_fuse_getattr_root(&fe, 1) == 0);
    /* Reset by the driver, and again. */
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(stops(i));
    renew_rings();
    CHECK(cloud_hypervisor_activates());
    return works();
}

/* ---- crosvm ---- */

struct config {
    uint32_t offset, size, flags;
    char bytes[36];
};

/* As the guest reads it, a field at a time. */
static bool config_is(uint32_t offset, const void *wanted, uint32_t size)
{
    struct config asked = {.offset = offset, .size = size, .flags = WRITABLE}, answer = {0};
    CHECK(ask(FE_GET_CONFIG, &asked, 12 + size, &answer, 12 + size));
    return memcmp(answer.bytes, wanted, size) == 0;
}

static bool crosvm_activates(void)
{
    CHECK(tell_u64(FE_SET_FEATURES, fe.features));
    CHECK(tell_memory());
    for (unsigned i = 0; i < QUEUES; i++) {
        CHECK(tell_state(FE_SET_VRING_NUM, i, SIZE));
        CHECK(tell_address(&fe.queues[i]));
        CHECK(tell_state(FE_SET_VRING_BASE, i, 0));
        CHECK(tell_fd(FE_SET_VRING_CALL, i, fe.queues[i].call));
        CHECK(tell_fd(FE_SET_VRING_KICK, i, fe.queues[i].kick));
        CHECK(tell_state(FE_SET_VRING_ENABLE, i, 1));
    }
    return true;
}

static bool crosvm(void)
{
    static const char tag[36] = "share";
    uint64_t features, count;
    uint32_t queues = 3;
    size_t end = 0;
    while (daemon_.extra[end] != NULL)
        end++;
    daemon_.extra[end] = "--tag=share";
    daemon_.extra[end + 1] = "--num-request-queues=3";
    bool begun = begin();
    daemon_.extra[end] = daemon_.extra[end + 1] = NULL;
    CHECK(begun);
    CHECK(fe_send(&fe, FE_SET_OWNER, 0, NULL, 0, NULL, 0) == 0);
    CHECK(ask(FE_GET_FEATURES, NULL, 0, &features, sizeof(features)));
    CHECK(tell_u64(FE_SET_FEATURES, FE_F_PROTOCOL_FEATURES));
    CHECK(negotiate_protocol(FE_PF_MQ | FE_PF_CONFIG | 1u << 5));
    CHECK(fe.protocol_features == (FE_PF_MQ | FE_PF_CONFIG));
    CHECK(has_queues(QUEUES, &count));
    CHECK(config_is(0, tag, sizeof(tag)));
    CHECK(config_is(36, &queues, sizeof(queues)));
    CHECK(make_queues());
    CHECK(crosvm_activates());
    CHECK(works());
    /* A reset stops every queue that there could be. */
    for (uint32_t i = 0; i < count; i++)
        CHECK(stops(i));
    renew_rings();
    CHECK(crosvm_activates());
    return works();
}

/* ---- Dragonball ---- */

static bool dragonball(void)
{
    uint64_t features;
    CHECK(begin());
    CHECK(ask(FE_GET_FEATURES, NULL, 0, &features, sizeof(features)));
    CHECK(fe_send(&fe, FE_SET_OWNER, 0, NULL, 0, NULL, 0) == 0);
    CHECK(ask(FE_GET_FEATURES, NULL, 0, &features, sizeof(features)));
    CHECK(make_queues());
    CHECK(tell_u64(FE_SET_FEATURES, fe.features));
    CHECK(negotiate_protocol(FE_PF_MQ | FE_PF_REPLY_ACK));
    fe.protocol_features &= ~FE_PF_REPLY_ACK; /* negotiated, but it never asks for a reply */
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(tell_fd(FE_SET_VRING_CALL, i, fe.queues[i].call));
    CHECK(tell_memory());
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(tell_state(FE_SET_VRING_NUM, i, SIZE));
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(tell_state(FE_SET_VRING_BASE, i, 0));
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(tell_address(&fe.queues[i]));
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(tell_fd(FE_SET_VRING_KICK, i, fe.queues[i].kick));
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(tell_state(FE_SET_VRING_ENABLE, i, 1));
    return works();
}

static const struct {
    const char *name;
    bool (*run)(void);
    bool needs_root;
} cases[] = {
    {"Kata's runtime in Go starts it and kills it", kata_in_go, true},
    {"--syslog without a syslog", without_syslog, true},
    {"Kata's runtime in Rust starts it and kills it", kata_in_rust, false},
    {"in the order of Cloud Hypervisor", cloud_hypervisor, false},
    {"in the order of crosvm", crosvm, false},
    {"in the order of Dragonball", dragonball, false},
    {"what is mounted below the folder, before and after, is there", mounts_below, true},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

int main(int argc, char **argv)
{
    daemon_init(&daemon_, argc, argv);
    fe_use_socket(&fe, -1);
    snprintf(alias, sizeof(alias), "%s/oriel-virtiofsd", daemon_.folder);
    if (symlink(daemon_.binary, alias) != 0)
        return 1;
    tap_plan((int)CASES);
    for (size_t i = 0; i < CASES; i++) {
        if (cases[i].needs_root && geteuid() != 0) {
            tap_skip(cases[i].name, "only root may mount");
            continue;
        }
        snprintf(daemon_.socket, sizeof(daemon_.socket), "%s/own%zu", daemon_.folder, i);
        bool ok = cases[i].run();
        fe_close(&fe);
        daemon_kill(&daemon_);
        tap_ok(ok, cases[i].name);
    }
    daemon_finish(&daemon_);
    return tap_status();
}
