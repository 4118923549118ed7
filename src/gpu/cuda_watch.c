/* The watcher: sees what has ended and ends the commands. See cuda_engine.h. */
#include "gpu/cuda_engine.h"

#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SPIN_NS = 200000, SLEEP_NS = 100000000, SLEEP_SEVERAL_NS = 1000000 };

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

/* Everything before it has ended. */
static void finish(gbi_cuda_queue *queue, gbi_cuda_step *step)
{
    gbi_cuda_device *device = queue->device;
    gbi_command *command = step->command;
    if (step->host && step->rc == 0) memcpy(step->host, step->stage->host, step->bytes);
    if (step->stage) gbi_cuda_stage_give(device, step->stage);
    if (command && command->kind == GBI_RECORD)
        gbi_cuda_event_finish(command->u.event.impl, command->u.event.generation);
    end_command(step, step->rc, step->text);
    gbi_cuda_mark_unref(step->mark);
    free(step->text);
    gb_mem_free(device->cuda->mem, step, sizeof *step);
    if (command) gbi_command_free(command);
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

/* The device is gone: everything ends with that. The first launch that was under way is named: the
 * driver does not say which one it was. */
static void take_all_lost(gbi_cuda_queue *queue, gb_list *done)
{
    char text[512], under_way[160] = "";
    for (gb_list *node; (node = queue->pending.next) != &queue->pending;) {
        gbi_cuda_step *step = step_of(node);
        if (!*under_way && step->command && step->command->kind == GBI_LAUNCH)
            snprintf(under_way, sizeof under_way, "; under way: kernel '%.100s'",
                     gb_kernel_name(step->command->u.launch.kernel));
        if (step->rc == 0) {
            step->rc = gbi_cuda_lost(queue->device);
            snprintf(text, sizeof text, "%s%s", gb_err_detail(), under_way);
            step->text = strdup(text);
        }
        take(queue, node, done);
    }
}

/* The first step with a mark; the last one is given one when none has. */
static gbi_cuda_step *first_mark(gbi_cuda_queue *queue)
{
    int rc;
    for (gb_list *at = queue->pending.next; at != &queue->pending; at = at->next)
        if (step_of(at)->mark) return step_of(at);
    gbi_cuda_step *last = step_of(queue->pending.prev);
    last->mark = gbi_cuda_record(queue, false, &rc);
    return last->mark ? last : NULL;
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
    const char *name =
        launch->command ? gb_kernel_name(launch->command->u.launch.kernel) : "unknown";
    snprintf(text, sizeof text,
             "cuda device %d: kernel '%.80s' passed its bound of %llu ms; the device is given up",
             queue->device->ordinal, name, (unsigned long long)(launch->bound_ns / 1000000));
    pthread_mutex_lock(&queue->device->lock);
    if (!queue->device->runaway) queue->device->runaway = gbi_cuda_mark_ref(mark->mark);
    pthread_mutex_unlock(&queue->device->lock);
    launch->rc = GB_ETIMEDOUT;
    launch->text = strdup(text);
    gbi_cuda_lose(queue->device, text);
}

/* Under the queue's lock. */
static void collect(gbi_cuda_queue *queue, gb_list *done, uint64_t now)
{
    gbi_cuda_device *device = queue->device;
    while (!gb_list_empty(&queue->pending) && !atomic_load(&device->lost)) {
        gbi_cuda_step *mark = first_mark(queue);
        if (!mark) break;
        gb_cu_result rc = device->cuda->api->cuEventQuery(mark->mark->handle);
        if (rc == GB_CU_NOT_READY) {
            check_bound(queue, mark, now);
            break;
        }
        if (rc != GB_CU_SUCCESS) {
            gbi_cuda_failed(device, rc, "running a queue");
            if (!atomic_load(&device->lost)) gbi_cuda_lose(device, gb_err_detail());
            break;
        }
        gb_list *node;
        do {
            node = queue->pending.next;
            take(queue, node, done);
        } while (node != &mark->link);
    }
    if (atomic_load(&device->lost)) take_all_lost(queue, done);
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
        for (gb_list *before = queue->pending.next; before != at; before = before->next) {
            gbi_cuda_step *other = step_of(before);
            if (other->host) queue->downloads--;
            other->host = NULL;
        }
        return step;
    }
    return NULL;
}

static void end_cancelled(gbi_cuda_queue *queue, gbi_cuda_step *signal)
{
    for (gb_list *at = queue->pending.next;; at = at->next) {
        gbi_cuda_step *step = step_of(at);
        bool last = step == signal;
        end_command(step, step->rc < 0 ? step->rc : GB_ECANCELED, step->text);
        if (last) return;
    }
}

static bool look(gbi_cuda_queue *queue, uint64_t now)
{
    gb_list done;
    int ended = 0, downloads = 0, signals = 0;
    gb_list_init(&done);
    gbi_cuda_enter(queue->device);
    pthread_mutex_lock(&queue->lock);
    collect(queue, &done, now);
    gbi_cuda_step *gone = cancelled(queue);
    if (gone) queue->finishing++;
    pthread_mutex_unlock(&queue->lock);
    bool progress = gone != NULL;
    for (gb_list *node; (node = gb_list_shift(&done)); ended++) {
        gbi_cuda_step *step = step_of(node);
        downloads += step->host != NULL;
        signals += step->command && step->command->kind == GBI_SIGNAL;
        finish(queue, step);
        progress = true;
    }
    if (gone) end_cancelled(queue, gone);
    pthread_mutex_lock(&queue->lock);
    queue->finishing -= ended + (gone != NULL);
    queue->downloads -= downloads;
    queue->signals -= signals;
    pthread_mutex_unlock(&queue->lock);
    return progress;
}

/* ---- the thread ---- */

static void called(void *arg)
{
    gbi_cuda_watch *watch = arg;
    pthread_mutex_lock(&watch->lock);
    watch->called = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->lock);
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
        bool moved = look(queue, now);
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
    gbi_cuda_enter(device);
    pthread_mutex_lock(&queue->lock);
    for (gb_list *at = queue->pending.next; at != &queue->pending; at = at->next)
        marks += step_of(at)->mark != NULL;
    if (!queue->armed && !atomic_load(&device->lost)) {
        gb_cu_result rc =
            device->cuda->api->cuLaunchHostFunc(queue->stream, called, &device->cuda->watch);
        if (rc != GB_CU_SUCCESS) gbi_cuda_failed(device, rc, "waiting for a queue");
        queue->armed = rc == GB_CU_SUCCESS;
    }
    pthread_mutex_unlock(&queue->lock);
    return marks > 1;
}

static void sleep_until_called(gbi_cuda_watch *watch)
{
    bool several = false;
    for (gb_list *at = watch->busy.next; at != &watch->busy; at = at->next) {
        pthread_mutex_unlock(&watch->lock);
        several = arm(GB_CONTAINER(at, gbi_cuda_queue, busy)) || several;
        pthread_mutex_lock(&watch->lock);
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += several ? SLEEP_SEVERAL_NS : SLEEP_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (!watch->called && !watch->stopping)
        if (pthread_cond_timedwait(&watch->wake, &watch->lock, &until) != 0) break;
}

static void *watcher(void *arg)
{
    gbi_cuda_watch *watch = arg;
    uint64_t moved_ns = now_ns();
    pthread_mutex_lock(&watch->lock);
    for (;;) {
        watch->called = false;
        if (gb_list_empty(&watch->busy)) {
            if (watch->stopping) break;
            pthread_cond_wait(&watch->wake, &watch->lock);
            moved_ns = now_ns();
            continue;
        }
        if (pass(watch)) {
            moved_ns = now_ns();
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
    if (!queue->is_busy) {
        queue->is_busy = true;
        gbi_cuda_queue_ref(queue);
        gb_list_push(&watch->busy, &queue->busy);
        watch->called = true; /* asleep or not: a queue has to be looked at and armed */
        pthread_cond_signal(&watch->wake);
    }
    pthread_mutex_unlock(&watch->lock);
}

void gbi_cuda_watch_wake(gbi_cuda *cuda)
{
    called(&cuda->watch);
}

void gbi_cuda_watch_stop(gbi_cuda *cuda)
{
    gbi_cuda_watch *watch = &cuda->watch;
    pthread_mutex_lock(&watch->lock);
    watch->stopping = true;
    pthread_cond_signal(&watch->wake);
    bool started = watch->started;
    pthread_mutex_unlock(&watch->lock);
    if (started) pthread_join(watch->thread, NULL);
}
