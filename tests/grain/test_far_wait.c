/* src/grain/wait.c over several silos: a call that waits for itself is answered at once, whatever
 * way its circle takes, and no other call ever. */
#include "kit_town.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { GRAINS = 10, NEVER = 63 };

static kit_to to(int64_t key)
{
    return (kit_to){0, key, -1, 0};
}

static void open_with(town *t, int count, int workers, uint64_t number, gb_reentrancy reentrant)
{
    gb_type_options options;
    kit_options(&options);
    options.reentrant = reentrant;
    town_open(t, count, workers, number);
    town_define(t, 0, &options);
}

static void each_town(void (*fn)(int silos, int workers, uint64_t number), const char *name,
                      int rounds)
{
    seed s = seed_start(name);
#ifdef __SANITIZE_THREAD__
    rounds = (rounds + 9) / 10; /* where everything costs many times more */
#endif
    for (int round = 0; round < rounds; round++)
        for (int silos = 2; silos <= TOWN_SILOS; silos++)
            for (int workers = 1; workers <= 3; workers += 2) fn(silos, workers, seed_next(&s));
}

/* A program for grain 0 that calls the others of the list in their order, and then 0 again. */
static kit_prog ring(int length)
{
    kit_prog prog = {0};
    kit_add(&prog, 1);
    for (int i = length; i-- > 0;) {
        kit_prog outer = {0};
        kit_call(&outer, to((i + 1) % length), &prog);
        kit_must(&outer);
        prog = outer;
    }
    return prog;
}

/* Grains on silos by turns, or anywhere. */
static void scatter(town *t, seed *s)
{
    for (int key = 0; key < KIT_KEYS; key++) t->owner[key] = (int)seed_below(s, (uint64_t)t->count);
}

static void rings(int silos, int workers, uint64_t number)
{
    static const int lengths[] = {2, 3, 4, 9};
    seed s = {number};
    for (int which = 0; which < 12; which++) {
        gb_reentrancy reentrant = (gb_reentrancy)(which % 3);
        int length = lengths[which / 3];
        town t;
        kit_ask ask;
        open_with(&t, silos, workers, number, reentrant);
        if (seed_below(&s, 2)) scatter(&t, &s);
        kit_prog prog = ring(length), get = {0};
        kit_get(&get);
        kit_ask_at(&t.kit[0], &ask, 0, to(0), &prog);
        town_settle(&t); /* no time passes */
        assert_int_equal(ask.done, 1);
        assert_int_equal(ask.rc, reentrant == GB_REENTRANT_NO ? GB_EDEADLOCK : 0);
        for (int i = 0; i < length; i++) {
            kit_ask_at(&t.kit[silos - 1], &ask, 0, to(i), &get);
            town_settle(&t);
            assert_int_equal(ask.rc, 0);
            assert_int_equal(ask.value, reentrant != GB_REENTRANT_NO && i == 0);
        }
        town_close(&t);
    }
}

static void test_rings(void **state)
{
    each_town(rings, "grain.far_wait rings", 10);
}

/* Two that are reentrant only for their own chains wait for each other: a circle as ever, and no
 * more than both of them are told. */
static void cross(int silos, int workers, uint64_t number)
{
    for (int chain = 0; chain < 2; chain++) {
        town t;
        kit_ask a, b;
        open_with(&t, silos, workers, number, chain ? GB_REENTRANT_CHAIN : GB_REENTRANT_NO);
        kit_prog one = {0}, prog[2] = {{0}, {0}};
        kit_add(&one, 1);
        for (int i = 0; i < 2; i++) {
            kit_park(&prog[i], i);
            kit_call(&prog[i], to(1 - i), &one);
            kit_must(&prog[i]);
        }
        kit_ask_at(&t.kit[0], &a, 0, to(0), &prog[0]);
        kit_ask_at(&t.kit[1], &b, 0, to(1), &prog[1]);
        town_settle(&t);
        kit_wake(&t.kit[0], 0);
        if (number & 1) town_settle(&t); /* one after the other, or both at once */
        kit_wake(&t.kit[1], 1);
        town_settle(&t);
        assert_int_equal(a.done + b.done, 2);
        int refused = (a.rc == GB_EDEADLOCK) + (b.rc == GB_EDEADLOCK);
        assert_true(refused == 1 || (refused == 2 && !(number & 1)));
        town_close(&t);
    }
}

static void test_cross(void **state)
{
    each_town(cross, "grain.far_wait cross", 10);
}

/* The first edge went, by its deadline, before the last one came: there was no circle. */
static void test_gone_before(void **state)
{
    town t;
    kit_ask first, x;
    open_with(&t, 2, 1, 3, GB_REENTRANT_NO); /* 0 at silo 0; 1 and 3 at silo 1 */
    kit_prog one = {0}, calls_x = {0}, a = {0}, calls_a = {0};
    kit_add(&one, 1);
    kit_park(&calls_x, 1);
    kit_call(&calls_x, to(3), &one); /* grain 1 */
    kit_to short_wait = to(1);
    short_wait.timeout_ns = (int64_t)GB_SEC;
    kit_call(&a, short_wait, &calls_x); /* grain 0 */
    kit_park(&a, 0);
    kit_call(&calls_a, to(0), &one); /* grain 3 */
    kit_must(&calls_a);
    kit_ask_at(&t.kit[0], &first, 0, to(0), &a);
    town_settle(&t); /* 0 waits for 1 */
    kit_ask_at(&t.kit[1], &x, 0, to(3), &calls_a);
    town_run(&t);
    assert_true(town_pass(&t, 1, 0)); /* 3 waits for 0 */
    town_run(&t);
    assert_int_equal(t.door[0].questions, 1);   /* on its way: what does 1 wait for? */
    gb_silo_advance(t.kit[0].silo, 2 * GB_SEC); /* 0 waits for 1 no more */
    kit_wake(&t.kit[1], 1);
    kit_settle(&t.kit[1]); /* 1 waits for 3 */
    town_settle(&t);
    assert_int_equal(x.done, 0);
    assert_true(t.door[1].questions > 0); /* it came round, and was not believed */
    kit_wake(&t.kit[0], 0);
    town_settle(&t);
    assert_int_equal(first.done + x.done, 2);
    assert_int_equal(x.rc, 0);
    assert_int_equal(kit_number(&t.kit[0], 0, 0), 1);
    assert_int_equal(kit_number(&t.kit[1], 0, 3), 1);
    town_close(&t);
}

/* A silo dies while questions are under way: every call ends, and nothing is kept. */
static void dies(int silos, int workers, uint64_t number)
{
    seed s = {number};
    town t;
    kit_ask ask[GRAINS];
    open_with(&t, silos, workers, number, GB_REENTRANT_NO);
    kit_prog one = {0};
    kit_add(&one, 1);
    for (int i = 0; i < GRAINS; i++) { /* two rings, of odd and even steps */
        kit_prog prog = {0};
        kit_park(&prog, i);
        kit_call(&prog, to((i + 3) % GRAINS), &one);
        kit_must(&prog);
        kit_ask_at(&t.kit[t.owner[i]], &ask[i], 0, to(i), &prog);
    }
    town_settle(&t);
    for (int i = 0; i < GRAINS; i++) kit_wake(&t.kit[t.owner[i]], i);
    for (uint64_t i = seed_below(&s, 20); i > 0; i--) town_stir(&t, &s);
    town_kill(&t, silos - 1);
    town_settle(&t);
    for (int i = 0; i < GRAINS; i++)
        if (t.owner[i] != silos - 1) {
            assert_int_equal(ask[i].done, 1);
            assert_true(ask[i].rc == 0 || ask[i].rc == GB_EDEADLOCK || ask[i].rc == GB_ELOST);
        }
    town_close(&t);
}

static void test_dies(void **state)
{
    each_town(dies, "grain.far_wait dies", 100);
}

/* No question when nobody waits: a call to a grain that is free, or busy with itself. */
static void test_no_question(void **state)
{
    town t;
    kit_ask ask, second;
    open_with(&t, 2, 1, 3, GB_REENTRANT_NO);
    kit_prog one = {0}, busy = {0}, prog = {0};
    kit_add(&one, 1);
    kit_park(&busy, 0);
    kit_call(&prog, to(1), &busy);
    kit_must(&prog);
    kit_ask_at(&t.kit[0], &ask, 0, to(0), &prog);
    town_settle(&t);
    kit_ask_at(&t.kit[0], &second, 0, to(1), &one); /* behind a turn that waits for no call */
    town_settle(&t);
    assert_int_equal(ask.done + second.done, 0);
    assert_int_equal(t.door[0].questions + t.door[1].questions, 0);
    kit_wake(&t.kit[1], 0);
    town_settle(&t);
    assert_int_equal(ask.done + second.done, 2);
    assert_int_equal(t.door[0].questions + t.door[1].questions, 0);
    town_close(&t);
}

/* ---- random graphs ----
 *
 * Each grain calls one other (or none), at once or sent early and awaited late. Each circle of the
 * graph loses at least one call; who is on none loses none. */
typedef struct graph {
    int targets[GRAINS];
    bool circle[GRAINS];
    kit_ask asks[GRAINS];
} graph;

static void draw(graph *g, seed *s)
{
    for (int i = 0; i < GRAINS; i++)
        g->targets[i] = seed_below(s, 6) ? (int)seed_below(s, GRAINS) : -1;
    for (int i = 0; i < GRAINS; i++) {
        int at = g->targets[i];
        for (int steps = 0; at >= 0 && steps < GRAINS && at != i; steps++) at = g->targets[at];
        g->circle[i] = at == i;
    }
}

static void begin(town *t, graph *g, seed *s)
{
    kit_prog one = {0};
    kit_add(&one, 1);
    for (int i = 0; i < GRAINS; i++) {
        kit_prog prog = {0};
        kit_park(&prog, i);
        if (g->targets[i] >= 0 && seed_below(s, 2)) {
            kit_async(&prog, 0, to(g->targets[i]), &one);
            for (uint64_t more = seed_below(s, 4); more > 0; more--) kit_yield(&prog);
            kit_await(&prog, 0);
        } else if (g->targets[i] >= 0) {
            kit_call(&prog, to(g->targets[i]), &one);
        }
        kit_must(&prog);
        kit_ask_at(&t->kit[t->owner[i]], &g->asks[i], 0, to(i), &prog);
    }
    town_settle(t);
}

static void judge(const graph *g)
{
    for (int i = 0; i < GRAINS; i++) {
        assert_int_equal(g->asks[i].done, 1); /* nobody is left: all circles were seen */
        if (!g->circle[i]) {
            assert_int_equal(g->asks[i].rc, 0);
            continue;
        }
        int refused = g->asks[i].rc == GB_EDEADLOCK;
        for (int at = g->targets[i]; at != i; at = g->targets[at])
            refused += g->asks[at].rc == GB_EDEADLOCK;
        assert_true(refused >= 1);
    }
}

static void at_once(int silos, int workers, uint64_t number)
{
    seed s = {number};
    town t;
    graph g;
    open_with(&t, silos, workers, number, GB_REENTRANT_NO);
    scatter(&t, &s);
    draw(&g, &s);
    begin(&t, &g, &s);
    for (int i = 0; i < GRAINS; i++) {
        kit_wake(&t.kit[t.owner[i]], i);
        town_stir(&t, &s);
    }
    town_settle(&t);
    judge(&g);
    town_close(&t);
}

static void test_at_once(void **state)
{
    each_town(at_once, "grain.far_wait at once", 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rings),       cmocka_unit_test(test_cross),
        cmocka_unit_test(test_gone_before), cmocka_unit_test(test_dies),
        cmocka_unit_test(test_no_question), cmocka_unit_test(test_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
