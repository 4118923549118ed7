/* Each allocation of a scenario fails in turn, on each account: every scenario ends with an answer
 * or a clear error, without a crash and without a leak. */
#include "kit_storm.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { WORKERS = 2, ASKS = 12 };

typedef void scenario(kit *k, kit_ask *asks);

static kit_to to(int type, int64_t key)
{
    return (kit_to){type, key, 5 * (int64_t)GB_SEC, 0};
}

static bool define(kit *k, int index, gb_placement placement, uint32_t queue_max,
                   gb_reentrancy reentrant)
{
    gb_type_options options;
    kit_options(&options);
    options.placement = placement;
    options.queue_max = queue_max;
    options.reentrant = reentrant;
    options.idle_ns = GB_SEC;
    return kit_define(k, index, &options) != NULL;
}

/* Calls here and there, nested, with hooks. */
static void calls(kit *k, kit_ask *asks)
{
    kit_prog one = {0}, prog = {0};
    if (!define(k, 0, GB_PLACE_RANDOM, 8, GB_REENTRANT_NO)) return;
    if (!define(k, 1, GB_PLACE_LOCAL, 8, GB_REENTRANT_NO)) return;
    kit_yield(&k->conf[0].activate);
    kit_yield(&k->conf[0].deactivate);
    kit_add(&one, 1);
    for (int i = 0; i < 3; i++) {
        kit_call(&prog, to(0, 10 + i), &one);
        kit_async(&prog, i, to(1, 20 + i), &one);
    }
    for (int i = 0; i < 3; i++) kit_await(&prog, i);
    kit_must(&prog);
    for (int i = 0; i < ASKS; i++) kit_ask_at(k, &asks[i], i % WORKERS, to(i % 2, i), &prog);
}

/* Tells to a full mailbox, with and without a deadline. */
static void tells(kit *k, kit_ask *asks)
{
    kit_prog one = {0}, slow = {0};
    if (!define(k, 0, GB_PLACE_RANDOM, 2, GB_REENTRANT_NO)) return;
    kit_add(&one, 1);
    kit_sleep(&slow, GB_MS);
    kit_ask_at(k, &asks[0], 0, to(0, 1), &slow);
    kit_settle(k);
    for (int i = 1; i < ASKS; i++) kit_tell_at(k, &asks[i], i % WORKERS, to(0, 1), &one);
}

/* Circles over both workers, chains, timers, spawned turns, ends. */
static void circles(kit *k, kit_ask *asks)
{
    kit_prog one = {0}, tick = {0};
    if (!define(k, 0, GB_PLACE_RANDOM, 2, GB_REENTRANT_NO)) return;
    if (!define(k, 1, GB_PLACE_LEAST, 2, GB_REENTRANT_CHAIN)) return;
    kit_add(&one, 1);
    kit_get(&tick);
    for (int i = 0; i < ASKS; i++) {
        kit_prog prog = {0}, inner = {0};
        kit_timer(&prog, 1000, i % 2 ? 100 * (int64_t)GB_MS : 0, &tick);
        kit_spawn(&prog, &one);
        kit_call(&inner, to(i % 2, i % 3), &one);
        kit_call(&prog, to(i % 2, (i + 1) % 3), &inner);
        if (i == 5) kit_stop(&prog);
        kit_ask_at(k, &asks[i], i % WORKERS, to(i % 2, i % 3), &prog);
    }
}

/* The type loads later, or never. */
static void loads(kit *k, kit_ask *asks)
{
    kit_prog one = {0};
    if (!define(k, 0, GB_PLACE_LOCAL, 2, GB_REENTRANT_NO)) return;
    if (!define(k, 1, GB_PLACE_STATELESS, 2, GB_REENTRANT_NO)) return;
    k->conf[0].load = KIT_LOAD_PENDING;
    k->conf[1].load = KIT_LOAD_FAILS;
    kit_add(&one, 1);
    for (int i = 0; i < ASKS; i++)
        if (i % 3)
            kit_ask_at(k, &asks[i], i % WORKERS, to(i % 2, i), &one);
        else
            kit_tell_at(k, &asks[i], i % WORKERS, to(i % 2, i), &one);
    kit_settle(k);
    for (int i = 0; i < k->conf[0].loading_count; i++)
        gb_type_loaded(k->conf[0].loading[i], k->types[0], i % 2 ? GB_ENOENT : 0, "not there");
}

static gb_mem *account(kit *k, int which)
{
    return which == 0 ? &k->mem : &k->silo->workers[which - 1]->mem;
}

static void judge(kit *k, kit_ask *asks)
{
    for (int i = 0; i < ASKS; i++) {
        if (!asks[i].kit) continue;
        assert_int_equal(asks[i].done, asks[i].sent == GB_OP_PENDING);
        int rc = asks[i].sent < 0 ? asks[i].sent : asks[i].rc;
        if (rc == GB_ENOMEM || rc == GB_EBUSY) assert_true(strlen(asks[i].message) > 0);
    }
    assert_int_equal(kit_calls(k), 0);
    assert_int_equal(k->wrong, 0);
}

/* False: the failure was not reached any more. */
static bool run_one(scenario *play, int which, int nth)
{
    kit k;
    kit_ask asks[ASKS] = {{0}};
    if (which == 0) {
        memset(&k, 0, sizeof k);
        gb_mem_init(&k.mem, "kit", NULL, 0);
        atomic_store(&k.mem.fail_at, nth);
        if (kit_open_on(&k, WORKERS, 7) < 0) {
            assert_true(strlen(gb_err_detail()) > 0);
            kit_close(&k);
            return true;
        }
    } else {
        kit_open(&k, WORKERS, 7);
        atomic_store(&account(&k, which)->fail_at, nth);
    }
    play(&k, asks);
    kit_settle(&k);
    gb_silo_advance(k.silo, 20 * GB_SEC);
    bool reached = atomic_load(&account(&k, which)->fail_at) <= 0;
    judge(&k, asks);
    kit_close(&k);
    assert_int_equal(k.wrong, 0);
    return reached;
}

static void run_all(scenario *play, const char *name)
{
    int points = 0;
    for (int which = 0; which <= WORKERS; which++)
        for (int nth = 1; run_one(play, which, nth); nth++) points++;
    printf("# %s: %d allocations failed in turn\n", name, points);
    assert_true(points > 10);
}

static void test_calls(void **unused)
{
    run_all(calls, "calls");
}

static void test_tells(void **unused)
{
    run_all(tells, "tells");
}

static void test_circles(void **unused)
{
    run_all(circles, "circles");
}

static void test_loads(void **unused)
{
    run_all(loads, "loads");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_tells),
        cmocka_unit_test(test_circles),
        cmocka_unit_test(test_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
