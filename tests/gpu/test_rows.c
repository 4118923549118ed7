/* Guards and grid-stride loops made up from a seed: threads as rows (source_guard.c,
 * source_index.c) do what they do one by one. */
#include "kit_compile.h"
#include "seed.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { KERNELS = 32, ROOM = 20000, TEXT_BYTES = 1 << 16 };

typedef struct maker {
    seed seed;
    char *text;
    size_t size;
} maker;

static void put(maker *m, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    m->size += (size_t)vsnprintf(m->text + m->size, TEXT_BYTES - m->size, format, values);
    va_end(values);
    assert_true(m->size < TEXT_BYTES);
}

static const char *one_of(maker *m, const char *const *list, size_t count)
{
    return list[seed_below(&m->seed, count)];
}
#define ONE_OF(m, ...)                                                                             \
    one_of(m, (const char *const[]){__VA_ARGS__},                                                  \
           sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void put_side(maker *m, bool place)
{
    int number = (int)seed_below(&m->seed, 90);
    const char *name = place ? "i" : ONE_OF(m, "n", "m", "d", "e");
    const char *other = ONE_OF(m, "n", "m", "d", "e", "blockDim.x");
    switch (seed_below(&m->seed, 8)) {
    case 0:
        put(m, "%s + %d", name, number);
        break;
    case 1:
        put(m, "%s - %d", name, number);
        break;
    case 2:
        put(m, "%s %s %du", name, ONE_OF(m, "+", "-"), number);
        break;
    case 3:
        put(m, "%s %s %s", name, ONE_OF(m, "+", "-"), other);
        break;
    case 4:
        put(m, "%s - %s", other, name);
        break;
    case 5:
        put(m, "%d", number);
        break;
    default:
        put(m, "%s", name);
    }
}

static void put_test(maker *m, bool leaves)
{
    int count = 1 + (int)seed_below(&m->seed, 3);
    for (int k = 0; k < count; k++) {
        bool left = seed_below(&m->seed, 4) > 0;
        put(m, "%s", k == 0 ? "" : leaves ? " || " : " && ");
        put_side(m, left);
        put(m, " %s ", ONE_OF(m, "<", "<=", ">", ">="));
        put_side(m, !left);
    }
}

static void put_guarded(maker *m, const char *type)
{
    bool leaves = seed_below(&m->seed, 2) == 0;
    put(m, "    %s i = blockIdx.x * blockDim.x + threadIdx.x;\n    if (", type);
    put_test(m, leaves);
    put(m, ") %s\n", leaves ? "return;\n    out[i] += 1 + in[i];" : "out[i] += 1 + in[i];");
}

static void put_strided(maker *m, const char *type)
{
    const char *from = ONE_OF(m, "blockIdx.x * blockDim.x + threadIdx.x",
                              "all - (1 + blockIdx.x * blockDim.x + threadIdx.x)",
                              "5 + blockIdx.x * blockDim.x + threadIdx.x");
    put(m, "    %s all = gridDim.x * blockDim.x;\n", ONE_OF(m, "int", "unsigned"));
    put(m, "    for (%s i = %s; i < n; i += %s) out[i] += 1 + in[i];\n", type, from,
        ONE_OF(m, "all", "gridDim.x * blockDim.x"));
}

static void put_kernel(maker *m, int number)
{
    const char *type = ONE_OF(m, "int", "unsigned", "long", "size_t", "unsigned long long");
    put(m, "extern \"C\" __global__ void k%d(int n, unsigned m, const int *in, int *out)\n{\n",
        number);
    put(m, "    const int d = n - %d;\n    unsigned e = m + %d;\n", (int)seed_below(&m->seed, 40),
        (int)seed_below(&m->seed, 40));
    if (seed_below(&m->seed, 4) == 0)
        put_strided(m, type);
    else
        put_guarded(m, type);
    put(m, "}\n");
}

static void compare(kit_compile *kit, const gb_cpu_kernel *kernel, const char *text, uint32_t grid,
                    int n, unsigned m)
{
    static int in[ROOM], rows[ROOM], single[ROOM];
    int *pin = in, *prows = rows, *psingle = single;
    for (int i = 0; i < ROOM; i++) in[i] = i % 7;
    memset(rows, 0, sizeof rows);
    memset(single, 0, sizeof single);
    KIT_RUN(kit, kernel, KIT_SHAPE(grid, 64, 0), &n, &m, &pin, &prows);
    kit->one_by_one = true;
    KIT_RUN(kit, kernel, KIT_SHAPE(grid, 64, 0), &n, &m, &pin, &psingle);
    kit->one_by_one = false;
    for (int i = 0; i < ROOM; i++)
        if (rows[i] != single[i])
            fail_msg("%s, %u blocks, n = %d, m = %u: element %d is %d in rows, %d alone\n%s",
                     kernel->name, grid, n, m, i, rows[i], single[i], text);
}

static void rows_are_threads(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__ /* its shadow stack holds no million of swapped contexts */
    skip();
#endif
    static char text[TEXT_BYTES];
    static const int counts[] = {1, 45, 700};
    maker m = {.seed = seed_start("rows"), .text = text};
    kit_compile kit;
    kit_compile_open(&kit);
    for (int k = 0; k < KERNELS; k++) put_kernel(&m, k);
    gb_cpu_object *object = kit_compile_must(&kit, text);
    const gb_cpu_image *image = gb_cpu_object_image(object);
    assert_int_equal(image->kernel_count, KERNELS);
    for (int k = 0; k < KERNELS; k++) {
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            compare(&kit, &image->kernels[k], text, 12, counts[c], 3 + 40 * (unsigned)c);
        compare(&kit, &image->kernels[k], text, 300, 1000, 60); /* more than a row */
    }
    gb_cpu_object_close(object);
    kit_compile_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_are_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
