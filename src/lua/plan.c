/* Prepared plans: a graph of the gpu room whose slots are bound by what a run brings.
 * lua/gb/plan.lua makes one for each shape of what is bound and for each lane it runs on, so that
 * all its runs are in order on one queue and may share its temporary buffers. */
#include "lua/device.h"

#include "base/err.h"
#include "lua/state.h"

#include <string.h>

static const char graph_key[] = "gb.graph.meta";

enum { USE_TO = -1, USE_FROM = -2 };

typedef enum {
    SLOT_FIXED,
    SLOT_NUMBER,
    SLOT_INT64,
    SLOT_UINT64,
    SLOT_BOOLEAN,
    SLOT_ARRAY,
    SLOT_BUFFER
} slot_kind;

/* Where the value of a slot goes: a parameter of a launch, or one side of a copy or fill. */
typedef struct use {
    int node, what; /* what: the parameter, USE_TO or USE_FROM */
    int next;       /* of the same slot; -1: none */
} use;

/* What a run must bring for the graph to fit; FIXED: nothing. */
typedef struct slot {
    slot_kind kind;
    uint32_t type;
    int64_t count;
    bool written, exact;
    double number; /* exact: only this one */
    int first_use;
} slot;

typedef struct launch {
    gbl_kernel *handle; /* kept alive by Lua */
    gb_kernel *kernel;
    int node;
} launch;

typedef struct graph {
    gb_graph *graph;
    gbl_devices *room;
    gbl_device *device;
    int lane;
    uint64_t tenant; /* whose memory its own buffers are */
    uint32_t epoch;  /* of the device */
    int given;       /* slots that a run brings, arrays of results included */
    int use_count, use_room, launch_count, launch_room;
    use *uses;
    launch *launches;
    slot slots[GBL_ARGS_MAX];
} graph;

static graph *check_graph(lua_State *L, int index)
{
    graph *g = gbl_userdata_at(L, index, graph_key);
    if (!g || !g->graph) luaL_error(L, "no graph");
    return g;
}

static slot *check_slot(lua_State *L, graph *g, int index)
{
    int at = (int)luaL_checkinteger(L, index);
    luaL_argcheck(L, at >= 0 && at < GBL_ARGS_MAX, index, "no such slot");
    return &g->slots[at];
}

static int check_rc(lua_State *L, int rc)
{
    return rc < 0 ? gbl_raise_at(L, 0, "%s", gb_err_detail()) : rc;
}

/* ---- making ---- */

static int graph_gc(lua_State *L)
{
    graph *g = lua_touserdata(L, 1);
    gb_graph_close(g->graph);
    g->graph = NULL;
    if (!g->room) return 0;
    gb_mem_free(g->room->mem, g->uses, (size_t)g->use_room * sizeof *g->uses);
    gb_mem_free(g->room->mem, g->launches, (size_t)g->launch_room * sizeof *g->launches);
    gbl_devices_unref(g->room);
    g->room = NULL;
    return 0;
}

/* graph_new(device, lane): nil, message, code when out of memory. */
static int graph_new(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    graph *g = lua_newuserdata(L, sizeof *g);
    memset(g, 0, sizeof *g);
    lua_getfield(L, LUA_REGISTRYINDEX, graph_key);
    lua_setmetatable(L, -2);
    g->device = &room->at[luaL_checkinteger(L, 1)];
    g->lane = (int)luaL_checkinteger(L, 2);
    g->tenant = gbl_tenant_here(gbl_of(L));
    g->epoch = gb_device_epoch(g->device->device);
    for (int i = 0; i < GBL_ARGS_MAX; i++) g->slots[i].first_use = -1;
    int rc = gb_graph_open(&g->graph, g->device->device);
    if (rc < 0) return gbl_push_error(L, rc, gb_err_detail());
    g->room = room;
    room->refs++;
    return 1;
}

/* Room for one more of an array of items. */
static void *grow(lua_State *L, graph *g, void *items, int count, int *room, size_t size)
{
    if (count < *room) return items;
    int more = *room ? 2 * *room : 16;
    void *fresh = gb_mem_zalloc(g->room->mem, (size_t)more * size);
    if (!fresh) luaL_error(L, "%s", gb_err_detail());
    if (count) memcpy(fresh, items, (size_t)count * size);
    gb_mem_free(g->room->mem, items, (size_t)*room * size);
    *room = more;
    return fresh;
}

/* graph_launch(kernel, shape, graph): the node, or nothing when the shape has no threads. */
static int graph_launch(lua_State *L)
{
    gbl_walk w;
    gb_launch shape;
    gbl_kernel *handle = gbl_check_kernel(L);
    graph *g = check_graph(L, 3);
    const gbl_bound *bound = &handle->at[g->device - g->room->at];
    if (!bound->module) return luaL_error(L, "the kernel is not loaded");
    w.L = L;
    w.level = 0;
    if (!gbl_check_shape(&w, g->device, &shape)) return 0;
    g->launches = grow(L, g, g->launches, g->launch_count, &g->launch_room, sizeof *g->launches);
    int node = check_rc(L, gb_graph_add_launch(g->graph, bound->kernel, &shape));
    g->launches[g->launch_count++] = (launch){handle, bound->kernel, node};
    lua_pushinteger(L, node);
    return 1;
}

/* graph_copy(graph, bytes): the node. */
static int graph_copy(lua_State *L)
{
    graph *g = check_graph(L, 1);
    lua_pushinteger(L, check_rc(L, gb_graph_add_copy(g->graph, (size_t)luaL_checknumber(L, 2))));
    return 1;
}

/* graph_fill(graph, array of one element, count): the node. */
static int graph_fill(lua_State *L)
{
    graph *g = check_graph(L, 1);
    const gbl_array *pattern = gbl_array_at(L, 2);
    luaL_argcheck(L, pattern && pattern->count == 1, 2, "no pattern");
    lua_pushinteger(
        L, check_rc(L, gb_graph_add_fill(g->graph, pattern->data, gbl_type_size(L, pattern->type),
                                         (size_t)luaL_checknumber(L, 3))));
    return 1;
}

/* graph_use(graph, slot, node, what): the slot's value goes there too. */
static int graph_use(lua_State *L)
{
    graph *g = check_graph(L, 1);
    slot *own = check_slot(L, g, 2);
    g->uses = grow(L, g, g->uses, g->use_count, &g->use_room, sizeof *g->uses);
    g->uses[g->use_count] =
        (use){(int)luaL_checkinteger(L, 3), (int)luaL_checkinteger(L, 4), own->first_use};
    own->first_use = g->use_count++;
    return 0;
}

/* graph_slot(graph, slot, kind, type, count, written, exact): a run brings this. */
static int graph_slot(lua_State *L)
{
    static const char *const kinds[] = {"fixed",   "number", "int64",  "uint64",
                                        "boolean", "array",  "buffer", NULL};
    graph *g = check_graph(L, 1);
    slot *own = check_slot(L, g, 2);
    own->kind = (slot_kind)luaL_checkoption(L, 3, NULL, kinds);
    own->type = (uint32_t)lua_tonumber(L, 4);
    own->count = (int64_t)lua_tonumber(L, 5);
    own->written = lua_toboolean(L, 6);
    own->exact = lua_isnumber(L, 7);
    own->number = lua_tonumber(L, 7);
    g->given++;
    return 0;
}

static const launch *launch_at(const graph *g, int node)
{
    for (int i = 0; i < g->launch_count; i++)
        if (g->launches[i].node == node) return &g->launches[i];
    return NULL;
}

/* The parameter and its value at an index, for a walk over this one. */
static const gb_param *start_walk(gbl_walk *w, lua_State *L, const graph *g, const launch *at,
                                  int param, int index)
{
    w->L = L;
    w->level = 0;
    w->bound = &at->handle->at[g->device - g->room->at];
    w->first = index - param;
    memset(&w->uses[param], 0, sizeof w->uses[param]);
    return &w->bound->params[param];
}

/* graph_check(graph, node, param, value): raises when the parameter does not take it. */
static int graph_check(lua_State *L)
{
    gbl_walk w;
    graph *g = check_graph(L, 1);
    const launch *at = launch_at(g, (int)luaL_checkinteger(L, 2));
    int param = (int)luaL_checkinteger(L, 3);
    if (!at) return luaL_error(L, "no launch");
    start_walk(&w, L, g, at, param, 4);
    gbl_check_argument(&w, param, w.values);
    return 0;
}

/* ---- binding ---- */

static int bind_param(lua_State *L, graph *g, const use *to, int index)
{
    const gbl_array *array = gbl_array_at(L, index);
    const gbl_buffer *buffer = array ? NULL : gbl_buffer_at(L, index);
    gb_arg arg = {.buffer = NULL};
    gbl_walk w;
    if (array) {
        arg.value = &array->data;
        arg.size = sizeof array->data;
        arg.span = (size_t)array->count * gbl_type_size(L, array->type);
    } else if (buffer) {
        arg.buffer = buffer->buffer;
    } else {
        const launch *at = launch_at(g, to->node);
        arg.size = start_walk(&w, L, g, at, to->what, index)->size;
        gbl_check_argument(&w, to->what, w.values);
        arg.value = w.values;
    }
    return gb_graph_set_param(g->graph, to->node, to->what, &arg);
}

static void bind_use(lua_State *L, graph *g, const use *to, int index)
{
    int rc;
    if (to->what >= 0) {
        rc = bind_param(L, g, to, index);
    } else {
        const gbl_array *array = gbl_array_at(L, index);
        const gbl_buffer *buffer = array ? NULL : gbl_buffer_at(L, index);
        gb_place place = {buffer ? buffer->buffer : NULL, 0, array ? array->data : NULL};
        rc = to->what == USE_TO ? gb_graph_set_to(g->graph, to->node, &place)
                                : gb_graph_set_from(g->graph, to->node, &place);
    }
    check_rc(L, rc);
}

/* graph_bind(graph, node, what, value): once, for what is the same in every run; Lua keeps the
 * value alive. */
static int graph_bind(lua_State *L)
{
    graph *g = check_graph(L, 1);
    use to = {(int)luaL_checkinteger(L, 2), (int)luaL_checkinteger(L, 3), -1};
    lua_settop(L, 4);
    bind_use(L, g, &to, 4);
    return 0;
}

/* The value at an index goes where its slot is used. Raises; a graph that is half bound is bound
 * anew before it runs. */
static void bind(lua_State *L, graph *g, const slot *own, int index)
{
    for (int i = own->first_use; i >= 0; i = g->uses[i].next) bind_use(L, g, &g->uses[i], index);
}

/* What a run keeps alive. */
typedef struct holds {
    int block_count, buffer_count;
    gb_block *blocks[GBL_ARGS_MAX];
    gb_buffer *buffers[GBL_ARGS_MAX];
} holds;

static bool fits(lua_State *L, const graph *g, const slot *own, int index, holds *h)
{
    const gbl_array *array;
    const gbl_buffer *buffer;
    switch (own->kind) {
    case SLOT_FIXED:
        return false;
    case SLOT_NUMBER:
        return lua_type(L, index) == LUA_TNUMBER &&
               (!own->exact || lua_tonumber(L, index) == own->number);
    case SLOT_INT64:
        return gbl_cdata_at(L, index) == GBL_CDATA_INT64;
    case SLOT_UINT64:
        return gbl_cdata_at(L, index) == GBL_CDATA_UINT64;
    case SLOT_BOOLEAN:
        return lua_isboolean(L, index);
    case SLOT_ARRAY:
        array = gbl_array_at(L, index);
        if (!array || array->type != own->type || array->count != own->count || !array->block ||
            (own->written && gb_block_frozen(array->block)))
            return false;
        h->blocks[h->block_count++] = array->block;
        return true;
    case SLOT_BUFFER:
        buffer = gbl_buffer_at(L, index);
        if (!buffer || buffer->type != own->type || buffer->count != own->count ||
            !buffer->buffer || gb_buffer_device(buffer->buffer) != g->device->device ||
            (own->written && buffer->flags & GBL_BUFFER_SHARED))
            return false;
        h->buffers[h->buffer_count++] = buffer->buffer;
        return true;
    }
    return false;
}

/* Binds all of a table: names (at 2) to slots. How many, or -1 when something does not fit. */
static int bind_all(lua_State *L, graph *g, int table, holds *h)
{
    int count = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pushvalue(L, -2);
        lua_rawget(L, 2);
        if (!lua_isnumber(L, -1)) return -1;
        const slot *own = &g->slots[lua_tointeger(L, -1)];
        lua_pop(L, 1);
        int value = lua_gettop(L);
        if (count == GBL_ARGS_MAX || !fits(L, g, own, value, h)) return -1;
        bind(L, g, own, value);
        lua_pop(L, 1);
        count++;
    }
    return count;
}

static bool stale(const graph *g)
{
    if (g->epoch != gb_device_epoch(g->device->device)) return true;
    for (int i = 0; i < g->launch_count; i++)
        if (g->launches[i].handle->at[g->device - g->room->at].kernel != g->launches[i].kernel)
            return true;
    return false;
}

static int graph_stale(lua_State *L)
{
    lua_pushboolean(L, stale(check_graph(L, 1)));
    return 1;
}

/* graph_stats(graph): what gb_graph_get_stats says, times in seconds; why: nil when nothing fell
 * back. */
static int graph_stats(lua_State *L)
{
    gb_graph_stats stats;
    gb_graph_get_stats(check_graph(L, 1)->graph, &stats);
    const struct {
        const char *name;
        double value;
    } fields[] = {
        {"nodes", stats.nodes},
        {"edges", stats.edges},
        {"queues", stats.queues},
        {"runs", (double)stats.runs},
        {"built", (double)stats.built},
        {"replays", (double)stats.replays},
        {"fallbacks", (double)stats.fallbacks},
        {"saved", (double)stats.saved_ns / 1e9},
    };
    lua_createtable(L, 0, 9);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushnumber(L, fields[i].value);
        lua_setfield(L, -2, fields[i].name);
    }
    if (*stats.why) {
        lua_pushstring(L, stats.why);
        lua_setfield(L, -2, "why");
    }
    return 1;
}

/* graph_run(graph, names, given, results): true, or nil, message, code; waits. given and results
 * are values by slot name. False: the graph is not made for this: nothing was queued. */
static int graph_run(lua_State *L)
{
    graph *g = check_graph(L, 1);
    holds h;
    h.block_count = h.buffer_count = 0;
    lua_settop(L, 4);
    int given = stale(g) ? -1 : bind_all(L, g, 3, &h);
    int results = given < 0 ? -1 : bind_all(L, g, 4, &h);
    gbl_job *job = NULL;
    if (results >= 0 && given + results == g->given) {
        int rc = gbl_job_new(&job, L, g->room, g->device, NULL);
        if (rc < 0) return gbl_push_error(L, rc, gb_err_detail());
        if (gbl_job_lane(job) != g->lane || g->tenant != gbl_tenant_here(g->room->state)) {
            gbl_job_free(job);
            job = NULL;
        }
    }
    if (!job) {
        lua_pushboolean(L, 0);
        return 1;
    }
    for (int i = 0; i < h.block_count; i++) gbl_job_keep_block(job, h.blocks[i]);
    for (int i = 0; i < h.buffer_count; i++) gbl_job_keep_buffer(job, h.buffers[i]);
    int rc = gb_queue_run(job->queue, g->graph);
    if (rc < 0) gbl_job_fail(job, rc);
    return gbl_job_finish(L, job, false);
}

/* graph_lane(device): the lane on which a run would be now. */
static int graph_lane(lua_State *L)
{
    gbl_devices *room = gbl_devices_of(L);
    gbl_job *job;
    int rc = gbl_job_new(&job, L, room, &room->at[luaL_checkinteger(L, 1)], NULL);
    if (rc < 0) return gbl_push_error(L, rc, gb_err_detail());
    lua_pushinteger(L, gbl_job_lane(job));
    gbl_job_free(job);
    return 1;
}

void gbl_open_plan(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"graph_new", graph_new},
        {"graph_launch", graph_launch},
        {"graph_copy", graph_copy},
        {"graph_fill", graph_fill},
        {"graph_use", graph_use},
        {"graph_slot", graph_slot},
        {"graph_check", graph_check},
        {"graph_bind", graph_bind},
        {"graph_run", graph_run},
        {"graph_lane", graph_lane},
        {"graph_stale", graph_stale},
        {"graph_stats", graph_stats},
        {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
    lua_newtable(L);
    lua_pushcfunction(L, graph_gc);
    lua_setfield(L, -2, "__gc");
    lua_setfield(L, LUA_REGISTRYINDEX, graph_key);
}
