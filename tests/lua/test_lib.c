/* lua/gb/lib*.lua and kernels/: the specs of gb.lib, on cpu devices. */
#include "kit_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_vectors(void **unused)
{
    kit_run_spec("spec_lib_vector.lua", NULL);
}

static void test_sorting(void **unused)
{
    kit_run_spec("spec_lib_sort.lua", NULL);
}

static void test_matrices(void **unused)
{
    kit_run_spec("spec_lib_matrix.lua", NULL);
}

static void test_graphs(void **unused)
{
    kit_run_spec("spec_lib_graph.lua", NULL);
}

static void test_random_and_images(void **unused)
{
    kit_run_spec("spec_lib_image.lua", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_sorting),
        cmocka_unit_test(test_matrices),
        cmocka_unit_test(test_graphs),
        cmocka_unit_test(test_random_and_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
