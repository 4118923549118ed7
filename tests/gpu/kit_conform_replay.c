/* Graphs that a backend hands to its driver: what is not part of it, memory bound under two names,
 * what may run at the same time, and what goes away while a replay is under way. */
#include "kit_conform.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 1000, RUNS = 40 };

/* note writes where it says that it only reads: its order against others is not forced. */
static const char source[] = "extern \"C\" __global__ void add(const int *x, int *y, int n)\n"
                             "{\n"
                             "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                             "    if (i < n) y[i] += x[i];\n"
                             "}\n"
                             "extern \"C\" __global__ void note(const int *log, int id)\n"
                             "{\n"
                             "    int *all = (int *)log;\n"
                             "    if (threadIdx.x == 0) all[1 + atomicAdd(all, 1)] = id;\n"
                             "}\n";

static const char shared_source[] =
    "__device__ int state = 0;\n"
    "extern \"C\" __global__ void set(int to) { state = to; }\n"
    "extern \"C\" __global__ void get(int *out) { *out = state; }\n";

static gb_module *compile(conform *c, const char *text)
{
    char why[4096] = "";
    gb_module *module = NULL;
    int rc = conform_compile(c, "replay.cu", text, NULL, NULL, &module, why, sizeof why);
    if (rc < 0) fail_msg("%s", why);
    return module;
}

static int add_launch(gb_graph *graph, gb_module *module, const char *name, uint32_t blocks)
{
    gb_launch launch = {.grid = {blocks, 1, 1}, .block = {64, 1, 1}};
    int node = gb_graph_add_launch(graph, gb_module_kernel(module, name), &launch);
    assert_true(node >= 0);
    return node;
}

static void set(gb_graph *graph, int node, int param, gb_arg arg)
{
    assert_int_equal(gb_graph_set_param(graph, node, param, &arg), 0);
}

static void set_ends(gb_graph *graph, int node, gb_place to, gb_place from)
{
    assert_int_equal(gb_graph_set_to(graph, node, &to), 0);
    assert_int_equal(gb_graph_set_from(graph, node, &from), 0);
}

static gb_place at(gb_buffer *buffer)
{
    return (gb_place){buffer, 0, NULL};
}

static gb_place host(void *memory)
{
    return (gb_place){NULL, 0, memory};
}

static gb_graph_stats stats_of(gb_graph *graph)
{
    gb_graph_stats out;
    gb_graph_get_stats(graph, &out);
    return out;
}

static void run(conform *c, gb_graph *graph)
{
    assert_int_equal(gb_queue_run(c->queue, graph), 0);
    assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
}

/* Large copies and a fill by six bytes are commands of their own, before, between and behind; a
 * download that a later upload reads has to land first. */
void conform_graph_parts(conform *c)
{
    enum { MANY = 100000 };
    int n = MANY, *in = malloc(MANY * sizeof(int)), *out = malloc(MANY * sizeof(int));
    int small[64], landed[64] = {0};
    unsigned char six[6] = {1, 2, 3, 4, 5, 6};
    gb_module *module = compile(c, source);
    gb_graph *graph;
    assert_int_equal(gb_graph_open(&graph, c->device), 0);
    gb_buffer *x = conform_buffer(c, NULL, MANY * sizeof(int));
    gb_buffer *y = conform_buffer(c, NULL, MANY * sizeof(int));
    gb_buffer *z = conform_buffer(c, NULL, sizeof small);
    int zero = 0;
    int clear = gb_graph_add_fill(graph, &zero, 4, MANY);
    int first = add_launch(graph, module, "add", (MANY + 63) / 64);
    int up = gb_graph_add_copy(graph, MANY * sizeof(int));
    int second = add_launch(graph, module, "add", (MANY + 63) / 64);
    int middle = gb_graph_add_copy(graph, MANY * sizeof(int));
    int third = add_launch(graph, module, "add", (MANY + 63) / 64);
    int odd = gb_graph_add_fill(graph, six, 6, 10);
    int down = gb_graph_add_copy(graph, sizeof small);
    int again = gb_graph_add_copy(graph, sizeof small);
    int last = gb_graph_add_copy(graph, sizeof small);
    gb_buffer *bytes = conform_buffer(c, NULL, 60);
    gb_place to = at(y);
    assert_int_equal(gb_graph_set_to(graph, clear, &to), 0);
    to = at(bytes);
    assert_int_equal(gb_graph_set_to(graph, odd, &to), 0);
    for (int i = 0; i < 3; i++) {
        int node = i == 0 ? first : i == 1 ? second : third;
        set(graph, node, 0, KIT_BUFFER(x));
        set(graph, node, 1, KIT_BUFFER(y));
        set(graph, node, 2, KIT_VALUE(n));
    }
    set_ends(graph, up, at(x), host(in));
    set_ends(graph, middle, host(out), at(y));
    set_ends(graph, down, host(small), at(y));
    set_ends(graph, again, at(z), host(small));
    set_ends(graph, last, host(landed), at(z));
    for (int i = 0; i < MANY; i++) in[i] = i;
    for (int k = 0; k < 5; k++) {
        memset(out, 0, MANY * sizeof(int));
        memset(landed, 0, sizeof landed);
        run(c, graph);
        for (int i = 0; i < MANY && k > 0; i++) assert_int_equal(out[i], 2 * i);
        for (int i = 0; i < 64 && k > 0; i++) assert_int_equal(landed[i], 3 * i);
    }
    gb_graph_stats stats = stats_of(graph);
    assert_int_equal(stats.fallbacks, 0);
    if (conform_replays(c)) assert_true(stats.replays >= 4);
    unsigned char got[60];
    conform_read(c, bytes, got, sizeof got);
    assert_memory_equal(got + 54, six, 6);
    gb_graph_close(graph);
    gb_buffer_unref(x), gb_buffer_unref(y), gb_buffer_unref(z), gb_buffer_unref(bytes);
    gb_module_unref(module);
    free(in);
    free(out);
}

/* y += x; z += y with y and z the same, then others, then the same: the order that was built for
 * one is not used for the other. */
void conform_graph_aliases(conform *c)
{
    int n = N, one[N], got[N];
    gb_module *module = compile(c, source);
    gb_graph *graph;
    assert_int_equal(gb_graph_open(&graph, c->device), 0);
    for (int i = 0; i < N; i++) one[i] = 1;
    gb_buffer *a = conform_buffer(c, one, sizeof one), *b = conform_buffer(c, one, sizeof one);
    gb_buffer *d = conform_buffer(c, one, sizeof one), *e = conform_buffer(c, one, sizeof one);
    int first = add_launch(graph, module, "add", 16), second = add_launch(graph, module, "add", 16);
    set(graph, first, 0, KIT_BUFFER(a));
    set(graph, first, 1, KIT_BUFFER(b));
    set(graph, first, 2, KIT_VALUE(n));
    set(graph, second, 2, KIT_VALUE(n));
    int b_now = 1, e_now = 1, edges[2];
    for (int i = 0; i < RUNS; i++) {
        bool same = i / 3 % 2; /* reads b, which the first writes */
        set(graph, second, 0, same ? KIT_BUFFER(b) : KIT_BUFFER(d));
        set(graph, second, 1, KIT_BUFFER(e));
        assert_int_equal(gb_queue_run(c->queue, graph), 0);
        b_now += 1;
        e_now += same ? b_now : 1;
        if (i % 3 == 2) edges[same] = stats_of(graph).edges;
    }
    assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
    conform_read(c, e, got, sizeof got);
    for (int i = 0; i < N; i++) assert_int_equal(got[i], e_now);
    if (conform_replays(c)) {
        assert_int_equal(edges[false], 0);
        assert_int_equal(edges[true], 1);
        assert_true(stats_of(graph).built >= RUNS / 3 - 1);
    }
    gb_graph_close(graph);
    gb_buffer_unref(a), gb_buffer_unref(b), gb_buffer_unref(d), gb_buffer_unref(e);
    gb_module_unref(module);
}

/* Two stages that share nothing are seen in both orders by a driver that runs what it may; stages
 * of a module with variables stay in theirs. */
void conform_graph_order(conform *c)
{
    int zeros[64] = {0}, got[64], ids[2] = {1, 2}, seen[2] = {0, 0};
    gb_module *module = compile(c, source), *shared = compile(c, shared_source);
    gb_buffer *log = conform_buffer(c, zeros, sizeof zeros), *out = conform_buffer(c, zeros, 4);
    gb_graph *graph;
    assert_int_equal(gb_graph_open(&graph, c->device), 0);
    for (int i = 0; i < 2; i++) {
        int node = add_launch(graph, module, "note", 1);
        set(graph, node, 0, KIT_BUFFER(log));
        set(graph, node, 1, KIT_VALUE(ids[i]));
    }
    int setting = add_launch(graph, shared, "set", 1),
        getting = add_launch(graph, shared, "get", 1);
    set(graph, getting, 0, KIT_BUFFER(out));
    for (int i = 0; i < RUNS; i++) {
        set(graph, setting, 0, KIT_VALUE(i));
        assert_int_equal(gb_queue_fill(c->queue, log, 0, zeros, 4, 3), 0);
        run(c, graph);
        conform_read(c, log, got, sizeof got);
        assert_int_equal(got[0], 2);
        seen[got[1] == 2]++;
        conform_read(c, out, got, 4);
        assert_int_equal(got[0], i);
    }
    gb_device_info info;
    gb_device_get_info(c->device, &info);
    if (strcmp(info.backend, "software") == 0) assert_true(seen[0] > 0 && seen[1] > 0);
    if (conform_replays(c)) assert_int_equal(stats_of(graph).edges, 1);
    gb_graph_close(graph);
    gb_buffer_unref(log), gb_buffer_unref(out);
    gb_module_unref(module), gb_module_unref(shared);
}

/* Memory of another kind, which an update may not put in the place of what a graph was built for:
 * one by one, then built anew. */
void conform_graph_memory(conform *c)
{
    int ones[N], got[N];
    gb_graph *graph;
    gb_buffer *pinned, *plain = conform_buffer(c, NULL, sizeof ones);
    for (int i = 0; i < N; i++) ones[i] = i;
    assert_int_equal(gb_buffer_open(&pinned, c->device, sizeof ones, GB_BUFFER_PINNED), 0);
    assert_int_equal(gb_graph_open(&graph, c->device), 0);
    int up = gb_graph_add_copy(graph, sizeof ones), down = gb_graph_add_copy(graph, sizeof got);
    for (int i = 0; i < 9; i++) {
        gb_buffer *middle = i < 3 ? plain : pinned;
        memset(got, 0, sizeof got);
        set_ends(graph, up, at(middle), host(ones));
        set_ends(graph, down, host(got), at(middle));
        run(c, graph);
        assert_memory_equal(got, ones, sizeof ones);
    }
    gb_graph_stats stats = stats_of(graph);
    gb_device_info info;
    gb_device_get_info(c->device, &info);
    if (strcmp(info.backend, "software") == 0) {
        assert_int_equal(stats.fallbacks, 2);
        assert_int_equal(stats.built, 2);
        assert_int_equal(stats.replays, 6);
        assert_non_null(strstr(stats.why, "updating a graph"));
    }
    gb_graph_close(graph);
    gb_buffer_unref(plain), gb_buffer_unref(pinned);
}

/* Several replays are under way when the buffers are let go, the graph is closed, its module too,
 * and a graph of another order was built in between. */
void conform_graph_lifetimes(conform *c)
{
    int n = N, ones[N], got[8][N];
    for (int i = 0; i < N; i++) ones[i] = 1;
    for (int round = 0; round < 3; round++) {
        gb_module *module = compile(c, source);
        gb_buffer *ys[8], *x = conform_buffer(c, ones, sizeof ones);
        gb_graph *graph;
        assert_int_equal(gb_graph_open(&graph, c->device), 0);
        int first = add_launch(graph, module, "add", 16);
        int second = add_launch(graph, module, "add", 16);
        int down = gb_graph_add_copy(graph, sizeof ones);
        set(graph, first, 2, KIT_VALUE(n));
        set(graph, second, 2, KIT_VALUE(n));
        set(graph, first, 0, KIT_BUFFER(x));
        for (int i = 0; i < 8; i++) ys[i] = conform_buffer(c, ones, sizeof ones);
        for (int i = 0; i < 8; i++) {
            bool same = i >= 3 && i < 6; /* y += x twice, or y += x; y += y */
            set(graph, first, 1, KIT_BUFFER(ys[i]));
            set(graph, second, 0, same ? KIT_BUFFER(ys[i]) : KIT_BUFFER(x));
            set(graph, second, 1, KIT_BUFFER(ys[i]));
            set_ends(graph, down, host(got[i]), at(ys[i]));
            assert_int_equal(gb_queue_run(c->queue, graph), 0);
        }
        gb_graph_close(graph);
        gb_module_unref(module);
        for (int i = 0; i < 8; i++) gb_buffer_unref(ys[i]);
        gb_buffer_unref(x);
        assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
        for (int i = 0; i < 8; i++)
            for (int k = 0; k < N; k++) assert_int_equal(got[i][k], i >= 3 && i < 6 ? 4 : 3);
    }
}
