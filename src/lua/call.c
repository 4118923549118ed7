/* Calls from Lua: c:method(...), c:tell, c:async. The short way (the target is here and idle) moves
 * the arguments from one coroutine to another; every other way goes through bytes.
 *
 * A reference is a table { key, handle, options or nil } with its type's metatable. Its handle is
 * made here: false: nobody has called through it; a mark that users cannot make: somebody has, so
 * it is a reference, and its activation was not here; a number: the activation that was, and by its
 * sign, whether there are options.
 */
#include "lua/state.h"

#include "base/check.h"
#include "base/err.h"

#include <string.h>

enum { REF_KEY = 1, REF_HANDLE = 2, REF_OPTIONS = 3, ARGS_MAX = 200 };

/* with{ ... } as C reads it: a table with these fields at fixed places. */
enum { OPTION_TIMEOUT_NS = 1, OPTION_PRIORITY = 2, OPTION_BAG = 3 };

/* ---- failures and results ---- */

int gbl_push_failure(lua_State *L, int rc, const char *message)
{
    lua_checkstack(L, 4);
    lua_pushnil(L);
    lua_pushstring(L, message && *message ? message : gb_err_text(rc));
    lua_pushstring(L, gb_err_name(rc));
    return 3;
}

/* Strings that long are counted (copy.c): a message holds no more of them on any way. */
enum { STRING_LONG = 1 << 16 };

static bool all_scalar(lua_State *L, int first, int last)
{
    for (int i = first; i <= last; i++) {
        int type = lua_type(L, i);
        if (type > LUA_TSTRING || type == LUA_TLIGHTUSERDATA) return false;
        if (type == LUA_TSTRING && lua_objlen(L, i) > STRING_LONG) return false;
    }
    return true;
}

typedef struct transfer {
    gb_call *call;
    gbl_state *state;
    lua_State *from, *to;
    int count;
    const char *what;
} transfer;

/* What was made here, on top of the state's main thread, moves on to where it belongs. All work is
 * done here, because no function may run on a coroutine that waits. */
static int hand_over(transfer *t, lua_State *L, int count)
{
    t->count = count;
    if (t->to == L) return count > 0 ? count : 0;
    if (count > 0 && !lua_checkstack(t->to, count + 8)) return luaL_error(L, "too many results");
    if (count > 0) lua_xmove(L, t->to, count);
    return 0;
}

/* Protected: tables go by copy, what is special by bytes. */
static int transfer_values(lua_State *L)
{
    transfer *t = lua_touserdata(L, 1);
    int count = t->count;
    if (!lua_checkstack(L, count + 8)) return luaL_error(L, "too many results");
    lua_xmove(t->from, L, count);
    if (gbl_copy(L, 2, count)) return hand_over(t, L, count);
    gbl_packer to = {&t->call->bytes, &t->call->blocks, &t->call->block_count};
    t->call->bytes.size = 0;
    int rc = gbl_encode(L, 2, count, &to, t->what);
    if (rc >= 0)
        rc = gbl_decode(L, t->call->bytes.data, t->call->bytes.size, t->call->blocks,
                        t->call->block_count, GBL_FROM_HERE);
    return hand_over(t, L, rc);
}

static int decode_values(lua_State *L)
{
    transfer *t = lua_touserdata(L, 1);
    return hand_over(t, L,
                     gbl_decode(L, t->call->bytes.data, t->call->bytes.size, t->call->blocks,
                                t->call->block_count, gbl_from_of(t->call)));
}

/* Runs one of the two; the values end up on t->to, which may be the state's main thread. */
static int protected_transfer(transfer *t, gbl_run run)
{
    int top = lua_gettop(t->to), rc = gbl_protect(t->state, run, t);
    if (rc < 0) {
        t->count = rc;
        lua_settop(t->to, top);
    }
    if (t->count < 0) return gbl_push_failure(t->to, t->count, gb_err_detail());
    return t->count;
}

int gbl_push_results(gbl_state *state, gb_call *call, lua_State *to)
{
    if (call->rc < 0) return gbl_push_failure(to, call->rc, call->message);
    gbl_co *co = call->body;
    int count = 0;
    if (co) {
        lua_State *from = co->L;
        count = lua_gettop(from);
        if (__builtin_expect(count > 0, 1)) {
            if (all_scalar(from, 1, count)) {
                if (count > 8) lua_checkstack(to, count + 1);
                lua_xmove(from, to, count);
                return count;
            }
            transfer t = {call, state, from, to, count, "result"};
            return protected_transfer(&t, GBL_RUN_TRANSFER);
        }
    } else if (call->bytes.size > 0) {
        transfer t = {call, state, NULL, to, 0, "result"};
        count = gbl_decode_scalars(to, call->bytes.data, call->bytes.size);
        if (count < 0) count = protected_transfer(&t, GBL_RUN_DECODE);
    }
    if (count == 0) {
        lua_pushboolean(to, 1); /* a method that returns nothing answers true */
        count = 1;
    }
    return count;
}

/* ---- answers ---- */

/* The caller is parked on this call and nothing else can wake it. */
static void answer_caller(gb_call *call)
{
    gb_call *turn = call->caller;
    if (!gb_turn_parked(call->origin, turn, call->caller_serial)) return; /* it was killed */
    gbl_co *co = turn->body;
    co->pushed = gbl_push_results(call->origin->body, call, co->L);
    gb_turn_wake(turn);
}

static void answer_future(gb_call *call)
{
    gbl_state *state = call->origin->body;
    lua_State *L = state->L;
    int top = lua_gettop(L), count = gbl_push_results(state, call, L);
    gbl_future_finish(state, call->user, L, count);
    lua_settop(L, top);
}

/* ---- the target of a reference ---- */

typedef struct target {
    gbl_state *state;
    gb_type *type;
    const gb_sym *method;
    gb_key key;
    gb_act *act; /* here, or NULL */
    bool plain;  /* there are surely no options */
} target;

static gb_key key_at(lua_State *L, int index)
{
    size_t size;
    if (lua_type(L, index) == LUA_TNUMBER) return gb_key_number((int64_t)lua_tonumber(L, index));
    const char *text = lua_tolstring(L, index, &size);
    return gb_key_text(text ? text : "", size);
}

static void no_reference(lua_State *L, const gb_sym *method)
{
    const char *name = method ? method->text : "method";
    gbl_raise(L, "call '%s' on a reference with a colon: ref:%s(...)", name, name);
}

/* A table of the user's could hold what looks like a key. Asked where no handle has answered it. */
static bool is_reference(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index)) return false;
    lua_pushliteral(L, "__type");
    lua_rawget(L, -2);
    bool is = lua_type(L, -1) == LUA_TSTRING;
    lua_pop(L, 2);
    return is;
}

static void keep_handle(lua_State *L, int ref, target *to)
{
    if (to->act) {
        double handle = gbl_handle(to->act);
        lua_rawgeti(L, ref, REF_OPTIONS);
        to->plain = lua_type(L, -1) != LUA_TTABLE;
        lua_pop(L, 1);
        lua_pushnumber(L, to->plain ? handle : -1 - handle);
    } else {
        lua_pushlightuserdata(L, to->state);
    }
    lua_rawseti(L, ref, REF_HANDLE);
}

/* Looks the activation up here, by the handle that the reference keeps or by key (borrowed from the
 * reference). Leaves the stack as it was. */
static void find_act(lua_State *L, int ref, target *to)
{
    gbl_state *state = to->state;
    lua_rawgeti(L, ref, REF_HANDLE);
    to->plain = false;
    if (lua_type(L, -1) == LUA_TNUMBER) {
        double handle = lua_tonumber(L, -1);
        bool plain = handle >= 0;
        gb_act *act = gbl_act_of(state, plain ? handle : -1 - handle);
        if (act && act->type == to->type && act->state != GB_ACT_FORWARD) {
            lua_pop(L, 1);
            to->plain = plain;
            to->act = act;
            return;
        }
    }
    bool seen = lua_touserdata(L, -1) == state;
    lua_pop(L, 1);
    if (__builtin_expect(!seen && !is_reference(L, ref), 0)) no_reference(L, to->method);
    lua_rawgeti(L, ref, REF_KEY);
    to->key = key_at(L, -1); /* the reference holds it */
    lua_pop(L, 1);
    to->act = NULL;
    if (to->type->options.placement != GB_PLACE_STATELESS)
        to->act = gb_act_make(state->worker, to->type, to->key);
    if (to->act || !seen) keep_handle(L, ref, to);
}

static uint64_t deadline_of(gbl_state *state, gb_call *turn, uint64_t timeout_ns)
{
    uint64_t now = gbl_now(state);
    uint64_t deadline = timeout_ns >= GB_FOREVER - now ? GB_FOREVER : now + timeout_ns;
    if (turn && turn->deadline < deadline) deadline = turn->deadline;
    return deadline;
}

/* What travels along and what with{} says. */
static void read_options(lua_State *L, int ref, gb_call *call, uint64_t *timeout_ns)
{
    lua_rawgeti(L, ref, REF_OPTIONS);
    if (lua_type(L, -1) == LUA_TTABLE) {
        lua_rawgeti(L, -1, OPTION_TIMEOUT_NS);
        if (lua_type(L, -1) == LUA_TNUMBER) {
            double ns = lua_tonumber(L, -1);
            *timeout_ns = ns >= 1.8e19 ? GB_FOREVER : (uint64_t)ns;
        }
        lua_rawgeti(L, -2, OPTION_PRIORITY);
        call->priority = (int8_t)lua_tointeger(L, -1);
        lua_rawgeti(L, -3, OPTION_BAG);
        size_t size;
        const char *bag = lua_tolstring(L, -1, &size);
        if (bag) {
            if (call->context.bag) gb_block_unref(call->context.bag);
            call->context.bag = gb_block_new(call->origin->silo->mem, size);
            if (call->context.bag) memcpy(call->context.bag->data, bag, size);
        }
        lua_pop(L, 3);
    }
    lua_pop(L, 1);
}

static void set_options(lua_State *L, int ref, const target *to, gb_call *call)
{
    gbl_state *state = to->state;
    gb_call *turn = gbl_turn(state);
    uint64_t timeout_ns = state->worker->silo->config.call_timeout_ns;
    if (turn) {
        if (__builtin_expect(!gbl_traced(turn), 0)) gbl_trace_begin(state, turn);
        call->caller = turn;
        call->caller_serial = turn->serial;
        call->context = turn->context;
        if (call->context.bag) gb_block_ref(call->context.bag);
    }
    if (!to->plain) read_options(L, ref, call, &timeout_ns);
    call->deadline = deadline_of(state, turn, timeout_ns);
}

/* ---- the short way ---- */

/* A body with the method, self and the arguments first .. last of L (which it takes when they are
 * on top). NULL: the bytes' way must be gone. */
static gbl_co *make_body(lua_State *L, target *to, int first, int last)
{
    gbl_state *state = to->state;
    gbl_type *own = gbl_type_of(state, to->type);
    int fn = gbl_method(state, own, to->method), count = last - first + 1;
    if (fn <= 0 || gbl_stale(state, own, to->act)) return NULL;
    bool scalar = all_scalar(L, first, last);
    if (!scalar) {
        if (!gbl_copy(L, first, count)) return NULL;
    } else if (lua_gettop(L) != last) {
        for (int i = first; i <= last; i++) lua_pushvalue(L, i);
    }
    gbl_co *co = gbl_co_take(state);
    if (!co) return NULL;
    if (count > 8) {
        bool was = gbl_cap(state, false);
        lua_checkstack(co->L, count + 8);
        gbl_cap(state, was);
    }
    lua_rawgeti(co->L, LUA_REGISTRYINDEX, fn);
    gbl_push_self(state, co->L, to->act);
    lua_xmove(L, co->L, count);
    co->pushed = count + 1;
    return co;
}

static gb_call *new_call(lua_State *L, int ref, target *to, uint8_t flags)
{
    gb_call *call = gb_call_new(to->state->worker);
    if (!call) return NULL;
    call->type = to->type;
    call->method = to->method;
    call->flags = flags;
    set_options(L, ref, to, call);
    return call;
}

/* Begins a call to an idle activation of this worker. NULL: it cannot go this way. */
static gb_call *call_short(lua_State *L, int ref, target *to, int first, int last, uint8_t flags,
                           void (*done)(gb_call *), void *user)
{
    if (!to->act || !gb_act_idle(to->act)) return NULL;
    gbl_co *co = make_body(L, to, first, last);
    if (!co) return NULL;
    gb_call *call = new_call(L, ref, to, flags);
    if (!call) {
        gbl_co_close(to->state, co);
        return NULL;
    }
    call->body = co;
    call->done = done;
    call->user = user;
    gb_call_begin_at(call, to->act);
    return call;
}

/* ---- the way of bytes ---- */

static int call_long(lua_State *L, int ref, target *to, int first, int last, uint8_t flags,
                     void (*done)(gb_call *), void *user, gb_call **out)
{
    gb_call *call = new_call(L, ref, to, flags);
    if (!call) return GB_EBUSY;
    call->done = done;
    call->user = user;
    if (to->act) to->key = gb_act_key(to->act);
    int rc = gb_call_set_key(call, to->key);
    gbl_moves moves = {0};
    gbl_packer packer = {&call->bytes, &call->blocks, &call->block_count};
    bool was = gbl_cap(to->state, false); /* nothing may raise while the call is ours */
    gb_call *turn = call->caller;
    if (rc >= 0 && turn && !turn->act->root) rc = gbl_encode_caller(&packer, turn->act);
    call->named = (uint32_t)call->bytes.size + 1;
    if (rc >= 0 && last >= first)
        rc = gbl_encode_call(L, first, last - first + 1, &packer, "argument", &moves);
    gbl_cap(to->state, was);
    if (rc >= 0) rc = gb_call_send(call);
    gbl_moves_end(L, &moves, rc >= 0);
    if (rc < 0) {
        gb_call_drop(call);
        return rc;
    }
    *out = rc == GB_OP_PENDING ? call : NULL;
    return rc;
}

/* nil, message, code for a call that did not start; wrong arguments are the caller's bug and raise.
 */
static int not_started(lua_State *L, int rc)
{
    if (rc == GB_EINVAL) return gbl_raise(L, "%s", gb_err_detail());
    return gbl_push_failure(L, rc, gb_err_detail());
}

static void target_init(lua_State *L, gbl_state *state, target *to, uint32_t type_id,
                        const gb_sym *method)
{
    to->state = state;
    to->type = gb_type_at(state->worker->silo, type_id);
    to->method = method;
    find_act(L, 1, to);
}

/* ref:method(...): upvalues type id, symbol id. */
static int ref_method(lua_State *L)
{
    target to;
    int last = lua_gettop(L);
    gbl_state *state = gbl_of(L);
    const gb_sym *method = gbl_sym(state, (uint32_t)lua_tonumber(L, lua_upvalueindex(2)));
    if (lua_type(L, 1) != LUA_TTABLE) no_reference(L, method);
    gbl_check_park(state, L, method->text);
    target_init(L, state, &to, (uint32_t)lua_tonumber(L, lua_upvalueindex(1)), method);
    gb_call *call = call_short(L, 1, &to, 2, last, 0, answer_caller, NULL);
    if (!call) {
        int rc = call_long(L, 1, &to, 2, last, 0, answer_caller, NULL, &call);
        if (rc < 0) return not_started(L, rc);
    }
    gbl_park(state, call);
    return gbl_yield(state, L);
}

/* core.send(ref, type id, symbol id, mode, ...): mode "tell" or "async". */
static void tell_done(gb_call *call)
{
    gb_call *turn = call->caller;
    if (!gb_turn_parked(call->origin, turn, call->caller_serial)) return;
    gbl_co *co = turn->body;
    if (call->rc < 0) {
        co->pushed = gbl_push_failure(co->L, call->rc, call->message);
    } else {
        lua_pushboolean(co->L, 1);
        co->pushed = 1;
    }
    gb_turn_wake(turn);
}

static int core_tell(lua_State *L)
{
    target to;
    int last = lua_gettop(L);
    uint32_t type_id = (uint32_t)luaL_checknumber(L, 2), sym_id = (uint32_t)luaL_checknumber(L, 3);
    gbl_state *state = gbl_of(L);
    gbl_check_park(state, L, "tell");
    target_init(L, state, &to, type_id, gbl_sym(state, sym_id));
    gb_call *call = call_short(L, 1, &to, 4, last, GB_CALL_ONEWAY, NULL, NULL);
    if (call) {
        lua_pushboolean(L, 1);
        return 1;
    }
    int rc = call_long(L, 1, &to, 4, last, GB_CALL_ONEWAY, tell_done, NULL, &call);
    if (rc < 0) return not_started(L, rc);
    if (rc == GB_OP_READY) {
        lua_pushboolean(L, 1);
        return 1;
    }
    gbl_park(state, NULL);
    return gbl_yield(state, L);
}

static int core_async(lua_State *L)
{
    target to;
    int last = lua_gettop(L);
    uint32_t type_id = (uint32_t)luaL_checknumber(L, 2), sym_id = (uint32_t)luaL_checknumber(L, 3);
    gbl_pending *pending = gbl_future_new(L);
    int future = lua_gettop(L);
    gbl_state *state = gbl_of(L);
    target_init(L, state, &to, type_id, gbl_sym(state, sym_id));
    gb_call *call = call_short(L, 1, &to, 4, last, 0, answer_future, pending);
    if (!call) {
        int rc = call_long(L, 1, &to, 4, last, 0, answer_future, pending, &call);
        if (rc < 0) {
            int count = gbl_push_failure(L, rc, gb_err_detail());
            gbl_future_finish(to.state, pending, L, count);
            if (rc == GB_EINVAL) return gbl_raise(L, "%s", gb_err_detail());
            lua_settop(L, future);
            return 1;
        }
    }
    gbl_future_set_call(pending, call);
    lua_settop(L, future);
    return 1;
}

/* core.method(type id, name): the closure that ref:name(...) runs. */
static int core_method(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    size_t size;
    const char *name = luaL_checklstring(L, 2, &size);
    const gb_sym *sym = gb_sym_get(state->worker->silo, name, size);
    if (!sym) return luaL_error(L, "out of memory");
    gbl_push_sym(state, L, sym);
    lua_pushvalue(L, 1);
    lua_pushnumber(L, sym->id);
    lua_pushcclosure(L, ref_method, 2);
    return 1;
}

/* core.sym(name): the number of an interned name. */
static int core_sym(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    const gb_sym *sym = gb_sym_get(state->worker->silo, name, size);
    if (!sym) return luaL_error(L, "out of memory");
    gbl_push_sym(state, L, sym);
    lua_pushnumber(L, sym->id);
    return 1;
}

void gbl_open_call(lua_State *L)
{
    static const luaL_Reg functions[] = {{"method", core_method},
                                         {"sym", core_sym},
                                         {"tell", core_tell},
                                         {"async", core_async},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
    gbl_protect_add(L, GBL_RUN_TRANSFER, transfer_values);
    gbl_protect_add(L, GBL_RUN_DECODE, decode_values);
}
