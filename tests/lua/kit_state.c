#include "kit_state.h"

#include "base/check.h"
#include "base/err.h"
#include "lua/keep.h"

#include <string.h>

void kit_state_open(kit_state *kit, int cpu_devices, int64_t memory_max)
{
    kit_state_open_on(kit, &(gb_gpu_config){.cpu_devices = cpu_devices}, memory_max);
}

static int help(void *gpu)
{
    return gb_gpu_help(gpu);
}

void kit_state_open_on(kit_state *kit, const gb_gpu_config *devices, int64_t memory_max)
{
    memset(kit, 0, sizeof *kit);
    gb_mem_init(&kit->root, "host", NULL, 0);
    gb_mem_init(&kit->mem, "tenant", &kit->root, memory_max);
    kit->log = (gb_log){.level = GB_LOG_WARN};
    int rc = gb_sys_open(&kit->sys, &kit->root);
    GB_CHECK(rc == 0);
    gb_gpu_config gpu = *devices;
    gpu.mem = &kit->root;
    gpu.log = &kit->log;
    rc = gb_gpu_open(&kit->gpu, &gpu);
    GB_CHECK(rc == 0);
    gb_silo_config silo = {.mem = &kit->root,
                           .sys = kit->sys,
                           .log = &kit->log,
                           .workers = 1,
                           .spin_ns = 50000,
                           .help = help,
                           .busy_user = kit->gpu,
                           .call_timeout_ns = 120 * GB_SEC,
                           .stuck_ns = 120 * GB_SEC};
    rc = gb_silo_open(&kit->silo, &silo);
    GB_CHECK(rc == 0);
    kit->keep = gbl_keep_new(&kit->root);
    GB_CHECK(kit->keep != NULL);
    gbl_config config = {.silo = kit->silo,
                         .gpu = kit->gpu,
                         .keep = kit->keep,
                         .mem = &kit->mem,
                         .script_dir = GB_SOURCE_DIR "/tests/lua"};
    rc = gbl_state_open(&kit->state, kit->silo->workers[0], &config);
    if (rc < 0) gb_panic(__FILE__, __LINE__, "no state: %s", gb_err_detail());
}

void kit_state_close(kit_state *kit)
{
    gb_silo_stop(kit->silo);
    gbl_state_close(kit->state);
    gbl_keep_free(kit->keep);
    gb_silo_close(kit->silo);
    gb_gpu_close(kit->gpu);
    gb_sys_close(kit->sys);
}

void kit_state_fini(kit_state *kit)
{
    gb_mem_fini(&kit->mem);
    gb_mem_fini(&kit->root);
}
