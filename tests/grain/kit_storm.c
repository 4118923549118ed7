#include "kit_storm.h"

#include "base/check.h"
#include "base/err.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- what happens ---- */

void storm_types(kit *k, uint64_t idle_ns)
{
    static const struct {
        gb_placement placement;
        gb_reentrancy reentrant;
        uint32_t queue_max;
    } rows[STORM_TYPES] = {
        {GB_PLACE_RANDOM, GB_REENTRANT_NO, 1024},  {GB_PLACE_LOCAL, GB_REENTRANT_NO, 2},
        {GB_PLACE_LEAST, GB_REENTRANT_YES, 4},     {GB_PLACE_STATELESS, GB_REENTRANT_NO, 3},
        {GB_PLACE_HASH, GB_REENTRANT_CHAIN, 1024}, {GB_PLACE_LOCAL, GB_REENTRANT_CHAIN, 1},
        {GB_PLACE_RANDOM, GB_REENTRANT_NO, 1},
    };
    for (int i = 0; i < STORM_TYPES; i++) {
        gb_type_options options;
        kit_options(&options);
        options.placement = rows[i].placement;
        options.reentrant = rows[i].reentrant;
        options.queue_max = rows[i].queue_max;
        options.stateless_max = 2;
        options.idle_ns = idle_ns;
        GB_CHECK(kit_define(k, i, &options) != NULL);
    }
    kit_prog one = {0};
    kit_add(&one, 1);
    kit_yield(&k->conf[1].activate);
    kit_yield(&k->conf[1].deactivate);
    kit_call(&k->conf[2].activate, (kit_to){0, 1, (int64_t)idle_ns / 4, 0}, &one);
    kit_spawn(&k->conf[2].deactivate, &one);
    kit_call(&k->conf[5].deactivate, (kit_to){4, 2, (int64_t)idle_ns / 4, 0}, &one);
    kit_sleep(&k->conf[6].activate, 1000);
}

kit_to storm_to(seed *s, uint64_t longest_ns)
{
    uint64_t timeout = seed_below(s, 8) ? longest_ns : seed_below(s, longest_ns);
    return (kit_to){(int)seed_below(s, STORM_TYPES),
                    (int64_t)(seed_below(s, 3) ? seed_below(s, 2) : seed_below(s, STORM_KEYS)),
                    seed_below(s, 40) ? (int64_t)timeout : 0, (int)seed_below(s, 3)};
}

static void one_op(kit_prog *prog, seed *s, int depth, uint64_t longest_ns)
{
    kit_prog *inner = calloc(1, sizeof *inner);
    if (depth > 0) storm_prog(inner, s, depth - 1, longest_ns);
    switch (seed_below(s, depth > 0 ? 16 : 6)) {
    case 0:
        kit_yield(prog);
        break;
    case 1:
        kit_sleep(prog, (int64_t)seed_below(s, longest_ns / 50));
        break;
    case 2:
        if (seed_below(s, 4) == 0) kit_fail(prog, GB_ERAISED);
        break;
    case 3:
        if (seed_below(s, 4) == 0) kit_stop(prog);
        break;
    case 4:
        kit_seen(prog);
        break;
    case 5:
        kit_add(prog, 1);
        break;
    case 6:
    case 7:
        kit_tell(prog, storm_to(s, longest_ns), inner);
        break;
    case 8:
        kit_spawn(prog, inner);
        break;
    case 9:
        /* ticks that called others could keep each other's grains alive for ever */
        inner->count = 0;
        storm_prog(inner, s, 0, longest_ns);
        if (seed_below(s, 3) == 0)
            kit_timer(prog, (int64_t)seed_below(s, longest_ns / 10),
                      seed_below(s, 2) ? (int64_t)(longest_ns / 20) : 0, inner);
        else
            kit_timer_stop(prog);
        break;
    case 10:
    case 11: {
        int slot = (int)seed_below(s, KIT_SLOTS);
        kit_async(prog, slot, storm_to(s, longest_ns), inner);
        if (seed_below(s, 3) == 0) kit_cancel(prog, slot);
        if (seed_below(s, 2)) kit_yield(prog);
        if (seed_below(s, 3)) kit_await(prog, slot);
        break;
    }
    default:
        kit_call(prog, storm_to(s, longest_ns), inner);
        if (seed_below(s, 3) == 0) kit_must(prog);
    }
    free(inner);
}

void storm_prog(kit_prog *prog, seed *s, int depth, uint64_t longest_ns)
{
    for (uint64_t ops = 1 + seed_below(s, 3); ops > 0 && prog->count < KIT_WORDS / 8; ops--)
        one_op(prog, s, depth, longest_ns);
}

/* ---- simulated ---- */

enum { ASKS_MAX = 4096 };

typedef struct storm {
    kit k;
    seed s;
    kit_ask *asks;
    int ask_count;
    uint64_t rush; /* how many of 16 steps ask */
    storm_report report;
} storm;

static void ask_some(storm *st)
{
    if (st->ask_count == ASKS_MAX) return;
    kit_ask *ask = &st->asks[st->ask_count++];
    kit_prog prog = {0};
    int worker = (int)seed_below(&st->s, (uint64_t)st->k.silo->worker_count);
    storm_prog(&prog, &st->s, 3, GB_SEC);
    kit_to to = storm_to(&st->s, GB_SEC);
    if (seed_below(&st->s, 4))
        kit_ask_at(&st->k, ask, worker, to, &prog);
    else
        kit_tell_at(&st->k, ask, worker, to, &prog);
}

static void end_some(storm *st)
{
    for (int i = 0; i < st->k.silo->worker_count; i++) {
        gb_worker *worker = st->k.silo->workers[i];
        gb_act *act = gb_act_find(worker, st->k.types[seed_below(&st->s, STORM_TYPES)],
                                  gb_key_number((int64_t)seed_below(&st->s, STORM_KEYS)));
        if (!act || act->state == GB_ACT_FORWARD) continue;
        worker->now = gb_now(st->k.sys);
        gb_act_stop(worker, act, GB_END_ASKED);
        st->report.ended++;
    }
}

static void abandon_some(storm *st)
{
    if (!st->ask_count) return;
    kit_ask *ask = &st->asks[seed_below(&st->s, (uint64_t)st->ask_count)];
    if (ask->call) gb_call_abandon(ask->call, GB_ECANCELED, "not needed");
}

static void pass_time(storm *st)
{
    uint64_t next = GB_FOREVER, now = gb_now(st->k.sys);
    for (int i = 0; i < st->k.silo->worker_count; i++) {
        uint64_t one = gb_worker_next(st->k.silo->workers[i]);
        if (one < next) next = one;
    }
    if (next == GB_FOREVER || seed_below(&st->s, 3) == 0)
        next = now + seed_below(&st->s, 20 * GB_MS);
    gb_sim_advance_to(st->k.sys, next);
}

static void step(storm *st)
{
    if (seed_below(&st->s, 16) < st->rush) ask_some(st);
    switch (seed_below(&st->s, 16)) {
    case 2:
        if (seed_below(&st->s, 4) == 0) end_some(st);
        break;
    case 3:
        if (seed_below(&st->s, 4) == 0) abandon_some(st);
        break;
    case 4:
        pass_time(st);
        break;
    default:
        gb_worker_pass(st->k.silo->workers[seed_below(&st->s, (uint64_t)st->k.silo->worker_count)],
                       0);
        kit_check(&st->k);
    }
}

static int wrong(const char *what, int64_t number)
{
    fprintf(stderr, "# broken: %s (%lld)\n", what, (long long)number);
    return 1;
}

static int64_t entries_left(kit *k)
{
    int64_t left = 0;
    for (int i = 0; i < k->silo->worker_count; i++) {
        gb_worker *worker = k->silo->workers[i];
        for (uint32_t c = 0; c < worker->chunk_count; c++)
            for (int s = 0; s < GB_ACTS_PER_CHUNK; s++)
                left += worker->chunks[c][s].state != GB_ACT_FREE;
    }
    return left;
}

/* At the end: everything was answered once, everything is idle and gone. */
static void judge(storm *st)
{
    kit *k = &st->k;
    storm_report *r = &st->report;
    for (int i = 0; i < st->ask_count; i++) {
        kit_ask *ask = &st->asks[i];
        if (ask->done != (ask->sent == GB_OP_PENDING)) r->wrong += wrong("answers to ask", i);
        int rc = ask->sent < 0 ? ask->sent : ask->rc;
        r->deadlocks += rc == GB_EDEADLOCK;
        r->timeouts += rc == GB_ETIMEDOUT;
        r->busy += rc == GB_EBUSY;
    }
    if (k->asked != k->answered) r->wrong += wrong("calls not answered", k->asked - k->answered);
    if (kit_calls(k)) r->wrong += wrong("calls not freed", kit_calls(k));
    if (!gb_silo_quiet(k->silo)) r->wrong += wrong("not quiet", 0);
    if (k->instances) r->wrong += wrong("instances left", k->instances);
    if (k->bodies) r->wrong += wrong("turns left", k->bodies);
    if (entries_left(k)) r->wrong += wrong("slots left", entries_left(k));
    r->asked = k->asked;
    r->turns = k->turns;
    r->trace = k->trace;
}

storm_report storm_run(uint64_t number, int steps, int workers)
{
    storm *st = calloc(1, sizeof *st);
    st->asks = calloc(ASKS_MAX, sizeof *st->asks);
    st->s = (seed){number};
    kit_open(&st->k, workers, number);
    st->k.slow = number & 1;
    st->rush = 1 + (number >> 1) % 8;
    storm_types(&st->k, 2 * GB_SEC);
    for (int i = 0; i < steps; i++) step(st);
    for (int i = 0; i < 60; i++) { /* a minute: every deadline, every idle end */
        gb_silo_advance(st->k.silo, GB_SEC);
        kit_check(&st->k);
    }
    judge(st);
    kit_close(&st->k);
    st->report.wrong += st->k.wrong;
    storm_report report = st->report;
    free(st->asks);
    free(st);
    return report;
}

/* ---- real threads ---- */

typedef struct post {
    gb_node node;
    kit *k;
    kit_ask ask;
    kit_to to;
    bool oneway;
    kit_prog *prog;
    _Atomic int *started;
} post;

typedef struct crew {
    kit k;
    pthread_t threads[16];
    atomic_bool stop;
    _Atomic int started;
    post *posts;
} crew;

typedef struct hand {
    crew *c;
    int index;
} hand;

static void post_run(gb_node *node, void *reader)
{
    post *p = (post *)node;
    gb_worker *worker = reader;
    if (p->oneway)
        kit_tell_at(p->k, &p->ask, worker->index, p->to, p->prog);
    else
        kit_ask_at(p->k, &p->ask, worker->index, p->to, p->prog);
    atomic_fetch_add(p->started, 1);
}

static void *hand_run(void *user)
{
    hand *h = user;
    gb_worker_loop(h->c->k.silo->workers[h->index], &h->c->stop);
    return NULL;
}

static void crew_post(crew *c, seed *s, int asks, int workers)
{
    for (int i = 0; i < asks; i++) {
        post *p = &c->posts[i];
        p->node.run = post_run;
        p->k = &c->k;
        p->to = storm_to(s, 50 * GB_MS);
        p->oneway = seed_below(s, 4) == 0;
        p->prog = calloc(1, sizeof *p->prog);
        p->started = &c->started;
        storm_prog(p->prog, s, 2, 50 * GB_MS);
        gb_worker_post(c->k.silo->workers[seed_below(s, (uint64_t)workers)], &p->node);
        if (seed_below(s, 64) == 0) sched_yield();
    }
}

/* All is answered, or a minute is over. */
static bool crew_wait(crew *c, int asks)
{
    uint64_t limit = gb_now(c->k.sys) + 60 * GB_SEC;
    while (gb_now(c->k.sys) < limit) {
        if (atomic_load(&c->started) == asks && gb_silo_quiet(c->k.silo) &&
            atomic_load(&c->k.asked) == atomic_load(&c->k.answered))
            return true;
        sched_yield();
    }
    return false;
}

bool storm_threads(uint64_t number, int asks, int workers, bool cut)
{
    crew *c = calloc(1, sizeof *c);
    hand hands[16];
    seed s = {number};
    bool good = true;
    kit_open_real(&c->k, workers);
    storm_types(&c->k, 20 * GB_MS);
    c->posts = calloc((size_t)asks, sizeof *c->posts);
    for (int i = 0; i < workers; i++) {
        hands[i] = (hand){c, i};
        GB_CHECK(pthread_create(&c->threads[i], NULL, hand_run, &hands[i]) == 0);
    }
    crew_post(c, &s, asks, workers);
    if (!cut) good = crew_wait(c, asks);
    atomic_store(&c->stop, true);
    for (int i = 0; i < workers; i++) gb_loop_wake(c->k.silo->workers[i]->loop);
    for (int i = 0; i < workers; i++) pthread_join(c->threads[i], NULL);
    kit_close(&c->k);
    for (int i = 0; i < asks; i++) {
        post *p = &c->posts[i];
        if (p->ask.kit && p->ask.done != (p->ask.sent == GB_OP_PENDING)) good = false;
        free(p->prog);
    }
    good = good && c->k.wrong == 0;
    free(c->posts);
    free(c);
    return good;
}
