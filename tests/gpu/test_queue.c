/* Queues of the cpu engine with a hand-written image: order, errors, signals, events, devices. */
#include "kit_engine.h"

#include "base/err.h"
#include "gpu/cpu_engine.h"
#include "gpu/front.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static gb_buffer *device_buffer(kit_engine *kit, size_t bytes)
{
    gb_buffer *buffer = NULL;
    assert_int_equal(gb_buffer_open(&buffer, kit->device, bytes, GB_BUFFER_DEVICE), 0);
    return buffer;
}

static void saxpy_end_to_end(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 0, 1, 0);
    enum { N = 100000 };
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y), *got = malloc(N * sizeof *got);
    uint64_t seed = kit_seed();
    for (int i = 0; i < N; i++) {
        x[i] = (float)kit_uniform(&seed);
        y[i] = (float)kit_uniform(&seed);
    }
    gb_buffer *dx = device_buffer(&kit, N * 4), *dy = device_buffer(&kit, N * 4);
    float a = 2.5f;
    int n = N;
    gb_arg args[] = {KIT_VALUE(a), KIT_BUFFER(dx), KIT_BUFFER(dy), KIT_VALUE(n)};
    assert_int_equal(gb_queue_upload(kit.queue, dx, 0, x, N * 4), 0);
    assert_int_equal(gb_queue_upload(kit.queue, dy, 0, y, N * 4), 0);
    assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "saxpy"), 391, 256, args, 4), 0);
    memset(got, 0xff, N * 4);
    assert_int_equal(gb_queue_download(kit.queue, got, dy, 0, N * 4), 0);
    gb_buffer_unref(dx); /* the commands keep them */
    gb_buffer_unref(dy);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    for (int i = 0; i < N; i++) {
        double want = (double)y[i] + 2.5 * (double)x[i];
        assert_true(got[i] > want - 1e-5 && got[i] < want + 1e-5);
    }
    free(x), free(y), free(got);
    kit_engine_close(&kit);
}

enum {
    SMALL = 50,
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    SMALL_MOST = 20000 /* on a machine that stalls besides */
#else
    SMALL_MOST = SMALL
#endif
};

static void small_launches_become_inline(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *x = device_buffer(&kit, 256), *y = device_buffer(&kit, 256);
    float a = 1, one = 1, got[64];
    int n = 64;
    gb_arg args[] = {KIT_VALUE(a), KIT_BUFFER(x), KIT_BUFFER(y), KIT_VALUE(n)};
    assert_int_equal(gb_queue_fill(kit.queue, x, 0, &one, 4, 64), 0);
    gb_kernel *saxpy = kit_engine_kernel(&kit, "saxpy");
    int ready = 0, count = 0;
    for (; count < SMALL || (ready == 0 && count < SMALL_MOST); count++) {
        assert_int_equal(kit_launch(kit.queue, saxpy, 1, 64, args, 4), 0);
        kit_op op;
        kit_op_init(&op);
        int rc = gb_queue_signal(kit.queue, &op.op);
        assert_true(rc >= 0);
        if (rc == GB_OP_PENDING) assert_int_equal(kit_op_wait(&op), 0);
        ready += rc == GB_OP_READY;
        kit_op_fini(&op);
    }
    assert_true(ready > 0);
    assert_int_equal(gb_queue_download(kit.queue, got, y, 0, 256), 0);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    for (int i = 0; i < 64; i++) assert_true(got[i] == (float)count);
    gb_buffer_unref(x);
    gb_buffer_unref(y);
    kit_engine_close(&kit);
}

static void commands_run_in_order(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 3, 1, 0);
    gb_buffer *data = device_buffer(&kit, 4096);
    gb_kernel *gate = kit_engine_kernel(&kit, "gate");
    int first = 10, second = 20, got[3] = {-1, -1, -1};
    gb_arg args[] = {KIT_BUFFER(data)};
    int rc = gb_queue_fill(kit.queue, data, 0, &first, 4, 1024);
    rc |= kit_launch(kit.queue, gate, 1, 1, args, 1); /* waits at the gate */
    rc |= gb_queue_download(kit.queue, &got[0], data, 0, 4);
    rc |= gb_queue_fill(kit.queue, data, 0, &second, 4, 1);
    rc |= gb_queue_download(kit.queue, &got[1], data, 0, 4);
    rc |= kit_launch(kit.queue, gate, 1, 1, args, 1);
    rc |= gb_queue_download(kit.queue, &got[2], data, 0, 4);
    assert_int_equal(rc, 0);
    assert_int_equal(gb_device_queue_depth(kit.device), 6);
    assert_true(gb_gpu_busy(kit.gpu));
    assert_int_equal(got[0], -1);
    kit_gate = 1;
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    assert_int_equal(gb_device_queue_depth(kit.device), 0);
    assert_int_equal(got[0], 11);
    assert_int_equal(got[1], 20);
    assert_int_equal(got[2], 21);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void closing_a_queue_runs_what_is_queued(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 64);
    gb_queue *queue = NULL;
    assert_int_equal(gb_queue_open(&queue, kit.device), 0);
    gb_arg args[] = {KIT_BUFFER(data)};
    assert_int_equal(kit_launch(queue, kit_engine_kernel(&kit, "gate"), 1, 4, args, 1), 0);
    gb_event *event = NULL;
    assert_int_equal(gb_event_open(&event, kit.device), 0);
    assert_int_equal(gb_event_query(event), 0);
    assert_int_equal(gb_queue_wait_event(kit.queue, event), GB_EINVAL);
    assert_int_equal(gb_queue_record(queue, event), 0);
    gb_queue_close(queue);
    assert_int_equal(gb_event_query(event), 0);
    assert_int_equal(gb_queue_wait_event(kit.queue, event), 0);
    int got[4] = {0};
    assert_int_equal(gb_queue_download(kit.queue, got, data, 0, 16), 0);
    kit_gate = 1;
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    assert_int_equal(gb_event_query(event), 1);
    assert_int_equal(got[3], 1);
    gb_event_close(event);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void many_queues_wait_for_each_other(void **state)
{
    enum { QUEUES = 16, ROUNDS = 20 };
    kit_engine kit;
    kit_engine_open(&kit, 4, 1, 0);
    gb_queue *queues[QUEUES];
    gb_event *events[QUEUES];
    gb_buffer *data = device_buffer(&kit, 64);
    kit_gate = 1;
    for (int i = 0; i < QUEUES; i++) {
        assert_int_equal(gb_queue_open(&queues[i], kit.device), 0);
        assert_int_equal(gb_event_open(&events[i], kit.device), 0);
    }
    gb_arg args[] = {KIT_BUFFER(data)};
    gb_kernel *gate = kit_engine_kernel(&kit, "gate");
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < QUEUES; i++) {
            if (round || i)
                assert_int_equal(gb_queue_wait_event(queues[i], events[(i + QUEUES - 1) % QUEUES]),
                                 0);
            assert_int_equal(kit_launch(queues[i], gate, 1, 1, args, 1), 0);
            assert_int_equal(gb_queue_record(queues[i], events[i]), 0);
        }
    }
    assert_int_equal(kit_finish(queues[QUEUES - 1], NULL, 0), 0);
    int got = 0;
    assert_int_equal(gb_queue_download(kit.queue, &got, data, 0, 4), 0);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    assert_int_equal(got, QUEUES * ROUNDS);
    uint64_t ns = 0;
    assert_int_equal(gb_event_elapsed(events[0], events[1], &ns), 0);
    for (int i = 0; i < QUEUES; i++) {
        gb_queue_close(queues[i]);
        gb_event_close(events[i]);
    }
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void large_copies_and_fills(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 4, 1, 0);
    size_t bytes = (5u << 20) + 12;
    char *host = malloc(bytes), *back = malloc(bytes);
    uint64_t seed = kit_seed();
    for (size_t i = 0; i < bytes; i++) host[i] = (char)kit_random(&seed);
    gb_buffer *a = device_buffer(&kit, bytes), *b = device_buffer(&kit, bytes);
    assert_int_equal(gb_queue_upload(kit.queue, a, 0, host, bytes), 0);
    assert_int_equal(gb_queue_copy(kit.queue, b, 0, a, 0, bytes), 0);
    assert_int_equal(gb_queue_download(kit.queue, back, b, 0, bytes), 0);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    assert_memory_equal(host, back, bytes);
    char pattern[12] = "abcdefghijk";
    assert_int_equal(gb_queue_fill(kit.queue, a, 0, pattern, 12, bytes / 12), 0);
    assert_int_equal(gb_queue_download(kit.queue, back, a, 0, bytes), 0);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    for (size_t i = 0; i < bytes / 12 * 12; i++) assert_int_equal(back[i], pattern[i % 12]);
    assert_int_equal(gb_queue_copy(kit.queue, a, 0, a, 100, 200), GB_EINVAL);
    assert_int_equal(gb_queue_copy(kit.queue, a, 0, a, 200, 200), 0);
    free(host), free(back);
    gb_buffer_unref(a);
    gb_buffer_unref(b);
    kit_engine_close(&kit);
}

static void wrong_calls_are_refused(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 1, 2, 0);
    gb_buffer *data = device_buffer(&kit, 64), *other = NULL;
    gb_device *second = gb_gpu_device(kit.gpu, 1);
    assert_non_null(second);
    assert_int_equal(gb_buffer_open(&other, second, 64, GB_BUFFER_DEVICE), 0);
    gb_kernel *saxpy = kit_engine_kernel(&kit, "saxpy");
    float a = 1;
    int n = 1;
    int64_t wide = 1;
    gb_arg args[] = {KIT_VALUE(a), KIT_BUFFER(data), KIT_BUFFER(data), KIT_VALUE(n)};
    assert_int_equal(kit_launch(kit.queue, saxpy, 1, 1, args, 3), GB_EINVAL);
    assert_string_equal(gb_err_detail(), "kernel 'saxpy' takes 4 arguments, not 3");
    assert_int_equal(kit_launch(kit.queue, saxpy, 0, 1, args, 4), GB_EINVAL);
    assert_int_equal(kit_launch(kit.queue, saxpy, 1, 1025, args, 4), GB_EINVAL);
    args[3] = KIT_VALUE(wide);
    assert_int_equal(kit_launch(kit.queue, saxpy, 1, 1, args, 4), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "'n' (int) takes 4 bytes"));
    args[3] = KIT_BUFFER(data);
    assert_int_equal(kit_launch(kit.queue, saxpy, 1, 1, args, 4), GB_EINVAL);
    args[3] = KIT_VALUE(n);
    args[1] = (gb_arg){.buffer = data, .offset = 65};
    assert_int_equal(kit_launch(kit.queue, saxpy, 1, 1, args, 4), GB_EINVAL);
    args[1] = KIT_BUFFER(other);
    assert_int_equal(kit_launch(kit.queue, saxpy, 1, 1, args, 4), GB_EDEVICE);
    assert_int_equal(gb_queue_upload(kit.queue, data, 60, &wide, 8), GB_EINVAL);
    assert_int_equal(gb_queue_upload(kit.queue, data, SIZE_MAX, &wide, 8), GB_EINVAL);
    assert_int_equal(gb_queue_upload(kit.queue, other, 0, &wide, 8), GB_EDEVICE);
    assert_int_equal(gb_queue_download(kit.queue, NULL, data, 0, 8), GB_EINVAL);
    assert_int_equal(gb_queue_fill(kit.queue, data, 0, &wide, 8, SIZE_MAX), GB_EINVAL);
    assert_int_equal(gb_queue_fill(kit.queue, data, 0, &wide, 0, 1), GB_EINVAL);
    assert_int_equal(gb_queue_copy(kit.queue, other, 0, data, 0, 64), 0); /* between devices */
    assert_null(gb_module_kernel(kit.module, "saxpi"));
    assert_non_null(strstr(gb_err_detail(), "did you mean 'saxpy'?"));
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    gb_buffer_unref(data);
    gb_buffer_unref(other);
    kit_engine_close(&kit);
}

static void cancelling_stops_a_launch(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 64);
    gb_arg args[] = {KIT_BUFFER(data)};
    enum { BLOCKS = 200000 }; /* 20 s on two threads */
    int got = -1, after = -1;
    assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "slow"), BLOCKS, 1, args, 1), 0);
    assert_int_equal(gb_queue_download(kit.queue, &got, data, 0, 4), 0);
    kit_op op;
    kit_op_init(&op);
    assert_int_equal(gb_queue_signal(kit.queue, &op.op), GB_OP_PENDING);
    assert_int_equal(gb_queue_download(kit.queue, &after, data, 0, 4), 0);
    atomic_store(&op.op.cancelled, 1);
    assert_int_equal(kit_op_wait(&op), GB_ECANCELED);
    kit_op_fini(&op);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    assert_int_equal(got, -1); /* what follows a failure is not run */
    assert_true(after < BLOCKS);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

/* Else the next one would run on its caller's thread, whatever it takes. */
static void cancelled_launches_teach_nothing(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 64);
    gb_arg args[] = {KIT_BUFFER(data)};
    gb_kernel *slow = kit_engine_kernel(&kit, "slow");
    gb_queue *busy = NULL;
    assert_int_equal(gb_queue_open(&busy, kit.device), 0);
    kit_op first, second;
    kit_op_init(&first);
    kit_op_init(&second);
    assert_int_equal(kit_launch(busy, slow, 200000, 1, args, 1), 0); /* 20 s on both threads */
    assert_int_equal(gb_queue_signal(busy, &first.op), GB_OP_PENDING);
    assert_int_equal(kit_launch(kit.queue, slow, 1000, 1, args, 1), 0);
    assert_int_equal(gb_queue_signal(kit.queue, &second.op), GB_OP_PENDING);
    atomic_store(&second.op.cancelled, 1); /* it has not begun */
    assert_int_equal(kit_op_wait(&second), GB_ECANCELED);
    atomic_store(&first.op.cancelled, 1);
    assert_int_equal(kit_op_wait(&first), GB_ECANCELED);
    gbi_command command;
    gb_launch shape = {.grid = {1000, 1, 1}, .block = {1, 1, 1}};
    gbi_command_launch(&command, slow, &shape);
    assert_int_equal(gbi_cpu_cost_ns(&command), 0);
    kit_op_fini(&first);
    kit_op_fini(&second);
    gb_queue_close(busy);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void globals_are_buffers(void **state)
{
    kit_engine kit;
    kit_engine_open(&kit, 1, 1, 0);
    gb_buffer *numbers = NULL;
    gb_param type;
    int got[4] = {0};
    assert_int_equal(gb_module_global(kit.module, "numbers", &numbers, &type), 0);
    assert_int_equal(gb_buffer_bytes(numbers), 16);
    assert_string_equal(type.type, "int");
    gb_buffer_ref(numbers); /* keeps the module */
    gb_queue_download(kit.queue, got, numbers, 0, 16);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    assert_int_equal(got[3], 4);
    gb_buffer_unref(numbers);
    assert_int_equal(gb_module_global(kit.module, "number", &numbers, &type), GB_ENOENT);
    assert_non_null(strstr(gb_err_detail(), "'numbers'"));
    kit_engine_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saxpy_end_to_end),
        cmocka_unit_test(small_launches_become_inline),
        cmocka_unit_test(commands_run_in_order),
        cmocka_unit_test(closing_a_queue_runs_what_is_queued),
        cmocka_unit_test(many_queues_wait_for_each_other),
        cmocka_unit_test(large_copies_and_fills),
        cmocka_unit_test(wrong_calls_are_refused),
        cmocka_unit_test(cancelling_stops_a_launch),
        cmocka_unit_test(cancelled_launches_teach_nothing),
        cmocka_unit_test(globals_are_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
