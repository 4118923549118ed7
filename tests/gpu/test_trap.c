/* Faults, assertions, deadlocks, overflows, runaways: the launch fails, everything else goes on. */
#include "kit_engine.h"

#include "base/err.h"
#include "gpu/cpu_pool.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT = 1024 };
static const uint64_t BOUND_NS = 20000000;
static const uint64_t IN_IT_NS = 2000000000; /* by then a thread is in the launch */

static gb_buffer *device_buffer(kit_engine *kit, size_t bytes)
{
    gb_buffer *buffer = NULL;
    assert_int_equal(gb_buffer_open(&buffer, kit->device, bytes, GB_BUFFER_DEVICE), 0);
    return buffer;
}

/* Later launches work. */
static void assert_works(kit_engine *kit, gb_buffer *data)
{
    int64_t index = 3;
    int value = 77, got = 0;
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(index), KIT_VALUE(value)};
    assert_int_equal(kit_launch(kit->queue, kit_engine_kernel(kit, "poke"), 4, 32, args, 3), 0);
    assert_int_equal(gb_queue_download(kit->queue, &got, data, 12, 4), 0);
    assert_int_equal(kit_finish(kit->queue, NULL, 0), 0);
    assert_int_equal(got, 77);
}

static void poke(kit_engine *kit, gb_buffer *data, int64_t index, char *text)
{
    int value = 1;
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(index), KIT_VALUE(value)};
    assert_int_equal(kit_launch(kit->queue, kit_engine_kernel(kit, "poke"), 1, 8, args, 3), 0);
    assert_int_equal(kit_finish(kit->queue, text, TEXT), GB_ETRAP);
}

static void a_wild_write(void **state)
{
    kit_engine kit;
    char text[TEXT];
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 1000);
    poke(&kit, data, -(INT64_C(1) << 40), text);
    assert_non_null(strstr(text, "kernel 'poke' trapped: invalid memory access (address 0x"));
    assert_non_null(strstr(text, "in block (0,0,0), thread (7,0,0)"));
    poke(&kit, data, INT64_C(1) << 60, text);
    assert_works(&kit, data);
    for (int i = 0; i < 20; i++) poke(&kit, data, 256, text); /* the line after the last one */
    poke(&kit, data, -1024, text);                            /* before the first page */
    assert_works(&kit, data);
    gb_buffer *large = device_buffer(&kit, 3 << 20);
    poke(&kit, large, (3 << 20) / 4, text);
    poke(&kit, large, -1024, text);
    assert_works(&kit, large);
    gb_buffer_unref(data);
    gb_buffer_unref(large);
    kit_engine_close(&kit);
}

static void a_fault_on_the_calling_thread(void **state)
{
    kit_engine kit;
    char text[TEXT];
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 1000);
    for (int i = 0; i < 20; i++) assert_works(&kit, data);
    int64_t index = INT64_C(1) << 42;
    int value = 77;
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(index), KIT_VALUE(value)};
    assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "poke"), 4, 32, args, 3), 0);
    assert_int_equal(kit_finish(kit.queue, text, TEXT), GB_ETRAP);
    assert_non_null(strstr(text, "invalid memory access"));
    assert_works(&kit, data);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void what_follows_a_fault_is_not_run(void **state)
{
    kit_engine kit;
    char text[TEXT];
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 1000);
    int64_t index = INT64_C(1) << 42;
    int value = 77, got = -1;
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(index), KIT_VALUE(value)};
    assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "poke"), 4, 32, args, 3), 0);
    assert_int_equal(gb_queue_download(kit.queue, &got, data, 0, 4), 0);
    assert_int_equal(kit_finish(kit.queue, text, TEXT), GB_ETRAP);
    assert_int_equal(got, -1);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void division_and_assertion(void **state)
{
    kit_engine kit;
    char text[TEXT];
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 1000);
    int by = 0;
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(by)};
    assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "divide"), 1, 8, args, 2), 0);
    assert_int_equal(kit_finish(kit.queue, text, TEXT), GB_ETRAP);
#if defined(__x86_64__)
    assert_non_null(strstr(text, "kernel 'divide' trapped: integer division by zero"));
#endif
    assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "assert"), 2, 8, args, 2), 0);
    assert_int_equal(kit_finish(kit.queue, text, TEXT), GB_ETRAP);
    assert_non_null(strstr(text, "kernel 'assert' trapped: data.cu:7: assertion"));
    assert_non_null(strstr(text, ", thread (0,0,0)"));
    assert_works(&kit, data);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void faults_among_fibers(void **state)
{
    kit_engine kit;
    char text[TEXT];
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 4096);
    gb_arg args[] = {KIT_BUFFER(data)};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            kit_launch(kit.queue, kit_engine_kernel(&kit, "sync_fault"), 4, 64, args, 1), 0);
        assert_int_equal(kit_finish(kit.queue, text, TEXT), GB_ETRAP);
        assert_non_null(strstr(text, "(address 0x8) in block"));
        assert_non_null(strstr(text, "thread (5,0,0)"));
        assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "stuck"), 1, 64, NULL, 0),
                         0);
        assert_int_equal(kit_finish(kit.queue, text, TEXT), GB_ETRAP);
        assert_non_null(strstr(text, "deadlock: 32 threads wait at __syncthreads and 32 in warp"));
    }
    int rounds = 3;
    float in[256], got[256];
    for (int i = 0; i < 256; i++) in[i] = (float)i;
    gb_arg reverse[] = {KIT_BUFFER(data), KIT_VALUE(rounds)};
    assert_int_equal(gb_queue_upload(kit.queue, data, 0, in, sizeof in), 0);
    assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "reverse"), 4, 64, reverse, 2),
                     0);
    assert_int_equal(gb_queue_download(kit.queue, got, data, 0, sizeof got), 0);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    for (int i = 0; i < 256; i++) assert_true(got[i] == (float)(i / 64 * 64 + 63 - i % 64));
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void a_stack_overflow(void **state)
{
    kit_engine kit;
    char text[TEXT];
    kit_engine_open(&kit, 1, 1, 0);
    gb_buffer *data = device_buffer(&kit, 64);
    int depth = 1 << 20;
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(depth)};
    assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "overflow"), 1, 8, args, 2), 0);
    assert_int_equal(kit_finish(kit.queue, text, TEXT), GB_ETRAP);
    assert_non_null(strstr(text, "stack"));
    assert_non_null(strstr(text, "thread (3,0,0)"));
    depth = 20;
    assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "overflow"), 1, 8, args, 2), 0);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static int launch_bounded(kit_engine *kit, const char *name, uint32_t grid, gb_buffer *data,
                          uint64_t bound_ns)
{
    gb_launch launch = {.grid = {grid, 1, 1}, .block = {1, 1, 1}, .bound_ns = bound_ns};
    gb_arg args[] = {KIT_BUFFER(data)};
    return gb_queue_launch(kit->queue, kit_engine_kernel(kit, name), &launch, args, 1);
}

static void a_long_launch_is_stopped_at_its_bound(void **state)
{
    kit_engine kit;
    char text[TEXT];
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 1000);
    assert_int_equal(launch_bounded(&kit, "slow", 200000, data, 20000000), 0);
    assert_int_equal(kit_finish(kit.queue, text, TEXT), GB_ETIMEDOUT);
    assert_non_null(strstr(text, "kernel 'slow' is a runaway: it ran past its bound of 0.02 s"));
    assert_works(&kit, data);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void a_runaway_that_comes_back(void **state)
{
    kit_engine kit;
    char text[TEXT];
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 1000), *other = device_buffer(&kit, 1000);
    pthread_mutex_lock(&kit_held);
    assert_int_equal(launch_bounded(&kit, "endless", 1, data, IN_IT_NS), 0);
    assert_int_equal(kit_finish(kit.queue, text, TEXT), GB_ETIMEDOUT);
    assert_non_null(strstr(text, "its thread and buffers are given up"));
    for (int i = 0; i < 5; i++) assert_works(&kit, other);
    gb_buffer_unref(data); /* still held by the runaway */
    gb_device_info info;
    gb_device_get_info(kit.device, &info);
    assert_int_equal(info.memory_total - info.memory_free, 2 * 1024); /* blocks of 1 KB */
    pthread_mutex_unlock(&kit_held);
    do { /* nothing tells when it is out; it comes out */
        gb_device_get_info(kit.device, &info);
    } while (info.memory_total - info.memory_free != 1024);
    gb_buffer_unref(other);
    kit_engine_close(&kit);
}

static void launch_spin(kit_engine *kit, gb_buffer *data, int by, uint64_t bound_ns)
{
    gb_launch launch = {.grid = {1, 1, 1}, .block = {1, 1, 1}, .bound_ns = bound_ns};
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(by)};
    assert_int_equal(gb_queue_launch(kit->queue, kit_engine_kernel(kit, "spin"), &launch, args, 2),
                     0);
}

static const char runaway_text[] = "kernel 'spin' is a runaway: it ran past its bound of 0.02 s";

/* Nothing is given up: the pool is whole and the buffers are free. */
static void what_never_ends_is_left(void **state)
{
    kit_engine kit;
    char text[TEXT];
    kit_engine_open(&kit, 1, 1, 0);
    gb_buffer *other = device_buffer(&kit, 1000);
    for (int i = 0; i < 3; i++) {
        gb_buffer *data = device_buffer(&kit, 1000);
        launch_spin(&kit, data, 1, BOUND_NS);
        assert_int_equal(kit_finish(kit.queue, text, TEXT), GB_ETIMEDOUT);
        assert_string_equal(text, runaway_text);
        gb_buffer_unref(data);
        for (int k = 0; k < 5; k++) assert_works(&kit, other);
    }
    gb_buffer_unref(other);
    kit_engine_close(&kit);
}

/* After a thousand short runs on the calling thread; then the next goes to the pool. */
static void what_never_ends_here(uint64_t bound_ns, uint64_t patience_ns, const char *expected)
{
    kit_engine kit;
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 1000);
    kit_op op;
    int rc = GB_OP_PENDING;
    /* where threads lose their cores a short run may have been seen to take long */
    for (int round = 0; round < 100 && rc == GB_OP_PENDING; round++) {
        gb_queue_set_patience(kit.queue, 0);
        for (int i = 0; i < 1000; i++) {
            launch_spin(&kit, data, 0, 0);
            assert_int_equal(kit_finish(kit.queue, NULL, 0), 0);
        }
        gb_queue_set_patience(kit.queue, patience_ns);
        if (round) kit_op_fini(&op);
        kit_op_init(&op);
        launch_spin(&kit, data, 1, bound_ns);
        rc = gb_queue_signal(kit.queue, &op.op);
        if (rc == GB_OP_PENDING) kit_op_wait(&op);
    }
    assert_int_equal(rc, GB_ETIMEDOUT); /* it ran here */
    assert_non_null(strstr(op.op.detail, expected));
    kit_op_fini(&op);
    gb_queue_set_patience(kit.queue, 0);
    assert_works(&kit, data);
    kit_op_init(&op);
    launch_spin(&kit, data, 1, BOUND_NS);
    assert_int_equal(gb_queue_signal(kit.queue, &op.op), GB_OP_PENDING); /* on the pool */
    assert_int_equal(kit_op_wait(&op), GB_ETIMEDOUT);
    assert_string_equal(op.op.detail, runaway_text);
    kit_op_fini(&op);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void a_caller_is_freed_at_the_bound(void **state)
{
    what_never_ends_here(BOUND_NS, 0, runaway_text);
    what_never_ends_here(BOUND_NS, 1000 * BOUND_NS, runaway_text);
}

static void a_caller_is_freed_when_its_patience_ends(void **state)
{
    what_never_ends_here(1000 * BOUND_NS, BOUND_NS, "kernel 'spin' was ended after 0.");
}

/* It has learned that the launch takes long and a chunk of it does not, so it helps; and comes out
 * of its chunk when its patience ends, however long the launch goes on. */
static void who_helps_is_freed_when_its_patience_ends(void **state)
{
    enum { BLOCKS = 20000 };
    kit_engine kit;
    char text[TEXT];
    int by = 0, did = GB_HELP_NONE;
    kit_engine_open(&kit, 2, 1, 0);
    gb_queue_attend(kit.queue);
    gb_queue_set_patience(kit.queue, BOUND_NS);
    gb_buffer *data = device_buffer(&kit, 1000);
    gb_launch launch = {.grid = {BLOCKS, 1, 1}, .block = {1, 1, 1}, .bound_ns = 100 * BOUND_NS};
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(by)};
    gb_kernel *kernel = kit_engine_kernel(&kit, "spin");
    /* where threads lose their cores a chunk may have been seen to take long */
    for (int round = 0; round < 1000 && did == GB_HELP_NONE; round++) {
        by = round % 10 == 9;
        uint64_t start = gbi_now_ns();
        assert_int_equal(gb_queue_launch(kit.queue, kernel, &launch, args, 2), 0);
        if (by) did = gb_gpu_help(kit.gpu);
        if (did == GB_HELP_DONE) assert_true(gbi_now_ns() - start < 75 * BOUND_NS);
        assert_int_equal(kit_finish(kit.queue, text, TEXT), by ? GB_ETIMEDOUT : 0);
    }
    assert_int_equal(did, GB_HELP_DONE);
    assert_non_null(strstr(text, "kernel 'spin' was ended after 0."));
    gb_queue_set_patience(kit.queue, 0);
    assert_works(&kit, data);
    gb_buffer_unref(data);
    kit_engine_close(&kit);
}

static void must_succeed(void (*child_main)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) child_main();
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void close_beside_a_runaway(void)
{
    kit_engine kit;
    kit_engine_open(&kit, 2, 1, 0);
    gb_buffer *data = device_buffer(&kit, 1000);
    pthread_mutex_lock(&kit_held);
    launch_bounded(&kit, "endless", 1, data, IN_IT_NS);
    gb_buffer_unref(data);
    kit_engine_close_lost(&kit);
    _exit(kit_endless_runs == 1 ? 0 : 3);
}

/* In a child: what a runaway leaves behind is a leak by design. */
static void closing_does_not_wait_for_a_runaway(void **state)
{
    must_succeed(close_beside_a_runaway);
}

/* A fault that is not ours goes where it went before. */
static sigjmp_buf outside;

static void on_outside(int signal)
{
    siglongjmp(outside, 1);
}

_Noreturn static void fault_outside(void)
{
    if (sigsetjmp(outside, 1) == 0) {
        *(volatile int *)(kit_nowhere + 16) = 1;
        _exit(1);
    }
    _exit(0);
}

static void handler_of_before(void)
{
    kit_engine kit;
    signal(SIGSEGV, on_outside);
    kit_engine_open(&kit, 1, 1, 0);
    gb_buffer *data = device_buffer(&kit, 1000);
    assert_works(&kit, data);
    fault_outside();
}

static void other_faults_are_passed_on(void **state)
{
    must_succeed(handler_of_before);
}

static void handler_of_later(void)
{
    kit_engine kit;
    int64_t index = -(INT64_C(1) << 40);
    int value = 1;
    kit_engine_open(&kit, 1, 1, 0);
    gb_buffer *data = device_buffer(&kit, 1000);
    assert_works(&kit, data); /* the pool's thread has run one */
    signal(SIGSEGV, on_outside);
    gb_arg args[] = {KIT_BUFFER(data), KIT_VALUE(index), KIT_VALUE(value)};
    assert_int_equal(kit_launch(kit.queue, kit_engine_kernel(&kit, "poke"), 4096, 256, args, 3), 0);
    assert_int_equal(kit_finish(kit.queue, NULL, 0), GB_ETRAP);
    fault_outside();
}

static void handlers_are_taken_back(void **state)
{
    must_succeed(handler_of_later);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_faults_are_passed_on), /* first: it forks before handlers exist */
        cmocka_unit_test(handlers_are_taken_back),
        cmocka_unit_test(closing_does_not_wait_for_a_runaway),
        cmocka_unit_test(a_wild_write),
        cmocka_unit_test(a_fault_on_the_calling_thread),
        cmocka_unit_test(what_follows_a_fault_is_not_run),
        cmocka_unit_test(division_and_assertion),
        cmocka_unit_test(faults_among_fibers),
        cmocka_unit_test(a_stack_overflow),
        cmocka_unit_test(a_long_launch_is_stopped_at_its_bound),
        cmocka_unit_test(a_runaway_that_comes_back),
        cmocka_unit_test(what_never_ends_is_left),
        cmocka_unit_test(a_caller_is_freed_at_the_bound),
        cmocka_unit_test(a_caller_is_freed_when_its_patience_ends),
        cmocka_unit_test(who_helps_is_freed_when_its_patience_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
