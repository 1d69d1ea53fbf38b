/* File locks: the cases of fcntl(2) by hand, and random ranges against one byte per place. */
#include "memory_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static int set_lock(struct mem *mem, void *file, uint64_t owner, uint32_t type, uint64_t start, uint64_t end)
{
    struct oriel_fs_lock lock = {
        .owner = owner, .type = type, .start = start, .end = end, .pid = (uint32_t)owner};
    return mem->ops->setlk(mem->p, file, NULL, &lock);
}

static struct oriel_fs_lock test_lock(struct mem *mem, void *file, uint64_t owner, uint32_t type,
                                      uint64_t start, uint64_t end)
{
    struct oriel_fs_lock lock = {.owner = owner, .type = type, .start = start, .end = end};
    assert_int_equal(mem->ops->getlk(mem->p, file, NULL, &lock), 0);
    return lock;
}

static void ranges_split_merge_and_conflict(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    assert_int_equal(set_lock(mem, file, 1, F_WRLCK, 0, 99), 0);
    assert_int_equal(set_lock(mem, file, 2, F_RDLCK, 99, 200), -EAGAIN);
    assert_int_equal(set_lock(mem, file, 2, F_RDLCK, 100, 200), 0);
    assert_int_equal(set_lock(mem, file, 1, F_RDLCK, 150, 160), 0); /* readers share */
    assert_int_equal(set_lock(mem, file, 1, F_UNLCK, 40, 59), 0);
    struct oriel_fs_lock found = test_lock(mem, file, 2, F_WRLCK, 30, 70);
    assert_int_equal(found.type, F_WRLCK);
    assert_int_equal(found.owner, 1);
    assert_int_equal(found.pid, 1);
    assert_int_equal(test_lock(mem, file, 2, F_WRLCK, 40, 59).type, F_UNLCK);
    assert_int_equal(set_lock(mem, file, 1, F_WRLCK, 40, 59), 0);
    found = test_lock(mem, file, 2, F_RDLCK, 50, 50); /* one lock again */
    assert_int_equal(found.start, 0);
    assert_int_equal(found.end, 99);
    assert_int_equal(mem->ops->flush(mem->p, file, NULL, 1), 0);
    assert_int_equal(test_lock(mem, file, 3, F_RDLCK, 0, INT64_MAX).type, F_UNLCK);
    assert_int_equal(set_lock(mem, file, 3, 77, 0, 1), -EINVAL);
    assert_int_equal(set_lock(mem, file, 3, F_WRLCK, 2, 1), -EINVAL);
    mem_close(mem, file);
    mem_free(mem);
}

static void flock_locks_are_apart(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    struct oriel_fs_lock lock = {.owner = 1, .type = F_WRLCK, .end = INT64_MAX, .flock = true};
    assert_int_equal(mem->ops->setlk(mem->p, file, NULL, &lock), 0);
    assert_int_equal(set_lock(mem, file, 2, F_WRLCK, 0, INT64_MAX), 0); /* a record lock does not meet it */
    lock.owner = 2;
    assert_int_equal(mem->ops->setlk(mem->p, file, NULL, &lock), -EAGAIN);
    lock.owner = 1;
    lock.type = F_RDLCK;
    assert_int_equal(mem->ops->setlk(mem->p, file, NULL, &lock), 0);
    lock.owner = 2;
    assert_int_equal(mem->ops->setlk(mem->p, file, NULL, &lock), 0);
    struct oriel_fs_opened opened;
    assert_int_equal(mem->ops->open(mem->p, &mem->caller, file, O_RDWR, 0, &opened), 0);
    mem->ops->release(mem->p, file, opened.handle, 1, true);
    lock.type = F_WRLCK;
    assert_int_equal(mem->ops->setlk(mem->p, file, NULL, &lock), 0);
    mem_close(mem, file);
    mem_free(mem);
}

/* Regression: F_GETLK is to name the conflict that begins first, whatever the order of locking. */
static void the_first_conflict_is_named(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    assert_int_equal(set_lock(mem, file, 1, F_WRLCK, 0, 1), 0);
    assert_int_equal(set_lock(mem, file, 1, F_WRLCK, 10, 11), 0);
    assert_int_equal(set_lock(mem, file, 1, F_WRLCK, 5, 6), 0);
    assert_int_equal(test_lock(mem, file, 2, F_RDLCK, 0, 100).start, 0);
    assert_int_equal(test_lock(mem, file, 2, F_RDLCK, 2, 100).start, 5);
    mem_close(mem, file);
    mem_free(mem);
}

/* Regression: flock(2) gives the old lock up before it asks for another kind. */
static void a_failed_conversion_loses_the_lock(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    struct oriel_fs_lock lock = {.owner = 1, .type = F_RDLCK, .end = INT64_MAX, .flock = true};
    assert_int_equal(mem->ops->setlk(mem->p, file, NULL, &lock), 0);
    lock.owner = 2;
    assert_int_equal(mem->ops->setlk(mem->p, file, NULL, &lock), 0);
    lock.type = F_WRLCK;
    assert_int_equal(mem->ops->setlk(mem->p, file, NULL, &lock), -EAGAIN);
    lock.owner = 1;
    assert_int_equal(mem->ops->setlk(mem->p, file, NULL, &lock), 0);
    mem_close(mem, file);
    mem_free(mem);
}

/* Regression: a client never unlocks what F_OFD_SETLK locked; the end of the handle does. */
static void locks_end_with_their_handle(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    struct oriel_fs_opened opened;
    assert_int_equal(mem->ops->open(mem->p, &mem->caller, file, O_RDWR, 0, &opened), 0);
    struct oriel_fs_lock lock = {.owner = 1, .type = F_WRLCK, .end = 9};
    assert_int_equal(mem->ops->setlk(mem->p, file, opened.handle, &lock), 0);
    assert_int_equal(mem->ops->flush(mem->p, file, opened.handle, 77), 0);
    assert_int_equal(set_lock(mem, file, 2, F_WRLCK, 0, 9), -EAGAIN);
    mem->ops->release(mem->p, file, opened.handle, 0, false);
    assert_int_equal(set_lock(mem, file, 2, F_WRLCK, 0, 9), 0);
    mem_close(mem, file);
    mem_free(mem);
}

static void records_are_bounded_and_can_always_be_given_back(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    /* One record in each of many files would do as well; here in one, from its end, as the list is searched.
     */
    int error = 0;
    uint64_t files = 0;
    void *held[70];
    while (error == 0) {
        char name[16];
        snprintf(name, sizeof(name), "g%d", (int)files);
        held[files] = mem_file(mem, mem->root, name, 0644, NULL);
        for (uint64_t i = 0; i < 1000 && error == 0; i++)
            error = set_lock(mem, held[files], 1, F_RDLCK, i * 2, i * 2);
        files++;
    }
    assert_int_equal(error, -ENOLCK);
    assert_int_equal(files, 66);
    assert_int_equal(set_lock(mem, file, 2, F_RDLCK, 0, 10), -ENOLCK);
    assert_int_equal(set_lock(mem, held[0], 1, F_UNLCK, 0, INT64_MAX), 0);
    assert_int_equal(set_lock(mem, file, 2, F_RDLCK, 0, 10), 0);
    for (uint64_t i = 0; i < files; i++)
        mem_close(mem, held[i]);
    mem_close(mem, file);
    mem_free(mem);
}

#define PLACES 40
#define OWNERS 3

static void random_ranges_agree_with_bytes(void **state)
{
    (void)state;
    const char *given = getenv("ORIEL_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 99;
    print_message("ORIEL_TEST_SEED=%u\n", seed);
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    uint32_t held[OWNERS][PLACES];
    for (int o = 0; o < OWNERS; o++)
        for (int i = 0; i < PLACES; i++)
            held[o][i] = F_UNLCK;
    for (int step = 0; step < 20000; step++) {
        int owner = rand_r(&seed) % OWNERS;
        int start = rand_r(&seed) % PLACES;
        int end = start + rand_r(&seed) % (PLACES - start);
        uint32_t type = (uint32_t[]){F_RDLCK, F_WRLCK, F_UNLCK}[rand_r(&seed) % 3];
        bool conflict = false;
        for (int o = 0; o < OWNERS; o++)
            for (int i = start; i <= end; i++)
                conflict = conflict || (o != owner && type != F_UNLCK && held[o][i] != F_UNLCK &&
                                        (type == F_WRLCK || held[o][i] == F_WRLCK));
        if (type != F_UNLCK) {
            struct oriel_fs_lock seen =
                test_lock(mem, file, (uint64_t)owner, type, (uint64_t)start, (uint64_t)end);
            assert_int_equal(seen.type != F_UNLCK, conflict);
            if (conflict) /* what it names is really so, over its whole range */
                for (uint64_t i = seen.start; i <= seen.end; i++)
                    assert_int_equal(held[seen.owner][i], seen.type);
        }
        int error = set_lock(mem, file, (uint64_t)owner, type, (uint64_t)start, (uint64_t)end);
        assert_int_equal(error, conflict ? -EAGAIN : 0);
        for (int i = start; i <= end && !conflict; i++)
            held[owner][i] = type;
    }
    mem_close(mem, file);
    mem_free(mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_split_merge_and_conflict),
        cmocka_unit_test(flock_locks_are_apart),
        cmocka_unit_test(the_first_conflict_is_named),
        cmocka_unit_test(a_failed_conversion_loses_the_lock),
        cmocka_unit_test(locks_end_with_their_handle),
        cmocka_unit_test(records_are_bounded_and_can_always_be_given_back),
        cmocka_unit_test(random_ranges_agree_with_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
