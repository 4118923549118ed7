/* Graphs: what was recorded once runs again and again with what is set in between. */
#include "kit_conform.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 1000, RUNS = 20 };

static int add_launch(conform *c, gb_graph *graph, const char *name)
{
    gb_launch launch = {.grid = {(N + 63) / 64, 1, 1}, .block = {64, 1, 1}};
    int node = gb_graph_add_launch(graph, conform_kernel(c, "faults.cu", name), &launch);
    assert_true(node >= 0);
    return node;
}

static void set_param(gb_graph *graph, int node, int param, gb_arg arg)
{
    assert_int_equal(gb_graph_set_param(graph, node, param, &arg), 0);
}

/* upload x; fill y with 7; y = x; y += 1; download y */
static void replay(conform *c, gb_graph *graph)
{
    int n = N;
    unsigned seven = 7, in[N], got[N];
    gb_place host = {NULL, 0, in};
    int up = gb_graph_add_copy(graph, sizeof in);
    int fill = gb_graph_add_fill(graph, &seven, sizeof seven, N);
    int across = gb_graph_add_copy(graph, sizeof in / 2);
    int one = add_launch(c, graph, "add_one"), two = add_launch(c, graph, "add_one");
    int down = gb_graph_add_copy(graph, sizeof got);
    assert_int_equal(gb_graph_node_count(graph), 6);
    set_param(graph, one, 1, (gb_arg)KIT_VALUE(n));
    set_param(graph, two, 1, (gb_arg)KIT_VALUE(n));
    for (int run = 0; run < RUNS; run++) {
        gb_buffer *x = conform_buffer(c, NULL, sizeof in), *y = conform_buffer(c, NULL, sizeof in);
        gb_place all_x = {x, 0, NULL}, all_y = {y, 0, NULL}, to = {NULL, 0, got};
        for (int i = 0; i < N; i++) in[i] = (unsigned)kit_random(&c->seed);
        memset(got, 0xEE, sizeof got);
        assert_int_equal(gb_graph_set_from(graph, up, &host), 0);
        assert_int_equal(gb_graph_set_to(graph, up, &all_x), 0);
        assert_int_equal(gb_graph_set_to(graph, fill, &all_y), 0);
        assert_int_equal(gb_graph_set_from(graph, across, &all_x), 0);
        assert_int_equal(gb_graph_set_to(graph, across, &all_y), 0);
        set_param(graph, one, 0, (gb_arg)KIT_BUFFER(y));
        set_param(graph, two, 0, (gb_arg)KIT_BUFFER(y));
        assert_int_equal(gb_graph_set_from(graph, down, &all_y), 0);
        assert_int_equal(gb_graph_set_to(graph, down, &to), 0);
        assert_int_equal(gb_queue_run(c->queue, graph), 0);
        gb_buffer_unref(x); /* the commands hold them */
        gb_buffer_unref(y);
        assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
        for (int i = 0; i < N; i++) assert_int_equal(got[i], (i < N / 2 ? in[i] : 7) + 2);
    }
    gb_graph_stats stats;
    gb_graph_get_stats(graph, &stats);
    assert_int_equal(stats.runs, RUNS);
    assert_int_equal(stats.fallbacks, 0);
    assert_int_equal(stats.replays, conform_replays(c) ? RUNS - 1 : 0);
    assert_int_equal(stats.built, conform_replays(c) ? 1 : 0);
}

/* What is wrong is told when it is set, or before anything is queued. */
static void refusals(conform *c, gb_graph *graph)
{
    int n = N;
    gb_buffer *x = conform_buffer(c, NULL, N * sizeof n);
    gb_place all = {x, 0, NULL}, past = {x, 4, NULL}, nothing = {NULL, 0, NULL};
    int launch = add_launch(c, graph, "add_one"), copy = gb_graph_add_copy(graph, N * sizeof n);
    gb_arg buffer = KIT_BUFFER(x), number = KIT_VALUE(n);
    assert_int_equal(gb_graph_set_param(graph, launch, 1, &buffer), GB_EINVAL);
    assert_int_equal(gb_graph_set_param(graph, launch, 2, &number), GB_EINVAL);
    assert_int_equal(gb_graph_set_param(graph, copy, 0, &number), GB_EINVAL);
    assert_int_equal(gb_graph_set_param(graph, 99, 0, &number), GB_EINVAL);
    assert_int_equal(gb_graph_set_to(graph, copy, &past), GB_EINVAL);
    assert_int_equal(gb_graph_set_to(graph, copy, &nothing), GB_EINVAL);
    assert_int_equal(gb_graph_set_to(graph, launch, &all), GB_EINVAL);
    assert_int_equal(gb_graph_add_fill(graph, &n, 0, 1), GB_EINVAL);
    set_param(graph, launch, 1, number);
    assert_int_equal(gb_queue_run(c->queue, graph), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "node 0 lacks 1"));
    set_param(graph, launch, 0, buffer);
    assert_int_equal(gb_graph_set_to(graph, copy, &all), 0);
    assert_int_equal(gb_graph_set_from(graph, copy, &all), 0);
    assert_int_equal(gb_queue_run(c->queue, graph), GB_EINVAL);
    assert_non_null(strstr(gb_err_detail(), "overlap"));
    assert_int_equal(kit_finish(c->queue, NULL, 0), 0);
    gb_buffer_unref(x);
}

bool conform_replays(const conform *c)
{
    return strcmp(c->backend, "cpu") != 0;
}

void conform_graphs(conform *c)
{
    for (int i = 0; i < 2; i++) {
        gb_graph *graph = NULL;
        assert_int_equal(gb_graph_open(&graph, c->device), 0);
        (i == 0 ? replay : refusals)(c, graph);
        gb_graph_close(graph);
    }
}
