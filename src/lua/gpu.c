/* Devices, buffers and queues for Lua. lua/gb/buffer.lua checks types and ranges and calls what is
 * here with plain numbers. */
#include "lua/device.h"

#include "base/check.h"
#include "base/err.h"
#include "lua/state.h"

#include <stdarg.h>
#include <string.h>

static const char room_key[] = "gb.devices", buffer_key[] = "gb.buffer.meta",
                  queue_key[] = "gb.queue.meta";

typedef struct room_handle {
    gbl_devices *room; /* NULL until a device is first asked for */
} room_handle;

/* Devices are found at the first use, not at start. Raises when out of memory. */
gbl_devices *gbl_devices_of(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, room_key);
    room_handle *handle = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!handle->room) handle->room = gbl_devices_new(L);
    if (!handle->room) luaL_error(L, "out of memory: devices");
    return handle->room;
}

static int room_gc(lua_State *L)
{
    room_handle *handle = lua_touserdata(L, 1);
    if (handle->room) handle->room->closed = true;
    if (handle->room) gbl_devices_unref(handle->room);
    handle->room = NULL;
    return 0;
}

int gbl_raise_at(lua_State *L, int level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    luaL_where(L, level);
    lua_pushvfstring(L, format, args);
    va_end(args);
    lua_concat(L, 2);
    return gbl_throw(L);
}

void *gbl_userdata_at(lua_State *L, int index, const char *key)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return NULL;
    lua_getfield(L, LUA_REGISTRYINDEX, key);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? lua_touserdata(L, index) : NULL;
}

gbl_buffer *gbl_buffer_at(lua_State *L, int index)
{
    return gbl_userdata_at(L, index, buffer_key);
}

gbl_queue *gbl_queue_at(lua_State *L, int index)
{
    return gbl_userdata_at(L, index, queue_key);
}

/* ---- devices ---- */

static bool is_usable(const gbl_device *device)
{
    return !device->avoid && !gb_device_lost(device->device);
}

/* Instead of a lost GPU another one; not the CPU, which nobody asked for. */
static gbl_device *stand_in(gbl_devices *room, gbl_device *device)
{
    if (is_usable(device)) return device;
    for (int i = 0; i < room->count; i++)
        if (room->at[i].is_cpu == device->is_cpu && is_usable(&room->at[i])) return &room->at[i];
    return device;
}

/* A grain runs its kernels where self.device says, which its placement set; scripts on the
 * silo's. */
int gbl_device_home(lua_State *L, gbl_devices *room)
{
    if (room->count == 1) return 0;
    int top = lua_gettop(L), index = -1;
    if (gbl_push_running(L)) {
        lua_pushliteral(L, "device");
        lua_rawget(L, -2);
        if (lua_istable(L, -1)) {
            lua_getfield(L, -1, "index");
            index = (int)lua_tointeger(L, -1);
        }
    }
    lua_settop(L, top);
    return index >= 0 && index < room->count ? index : room->home;
}

gbl_device *gbl_device_here(lua_State *L, gbl_devices *room)
{
    return stand_in(room, &room->at[gbl_device_home(L, room)]);
}

static gbl_device *device_of(gbl_devices *room, gb_buffer *buffer)
{
    return &room->at[gb_device_index(gb_buffer_device(buffer))];
}

/* ---- buffers ---- */

void gbl_buffer_push_new(lua_State *L, gb_buffer *buffer, gb_module *module, int64_t count,
                         uint32_t type, uint32_t flags)
{
    gbl_buffer *handle = lua_newuserdata(L, sizeof *handle);
    *handle = (gbl_buffer){buffer, module, count, type, flags};
    lua_getfield(L, LUA_REGISTRYINDEX, buffer_key);
    lua_setmetatable(L, -2);
}

void gbl_buffer_drop(gbl_buffer *sent)
{
    if (sent->buffer) gb_buffer_unref(sent->buffer);
    if (sent->module) gb_module_unref(sent->module);
    sent->buffer = NULL;
    sent->module = NULL;
}

static int buffer_gc(lua_State *L)
{
    gbl_buffer_drop(lua_touserdata(L, 1));
    return 0;
}

static const char *gone_how(const gbl_buffer *buffer)
{
    if (buffer->flags & GBL_BUFFER_RESIDENT) return "evicted: take it from self.resident each turn";
    return buffer->flags & GBL_BUFFER_MOVED ? "moved" : "freed";
}

int gbl_buffer_send(lua_State *L, gbl_buffer *buffer, bool move, gbl_buffer *out)
{
    if (!buffer->buffer) return gb_err_set(GB_EINVAL, "the buffer was %s", gone_how(buffer));
    if (buffer->module)
        return gb_err_set(GB_EDEVICE, "a __device__ variable belongs to its kernels");
    if (move && (buffer->flags & GBL_BUFFER_RESIDENT))
        return gb_err_set(GB_EINVAL, "the state of a resident grain stays with it: d:share()");
    if (!move && !(buffer->flags & GBL_BUFFER_SHARED))
        return gb_err_set(GB_EINVAL, "a buffer is passed with d:share() or gb.move(d)");
    *out = *buffer;
    if (move) {
        buffer->buffer = NULL;
        buffer->count = 0;
        buffer->flags |= GBL_BUFFER_MOVED;
    } else {
        gb_buffer_ref(out->buffer);
    }
    return 0;
}

typedef struct push_arguments {
    const gbl_buffer *sent;
    uint32_t type;
} push_arguments;

static int push_protected(lua_State *L)
{
    const push_arguments *arguments = lua_touserdata(L, 1);
    gbl_buffer_push_new(L, NULL, NULL, 0, 0, 0);
    *(gbl_buffer *)lua_touserdata(L, -1) = *arguments->sent;
    ((gbl_buffer *)lua_touserdata(L, -1))->type = arguments->type;
    return 1;
}

int gbl_buffer_push(lua_State *L, const gbl_buffer *sent, const char *wire)
{
    push_arguments arguments = {sent, 0};
    int rc = gbl_type_find(L, wire, &arguments.type);
    if (rc < 0) return rc;
    lua_pushcfunction(L, push_protected);
    lua_pushlightuserdata(L, &arguments);
    if (lua_pcall(L, 1, 1, 0) == 0) return 1;
    lua_pop(L, 1);
    return gb_err_set(GB_ENOMEM, "out of memory: a buffer");
}

int gbl_push_unrented(lua_State *L, int rc, bool capped)
{
    int values = gbl_push_error(L, rc, gb_err_detail());
    lua_pushboolean(L, capped);
    return values + 1;
}

/* buffer_new(type, bytes, count, device index or nil, kind [, reservation or nil [, raw]]): a
 * handle; or nil, message, code, and whether it is the tenant's cap. The reservation is one of that
 * device: see reserve in memory.c. raw: the caller writes all of it before anybody else sees it. */
static int buffer_new(lua_State *L)
{
    static const char *const kinds[] = {"device", "pinned", "unified", NULL};
    gbl_devices *room = gbl_devices_of(L);
    uint32_t type = (uint32_t)luaL_checkinteger(L, 1);
    double bytes = luaL_checknumber(L, 2);
    int64_t count = (int64_t)luaL_checknumber(L, 3);
    gbl_device *device = gbl_device_here(L, room);
    if (!lua_isnoneornil(L, 4)) device = &room->at[luaL_checkinteger(L, 4)];
    int kind = luaL_checkoption(L, 5, "device", kinds);
    const gbl_reservation *from = gbl_reservation_at(L, 6);
    luaL_argcheck(L, !from || (from->id && from->device == gb_device_index(device->device)), 6,
                  "a reservation of another device, or one that has ended");
    gbl_buffer_push_new(L, NULL, NULL, count, type, 0);
    gbl_buffer *handle = lua_touserdata(L, -1);
    if (bytes >= 0x1p62) bytes = 0x1p62;
    gbl_payer payer = gbl_payer_here(room->state);
    bool capped = false;
    gb_buffer_spec spec = {.bytes = (size_t)bytes,
                           .kind = (gb_buffer_kind)kind,
                           .tenant = payer.tenant,
                           .owner = payer.owner,
                           .reservation = from ? from->id : 0,
                           .raw = lua_toboolean(L, 7),
                           .capped = &capped};
    int rc = gb_buffer_rent(&handle->buffer, device->device, &spec);
    if (rc < 0) gbl_fault_failed(L, room, device, rc);
    if (rc < 0) return gbl_push_unrented(L, rc, capped);
    return 1;
}

static int is_buffer(lua_State *L)
{
    lua_pushboolean(L, gbl_buffer_at(L, 1) != NULL);
    return 1;
}

/* buffer_info(buffer): count, type, device index, kind, shared, dead ("freed", "moved" or nil). */
static int buffer_info(lua_State *L)
{
    static const char *const kinds[] = {"device", "pinned", "unified"};
    gbl_buffer *handle = gbl_buffer_at(L, 1);
    if (!handle) return 0;
    lua_pushnumber(L, (lua_Number)handle->count);
    lua_pushinteger(L, (lua_Integer)handle->type);
    if (!handle->buffer) {
        lua_pushnil(L);
        lua_pushnil(L);
        lua_pushnil(L);
        lua_pushstring(L, gone_how(handle));
        return 6;
    }
    lua_pushinteger(L, gb_device_index(gb_buffer_device(handle->buffer)));
    lua_pushstring(L, kinds[gb_buffer_get_kind(handle->buffer)]);
    lua_pushboolean(L, handle->flags & GBL_BUFFER_SHARED);
    return 5;
}

static int buffer_share(lua_State *L)
{
    gbl_buffer *handle = gbl_buffer_at(L, 1);
    GB_CHECK(handle && handle->buffer);
    gbl_buffer_push_new(L, NULL, NULL, handle->count, handle->type, GBL_BUFFER_SHARED);
    gbl_buffer *shared = lua_touserdata(L, -1);
    shared->buffer = gb_buffer_ref(handle->buffer);
    if (handle->module) shared->module = gb_module_ref(handle->module);
    return 1;
}

/* buffer_free(buffer): false, and nothing is done, for the state of a resident grain. */
static int buffer_free(lua_State *L)
{
    gbl_buffer *handle = gbl_buffer_at(L, 1);
    GB_CHECK(handle != NULL);
    lua_pushboolean(L, !(handle->flags & GBL_BUFFER_RESIDENT));
    if (handle->flags & GBL_BUFFER_RESIDENT) return 1;
    gbl_buffer_drop(handle);
    handle->count = 0;
    return 1;
}

static int buffer_length(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)((gbl_buffer *)lua_touserdata(L, 1))->count);
    return 1;
}

/* The job of one command on a buffer. Pushes nil, message, code when there is none. */
static gbl_job *buffer_job(lua_State *L, gbl_buffer *handle, int queue_index)
{
    gbl_devices *room = gbl_devices_of(L);
    gbl_queue *queue = gbl_queue_at(L, queue_index);
    gbl_job *job = NULL;
    int rc =
        gbl_job_new(&job, L, room, device_of(room, handle->buffer), queue ? queue->queue : NULL);
    if (rc == 0)
        gbl_job_keep_buffer(job, handle->buffer);
    else
        gbl_push_error(L, rc, gb_err_detail());
    return job;
}

/* buffer_copy_host(buffer, array, upload, offset, bytes, async, queue): waits. */
static int buffer_copy_host(lua_State *L)
{
    gbl_buffer *handle = gbl_buffer_at(L, 1);
    gbl_array *array = gbl_array_at(L, 2);
    GB_CHECK(handle && handle->buffer && array && array->block);
    bool upload = lua_toboolean(L, 3), async = lua_toboolean(L, 6);
    size_t offset = (size_t)lua_tonumber(L, 4), bytes = (size_t)lua_tonumber(L, 5);
    gbl_job *job = buffer_job(L, handle, 7);
    if (!job) return 3;
    gbl_job_keep_block(job, array->block);
    size_t at = 0;
    gb_buffer *to = handle->buffer, *pinned = gbl_pinned_of(array, to, &at);
    int rc;
    if (pinned) /* the device copies it without a stop in between */
        rc = upload ? gb_queue_copy(job->queue, to, offset, pinned, at, bytes)
                    : gb_queue_copy(job->queue, pinned, at, to, offset, bytes);
    else
        rc = upload ? gb_queue_upload(job->queue, to, offset, array->data, bytes)
                    : gb_queue_download(job->queue, array->data, to, offset, bytes);
    if (rc < 0) gbl_job_fail(job, rc);
    return gbl_job_finish(L, job, async);
}

/* Between two devices: what the other's queue of this grain holds comes before the copy, and what
 * it gets later behind it. *other: its job, until the copy is queued. */
static int meet(lua_State *L, gbl_job *job, gbl_job **other, gb_buffer *from, bool after)
{
    gbl_devices *room = gbl_devices_of(L);
    gb_event *event;
    int rc = *other ? 0 : gbl_job_new(other, L, room, device_of(room, from), NULL);
    if (rc < 0) return rc;
    gb_queue *first = after ? job->queue : (*other)->queue;
    gb_queue *second = after ? (*other)->queue : job->queue;
    rc = gb_event_open(&event, after ? job->device->device : (*other)->device->device);
    if (rc < 0) return rc;
    rc = gb_queue_record(first, event);
    if (rc == 0) rc = gb_queue_wait_event(second, event);
    gb_event_close(event);
    return rc;
}

/* buffer_copy(to, offset, from, offset, bytes, async, queue): waits; on devices of one backend. */
static int buffer_copy(lua_State *L)
{
    gbl_buffer *to = gbl_buffer_at(L, 1), *from = gbl_buffer_at(L, 3);
    GB_CHECK(to && to->buffer && from && from->buffer);
    gbl_job *job = buffer_job(L, to, 7), *other = NULL;
    if (!job) return 3;
    gbl_job_keep_buffer(job, from->buffer);
    bool far = gb_buffer_device(to->buffer) != gb_buffer_device(from->buffer);
    int rc = far ? meet(L, job, &other, from->buffer, false) : 0;
    if (rc == 0)
        rc = gb_queue_copy(job->queue, to->buffer, (size_t)lua_tonumber(L, 2), from->buffer,
                           (size_t)lua_tonumber(L, 4), (size_t)lua_tonumber(L, 5));
    if (rc == 0 && far) rc = meet(L, job, &other, from->buffer, true);
    if (rc < 0) gbl_job_fail(job, rc);
    if (other) gbl_job_free(other);
    return gbl_job_finish(L, job, lua_toboolean(L, 6));
}

/* buffer_fill(buffer, array of one element, offset, count, async, queue): waits. */
static int buffer_fill(lua_State *L)
{
    gbl_buffer *handle = gbl_buffer_at(L, 1);
    gbl_array *array = gbl_array_at(L, 2);
    GB_CHECK(handle && handle->buffer && array && array->block && array->count == 1);
    gbl_job *job = buffer_job(L, handle, 6);
    if (!job) return 3;
    gbl_job_keep_block(job, array->block);
    int rc = gb_queue_fill(job->queue, handle->buffer, (size_t)lua_tonumber(L, 3), array->data,
                           gbl_type_size(L, array->type), (size_t)lua_tonumber(L, 4));
    if (rc < 0) gbl_job_fail(job, rc);
    return gbl_job_finish(L, job, lua_toboolean(L, 5));
}

/* ---- queues of the user's ---- */

static int queue_gc(lua_State *L)
{
    gbl_queue *queue = lua_touserdata(L, 1);
    if (queue->queue) gb_queue_close(queue->queue);
    queue->queue = NULL;
    return 0;
}

/* queue_new(device index or nil, urgent) */
static int queue_new(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    gbl_device *device = gbl_device_here(L, room);
    if (!lua_isnoneornil(L, 1)) device = &room->at[luaL_checkinteger(L, 1)];
    gbl_queue *queue = lua_newuserdata(L, sizeof *queue);
    *queue = (gbl_queue){NULL, device};
    lua_getfield(L, LUA_REGISTRYINDEX, queue_key);
    lua_setmetatable(L, -2);
    int rc = gb_queue_open_urgent(&queue->queue, device->device, lua_toboolean(L, 2));
    if (rc == 0) gb_queue_attend(queue->queue);
    if (rc < 0) gbl_fault_failed(L, gbl_devices_of(L), device, rc);
    return rc < 0 ? gbl_push_error(L, rc, gb_err_detail()) : 1;
}

/* queue_info(value): device index; nil when closed; nothing when it is no queue. */
static int queue_info(lua_State *L)
{
    gbl_queue *queue = gbl_queue_at(L, 1);
    if (!queue) return 0;
    if (queue->queue)
        lua_pushinteger(L, gb_device_index(queue->device->device));
    else
        lua_pushboolean(L, 0);
    return 1;
}

/* queue_wait(queue, async): until all that was queued has ended. */
static int queue_wait(lua_State *L)
{
    gbl_queue *queue = gbl_queue_at(L, 1);
    GB_CHECK(queue && queue->queue);
    gbl_job *job;
    int rc = gbl_job_new(&job, L, gbl_devices_of(L), queue->device, queue->queue);
    if (rc < 0) return gbl_push_error(L, rc, gb_err_detail());
    return gbl_job_finish(L, job, lua_toboolean(L, 2));
}

static int queue_close(lua_State *L)
{
    GB_CHECK(gbl_queue_at(L, 1) != NULL);
    return queue_gc(L);
}

/* Two metatables that lua/gb/buffer.lua fills: core.buffer_meta, core.queue_meta. */
static void open_meta(lua_State *L, const char *key, const char *field, lua_CFunction gc)
{
    lua_newtable(L);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, key);
    lua_setfield(L, -2, field);
}

void gbl_open_gpu(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"buffer_new", buffer_new},
        {"is_buffer", is_buffer},
        {"buffer_info", buffer_info},
        {"buffer_share", buffer_share},
        {"buffer_free", buffer_free},
        {"buffer_length", buffer_length},
        {"buffer_copy_host", buffer_copy_host},
        {"buffer_copy", buffer_copy},
        {"buffer_fill", buffer_fill},
        {"queue_new", queue_new},
        {"queue_info", queue_info},
        {"queue_wait", queue_wait},
        {"queue_close", queue_close},
        {NULL, NULL},
    };
    room_handle *handle = lua_newuserdata(L, sizeof *handle);
    handle->room = NULL;
    lua_newtable(L);
    lua_pushcfunction(L, room_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, room_key);
    luaL_register(L, NULL, functions);
    open_meta(L, buffer_key, "buffer_meta", buffer_gc);
    open_meta(L, queue_key, "queue_meta", queue_gc);
    gbl_open_args(L);
    gbl_open_kernel(L);
    gbl_open_launch(L);
    gbl_open_fault(L);
    gbl_open_devices(L);
    gbl_open_plan(L);
    gbl_open_memory(L);
    gbl_open_resident(L);
    gbl_open_storage(L);
}
