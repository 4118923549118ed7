#include "kit_compile.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static kit_compile kit;

static int setup(void **state)
{
    (void)state;
    kit_compile_open(&kit);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kit_compile_close(&kit);
    return 0;
}

static void saxpy(void **state)
{
    (void)state;
    gb_cpu_object *object = kit_compile_must(
        &kit, "extern \"C\" __global__ void saxpy(int n, float a, const float *x, float *y)\n"
              "{\n"
              "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
              "    if (i < n) y[i] = a * x[i] + y[i];\n"
              "}\n");
    const gb_cpu_kernel *kernel = kit_kernel(object, "saxpy");
    assert_int_equal(kernel->flags, GB_CPU_PIECES);
    assert_int_equal(kernel->param_count, 4);
    assert_string_equal(kernel->params[2].name, "x");
    assert_string_equal(kernel->params[2].type, "float");
    assert_int_equal(kernel->params[2].code, GB_TYPE_FLOAT);
    assert_true(kernel->params[2].pointer && kernel->params[2].is_const);
    assert_true(kernel->params[3].pointer && !kernel->params[3].is_const);
    assert_int_equal(kernel->params[0].size, 4);
    assert_int_equal(kernel->params[2].size, 8);
    assert_int_equal(kernel->params[2].element, 4);
    float x[1000], y[1001], a = 2.0f, *px = x, *py = y;
    int n = 1000;
    for (int i = 0; i < 1000; i++) x[i] = (float)i, y[i] = 1.0f;
    y[1000] = -7.0f;
    KIT_RUN(&kit, kernel, KIT_SHAPE(8, 128, 0), &n, &a, &px, &py);
    for (int i = 0; i < 1000; i++) assert_true(y[i] == 2.0f * (float)i + 1.0f);
    assert_true(y[1000] == -7.0f);
    gb_cpu_object_close(object);
}

/* ---- the language cases: see cases/check.cuh ---- */

static const char *const case_includes[] = {GB_SOURCE_DIR "/tests/gpu/cases", NULL};

static gb_cpu_object *compile_case(const char *name, const char *const *instances)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/gpu/cases/%s", GB_SOURCE_DIR, name);
    char *text = kit_read_file(path);
    assert_non_null(text);
    gb_module_spec spec = {.name = name,
                           .source = text,
                           .source_bytes = strlen(text),
                           .includes = case_includes,
                           .instances = instances};
    gb_cpu_object *object;
    free(kit.detail);
    int rc = gb_cpu_compile(&kit.config, &spec, &object, &kit.detail);
    if (rc < 0) print_error("%s\n", kit.detail);
    assert_int_equal(rc, 0);
    const char *log = gb_cpu_object_log(object); /* g++ is slower, and says so in a line */
    if (strncmp(log, "note: compiled with", 19) == 0) log = strchr(log, '\n') + 1;
    assert_string_equal(log, "");
    free(text);
    return object;
}

static void run_checks(const gb_cpu_object *object, int expected)
{
    const gb_cpu_image *image = gb_cpu_object_image(object);
    int count = 0;
    for (int i = 0; i < image->kernel_count; i++) {
        const gb_cpu_kernel *kernel = &image->kernels[i];
        if (strncmp(kernel->name, "check_", 6) != 0) continue;
        int bad[16] = {0}, *p = bad;
        KIT_RUN(&kit, kernel, KIT_SHAPE(2, 64, 4096), &p);
        if (bad[0]) print_error("%s: line %d, %d times\n", kernel->name, bad[1], bad[0]);
        assert_int_equal(bad[0], 0);
        assert_int_equal(bad[2], 128);
        count++;
    }
    assert_int_equal(count, expected);
}

static void language(void **state)
{
    (void)state;
    static const char *const instances[] = {"sum<float, 4>", "sum<int,2>", NULL};
    gb_cpu_object *object = compile_case("language.cu", instances);
    run_checks(object, 4);
    const gb_cpu_kernel *k = kit_kernel(object, "by_macro");
    assert_string_equal(k->params[1].name, "a");
    assert_string_equal(k->params[0].type, "float");
    k = kit_kernel(object, "bounds");
    assert_string_equal(k->params[0].name, "in");
    assert_true(k->params[0].is_const);
    k = kit_kernel(object, "in_block");
    assert_int_equal(k->params[0].code, GB_TYPE_UINT8);
    assert_int_equal(k->params[1].code, GB_TYPE_UINT64);
    assert_string_equal(k->params[2].type, "float4");
    assert_int_equal(k->params[2].lanes, 4);
    k = kit_kernel(object, "unnamed");
    assert_string_equal(k->params[0].name, "arg1");
    assert_string_equal(k->params[2].name, "pairs");
    assert_string_equal(k->params[2].type, "outer::Pair");
    assert_int_equal(k->params[2].code, GB_TYPE_STRUCT);
    assert_int_equal(k->params[2].element, 8);
    assert_int_equal(k->params[3].size, 8);
    kit_kernel(object, "outer::scale");
    assert_ptr_equal(kit_kernel(object, "scale")->run, kit_kernel(object, "outer::scale")->run);
    int one = 0, *p1 = &one;
    KIT_RUN(&kit, kit_kernel(object, "pick(int *)"), KIT_SHAPE(1, 1, 0), &p1);
    assert_int_equal(one, 1);
    float two = 0, *p2 = &two;
    KIT_RUN(&kit, kit_kernel(object, "pick(float *)"), KIT_SHAPE(1, 1, 0), &p2);
    assert_true(two == 2.0f);
    float in[4] = {1, 2, 3, 4}, out[8] = {0}, *pin = in, *pout = out;
    KIT_RUN(&kit, kit_kernel(object, "sum<float, 4>"), KIT_SHAPE(1, 8, 0), &pin, &pout);
    for (int i = 0; i < 8; i++) assert_true(out[i] == 10.0f);
    assert_string_equal(kit_kernel(object, "sum<int,2>")->params[0].type, "int");
    kit_kernel(object, "sum < double , 3 >");
    const gb_cpu_image *image = gb_cpu_object_image(object);
    for (int i = 0; i < image->kernel_count; i++)
        assert_null(strstr(image->kernels[i].name, "ghost"));
    const gb_cpu_struct *pair = kit_struct(object, "outer::Pair");
    assert_int_equal(pair->field_count, 2);
    assert_string_equal(pair->fields[1].name, "b");
    assert_int_equal(pair->fields[1].offset, 4);
    gb_cpu_object_close(object);
}

static void memory(void **state)
{
    (void)state;
    gb_cpu_object *object = compile_case("memory.cu", NULL);
    run_checks(object, 5);
    assert_int_equal(kit_kernel(object, "check_globals")->flags, GB_CPU_PIECES);
    assert_int_equal(kit_kernel(object, "check_barriers")->flags, GB_CPU_SYNC);
    assert_int_equal(kit_kernel(object, "indirect_sync")->flags, GB_CPU_SYNC);
    assert_null(kit_kernel(object, "indirect_sync")->run);
    assert_int_equal(kit_kernel(object, "use_body")->flags, GB_CPU_PIECES);
    const gb_cpu_global *weights = kit_global(object, "weights");
    assert_int_equal(weights->bytes, 16);
    assert_int_equal(weights->type.size, 4);
    assert_true(((float *)weights->address)[3] == 4.0f);
    assert_int_equal(kit_global(object, "bodies")->bytes, 96);
    assert_int_equal(((int *)kit_global(object, "bodies")->address)[3], 1);
    assert_string_equal(kit_global(object, "bodies")->type.type, "Body");
    assert_string_equal(kit_global(object, "deep::vec")->type.type, "float4");
    assert_int_equal(kit_global(object, "big")->type.code, GB_TYPE_UINT64);
    kit_global(object, "other");
    const gb_cpu_struct *body = kit_struct(object, "Body");
    assert_int_equal(body->size, 32);
    assert_int_equal(body->field_count, 5);
    assert_string_equal(body->fields[4].name, "m");
    assert_int_equal(body->fields[4].count, 2);
    assert_int_equal(body->fields[4].offset, 16);
    assert_int_equal(body->fields[4].code, GB_TYPE_DOUBLE);
    gb_cpu_object_close(object);
}

static void warps(void **state)
{
    (void)state;
    gb_cpu_object *object = compile_case("warps.cu", NULL);
    run_checks(object, 3);
    gb_cpu_object_close(object);
}

static void numbers(void **state)
{
    (void)state;
    gb_cpu_object *object = compile_case("numbers.cu", NULL);
    run_checks(object, 5);
    assert_int_equal(*(int *)kit_global(object, "ai")->address, 128);
    assert_true(*(double *)kit_global(object, "ad")->address == 32.0);
    assert_int_equal(*(int *)kit_global(object, "amax")->address, 63);
    assert_int_equal(*(int *)kit_global(object, "ainc")->address, 8);
    gb_cpu_object_close(object);
}

/* ---- rows: every index once, whatever the shape ---- */

static int row_expected(const char *name, int n, int i, int in)
{
    if (i >= n) return 0;
    if (strcmp(name, "guard_interval") == 0) return i > 2 && i < n - 1 && i != 7 ? 1 + in : 0;
    if (strcmp(name, "guard_inner") == 0) return i > 2 && i <= n - 5 ? 1 + in : 0;
    if (strcmp(name, "guard_from") == 0) return i >= n / 2 ? 1 + in : 0;
    if (strcmp(name, "guard_few") == 0) return i >= 5 && i < 40 ? 1 + in : 0;
    if (strcmp(name, "guard_wraps") == 0) return i < 20 || i > 30 ? 1 + in : 0;
    if (strcmp(name, "guard_none") == 0) return 0;
    if (strcmp(name, "guard_column") == 0) return i % 10 < 5 ? 1 + in : 0;
    if (strcmp(name, "stride_named") == 0 && in == 3) return 0;
    return 1 + in;
}

static void rows(void **state)
{
    (void)state;
    enum { ROOM = 40000 };
    static const int counts[] = {1, 63, 64, 65, 1000, 16384, 16385, 33000};
    static int in[ROOM], out[ROOM];
    gb_cpu_object *object = compile_case("rows.cu", NULL);
    const gb_cpu_image *image = gb_cpu_object_image(object);
    assert_int_equal(image->kernel_count, 18);
    for (int i = 0; i < ROOM; i++) in[i] = i * 7 % 11;
    for (int k = 0; k < 2 * image->kernel_count; k++) {
        const gb_cpu_kernel *kernel = &image->kernels[k / 2];
        kit.one_by_one = k & 1;
#ifdef __SANITIZE_THREAD__ /* its shadow stack holds no million of swapped contexts */
        if (kit.one_by_one) continue;
#endif
        if (strcmp(kernel->name, "plane") == 0) continue;
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            int n = counts[c], *pin = in, *pout = out;
            size_t n_long = (size_t)n;
            bool strided = strncmp(kernel->name, "stride", 6) == 0;
            uint32_t block = strcmp(kernel->name, "by_block") == 0 ? 96 : 64;
            uint32_t more = n == 65 ? 300 : 1; /* a row and more without anything to do */
            uint32_t grid = strided ? 3 : ((uint32_t)n + 63) / 64 + more;
            memset(out, 0, sizeof out);
            KIT_RUN(&kit, kernel, KIT_SHAPE(grid, block, 0), &n_long, &pin, &pout);
            for (int i = 0; i < ROOM; i++)
                if (out[i] != row_expected(kernel->name, n, i, in[i]))
                    fail_msg("%s n=%d: out[%d] is %d", kernel->name, n, i, out[i]);
        }
    }
    kit.one_by_one = false;
    int w = 133, h = 70, *pin = in, *pout = out;
    memset(out, 0, sizeof out);
    kit_shape shape = {{9, 5, 1}, {16, 16, 1}, 0};
    KIT_RUN(&kit, kit_kernel(object, "plane"), shape, &w, &h, &pin, &pout);
    for (int i = 0; i < ROOM; i++) assert_int_equal(out[i], i < w * h ? 1 + in[i] : 0);
    gb_cpu_object_close(object);
}

/* ---- what goes wrong ---- */

static void refused(const char *source, const char *const *options, int rc, const char *text)
{
    gb_cpu_object *object;
    int got = kit_compile_text(&kit, source, options, NULL, &object);
    if (got != rc || !kit.detail || !strstr(kit.detail, text))
        print_error("got %s: %s\nwanted: %s\n", gb_err_name(got), kit.detail ? kit.detail : "-",
                    text);
    assert_int_equal(got, rc);
    assert_null(object);
    assert_non_null(strstr(kit.detail, text));
    assert_null(strstr(kit.detail, "<gpubridge>"));
    assert_null(strstr(kit.detail, kit.folder));
}

static void errors(void **state)
{
    (void)state;
    const char *source = "#define N 4\n"
                         "extern \"C\" __global__ void k(int *p)\n"
                         "{\n"
                         "    p[0] = N + quux_17;\n"
                         "}\n";
    refused(source, NULL, GB_ECOMPILE, "test.cu:4:16: error: ");
    assert_non_null(strstr(kit.detail, "\n    p[0] = N + quux_17;\n"));
    refused("\n#include \"nowhere.cuh\"\n", NULL, GB_ECOMPILE, "test.cu:2:");
    assert_non_null(strstr(kit.detail, "nowhere.cuh"));
    assert_non_null(strstr(kit.detail, "named folders"));
    refused("#include <cuda_fp16.h>\n", NULL, GB_ECOMPILE, "half precision");
    refused("#include \"/etc/hostname\"\n", NULL, GB_ECOMPILE, "absolute path");
    refused("#error told you\n", NULL, GB_ECOMPILE, "told you");
    refused("\n__global__ void k(int *p)\n{\n    if (*p) {\n        *p = 1;\n}\n", NULL,
            GB_ECOMPILE, "test.cu:3: error: '{': no '}' closes it\n{\n");
    refused("extern \"C\" __global__ int k(int *p) { return *p; }", NULL, GB_ECOMPILE,
            "a __global__ function returns void");
    refused("namespace ns { __global__ void k(int &p) {} }", NULL, GB_ECOMPILE,
            "a __global__ function takes its parameters by value");
    assert_non_null(strstr(kit.detail, "kernel ns::k:"));
    refused("__global__ void a() {}\n__global__ void a() {}", NULL, GB_ECOMPILE, "test.cu:2:");
    assert_null(strstr(kit.detail, "kernel a"));
    refused("__global__ void new(int *p) {}", NULL, GB_ECOMPILE, "test.cu:1:17: error: ");
    assert_null(strstr(kit.detail, "kernel new"));
    refused("__device__ void f(); __global__ void k() { f(); }", NULL, GB_ECOMPILE, "undefined");
    refused("__global__ void k(int *p) { asm(\"exit;\"); }", NULL, GB_ECOMPILE, "inline PTX");
    refused("__global__ void k() {}\n__global__ void j() { k<<<1, 1>>>(); }", NULL, GB_ECOMPILE,
            "test.cu:2: error: '<<<': a launch from a kernel");
    refused("texture<float, 2> t;", NULL, GB_ECOMPILE, "textures");
    refused("__managed__ int x;", NULL, GB_ECOMPILE, "__managed__");
    refused("__global__ void k(cudaTextureObject_t t) {}", NULL, GB_ECOMPILE, "textures");
    refused("namespace cg = cooperative_groups;", NULL, GB_ECOMPILE, "cooperative groups");
    refused("using namespace nvcuda;", NULL, GB_ECOMPILE, "tensor core");
    static const char *const bad[] = {"-fplugin=x.so", NULL}, *const bad2[] = {"-DX;Y", NULL};
    refused("", bad, GB_EINVAL, "option '-fplugin=x.so' is not allowed; the list: -DX");
    refused("", bad2, GB_EINVAL, "-DX;Y");
    static const char *const none[] = {"nothing<int>", NULL};
    gb_cpu_object *object;
    assert_int_equal(kit_compile_text(&kit, "__global__ void k() {}", NULL, none, &object),
                     GB_ECOMPILE);
    assert_non_null(strstr(kit.detail, "nothing<int>"));
    static const char *const wrong[] = {"sum<flot>", NULL};
    assert_int_equal(kit_compile_text(&kit, "template <typename T> __global__ void sum(T *p) {}",
                                      NULL, wrong, &object),
                     GB_ECOMPILE);
    assert_non_null(strstr(kit.detail, "instance sum<flot>:1:"));
}

static void many_errors_are_cut(void **state)
{
    (void)state;
    enum { ROOM = 200000 };
    char *source = calloc(1, ROOM);
    for (int i = 0, at = 0; i < 1000; i++)
        at += snprintf(source + at, (size_t)(ROOM - at), "int v%d = missing_%d_%0100d;\n", i, i, 7);
    gb_cpu_object *object;
    assert_int_equal(kit_compile_text(&kit, source, NULL, NULL, &object), GB_ECOMPILE);
    assert_true(strlen(kit.detail) <= 16 * 1024);
    free(source);
}

static void options(void **state)
{
    (void)state;
    static const char *const list[] = {
        "-DN=5", "-DTWICE=2*", "-std=c++14", "-use_fast_math", "-maxrregcount=32", "-UM", NULL};
    gb_cpu_object *object;
    int rc =
        kit_compile_text(&kit, "__global__ void k(int *p) { p[0] = TWICE N + __cplusplus / 100; }",
                         list, NULL, &object);
    if (rc < 0) print_error("%s", kit.detail);
    assert_int_equal(rc, 0);
    int v = 0, *p = &v;
    KIT_RUN(&kit, kit_kernel(object, "k"), KIT_SHAPE(1, 1, 0), &p);
    assert_int_equal(v, 10 + 2014);
    gb_cpu_object_close(object);
}

static void hostile_macros(void **state)
{
    (void)state;
    gb_cpu_object *object = kit_compile_must(
        &kit, "#define x y\n#define run 1\n#define count 2\n#define name 3\n#define min(a) a\n"
              "#define fill 4\n#define range 5\n#define T 6\n#define F 7\n#define printf(...) 8\n"
              "struct params { int block; };\n"
              "__global__ void k(int *out, params p) { out[0] = count + T + p.block; }\n");
    int v = 0, *p = &v, block = 3;
    KIT_RUN(&kit, kit_kernel(object, "k"), KIT_SHAPE(1, 1, 0), &p, &block);
    assert_int_equal(v, 11);
    gb_cpu_object_close(object);
}

static void warnings(void **state)
{
    (void)state;
    gb_cpu_object *object =
        kit_compile_must(&kit, "__global__ void k(int *p)\n{\n    p[0] = 1 << 40;\n}\n");
    const char *log = gb_cpu_object_log(object);
    if (!strstr(log, "test.cu:3:14: warning:")) fail_msg("%s", log);
    if (!strstr(log, "    p[0] = 1 << 40;\n")) fail_msg("%s", log);
    gb_cpu_object_close(object);
}

static void printing_and_traps(void **state)
{
    (void)state;
    gb_cpu_object *object =
        kit_compile_must(&kit, "#include <cassert>\n"
                               "__global__ void say(int n) { if (threadIdx.x == 1) printf(\"%d %s "
                               "%.1f\\n\", n, \"a\", 2.5); }\n"
                               "__global__ void check(int n) {\n    assert(n < 5);\n}\n"
                               "__global__ void stop() { __trap(); }\n");
    int n = 7;
    KIT_RUN(&kit, kit_kernel(object, "say"), KIT_SHAPE(1, 2, 0), &n);
    assert_string_equal(kit.printed, "7 a 2.5\n");
    KIT_RUN(&kit, kit_kernel(object, "check"), KIT_SHAPE(1, 2, 0), &n);
    assert_string_equal(kit.trap, "test.cu:4: assertion 'n < 5' failed");
    KIT_RUN(&kit, kit_kernel(object, "stop"), KIT_SHAPE(1, 2, 0), &n);
    assert_string_equal(kit.trap, "__trap()");
    gb_cpu_object_close(object);
}

/* ---- faults: what the hardware is to catch is really there at -O3 ---- */

static volatile sig_atomic_t fault_signal;

static void on_fault(int signal)
{
    fault_signal = signal;
    if (kit.ended) siglongjmp(*kit.ended, 1);
    _exit(3);
}

static int fault_of(const gb_cpu_kernel *kernel, void **params)
{
    static const int signals[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGALRM};
    struct sigaction action = {.sa_handler = on_fault}, old[5];
    for (int i = 0; i < 5; i++) sigaction(signals[i], &action, &old[i]);
    fault_signal = 0;
    kit_run(&kit, kernel, KIT_SHAPE(1, 64, 0), params);
    for (int i = 0; i < 5; i++) sigaction(signals[i], &old[i], NULL);
    return fault_signal;
}

static void faults(void **state)
{
    (void)state;
    gb_cpu_object *object = kit_compile_must(
        &kit,
        "__global__ void divide(int *a, const int *b, int d) {\n"
        "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n    a[i] = b[i] / d;\n}\n"
        "__global__ void modulo(unsigned *a, const unsigned *b, const unsigned *d) {\n"
        "    int i = threadIdx.x;\n    if (b[i] < 1000) a[i] = b[i] % d[i];\n}\n"
        "__global__ void null(int *a) { a[threadIdx.x] = 1; }\n"
        "__global__ void known_null(int *a) { if (!a) *a = 1; }\n"
        "__global__ void endless(int *a) { while (true) {} }\n"
        "__global__ void endless_if(unsigned n) { for (unsigned i = 1; i != n; i += 2) {} }\n");
    static int a[64], b[64], d[64];
    int *pa = a, *pb = b, *pd = d, *null = NULL, zero = 0, odd = 1, even = 2;
    for (int i = 0; i < 64; i++) a[i] = b[i] = d[i] = i + 1;
    assert_int_equal(fault_of(kit_kernel(object, "divide"), (void *[]){&pa, &pb, &zero}), SIGFPE);
    assert_int_equal(fault_of(kit_kernel(object, "divide"), (void *[]){&pa, &pb, &odd}), 0);
    assert_int_equal(fault_of(kit_kernel(object, "modulo"), (void *[]){&pa, &pb, &pd}), 0);
    d[40] = 0;
    assert_int_equal(fault_of(kit_kernel(object, "modulo"), (void *[]){&pa, &pb, &pd}), SIGFPE);
    assert_int_equal(fault_of(kit_kernel(object, "null"), (void *[]){&null}), SIGSEGV);
    assert_int_equal(fault_of(kit_kernel(object, "known_null"), (void *[]){&null}), SIGSEGV);
#ifndef __SANITIZE_THREAD__ /* it keeps a timer's signal back until a call that no loop makes */
    struct itimerval soon = {.it_value = {0, 50000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_int_equal(fault_of(kit_kernel(object, "endless"), (void *[]){&pa}), SIGALRM);
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_int_equal(fault_of(kit_kernel(object, "endless_if"), (void *[]){&even}), SIGALRM);
#else
    (void)even;
#endif
    gb_cpu_object_close(object);
}

/* ---- pieces of blocks ---- */

/* Rows of several blocks, guards, rounds of a grid-stride loop, blocks with y and z. */
static const char pieces_source[] =
    "__global__ void plain(int *out, int n) {\n"
    "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "    if (i < n) out[i] += i + 1;\n}\n"
    "__global__ void strided(int *out, int n) {\n"
    "    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)\n"
    "        out[i] += i + 1;\n}\n"
    "__global__ void deep(int *out, int n) {\n"
    "    int t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;\n"
    "    int b = blockIdx.y * gridDim.x + blockIdx.x;\n"
    "    int i = b * blockDim.x * blockDim.y * blockDim.z + t;\n"
    "    if (i < n) out[i] += i + 1;\n}\n";

static void pieces(void **state)
{
    static const struct {
        const char *name;
        kit_shape shape;
        int count;
    } cases[] = {
        {"plain", {{5, 1, 1}, {256, 1, 1}, 0}, 1100},
        {"plain", {{3, 1, 1}, {200, 1, 1}, 0}, 600},
        {"strided", {{2, 1, 1}, {256, 1, 1}, 0}, 1900},
        {"deep", {{2, 3, 1}, {100, 2, 3}, 0}, 3500},
    };
    static const uint32_t sizes[] = {64, 128, 1, 1000};
    (void)state;
    gb_cpu_object *object = kit_compile_must(&kit, pieces_source);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            int count = cases[i].count, *out = calloc(4000, sizeof *out);
            kit.piece = sizes[k];
            KIT_RUN(&kit, kit_kernel(object, cases[i].name), cases[i].shape, &out, &count);
            kit.piece = 0;
            for (int at = 0; at < 4000; at++)
                assert_int_equal(out[at], at < count ? at + 1 : 0); /* once each */
            free(out);
        }
    gb_cpu_object_close(object);
}

/* ---- sanitized objects: load into a process that has the runtime, else a clear error ---- */

static void sanitized(void **state)
{
    (void)state;
    static const char source[] = "__global__ void over(int *p, int n) { p[n] = 1; }\n";
    gb_module_spec spec = {.name = "over.cu", .source = source, .source_bytes = sizeof source - 1};
    gb_cpu_compile_config config = kit.config;
    gb_cpu_object *object;
    config.sanitize = true;
    free(kit.detail);
    int rc = gb_cpu_compile(&config, &spec, &object, &kit.detail);
#ifdef __SANITIZE_ADDRESS__
    if (rc < 0) print_error("%s\n", kit.detail);
    assert_int_equal(rc, 0);
    int *p = malloc(4 * sizeof *p), inside = 3, outside = 4, status;
    const gb_cpu_kernel *kernel = kit_kernel(object, "over");
    KIT_RUN(&kit, kernel, KIT_SHAPE(1, 1, 0), &p, &inside);
    pid_t child = fork();
    if (child == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        KIT_RUN(&kit, kernel, KIT_SHAPE(1, 1, 0), &p, &outside);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(status != 0);
    free(p);
    gb_cpu_object_close(object);
#else
    assert_int_equal(rc, GB_ECOMPILE);
    if (!strstr(kit.detail, "the image does not load")) fail_msg("%s", kit.detail);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saxpy),    cmocka_unit_test(language),
        cmocka_unit_test(memory),   cmocka_unit_test(warps),
        cmocka_unit_test(numbers),  cmocka_unit_test(rows),
        cmocka_unit_test(errors),   cmocka_unit_test(many_errors_are_cut),
        cmocka_unit_test(options),  cmocka_unit_test(hostile_macros),
        cmocka_unit_test(warnings), cmocka_unit_test(printing_and_traps),
        cmocka_unit_test(faults),   cmocka_unit_test(sanitized),
        cmocka_unit_test(pieces),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
