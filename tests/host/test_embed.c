/* Calls from C: answers, failures, delivery, cancelling, closing. */
#include "kit_embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct setup {
    int workers;
    gb_deliver deliver;
} setup;

static const setup setups[] = {
    {0, GB_DELIVER_POLL}, {0, GB_DELIVER_WORKER}, {3, GB_DELIVER_POLL}, {3, GB_DELIVER_WORKER}};

static void each_setup(void (*test)(gb_host *host, const setup *how))
{
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
        gb_host *host = kit_open(setups[i].workers, setups[i].deliver);
        test(host, &setups[i]);
        gb_close(host, 1000);
    }
}

static void answers(gb_host *host, const setup *how)
{
    kit_answer a;
    assert_int_equal(kit_call(host, &a, "one", "add", 5), 0);
    assert_true(a.number == 5 && a.count == 1);
    assert_int_equal(kit_call(host, &a, "one", "add", 2), 0);
    assert_true(a.number == 7);
    assert_int_equal(kit_call(host, &a, "one", "nothing", INT64_MIN), 0);
    assert_int_equal(a.count, 1);
    bool here = pthread_equal(a.thread, pthread_self());
    assert_true(here == (how->workers == 0 || how->deliver == GB_DELIVER_POLL));
}

static void test_answers(void **state)
{
    each_setup(answers);
}

static void failures(gb_host *host, const setup *how)
{
    kit_answer a;
    assert_int_equal(kit_call(host, &a, "f", "raise", INT64_MIN), GB_ERAISED);
    assert_non_null(strstr(a.text, "probe.lua:"));
    assert_non_null(strstr(a.text, "boom"));
    assert_non_null(strstr(a.detail, "stack traceback"));
    assert_int_equal(kit_call(host, &a, "f", "nope", INT64_MIN), GB_ENOMETHOD);
    assert_non_null(strstr(a.text, "nope"));
    assert_int_equal(kit_call(host, &a, "f", "fn", INT64_MIN), GB_EINVAL);
    assert_non_null(strstr(a.text, "result 1: function"));
    assert_int_equal(kit_call(host, &a, "f", "_private", INT64_MIN), GB_ENOMETHOD);
    assert_int_equal(kit_call(host, &a, "f", "on_activate", INT64_MIN), GB_ENOMETHOD);
    a = (kit_answer){0};
    assert_true(gb_call(host, "Prob", "x", "add", NULL, 0, kit_on_result, &a) > 0);
    kit_wait(host, &a);
    assert_int_equal(a.rc, GB_ENOTYPE);
    assert_non_null(strstr(a.text, "did you mean 'Probe'"));
    a = (kit_answer){0};
    assert_true(gb_call(host, "$worker0", "0", "memory", NULL, 0, kit_on_result, &a) > 0);
    kit_wait(host, &a);
    assert_int_equal(a.rc, GB_ENOTYPE);
}

static void test_failures(void **state)
{
    each_setup(failures);
}

static int call_text(gb_host *host, kit_answer *a, const char *method, const char *text)
{
    gb_value *args = gb_value_new(host);
    gb_put_text(args, text);
    *a = (kit_answer){0};
    assert_true(gb_call(host, "Probe", "codes", method, args, 0, kit_on_result, a) > 0);
    kit_wait(host, a);
    return a->rc;
}

static void codes(gb_host *host, const setup *how)
{
    kit_answer a;
    assert_int_equal(call_text(host, &a, "gives", "ENOENT"), GB_ENOENT);
    assert_string_equal(a.text, "given ENOENT");
    assert_int_equal(call_text(host, &a, "fails", "EQUOTA"), GB_EQUOTA);
    assert_string_equal(a.text, "failed with EQUOTA");
    assert_int_equal(call_text(host, &a, "gives", "MINE"), 0);
    assert_int_equal(a.count, 3);
    assert_int_equal(call_text(host, &a, "fails", "MINE"), 0);
    assert_int_equal(a.count, 3);
}

static void test_codes(void **state)
{
    each_setup(codes);
}

static void refusals(gb_host *host, const setup *how)
{
    kit_answer a = {0};
    char longer[2000];
    memset(longer, 'k', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(gb_call(NULL, "Probe", "k", "add", NULL, 0, kit_on_result, &a), GB_EINVAL);
    assert_int_equal(gb_call(host, NULL, "k", "add", NULL, 0, kit_on_result, &a), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "type"));
    assert_int_equal(gb_call(host, "", "k", "add", NULL, 0, kit_on_result, &a), GB_EINVAL);
    assert_int_equal(gb_call(host, "Probe", NULL, "add", NULL, 0, kit_on_result, &a), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "key"));
    assert_int_equal(gb_call(host, "Probe", "", "add", NULL, 0, kit_on_result, &a), GB_EINVAL);
    assert_int_equal(gb_call(host, "Probe", longer, "add", NULL, 0, kit_on_result, &a), GB_EINVAL);
    assert_int_equal(gb_call(host, longer, "k", "add", NULL, 0, kit_on_result, &a), GB_EINVAL);
    assert_int_equal(gb_call(host, "Probe", "k", longer, NULL, 0, kit_on_result, &a), GB_EINVAL);
    assert_int_equal(gb_call(host, "Probe", "k", NULL, NULL, 0, kit_on_result, &a), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "method"));
    assert_int_equal(gb_call(host, "Probe", "k", "", NULL, 0, kit_on_result, &a), GB_EINVAL);
    assert_int_equal(gb_call(host, "Probe", "k", "add", NULL, 0, NULL, &a), GB_EINVAL);
    gb_value *args = gb_value_new(host);
    gb_put_list(args);
    assert_int_equal(gb_call(host, "Probe", "k", "add", args, 0, kit_on_result, &a), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "gb_put_end"));
    gb_value_clear(args);
    gb_put_text(args, NULL);
    assert_int_equal(gb_call(host, "Probe", "k", "add", args, 0, kit_on_result, &a), GB_EINVAL);
    gb_value_free(args);
    assert_int_equal(gb_tell(host, "Probe", NULL, "add", NULL, 0, NULL, NULL), GB_EINVAL);
    assert_int_equal(gb_cancel(host, 0), GB_ENOENT);
    assert_int_equal(gb_cancel(host, -5), GB_ENOENT);
    assert_int_equal(gb_cancel(host, 12345), GB_ENOENT);
    assert_int_equal(gb_cancel(NULL, 1), GB_EINVAL);
    assert_int_equal(gb_poll(NULL, 0, 0), GB_EINVAL);
    assert_int_equal(gb_poll(host, -1, 0), GB_EINVAL);
    assert_int_equal(gb_poll(host, 0, -1), GB_EINVAL);
    assert_true(gb_reload(host, NULL) >= 0);
    gb_poll(host, 1000, 0);
    assert_int_equal(atomic_load(&a.runs), 0);
}

static void test_refusals(void **state)
{
    each_setup(refusals);
}

static void foreign_args(gb_host *host, const setup *how)
{
    gb_host *other = kit_open(0, GB_DELIVER_POLL);
    kit_answer a = {0};
    gb_value *args = kit_int(other, 1);
    assert_int_equal(gb_call(host, "Probe", "k", "add", args, 0, kit_on_result, &a), GB_EINVAL);
    gb_value_free(args);
    gb_close(other, 0);
}

static void test_foreign_args(void **state)
{
    each_setup(foreign_args);
}

static void keys(gb_host *host, const setup *how)
{
    kit_answer a;
    gb_ref *seven;
    assert_int_equal(kit_call(host, &a, "7", "add", 1), 0);
    assert_int_equal(gb_ref_open_int(&seven, host, "Probe", 7), 0);
    a = (kit_answer){0};
    assert_true(gb_ref_call(seven, "add", kit_int(host, 1), 0, kit_on_result, &a) > 0);
    kit_wait(host, &a);
    assert_true(a.number == 2);
    a = (kit_answer){0};
    assert_true(gb_ref_call(seven, "key_text", NULL, 0, kit_on_result, &a) > 0);
    kit_wait(host, &a);
    assert_true(a.number == 7 && a.count == 2);
    gb_ref_close(seven);
    assert_int_equal(gb_ref_open_int(&seven, host, "Probe", INT64_MAX), GB_EINVAL);
    assert_int_equal(gb_ref_open(&seven, host, "Probe", ""), GB_EINVAL);
    assert_int_equal(gb_ref_open(&seven, host, "Probe", NULL), GB_EINVAL);
    assert_int_equal(gb_ref_open(NULL, host, "Probe", "x"), GB_EINVAL);
    assert_int_equal(gb_ref_open(&seven, NULL, "Probe", "x"), GB_EINVAL);
    assert_int_equal(gb_ref_call(NULL, "add", NULL, 0, kit_on_result, &a), GB_EINVAL);
    gb_ref_close(NULL);
}

static void test_keys(void **state)
{
    each_setup(keys);
}

/* ---- deadlines, cancelling ---- */

static gb_value *seconds(gb_host *host, double s)
{
    gb_value *args = gb_value_new(host);
    gb_put_number(args, s);
    return args;
}

static void deadlines(gb_host *host, const setup *how)
{
    kit_answer a = {0};
    assert_true(gb_call(host, "Probe", "d", "sleep", seconds(host, 20), 30, kit_on_result, &a) > 0);
    kit_wait(host, &a);
    assert_int_equal(a.rc, GB_ETIMEDOUT);
    assert_int_equal(atomic_load(&a.runs), 1);
}

static void test_deadlines(void **state)
{
    each_setup(deadlines);
}

static void cancels(gb_host *host, const setup *how)
{
    kit_answer a = {0}, b = {0};
    kit_gate gate = {0};
    kit_gate_export(host, &gate);
    int call = gb_call(host, "Probe", "c", "hold", NULL, -1, kit_on_result, &a);
    assert_true(call > 0);
    kit_gate_wait(host, &gate);
    assert_int_equal(gb_cancel(host, call), 0);
    kit_wait(host, &a);
    assert_int_equal(a.rc, GB_ECANCELED);
    assert_int_equal(gb_cancel(host, call), GB_ENOENT);
    /* queued behind the one that runs on: it never begins */
    call = gb_call(host, "Probe", "c", "add", kit_int(host, 100), -1, kit_on_result, &b);
    assert_int_equal(gb_cancel(host, call), 0);
    kit_wait(host, &b);
    assert_int_equal(b.rc, GB_ECANCELED);
    atomic_store(&gate.open, true);
    assert_int_equal(kit_call(host, &a, "c", "get", INT64_MIN), 0);
    assert_true(a.number == 0);
    assert_int_equal(gb_cancel(host, call), GB_ENOENT);
}

static void test_cancels(void **state)
{
    each_setup(cancels);
}

static void test_cancel_before_its_type_is_known(void **state)
{
    gb_host *host = kit_open(0, GB_DELIVER_POLL);
    kit_answer a = {0};
    int call = gb_call(host, "Probe", "c", "add", NULL, -1, kit_on_result, &a);
    assert_int_equal(gb_cancel(host, call), 0);
    kit_wait(host, &a);
    assert_true(a.rc == GB_ECANCELED || a.rc == 0);
    gb_close(host, 100);
}

/* ---- tells ---- */

static void tells(gb_host *host, const setup *how)
{
    kit_answer a = {0}, got;
    for (int i = 0; i < 100; i++)
        assert_true(gb_tell(host, "Probe", "t", "add", kit_int(host, 1), 0, NULL, NULL) > 0);
    assert_true(gb_tell(host, "Probe", "t", "add", kit_int(host, 1), 0, kit_on_result, &a) > 0);
    kit_wait(host, &a);
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.count, 0);
    assert_int_equal(kit_call(host, &got, "t", "get", INT64_MIN), 0);
    assert_true(got.number == 101); /* one thread, one grain: in order */
}

static void test_tells(void **state)
{
    each_setup(tells);
}

/* ---- callbacks that do things ---- */

static void call_again(gb_host *host, kit_answer *answer)
{
    kit_answer *next = answer->user;
    gb_value *out;
    assert_int_equal(gb_call_wait(host, "Probe", "a", "get", NULL, 0, &out), GB_EBUSY);
    assert_true(gb_call(host, "Probe", "a", "add", kit_int(host, 1), 0, kit_on_result, next) > 0);
    if (pthread_equal(answer->thread, pthread_self())) gb_poll(host, 0, 0);
}

static void callbacks_call(gb_host *host, const setup *how)
{
    enum { CHAIN = 50 };
    kit_answer chain[CHAIN];
    memset(chain, 0, sizeof chain);
    for (int i = 0; i + 1 < CHAIN; i++)
        chain[i] = (kit_answer){.then = call_again, .user = &chain[i + 1]};
    assert_true(gb_call(host, "Probe", "a", "add", kit_int(host, 1), 0, kit_on_result, chain) > 0);
    kit_wait(host, &chain[CHAIN - 1]);
    assert_true(chain[CHAIN - 1].number == CHAIN);
}

static void test_callbacks_call(void **state)
{
    each_setup(callbacks_call);
}

static void cancel_other(gb_host *host, kit_answer *answer)
{
    int *call = answer->user;
    assert_int_equal(gb_cancel(host, *call), 0);
    assert_int_equal(gb_poll(host, 0, 0), GB_EBUSY);
}

static void test_callbacks_cancel(void **state)
{
    gb_host *host = kit_open(0, GB_DELIVER_POLL);
    kit_answer a = {0}, b = {0};
    int other = gb_call(host, "Probe", "s", "sleep", seconds(host, 60), -1, kit_on_result, &b);
    a.then = cancel_other;
    a.user = &other;
    assert_true(gb_call(host, "Probe", "q", "get", NULL, 0, kit_on_result, &a) > 0);
    kit_wait(host, &a);
    kit_wait(host, &b);
    assert_int_equal(b.rc, GB_ECANCELED);
    gb_close(host, 0);
}

/* ---- bounds ---- */

static void test_bounded(void **state)
{
    enum { MOST = 32768 };
    gb_host *host = kit_open(0, GB_DELIVER_POLL);
    static kit_answer all; /* one for all: it counts */
    for (int i = 0; i < MOST; i++)
        assert_true(gb_call(host, "Probe", "b", "get", NULL, -1, kit_on_result, &all) > 0);
    assert_int_equal(gb_call(host, "Probe", "b", "get", NULL, -1, kit_on_result, &all), GB_EBUSY);
    while (atomic_load(&all.runs) < MOST) gb_poll(host, 10000, 0);
    assert_int_equal(atomic_load(&all.runs), MOST);
    assert_true(gb_call(host, "Probe", "b", "get", NULL, -1, kit_on_result, &all) > 0);
    gb_close(host, 1000);
    assert_int_equal(atomic_load(&all.runs), MOST + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_foreign_args),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_cancels),
        cmocka_unit_test(test_cancel_before_its_type_is_known),
        cmocka_unit_test(test_tells),
        cmocka_unit_test(test_callbacks_call),
        cmocka_unit_test(test_callbacks_cancel),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
