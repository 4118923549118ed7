/* Grains that count, as C: one value each in a store with etags. Clients at random silos call
 * them; a silo without the activation claims it or sends the call on. */
#include "base/check.h"
#include "base/err.h"
#include "cluster_world.h"

#include <string.h>

static const uint64_t reach_bit = 1ull << 63;

void grain_id(uint32_t index, uint8_t out[GRAIN_BYTES])
{
    memset(out, 0, GRAIN_BYTES);
    memcpy(out, &index, sizeof index);
}

uint32_t grain_index(const void *id)
{
    uint32_t index;
    memcpy(&index, id, sizeof index);
    return index;
}

uint64_t grain_hash(uint32_t index)
{
    uint8_t id[GRAIN_BYTES];
    grain_id(index, id);
    return gb_directory_hash(0x5eedc1u, id, sizeof id);
}

static void free_call(world *w, call *c)
{
    gb_mem_free(&w->mem, c, sizeof *c);
}

static void answer_call(world *w, slot *s, call *c, int rc, uint64_t value)
{
    bool host = s->acts[c->grain].state != ACT_NONE;
    reply r = {c->id, c->grain, rc, value, host ? gb_membership_id(s->member) : 0};
    slot *origin = &w->slots[c->origin];
    if (origin == s && s->life == c->origin_life)
        grain_replied(w, s, &r);
    else if (origin->up)
        net_reply(w, s, c->origin, c->origin_life, &r);
    free_call(w, c);
}

/* ---- questions ---- */

static asking *new_asking(world *w, slot *s, uint32_t index, call *waiting)
{
    asking *ask = gb_mem_alloc(&w->mem, sizeof *ask);
    GB_CHECK(ask);
    *ask = (asking){++s->tokens, index, waiting, s->askings};
    s->askings = ask;
    return ask;
}

/* Takes back a question that was refused. */
static void unask(world *w, slot *s)
{
    asking *ask = s->askings;
    s->askings = ask->next;
    gb_mem_free(&w->mem, ask, sizeof *ask);
}

static void claim(world *w, slot *s, uint32_t index, uint64_t deadline)
{
    uint8_t id[GRAIN_BYTES];
    act *a = &s->acts[index];
    grain_id(index, id);
    a->state = ACT_CLAIMING;
    asking *ask = new_asking(w, s, index, NULL);
    int rc = gb_directory_claim(s->directory, ask->token, id, sizeof id, deadline, w->now,
                                &w->dir_actions);
    if (rc == 0) return;
    unask(w, s);
    a->state = ACT_NONE;
    for (call *c; (c = a->queue);) {
        a->queue = c->next;
        answer_call(w, s, c, rc, 0);
    }
}

static void find(world *w, slot *s, call *c)
{
    uint8_t id[GRAIN_BYTES];
    grain_id(c->grain, id);
    asking *ask = new_asking(w, s, c->grain, c);
    int rc = gb_directory_find(s->directory, ask->token, id, sizeof id, c->deadline, w->now,
                               &w->dir_actions);
    if (rc == 0) return;
    unask(w, s);
    answer_call(w, s, c, rc, 0);
}

/* ---- turns ---- */

static void enqueue(act *a, call *c)
{
    c->next = NULL;
    if (!a->queue) a->queue_end = &a->queue;
    *a->queue_end = c;
    a->queue_end = &c->next;
}

static call *dequeue(act *a)
{
    call *c = a->queue;
    if (c) a->queue = c->next;
    return c;
}

static void run(world *w, slot *s, uint32_t index)
{
    act *a = &s->acts[index];
    if (a->state != ACT_ACTIVE || a->busy || !a->queue) return;
    if (w->now >= gb_membership_serve_until(s->member) && w->plant != PLANTED_SLEEPER) {
        s->stalled = true;
        return;
    }
    check_turn(w, s);
    call *c = dequeue(a);
    a->busy = true;
    a->used = w->now;
    uint64_t takes = world_chance(w, 10) ? 300 * MS : 100000 + world_below(w, 3 * MS);
    world_push(w, w->now + takes, EVENT_TURN, s->index, index, a->serial, c);
}

static void end_act(world *w, slot *s, uint32_t index, bool tell)
{
    act *a = &s->acts[index];
    uint8_t id[GRAIN_BYTES];
    grain_id(index, id);
    if (a->state == ACT_LOADING || a->state == ACT_ACTIVE) {
        check_released(w, s, index);
        if (w->plant == PLANTED_TWICE_ENDED) check_released(w, s, index);
    }
    a->state = ACT_NONE;
    a->busy = false;
    a->serial++;
    if (tell) gb_directory_release(s->directory, id, sizeof id, w->now, &w->dir_actions);
    call *c = a->queue;
    a->queue = NULL;
    while (c) { /* those who wait find it anew */
        call *next = c->next;
        c->hops++;
        grain_arrived(w, s, c);
        c = next;
    }
}

void grain_loaded(world *w, slot *s, uint32_t index, uint64_t serial)
{
    act *a = &s->acts[index];
    if (a->serial != serial || a->state != ACT_LOADING) return;
    a->state = ACT_ACTIVE;
    a->etag = w->grains[index].etag;
    a->value = w->grains[index].value;
    run(w, s, index);
}

void grain_turned(world *w, slot *s, uint32_t index, uint64_t serial, call *c)
{
    act *a = &s->acts[index];
    grain *g = &w->grains[index];
    if (a->serial != serial) {
        answer_call(w, s, c, GB_ELOST, 0);
        silo_after_directory(w, s);
        return;
    }
    a->busy = false;
    if (a->etag == g->etag || w->plant == PLANTED_NO_ETAG) {
        a->value++;
        if (w->plant != PLANTED_TOLD) g->value = a->value;
        a->etag = ++g->etag;
        answer_call(w, s, c, 0, a->value);
        run(w, s, index);
    } else {
        w->counts[N_ETAG]++;
        answer_call(w, s, c, GB_ECONFLICT, 0);
        end_act(w, s, index, true);
    }
    silo_after_directory(w, s);
}

/* ---- ways of a call ---- */

static void forward(world *w, slot *s, call *c, uint64_t silo)
{
    c->hops++;
    w->counts[N_FORWARDED]++;
    if (silo == gb_membership_id(s->member))
        grain_arrived(w, s, c);
    else
        net_call(w, s, silo, c);
}

static void place(world *w, slot *s, call *c)
{
    const gb_ring *ring = s->view ? s->view->ring : NULL;
    if (!ring || !ring->silos) {
        answer_call(w, s, c, GB_EBUSY, 0);
        return;
    }
    uint64_t silo = ring->ids[world_below(w, ring->silos)];
    if (silo == gb_membership_id(s->member)) {
        c->hops++; /* alone, and draining: it would ask itself for ever */
        grain_arrived(w, s, c);
    } else {
        net_call(w, s, silo, c);
    }
}

void grain_arrived(world *w, slot *s, call *c)
{
    act *a = &s->acts[c->grain];
    if (a->state != ACT_NONE) {
        enqueue(a, c);
        run(w, s, c->grain);
    } else if (c->hops > GB_HOPS_MAX) {
        answer_call(w, s, c, GB_EBUSY, 0);
    } else if (gb_membership_serves(s->member) &&
               gb_membership_state(s->member) == GB_SILO_ACTIVE && !s->draining) {
        uint32_t index = c->grain;
        uint64_t deadline = c->deadline;
        enqueue(a, c);
        claim(w, s, index, deadline);
    } else
        find(w, s, c);
    silo_after_directory(w, s);
}

static void claimed(world *w, slot *s, uint32_t index, int rc, uint64_t silo)
{
    act *a = &s->acts[index];
    uint8_t id[GRAIN_BYTES];
    gb_view_id view;
    grain_id(index, id);
    if (rc == 0 && silo == gb_membership_id(s->member)) {
        bool holds = gb_directory_holds(s->directory, id, sizeof id, &view);
        GB_CHECK(holds);
        a->state = ACT_LOADING;
        check_held(w, s, index, view);
        world_push(w, w->now + 200000 + world_below(w, 2 * MS), EVENT_STORE, s->index, index,
                   a->serial, NULL);
        return;
    }
    w->counts[N_TAKEN] += rc == 0;
    call *c = a->queue;
    a->state = ACT_NONE;
    a->queue = NULL;
    while (c) {
        call *next = c->next;
        if (rc == 0 && silo && c->hops <= GB_HOPS_MAX)
            forward(w, s, c, silo);
        else if (rc == GB_EDENIED && c->hops++ <= GB_HOPS_MAX)
            find(w, s, c);
        else
            answer_call(w, s, c, rc ? rc : GB_EBUSY, 0);
        c = next;
    }
}

void grain_answer(world *w, slot *s, uint64_t token, int rc, uint64_t silo)
{
    asking **at = &s->askings;
    while (*at && (*at)->token != token) at = &(*at)->next;
    GB_CHECK(*at);
    asking ask = **at;
    gb_mem_free(&w->mem, *at, sizeof ask);
    *at = ask.next;
    if (!ask.waiting) {
        claimed(w, s, ask.grain, rc, silo);
        return;
    }
    call *c = ask.waiting;
    if (s->acts[c->grain].state != ACT_NONE)
        grain_arrived(w, s, c); /* it came here meanwhile */
    else if (rc < 0)
        answer_call(w, s, c, rc, 0);
    else if (silo && c->hops <= GB_HOPS_MAX)
        forward(w, s, c, silo);
    else if (silo)
        answer_call(w, s, c, GB_EBUSY, 0);
    else
        place(w, s, c);
}

void grain_dropped(world *w, slot *s, uint32_t index, uint64_t silo)
{
    w->counts[N_DROPPED]++;
    end_act(w, s, index, false);
}

/* ---- callers ---- */

void grain_call_from(world *w, slot *s, uint32_t index, uint64_t deadline)
{
    call *c = gb_mem_zalloc(&w->mem, sizeof *c);
    pending *p = gb_mem_alloc(&w->mem, sizeof *p);
    GB_CHECK(c && p);
    uint64_t id = ++w->calls | (w->reached ? reach_bit : 0);
    *c = (call){
        .id = id, .grain = index, .origin = s->index, .origin_life = s->life, .deadline = deadline};
    uint64_t target = gb_dir_cache_get(&s->cache, grain_hash(index), s->view);
    *p = (pending){id, target, index, s->calls};
    s->calls = p;
    w->calls_open++;
    if (w->plant != PLANTED_DEADLINE || id % 100)
        world_push(w, deadline, EVENT_CALL_END, s->index, id, deadline, NULL);
    if (s->acts[index].state != ACT_NONE || target == gb_membership_id(s->member))
        grain_arrived(w, s, c);
    else if (target)
        net_call(w, s, target, c);
    else
        find(w, s, c);
    silo_after_directory(w, s);
}

static bool end_pending(world *w, slot *s, uint64_t id, pending *out)
{
    for (pending **at = &s->calls; *at; at = &(*at)->next) {
        if ((*at)->id != id) continue;
        pending *p = *at;
        *at = p->next;
        *out = *p;
        gb_mem_free(&w->mem, p, sizeof *p);
        w->calls_open--;
        return true;
    }
    return false;
}

void grain_replied(world *w, slot *s, const reply *r)
{
    pending p;
    grain *g = &w->grains[r->grain];
    gb_dir_cache_put(&s->cache, grain_hash(r->grain), r->host);
    world_note(w, r->id ^ r->value << 24);
    if (r->rc == 0 && r->value > g->value)
        world_broken(w, "grain %u: a caller was told %llu, the store has %llu", r->grain,
                     (unsigned long long)r->value, (unsigned long long)g->value);
    if (!end_pending(w, s, r->id, &p)) return;
    w->counts[r->rc == 0 ? N_CALL_OK : r->rc == GB_ETIMEDOUT ? N_CALL_TIMEOUT : N_CALL_FAILED]++;
    if (r->rc < 0 && (r->id & reach_bit) && w->verbose)
        printf("%10.3f grain %u was not reached: %s\n", (double)w->now / 1e9, r->grain,
               gb_err_name(r->rc));
    if (r->rc == 0) g->acked++;
    if (r->rc == 0 && (r->id & reach_bit)) w->reach_ok++;
    /* A silo that was cut off may have written last, and then this one is told that it is stale. */
    if (r->rc == GB_ECONFLICT && (r->id & reach_bit))
        grain_call_from(w, s, r->grain, w->now + 10 * SEC);
}

void grain_late(world *w, slot *s, uint64_t id)
{
    pending p;
    if (!end_pending(w, s, id, &p)) return;
    w->counts[N_CALL_TIMEOUT]++;
    if ((id & reach_bit) && w->verbose)
        printf("%10.3f grain %u was not reached in time from %s\n", (double)w->now / 1e9, p.grain,
               s->name);
    gb_dir_cache_put(&s->cache, grain_hash(p.grain), 0);
}

/* Calls that went to a silo which is dead now end at once. */
void grain_unlinked(world *w, slot *s, uint64_t silo)
{
    for (pending **at = &s->calls; *at;) {
        pending *p = *at;
        if (p->target != silo) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        gb_mem_free(&w->mem, p, sizeof *p);
        w->calls_open--;
        w->counts[N_CALL_LOST]++;
    }
}

static bool is_open(const world *w, const slot *s)
{
    return s->up && s->asleep_until <= w->now && s->view && gb_membership_serves(s->member);
}

static slot *some_silo(world *w)
{
    for (uint32_t tries = 0; tries < 20; tries++) {
        slot *s = &w->slots[seed_below(&w->client_random, w->slot_count)];
        if (is_open(w, s)) return s;
    }
    for (uint32_t i = 0; i < w->slot_count; i++) /* of few silos most may be gone for good */
        if (is_open(w, &w->slots[i])) return &w->slots[i];
    return NULL;
}

void grain_client(world *w)
{
    uint64_t gap = seed_below(&w->client_random, 2 * w->call_gap_ns + 1) + 1;
    world_push(w, w->now + gap, EVENT_CLIENT, UINT32_MAX, 0, 0, NULL);
    if (w->quiet && !w->reached && w->now > w->faults_until + 60 * SEC) {
        w->reached = true;
        for (uint32_t i = 0; i < w->grain_count; i++) {
            slot *s = some_silo(w);
            if (s) grain_call_from(w, s, i, w->now + 20 * SEC);
        }
        return;
    }
    slot *s = some_silo(w);
    if (!s || w->reached) return;
    uint32_t index = (uint32_t)seed_below(&w->client_random, w->grain_count);
    if (seed_below(&w->client_random, 2)) index = index % (1 + w->grain_count / 8); /* busy ones */
    uint64_t wait = seed_below(&w->client_random, 4) ? 10 * SEC : 300 * MS;
    grain_call_from(w, s, index, w->now + wait);
    if (seed_below(&w->client_random, 4) == 0) grain_idle(w, s);
}

/* ---- a silo's grains ---- */

void grain_idle(world *w, slot *s)
{
    uint32_t start = (uint32_t)world_below(w, w->grain_count);
    for (uint32_t i = 0; i < w->grain_count; i++) {
        uint32_t index = (start + i) % w->grain_count;
        act *a = &s->acts[index];
        if (a->state != ACT_ACTIVE || a->busy || a->queue) continue;
        w->counts[N_IDLE]++;
        end_act(w, s, index, true);
        break;
    }
    silo_after_directory(w, s);
}

void grain_resume(world *w, slot *s)
{
    s->stalled = false;
    for (uint32_t i = 0; i < w->grain_count; i++) run(w, s, i);
}

void grain_release_all(world *w, slot *s)
{
    uint8_t id[GRAIN_BYTES];
    for (uint32_t i = 0; i < w->grain_count; i++) {
        grain_id(i, id);
        if (s->acts[i].state == ACT_ACTIVE)
            gb_directory_release(s->directory, id, sizeof id, w->now, &w->dir_actions);
    }
}

bool grain_end_all(world *w, slot *s, bool gently)
{
    bool none = true;
    for (uint32_t i = 0; i < w->grain_count; i++) {
        act *a = &s->acts[i];
        if (a->state == ACT_NONE) continue;
        if (a->state == ACT_CLAIMING || (gently && (a->busy || a->state == ACT_LOADING)))
            none = false;
        else
            end_act(w, s, i, true);
    }
    return none;
}

void grain_forget(world *w, slot *s)
{
    for (uint32_t i = 0; i < w->grain_count; i++) {
        act *a = &s->acts[i];
        if (a->state == ACT_LOADING || a->state == ACT_ACTIVE) check_released(w, s, i);
        for (call *c; (c = dequeue(a));) free_call(w, c);
        *a = (act){.serial = a->serial + 1};
    }
    for (asking *ask; (ask = s->askings);) {
        s->askings = ask->next;
        if (ask->waiting) free_call(w, ask->waiting);
        gb_mem_free(&w->mem, ask, sizeof *ask);
    }
    for (pending *p; (p = s->calls);) {
        s->calls = p->next;
        gb_mem_free(&w->mem, p, sizeof *p);
        w->calls_open--;
    }
}
