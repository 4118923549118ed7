/* The watcher: sees what has ended and ends the commands. See cuda_engine.h. */
#include "gpu/cuda_engine.h"

#include "base/check.h"
#include "base/cond.h"
#include "base/err.h"
#include "gpu/front.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SPIN_NS = 200000, SLEEP_NS = 100000000, SLEEP_SEVERAL_NS = 1000000, STOP_NS = 2000000000 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- one step ---- */

static void end_command(gbi_cuda_step *step, int rc, const char *text)
{
    gbi_command *command = step->command;
    if (!command || step->ended) return;
    step->ended = true;
    if (command->kind == GBI_SIGNAL && rc < 0)
        gb_op_fail(command->u.op, rc, "%s", text ? text : gb_err_text(rc));
    gbi_command_end(command, rc, text);
}

static void end_record(const gbi_cuda_queue *queue, const gbi_cuda_step *step)
{
    const gbi_command *command = step->command;
    bool good = step->rc == 0 || !atomic_load(&queue->device->lost);
    if (command && command->kind == GBI_RECORD)
        gbi_cuda_event_finish(command->u.event.impl, command->u.event.generation, good);
}

/* The driver is through with it and everything before it. */
static void finish(gbi_cuda_queue *queue, gbi_cuda_step *step)
{
    gbi_cuda_device *device = queue->device;
    gbi_command *command = step->command;
    if (step->host && step->rc == 0 && command && command->kind == GBI_GRAPH)
        gbi_cuda_graph_land(command, step->stage);
    else if (step->host && step->rc == 0)
        memcpy(step->host, step->stage->host, step->bytes);
    if (step->stage) gbi_cuda_stage_give(device, step->stage);
    end_record(queue, step);
    end_command(step, step->rc, step->text);
    gbi_cuda_mark_unref(step->mark);
    if (step->other) gbi_cuda_leave(step->other);
    free(step->text);
    if (step != &queue->reserve) gb_mem_free(device->cuda->mem, step, sizeof *step);
    if (command) gbi_command_free(command);
    atomic_fetch_sub(&device->steps, 1);
}

/* ---- one queue ---- */

static gbi_cuda_step *step_of(gb_list *node)
{
    return GB_CONTAINER(node, gbi_cuda_step, link);
}

static void take(gbi_cuda_queue *queue, gb_list *node, gb_list *done)
{
    gb_list_unlink(node);
    gb_list_push(done, node);
    queue->finishing++;
}

static void drop_host(gbi_cuda_queue *queue, gbi_cuda_step *step)
{
    if (step->host) queue->downloads--;
    step->host = NULL;
}

/* The kernel of a launch, or the first one of a graph; NULL: it is neither. */
static const char *kernel_of(const gbi_command *command)
{
    if (!command) return NULL;
    if (command->kind == GBI_LAUNCH) return gb_kernel_name(command->u.launch.kernel);
    for (int i = 0; command->kind == GBI_GRAPH && i < command->u.graph.count; i++)
        if (command->u.graph.commands[i].kind == GBI_LAUNCH)
            return gb_kernel_name(command->u.graph.commands[i].u.launch.kernel);
    return NULL;
}

/* The device is lost: everything is to end with that. The first launch that was under way is named:
 * the driver does not say which one it was. */
static void fail_lost(gbi_cuda_queue *queue)
{
    char text[512], under_way[160] = "";
    for (gb_list *at = queue->pending.next; at != &queue->pending; at = at->next) {
        gbi_cuda_step *step = step_of(at);
        drop_host(queue, step);
        if (!*under_way && kernel_of(step->command))
            snprintf(under_way, sizeof under_way, "; under way: kernel '%.100s'",
                     kernel_of(step->command));
        if (step->rc < 0) continue;
        step->rc = gbi_cuda_lost(queue->device);
        snprintf(text, sizeof text, "%s%s", gb_err_detail(), under_way);
        step->text = strdup(text);
    }
}

/* The first step with a mark; the last one is given the queue's own when none has. */
static gbi_cuda_step *first_mark(gbi_cuda_queue *queue)
{
    for (gb_list *at = queue->pending.next; at != &queue->pending; at = at->next)
        if (step_of(at)->mark) return step_of(at);
    gb_cu_result rc = queue->device->cuda->api->cuEventRecord(queue->mark->handle, queue->stream);
    if (rc != GB_CU_SUCCESS) {
        gbi_cuda_doubt(queue->device, rc, "recording an event");
        return NULL;
    }
    gbi_cuda_step *last = step_of(queue->pending.prev);
    last->mark = gbi_cuda_mark_ref(queue->mark);
    return last;
}

/* A kernel past its bound: nothing can end it, so the device is given up. */
static void check_bound(gbi_cuda_queue *queue, const gbi_cuda_step *mark, uint64_t now)
{
    uint64_t bound = 0;
    gbi_cuda_step *first = step_of(queue->pending.next), *launch = NULL;
    for (gbi_cuda_step *at = first;; at = step_of(at->link.next)) {
        if (at->bound_ns && !launch) launch = at;
        bound = bound + at->bound_ns < bound ? UINT64_MAX : bound + at->bound_ns;
        if (at == mark) break;
    }
    if (!launch) return;
    if (!first->since_ns) first->since_ns = now;
    if (now - first->since_ns <= bound) return;
    char text[200];
    const char *name = kernel_of(launch->command) ? kernel_of(launch->command) : "unknown";
    snprintf(text, sizeof text,
             "cuda device %d: kernel '%.80s' passed its bound of %llu ms; the device is given up",
             queue->device->ordinal, name, (unsigned long long)(launch->bound_ns / 1000000));
    for (gbi_cuda_step *at = first;; at = step_of(at->link.next)) {
        if (at->rc == 0) at->text = strdup(text);
        if (at->rc == 0) at->rc = GB_ETIMEDOUT;
        if (at == launch) break;
    }
    gbi_cuda_lose(queue->device, GB_LOST_BOUND, text);
}

/* Under the queue's lock, context current: takes out what the driver is through with. */
static void collect(gbi_cuda_queue *queue, gb_list *done, uint64_t now)
{
    gbi_cuda_device *device = queue->device;
    while (!gb_list_empty(&queue->pending)) {
        gb_list *node = queue->pending.next;
        if (step_of(node)->refused || atomic_load(&device->dead)) {
            take(queue, node, done);
            continue;
        }
        gbi_cuda_step *mark = first_mark(queue);
        if (!mark) break;
        gb_cu_result rc = device->cuda->api->cuEventQuery(mark->mark->handle);
        if (rc == GB_CU_NOT_READY) {
            if (!atomic_load(&device->lost)) check_bound(queue, mark, now);
            break;
        }
        if (rc != GB_CU_SUCCESS) {
            gbi_cuda_doubt(device, rc, "running a queue");
            break;
        }
        do {
            node = queue->pending.next;
            take(queue, node, done);
        } while (node != &mark->link);
    }
}

/* A signal whose op was cancelled ends now, and all before it; their memory stays until the driver
 * is through with it, and what they would have written to the host is dropped. Under the lock; the
 * watcher alone takes steps out, so the answer (the signal's step or NULL) stays. */
static gbi_cuda_step *cancelled(gbi_cuda_queue *queue)
{
    for (gb_list *at = queue->pending.next; at != &queue->pending; at = at->next) {
        gbi_cuda_step *step = step_of(at);
        if (!step->command || step->command->kind != GBI_SIGNAL || step->ended) continue;
        if (!atomic_load_explicit(&step->command->u.op->cancelled, memory_order_relaxed))
            return NULL;
        for (gb_list *before = queue->pending.next; before != at; before = before->next)
            drop_host(queue, step_of(before));
        return step;
    }
    return NULL;
}

/* Ends what is pending, up to `last`, and keeps it pending. True when one had not ended before. */
static bool end_kept(gbi_cuda_queue *queue, gbi_cuda_step *last, bool lost)
{
    bool ended = false;
    for (gb_list *at = queue->pending.next;; at = at->next) {
        gbi_cuda_step *step = step_of(at);
        bool is_last = step == last;
        ended = ended || (step->command && !step->ended);
        if (lost) end_record(queue, step);
        end_command(step, step->rc < 0 ? step->rc : GB_ECANCELED, step->text);
        if (is_last) return ended;
    }
}

/* What is to end now though the driver may not be through with it: up to this step, or NULL. Under
 * the lock. */
static gbi_cuda_step *ends_early(gbi_cuda_queue *queue, bool lost)
{
    if (!lost) return cancelled(queue);
    if (gb_list_empty(&queue->pending)) return NULL;
    fail_lost(queue);
    return step_of(queue->pending.prev);
}

/* Context current, or not: then nothing is asked of the driver. */
static bool look(gbi_cuda_queue *queue, bool entered, uint64_t now)
{
    gb_list done;
    int ended = 0, downloads = 0, signals = 0;
    gb_list_init(&done);
    pthread_mutex_lock(&queue->lock);
    if (atomic_load(&queue->device->lost)) fail_lost(queue);
    if (entered || atomic_load(&queue->device->dead)) collect(queue, &done, now);
    bool lost = atomic_load(&queue->device->lost);
    gbi_cuda_step *early = ends_early(queue, lost);
    if (early) queue->finishing++;
    pthread_mutex_unlock(&queue->lock);
    bool progress = false;
    for (gb_list *node; (node = gb_list_shift(&done)); ended++) {
        gbi_cuda_step *step = step_of(node);
        downloads += step->host != NULL;
        signals += step->command && step->command->kind == GBI_SIGNAL;
        finish(queue, step);
        progress = true;
    }
    if (early && end_kept(queue, early, lost)) progress = true;
    pthread_mutex_lock(&queue->lock);
    queue->finishing -= ended + (early != NULL);
    queue->downloads -= downloads;
    queue->signals -= signals;
    pthread_mutex_unlock(&queue->lock);
    return progress;
}

/* ---- the thread ---- */

static void wake(gbi_cuda_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    watch->called = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->lock);
}

/* A thread of the driver. The host does not close before it has been counted. */
static void called(void *arg)
{
    gbi_cuda_device *device = arg;
    gbi_cuda_watch *watch = &device->cuda->watch;
    pthread_mutex_lock(&watch->lock);
    watch->called = true;
    pthread_cond_signal(&watch->wake);
    atomic_fetch_sub(&device->callbacks, 1);
    pthread_mutex_unlock(&watch->lock);
}

/* A lost device is entered too: what it was given has still to be seen to end. */
static bool enter(gbi_cuda_device *device)
{
    if (atomic_load(&device->dead) || atomic_load(&device->resetting)) return false;
    gb_cu_result rc = device->cuda->api->cuCtxSetCurrent(device->context);
    if (rc != GB_CU_SUCCESS) gbi_cuda_doubt(device, rc, "entering the context");
    return rc == GB_CU_SUCCESS;
}

/* True when the queue left the list; its reference is the caller's then. Under the watch's lock,
 * which is given up meanwhile. */
static bool leave(gbi_cuda_watch *watch, gbi_cuda_queue *queue)
{
    pthread_mutex_unlock(&watch->lock);
    pthread_mutex_lock(&queue->lock);
    pthread_mutex_lock(&watch->lock);
    bool empty = gb_list_empty(&queue->pending);
    if (empty) {
        gb_list_unlink(&queue->busy);
        queue->is_busy = false;
    }
    pthread_mutex_unlock(&queue->lock);
    return empty;
}

/* What ended may be what a queue of any device was held for. */
static void pump_all(gbi_cuda *cuda)
{
    for (int i = 0; i < cuda->device_count; i++) gbi_cuda_pump(cuda->devices[i]);
}

/* Looks at every busy queue once. Under the watch's lock, which is given up meanwhile; only this
 * thread takes queues out of the list. */
static bool pass(gbi_cuda_watch *watch)
{
    bool progress = false;
    uint64_t now = now_ns();
    for (gb_list *at = watch->busy.next, *next; at != &watch->busy; at = next) {
        gbi_cuda_queue *queue = GB_CONTAINER(at, gbi_cuda_queue, busy);
        pthread_mutex_unlock(&watch->lock);
        bool moved = look(queue, enter(queue->device), now);
        if (moved) pump_all(queue->device->cuda);
        progress = progress || moved;
        pthread_mutex_lock(&watch->lock);
        next = at->next;
        if (!leave(watch, queue)) continue;
        pthread_mutex_unlock(&watch->lock);
        gbi_cuda_queue_unref(queue);
        pthread_mutex_lock(&watch->lock);
        next = watch->busy.next; /* a new start: some are looked at again */
    }
    return progress;
}

/* Puts a callback behind what is pending. True when some queue has several marks, whose first may
 * be reached long before the callback. */
static bool arm(gbi_cuda_queue *queue)
{
    int marks = 0;
    gbi_cuda_device *device = queue->device;
    bool entered = !atomic_load(&device->lost) &&
                   queue->close.epoch == atomic_load(&device->epoch) && enter(device);
    pthread_mutex_lock(&queue->lock);
    for (gb_list *at = queue->pending.next; at != &queue->pending; at = at->next)
        marks += step_of(at)->mark != NULL;
    if (!queue->armed && entered) {
        atomic_fetch_add(&device->callbacks, 1);
        gb_cu_result rc = device->cuda->api->cuLaunchHostFunc(queue->stream, called, device);
        queue->armed = rc == GB_CU_SUCCESS;
        if (rc != GB_CU_SUCCESS) {
            atomic_fetch_sub(&device->callbacks, 1);
            gbi_cuda_failed(device, rc, "waiting for a queue");
        }
    }
    pthread_mutex_unlock(&queue->lock);
    return marks > 1;
}

static void sleep_for(gbi_cuda_watch *watch, long ns)
{
    struct timespec until = gb_cond_end((uint64_t)ns);
    while (!watch->called)
        if (pthread_cond_timedwait(&watch->wake, &watch->lock, &until) != 0) break;
}

static void sleep_until_called(gbi_cuda_watch *watch)
{
    bool several = false;
    for (gb_list *at = watch->busy.next; at != &watch->busy; at = at->next) {
        pthread_mutex_unlock(&watch->lock);
        several = arm(GB_CONTAINER(at, gbi_cuda_queue, busy)) || several;
        pthread_mutex_lock(&watch->lock);
    }
    sleep_for(watch, several || watch->stopping ? SLEEP_SEVERAL_NS : SLEEP_NS);
}

/* A broken context calls nobody: where callbacks are all that is awaited, that has to be asked. */
static void probe(gbi_cuda_device *device)
{
    bool awaited = atomic_load(&device->callbacks) > 0 && atomic_load(&device->steps) == 0;
    if (!awaited) return;
    atomic_fetch_add(&device->steps, 1); /* no reset meanwhile */
    if (enter(device)) {
        gb_cu_result rc = device->cuda->api->cuEventQuery(device->probe);
        if (rc != GB_CU_SUCCESS) gbi_cuda_doubt(device, rc, "asking for its state");
    }
    atomic_fetch_sub(&device->steps, 1);
}

/* Under the watch's lock, which is given up meanwhile. Callbacks may be all that what is to be
 * given back on a lost device, or a host that closes, is waiting for. */
static void see_to_callbacks(gbi_cuda_watch *watch)
{
    gbi_cuda *cuda = GB_CONTAINER(watch, gbi_cuda, watch);
    bool stopping = watch->stopping;
    pthread_mutex_unlock(&watch->lock);
    for (int i = 0; i < cuda->device_count; i++) {
        bool lost = atomic_load(&cuda->devices[i]->lost);
        if (lost || stopping) probe(cuda->devices[i]);
        if (lost) gbi_cuda_pump(cuda->devices[i]);
    }
    pthread_mutex_lock(&watch->lock);
}

/* Stopping: whether there is nothing left to be waited for. */
static bool is_over(gbi_cuda_watch *watch)
{
    gbi_cuda *cuda = GB_CONTAINER(watch, gbi_cuda, watch);
    bool patient = now_ns() - watch->stop_ns < STOP_NS;
    for (int i = 0; i < cuda->device_count; i++) {
        gbi_cuda_device *device = cuda->devices[i];
        bool dead = atomic_load(&device->dead), given_up = atomic_load(&device->lost) && !dead;
        if (given_up && !patient) continue;
        if (atomic_load(&device->steps) > 0) return false;
        if (atomic_load(&device->callbacks) > 0 && !dead) return false;
    }
    return true;
}

static void *watcher(void *arg)
{
    gbi_cuda_watch *watch = arg;
    uint64_t moved_ns = now_ns();
    pthread_mutex_lock(&watch->lock);
    for (;;) {
        if (watch->stopping && is_over(watch)) break;
        bool called_now = watch->called;
        watch->called = false;
        if (called_now || watch->stopping) see_to_callbacks(watch);
        if (gb_list_empty(&watch->busy)) {
            if (watch->stopping)
                sleep_for(watch, SLEEP_SEVERAL_NS);
            else
                pthread_cond_wait(&watch->wake, &watch->lock);
            moved_ns = now_ns();
            continue;
        }
        if (pass(watch)) {
            moved_ns = now_ns();
            if (watch->stopping) watch->stop_ns = moved_ns;
        } else if (now_ns() - moved_ns < SPIN_NS) {
            pthread_mutex_unlock(&watch->lock);
            sched_yield();
            pthread_mutex_lock(&watch->lock);
        } else if (!gb_list_empty(&watch->busy)) {
            sleep_until_called(watch);
            if (watch->called) moved_ns = now_ns();
        }
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

int gbi_cuda_watch_start(gbi_cuda *cuda)
{
    gbi_cuda_watch *watch = &cuda->watch;
    sigset_t all, old;
    pthread_mutex_lock(&watch->lock);
    if (!watch->started) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        watch->started = pthread_create(&watch->thread, NULL, watcher, watch) == 0;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    bool started = watch->started;
    pthread_mutex_unlock(&watch->lock);
    return started ? 0 : gb_err_set(GB_ENOMEM, "no thread for watching devices could be started");
}

void gbi_cuda_watch_queue(gbi_cuda_queue *queue)
{
    gbi_cuda_watch *watch = &queue->device->cuda->watch;
    pthread_mutex_lock(&watch->lock);
    bool fresh = !queue->is_busy;
    if (fresh) {
        queue->is_busy = true;
        gbi_cuda_queue_ref(queue);
        gb_list_push(&watch->busy, &queue->busy);
    }
    if (fresh || atomic_load(&queue->device->lost)) {
        watch->called = true; /* asleep or not: a queue has to be looked at and armed */
        pthread_cond_signal(&watch->wake);
    }
    pthread_mutex_unlock(&watch->lock);
}

void gbi_cuda_watch_wake(gbi_cuda *cuda)
{
    wake(&cuda->watch);
}

void gbi_cuda_watch_stop(gbi_cuda *cuda)
{
    gbi_cuda_watch *watch = &cuda->watch;
    pthread_mutex_lock(&watch->lock);
    watch->stopping = true;
    watch->called = true;
    watch->stop_ns = now_ns();
    pthread_cond_signal(&watch->wake);
    bool started = watch->started;
    pthread_mutex_unlock(&watch->lock);
    if (started) pthread_join(watch->thread, NULL);
}
