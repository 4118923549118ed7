#include "wire/checksum.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The five primes of the specification. */
static const uint64_t prime1 = 0x9e3779b185ebca87u, prime2 = 0xc2b2ae3d27d4eb4fu,
                      prime3 = 0x165667b19e3779f9u, prime4 = 0x85ebca77c2b2ae63u,
                      prime5 = 0x27d4eb2f165667c5u;

enum {
    LANES = 4,
    STRIPE_BYTES = 8 * LANES,

    WIDE_LANES = 8,
    WIDE_BYTES = 8 * WIDE_LANES,
    BLOCK_STRIPES = 16, /* then the lanes are scrambled */
    WIDE_SIZE_MIN = 512 /* smaller inputs are XXH64 */
};

/* The first numbers of SplitMix64 from seed 0: stripe n of a block is mixed with those from n on,
 * so that stripes do not commute; the scramble takes the last eight. */
static const uint64_t keys[BLOCK_STRIPES + WIDE_LANES] = {
    0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u, 0x06c45d188009454fu, 0xf88bb8a8724c81ecu,
    0x1b39896a51a8749bu, 0x53cb9f0c747ea2eau, 0x2c829abe1f4532e1u, 0xc584133ac916ab3cu,
    0x3ee5789041c98ac3u, 0xf3b8488c368cb0a6u, 0x657eecdd3cb13d09u, 0xc2d326e0055bdef6u,
    0x8621a03fe0bbdb7bu, 0x8e1f7555983aa92fu, 0xb54e0f1600cc4d19u, 0x84bb3f97971d80abu,
    0x7d29825c75521255u, 0xc3cf17102b7f7f86u, 0x3466e9a083914f64u, 0xd81a8d2b5a4485acu,
    0xdb01602b100b9ed7u, 0xa9038a921825f10du, 0xedf5f1d90dca2f6au, 0x54496ad67bd2634cu,
};

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

static uint64_t narrow(const void *bytes, size_t size, uint64_t seed)
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

/* ---- large inputs ---- */

/* A stripe: lane i takes the product of the halves of its word under the key, and the word of its
 * neighbour as it is, so that no word is lost when a half is zero. */
#ifdef __SSE2__
static inline __m128i pair_step(__m128i sum, const uint8_t *at, const uint64_t *key)
{
    __m128i word = _mm_loadu_si128((const __m128i *)at);
    __m128i mixed = _mm_xor_si128(word, _mm_loadu_si128((const __m128i *)key));
    __m128i product = _mm_mul_epu32(mixed, _mm_srli_epi64(mixed, 32));
    __m128i crossed = _mm_shuffle_epi32(word, _MM_SHUFFLE(1, 0, 3, 2));
    return _mm_add_epi64(sum, _mm_add_epi64(product, crossed));
}

static void wide_stripes(uint64_t lanes[WIDE_LANES], const uint8_t *at, int stripes_count)
{
    __m128i a = _mm_loadu_si128((const __m128i *)lanes); /* named, to stay in registers */
    __m128i b = _mm_loadu_si128((const __m128i *)(lanes + 2));
    __m128i c = _mm_loadu_si128((const __m128i *)(lanes + 4));
    __m128i d = _mm_loadu_si128((const __m128i *)(lanes + 6));
    for (int n = 0; n < stripes_count; n++, at += WIDE_BYTES) {
        a = pair_step(a, at, keys + n);
        b = pair_step(b, at + 16, keys + n + 2);
        c = pair_step(c, at + 32, keys + n + 4);
        d = pair_step(d, at + 48, keys + n + 6);
    }
    _mm_storeu_si128((__m128i *)lanes, a);
    _mm_storeu_si128((__m128i *)(lanes + 2), b);
    _mm_storeu_si128((__m128i *)(lanes + 4), c);
    _mm_storeu_si128((__m128i *)(lanes + 6), d);
}
#else
static void wide_stripes(uint64_t lanes[WIDE_LANES], const uint8_t *at, int stripes_count)
{
    for (int n = 0; n < stripes_count; n++, at += WIDE_BYTES) {
        for (int i = 0; i < WIDE_LANES; i++) {
            uint64_t word = load64(at + 8 * i), mixed = word ^ keys[n + i];
            lanes[i ^ 1] += word;
            lanes[i] += (mixed & UINT32_MAX) * (mixed >> 32);
        }
    }
}
#endif

static void scramble(uint64_t lanes[WIDE_LANES])
{
    for (int i = 0; i < WIDE_LANES; i++)
        lanes[i] = (lanes[i] ^ lanes[i] >> 47 ^ keys[BLOCK_STRIPES + i]) * prime2;
}

static uint64_t wide(const uint8_t *at, size_t size, uint64_t seed)
{
    uint64_t lanes[WIDE_LANES] = {prime1, prime2, prime3, prime4, prime5, prime1, prime2, prime3};
    size_t left = size;
    for (; left >= WIDE_BYTES * BLOCK_STRIPES; left -= WIDE_BYTES * BLOCK_STRIPES) {
        wide_stripes(lanes, at, BLOCK_STRIPES);
        scramble(lanes);
        at += WIDE_BYTES * BLOCK_STRIPES;
    }
    int whole = (int)(left / WIDE_BYTES);
    wide_stripes(lanes, at, whole);
    at += whole * WIDE_BYTES;
    return narrow(at, left % WIDE_BYTES, narrow(lanes, sizeof lanes, seed ^ size * prime1));
}

uint64_t gb_checksum(const void *bytes, size_t size, uint64_t seed)
{
    return size < WIDE_SIZE_MIN ? narrow(bytes, size, seed) : wide(bytes, size, seed);
}
