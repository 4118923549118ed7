/* Scripts: files that run as turns of a worker's root, and the driver's side of virtual time. */
#include "lua/script.h"

#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "grain/root.h"
#include "lua/state.h"

#include <string.h>

typedef struct script {
    gbl_script_fn *done;
    void *user;
    gbl_state *state;
} script;

static void script_done(gb_call *call)
{
    script *s = call->user;
    gbl_state *state = s->state;
    gbl_co *co = call->body;
    const char *message = NULL, *traceback = NULL;
    int rc = call->rc;
    if (rc < 0) {
        message = call->message;
    } else if (co && lua_gettop(co->L) >= 3 &&
               lua_isnil(co->L, 1)) { /* it raised: nil, message, code, traceback */
        const char *code = lua_tostring(co->L, 3);
        rc = code && gb_err_code(code) ? gb_err_code(code) : GB_ERAISED;
        message = lua_tostring(co->L, 2);
        traceback = lua_gettop(co->L) >= 4 ? lua_tostring(co->L, 4) : NULL;
    }
    s->done(s->user, rc, message, traceback);
    gb_mem_free(&state->mem, s, sizeof *s);
}

static int start(gbl_state *state, int args, gbl_script_fn *done, void *user)
{
    script *s = gb_mem_alloc(&state->mem, sizeof *s);
    if (!s) return GB_ENOMEM;
    *s = (script){done, user, state};
    int rc = gbl_spawn(state, state->L, args, state->root, script_done, s) ? 0 : GB_ENOMEM;
    if (rc < 0) gb_mem_free(&state->mem, s, sizeof *s);
    return rc;
}

/* A script's own nil, message, code is not a failure of the script: only what it raises is. */
static const char wrap[] = "local main = ...\n"
                           "return function(...) main(...) end\n";

int gbl_script_run(gbl_state *state, const char *path, const char *chunk_name, int argc,
                   char **argv, gbl_script_fn *done, void *user)
{
    lua_State *L = state->L;
    int top = lua_gettop(L);
    if (luaL_loadbuffer(L, wrap, sizeof wrap - 1, "=gb.script") != 0) return GB_ENOMEM;
    int rc = gbl_load_file(L, path, chunk_name);
    if (rc < 0) {
        lua_settop(L, top);
        return rc;
    }
    lua_call(L, 1, 1);
    lua_createtable(L, argc, 1);
    lua_pushstring(L, path);
    lua_rawseti(L, -2, 0);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setglobal(L, "arg");
    lua_checkstack(L, argc + 8);
    for (int i = 0; i < argc; i++) lua_pushstring(L, argv[i]);
    rc = start(state, argc, done, user);
    lua_settop(L, top);
    return rc;
}

int gbl_call_core(gbl_state *state, const char *name, int argc, const char **argv,
                  gbl_script_fn *done, void *user)
{
    lua_State *L = state->L;
    int top = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->core_ref);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    GB_CHECK(lua_isfunction(L, -1));
    lua_checkstack(L, argc + 8);
    for (int i = 0; i < argc; i++) lua_pushstring(L, argv[i]);
    int rc = start(state, argc, done, user);
    lua_settop(L, top);
    return rc;
}

void gbl_script_end(gbl_state *state)
{
    gb_root_end(state->root);
}

/* os.exit(code): asks for the end of the host. The turn that asks ends there: a script parks until
 * it is killed, a grain's method (which is waited for) and what cannot park raise. */
static int exit_host(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_call *turn = gbl_turn(state);
    int code = lua_isnoneornil(L, 1) ? 0
               : lua_isboolean(L, 1) ? !lua_toboolean(L, 1)
                                     : (int)luaL_checkinteger(L, 1);
    state->config.exit(state->config.exit_user, code);
    if (!turn || turn->act != state->root || !lua_isyieldable(L))
        return luaL_error(L, "os.exit(%d) was called: the program ends", code);
    gbl_park(state, NULL);
    return gbl_yield(state, L);
}

static void open_config(lua_State *L)
{
    const char *text = gbl_of(L)->config.lua_config;
    lua_pushfstring(L, "return %s", text ? text : "{ app = {} }");
    size_t size;
    const char *chunk = lua_tolstring(L, -1, &size);
    if (luaL_loadbuffer(L, chunk, size, "=config") != 0) lua_error(L);
    lua_call(L, 0, 1);
    lua_setfield(L, -3, "config");
    lua_pop(L, 1);
}

/* ---- virtual time ---- */

typedef struct idler {
    gb_list link;
    gbl_ticket ticket;
} idler;

/* core.idle(): waits until nothing is left to do at this time. Only in a simulated world. */
static int core_idle(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gbl_check_park(state, L, "idle");
    idler *wait = gb_mem_alloc(&state->mem, sizeof *wait);
    if (!wait) return luaL_error(L, "out of memory");
    wait->ticket = gbl_park(state, NULL);
    gb_list_push(&state->idlers, &wait->link);
    return gbl_yield(state, L);
}

bool gbl_wake_idlers(gbl_state *state)
{
    gb_list woken;
    gb_list_init(&woken);
    for (gb_list *link; (link = gb_list_shift(&state->idlers));) gb_list_push(&woken, link);
    bool any = false;
    for (gb_list *link; (link = gb_list_shift(&woken));) {
        idler *wait = GB_CONTAINER(link, idler, link);
        if (gbl_ticket_valid(state, &wait->ticket)) {
            lua_pushboolean(gbl_ticket_stack(&wait->ticket), 1);
            gbl_wake(&wait->ticket, 1);
            any = true;
        }
        gb_mem_free(&state->mem, wait, sizeof *wait);
    }
    return any;
}

void gbl_idlers_close(gbl_state *state)
{
    for (gb_list *link; (link = gb_list_shift(&state->idlers));)
        gb_mem_free(&state->mem, GB_CONTAINER(link, idler, link), sizeof(idler));
}

bool gbl_ops_under_way(gbl_state *state)
{
    return !gb_list_empty(&state->op_waits);
}

/* core.stop(type id, key): ends an activation of this worker; true when there was one. */
static int core_stop(lua_State *L)
{
    gb_worker *worker = gbl_of(L)->worker;
    gb_type *type = gb_type_at(worker->silo, (uint32_t)luaL_checknumber(L, 1));
    size_t size;
    const char *text = lua_type(L, 2) == LUA_TNUMBER ? NULL : luaL_checklstring(L, 2, &size);
    gb_key key = text ? gb_key_text(text, size) : gb_key_number((int64_t)lua_tonumber(L, 2));
    gb_act *act = type ? gb_act_find(worker, type, key) : NULL;
    bool active = act && act->state == GB_ACT_ACTIVE;
    if (active) gb_act_stop(worker, act, GB_END_ASKED);
    lua_pushboolean(L, active);
    return 1;
}

/* core.seed(number): what is random in this state begins anew. */
static int core_seed(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    uint64_t seed = (uint64_t)luaL_checknumber(L, 1);
    state->random[0] = gb_hash_mix(seed) | 1;
    state->random[1] = gb_hash_mix(seed + 1);
    return 0;
}

/* core.random(): from 0, below 1, of the silo's seed. */
static int core_random(lua_State *L)
{
    lua_pushnumber(L, (double)(gbl_random(gbl_of(L)) >> 11) * 0x1p-53);
    return 1;
}

/* core.promise(): a future that ends when it is cancelled: how Lua wakes a turn that waits. */
static int core_promise(lua_State *L)
{
    gbl_future_new(L);
    return 1;
}

void gbl_open_script(lua_State *L)
{
    static const luaL_Reg functions[] = {{"idle", core_idle},       {"stop", core_stop},
                                         {"seed", core_seed},       {"random", core_random},
                                         {"promise", core_promise}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
    open_config(L);
    if (!gbl_of(L)->config.exit) return;
    lua_getglobal(L, "os");
    lua_pushcfunction(L, exit_host);
    lua_setfield(L, -2, "exit");
    lua_pop(L, 1);
}
