/* Grains in Lua, as the grain room sees them (grain/kind.h). */
#include "lua/state.h"

#include "base/check.h"
#include "base/err.h"

#include <stdio.h>
#include <string.h>

static gbl_state *state_of(gb_call *call)
{
    return atomic_load_explicit(&call->at, memory_order_relaxed)->body;
}

/* ---- instances ---- */

static int chunk_of(gbl_state *state, uint32_t slot, bool make)
{
    uint32_t chunk = slot / GB_ACTS_PER_CHUNK;
    if (chunk >= state->chunk_count) {
        if (!make) return 0;
        uint32_t count = state->chunk_count ? state->chunk_count * 2 : 16;
        while (count <= chunk) count *= 2;
        int *refs = gb_mem_realloc(&state->mem, state->chunk_refs,
                                   state->chunk_count * sizeof *refs, count * sizeof *refs);
        if (!refs) return GB_ENOMEM;
        memset(refs + state->chunk_count, 0, (count - state->chunk_count) * sizeof *refs);
        state->chunk_refs = refs;
        state->chunk_count = count;
    }
    if (!state->chunk_refs[chunk] && make) {
        lua_createtable(state->L, GB_ACTS_PER_CHUNK, 0);
        state->chunk_refs[chunk] = luaL_ref(state->L, LUA_REGISTRYINDEX);
    }
    return state->chunk_refs[chunk];
}

void gbl_push_self(gbl_state *state, lua_State *L, const gb_act *act)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->chunk_refs[act->slot / GB_ACTS_PER_CHUNK]);
    lua_rawgeti(L, -1, (int)(act->slot % GB_ACTS_PER_CHUNK) + 1);
    lua_replace(L, -2);
}

void gbl_type_forget(gbl_state *state, gbl_type *own)
{
    lua_State *L = state->L;
    for (uint32_t i = 0; i < own->fn_count; i++)
        if (own->fn_refs[i] > 0) luaL_unref(L, LUA_REGISTRYINDEX, own->fn_refs[i]);
    if (own->fn_refs) memset(own->fn_refs, 0, own->fn_count * sizeof *own->fn_refs);
    if (own->activate_ref) luaL_unref(L, LUA_REGISTRYINDEX, own->activate_ref);
    if (own->deactivate_ref) luaL_unref(L, LUA_REGISTRYINDEX, own->deactivate_ref);
    if (own->make_ref) luaL_unref(L, LUA_REGISTRYINDEX, own->make_ref);
    own->activate_ref = own->deactivate_ref = own->make_ref = 0;
    own->complete = false;
}

static int ref_or_none(lua_State *L)
{
    if (lua_isfunction(L, -1)) return luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
    return 0;
}

void gbl_type_complete(lua_State *L, gbl_type *own)
{
    gbl_state *state = gbl_of(L);
    struct gb_type_local *local = &own->type->local[state->worker->index];
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->core_ref);
    lua_getfield(L, -1, "complete");
    lua_rawgeti(L, LUA_REGISTRYINDEX, own->meta_ref);
    lua_call(L, 1, 3);
    own->make_ref = ref_or_none(L);
    own->deactivate_ref = ref_or_none(L);
    own->activate_ref = ref_or_none(L);
    lua_pop(L, 1);
    local->has_activate = own->activate_ref != 0;
    local->has_deactivate = own->deactivate_ref != 0;
    own->complete = true;
}

typedef struct instance {
    gbl_state *state;
    gb_act *act;
    int rc;
} instance;

static int open_protected(lua_State *L)
{
    instance *in = lua_touserdata(L, 1);
    gbl_type *own = gbl_type_of(in->state, in->act->type);
    int chunk = chunk_of(in->state, in->act->slot, true);
    if (chunk < 0) {
        in->rc = chunk;
        return 0;
    }
    if (!own->complete) gbl_type_complete(L, own);
    lua_rawgeti(L, LUA_REGISTRYINDEX, chunk);
    lua_rawgeti(L, LUA_REGISTRYINDEX, own->make_ref);
    lua_pushnumber(L, gbl_handle(in->act));
    lua_call(L, 1, 1);
    lua_rawseti(L, -2, (int)(in->act->slot % GB_ACTS_PER_CHUNK) + 1);
    return 0;
}

static int kind_open(gb_worker *worker, gb_act *act)
{
    instance in = {worker->body, act, 0};
    int rc = gbl_protect(in.state, GBL_RUN_OPEN, &in);
    return rc < 0 ? rc : in.rc;
}

static void kind_close(gb_worker *worker, gb_act *act)
{
    gbl_state *state = worker->body;
    int chunk = chunk_of(state, act->slot, false);
    if (chunk <= 0) return;
    lua_rawgeti(state->L, LUA_REGISTRYINDEX, chunk);
    lua_pushnil(state->L);
    lua_rawseti(state->L, -2, (int)(act->slot % GB_ACTS_PER_CHUNK) + 1);
    lua_pop(state->L, 1);
}

/* ---- methods ---- */

static bool class_has(gbl_state *state, gbl_type *own, const gb_sym *sym)
{
    lua_State *L = state->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, own->class_ref);
    lua_pushlstring(L, sym->text, sym->size);
    lua_rawget(L, -2);
    bool has = lua_isfunction(L, -1);
    lua_pop(L, 2);
    return has;
}

/* The registry reference of a method of a type; -1: none; 0: out of memory. */
int gbl_method(gbl_state *state, gbl_type *own, const gb_sym *sym)
{
    if (__builtin_expect(sym->id == GB_SYM_LOOSE, 0)) { /* kept from now on, if it is a method */
        const gb_sym *kept = gb_sym_find(state->worker->silo, sym->text, sym->size);
        if (!kept && !class_has(state, own, sym)) return -1;
        if (!kept) kept = gb_sym_get(state->worker->silo, sym->text, sym->size);
        if (!kept) return 0;
        sym = kept;
    }
    if (sym->id >= own->fn_count) {
        uint32_t count = own->fn_count ? own->fn_count : 32;
        while (count <= sym->id) count *= 2;
        int *refs = gb_mem_realloc(&state->mem, own->fn_refs, own->fn_count * sizeof *refs,
                                   count * sizeof *refs);
        if (!refs) return 0;
        memset(refs + own->fn_count, 0, (count - own->fn_count) * sizeof *refs);
        own->fn_refs = refs;
        own->fn_count = count;
    }
    if (own->fn_refs[sym->id]) return own->fn_refs[sym->id];
    lua_State *L = state->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, own->class_ref);
    lua_pushlstring(L, sym->text, sym->size);
    lua_rawget(L, -2);
    if (lua_isfunction(L, -1)) {
        own->fn_refs[sym->id] = luaL_ref(L, LUA_REGISTRYINDEX);
        lua_pop(L, 1);
    } else {
        own->fn_refs[sym->id] = -1;
        lua_pop(L, 2);
    }
    return own->fn_refs[sym->id];
}

/* A failure of a turn that nobody waits for. */
static void log_unheard(gbl_state *state, gb_call *call, const char *how, const char *message,
                        const char *traceback)
{
    const char *method = call->method ? call->method->text : "?";
    bool script = call->act->type->name->text[0] == '$'; /* the worker's own grain */
    bool handler = script || strcmp(method, "_gb_deliver") == 0;
    char id[256];
    gb_key_print(id, sizeof id, call->type, gb_act_key(call->act));
    if (script) snprintf(id, sizeof id, "the script");
    gb_log_put(state->worker->silo->config.log, GB_LOG_WARN, gb_wall(state->worker->silo->sys),
               NULL, "%s%s%s %s and nobody waits for it: %s%s%s", id, handler ? ", " : ":",
               handler ? "a handler of gb.subscribe" : method, how, message ? message : "?",
               traceback ? "\n" : "", traceback ? traceback : "");
}

static void fail_no_method(gbl_state *state, gb_call *call, gbl_type *own)
{
    lua_State *L = state->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->core_ref);
    lua_getfield(L, -1, "no_method");
    lua_pushstring(L, call->type->name->text);
    lua_pushstring(L, call->method->text);
    lua_rawgeti(L, LUA_REGISTRYINDEX, own->class_ref);
    const char *text = "no such method";
    if (lua_pcall(L, 3, 1, 0) == 0 && lua_isstring(L, -1)) text = lua_tostring(L, -1);
    gb_call_fail(call, GB_ENOMETHOD, "%s", text);
    if (call->flags & (GB_CALL_ONEWAY | GB_CALL_TICK))
        log_unheard(state, call, "failed", text, NULL);
    lua_pop(L, 2);
}

bool gbl_stale(gbl_state *state, gbl_type *own, const gb_act *act)
{
    if (__builtin_expect(!own->reloaded, 1)) return false;
    lua_State *L = state->L;
    int top = lua_gettop(L);
    gbl_push_self(state, L, act);
    bool has = lua_getmetatable(L, -1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, own->meta_ref);
    bool stale = has && !lua_rawequal(L, -1, -2);
    lua_settop(L, top);
    return stale;
}

/* Pushes the method of an instance that is older than its class, or nil; it may be brought up to
 * date (lua/gb/reload.lua). */
static void push_stale(gbl_state *state, lua_State *L, gb_call *call)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->core_ref);
    lua_getfield(L, -1, "stale");
    lua_remove(L, -2);
    gbl_push_self(state, L, call->act);
    if (call->flags & GB_CALL_HOOK)
        lua_pushnil(L);
    else
        lua_pushstring(L, call->method->text);
    lua_pushboolean(L, call->act->running > 1); /* this turn is one */
    lua_call(L, 3, 1);
}

/* Pushes what runs onto the coroutine; false: the call has failed. */
static bool push_method(gbl_state *state, lua_State *L, gb_call *call, gbl_type *own)
{
    lua_State *to = ((gbl_co *)call->body)->L;
    bool hook = call->flags & GB_CALL_HOOK;
    if (__builtin_expect(gbl_stale(state, own, call->act), 0)) {
        push_stale(state, L, call);
        if (lua_isfunction(L, -1)) {
            lua_xmove(L, to, 1);
            return true;
        }
        lua_pop(L, 1);
        if (!hook) {
            fail_no_method(state, call, own);
            return false;
        }
    }
    int fn = !hook                                 ? gbl_method(state, own, call->method)
             : call->act->state == GB_ACT_STOPPING ? own->deactivate_ref
                                                   : own->activate_ref;
    if (fn > 0)
        lua_rawgeti(to, LUA_REGISTRYINDEX, fn);
    else if (fn < 0 || hook)
        fail_no_method(state, call, own);
    else
        gb_call_fail(call, GB_ENOMEM, "%s", gb_err_detail());
    return fn > 0;
}

/* Of a call's bytes those that name its caller. */
static size_t caller_bytes(const gb_call *call)
{
    if (call->named) return call->named - 1;
    return gbl_caller_size(call->bytes.data, call->bytes.size);
}

/* The short way: a method that was called before, with nil, booleans and numbers. Nothing of it can
 * raise, so it needs no protection. False: nothing has changed. */
static bool unpack_scalars(gbl_state *state, gb_call *call, gbl_co *co)
{
    gbl_type *own = gbl_type_of(state, call->type);
    uint32_t id = call->method ? call->method->id : UINT32_MAX;
    if (call->flags & GB_CALL_HOOK || !own || own->reloaded || id >= own->fn_count ||
        own->fn_refs[id] <= 0)
        return false;
    size_t caller = caller_bytes(call);
    lua_rawgeti(co->L, LUA_REGISTRYINDEX, own->fn_refs[id]);
    gbl_push_self(state, co->L, call->act);
    int count = gbl_decode_scalars(co->L, call->bytes.data + caller, call->bytes.size - caller);
    if (count < 0) {
        lua_pop(co->L, 2);
        return false;
    }
    co->caller = (uint32_t)caller;
    co->pushed = count + 1;
    return true;
}

static int unpack_protected(lua_State *L)
{
    gb_call *call = lua_touserdata(L, 1);
    gbl_state *state = gbl_of(L);
    gbl_co *co = call->body;
    if (!push_method(state, L, call, gbl_type_of(state, call->type))) return 0;
    gbl_push_self(state, co->L, call->act);
    co->pushed = 1;
    if (call->flags & GB_CALL_HOOK) {
        if (call->act->state == GB_ACT_STOPPING) {
            lua_pushstring(co->L, gb_end_name(call->act->end));
            co->pushed = 2;
        }
        return 0;
    }
    if (call->bytes.size == 0) return 0;
    size_t caller = caller_bytes(call);
    co->caller = (uint32_t)caller;
    int count = gbl_decode(L, (const char *)call->bytes.data + caller, call->bytes.size - caller,
                           call->blocks, call->block_count, gbl_from_of(call));
    if (count < 0) {
        gb_call_fail(call, count, "%s", gb_err_detail());
        return 0;
    }
    if (count > 8 && !lua_checkstack(co->L, count + 8)) return luaL_error(L, "too many arguments");
    lua_xmove(L, co->L, count);
    co->pushed += count;
    return 0;
}

static int kind_unpack(gb_call *call)
{
    gbl_state *state = state_of(call);
    gbl_co *co = gbl_co_take(state);
    if (!co) return GB_ENOMEM;
    call->body = co;
    int rc = unpack_scalars(state, call, co) ? 0 : gbl_protect(state, GBL_RUN_UNPACK, call);
    if (rc < 0) gb_call_fail(call, rc, "%s", gb_err_detail());
    if (call->rc < 0) {
        call->body = NULL;
        gbl_co_close(state, co);
        return call->rc;
    }
    call->bytes.size = 0; /* the results have bytes and blocks of their own */
    while (call->block_count > 0) gb_block_unref(call->blocks[--call->block_count]);
    return 0;
}

/* ---- running ---- */

/* On top of L: the message, code and traceback of a turn whose failure is the call's. */
static int failed_for_all(gbl_state *state, gb_call *turn)
{
    lua_State *L = state->L;
    const char *message = lua_tostring(L, -3), *code = lua_tostring(L, -2);
    bool hook = turn->flags & GB_CALL_HOOK;
    if (!hook) log_unheard(state, turn, "raised", message, lua_tostring(L, -1));
    int rc = code ? gb_err_code(code) : GB_ERAISED;
    if (rc == 0 && hook) { /* gb.fail with a code of the user: callers get results */
        gbl_packer to = {&turn->bytes, &turn->blocks, &turn->block_count};
        lua_pushnil(L);
        lua_insert(L, -4);
        turn->bytes.size = 0;
        if (gbl_encode(L, lua_gettop(L) - 3, 3, &to, "result") < 0) turn->bytes.size = 0;
        lua_remove(L, -4);
    }
    if (rc == 0) rc = GB_ERAISED;
    gb_call_fail(turn, rc, "%s", message ? message : "an error that is no string");
    lua_pop(L, 3);
    return rc;
}

/* The error value on top of a dead coroutine becomes results on a fresh one, or a failure of the
 * call. */
static int turn_failed(gbl_state *state, gb_call *turn, gbl_co *dead, int why)
{
    lua_State *L = state->L;
    gb_count_up(&state->worker->turns_raised);
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->core_ref);
    lua_getfield(L, -1, "on_error");
    lua_remove(L, -2);
    lua_pushvalue(dead->L, -1);
    lua_xmove(dead->L, L, 1);
    luaL_traceback(L, dead->L, NULL, 0);
    lua_pushboolean(L, why == LUA_ERRMEM);
    int rc = lua_pcall(L, 3, 3, 0); /* message, code, traceback */
    if (rc != 0) {
        lua_pushliteral(L, "ERAISED");
        lua_pushnil(L);
    }
    gbl_co_close(state, dead);
    turn->body = NULL;
    const char *message = lua_tostring(L, -3);
    if (turn->flags & (GB_CALL_HOOK | GB_CALL_ONEWAY | GB_CALL_TICK))
        return failed_for_all(state, turn);
    gbl_co *co = gbl_co_take(state);
    if (!co) {
        gb_call_fail(turn, GB_ERAISED, "%s", message ? message : "?");
        lua_pop(L, 3);
        return GB_ERAISED;
    }
    lua_pushnil(co->L);
    lua_xmove(L, co->L, 3);
    if (lua_isnil(co->L, -1)) lua_pop(co->L, 1);
    turn->body = co;
    return GB_RUN_DONE;
}

static inline int turn_resume(gbl_state *state, gb_call *turn, gbl_co *co)
{
    int pushed = co->pushed;
    co->pushed = 0;
    state->parked = false;
    gbl_cap(state, true);
    int rc = lua_resume(co->L, pushed);
    gbl_cap(state, false);
    if (rc == 0) return GB_RUN_DONE;
    if (rc == LUA_YIELD) {
        if (__builtin_expect(state->parked, 1)) return GB_RUN_PARKED;
        lua_pushliteral(
            co->L,
            "coroutine.yield outside of a coroutine of your own (a grain waits with gb.sleep, "
            "calls and futures)");
    }
    return turn_failed(state, turn, co, rc);
}

/* LuaJIT does not collect when memory is short. Between turns we do: when something was refused,
 * and when the heap has come near its bound and grown since the last time. */
static void collect_early(gbl_state *state)
{
    int64_t bytes = gbl_alloc_bytes(state->alloc), bytes_max = state->config.lua_bytes_max;
    if (!gbl_alloc_refused(state->alloc) &&
        (bytes < bytes_max / 4 * 3 || bytes < state->collected + state->collected / 8))
        return;
    lua_gc(state->L, LUA_GCCOLLECT, 0);
    state->collected = gbl_alloc_bytes(state->alloc);
}

/* GB_ERAISED also for results that say so: nil, message, code. */
static int turn_status(gb_call *turn, int rc)
{
    const gbl_co *co = turn->body;
    if (rc < 0 || !co) return rc < 0 ? rc : GB_ERAISED;
    if (lua_gettop(co->L) < 3 || !lua_isnil(co->L, 1) || lua_type(co->L, 3) != LUA_TSTRING)
        return 0;
    int code = gb_err_code(lua_tostring(co->L, 3));
    return code < 0 ? code : GB_ERAISED;
}

static __attribute__((noinline)) int run_with_span(gbl_state *state, gb_call *turn, gbl_co *co)
{
    if (!co->begun && state->config.tracer) {
        co->begun = true;
        co->span = gbl_span_turn(state, turn);
    }
    gb_span *span = co->span;
    co->span = NULL;
    int rc = turn_resume(state, turn, co);
    if (span && rc == GB_RUN_PARKED)
        co->span = span;
    else
        gbl_span_end(state, span, span ? turn_status(turn, rc) : 0);
    return rc;
}

/* Whether a turn leaves a span is told by the flags of its trace: nine in ten do not, and pay for
 * no more than that look. */
static int kind_run(gb_call *turn)
{
    gbl_state *state = state_of(turn);
    gbl_co *co = turn->body;
    bool look = turn->context.trace.flags & GB_TRACE_SAMPLED || !gbl_traced(turn);
    int rc =
        __builtin_expect(look, 0) ? run_with_span(state, turn, co) : turn_resume(state, turn, co);
    if (__builtin_expect(state->config.lua_bytes_max != 0, 0)) collect_early(state);
    return rc;
}

static int kind_pack(gb_call *call)
{
    gbl_co *co = call->body;
    call->bytes.size = 0;
    gbl_packer to = {&call->bytes, &call->blocks, &call->block_count};
    return gbl_encode(co->L, 1, lua_gettop(co->L), &to, "result");
}

static void kind_drop(gb_call *call)
{
    gbl_state *state = state_of(call);
    gbl_co *co = call->body;
    call->body = NULL;
    if (lua_status(co->L) == 0)
        gbl_co_give(state, co);
    else
        gbl_co_close(state, co);
}

static int kind_load(gb_worker *worker, gb_type *type)
{
    return gbl_load_type(worker->body, type);
}

const gb_kind gbl_kind = {
    .name = "lua",
    .load = kind_load,
    .open = kind_open,
    .close = kind_close,
    .unpack = kind_unpack,
    .run = kind_run,
    .pack = kind_pack,
    .drop = kind_drop,
};

void gbl_open_kind(lua_State *L)
{
    gbl_protect_add(L, GBL_RUN_OPEN, open_protected);
    gbl_protect_add(L, GBL_RUN_UNPACK, unpack_protected);
}
