/* Grain types from Lua, their loading on each worker, and what `self` and `gb` ask of the grain
 * room. */
#include "grain/far.h"
#include "lua/state.h"

#include "base/check.h"
#include "base/err.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- types ---- */

static double field_number(lua_State *L, int index, const char *name, double missing)
{
    lua_getfield(L, index, name);
    double value = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : missing;
    lua_pop(L, 1);
    return value;
}

static bool field_bool(lua_State *L, int index, const char *name)
{
    lua_getfield(L, index, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static void read_site(lua_State *L, int index, gb_site *site)
{
    site->rule = (gb_site_rule)field_number(L, index, "site_code", GB_SITE_PLACEMENT);
    site->prefer_local = field_bool(L, index, "prefer_local");
    site->demand_gpu = field_bool(L, index, "demand_gpu");
    site->minimum_mb = (int64_t)field_number(L, index, "minimum_mb", 0);
    lua_getfield(L, index, "labels");
    size_t size = 0;
    const char *labels = lua_tolstring(L, -1, &size);
    site->labels = labels ? gb_sym_get(gbl_of(L)->worker->silo, labels, size) : NULL;
    if (labels && !site->labels) luaL_error(L, "out of memory: a grain type");
    lua_pop(L, 1);
}

static void bind_type(lua_State *L, gb_type *type, int class, int meta)
{
    gbl_state *state = gbl_of(L);
    struct gb_type_local *local = &type->local[state->worker->index];
    gbl_type *own = local->body;
    if (!own) {
        own = gb_mem_zalloc(&state->mem, sizeof *own);
        if (!own) luaL_error(L, "out of memory: a grain type");
        own->type = type;
        local->body = own;
    } else { /* a newer version of the class */
        luaL_unref(L, LUA_REGISTRYINDEX, own->class_ref);
        luaL_unref(L, LUA_REGISTRYINDEX, own->meta_ref);
        gbl_type_forget(state, own);
    }
    lua_pushvalue(L, class);
    own->class_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, meta);
    own->meta_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* core.define(name, module, pinned, options, class, meta): the type's number, or nil, message,
 * code. */
static int core_define(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_type_options options;
    gb_type_options_init(&options);
    options.placement = (gb_placement)field_number(L, 4, "placement_code", GB_PLACE_RANDOM);
    options.reentrant = (gb_reentrancy)field_number(L, 4, "reentrant_code", GB_REENTRANT_NO);
    options.keep_alive = field_bool(L, 4, "keep_alive");
    options.idle_ns = gbl_ns(field_number(L, 4, "idle_s", 600));
    options.queue_max = (uint32_t)field_number(L, 4, "max_queue", 1024);
    options.stateless_max = (uint32_t)field_number(L, 4, "stateless_max", 16);
    read_site(L, 4, &options.site);
    uint64_t tenant;
    gb_type *type;
    int pinned = lua_toboolean(L, 3) ? state->worker->index : -1;
    int rc = gbl_read_tenant(L, 4, &tenant);
    if (rc < 0) return gbl_push_failure(L, rc, gb_err_detail());
    rc = gb_type_define(&type, state->worker->silo, luaL_checkstring(L, 1), luaL_checkstring(L, 2),
                        &gbl_kind, pinned, &options);
    if (rc < 0) return gbl_push_failure(L, rc, gb_err_detail());
    bind_type(L, type, 5, 6);
    struct gb_type_local *local = &type->local[state->worker->index];
    gbl_type_of(state, type)->tenant = tenant;
    gb_call *turn = gbl_turn(state);
    if (turn) local->loader = turn, local->loader_serial = turn->serial;
    lua_pushnumber(L, type->id);
    return 1;
}

/* core.redefine(type, class, meta): a reload; instances follow one by one (gbl_stale). */
static int core_redefine(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_type *type = gb_type_at(state->worker->silo, (uint32_t)luaL_checknumber(L, 1));
    gbl_type *own = gbl_type_of(state, type);
    bool complete = own && own->complete;
    bind_type(L, type, 2, 3);
    own = gbl_type_of(state, type);
    own->reloaded = true;
    if (complete) gbl_type_complete(L, own); /* activations that there are end with the new hooks */
    return 0;
}

/* core.ready(type, good): its methods are all there, calls may come on this worker; false: its
 * module has failed. */
static int core_ready(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_type *type = gb_type_at(state->worker->silo, (uint32_t)luaL_checknumber(L, 1));
    struct gb_type_local *local = &type->local[state->worker->index];
    local->loader = NULL;
    if (lua_isboolean(L, 2) && !lua_toboolean(L, 2)) return 0;
    gbl_type_of(state, type)->ready = true;
    if (local->state == GB_TYPE_UNLOADED) local->state = GB_TYPE_LOADED;
    return 0;
}

/* core.is_ready(name): can this worker run grains of the type? */
static int core_is_ready(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_type *type = gb_type_find(state->worker->silo, luaL_checkstring(L, 1));
    gbl_type *own = type ? gbl_type_of(state, type) : NULL;
    lua_pushboolean(L, own && own->ready);
    return 1;
}

/* core.changed(type): a method was set after the class was in use. */
static int core_changed(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_type *type = gb_type_at(state->worker->silo, (uint32_t)luaL_checknumber(L, 1));
    gbl_type *own = gbl_type_of(state, type);
    bool complete = own->complete;
    gbl_type_forget(state, own);
    if (complete) gbl_type_complete(L, own); /* activations that there are end with the new hooks */
    return 0;
}

static void load_done(gb_call *call)
{
    gbl_state *state = call->origin->body;
    gb_type *type = call->user;
    gbl_co *co = call->body;
    if (call->rc < 0) {
        gb_type_loaded(state->worker, type, call->rc, call->message);
    } else if (co && lua_gettop(co->L) >= 2 && lua_isnil(co->L, 1)) { /* nil, message, code */
        const char *code = lua_gettop(co->L) >= 3 ? lua_tostring(co->L, 3) : NULL;
        int rc = code ? gb_err_code(code) : 0;
        gb_type_loaded(state->worker, type, rc ? rc : GB_ERAISED, lua_tostring(co->L, 2));
    } else {
        gb_type_loaded(state->worker, type, 0, NULL);
    }
}

/* Requires the module that defines the type, as a turn, since modules may wait at their top. */
int gbl_load_type(gbl_state *state, gb_type *type)
{
    gbl_type *own = gbl_type_of(state, type);
    if (own && own->ready) return GB_OP_READY;
    lua_State *L = state->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->core_ref);
    lua_getfield(L, -1, "load_module");
    lua_remove(L, -2);
    lua_pushstring(L, type->module);
    lua_pushstring(L, type->name->text);
    return gbl_spawn(state, L, 2, state->root, load_done, type) ? GB_OP_PENDING : GB_ENOMEM;
}

/* core.foreign_type(name): the number of a type that others may host, or nil. */
static int core_foreign_type(lua_State *L)
{
    gb_silo *silo = gbl_of(L)->worker->silo;
    gb_type *type;
    if (!silo->far || !silo->far->any_type) return 0;
    if (gb_type_foreign(&type, silo, luaL_checkstring(L, 1)) < 0)
        return luaL_error(L, "%s", gb_err_detail());
    lua_pushnumber(L, type->id);
    return 1;
}

/* core.type_id(name): a type's number, or nil. */
static int core_type_id(lua_State *L)
{
    gb_type *type = gb_type_find(gbl_of(L)->worker->silo, luaL_checkstring(L, 1));
    if (!type || type == gbl_of(L)->root_type) return 0;
    lua_pushnumber(L, type->id);
    return 1;
}

/* core.type_names(): a list. */
static int core_type_names(lua_State *L)
{
    gb_silo *silo = gbl_of(L)->worker->silo;
    lua_newtable(L);
    int at = 0;
    for (uint32_t i = 0; i < gb_type_count(silo); i++) {
        gb_type *type = gb_type_at(silo, i);
        if (type->name->text[0] == '$') continue;
        lua_pushstring(L, type->name->text);
        lua_rawseti(L, -2, ++at);
    }
    return 1;
}

/* ---- self ---- */

static gb_act *check_self(lua_State *L, gbl_state *state)
{
    gb_act *act = NULL;
    if (lua_type(L, 1) == LUA_TTABLE) {
        lua_pushliteral(L, GBL_HANDLE);
        lua_rawget(L, 1);
        if (lua_isnumber(L, -1)) act = gbl_act_of(state, lua_tonumber(L, -1));
        lua_pop(L, 1);
    }
    if (!act) gbl_raise(L, "expected self (a grain that is active), as in self:name(...)");
    return act;
}

/* As references keep it (ref.lua): a number when a double holds it. */
void gbl_push_key(lua_State *L, gb_key key)
{
    char text[24];
    if (key.text)
        lua_pushlstring(L, key.text, key.size);
    else if (key.number < 1LL << 53 && key.number > -(1LL << 53))
        lua_pushnumber(L, (double)key.number);
    else
        lua_pushlstring(L, text,
                        (size_t)snprintf(text, sizeof text, "%lld", (long long)key.number));
}

/* core.self_key(self): key, type name */
static int core_self_key(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_act *act = check_self(L, state);
    gbl_push_key(L, gb_act_key(act));
    lua_pushstring(L, act->type->name->text);
    return 2;
}

/* core.self_deactivate(self [, lost]): lost: its device is. */
static int core_self_deactivate(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_end end = lua_toboolean(L, 2) ? GB_END_DEVICE : GB_END_ASKED;
    gb_act_stop(state->worker, check_self(L, state), end);
    lua_pushboolean(L, 1);
    return 1;
}

/* core.self_timer(self, symbol name, after, every, ...): an id */
static int core_self_timer(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_act *act = check_self(L, state);
    size_t size;
    const char *name = luaL_checklstring(L, 2, &size);
    uint64_t after = gbl_ns(luaL_checknumber(L, 3)), every = gbl_ns(luaL_checknumber(L, 4)), id;
    const gb_sym *sym = gb_sym_get(state->worker->silo, name, size);
    if (!sym) return luaL_error(L, "out of memory: a timer");
    gb_buf bytes;
    gb_buf_init(&bytes, &state->mem);
    gb_block **blocks = NULL;
    uint32_t block_count = 0;
    gbl_packer to = {&bytes, &blocks, &block_count};
    int rc = gbl_encode(L, 5, lua_gettop(L) - 4, &to, "argument");
    if (rc >= 0 && block_count)
        rc = gb_err_set(GB_EINVAL, "a timer's arguments cannot hold arrays or buffers");
    after += gbl_now(state) - state->worker->now; /* it counts from the pass */
    if (rc >= 0) rc = gb_act_timer_start(state->worker, act, sym, after, every, &bytes, &id);
    for (uint32_t i = 0; i < block_count; i++) gb_block_unref(blocks[i]);
    free(blocks);
    gb_buf_fini(&bytes);
    if (rc == GB_EINVAL) return gbl_raise(L, "%s", gb_err_detail());
    if (rc < 0) return gbl_push_failure(L, rc, gb_err_detail());
    lua_pushnumber(L, (double)id);
    return 1;
}

static int core_self_timer_stop(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    lua_pushliteral(L, GBL_HANDLE);
    lua_rawget(L, 1);
    gb_act *act = gbl_act_of(state, lua_tonumber(L, -1));
    lua_pushboolean(L,
                    act && gb_act_timer_stop(state->worker, act, (uint64_t)luaL_checknumber(L, 2)));
    return 1;
}

bool gbl_push_running(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_call *turn = gbl_turn(state);
    if (!turn || !turn->act || turn->act->type->name->text[0] == '$') return false; /* not ours */
    gbl_push_self(state, L, turn->act);
    return true;
}

/* core.alive(handle): is it an activation of this worker still? */
static int core_alive(lua_State *L)
{
    lua_pushboolean(L, gbl_act_of(gbl_of(L), luaL_checknumber(L, 1)) != NULL);
    return 1;
}

/* core.self(): the instance of the running turn, or nil */
static int core_self(lua_State *L)
{
    return gbl_push_running(L) ? 1 : 0;
}

/* ---- the turn and the silo ---- */

/* clock.lua's: called without a state, so that what asks for the time compiles. */
static double seconds_now(void *sys)
{
    return (double)gb_now(sys) / 1e9;
}

static int core_time(lua_State *L)
{
    lua_pushnumber(L, (double)gb_wall(gbl_of(L)->worker->silo->sys) / 1e9);
    return 1;
}

static int core_deadline(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_call *turn = gbl_turn(state);
    if (!turn || turn->deadline == GB_FOREVER) return 0;
    lua_pushnumber(L, ((double)turn->deadline - (double)gb_now(state->worker->silo->sys)) / 1e9);
    return 1;
}

static int core_cancelled(lua_State *L)
{
    gb_call *turn = gbl_turn(gbl_of(L));
    lua_pushboolean(L, turn && atomic_load_explicit(&turn->cancelled, memory_order_acquire));
    return 1;
}

/* The type's name and key of the grain that called: on the short way the calling turn is here, on
 * the others the bytes of the call name it. */
int gbl_push_caller(lua_State *L, gb_call *turn)
{
    uint32_t named = ((gbl_co *)turn->body)->caller;
    if (named) return gbl_caller_push(L, turn->bytes.data, named);
    gb_worker *worker = gbl_of(L)->worker;
    gb_call *caller = turn->origin == worker ? turn->caller : NULL;
    if (!caller || atomic_load_explicit(&caller->at, memory_order_acquire) != worker ||
        caller->serial != turn->caller_serial || !caller->act || caller->act->root)
        return 0;
    lua_pushstring(L, caller->act->type->name->text);
    gbl_push_key(L, gb_act_key(caller->act));
    return 2;
}

/* core.context(): trace (32 hex digits), encoded bag or nil, is the trace sampled, type name and
 * key of the caller or nil */
static int core_context(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_call *turn = gbl_turn(state);
    if (!turn) return 0;
    if (!gbl_traced(turn)) gbl_trace_begin(state, turn);
    char hex[33];
    for (int i = 0; i < 16; i++) snprintf(hex + 2 * i, 3, "%02x", turn->context.trace.trace[i]);
    lua_pushlstring(L, hex, 32);
    if (turn->context.bag)
        lua_pushlstring(L, turn->context.bag->data, turn->context.bag->bytes);
    else
        lua_pushnil(L);
    lua_pushboolean(L, turn->context.trace.flags & GB_TRACE_SAMPLED);
    return 3 + gbl_push_caller(L, turn);
}

static int push_bytes(lua_State *L)
{
    const gb_buf *bytes = lua_touserdata(L, 1);
    lua_pushlstring(L, bytes->size ? (const char *)bytes->data : "", bytes->size);
    return 1;
}

/* core.encode(...): bytes; core.decode(bytes): values. For bags and small state. */
static int core_encode(lua_State *L)
{
    int count = lua_gettop(L);
    lua_pushcfunction(L, push_bytes); /* the last that may raise: then there are bytes to free */
    gb_buf bytes;
    gb_buf_init(&bytes, gbl_mem(L));
    gb_block **blocks = NULL;
    uint32_t block_count = 0;
    gbl_packer to = {&bytes, &blocks, &block_count};
    int rc = gbl_encode(L, 1, count, &to, "value");
    if (rc >= 0 && block_count) rc = gb_err_set(GB_EINVAL, "value 1: an array or buffer");
    for (uint32_t i = 0; i < block_count; i++) gb_block_unref(blocks[i]);
    free(blocks);
    lua_pushlightuserdata(L, &bytes);
    if (rc >= 0 && lua_pcall(L, 1, 1, 0) != 0)
        rc = gb_err_set(GB_ENOMEM, "%s", lua_tostring(L, -1)); /* all that it can fail for */
    gb_buf_fini(&bytes);
    return rc < 0 ? gbl_push_failure(L, rc, gb_err_detail()) : 1;
}

static int core_decode(lua_State *L)
{
    size_t size;
    const char *bytes = luaL_checklstring(L, 1, &size);
    int count = gbl_decode(L, bytes, size, NULL, 0, GBL_FROM_AFAR);
    return count < 0 ? gbl_push_failure(L, count, gb_err_detail()) : count;
}

/* core.log(level, text, JSON fields) */
static int core_log(lua_State *L)
{
    gb_silo *silo = gbl_of(L)->worker->silo;
    gb_log_put(silo->config.log, (gb_log_level)luaL_checkinteger(L, 1), gb_wall(silo->sys),
               lua_tostring(L, 3), "%s", luaL_checkstring(L, 2));
    return 0;
}

typedef struct key_list {
    lua_State *L;
    int count;
} key_list;

static void add_key(gb_act *act, void *user)
{
    key_list *list = user;
    if (act->state != GB_ACT_ACTIVE && act->state != GB_ACT_STARTING) return;
    gbl_push_key(list->L, gb_act_key(act));
    lua_rawseti(list->L, -2, ++list->count);
}

/* core.keys(type id): the keys that are active on this worker */
static int core_keys(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    key_list list = {L, 0};
    gb_type *type = gb_type_at(state->worker->silo, (uint32_t)luaL_checknumber(L, 1));
    lua_newtable(L);
    if (type) gb_act_each(state->worker, type, add_key, &list);
    return 1;
}

static int core_count(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    gb_type *type = gb_type_at(state->worker->silo, (uint32_t)luaL_checknumber(L, 1));
    lua_pushnumber(L, type ? type->local[state->worker->index].count : 0);
    return 1;
}

/* core.home(type id, key): the worker a key belongs to, by hash or pin */
static int core_home(lua_State *L)
{
    gb_type *type = gb_type_at(gbl_of(L)->worker->silo, (uint32_t)luaL_checknumber(L, 1));
    size_t size;
    gb_key key =
        lua_type(L, 2) == LUA_TNUMBER ? gb_key_number((int64_t)lua_tonumber(L, 2)) : (gb_key){0};
    if (lua_type(L, 2) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, 2, &size);
        key = gb_key_text(text, size);
    }
    lua_pushinteger(L, gb_worker_of_key(type, key)->index);
    return 1;
}

/* core.pinned(type id): is it of one worker, a script's? */
static int core_pinned(lua_State *L)
{
    gb_type *type = gb_type_at(gbl_of(L)->worker->silo, (uint32_t)luaL_checknumber(L, 1));
    lua_pushboolean(L, type->pinned >= 0 && !atomic_load(&type->foreign));
    return 1;
}

/* core.place(): what the Lua half knows of where it runs */
static int core_place(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    lua_newtable(L);
    lua_pushinteger(L, state->worker->index);
    lua_setfield(L, -2, "worker");
    lua_pushinteger(L, state->worker->silo->worker_count);
    lua_setfield(L, -2, "workers");
    lua_pushstring(L, state->config.app_dir);
    lua_setfield(L, -2, "app_dir");
    lua_pushstring(L, state->config.script_dir);
    lua_setfield(L, -2, "script_dir");
    lua_pushboolean(L, state->worker->silo->far != NULL);
    lua_setfield(L, -2, "clustered");
    lua_pushboolean(L, state->config.virtual_time);
    lua_setfield(L, -2, "virtual_time");
    lua_pushboolean(L, gbl_turn(state) && gbl_turn(state)->act == state->root);
    lua_setfield(L, -2, "in_script");
    lua_pushboolean(L, state->config.pretend_gpus);
    lua_setfield(L, -2, "pretend_gpus");
    lua_pushboolean(L, state->config.prefer_gpu);
    lua_setfield(L, -2, "prefer_gpu");
    lua_pushinteger(L, state->config.kernels_max);
    lua_setfield(L, -2, "max_kernels");
    return 1;
}

/* core.memory(): bytes that this worker's Lua holds, without and with arrays; activations; turns */
static int core_memory(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    lua_pushnumber(L, (double)gbl_alloc_bytes(state->alloc));
    lua_pushnumber(L, (double)atomic_load(&state->mem.bytes));
    lua_pushnumber(L, (double)atomic_load(&state->worker->act_count));
    lua_pushnumber(L, (double)state->worker->turns);
    return 4;
}

static int core_load_file(lua_State *L)
{
    int rc = gbl_load_file(L, luaL_checkstring(L, 1), luaL_checkstring(L, 2));
    return rc < 0 ? gbl_push_failure(L, rc, gb_err_detail()) : 1;
}

/* core.list_dir(path): the names in a folder, or nil, message, code */
static int core_list_dir(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    DIR *dir = opendir(path);
    if (!dir) {
        gb_err_set(GB_ENOENT, "cannot open the folder %s: %s", path, strerror(errno));
        return gbl_push_failure(L, GB_ENOENT, gb_err_detail());
    }
    lua_newtable(L);
    int at = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, ++at);
    }
    closedir(dir);
    return 1;
}

void gbl_open_grain(lua_State *L)
{
    static const luaL_Reg functions[] = {{"define", core_define},
                                         {"redefine", core_redefine},
                                         {"ready", core_ready},
                                         {"changed", core_changed},
                                         {"list_dir", core_list_dir},
                                         {"type_id", core_type_id},
                                         {"foreign_type", core_foreign_type},
                                         {"type_names", core_type_names},
                                         {"self_key", core_self_key},
                                         {"self_deactivate", core_self_deactivate},
                                         {"self_timer", core_self_timer},
                                         {"self_timer_stop", core_self_timer_stop},
                                         {"self", core_self},
                                         {"time", core_time},
                                         {"deadline", core_deadline},
                                         {"cancelled", core_cancelled},
                                         {"context", core_context},
                                         {"alive", core_alive},
                                         {"is_ready", core_is_ready},
                                         {"encode", core_encode},
                                         {"decode", core_decode},
                                         {"log", core_log},
                                         {"keys", core_keys},
                                         {"count", core_count},
                                         {"home", core_home},
                                         {"pinned", core_pinned},
                                         {"place", core_place},
                                         {"memory", core_memory},
                                         {"load_file", core_load_file},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
    lua_rawgeti(L, LUA_REGISTRYINDEX, gbl_of(L)->future_meta_ref);
    lua_setfield(L, -2, "future_meta");
    lua_pushlightuserdata(L, (void *)(uintptr_t)seconds_now);
    lua_setfield(L, -2, "clock");
    lua_pushlightuserdata(L, gbl_of(L)->worker->silo->sys);
    lua_setfield(L, -2, "clock_of");
}
