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

void check_view(world *w, slot *s)
{
    for (uint32_t i = 0; i < w->grain_count && s->held; i++) {
        if (w->grains[i].holder_count > 1) check_grain(w, i);
    }
}

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
    if (!w->agreed_at) world_broken(w, "the silos do not agree on a view");
    if (w->reached && w->reach_ok != w->grain_count)
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
