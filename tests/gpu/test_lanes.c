/* Graphs on several queues of the cpu backend: stages that need each other to run at the same time
 * meet, what waits for both comes after them, errors and memory are those of one queue. */
#include "kit_engine.h"

#include "base/err.h"
#include "gpu/front.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* meet writes through a pointer to const: a graph sees two stages that only read in common. It
 * gives up after about a second, so a run that does not overlap ends too. */
static const char source[] =
    "extern \"C\" __global__ void meet(const int *flags, int own, int other, int *met)\n"
    "{\n"
    "    volatile int *all = (volatile int *)flags;\n"
    "    all[own] = 1;\n"
    "    for (int i = 0; i < 400000000 && !all[other]; i++) {\n"
    "    }\n"
    "    *met = all[other];\n"
    "}\n"
    "extern \"C\" __global__ void both(const int *a, const int *b, int *out)\n"
    "{\n"
    "    *out = *a * 10 + *b;\n"
    "}\n"
    "extern \"C\" __global__ void tick(int *count)\n"
    "{\n"
    "    volatile int sum = 0;\n"
    "    for (int i = 0; i < 20000; i++) sum += i;\n"
    "    atomicAdd(count, 1);\n"
    "}\n"
    "extern \"C\" __global__ void last(int *x, int stop)\n"
    "{\n"
    "    volatile int sum = 0;\n"
    "    for (int i = 0; i < 20000000; i++) sum += i;\n"
    "    if (stop) __trap();\n"
    "    *x += 1;\n"
    "}\n";

typedef struct scene {
    gb_mem mem;
    gb_gpu *gpu;
    gb_device *device;
    gb_queue *queue;
    gb_module *module;
    gb_graph *graph;
    gb_buffer *flags, *a, *b, *out;
    int got;
} scene;

static gb_buffer *buffer(scene *s, size_t bytes)
{
    gb_buffer *out = NULL;
    assert_int_equal(gb_buffer_open(&out, s->device, bytes, GB_BUFFER_DEVICE), 0);
    return out;
}

static void open_scene(scene *s)
{
    memset(s, 0, sizeof *s);
    gb_mem_init(&s->mem, "lanes", NULL, 0);
    gb_gpu_config config = {.mem = &s->mem, .threads = 4};
    assert_int_equal(gb_gpu_open(&s->gpu, &config), 0);
    s->device = gb_gpu_device(s->gpu, gb_gpu_device_count(s->gpu) - 1);
    assert_int_equal(gb_queue_open(&s->queue, s->device), 0);
    gb_module_spec spec = {.name = "lanes.cu", .source = source, .source_bytes = sizeof source - 1};
    kit_op op;
    kit_op_init(&op);
    int rc = gb_module_open(&s->module, s->device, &spec, &op.op);
    if (rc == GB_OP_PENDING) rc = kit_op_wait(&op);
    if (rc < 0) fail_msg("%s", op.op.detail);
    kit_op_fini(&op);
    s->flags = buffer(s, 2 * sizeof(int));
    s->a = buffer(s, sizeof(int));
    s->b = buffer(s, sizeof(int));
    s->out = buffer(s, sizeof(int));
    assert_int_equal(gb_graph_open(&s->graph, s->device), 0);
}

static void close_scene(scene *s)
{
    gb_graph_close(s->graph);
    gb_buffer_unref(s->flags), gb_buffer_unref(s->a), gb_buffer_unref(s->b);
    gb_buffer_unref(s->out);
    gb_module_unref(s->module);
    gb_queue_close(s->queue);
    gb_gpu_close(s->gpu);
    gb_mem_fini(&s->mem);
}

static int add(scene *s, const char *name, int count, const gb_arg *args)
{
    gb_launch launch = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    int node = gb_graph_add_launch(s->graph, gb_module_kernel(s->module, name), &launch);
    assert_true(node >= 0);
    for (int i = 0; i < count; i++)
        assert_int_equal(gb_graph_set_param(s->graph, node, i, &args[i]), 0);
    return node;
}

static int queues(scene *s)
{
    gb_graph_stats stats;
    gb_graph_get_stats(s->graph, &stats);
    return stats.queues;
}

/* clear; two that meet; what both of them have seen; to the host */
static void add_meeting(scene *s)
{
    int zero = 0, one = 1;
    gb_place flags = {s->flags, 0, NULL}, from = {s->out, 0, NULL}, to = {NULL, 0, &s->got};
    int clear = gb_graph_add_fill(s->graph, &zero, sizeof zero, 2);
    assert_int_equal(gb_graph_set_to(s->graph, clear, &flags), 0);
    add(s, "meet", 4,
        (gb_arg[]){KIT_BUFFER(s->flags), KIT_VALUE(zero), KIT_VALUE(one), KIT_BUFFER(s->a)});
    add(s, "meet", 4,
        (gb_arg[]){KIT_BUFFER(s->flags), KIT_VALUE(one), KIT_VALUE(zero), KIT_BUFFER(s->b)});
    add(s, "both", 3, (gb_arg[]){KIT_BUFFER(s->a), KIT_BUFFER(s->b), KIT_BUFFER(s->out)});
    int down = gb_graph_add_copy(s->graph, sizeof(int));
    assert_int_equal(gb_graph_set_from(s->graph, down, &from), 0);
    assert_int_equal(gb_graph_set_to(s->graph, down, &to), 0);
}

/* The first run is in order on one queue, for nobody knows what it takes: the first of the two
 * waits in vain. From then on both are known to be long. Each run that meets makes them look
 * shorter; so one where they do not comes back now and then. */
static void stages_meet(void **state)
{
    scene s;
    int met = 0, alone = 0;
    open_scene(&s);
    add_meeting(&s);
    for (int i = 0; i < 8 || (met < 3 && i < 80); i++) {
        assert_int_equal(gb_queue_run(s.queue, s.graph), 0);
        int on = queues(&s);
        assert_int_equal(kit_finish(s.queue, NULL, 0), 0);
        if (on == 1) assert_int_equal(s.got, 1);
        met += s.got == 11; /* unless a thread got no core for all of that time */
        alone += on == 1;
    }
    assert_true(met >= 3);
    assert_true(alone >= 1);
    close_scene(&s);
}

static void add_long(scene *s, int stop)
{
    add(s, "last", 2, (gb_arg[]){KIT_BUFFER(s->a), KIT_VALUE(stop)});
    add(s, "last", 2, (gb_arg[]){KIT_BUFFER(s->b), KIT_VALUE(stop)});
}

/* The signal of the queue that was asked has the error of a side, and the next run is whole. */
static void a_side_traps(void **state)
{
    scene s;
    char text[400] = "";
    int go = 0, stop = 1, got;
    open_scene(&s);
    add_long(&s, go);
    assert_int_equal(gb_queue_run(s.queue, s.graph), 0);
    assert_int_equal(kit_finish(s.queue, NULL, 0), 0);
    for (int i = 0; i < 4; i++) {
        gb_arg how = i % 2 ? KIT_VALUE(go) : KIT_VALUE(stop);
        assert_int_equal(gb_graph_set_param(s.graph, 1, 1, &how), 0);
        assert_int_equal(gb_queue_run(s.queue, s.graph), 0);
        assert_int_equal(queues(&s), 2);
        assert_int_equal(kit_finish(s.queue, text, sizeof text), i % 2 ? 0 : GB_ETRAP);
        if (i % 2 == 0) assert_non_null(strstr(text, "last"));
    }
    assert_int_equal(gb_queue_download(s.queue, &got, s.b, 0, sizeof got), 0);
    assert_int_equal(kit_finish(s.queue, NULL, 0), 0);
    assert_int_equal(got, 3);
    close_scene(&s);
}

/* Cancelling what waits for the first queue stops what is under way on both. */
static void both_are_cancelled(void **state)
{
    enum { BLOCKS = 16000 }; /* seconds, so that it is cancelled on the way */
    scene s;
    kit_op op;
    open_scene(&s);
    gb_launch launch = {.grid = {BLOCKS, 1, 1}, .block = {1, 1, 1}};
    gb_arg args[2] = {KIT_BUFFER(s.a), KIT_BUFFER(s.b)};
    for (int i = 0; i < 2; i++) {
        int node = gb_graph_add_launch(s.graph, gb_module_kernel(s.module, "tick"), &launch);
        assert_int_equal(gb_graph_set_param(s.graph, node, 0, &args[i]), 0);
    }
    assert_int_equal(gb_queue_run(s.queue, s.graph), 0);
    assert_int_equal(kit_finish(s.queue, NULL, 0), 0);
    assert_int_equal(gb_queue_run(s.queue, s.graph), 0);
    assert_int_equal(queues(&s), 2);
    kit_op_init(&op);
    assert_int_equal(gb_queue_signal(s.queue, &op.op), GB_OP_PENDING);
    atomic_store(&op.op.cancelled, true);
    assert_int_equal(kit_op_wait(&op), GB_ECANCELED);
    kit_op_fini(&op);
    for (int i = 0; i < 2; i++) {
        int got = 0;
        assert_int_equal(gb_queue_download(s.queue, &got, args[i].buffer, 0, sizeof got), 0);
        assert_int_equal(kit_finish(s.queue, NULL, 0), 0);
        assert_true(got >= BLOCKS && got < 2 * BLOCKS);
    }
    close_scene(&s);
}

/* All is let go while both run. */
static void closed_on_the_way(void **state)
{
    scene s;
    int go = 0;
    open_scene(&s);
    add_long(&s, go);
    for (int i = 0; i < 3; i++) assert_int_equal(gb_queue_run(s.queue, s.graph), 0);
    assert_int_equal(kit_finish(s.queue, NULL, 0), 0);
    assert_int_equal(gb_queue_run(s.queue, s.graph), 0);
    assert_int_equal(queues(&s), 2);
    close_scene(&s);
}

/* Each allocation fails in turn: ENOMEM, or the run is whole; what was queued has ended when the
 * signal has. */
static void without_memory(void **state)
{
    scene s;
    int failed = 0, whole = 0;
    open_scene(&s);
    add_meeting(&s);
    assert_int_equal(gb_queue_run(s.queue, s.graph), 0);
    assert_int_equal(kit_finish(s.queue, NULL, 0), 0);
    for (int64_t n = 1; n <= 60 && whole < 3; n++) {
        gb_queue *queue;
        gb_graph *graph = s.graph;
        assert_int_equal(gb_graph_open(&s.graph, s.device), 0);
        assert_int_equal(gb_queue_open(&queue, s.device), 0);
        add_meeting(&s);
        s.gpu->room.fail_at = n;
        int rc = gb_queue_run(queue, s.graph);
        bool reached = s.gpu->room.fail_at <= 0;
        s.gpu->room.fail_at = 0;
        int end = kit_finish(queue, NULL, 0);
        assert_true(rc == 0 || rc == GB_ENOMEM);
        assert_true(end == 0 || end == GB_ENOMEM);
        failed += rc < 0 || end < 0;
        whole += !reached;
        gb_graph_close(s.graph);
        gb_queue_close(queue);
        s.graph = graph;
    }
    assert_true(failed > 3);
    assert_int_equal(whole, 3);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_meet),        cmocka_unit_test(a_side_traps),
        cmocka_unit_test(both_are_cancelled), cmocka_unit_test(closed_on_the_way),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
