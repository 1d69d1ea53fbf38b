/*
 * Accesses to window pages that the host does not have. Not among the unit tests: the software KVM of some
 * machines turns them into MMIO exits. Run by scripts/with-kvm, on a full KVM.
 */
#include "unit/microvm/tiny_guest.h"

#include <sys/mman.h>

#include <oriel/dax.h>

static int set_up(void **state)
{
    return set_up_cpus(state, 1);
}

static void *window_host;
static int window_fd;

static int window_fault(void *opaque, uint64_t gpa, uint32_t access)
{
    struct fixture *f = opaque;
    (void)access;
    f->faults++;
    if (gpa >= UINT64_C(0xc0400000)) /* the second half has nothing to show */
        return ORIEL_FAULT_UNMAPPED;
    void *at = mmap(window_host, 0x400000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, window_fd, 0);
    return at == MAP_FAILED ? -ENOSPC : ORIEL_FAULT_RESUME;
}

static int64_t window_bind_all(void *opaque)
{
    (void)opaque;
    return 0;
}

static void add_window(struct fixture *f)
{
    window_fd = memfd_create("window", MFD_CLOEXEC);
    assert_int_equal(ftruncate(window_fd, 0x400000), 0);
    window_host = mmap(NULL, 0x800000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct vm_window window = {.gpa = UINT64_C(0xc0000000),
                               .len = 0x800000,
                               .host = window_host,
                               .fault = window_fault,
                               .bind_all = window_bind_all,
                               .opaque = f};
    assert_int_equal(vm_add_window(&f->vm, &window, &f->error), 0);
}

static void drop_window(void)
{
    munmap(window_host, 0x800000);
    close(window_fd);
}

static void a_fault_in_the_window_is_resolved(void **state)
{
    struct fixture *f = fixture_or_skip(state);
    add_window(f);
    assert_int_equal(pwrite(window_fd, "\x77", 1, 0x1000), 1);
    const struct vm_result *result = RUN(f, "\xa0\x00\x10\x00\xc0" /* mov al, [0xc0001000] */
                                            "\xe6\xf4");
    assert_int_equal(result->outcome, VM_EXITED);
    assert_int_equal(result->status, 0x77);
    assert_true(f->faults > 0);
    drop_window();
}

static void a_fault_that_cannot_be_resolved_is_an_exception(void **state)
{
    struct fixture *f = fixture_or_skip(state);
    add_window(f);
    /* mov al, [0xc0500000]; out 0xf4, al. The exception finds no handler, so it ends as a triple fault. */
    const struct vm_result *result = RUN(f, "\x8a\x05\x00\x00\x50\xc0\xe6\xf4");
    assert_int_equal(result->outcome, VM_FAILED);
    assert_non_null(strstr(f->warning, "window offset 0x500000"));
    assert_int_equal(atomic_load(&f->vm.faults_injected), 1);
    drop_window();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_fault_in_the_window_is_resolved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fault_that_cannot_be_resolved_is_an_exception, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
