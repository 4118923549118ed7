/* Waiting: parking turns, futures, sleep, spawned turns, and ops of other rooms. */
/* tidy: long because all of them share tickets and the ways in which a wait can end */
#include "lua/state.h"

#include "base/check.h"
#include "base/err.h"

#include <math.h>
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

void gbl_check_park(lua_State *L, const char *what)
{
    gbl_state *state = gbl_of(L);
    if (__builtin_expect(!gbl_turn(state), 0))
        gbl_raise(L, "'%s' waits, and nothing may wait here (outside of a turn)", what);
    if (__builtin_expect(!lua_isyieldable(L) || state->barred, 0)) refuse_park(L, what);
}

gbl_ticket gbl_park(lua_State *L, gb_call *waits)
{
    gbl_state *state = gbl_of(L);
    gb_call *turn = gbl_turn(state);
    gbl_co *co = turn->body;
    gbl_ticket ticket = {turn, turn->serial, ++co->park_seq};
    state->parked = true;
    gb_turn_park(turn, waits);
    return ticket;
}

/* Inside a coroutine of the user's own, the token tells our coroutine.resume to pass the wait on.
 */
int gbl_yield(lua_State *L)
{
    gbl_state *state = gbl_of(L);
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

/* ---- futures ----
 * A future is a Lua table: [1 .. n] its values once finished (field n), or field pending while it
 * is not. */

static void op_forget(gb_op *op);

typedef struct waiter {
    struct waiter *next;
    gbl_ticket ticket;
    gbl_pending *pending; /* NULL: the future has finished, only the timer knew it */
    gbl_state *state;
    gb_timer timer;
    int index; /* what await_any answers */
} waiter;

struct gbl_pending {
    gb_list link;
    gbl_state *state;
    int ref; /* in state->futures_ref */
    gb_call *call;
    uint32_t call_serial;
    gb_op *op;
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
    lua_setfield(L, -2, "pending");
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

void gbl_future_set_op(gbl_pending *pending, gb_op *op)
{
    pending->op = op;
}

static void waiter_free(waiter *w)
{
    gb_timer_stop(&w->state->worker->timers, &w->timer);
    gb_mem_free(&w->state->mem, w, sizeof *w);
}

/* Copies the values of a finished future (on top of L) onto the waiter's stack. */
static int push_future_values(lua_State *L, lua_State *to)
{
    lua_getfield(L, -1, "n");
    int count = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_checkstack(L, count + 4);
    lua_checkstack(to, count + 4);
    int future = lua_gettop(L);
    for (int i = 1; i <= count; i++) lua_rawgeti(L, future, i);
    if (to != L) lua_xmove(L, to, count);
    return count;
}

void gbl_future_finish(gbl_state *state, gbl_pending *pending, lua_State *L, int count)
{
    int first = lua_gettop(L) - count + 1;
    bool was = gbl_cap(state, false); /* who cancels runs under it */
    lua_checkstack(L, count + 8);
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
    lua_setfield(L, future, "pending");
    if (pending->op) op_forget(pending->op);
    luaL_unref(L, future - 1, pending->ref);
    while (pending->waiters) {
        waiter *w = pending->waiters;
        pending->waiters = w->next;
        if (gbl_ticket_valid(state, &w->ticket)) {
            lua_State *to = gbl_ticket_stack(&w->ticket);
            if (w->index) {
                lua_pushinteger(to, w->index);
                gbl_wake(&w->ticket, 1);
            } else {
                lua_settop(L, future);
                gbl_wake(&w->ticket, push_future_values(L, to));
            }
        }
        waiter_free(w);
    }
    gb_list_unlink(&pending->link);
    gb_mem_free(&state->mem, pending, sizeof *pending);
    lua_settop(L, first - 1);
    gbl_cap(state, was);
}

static gbl_pending *pending_at(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    lua_pushliteral(L, "pending");
    lua_rawget(L, -2);
    gbl_pending *pending = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return pending;
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
    gb_mem_free(&w->state->mem, w, sizeof *w);
}

static waiter *waiter_add(lua_State *L, gbl_pending *pending, int index)
{
    gbl_state *state = pending->state;
    /* Who waited for any of several futures has left waiters at the others. */
    while (pending->waiters && !gbl_ticket_valid(state, &pending->waiters->ticket)) {
        waiter *stale = pending->waiters;
        pending->waiters = stale->next;
        waiter_free(stale);
    }
    waiter *w = gb_mem_zalloc(&state->mem, sizeof *w);
    if (!w) luaL_error(L, "out of memory: waiting for a future");
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
    gbl_pending *pending = pending_at(L, 1);
    if (!pending) {
        lua_settop(L, 1);
        return push_future_values(L, L);
    }
    gbl_check_park(L, "await");
    waiter *w = waiter_add(L, pending, 0);
    gbl_state *state = pending->state;
    gb_call *call =
        pending->call && pending->call->serial == pending->call_serial ? pending->call : NULL;
    gbl_ticket ticket = gbl_park(L, NULL);
    w->ticket = ticket;
    if (lua_type(L, 2) == LUA_TNUMBER)
        gb_timer_add(&state->worker->timers, &w->timer, state->worker->now,
                     gbl_now(state) + gbl_ns(lua_tonumber(L, 2)));
    if (call)
        gb_turn_park(ticket.turn, call); /* only now, since it may be answered at once: a circle */
    return gbl_yield(L);
}

/* core.await_any{ futures }: the place of one that is finished; all must be unfinished. */
static int core_await_any(lua_State *L)
{
    gbl_check_park(L, "await");
    gbl_state *state = gbl_of(L);
    int count = (int)lua_objlen(L, 1);
    /* Before it parks, since memory may be short; a ticket for the park that comes next. */
    gb_call *turn = gbl_turn(state);
    gbl_ticket ticket = {turn, turn->serial, ((gbl_co *)turn->body)->park_seq + 1};
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, i);
        gbl_pending *pending = pending_at(L, -1);
        lua_pop(L, 1);
        if (pending) waiter_add(L, pending, i)->ticket = ticket;
    }
    gbl_park(L, NULL);
    return gbl_yield(L);
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
    gbl_check_park(L, "sleep");
    sleeper *s = gb_mem_zalloc(&state->mem, sizeof *s);
    if (!s) return luaL_error(L, "out of memory: gb.sleep");
    s->state = state;
    gb_list_push(&state->sleepers, &s->link);
    gb_timer_init(&s->timer, sleep_over);
    s->ticket = gbl_park(L, NULL);
    gb_timer_add(&state->worker->timers, &s->timer, state->worker->now,
                 gbl_now(state) + gbl_ns(lua_tonumber(L, 1)));
    return gbl_yield(L);
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

/* ---- ops of other rooms ---- */

typedef struct op_wait {
    gbl_wait pub;
    gb_node node;
    gb_timer timer;
    gbl_state *state;
    gbl_ticket ticket;
    gbl_pending *pending; /* a future waits instead of a turn */
    gb_list link;         /* in state->op_waits */
    int rc;
    bool late; /* the waiter has been told ETIMEDOUT */
} op_wait;

/* The future of an op has finished before the op. */
static void op_forget(gb_op *op)
{
    GB_CONTAINER(op, op_wait, pub.op)->pending = NULL;
}

static int default_results(lua_State *L, gbl_wait *wait, int rc)
{
    if (rc < 0) return gbl_push_failure(L, rc, wait->op.detail);
    lua_pushboolean(L, 1);
    return 1;
}

static int push_op_results(lua_State *L, op_wait *w, int rc)
{
    return w->pub.results ? w->pub.results(L, &w->pub, rc) : default_results(L, &w->pub, rc);
}

static void op_free(op_wait *w)
{
    gb_timer_stop(&w->state->worker->timers, &w->timer);
    if (w->pub.drop) w->pub.drop(&w->pub);
    gb_op_fini(&w->pub.op);
    gb_list_unlink(&w->link);
    gb_mem_free(&w->state->mem, w, sizeof *w);
}

typedef struct op_push {
    op_wait *wait;
    lua_State *to;
    int count;
} op_push;

static int op_push_protected(lua_State *L)
{
    op_push *p = lua_touserdata(L, 1);
    p->count = push_op_results(L, p->wait, p->wait->rc);
    if (p->to == L) return p->count;
    if (!lua_checkstack(p->to, p->count + 8)) return luaL_error(L, "too many results");
    lua_xmove(L, p->to, p->count); /* made here: no function may run on a coroutine that waits */
    return 0;
}

static int op_results_onto(op_wait *w, lua_State *to)
{
    op_push p = {w, to, 0};
    int top = lua_gettop(to), rc = gbl_protect(w->state, GBL_RUN_OP, &p);
    if (rc >= 0) return p.count;
    lua_settop(to, top);
    return gbl_push_failure(to, rc, gb_err_detail());
}

/* On the worker: the op has ended. */
static void op_ended(gb_node *node, void *reader)
{
    (void)reader;
    op_wait *w = GB_CONTAINER(node, op_wait, node);
    gb_sim_release(w->state->worker->silo->sys);
    if (w->pending) {
        lua_State *L = w->state->L;
        int top = lua_gettop(L);
        gbl_pending *pending = w->pending;
        gbl_future_finish(w->state, pending, L, op_results_onto(w, L));
        lua_settop(L, top);
    } else if (!w->late && gbl_ticket_valid(w->state, &w->ticket)) {
        gbl_wake(&w->ticket, op_results_onto(w, gbl_ticket_stack(&w->ticket)));
    }
    op_free(w);
}

/* On any thread. */
static void op_done(gb_op *op, int rc)
{
    op_wait *w = GB_CONTAINER(op, op_wait, pub.op);
    gb_worker *worker = w->state->worker;
    w->rc = rc;
    w->node.run = op_ended;
    gb_worker_post(worker, &w->node);
    if (gb_sys_is_sim(worker->silo->sys))
        gb_loop_wake(worker->loop); /* it never dozes there: post wakes nobody */
}

static void op_late(gb_timer *timer)
{
    op_wait *w = GB_CONTAINER(timer, op_wait, timer);
    w->late = true;
    atomic_store(&w->pub.op.cancelled, 1);
    if (w->pending) {
        lua_State *L = w->state->L;
        gbl_future_finish(w->state, w->pending, L,
                          gbl_push_failure(L, GB_ETIMEDOUT, "it did not end in time"));
    } else if (gbl_ticket_valid(w->state, &w->ticket)) {
        gbl_wake(&w->ticket, gbl_push_failure(gbl_ticket_stack(&w->ticket), GB_ETIMEDOUT,
                                              "it did not end in time"));
    }
}

gbl_wait *gbl_wait_new(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    op_wait *w = gb_mem_zalloc(&state->mem, sizeof *w);
    if (!w) return NULL;
    gb_op_init(&w->pub.op, op_done);
    gb_timer_init(&w->timer, op_late);
    w->state = state;
    gb_list_push(&state->op_waits, &w->link);
    gb_sim_hold(state->worker->silo->sys);
    return &w->pub;
}

/* When its waiter is to give up: its own timeout or the deadline of the turn, whichever comes
 * first. */
static void arm_late(op_wait *w, uint64_t deadline)
{
    gb_worker *worker = w->state->worker;
    uint64_t now = gbl_now(w->state);
    if (w->pub.timeout_ns && now + w->pub.timeout_ns < deadline) deadline = now + w->pub.timeout_ns;
    if (deadline != GB_FOREVER) gb_timer_add(&worker->timers, &w->timer, worker->now, deadline);
}

int gbl_wait_finish(lua_State *L, gbl_wait *wait, int started)
{
    op_wait *w = (op_wait *)wait;
    if (started != GB_OP_PENDING) {
        gb_sim_release(w->state->worker->silo->sys);
        if (started < 0 && !wait->op.detail) gb_op_fail(&wait->op, started, "%s", gb_err_detail());
        int count = push_op_results(L, w, started < 0 ? started : 0);
        op_free(w);
        return count;
    }
    gbl_check_park(L, "an operation that waits");
    w->ticket = gbl_park(L, NULL);
    arm_late(w, w->ticket.turn->deadline);
    return gbl_yield(L);
}

static int future_protected(lua_State *L)
{
    gbl_pending **out = lua_touserdata(L, 1);
    *out = gbl_future_new(L);
    return 1;
}

int gbl_wait_future(lua_State *L, gbl_wait *wait, int started)
{
    op_wait *w = (op_wait *)wait;
    gbl_state *state = w->state;
    gbl_pending *pending = NULL;
    bool made = gbl_protect(state, GBL_RUN_FUTURE, &pending) >= 0;
    if (made && L != state->L) lua_xmove(state->L, L, 1);
    int future = lua_gettop(L);
    if (started != GB_OP_PENDING) {
        gb_sim_release(state->worker->silo->sys);
        if (started < 0 && !wait->op.detail) gb_op_fail(&wait->op, started, "%s", gb_err_detail());
        if (made) {
            int count = push_op_results(L, w, started < 0 ? started : 0);
            gbl_future_finish(state, pending, L, count);
        }
        op_free(w);
    } else if (made) {
        w->pending = pending;
        gbl_future_set_op(pending, &wait->op);
        arm_late(w, GB_FOREVER);
    } else {
        w->late = true; /* nobody can wait for it: it ends by itself */
    }
    if (!made) return gbl_push_failure(L, GB_ENOMEM, "out of memory: a future");
    lua_settop(L, future);
    return 1;
}

void gbl_waits_close(gbl_state *state)
{
    gb_list *link;
    while (!gb_list_empty(&state->sleepers))
        sleeper_free(GB_CONTAINER(state->sleepers.next, sleeper, link));
    while ((link = gb_list_shift(&state->pending))) {
        gbl_pending *pending = GB_CONTAINER(link, gbl_pending, link);
        while (pending->waiters) {
            waiter *w = pending->waiters;
            pending->waiters = w->next;
            waiter_free(w);
        }
        gb_mem_free(&state->mem, pending, sizeof *pending);
    }
}

void gbl_open_turn(lua_State *L)
{
    static const luaL_Reg functions[] = {{"await", core_await},
                                         {"await_any", core_await_any},
                                         {"cancel", core_cancel},
                                         {"sleep", core_sleep},
                                         {"bar", core_bar},
                                         {"raise", core_raise},
                                         {"turn", core_turn},
                                         {"spawn", core_spawn},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
    lua_pushlightuserdata(L, gbl_of(L));
    lua_setfield(L, -2, "wait_token");
    gbl_protect_add(L, GBL_RUN_OP, op_push_protected);
    gbl_protect_add(L, GBL_RUN_FUTURE, future_protected);
}
