#include "unit/microvm/unit.h"

#include "base/le.h"
#include "microvm/layout.h"
#include "microvm/mptable.h"

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t total = 0;
    for (size_t i = 0; i < len; i++)
        total = (uint8_t)(total + p[i]);
    return total;
}

struct counts {
    unsigned processors, boot, buses, io_apics, io_interrupts, local_interrupts, bytes;
};

static struct counts walk(const uint8_t *table)
{
    struct counts c = {0};
    const uint8_t *p = table + 44;
    for (unsigned i = 0; i < le16_load(table + 34); i++) {
        switch (p[0]) {
        case 0:
            assert_int_equal(p[1], c.processors++);
            assert_true(p[3] & 1);
            c.boot += (p[3] & 2) != 0;
            p += 20;
            break;
        case 1:
            c.buses++;
            p += 8;
            break;
        case 2:
            c.io_apics++;
            assert_int_equal(le32_load(p + 4), LAYOUT_IO_APIC);
            p += 8;
            break;
        case 3:
            assert_true(p[7] < LAYOUT_IO_APIC_PINS);
            c.io_interrupts++;
            p += 8;
            break;
        case 4:
            c.local_interrupts++;
            p += 8;
            break;
        default:
            fail_msg("entry type %u", p[0]);
        }
    }
    c.bytes = (unsigned)(p - table);
    return c;
}

static void check_table(unsigned cpus)
{
    struct ram ram;
    struct vm_error error;
    assert_int_equal(ram_create(LAYOUT_RAM_MIN, &ram, &error), 0);
    assert_int_equal(mptable_write(&ram, cpus), 0);
    const uint8_t *pointer = ram_at(&ram, LAYOUT_MP_TABLE, LAYOUT_MP_TABLE_SIZE);
    assert_memory_equal(pointer, "_MP_", 4);
    assert_int_equal(pointer[8], 1); /* in paragraphs */
    assert_int_equal(sum(pointer, 16), 0);
    const uint8_t *table = ram_at(&ram, le32_load(pointer + 4), 44);
    assert_memory_equal(table, "PCMP", 4);
    uint16_t len = le16_load(table + 4);
    assert_int_equal(sum(table, len), 0);
    assert_int_equal(le32_load(table + 36), LAYOUT_LOCAL_APIC);
    struct counts c = walk(table);
    assert_int_equal(c.bytes, len);
    assert_int_equal(c.processors, cpus);
    assert_int_equal(c.boot, 1);
    assert_int_equal(c.buses, 2);
    assert_int_equal(c.io_apics, 1);
    assert_int_equal(c.io_interrupts, 15 + 32);
    assert_int_equal(c.local_interrupts, 2);
    ram_destroy(&ram);
}

static void tables_are_sound_for_any_number_of_processors(void **state)
{
    (void)state;
    for (unsigned cpus = 1; cpus <= LAYOUT_CPUS_MAX; cpus++)
        check_table(cpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tables_are_sound_for_any_number_of_processors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
