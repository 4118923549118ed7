/* src/cluster/directory: claims, hand-over and conflicts, step by step. With faults: sim_cluster.
 */
#include "base/err.h"
#include "cluster/directory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#define SEC ((uint64_t)1000000000)

enum { SILOS = 3, SEED = 77 };

/* Three machines whose messages are carried at once, unless they are held. */
typedef struct scene {
    gb_mem mem;
    gb_directory *silos[SILOS + 1]; /* by id: 1, 2, 3 */
    gb_view *views[SILOS + 1];
    gb_directory_actions out[SILOS + 1];
    uint64_t now, version;
    int rc[100];
    uint64_t answer[100]; /* by token */
    uint64_t dropped[SILOS + 1];
    bool cut[SILOS + 1]; /* hears and says nothing */
} scene;

static void begin(scene *t)
{
    memset(t, 0, sizeof *t);
    t->now = SEC;
    gb_mem_init(&t->mem, "test", NULL, 0);
    for (uint64_t i = 1; i <= SILOS; i++) {
        gb_directory_config config = {.mem = &t->mem, .silo = i, .hash_seed = SEED};
        gb_directory_rules_init(&config.rules);
        assert_int_equal(gb_directory_open(&t->silos[i], &config), 0);
        gb_directory_actions_init(&t->out[i], &t->mem);
    }
    for (int i = 0; i < 100; i++) t->rc[i] = 1;
}

static void end(scene *t)
{
    for (uint64_t i = 1; i <= SILOS; i++) {
        gb_directory_close(t->silos[i]);
        gb_directory_actions_fini(&t->out[i]);
        gb_view_unref(t->views[i]);
    }
    gb_mem_fini(&t->mem);
}

static void carry(scene *t)
{
    for (bool more = true; more;) {
        more = false;
        for (uint64_t i = 1; i <= SILOS; i++) {
            gb_directory_actions list = t->out[i];
            gb_directory_actions_init(&t->out[i], &t->mem);
            for (uint32_t k = 0; k < list.count; k++) {
                gb_directory_action *action = &list.items[k];
                more = true;
                if (action->kind == GB_DIR_ANSWER) {
                    t->rc[action->token] = action->rc;
                    t->answer[action->token] = action->silo;
                } else if (action->kind == GB_DIR_DROP)
                    t->dropped[i] = action->silo;
                else if (!t->cut[i] && !t->cut[action->silo])
                    gb_directory_message(t->silos[action->silo], i, &action->message, t->now,
                                         &t->out[action->silo]);
            }
            gb_directory_actions_fini(&list);
        }
    }
}

/* A view of these states (-1: no row) for one silo. */
static void show(scene *t, uint64_t silo, uint64_t version, const int states[SILOS])
{
    gb_member rows[SILOS];
    gb_table_view table = {.version = version, .rows = rows};
    gb_view *view;
    for (int i = 0; i < SILOS; i++) {
        if (states[i] < 0) continue;
        rows[table.count++] = (gb_member){.id = (uint64_t)i + 1,
                                          .labels = (char *)"",
                                          .types = (char *)"",
                                          .state = (gb_silo_state)states[i]};
    }
    assert_int_equal(gb_view_read(&view, &t->mem, SEED, &table, t->views[silo]), 0);
    gb_directory_view(t->silos[silo], view, t->now, &t->out[silo]);
    gb_view_unref(t->views[silo]);
    t->views[silo] = view;
}

static void show_all(scene *t, int a, int b, int c)
{
    int states[SILOS] = {a, b, c};
    t->version++;
    for (uint64_t i = 1; i <= SILOS; i++) show(t, i, t->version, states);
    carry(t);
}

static void pass(scene *t, uint64_t ns)
{
    t->now += ns;
    for (uint64_t i = 1; i <= SILOS; i++) gb_directory_tick(t->silos[i], t->now, &t->out[i]);
    carry(t);
}

static uint64_t claim(scene *t, uint64_t silo, uint32_t grain, uint64_t token)
{
    int rc = gb_directory_claim(t->silos[silo], token, &grain, sizeof grain, t->now + 10 * SEC,
                                t->now, &t->out[silo]);
    if (rc < 0) t->rc[token] = rc;
    carry(t);
    return t->answer[token];
}

static bool holds(scene *t, uint64_t silo, uint32_t grain)
{
    return gb_directory_holds(t->silos[silo], &grain, sizeof grain, NULL);
}

static uint32_t owned_by(scene *t, const gb_ring *ring, uint64_t silo, uint32_t from)
{
    while (gb_ring_owner(ring, gb_directory_hash(SEED, &from, sizeof from)) != silo) from++;
    return from;
}

static void test_claim(void **unused)
{
    scene t;
    begin(&t);
    show_all(&t, GB_SILO_ACTIVE, GB_SILO_ACTIVE, GB_SILO_ACTIVE);
    for (uint32_t grain = 0; grain < 30; grain++) {
        assert_int_equal(claim(&t, 1 + grain % 3, grain, grain), 1 + grain % 3);
        assert_int_equal(claim(&t, 1 + (grain + 1) % 3, grain, 50), 1 + grain % 3);
        assert_true(holds(&t, 1 + grain % 3, grain));
        assert_false(holds(&t, 1 + (grain + 1) % 3, grain));
    }
    claim(&t, 1, 0, 51);
    assert_int_equal(t.rc[51], GB_ECONFLICT); /* held already */
    uint32_t grain = 0;
    gb_directory_find(t.silos[2], 52, &grain, sizeof grain, t.now + SEC, t.now, &t.out[2]);
    carry(&t);
    assert_true(t.rc[52] == 0 && t.answer[52] == 1);
    gb_directory_release(t.silos[1], &grain, sizeof grain, t.now, &t.out[1]);
    carry(&t);
    gb_directory_find(t.silos[2], 53, &grain, sizeof grain, t.now + SEC, t.now, &t.out[2]);
    carry(&t);
    assert_true(t.rc[53] == 0 && t.answer[53] == 0);
    assert_int_equal(claim(&t, 2, 0, 54), 2);
    end(&t);
}

/* A silo joins, one dies, one drains: what is active stays known, what died is free. */
static void test_moves(void **unused)
{
    scene t;
    begin(&t);
    show_all(&t, GB_SILO_ACTIVE, GB_SILO_ACTIVE, GB_SILO_JOINING);
    for (uint32_t grain = 0; grain < 40; grain++) claim(&t, 1 + grain % 2, grain, grain);
    show_all(&t, GB_SILO_ACTIVE, GB_SILO_ACTIVE, GB_SILO_ACTIVE);
    for (uint32_t grain = 0; grain < 40; grain++)
        assert_int_equal(claim(&t, 3, grain, 40 + grain % 20), 1 + grain % 2);
    show_all(&t, GB_SILO_ACTIVE, GB_SILO_DEAD, GB_SILO_ACTIVE);
    for (uint32_t grain = 0; grain < 40; grain++)
        assert_int_equal(claim(&t, 3, grain, 40 + grain % 20), grain % 2 ? 3 : 1);
    show_all(&t, GB_SILO_DRAINING, GB_SILO_DEAD, GB_SILO_ACTIVE);
    assert_int_equal(claim(&t, 3, 0, 99), 1); /* it still hosts what it hosts */
    claim(&t, 1, 1000, 98);
    assert_int_equal(t.rc[98], GB_EDENIED); /* and takes nothing new */
    gb_directory_stats stats;
    gb_directory_get_stats(t.silos[1], &stats);
    assert_int_equal(stats.entries, 0);
    gb_directory_get_stats(t.silos[3], &stats);
    assert_true(stats.entries == 40 && !stats.syncing);
    end(&t);
}

/* Nothing of a gained arc is given away before all have told. */
static void test_waits_for_all(void **unused)
{
    scene t;
    begin(&t);
    show_all(&t, GB_SILO_ACTIVE, GB_SILO_ACTIVE, GB_SILO_JOINING);
    uint32_t mine = owned_by(&t, t.views[1]->ring, 1, 0); /* ... now; does it become 3's? */
    int all[SILOS] = {GB_SILO_ACTIVE, GB_SILO_ACTIVE, GB_SILO_ACTIVE};
    gb_ring *later;
    uint64_t ids[SILOS] = {1, 2, 3};
    assert_int_equal(gb_ring_new(&later, &t.mem, SEED, ids, SILOS, NULL), 0);
    while (gb_ring_owner(later, gb_directory_hash(SEED, &mine, sizeof mine)) != 3)
        mine = owned_by(&t, t.views[1]->ring, 1, mine + 1);
    gb_ring_unref(later);
    assert_int_equal(claim(&t, 2, mine, 1), 2);
    t.cut[2] = true; /* 2 hosts it and is not heard */
    t.version++;
    for (uint64_t i = 1; i <= SILOS; i++) show(&t, i, t.version, all);
    carry(&t);
    claim(&t, 3, mine, 2);
    assert_int_equal(t.rc[2], 1); /* no answer yet */
    pass(&t, SEC);
    assert_int_equal(t.rc[2], 1);
    t.cut[2] = false;
    for (int i = 0; i < 6; i++) pass(&t, SEC);
    assert_true(t.rc[2] == 0 && t.answer[2] == 2);
    end(&t);
}

/* An answer of an older view than the host's own is claimed again. */
static void test_old_answer(void **unused)
{
    scene t;
    begin(&t);
    show_all(&t, GB_SILO_ACTIVE, GB_SILO_ACTIVE, GB_SILO_ACTIVE);
    uint32_t grain = owned_by(&t, t.views[1]->ring, 1, 0);
    gb_directory_claim(t.silos[2], 5, &grain, sizeof grain, t.now + 10 * SEC, t.now, &t.out[2]);
    int states[SILOS] = {GB_SILO_ACTIVE, GB_SILO_ACTIVE, GB_SILO_DEAD};
    gb_directory_action asked = t.out[2].items[0];
    gb_directory_message(t.silos[1], 2, &asked.message, t.now, &t.out[1]);
    show(&t, 2, ++t.version, states); /* before the answer is there */
    gb_directory_message(t.silos[2], 1, &t.out[1].items[0].message, t.now, &t.out[2]);
    assert_false(holds(&t, 2, grain));
    show(&t, 1, t.version, states);
    carry(&t);
    for (int i = 0; i < 3; i++) pass(&t, SEC);
    assert_true(t.rc[5] == 0 && t.answer[5] == 2 && holds(&t, 2, grain));
    end(&t);
}

/* Two hosts after a table was lost: one of them is told to end. */
static void test_conflict(void **unused)
{
    scene t;
    begin(&t);
    int first[SILOS] = {GB_SILO_ACTIVE, -1, -1}, second[SILOS] = {-1, GB_SILO_ACTIVE, -1};
    show(&t, 1, 5, first);
    show(&t, 2, 6, second);
    carry(&t);
    assert_int_equal(claim(&t, 1, 9, 1), 1);
    assert_int_equal(claim(&t, 2, 9, 2), 2);
    t.version = 6;
    show_all(&t, GB_SILO_ACTIVE, GB_SILO_ACTIVE, -1);
    for (int i = 0; i < 3; i++) pass(&t, SEC);
    assert_false(holds(&t, 1, 9)); /* the older registration */
    assert_true(holds(&t, 2, 9));
    assert_int_equal(t.dropped[1], 2);
    end(&t);
}

static void test_late_release(void **unused)
{
    scene t;
    begin(&t);
    show_all(&t, GB_SILO_ACTIVE, GB_SILO_ACTIVE, GB_SILO_ACTIVE);
    uint32_t grain = owned_by(&t, t.views[1]->ring, 1, 0);
    claim(&t, 2, grain, 1);
    gb_directory_release(t.silos[2], &grain, sizeof grain, t.now, &t.out[2]);
    gb_message late = t.out[2].items[0].message; /* it is on its way for long */
    assert_int_equal(late.kind, GB_MSG_RELEASE);
    gb_directory_actions held = t.out[2];
    gb_directory_actions_init(&t.out[2], &t.mem);
    assert_int_equal(claim(&t, 2, grain, 2), 2);
    gb_directory_message(t.silos[1], 2, &late, t.now, &t.out[1]);
    gb_directory_actions_fini(&held);
    assert_int_equal(claim(&t, 3, grain, 3), 2);
    end(&t);
}

static void test_deadline(void **unused)
{
    scene t;
    begin(&t);
    show_all(&t, GB_SILO_ACTIVE, GB_SILO_ACTIVE, GB_SILO_ACTIVE);
    uint32_t grain = owned_by(&t, t.views[1]->ring, 1, 0);
    t.cut[1] = true;
    claim(&t, 2, grain, 7);
    for (int i = 0; i < 9; i++) pass(&t, SEC);
    assert_int_equal(t.rc[7], 1);
    for (int i = 0; i < 2; i++) pass(&t, SEC);
    assert_int_equal(t.rc[7], GB_ETIMEDOUT);
    assert_true(gb_directory_next(t.silos[2]) == UINT64_MAX);
    gb_directory_claim(t.silos[2], 8, &grain, sizeof grain, t.now, t.now, &t.out[2]);
    pass(&t, 1);
    assert_int_equal(t.rc[8], GB_ETIMEDOUT);
    end(&t);
}

static void test_cache(void **unused)
{
    scene t;
    gb_dir_cache cache;
    begin(&t);
    show_all(&t, GB_SILO_ACTIVE, GB_SILO_ACTIVE, GB_SILO_DEAD);
    assert_int_equal(gb_dir_cache_init(&cache, &t.mem, 100), GB_EINVAL);
    assert_int_equal(gb_dir_cache_init(&cache, &t.mem, 64), 0);
    assert_true(gb_dir_cache_get(&cache, 5, t.views[1]) == 0);
    gb_dir_cache_put(&cache, 5, 2);
    assert_true(gb_dir_cache_get(&cache, 5, t.views[1]) == 2);
    assert_true(gb_dir_cache_get(&cache, 5 + 64, t.views[1]) == 0);
    gb_dir_cache_put(&cache, 6, 3);
    assert_true(gb_dir_cache_get(&cache, 6, t.views[1]) == 0); /* dead */
    gb_dir_cache_put(&cache, 5, 0);
    assert_true(gb_dir_cache_get(&cache, 5, t.views[1]) == 0);
    gb_dir_cache_fini(&cache);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claim),         cmocka_unit_test(test_moves),
        cmocka_unit_test(test_waits_for_all), cmocka_unit_test(test_old_answer),
        cmocka_unit_test(test_conflict),      cmocka_unit_test(test_late_release),
        cmocka_unit_test(test_deadline),      cmocka_unit_test(test_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
