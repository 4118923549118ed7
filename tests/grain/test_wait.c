/* src/grain/wait.c: calls that wait for themselves are answered at once, others never. */
#include "kit_kind.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { GRAINS = 12, NEVER = 63 };

static const int worker_counts[] = {1, 2, 3, 8};

static kit_to to(int type, int64_t key)
{
    return (kit_to){type, key, -1, 0};
}

static void define_at(kit *k, int index, gb_reentrancy reentrant, gb_placement placement)
{
    gb_type_options options;
    kit_options(&options);
    options.reentrant = reentrant;
    options.placement = placement;
    assert_non_null(kit_define(k, index, &options));
}

static void define(kit *k, int index, gb_reentrancy reentrant)
{
    define_at(k, index, reentrant, GB_PLACE_RANDOM);
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
        for (int round = 0; round < 10; round++) fn(worker_counts[i], seed_next(&s));
}

/* A program for grain `first` that calls first + 1, ..., first + length - 1, and then first again.
 */
static kit_prog ring(int type, int64_t first, int length)
{
    kit_prog prog = {0};
    kit_add(&prog, 1);
    for (int i = length; i-- > 0;) {
        kit_prog outer = {0};
        kit_call(&outer, to(type, first + (i + 1) % length), &prog);
        kit_must(&outer);
        prog = outer;
    }
    return prog;
}

static void rings(int workers, uint64_t number)
{
    static const int lengths[] = {1, 2, 3, 7, 30};
    for (int which = 0; which < 10; which++) {
        kit k;
        kit_ask ask, after;
        kit_open(&k, workers, number);
        /* local: the first call goes home and is passed back to where it came from */
        define_at(&k, 0, GB_REENTRANT_NO, which < 5 ? GB_PLACE_RANDOM : GB_PLACE_LOCAL);
        kit_prog prog = ring(0, 0, lengths[which % 5]);
        kit_ask_at(&k, &ask, (int)(number % (uint64_t)workers), to(0, 0), &prog);
        kit_settle(&k); /* no time passes: at once */
        assert_int_equal(ask.done, 1);
        assert_int_equal(ask.rc, GB_EDEADLOCK);
        assert_int_equal(kit_calls(&k), 0);
        kit_prog get = {0};
        kit_get(&get);
        for (int i = 0; i < lengths[which % 5]; i++) {
            kit_ask_at(&k, &after, 0, to(0, i), &get);
            kit_settle(&k);
            assert_int_equal(after.rc, 0);
            assert_int_equal(after.value, 0);
        }
        finish(&k);
    }
}

static void test_rings(void **unused)
{
    each_count(rings, "grain.wait rings");
}

/* The same programs where the types allow it. */
static void admitted(int workers, uint64_t number)
{
    for (int reentrant = GB_REENTRANT_YES; reentrant <= GB_REENTRANT_CHAIN; reentrant++)
        for (int length = 1; length < 9; length += 2) {
            kit k;
            kit_ask ask;
            kit_open(&k, workers, number);
            define(&k, 0, (gb_reentrancy)reentrant);
            kit_prog prog = ring(0, 0, length);
            kit_ask_at(&k, &ask, (int)(number % (uint64_t)workers), to(0, 0), &prog);
            kit_settle(&k);
            assert_int_equal(ask.done, 1);
            assert_int_equal(ask.rc, 0);
            assert_int_equal(ask.value, 1);
            finish(&k);
        }
}

static void test_admitted(void **unused)
{
    each_count(admitted, "grain.wait admitted");
}

/* Chain: only what comes back along its own chain. Others wait, and two that wait for each other
 * are a circle as ever. */
static void chain_is_not_yes(int workers, uint64_t number)
{
    kit k;
    kit_ask holder, other, a, b;
    kit_open(&k, workers, number);
    define(&k, 0, GB_REENTRANT_CHAIN);
    kit_prog parks = {0}, one = {0};
    kit_park(&parks, 0);
    kit_add(&one, 1);
    kit_ask_at(&k, &holder, 0, to(0, 1), &parks);
    kit_settle(&k);
    kit_ask_at(&k, &other, workers - 1, to(0, 1), &one);
    kit_settle(&k);
    assert_int_equal(other.done, 0);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(other.done, 1);
    kit_prog cross[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        kit_park(&cross[i], i);
        kit_call(&cross[i], to(0, 1 + (1 - i)), &one);
        kit_must(&cross[i]);
    }
    kit_ask_at(&k, &a, 0, to(0, 1), &cross[0]);
    kit_ask_at(&k, &b, workers - 1, to(0, 2), &cross[1]);
    kit_settle(&k);
    kit_wake(&k, 0);
    kit_wake(&k, 1);
    kit_settle(&k);
    assert_int_equal(a.done, 1);
    assert_int_equal(b.done, 1);
    assert_int_equal((a.rc == GB_EDEADLOCK) + (b.rc == GB_EDEADLOCK), 1);
    finish(&k);
}

static void test_chain_is_not_yes(void **unused)
{
    each_count(chain_is_not_yes, "grain.wait chain");
}

/* The call that closes the circle was sent long before anybody waits for it. */
static void async_later(int workers, uint64_t number)
{
    for (int reentrant = GB_REENTRANT_NO; reentrant <= GB_REENTRANT_CHAIN; reentrant += 2)
        for (int wait = 0; wait < 2; wait++) {
            kit k;
            kit_ask ask;
            kit_open(&k, workers, number);
            define(&k, 0, (gb_reentrancy)reentrant);
            kit_prog one = {0}, back = {0}, prog = {0};
            kit_add(&one, 1);
            kit_call(&back, to(0, 1), &one);
            kit_must(&back);
            kit_async(&prog, 0, to(0, 2), &back);
            if (wait) kit_park(&prog, 0);
            kit_await(&prog, 0);
            kit_must(&prog);
            kit_ask_at(&k, &ask, (int)(number % (uint64_t)workers), to(0, 1), &prog);
            kit_settle(&k);
            if (wait) {
                assert_int_equal(ask.done, 0); /* it is not waiting for itself yet */
                kit_wake(&k, 0);
                kit_settle(&k);
            }
            assert_int_equal(ask.done, 1);
            assert_int_equal(ask.rc, reentrant == GB_REENTRANT_NO ? GB_EDEADLOCK : 0);
            finish(&k);
        }
}

static void test_async_later(void **unused)
{
    each_count(async_later, "grain.wait async");
}

/* While it is looked at, the turn that others wait for is parked on something else; only then does
 * it come to wait for the call that is part of the circle, which is neither new nor in a queue. */
static void waits_for_another(int workers, uint64_t number)
{
    kit k;
    kit_ask ask;
    kit_open(&k, workers, number);
    define(&k, 0, GB_REENTRANT_NO);
    kit_prog one = {0}, back = {0}, parks = {0}, prog = {0};
    kit_add(&one, 1);
    kit_call(&back, to(0, 1), &one);
    kit_must(&back);
    kit_park(&parks, 0);
    kit_async(&prog, 0, to(0, 2), &back);
    kit_call(&prog, to(0, 3), &parks);
    kit_await(&prog, 0);
    kit_must(&prog);
    kit_ask_at(&k, &ask, (int)(number % (uint64_t)workers), to(0, 1), &prog);
    kit_settle(&k);
    assert_int_equal(ask.done, 0);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(ask.done, 1);
    assert_int_equal(ask.rc, GB_EDEADLOCK);
    finish(&k);
}

static void test_waits_for_another(void **unused)
{
    each_count(waits_for_another, "grain.wait another");
}

/* A circle through hooks: what starts or ends admits nobody, also where chains are admitted. */
static void hooks(int workers, uint64_t number)
{
    for (int reentrant = GB_REENTRANT_NO; reentrant <= GB_REENTRANT_CHAIN; reentrant++) {
        kit k;
        kit_ask ask;
        kit_open(&k, workers, number);
        define(&k, 0, (gb_reentrancy)reentrant);
        define(&k, 1, GB_REENTRANT_NO);
        kit_prog one = {0}, back = {0};
        kit_add(&one, 1);
        kit_call(&back, to(0, 1), &one);
        kit_must(&back);
        kit_call(&k.conf[0].activate, to(1, 2), &back);
        kit_must(&k.conf[0].activate);
        kit_ask_at(&k, &ask, (int)(number % (uint64_t)workers), to(0, 1), &one);
        kit_settle(&k);
        assert_int_equal(ask.done, 1);
        assert_int_equal(ask.rc, GB_EDEADLOCK);
        finish(&k);
    }
}

static void test_hooks(void **unused)
{
    each_count(hooks, "grain.wait hooks");
}

/* No memory for probes: the deadline ends it. */
static void test_no_probe(void **unused)
{
    kit k;
    kit_ask ask;
    kit_open(&k, 3, 5);
    define(&k, 0, GB_REENTRANT_NO);
    kit_prog one = {0}, prog = {0};
    kit_add(&one, 1);
    prog = ring(0, 0, 9);
    kit_to bounded = to(0, 0);
    bounded.timeout_ns = GB_SEC;
    kit_ask_at(&k, &ask, 0, bounded, &prog);
    k.mem.bytes_max = k.mem.bytes + 60000; /* enough for the calls or not: it must end */
    kit_settle(&k);
    gb_silo_advance(k.silo, GB_SEC);
    assert_int_equal(ask.done, 1);
    assert_true(ask.rc < 0);
    k.mem.bytes_max = 0;
    gb_silo_advance(k.silo, GB_SEC);
    kit_close(&k);
}

/* ---- random graphs against a model ----
 *
 * Each grain runs one turn that parks until it is told, then calls another grain (or none, and
 * stays). All edges are added one by one in a random order: a call behind a busy grain waits for
 * it. The model keeps who waits for whom: an edge that would close a circle must be answered with
 * EDEADLOCK at once, by then or later none other. */
typedef struct model {
    int waits[GRAINS]; /* -1: for nobody */
    bool alive[GRAINS];
} model;

static bool would_close(const model *m, int from, int target)
{
    for (int at = target, steps = 0; at >= 0 && steps <= GRAINS; at = m->waits[at], steps++)
        if (at == from) return true;
    return false;
}

static void settle_some(kit *k, seed *s)
{
    if (seed_below(s, 2)) {
        kit_settle(k);
        return;
    }
    for (uint64_t passes = seed_below(s, 6); passes > 0; passes--) {
        gb_worker_pass(k->silo->workers[seed_below(s, (uint64_t)k->silo->worker_count)], 0);
        kit_check(k);
    }
}

/* One edge at a time, with any number of passes between them, and a full one before it is judged.
 */
static void graph(int workers, uint64_t number)
{
    kit k;
    seed s = {number};
    model m;
    kit_ask asks[GRAINS];
    int targets[GRAINS], order[GRAINS];
    kit_open(&k, workers, number);
    define(&k, 0, GB_REENTRANT_NO);
    kit_prog one = {0};
    kit_add(&one, 1);
    for (int i = 0; i < GRAINS; i++) {
        kit_prog prog = {0};
        targets[i] = seed_below(&s, 5) ? (int)seed_below(&s, GRAINS) : -1;
        kit_park(&prog, i);
        if (targets[i] >= 0) {
            kit_call(&prog, to(0, targets[i]), &one);
            kit_must(&prog);
        }
        kit_park(&prog, NEVER - i); /* alive until the end */
        kit_ask_at(&k, &asks[i], (int)seed_below(&s, (uint64_t)workers), to(0, i), &prog);
        m.waits[i] = -1;
        m.alive[i] = true;
        order[i] = i;
    }
    kit_settle(&k);
    for (int i = GRAINS; i > 1; i--) {
        int other = (int)seed_below(&s, (uint64_t)i), swap = order[i - 1];
        order[i - 1] = order[other];
        order[other] = swap;
    }
    for (int i = 0; i < GRAINS; i++) {
        int from = order[i], target = targets[from];
        kit_wake(&k, from);
        if (target < 0) continue;
        kit_settle(&k);
        if (!m.alive[target]) { /* it is free: answered */
            assert_int_equal(asks[from].done, 0);
            continue;
        }
        if (would_close(&m, from, target)) {
            assert_int_equal(asks[from].done, 1);
            assert_int_equal(asks[from].rc, GB_EDEADLOCK);
            m.alive[from] = false; /* its turn has ended; who waited for it has been served */
            for (int who = 0; who < GRAINS; who++)
                if (m.waits[who] == from) m.waits[who] = -1;
        } else {
            assert_int_equal(asks[from].done, 0);
            m.waits[from] = target;
        }
    }
    gb_silo_advance(k.silo, 3600 * GB_SEC); /* no deadline: whoever waits now waits for ever */
    for (int i = 0; i < GRAINS; i++) assert_int_equal(asks[i].done, !m.alive[i]);
    for (int round = 0; round < GRAINS + 1; round++)
        for (int i = 0; i < GRAINS; i++) {
            kit_wake(&k, NEVER - i);
            kit_settle(&k);
        }
    for (int i = 0; i < GRAINS; i++) {
        assert_int_equal(asks[i].done, 1);
        assert_int_equal(asks[i].rc, m.alive[i] ? 0 : GB_EDEADLOCK);
    }
    finish(&k);
}

static void test_graphs(void **unused)
{
    seed s = seed_start("grain.wait graphs");
    for (int i = 0; i < 400; i++) graph(worker_counts[i % 4], seed_next(&s));
}

/* All edges at once, in any interleaving of the workers: the graph of targets decides. Each circle
 * of it loses at least one call, what is on no circle and leads into none loses none. */
static void at_once(int workers, uint64_t number)
{
    kit k;
    seed s = {number};
    kit_ask asks[GRAINS];
    int targets[GRAINS];
    bool circle[GRAINS] = {false};
    kit_open(&k, workers, number);
    define(&k, 0, GB_REENTRANT_NO);
    kit_prog one = {0};
    kit_add(&one, 1);
    for (int i = 0; i < GRAINS; i++) {
        kit_prog prog = {0};
        targets[i] = seed_below(&s, 6) ? (int)seed_below(&s, GRAINS) : -1;
        kit_park(&prog, i);
        if (targets[i] >= 0 && seed_below(&s, 2)) {
            kit_async(&prog, 0, to(0, targets[i]), &one);
            for (uint64_t more = seed_below(&s, 4); more > 0; more--) kit_yield(&prog);
            kit_await(&prog, 0);
        } else if (targets[i] >= 0) {
            kit_call(&prog, to(0, targets[i]), &one);
        }
        kit_must(&prog);
        kit_ask_at(&k, &asks[i], (int)seed_below(&s, (uint64_t)workers), to(0, i), &prog);
    }
    kit_settle(&k);
    for (int i = 0; i < GRAINS; i++) {
        int at = targets[i];
        for (int steps = 0; at >= 0 && steps < GRAINS && at != i; steps++) at = targets[at];
        circle[i] = at == i;
    }
    for (int i = 0; i < GRAINS; i++) {
        kit_wake(&k, i);
        settle_some(&k, &s);
    }
    kit_settle(&k);
    for (int i = 0; i < GRAINS; i++) {
        assert_int_equal(asks[i].done, 1); /* nobody is left: all circles were seen */
        if (!circle[i]) {
            assert_int_equal(asks[i].rc, 0);
            continue;
        }
        int refused = asks[i].rc == GB_EDEADLOCK;
        for (int at = targets[i]; at != i; at = targets[at]) refused += asks[at].rc == GB_EDEADLOCK;
        assert_true(refused >= 1);
    }
    finish(&k);
}

static void test_at_once(void **unused)
{
    seed s = seed_start("grain.wait at once");
    for (int i = 0; i < 2000; i++) at_once(worker_counts[i % 4], seed_next(&s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rings),
        cmocka_unit_test(test_admitted),
        cmocka_unit_test(test_chain_is_not_yes),
        cmocka_unit_test(test_async_later),
        cmocka_unit_test(test_waits_for_another),
        cmocka_unit_test(test_hooks),
        cmocka_unit_test(test_no_probe),
        cmocka_unit_test(test_graphs),
        cmocka_unit_test(test_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
