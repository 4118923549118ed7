/* gb.host: functions of the program around us. Values cross as bytes, like those of calls. */
#include "base/err.h"
#include "lua/state.h"

#include <stdlib.h>
#include <string.h>

static void message_free(gbl_message *message)
{
    for (uint32_t i = 0; i < message->block_count; i++) gb_block_unref(message->blocks[i]);
    free(message->blocks);
    gb_buf_fini(&message->bytes);
}

typedef struct decoding {
    gbl_message *message;
    int rc;
} decoding;

static int decode_protected(lua_State *L)
{
    decoding *d = lua_touserdata(L, 1);
    d->rc = gbl_decode(L, d->message->bytes.data, d->message->bytes.size, d->message->blocks,
                       d->message->block_count, GBL_FROM_HERE);
    return d->rc > 0 ? d->rc : 0;
}

/* Its values on top, or negative. The function to call lies on top already: nothing raises here,
 * where messages would be lost. */
static int push_results(lua_State *L, gbl_message *results)
{
    decoding d = {results, 0};
    lua_pushlightuserdata(L, &d);
    if (lua_pcall(L, 1, LUA_MULTRET, 0) != 0)
        return gb_err_set(GB_ENOMEM, "%s", lua_tostring(L, -1)); /* all that it can fail for */
    return d.rc;
}

/* The closure that gb.host.name is: upvalue 1 holds what find gave. */
static int call_export(lua_State *L)
{
    const gbl_exports *exports = &gbl_of(L)->config.exports;
    const void *found = *(const void **)lua_touserdata(L, lua_upvalueindex(1));
    gbl_message args = {.count = lua_gettop(L)}, results = {.count = 0};
    lua_pushcfunction(L, decode_protected);
    gb_buf_init(&args.bytes, gbl_mem(L));
    gb_buf_init(&results.bytes, gbl_mem(L));
    gbl_packer to = {&args.bytes, &args.blocks, &args.block_count};
    int rc = gbl_encode(L, 1, args.count, &to, "argument");
    bool wrong = rc == GB_EINVAL;
    if (rc >= 0) rc = exports->call(exports->user, found, &args, &results);
    int count = 0;
    if (rc >= 0) {
        count = rc = push_results(L, &results);
        wrong = rc == GB_EINVAL;
    }
    message_free(&args);
    message_free(&results);
    if (wrong || results.wrong) return gbl_raise(L, "%s", gb_err_detail());
    if (rc < 0) return gbl_push_failure(L, rc, gb_err_detail());
    if (count == 0) {
        lua_pushboolean(L, 1);
        count = 1;
    }
    return count;
}

static void add_name(void *to, const char *name)
{
    lua_State *L = to;
    lua_pushstring(L, name);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

/* core.export(name): the function, or nil and a list of all names. */
static int core_export(lua_State *L)
{
    const gbl_exports *exports = &gbl_of(L)->config.exports;
    const char *name = luaL_checkstring(L, 1);
    const void *found = exports->find ? exports->find(exports->user, name) : NULL;
    if (found) {
        *(const void **)lua_newuserdata(L, sizeof found) = found;
        lua_pushcclosure(L, call_export, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_newtable(L);
    if (exports->each) exports->each(exports->user, add_name, L);
    return 2;
}

void gbl_open_export(lua_State *L)
{
    lua_pushcfunction(L, core_export);
    lua_setfield(L, -2, "export");
}
