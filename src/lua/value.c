/* Values between Lua stacks and bytes, and between two stacks of one state.
 *
 * The bytes are CBOR (wire/cbor.h). Numbers that are whole and below 2^53 travel as integers and
 * come back as Lua numbers; int64 and uint64 cdata, references and arrays are tagged. Arrays do not
 * lie in the bytes within a process: their blocks travel beside them. Both ways refuse the same
 * values and give the same results.
 */
#include "lua/state.h"

#include "base/err.h"
#include "lua/array.h"
#include "wire/cbor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TAG_INT64 = 40001,  /* an integer: int64 cdata */
    TAG_UINT64 = 40002, /* an integer: uint64 cdata */
    TAG_REF = 40003,    /* [type name, key] */
    TAG_ARRAY = 40004,  /* [index of the block, wire name of the type, offset in bytes, count] */
    TAG_BUFFER = 40005, /* [index of the block, wire name of the type] */
    PATH_MAX_BYTES = 400
};

#define WHOLE_MAX 9007199254740992.0 /* 2^53 */

typedef struct walk {
    lua_State *L;
    gbl_state *state;
    gbl_packer *to;
    uint32_t nodes;
    int depth;
    bool dry;        /* moved values stay where they are */
    int moves;       /* how many were met */
    size_t start;    /* of to->bytes */
    const char *why; /* of the refusal */
    int path_size;
    char path[PATH_MAX_BYTES]; /* built from the inside out */
} walk;

/* ---- refusals ---- */

static int refuse(walk *w, const char *why)
{
    w->why = why;
    w->path_size = 0;
    w->path[0] = 0;
    return GB_EINVAL;
}

/* Puts a step before the path, as the walk unwinds. The key is at index. */
static int step(walk *w, int index)
{
    char text[128];
    lua_State *L = w->L;
    if (lua_type(L, index) == LUA_TSTRING)
        snprintf(text, sizeof text, ".%.100s", lua_tostring(L, index));
    else if (lua_type(L, index) == LUA_TNUMBER)
        snprintf(text, sizeof text, "[%.14g]", lua_tonumber(L, index));
    else
        snprintf(text, sizeof text, "[%s]", luaL_typename(L, index));
    int size = (int)strlen(text);
    if (w->path_size + size < PATH_MAX_BYTES) {
        memmove(w->path + size, w->path, (size_t)w->path_size + 1);
        memcpy(w->path, text, (size_t)size);
        w->path_size += size;
    }
    return GB_EINVAL;
}

static int report(walk *w, int rc, const char *what, int number)
{
    if (rc == GB_ENOMEM || !w->why) return rc;
    return gb_err_set(rc, "%s %d%s: %s", what, number, w->path, w->why);
}

static int enter(walk *w)
{
    if (++w->depth > GBL_DEPTH_MAX)
        return refuse(w, "nested more than 100 deep, or it contains itself");
    if (!lua_checkstack(w->L, 8)) return refuse(w, "nested too deep");
    return 0;
}

static int count_node(walk *w)
{
    if (++w->nodes > GBL_NODES_MAX) return refuse(w, "more than 1000000 values in one message");
    return 0;
}

/* ---- what a value is ---- */

typedef enum { IS_PLAIN, IS_REF, IS_REFUSED } table_is;

/* A table with a metatable is a reference, or refused. */
static table_is classify_table(walk *w, int index)
{
    lua_State *L = w->L;
    if (!lua_getmetatable(L, index)) return IS_PLAIN;
    lua_pushliteral(L, "__gb");
    lua_rawget(L, -2);
    const char *kind = lua_tostring(L, -1);
    table_is is = kind && strcmp(kind, "ref") == 0 ? IS_REF : IS_REFUSED;
    lua_pop(L, 2);
    return is;
}

static const char *refusal_of_table(walk *w, int index)
{
    lua_State *L = w->L;
    lua_getmetatable(L, index);
    lua_pushliteral(L, "__gb");
    lua_rawget(L, -2);
    const char *kind = lua_tostring(L, -1);
    const char *why = "a table with a metatable";
    if (kind && strcmp(kind, "future") == 0) why = "a future (await it, and send its result)";
    if (kind && strcmp(kind, "kernels") == 0) why = "kernels (each grain opens its own)";
    lua_pop(L, 2);
    return why;
}

/* ---- encode ---- */

static int encode_value(walk *w, int index);

static int encode_number(walk *w, double number)
{
    bool whole =
        number == floor(number) && fabs(number) < WHOLE_MAX && !(number == 0 && signbit(number));
    return whole ? gb_cbor_put_int(w->to->bytes, (int64_t)number)
                 : gb_cbor_put_double(w->to->bytes, number);
}

static int attach(walk *w, gb_block *block, uint32_t *index)
{
    gbl_packer *to = w->to;
    gb_block **grown = realloc(*to->blocks, (*to->block_count + 1) * sizeof *grown);
    if (!grown) {
        gb_block_unref(block);
        return gb_err_set(GB_ENOMEM, "out of memory: a message");
    }
    *to->blocks = grown;
    *index = *to->block_count;
    grown[(*to->block_count)++] = block;
    return 0;
}

static int put_name(gb_buf *out, const char *name)
{
    return gb_cbor_put_text(out, name, strlen(name));
}

static int encode_array(walk *w, gbl_array *array, bool move)
{
    gb_buf *out = w->to->bytes;
    int64_t count = array->count;
    uint32_t type = array->type, at;
    size_t offset;
    if (array->flags & (GBL_ARRAY_FREED | GBL_ARRAY_MOVED))
        return refuse(w, array->flags & GBL_ARRAY_MOVED ? "an array that was moved"
                                                        : "an array that was freed");
    gb_block *block = gbl_array_send(w->L, array, move, &offset);
    if (!block) return GB_ENOMEM;
    int rc = attach(w, block, &at);
    if (rc < 0 || (rc = gb_cbor_put_tag(out, TAG_ARRAY)) < 0 ||
        (rc = gb_cbor_put_list(out, 4)) < 0 || (rc = gb_cbor_put_uint(out, at)) < 0 ||
        (rc = put_name(out, gbl_type_wire(w->L, type))) < 0 ||
        (rc = gb_cbor_put_uint(out, offset)) < 0)
        return rc;
    return gb_cbor_put_int(out, count);
}

static void buffer_release(void *user, void *data, size_t bytes)
{
    (void)user;
    (void)bytes;
    gbl_buffer_drop(data);
    free(data);
}

static int encode_buffer(walk *w, gbl_buffer *buffer, bool move)
{
    gbl_buffer *sent = calloc(1, sizeof *sent);
    if (!sent) return gb_err_set(GB_ENOMEM, "out of memory: a message");
    uint32_t type = buffer->type, at;
    int rc = gbl_buffer_send(w->L, buffer, move, sent);
    if (rc < 0) {
        free(sent);
        return rc == GB_ENOMEM ? rc : refuse(w, gb_err_detail());
    }
    gb_block *block = gb_block_wrap(w->state->config.mem, sent, sizeof *sent, buffer_release, NULL);
    if (!block) {
        gbl_buffer_drop(sent);
        free(sent);
        return GB_ENOMEM;
    }
    gb_buf *out = w->to->bytes;
    if ((rc = attach(w, block, &at)) < 0 || (rc = gb_cbor_put_tag(out, TAG_BUFFER)) < 0 ||
        (rc = gb_cbor_put_list(out, 2)) < 0 || (rc = gb_cbor_put_uint(out, at)) < 0)
        return rc;
    return put_name(out, gbl_type_wire(w->L, type));
}

static int encode_moved(walk *w)
{
    w->moves++;
    if (w->dry) return gb_cbor_put_nil(w->to->bytes);
    gbl_array *array = gbl_array_at(w->L, -1);
    if (array) return encode_array(w, array, true);
    gbl_buffer *buffer = gbl_buffer_at(w->L, -1);
    return buffer ? encode_buffer(w, buffer, true)
                  : refuse(w, "gb.move of something that is no array or buffer");
}

static int encode_cdata(walk *w, int index)
{
    gb_buf *out = w->to->bytes;
    int rc;
    switch (gbl_cdata_at(w->L, index)) {
    case GBL_CDATA_INT64:
        rc = gb_cbor_put_tag(out, TAG_INT64);
        return rc < 0 ? rc : gb_cbor_put_int(out, (int64_t)gbl_int64_at(w->L, index));
    case GBL_CDATA_UINT64:
        rc = gb_cbor_put_tag(out, TAG_UINT64);
        return rc < 0 ? rc : gb_cbor_put_uint(out, gbl_int64_at(w->L, index));
    case GBL_CDATA_ARRAY:
        return encode_array(w, gbl_array_at(w->L, index), false);
    case GBL_CDATA_ELEMENT:
    case GBL_CDATA_ELEMENT_REF:
        return refuse(w, "a vector or struct by itself (send its fields, or an array of it)");
    default:
        return refuse(w, "cdata");
    }
}

static int encode_ref(walk *w, int index)
{
    lua_State *L = w->L;
    gb_buf *out = w->to->bytes;
    int rc = gb_cbor_put_tag(out, TAG_REF);
    if (rc < 0 || (rc = gb_cbor_put_list(out, 2)) < 0) return rc;
    lua_getmetatable(L, index);
    lua_pushliteral(L, "__type");
    lua_rawget(L, -2);
    rc = put_name(out, lua_tostring(L, -1));
    lua_pop(L, 2);
    if (rc < 0) return rc;
    lua_rawgeti(L, index, 1);
    rc = encode_value(w, lua_gettop(L));
    lua_pop(L, 1);
    return rc;
}

/* How many pairs a table has. As many as its length: they are the items of a list and nothing else.
 */
static uint64_t count_pairs(lua_State *L, int index)
{
    uint64_t pairs = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) pairs++;
    return pairs;
}

static int encode_list(walk *w, int index, size_t count)
{
    lua_State *L = w->L;
    int rc = gb_cbor_put_list(w->to->bytes, count);
    for (size_t i = 1; i <= count && rc >= 0; i++) {
        lua_rawgeti(L, index, (int)i);
        rc = encode_value(w, lua_gettop(L));
        lua_pop(L, 1);
        if (rc == GB_EINVAL) {
            lua_pushinteger(L, (lua_Integer)i);
            step(w, -1);
            lua_pop(L, 1);
        }
    }
    return rc;
}

static int encode_pairs(walk *w, int index, uint64_t pairs)
{
    lua_State *L = w->L;
    int rc = gb_cbor_put_map(w->to->bytes, pairs);
    if (rc < 0) return rc;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        int key = lua_gettop(L) - 1, type = lua_type(L, key);
        if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN)
            rc = refuse(w, "a key that is no string, number or boolean");
        else
            rc = encode_value(w, key);
        if (rc >= 0) rc = encode_value(w, key + 1);
        if (rc < 0) {
            if (rc == GB_EINVAL) step(w, key);
            lua_pop(L, 2);
            return rc;
        }
    }
    return 0;
}

static int encode_table(walk *w, int index)
{
    lua_State *L = w->L;
    int top = lua_gettop(L), rc;
    if (lua_getmetatable(L, index)) {
        lua_pop(L, 1);
        if (gbl_move_at(L, index)) {
            rc = encode_moved(w);
            lua_settop(L, top);
            return rc;
        }
        gbl_buffer *buffer = gbl_buffer_at(L, index);
        if (buffer) return encode_buffer(w, buffer, false);
        return classify_table(w, index) == IS_REF ? encode_ref(w, index)
                                                  : refuse(w, refusal_of_table(w, index));
    }
    rc = enter(w);
    if (rc < 0) return rc;
    uint64_t pairs = count_pairs(L, index);
    bool list = pairs > 0 && pairs == lua_objlen(L, index);
    rc = list ? encode_list(w, index, (size_t)pairs) : encode_pairs(w, index, pairs);
    w->depth--;
    return rc;
}

static int encode_value(walk *w, int index)
{
    lua_State *L = w->L;
    gb_buf *out = w->to->bytes;
    size_t size;
    const char *text;
    int rc = count_node(w);
    if (rc < 0) return rc;
    if (out->size - w->start > GBL_BYTES_MAX)
        return refuse(w, "more than 64 MiB in one message (arrays beside it)");
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return gb_cbor_put_nil(out);
    case LUA_TBOOLEAN:
        return gb_cbor_put_bool(out, lua_toboolean(L, index));
    case LUA_TNUMBER:
        return encode_number(w, lua_tonumber(L, index));
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &size);
        if (size > GBL_BYTES_MAX) return refuse(w, "a string of more than 64 MiB");
        return gb_cbor_put_bytes(out, text, size);
    case LUA_TTABLE:
        return encode_table(w, index);
    case LUA_TUSERDATA: {
        gbl_buffer *buffer = gbl_buffer_at(L, index);
        if (buffer) return encode_buffer(w, buffer, false);
        return refuse(w, "userdata");
    }
    case 10:
        return encode_cdata(w, index);
    default:
        return refuse(w, luaL_typename(L, index));
    }
}

static int encode_all(walk *w, int first, int count, const char *what)
{
    if (!lua_checkstack(w->L, 16)) return gb_err_set(GB_ENOMEM, "out of memory: the Lua stack");
    for (int i = 0; i < count; i++) {
        int top = lua_gettop(w->L), rc = encode_value(w, first + i);
        lua_settop(w->L, top);
        if (rc < 0) return report(w, rc, what, i + 1);
    }
    return 0;
}

static void forget(walk *w, uint32_t blocks)
{
    w->to->bytes->size = w->start;
    while (*w->to->block_count > blocks) gb_block_unref((*w->to->blocks)[--*w->to->block_count]);
}

int gbl_encode(lua_State *L, int first, int count, gbl_packer *to, const char *what)
{
    walk w = {.L = L, .state = gbl_of(L), .to = to, .dry = true, .start = to->bytes->size};
    uint32_t blocks = *to->block_count;
    int rc = encode_all(&w, first, count, what);
    if (rc >= 0 && w.moves) { /* all of it can be sent: now the moved ones go for good */
        forget(&w, blocks);
        w.dry = false;
        w.nodes = 0;
        rc = encode_all(&w, first, count, what);
    }
    if (rc < 0) forget(&w, blocks);
    return rc;
}

/* ---- decode ---- */

typedef struct unpack {
    lua_State *L;
    gb_cbor in;
    gb_block **blocks;
    uint32_t block_count, nodes;
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

static int decode_list(unpack *u, uint64_t count)
{
    lua_State *L = u->L;
    lua_createtable(L, count < 65536 ? (int)count : 65536, 0);
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
    lua_createtable(L, 0, pairs < 65536 ? (int)pairs : 65536);
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

static int decode_ref(unpack *u)
{
    lua_State *L = u->L;
    gb_cbor_token list, name;
    int rc = next_of_kind(u, &list, GB_CBOR_LIST);
    if (rc < 0 || (rc = next_of_kind(u, &name, GB_CBOR_TEXT)) < 0) return rc;
    if (list.natural != 2) return broken("a reference of another shape");
    lua_rawgeti(L, LUA_REGISTRYINDEX, gbl_of(L)->core_ref);
    lua_getfield(L, -1, "make_ref");
    lua_remove(L, -2);
    lua_pushlstring(L, (const char *)name.bytes, name.size);
    if ((rc = decode_value(u)) < 0) return rc;
    int type = lua_type(L, -1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        return broken("a reference whose key is no key");
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
        !u->blocks[index.integer] || name.size >= room)
        return broken("an array without its bytes");
    memcpy(wire, name.bytes, name.size);
    wire[name.size] = 0;
    *out = &u->blocks[index.integer];
    return 0;
}

static int decode_array(unpack *u)
{
    char wire[4096];
    gb_block **block;
    gb_cbor_token offset, count;
    int rc = decode_block(u, 4, &block, wire, sizeof wire);
    if (rc < 0 || (rc = next_of_kind(u, &offset, GB_CBOR_INT)) < 0 ||
        (rc = next_of_kind(u, &count, GB_CBOR_INT)) < 0)
        return rc;
    rc = gbl_array_push(u->L, *block, (size_t)offset.integer, count.integer, wire);
    if (rc >= 0) *block = NULL;
    return rc < 0 ? rc : 0;
}

static int decode_buffer(unpack *u)
{
    char wire[4096];
    gb_block **block;
    int rc = decode_block(u, 2, &block, wire, sizeof wire);
    if (rc < 0) return rc;
    if ((*block)->bytes != sizeof(gbl_buffer)) return broken("a buffer without its handle");
    gbl_buffer *sent = (*block)->data;
    rc = gbl_buffer_push(u->L, sent, wire);
    if (rc < 0) return rc;
    *sent = (gbl_buffer){0}; /* taken over */
    return 0;
}

static int decode_tag(unpack *u, uint64_t tag)
{
    gb_cbor_token token;
    int rc;
    switch (tag) {
    case TAG_INT64:
        if ((rc = next_of_kind(u, &token, GB_CBOR_INT)) < 0) return rc;
        gbl_push_int64(u->L, token.integer);
        return 0;
    case TAG_UINT64:
        if ((rc = gb_cbor_next(&u->in, &token)) < 0) return rc;
        if (token.kind != GB_CBOR_UINT && (token.kind != GB_CBOR_INT || token.integer < 0))
            return broken("an unsigned integer that is none");
        gbl_push_uint64(u->L, token.kind == GB_CBOR_UINT ? token.natural : (uint64_t)token.integer);
        return 0;
    case TAG_REF:
        return decode_ref(u);
    case TAG_ARRAY:
        return decode_array(u);
    case TAG_BUFFER:
        return decode_buffer(u);
    default:
        return broken("an unknown tag");
    }
}

static int decode_nested(unpack *u, const gb_cbor_token *token)
{
    if (++u->depth > GBL_DEPTH_MAX) return broken("nested more than 100 deep");
    if (!lua_checkstack(u->L, 8)) return gb_err_set(GB_ENOMEM, "out of memory: the Lua stack");
    int rc = token->kind == GB_CBOR_LIST  ? decode_list(u, token->natural)
             : token->kind == GB_CBOR_MAP ? decode_map(u, token->natural)
                                          : decode_tag(u, token->natural);
    u->depth--;
    return rc;
}

static int decode_value(unpack *u)
{
    lua_State *L = u->L;
    gb_cbor_token token;
    int rc = gb_cbor_next(&u->in, &token);
    if (rc < 0) return rc;
    if (++u->nodes > GBL_NODES_MAX) return broken("more than 1000000 values");
    switch (token.kind) {
    case GB_CBOR_NIL:
        lua_pushnil(L);
        return 0;
    case GB_CBOR_BOOL:
        lua_pushboolean(L, token.boolean);
        return 0;
    case GB_CBOR_INT:
        lua_pushnumber(L, (double)token.integer);
        return 0;
    case GB_CBOR_UINT:
        lua_pushnumber(L, (double)token.natural);
        return 0;
    case GB_CBOR_DOUBLE:
        lua_pushnumber(L, token.number);
        return 0;
    case GB_CBOR_BYTES:
    case GB_CBOR_TEXT:
        lua_pushlstring(L, (const char *)token.bytes, token.size);
        return 0;
    case GB_CBOR_END:
        return broken("it ends too early");
    default:
        return decode_nested(u, &token);
    }
}

int gbl_decode(lua_State *L, const void *bytes, size_t size, gb_block **blocks,
               uint32_t block_count)
{
    unpack u = {.L = L, .blocks = blocks, .block_count = block_count};
    gb_cbor_init(&u.in, bytes, size);
    int count = 0, base = lua_gettop(L);
    while (u.in.at < u.in.end) {
        if (!lua_checkstack(L, 8)) return gb_err_set(GB_ENOMEM, "out of memory: the Lua stack");
        int rc = decode_value(&u);
        if (rc < 0) {
            lua_settop(L, base);
            return rc;
        }
        count++;
    }
    return count;
}

/* ---- copy within a state ---- */

typedef struct copier {
    lua_State *from;
    uint32_t nodes;
    int depth;
} copier;

static bool copy_value(copier *c, int index);

enum { PAIRS_AT_ONCE = 24 };

/* Nested values in the slots first .. top are replaced by copies of them; scalars stay. */
static bool copy_slots(copier *c, int first, int top)
{
    lua_State *L = c->from;
    for (int slot = first; slot <= top; slot++) {
        int type = lua_type(L, slot);
        if (type <= LUA_TSTRING && type != LUA_TLIGHTUSERDATA) continue;
        if ((slot - first) % 2 == 0 || !copy_value(c, slot))
            return false; /* a key must be a scalar */
        lua_replace(L, slot);
    }
    return true;
}

/* The pairs are first gathered on the stack, so that the new table is made with room for all of
 * them: growing one by one costs more than everything else. */
static bool copy_table(copier *c, int index)
{
    lua_State *L = c->from;
    if (++c->depth > GBL_DEPTH_MAX || !lua_checkstack(L, 2 * PAIRS_AT_ONCE + 8)) return false;
    size_t items = lua_objlen(L, index);
    lua_pushnil(L);
    int copy = lua_gettop(L), made = 0;
    lua_pushnil(L);
    int more = lua_next(L, index);
    for (;;) {
        int pairs = 0;
        while (more && pairs < PAIRS_AT_ONCE) {
            pairs++;
            lua_pushvalue(L, -2);
            more = lua_next(L, index);
        }
        /* [copy] k v k v ... and, when there are more, the next k v on top */
        int top = copy + 2 * pairs;
        if ((c->nodes += (uint32_t)pairs) > GBL_NODES_MAX || !copy_slots(c, copy + 1, top))
            return false;
        if (!made) {
            int list = items < 65536 ? (int)items : 65536, rest = more ? 2 * pairs : pairs;
            lua_createtable(L, list, rest > list ? rest - list : 0);
            lua_replace(L, copy);
            made = 1;
        }
        for (int i = 0; i < pairs; i++) {
            if (more) {
                lua_pushvalue(L, copy + 1 + 2 * i);
                lua_pushvalue(L, copy + 2 + 2 * i);
            }
            lua_rawset(L, copy);
        }
        if (!more) break;
        lua_replace(L, copy + 2); /* the value, then the key, down to where pairs begin */
        lua_replace(L, copy + 1);
        lua_settop(L, copy + 2);
    }
    lua_settop(L, copy);
    c->depth--;
    return true;
}

static bool copy_array(copier *c, int index)
{
    lua_State *L = c->from;
    gbl_array *array = gbl_array_at(L, index);
    size_t offset;
    if (array->flags & (GBL_ARRAY_FREED | GBL_ARRAY_MOVED)) return false;
    gb_block *block = gbl_array_send(L, array, false, &offset);
    if (!block) return false;
    if (gbl_array_push(L, block, offset, array->count, gbl_type_wire(L, array->type)) < 0) {
        gb_block_unref(block);
        return false;
    }
    return true;
}

/* Pushes a copy on the same stack. False: refused or special; the bytes' way tells. The stack may
 * hold rests. */
static bool copy_value(copier *c, int index)
{
    lua_State *L = c->from;
    if (++c->nodes > GBL_NODES_MAX) return false;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
    case LUA_TSTRING:
        lua_pushvalue(L, index);
        return true;
    case LUA_TTABLE:
        if (lua_getmetatable(L, index)) {
            lua_pop(L, 1);
            walk w = {.L = L};
            if (classify_table(&w, index) != IS_REF) return false;
            lua_pushvalue(L, index); /* a reference never changes */
            return true;
        }
        return copy_table(c, index);
    case 10:
        switch (gbl_cdata_at(L, index)) {
        case GBL_CDATA_INT64:
        case GBL_CDATA_UINT64:
            lua_pushvalue(L, index);
            return true;
        case GBL_CDATA_ARRAY:
            return copy_array(c, index);
        default:
            return false;
        }
    default:
        return false;
    }
}

bool gbl_copy(lua_State *L, int first, int count)
{
    copier c = {.from = L};
    int top = lua_gettop(L);
    if (!lua_checkstack(L, count + 8)) return false;
    for (int i = 0; i < count; i++)
        if (!copy_value(&c, first + i)) {
            lua_settop(L, top);
            return false;
        }
    return true;
}
