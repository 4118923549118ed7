/* Hashing. SipHash-1-3 (Aumasson and Bernstein, 2012; the reduced rounds that hash tables use) for
 * bytes under a secret seed, a 64-bit mixer (the finaliser of SplitMix64, Steele et al. 2014) for
 * integers, and FNV-1a for names that must hash alike everywhere. Pure functions; any thread.
 */
#ifndef GB_BASE_HASH_H
#define GB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t gb_hash_bytes(const void *bytes, size_t size, uint64_t seed);

static inline uint64_t gb_hash_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t gb_hash_fnv(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ at[i]) * 0x100000001b3u;
    return hash;
}

#endif
