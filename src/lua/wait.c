/* Waiting for ops of other rooms: as a turn, or as a future. */
#include "lua/state.h"

#include "base/err.h"

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
    w->pub.rc = w->rc;
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
    gbl_state *state = w->state;
    gb_worker *worker = state->worker;
    atomic_fetch_add(&state->posting, 1); /* from the push on the wait may be gone */
    w->rc = rc;
    w->node.run = op_ended;
    gb_worker_post(worker, &w->node);
    if (gb_sys_is_sim(worker->silo->sys))
        gb_loop_wake(worker->loop); /* it never dozes there: post wakes nobody */
    atomic_fetch_sub(&state->posting, 1);
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
        w->rc = started < 0 ? started : 0;
        int count = push_op_results(L, w, w->rc);
        op_free(w);
        return count;
    }
    gbl_check_park(w->state, L, "an operation that waits");
    w->ticket = gbl_park(w->state, NULL);
    arm_late(w, w->ticket.turn->deadline);
    return gbl_yield(w->state, L);
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
            w->rc = started < 0 ? started : 0;
            int count = push_op_results(L, w, w->rc);
            gbl_future_finish(state, pending, L, count);
        }
        op_free(w);
    } else if (made) {
        w->pending = pending;
        gbl_future_set_op(pending, &wait->op, op_forget);
        arm_late(w, GB_FOREVER);
    } else {
        w->late = true; /* nobody can wait for it: it ends by itself */
    }
    if (!made) return gbl_push_failure(L, GB_ENOMEM, "out of memory: a future");
    lua_settop(L, future);
    return 1;
}

void gbl_open_wait(lua_State *L)
{
    gbl_protect_add(L, GBL_RUN_OP, op_push_protected);
    gbl_protect_add(L, GBL_RUN_FUTURE, future_protected);
}
