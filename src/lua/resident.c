/* Buffers whose memory comes and goes while their handle stays, and what the silo keeps of them:
 * the C half of lua/gb/resident.lua, which decides when. */
#include "lua/device.h"
#include "lua/keep.h"

#include "base/check.h"
#include "base/err.h"
#include "lua/state.h"

static gbl_buffer *resident_at(lua_State *L, int index)
{
    gbl_buffer *handle = gbl_buffer_at(L, index);
    GB_CHECK(handle && (handle->flags & GBL_BUFFER_RESIDENT));
    return handle;
}

/* resident_handle(type, count): a handle without memory. */
static int resident_handle(lua_State *L)
{
    gbl_buffer_push_new(L, NULL, NULL, (int64_t)luaL_checknumber(L, 2),
                        (uint32_t)luaL_checkinteger(L, 1), GBL_BUFFER_RESIDENT);
    return 1;
}

/* resident_open(handle, bytes, device index, kind): true, or nil, message, code, and whether it is
 * the tenant's cap. */
static int resident_open(lua_State *L)
{
    static const char *const kinds[] = {"device", "pinned", "unified", NULL};
    gbl_buffer *handle = resident_at(L, 1);
    double bytes = luaL_checknumber(L, 2);
    if (bytes >= 0x1p62) bytes = 0x1p62;
    gbl_devices *room = gbl_devices_of(L);
    gb_device *device = room->at[luaL_checkinteger(L, 3)].device;
    GB_CHECK(!handle->buffer);
    int kind = luaL_checkoption(L, 4, "device", kinds);
    gbl_payer payer = gbl_payer_here(gbl_of(L));
    bool capped = false;
    gb_buffer_spec spec = {.bytes = (size_t)bytes,
                           .kind = (gb_buffer_kind)kind,
                           .tenant = payer.tenant,
                           .owner = payer.owner,
                           .capped = &capped};
    int rc = gb_buffer_rent(&handle->buffer, device, &spec);
    if (rc < 0) return gbl_push_unrented(L, rc, capped);
    lua_pushboolean(L, 1);
    return 1;
}

static int resident_close(lua_State *L)
{
    gbl_buffer_drop(resident_at(L, 1));
    return 0;
}

/* buffer_holders(buffer): handles and commands that hold its memory; 0: it has none. */
static int buffer_holders(lua_State *L)
{
    gbl_buffer *handle = gbl_buffer_at(L, 1);
    GB_CHECK(handle != NULL);
    lua_pushinteger(L, handle->buffer ? gb_buffer_holders(handle->buffer) : 0);
    return 1;
}

/* buffer_lost(buffer): it has memory, and the device of it was lost. */
static int buffer_lost(lua_State *L)
{
    gbl_buffer *handle = gbl_buffer_at(L, 1);
    GB_CHECK(handle != NULL);
    lua_pushboolean(L, handle->buffer && gb_buffer_lost(handle->buffer));
    return 1;
}

/* act_turns(handle): turns of an activation that run or wait, and when the last one that was a call
 * ended (seconds, as core.monotonic); nothing when it is gone. */
static int act_turns(lua_State *L)
{
    gb_act *act = gbl_act_of(gbl_of(L), luaL_checknumber(L, 1));
    if (!act) return 0;
    int count = 0;
    for (const gb_call *turn = act->turns; turn; turn = turn->turn_next) count++;
    lua_pushinteger(L, count);
    lua_pushnumber(L, (double)act->last / 1e9);
    return 2;
}

/* ---- what is kept ---- */

static gbl_keep *keep_of(lua_State *L)
{
    gbl_keep *keep = gbl_of(L)->config.keep;
    if (!keep) luaL_error(L, "this host keeps no state of resident grains");
    return keep;
}

/* keep_room(bytes): an array of bytes for keep_put; nil, message, code. */
static int keep_room(lua_State *L)
{
    gbl_keep *keep = keep_of(L);
    int64_t bytes = (int64_t)luaL_checknumber(L, 1);
    gb_block *block = gb_block_new_raw(gbl_keep_mem(keep), (size_t)bytes);
    int rc = block ? gbl_array_push(L, block, 0, bytes, "uint8") : GB_ENOMEM;
    if (rc < 0) {
        gb_block_unref(block);
        return gbl_push_error(L, rc, gb_err_detail());
    }
    return 1;
}

/* keep_put(name, layout, array of keep_room): true, or nil, message, code. */
static int keep_put(lua_State *L)
{
    gbl_array *array = gbl_array_at(L, 3);
    GB_CHECK(array && array->block);
    int rc = gbl_keep_put(keep_of(L), luaL_checkstring(L, 1), luaL_checkstring(L, 2), array->block);
    if (rc < 0) return gbl_push_error(L, rc, gb_err_detail());
    lua_pushboolean(L, 1);
    return 1;
}

/* keep_get(name): array of bytes (nil: none), layout, lost; nothing when the name is not known. */
static int keep_get(lua_State *L)
{
    gb_block *block;
    char layout[GBL_LAYOUT_MAX];
    bool lost = false;
    if (!gbl_keep_get(keep_of(L), luaL_checkstring(L, 1), &block, layout, &lost)) return 0;
    if (!block) lua_pushnil(L);
    if (block && gbl_array_push(L, block, 0, (int64_t)block->bytes, "uint8") < 0) {
        gb_block_unref(block);
        return luaL_error(L, "out of memory: the state of a resident grain");
    }
    lua_pushstring(L, layout);
    lua_pushboolean(L, lost);
    return 3;
}

/* keep_lost(name, lost) */
static int keep_lost(lua_State *L)
{
    int rc = gbl_keep_lost(keep_of(L), luaL_checkstring(L, 1), lua_toboolean(L, 2));
    lua_pushboolean(L, rc >= 0);
    return 1;
}

static int keep_drop(lua_State *L)
{
    lua_pushboolean(L, gbl_keep_drop(keep_of(L), luaL_checkstring(L, 1)));
    return 1;
}

/* keep_count(): names, bytes */
static int keep_count(lua_State *L)
{
    int64_t names = 0, bytes = 0;
    if (gbl_of(L)->config.keep) gbl_keep_count(gbl_of(L)->config.keep, &names, &bytes);
    lua_pushnumber(L, (lua_Number)names);
    lua_pushnumber(L, (lua_Number)bytes);
    return 2;
}

void gbl_open_resident(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"resident_handle", resident_handle},
        {"resident_open", resident_open},
        {"resident_close", resident_close},
        {"buffer_holders", buffer_holders},
        {"buffer_lost", buffer_lost},
        {"act_turns", act_turns},
        {"keep_room", keep_room},
        {"keep_put", keep_put},
        {"keep_get", keep_get},
        {"keep_lost", keep_lost},
        {"keep_drop", keep_drop},
        {"keep_count", keep_count},
        {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
}
