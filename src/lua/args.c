/* The arguments of a launch against the signature of its kernel: one walk, which may raise and
 * takes nothing. */
#include "lua/device.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char setter_key[] = "gb.launch.setter";

/* ---- messages ---- */

static const char *param_text(char *out, size_t room, const gb_param *param)
{
    snprintf(out, room, "%s%s%s", param->pointer && param->is_const ? "const " : "", param->type,
             param->pointer ? "*" : "");
    return out;
}

/* What stands at an index, for messages: "double array", "float buffer", "string". */
static const char *value_text(lua_State *L, int index, char *out, size_t room)
{
    gbl_array *array = gbl_array_at(L, index);
    gbl_buffer *buffer = array ? NULL : gbl_buffer_at(L, index);
    uint32_t type;
    if (array)
        snprintf(out, room, "%s array", gbl_type_name(L, array->type));
    else if (buffer)
        snprintf(out, room, "%s buffer", gbl_type_name(L, buffer->type));
    else if (gbl_element_at(L, index, &type))
        snprintf(out, room, "a %s", gbl_type_name(L, type));
    else if (gbl_cdata_at(L, index) != GBL_CDATA_NONE)
        snprintf(out, room, "a 64-bit integer");
    else
        snprintf(out, room, "%s", luaL_typename(L, index));
    return out;
}

int gbl_refuse(const gbl_walk *w, int at, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* The shape is argument 1 for the caller. */
    return gbl_raise_at(w->L, w->level, "argument %d '%s': %s", at + 2, w->bound->params[at].name,
                        text);
}

static int refuse_type(const gbl_walk *w, int at)
{
    char expected[160], got[160], text[160];
    const gb_param *param = &w->bound->params[at];
    const char *name =
        w->bound->expect[at] ? gbl_type_name(w->L, w->bound->expect[at]) : param->type;
    if (param->pointer && param->element == 0)
        snprintf(text, sizeof text, "an array or buffer");
    else
        snprintf(text, sizeof text, "%s%s", name, param->pointer ? " array" : "");
    return gbl_refuse(w, at, "expected %s (%s), got %s", text,
                      param_text(expected, sizeof expected, param),
                      value_text(w->L, w->first + at, got, sizeof got));
}

/* ---- scalars ---- */

static const struct {
    double low, high; /* high: the first number above */
    bool is_signed;
    const char *range;
} integers[] = {
    [GB_TYPE_INT8] = {-0x1p7, 0x1p7, true, "-128 .. 127"},
    [GB_TYPE_UINT8] = {0, 0x1p8, false, "0 .. 255"},
    [GB_TYPE_INT16] = {-0x1p15, 0x1p15, true, "-32768 .. 32767"},
    [GB_TYPE_UINT16] = {0, 0x1p16, false, "0 .. 65535"},
    [GB_TYPE_INT32] = {-0x1p31, 0x1p31, true, "-2147483648 .. 2147483647"},
    [GB_TYPE_UINT32] = {0, 0x1p32, false, "0 .. 4294967295"},
    [GB_TYPE_INT64] = {-0x1p63, 0x1p63, true, "-9223372036854775808 .. 9223372036854775807"},
    [GB_TYPE_UINT64] = {0, 0x1p64, false, "0 .. 18446744073709551615"},
};

/* An integer argument as its 64 bits. */
static uint64_t integer_at(const gbl_walk *w, int at, gb_type_code code)
{
    lua_State *L = w->L;
    int index = w->first + at;
    gbl_cdata_kind kind = gbl_cdata_at(L, index);
    double number;
    uint64_t bits = 0;
    if (kind == GBL_CDATA_INT64 || kind == GBL_CDATA_UINT64) {
        bits = gbl_int64_at(L, index);
        if (kind == GBL_CDATA_INT64 ? (int64_t)bits < 0 && !integers[code].is_signed
                                    : bits > INT64_MAX && integers[code].is_signed)
            number = kind == GBL_CDATA_INT64 ? (double)(int64_t)bits : (double)bits;
        else if (code == GB_TYPE_INT64 || code == GB_TYPE_UINT64)
            return bits;
        else
            number = kind == GBL_CDATA_INT64 ? (double)(int64_t)bits : (double)bits;
    } else if (lua_type(L, index) == LUA_TNUMBER) {
        number = lua_tonumber(L, index);
    } else {
        refuse_type(w, at);
        return 0;
    }
    const char *type = w->bound->params[at].type;
    if (number != floor(number) || isinf(number))
        gbl_refuse(w, at, "%.14g is no integer (%s)", number, type);
    if (!(number >= integers[code].low && number < integers[code].high) ||
        (bits > INT64_MAX && integers[code].is_signed && kind == GBL_CDATA_UINT64))
        gbl_refuse(w, at, "%.17g does not fit %s (%s)", number, type, integers[code].range);
    return integers[code].is_signed ? (uint64_t)(int64_t)number : (uint64_t)number;
}

static void scalar(gbl_walk *w, int at, void *to)
{
    const gb_param *param = &w->bound->params[at];
    lua_State *L = w->L;
    int index = w->first + at;
    if (param->code == GB_TYPE_BOOL) {
        if (!lua_isboolean(L, index)) refuse_type(w, at);
        *(uint8_t *)to = (uint8_t)lua_toboolean(L, index);
        return;
    }
    if (param->code == GB_TYPE_FLOAT || param->code == GB_TYPE_DOUBLE) {
        double number = 0;
        gbl_cdata_kind kind = gbl_cdata_at(L, index);
        if (lua_type(L, index) == LUA_TNUMBER)
            number = lua_tonumber(L, index);
        else if (kind == GBL_CDATA_INT64)
            number = (double)(int64_t)gbl_int64_at(L, index);
        else if (kind == GBL_CDATA_UINT64)
            number = (double)gbl_int64_at(L, index);
        else
            refuse_type(w, at);
        if (param->code == GB_TYPE_FLOAT)
            *(float *)to = (float)number;
        else
            *(double *)to = number;
        return;
    }
    uint64_t bits = integer_at(w, at, param->code);
    memcpy(to, &bits, param->size); /* little-endian: the low bytes */
}

/* A vector or struct by value, from cdata or from a table (which the Lua half turns into cdata). */
static void aggregate(gbl_walk *w, int at, void *to)
{
    const gb_param *param = &w->bound->params[at];
    lua_State *L = w->L;
    int index = w->first + at;
    uint32_t type = 0, expect = w->bound->expect[at];
    if (!expect) gbl_refuse(w, at, "the layout of %s is not known", param->type);
    if (lua_type(L, index) == LUA_TTABLE) {
        lua_getfield(L, LUA_REGISTRYINDEX, setter_key);
        lua_pushinteger(L, (lua_Integer)expect);
        lua_pushvalue(L, index);
        lua_call(L, 2, 2);
        if (lua_isstring(L, -1)) gbl_refuse(w, at, "%s", lua_tostring(L, -1));
        memcpy(to, lua_topointer(L, -2), param->size); /* a fresh value of that very type */
        lua_pop(L, 2);
        return;
    }
    const void *from = gbl_element_at(L, index, &type);
    if (!from || type != expect) refuse_type(w, at);
    memcpy(to, from, param->size);
}

/* ---- pointers ---- */

static size_t alignment_of(const gb_param *param)
{
    if (param->lanes <= 1 || param->element == 0) return 1;
    size_t lane = param->lanes == 3 ? param->element / 3 : param->element;
    return lane > 16 ? 16 : lane;
}

/* The type itself, or for a vector pointer its lane, or bytes for bool. */
static bool type_fits(const gb_param *param, uint32_t expect, uint32_t type)
{
    if (param->element == 0 || type == expect) return true;
    if (param->code == GB_TYPE_BOOL) return type == GB_TYPE_UINT8;
    return param->lanes > 1 && type == (uint32_t)param->code;
}

static void pointer(gbl_walk *w, int at)
{
    const gb_param *param = &w->bound->params[at];
    lua_State *L = w->L;
    int index = w->first + at;
    gbl_use *use = &w->uses[at];
    use->written = !param->is_const;
    if (lua_isnil(L, index)) return; /* a null pointer */
    use->array = gbl_array_at(L, index);
    if (use->array) {
        gbl_array *array = use->array;
        if (!type_fits(param, w->bound->expect[at], array->type)) refuse_type(w, at);
        if (!array->block)
            gbl_refuse(w, at, "the array was %s",
                       array->flags & GBL_ARRAY_MOVED ? "moved" : "freed");
        if (use->written && gb_block_frozen(array->block))
            gbl_refuse(w, at, "the array is frozen, and %s* is written", param->type);
        if ((uintptr_t)array->data % alignment_of(param))
            gbl_refuse(w, at, "the view begins off the alignment of %s (%d bytes)", param->type,
                       (int)alignment_of(param));
        return;
    }
    use->buffer = gbl_buffer_at(L, index);
    if (!use->buffer) refuse_type(w, at);
    if (!type_fits(param, w->bound->expect[at], use->buffer->type)) refuse_type(w, at);
    if (!use->buffer->buffer)
        gbl_refuse(w, at, "the buffer was %s",
                   use->buffer->flags & GBL_BUFFER_MOVED ? "moved" : "freed");
    if (use->written && use->buffer->flags & GBL_BUFFER_SHARED)
        gbl_refuse(w, at, "the buffer is shared read-only, and %s* is written", param->type);
}

void gbl_check_argument(gbl_walk *w, int at, void *to)
{
    const gb_param *param = &w->bound->params[at];
    if (param->pointer) {
        memset(to, 0, param->size);
        pointer(w, at);
    } else if (param->code == GB_TYPE_STRUCT || param->lanes > 1) {
        aggregate(w, at, to);
    } else {
        scalar(w, at, to);
    }
}

static int refuse_count(const gbl_walk *w, int got)
{
    char text[1024] = "", one[160];
    size_t size = 0;
    for (int i = 0; i < w->bound->count && size < sizeof text - 1; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%s %s", i ? ", " : "",
                                 param_text(one, sizeof one, &w->bound->params[i]),
                                 w->bound->params[i].name);
    return gbl_raise_at(w->L, w->level, "%s takes %d arguments after the shape (%s), got %d",
                        gb_kernel_name(w->bound->kernel), w->bound->count, text, got);
}

void gbl_check_arguments(gbl_walk *w)
{
    const gbl_bound *bound = w->bound;
    int got = lua_gettop(w->L) - (w->first - 1);
    if (got != bound->count) refuse_count(w, got);
    w->values_size = 0;
    memset(w->uses, 0, (size_t)bound->count * sizeof *w->uses);
    for (int i = 0; i < bound->count; i++) {
        const gb_param *param = &bound->params[i];
        size_t at = (w->values_size + 15) & ~(size_t)15;
        if (at + param->size > GBL_VALUES_BYTES) gbl_refuse(w, i, "the parameters pass 4096 bytes");
        w->values_size = at + param->size;
        char *to = w->values + at;
        w->args[i] = (gb_arg){.value = to, .size = param->size};
        gbl_check_argument(w, i, to);
    }
}

/* launch_setter(fn): fn(type id, table) gives the cdata, or nil and why not. */
static int launch_setter(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, setter_key);
    return 0;
}

void gbl_open_args(lua_State *L)
{
    lua_pushcfunction(L, launch_setter);
    lua_setfield(L, -2, "launch_setter");
}
