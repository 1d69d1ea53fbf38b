#include "unit/microvm/unit.h"

#include "microvm/cpu_state.h"
#include "microvm/layout.h"

static struct kvm_cpuid2 *make_cpuid(const struct kvm_cpuid_entry2 *entries, size_t n)
{
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + n * sizeof(entries[0]));
    memcpy(cpuid->entries, entries, n * sizeof(entries[0]));
    cpuid->nent = (uint32_t)n;
    return cpuid;
}

static void each_processor_has_its_own_number(void **state)
{
    (void)state;
    const struct kvm_cpuid_entry2 entries[] = {
        {.function = 1, .ebx = 0xaabb1234},
        {.function = 4, .index = 0, .eax = 0xfc004121},
        {.function = 0xb, .index = 0},
        {.function = 0xb, .index = 1},
        {.function = 0x80000008, .eax = 0x3028, .ecx = 0x40ff},
        {.function = 0x8000001e},
        {.function = 7, .ebx = 42},
    };
    struct kvm_cpuid2 *cpuid = make_cpuid(entries, 7);
    cpu_personalize_cpuid(cpuid, 4, 5);
    cpu_personalize_cpuid(cpuid, 3, 5); /* the table is used again for the next one */
    assert_int_equal(cpuid->entries[0].ebx, 0x03051234);
    assert_true(cpuid->entries[0].ecx >> 31);
    assert_true(cpuid->entries[0].edx >> 28 & 1);
    assert_int_equal(cpuid->entries[1].eax >> 26, 7);
    assert_int_equal(cpuid->entries[1].eax >> 14 & 0xfff, 0);
    assert_int_equal(cpuid->entries[2].ebx, 1);
    assert_int_equal(cpuid->entries[3].eax, 3);
    assert_int_equal(cpuid->entries[3].ebx, 5);
    assert_int_equal(cpuid->entries[3].edx, 3);
    assert_int_equal(cpuid->entries[4].ecx & 0xff, 4);
    assert_int_equal(cpuid->entries[4].ecx >> 12 & 15, 3);
    assert_int_equal(cpuid->entries[5].eax, 3);
    assert_int_equal(cpuid->entries[6].ebx, 42);
    free(cpuid);
}

static void address_width_is_what_both_stages_can(void **state)
{
    (void)state;
    struct kvm_cpuid_entry2 entry = {.function = 0x80000008, .eax = 46};
    struct kvm_cpuid2 *cpuid = make_cpuid(&entry, 1);
    assert_int_equal(cpu_address_bits(cpuid), 46);
    cpuid->entries[0].eax = 52 | 48 << 16;
    assert_int_equal(cpu_address_bits(cpuid), 48);
    cpuid->entries[0].eax = 0xff;
    assert_int_equal(cpu_address_bits(cpuid), 52);
    cpuid->entries[0].eax = 0;
    assert_int_equal(cpu_address_bits(cpuid), 36);
    cpuid->nent = 0;
    assert_int_equal(cpu_address_bits(cpuid), 36);
    free(cpuid);
}

static void the_first_4_gib_are_mapped_onto_themselves(void **state)
{
    (void)state;
    struct ram ram;
    struct vm_error error;
    assert_int_equal(ram_create(LAYOUT_RAM_MIN, &ram, &error), 0);
    assert_int_equal(cpu_write_boot_tables(&ram), 0);
    const uint64_t *pml4 = ram_at(&ram, LAYOUT_PAGE_TABLES, 4096);
    for (uint64_t gpa = 0; gpa < 4 * LAYOUT_GIB; gpa += 97 * LAYOUT_MIB) {
        const uint64_t *pdpt = ram_at(&ram, pml4[0] & ~UINT64_C(0xfff), 4096);
        const uint64_t *pd = ram_at(&ram, pdpt[gpa >> 30] & ~UINT64_C(0xfff), 4096);
        uint64_t leaf = pd[gpa >> 21 & 511];
        assert_int_equal(leaf & 0x83, 0x83);
        assert_int_equal(leaf & ~UINT64_C(0xfff), gpa & ~UINT64_C(0x1fffff));
    }
    ram_destroy(&ram);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_processor_has_its_own_number),
        cmocka_unit_test(address_width_is_what_both_stages_can),
        cmocka_unit_test(the_first_4_gib_are_mapped_onto_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
