/* lua/gb/catalog.lua, batch.lua, batch_size.lua, pipeline.lua: the specs beside this file. */
#include "kit_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_batches(void **unused)
{
    kit_run_spec("spec_batch.lua", &(kit_spec){.device_bytes = 64 << 20});
}

static void test_sizes(void **unused)
{
    kit_run_spec("spec_batch_size.lua", &(kit_spec){0});
}

static void test_devices(void **unused)
{
    kit_run_spec("spec_pipeline.lua", &(kit_spec){.cpu_devices = 3});
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batches), cmocka_unit_test(test_sizes),
                                       cmocka_unit_test(test_devices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
