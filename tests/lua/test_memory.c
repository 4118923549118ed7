/* Memory of devices, as Lua sees it: the spec beside this file. */
#include "kit_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_memory(void **unused)
{
    kit_run_spec("spec_memory.lua", &(kit_spec){.device_bytes = 64 << 20});
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
