/* src/sys/sys_uv.c: a real loop. Bounds of a minute are only there so that a failure ends. */
#include "sys/sys.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LIMIT (60 * GB_SEC)

typedef struct real {
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
} real;

static void real_open(real *r)
{
    gb_mem_init(&r->mem, "test", NULL, 0);
    assert_int_equal(gb_sys_open(&r->sys, &r->mem), 0);
    assert_false(gb_sys_is_sim(r->sys));
    assert_int_equal(r->sys->door->loop_open(&r->loop, r->sys), 0);
}

static void real_close(real *r)
{
    r->sys->door->loop_close(r->loop);
    gb_sys_close(r->sys);
    gb_mem_fini(&r->mem);
}

static void test_clock(void **unused)
{
    real r;
    real_open(&r);
    uint64_t last = gb_now(r.sys);
    for (int i = 0; i < 100000; i++) {
        uint64_t now = gb_now(r.sys);
        assert_true(now >= last);
        last = now;
    }
    assert_true(gb_wall(r.sys) > 1767225600ll * (int64_t)GB_SEC); /* after 2026-01-01 */
    uint64_t a = gb_random(r.sys), b = gb_random(r.sys), c = gb_random(r.sys);
    assert_true(a != b || b != c);
    real_close(&r);
}

static void *wake(void *user)
{
    gb_loop_wake(user);
    return NULL;
}

/* A wake from another thread ends a wait for ever, also when it came before the wait. */
static void test_wake(void **unused)
{
    real r;
    real_open(&r);
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        uint64_t start = gb_now(r.sys);
        assert_int_equal(pthread_create(&thread, NULL, wake, r.loop), 0);
        if (i % 2) pthread_join(thread, NULL);
        gb_loop_wait(r.loop, i % 3 ? GB_FOREVER : LIMIT);
        if (i % 2 == 0) pthread_join(thread, NULL);
        assert_true(gb_now(r.sys) - start < LIMIT);
    }
    real_close(&r);
}

static void test_timeout(void **unused)
{
    real r;
    real_open(&r);
    static const uint64_t waits[] = {0, 1, 999999, GB_MS, 3 * GB_MS + 1};
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        uint64_t start = gb_now(r.sys);
        gb_loop_wait(r.loop, waits[i]);
        uint64_t took = gb_now(r.sys) - start;
        assert_true(took < LIMIT);
    }
    /* several short waits reach a time, however each is rounded */
    uint64_t until = gb_now(r.sys) + 5 * GB_MS, now;
    int rounds = 0;
    while ((now = gb_now(r.sys)) < until && rounds++ < 1000) gb_loop_wait(r.loop, until - now);
    assert_true(rounds < 1000);
    /* an absurd time is not a short one */
    gb_loop_wake(r.loop);
    gb_loop_wait(r.loop, GB_FOREVER - 1);
    real_close(&r);
}

static void test_fd(void **unused)
{
    real r;
    real_open(&r);
    struct pollfd fd = {.fd = r.sys->door->loop_fd(r.loop), .events = POLLIN};
    assert_true(fd.fd >= 0);
    gb_loop_wait(r.loop, 0);
    assert_int_equal(poll(&fd, 1, 0), 0);
    gb_loop_wake(r.loop);
    assert_int_equal(poll(&fd, 1, 60000), 1);
    gb_loop_wait(r.loop, 0);
    assert_int_equal(poll(&fd, 1, 0), 0);
    real_close(&r);
}

/* Without descriptors a loop does not open, and says so. */
static void test_no_descriptors(void **unused)
{
    gb_mem mem;
    gb_sys *sys;
    gb_loop *loop;
    struct rlimit before, few;
    gb_mem_init(&mem, "test", NULL, 0);
    assert_int_equal(gb_sys_open(&sys, &mem), 0);
    getrlimit(RLIMIT_NOFILE, &before);
    int top = dup(0);
    assert_true(top >= 0);
    close(top);
    for (int more = 0; more < 3; more++) {
        few = before;
        few.rlim_cur = (rlim_t)(top + more);
        setrlimit(RLIMIT_NOFILE, &few);
        int rc = sys->door->loop_open(&loop, sys);
        setrlimit(RLIMIT_NOFILE, &before);
        if (rc == 0) {
            sys->door->loop_close(loop);
            continue;
        }
        assert_int_equal(rc, GB_ENOMEM);
        assert_non_null(strstr(gb_err_detail(), "no event loop"));
    }
    atomic_store(&mem.fail_at, 1);
    assert_int_equal(sys->door->loop_open(&loop, sys), GB_ENOMEM);
    gb_sys_close(sys);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock),          cmocka_unit_test(test_wake),
        cmocka_unit_test(test_timeout),        cmocka_unit_test(test_fd),
        cmocka_unit_test(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
