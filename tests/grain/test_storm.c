/* All of src/grain at once: simulated storms of many seeds, and storms over real threads. A seed
 * that fails is printed: sim_grain SEED STEPS replays it. */
#include "kit_storm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { STORMS = 60, STEPS = 1500 };

static const int worker_counts[] = {1, 2, 3, 8};

static void test_simulated(void **unused)
{
    seed s = seed_start("grain.storm");
    storm_report sum = {0};
    for (int i = 0; i < STORMS; i++) {
        uint64_t number = seed_next(&s);
        storm_report r = storm_run(number, STEPS, worker_counts[i % 4]);
        if (r.wrong)
            printf("# sim_grain 0x%llx %d %d\n", (unsigned long long)number, STEPS,
                   worker_counts[i % 4]);
        assert_int_equal(r.wrong, 0);
        sum.asked += r.asked;
        sum.turns += r.turns;
        sum.deadlocks += r.deadlocks;
        sum.timeouts += r.timeouts;
        sum.busy += r.busy;
        sum.ended += r.ended;
    }
    printf("# %lld calls, %lld turns, %lld deadlocks, %lld late, %lld busy, %lld ended\n",
           (long long)sum.asked, (long long)sum.turns, (long long)sum.deadlocks,
           (long long)sum.timeouts, (long long)sum.busy, (long long)sum.ended);
    assert_true(sum.deadlocks > 0); /* the storm must reach what it is for */
    assert_true(sum.timeouts > 0);
    assert_true(sum.busy > 0);
    assert_true(sum.ended > 0);
}

static void test_one_seed_one_history(void **unused)
{
    seed s = seed_start("grain.storm history");
    for (int i = 0; i < 8; i++) {
        uint64_t number = seed_next(&s);
        storm_report a = storm_run(number, 500, worker_counts[i % 4]),
                     b = storm_run(number, 500, worker_counts[i % 4]),
                     other = storm_run(number + 1, 500, worker_counts[i % 4]);
        assert_true(a.trace == b.trace);
        assert_true(a.turns == b.turns);
        assert_true(a.trace != other.trace);
    }
}

static void test_threads(void **unused)
{
    seed s = seed_start("grain.storm threads");
    for (int i = 0; i < 4; i++) assert_true(storm_threads(seed_next(&s), 1500, 1 + i, false));
}

static void test_threads_cut(void **unused)
{
    seed s = seed_start("grain.storm threads cut");
    for (int i = 0; i < 8; i++) assert_true(storm_threads(seed_next(&s), 400, 1 + i % 4, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simulated),
        cmocka_unit_test(test_one_seed_one_history),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_threads_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
