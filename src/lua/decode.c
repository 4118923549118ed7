/* Bytes as values on a Lua stack. The bytes may be anybody's: nothing here trusts them. */
#include "lua/value.h"

#include "base/err.h"
#include "lua/array.h"
#include "wire/cbor.h"

#include <stdio.h>
#include <string.h>

enum { KEY_BYTES_MAX = 1024 };

#define WHOLE_MAX (INT64_C(1) << 53)

enum { ROOM_MAX = 65536 };

typedef struct unpack {
    lua_State *L;
    gb_cbor in;
    gb_block **blocks;
    uint32_t block_count;
    gbl_from from;
    size_t room; /* items that tables may still be made for at once: never more than the bytes */
    int depth;
} unpack;

static int decode_value(unpack *u);

static int broken(const char *why)
{
    return gb_err_set(GB_EINVAL, "a message that cannot be read: %s", why);
}

static int next_of_kind(unpack *u, gb_cbor_token *token, gb_cbor_kind kind)
{
    int rc = gb_cbor_next(&u->in, token);
    if (rc < 0) return rc;
    if (token->kind != kind) return broken("another token than expected");
    return 0;
}

/* Counts are claims. Tables that are nested claim the same bytes again and again, so all of them
 * together get room for as many items as there are bytes. */
static int take_room(unpack *u, uint64_t count)
{
    size_t room = count < u->room ? (size_t)count : u->room;
    if (room > ROOM_MAX) room = ROOM_MAX;
    u->room -= room;
    return (int)room;
}

static int decode_list(unpack *u, uint64_t count)
{
    lua_State *L = u->L;
    lua_createtable(L, take_room(u, count), 0);
    for (uint64_t i = 1; i <= count; i++) {
        int rc = decode_value(u);
        if (rc < 0) return rc;
        lua_rawseti(L, -2, (int)i);
    }
    return 0;
}

static int decode_map(unpack *u, uint64_t pairs)
{
    lua_State *L = u->L;
    lua_createtable(L, 0, take_room(u, pairs));
    for (uint64_t i = 0; i < pairs; i++) {
        int rc = decode_value(u);
        if (rc < 0) return rc;
        int type = lua_type(L, -1);
        if (type != LUA_TSTRING && type != LUA_TBOOLEAN &&
            (type != LUA_TNUMBER || lua_tonumber(L, -1) != lua_tonumber(L, -1)))
            return broken("a key that is no string, number or boolean");
        if ((rc = decode_value(u)) < 0) return rc;
        lua_rawset(L, -3);
    }
    return 0;
}

/* A text that is written as an integer is one, so that each key has one form (ref.lua). */
static bool is_integer(const gb_cbor_token *text, int64_t *out)
{
    const uint8_t *at = text->bytes, *end = at + text->size;
    bool negative = *at == '-';
    at += negative;
    if (end - at < 1 || end - at > 16 || (*at == '0' && (negative || end - at > 1))) return false;
    int64_t value = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9') return false;
        value = value * 10 + (*at - '0');
    }
    *out = negative ? -value : value;
    return value < WHOLE_MAX;
}

/* As references keep it: a whole number that a double holds, or a text. */
static int decode_key(unpack *u)
{
    gb_cbor_token key;
    char text[24];
    int rc = gb_cbor_next(&u->in, &key);
    if (rc < 0) return rc;
    int64_t integer;
    if (key.kind == GB_CBOR_BYTES && key.size > 0 && is_integer(&key, &integer))
        lua_pushnumber(u->L, (double)integer);
    else if (key.kind == GB_CBOR_INT && key.integer < WHOLE_MAX && key.integer > -WHOLE_MAX)
        lua_pushnumber(u->L, (double)key.integer);
    else if (key.kind == GB_CBOR_INT)
        lua_pushlstring(u->L, text,
                        (size_t)snprintf(text, sizeof text, "%lld", (long long)key.integer));
    else if (key.kind == GB_CBOR_BYTES && key.size > 0 && key.size <= KEY_BYTES_MAX)
        lua_pushlstring(u->L, (const char *)key.bytes, key.size);
    else
        return broken("a reference whose key is no key");
    return 0;
}

static int decode_ref(unpack *u)
{
    lua_State *L = u->L;
    gb_cbor_token list, name;
    int rc = next_of_kind(u, &list, GB_CBOR_LIST);
    if (rc < 0 || (rc = next_of_kind(u, &name, GB_CBOR_TEXT)) < 0) return rc;
    if (list.natural != 2 || name.size == 0 || memchr(name.bytes, 0, name.size))
        return broken("a reference of another shape");
    lua_rawgeti(L, LUA_REGISTRYINDEX, gbl_of(L)->core_ref);
    lua_getfield(L, -1, "make_ref");
    lua_remove(L, -2);
    lua_pushlstring(L, (const char *)name.bytes, name.size);
    if ((rc = decode_key(u)) < 0) return rc;
    lua_call(L, 2, 1);
    return 0;
}

/* The block an array or buffer names, and the wire name of its type as a C string (at most room
 * bytes). */
static int decode_block(unpack *u, uint64_t items, gb_block ***out, char *wire, size_t room)
{
    gb_cbor_token list, index, name;
    int rc = next_of_kind(u, &list, GB_CBOR_LIST);
    if (rc < 0 || (rc = next_of_kind(u, &index, GB_CBOR_INT)) < 0 ||
        (rc = next_of_kind(u, &name, GB_CBOR_TEXT)) < 0)
        return rc;
    if (list.natural != items || index.integer < 0 || index.integer >= u->block_count ||
        !u->blocks[index.integer])
        return broken("an array without its bytes");
    if (name.size == 0 || name.size >= room || memchr(name.bytes, 0, name.size))
        return broken("an array whose type has no such name");
    memcpy(wire, name.bytes, name.size);
    wire[name.size] = 0;
    *out = &u->blocks[index.integer];
    return 0;
}

static int decode_array(unpack *u)
{
    char wire[GBL_WIRE_MAX + 1];
    gb_block **block;
    gb_cbor_token offset, count;
    int rc = decode_block(u, 4, &block, wire, sizeof wire);
    if (rc < 0 || (rc = next_of_kind(u, &offset, GB_CBOR_INT)) < 0 ||
        (rc = next_of_kind(u, &count, GB_CBOR_INT)) < 0)
        return rc;
    if (gbl_holds_buffer(*block)) return broken("an array without its bytes");
    rc = gbl_array_push(u->L, *block, (size_t)offset.integer, count.integer, wire);
    if (rc < 0) return rc;
    *block = NULL;
    gbl_array_drive(u->L, 0); /* who only receives drives the collector too */
    return 0;
}

static int decode_buffer(unpack *u)
{
    char wire[GBL_WIRE_MAX + 1];
    gb_block **block;
    if (u->from != GBL_FROM_HERE) return broken("a buffer of another process");
    int rc = decode_block(u, 2, &block, wire, sizeof wire);
    if (rc < 0) return rc;
    if (!gbl_holds_buffer(*block)) return broken("a buffer without its handle");
    gbl_buffer *sent = (*block)->data;
    rc = gbl_buffer_push(u->L, sent, wire);
    if (rc < 0) return rc;
    *sent = (gbl_buffer){0}; /* taken over */
    gb_block_unref(*block);
    *block = NULL;
    return 0;
}

static int decode_tag(unpack *u, uint64_t tag)
{
    gb_cbor_token token;
    int rc;
    switch (tag) {
    case GBL_TAG_INT64:
        if ((rc = next_of_kind(u, &token, GB_CBOR_INT)) < 0) return rc;
        gbl_push_int64(u->L, token.integer);
        return 0;
    case GBL_TAG_UINT64:
        if ((rc = gb_cbor_next(&u->in, &token)) < 0) return rc;
        if (token.kind != GB_CBOR_UINT && (token.kind != GB_CBOR_INT || token.integer < 0))
            return broken("an unsigned integer that is none");
        gbl_push_uint64(u->L, token.kind == GB_CBOR_UINT ? token.natural : (uint64_t)token.integer);
        return 0;
    case GBL_TAG_REF:
        return decode_ref(u);
    case GBL_TAG_ARRAY:
        return decode_array(u);
    case GBL_TAG_BUFFER:
        return decode_buffer(u);
    default:
        return broken("an unknown tag");
    }
}

static int decode_table(unpack *u, const gb_cbor_token *token)
{
    if (++u->depth > GBL_DEPTH_MAX) return broken("nested more than 100 deep");
    if (!lua_checkstack(u->L, 8)) return gb_err_set(GB_ENOMEM, "out of memory: the Lua stack");
    int rc = token->kind == GB_CBOR_LIST ? decode_list(u, token->natural)
                                         : decode_map(u, token->natural);
    u->depth--;
    return rc;
}

/* False: it is none. */
static inline bool push_scalar(lua_State *L, const gb_cbor_token *token)
{
    switch (token->kind) {
    case GB_CBOR_NIL:
        lua_pushnil(L);
        return true;
    case GB_CBOR_BOOL:
        lua_pushboolean(L, token->boolean);
        return true;
    case GB_CBOR_INT:
        lua_pushnumber(L, (double)token->integer);
        return true;
    case GB_CBOR_UINT:
        lua_pushnumber(L, (double)token->natural);
        return true;
    case GB_CBOR_DOUBLE:
        lua_pushnumber(L, token->number);
        return true;
    default:
        return false;
    }
}

static int decode_value(unpack *u)
{
    lua_State *L = u->L;
    gb_cbor_token token;
    int rc = gb_cbor_next(&u->in, &token);
    if (rc < 0) return rc;
    if (push_scalar(L, &token)) return 0;
    switch (token.kind) {
    case GB_CBOR_BYTES:
    case GB_CBOR_TEXT:
        lua_pushlstring(L, (const char *)token.bytes, token.size);
        return 0;
    case GB_CBOR_END:
        return broken("it ends too early");
    case GB_CBOR_TAG:
        return decode_tag(u, token.natural);
    default:
        return decode_table(u, &token);
    }
}

int gbl_decode_scalars(lua_State *L, const void *bytes, size_t size)
{
    enum { VALUES_MAX = 8, BYTES_EACH = 9 };
    if (size > VALUES_MAX * BYTES_EACH) return -1;
    gb_cbor in;
    gb_cbor_token token;
    gb_cbor_init(&in, bytes, size);
    int count = 0;
    for (; in.at < in.end; count++) {
        if (count < VALUES_MAX && gb_cbor_next(&in, &token) == 0 && push_scalar(L, &token))
            continue;
        lua_pop(L, count);
        return -1;
    }
    return count;
}

int gbl_decode(lua_State *L, const void *bytes, size_t size, gb_block **blocks,
               uint32_t block_count, gbl_from from)
{
    unpack u = {.L = L, .blocks = blocks, .block_count = block_count, .from = from, .room = size};
    gb_cbor_init(&u.in, bytes, size);
    int count = 0, base = lua_gettop(L);
    while (u.in.at < u.in.end) {
        int rc = lua_checkstack(L, 8) ? decode_value(&u) : broken("too many values at once");
        if (rc < 0) {
            lua_settop(L, base);
            return rc;
        }
        count++;
    }
    return count;
}

/* ---- who calls ---- */

size_t gbl_caller_size(const void *bytes, size_t size)
{
    gb_cbor in;
    gb_cbor_token token;
    gb_cbor_init(&in, bytes, size);
    if (gb_cbor_next(&in, &token) < 0 || token.kind != GB_CBOR_TAG ||
        token.natural != GBL_TAG_CALLER || gb_cbor_skip(&in, 4) < 0)
        return 0;
    return (size_t)(in.at - in.start);
}

int gbl_caller_push(lua_State *L, const void *bytes, size_t size)
{
    unpack u = {.L = L};
    gb_cbor_token tag, list, name;
    int top = lua_gettop(L);
    gb_cbor_init(&u.in, bytes, size);
    if (next_of_kind(&u, &tag, GB_CBOR_TAG) < 0 || next_of_kind(&u, &list, GB_CBOR_LIST) < 0 ||
        next_of_kind(&u, &name, GB_CBOR_TEXT) < 0)
        return 0;
    lua_pushlstring(L, (const char *)name.bytes, name.size);
    if (decode_key(&u) < 0) {
        lua_settop(L, top);
        return 0;
    }
    return 2;
}
