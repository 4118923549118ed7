/* Queues of activations: what is admitted waits by priority, then in order; what comes while the
 * mailbox is full waits for room behind it. Where calls wait for room there are calls in the queue:
 * so whoever empties the queue never forgets them.
 *
 * Nothing here runs done at once: a refused call goes home as mail, also to its own worker, so that
 * no user code meets a queue that is being changed.
 */
#include "grain/room.h"

#include "base/err.h"

#include <string.h>

static void list_push(gb_call **first, gb_call **last, gb_call *call)
{
    call->next = NULL;
    if (*first)
        (*last)->next = call;
    else
        *first = call;
    *last = call;
}

static void list_remove(gb_call **first, gb_call **last, gb_call *call)
{
    gb_call **at = first, *before = NULL;
    while (*at != call) {
        before = *at;
        at = &before->next;
    }
    *at = call->next;
    if (*last == call) *last = before;
}

static void queue_insert(gb_worker *worker, gb_act *act, gb_call *call)
{
    call->state |= GB_AT_QUEUED;
    act->queued++;
    act->type->local[worker->index].queued++;
    if (!act->queue || act->queue_last->priority >= call->priority) {
        list_push(&act->queue, &act->queue_last, call);
        return;
    }
    gb_call **at = &act->queue;
    while ((*at)->priority >= call->priority) at = &(*at)->next;
    call->next = *at;
    *at = call;
}

/* A one-way call is admitted: its sender hears so now. While the sender looks on (gb_call_send) the
 * call itself stays; else a twin of it does, since the original goes back as the receipt. NULL:
 * refused for lack of memory. */
gb_call *gbi_call_admit(gb_worker *worker, gb_call *call)
{
    if (!(call->flags & GB_CALL_ONEWAY)) return call;
    if (call->origin == worker) {
        if (call->answered) return call;
        if (worker->sending == call) {
            worker->sending = NULL;
            worker->sent = GB_OP_READY;
            call->answered = true;
            call->deadline = GB_FOREVER;
            return call;
        }
    }
    gb_call *twin = gb_call_new(worker);
    if (twin && call->own_method &&
        gb_call_set_method(twin, call->method->text, call->method->size)) {
        gb_call_drop(twin);
        twin = NULL;
    }
    if (!twin) {
        gb_call_fail(call, GB_EBUSY, "%s", gb_err_detail());
        gbi_call_return(call);
        return NULL;
    }
    gb_buf bytes = twin->bytes;
    twin->type = call->type;
    if (!call->own_method) twin->method = call->method;
    twin->act = call->act;
    twin->flags = call->flags;
    twin->priority = call->priority;
    twin->turned = call->turned;
    twin->came = call->came;
    twin->timed = call->timed;
    twin->deadline = GB_FOREVER;
    twin->bytes = call->bytes;
    twin->named = call->named;
    twin->blocks = call->blocks;
    twin->block_count = call->block_count;
    twin->context = call->context;
    twin->answered = true;
    call->bytes = bytes;
    call->blocks = NULL;
    call->block_count = 0;
    call->context.bag = NULL;
    gbi_call_return(call);
    return twin;
}

/* It waits for room. */
static int room_push(gb_worker *worker, gb_act *act, gb_call *call)
{
    if (call->flags & GB_CALL_ONEWAY && call->deadline != GB_FOREVER) {
        int rc = gb_timer_add(&worker->timers, &call->timer, worker->now, call->deadline);
        if (rc < 0) return rc;
    }
    call->state |= GB_AT_QUEUED | GB_AT_ROOM;
    list_push(&act->room, &act->room_last, call);
    return 0;
}

void gbi_call_enqueue(gb_worker *worker, gb_act *act, gb_call *call)
{
    gb_type *type = act->type;
    if (act->queued < type->options.queue_max && !act->room) {
        call = gbi_call_admit(worker, call);
        if (!call) return;
        queue_insert(worker, act, call);
    } else if (call->deadline <= worker->now) {
        char id[256];
        gb_key_print(id, sizeof id, type, gb_act_key(act));
        gb_call_fail(call, GB_EBUSY, "the mailbox of %s is full (%u calls)", id, act->queued);
        gbi_call_refuse(worker, call);
        return;
    } else if (room_push(worker, act, call) < 0) {
        gb_call_fail(call, GB_ENOMEM, "%s", gb_err_detail());
        gbi_call_refuse(worker, call);
        return;
    }
    if (!(call->flags & GB_CALL_ONEWAY) && act->running > 0) gbi_wait_check(worker, call);
}

void gbi_call_unqueue(gb_worker *worker, gb_act *act, gb_call *call)
{
    if (call->state & GB_AT_ROOM) {
        list_remove(&act->room, &act->room_last, call);
    } else {
        list_remove(&act->queue, &act->queue_last, call);
        act->queued--;
        act->type->local[worker->index].queued--;
    }
    call->state &= (uint8_t) ~(GB_AT_QUEUED | GB_AT_ROOM);
}

/* Those that wait are let in when half of the queue is free, so that a sender that waits sends many
 * at a time. */
void gbi_queue_refill(gb_worker *worker, gb_act *act)
{
    uint32_t most = act->type->options.queue_max;
    if (act->queued > most / 2) return;
    while (act->room && act->queued < most) {
        gb_call *call = act->room;
        gbi_call_unqueue(worker, act, call);
        if (call->flags & GB_CALL_ONEWAY) {
            gb_timer_stop(&worker->timers, &call->timer);
            if (atomic_load_explicit(&call->cancelled, memory_order_acquire)) {
                gbi_call_return(call);
                continue;
            }
        }
        call = gbi_call_admit(worker, call);
        if (call) queue_insert(worker, act, call);
    }
}

gb_call *gbi_call_dequeue(gb_worker *worker, gb_act *act)
{
    gb_call *call;
    while ((call = act->queue)) {
        gbi_call_unqueue(worker, act, call);
        if (act->room) gbi_queue_refill(worker, act);
        if (!gbi_call_is_over(worker, call)) return call;
        gbi_call_refuse_late(worker, call);
    }
    return NULL;
}

bool gbi_call_is_over(gb_worker *worker, gb_call *call)
{
    if (atomic_load_explicit(&call->cancelled, memory_order_acquire)) return true;
    return !(call->flags & GB_CALL_ONEWAY) && call->deadline <= worker->now;
}

void gbi_call_refuse_late(gb_worker *worker, gb_call *call)
{
    gb_call_fail(call, GB_ETIMEDOUT, "the deadline passed before the turn began");
    gbi_call_refuse(worker, call);
}
