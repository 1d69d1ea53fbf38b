#include "unit/microvm/unit.h"

#include "microvm/serial.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define FCR IIR

struct fixture {
    struct serial serial;
    char out[4096];
    size_t out_len;
    bool line;
    unsigned rises, ready;
};

static void take_output(void *opaque, const uint8_t *data, size_t len)
{
    struct fixture *f = opaque;
    assert_true(f->out_len + len <= sizeof(f->out));
    memcpy(f->out + f->out_len, data, len);
    f->out_len += len;
}

static void take_line(void *opaque, bool level)
{
    struct fixture *f = opaque;
    assert_int_not_equal(level, f->line); /* only changes are told */
    f->line = level;
    f->rises += level;
}

static void take_ready(void *opaque)
{
    ((struct fixture *)opaque)->ready++;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct serial_options options = {
        .output = take_output, .interrupt = take_line, .ready = take_ready, .opaque = f};
    serial_init(&f->serial, &options);
    serial_open_input(&f->serial);
    f->ready = 0;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    serial_destroy(&f->serial);
    free(f);
    return 0;
}

static uint8_t in(struct fixture *f, uint32_t reg)
{
    return (uint8_t)serial_port_ops.read(&f->serial, reg, 1);
}

static void out(struct fixture *f, uint32_t reg, uint8_t value)
{
    serial_port_ops.write(&f->serial, reg, 1, value);
}

static void lines_leave_whole(void **state)
{
    struct fixture *f = *state;
    for (const char *p = "hello"; *p != '\0'; p++)
        out(f, DATA, (uint8_t)*p);
    assert_int_equal(f->out_len, 0);
    assert_int_equal(in(f, LSR), 0x60); /* always ready for more */
    out(f, DATA, '\n');
    assert_int_equal(f->out_len, 6);
    assert_memory_equal(f->out, "hello\n", 6);
    out(f, DATA, '$');
    assert_int_equal(in(f, IIR) & 0x0f, 1); /* the driver asks what is pending: a partial line leaves too */
    assert_int_equal(f->out_len, 7);
    for (int i = 0; i < SERIAL_OUT_MAX; i++)
        out(f, DATA, 'x');
    assert_int_equal(f->out_len, 7 + SERIAL_OUT_MAX);
    out(f, DATA, 'y');
    serial_flush(&f->serial);
    assert_int_equal(f->out_len, 8 + SERIAL_OUT_MAX);
}

static void transmit_interrupt_has_an_edge_for_each_character(void **state)
{
    struct fixture *f = *state;
    out(f, IER, 0x02);
    assert_true(f->line);
    assert_int_equal(in(f, IIR), 0x02);
    assert_false(f->line); /* reading it took it back */
    assert_int_equal(in(f, IIR), 0x01);
    unsigned rises = f->rises;
    out(f, DATA, 'a');
    assert_true(f->line);
    out(f, DATA, 'b');
    assert_int_equal(f->rises, rises + 2);
    out(f, IER, 0);
    assert_false(f->line);
}

static void received_characters_wait_in_the_fifo(void **state)
{
    struct fixture *f = *state;
    out(f, FCR, 0x01);
    out(f, MCR, 0x0b); /* DTR, RTS, OUT2 */
    assert_int_equal(f->ready, 1);
    out(f, IER, 0x05);
    assert_false(f->line);
    assert_int_equal(serial_room(&f->serial), 16);
    assert_int_equal(serial_receive(&f->serial, (const uint8_t *)"0123456789abcdefXYZ", 19), 16);
    assert_true(f->line);
    assert_int_equal(in(f, IIR), 0xc4);
    assert_int_equal(in(f, LSR), 0x61);
    assert_int_equal(serial_room(&f->serial), 0);
    assert_int_equal(in(f, DATA), '0');
    assert_int_equal(f->ready, 2); /* room again */
    for (const char *p = "123456789abcdef"; *p != '\0'; p++)
        assert_int_equal(in(f, DATA), *p);
    assert_false(f->line);
    assert_int_equal(in(f, LSR), 0x60);
    assert_int_equal(in(f, DATA), 0);
}

static void nothing_is_received_while_rts_is_down(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(serial_room(&f->serial), 0);
    assert_int_equal(serial_receive(&f->serial, (const uint8_t *)"a", 1), 0);
    out(f, MCR, 0x02);
    assert_int_equal(f->ready, 1);
    assert_int_equal(serial_receive(&f->serial, (const uint8_t *)"a", 1), 1);
    out(f, MCR, 0x00);
    assert_int_equal(serial_receive(&f->serial, (const uint8_t *)"b", 1), 0);
    assert_int_equal(in(f, DATA), 'a');
}

static void nothing_is_received_before_the_line_is_set_up(void **state)
{
    struct fixture *f = *state;
    struct serial_options options = f->serial.options;
    serial_destroy(&f->serial);
    serial_init(&f->serial, &options);
    out(f, MCR, 0x02);
    assert_int_equal(serial_receive(&f->serial, (const uint8_t *)"a", 1), 0);
    assert_int_equal(f->ready, 0);
    serial_open_input(&f->serial);
    assert_int_equal(f->ready, 1);
    assert_int_equal(serial_receive(&f->serial, (const uint8_t *)"a", 1), 1);
}

static void loopback_shows_the_modem_lines(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(in(f, MSR) & 0xf0, 0xb0); /* CTS, DSR, DCD of the host's end */
    out(f, MCR, 0x1a);                         /* what Linux probes with: LOOP, OUT2, RTS */
    assert_int_equal(in(f, MSR) & 0xf0, 0x90);
    out(f, DATA, 'q');
    assert_int_equal(f->out_len, 0);
    assert_int_equal(in(f, DATA), 'q');
    assert_int_equal(serial_receive(&f->serial, (const uint8_t *)"a", 1), 0);
}

static void overrun_is_told_once(void **state)
{
    struct fixture *f = *state;
    out(f, MCR, 0x10);
    out(f, IER, 0x04);
    for (int i = 0; i < 17; i++)
        out(f, DATA, 'z');
    assert_true(f->line);
    assert_int_equal(in(f, IIR) & 0x0f, 0x06);
    assert_int_equal(in(f, LSR), 0x63);
    assert_int_equal(in(f, LSR), 0x61);
    assert_false(f->line);
}

static void divisor_and_scratch_are_kept(void **state)
{
    struct fixture *f = *state;
    out(f, LCR, 0x83);
    out(f, DATA, 0x01);
    out(f, IER, 0x02);
    assert_int_equal(in(f, DATA), 0x01);
    assert_int_equal(in(f, IER), 0x02);
    out(f, LCR, 0x03);
    assert_int_equal(in(f, IER), 0);
    assert_int_equal(in(f, LCR), 0x03);
    out(f, SCR, 0xae);
    assert_int_equal(in(f, SCR), 0xae);
    out(f, LSR, 0xff); /* read-only */
    out(f, MSR, 0xff);
    assert_int_equal(in(f, LSR), 0x60);
    out(f, MCR, 0xff);
    assert_int_equal(in(f, MCR), 0x1f);
}

static void clearing_the_fifo_drops_what_waits(void **state)
{
    struct fixture *f = *state;
    out(f, FCR, 0x01);
    out(f, MCR, 0x02);
    out(f, IER, 0x01);
    assert_int_equal(serial_receive(&f->serial, (const uint8_t *)"abc", 3), 3);
    out(f, FCR, 0x03);
    assert_false(f->line);
    assert_int_equal(in(f, LSR), 0x60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_leave_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transmit_interrupt_has_an_edge_for_each_character, set_up, tear_down),
        cmocka_unit_test_setup_teardown(received_characters_wait_in_the_fifo, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_received_while_rts_is_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_received_before_the_line_is_set_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loopback_shows_the_modem_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(overrun_is_told_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(divisor_and_scratch_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clearing_the_fifo_drops_what_waits, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
