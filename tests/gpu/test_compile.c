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
    assert_int_equal(kernel->flags, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saxpy),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
