/* Figures of GPUs as metrics of a host, over the software library: told where they are known. Each
 * case is a process of its own. */
#include "kit_case.h"

#include <gpubridge.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_BYTES = 65536 };

/* The lines about figures, after a device was used. */
static int tell(void)
{
    static const char *const names[] = {"gpu_utilization{", "gpu_temperature{", "gpu_power_usage{"};
    static char text[TEXT_BYTES];
    gb_config config;
    gb_host *host;
    gb_buffer *buffer;
    gb_config_init(&config, sizeof config);
    config.workers = 1;
    if (gb_open(&host, &config) < 0 || gb_buffer_create(&buffer, host, 64, 0) < 0) return 4;
    if (gb_metrics_text(host, text, sizeof text) >= TEXT_BYTES) return 4;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        for (int i = 0; i < 3; i++)
            if (strncmp(line, names[i], strlen(names[i])) == 0)
                printf("%.*s\n", (int)strcspn(line, "\n"), line);
    gb_buffer_free(buffer);
    gb_close(host, 100);
    return 0;
}

static void run(const char *want)
{
    static kit_outcome out;
    kit_case_run("tell", &out);
    const char *wrong = kit_case_verdict(&out);
    if (wrong) fail_msg("%s (status 0x%x)\n%s", wrong, out.status, out.output);
    assert_string_equal(out.output, want);
}

static void known(void **state)
{
    run("gpu_utilization{device=\"0\"} 50\ngpu_temperature{device=\"0\"} 40\n"
        "gpu_power_usage{device=\"0\"} 100\n");
}

static void unknown(void **state)
{
    setenv("GB_NVML_LIBRARY", "/nowhere/libnvidia-ml.so.1", 1);
    run("");
    kit_case_use_softcuda();
}

static void without_power(void **state)
{
    setenv("GB_SOFTCUDA_FAIL", "nvmlDeviceGetPowerUsage@*=3", 1);
    run("gpu_utilization{device=\"0\"} 50\ngpu_temperature{device=\"0\"} 40\n");
    unsetenv("GB_SOFTCUDA_FAIL");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known),
        cmocka_unit_test(unknown),
        cmocka_unit_test(without_power),
    };
    if (strcmp(argv[0], "tell") == 0) return tell();
    kit_case_use_softcuda();
    setenv("GB_SOFTCUDA_DEVICES", "1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
