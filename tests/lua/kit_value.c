#include "kit_value.h"

#include "base/check.h"
#include "base/err.h"
#include "lua/array.h"
#include "lua/value.h"

#include <stdlib.h>
#include <string.h>

typedef struct decoding {
    const void *bytes;
    size_t size;
    gb_block **blocks;
    uint32_t block_count;
    gbl_from from;
    int count;
} decoding;

static int decode_protected(lua_State *L)
{
    decoding *d = lua_touserdata(L, 1);
    int top = lua_gettop(L);
    d->count = gbl_decode(L, d->bytes, d->size, d->blocks, d->block_count, d->from);
    int more = lua_gettop(L) - top;
    GB_CHECK(more == (d->count > 0 ? d->count : 0));
    return more;
}

int kit_decode(gbl_state *state, const void *bytes, size_t size, gb_block **blocks,
               uint32_t block_count, gbl_from from)
{
    decoding d = {bytes, size, blocks, block_count, from, 0};
    lua_State *L = state->L;
    int top = lua_gettop(L);
    lua_pushcfunction(L, decode_protected);
    lua_pushlightuserdata(L, &d);
    if (lua_pcall(L, 1, LUA_MULTRET, 0) != 0)
        gb_panic(__FILE__, __LINE__, "gbl_decode raised: %s", lua_tostring(L, -1));
    GB_CHECK(lua_gettop(L) - top == (d.count > 0 ? d.count : 0));
    return d.count;
}

int kit_encode(gbl_state *state, int first, int count, kit_message *out)
{
    memset(out, 0, sizeof *out);
    gb_buf_init(&out->bytes, &state->mem);
    gbl_packer to = {&out->bytes, &out->blocks, &out->block_count};
    int top = lua_gettop(state->L), rc = gbl_encode(state->L, first, count, &to, "value");
    GB_CHECK(lua_gettop(state->L) == top);
    GB_CHECK(rc >= 0 || (out->bytes.size == 0 && out->block_count == 0));
    return rc;
}

void kit_message_free(kit_message *message)
{
    for (uint32_t i = 0; i < message->block_count; i++) gb_block_unref(message->blocks[i]);
    free(message->blocks);
    gb_buf_fini(&message->bytes);
}

static bool same_numbers(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static bool same_arrays(lua_State *L, const gbl_array *a, const gbl_array *b)
{
    size_t bytes = (size_t)a->count * gbl_type_size(L, a->type);
    return a->count == b->count && a->type == b->type &&
           (bytes == 0 || memcmp(a->data, b->data, bytes) == 0);
}

static bool same_cdata(lua_State *L, int a, int b)
{
    gbl_cdata_kind kind = gbl_cdata_at(L, a);
    if (kind != gbl_cdata_at(L, b)) return false;
    if (kind == GBL_CDATA_ARRAY) return same_arrays(L, gbl_array_at(L, a), gbl_array_at(L, b));
    return (kind == GBL_CDATA_INT64 || kind == GBL_CDATA_UINT64) &&
           gbl_int64_at(L, a) == gbl_int64_at(L, b);
}

static bool same_buffers(const gbl_buffer *a, const gbl_buffer *b)
{
    return a && b && a->buffer == b->buffer && a->count == b->count && a->type == b->type;
}

/* Type and key. */
static bool same_refs(lua_State *L, int a, int b)
{
    int top = lua_gettop(L);
    lua_getmetatable(L, a);
    lua_getfield(L, -1, "__type");
    lua_getmetatable(L, b);
    lua_getfield(L, -1, "__type");
    lua_rawgeti(L, a, 1);
    lua_rawgeti(L, b, 1);
    bool same = lua_rawequal(L, top + 2, top + 4) && lua_rawequal(L, top + 5, top + 6);
    lua_settop(L, top);
    return same;
}

static int pairs_of(lua_State *L, int index)
{
    int pairs = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) pairs++;
    return pairs;
}

static bool same_tables(lua_State *L, int a, int b)
{
    if (gbl_table_at(L, a) != gbl_table_at(L, b)) return false;
    if (gbl_table_at(L, a) == GBL_TABLE_REF) return same_refs(L, a, b);
    int rc = lua_checkstack(L, 8), top = lua_gettop(L);
    GB_CHECK(rc != 0);
    if (pairs_of(L, a) != pairs_of(L, b)) return false;
    for (lua_pushnil(L); lua_next(L, a); lua_settop(L, top + 1)) {
        lua_pushvalue(L, top + 1);
        lua_rawget(L, b);
        if (!kit_same(L, top + 2, top + 3)) {
            lua_settop(L, top);
            return false;
        }
    }
    return true;
}

bool kit_same(lua_State *L, int a, int b)
{
    if (lua_type(L, a) != lua_type(L, b)) return false;
    switch (lua_type(L, a)) {
    case LUA_TNUMBER:
        return same_numbers(lua_tonumber(L, a), lua_tonumber(L, b));
    case LUA_TTABLE:
        return same_tables(L, a, b);
    case LUA_TUSERDATA:
        return same_buffers(gbl_buffer_at(L, a), gbl_buffer_at(L, b));
    case GBL_TCDATA:
        return same_cdata(L, a, b);
    default:
        return lua_rawequal(L, a, b);
    }
}

int64_t kit_collect(gbl_state *state)
{
    lua_gc(state->L, LUA_GCCOLLECT, 0);
    lua_gc(state->L, LUA_GCCOLLECT, 0); /* what finalisers held */
    return gbl_alloc_bytes(state->alloc);
}
