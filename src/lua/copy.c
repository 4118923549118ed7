/* Deep copies of values from one coroutine of a state to another, without bytes between. */
#include "lua/value.h"

#include "lua/array.h"

typedef struct copier {
    lua_State *from;
    gbl_measure measure;
} copier;

static bool copy_value(copier *c, int index);

enum { PAIRS_AT_ONCE = 24 };

/* Nested values in the slots first .. top are replaced by copies of them; scalars stay. */
static bool copy_slots(copier *c, int first, int top)
{
    lua_State *L = c->from;
    for (int slot = first; slot <= top; slot++) {
        int type = lua_type(L, slot);
        if (type == LUA_TSTRING) c->measure.bytes += lua_objlen(L, slot);
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
    if (++c->measure.depth > GBL_DEPTH_MAX || !lua_checkstack(L, 2 * PAIRS_AT_ONCE + 8))
        return false;
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
        if ((c->measure.nodes += (uint64_t)pairs) > GBL_NODES_MAX || !copy_slots(c, copy + 1, top))
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
    c->measure.depth--;
    return true;
}

static bool copy_array(copier *c, int index)
{
    lua_State *L = c->from;
    gbl_array *array = gbl_array_at(L, index);
    size_t offset;
    if (array->flags & (GBL_ARRAY_FREED | GBL_ARRAY_MOVED)) return false;
    gb_block *block = gbl_array_send(L, array, &offset);
    if (!block) return false;
    if (gbl_array_push(L, block, offset, array->count, gbl_type_wire(L, array->type)) < 0) {
        gb_block_unref(block);
        return false;
    }
    return true;
}

/* A reference never changes. What with{ ... } says stays with who said it: the bytes' way drops it.
 */
static bool copy_ref(copier *c, int index)
{
    lua_State *L = c->from;
    if (gbl_table_at(L, index) != GBL_TABLE_REF) return false;
    lua_rawgeti(L, index, 3);
    bool plain = lua_isnil(L, -1);
    lua_pop(L, 1);
    if (plain) lua_pushvalue(L, index);
    return plain;
}

/* Pushes a copy on the same stack. False: refused or special; the bytes' way tells. The stack may
 * hold rests. */
static bool copy_value(copier *c, int index)
{
    lua_State *L = c->from;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
        lua_pushvalue(L, index);
        return true;
    case LUA_TSTRING:
        c->measure.bytes += lua_objlen(L, index);
        lua_pushvalue(L, index);
        return true;
    case LUA_TTABLE:
        if (lua_getmetatable(L, index)) {
            lua_pop(L, 1);
            return copy_ref(c, index);
        }
        return copy_table(c, index);
    case GBL_TCDATA:
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
    copier c = {.from = L, .measure = {.nodes = (uint64_t)count}};
    uint64_t bytes_max = (uint64_t)gbl_of(L)->config.message_bytes_max;
    int top = lua_gettop(L);
    if (!lua_checkstack(L, count + 8)) return false;
    for (int i = 0; i < count; i++)
        if (!copy_value(&c, first + i) || c.measure.bytes > bytes_max) {
            lua_settop(L, top);
            return false;
        }
    return true;
}
