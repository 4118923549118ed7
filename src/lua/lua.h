/* The Lua room, seen from inside: one Lua state per worker, and how C code of this room waits.
 *
 * Everything here runs on the state's own worker thread. A binding file (array.c, gpu.c, ...) adds
 * its functions to the native table `gb.core` in gbl_open_NAME and knows nothing of the others.
 *
 * Waiting. A C function that starts a gb_op makes a gbl_wait, starts the op with &wait->op and ends
 * with return gbl_wait_finish(L, wait, started); where started is what the start returned
 * (GB_OP_PENDING, GB_OP_READY or negative). It parks the running turn if need be; what the caller
 * in Lua then sees is what wait->results pushed (default: true, or nil, message, code).
 * gbl_wait_future does the same but returns a future at once. In a turn that cannot park (a sort or
 * gsub callback) the function raises and names the reason. The caller may be gone before the op
 * ends (deadline, cancellation): then results never runs; drop runs exactly once in every case,
 * when the op has ended.
 */
#ifndef GB_LUA_LUA_H
#define GB_LUA_LUA_H

#include "base/mem.h"
#include "sys/op.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

struct gb_gpu;
typedef struct gbl_state gbl_state;

gbl_state *gbl_of(lua_State *L);
gb_mem *gbl_mem(lua_State *L);        /* the account of this state's tenant */
struct gb_gpu *gbl_gpu(lua_State *L); /* the host's devices; never NULL */

/* Pushes the instance whose turn runs; false (nothing pushed) in scripts and outside of turns. */
bool gbl_push_running(lua_State *L);

/* nil, message, code: returns 3. */
int gbl_push_error(lua_State *L, int rc, const char *message);

/* Raises at the line of the Lua caller (level 1 is the C function's caller). */
int gbl_raise(lua_State *L, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* lua_error, for functions that may have had another coroutine run before. */
int gbl_throw(lua_State *L);

typedef struct gbl_wait gbl_wait;
struct gbl_wait {
    gb_op op;
    int rc;              /* for drop: how the op ended */
    uint64_t timeout_ns; /* the waiter gets ETIMEDOUT then and op.cancelled is set; 0: only its
                            turn's deadline */
    void *user;          /* the binding's */
    int (*results)(lua_State *L, gbl_wait *wait,
                   int rc);       /* pushes, returns how many; NULL: the default */
    void (*drop)(gbl_wait *wait); /* releases user; NULL: nothing to release */
};

/* op.done is set by this room; NULL and ENOMEM set when out of memory. */
gbl_wait *gbl_wait_new(lua_State *L);
int gbl_wait_finish(lua_State *L, gbl_wait *wait, int started);
int gbl_wait_future(lua_State *L, gbl_wait *wait, int started);

/* Binding files: each adds fields to the native table on top of the stack. */
void gbl_open_array(lua_State *L);
void gbl_open_gpu(lua_State *L);
void gbl_open_export(lua_State *L);

#endif
