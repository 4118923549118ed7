#include "grain/room.h"

#include "base/check.h"
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLS_PER_SLAB = 64, CALLS_OUT_MAX = 4000000, HOPS_MAX = 16, BYTES_KEPT = 1024 };

/* ---- objects ---- */

static void count_up(_Atomic int64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static void deadline_passed(gb_timer *timer);

static int slab_add(gb_worker *worker)
{
    if (worker->call_slab_count == worker->call_slab_room) {
        uint32_t room = worker->call_slab_room ? worker->call_slab_room * 2 : 16;
        void **slabs = gb_mem_realloc(&worker->mem, worker->call_slabs,
                                      worker->call_slab_room * sizeof *slabs, room * sizeof *slabs);
        if (!slabs) return GB_ENOMEM;
        worker->call_slabs = slabs;
        worker->call_slab_room = room;
    }
    gb_call *slab = gb_mem_zalloc(&worker->mem, CALLS_PER_SLAB * sizeof *slab);
    if (!slab) return GB_ENOMEM;
    worker->call_slabs[worker->call_slab_count++] = slab;
    for (int i = CALLS_PER_SLAB; i-- > 0;) {
        gb_buf_init(&slab[i].bytes, &worker->mem);
        gb_timer_init(&slab[i].timer, deadline_passed);
        slab[i].origin = worker;
        slab[i].next = worker->free_calls;
        worker->free_calls = &slab[i];
    }
    return 0;
}

gb_call *gb_call_new(gb_worker *worker)
{
    gb_call *call = worker->free_calls;
    if (__builtin_expect(!call, 0)) {
        if ((int64_t)worker->call_slab_count * CALLS_PER_SLAB >= CALLS_OUT_MAX)
            return gb_err_set(GB_EBUSY, "%d calls of one worker are under way", CALLS_OUT_MAX),
                   NULL;
        if (slab_add(worker) < 0) return NULL;
        call = worker->free_calls;
    }
    worker->free_calls = call->next;
    call->next = NULL;
    call->serial++;
    atomic_store_explicit(&call->at, worker, memory_order_relaxed);
    atomic_store_explicit(&call->cancelled, 0, memory_order_relaxed);
    call->timer.fire = deadline_passed;
    count_up(&worker->calls_made);
    return call;
}

/* Gives back what a call holds beside its body. */
static void call_clear(gb_call *call)
{
    free(call->message);
    call->message = NULL;
    for (uint32_t i = 0; i < call->block_count; i++) gb_block_unref(call->blocks[i]);
    free(call->blocks);
    call->blocks = NULL;
    call->block_count = 0;
    if (call->context.bag) gb_block_unref(call->context.bag);
    if (call->key.text && call->key.text != call->key_text) free((char *)call->key.text);
    call->key = (gb_key){0};
    if (call->bytes.room > BYTES_KEPT)
        gb_buf_fini(&call->bytes);
    else
        call->bytes.size = 0;
}

void gbi_call_free(gb_call *call)
{
    gb_worker *worker = call->origin;
    GB_CHECK(!gb_timer_armed(&call->timer));
    call_clear(call);
    call->type = NULL;
    call->method = NULL;
    call->act = NULL;
    call->turn_next = NULL;
    call->turn_back = NULL;
    call->flags = call->state = 0;
    call->answered = call->away = call->watched = false;
    call->rc = 0;
    call->priority = 0;
    call->hops = 0;
    call->caller = NULL;
    call->waits = NULL;
    call->body = NULL;
    call->context = (gb_context){0};
    call->done = NULL;
    call->user = NULL;
    call->next = worker->free_calls;
    worker->free_calls = call;
    count_up(&worker->calls_freed);
}

void gb_call_drop(gb_call *call)
{
    gbi_call_free(call);
}

int gb_call_set_key(gb_call *call, gb_key key)
{
    call->key = key;
    if (!key.text) return 0;
    char *text = key.size < sizeof call->key_text ? call->key_text : malloc(key.size + 1);
    call->key.text = text;
    if (!text) return gb_err_set(GB_ENOMEM, "out of memory: a key of %u bytes", key.size);
    memcpy(text, key.text, key.size);
    text[key.size] = 0;
    return 0;
}

void gbi_calls_close(gb_worker *worker)
{
    for (uint32_t i = 0; i < worker->call_slab_count; i++) {
        gb_call *slab = worker->call_slabs[i];
        for (int k = 0; k < CALLS_PER_SLAB; k++) {
            gb_timer_stop(&worker->timers, &slab[k].timer);
            call_clear(&slab[k]);
            gb_buf_fini(&slab[k].bytes);
        }
        gb_mem_free(&worker->mem, slab, CALLS_PER_SLAB * sizeof *slab);
    }
    gb_mem_free(&worker->mem, worker->call_slabs,
                worker->call_slab_room * sizeof *worker->call_slabs);
}

void gb_call_fail(gb_call *call, int rc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) text = NULL;
    va_end(args);
    free(call->message);
    call->message = text;
    call->rc = rc;
}

/* ---- the end of a call ---- */

static void finish_at_origin(gb_worker *worker, gb_call *call)
{
    gb_timer_stop(&worker->timers, &call->timer);
    if (!call->answered) {
        call->answered = true;
        if (call->done) call->done(call);
    }
    if (call->body) call->type->kind->drop(call);
    gbi_call_free(call);
}

static void come_home(gb_node *node, void *reader)
{
    gb_call *call = GB_CONTAINER(node, gb_call, node);
    call->away = false;
    finish_at_origin(reader, call);
}

static void send_home(gb_call *call)
{
    call->node.run = come_home;
    atomic_store_explicit(&call->at, call->origin, memory_order_release);
    gb_worker_post(call->origin, &call->node);
}

void gbi_call_answer(gb_worker *worker, gb_call *call)
{
    if (worker->sending ==
        call) { /* refused while its sender looks on: gb_call_send returns the error */
        worker->sending = NULL;
        gb_err_set(call->rc, "%s", call->message ? call->message : gb_err_text(call->rc));
        return;
    }
    if (call->origin == worker) {
        finish_at_origin(worker, call);
        return;
    }
    if (call->rc >= 0 && call->body && !(call->flags & GB_CALL_ONEWAY) &&
        call->type->kind->pack(call) < 0)
        gb_call_fail(call, GB_EINVAL, "%s", gb_err_detail());
    if (call->body) call->type->kind->drop(call);
    call->body = NULL;
    send_home(call);
}

void gb_call_abandon(gb_call *call, int rc, const char *message)
{
    if (call->answered) return;
    gb_worker *worker = call->origin;
    gb_timer_stop(&worker->timers, &call->timer);
    atomic_store_explicit(&call->cancelled, 1, memory_order_release);
    call->answered = true;
    if (call->done) { /* rc, message and bytes of the call itself may be another worker's now */
        gb_call view = {.origin = worker,
                        .type = call->type,
                        .method = call->method,
                        .flags = call->flags,
                        .rc = rc,
                        .message = (char *)message,
                        .caller = call->caller,
                        .caller_serial = call->caller_serial,
                        .serial = call->serial,
                        .user = call->user};
        call->done(&view);
    }
    if (call->away || !(call->state & GB_AT_QUEUED)) return;
    gb_act *act = call->act;
    gbi_call_unqueue(act, call);
    gbi_call_free(call);
    gbi_act_settle(worker, act);
}

static void deadline_passed(gb_timer *timer)
{
    gb_call *call = GB_CONTAINER(timer, gb_call, timer);
    char id[256], text[400];
    if (call->act && !call->away)
        gb_key_print(id, sizeof id, call->type, gb_act_key(call->act));
    else
        gb_key_print(id, sizeof id, call->type, call->key);
    if (call->flags & GB_CALL_ONEWAY) { /* it waits for room, here */
        gbi_call_unqueue(call->act, call);
        gb_call_fail(call, GB_EBUSY, "the mailbox of %s stayed full until the deadline", id);
        gbi_call_answer(atomic_load_explicit(&call->at, memory_order_relaxed), call);
        return;
    }
    snprintf(text, sizeof text, "%s:%s did not answer in time", id,
             call->method ? call->method->text : "?");
    gb_call_abandon(call, GB_ETIMEDOUT, text);
}

/* ---- queues of activations ---- */

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

static void queue_insert(gb_act *act, gb_call *call)
{
    call->state |= GB_AT_QUEUED;
    act->queued++;
    if (!act->queue || act->queue_last->priority >= call->priority) {
        list_push(&act->queue, &act->queue_last, call);
        return;
    }
    gb_call **at = &act->queue;
    while ((*at)->priority >= call->priority) at = &(*at)->next;
    call->next = *at;
    *at = call;
}

/* A one-way call is admitted: its sender hears so now. What stays here is the call itself when the
 * sender is of this worker, else a twin of it, since the original goes back as the receipt. NULL:
 * refused for lack of memory. */
static gb_call *admit(gb_worker *worker, gb_call *call)
{
    if (!(call->flags & GB_CALL_ONEWAY) || call->answered) return call;
    gb_timer_stop(&worker->timers, &call->timer);
    if (call->origin == worker) {
        call->answered = true;
        if (worker->sending == call)
            worker->sending = NULL;
        else if (call->done)
            call->done(call);
        return call;
    }
    gb_call *twin = gb_call_new(worker);
    if (!twin) {
        gb_call_fail(call, GB_EBUSY, "%s", gb_err_detail());
        gbi_call_answer(worker, call);
        return NULL;
    }
    gb_buf bytes = twin->bytes;
    twin->type = call->type;
    twin->method = call->method;
    twin->act = call->act;
    twin->flags = call->flags;
    twin->priority = call->priority;
    twin->deadline = GB_FOREVER;
    twin->bytes = call->bytes;
    twin->blocks = call->blocks;
    twin->block_count = call->block_count;
    twin->context = call->context;
    twin->answered = true;
    call->bytes = bytes;
    call->blocks = NULL;
    call->block_count = 0;
    call->context.bag = NULL;
    call->act = NULL;
    send_home(call);
    return twin;
}

void gbi_call_enqueue(gb_worker *worker, gb_act *act, gb_call *call)
{
    gb_type *type = act->type;
    if (act->queued < type->options.queue_max && !act->room) {
        call = admit(worker, call);
        if (!call) return;
        queue_insert(act, call);
        if (!(call->flags & GB_CALL_ONEWAY) && act->running > 0) gbi_wait_check(worker, call);
        return;
    }
    if (call->deadline <= worker->now) {
        char id[256];
        gb_key_print(id, sizeof id, type, gb_act_key(act));
        gb_call_fail(call, GB_EBUSY, "the mailbox of %s is full (%u calls)", id, act->queued);
        gbi_call_answer(worker, call);
        return;
    }
    call->state |= GB_AT_QUEUED | GB_AT_ROOM;
    list_push(&act->room, &act->room_last, call);
    if (call->flags & GB_CALL_ONEWAY && call->deadline != GB_FOREVER)
        gb_timer_add(&worker->timers, &call->timer, worker->now, call->deadline);
    if (!(call->flags & GB_CALL_ONEWAY) && act->running > 0) gbi_wait_check(worker, call);
}

void gbi_call_unqueue(gb_act *act, gb_call *call)
{
    if (call->state & GB_AT_ROOM) {
        list_remove(&act->room, &act->room_last, call);
    } else {
        list_remove(&act->queue, &act->queue_last, call);
        act->queued--;
    }
    call->state &= (uint8_t) ~(GB_AT_QUEUED | GB_AT_ROOM);
}

static bool is_over(gb_worker *worker, gb_call *call)
{
    if (call->flags & GB_CALL_ONEWAY) return false;
    return atomic_load_explicit(&call->cancelled, memory_order_acquire) ||
           call->deadline <= worker->now;
}

static void refuse_late(gb_worker *worker, gb_call *call)
{
    gb_call_fail(call, GB_ETIMEDOUT, "the deadline passed before the turn began");
    gbi_call_answer(worker, call);
}

/* Those that wait are let in when half of the queue is free, so that a sender that waits sends many
 * at a time. */
static void let_in(gb_worker *worker, gb_act *act)
{
    uint32_t most = act->type->options.queue_max;
    if (act->queued > most / 2) return;
    while (act->room && act->queued < most) {
        gb_call *call = act->room;
        gbi_call_unqueue(act, call);
        call = admit(worker, call);
        if (call) queue_insert(act, call);
    }
}

gb_call *gbi_call_dequeue(gb_worker *worker, gb_act *act)
{
    for (;;) {
        if (act->room) let_in(worker, act);
        gb_call *call = act->queue;
        if (!call) return NULL;
        gbi_call_unqueue(act, call);
        if (!is_over(worker, call)) return call;
        refuse_late(worker, call);
    }
}

/* ---- the way to the target ---- */

static void arrive_by_mail(gb_node *node, void *reader)
{
    gbi_call_arrive(reader, GB_CONTAINER(node, gb_call, node));
}

static void send_to(gb_worker *worker, gb_worker *target, gb_call *call)
{
    if (target == worker) {
        gbi_call_arrive(worker, call);
        return;
    }
    if (++call->hops > HOPS_MAX) {
        gb_call_fail(call, GB_EBUSY, "passed on %d times: the grain keeps moving", HOPS_MAX);
        gbi_call_answer(worker, call);
        return;
    }
    if (call->origin == worker) {
        call->away = true;
        if (worker->sending == call) worker->sending = NULL;
    }
    call->node.run = arrive_by_mail;
    atomic_store_explicit(&call->at, target, memory_order_release);
    gb_worker_post(target, &call->node);
}

static gb_worker *route(gb_worker *worker, gb_call *call)
{
    gb_type *type = call->type;
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
    if (gb_act_idle(act) || (act->state == GB_ACT_ACTIVE && !act->wants_end && !act->queue &&
                             act->type->options.reentrant == GB_REENTRANT_YES)) {
        call = admit(worker, call);
        if (call) gbi_turn_begin(worker, act, call);
    } else {
        gbi_call_enqueue(worker, act, call);
    }
}

static bool wait_for_type(gb_worker *worker, gb_call *call)
{
    struct gb_type_local *local = &call->type->local[worker->index];
    if (local->state == GB_TYPE_LOADED) return false;
    if (worker->sending == call) worker->sending = NULL;
    call->next = NULL;
    *local->waiting_end = call;
    local->waiting_end = &call->next;
    if (local->state == GB_TYPE_LOADING) return true;
    local->state = GB_TYPE_LOADING;
    int rc = call->type->kind->load(worker, call->type);
    if (rc != GB_OP_PENDING)
        gb_type_loaded(worker, call->type, rc, rc < 0 ? gb_err_detail() : NULL);
    return true;
}

void gbi_call_arrive(gb_worker *worker, gb_call *call)
{
    if (is_over(worker, call)) {
        refuse_late(worker, call);
        return;
    }
    if (wait_for_type(worker, call)) return;
    gb_type *type = call->type;
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
    gb_worker *target = act ? worker->silo->workers[act->forward] : place(worker, call);
    if (target) {
        send_to(worker, target, call);
        return;
    }
    int rc = gbi_act_new(worker, type, call->key, &act);
    if (rc < 0) {
        gb_call_fail(call, rc, "%s", gb_err_detail());
        gbi_call_answer(worker, call);
        return;
    }
    if (!type->local[worker->index].has_activate) act->state = GB_ACT_ACTIVE;
    gbi_call_to_act(worker, act, call);
    if (act->state == GB_ACT_STARTING) gbi_act_start(worker, act);
}

int gb_call_send(gb_call *call)
{
    gb_worker *worker = call->origin;
    if (atomic_load_explicit(&worker->silo->closing, memory_order_relaxed))
        return gb_err_set(GB_ECLOSED, "the silo is closing");
    gb_worker *target = route(worker, call);
    if (target != worker && atomic_load_explicit(&target->stuck, memory_order_relaxed))
        return gb_err_set(GB_ESTUCK, "worker %d, which holds the grain, is stuck in a turn",
                          target->index);
    bool oneway = call->flags & GB_CALL_ONEWAY;
    if (!oneway && call->deadline != GB_FOREVER) {
        int rc = gb_timer_add(&worker->timers, &call->timer, worker->now, call->deadline);
        if (rc < 0) return rc;
    }
    uint32_t serial = call->serial;
    worker->sending = call;
    send_to(worker, target, call);
    if (worker->sending == call) { /* still here and not answered: it waits, or is a turn */
        worker->sending = NULL;
        return GB_OP_PENDING;
    }
    if (target != worker) return GB_OP_PENDING;
    if (call->serial == serial && call->rc < 0 && !call->answered) {
        gb_timer_stop(&worker->timers, &call->timer);
        return call->rc;
    }
    return oneway && (call->serial != serial || call->answered) ? GB_OP_READY : GB_OP_PENDING;
}

void gb_call_begin_at(gb_call *call, gb_act *act)
{
    gb_worker *worker = call->origin;
    call->act = act;
    if (call->flags & GB_CALL_ONEWAY)
        call->answered = true;
    else if (call->deadline != GB_FOREVER)
        gb_timer_add(&worker->timers, &call->timer, worker->now, call->deadline);
    gbi_turn_begin(worker, act, call);
}

void gb_call_spawn(gb_call *call, gb_act *act)
{
    gb_worker *worker = call->origin;
    call->flags |= GB_CALL_DETACHED;
    call->act = act;
    if (call->deadline != GB_FOREVER)
        gb_timer_add(&worker->timers, &call->timer, worker->now, call->deadline);
    gbi_turn_begin(worker, act, call);
}
