/* What goes wrong, and when it ends. */
#include "cluster_world.h"

#include <string.h>

static uint64_t below(world *w, uint64_t bound)
{
    return seed_below(&w->fault_random, bound);
}

static slot *some_up(world *w)
{
    for (uint32_t tries = 0; tries < 50; tries++) {
        slot *s = &w->slots[below(w, w->slot_count)];
        if (s->up) return s;
    }
    return NULL;
}

static void crash(world *w, uint64_t back_ns)
{
    slot *s = some_up(w);
    if (!s) return;
    uint32_t index = s->index;
    silo_kill(w, index);
    if (s->one_shot) s->wants_up = false;
    world_push(w, w->now + 100 * MS + below(w, back_ns), EVENT_START, index, 0, 0, NULL);
}

static void cut(world *w, uint32_t from, uint32_t to, bool both, uint64_t until)
{
    w->blocked[from * w->slot_count + to] = 1;
    world_push(w, until, EVENT_HEAL, UINT32_MAX, from, to, NULL);
    if (both) cut(w, to, from, false, until);
}

/* Some are cut off from the rest, one way or both, with the table or without. */
static void partition(world *w, bool both)
{
    uint64_t until = w->now + SEC + below(w, 40 * SEC);
    uint32_t many = below(w, 2) ? 1 : 1 + (uint32_t)below(w, w->slot_count / 2);
    bool table = below(w, 2), inward = below(w, 2);
    uint8_t apart[4096] = {0};
    for (uint32_t i = 0; i < many; i++) apart[below(w, w->slot_count)] = 1;
    for (uint32_t i = 0; i < w->slot_count; i++) {
        if (!apart[i]) continue;
        if (table) w->table_blocked[i] = 1;
        if (table) world_push(w, until, EVENT_HEAL, UINT32_MAX, i, UINT64_MAX, NULL);
        for (uint32_t k = 0; k < w->slot_count; k++) {
            if (apart[k]) continue;
            if (inward)
                cut(w, k, i, both, until);
            else
                cut(w, i, k, both, until);
        }
    }
}

/* Somebody starts a silo with a name that is taken; the older one must go. */
static void twin(world *w)
{
    slot *s = some_up(w), *other = &w->slots[w->silos + below(w, TWINS)];
    if (!s || other->up || s == other) return;
    memcpy(other->name, s->name, sizeof other->name);
    other->wants_up = other->one_shot = true;
    world_push(w, w->now, EVENT_START, other->index, 0, 0, NULL);
    w->counts[N_TWIN]++;
}

static void table_fault(world *w, int kind)
{
    uint64_t span = SEC + below(w, 20 * SEC);
    slot *s = some_up(w);
    switch (kind) {
    case N_TABLE_SLOW:
        w->table.slow_until = w->now + span;
        break;
    case N_TABLE_DOWN:
        w->table.down_until = w->now + span * 3;
        break;
    case N_TABLE_PART:
        if (!s) return;
        w->table_blocked[s->index] = 1;
        world_push(w, w->now + span * 3, EVENT_HEAL, UINT32_MAX, s->index, UINT64_MAX, NULL);
        break;
    case N_TABLE_WIPE:
        if (!w->table_loss) return;
        table_wipe(w);
        break;
    default:
        if (!w->table_loss || !w->table.saved_version) return;
        table_restore(w);
    }
    w->counts[kind]++;
}

/* Who sleeps may sleep longer, not less: what waits for him waits until then. */
static void fall_asleep(world *w, slot *s, uint64_t span)
{
    if (s->asleep_until <= w->now) s->slept_from = w->now;
    if (s->asleep_until >= w->now + span) return;
    s->asleep_until = s->slept_until = w->now + span;
}

static void sleep_some(world *w)
{
    slot *s = some_up(w);
    static const uint64_t spans[] = {1 * SEC, 2 * SEC, 4 * SEC, 10 * SEC, 40 * SEC};
    if (s) fall_asleep(w, s, 100 * MS + below(w, spans[below(w, 5)]));
}

/* SIGSTOP: long enough to be declared dead. */
static void freeze(world *w)
{
    slot *s = some_up(w);
    if (!s || s->asleep_until > w->now) return;
    fall_asleep(w, s, 15 * SEC);
    struct world_life *life = net_life_of(w, gb_membership_id(s->member));
    if (life) life->died_at = w->now;
    w->counts[N_FREEZE]++;
}

static void leave(world *w, bool gently)
{
    slot *s = some_up(w);
    if (!s || s->asleep_until > w->now || s->draining) return;
    w->counts[gently ? N_DRAIN : N_STOP]++;
    if (gently && w->plant == PLANTED_NO_DRAIN) return;
    s->minds = gently ? (uint32_t)below(w, 5) : 0;
    if (s->minds) world_push(w, w->now + below(w, 3 * SEC), EVENT_MIND, s->index, 0, 0, NULL);
    silo_drain(w, s, gently);
}

static void begin(world *w, int kind)
{
    uint64_t span = SEC + below(w, 15 * SEC);
    slot *s;
    switch (kind) {
    case N_CRASH:
        crash(w, 20 * SEC);
        break;
    case N_MASS_CRASH:
        for (uint32_t i = 0, many = 2 + (uint32_t)below(w, w->silos / 3 + 1); i < many; i++)
            crash(w, 40 * SEC);
        break;
    case N_SLEEP:
        sleep_some(w);
        break;
    case N_FREEZE:
        freeze(w);
        return;
    case N_PARTITION:
        partition(w, true);
        break;
    case N_ONE_WAY:
        partition(w, false);
        break;
    case N_PAIR:
        cut(w, (uint32_t)below(w, w->slot_count), (uint32_t)below(w, w->slot_count), below(w, 2),
            w->now + span);
        break;
    case N_LOSS:
        w->loss_until = w->now + span;
        break;
    case N_DELAY:
        w->delay_until = w->now + span;
        break;
    case N_DUPLICATE:
        w->duplicate_until = w->now + span;
        break;
    case N_MEMORY:
        w->memory_until = w->now + span / 2;
        break;
    case N_CLOCK:
        s = some_up(w);
        if (!s) break;
        s->wall_offset += ((int64_t)below(w, 7200) - 3600) * (int64_t)SEC;
        s->wall_since = w->now;
        break;
    case N_DRAIN:
        leave(w, true);
        return;
    case N_STOP:
        leave(w, false);
        return;
    case N_TWIN:
        twin(w);
        return;
    default:
        table_fault(w, kind);
        return;
    }
    w->counts[kind]++;
}

void fault_begin(world *w)
{
    static const int kinds[] = {
        N_CRASH,      N_FREEZE,     N_MASS_CRASH, N_SLEEP,         N_SLEEP,     N_PARTITION,
        N_ONE_WAY,    N_PAIR,       N_LOSS,       N_DELAY,         N_DUPLICATE, N_TABLE_SLOW,
        N_TABLE_DOWN, N_TABLE_PART, N_TABLE_WIPE, N_TABLE_RESTORE, N_CLOCK,     N_DRAIN,
        N_STOP,       N_TWIN,       N_MEMORY};
    if (w->quiet) return;
    int kind;
    do kind = kinds[below(w, sizeof kinds / sizeof kinds[0])];
    while (w->fault_mask && !(w->fault_mask >> kind & 1));
    if (w->verbose) printf("%10.3f %s\n", (double)w->now / 1e9, count_text(kind));
    begin(w, kind);
    if (below(w, 6) == 0) table_save(w);
    uint64_t gap = below(w, 3) ? below(w, 6 * SEC) : below(w, 30 * SEC);
    if (w->fault_gap_ns) gap = w->fault_gap_ns + below(w, SEC);
    world_push(w, w->now + 100 * MS + gap, EVENT_FAULT, UINT32_MAX, 0, 0, NULL);
}

void fault_end(world *w, const event *e)
{
    if (e->b == UINT64_MAX)
        w->table_blocked[e->a] = 0;
    else
        w->blocked[e->a * w->slot_count + e->b] = 0;
}

void fault_end_all(world *w)
{
    memset(w->blocked, 0, (size_t)w->slot_count * w->slot_count);
    memset(w->table_blocked, 0, w->slot_count);
    w->loss_until = w->delay_until = w->duplicate_until = 0;
    if (w->memory_until > w->now) w->memory_until = w->now;
    w->table.slow_until = w->table.down_until = 0;
    for (uint32_t i = 0; i < w->slot_count; i++) {
        slot *s = &w->slots[i];
        if (s->asleep_until > w->now) world_awake(w, s);
        if (!s->up && i < w->silos) s->wants_up = true;
        if (!s->up && s->wants_up)
            world_push(w, w->now + below(w, SEC), EVENT_START, i, 0, 0, NULL);
    }
}
