/*
 * Where in memory an instruction may have been reaching.
 *
 * KVM says of an access it cannot serve only that there was one (EFAULT, no address). Instructions are not
 * emulated here; all that is needed is the short list of linear addresses one of which it must have been.
 */
#ifndef ORIEL_MICROVM_ACCESS_ADDRESS_H
#define ORIEL_MICROVM_ACCESS_ADDRESS_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#define ACCESS_CODE_MAX      15 /* bytes an x86 instruction has at most */
#define ACCESS_ADDRESSES_MAX 8

/*
 * Fills in at most ACCESS_ADDRESSES_MAX linear addresses, each in another page, likeliest first: memory
 * operand, string operands, stack, the instruction itself. len: how many bytes of code could be read, 0 if
 * none. Returns their number, at least 1.
 */
size_t access_addresses(const struct kvm_regs *regs, const struct kvm_sregs *sregs, const uint8_t *code,
                        size_t len, uint64_t *addresses);

#endif
