/* Spans of sampled traces: of turns, and of the launches that they make (telemetry/tracer.h). */
#include "lua/state.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

static int64_t wall(const gbl_state *state)
{
    return gb_wall(state->worker->silo->sys);
}

void gbl_trace_begin(gbl_state *state, gb_call *turn)
{
    gb_trace *trace = &turn->context.trace;
    uint64_t words[2] = {gbl_random(state) | 1, gbl_random(state)};
    *trace = (gb_trace){.flags = 0};
    memcpy(trace->trace, words, sizeof words);
    if (state->config.tracer) gb_tracer_decide(state->config.tracer, trace);
}

/* Scripts and the house's own grains leave no spans; the calls that they make do. */
gb_span *gbl_span_turn(gbl_state *state, gb_call *turn)
{
    if (turn->flags & GB_CALL_HOOK || turn->act->type->name->text[0] == '$') return NULL;
    if (!gbl_traced(turn)) gbl_trace_begin(state, turn);
    if (!gb_tracer_wants(state->config.tracer, state->worker->index, &turn->context.trace))
        return NULL;
    char name[GB_SPAN_NAME_BYTES], key[24];
    const char *type = turn->act->type->name->text;
    snprintf(name, sizeof name, "%s.%s", type, turn->method ? turn->method->text : "spawn");
    gb_span *span = gb_tracer_begin(state->config.tracer, state->worker->index,
                                    &turn->context.trace, gbl_random(state), name, wall(state));
    if (!span) return NULL;
    gb_key id = gb_act_key(turn->act);
    snprintf(key, sizeof key, "%lld", (long long)id.number);
    gb_span_text(span, "grain.type", type);
    gb_span_text(span, "grain.id", id.text ? id.text : key);
    return span;
}

gb_span *gbl_span_launch(gbl_state *state, int device, bool is_cpu, const char *kernel)
{
    gb_call *turn = gbl_turn(state);
    if (!state->config.tracer || !turn) return NULL;
    gb_trace below = turn->context.trace; /* calls that the turn makes are not the launch's */
    if (!gb_tracer_wants(state->config.tracer, state->worker->index, &below)) return NULL;
    gb_span *span = gb_tracer_begin(state->config.tracer, state->worker->index, &below,
                                    gbl_random(state), "gpu.kernel.execute", wall(state));
    if (!span) return NULL;
    gb_span_text(span, "kernel.name", kernel);
    gb_span_number(span, "device.index", device);
    gb_span_text(span, "device.type", is_cpu ? "cpu" : "gpu");
    return span;
}

void gbl_span_end(gbl_state *state, gb_span *span, int status)
{
    if (span)
        gb_tracer_end(state->config.tracer, state->worker->index, span, wall(state),
                      status < 0 ? status : 0);
}

static void put_span(void *user, const gb_span *span)
{
    gb_buf *out = user;
    gb_buf_printf(out, "%s", out->size ? "," : "[");
    gb_span_json(span, out);
}

static int push_text(lua_State *L)
{
    lua_pushstring(L, gb_buf_text(lua_touserdata(L, 1)));
    return 1;
}

/* spans(): the finished spans of the silo, each told once, as the text of a JSON list, and how many
 * were not kept so far; nothing: tracing is off. */
static int spans(lua_State *L)
{
    gbl_state *state = gbl_of(L);
    if (!state->config.tracer) return 0;
    gb_buf text;
    gb_buf_init(&text, &state->mem);
    int count = gb_tracer_take(state->config.tracer, put_span, &text);
    gb_buf_printf(&text, "%s", count ? "]" : "[]");
    lua_pushcfunction(L, push_text); /* it may raise: then there are bytes to free */
    lua_pushlightuserdata(L, &text);
    int failed = lua_pcall(L, 1, 1, 0);
    gb_buf_fini(&text);
    if (failed) return lua_error(L);
    lua_pushnumber(L, (lua_Number)gb_tracer_dropped(state->config.tracer));
    return 2;
}

void gbl_open_span(lua_State *L)
{
    static const luaL_Reg functions[] = {{"spans", spans}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}
