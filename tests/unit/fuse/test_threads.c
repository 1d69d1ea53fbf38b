/*
 * Four threads against one server: lookups, forgets, opens, reads, releases of each other's ids and handles, and
 * sessions that end meanwhile. ThreadSanitizer looks on; the rig checks that nothing is left in the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "rig.h"

#define THREADS 4
#define STEPS   20000
#define FILES   6
#define SHARED  32

/* What the threads know together: ids and handles that any of them may use or end at any time. */
struct shared {
    struct rig *rig;
    _Atomic uint64_t nodeids[SHARED], handles[SHARED], owners[SHARED];
    _Atomic int ended; /* sessions */
    unsigned seed;
    bool with_sessions;
};

struct worker {
    pthread_t thread;
    struct shared *shared;
    struct client client;
    unsigned seed;
    uint64_t wrong; /* replies that make no sense */
};

static unsigned pick(struct worker *w, unsigned n)
{
    return (unsigned)rand_r(&w->seed) % n;
}

static void step_lookup(struct worker *w)
{
    char name[16];
    struct wire_entry_out entry;
    snprintf(name, sizeof(name), "t%u", pick(w, FILES));
    int rc = client_lookup(&w->client, FUSE_ROOT_ID, name, &entry);
    if (rc == 0)
        atomic_store(&w->shared->nodeids[pick(w, SHARED)], entry.nodeid);
    else
        w->wrong += rc != -EIO && rc != -ENOENT;
}

static void step_forget(struct worker *w)
{
    uint64_t nodeid = atomic_load(&w->shared->nodeids[pick(w, SHARED)]);
    client_forget(&w->client, nodeid, 1 + pick(w, 3));
}

static void step_open(struct worker *w)
{
    uint64_t nodeid = atomic_load(&w->shared->nodeids[pick(w, SHARED)]), fh;
    int rc = client_open(&w->client, nodeid, O_RDWR, &fh);
    if (rc == 0) {
        unsigned i = pick(w, SHARED);
        atomic_store(&w->shared->owners[i], nodeid);
        atomic_store(&w->shared->handles[i], fh);
    } else {
        w->wrong += rc != -EIO && rc != -ENOENT && rc != -ESTALE;
    }
}

static void step_read(struct worker *w)
{
    unsigned i = pick(w, SHARED);
    uint64_t nodeid = atomic_load(&w->shared->owners[i]), fh = atomic_load(&w->shared->handles[i]);
    int rc = client_read(&w->client, nodeid, fh, 0, 64);
    if (rc == 0)
        w->wrong += w->client.payload_len != 4 || memcmp(w->client.reply, "data", 4) != 0;
    else
        w->wrong += rc != -EIO && rc != -EBADF;
}

static void step_release(struct worker *w)
{
    unsigned i = pick(w, SHARED);
    client_release(&w->client, atomic_load(&w->shared->owners[i]), atomic_load(&w->shared->handles[i]));
}

static void step_list(struct worker *w)
{
    uint64_t fh;
    if (client_opendir(&w->client, FUSE_ROOT_ID, &fh) != 0)
        return;
    struct wire_read_in in = {.fh = fh, .size = 2048};
    client_call(&w->client, FUSE_READDIRPLUS, FUSE_ROOT_ID, &in, sizeof(in));
    client_releasedir(&w->client, FUSE_ROOT_ID, fh);
}

static void step_session(struct worker *w)
{
    if (!w->shared->with_sessions || pick(w, 50) != 0)
        return;
    atomic_fetch_add(&w->shared->ended, 1);
    switch (pick(w, 3)) {
    case 0:
        client_call(&w->client, FUSE_DESTROY, 0, NULL, 0);
        break;
    case 1:
        oriel_fuse_server_reset(w->shared->rig->server);
        break;
    default:
        break;
    }
    client_init(&w->client);
}

/* A DAX fault takes its file without being a request. */
static void step_map(struct worker *w)
{
    const struct oriel_dax_source *source = oriel_fuse_server_dax_source(w->shared->rig->server);
    struct oriel_dax_file file;
    uint64_t nodeid = atomic_load(&w->shared->nodeids[pick(w, SHARED)]);
    if (source->acquire(source->opaque, nodeid, ORIEL_DAX_READ, &file) == 0)
        source->release(source->opaque, &file);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    static void (*const steps[])(struct worker *) = {step_lookup,  step_lookup, step_forget, step_open,
                                                     step_read,    step_read,   step_read,   step_list,
                                                     step_release, step_map,    step_session};
    for (int i = 0; i < STEPS; i++)
        steps[pick(w, sizeof(steps) / sizeof(steps[0]))](w);
    return NULL;
}

static void run(bool with_sessions)
{
    const char *given = getenv("ORIEL_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 4711;
    print_message("# seed %u\n", seed);
    struct oriel_fuse_server_options options = rig_options();
    options.timing = true;
    struct rig *rig = rig_new(&options, true);
    static struct shared shared;
    memset(&shared, 0, sizeof(shared));
    shared.rig = rig;
    shared.with_sessions = with_sessions;
    fake_fs_quiet(rig->fake);
    for (int i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        fake_fs_add_file(rig->fake, name, "data", 4);
    }
    struct worker workers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.shared = &shared, .seed = seed + i};
        client_start(&workers[i].client, rig->server);
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].wrong, 0);
        client_stop(&workers[i].client);
    }
    struct oriel_fuse_stats stats;
    oriel_fuse_server_stats(rig->server, &stats);
    assert_true(stats.ops[FUSE_READ].count > 0 && stats.read_bytes > 0);
    oriel_fuse_server_reset(rig->server);
    assert_int_equal(fake_fs_inodes(rig->fake), 1);
    assert_int_equal(fake_fs_handles(rig->fake), 0);
    rig_free(rig);
}

static void requests_against_each_other(void **state)
{
    (void)state;
    run(false);
}

static void requests_against_ending_sessions(void **state)
{
    (void)state;
    run(true);
}

/* ---- a RELEASE that arrives while its handle reads ---- */

struct slow_read {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool reading, go_on;
};

static void wait_in_read(void *arg)
{
    struct slow_read *slow = arg;
    pthread_mutex_lock(&slow->lock);
    slow->reading = true;
    pthread_cond_broadcast(&slow->changed);
    while (!slow->go_on)
        pthread_cond_wait(&slow->changed, &slow->lock);
    pthread_mutex_unlock(&slow->lock);
}

struct reader {
    struct client client;
    uint64_t nodeid, fh;
    int result;
};

static void *read_slowly(void *arg)
{
    struct reader *reader = arg;
    reader->result = client_read(&reader->client, reader->nodeid, reader->fh, 0, 5);
    return NULL;
}

static void a_release_waits_for_the_read_in_flight(void **state)
{
    struct rig *rig = *state;
    struct slow_read slow = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct reader reader = {.nodeid = rig->file};
    pthread_t thread;
    fake_fs_quiet(rig->fake);
    assert_int_equal(client_open(&rig->client, rig->file, O_RDONLY, &reader.fh), 0);
    fake_fs_on_read(rig->fake, wait_in_read, &slow);
    client_start(&reader.client, rig->server);
    pthread_create(&thread, NULL, read_slowly, &reader);
    pthread_mutex_lock(&slow.lock);
    while (!slow.reading)
        pthread_cond_wait(&slow.changed, &slow.lock);
    pthread_mutex_unlock(&slow.lock);
    /* Released and forgotten while the other thread is in read(): nothing is torn down under it. */
    assert_int_equal(client_release(&rig->client, rig->file, reader.fh), 0);
    client_forget(&rig->client, rig->file, 1);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_RELEASE), 0);
    assert_int_equal(client_release(&rig->client, rig->file, reader.fh), -EBADF);
    pthread_mutex_lock(&slow.lock);
    slow.go_on = true;
    pthread_cond_broadcast(&slow.changed);
    pthread_mutex_unlock(&slow.lock);
    pthread_join(thread, NULL);
    assert_int_equal(reader.result, 0);
    assert_int_equal(fake_fs_calls(rig->fake, FAKE_RELEASE), 1);
    assert_int_equal(fake_fs_inodes(rig->fake), 2);
    client_stop(&reader.client);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_against_each_other),
        cmocka_unit_test(requests_against_ending_sessions),
        cmocka_unit_test_setup_teardown(a_release_waits_for_the_read_in_flight, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
