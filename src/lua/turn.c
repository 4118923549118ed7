/* Parking turns, sleep, and spawned turns. */
#include "lua/state.h"

#include "base/check.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

/* ---- parking ---- */

/* Names the C function that calls back: the innermost one that does not know how to wait. */
static void refuse_park(lua_State *L, const char *what)
{
    lua_Debug at;
    for (int level = 1; lua_getstack(L, level, &at); level++) {
        lua_getinfo(L, "Sn", &at);
        if (strcmp(at.what, "C") != 0 || !at.name || strcmp(at.name, "pcall") == 0 ||
            strcmp(at.name, "xpcall") == 0)
            continue;
        gbl_raise(L, "'%s' waits, and nothing can wait inside '%s' (a C function that calls back)",
                  what, at.name);
    }
    gbl_raise(L,
              "'%s' waits, and nothing can wait inside a C function that calls back (table.sort, "
              "string.gsub)",
              what);
}

void gbl_check_park(gbl_state *state, lua_State *L, const char *what)
{
    if (__builtin_expect(!gbl_turn(state), 0))
        gbl_raise(L, "'%s' waits, and nothing may wait here (outside of a turn)", what);
    if (__builtin_expect(!lua_isyieldable(L) || state->barred, 0)) refuse_park(L, what);
}

gbl_ticket gbl_park(gbl_state *state, gb_call *waits)
{
    gb_call *turn = gbl_turn(state);
    gbl_co *co = turn->body;
    gbl_ticket ticket = {turn, turn->serial, ++co->park_seq};
    state->parked = true;
    gb_turn_park(turn, waits);
    return ticket;
}

/* Inside a coroutine of the user's own, the token tells our coroutine.resume to pass the wait on.
 */
int gbl_yield(gbl_state *state, lua_State *L)
{
    gbl_co *co = gbl_turn(state)->body;
    if (L == co->L) return lua_yield(L, 0);
    lua_pushlightuserdata(L, state);
    return lua_yield(L, 1);
}

bool gbl_ticket_valid(const gbl_state *state, const gbl_ticket *ticket)
{
    gb_call *turn = ticket->turn;
    if (!turn || !gb_turn_parked(state->worker, turn, ticket->serial)) return false;
    return ((gbl_co *)turn->body)->park_seq == ticket->park_seq;
}

lua_State *gbl_ticket_stack(const gbl_ticket *ticket)
{
    return ((gbl_co *)ticket->turn->body)->L;
}

void gbl_wake(const gbl_ticket *ticket, int pushed)
{
    ((gbl_co *)ticket->turn->body)->pushed = pushed;
    gb_turn_wake(ticket->turn);
}
/* core.bar(number): more or fewer coroutines run whose resumer cannot wait. */
static int core_bar(lua_State *L)
{
    gbl_of(L)->barred += (int)lua_tointeger(L, 1);
    return 0;
}

/* core.turn(): the coroutine of the running turn, or nil; not the user's own one that runs in it */
static int core_turn(lua_State *L)
{
    gb_call *turn = gbl_turn(gbl_of(L));
    if (!turn) return 0;
    lua_State *of = ((gbl_co *)turn->body)->L;
    lua_pushthread(of);
    if (of != L) lua_xmove(of, L, 1);
    return 1;
}

/* core.raise(text): an error at the innermost line that is the user's. */
static int core_raise(lua_State *L)
{
    return gbl_raise(L, "%s", luaL_checkstring(L, 1));
}

/* ---- sleeping ---- */

typedef struct sleeper {
    gb_timer timer;
    gb_list link; /* in state->sleepers */
    gbl_ticket ticket;
    gbl_state *state;
} sleeper;

static void sleeper_free(sleeper *s)
{
    gb_timer_stop(&s->state->worker->timers, &s->timer);
    gb_list_unlink(&s->link);
    gb_mem_free(&s->state->mem, s, sizeof *s);
}

static void sleep_over(gb_timer *timer)
{
    sleeper *s = GB_CONTAINER(timer, sleeper, timer);
    if (gbl_ticket_valid(s->state, &s->ticket)) {
        lua_pushboolean(gbl_ticket_stack(&s->ticket), 1);
        gbl_wake(&s->ticket, 1);
    }
    sleeper_free(s);
}

/* core.sleep(seconds) */
static int core_sleep(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gbl_check_park(state, L, "sleep");
    sleeper *s = gb_mem_zalloc(&state->mem, sizeof *s);
    if (!s) return luaL_error(L, "out of memory: gb.sleep");
    s->state = state;
    gb_list_push(&state->sleepers, &s->link);
    gb_timer_init(&s->timer, sleep_over);
    s->ticket = gbl_park(state, NULL);
    gb_timer_add(&state->worker->timers, &s->timer, state->worker->now,
                 gbl_now(state) + gbl_ns(lua_tonumber(L, 1)));
    return gbl_yield(state, L);
}

/* ---- spawned turns ---- */

gb_call *gbl_spawn(gbl_state *state, lua_State *L, int args, gb_act *act, void (*done)(gb_call *),
                   void *user)
{
    gbl_co *co = gbl_co_take(state);
    if (!co) return NULL;
    gb_call *call = gb_call_new(state->worker), *turn = gbl_turn(state);
    if (!call) {
        gbl_co_close(state, co);
        return NULL;
    }
    bool was = gbl_cap(state, false); /* nothing may raise while they are ours */
    lua_checkstack(co->L, args + 8);
    gbl_cap(state, was);
    lua_xmove(L, co->L, args + 1);
    co->pushed = args;
    call->type = act->type;
    call->body = co;
    call->deadline = GB_FOREVER;
    call->done = done;
    call->user = user;
    if (turn) {
        call->context = turn->context;
        if (call->context.bag) gb_block_ref(call->context.bag);
    }
    gb_call_spawn(call, act);
    return call;
}

static void spawn_done(gb_call *call)
{
    gbl_state *state = call->origin->body;
    lua_State *L = state->L;
    int top = lua_gettop(L), count;
    gbl_co *co = call->body;
    if (call->rc < 0 || !co) {
        count = gbl_push_failure(L, call->rc < 0 ? call->rc : GB_ECANCELED, call->message);
    } else { /* the same state and the same grain: no copies */
        count = lua_gettop(co->L);
        lua_checkstack(L, count + 4);
        lua_xmove(co->L, L, count);
        if (count == 0) lua_pushboolean(L, 1), count = 1;
    }
    gbl_future_finish(state, call->user, L, count);
    lua_settop(L, top);
}

/* core.spawn(fn, ...) */
static int core_spawn(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    int args = lua_gettop(L) - 1;
    gb_call *turn = gbl_turn(state);
    gbl_pending *pending = gbl_future_new(L);
    lua_insert(L, 1);
    gb_call *call = gbl_spawn(state, L, args, turn ? turn->act : state->root, spawn_done, pending);
    if (call)
        gbl_future_set_call(pending, call);
    else
        gbl_future_finish(state, pending, L, gbl_push_failure(L, GB_ENOMEM, gb_err_detail()));
    lua_settop(L, 1);
    return 1;
}

/* core.background(n): of the calls that are under way so many (more, or less) are no work: they do
 * not keep the program from its end. */
static int core_background(lua_State *L)
{
    _Atomic int64_t *calls = &gbl_of(L)->worker->calls_idle;
    int64_t now = atomic_load_explicit(calls, memory_order_relaxed) + luaL_checkinteger(L, 1);
    atomic_store_explicit(calls, now, memory_order_release);
    return 0;
}

void gbl_sleepers_close(gbl_state *state)
{
    while (!gb_list_empty(&state->sleepers))
        sleeper_free(GB_CONTAINER(state->sleepers.next, sleeper, link));
}

void gbl_open_turn(lua_State *L)
{
    static const luaL_Reg functions[] = {{"sleep", core_sleep}, {"bar", core_bar},
                                         {"raise", core_raise}, {"turn", core_turn},
                                         {"spawn", core_spawn}, {"background", core_background},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
    lua_pushlightuserdata(L, gbl_of(L));
    lua_setfield(L, -2, "wait_token");
}
