#include "kit_spec.h"

#include "gpu/front.h"

#include "kit_state.h"

#include "base/err.h"
#include "folder.h"
#include "lua/keep.h"
#include "lua/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct outcome {
    bool ended;
    int rc;
    char *text;
} outcome;

static void ended(void *user, int rc, const char *message, const char *traceback)
{
    outcome *out = user;
    out->ended = true;
    out->rc = rc;
    if (rc < 0 && asprintf(&out->text, "%s\n%s", message ? message : gb_err_name(rc),
                           traceback ? traceback : "") < 0)
        out->text = NULL;
}

/* fail_at(account, n): the nth allocation from now of "tenant", "lua", "host", "gpu" or "kept"
 * fails; 0: none. */
static int fail_at(lua_State *L)
{
    kit_state *kit = lua_touserdata(L, lua_upvalueindex(1));
    const char *name = luaL_checkstring(L, 1);
    gb_mem *mem = &kit->mem;
    if (strcmp(name, "lua") == 0) mem = gbl_mem(L);
    if (strcmp(name, "host") == 0) mem = kit->mem.parent;
    if (strcmp(name, "gpu") == 0) mem = &kit->gpu->room;
    if (strcmp(name, "kept") == 0) mem = gbl_keep_mem(kit->keep);
    int64_t old = mem->fail_at;
    mem->fail_at = luaL_checkinteger(L, 2);
    lua_pushboolean(L, old <= 0); /* it has been reached */
    return 1;
}

/* scratch(name): the path of a file that goes with this process. */
static int scratch(lua_State *L)
{
    static char folder[FOLDER_BYTES];
    if (!folder[0] && !folder_make(folder, "spec")) return luaL_error(L, "no folder");
    lua_pushfstring(L, "%s/%s", folder, luaL_checkstring(L, 1));
    return 1;
}

static void drive(gb_silo *silo, gbl_state *state, const char *path, outcome *out)
{
    char full[512];
    snprintf(full, sizeof full, "%s/tests/lua/%s", GB_SOURCE_DIR, path);
    char chunk[512];
    snprintf(chunk, sizeof chunk, "@%s", path);
    int rc = gbl_script_run(state, full, chunk, 0, NULL, ended, out);
    if (rc < 0) fail_msg("%s does not start: %s", path, gb_err_detail());
    gb_worker *worker = silo->workers[0];
    while (!out->ended || gbl_ops_under_way(state))
        if (!gb_worker_pass(worker, 1000000)) gb_worker_wait(worker, gb_worker_next(worker));
}

static bool wanted(const char *path)
{
    const char *only = getenv("GB_SPECS"), *found = only ? strstr(only, path) : NULL;
    if (!only || !*only) return true;
    char after = found ? found[strlen(path)] : ' ';
    return found && (found == only || found[-1] == ',') && (!after || after == ',');
}

void kit_run_spec(const char *path, const kit_spec *options)
{
    static const kit_spec none;
    if (!wanted(path)) skip();
    if (!options) options = &none;
    kit_state kit;
    kit_state_open_on(&kit,
                      &(gb_gpu_config){.cpu_devices = options->cpu_devices,
                                       .cpu_memory_bytes = options->device_bytes},
                      options->memory_max);
    lua_State *L = kit.state->L;
    lua_pushlightuserdata(L, &kit);
    lua_pushcclosure(L, fail_at, 1);
    lua_setglobal(L, "fail_at");
    lua_pushcfunction(L, scratch);
    lua_setglobal(L, "scratch");
    outcome out = {0};
    drive(kit.silo, kit.state, path, &out);
    kit_state_close(&kit);
    if (out.rc < 0) fail_msg("%s: %s", path, out.text ? out.text : gb_err_name(out.rc));
    kit_state_fini(&kit);
}
