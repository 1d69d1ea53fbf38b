/* What the machine does with what guests do, on any kind of KVM. */
#include "unit/microvm/tiny_guest.h"

static int set_up(void **state)
{
    return set_up_cpus(state, 1);
}

static int set_up_3(void **state)
{
    return set_up_cpus(state, 3);
}

/* mov al, status; out 0xf4, al */
#define EXIT(status) "\xb0" status "\xe6\xf4"

static void status_and_output_come_out(void **state)
{
    struct fixture *f = fixture_or_skip(state);
    const struct vm_result *result = RUN(f, "\x66\xba\xf8\x03"   /* mov dx, 0x3f8 */
                                            "\xb0H\xee\xb0i\xee" /* out dx, al */
                                         EXIT("\xa5"));
    assert_int_equal(result->outcome, VM_EXITED);
    assert_int_equal(result->status, 0xa5);
    assert_int_equal(f->out_len, 2); /* what was held back is flushed at the end */
    assert_memory_equal(f->out, "Hi", 2);
    assert_true(vm_exits(&f->vm) >= 3);
}

static void garbage_is_ignored_and_reads_as_all_ones(void **state)
{
    struct fixture *f = fixture_or_skip(state);
    const struct vm_result *result =
        RUN(f, "\x66\xba\x34\x12"                         /* mov dx, 0x1234 */
               "\xef\xee\xed"                             /* out dx, eax; out dx, al; in eax, dx */
               "\x83\xf8\xff\x75\x1c"                     /* cmp eax, -1; jne bad */
               "\xc7\x05\x00\x00\x00\xd0\x2a\x00\x00\x00" /* mov [0xd0000000], 42 */
               "\xa1\x00\x00\x00\xd0"                     /* mov eax, [0xd0000000] */
               "\x83\xf8\xff\x75\x08"                     /* cmp eax, -1; jne bad */
               "\xb0\x00\xe6\xf4\xf4\xf4\xf4\xf4"         /* exit 0 */
            EXIT("\x01"));                                /* bad: */
    assert_int_equal(result->outcome, VM_EXITED);
    assert_int_equal(result->status, 0);
}

static void a_triple_fault_ends_it_with_a_line(void **state)
{
    struct fixture *f = fixture_or_skip(state);
    const struct vm_result *result = RUN(f, "\x0f\x0b"); /* ud2, and nobody to handle it */
    assert_int_equal(result->outcome, VM_FAILED);
    assert_non_null(strstr(result->reason.text, "triple fault"));
    assert_null(strchr(result->reason.text, '\n'));
}

static void code_where_no_memory_is_ends_it_with_a_line(void **state)
{
    struct fixture *f = fixture_or_skip(state);
    const struct vm_result *result =
        RUN(f, "\xb8\x00\x00\x00\xd8\xff\xe0"); /* mov eax, 0xd8000000; jmp eax */
    assert_int_equal(result->outcome, VM_FAILED);
    assert_non_null(strstr(result->reason.text, "the guest stopped"));
}

static void keyboard_reset_is_a_reset(void **state)
{
    struct fixture *f = fixture_or_skip(state);
    assert_int_equal(RUN(f, "\xb0\xfe\xe6\x64")->outcome, VM_RESET); /* out 0x64, 0xfe */
}

static void a_spinning_guest_is_stopped_on_every_processor(void **state)
{
    struct fixture *f = fixture_or_skip(state);
    load(f, "\xeb\xfe", 2); /* jmp . */
    assert_int_equal(vm_start(&f->vm, &f->error), 0);
    vm_stop(&f->vm, VM_INTERRUPTED, 0, NULL);
    vm_stop(&f->vm, VM_FAILED, 0, "too late");
    const struct vm_result *result = vm_join(&f->vm);
    assert_int_equal(result->outcome, VM_INTERRUPTED);
    assert_string_equal(result->reason.text, "");
}

static void pci_is_found_by_mechanism_1(void **state)
{
    struct fixture *f = fixture_or_skip(state);
    const struct vm_result *result =
        RUN(f, "\x66\xba\xf8\x0c\xb8\x00\x00\x00\x80\xef" /* out 0xcf8, 0x80000000 */
               "\x66\xba\xfc\x0c\xed"                     /* in eax, 0xcfc */
               "\xe6\xf4");                               /* out 0xf4, al */
    assert_int_equal(result->outcome, VM_EXITED);
    assert_int_equal(result->status, 0x36); /* vendor 1b36 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(status_and_output_come_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_is_ignored_and_reads_as_all_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_triple_fault_ends_it_with_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(code_where_no_memory_is_ends_it_with_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keyboard_reset_is_a_reset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_spinning_guest_is_stopped_on_every_processor, set_up_3, tear_down),
        cmocka_unit_test_setup_teardown(pci_is_found_by_mechanism_1, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
