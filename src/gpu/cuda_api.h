/* NVIDIA's driver, run-time compiler and management library as this house calls them: our own
 * prototypes, types and numbers, and the tables by which they are found at run time. Nothing is
 * linked and no header of NVIDIA's is needed to build; tests/gpu/test_cuda_header.c compares every
 * row with <cuda.h>, <nvrtc.h> and <nvml.h> where those are installed.
 *
 * Threads: loading blocks on the disk; a loaded table is read-only and may be called from any
 * thread. Owner: who opens a table closes it; the library itself stays in the process.
 * Errors: GB_ENOGPU (driver), GB_ENOENT (compiler, management), with the reason in gb_err_detail.
 *
 * A software driver for tests exports cuGetProcAddress_v2 and cuDriverGetVersion, finds every row
 * of GB_CUDA_TABLE by its name, and gives its devices names that begin with "software": such a
 * device is shown as backend "software" and never counts as a GPU.
 */
#ifndef GB_GPU_CUDA_API_H
#define GB_GPU_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

/* ---- types: the tags are NVIDIA's, so that the compile-time test can compare prototypes ---- */

typedef unsigned int gb_cu_result;       /* CUresult */
typedef int gb_cu_device;                /* CUdevice */
typedef unsigned long long gb_cu_memory; /* CUdeviceptr: an address as kernels see it */
typedef struct CUctx_st *gb_cu_context;
typedef struct CUmod_st *gb_cu_module;
typedef struct CUfunc_st *gb_cu_function;
typedef struct CUstream_st *gb_cu_stream;
typedef struct CUevent_st *gb_cu_event;
typedef struct CUgraph_st *gb_cu_graph;
typedef struct CUgraphNode_st *gb_cu_node;
typedef struct CUgraphExec_st *gb_cu_exec;
typedef struct CUarray_st *gb_cu_array;
typedef struct CUkern_st *gb_cu_kernel;
typedef struct CUmemPoolHandle_st *gb_cu_pool;
typedef void (*gb_cu_host_function)(void *data);
typedef unsigned int gb_cu_device_attribute;   /* CUdevice_attribute */
typedef unsigned int gb_cu_function_attribute; /* CUfunction_attribute */
typedef unsigned int gb_cu_jit_option;         /* CUjit_option */
typedef unsigned int gb_cu_memory_type;        /* CUmemorytype */
typedef unsigned int gb_cu_pool_attribute;     /* CUmemPool_attribute */
typedef unsigned int gb_cu_query_result;       /* CUdriverProcAddressQueryResult */

typedef struct gb_cu_kernel_node { /* CUDA_KERNEL_NODE_PARAMS_v2 */
    gb_cu_function func;
    unsigned int gridDimX, gridDimY, gridDimZ;
    unsigned int blockDimX, blockDimY, blockDimZ;
    unsigned int sharedMemBytes;
    void **kernelParams;
    void **extra;
    gb_cu_kernel kern;
    gb_cu_context ctx;
} gb_cu_kernel_node;

typedef struct gb_cu_copy_node { /* CUDA_MEMCPY3D_v2 */
    size_t srcXInBytes, srcY, srcZ, srcLOD;
    gb_cu_memory_type srcMemoryType;
    const void *srcHost;
    gb_cu_memory srcDevice;
    gb_cu_array srcArray;
    void *reserved0;
    size_t srcPitch, srcHeight;
    size_t dstXInBytes, dstY, dstZ, dstLOD;
    gb_cu_memory_type dstMemoryType;
    void *dstHost;
    gb_cu_memory dstDevice;
    gb_cu_array dstArray;
    void *reserved1;
    size_t dstPitch, dstHeight;
    size_t WidthInBytes, Height, Depth;
} gb_cu_copy_node;

typedef struct gb_cu_fill_node { /* CUDA_MEMSET_NODE_PARAMS_v1 */
    gb_cu_memory dst;
    size_t pitch;
    unsigned int value, elementSize;
    size_t width, height;
} gb_cu_fill_node;

typedef unsigned int gb_nvrtc_rc; /* nvrtcResult */
typedef struct _nvrtcProgram *gb_nvrtc_program;

typedef unsigned int gb_nvml_rc;     /* nvmlReturn_t */
typedef unsigned int gb_nvml_sensor; /* nvmlTemperatureSensors_t */
typedef struct nvmlDevice_st *gb_nvml_device;
typedef struct gb_nvml_use { /* nvmlUtilization_t: percent */
    unsigned int gpu, memory;
} gb_nvml_use;
typedef struct gb_nvml_memory { /* nvmlMemory_t: bytes */
    unsigned long long total, free, used;
} gb_nvml_memory;

/* ---- numbers: ours, NVIDIA's, value ---- */

#define GB_CU_NUMBERS(ROW)                                                                         \
    ROW(GB_CU_SUCCESS, CUDA_SUCCESS, 0)                                                            \
    ROW(GB_CU_INVALID_VALUE, CUDA_ERROR_INVALID_VALUE, 1)                                          \
    ROW(GB_CU_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY, 2)                                          \
    ROW(GB_CU_NOT_INITIALIZED, CUDA_ERROR_NOT_INITIALIZED, 3)                                      \
    ROW(GB_CU_DEINITIALIZED, CUDA_ERROR_DEINITIALIZED, 4)                                          \
    ROW(GB_CU_STUB_LIBRARY, CUDA_ERROR_STUB_LIBRARY, 34)                                           \
    ROW(GB_CU_DEVICE_UNAVAILABLE, CUDA_ERROR_DEVICE_UNAVAILABLE, 46)                               \
    ROW(GB_CU_NO_DEVICE, CUDA_ERROR_NO_DEVICE, 100)                                                \
    ROW(GB_CU_INVALID_DEVICE, CUDA_ERROR_INVALID_DEVICE, 101)                                      \
    ROW(GB_CU_INVALID_IMAGE, CUDA_ERROR_INVALID_IMAGE, 200)                                        \
    ROW(GB_CU_INVALID_CONTEXT, CUDA_ERROR_INVALID_CONTEXT, 201)                                    \
    ROW(GB_CU_NO_BINARY, CUDA_ERROR_NO_BINARY_FOR_GPU, 209)                                        \
    ROW(GB_CU_ECC, CUDA_ERROR_ECC_UNCORRECTABLE, 214)                                              \
    ROW(GB_CU_INVALID_PTX, CUDA_ERROR_INVALID_PTX, 218)                                            \
    ROW(GB_CU_NVLINK, CUDA_ERROR_NVLINK_UNCORRECTABLE, 220)                                        \
    ROW(GB_CU_UNSUPPORTED_PTX, CUDA_ERROR_UNSUPPORTED_PTX_VERSION, 222)                            \
    ROW(GB_CU_INVALID_HANDLE, CUDA_ERROR_INVALID_HANDLE, 400)                                      \
    ROW(GB_CU_NOT_FOUND, CUDA_ERROR_NOT_FOUND, 500)                                                \
    ROW(GB_CU_NOT_READY, CUDA_ERROR_NOT_READY, 600)                                                \
    ROW(GB_CU_ILLEGAL_ADDRESS, CUDA_ERROR_ILLEGAL_ADDRESS, 700)                                    \
    ROW(GB_CU_LAUNCH_RESOURCES, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701)                           \
    ROW(GB_CU_LAUNCH_TIMEOUT, CUDA_ERROR_LAUNCH_TIMEOUT, 702)                                      \
    ROW(GB_CU_PEER_ALREADY, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, 704)                           \
    ROW(GB_CU_CONTEXT_DESTROYED, CUDA_ERROR_CONTEXT_IS_DESTROYED, 709)                             \
    ROW(GB_CU_ASSERT, CUDA_ERROR_ASSERT, 710)                                                      \
    ROW(GB_CU_HARDWARE_STACK, CUDA_ERROR_HARDWARE_STACK_ERROR, 714)                                \
    ROW(GB_CU_ILLEGAL_INSTRUCTION, CUDA_ERROR_ILLEGAL_INSTRUCTION, 715)                            \
    ROW(GB_CU_MISALIGNED, CUDA_ERROR_MISALIGNED_ADDRESS, 716)                                      \
    ROW(GB_CU_INVALID_SPACE, CUDA_ERROR_INVALID_ADDRESS_SPACE, 717)                                \
    ROW(GB_CU_INVALID_PC, CUDA_ERROR_INVALID_PC, 718)                                              \
    ROW(GB_CU_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_FAILED, 719)                                        \
    ROW(GB_CU_NOT_SUPPORTED, CUDA_ERROR_NOT_SUPPORTED, 801)                                        \
    ROW(GB_CU_SYSTEM_NOT_READY, CUDA_ERROR_SYSTEM_NOT_READY, 802)                                  \
    ROW(GB_CU_DRIVER_MISMATCH, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, 803)                             \
    ROW(GB_CU_UNKNOWN, CUDA_ERROR_UNKNOWN, 999)                                                    \
    ROW(GB_CU_DEVICE_THREADS_MAX, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1)                    \
    ROW(GB_CU_DEVICE_SHARED_MAX, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 8)               \
    ROW(GB_CU_DEVICE_WARP, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 10)                                      \
    ROW(GB_CU_DEVICE_UNITS, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)                          \
    ROW(GB_CU_DEVICE_COMPUTE_MODE, CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, 20)                           \
    ROW(GB_CU_DEVICE_UNIFIED, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 41)                          \
    ROW(GB_CU_DEVICE_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75)                      \
    ROW(GB_CU_DEVICE_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76)                      \
    ROW(GB_CU_DEVICE_MANAGED, CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 83)                              \
    ROW(GB_CU_DEVICE_CONCURRENT, CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 89)                \
    ROW(GB_CU_DEVICE_SHARED_OPTIN, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 97)      \
    ROW(GB_CU_DEVICE_POOLS, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 115)                       \
    ROW(GB_CU_POOL_RELEASE_THRESHOLD, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, 4)                        \
    ROW(GB_CU_FUNC_THREADS_MAX, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 0)                        \
    ROW(GB_CU_FUNC_SHARED, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, 1)                                 \
    ROW(GB_CU_FUNC_LOCAL, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, 3)                                   \
    ROW(GB_CU_FUNC_REGISTERS, CU_FUNC_ATTRIBUTE_NUM_REGS, 4)                                       \
    ROW(GB_CU_FUNC_DYNAMIC_MAX, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 8)                \
    ROW(GB_CU_JIT_INFO_LOG, CU_JIT_INFO_LOG_BUFFER, 3)                                             \
    ROW(GB_CU_JIT_INFO_LOG_BYTES, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, 4)                            \
    ROW(GB_CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_BUFFER, 5)                                           \
    ROW(GB_CU_JIT_ERROR_LOG_BYTES, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, 6)                          \
    ROW(GB_CU_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING, 1)                                      \
    ROW(GB_CU_EVENT_DEFAULT, CU_EVENT_DEFAULT, 0)                                                  \
    ROW(GB_CU_EVENT_NO_TIMING, CU_EVENT_DISABLE_TIMING, 2)                                         \
    ROW(GB_CU_ATTACH_GLOBAL, CU_MEM_ATTACH_GLOBAL, 1)                                              \
    ROW(GB_CU_HOST_PORTABLE, CU_MEMHOSTALLOC_PORTABLE, 1)                                          \
    ROW(GB_CU_HOST_MAPPED, CU_MEMHOSTALLOC_DEVICEMAP, 2)                                           \
    ROW(GB_CU_MEMORY_HOST, CU_MEMORYTYPE_HOST, 1)                                                  \
    ROW(GB_CU_MEMORY_DEVICE, CU_MEMORYTYPE_DEVICE, 2)                                              \
    ROW(GB_CU_MEMORY_UNIFIED, CU_MEMORYTYPE_UNIFIED, 4)                                            \
    ROW(GB_CU_QUERY_FOUND, CU_GET_PROC_ADDRESS_SUCCESS, 0)

#define GB_NVRTC_NUMBERS(ROW)                                                                      \
    ROW(GB_NVRTC_SUCCESS, NVRTC_SUCCESS, 0)                                                        \
    ROW(GB_NVRTC_OUT_OF_MEMORY, NVRTC_ERROR_OUT_OF_MEMORY, 1)                                      \
    ROW(GB_NVRTC_INVALID_OPTION, NVRTC_ERROR_INVALID_OPTION, 5)                                    \
    ROW(GB_NVRTC_COMPILATION, NVRTC_ERROR_COMPILATION, 6)                                          \
    ROW(GB_NVRTC_BAD_NAME, NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID, 10)

#define GB_NVML_NUMBERS(ROW)                                                                       \
    ROW(GB_NVML_SUCCESS, NVML_SUCCESS, 0)                                                          \
    ROW(GB_NVML_SENSOR_GPU, NVML_TEMPERATURE_GPU, 0)

#define GB_CU_ENUM(ours, theirs, value) ours = value,
enum { GB_CU_NUMBERS(GB_CU_ENUM) GB_NVRTC_NUMBERS(GB_CU_ENUM) GB_NVML_NUMBERS(GB_CU_ENUM) };
#undef GB_CU_ENUM

/* ---- functions: name, need, level, result, parameters ----
 * need: REQUIRED, or OPTIONAL (NULL where the driver has none). level: the driver interface that is
 * asked of cuGetProcAddress, 12000 for 12.0, so that a newer driver's changed functions are not
 * met; a row above it is OPTIONAL and newer than the oldest driver. Order is nobody's business.
 */
#define GB_CUDA_TABLE(ROW)                                                                         \
    ROW(cuInit, REQUIRED, 12000, gb_cu_result, (unsigned int flags))                               \
    ROW(cuGetErrorName, REQUIRED, 12000, gb_cu_result, (gb_cu_result rc, const char **out))        \
    ROW(cuGetErrorString, REQUIRED, 12000, gb_cu_result, (gb_cu_result rc, const char **out))      \
    ROW(cuDeviceGetCount, REQUIRED, 12000, gb_cu_result, (int *out))                               \
    ROW(cuDeviceGet, REQUIRED, 12000, gb_cu_result, (gb_cu_device * out, int ordinal))             \
    ROW(cuDeviceGetName, REQUIRED, 12000, gb_cu_result,                                            \
        (char *out, int size, gb_cu_device device))                                                \
    ROW(cuDeviceTotalMem, REQUIRED, 12000, gb_cu_result, (size_t * out, gb_cu_device device))      \
    ROW(cuDeviceGetAttribute, REQUIRED, 12000, gb_cu_result,                                       \
        (int *out, gb_cu_device_attribute which, gb_cu_device device))                             \
    ROW(cuDeviceGetPCIBusId, OPTIONAL, 12000, gb_cu_result,                                        \
        (char *out, int size, gb_cu_device device))                                                \
    ROW(cuDevicePrimaryCtxRetain, REQUIRED, 12000, gb_cu_result,                                   \
        (gb_cu_context * out, gb_cu_device device))                                                \
    ROW(cuDevicePrimaryCtxRelease, REQUIRED, 12000, gb_cu_result, (gb_cu_device device))           \
    ROW(cuDevicePrimaryCtxReset, OPTIONAL, 12000, gb_cu_result, (gb_cu_device device))             \
    ROW(cuCtxSetCurrent, REQUIRED, 12000, gb_cu_result, (gb_cu_context context))                   \
    ROW(cuCtxGetCurrent, REQUIRED, 12000, gb_cu_result, (gb_cu_context * out))                     \
    ROW(cuMemGetInfo, REQUIRED, 12000, gb_cu_result, (size_t * free_bytes, size_t * total))        \
    ROW(cuMemAlloc, REQUIRED, 12000, gb_cu_result, (gb_cu_memory * out, size_t bytes))             \
    ROW(cuMemFree, REQUIRED, 12000, gb_cu_result, (gb_cu_memory memory))                           \
    ROW(cuMemHostAlloc, REQUIRED, 12000, gb_cu_result,                                             \
        (void **out, size_t bytes, unsigned int flags))                                            \
    ROW(cuMemFreeHost, REQUIRED, 12000, gb_cu_result, (void *host))                                \
    ROW(cuMemAllocManaged, REQUIRED, 12000, gb_cu_result,                                          \
        (gb_cu_memory * out, size_t bytes, unsigned int flags))                                    \
    ROW(cuDeviceGetDefaultMemPool, OPTIONAL, 12000, gb_cu_result,                                  \
        (gb_cu_pool * out, gb_cu_device device))                                                   \
    ROW(cuMemPoolSetAttribute, OPTIONAL, 12000, gb_cu_result,                                      \
        (gb_cu_pool pool, gb_cu_pool_attribute which, void *value))                                \
    ROW(cuMemPoolTrimTo, OPTIONAL, 12000, gb_cu_result, (gb_cu_pool pool, size_t bytes))           \
    ROW(cuMemAllocAsync, OPTIONAL, 12000, gb_cu_result,                                            \
        (gb_cu_memory * out, size_t bytes, gb_cu_stream stream))                                   \
    ROW(cuMemFreeAsync, OPTIONAL, 12000, gb_cu_result, (gb_cu_memory memory, gb_cu_stream stream)) \
    ROW(cuMemcpyAsync, REQUIRED, 12000, gb_cu_result,                                              \
        (gb_cu_memory to, gb_cu_memory from, size_t bytes, gb_cu_stream stream))                   \
    ROW(cuMemsetD8Async, REQUIRED, 12000, gb_cu_result,                                            \
        (gb_cu_memory to, unsigned char value, size_t count, gb_cu_stream stream))                 \
    ROW(cuMemsetD16Async, REQUIRED, 12000, gb_cu_result,                                           \
        (gb_cu_memory to, unsigned short value, size_t count, gb_cu_stream stream))                \
    ROW(cuMemsetD32Async, REQUIRED, 12000, gb_cu_result,                                           \
        (gb_cu_memory to, unsigned int value, size_t count, gb_cu_stream stream))                  \
    ROW(cuStreamCreate, REQUIRED, 12000, gb_cu_result, (gb_cu_stream * out, unsigned int flags))   \
    ROW(cuCtxGetStreamPriorityRange, OPTIONAL, 12000, gb_cu_result, (int *least, int *greatest))   \
    ROW(cuStreamCreateWithPriority, OPTIONAL, 12000, gb_cu_result,                                 \
        (gb_cu_stream * out, unsigned int flags, int priority))                                    \
    ROW(cuStreamDestroy, REQUIRED, 12000, gb_cu_result, (gb_cu_stream stream))                     \
    ROW(cuStreamSynchronize, REQUIRED, 12000, gb_cu_result, (gb_cu_stream stream))                 \
    ROW(cuStreamWaitEvent, REQUIRED, 12000, gb_cu_result,                                          \
        (gb_cu_stream stream, gb_cu_event event, unsigned int flags))                              \
    ROW(cuLaunchHostFunc, REQUIRED, 12000, gb_cu_result,                                           \
        (gb_cu_stream stream, gb_cu_host_function function, void *data))                           \
    ROW(cuEventCreate, REQUIRED, 12000, gb_cu_result, (gb_cu_event * out, unsigned int flags))     \
    ROW(cuEventDestroy, REQUIRED, 12000, gb_cu_result, (gb_cu_event event))                        \
    ROW(cuEventRecord, REQUIRED, 12000, gb_cu_result, (gb_cu_event event, gb_cu_stream stream))    \
    ROW(cuEventQuery, REQUIRED, 12000, gb_cu_result, (gb_cu_event event))                          \
    ROW(cuEventElapsedTime, REQUIRED, 12000, gb_cu_result,                                         \
        (float *ms, gb_cu_event start, gb_cu_event end))                                           \
    ROW(cuModuleLoadDataEx, REQUIRED, 12000, gb_cu_result,                                         \
        (gb_cu_module * out, const void *image, unsigned int count, gb_cu_jit_option *options,     \
         void **values))                                                                           \
    ROW(cuModuleUnload, REQUIRED, 12000, gb_cu_result, (gb_cu_module module))                      \
    ROW(cuModuleGetFunction, REQUIRED, 12000, gb_cu_result,                                        \
        (gb_cu_function * out, gb_cu_module module, const char *name))                             \
    ROW(cuModuleGetGlobal, REQUIRED, 12000, gb_cu_result,                                          \
        (gb_cu_memory * out, size_t * bytes, gb_cu_module module, const char *name))               \
    ROW(cuFuncGetAttribute, REQUIRED, 12000, gb_cu_result,                                         \
        (int *out, gb_cu_function_attribute which, gb_cu_function function))                       \
    ROW(cuFuncSetAttribute, REQUIRED, 12000, gb_cu_result,                                         \
        (gb_cu_function function, gb_cu_function_attribute which, int value))                      \
    ROW(cuFuncGetParamInfo, OPTIONAL, 12040, gb_cu_result,                                         \
        (gb_cu_function function, size_t index, size_t * offset, size_t * size))                   \
    ROW(cuLaunchKernel, REQUIRED, 12000, gb_cu_result,                                             \
        (gb_cu_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,   \
         unsigned int block_x, unsigned int block_y, unsigned int block_z,                         \
         unsigned int shared_bytes, gb_cu_stream stream, void **params, void **extra))             \
    ROW(cuDeviceCanAccessPeer, OPTIONAL, 12000, gb_cu_result,                                      \
        (int *out, gb_cu_device device, gb_cu_device peer))                                        \
    ROW(cuCtxEnablePeerAccess, OPTIONAL, 12000, gb_cu_result,                                      \
        (gb_cu_context peer, unsigned int flags))                                                  \
    ROW(cuGraphCreate, OPTIONAL, 12000, gb_cu_result, (gb_cu_graph * out, unsigned int flags))     \
    ROW(cuGraphDestroy, OPTIONAL, 12000, gb_cu_result, (gb_cu_graph graph))                        \
    ROW(cuGraphAddKernelNode, OPTIONAL, 12000, gb_cu_result,                                       \
        (gb_cu_node * out, gb_cu_graph graph, const gb_cu_node *after, size_t count,               \
         const gb_cu_kernel_node *params))                                                         \
    ROW(cuGraphAddMemcpyNode, OPTIONAL, 12000, gb_cu_result,                                       \
        (gb_cu_node * out, gb_cu_graph graph, const gb_cu_node *after, size_t count,               \
         const gb_cu_copy_node *params, gb_cu_context context))                                    \
    ROW(cuGraphAddMemsetNode, OPTIONAL, 12000, gb_cu_result,                                       \
        (gb_cu_node * out, gb_cu_graph graph, const gb_cu_node *after, size_t count,               \
         const gb_cu_fill_node *params, gb_cu_context context))                                    \
    ROW(cuGraphInstantiate, OPTIONAL, 12000, gb_cu_result,                                         \
        (gb_cu_exec * out, gb_cu_graph graph, unsigned long long flags))                           \
    ROW(cuGraphExecKernelNodeSetParams, OPTIONAL, 12000, gb_cu_result,                             \
        (gb_cu_exec exec, gb_cu_node node, const gb_cu_kernel_node *params))                       \
    ROW(cuGraphExecMemcpyNodeSetParams, OPTIONAL, 12000, gb_cu_result,                             \
        (gb_cu_exec exec, gb_cu_node node, const gb_cu_copy_node *params, gb_cu_context context))  \
    ROW(cuGraphExecMemsetNodeSetParams, OPTIONAL, 12000, gb_cu_result,                             \
        (gb_cu_exec exec, gb_cu_node node, const gb_cu_fill_node *params, gb_cu_context context))  \
    ROW(cuGraphLaunch, OPTIONAL, 12000, gb_cu_result, (gb_cu_exec exec, gb_cu_stream stream))      \
    ROW(cuGraphExecDestroy, OPTIONAL, 12000, gb_cu_result, (gb_cu_exec exec))

/* The two that are found by dlsym, to find the others. */
#define GB_CUDA_ROOTS(ROW)                                                                         \
    ROW(cuDriverGetVersion, REQUIRED, 0, gb_cu_result, (int *out))                                 \
    ROW(cuGetProcAddress_v2, REQUIRED, 0, gb_cu_result,                                            \
        (const char *name, void **out, int level, uint64_t flags, gb_cu_query_result *status))

/* Found by dlsym; a level means nothing here. */
#define GB_NVRTC_TABLE(ROW)                                                                        \
    ROW(nvrtcVersion, REQUIRED, 0, gb_nvrtc_rc, (int *major, int *minor))                          \
    ROW(nvrtcGetErrorString, REQUIRED, 0, const char *, (gb_nvrtc_rc rc))                          \
    ROW(nvrtcGetNumSupportedArchs, REQUIRED, 0, gb_nvrtc_rc, (int *out))                           \
    ROW(nvrtcGetSupportedArchs, REQUIRED, 0, gb_nvrtc_rc, (int *out))                              \
    ROW(nvrtcCreateProgram, REQUIRED, 0, gb_nvrtc_rc,                                              \
        (gb_nvrtc_program * out, const char *source, const char *name, int count,                  \
         const char *const *texts, const char *const *names))                                      \
    ROW(nvrtcDestroyProgram, REQUIRED, 0, gb_nvrtc_rc, (gb_nvrtc_program * gone))                  \
    ROW(nvrtcAddNameExpression, REQUIRED, 0, gb_nvrtc_rc,                                          \
        (gb_nvrtc_program program, const char *name))                                              \
    ROW(nvrtcGetLoweredName, REQUIRED, 0, gb_nvrtc_rc,                                             \
        (gb_nvrtc_program program, const char *name, const char **out))                            \
    ROW(nvrtcCompileProgram, REQUIRED, 0, gb_nvrtc_rc,                                             \
        (gb_nvrtc_program program, int count, const char *const *options))                         \
    ROW(nvrtcGetProgramLogSize, REQUIRED, 0, gb_nvrtc_rc,                                          \
        (gb_nvrtc_program program, size_t * out))                                                  \
    ROW(nvrtcGetProgramLog, REQUIRED, 0, gb_nvrtc_rc, (gb_nvrtc_program program, char *out))       \
    ROW(nvrtcGetPTXSize, REQUIRED, 0, gb_nvrtc_rc, (gb_nvrtc_program program, size_t * out))       \
    ROW(nvrtcGetPTX, REQUIRED, 0, gb_nvrtc_rc, (gb_nvrtc_program program, char *out))              \
    ROW(nvrtcGetCUBINSize, REQUIRED, 0, gb_nvrtc_rc, (gb_nvrtc_program program, size_t * out))     \
    ROW(nvrtcGetCUBIN, REQUIRED, 0, gb_nvrtc_rc, (gb_nvrtc_program program, char *out))

#define GB_NVML_TABLE(ROW)                                                                         \
    ROW(nvmlInit_v2, REQUIRED, 0, gb_nvml_rc, (void))                                              \
    ROW(nvmlShutdown, REQUIRED, 0, gb_nvml_rc, (void))                                             \
    ROW(nvmlErrorString, REQUIRED, 0, const char *, (gb_nvml_rc rc))                               \
    ROW(nvmlSystemGetDriverVersion, OPTIONAL, 0, gb_nvml_rc, (char *out, unsigned int size))       \
    ROW(nvmlDeviceGetHandleByPciBusId_v2, REQUIRED, 0, gb_nvml_rc,                                 \
        (const char *id, gb_nvml_device *out))                                                     \
    ROW(nvmlDeviceGetMemoryInfo, OPTIONAL, 0, gb_nvml_rc,                                          \
        (gb_nvml_device device, gb_nvml_memory * out))                                             \
    ROW(nvmlDeviceGetUtilizationRates, OPTIONAL, 0, gb_nvml_rc,                                    \
        (gb_nvml_device device, gb_nvml_use * out))                                                \
    ROW(nvmlDeviceGetTemperature, OPTIONAL, 0, gb_nvml_rc,                                         \
        (gb_nvml_device device, gb_nvml_sensor sensor, unsigned int *celsius))                     \
    ROW(nvmlDeviceGetPowerUsage, OPTIONAL, 0, gb_nvml_rc,                                          \
        (gb_nvml_device device, unsigned int *milliwatts))

/* ---- the loaded tables ---- */

enum { GB_CUDA_PATH_MAX = 4096, GB_CUDA_VERSION_MIN = 12000 }; /* CUDA 12.0: driver 525.60 */

#define GB_CU_MEMBER(name, need, level, type, parameters) type(*name) parameters;

typedef struct gb_cuda_api {
    void *library;
    char path[GB_CUDA_PATH_MAX];
    int version; /* 12040 for 12.4 */
    GB_CUDA_ROOTS(GB_CU_MEMBER)
    GB_CUDA_TABLE(GB_CU_MEMBER)
} gb_cuda_api;

typedef struct gb_nvrtc_api {
    void *library;
    char path[GB_CUDA_PATH_MAX];
    int version; /* 13000 for 13.0 */
    GB_NVRTC_TABLE(GB_CU_MEMBER)
} gb_nvrtc_api;

typedef struct gb_nvml_api {
    void *library;
    char path[GB_CUDA_PATH_MAX];
    GB_NVML_TABLE(GB_CU_MEMBER)
} gb_nvml_api;

#undef GB_CU_MEMBER

/* Each fills *out, which may be uninitialised. The library is $GB_CUDA_LIBRARY (alone, when it is
 * set and not empty), else libcuda.so.1. GB_ENOGPU: no such file, a function of the driver is
 * missing, or it is older than GB_CUDA_VERSION_MIN. Nothing is initialised (no cuInit). */
int gbi_cuda_load(gb_cuda_api *out);

/* $GB_NVRTC_LIBRARY (alone), else the loader's path, the folders of toolkits, and Python's wheels
 * (nvidia-cuda-nvrtc) under the usual site-packages and $VIRTUAL_ENV. */
int gbi_nvrtc_load(gb_nvrtc_api *out);

/* $GB_NVML_LIBRARY (alone), else libnvidia-ml.so.1. Nothing is initialised. */
int gbi_nvml_load(gb_nvml_api *out);

/* Forgets what a load found; the library stays mapped, for its threads may still run. */
void gbi_cuda_unload(gb_cuda_api *api);
void gbi_nvrtc_unload(gb_nvrtc_api *api);
void gbi_nvml_unload(gb_nvml_api *api);

#endif
