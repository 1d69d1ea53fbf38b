/*
 * Many threads on one session, with a mapper that fails; afterwards session, recorder and cap must agree. Made for
 * ThreadSanitizer (suite "thread"), and worth running without it.
 */
#include "../unit/dax/dax_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "base/le.h"

#define THREADS 8
#define WINDOW  (48 * MIB)

static struct fixture f;
static uint64_t seed;

struct worker {
    pthread_t thread;
    uint64_t state;
    uint64_t number, done;
    int failed; /* line of the check that failed */
};

#define NEED(w, condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition) && (w)->failed == 0)                                                                \
            (w)->failed = __LINE__;                                                                          \
    } while (0)

static uint64_t rnd(struct worker *w, uint64_t below)
{
    w->state ^= w->state << 13;
    w->state ^= w->state >> 7;
    w->state ^= w->state << 17;
    return (w->state >> 11) % below;
}

static void run(void *(*body)(void *), struct worker *w, int threads)
{
    const char *given = getenv("ORIEL_TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("# seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < threads; i++) {
        w[i] = (struct worker){.number = (uint64_t)i,
                               .state = (seed + (uint64_t)i + 1) * 0x9e3779b97f4a7c15u | 1};
        assert_int_equal(pthread_create(&w[i].thread, NULL, body, &w[i]), 0);
    }
    for (int i = 0; i < threads; i++)
        pthread_join(w[i].thread, NULL);
    for (int i = 0; i < threads; i++) {
        if (w[i].failed != 0)
            print_error("thread %d: the check in line %d failed\n", i, w[i].failed);
        assert_int_equal(w[i].failed, 0);
    }
}

static bool is_known(int err)
{
    return err == 0 || err == -ENOSPC || err == -EIO || err == -EACCES || err == -ENOENT;
}

/* ---- everything at once ---- */

static void save_and_load(struct worker *w)
{
    static _Thread_local unsigned char blob[ORIEL_DAXS_HEADER + ORIEL_DAXS_ENTRY * (WINDOW / G)];
    size_t size;
    NEED(w, oriel_dax_save(f.dax, blob, sizeof(blob), &size) == 0);
    uint64_t end = 0, sum = 0;
    for (uint64_t i = 0; i < le64_load(blob + 40); i++) {
        const struct oriel_dax_slot slot = oriel_daxs_entry(blob, i);
        NEED(w, slot.moffset >= end && slot.len > 0 && slot.nodeid >= 1 && slot.nodeid <= NODES);
        end = slot.moffset + slot.len;
        sum += slot.len;
    }
    NEED(w, end <= WINDOW && sum == le64_load(blob + 32));
    if (rnd(w, 50) == 0)
        NEED(w, is_known(oriel_dax_load(f.dax, blob, size)));
    else if (rnd(w, 100) == 0)
        oriel_dax_reset(f.dax);
}

static void *do_anything(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 4000; i++) {
        uint64_t moffset = rnd(w, WINDOW / G) * G, len = (1 + rnd(w, 200)) * G;
        if (rnd(w, 2) == 0) {
            moffset -= moffset % SLOT;
            len = SLOT;
        }
        len = moffset + len > WINDOW ? WINDOW - moffset : len;
        uint32_t access = rnd(w, 2) ? ORIEL_DAX_WRITE : R;
        struct oriel_dax_range range[2] = {{moffset, len}, {rnd(w, WINDOW / SLOT) * SLOT, SLOT}};
        if (rnd(w, 16) == 0)
            oriel_recorder_fail_at(f.recorder, 1 + rnd(w, 4), -EIO,
                                   rnd(w, 2) ? ORIEL_RANGE_LOST : ORIEL_RANGE_KEPT);
        switch (rnd(w, 8)) {
        case 0:
        case 1:
        case 2:
            NEED(w, is_known(oriel_dax_setup(f.dax, 1 + rnd(w, NODES), rnd(w, 100) * G, len, moffset,
                                             access == R ? R : RW)));
            break;
        case 3:
            NEED(w, is_known(oriel_dax_remove(f.dax, range, 1 + rnd(w, 2))));
            break;
        case 4:
        case 5: {
            int result = oriel_dax_fault(f.dax, GPA + moffset, access);
            NEED(w, result == ORIEL_FAULT_RESUME || result == ORIEL_FAULT_UNMAPPED || result == -EIO ||
                        result == -EACCES);
            break;
        }
        case 6: {
            int result = oriel_dax_bind(f.dax, GPA + moffset, len, access);
            NEED(w, result == 0 || result == -EFAULT || result == -EIO);
            break;
        }
        default:
            save_and_load(w);
            break;
        }
    }
    return NULL;
}

struct tally {
    uint64_t bytes, end;
    bool wrong;
};

static int agrees(void *opaque, const struct oriel_dax_slot *slot)
{
    struct tally *t = opaque;
    t->bytes += slot->len;
    for (uint64_t at = t->end; at < slot->moffset; at += G)
        t->wrong = t->wrong || oriel_recorder_at(f.recorder, at).mapped;
    for (uint64_t at = 0; at < slot->len; at += G) {
        struct oriel_recorded got = oriel_recorder_at(f.recorder, slot->moffset + at);
        if (got.mapped)
            t->wrong = t->wrong || got.ino != f.inos[slot->nodeid] || got.file_offset != slot->foffset + at ||
                       got.prot != slot->prot;
    }
    t->end = slot->moffset + slot->len;
    return 0;
}

static void everything_at_once_ends_in_agreement(void **state)
{
    (void)state;
    struct worker w[THREADS];
    struct tally t = {0};
    fixture_start_with(&f, (struct oriel_dax_options){.window_len = WINDOW, .cap_bytes = WINDOW / 2});
    run(do_anything, w, THREADS);
    oriel_recorder_fail_at(f.recorder, 0, 0, ORIEL_RANGE_KEPT);
    assert_true(oriel_dax_bind_all(f.dax) >= 0);
    assert_int_equal(oriel_dax_each_slot(f.dax, agrees, &t), 0);
    assert_false(t.wrong);
    for (uint64_t at = t.end; at < WINDOW; at += G)
        assert_false(oriel_recorder_at(f.recorder, at).mapped);
    struct oriel_dax_stats stats = fixture_stats(&f);
    struct oriel_recorder_counts counts = oriel_recorder_counts(f.recorder);
    assert_int_equal(stats.mapped_bytes, t.bytes);
    assert_int_equal(counts.mapped_bytes, t.bytes);
    assert_int_equal(stats.bound, stats.slots);
    assert_int_equal(stats.maps, counts.maps);
    assert_int_equal(stats.unmaps, counts.unmaps);
    /* The cap: what is free can be used to the last granule. */
    oriel_dax_reset(f.dax);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, WINDOW / 2, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, G, WINDOW - G, R), -ENOSPC);
    fixture_stop(&f);
}

/* ---- the cap ---- */

static void *take_all_there_is(void *arg)
{
    struct worker *w = arg;
    while (oriel_dax_setup(f.dax, 1, 0, G, (w->number * 64 + w->done) * G, R) == 0)
        w->done++;
    return NULL;
}

static void the_cap_is_used_to_the_last_granule_by_many_threads(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct worker w[THREADS];
        uint64_t sum = 0;
        fixture_start_with(&f, (struct oriel_dax_options){.window_len = WINDOW, .cap_bytes = 61 * G});
        run(take_all_there_is, w, THREADS);
        for (int i = 0; i < THREADS; i++)
            sum += w[i].done;
        assert_int_equal(sum, 61);
        assert_int_equal(fixture_stats(&f).mapped_bytes, 61 * G);
        fixture_stop(&f);
    }
}

static void *hold_one_at_a_time(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 5000; i++) {
        uint64_t len = (1 + rnd(w, 2)) * G, at = (w->number * 128 + rnd(w, 100)) * G;
        NEED(w, oriel_dax_setup(f.dax, 1, 0, len, at, R) == 0);
        NEED(w, remove_range(&f, at, len) == 0);
    }
    return NULL;
}

static void the_cap_never_refuses_what_fits(void **state)
{
    (void)state;
    struct worker w[THREADS];
    fixture_start_with(&f, (struct oriel_dax_options){
                               .window_len = WINDOW, .cap_bytes = THREADS * 2 * G, .cap_slots = THREADS});
    run(hold_one_at_a_time, w, THREADS);
    assert_int_equal(fixture_stats(&f).mapped_bytes, 0);
    fixture_stop(&f);
}

/* ---- one moment ---- */

/* A is always changed before B; C is one slot over four blocks; D one of two slots that share a block. */
#define A 0
#define B (20 * SLOT)
#define C (10 * SLOT + 3 * G)
#define D (5 * SLOT + 4 * G)

static _Atomic bool saver_done;

static void *change_in_order(void *arg)
{
    struct worker *w = arg;
    for (uint64_t i = 1; !saver_done; i++) {
        uint64_t foffset = i * G % (UINT64_C(1) << 40);
        NEED(w, oriel_dax_setup(f.dax, 1, foffset, SLOT, A, R) == 0);
        NEED(w, oriel_dax_setup(f.dax, 2, foffset, 4 * SLOT, C, i % 2 ? R : RW) == 0);
        NEED(w, oriel_dax_setup(f.dax, 3, foffset, 4 * G, D, R) == 0);
        NEED(w, oriel_dax_setup(f.dax, 4, foffset, SLOT, B, R) == 0);
        if (i % 7 == 0)
            NEED(w, oriel_dax_fault(f.dax, GPA + A, ORIEL_DAX_WRITE) == ORIEL_FAULT_RESUME);
    }
    return NULL;
}

static void *save_many(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 3000 && w->failed == 0; i++) {
        unsigned char blob[ORIEL_DAXS_HEADER + 5 * ORIEL_DAXS_ENTRY];
        size_t size;
        NEED(w, oriel_dax_save(f.dax, blob, sizeof(blob), &size) == 0);
        NEED(w, le64_load(blob + 40) == 5);
        const struct oriel_dax_slot a = oriel_daxs_entry(blob, 0), d0 = oriel_daxs_entry(blob, 1),
                                    d = oriel_daxs_entry(blob, 2), c = oriel_daxs_entry(blob, 3),
                                    b = oriel_daxs_entry(blob, 4);
        NEED(w, a.moffset == A && d0.nodeid == 5 && d.moffset == D && c.moffset == C && b.moffset == B);
        NEED(w, c.len == 4 * SLOT && d.len == 4 * G);
        /* In the order in which they are changed: each is as new as the next, or one step newer. */
        NEED(w, a.foffset >= c.foffset && c.foffset >= d.foffset && d.foffset >= b.foffset);
        NEED(w, a.foffset - b.foffset <= G);
    }
    saver_done = true;
    return NULL;
}

static void *save_or_change(void *arg)
{
    struct worker *w = arg;
    return w->number == 0 ? save_many(arg) : change_in_order(arg);
}

static void a_save_is_one_moment_while_others_change_the_table(void **state)
{
    (void)state;
    struct worker w[2];
    fixture_start(&f, WINDOW);
    for (int i = 1; i <= NODES; i++)
        assert_int_equal(ftruncate(f.fds[i], (off_t)1 << 42), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 5, 0, 4 * G, D - 4 * G, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, A, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, 4 * SLOT, C, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 0, 4 * G, D, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 4, 0, SLOT, B, R), 0);
    saver_done = false;
    run(save_or_change, w, 2);
    fixture_stop(&f);
}

/* ---- single flight ---- */

static pthread_barrier_t barrier;

static void *fault_together(void *arg)
{
    struct worker *w = arg;
    for (uint64_t i = 0; i < 208; i++) {
        pthread_barrier_wait(&barrier);
        NEED(w, oriel_dax_fault(f.dax, GPA + i % 16 * SLOT + w->number * G, R) == ORIEL_FAULT_RESUME);
        pthread_barrier_wait(&barrier);
        /* Between the rounds one thread makes all slots SAVED again. */
        if (w->number == 0 && i % 16 == 15) {
            static unsigned char blob[ORIEL_DAXS_HEADER + 16 * ORIEL_DAXS_ENTRY];
            size_t size;
            NEED(w, oriel_dax_save(f.dax, blob, sizeof(blob), &size) == 0);
            NEED(w, oriel_dax_load(f.dax, blob, size) == 0);
        }
    }
    return NULL;
}

static void each_slot_is_bound_once_however_many_threads_fault(void **state)
{
    (void)state;
    struct worker w[THREADS];
    fixture_start(&f, WINDOW);
    for (uint64_t i = 0; i < 16; i++)
        assert_int_equal(oriel_dax_setup(f.dax, 1, 0, SLOT, i * SLOT, R), 0);
    unsigned char blob[ORIEL_DAXS_HEADER + 16 * ORIEL_DAXS_ENTRY];
    size_t size;
    assert_int_equal(oriel_dax_save(f.dax, blob, sizeof(blob), &size), 0);
    assert_int_equal(oriel_dax_load(f.dax, blob, size), 0);
    pthread_barrier_init(&barrier, NULL, THREADS);
    run(fault_together, w, THREADS);
    pthread_barrier_destroy(&barrier);
    assert_int_equal(fixture_stats(&f).fault_binds, 208);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_at_once_ends_in_agreement),
        cmocka_unit_test(the_cap_is_used_to_the_last_granule_by_many_threads),
        cmocka_unit_test(the_cap_never_refuses_what_fits),
        cmocka_unit_test(a_save_is_one_moment_while_others_change_the_table),
        cmocka_unit_test(each_slot_is_bound_once_however_many_threads_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
