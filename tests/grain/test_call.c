/* src/grain/call.c, route.c: awaited and one-way calls, their ends, deadlines, abandonment. */
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

static kit_to to(int type, int64_t key)
{
    return (kit_to){type, key, 30 * (int64_t)GB_SEC, 0};
}

static kit_to within(kit_to target, int64_t ns)
{
    target.timeout_ns = ns;
    return target;
}

static kit_prog adds(int64_t n)
{
    kit_prog prog = {0};
    kit_add(&prog, n);
    return prog;
}

static void finish(kit *k)
{
    assert_int_equal(k->wrong, 0);
    kit_close(k);
    assert_int_equal(k->wrong, 0);
}

static void each_count(void (*fn)(int workers, uint64_t number), const char *name)
{
    seed s = seed_start(name);
    for (size_t i = 0; i < sizeof worker_counts / sizeof worker_counts[0]; i++)
        for (int round = 0; round < 5; round++) fn(worker_counts[i], seed_next(&s));
}

static void awaited(int workers, uint64_t number)
{
    kit k;
    kit_ask ask, bad;
    kit_open(&k, workers, number);
    assert_non_null(kit_define(&k, 0, NULL));
    for (int64_t key = 0; key < 20; key++)
        for (int from = 0; from < workers; from++) {
            kit_prog prog = adds(key);
            assert_int_equal(kit_ask_at(&k, &ask, from, to(0, key), &prog), GB_OP_PENDING);
            assert_int_equal(ask.done, 0);
            kit_settle(&k);
            assert_int_equal(ask.done, 1);
            assert_int_equal(ask.rc, 0);
            assert_int_equal(ask.value, key * (from + 1));
        }
    kit_prog fails = {0};
    kit_fail(&fails, GB_ERAISED);
    kit_ask_at(&k, &bad, workers - 1, to(0, 3), &fails);
    kit_settle(&k);
    assert_int_equal(bad.rc, GB_ERAISED);
    assert_string_equal(bad.message, "boom");
    assert_int_equal(kit_calls(&k), 0);
    assert_true(gb_silo_quiet(k.silo));
    finish(&k);
}

static void test_awaited(void **unused)
{
    each_count(awaited, "grain.call awaited");
}

/* A grain asks a grain asks a grain, over all workers. */
static void nested(int workers, uint64_t number)
{
    kit k;
    kit_ask ask;
    kit_open(&k, workers, number);
    kit_define(&k, 0, NULL);
    kit_prog prog = adds(1);
    for (int64_t key = 1; key < 30; key++) {
        kit_prog outer = {0};
        kit_call(&outer, to(0, key), &prog);
        kit_must(&outer);
        prog = outer;
    }
    k.slow = number & 1;
    kit_ask_at(&k, &ask, 0, to(0, 30), &prog);
    kit_settle(&k);
    assert_int_equal(ask.rc, 0);
    assert_int_equal(ask.value, 1);
    assert_int_equal(kit_calls(&k), 0);
    finish(&k);
}

static void test_nested(void **unused)
{
    each_count(nested, "grain.call nested");
}

static void test_no_method(void **unused)
{
    kit k;
    kit_open(&k, 2, 1);
    kit_define(&k, 0, NULL);
    gb_worker *worker = k.silo->workers[0];
    for (int64_t key = 0; key < 8; key++) {
        kit_ask ask = {.kit = &k};
        gb_call *call = gb_call_new(worker);
        kit_prog prog = adds(1);
        kit_ask usual;
        kit_ask_at(&k, &usual, 0, to(0, key), &prog);
        kit_settle(&k);
        call->type = k.types[0];
        call->method = gb_sym_get(k.silo, "walk", 4);
        call->deadline = GB_FOREVER;
        call->done = NULL;
        call->user = &ask;
        gb_call_set_key(call, gb_key_number(key));
        assert_int_equal(gb_call_send(call), GB_OP_PENDING);
        kit_settle(&k);
        assert_int_equal(kit_calls(&k), 0);
    }
    finish(&k);
}

/* The caller is let go at exactly its deadline; the callee runs on and can see it. */
static void deadline(int workers, uint64_t number)
{
    kit k;
    kit_ask ask, later;
    kit_open(&k, workers, number);
    kit_define(&k, 0, NULL);
    kit_prog prog = {0};
    kit_sleep(&prog, 5 * (int64_t)GB_SEC);
    kit_seen(&prog);
    kit_add(&prog, 7);
    int64_t timeout = 1234567891;
    uint64_t start = gb_now(k.sys);
    kit_ask_at(&k, &ask, workers - 1, within(to(0, 1), timeout), &prog);
    kit_settle(&k);
    gb_silo_advance(k.silo, (uint64_t)timeout - 1);
    assert_int_equal(ask.done, 0);
    gb_silo_advance(k.silo, 1);
    assert_int_equal(ask.done, 1);
    assert_int_equal(ask.rc, GB_ETIMEDOUT);
    assert_string_equal(ask.message, "T0/1:run did not answer in time");
    assert_true(ask.at == start + (uint64_t)timeout);
    assert_int_equal(kit_calls(&k), 1); /* its turn is there yet */
    gb_silo_advance(k.silo, 5 * GB_SEC);
    assert_int_equal(ask.done, 1);
    assert_int_equal(k.note_count, 1);
    assert_int_equal(k.notes[0], 1);
    assert_int_equal(kit_calls(&k), 0);
    kit_prog get = {0};
    kit_get(&get);
    kit_ask_at(&k, &later, 0, to(0, 1), &get);
    kit_settle(&k);
    assert_int_equal(later.value, 7);
    finish(&k);
}

static void test_deadline(void **unused)
{
    each_count(deadline, "grain.call deadline");
}

/* A call whose deadline passes in the queue does not run at all. */
static void late_in_queue(int workers, uint64_t number)
{
    kit k;
    kit_ask first, second, third;
    kit_open(&k, workers, number);
    kit_define(&k, 0, NULL);
    kit_prog parks = {0}, one = adds(1), ten = adds(10);
    kit_park(&parks, 0);
    kit_ask_at(&k, &first, 0, within(to(0, 5), -1), &parks);
    kit_settle(&k);
    kit_ask_at(&k, &second, workers - 1, within(to(0, 5), GB_SEC), &one);
    kit_ask_at(&k, &third, 0, within(to(0, 5), -1), &ten);
    kit_settle(&k);
    gb_silo_advance(k.silo, 2 * GB_SEC);
    assert_int_equal(second.done, 1);
    assert_int_equal(second.rc, GB_ETIMEDOUT);
    assert_true(kit_wake(&k, 0));
    kit_settle(&k);
    assert_int_equal(first.done, 1);
    assert_int_equal(third.done, 1);
    assert_int_equal(third.value, 10);
    assert_int_equal(kit_calls(&k), 0);
    /* a deadline that has passed: refused at once where the sender is, and late everywhere else */
    kit_ask_at(&k, &second, 0, within(to(0, 5), 0), &one);
    kit_settle(&k);
    assert_int_equal(second.sent < 0 ? second.sent : second.rc, GB_ETIMEDOUT);
    assert_int_equal(kit_number(&k, 0, 5), 10);
    finish(&k);
}

static void test_late_in_queue(void **unused)
{
    each_count(late_in_queue, "grain.call late");
}

/* Abandoned in every state; the callee's view, and no call is left. */
static void abandoned(int workers, uint64_t number)
{
    kit k;
    kit_open(&k, workers, number);
    gb_type_options options;
    kit_options(&options);
    options.queue_max = 2;
    kit_define(&k, 0, &options);
    kit_define(&k, 1, NULL);
    k.conf[1].load = KIT_LOAD_PENDING;
    kit_prog parks = {0}, one = adds(1);
    kit_park(&parks, 0);
    kit_seen(&parks);
    kit_ask asks[8], other;
    kit_ask_at(&k, &asks[0], 0, within(to(0, 9), -1), &parks); /* parked */
    kit_settle(&k);
    for (int i = 1; i < 6; i++) /* two queued, three wait for room */
        kit_ask_at(&k, &asks[i], i % workers, within(to(0, 9), -1), &one);
    kit_ask_at(&k, &asks[6], 0, within(to(1, 0), -1), &one); /* its type is not loaded */
    kit_settle(&k);
    kit_ask_at(&k, &asks[7], workers - 1, within(to(0, 9), -1), &one); /* still on its way */
    for (int i = 0; i < 8; i++) {
        gb_call_abandon(asks[i].call, GB_ECANCELED, "not needed");
        assert_int_equal(asks[i].done, 1);
        assert_int_equal(asks[i].rc, GB_ECANCELED);
        assert_string_equal(asks[i].message, "not needed");
        kit_check(&k);
    }
    kit_settle(&k);
    kit_ask_at(&k, &other, 0, within(to(0, 9), -1), &one);
    kit_settle(&k);
    assert_int_equal(other.done, 0);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(k.notes[0], 1);
    assert_int_equal(other.value, 1); /* none of the abandoned has run */
    for (int i = 0; i < k.conf[1].loading_count; i++)
        gb_type_loaded(k.conf[1].loading[i], k.types[1], 0, NULL);
    kit_settle(&k);
    assert_null(kit_find(&k, 1, 0));
    for (int i = 0; i < 8; i++) assert_int_equal(asks[i].done, 1);
    assert_int_equal(kit_calls(&k), 0);
    finish(&k);
}

static void test_abandoned(void **unused)
{
    each_count(abandoned, "grain.call abandoned");
}

/* A queue of which all calls are abandoned lets in those that wait for room. */
static void test_abandoned_queue_refills(void **unused)
{
    kit k;
    kit_open(&k, 1, 1);
    gb_type_options options;
    kit_options(&options);
    options.queue_max = 1;
    kit_define(&k, 0, &options);
    kit_prog parks = {0}, one = adds(1);
    kit_park(&parks, 0);
    kit_ask first, second, third;
    kit_ask_at(&k, &first, 0, within(to(0, 1), -1), &parks);
    kit_settle(&k);
    kit_ask_at(&k, &second, 0, within(to(0, 1), -1), &one);
    assert_int_equal(kit_tell_at(&k, &third, 0, within(to(0, 1), -1), &one), GB_OP_PENDING);
    kit_settle(&k);
    assert_int_equal(third.done, 0);
    gb_call_abandon(second.call, GB_ECANCELED, NULL);
    kit_settle(&k);
    assert_int_equal(third.done, 1);
    assert_int_equal(third.rc, 0);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(kit_number(&k, 0, 1), 1);
    finish(&k);
}

/* A tell that is abandoned before it was queued never runs, wherever it was. */
static void abandoned_tells(int workers, uint64_t number)
{
    kit k;
    kit_open(&k, workers, number);
    gb_type_options options;
    kit_options(&options);
    options.queue_max = 1;
    kit_define(&k, 0, &options);
    kit_prog parks = {0}, one = adds(1);
    kit_park(&parks, 0);
    kit_ask first, tells[6];
    for (int pending = 0; pending < 2; pending++) {
        k.conf[0].load = pending ? KIT_LOAD_PENDING : KIT_LOAD_READY;
        for (int i = 0; i < workers; i++) k.types[0]->local[i].state = GB_TYPE_UNLOADED;
        kit_ask_at(&k, &first, 0, within(to(0, 1), -1), &parks);
        kit_settle(&k);
        for (int i = 0; i < 6; i++)
            kit_tell_at(&k, &tells[i], i % workers, within(to(0, 1), GB_SEC), &one);
        for (uint64_t passes = number % 4; passes > 0; passes--) gb_silo_pass(k.silo);
        int queued = 0;
        for (int i = 0; i < 6; i++) {
            if (tells[i].call) gb_call_abandon(tells[i].call, GB_ECANCELED, "not needed");
            queued += tells[i].sent == GB_OP_READY || tells[i].rc == 0;
        }
        for (int i = 0; i < k.conf[0].loading_count; i++)
            gb_type_loaded(k.conf[0].loading[i], k.types[0], 0, NULL);
        k.conf[0].loading_count = 0;
        gb_silo_advance(k.silo, 2 * GB_SEC);
        kit_wake(&k, 0);
        kit_settle(&k);
        /* one may have been queued already, its receipt on the way to another worker */
        int64_t ran = kit_number(&k, 0, 1);
        assert_in_range(ran, queued, queued + (workers > 1));
        assert_int_equal(kit_calls(&k), 0);
        gb_act_stop(gb_worker_of_key(k.types[0], gb_key_number(1)), kit_find(&k, 0, 1),
                    GB_END_ASKED);
        kit_settle(&k);
    }
    finish(&k);
}

static void test_abandoned_tells(void **unused)
{
    each_count(abandoned_tells, "grain.call abandoned tells");
}

static kit_ask *chained_other;

static void abandon_other(gb_call *call)
{
    (void)call;
    if (chained_other->call) gb_call_abandon(chained_other->call, GB_ECANCELED, "by done");
}

static void raw_ask(kit *k, int64_t key, uint64_t deadline, uint8_t flags, void (*done)(gb_call *),
                    const kit_prog *prog)
{
    gb_call *call = gb_call_new(k->silo->workers[0]);
    call->type = k->types[0];
    call->method = gb_sym_get(k->silo, "run", 3);
    call->deadline = deadline;
    call->flags = flags;
    call->done = done;
    gb_call_set_key(call, gb_key_number(key));
    gb_buf_put(&call->bytes, prog->word, (size_t)prog->count * 8);
    assert_int_equal(gb_call_send(call), GB_OP_PENDING);
}

/* done may do anything to the activation whose queue is being worked on. */
static void test_done_abandons(void **unused)
{
    kit k;
    kit_open(&k, 1, 1);
    kit_define(&k, 0, NULL);
    kit_prog parks = {0}, one = adds(1), stops = {0};
    kit_park(&parks, 0);
    kit_stop(&stops);
    kit_park(&stops, 1);
    kit_ask first, other;
    /* the deadline of one cancels its neighbour in the queue */
    kit_ask_at(&k, &first, 0, within(to(0, 1), -1), &parks);
    kit_settle(&k);
    raw_ask(&k, 1, gb_now(k.sys) + GB_SEC, 0, abandon_other, &one);
    kit_ask_at(&k, &other, 0, within(to(0, 1), -1), &one);
    chained_other = &other;
    gb_silo_advance(k.silo, GB_SEC);
    assert_int_equal(other.rc, GB_ECANCELED);
    kit_check(&k);
    kit_wake(&k, 0);
    kit_settle(&k);
    assert_int_equal(kit_calls(&k), 0);
    /* the same while the activation ends and its calls are on their way to the next one */
    kit_ask_at(&k, &first, 0, within(to(0, 1), -1), &stops);
    kit_settle(&k);
    gb_worker *worker = k.silo->workers[0];
    raw_ask(&k, 1, gb_now(k.sys) + 1, 0, abandon_other, &one);
    kit_ask_at(&k, &other, 0, within(to(0, 1), -1), &one);
    chained_other = &other;
    gb_sim_advance_to(k.sys, gb_now(k.sys) + 1);
    worker->now = gb_now(k.sys);
    kit_wake(&k, 1);
    kit_settle(&k);
    assert_int_equal(other.done, 1);
    assert_int_equal(kit_calls(&k), 0);
    finish(&k);
}

static int answers;

static void count_answer(gb_call *call)
{
    (void)call;
    answers++;
}

/* Passed on too often: refused, not for ever under way. */
static void test_hops(void **unused)
{
    kit k;
    kit_open(&k, 3, 1);
    kit_define(&k, 0, NULL);
    int64_t key = 0;
    while (gb_worker_of_key(k.types[0], gb_key_number(key)) == k.silo->workers[0]) key++;
    gb_call *call = gb_call_new(k.silo->workers[0]);
    call->type = k.types[0];
    call->method = gb_sym_get(k.silo, "run", 3);
    call->deadline = GB_FOREVER;
    call->done = count_answer;
    call->hops = 16;
    gb_call_set_key(call, gb_key_number(key));
    assert_int_equal(gb_call_send(call), GB_EBUSY);
    assert_non_null(strstr(gb_err_detail(), "keeps moving"));
    gb_call_drop(call);
    assert_int_equal(answers, 0);
    finish(&k);
}

/* A key of any length, of any bytes; 7 and "7" are one grain. */
static void test_keys(void **unused)
{
    kit k;
    kit_open(&k, 2, 1);
    gb_type *type = kit_define(&k, 0, NULL);
    char text[200], out[300];
    memset(text, 'k', sizeof text);
    for (size_t size = 0; size < sizeof text; size += 13) {
        gb_key key = gb_key_text(text, size);
        assert_non_null(key.text);
        assert_int_equal(key.size, size);
        assert_int_equal(gb_key_print(out, sizeof out, type, key), 3 + (int)size);
        raw_ask(&k, 0, GB_FOREVER, 0, NULL, &(kit_prog){0});
        gb_call *call = gb_call_new(k.silo->workers[1]);
        call->type = type;
        call->method = gb_sym_get(k.silo, "run", 3);
        call->deadline = GB_FOREVER;
        assert_int_equal(gb_call_set_key(call, key), 0);
        assert_int_equal(gb_call_send(call), GB_OP_PENDING);
        kit_settle(&k);
        gb_worker *home = gb_worker_of_key(type, key);
        gb_act *act = gb_act_find(home, type, key);
        assert_non_null(act);
        assert_true(gb_key_equal(gb_act_key(act), key));
        gb_act_stop(home, act, GB_END_ASKED);
        assert_null(gb_act_find(home, type, key));
    }
    static const struct {
        const char *text;
        int64_t number;
        bool is;
    } rows[] = {{"7", 7, true},
                {"-12", -12, true},
                {"0", 0, true},
                {"-0", 0, false},
                {"07", 0, false},
                {"", 0, false},
                {"-", 0, false},
                {"1e3", 0, false},
                {"9223372036854775807", INT64_MAX, true},
                {"9223372036854775808", 0, false},
                {"-9223372036854775808", INT64_MIN, true},
                {"-9223372036854775809", 0, false},
                {"99999999999999999999", 0, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gb_key key = gb_key_text(rows[i].text, strlen(rows[i].text));
        assert_int_equal(key.text == NULL, rows[i].is);
        if (rows[i].is) assert_true(key.number == rows[i].number);
    }
    kit_settle(&k);
    finish(&k);
}

/* One seed, one history. */
static uint64_t history(uint64_t number, int workers)
{
    kit k;
    kit_open(&k, workers, number);
    kit_define(&k, 0, NULL);
    kit_prog one = adds(1), prog = {0};
    kit_ask asks[50];
    for (int i = 0; i < 5; i++) kit_call(&prog, to(0, 40 + i), &one);
    kit_sleep(&prog, 1000);
    kit_call(&prog, to(0, 39), &one);
    for (int i = 0; i < 50; i++)
        kit_ask_at(&k, &asks[i], (int)(gb_random(k.sys) % (uint64_t)workers),
                   to(0, (int64_t)(gb_random(k.sys) % 30)), &prog);
    gb_silo_advance(k.silo, GB_SEC);
    uint64_t trace = k.trace;
    finish(&k);
    return trace;
}

static void test_one_seed_one_history(void **unused)
{
    seed s = seed_start("grain.call history");
    uint64_t first = seed_next(&s), second = seed_next(&s);
    for (int i = 0; i < 4; i++)
        assert_true(history(first, worker_counts[i]) == history(first, worker_counts[i]));
    assert_true(history(first, 3) != history(second, 3));
}

/* Calls that are under way when the silo ends are answered, once. */
static void closing(int workers, uint64_t number)
{
    kit k;
    kit_open(&k, workers, number);
    gb_type_options options;
    kit_options(&options);
    options.queue_max = 2;
    options.placement = GB_PLACE_LOCAL;
    kit_define(&k, 0, &options);
    kit_define(&k, 1, NULL);
    k.conf[1].load = KIT_LOAD_PENDING;
    kit_prog parks = {0}, one = adds(1), tick = adds(1), away = {0};
    kit_timer(&parks, 100, 100, &tick);
    kit_park(&parks, 0);
    kit_call(&away, to(0, 9), &one);
    kit_ask asks[20];
    kit_ask_at(&k, &asks[0], 0, to(0, 9), &parks);
    kit_settle(&k);
    for (int i = 1; i < 10; i++) kit_ask_at(&k, &asks[i], i % workers, to(0, 9), &one);
    for (int i = 10; i < 14; i++) kit_tell_at(&k, &asks[i], i % workers, to(0, 9), &one);
    kit_ask_at(&k, &asks[14], workers - 1, to(1, 0), &one);
    for (int i = 15; i < 18; i++) kit_ask_at(&k, &asks[i], i % workers, to(0, i), &away);
    for (uint64_t i = 0; i < number % 5; i++) gb_silo_pass(k.silo);
    gb_silo_stop(k.silo);
    for (int i = 0; i < 18; i++) {
        if (asks[i].sent != GB_OP_PENDING) continue;
        assert_int_equal(asks[i].done, 1);
        if (asks[i].rc < 0) assert_int_equal(asks[i].rc, GB_ECLOSED);
    }
    finish(&k);
}

static void test_closing(void **unused)
{
    each_count(closing, "grain.call closing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_awaited),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_no_method),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_late_in_queue),
        cmocka_unit_test(test_abandoned),
        cmocka_unit_test(test_abandoned_queue_refills),
        cmocka_unit_test(test_abandoned_tells),
        cmocka_unit_test(test_done_abandons),
        cmocka_unit_test(test_hops),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_one_seed_one_history),
        cmocka_unit_test(test_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
