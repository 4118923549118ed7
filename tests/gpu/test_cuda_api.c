/* Finding the driver, the compiler and the management library, or saying clearly why not. The wrong
 * drivers are small libraries built from fake/fake_cuda.c. */
#include "gpu/cuda_api.h"

#include "base/err.h"
#include "gpu/gpu.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gb_cuda_api api; /* large; of this test alone */

static void use(const char *library)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/%s", GB_BINARY_DIR, library);
    setenv("GB_CUDA_LIBRARY", *library == '/' ? library : path, 1);
}

/* Loading fails with a text that holds `word`, and a host sees its cpu devices only. */
static void refused(const char *library, const char *word)
{
    gb_mem mem;
    gb_gpu *gpu;
    gb_device_info info;
    use(library);
    int rc = gbi_cuda_load(&api);
    if (!strstr(gb_err_detail(), word)) fail_msg("'%s' has no '%s'", gb_err_detail(), word);
    assert_int_equal(rc, GB_ENOGPU);
    gb_mem_init(&mem, "test", NULL, 0);
    gb_gpu_config config = {.mem = &mem, .cpu_devices = 2};
    assert_int_equal(gb_gpu_open(&gpu, &config), 0);
    assert_int_equal(gb_gpu_device_count(gpu), 2);
    gb_device_get_info(gb_gpu_device(gpu, 0), &info);
    assert_string_equal(info.backend, "cpu");
    gb_gpu_close(gpu);
    gb_mem_fini(&mem);
    unsetenv("GB_CUDA_LIBRARY");
}

static void no_library(void **state)
{
    (void)state;
    refused("/nowhere/libcuda.so.1", "GB_CUDA_LIBRARY: /nowhere/libcuda.so.1");
}

static void not_a_library(void **state)
{
    (void)state;
    refused("/etc/hostname", "GB_CUDA_LIBRARY: /etc/hostname");
}

static void not_a_driver(void **state)
{
    (void)state;
    refused("/proc/self/exe", "GB_CUDA_LIBRARY");
}

static void old_driver(void **state)
{
    (void)state;
    refused("libfake_cuda_old.so", "is for CUDA 11.8; the oldest that works is for 12.0");
}

static void missing_root(void **state)
{
    (void)state;
    refused("libfake_cuda_root.so", "has no cuGetProcAddress_v2");
}

static void missing_function(void **state)
{
    (void)state;
    refused("libfake_cuda_function.so", "has no cuMemcpyAsync");
}

/* The library is in order and the machine has no GPU: cuInit says so. */
static void no_device(void **state)
{
    (void)state;
    gb_mem mem;
    gb_gpu *gpu;
    use("libfake_cuda_device.so");
    assert_int_equal(gbi_cuda_load(&api), 0);
    assert_int_equal(api.version, 12000);
    assert_non_null(api.cuInit);
    assert_null(api.cuFuncGetParamInfo); /* newer than this driver */
    gbi_cuda_unload(&api);
    gb_mem_init(&mem, "test", NULL, 0);
    gb_gpu_config config = {.mem = &mem, .cpu_devices = 1};
    assert_int_equal(gb_gpu_open(&gpu, &config), 0);
    assert_int_equal(gb_gpu_device_count(gpu), 1);
    assert_non_null(strstr(gb_err_detail(), "does not start: FAKE_TEXT"));
    gb_gpu_close(gpu);
    gb_mem_fini(&mem);
    unsetenv("GB_CUDA_LIBRARY");
}

/* Nothing is loaded before the first look at a device. */
static void nothing_early(void **state)
{
    (void)state;
    gb_mem mem;
    gb_gpu *gpu;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_gpu_config config = {.mem = &mem, .cpu_devices = 1};
    use("libfake_cuda_device.so");
    gb_err_set(0, "untouched");
    assert_int_equal(gb_gpu_open(&gpu, &config), 0);
    gb_gpu_close(gpu);
    assert_string_equal(gb_err_detail(), "untouched");
    gb_mem_fini(&mem);
    unsetenv("GB_CUDA_LIBRARY");
}

static void no_compiler(void **state)
{
    (void)state;
    static gb_nvrtc_api nvrtc;
    setenv("GB_NVRTC_LIBRARY", "/nowhere/libnvrtc.so", 1);
    assert_int_equal(gbi_nvrtc_load(&nvrtc), GB_ENOENT);
    assert_non_null(strstr(gb_err_detail(), "GB_NVRTC_LIBRARY: /nowhere/libnvrtc.so"));
    use("libfake_cuda_old.so");
    setenv("GB_NVRTC_LIBRARY", getenv("GB_CUDA_LIBRARY"), 1);
    assert_int_equal(gbi_nvrtc_load(&nvrtc), GB_ENOENT);
    assert_non_null(strstr(gb_err_detail(), "has no nvrtcVersion"));
    unsetenv("GB_NVRTC_LIBRARY");
    unsetenv("GB_CUDA_LIBRARY");
}

static void no_management(void **state)
{
    (void)state;
    static gb_nvml_api nvml;
    setenv("GB_NVML_LIBRARY", "/nowhere/libnvidia-ml.so.1", 1);
    assert_int_equal(gbi_nvml_load(&nvml), GB_ENOENT);
    assert_non_null(strstr(gb_err_detail(), "NVML: /nowhere/libnvidia-ml.so.1"));
    unsetenv("GB_NVML_LIBRARY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_library),   cmocka_unit_test(not_a_library),
        cmocka_unit_test(not_a_driver), cmocka_unit_test(old_driver),
        cmocka_unit_test(missing_root), cmocka_unit_test(missing_function),
        cmocka_unit_test(no_device),    cmocka_unit_test(nothing_early),
        cmocka_unit_test(no_compiler),  cmocka_unit_test(no_management),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
