/* What users put into queues: copies, fills, launches, marks of events; each is checked here. What
 * happens to a command then is in queue.c. */
#include "base/err.h"
#include "gpu/front.h"

#include <string.h>

enum { SCRATCH_BYTES = 1024 };

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
