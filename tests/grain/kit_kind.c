/* The kind: turns that run programs, and what the referee sees there. */
#include "kit_room.h"

#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an answer goes to: the turn may be gone by then. */
typedef struct waiter {
    kit *kit;
    kit_turn *turn; /* NULL: gone */
    struct waiter *next;
    gb_call *call;
    int slot; /* -1: the turn is parked on it */
    int done, rc;
    int64_t value;
} waiter;

struct kit_turn {
    kit *kit;
    gb_call *call;
    gb_act *act;
    int pc, parked_as, waits_slot;
    int last_rc;
    int64_t value;
    waiter *waiters; /* those not answered */
    waiter *slots[KIT_SLOTS];
    gb_timer timer;
    bool counted;
    kit_prog prog;
};

static kit *kit_of(gb_worker *worker)
{
    return ((kit_shelf *)worker->body)->kit;
}

static gb_worker *here(gb_call *call)
{
    return atomic_load_explicit(&call->at, memory_order_relaxed);
}

/* ---- bodies ---- */

static void slept(gb_timer *timer)
{
    gb_turn_wake(GB_CONTAINER(timer, kit_turn, timer)->call);
}

/* One word more: an operation without arguments may be the last. */
static size_t turn_size(int count)
{
    return offsetof(kit_turn, prog.word) + ((size_t)count + 1) * sizeof(int64_t);
}

static kit_turn *turn_new(kit *k, gb_call *call, const int64_t *words, int count)
{
    if (count > KIT_WORDS) return gb_err_set(GB_EINVAL, "a program too long"), NULL;
    kit_turn *turn = gb_mem_zalloc(&k->mem, turn_size(count));
    if (!turn) return NULL;
    turn->kit = k;
    turn->call = call;
    turn->parked_as = -1;
    turn->waits_slot = -1;
    turn->prog.count = count;
    if (count) memcpy(turn->prog.word, words, (size_t)count * sizeof *words);
    gb_timer_init(&turn->timer, slept);
    atomic_fetch_add(&k->bodies, 1);
    return turn;
}

/* The referee: when does a turn have its grain? */
static void turn_enter(kit_turn *turn, gb_act *act)
{
    kit *k = turn->kit;
    turn->act = act;
    if (turn->call->flags & GB_CALL_DETACHED) return;
    kit_grain *g = kit_grain_of(here(turn->call), act);
    turn->counted = true;
    g->turns++;
    if (act->type->options.reentrant == GB_REENTRANT_NO && g->turns != 1)
        kit_broken(k, "two turns of one non-reentrant activation");
}

static void waiter_free(waiter *w)
{
    gb_mem_free(&w->kit->mem, w, sizeof *w);
}

static void kind_drop(gb_call *call)
{
    kit_turn *turn = call->body;
    kit *k = turn->kit;
    call->body = NULL;
    if (turn->counted) kit_grain_of(here(call), turn->act)->turns--;
    gb_timer_stop(&here(call)->timers, &turn->timer);
    if (turn->parked_as >= 0 && k->parked[turn->parked_as] == turn)
        k->parked[turn->parked_as] = NULL;
    for (waiter *w = turn->waiters; w; w = w->next) w->turn = NULL;
    for (int i = 0; i < KIT_SLOTS; i++)
        if (turn->slots[i] && turn->slots[i]->done) waiter_free(turn->slots[i]);
    atomic_fetch_sub(&k->bodies, 1);
    gb_mem_free(&k->mem, turn, turn_size(turn->prog.count));
}

static int kind_unpack(gb_call *call)
{
    kit *k = kit_of(here(call));
    const kit_prog *hook = NULL;
    kit_type *conf = &k->conf[call->type->id];
    if (call->flags & GB_CALL_HOOK)
        hook = call->act->state == GB_ACT_STARTING ? &conf->activate : &conf->deactivate;
    else if (strcmp(call->method->text, "run") != 0)
        return gb_call_fail(call, GB_ENOMETHOD, "no method '%s'", call->method->text), GB_ENOMETHOD;
    kit_turn *turn =
        hook ? turn_new(k, call, hook->word, hook->count)
             : turn_new(k, call, (int64_t *)call->bytes.data, (int)(call->bytes.size / 8));
    if (!turn) return GB_ENOMEM;
    call->bytes.size = 0;
    call->body = turn;
    turn_enter(turn, call->act);
    return 0;
}

static int kind_pack(gb_call *call)
{
    call->bytes.size = 0;
    return gb_buf_put(&call->bytes, &((kit_turn *)call->body)->value, 8);
}

int64_t kit_result(const gb_call *call)
{
    if (call->rc < 0) return 0;
    if (call->body) return ((kit_turn *)call->body)->value;
    int64_t value = 0;
    if (call->bytes.size == 8) memcpy(&value, call->bytes.data, 8);
    return value;
}

/* ---- calls from turns ---- */

static void turn_answered(gb_call *call)
{
    waiter *w = call->user;
    kit *k = w->kit;
    atomic_fetch_add(&k->answered, 1);
    if (w->done++) kit_broken(k, "done ran twice");
    kit_turn *turn = w->turn;
    if (!turn) {
        waiter_free(w);
        return;
    }
    w->rc = call->rc;
    w->value = kit_result(call);
    waiter **at = &turn->waiters;
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    if (w->slot >= 0) { /* stays in its slot until it is awaited */
        if (turn->waits_slot == w->slot) gb_turn_wake(turn->call);
        return;
    }
    turn->last_rc = w->rc;
    turn->value += w->value;
    waiter_free(w);
    gb_turn_wake(turn->call);
}

static kit_order take_order(kit_turn *turn, bool to)
{
    const int64_t *word = &turn->prog.word[turn->pc];
    kit_order o = {0};
    if (to) {
        o.to = (kit_to){(int)word[0], word[1], word[2], (int)word[3]};
        word += 4;
    }
    o.count = (int)word[0];
    o.words = word + 1;
    turn->pc = (int)(o.words + o.count - turn->prog.word);
    return o;
}

int kit_send(kit *k, gb_call *call, kit_order o, uint8_t flags)
{
    gb_worker *worker = call->origin;
    call->type = k->types[o.to.type];
    call->method = k->run;
    call->flags = flags;
    call->priority = (int8_t)o.to.priority;
    call->deadline = o.to.timeout_ns < 0 ? GB_FOREVER : worker->now + (uint64_t)o.to.timeout_ns;
    gb_act *act = k->slow ? NULL : gb_act_find(worker, call->type, gb_key_number(o.to.key));
    if (act && gb_act_idle(act) && call->deadline > worker->now) {
        kit_turn *turn = turn_new(k, call, o.words, o.count);
        if (!turn) return GB_ENOMEM;
        call->body = turn;
        turn_enter(turn, act);
        gb_call_begin_at(call, act);
        return flags & GB_CALL_ONEWAY ? GB_OP_READY : GB_OP_PENDING;
    }
    gb_call_set_key(call, gb_key_number(o.to.key));
    int rc = gb_buf_put(&call->bytes, o.words, (size_t)o.count * 8);
    return rc < 0 ? rc : gb_call_send(call);
}

/* Sends one: PENDING with *out the call, READY, or negative. */
static int turn_send(kit_turn *turn, kit_order o, uint8_t flags, int slot, gb_call **out)
{
    kit *k = turn->kit;
    gb_worker *worker = here(turn->call);
    waiter *w = gb_mem_zalloc(&k->mem, sizeof *w);
    gb_call *call = w ? gb_call_new(worker) : NULL;
    if (!call) {
        if (w) waiter_free(w);
        return GB_ENOMEM;
    }
    *w = (waiter){.kit = k, .turn = turn, .call = call, .slot = slot};
    call->done = turn_answered;
    call->user = w;
    call->caller = turn->call;
    call->caller_serial = turn->call->serial;
    *out = call;
    if (flags & GB_CALL_ONEWAY) atomic_fetch_add(&k->tells, 1);
    int rc = kit_send(k, call, o, flags);
    if (rc < 0) gb_call_drop(call);
    if (rc != GB_OP_PENDING) {
        waiter_free(w);
        return rc;
    }
    atomic_fetch_add(&k->asked, 1);
    w->next = turn->waiters;
    turn->waiters = w;
    if (slot >= 0) turn->slots[slot] = w;
    return rc;
}

static void spawned(gb_call *call)
{
    kit *k = call->user;
    atomic_fetch_add(&k->answered, 1);
}

static int turn_spawn(kit_turn *turn, kit_order o)
{
    kit *k = turn->kit;
    gb_call *call = gb_call_new(here(turn->call));
    if (!call) return GB_ENOMEM;
    call->flags = GB_CALL_DETACHED;
    kit_turn *body = turn_new(k, call, o.words, o.count);
    if (!body) {
        gb_call_drop(call);
        return GB_ENOMEM;
    }
    body->act = turn->act;
    call->body = body;
    call->type = turn->call->type;
    call->method = turn->call->method;
    call->done = spawned;
    call->user = k;
    call->deadline = GB_FOREVER;
    atomic_fetch_add(&k->asked, 1);
    gb_call_spawn(call, turn->act);
    return 0;
}

/* ---- running ---- */

static int turn_fail(kit_turn *turn, int rc, const char *message)
{
    gb_call_fail(turn->call, rc, "%s", message);
    return rc;
}

/* What parks: true, the turn returns. */
static bool op_waits(kit_turn *turn, int64_t op, const int64_t *arg)
{
    kit *k = turn->kit;
    gb_call *self = turn->call, *sent;
    gb_worker *worker = here(self);
    int slot = (int)arg[0];
    switch (op) {
    case OP_CALL:
    case OP_TELL:
        turn->last_rc =
            turn_send(turn, take_order(turn, true), op == OP_TELL ? GB_CALL_ONEWAY : 0, -1, &sent);
        if (turn->last_rc != GB_OP_PENDING) return false;
        gb_turn_park(self, op == OP_CALL ? sent : NULL);
        return true;
    case OP_AWAIT:
        if (!turn->slots[slot]) {
            turn->pc++;
            return false;
        }
        if (!turn->slots[slot]->done) { /* and then once more */
            turn->pc--;
            turn->waits_slot = slot;
            gb_turn_park(self, turn->slots[slot]->call);
            return true;
        }
        turn->pc++;
        turn->waits_slot = -1;
        turn->last_rc = turn->slots[slot]->rc;
        turn->value += turn->slots[slot]->value;
        waiter_free(turn->slots[slot]);
        turn->slots[slot] = NULL;
        return false;
    case OP_PARK:
        turn->pc++;
        turn->parked_as = slot;
        if (!k->threads) k->parked[slot] = turn;
        gb_turn_park(self, NULL);
        return true;
    case OP_SLEEP:
        turn->pc++;
        gb_turn_park(self, NULL);
        if (gb_timer_add(&worker->timers, &turn->timer, worker->now,
                         worker->now + (uint64_t)arg[0]) < 0)
            gb_turn_wake(self);
        return true;
    default:
        gb_turn_park(self, NULL);
        gb_turn_wake(self);
        return true;
    }
}

static void note(kit *k, int64_t n)
{
    if (!k->threads && k->note_count < 256) k->notes[k->note_count++] = n;
}

static void op_at_once(kit_turn *turn, int64_t op, const int64_t *arg)
{
    kit *k = turn->kit;
    gb_worker *worker = here(turn->call);
    kit_grain *g = kit_grain_of(worker, turn->act);
    kit_order o;
    waiter *w;
    switch (op) {
    case OP_ADD:
        turn->pc++;
        g->number += arg[0];
        turn->value = g->number;
        break;
    case OP_GET:
        turn->value = g->number;
        break;
    case OP_ASYNC:
        turn->pc++;
        gb_call *sent;
        o = take_order(turn, true);
        if (!turn->slots[arg[0]]) turn->last_rc = turn_send(turn, o, 0, (int)arg[0], &sent);
        break;
    case OP_CANCEL:
        turn->pc++;
        w = turn->slots[arg[0]];
        if (w && !w->done) gb_call_abandon(w->call, GB_ECANCELED, "cancelled");
        break;
    case OP_STOP:
        gb_act_stop(worker, turn->act, GB_END_ASKED);
        break;
    case OP_NOTE:
        turn->pc++;
        note(k, arg[0]);
        break;
    case OP_SEEN:
        note(k, atomic_load(&turn->call->cancelled));
        break;
    case OP_SPAWN:
        turn->last_rc = turn_spawn(turn, take_order(turn, false));
        break;
    case OP_TIMER:
        turn->pc += 2;
        o = take_order(turn, false);
        gb_buf args = {.data = (uint8_t *)o.words, .size = (size_t)o.count * 8};
        turn->last_rc = gb_act_timer_start(worker, turn->act, k->run, (uint64_t)arg[0],
                                           (uint64_t)arg[1], &args, &g->timer_id);
        break;
    case OP_TIMER_STOP:
        gb_act_timer_stop(worker, turn->act, g->timer_id);
        break;
    default:
        GB_UNREACHABLE();
    }
}

static int kind_run(gb_call *call)
{
    kit_turn *turn = call->body;
    kit *k = turn->kit;
    atomic_fetch_add_explicit(&k->turns, 1, memory_order_relaxed);
    if (turn->parked_as >= 0 && k->parked[turn->parked_as] == turn)
        k->parked[turn->parked_as] = NULL;
    if (!k->threads) {
        uint64_t seen[] = {gb_now(k->sys), call->type->id, (uint64_t)turn->act->key.number,
                           (uint64_t)turn->pc, (uint64_t)here(call)->index};
        k->trace = gb_hash_mix(k->trace ^ gb_hash_bytes(seen, sizeof seen, 1));
    }
    while (turn->pc < turn->prog.count) {
        int64_t op = turn->prog.word[turn->pc++];
        const int64_t *arg = &turn->prog.word[turn->pc];
        if (op == OP_FAIL) return turn_fail(turn, (int)arg[0], "boom");
        if (op == OP_MUST) {
            if (turn->last_rc < 0) return turn_fail(turn, turn->last_rc, "a call failed");
            continue;
        }
        if (op != OP_CALL && op != OP_TELL && op != OP_AWAIT && op != OP_PARK && op != OP_SLEEP &&
            op != OP_YIELD) {
            op_at_once(turn, op, arg);
            continue;
        }
        if (op_waits(turn, op, arg)) return GB_RUN_PARKED;
    }
    return GB_RUN_DONE;
}

bool kit_wake(kit *k, int name)
{
    kit_turn *turn = k->parked[name];
    if (!turn) return false;
    k->parked[name] = NULL;
    gb_turn_wake(turn->call);
    return true;
}

/* ---- instances ---- */

static int kind_load(gb_worker *worker, gb_type *type)
{
    kit *k = kit_of(worker);
    kit_type *conf = &k->conf[type->id];
    if (!k->threads) conf->loads++;
    type->local[worker->index].has_activate = conf->activate.count > 0;
    type->local[worker->index].has_deactivate = conf->deactivate.count > 0;
    if (conf->load == KIT_LOAD_FAILS) return gb_err_set(GB_ENOENT, "the module is not there");
    if (conf->load == KIT_LOAD_READY) return GB_OP_READY;
    conf->loading[conf->loading_count++ % 8] = worker;
    return GB_OP_PENDING;
}

static atomic_int *live_of(kit *k, gb_act *act)
{
    if (act->key_size != GB_ACT_KEY_NUMBER || (uint64_t)act->key.number >= KIT_KEYS ||
        act->type->options.placement == GB_PLACE_STATELESS)
        return NULL;
    return &k->live[act->type->id][act->key.number];
}

static int kind_open(gb_worker *worker, gb_act *act)
{
    kit_shelf *s = worker->body;
    kit *k = s->kit;
    kit_type *conf = &k->conf[act->type->id];
    if (atomic_load(&conf->open_fails) > 0 && atomic_fetch_sub(&conf->open_fails, 1) > 0)
        return gb_err_set(GB_EINVAL, "the instance does not open");
    if (act->slot >= s->count) {
        uint32_t count = s->count ? s->count : 64;
        while (count <= act->slot) count *= 2;
        kit_grain **grains =
            gb_mem_realloc(&k->mem, s->grains, s->count * sizeof *grains, count * sizeof *grains);
        if (!grains) return GB_ENOMEM;
        s->grains = grains;
        s->count = count;
    }
    kit_grain *g = gb_mem_zalloc(&k->mem, sizeof *g);
    if (!g) return GB_ENOMEM;
    s->grains[act->slot] = g;
    atomic_fetch_add(&k->instances, 1);
    atomic_int *live = live_of(k, act);
    if (live && atomic_fetch_add(live, 1) != 0) kit_broken(k, "two activations of one id");
    return 0;
}

static void kind_close(gb_worker *worker, gb_act *act)
{
    kit_shelf *s = worker->body;
    kit *k = s->kit;
    if (s->grains[act->slot]->turns) kit_broken(k, "closed while a turn has it");
    gb_mem_free(&k->mem, s->grains[act->slot], sizeof(kit_grain));
    s->grains[act->slot] = NULL;
    atomic_fetch_sub(&k->instances, 1);
    atomic_int *live = live_of(k, act);
    if (live) atomic_fetch_sub(live, 1);
}

const gb_kind kit_kind = {
    .name = "kit",
    .load = kind_load,
    .open = kind_open,
    .close = kind_close,
    .unpack = kind_unpack,
    .run = kind_run,
    .pack = kind_pack,
    .drop = kind_drop,
};
