/* src/base/hist: quantiles against sorting, within 1/32; edges of the range; merging. */
#include "base/hist.h"

#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { VALUES = 20000 };

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_quantiles(void **unused)
{
    seed s = seed_start("base.hist");
    static const double parts[] = {0, 0.001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
    uint64_t *values = calloc(VALUES, sizeof *values);
    gb_hist *hist = calloc(1, sizeof *hist), *half = calloc(1, sizeof *half);
    for (int shape = 0; shape < 3; shape++) {
        memset(hist, 0, sizeof *hist);
        memset(half, 0, sizeof *half);
        uint64_t sum = 0;
        for (int i = 0; i < VALUES; i++) {
            values[i] = shape == 0   ? seed_below(&s, 1000)
                        : shape == 1 ? seed_wide(&s)
                                     : 1000000 + seed_below(&s, 1000000);
            sum += values[i];
            gb_hist_add(i % 2 ? hist : half, values[i]);
        }
        gb_hist_merge(hist, half);
        qsort(values, VALUES, sizeof *values, by_value);
        assert_true(hist->count == VALUES && hist->sum == sum);
        assert_true(hist->max == values[VALUES - 1]);
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            uint64_t rank = (uint64_t)(parts[i] * VALUES + 0.5);
            uint64_t exact = values[rank ? rank - 1 : 0], got = gb_hist_quantile(hist, parts[i]);
            assert_true(got >= exact);
            assert_true((double)(got - exact) <= (double)exact / 32);
        }
    }
    free(values);
    free(hist);
    free(half);
}

static void test_edges(void **unused)
{
    gb_hist *hist = calloc(1, sizeof *hist);
    assert_true(gb_hist_quantile(hist, 0.5) == 0); /* empty */
    gb_hist_add(hist, UINT64_MAX);
    assert_true(gb_hist_quantile(hist, 0.5) == UINT64_MAX);
    assert_true(gb_hist_count_under(hist, UINT64_MAX) == 1);
    assert_true(gb_hist_count_under(hist, UINT64_MAX - 1) == 0);
    /* Every power of two and its neighbours: the bucket's edge is at or over the value, and the
     * count under it is exact for small numbers. */
    for (int bit = 0; bit < 64; bit++) {
        for (int64_t off = -1; off <= 1; off++) {
            uint64_t value = ((uint64_t)1 << bit) + (uint64_t)off;
            memset(hist, 0, sizeof *hist);
            gb_hist_add(hist, value);
            gb_hist_add(hist, UINT64_MAX);
            uint64_t edge = gb_hist_quantile(hist, 0.5);
            assert_true(edge >= value && edge - value <= value / 32);
            assert_true(gb_hist_count_under(hist, edge) >= 1);
            if (value < 32) assert_true(edge == value);
            if (edge > 0) assert_true(gb_hist_count_under(hist, edge - 1) == 0);
        }
    }
    memset(hist, 0, sizeof *hist);
    for (uint64_t i = 0; i < 1000; i++) gb_hist_add(hist, i);
    assert_true(gb_hist_count_under(hist, 31) == 32);
    uint64_t under = gb_hist_count_under(hist, 500);
    assert_true(under <= 501 && under > 501 - 16);
    free(hist);
}

/* A bucket counts past 32 bits: an hour of a million calls a second is 3.6e9. */
static void test_wide_counts(void **unused)
{
    gb_hist *hist = calloc(1, sizeof *hist), *twice = calloc(1, sizeof *twice);
    gb_hist_add(hist, 7);
    for (int i = 0; i < 33; i++) {
        memcpy(twice, hist, sizeof *hist);
        gb_hist_merge(hist, twice);
    }
    gb_hist_add(hist, 1000);
    assert_true(hist->count == ((uint64_t)1 << 33) + 1);
    assert_true(gb_hist_quantile(hist, 0.5) == 7);
    assert_true(gb_hist_count_under(hist, 7) == (uint64_t)1 << 33);
    free(hist);
    free(twice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_wide_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
