#include "kit_soft.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void find(kit_soft *kit, void *to, const char *name)
{
    void *symbol = dlsym(kit->api.library, name);
    assert_non_null(symbol);
    memcpy(to, &symbol, sizeof symbol);
}

void kit_soft_open(kit_soft *kit)
{
    memset(kit, 0, sizeof *kit);
    setenv("GB_CUDA_LIBRARY", GB_SOFTCUDA, 1);
    setenv("GB_NVRTC_LIBRARY", GB_SOFTCUDA, 1);
    setenv("GB_NVML_LIBRARY", GB_SOFTCUDA, 1);
    assert_int_equal(gbi_cuda_load(&kit->api), 0);
    assert_int_equal(gbi_nvrtc_load(&kit->nvrtc), 0);
    assert_int_equal(gbi_nvml_load(&kit->nvml), 0);
    find(kit, &kit->inject, "softcuda_fail");
    find(kit, &kit->leaks, "softcuda_leaks");
    find(kit, &kit->misuses, "softcuda_misuses");
    find(kit, &kit->calls, "softcuda_calls");
    assert_int_equal(kit->api.cuInit(0), 0);
    assert_int_equal(kit->api.cuDevicePrimaryCtxRetain(&kit->context, 0), 0);
    assert_int_equal(kit->api.cuCtxSetCurrent(kit->context), 0);
}

void kit_soft_close(kit_soft *kit)
{
    kit->inject("");
    assert_int_equal(kit->api.cuDevicePrimaryCtxRelease(0), 0);
    assert_int_equal(kit->api.cuCtxSetCurrent(NULL), 0);
    assert_int_equal(kit->leaks(), 0);
    gbi_cuda_unload(&kit->api);
    gbi_nvrtc_unload(&kit->nvrtc);
    gbi_nvml_unload(&kit->nvml);
}

char *kit_soft_compile(kit_soft *kit, const char *source, const char **names, int count)
{
    static const char *const options[] = {"--gpu-architecture=sm_90", "-std=c++17"};
    const gb_nvrtc_api *nvrtc = &kit->nvrtc;
    gb_nvrtc_program program;
    size_t size = 0;
    assert_int_equal(nvrtc->nvrtcCreateProgram(&program, source, "kit.cu", 0, NULL, NULL), 0);
    for (int i = 0; i < count; i++)
        assert_int_equal(nvrtc->nvrtcAddNameExpression(program, names[i]), 0);
    gb_nvrtc_rc rc = nvrtc->nvrtcCompileProgram(program, 2, options);
    if (rc) {
        char log[4096] = "";
        assert_int_equal(nvrtc->nvrtcGetProgramLogSize(program, &size), 0);
        if (size < sizeof log) nvrtc->nvrtcGetProgramLog(program, log);
        fail_msg("NVRTC: %s: %s", nvrtc->nvrtcGetErrorString(rc), log);
    }
    for (int i = 0; i < count; i++) {
        const char *lowered;
        assert_int_equal(nvrtc->nvrtcGetLoweredName(program, names[i], &lowered), 0);
        names[i] = strdup(lowered);
    }
    assert_int_equal(nvrtc->nvrtcGetCUBINSize(program, &size), 0);
    char *image = malloc(size);
    assert_int_equal(nvrtc->nvrtcGetCUBIN(program, image), 0);
    assert_int_equal(nvrtc->nvrtcDestroyProgram(&program), 0);
    return image;
}

gb_cu_module kit_soft_module(kit_soft *kit, const char *source)
{
    gb_cu_module module;
    char *image = kit_soft_compile(kit, source, NULL, 0);
    assert_int_equal(kit->api.cuModuleLoadDataEx(&module, image, 0, NULL, NULL), 0);
    free(image);
    return module;
}

gb_cu_function kit_soft_function(kit_soft *kit, gb_cu_module module, const char *name)
{
    gb_cu_function function;
    assert_int_equal(kit->api.cuModuleGetFunction(&function, module, name), 0);
    return function;
}

gb_cu_memory kit_soft_host(const void *host)
{
    return (gb_cu_memory)(uintptr_t)host;
}

gb_cu_memory kit_soft_alloc(kit_soft *kit, size_t bytes)
{
    gb_cu_memory memory;
    assert_int_equal(kit->api.cuMemAlloc(&memory, bytes), 0);
    return memory;
}

void kit_soft_write(kit_soft *kit, gb_cu_memory to, const void *from, size_t bytes)
{
    assert_int_equal(kit->api.cuMemcpyAsync(to, kit_soft_host(from), bytes, NULL), 0);
    assert_int_equal(kit->api.cuStreamSynchronize(NULL), 0);
}

void kit_soft_read(kit_soft *kit, void *to, gb_cu_memory from, size_t bytes)
{
    assert_int_equal(kit->api.cuMemcpyAsync(kit_soft_host(to), from, bytes, NULL), 0);
    assert_int_equal(kit->api.cuStreamSynchronize(NULL), 0);
}

gb_cu_result kit_soft_launch(kit_soft *kit, gb_cu_function function, unsigned grid, unsigned block,
                             gb_cu_stream stream, void **params)
{
    return kit->api.cuLaunchKernel(function, grid, 1, 1, block, 1, 1, 0, stream, params, NULL);
}
