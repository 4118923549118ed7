/* Queues: checks, what a command keeps alive, the first error, signals. Ordering itself is the
 * backend's. */
#include "base/check.h"
#include "base/err.h"
#include "gpu/front.h"
#include "gpu/graph.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 512, SPARE_MAX = 32, SCRATCH_BYTES = 1024 };

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
    if (command->kind == GBI_LAUNCH)
        gbi_device_count(device, queue, rc < 0 ? GBI_COUNT_LAUNCHES_FAILED : GBI_COUNT_LAUNCHES, 1);
    else if (command->kind == GBI_COPY && rc >= 0)
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

/* ---- copies and fills ---- */

int gbi_check_range(const gb_device *device, const gb_buffer *buffer, size_t offset, size_t bytes,
                    bool other_device)
{
    if (offset > buffer->bytes || bytes > buffer->bytes - offset)
        return gb_err_set(GB_EINVAL, "bytes %zu .. %zu of a buffer of %zu bytes", offset,
                          offset + bytes, buffer->bytes);
    bool wrong =
        other_device ? buffer->device->backend != device->backend : buffer->device != device;
    if (wrong)
        return gb_err_set(GB_EDEVICE, "the buffer is on device %d and the queue on device %d",
                          buffer->device->index, device->index);
    return 0;
}

static int check_host(const void *host)
{
    return host ? 0 : gb_err_set(GB_EINVAL, "host memory is NULL");
}

int gb_queue_upload(gb_queue *queue, gb_buffer *to, size_t offset, const void *host, size_t bytes)
{
    int rc = gbi_check_range(queue->device, to, offset, bytes, false);
    if (rc < 0 || bytes == 0) return rc;
    if ((rc = check_host(host)) < 0) return rc;
    gbi_command command = {.kind = GBI_COPY, .retained = &to, .retained_count = 1};
    command.u.copy.to = to;
    command.u.copy.to_address = (void *)(uintptr_t)(to->memory.address + offset);
    command.u.copy.from_address = host;
    command.u.copy.bytes = bytes;
    return gbi_queue_put(queue, &command);
}

int gb_queue_download(gb_queue *queue, void *host, gb_buffer *from, size_t offset, size_t bytes)
{
    int rc = gbi_check_range(queue->device, from, offset, bytes, false);
    if (rc < 0 || bytes == 0) return rc;
    if ((rc = check_host(host)) < 0) return rc;
    gbi_command command = {.kind = GBI_COPY, .retained = &from, .retained_count = 1};
    command.u.copy.from = from;
    command.u.copy.to_address = host;
    command.u.copy.from_address = (const void *)(uintptr_t)(from->memory.address + offset);
    command.u.copy.bytes = bytes;
    return gbi_queue_put(queue, &command);
}

int gb_queue_copy(gb_queue *queue, gb_buffer *to, size_t to_offset, gb_buffer *from,
                  size_t from_offset, size_t bytes)
{
    int rc = gbi_check_range(queue->device, to, to_offset, bytes, true);
    if (rc == 0) rc = gbi_check_range(queue->device, from, from_offset, bytes, true);
    if (rc < 0 || bytes == 0) return rc;
    if (to == from && to_offset < from_offset + bytes && from_offset < to_offset + bytes)
        return gb_err_set(GB_EINVAL, "the ranges of a copy within one buffer overlap");
    gb_buffer *both[2] = {to, from};
    gbi_command command = {.kind = GBI_COPY, .retained = both, .retained_count = 2};
    command.u.copy.to = to;
    command.u.copy.from = from;
    command.u.copy.to_address = (void *)(uintptr_t)(to->memory.address + to_offset);
    command.u.copy.from_address = (const void *)(uintptr_t)(from->memory.address + from_offset);
    command.u.copy.bytes = bytes;
    return gbi_queue_put(queue, &command);
}

int gb_queue_fill(gb_queue *queue, gb_buffer *to, size_t offset, const void *pattern,
                  size_t pattern_bytes, size_t count)
{
    if (pattern_bytes == 0 || pattern_bytes > GBI_PATTERN_MAX)
        return gb_err_set(GB_EINVAL, "a fill pattern has 1 .. %d bytes, not %zu", GBI_PATTERN_MAX,
                          pattern_bytes);
    if (count > to->bytes / pattern_bytes)
        return gb_err_set(GB_EINVAL, "%zu patterns of %zu bytes in a buffer of %zu bytes", count,
                          pattern_bytes, to->bytes);
    int rc = gbi_check_range(queue->device, to, offset, pattern_bytes * count, false);
    if (rc < 0 || count == 0) return rc;
    gbi_command command = {.kind = GBI_FILL, .retained = &to, .retained_count = 1};
    command.u.fill.to_address = (void *)(uintptr_t)(to->memory.address + offset);
    command.u.fill.pattern_bytes = pattern_bytes;
    command.u.fill.count = count;
    memcpy(command.u.fill.pattern, pattern, pattern_bytes);
    return gbi_queue_put(queue, &command);
}

/* ---- launches ---- */

int gbi_check_launch(const gb_kernel *kernel, const gb_launch *launch)
{
    const gb_device_info *limits = &kernel->module->device->limits;
    const gb_dim *grid = &launch->grid, *block = &launch->block;
    const char *name = kernel->desc->name;
    if (!grid->x || !grid->y || !grid->z || !block->x || !block->y || !block->z)
        return gb_err_set(GB_EINVAL, "kernel '%s': grid and block need at least 1 in x, y and z",
                          name);
    uint64_t threads = (uint64_t)block->x * block->y; /* both are 32 bits */
    uint64_t most = (uint64_t)limits->threads_per_block_max;
    int own = kernel->desc->info.threads_max;
    if (own > 0 && (uint64_t)own < most) most = (uint64_t)own;
    if (threads > most || threads * block->z > most)
        return gb_err_set(GB_EINVAL, "kernel '%s': a block of %u x %u x %u is over %llu threads",
                          name, block->x, block->y, block->z, (unsigned long long)most);
    if (block->z > 64) return gb_err_set(GB_EINVAL, "kernel '%s': block.z is over 64", name);
    if (grid->x > INT32_MAX || grid->y > 65535 || grid->z > 65535)
        return gb_err_set(GB_EINVAL,
                          "kernel '%s': a grid of %u x %u x %u is over 2147483647 x 65535 x 65535",
                          name, grid->x, grid->y, grid->z);
    if (launch->shared_bytes > (uint32_t)limits->shared_bytes_max)
        return gb_err_set(GB_EINVAL, "kernel '%s': %u bytes of shared memory are over %d", name,
                          launch->shared_bytes, limits->shared_bytes_max);
    return 0;
}

static int wrong_argument(const gb_kernel *kernel, int index, const gb_arg *arg)
{
    const gb_param *param = &kernel->desc->params[index];
    const char *star = param->pointer ? "*" : "";
    if (arg->buffer && !param->pointer)
        return gb_err_set(GB_EINVAL, "kernel '%s': parameter %d '%s' is %s, not a buffer",
                          kernel->desc->name, index + 1, param->name, param->type);
    if (arg->buffer)
        return gb_err_set(
            GB_EINVAL, "kernel '%s': parameter %d '%s': offset %zu is past the buffer's %zu bytes",
            kernel->desc->name, index + 1, param->name, arg->offset, arg->buffer->bytes);
    return gb_err_set(GB_EINVAL,
                      "kernel '%s': parameter %d '%s' (%s%s) takes %u bytes by value, not %u",
                      kernel->desc->name, index + 1, param->name, param->type, star, param->size,
                      arg->value ? arg->size : 0);
}

int gbi_param_set(const gb_kernel *kernel, int index, const gb_arg *arg, void *to)
{
    const gb_param *param = &kernel->desc->params[index];
    const gb_device *device = kernel->module->device;
    if (!arg->buffer) {
        if (!arg->value || arg->size != param->size) return wrong_argument(kernel, index, arg);
        memcpy(to, arg->value, param->size);
        return 0;
    }
    if (!param->pointer || arg->offset > arg->buffer->bytes)
        return wrong_argument(kernel, index, arg);
    if (arg->buffer->device != device)
        return gb_err_set(
            GB_EDEVICE,
            "kernel '%s': the buffer for '%s' is on device %d and the queue on device %d",
            kernel->desc->name, param->name, arg->buffer->device->index, device->index);
    uint64_t address = arg->buffer->memory.address + arg->offset;
    memcpy(to, &address, sizeof address);
    return 0;
}

/* Fills params and blob; buffers are collected for keeping. */
static int fill_params(gbi_command *command, const gb_arg *args, char *blob)
{
    gb_kernel *kernel = command->u.launch.kernel;
    int count = kernel->desc->param_count;
    char *at = blob;
    for (int i = 0; i < count; i++) {
        command->u.launch.params[i] = at;
        int rc = gbi_param_set(kernel, i, &args[i], at);
        if (rc < 0) return rc;
        if (args[i].buffer) command->retained[command->retained_count++] = args[i].buffer;
        at += GBI_PARAM_ROOM(&kernel->desc->params[i]);
    }
    return 0;
}

static int launch_with(gb_queue *queue, gbi_command *command, const gb_arg *args, char *scratch)
{
    uint32_t count = command->u.launch.param_count;
    command->u.launch.params = (void **)scratch;
    command->retained = (gb_buffer **)(scratch + count * sizeof(void *));
    uintptr_t blob = (uintptr_t)(scratch + 2 * count * sizeof(void *));
    int rc = fill_params(command, args, (char *)((blob + 15) & ~(uintptr_t)15));
    return rc < 0 ? rc : gbi_queue_put(queue, command);
}

void gbi_command_launch(gbi_command *out, gb_kernel *kernel, const gb_launch *launch)
{
    *out = (gbi_command){.kind = GBI_LAUNCH, .module = kernel->module};
    out->u.launch.kernel = kernel;
    out->u.launch.impl = kernel->desc->impl;
    out->u.launch.grid = launch->grid;
    out->u.launch.block = launch->block;
    out->u.launch.shared_bytes = launch->shared_bytes;
    out->u.launch.bound_ns =
        launch->bound_ns ? launch->bound_ns : kernel->module->device->gpu->config.bound_ns;
    out->u.launch.param_count = (uint32_t)kernel->desc->param_count;
    out->u.launch.blob_bytes = kernel->blob_bytes;
}

int gb_queue_launch(gb_queue *queue, gb_kernel *kernel, const gb_launch *launch, const gb_arg *args,
                    int arg_count)
{
    const gbi_kernel_desc *desc = kernel->desc;
    if (arg_count != desc->param_count)
        return gb_err_set(GB_EINVAL, "kernel '%s' takes %d argument%s, not %d", desc->name,
                          desc->param_count, desc->param_count == 1 ? "" : "s", arg_count);
    if (kernel->module->device != queue->device)
        return gb_err_set(GB_EDEVICE, "kernel '%s' is loaded on device %d, the queue on device %d",
                          desc->name, kernel->module->device->index, queue->device->index);
    int rc = gbi_check_launch(kernel, launch);
    if (rc < 0) return rc;
    gbi_command command;
    gbi_command_launch(&command, kernel, launch);
    size_t bytes = (size_t)arg_count * 2 * sizeof(void *) + 15 + kernel->blob_bytes;
    if (bytes <= SCRATCH_BYTES) {
        _Alignas(16) char scratch[SCRATCH_BYTES];
        return launch_with(queue, &command, args, scratch);
    }
    gb_mem *mem = &queue->device->gpu->room;
    char *scratch = gb_mem_alloc(mem, bytes);
    if (!scratch) return GB_ENOMEM;
    rc = launch_with(queue, &command, args, scratch);
    gb_mem_free(mem, scratch, bytes);
    return rc;
}

/* ---- events ---- */

int gb_queue_record(gb_queue *queue, gb_event *event)
{
    if (event->device->backend != queue->device->backend)
        return gb_err_set(GB_EDEVICE, "the event and the queue belong to different backends");
    gbi_command command = {.kind = GBI_RECORD};
    command.u.event.event = event;
    command.u.event.impl = event->impl;
    command.u.event.generation = atomic_fetch_add(&event->recorded, 1) + 1;
    return gbi_queue_put(queue, &command);
}

int gb_queue_wait_event(gb_queue *queue, gb_event *event)
{
    if (event->device->backend != queue->device->backend)
        return gb_err_set(GB_EDEVICE, "the event and the queue belong to different backends");
    gbi_command command = {.kind = GBI_WAIT};
    command.u.event.event = event;
    command.u.event.impl = event->impl;
    command.u.event.generation = atomic_load(&event->recorded);
    if (command.u.event.generation == 0)
        return gb_err_set(GB_EINVAL, "the event was never recorded");
    return gbi_queue_put(queue, &command);
}
