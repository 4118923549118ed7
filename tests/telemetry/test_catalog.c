/* src/telemetry/catalog: the names and buckets of the inventory are all there, each complete. */
#include "telemetry/catalog.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

/* As the inventory lists them. */
static const char *const names[] = {
    "gpu.kernels.executed",
    "gpu.kernels.failed",
    "gpu.bytes.transferred",
    "gpu.allocations.succeeded",
    "gpu.allocation.failures",
    "gpu.grains.activated",
    "gpu.pipeline.executions",
    "gpu.kernel.latency",
    "gpu.transfer.throughput",
    "gpu.allocation.size",
    "gpu.grain.activation.latency",
    "gpu.pipeline.stage.latency",
    "gpu.memory.used",
    "gpu.utilization",
    "gpu.queue.depth",
    "gpu.temperature",
    "gpu.power.usage",
    "gpu.grain.allocations",
    "gpu.grain.deallocations",
    "gpu.grain.allocation.size",
    "gpu.grain.memory.allocated",
    "gpu.grain.active.count",
    "gpu.memory.pool.utilization",
    "gpu.memory.pool.fragmentation",
    "resilience_chaos_faults_total",
    "resilience_circuit_breaker_events_total",
    "resilience_fallbacks_total",
    "resilience_rate_limit_events_total",
    "resilience_retries_total",
    "resilience_timeouts_total",
    "resilience_circuit_breaker_duration_ms",
    "resilience_operation_duration_ms",
    "resilience_retry_delay_ms",
    "resilience_bulkhead_utilization",
    "resilience_circuit_breaker_state",
    "resilience_fallback_level",
    "resilience_rate_limiter_tokens",
};

static void test_names(void **unused)
{
    gb_mem mem;
    gb_metrics *metrics;
    gb_mem_init(&mem, "test", NULL, 0);
    assert_int_equal(gb_metrics_new(&metrics, &mem, 1), 0);
    assert_int_equal(gb_catalog_register(metrics), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int metric = gb_metrics_find(metrics, names[i]);
        if (metric < 0) fail_msg("%s is missing", names[i]);
        assert_string_equal(gb_catalog_def((gb_catalog)metric)->name, names[i]);
    }
    for (int i = 0; i < GB_METRIC_CATALOG_COUNT; i++) {
        const gb_metric_def *def = gb_catalog_def((gb_catalog)i);
        assert_non_null(def->name);
        assert_non_null(def->unit);
        assert_true(strlen(def->help) > 3);
        if (strstr(def->name, "latency")) assert_string_equal(def->unit, "ms");
    }
    gb_metrics_free(metrics);
    gb_mem_fini(&mem);
}

static void test_text(void **unused)
{
    gb_mem mem;
    gb_buf out;
    gb_metrics *metrics;
    gb_mem_init(&mem, "test", NULL, 0);
    gb_buf_init(&out, &mem);
    assert_int_equal(gb_metrics_new(&metrics, &mem, 1), 0);
    assert_int_equal(gb_catalog_register(metrics), 0);
    gb_metrics_shard *w = gb_metrics_shard_of(metrics, 0);
    const char *kernel[] = {"saxpy", "0", "true"}, *failure[] = {"0", "ENOMEM"};
    const char *direction[] = {gb_catalog_direction(GB_TRANSFER_PEER_TO_PEER)}, *device[] = {"0"};
    gb_series_observe(w, gb_metrics_series(metrics, GB_METRIC_KERNEL_LATENCY, kernel), 700000);
    gb_series_add(w, gb_metrics_series(metrics, GB_METRIC_ALLOCATION_FAILURES, failure), 3);
    gb_series_observe(w, gb_metrics_series(metrics, GB_METRIC_TRANSFER_THROUGHPUT, direction),
                      12000000000);
    gb_series_set(w, gb_metrics_series(metrics, GB_METRIC_MEMORY_TOTAL, device), 80000000000);
    assert_int_equal(gb_metrics_prometheus(metrics, &out), 0);
    static const char *const lines[] = {
        "\ngpu_kernel_latency_bucket{kernel=\"saxpy\",device=\"0\",success=\"true\",le=\"0.5\"} "
        "0\n",
        "\ngpu_kernel_latency_bucket{kernel=\"saxpy\",device=\"0\",success=\"true\",le=\"1\"} 1\n",
        "le=\"5000\"} 1\ngpu_kernel_latency_bucket{kernel=\"saxpy\",device=\"0\",success=\"true\","
        "le=\"+Inf\"} 1\n",
        "\ngpu_kernel_latency_sum{kernel=\"saxpy\",device=\"0\",success=\"true\"} 0.7\n",
        "\ngpu_allocation_failures{device=\"0\",reason=\"ENOMEM\"} 3\n",
        "\ngpu_allocations_failed{device=\"0\",reason=\"ENOMEM\"} 3\n",
        "\ngpu_transfer_throughput_bucket{direction=\"PeerToPeer\",le=\"10\"} 0\n",
        "\ngpu_transfer_throughput_bucket{direction=\"PeerToPeer\",le=\"20\"} 1\n",
        "\ngpu_memory_total_bytes{device=\"0\"} 80000000000\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (!strstr(gb_buf_text(&out), lines[i])) fail_msg("not told: %s", lines[i]);
    gb_metrics_free(metrics);
    gb_buf_fini(&out);
    gb_mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
