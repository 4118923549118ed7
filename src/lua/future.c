/* Futures: values that come later, and who waits for them. */
#include "lua/state.h"

#include "base/err.h"

#include <string.h>

/* A future is a Lua table: [1 .. n] its values once finished (field n), or at PENDING what it is
 * while it has not: an index, which costs less to find than a name. */
enum { PENDING = 0 };

typedef struct gbl_waiter {
    struct gbl_waiter *next;
    gbl_ticket ticket;
    gbl_pending *pending; /* NULL: the future has finished, only the timer knew it */
    gbl_state *state;
    gb_timer timer;
    int index; /* what await_any answers */
} waiter;

enum { SPARE_WAITERS_MAX = 1024 };

struct gbl_pending {
    gb_list link;
    gbl_state *state;
    int ref; /* in state->futures_ref */
    gb_call *call;
    uint32_t call_serial;
    gb_op *op;
    void (*forget)(gb_op *op); /* it has finished before its op */
    waiter *waiters;
};

gbl_pending *gbl_future_new(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gbl_pending *pending = gb_mem_zalloc(&state->mem, sizeof *pending);
    if (!pending) luaL_error(L, "out of memory: a future");
    pending->state = state;
    gb_list_push(&state->pending, &pending->link);
    bool was = gbl_cap(state, false); /* nothing may raise while it is ours */
    lua_createtable(L, 1, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->future_meta_ref);
    lua_setmetatable(L, -2);
    lua_pushlightuserdata(L, pending);
    lua_rawseti(L, -2, PENDING);
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->futures_ref);
    lua_pushvalue(L, -2);
    pending->ref = luaL_ref(L, -2);
    lua_pop(L, 1);
    gbl_cap(state, was);
    return pending;
}

void gbl_future_set_call(gbl_pending *pending, gb_call *call)
{
    pending->call = call;
    pending->call_serial = call->serial;
}

void gbl_future_set_op(gbl_pending *pending, gb_op *op, void (*forget)(gb_op *op))
{
    pending->op = op;
    pending->forget = forget;
}

static void waiter_free(waiter *w)
{
    gbl_state *state = w->state;
    gb_timer_stop(&state->worker->timers, &w->timer);
    if (state->spare_waiter_count == SPARE_WAITERS_MAX) {
        gb_mem_free(&state->mem, w, sizeof *w);
        return;
    }
    w->next = state->spare_waiters;
    state->spare_waiters = w;
    state->spare_waiter_count++;
}

static waiter *waiter_take(gbl_state *state)
{
    waiter *w = state->spare_waiters;
    if (!w) return gb_mem_alloc(&state->mem, sizeof *w);
    state->spare_waiters = w->next;
    state->spare_waiter_count--;
    return w;
}

/* The values of a finished future, which is on top. */
static int push_values(lua_State *L)
{
    lua_getfield(L, -1, "n");
    int count = (int)lua_tointeger(L, -1), future = lua_gettop(L) - 1;
    lua_pop(L, 1);
    lua_checkstack(L, count + 4);
    for (int i = 1; i <= count; i++) lua_rawgeti(L, future, i);
    return count;
}

void gbl_future_finish(gbl_state *state, gbl_pending *pending, lua_State *L, int count)
{
    int first = lua_gettop(L) - count + 1;
    int flag = count == 1 && lua_isboolean(L, first) ? lua_toboolean(L, first) : -1;
    bool was = gbl_cap(state, false); /* who cancels runs under it */
    lua_checkstack(L, 2 * count + 8);
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->futures_ref);
    lua_rawgeti(L, -1, pending->ref);
    int future = lua_gettop(L);
    for (int i = 0; i < count; i++) {
        lua_pushvalue(L, first + i);
        lua_rawseti(L, future, i + 1);
    }
    lua_pushinteger(L, count);
    lua_setfield(L, future, "n");
    lua_pushnil(L);
    lua_rawseti(L, future, PENDING);
    if (pending->op) pending->forget(pending->op);
    luaL_unref(L, future - 1, pending->ref);
    while (pending->waiters) {
        waiter *w = pending->waiters;
        pending->waiters = w->next;
        if (gbl_ticket_valid(state, &w->ticket)) {
            lua_State *to = gbl_ticket_stack(&w->ticket);
            if (w->index) {
                lua_pushinteger(to, w->index);
                gbl_wake(&w->ticket, 1);
            } else if (flag >= 0) { /* as quick as it gets: thousands may wait for one batch */
                lua_pushboolean(to, flag);
                gbl_wake(&w->ticket, 1);
            } else {
                lua_checkstack(to, count + 4);
                for (int i = 0; i < count; i++) lua_pushvalue(L, first + i);
                lua_xmove(L, to, count);
                gbl_wake(&w->ticket, count);
            }
        }
        waiter_free(w);
    }
    gb_list_unlink(&pending->link);
    gb_mem_free(&state->mem, pending, sizeof *pending);
    lua_settop(L, first - 1);
    gbl_cap(state, was);
}

/* Leaves a value on the stack. */
static gbl_pending *pending_at(lua_State *L, int index)
{
    lua_rawgeti(L, index, PENDING);
    return lua_touserdata(L, -1);
}

static void waiter_late(gb_timer *timer)
{
    waiter *w = GB_CONTAINER(timer, waiter, timer);
    waiter **at = &w->pending->waiters;
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    if (gbl_ticket_valid(w->state, &w->ticket))
        gbl_wake(&w->ticket, gbl_push_failure(gbl_ticket_stack(&w->ticket), GB_ETIMEDOUT,
                                              "the future was not finished in time"));
    waiter_free(w);
}

static waiter *waiter_add(lua_State *L, gbl_pending *pending, int index)
{
    gbl_state *state = pending->state;
    /* Who waited for any of several futures has left waiters at the others, and so has a turn that
     * was ended while it waited. */
    while (pending->waiters && !gbl_ticket_valid(state, &pending->waiters->ticket)) {
        waiter *stale = pending->waiters;
        pending->waiters = stale->next;
        waiter_free(stale);
    }
    waiter *w = waiter_take(state);
    if (!w) luaL_error(L, "out of memory: waiting for a future");
    memset(w, 0, sizeof *w);
    w->state = state;
    w->pending = pending;
    w->index = index;
    gb_timer_init(&w->timer, waiter_late);
    w->next = pending->waiters;
    pending->waiters = w;
    return w;
}

/* core.await(future, seconds or nil) */
static int core_await(lua_State *L)
{
    bool timed = lua_gettop(L) > 1 && lua_type(L, 2) == LUA_TNUMBER;
    gbl_pending *pending = pending_at(L, 1);
    if (!pending) {
        lua_settop(L, 1);
        return push_values(L);
    }
    gbl_state *state = pending->state;
    gbl_check_park(state, L, "await");
    waiter *w = waiter_add(L, pending, 0);
    gb_call *call =
        pending->call && pending->call->serial == pending->call_serial ? pending->call : NULL;
    gbl_ticket ticket = gbl_park(state, NULL);
    w->ticket = ticket;
    if (timed)
        gb_timer_add(&state->worker->timers, &w->timer, state->worker->now,
                     gbl_now(state) + gbl_ns(lua_tonumber(L, 2)));
    if (call)
        gb_turn_park(ticket.turn, call); /* only now, since it may be answered at once: a circle */
    return gbl_yield(state, L);
}

/* core.await_any{ futures }: the place of one that is finished; all must be unfinished. */
static int core_await_any(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gbl_check_park(state, L, "await");
    int count = (int)lua_objlen(L, 1);
    /* Before it parks, since memory may be short; a ticket for the park that comes next. */
    gb_call *turn = gbl_turn(state);
    gbl_ticket ticket = {turn, turn->serial, ((gbl_co *)turn->body)->park_seq + 1};
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, i);
        gbl_pending *pending = pending_at(L, -1);
        lua_pop(L, 2);
        if (pending) waiter_add(L, pending, i)->ticket = ticket;
    }
    gbl_park(state, NULL);
    return gbl_yield(state, L);
}

/* core.cancel(future): true when it was still unfinished. */
static int core_cancel(lua_State *L)
{
    gbl_pending *pending = pending_at(L, 1);
    lua_pushboolean(L, pending != NULL);
    if (!pending) return 1;
    if (pending->op) atomic_store(&pending->op->cancelled, 1);
    if (pending->call && pending->call->serial == pending->call_serial) {
        gb_call_abandon(pending->call, GB_ECANCELED, "cancelled");
    } else {
        int count = gbl_push_failure(L, GB_ECANCELED, "cancelled");
        gbl_future_finish(pending->state, pending, L, count);
    }
    return 1;
}

void gbl_futures_close(gbl_state *state)
{
    gb_list *link;
    while ((link = gb_list_shift(&state->pending))) {
        gbl_pending *pending = GB_CONTAINER(link, gbl_pending, link);
        while (pending->waiters) {
            waiter *w = pending->waiters;
            pending->waiters = w->next;
            waiter_free(w);
        }
        gb_mem_free(&state->mem, pending, sizeof *pending);
    }
    for (waiter *w; (w = state->spare_waiters);) {
        state->spare_waiters = w->next;
        gb_mem_free(&state->mem, w, sizeof *w);
    }
    state->spare_waiter_count = 0;
}

void gbl_open_future(lua_State *L)
{
    static const luaL_Reg functions[] = {{"await", core_await},
                                         {"await_any", core_await_any},
                                         {"cancel", core_cancel},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
