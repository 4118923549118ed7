/* Calls that wait for themselves. A call that is queued behind turns waits for them; a parked turn
 * waits for the call it is parked on. Following these edges from a fresh edge back to the turn that
 * made it shows a circle (edge chasing: Chandy, Misra and Haas 1983). Within a worker the edges are
 * pointers; to another worker a probe travels. An edge of a circle goes away only by a deadline or
 * by being cancelled, so a probe that comes home is right, however late it comes. A probe that ends
 * at a turn that runs marks it as watched, and a watched turn looks again when it parks: so
 * whichever edge comes last closes the circle in someone's sight. No target that is not busy, and
 * no frame, pays for it.
 *
 * Who reads what: a turn and a call are read by the worker they are at; the origin of a call also
 * reads its serial, away and answered there, which only it writes. A caller is compared as a
 * pointer and read only where it is found among the turns.
 */
#include "grain/room.h"

#include "base/err.h"

#include <stdio.h>

enum { DEPTH_MAX = 1000 };

typedef struct probe {
    gb_node node;
    enum { FOLLOW, ADMIT, REFUSE } stage;
    int depth;
    gb_worker *home;  /* origin of the suspect: where its caller is parked */
    gb_call *suspect; /* the call that may wait for itself */
    uint32_t suspect_serial;
    gb_call *caller; /* the turn that is parked on it, at home */
    uint32_t caller_serial;
    gb_call *at; /* the call to look at next */
    uint32_t at_serial;
    /* The calls of the path that are in queues. If there is but one, it comes back along its own
     * chain of turns, and its target may admit it (reentrant = "chain"). */
    struct queued {
        gb_call *call;
        gb_worker *worker;
        uint32_t serial;
        int count;
        bool chain;
    } queued;
} probe;

static void probe_run(gb_node *node, void *reader);

static void probe_send(gb_worker *worker, const probe *from, gb_worker *to)
{
    probe *copy = gb_mem_alloc(worker->silo->mem, sizeof *copy);
    if (!copy) return; /* the deadline of the call remains */
    *copy = *from;
    copy->node.run = probe_run;
    gb_worker_post(to, &copy->node);
}

/* At home. */
static void refuse(const probe *look)
{
    if (look->suspect->serial != look->suspect_serial) return;
    const gb_call *call = look->suspect;
    char id[256], text[400];
    gbi_call_print(id, sizeof id, call);
    snprintf(text, sizeof text,
             "the call would wait for itself: %s (called for %s) is busy with a turn that waits "
             "for the caller",
             id, call->method ? call->method->text : "?");
    gb_call_abandon(look->suspect, GB_EDEADLOCK, text);
}

/* At the target of the queued call. One that has not started yet, or is ending, admits nothing. */
static void admit(gb_worker *worker, probe *look)
{
    gb_call *call = look->queued.call;
    if (atomic_load_explicit(&call->at, memory_order_acquire) != worker ||
        call->serial != look->queued.serial || !(call->state & GB_AT_QUEUED))
        return; /* no circle any more */
    gb_act *act = call->act;
    if (act->state == GB_ACT_ACTIVE) {
        gbi_call_unqueue(act, call);
        gbi_turn_begin(worker, act, call);
        gbi_queue_refill(worker, act);
    } else if (look->home == worker) {
        refuse(look);
    } else {
        look->stage = REFUSE;
        probe_send(worker, look, look->home);
    }
}

/* The circle is closed, seen at home: the caller is parked on the suspect. */
static void tell(gb_worker *worker, probe *look)
{
    if (look->queued.count != 1 || !look->queued.chain) {
        refuse(look);
        return;
    }
    look->stage = ADMIT;
    if (look->queued.worker == worker)
        admit(worker, look);
    else
        probe_send(worker, look, look->queued.worker);
}

static bool follow_call(gb_worker *worker, probe *look, gb_call *call);

/* True when the way has come back to the caller. */
static bool follow_turn(gb_worker *worker, probe *look, gb_call *turn)
{
    gb_call *next = turn->waits;
    if (next && next->serial != turn->waits_serial) next = NULL; /* answered: it wakes soon */
    if (worker == look->home && turn == look->caller && turn->serial == look->caller_serial) {
        turn->watched = true;
        if (next == look->suspect) tell(worker, look);
        return true;
    }
    if (!next) turn->watched = true; /* if it parks later, that edge must be looked at */
    if (!next || ++look->depth > DEPTH_MAX) return false;
    if (!next->away) return follow_call(worker, look, next);
    look->at = next;
    look->at_serial = next->serial;
    gb_worker *at = atomic_load_explicit(&next->at, memory_order_acquire);
    if (at != worker) probe_send(worker, look, at);
    return false;
}

/* A call that is here: a turn, or queued behind turns. */
static bool follow_call(gb_worker *worker, probe *look, gb_call *call)
{
    if (call->state & GB_AT_TURN) return follow_turn(worker, look, call);
    if (!(call->state & GB_AT_QUEUED)) return false; /* on its way: it looks when it is queued */
    struct queued before = look->queued;
    struct queued here = {.call = call,
                          .worker = worker,
                          .serial = call->serial,
                          .count = before.count + 1,
                          .chain = call->type->options.reentrant == GB_REENTRANT_CHAIN};
    for (gb_call *turn = call->act->turns, *next; turn; turn = next) {
        next = turn->turn_next;
        if (turn->flags & GB_CALL_DETACHED) continue;
        look->queued = here;
        if (follow_turn(worker, look, turn)) return true;
    }
    look->queued = before;
    return false;
}

static void probe_run(gb_node *node, void *reader)
{
    gb_worker *worker = reader;
    probe look = *(probe *)node;
    gb_mem_free(worker->silo->mem, node, sizeof(probe));
    if (gbi_silo_ended(worker->silo)) return;
    if (look.stage == REFUSE) {
        refuse(&look);
        return;
    }
    if (look.stage == ADMIT) {
        admit(worker, &look);
        return;
    }
    gb_worker *at = atomic_load_explicit(&look.at->at, memory_order_acquire);
    if (at != worker) { /* passed on meanwhile, or answered */
        if (++look.depth < DEPTH_MAX && at != look.at->origin) probe_send(worker, &look, at);
        return;
    }
    if (look.at->serial == look.at_serial) follow_call(worker, &look, look.at);
}

void gbi_wait_check(gb_worker *worker, gb_call *suspect)
{
    gb_call *caller = suspect->caller;
    if (!caller) return;
    probe look = {.home = suspect->origin,
                  .suspect = suspect,
                  .suspect_serial = suspect->serial,
                  .caller = caller,
                  .caller_serial = suspect->caller_serial,
                  .at = suspect,
                  .at_serial = suspect->serial};
    gb_worker *at = atomic_load_explicit(&suspect->at, memory_order_acquire);
    if (at == worker)
        follow_call(worker, &look, suspect);
    else
        probe_send(worker, &look, at);
}

void gbi_wait_parked(gb_call *turn)
{
    if (turn->waits->serial == turn->waits_serial) gbi_wait_check(turn->waits->origin, turn->waits);
}
