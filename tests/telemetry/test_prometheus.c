/* src/telemetry/prometheus: the text, letter by letter. */
#include "telemetry/metrics.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

static const double bounds[] = {0.1, 1, 5000};
static const gb_metric_def defs[] = {
    {"gpu.kernels.executed", GB_METRIC_COUNTER, "kernels", "kernels that ran",
     .labels = {"kernel", "ok"}},
    {"a.gauge-2", GB_METRIC_GAUGE, "", "a back\\slash and\na line", .labels = {NULL}},
    {"gpu.kernel.latency", GB_METRIC_HISTOGRAM, "ms", "latency", .labels = {"device"},
     .scale = 1e-6, .bounds = bounds, .bounds_count = 3},
    {"bare", GB_METRIC_HISTOGRAM, "", "no labels", .labels = {NULL}, .scale = 1,
     .bounds = bounds + 1, .bounds_count = 2},
    {"gpu.power", GB_METRIC_GAUGE, "W", "power", .labels = {NULL}, .scale = 1e-3,
     .alias = "also.power"},
    {"never.counted", GB_METRIC_COUNTER, "", "left out", .labels = {"x"}},
};

static const char wanted[] = "# HELP gpu_kernels_executed kernels that ran (kernels)\n"
                             "# TYPE gpu_kernels_executed counter\n"
                             "gpu_kernels_executed{kernel=\"saxpy\",ok=\"true\"} 18446744073\n"
                             "gpu_kernels_executed{kernel=\"a\\\\b\\\"c\\nd\",ok=\"false\"} 2\n"
                             "# HELP a_gauge_2 a back\\\\slash and\\na line\n"
                             "# TYPE a_gauge_2 gauge\n"
                             "a_gauge_2 -5\n"
                             "# HELP gpu_kernel_latency latency (ms)\n"
                             "# TYPE gpu_kernel_latency histogram\n"
                             "gpu_kernel_latency_bucket{device=\"0\",le=\"0.1\"} 1\n"
                             "gpu_kernel_latency_bucket{device=\"0\",le=\"1\"} 3\n"
                             "gpu_kernel_latency_bucket{device=\"0\",le=\"5000\"} 3\n"
                             "gpu_kernel_latency_bucket{device=\"0\",le=\"+Inf\"} 4\n"
                             "gpu_kernel_latency_sum{device=\"0\"} 6001.1\n"
                             "gpu_kernel_latency_count{device=\"0\"} 4\n"
                             "# HELP bare no labels\n"
                             "# TYPE bare histogram\n"
                             "bare_bucket{le=\"1\"} 0\n"
                             "bare_bucket{le=\"5000\"} 1\n"
                             "bare_bucket{le=\"+Inf\"} 1\n"
                             "bare_sum 77\n"
                             "bare_count 1\n"
                             "# HELP gpu_power power (W)\n"
                             "# TYPE gpu_power gauge\n"
                             "gpu_power 250.5\n"
                             "# HELP also_power power (W)\n"
                             "# TYPE also_power gauge\n"
                             "also_power 250.5\n";

static gb_metrics *counted(gb_mem *mem)
{
    gb_metrics *metrics;
    assert_int_equal(gb_metrics_new(&metrics, mem, 1), 0);
    for (int i = 0; i < 6; i++) assert_int_equal(gb_metrics_register(metrics, &defs[i]), i);
    gb_metrics_shard *w = gb_metrics_shard_of(metrics, 0);
    const char *ok[] = {"saxpy", "true"}, *bad[] = {"a\\b\"c\nd", "false"}, *device[] = {"0"};
    gb_series_add(w, gb_metrics_series(metrics, 0, ok), 18446744073u);
    gb_series_add(w, gb_metrics_series(metrics, 0, bad), 2);
    gb_series_set(w, gb_metrics_series(metrics, 1, NULL), -5);
    const gb_series *latency = gb_metrics_series(metrics, 2, device);
    gb_series_observe(w, latency, 100000);
    gb_series_observe(w, latency, 500000);
    gb_series_observe(w, latency, 500000);
    gb_series_observe(w, latency, 6000000000);
    gb_series_observe(w, gb_metrics_series(metrics, 3, NULL), 77);
    gb_series_set(w, gb_metrics_series(metrics, 4, NULL), 250500);
    return metrics;
}

static void test_text(void **unused)
{
    gb_mem mem;
    gb_buf out;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&out, &mem);
    gb_metrics *metrics = counted(&mem);
    assert_int_equal(gb_metrics_prometheus(metrics, &out), 0);
    assert_string_equal(gb_buf_text(&out), wanted);
    gb_metrics_free(metrics);
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
}

static void test_no_memory(void **unused)
{
    gb_mem mem, small;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_metrics *metrics = counted(&mem);
    for (int64_t cap = 64; cap < (int64_t)sizeof wanted; cap *= 2) {
        gb_buf out;
        gb_mem_init(&small, "small", NULL, cap);
        gb_buf_init(&out, &small);
        assert_int_equal(gb_metrics_prometheus(metrics, &out), GB_ENOMEM);
        gb_buf_fini(&out);
        gb_mem_fini(&small);
    }
    gb_metrics_free(metrics);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
