/* What Lua is told of devices. */
#include "lua/device.h"

#include "base/err.h"

static void push_info(lua_State *L, gb_device *device)
{
    gb_device_info info;
    gb_device_get_info(device, &info);
    lua_createtable(L, 0, 21);
#define PUT_TEXT(name) (lua_pushstring(L, info.name), lua_setfield(L, -2, #name))
#define PUT_NUMBER(name) (lua_pushnumber(L, (lua_Number)info.name), lua_setfield(L, -2, #name))
    PUT_TEXT(backend);
    PUT_TEXT(name);
    PUT_TEXT(arch);
    PUT_NUMBER(index);
    PUT_NUMBER(memory_total);
    PUT_NUMBER(memory_free);
    gb_pool_stats pinned;
    gb_device_pool_stats(device, GB_BUFFER_PINNED, &pinned);
    lua_pushnumber(L, (lua_Number)pinned.bytes_asked);
    lua_setfield(L, -2, "memory_pinned");
    PUT_NUMBER(threads_per_block_max);
    PUT_NUMBER(shared_bytes_max);
    PUT_NUMBER(units);
    PUT_NUMBER(warp);
    lua_pushinteger(L, gb_device_queue_depth(device));
    lua_setfield(L, -2, "queue_depth");
    static const char *const blames[] = {NULL, "kernel", "bound", "device"};
    lua_pushstring(L, blames[info.lost]); /* nil: it is not */
    lua_setfield(L, -2, "lost");
    lua_pushstring(L, blames[info.blame]);
    lua_setfield(L, -2, "blame");
    if (info.numa_node >= 0) PUT_NUMBER(numa_node);
    if (info.cpus[0]) PUT_TEXT(cpus);
    lua_newtable(L);
    for (int i = 0, n = 0; i < 64; i++) {
        if (!(info.peers >> i & 1)) continue;
        lua_pushinteger(L, i);
        lua_rawseti(L, -2, ++n);
    }
    lua_setfield(L, -2, "peers");
    gb_device_counts counts;
    gb_device_get_counts(device, &counts);
    lua_pushnumber(L, (lua_Number)counts.bytes_up);
    lua_setfield(L, -2, "bytes_uploaded");
    lua_pushnumber(L, (lua_Number)counts.bytes_down);
    lua_setfield(L, -2, "bytes_downloaded");
    lua_pushnumber(L, (lua_Number)counts.files);
    lua_setfield(L, -2, "files");
    lua_pushnumber(L, (lua_Number)counts.files_direct);
    lua_setfield(L, -2, "files_direct");
#undef PUT_TEXT
#undef PUT_NUMBER
}

/* What is not known is left out. */
static void put_figures(lua_State *L, gb_device *device)
{
    gb_device_figures now;
    gb_device_get_figures(device, &now);
    const struct {
        const char *name;
        double value;
    } rows[] = {{"memory_used", (double)now.memory_used},
                {"utilization", now.utilization},
                {"temperature", now.temperature},
                {"power", now.power_mw < 0 ? -1 : now.power_mw / 1000.0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].value < 0) continue;
        lua_pushnumber(L, rows[i].value);
        lua_setfield(L, -2, rows[i].name);
    }
}

static int device_count(lua_State *L)
{
    lua_pushinteger(L, gbl_devices_of(L)->count);
    return 1;
}

/* device_info(index or nil [, figures]): a table; with figures those of this moment too. */
static int device_info(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    gbl_device *device = gbl_device_here(L, room);
    bool all = lua_toboolean(L, 2);
    if (lua_isnumber(L, 1)) {
        int index = (int)lua_tointeger(L, 1);
        if (index < 0 || index >= room->count) return 0;
        device = &room->at[index];
    }
    push_info(L, device->device);
    if (all) {
        put_figures(L, device->device);
        gbl_put_pool(L, device->device);
    }
    return 1;
}

/* device_epoch(index): what was made on the device in an earlier one is lost. */
static int device_epoch(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    int index = (int)luaL_checkinteger(L, 1);
    luaL_argcheck(L, index >= 0 && index < room->count, 1, "no such device");
    lua_pushnumber(L, gb_device_epoch(room->at[index].device));
    return 1;
}

/* device_score(index): how good a place it is by its free memory, waiting work and kind, 20 .. 100;
 * nothing when it is lost. */
static int device_score(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    int index = (int)luaL_checkinteger(L, 1);
    luaL_argcheck(L, index >= 0 && index < room->count, 1, "no such device");
    gbl_device *device = &room->at[index];
    if (gb_device_lost(device->device)) return 0;
    gb_device_info info;
    gb_device_get_info(device->device, &info);
    double waiting = 30 - gb_device_queue_depth(device->device) / 10.0;
    double total = info.memory_total > 0 ? (double)info.memory_total : 1;
    lua_pushnumber(L, 40 * (double)info.memory_free / total + (waiting > 0 ? waiting : 0) + 20 +
                          (device->is_cpu ? 5 : 10));
    return 1;
}

/* device_memory(index): free bytes; was it lost. */
static int device_memory(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    int index = (int)luaL_checkinteger(L, 1);
    luaL_argcheck(L, index >= 0 && index < room->count, 1, "no such device");
    gb_device_info info;
    gb_device_get_info(room->at[index].device, &info);
    lua_pushnumber(L, (lua_Number)info.memory_free);
    lua_pushboolean(L, gb_device_lost(room->at[index].device));
    return 2;
}

/* device_here(): the index of the device where a launch from here would run. */
static int device_here(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    lua_pushinteger(L, gbl_device_here(L, room) - room->at);
    return 1;
}

/* device_in_place(index [, flag]): can its kernels work on host memory; tests turn this short cut
 * of the cpu device off. The old one. */
static int device_in_place(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    int index = (int)luaL_checkinteger(L, 1);
    luaL_argcheck(L, index >= 0 && index < room->count, 1, "no such device");
    lua_pushboolean(L, room->at[index].in_place);
    if (!lua_isnoneornil(L, 2)) room->at[index].in_place = lua_toboolean(L, 2);
    return 1;
}

void gbl_open_devices(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"device_count", device_count},       {"device_info", device_info},
        {"device_memory", device_memory},     {"device_score", device_score},
        {"device_here", device_here},         {"device_epoch", device_epoch},
        {"device_in_place", device_in_place}, {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
}
