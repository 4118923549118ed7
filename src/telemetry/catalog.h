/* The metrics that every silo has: the names, units, labels and buckets of the inventory. Other
 * rooms count to them by the number here; gb_catalog_register gives each the metric of that number.
 * Constant data; any thread.
 */
#ifndef GB_TELEMETRY_CATALOG_H
#define GB_TELEMETRY_CATALOG_H

#include "telemetry/metrics.h"

typedef enum gb_catalog {
    /* kernels */
    GB_METRIC_KERNELS_EXECUTED,       /* kernel, device, success */
    GB_METRIC_KERNELS_FAILED,         /* kernel, device */
    GB_METRIC_KERNEL_LATENCY,         /* ns; kernel, device, success */
    GB_METRIC_BYTES_TRANSFERRED,      /* direction: see gb_catalog_direction */
    GB_METRIC_TRANSFER_THROUGHPUT,    /* bytes a second; direction */
    GB_METRIC_ALLOCATIONS_SUCCEEDED,  /* device */
    GB_METRIC_ALLOCATION_FAILURES,    /* device, reason; also told as gpu.allocations.failed */
    GB_METRIC_ALLOCATION_SIZE,        /* bytes; device */
    GB_METRIC_PIPELINE_EXECUTIONS,    /* pipeline, success */
    GB_METRIC_PIPELINE_STAGE_LATENCY, /* ns; pipeline, stage */
    GB_METRIC_MODULES_COMPILED,       /* device, success */
    GB_METRIC_COMPILE_TIME,           /* ns, all told; device */
    /* devices */
    GB_METRIC_MEMORY_USED,        /* bytes; device */
    GB_METRIC_MEMORY_TOTAL,       /* bytes; device */
    GB_METRIC_MEMORY_PINNED,      /* bytes; device */
    GB_METRIC_TENANT_MEMORY,      /* bytes, pinned too; tenant */
    GB_METRIC_TENANT_MEMORY_MAX,  /* bytes; tenant */
    GB_METRIC_UTILIZATION,        /* percent; device */
    GB_METRIC_QUEUE_DEPTH,        /* device */
    GB_METRIC_TEMPERATURE,        /* degrees; device */
    GB_METRIC_POWER_USAGE,        /* milliwatts, told in watts; device */
    GB_METRIC_POOL_UTILIZATION,   /* parts per million, told as a ratio; device */
    GB_METRIC_POOL_FRAGMENTATION, /* parts per million, told as a ratio; device */
    /* grains */
    GB_METRIC_GRAINS_ACTIVATED,         /* type */
    GB_METRIC_GRAINS_DEACTIVATED,       /* type */
    GB_METRIC_GRAIN_ACTIVATION_LATENCY, /* ns; type */
    GB_METRIC_GRAIN_ALLOCATIONS,        /* type */
    GB_METRIC_GRAIN_DEALLOCATIONS,      /* type */
    GB_METRIC_GRAIN_ALLOCATION_SIZE,    /* bytes; type */
    GB_METRIC_GRAIN_MEMORY_ALLOCATED,   /* bytes; type */
    GB_METRIC_GRAIN_ACTIVE_COUNT,       /* type */
    GB_METRIC_GRAIN_CALLS,              /* worker */
    GB_METRIC_GRAIN_CALLS_FAILED,       /* worker */
    GB_METRIC_GRAIN_TURNS,              /* worker */
    GB_METRIC_GRAIN_TURNS_RAISED,       /* worker */
    /* resilience policies */
    GB_METRIC_CHAOS_FAULTS,             /* kind */
    GB_METRIC_CIRCUIT_BREAKER_EVENTS,   /* policy, event */
    GB_METRIC_FALLBACKS,                /* policy, level */
    GB_METRIC_RATE_LIMIT_EVENTS,        /* policy, event */
    GB_METRIC_RETRIES,                  /* policy */
    GB_METRIC_TIMEOUTS,                 /* policy */
    GB_METRIC_CIRCUIT_BREAKER_DURATION, /* ns; policy, state */
    GB_METRIC_OPERATION_DURATION,       /* ns; policy, success */
    GB_METRIC_RETRY_DELAY,              /* ns; policy */
    GB_METRIC_BULKHEAD_UTILIZATION,     /* parts per million, told as a ratio; policy */
    GB_METRIC_CIRCUIT_BREAKER_STATE,    /* 0 closed, 1 open, 2 half open, 3 isolated; policy */
    GB_METRIC_FALLBACK_LEVEL,           /* policy */
    GB_METRIC_RATE_LIMITER_TOKENS,      /* policy */
    GB_METRIC_CATALOG_COUNT
} gb_catalog;

typedef enum gb_catalog_transfer {
    GB_TRANSFER_HOST_TO_DEVICE,
    GB_TRANSFER_DEVICE_TO_HOST,
    GB_TRANSFER_DEVICE_TO_DEVICE,
    GB_TRANSFER_PEER_TO_PEER
} gb_catalog_transfer;

/* Registers all of them in a fresh registry, so that metric numbers are those above. 0, or what
 * gb_metrics_register says. */
int gb_catalog_register(gb_metrics *metrics);

const gb_metric_def *gb_catalog_def(gb_catalog number);

/* The value of the label direction: "HostToDevice". */
const char *gb_catalog_direction(gb_catalog_transfer transfer);

#endif
