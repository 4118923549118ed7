/* What the files of the Lua room share: the state of one worker. Its own thread only. */
#ifndef GB_LUA_STATE_H
#define GB_LUA_STATE_H

#include "grain/grain.h"
#include "grain/kind.h"
#include "lua/alloc.h"
#include "lua/lua.h"
#include "lua/script.h"
#include "telemetry/tracer.h"

/* C functions that are run protected so often that each has a place in the registry. */
typedef enum {
    GBL_RUN_OPEN,
    GBL_RUN_UNPACK,
    GBL_RUN_TRANSFER,
    GBL_RUN_DECODE,
    GBL_RUN_OP,
    GBL_RUN_FUTURE,
    GBL_RUNS
} gbl_run;

/* A pooled coroutine: the body of a turn. */
typedef struct gbl_co {
    lua_State *L;
    int ref;           /* anchors L in the registry */
    int pushed;        /* values on L that the next resume takes */
    uint32_t park_seq; /* changes with every park: a ticket for an older one is void */
    uint32_t caller;   /* as many bytes of the call name its caller; 0: none do */
    bool begun;        /* looked at for a span */
    uint64_t tenant;   /* on whose behalf a turn of the house runs; 0: its grain's own */
    gb_span *span;     /* of the turn, or NULL */
    struct gbl_co *next;
} gbl_co;

/* One grain type as this state sees it: type->local[worker].body. */
typedef struct gbl_type {
    gb_type *type;
    int class_ref;
    int meta_ref; /* metatable of instances */
    int *fn_refs; /* by symbol id: a registry reference, 0 not looked up, -1 none */
    uint32_t fn_count;
    bool ready;                       /* the module that defines it has run to its end */
    bool complete;                    /* hooks are looked up: with the first activation */
    int activate_ref, deactivate_ref; /* or 0 */
    int make_ref;                     /* makes an instance from a handle */
    uint64_t tenant;                  /* see gb_gpu_tenant */
    bool reloaded;                    /* instances of an older version may be there */
} gbl_type;

/* Permission to wake a turn that is parked now. */
typedef struct gbl_ticket {
    gb_call *turn;
    uint32_t serial, park_seq;
} gbl_ticket;

struct gbl_state {
    lua_State *L; /* the main thread of the state: never runs user code that waits */
    gb_worker *worker;
    gbl_config config;
    char too_long[80]; /* why a message is refused */
    gb_mem mem;        /* the arrays and buffers of this state */
    gbl_alloc *alloc;  /* what LuaJIT holds */
    int64_t collected; /* bytes of it after the last collection for lack of memory */
    gbl_co *free;
    uint32_t free_count;
    int *chunk_refs; /* tables of 1,024 instances, by activation slot */
    uint32_t chunk_count;
    int *sym_refs; /* by symbol id: the Lua string, 0 not made */
    const gb_sym **syms;
    uint32_t sym_count;
    gb_type *root_type;
    gb_act *root;
    bool parked;            /* set by gbl_park, taken by the kind's run */
    int core_ref;           /* the native table */
    int run_refs[GBL_RUNS]; /* by gbl_run */
    int futures_ref;        /* pending futures, by id */
    int future_meta_ref;
    int waiting_ref;                  /* why a coroutine cannot be resumed, by coroutine */
    int barred;                       /* Lua runs in a coroutine whose resumer cannot wait */
    struct gbl_waiter *spare_waiters; /* future.c */
    int spare_waiter_count;
    gb_list pending, sleepers, op_waits, idlers; /* what is under way */
    atomic_int posting; /* threads that tell the end of an op just now: the worker must stay */
    uint64_t random[2];
    uint64_t clock, clock_pass, clock_ticks; /* gbl_now: last read, in the pass of, at */
};

/* The silo's clock. worker->now is as of the pass, and a turn may have run for long since: what it
 * waits for counts from now. A read costs as much as a quarter of a call, so for about a third of a
 * millisecond the last one is good enough. */
static inline uint64_t gbl_now(gbl_state *state)
{
    gb_worker *worker = state->worker;
#ifdef __x86_64__
    uint64_t ticks = __builtin_ia32_rdtsc();
    if (state->clock_pass == worker->now && ticks - state->clock_ticks < 1000000)
        return state->clock;
    state->clock_ticks = ticks;
    state->clock_pass = worker->now;
#endif
    state->clock = gb_now(worker->silo->sys);
    return state->clock;
}

/* ---- state.c ---- */

/* Runs one with the argument as light userdata on the state's main thread: what it returns stays on
 * that stack. 0, or GB_ENOMEM / GB_EINVAL with the detail set (nothing is left on the stack then).
 */
int gbl_protect(gbl_state *state, gbl_run run, void *argument);
void gbl_protect_add(lua_State *L, gbl_run run, lua_CFunction fn);

gbl_co *gbl_co_take(gbl_state *state);           /* NULL: out of memory */
void gbl_co_give(gbl_state *state, gbl_co *co);  /* ended well: used again */
void gbl_co_close(gbl_state *state, gbl_co *co); /* ended badly or parked: dropped */

const gb_sym *gbl_sym(gbl_state *state, uint32_t id);
void gbl_push_sym(gbl_state *state, lua_State *L, const gb_sym *sym);
gbl_type *gbl_type_of(gbl_state *state, gb_type *type);
uint64_t gbl_random(gbl_state *state);
/* ---- span.c ---- */

void gbl_trace_begin(gbl_state *state, gb_call *turn); /* the chain of calls gets its trace */

/* Of a turn that is to run for the first time, with a tracer; of a launch that the running turn
 * makes. NULL: it leaves none. */
gb_span *gbl_span_turn(gbl_state *state, gb_call *turn);
gb_span *gbl_span_launch(gbl_state *state, int device, bool is_cpu, const char *kernel);
void gbl_span_end(gbl_state *state, gb_span *span, int status); /* NULL is allowed */
void gbl_open_span(lua_State *L);

static inline bool gbl_traced(const gb_call *turn)
{
    uint64_t words[2];
    __builtin_memcpy(words, turn->context.trace.trace, sizeof words);
    return (words[0] | words[1]) != 0;
}

static inline gb_call *gbl_turn(gbl_state *state)
{
    return state->worker->current;
}

/* Seconds of Lua as nanoseconds; what is longer than 300 years is for ever. */
static inline uint64_t gbl_ns(double seconds)
{
    if (!(seconds > 0)) return 0;
    return seconds > 1e10 ? GB_FOREVER / 2 : (uint64_t)(seconds * 1e9 + 0.5);
}

/* See gbl_alloc_cap. Nothing to do in states without a cap. */
static inline bool gbl_cap(gbl_state *state, bool on)
{
    return __builtin_expect(state->config.lua_bytes_max != 0, 0) && gbl_alloc_cap(state->alloc, on);
}

/* Loads a chunk from a file as a function on L: 0 or negative with the detail set. */
int gbl_load_file(lua_State *L, const char *path, const char *chunk_name);

/* ---- kind.c ---- */

#define GBL_HANDLE "__act" /* the field of an instance that names its activation */

/* Slot and generation in one Lua number. */
static inline double gbl_handle(const gb_act *act)
{
    return (double)((uint64_t)act->generation << 26 | act->slot);
}

static inline gb_act *gbl_act_of(gbl_state *state, double handle)
{
    uint64_t bits = (uint64_t)handle;
    return gb_act_at(state->worker, (uint32_t)(bits & 0x3ffffff), (uint32_t)(bits >> 26));
}

void gbl_push_self(gbl_state *state, lua_State *L, const gb_act *act);
void gbl_type_forget(gbl_state *state, gbl_type *own); /* looks methods and hooks up again */
bool gbl_stale(gbl_state *state, gbl_type *own,
               const gb_act *act); /* is its instance of the version before a reload? */
void gbl_type_complete(lua_State *L, gbl_type *own); /* asks for the hooks; may raise */
int gbl_method(gbl_state *state, gbl_type *own,
               const gb_sym *sym); /* a registry reference; -1: none; 0: GB_ENOMEM */

/* ---- grain.c ---- */

int gbl_load_type(gbl_state *state, gb_type *type);

/* ---- future.c ---- */

/* Pending futures: a Lua table that a completion fills. Pushes the future. */
typedef struct gbl_pending gbl_pending;
gbl_pending *gbl_future_new(lua_State *L);
/* The values are the top count of L; pops them. Frees pending and wakes who waits. */
void gbl_future_finish(gbl_state *state, gbl_pending *pending, lua_State *L, int count);
void gbl_future_set_call(gbl_pending *pending, gb_call *call);
/* forget runs when the future finishes; the op may go on. */
void gbl_future_set_op(gbl_pending *pending, gb_op *op, void (*forget)(gb_op *op));
void gbl_futures_close(gbl_state *state);

/* ---- turn.c ---- */

/* The running turn waits. Raises when it cannot (a C function is between). Returns what the C
 * function returns. */
void gbl_check_park(gbl_state *state, lua_State *L, const char *what);
gbl_ticket gbl_park(gbl_state *state, gb_call *waits);
int gbl_yield(gbl_state *state, lua_State *L);
bool gbl_ticket_valid(const gbl_state *state, const gbl_ticket *ticket);
lua_State *gbl_ticket_stack(const gbl_ticket *ticket); /* where its results are pushed */
void gbl_wake(const gbl_ticket *ticket, int pushed);

void gbl_sleepers_close(gbl_state *state);
void gbl_idlers_close(gbl_state *state);

/* Starts a function (on top of L with its arguments above) as a detached turn. done as in gb_call.
 * NULL: out of memory (the detail is set), and done never runs. */
gb_call *gbl_spawn(gbl_state *state, lua_State *L, int args, gb_act *act, void (*done)(gb_call *),
                   void *user);

/* ---- encode.c, decode.c, copy.c: see value.h ---- */

typedef struct gbl_packer {
    gb_buf *bytes;
    gb_block ***blocks;
    uint32_t *block_count;
} gbl_packer;

/* Appends the values at index first .. first + count - 1 of L. what: "argument" or "result", for
 * the error's path. 0, or GB_EINVAL / GB_ENOMEM with the detail set. */
int gbl_encode(lua_State *L, int first, int count, gbl_packer *to, const char *what);

/* The same where the sending can still fail: the arrays and buffers that the message takes along
 * keep their handles until gbl_moves_end, which comes in either case. moves: all zero. */
typedef struct gbl_moves {
    struct gbl_moved *at;
    int count, room;
} gbl_moves;

int gbl_encode_call(lua_State *L, int first, int count, gbl_packer *to, const char *what,
                    gbl_moves *moves);
void gbl_moves_end(lua_State *L, gbl_moves *moves, bool sent);

/* Appends who calls, before the arguments; gbl_caller_size tells how many bytes of a message that
 * is (0: it names none), and gbl_caller_push pushes the type's name and the key (2), or nothing
 * (0). */
int gbl_encode_caller(gbl_packer *to, const gb_act *caller);
size_t gbl_caller_size(const void *bytes, size_t size);
int gbl_caller_push(lua_State *L, const void *bytes, size_t size);

/* Who wrote the bytes. A buffer is a handle of this process, so only messages that began in it may
 * carry one. */
typedef enum { GBL_FROM_HERE, GBL_FROM_AFAR } gbl_from;
static inline gbl_from gbl_from_of(const gb_call *call)
{
    return call->way & GB_WAY_AFAR ? GBL_FROM_AFAR : GBL_FROM_HERE;
}

/* Pushes the values: how many, or negative with the stack as it was. Never trusts the bytes. Blocks
 * are taken over one by one. May raise when out of memory. */
int gbl_decode(lua_State *L, const void *bytes, size_t size, gb_block **blocks,
               uint32_t block_count, gbl_from from);

/* The same for up to 8 values that are all nil, booleans and numbers, which raise nothing and need
 * no more of the stack than any function has. Negative, without a detail: they are not. */
int gbl_decode_scalars(lua_State *L, const void *bytes, size_t size);

/* Pushes deep copies of count values from index first on (positive) onto the same stack. False:
 * nothing is pushed, and gbl_encode will say why, or can do it. May raise when out of memory. */
bool gbl_copy(lua_State *L, int first, int count);

/* ---- call.c, grain.c, misc.c ---- */

void gbl_open_call(lua_State *L);
void gbl_open_turn(lua_State *L);
void gbl_open_future(lua_State *L);
void gbl_open_wait(lua_State *L);
void gbl_open_grain(lua_State *L);
void gbl_open_script(lua_State *L);
void gbl_open_kind(lua_State *L);
void gbl_open_inspect(lua_State *L);

/* Under whom what a grain holds of devices stands in the ledger; act NULL: scripts. */
typedef struct gbl_payer {
    uint64_t tenant, owner;
} gbl_payer;
gbl_payer gbl_payer_of(gbl_state *state, const gb_act *act);
/* Of what is opened now: the running grain, or scripts; and the tenant of that, or the one whom a
 * turn of the house works for. */
gbl_payer gbl_payer_here(gbl_state *state);
uint64_t gbl_tenant_here(gbl_state *state);
/* Whom the options of a grain type at an index name: a number, 0 for nobody; or what gb_gpu_tenant
 * says. */
int gbl_read_tenant(lua_State *L, int index, uint64_t *out);

/* A key as references keep it (ref.lua). */
void gbl_push_key(lua_State *L, gb_key key);

/* Who called: the type's name and the key (2), or nothing (0): a script, or who went on meanwhile.
 */
int gbl_push_caller(lua_State *L, gb_call *turn);

/* nil, message, code from a failed call onto a stack: how many. */
int gbl_push_failure(lua_State *L, int rc, const char *message);

/* The results of an ended call onto a stack: how many. */
int gbl_push_results(gbl_state *state, gb_call *call, lua_State *to);

#endif
