/* The list of what is to be done, and the rules' defaults. */
#include "cluster/member_room.h"

#include <stdarg.h>
#include <stdio.h>

#define MS ((uint64_t)1000000)
#define SEC ((uint64_t)1000000000)

void gb_member_rules_init(gb_member_rules *rules)
{
    *rules = (gb_member_rules){
        .probe_period_ns = SEC,
        .probe_timeout_ns = 500 * MS,
        .probe_targets = 3,
        .probe_through = 2,
        .suspects_max = 8,
        .votes = 2,
        .vote_expiry_ns = 20 * SEC,
        .read_period_ns = 60 * SEC,
        .read_soon_ns = 5 * SEC,
        .read_retry_ns = SEC,
        .hint_spread_ns = 100 * MS,
        .touch_period_ns = 10 * SEC,
        .gone_ns = 30 * SEC,
        .dead_keep_ns = 600 * SEC,
        .sleep_ns = 1500 * MS,
        .join_wait_ns = 2 * SEC,
        .heal_wait_ns = 5 * SEC,
        .stop_wait_ns = 5 * SEC,
        .clock_off_ns = 60 * SEC,
    };
}

/* ---- actions ---- */

void gb_member_actions_init(gb_member_actions *actions, gb_mem *mem)
{
    *actions = (gb_member_actions){.mem = mem};
}

void gb_member_actions_clear(gb_member_actions *actions)
{
    for (uint32_t i = 0; i < actions->count; i++) {
        gb_member_action *action = &actions->items[i];
        gb_row_unref(action->row);
        gb_view_unref(action->view);
        if (action->ids)
            gb_mem_free(actions->mem, action->ids, action->id_count * sizeof *action->ids);
    }
    actions->count = 0;
}

void gb_member_actions_fini(gb_member_actions *actions)
{
    gb_member_actions_clear(actions);
    if (actions->items)
        gb_mem_free(actions->mem, actions->items, actions->room * sizeof *actions->items);
    *actions = (gb_member_actions){.mem = actions->mem};
}

enum { SPARE = 8 }; /* kept for what must not be lost */

static bool must(gb_member_action_kind kind)
{
    return kind == GB_DO_VIEW || kind == GB_DO_SERVE || kind == GB_DO_PAUSE || kind == GB_DO_ENDED;
}

bool gbi_member_room(gb_member_actions *out, uint32_t more)
{
    if (out->room - out->count >= more) return true;
    uint32_t room = out->room ? out->room * 2 : 32;
    gb_member_action *items =
        gb_mem_realloc(out->mem, out->items, out->room * sizeof *items, room * sizeof *items);
    if (!items) return false;
    out->items = items;
    out->room = room;
    return true;
}

/* NULL: no memory; what was to be done comes again with a later tick. */
gb_member_action *gbi_member_do(gb_membership *m, gb_member_actions *out,
                                gb_member_action_kind kind)
{
    if (!gbi_member_room(out, must(kind) ? 1 : SPARE + 1)) return NULL;
    gb_member_action *action = &out->items[out->count++];
    *action = (gb_member_action){.kind = kind};
    return action;
}

void gbi_member_log(gb_membership *m, gb_member_actions *out, int level, const char *format, ...)
{
    gb_member_action *action = gbi_member_do(m, out, GB_DO_LOG);
    va_list arguments;
    if (!action) return;
    action->level = level;
    va_start(arguments, format);
    vsnprintf(action->text, sizeof action->text, format, arguments);
    va_end(arguments);
}
