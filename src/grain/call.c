#include "grain/room.h"

#include "base/check.h"
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLS_PER_SLAB = 64, CALLS_OUT_MAX = 4000000, BYTES_KEPT = 1024 };

/* ---- objects ---- */

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
    gb_call *slab = gb_mem_zalloc_lines(&worker->mem, CALLS_PER_SLAB * sizeof *slab);
    if (!slab) return GB_ENOMEM;
    worker->call_slabs[worker->call_slab_count++] = slab;
    for (int i = CALLS_PER_SLAB; i-- > 0;) {
        gb_buf_init(&slab[i].bytes, &worker->mem);
        gb_timer_init(&slab[i].timer, deadline_passed);
        slab[i].origin = worker;
        slab[i].index = (worker->call_slab_count - 1) * CALLS_PER_SLAB + (uint32_t)i;
        slab[i].next = worker->free_calls;
        worker->free_calls = &slab[i];
    }
    return 0;
}

gb_call *gbi_call_at(gb_worker *worker, uint32_t index, uint32_t serial)
{
    if (index / CALLS_PER_SLAB >= worker->call_slab_count) return NULL;
    gb_call *slab = worker->call_slabs[index / CALLS_PER_SLAB];
    gb_call *call = &slab[index % CALLS_PER_SLAB];
    return call->serial == serial && call->type ? call : NULL;
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
    atomic_store_explicit(&call->at, worker, memory_order_relaxed);
    atomic_store_explicit(&call->cancelled, 0, memory_order_relaxed);
    call->timer.fire = deadline_passed;
    gb_count_up(&worker->calls_made);
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
    if (call->own_method) free((gb_sym *)call->method);
    call->own_method = false;
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
    call->serial++; /* whoever still knows it finds out */
    call->type = NULL;
    call->method = NULL;
    call->act = NULL;
    call->deadline = call->came = 0;
    call->turn_next = NULL;
    call->turn_back = NULL;
    call->flags = call->state = 0;
    call->answered = call->away = call->watched = call->look = false;
    call->timed = false;
    call->rc = 0;
    call->priority = 0;
    call->hops = call->way = call->turned = 0;
    call->named = 0;
    call->caller = NULL;
    call->waits = NULL;
    call->body = NULL;
    call->context = (gb_context){0};
    call->done = NULL;
    call->user = NULL;
    call->next = worker->free_calls;
    worker->free_calls = call;
    gb_count_up(&worker->calls_freed);
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

int gb_call_set_method(gb_call *call, const char *text, size_t size)
{
    call->method = gb_sym_find(call->origin->silo, text, size);
    if (call->method) return 0;
    gb_sym *own = malloc(sizeof *own + size + 1);
    if (!own) return gb_err_set(GB_ENOMEM, "out of memory: the name of a method");
    own->id = GB_SYM_LOOSE;
    own->size = (uint32_t)size;
    memcpy(own->text, text, size);
    own->text[size] = 0;
    call->method = own;
    call->own_method = true;
    return 0;
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
        if (call->rc < 0) gb_count_up(&worker->calls_failed);
        if (call->done) call->done(call);
    }
    if (call->body) call->type->kind->drop(call);
    gbi_call_free(call);
}

static void come_home(gb_node *node, void *reader)
{
    gb_call *call = GB_CONTAINER(node, gb_call, node);
    call->away = false;
    if (gbi_silo_ended(call->origin->silo)) return; /* gb_silo_stop answers it */
    finish_at_origin(reader, call);
}

void gbi_call_return(gb_call *call)
{
    call->state = 0;
    call->act = NULL;
    call->node.run = come_home;
    call->node.near = call->bytes.data;
    gb_worker *origin = call->origin;
    atomic_store_explicit(&call->at, origin, memory_order_release);
    gb_worker_post(origin, &call->node);
}

void gbi_call_refuse(gb_worker *worker, gb_call *call)
{
    if (worker->sending != call) {
        gbi_call_return(call);
        return;
    }
    worker->sending = NULL; /* its sender looks on: gb_call_send returns the error */
    worker->sent = call->rc;
    gb_err_set(call->rc, "%s", call->message ? call->message : gb_err_text(call->rc));
    free(call->message);
    call->message = NULL;
    call->rc = 0;
    call->state = 0;
    call->act = NULL;
    call->hops = 0;
}

void gbi_call_answer(gb_worker *worker, gb_call *call)
{
    if (call->origin == worker) {
        finish_at_origin(worker, call);
        return;
    }
    if (call->body) {
        if (call->rc >= 0 && !(call->flags & GB_CALL_ONEWAY)) {
            int rc = call->type->kind->pack(call);
            if (rc < 0) gb_call_fail(call, rc, "%s", gb_err_detail());
        }
        call->type->kind->drop(call);
        call->body = NULL;
    }
    gbi_call_return(call);
}

/* Runs done with an outcome that is not the call's own: its rc, message and bytes may be another
 * worker's now. */
static void tell_sender(gb_call *call, int rc, const char *message)
{
    call->answered = true;
    gb_count_up(&call->origin->calls_failed);
    if (!call->done) return;
    gb_call view = {.origin = call->origin,
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

void gb_call_abandon(gb_call *call, int rc, const char *message)
{
    if (call->answered) return;
    gb_worker *worker = call->origin;
    bool queued = !call->away && call->state & GB_AT_QUEUED;
    if (!call->away || !(call->flags & GB_CALL_ONEWAY)) /* else it is the target's */
        gb_timer_stop(&worker->timers, &call->timer);
    atomic_store_explicit(&call->cancelled, 1, memory_order_release);
    uint32_t slot = 0, generation = 0;
    if (queued) { /* out of the queue before done, which may do anything to the activation */
        slot = call->act->slot;
        generation = call->act->generation;
        gbi_call_unqueue(worker, call->act, call);
    }
    tell_sender(call, rc, message);
    if (!queued) return;
    gbi_call_free(call);
    gb_act *act = gb_act_at(worker, slot, generation);
    if (!act) return;
    gbi_queue_refill(worker, act);
    gbi_act_settle(worker, act);
}

void gbi_call_print(char *out, size_t room, const gb_call *call)
{
    bool here = !call->away && call->act;
    gb_key_print(out, room, call->type, here ? gb_act_key(call->act) : call->key);
}

static void deadline_passed(gb_timer *timer)
{
    gb_call *call = GB_CONTAINER(timer, gb_call, timer);
    char id[256], text[400];
    if (call->flags & GB_CALL_ONEWAY) { /* it waits for room, here */
        gb_key_print(id, sizeof id, call->type, gb_act_key(call->act));
        gb_worker *worker = atomic_load_explicit(&call->at, memory_order_relaxed);
        gbi_call_unqueue(worker, call->act, call);
        gb_call_fail(call, GB_EBUSY, "the mailbox of %s stayed full until the deadline", id);
        gbi_call_answer(worker, call);
        return;
    }
    gbi_call_print(id, sizeof id, call);
    snprintf(text, sizeof text, "%s:%s did not answer in time", id,
             call->method ? call->method->text : "?");
    gb_call_abandon(call, GB_ETIMEDOUT, text);
}

/* ---- the short ways ---- */

/* Without its deadline it must not run: it ends in its place in the run queue, like any turn. */
static void no_deadline(gb_call *call)
{
    gb_call_fail(call, GB_ENOMEM, "%s", gb_err_detail());
    if (call->body) call->type->kind->drop(call);
    call->body = NULL;
}

void gb_call_begin_at(gb_call *call, gb_act *act)
{
    gb_worker *worker = call->origin;
    if (call->flags & GB_CALL_ONEWAY) {
        call->answered = true;
        call->deadline = GB_FOREVER;
    } else if (call->deadline != GB_FOREVER &&
               gb_timer_add(&worker->timers, &call->timer, worker->now, call->deadline) < 0) {
        no_deadline(call);
    }
    gbi_call_came(worker, act, call);
    gbi_turn_begin(worker, act, call);
}

void gb_call_spawn(gb_call *call, gb_act *act)
{
    gb_worker *worker = call->origin;
    call->flags |= GB_CALL_DETACHED;
    if (call->deadline != GB_FOREVER &&
        gb_timer_add(&worker->timers, &call->timer, worker->now, call->deadline) < 0)
        no_deadline(call);
    gbi_turn_begin(worker, act, call);
}

/* ---- the end of all ---- */

static bool in_use(const gb_call *call)
{
    return call->type != NULL; /* a call without a type was never sent */
}

static void each_call(gb_worker *worker, void (*fn)(gb_worker *worker, gb_call *call))
{
    for (uint32_t i = 0; i < worker->call_slab_count; i++) {
        gb_call *slab = worker->call_slabs[i];
        for (int k = 0; k < CALLS_PER_SLAB; k++)
            if (in_use(&slab[k])) fn(worker, &slab[k]);
    }
}

static void end_call(gb_worker *worker, gb_call *call)
{
    bool oneway = call->flags & GB_CALL_ONEWAY;
    gb_worker *at = atomic_load_explicit(&call->at, memory_order_acquire);
    gb_timer_stop(oneway ? &at->timers : &worker->timers, &call->timer);
    if (!call->answered && !(call->flags & GB_CALL_HOOK) && worker->body)
        tell_sender(call, GB_ECLOSED, "the silo is closing");
    call->answered = true;
}

static void end_turn(gb_worker *worker, gb_call *call)
{
    gb_worker *at = atomic_load_explicit(&call->at, memory_order_acquire);
    if (call->turn_back) gbi_turn_unlink(call);
    if (call->body && at->body) call->type->kind->drop(call);
    call->body = NULL;
}

void gbi_calls_answer(gb_worker *worker)
{
    each_call(worker, end_call);
}

void gbi_calls_drop(gb_worker *worker)
{
    each_call(worker, end_turn);
}

void gbi_calls_free(gb_worker *worker)
{
    for (uint32_t i = 0; i < worker->call_slab_count; i++) {
        gb_call *slab = worker->call_slabs[i];
        for (int k = 0; k < CALLS_PER_SLAB; k++) {
            call_clear(&slab[k]);
            gb_buf_fini(&slab[k].bytes);
        }
        gb_mem_free_lines(&worker->mem, slab, CALLS_PER_SLAB * sizeof *slab);
    }
    gb_mem_free(&worker->mem, worker->call_slabs,
                worker->call_slab_room * sizeof *worker->call_slabs);
    worker->call_slabs = NULL;
    worker->call_slab_count = worker->call_slab_room = 0;
    worker->free_calls = NULL;
}
