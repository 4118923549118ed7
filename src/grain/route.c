/* The way of a call to its target: which worker serves a key, and from there to an activation.
 *
 * A key has a home, the worker of its hash. Types that are placed elsewhere (local, least) have at
 * home an entry that names the worker of their activation; it is made by the first call and goes
 * when the activation has ended there (act.c), so home always knows of the one activation.
 */
#include "grain/far.h"
#include "grain/room.h"

#include "base/err.h"

enum { HOPS_MAX = 16 };

static void arrive_by_mail(gb_node *node, void *reader)
{
    gb_worker *worker = reader;
    gb_call *call = GB_CONTAINER(node, gb_call, node);
    if (gbi_silo_ended(worker->silo)) return; /* gb_silo_stop answers it */
    if (call->origin == worker) call->away = false;
    gbi_call_arrive(worker, call);
}

static void send_to(gb_worker *worker, gb_worker *target, gb_call *call)
{
    if (target == worker) {
        gbi_call_arrive(worker, call);
        return;
    }
    if (++call->hops > HOPS_MAX) {
        gb_call_fail(call, GB_EBUSY, "passed on %d times: the grain keeps moving", HOPS_MAX);
        gbi_call_refuse(worker, call);
        return;
    }
    if (call->origin == worker) {
        call->away = true;
        if (worker->sending == call) {
            worker->sending = NULL;
            worker->sent = GB_OP_PENDING;
        }
    }
    call->node.run = arrive_by_mail;
    call->node.near = call->bytes.data;
    atomic_store_explicit(&call->at, target, memory_order_release);
    gb_worker_post(target, &call->node);
}

static gb_worker *route(gb_worker *worker, gb_call *call)
{
    gb_type *type = call->type;
    if (atomic_load_explicit(&type->foreign, memory_order_acquire)) return worker;
    if (type->pinned >= 0) return worker->silo->workers[type->pinned];
    switch (type->options.placement) {
    case GB_PLACE_STATELESS:
        return worker;
    case GB_PLACE_LOCAL:
    case GB_PLACE_LEAST:
        if (gb_act_find(worker, type, call->key)) return worker;
        break;
    default:
        break;
    }
    return gb_worker_of_key(type, call->key);
}

static gb_worker *least_worker(gb_worker *worker)
{
    gb_silo *silo = worker->silo;
    gb_worker *best = worker;
    for (int i = 0; i < silo->worker_count; i++)
        if (atomic_load_explicit(&silo->workers[i]->act_count, memory_order_relaxed) <
            atomic_load_explicit(&best->act_count, memory_order_relaxed))
            best = silo->workers[i];
    return best;
}

/* The other worker that is to serve a key without activation, decided at its home. NULL: this one.
 */
static gb_worker *place(gb_worker *worker, gb_call *call)
{
    gb_type *type = call->type;
    gb_placement placement = type->options.placement;
    if (type->pinned >= 0 || (placement != GB_PLACE_LOCAL && placement != GB_PLACE_LEAST))
        return NULL;
    gb_worker *home = gb_worker_of_key(type, call->key);
    if (worker != home) return call->hops == 0 ? home : NULL; /* passed on by home: it is ours */
    gb_worker *target = placement == GB_PLACE_LOCAL ? call->origin : least_worker(worker);
    if (target == worker) return NULL;
    gb_act *entry;
    return gbi_act_forward_new(worker, type, call->key, target, &entry) < 0 ? NULL : target;
}

void gbi_call_to_act(gb_worker *worker, gb_act *act, gb_call *call)
{
    call->act = act;
    gbi_call_came(worker, act, call);
    if (gb_act_idle(act) || (act->state == GB_ACT_ACTIVE && !act->wants_end && !act->queue &&
                             act->type->options.reentrant == GB_REENTRANT_YES)) {
        call = gbi_call_admit(worker, call);
        if (call) gbi_turn_begin(worker, act, call);
    } else {
        gbi_call_enqueue(worker, act, call);
    }
}

/* The call cannot begin: rc is set. When it was passed on to here for an activation that there is
 * not, its home must not keep the entry. */
static void refuse_placed(gb_worker *worker, gb_call *call)
{
    gb_type *type = call->type;
    gb_placement placement = type->options.placement;
    if ((placement == GB_PLACE_LOCAL || placement == GB_PLACE_LEAST) && type->pinned < 0 &&
        gb_worker_of_key(type, call->key) != worker && !gb_act_find(worker, type, call->key))
        gbi_act_unplace(worker, type, call->key);
    gbi_call_refuse(worker, call);
}

/* True: the call waits for its type (or was refused, or went on, because the load ended at once).
 * It is in the list before the load begins, in the order of arrival. */
static bool wait_for_type(gb_worker *worker, gb_call *call)
{
    struct gb_type_local *local = &call->type->local[worker->index];
    if (local->state == GB_TYPE_LOADED) return false;
    gb_type *type = call->type;
    call->next = NULL;
    call->state |= GB_AT_TYPE;
    *local->waiting_end = call;
    local->waiting_end = &call->next;
    if (local->state == GB_TYPE_LOADING) {
        gbi_wait_check(worker, call);
        return true;
    }
    local->state = GB_TYPE_LOADING;
    int rc = type->kind->load(worker, type);
    if (rc == GB_OP_PENDING)
        gbi_wait_check(worker, call);
    else
        gb_type_loaded(worker, type, rc, rc < 0 ? gb_err_detail() : NULL);
    return true;
}

void gb_type_loaded(gb_worker *worker, gb_type *type, int rc, const char *message)
{
    struct gb_type_local *local = &type->local[worker->index];
    if (rc >= 0)
        local->state = GB_TYPE_LOADED;
    else if (local->state == GB_TYPE_LOADING) /* a failed reload leaves the old one in use */
        local->state = GB_TYPE_UNLOADED;
    gb_call *call = local->waiting;
    local->waiting = NULL;
    local->waiting_end = &local->waiting;
    for (gb_call *next; call; call = next) {
        next = call->next;
        call->state &= (uint8_t)~GB_AT_TYPE;
        if (rc >= 0) {
            gbi_call_arrive(worker, call);
            continue;
        }
        gb_call_fail(call, rc, "%s", message ? message : gb_err_text(rc));
        refuse_placed(worker, call);
    }
}

/* ---- other silos ---- */

bool gbi_far_asks(const gb_type *type)
{
    return type->silo->far && type->pinned < 0 && type->options.placement != GB_PLACE_STATELESS;
}

void gbi_far_ended(gb_worker *worker, gb_type *type, gb_key key)
{
    if (gbi_far_asks(type)) worker->silo->far->ended(worker->silo->far, worker, type, key);
}

/* False: its grain is to be here. */
static bool ask_far(gb_worker *worker, gb_call *call)
{
    gb_far *far = worker->silo->far;
    if (!far || call->way & GB_WAY_PLACED) return false;
    call->state |= GB_AT_DOOR;
    int rc = far->place(far, worker, call);
    if (rc != GB_OP_PENDING) call->state &= (uint8_t)~GB_AT_DOOR;
    if (rc == GB_OP_READY) {
        call->way |= GB_WAY_PLACED;
        return false;
    }
    if (rc < 0) {
        gb_call_fail(call, rc, "%s", gb_err_detail());
        gbi_call_refuse(worker, call);
    } else if (worker->sending == call) {
        worker->sending = NULL;
        worker->sent = GB_OP_PENDING;
    }
    return true;
}

void gb_silo_set_far(gb_silo *silo, gb_far *far, uint64_t hash_seed)
{
    silo->far = far;
    silo->hash_seed = hash_seed;
}

void gb_silo_set_turns_until(gb_silo *silo, uint64_t until)
{
    atomic_store_explicit(&silo->turns_until, until, memory_order_release);
}

void gb_far_here(gb_worker *worker, gb_call *call)
{
    call->state &= (uint8_t)~GB_AT_DOOR;
    call->way |= GB_WAY_PLACED;
    gbi_call_arrive(worker, call);
}

void gb_far_again(gb_worker *worker, gb_call *call)
{
    call->state &= (uint8_t)~GB_AT_DOOR;
    call->way &= (uint8_t)~GB_WAY_PLACED;
    send_to(worker, route(worker, call), call);
}

void gb_far_answer(gb_call *call)
{
    call->way |= GB_WAY_AFAR;
    gbi_call_return(call);
}

int gb_call_may_leave(const gb_call *call)
{
    for (uint32_t i = 0; i < call->block_count; i++)
        if (call->blocks[i]->at_home)
            return gb_err_set(GB_EDEVICE, "a device buffer cannot leave its silo: send an array");
    return 0;
}

/* ---- arriving ---- */

void gbi_call_arrive(gb_worker *worker, gb_call *call)
{
    if (gbi_call_is_over(worker, call)) {
        gb_call_fail(call, GB_ETIMEDOUT, "the deadline passed before the turn began");
        refuse_placed(worker, call);
        return;
    }
    gb_type *type = call->type;
    if (atomic_load_explicit(&type->foreign, memory_order_acquire)) {
        if (ask_far(worker, call)) return;
        gb_call_fail(call, GB_ENOTYPE, "no silo hosts the grain type '%s'", type->name->text);
        gbi_call_refuse(worker, call);
        return;
    }
    if (wait_for_type(worker, call)) return;
    gb_act *act;
    bool full = false;
    if (type->options.placement == GB_PLACE_STATELESS)
        act = gbi_act_pick_stateless(worker, type, call->key, &full);
    else
        act = gb_act_find(worker, type, call->key);
    if (act && act->state != GB_ACT_FORWARD) {
        gbi_call_to_act(worker, act, call);
        return;
    }
    if (!act && gbi_far_asks(type) && gb_worker_of_key(type, call->key) == worker &&
        ask_far(worker, call))
        return;
    gb_worker *target = act ? worker->silo->workers[act->forward] : place(worker, call);
    if (target) {
        send_to(worker, target, call);
        return;
    }
    int rc = gbi_act_new(worker, type, call->key, &act);
    if (rc < 0) {
        gb_call_fail(call, rc, "%s", gb_err_detail());
        if (gb_worker_of_key(type, call->key) == worker)
            gbi_far_ended(worker, type, call->key); /* else home hears of it, and says so */
        refuse_placed(worker, call);
        return;
    }
    if (!type->local[worker->index].has_activate) act->state = GB_ACT_ACTIVE;
    gbi_call_to_act(worker, act, call);
    if (act->state == GB_ACT_STARTING) gbi_act_start(worker, act);
}

gb_act *gb_act_make(gb_worker *worker, gb_type *type, gb_key key)
{
    gb_placement placement = type->options.placement;
    bool at_home = placement == GB_PLACE_RANDOM || placement == GB_PLACE_HASH;
    if (at_home && gb_worker_of_key(type, key) != worker) return NULL; /* never here: no search */
    gb_act *act = gb_act_find(worker, type, key);
    if (act) return act->state == GB_ACT_FORWARD ? NULL : act;
    struct gb_type_local *local = &type->local[worker->index];
    if (local->state != GB_TYPE_LOADED || !at_home || gbi_far_asks(type) ||
        atomic_load_explicit(&worker->silo->closing, memory_order_relaxed) ||
        gbi_act_new(worker, type, key, &act) < 0)
        return NULL;
    uint32_t slot = act->slot, generation = act->generation;
    if (local->has_activate)
        gbi_act_start(worker, act); /* without memory it ends at once */
    else
        act->state = GB_ACT_ACTIVE;
    act = gb_act_at(worker, slot, generation);
    if (act) gbi_act_settle(worker, act); /* idle from now on, should no call follow */
    return act;
}

/* Known to be on another silo: it goes there from here. */
static bool known_far(gb_worker *worker, gb_call *call)
{
    gb_far *far = worker->silo->far;
    if (!far || call->way & GB_WAY_AFAR) return false;
    if (!atomic_load_explicit(&call->type->foreign, memory_order_acquire) &&
        !gbi_far_asks(call->type))
        return false;
    call->state |= GB_AT_DOOR;
    if (far->known(far, worker, call) == GB_OP_READY) {
        call->state &= (uint8_t)~GB_AT_DOOR;
        return false;
    }
    worker->sending = NULL;
    worker->sent = GB_OP_PENDING;
    return true;
}

int gb_call_send(gb_call *call)
{
    gb_worker *worker = call->origin, *target;
    if (atomic_load_explicit(&worker->silo->closing, memory_order_relaxed))
        return gb_err_set(GB_ECLOSED, "the silo is closing");
    target = route(worker, call);
    if (target != worker && atomic_load_explicit(&target->stuck, memory_order_relaxed))
        return gb_err_set(GB_ESTUCK, "worker %d, which holds the grain, is stuck in a turn",
                          target->index);
    bool timed = !(call->flags & GB_CALL_ONEWAY) && call->deadline != GB_FOREVER;
    if (timed) {
        int rc = gb_timer_add(&worker->timers, &call->timer, worker->now, call->deadline);
        if (rc < 0) return rc;
    }
    gb_call *outer = worker->sending; /* a load that this send begins may send calls of its own */
    int outer_sent = worker->sent;
    worker->sending = call;
    worker->sent = GB_OP_PENDING;
    if (!known_far(worker, call)) send_to(worker, target, call);
    int rc = worker->sent; /* from here on the call is the sender's only when it was refused */
    worker->sending = outer;
    worker->sent = outer_sent;
    if (rc < 0 && timed) gb_timer_stop(&worker->timers, &call->timer);
    return rc;
}
