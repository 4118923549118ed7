/* Queues: what a command keeps alive, the first error, signals. Ordering itself is the backend's;
 * what users put into them is checked in queue_put.c. */
#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"
#include "gpu/graph.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 512, SPARE_MAX = 32 };

/* ---- life ---- */

int gb_queue_open(gb_queue **out, gb_device *device)
{
    return gb_queue_open_urgent(out, device, false);
}

int gb_queue_open_urgent(gb_queue **out, gb_device *device, bool urgent)
{
    gb_queue *queue = gb_mem_zalloc(&device->gpu->room, sizeof *queue);
    if (!queue) return GB_ENOMEM;
    atomic_init(&queue->count, 1);
    queue->device = device;
    pthread_mutex_init(&queue->lock, NULL);
    gb_list_init(&queue->signals);
    gb_list_init(&queue->spare);
    int rc = device->backend->queue_open(&queue->impl, device->impl, queue, urgent);
    if (rc < 0) {
        pthread_mutex_destroy(&queue->lock);
        gb_mem_free(&device->gpu->room, queue, sizeof *queue);
        return rc;
    }
    atomic_fetch_add(&device->gpu->queues, 1);
    *out = queue;
    return 0;
}

static void unref(gb_queue *queue)
{
    if (atomic_fetch_sub_explicit(&queue->count, 1, memory_order_acq_rel) > 1) return;
    gb_gpu *gpu = queue->device->gpu;
    gb_queue *leader = queue->leader;
    queue->device->backend->queue_close(queue->impl);
    for (gb_list *node; (node = gb_list_shift(&queue->spare));)
        gb_mem_free(&gpu->room, GB_CONTAINER(node, gbi_command, link), BLOCK_BYTES);
    free(queue->detail);
    pthread_mutex_destroy(&queue->lock);
    gb_mem_free(&gpu->room, queue, sizeof *queue);
    atomic_fetch_sub(&gpu->queues, 1);
    if (leader) unref(leader);
}

void gb_queue_set_patience(gb_queue *queue, uint64_t ns)
{
    atomic_store_explicit(&queue->patience_ns, ns, memory_order_relaxed);
}

void gb_queue_attend(gb_queue *queue)
{
    queue->attended = true;
    queue->attendant = pthread_self();
}

bool gb_queue_is_idle(const gb_queue *queue)
{
    return atomic_load_explicit(&((gb_queue *)queue)->depth, memory_order_acquire) == 0;
}

void gb_queue_close(gb_queue *queue)
{
    if (!queue) return;
    for (int i = 0; i < GBI_SIDES; i++) gb_queue_close(queue->sides[i]);
    unref(queue);
}

/* Whose signals take the errors of a queue's commands. */
static gb_queue *leader_of(gb_queue *queue)
{
    return queue->leader ? queue->leader : queue;
}

/* ---- commands ---- */

gbi_command *gbi_command_block(gb_queue *queue, size_t bytes)
{
    if (bytes <= BLOCK_BYTES) {
        pthread_mutex_lock(&queue->lock);
        gb_list *node = gb_list_shift(&queue->spare);
        if (node) queue->spare_count--;
        pthread_mutex_unlock(&queue->lock);
        if (node) return GB_CONTAINER(node, gbi_command, link);
        bytes = BLOCK_BYTES;
    }
    gbi_command *command = gb_mem_alloc(&queue->device->gpu->room, bytes);
    if (command) command->memory_bytes = bytes;
    return command;
}

static void free_block(gb_queue *queue, gbi_command *command)
{
    if (command->memory_bytes == BLOCK_BYTES) {
        pthread_mutex_lock(&queue->lock);
        bool keep = queue->spare_count < SPARE_MAX;
        if (keep) {
            gb_list_push(&queue->spare, &command->link);
            queue->spare_count++;
        }
        pthread_mutex_unlock(&queue->lock);
        if (keep) return;
    }
    gb_mem_free(&queue->device->gpu->room, command, command->memory_bytes);
}

/* The block behind a command: retained buffers, then parameter pointers, then the values, each in
 * the order of the original. */
void gbi_command_copy_launch(gbi_command *command, const gbi_command *from, void *at)
{
    uint32_t count = from->u.launch.param_count;
    void **params = at;
    char *blob = (char *)(((uintptr_t)(params + count) + 15) & ~(uintptr_t)15);
    if (count) memcpy(blob, from->u.launch.params[0], from->u.launch.blob_bytes);
    for (uint32_t i = 0; i < count; i++)
        params[i] = blob + ((char *)from->u.launch.params[i] - (char *)from->u.launch.params[0]);
    command->u.launch.params = params;
}

static gbi_command *make_permanent(gb_queue *queue, const gbi_command *from)
{
    size_t bytes = sizeof *from + from->retained_count * sizeof(gb_buffer *);
    if (from->kind == GBI_LAUNCH)
        bytes += from->u.launch.param_count * sizeof(void *) + 15 + from->u.launch.blob_bytes;
    gbi_command *command = gbi_command_block(queue, bytes);
    if (!command) return NULL;
    size_t memory_bytes = command->memory_bytes;
    *command = *from;
    command->memory_bytes = memory_bytes;
    command->retained = (gb_buffer **)(command + 1);
    for (uint32_t i = 0; i < from->retained_count; i++)
        command->retained[i] = gb_buffer_ref(from->retained[i]);
    if (from->kind == GBI_LAUNCH) {
        gb_module_ref(command->module);
        gbi_command_copy_launch(command, from, command->retained + from->retained_count);
    }
    if (from->kind == GBI_RECORD || from->kind == GBI_WAIT) gbi_event_ref(command->u.event.event);
    gb_list_init(&command->link);
    gb_list_init(&command->signals);
    atomic_fetch_add_explicit(&queue->count, 1, memory_order_relaxed);
    return command;
}

void gbi_command_let_go(gbi_command *command)
{
    if (command->whole) return; /* the whole graph holds them */
    for (uint32_t i = 0; i < command->retained_count; i++) gb_buffer_unref(command->retained[i]);
    command->retained_count = 0;
}

gbi_command *gbi_command_event(gb_queue *queue, gbi_command_kind kind, gb_event *event)
{
    gbi_command command = {.kind = kind, .queue = queue};
    command.u.event.event = event;
    command.u.event.impl = event->impl;
    return make_permanent(queue, &command);
}

void gbi_command_free(gbi_command *command)
{
    gb_queue *queue = command->queue;
    if (command->whole) {
        gbi_command_part_free(command);
        return;
    }
    gbi_command_let_go(command);
    if (command->kind == GBI_GRAPH) gbi_replay_unref(command->u.graph.replay);
    if (command->kind == GBI_LAUNCH) gb_module_unref(command->module);
    if (command->kind == GBI_RECORD || command->kind == GBI_WAIT)
        gbi_event_unref(command->u.event.event);
    free_block(queue, command);
    unref(queue);
}

static void take_error(gb_queue *queue, int rc, const char *text)
{
    queue = leader_of(queue);
    pthread_mutex_lock(&queue->lock);
    if (atomic_load_explicit(&queue->rc, memory_order_relaxed) == 0) {
        free(queue->detail);
        queue->detail = strdup(text ? text : gb_err_text(rc));
        atomic_store_explicit(&queue->rc, rc, memory_order_relaxed);
    }
    pthread_mutex_unlock(&queue->lock);
}

/* The error since the last signal moves into the op. */
static int give_error(gb_queue *queue, gbi_command *signal, gb_op *op)
{
    pthread_mutex_lock(&queue->lock);
    gb_list_unlink(&signal->signals);
    int rc = atomic_load_explicit(&queue->rc, memory_order_relaxed);
    char *detail = queue->detail;
    queue->detail = NULL;
    atomic_store_explicit(&queue->rc, 0, memory_order_relaxed);
    pthread_mutex_unlock(&queue->lock);
    if (rc < 0) {
        free(op->detail);
        op->detail = detail;
    }
    return rc;
}

static void count_end(gb_queue *queue)
{
    gb_gpu *gpu = queue->device->gpu;
    atomic_fetch_sub_explicit(&queue->device->depth, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&queue->depth, 1, memory_order_release);
    if (atomic_fetch_sub(&gpu->commands, 1) == 1) {
        pthread_mutex_lock(&gpu->idle_lock);
        pthread_cond_broadcast(&gpu->idle);
        pthread_mutex_unlock(&gpu->idle_lock);
    }
}

static bool of_host(const gb_buffer *buffer)
{
    return !buffer || buffer->kind == GB_BUFFER_PINNED;
}

static gbi_count way_of(const gbi_command *copy)
{
    bool from = of_host(copy->u.copy.from), to = of_host(copy->u.copy.to);
    return from == to ? GBI_COUNT_ACROSS : from ? GBI_COUNT_UP : GBI_COUNT_DOWN;
}

/* A command that an earlier failure kept from running ends well, and counts as nothing. */
static void count_what(gb_queue *queue, const gbi_command *command, int rc)
{
    gb_device *device = queue->device;
    if (command->kind > GBI_LAUNCH) return;
    if (command->kind == GBI_GRAPH) {
        for (int i = 0; i < command->u.graph.count; i++)
            count_what(queue, &command->u.graph.commands[i], rc);
        return;
    }
    if (rc >= 0 && atomic_load_explicit(&leader_of(queue)->rc, memory_order_relaxed) < 0) return;
    if (command->kind == GBI_LAUNCH) {
        gbi_device_count(device, queue, rc < 0 ? GBI_COUNT_LAUNCHES_FAILED : GBI_COUNT_LAUNCHES, 1);
        gbi_profile_ended(command, rc);
    } else if (command->kind == GBI_COPY && rc >= 0)
        gbi_device_count(device, queue, way_of(command), command->u.copy.bytes);
}

void gbi_command_end(gbi_command *command, int rc, const char *text)
{
    gb_queue *queue = command->queue;
    count_what(queue, command, rc);
    if (command->kind != GBI_SIGNAL) {
        if (rc < 0) take_error(queue, rc, text);
        count_end(queue);
        return;
    }
    gb_op *op = command->u.op;
    int first = give_error(queue, command, op);
    count_end(queue);
    op->done(op, first < 0 ? first : rc);
}

int gbi_command_check(gbi_command *command)
{
    gb_queue *queue = leader_of(command->queue);
    pthread_mutex_lock(&queue->lock);
    int answer = atomic_load_explicit(&queue->rc, memory_order_relaxed) < 0;
    if (!gb_list_empty(&queue->signals)) { /* first: a side may have failed while this one runs */
        gbi_command *signal = GB_CONTAINER(queue->signals.next, gbi_command, signals);
        if (atomic_load_explicit(&signal->u.op->cancelled, memory_order_relaxed))
            answer = GB_ECANCELED;
    }
    pthread_mutex_unlock(&queue->lock);
    return answer;
}

void gbi_queue_count(gb_queue *queue, int commands)
{
    atomic_fetch_add(&queue->device->gpu->commands, commands);
    atomic_fetch_add_explicit(&queue->device->depth, commands, memory_order_relaxed);
    atomic_fetch_add_explicit(&queue->depth, commands, memory_order_relaxed);
}

void gbi_queue_hand(gb_queue *queue, gbi_command *kept)
{
    gbi_queue_count(queue, 1);
    bool taken = queue->device->backend->submit(queue->impl, kept);
    GB_CHECK(taken);
}

/* Runs the command now, or hands a permanent copy to the backend. */
int gbi_queue_put(gb_queue *queue, gbi_command *command)
{
    const gb_backend *backend = queue->device->backend;
    command->queue = queue;
    if (__builtin_expect(queue->device->gpu->profile.on, 0) && command->kind == GBI_LAUNCH)
        gbi_profile_queue(command);
    if (atomic_load_explicit(&queue->depth, memory_order_acquire) == 0) {
        bool failed = atomic_load_explicit(&leader_of(queue)->rc, memory_order_relaxed) < 0;
        if (failed && command->kind <= GBI_LAUNCH) return 0; /* until a signal takes the error */
        int rc = 0;
        char *text = NULL;
        if (backend->now && backend->now(queue->impl, command, &rc, &text)) {
            count_what(queue, command, rc);
            if (rc < 0) take_error(queue, rc, text);
            free(text);
            return 0;
        }
    }
    gbi_command *kept = make_permanent(queue, command);
    if (!kept) return GB_ENOMEM;
    gbi_queue_hand(queue, kept);
    return 0;
}

int gb_queue_signal(gb_queue *queue, gb_op *op)
{
    gbi_command command = {.kind = GBI_SIGNAL, .queue = queue, .u.op = op};
    gb_list_init(&command.signals);
    bool idle = atomic_load_explicit(&queue->depth, memory_order_acquire) == 0;
    if (!idle) {
        gbi_command *kept = make_permanent(queue, &command);
        if (!kept) return GB_ENOMEM;
        gbi_queue_count(queue, 1);
        pthread_mutex_lock(&queue->lock);
        gb_list_push(&queue->signals, &kept->signals);
        pthread_mutex_unlock(&queue->lock);
        if (queue->device->backend->submit(queue->impl, kept)) return GB_OP_PENDING;
        pthread_mutex_lock(&queue->lock);
        gb_list_unlink(&kept->signals);
        pthread_mutex_unlock(&queue->lock);
        count_end(queue);
        gbi_command_free(kept);
    }
    if (atomic_load_explicit(&queue->rc, memory_order_relaxed) == 0) return GB_OP_READY;
    int rc = give_error(queue, &command, op);
    return gb_err_set(rc, "%s", op->detail ? op->detail : gb_err_text(rc));
}
