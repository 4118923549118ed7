/* src/base/hash: SipHash-1-3 against a slow version written from the paper (checked itself against
 * the paper's published SipHash-2-4 value), FNV-1a against its published values, and how evenly the
 * mixer spreads. */
#include "base/hash.h"

#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

/* Byte by byte, as the paper (Aumasson and Bernstein 2012, section 2) tells it. */
static void sip_round(uint64_t v[4])
{
    static const struct {
        int into, from, left;
    } half[2][2] = {{{0, 1, 13}, {2, 3, 16}}, {{2, 1, 17}, {0, 3, 21}}};
    for (int h = 0; h < 2; h++) {
        for (int i = 0; i < 2; i++) {
            int into = half[h][i].into, from = half[h][i].from, left = half[h][i].left;
            v[into] += v[from];
            v[from] = (v[from] << left | v[from] >> (64 - left)) ^ v[into];
        }
        int swap = h == 0 ? 0 : 2;
        v[swap] = v[swap] << 32 | v[swap] >> 32;
    }
}

static uint64_t sip_slow(const uint8_t *bytes, size_t size, uint64_t k0, uint64_t k1, int each,
                         int final)
{
    uint64_t v[4] = {0x736f6d6570736575u ^ k0, 0x646f72616e646f6du ^ k1, 0x6c7967656e657261u ^ k0,
                     0x7465646279746573u ^ k1};
    uint8_t *padded = calloc(1, size + 16);
    size_t words = size / 8 + 1;
    memcpy(padded, bytes, size);
    padded[words * 8 - 1] = (uint8_t)size;
    for (size_t w = 0; w < words; w++) {
        uint64_t word = 0;
        for (int i = 7; i >= 0; i--) word = word << 8 | padded[w * 8 + (size_t)i];
        v[3] ^= word;
        for (int i = 0; i < each; i++) sip_round(v);
        v[0] ^= word;
    }
    free(padded);
    v[2] ^= 0xff;
    for (int i = 0; i < final; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void test_siphash(void **unused)
{
    seed s = seed_start("base.hash");
    uint8_t bytes[300];
    for (size_t i = 0; i < 15; i++) bytes[i] = (uint8_t)i; /* appendix A of the paper */
    assert_true(sip_slow(bytes, 15, 0x0706050403020100u, 0x0f0e0d0c0b0a0908u, 2, 4) ==
                0xa129ca6149be45e5u);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)seed_next(&s);
    for (size_t size = 0; size < sizeof bytes; size++) {
        uint64_t key = seed_next(&s), second = gb_hash_mix(key + 0x9e3779b97f4a7c15u);
        assert_true(gb_hash_bytes(bytes, size, key) == sip_slow(bytes, size, key, second, 1, 3));
        assert_true(gb_hash_bytes(bytes, size, key) != gb_hash_bytes(bytes, size, key + 1));
    }
}

static void test_fnv(void **unused)
{
    assert_true(gb_hash_fnv("", 0) == 0xcbf29ce484222325u);
    assert_true(gb_hash_fnv("a", 1) == 0xaf63dc4c8601ec8cu);
    assert_true(gb_hash_fnv("foobar", 6) == 0x85944171f73967e8u);
}

/* Counters and multiples spread over any group of bits about as random numbers do: chi-square over
 * 256 cells, 255 degrees of freedom; 400 is about 6 standard deviations out. */
static void test_mix_spreads(void **unused)
{
    enum { VALUES = 256 * 200 };
    static const uint64_t steps[] = {1, 2, 8, 4096, 0x100000000u, 0x9e3779b97f4a7c15u};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        for (int shift = 0; shift <= 56; shift += 8) {
            uint32_t cells[256] = {0};
            for (uint64_t n = 1; n <= VALUES; n++)
                cells[gb_hash_mix(n * steps[i]) >> shift & 255]++;
            double chi = 0;
            for (int c = 0; c < 256; c++) {
                double off = (double)cells[c] - VALUES / 256.0;
                chi += off * off / (VALUES / 256.0);
            }
            assert_true(chi < 400);
        }
    }
    for (int bit = 0; bit < 64; bit++) { /* one bit in changes about half the bits out */
        int changed = 0;
        for (uint64_t n = 1; n <= 1000; n++)
            changed +=
                __builtin_popcountll(gb_hash_mix(n * 0x9e3779b97f4a7c15u) ^
                                     gb_hash_mix(n * 0x9e3779b97f4a7c15u ^ (uint64_t)1 << bit));
        assert_in_range(changed, 24000, 40000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_siphash),
        cmocka_unit_test(test_fnv),
        cmocka_unit_test(test_mix_spreads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
