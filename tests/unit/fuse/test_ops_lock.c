#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "cmocka_all.h"
#include "rig.h"

static int lock_call(struct client *c, uint32_t opcode, uint64_t nodeid, uint64_t fh, uint64_t owner,
                     uint32_t type, uint32_t flags)
{
    struct wire_lk_in in = {
        .fh = fh, .owner = owner, .lock = {.end = INT64_MAX, .type = type}, .lk_flags = flags};
    return client_call(c, opcode, nodeid, &in, sizeof(in));
}

static void locks_are_asked_set_and_released(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    assert_int_equal(lock_call(c, FUSE_SETLK, rig->file, fh, 1, F_WRLCK, 0), 0);
    assert_int_equal(lock_call(c, FUSE_SETLK, rig->file, fh, 2, F_WRLCK, 0), -EAGAIN);
    assert_int_equal(lock_call(c, FUSE_SETLK, rig->file, fh, 2, F_WRLCK, FUSE_LOCK_FLOCK), -EAGAIN);
    assert_int_equal(lock_call(c, FUSE_GETLK, rig->file, fh, 2, F_WRLCK, 0), 0);
    assert_int_equal(c->payload_len, 24);
    assert_int_equal(((const struct wire_lock *)c->reply)->type, F_WRLCK);
    assert_int_equal(lock_call(c, FUSE_SETLKW, rig->file, fh, 1, F_UNLCK, 0), 0);
    assert_int_equal(lock_call(c, FUSE_GETLK, rig->file, fh, 2, F_WRLCK, 0), 0);
    assert_int_equal(((const struct wire_lock *)c->reply)->type, F_UNLCK);
    client_release(c, rig->file, fh);
}

static void locks_that_make_no_sense(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct wire_lk_in in = {.owner = 1, .lock = {.end = INT64_MAX, .type = 9}};
    assert_int_equal(client_open(c, rig->file, O_RDWR, &in.fh), 0);
    assert_int_equal(client_call(c, FUSE_SETLK, rig->file, &in, sizeof(in)), -EINVAL);
    in.lock = (struct wire_lock){.start = 2, .end = 1, .type = F_RDLCK};
    assert_int_equal(client_call(c, FUSE_SETLK, rig->file, &in, sizeof(in)), -EINVAL);
    in.lock = (struct wire_lock){.end = UINT64_MAX, .type = F_RDLCK};
    assert_int_equal(client_call(c, FUSE_SETLK, rig->file, &in, sizeof(in)), -EINVAL);
    assert_int_equal(lock_call(c, FUSE_SETLK, rig->file, 4711, 1, F_RDLCK, 0), -EBADF);
    client_release(c, rig->file, in.fh);
}

static void locks_only_as_agreed(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    uint64_t fh;
    client_init_with(c, FUSE_FLOCK_LOCKS);
    rig->file = client_find(c, "file");
    assert_int_equal(client_open(c, rig->file, O_RDWR, &fh), 0);
    assert_int_equal(lock_call(c, FUSE_SETLK, rig->file, fh, 1, F_WRLCK, 0), -ENOSYS);
    assert_int_equal(lock_call(c, FUSE_SETLK, rig->file, fh, 1, F_WRLCK, FUSE_LOCK_FLOCK), 0);
    client_release(c, rig->file, fh);
}

/* ---- waiting; each waiter is a thread with a client of its own ---- */

struct waiter {
    pthread_t thread;
    struct client client;
    uint64_t nodeid, fh, unique;
    int result;
    _Atomic bool done;
};

static void *wait_for_lock(void *arg)
{
    struct waiter *w = arg;
    w->result = lock_call(&w->client, FUSE_SETLKW, w->nodeid, w->fh, w->unique, F_WRLCK, 0);
    w->done = true;
    return NULL;
}

/* Returns when it waits; with several waiters, when it soon will. */
static void start_waiter(struct rig *rig, struct waiter *w, uint64_t fh, uint64_t unique)
{
    unsigned before = fake_fs_calls(rig->fake, FAKE_SETLK);
    memset(w, 0, sizeof(*w));
    w->nodeid = rig->file;
    w->fh = fh;
    w->unique = unique;
    client_start(&w->client, rig->server);
    w->client.unique = unique - 1;
    assert_int_equal(pthread_create(&w->thread, NULL, wait_for_lock, w), 0);
    while (fake_fs_calls(rig->fake, FAKE_SETLK) < before + 2) /* it tried, and waits to try again */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static int end_waiter(struct waiter *w)
{
    pthread_join(w->thread, NULL);
    client_stop(&w->client);
    return w->result;
}

/* As a transport does that empties its queues: a request that begins to wait only now is not missed. */
static int interrupt_waiter(struct rig *rig, struct waiter *w)
{
    while (!w->done) {
        oriel_fuse_server_interrupt(rig->server);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return end_waiter(w);
}

static uint64_t open_and_lock(struct rig *rig)
{
    uint64_t fh;
    fake_fs_quiet(rig->fake);
    assert_int_equal(client_open(&rig->client, rig->file, O_RDWR, &fh), 0);
    assert_int_equal(lock_call(&rig->client, FUSE_SETLK, rig->file, fh, 1, F_WRLCK, 0), 0);
    return fh;
}

static void a_waiter_gets_the_lock_when_it_is_free(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct waiter w;
    uint64_t fh = open_and_lock(rig);
    start_waiter(rig, &w, fh, 1000);
    assert_int_equal(lock_call(c, FUSE_SETLK, rig->file, fh, 1, F_UNLCK, 0), 0);
    assert_int_equal(end_waiter(&w), 0);
    assert_int_equal(lock_call(c, FUSE_SETLK, rig->file, fh, 1, F_WRLCK, 0), -EAGAIN);
    /* FLUSH, at close(), gives the owner's locks up. */
    start_waiter(rig, &w, fh, 1001);
    struct wire_flush_in flush = {.fh = fh, .lock_owner = 1000};
    assert_int_equal(client_call(c, FUSE_FLUSH, rig->file, &flush, sizeof(flush)), 0);
    assert_int_equal(end_waiter(&w), 0);
    client_release(c, rig->file, fh);
}

static int interrupt(struct client *c, uint64_t unique)
{
    struct wire_interrupt_in in = {.unique = unique};
    int rc = client_call(c, FUSE_INTERRUPT, 0, &in, sizeof(in));
    assert_int_equal(c->reply_len, 0);
    return rc;
}

static void a_waiter_can_be_interrupted(void **state)
{
    struct rig *rig = *state;
    struct waiter w, other;
    uint64_t fh = open_and_lock(rig);
    start_waiter(rig, &w, fh, 1000);
    start_waiter(rig, &other, fh, 1001);
    interrupt(&rig->client, 1000);
    assert_int_equal(end_waiter(&w), -EINTR);
    assert_int_equal(interrupt_waiter(rig, &other), -EINTR);
    /* An INTERRUPT may overtake its request. */
    interrupt(&rig->client, 1002);
    struct client early;
    client_start(&early, rig->server);
    early.unique = 1001;
    assert_int_equal(lock_call(&early, FUSE_SETLKW, rig->file, fh, 9, F_WRLCK, 0), -EINTR);
    client_stop(&early);
    client_release(&rig->client, rig->file, fh);
}

static void destroy_and_reset_send_waiters_home(void **state)
{
    struct rig *rig = *state;
    struct client *c = &rig->client;
    struct waiter w;
    start_waiter(rig, &w, open_and_lock(rig), 1000);
    assert_int_equal(client_call(c, FUSE_DESTROY, 0, NULL, 0), 0);
    assert_int_equal(end_waiter(&w), -EINTR);
    assert_int_equal(fake_fs_handles(rig->fake), 0);
    client_init(c);
    rig->file = client_find(c, "file");
    start_waiter(rig, &w, open_and_lock(rig), 1000);
    oriel_fuse_server_reset(rig->server);
    assert_int_equal(end_waiter(&w), -EINTR);
    assert_int_equal(fake_fs_handles(rig->fake), 0);
}

static void only_so_many_may_wait(void **state)
{
    (void)state;
    struct oriel_fuse_server_options options = rig_options();
    options.max_lock_waiters = 1;
    struct rig *rig = rig_new(&options, true);
    struct waiter w;
    uint64_t fh = open_and_lock(rig);
    start_waiter(rig, &w, fh, 1000);
    assert_int_equal(lock_call(&rig->client, FUSE_SETLKW, rig->file, fh, 2, F_WRLCK, 0), -ENOLCK);
    assert_int_equal(interrupt_waiter(rig, &w), -EINTR);
    rig_free(rig);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(locks_are_asked_set_and_released, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(locks_that_make_no_sense, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(locks_only_as_agreed, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_waiter_gets_the_lock_when_it_is_free, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(a_waiter_can_be_interrupted, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(destroy_and_reset_send_waiters_home, rig_setup, rig_teardown),
        cmocka_unit_test(only_so_many_may_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
