/* What grains do, wait for and cost, for gb.look and gb.silo: read on the worker that has them. */
#include "base/hist.h"
#include "gpu/gpu.h"
#include "lua/device.h"
#include "lua/state.h"

#include <string.h>

enum { QUEUE_SHOWN = 20 };

static void set_number(lua_State *L, const char *name, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

/* ---- types ---- */

/* The buckets in use, [number] = count: what is taken from others of its kind, or added to them, is
 * one again. */
static void push_hist(lua_State *L, const gb_hist *hist)
{
    lua_newtable(L);
    for (int i = 0; i < GB_HIST_BUCKETS; i++) {
        if (!hist->buckets[i]) continue;
        lua_pushnumber(L, (double)hist->buckets[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

/* core.type_figures(): of each type that has ever been used on this worker: name, active, calls,
 * queued, pace. */
static int core_type_figures(lua_State *L)
{
    gb_worker *worker = gbl_of(L)->worker;
    int at = 0;
    lua_newtable(L);
    for (uint32_t i = 0; i < gb_type_count(worker->silo); i++) {
        const gb_type *type = gb_type_at(worker->silo, i);
        const struct gb_type_local *local = &type->local[worker->index];
        if (type->name->text[0] == '$' || !atomic_load(&local->activated)) continue;
        lua_createtable(L, 0, 5);
        set_text(L, "name", type->name->text);
        set_number(L, "active", atomic_load(&local->count));
        set_number(L, "calls", (double)local->calls);
        set_number(L, "queued", (double)local->queued);
        if (local->pace) {
            push_hist(L, local->pace);
            lua_setfield(L, -2, "pace");
        }
        lua_rawseti(L, -2, ++at);
    }
    return 1;
}

/* core.quantile(pace, part): seconds, or nil when nothing was timed. */
static int core_quantile(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    double part = luaL_checknumber(L, 2);
    gb_hist *hist = lua_newuserdata(L, sizeof *hist);
    *hist = (gb_hist){.max = UINT64_MAX};
    for (int i = 0; i < GB_HIST_BUCKETS; i++) {
        lua_rawgeti(L, 1, i + 1);
        double count = lua_tonumber(L, -1);
        lua_pop(L, 1);
        if (!(count > 0)) continue;
        hist->buckets[i] = (uint64_t)count;
        hist->count += (uint64_t)count;
    }
    if (!hist->count) return 0;
    lua_pushnumber(L, (double)gb_hist_quantile(hist, part) / 1e9);
    return 1;
}

/* ---- one grain ---- */

static double seconds_since(const gb_worker *worker, uint64_t then)
{
    uint64_t now = gb_now(worker->silo->sys);
    return now > then ? (double)(now - then) / 1e9 : 0;
}

static int64_t device_bytes(gbl_state *state, const gb_act *act)
{
    struct gb_gpu *gpu = state->config.gpu;
    if (!gpu || gb_gpu_devices_open(gpu) <= 0) return 0;
    gbl_payer payer = gbl_payer_of(state, act);
    return gb_ledger_owner(gb_gpu_ledger(gpu), payer.tenant, payer.owner).bytes;
}

/* What counts for one activation, as a table; with_self: its instance too. */
static void push_figures(lua_State *L, const gb_act *act, bool with_self)
{
    gbl_state *state = gbl_of(L);
    lua_createtable(L, 0, 10);
    set_text(L, "type", act->type->name->text);
    gbl_push_key(L, gb_act_key(act));
    lua_setfield(L, -2, "key");
    set_number(L, "calls", (double)act->calls);
    set_number(L, "queued", act->queued);
    set_number(L, "device_bytes", (double)device_bytes(state, act));
    if (gb_act_slow_ns(act)) set_number(L, "p99", (double)gb_act_slow_ns(act) / 1e9);
    if (!with_self) return;
    gbl_push_self(state, L, act);
    lua_setfield(L, -2, "self");
}

static void push_who(lua_State *L, gb_call *turn)
{
    if (!turn->body || gbl_push_caller(L, turn) != 2) return;
    lua_setfield(L, -3, "caller_key");
    lua_setfield(L, -2, "caller");
}

static void push_awaited(lua_State *L, const gb_call *turn)
{
    const gb_call *call = turn->waits;
    if (!call || call->serial != turn->waits_serial || !call->type) return;
    set_text(L, "waits_for", call->type->name->text);
    gbl_push_key(L, !call->away && call->act ? gb_act_key(call->act) : call->key);
    lua_setfield(L, -2, "waits_key");
    if (call->method) set_text(L, "waits_method", call->method->text);
}

static void push_turn(lua_State *L, gb_call *turn)
{
    gb_worker *worker = gbl_of(L)->worker;
    uint64_t now = gb_now(worker->silo->sys);
    lua_createtable(L, 0, 8);
    if (turn->method) set_text(L, "method", turn->method->text);
    set_text(L, "state",
             worker->current == turn        ? "running"
             : turn->state & GB_AT_QUEUED   ? "queued"
             : !(turn->state & GB_AT_READY) ? "waiting"
                                            : "ready");
    if (turn->flags & GB_CALL_DETACHED) set_text(L, "kind", "spawned");
    if (turn->flags & GB_CALL_ONEWAY) set_text(L, "kind", "tell");
    if (turn->flags & GB_CALL_TICK) set_text(L, "kind", "timer");
    if (turn->flags & GB_CALL_HOOK) set_text(L, "kind", "hook");
    set_number(L, "age", seconds_since(worker, turn->came));
    if (turn->deadline != GB_FOREVER)
        set_number(L, "deadline", ((double)turn->deadline - (double)now) / 1e9);
    push_who(L, turn);
    if (turn->state & GB_AT_PARKED) push_awaited(L, turn);
}

static void push_queue(lua_State *L, const gb_act *act)
{
    int at = 0;
    lua_newtable(L);
    for (gb_call *call = act->queue; call && at < QUEUE_SHOWN; call = call->next) {
        push_turn(L, call);
        lua_rawseti(L, -2, ++at);
    }
    lua_setfield(L, -2, "queue");
    int room = 0;
    for (gb_call *call = act->room; call; call = call->next) room++;
    set_number(L, "waiting_for_room", room);
}

static void push_act(lua_State *L, const gb_act *act)
{
    static const char *const states[] = {"free", "starting", "active", "stopping", "forward"};
    const gb_worker *worker = gbl_of(L)->worker;
    int at = 0;
    push_figures(L, act, true);
    set_text(L, "state", act->wants_end ? "stopping" : states[act->state]);
    set_number(L, "worker", worker->index);
    if (act->running == 0 && act->last) set_number(L, "idle", seconds_since(worker, act->last));
    lua_newtable(L);
    for (gb_call *turn = act->turns; turn; turn = turn->turn_next) {
        push_turn(L, turn);
        lua_rawseti(L, -2, ++at);
    }
    lua_setfield(L, -2, "turns");
    push_queue(L, act);
    set_number(L, "max_queue", act->type->options.queue_max);
}

typedef struct finder {
    lua_State *L;
    gb_key key;
    int count;
} finder;

static void find_act(gb_act *act, void *user)
{
    finder *f = user;
    if (!gb_key_equal(gb_act_key(act), f->key)) return;
    push_act(f->L, act);
    lua_rawseti(f->L, -2, ++f->count);
}

/* core.inspect(type name, key): a list of its activations on this worker: more than one of a
 * stateless type. */
static int core_inspect(lua_State *L)
{
    gb_worker *worker = gbl_of(L)->worker;
    gb_type *type = gb_type_find(worker->silo, luaL_checkstring(L, 1));
    size_t size = 0;
    const char *text = lua_type(L, 2) == LUA_TNUMBER ? NULL : luaL_checklstring(L, 2, &size);
    finder f = {L, text ? gb_key_text(text, size) : gb_key_number((int64_t)lua_tonumber(L, 2)), 0};
    lua_newtable(L);
    if (!type) return 1;
    if (type->options.placement == GB_PLACE_STATELESS) {
        gb_act_each(worker, type, find_act, &f);
        return 1;
    }
    gb_act *act = gb_act_find(worker, type, f.key);
    if (act && act->state != GB_ACT_FORWARD && !act->bare) find_act(act, &f);
    return 1;
}

/* ---- the busiest ---- */

typedef enum { BY_CALLS, BY_QUEUE, BY_P99, BY_BYTES } order;
static const char *const orders[] = {"calls", "queue", "p99", "bytes", NULL};

typedef struct search {
    lua_State *L;
    order by;
    const char *type; /* NULL: all */
    double least;     /* others are of no interest */
    int count;
} search;

static double worth(const gb_act *act, order by)
{
    if (by == BY_CALLS) return (double)act->calls;
    if (by == BY_QUEUE) return act->queued;
    return (double)gb_act_slow_ns(act) / 1e9;
}

static void see_act(gb_act *act, void *user)
{
    search *s = user;
    const char *name = act->type->name->text;
    if (name[0] == '$' || (s->type && strcmp(name, s->type) != 0)) return;
    if (s->by != BY_BYTES && worth(act, s->by) <= s->least) return;
    push_figures(s->L, act, true);
    lua_rawseti(s->L, -2, ++s->count);
}

/* core.busiest(chunk, order, least, type or nil): the activations of a chunk that are worth more;
 * nil: there is no such chunk. */
static int core_busiest(lua_State *L)
{
    uint32_t chunk = (uint32_t)luaL_checknumber(L, 1);
    search s = {L, (order)luaL_checkoption(L, 2, NULL, orders), luaL_optstring(L, 4, NULL),
                luaL_checknumber(L, 3), 0};
    lua_newtable(L);
    return gb_act_each_of(gbl_of(L)->worker, chunk, see_act, &s) ? 1 : 0;
}

void gbl_open_inspect(lua_State *L)
{
    static const luaL_Reg functions[] = {{"type_figures", core_type_figures},
                                         {"quantile", core_quantile},
                                         {"inspect", core_inspect},
                                         {"busiest", core_busiest},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
