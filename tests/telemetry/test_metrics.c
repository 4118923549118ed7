/* src/telemetry/metrics: counting in shards, by many threads, with readers and new series beside;
 * bounds of the registry; failing memory. */
#include "telemetry/metrics.h"

#include "base/err.h"
#include "seed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "panic.h"

#include <pthread.h>
#include <string.h>

static const double bounds[] = {0.1, 1, 10};
static const gb_metric_def calls = {"t.calls", GB_METRIC_COUNTER, "", "calls", .labels = {"type"}};
static const gb_metric_def depth = {"t.depth", GB_METRIC_GAUGE, "", "depth", .labels = {NULL}};
static const gb_metric_def latency = {"t.latency",      GB_METRIC_HISTOGRAM, "ms",
                                      "latency",        .labels = {"type"},  .scale = 1e-6,
                                      .bounds = bounds, .bounds_count = 3};

typedef struct {
    gb_mem mem;
    gb_metrics *metrics;
    int calls, depth, latency;
} world;

static int setup(void **state)
{
    world *w = calloc(1, sizeof *w);
    gb_mem_init(&w->mem, "test", NULL, 0);
    if (gb_metrics_new(&w->metrics, &w->mem, 4) < 0) return -1;
    w->calls = gb_metrics_register(w->metrics, &calls);
    w->depth = gb_metrics_register(w->metrics, &depth);
    w->latency = gb_metrics_register(w->metrics, &latency);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world *w = *state;
    gb_metrics_free(w->metrics);
    gb_mem_fini(&w->mem);
    free(w);
    return 0;
}

static const gb_series *series_of(world *w, int metric, const char *value)
{
    return gb_metrics_series(w->metrics, metric, &value);
}

static void test_merged(void **state)
{
    world *w = *state;
    const gb_series *a = series_of(w, w->calls, "cart"), *b = series_of(w, w->calls, "user");
    const gb_series *d = gb_metrics_series(w->metrics, w->depth, NULL);
    assert_non_null(a);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(series_of(w, w->calls, "cart"), a); /* interned */
    for (int worker = -1; worker < 4; worker++) {
        gb_metrics_shard *shard = gb_metrics_shard_of(w->metrics, worker);
        gb_series_add(shard, a, 10);
        gb_series_add(shard, b, 1);
        gb_series_set(shard, d, 100);
        gb_series_set(shard, d, worker);
        gb_series_add(shard, NULL, 1);
    }
    assert_int_equal(gb_series_value(w->metrics, a), 50);
    assert_int_equal(gb_series_value(w->metrics, b), 5);
    assert_int_equal(gb_series_value(w->metrics, d), -1 + 0 + 1 + 2 + 3);
    gb_series_add(gb_metrics_shard_of(w->metrics, 0), d, (uint64_t)-20);
    assert_int_equal(gb_series_value(w->metrics, d), -15); /* a gauge goes down */
    assert_int_equal(gb_series_value(w->metrics, NULL), 0);
    expect_assert_failure(gb_metrics_shard_of(w->metrics, 4));
}

static void test_histogram(void **state)
{
    world *w = *state;
    const gb_series *s = series_of(w, w->latency, "x");
    gb_metrics_shard *one = gb_metrics_shard_of(w->metrics, 1),
                     *all = gb_metrics_shard_of(w->metrics, -1);
    static const uint64_t values[] = {0,       100000,   100001,   1000000,
                                      1000001, 10000000, 10000001, 1 << 30};
    uint64_t sum = 0;
    for (size_t i = 0; i < 8; i++) {
        gb_series_observe(i % 2 ? one : all, s, values[i]);
        sum += values[i];
    }
    gb_series_observe(one, NULL, 5);
    gb_series_histogram h;
    gb_series_read(w->metrics, s, &h);
    assert_int_equal(h.buckets_count, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(h.buckets[i], 2); /* an edge lies in its bucket */
    assert_int_equal(h.count, 8);
    assert_true(h.sum == sum);
}

static void test_registering(void **state)
{
    world *w = *state;
    assert_int_equal(gb_metrics_register(w->metrics, &calls), w->calls);
    assert_int_equal(gb_metrics_find(w->metrics, "t.depth"), w->depth);
    assert_int_equal(gb_metrics_find(w->metrics, "t.none"), GB_ENOENT);
    static const gb_metric_def again = {"t.calls", GB_METRIC_GAUGE, "", "", .labels = {NULL}};
    assert_int_equal(gb_metrics_register(w->metrics, &again), GB_ECONFLICT);
    static const double flat[] = {1, 1};
    static const gb_metric_def falling = {"f",
                                          GB_METRIC_HISTOGRAM,
                                          "",
                                          "",
                                          .labels = {NULL},
                                          .scale = 1,
                                          .bounds = flat,
                                          .bounds_count = 2};
    assert_int_equal(gb_metrics_register(w->metrics, &falling), GB_EINVAL);
    static const gb_metric_def bare = {"b", GB_METRIC_HISTOGRAM, "", "", .labels = {NULL}};
    assert_int_equal(gb_metrics_register(w->metrics, &bare), GB_EINVAL);
    static const gb_metric_def many = {"m",
                                       GB_METRIC_HISTOGRAM,
                                       "",
                                       "",
                                       .labels = {NULL},
                                       .scale = 1,
                                       .bounds = bounds,
                                       .bounds_count = 99};
    assert_int_equal(gb_metrics_register(w->metrics, &many), GB_EINVAL);
    gb_metric_def *defs = calloc(GB_METRICS_MAX, sizeof *defs);
    char(*names)[24] = calloc(GB_METRICS_MAX, sizeof *names);
    int rc = 0, made = 3;
    for (int i = 0; rc >= 0; i++) {
        snprintf(names[i], sizeof names[i], "extra.%d", i);
        defs[i] = (gb_metric_def){names[i], GB_METRIC_COUNTER, "", "", .labels = {NULL}};
        rc = gb_metrics_register(w->metrics, &defs[i]);
        if (rc >= 0) made++;
    }
    assert_int_equal(rc, GB_EBUSY);
    assert_int_equal(made, GB_METRICS_MAX);
    gb_metrics_free(w->metrics); /* before the definitions go */
    assert_int_equal(gb_metrics_new(&w->metrics, &w->mem, 0), 0);
    free(defs);
    free(names);
}

/* A label that takes ever new values ends in the series "other" and leaves room for the rest. */
static void test_endless_labels(void **state)
{
    world *w = *state;
    const gb_series *last = NULL;
    char value[24];
    for (int i = 0; i < 10000; i++) {
        snprintf(value, sizeof value, "grain-%d", i);
        last = series_of(w, w->calls, value);
        assert_non_null(last);
        gb_series_add(gb_metrics_shard_of(w->metrics, 0), last, 1);
    }
    assert_string_equal(last->values[0], "other");
    assert_int_equal(gb_series_value(w->metrics, last), 10000 - (GB_METRIC_SERIES_MAX - 1));
    assert_ptr_equal(series_of(w, w->calls, "other"), last);
    assert_string_equal(series_of(w, w->calls, "grain-7")->values[0], "grain-7");
    assert_non_null(series_of(w, w->latency, "still room"));
}

static void test_full(void **state)
{
    world *w = *state;
    static const char *const names[] = {"h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8"};
    static const double many[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    gb_metric_def defs[9];
    char value[24];
    int refused = 0, made = 0;
    for (int m = 0; m < 9; m++) {
        defs[m] = (gb_metric_def){
            names[m],       GB_METRIC_HISTOGRAM, "", "", .labels = {"x"}, .scale = 1,
            .bounds = many, .bounds_count = 16};
        int metric = gb_metrics_register(w->metrics, &defs[m]);
        for (int i = 0; i < GB_METRIC_SERIES_MAX; i++) {
            snprintf(value, sizeof value, "%d", i);
            const gb_series *s = series_of(w, metric, value);
            gb_series_observe(gb_metrics_shard_of(w->metrics, 3), s, 99); /* inside its shard */
            if (s) made++;
            refused += !s;
        }
    }
    assert_int_equal(made, GB_METRICS_CELLS_MAX / 18);
    assert_int_equal(refused, 9 * GB_METRIC_SERIES_MAX - made);
    assert_non_null(strstr(gb_err_detail(), "no room"));
    gb_metrics_free(w->metrics);
    assert_int_equal(gb_metrics_new(&w->metrics, &w->mem, 0), 0);
}

static void test_no_memory(void **state)
{
    world *w = *state;
    gb_metrics *metrics = NULL;
    int rc = GB_ENOMEM;
    for (int nth = 1; rc < 0; nth++) { /* fail every allocation in turn */
        int64_t before = atomic_load(&w->mem.bytes);
        atomic_store(&w->mem.fail_at, nth);
        rc = gb_metrics_new(&metrics, &w->mem, 2);
        assert_true(rc == 0 || (rc == GB_ENOMEM && atomic_load(&w->mem.bytes) == before));
        assert_in_range(nth, 1, 10);
    }
    atomic_store(&w->mem.fail_at, 0);
    gb_metrics_free(metrics);
    for (int nth = 1; nth <= 2; nth++) {
        atomic_store(&w->mem.fail_at, nth);
        assert_null(series_of(w, w->calls, "fresh"));
    }
    assert_non_null(series_of(w, w->calls, "fresh"));
}

/* ---- threads ---- */

enum { TIMES = 20000, THREADS = 6 };

typedef struct {
    world *w;
    int worker; /* two threads use the shared shard */
    atomic_bool *stop;
    pthread_barrier_t *together;
} counter;

static void *count(void *arg)
{
    counter *c = arg;
    gb_metrics_shard *shard = gb_metrics_shard_of(c->w->metrics, c->worker);
    for (int i = 0; i < TIMES; i++) {
        char value[24];
        snprintf(value, sizeof value, "t%d", i % 50);
        gb_series_add(shard, series_of(c->w, c->w->calls, value), 1);
        gb_series_observe(shard, series_of(c->w, c->w->latency, value), (uint64_t)i * 1000);
    }
    const gb_series *hot = series_of(c->w, c->w->calls, "hot");
    pthread_barrier_wait(c->together); /* all at once, as fast as they can */
    for (int i = 0; i < TIMES * 50; i++) gb_series_add(shard, hot, 1);
    return NULL;
}

static void *scrape(void *arg)
{
    counter *c = arg;
    gb_buf out;
    gb_buf_init(&out, &c->w->mem);
    while (!atomic_load(c->stop)) {
        out.size = 0;
        if (gb_metrics_prometheus(c->w->metrics, &out) < 0) abort();
    }
    gb_buf_fini(&out);
    return NULL;
}

static void test_threads(void **state)
{
    world *w = *state;
    atomic_bool stop = false;
    pthread_barrier_t together;
    pthread_barrier_init(&together, NULL, THREADS);
    counter counters[THREADS + 1];
    pthread_t threads[THREADS + 1];
    for (int i = 0; i <= THREADS; i++) {
        counters[i] = (counter){w, i < 4 ? i : -1, &stop, &together};
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < THREADS ? count : scrape, &counters[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    pthread_barrier_destroy(&together);
    pthread_join(threads[THREADS], NULL);
    int64_t total = 0;
    uint64_t seen = 0, sum = 0;
    for (int i = 0; i < 50; i++) {
        char value[24];
        gb_series_histogram h;
        snprintf(value, sizeof value, "t%d", i);
        total += gb_series_value(w->metrics, series_of(w, w->calls, value));
        gb_series_read(w->metrics, series_of(w, w->latency, value), &h);
        seen += h.count;
        sum += h.sum;
    }
    assert_int_equal(total, THREADS * TIMES);
    assert_int_equal(gb_series_value(w->metrics, series_of(w, w->calls, "hot")),
                     THREADS * TIMES * 50);
    assert_int_equal(seen, THREADS * TIMES);
    assert_true(sum == (uint64_t)THREADS * 1000 * TIMES * (TIMES - 1) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_merged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_histogram, setup, teardown),
        cmocka_unit_test_setup_teardown(test_registering, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endless_labels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };
    panic_expected();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
