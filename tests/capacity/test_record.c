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
    gb_capacity fresh = gb_capacity_update(&c, 40, 30, 3, now + 200 * second);
    assert_false(gb_capacity_stale(&fresh, now + 200 * second));
    assert_int_equal(fresh.available_mb, 40);
    assert_int_equal(fresh.largest_mb, 30);
    assert_int_equal(fresh.queue_depth, 3);
    assert_int_equal(fresh.total_mb, 100);
    assert_int_equal(fresh.devices_count, 2);
    assert_string_equal(fresh.backend, "cuda");
}

static void test_derived(void **unused)
{
    gb_capacity c = sample(8000, 2000, 4), none = gb_capacity_none(now);
    char text[GB_CAPACITY_TEXT_BYTES];
    assert_true(gb_capacity_used_percent(&c) == 75);
    assert_true(gb_capacity_used_percent(&none) == 0);
    assert_true(gb_capacity_has(&c));
    assert_false(gb_capacity_has(&none));
    assert_true(gb_capacity_fits(&c, 1000)); /* not 2000: that is on two devices */
    assert_false(gb_capacity_fits(&c, 1001));
    assert_false(gb_capacity_fits(&none, 0));
    c.available_mb = 0;
    assert_false(gb_capacity_has(&c));
    c.available_mb = 2000;
    gb_capacity_text(&c, text);
    assert_string_equal(text, "2 GPUs (cuda), 2000 of 8000 MB available, 1000 on one device, "
                              "4 launches wait");
    gb_capacity_text(&none, text);
    assert_string_equal(text, "no GPU");
    memset(c.backend, 'x', sizeof c.backend); /* from the wire, without its NUL */
    gb_capacity_text(&c, text);
    assert_non_null(strstr(text, "(xxxxxxxxxxxxxxx)"));
}

static void test_of_ledger(void **unused)
{
    static const int64_t mb = 1 << 20;
    const gb_ledger_device devices[] = {
        {4096 * mb, 0, true}, {8192 * mb, 0, true}, {64000 * mb, 0, false}};
    gb_mem mem;
    gb_ledger *ledger;
    gb_reservation a, b, c;
    gb_mem_init(&mem, "test", NULL, 0);
    assert_int_equal(gb_ledger_new(&ledger, &mem, devices, 3), 0);
    assert_int_equal(gb_ledger_reserve(ledger, &(gb_ledger_claim){0, 1, 1, 6000 * mb, 3}, &a), 0);
    assert_int_equal(gb_ledger_reserve(ledger, &(gb_ledger_claim){0, 1, 0, 96 * mb, 1}, &b), 0);
    assert_int_equal(gb_ledger_reserve(ledger, &(gb_ledger_claim){0, 1, 2, 9 * mb, 50}, &c), 0);
    gb_capacity r = gb_capacity_of(ledger, "cuda", now);
    assert_int_equal(r.devices_count, 2); /* the cpu backend is no GPU */
    assert_int_equal(r.total_mb, 4096 + 8192);
    assert_int_equal(r.available_mb, 4000 + 2192);
    assert_int_equal(r.largest_mb, 4000);
    assert_int_equal(r.queue_depth, 4);
    assert_string_equal(r.backend, "cuda");
    assert_int_equal(r.updated_ns, now);
    gb_ledger_resize(ledger, 1, 5000 * mb); /* less than is reserved: nothing available */
    r = gb_capacity_of(ledger, "cuda", now);
    assert_int_equal(r.available_mb, 4000);
    gb_ledger_release(ledger, a);
    gb_ledger_release(ledger, b);
    gb_ledger_release(ledger, c);
    gb_ledger_free(ledger);
    assert_int_equal(gb_ledger_new(&ledger, &mem, devices + 2, 1), 0);
    r = gb_capacity_of(ledger, "cpu", now);
    assert_int_equal(r.devices_count, 0);
    assert_string_equal(r.backend, "");
    gb_ledger_free(ledger);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_derived),
        cmocka_unit_test(test_of_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
