#include "unit/microvm/unit.h"

#include "microvm/access_address.h"

#define RIP UINT64_C(0x400000)

static struct kvm_regs regs(void)
{
    return (struct kvm_regs){.rax = UINT64_C(0x1000000),
                             .rbx = UINT64_C(0x2000000),
                             .rcx = 0x40,
                             .rdx = UINT64_C(0x3000000),
                             .rsi = UINT64_C(0x5000000),
                             .rdi = UINT64_C(0x6000000),
                             .rsp = UINT64_C(0x7000800),
                             .rbp = UINT64_C(0x8000000),
                             .r8 = UINT64_C(0x9000000),
                             .r12 = UINT64_C(0xa000000),
                             .r13 = UINT64_C(0xb000000),
                             .rip = RIP};
}

/* True when the code is suspected of having reached `address`. */
static bool suspects(const char *code, size_t len, bool long_mode, uint64_t address)
{
    struct kvm_regs r = regs();
    struct kvm_sregs s = {
        .cs.l = long_mode, .fs.base = UINT64_C(0x10000000), .gs.base = UINT64_C(0x20000000)};
    uint8_t bytes[ACCESS_CODE_MAX] = {0};
    uint64_t found[ACCESS_ADDRESSES_MAX];
    memcpy(bytes, code, len);
    size_t n = access_addresses(&r, &s, bytes, sizeof(bytes), found);
    assert_in_range(n, 1, ACCESS_ADDRESSES_MAX);
    for (size_t i = 0; i < n; i++) {
        if (found[i] >> 12 == address >> 12)
            return true;
    }
    return false;
}

#define SUSPECTS(code, address)    suspects(code, sizeof(code) - 1, true, address)
#define SUSPECTS_32(code, address) suspects(code, sizeof(code) - 1, false, address)

static void memory_operands_are_computed(void **state)
{
    (void)state;
    assert_true(SUSPECTS("\x8a\x00", 0x1000000));                            /* mov al, [rax] */
    assert_true(SUSPECTS("\x48\x89\x43\x10", 0x2000010));                    /* mov [rbx+0x10], rax */
    assert_true(SUSPECTS("\x48\x8b\x82\x00\x00\x10\x00", 0x3100000));        /* mov rax, [rdx+0x100000] */
    assert_true(SUSPECTS("\x48\x8b\x42\xf0", 0x2fffff0));                    /* mov rax, [rdx-0x10] */
    assert_true(SUSPECTS("\x8b\x84\x8b\x00\x10\x00\x00", 0x2001100));        /* mov eax, [rbx+rcx*4+0x1000] */
    assert_true(SUSPECTS("\x43\x8b\x04\x00", 0x12000000));                   /* mov eax, [r8+r8] */
    assert_true(SUSPECTS("\x41\x8b\x04\x24", 0xa000000));                    /* mov eax, [r12] */
    assert_true(SUSPECTS("\x41\x8b\x45\x00", 0xb000000));                    /* mov eax, [r13+0] */
    assert_true(SUSPECTS("\x8b\x05\x00\x00\x01\x00", RIP + 0x10006));        /* mov eax, [rip+0x10000] */
    assert_true(SUSPECTS("\x8b\x04\x25\x00\x00\x50\x00", 0x500000));         /* mov eax, [0x500000] */
    assert_true(SUSPECTS("\x0f\xb6\x06", 0x5000000));                        /* movzx eax, byte [rsi] */
    assert_true(SUSPECTS("\x66\x0f\x38\x00\x06", 0x5000000));                /* pshufb xmm0, [rsi] */
    assert_true(SUSPECTS("\xf0\x48\x0f\xb1\x0f", 0x6000000));                /* lock cmpxchg [rdi], rcx */
    assert_true(SUSPECTS("\xa0\x00\x00\x50\x00\x00\x00\x00\x00", 0x500000)); /* mov al, [0x500000] */
    assert_true(SUSPECTS_32("\xa3\x00\x00\x50\x00", 0x500000));              /* mov [0x500000], eax */
    assert_false(SUSPECTS("\x48\x89\xd8", 0x2000000));                       /* mov rax, rbx: no memory */
}

static void vector_prefixes_are_skipped(void **state)
{
    (void)state;
    assert_true(SUSPECTS("\xc5\xfe\x6f\x06", 0x5000000));             /* vmovdqu ymm0, [rsi] */
    assert_true(SUSPECTS("\xc4\xc1\x7e\x6f\x00", 0x9000000));         /* vmovdqu ymm0, [r8] */
    assert_true(SUSPECTS("\x62\xf1\xfe\x48\x6f\x46\x40", 0x5001000)); /* vmovdqu64 zmm0, [rsi+64*64] */
    assert_true(SUSPECTS("\x62\xd1\xfe\x48\x6f\x00", 0x9000000));     /* vmovdqu64 zmm0, [r8] */
}

static void strings_and_stack_are_suspects(void **state)
{
    (void)state;
    assert_true(SUSPECTS("\xf3\xa4", 0x5000000)); /* rep movsb */
    assert_true(SUSPECTS("\xf3\xa4", 0x6000000));
    assert_true(SUSPECTS("\xf3\x48\xab", 0x6000000)); /* rep stosq */
    assert_true(SUSPECTS("\x50", 0x7000800));         /* push rax */
    assert_true(SUSPECTS("\xc3", 0x7000800));         /* ret */
}

static void segments_and_narrow_modes_count(void **state)
{
    (void)state;
    assert_true(SUSPECTS("\x64\x8b\x00", 0x11000000));              /* mov eax, fs:[rax] */
    assert_true(SUSPECTS("\x65\x8b\x00", 0x21000000));              /* mov eax, gs:[rax] */
    assert_true(SUSPECTS_32("\x8b\x00", 0x1000000));                /* 32-bit: mov eax, [eax] */
    assert_true(SUSPECTS_32("\x8b\x05\x00\x00\x50\x00", 0x500000)); /* 32-bit: absolute, not relative */
    assert_true(SUSPECTS_32("\x40", RIP));                          /* 32-bit: inc eax, no prefix */
}

static void accesses_that_cross_into_the_next_page_have_two_places(void **state)
{
    (void)state;
    assert_true(SUSPECTS("\x48\x8b\x82\xf9\x0f\x00\x00", 0x3000ff9)); /* mov rax, [rdx+0xff9] */
    assert_true(SUSPECTS("\x48\x8b\x82\xf9\x0f\x00\x00", 0x3001000));
}

static void code_that_cannot_be_read_is_a_suspect_itself(void **state)
{
    (void)state;
    struct kvm_regs r = regs();
    struct kvm_sregs s = {.cs.l = 1};
    uint64_t found[ACCESS_ADDRESSES_MAX];
    assert_true(access_addresses(&r, &s, NULL, 0, found) >= 1);
    assert_int_equal(found[0], RIP);
    r.rip = RIP + 0xffd; /* three bytes before the page that is missing */
    uint8_t code[3] = {0x48, 0x8b, 0x82};
    size_t n = access_addresses(&r, &s, code, 3, found);
    assert_true(n >= 1);
    assert_int_equal(found[0], RIP + 0x1000);
}

static void no_bytes_make_it_read_beyond_them(void **state)
{
    (void)state;
    struct kvm_regs r = regs();
    struct kvm_sregs s = {.cs.l = 1};
    uint64_t found[ACCESS_ADDRESSES_MAX];
    uint32_t seed = 12345;
    for (int i = 0; i < 200000; i++) {
        size_t len = (size_t)(seed >> 8) % (ACCESS_CODE_MAX + 1);
        uint8_t *code = malloc(len + 1); /* the sanitizer watches its end */
        for (size_t j = 0; j < len; j++) {
            seed = seed * 1103515245 + 12345;
            code[j] = (uint8_t)(seed >> 16);
        }
        code = realloc(code, len == 0 ? 1 : len);
        s.cs.l = i & 1;
        assert_in_range(access_addresses(&r, &s, code, len, found), 1, ACCESS_ADDRESSES_MAX);
        free(code);
        seed = seed * 1103515245 + 12345;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_operands_are_computed),
        cmocka_unit_test(vector_prefixes_are_skipped),
        cmocka_unit_test(strings_and_stack_are_suspects),
        cmocka_unit_test(segments_and_narrow_modes_count),
        cmocka_unit_test(accesses_that_cross_into_the_next_page_have_two_places),
        cmocka_unit_test(code_that_cannot_be_read_is_a_suspect_itself),
        cmocka_unit_test(no_bytes_make_it_read_beyond_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
