#include "kit_member.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define MS ((uint64_t)1000000)
#define SEC ((uint64_t)1000000000)

void kit_member_begin(kit_member *t)
{
    *t = (kit_member){.at = {100 * SEC, 5}};
    gb_mem_init(&t->mem, "test", NULL, 0);
    gb_membership_config config = {
        .mem = &t->mem, .name = "a", .address = "127.0.0.1:1", .seed = 9, .ring_seed = 3};
    gb_member_rules_init(&config.rules);
    assert_int_equal(gb_membership_open(&t->m, &config), 0);
    gb_member_actions_init(&t->out, &t->mem);
}

void kit_member_end(kit_member *t)
{
    gb_member_actions_fini(&t->out);
    gb_membership_close(t->m);
    gb_mem_fini(&t->mem);
}

gb_member *kit_member_row(kit_member *t, uint64_t id, const char *name, uint64_t epoch,
                          gb_silo_state state)
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

const gb_member_action *kit_member_find(kit_member *t, gb_member_action_kind kind)
{
    for (uint32_t i = 0; i < t->out.count; i++) {
        if (t->out.items[i].kind == kind) return &t->out.items[i];
    }
    return NULL;
}

uint32_t kit_member_sent(kit_member *t, gb_message_kind kind, uint64_t *silo)
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

void kit_member_clear(kit_member *t)
{
    gb_member_actions_clear(&t->out);
}

void kit_member_read(kit_member *t)
{
    gb_table_view view = {.version = t->version, .count = t->count, .rows = t->rows};
    assert_non_null(kit_member_find(t, GB_DO_READ));
    kit_member_clear(t);
    gb_membership_read(t->m, &view, t->at, &t->out);
}

/* The write that is asked for happens. */
gb_silo_state kit_member_write(kit_member *t)
{
    const gb_member_action *action = kit_member_find(t, GB_DO_WRITE);
    assert_non_null(action);
    assert_int_equal(action->version, t->version);
    gb_member copy = action->row->member;
    copy.labels = copy.types = (char *)"";
    *kit_member_row(t, copy.id, copy.name, copy.epoch, copy.state) = copy;
    kit_member_clear(t);
    gb_membership_written(t->m, t->version, t->at, &t->out);
    return copy.state;
}

void kit_member_tick(kit_member *t, uint64_t ns)
{
    t->at.now += ns;
    gb_membership_tick(t->m, t->at, &t->out);
}

void kit_member_touched(kit_member *t)
{
    if (kit_member_find(t, GB_DO_TOUCH)) gb_membership_touched(t->m, 0, t->at, &t->out);
}

void kit_member_ack(kit_member *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        gb_message ack = {.kind = GB_MSG_PROBE_ACK, .seq = 1000000};
        if (t->rows[i].id != gb_membership_id(t->m) && t->rows[i].state != GB_SILO_DEAD)
            gb_membership_message(t->m, t->rows[i].id, &ack, t->at, &t->out);
    }
}

/* To active, among who is there. */
void kit_member_join(kit_member *t)
{
    gb_membership_start(t->m, t->at, &t->out);
    kit_member_read(t);
    assert_int_equal(kit_member_write(t), GB_SILO_JOINING);
    while (kit_member_find(t, GB_DO_WRITE) &&
           kit_member_find(t, GB_DO_WRITE)->row->member.id != gb_membership_id(t->m))
        kit_member_write(t);
    kit_member_ack(t);
    kit_member_touched(t);
    if (!kit_member_find(t, GB_DO_WRITE)) kit_member_tick(t, MS);
    kit_member_ack(t);
    assert_int_equal(kit_member_write(t), GB_SILO_ACTIVE);
    assert_true(gb_membership_serves(t->m) && kit_member_find(t, GB_DO_SERVE));
    kit_member_touched(t);
    kit_member_clear(t);
}

void kit_member_reread(kit_member *t)
{
    for (int i = 0; i < 50 && !kit_member_find(t, GB_DO_READ); i++) {
        kit_member_clear(t);
        kit_member_tick(t, 1400 * MS);
        kit_member_touched(t);
        kit_member_ack(t);
    }
    kit_member_read(t);
}
