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
        cmocka_unit_test(test_every_bit_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
