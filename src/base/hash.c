#include "base/hash.h"

#include <string.h>

static inline uint64_t rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

typedef struct {
    uint64_t a, b, c, d;
} state;

static inline void round_once(state *s)
{
    s->a += s->b;
    s->b = rotate(s->b, 13) ^ s->a;
    s->a = rotate(s->a, 32);
    s->c += s->d;
    s->d = rotate(s->d, 16) ^ s->c;
    s->a += s->d;
    s->d = rotate(s->d, 21) ^ s->a;
    s->c += s->b;
    s->b = rotate(s->b, 17) ^ s->c;
    s->c = rotate(s->c, 32);
}

uint64_t gb_hash_bytes(const void *bytes, size_t size, uint64_t seed)
{
    const unsigned char *at = bytes;
    uint64_t k0 = seed, k1 = gb_hash_mix(seed + 0x9e3779b97f4a7c15u);
    state s = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
               k1 ^ 0x7465646279746573u};
    size_t whole = size & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, at + i, 8);
        s.d ^= word;
        round_once(&s);
        s.a ^= word;
    }
    uint64_t last = (uint64_t)size << 56;
    for (size_t i = whole; i < size; i++) last |= (uint64_t)at[i] << (8 * (i - whole));
    s.d ^= last;
    round_once(&s);
    s.a ^= last;
    s.c ^= 0xff;
    round_once(&s);
    round_once(&s);
    round_once(&s);
    return s.a ^ s.b ^ s.c ^ s.d;
}
