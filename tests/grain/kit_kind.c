#include "kit_kind.h"

#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OP_ADD,
    OP_GET,
    OP_FAIL,
    OP_CALL,
    OP_TELL,
    OP_ASYNC,
    OP_AWAIT,
    OP_CANCEL,
    OP_MUST,
    OP_PARK,
    OP_SLEEP,
    OP_YIELD,
    OP_STOP,
    OP_NOTE,
    OP_SEEN,
    OP_SPAWN,
    OP_TIMER,
    OP_TIMER_STOP
};

typedef struct grain {
    int64_t number;
    uint64_t timer_id;
    int turns;
} grain;

/* worker->body: its instances by slot. */
typedef struct shelf {
    kit *kit;
    grain **grains;
    uint32_t count;
} shelf;

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

static void broken(kit *k, const char *what)
{
    fprintf(stderr, "# broken at %llu ns: %s\n", (unsigned long long)gb_now(k->sys), what);
    atomic_fetch_add(&k->wrong, 1);
}

static kit *kit_of(gb_worker *worker)
{
    return ((shelf *)worker->body)->kit;
}

static grain *grain_of(gb_worker *worker, const gb_act *act)
{
    return ((shelf *)worker->body)->grains[act->slot];
}

static gb_worker *here(gb_call *call)
{
    return atomic_load_explicit(&call->at, memory_order_relaxed);
}

/* ---- programs ---- */

static void put(kit_prog *prog, int64_t word)
{
    GB_CHECK(prog->count < KIT_WORDS);
    prog->word[prog->count++] = word;
}

static void put_inner(kit_prog *prog, const kit_prog *inner)
{
    put(prog, inner ? inner->count : 0);
    for (int i = 0; inner && i < inner->count; i++) put(prog, inner->word[i]);
}

static void put_to(kit_prog *prog, kit_to to)
{
    put(prog, to.type);
    put(prog, to.key);
    put(prog, to.timeout_ns);
    put(prog, to.priority);
}

#define OP0(name, op)                                                                              \
    void kit_##name(kit_prog *prog)                                                                \
    {                                                                                              \
        put(prog, op);                                                                             \
    }
#define OP1(name, op, type)                                                                        \
    void kit_##name(kit_prog *prog, type n)                                                        \
    {                                                                                              \
        put(prog, op);                                                                             \
        put(prog, n);                                                                              \
    }
OP0(get, OP_GET)
OP0(must, OP_MUST)
OP0(yield, OP_YIELD)
OP0(stop, OP_STOP)
OP0(seen, OP_SEEN)
OP0(timer_stop, OP_TIMER_STOP)
OP1(add, OP_ADD, int64_t)
OP1(fail, OP_FAIL, int64_t)
OP1(await, OP_AWAIT, int)
OP1(cancel, OP_CANCEL, int)
OP1(park, OP_PARK, int)
OP1(sleep, OP_SLEEP, int64_t)
OP1(note, OP_NOTE, int64_t)

void kit_call(kit_prog *prog, kit_to to, const kit_prog *inner)
{
    put(prog, OP_CALL);
    put_to(prog, to);
    put_inner(prog, inner);
}

void kit_tell(kit_prog *prog, kit_to to, const kit_prog *inner)
{
    put(prog, OP_TELL);
    put_to(prog, to);
    put_inner(prog, inner);
}

void kit_async(kit_prog *prog, int slot, kit_to to, const kit_prog *inner)
{
    put(prog, OP_ASYNC);
    put(prog, slot);
    put_to(prog, to);
    put_inner(prog, inner);
}

void kit_spawn(kit_prog *prog, const kit_prog *inner)
{
    put(prog, OP_SPAWN);
    put_inner(prog, inner);
}

void kit_timer(kit_prog *prog, int64_t after_ns, int64_t every_ns, const kit_prog *tick)
{
    put(prog, OP_TIMER);
    put(prog, after_ns);
    put(prog, every_ns);
    put_inner(prog, tick);
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
    grain *g = grain_of(here(turn->call), act);
    turn->counted = true;
    g->turns++;
    if (act->type->options.reentrant == GB_REENTRANT_NO && g->turns != 1)
        broken(k, "two turns of one non-reentrant activation");
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
    if (turn->counted) grain_of(here(call), turn->act)->turns--;
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

static int64_t result_of(const gb_call *call)
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
    if (w->done++) broken(k, "done ran twice");
    kit_turn *turn = w->turn;
    if (!turn) {
        waiter_free(w);
        return;
    }
    w->rc = call->rc;
    w->value = result_of(call);
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

typedef struct order {
    kit_to to;
    const int64_t *words;
    int count;
} order;

static order take_order(kit_turn *turn, bool to)
{
    const int64_t *word = &turn->prog.word[turn->pc];
    order o = {0};
    if (to) {
        o.to = (kit_to){(int)word[0], word[1], word[2], (int)word[3]};
        word += 4;
    }
    o.count = (int)word[0];
    o.words = word + 1;
    turn->pc = (int)(o.words + o.count - turn->prog.word);
    return o;
}

static int call_fill(kit *k, gb_call *call, order o, uint8_t flags)
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
static int turn_send(kit_turn *turn, order o, uint8_t flags, int slot, gb_call **out)
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
    int rc = call_fill(k, call, o, flags);
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

static int turn_spawn(kit_turn *turn, order o)
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
    grain *g = grain_of(worker, turn->act);
    order o;
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
    if (act->key_size != UINT32_MAX || (uint64_t)act->key.number >= KIT_KEYS ||
        act->type->options.placement == GB_PLACE_STATELESS)
        return NULL;
    return &k->live[act->type->id][act->key.number];
}

static int kind_open(gb_worker *worker, gb_act *act)
{
    shelf *s = worker->body;
    kit *k = s->kit;
    kit_type *conf = &k->conf[act->type->id];
    if (atomic_load(&conf->open_fails) > 0 && atomic_fetch_sub(&conf->open_fails, 1) > 0)
        return gb_err_set(GB_EINVAL, "the instance does not open");
    if (act->slot >= s->count) {
        uint32_t count = s->count ? s->count : 64;
        while (count <= act->slot) count *= 2;
        grain **grains =
            gb_mem_realloc(&k->mem, s->grains, s->count * sizeof *grains, count * sizeof *grains);
        if (!grains) return GB_ENOMEM;
        s->grains = grains;
        s->count = count;
    }
    grain *g = gb_mem_zalloc(&k->mem, sizeof *g);
    if (!g) return GB_ENOMEM;
    s->grains[act->slot] = g;
    atomic_fetch_add(&k->instances, 1);
    atomic_int *live = live_of(k, act);
    if (live && atomic_fetch_add(live, 1) != 0) broken(k, "two activations of one id");
    return 0;
}

static void kind_close(gb_worker *worker, gb_act *act)
{
    shelf *s = worker->body;
    kit *k = s->kit;
    if (s->grains[act->slot]->turns) broken(k, "closed while a turn has it");
    gb_mem_free(&k->mem, s->grains[act->slot], sizeof(grain));
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

/* ---- the silo of a test ---- */

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
        shelf *s = gb_mem_zalloc(&k->mem, sizeof *s);
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
            broken(k, "not all was ended by gb_silo_stop");
        for (int i = 0; i < k->silo->worker_count; i++) {
            shelf *s = k->silo->workers[i]->body;
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
    ask->value = result_of(call);
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
    order o = {.to = to, .words = prog->word, .count = prog->count};
    ask->sent = call_fill(k, call, o, flags);
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

bool kit_wake(kit *k, int name)
{
    kit_turn *turn = k->parked[name];
    if (!turn) return false;
    k->parked[name] = NULL;
    gb_turn_wake(turn->call);
    return true;
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
        if (act && act->state != GB_ACT_FORWARD && !act->bare) return grain_of(worker, act)->number;
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
            broken(l->kit, "a call in the queue that does not know it");
        if (call->next && call->next->priority > call->priority)
            broken(l->kit, "a queue that is not in the order of priorities");
    }
    for (gb_call *call = act->room; call; call = call->next)
        if (!(call->state & GB_AT_ROOM) || call->act != act)
            broken(l->kit, "a call that waits for room and does not know it");
    for (gb_call *turn = act->turns; turn; turn = turn->turn_next) {
        if (!(turn->flags & GB_CALL_DETACHED)) running++;
        if (turn->act != act) broken(l->kit, "a turn of another activation");
        if (!(turn->state & (GB_AT_PARKED | GB_AT_READY)))
            broken(l->kit, "a turn that is neither parked nor ready between passes");
    }
    if (queued != act->queued) broken(l->kit, "the count of a queue is wrong");
    if (queued > options->queue_max) broken(l->kit, "a queue over its bound");
    if (act->room && !act->queue) broken(l->kit, "calls wait for room at an empty queue");
    if (running != act->running) broken(l->kit, "the count of turns is wrong");
    if (options->reentrant == GB_REENTRANT_NO && running > 1) broken(l->kit, "two turns at once");
    if (act->state == GB_ACT_ACTIVE && act->queue && running == 0)
        broken(l->kit, "calls wait and nothing runs");
    if (act->state == GB_ACT_ACTIVE && running == 0 && !options->keep_alive &&
        gb_list_empty(&act->idle))
        broken(l->kit, "an idle activation that is not in the list of idle ones");
}

void kit_check(kit *k)
{
    for (int i = 0; i < k->silo->worker_count; i++) {
        look l = {k, k->silo->workers[i]};
        gb_act_each(l.worker, NULL, check_act, &l);
        for (uint32_t type = 0; type < gb_type_count(k->silo); type++) {
            struct gb_type_local *local = &gb_type_at(k->silo, type)->local[i];
            if (!gb_list_empty(&local->idle) && !gb_timer_armed(&local->idle_timer))
                broken(k, "idle activations and no timer");
        }
    }
}

void kit_settle(kit *k)
{
    do {
        kit_check(k);
    } while (gb_silo_pass(k->silo));
}
