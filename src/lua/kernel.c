/* Modules and kernels for Lua: compiling, signatures, structs, globals. lua/gb/kernels.lua keeps
 * one module per device and binds its kernels to the handles that users hold. */
#include "lua/device.h"

#include "base/check.h"
#include "base/err.h"

#include <stdio.h>
#include <string.h>

static const char module_key[] = "gb.module.meta", kernel_key[] = "gb.kernel.meta";

typedef struct module_handle {
    gb_module *module;
} module_handle;

gbl_kernel *gbl_check_kernel(lua_State *L)
{
    gbl_kernel *handle = gbl_userdata_at(L, 1, kernel_key);
    if (!handle) luaL_error(L, "no kernel");
    return handle;
}

/* ---- modules ---- */

static int module_gc(lua_State *L)
{
    module_handle *handle = lua_touserdata(L, 1);
    if (handle->module) gb_module_unref(handle->module);
    handle->module = NULL;
    return 0;
}

static int push_module(lua_State *L, gbl_wait *wait, int rc)
{
    if (rc < 0) {
        gbl_devices *room = gbl_devices_of(L);
        if (wait->user)
            gbl_fault_failed(L, room, &room->at[gb_device_index(gb_module_device(wait->user))], rc);
        return gbl_push_error(L, rc, wait->op.detail);
    }
    module_handle *handle = lua_newuserdata(L, sizeof *handle);
    handle->module = NULL;
    lua_getfield(L, LUA_REGISTRYINDEX, module_key);
    lua_setmetatable(L, -2);
    handle->module = wait->user;
    wait->user = NULL;
    return 1;
}

static void drop_module(gbl_wait *wait)
{
    if (wait->user) gb_module_unref(wait->user);
}

/* A list of strings at an index as a NULL-ended array, in a userdata that it pushes. */
static const char *const *string_list(lua_State *L, int index)
{
    int count = lua_istable(L, index) ? (int)lua_objlen(L, index) : 0;
    const char **list = lua_newuserdata(L, ((size_t)count + 1) * sizeof *list);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, index, i + 1);
        list[i] = lua_tostring(L, -1); /* the table keeps it */
        lua_pop(L, 1);
    }
    list[count] = NULL;
    return list;
}

/* module_open(device or nil, name, source, options, include, instances): a module; waits. */
static int module_open(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    gbl_device *device = gbl_device_here(L, room);
    if (!lua_isnoneornil(L, 1)) device = &room->at[luaL_checkinteger(L, 1)];
    gb_module_spec spec = {.name = luaL_checkstring(L, 2)};
    spec.source = luaL_checklstring(L, 3, &spec.source_bytes);
    lua_settop(L, 6);
    spec.options = string_list(L, 4);
    spec.includes = string_list(L, 5);
    spec.instances = string_list(L, 6);
    gbl_wait *wait = gbl_wait_new(L);
    if (!wait) return gbl_push_error(L, GB_ENOMEM, gb_err_detail());
    wait->results = push_module;
    wait->drop = drop_module;
    gb_module *module = NULL;
    int started = gb_module_open(&module, device->device, &spec, &wait->op);
    wait->user = module;
    return gbl_wait_finish(L, wait, started);
}

static gb_module *check_module(lua_State *L, int index)
{
    module_handle *handle = gbl_userdata_at(L, index, module_key);
    if (!handle || !handle->module) luaL_error(L, "no module");
    return handle->module;
}

static const char *field_type(lua_State *L, const gb_struct_field *field)
{
    if (field->code == GB_TYPE_STRUCT) return field->type;
    return gbl_type_name(L, (uint32_t)field->code | (uint32_t)(field->lanes - 1) << 4);
}

/* module_info(module): { device =, log =, kernels = { names }, structs = { wire texts } } */
static int module_info(lua_State *L)
{
    gb_module *module = check_module(L, 1);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, gb_device_index(gb_module_device(module)));
    lua_setfield(L, -2, "device");
    lua_pushstring(L, gb_module_log(module));
    lua_setfield(L, -2, "log");
    lua_newtable(L);
    for (int i = 0; i < gb_module_kernel_count(module); i++) {
        lua_pushstring(L, gb_kernel_name(gb_module_kernel_at(module, i)));
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "kernels");
    lua_newtable(L);
    for (int i = 0; i < gb_module_struct_count(module); i++) {
        const gb_struct_type *type = gb_module_struct_at(module, i);
        luaL_Buffer text;
        luaL_buffinit(L, &text);
        char line[512];
        snprintf(line, sizeof line, "struct %u %u %s\n", type->size, type->align, type->name);
        luaL_addstring(&text, line);
        for (int k = 0; k < type->field_count; k++) {
            const gb_struct_field *field = &type->fields[k];
            snprintf(line, sizeof line, "%u %u %s %s\n", field->offset,
                     field->count ? field->count : 1, field->name, field_type(L, field));
            luaL_addstring(&text, line);
        }
        luaL_pushresult(&text);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "structs");
    return 1;
}

/* The array type of what a pointer points at or a value is: 0 for void or an unknown struct. types:
 * the index of a table from struct names to ids. */
static uint32_t expected_type(lua_State *L, const gb_param *param, int types)
{
    if (param->pointer && param->element == 0) return 0;
    if (param->code != GB_TYPE_STRUCT)
        return (uint32_t)param->code | (uint32_t)((param->lanes ? param->lanes : 1) - 1) << 4;
    lua_getfield(L, types, param->type);
    uint32_t type = (uint32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return type;
}

/* module_global(module, name, types): a buffer; or nil, message, code. */
static int module_global(lua_State *L)
{
    gb_module *module = check_module(L, 1);
    gb_buffer *buffer;
    gb_param type;
    int rc = gb_module_global(module, luaL_checkstring(L, 2), &buffer, &type);
    if (rc < 0) return gbl_push_error(L, rc, gb_err_detail());
    uint32_t id = expected_type(L, &type, 3);
    size_t size = id ? gbl_type_size(L, id) : 0;
    if (!size) {
        id = GB_TYPE_UINT8;
        size = 1;
    }
    gbl_buffer_push_new(L, NULL, NULL, (int64_t)(gb_buffer_bytes(buffer) / size), id, 0);
    gbl_buffer *handle = lua_touserdata(L, -1);
    handle->buffer = gb_buffer_ref(buffer);
    handle->module = gb_module_ref(module);
    return 1;
}

/* ---- kernels ---- */

static void unbind(gbl_bound *bound)
{
    if (bound->module) gb_module_unref(bound->module);
    bound->module = NULL;
}

static int kernel_clear(lua_State *L)
{
    gbl_kernel *handle = gbl_check_kernel(L);
    for (int i = 0; i < handle->device_count; i++) unbind(&handle->at[i]);
    return 0;
}

/* kernel_new(number): a handle that is loaded nowhere. */
static int kernel_new(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    uint32_t number = (uint32_t)luaL_checkinteger(L, 1);
    if (gbl_fault_number(room, number) < 0) return luaL_error(L, "out of memory: a kernel");
    size_t bytes = sizeof(gbl_kernel) + (size_t)room->count * sizeof(gbl_bound);
    gbl_kernel *handle = lua_newuserdata(L, bytes);
    memset(handle, 0, bytes);
    handle->room = room;
    handle->number = number;
    handle->device_count = room->count;
    lua_getfield(L, LUA_REGISTRYINDEX, kernel_key);
    lua_setmetatable(L, -2);
    return 1;
}

static void push_signature(lua_State *L, const gbl_bound *bound)
{
    lua_createtable(L, bound->count, 0);
    for (int i = 0; i < bound->count; i++) {
        const gb_param *param = &bound->params[i];
        lua_createtable(L, 0, 4);
        lua_pushstring(L, param->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, param->type);
        lua_setfield(L, -2, "type");
        if (param->pointer) {
            lua_pushboolean(L, 1);
            lua_setfield(L, -2, "pointer");
            lua_pushboolean(L, param->is_const);
            lua_setfield(L, -2, "const");
        }
        lua_rawseti(L, -2, i + 1);
    }
}

/* kernel_bind(kernel, module, name, types): loads it from a module; the signature, or nil, message,
 * code. */
static int kernel_bind(lua_State *L)
{
    gbl_kernel *handle = gbl_check_kernel(L);
    gb_module *module = check_module(L, 2);
    gb_kernel *kernel = gb_module_kernel(module, luaL_checkstring(L, 3));
    if (!kernel) return gbl_push_error(L, GB_ENOENT, gb_err_detail());
    gbl_bound *bound = &handle->at[gb_device_index(gb_module_device(module))];
    int count = gb_kernel_param_count(kernel);
    if (count > GBL_ARGS_MAX) {
        lua_pushfstring(L, "kernel '%s' has %d parameters; %d is the most", gb_kernel_name(kernel),
                        count, (int)GBL_ARGS_MAX);
        return gbl_push_error(L, GB_EINVAL, lua_tostring(L, -1));
    }
    gb_module_ref(module);
    unbind(bound);
    bound->module = module;
    bound->kernel = kernel;
    bound->params = gb_kernel_params(kernel);
    bound->count = count;
    for (int i = 0; i < count; i++) bound->expect[i] = expected_type(L, &bound->params[i], 4);
    push_signature(L, bound);
    gb_kernel_info info;
    gb_kernel_get_info(kernel, &info);
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, info.registers);
    lua_setfield(L, -2, "registers");
    lua_pushinteger(L, info.shared_bytes);
    lua_setfield(L, -2, "shared_bytes");
    lua_pushinteger(L, info.threads_max);
    lua_setfield(L, -2, "threads_max");
    lua_pushboolean(L, info.barriers);
    lua_setfield(L, -2, "barriers");
    return 2;
}

/* ---- what launches took ---- */

typedef struct taken {
    const char *kernel;
    gb_hist ran, failed;
    uint64_t wait_ns, wait_ns_max;
} taken;

static void add_times(void *user, const gb_kernel_times *times)
{
    taken *all = user;
    if (strcmp(times->kernel, all->kernel) != 0) return;
    gb_hist_merge(&all->ran, times->ran);
    gb_hist_merge(&all->failed, times->failed);
    all->wait_ns += times->wait_ns;
    if (times->wait_ns_max > all->wait_ns_max) all->wait_ns_max = times->wait_ns_max;
}

/* kernel_times(name): a table of seconds and counts over all devices, or nil: nobody notes them. */
static int kernel_times(lua_State *L)
{
    taken *all = lua_newuserdata(L, sizeof *all);
    memset(all, 0, sizeof *all);
    all->kernel = luaL_checkstring(L, 1);
    if (!gb_gpu_each_times(gbl_devices_of(L)->gpu, add_times, all)) return 0;
    const struct {
        const char *name;
        double value;
    } rows[] = {
        {"launches", (double)all->ran.count},
        {"failed", (double)all->failed.count},
        {"seconds", (double)(all->ran.sum + all->failed.sum) / 1e9},
        {"max", (double)all->ran.max / 1e9},
        {"p50", (double)gb_hist_quantile(&all->ran, 0.5) / 1e9},
        {"p95", (double)gb_hist_quantile(&all->ran, 0.95) / 1e9},
        {"p99", (double)gb_hist_quantile(&all->ran, 0.99) / 1e9},
        {"waited", (double)all->wait_ns / 1e9},
        {"waited_max", (double)all->wait_ns_max / 1e9},
    };
    lua_createtable(L, 0, sizeof rows / sizeof rows[0]);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        lua_pushnumber(L, rows[i].value);
        lua_setfield(L, -2, rows[i].name);
    }
    return 1;
}

/* module_lost(module): it is to be opened anew. */
static int module_lost(lua_State *L)
{
    lua_pushboolean(L, gb_module_lost(check_module(L, 1)));
    return 1;
}

static void open_meta(lua_State *L, const char *key, lua_CFunction gc)
{
    lua_newtable(L);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_setfield(L, LUA_REGISTRYINDEX, key);
}

void gbl_open_kernel(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"module_open", module_open},
        {"module_lost", module_lost},
        {"module_info", module_info},
        {"module_global", module_global},
        {"kernel_new", kernel_new},
        {"kernel_bind", kernel_bind},
        {"kernel_clear", kernel_clear},
        {"kernel_times", kernel_times},
        {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
    open_meta(L, module_key, module_gc);
    open_meta(L, kernel_key, kernel_clear);
}
