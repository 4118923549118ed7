/* lua/gb/kernels.lua, buffer.lua and src/lua/gpu.c, job.c, args.c, kernel.c, launch.c: the specs
 * beside this file, on cpu devices. */
#include "kit_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_kernels(void **unused)
{
    kit_run_spec("spec_kernels.lua", NULL);
}

static void test_arguments(void **unused)
{
    kit_run_spec("spec_arguments.lua", NULL);
}

static void test_buffers(void **unused)
{
    kit_run_spec("spec_buffer.lua", NULL);
}

static void test_two_devices(void **unused)
{
    kit_run_spec("spec_devices.lua", &(kit_spec){.cpu_devices = 2});
}

static void test_launch_cost(void **unused)
{
    kit_run_spec("spec_launch_cost.lua", NULL);
}

static void test_resident_memory(void **unused)
{
    kit_run_spec("spec_resident_memory.lua", NULL);
}

static void test_no_memory(void **unused)
{
    kit_run_spec("spec_no_memory.lua", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels),         cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_buffers),         cmocka_unit_test(test_two_devices),
        cmocka_unit_test(test_launch_cost),     cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_resident_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
