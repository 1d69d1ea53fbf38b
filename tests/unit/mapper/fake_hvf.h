/* What a test asks the fake framework. */
#ifndef FAKE_HVF_H
#define FAKE_HVF_H

#include <stddef.h>
#include <stdint.h>

struct fake_hvf {
    size_t mappings;
    uint64_t maps, unmaps, protects, refused; /* refused: calls that broke a rule */
    uint64_t fail_in;                         /* the n-th call from now says HV_NO_RESOURCES; 0: none */
};
extern struct fake_hvf fake_hvf;

/* The host byte that the guest sees at ipa, or NULL; *flags its rights. */
const char *fake_hvf_at(uint64_t ipa, uint64_t *flags);
void fake_hvf_reset(void);

#endif
