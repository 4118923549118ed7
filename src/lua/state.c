#include "lua/state.h"

#include "base/check.h"
#include "base/embed.h"
#include "base/err.h"
#include "base/hash.h"
#include "lua/value.h"

#include <errno.h>
#include <luajit.h>
#include <lualib.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FREE_COROUTINES_MAX = 4096 };

/* In front of the allocator stands the state itself, so that gbl_of costs one load. */
static void *lua_alloc(void *user, void *block, size_t size_old, size_t size_new)
{
    return gbl_alloc_run(((gbl_state *)user)->alloc, block, size_old, size_new);
}

static lua_State *new_lua(gbl_state *state)
{
    state->alloc = gbl_alloc_new(state->config.mem->pages, state->config.lua_bytes_max);
    return state->alloc ? lua_newstate(lua_alloc, state) : NULL;
}

gbl_state *gbl_of(lua_State *L)
{
    void *user;
    lua_getallocf(L, &user);
    return user;
}

gb_mem *gbl_mem(lua_State *L)
{
    return &gbl_of(L)->mem;
}

struct gb_gpu *gbl_gpu(lua_State *L)
{
    return gbl_of(L)->config.gpu;
}

int gbl_push_error(lua_State *L, int rc, const char *message)
{
    return gbl_push_failure(L, rc, message);
}

/* Our own Lua files are chunks named "=gb" and "=gb.NAME"; files of users begin with '@'. */
static bool is_own(const char *source)
{
    return strncmp(source, "=gb", 3) == 0 && (source[3] == 0 || source[3] == '.');
}

/* Like luaL_where, for the innermost line that is the user's. */
static void push_where(lua_State *L)
{
    lua_Debug at;
    for (int level = 1; lua_getstack(L, level, &at); level++) {
        lua_getinfo(L, "Sl", &at);
        if (at.currentline <= 0 || is_own(at.source)) continue;
        lua_pushfstring(L, "%s:%d: ", at.short_src, at.currentline);
        return;
    }
    lua_pushliteral(L, "");
}

static int nothing(lua_State *L)
{
    (void)L;
    return 0;
}

/* To LuaJIT of before September 2023 the coroutine that ran last is still the one that runs when a
 * C function that had another one run (it makes an activation) leaves by an error: compiled code
 * then goes back to the interpreter on the wrong stack. Any protected call sets that right. */
int gbl_throw(lua_State *L)
{
    if (lua_cpcall(L, nothing, NULL) != 0) lua_pop(L, 1);
    return lua_error(L);
}

int gbl_raise(lua_State *L, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    push_where(L);
    lua_pushvfstring(L, format, args);
    va_end(args);
    lua_concat(L, 2);
    return gbl_throw(L);
}

uint64_t gbl_random(gbl_state *state)
{
    uint64_t a = state->random[0],
             b = state->random[1]; /* xoroshiro128+ (Blackman and Vigna 2018) */
    uint64_t sum = a + b;
    b ^= a;
    state->random[0] = ((a << 24) | (a >> 40)) ^ b ^ (b << 16);
    state->random[1] = (b << 37) | (b >> 27);
    return sum;
}

/* ---- coroutines ---- */

static int co_new(lua_State *L)
{
    gbl_co *co = lua_touserdata(L, 1);
    co->L = lua_newthread(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, gbl_of(L)->waiting_ref);
    lua_pushvalue(L, -2);
    lua_pushliteral(L, "cannot resume the turn of a grain or script: it goes on by itself");
    lua_rawset(L, -3);
    lua_pop(L, 1);
    co->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

gbl_co *gbl_co_take(gbl_state *state)
{
    gbl_co *co = state->free;
    if (__builtin_expect(co != NULL, 1)) {
        state->free = co->next;
        state->free_count--;
        return co;
    }
    co = gb_mem_zalloc(&state->mem, sizeof *co);
    if (!co) return NULL;
    if (lua_cpcall(state->L, co_new, co) != 0) {
        gb_err_set(GB_ENOMEM, "out of memory: a coroutine");
        lua_pop(state->L, 1);
        gb_mem_free(&state->mem, co, sizeof *co);
        return NULL;
    }
    return co;
}

void gbl_co_close(gbl_state *state, gbl_co *co)
{
    gbl_span_end(state, co->span, GB_ECANCELED);
    luaL_unref(state->L, LUA_REGISTRYINDEX, co->ref);
    gb_mem_free(&state->mem, co, sizeof *co);
}

void gbl_co_give(gbl_state *state, gbl_co *co)
{
    if (state->free_count >= FREE_COROUTINES_MAX) {
        gbl_co_close(state, co);
        return;
    }
    lua_settop(co->L, 0);
    co->pushed = 0;
    co->caller = 0;
    co->begun = false;
    co->tenant = 0;
    co->next = state->free;
    state->free = co;
    state->free_count++;
}

/* ---- symbols and types ---- */

static int grow_syms(gbl_state *state, uint32_t id)
{
    uint32_t count = state->sym_count ? state->sym_count : 64;
    while (count <= id) count *= 2;
    int *refs = gb_mem_realloc(&state->mem, state->sym_refs, state->sym_count * sizeof *refs,
                               count * sizeof *refs);
    if (!refs) return GB_ENOMEM;
    state->sym_refs = refs;
    const gb_sym **syms = gb_mem_realloc(&state->mem, state->syms, state->sym_count * sizeof *syms,
                                         count * sizeof *syms);
    if (!syms) return GB_ENOMEM;
    state->syms = syms;
    memset(refs + state->sym_count, 0, (count - state->sym_count) * sizeof *refs);
    memset(syms + state->sym_count, 0, (count - state->sym_count) * sizeof *syms);
    state->sym_count = count;
    return 0;
}

const gb_sym *gbl_sym(gbl_state *state, uint32_t id)
{
    return id < state->sym_count ? state->syms[id] : NULL;
}

void gbl_push_sym(gbl_state *state, lua_State *L, const gb_sym *sym)
{
    if (sym->id >= state->sym_count && grow_syms(state, sym->id) < 0) {
        lua_pushlstring(L, sym->text, sym->size);
        return;
    }
    state->syms[sym->id] = sym;
    if (!state->sym_refs[sym->id]) {
        lua_pushlstring(L, sym->text, sym->size);
        state->sym_refs[sym->id] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->sym_refs[sym->id]);
}

gbl_type *gbl_type_of(gbl_state *state, gb_type *type)
{
    return type->local[state->worker->index].body;
}

/* ---- protected runs ---- */

void gbl_protect_add(lua_State *L, gbl_run run, lua_CFunction fn)
{
    lua_pushcfunction(L, fn);
    gbl_of(L)->run_refs[run] = luaL_ref(L, LUA_REGISTRYINDEX);
}

int gbl_protect(gbl_state *state, gbl_run run, void *argument)
{
    lua_State *L = state->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->run_refs[run]);
    lua_pushlightuserdata(L, argument);
    bool was = gbl_cap(state, true);
    int rc = lua_pcall(L, 1, LUA_MULTRET, 0);
    gbl_cap(state, was);
    if (__builtin_expect(rc == 0, 1)) return 0;
    const char *text = lua_tostring(L, -1);
    gb_err_set(rc == LUA_ERRMEM ? GB_ENOMEM : GB_EINVAL, "%s",
               text ? text : "an error that is no string");
    lua_pop(L, 1);
    return rc == LUA_ERRMEM ? GB_ENOMEM : GB_EINVAL;
}

/* ---- opening and closing ---- */

static int load_embedded(lua_State *L)
{
    const gb_embedded *file = lua_touserdata(L, lua_upvalueindex(1));
    lua_settop(L, 1);
    if (luaL_loadbuffer(L, file->bytes, file->size, file->name) != 0) return lua_error(L);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int load_core(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, gbl_of(L)->core_ref);
    return 1;
}

static void preload(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    for (const gb_embedded *file = gb_embedded_lua; file->name; file++) {
        lua_pushlightuserdata(L, (void *)file);
        lua_pushcclosure(L, load_embedded, 1);
        lua_setfield(L, -2, file->name);
    }
    lua_pushcfunction(L, load_core);
    lua_setfield(L, -2, "gb.core");
    lua_pop(L, 2);
}

/* core.waiting: why a coroutine cannot be resumed, by coroutine (coroutine.lua). Weak: none lives
 * for it. */
static void open_waiting(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    gbl_of(L)->waiting_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_setfield(L, -2, "waiting");
}

static int open_all(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    luaL_openlibs(L);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    state->core_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    state->futures_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    open_waiting(L);
    lua_newtable(L);
    state->future_meta_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    gbl_open_call(L);
    gbl_open_turn(L);
    gbl_open_span(L);
    gbl_open_future(L);
    gbl_open_wait(L);
    gbl_open_grain(L);
    gbl_open_script(L);
    gbl_open_inspect(L);
    gbl_open_kind(L);
    gbl_open_array(L);
    gbl_open_gpu(L);
    gbl_open_export(L);
    lua_pop(L, 1);
    preload(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "gb.boot");
    lua_call(L, 1, 0);
    return 0;
}

static void bound_messages(gbl_state *state)
{
    int64_t most = state->config.message_bytes_max;
    if (most == 0) most = state->config.message_bytes_max = GBL_BYTES_MAX;
    bool whole = most % (1 << 20) == 0;
    snprintf(state->too_long, sizeof state->too_long,
             "more than %lld %s of strings in one message (max_message)",
             (long long)(whole ? most >> 20 : most), whole ? "MiB" : "bytes");
}

int gbl_state_open(gbl_state **out, gb_worker *worker, const gbl_config *config)
{
    gbl_state *state = gb_mem_zalloc(config->mem, sizeof *state);
    if (!state) return GB_ENOMEM;
    state->worker = worker;
    state->config = *config;
    bound_messages(state);
    gb_mem_init(&state->mem, "lua", config->mem, 0);
    gb_list_init(&state->pending);
    gb_list_init(&state->sleepers);
    gb_list_init(&state->op_waits);
    gb_list_init(&state->idlers);
    state->random[0] = gb_random(worker->silo->sys) | 1;
    state->random[1] = gb_random(worker->silo->sys);
    state->L = new_lua(state);
    worker->body = state;
    int rc = state->L ? 0 : gb_err_set(GB_ENOMEM, "out of memory: a Lua state");
    if (rc == 0 && lua_cpcall(state->L, open_all, NULL) != 0) {
        const char *why = lua_tostring(state->L, -1);
        rc = gb_err_set(why && strstr(why, "memory") ? GB_ENOMEM : GB_EINVAL,
                        "the Lua half does not load: %s", why ? why : "?");
    }
    gb_type_options options;
    gb_type_options_init(&options);
    options.keep_alive = true;
    options.reentrant = GB_REENTRANT_YES;
    if (rc == 0)
        rc =
            gb_type_define(&state->root_type, worker->silo, "$script", "", &gbl_kind, -1, &options);
    if (rc == 0) rc = gb_worker_root(worker, state->root_type, &state->root);
    /* LuaJIT 2.1 (2022) crashes when compiled code is refused memory (seen without any of our
     * code): a bound on memory costs the compiler. */
    if (rc == 0 && config->lua_bytes_max)
        luaJIT_setmode(state->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    if (rc < 0) {
        gbl_state_close(state);
        return rc;
    }
    state->root_type->local[worker->index].state = GB_TYPE_LOADED;
    *out = state;
    return 0;
}

static void close_types(gbl_state *state)
{
    gb_silo *silo = state->worker->silo;
    for (uint32_t i = 0; i < gb_type_count(silo); i++) {
        gb_type *type = gb_type_at(silo, i);
        gbl_type *own = type->kind == &gbl_kind ? gbl_type_of(state, type) : NULL;
        if (!own) continue;
        gb_mem_free(&state->mem, own->fn_refs, own->fn_count * sizeof *own->fn_refs);
        gb_mem_free(&state->mem, own, sizeof *own);
        type->local[state->worker->index].body = NULL;
    }
}

void gbl_state_close(gbl_state *state)
{
    while (atomic_load(&state->posting) > 0) sched_yield(); /* a few instructions of theirs */
    close_types(state);
    gbl_sleepers_close(state);
    gbl_futures_close(state);
    gbl_idlers_close(state);
    if (state->L) lua_close(state->L);
    gbl_alloc_free(state->alloc);
    while (state->free) {
        gbl_co *co = state->free;
        state->free = co->next;
        gb_mem_free(&state->mem, co, sizeof *co);
    }
    gb_mem_free(&state->mem, state->chunk_refs, state->chunk_count * sizeof *state->chunk_refs);
    gb_mem_free(&state->mem, state->sym_refs, state->sym_count * sizeof *state->sym_refs);
    gb_mem_free(&state->mem, state->syms, state->sym_count * sizeof *state->syms);
    gb_mem_fini(&state->mem);
    state->worker->body = NULL;
    gb_mem_free(state->config.mem, state, sizeof *state);
}

int gbl_load_file(lua_State *L, const char *path, const char *chunk_name)
{
    FILE *file = fopen(path, "rb");
    if (!file) return gb_err_set(GB_ENOENT, "cannot open %s: %s", path, strerror(errno));
    gb_buf text;
    gb_buf_init(&text, gbl_mem(L));
    int rc = 0;
    char piece[16384];
    size_t size;
    while (rc == 0 && (size = fread(piece, 1, sizeof piece, file)) > 0)
        rc = gb_buf_put(&text, piece, size);
    if (rc == 0 && ferror(file))
        rc = gb_err_set(GB_ENOENT, "cannot read %s: %s", path, strerror(errno));
    fclose(file);
    const char *start = text.size ? (const char *)text.data : "";
    size_t left = text.size;
    if (rc == 0 && left &&
        *start == '#') /* a first line for the shell; its newline stays, for line numbers */
        while (left && *start != '\n') start++, left--;
    if (rc == 0 && luaL_loadbuffer(L, start, left, chunk_name) != 0) {
        rc = gb_err_set(GB_EINVAL, "%s", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    gb_buf_fini(&text);
    return rc;
}
