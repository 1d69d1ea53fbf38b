/* Two calls on one range at once, each time at the worst moment: while the source works for the first one. */
#include "dax_fixture.h"

#include <pthread.h>
#include <time.h>

#include "dax/session.h"

struct race {
    struct fixture f;
    pthread_t thread;
    void *(*other)(void *race);
    bool started;
    int result;
    uint64_t waits_before;
};

static struct race race;

/* Read as it is: oriel_dax_stats() itself waits while a reset waits for us. */
static uint64_t waits(const struct fixture *f)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i <= f->dax->shard_mask; i++)
        sum += f->dax->counters[i].count[COUNT_WAITS];
    return sum;
}

/* Runs in the first call, which holds its claim: starts the other one and lets it run into the claim. */
static void start_other_and_see_it_wait(struct fixture *f)
{
    if (race.started)
        return;
    race.started = true;
    race.waits_before = waits(f);
    assert_int_equal(pthread_create(&race.thread, NULL, race.other, &race), 0);
    for (int i = 0; i < 10000; i++) {
        struct timespec ms = {0, 1000000};
        nanosleep(&ms, NULL);
        if (waits(f) > race.waits_before)
            return;
    }
    fail_msg("the other call did not wait");
}

static void start(void *(*other)(void *race))
{
    race = (struct race){.other = other};
    fixture_start(&race.f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(race.f.dax, 1, 0, SLOT, 0, R), 0);
    oriel_recorder_fail_at(race.f.recorder, 1, -EIO, ORIEL_RANGE_LOST);
    assert_int_equal(oriel_dax_setup(race.f.dax, 1, 0, SLOT, 0, R), -EIO);
    race.f.on_acquire = start_other_and_see_it_wait;
}

static void finish(void)
{
    pthread_join(race.thread, NULL);
    race.f.on_acquire = NULL;
}

static void *fault_too(void *arg)
{
    struct race *r = arg;
    r->result = oriel_dax_fault(r->f.dax, GPA + 4096, R);
    return NULL;
}

static void a_losing_concurrent_fault_never_tears_down_the_winners_mapping(void **state)
{
    (void)state;
    start(fault_too);
    uint64_t maps = oriel_recorder_counts(race.f.recorder).maps;
    assert_int_equal(oriel_dax_fault(race.f.dax, GPA, R), ORIEL_FAULT_RESUME);
    finish();
    assert_int_equal(race.result, ORIEL_FAULT_RESUME);
    assert_int_equal(oriel_recorder_counts(race.f.recorder).maps, maps + 1);
    assert_int_equal(oriel_recorder_counts(race.f.recorder).unmaps, 0);
    assert_shows(&race.f, 0, SLOT, 1, 0, R);
    fixture_stop(&race.f);
}

static void the_loser_of_a_fault_that_fails_tries_itself(void **state)
{
    (void)state;
    start(fault_too);
    oriel_recorder_fail_at(race.f.recorder, 1, -EIO, ORIEL_RANGE_KEPT);
    assert_int_equal(oriel_dax_fault(race.f.dax, GPA, R), -EIO);
    finish();
    assert_int_equal(race.result, ORIEL_FAULT_RESUME);
    assert_shows(&race.f, 0, SLOT, 1, 0, R);
    fixture_stop(&race.f);
}

static void *remove_it(void *arg)
{
    struct race *r = arg;
    r->result = remove_range(&r->f, 0, SLOT);
    return NULL;
}

static void remove_during_a_fault(void **state)
{
    (void)state;
    start(remove_it);
    assert_int_equal(oriel_dax_fault(race.f.dax, GPA, R), ORIEL_FAULT_RESUME);
    finish();
    assert_int_equal(race.result, 0);
    assert_shows_nothing(&race.f, 0, SLOT);
    assert_int_equal(fixture_stats(&race.f).slots, 0);
    assert_int_equal(oriel_dax_fault(race.f.dax, GPA, R), ORIEL_FAULT_UNMAPPED);
    fixture_stop(&race.f);
}

static void *remove_and_set_up_another(void *arg)
{
    struct race *r = arg;
    r->result = remove_range(&r->f, 0, SLOT);
    r->result |= oriel_dax_setup(r->f.dax, 2, SLOT, SLOT, 0, RW);
    return NULL;
}

static void remove_then_setup_of_another_file_during_a_fault(void **state)
{
    (void)state;
    start(remove_and_set_up_another);
    assert_int_equal(oriel_dax_fault(race.f.dax, GPA, R), ORIEL_FAULT_RESUME);
    finish();
    assert_int_equal(race.result, 0);
    assert_shows(&race.f, 0, SLOT, 2, SLOT, RW);
    assert_int_equal(oriel_dax_fault(race.f.dax, GPA, ORIEL_DAX_WRITE), ORIEL_FAULT_RESUME);
    assert_shows(&race.f, 0, SLOT, 2, SLOT, RW);
    fixture_stop(&race.f);
}

static void *set_up_a_wide_one(void *arg)
{
    struct race *r = arg;
    r->result = oriel_dax_setup(r->f.dax, 3, 0, 4 * SLOT, 0, R);
    return NULL;
}

static void a_wide_setup_waits_for_the_block_it_meets(void **state)
{
    (void)state;
    start(set_up_a_wide_one);
    assert_int_equal(oriel_dax_fault(race.f.dax, GPA, ORIEL_DAX_WRITE), ORIEL_FAULT_RESUME);
    finish();
    assert_int_equal(race.result, 0);
    assert_shows(&race.f, 0, 4 * SLOT, 3, 0, R);
    fixture_stop(&race.f);
}

static void *reset_it(void *arg)
{
    struct race *r = arg;
    oriel_dax_reset(r->f.dax);
    r->result = (int)fixture_stats(&r->f).slots;
    return NULL;
}

static void reset_waits_for_a_fault_and_leaves_nothing(void **state)
{
    (void)state;
    start(reset_it);
    (void)oriel_dax_fault(race.f.dax, GPA, R);
    finish();
    assert_int_equal(race.result, 0);
    assert_shows_nothing(&race.f, 0, 64 * MIB);
    fixture_stop(&race.f);
}

/* ---- a save never waits for what source and mapper do ---- */

static unsigned char blob[4096];
static size_t blob_size;

static void save_now(struct fixture *f)
{
    assert_int_equal(oriel_dax_save(f->dax, blob, sizeof(blob), &blob_size), 0);
}

static void save_during_a_setup_shows_the_moment_before(void **state)
{
    (void)state;
    struct fixture f;
    unsigned char before[4096];
    fixture_start(&f, 64 * MIB);
    assert_int_equal(oriel_dax_setup(f.dax, 1, 0, 4 * SLOT, 0, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 2, 0, 4 * G, 5 * SLOT, R), 0);
    assert_int_equal(oriel_dax_setup(f.dax, 3, 0, 4 * G, 5 * SLOT + 4 * G, R), 0);
    save_now(&f);
    memcpy(before, blob, blob_size);
    size_t before_size = blob_size;
    f.on_acquire = save_now; /* the same thread, in the middle of its own change */
    assert_int_equal(oriel_dax_setup(f.dax, 4, 0, 5 * SLOT, SLOT, RW), 0);
    assert_int_equal(blob_size, before_size);
    assert_memory_equal(blob, before, before_size);
    f.on_acquire = NULL;
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_losing_concurrent_fault_never_tears_down_the_winners_mapping),
        cmocka_unit_test(the_loser_of_a_fault_that_fails_tries_itself),
        cmocka_unit_test(remove_during_a_fault),
        cmocka_unit_test(remove_then_setup_of_another_file_during_a_fault),
        cmocka_unit_test(a_wide_setup_waits_for_the_block_it_meets),
        cmocka_unit_test(reset_waits_for_a_fault_and_leaves_nothing),
        cmocka_unit_test(save_during_a_setup_shows_the_moment_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
