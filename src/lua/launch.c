/* Launches: the shape, the device, host arrays, and the commands. Everything that can raise happens
 * before anything is taken. */
#include "lua/device.h"

#include "base/check.h"
#include "base/err.h"
#include "lua/state.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK_1D = 256, /* threads of a block when the caller names none */
    BLOCK_2D = 16,
    BLOCK_3D = 8,
    GRID_X_MAX = 0x7fffffff, /* CUDA's */
    GRID_YZ_MAX = 65535,
};

/* ---- the shape ---- */

static uint32_t extent(gbl_walk *w, int index, const char *what)
{
    double number = lua_tonumber(w->L, index);
    if (lua_type(w->L, index) != LUA_TNUMBER || number < 0 || number >= 0x1p32 ||
        number != floor(number))
        gbl_raise_at(w->L, w->level, "%s: expected an integer from 0 to 4294967295, got %s", what,
                     lua_type(w->L, index) == LUA_TNUMBER ? lua_tostring(w->L, index)
                                                          : luaL_typename(w->L, index));
    return (uint32_t)number;
}

/* A number or a list of up to three; returns how many, 0 when the field is missing. */
static int dims(gbl_walk *w, int table, const char *field, gb_dim *out)
{
    lua_State *L = w->L;
    *out = (gb_dim){1, 1, 1};
    lua_getfield(L, table, field);
    int count = 0;
    if (lua_type(L, -1) == LUA_TTABLE) {
        count = (int)lua_objlen(L, -1);
        if (count < 1 || count > 3)
            gbl_raise_at(L, w->level, "%s: expected one to three numbers, got %d", field, count);
        uint32_t *to[] = {&out->x, &out->y, &out->z};
        for (int i = 0; i < count; i++) {
            lua_rawgeti(L, -1, i + 1);
            *to[i] = extent(w, lua_gettop(L), field);
            lua_pop(L, 1);
        }
    } else if (!lua_isnil(L, -1)) {
        out->x = extent(w, lua_gettop(L), field);
        count = 1;
    }
    lua_pop(L, 1);
    return count;
}

static uint32_t blocks_for(uint32_t threads, uint32_t block)
{
    return (uint32_t)(((uint64_t)threads + block - 1) / block);
}

/* True when there is anything to run. */
static bool shape_at(gbl_walk *w, gb_launch *launch)
{
    lua_State *L = w->L;
    memset(launch, 0, sizeof *launch);
    if (lua_type(L, 2) == LUA_TNUMBER) {
        uint32_t threads = extent(w, 2, "the number of threads");
        launch->grid = (gb_dim){blocks_for(threads, BLOCK_1D), 1, 1};
        launch->block = (gb_dim){BLOCK_1D, 1, 1};
        return threads > 0;
    }
    if (lua_type(L, 2) != LUA_TTABLE)
        gbl_raise_at(
            L, w->level,
            "argument 1: expected a number of threads or a table of grid or threads, got %s",
            luaL_typename(L, 2));
    gb_dim threads;
    int grid_count = dims(w, 2, "grid", &launch->grid),
        thread_count = dims(w, 2, "threads", &threads),
        block_count = dims(w, 2, "block", &launch->block);
    if (!grid_count == !thread_count)
        gbl_raise_at(L, w->level, "the shape needs grid or threads, %s",
                     grid_count ? "not both" : "and has neither");
    if (!block_count) {
        if (thread_count == 2)
            launch->block = (gb_dim){BLOCK_2D, BLOCK_2D, 1};
        else if (thread_count == 3)
            launch->block = (gb_dim){BLOCK_3D, BLOCK_3D, BLOCK_3D};
        else
            launch->block = (gb_dim){BLOCK_1D, 1, 1};
    }
    gb_dim *block = &launch->block;
    if (!block->x || !block->y || !block->z)
        gbl_raise_at(L, w->level, "block: every extent is at least 1");
    if (thread_count)
        launch->grid = (gb_dim){blocks_for(threads.x, block->x), blocks_for(threads.y, block->y),
                                blocks_for(threads.z, block->z)};
    lua_getfield(L, 2, "shared");
    if (!lua_isnil(L, -1)) launch->shared_bytes = extent(w, lua_gettop(L), "shared");
    lua_pop(L, 1);
    return launch->grid.x && launch->grid.y && launch->grid.z;
}

static const char seconds_key[] = "gb.launch.seconds";

/* Never 0, which is none. */
static uint64_t nanoseconds(double seconds)
{
    double ns = seconds * 1e9;
    if (!(ns >= 1)) return 1;
    return ns < 1e18 ? (uint64_t)ns : (uint64_t)1e18;
}

/* A duration of the shape as users write it, at least 1 ns; 0: none. */
static uint64_t duration_at(gbl_walk *w, const char *field)
{
    lua_State *L = w->L;
    if (lua_type(L, 2) != LUA_TTABLE) return 0;
    lua_getfield(L, 2, field);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return 0;
    }
    lua_getfield(L, LUA_REGISTRYINDEX, seconds_key);
    lua_insert(L, -2);
    lua_pushstring(L, field);
    lua_call(L, 2, 1);
    double seconds = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return nanoseconds(seconds);
}

/* launch_seconds(fn): what reads durations */
static int launch_seconds(lua_State *L)
{
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, seconds_key);
    return 0;
}

static void check_limits(const gbl_walk *w, const gbl_device *device, const gb_launch *launch)
{
    const gb_dim *grid = &launch->grid, *block = &launch->block;
    double threads = (double)block->x * block->y * block->z;
    if (threads > device->threads_max)
        gbl_raise_at(w->L, w->level, "block: %d threads at most on this device, got %f",
                     device->threads_max, threads);
    if (grid->x > GRID_X_MAX || grid->y > GRID_YZ_MAX || grid->z > GRID_YZ_MAX)
        gbl_raise_at(w->L, w->level, "grid: at most %d x %d x %d blocks, got %f x %f x %f",
                     GRID_X_MAX, GRID_YZ_MAX, GRID_YZ_MAX, (double)grid->x, (double)grid->y,
                     (double)grid->z);
    if (launch->shared_bytes > (uint32_t)device->shared_max)
        gbl_raise_at(w->L, w->level, "shared: %d bytes at most on this device, got %f",
                     device->shared_max, (double)launch->shared_bytes);
}

bool gbl_check_shape(gbl_walk *w, const gbl_device *device, gb_launch *out)
{
    bool any = shape_at(w, out);
    out->bound_ns = duration_at(w, "bound");
    if (out->bound_ns == 1) gbl_raise_at(w->L, w->level, "bound: it is longer than nothing");
    check_limits(w, device, out);
    return any;
}

/* The queue of the shape, or NULL. */
static gbl_queue *queue_at(lua_State *L, int level)
{
    if (lua_type(L, 2) != LUA_TTABLE) return NULL;
    lua_getfield(L, 2, "queue");
    gbl_queue *queue = NULL;
    if (!lua_isnil(L, -1)) {
        queue = gbl_queue_at(L, -1);
        if (!queue)
            gbl_raise_at(L, level, "queue: expected gb.queue(), got %s", luaL_typename(L, -1));
        if (!queue->queue) gbl_raise_at(L, level, "queue: it was closed");
    }
    lua_pop(L, 1); /* the shape keeps it */
    return queue;
}

/* The device of its queue, or of its first buffer; -1: neither says anything. */
static int fixed_index(lua_State *L, gbl_devices *room, const gbl_queue *queue)
{
    if (queue) return (int)(queue->device - room->at);
    if (room->count == 1) return 0;
    for (int i = GBL_FIRST_ARGUMENT; i <= lua_gettop(L); i++) {
        gbl_buffer *buffer = lua_type(L, i) == LUA_TUSERDATA ? gbl_buffer_at(L, i) : NULL;
        if (buffer && buffer->buffer) return gb_device_index(gb_buffer_device(buffer->buffer));
    }
    return -1;
}

/* Where the launch runs: there, or where the caller is. */
static int device_index(lua_State *L, gbl_devices *room, const gbl_queue *queue, int force)
{
    int index = fixed_index(L, room, queue);
    if (index < 0) index = force;
    return index >= 0 ? index : (int)(gbl_device_here(L, room) - room->at);
}

int gbl_launch_where(lua_State *L, gbl_devices *room, bool *fixed)
{
    gbl_queue *queue = queue_at(L, 1);
    int index = fixed_index(L, room, queue);
    *fixed = queue || (index >= 0 && room->count > 1);
    return index >= 0 ? index : gbl_device_home(L, room);
}

static void check_devices(const gbl_walk *w, int device, const gbl_queue *queue)
{
    for (int i = 0; i < w->bound->count; i++) {
        const gbl_buffer *buffer = w->uses[i].buffer;
        if (!buffer) continue;
        int own = gb_device_index(gb_buffer_device(buffer->buffer));
        if (own != device)
            gbl_refuse(w, i, "the buffer is on device %d, the launch on device %d (%s)", own,
                       device, queue ? "of its queue" : "of its other buffers");
    }
}

/* ---- host arrays ----
 * Arrays that overlap (the same one twice, views) become one range of one device buffer, so that a
 * kernel sees the aliases that Lua sees. */

typedef struct span {
    char *start, *end;
    bool written;
    gb_buffer *buffer;
    size_t offset; /* of start in it: keeps the host's alignment */
} span;

typedef struct ranges {
    span at[GBL_ARGS_MAX];
    int count;
} ranges;

static void add_range(ranges *r, char *start, char *end, bool written)
{
    span merged = {start, end, written, NULL, 0};
    int kept = 0;
    for (int i = 0; i < r->count; i++) {
        span *old = &r->at[i];
        if (old->start < merged.end && merged.start < old->end) {
            if (old->start < merged.start) merged.start = old->start;
            if (old->end > merged.end) merged.end = old->end;
            merged.written |= old->written;
        } else {
            r->at[kept++] = *old;
        }
    }
    r->at[kept++] = merged;
    r->count = kept;
}

static char *array_end(const gbl_walk *w, const gbl_array *array)
{
    return (char *)array->data + (size_t)array->count * gbl_type_size(w->L, array->type);
}

/* Device buffers for all of them: 0, or negative and nothing was queued. */
static int open_ranges(gbl_job *job, ranges *r)
{
    size_t bytes = 0;
    int rc = 0;
    for (int i = 0; i < r->count; i++) {
        span *range = &r->at[i];
        range->offset = (uintptr_t)range->start % GB_BLOCK_ALIGN;
        size_t own = (size_t)(range->end - range->start) + range->offset;
        bytes += own;
        if (rc == 0) rc = gbl_job_temp(job, own, &range->buffer);
    }
    if (rc == GB_ENOMEM) {
        job->room->lacking = bytes;
        job->room->lacking_device = (int)(job->device - job->room->at);
    }
    return rc;
}

/* Device buffers for the host arrays, filled: 0 or negative. */
static int stage(gbl_walk *w, gbl_job *job, ranges *r)
{
    r->count = 0;
    for (int i = 0; i < w->bound->count; i++) {
        gbl_array *array = w->uses[i].array;
        if (array && array->count)
            add_range(r, array->data, array_end(w, array), w->uses[i].written);
    }
    int rc = open_ranges(job, r);
    for (int i = 0; i < r->count && rc == 0; i++) {
        span *range = &r->at[i];
        rc = gb_queue_upload(job->queue, range->buffer, range->offset, range->start,
                             (size_t)(range->end - range->start));
    }
    if (rc < 0) return rc;
    for (int i = 0; i < w->bound->count; i++) {
        gbl_array *array = w->uses[i].array;
        if (!array || !array->count) continue;
        for (int k = 0; k < r->count; k++) {
            span *range = &r->at[k];
            if ((char *)array->data < range->start || (char *)array->data >= range->end) continue;
            w->args[i].buffer = range->buffer;
            w->args[i].offset = range->offset + (size_t)((char *)array->data - range->start);
            break;
        }
    }
    return 0;
}

static int run_staged(gbl_walk *w, gbl_job *job, const gb_launch *launch)
{
    ranges r;
    int rc = stage(w, job, &r);
    if (rc == 0)
        rc = gb_queue_launch(job->queue, w->bound->kernel, launch, w->args, w->bound->count);
    for (int i = 0; i < r.count && rc == 0; i++) {
        span *range = &r.at[i];
        if (range->written)
            rc = gb_queue_download(job->queue, range->start, range->buffer, range->offset,
                                   (size_t)(range->end - range->start));
    }
    return rc;
}

/* Where kernels can work on host memory the pointer itself is the argument. */
static int run_in_place(gbl_walk *w, gbl_job *job, const gb_launch *launch)
{
    for (int i = 0; i < w->bound->count; i++)
        if (w->uses[i].array)
            memcpy((void *)w->args[i].value, &w->uses[i].array->data, sizeof(void *));
    return gb_queue_launch(job->queue, w->bound->kernel, launch, w->args, w->bound->count);
}

/* ---- launch ---- */

/* Does the launch take device memory for its host arrays. */
static bool stages(lua_State *L, const gbl_device *device)
{
    if (device->in_place) return false;
    for (int i = GBL_FIRST_ARGUMENT; i <= lua_gettop(L); i++)
        if (gbl_array_at(L, i)) return true;
    return false;
}

/* launch_stages(kernel, shape, ...) */
static int launch_stages(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    lua_pushboolean(L, stages(L, &room->at[device_index(L, room, queue_at(L, 1), room->force)]));
    return 1;
}

/* launch_lacking(): bytes and device for whose lack the last launch was not made, and whether it is
 * the tenant's cap, once; or nothing. */
static int launch_lacking(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    if (!room->lacking) return 0;
    lua_pushnumber(L, (double)room->lacking);
    lua_pushinteger(L, room->lacking_device);
    lua_pushboolean(L, room->lacking_capped);
    room->lacking = 0;
    return 3;
}

enum { ASK_FAULTS = -1, WITH_STAGING = -2, READY = -3 };

/* The device on which the kernel must be loaded first, or one of these: something is out of order,
 * and faults.lua is to be asked; it takes device memory for its host arrays; neither. */
static int lacks(lua_State *L, const gbl_kernel *handle)
{
    gbl_devices *room = handle->room;
    if (room->alert) return ASK_FAULTS;
    if (handle->device_count == 1 && handle->at[0].module && room->at[0].in_place) return READY;
    int device = device_index(L, room, queue_at(L, 2), -1);
    gb_module *module = handle->at[device].module;
    if (!module || gb_module_lost(module)) return device;
    return stages(L, &room->at[device]) ? WITH_STAGING : READY;
}

/* launch_device(kernel, shape, ...): what it lacks; nothing when it can be started. */
static int launch_device(lua_State *L)
{
    int what = lacks(L, gbl_check_kernel(L));
    if (what == READY) return 0;
    lua_pushinteger(L, what);
    return 1;
}

/* What faults.lua counts: a grain's launch on no queue of its own. */
static void note_launch(lua_State *L, gbl_job *job, const gbl_kernel *handle, bool queue)
{
    gbl_devices *room = job->room;
    const gbl_state *state = room->state;
    const gb_call *turn = state->worker->current;
    job->launch = true;
    job->report = room->alert;
    job->span = gbl_span_launch(room->state, (int)(job->device - room->at), job->device->is_cpu,
                                gb_kernel_name(handle->at[job->device - room->at].kernel));
    room->launches++;
    gbl_tally_add(&job->device->tally, state->worker->now);
    if (queue || !turn || !turn->act || turn->act == state->root) return;
    job->kernel = handle->number;
    gbl_tally_add(&room->kernels[handle->number], state->worker->now);
}

/* Queues the launch and notes it: the job, or NULL with an error pushed. level: of the user's line;
 * timeout_ns: 0: as the shape says. */
static gbl_job *launch_job(lua_State *L, int level, uint64_t timeout_ns)
{
    gbl_kernel *handle = gbl_check_kernel(L);
    gbl_devices *room = gbl_devices_of(L);
    int force = room->force;
    room->force = -1;
    room->lacking = 0;
    room->lacking_capped = false;
    gbl_queue *queue = queue_at(L, level);
    int device = device_index(L, room, queue, force);
    gbl_walk w;
    gb_launch launch;
    w.L = L;
    w.level = level;
    w.first = GBL_FIRST_ARGUMENT;
    w.bound = &handle->at[device];
    if (!w.bound->module) luaL_error(L, "the kernel is not loaded on device %d", device);
    bool any = gbl_check_shape(&w, &room->at[device], &launch);
    if (!timeout_ns) timeout_ns = duration_at(&w, "timeout");
    gbl_check_arguments(&w);
    check_devices(&w, device, queue);

    gbl_job *job;
    int rc = gbl_job_new(&job, L, room, &room->at[device], queue ? queue->queue : NULL);
    if (rc < 0) return gbl_push_error(L, rc, gb_err_detail()), NULL;
    job->module = gb_module_ref(w.bound->module);
    if (timeout_ns) gbl_job_set_patience(job, timeout_ns);
    note_launch(L, job, handle, queue != NULL);
    bool host = false;
    for (int i = 0; i < w.bound->count; i++) {
        if (w.uses[i].array) {
            gbl_job_keep_block(job, w.uses[i].array->block);
            host = true;
        } else if (w.uses[i].buffer) {
            gbl_job_keep_buffer(job, w.uses[i].buffer->buffer);
            w.args[i].buffer = w.uses[i].buffer->buffer;
        }
    }
    if (any) {
        rc = host && !room->at[device].in_place ? run_staged(&w, job, &launch)
                                                : run_in_place(&w, job, &launch);
        if (rc < 0 && room->lacking) {
            gbl_span_end(room->state, job->span, rc);
            gbl_job_free(job);
            return gbl_push_error(L, rc, gb_err_detail()), NULL;
        }
        if (rc < 0) gbl_job_fail(job, rc);
    }
    return job;
}

/* launch(kernel, shape, arguments...): true, or nil, message, code. Waits. Called by a tail call,
 * so that level 1 is the user's line. */
static int launch_run(lua_State *L)
{
    gbl_job *job = launch_job(L, 1, 0);
    if (!job) return GBL_ERROR_VALUES;
    gbl_job_help(job);
    return gbl_job_finish(L, job, false);
}

/* The same, and a future. */
static int launch_async(lua_State *L)
{
    gbl_job *job = launch_job(L, 1, 0);
    return job ? gbl_job_finish(L, job, true) : GBL_ERROR_VALUES;
}

/* From within one Lua function of ours: true when it has ended by now, a future when it has not. */
static int launch_start(lua_State *L)
{
    gbl_job *job = launch_job(L, 2, 0);
    return job ? gbl_job_start(L, job) : GBL_ERROR_VALUES;
}

/* launch_list(kernel, shape, arguments, count, timeout): the same, with the arguments in a list and
 * the timeout in seconds; nothing when it lacks anything. */
static int launch_list(lua_State *L)
{
    if (lacks(L, gbl_check_kernel(L)) != READY) return 0;
    int count = (int)luaL_checkinteger(L, 4);
    uint64_t timeout_ns = nanoseconds(luaL_checknumber(L, 5));
    luaL_argcheck(L, count >= 0 && count <= GBL_ARGS_MAX, 4, "too many arguments");
    lua_settop(L, GBL_FIRST_ARGUMENT); /* where the list is, and the first argument is to be */
    luaL_checkstack(L, count, "arguments");
    for (int i = 1; i <= count; i++) lua_rawgeti(L, GBL_FIRST_ARGUMENT, i);
    lua_remove(L, GBL_FIRST_ARGUMENT);
    gbl_job *job = launch_job(L, 2, timeout_ns);
    if (!job) return GBL_ERROR_VALUES;
    gbl_job_help(job);
    return gbl_job_start(L, job);
}

void gbl_open_launch(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"launch", launch_run},
        {"launch_async", launch_async},
        {"launch_start", launch_start},
        {"launch_list", launch_list},
        {"launch_device", launch_device},
        {"launch_stages", launch_stages},
        {"launch_lacking", launch_lacking},
        {"launch_seconds", launch_seconds},
        {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
}
