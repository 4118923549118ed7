/* Values of a Lua stack as bytes. */
#include "lua/value.h"

#include "base/err.h"
#include "lua/array.h"
#include "wire/cbor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATH_MAX_BYTES = 400,
    LEAVES = 256 /* in the flags of an array or buffer: the message being written moves it */
};

#define WHOLE_MAX 9007199254740992.0 /* 2^53 */

/* What leaves with the message: an array or a buffer. */
typedef struct gbl_moved {
    gbl_array *array;
    gbl_buffer *buffer;
} moved;

typedef struct walk {
    lua_State *L;
    gbl_state *state;
    gbl_packer *to;
    gbl_measure measure;
    gbl_moves *moves;
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
    else if (lua_type(L, index) == LUA_TBOOLEAN)
        snprintf(text, sizeof text, "[%s]", lua_toboolean(L, index) ? "true" : "false");
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
    if (++w->measure.depth > GBL_DEPTH_MAX)
        return refuse(w, "nested more than 100 deep, or it contains itself");
    if (!lua_checkstack(w->L, 8)) return refuse(w, "nested too deep");
    return 0;
}

/* ---- tables with a metatable ---- */

gbl_table_is gbl_table_at(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index)) return GBL_TABLE_PLAIN;
    lua_pushliteral(L, "__gb");
    lua_rawget(L, -2);
    lua_pushliteral(L, "__type");
    lua_rawget(L, -3);
    lua_rawgeti(L, index, 1);
    const char *kind = lua_tostring(L, -3);
    bool whole = lua_type(L, -2) == LUA_TSTRING && lua_isstring(L, -1); /* anybody may write __gb */
    lua_pop(L, 4);
    return whole && kind && strcmp(kind, "ref") == 0 ? GBL_TABLE_REF : GBL_TABLE_REFUSED;
}

static const char *refusal_of_table(lua_State *L, int index)
{
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

/* ---- values ---- */

static int encode_value(walk *w, int index);

static int encode_number(walk *w, double number)
{
    bool whole = fabs(number) < WHOLE_MAX && (double)(int64_t)number == number &&
                 !(number == 0 && signbit(number));
    return whole ? gb_cbor_put_int(w->to->bytes, (int64_t)number)
                 : gb_cbor_put_double(w->to->bytes, number);
}

/* Keys too, which do not count as values. */
static int encode_scalar(walk *w, int index)
{
    lua_State *L = w->L;
    gb_buf *out = w->to->bytes;
    size_t size;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return gb_cbor_put_nil(out);
    case LUA_TBOOLEAN:
        return gb_cbor_put_bool(out, lua_toboolean(L, index));
    case LUA_TNUMBER:
        return encode_number(w, lua_tonumber(L, index));
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &size);
        if ((w->measure.bytes += size) > (uint64_t)w->state->config.message_bytes_max)
            return refuse(w, w->state->too_long);
        return gb_cbor_put_bytes(out, text, size);
    default:
        return refuse(w, luaL_typename(L, index));
    }
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

static int remember_move(walk *w, gbl_array *array, gbl_buffer *buffer)
{
    gbl_moves *moves = w->moves;
    if (moves->count == moves->room) {
        int room = moves->room ? 2 * moves->room : 8;
        moved *grown = realloc(moves->at, (size_t)room * sizeof *grown);
        if (!grown) return gb_err_set(GB_ENOMEM, "out of memory: a message");
        moves->at = grown;
        moves->room = room;
    }
    moves->at[moves->count++] = (moved){array, buffer};
    if (array) array->flags |= LEAVES;
    if (buffer) buffer->flags |= LEAVES;
    return 0;
}

void gbl_moves_end(lua_State *L, gbl_moves *moves, bool sent)
{
    for (int i = 0; i < moves->count; i++) {
        gbl_array *array = moves->at[i].array;
        gbl_buffer *buffer = moves->at[i].buffer;
        if (array) array->flags &= ~(uint32_t)LEAVES;
        if (buffer) buffer->flags &= ~(uint32_t)LEAVES;
        if (sent && array) gbl_array_free(L, array, GBL_ARRAY_MOVED);
        if (sent && buffer) {
            gbl_buffer_drop(buffer);
            buffer->count = 0;
            buffer->flags |= GBL_BUFFER_MOVED;
        }
    }
    free(moves->at);
    *moves = (gbl_moves){0};
}

/* A moved one goes as it is while nobody else holds its bytes; else, and without move, as a copy.
 */
static gb_block *take_array(walk *w, gbl_array *array, bool move, size_t *offset)
{
    if (!move || !gb_block_alone(array->block)) return gbl_array_send(w->L, array, offset);
    *offset = (size_t)((char *)array->data - (char *)array->block->data);
    return gb_block_ref(array->block);
}

static int encode_array(walk *w, gbl_array *array, bool move)
{
    gb_buf *out = w->to->bytes;
    uint32_t at;
    size_t offset;
    if (array->flags & GBL_ARRAY_FREED) return refuse(w, "an array that was freed");
    if (array->flags & (GBL_ARRAY_MOVED | LEAVES)) return refuse(w, "an array that was moved");
    const char *wire = gbl_type_wire(w->L, array->type);
    if (strlen(wire) > GBL_WIRE_MAX) return refuse(w, "an array of a struct with too many fields");
    gb_block *block = take_array(w, array, move, &offset);
    if (!block) return GB_ENOMEM;
    int rc = attach(w, block, &at);
    if (rc < 0 || (rc = gb_cbor_put_tag(out, GBL_TAG_ARRAY)) < 0 ||
        (rc = gb_cbor_put_list(out, 4)) < 0 || (rc = gb_cbor_put_uint(out, at)) < 0 ||
        (rc = put_name(out, wire)) < 0 || (rc = gb_cbor_put_uint(out, offset)) < 0 ||
        (rc = gb_cbor_put_int(out, array->count)) < 0)
        return rc;
    return move ? remember_move(w, array, NULL) : 0;
}

static void buffer_release(void *user, void *data, size_t bytes)
{
    (void)user;
    (void)bytes;
    gbl_buffer_drop(data);
    free(data);
}

bool gbl_holds_buffer(const gb_block *block)
{
    return block->release == buffer_release;
}

static int encode_buffer(walk *w, gbl_buffer *buffer, bool move)
{
    uint32_t at;
    const char *wire = gbl_type_wire(w->L, buffer->type);
    if (buffer->flags & LEAVES) return refuse(w, "the buffer was moved");
    if (strlen(wire) > GBL_WIRE_MAX) return refuse(w, "a buffer of a struct with too many fields");
    gbl_buffer *sent = calloc(1, sizeof *sent);
    if (!sent) return gb_err_set(GB_ENOMEM, "out of memory: a message");
    gbl_buffer handle = *buffer; /* the true one dies with the rest */
    int rc = gbl_buffer_send(w->L, &handle, move, sent);
    if (rc < 0) {
        free(sent);
        return rc == GB_ENOMEM ? rc : refuse(w, gb_err_detail());
    }
    if (move) gb_buffer_ref(sent->buffer);
    gb_block *block = gb_block_wrap(w->state->config.mem, sent, sizeof *sent, buffer_release, NULL);
    if (!block) {
        gbl_buffer_drop(sent);
        free(sent);
        return GB_ENOMEM;
    }
    block->at_home = true;
    gb_buf *out = w->to->bytes;
    if ((rc = attach(w, block, &at)) < 0 || (rc = gb_cbor_put_tag(out, GBL_TAG_BUFFER)) < 0 ||
        (rc = gb_cbor_put_list(out, 2)) < 0 || (rc = gb_cbor_put_uint(out, at)) < 0 ||
        (rc = put_name(out, wire)) < 0)
        return rc;
    return move ? remember_move(w, NULL, buffer) : 0;
}

static int encode_moved(walk *w)
{
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
        rc = gb_cbor_put_tag(out, GBL_TAG_INT64);
        return rc < 0 ? rc : gb_cbor_put_int(out, (int64_t)gbl_int64_at(w->L, index));
    case GBL_CDATA_UINT64:
        rc = gb_cbor_put_tag(out, GBL_TAG_UINT64);
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
    int rc = gb_cbor_put_tag(out, GBL_TAG_REF);
    if (rc < 0 || (rc = gb_cbor_put_list(out, 2)) < 0) return rc;
    lua_getmetatable(L, index);
    lua_pushliteral(L, "__type");
    lua_rawget(L, -2);
    size_t size;
    const char *name = lua_tolstring(L, -1, &size);
    rc = gb_cbor_put_text(out, name, size);
    lua_pop(L, 2);
    if (rc < 0) return rc;
    lua_rawgeti(L, index, 1);
    rc = encode_scalar(w, lua_gettop(L));
    lua_pop(L, 1);
    return rc;
}

/* How many pairs a table has, and whether all of them are the items 1 .. count of a list. */
static uint64_t count_pairs(lua_State *L, int index, bool *list)
{
    uint64_t pairs = 0, items = 0;
    double length = (double)lua_objlen(L, index);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        pairs++;
        double key = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        if (key >= 1 && key <= length && key == floor(key)) items++;
    }
    *list = items == pairs && (double)pairs == length && pairs > 0;
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
            rc = encode_scalar(w, key);
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
        return gbl_table_at(L, index) == GBL_TABLE_REF ? encode_ref(w, index)
                                                       : refuse(w, refusal_of_table(L, index));
    }
    rc = enter(w);
    if (rc < 0) return rc;
    bool list;
    uint64_t pairs = count_pairs(L, index, &list);
    rc = list ? encode_list(w, index, (size_t)pairs) : encode_pairs(w, index, pairs);
    w->measure.depth--;
    return rc;
}

static int encode_value(walk *w, int index)
{
    lua_State *L = w->L;
    gbl_buffer *buffer;
    if (++w->measure.nodes > GBL_NODES_MAX)
        return refuse(w, "more than 1000000 values in one message");
    switch (lua_type(L, index)) {
    case LUA_TTABLE:
        return encode_table(w, index);
    case LUA_TUSERDATA:
        buffer = gbl_buffer_at(L, index);
        return buffer ? encode_buffer(w, buffer, false) : refuse(w, "userdata");
    case GBL_TCDATA:
        return encode_cdata(w, index);
    default:
        return encode_scalar(w, index);
    }
}

int gbl_encode_caller(gbl_packer *to, const gb_act *caller)
{
    gb_buf *out = to->bytes;
    gb_key key = gb_act_key(caller);
    int rc = gb_cbor_put_tag(out, GBL_TAG_CALLER);
    if (rc < 0 || (rc = gb_cbor_put_list(out, 2)) < 0 ||
        (rc = gb_cbor_put_text(out, caller->type->name->text, caller->type->name->size)) < 0)
        return rc;
    return key.text ? gb_cbor_put_bytes(out, key.text, key.size) : gb_cbor_put_int(out, key.number);
}

static int encode_all(walk *w, int first, int count, const char *what)
{
    int i = 0;
    for (; i < count; i++) { /* most calls carry no more than these, which need no stack */
        int type = lua_type(w->L, first + i);
        if (type != LUA_TNUMBER && type != LUA_TBOOLEAN && type != LUA_TNIL) break;
        int rc = encode_scalar(w, first + i);
        if (rc < 0) return rc;
    }
    if (i == count) return 0;
    if (!lua_checkstack(w->L, 16)) return gb_err_set(GB_ENOMEM, "out of memory: the Lua stack");
    for (; i < count; i++) {
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

int gbl_encode_call(lua_State *L, int first, int count, gbl_packer *to, const char *what,
                    gbl_moves *moves)
{
    gbl_state *state = gbl_of(L);
    walk w; /* not all of it: the path is long, and only for refusals */
    w.L = L;
    w.state = state;
    w.to = to;
    w.measure = (gbl_measure){0};
    w.moves = moves;
    w.start = to->bytes->size;
    w.why = NULL;
    w.path_size = 0;
    w.path[0] = 0;
    uint32_t blocks = *to->block_count;
    bool was = gbl_cap(state, false); /* nothing may raise between */
    int rc = encode_all(&w, first, count, what);
    gbl_cap(state, was);
    if (rc < 0) forget(&w, blocks);
    return rc;
}

int gbl_encode(lua_State *L, int first, int count, gbl_packer *to, const char *what)
{
    gbl_moves moves = {0};
    int rc = gbl_encode_call(L, first, count, to, what, &moves);
    gbl_moves_end(L, &moves, rc >= 0);
    return rc;
}
