/* One Lua state in a real one-worker silo that the calling thread drives; at its end every account
 * is at zero. What fails here is checked (GB_CHECK), so that programs without cmocka use it too.
 */
#ifndef TESTS_LUA_KIT_STATE_H
#define TESTS_LUA_KIT_STATE_H

#include "base/log.h"
#include "gpu/gpu.h"
#include "lua/state.h"

typedef struct kit_state {
    gb_mem root, mem; /* of the host, of the tenant */
    gb_log log;
    gb_sys *sys;
    gb_gpu *gpu;
    gb_silo *silo;
    struct gbl_keep *keep;
    gbl_state *state;
} kit_state;

/* cpu_devices: 0: one. memory_max: of the tenant; 0: no cap. */
void kit_state_open(kit_state *kit, int cpu_devices, int64_t memory_max);
void kit_state_open_on(kit_state *kit, const gb_gpu_config *devices, int64_t memory_max);

/* Stops the silo and closes all; then the caller's blocks must be gone. */
void kit_state_close(kit_state *kit);

/* The accounts are at zero. */
void kit_state_fini(kit_state *kit);

#endif
