/* Our prototypes and numbers against NVIDIA's headers, at compile time: every row of cuda_api.h.
 * Where a header is not installed its rows are not checked, and the test says so and skips. */
#include "gpu/cuda_api.h"

#ifdef GB_TEST_CUDA_H
#include <cuda.h>
#include <nvrtc.h>

/* The rows were written with our names; expanded from here on they say NVIDIA's. The sizes of the
 * replaced types are compared first. */
#define SAME_SIZE(ours, theirs) _Static_assert(sizeof(ours) == sizeof(theirs), #ours)
SAME_SIZE(gb_cu_result, CUresult);
SAME_SIZE(gb_cu_device, CUdevice);
SAME_SIZE(gb_cu_memory, CUdeviceptr);
SAME_SIZE(gb_cu_device_attribute, CUdevice_attribute);
SAME_SIZE(gb_cu_function_attribute, CUfunction_attribute);
SAME_SIZE(gb_cu_jit_option, CUjit_option);
SAME_SIZE(gb_cu_memory_type, CUmemorytype);
SAME_SIZE(gb_cu_query_result, CUdriverProcAddressQueryResult);
SAME_SIZE(gb_nvrtc_rc, nvrtcResult);
SAME_SIZE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS);
SAME_SIZE(gb_cu_copy_node, CUDA_MEMCPY3D);
SAME_SIZE(gb_cu_fill_node, CUDA_MEMSET_NODE_PARAMS);

#define SAME_PLACE(ours, theirs, field)                                                            \
    _Static_assert(offsetof(ours, field) == offsetof(theirs, field), #ours "." #field);            \
    _Static_assert(sizeof(((ours *)0)->field) == sizeof(((theirs *)0)->field), #ours "." #field)
SAME_PLACE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS, func);
SAME_PLACE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS, gridDimX);
SAME_PLACE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS, gridDimZ);
SAME_PLACE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS, blockDimX);
SAME_PLACE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS, blockDimZ);
SAME_PLACE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS, sharedMemBytes);
SAME_PLACE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS, kernelParams);
SAME_PLACE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS, extra);
SAME_PLACE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS, kern);
SAME_PLACE(gb_cu_kernel_node, CUDA_KERNEL_NODE_PARAMS, ctx);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, srcXInBytes);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, srcMemoryType);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, srcHost);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, srcDevice);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, srcPitch);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, srcHeight);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, dstXInBytes);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, dstMemoryType);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, dstHost);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, dstDevice);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, WidthInBytes);
SAME_PLACE(gb_cu_copy_node, CUDA_MEMCPY3D, Depth);
SAME_PLACE(gb_cu_fill_node, CUDA_MEMSET_NODE_PARAMS, dst);
SAME_PLACE(gb_cu_fill_node, CUDA_MEMSET_NODE_PARAMS, pitch);
SAME_PLACE(gb_cu_fill_node, CUDA_MEMSET_NODE_PARAMS, value);
SAME_PLACE(gb_cu_fill_node, CUDA_MEMSET_NODE_PARAMS, elementSize);
SAME_PLACE(gb_cu_fill_node, CUDA_MEMSET_NODE_PARAMS, width);
SAME_PLACE(gb_cu_fill_node, CUDA_MEMSET_NODE_PARAMS, height);

#define NUMBER(ours, theirs, value)                                                                \
    _Static_assert((int)(ours) == (int)(theirs) && (int)(theirs) == (value), #theirs);
GB_CU_NUMBERS(NUMBER)
GB_NVRTC_NUMBERS(NUMBER)

#define gb_cu_result CUresult
#define gb_cu_device_attribute CUdevice_attribute
#define gb_cu_function_attribute CUfunction_attribute
#define gb_cu_jit_option CUjit_option
#define gb_cu_query_result CUdriverProcAddressQueryResult
#define gb_cu_kernel_node CUDA_KERNEL_NODE_PARAMS
#define gb_cu_copy_node CUDA_MEMCPY3D
#define gb_cu_fill_node CUDA_MEMSET_NODE_PARAMS
#define gb_nvrtc_rc nvrtcResult

#define PROTOTYPE(name, need, level, type, parameters)                                             \
    _Static_assert(__builtin_types_compatible_p(__typeof__(&name), type(*) parameters), #name);
GB_CUDA_TABLE(PROTOTYPE)
GB_CUDA_ROOTS(PROTOTYPE)
GB_NVRTC_TABLE(PROTOTYPE)
#endif

#ifdef GB_TEST_NVML_H
#include <nvml.h>
_Static_assert(sizeof(gb_nvml_use) == sizeof(nvmlUtilization_t), "nvmlUtilization_t");
_Static_assert(sizeof(gb_nvml_memory) == sizeof(nvmlMemory_t), "nvmlMemory_t");
_Static_assert(offsetof(gb_nvml_memory, used) == offsetof(nvmlMemory_t, used), "nvmlMemory_t");
#define NVML_NUMBER(ours, theirs, value)                                                           \
    _Static_assert((int)(ours) == (int)(theirs) && (int)(theirs) == (value), #theirs);
GB_NVML_NUMBERS(NVML_NUMBER)
#define gb_nvml_rc nvmlReturn_t
#define gb_nvml_sensor nvmlTemperatureSensors_t
#define gb_nvml_use nvmlUtilization_t
#define gb_nvml_memory nvmlMemory_t
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* of 13.0 */
#define NVML_PROTOTYPE(name, need, level, type, parameters)                                        \
    _Static_assert(__builtin_types_compatible_p(__typeof__(&name), type(*) parameters), #name);
GB_NVML_TABLE(NVML_PROTOTYPE)
#endif

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The work was done by the compiler. */
static void driver_and_compiler(void **state)
{
    (void)state;
#ifndef GB_TEST_CUDA_H
    skip();
#endif
}

static void management(void **state)
{
    (void)state;
#ifndef GB_TEST_NVML_H
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(driver_and_compiler),
        cmocka_unit_test(management),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
