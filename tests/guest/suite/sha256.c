/* SHA-256 (FIPS 180-4), because the guest's user land is one static program. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hash {
    uint32_t state[8];
    uint64_t len;
    unsigned char block[64];
};

static uint32_t rotated(uint32_t value, unsigned by)
{
    return value >> by | value << (32 - by);
}

/* The first 32 bits of the fractional part of a root of a prime, as the standard defines its constants. */
static uint32_t root_fraction(unsigned prime, bool cube)
{
    /* The largest r with r^2 (or r^3) <= prime * 2^64 (or 2^96); its low 32 bits are the fraction. */
    unsigned __int128 low = 0, high = (unsigned __int128)1 << 36;
    while (high - low > 1) {
        unsigned __int128 r = (low + high) / 2;
        bool below;
        if (cube)
            below = r * r * r <= (unsigned __int128)prime << 96;
        else
            below = r * r <= (unsigned __int128)prime << 64;
        if (below)
            low = r;
        else
            high = r;
    }
    return (uint32_t)low;
}

static uint32_t round_constant[64], initial_state[8];

static void make_constants(void)
{
    unsigned found = 0;
    for (unsigned n = 2; found < 64; n++) {
        bool prime = true;
        for (unsigned d = 2; d * d <= n; d++)
            prime = prime && n % d != 0;
        if (!prime)
            continue;
        if (found < 8)
            initial_state[found] = root_fraction(n, false);
        round_constant[found++] = root_fraction(n, true);
    }
}

static void absorb(struct hash *hash, const unsigned char *block)
{
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ w[i - 15] >> 3) +
               (rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, hash->state, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t big1 = rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25);
        uint32_t big0 = rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22);
        uint32_t t1 = v[7] + big1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + round_constant[i] + w[i];
        uint32_t t2 = big0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        hash->state[i] += v[i];
}

static void finish(struct hash *hash, char hex[65])
{
    size_t used = hash->len % 64;
    hash->block[used++] = 0x80;
    if (used > 56) {
        memset(hash->block + used, 0, 64 - used);
        absorb(hash, hash->block);
        used = 0;
    }
    memset(hash->block + used, 0, 56 - used);
    for (int i = 0; i < 8; i++)
        hash->block[56 + i] = (unsigned char)(hash->len * 8 >> (56 - 8 * i));
    absorb(hash, hash->block);
    for (int i = 0; i < 8; i++)
        sprintf(hex + 8 * i, "%08x", hash->state[i]);
}

void sha256_of(int fd, char hex[65])
{
    struct hash hash = {.len = 0};
    if (initial_state[0] == 0)
        make_constants();
    memcpy(hash.state, initial_state, sizeof initial_state);
    unsigned char *buffer = malloc(MIB);
    require(buffer != NULL, "no memory");
    for (;;) {
        size_t have = 0;
        for (ssize_t n = 1; have < MIB && n > 0; have += (size_t)(n > 0 ? n : 0)) {
            n = read(fd, buffer + have, MIB - have);
            require(n >= 0, "read for a hash: %m");
        }
        for (size_t at = 0; at + 64 <= have; at += 64)
            absorb(&hash, buffer + at);
        hash.len += have;
        if (have < MIB) {
            memcpy(hash.block, buffer + have / 64 * 64, have % 64);
            break;
        }
    }
    finish(&hash, hex);
    free(buffer);
}
