/* src/capacity/record: the score and its edges, staleness to the nanosecond, the largest device. */
#include "capacity/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static const int64_t now = 1000000000000, second = 1000000000;

static gb_capacity sample(int64_t total, int64_t available, int32_t queue)
{
    return (gb_capacity){.devices_count = 2,
                         .queue_depth = queue,
                         .total_mb = total,
                         .available_mb = available,
                         .largest_mb = available / 2,
                         .backend = "cuda",
                         .updated_ns = now};
}

static double score(int64_t total, int64_t available, int32_t queue)
{
    gb_capacity c = sample(total, available, queue);
    return gb_capacity_score(&c, now);
}

static void test_score(void **unused)
{
    static const struct {
        int64_t total, available;
        int32_t queue;
        double score;
    } rows[] = {
        {8000, 8000, 0, 100}, {8000, 4000, 0, 50},   {8000, 4000, 5, 40},
        {8000, 4000, 10, 30}, {8000, 4000, 11, 30},  {8000, 4000, 1000000, 30},
        {8000, 800, 10, 0},   {8000, 400, 10, 0},    {8000, 0, 0, 0},
        {0, 0, 0, 0},         {8000, 9000, 0, 100},  {8000, -5, 0, 0},
        {-8000, 4000, 0, 0},  {8000, 4000, -10, 50}, {8000, 8000, INT32_MAX, 80},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_true(score(rows[i].total, rows[i].available, rows[i].queue) == rows[i].score);
    gb_capacity none = gb_capacity_none(now);
    assert_true(gb_capacity_score(&none, now) == 0);
    gb_capacity c = sample(8000, 8000, 0);
    c.devices_count = 0;
    assert_true(gb_capacity_score(&c, now) == 0);
}

static void test_age(void **unused)
{
    gb_capacity c = sample(100, 100, 0);
    assert_false(gb_capacity_stale(&c, now));
    assert_false(gb_capacity_stale(&c, now + 120 * second));
    assert_true(gb_capacity_score(&c, now + 120 * second) == 100);
    assert_true(gb_capacity_stale(&c, now + 120 * second + 1));
    assert_true(gb_capacity_score(&c, now + 120 * second + 1) == 0);
    assert_false(gb_capacity_stale(&c, now - 3600 * second)); /* its clock is ahead */
    assert_false(gb_capacity_expired(&c, now + 300 * second));
    assert_true(gb_capacity_expired(&c, now + 300 * second + 1));
}

static void test_derived(void **unused)
{
    gb_capacity c = sample(8000, 2000, 4), none = gb_capacity_none(now);
    assert_true(gb_capacity_used_percent(&c) == 75);
    assert_true(gb_capacity_used_percent(&none) == 0);
    assert_true(gb_capacity_has(&c));
    assert_false(gb_capacity_has(&none));
    assert_true(gb_capacity_fits(&c, 1000)); /* not 2000: that is on two devices */
    assert_false(gb_capacity_fits(&c, 1001));
    assert_false(gb_capacity_fits(&none, 0));
    c.available_mb = 0;
    assert_false(gb_capacity_has(&c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_derived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
