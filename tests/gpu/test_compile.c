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
    assert_string_equal(gb_cpu_object_log(object), "");
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
    assert_int_equal(kit_kernel(object, "check_globals")->flags, 0);
    assert_int_equal(kit_kernel(object, "check_barriers")->flags, GB_CPU_SYNC);
    assert_int_equal(kit_kernel(object, "indirect_sync")->flags, GB_CPU_SYNC);
    assert_null(kit_kernel(object, "indirect_sync")->run);
    assert_int_equal(kit_kernel(object, "use_body")->flags, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saxpy),
        cmocka_unit_test(language),
        cmocka_unit_test(memory),
        cmocka_unit_test(warps),
        cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
