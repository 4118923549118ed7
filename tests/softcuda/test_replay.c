/* A graph that outlives its context: the device is lost and reset, and what was built goes with it.
 */
#include "kit_case.h"
#include "kit_engine.h"

#include "base/err.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 64 };

static const char source[] = "extern \"C\" __global__ void fatal() { __trap(); }\n";

typedef struct scene {
    gb_mem mem;
    gb_gpu *gpu;
    gb_device *device;
    gb_queue *queue;
    gb_graph *graph;
    int up, down, in[N], out[N];
} scene;

static void open_scene(scene *s)
{
    memset(s, 0, sizeof *s);
    gb_mem_init(&s->mem, "replay", NULL, 0);
    gb_gpu_config config = {.mem = &s->mem, .owns_devices = true};
    assert_int_equal(gb_gpu_open(&s->gpu, &config), 0);
    s->device = gb_gpu_device(s->gpu, 0);
    assert_int_equal(gb_queue_open(&s->queue, s->device), 0);
    assert_int_equal(gb_graph_open(&s->graph, s->device), 0);
    s->up = gb_graph_add_copy(s->graph, sizeof s->in);
    s->down = gb_graph_add_copy(s->graph, sizeof s->out);
}

static void run(scene *s, gb_buffer *x)
{
    gb_place device = {x, 0, NULL}, in = {NULL, 0, s->in}, out = {NULL, 0, s->out};
    for (int i = 0; i < N; i++) s->in[i] += i;
    assert_int_equal(gb_graph_set_from(s->graph, s->up, &in), 0);
    assert_int_equal(gb_graph_set_to(s->graph, s->up, &device), 0);
    assert_int_equal(gb_graph_set_from(s->graph, s->down, &device), 0);
    assert_int_equal(gb_graph_set_to(s->graph, s->down, &out), 0);
    assert_int_equal(gb_queue_run(s->queue, s->graph), 0);
    assert_int_equal(kit_finish(s->queue, NULL, 0), 0);
    assert_memory_equal(s->out, s->in, sizeof s->in);
}

static void lose(scene *s)
{
    gb_module *module;
    gb_module_spec spec = {.name = "fatal.cu", .source = source, .source_bytes = sizeof source - 1};
    kit_op op;
    kit_op_init(&op);
    int rc = gb_module_open(&module, s->device, &spec, &op.op);
    if (rc == GB_OP_PENDING) rc = kit_op_wait(&op);
    if (rc < 0) fail_msg("%s", op.op.detail);
    kit_op_fini(&op);
    assert_int_equal(kit_launch(s->queue, gb_module_kernel(module, "fatal"), 1, 1, NULL, 0), 0);
    assert_int_equal(kit_finish(s->queue, NULL, 0), GB_ELOST);
    gb_module_unref(module);
    gb_queue_close(s->queue);
}

static void a_reset_device(void **state)
{
    scene s;
    gb_buffer *x;
    open_scene(&s);
    for (int round = 0; round < 2; round++) {
        int rc;
        while ((rc = gb_buffer_open(&x, s.device, sizeof s.in, GB_BUFFER_DEVICE)) == GB_ELOST)
            sched_yield();
        assert_int_equal(rc, 0);
        if (round > 0) assert_int_equal(gb_queue_open(&s.queue, s.device), 0);
        for (int i = 0; i < 5; i++) run(&s, x);
        if (round == 0) lose(&s);
        gb_buffer_unref(x);
    }
    gb_graph_stats stats;
    gb_graph_get_stats(s.graph, &stats);
    assert_int_equal(stats.runs, 10);
    assert_int_equal(stats.built, 2);
    assert_int_equal(stats.fallbacks, 2);
    assert_int_equal(stats.replays, 4 + 3);
    assert_non_null(strstr(stats.why, "reset"));
    gb_graph_close(s.graph);
    gb_queue_close(s.queue);
    gb_gpu_close(s.gpu);
    gb_mem_fini(&s.mem);
}

int main(void)
{
    kit_case_use_softcuda();
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_reset_device)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
