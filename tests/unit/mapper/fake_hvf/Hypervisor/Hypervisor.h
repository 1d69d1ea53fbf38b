/* The part of Apple's Hypervisor.framework that the mapper calls, as documented; see fake_hvf.c. */
#ifndef FAKE_HYPERVISOR_H
#define FAKE_HYPERVISOR_H

#include <stddef.h>
#include <stdint.h>

typedef uint32_t hv_return_t;
typedef uint64_t hv_ipa_t;
typedef uint64_t hv_memory_flags_t;

#define HV_SUCCESS      UINT32_C(0)
#define HV_ERROR        UINT32_C(0xfae94001)
#define HV_BAD_ARGUMENT UINT32_C(0xfae94003)
#define HV_NO_RESOURCES UINT32_C(0xfae94005)
#define HV_DENIED       UINT32_C(0xfae94007)

#define HV_MEMORY_READ  UINT64_C(1)
#define HV_MEMORY_WRITE UINT64_C(2)
#define HV_MEMORY_EXEC  UINT64_C(4)

hv_return_t hv_vm_map(void *addr, hv_ipa_t ipa, size_t size, hv_memory_flags_t flags);
hv_return_t hv_vm_unmap(hv_ipa_t ipa, size_t size);
hv_return_t hv_vm_protect(hv_ipa_t ipa, size_t size, hv_memory_flags_t flags);

#endif
