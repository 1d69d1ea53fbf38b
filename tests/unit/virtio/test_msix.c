/* A vector raised by one thread while another masks and unmasks it: no interrupt is lost, none comes masked. */
#include "virtio/msix.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/le.h"

#define RAISES 20000u

struct fixture {
    struct msix msix;
    atomic_uint work, seen, fires;
    atomic_bool done;
};

static void on_fire(void *opaque, uint16_t vector)
{
    struct fixture *f = opaque;
    assert_int_equal(vector, 1);
    atomic_fetch_add(&f->fires, 1);
    unsigned work = atomic_load(&f->work), seen = atomic_load(&f->seen);
    while (seen < work && !atomic_compare_exchange_weak(&f->seen, &seen, work))
        ;
}

static void *raise_often(void *opaque)
{
    struct fixture *f = opaque;
    for (unsigned i = 0; i < RAISES; i++) {
        atomic_fetch_add(&f->work, 1);
        msix_raise(&f->msix, 1);
        if (i % 64 == 0)
            sched_yield();
    }
    atomic_store(&f->done, true);
    return NULL;
}

static void write_mask(struct fixture *f, uint32_t masked)
{
    unsigned char data[4];
    le32_store(data, masked);
    msix_table_write(&f->msix, MSIX_ENTRY_LEN + 12, data, sizeof(data));
}

static void mask_by_entry(struct fixture *f, bool masked)
{
    write_mask(f, masked);
}

static void mask_by_function(struct fixture *f, bool masked)
{
    msix_set_control(&f->msix, MSIX_CONTROL_ENABLE | (masked ? MSIX_CONTROL_MASK : 0));
}

static void race(void (*mask)(struct fixture *f, bool masked))
{
    static struct fixture f;
    pthread_t raiser;
    msix_init(&f.msix, 2, NULL, on_fire, &f);
    atomic_store(&f.work, 0);
    atomic_store(&f.seen, 0);
    atomic_store(&f.fires, 0);
    atomic_store(&f.done, false);
    msix_set_control(&f.msix, MSIX_CONTROL_ENABLE);
    write_mask(&f, 0);
    assert_int_equal(pthread_create(&raiser, NULL, raise_often, &f), 0);
    for (unsigned i = 0; !atomic_load(&f.done); i++) {
        mask(&f, i % 2 == 0);
        sched_yield();
    }
    pthread_join(raiser, NULL);
    mask(&f, true);
    mask(&f, false);
    uint64_t pending = 0;
    msix_pba_read(&f.msix, 0, &pending, sizeof(pending));
    assert_int_equal(pending, 0);
    assert_true(atomic_load(&f.fires) > 0);
    assert_int_equal(atomic_load(&f.seen), RAISES); /* the last one was heard of */
}

static void none_is_lost_at_the_entry(void **state)
{
    (void)state;
    race(mask_by_entry);
}

static void none_is_lost_at_the_function(void **state)
{
    (void)state;
    race(mask_by_function);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_lost_at_the_entry),
        cmocka_unit_test(none_is_lost_at_the_function),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
