/* Runs a Lua spec in a real one-worker silo that this thread drives, and checks that every account
 * ends at zero. A spec is a script of asserts; it raises when something is wrong. It has one more
 * global, fail_at(account, n): the nth allocation from now of "tenant", "lua" or "host" fails.
 * $GB_SPECS: files with commas between; the other specs of the program are skipped.
 */
#ifndef TESTS_LUA_KIT_SPEC_H
#define TESTS_LUA_KIT_SPEC_H

#include <stdint.h>

typedef struct kit_spec {
    int cpu_devices;      /* 0: one */
    int64_t device_bytes; /* of each; 0: half of the machine's memory */
    int64_t memory_max;   /* of the state's arrays and tables; 0: none */
} kit_spec;

/* path: under tests/lua. Fails the running test with the message and traceback of the script. */
void kit_run_spec(const char *path, const kit_spec *options);

#endif
