#include "unit/microvm/unit.h"

#include <time.h>

#include "microvm/boot_config.h"
#include "microvm/legacy_ports.h"

struct fixture {
    struct legacy_ports legacy;
    struct port_bus ports;
    unsigned resets, ready;
    int status;
};

static void take_reset(void *opaque)
{
    ((struct fixture *)opaque)->resets++;
}

static void take_status(void *opaque, uint8_t status)
{
    ((struct fixture *)opaque)->status = status;
}

static void take_ready(void *opaque)
{
    ((struct fixture *)opaque)->ready++;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct machine_events events = {
        .reset = take_reset, .exit_status = take_status, .input_ready = take_ready, .opaque = f};
    f->status = -1;
    legacy_ports_add(&f->legacy, &events, &f->ports);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static void ports_without_a_device_read_as_all_ones(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(port_bus_read(&f->ports, 0x80, 1), 0xff);
    assert_int_equal(port_bus_read(&f->ports, 0x1f0, 2), 0xffff);
    assert_int_equal(port_bus_read(&f->ports, 0xffff, 4), UINT32_MAX); /* wraps */
    port_bus_write(&f->ports, 0x80, 1, 7);
    port_bus_write(&f->ports, 0xfffe, 4, 7);
    assert_int_equal(port_bus_read(&f->ports, 0x70, 4), UINT32_MAX); /* wider than the device */
}

static void keyboard_controller_resets_the_machine(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(port_bus_read(&f->ports, 0x64, 1) & 2, 0); /* takes commands */
    assert_int_equal(port_bus_read(&f->ports, 0x60, 1), 0);
    port_bus_write(&f->ports, 0x64, 1, 0xaa);
    port_bus_write(&f->ports, 0x60, 1, 0xfe);
    assert_int_equal(f->resets, 0);
    port_bus_write(&f->ports, 0x64, 1, 0xfe);
    assert_int_equal(f->resets, 1);
}

static void status_port_takes_eight_bits(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(port_bus_read(&f->ports, BOOT_STATUS_PORT, 1), 0xff);
    port_bus_write(&f->ports, BOOT_STATUS_PORT, 1, 0);
    assert_int_equal(f->status, 0);
    port_bus_write(&f->ports, BOOT_STATUS_PORT, 1, 0x1fe);
    assert_int_equal(f->status, 0xfe);
    assert_int_equal(f->ready, 0);
    port_bus_write(&f->ports, BOOT_INPUT_PORT, 1, 0);
    assert_int_equal(f->ready, 1);
}

static unsigned cmos(struct fixture *f, uint8_t index)
{
    port_bus_write(&f->ports, 0x70, 1, index | 0x80u); /* NMIs masked */
    unsigned value = port_bus_read(&f->ports, 0x71, 1);
    return (value >> 4) * 10 + (value & 15);
}

static void clock_tells_the_time_of_the_host(void **state)
{
    struct fixture *f = *state;
    time_t before = time(NULL);
    struct tm tm = {.tm_sec = (int)cmos(f, 0),
                    .tm_min = (int)cmos(f, 2),
                    .tm_hour = (int)cmos(f, 4),
                    .tm_mday = (int)cmos(f, 7),
                    .tm_mon = (int)cmos(f, 8) - 1,
                    .tm_year = (int)(cmos(f, 0x32) * 100 + cmos(f, 9)) - 1900};
    time_t told = timegm(&tm);
    /* A minute may turn between two registers. */
    assert_in_range(told - before + 120, 60, 180);
    port_bus_write(&f->ports, 0x70, 1, 0x0a);
    assert_int_equal(port_bus_read(&f->ports, 0x71, 1) & 0x80, 0); /* no update in progress */
    port_bus_write(&f->ports, 0x70, 1, 0x0b);
    assert_int_equal(port_bus_read(&f->ports, 0x71, 1) & 0x06, 0x02); /* BCD, 24 hours */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ports_without_a_device_read_as_all_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keyboard_controller_resets_the_machine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(status_port_takes_eight_bits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clock_tells_the_time_of_the_host, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
