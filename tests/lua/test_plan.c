/* lua/gb/plan*.lua and src/lua/plan.c: the spec beside this file. */
#include "kit_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_plans(void **unused)
{
    kit_run_spec("spec_plan.lua", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
