/* The cuda backend over the software driver when any of its calls fails: each row of the driver,
 * NVRTC and NVML, at a few of its calls, with an ordinary and a sticky error. Each case is a
 * process of its own, which has to end by itself, in time, with every error told, and with nothing
 * left in the driver. */
#include "kit_case.h"
#include "kit_scene.h"

#include "gpu/cuda_api.h"

#include <dlfcn.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NAME(name, need, level, type, parameters) #name,
static const char *const driver_rows[] = {GB_CUDA_ROOTS(NAME) GB_CUDA_TABLE(NAME) NULL};
static const char *const nvrtc_rows[] = {GB_NVRTC_TABLE(NAME) NULL};
static const char *const nvml_rows[] = {GB_NVML_TABLE(NAME) NULL};

/* ---- the process of one case ---- */

static int remove_one(const char *path, const struct stat *state, int kind, struct FTW *at)
{
    return remove(path);
}

static void print_counts(const char *const *rows, unsigned (*calls)(const char *))
{
    for (; *rows; rows++) printf("calls %s %u\n", *rows, calls(*rows));
}

static int run_scene(void)
{
    char cache[] = GB_BINARY_DIR "/walk-XXXXXX";
    kit_scene scene;
    if (!mkdtemp(cache)) return 3;
    kit_scene_run(&scene, cache);
    nftw(cache, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    printf("%d steps, %d failures, first: %s\n", scene.steps, scene.failures, scene.first);
    printf("%d replays, %d fallbacks\n", scene.replays, scene.fallbacks);
    void *library = dlopen(GB_SOFTCUDA, RTLD_NOW | RTLD_NOLOAD);
    unsigned (*calls)(const char *) = NULL;
    void *symbol = library ? dlsym(library, "softcuda_calls") : NULL;
    memcpy(&calls, &symbol, sizeof symbol);
    if (calls) {
        static const char *const commands[] = {"execute", NULL};
        print_counts(commands, calls);
        print_counts(driver_rows, calls);
        print_counts(nvrtc_rows, calls);
        print_counts(nvml_rows, calls);
    }
    return scene.complaints ? 4 : 0;
}

/* ---- the walk ---- */

typedef struct walk {
    int cases, bad;
} walk;

static void run_case(const char *fail, kit_outcome *out)
{
    setenv("GB_SOFTCUDA_FAIL", fail, 1);
    kit_case_run("scene", out);
}

static unsigned calls_of(const kit_outcome *out, const char *row)
{
    char mark[96];
    snprintf(mark, sizeof mark, "calls %s ", row);
    const char *at = strstr(out->output, mark);
    return at ? (unsigned)strtoul(at + strlen(mark), NULL, 10) : 0;
}

static void try(walk *w, const char *row, unsigned call, int code)
{
    static kit_outcome out;
    char fail[128];
    snprintf(fail, sizeof fail, "%s@%u=%d", row, call, code);
    run_case(fail, &out);
    const char *wrong = kit_case_verdict(&out);
    w->cases++;
    if (getenv("GB_WALK_SHOW"))
        printf("# %s: %.*s\n", fail, (int)strcspn(out.output, "\n"), out.output);
    if (!wrong) return;
    w->bad++;
    char *calls = strstr(out.output, "calls ");
    if (calls) *calls = 0;
    printf("GB_SOFTCUDA_FAIL=%s: %s (status 0x%x)\n%s\n", fail, wrong, out.status, out.output);
    fflush(stdout);
}

static bool takes_all(void)
{
    const char *how = getenv("GB_WALK");
    return how && strcmp(how, "all") == 0;
}

/* The first two calls of each row that is called at all, a middle one and its last; with
 * GB_WALK=all the first sixteen and then each that is an eighth further. How often a row is called
 * differs from run to run: a call that does not come fails nothing. */
static void walk_row(walk *w, const char *row, unsigned calls, const int codes[2])
{
    unsigned step;
    if (takes_all()) {
        for (unsigned call = 1; call <= calls; call += step) {
            for (int k = 0; k < 2; k++) try(w, row, call, codes[k]);
            step = call < 16 ? 1 : call / 8;
        }
    } else {
        for (unsigned call = 1; call <= calls && call <= 2; call++)
            for (int k = 0; k < 2; k++) try(w, row, call, codes[k]);
        if (calls > 3) try(w, row, calls / 2, codes[calls / 2 % 2]);
    }
    if (calls > 2)
        for (int k = 0; k < 2; k++) try(w, row, calls, codes[k]);
}

static void walk_rows(const char *const *rows, const int codes[2])
{
    static kit_outcome plain;
    walk w = {.cases = 0};
    run_case("", &plain);
    const char *wrong = kit_case_verdict(&plain);
    if (wrong) fail_msg("without a failure: %s\n%s", wrong, plain.output);
    if (!strstr(plain.output, ", 0 failures")) fail_msg("%s", plain.output);
    const char *only = getenv("GB_WALK_ROW");
    for (; *rows; rows++) {
        unsigned calls = calls_of(&plain, *rows);
        if (only && strcmp(only, *rows) != 0) continue;
        walk_row(&w, *rows, calls, codes);
    }
    printf("# %d cases\n", w.cases);
    assert_int_equal(w.bad, 0);
}

/* ---- tests ---- */

static void driver(void **state)
{
    static const int codes[] = {GB_CU_OUT_OF_MEMORY, GB_CU_LAUNCH_FAILED};
    walk_rows(driver_rows, codes);
}

static void commands(void **state)
{
    static const char *const rows[] = {"execute", NULL};
    static const int codes[] = {GB_CU_ILLEGAL_ADDRESS, GB_CU_ECC};
    static kit_outcome plain;
    walk w = {.cases = 0};
    run_case("", &plain);
    unsigned all = calls_of(&plain, rows[0]);
    assert_true(all > 50);
    for (unsigned call = 1; call <= 12; call += 2)
        for (int k = 0; k < 2; k++) try(&w, rows[0], call, codes[k]);
    for (unsigned back = 0; back < 36; back += 5) try(&w, rows[0], all - back, codes[back % 2]);
    assert_int_equal(w.bad, 0);
}

/* The same where a device that is lost is reset in the midst of it. */
static void owner(void **state)
{
    setenv("GB_SCENE_OWNS", "1", 1);
    commands(state);
    if (takes_all()) driver(state);
    unsetenv("GB_SCENE_OWNS");
}

/* Memory out of the driver's own pool: its calls, and those that it comes between. */
static void driver_pool(void **state)
{
    static const char *const rows[] = {"cuDeviceGetDefaultMemPool", "cuMemPoolSetAttribute",
                                       "cuMemAllocAsync",           "cuMemFreeAsync",
                                       "cuMemPoolTrimTo",           "cuMemsetD8Async",
                                       "cuStreamWaitEvent",         "cuEventRecord",
                                       "cuStreamSynchronize",       NULL};
    static const int codes[] = {GB_CU_OUT_OF_MEMORY, GB_CU_LAUNCH_FAILED};
    static kit_outcome out;
    setenv("GB_SCENE_DRIVER_POOL", "1", 1);
    walk_rows(rows, codes);
    setenv("GB_SOFTCUDA_MISSING", "cuMemAllocAsync", 1); /* then the host keeps it */
    run_case("", &out);
    unsetenv("GB_SOFTCUDA_MISSING");
    unsetenv("GB_SCENE_DRIVER_POOL");
    if (kit_case_verdict(&out) || !strstr(out.output, ", 0 failures")) fail_msg("%s", out.output);
    assert_int_equal(calls_of(&out, "cuDeviceGetDefaultMemPool"), 0);
}

static void compiler(void **state)
{
    static const int codes[] = {GB_NVRTC_OUT_OF_MEMORY, GB_NVRTC_COMPILATION};
    walk_rows(nvrtc_rows, codes);
}

static void management(void **state)
{
    static const int codes[] = {999, 3};
    walk_rows(nvml_rows, codes);
}

/* What the driver refuses of a graph, without losing its device, is done one by one and counted. */
static void refusals(void **state)
{
    static const char *const rows[] = {"cuGraphCreate",
                                       "cuGraphAddKernelNode",
                                       "cuGraphAddMemcpyNode",
                                       "cuGraphAddMemsetNode",
                                       "cuGraphInstantiate",
                                       "cuGraphExecKernelNodeSetParams",
                                       "cuGraphExecMemcpyNodeSetParams",
                                       "cuGraphExecMemsetNodeSetParams",
                                       "cuGraphLaunch",
                                       NULL};
    static kit_outcome out;
    for (int i = 0; rows[i]; i++) {
        char fail[96];
        snprintf(fail, sizeof fail, "%s@*=801", rows[i]);
        run_case(fail, &out);
        const char *wrong = kit_case_verdict(&out);
        bool whole = strstr(out.output, ", 0 failures") && !strstr(out.output, " 0 fallbacks");
        if (wrong || !whole) fail_msg("%s: %s\n%s", fail, wrong ? wrong : "", out.output);
    }
    run_case("", &out);
    if (!strstr(out.output, "5 replays, 0 fallbacks")) fail_msg("%s", out.output);
}

/* Rows that a driver may lack: the backend does without. */
static void optional_rows(void **state)
{
    static kit_outcome out;
    setenv("GB_SOFTCUDA_MISSING",
           "cuDeviceGetPCIBusId,cuDevicePrimaryCtxReset,cuFuncGetParamInfo,cuDeviceCanAccessPeer,"
           "cuCtxEnablePeerAccess,cuGraphCreate,cuGraphLaunch,cuGraphInstantiate",
           1);
    run_case("", &out);
    unsetenv("GB_SOFTCUDA_MISSING");
    if (kit_case_verdict(&out) || !strstr(out.output, ", 0 failures")) fail_msg("%s", out.output);
    if (!strstr(out.output, "0 replays, 5 fallbacks")) fail_msg("%s", out.output);
    setenv("GB_SOFTCUDA_VERSION", "12000", 1);
    run_case("", &out);
    if (kit_case_verdict(&out) || !strstr(out.output, ", 0 failures")) fail_msg("%s", out.output);
    setenv("GB_SOFTCUDA_VERSION", "11080", 1);
    run_case("", &out);
    unsetenv("GB_SOFTCUDA_VERSION");
    if (kit_case_verdict(&out) || !strstr(out.output, "no device")) fail_msg("%s", out.output);
    setenv("GB_SOFTCUDA_MISSING", "cuMemAlloc", 1);
    run_case("", &out);
    unsetenv("GB_SOFTCUDA_MISSING");
    if (kit_case_verdict(&out) || !strstr(out.output, "no device")) fail_msg("%s", out.output);
}

int main(int argc, char **argv)
{
    kit_case_use_softcuda();
    if (strcmp(argv[0], "scene") == 0) return run_scene();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optional_rows), cmocka_unit_test(management), cmocka_unit_test(compiler),
        cmocka_unit_test(driver),        cmocka_unit_test(commands),   cmocka_unit_test(owner),
        cmocka_unit_test(driver_pool),   cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
