#include "unit/microvm/unit.h"

#include "base/le.h"
#include "microvm/layout.h"
#include "microvm/pci_bus.h"

#define ENABLE UINT32_C(0x80000000)

/* A function with 256 plain bytes of configuration space and two BARs. */
struct toy {
    uint8_t config[256];
    unsigned reads, writes;
    uint64_t last_offset;
    unsigned last_bar;
};

static uint32_t toy_config_read(void *opaque, uint32_t offset, uint32_t size)
{
    struct toy *toy = opaque;
    uint8_t bytes[4] = {0};
    assert_true(offset + size <= 256);
    memcpy(bytes, toy->config + offset, size);
    return le32_load(bytes);
}

static void toy_config_write(void *opaque, uint32_t offset, uint32_t size, uint32_t value)
{
    struct toy *toy = opaque;
    uint8_t bytes[4];
    assert_true(offset + size <= 256);
    le32_store(bytes, value);
    memcpy(toy->config + offset, bytes, size);
}

static void toy_bar_read(void *opaque, unsigned bar, uint64_t offset, void *data, size_t len)
{
    struct toy *toy = opaque;
    toy->reads++;
    toy->last_bar = bar;
    toy->last_offset = offset;
    memset(data, 0x42, len);
}

static void toy_bar_write(void *opaque, unsigned bar, uint64_t offset, const void *data, size_t len)
{
    struct toy *toy = opaque;
    (void)data;
    (void)len;
    toy->writes++;
    toy->last_bar = bar;
    toy->last_offset = offset;
}

static const struct pci_function_ops toy_ops = {.config_read = toy_config_read,
                                                .config_write = toy_config_write,
                                                .bar_read = toy_bar_read,
                                                .bar_write = toy_bar_write};

struct fixture {
    struct pci_bus bus;
    struct port_bus ports;
    struct toy toy;
    int slot;
    uint64_t window;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    pci_bus_init(&f->bus, LAYOUT_GIB, 40);
    port_bus_add(&f->ports, LAYOUT_PORT_PCI, PCI_BUS_PORTS, &pci_bus_port_ops, &f->bus);
    if (pci_bus_reserve_window(&f->bus, 64 * LAYOUT_MIB, &f->window) != 0)
        return -1;
    struct pci_function function = {.ops = &toy_ops, .opaque = &f->toy};
    function.bars[0] = (struct pci_bar){.kind = PCI_BAR_MMIO, .len = 0x4000};
    function.bars[4] = (struct pci_bar){.kind = PCI_BAR_WINDOW, .len = 64 * LAYOUT_MIB, .address = f->window};
    f->slot = pci_bus_add(&f->bus, &function);
    *state = f;
    return f->slot == 1 ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    pci_bus_destroy(&f->bus);
    free(f);
    return 0;
}

static uint32_t config(struct fixture *f, uint32_t address, uint16_t port, uint32_t len)
{
    port_bus_write(&f->ports, 0xcf8, 4, address);
    return port_bus_read(&f->ports, port, len);
}

static void the_host_bridge_is_in_slot_0(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(config(f, ENABLE | 8, 0xcfe, 2), 0x0600); /* class */
    assert_int_equal(config(f, ENABLE, 0xcfc, 4), 0x00081b36);
    assert_int_equal(port_bus_read(&f->ports, 0xcf8, 4), ENABLE);
}

static void registers_are_reached_at_any_width(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = ENABLE | 1 << 11;
    le32_store(f->toy.config + 0x40, 0x44332211);
    assert_int_equal(config(f, slot | 0x40, 0xcfc, 4), 0x44332211);
    assert_int_equal(config(f, slot | 0x40, 0xcfe, 2), 0x4433);
    assert_int_equal(config(f, slot | 0x40, 0xcff, 1), 0x44);
    port_bus_write(&f->ports, 0xcfd, 1, 0xffaa);
    assert_int_equal(le32_load(f->toy.config + 0x40), 0x4433aa11);
    port_bus_write(&f->ports, 0xcf8, 4, slot | 0xfc);
    port_bus_write(&f->ports, 0xcfe, 2, 0xbeef);
    assert_int_equal(le16_load(f->toy.config + 0xfe), 0xbeef);
}

static void what_is_not_there_reads_as_all_ones(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(config(f, 1 << 11, 0xcfc, 4), UINT32_MAX);                    /* not enabled */
    assert_int_equal(config(f, ENABLE | 2 << 11, 0xcfc, 4), UINT32_MAX);           /* empty slot */
    assert_int_equal(config(f, ENABLE | 31 << 11, 0xcfc, 2), UINT16_MAX);          /* last slot */
    assert_int_equal(config(f, ENABLE | 1 << 11 | 1 << 8, 0xcfc, 4), UINT32_MAX);  /* other function */
    assert_int_equal(config(f, ENABLE | 1 << 16 | 1 << 11, 0xcfc, 4), UINT32_MAX); /* other bus */
    assert_int_equal(config(f, ENABLE | 1 << 11, 0xcfd, 4), UINT32_MAX);           /* crosses the dword */
    assert_int_equal(config(f, ENABLE | 1 << 11, 0xcff, 2), UINT16_MAX);
    assert_int_equal(port_bus_read(&f->ports, 0xcf8, 1), UINT8_MAX);
    assert_int_equal(port_bus_read(&f->ports, 0xcfa, 4), UINT32_MAX);
    port_bus_write(&f->ports, 0xcf8, 4, ENABLE | 1 << 11);
    port_bus_write(&f->ports, 0xcff, 2, 0); /* ignored */
    port_bus_write(&f->ports, 0xcf8, 2, 0); /* not a change of the address */
    assert_int_equal(port_bus_read(&f->ports, 0xcf8, 4), ENABLE | 1 << 11);
}

static void bars_are_placed_like_firmware_does(void **state)
{
    struct fixture *f = *state;
    uint64_t control = le64_load(f->toy.config + 0x10), window = le64_load(f->toy.config + 0x20);
    assert_int_equal(control % 0x4000, 0);
    assert_true(control >= LAYOUT_MMIO32 && control + 0x4000 <= LAYOUT_MMIO32_END);
    assert_int_equal(window, f->window);
    assert_int_equal(window % (64 * LAYOUT_MIB), 0);
    assert_true(window >= 4 * LAYOUT_GIB);
    uint64_t next;
    assert_int_equal(pci_bus_reserve_window(&f->bus, LAYOUT_GIB, &next), 0);
    assert_int_equal(next % LAYOUT_GIB, 0);
    assert_true(next >= window + 64 * LAYOUT_MIB);
}

static void windows_that_do_not_fit_are_refused(void **state)
{
    struct fixture *f = *state;
    uint64_t address;
    assert_int_equal(pci_bus_reserve_window(&f->bus, UINT64_C(1) << 40, &address), -ENOSPC);
    assert_int_equal(pci_bus_reserve_window(&f->bus, UINT64_C(1) << 63, &address), -ENOSPC);
    assert_int_equal(pci_bus_reserve_window(&f->bus, UINT64_C(1) << 39, &address), 0);
    assert_int_equal(pci_bus_reserve_window(&f->bus, UINT64_C(1) << 39, &address), -ENOSPC);
}

static void memory_accesses_follow_the_bar(void **state)
{
    struct fixture *f = *state;
    uint8_t data[8];
    pci_bus_mmio_read(&f->bus, LAYOUT_MMIO32, data, 8);
    assert_int_equal(le64_load(data), UINT64_MAX); /* decoding is off */
    pci_bus_bar_changed(&f->bus, 1, 0, true, 0xe0000000, 0x4000);
    pci_bus_mmio_read(&f->bus, 0xe0000010, data, 4);
    assert_int_equal(le32_load(data), 0x42424242);
    assert_int_equal(f->toy.last_bar, 0);
    assert_int_equal(f->toy.last_offset, 0x10);
    pci_bus_mmio_write(&f->bus, 0xe0003ffc, data, 4);
    assert_int_equal(f->toy.writes, 1);
    pci_bus_mmio_write(&f->bus, 0xe0003ffe, data, 4); /* over the end */
    pci_bus_mmio_write(&f->bus, 0xdfffffff, data, 1);
    pci_bus_mmio_write(&f->bus, UINT64_MAX, data, 8);
    assert_int_equal(f->toy.writes, 1);
    pci_bus_bar_changed(&f->bus, 1, 0, false, 0xe0000000, 0x4000);
    pci_bus_mmio_write(&f->bus, 0xe0000000, data, 4);
    assert_int_equal(f->toy.writes, 1);
}

static void a_window_is_never_routed_here(void **state)
{
    struct fixture *f = *state;
    uint8_t data[1];
    pci_bus_bar_changed(&f->bus, 1, 4, true, f->window, 64 * LAYOUT_MIB);
    pci_bus_mmio_read(&f->bus, f->window, data, 1);
    assert_int_equal(f->toy.reads, 0);
    assert_int_equal(data[0], 0xff);
}

static void the_bus_has_32_slots(void **state)
{
    struct fixture *f = *state;
    struct pci_function function = {.ops = &toy_ops, .opaque = &f->toy};
    for (int slot = 2; slot < PCI_BUS_SLOTS; slot++)
        assert_int_equal(pci_bus_add(&f->bus, &function), slot);
    assert_int_equal(pci_bus_add(&f->bus, &function), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_host_bridge_is_in_slot_0, set_up, tear_down),
        cmocka_unit_test_setup_teardown(registers_are_reached_at_any_width, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_there_reads_as_all_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bars_are_placed_like_firmware_does, set_up, tear_down),
        cmocka_unit_test_setup_teardown(windows_that_do_not_fit_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_accesses_follow_the_bar, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_window_is_never_routed_here, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_bus_has_32_slots, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
