/* src/sys/sys_sim.c: time that moves when told, numbers from one seed, work outside that is waited
 * for. */
#include "sys/sys.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "panic.h"

#include <pthread.h>

static void test_time(void **unused)
{
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    gb_mem_init(&mem, "test", NULL, 0);
    assert_int_equal(gb_sys_sim_open(&sys, &mem, 1), 0);
    assert_true(gb_sys_is_sim(sys));
    assert_int_equal(gb_now(sys), 0);
    int64_t wall = gb_wall(sys);
    gb_sim_advance_to(sys, 5 * GB_SEC);
    assert_int_equal(gb_now(sys), 5 * GB_SEC);
    assert_int_equal(gb_wall(sys) - wall, 5 * GB_SEC);
    gb_sim_advance_to(sys, GB_SEC); /* never back */
    assert_int_equal(gb_now(sys), 5 * GB_SEC);
    assert_int_equal(sys->door->loop_open(&loop, sys), 0);
    gb_loop_wait(loop, GB_FOREVER); /* nobody sleeps here */
    gb_loop_wake(loop);
    assert_int_equal(gb_now(sys), 5 * GB_SEC);
    assert_int_equal(sys->door->loop_fd(loop), -1);
    sys->door->loop_close(loop);
    gb_sys_close(sys);
    gb_mem_fini(&mem);
}

static void test_seed(void **unused)
{
    seed s = seed_start("sys.sim seed");
    uint64_t number = seed_next(&s);
    gb_mem mem;
    gb_sys *a, *b, *c;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_sys_sim_open(&a, &mem, number);
    gb_sys_sim_open(&b, &mem, number);
    gb_sys_sim_open(&c, &mem, number + 1);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t x = gb_random(a);
        assert_true(x == gb_random(b));
        same += x == gb_random(c);
    }
    assert_int_equal(same, 0);
    gb_sys_close(a);
    gb_sys_close(b);
    gb_sys_close(c);
    gb_mem_fini(&mem);
}

static void *work(void *user)
{
    gb_sys *sys = user;
    gb_sim_release(sys);
    return NULL;
}

/* Each end of work outside is news, also while other work is still held. */
static void test_outside(void **unused)
{
    gb_mem mem;
    gb_sys *sys;
    pthread_t thread;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_sys_sim_open(&sys, &mem, 1);
    gb_sim_hold(sys);
    gb_sim_hold(sys);
    assert_int_equal(gb_sim_held(sys), 2);
    assert_false(gb_sim_wait_outside(sys, 1));
    pthread_create(&thread, NULL, work, sys);
    assert_true(gb_sim_wait_outside(sys, 60000));
    pthread_join(thread, NULL);
    assert_int_equal(gb_sim_held(sys), 1);
    assert_false(gb_sim_wait_outside(sys, 1)); /* told once */
    pthread_create(&thread, NULL, work, sys);
    assert_true(gb_sim_wait_outside(sys, 60000));
    pthread_join(thread, NULL);
    assert_int_equal(gb_sim_held(sys), 0);
    assert_true(gb_sim_wait_outside(sys, 1));
    gb_sys_close(sys);
    gb_mem_fini(&mem);
}

static void test_misuse(void **unused)
{
    gb_mem mem;
    gb_sys *sys;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_sys_sim_open(&sys, &mem, 1);
    gb_sim_hold(sys);
    gb_sim_release(sys);
    gb_sys_close(sys);
    atomic_store(&mem.fail_at, 1);
    assert_int_equal(gb_sys_sim_open(&sys, &mem, 1), GB_ENOMEM);
    gb_sys_sim_open(&sys, &mem, 1);
    gb_sim_hold(sys);
    expect_assert_failure(gb_sys_close(sys)); /* somebody still works */
    gb_sim_release(sys);
    gb_sys_close(sys);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_outside),
        cmocka_unit_test(test_misuse),
    };
    panic_expected();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
