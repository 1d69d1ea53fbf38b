#include "microvm/access_address.h"

#include <stdbool.h>

#include "base/le.h"

#define WIDEST_ACCESS 64 /* bytes of the widest vector register */
#define PAGE_SIZE     UINT64_C(4096)

struct decoder {
    const struct kvm_regs *regs;
    const struct kvm_sregs *sregs;
    const uint8_t *code;
    size_t len, at;
    bool long_mode, address_size_override;
    uint8_t rex_x, rex_b; /* high bits of index and base */
    uint64_t segment_base;
    unsigned disp8_scale_log2_max; /* EVEX multiplies an 8-bit displacement by a size we do not know */
    uint64_t *addresses;
    size_t count;
};

/* Pages are what can be missing, so one address of each is enough. */
static void add(struct decoder *d, uint64_t address)
{
    for (size_t i = 0; i < d->count; i++) {
        if (((d->addresses[i] ^ address) & ~(PAGE_SIZE - 1)) == 0)
            return;
    }
    if (d->count < ACCESS_ADDRESSES_MAX)
        d->addresses[d->count++] = address;
}

/* An access that starts at the end of a page may have failed in the next one. */
static void add_access(struct decoder *d, uint64_t address)
{
    add(d, address);
    uint64_t last = address + WIDEST_ACCESS - 1;
    if ((address ^ last) & ~(PAGE_SIZE - 1))
        add(d, last & ~(PAGE_SIZE - 1));
}

static bool next(struct decoder *d, uint8_t *byte)
{
    if (d->at >= d->len)
        return false;
    *byte = d->code[d->at++];
    return true;
}

static uint64_t general_register(const struct decoder *d, unsigned number)
{
    const struct kvm_regs *r = d->regs;
    const uint64_t values[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
                                 r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};
    return values[number & 15];
}

static bool take_legacy_prefix(struct decoder *d, uint8_t byte)
{
    switch (byte) {
    case 0x64:
        d->segment_base = d->sregs->fs.base;
        return true;
    case 0x65:
        d->segment_base = d->sregs->gs.base;
        return true;
    case 0x67:
        d->address_size_override = true;
        return true;
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x66:
    case 0xf0:
    case 0xf2:
    case 0xf3:
        return true;
    default:
        return false;
    }
}

/* VEX and EVEX carry the REX bits inverted. */
static bool take_vector_prefix(struct decoder *d, uint8_t byte, bool *taken)
{
    uint8_t first, skipped;
    *taken = d->long_mode && (byte == 0xc5 || byte == 0xc4 || byte == 0x62);
    if (!*taken)
        return true;
    if (!next(d, &first))
        return false;
    if (byte == 0xc5)
        return true;
    d->rex_x = first & 0x40 ? 0 : 8;
    d->rex_b = first & 0x20 ? 0 : 8;
    if (byte == 0x62)
        d->disp8_scale_log2_max = 6;
    return next(d, &skipped) && (byte != 0x62 || next(d, &skipped));
}

/* Leaves the decoder at the ModRM byte, if there is one; *opcode is the opcode's last byte, 0 when it has an
 * escape. */
static bool skip_to_modrm(struct decoder *d, uint8_t *opcode)
{
    uint8_t byte;
    bool vector;
    do {
        if (!next(d, &byte))
            return false;
    } while (take_legacy_prefix(d, byte));
    if (d->long_mode && (byte & 0xf0) == 0x40) {
        d->rex_x = byte & 2 ? 8 : 0;
        d->rex_b = byte & 1 ? 8 : 0;
        if (!next(d, &byte))
            return false;
    }
    if (!take_vector_prefix(d, byte, &vector))
        return false;
    *opcode = byte;
    if (vector) {
        *opcode = 0;
        return next(d, &byte);
    }
    if (byte != 0x0f)
        return true;
    *opcode = 0;
    if (!next(d, &byte))
        return false;
    return (byte != 0x38 && byte != 0x3a) || next(d, &byte);
}

static bool take_sib(struct decoder *d, unsigned mod, uint64_t *address, bool *wide_displacement)
{
    uint8_t sib;
    if (!next(d, &sib))
        return false;
    unsigned index = (sib >> 3 & 7) | d->rex_x;
    unsigned base = sib & 7;
    if (index != 4)
        *address += general_register(d, index) << (sib >> 6);
    *wide_displacement = base == 5 && mod == 0;
    if (!*wide_displacement)
        *address += general_register(d, base | d->rex_b);
    return true;
}

static bool take_displacement(struct decoder *d, unsigned size, int64_t *displacement)
{
    *displacement = 0;
    if (d->at + size > d->len)
        return false;
    if (size == 1)
        *displacement = (int8_t)d->code[d->at];
    if (size == 4)
        *displacement = (int32_t)le32_load(d->code + d->at);
    d->at += size;
    return true;
}

static uint64_t finish_address(const struct decoder *d, uint64_t address)
{
    bool narrow = d->long_mode ? d->address_size_override : true;
    return (narrow ? (uint32_t)address : address) + d->segment_base;
}

static void add_memory_operand(struct decoder *d)
{
    uint8_t modrm;
    uint64_t address = 0;
    int64_t displacement;
    if (!next(d, &modrm) || modrm >> 6 == 3)
        return;
    unsigned mod = modrm >> 6, rm = modrm & 7;
    bool wide = mod == 2, relative = false;
    if (rm == 4) {
        bool no_base;
        if (!take_sib(d, mod, &address, &no_base))
            return;
        wide |= no_base;
    } else if (mod == 0 && rm == 5) {
        wide = true;
        relative = d->long_mode;
    } else {
        address = general_register(d, rm | d->rex_b);
    }
    if (!take_displacement(d, wide ? 4 : mod == 1 ? 1 : 0, &displacement))
        return;
    if (relative) {
        /* Counts from the next instruction; an immediate of up to 4 bytes behind us is within the same
         * access. */
        add_access(d, finish_address(d, d->regs->rip + d->at + (uint64_t)displacement));
        return;
    }
    for (unsigned scale = 0; scale <= (mod == 1 ? d->disp8_scale_log2_max : 0); scale++)
        add_access(d, finish_address(d, address + ((uint64_t)displacement << scale)));
}

static bool is_string_instruction(uint8_t opcode)
{
    return (opcode >= 0xa4 && opcode <= 0xa7) || (opcode >= 0xaa && opcode <= 0xaf) ||
           (opcode >= 0x6c && opcode <= 0x6f);
}

/* mov between the accumulator and an address that stands in the instruction. */
static bool is_absolute_move(uint8_t opcode)
{
    return opcode >= 0xa0 && opcode <= 0xa3;
}

static void add_absolute(struct decoder *d)
{
    bool wide = d->long_mode && !d->address_size_override;
    size_t size = wide ? 8 : 4;
    if (d->at + size > d->len)
        return;
    const uint8_t *at = d->code + d->at;
    add_access(d, (wide ? le64_load(at) : le32_load(at)) + d->segment_base);
}

size_t access_addresses(const struct kvm_regs *regs, const struct kvm_sregs *sregs, const uint8_t *code,
                        size_t len, uint64_t *addresses)
{
    struct decoder d = {.regs = regs,
                        .sregs = sregs,
                        .code = code,
                        .len = len < ACCESS_CODE_MAX ? len : ACCESS_CODE_MAX,
                        .long_mode = sregs->cs.l != 0,
                        .addresses = addresses};
    uint8_t opcode = 0;
    uint64_t rip = regs->rip + (d.long_mode ? 0 : sregs->cs.base);
    if (skip_to_modrm(&d, &opcode)) {
        if (is_string_instruction(opcode)) {
            add_access(&d, finish_address(&d, regs->rdi));
            add_access(&d, finish_address(&d, regs->rsi));
        } else if (is_absolute_move(opcode)) {
            add_absolute(&d);
        } else {
            add_memory_operand(&d);
        }
    }
    if (len < ACCESS_CODE_MAX)
        add(&d, rip + len);
    add(&d, regs->rsp - 8);
    add(&d, regs->rsp);
    add(&d, rip);
    return d.count;
}
