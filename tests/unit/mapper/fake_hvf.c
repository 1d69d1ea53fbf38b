/*
 * A fake of Hypervisor.framework that enforces its documented and observed rules: 16 KiB pages, no mapping over
 * another, unmap and protect of exactly what was mapped.
 */
#include "fake_hvf.h"

#include <Hypervisor/Hypervisor.h>
#include <string.h>

#define PAGE UINT64_C(16384)
#define MOST 4096

static struct mapping {
    const char *host;
    uint64_t ipa, size, flags;
} mappings[MOST];

struct fake_hvf fake_hvf;

void fake_hvf_reset(void)
{
    fake_hvf = (struct fake_hvf){0};
}

static hv_return_t refuse(void)
{
    fake_hvf.refused++;
    return HV_BAD_ARGUMENT;
}

static int due_to_fail(void)
{
    return fake_hvf.fail_in != 0 && --fake_hvf.fail_in == 0;
}

static struct mapping *exactly(uint64_t ipa, uint64_t size)
{
    for (size_t i = 0; i < fake_hvf.mappings; i++) {
        if (mappings[i].ipa == ipa && mappings[i].size == size)
            return &mappings[i];
    }
    return NULL;
}

hv_return_t hv_vm_map(void *addr, hv_ipa_t ipa, size_t size, hv_memory_flags_t flags)
{
    fake_hvf.maps++;
    /* The host page is 4 KiB here: only the guest's side and the size can be held to the rule. */
    if (size == 0 || ipa % PAGE != 0 || size % PAGE != 0 || flags > 7 || fake_hvf.mappings == MOST)
        return refuse();
    for (size_t i = 0; i < fake_hvf.mappings; i++) {
        if (ipa < mappings[i].ipa + mappings[i].size && mappings[i].ipa < ipa + size)
            return refuse();
    }
    if (due_to_fail())
        return HV_NO_RESOURCES;
    mappings[fake_hvf.mappings++] = (struct mapping){addr, ipa, size, flags};
    return HV_SUCCESS;
}

hv_return_t hv_vm_unmap(hv_ipa_t ipa, size_t size)
{
    struct mapping *mapping = exactly(ipa, size);
    fake_hvf.unmaps++;
    if (mapping == NULL)
        return refuse();
    if (due_to_fail())
        return HV_NO_RESOURCES;
    *mapping = mappings[--fake_hvf.mappings];
    return HV_SUCCESS;
}

hv_return_t hv_vm_protect(hv_ipa_t ipa, size_t size, hv_memory_flags_t flags)
{
    struct mapping *mapping = exactly(ipa, size);
    fake_hvf.protects++;
    if (mapping == NULL || flags > 7)
        return refuse();
    if (due_to_fail())
        return HV_NO_RESOURCES;
    mapping->flags = flags;
    return HV_SUCCESS;
}

const char *fake_hvf_at(uint64_t ipa, uint64_t *flags)
{
    for (size_t i = 0; i < fake_hvf.mappings; i++) {
        if (ipa >= mappings[i].ipa && ipa < mappings[i].ipa + mappings[i].size) {
            *flags = mappings[i].flags;
            return mappings[i].host + (ipa - mappings[i].ipa);
        }
    }
    return NULL;
}
