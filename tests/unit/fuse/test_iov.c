#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cmocka_all.h"
#include "fuse/iov.h"

static void sums_that_do_not_fit(void **state)
{
    (void)state;
    char byte;
    struct iov_cursor cursor;
    struct iovec iov[] = {{&byte, SSIZE_MAX}, {&byte, 1}, {&byte, SIZE_MAX}};
    assert_true(iov_cursor_init(&cursor, iov, 1, false));
    assert_false(iov_cursor_init(&cursor, iov, 2, false));
    assert_false(iov_cursor_init(&cursor, iov, 3, false));
    assert_true(iov_cursor_init(&cursor, NULL, 0, false));
    assert_int_equal(cursor.left, 0);
}

/* Random vectors, some of them empty, walked in random steps against one flat buffer. */
static void walks_give_the_bytes_in_order(void **state)
{
    (void)state;
    const char *given = getenv("ORIEL_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 99;
    print_message("# seed %u\n", seed);
    static unsigned char flat[5000], copy[5000];
    static struct iovec iov[400], scratch[IOV_BATCH];
    for (size_t i = 0; i < sizeof(flat); i++)
        flat[i] = (unsigned char)rand_r(&seed);
    for (int round = 0; round < 300; round++) {
        size_t count = 0, total = 0;
        while (count < 400 && total < sizeof(flat) - 40) {
            size_t len = (size_t)rand_r(&seed) % 40;
            iov[count++] = (struct iovec){flat + total, len};
            total += len;
        }
        struct iov_cursor cursor;
        assert_true(iov_cursor_init(&cursor, iov, count, rand_r(&seed) % 8 == 0));
        assert_int_equal(cursor.left, total);
        size_t at = 0;
        while (at < total) {
            size_t n = 1 + (size_t)rand_r(&seed) % 100, bytes = 0;
            n = n < total - at ? n : total - at;
            switch (rand_r(&seed) % 3) {
            case 0:
                assert_int_equal(iov_pull(&cursor, copy, n), 0);
                assert_memory_equal(copy, flat + at, n);
                break;
            case 1:
                iov_skip(&cursor, n);
                break;
            default: {
                const struct iovec *out;
                int vectors = iov_slice(&cursor, n, scratch, &out, &bytes);
                size_t seen = 0;
                for (int i = 0; i < vectors; i++) {
                    assert_true(out[i].iov_len == 0 || out[i].iov_base == flat + at + seen);
                    seen += out[i].iov_len;
                }
                assert_int_equal(seen, bytes);
                assert_int_equal(bytes, n);
            }
            }
            at += n;
            assert_int_equal(cursor.left, total - at);
        }
    }
}

static void slices_are_no_longer_than_one_call_takes(void **state)
{
    (void)state;
    static char bytes[3000];
    static struct iovec iov[3000], scratch[IOV_BATCH];
    for (size_t i = 0; i < 3000; i++)
        iov[i] = (struct iovec){bytes + i, 1};
    struct iov_cursor cursor;
    const struct iovec *out;
    size_t n, total = 0;
    assert_true(iov_cursor_init(&cursor, iov, 3000, false));
    while (cursor.left > 0) {
        assert_in_range(iov_slice(&cursor, cursor.left, scratch, &out, &n), 1, IOV_BATCH);
        assert_ptr_equal(out[0].iov_base, bytes + total);
        total += n;
    }
    assert_int_equal(total, 3000);
    /* What fits is not copied. */
    assert_true(iov_cursor_init(&cursor, iov, 10, false));
    assert_int_equal(iov_slice(&cursor, 10, scratch, &out, &n), 10);
    assert_ptr_equal(out, iov);
}

static void a_page_that_is_gone_is_efault(void **state)
{
    (void)state;
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char byte = 0;
    struct iovec iov = {page, 4096};
    struct iov_cursor cursor;
    assert_true(page != MAP_FAILED);
    assert_true(iov_cursor_init(&cursor, &iov, 1, true));
    assert_int_equal(iov_pull(&cursor, &byte, 1), -EFAULT);
    assert_int_equal(iov_push(&cursor, &byte, 1), -EFAULT);
    munmap(page, 4096);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_that_do_not_fit),
        cmocka_unit_test(walks_give_the_bytes_in_order),
        cmocka_unit_test(slices_are_no_longer_than_one_call_takes),
        cmocka_unit_test(a_page_that_is_gone_is_efault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
