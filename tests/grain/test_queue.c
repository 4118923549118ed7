/* src/grain/queue.c: one-way calls, back-pressure, priorities, order. */
#include "kit_kind.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static const int worker_counts[] = {1, 2, 3, 8};

static kit_to to(int64_t key, int64_t timeout_ns, int priority)
{
    return (kit_to){0, key, timeout_ns, priority};
}

static kit_prog notes(int64_t n)
{
    kit_prog prog = {0};
    kit_note(&prog, n);
    return prog;
}

static void open_bound(kit *k, int workers, uint64_t number, uint32_t queue_max)
{
    gb_type_options options;
    kit_open(k, workers, number);
    kit_options(&options);
    options.queue_max = queue_max;
    assert_non_null(kit_define(k, 0, &options));
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

/* A parked turn holds grain 1; the caller fills its mailbox. */
static void hold(kit *k, kit_ask *ask)
{
    kit_prog parks = {0};
    kit_park(&parks, 0);
    kit_ask_at(k, ask, 0, to(1, -1, 0), &parks);
    kit_settle(k);
    assert_int_equal(ask->done, 0);
}

static void ready_or_pending(int workers, uint64_t number)
{
    kit k;
    kit_ask holder, tells[6];
    open_bound(&k, workers, number, 3);
    hold(&k, &holder);
    int home = gb_worker_of_key(k.types[0], gb_key_number(1))->index;
    for (int i = 0; i < 6; i++) {
        kit_prog prog = notes(i);
        int sent = kit_tell_at(&k, &tells[i], home, to(1, -1, 0), &prog);
        assert_int_equal(sent, i < 3 ? GB_OP_READY : GB_OP_PENDING);
    }
    kit_settle(&k);
    for (int i = 0; i < 6; i++) assert_int_equal(tells[i].done, 0);
    gb_silo_advance(k.silo, 3600 * GB_SEC); /* without a deadline they wait as long as it takes */
    for (int i = 3; i < 6; i++) assert_int_equal(tells[i].done, 0);
    assert_true(kit_wake(&k, 0));
    kit_settle(&k);
    for (int i = 3; i < 6; i++) {
        assert_int_equal(tells[i].done, 1);
        assert_int_equal(tells[i].rc, 0);
    }
    assert_int_equal(k.note_count, 6);
    for (int i = 0; i < 6; i++) assert_int_equal(k.notes[i], i);
    finish(&k);
}

static void test_ready_or_pending(void **unused)
{
    each_count(ready_or_pending, "grain.queue ready");
}

/* From another worker a tell is pending until it is queued there. */
static void test_from_elsewhere(void **unused)
{
    kit k;
    kit_ask holder, tell;
    open_bound(&k, 2, 1, 3);
    hold(&k, &holder);
    int other = 1 - gb_worker_of_key(k.types[0], gb_key_number(1))->index;
    kit_prog prog = notes(1);
    assert_int_equal(kit_tell_at(&k, &tell, other, to(1, -1, 0), &prog), GB_OP_PENDING);
    kit_settle(&k);
    assert_int_equal(tell.done, 1); /* queued, though it has not run */
    assert_int_equal(tell.rc, 0);
    assert_int_equal(k.note_count, 0);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(k.note_count, 1);
    finish(&k);
}

static void full_until_deadline(int workers, uint64_t number)
{
    kit k;
    kit_ask holder, tells[3], late, now;
    open_bound(&k, workers, number, 2);
    hold(&k, &holder);
    for (int i = 0; i < 2; i++) {
        kit_prog prog = notes(i);
        kit_tell_at(&k, &tells[i], 0, to(1, -1, 0), &prog);
    }
    kit_settle(&k);
    kit_prog prog = notes(2), last = notes(3);
    uint64_t start = gb_now(k.sys);
    kit_tell_at(&k, &late, workers - 1, to(1, GB_SEC, 0), &prog);
    kit_tell_at(&k, &tells[2], workers - 1, to(1, 3 * (int64_t)GB_SEC, 0), &last);
    kit_tell_at(&k, &now, workers - 1, to(1, 0, 0), &prog);
    kit_settle(&k);
    assert_int_equal(now.sent < 0 ? now.sent : now.rc, GB_EBUSY); /* timeout 0: at once */
    assert_non_null(strstr(now.message, "T0/1 is full (2 calls)"));
    gb_silo_advance(k.silo, GB_SEC - 1);
    assert_int_equal(late.done, 0);
    gb_silo_advance(k.silo, 1);
    assert_int_equal(late.done, 1);
    assert_int_equal(late.rc, GB_EBUSY);
    assert_true(late.at == start + GB_SEC);
    assert_non_null(strstr(late.message, "stayed full until the deadline"));
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(tells[2].done, 1);
    assert_int_equal(tells[2].rc, 0);
    gb_silo_advance(k.silo, 10 * GB_SEC); /* its deadline was that of being queued */
    assert_int_equal(tells[2].done, 1);
    assert_int_equal(k.note_count, 3);
    assert_int_equal(k.notes[2], 3);
    kit_tell_at(&k, &now, 0, to(1, 0, 0), &prog); /* with room, timeout 0 is fine */
    kit_settle(&k);
    assert_int_equal(now.sent == GB_OP_READY ? 0 : now.rc, 0);
    assert_int_equal(k.note_count, 4);
    finish(&k);
}

static void test_full_until_deadline(void **unused)
{
    each_count(full_until_deadline, "grain.queue full");
}

/* A plain loop of 5,000 tells loses nothing, whatever the bound. */
static void many_tells(int workers, uint64_t number)
{
    enum { TELLS = 5000, LOOPS = 50 };
    static const uint32_t bounds[] = {1, 2, 7, 1024};
    kit k;
    open_bound(&k, workers, number, bounds[number % 4]);
    k.slow = number & 4;
    kit_prog one = {0}, loop = {0};
    kit_add(&one, 1);
    for (int i = 0; i < LOOPS; i++) {
        kit_tell(&loop, to(1, 30 * (int64_t)GB_SEC, 0), &one);
        kit_must(&loop);
    }
    kit_ask asks[TELLS / LOOPS];
    for (int i = 0; i < TELLS / LOOPS; i++)
        kit_ask_at(&k, &asks[i], i % workers, (kit_to){0, 100 + i % 7, -1, 0}, &loop);
    kit_settle(&k);
    for (int i = 0; i < TELLS / LOOPS; i++) {
        assert_int_equal(asks[i].done, 1);
        assert_int_equal(asks[i].rc, 0);
    }
    assert_int_equal(kit_number(&k, 0, 1), TELLS);
    finish(&k);
}

static void test_many_tells(void **unused)
{
    each_count(many_tells, "grain.queue 5000 tells");
}

/* By priority, and in order among equals; also what waits for room keeps its order. */
static void priorities(int workers, uint64_t number)
{
    kit k;
    kit_ask holder, asks[40];
    open_bound(&k, workers, number, 1024);
    seed s = {number};
    hold(&k, &holder);
    int from = (int)seed_below(&s, (uint64_t)workers);
    for (int i = 0; i < 40; i++) {
        int priority = (int)seed_below(&s, 5) - 2;
        kit_prog prog = notes(priority * 1000 - i);
        if (seed_below(&s, 2))
            kit_tell_at(&k, &asks[i], from, to(1, -1, priority), &prog);
        else
            kit_ask_at(&k, &asks[i], from, to(1, -1, priority), &prog);
    }
    kit_settle(&k);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(k.note_count, 40);
    for (int i = 1; i < 40; i++) assert_true(k.notes[i] < k.notes[i - 1]);
    finish(&k);
}

static void test_priorities(void **unused)
{
    each_count(priorities, "grain.queue priorities");
}

/* Each sender's calls of one priority run in the order in which it sent them. */
static void order(int workers, uint64_t number)
{
    kit k;
    kit_ask holder;
    seed s = {number};
    open_bound(&k, workers, number, 1 + (uint32_t)seed_below(&s, 5));
    hold(&k, &holder);
    enum { SENDERS = 6, EACH = 15 };
    kit_ask asks[SENDERS];
    for (int sender = 0; sender < SENDERS; sender++) {
        kit_prog prog = {0};
        for (int i = 0; i < EACH; i++) {
            kit_prog one = notes(sender * 100 + i);
            if (seed_below(&s, 3))
                kit_tell(&prog, to(1, -1, 0), &one);
            else
                kit_call(&prog, to(1, -1, 0), &one);
        }
        kit_ask_at(&k, &asks[sender], (int)seed_below(&s, (uint64_t)workers),
                   (kit_to){0, 50 + sender, -1, 0}, &prog);
    }
    kit_settle(&k);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(k.note_count, SENDERS * EACH);
    int next[SENDERS] = {0};
    for (int i = 0; i < k.note_count; i++)
        assert_int_equal(k.notes[i] % 100, next[k.notes[i] / 100]++);
    finish(&k);
}

static void test_order(void **unused)
{
    each_count(order, "grain.queue order");
}

/* Who comes while others wait for room stands behind them, though the queue is not full any more.
 */
static void test_no_overtaking(void **unused)
{
    kit k;
    kit_ask holder, tells[8];
    open_bound(&k, 1, 1, 4);
    hold(&k, &holder);
    for (int i = 0; i < 8; i++) {
        kit_prog prog = notes(i);
        if (i == 0) kit_park(&prog, 1); /* the first of the queue holds the grain again */
        if (i == 7) {
            kit_wake(&k, 0);
            kit_settle(&k);
            assert_int_equal(k.note_count, 1);
            assert_int_equal(kit_find(&k, 0, 1)->queued, 3);
            assert_int_equal(tells[4].done, 0);
        }
        kit_tell_at(&k, &tells[i], 0, to(1, -1, 0), &prog);
    }
    kit_wake(&k, 1);
    kit_settle(&k);
    assert_int_equal(k.note_count, 8);
    for (int i = 0; i < 8; i++) assert_int_equal(k.notes[i], i);
    finish(&k);
}

/* What a tell carries belongs to the receiving worker afterwards: the accounts still end at zero.
 */
static void test_bytes_wander(void **unused)
{
    kit k;
    kit_ask tell;
    open_bound(&k, 3, 1, 1024);
    kit_prog big = {0};
    for (int i = 0; i < 100; i++) kit_add(&big, 1);
    for (int i = 0; i < 300; i++) {
        kit_tell_at(&k, &tell, i % 3, to(i % 17, -1, 0), &big);
        if (i % 3 == 0) kit_settle(&k);
    }
    finish(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ready_or_pending),    cmocka_unit_test(test_from_elsewhere),
        cmocka_unit_test(test_full_until_deadline), cmocka_unit_test(test_many_tells),
        cmocka_unit_test(test_priorities),          cmocka_unit_test(test_order),
        cmocka_unit_test(test_no_overtaking),       cmocka_unit_test(test_bytes_wander),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
