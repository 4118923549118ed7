/* src/cluster/member: rules one at a time. All of them together, and every fault: sim_cluster. */
#include "base/err.h"
#include "kit_member.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define MS ((uint64_t)1000000)
#define SEC ((uint64_t)1000000000)

static void test_join_alone(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_join(&t);
    assert_int_equal(gb_membership_epoch(t.m), 1);
    assert_int_equal(gb_membership_view(t.m)->ring->silos, 1);
    kit_member_end(&t);
}

static void test_name(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 7, "a", 4, GB_SILO_ACTIVE);
    kit_member_row(&t, 8, "b", 9, GB_SILO_ACTIVE);
    kit_member_join(&t); /* the older one is written dead on the way */
    assert_int_equal(gb_membership_epoch(t.m), 5);
    assert_int_equal(gb_view_state(gb_membership_view(t.m), 7), GB_SILO_DEAD);
    kit_member_row(&t, 3, "a", 6, GB_SILO_JOINING);
    kit_member_tick(&t, 1400 * MS);
    gb_message probe = {.kind = GB_MSG_PROBE, .view = {0, t.version, 1}};
    gb_membership_message(t.m, 8, &probe, t.at, &t.out); /* tells of a newer view */
    kit_member_clear(&t);
    kit_member_tick(&t, 200 * MS);
    kit_member_read(&t);
    assert_int_equal(kit_member_find(&t, GB_DO_ENDED)->why, GB_WHY_NAME_TAKEN);
    assert_false(gb_membership_serves(t.m));
    kit_member_end(&t);
}

/* Lets the probes of one silo go unanswered until it is suspected. */
static void silence(kit_member *t, uint64_t silent)
{
    for (int i = 0; i < 40; i++) {
        kit_member_clear(t);
        kit_member_tick(t, 100 * MS);
        kit_member_touched(t);
        for (uint32_t k = 0; k < t->count; k++) {
            gb_message ack = {.kind = GB_MSG_PROBE_ACK, .seq = 1000000};
            if (t->rows[k].id != silent && t->rows[k].id != gb_membership_id(t->m))
                gb_membership_message(t->m, t->rows[k].id, &ack, t->at, &t->out);
        }
        if (kit_member_find(t, GB_DO_WRITE)) return;
    }
    fail();
}

static void test_votes(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 7, "b", 1, GB_SILO_ACTIVE);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    kit_member_join(&t);
    uint64_t before = t.at.now;
    silence(&t, 8);
    assert_true(t.at.now - before < 3500 * MS);
    const gb_member *vote = &kit_member_find(&t, GB_DO_WRITE)->row->member;
    assert_true(vote->id == 8 && vote->state == GB_SILO_ACTIVE && vote->vote_count == 1);
    assert_int_equal(vote->votes[0].voter, gb_membership_id(t.m));
    /* Another was faster: with his vote it is dead. The clocks of voters mean nothing. */
    gb_member *other = kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    other->votes[other->vote_count++] = (gb_vote){7, -3600ll * 1000000000};
    kit_member_clear(&t);
    gb_membership_failed(t.m, GB_ECONFLICT, t.at, &t.out);
    if (!kit_member_find(&t, GB_DO_READ)) kit_member_tick(&t, 50 * MS);
    kit_member_read(&t);
    if (!kit_member_find(&t, GB_DO_WRITE)) kit_member_tick(&t, 50 * MS);
    assert_int_equal(kit_member_write(&t), GB_SILO_DEAD);
    uint64_t silo = 0;
    assert_int_equal(kit_member_sent(&t, GB_MSG_CHANGE, NULL), 1); /* all are told, and it itself */
    assert_int_equal(kit_member_sent(&t, GB_MSG_FENCE, &silo), 1);
    assert_int_equal(silo, 8);
    assert_non_null(kit_member_find(&t, GB_DO_UNLINK));
    kit_member_end(&t);
}

/* Until the last read is long ago; the others show signs of life all the time. */
static void long_unread(kit_member *t)
{
    for (int unread = 0; unread < 400; unread++) {
        kit_member_clear(t);
        kit_member_tick(t, 100 * MS);
        kit_member_touched(t);
        kit_member_ack(t);
        for (uint32_t i = 0; i < t->count; i++) t->rows[i].alive_ns++;
        if (kit_member_find(t, GB_DO_READ)) unread = 0;
        if (kit_member_find(t, GB_DO_READ)) kit_member_read(t);
    }
}

/* Long after the last read a write tells nothing of others' signs of life: one vote stays one. */
static void test_one_vote(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 7, "b", 1, GB_SILO_ACTIVE);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    kit_member_join(&t);
    long_unread(&t);
    silence(&t, 8);
    assert_int_equal(kit_member_write(&t), GB_SILO_ACTIVE);
    assert_null(kit_member_find(&t, GB_DO_WRITE));
    kit_member_end(&t);
}

/* Nobody answers any more. The votes take the last signs of life out of the table: these count from
 * the first of many reads on, and then one silo suffices. */
static void test_gone(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 7, "b", 1, GB_SILO_ACTIVE);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    kit_member_join(&t);
    long_unread(&t);
    uint64_t began = t.at.now;
    uint32_t dead = 0, votes = 0;
    while (dead < 2 && t.at.now - began < 60000 * MS) {
        kit_member_clear(&t);
        kit_member_tick(&t, 100 * MS);
        kit_member_touched(&t);
        if (kit_member_find(&t, GB_DO_READ)) kit_member_read(&t);
        while (kit_member_find(&t, GB_DO_WRITE)) {
            bool now = kit_member_write(&t) == GB_SILO_DEAD;
            assert_true(!now || t.at.now - began >= 30000 * MS);
            dead += now;
            votes += !now;
        }
    }
    assert_true(dead == 2 && votes > 0);
    kit_member_end(&t);
}

/* Who joins answers, and may not vote: silos that do are watched across all of those. */
static void test_joining(void **unused)
{
    for (uint64_t silent = 1; silent <= 2; silent++) {
        kit_member t;
        char name[2] = "b";
        kit_member_begin(&t);
        for (uint64_t id = 1; id <= 7; id++, name[0]++)
            kit_member_row(&t, id, name, 1, id <= 2 ? GB_SILO_ACTIVE : GB_SILO_JOINING);
        kit_member_join(&t);
        silence(&t, silent);
        assert_true(kit_member_find(&t, GB_DO_WRITE)->row->member.id == silent);
        kit_member_end(&t);
    }
}

/* With one other silo one vote suffices. */
static void test_pair(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    kit_member_join(&t);
    silence(&t, 8);
    assert_false(kit_member_find(&t, GB_DO_WRITE)->row->member.left);
    assert_int_equal(kit_member_write(&t), GB_SILO_DEAD);
    kit_member_end(&t);
}

/* Who hears from nobody of many does not vote. */
static void test_cut_off(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    for (uint64_t id = 1; id <= 5; id++) kit_member_row(&t, id, "b", id, GB_SILO_ACTIVE);
    kit_member_join(&t);
    for (int i = 0; i < 100; i++) {
        kit_member_clear(&t);
        kit_member_tick(&t, 200 * MS);
        kit_member_touched(&t);
        if (kit_member_find(&t, GB_DO_READ)) kit_member_read(&t);
        assert_null(kit_member_find(&t, GB_DO_WRITE));
    }
    kit_member_end(&t);
}

static void test_sleep(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    kit_member_join(&t);
    assert_true(gb_membership_serve_until(t.m) > t.at.now);
    assert_true(gb_membership_serve_until(t.m) <= t.at.now + 2 * SEC);
    kit_member_tick(&t, 20 * SEC);
    assert_non_null(kit_member_find(&t, GB_DO_PAUSE));
    assert_false(gb_membership_serves(t.m));
    assert_int_equal(gb_membership_serve_until(t.m), 0);
    kit_member_read(&t); /* nothing has happened */
    assert_non_null(kit_member_find(&t, GB_DO_SERVE));
    kit_member_touched(&t);
    kit_member_clear(&t);
    kit_member_tick(&t, 20 * SEC);
    kit_member_row(&t, gb_membership_id(t.m), "a", 1, GB_SILO_DEAD);
    kit_member_read(&t);
    assert_int_equal(kit_member_find(&t, GB_DO_ENDED)->why, GB_WHY_DEAD);
    assert_null(kit_member_find(&t, GB_DO_SERVE));
    kit_member_end(&t);
}

/* While the table is silent nobody is removed and this silo serves; then all goes on. */
static void test_table_down(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    kit_member_join(&t);
    for (int i = 0; i < 300; i++) {
        kit_member_tick(&t, 300 * MS);
        if (kit_member_find(&t, GB_DO_READ) || kit_member_find(&t, GB_DO_WRITE)) {
            kit_member_clear(&t);
            gb_membership_failed(t.m, GB_ETIMEDOUT, t.at, &t.out);
        }
        kit_member_touched(&t);
        assert_true(gb_membership_serves(t.m));
        assert_int_equal(gb_view_state(gb_membership_view(t.m), 8), GB_SILO_ACTIVE);
        kit_member_clear(&t);
    }
    kit_member_end(&t);
}

/* A wiped table is filled again under a higher generation, by each its own row. */
static void test_wiped(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    kit_member_join(&t);
    uint64_t before = gb_membership_view(t.m)->id.generation;
    t.count = 0;
    t.version = 0;
    for (int i = 0; i < 50 && !kit_member_find(&t, GB_DO_READ); i++) {
        kit_member_clear(&t);
        kit_member_tick(&t, 1400 * MS);
        kit_member_touched(&t);
        kit_member_ack(&t);
        gb_message ack = {.kind = GB_MSG_PROBE_ACK, .seq = 1000000};
        gb_membership_message(t.m, 8, &ack, t.at, &t.out);
    }
    kit_member_read(&t);
    assert_true(gb_membership_serves(t.m));
    const gb_member *own = &kit_member_find(&t, GB_DO_WRITE)->row->member;
    assert_true(own->id == gb_membership_id(t.m) && own->state == GB_SILO_ACTIVE);
    assert_true(own->generation > before);
    kit_member_write(&t);
    assert_int_equal(gb_membership_view(t.m)->live, 2); /* nobody is lost meanwhile */
    kit_member_touched(&t);
    kit_member_clear(&t);
    kit_member_tick(&t, 1100 * MS); /* it is looked at until it is whole */
    assert_non_null(kit_member_find(&t, GB_DO_READ));
    kit_member_end(&t);
}

/* Who is asked answers only whom he knows: a probe before the own row would be one in vain, and its
 * time-out the time that joining takes. */
static void test_first_probe(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    gb_membership_start(t.m, t.at, &t.out);
    kit_member_read(&t);
    gb_membership_tick(t.m, t.at, &t.out);
    assert_int_equal(kit_member_sent(&t, GB_MSG_PROBE, NULL), 0);
    assert_int_equal(kit_member_write(&t), GB_SILO_JOINING);
    assert_int_equal(kit_member_sent(&t, GB_MSG_CHANGE, NULL), 1);
    assert_true(gb_membership_next(t.m) <= t.at.now);
    gb_membership_tick(t.m, t.at, &t.out);
    assert_int_equal(kit_member_sent(&t, GB_MSG_PROBE, NULL), 1);
    kit_member_end(&t);
}

/* Who is asked to probe another one before his own row is there tells the end of it all the same.
 */
static void test_asked_early(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    kit_member_row(&t, 9, "d", 1, GB_SILO_ACTIVE);
    gb_membership_start(t.m, t.at, &t.out);
    kit_member_read(&t);
    gb_message ask = {.kind = GB_MSG_PROBE_FOR, .seq = 1, .silo = 9};
    gb_membership_message(t.m, 8, &ask, t.at, &t.out);
    assert_int_equal(kit_member_sent(&t, GB_MSG_PROBE, NULL), 1);
    kit_member_tick(&t, 500 * MS);
    assert_int_equal(kit_member_sent(&t, GB_MSG_PROBE_TOLD, NULL), 1);
    assert_true(gb_membership_next(t.m) > t.at.now);
    kit_member_end(&t);
}

/* A table that shows a silo at a stage that it has left behind has lost rows: active is less than
 * draining, unless it has come back since. */
static void test_returned(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 8, "c", 1, GB_SILO_DRAINING);
    kit_member_join(&t);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE)->returns = 1;
    kit_member_reread(&t);
    assert_int_equal(gb_view_state(gb_membership_view(t.m), 8), GB_SILO_ACTIVE);
    kit_member_row(&t, 8, "c", 1, GB_SILO_DRAINING)->returns = 0;
    kit_member_reread(&t);
    assert_int_equal(gb_view_state(gb_membership_view(t.m), 8), GB_SILO_ACTIVE);
    kit_member_row(&t, 8, "c", 1, GB_SILO_DRAINING)->returns = 1;
    kit_member_reread(&t);
    assert_int_equal(gb_view_state(gb_membership_view(t.m), 8), GB_SILO_DRAINING);
    kit_member_end(&t);
}

/* A wiped table does not know who is dead. Who was cut off meanwhile writes his row again: he is
 * not taken for alive, and is told. */
static void test_risen(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    kit_member_row(&t, 9, "d", 1, GB_SILO_ACTIVE);
    kit_member_join(&t);
    kit_member_row(&t, 8, "c", 1, GB_SILO_DEAD);
    kit_member_reread(&t);
    t.count = 0;
    kit_member_row(&t, 9, "d", 1, GB_SILO_ACTIVE)->generation = 1ull << 40;
    t.version = 1;
    kit_member_reread(&t);
    kit_member_write(&t); /* the own row; nothing is missing then */
    assert_null(gb_view_find(gb_membership_view(t.m), 8));
    assert_int_equal(gb_membership_view(t.m)->live, 2);
    kit_member_clear(&t);
    gb_message probe = {.kind = GB_MSG_PROBE, .seq = 1};
    assert_true(gb_membership_message(t.m, 8, &probe, t.at, &t.out));
    assert_int_equal(kit_member_sent(&t, GB_MSG_FENCE, NULL), 1);
    assert_int_equal(kit_member_sent(&t, GB_MSG_PROBE_ACK, NULL), 0);
    kit_member_row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    kit_member_reread(&t);
    assert_null(gb_view_find(gb_membership_view(t.m), 8));
    const gb_member *dead = &kit_member_find(&t, GB_DO_WRITE)->row->member;
    assert_true(dead->id == 8 && dead->state == GB_SILO_DEAD);
    kit_member_write(&t);
    assert_int_equal(gb_membership_view(t.m)->live, 2);
    assert_int_equal(gb_view_find(gb_membership_view(t.m), 8)->state, GB_SILO_DEAD);
    kit_member_end(&t);
}

static void test_stop(void **unused)
{
    kit_member t;
    kit_member_begin(&t);
    kit_member_join(&t);
    gb_membership_drain(t.m, t.at, &t.out);
    assert_int_equal(kit_member_write(&t), GB_SILO_DRAINING);
    assert_true(gb_membership_serves(t.m));
    gb_membership_undrain(t.m, t.at, &t.out);
    assert_int_equal(kit_member_write(&t), GB_SILO_ACTIVE);
    assert_int_equal(gb_membership_view(t.m)->ring->silos, 1);
    assert_int_equal(gb_membership_view(t.m)->rows[0]->member.returns, 1);
    gb_membership_drain(t.m, t.at, &t.out);
    assert_int_equal(kit_member_write(&t), GB_SILO_DRAINING);
    gb_membership_stop(t.m, t.at, &t.out);
    assert_int_equal(kit_member_write(&t), GB_SILO_STOPPING);
    assert_false(gb_membership_serves(t.m));
    assert_true(kit_member_find(&t, GB_DO_WRITE)->row->member.left);
    assert_int_equal(kit_member_write(&t), GB_SILO_DEAD);
    assert_int_equal(kit_member_find(&t, GB_DO_ENDED)->why, GB_WHY_STOPPED);
    assert_true(gb_membership_next(t.m) == UINT64_MAX);
    kit_member_end(&t);
    kit_member_begin(&t);
    kit_member_join(&t);
    gb_membership_stop(t.m, t.at, &t.out); /* the table never answers */
    kit_member_clear(&t);
    for (int i = 0; i < 6; i++) kit_member_tick(&t, SEC);
    assert_int_equal(kit_member_find(&t, GB_DO_ENDED)->why, GB_WHY_STOPPED);
    kit_member_end(&t);
}

static void test_config(void **unused)
{
    kit_member t;
    gb_membership *m;
    kit_member_begin(&t);
    char name[80] = {0};
    memset(name, 'x', sizeof name - 1);
    gb_membership_config config = {.mem = &t.mem, .name = name, .address = "a:1"};
    assert_int_equal(gb_membership_open(&m, &config), GB_EINVAL);
    config.name = "";
    assert_int_equal(gb_membership_open(&m, &config), GB_EINVAL);
    kit_member_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join_alone),  cmocka_unit_test(test_name),
        cmocka_unit_test(test_votes),       cmocka_unit_test(test_joining),
        cmocka_unit_test(test_one_vote),    cmocka_unit_test(test_gone),
        cmocka_unit_test(test_pair),        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_sleep),       cmocka_unit_test(test_table_down),
        cmocka_unit_test(test_wiped),       cmocka_unit_test(test_returned),
        cmocka_unit_test(test_first_probe), cmocka_unit_test(test_asked_early),
        cmocka_unit_test(test_risen),       cmocka_unit_test(test_stop),
        cmocka_unit_test(test_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
