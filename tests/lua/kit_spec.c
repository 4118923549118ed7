#include "kit_spec.h"

#include "base/err.h"
#include "gpu/gpu.h"
#include "lua/script.h"
#include "lua/state.h"

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

/* fail_at(account, n): the nth allocation from now of "tenant", "lua" or "host" fails; 0: none. */
static int fail_at(lua_State *L)
{
    gb_mem *tenant = lua_touserdata(L, lua_upvalueindex(1));
    const char *name = luaL_checkstring(L, 1);
    gb_mem *mem = tenant;
    if (strcmp(name, "lua") == 0) mem = gbl_mem(L);
    if (strcmp(name, "host") == 0) mem = tenant->parent;
    int64_t old = mem->fail_at;
    mem->fail_at = luaL_checkinteger(L, 2);
    lua_pushboolean(L, old <= 0); /* it has been reached */
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

void kit_run_spec(const char *path, const kit_spec *options)
{
    static const kit_spec none;
    if (!options) options = &none;
    gb_mem root, mem;
    gb_mem_init(&root, "host", NULL, 0);
    gb_mem_init(&mem, "tenant", &root, options->memory_max);
    gb_log log = {.level = GB_LOG_WARN};
    gb_sys *sys;
    assert_int_equal(gb_sys_open(&sys, &root), 0);
    gb_gpu *gpu;
    gb_gpu_config gpu_config = {.mem = &root, .log = &log, .cpu_devices = options->cpu_devices};
    assert_int_equal(gb_gpu_open(&gpu, &gpu_config), 0);
    gb_silo *silo;
    gb_silo_config silo_config = {.mem = &root,
                                  .sys = sys,
                                  .log = &log,
                                  .workers = 1,
                                  .spin_ns = 50000,
                                  .call_timeout_ns = 120 * GB_SEC,
                                  .stuck_ns = 120 * GB_SEC};
    assert_int_equal(gb_silo_open(&silo, &silo_config), 0);
    char folder[512];
    snprintf(folder, sizeof folder, "%s/tests/lua", GB_SOURCE_DIR);
    gbl_state *state;
    gbl_config config = {.silo = silo, .gpu = gpu, .mem = &mem, .script_dir = folder};
    if (gbl_state_open(&state, silo->workers[0], &config) < 0)
        fail_msg("no state: %s", gb_err_detail());

    lua_pushlightuserdata(state->L, &mem);
    lua_pushcclosure(state->L, fail_at, 1);
    lua_setglobal(state->L, "fail_at");
    outcome out = {0};
    drive(silo, state, path, &out);
    gb_silo_stop(silo);
    gbl_state_close(state);
    gb_silo_close(silo);
    gb_gpu_close(gpu);
    gb_sys_close(sys);
    if (out.rc < 0) fail_msg("%s: %s", path, out.text ? out.text : gb_err_name(out.rc));
    gb_mem_fini(&mem);
    gb_mem_fini(&root);
}
