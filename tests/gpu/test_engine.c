/* The room itself: opening, devices, buffers and their accounts, failing allocations, the compile
 * pool, and what a launch costs. */
#include "kit_engine.h"

#include "base/err.h"
#include "gpu/front.h"
#include "gpu/cpu_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void opening_starts_nothing(void **state)
{
    gb_mem mem;
    gb_gpu *gpu = NULL;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_gpu_config config = {.mem = &mem};
    for (int i = 0; i < 100; i++) {
        uint64_t start = gbi_now_ns();
        assert_int_equal(gb_gpu_open(&gpu, &config), 0);
        assert_true(gbi_now_ns() - start < 1000000000u);
        assert_false(gb_gpu_busy(gpu));
        gb_gpu_close(gpu);
    }
    gb_gpu_close(NULL);
    gb_mem_fini(&mem);
}

static void devices_split_the_machine(void **state)
{
    gb_mem mem;
    gb_gpu *gpu = NULL;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_gpu_config config = {.mem = &mem, .cpu_devices = 3, .cpu_memory_bytes = 1 << 20};
    assert_int_equal(gb_gpu_open(&gpu, &config), 0);
    assert_int_equal(gb_gpu_device_count(gpu), 3);
    for (int i = 0; i < 3; i++) {
        gb_device_info info;
        gb_device *device = gb_gpu_device(gpu, i);
        gb_device_get_info(device, &info);
        assert_int_equal(info.index, i);
        assert_int_equal(gb_device_index(device), i);
        assert_string_equal(info.backend, "cpu");
        assert_int_equal(info.memory_total, 1 << 20);
        assert_int_equal(info.memory_free, 1 << 20);
        assert_int_equal(info.warp, 32);
        assert_int_equal(info.threads_per_block_max, 1024);
        assert_true(info.units >= 1 && info.name[0] && info.arch[0]);
    }
    assert_null(gb_gpu_device(gpu, 3));
    assert_string_equal(gb_err_detail(), "no device 3: there are 3 (0 .. 2)");
    gb_gpu_close(gpu);
    gb_mem_fini(&mem);
}

static void two_rooms_in_one_process(void **state)
{
    kit_engine a, b;
    kit_engine_open(&a, 2, 1, 0);
    kit_engine_open(&b, 2, 1, 0);
    kit_gate = 1;
    gb_buffer *x = NULL, *y = NULL;
    assert_int_equal(gb_buffer_open(&x, a.device, 64, GB_BUFFER_DEVICE), 0);
    assert_int_equal(gb_buffer_open(&y, b.device, 64, GB_BUFFER_DEVICE), 0);
    gb_arg arg_x[] = {KIT_BUFFER(x)}, arg_y[] = {KIT_BUFFER(y)};
    assert_int_equal(kit_launch(a.queue, kit_engine_kernel(&a, "gate"), 4, 4, arg_x, 1), 0);
    assert_int_equal(kit_launch(b.queue, kit_engine_kernel(&b, "gate"), 4, 4, arg_y, 1), 0);
    assert_int_equal(kit_launch(b.queue, kit_engine_kernel(&b, "gate"), 1, 1, arg_x, 1),
                     GB_EDEVICE);
    assert_int_equal(kit_finish(a.queue, NULL, 0), 0);
    assert_int_equal(kit_finish(b.queue, NULL, 0), 0);
    gb_buffer_unref(x);
    gb_buffer_unref(y);
    kit_engine_close(&a);
    kit_engine_close(&b);
}

static void memory_is_counted(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 1, 1, 1 << 20);
    gb_buffer *a = NULL, *b = NULL, *pinned = NULL;
    gb_device_info info;
    assert_int_equal(gb_buffer_open(&a, kit.device, 1 << 19, GB_BUFFER_DEVICE), 0);
    assert_true(atomic_load(&kit.mem.bytes) >= 1 << 19);
    assert_int_equal(gb_buffer_open(&b, kit.device, (1 << 19) + 1, GB_BUFFER_UNIFIED), GB_ENOMEM);
    assert_string_equal(gb_err_detail(), "device memory: 524289 bytes asked, 524288 of 1048576 "
                                         "bytes free on device 0");
    assert_int_equal(gb_buffer_open(&b, kit.device, 1 << 19, GB_BUFFER_UNIFIED), 0);
    assert_int_equal(gb_buffer_open(&pinned, kit.device, 1 << 19, GB_BUFFER_PINNED), 0);
    gb_device_get_info(kit.device, &info);
    assert_int_equal(info.memory_free, 0);
    gb_buffer_unref(gb_buffer_ref(a)); /* still there */
    gb_device_get_info(kit.device, &info);
    assert_int_equal(info.memory_free, 0);
    gb_buffer_unref(a);
    gb_buffer_unref(b);
    gb_buffer_unref(pinned);
    gb_device_get_info(kit.device, &info);
    assert_int_equal(info.memory_free, 1 << 20);
    kit_engine_close(&kit);
}

static void a_cap_on_the_account_holds(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 1, 1, 0);
    gb_buffer *a = NULL, *b = NULL;
    kit.mem.bytes_max = atomic_load(&kit.mem.bytes) + (3 << 19);
    for (int i = 0; i < 20; i++) { /* what is kept for reuse gives way */
        assert_int_equal(gb_buffer_open(&a, kit.device, 40000u << i % 5, GB_BUFFER_DEVICE), 0);
        gb_buffer_unref(a);
    }
    assert_int_equal(gb_buffer_open(&b, kit.device, 2 << 20, GB_BUFFER_DEVICE), GB_ENOMEM);
    kit_engine_close(&kit);
}

static void many_small_buffers(void **state)
{
    enum { COUNT = 6000 }; /* more than have guards */
    kit_engine kit;
    kit_engine_open(&kit, 1, 1, 0);
    gb_buffer **all = calloc(COUNT, sizeof *all);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(gb_buffer_open(&all[i], kit.device, 64, GB_BUFFER_UNIFIED), 0);
    for (int i = 0; i < COUNT; i++) *(int *)gb_buffer_host(all[i]) += i;
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(*(int *)gb_buffer_host(all[i]), i);
        assert_int_equal(gb_buffer_address(all[i]) % 128, 0);
        gb_buffer_unref(all[i]);
    }
    free(all);
    kit_engine_close(&kit);
}

/* ---- every allocation fails once ---- */

static int open_and_run(kit_engine *kit)
{
    gb_buffer *x = NULL;
    gb_queue *queue = NULL;
    gb_event *event = NULL;
    int rounds = 2;
    int rc = gb_buffer_open(&x, kit->device, 5000, GB_BUFFER_DEVICE);
    if (rc == 0) rc = gb_queue_open(&queue, kit->device);
    if (rc == 0) rc = gb_event_open(&event, kit->device);
    gb_arg args[] = {KIT_BUFFER(x), KIT_VALUE(rounds)};
    if (rc == 0) rc = kit_launch(queue, kit_engine_kernel(kit, "reverse"), 4, 64, args, 2);
    if (rc == 0) rc = gb_queue_record(queue, event);
    if (queue) {
        int end = kit_finish(queue, NULL, 0);
        if (rc == 0) rc = end;
        if (end < 0) assert_int_equal(end, GB_ENOMEM);
    }
    if (x) gb_buffer_unref(x);
    if (queue) gb_queue_close(queue);
    if (event) gb_event_close(event);
    return rc;
}

static void failing_allocations(void **state)
{
    int failed = 0;
    for (int at = 1; at < 60; at++) {
        kit_engine kit;
        kit_engine_open(&kit, 2, 1, 0);
        atomic_store(&kit.gpu->room.fail_at, 0);
        kit.gpu->room.fail_at = at;
        int rc = open_and_run(&kit);
        atomic_store(&kit.gpu->room.fail_at, 0);
        if (rc < 0) {
            assert_int_equal(rc, GB_ENOMEM);
            failed++;
        }
        assert_int_equal(open_and_run(&kit), 0);
        kit_engine_close(&kit);
    }
    assert_true(failed > 10);
}

/* ---- modules ---- */

static const char *const source_text = "extern \"C\" __global__ void twice(int *x)\n"
                                       "{\n    x[threadIdx.x] *= FACTOR;\n}\n";

static gb_module_spec spec_of(const char *const *options)
{
    return (gb_module_spec){.name = "twice.cu",
                            .source = source_text,
                            .source_bytes = strlen(source_text),
                            .options = options};
}

static void modules_are_shared_and_compile_at_once(void **state)
{
    enum { COUNT = 12 };
    kit_engine kit;
    kit_engine_open(&kit, 1, 1, 0);
    char factor[COUNT / 2][32];
    const char *options[COUNT / 2][2];
    gb_module *modules[COUNT];
    kit_op ops[COUNT];
    int started[COUNT];
    for (int i = 0; i < COUNT; i++) { /* each of six twice */
        int k = i % (COUNT / 2);
        snprintf(factor[k], sizeof factor[k], "-DFACTOR=%d", k);
        options[k][0] = factor[k];
        options[k][1] = NULL;
        gb_module_spec spec = spec_of(options[k]);
        kit_op_init(&ops[i]);
        started[i] = gb_module_open(&modules[i], kit.device, &spec, &ops[i].op);
        if (i < COUNT / 2 || started[i] != GB_OP_READY) /* the first of a pair may have ended */
            assert_int_equal(started[i], GB_OP_PENDING);
        assert_non_null(modules[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        if (started[i] == GB_OP_PENDING) assert_int_equal(kit_op_wait(&ops[i]), 0);
        kit_op_fini(&ops[i]);
        assert_ptr_equal(modules[i], modules[i % (COUNT / 2)]);
    }
    gb_buffer *x = NULL;
    assert_int_equal(gb_buffer_open(&x, kit.device, 64, GB_BUFFER_UNIFIED), 0);
    ((int *)gb_buffer_host(x))[3] = 10;
    gb_arg args[] = {KIT_BUFFER(x)};
    gb_kernel *twice = gb_module_kernel(modules[4], "twice");
    assert_non_null(twice);
    assert_int_equal(kit_launch(kit.queue, twice, 1, 16, args, 1), 0);
    for (int i = 0; i < COUNT; i++) gb_module_unref(modules[i]); /* the launch keeps its own */
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    assert_int_equal(((int *)gb_buffer_host(x))[3], 40);
    gb_buffer_unref(x);
    kit_engine_close(&kit);
}

static void a_failed_module_can_be_tried_again(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 1, 1, 0);
    for (int i = 0; i < 2; i++) {
        gb_module *module = NULL;
        gb_module_spec spec = spec_of(NULL); /* FACTOR is missing */
        kit_op op;
        kit_op_init(&op);
        assert_int_equal(gb_module_open(&module, kit.device, &spec, &op.op), GB_OP_PENDING);
        assert_int_equal(kit_op_wait(&op), GB_ECOMPILE);
        assert_non_null(strstr(op.op.detail, "FACTOR"));
        assert_int_equal(gb_module_kernel_count(module), 0);
        assert_null(gb_module_kernel(module, "twice"));
        gb_module_unref(module);
        kit_op_fini(&op);
    }
    kit_engine_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_starts_nothing),
        cmocka_unit_test(devices_split_the_machine),
        cmocka_unit_test(two_rooms_in_one_process),
        cmocka_unit_test(memory_is_counted),
        cmocka_unit_test(a_cap_on_the_account_holds),
        cmocka_unit_test(many_small_buffers),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(modules_are_shared_and_compile_at_once),
        cmocka_unit_test(a_failed_module_can_be_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
