/* What do we cost beside raw driver calls? The same launches and copies twice, by turns: straight
 * to the driver (dlopen of libcuda.so.1, or what $GB_CUDA_LIBRARY names) and through our queues.
 * Medians of ROUNDS rounds. Lines: "F name text" are facts, "R name value" are figures; without a
 * driver or a device "F not_run why", and exit code 77. $GB_BENCH_QUICK: small counts, for
 * self-checks. Times over a software driver are no figures of any GPU: backend says which it is. */
#include "base/err.h"
#include "gpu/gpu.h"
#include "host/embed_kernel.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5, SKIPPED = 77, THREADS = 256, LEVEL = 12000, ISSUED = 200, NODES = 10 };

static const char source[] = "extern \"C\" __global__ void touch(float *x, int n)\n"
                             "{\n"
                             "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                             "    if (i < n) x[i] = x[i] * 2.0f + 1.0f;\n"
                             "}\n";

static int count, copy_bytes, device_bytes;

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void skip(const char *why)
{
    printf("F not_run %s\n", why);
    exit(SKIPPED);
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "cuda_raw: %s: %s\n", what, why);
    exit(1);
}

/* ---- raw: the driver ---- */

struct kernel_node { /* CUDA_KERNEL_NODE_PARAMS_v2 */
    void *function;
    unsigned grid[3], block[3], shared;
    void **params, **extra;
    void *kernel, *context;
};

static struct {
    int (*cuGetProcAddress)(const char *name, void **out, int level, unsigned long long flags,
                            int *found);
    int (*cuInit)(unsigned flags);
    int (*cuDriverGetVersion)(int *out);
    int (*cuDeviceGet)(int *out, int ordinal);
    int (*cuDeviceGetCount)(int *out);
    int (*cuDeviceGetName)(char *out, int size, int device);
    int (*cuDeviceGetAttribute)(int *out, int attribute, int device);
    int (*cuDevicePrimaryCtxRetain)(void **out, int device);
    int (*cuCtxSetCurrent)(void *context);
    int (*cuModuleLoadDataEx)(void **out, const void *image, unsigned n, int *o, void **v);
    int (*cuModuleGetFunction)(void **out, void *module, const char *name);
    int (*cuMemAlloc)(unsigned long long *out, size_t bytes);
    int (*cuMemHostAlloc)(void **out, size_t bytes, unsigned flags);
    int (*cuMemcpyAsync)(unsigned long long to, unsigned long long from, size_t bytes, void *st);
    int (*cuMemsetD8Async)(unsigned long long to, unsigned char byte, size_t bytes, void *stream);
    int (*cuStreamCreate)(void **out, unsigned flags);
    int (*cuStreamSynchronize)(void *stream);
    int (*cuLaunchKernel)(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                          unsigned bz, unsigned shared, void *stream, void **params, void **extra);
    int (*cuGraphCreate)(void **out, unsigned flags);
    int (*cuGraphAddKernelNode)(void **out, void *graph, void *const *after, size_t count,
                                const struct kernel_node *node);
    int (*cuGraphInstantiate)(void **out, void *graph, unsigned long long flags);
    int (*cuGraphLaunch)(void *exec, void *stream);
} cu;

static void *stream, *function, *pinned, *exec;
static unsigned long long x_raw, a_raw, b_raw;
static int arch;

static void good(int rc, const char *what)
{
    char text[32];
    snprintf(text, sizeof text, "CUresult %d", rc);
    if (rc != 0) fail(what, text);
}

static void find(void *where, const char *name)
{
    int found = 0;
    void *address = NULL;
    good(cu.cuGetProcAddress(name, &address, LEVEL, 0, &found), name);
    if (!address) fail(name, "the driver has no such function");
    memcpy(where, &address, sizeof address);
}

static void find_all(void)
{
#define FIND(name) find(&cu.name, #name)
    FIND(cuInit), FIND(cuDriverGetVersion), FIND(cuDeviceGet), FIND(cuDeviceGetCount);
    FIND(cuDeviceGetName), FIND(cuDeviceGetAttribute), FIND(cuDevicePrimaryCtxRetain);
    FIND(cuCtxSetCurrent), FIND(cuModuleLoadDataEx), FIND(cuModuleGetFunction);
    FIND(cuMemAlloc), FIND(cuMemHostAlloc), FIND(cuMemcpyAsync), FIND(cuMemsetD8Async);
    FIND(cuStreamCreate), FIND(cuStreamSynchronize), FIND(cuLaunchKernel);
    FIND(cuGraphCreate), FIND(cuGraphAddKernelNode), FIND(cuGraphInstantiate), FIND(cuGraphLaunch);
#undef FIND
}

static void open_raw(void)
{
    int devices = 0, device, version, major = 0, minor = 0;
    char name[128] = "";
    void *context;
    const char *asked = getenv("GB_CUDA_LIBRARY");
    void *library = dlopen(asked && *asked ? asked : "libcuda.so.1", RTLD_NOW);
    if (!library) skip(dlerror());
    *(void **)&cu.cuGetProcAddress = dlsym(library, "cuGetProcAddress_v2");
    *(void **)&cu.cuDriverGetVersion = dlsym(library, "cuDriverGetVersion");
    if (!cu.cuGetProcAddress || !cu.cuDriverGetVersion) skip("the driver is older than 12.0");
    good(cu.cuDriverGetVersion(&version), "cuDriverGetVersion");
    if (version < LEVEL) skip("the driver is older than 12.0");
    find_all();
    if (cu.cuInit(0) != 0 || cu.cuDeviceGetCount(&devices) != 0 || devices == 0) skip("no device");
    good(cu.cuDeviceGet(&device, 0), "cuDeviceGet");
    good(cu.cuDeviceGetName(name, sizeof name, device), "cuDeviceGetName");
    good(cu.cuDeviceGetAttribute(&major, 75, device), "cuDeviceGetAttribute");
    good(cu.cuDeviceGetAttribute(&minor, 76, device), "cuDeviceGetAttribute");
    arch = major * 10 + minor;
    good(cu.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
    good(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
    printf("F device %s\nF arch sm_%d\nF cuda_version %d.%d\n", name, arch, version / 1000,
           version % 1000 / 10);
}

/* PTX by NVRTC, which may be newer than the driver: then the driver says so. */
static char *compile(void)
{
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", NULL};
    const char *asked = getenv("GB_NVRTC_LIBRARY");
    void *library = asked && *asked ? dlopen(asked, RTLD_NOW) : NULL;
    for (int i = 0; names[i] && !library && !(asked && *asked); i++)
        library = dlopen(names[i], RTLD_NOW);
    if (!library) skip("NVRTC is not there: name libnvrtc.so in GB_NVRTC_LIBRARY");
    int (*create)(void **, const char *, const char *, int, const char **, const char **);
    int (*run)(void *, int, const char **);
    int (*get_size)(void *, size_t *);
    int (*get)(void *, char *);
    *(void **)&create = dlsym(library, "nvrtcCreateProgram");
    *(void **)&run = dlsym(library, "nvrtcCompileProgram");
    *(void **)&get_size = dlsym(library, "nvrtcGetPTXSize");
    *(void **)&get = dlsym(library, "nvrtcGetPTX");
    if (!create || !run || !get_size || !get) fail("NVRTC", "a function is missing");
    char option[64];
    snprintf(option, sizeof option, "--gpu-architecture=compute_%d", arch);
    const char *options[] = {option};
    void *program;
    size_t size;
    good(create(&program, source, "touch.cu", 0, NULL, NULL), "nvrtcCreateProgram");
    good(run(program, 1, options), "nvrtcCompileProgram");
    good(get_size(program, &size), "nvrtcGetPTXSize");
    char *image = calloc(1, size + 1);
    good(get(program, image), "nvrtcGetPTX");
    return image;
}

static void open_raw_data(void)
{
    void *module;
    char *image = compile();
    good(cu.cuModuleLoadDataEx(&module, image, 0, NULL, NULL), "cuModuleLoadDataEx");
    free(image);
    good(cu.cuModuleGetFunction(&function, module, "touch"), "cuModuleGetFunction");
    good(cu.cuStreamCreate(&stream, 1), "cuStreamCreate"); /* 1: not with the default stream */
    good(cu.cuMemAlloc(&x_raw, THREADS * sizeof(float)), "cuMemAlloc");
    good(cu.cuMemAlloc(&a_raw, (size_t)device_bytes), "cuMemAlloc");
    good(cu.cuMemAlloc(&b_raw, (size_t)device_bytes), "cuMemAlloc");
    good(cu.cuMemHostAlloc(&pinned, (size_t)copy_bytes, 0), "cuMemHostAlloc");
    memset(pinned, 1, (size_t)copy_bytes);
    good(cu.cuMemsetD8Async(x_raw, 0, THREADS * sizeof(float), stream), "cuMemsetD8Async");
    good(cu.cuMemsetD8Async(a_raw, 1, (size_t)device_bytes, stream), "cuMemsetD8Async");
    good(cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
}

/* A chain of NODES launches. */
static void open_raw_graph(void)
{
    void *graph, *node = NULL;
    int n = THREADS;
    void *params[] = {&x_raw, &n};
    struct kernel_node touch = {
        .function = function, .grid = {1, 1, 1}, .block = {THREADS, 1, 1}, .params = params};
    good(cu.cuGraphCreate(&graph, 0), "cuGraphCreate");
    for (int i = 0; i < NODES; i++) {
        void *before = node;
        good(cu.cuGraphAddKernelNode(&node, graph, &before, i > 0, &touch), "cuGraphAddKernelNode");
    }
    good(cu.cuGraphInstantiate(&exec, graph, 0), "cuGraphInstantiate");
}

static void raw_wait(void)
{
    good(cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
}

static void raw_graphs(void)
{
    for (int i = 0; i < count / NODES; i++) good(cu.cuGraphLaunch(exec, stream), "cuGraphLaunch");
    raw_wait();
}

static void raw_launch(void)
{
    int n = THREADS;
    void *params[] = {&x_raw, &n};
    good(cu.cuLaunchKernel(function, 1, 1, 1, THREADS, 1, 1, 0, stream, params, NULL),
         "cuLaunchKernel");
}

static void raw_launches(void)
{
    for (int i = 0; i < count; i++) raw_launch();
    raw_wait();
}

/* The calls alone, without what they start: few enough that no queue is full. */
static void raw_issue(void)
{
    for (int i = 0; i < ISSUED; i++) raw_launch();
}

static void raw_waits(void)
{
    for (int i = 0; i < count; i++) raw_launch(), raw_wait();
}

static void raw_upload(void)
{
    unsigned long long host = (unsigned long long)(uintptr_t)pinned;
    good(cu.cuMemcpyAsync(a_raw, host, (size_t)copy_bytes, stream), "cuMemcpyAsync");
    raw_wait();
}

static void raw_download(void)
{
    unsigned long long host = (unsigned long long)(uintptr_t)pinned;
    good(cu.cuMemcpyAsync(host, a_raw, (size_t)copy_bytes, stream), "cuMemcpyAsync");
    raw_wait();
}

static void raw_copy(void)
{
    good(cu.cuMemcpyAsync(b_raw, a_raw, (size_t)device_bytes, stream), "cuMemcpyAsync");
    raw_wait();
}

/* ---- ours ---- */

static gb_mem mem;
static gb_gpu *gpu;
static gb_device *device;
static gb_queue *queue;
static gb_module *module;
static gb_kernel *kernel;
static gb_buffer *x, *a, *b, *host;
static gb_graph *graph;

static void check(int rc, const char *what)
{
    if (rc < 0) fail(what, gb_err_detail());
}

static void our_wait(void)
{
    check(gbi_queue_finish(queue), "waiting");
}

static void open_our_graph(void)
{
    int n = THREADS;
    gb_launch shape = {.grid = {1, 1, 1}, .block = {THREADS, 1, 1}};
    gb_arg args[] = {{.buffer = x}, {.value = &n, .size = sizeof n}};
    check(gb_graph_open(&graph, device), "a graph");
    for (int i = 0; i < NODES; i++) {
        int node = gb_graph_add_launch(graph, kernel, &shape);
        check(node, "a node");
        for (int k = 0; k < 2; k++) check(gb_graph_set_param(graph, node, k, &args[k]), "a node");
    }
}

static void our_graphs(void)
{
    for (int i = 0; i < count / NODES; i++) check(gb_queue_run(queue, graph), "a graph");
    our_wait();
}

static void open_ours(void)
{
    gb_mem_init(&mem, "bench", NULL, 0);
    gb_gpu_config config = {.mem = &mem};
    gb_device_info info;
    check(gb_gpu_open(&gpu, &config), "opening devices");
    device = gb_gpu_device(gpu, 0);
    gb_device_get_info(device, &info);
    if (strcmp(info.backend, "cpu") == 0) fail("our device 0", "the cpu: the driver is not used");
    printf("F backend %s\n", info.backend);
    gb_module_spec spec = {.name = "touch.cu", .source = source, .source_bytes = sizeof source - 1};
    gbi_sync sync;
    gbi_sync_init(&sync);
    check(gbi_sync_wait(&sync, gb_module_open(&module, device, &spec, &sync.op)), "compiling");
    kernel = gb_module_kernel(module, "touch");
    check(gb_queue_open(&queue, device), "a queue");
    check(gb_buffer_open(&x, device, THREADS * sizeof(float), GB_BUFFER_DEVICE), "a buffer");
    check(gb_buffer_open(&a, device, (size_t)device_bytes, GB_BUFFER_DEVICE), "a buffer");
    check(gb_buffer_open(&b, device, (size_t)device_bytes, GB_BUFFER_DEVICE), "a buffer");
    check(gb_buffer_open(&host, device, (size_t)copy_bytes, GB_BUFFER_PINNED), "pinned memory");
    memset(gb_buffer_host(host), 1, (size_t)copy_bytes);
    open_our_graph();
}

static void our_launch(void)
{
    int n = THREADS;
    gb_launch shape = {.grid = {1, 1, 1}, .block = {THREADS, 1, 1}};
    gb_arg args[] = {{.buffer = x}, {.value = &n, .size = sizeof n}};
    int rc = gb_queue_launch(queue, kernel, &shape, args, 2);
    while (rc == GB_EBUSY) our_wait(), rc = gb_queue_launch(queue, kernel, &shape, args, 2);
    check(rc, "a launch");
}

static void our_launches(void)
{
    for (int i = 0; i < count; i++) our_launch();
    our_wait();
}

static void our_issue(void)
{
    for (int i = 0; i < ISSUED; i++) our_launch();
}

static void our_waits(void)
{
    for (int i = 0; i < count; i++) our_launch(), our_wait();
}

static void our_upload(void)
{
    check(gb_queue_copy(queue, a, 0, host, 0, (size_t)copy_bytes), "an upload");
    our_wait();
}

static void our_download(void)
{
    check(gb_queue_copy(queue, host, 0, a, 0, (size_t)copy_bytes), "a download");
    our_wait();
}

static void our_copy(void)
{
    check(gb_queue_copy(queue, b, 0, a, 0, (size_t)device_bytes), "a copy");
    our_wait();
}

static void close_ours(void)
{
    gb_graph_stats stats;
    gb_graph_get_stats(graph, &stats);
    printf("F graph_replays %llu, one by one %llu %s\n", (unsigned long long)stats.replays,
           (unsigned long long)(stats.runs - stats.replays), stats.why);
    gb_graph_close(graph);
    gb_buffer_unref(x), gb_buffer_unref(a), gb_buffer_unref(b), gb_buffer_unref(host);
    gb_queue_close(queue);
    gb_module_unref(module);
    gb_gpu_close(gpu);
    gb_mem_fini(&mem);
}

/* ---- rounds ---- */

static void no_wait(void)
{
}

static int compare(const void *p, const void *q)
{
    double left = *(const double *)p, right = *(const double *)q;
    return (left > right) - (left < right);
}

typedef struct pair {
    const char *name;
    void (*raw)(void), (*ours)(void);
    double work; /* what one call moves or does; bytes give GB/s, launches give us */
    bool is_time;
    void (*raw_after)(void), (*our_after)(void); /* not timed */
} pair;

/* The ratio is time of ours over raw for launches, speed of ours over raw for copies: as the bars
 * are stated. */
static void measure(const pair *p)
{
    double raw[ROUNDS], ours[ROUNDS];
    p->raw(), p->raw_after();
    p->ours(), p->our_after();
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_us();
        p->raw();
        raw[round] = now_us() - start;
        p->raw_after();
        start = now_us();
        p->ours();
        ours[round] = now_us() - start;
        p->our_after();
    }
    qsort(raw, ROUNDS, sizeof *raw, compare);
    qsort(ours, ROUNDS, sizeof *ours, compare);
    double r = raw[ROUNDS / 2], o = ours[ROUNDS / 2];
    if (p->is_time)
        printf("R %s_raw_us %.3f\nR %s_ours_us %.3f\nR %s_ratio %.3f\n", p->name, r / p->work,
               p->name, o / p->work, p->name, o / r);
    else
        printf("R %s_raw_gbs %.3f\nR %s_ours_gbs %.3f\nR %s_ratio %.3f\n", p->name,
               p->work / r / 1e3, p->name, p->work / o / 1e3, p->name, r / o);
    fflush(stdout);
}

int main(void)
{
    const char *quick = getenv("GB_BENCH_QUICK");
    bool is_quick = quick && *quick;
    count = is_quick ? 200 : 10000;
    copy_bytes = is_quick ? 1 << 20 : 64 << 20;
    device_bytes = is_quick ? 1 << 20 : 512 << 20;
    open_raw();
    open_raw_data();
    open_raw_graph();
    open_ours();
    const pair pairs[] = {
        {"issue", raw_issue, our_issue, ISSUED, true, raw_wait, our_wait},
        {"launch", raw_launches, our_launches, count, true, no_wait, no_wait},
        {"launch_wait", raw_waits, our_waits, count, true, no_wait, no_wait},
        /* per launch: against launch_raw_us the driver's own gain */
        {"graph", raw_graphs, our_graphs, count, true, no_wait, no_wait},
        {"pinned_upload", raw_upload, our_upload, copy_bytes, false, no_wait, no_wait},
        {"pinned_download", raw_download, our_download, copy_bytes, false, no_wait, no_wait},
        /* read and written */
        {"device_copy", raw_copy, our_copy, 2.0 * device_bytes, false, no_wait, no_wait},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) measure(&pairs[i]);
    close_ours();
    return 0;
}
