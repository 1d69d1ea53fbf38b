/*
 * Every way a message can be wrong, one named case each. A message whose form is wrong is sent twice: with
 * NEED_REPLY it has to be answered with an error on a connection that goes on, without it has to end the
 * connection. After each case a request is served: by the same connection, or by a new one to the same
 * process.
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bad_messages.h"
#include "daemon.h"
#include "frontend.h"

#define MEMORY (4u << 20)

/* ---- messages whose framing is wrong: the connection ends ---- */

static void send_header(struct frontend *fe, uint32_t request, uint32_t flags, uint32_t size)
{
    struct fe_header header = {.request = request, .flags = flags, .size = size};
    fe_send_raw(fe, &header, sizeof(header), NULL, 0);
}

static void bad_version(struct frontend *fe)
{
    send_header(fe, FE_GET_FEATURES, 2 | FE_NEED_REPLY, 0);
}

static void reply_flag(struct frontend *fe)
{
    send_header(fe, FE_GET_FEATURES, FE_VERSION | FE_REPLY, 0);
}

static void unknown_flags(struct frontend *fe)
{
    send_header(fe, FE_GET_FEATURES, FE_VERSION | 0x100, 0);
}

static void payload_of_four_gigabytes(struct frontend *fe)
{
    send_header(fe, FE_SET_MEM_TABLE, FE_VERSION, UINT32_MAX);
}

static void payload_too_long(struct frontend *fe)
{
    send_header(fe, FE_SET_CONFIG, FE_VERSION, 4096);
}

static void half_a_header(struct frontend *fe)
{
    uint32_t request = FE_GET_FEATURES;
    fe_send_raw(fe, &request, sizeof(request), NULL, 0);
    shutdown(fe->socket, SHUT_WR);
}

static void half_a_payload(struct frontend *fe)
{
    send_header(fe, FE_SET_FEATURES, FE_VERSION, 8);
    fe_send_raw(fe, "abcd", 4, NULL, 0);
    shutdown(fe->socket, SHUT_WR);
}

static void many_descriptors(struct frontend *fe, unsigned count)
{
    int fds[64];
    struct fe_header header = {.request = FE_SET_OWNER, .flags = FE_VERSION | FE_NEED_REPLY};
    for (unsigned i = 0; i < count; i++)
        fds[i] = fe->queues[0].kick;
    fe_send_raw(fe, &header, sizeof(header), fds, count);
}

static void nine_descriptors(struct frontend *fe)
{
    many_descriptors(fe, 9);
}

static void sixty_descriptors(struct frontend *fe)
{
    many_descriptors(fe, 60);
}

static void noise(struct frontend *fe)
{
    char bytes[64];
    memset(bytes, 0xa5, sizeof(bytes));
    fe_send_raw(fe, bytes, sizeof(bytes), NULL, 0);
}

static const struct {
    const char *name;
    void (*send)(struct frontend *fe);
} framing_cases[] = {
    {"unknown version", bad_version},
    {"reply where a request is due", reply_flag},
    {"unknown header flags", unknown_flags},
    {"payload of four gigabytes", payload_of_four_gigabytes},
    {"payload longer than any message", payload_too_long},
    {"end in the middle of a header", half_a_header},
    {"end in the middle of a payload", half_a_payload},
    {"nine descriptors", nine_descriptors},
    {"sixty descriptors", sixty_descriptors},
    {"noise", noise},
};

#define FRAMING_CASES (sizeof(framing_cases) / sizeof(framing_cases[0]))

/* ---- running them ---- */

static const struct bad_kind *const kinds[] = {&bad_device_messages, &bad_memory_messages,
                                               &bad_ring_messages};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static size_t case_count(void)
{
    size_t count = FRAMING_CASES;
    for (size_t i = 0; i < KINDS; i++)
        count += kinds[i]->count;
    return count;
}

static bool connect_and_serve(struct daemon *daemon, struct frontend *fe)
{
    if (!daemon_is_running(daemon) && !daemon_start(daemon, true))
        return false;
    if (fe_connect(fe, daemon->socket, 2000) != 0)
        return false;
    /* The control has two queues. */
    unsigned queues = daemon->kind == DAEMON_ORIEL ? QUEUES : 2;
    return fe_set_up(fe, MEMORY, queues, 128) == 0 && fe_fuse_init(fe, 1) == 0 &&
           fe_fuse_getattr_root(fe, queues - 1) == 0;
}

/* How many descriptors the daemon has while it serves one front-end: a case that leaks one shows here. */
static int served_fds;

static bool lives_on(struct daemon *daemon)
{
    struct frontend fe;
    bool alive = daemon_is_running(daemon) && connect_and_serve(daemon, &fe);
    if (!alive)
        return false;
    int fds = daemon_open_fds(daemon);
    if (served_fds == 0)
        served_fds = fds;
    fe_close(&fe);
    if (fds != served_fds)
        tap_note("%d descriptors open, %d before", fds, served_fds);
    return fds == served_fds;
}

static void build(struct frontend *fe, const struct bad_case *c, struct bad *bad)
{
    memset(bad, 0, sizeof(*bad));
    c->build(fe, bad);
}

static void close_fds(struct bad *bad)
{
    for (unsigned i = 0; i < bad->fd_count; i++)
        close(bad->fds[i]);
}

/* The message with NEED_REPLY: an error, and the connection serves on. */
static bool is_answered(struct daemon *daemon, const struct bad_case *c)
{
    struct frontend fe;
    struct bad bad;
    if (!connect_and_serve(daemon, &fe))
        return false;
    build(&fe, c, &bad);
    int64_t answer = fe_acked(&fe, bad.request, bad.payload, bad.len, bad.fds, bad.fd_count);
    close_fds(&bad);
    bool ok = answer > 0 && fe_fuse_getattr_root(&fe, 1) == 0 && fe_fuse_getattr_root(&fe, 2) == 0;
    if (!ok)
        tap_note("with NEED_REPLY: answer %lld", (long long)answer);
    fe_close(&fe);
    return ok;
}

/* The message without: the connection ends. */
static bool is_closed(struct daemon *daemon, const struct bad_case *c)
{
    struct frontend fe;
    struct bad bad;
    if (!connect_and_serve(daemon, &fe))
        return false;
    build(&fe, c, &bad);
    fe_send(&fe, bad.request, 0, bad.payload, bad.len, bad.fds, bad.fd_count);
    close_fds(&bad);
    bool closed = fe_is_closed(&fe, FE_TIMEOUT_MS);
    if (!closed)
        tap_note("without NEED_REPLY: the connection goes on");
    fe_close(&fe);
    return closed;
}

static void test_kind(struct daemon *daemon, const struct bad_kind *kind)
{
    for (size_t i = 0; i < kind->count; i++) {
        const struct bad_case *c = &kind->cases[i];
        bool ok = (c->asks || is_answered(daemon, c)) && is_closed(daemon, c) && lives_on(daemon);
        tap_ok(ok, c->name);
    }
}

static void test_framing(struct daemon *daemon)
{
    for (size_t i = 0; i < FRAMING_CASES; i++) {
        struct frontend fe;
        bool ok = connect_and_serve(daemon, &fe);
        framing_cases[i].send(&fe);
        ok = ok && fe_is_closed(&fe, FE_TIMEOUT_MS);
        fe_close(&fe);
        tap_ok(ok && lives_on(daemon), framing_cases[i].name);
    }
}

static void test_oriel(struct daemon *daemon)
{
    for (size_t i = 0; i < KINDS; i++)
        test_kind(daemon, kinds[i]);
    test_framing(daemon);
}

/* What the control does is not ours to judge: it is written down. */
static void record(struct daemon *daemon, struct frontend *fe, const char *name)
{
    int status = daemon_wait(daemon, 200);
    const char *what = "goes on and serves";
    if (status != -1)
        what = WIFSIGNALED(status) ? "process died of a signal" : "process ended";
    else if (fe_fuse_getattr_root(fe, 1) != 0)
        what = "process lives, requests are not served any more";
    tap_note("%-60s %s", name, what);
    daemon_kill(daemon);
}

/* How many of the cases met a control that served before. */
static size_t record_kind(struct daemon *daemon, const struct bad_kind *kind)
{
    size_t served = 0;
    for (size_t i = 0; i < kind->count; i++) {
        struct frontend fe;
        struct bad bad;
        served += connect_and_serve(daemon, &fe);
        build(&fe, &kind->cases[i], &bad);
        fe_send(&fe, bad.request, 0, bad.payload, bad.len, bad.fds, bad.fd_count);
        close_fds(&bad);
        record(daemon, &fe, kind->cases[i].name);
        fe_close(&fe);
    }
    return served;
}

static size_t record_framing(struct daemon *daemon)
{
    size_t served = 0;
    for (size_t i = 0; i < FRAMING_CASES; i++) {
        struct frontend fe;
        served += connect_and_serve(daemon, &fe);
        framing_cases[i].send(&fe);
        record(daemon, &fe, framing_cases[i].name);
        fe_close(&fe);
    }
    return served;
}

static void test_control(struct daemon *daemon)
{
    size_t served = 0;
    for (size_t i = 0; i < KINDS; i++)
        served += record_kind(daemon, kinds[i]);
    served += record_framing(daemon);
    tap_ok(served == case_count(), "the control was driven through every case, with the results above");
}

int main(int argc, char **argv)
{
    struct daemon daemon;
    daemon_init(&daemon, argc, argv);
    bool control = daemon.kind == DAEMON_VIRTIOFSD;
    tap_plan(control ? 1 : (int)case_count());
    if (control)
        test_control(&daemon);
    else
        test_oriel(&daemon);
    daemon_finish(&daemon);
    return tap_status();
}
