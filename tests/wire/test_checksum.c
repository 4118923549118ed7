/* src/wire/checksum: the published values of XXH64, every length, and that damage is seen. */
#include "wire/checksum.h"

#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static void test_known(void **unused)
{
    static const struct {
        const char *text;
        uint64_t sum;
    } rows[] = {
        {"", 0xef46db3751d8e999u},
        {"a", 0xd24ec4f1a98c6e5bu},
        {"abc", 0x44bc2cf5ad770999u},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_true(gb_checksum(rows[i].text, strlen(rows[i].text), 0) == rows[i].sum);

    /* The buffer and the values of the project's own self test. */
    uint8_t buffer[222];
    uint64_t byte = 2654435761u;
    for (size_t i = 0; i < sizeof buffer; i++) {
        buffer[i] = (uint8_t)(byte >> 56);
        byte *= 11400714785074694797u;
    }
    assert_true(gb_checksum(NULL, 0, 2654435761u) == 0xac75fda2929b17efu);
    assert_true(gb_checksum(buffer, 1, 0) == 0xe934a84adb052768u);
    assert_true(gb_checksum(buffer, 1, 2654435761u) == 0x5014607643a9b4c3u);
    assert_true(gb_checksum(buffer, 4, 0) == 0x9136a0dca57457eeu);
    assert_true(gb_checksum(buffer, 14, 0) == 0x8282dcc4994e35c8u);
    assert_true(gb_checksum(buffer, 14, 2654435761u) == 0xc3bd6bf63deb6df0u);
    assert_true(gb_checksum(buffer, 222, 0) == 0xb641ae8cb691c174u);
    assert_true(gb_checksum(buffer, 222, 2654435761u) == 0x20cb8ab7ae10c14au);
}

/* The large form, as the header tells it and one byte at a time; XXH64 of fewer than 512 bytes is
 * what test_known checks. */
static uint64_t word_at(const uint8_t *at)
{
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--) word = word << 8 | at[i];
    return word;
}

static uint64_t slow(const uint8_t *bytes, size_t size, uint64_t start)
{
    static const uint64_t primes[] = {0x9e3779b185ebca87u, 0xc2b2ae3d27d4eb4fu, 0x165667b19e3779f9u,
                                      0x85ebca77c2b2ae63u, 0x27d4eb2f165667c5u};
    uint64_t keys[24], lanes[8];
    seed generator = {0};
    for (int i = 0; i < 24; i++) keys[i] = seed_next(&generator);
    for (int i = 0; i < 8; i++) lanes[i] = primes[i % 5];
    size_t stripes = size / 64;
    for (size_t n = 0; n < stripes; n++) {
        for (size_t i = 0; i < 8; i++) {
            uint64_t word = word_at(bytes + n * 64 + i * 8), mixed = word ^ keys[n % 16 + i];
            lanes[i] += (mixed % 4294967296u) * (mixed / 4294967296u);
            lanes[i % 2 ? i - 1 : i + 1] += word;
        }
        if (n % 16 != 15) continue;
        for (size_t i = 0; i < 8; i++)
            lanes[i] = (lanes[i] ^ lanes[i] >> 47 ^ keys[16 + i]) * primes[1];
    }
    uint64_t folded = gb_checksum(lanes, sizeof lanes, start ^ size * primes[0]);
    return gb_checksum(bytes + stripes * 64, size % 64, folded);
}

static void test_large(void **unused)
{
    seed s = seed_start("wire.checksum large");
    enum { BYTES = 5000 };
    uint8_t *bytes = malloc(BYTES + 1);
    for (size_t i = 0; i <= BYTES; i++) bytes[i] = (uint8_t)seed_next(&s);
    for (size_t size = 512; size <= BYTES; size++) {
        uint64_t start = seed_next(&s);
        const uint8_t *at = bytes + size % 2; /* unaligned too */
        if (size > BYTES - 1) at = bytes;
        assert_true(gb_checksum(at, size, start) == slow(at, size, start));
    }
    free(bytes);
}

/* Damage of a large payload: any bit, stripes that change places, a length that changes. */
static void test_large_damage(void **unused)
{
    seed s = seed_start("wire.checksum damage");
    enum { BYTES = 2500 };
    uint8_t *bytes = malloc(BYTES), *other = malloc(BYTES);
    for (int zero = 0; zero < 2; zero++) {
        for (size_t i = 0; i < BYTES; i++) bytes[i] = zero ? 0 : (uint8_t)seed_next(&s);
        uint32_t whole = (uint32_t)gb_checksum(bytes, BYTES, 1);
        for (size_t bit = 0; bit < BYTES * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_true((uint32_t)gb_checksum(bytes, BYTES, 1) != whole);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t size = 512; size < BYTES; size++)
            assert_true((uint32_t)gb_checksum(bytes, size, 1) != whole);
        assert_true((uint32_t)gb_checksum(bytes, BYTES, 2) != whole);
    }
    for (size_t i = 0; i < BYTES; i++) bytes[i] = (uint8_t)seed_next(&s);
    uint32_t whole = (uint32_t)gb_checksum(bytes, BYTES, 1);
    for (size_t a = 0; a < BYTES / 64; a++) {
        for (size_t b = 0; b < a; b++) {
            memcpy(other, bytes, BYTES);
            memcpy(other + a * 64, bytes + b * 64, 64);
            memcpy(other + b * 64, bytes + a * 64, 64);
            assert_true((uint32_t)gb_checksum(other, BYTES, 1) != whole);
        }
    }
    free(bytes);
    free(other);
}

static void test_every_bit_counts(void **unused)
{
    seed s = seed_start("wire.checksum");
    uint8_t bytes[101];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)seed_next(&s);
    for (size_t size = 0; size <= 100; size++) {
        uint32_t whole = (uint32_t)gb_checksum(bytes, size, 9);
        assert_true((uint32_t)gb_checksum(bytes, size, 8) != whole);
        assert_true((uint32_t)gb_checksum(bytes, size + 1, 9) != whole);
        for (size_t bit = 0; bit < size * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_true((uint32_t)gb_checksum(bytes, size, 9) != whole);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_large_damage),
        cmocka_unit_test(test_every_bit_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
