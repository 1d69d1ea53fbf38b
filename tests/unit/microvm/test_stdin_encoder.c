#include "unit/microvm/unit.h"

#include "microvm/stdin_encoder.h"

#define END   0x04
#define QUOTE 0x16

static void pieces_are_pushed_and_lines_push_themselves(void **state)
{
    (void)state;
    struct stdin_encoder encoder = {0};
    uint8_t out[32];
    assert_int_equal(stdin_encode(&encoder, (const uint8_t *)"ab", 2, out), 3);
    assert_memory_equal(out, "ab\x04", 3);
    /* An END with nothing before it would be the end of input. */
    assert_int_equal(stdin_encode(&encoder, (const uint8_t *)"ab\n", 3, out), 3);
    assert_memory_equal(out, "ab\n", 3);
    assert_int_equal(stdin_encode(&encoder, (const uint8_t *)"\nx", 2, out), 3);
    assert_memory_equal(out, "\nx\x04", 3);
    assert_int_equal(stdin_encode(&encoder, NULL, 0, out), 0);
    assert_int_equal(stdin_encode_end(&encoder, out, 2), 2);
    assert_memory_equal(out, "\x04\x04", 2);
}

static void special_characters_are_quoted(void **state)
{
    (void)state;
    struct stdin_encoder encoder = {0};
    uint8_t out[32];
    assert_int_equal(stdin_encode(&encoder, (const uint8_t *)"\x04\x16\x03", 3, out), 6);
    assert_memory_equal(out, "\x16\x04\x16\x16\x03\x04", 6);
}

/* What the terminal line in canonical mode makes of it: reads, each with its bytes. */
static size_t decode(const uint8_t *in, size_t len, uint8_t *out, size_t *longest, bool *ended)
{
    size_t n = 0, line = 0;
    *longest = 0;
    *ended = false;
    for (size_t i = 0; i < len; i++) {
        assert_false(*ended);
        if (in[i] == END && line == 0) {
            *ended = true;
            continue;
        }
        if (in[i] == END) {
            line = 0;
            continue;
        }
        if (in[i] == QUOTE)
            i++;
        out[n++] = in[i];
        line = in[i] == '\n' ? 0 : line + 1;
        *longest = line > *longest ? line : *longest;
    }
    return n;
}

static void any_bytes_come_out_again(void **state)
{
    (void)state;
    enum { LEN = 9000 };
    uint8_t data[LEN], decoded[LEN];
    size_t longest;
    bool ended;
    for (size_t i = 0; i < LEN; i++)
        data[i] = i < 5000 ? (uint8_t)(i * i >> 4 | 1) : (uint8_t)(i * 31);
    for (size_t piece = 1; piece < LEN; piece = piece * 3 + 1) {
        struct stdin_encoder encoder = {0};
        size_t n = 0, len = 0;
        for (size_t at = 0; at < LEN; at += piece) {
            size_t take = LEN - at < piece ? LEN - at : piece;
            uint8_t out[2 * LEN + 32];
            size_t got = stdin_encode(&encoder, data + at, take, out);
            assert_true(got <= stdin_encoded_max(take));
            len += decode(out, got, decoded + len, &longest, &ended);
            assert_false(ended);
            assert_true(longest <= STDIN_PIECE_MAX);
            n += got;
        }
        assert_true(n >= LEN);
        assert_int_equal(len, LEN);
        assert_memory_equal(decoded, data, LEN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_pushed_and_lines_push_themselves),
        cmocka_unit_test(special_characters_are_quoted),
        cmocka_unit_test(any_bytes_come_out_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
