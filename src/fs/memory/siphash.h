/* SipHash-1-3 (J.-P. Aumasson, D. J. Bernstein: "SipHash: a fast short-input PRF", with 1 and 3 rounds): a
 * guest that does not know the key cannot choose names that collide. */
#ifndef ORIEL_FS_MEMORY_SIPHASH_H
#define ORIEL_FS_MEMORY_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t memfs_siphash(uint64_t k0, uint64_t k1, const void *data, size_t len);

#endif
