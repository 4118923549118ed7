/* src/cluster/member: rules one at a time. All of them together, and every fault: sim_cluster. */
#include "base/err.h"
#include "cluster/member.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define MS ((uint64_t)1000000)
#define SEC ((uint64_t)1000000000)

enum { ROWS_MAX = 8 };

/* One machine, and the table that it is shown. */
typedef struct scene {
    gb_mem mem;
    gb_membership *m;
    gb_member_actions out;
    gb_times at;
    uint64_t version;
    gb_member rows[ROWS_MAX];
    uint32_t count;
} scene;

static void begin(scene *t)
{
    *t = (scene){.at = {100 * SEC, 5}};
    gb_mem_init(&t->mem, "test", NULL, 0);
    gb_membership_config config = {
        .mem = &t->mem, .name = "a", .address = "127.0.0.1:1", .seed = 9, .ring_seed = 3};
    gb_member_rules_init(&config.rules);
    assert_int_equal(gb_membership_open(&t->m, &config), 0);
    gb_member_actions_init(&t->out, &t->mem);
}

static void end(scene *t)
{
    gb_member_actions_fini(&t->out);
    gb_membership_close(t->m);
    gb_mem_fini(&t->mem);
}

static gb_member *row(scene *t, uint64_t id, const char *name, uint64_t epoch, gb_silo_state state)
{
    uint32_t at = 0;
    while (at < t->count && t->rows[at].id < id) at++;
    if (at == t->count || t->rows[at].id != id) {
        memmove(&t->rows[at + 1], &t->rows[at], (t->count - at) * sizeof t->rows[0]);
        t->count++;
    }
    t->rows[at] = (gb_member){
        .id = id, .epoch = epoch, .state = state, .labels = (char *)"", .types = (char *)""};
    snprintf(t->rows[at].name, sizeof t->rows[at].name, "%s", name);
    t->version++;
    return &t->rows[at];
}

static const gb_member_action *find(scene *t, gb_member_action_kind kind)
{
    for (uint32_t i = 0; i < t->out.count; i++) {
        if (t->out.items[i].kind == kind) return &t->out.items[i];
    }
    return NULL;
}

static uint32_t sent(scene *t, gb_message_kind kind, uint64_t *silo)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->out.count; i++) {
        const gb_member_action *action = &t->out.items[i];
        if ((action->kind != GB_DO_SEND && action->kind != GB_DO_SEND_ALL) ||
            action->message.kind != kind)
            continue;
        count++;
        if (silo) *silo = action->silo;
    }
    return count;
}

static void clear(scene *t)
{
    gb_member_actions_clear(&t->out);
}

static void read_now(scene *t)
{
    gb_table_view view = {.version = t->version, .count = t->count, .rows = t->rows};
    assert_non_null(find(t, GB_DO_READ));
    clear(t);
    gb_membership_read(t->m, &view, t->at, &t->out);
}

/* The write that is asked for happens. */
static gb_silo_state write_now(scene *t)
{
    const gb_member_action *action = find(t, GB_DO_WRITE);
    assert_non_null(action);
    assert_int_equal(action->version, t->version);
    gb_member copy = action->row->member;
    copy.labels = copy.types = (char *)"";
    *row(t, copy.id, copy.name, copy.epoch, copy.state) = copy;
    clear(t);
    gb_membership_written(t->m, t->version, t->at, &t->out);
    return copy.state;
}

static void tick(scene *t, uint64_t ns)
{
    t->at.now += ns;
    gb_membership_tick(t->m, t->at, &t->out);
}

static void touched(scene *t)
{
    if (find(t, GB_DO_TOUCH)) gb_membership_touched(t->m, 0, t->at, &t->out);
}

static void ack_all(scene *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        gb_message ack = {.kind = GB_MSG_PROBE_ACK, .seq = 1000000};
        if (t->rows[i].id != gb_membership_id(t->m) && t->rows[i].state != GB_SILO_DEAD)
            gb_membership_message(t->m, t->rows[i].id, &ack, t->at, &t->out);
    }
}

/* To active, among who is there. */
static void join(scene *t)
{
    gb_membership_start(t->m, t->at, &t->out);
    read_now(t);
    assert_int_equal(write_now(t), GB_SILO_JOINING);
    while (find(t, GB_DO_WRITE) && find(t, GB_DO_WRITE)->row->member.id != gb_membership_id(t->m))
        write_now(t);
    ack_all(t);
    touched(t);
    if (!find(t, GB_DO_WRITE)) tick(t, MS);
    ack_all(t);
    assert_int_equal(write_now(t), GB_SILO_ACTIVE);
    assert_true(gb_membership_serves(t->m) && find(t, GB_DO_SERVE));
    touched(t);
    clear(t);
}

static void test_join_alone(void **unused)
{
    scene t;
    begin(&t);
    join(&t);
    assert_int_equal(gb_membership_epoch(t.m), 1);
    assert_int_equal(gb_membership_view(t.m)->ring->silos, 1);
    end(&t);
}

static void test_name(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 7, "a", 4, GB_SILO_ACTIVE);
    row(&t, 8, "b", 9, GB_SILO_ACTIVE);
    join(&t); /* the older one is written dead on the way */
    assert_int_equal(gb_membership_epoch(t.m), 5);
    assert_int_equal(gb_view_state(gb_membership_view(t.m), 7), GB_SILO_DEAD);
    row(&t, 3, "a", 6, GB_SILO_JOINING);
    tick(&t, 1400 * MS);
    gb_message probe = {.kind = GB_MSG_PROBE, .view = {0, t.version, 1}};
    gb_membership_message(t.m, 8, &probe, t.at, &t.out); /* tells of a newer view */
    clear(&t);
    tick(&t, 200 * MS);
    read_now(&t);
    assert_int_equal(find(&t, GB_DO_ENDED)->why, GB_WHY_NAME_TAKEN);
    assert_false(gb_membership_serves(t.m));
    end(&t);
}

/* Lets the probes of one silo go unanswered until it is suspected. */
static void silence(scene *t, uint64_t silent)
{
    for (int i = 0; i < 40; i++) {
        clear(t);
        tick(t, 100 * MS);
        touched(t);
        for (uint32_t k = 0; k < t->count; k++) {
            gb_message ack = {.kind = GB_MSG_PROBE_ACK, .seq = 1000000};
            if (t->rows[k].id != silent && t->rows[k].id != gb_membership_id(t->m))
                gb_membership_message(t->m, t->rows[k].id, &ack, t->at, &t->out);
        }
        if (find(t, GB_DO_WRITE)) return;
    }
    fail();
}

static void test_votes(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 7, "b", 1, GB_SILO_ACTIVE);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    join(&t);
    uint64_t before = t.at.now;
    silence(&t, 8);
    assert_true(t.at.now - before < 3500 * MS);
    const gb_member *vote = &find(&t, GB_DO_WRITE)->row->member;
    assert_true(vote->id == 8 && vote->state == GB_SILO_ACTIVE && vote->vote_count == 1);
    assert_int_equal(vote->votes[0].voter, gb_membership_id(t.m));
    /* Another was faster: with his vote it is dead. The clocks of voters mean nothing. */
    gb_member *other = row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    other->votes[other->vote_count++] = (gb_vote){7, -3600ll * 1000000000};
    clear(&t);
    gb_membership_failed(t.m, GB_ECONFLICT, t.at, &t.out);
    if (!find(&t, GB_DO_READ)) tick(&t, 50 * MS);
    read_now(&t);
    if (!find(&t, GB_DO_WRITE)) tick(&t, 50 * MS);
    assert_int_equal(write_now(&t), GB_SILO_DEAD);
    uint64_t silo = 0;
    assert_int_equal(sent(&t, GB_MSG_CHANGE, NULL), 1); /* all are told, and it itself */
    assert_int_equal(sent(&t, GB_MSG_FENCE, &silo), 1);
    assert_int_equal(silo, 8);
    assert_non_null(find(&t, GB_DO_UNLINK));
    end(&t);
}

/* Until the last read is long ago; the others show signs of life all the time. */
static void long_unread(scene *t)
{
    for (int unread = 0; unread < 400; unread++) {
        clear(t);
        tick(t, 100 * MS);
        touched(t);
        ack_all(t);
        for (uint32_t i = 0; i < t->count; i++) t->rows[i].alive_ns++;
        if (find(t, GB_DO_READ)) unread = 0;
        if (find(t, GB_DO_READ)) read_now(t);
    }
}

/* Long after the last read a write tells nothing of others' signs of life: one vote stays one. */
static void test_one_vote(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 7, "b", 1, GB_SILO_ACTIVE);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    join(&t);
    long_unread(&t);
    silence(&t, 8);
    assert_int_equal(write_now(&t), GB_SILO_ACTIVE);
    assert_null(find(&t, GB_DO_WRITE));
    end(&t);
}

/* Nobody answers any more. The votes take the last signs of life out of the table: these count from
 * the first of many reads on, and then one silo suffices. */
static void test_gone(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 7, "b", 1, GB_SILO_ACTIVE);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    join(&t);
    long_unread(&t);
    uint64_t began = t.at.now;
    uint32_t dead = 0, votes = 0;
    while (dead < 2 && t.at.now - began < 60000 * MS) {
        clear(&t);
        tick(&t, 100 * MS);
        touched(&t);
        if (find(&t, GB_DO_READ)) read_now(&t);
        while (find(&t, GB_DO_WRITE)) {
            bool now = write_now(&t) == GB_SILO_DEAD;
            assert_true(!now || t.at.now - began >= 30000 * MS);
            dead += now;
            votes += !now;
        }
    }
    assert_true(dead == 2 && votes > 0);
    end(&t);
}

/* Who joins answers, and may not vote: silos that do are watched across all of those. */
static void test_joining(void **unused)
{
    for (uint64_t silent = 1; silent <= 2; silent++) {
        scene t;
        char name[2] = "b";
        begin(&t);
        for (uint64_t id = 1; id <= 7; id++, name[0]++)
            row(&t, id, name, 1, id <= 2 ? GB_SILO_ACTIVE : GB_SILO_JOINING);
        join(&t);
        silence(&t, silent);
        assert_true(find(&t, GB_DO_WRITE)->row->member.id == silent);
        end(&t);
    }
}

/* With one other silo one vote suffices. */
static void test_pair(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    join(&t);
    silence(&t, 8);
    assert_false(find(&t, GB_DO_WRITE)->row->member.left);
    assert_int_equal(write_now(&t), GB_SILO_DEAD);
    end(&t);
}

/* Who hears from nobody of many does not vote. */
static void test_cut_off(void **unused)
{
    scene t;
    begin(&t);
    for (uint64_t id = 1; id <= 5; id++) row(&t, id, "b", id, GB_SILO_ACTIVE);
    join(&t);
    for (int i = 0; i < 100; i++) {
        clear(&t);
        tick(&t, 200 * MS);
        touched(&t);
        if (find(&t, GB_DO_READ)) read_now(&t);
        assert_null(find(&t, GB_DO_WRITE));
    }
    end(&t);
}

static void test_sleep(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    join(&t);
    assert_true(gb_membership_serve_until(t.m) > t.at.now);
    assert_true(gb_membership_serve_until(t.m) <= t.at.now + 2 * SEC);
    tick(&t, 20 * SEC);
    assert_non_null(find(&t, GB_DO_PAUSE));
    assert_false(gb_membership_serves(t.m));
    assert_int_equal(gb_membership_serve_until(t.m), 0);
    read_now(&t); /* nothing has happened */
    assert_non_null(find(&t, GB_DO_SERVE));
    touched(&t);
    clear(&t);
    tick(&t, 20 * SEC);
    row(&t, gb_membership_id(t.m), "a", 1, GB_SILO_DEAD);
    read_now(&t);
    assert_int_equal(find(&t, GB_DO_ENDED)->why, GB_WHY_DEAD);
    assert_null(find(&t, GB_DO_SERVE));
    end(&t);
}

/* While the table is silent nobody is removed and this silo serves; then all goes on. */
static void test_table_down(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    join(&t);
    for (int i = 0; i < 300; i++) {
        tick(&t, 300 * MS);
        if (find(&t, GB_DO_READ) || find(&t, GB_DO_WRITE)) {
            clear(&t);
            gb_membership_failed(t.m, GB_ETIMEDOUT, t.at, &t.out);
        }
        touched(&t);
        assert_true(gb_membership_serves(t.m));
        assert_int_equal(gb_view_state(gb_membership_view(t.m), 8), GB_SILO_ACTIVE);
        clear(&t);
    }
    end(&t);
}

/* A wiped table is filled again under a higher generation, by each its own row. */
static void test_wiped(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    join(&t);
    uint64_t before = gb_membership_view(t.m)->id.generation;
    t.count = 0;
    t.version = 0;
    for (int i = 0; i < 50 && !find(&t, GB_DO_READ); i++) {
        clear(&t);
        tick(&t, 1400 * MS);
        touched(&t);
        ack_all(&t);
        gb_message ack = {.kind = GB_MSG_PROBE_ACK, .seq = 1000000};
        gb_membership_message(t.m, 8, &ack, t.at, &t.out);
    }
    read_now(&t);
    assert_true(gb_membership_serves(t.m));
    const gb_member *own = &find(&t, GB_DO_WRITE)->row->member;
    assert_true(own->id == gb_membership_id(t.m) && own->state == GB_SILO_ACTIVE);
    assert_true(own->generation > before);
    write_now(&t);
    assert_int_equal(gb_membership_view(t.m)->live, 2); /* nobody is lost meanwhile */
    touched(&t);
    clear(&t);
    tick(&t, 1100 * MS); /* it is looked at until it is whole */
    assert_non_null(find(&t, GB_DO_READ));
    end(&t);
}

static void read_again(scene *t)
{
    for (int i = 0; i < 50 && !find(t, GB_DO_READ); i++) {
        clear(t);
        tick(t, 1400 * MS);
        touched(t);
        ack_all(t);
    }
    read_now(t);
}

/* Who is asked answers only whom he knows: a probe before the own row would be one in vain, and its
 * time-out the time that joining takes. */
static void test_first_probe(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    gb_membership_start(t.m, t.at, &t.out);
    read_now(&t);
    gb_membership_tick(t.m, t.at, &t.out);
    assert_int_equal(sent(&t, GB_MSG_PROBE, NULL), 0);
    assert_int_equal(write_now(&t), GB_SILO_JOINING);
    assert_int_equal(sent(&t, GB_MSG_CHANGE, NULL), 1);
    assert_true(gb_membership_next(t.m) <= t.at.now);
    gb_membership_tick(t.m, t.at, &t.out);
    assert_int_equal(sent(&t, GB_MSG_PROBE, NULL), 1);
    end(&t);
}

/* Who is asked to probe another one before his own row is there tells the end of it all the same.
 */
static void test_asked_early(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    row(&t, 9, "d", 1, GB_SILO_ACTIVE);
    gb_membership_start(t.m, t.at, &t.out);
    read_now(&t);
    gb_message ask = {.kind = GB_MSG_PROBE_FOR, .seq = 1, .silo = 9};
    gb_membership_message(t.m, 8, &ask, t.at, &t.out);
    assert_int_equal(sent(&t, GB_MSG_PROBE, NULL), 1);
    tick(&t, 500 * MS);
    assert_int_equal(sent(&t, GB_MSG_PROBE_TOLD, NULL), 1);
    assert_true(gb_membership_next(t.m) > t.at.now);
    end(&t);
}

/* A table that shows a silo at a stage that it has left behind has lost rows: active is less than
 * draining, unless it has come back since. */
static void test_returned(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 8, "c", 1, GB_SILO_DRAINING);
    join(&t);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE)->returns = 1;
    read_again(&t);
    assert_int_equal(gb_view_state(gb_membership_view(t.m), 8), GB_SILO_ACTIVE);
    row(&t, 8, "c", 1, GB_SILO_DRAINING)->returns = 0;
    read_again(&t);
    assert_int_equal(gb_view_state(gb_membership_view(t.m), 8), GB_SILO_ACTIVE);
    row(&t, 8, "c", 1, GB_SILO_DRAINING)->returns = 1;
    read_again(&t);
    assert_int_equal(gb_view_state(gb_membership_view(t.m), 8), GB_SILO_DRAINING);
    end(&t);
}

/* A wiped table does not know who is dead. Who was cut off meanwhile writes his row again: he is
 * not taken for alive, and is told. */
static void test_risen(void **unused)
{
    scene t;
    begin(&t);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    row(&t, 9, "d", 1, GB_SILO_ACTIVE);
    join(&t);
    row(&t, 8, "c", 1, GB_SILO_DEAD);
    read_again(&t);
    t.count = 0;
    row(&t, 9, "d", 1, GB_SILO_ACTIVE)->generation = 1ull << 40;
    t.version = 1;
    read_again(&t);
    write_now(&t); /* the own row; nothing is missing then */
    assert_null(gb_view_find(gb_membership_view(t.m), 8));
    assert_int_equal(gb_membership_view(t.m)->live, 2);
    clear(&t);
    gb_message probe = {.kind = GB_MSG_PROBE, .seq = 1};
    assert_true(gb_membership_message(t.m, 8, &probe, t.at, &t.out));
    assert_int_equal(sent(&t, GB_MSG_FENCE, NULL), 1);
    assert_int_equal(sent(&t, GB_MSG_PROBE_ACK, NULL), 0);
    row(&t, 8, "c", 1, GB_SILO_ACTIVE);
    read_again(&t);
    assert_null(gb_view_find(gb_membership_view(t.m), 8));
    const gb_member *dead = &find(&t, GB_DO_WRITE)->row->member;
    assert_true(dead->id == 8 && dead->state == GB_SILO_DEAD);
    write_now(&t);
    assert_int_equal(gb_membership_view(t.m)->live, 2);
    assert_int_equal(gb_view_find(gb_membership_view(t.m), 8)->state, GB_SILO_DEAD);
    end(&t);
}

static void test_stop(void **unused)
{
    scene t;
    begin(&t);
    join(&t);
    gb_membership_drain(t.m, t.at, &t.out);
    assert_int_equal(write_now(&t), GB_SILO_DRAINING);
    assert_true(gb_membership_serves(t.m));
    gb_membership_undrain(t.m, t.at, &t.out);
    assert_int_equal(write_now(&t), GB_SILO_ACTIVE);
    assert_int_equal(gb_membership_view(t.m)->ring->silos, 1);
    assert_int_equal(gb_membership_view(t.m)->rows[0]->member.returns, 1);
    gb_membership_drain(t.m, t.at, &t.out);
    assert_int_equal(write_now(&t), GB_SILO_DRAINING);
    gb_membership_stop(t.m, t.at, &t.out);
    assert_int_equal(write_now(&t), GB_SILO_STOPPING);
    assert_false(gb_membership_serves(t.m));
    assert_true(find(&t, GB_DO_WRITE)->row->member.left);
    assert_int_equal(write_now(&t), GB_SILO_DEAD);
    assert_int_equal(find(&t, GB_DO_ENDED)->why, GB_WHY_STOPPED);
    assert_true(gb_membership_next(t.m) == UINT64_MAX);
    end(&t);
    begin(&t);
    join(&t);
    gb_membership_stop(t.m, t.at, &t.out); /* the table never answers */
    clear(&t);
    for (int i = 0; i < 6; i++) tick(&t, SEC);
    assert_int_equal(find(&t, GB_DO_ENDED)->why, GB_WHY_STOPPED);
    end(&t);
}

static void test_config(void **unused)
{
    scene t;
    gb_membership *m;
    begin(&t);
    char name[80] = {0};
    memset(name, 'x', sizeof name - 1);
    gb_membership_config config = {.mem = &t.mem, .name = name, .address = "a:1"};
    assert_int_equal(gb_membership_open(&m, &config), GB_EINVAL);
    config.name = "";
    assert_int_equal(gb_membership_open(&m, &config), GB_EINVAL);
    end(&t);
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
