/*
 * Linear to guest-physical addresses by the guest's own page tables, without any check of rights.
 *
 * KVM_TRANSLATE is not enough: it translates as the kernel would access, so with SMAP it refuses every page
 * of a user program.
 */
#ifndef ORIEL_MICROVM_PAGE_WALK_H
#define ORIEL_MICROVM_PAGE_WALK_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "microvm/ram.h"

/* 64-bit paging (four or five levels) or none. False: not mapped, another kind of paging, or a table outside
 * RAM. */
bool page_walk(const struct ram *ram, const struct kvm_sregs *sregs, uint64_t linear, uint64_t *gpa);

#endif
