/* The C half of arrays: the blocks behind them, what a cdata value is, and the collector's pace.
 * The other half, lua/gb/array.lua, owns the types and everything that must compile. */
#include "lua/array.h"

#include "base/check.h"
#include "base/err.h"
#include "lua/state.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* LuaJIT's type numbers for these two are fixed, but are told by the Lua half all the same. */
enum { LUA_TCDATA_ = 10, PACE_BYTES = 1 << 20, SLACK_BYTES = 64 << 20, PATH_KIB = 16 };

typedef struct kind {
    uint8_t kind;
    uint32_t type;
} kind;

typedef struct type_row {
    char *name, *wire;
    uint32_t size;
} type_row;

/* One per state, in a userdata that the registry holds. */
typedef struct arrays {
    gb_mem *mem;    /* of the tables here, which end with the state */
    gb_mem *blocks; /* of the arrays' bytes: a block may be sent away and outlive this state */
    kind *kinds;    /* by the C type number of a cdata */
    uint32_t kinds_room;
    type_row *types; /* the structs, by id - GBL_TYPE_STRUCTS */
    uint32_t type_count, types_room;
    int64_t live;   /* bytes behind the counted arrays of this state */
    int64_t base;   /* live when the last collection ended */
    int64_t debt;   /* bytes allocated since the last step */
    bool layout_ok; /* the type number stands in the cdata where we read it */
} arrays;

static const char room_key[] = "gb.arrays", setup_key[] = "gb.arrays.lua",
                  move_key[] = "gb.arrays.move";

static arrays *room_of(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, room_key);
    arrays *room = lua_touserdata(L, -1);
    lua_pop(L, 1);
    GB_CHECK(room != NULL);
    return room;
}

/* C functions of this file carry the room as their first upvalue. */
static arrays *room_here(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int room_gc(lua_State *L)
{
    arrays *room = lua_touserdata(L, 1);
    for (uint32_t i = 0; i < room->type_count; i++) {
        gb_mem_strfree(room->mem, room->types[i].name);
        gb_mem_strfree(room->mem, room->types[i].wire);
    }
    gb_mem_free(room->mem, room->types, room->types_room * sizeof *room->types);
    gb_mem_free(room->mem, room->kinds, room->kinds_room * sizeof *room->kinds);
    room->types = NULL;
    room->kinds = NULL;
    room->type_count = room->types_room = room->kinds_room = 0;
    return 0;
}

/* ---- what a cdata is ----
 * The Lua API says nothing of a cdata but its address. LuaJIT keeps the number of the C type in the
 * object's header, 6 bytes before the payload (GCcdata of lj_obj.h); array.lua gives one sample at
 * start, and where the number is not found there, array_setup refuses. */
static uint16_t ctype_number(const void *payload)
{
    uint16_t number;
    memcpy(&number, (const char *)payload - 6, sizeof number);
    return number;
}

static const kind none;

static const kind *kind_at(const arrays *room, lua_State *L, int index, const void **payload)
{
    if (lua_type(L, index) != LUA_TCDATA_) return &none;
    *payload = lua_topointer(L, index);
    uint16_t number = ctype_number(*payload);
    return number < room->kinds_room ? &room->kinds[number] : &none;
}

gbl_cdata_kind gbl_cdata_at(lua_State *L, int index)
{
    const void *payload;
    if (lua_type(L, index) != LUA_TCDATA_) return GBL_CDATA_NONE;
    return (gbl_cdata_kind)kind_at(room_of(L), L, index, &payload)->kind;
}

uint64_t gbl_int64_at(lua_State *L, int index)
{
    uint64_t value;
    memcpy(&value, lua_topointer(L, index), sizeof value);
    return value;
}

gbl_array *gbl_array_at(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TCDATA_) return NULL;
    const void *payload;
    const kind *found = kind_at(room_of(L), L, index, &payload);
    return found->kind == GBL_CDATA_ARRAY ? (gbl_array *)payload : NULL;
}

const void *gbl_element_at(lua_State *L, int index, uint32_t *type)
{
    if (lua_type(L, index) != LUA_TCDATA_) return NULL;
    const void *payload;
    const kind *found = kind_at(room_of(L), L, index, &payload);
    *type = found->type;
    if (found->kind == GBL_CDATA_ELEMENT) return payload;
    return found->kind == GBL_CDATA_ELEMENT_REF ? *(const void *const *)payload : NULL;
}

/* ---- types ---- */

static const struct {
    const char *name;
    uint8_t size;
} scalars[] = {
    [GB_TYPE_BOOL] = {"bool", 1},     [GB_TYPE_INT8] = {"int8", 1},
    [GB_TYPE_UINT8] = {"uint8", 1},   [GB_TYPE_INT16] = {"int16", 2},
    [GB_TYPE_UINT16] = {"uint16", 2}, [GB_TYPE_INT32] = {"int32", 4},
    [GB_TYPE_UINT32] = {"uint32", 4}, [GB_TYPE_INT64] = {"int64", 8},
    [GB_TYPE_UINT64] = {"uint64", 8}, [GB_TYPE_FLOAT] = {"float", 4},
    [GB_TYPE_DOUBLE] = {"double", 8},
};

/* As CUDA names them, by code and lanes. */
static const char *const vectors[][3] = {
    [GB_TYPE_INT8] = {"char2", "char3", "char4"},
    [GB_TYPE_UINT8] = {"uchar2", "uchar3", "uchar4"},
    [GB_TYPE_INT16] = {"short2", "short3", "short4"},
    [GB_TYPE_UINT16] = {"ushort2", "ushort3", "ushort4"},
    [GB_TYPE_INT32] = {"int2", "int3", "int4"},
    [GB_TYPE_UINT32] = {"uint2", "uint3", "uint4"},
    [GB_TYPE_INT64] = {"longlong2", "longlong3", "longlong4"},
    [GB_TYPE_UINT64] = {"ulonglong2", "ulonglong3", "ulonglong4"},
    [GB_TYPE_FLOAT] = {"float2", "float3", "float4"},
    [GB_TYPE_DOUBLE] = {"double2", "double3", "double4"},
};

static const type_row *struct_row(lua_State *L, uint32_t type)
{
    arrays *room = room_of(L);
    uint32_t at = type - GBL_TYPE_STRUCTS;
    return at < room->type_count ? &room->types[at] : NULL;
}

size_t gbl_type_size(lua_State *L, uint32_t type)
{
    if (type >= GBL_TYPE_STRUCTS) {
        const type_row *row = struct_row(L, type);
        return row ? row->size : 0;
    }
    uint32_t code = type & 15;
    return code >= 1 && code <= GB_TYPE_DOUBLE ? scalars[code].size * ((type >> 4) + 1) : 0;
}

const char *gbl_type_name(lua_State *L, uint32_t type)
{
    if (type >= GBL_TYPE_STRUCTS) {
        const type_row *row = struct_row(L, type);
        return row ? row->name : "?";
    }
    uint32_t code = type & 15, lanes = (type >> 4) + 1;
    if (code < 1 || code > GB_TYPE_DOUBLE) return "?";
    if (lanes == 1) return scalars[code].name;
    const char *name = vectors[code][lanes - 2];
    return name ? name : "?";
}

const char *gbl_type_wire(lua_State *L, uint32_t type)
{
    const type_row *row = type >= GBL_TYPE_STRUCTS ? struct_row(L, type) : NULL;
    return row ? row->wire : gbl_type_name(L, type);
}

/* type_name(id): "float4". */
static int type_name(lua_State *L)
{
    lua_pushstring(L, gbl_type_name(L, (uint32_t)luaL_checkinteger(L, 1)));
    return 1;
}

/* type_define(name, wire, size): the id of a new struct type; nil, message, code. */
static int type_define(lua_State *L)
{
    arrays *room = room_here(L);
    const char *name = luaL_checkstring(L, 1), *wire = luaL_checkstring(L, 2);
    uint32_t size = (uint32_t)luaL_checkinteger(L, 3);
    if (room->type_count == room->types_room) {
        uint32_t more = room->types_room ? room->types_room * 2 : 8;
        type_row *moved = gb_mem_realloc(room->mem, room->types, room->types_room * sizeof *moved,
                                         more * sizeof *moved);
        if (!moved) return gbl_push_error(L, GB_ENOMEM, NULL);
        room->types = moved;
        room->types_room = more;
    }
    type_row *row = &room->types[room->type_count];
    row->name = gb_mem_strdup(room->mem, name);
    row->wire = gb_mem_strdup(room->mem, wire);
    row->size = size;
    if (!row->name || !row->wire) {
        gb_mem_strfree(room->mem, row->name);
        gb_mem_strfree(room->mem, row->wire);
        return gbl_push_error(L, GB_ENOMEM, NULL);
    }
    lua_pushinteger(L, (lua_Integer)(GBL_TYPE_STRUCTS + room->type_count++));
    return 1;
}

/* type_kind(number, kind, type): from now on cdata of that C type number is of that kind. */
static int type_kind(lua_State *L)
{
    arrays *room = room_here(L);
    uint32_t number = (uint32_t)luaL_checkinteger(L, 1);
    if (number >= room->kinds_room) {
        uint32_t more = room->kinds_room ? room->kinds_room * 2 : 256;
        while (more <= number) more *= 2;
        kind *moved = gb_mem_realloc(room->mem, room->kinds, room->kinds_room * sizeof *moved,
                                     more * sizeof *moved);
        if (!moved) return luaL_error(L, "%s", gb_err_detail()); /* callers rely on it */
        memset(moved + room->kinds_room, 0, (more - room->kinds_room) * sizeof *moved);
        room->kinds = moved;
        room->kinds_room = more;
    }
    room->kinds[number].kind = (uint8_t)luaL_checkinteger(L, 2);
    room->kinds[number].type = (uint32_t)luaL_checkinteger(L, 3);
    lua_pushboolean(L, 1);
    return 1;
}

/* classify(value): "int64", "uint64", "array", "element", or nil. */
static int classify(lua_State *L)
{
    static const char *const names[] = {NULL, "int64", "uint64", "array", "element", "element"};
    const void *payload;
    const char *name = names[kind_at(room_here(L), L, 1, &payload)->kind];
    if (!name) return 0;
    lua_pushstring(L, name);
    return 1;
}

/* ---- the collector's pace ----
 * LuaJIT sees a few dozen bytes of an array of megabytes. So allocation drives the collector: while
 * `limit` bytes of arrays are allocated, it goes once round its heap. limit is what was alive when
 * the last round ended, the Lua heap itself, or 64 MiB, whichever is most, so garbage stays in
 * proportion to what is alive, and a step in proportion to what was allocated. */
static void drive(lua_State *L, arrays *room, int64_t bytes)
{
    if (bytes < 0) {
        lua_gc(L, LUA_GCCOLLECT, 0);
        room->base = room->live;
        room->debt = 0;
        return;
    }
    room->debt += bytes;
    if (room->debt < PACE_BYTES) return;
    int64_t heap_kib = lua_gc(L, LUA_GCCOUNT, 0);
    int64_t limit = room->base + heap_kib * 1024;
    if (limit < SLACK_BYTES) limit = SLACK_BYTES;
    double part = (double)room->debt / (double)limit;
    double kib = 2.0 * (double)heap_kib * (part < 1 ? part : 1) + PATH_KIB;
    room->debt = 0;
    if (lua_gc(L, LUA_GCSTEP, (int)kib)) room->base = room->live;
}

void gbl_array_drive(lua_State *L, int64_t bytes)
{
    drive(L, room_of(L), bytes);
}

/* ---- arrays ---- */

static void adopt(lua_State *L, arrays *room, gbl_array *array, gb_block *block, size_t offset,
                  int64_t count, uint32_t type)
{
    array->data = (char *)block->data + offset;
    array->count = count;
    array->block = block;
    array->type = type;
    array->flags = GBL_ARRAY_COUNTED;
    room->live += (int64_t)block->bytes;
}

void gbl_array_adopt(lua_State *L, gbl_array *array, gb_block *block, size_t offset, int64_t count,
                     uint32_t type)
{
    adopt(L, room_of(L), array, block, offset, count, type);
}

/* Also the finaliser, called through the FFI table: no Lua in here. */
static void release(arrays *room, gbl_array *array, uint32_t why)
{
    gb_block *block = array->block;
    if (array->flags & GBL_ARRAY_COUNTED) room->live -= (int64_t)block->bytes;
    array->data = NULL;
    array->count = 0;
    array->block = NULL;
    array->flags = why;
    gb_block_unref(block);
}

static void view(gbl_array *to, const gbl_array *from, uint64_t offset_bytes, int64_t count)
{
    to->data = (char *)from->data + offset_bytes;
    to->count = count;
    to->block = gb_block_ref(from->block);
    to->type = from->type;
    to->flags = 0;
}

static void freeze(gbl_array *array)
{
    gb_block_freeze(array->block);
}

static const struct array_api {
    void (*release)(arrays *room, gbl_array *array, uint32_t why);
    void (*view)(gbl_array *to, const gbl_array *from, uint64_t offset_bytes, int64_t count);
    void (*freeze)(gbl_array *array);
} api = {release, view, freeze};

void gbl_array_free(lua_State *L, gbl_array *array, uint32_t why)
{
    if (array->block) release(room_of(L), array, why);
}

static gbl_array *check_array(lua_State *L, arrays *room, int index)
{
    const void *payload = NULL;
    const kind *found = kind_at(room, L, index, &payload);
    if (found->kind != GBL_CDATA_ARRAY)
        gbl_raise(L, "argument %d: expected an array, got %s", index, luaL_typename(L, index));
    return (gbl_array *)payload;
}

/* array_new(array, type, element size, count): fills a fresh handle. true, or nil, message, code.
 */
static int array_new(lua_State *L)
{
    arrays *room = room_here(L);
    gbl_array *array = check_array(L, room, 1);
    uint32_t type = (uint32_t)luaL_checkinteger(L, 2);
    double size = luaL_checknumber(L, 3), count = luaL_checknumber(L, 4);
    double bytes = size * count;
    if (bytes >= 0x1p62) bytes = 0x1p62; /* refused below, by name */
    drive(L, room, (int64_t)bytes < SLACK_BYTES ? (int64_t)bytes : SLACK_BYTES);
    gb_block *block = gb_block_new(room->blocks, (size_t)bytes);
    if (!block) {
        drive(L, room, -1); /* what is unreachable may be what is missing */
        block = gb_block_new(room->blocks, (size_t)bytes);
    }
    if (!block) return gbl_push_error(L, GB_ENOMEM, gb_err_detail());
    adopt(L, room, array, block, 0, (int64_t)count, type);
    lua_pushboolean(L, 1);
    return 1;
}

/* array_copy(fresh array, from, offset bytes, bytes, count) */
static int array_copy(lua_State *L)
{
    arrays *room = room_here(L);
    gbl_array *array = check_array(L, room, 1), *from = check_array(L, room, 2);
    size_t offset = (size_t)luaL_checknumber(L, 3), bytes = (size_t)luaL_checknumber(L, 4);
    offset += (size_t)((char *)from->data - (char *)from->block->data);
    drive(L, room, (int64_t)bytes);
    gb_block *block = gb_block_copy(room->blocks, from->block, offset, bytes);
    if (!block) {
        drive(L, room, -1);
        block = gb_block_copy(room->blocks, from->block, offset, bytes);
    }
    if (!block) return gbl_push_error(L, GB_ENOMEM, gb_err_detail());
    adopt(L, room, array, block, 0, (int64_t)luaL_checknumber(L, 5), from->type);
    lua_pushboolean(L, 1);
    return 1;
}

/* array_adopt(fresh array, block as light userdata, type, count): takes over one reference. */
static int array_adopt(lua_State *L)
{
    arrays *room = room_here(L);
    gbl_array *array = check_array(L, room, 1);
    gb_block *block = lua_touserdata(L, 2);
    adopt(L, room, array, block, 0, (int64_t)luaL_checknumber(L, 4),
          (uint32_t)luaL_checkinteger(L, 3));
    drive(L, room, (int64_t)block->bytes);
    return 0;
}

/* array_stats(): bytes alive behind this state's arrays. */
static int array_stats(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)room_here(L)->live);
    return 1;
}

gb_block *gbl_array_send(lua_State *L, const gbl_array *array, size_t *offset)
{
    GB_CHECK(array->block != NULL);
    size_t at = (size_t)((char *)array->data - (char *)array->block->data);
    if (gb_block_frozen(array->block)) {
        *offset = at;
        return gb_block_ref(array->block);
    }
    *offset = 0;
    size_t bytes = (size_t)array->count * gbl_type_size(L, array->type);
    return gb_block_copy(room_of(L)->blocks, array->block, at, bytes);
}

/* ---- calls into the Lua half, for C that must not raise ---- */

/* fresh(wire): pushes an empty array handle of that type. On the stack: the wire name. */
static int call_lua(lua_State *L, const char *name, int args)
{
    lua_getfield(L, LUA_REGISTRYINDEX, setup_key);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_insert(L, -1 - args);
    int rc = lua_pcall(L, args, 1, 0);
    if (rc == 0) return 1;
    gb_err_set(rc == LUA_ERRMEM ? GB_ENOMEM : GB_EINVAL, "%s",
               lua_isstring(L, -1) ? lua_tostring(L, -1) : "error");
    lua_pop(L, 1);
    return rc == LUA_ERRMEM ? GB_ENOMEM : GB_EINVAL;
}

int gbl_type_find(lua_State *L, const char *wire, uint32_t *out)
{
    if (!lua_checkstack(L, 8)) return GB_ENOMEM;
    lua_pushstring(L, wire);
    int rc = call_lua(L, "type_id", 1);
    if (rc < 0) return rc;
    *out = (uint32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return 0;
}

int gbl_array_push(lua_State *L, gb_block *block, size_t offset, int64_t count, const char *wire)
{
    if (!lua_checkstack(L, 8)) return GB_ENOMEM;
    lua_pushstring(L, wire);
    int rc = call_lua(L, "fresh", 1);
    if (rc < 0) return rc;
    arrays *room = room_of(L);
    gbl_array *array = gbl_array_at(L, -1);
    uint32_t type = array->type;
    size_t size = gbl_type_size(L, type);
    if (size && offset % size) { /* as no array has it: elements would lie across their alignment */
        lua_pop(L, 1);
        return gb_err_set(GB_EINVAL, "elements of %s do not begin at byte %zu",
                          gbl_type_name(L, type), offset);
    }
    if (count < 0 || offset > block->bytes ||
        (size_t)count > (block->bytes - offset) / (size ? size : 1)) {
        lua_pop(L, 1);
        return gb_err_set(GB_EINVAL, "%lld elements of %s do not fit the %zu bytes received",
                          (long long)count, gbl_type_name(L, type), block->bytes);
    }
    adopt(L, room, array, block, offset, count, type);
    room->debt += (int64_t)block->bytes; /* who pushed it drives, once it can be collected */
    return 1;
}

static void push_wide(lua_State *L, const char *name, uint64_t value)
{
    lua_getfield(L, LUA_REGISTRYINDEX, setup_key);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_call(L, 0, 1); /* a fresh cdata; its payload is ours to write */
    memcpy((void *)lua_topointer(L, -1), &value, sizeof value);
}

void gbl_push_int64(lua_State *L, int64_t value)
{
    push_wide(L, "int64", (uint64_t)value);
}

void gbl_push_uint64(lua_State *L, uint64_t value)
{
    push_wide(L, "uint64", value);
}

bool gbl_move_at(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index)) return false;
    lua_getfield(L, LUA_REGISTRYINDEX, move_key);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    if (same) lua_rawgeti(L, index, 1);
    return same;
}

/* array_setup{ fresh =, type_id =, int64 =, uint64 =, move = metatable of markers }, sample,
 * number: the Lua half gives C what it needs of it, and proves that type numbers are where C reads
 * them. */
static int array_setup(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_type(L, 2) != LUA_TCDATA_ ||
        ctype_number(lua_topointer(L, 2)) != (uint32_t)luaL_checkinteger(L, 3))
        return luaL_error(L, "this LuaJIT keeps C type numbers where they cannot be read");
    lua_getfield(L, 1, "move");
    lua_setfield(L, LUA_REGISTRYINDEX, move_key);
    lua_pushvalue(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, setup_key);
    return 0;
}

void gbl_open_array(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"type_name", type_name},     {"type_define", type_define},
        {"type_kind", type_kind},     {"classify", classify},
        {"array_new", array_new},     {"array_copy", array_copy},
        {"array_adopt", array_adopt}, {"array_stats", array_stats},
        {"array_setup", array_setup}, {NULL, NULL},
    };
    arrays *room = lua_newuserdata(L, sizeof *room);
    memset(room, 0, sizeof *room);
    room->mem = gbl_mem(L);
    room->blocks = gbl_of(L)->config.mem;
    lua_newtable(L);
    lua_pushcfunction(L, room_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, room_key);
    for (const luaL_Reg *at = functions; at->name; at++) {
        lua_pushvalue(L, -1);
        lua_pushcclosure(L, at->func, 1);
        lua_setfield(L, -3, at->name);
    }
    lua_pop(L, 1);
    lua_pushlightuserdata(L, room);
    lua_setfield(L, -2, "array_room");
    lua_pushlightuserdata(L, (void *)(uintptr_t)&api);
    lua_setfield(L, -2, "array_api");
}
