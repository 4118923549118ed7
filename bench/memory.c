/* What does a buffer cost, and do copies run beside kernels? For the first GPU and for the cpu:
 * opening and closing a buffer out of our pool (setting "pool"), out of the driver's own
 * ("driver"), and without either ("off"), by turns; beside that on a GPU the raw driver calls. Then
 * a stream of pieces, each uploaded, worked on and downloaded: one after the other, and on three
 * queues (upload the next, run the current one, download the previous one) against the longer of
 * copies and work. Medians of ROUNDS rounds. At last a long stream on three queues whose work takes
 * longer than its copies: for which part of the time kernels ran, by their events and by NVML.
 * "F name text" are facts, "R name value" figures; times over a software driver are no figures of
 * any GPU. $GB_BENCH_QUICK: small counts, for self-checks.
 */
#include "base/err.h"
#include "gpu/gpu.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5, PIECES = 12, SLOTS = 3, THREADS = 256, LEVEL = 12000, STREAM = 120 };

static const char source[] = "extern \"C\" __global__ void work(float *x, int n, int turns)\n"
                             "{\n"
                             "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                             "    if (i >= n) return;\n"
                             "    float v = x[i];\n"
                             "    for (int k = 0; k < turns; k++) v = v * 0.999f + 0.001f;\n"
                             "    x[i] = v;\n"
                             "}\n";

static bool quick;

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void fail(const char *what)
{
    fprintf(stderr, "memory: %s: %s\n", what, gb_err_detail());
    exit(1);
}

static void check(int rc, const char *what)
{
    if (rc < 0) fail(what);
}

static int compare(const void *p, const void *q)
{
    double left = *(const double *)p, right = *(const double *)q;
    return (left > right) - (left < right);
}

static double median(double *times)
{
    qsort(times, ROUNDS, sizeof *times, compare);
    return times[ROUNDS / 2];
}

/* ---- rooms: one for each setting ---- */

enum { SETTINGS = 3 };
static const struct {
    const char *name;
    int64_t bytes;
} settings[SETTINGS] = {{"pool", 0}, {"driver", GB_POOL_DRIVER}, {"off", GB_POOL_OFF}};

static gb_mem mem;
static gb_gpu *rooms[SETTINGS];

static void open_rooms(void)
{
    gb_mem_init(&mem, "bench", NULL, 0);
    for (int i = 0; i < SETTINGS; i++) {
        gb_gpu_config config = {.mem = &mem, .memory_pool_bytes = settings[i].bytes};
        check(gb_gpu_open(&rooms[i], &config), "opening devices");
    }
}

/* ---- renting ---- */

typedef struct rental {
    const char *name;
    size_t bytes;
    bool raw, others; /* each of another owner than the one before */
} rental;

static double rent(gb_device *device, const rental *r, int count)
{
    double start = now_us();
    for (int i = 0; i < count; i++) {
        gb_buffer *buffer;
        gb_buffer_spec spec = {
            .bytes = r->bytes, .owner = r->others ? (uint64_t)i + 1 : 1, .raw = r->raw};
        check(gb_buffer_rent(&buffer, device, &spec), "a buffer");
        gb_buffer_unref(buffer);
    }
    return (now_us() - start) / count;
}

static void measure_rents(int index, const char *backend)
{
    static const rental rentals[] = {
        {"rent_4k_raw", 4096, true, false},   {"rent_1m_raw", 1 << 20, true, false},
        {"rent_4k", 4096, false, false},      {"rent_1m", 1 << 20, false, false},
        {"rent_64m", 64 << 20, false, false}, {"rent_4k_others", 4096, false, true}};
    for (size_t k = 0; k < sizeof rentals / sizeof *rentals; k++) {
        double times[SETTINGS][ROUNDS];
        for (int round = -1; round < ROUNDS; round++) /* the first one is not counted */
            for (int i = 0; i < SETTINGS; i++) {
                bool large = rentals[k].bytes >= 1 << 24;
                int count = quick ? (large ? 3 : 50) : i == 0 && !large ? 20000 : 300;
                double us = rent(gb_gpu_device(rooms[i], index), &rentals[k], count);
                if (round >= 0) times[i][round] = us;
            }
        for (int i = 0; i < SETTINGS; i++)
            printf("R %s_%s_%s_us %.3f\n", backend, rentals[k].name, settings[i].name,
                   median(times[i]));
    }
    gb_pool_stats stats;
    gb_device_pool_stats(gb_gpu_device(rooms[0], index), GB_POOL_ALL, &stats);
    printf("R %s_pool_hit_rate %.4f\n", backend, stats.hit_rate);
}

/* ---- raw: the driver alone ---- */

static struct {
    int (*cuDevicePrimaryCtxRetain)(void **out, int device);
    int (*cuDevicePrimaryCtxRelease)(int device);
    int (*cuCtxSetCurrent)(void *context);
    int (*cuStreamCreate)(void **out, unsigned flags);
    int (*cuStreamSynchronize)(void *stream);
    int (*cuStreamDestroy)(void *stream);
    int (*cuMemAlloc)(unsigned long long *out, size_t bytes);
    int (*cuMemFree)(unsigned long long memory);
    int (*cuMemAllocAsync)(unsigned long long *out, size_t bytes, void *stream);
    int (*cuMemFreeAsync)(unsigned long long memory, void *stream);
    int (*cuDeviceGetDefaultMemPool)(void **out, int device);
    int (*cuMemPoolSetAttribute)(void *pool, int which, void *value);
} cu;

static void *stream;

static bool find_driver(void)
{
    int (*find)(const char *, void **, int, unsigned long long, int *);
    const char *asked = getenv("GB_CUDA_LIBRARY");
    void *library = dlopen(asked && *asked ? asked : "libcuda.so.1", RTLD_NOW);
    if (!library || !(*(void **)&find = dlsym(library, "cuGetProcAddress_v2"))) return false;
    bool all = true;
#define FIND(name)                                                                                 \
    (all = find(#name, (void **)&cu.name, LEVEL, 0, &(int){0}) == 0 && cu.name && all)
    FIND(cuDevicePrimaryCtxRetain), FIND(cuDevicePrimaryCtxRelease), FIND(cuCtxSetCurrent);
    FIND(cuStreamCreate), FIND(cuStreamSynchronize), FIND(cuStreamDestroy), FIND(cuMemAlloc);
    FIND(cuMemFree), FIND(cuMemAllocAsync), FIND(cuMemFreeAsync);
    FIND(cuDeviceGetDefaultMemPool), FIND(cuMemPoolSetAttribute);
#undef FIND
    return all;
}

static double raw_plain(size_t bytes, int count)
{
    double start = now_us();
    for (int i = 0; i < count; i++) {
        unsigned long long at;
        if (cu.cuMemAlloc(&at, bytes) || cu.cuMemFree(at)) fail("cuMemAlloc, cuMemFree");
    }
    return (now_us() - start) / count;
}

static double raw_async(size_t bytes, int count)
{
    double start = now_us();
    for (int i = 0; i < count; i++) {
        unsigned long long at;
        if (cu.cuMemAllocAsync(&at, bytes, stream) || cu.cuMemFreeAsync(at, stream))
            fail("cuMemAllocAsync, cuMemFreeAsync");
    }
    double end = now_us();
    if (cu.cuStreamSynchronize(stream)) fail("cuStreamSynchronize");
    return (end - start) / count;
}

static void measure_raw(const char *backend)
{
    void *context, *pool;
    unsigned long long keep = 1ull << 30;
    if (!find_driver()) {
        printf("F raw_not_run the driver has no pools\n");
        return;
    }
    if (cu.cuDevicePrimaryCtxRetain(&context, 0) || cu.cuCtxSetCurrent(context) ||
        cu.cuStreamCreate(&stream, 1) || cu.cuDeviceGetDefaultMemPool(&pool, 0) ||
        cu.cuMemPoolSetAttribute(pool, 4, &keep))
        fail("the raw driver");
    static const size_t sizes[] = {4096, 1 << 20};
    for (int k = 0; k < 2; k++) {
        double plain[ROUNDS], async[ROUNDS];
        int count = quick ? 20 : 300;
        for (int round = -1; round < ROUNDS; round++) {
            double a = raw_plain(sizes[k], count), b = raw_async(sizes[k], count);
            if (round >= 0) plain[round] = a, async[round] = b;
        }
        printf("R %s_raw_alloc_free_%zuk_us %.3f\n", backend, sizes[k] >> 10, median(plain));
        printf("R %s_raw_async_%zuk_us %.3f\n", backend, sizes[k] >> 10, median(async));
    }
    cu.cuStreamDestroy(stream);
    cu.cuDevicePrimaryCtxRelease(0);
}

/* ---- overlap ---- */

typedef struct wait_op {
    gb_op op;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int rc, done;
} wait_op;

static void on_done(gb_op *op, int rc)
{
    wait_op *self = (wait_op *)op;
    pthread_mutex_lock(&self->lock);
    self->rc = rc;
    self->done = 1;
    pthread_cond_signal(&self->ended);
    pthread_mutex_unlock(&self->lock);
}

static void init_op(wait_op *self)
{
    memset(self, 0, sizeof *self);
    gb_op_init(&self->op, on_done);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->ended, NULL);
}

static int finish(wait_op *self, int rc)
{
    pthread_mutex_lock(&self->lock);
    while (rc == GB_OP_PENDING && !self->done) pthread_cond_wait(&self->ended, &self->lock);
    if (rc == GB_OP_PENDING) rc = self->rc;
    pthread_mutex_unlock(&self->lock);
    if (rc < 0) fprintf(stderr, "memory: %s\n", self->op.detail ? self->op.detail : "");
    gb_op_fini(&self->op);
    return rc;
}

static void wait_for(gb_queue *queue)
{
    wait_op op;
    init_op(&op);
    check(finish(&op, gb_queue_signal(queue, &op.op)), "waiting");
}

typedef struct flow {
    gb_queue *up, *run, *down; /* may be one */
    gb_event *uploaded[SLOTS], *worked[SLOTS], *emptied[SLOTS];
    gb_buffer *device[SLOTS], *host_in[SLOTS], *host_out[SLOTS];
    gb_kernel *kernel;
    size_t bytes;
    int turns;
    bool copies, works;
    gb_event **began, **ended; /* around each piece's kernel, or NULL */
} flow;

static void piece(flow *f, int i)
{
    int s = i % SLOTS, n = (int)(f->bytes / sizeof(float));
    gb_launch shape = {.grid = {((uint32_t)n + THREADS - 1) / THREADS, 1, 1},
                       .block = {THREADS, 1, 1}};
    gb_arg args[] = {{.buffer = f->device[s]},
                     {.value = &n, .size = sizeof n},
                     {.value = &f->turns, .size = sizeof f->turns}};
    bool apart = f->up != f->run;
    if (apart && i >= SLOTS) check(gb_queue_wait_event(f->up, f->emptied[s]), "waiting");
    if (f->copies)
        check(gb_queue_copy(f->up, f->device[s], 0, f->host_in[s], 0, f->bytes), "an upload");
    if (apart) check(gb_queue_record(f->up, f->uploaded[s]), "an event");
    if (apart) check(gb_queue_wait_event(f->run, f->uploaded[s]), "waiting");
    if (f->began) check(gb_queue_record(f->run, f->began[i]), "an event");
    if (f->works) check(gb_queue_launch(f->run, f->kernel, &shape, args, 3), "a launch");
    if (f->ended) check(gb_queue_record(f->run, f->ended[i]), "an event");
    if (apart) check(gb_queue_record(f->run, f->worked[s]), "an event");
    if (apart) check(gb_queue_wait_event(f->down, f->worked[s]), "waiting");
    if (f->copies)
        check(gb_queue_copy(f->down, f->host_out[s], 0, f->device[s], 0, f->bytes), "a download");
    if (apart) check(gb_queue_record(f->down, f->emptied[s]), "an event");
}

static double stream_us(flow *f, int pieces, bool copies, bool works)
{
    f->copies = copies;
    f->works = works;
    double start = now_us();
    for (int i = 0; i < pieces; i++) piece(f, i);
    wait_for(f->down);
    wait_for(f->run);
    wait_for(f->up);
    return now_us() - start;
}

static double flow_us(flow *f, bool copies, bool works)
{
    return stream_us(f, PIECES, copies, works);
}

static void open_flow(flow *f, gb_device *device, gb_module *module, bool apart)
{
    f->kernel = gb_module_kernel(module, "work");
    check(gb_queue_open(&f->up, device), "a queue");
    f->run = f->down = f->up;
    if (apart) check(gb_queue_open(&f->run, device), "a queue");
    if (apart) check(gb_queue_open(&f->down, device), "a queue");
    for (int s = 0; s < SLOTS; s++) {
        check(gb_event_open(&f->uploaded[s], device), "an event");
        check(gb_event_open(&f->worked[s], device), "an event");
        check(gb_event_open(&f->emptied[s], device), "an event");
        check(gb_buffer_open(&f->device[s], device, f->bytes, GB_BUFFER_DEVICE), "a buffer");
        check(gb_buffer_open(&f->host_in[s], device, f->bytes, GB_BUFFER_PINNED), "a buffer");
        check(gb_buffer_open(&f->host_out[s], device, f->bytes, GB_BUFFER_PINNED), "a buffer");
    }
}

static void close_flow(flow *f)
{
    for (int s = 0; s < SLOTS; s++) {
        gb_event_close(f->uploaded[s]), gb_event_close(f->worked[s]);
        gb_event_close(f->emptied[s]), gb_buffer_unref(f->device[s]);
        gb_buffer_unref(f->host_in[s]), gb_buffer_unref(f->host_out[s]);
    }
    if (f->run != f->up) gb_queue_close(f->run), gb_queue_close(f->down);
    gb_queue_close(f->up);
}

/* Work that takes about as long as the copies of one direction. */
static void balance(flow *f)
{
    f->turns = 16;
    flow_us(f, true, true);
    double copies = flow_us(f, true, false), work = flow_us(f, false, true);
    while (work < copies / 2 && f->turns < 1 << 16) {
        f->turns *= 2;
        work = flow_us(f, false, true);
    }
}

/* What kernels took by their events, of the time that the streams took: one long stream after the
 * other, for a second at least, since NVML tells of the last moments. */
static void measure_utilization(flow *f, gb_device *device, const char *backend)
{
    bool gpu = strcmp(backend, "cuda") == 0;
    gb_event *began[STREAM], *ended[STREAM];
    for (int i = 0; i < STREAM; i++) {
        check(gb_event_open(&began[i], device), "an event");
        check(gb_event_open(&ended[i], device), "an event");
    }
    double busy = 0, wall = 0, said = -1;
    while (flow_us(f, false, true) < 1.3 * flow_us(f, true, false) &&
           f->turns < 1 << (gpu ? 16 : 9))
        f->turns *= 2;
    f->began = began, f->ended = ended;
    do {
        wall += stream_us(f, STREAM, true, true);
        for (int i = 0; i < STREAM; i++) {
            uint64_t ns;
            check(gb_event_elapsed(began[i], ended[i], &ns), "an event's time");
            busy += (double)ns / 1e3;
        }
        gb_device_figures figures;
        gb_device_get_figures(device, &figures);
        if (figures.utilization > said) said = figures.utilization;
    } while (wall < (gpu ? 2e6 : quick ? 0 : 1e6));
    f->began = f->ended = NULL;
    printf("R %s_utilization %.3f\n", backend, busy / wall);
    if (gpu && said >= 0)
        printf("R %s_utilization_by_nvml %.2f\n", backend, said / 100);
    else
        printf("F %s_utilization_by_nvml not run: %s\n", backend,
               gpu ? "NVML does not say it" : "no GPU");
    printf("F %s_utilization_bar 0.8 on a GPU\n", backend);
    for (int i = 0; i < STREAM; i++) gb_event_close(began[i]), gb_event_close(ended[i]);
}

static void measure_overlap(int index, const char *backend)
{
    gb_device *device = gb_gpu_device(rooms[0], index);
    gb_module_spec spec = {.name = "work.cu", .source = source, .source_bytes = sizeof source - 1};
    gb_module *module;
    wait_op op;
    init_op(&op);
    int rc = finish(&op, gb_module_open(&module, device, &spec, &op.op));
    if (rc < 0) { /* a pack on a machine without a compiler */
        printf("F %s_overlap_not_run %s\n", backend, gb_err_name(rc));
        gb_module_unref(module);
        return;
    }
    bool small = quick && strcmp(backend, "cuda") != 0; /* pieces that a GPU would hardly notice */
    flow one = {.bytes = small ? 1 << 18 : 16 << 20}, three = one;
    open_flow(&one, device, module, false);
    open_flow(&three, device, module, true);
    balance(&one);
    three.turns = one.turns;
    double serial[ROUNDS], apart[ROUNDS], copies[ROUNDS], work[ROUNDS];
    for (int round = -1; round < ROUNDS; round++) {
        double a = flow_us(&one, true, true), b = flow_us(&three, true, true),
               c = flow_us(&three, true, false), d = flow_us(&one, false, true);
        if (round >= 0) serial[round] = a, apart[round] = b, copies[round] = c, work[round] = d;
    }
    double c = median(copies), w = median(work), o = median(apart);
    printf("R %s_serial_us %.1f\nR %s_overlapped_us %.1f\nR %s_copies_us %.1f\n", backend,
           median(serial), backend, o, backend, c);
    printf("R %s_work_us %.1f\nR %s_overlap_ratio %.3f\n", backend, w, backend,
           o / (c > w ? c : w));
    measure_utilization(&three, device, backend);
    close_flow(&one);
    close_flow(&three);
    gb_module_unref(module);
}

int main(void)
{
    const char *set = getenv("GB_BENCH_QUICK");
    quick = set && *set;
    open_rooms();
    int count = gb_gpu_device_count(rooms[0]);
    check(count, "devices");
    for (int index = 0; index < count; index++) {
        gb_device_info info;
        if (index > 0 && index < count - 1)
            continue; /* the first, and the cpu, which is the last */
        gb_device_get_info(gb_gpu_device(rooms[0], index), &info);
        printf("F device_%d %s %s\n", index, info.backend, info.name);
        measure_rents(index, info.backend);
        if (strcmp(info.backend, "cpu") != 0) measure_raw(info.backend);
        measure_overlap(index, info.backend);
        fflush(stdout);
    }
    for (int i = 0; i < SETTINGS; i++) gb_gpu_close(rooms[i]);
    gb_mem_fini(&mem);
    return 0;
}
