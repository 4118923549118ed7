#include "wire/checksum.h"

#include <string.h>

/* The five primes of the specification. */
static const uint64_t prime1 = 0x9e3779b185ebca87u, prime2 = 0xc2b2ae3d27d4eb4fu,
                      prime3 = 0x165667b19e3779f9u, prime4 = 0x85ebca77c2b2ae63u,
                      prime5 = 0x27d4eb2f165667c5u;

enum { LANES = 4, STRIPE_BYTES = 8 * LANES };

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline uint64_t load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t lane_step(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * prime2, 31) * prime1;
}

static inline uint64_t lane_fold(uint64_t sum, uint64_t lane)
{
    return (sum ^ lane_step(0, lane)) * prime1 + prime4;
}

/* Whole stripes of 32 bytes; moves *at on. */
static uint64_t stripes(const uint8_t **at, size_t size, uint64_t seed)
{
    const uint8_t *from = *at, *end = from + (size - size % STRIPE_BYTES);
    uint64_t a = seed + prime1 + prime2, b = seed + prime2, c = seed, d = seed - prime1;
    for (; from < end; from += STRIPE_BYTES) {
        a = lane_step(a, load64(from));
        b = lane_step(b, load64(from + 8));
        c = lane_step(c, load64(from + 16));
        d = lane_step(d, load64(from + 24));
    }
    *at = end;
    uint64_t sum = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
    sum = lane_fold(sum, a);
    sum = lane_fold(sum, b);
    sum = lane_fold(sum, c);
    return lane_fold(sum, d);
}

uint64_t gb_checksum(const void *bytes, size_t size, uint64_t seed)
{
    const uint8_t *at = bytes;
    uint64_t sum = size < STRIPE_BYTES ? seed + prime5 : stripes(&at, size, seed);
    sum += size;
    size_t left = size % STRIPE_BYTES;
    for (; left >= 8; left -= 8, at += 8)
        sum = rotate(sum ^ lane_step(0, load64(at)), 27) * prime1 + prime4;
    if (left >= 4) {
        sum = rotate(sum ^ load32(at) * prime1, 23) * prime2 + prime3;
        at += 4;
        left -= 4;
    }
    for (; left > 0; left--) sum = rotate(sum ^ *at++ * prime5, 11) * prime1;
    sum = (sum ^ sum >> 33) * prime2;
    sum = (sum ^ sum >> 29) * prime3;
    return sum ^ sum >> 32;
}
