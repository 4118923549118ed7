/* src/grain/act.c: activations begin, run their hooks, end. */
#include "kit_kind.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const int worker_counts[] = {1, 2, 3, 8};

static kit_to to(int type, int64_t key)
{
    return (kit_to){type, key, -1, 0};
}

static kit_prog adds(int64_t n)
{
    kit_prog prog = {0};
    kit_add(&prog, n);
    return prog;
}

static void finish(kit *k)
{
    kit_settle(k);
    assert_int_equal(k->wrong, 0);
    assert_int_equal(kit_calls(k), 0);
    kit_close(k);
    assert_int_equal(k->wrong, 0);
}

static void each_count(void (*fn)(int workers, uint64_t number), const char *name)
{
    seed s = seed_start(name);
    for (size_t i = 0; i < sizeof worker_counts / sizeof worker_counts[0]; i++)
        for (int round = 0; round < 5; round++) fn(worker_counts[i], seed_next(&s));
}

static gb_worker *worker_of(kit *k, int type, int64_t key)
{
    for (int i = 0; i < k->silo->worker_count; i++) {
        gb_act *act = gb_act_find(k->silo->workers[i], k->types[type], gb_key_number(key));
        if (act && act->state != GB_ACT_FORWARD) return k->silo->workers[i];
    }
    return NULL;
}

/* Hooks are turns: calls wait for on_activate, on_deactivate runs when it goes. */
static void hooks(int workers, uint64_t number)
{
    kit k;
    kit_ask asks[4];
    gb_type_options options;
    kit_open(&k, workers, number);
    kit_options(&options);
    options.idle_ns = 10 * GB_SEC;
    kit_define(&k, 0, &options);
    kit_note(&k.conf[0].activate, 100);
    kit_park(&k.conf[0].activate, 0);
    kit_add(&k.conf[0].activate, 1000);
    kit_note(&k.conf[0].deactivate, 200);
    kit_park(&k.conf[0].deactivate, 1);
    kit_prog one = adds(1);
    for (int i = 0; i < 3; i++) kit_ask_at(&k, &asks[i], i % workers, to(0, 4), &one);
    kit_settle(&k);
    assert_int_equal(k.note_count, 1);
    for (int i = 0; i < 3; i++) assert_int_equal(asks[i].done, 0);
    kit_wake(&k, 0);
    kit_settle(&k);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(asks[i].done, 1);
        assert_true(asks[i].value > 1000);
    }
    gb_act *act = kit_find(&k, 0, 4);
    uint32_t slot = act->slot, generation = act->generation;
    gb_worker *worker = worker_of(&k, 0, 4);
    assert_ptr_equal(gb_act_at(worker, slot, generation), act);
    gb_silo_advance(k.silo, 10 * GB_SEC - 1);
    assert_int_equal(k.note_count, 1);
    gb_silo_advance(k.silo, 1); /* exactly */
    assert_int_equal(k.note_count, 2);
    assert_int_equal(act->state, GB_ACT_STOPPING);
    /* a call that arrives now is served by a new activation, after this one has ended */
    kit_ask_at(&k, &asks[3], workers - 1, to(0, 4), &one);
    kit_settle(&k);
    assert_int_equal(asks[3].done, 0);
    assert_int_equal(k.note_count, 2);
    kit_wake(&k, 1);
    kit_settle(&k);
    assert_null(gb_act_at(worker, slot, generation));
    assert_int_equal(k.note_count, 3);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(asks[3].value, 1001);
    assert_int_equal(gb_type_activations(k.types[0]), 1);
    k.conf[0].deactivate.count = 2; /* no park at the end */
    gb_silo_advance(k.silo, 3600 * GB_SEC);
    assert_null(kit_find(&k, 0, 4));
    assert_int_equal(gb_type_activations(k.types[0]), 0);
    finish(&k);
}

static void test_hooks(void **unused)
{
    each_count(hooks, "grain.act hooks");
}

/* on_activate fails: all that wait are answered with its error, and the next call tries again. */
static void failing_start(int workers, uint64_t number)
{
    kit k;
    kit_ask asks[6], next;
    kit_open(&k, workers, number);
    kit_define(&k, 0, NULL);
    kit_sleep(&k.conf[0].activate, GB_SEC);
    kit_fail(&k.conf[0].activate, GB_ENOENT);
    kit_note(&k.conf[0].deactivate, 1);
    kit_prog one = adds(1);
    for (int i = 0; i < 6; i++) kit_ask_at(&k, &asks[i], i % workers, to(0, 4), &one);
    gb_silo_advance(k.silo, GB_SEC);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(asks[i].done, 1);
        assert_int_equal(asks[i].rc, GB_ENOENT);
        assert_string_equal(asks[i].message, "boom");
    }
    assert_null(kit_find(&k, 0, 4));
    assert_int_equal(k.note_count, 0); /* what never began has no on_deactivate */
    k.conf[0].activate = (kit_prog){0};
    kit_add(&k.conf[0].activate, 50);
    kit_ask_at(&k, &next, 0, to(0, 4), &one);
    kit_settle(&k);
    assert_int_equal(next.rc, 0);
    assert_int_equal(next.value, 51);
    /* an instance that does not open fails the call that wanted it */
    atomic_store(&k.conf[0].open_fails, 1);
    kit_ask_at(&k, &asks[0], workers - 1, to(0, 5), &one);
    kit_settle(&k);
    assert_int_equal(asks[0].sent < 0 ? asks[0].sent : asks[0].rc, GB_EINVAL);
    assert_string_equal(asks[0].message, "the instance does not open");
    kit_ask_at(&k, &asks[0], workers - 1, to(0, 5), &one);
    kit_settle(&k);
    assert_int_equal(asks[0].value, 51);
    finish(&k);
}

static void test_failing_start(void **unused)
{
    each_count(failing_start, "grain.act failing start");
}

/* A failing on_deactivate ends the activation all the same. */
static void test_failing_end(void **unused)
{
    kit k;
    kit_ask ask;
    kit_open(&k, 2, 1);
    kit_define(&k, 0, NULL);
    kit_fail(&k.conf[0].deactivate, GB_ERAISED);
    kit_prog one = adds(1);
    kit_ask_at(&k, &ask, 0, to(0, 4), &one);
    kit_settle(&k);
    gb_act_stop(worker_of(&k, 0, 4), kit_find(&k, 0, 4), GB_END_ASKED);
    kit_settle(&k);
    assert_null(kit_find(&k, 0, 4));
    finish(&k);
}

/* Asked to stop in its own turn: that turn ends first, and what waits is served by a new one. */
static void stop_inside(int workers, uint64_t number)
{
    kit k;
    kit_ask first, rest[10];
    gb_type_options options;
    kit_open(&k, workers, number);
    kit_options(&options);
    options.queue_max = 3;
    kit_define(&k, 0, &options);
    kit_prog prog = {0}, one = adds(1);
    kit_stop(&prog);
    kit_park(&prog, 0);
    kit_add(&prog, 70);
    kit_ask_at(&k, &first, 0, to(0, 4), &prog);
    kit_settle(&k);
    for (int i = 0; i < 10; i++) /* three in the queue, others wait for room; tells among them */
        if (i % 2)
            kit_tell_at(&k, &rest[i], i % workers, to(0, 4), &one);
        else
            kit_ask_at(&k, &rest[i], i % workers, to(0, 4), &one);
    kit_settle(&k);
    assert_int_equal(first.done, 0);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(first.value, 70);
    assert_int_equal(kit_number(&k, 0, 4), 10); /* a new one: none of the 70, all of the ten */
    assert_null(kit_find(&k, 0, 0));            /* and no tell went astray to another key */
    finish(&k);
}

static void test_stop_inside(void **unused)
{
    each_count(stop_inside, "grain.act stop inside");
}

/* A grain that ends itself whenever it starts: its calls are answered, not tried for ever. */
static void test_stops_at_start(void **unused)
{
    kit k;
    kit_ask ask, tell;
    kit_open(&k, 2, 1);
    kit_define(&k, 0, NULL);
    kit_stop(&k.conf[0].activate);
    kit_prog one = adds(1);
    kit_ask_at(&k, &ask, 0, to(0, 4), &one);
    kit_tell_at(&k, &tell, 0, to(0, 4), &one);
    kit_settle(&k);
    assert_int_equal(ask.done, 1);
    assert_int_equal(ask.rc, GB_EBUSY);
    assert_non_null(strstr(ask.message, "its grain ended 16 times"));
    finish(&k);
}

/* Detached turns: they do not hold the grain, and end with it. */
static void detached(int workers, uint64_t number)
{
    kit k;
    kit_ask ask, other;
    kit_open(&k, workers, number);
    kit_define(&k, 0, NULL);
    kit_prog parks = {0}, prog = {0}, one = adds(1);
    kit_note(&parks, 1);
    kit_park(&parks, 0);
    kit_note(&parks, 2);
    kit_spawn(&prog, &parks);
    kit_spawn(&prog, &one);
    kit_ask_at(&k, &ask, 0, to(0, 4), &prog);
    kit_settle(&k);
    assert_int_equal(ask.done, 1);
    assert_int_equal(k.note_count, 1);
    kit_ask_at(&k, &other, workers - 1, to(0, 4), &one); /* it is not busy */
    kit_settle(&k);
    assert_int_equal(other.value, 2);
    int64_t answered = k.answered;
    gb_act_stop(worker_of(&k, 0, 4), kit_find(&k, 0, 4), GB_END_ASKED);
    kit_settle(&k);
    assert_int_equal(k.answered, answered + 1); /* done of the spawned, cancelled */
    assert_int_equal(k.note_count, 1);
    assert_false(kit_wake(&k, 0));
    assert_int_equal(k.bodies, 0);
    finish(&k);
}

static void test_detached(void **unused)
{
    each_count(detached, "grain.act detached");
}

/* A detached turn asks its own activation to end: not before it has ended or parked. */
static void test_detached_stops(void **unused)
{
    for (int parks = 0; parks < 2; parks++) {
        kit k;
        kit_ask ask;
        kit_open(&k, 1, 1);
        kit_define(&k, 0, NULL);
        kit_prog inner = {0}, prog = {0};
        kit_stop(&inner);
        kit_note(&inner, 5);
        if (parks) kit_park(&inner, 0);
        if (parks) kit_note(&inner, 6);
        kit_spawn(&prog, &inner);
        kit_ask_at(&k, &ask, 0, to(0, 4), &prog);
        kit_settle(&k);
        assert_int_equal(k.note_count, 1);
        assert_null(kit_find(&k, 0, 4));
        assert_int_equal(k.bodies, 0);
        finish(&k);
    }
}

/* What on_deactivate leaves behind (turns, timers) ends with it. */
static void test_late_things(void **unused)
{
    kit k;
    kit_ask ask;
    kit_open(&k, 1, 1);
    kit_define(&k, 0, NULL);
    kit_prog inner = {0}, tick = {0}, one = adds(1);
    kit_park(&inner, 0);
    kit_note(&tick, 9);
    kit_spawn(&k.conf[0].deactivate, &inner);
    kit_timer(&k.conf[0].deactivate, 1000, 1000, &tick);
    kit_ask_at(&k, &ask, 0, to(0, 4), &one);
    kit_settle(&k);
    gb_act_stop(worker_of(&k, 0, 4), kit_find(&k, 0, 4), GB_END_ASKED);
    gb_silo_advance(k.silo, GB_SEC);
    assert_int_equal(k.note_count, 0);
    assert_int_equal(k.bodies, 0);
    finish(&k);
}

/* What a grain and its type have done: calls, not hooks and spawned turns; how long the slow ones
 * took, with their time in the queue; and that nothing is left in the count of those that wait. */
static void test_figures(void **unused)
{
    kit k;
    kit_ask asks[40];
    kit_open(&k, 1, 1);
    kit_define(&k, 0, NULL);
    kit_prog spawned = {0}, one = adds(1);
    kit_note(&spawned, 1);
    kit_sleep(&one, 2 * GB_MS);
    kit_spawn(&one, &spawned);
    k.conf[0].activate = adds(0);
    for (int i = 0; i < 40; i++) kit_ask_at(&k, &asks[i], 0, to(0, 7), &one);
    kit_settle(&k);
    const struct gb_type_local *local = &k.types[0]->local[0];
    gb_act *act = kit_find(&k, 0, 7);
    assert_int_equal(local->queued, 39);
    assert_int_equal(act->queued, 39);
    gb_silo_advance(k.silo, 100 * GB_MS);
    assert_int_equal(local->queued, 0);
    assert_int_equal(act->calls, 40);
    assert_int_equal(local->calls, 40);
    assert_int_equal(k.note_count, 40);
    kit_ask_at(&k, &asks[0], 0, to(0, 8), &one); /* the first one of a grain is not timed */
    gb_silo_advance(k.silo, 10 * GB_MS);
    assert_int_equal(kit_find(&k, 0, 8)->calls, 1);
    for (int i = 1; i < 3; i++) kit_ask_at(&k, &asks[i], 0, to(0, 8), &one);
    gb_silo_advance(k.silo, 10 * GB_MS);
    assert_int_equal(gb_act_slow_ns(kit_find(&k, 0, 8)), 4 * GB_MS); /* it waited for the other */
    assert_true(local->pace && local->pace->count >= 2);
    assert_true(local->pace->max >= 4 * GB_MS);
    finish(&k);
}

static void test_keep_alive(void **unused)
{
    kit k;
    kit_ask ask;
    gb_type_options options;
    kit_open(&k, 2, 1);
    kit_options(&options);
    options.keep_alive = true;
    options.idle_ns = GB_SEC;
    kit_define(&k, 0, &options);
    kit_prog one = adds(1);
    kit_ask_at(&k, &ask, 0, to(0, 4), &one);
    gb_silo_advance(k.silo, 100000 * GB_SEC);
    assert_non_null(kit_find(&k, 0, 4));
    finish(&k);
}

/* Each use puts off the end by idle_ns, exactly, whatever the others do. */
static void idle(int workers, uint64_t number)
{
    kit k;
    gb_type_options options;
    seed s = {number};
    kit_open(&k, workers, number);
    kit_options(&options);
    options.idle_ns = GB_SEC;
    kit_define(&k, 0, &options);
    enum { GRAINS = 40 };
    uint64_t last[GRAINS] = {0};
    bool used[GRAINS] = {false};
    for (int step = 0; step < 300; step++) {
        int64_t key = (int64_t)seed_below(&s, GRAINS);
        kit_ask ask;
        kit_prog one = adds(1);
        kit_ask_at(&k, &ask, (int)seed_below(&s, (uint64_t)workers), to(0, key), &one);
        kit_settle(&k);
        last[key] = gb_now(k.sys);
        used[key] = true;
        gb_silo_advance(k.silo, seed_below(&s, 100 * GB_MS));
        for (int i = 0; i < GRAINS; i++) {
            bool there = used[i] && gb_now(k.sys) < last[i] + GB_SEC;
            assert_int_equal(kit_find(&k, 0, i) != NULL, there);
        }
    }
    finish(&k);
}

static void test_idle(void **unused)
{
    each_count(idle, "grain.act idle");
}

/* ---- many ---- */

static double real_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A part of them where everything costs many times more. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { MANY = 100000 };
#else
enum { MANY = 1000000 };
#endif

static void test_a_million(void **unused)
{
    kit k;
    kit_open(&k, 2, 1);
    kit_define(&k, 0, NULL);
    kit_prog one = adds(1);
    double start = real_seconds();
    kit_ask ask;
    for (int64_t key = 0; key < MANY; key++) {
        kit_ask_at(&k, &ask, (int)(key & 1), to(0, key + KIT_KEYS), &one);
        if (key % 1000 == 999)
            while (gb_silo_pass(k.silo)) continue;
    }
    while (gb_silo_pass(k.silo)) continue;
    assert_int_equal(k.instances, MANY);
    double made = real_seconds();
    gb_silo_advance(k.silo, 600 * GB_SEC);
    double ended = real_seconds();
    assert_int_equal(k.instances, 0);
    printf("# %d: made in %.2f s, ended in %.2f s\n", MANY, made - start, ended - made);
    finish(&k);
}

/* A slot is used again under another generation: an old handle finds nothing. */
static void test_generations(void **unused)
{
    kit k;
    kit_ask ask;
    kit_open(&k, 1, 1);
    kit_define(&k, 0, NULL);
    gb_worker *worker = k.silo->workers[0];
    kit_prog one = adds(1);
    uint32_t slots[100], generations[100];
    for (int i = 0; i < 100; i++) {
        kit_ask_at(&k, &ask, 0, to(0, i), &one);
        kit_settle(&k);
        gb_act *act = kit_find(&k, 0, i);
        slots[i] = act->slot;
        generations[i] = act->generation;
        gb_act_stop(worker, act, GB_END_ASKED);
        for (int old = 0; old <= i; old++)
            assert_null(gb_act_at(worker, slots[old], generations[old]));
    }
    assert_null(gb_act_at(worker, 123456789, 0));
    finish(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hooks),          cmocka_unit_test(test_failing_start),
        cmocka_unit_test(test_failing_end),    cmocka_unit_test(test_stop_inside),
        cmocka_unit_test(test_stops_at_start), cmocka_unit_test(test_detached),
        cmocka_unit_test(test_detached_stops), cmocka_unit_test(test_late_things),
        cmocka_unit_test(test_keep_alive),     cmocka_unit_test(test_idle),
        cmocka_unit_test(test_a_million),      cmocka_unit_test(test_generations),
        cmocka_unit_test(test_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
