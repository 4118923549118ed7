/* What happens on devices, for lua/gb/faults.lua: while all is in order a launch costs a counter.
 * Failures are told at once; while there is an alert (a device or a kernel is out of order, or
 * launches are limited) Lua is asked before each launch and told of the end of each. */
#include "lua/device.h"

#include "base/err.h"
#include "lua/state.h"

#include <string.h>

static const char hook_key[] = "gb.fault.hook";

/* hook(device index, kernel number, code or nil, message, launch); it neither waits nor raises. */
static void call_hook(lua_State *L, int device, uint32_t kernel, int rc, const char *message,
                      bool launch)
{
    int top = lua_gettop(L);
    if (!lua_checkstack(L, 8)) return;
    lua_getfield(L, LUA_REGISTRYINDEX, hook_key);
    if (lua_isfunction(L, -1)) {
        lua_pushinteger(L, device);
        lua_pushinteger(L, (lua_Integer)kernel);
        if (rc < 0)
            lua_pushstring(L, gb_err_name(rc));
        else
            lua_pushnil(L);
        lua_pushstring(L, message ? message : rc < 0 ? gb_err_text(rc) : "");
        lua_pushboolean(L, launch);
        if (lua_pcall(L, 5, 0, 0) != 0) {
            const gbl_state *state = gbl_of(L);
            gb_log_put(state->worker->silo->config.log, GB_LOG_ERROR,
                       gb_wall(state->worker->silo->sys), NULL, "faults: %s", lua_tostring(L, -1));
        }
    }
    lua_settop(L, top);
}

void gbl_fault_ended(const gbl_job *job, int rc, const char *message)
{
    const gbl_devices *room = job->room;
    if (room->closed) return;
    call_hook(room->state->L, (int)(job->device - room->at), job->kernel, rc, message, job->launch);
}

void gbl_fault_failed(lua_State *L, gbl_devices *room, const gbl_device *device, int rc)
{
    if (rc != GB_ELOST && rc != GB_EDEVICE) return;
    char text[512];
    strncpy(text, gb_err_detail(), sizeof text - 1);
    text[sizeof text - 1] = 0;
    call_hook(L, (int)(device - room->at), 0, rc, text, false);
    gb_err_set(rc, "%s", text);
}

int gbl_fault_number(gbl_devices *room, uint32_t number)
{
    if (number < room->kernel_room) return 0;
    uint32_t more = room->kernel_room ? room->kernel_room : 16;
    while (more <= number) more *= 2;
    gbl_tally *grown = gb_mem_zalloc(room->mem, more * sizeof *grown);
    if (!grown) return GB_ENOMEM;
    size_t old_bytes = room->kernel_room * sizeof *grown;
    if (old_bytes) memcpy(grown, room->kernels, old_bytes);
    if (old_bytes) gb_mem_free(room->mem, room->kernels, old_bytes);
    room->kernels = grown;
    room->kernel_room = more;
    return 0;
}

/* ---- launches by time ---- */

static const uint64_t slot_ns = (uint64_t)GBL_TALLY_SLOT_S * 1000000000u;

void gbl_tally_add(gbl_tally *tally, uint64_t now_ns)
{
    uint64_t slot = now_ns / slot_ns;
    if (__builtin_expect(slot > tally->slot, 0)) {
        if (slot - tally->slot >= GBL_TALLY_SLOTS) memset(tally->counts, 0, sizeof tally->counts);
        for (uint64_t at = tally->slot + 1; at < slot && slot - tally->slot < GBL_TALLY_SLOTS; at++)
            tally->counts[at % GBL_TALLY_SLOTS] = 0;
        tally->counts[slot % GBL_TALLY_SLOTS] = 0;
        tally->slot = slot;
    }
    tally->counts[tally->slot % GBL_TALLY_SLOTS]++;
}

/* Of the last so many seconds, to a slot. */
static double tally_sum(const gbl_tally *tally, uint64_t now_ns, double seconds)
{
    double sum = 0, slots = seconds / GBL_TALLY_SLOT_S;
    uint64_t now = now_ns / slot_ns,
             span = slots < GBL_TALLY_SLOTS - 1 ? (uint64_t)slots : GBL_TALLY_SLOTS - 1;
    for (uint64_t back = 0; back <= span && back <= now; back++) {
        uint64_t at = now - back;
        if (at <= tally->slot && tally->slot - at < GBL_TALLY_SLOTS)
            sum += tally->counts[at % GBL_TALLY_SLOTS];
    }
    return sum;
}

static gbl_device *check_device(lua_State *L, gbl_devices *room, int at)
{
    int index = (int)luaL_checkinteger(L, at);
    luaL_argcheck(L, index >= 0 && index < room->count, at, "no such device");
    return &room->at[index];
}

/* fault_hook(fn) */
static int fault_hook(lua_State *L)
{
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, hook_key);
    return 0;
}

/* fault_alert(on) */
static int fault_alert(lua_State *L)
{
    gbl_devices_of(L)->alert = lua_toboolean(L, 1);
    return 0;
}

/* device_avoid(index, on) */
static int device_avoid(lua_State *L)
{
    check_device(L, gbl_devices_of(L), 1)->avoid = lua_toboolean(L, 2);
    return 0;
}

/* device_claim(index, more): the sum over all workers. */
static int device_claim(lua_State *L)
{
    gbl_device *device = check_device(L, gbl_devices_of(L), 1);
    lua_pushinteger(L, gb_device_claim(device->device, (int)luaL_checkinteger(L, 2)));
    return 1;
}

static int push_sum(lua_State *L, const gbl_tally *tally)
{
    const gbl_state *state = gbl_of(L);
    lua_pushnumber(L, tally_sum(tally, gb_now(state->worker->silo->sys), luaL_checknumber(L, 2)));
    return 1;
}

/* device_launches(index, seconds): of this worker, in the last so many seconds. */
static int device_launches(lua_State *L)
{
    return push_sum(L, &check_device(L, gbl_devices_of(L), 1)->tally);
}

/* kernel_launches(number, seconds): the same of grains, of one kernel. */
static int kernel_launches(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    uint32_t number = (uint32_t)luaL_checkinteger(L, 1);
    luaL_argcheck(L, number < room->kernel_room, 1, "no such kernel");
    return push_sum(L, &room->kernels[number]);
}

/* device_state(index): is it lost; can its kernels work on host memory. Cheap. */
static int device_state(lua_State *L)
{
    const gbl_device *device = check_device(L, gbl_devices_of(L), 1);
    lua_pushboolean(L, gb_device_lost(device->device));
    lua_pushboolean(L, device->in_place);
    return 2;
}

/* kernel_quiet(kernel): its launches are counted by whoever makes them. */
static int kernel_quiet(lua_State *L)
{
    gbl_check_kernel(L)->number = 0;
    return 0;
}

/* launches(): under way, of this worker. */
static int launches(lua_State *L)
{
    lua_pushinteger(L, gbl_devices_of(L)->launches);
    return 1;
}

/* launch_where(kernel, shape, ...): the device where it would run, were all in order; fixed: it
 * says so itself; in a grain. */
static int launch_where(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    const gb_call *turn = gbl_turn(state);
    bool fixed;
    lua_pushinteger(L, gbl_launch_where(L, gbl_devices_of(L), &fixed));
    lua_pushboolean(L, fixed);
    lua_pushboolean(L, turn && turn->act && turn->act != state->root);
    return 3;
}

/* launch_on(device, kernel): whether the kernel is loaded there; the next launch that names no
 * device runs there. */
static int launch_on(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    gbl_device *device = check_device(L, room, 1);
    lua_remove(L, 1);
    gb_module *module = gbl_check_kernel(L)->at[device - room->at].module;
    bool loaded = module && !gb_module_lost(module);
    room->force = loaded ? (int)(device - room->at) : -1;
    lua_pushboolean(L, loaded);
    return 1;
}

void gbl_open_fault(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"fault_hook", fault_hook},
        {"fault_alert", fault_alert},
        {"device_avoid", device_avoid},
        {"device_claim", device_claim},
        {"device_launches", device_launches},
        {"kernel_launches", kernel_launches},
        {"device_state", device_state},
        {"kernel_quiet", kernel_quiet},
        {"launches", launches},
        {"launch_where", launch_where},
        {"launch_on", launch_on},
        {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
}
