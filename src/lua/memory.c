/* Memory of devices for Lua: whom it is counted to, reservations,
 * page-locked arrays, and how the pools do. */
#include "lua/device.h"

#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "lua/state.h"

#include <math.h>

static const char reservation_key[] = "gb.reservation.meta";

/* ---- who pays ---- */

static uint64_t tenant_of(gbl_state *state, const gb_act *act)
{
    const gbl_type *type = act ? gbl_type_of(state, act->type) : NULL;
    return type ? type->tenant : 0;
}

uint64_t gbl_tenant_here(gbl_state *state)
{
    const gb_call *turn = gbl_turn(state);
    const gbl_co *co = turn ? turn->body : NULL;
    if (co && co->tenant) return co->tenant;
    return tenant_of(state, turn ? turn->act : NULL);
}

/* Scripts of one worker are one owner. */
gbl_payer gbl_payer_of(gbl_state *state, const gb_act *act)
{
    uint64_t grain = act ? (uint64_t)act->slot << 32 | act->generation : UINT64_MAX;
    return (gbl_payer){
        .tenant = tenant_of(state, act),
        .owner = gb_hash_mix(grain + (uint64_t)state->worker->index) | 1, /* 0 is the host's own */
    };
}

gbl_payer gbl_payer_here(gbl_state *state)
{
    const gb_call *turn = gbl_turn(state);
    gbl_payer payer = gbl_payer_of(state, turn ? turn->act : NULL);
    payer.tenant = gbl_tenant_here(state);
    return payer;
}

int gbl_read_tenant(lua_State *L, int index, uint64_t *out)
{
    lua_getfield(L, index, "tenant");
    const char *name = lua_tostring(L, -1);
    *out = 0;
    int rc = name ? gb_gpu_tenant(gbl_gpu(L), name, out) : 0;
    lua_pop(L, 1);
    return rc;
}

/* core.tenant(): the number of the tenant whom memory is counted to that is opened now; 0: none. */
static int core_tenant(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)gbl_tenant_here(gbl_of(L)));
    return 1;
}

/* core.work_for(number): the rest of this turn, one of the house, is on behalf of a tenant. */
static int core_work_for(lua_State *L)
{
    gb_call *turn = gbl_turn(gbl_of(L));
    GB_CHECK(turn && turn->body);
    ((gbl_co *)turn->body)->tenant = (uint64_t)luaL_checknumber(L, 1);
    return 0;
}

/* core.tenant_left(): the bytes that the tenant here may still have, and its name; nothing when it
 * has no cap. */
static int core_tenant_left(lua_State *L)
{
    gb_tenant_memory now;
    gb_gpu_tenant_memory(gbl_gpu(L), gbl_tenant_here(gbl_of(L)), &now);
    if (!now.bytes_max) return 0;
    lua_pushnumber(L, (lua_Number)(now.bytes_max > now.bytes ? now.bytes_max - now.bytes : 0));
    lua_pushstring(L, now.name);
    return 2;
}

/* core.tenants(): a list of { name, memory, memory_max or nil }, what belongs to none first. */
static int core_tenants(lua_State *L)
{
    struct gb_gpu *gpu = gbl_gpu(L);
    int count = gb_gpu_tenant_count(gpu);
    lua_createtable(L, count + 1, 0);
    for (int i = 0; i <= count; i++) {
        gb_tenant_memory now;
        gb_gpu_tenant_memory(gpu, (uint64_t)i, &now);
        lua_createtable(L, 0, 3);
        lua_pushstring(L, now.name);
        lua_setfield(L, -2, "name");
        lua_pushnumber(L, (lua_Number)now.bytes);
        lua_setfield(L, -2, "memory");
        if (now.bytes_max) {
            lua_pushnumber(L, (lua_Number)now.bytes_max);
            lua_setfield(L, -2, "memory_max");
        }
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* ---- reservations ---- */

gbl_reservation *gbl_reservation_at(lua_State *L, int index)
{
    return gbl_userdata_at(L, index, reservation_key);
}

static int reservation_gc(lua_State *L)
{
    gbl_reservation *held = lua_touserdata(L, 1);
    if (held->id) gb_ledger_release(held->ledger, held->id);
    held->id = 0;
    return 0;
}

/* reserve(device index, bytes): a handle, or nil, message, code. Its bytes are the caller's alone
 * until reserve_end(handle), or its collection. buffer_new takes its buffers out of it. */
static int reserve(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    int index = (int)luaL_checkinteger(L, 1);
    double bytes = luaL_checknumber(L, 2);
    luaL_argcheck(L, index >= 0 && index < room->count, 1, "no such device");
    luaL_argcheck(L, bytes >= 0, 2, "bytes from 0");
    if (bytes >= 0x1p62) bytes = 0x1p62;
    gbl_reservation *held = lua_newuserdata(L, sizeof *held);
    *held = (gbl_reservation){gb_gpu_ledger(room->gpu), index, 0};
    lua_getfield(L, LUA_REGISTRYINDEX, reservation_key);
    lua_setmetatable(L, -2);
    gbl_payer payer = gbl_payer_here(gbl_of(L));
    gb_ledger_claim claim = {.tenant = payer.tenant,
                             .owner = payer.owner,
                             .device = index,
                             .bytes = (int64_t)ceil(bytes)};
    int rc = gb_ledger_reserve(held->ledger, &claim, &held->id);
    return rc < 0 ? gbl_push_error(L, rc, gb_err_detail()) : 1;
}

/* reserve_end(handle): what no buffer was taken out of is free again. A second time: nothing. */
static int reserve_end(lua_State *L)
{
    luaL_argcheck(L, gbl_reservation_at(L, 1) != NULL, 1, "expected a reservation");
    return reservation_gc(L);
}

/* ---- page-locked arrays ---- */

static void release_pinned(void *user, void *data, size_t bytes)
{
    gb_buffer_unref(user);
}

gb_buffer *gbl_pinned_of(const gbl_array *array, const gb_buffer *with, size_t *offset)
{
    const gb_block *block = array->block;
    gb_buffer *pinned = block->release == release_pinned ? block->user : NULL;
    if (!pinned || gb_buffer_device(pinned) != gb_buffer_device(with)) return NULL;
    *offset = (size_t)((char *)array->data - (char *)block->data);
    return pinned;
}

/* array_pinned(array, type, element size, count), as array_new. */
static int array_pinned(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    gbl_array *array = gbl_array_at(L, 1);
    GB_CHECK(array != NULL);
    double bytes = luaL_checknumber(L, 3) * luaL_checknumber(L, 4);
    if (bytes >= 0x1p62) bytes = 0x1p62;
    gbl_array_drive(L, bytes < 1e9 ? (int64_t)bytes : 1000000000);
    gb_buffer *buffer;
    gbl_payer payer = gbl_payer_here(gbl_of(L));
    gb_buffer_spec spec = {.bytes = bytes > 0 ? (size_t)bytes : 1,
                           .kind = GB_BUFFER_PINNED,
                           .tenant = payer.tenant,
                           .owner = payer.owner};
    int rc = gb_buffer_rent(&buffer, gbl_device_here(L, room)->device, &spec);
    if (rc < 0) return gbl_push_error(L, rc, gb_err_detail());
    gb_block *block =
        gb_block_wrap(room->mem, gb_buffer_host(buffer), (size_t)bytes, release_pinned, buffer);
    if (!block) {
        gb_buffer_unref(buffer);
        return gbl_push_error(L, GB_ENOMEM, gb_err_detail());
    }
    gbl_array_adopt(L, array, block, 0, (int64_t)lua_tonumber(L, 4),
                    (uint32_t)luaL_checkinteger(L, 2));
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- the pool ---- */

void gbl_put_pool(lua_State *L, gb_device *device)
{
    gb_pool_stats now;
    gb_device_pool_stats(device, GB_POOL_ALL, &now);
    const struct {
        const char *name;
        double value;
    } rows[] = {
        {"hits", (double)now.hits},
        {"misses", (double)now.misses},
        {"failures", (double)now.failures},
        {"trimmed", (double)now.trimmed},
        {"bytes_in_use", (double)now.bytes_in_use},
        {"bytes_asked", (double)now.bytes_asked},
        {"bytes_held", (double)now.bytes_held},
        {"bytes_max", (double)now.bytes_max},
        {"hit_rate", now.hit_rate},
        {"utilization", now.utilization},
        {"fragmentation", now.fragmentation},
    };
    lua_createtable(L, 0, sizeof rows / sizeof rows[0]);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        lua_pushnumber(L, rows[i].value);
        lua_setfield(L, -2, rows[i].name);
    }
    lua_setfield(L, -2, "pool");
}

void gbl_open_memory(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"reserve", reserve},           {"reserve_end", reserve_end},
        {"array_pinned", array_pinned}, {"tenant", core_tenant},
        {"work_for", core_work_for},    {"tenant_left", core_tenant_left},
        {"tenants", core_tenants},      {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
    lua_newtable(L);
    lua_pushcfunction(L, reservation_gc);
    lua_setfield(L, -2, "__gc");
    lua_setfield(L, LUA_REGISTRYINDEX, reservation_key);
}
