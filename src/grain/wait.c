/* Calls that wait for themselves. A call that is queued behind turns waits for them; a parked turn
 * waits for the call it is parked on. Following these edges from a fresh edge back to the turn that
 * made it shows a circle (edge chasing: Chandy, Misra and Haas 1983). Within a worker the edges are
 * pointers; to another worker a probe travels. An edge of a circle never goes away by itself, so a
 * probe that comes home is right, however late it comes. A probe that ends at a turn that runs
 * marks it as watched, and a watched turn looks again when it parks: so whichever edge comes last
 * closes the circle in someone's sight. No target that is not busy, and no frame, pays for it.
 */
#include "grain/room.h"

#include "base/err.h"

enum { DEPTH_MAX = 1000 };

typedef struct probe {
    gb_node node;
    gb_worker *home;  /* origin of the suspect: where its caller is parked */
    gb_call *suspect; /* the call that may wait for itself */
    uint32_t suspect_serial;
    gb_call *caller; /* the turn that is parked on it, at home */
    uint32_t caller_serial;
    gb_call *at; /* the call to look at next */
    uint32_t at_serial;
    int depth;
    bool found; /* on its way home to tell */
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

/* The circle is closed. The suspect's target may admit it (reentrant = "chain"), else the suspect
 * is answered. */
static void tell(gb_worker *worker, probe *look)
{
    gb_call *suspect = look->suspect;
    gb_worker *at = atomic_load_explicit(&suspect->at, memory_order_acquire);
    if (suspect->type->options.reentrant == GB_REENTRANT_CHAIN) {
        look->found = true;
        if (at != worker) {
            probe_send(worker, look, at);
            return;
        }
        if (suspect->serial != look->suspect_serial || !(suspect->state & GB_AT_QUEUED)) return;
        gb_act *act = suspect->act;
        if (act->state != GB_ACT_ACTIVE || (suspect->state & GB_AT_ROOM)) return;
        gbi_call_unqueue(act, suspect);
        gbi_turn_begin(worker, act, suspect);
        return;
    }
    gb_call *caller = look->caller;
    if (suspect->serial != look->suspect_serial || suspect->answered ||
        caller->serial != look->caller_serial || caller->waits != suspect)
        return;
    gb_call_abandon(
        suspect, GB_EDEADLOCK,
        "the call would wait for itself: its target is busy with a turn that waits for the caller");
}

static bool follow_call(gb_worker *worker, probe *look, gb_call *call);

/* True when the circle was found. */
static bool follow_turn(gb_worker *worker, probe *look, gb_call *turn)
{
    gb_call *next = turn->waits;
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
    if (!(call->state & GB_AT_QUEUED)) return false;
    for (gb_call *turn = call->act->turns, *next; turn; turn = next) {
        next = turn->turn_next;
        if (!(turn->flags & GB_CALL_DETACHED) && follow_turn(worker, look, turn)) return true;
    }
    return false;
}

static void probe_run(gb_node *node, void *reader)
{
    gb_worker *worker = reader;
    probe look = *(probe *)node;
    gb_mem_free(worker->silo->mem, node, sizeof(probe));
    if (look.found) {
        tell(worker, &look);
        return;
    }
    gb_worker *at = atomic_load_explicit(&look.at->at, memory_order_acquire);
    if (at != worker) {
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
