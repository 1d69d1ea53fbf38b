#include "virtio/split_queue.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "driver_ring.h"

#define RAM_GPA  UINT64_C(0x100000)
#define RAM_LEN  UINT64_C(0x40000)
#define HIGH_GPA (RAM_GPA + RAM_LEN) /* adjacent in the guest, elsewhere in the host */
#define HIGH_LEN UINT64_C(0x1000)
#define SIZE     8

#define ALL_FEATURES (DRIVER_F_VERSION_1 | DRIVER_F_INDIRECT | DRIVER_F_EVENT_IDX)

struct fixture {
    unsigned char *ram, *high;
    struct oriel_memory *memory;
    struct driver_ring driver;
    struct split_queue queue;
    struct split_queue_chain chain;
    uint64_t in, out; /* buffers of 256 bytes */
};

static void start(struct fixture *f, uint64_t features)
{
    struct oriel_virtio_queue_setup setup = driver_setup(&f->driver);
    assert_int_equal(split_queue_start(&f->queue, &setup, features, f->memory), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->ram = aligned_alloc(4096, RAM_LEN);
    f->high = aligned_alloc(4096, HIGH_LEN);
    assert_non_null(f->ram);
    assert_non_null(f->high);
    memset(f->ram, 0, RAM_LEN);
    struct oriel_memory_region regions[] = {{.gpa = RAM_GPA, .len = RAM_LEN, .host = f->ram},
                                            {.gpa = HIGH_GPA, .len = HIGH_LEN, .host = f->high}};
    assert_int_equal(oriel_memory_create(regions, 2, &f->memory), 0);
    driver_ring_init(&f->driver, f->ram, RAM_GPA, RAM_LEN, RAM_GPA, SIZE);
    f->in = driver_alloc(&f->driver, 256, 16);
    f->out = driver_alloc(&f->driver, 256, 16);
    start(f, ALL_FEATURES);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    oriel_memory_unref(f->memory);
    free(f->high);
    free(f->ram);
    free(f);
    return 0;
}

static int pop(struct fixture *f)
{
    return split_queue_pop(&f->queue, f->memory, &f->chain);
}

static void desc(struct fixture *f, unsigned index, uint64_t addr, uint32_t len, unsigned flags,
                 unsigned next)
{
    driver_write_desc(&f->driver, f->driver.desc, index, addr, len, (uint16_t)flags, (uint16_t)next);
}

/* The queue is broken, says so again, and stays so when the driver repairs the ring. */
static void assert_broken(struct fixture *f)
{
    assert_int_equal(pop(f), -EIO);
    assert_non_null(f->queue.broken);
    desc(f, 0, f->in, 8, 0, 0);
    assert_int_equal(pop(f), -EIO);
}

/* The chain was taken with this verdict, and the next one is fine. */
static void assert_verdict(struct fixture *f, enum split_queue_verdict verdict)
{
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.verdict, verdict);
    desc(f, 7, f->in, 8, 0, 0);
    driver_offer(&f->driver, 7);
    struct split_queue_chain *bad = malloc(sizeof(*bad));
    assert_non_null(bad);
    *bad = f->chain;
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.verdict, SPLIT_QUEUE_GOOD);
    f->chain = *bad;
    free(bad);
}

/* ---- good rings ---- */

static void an_empty_ring_has_nothing(void **state)
{
    assert_int_equal(pop(*state), 0);
}

static void a_chain_becomes_vectors(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {
        {f->in, 40, false}, {f->in + 64, 8, false}, {f->out, 16, true}, {f->out + 64, 4, true}};
    driver_write_chain(&f->driver, f->driver.desc, 2, parts, 4);
    driver_offer(&f->driver, 2);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.head, 2);
    assert_int_equal(f->chain.verdict, SPLIT_QUEUE_GOOD);
    assert_int_equal(f->chain.in_count, 2);
    assert_int_equal(f->chain.out_count, 2);
    for (size_t i = 0; i < 4; i++) {
        assert_ptr_equal(f->chain.iov[i].iov_base, driver_host(&f->driver, parts[i].addr));
        assert_int_equal(f->chain.iov[i].iov_len, parts[i].len);
    }
    assert_int_equal(pop(f), 0);
}

static void buffers_side_by_side_become_one_vector(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {{f->out - 16, 8, false}, {f->out - 8, 8, false}, {f->out, 16, true},
                                  {f->out + 16, 8, true},  {f->out + 25, 7, true}, {f->out + 32, 1, true}};
    driver_write_chain(&f->driver, f->driver.desc, 0, parts, 6);
    driver_offer(&f->driver, 0);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.in_count, 1);
    assert_int_equal(f->chain.out_count, 2);
    assert_int_equal(f->chain.iov[0].iov_len, 16); /* what is read never runs on into what is written */
    assert_int_equal(f->chain.iov[1].iov_len, 24);
    assert_int_equal(f->chain.iov[2].iov_len, 8);
    assert_ptr_equal(f->chain.iov[2].iov_base, driver_host(&f->driver, f->out + 25));
}

static void a_merged_buffer_may_span_regions(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {
        {HIGH_GPA - 16, 8, false}, {HIGH_GPA - 8, 16, false}, {HIGH_GPA + 8, 8, false}};
    driver_write_chain(&f->driver, f->driver.desc, 0, parts, 3);
    driver_offer(&f->driver, 0);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.in_count, 2);
    assert_int_equal(f->chain.iov[0].iov_len, 16);
    assert_int_equal(f->chain.iov[1].iov_len, 16);
    assert_ptr_equal(f->chain.iov[1].iov_base, f->high);
}

static void an_indirect_table_becomes_vectors(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[SIZE];
    for (unsigned i = 0; i < SIZE; i++)
        parts[i] = (struct driver_part){i < 5 ? f->in + 16 * i : f->out + 16 * i, 1 + i, i >= 5};
    driver_write_indirect(&f->driver, 3, parts, SIZE);
    driver_offer(&f->driver, 3);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.head, 3);
    assert_int_equal(f->chain.in_count, 5);
    assert_int_equal(f->chain.out_count, 3);
    assert_ptr_equal(f->chain.iov[7].iov_base, driver_host(&f->driver, f->out + 112));
    assert_int_equal(f->chain.iov[7].iov_len, 8);
}

static void ordinary_descriptors_may_lead_to_a_table(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {{f->in + 64, 8, false}, {f->out, 16, true}};
    desc(f, 0, f->in, 40, DRIVER_NEXT, 5);
    driver_write_indirect(&f->driver, 5, parts, 2);
    driver_offer(&f->driver, 0);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.in_count, 2);
    assert_int_equal(f->chain.out_count, 1);
}

static void the_write_flag_of_a_table_is_ignored(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {{f->in, 40, false}, {f->out, 16, true}};
    uint64_t table = driver_write_indirect(&f->driver, 0, parts, 2);
    desc(f, 0, table, 32, DRIVER_INDIRECT | DRIVER_WRITE, 0);
    driver_offer(&f->driver, 0);
    assert_verdict(f, SPLIT_QUEUE_GOOD);
    assert_int_equal(f->chain.in_count, 1);
}

static void a_table_may_span_regions(void **state)
{
    struct fixture *f = *state;
    uint64_t table = HIGH_GPA - 16;
    driver_write_desc(&f->driver, table, 0, f->in, 40, DRIVER_NEXT, 1);
    memcpy(f->high, driver_host(&f->driver, table), 16);
    le16_store(f->high + 12, 0);
    desc(f, 0, table, 32, DRIVER_INDIRECT, 0);
    driver_offer(&f->driver, 0);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.in_count, 2);
}

static void a_buffer_may_span_regions(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, HIGH_GPA - 8, 24, 0, 0);
    driver_offer(&f->driver, 0);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.in_count, 2);
    assert_int_equal(f->chain.iov[0].iov_len, 8);
    assert_ptr_equal(f->chain.iov[1].iov_base, f->high);
}

static void a_chain_may_be_as_long_as_the_queue(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[SIZE];
    for (unsigned i = 0; i < SIZE; i++)
        parts[i] = (struct driver_part){f->in, 1, false};
    driver_write_chain(&f->driver, f->driver.desc, 0, parts, SIZE);
    driver_offer(&f->driver, 0);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.in_count, SIZE);
}

static void empty_buffers_are_skipped(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {
        {0xdead0000, 0, false}, {f->in, 40, false}, {0, 0, true}, {f->out, 16, true}};
    driver_write_chain(&f->driver, f->driver.desc, 0, parts, 4);
    driver_offer(&f->driver, 0);
    assert_verdict(f, SPLIT_QUEUE_GOOD);
    assert_int_equal(f->chain.in_count, 1);
    assert_int_equal(f->chain.out_count, 1);
}

static void a_chain_of_nothing_is_taken(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, 0, 0, 0, 0);
    driver_offer(&f->driver, 0);
    assert_verdict(f, SPLIT_QUEUE_GOOD);
    assert_int_equal(f->chain.in_count + f->chain.out_count, 0);
}

static void no_writable_part_is_taken(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->in, 56, 0, 0);
    driver_offer(&f->driver, 0);
    assert_verdict(f, SPLIT_QUEUE_GOOD);
    assert_int_equal(f->chain.out_count, 0);
}

static void a_full_ring_is_taken_whole(void **state)
{
    struct fixture *f = *state;
    for (uint16_t i = 0; i < SIZE; i++) {
        desc(f, i, f->in, 8, 0, 0);
        driver_offer(&f->driver, i);
    }
    for (uint16_t i = 0; i < SIZE; i++) {
        assert_int_equal(pop(f), 1);
        assert_int_equal(f->chain.head, i);
    }
    assert_int_equal(pop(f), 0);
}

static void indices_wrap(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_queue_setup setup = driver_setup(&f->driver);
    setup.avail_index = setup.used_index = 0xfffe;
    driver_set_avail_index(&f->driver, 0xfffe);
    f->driver.next_used = 0xfffe;
    le16_store(driver_host(&f->driver, f->driver.used + 2), 0xfffe);
    assert_int_equal(split_queue_start(&f->queue, &setup, ALL_FEATURES, f->memory), 0);
    for (uint16_t i = 0; i < 5; i++) {
        uint32_t id, len;
        desc(f, i, f->in, 8, 0, 0);
        driver_offer(&f->driver, i);
        assert_int_equal(pop(f), 1);
        split_queue_push(&f->queue, f->chain.head, 100u + i);
        (void)split_queue_publish(&f->queue);
        assert_true(driver_take_used(&f->driver, &id, &len));
        assert_int_equal(id, i);
        assert_int_equal(len, 100u + i);
    }
    struct oriel_virtio_queue_setup where;
    split_queue_state(&f->queue, &where);
    assert_int_equal(where.avail_index, 3);
    assert_int_equal(where.used_index, 3);
    assert_int_equal(where.desc, f->driver.desc);
}

static void bad_setups_are_refused(void **state)
{
    struct fixture *f = *state;
    struct oriel_virtio_queue_setup good = driver_setup(&f->driver), bad;
    bad = good, bad.size = 0;
    assert_int_equal(split_queue_start(&f->queue, &bad, ALL_FEATURES, f->memory), -EINVAL);
    bad = good, bad.size = 6;
    assert_int_equal(split_queue_start(&f->queue, &bad, ALL_FEATURES, f->memory), -EINVAL);
    bad = good, bad.size = 32768 + 16;
    assert_int_equal(split_queue_start(&f->queue, &bad, ALL_FEATURES, f->memory), -EINVAL);
    bad = good, bad.desc += 8;
    assert_int_equal(split_queue_start(&f->queue, &bad, ALL_FEATURES, f->memory), -EINVAL);
    bad = good, bad.avail += 1;
    assert_int_equal(split_queue_start(&f->queue, &bad, ALL_FEATURES, f->memory), -EINVAL);
    bad = good, bad.used += 2;
    assert_int_equal(split_queue_start(&f->queue, &bad, ALL_FEATURES, f->memory), -EINVAL);
    bad = good, bad.desc = HIGH_GPA - 16;
    assert_int_equal(split_queue_start(&f->queue, &bad, ALL_FEATURES, f->memory), -EFAULT);
    bad = good, bad.avail = HIGH_GPA + HIGH_LEN - 16;
    assert_int_equal(split_queue_start(&f->queue, &bad, ALL_FEATURES, f->memory), -EFAULT);
    bad = good, bad.used = UINT64_MAX - 3;
    assert_int_equal(split_queue_start(&f->queue, &bad, ALL_FEATURES, f->memory), -EFAULT);
}

/* ---- bad rings: the queue breaks ---- */

static void available_index_jumping_breaks(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->in, 8, 0, 0);
    driver_set_avail_index(&f->driver, SIZE + 1);
    assert_broken(f);
}

static void available_index_going_back_breaks(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->in, 8, 0, 0);
    driver_offer(&f->driver, 0);
    assert_int_equal(pop(f), 1);
    driver_set_avail_index(&f->driver, 0);
    assert_broken(f);
}

static void head_out_of_range_breaks(void **state)
{
    struct fixture *f = *state;
    driver_offer(&f->driver, SIZE);
    assert_broken(f);
}

static void next_out_of_range_breaks(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->in, 8, DRIVER_NEXT, SIZE);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void next_out_of_a_table_breaks(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {{f->in, 8, false}, {f->in, 8, false}};
    uint64_t table = driver_write_indirect(&f->driver, 0, parts, 2);
    driver_write_desc(&f->driver, table, 1, f->in, 8, DRIVER_NEXT, 2);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void a_loop_breaks(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->in, 8, DRIVER_NEXT, 1);
    desc(f, 1, f->in, 8, DRIVER_NEXT, 0);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void a_descriptor_that_follows_itself_breaks(void **state)
{
    struct fixture *f = *state;
    desc(f, 3, f->in, 0, DRIVER_NEXT, 3);
    driver_offer(&f->driver, 3);
    assert_broken(f);
}

static void a_loop_in_a_table_breaks(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {{f->in, 8, false}, {f->in, 8, false}};
    uint64_t table = driver_write_indirect(&f->driver, 0, parts, 2);
    driver_write_desc(&f->driver, table, 1, f->in, 8, DRIVER_NEXT, 0);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void a_chain_longer_than_the_queue_breaks(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[SIZE];
    for (unsigned i = 0; i < SIZE; i++)
        parts[i] = (struct driver_part){f->in, 1, false};
    desc(f, 0, f->in, 1, DRIVER_NEXT, 1);
    driver_write_indirect(&f->driver, 1, parts, SIZE);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void a_table_longer_than_the_queue_breaks(void **state)
{
    struct fixture *f = *state;
    uint64_t table = driver_alloc(&f->driver, 16 * (SIZE + 1), 16);
    driver_write_desc(&f->driver, table, 0, f->in, 8, 0, 0);
    desc(f, 0, table, 16 * (SIZE + 1), DRIVER_INDIRECT, 0);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void a_nested_table_breaks(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {{f->in, 8, false}};
    uint64_t table = driver_write_indirect(&f->driver, 0, parts, 1);
    driver_write_desc(&f->driver, table, 0, table, 16, DRIVER_INDIRECT, 0);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void an_empty_table_breaks(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->in, 0, DRIVER_INDIRECT, 0);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void a_table_of_odd_length_breaks(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->in, 24, DRIVER_INDIRECT, 0);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void a_table_with_a_next_descriptor_breaks(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {{f->in, 8, false}};
    uint64_t table = driver_write_indirect(&f->driver, 0, parts, 1);
    desc(f, 0, table, 16, DRIVER_INDIRECT | DRIVER_NEXT, 1);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void a_table_without_the_feature_breaks(void **state)
{
    struct fixture *f = *state;
    start(f, DRIVER_F_VERSION_1);
    struct driver_part parts[] = {{f->in, 8, false}};
    driver_write_indirect(&f->driver, 0, parts, 1);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void a_table_outside_memory_breaks(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, 0x10, 32, DRIVER_INDIRECT, 0);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void a_table_that_wraps_breaks(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, UINT64_MAX - 15, 32, DRIVER_INDIRECT, 0);
    driver_offer(&f->driver, 0);
    assert_broken(f);
}

static void rings_gone_from_memory_break(void **state)
{
    struct fixture *f = *state;
    struct oriel_memory_region other = {.gpa = HIGH_GPA, .len = HIGH_LEN, .host = f->high};
    struct oriel_memory *map = NULL;
    assert_int_equal(oriel_memory_create(&other, 1, &map), 0);
    assert_int_equal(split_queue_move(&f->queue, map), -EFAULT);
    oriel_memory_unref(map);
    assert_int_equal(split_queue_pop(&f->queue, f->memory, &f->chain), -EIO);
    split_queue_push(&f->queue, 0, 1); /* goes nowhere */
    assert_false(split_queue_publish(&f->queue));
}

/* ---- bad rings: one request is lost ---- */

static void readable_behind_writable_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {{f->out, 16, true}, {f->in, 40, false}};
    driver_write_chain(&f->driver, f->driver.desc, 0, parts, 2);
    driver_offer(&f->driver, 0);
    assert_verdict(f, SPLIT_QUEUE_DROP);
}

static void more_than_four_gibibytes_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct driver_part parts[] = {{f->in, UINT32_MAX, false}, {f->in, 2, false}};
    driver_write_chain(&f->driver, f->driver.desc, 0, parts, 2);
    driver_offer(&f->driver, 0);
    assert_verdict(f, SPLIT_QUEUE_DROP);
}

static void assert_fault(struct fixture *f, uint64_t addr, uint32_t len, bool writable)
{
    struct driver_part parts[] = {
        {f->in, 40, false}, {addr, len, false}, {f->out, 16, true}, {f->out + 16, 8, true}};
    if (writable)
        parts[1] = (struct driver_part){f->out, 16, true}, parts[2] = (struct driver_part){addr, len, true};
    driver_write_chain(&f->driver, f->driver.desc, 0, parts, 4);
    driver_offer(&f->driver, 0);
    assert_verdict(f, SPLIT_QUEUE_FAULT);
    /* Both headers can be reached. */
    assert_int_equal(f->chain.in_count, 1);
    assert_int_equal(f->chain.out_count, 1);
    assert_ptr_equal(f->chain.iov[1].iov_base, driver_host(&f->driver, f->out));
}

static void a_buffer_outside_memory_faults(void **state)
{
    assert_fault(*state, 0x10, 8, false);
}

static void a_writable_buffer_outside_memory_faults(void **state)
{
    assert_fault(*state, HIGH_GPA + HIGH_LEN - 4, 8, true);
}

static void a_buffer_that_wraps_faults(void **state)
{
    assert_fault(*state, UINT64_MAX - 3, 8, false);
}

static void a_buffer_past_the_end_faults(void **state)
{
    assert_fault(*state, HIGH_GPA + HIGH_LEN - 8, UINT32_MAX - 100, true);
}

static void every_buffer_in_another_region_pair_stays_in_bounds(void **state)
{
    struct fixture *f = *state;
    /* Each descriptor of the queue spans two regions: more vectors than there is room. */
    unsigned size = 1024;
    driver_ring_init(&f->driver, f->ram, RAM_GPA, RAM_LEN, RAM_GPA, (uint16_t)size);
    start(f, ALL_FEATURES);
    for (unsigned i = 0; i < size; i++)
        desc(f, i, HIGH_GPA - 8, 16, i + 1 < size ? DRIVER_NEXT : 0, i + 1);
    driver_offer(&f->driver, 0);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.verdict, SPLIT_QUEUE_FAULT);
    assert_true(f->chain.in_count <= SPLIT_QUEUE_MAX_VECTORS);
}

/* ---- notifications ---- */

static void push_one(struct fixture *f)
{
    split_queue_push(&f->queue, 0, 0);
}

static void interrupts_follow_the_flag_without_event_index(void **state)
{
    struct fixture *f = *state;
    start(f, DRIVER_F_VERSION_1);
    assert_false(split_queue_publish(&f->queue)); /* nothing new */
    push_one(f);
    assert_true(split_queue_publish(&f->queue));
    le16_store(driver_host(&f->driver, f->driver.avail), 1);
    push_one(f);
    assert_false(split_queue_publish(&f->queue));
    assert_int_equal(driver_used_index(&f->driver), 2);
}

static void interrupts_follow_the_event_index(void **state)
{
    struct fixture *f = *state;
    driver_set_used_event(&f->driver, 0);
    push_one(f);
    assert_true(split_queue_publish(&f->queue)); /* step 0 was asked for and passed */
    push_one(f);
    assert_false(split_queue_publish(&f->queue)); /* not asked for anew */
    driver_set_used_event(&f->driver, 4);
    push_one(f);
    push_one(f);
    assert_false(split_queue_publish(&f->queue)); /* 4 published: the step to 5 is still to come */
    push_one(f);
    push_one(f);
    assert_true(split_queue_publish(&f->queue)); /* passed in the middle of a batch */
}

static void the_first_publication_after_a_start_notifies(void **state)
{
    struct fixture *f = *state;
    driver_set_used_event(&f->driver, 77);
    push_one(f);
    assert_true(split_queue_publish(&f->queue));
    push_one(f);
    assert_false(split_queue_publish(&f->queue));
}

static void nothing_is_visible_before_publication(void **state)
{
    struct fixture *f = *state;
    push_one(f);
    assert_int_equal(driver_used_index(&f->driver), 0);
    (void)split_queue_publish(&f->queue);
    assert_int_equal(driver_used_index(&f->driver), 1);
}

static void kicks_follow_the_flag_without_event_index(void **state)
{
    struct fixture *f = *state;
    start(f, DRIVER_F_VERSION_1);
    split_queue_disable_kicks(&f->queue);
    assert_int_equal(le16_load(driver_host(&f->driver, f->driver.used)), 1);
    assert_false(split_queue_enable_kicks(&f->queue));
    assert_int_equal(le16_load(driver_host(&f->driver, f->driver.used)), 0);
    driver_offer(&f->driver, 0);
    assert_true(split_queue_enable_kicks(&f->queue)); /* one came meanwhile */
}

static void kicks_follow_the_event_index(void **state)
{
    struct fixture *f = *state;
    desc(f, 0, f->in, 8, 0, 0);
    assert_false(split_queue_enable_kicks(&f->queue));
    assert_int_equal(driver_avail_event(&f->driver), 0);
    driver_offer(&f->driver, 0);
    assert_true(driver_must_kick(&f->driver, 0));
    assert_true(split_queue_enable_kicks(&f->queue));
    assert_int_equal(pop(f), 1);
    driver_offer(&f->driver, 0);
    assert_false(driver_must_kick(&f->driver, 1)); /* still being served: no kick is asked for */
    assert_int_equal(pop(f), 1);
    assert_false(split_queue_enable_kicks(&f->queue));
    assert_int_equal(driver_avail_event(&f->driver), 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_empty_ring_has_nothing),
        CASE(a_chain_becomes_vectors),
        CASE(buffers_side_by_side_become_one_vector),
        CASE(a_merged_buffer_may_span_regions),
        CASE(an_indirect_table_becomes_vectors),
        CASE(ordinary_descriptors_may_lead_to_a_table),
        CASE(the_write_flag_of_a_table_is_ignored),
        CASE(a_table_may_span_regions),
        CASE(a_buffer_may_span_regions),
        CASE(a_chain_may_be_as_long_as_the_queue),
        CASE(empty_buffers_are_skipped),
        CASE(a_chain_of_nothing_is_taken),
        CASE(no_writable_part_is_taken),
        CASE(a_full_ring_is_taken_whole),
        CASE(indices_wrap),
        CASE(bad_setups_are_refused),
        CASE(available_index_jumping_breaks),
        CASE(available_index_going_back_breaks),
        CASE(head_out_of_range_breaks),
        CASE(next_out_of_range_breaks),
        CASE(next_out_of_a_table_breaks),
        CASE(a_loop_breaks),
        CASE(a_descriptor_that_follows_itself_breaks),
        CASE(a_loop_in_a_table_breaks),
        CASE(a_chain_longer_than_the_queue_breaks),
        CASE(a_table_longer_than_the_queue_breaks),
        CASE(a_nested_table_breaks),
        CASE(an_empty_table_breaks),
        CASE(a_table_of_odd_length_breaks),
        CASE(a_table_with_a_next_descriptor_breaks),
        CASE(a_table_without_the_feature_breaks),
        CASE(a_table_outside_memory_breaks),
        CASE(a_table_that_wraps_breaks),
        CASE(rings_gone_from_memory_break),
        CASE(readable_behind_writable_is_dropped),
        CASE(more_than_four_gibibytes_are_dropped),
        CASE(a_buffer_outside_memory_faults),
        CASE(a_writable_buffer_outside_memory_faults),
        CASE(a_buffer_that_wraps_faults),
        CASE(a_buffer_past_the_end_faults),
        CASE(every_buffer_in_another_region_pair_stays_in_bounds),
        CASE(interrupts_follow_the_flag_without_event_index),
        CASE(interrupts_follow_the_event_index),
        CASE(the_first_publication_after_a_start_notifies),
        CASE(nothing_is_visible_before_publication),
        CASE(kicks_follow_the_flag_without_event_index),
        CASE(kicks_follow_the_event_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
