#include "gpu/source.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gb_mem mem;

static int setup(void **state)
{
    (void)state;
    gb_mem_init(&mem, "source", NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gb_mem_fini(&mem);
    return 0;
}

static gb_source *open_text(const char *text)
{
    gb_source *source;
    int rc = gb_source_open(&source, &mem, text, strlen(text));
    if (rc < 0) print_error("%s\n", gb_err_detail());
    assert_int_equal(rc, 0);
    return source;
}

static const gb_source_kernel *kernel(const gb_source *source, const char *name)
{
    for (int i = 0; i < gb_source_kernel_count(source); i++)
        if (strcmp(gb_source_kernel_at(source, i)->name, name) == 0)
            return gb_source_kernel_at(source, i);
    fail_msg("no kernel %s", name);
    return NULL;
}

static void names(void **state)
{
    (void)state;
    gb_source *source = open_text(
        "namespace a { namespace { inline namespace b {\n"
        "__attribute__((launch(1, 2))) __global__ [[nodiscard]] void __launch_bounds__(64, 2)\n"
        "one(const float *__restrict__ x, unsigned int, Pair<int, float> p = {1, 2}, int n = (3, "
        "4),\n"
        "    float (&grid)[4], ns::T, const int k[], unsigned long long *const q) {}\n"
        "} } __global__ void two(void) { } }\n"
        "__global__ void declared(int);\n"
        "template <> __global__ void one<int>(int x) {}\n"
        "template <typename T> __global__ void many(T *t) {}\n"
        "extern \"C\" { __global__ void three(int x) {} __global__ void three(float x) {} }\n"
        "auto lambda = [](int x) { return x; };\n"
        "const char *text = \"__global__ void ghost(int x) {}\";\n"
        "// __global__ void ghost2(int x) {}\n");
    assert_int_equal(gb_source_kernel_count(source), 5);
    const gb_source_kernel *one = kernel(source, "one");
    static const char *const wanted[] = {"x", "arg2", "p", "n", "grid", "arg6", "k", "q"};
    assert_int_equal(one->param_count, 8);
    for (int i = 0; i < 8; i++) assert_string_equal(one->params[i], wanted[i]);
    assert_string_equal(one->scope, "a::b");
    assert_string_equal(one->open, "namespace a { namespace  { inline namespace b { ");
    assert_string_equal(kernel(source, "two")->scope, "a");
    assert_int_equal(kernel(source, "two")->param_count, 0);
    assert_true(kernel(source, "many")->is_template);
    assert_true(kernel(source, "three")->overloaded);
    assert_string_equal(kernel(source, "three")->types, "int");
    gb_source_close(source);
}

static void reach(void **state)
{
    (void)state;
    gb_source *source = open_text(
        "void a() { __syncthreads(); }\n"
        "struct S { void go() { a(); } };\n"
        "template <typename T> void c(T t) { t.go(); }\n"
        "void quiet() { int v = 0; }\n"
        "void holds() { float v[4]; v[0] = 1; }\n"
        "__global__ void k1(int *p) { quiet(); p[0] = 1; }\n"
        "__global__ void k2() { S s; c(s); }\n"
        "__global__ void k3() { holds(); }\n"
        "__global__ void k4(float *v) { float t = v[0], u = v[1] * v[2]; v[3] = t + u; }\n"
        "__global__ void k5(int *p) { use(&p[0]); }\n"
        "__global__ void k6(int *p) { __shared__ float tile[4]; p[0] = a < b && c > d; }\n"
        "template <typename Op> __global__ void t(Op op) { op(); }\n");
    assert_false(kernel(source, "k1")->sync);
    assert_true(kernel(source, "k1")->plain);
    assert_true(kernel(source, "k2")->sync);
    assert_false(kernel(source, "k3")->plain);
    assert_true(kernel(source, "k4")->plain);
    assert_false(kernel(source, "k5")->plain);
    assert_true(kernel(source, "k6")->plain);
    assert_false(kernel(source, "t")->sync);
    assert_true(gb_source_instance_sync(source, kernel(source, "t"), "t<S>"));
    assert_false(gb_source_instance_sync(source, kernel(source, "t"), "t<int>"));
    gb_source_close(source);
}

static const struct {
    const char *body;
    bool linear, guarded, strided;
} place_rows[] = {
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) p[i] = 1;", true, true, false},
    {"int i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return; p[i] = 1;", true,
     true, false},
    {"int i = blockIdx.x * (blockDim.x + threadIdx.x); p[i] = 1;", false, false, false},
    {"int i = 2 * blockIdx.x * blockDim.x + threadIdx.x; p[i] = 1;", false, false, false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x * 2; p[i] = 1;", false, false, false},
    {"int i = n - blockIdx.x * blockDim.x + threadIdx.x; p[i] = 1;", false, false, false},
    {"p[threadIdx.x] = 1;", false, false, false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) p[i] = 1; p[0] = 2;", true, false,
     false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; if (i * i < n) p[i] = 1;", true, false, false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; if (i != n) p[i] = 1;", true, false, false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; if (p[i] < n) p[i] = 1;", true, false, false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n || i > 9) p[i] = 1;", true, false,
     false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) p[i] = 1; else p[i] = 2;", true,
     false, false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; const int m = n - 1; "
     "if (i - 1 > 0 && i + 1 < m) p[i] = 1;",
     true, true, false},
    {"unsigned i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n - 1u) p[i] = 1;", true, true,
     false},
    {"unsigned i = blockIdx.x * blockDim.x + threadIdx.x; if (i - 2 > 5) p[i] = 1;", true, false,
     false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; if (i - 2 > 5u) p[i] = 1;", true, false,
     false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; if (i - 2 > blockDim.y) p[i] = 1;", true,
     false, false},
    {"int i = blockIdx.x * blockDim.x + threadIdx.x; unsigned m = n; if (i - 2 > m) p[i] = 1;",
     true, false, false},
    {"for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) "
     "p[i] = 1;",
     true, false, true},
    {"int from = blockIdx.x * blockDim.x + threadIdx.x; "
     "for (int i = from; i < n; i += gridDim.x * blockDim.x) p[i] = 1;",
     true, false, true},
    {"for (int i = n - (blockIdx.x * blockDim.x + threadIdx.x); i < n; i += gridDim.x * "
     "blockDim.x) p[i] = 1;",
     true, false, false},
    {"int s = 0; for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * "
     "blockDim.x) s += p[i];",
     true, false, false},
    {"for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) "
     "{ if (p[i]) break; }",
     true, false, false},
    {"for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) "
     "{ i++; }",
     true, false, false},
    {"for (int i = threadIdx.x; i < n; i += blockDim.x) p[i] = 1;", false, false, false},
    {"for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) "
     "p[i] = 1; p[0] = 2;",
     true, false, false},
};

static void places(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof place_rows / sizeof *place_rows; i++) {
        char text[1024];
        snprintf(text, sizeof text, "__global__ void k(int n, int *p) { %s }", place_rows[i].body);
        gb_source *source = open_text(text);
        const gb_source_kernel *k = kernel(source, "k");
        if (k->linear != place_rows[i].linear || k->guarded != place_rows[i].guarded ||
            k->strided != place_rows[i].strided)
            fail_msg("%s: linear %d guarded %d strided %d", place_rows[i].body, k->linear,
                     k->guarded, k->strided);
        gb_source_close(source);
    }
}

static void rewritten(void **state)
{
    (void)state;
    gb_source *source = open_text("# 1 \"a.cu\"\n"
                                  "#define N 4\n"
                                  "#define M (N + 1)\n"
                                  "extern __shared__ float out[];\n"
                                  "void f() {\n"
                                  "extern __shared__\n__align__(8) double in[][3];\n"
                                  "#pragma unroll M\n"
                                  "for (;;) {}\n"
                                  "}\n");
    gb_buf text;
    gb_buf_init(&text, &mem);
    assert_int_equal(gb_source_rewrite(source, &text), 0);
    const char *got = gb_buf_text(&text);
    assert_non_null(strstr(got, "static thread_local float (*out ) ;"));
    assert_non_null(strstr(got, "double (*const in ) [ 3 ] = (decltype(in )) __gb_shared\n;"));
    assert_non_null(strstr(got, "#pragma unroll  ( 4 + 1)") ?: strstr(got, "#pragma unroll  ( 4"));
    assert_null(strstr(got, "#define"));
    int lines = 0;
    for (const char *at = got; *at; at++) lines += *at == '\n';
    assert_int_equal(lines, 11); /* as many as there were, and the last */
    assert_int_equal(gb_source_shared_count(source), 1);
    gb_buf_fini(&text);
    gb_source_close(source);
}

static void fragments(void **state)
{
    (void)state;
    /* broken text: no crash, no endless loop, no leak; every prefix of a hard file too */
    static const char text[] =
        "# 3 \"x\\\"y.cu\" 2\nnamespace a::b { template <typename T, int N = (1 > 2)> __global__ "
        "void "
        "k(T *x, int (*f)(int)) { for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += "
        "gridDim.x) x[i] = '\\''; } } struct S { int a[2], *b; } __device__ s[2] = {{1}}; "
        "R\"d(}})d\" "
        "operator()(int) { return 1; } extern __shared__ int q[]; #pragma unroll";
    for (size_t size = 0; size < sizeof text; size++) {
        char *copy = malloc(size ? size : 1); /* exact, so that a read past the end is seen */
        memcpy(copy, text, size);
        gb_source *source;
        if (gb_source_open(&source, &mem, copy, size) == 0) {
            gb_buf out;
            gb_buf_init(&out, &mem);
            gb_source_rewrite(source, &out);
            gb_buf_fini(&out);
            gb_source_close(source);
        }
        free(copy);
    }
}

static void no_memory(void **state)
{
    (void)state;
    static const char text[] = "namespace a { __global__ void k(int x) { int y = x; } }\n";
    for (int64_t n = 1; n < 20; n++) {
        gb_source *source;
        atomic_store(&mem.fail_at, n);
        int rc = gb_source_open(&source, &mem, text, sizeof text - 1);
        atomic_store(&mem.fail_at, 0);
        if (rc == 0) return gb_source_close(source);
        assert_int_equal(rc, GB_ENOMEM);
        assert_null(source);
        assert_int_equal(atomic_load(&mem.bytes), 0);
    }
    fail();
}

/* Which kernels with barriers run as loops, and which keep their fibers. */
static void loops(void **state)
{
    (void)state;
    static const struct {
        const char *name, *body;
        bool loops;
    } rows[] = {
        {"straight", "s[t] = x[t]; __syncthreads(); x[t] = s[63 - t];", true},
        {"counted",
         "float a = 0; for (int k = 0; k < n; k++) { s[t] = x[k]; __syncthreads(); a += s[0]; "
         "__syncthreads(); } x[t] = a;",
         true},
        {"by_block", "if (blockIdx.x > 2) { s[t] = 1; __syncthreads(); x[t] = s[0]; }", true},
        {"by_thread", "if (t < 3) { __syncthreads(); } x[t] = 1;", false},
        {"by_data", "if (x[0] > 1) { __syncthreads(); } x[t] = 1;", false},
        {"bound_by_data", "for (int k = 0; k < x[1]; k++) { __syncthreads(); }", false},
        {"changed_bound", "for (int k = 0; k < n; k++) { __syncthreads(); n = t; }", false},
        {"jump", "again: __syncthreads(); if (n-- > 0) goto again;", false},
        {"left", "if (t == 5) return; __syncthreads(); x[t] = 1;", false},
        {"shuffle", "__syncthreads(); x[t] = __shfl_sync(0xffffffff, x[t], 0);", false},
        {"vote", "int all = __syncthreads_and(t > 1); x[t] = all;", false},
        {"in_function", "wait(); x[t] = 1;", false},
    };
    char text[4096];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(text, sizeof text,
                 "__device__ void wait() { __syncthreads(); }\n"
                 "extern \"C\" __global__ void k(float *x, int n) {\n"
                 "  __shared__ float s[64]; int t = threadIdx.x;\n  %s\n}\n",
                 rows[i].body);
        gb_source *source = open_text(text);
        assert_int_equal(gb_source_split(source), 0);
        if (kernel(source, "k")->loops != rows[i].loops)
            fail_msg("%s: loops is %d", rows[i].name, kernel(source, "k")->loops);
        gb_source_close(source);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops),     cmocka_unit_test(names),     cmocka_unit_test(reach),
        cmocka_unit_test(places),    cmocka_unit_test(rewritten), cmocka_unit_test(fragments),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
