/* How close do kernels of the cpu backend come to the same loop written by hand in C with threads?
 * Five interleaved rounds of ours and of the peer, on the same number of threads; medians and their
 * ratio (above 1: we are faster). Then what a small launch costs beyond its work. */
#include "base/err.h"
#include "gpu/gpu.h"
#include "host/embed_kernel.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 5, N = 10000000, HEAVY = 1000000, MATRIX = 1024, NODES = 1000000, DEGREE = 8 };

static struct {
    void (*open)(int threads);
    void (*saxpy)(float a, const float *x, float *y, int n);
    void (*heavy)(const float *x, float *y, int n);
    void (*matmul)(const float *a, const float *b, float *c, int n);
    void (*pagerank)(const int *first, const int *from, const float *share, float *rank, float base,
                     float damping, int n);
    void (*scale)(float *x, float a, int n);
} peer;

static gb_mem mem;
static gb_gpu *gpu;
static gb_device *device;
static gb_queue *queue;
static gb_module *module;
static const char *compiler;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void fail(const char *what)
{
    fprintf(stderr, "kernels: %s: %s\n", what, gb_err_detail());
    exit(1);
}

/* Where the kernels and the peer lie: beside this file, or $GB_BENCH_DIR. */
static const char *folder(void)
{
    static char path[512];
    const char *set = getenv("GB_BENCH_DIR"), *slash = strrchr(__FILE__, '/');
    if (set) return set;
    snprintf(path, sizeof path, "%.*s/kernels", slash ? (int)(slash - __FILE__) : 1,
             slash ? __FILE__ : ".");
    return path;
}

/* ---- the peer: compiled apart, so that none of our flags touches it ---- */

static void load_peer(void)
{
    char command[1024], path[64];
    snprintf(path, sizeof path, "/tmp/gb_peer_%d.so", (int)getpid());
    /* tidy: allowed because a bench runs one fixed command line */
    compiler = system("clang --version >/dev/null 2>&1") == 0 ? "clang" : "cc";
    snprintf(command, sizeof command,
             "%s -O3 -march=native -ffp-contract=fast -D_GNU_SOURCE -shared -fPIC -pthread "
             "-o %s %s/peer.c",
             compiler, path, folder());
    /* tidy: allowed because a bench runs one fixed command line */
    if (system(command) != 0) {
        fprintf(stderr, "kernels: the peer does not compile: not run\n");
        exit(1);
    }
    void *object = dlopen(path, RTLD_NOW);
    unlink(path);
    if (!object) fail(dlerror());
    *(void **)&peer.open = dlsym(object, "peer_open");
    *(void **)&peer.saxpy = dlsym(object, "peer_saxpy");
    *(void **)&peer.heavy = dlsym(object, "peer_heavy");
    *(void **)&peer.matmul = dlsym(object, "peer_matmul");
    *(void **)&peer.pagerank = dlsym(object, "peer_pagerank");
    *(void **)&peer.scale = dlsym(object, "peer_scale");
}

/* ---- ours ---- */

static void finish(void)
{
    if (gbi_queue_finish(queue) < 0) fail("waiting");
}

static gb_buffer *buffer_of(const void *host, size_t bytes)
{
    gb_buffer *buffer;
    if (gb_buffer_open(&buffer, device, bytes, GB_BUFFER_DEVICE) < 0) fail("buffer");
    if (host && gb_queue_upload(queue, buffer, 0, host, bytes) < 0) fail("upload");
    finish();
    return buffer;
}

static void launch(const char *name, gb_dim grid, gb_dim block, const gb_arg *args, int count)
{
    gb_kernel *kernel = gb_module_kernel(module, name);
    gb_launch shape = {.grid = grid, .block = block};
    if (!kernel || gb_queue_launch(queue, kernel, &shape, args, count) < 0) fail(name);
    finish();
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    char *text = calloc(1, 65536);
    if (fread(text, 1, 65535, file) == 0) text[0] = 0;
    fclose(file);
    return text;
}

static void open_ours(void)
{
    gb_mem_init(&mem, "bench", NULL, 0);
    gb_gpu_config config = {.mem = &mem};
    char path[512];
    snprintf(path, sizeof path, "%s/kernels.cu", folder());
    char *source = read_file(path);
    if (!source) fail(path);
    if (gb_gpu_open(&gpu, &config) < 0) fail("open");
    device = gb_gpu_device(gpu, gb_gpu_device_count(gpu) - 1); /* the cpu is the last */
    gb_module_spec spec = {.name = "kernels.cu", .source = source, .source_bytes = strlen(source)};
    gbi_sync sync;
    gbi_sync_init(&sync);
    if (gbi_sync_wait(&sync, gb_module_open(&module, device, &spec, &sync.op)) < 0) fail("module");
    free(source);
    if (gb_queue_open(&queue, device) < 0) fail("queue");
}

/* ---- rounds ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

typedef struct pair {
    const char *name;
    double bar;
    int repeats;
    void (*ours)(void *arg);
    void (*theirs)(void *arg);
    void *arg;
} pair;

static void measure(const pair *p)
{
    double ours[ROUNDS], theirs[ROUNDS];
    p->ours(p->arg);
    p->theirs(p->arg);
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ms();
        for (int i = 0; i < p->repeats; i++) p->ours(p->arg);
        double middle = now_ms();
        for (int i = 0; i < p->repeats; i++) p->theirs(p->arg);
        ours[round] = (middle - start) / p->repeats;
        theirs[round] = (now_ms() - middle) / p->repeats;
    }
    double a = median(ours), b = median(theirs);
    printf("kernels %s ours_ms=%.3f peer_ms=%.3f ratio=%.3f (bar %.2f)\n", p->name, a, b, b / a,
           p->bar);
    fflush(stdout);
}

static float *random_floats(size_t count)
{
    float *values = aligned_alloc(128, (count * 4 + 127) / 128 * 128);
    for (size_t i = 0; i < count; i++) values[i] = (float)rand() / (float)RAND_MAX;
    return values;
}

typedef struct data {
    float *x, *y, *z;
    int *first, *from;
    gb_buffer *dx, *dy, *dz, *dfirst, *dfrom;
    int n;
} data;

static gb_dim groups(int n, int block)
{
    return (gb_dim){(uint32_t)((n + block - 1) / block), 1, 1};
}

#define VALUE(v) ((gb_arg){.value = &(v), .size = sizeof(v)})
#define BUFFER(b) ((gb_arg){.buffer = (b)})

static void our_saxpy(void *arg)
{
    data *d = arg;
    float a = 0.5f;
    gb_arg args[] = {VALUE(a), BUFFER(d->dx), BUFFER(d->dy), VALUE(d->n)};
    launch("saxpy", groups(d->n, 256), (gb_dim){256, 1, 1}, args, 4);
}

static void peer_saxpy(void *arg)
{
    data *d = arg;
    peer.saxpy(0.5f, d->x, d->y, d->n);
}

static void our_heavy(void *arg)
{
    data *d = arg;
    gb_arg args[] = {BUFFER(d->dx), BUFFER(d->dy), VALUE(d->n)};
    launch("heavy", groups(d->n, 256), (gb_dim){256, 1, 1}, args, 3);
}

static void peer_heavy(void *arg)
{
    data *d = arg;
    peer.heavy(d->x, d->y, d->n);
}

static void our_matmul(void *arg)
{
    data *d = arg;
    gb_arg args[] = {BUFFER(d->dx), BUFFER(d->dy), BUFFER(d->dz), VALUE(d->n)};
    uint32_t tiles = (uint32_t)d->n / 16;
    launch("matmul", (gb_dim){tiles, tiles, 1}, (gb_dim){16, 16, 1}, args, 4);
}

static void peer_matmul(void *arg)
{
    data *d = arg;
    peer.matmul(d->x, d->y, d->z, d->n);
}

static void our_pagerank(void *arg)
{
    data *d = arg;
    float base = 0.15f, damping = 0.85f;
    gb_arg args[] = {BUFFER(d->dfirst), BUFFER(d->dfrom), BUFFER(d->dx), BUFFER(d->dy),
                     VALUE(base),       VALUE(damping),   VALUE(d->n)};
    launch("pagerank", groups(d->n, 256), (gb_dim){256, 1, 1}, args, 7);
}

static void peer_pagerank(void *arg)
{
    data *d = arg;
    peer.pagerank(d->first, d->from, d->x, d->y, 0.15f, 0.85f, d->n);
}

static void check(const data *d, const char *name, gb_buffer *buffer, const float *want)
{
    float *got = malloc((size_t)d->n * 4 * (strcmp(name, "matmul") ? 1 : (size_t)d->n));
    size_t count = strcmp(name, "matmul") ? (size_t)d->n : (size_t)d->n * (size_t)d->n;
    gb_queue_download(queue, got, buffer, 0, count * 4);
    finish();
    for (size_t i = 0; i < count; i++) {
        if (fabsf(got[i] - want[i]) <= 1e-3f * (1 + fabsf(want[i]))) continue;
        fprintf(stderr, "kernels: %s differs at %zu: %g, %g\n", name, i, got[i], want[i]);
        exit(1);
    }
    free(got);
}

static void open_data(data *d, int n, size_t count)
{
    d->n = n;
    d->x = random_floats(count);
    d->y = random_floats(count);
    d->z = random_floats(count);
    d->dx = buffer_of(d->x, count * 4);
    d->dy = buffer_of(d->y, count * 4);
    d->dz = buffer_of(d->z, count * 4);
}

static void close_data(data *d)
{
    free(d->x), free(d->y), free(d->z), free(d->first), free(d->from);
    gb_buffer_unref(d->dx);
    gb_buffer_unref(d->dy);
    gb_buffer_unref(d->dz);
    gb_buffer_unref(d->dfirst);
    gb_buffer_unref(d->dfrom);
    memset(d, 0, sizeof *d);
}

static void bench_maps(void)
{
    data d = {0};
    open_data(&d, N, N);
    measure(&(pair){"saxpy_1e7", 0.9, 3, our_saxpy, peer_saxpy, &d});
    check(&d, "saxpy", d.dy, d.y);
    close_data(&d);
    open_data(&d, HEAVY, HEAVY);
    measure(&(pair){"heavy_1e6", 0.9, 3, our_heavy, peer_heavy, &d});
    check(&d, "heavy", d.dy, d.y);
    close_data(&d);
}

static void bench_matmul(int n, const char *name)
{
    data d = {0};
    open_data(&d, n, (size_t)n * (size_t)n);
    measure(&(pair){name, 0.05, 1, our_matmul, peer_matmul, &d});
    check(&d, "matmul", d.dz, d.z);
    close_data(&d);
}

static void bench_pagerank(void)
{
    data d = {0};
    open_data(&d, NODES, NODES);
    d.first = malloc((NODES + 1) * sizeof(int));
    d.from = malloc((size_t)NODES * DEGREE * sizeof(int));
    for (int i = 0; i <= NODES; i++) d.first[i] = i * DEGREE;
    for (int i = 0; i < NODES * DEGREE; i++) d.from[i] = rand() % NODES;
    d.dfirst = buffer_of(d.first, (NODES + 1) * sizeof(int));
    d.dfrom = buffer_of(d.from, (size_t)NODES * DEGREE * sizeof(int));
    measure(&(pair){"pagerank_1e6", 0.9, 3, our_pagerank, peer_pagerank, &d});
    check(&d, "pagerank", d.dy, d.y);
    close_data(&d);
}

/* Launch and signal of a kernel of one block, beyond what the loop itself takes. */
static void bench_launch(void)
{
    enum { COUNT = 20000, SMALL = 256 };
    double ours[ROUNDS], theirs[ROUNDS];
    float *x = random_floats(SMALL), one = 1.0f;
    int n = SMALL, ready = 0;
    gb_buffer *dx = buffer_of(x, SMALL * 4);
    gb_arg args[] = {BUFFER(dx), VALUE(one), VALUE(n)};
    gb_kernel *scale = gb_module_kernel(module, "scale");
    gb_launch shape = {.grid = {1, 1, 1}, .block = {SMALL, 1, 1}};
    for (int i = 0; i < 10; i++) launch("scale", shape.grid, shape.block, args, 3);
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ms();
        for (int i = 0; i < COUNT; i++) {
            gb_queue_launch(queue, scale, &shape, args, 3);
            gbi_sync sync;
            gbi_sync_init(&sync);
            int rc = gb_queue_signal(queue, &sync.op); /* preempted: one trip to the pool */
            ready += rc == GB_OP_READY;
            if (gbi_sync_wait(&sync, rc) < 0) fail("waiting");
        }
        double middle = now_ms();
        for (int i = 0; i < COUNT; i++) peer.scale(x, one, n);
        ours[round] = (middle - start) * 1e3 / COUNT;
        theirs[round] = (now_ms() - middle) * 1e3 / COUNT;
    }
    double a = median(ours), b = median(theirs);
    printf("kernels launch_small us=%.3f work_us=%.3f beyond_us=%.3f (bar 1.5) inline=%.2f%%\n", a,
           b, a - b, ready * 100.0 / (ROUNDS * COUNT));
    free(x);
    gb_buffer_unref(dx);
}

int main(int count, char **names)
{
    load_peer();
    open_ours();
    gb_device_info info;
    gb_device_get_info(device, &info);
    peer.open(info.units);
    printf("kernels threads=%d peer=%s arch=%s\n", info.units, compiler, info.arch);
    const char *only = count > 1 ? names[1] : "";
    if (!*only || strcmp(only, "maps") == 0) bench_maps();
    if (!*only || strcmp(only, "matmul") == 0) {
        bench_matmul(512, "matmul_512");
        bench_matmul(MATRIX, "matmul_1024");
    }
    if (!*only || strcmp(only, "pagerank") == 0) bench_pagerank();
    if (!*only || strcmp(only, "launch") == 0) bench_launch();
    gb_queue_close(queue);
    gb_module_unref(module);
    gb_gpu_close(gpu);
    gb_mem_fini(&mem);
    return 0;
}
