/* In-order queues and events of the cpu backend. Whoever ends a command goes on with the next:
 * there is no central thread. */
#include "base/check.h"
#include "base/err.h"
#include "gpu/cpu_engine.h"
#include "gpu/front.h"

#include <stdlib.h>
#include <string.h>

/* ---- events ---- */

int gbi_cpu_event_open(void **out, void *device)
{
    gb_mem *mem = ((gbi_cpu_device *)device)->cpu->mem;
    gbi_cpu_event *event = gb_mem_zalloc(mem, sizeof *event);
    if (!event) return GB_ENOMEM;
    event->mem = mem;
    pthread_mutex_init(&event->lock, NULL);
    gb_list_init(&event->waiters);
    *out = event;
    return 0;
}

void gbi_cpu_event_close(void *self)
{
    gbi_cpu_event *event = self;
    GB_CHECK(gb_list_empty(&event->waiters));
    pthread_mutex_destroy(&event->lock);
    gb_mem_free(event->mem, event, sizeof *event);
}

uint64_t gbi_cpu_event_query(void *self)
{
    return atomic_load_explicit(&((gbi_cpu_event *)self)->finished, memory_order_acquire);
}

int gbi_cpu_event_elapsed(void *start, void *end, uint64_t *out_ns)
{
    gbi_cpu_event *first = start, *last = end;
    pthread_mutex_lock(&first->lock);
    uint64_t from = first->at_ns;
    pthread_mutex_unlock(&first->lock);
    pthread_mutex_lock(&last->lock);
    uint64_t to = last->at_ns;
    pthread_mutex_unlock(&last->lock);
    *out_ns = to > from ? to - from : 0;
    return 0;
}

/* A queue that waited goes on as a job of its own: not on this thread, which may be a caller's. */
static void wake(gbi_cpu_queue *queue)
{
    /* Without memory for threads nothing of this backend runs, so the first add succeeded. */
    int rc = gbi_pool_add(queue->device->cpu->pool, &queue->wake);
    GB_CHECK(rc == 0);
}

static void fire(gbi_cpu_event *event, uint64_t generation)
{
    gb_list ready;
    gb_list_init(&ready);
    pthread_mutex_lock(&event->lock);
    if (generation > atomic_load_explicit(&event->finished, memory_order_relaxed)) {
        event->at_ns = gbi_now_ns();
        atomic_store_explicit(&event->finished, generation, memory_order_release);
    }
    for (gb_list *at = event->waiters.next, *next; at != &event->waiters; at = next) {
        next = at->next;
        if (GB_CONTAINER(at, gbi_cpu_queue, waiting)->awaited > generation) continue;
        gb_list_unlink(at);
        gb_list_push(&ready, at);
    }
    pthread_mutex_unlock(&event->lock);
    for (gb_list *node; (node = gb_list_shift(&ready));)
        wake(GB_CONTAINER(node, gbi_cpu_queue, waiting));
}

/* True when the event is there already; else the queue is woken later. */
static bool await(gbi_cpu_queue *queue, gbi_command *command)
{
    gbi_cpu_event *event = command->u.event.impl;
    pthread_mutex_lock(&event->lock);
    bool there =
        atomic_load_explicit(&event->finished, memory_order_relaxed) >= command->u.event.generation;
    if (!there) {
        queue->held = command;
        queue->awaited = command->u.event.generation;
        gb_list_push(&event->waiters, &queue->waiting);
    }
    pthread_mutex_unlock(&event->lock);
    return there;
}

static void run_wake(gbi_pool_job *job, gbi_runner *runner, uint64_t first, uint64_t count)
{
}

static void wake_ended(gbi_pool_job *job, bool timed_out)
{
}

/* In released, not in ended: then the job may be used again by the next wait. */
static void wake_released(gbi_pool_job *job)
{
    gbi_cpu_queue *queue = GB_CONTAINER(job, gbi_cpu_queue, wake);
    gbi_command *held = queue->held;
    queue->held = NULL;
    memset(job, 0, sizeof *job);
    job->total = job->chunk = 1;
    job->run = run_wake;
    job->ended = wake_ended;
    job->released = wake_released;
    job->urgent = queue->urgent;
    if (!held) return; /* the queue was just opened */
    gbi_cpu_queue_advance(queue, held, 0, NULL);
    gbi_command_free(held);
}

/* ---- life ---- */

int gbi_cpu_queue_open(void **out, void *device, gb_queue *front, bool urgent)
{
    gbi_cpu_device *owner = device;
    gbi_cpu_queue *queue = gb_mem_zalloc_lines(owner->cpu->mem, sizeof *queue);
    if (!queue) return GB_ENOMEM;
    queue->device = owner;
    queue->front = front;
    queue->urgent = urgent;
    pthread_mutex_init(&queue->lock, NULL);
    gb_list_init(&queue->commands);
    gb_list_init(&queue->waiting);
    wake_released(&queue->wake);
    *out = queue;
    return 0;
}

void gbi_cpu_queue_close(void *self)
{
    gbi_cpu_queue *queue = self;
    pthread_mutex_destroy(&queue->lock);
    gb_mem_free_lines(queue->device->cpu->mem, queue, sizeof *queue);
}

/* ---- at once, on the owner's thread ---- */

bool gbi_cpu_now(void *self, gbi_command *command, int *rc, char **text)
{
    gbi_cpu_queue *queue = self;
    switch (command->kind) {
    case GBI_COPY:
    case GBI_FILL:
        if (gbi_cpu_move_bytes(command) > GBI_INLINE_BYTES) return false;
        gbi_cpu_move_here(command);
        return true;
    case GBI_LAUNCH:
        if (!gbi_cpu_is_small(command)) return false;
        gbi_profile_started(command);
        *rc = gbi_cpu_launch_here(queue->device->cpu, command, text);
        return true;
    case GBI_RECORD:
        fire(command->u.event.impl, command->u.event.generation);
        return true;
    case GBI_WAIT:
        return gbi_cpu_event_query(command->u.event.impl) >= command->u.event.generation;
    case GBI_GRAPH: /* never: the table replays none */
    case GBI_SIGNAL:
        break;
    }
    return false;
}

/* ---- in order ---- */

/* True: ended (rc and text say how); false: it goes on elsewhere and advances the queue later. */
static bool begin(gbi_cpu_queue *queue, gbi_command *command, int *rc, char **text)
{
    if (command->kind <= GBI_LAUNCH) {
        int check = gbi_command_check(command);
        if (check != 0) {
            *rc = check < 0 ? check : 0;
            return true;
        }
    }
    switch (command->kind) {
    case GBI_COPY:
    case GBI_FILL:
        if (gbi_cpu_move_bytes(command) > GBI_COPY_CHUNK && gbi_cpu_move_start(queue, command) == 0)
            return false;
        gbi_cpu_move_here(command);
        return true;
    case GBI_LAUNCH:
        gbi_profile_started(command);
        if (gbi_cpu_is_small(command)) {
            *rc = gbi_cpu_launch_here(queue->device->cpu, command, text);
            return true;
        }
        *rc = gbi_cpu_launch_start(queue, command);
        if (*rc < 0) *text = strdup(gb_err_detail());
        return *rc < 0;
    case GBI_RECORD:
        fire(command->u.event.impl, command->u.event.generation);
        return true;
    case GBI_WAIT:
        return await(queue, command);
    case GBI_GRAPH:
    case GBI_SIGNAL:
        return true;
    }
    return true;
}

static gbi_command *next_command(gbi_cpu_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    gb_list *node = gb_list_shift(&queue->commands);
    if (!node) queue->active = false;
    pthread_mutex_unlock(&queue->lock);
    return node ? GB_CONTAINER(node, gbi_command, link) : NULL;
}

/* The queue lives as long as one of its commands, so the last one is freed only when the queue is
 * not touched any more; `done` is freed by the caller. */
void gbi_cpu_queue_advance(gbi_cpu_queue *queue, gbi_command *done, int rc, const char *text)
{
    gbi_command *previous = NULL;
    if (done) gbi_command_end(done, rc, text);
    for (gbi_command *command; (command = next_command(queue));) {
        if (previous) gbi_command_free(previous);
        previous = NULL;
        int own_rc = 0;
        char *own_text = NULL;
        if (!begin(queue, command, &own_rc, &own_text)) return;
        gbi_command_end(command, own_rc, own_text);
        free(own_text);
        previous = command;
    }
    if (previous) gbi_command_free(previous);
}

bool gbi_cpu_submit(void *self, gbi_command *command)
{
    gbi_cpu_queue *queue = self;
    pthread_mutex_lock(&queue->lock);
    bool idle = !queue->active;
    if (idle && command->kind == GBI_SIGNAL) {
        pthread_mutex_unlock(&queue->lock);
        return false;
    }
    gb_list_push(&queue->commands, &command->link);
    queue->active = true;
    pthread_mutex_unlock(&queue->lock);
    if (idle) gbi_cpu_queue_advance(queue, NULL, 0, NULL);
    return true;
}
