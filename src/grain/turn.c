#include "grain/room.h"

#include "base/check.h"
#include "base/err.h"

enum { HANDOFFS_MAX = 64, TURNS_PER_LOOK = 64, WINDOW = 100 };

/* ---- how long calls take ---- */

/* A gap of GBI_TIMED_SHARE on average, by which the next timed call is further on. Which ones are
 * timed must not follow a rhythm that callers may have, so the gaps differ (a linear congruence;
 * the constants are those of Knuth's MMIX). */
static uint32_t next_gap(gb_worker *worker)
{
    worker->timed_draw = worker->timed_draw * 6364136223846793005u + 1442695040888963407u;
    return 1 + (uint32_t)((worker->timed_draw >> 33) % (2 * GBI_TIMED_SHARE - 1));
}

void gbi_call_look(gb_worker *worker, gb_act *act, gb_call *call)
{
    bool drawn = worker->timed_in == 0;
    if (drawn) worker->timed_in = next_gap(worker);
    if (call->came) return; /* it was queued at an activation that has ended */
    call->timed = drawn || act->calls - 1 < GBI_TIMED_FIRST;
    call->came = gb_now(worker->silo->sys);
}

static void time_call(gb_worker *worker, gb_act *act, const gb_call *turn)
{
    struct gb_type_local *local = &act->type->local[worker->index];
    uint64_t ns = gb_now(worker->silo->sys) - turn->came, us = ns / 1000;
    if (++act->timed > WINDOW) {
        act->slow_before_us = act->slow_us;
        act->slow_us = act->timed = 0;
    }
    if (us > act->slow_us) act->slow_us = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    if (us == 0 && !act->slow_us) act->slow_us = 1;
    if (!local->pace) local->pace = gb_mem_zalloc(worker->silo->mem, sizeof *local->pace);
    if (local->pace) gb_hist_add(local->pace, ns);
}

static void count_call(gb_worker *worker, gb_act *act, const gb_call *turn)
{
    struct gb_type_local *local = &act->type->local[worker->index];
    act->calls++;
    local->calls++;
    if (__builtin_expect(turn->timed, 0)) time_call(worker, act, turn);
}

/* ---- turns ---- */

void gbi_turn_ready(gb_worker *worker, gb_call *turn, bool hand_over)
{
    GB_CHECK(!(turn->state & GB_AT_READY));
    turn->state |= GB_AT_READY;
    if (hand_over && !worker->next_call && worker->handoffs < HANDOFFS_MAX) {
        worker->next_call = turn;
        return;
    }
    turn->next = NULL;
    *worker->run_end = turn;
    worker->run_end = &turn->next;
}

static void turn_link(gb_act *act, gb_call *turn)
{
    turn->turn_next = act->turns;
    turn->turn_back = &act->turns;
    if (act->turns) act->turns->turn_back = &turn->turn_next;
    act->turns = turn;
    if (!(turn->flags & GB_CALL_DETACHED)) act->running++;
}

void gbi_turn_unlink(gb_call *turn)
{
    if (!turn->turn_back) return;
    *turn->turn_back = turn->turn_next;
    if (turn->turn_next) turn->turn_next->turn_back = turn->turn_back;
    turn->turn_back = NULL;
    turn->turn_next = NULL;
    if (!(turn->flags & GB_CALL_DETACHED)) turn->act->running--;
}

void gbi_turn_begin(gb_worker *worker, gb_act *act, gb_call *turn)
{
    turn->act = act;
    turn->state |= GB_AT_TURN;
    if (!turn->came) turn->came = worker->now; /* a hook, or spawned */
    turn_link(act, turn);
    if (!turn->body) {
        int rc = turn->rc < 0 ? turn->rc : act->type->kind->unpack(turn);
        if (__builtin_expect(rc < 0, 0)) {
            if (turn->rc >= 0) gb_call_fail(turn, rc, "%s", gb_err_detail());
            turn->state |= GB_AT_READY; /* it ends in its place in the run queue, like any turn */
            turn->next = NULL;
            *worker->run_end = turn;
            worker->run_end = &turn->next;
            return;
        }
    }
    /* Only a call that its caller is about to wait for may overtake: what a sender sent before it
     * to a reentrant grain, and what came by mail, begins in its order. */
    bool waited_for = worker->current && !(turn->flags & GB_CALL_ONEWAY) && act->running <= 1;
    gbi_turn_ready(worker, turn, waited_for);
}

/* The body goes first: the instance may go in what follows. */
static void hook_end(gb_worker *worker, gb_call *hook)
{
    if (hook->body) hook->type->kind->drop(hook);
    hook->body = NULL;
    hook->answered = true;
    gbi_act_hook_done(worker, hook);
    hook->act = NULL;
    gbi_call_answer(worker, hook);
}

static void turn_end(gb_worker *worker, gb_call *turn)
{
    gb_act *act = turn->act;
    gbi_turn_unlink(turn);
    uint8_t flags = turn->flags;
    if (__builtin_expect(flags & GB_CALL_HOOK, 0)) {
        hook_end(worker, turn);
        return;
    }
    if (!(flags & GB_CALL_DETACHED)) count_call(worker, act, turn);
    uint32_t slot = act->slot, generation = act->generation;
    gbi_call_answer(worker, turn);
    act = gb_act_at(worker, slot, generation);
    if (!act) return;
    if (__builtin_expect(flags & GB_CALL_TICK, 0))
        gbi_act_settle_tick(worker, act);
    else
        gbi_act_settle(worker, act);
}

void gbi_turn_kill(gb_worker *worker, gb_call *turn, int rc)
{
    if (turn->state & GB_AT_READY) { /* it ends when its place in the run queue comes */
        gbi_turn_unlink(turn);
        turn->act = NULL;
        gb_call_fail(turn, rc, "its grain was deactivated");
        return;
    }
    gbi_turn_unlink(turn);
    turn->waits = NULL;
    gb_call_fail(turn, rc, "its grain was deactivated");
    if (turn->body) turn->type->kind->drop(turn);
    turn->body = NULL;
    gbi_call_return(turn); /* not at once: the activation is in the middle of its end */
}

void gb_turn_park(gb_call *turn, gb_call *waits)
{
    turn->state |= GB_AT_PARKED;
    turn->waits = waits;
    if (!waits) return;
    turn->waits_serial = waits->serial;
    bool held = !waits->away && waits->state & (GB_AT_QUEUED | GB_AT_TYPE);
    if (waits->caller == turn && (turn->watched || held)) turn->look = true;
}

/* It has parked, and something is to be looked at: a circle, or that it asked its activation to
 * end. */
static void turn_parked(gb_worker *worker, gb_call *turn)
{
    uint32_t slot = turn->act->slot, generation = turn->act->generation;
    turn->look = false;
    if (turn->waits) gbi_wait_parked(worker, turn);
    gb_act *act = gb_act_at(worker, slot, generation);
    if (act && act->wants_end) gbi_act_settle(worker, act);
}

void gb_turn_wake(gb_call *turn)
{
    GB_CHECK(turn->state & GB_AT_PARKED);
    turn->state &= (uint8_t)~GB_AT_PARKED;
    turn->waits = NULL;
    gbi_turn_ready(atomic_load_explicit(&turn->at, memory_order_relaxed), turn, true);
}

static void show_turn(gb_worker *worker, gb_call *turn)
{
    const gb_sym *method = turn->method; /* one that stays, for the watch may read it later */
    if (turn->own_method) method = gb_sym_find(worker->silo, method->text, method->size);
    atomic_store_explicit(&worker->beat_method, method, memory_order_relaxed);
    atomic_store_explicit(&worker->beat_act, turn->act, memory_order_release);
    uint64_t turns = atomic_load_explicit(&worker->turns, memory_order_relaxed) + 1;
    atomic_store_explicit(&worker->turns, turns, memory_order_relaxed);
    atomic_store_explicit(&worker->beat, turns, memory_order_release);
}

static void turn_run(gb_worker *worker, gb_call *turn)
{
    turn->state &= (uint8_t)~GB_AT_READY;
    if (!turn->turn_back) { /* killed while it was ready */
        if (turn->body) turn->type->kind->drop(turn);
        turn->body = NULL;
        gbi_call_answer(worker, turn);
        return;
    }
    if (turn->rc < 0 && !turn->body) { /* it could not be unpacked */
        turn_end(worker, turn);
        return;
    }
    worker->current = turn;
    show_turn(worker, turn);
    int rc = turn->type->kind->run(turn);
    worker->current = NULL;
    if (rc == GB_RUN_PARKED) {
        if (__builtin_expect(turn->look, 0)) turn_parked(worker, turn);
        return;
    }
    turn_end(worker, turn);
}

bool gbi_turns_run(gb_worker *worker, uint64_t until)
{
    bool any = false;
    for (unsigned count = 1;; count++) {
        gb_call *turn = worker->next_call;
        if (turn) {
            worker->next_call = NULL;
            worker->handoffs++;
        } else {
            turn = worker->run_head;
            worker->handoffs = 0;
            if (!turn) break;
            worker->run_head = turn->next;
            if (!worker->run_head) worker->run_end = &worker->run_head;
        }
        any = true;
        turn_run(worker, turn);
        if ((worker->strict || count % TURNS_PER_LOOK == 0) && gb_now(worker->silo->sys) >= until)
            break;
    }
    atomic_store_explicit(&worker->beat, 0, memory_order_release);
    return any;
}
