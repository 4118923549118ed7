/* Calls that wait for themselves. A call that is queued behind turns waits for them, and one whose
 * type is being loaded for the turn that does that; a parked turn waits for the call it is parked
 * on. Following these edges from a fresh edge back to the call that made it shows a circle (edge
 * chasing: Chandy, Misra and Haas 1983). Within a worker the edges are pointers; to another worker
 * the question travels as mail, to another silo behind the call that is waited for, on the same
 * link. A question that ends at a turn marks it and all that it passed as watched, and a watched
 * turn looks again when it parks: so whichever edge comes last closes the circle in someone's
 * sight. No target that is not busy, and no frame of a call, pays for it.
 *
 * A question that has travelled may come home with edges that were never there at once: one went,
 * by a deadline, before another came. So it goes round again, and only when it has seen the very
 * same twice was there a circle, at the moment between the two.
 *
 * Who reads what: a turn and a call are read by the worker they are at; the origin of a call also
 * reads its serial, away and answered there, which only it writes. A circle is closed where the
 * suspect was made: its caller is parked there, or it came there from another silo.
 */
#include "grain/far.h"
#include "grain/room.h"

#include "base/err.h"
#include "base/hash.h"

#include <stdio.h>

enum { STEPS_MAX = 1000, ROUNDS_MAX = 4 };
enum { LOOK, ADMIT, REFUSE }; /* stages */

typedef struct probe {
    gb_node node;
    gb_call *at; /* the call to look at next */
    uint32_t at_serial;
    gb_question question;
} probe;

static void probe_run(gb_node *node, void *reader);

static void probe_send(gb_worker *worker, const gb_question *q, gb_worker *to, gb_call *at,
                       uint32_t at_serial)
{
    probe *p = gb_mem_alloc(worker->silo->mem, sizeof *p);
    if (!p) return; /* the deadline of the call remains */
    p->node = (gb_node){.run = probe_run};
    p->at = at;
    p->at_serial = at_serial;
    p->question = *q;
    p->question.travelled = true;
    gb_worker_post(to, &p->node);
}

static uint64_t self_of(const gb_worker *worker)
{
    gb_far *far = worker->silo->far;
    return far ? far->self(far) : 0;
}

static bool is_suspect(const gb_worker *worker, const gb_question *q, const gb_call *call)
{
    return call->index == q->index && call->serial == q->serial &&
           (uint32_t)call->origin->index == q->worker && q->silo == self_of(worker);
}

static uint64_t digest(uint64_t seen, const gb_call *call, uint32_t serial)
{
    return gb_hash_mix(gb_hash_mix(seen ^ (uintptr_t)call) + serial);
}

/* At the suspect's origin. */
static void refuse(gb_call *suspect)
{
    char id[256], text[400];
    gbi_call_print(id, sizeof id, suspect);
    bool unloaded = !suspect->away && suspect->state & GB_AT_TYPE;
    snprintf(text, sizeof text, "the call would wait for itself: %s (called for %s) %s", id,
             suspect->method ? suspect->method->text : "?",
             unloaded ? "is of a type whose module has not run to its end, and waits for the caller"
                      : "is busy with a turn that waits for the caller");
    gb_call_abandon(suspect, GB_EDEADLOCK, text);
}

/* The one call of the circle that stands in a queue comes back along its own chain of turns, and
 * its target lets it in (reentrant = "chain"). One that has not started yet, or is ending, does
 * not. */
static bool admit(gb_worker *worker, gb_call *call)
{
    gb_act *act = call->act;
    if (act->state != GB_ACT_ACTIVE) return false;
    gbi_call_unqueue(worker, act, call);
    gbi_turn_begin(worker, act, call);
    gbi_queue_refill(worker, act);
    return true;
}

/* CLOSED: back at the suspect, which this worker made. ENDED: there is no more to do. */
typedef enum { OPEN, CLOSED, ENDED } outcome;

static outcome follow_here(gb_worker *worker, gb_question *q, gb_call *call);

/* A call that this worker made. */
static outcome follow_own(gb_worker *worker, gb_question *q, gb_call *call)
{
    if (!call->away) return follow_here(worker, q, call);
    gb_worker *at = atomic_load_explicit(&call->at, memory_order_acquire);
    if (at != worker) probe_send(worker, q, at, call, call->serial);
    return OPEN;
}

static outcome follow_turn(gb_worker *worker, gb_question *q, gb_call *turn)
{
    gb_call *next = turn->waits;
    turn->watched = true; /* where it parks next must be looked at too */
    if (!next || next->serial != turn->waits_serial) return OPEN; /* it runs, or wakes soon */
    if (++q->steps > STEPS_MAX) return OPEN;
    q->seen = digest(digest(q->seen, turn, turn->serial), next, next->serial);
    if (is_suspect(worker, q, next)) return CLOSED;
    return follow_own(worker, q, next);
}

/* NULL: no turn of this worker is known to load the type. */
static gb_call *loader_of(const gb_worker *worker, const gb_type *type)
{
    const struct gb_type_local *local = &type->local[worker->index];
    gb_call *turn = local->loader;
    if (!turn || atomic_load_explicit(&turn->at, memory_order_acquire) != worker) return NULL;
    return turn->serial == local->loader_serial ? turn : NULL;
}

/* A call that is at this worker: a turn, or queued behind turns, or before its type, or on its way
 * to another silo. */
static outcome follow_here(gb_worker *worker, gb_question *q, gb_call *call)
{
    if (call->state & GB_AT_TURN) return follow_turn(worker, q, call);
    if (call->state & GB_AT_DOOR) worker->silo->far->ask(worker->silo->far, worker, call, q);
    if (call->state & GB_AT_TYPE) {
        gb_call *loader = loader_of(worker, call->type);
        return loader ? follow_turn(worker, q, loader) : OPEN;
    }
    if (!(call->state & GB_AT_QUEUED)) return OPEN; /* on its way: it looks when it is queued */
    uint64_t name = digest(0, call, call->serial);
    if (q->stage == ADMIT && q->queued_call == name) {
        if (admit(worker, call)) return ENDED;
        q->stage = REFUSE;
    }
    gb_question before = *q;
    for (gb_call *turn = call->act->turns, *next; turn; turn = next) {
        next = turn->turn_next;
        if (turn->flags & GB_CALL_DETACHED) continue;
        *q = before;
        q->seen = digest(q->seen, call, call->serial);
        q->queued++;
        q->queued_call = name;
        q->chain = call->type->options.reentrant == GB_REENTRANT_CHAIN;
        outcome out = follow_turn(worker, q, turn);
        if (out != OPEN) return out;
    }
    *q = before;
    return OPEN;
}

/* The question is back at the suspect: the call if it is to go round once more, else NULL. */
static gb_call *decide(gb_worker *worker, gb_question *q)
{
    gb_call *suspect = gbi_call_at(worker, q->index, q->serial);
    if (!suspect || suspect->answered) return NULL;
    if (q->stage == REFUSE) {
        refuse(suspect);
        return NULL;
    }
    if (q->stage == ADMIT || ++q->round > ROUNDS_MAX) return NULL;
    if (q->travelled && q->seen != q->seen_before) {
        q->seen_before = q->seen;
    } else if (q->queued == 1 && q->chain) {
        q->stage = ADMIT;
    } else {
        refuse(suspect);
        return NULL;
    }
    q->seen = 0;
    q->queued = q->steps = 0;
    return suspect;
}

static void look(gb_worker *worker, gb_question *q, outcome out)
{
    while (out == CLOSED) {
        gb_call *suspect = decide(worker, q);
        if (!suspect) return;
        out = follow_own(worker, q, suspect);
    }
}

static void probe_run(gb_node *node, void *reader)
{
    gb_worker *worker = reader;
    probe p = *(probe *)node;
    gb_mem_free(worker->silo->mem, node, sizeof(probe));
    if (gbi_silo_ended(worker->silo)) return;
    gb_worker *at = atomic_load_explicit(&p.at->at, memory_order_acquire);
    if (at != worker) { /* passed on meanwhile, or answered */
        if (++p.question.steps < STEPS_MAX && at != p.at->origin)
            probe_send(worker, &p.question, at, p.at, p.at_serial);
        return;
    }
    if (p.at->serial == p.at_serial)
        look(worker, &p.question, follow_here(worker, &p.question, p.at));
}

static gb_question question_of(const gb_worker *worker, const gb_call *suspect)
{
    return (gb_question){.silo = self_of(worker),
                         .worker = (uint32_t)suspect->origin->index,
                         .index = suspect->index,
                         .serial = suspect->serial};
}

/* Most often a call is queued behind a turn that runs, or soon will, and waits for nothing: there
 * is no edge to follow, and no question is made. As in follow_here, such a turn is watched from now
 * on. False: there is more to see. */
static bool no_edge(const gb_call *queued)
{
    if (!(queued->state & GB_AT_QUEUED)) return false;
    for (gb_call *turn = queued->act->turns; turn; turn = turn->turn_next) {
        if (turn->flags & GB_CALL_DETACHED) continue;
        if (turn->waits) return false;
        turn->watched = true;
    }
    return true;
}

void gbi_wait_check(gb_worker *worker, gb_call *suspect)
{
    if (!suspect->caller && !(suspect->way & GB_WAY_AFAR)) return;
    if (no_edge(suspect)) return;
    gb_question q = question_of(worker, suspect);
    look(worker, &q, follow_here(worker, &q, suspect));
}

void gbi_wait_parked(gb_worker *worker, gb_call *turn)
{
    gb_call *suspect = turn->waits;
    if (suspect->serial != turn->waits_serial) return;
    gb_question q = question_of(worker, suspect);
    look(worker, &q, follow_own(worker, &q, suspect));
}

void gb_far_asked(gb_worker *worker, gb_call *call, const gb_question *question)
{
    gb_question q = *question;
    q.travelled = true;
    if (++q.steps > STEPS_MAX) return;
    look(worker, &q, is_suspect(worker, &q, call) ? CLOSED : follow_own(worker, &q, call));
}
