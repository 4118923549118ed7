/* Timers of activations: each tick is a one-way call to the activation itself. */
#include "grain/room.h"

#include "base/err.h"

enum { AGAIN_NS = 10 * GB_MS };
#define NS_MAX (GB_FOREVER / 4) /* no sum of two wraps */

struct gb_act_timer {
    gb_timer timer;
    struct gb_act_timer *next;
    gb_worker *worker;
    const gb_sym *method;
    uint32_t slot, generation;
    uint64_t id, every_ns, due;
    bool waiting; /* a tick is queued or runs */
    gb_buf args;
};

static void timer_free(gb_act_timer *timer)
{
    gb_timer_stop(&timer->worker->timers, &timer->timer);
    gb_buf_fini(&timer->args);
    gb_mem_free(&timer->worker->mem, timer, sizeof *timer);
}

static gb_act_timer **timer_place(gb_act *act, uint64_t id)
{
    gb_act_timer **at = &act->timers;
    while (*at && (*at)->id != id) at = &(*at)->next;
    return at;
}

static void arm(gb_act_timer *timer)
{
    gb_worker *worker = timer->worker;
    if (timer->due <= worker->now) /* missed ticks are one: the next is the first in the future */
        timer->due += ((worker->now - timer->due) / timer->every_ns + 1) * timer->every_ns;
    gb_timer_add(&worker->timers, &timer->timer, worker->now, timer->due);
}

/* A tick's turn has ended (its call carries where it came from). */
static void tick_done(gb_call *call)
{
    gb_act *act = call->act;
    if (!act) return;
    gb_act_timer **at = timer_place(act, (uint64_t)(uintptr_t)call->user);
    if (*at) (*at)->waiting = false;
}

static void tick(gb_timer *base)
{
    gb_act_timer *timer = GB_CONTAINER(base, gb_act_timer, timer);
    gb_worker *worker = timer->worker;
    gb_act *act = gb_act_at(worker, timer->slot, timer->generation);
    gb_call *call = timer->waiting ? NULL : gb_call_new(worker);
    if (call) {
        call->type = act->type;
        call->method = timer->method;
        call->flags = GB_CALL_TICK;
        call->deadline = GB_FOREVER;
        call->done = tick_done;
        call->user = (void *)(uintptr_t)timer->id;
        if (gb_buf_put(&call->bytes, timer->args.data, timer->args.size) < 0) {
            gb_call_drop(call);
            call = NULL;
        } else {
            timer->waiting = true;
            gbi_call_to_act(worker, act, call);
        }
    }
    if (timer->every_ns) {
        arm(timer);
        return;
    }
    if (!call) { /* out of memory: once means once, if later */
        timer->due = worker->now + AGAIN_NS;
        gb_timer_add(&worker->timers, &timer->timer, worker->now, timer->due);
        return;
    }
    gb_act_timer **at = timer_place(act, timer->id);
    if (*at != timer) return;
    *at = timer->next;
    timer_free(timer);
}

int gb_act_timer_start(gb_worker *worker, gb_act *act, const gb_sym *method, uint64_t after_ns,
                       uint64_t every_ns, const gb_buf *args, uint64_t *out_id)
{
    if (act->state == GB_ACT_STOPPING)
        return gb_err_set(GB_ECLOSED, "the grain is being deactivated: no new timers");
    gb_act_timer *timer = gb_mem_zalloc(&worker->mem, sizeof *timer);
    if (!timer) return GB_ENOMEM;
    if (after_ns > NS_MAX) after_ns = NS_MAX;
    if (every_ns > NS_MAX) every_ns = NS_MAX;
    gb_timer_init(&timer->timer, tick);
    gb_buf_init(&timer->args, &worker->mem);
    timer->worker = worker;
    timer->method = method;
    timer->slot = act->slot;
    timer->generation = act->generation;
    timer->every_ns = every_ns;
    timer->due = worker->now + after_ns;
    timer->id = ++worker->timer_ids;
    int rc = gb_buf_put(&timer->args, args->data, args->size);
    if (rc >= 0) rc = gb_timer_add(&worker->timers, &timer->timer, worker->now, timer->due);
    if (rc < 0) {
        timer_free(timer);
        return rc;
    }
    timer->next = act->timers;
    act->timers = timer;
    *out_id = timer->id;
    return 0;
}

bool gb_act_timer_stop(gb_worker *worker, gb_act *act, uint64_t id)
{
    (void)worker;
    gb_act_timer **at = timer_place(act, id), *timer = *at;
    if (!timer) return false;
    *at = timer->next;
    timer_free(timer);
    return true;
}

void gbi_act_timers_end(gb_worker *worker, gb_act *act)
{
    (void)worker;
    while (act->timers) {
        gb_act_timer *timer = act->timers;
        act->timers = timer->next;
        timer_free(timer);
    }
}
