#include "telemetry/catalog.h"

#include "base/check.h"

/* The buckets of the inventory, in milliseconds and gigabytes a second; sizes are ours. */
static const double latency_ms[] = {0.1, 0.5, 1, 5, 10, 50, 100, 500, 1000, 5000};
static const double gigabytes[] = {0.1, 0.5, 1, 2, 5, 10, 20, 50, 100};
static const double size_bytes[] = {256,      4096,      65536,      1048576,
                                    16777216, 268435456, 1073741824, 4294967296};

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define COUNTER GB_METRIC_COUNTER, ""
#define GAUGE GB_METRIC_GAUGE
#define LATENCY .scale = 1e-6, .bounds = latency_ms, .bounds_count = COUNT(latency_ms)
#define THROUGHPUT .scale = 1e-9, .bounds = gigabytes, .bounds_count = COUNT(gigabytes)
#define SIZES .bounds = size_bytes, .bounds_count = COUNT(size_bytes)
#define HISTOGRAM GB_METRIC_HISTOGRAM
#define MILLION 1e-6

static const gb_metric_def defs[GB_METRIC_CATALOG_COUNT] = {
    [GB_METRIC_KERNELS_EXECUTED] = {"gpu.kernels.executed", GB_METRIC_COUNTER, "kernels",
                                    "kernels that ran", .labels = {"kernel", "device", "success"}},
    [GB_METRIC_KERNELS_FAILED] = {"gpu.kernels.failed", GB_METRIC_COUNTER, "kernels",
                                  "kernels that failed", .labels = {"kernel", "device"}},
    [GB_METRIC_KERNEL_LATENCY] = {"gpu.kernel.latency", HISTOGRAM, "ms",
                                  "from launch to completion",
                                  .labels = {"kernel", "device", "success"}, LATENCY},
    [GB_METRIC_BYTES_TRANSFERRED] = {"gpu.bytes.transferred", GB_METRIC_COUNTER, "bytes",
                                     "bytes copied from and to devices", .labels = {"direction"}},
    [GB_METRIC_TRANSFER_THROUGHPUT] = {"gpu.transfer.throughput", HISTOGRAM, "GB/s",
                                       "speed of copies", .labels = {"direction"}, THROUGHPUT},
    [GB_METRIC_ALLOCATIONS_SUCCEEDED] = {"gpu.allocations.succeeded", COUNTER, "device allocations",
                                         .labels = {"device"}},
    [GB_METRIC_ALLOCATION_FAILURES] = {"gpu.allocation.failures", COUNTER,
                                       "device allocations that failed",
                                       .labels = {"device", "reason"},
                                       .alias = "gpu.allocations.failed"},
    [GB_METRIC_ALLOCATION_SIZE] = {"gpu.allocation.size", HISTOGRAM, "bytes",
                                   "size of device allocations", .labels = {"device"}, SIZES},
    [GB_METRIC_PIPELINE_EXECUTIONS] = {"gpu.pipeline.executions", COUNTER, "pipeline runs",
                                       .labels = {"pipeline", "success"}},
    [GB_METRIC_PIPELINE_STAGE_LATENCY] = {"gpu.pipeline.stage.latency", HISTOGRAM, "ms",
                                          "time of a stage", .labels = {"pipeline", "stage"},
                                          LATENCY},
    [GB_METRIC_MODULES_COMPILED] = {"gpu.modules.compiled", COUNTER,
                                    "kernel sources compiled, or found in the cache",
                                    .labels = {"device", "success"}},
    [GB_METRIC_COMPILE_TIME] = {"gpu.compile.time", GB_METRIC_COUNTER, "ms",
                                "time to compile kernels, or find them", .labels = {"device"},
                                .scale = 1e-6},
    [GB_METRIC_MEMORY_USED] = {"gpu.memory.used", GAUGE, "bytes", "device memory in use",
                               .labels = {"device"}},
    [GB_METRIC_MEMORY_TOTAL] = {"gpu.memory.total", GAUGE, "bytes", "device memory",
                                .labels = {"device"}, .alias = "gpu.memory.total.bytes"},
    [GB_METRIC_MEMORY_PINNED] = {"gpu.memory.pinned", GAUGE, "bytes",
                                 "page-locked host memory of a device's buffers",
                                 .labels = {"device"}},
    [GB_METRIC_TENANT_MEMORY] = {"gpu.tenant.memory.used", GAUGE, "bytes",
                                 "device and page-locked memory that a tenant has, on all devices",
                                 .labels = {"tenant"}},
    [GB_METRIC_TENANT_MEMORY_MAX] = {"gpu.tenant.memory.limit", GAUGE, "bytes",
                                     "what a tenant may have of it", .labels = {"tenant"}},
    [GB_METRIC_UTILIZATION] = {"gpu.utilization", GAUGE, "%", "how busy a device is",
                               .labels = {"device"}},
    [GB_METRIC_QUEUE_DEPTH] = {"gpu.queue.depth", GAUGE, "", "launches that wait",
                               .labels = {"device"}},
    [GB_METRIC_TEMPERATURE] = {"gpu.temperature", GAUGE, "C", "device temperature",
                               .labels = {"device"}},
    [GB_METRIC_POWER_USAGE] = {"gpu.power.usage", GAUGE, "W", "device power", .labels = {"device"},
                               .scale = 1e-3},
    [GB_METRIC_POOL_UTILIZATION] = {"gpu.memory.pool.utilization", GAUGE, "ratio",
                                    "part of the blocks of a device that is in use, not kept",
                                    .labels = {"device"}, .scale = MILLION},
    [GB_METRIC_POOL_FRAGMENTATION] = {"gpu.memory.pool.fragmentation", GAUGE, "ratio",
                                      "part of the blocks in use that is waste",
                                      .labels = {"device"}, .scale = MILLION},
    [GB_METRIC_GRAINS_ACTIVATED] = {"gpu.grains.activated", COUNTER, "grain activations",
                                    .labels = {"type"}},
    [GB_METRIC_GRAINS_DEACTIVATED] = {"gpu.grains.deactivated", COUNTER, "grain deactivations",
                                      .labels = {"type"}},
    [GB_METRIC_GRAIN_ACTIVATION_LATENCY] = {"gpu.grain.activation.latency", HISTOGRAM, "ms",
                                            "time to activate a grain", .labels = {"type"},
                                            LATENCY},
    [GB_METRIC_GRAIN_ALLOCATIONS] = {"gpu.grain.allocations", COUNTER,
                                     "device allocations of grains", .labels = {"type"}},
    [GB_METRIC_GRAIN_DEALLOCATIONS] = {"gpu.grain.deallocations", COUNTER,
                                       "device memory given back by grains", .labels = {"type"}},
    [GB_METRIC_GRAIN_ALLOCATION_SIZE] = {"gpu.grain.allocation.size", HISTOGRAM, "bytes",
                                         "size of device allocations of grains", .labels = {"type"},
                                         SIZES},
    [GB_METRIC_GRAIN_MEMORY_ALLOCATED] = {"gpu.grain.memory.allocated", GAUGE, "bytes",
                                          "device memory that grains hold", .labels = {"type"}},
    [GB_METRIC_GRAIN_ACTIVE_COUNT] = {"gpu.grain.active.count", GAUGE, "", "active grains",
                                      .labels = {"type"}},
    [GB_METRIC_GRAIN_CALLS] = {"grain.calls", COUNTER, "calls begun, hooks and ticks too",
                               .labels = {"worker"}},
    [GB_METRIC_GRAIN_CALLS_FAILED] = {"grain.calls.failed", COUNTER,
                                      "calls that ended without the method's answer",
                                      .labels = {"worker"}},
    [GB_METRIC_GRAIN_TURNS] = {"grain.turns", COUNTER, "turns, once for each time they go on",
                               .labels = {"worker"}},
    [GB_METRIC_GRAIN_TURNS_RAISED] = {"grain.turns.raised", COUNTER, "turns that raised an error",
                                      .labels = {"worker"}},
    [GB_METRIC_CHAOS_FAULTS] = {"resilience_chaos_faults_total", COUNTER,
                                "faults put in on purpose", .labels = {"kind"}},
    [GB_METRIC_CIRCUIT_BREAKER_EVENTS] = {"resilience_circuit_breaker_events_total", COUNTER,
                                          "changes of circuit breakers",
                                          .labels = {"policy", "event"}},
    [GB_METRIC_FALLBACKS] = {"resilience_fallbacks_total", COUNTER, "fallbacks taken",
                             .labels = {"policy", "level"}},
    [GB_METRIC_RATE_LIMIT_EVENTS] = {"resilience_rate_limit_events_total", COUNTER,
                                     "decisions of rate limiters", .labels = {"policy", "event"}},
    [GB_METRIC_RETRIES] = {"resilience_retries_total", COUNTER, "retries", .labels = {"policy"}},
    [GB_METRIC_TIMEOUTS] = {"resilience_timeouts_total", COUNTER, "operations that timed out",
                            .labels = {"policy"}},
    [GB_METRIC_CIRCUIT_BREAKER_DURATION] = {"resilience_circuit_breaker_duration_ms", HISTOGRAM,
                                            "ms", "time in a state of a circuit breaker",
                                            .labels = {"policy", "state"}, LATENCY},
    [GB_METRIC_OPERATION_DURATION] = {"resilience_operation_duration_ms", HISTOGRAM, "ms",
                                      "time of an operation under a policy",
                                      .labels = {"policy", "success"}, LATENCY},
    [GB_METRIC_RETRY_DELAY] = {"resilience_retry_delay_ms", HISTOGRAM, "ms", "waits before a retry",
                               .labels = {"policy"}, LATENCY},
    [GB_METRIC_BULKHEAD_UTILIZATION] = {"resilience_bulkhead_utilization", GAUGE, "ratio",
                                        "part of a bulkhead in use", .labels = {"policy"},
                                        .scale = MILLION},
    [GB_METRIC_CIRCUIT_BREAKER_STATE] = {"resilience_circuit_breaker_state", GAUGE, "",
                                         "0 closed, 1 open, 2 half open, 3 isolated",
                                         .labels = {"policy"}},
    [GB_METRIC_FALLBACK_LEVEL] = {"resilience_fallback_level", GAUGE, "",
                                  "0 optimal, 1 reduced, 2 degraded, 3 failed",
                                  .labels = {"policy"}},
    [GB_METRIC_RATE_LIMITER_TOKENS] = {"resilience_rate_limiter_tokens", GAUGE, "", "tokens left",
                                       .labels = {"policy"}},
};

int gb_catalog_register(gb_metrics *metrics)
{
    for (int i = 0; i < GB_METRIC_CATALOG_COUNT; i++) {
        int rc = gb_metrics_register(metrics, &defs[i]);
        if (rc < 0) return rc;
        GB_CHECK(rc == i);
    }
    return 0;
}

const gb_metric_def *gb_catalog_def(gb_catalog number)
{
    GB_CHECK((unsigned)number < GB_METRIC_CATALOG_COUNT);
    return &defs[number];
}

const char *gb_catalog_direction(gb_catalog_transfer transfer)
{
    static const char *const names[] = {"HostToDevice", "DeviceToHost", "DeviceToDevice",
                                        "PeerToPeer"};
    GB_CHECK((unsigned)transfer < COUNT(names));
    return names[transfer];
}
