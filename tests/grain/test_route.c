/* src/grain/route.c: where activations are placed, and that there are never two of one id. */
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

static int64_t forwards(kit *k)
{
    int64_t count = 0;
    for (int i = 0; i < k->silo->worker_count; i++) {
        gb_worker *w = k->silo->workers[i];
        for (uint32_t c = 0; c < w->chunk_count; c++)
            for (int s = 0; s < GB_ACTS_PER_CHUNK; s++)
                count += w->chunks[c][s].state == GB_ACT_FORWARD;
    }
    return count;
}

static void placed(int workers, uint64_t number)
{
    kit k;
    kit_ask ask;
    kit_open(&k, workers, number);
    gb_type_options options;
    static const gb_placement placements[] = {GB_PLACE_RANDOM, GB_PLACE_HASH, GB_PLACE_LOCAL,
                                              GB_PLACE_LEAST};
    for (int type = 0; type < 4; type++) {
        kit_options(&options);
        options.placement = placements[type];
        kit_define(&k, type, &options);
    }
    kit_prog one = adds(1);
    for (int type = 0; type < 4; type++)
        for (int64_t key = 0; key < 24; key++)
            for (int round = 0; round < 3; round++) {
                int from = (int)(key + round * round) % workers;
                kit_ask_at(&k, &ask, from, to(type, key), &one);
                kit_settle(&k);
                assert_int_equal(ask.value, round + 1); /* one and the same each time */
                gb_worker *at = worker_of(&k, type, key);
                if (type < 2)
                    assert_ptr_equal(at, gb_worker_of_key(k.types[type], gb_key_number(key)));
                if (type == 2) assert_int_equal(at->index, key % workers); /* who came first */
            }
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < workers; i++) {
        int64_t count = atomic_load(&k.silo->workers[i]->act_count);
        if (count < least) least = count;
        if (count > most) most = count;
    }
    assert_true(k.types[3]->local[0].count <= 24);
    assert_int_equal(gb_type_activations(k.types[3]), 24);
    gb_silo_advance(k.silo, 3600 * GB_SEC);
    assert_int_equal(k.instances, 0);
    assert_int_equal(forwards(&k), 0); /* no entry is left at any home */
    finish(&k);
}

static void test_placed(void **unused)
{
    each_count(placed, "grain.act placed");
}

static void test_least_is_even(void **unused)
{
    kit k;
    kit_ask ask;
    gb_type_options options;
    kit_open(&k, 4, 1);
    kit_options(&options);
    options.placement = GB_PLACE_LEAST;
    kit_define(&k, 0, &options);
    kit_prog one = adds(1);
    for (int64_t key = 0; key < 40; key++) {
        kit_ask_at(&k, &ask, 0, to(0, key), &one);
        kit_settle(&k);
    }
    for (int i = 0; i < 4; i++) assert_int_equal(k.types[0]->local[i].count, 10);
    finish(&k);
}

/* An entry that came to nothing (the call was late, the instance did not open, the load failed)
 * does not stay. */
static void test_entries_of_nothing(void **unused)
{
    kit k;
    kit_ask ask;
    gb_type_options options;
    kit_open(&k, 3, 1);
    kit_options(&options);
    options.placement = GB_PLACE_LOCAL;
    kit_define(&k, 0, &options);
    kit_define(&k, 1, &options);
    k.conf[1].load = KIT_LOAD_FAILS;
    kit_prog one = adds(1);
    for (int64_t key = 0; key < 12; key++) {
        atomic_store(&k.conf[0].open_fails, 1);
        kit_ask_at(&k, &ask, 1, to(0, key), &one);
        kit_settle(&k);
        assert_int_equal(ask.sent < 0 ? ask.sent : ask.rc, GB_EINVAL);
        kit_ask_at(&k, &ask, 1, to(1, key), &one);
        kit_settle(&k);
        assert_int_equal(ask.sent < 0 ? ask.sent : ask.rc, GB_ENOENT);
        kit_ask_at(&k, &ask, 1, (kit_to){0, key, 1, 0}, &one);
        for (int i = 0; i < 3; i++) { /* late exactly between home and here */
            gb_worker *home = gb_worker_of_key(k.types[0], gb_key_number(key));
            gb_worker_pass(home, 0);
            gb_sim_advance_to(k.sys, gb_now(k.sys) + 1);
        }
        kit_settle(&k);
        gb_act *act = kit_find(&k, 0, key);
        if (act) gb_act_stop(worker_of(&k, 0, key), act, GB_END_ASKED);
        kit_settle(&k);
        assert_int_equal(forwards(&k), 0);
    }
    finish(&k);
}

/* Deactivations race with calls from all workers: at every moment at most one activation (the kit
 * watches), and no call is lost. */
static void races(int workers, uint64_t number)
{
    kit k;
    seed s = {number};
    gb_type_options options;
    kit_open(&k, workers, number);
    kit_options(&options);
    static const gb_placement placements[] = {GB_PLACE_RANDOM, GB_PLACE_LOCAL, GB_PLACE_LEAST};
    options.placement = placements[seed_below(&s, 3)];
    kit_define(&k, 0, &options);
    if (seed_below(&s, 2)) kit_yield(&k.conf[0].activate);
    if (seed_below(&s, 2)) kit_yield(&k.conf[0].deactivate);
    enum { ASKS = 600 };
    kit_ask *asks = calloc(ASKS, sizeof *asks);
    kit_prog one = adds(1), stops = {0};
    kit_add(&stops, 1);
    kit_stop(&stops);
    for (int i = 0; i < ASKS; i++) {
        int64_t key = (int64_t)seed_below(&s, 3);
        kit_ask_at(&k, &asks[i], (int)seed_below(&s, (uint64_t)workers), to(0, key),
                   seed_below(&s, 5) ? &one : &stops);
        for (uint64_t passes = seed_below(&s, 4); passes > 0; passes--) {
            gb_worker_pass(k.silo->workers[seed_below(&s, (uint64_t)workers)], 0);
            kit_check(&k);
        }
    }
    kit_settle(&k);
    for (int i = 0; i < ASKS; i++) {
        assert_int_equal(asks[i].done, 1);
        if (asks[i].rc != GB_EBUSY) assert_int_equal(asks[i].rc, 0);
    }
    gb_silo_advance(k.silo, 3600 * GB_SEC);
    assert_int_equal(k.instances, 0);
    assert_int_equal(forwards(&k), 0);
    free(asks);
    finish(&k);
}

static void test_races(void **unused)
{
    seed s = seed_start("grain.act races");
    for (int i = 0; i < 60; i++) races(worker_counts[i % 4], seed_next(&s));
}

static void test_pinned(void **unused)
{
    kit k;
    kit_ask ask;
    gb_type_options options;
    kit_open(&k, 3, 1);
    kit_options(&options);
    options.placement = GB_PLACE_LOCAL; /* the pin is stronger */
    gb_type *type;
    assert_int_equal(gb_type_define(&type, k.silo, "T0", "kit", &kit_kind, 2, &options), 0);
    k.types[0] = type;
    kit_prog one = adds(1);
    for (int64_t key = 0; key < 9; key++) {
        kit_ask_at(&k, &ask, (int)key % 3, to(0, key), &one);
        kit_settle(&k);
        assert_int_equal(ask.value, 1);
        assert_int_equal(worker_of(&k, 0, key)->index, 2);
    }
    gb_silo_advance(k.silo, 3600 * GB_SEC);
    assert_int_equal(k.instances, 0);
    finish(&k);
}

/* Stateless: where the caller is, as many as are needed, up to the bound. */
static void test_stateless(void **unused)
{
    kit k;
    kit_ask asks[10];
    gb_type_options options;
    kit_open(&k, 2, 1);
    kit_options(&options);
    options.placement = GB_PLACE_STATELESS;
    options.stateless_max = 4;
    kit_define(&k, 0, &options);
    kit_prog sleeps = {0};
    kit_sleep(&sleeps, GB_SEC);
    for (int i = 0; i < 10; i++) {
        kit_ask_at(&k, &asks[i], 0, to(0, 7), &sleeps);
        kit_settle(&k);
        assert_int_equal(k.types[0]->local[0].count, i < 4 ? i + 1 : 4);
    }
    assert_int_equal(k.types[0]->local[1].count, 0);
    gb_silo_advance(k.silo, GB_SEC);
    int done = 0;
    for (int i = 0; i < 10; i++) done += asks[i].done;
    assert_int_equal(done, 4);
    gb_silo_advance(k.silo, GB_SEC);
    gb_silo_advance(k.silo, GB_SEC);
    for (int i = 0; i < 10; i++) assert_int_equal(asks[i].done, 1);
    kit_ask_at(&k, &asks[0], 1, to(0, 7), &sleeps);
    kit_settle(&k);
    assert_int_equal(k.types[0]->local[1].count, 1);
    assert_int_equal(k.types[0]->local[0].count, 4); /* idle ones are used again */
    gb_silo_advance(k.silo, 3600 * GB_SEC);
    assert_int_equal(k.instances, 0);
    finish(&k);
}

/* Made without a call: at once, only where a call from here would make it, and idle from then on.
 */
static void test_make(void **unused)
{
    kit k;
    kit_ask ask;
    gb_type_options options;
    kit_open(&k, 2, 1);
    kit_define(&k, 0, NULL);
    kit_options(&options);
    options.placement = GB_PLACE_LOCAL;
    kit_define(&k, 1, &options);
    gb_worker *worker = k.silo->workers[0];
    int64_t here = 0, there = 0;
    while (gb_worker_of_key(k.types[0], gb_key_number(here)) != worker) here++;
    while (gb_worker_of_key(k.types[0], gb_key_number(there)) == worker) there++;
    assert_null(gb_act_make(worker, k.types[0], gb_key_number(here))); /* not loaded */
    gb_type_loaded(worker, k.types[0], 0, NULL);
    gb_type_loaded(worker, k.types[1], 0, NULL);
    assert_null(gb_act_make(worker, k.types[0], gb_key_number(there)));
    assert_null(gb_act_make(worker, k.types[1], gb_key_number(here)));
    gb_act *act = gb_act_make(worker, k.types[0], gb_key_number(here));
    assert_non_null(act);
    assert_true(gb_act_idle(act));
    kit_check(&k);
    assert_ptr_equal(gb_act_make(worker, k.types[0], gb_key_number(here)), act);
    kit_prog one = adds(1);
    kit_ask_at(&k, &ask, 1, to(0, here), &one);
    kit_settle(&k);
    assert_int_equal(ask.value, 1);
    gb_silo_advance(k.silo, 600 * GB_SEC);
    assert_int_equal(k.instances, 0);
    /* the hook of one that is made finds no memory for its turn */
    k.types[0]->local[0].has_activate = true;
    kit_get(&k.conf[0].activate);
    for (int nth = 1; nth < 20; nth++) {
        atomic_store(&worker->mem.fail_at, nth);
        act = gb_act_make(worker, k.types[0], gb_key_number(here));
        atomic_store(&worker->mem.fail_at, 0);
        kit_settle(&k);
        if (act && act->state == GB_ACT_ACTIVE) gb_act_stop(worker, act, GB_END_ASKED);
        kit_settle(&k);
        assert_int_equal(k.instances, 0);
    }
    finish(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placed),
        cmocka_unit_test(test_least_is_even),
        cmocka_unit_test(test_entries_of_nothing),
        cmocka_unit_test(test_races),
        cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_stateless),
        cmocka_unit_test(test_make),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
