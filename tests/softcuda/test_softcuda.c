/* The software driver itself, by the tables of cuda_api.h: what a driver promises, and that nothing
 * else holds. */
#include "kit_soft.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char source[] =
    "__device__ int counter = 7;\n"
    "extern \"C\" __global__ void scale(const float *x, float *y, float by, int n)\n"
    "{\n"
    "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "    if (i < n) y[i] = x[i] * by;\n"
    "}\n"
    "extern \"C\" __global__ void count() { atomicAdd(&counter, 1); }\n"
    "extern \"C\" __global__ void add(int *at, int what) { atomicAdd(at, what); }\n"
    "extern \"C\" __global__ void multiply(int *at, int what) { *at *= what; }\n"
    "extern \"C\" __global__ void poke(int *at, long long index) { at[index] = 1; }\n"
    "extern \"C\" __global__ void trap() { __trap(); }\n"
    "extern \"C\" __global__ void spin(volatile int *flag) { while (*flag == 0) { } }\n"
    "extern \"C\" __global__ void turn(int *x)\n"
    "{\n"
    "    extern __shared__ int all[];\n"
    "    all[threadIdx.x] = x[threadIdx.x];\n"
    "    __syncthreads();\n"
    "    x[threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];\n"
    "}\n"
    "namespace ns { template <typename T> __global__ void fill(T *x, T v) { *x = v; } }\n";

/* ---- devices, contexts ---- */

static void tables(void **state)
{
    kit_soft kit;
    char name[64];
    int count = 0, value = 0;
    kit_soft_open(&kit);
    assert_int_equal(kit.api.version, 12040);
    assert_int_equal(kit.api.cuDeviceGetCount(&count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(kit.api.cuDeviceGetName(name, sizeof name, 1), 0);
    assert_int_equal(strncmp(name, "software", 8), 0);
    assert_int_equal(kit.api.cuDeviceGetAttribute(&value, GB_CU_DEVICE_WARP, 0), 0);
    assert_int_equal(value, 32);
    assert_int_equal(kit.api.cuDeviceGetAttribute(&value, 4711, 0), GB_CU_INVALID_VALUE);
    assert_int_equal(kit.api.cuDeviceGetName(name, sizeof name, 2), GB_CU_INVALID_DEVICE);
    const char *text = NULL;
    assert_int_equal(kit.api.cuGetErrorName(GB_CU_ILLEGAL_ADDRESS, &text), 0);
    assert_string_equal(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
    assert_int_equal(kit.api.cuGetErrorName(12345, &text), GB_CU_INVALID_VALUE);
    gb_nvml_device device;
    gb_nvml_memory memory;
    assert_int_equal(kit.api.cuDeviceGetPCIBusId(name, sizeof name, 1), 0);
    assert_int_not_equal(kit.nvml.nvmlDeviceGetHandleByPciBusId_v2(name, &device), 0);
    assert_int_equal(kit.nvml.nvmlInit_v2(), 0);
    assert_int_equal(kit.nvml.nvmlDeviceGetHandleByPciBusId_v2(name, &device), 0);
    assert_int_equal(kit.nvml.nvmlDeviceGetMemoryInfo(device, &memory), 0);
    assert_true(memory.total == memory.free + memory.used && memory.total > 0);
    assert_int_equal(kit.nvml.nvmlShutdown(), 0);
    kit_soft_close(&kit);
}

static void *without_context(void *arg)
{
    kit_soft *kit = arg;
    gb_cu_memory memory;
    uintptr_t rc = kit->api.cuMemAlloc(&memory, 16);
    return (void *)rc;
}

static void contexts_are_of_threads(void **state)
{
    kit_soft kit;
    pthread_t thread;
    void *rc;
    gb_cu_context now;
    kit_soft_open(&kit);
    assert_int_equal(kit.api.cuCtxGetCurrent(&now), 0);
    assert_ptr_equal(now, kit.context);
    assert_int_equal(pthread_create(&thread, NULL, without_context, &kit), 0);
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_int_equal((int)(uintptr_t)rc, GB_CU_INVALID_CONTEXT);
    kit_soft_close(&kit);
    gb_cu_context gone = kit.context;
    kit_soft_open(&kit);
    int before = kit.misuses();
    assert_int_equal(kit.api.cuCtxSetCurrent(gone), GB_CU_INVALID_CONTEXT);
    assert_int_equal(kit.misuses(), before + 1);
    kit_soft_close(&kit);
}

/* ---- memory ---- */

static void memory_is_filled_and_counted(void **state)
{
    kit_soft kit;
    unsigned char got[1000];
    size_t free_before, free_after, total;
    gb_cu_memory big;
    kit_soft_open(&kit);
    assert_int_equal(kit.api.cuMemGetInfo(&free_before, &total), 0);
    gb_cu_memory memory = kit_soft_alloc(&kit, sizeof got);
    assert_int_equal(memory % 256, 0);
    assert_int_equal(kit.api.cuMemGetInfo(&free_after, &total), 0);
    assert_int_equal(free_before - free_after, sizeof got);
    kit_soft_read(&kit, got, memory, sizeof got);
    for (size_t i = 0; i < sizeof got; i++) assert_int_equal(got[i], 0xa5);
    assert_int_equal(kit.api.cuMemsetD32Async(memory, 0x01020304, 250, NULL), 0);
    assert_int_equal(kit.api.cuMemsetD16Async(memory, 0x0506, 1, NULL), 0);
    assert_int_equal(kit.api.cuMemsetD8Async(memory + 2, 7, 1, NULL), 0);
    kit_soft_read(&kit, got, memory, sizeof got);
    static const unsigned char want[] = {6, 5, 7, 1, 4, 3, 2, 1};
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(kit.api.cuMemsetD8Async(memory, 0, 1001, NULL), GB_CU_INVALID_VALUE);
    assert_int_equal(kit.api.cuMemAlloc(&big, total + 1), GB_CU_OUT_OF_MEMORY);
    assert_int_equal(kit.api.cuMemAlloc(&big, 0), GB_CU_INVALID_VALUE);
    assert_int_equal(kit.api.cuMemFree(memory + 8), GB_CU_INVALID_VALUE);
    assert_int_equal(kit.api.cuMemFree(memory), 0);
    int before = kit.misuses();
    assert_int_equal(kit.api.cuMemFree(memory), GB_CU_INVALID_VALUE);
    assert_int_equal(kit.api.cuMemcpyAsync(memory, kit_soft_host(got), 4, NULL),
                     GB_CU_INVALID_VALUE);
    assert_int_equal(kit.misuses(), before + 2);
    kit_soft_close(&kit);
}

/* Reads the byte in a child: its wait status. */
static int touch(const void *address)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(*(const volatile unsigned char *)address == 0xa5 ? 5 : 6);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void device_memory_is_not_the_hosts(void **state)
{
    kit_soft kit;
    void *pinned;
    gb_cu_memory managed;
    kit_soft_open(&kit);
    gb_cu_memory memory = kit_soft_alloc(&kit, 64);
    assert_int_equal(kit.api.cuMemHostAlloc(&pinned, 64, GB_CU_HOST_PORTABLE), 0);
    assert_int_equal(kit.api.cuMemAllocManaged(&managed, 64, GB_CU_ATTACH_GLOBAL), 0);
    assert_true(WIFSIGNALED(touch((void *)(uintptr_t)memory)));
    assert_int_equal(WEXITSTATUS(touch(pinned)), 5);
    assert_int_equal(WEXITSTATUS(touch((void *)(uintptr_t)managed)), 5);
    assert_int_equal(kit.api.cuMemFree(kit_soft_host(pinned)), GB_CU_INVALID_VALUE);
    assert_int_equal(kit.api.cuMemFreeHost(pinned), 0);
    assert_true(WIFSIGNALED(touch(pinned)));
    assert_int_equal(kit.api.cuMemFree(managed), 0);
    assert_int_equal(kit.api.cuMemFree(memory), 0);
    kit_soft_close(&kit);
}

/* ---- streams ---- */

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool open, seen;
    pthread_t thread;
} gate;

static void wait_at(void *arg)
{
    gate *g = arg;
    pthread_mutex_lock(&g->lock);
    g->thread = pthread_self();
    g->seen = true;
    pthread_cond_broadcast(&g->moved);
    while (!g->open) pthread_cond_wait(&g->moved, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void open_gate(gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->lock);
}

static void pageable_memory_is_read_late(void **state)
{
    kit_soft kit;
    gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
    int value = 1, got = 0;
    gb_cu_event event;
    kit_soft_open(&kit);
    gb_cu_memory memory = kit_soft_alloc(&kit, 4);
    assert_int_equal(kit.api.cuEventCreate(&event, GB_CU_EVENT_NO_TIMING), 0);
    assert_int_equal(kit.api.cuEventQuery(event), 0);
    assert_int_equal(kit.api.cuLaunchHostFunc(NULL, wait_at, &g), 0);
    assert_int_equal(kit.api.cuMemcpyAsync(memory, kit_soft_host(&value), 4, NULL), 0);
    assert_int_equal(kit.api.cuEventRecord(event, NULL), 0);
    assert_int_equal(kit.api.cuEventQuery(event), GB_CU_NOT_READY);
    value = 2; /* nothing but the gate orders this before the copy */
    open_gate(&g);
    kit_soft_read(&kit, &got, memory, 4);
    assert_int_equal(got, 2);
    assert_int_equal(kit.api.cuEventQuery(event), 0);
    assert_false(pthread_equal(g.thread, pthread_self()));
    assert_int_equal(kit.api.cuEventDestroy(event), 0);
    assert_int_equal(kit.api.cuMemFree(memory), 0);
    kit_soft_close(&kit);
}

/* Two streams that add and multiply in turns, ordered by events alone: any slip changes the sum. */
static void events_order_streams(void **state)
{
    enum { ROUNDS = 30 };
    kit_soft kit;
    gb_cu_stream streams[2];
    gb_cu_event events[2];
    int one = 1, two = 2, at = 0, want = 0;
    kit_soft_open(&kit);
    gb_cu_module module = kit_soft_module(&kit, source);
    gb_cu_function functions[] = {kit_soft_function(&kit, module, "add"),
                                  kit_soft_function(&kit, module, "multiply")};
    gb_cu_memory memory = kit_soft_alloc(&kit, 4);
    kit_soft_write(&kit, memory, &at, 4);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kit.api.cuStreamCreate(&streams[i], GB_CU_STREAM_NON_BLOCKING), 0);
        assert_int_equal(kit.api.cuEventCreate(&events[i], GB_CU_EVENT_DEFAULT), 0);
    }
    for (int i = 0; i < ROUNDS; i++)
        for (int k = 0; k < 2; k++) {
            void *params[] = {&memory, k ? &two : &one};
            assert_int_equal(kit.api.cuStreamWaitEvent(streams[k], events[!k], 0), 0);
            assert_int_equal(kit_soft_launch(&kit, functions[k], 1, 1, streams[k], params), 0);
            assert_int_equal(kit.api.cuEventRecord(events[k], streams[k]), 0);
            want = k ? (int)((unsigned)want * 2) : want + 1;
        }
    for (int i = 0; i < 2; i++) assert_int_equal(kit.api.cuStreamSynchronize(streams[i]), 0);
    kit_soft_read(&kit, &at, memory, 4);
    assert_int_equal(at, want);
    float ms = -1;
    assert_int_equal(kit.api.cuEventElapsedTime(&ms, events[0], events[1]), 0);
    assert_true(ms >= 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kit.api.cuStreamDestroy(streams[i]), 0);
        assert_int_equal(kit.api.cuEventDestroy(events[i]), 0);
    }
    assert_int_equal(kit.api.cuStreamSynchronize(streams[0]), GB_CU_INVALID_HANDLE);
    assert_int_equal(kit.api.cuModuleUnload(module), 0);
    assert_int_equal(kit.api.cuMemFree(memory), 0);
    kit_soft_close(&kit);
}

static void call_back(void *arg)
{
    kit_soft *kit = arg;
    gb_cu_memory memory;
    if (kit->api.cuMemAlloc(&memory, 4) == 800) kit->context = NULL;
}

static void host_functions_may_not_call(void **state)
{
    kit_soft kit;
    kit_soft_open(&kit);
    assert_int_equal(kit.api.cuLaunchHostFunc(NULL, call_back, &kit), 0);
    assert_int_equal(kit.api.cuStreamSynchronize(NULL), 0);
    assert_null(kit.context);
    kit_soft_close(&kit);
}

/* ---- modules ---- */

static void modules(void **state)
{
    kit_soft kit;
    float in[100], got[100], by = 2.5f;
    int n = 100;
    size_t offset, size;
    kit_soft_open(&kit);
    gb_cu_module module = kit_soft_module(&kit, source);
    gb_cu_function scale = kit_soft_function(&kit, module, "scale"), none;
    assert_int_equal(kit.api.cuModuleGetFunction(&none, module, "nothing"), GB_CU_NOT_FOUND);
    for (int i = 0; i < n; i++) in[i] = (float)i;
    gb_cu_memory x = kit_soft_alloc(&kit, sizeof in), y = kit_soft_alloc(&kit, sizeof got);
    kit_soft_write(&kit, x, in, sizeof in);
    void *params[] = {&x, &y, &by, &n};
    assert_int_equal(kit_soft_launch(&kit, scale, 4, 32, NULL, params), 0);
    kit_soft_read(&kit, got, y, sizeof got);
    for (int i = 0; i < n; i++) assert_true(got[i] == in[i] * 2.5f);
    assert_int_equal(kit.api.cuFuncGetParamInfo(scale, 3, &offset, &size), 0);
    assert_int_equal(offset, 20);
    assert_int_equal(size, 4);
    assert_int_equal(kit.api.cuFuncGetParamInfo(scale, 4, &offset, &size), GB_CU_INVALID_VALUE);
    /* a packed buffer of parameters, which has to have the right size */
    struct {
        gb_cu_memory x, y;
        float by;
        int n;
    } packed = {x, y, 3, 100};
    size_t packed_bytes = sizeof packed;
    void *extra[] = {(void *)1, &packed, (void *)2, &packed_bytes, NULL};
    assert_int_equal(kit.api.cuLaunchKernel(scale, 4, 1, 1, 32, 1, 1, 0, NULL, NULL, extra), 0);
    packed_bytes -= 4;
    assert_int_equal(kit.api.cuLaunchKernel(scale, 4, 1, 1, 32, 1, 1, 0, NULL, NULL, extra),
                     GB_CU_INVALID_VALUE);
    kit_soft_read(&kit, got, y, sizeof got);
    assert_true(got[99] == 297);
    assert_int_equal(kit_soft_launch(&kit, scale, 4, 1025, NULL, params), GB_CU_INVALID_VALUE);
    assert_int_equal(kit_soft_launch(&kit, scale, 0, 32, NULL, params), GB_CU_INVALID_VALUE);
    params[2] = NULL;
    assert_int_equal(kit_soft_launch(&kit, scale, 4, 32, NULL, params), GB_CU_INVALID_VALUE);
    assert_int_equal(kit.api.cuModuleUnload(module), 0);
    assert_int_equal(kit_soft_launch(&kit, scale, 4, 32, NULL, params), GB_CU_INVALID_HANDLE);
    assert_int_equal(kit.api.cuModuleUnload(module), GB_CU_INVALID_HANDLE);
    assert_int_equal(kit.api.cuMemFree(x), 0);
    assert_int_equal(kit.api.cuMemFree(y), 0);
    kit_soft_close(&kit);
}

static void globals_and_shared_memory(void **state)
{
    kit_soft kit;
    int value = 0, x[64];
    size_t bytes = 0;
    gb_cu_memory counter;
    kit_soft_open(&kit);
    gb_cu_module module = kit_soft_module(&kit, source);
    assert_int_equal(kit.api.cuModuleGetGlobal(&counter, &bytes, module, "counter"), 0);
    assert_int_equal(bytes, 4);
    gb_cu_function count = kit_soft_function(&kit, module, "count");
    assert_int_equal(kit_soft_launch(&kit, count, 10, 100, NULL, NULL), 0);
    kit_soft_read(&kit, &value, counter, 4);
    assert_int_equal(value, 1007);
    gb_cu_function turn = kit_soft_function(&kit, module, "turn");
    for (int i = 0; i < 64; i++) x[i] = i;
    gb_cu_memory memory = kit_soft_alloc(&kit, sizeof x);
    kit_soft_write(&kit, memory, x, sizeof x);
    void *params[] = {&memory};
    const gb_cuda_api *api = &kit.api;
    assert_int_equal(api->cuLaunchKernel(turn, 1, 1, 1, 64, 1, 1, 50000, NULL, params, NULL),
                     GB_CU_INVALID_VALUE);
    assert_int_equal(api->cuFuncSetAttribute(turn, GB_CU_FUNC_DYNAMIC_MAX, 300 << 10),
                     GB_CU_INVALID_VALUE);
    assert_int_equal(api->cuFuncSetAttribute(turn, GB_CU_FUNC_DYNAMIC_MAX, 60000), 0);
    assert_int_equal(api->cuLaunchKernel(turn, 1, 1, 1, 64, 1, 1, 50000, NULL, params, NULL), 0);
    kit_soft_read(&kit, x, memory, sizeof x);
    for (int i = 0; i < 64; i++) assert_int_equal(x[i], 63 - i);
    assert_int_equal(api->cuModuleUnload(module), 0);
    assert_int_equal(api->cuMemFree(memory), 0);
    kit_soft_close(&kit);
}

static void lowered_names(void **state)
{
    kit_soft kit;
    const char *names[] = {"ns::fill<int>", "&counter"};
    gb_cu_module module;
    gb_cu_function function;
    int value = 9;
    kit_soft_open(&kit);
    char *image = kit_soft_compile(&kit, source, names, 2);
    assert_int_equal(kit.api.cuModuleLoadDataEx(&module, image, 0, NULL, NULL), 0);
    assert_int_equal(kit.api.cuModuleGetFunction(&function, module, "ns::fill<int>"),
                     GB_CU_NOT_FOUND);
    function = kit_soft_function(&kit, module, names[0]);
    gb_cu_memory memory = kit_soft_alloc(&kit, 4);
    void *params[] = {&memory, &value};
    assert_int_equal(kit_soft_launch(&kit, function, 1, 1, NULL, params), 0);
    value = 0; /* the launch has its own copy */
    kit_soft_read(&kit, &value, memory, 4);
    assert_int_equal(value, 9);
    assert_int_equal(kit.api.cuMemFree(memory), 0);
    assert_int_equal(kit.api.cuModuleUnload(module), 0);
    assert_int_equal(kit.api.cuModuleLoadDataEx(&module, "no image", 0, NULL, NULL),
                     GB_CU_INVALID_IMAGE);
    for (int i = 0; i < 2; i++) free((char *)names[i]);
    free(image);
    kit_soft_close(&kit);
}

static void compile_errors(void **state)
{
    kit_soft kit;
    gb_nvrtc_program program;
    char log[4096];
    static const char *const bad[] = {"-fplugin=x"}, *const old[] = {"--gpu-architecture=sm_35"};
    kit_soft_open(&kit);
    const gb_nvrtc_api *nvrtc = &kit.nvrtc;
    assert_int_equal(nvrtc->nvrtcCreateProgram(&program,
                                               "extern \"C\" __global__ void f(int *x)\n"
                                               "{\n    *x = missing;\n}\n",
                                               "bad.cu", 0, NULL, NULL),
                     0);
    assert_int_equal(nvrtc->nvrtcCompileProgram(program, 1, bad), GB_NVRTC_INVALID_OPTION);
    assert_int_equal(nvrtc->nvrtcCompileProgram(program, 1, old), GB_NVRTC_INVALID_OPTION);
    static const char *const good[] = {"-arch=compute_80"};
    assert_int_equal(nvrtc->nvrtcCompileProgram(program, 1, good), GB_NVRTC_COMPILATION);
    size_t size = 0;
    assert_int_equal(nvrtc->nvrtcGetProgramLogSize(program, &size), 0);
    assert_true(size < sizeof log);
    assert_int_equal(nvrtc->nvrtcGetProgramLog(program, log), 0);
    assert_non_null(strstr(log, "bad.cu(3): error"));
    assert_non_null(strstr(log, "missing"));
    assert_int_equal(nvrtc->nvrtcDestroyProgram(&program), 0);
    assert_null(program);
    kit_soft_close(&kit);
}

/* ---- errors ---- */

static void must_not_run(void *arg)
{
    atomic_store((atomic_int *)arg, 1);
}

static void traps_break_the_context(void **state)
{
    kit_soft kit;
    atomic_int called = 0;
    gb_cu_stream stream, other;
    gb_cu_event event;
    long long far = 1ll << 40;
    kit_soft_open(&kit);
    gb_cu_module module = kit_soft_module(&kit, source);
    gb_cu_function poke = kit_soft_function(&kit, module, "poke");
    gb_cu_memory memory = kit_soft_alloc(&kit, 64);
    void *params[] = {&memory, &far};
    assert_int_equal(kit.api.cuStreamCreate(&stream, GB_CU_STREAM_NON_BLOCKING), 0);
    assert_int_equal(kit.api.cuStreamCreate(&other, GB_CU_STREAM_NON_BLOCKING), 0);
    assert_int_equal(kit.api.cuEventCreate(&event, GB_CU_EVENT_NO_TIMING), 0);
    assert_int_equal(kit_soft_launch(&kit, poke, 1, 1, stream, params), 0);
    assert_int_equal(kit.api.cuEventRecord(event, stream), 0);
    kit.api.cuStreamWaitEvent(other, event, 0);
    kit.api.cuLaunchHostFunc(stream, must_not_run, &called);
    assert_int_equal(kit.api.cuStreamSynchronize(stream), GB_CU_ILLEGAL_ADDRESS);
    assert_int_equal(kit.api.cuStreamSynchronize(other), GB_CU_ILLEGAL_ADDRESS);
    assert_int_equal(kit.api.cuEventQuery(event), GB_CU_ILLEGAL_ADDRESS);
    assert_int_equal(kit.api.cuMemFree(memory), GB_CU_ILLEGAL_ADDRESS);
    assert_int_equal(kit.api.cuModuleUnload(module), GB_CU_ILLEGAL_ADDRESS);
    assert_int_equal(kit.api.cuDevicePrimaryCtxReset(0), 0);
    assert_int_equal(kit.api.cuMemFree(memory), GB_CU_CONTEXT_DESTROYED);
    assert_int_equal(atomic_load(&called), 0);
    /* a retain makes another one, which works */
    assert_int_equal(kit.api.cuDevicePrimaryCtxRelease(0), 0);
    assert_int_equal(kit.api.cuDevicePrimaryCtxRetain(&kit.context, 0), 0);
    assert_int_equal(kit.api.cuCtxSetCurrent(kit.context), 0);
    module = kit_soft_module(&kit, source);
    assert_int_equal(
        kit_soft_launch(&kit, kit_soft_function(&kit, module, "trap"), 1, 1, NULL, NULL), 0);
    assert_int_equal(kit.api.cuStreamSynchronize(NULL), GB_CU_LAUNCH_FAILED);
    kit_soft_close(&kit);
}

static void freed_memory_faults_in_kernels(void **state)
{
    kit_soft kit;
    long long first = 0, behind = 256 / 4;
    gb_cu_memory memory;
    long long *indices[] = {&first, &behind};
    for (int i = 0; i < 2; i++) {
        kit_soft_open(&kit);
        gb_cu_module module = kit_soft_module(&kit, source);
        gb_cu_function poke = kit_soft_function(&kit, module, "poke");
        memory = kit_soft_alloc(&kit, 256);
        void *params[] = {&memory, indices[i]};
        if (i == 0) assert_int_equal(kit.api.cuMemFree(memory), 0);
        assert_int_equal(kit_soft_launch(&kit, poke, 1, 1, NULL, params), 0);
        assert_int_equal(kit.api.cuStreamSynchronize(NULL), GB_CU_ILLEGAL_ADDRESS);
        kit_soft_close(&kit);
    }
}

static void peers_need_access(void **state)
{
    kit_soft kit;
    gb_cu_context other;
    gb_cu_memory far;
    int can = 0, got = 0, value = 5;
    long long at = 0;
    kit_soft_open(&kit);
    assert_int_equal(kit.api.cuDeviceCanAccessPeer(&can, 0, 1), 0);
    assert_int_equal(can, 1);
    assert_int_equal(kit.api.cuDevicePrimaryCtxRetain(&other, 1), 0);
    assert_int_equal(kit.api.cuCtxSetCurrent(other), 0);
    far = kit_soft_alloc(&kit, 4);
    assert_int_equal(kit.api.cuCtxSetCurrent(kit.context), 0);
    kit_soft_write(&kit, far, &value, 4); /* copies reach every device */
    assert_int_equal(kit.api.cuMemFree(far), GB_CU_INVALID_CONTEXT);
    assert_int_equal(kit.api.cuCtxEnablePeerAccess(other, 0), 0);
    assert_int_equal(kit.api.cuCtxEnablePeerAccess(other, 0), GB_CU_PEER_ALREADY);
    gb_cu_module module = kit_soft_module(&kit, source);
    void *params[] = {&far, &at};
    gb_cu_function poke = kit_soft_function(&kit, module, "poke");
    assert_int_equal(kit_soft_launch(&kit, poke, 1, 1, NULL, params), 0);
    kit_soft_read(&kit, &got, far, 4);
    assert_int_equal(got, 1);
    assert_int_equal(kit.api.cuModuleUnload(module), 0);
    assert_int_equal(kit.api.cuCtxSetCurrent(other), 0);
    assert_int_equal(kit.api.cuMemFree(far), 0);
    assert_int_equal(kit.api.cuDevicePrimaryCtxRelease(1), 0);
    kit_soft_close(&kit);
}

static void injected_errors(void **state)
{
    kit_soft kit;
    gb_cu_memory memory[3];
    kit_soft_open(&kit);
    kit.inject("cuMemAlloc_v2@2=2,execute@1=719");
    assert_int_equal(kit.api.cuMemAlloc(&memory[0], 4), 0);
    assert_int_equal(kit.api.cuMemAlloc(&memory[1], 4), GB_CU_OUT_OF_MEMORY);
    assert_int_equal(kit.api.cuMemAlloc(&memory[2], 4), 0);
    assert_int_equal(kit.calls("cuMemAlloc"), 3);
    assert_int_equal(kit.leaks(), 3); /* and the context */
    assert_int_equal(kit.api.cuMemsetD8Async(memory[0], 0, 4, NULL), 0);
    assert_int_equal(kit.api.cuStreamSynchronize(NULL), GB_CU_LAUNCH_FAILED);
    assert_int_equal(kit.api.cuMemFree(memory[0]), GB_CU_LAUNCH_FAILED);
    assert_int_equal(kit.leaks(), 1);
    kit.inject("nvrtcVersion@*=11,nvmlInit_v2@1=999");
    int major, minor;
    assert_int_equal(kit.nvrtc.nvrtcVersion(&major, &minor), 11);
    assert_int_equal(kit.nvrtc.nvrtcVersion(&major, &minor), 11);
    assert_int_equal(kit.nvml.nvmlInit_v2(), 999);
    kit_soft_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables),
        cmocka_unit_test(contexts_are_of_threads),
        cmocka_unit_test(memory_is_filled_and_counted),
        cmocka_unit_test(device_memory_is_not_the_hosts),
        cmocka_unit_test(pageable_memory_is_read_late),
        cmocka_unit_test(events_order_streams),
        cmocka_unit_test(host_functions_may_not_call),
        cmocka_unit_test(modules),
        cmocka_unit_test(globals_and_shared_memory),
        cmocka_unit_test(lowered_names),
        cmocka_unit_test(compile_errors),
        cmocka_unit_test(traps_break_the_context),
        cmocka_unit_test(freed_memory_faults_in_kernels),
        cmocka_unit_test(peers_need_access),
        cmocka_unit_test(injected_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
