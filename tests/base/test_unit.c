/* src/base/unit: what is a number with a unit, and what is none. */
#include "base/unit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_sizes(void **unused)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {{"0", 0},
                {"12", 12},
                {"1B", 1},
                {"2KB", 2048},
                {"1.5 MB", 1572864},
                {"2GB", INT64_C(2) << 30},
                {"1e18", INT64_C(1000000000000000000)}};
    static const char *const bad[] = {"",    "B",   "-1",   "1TB",    "1 gb",  "1GBx",
                                      "nan", "inf", "2e18", "1e10GB", "1,5MB", NULL};
    int64_t bytes;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(gb_size_parse(good[i].text, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
    bytes = 77;
    for (int i = 0; bad[i]; i++) {
        assert_false(gb_size_parse(bad[i], &bytes));
        assert_int_equal(bytes, 77);
    }
}

static void test_units(void **unused)
{
    static const gb_unit units[] = {{"", 1000}, {"ms", 1}, {NULL, 0}};
    double ms = 5;
    assert_true(gb_unit_parse("2", units, &ms));
    assert_true(ms == 2000);
    assert_true(gb_unit_parse("2.5ms", units, &ms));
    assert_true(ms == 2.5);
    assert_false(gb_unit_parse("2s", units, &ms));
    assert_true(ms == 2.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
