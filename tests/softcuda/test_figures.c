/* Figures by NVML over the software library: all of them, none without it, and each one unknown
 * when its call fails. Each case is a process of its own. */
#include "kit_case.h"

#include "base/err.h"
#include "gpu/gpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES = 1 << 20 };

/* Two devices; one has a buffer. Prints what is told of both, and of the cpu. */
static int look(void)
{
    gb_mem mem;
    gb_gpu *gpu;
    gb_buffer *buffer;
    gb_mem_init(&mem, "figures", NULL, 0);
    gb_gpu_config config = {.mem = &mem};
    if (gb_gpu_open(&gpu, &config) < 0) return 4;
    if (gb_buffer_open(&buffer, gb_gpu_device(gpu, 0), BYTES, GB_BUFFER_DEVICE) < 0) return 4;
    for (int i = 0; i < gb_gpu_device_count(gpu); i++) {
        gb_device_figures now;
        gb_device_info info;
        gb_device_get_info(gb_gpu_device(gpu, i), &info);
        gb_device_get_figures(gb_gpu_device(gpu, i), &now);
        if (i == 0 && now.memory_used > 600 &&
            now.memory_used != info.memory_total - info.memory_free)
            printf("used %lld, free %lld\n", (long long)now.memory_used,
                   (long long)info.memory_free);
        printf("%s: %s %d %d %d\n", info.backend,
               now.memory_used < 0        ? "unknown"
               : now.memory_used >= BYTES ? "more"
               : now.memory_used == 600   ? "600"
                                          : "less",
               now.utilization, now.temperature, now.power_mw);
    }
    gb_buffer_unref(buffer);
    gb_gpu_close(gpu);
    gb_mem_fini(&mem);
    return 0;
}

#define CPU "cpu: unknown -1 -1 -1\n"
#define NONE "software: unknown -1 -1 -1\n"

static const struct row {
    const char *name, *variable, *value, *want;
} rows[] = {
    {"all", NULL, NULL, "software: more 50 40 100000\nsoftware: less 50 40 100000\n" CPU},
    {"missing", "GB_NVML_LIBRARY", "/nowhere/libnvidia-ml.so.1", NONE NONE CPU},
    {"no library", "GB_NVML_LIBRARY", "/proc/self/exe", NONE NONE CPU},
    {"first interface", "GB_NVML_LIBRARY", FAKE_NVML_FIRST, NONE NONE CPU},
    {"old", "GB_NVML_LIBRARY", FAKE_NVML_OLD,
     "software: 600 -1 -1 -1\nsoftware: 600 -1 -1 -1\n" CPU},
    {"no bus ids", "GB_SOFTCUDA_MISSING", "cuDeviceGetPCIBusId", NONE NONE CPU},
    {"start", "GB_SOFTCUDA_FAIL", "nvmlInit_v2@*=9", NONE NONE CPU},
    {"one device", "GB_SOFTCUDA_FAIL", "nvmlDeviceGetHandleByPciBusId_v2@1=6",
     NONE "software: less 50 40 100000\n" CPU},
    {"memory", "GB_SOFTCUDA_FAIL", "nvmlDeviceGetMemoryInfo@*=3",
     "software: unknown 50 40 100000\nsoftware: unknown 50 40 100000\n" CPU},
    {"utilization", "GB_SOFTCUDA_FAIL", "nvmlDeviceGetUtilizationRates@*=3",
     "software: more -1 40 100000\nsoftware: less -1 40 100000\n" CPU},
    {"temperature", "GB_SOFTCUDA_FAIL", "nvmlDeviceGetTemperature@1=15",
     "software: more 50 -1 100000\nsoftware: less 50 40 100000\n" CPU},
    {"power", "GB_SOFTCUDA_FAIL", "nvmlDeviceGetPowerUsage@*=3",
     "software: more 50 40 -1\nsoftware: less 50 40 -1\n" CPU},
    {"end", "GB_SOFTCUDA_FAIL", "nvmlShutdown@*=999",
     "software: more 50 40 100000\nsoftware: less 50 40 100000\n" CPU},
};

static void run_row(void **state)
{
    static kit_outcome out;
    const struct row *row = *state;
    if (row->variable) setenv(row->variable, row->value, 1);
    kit_case_run("look", &out);
    if (row->variable) unsetenv(row->variable);
    kit_case_use_softcuda();
    const char *wrong = kit_case_verdict(&out);
    if (wrong) fail_msg("%s (status 0x%x)\n%s", wrong, out.status, out.output);
    assert_string_equal(out.output, row->want);
}

int main(int argc, char **argv)
{
    enum { ROWS = sizeof rows / sizeof *rows };
    struct CMUnitTest tests[ROWS];
    if (strcmp(argv[0], "look") == 0) return look();
    for (int i = 0; i < ROWS; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    kit_case_use_softcuda();
    return cmocka_run_group_tests_name("figures", tests, NULL, NULL);
}
