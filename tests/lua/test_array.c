/* lua/gb/array.lua, types.lua and src/lua/array.c: the specs beside this file. */
#include "kit_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_arrays(void **unused)
{
    kit_run_spec("spec_array.lua", NULL);
}

static void test_collector(void **unused)
{
    kit_run_spec("spec_array_memory.lua", NULL);
}

static void test_cap(void **unused)
{
    kit_run_spec("spec_array_cap.lua", &(kit_spec){.memory_max = 100 << 20});
}

static void test_compiled(void **unused)
{
    kit_run_spec("spec_array_trace.lua", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_collector),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_compiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
