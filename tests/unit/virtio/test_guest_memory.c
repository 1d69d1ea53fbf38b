#include <oriel/guest_memory.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char first[0x3000 + 64], second[0x1000]; /* wherever the linker puts them, they do not touch */

static struct oriel_memory *make(const struct oriel_memory_region *regions, size_t count)
{
    struct oriel_memory *memory = NULL;
    assert_int_equal(oriel_memory_create(regions, count, &memory), 0);
    return memory;
}

static void bad_regions_are_refused(void **state)
{
    (void)state;
    struct oriel_memory *memory = NULL;
    struct oriel_memory_region empty = {.gpa = 0, .len = 0, .host = first};
    struct oriel_memory_region nowhere = {.gpa = 0, .len = 16, .host = NULL};
    struct oriel_memory_region wraps = {.gpa = UINT64_MAX - 14, .len = 16, .host = first};
    struct oriel_memory_region overlap[] = {{.gpa = 0x1000, .len = 0x1001, .host = first},
                                            {.gpa = 0x2000, .len = 0x1000, .host = second}};
    assert_int_equal(oriel_memory_create(&empty, 1, &memory), -EINVAL);
    assert_int_equal(oriel_memory_create(&nowhere, 1, &memory), -EINVAL);
    assert_int_equal(oriel_memory_create(&wraps, 1, &memory), -EINVAL);
    assert_int_equal(oriel_memory_create(overlap, 2, &memory), -EINVAL);
    assert_int_equal(oriel_memory_create(NULL, 1, &memory), -EINVAL);
    assert_null(memory);
}

static void too_many_regions_are_refused(void **state)
{
    (void)state;
    struct oriel_memory *memory = NULL;
    struct oriel_memory_region *many = calloc(4097, sizeof(*many));
    assert_non_null(many);
    for (size_t i = 0; i < 4097; i++)
        many[i] = (struct oriel_memory_region){.gpa = i * 0x1000, .len = 0x1000, .host = first};
    assert_int_equal(oriel_memory_create(many, 4097, &memory), -E2BIG);
    assert_int_equal(oriel_memory_create(many, 4096, &memory), 0);
    oriel_memory_unref(memory);
    free(many);
}

static void an_empty_map_has_nothing(void **state)
{
    (void)state;
    struct iovec iov[1];
    bool guarded = false;
    struct oriel_memory *memory = make(NULL, 0);
    assert_int_equal(oriel_memory_translate(memory, 0, 1, ORIEL_MEMORY_READ, iov, 1, &guarded), -EFAULT);
    assert_null(oriel_memory_at(memory, 0, 1, 1));
    assert_int_equal(oriel_memory_translate(NULL, 0, 1, ORIEL_MEMORY_READ, iov, 1, &guarded), -EFAULT);
    assert_null(oriel_memory_at(NULL, 0, 1, 1));
    oriel_memory_unref(memory);
}

/* Given in the wrong order, adjacent in the guest, apart in the host. */
static void a_range_may_span_adjacent_regions(void **state)
{
    (void)state;
    struct oriel_memory_region regions[] = {{.gpa = 0x4000, .len = 0x1000, .host = second},
                                            {.gpa = 0x1000, .len = 0x3000, .host = first}};
    struct oriel_memory *memory = make(regions, 2);
    struct iovec iov[2];
    bool guarded = false;
    assert_int_equal(oriel_memory_translate(memory, 0x3ff0, 0x20, ORIEL_MEMORY_READ, iov, 2, &guarded), 2);
    assert_ptr_equal(iov[0].iov_base, first + 0x2ff0);
    assert_int_equal(iov[0].iov_len, 0x10);
    assert_ptr_equal(iov[1].iov_base, second);
    assert_int_equal(iov[1].iov_len, 0x10);
    assert_false(guarded);
    assert_int_equal(oriel_memory_translate(memory, 0x3ff0, 0x20, ORIEL_MEMORY_READ, iov, 1, &guarded),
                     -ENOBUFS);
    assert_null(oriel_memory_at(memory, 0x3ff0, 0x20, 1));
    oriel_memory_unref(memory);
}

static void neighbours_in_the_host_too_are_one_vector(void **state)
{
    (void)state;
    struct oriel_memory_region regions[] = {{.gpa = 0x1000, .len = 0x1000, .host = first},
                                            {.gpa = 0x2000, .len = 0x2000, .host = first + 0x1000}};
    struct oriel_memory *memory = make(regions, 2);
    struct iovec iov[1];
    bool guarded = false;
    assert_int_equal(oriel_memory_translate(memory, 0x1000, 0x3000, ORIEL_MEMORY_READ, iov, 1, &guarded), 1);
    assert_ptr_equal(iov[0].iov_base, first);
    assert_int_equal(iov[0].iov_len, 0x3000);
    oriel_memory_unref(memory);
}

static void ranges_outside_are_refused(void **state)
{
    (void)state;
    struct oriel_memory_region regions[] = {{.gpa = 0x1000, .len = 0x1000, .host = first},
                                            {.gpa = 0x3000, .len = 0x1000, .host = second}};
    struct oriel_memory *memory = make(regions, 2);
    struct iovec iov[4];
    bool guarded = false;
    static const struct {
        uint64_t gpa, len;
    } bad[] = {{0xfff, 1},         {0xfff, 2},           {0x2000, 1},     {0x1fff, 2},
               {0x1000, 0x3000},   {0x3fff, 2},          {0x4000, 1},     {UINT64_MAX, 1},
               {UINT64_MAX, 2},    {0x1800, UINT64_MAX}, {0, UINT64_MAX}, {0x3000, UINT64_MAX},
               {UINT64_MAX - 1, 3}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(
            oriel_memory_translate(memory, bad[i].gpa, bad[i].len, ORIEL_MEMORY_READ, iov, 4, &guarded),
            -EFAULT);
        assert_null(oriel_memory_at(memory, bad[i].gpa, bad[i].len, 1));
    }
    assert_int_equal(oriel_memory_translate(memory, 0xdead0000, 0, ORIEL_MEMORY_READ, iov, 4, &guarded), 0);
    assert_ptr_equal(oriel_memory_at(memory, 0x1000, 0x1000, 1), first);
    assert_ptr_equal(oriel_memory_at(memory, 0x3fff, 1, 1), second + 0xfff);
    oriel_memory_unref(memory);
}

static void the_last_byte_of_the_address_space_is_reachable(void **state)
{
    (void)state;
    struct oriel_memory_region top = {.gpa = UINT64_MAX - 0xfff, .len = 0x1000, .host = first};
    struct oriel_memory *memory = make(&top, 1);
    struct iovec iov[1];
    bool guarded = false;
    assert_int_equal(oriel_memory_translate(memory, UINT64_MAX, 1, ORIEL_MEMORY_READ, iov, 1, &guarded), 1);
    assert_ptr_equal(iov[0].iov_base, first + 0xfff);
    assert_int_equal(oriel_memory_translate(memory, UINT64_MAX, 2, ORIEL_MEMORY_READ, iov, 1, &guarded),
                     -EFAULT);
    oriel_memory_unref(memory);
}

static void host_alignment_is_checked(void **state)
{
    (void)state;
    struct oriel_memory_region region = {.gpa = 0x1000, .len = 0x1000, .host = first + 1};
    struct oriel_memory *memory = make(&region, 1);
    assert_non_null(oriel_memory_at(memory, 0x1000, 16, 1));
    assert_true(oriel_memory_at(memory, 0x1000, 16, 2) == NULL || (uintptr_t)(first + 1) % 2 == 0);
    assert_true((oriel_memory_at(memory, 0x1000, 16, 16) == NULL) !=
                (oriel_memory_at(memory, 0x100f, 16, 16) == NULL));
    oriel_memory_unref(memory);
}

struct prepared {
    uint64_t gpa, len;
    uint32_t access;
    int answer, calls;
};

static int note_prepare(void *opaque, uint64_t gpa, uint64_t len, uint32_t access)
{
    struct prepared *prepared = opaque;
    prepared->gpa = gpa;
    prepared->len = len;
    prepared->access = access;
    prepared->calls++;
    return prepared->answer;
}

static void a_guarded_region_is_prepared_and_marked(void **state)
{
    (void)state;
    struct prepared prepared = {0};
    struct oriel_memory_region regions[] = {{.gpa = 0x1000, .len = 0x1000, .host = first},
                                            {.gpa = 0x2000,
                                             .len = 0x1000,
                                             .host = second,
                                             .guarded = true,
                                             .prepare = note_prepare,
                                             .opaque = &prepared}};
    struct oriel_memory *memory = make(regions, 2);
    struct iovec iov[2];
    bool guarded = false;
    assert_int_equal(oriel_memory_translate(memory, 0x1000, 0x1000, ORIEL_MEMORY_READ, iov, 2, &guarded), 1);
    assert_false(guarded);
    assert_int_equal(prepared.calls, 0);
    assert_int_equal(oriel_memory_translate(memory, 0x1f00, 0x200, ORIEL_MEMORY_WRITE, iov, 2, &guarded), 2);
    assert_true(guarded);
    assert_int_equal(prepared.calls, 1);
    assert_int_equal(prepared.gpa, 0x2000);
    assert_int_equal(prepared.len, 0x100);
    assert_int_equal(prepared.access, ORIEL_MEMORY_WRITE);
    assert_int_equal(oriel_memory_translate(memory, 0x1000, 1, ORIEL_MEMORY_READ, iov, 2, &guarded), 1);
    assert_true(guarded); /* never cleared */
    prepared.answer = -ENOENT;
    assert_int_equal(oriel_memory_translate(memory, 0x2000, 1, ORIEL_MEMORY_READ, iov, 2, &guarded), -EFAULT);
    oriel_memory_unref(memory);
}

static void rings_are_never_in_a_guarded_region(void **state)
{
    (void)state;
    struct oriel_memory_region region = {.gpa = 0x2000, .len = 0x1000, .host = second, .guarded = true};
    struct oriel_memory *memory = make(&region, 1);
    assert_null(oriel_memory_at(memory, 0x2000, 16, 1));
    oriel_memory_unref(memory);
}

static void count_release(void *opaque)
{
    ++*(int *)opaque;
}

static void the_last_reference_releases(void **state)
{
    (void)state;
    int released = 0;
    struct oriel_memory_region region = {.gpa = 0, .len = 0x1000, .host = first};
    struct oriel_memory *memory = make(&region, 1);
    oriel_memory_on_release(memory, count_release, &released);
    assert_ptr_equal(oriel_memory_ref(memory), memory);
    oriel_memory_unref(memory);
    assert_int_equal(released, 0);
    oriel_memory_unref(memory);
    assert_int_equal(released, 1);
    assert_null(oriel_memory_ref(NULL));
    oriel_memory_unref(NULL);
}

/* A random map against a byte-by-byte look at its regions. */
static void random_ranges_match_the_regions(void **state)
{
    (void)state;
    const char *given = getenv("ORIEL_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : (unsigned)(uintptr_t)&given;
    print_message("# ORIEL_TEST_SEED=%u\n", seed);
    for (int round = 0; round < 200; round++) {
        struct oriel_memory_region regions[8];
        uint64_t at = 0;
        for (size_t i = 0; i < 8; i++) {
            at += (unsigned)rand_r(&seed) % 3 == 0 ? (unsigned)rand_r(&seed) % 8 : 0;
            uint64_t len = 1 + (unsigned)rand_r(&seed) % 8;
            regions[i] = (struct oriel_memory_region){.gpa = at, .len = len, .host = first + 0x100 * i};
            at += len;
        }
        struct oriel_memory *memory = make(regions, 8);
        for (int probe = 0; probe < 100; probe++) {
            uint64_t gpa = (unsigned)rand_r(&seed) % (at + 4), len = 1 + (unsigned)rand_r(&seed) % 20;
            struct iovec iov[8];
            bool guarded = false;
            int count = oriel_memory_translate(memory, gpa, len, ORIEL_MEMORY_READ, iov, 8, &guarded);
            uint64_t covered = 0;
            int piece = 0;
            size_t inside = 0;
            for (uint64_t byte = gpa; byte < gpa + len; byte++) {
                const char *want = NULL;
                for (size_t i = 0; i < 8; i++)
                    if (byte >= regions[i].gpa && byte - regions[i].gpa < regions[i].len)
                        want = (const char *)regions[i].host + (byte - regions[i].gpa);
                if (want == NULL)
                    break;
                covered++;
                if (count < 0)
                    continue;
                assert_true(piece < count);
                assert_ptr_equal((char *)iov[piece].iov_base + inside, want);
                if (++inside == iov[piece].iov_len) {
                    piece++;
                    inside = 0;
                }
            }
            assert_int_equal(count < 0 ? -EFAULT : count, covered == len ? piece : -EFAULT);
        }
        oriel_memory_unref(memory);
    }
}

static void host_addresses_lead_back_to_the_guest(void **state)
{
    (void)state;
    struct oriel_memory_region regions[] = {{.gpa = 0x10000, .len = sizeof(first), .host = first},
                                            {.gpa = 0x4000, .len = sizeof(second), .host = second}};
    struct oriel_memory *memory = make(regions, 2);
    uint64_t gpa = 0, len = 0;
    assert_true(oriel_memory_gpa_of(memory, first, &gpa, &len));
    assert_int_equal(gpa, 0x10000);
    assert_int_equal(len, sizeof(first));
    assert_true(oriel_memory_gpa_of(memory, second + sizeof(second) - 1, &gpa, &len));
    assert_int_equal(gpa, 0x4000 + sizeof(second) - 1);
    assert_int_equal(len, 1);
    assert_false(oriel_memory_gpa_of(memory, &gpa, &gpa, &len));
    assert_false(oriel_memory_gpa_of(memory, NULL, &gpa, &len));
    oriel_memory_unref(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_regions_are_refused),
        cmocka_unit_test(too_many_regions_are_refused),
        cmocka_unit_test(an_empty_map_has_nothing),
        cmocka_unit_test(a_range_may_span_adjacent_regions),
        cmocka_unit_test(neighbours_in_the_host_too_are_one_vector),
        cmocka_unit_test(ranges_outside_are_refused),
        cmocka_unit_test(the_last_byte_of_the_address_space_is_reachable),
        cmocka_unit_test(host_alignment_is_checked),
        cmocka_unit_test(a_guarded_region_is_prepared_and_marked),
        cmocka_unit_test(rings_are_never_in_a_guarded_region),
        cmocka_unit_test(the_last_reference_releases),
        cmocka_unit_test(random_ranges_match_the_regions),
        cmocka_unit_test(host_addresses_lead_back_to_the_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
