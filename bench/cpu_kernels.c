/* How fast is a kernel of the cpu backend against the same loop written by hand in C++, compiled by
 * the same compiler with the same options, on one thread? One line per kernel: times per call and
 * the ratio (1.0: as fast). */
#include "gpu/cpu_compile.h"

#include <dlfcn.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char kernels[] =
    "extern \"C\" __global__ void saxpy(int n, float a, const float *x, float *y) {\n"
    "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "  if (i < n) y[i] = a * x[i] + y[i]; }\n"
    "extern \"C\" __global__ void saxpy_long(size_t n, float a, const float *x, float *y) {\n"
    "  size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;\n"
    "  if (i >= n) return;\n  y[i] = a * x[i] + y[i]; }\n"
    "extern \"C\" __global__ void saxpy_stride(int n, float a, const float *x, float *y) {\n"
    "  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x)\n"
    "    y[i] = a * x[i] + y[i]; }\n"
    "extern \"C\" __global__ void poly(int n, const float *x, float *y) {\n"
    "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "  if (i >= n) return;\n"
    "  float v = x[i], s = 0.0f;\n"
    "  for (int k = 0; k < 16; k++) { s = s * v + 0.5f; v = sqrtf(v * v + s); }\n"
    "  y[i] = s; }\n"
    "extern \"C\" __global__ void exps(int n, const float *x, float *y) {\n"
    "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "  if (i < n) y[i] = expf(x[i]) * 2.0f; }\n"
    "extern \"C\" __global__ void stencil(int w, int h, const float *in, float *out) {\n"
    "  int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;\n"
    "  if (x > 0 && y > 0 && x < w - 1 && y < h - 1)\n"
    "    out[y * w + x] = 0.2f * (in[y * w + x] + in[y * w + x - 1] + in[y * w + x + 1] +\n"
    "                             in[(y - 1) * w + x] + in[(y + 1) * w + x]); }\n"
    "extern \"C\" __global__ void spmv(int rows, const int *start, const int *column,\n"
    "                                  const float *value, const float *x, float *y) {\n"
    "  int r = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "  if (r >= rows) return;\n"
    "  float s = 0.0f;\n"
    "  for (int j = start[r]; j < start[r + 1]; j++) s += value[j] * x[column[j]];\n"
    "  y[r] = 0.15f + 0.85f * s; }\n";

static const char loops[] =
    "#include <math.h>\n#include <stddef.h>\n#define R __restrict__\n"
    "extern \"C\" void saxpy(int n, float a, const float *R x, float *R y) {\n"
    "  for (int i = 0; i < n; i++) y[i] = a * x[i] + y[i]; }\n"
    "extern \"C\" void poly(int n, const float *R x, float *R y) {\n"
    "  for (int i = 0; i < n; i++) { float v = x[i], s = 0.0f;\n"
    "    for (int k = 0; k < 16; k++) { s = s * v + 0.5f; v = sqrtf(v * v + s); }\n"
    "    y[i] = s; } }\n"
    "extern \"C\" void exps(int n, const float *R x, float *R y) {\n"
    "  for (int i = 0; i < n; i++) y[i] = expf(x[i]) * 2.0f; }\n"
    "extern \"C\" void stencil(int w, int h, const float *R in, float *R out) {\n"
    "  for (int y = 1; y < h - 1; y++) for (int x = 1; x < w - 1; x++)\n"
    "    out[y * w + x] = 0.2f * (in[y * w + x] + in[y * w + x - 1] + in[y * w + x + 1] +\n"
    "                             in[(y - 1) * w + x] + in[(y + 1) * w + x]); }\n"
    "extern \"C\" void spmv(int rows, const int *R start, const int *R column,\n"
    "                      const float *R value, const float *R x, float *R y) {\n"
    "  for (int r = 0; r < rows; r++) { float s = 0.0f;\n"
    "    for (int j = start[r]; j < start[r + 1]; j++) s += value[j] * x[column[j]];\n"
    "    y[r] = 0.15f + 0.85f * s; } }\n";

typedef struct {
    const gb_cpu_image *image;
    void *hand;
    float *x, *y, *value;
    int *start, *column;
    int n, w, h;
    float a;
} bench;

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void run(const gb_cpu_image *image, const char *name, gb_cpu_dim grid, gb_cpu_dim block,
                void **params)
{
    gb_cpu_services services = {0};
    uint64_t progress = 0;
    volatile int32_t stop = 0;
    gb_cpu_range range = {grid,      block, 0, (uint64_t)grid.x * grid.y * grid.z,
                          params,    NULL,  0, &services,
                          &progress, &stop};
    for (int i = 0; i < image->kernel_count; i++)
        if (strcmp(image->kernels[i].name, name) == 0) image->kernels[i].run(&range);
}

static void call(bench *b, const char *name, int threads, bool hand)
{
    float *x = b->x, *y = b->y;
    size_t n_long = (size_t)b->n;
    gb_cpu_dim grid = {((unsigned)b->n + (unsigned)threads - 1) / (unsigned)threads, 1, 1};
    gb_cpu_dim block = {(unsigned)threads, 1, 1};
    if (strncmp(name, "saxpy", 5) == 0 && hand) {
        ((void (*)(int, float, const float *, float *))dlsym(b->hand, "saxpy"))(b->n, b->a, x, y);
    } else if (strncmp(name, "saxpy", 5) == 0) {
        void *n = strcmp(name, "saxpy_long") == 0 ? (void *)&n_long : (void *)&b->n;
        if (strcmp(name, "saxpy_stride") == 0 && grid.x > 64) grid.x = 64;
        run(b->image, name, grid, block, (void *[]){n, &b->a, &x, &y});
    } else if (strcmp(name, "stencil") == 0) {
        gb_cpu_dim tile = {(unsigned)threads, 256u / (unsigned)threads, 1};
        gb_cpu_dim tiles = {((unsigned)b->w + tile.x - 1) / tile.x,
                            ((unsigned)b->h + tile.y - 1) / tile.y, 1};
        if (hand)
            ((void (*)(int, int, const float *, float *))dlsym(b->hand, name))(b->w, b->h, x, y);
        else
            run(b->image, name, tiles, tile, (void *[]){&b->w, &b->h, &x, &y});
    } else if (strcmp(name, "spmv") == 0) {
        if (hand)
            ((void (*)(int, const int *, const int *, const float *, const float *, float *))dlsym(
                b->hand, name))(b->n, b->start, b->column, b->value, x, y);
        else
            run(b->image, name, grid, block,
                (void *[]){&b->n, &b->start, &b->column, &b->value, &x, &y});
    } else if (hand) {
        ((void (*)(int, const float *, float *))dlsym(b->hand, name))(b->n, x, y);
    } else {
        run(b->image, name, grid, block, (void *[]){&b->n, &x, &y});
    }
}

static double timed(bench *b, const char *name, int threads, bool hand, int calls)
{
    double from = now_s();
    for (int i = 0; i < calls; i++) call(b, name, threads, hand);
    return (now_s() - from) / calls;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void compare(bench *b, const char *name, int n, int threads)
{
    enum { ROUNDS = 9 };
    double hand[ROUNDS], ours[ROUNDS];
    b->n = n;
    for (int i = 0; i < n; i++) b->x[i] = (float)(i % 100) * 0.01f, b->y[i] = 0.0f;
    double once = timed(b, name, threads, true, 3);
    int calls = once > 0.02 ? 1 : (int)(0.02 / once) + 1;
    for (int i = 0; i < ROUNDS; i++) {
        hand[i] = timed(b, name, threads, true, calls);
        ours[i] = timed(b, name, threads, false, calls);
    }
    qsort(hand, ROUNDS, sizeof *hand, ascending);
    qsort(ours, ROUNDS, sizeof *ours, ascending);
    printf("%-14s n=%-9d block=%-4d hand %10.2f us  kernel %10.2f us  ratio %.2f\n", name, n,
           threads, hand[ROUNDS / 2] * 1e6, ours[ROUNDS / 2] * 1e6,
           hand[ROUNDS / 2] / ours[ROUNDS / 2]);
}

static void *hand_loops(const char *folder)
{
    char object[700], path[600];
    snprintf(path, sizeof path, "%s/hand.cpp", folder);
    FILE *file = fopen(path, "w");
    if (!file) return NULL;
    fputs(loops, file);
    fclose(file);
    snprintf(object, sizeof object, "%s.so", path);
    char *argv[] = {"clang++",
                    "-O3",
                    "-march=native",
                    "-fno-math-errno",
                    "-fno-trapping-math",
                    "-ffp-contract=fast",
                    "-fPIC",
                    "-shared",
                    path,
                    "-o",
                    object,
                    NULL};
    pid_t pid;
    int status = 1;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0) return NULL;
    if (waitpid(pid, &status, 0) != pid || status != 0) return NULL;
    return dlopen(object, RTLD_NOW);
}

int main(void)
{
    enum { N = 10000000, ROW = 8 };
    gb_mem mem;
    char folder[] = "/tmp/gb-bench-XXXXXX", *detail;
    gb_mem_init(&mem, "bench", NULL, 0);
    if (!mkdtemp(folder)) return 1;
    gb_cpu_compile_config config = {.mem = &mem, .cache_dir = folder};
    gb_module_spec spec = {"bench.cu", kernels, sizeof kernels - 1, NULL, NULL, NULL};
    gb_cpu_object *object;
    bench b = {.a = 0.5f, .w = 1024, .h = 1024};
    if (gb_cpu_compile(&config, &spec, &object, &detail) < 0) return printf("%s\n", detail), 1;
    b.image = gb_cpu_object_image(object);
    b.hand = hand_loops(folder);
    if (!b.hand) return printf("cpu_kernels: not run: no clang++\n"), 0;
    b.x = calloc(N, sizeof *b.x), b.y = calloc(N, sizeof *b.y);
    b.start = calloc(1000001, sizeof *b.start);
    b.column = calloc(1000000 * ROW, sizeof *b.column);
    b.value = calloc(1000000 * ROW, sizeof *b.value);
    for (int i = 0; i <= 1000000; i++) b.start[i] = i * ROW;
    for (int i = 0; i < 1000000 * ROW; i++) {
        b.column[i] = (int)((i * 2654435761u) % 100000u);
        b.value[i] = 0.1f;
    }
    compare(&b, "saxpy", 100000, 256);
    compare(&b, "saxpy", 100000, 1024);
    compare(&b, "saxpy", 1000000, 256);
    compare(&b, "saxpy", N, 256);
    compare(&b, "saxpy_long", 100000, 256);
    compare(&b, "saxpy_stride", 100000, 256);
    compare(&b, "saxpy_stride", 1000000, 256);
    compare(&b, "poly", 100000, 256);
    compare(&b, "exps", 100000, 256);
    compare(&b, "stencil", 1024 * 1024, 16);
    compare(&b, "stencil", 1024 * 1024, 32);
    compare(&b, "stencil", 1024 * 1024, 256);
    compare(&b, "spmv", 100000, 256);
    compare(&b, "spmv", 100000, 64);
    return 0;
}
