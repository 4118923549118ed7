/* Graphs of the software driver: what the driver's documents promise of building, updating and
 * launching them, and that nothing else holds. */
#include "kit_soft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 256 };

static const char source[] =
    "extern \"C\" __global__ void add(int *at, int what) { at[threadIdx.x] += what; }\n"
    "extern \"C\" __global__ void multiply(int *at, int what) { at[threadIdx.x] *= what; }\n"
    "extern \"C\" __global__ void note(int *log, int id) { log[1 + atomicAdd(log, 1)] = id; }\n";

typedef struct scene {
    kit_soft kit;
    gb_cu_module module;
    gb_cu_function add, multiply, note;
    gb_cu_memory x;
    gb_cu_stream stream;
    gb_cu_graph graph;
    gb_cu_exec exec;
} scene;

static void open_scene(scene *s)
{
    memset(s, 0, sizeof *s);
    kit_soft_open(&s->kit);
    s->module = kit_soft_module(&s->kit, source);
    s->add = kit_soft_function(&s->kit, s->module, "add");
    s->multiply = kit_soft_function(&s->kit, s->module, "multiply");
    s->note = kit_soft_function(&s->kit, s->module, "note");
    s->x = kit_soft_alloc(&s->kit, N * sizeof(int));
    assert_int_equal(s->kit.api.cuStreamCreate(&s->stream, GB_CU_STREAM_NON_BLOCKING), 0);
    assert_int_equal(s->kit.api.cuGraphCreate(&s->graph, 0), 0);
}

static void close_scene(scene *s)
{
    assert_int_equal(s->kit.api.cuStreamSynchronize(s->stream), 0);
    if (s->exec) assert_int_equal(s->kit.api.cuGraphExecDestroy(s->exec), 0);
    if (s->graph) assert_int_equal(s->kit.api.cuGraphDestroy(s->graph), 0);
    assert_int_equal(s->kit.api.cuStreamDestroy(s->stream), 0);
    assert_int_equal(s->kit.api.cuMemFree(s->x), 0);
    assert_int_equal(s->kit.api.cuModuleUnload(s->module), 0);
    kit_soft_close(&s->kit);
}

static gb_cu_kernel_node launch_of(gb_cu_function function, unsigned threads, void **params)
{
    return (gb_cu_kernel_node){.func = function,
                               .gridDimX = 1,
                               .gridDimY = 1,
                               .gridDimZ = 1,
                               .blockDimX = threads,
                               .blockDimY = 1,
                               .blockDimZ = 1,
                               .kernelParams = params};
}

static gb_cu_node add_launch(scene *s, gb_cu_function function, unsigned threads, void **params,
                             const gb_cu_node *after)
{
    gb_cu_node out = NULL;
    gb_cu_kernel_node node = launch_of(function, threads, params);
    assert_int_equal(s->kit.api.cuGraphAddKernelNode(&out, s->graph, after, after != NULL, &node),
                     0);
    return out;
}

static gb_cu_copy_node copy_of(gb_cu_memory to, gb_cu_memory from, size_t bytes)
{
    return (gb_cu_copy_node){.srcMemoryType = GB_CU_MEMORY_UNIFIED,
                             .srcDevice = from,
                             .dstMemoryType = GB_CU_MEMORY_UNIFIED,
                             .dstDevice = to,
                             .WidthInBytes = bytes,
                             .Height = 1,
                             .Depth = 1};
}

static void instantiate(scene *s)
{
    assert_int_equal(s->kit.api.cuGraphInstantiate(&s->exec, s->graph, 0), 0);
}

static void launch(scene *s)
{
    assert_int_equal(s->kit.api.cuGraphLaunch(s->exec, s->stream), 0);
}

static int first_of(scene *s)
{
    int got[N];
    assert_int_equal(s->kit.api.cuStreamSynchronize(s->stream), 0);
    kit_soft_read(&s->kit, got, s->x, sizeof got);
    return got[0];
}

static void clear(scene *s)
{
    assert_int_equal(s->kit.api.cuMemsetD32Async(s->x, 0, N, s->stream), 0);
}

/* Without an edge either may come first; with one the other way never happens. */
static void edges_order_and_nothing_else(void **state)
{
    for (int edge = 0; edge < 2; edge++) {
        scene s;
        int one = 1, two = 2, seen[2] = {0, 0}, got[3];
        open_scene(&s);
        void *first[] = {&s.x, &one}, *second[] = {&s.x, &two};
        gb_cu_node before = add_launch(&s, s.note, 1, first, NULL);
        add_launch(&s, s.note, 1, second, edge ? &before : NULL);
        instantiate(&s);
        for (int i = 0; i < 40; i++) {
            clear(&s);
            launch(&s);
            assert_int_equal(s.kit.api.cuStreamSynchronize(s.stream), 0);
            kit_soft_read(&s.kit, got, s.x, sizeof got);
            assert_int_equal(got[0], 2);
            seen[got[1] == 2]++;
        }
        assert_true(seen[0] > 0);
        assert_true(edge ? seen[1] == 0 : seen[1] > 0);
        close_scene(&s);
    }
}

/* Launches of one executable graph run one after the other, each with what was set before it, also
 * when the earlier ones have not begun and though they are in different streams. */
static void updates_are_for_later_launches(void **state)
{
    scene s;
    gb_cu_stream other;
    open_scene(&s);
    assert_int_equal(s.kit.api.cuStreamCreate(&other, GB_CU_STREAM_NON_BLOCKING), 0);
    clear(&s);
    assert_int_equal(s.kit.api.cuStreamSynchronize(s.stream), 0);
    int what = 3;
    void *params[] = {&s.x, &what};
    gb_cu_node first = add_launch(&s, s.multiply, N, params, NULL);
    gb_cu_node second = add_launch(&s, s.add, N, params, &first);
    instantiate(&s);
    int want = 0;
    for (what = 1; what < 12; what++) {
        gb_cu_kernel_node now = launch_of(s.add, N, params);
        assert_int_equal(s.kit.api.cuGraphExecKernelNodeSetParams(s.exec, second, &now), 0);
        assert_int_equal(s.kit.api.cuGraphLaunch(s.exec, what % 2 ? s.stream : other), 0);
        want = want * 3 + what;
    }
    assert_int_equal(s.kit.api.cuStreamSynchronize(other), 0);
    assert_int_equal(first_of(&s), want);
    assert_int_equal(s.kit.api.cuStreamDestroy(other), 0);
    close_scene(&s);
}

/* The graph and the executable one may be destroyed while a launch is under way. */
static void destroyed_on_the_way(void **state)
{
    scene s;
    int one = 1;
    open_scene(&s);
    clear(&s);
    void *params[] = {&s.x, &one};
    add_launch(&s, s.add, N, params, NULL);
    instantiate(&s);
    for (int i = 0; i < 5; i++) launch(&s);
    assert_int_equal(s.kit.api.cuGraphDestroy(s.graph), 0);
    assert_int_equal(s.kit.api.cuGraphExecDestroy(s.exec), 0);
    int before = s.kit.misuses();
    assert_int_equal(s.kit.api.cuGraphLaunch(s.exec, s.stream), GB_CU_INVALID_HANDLE);
    assert_int_equal(s.kit.misuses(), before + 1);
    s.graph = NULL;
    s.exec = NULL;
    assert_int_equal(first_of(&s), 5);
    close_scene(&s);
}

/* What an update may not change, and nodes that are not of this graph. */
static void refusals(void **state)
{
    scene s;
    int one = 1;
    void *host = NULL;
    gb_cu_node node, none = NULL;
    gb_cu_graph second;
    open_scene(&s);
    const gb_cuda_api *api = &s.kit.api;
    clear(&s);
    void *params[] = {&s.x, &one};
    assert_int_equal(api->cuMemHostAlloc(&host, N * sizeof(int), GB_CU_HOST_PORTABLE), 0);
    memset(host, 0, N * sizeof(int));
    gb_cu_memory pinned = kit_soft_host(host), half = s.x + N / 2 * sizeof(int);
    gb_cu_node kernel = add_launch(&s, s.add, N, params, NULL);
    gb_cu_copy_node copy = copy_of(s.x, half, 64), wrong = copy_of(s.x, pinned, 64);
    gb_cu_fill_node fill = {.dst = s.x, .elementSize = 4, .width = 1, .height = 1};
    assert_int_equal(api->cuGraphAddMemcpyNode(&node, s.graph, NULL, 0, &copy, s.kit.context), 0);
    instantiate(&s);
    gb_cu_kernel_node again = launch_of(s.add, N, params), large = launch_of(s.add, 4096, params);
    assert_int_equal(api->cuGraphExecKernelNodeSetParams(s.exec, node, &again),
                     GB_CU_INVALID_VALUE); /* a copy is no launch */
    assert_int_equal(api->cuGraphExecMemsetNodeSetParams(s.exec, kernel, &fill, s.kit.context),
                     GB_CU_INVALID_VALUE);
    assert_int_equal(api->cuGraphExecKernelNodeSetParams(s.exec, kernel, &large),
                     GB_CU_INVALID_VALUE);
    assert_int_equal(api->cuGraphExecMemcpyNodeSetParams(s.exec, node, &wrong, s.kit.context),
                     GB_CU_INVALID_VALUE); /* from another kind of memory */
    copy.WidthInBytes = 0;
    assert_int_equal(api->cuGraphExecMemcpyNodeSetParams(s.exec, node, &copy, s.kit.context),
                     GB_CU_INVALID_VALUE);
    copy.WidthInBytes = 32;
    assert_int_equal(api->cuGraphExecMemcpyNodeSetParams(s.exec, node, &copy, s.kit.context), 0);
    assert_int_equal(api->cuGraphCreate(&second, 0), 0);
    assert_int_equal(api->cuGraphAddKernelNode(&none, second, &kernel, 1, &again),
                     GB_CU_INVALID_VALUE); /* it waits for a node of the first */
    assert_int_equal(api->cuGraphAddKernelNode(&none, second, NULL, 0, &again), 0);
    assert_int_equal(api->cuGraphExecKernelNodeSetParams(s.exec, none, &again),
                     GB_CU_INVALID_VALUE);
    assert_int_equal(api->cuGraphDestroy(second), 0);
    launch(&s); /* as it was */
    assert_int_equal(first_of(&s), 1);
    assert_int_equal(api->cuMemFreeHost(host), 0);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_order_and_nothing_else),
        cmocka_unit_test(updates_are_for_later_launches),
        cmocka_unit_test(destroyed_on_the_way),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
