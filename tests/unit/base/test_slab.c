#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slab.h"

struct thing {
    struct slab_item item;
    int value;
};

static void ids_find_only_what_lives(void **state)
{
    (void)state;
    struct slab slab;
    assert_int_equal(slab_init(&slab, sizeof(struct thing), 10), 0);
    struct thing *a = slab_take(&slab);
    assert_int_equal(slab_id(a), 1);
    assert_null(slab_get(&slab, 1)); /* not published yet */
    slab_publish(a);
    assert_ptr_equal(slab_get(&slab, 1), a);
    assert_null(slab_get(&slab, 0));
    assert_null(slab_get(&slab, 2));
    assert_null(slab_get(&slab, 1 | UINT64_C(1) << 32));
    assert_null(slab_get(&slab, UINT64_MAX));
    assert_int_equal(slab_kill(a), SLAB_KILLED);
    assert_int_equal(slab_kill(a), SLAB_NOT_LIVE);
    assert_null(slab_get(&slab, 1));
    assert_true(slab_put(a));
    slab_retire(&slab, a);
    struct thing *b = slab_take(&slab);
    assert_ptr_equal(a, b);
    slab_publish(b);
    assert_int_equal(slab_id(b), 1 | UINT64_C(1) << 32);
    assert_null(slab_get(&slab, 1));
    assert_int_equal(slab_kill(b), SLAB_LAST);
    slab_retire(&slab, b);
    slab_destroy(&slab);
}

static void revived_objects_keep_their_id(void **state)
{
    (void)state;
    struct slab slab;
    assert_int_equal(slab_init(&slab, sizeof(struct thing), 10), 0);
    struct thing *a = slab_take(&slab);
    slab_publish(a);
    assert_ptr_equal(slab_get(&slab, 1), a);
    assert_int_equal(slab_kill(a), SLAB_KILLED);
    slab_revive(a);
    assert_false(slab_put(a));
    assert_true(slab_is_live(a));
    assert_int_equal(slab_kill(a), SLAB_LAST);
    assert_true(slab_is_dead(a));
    slab_revive(a);
    assert_ptr_equal(slab_get(&slab, 1), a);
    slab_destroy(&slab);
}

static void capacity_is_kept(void **state)
{
    (void)state;
    enum { CAPACITY = 1500 };
    static struct thing *things[CAPACITY];
    struct slab slab;
    assert_int_equal(slab_init(&slab, sizeof(struct thing), CAPACITY), 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CAPACITY; i++) {
            things[i] = slab_take(&slab);
            assert_non_null(things[i]);
            assert_int_equal(things[i]->value, 0);
            things[i]->value = i;
        }
        assert_null(slab_take(&slab));
        assert_int_equal(slab_in_use(&slab), CAPACITY);
        for (int i = 0; i < CAPACITY; i++) {
            assert_int_equal(things[i]->value, i);
            assert_int_equal(slab_generation(things[i]), round);
            slab_retire(&slab, things[i]);
        }
    }
    assert_int_equal(slab_in_use(&slab), 0);
    assert_int_equal(slab_end(&slab), CAPACITY + 1);
    assert_null(slab_at(&slab, 0));
    assert_null(slab_at(&slab, CAPACITY + 1));
    slab_destroy(&slab);
}

/* After all generations a slot is given up: an old id must never become good again. */
static void the_last_generation_is_the_last(void **state)
{
    (void)state;
    struct slab slab;
    assert_int_equal(slab_init(&slab, sizeof(struct thing), 1), 0);
    struct thing *a = slab_take(&slab);
    atomic_store(&a->item.word, (uint64_t)UINT32_MAX << 32);
    slab_retire(&slab, a);
    assert_null(slab_take(&slab));
    slab_destroy(&slab);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_find_only_what_lives),
        cmocka_unit_test(revived_objects_keep_their_id),
        cmocka_unit_test(capacity_is_kept),
        cmocka_unit_test(the_last_generation_is_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
