/* What the host asks of the Lua room: states, scripts, virtual time. On the thread of the state's
 * worker. */
#ifndef GB_LUA_SCRIPT_H
#define GB_LUA_SCRIPT_H

#include "grain/grain.h"
#include "grain/kind.h"

#include <stdbool.h>

struct gb_gpu;
struct gbl_keep;
typedef struct gbl_state gbl_state;

/* Values as bytes, with the blocks of their arrays: between this room and functions of the program
 * around us. */
typedef struct gbl_message {
    gb_buf bytes;
    gb_block **blocks;
    uint32_t block_count;
    int count;  /* values */
    bool wrong; /* results that cannot be sent: raised, not returned */
} gbl_message;

/* Those functions, by name: what gb.host.name(...) calls. Any worker's thread. */
typedef struct gbl_exports {
    void *user;
    const void *(*find)(void *user, const char *name); /* stays valid; NULL: none */
    void (*each)(void *user, void (*see)(void *to, const char *name), void *to);
    int (*call)(void *user, const void *found, gbl_message *args,
                gbl_message *results); /* detail */
} gbl_exports;

typedef struct gbl_config {
    gb_silo *silo;
    struct gb_gpu *gpu;
    struct gb_tracer *tracer; /* of spans; outlives the states. NULL: none are made */
    struct gbl_keep *keep; /* state of resident grains; outlives the states. NULL: there are none */
    gb_mem *mem;
    const char *app_dir;       /* or NULL */
    const char *script_dir;    /* or NULL */
    bool virtual_time;         /* gb.test may move it */
    int64_t lua_bytes_max;     /* of each state; 0: no cap */
    int64_t message_bytes_max; /* of the strings of one message; 0: 64 MiB */
    bool pretend_gpus;         /* cpu devices count as GPUs where grains are placed */
    bool prefer_gpu;           /* batches that say nothing take one */
    int kernels_max;           /* launches under way in the silo; 0: any number */
    gbl_exports exports;       /* all NULL: none */
    const char *lua_config;    /* the text of the table that Lua sees as gb.config, or NULL */
    void (*exit)(void *user,
                 int code); /* os.exit asks for the end of the host; NULL: as in plain Lua */
    void *exit_user;
} gbl_config;

extern const gb_kind gbl_kind;

int gbl_state_open(gbl_state **out, gb_worker *worker, const gbl_config *config);

/* After gb_silo_stop, with no op under way (gbl_ops_under_way). */
void gbl_state_close(gbl_state *state);

/* The end of a script: 0, or a negative code with a message and, when it raised, a traceback (or
 * NULL). */
typedef void gbl_script_fn(void *user, int rc, const char *message, const char *traceback);

/* Starts a file as a turn. GB_ENOENT, or GB_EINVAL with the syntax error as detail: done never runs
 * then. */
int gbl_script_run(gbl_state *state, const char *path, const char *chunk_name, int argc,
                   char **argv, gbl_script_fn *done, void *user);

/* Starts a function of the native table as a turn, with text arguments. */
int gbl_call_core(gbl_state *state, const char *name, int argc, const char **argv,
                  gbl_script_fn *done, void *user);

/* Ends the script and all that it spawned, wherever they wait. Outside of turns. */
void gbl_script_end(gbl_state *state);

/* Simulated worlds: wakes turns that wait for quiet; false when there are none. */
bool gbl_wake_idlers(gbl_state *state);

/* Work of other rooms that has not come back. */
bool gbl_ops_under_way(gbl_state *state);

#endif
