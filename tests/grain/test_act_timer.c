/* src/grain/act_timer.c: ticks are turns, in virtual time to the nanosecond. */
#include "kit_kind.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

static kit_to to(int64_t key)
{
    return (kit_to){0, key, -1, 0};
}

static void open_idle(kit *k, uint64_t idle_ns)
{
    gb_type_options options;
    kit_open(k, 2, 1);
    kit_options(&options);
    options.idle_ns = idle_ns;
    assert_non_null(kit_define(k, 0, &options));
}

static void finish(kit *k)
{
    kit_settle(k);
    assert_int_equal(k->wrong, 0);
    kit_close(k);
    assert_int_equal(k->wrong, 0);
}

static void ask(kit *k, const kit_prog *prog)
{
    kit_ask asked;
    kit_ask_at(k, &asked, 0, to(1), prog);
    kit_settle(k);
    assert_int_equal(asked.done, 1);
    assert_int_equal(asked.rc, 0);
}

static void end(kit *k)
{
    gb_act *act = kit_find(k, 0, 1);
    gb_act_stop(gb_worker_of_key(k->types[0], gb_key_number(1)), act, GB_END_ASKED);
    kit_settle(k);
}

static void test_every(void **unused)
{
    kit k;
    kit_prog tick = {0}, prog = {0};
    open_idle(&k, 3600 * GB_SEC);
    kit_note(&tick, 1);
    kit_timer(&prog, 250, 1000, &tick);
    ask(&k, &prog);
    gb_silo_advance(k.silo, 249);
    assert_int_equal(k.note_count, 0);
    gb_silo_advance(k.silo, 1);
    assert_int_equal(k.note_count, 1);
    for (int i = 1; i < 50; i++) {
        gb_silo_advance(k.silo, 999);
        assert_int_equal(k.note_count, i);
        gb_silo_advance(k.silo, 1);
        assert_int_equal(k.note_count, i + 1);
    }
    assert_int_equal(kit_calls(&k), 0);
    end(&k);
    gb_silo_advance(k.silo, GB_SEC); /* it ends with its activation */
    assert_int_equal(k.note_count, 50);
    finish(&k);
}

static void test_once(void **unused)
{
    kit k;
    kit_prog tick = {0}, prog = {0};
    open_idle(&k, 3600 * GB_SEC);
    kit_note(&tick, 1);
    kit_timer(&prog, 5000, 0, &tick);
    kit_timer(&prog, 0, 0, &tick); /* at once, but a turn of its own */
    ask(&k, &prog);
    assert_int_equal(k.note_count, 1);
    gb_silo_advance(k.silo, GB_SEC);
    assert_int_equal(k.note_count, 2);
    assert_null(kit_find(&k, 0, 1)->timers); /* it is gone */
    finish(&k);
}

/* A tick that waits or runs swallows the next ones, and the rhythm stays. */
static void test_coalesce(void **unused)
{
    kit k;
    kit_prog tick = {0}, prog = {0};
    open_idle(&k, 3600 * GB_SEC);
    kit_note(&tick, 1);
    kit_sleep(&tick, 3500);
    kit_timer(&prog, 1000, 1000, &tick);
    ask(&k, &prog);
    gb_silo_advance(k.silo, 4500); /* ran at 1000 until 4500 */
    assert_int_equal(k.note_count, 1);
    gb_silo_advance(k.silo, 499);
    assert_int_equal(k.note_count, 1);
    gb_silo_advance(k.silo, 1);
    assert_int_equal(k.note_count, 2);
    gb_silo_advance(k.silo, 4000);
    assert_int_equal(k.note_count, 3);
    assert_int_equal(kit_calls(&k), 1);
    finish(&k);
}

/* While a turn holds the grain for long, one tick waits, not many. */
static void test_busy(void **unused)
{
    kit k;
    kit_ask asked;
    kit_prog tick = {0}, prog = {0};
    open_idle(&k, 3600 * GB_SEC);
    kit_note(&tick, 1);
    kit_timer(&prog, 1000, 1000, &tick);
    kit_sleep(&prog, 20500);
    kit_ask_at(&k, &asked, 0, to(1), &prog);
    gb_silo_advance(k.silo, 20499);
    assert_int_equal(k.note_count, 0);
    gb_silo_advance(k.silo, 1);
    assert_int_equal(k.note_count, 1);
    gb_silo_advance(k.silo, 499);
    assert_int_equal(k.note_count, 1);
    gb_silo_advance(k.silo, 1);
    assert_int_equal(k.note_count, 2);
    finish(&k);
}

/* The driver slept over many ticks (a machine that was suspended): one tick, then the old rhythm.
 */
static void test_missed(void **unused)
{
    kit k;
    kit_prog tick = {0}, prog = {0};
    open_idle(&k, 3600 * GB_SEC);
    kit_note(&tick, 1);
    kit_timer(&prog, 1000, 1000, &tick);
    ask(&k, &prog);
    gb_sim_advance_to(k.sys, gb_now(k.sys) + 10700);
    kit_settle(&k);
    assert_int_equal(k.note_count, 1);
    gb_silo_advance(k.silo, 299);
    assert_int_equal(k.note_count, 1);
    gb_silo_advance(k.silo, 1);
    assert_int_equal(k.note_count, 2);
    finish(&k);
}

static void test_stop_from_tick(void **unused)
{
    kit k;
    kit_prog tick = {0}, prog = {0};
    open_idle(&k, 3600 * GB_SEC);
    kit_note(&tick, 1);
    kit_timer_stop(&tick);
    kit_yield(&tick);
    kit_note(&tick, 2);
    kit_timer(&prog, 10, 10, &tick);
    ask(&k, &prog);
    gb_silo_advance(k.silo, 1000);
    assert_int_equal(k.note_count, 2);
    assert_null(kit_find(&k, 0, 1)->timers);
    finish(&k);
}

/* A tick may end its own activation. */
static void test_tick_ends(void **unused)
{
    kit k;
    kit_prog tick = {0}, prog = {0};
    open_idle(&k, 3600 * GB_SEC);
    kit_note(&tick, 1);
    kit_stop(&tick);
    kit_timer(&prog, 10, 10, &tick);
    ask(&k, &prog);
    gb_silo_advance(k.silo, 1000);
    assert_int_equal(k.note_count, 1);
    assert_null(kit_find(&k, 0, 1));
    assert_int_equal(k.instances, 0); /* and no tick woke grain 0, or this one again */
    finish(&k);
}

/* Ticks that wait when their activation ends are not served by the next one. */
static void test_waiting_tick_ends(void **unused)
{
    kit k;
    kit_ask asked;
    kit_prog tick = {0}, prog = {0};
    open_idle(&k, 3600 * GB_SEC);
    kit_note(&tick, 1);
    kit_timer(&prog, 10, 10, &tick);
    kit_stop(&prog);
    kit_sleep(&prog, 1000);
    kit_ask_at(&k, &asked, 0, to(1), &prog);
    gb_silo_advance(k.silo, 5000);
    assert_int_equal(asked.done, 1);
    assert_int_equal(k.note_count, 0);
    assert_int_equal(k.instances, 0);
    assert_int_equal(kit_calls(&k), 0);
    finish(&k);
}

/* Ticks do not keep it alive: it ends exactly idle_ns after its last real use, also when a tick
 * runs at that moment, and whatever the others do. */
static void test_not_alive(void **unused)
{
    for (int64_t every = 10; every < 2000; every = every * 3 + 7)
        for (int long_tick = 0; long_tick < 2; long_tick++) {
            kit k;
            kit_ask other;
            kit_prog tick = {0}, prog = {0}, one = {0};
            open_idle(&k, 1000);
            if (long_tick) kit_sleep(&tick, 100);
            kit_add(&tick, 1);
            kit_add(&one, 1);
            kit_timer(&prog, every, every, &tick);
            ask(&k, &prog);
            gb_silo_advance(k.silo, 500);
            kit_ask_at(&k, &other, 0, to(2), &one);
            gb_silo_advance(k.silo, 499);
            kit_check(&k);
            assert_non_null(kit_find(&k, 0, 1));
            gb_silo_advance(k.silo, long_tick ? 101 : 1);
            kit_check(&k);
            assert_null(kit_find(&k, 0, 1));
            assert_non_null(kit_find(&k, 0, 2));
            gb_silo_advance(k.silo, 501);
            assert_null(kit_find(&k, 0, 2));
            assert_int_equal(kit_calls(&k), 0);
            finish(&k);
        }
}

/* Absurd times do not wrap around. */
static void test_absurd(void **unused)
{
    kit k;
    kit_prog tick = {0}, prog = {0};
    open_idle(&k, 3600 * GB_SEC);
    kit_note(&tick, 1);
    kit_timer(&prog, INT64_MAX, INT64_MAX, &tick);
    kit_timer(&prog, 1, INT64_MAX, &tick);
    kit_timer(&prog, -1, -1, &tick); /* the most that 64 bits hold */
    ask(&k, &prog);
    gb_silo_advance(k.silo, 100 * GB_SEC);
    assert_int_equal(k.note_count, 1);
    finish(&k);
}

/* Without memory at its moment a single tick comes later, but comes. */
static void test_no_memory(void **unused)
{
    kit k;
    kit_prog tick = {0}, prog = {0};
    open_idle(&k, 3600 * GB_SEC);
    kit_note(&tick, 1);
    for (int i = 0; i < 200; i++) kit_get(&tick); /* its bytes do not lie ready */
    kit_timer(&prog, 1000, 0, &tick);
    ask(&k, &prog);
    k.mem.bytes_max = k.mem.bytes;
    gb_silo_advance(k.silo, 1000);
    assert_int_equal(k.note_count, 0);
    k.mem.bytes_max = 0;
    gb_silo_advance(k.silo, GB_SEC);
    assert_int_equal(k.note_count, 1);
    finish(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every),     cmocka_unit_test(test_once),
        cmocka_unit_test(test_coalesce),  cmocka_unit_test(test_busy),
        cmocka_unit_test(test_missed),    cmocka_unit_test(test_stop_from_tick),
        cmocka_unit_test(test_tick_ends), cmocka_unit_test(test_waiting_tick_ends),
        cmocka_unit_test(test_not_alive), cmocka_unit_test(test_absurd),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
