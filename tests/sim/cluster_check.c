/* The rules that hold after every step, and those at the end. */
#include "cluster_world.h"

#include <string.h>

static const uint64_t grace_ns = 60 * SEC;
static const uint64_t agree_ns = 60 * SEC; /* rejoining after gone_ns is the slowest way */

static slot *holder_slot(world *w, const struct holder *h)
{
    slot *s = &w->slots[h->slot];
    return s->up && s->life == h->life ? s : NULL;
}

static bool alive_in(const slot *viewer, const slot *other)
{
    return viewer->view &&
           gb_view_state(viewer->view, gb_membership_id(other->member)) != GB_SILO_DEAD;
}

/* Two activations of one grain. Registered under one view: never. On silos that are alive for each
 * other: only for a while after the table has lost rows. */
static void check_pair(world *w, uint32_t index, const struct holder *a, const struct holder *b)
{
    slot *x = holder_slot(w, a), *y = holder_slot(w, b);
    if (!x || !y) return;
    if (gb_view_id_order(a->view, b->view) == 0) {
        world_broken(w, "grain %u is active on %s and %s, both under view %llx.%llu", index,
                     x->name, y->name, (unsigned long long)a->view.generation,
                     (unsigned long long)a->view.version);
        return;
    }
    /* Who was answered under a view that is still on its way to him is looked at when he has it. */
    if (gb_view_id_order(a->view, x->view->id) > 0 || gb_view_id_order(b->view, y->view->id) > 0)
        return;
    if (!alive_in(x, y) || !alive_in(y, x)) return;
    bool lost = w->table.lost_at && w->now < w->table.lost_at + 2 * grace_ns;
    grain *g = &w->grains[index];
    if (!g->twice_since) g->twice_since = w->now;
    if (!lost || w->now > g->twice_since + grace_ns / 4)
        world_broken(
            w,
            "grain %u is active on %s (view %llu) and %s (view %llu), which see each other "
            "alive",
            index, x->name, (unsigned long long)a->view.version, y->name,
            (unsigned long long)b->view.version);
}

static void check_grain(world *w, uint32_t index)
{
    grain *g = &w->grains[index];
    for (uint32_t i = 0; i < g->holder_count; i++) {
        for (uint32_t k = 0; k < i; k++) check_pair(w, index, &g->holders[i], &g->holders[k]);
    }
}

void check_held(world *w, slot *s, uint32_t index, gb_view_id view)
{
    grain *g = &w->grains[index];
    world_watch(w, index, "%s holds it, view %llu", s->name, (unsigned long long)view.version);
    if (g->holder_count == HOLDERS_MAX) {
        world_broken(w, "grain %u is active %d times", index, HOLDERS_MAX + 1);
        return;
    }
    g->holders[g->holder_count++] = (struct holder){s->index, s->life, view, w->now};
    s->held++;
    w->counts[N_OVERLAP] += g->holder_count > 1;
    check_grain(w, index);
}

void check_released(world *w, slot *s, uint32_t index)
{
    grain *g = &w->grains[index];
    world_watch(w, index, "%s releases it", s->name);
    for (uint32_t i = 0; i < g->holder_count; i++) {
        if (g->holders[i].slot != s->index || g->holders[i].life != s->life) continue;
        g->holders[i] = g->holders[--g->holder_count];
        g->twice_since = 0;
        s->held--;
        return;
    }
    world_broken(w, "grain %u was not held by %s", index, s->name);
}

/* Who is dead is decided by the table alone. */
static void check_dead(world *w, slot *s)
{
    for (uint32_t i = 0; i < s->view->count; i++) {
        const gb_member *row = &s->view->rows[i]->member;
        struct world_life *life = row->state == GB_SILO_DEAD ? net_life_of(w, row->id) : NULL;
        if (life && !life->declared)
            world_broken(w, "%s sees %s dead, which the table never said", s->name, row->name);
    }
}

void check_view(world *w, slot *s)
{
    check_dead(w, s);
    for (uint32_t i = 0; i < w->grain_count && s->held; i++) {
        if (w->grains[i].holder_count > 1) check_grain(w, i);
    }
}

/* ---- the table ---- */

static bool lost_rows(const world *w)
{
    return w->table.lost_at && w->now <= w->table.lost_at + 120 * SEC;
}

static bool is_voter(const gb_member *row)
{
    return row->state == GB_SILO_ACTIVE || row->state == GB_SILO_DRAINING;
}

/* Dead by its own word, for a newer silo of its name, by votes, or silent in the table for long:
 * reads are seconds apart then, so who wrote may have seen less than the last sign of life. */
static void check_death(world *w, slot *writer, const gb_member *before, const gb_member *row)
{
    const sim_table *t = &w->table;
    uint32_t others = 0, votes = 1;
    if (row->left) return;
    for (uint32_t i = 0; i < t->count; i++) {
        const gb_member *other = &t->rows[i]->member;
        if (strcmp(other->name, row->name) == 0 && other->epoch > row->epoch) return;
        if (other->id == row->id || !is_voter(other)) continue;
        others++;
        if (other->id == gb_membership_id(writer->member)) continue;
        for (uint32_t k = 0; k < before->vote_count; k++)
            votes += before->votes[k].voter == other->id;
    }
    struct world_life *life = net_life_of(w, row->id);
    uint32_t needed = others < 2 ? others : 2;
    if (votes < needed && life && w->now < life->touched_at + 20 * SEC)
        world_broken(w, "%s was declared dead by %u of %u votes", row->name, votes, needed);
}

/* way: there is one from the state before to this one. A silo that does not know of a loss may hit
 * on the version that it knows by chance: for a while after one nothing is said here. */
void check_row(world *w, slot *writer, const gb_member *before, const gb_member *row, bool way)
{
    if (lost_rows(w)) return;
    if (!way || (before && gb_member_stage(row) < gb_member_stage(before)))
        world_broken(w, "a row went from %s to %s",
                     before ? gb_silo_state_name(before->state) : "nothing",
                     gb_silo_state_name(row->state));
    if (before && before->state != GB_SILO_DEAD && row->state == GB_SILO_DEAD && writer)
        check_death(w, writer, before, row);
    for (uint32_t i = 0; !before && i < w->table.count; i++) {
        const gb_member *other = &w->table.rows[i]->member;
        if (strcmp(other->name, row->name) == 0 && other->epoch >= row->epoch)
            world_broken(w, "%s starts under epoch %llu, which was there", row->name,
                         (unsigned long long)row->epoch);
    }
}

void check_removed(world *w, const gb_member *row)
{
    if (row->state != GB_SILO_DEAD) world_broken(w, "a row of a live silo removed");
}

/* ---- who may serve ---- */

/* After a read; dead: it told this silo so. */
void check_read(world *w, slot *s, uint32_t life, bool dead)
{
    if (dead && s->up && s->life == life && w->now >= w->memory_until)
        world_broken(w, "%s has read that it is dead, and goes on", s->name);
}

void check_turn(world *w, slot *s)
{
    gb_member_rules rules;
    gb_member_rules_init(&rules);
    if (s->slept_until > s->slept_from + rules.sleep_ns && s->read_began < s->slept_until)
        world_broken(w, "a turn began on %s, which slept and has not read the table", s->name);
}

/* Calls go on while the table is out of reach. A step without memory is none, so it was a sleep. */
void check_paused(world *w, slot *s)
{
    gb_silo_state state = gb_membership_state(s->member);
    if (s->slept_from < s->served_at && !s->fenced && w->now > w->memory_until + SEC &&
        (state == GB_SILO_ACTIVE || state == GB_SILO_DRAINING))
        world_broken(w, "%s stopped serving: it neither slept nor was fenced", s->name);
}

void check_fenced(world *w, slot *s, bool sender_dead, bool fenced)
{
    if (sender_dead && !fenced && w->now >= w->memory_until)
        world_broken(w, "%s listened to a silo that is dead for it", s->name);
}

/* What is said of another's clock is true, unless one of the two was set a moment ago. */
void check_clock(world *w, const slot *s, const char *said)
{
    char name[sizeof s->name], way[8];
    unsigned long long epoch, least, most;
    if (sscanf(said, "the clock of silo '%15[^']' (epoch %llu) is %llu to %llu s %7s", name, &epoch,
               &least, &most, way) != 5)
        return;
    w->counts[N_CLOCK_SAID]++;
    for (uint32_t i = 0; i < w->slot_count; i++) {
        const slot *other = &w->slots[i];
        if (!other->up || strcmp(other->name, name) != 0 ||
            gb_membership_epoch(other->member) != epoch)
            continue;
        uint64_t since = s->wall_since > other->wall_since ? s->wall_since : other->wall_since;
        int64_t off = (other->wall_offset - s->wall_offset) / (int64_t)SEC;
        if (strcmp(way, "behind") == 0) off = -off;
        if (since && w->now < since + 5 * grace_ns) continue;
        if (off < (int64_t)least || off > (int64_t)most + 1)
            world_broken(w, "%s said that the clock of %s is %llu to %llu s %s, which it is not",
                         s->name, name, least, most, way);
    }
}

/* ---- at any time, and at the end ---- */

/* After a loss of the table too, two activations find each other within a bound. */
void check_twice(world *w)
{
    for (uint32_t i = 0; i < w->grain_count; i++) {
        grain *g = &w->grains[i];
        if (g->value < g->acked)
            world_broken(w, "grain %u: %llu writes were acknowledged, the store has %llu", i,
                         (unsigned long long)g->acked, (unsigned long long)g->value);
        if (g->holder_count > 1) check_grain(w, i);
    }
    if (w->quiet && !w->agreed_at && check_agreed(w)) w->agreed_at = w->now;
    if (w->quiet && !w->agreed_at && w->now > w->faults_until + agree_ns)
        world_broken(w, "no agreement %llu s after the last fault",
                     (unsigned long long)(agree_ns / SEC));
}

bool check_agreed(world *w)
{
    uint32_t up = 0;
    const gb_view *first = NULL;
    for (uint32_t i = 0; i < w->slot_count; i++) {
        slot *s = &w->slots[i];
        if (!s->up) {
            if (s->wants_up && i < w->silos) return false;
            continue;
        }
        up++;
        if (!s->view || !gb_membership_serves(s->member) ||
            gb_membership_state(s->member) != GB_SILO_ACTIVE)
            return false;
        if (!first) first = s->view;
        if (gb_view_id_order(first->id, s->view->id) != 0) return false;
    }
    return first && first->live == up && first->ring->silos == up &&
           first->id.version == w->table.version;
}

void check_dump(world *w)
{
    printf("table %llu with %u rows\n", (unsigned long long)w->table.version, w->table.count);
    for (uint32_t i = 0; i < w->slot_count; i++) {
        slot *s = &w->slots[i];
        if (!s->up) {
            printf("%s is not up%s\n", s->name, s->wants_up ? " and should be" : "");
            continue;
        }
        gb_view_id id = s->view ? s->view->id : (gb_view_id){0};
        printf("%s/%llx %s%s view %llx.%llu.%llx of %u, %u active%s\n", s->name,
               (unsigned long long)gb_membership_id(s->member) >> 48,
               gb_silo_state_name(gb_membership_state(s->member)),
               gb_membership_serves(s->member) ? "" : " (does not serve)",
               (unsigned long long)id.generation, (unsigned long long)id.version,
               (unsigned long long)id.digest >> 48, s->view ? s->view->live : 0,
               s->view ? s->view->ring->silos : 0, s->asleep_until > w->now ? " asleep" : "");
    }
}

void check_end(world *w)
{
    check_twice(w);
    if (w->reach_ok != w->grain_count)
        world_broken(w, "%u of %u grains could be reached", w->reach_ok, w->grain_count);
    if (w->calls_open) {
        for (uint32_t i = 0; i < w->slot_count; i++) {
            if (!w->slots[i].up || !w->slots[i].calls) continue;
            world_broken(w, "%llu calls have not ended; one of %s to grain %u",
                         (unsigned long long)w->calls_open, w->slots[i].name,
                         w->slots[i].calls->grain);
        }
    }
}
