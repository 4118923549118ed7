/* The silo of a test, calls from outside of grains, and the rules between passes. */
#include "kit_room.h"

#include "base/check.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kit_broken(kit *k, const char *what)
{
    fprintf(stderr, "# broken at %llu ns: %s\n", (unsigned long long)gb_now(k->sys), what);
    atomic_fetch_add(&k->wrong, 1);
}

static void no_log(void *user, gb_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
}

static int open_silo(kit *k, int workers)
{
    k->log = (gb_log){.level = GB_LOG_WARN, .sink = no_log};
    gb_silo_config config = {
        .mem = &k->mem, .sys = k->sys, .log = &k->log, .workers = workers, .spin_ns = 50000};
    int rc = gb_silo_open(&k->silo, &config);
    if (rc < 0) return rc;
    k->run = gb_sym_get(k->silo, "run", 3);
    if (!k->run) return GB_ENOMEM;
    for (int i = 0; i < workers; i++) {
        kit_shelf *s = gb_mem_zalloc(&k->mem, sizeof *s);
        if (!s) return GB_ENOMEM;
        s->kit = k;
        k->silo->workers[i]->body = s;
    }
    return 0;
}

int kit_open_on(kit *k, int workers, uint64_t seed)
{
    int rc = gb_sys_sim_open(&k->sys, &k->mem, seed);
    return rc < 0 ? rc : open_silo(k, workers);
}

void kit_open(kit *k, int workers, uint64_t seed)
{
    memset(k, 0, sizeof *k);
    gb_mem_init(&k->mem, "kit", NULL, 0);
    GB_CHECK(kit_open_on(k, workers, seed) == 0);
}

void kit_open_real(kit *k, int workers)
{
    memset(k, 0, sizeof *k);
    k->threads = true;
    gb_mem_init(&k->mem, "kit", NULL, 0);
    GB_CHECK(gb_sys_open(&k->sys, &k->mem) == 0);
    GB_CHECK(open_silo(k, workers) == 0);
}

void kit_close(kit *k)
{
    if (k->silo) {
        gb_silo_stop(k->silo);
        if (k->answered != k->asked || k->bodies || k->instances)
            kit_broken(k, "not all was ended by gb_silo_stop");
        for (int i = 0; i < k->silo->worker_count; i++) {
            kit_shelf *s = k->silo->workers[i]->body;
            if (!s) continue;
            gb_mem_free(&k->mem, s->grains, s->count * sizeof *s->grains);
            gb_mem_free(&k->mem, s, sizeof *s);
            k->silo->workers[i]->body = NULL;
        }
        gb_silo_close(k->silo);
    }
    if (k->sys) gb_sys_close(k->sys);
    gb_mem_fini(&k->mem); /* checks that it is at zero */
}

void kit_options(gb_type_options *options)
{
    gb_type_options_init(options);
}

gb_type *kit_define(kit *k, int index, const gb_type_options *options)
{
    gb_type_options usual;
    gb_type_options_init(&usual);
    char name[16];
    snprintf(name, sizeof name, "T%d", index);
    gb_type *type = NULL;
    if (gb_type_define(&type, k->silo, name, "kit", &kit_kind, -1, options ? options : &usual) < 0)
        return NULL;
    GB_CHECK(type->id < KIT_TYPES && (int)type->id == index);
    k->types[index] = type;
    return type;
}

static void ask_done(gb_call *call)
{
    kit_ask *ask = call->user;
    ask->done++;
    ask->call = NULL;
    ask->rc = call->rc;
    ask->value = kit_result(call);
    ask->at = gb_now(ask->kit->sys);
    snprintf(ask->message, sizeof ask->message, "%s", call->message ? call->message : "");
    atomic_fetch_add(&ask->kit->answered, 1); /* last: other threads look at it */
}

static int ask_send(kit *k, kit_ask *ask, int worker, kit_to to, const kit_prog *prog,
                    uint8_t flags)
{
    *ask = (kit_ask){.kit = k};
    gb_call *call = gb_call_new(k->silo->workers[worker]);
    if (!call) {
        snprintf(ask->message, sizeof ask->message, "%s", gb_err_detail());
        return ask->sent = GB_ENOMEM;
    }
    if (!k->threads) k->silo->workers[worker]->now = gb_now(k->sys);
    call->done = ask_done;
    call->user = ask;
    kit_order o = {.to = to, .words = prog->word, .count = prog->count};
    ask->sent = kit_send(k, call, o, flags);
    if (ask->sent < 0) {
        snprintf(ask->message, sizeof ask->message, "%s", gb_err_detail());
        gb_call_drop(call);
    }
    if (ask->sent == GB_OP_PENDING) {
        ask->call = call;
        atomic_fetch_add(&k->asked, 1);
    }
    return ask->sent;
}

int kit_ask_at(kit *k, kit_ask *ask, int worker, kit_to to, const kit_prog *prog)
{
    return ask_send(k, ask, worker, to, prog, 0);
}

int kit_tell_at(kit *k, kit_ask *ask, int worker, kit_to to, const kit_prog *prog)
{
    return ask_send(k, ask, worker, to, prog, GB_CALL_ONEWAY);
}

gb_act *kit_find(kit *k, int type, int64_t key)
{
    for (int i = 0; i < k->silo->worker_count; i++) {
        gb_act *act = gb_act_find(k->silo->workers[i], k->types[type], gb_key_number(key));
        if (act && act->state != GB_ACT_FORWARD && !act->bare) return act;
    }
    return NULL;
}

int64_t kit_number(kit *k, int type, int64_t key)
{
    for (int i = 0; i < k->silo->worker_count; i++) {
        gb_worker *worker = k->silo->workers[i];
        gb_act *act = gb_act_find(worker, k->types[type], gb_key_number(key));
        if (act && act->state != GB_ACT_FORWARD && !act->bare)
            return kit_grain_of(worker, act)->number;
    }
    return -1;
}

int64_t kit_calls(const kit *k)
{
    int64_t under_way = 0;
    for (int i = 0; i < k->silo->worker_count; i++)
        under_way += k->silo->workers[i]->calls_made - k->silo->workers[i]->calls_freed;
    return under_way;
}

typedef struct look {
    kit *kit;
    gb_worker *worker;
} look;

static void check_act(gb_act *act, void *user)
{
    look *l = user;
    uint32_t queued = 0, running = 0;
    const gb_type_options *options = &act->type->options;
    for (gb_call *call = act->queue; call; call = call->next) {
        queued++;
        if (!(call->state & GB_AT_QUEUED) || call->state & GB_AT_ROOM || call->act != act)
            kit_broken(l->kit, "a call in the queue that does not know it");
        if (call->next && call->next->priority > call->priority)
            kit_broken(l->kit, "a queue that is not in the order of priorities");
    }
    for (gb_call *call = act->room; call; call = call->next)
        if (!(call->state & GB_AT_ROOM) || call->act != act)
            kit_broken(l->kit, "a call that waits for room and does not know it");
    for (gb_call *turn = act->turns; turn; turn = turn->turn_next) {
        if (!(turn->flags & GB_CALL_DETACHED)) running++;
        if (turn->act != act) kit_broken(l->kit, "a turn of another activation");
        if (!(turn->state & (GB_AT_PARKED | GB_AT_READY)))
            kit_broken(l->kit, "a turn that is neither parked nor ready between passes");
    }
    if (queued != act->queued) kit_broken(l->kit, "the count of a queue is wrong");
    if (queued > options->queue_max) kit_broken(l->kit, "a queue over its bound");
    if (act->room && !act->queue) kit_broken(l->kit, "calls wait for room at an empty queue");
    if (running != act->running) kit_broken(l->kit, "the count of turns is wrong");
    if (options->reentrant == GB_REENTRANT_NO && running > 1)
        kit_broken(l->kit, "two turns at once");
    if (act->state == GB_ACT_ACTIVE && act->queue && running == 0)
        kit_broken(l->kit, "calls wait and nothing runs");
    if (act->state == GB_ACT_ACTIVE && running == 0 && !options->keep_alive &&
        gb_list_empty(&act->idle))
        kit_broken(l->kit, "an idle activation that is not in the list of idle ones");
}

void kit_check(kit *k)
{
    for (int i = 0; i < k->silo->worker_count; i++) {
        look l = {k, k->silo->workers[i]};
        gb_act_each(l.worker, NULL, check_act, &l);
        for (uint32_t type = 0; type < gb_type_count(k->silo); type++) {
            struct gb_type_local *local = &gb_type_at(k->silo, type)->local[i];
            if (!gb_list_empty(&local->idle) && !gb_timer_armed(&local->idle_timer))
                kit_broken(k, "idle activations and no timer");
        }
    }
}

void kit_settle(kit *k)
{
    do {
        kit_check(k);
    } while (gb_silo_pass(k->silo));
}
