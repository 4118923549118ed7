/* What commands do: copies, fills and launches; and how they are checked when they are asked for.
 */
#include "soft.h"

#include "base/err.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES_MAX = 8, BLOCK_Z_MAX = 64, GRID_YZ_MAX = 65535, PLAIN_SHARED = 48 << 10 };

/* ---- addresses ---- */

static void *pointer(uint64_t address)
{
    void *at;
    memcpy(&at, &address, sizeof at);
    return at;
}

/* Where the driver finds [address, address + bytes); NULL: it is in the arena and not there. The
 * host's memory and globals of modules are where they are. Under the lock. */
static char *resolve(uint64_t address, size_t bytes)
{
    if (!soft_in_arena(address)) return pointer(address);
    const soft_memory *memory = soft_memory_at(address, bytes);
    if (!memory || !memory->there) return NULL;
    return memory->kind == SOFT_DEVICE_MEMORY ? soft_alias(address) : pointer(address);
}

/* Not freed, nor about to be. */
static bool usable(uint64_t address, size_t bytes)
{
    const soft_memory *memory = soft_memory_at(address, bytes);
    return memory && !memory->leaving;
}

static bool known(soft_context *context, uint64_t address, size_t bytes)
{
    return usable(address, bytes) || soft_is_global(context, address, bytes);
}

/* ---- checks ---- */

gb_cu_result soft_copy_of(int row, soft_command *out, soft_context *context, uint64_t to,
                          uint64_t from, size_t bytes)
{
    *out = (soft_command){.kind = SOFT_COPY, .u.copy = {to, from, bytes}};
    if (bytes == 0) return 0;
    if (!to || !from) return GB_CU_INVALID_VALUE;
    uint64_t ends[] = {to, from};
    for (int i = 0; i < 2; i++)
        if (soft_in_arena(ends[i]) && !usable(ends[i], bytes))
            return soft_misuse(row, GB_CU_INVALID_VALUE,
                               "%zu bytes at 0x%llx are in no block, or it was freed", bytes,
                               (unsigned long long)ends[i]);
    return 0;
}

gb_cu_result soft_fill_of(int row, soft_command *out, soft_context *context,
                          const gb_cu_fill_node *params)
{
    size_t element = params->elementSize, width = params->width;
    size_t pitch = params->height > 1 ? params->pitch : width * element;
    *out = (soft_command){
        .kind = SOFT_FILL,
        .u.fill = {params->dst, pitch, width, params->height, params->value, (unsigned)element}};
    if (element != 1 && element != 2 && element != 4) return GB_CU_INVALID_VALUE;
    if (params->dst % element || pitch < width * element || params->height == 0)
        return GB_CU_INVALID_VALUE;
    size_t bytes = pitch * (params->height - 1) + width * element;
    if (bytes == 0 || known(context, params->dst, bytes)) return 0;
    return soft_misuse(row, GB_CU_INVALID_VALUE, "%zu bytes at 0x%llx are no device memory", bytes,
                       (unsigned long long)params->dst);
}

static gb_cu_result check_shape(const soft_function *function, const gb_cu_kernel_node *p)
{
    uint64_t threads = (uint64_t)p->blockDimX * p->blockDimY * p->blockDimZ;
    uint64_t blocks = (uint64_t)p->gridDimX * p->gridDimY * p->gridDimZ;
    uint32_t fixed = function->kernel->static_shared_bytes;
    uint32_t most = function->dynamic_max ? function->dynamic_max : PLAIN_SHARED;
    bool fits = threads > 0 && blocks > 0 && p->blockDimX <= GBI_FIBERS_MAX &&
                p->blockDimY <= GBI_FIBERS_MAX && p->blockDimZ <= BLOCK_Z_MAX &&
                threads <= GBI_FIBERS_MAX && p->gridDimX <= INT32_MAX &&
                p->gridDimY <= GRID_YZ_MAX && p->gridDimZ <= GRID_YZ_MAX;
    if (!fits || p->sharedMemBytes > most) return GB_CU_INVALID_VALUE;
    if (!function->dynamic_max && fixed + p->sharedMemBytes > PLAIN_SHARED)
        return GB_CU_INVALID_VALUE;
    return 0;
}

/* Where each parameter is in a packed buffer. */
static size_t offset_of(const soft_function *function, int index, size_t *end)
{
    size_t at = 0, start = 0;
    for (int i = 0; i <= index; i++) {
        const gb_cpu_param *param = &function->kernel->params[i];
        size_t align = soft_param_align(function, param);
        start = (at + align - 1) / align * align;
        at = start + param->size;
    }
    *end = at;
    return start;
}

/* The two ways in which a launch names its parameters: an array, or a packed buffer. */
static gb_cu_result find_params(const soft_function *function, const gb_cu_kernel_node *p,
                                const unsigned char **packed, size_t *packed_bytes)
{
    *packed = NULL;
    *packed_bytes = 0;
    if (p->kernelParams && p->extra) return GB_CU_INVALID_VALUE;
    if (!p->extra)
        return p->kernelParams || function->kernel->param_count == 0 ? GB_CU_SUCCESS
                                                                     : GB_CU_INVALID_VALUE;
    for (void **at = p->extra; *at; at += 2) {
        if ((uintptr_t)*at == 1)
            *packed = at[1];
        else if ((uintptr_t)*at == 2)
            *packed_bytes = *(size_t *)at[1];
        else
            return GB_CU_INVALID_VALUE;
    }
    size_t end = 0;
    if (function->kernel->param_count) offset_of(function, function->kernel->param_count - 1, &end);
    return *packed && *packed_bytes == end ? GB_CU_SUCCESS : GB_CU_INVALID_VALUE;
}

static gb_cu_result copy_params(soft_command *out, const soft_function *function,
                                const gb_cu_kernel_node *p)
{
    const gb_cpu_kernel *kernel = function->kernel;
    const unsigned char *packed;
    size_t packed_bytes, end, room = 0;
    gb_cu_result rc = find_params(function, p, &packed, &packed_bytes);
    if (rc) return rc;
    for (int i = 0; i < kernel->param_count; i++) room += (kernel->params[i].size + 15) & ~15u;
    out->u.launch.blob = aligned_alloc(16, room ? room : 16);
    out->u.launch.params = calloc((size_t)kernel->param_count + 1, sizeof(void *));
    if (!out->u.launch.blob || !out->u.launch.params) return GB_CU_OUT_OF_MEMORY;
    unsigned char *at = out->u.launch.blob;
    for (int i = 0; i < kernel->param_count; i++) {
        const void *from = packed ? packed + offset_of(function, i, &end) : p->kernelParams[i];
        if (!from) return GB_CU_INVALID_VALUE;
        memcpy(at, from, kernel->params[i].size);
        out->u.launch.params[i] = at;
        at += (kernel->params[i].size + 15) & ~15u;
    }
    return 0;
}

gb_cu_result soft_launch_of(int row, soft_command *out, soft_context *context,
                            const gb_cu_kernel_node *p)
{
    *out = (soft_command){.kind = SOFT_LAUNCH};
    soft_function *function = soft_find(row, p->func, SOFT_FUNCTION);
    if (!function) return GB_CU_INVALID_HANDLE;
    if (function->object.context != context)
        return soft_misuse(row, GB_CU_INVALID_CONTEXT, "a function of another context");
    gb_cu_result rc = check_shape(function, p);
    if (rc == 0) rc = copy_params(out, function, p);
    if (rc) {
        soft_command_fini(out);
        return rc;
    }
    out->u.launch.grid = (gb_cpu_dim){p->gridDimX, p->gridDimY, p->gridDimZ};
    out->u.launch.block = (gb_cpu_dim){p->blockDimX, p->blockDimY, p->blockDimZ};
    out->u.launch.shared_bytes = p->sharedMemBytes;
    out->held = &function->object;
    soft_hold(out->held);
    return 0;
}

/* ---- running ---- */

static gb_cu_result gone(const char *what)
{
    pthread_mutex_lock(&soft.lock);
    soft_misuse(ROW_execute, 0, "%s", what);
    return soft_leave(GB_CU_ILLEGAL_ADDRESS);
}

static gb_cu_result run_copy(const soft_command *command)
{
    size_t bytes = command->u.copy.bytes, half = bytes / 2;
    if (bytes == 0) return 0;
    pthread_mutex_lock(&soft.lock);
    char *to = resolve(command->u.copy.to, bytes), *from = resolve(command->u.copy.from, bytes);
    pthread_mutex_unlock(&soft.lock);
    if (!to || !from) return gone("a copy of memory that was freed before it ran");
    memmove(to + half, from + half, bytes - half); /* nobody promised an order */
    memmove(to, from, half);
    return 0;
}

static gb_cu_result run_fill(const soft_command *command)
{
    size_t element = command->u.fill.element, width = command->u.fill.width;
    size_t bytes = command->u.fill.pitch * (command->u.fill.height - 1) + width * element;
    if (bytes == 0) return 0;
    pthread_mutex_lock(&soft.lock);
    char *to = resolve(command->u.fill.to, bytes);
    pthread_mutex_unlock(&soft.lock);
    if (!to) return gone("a fill of memory that was freed before it ran");
    uint32_t value = command->u.fill.value;
    for (size_t y = 0; y < command->u.fill.height; y++)
        for (size_t x = 0; x < width; x++) /* little-endian: the low bytes are the value */
            memcpy(to + y * command->u.fill.pitch + x * element, &value, element);
    return 0;
}

static gb_cu_result code_of(const gbi_runner *runner)
{
    switch (runner->trap.signal) {
    case SIGSEGV:
        return GB_CU_ILLEGAL_ADDRESS;
    case SIGBUS:
        return GB_CU_MISALIGNED;
    case SIGILL:
        return GB_CU_ILLEGAL_INSTRUCTION;
    case 0:
        if (strstr(runner->trap_text, "ssert")) return GB_CU_ASSERT;
        return GB_CU_LAUNCH_FAILED;
    default:
        return GB_CU_LAUNCH_FAILED;
    }
}

/* Pieces of the grid in any order: blocks are independent. */
static int run_pieces(soft_stream *stream, const gbi_run *run, char *text, size_t room)
{
    uint64_t blocks = (uint64_t)run->grid.x * run->grid.y * run->grid.z;
    uint64_t pieces = blocks < PIECES_MAX ? blocks : PIECES_MAX;
    int order[PIECES_MAX], rc = 0;
    for (int i = 0; i < (int)pieces; i++) {
        int k = (int)(soft_random(&stream->random) % (uint64_t)(i + 1));
        order[i] = order[k];
        order[k] = i;
    }
    for (int i = 0; i < (int)pieces && rc == 0 && !atomic_load(run->stop); i++) {
        uint64_t first = blocks * (uint64_t)order[i] / pieces;
        uint64_t end = blocks * (uint64_t)(order[i] + 1) / pieces;
        rc = gbi_runner_run(stream->runner, run, first, end - first, text, room);
    }
    return rc;
}

static gb_cu_result run_launch(soft_stream *stream, const soft_command *command)
{
    soft_context *context = stream->object.context;
    soft_function *function = (soft_function *)command->held;
    char text[1024];
    pthread_mutex_lock(&soft.lock);
    bool live = function->object.live;
    pthread_mutex_unlock(&soft.lock);
    if (!live) return gone("a kernel of a module that was unloaded before it ran");
    gbi_run run = {.kernel = function->kernel,
                   .grid = command->u.launch.grid,
                   .block = command->u.launch.block,
                   .shared_bytes = command->u.launch.shared_bytes,
                   .params = command->u.launch.params,
                   .stop = &context->stop};
    int token = soft_memory_open_kernels(context);
    int rc = run_pieces(stream, &run, text, sizeof text);
    soft_memory_close_kernels(token);
    if (stream->runner->print.size) gbi_print_flush(&stream->runner->print, true);
    if (rc == 0) return 0;
    if (getenv("GB_SOFTCUDA_VERBOSE")) fprintf(stderr, "softcuda: %s\n", text);
    return rc == GB_ETRAP ? code_of(stream->runner) : GB_CU_OUT_OF_MEMORY;
}

gb_cu_result soft_run(soft_stream *stream, soft_command *command)
{
    gb_cu_result rc = soft_injected(ROW_execute);
    if (rc) return rc;
    switch (command->kind) {
    case SOFT_COPY:
        return run_copy(command);
    case SOFT_FILL:
        return run_fill(command);
    case SOFT_LAUNCH:
        return run_launch(stream, command);
    default:
        return soft_replay(stream, (soft_exec *)command->held);
    }
}

/* ---- entry points ---- */

gb_cu_result soft_cuMemcpyAsync(gb_cu_memory to, gb_cu_memory from, size_t bytes,
                                gb_cu_stream stream)
{
    soft_context *context;
    soft_command command;
    gb_cu_result rc = soft_enter_context(ROW_cuMemcpyAsync, &context);
    if (rc == 0) rc = soft_copy_of(ROW_cuMemcpyAsync, &command, context, to, from, bytes);
    if (rc == 0) rc = soft_submit(ROW_cuMemcpyAsync, context, stream, &command);
    return soft_leave(rc);
}

static gb_cu_result fill(int row, gb_cu_fill_node params, gb_cu_stream stream)
{
    soft_context *context;
    soft_command command;
    gb_cu_result rc = soft_enter_context(row, &context);
    params.height = 1;
    if (rc == 0) rc = soft_fill_of(row, &command, context, &params);
    if (rc == 0) rc = soft_submit(row, context, stream, &command);
    return soft_leave(rc);
}

gb_cu_result soft_cuMemsetD8Async(gb_cu_memory to, unsigned char value, size_t count,
                                  gb_cu_stream stream)
{
    gb_cu_fill_node params = {.dst = to, .value = value, .elementSize = 1, .width = count};
    return fill(ROW_cuMemsetD8Async, params, stream);
}

gb_cu_result soft_cuMemsetD16Async(gb_cu_memory to, unsigned short value, size_t count,
                                   gb_cu_stream stream)
{
    gb_cu_fill_node params = {.dst = to, .value = value, .elementSize = 2, .width = count};
    return fill(ROW_cuMemsetD16Async, params, stream);
}

gb_cu_result soft_cuMemsetD32Async(gb_cu_memory to, unsigned int value, size_t count,
                                   gb_cu_stream stream)
{
    gb_cu_fill_node params = {.dst = to, .value = value, .elementSize = 4, .width = count};
    return fill(ROW_cuMemsetD32Async, params, stream);
}

gb_cu_result soft_cuLaunchKernel(gb_cu_function function, unsigned int grid_x, unsigned int grid_y,
                                 unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                                 unsigned int block_z, unsigned int shared_bytes,
                                 gb_cu_stream stream, void **params, void **extra)
{
    soft_context *context;
    soft_command command;
    gb_cu_kernel_node node = {.func = function,
                              .gridDimX = grid_x,
                              .gridDimY = grid_y,
                              .gridDimZ = grid_z,
                              .blockDimX = block_x,
                              .blockDimY = block_y,
                              .blockDimZ = block_z,
                              .sharedMemBytes = shared_bytes,
                              .kernelParams = params,
                              .extra = extra};
    gb_cu_result rc = soft_enter_context(ROW_cuLaunchKernel, &context);
    if (rc == 0) rc = soft_launch_of(ROW_cuLaunchKernel, &command, context, &node);
    if (rc == 0) rc = soft_submit(ROW_cuLaunchKernel, context, stream, &command);
    return soft_leave(rc);
}
