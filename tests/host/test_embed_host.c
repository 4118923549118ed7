/* Hosts: waiting, threads, closing, polling and its budget, descriptors, several hosts. */
#include "kit_embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gb_value *seconds(gb_host *host, double s)
{
    gb_value *args = gb_value_new(host);
    gb_put_number(args, s);
    return args;
}

/* ---- waiting ---- */

static void test_call_wait(void **state)
{
    static const int workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        gb_host *host = kit_open(workers[w], GB_DELIVER_POLL);
        gb_value *out = NULL;
        double n = 0;
        assert_int_equal(gb_call_wait(host, "Probe", "w", "add", kit_int(host, 3), 0, &out), 0);
        assert_int_equal(gb_as_number(gb_value_at(out, 0), &n), 0);
        assert_true(n == 3);
        gb_value_free(out);
        assert_int_equal(gb_call_wait(host, "Probe", "w", "raise", NULL, 0, &out), GB_ERAISED);
        assert_null(out);
        assert_non_null(strstr(gb_err_detail(), "boom"));
        assert_int_equal(gb_call_wait(host, "Probe", "w", "sleep", seconds(host, 60), 20, &out),
                         GB_ETIMEDOUT);
        assert_int_equal(gb_call_wait(host, "Nobody", "w", "x", NULL, 0, NULL), GB_ENOTYPE);
        assert_int_equal(gb_call_wait(host, NULL, "w", "x", kit_int(host, 1), 0, NULL), GB_EINVAL);
        assert_int_equal(gb_call_wait(host, "Probe", NULL, "x", NULL, 0, NULL), GB_EINVAL);
        assert_int_equal(gb_call_wait(NULL, "Probe", "w", "x", NULL, 0, NULL), GB_EINVAL);
        gb_ref *ref;
        assert_int_equal(gb_ref_open(&ref, host, "Probe", "r"), 0);
        for (int i = 0; i < 3; i++)
            assert_int_equal(gb_ref_call_wait(ref, "add", NULL, 0, NULL), 0);
        assert_int_equal(gb_ref_call_wait(ref, "get", NULL, 0, &out), 0);
        assert_int_equal(gb_as_number(gb_value_at(out, 0), &n), 0);
        assert_true(n == 3);
        gb_value_free(out);
        assert_true(gb_ref_tell(ref, "add", NULL, 0, NULL, NULL) > 0);
        assert_int_equal(gb_ref_call_wait(NULL, "get", NULL, 0, NULL), GB_EINVAL);
        gb_close(host, 100);
        kit_answer a;
        assert_int_equal(gb_ref_call(ref, "get", NULL, 0, kit_on_result, &a), GB_ECLOSED);
        gb_ref_close(ref);
    }
}

/* ---- many threads ---- */

enum { THREADS = 4, CALLS = 500 };

typedef struct caller {
    gb_host *host;
    bool waits;
    atomic_int answered, failed;
} caller;

static void count_answer(gb_host *host, int rc, const gb_value *result, const char *message,
                         void *user)
{
    caller *c = user;
    if (rc < 0) atomic_fetch_add(&c->failed, 1);
    atomic_fetch_add(&c->answered, 1);
}

static void *caller_main(void *user)
{
    caller *c = user;
    char key[32];
    for (int i = 0; i < CALLS; i++) {
        snprintf(key, sizeof key, "k%d", i % 7);
        gb_value *args = kit_int(c->host, 1);
        if (c->waits) {
            if (gb_call_wait(c->host, "Probe", key, "add", args, 0, NULL) < 0)
                atomic_fetch_add(&c->failed, 1);
            atomic_fetch_add(&c->answered, 1);
        } else if (gb_call(c->host, "Probe", key, "add", args, 0, count_answer, c) < 0) {
            gb_value_free(args);
            atomic_fetch_add(&c->failed, 1);
        }
    }
    return NULL;
}

static void storm(int workers, gb_deliver deliver, bool waits)
{
    gb_host *host = kit_open(workers, deliver);
    caller callers[THREADS];
    pthread_t threads[THREADS];
    int total = 0;
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (caller){.host = host, .waits = waits};
        assert_int_equal(pthread_create(&threads[i], NULL, caller_main, &callers[i]), 0);
    }
    while (total < THREADS * CALLS) {
        int rc = gb_poll(host, 1000, 1000);
        assert_true(rc >= 0 || rc == GB_EBUSY); /* a thread that waits may drive it */
        if (rc <= 0) sched_yield();
        total = 0;
        for (int i = 0; i < THREADS; i++) total += atomic_load(&callers[i].answered);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&callers[i].failed), 0);
        assert_int_equal(atomic_load(&callers[i].answered), CALLS);
    }
    double sum = 0, n = 0;
    for (int k = 0; k < 7; k++) {
        char key[32];
        gb_value *out;
        snprintf(key, sizeof key, "k%d", k);
        assert_int_equal(gb_call_wait(host, "Probe", key, "get", NULL, 0, &out), 0);
        gb_as_number(gb_value_at(out, 0), &n);
        sum += n;
        gb_value_free(out);
    }
    assert_true(sum == THREADS * CALLS);
    gb_close(host, 1000);
}

static void test_storms(void **state)
{
    storm(0, GB_DELIVER_POLL, false);
    storm(0, GB_DELIVER_POLL, true);
    storm(3, GB_DELIVER_POLL, false);
    storm(3, GB_DELIVER_WORKER, false);
    storm(3, GB_DELIVER_WORKER, true);
}

/* ---- closing ---- */

static void test_close_answers_all(void **state)
{
    static const int workers[] = {0, 3, 3};
    static const gb_deliver deliver[] = {GB_DELIVER_POLL, GB_DELIVER_POLL, GB_DELIVER_WORKER};
    for (int w = 0; w < 3; w++)
        for (int drain_ms = 0; drain_ms <= 20; drain_ms += 20) {
            gb_host *host = kit_open(workers[w], deliver[w]);
            kit_answer a[40];
            memset(a, 0, sizeof a);
            for (int i = 0; i < 40; i++) {
                char key[16];
                snprintf(key, sizeof key, "%d", i % 10);
                assert_true(gb_call(host, "Probe", key, i < 20 ? "sleep" : "get", seconds(host, 60),
                                    -1, kit_on_result, &a[i]) > 0);
            }
            gb_close(host, drain_ms);
            for (int i = 0; i < 40; i++) {
                assert_int_equal(atomic_load(&a[i].runs), 1);
                assert_int_equal(a[i].rc, GB_ECLOSED);
            }
        }
}

static void call_while_closing(gb_host *host, kit_answer *answer)
{
    gb_value *args = kit_int(host, 1);
    assert_int_equal(gb_call(host, "Probe", "x", "get", args, 0, kit_on_result, answer),
                     GB_ECLOSED);
    gb_value_free(args);
    assert_int_equal(gb_poll(host, 0, 0), GB_EBUSY);
    assert_int_equal(gb_cancel(host, 1), GB_ECLOSED);
    answer->user = host;
}

static void test_calls_after_close_began(void **state)
{
    gb_host *host = kit_open(0, GB_DELIVER_POLL);
    kit_answer a = {.then = call_while_closing};
    assert_true(gb_call(host, "Probe", "x", "sleep", seconds(host, 60), -1, kit_on_result, &a) > 0);
    gb_close(host, 0);
    assert_non_null(a.user);
    gb_close(NULL, 0);
}

static void *wait_main(void *user)
{
    gb_host *host = user;
    int rc = gb_call_wait(host, "Probe", "w", "mark_sleep", seconds(host, 60), -1, NULL);
    return (void *)(intptr_t)rc;
}

static int mark(gb_host *host, const gb_value *args, gb_value *results, void *user)
{
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

static void test_close_lets_waiters_go(void **state)
{
    static const int workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        gb_host *host = kit_open(workers[w], GB_DELIVER_POLL);
        pthread_t thread;
        atomic_int marks = 0;
        assert_int_equal(gb_export(host, "mark", mark, &marks), 0);
        assert_int_equal(pthread_create(&thread, NULL, wait_main, host), 0);
        while (!atomic_load(&marks)) {
            int rc = gb_poll(host, 1000, 1000);
            assert_true(rc >= 0 || rc == GB_EBUSY);
        }
        gb_close(host, 0);
        void *rc;
        pthread_join(thread, &rc);
        assert_int_equal((intptr_t)rc, GB_ECLOSED);
    }
}

/* ---- gb_poll ---- */

static void test_budget(void **state)
{
    enum { FLOOD = 3000 };
    gb_host *host = kit_open(0, GB_DELIVER_POLL);
    static kit_answer all;
    atomic_store(&all.runs, 0);
    for (int i = 0; i < FLOOD; i++)
        assert_true(gb_call(host, "Probe", "f", "spin", seconds(host, 0.0002), -1, kit_on_result,
                            &all) > 0);
    /* Turns of 0.2 ms in a budget of 2 ms: ten, and one that began before its end. Fewer where the
     * machine takes the core away. */
    int most = 0;
    while (atomic_load(&all.runs) < FLOOD) {
        int before = atomic_load(&all.runs);
        assert_true(gb_poll(host, 2000, 0) >= 0);
        int ran = atomic_load(&all.runs) - before;
        if (ran > most) most = ran;
    }
    assert_true(most > 0);
    assert_true(most <= 12);
    gb_close(host, 100);
}

static bool readable(int fd, int wait_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, wait_ms) == 1;
}

static void test_poll_fd(void **state)
{
    static const int workers[] = {0, 2};
    for (int w = 0; w < 2; w++) {
        gb_host *host = kit_open(workers[w], GB_DELIVER_POLL);
        int fd = gb_poll_fd(host);
        assert_true(fd >= 0);
        for (int round = 0; round < 50; round++) {
            kit_answer a = {0};
            while (gb_poll(host, 1000, 0) > 0) continue;
            assert_true(gb_call(host, "Probe", "p", "get", NULL, 0, kit_on_result, &a) > 0);
            while (!atomic_load(&a.runs)) {
                int timeout = gb_poll_timeout(host);
                if (!readable(fd, timeout < 0 ? 20000 : timeout) && timeout < 0)
                    fail_msg("not readable");
                gb_poll(host, 1000, 0);
            }
        }
        while (readable(fd, 0)) gb_poll(host, 1000, 0);
        gb_close(host, 100);
    }
    gb_host *host = kit_open(1, GB_DELIVER_WORKER);
    assert_int_equal(gb_poll_fd(host), -1);
    assert_int_equal(gb_poll(host, 100, 100), 0);
    gb_close(host, 0);
}

static void test_virtual_time(void **state)
{
    gb_config config;
    kit_config(&config, 2, GB_DELIVER_POLL);
    config.virtual_time = 1;
    config.seed = 7;
    gb_host *host = kit_open_config(&config);
    gb_value *out;
    assert_int_equal(gb_call_wait(host, "Probe", "v", "sleep", seconds(host, 3600), -1, &out), 0);
    gb_value_free(out);
    gb_close(host, 100);
}

/* ---- hooks ---- */

static void count_lines(void *user, int level, const char *line)
{
    atomic_fetch_add((atomic_int *)user, strstr(line, "nobody waits") != NULL);
}

static void test_hooks(void **state)
{
    atomic_int lines = 0;
    gb_config config;
    gb_host *host;
    kit_config(&config, 2, GB_DELIVER_POLL);
    config.log = count_lines;
    config.log_user = &lines;
    config.log_level = 2;
    host = kit_open_config(&config);
    assert_true(gb_tell(host, "Nobody", "h", "add", NULL, 0, NULL, NULL) > 0);
    gb_close(host, 1000);
    assert_int_equal(atomic_load(&lines), 1);
    config.deliver = (gb_deliver)9;
    assert_int_equal(gb_open(&host, &config), GB_EINVAL);
    assert_int_equal(gb_fail(GB_ENOENT, "no %s", "orc"), GB_ENOENT);
    assert_string_equal(gb_err_detail(), "no orc");
    assert_null(gb_panic_hook(NULL));
}

/* ---- several hosts ---- */

static void call_other(gb_host *host, kit_answer *answer)
{
    gb_host *other = answer->user;
    assert_int_equal(gb_call_wait(other, "Probe", "o", "add", kit_int(other, 1), 0, NULL), 0);
    assert_true(gb_poll(other, 1000, 0) >= 0);
}

static void test_two_hosts(void **state)
{
    for (int round = 0; round < 5; round++) {
        gb_host *a = kit_open(0, GB_DELIVER_POLL), *b = kit_open(round % 2, GB_DELIVER_POLL);
        kit_answer answer = {.then = call_other, .user = b};
        assert_true(gb_call(a, "Probe", "x", "get", NULL, 0, kit_on_result, &answer) > 0);
        kit_wait(a, &answer);
        gb_close(round % 2 ? a : b, 50);
        gb_host *left = round % 2 ? b : a;
        assert_int_equal(gb_call_wait(left, "Probe", "x", "get", NULL, 0, NULL), 0);
        gb_close(left, 50);
    }
}

static void test_stateless_is_spread(void **state)
{
    gb_host *host = kit_open(3, GB_DELIVER_POLL);
    int seen[3] = {0};
    for (int i = 0; i < 30; i++) {
        gb_value *out;
        int64_t worker;
        assert_int_equal(gb_call_wait(host, "Worker", "w", "where", NULL, 0, &out), 0);
        assert_int_equal(gb_as_int(gb_value_at(out, 0), &worker), 0);
        seen[worker]++;
        gb_value_free(out);
    }
    assert_true(seen[0] && seen[1] && seen[2]);
    gb_close(host, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_wait),
        cmocka_unit_test(test_storms),
        cmocka_unit_test(test_close_answers_all),
        cmocka_unit_test(test_calls_after_close_began),
        cmocka_unit_test(test_close_lets_waiters_go),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_poll_fd),
        cmocka_unit_test(test_virtual_time),
        cmocka_unit_test(test_hooks),
        cmocka_unit_test(test_two_hosts),
        cmocka_unit_test(test_stateless_is_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
